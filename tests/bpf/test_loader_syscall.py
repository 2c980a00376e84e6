"""bpf(2) itself: elements, pins, runs, and what the machine can do."""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.bpf.test_loader_program import loaded
from tests.lab import wait_until
from vswitch.base.errors import (
    ExistsError,
    KernelError,
    MachineError,
    NotFoundError,
    PrivilegeError,
    TableFullError,
)
from vswitch.datapath.ebpf import bpf_syscall
from vswitch.datapath.ebpf.bpf_syscall import SyscallProgram
from vswitch.datapath.ebpf.libbpf import ObjectFile
from vswitch.datapath.ebpf.memory import SharedMap

NO_EXIST, EXIST = 1, 2


@pytest.fixture(scope="module")
def program() -> Iterator[ObjectFile]:
    with loaded() as program:
        yield program


def key(number: int) -> bytes:
    return struct.pack("=I", number)


def test_elements_come_and_go(program) -> None:
    fd = program.map_fd("table")
    assert bpf_syscall.map_lookup(fd, key(1), 8) is None
    bpf_syscall.map_update(fd, key(1), bytes(8))
    bpf_syscall.map_update(fd, key(2), b"12345678")
    assert bpf_syscall.map_lookup(fd, key(2), 8) == b"12345678"
    assert sorted(bpf_syscall.map_keys(fd, 4)) == [key(1), key(2)]
    with pytest.raises(TableFullError, match="map table has no room for another element: its bound is 2"):
        bpf_syscall.map_update(fd, key(3), bytes(8))
    with pytest.raises(ExistsError):
        bpf_syscall.map_update(fd, key(1), bytes(8), NO_EXIST)
    for found in bpf_syscall.map_keys(fd, 4):
        assert bpf_syscall.map_delete(fd, found)
    assert not bpf_syscall.map_delete(fd, key(1))
    with pytest.raises(NotFoundError):
        bpf_syscall.map_update(fd, key(1), bytes(8), EXIST)


def test_pins_are_taken_once_and_found(program, lab) -> None:
    pin = bpf_syscall.ensure_bpffs() / f"{lab.name}-table"
    with pytest.raises(NotFoundError, match=f"{lab.name}-table"):
        bpf_syscall.obj_get(pin)
    try:
        bpf_syscall.obj_pin(program.map_fd("table"), pin)
        with pytest.raises(ExistsError):
            bpf_syscall.obj_pin(program.map_fd("table"), pin)
        fd = bpf_syscall.obj_get(pin)
        assert bpf_syscall.map_info(fd) == bpf_syscall.map_info(program.map_fd("table"))
        os.close(fd)
    finally:
        pin.unlink(missing_ok=True)


def test_program_tells_of_itself(program) -> None:
    info = bpf_syscall.prog_info(program.program_fd("touch"))
    assert info.name == "touch"
    assert info.verified_instructions > 5
    assert set(info.map_ids) >= {bpf_syscall.map_info(program.map_fd(name)).id for name in ("items", ".data")}
    again = bpf_syscall.prog_from_id(info.id)
    assert bpf_syscall.prog_info(again) == info
    os.close(again)


def test_packet_goes_through_a_program(program) -> None:
    context = struct.pack("=III", 0, 0, 41) + bytes(180)
    run = bpf_syscall.prog_test_run(program.program_fd("rewrite"), bytes(64), context)
    assert run.retval == 7
    assert run.data_out == b"\0\0AA" + bytes(60)
    assert struct.unpack_from("=I", run.ctx_out, 8) == (42,)
    assert bpf_syscall.prog_test_run(program.program_fd("drop"), bytes(64), repeat=1000).duration_ns < 1_000_000


def test_room_too_small_for_the_packet_is_an_error(program) -> None:
    with pytest.raises(MachineError, match="No space left"):
        bpf_syscall.prog_test_run(program.program_fd("rewrite"), bytes(64), data_out_size=10)


