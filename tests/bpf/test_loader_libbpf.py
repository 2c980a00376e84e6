"""Object files: what is in them, what can be set, and that they load."""

from __future__ import annotations

import itertools
import struct
from pathlib import Path

import pytest

from tests.bpf.test_loader_program import loaded, object_bytes
from vswitch.base.errors import LoadError, MachineError, NotFoundError
from vswitch.datapath.ebpf import bpf_syscall, libbpf
from vswitch.datapath.ebpf.bpf_syscall import map_info, prog_info, syscall_prog_run
from vswitch.datapath.ebpf.libbpf import Extent, MapSpec, ObjectFile, ProgramSpec

SYSCALL, SCHED_CLS, UNSPECIFIED = 31, 3, 0


def test_maps_are_read_from_the_file() -> None:
    with ObjectFile(object_bytes(), "loader") as program:
        maps = program.maps()
    assert maps["items"] == MapSpec("items", 2, 4, 20, 3, 1024)
    assert maps["ring"].max_entries == 65536
    assert {".rodata", ".data", ".bss"} <= set(maps)


def test_programs_are_read_from_the_file() -> None:
    with ObjectFile(object_bytes(), "loader") as program:
        programs = program.programs()
    assert programs["emit"] == ProgramSpec("emit", "syscall", SYSCALL, True)
    assert programs["first"].type == SCHED_CLS
    assert not programs["careless"].autoload
    assert programs["homeless"].type == UNSPECIFIED


def test_variables_are_found_in_their_sections() -> None:
    with ObjectFile(object_bytes(), "loader") as program:
        rodata, data, bss = (program.variables(section) for section in (".rodata", ".data", ".bss"))
    assert (rodata["answer"].size, rodata["letters"].size) == (4, 4)
    assert data == {"started_with": Extent(0, 8)}
    assert set(bss) == {"order", "started", "ended", "padding", "frames"}
    places = sorted(bss.values())
    assert all(one.offset + one.size <= other.offset for one, other in itertools.pairwise(places))


def test_struct_layout_is_the_compilers() -> None:
    with ObjectFile(object_bytes(), "loader") as program:
        layout, size = program.struct_layout("item"), program.struct_size("item")
    assert size == 20
    assert layout == {
        "number": (0, 4),
        "port": (4, 2),
        "address": (8, 4),
        "bytes": (8, 4),
        "pair": (12, 2),
        "low": (14, 1),
        "high": (14, 1),
        "color": (16, 4),
    }


def test_enum_values_are_the_compilers() -> None:
    with ObjectFile(object_bytes(), "loader") as program:
        assert program.enum_values("color") == {"RED": 1, "GREEN": 2, "ULTRAVIOLET": -7}


@pytest.mark.parametrize(
    "ask",
    [
        lambda program: program.struct_layout("nothing"),
        lambda program: program.variables(".nowhere"),
        lambda program: program.set_max_entries("nothing", 1),
        lambda program: program.set_autoload("nothing", True),
        lambda program: program.set_rodata("nothing", b"1234"),
        lambda program: program.map_fd("nothing"),
    ],
)
def test_what_is_not_in_the_file_is_not_found(ask) -> None:
    with ObjectFile(object_bytes(), "loader") as program, pytest.raises(NotFoundError, match=r"nothing|nowhere"):
        ask(program)


def test_constants_reach_the_program() -> None:
    with ObjectFile(object_bytes(), "loader") as program:
        program.set_rodata("answer", struct.pack("=I", 42))
        program.set_rodata("letters", b"abcd")
        program.load()
        assert syscall_prog_run(program.program_fd("tell_answer"), bytearray()) == 42 * 256 + ord("c")


def test_constant_of_another_size_is_refused() -> None:
    with ObjectFile(object_bytes(), "loader") as program, pytest.raises(AssertionError, match="answer has 4 bytes"):
        program.set_rodata("answer", b"12345678")


def test_maps_can_be_sized_before_load() -> None:
    with ObjectFile(object_bytes(), "loader") as program:
        program.set_max_entries("items", 1000)
        program.load()
        info = map_info(program.map_fd("items"))
    assert (info.name, info.max_entries, info.value_size) == ("items", 1000, 20)


def test_only_wanted_programs_are_loaded() -> None:
    with ObjectFile(object_bytes(), "loader") as program:
        program.set_autoload("slow", False)
        program.set_autoload("homeless", True)
        program.set_program_type("homeless", SCHED_CLS)
        program.load()
        assert prog_info(program.program_fd("homeless")).name == "homeless"
        with pytest.raises(AssertionError, match="slow is not loaded"):
            program.program_fd("slow")


def test_refusal_of_the_verifier_keeps_the_whole_log() -> None:
    with ObjectFile(object_bytes(), "loader") as program:
        program.set_autoload("careless", True)
        with pytest.raises(LoadError) as refusal:
            program.load()
    assert "R0 invalid mem access 'map_value_or_null'" in refusal.value.log
    assert "-- BEGIN PROG LOAD LOG --" in refusal.value.log
    assert "0: (" in refusal.value.log, "the instructions"
    assert "careless" in str(refusal.value)


def test_refusal_of_libbpf_keeps_its_words() -> None:
    with ObjectFile(object_bytes(), "loader") as program:
        program.set_autoload("homeless", True)
        with pytest.raises(LoadError, match="missing BPF prog type"):
            program.load()


def test_no_object_at_all() -> None:
    with pytest.raises(LoadError) as refusal:
        ObjectFile(b"this is no object file, only words", "words")
    assert "words" in str(refusal.value)
    with pytest.raises(NotFoundError, match=r"absent\.o does not exist"):
        ObjectFile(Path("absent.o"))


def test_nothing_is_printed(capfd) -> None:
    with ObjectFile(object_bytes(), "loader") as program:
        program.set_autoload("careless", True)
        with pytest.raises(LoadError):
            program.load()
    assert capfd.readouterr() == ("", "")


def test_pinned_map_is_taken_up_by_the_next(lab) -> None:
    pin = bpf_syscall.ensure_bpffs() / f"{lab.name}-items"
    ids = []
    try:
        for _ in range(2):
            with ObjectFile(object_bytes(), "loader") as program:
                program.set_pin_path("items", pin)
                program.load()
                ids.append(map_info(program.map_fd("items")).id)
        with ObjectFile(object_bytes(), "loader") as program:
            program.set_max_entries("items", 77)
            program.set_pin_path("items", pin)
            with pytest.raises(LoadError, match="mismatch"):
                program.load()
    finally:
        pin.unlink(missing_ok=True)
    assert ids[0] == ids[1]


def test_map_of_another_object_is_reused() -> None:
    with loaded() as one, ObjectFile(object_bytes(), "other") as other:
        other.reuse_map("items", one.map_fd("items"))
        other.load()
        assert map_info(one.map_fd("items")).id == map_info(other.map_fd("items")).id


def test_missing_library_is_named_with_its_package(monkeypatch) -> None:
    monkeypatch.setattr(libbpf, "_LIBRARY", "libbpf.so.none")
    libbpf._library.cache_clear()
    try:
        with pytest.raises(MachineError, match="install the Debian package libbpf1"):
            ObjectFile(object_bytes())
    finally:
        monkeypatch.undo()
        libbpf._library.cache_clear()
