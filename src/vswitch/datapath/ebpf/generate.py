"""Writes bpf/flow_key.h, what C must know of Python's tables: `python -m vswitch.datapath.ebpf.generate [--check]`.

From the field registry comes `union flow_key`, from `base.limits` the bounds, from `model` the drop and
upcall reasons. Every offset is asserted again by the C compiler, so the two sides cannot drift apart.

Invariant: the text depends on these tables alone; the header needs no system header, only the types
__u8..__u64 and __be16..__be64, which the including file has.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from vswitch.base import limits
from vswitch.fields import FIELDS, KEY_BYTES, KEY_WORDS, SLOTS, Slot
from vswitch.fields.generate import write_or_check
from vswitch.fields.kinds import FRAGMENTS, TUNNEL_FLAGS
from vswitch.model.port import DROP_REASONS
from vswitch.model.upcall import UpcallReason

__all__ = ["flow_key_header", "main"]

FLOW_KEY_HEADER = Path(__file__).parent / "bpf" / "flow_key.h"

SHARED_LIMITS = (
    "MAX_PORT",
    "MAX_ACTIONS",
    "MAX_ACTION_DEPTH",
    "MAX_USERDATA_BYTES",
    "MAX_RECIRCULATIONS",
    "PARSE_BYTES",
    "MAX_EXTENSION_HEADERS",
    "MAX_MPLS_LABELS",
    "MAX_ND_OPTIONS",
    "MAX_PRIORITY",
)
"""The bounds of base.limits that the kernel's part keeps too."""

_INTRODUCTION = """\
/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The flow key and the tables that C shares with Python.
 *
 * Generated from vswitch.fields, vswitch.base.limits and vswitch.model by `make generate`; do not edit.
 *
 * Slots of type __be* and __u8[] are in network byte order, __u16 and __u32 in the host's. Slots that
 * share bytes never belong to the same packet. Include after the header that defines __u8 and the like.
 */
#pragma once
"""


def _members(slot: Slot) -> list[str]:
    """The declarations of one slot; of 16 bytes also as words."""
    match slot.size, slot.wire:
        case 1, _:
            return [f"__u8 {slot.name};"]
        case ((2 | 4 | 8), wire):
            return [f"__{'be' if wire else 'u'}{slot.size * 8} {slot.name};"]
        case 16, _:
            return [f"__u8 {slot.name}[16];", f"__be32 {slot.name}_32[4];", f"__be64 {slot.name}_64[2];"]
        case _:
            return [f"__u8 {slot.name}[{slot.size}];"]


def _end(slots: Iterable[Slot]) -> int:
    return max(slot.offset + slot.size for slot in slots)


def _clusters() -> Iterator[list[Slot]]:
    """The slots in order of their offset, those that share bytes together."""
    cluster: list[Slot] = []
    for slot in sorted(SLOTS.values(), key=lambda slot: slot.offset):
        if cluster and slot.offset >= _end(cluster):
            yield cluster
            cluster = []
        cluster.append(slot)
    yield cluster


def _lanes(cluster: list[Slot]) -> list[list[Slot]]:
    """The cluster as lanes, in each of which no two slots share bytes."""
    lanes: list[list[Slot]] = []
    for slot in cluster:
        for lane in lanes:
            if slot.offset >= _end(lane):
                lane.append(slot)
                break
        else:
            lanes.append([slot])
    return lanes


def _padding(start: int, end: int) -> list[str]:
    return [f"__u8 pad_{start}[{end - start}];"] if end > start else []


def _union(lines: list[str]) -> list[str]:
    return lines if len(lines) == 1 else ["union {", *(f"\t{line}" for line in lines), "};"]


def _lane(lane: list[Slot], start: int) -> list[str]:
    """One alternative of a cluster that begins at byte `start`."""
    if len(lane) == 1 and lane[0].offset == start:
        return _members(lane[0])
    lines = []
    for slot in lane:
        lines += _padding(start, slot.offset) + _union(_members(slot))
        start = slot.offset + slot.size
    return ["struct {", *(f"\t{line}" for line in lines), "};"]


