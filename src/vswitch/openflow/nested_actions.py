"""Nicira's actions that hold others, and those of tunnels and connection tracking: clone, ct, nat, encap, decap."""

from __future__ import annotations

from struct import Struct

from vswitch.messages.actions import Clone, Ct, Decap, Encap, FlowAction, Nat
from vswitch.messages.errors import OpenFlowError
from vswitch.messages.match import SubField
from vswitch.openflow.action_parts import (
    Scope,
    decode_sub_field,
    encode_sub_field,
    nicira,
    pack_span,
    span,
)
from vswitch.openflow.wire import pad8

__all__ = [
    "decode_clone",
    "decode_ct",
    "decode_decap",
    "decode_encap",
    "decode_nat",
    "encode_clone",
    "encode_ct",
    "encode_decap",
    "encode_encap",
    "encode_nat",
]

_CT = Struct("!HIHB3xH")
_COMMIT, _FORCE = 1, 2
_NO_TABLE = 255
_NAT = Struct("!2xHH")
_NAT_KINDS = ("", "src", "dst")
_PERSISTENT, _HASH, _RANDOM = 4, 8, 16
_ENCAP = Struct("!HI")
_PROPERTY = Struct("!HBB")
_DECAP = Struct("!2xI")
_NEXT_PROTOCOL = 0x0000FFFE


def decode_clone(body: bytes, scope: Scope) -> FlowAction:
    """Six bytes of padding, then actions."""
    return Clone(scope.read_inner(body[6:]))


def encode_clone(action: Clone, scope: Scope) -> bytes:
    """As it is read."""
    return nicira(42, bytes(6) + scope.write_inner(action.actions))


def decode_ct(body: bytes, scope: Scope) -> FlowAction:
    """Connection tracking; what follows the structure is done to the connection."""
    flags, header, zone, table, alg = _CT.unpack_from(body)
    if flags & ~(_COMMIT | _FORCE):
        raise OpenFlowError("bad_action.bad_argument", f"ct has no flags {flags:#x}")
    if flags & _FORCE and not flags & _COMMIT:
        raise OpenFlowError("bad_action.bad_argument", "ct with force and without commit")
    where: int | SubField = zone
    if header:
        where, _ = decode_sub_field(body, 2, *span(zone))
        if where.bits != 16:
            raise OpenFlowError("bad_action.bad_set_len", f"a zone has 16 bits, {where.bits} are named")
    inner = scope.read_inner(body[_CT.size :])
    return Ct(bool(flags & _COMMIT), bool(flags & _FORCE), where, None if table == _NO_TABLE else table, alg, inner)


def encode_ct(action: Ct, scope: Scope) -> bytes:
    """As it is read."""
    flags = _COMMIT * action.commit | _FORCE * action.force
    zone, header = action.zone, b"\0\0\0\0"
    if isinstance(zone, SubField):
        header = encode_sub_field(zone, scope.version)
        zone = pack_span(zone)
    table = _NO_TABLE if action.table is None else action.table
    fixed = _CT.pack(flags, int.from_bytes(header[:4], "big"), zone, table, action.alg)
    return nicira(35, fixed + scope.write_inner(action.actions))


# Bits of "what is there": (bit, bytes).
_V4_FIRST, _V4_LAST, _V6_FIRST, _V6_LAST, _PORT_FIRST, _PORT_LAST = 1, 2, 4, 8, 16, 32
_RANGES = ((_V4_FIRST, 4), (_V4_LAST, 4), (_V6_FIRST, 16), (_V6_LAST, 16), (_PORT_FIRST, 2), (_PORT_LAST, 2))