def test_syscall_program_shares_its_context(program) -> None:
    counter = SyscallProgram(program.program_fd("increment"), 8)
    counter.ctx[4:] = key(6)
    assert [counter.run() for _ in range(3)] == [7, 8, 9]
    assert bytes(counter.ctx) == key(0) + key(9)
    context = bytearray(key(0) + key(0xFFFFFFFE))
    assert bpf_syscall.syscall_prog_run(program.program_fd("increment"), context) == 0xFFFFFFFF
    assert context == bytearray(key(0) + key(0xFFFFFFFF))
    assert SyscallProgram(program.program_fd("tell_answer")).run() == 256


def test_syscall_program_without_its_context_is_an_error(program) -> None:
    with pytest.raises(MachineError, match="running a syscall program: Invalid argument"):
        SyscallProgram(program.program_fd("increment"), 4).run()


@pytest.mark.parametrize("cpus", [None, 1], ids=["membarrier", "map of maps"])
def test_grace_period_outlasts_a_running_program(cpus, monkeypatch) -> None:
    if cpus:
        monkeypatch.setattr(os, "cpu_count", lambda: cpus)
    with loaded() as program:
        memory = SharedMap(program.map_fd(".bss"))
        variables = program.variables(".bss")
        started, ended = (variables[name].offset for name in ("started", "ended"))

        def caught_running() -> bool:
            """Whether the program was still running when the wait began; if so, it is not afterwards."""
            memory.view[started] = memory.view[ended] = 0
            slow = (program.program_fd("slow"), bytes(64))
            runner = threading.Thread(target=bpf_syscall.prog_test_run, args=slow)
            runner.start()
            wait_until(lambda: memory.view[started], "the program began")
            running = not memory.view[ended]
            bpf_syscall.wait_for_programs()
            has_ended = memory.view[ended]
            runner.join()
            assert has_ended
            return running

        assert any(caught_running() for _ in range(20)), "the program is too fast for this test"
        memory.close()


def test_tcx_is_there_from_6_6_on() -> None:
    release = tuple(int(part) for part in os.uname().release.split("-")[0].split(".")[:2])
    assert bpf_syscall.has_tcx() == (release >= (6, 6))


def test_cpus_are_counted() -> None:
    assert (os.cpu_count() or 1) <= bpf_syscall.possible_cpus() <= bpf_syscall.cpu_slots()


@pytest.mark.parametrize(
    ("release", "sentence"),
    [
        ("5.10.0-8", "vswitch needs Linux 6.1 or newer, this is 5.10.0-8"),
        ("6.0.19", "vswitch needs Linux 6.1 or newer, this is 6.0.19"),
        ("6.1.0-9-amd64", None),
        ("7.0+", None),
        ("6.10-rc1", None),
    ],
)
def test_old_kernels_are_refused(release, sentence, monkeypatch) -> None:
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(release=release))
    if sentence is None:
        bpf_syscall.require_kernel()
    else:
        with pytest.raises(KernelError) as refusal:
            bpf_syscall.require_kernel()
        assert str(refusal.value) == sentence


def test_kernel_without_types_is_refused(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(bpf_syscall, "KERNEL_BTF", tmp_path / "vmlinux")
    with pytest.raises(KernelError, match="CONFIG_DEBUG_INFO_BTF"):
        bpf_syscall.require_kernel()


def test_bpf_file_system_is_mounted_once(tmp_path) -> None:
    def mounts() -> int:
        return Path("/proc/self/mounts").read_text().count(str(tmp_path))

    try:
        for _ in range(2):
            assert bpf_syscall.ensure_bpffs(tmp_path) == tmp_path
            assert mounts() == 1
    finally:
        while mounts():
            assert bpf_syscall._libc.umount(bytes(tmp_path)) == 0
    with pytest.raises(MachineError, match="absent does not exist"):
        bpf_syscall.ensure_bpffs(tmp_path / "absent")


def test_unprivileged_user_is_told_what_is_missing(tmp_path) -> None:
    answer = tmp_path / "answer"
    answer.touch(0o666)
    child = os.fork()
    if not child:
        try:
            with answer.open("w") as file:
                os.setuid(65534)
                try:
                    bpf_syscall.has_tcx.__wrapped__()
                except PrivilegeError as refusal:
                    file.write(str(refusal))
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert "needs root, or the capabilities CAP_BPF, CAP_NET_ADMIN, CAP_NET_RAW and CAP_PERFMON" in answer.read_text()
