"""Python's picture of the structs and numbers that it shares with the kernel is the compiler's.

What the object's own maps and variables use is read from its BTF; the rest (records of the ring, enums) from that of
a probe, a C file that includes the same headers and declares one variable of each type.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path
from struct import Struct, calcsize

import pytest

from vswitch.datapath.ebpf import layout, oplist
from vswitch.datapath.ebpf.compile import compile_object
from vswitch.datapath.ebpf.libbpf import Extent, ObjectFile
from vswitch.datapath.ebpf.state import _MAPS, _PROGRAMS, _TAIL_CALLED, OBJECT
from vswitch.fields import KEY_BYTES, SLOTS
from vswitch.fields.kinds import FRAGMENTS
from vswitch.model.port import DROP_REASONS
from vswitch.model.upcall import UpcallReason
from vswitch.packet import spots

HEADERS = OBJECT.parent / "bpf"

# Struct of layout.py | struct of the C headers | members in order, padding left out
STRUCTS = [
    (layout.FLOW, "flow", "actions mask born died idle_ms key created_ns hard_ms wanted_mask gate"),
    (layout.FLOW_STATS, "flow_stats", "packets bytes used_ns tcp_flags tick"),
    (layout.MASK, "mask", "seed n pad index word"),
    (layout.PORT, "port", "ifindex slot flags"),
    (layout.PORT_INFO, "port_info", "name number kind unfinished peer"),
    (
        layout.PORT_COUNTERS,
        "port_counters",
        "rx_packets rx_bytes tx_packets tx_bytes tx_errors upcalls drops",
    ),
    (layout.PORT_RING, "port_ring", "produced consumed quota lost miss_cost miss_burst full_at"),
    (layout.COUNTERS, "counters", "cache_hits mask_hits masks_tried missed lost upcalls"),
    (layout.METER, "meter", "full_at cost counts_bytes rate burst packets bytes dropped_packets dropped_bytes"),
    (layout.POLICER, "policer", "full_at cost burst"),
    (
        layout.INJECTION,
        "injection",
        "in_port recirc_id skb_mark skb_priority dp_hash recirculations list_count list valid tunnel",
    ),
    (layout.OP, "op", "code a8 a16 a32 value mask extra"),
    (layout.CONTROL, "control", "code count mask first result pad now_ns"),
]
UPCALL_READ = "size in_port reason captured length time_ns recirculations flow key"
DP_NAMES = {"max_masks": "OPTION_MASKS", "port_quota": "OPTION_QUOTA"}  # where Python's name is another

# Python's numbers | enum | prefix of its constants
ENUMS = [
    (layout.Verdict, "verdict", "VERDICT_"),
    (layout.ControlCode, "control_code", "CONTROL_"),
    (layout.ControlResult, "control_result", "CONTROL_"),
    (oplist.OpCode, "op_code", "OP_"),
    (spots.Base, "set_base", "BASE_"),
    (spots.Sum, "set_checksum", "SUM_"),
    (UpcallReason, "upcall_reason", "UPCALL_"),
    (FRAGMENTS, "ip_frag", "FRAGMENT_"),
    (DROP_REASONS, "drop_reason", "DROP_"),
    (tuple(name.removeprefix("vs_") for name in (*_TAIL_CALLED, "programs")), "program", "PROGRAM_"),
]


@pytest.fixture(scope="module")
def program() -> Iterator[ObjectFile]:
    """The object as it is loaded."""
    with ObjectFile(OBJECT) as opened:
        yield opened


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectFile]:
    """One variable of each type that no map holds."""
    source = Path(tmp_path_factory.mktemp("probe"), "probe.bpf.c")
    enums = "".join(f"enum {name} {name}_;\n" for _, name, _ in ENUMS)
    source.write_text(f'#include "vswitch.bpf.c"\nstruct upcall *record;\n{enums}')
    compile_object(source, source.with_suffix(".o"), [HEADERS])
    with ObjectFile(source.with_suffix(".o")) as opened:
        yield opened


def packed(form: str) -> list[tuple[int, int]]:
    """(offset, size) of each value that a format packs."""
    offset, found = 0, []
    for count, code in re.findall(r"(\d*)([a-zA-Z?])", form):
        if code in "xs":
            items = [calcsize(f"<{count}{code}")]
        else:
            items = [calcsize(f"<{code}")] * int(count or 1)
        for size in items:
            if code != "x":
                found.append((offset, size))
            offset += size
    return found


def spread(members: dict[str, Extent], names: str, values: list[tuple[int, int]]) -> dict[str, Extent]:
    """Where Python has each member: as many values, one behind the other, as its size takes; an array is many."""
    found = {}
    rest = iter(values)
    for name in names.split():
        begin, size = next(rest)
        while size < members[name].size:
            offset, more = next(rest)
            assert offset == begin + size, f"{name}: a gap in the middle"
            size += more
        found[name] = Extent(begin, size)
    assert not list(rest), "more values than members"
    return found


@pytest.mark.parametrize(("ours", "name", "names"), STRUCTS, ids=[name for _, name, _ in STRUCTS])
def test_struct_is_as_compiled(program: ObjectFile, ours: Struct, name: str, names: str) -> None:
    members = program.struct_layout(name)
    assert ours.size == program.struct_size(name)
    assert spread(members, names, packed(ours.format)) == {member: members[member] for member in names.split()}
    assert {member for member in members if not member.startswith("pad")} <= set(names.split())


def test_record_of_the_ring_is_as_compiled(probe: ObjectFile) -> None:
    members = probe.struct_layout("upcall")
    begin = {name: members[name] for name in UPCALL_READ.split()}
    assert spread(members, UPCALL_READ, packed(layout.UPCALL.format)) == begin
    offset = layout.UpcallOffset
    assert tuple(members[name].offset for name in ("userdata_length", "flow", "userdata", "offload", "packet")) == (
        offset.USERDATA_LENGTH,
        offset.FLOW,
        offset.USERDATA,
        offset.OFFLOAD,
        offset.PACKET,
    )
    assert members["userdata_length"].size == 1
    assert (members["key"].size, members["offload"].size) == (KEY_BYTES, offset.PACKET - offset.OFFLOAD)
    assert probe.struct_size("upcall") == offset.PACKET


def test_variable_dp_is_as_compiled(program: ObjectFile) -> None:
    members, view = program.struct_layout("datapath"), program.struct_layout("view")
    ours = layout.DATAPATH
    named = {name: extent.offset for name, extent in members.items() if not name.startswith("pad")}
    assert named == {name: getattr(ours, DP_NAMES.get(name, name.upper())) for name in named}
    assert program.variables(".bss")["dp"].offset == 0, "Python takes the section to begin with dp"
    assert program.struct_size("view") == ours.VIEW_SIZE
    assert (view["n_masks"].offset, view["order"].offset) == (ours.VIEW_N_MASKS, ours.VIEW_ORDER)


def test_key_is_as_the_registry_has_it(program: ObjectFile) -> None:
    members = program.struct_layout("flow_key")
    assert program.struct_size("flow_key") == KEY_BYTES
    assert {name: members[name] for name in SLOTS} == {
        slot.name: Extent(slot.offset, slot.size) for slot in SLOTS.values()
    }


def numbers(ours: object) -> dict[str, int]:
    """Names and numbers of an enum, of a class of constants, of a dict, or of a tuple of names."""
    if isinstance(ours, dict):
        return {name.upper(): number for name, number in ours.items()}
    if isinstance(ours, tuple):
        return {name.upper(): number for number, name in enumerate(ours)}
    if isinstance(ours, type) and issubclass(ours, IntEnum):
        return {member.name: int(member) for member in ours}
    if ours is UpcallReason:
        return {member.name: member.value for member in UpcallReason}
    return {name: value for name, value in vars(ours).items() if name.isupper()}


@pytest.mark.parametrize(("ours", "name", "prefix"), ENUMS, ids=[name for _, name, _ in ENUMS])
def test_enum_is_as_compiled(probe: ObjectFile, ours: object, name: str, prefix: str) -> None:
    compiled = probe.enum_values(name)
    assert {constant.removeprefix(prefix): value for constant, value in compiled.items()} == numbers(ours)


def test_constants_are_as_compiled() -> None:
    defined = dict(re.findall(r"^#define (\w+)[ \t]+(\d+)\b", (HEADERS / "state.h").read_text(), re.MULTILINE))
    for name in ("LAYOUT", "MAX_MASKS", "VIEWS", "STAGE", "NO_MASK"):
        assert getattr(layout, name) == int(defined[name]), name


def test_maps_and_programs_are_those_that_are_pinned(program: ObjectFile) -> None:
    assert {name for name in program.maps() if not name.startswith(".")} == set(_MAPS)
    assert set(program.programs()) == {*_PROGRAMS, *_TAIL_CALLED}
