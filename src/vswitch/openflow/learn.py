"""Nicira's learn: a flow made from the packet, as a list of steps.

A step begins with 16 bits: how many bits it copies (11), from where (bit 13: a number that follows, else a field), to
where (bits 11 and 12: the match, a load, an output). A field is its header and an offset of 16 bits; a number has as
many bytes as the bits need, in units of two. The list ends with a step of zero, or with the action.
"""

from __future__ import annotations

from struct import Struct

from vswitch.messages.actions import FlowAction, Learn, LearnSpec
from vswitch.messages.errors import OpenFlowError
from vswitch.messages.match import SubField
from vswitch.openflow.action_parts import Scope, decode_sub_field, encode_sub_field, nicira, writable

__all__ = ["LEARN_BYTES", "decode_learn", "encode_learn"]

_LEARN = Struct("!HHHQHBxHH")
_LIMIT = Struct("!IH2x")
_H = Struct("!H")
LEARN_BYTES = _LEARN.size
"""Of its fixed part, behind the header of ten."""

_SEND_FLOW_REM, _DELETE_LEARNED, _WRITE_RESULT = 1, 2, 4
_KINDS = ("match", "load", "output")
_NUMBER = 1 << 13
_NXM = 1
"""The version by whose headers fields are named here, in all versions."""


def _half(body: bytes, at: int) -> int:
    if at + 2 > len(body):
        raise OpenFlowError("bad_action.bad_len", "a step of learn ends behind the action")
    return int(_H.unpack_from(body, at)[0])


def _field(body: bytes, at: int, bits: int) -> tuple[SubField, int]:
    """Bits of a field: header, offset."""
    size = 8 if body[at : at + 2] == b"\xff\xff" else 4
    start = _half(body, at + size)
    part, after = decode_sub_field(body, at, start, bits)
    return part, after + 2


def _specs(body: bytes, at: int) -> tuple[LearnSpec, ...]:
    specs = []
    end = len(body)
    while at + 2 <= end:
        head = _half(body, at)
        at += 2
        if not head:
            break
        bits, where = head & 0x7FF, head >> 11 & 3
        if not bits or where >= len(_KINDS) or head >> 14:
            raise OpenFlowError("bad_action.bad_argument", f"learn has no step {head:#06x}")
        source, value, destination = None, 0, None
        if head & _NUMBER:
            size = 2 * ((bits + 15) // 16)
            if at + size > end:
                raise OpenFlowError("bad_action.bad_len", f"a number of {bits} bits ends behind learn")
            value = int.from_bytes(body[at : at + size], "big")
            if value >> bits:
                raise OpenFlowError("bad_action.bad_argument", f"{value:#x} in a step of {bits} bits")
            at += size
        else:
            source, at = _field(body, at, bits)
        if where != 2:
            destination, at = _field(body, at, bits)
            if where == 1:
                writable(destination)
        elif head & _NUMBER:
            raise OpenFlowError("bad_action.bad_argument", "a step of learn outputs to a number")
        specs.append(LearnSpec(_KINDS[where], bits, source, value, destination))
    if any(body[at:]):
        raise OpenFlowError("nicira.action_must_be_zero", "bytes behind the steps of learn")
    return tuple(specs)


def decode_learn(body: bytes, _scope: Scope, limited: bool = False) -> FlowAction:
    """Learn; with `limited` its later form, which has a limit and a place for the result."""
    idle, hard, priority, cookie, flags, table, fin_idle, fin_hard = _LEARN.unpack_from(body)
    if flags & ~(7 if limited else 3):
        raise OpenFlowError("bad_action.bad_argument", f"learn has no flags {flags:#x}")
    if table == 255:
        raise OpenFlowError("bad_action.bad_argument", "learn into table 255, which is none")
    at, limit, result = LEARN_BYTES, 0, None
    if limited:
        limit, start = _LIMIT.unpack_from(body, at)
        at += _LIMIT.size
        if flags & _WRITE_RESULT:
            result, at = decode_sub_field(body, at, start, 1)
            writable(result)
    return Learn(
        _specs(body, at), table, idle, hard, priority, cookie, bool(flags & _SEND_FLOW_REM),
        bool(flags & _DELETE_LEARNED), fin_idle, fin_hard, limit, result,
    )  # fmt: skip


def _encode_spec(spec: LearnSpec) -> bytes:
    head = spec.bits | _KINDS.index(spec.kind) << 11
    if spec.source is None:
        data = _H.pack(head | _NUMBER) + spec.value.to_bytes(2 * ((spec.bits + 15) // 16), "big")
    else:
        data = _H.pack(head) + encode_sub_field(spec.source, _NXM) + _H.pack(spec.source.start)
    if spec.destination is not None:
        data += encode_sub_field(spec.destination, _NXM) + _H.pack(spec.destination.start)
    return data


def encode_learn(action: Learn, _scope: Scope) -> bytes:
    """In its first form, if that says all."""
    limited = bool(action.limit) or action.result is not None
    flags = _SEND_FLOW_REM * action.send_flow_rem | _DELETE_LEARNED * action.delete_learned
    if action.result is not None:
        flags |= _WRITE_RESULT
    data = _LEARN.pack(
        action.idle_timeout_s, action.hard_timeout_s, action.priority, action.cookie, flags, action.table,
        action.fin_idle_timeout_s, action.fin_hard_timeout_s,
    )  # fmt: skip
    if limited:
        data += _LIMIT.pack(action.limit, action.result.start if action.result else 0)
    if action.result is not None:
        data += encode_sub_field(action.result, _NXM)
    specs = b"".join(_encode_spec(spec) for spec in action.specs)
    return nicira(45 if limited else 16, data + specs)
