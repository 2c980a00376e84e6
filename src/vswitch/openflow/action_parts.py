"""What the codecs of actions share: frames of actions, bits of fields, and rows for those that are plain structures.

A codec is a `Row`: how the body (what follows the header, which is 4 bytes for OpenFlow's own actions and 10 for
Nicira's) becomes an action, and back. Actions within actions go through the `Scope`, which bounds how deep they lie.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from struct import Struct
from typing import Any

from vswitch.base.errors import ConfigError
from vswitch.fields.openflow import FlowField
from vswitch.messages.actions import FlowAction
from vswitch.messages.errors import OpenFlowError
from vswitch.messages.match import SubField
from vswitch.openflow.oxm import decode_header, encode_header
from vswitch.openflow.wire import NICIRA, pad8

__all__ = [
    "MAX_DEPTH",
    "Row",
    "Scope",
    "decode_sub_field",
    "encode_sub_field",
    "frame",
    "nicira",
    "pack_span",
    "plain",
    "span",
    "sub_field",
    "word_at",
    "writable",
]

MAX_DEPTH = 16
"""Nesting of clone, ct and write_actions: each level is a level of recursion; people write two or three."""

_FRAME = Struct("!HH")
_NICIRA_FRAME = Struct("!HHIH")
_VENDOR = 0xFFFF
_PORT_16, _PORT_32 = bytes.fromhex("00000002"), bytes.fromhex("80000004")
MAX_ACTION_BYTES = 0xFFF8


@dataclass(frozen=True, slots=True)
class Scope:
    """Where actions are: in which version, how deep, how those within are read and written. `protocol`: that of the
    flow's packets, for actions that set "the port" (0: not known)."""

    version: int
    read: Callable[[bytes, Scope], tuple[FlowAction, ...]]
    write: Callable[[tuple[FlowAction, ...], Scope], bytes]
    depth: int = 0
    protocol: int = 0

    def inner(self) -> Scope:
        """One level deeper. OpenFlowError: that is too deep."""
        if self.depth >= MAX_DEPTH:
            raise OpenFlowError("bad_action.too_many", f"actions within actions, deeper than {MAX_DEPTH}")
        return Scope(self.version, self.read, self.write, self.depth + 1, self.protocol)

    def read_inner(self, data: bytes) -> tuple[FlowAction, ...]:
        """The actions that `data` is."""
        return self.read(data, self.inner())

    def write_inner(self, actions: tuple[FlowAction, ...]) -> bytes:
        """Those actions as bytes."""
        return self.write(actions, self.inner())


@dataclass(frozen=True, slots=True)
class Row:
    """How one kind of action is read and written. `least`, `most`: bytes of its body (`most` 0: no bound)."""

    decode: Callable[[bytes, Scope], FlowAction]
    least: int
    most: int = 0


def frame(kind: int, body: bytes) -> bytes:
    """One of OpenFlow's own actions. OpenFlowError: it is too long."""
    length = 4 + len(body)
    length += -length % 8
    if length > MAX_ACTION_BYTES:
        raise OpenFlowError("bad_action.bad_len", f"an action of {length} bytes exceeds {MAX_ACTION_BYTES}")
    return pad8(_FRAME.pack(kind, length) + body)


def nicira(subtype: int, body: bytes, vendor: int = NICIRA) -> bytes:
    """One of Nicira's actions (or of another vendor who numbers them so). OpenFlowError: it is too long."""
    length = 10 + len(body)
    length += -length % 8
    if length > MAX_ACTION_BYTES:
        raise OpenFlowError("bad_action.bad_len", f"an action of {length} bytes exceeds {MAX_ACTION_BYTES}")
    return pad8(_NICIRA_FRAME.pack(_VENDOR, length, vendor, subtype) + body)


def plain(cls: type[Any], layout: str, size: int) -> Row:
    """The row of an action whose members stand in a structure, in order; its body has `size` bytes."""
    structure = Struct("!" + layout)

    def decode(body: bytes, _scope: Scope) -> FlowAction:
        action: FlowAction = cls(*structure.unpack_from(body))
        return action

    return Row(decode, size, size)


def word_at(words: tuple[str, ...], number: int, what: str) -> str:
    """The word of this number. OpenFlowError: there is none."""
    if number >= len(words):
        raise OpenFlowError("bad_action.bad_argument", f"{what} {number} is not known")
    return words[number]


# ---- bits of fields


def sub_field(field: FlowField, start: int, bits: int) -> SubField:
    """Those bits. OpenFlowError: the field has not so many."""
    try:
        return SubField(field, start, bits)
    except ConfigError as error:
        raise OpenFlowError("bad_action.bad_set_len", str(error)) from None


def writable(part: SubField) -> SubField:
    """The same bits. OpenFlowError: actions may not change that field."""
    if not part.field.writable:
        raise OpenFlowError("bad_action.bad_set_argument", f"{part.field.name} is not to be changed by actions")
    return part


def span(number: int) -> tuple[int, int]:
    """(start, bits) of Nicira's `ofs_nbits`: ten bits of offset, six of length less one."""
    return number >> 6, (number & 0x3F) + 1


def pack_span(part: SubField) -> int:
    """And back. OpenFlowError: more than 64 bits."""
    if part.bits > 64:
        raise OpenFlowError("bad_action.bad_set_len", f"{part.bits} bits of {part.field.name}, where 64 are the most")
    return part.start << 6 | part.bits - 1


def decode_sub_field(data: bytes, at: int, start: int, bits: int) -> tuple[SubField, int]:
    """Bits of the field whose header is at `at`, and where what follows begins."""
    field, after = decode_header(data, at)
    return sub_field(field, start, bits), after


def encode_sub_field(part: SubField, version: int) -> bytes:
    """The header of the field, four bytes or eight. The port of a packet has 16 bits in NXM, and 32 in OXM."""
    if part.field.name == "in_port":
        return _PORT_16 if part.start + part.bits <= 16 else _PORT_32
    return encode_header(part.field, version)