def _struct() -> Iterator[str]:
    """The members of the struct inside of the union."""
    offset = 0
    for cluster in _clusters():
        yield from _padding(offset, cluster[0].offset)
        start = cluster[0].offset
        yield from _union([line for lane in _lanes(cluster) for line in _lane(lane, start)])
        offset = _end(cluster)
    yield from _padding(offset, KEY_BYTES)


def _asserts() -> Iterator[str]:
    for slot in SLOTS.values():
        yield f"KEY_SLOT({slot.name}, {slot.offset}, {slot.size});"
    yield '_Static_assert(sizeof(union flow_key) == KEY_BYTES, "union flow_key");'


def _bounds() -> Iterator[str]:
    yield f"#define KEY_WORDS {KEY_WORDS}"
    yield f"#define KEY_BYTES {KEY_BYTES}"
    yield from (f"#define {name} {getattr(limits, name)}" for name in SHARED_LIMITS)


def _parts() -> Iterator[str]:
    """Masks and shifts of the fields that are parts of a slot, in the bits of the slot's value."""
    for view in FIELDS.values():
        if view.bits < view.slot.size * 8:
            yield f"#define {view.name.upper()}_MASK {view.max << view.shift:#x}"
            yield f"#define {view.name.upper()}_SHIFT {view.shift}"


def _enum(name: str, prefix: str, words: Mapping[str, int]) -> list[str]:
    members = (f"\t{prefix}_{word.upper()} = {number}," for word, number in words.items())
    return [f"enum {name} {{", *members, "};"]


def _counted(words: Iterable[str]) -> dict[str, int]:
    return {word: number for number, word in enumerate(words)}


def flow_key_header() -> str:
    """The whole text of bpf/flow_key.h."""
    sections = [
        _INTRODUCTION.splitlines(),
        ["/* Bounds: vswitch.base.limits has the reasons. */", *_bounds()],
        [
            "union flow_key {",
            "\t__u64 w[KEY_WORDS];",
            "\tstruct {",
            *(f"\t\t{line}" for line in _struct()),
            "\t};",
            "};",
        ],
        [
            "#define KEY_SLOT(slot, offset, size) \\",
            "\t_Static_assert(__builtin_offsetof(union flow_key, slot) == offset && \\",
            "\t\t       sizeof(((union flow_key *)0)->slot) == size, #slot)",
            "",
            *_asserts(),
            "",
            "#undef KEY_SLOT",
        ],
        [
            "/* Fields that are parts of a slot, in the bits of its value (for a __be slot: after byte swapping). */",
            *_parts(),
        ],
        ["/* Values of ip_frag. */", *_enum("ip_frag", "FRAGMENT", FRAGMENTS)],
        [
            "/* Bits of tun_flags. */",
            *(f"#define TUNNEL_{word.upper()} {1 << bit:#x}" for bit, word in enumerate(TUNNEL_FLAGS)),
        ],
        [
            "/* Why a packet was dropped: vswitch.model.port.DROP_REASONS. */",
            *_enum("drop_reason", "DROP", _counted(DROP_REASONS)),
        ],
        [f"#define DROP_REASONS {len(DROP_REASONS)}"],
        [
            "/* Why a packet went up: vswitch.model.upcall.UpcallReason. */",
            *_enum("upcall_reason", "UPCALL", {reason.name: reason.value for reason in UpcallReason}),
        ],
    ]
    return "\n".join("\n".join(lines) + "\n" for lines in sections)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m vswitch.datapath.ebpf.generate", description="Writes bpf/flow_key.h."
    )
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the file would change")
    options = parser.parse_args(arguments)
    return write_or_check(FLOW_KEY_HEADER, flow_key_header(), check=options.check)


if __name__ == "__main__":
    sys.exit(main())