def decode_nat(body: bytes, _scope: Scope) -> FlowAction:
    """Within ct: flags, which ends of ranges are there, and those."""
    flags, there = _NAT.unpack_from(body)
    kind = flags & 3
    if flags >> 5 or kind == 3 or there >> 6:
        raise OpenFlowError("bad_action.bad_argument", f"nat has no flags {flags:#x} with {there:#x}")
    found: dict[int, int] = {}
    at = _NAT.size
    for bit, size in _RANGES:
        if there & bit:
            if at + size > len(body):
                raise OpenFlowError("bad_action.bad_len", "a range of nat ends behind the action")
            found[bit] = int.from_bytes(body[at : at + size], "big")
            at += size
    if (found and not kind) or {_V4_FIRST, _V6_FIRST} <= set(found):
        raise OpenFlowError("bad_action.bad_argument", "nat with a range, and neither src nor dst or both IP and IPv6")
    for first, last in ((_V4_FIRST, _V4_LAST), (_V6_FIRST, _V6_LAST), (_PORT_FIRST, _PORT_LAST)):
        if last in found and first not in found:
            raise OpenFlowError("bad_action.bad_argument", "a range of nat has an end and no beginning")
    version = 4 if _V4_FIRST in found else 6 if _V6_FIRST in found else 0
    return Nat(
        _NAT_KINDS[kind], version, found.get(_V4_FIRST, found.get(_V6_FIRST, 0)),
        found.get(_V4_LAST, found.get(_V6_LAST, 0)), found.get(_PORT_FIRST, 0), found.get(_PORT_LAST, 0),
        bool(flags & _PERSISTENT), bool(flags & _HASH), bool(flags & _RANDOM),
    )  # fmt: skip


def encode_nat(action: Nat, _scope: Scope) -> bytes:
    """As it is read; an end of zero is not written."""
    flags = _NAT_KINDS.index(action.kind)
    flags |= _PERSISTENT * action.persistent | _HASH * action.hash | _RANDOM * action.random
    first, last = (_V6_FIRST, _V6_LAST) if action.version == 6 else (_V4_FIRST, _V4_LAST)
    values = {
        first: action.first_address if action.version else None,
        last: action.last_address if action.version and action.last_address else None,
        _PORT_FIRST: action.first_port or None,
        _PORT_LAST: action.last_port or None,
    }
    there, data = 0, b""
    for bit, size in _RANGES:
        value = values.get(bit)
        if value is not None:
            there |= bit
            data += value.to_bytes(size, "big")
    return nicira(36, _NAT.pack(flags, there) + data)


def decode_encap(body: bytes, _scope: Scope) -> FlowAction:
    """A packet type, and properties: class, type, length, value, padded."""
    _, packet_type = _ENCAP.unpack_from(body)
    found = []
    at, end = _ENCAP.size, len(body)
    while at < end:
        if at + _PROPERTY.size > end:
            raise OpenFlowError("bad_action.bad_len", "a property of encap ends behind the action")
        group, kind, length = _PROPERTY.unpack_from(body, at)
        if length < _PROPERTY.size or at + length > end:
            raise OpenFlowError("bad_property.bad_len", f"a property of encap of {length} bytes")
        found.append((group, kind, bytes(body[at + _PROPERTY.size : at + length])))
        at += length + -length % 8
    return Encap(packet_type, tuple(found))


def encode_encap(action: Encap, _scope: Scope) -> bytes:
    """As it is read."""
    parts = [_ENCAP.pack(0, action.packet_type)]
    for group, kind, value in action.properties:
        parts.append(pad8(_PROPERTY.pack(group, kind, _PROPERTY.size + len(value)) + value))
    return nicira(46, b"".join(parts))


def decode_decap(body: bytes, _scope: Scope) -> FlowAction:
    """The packet type that is wanted, or that of the next header."""
    (packet_type,) = _DECAP.unpack_from(body)
    return Decap(None if packet_type == _NEXT_PROTOCOL else packet_type)


def encode_decap(action: Decap, _scope: Scope) -> bytes:
    """As it is read."""
    return nicira(47, _DECAP.pack(_NEXT_PROTOCOL if action.packet_type is None else action.packet_type))
