"""Instructions (OpenFlow 1.1 and later) to actions and back.

A flow's actions are one tuple: `Meter` first, then what is applied at once, then `ClearActions`, `WriteActions`,
`WriteMetadata`, `GotoTable`. On the wire each of these is an instruction, of which there is one of a kind at most; they
are carried out in this order whatever order they are sent in (OpenFlow 1.3.5 section 5.9). In OpenFlow 1.5 the meter is
an action.

Flows of one table often have the same instructions: what was read last is kept, so that equal bytes become the same
tuple, which is quick and saves memory.
"""

from __future__ import annotations

from struct import Struct

from vswitch.fields.openflow import OPENFLOW_FIELDS
from vswitch.messages.actions import ClearActions, FlowAction, GotoTable, Meter, WriteActions, WriteMetadata
from vswitch.messages.errors import OpenFlowError
from vswitch.messages.match import FlowMatch
from vswitch.openflow.actions import decode_actions, encode_actions
from vswitch.openflow.wire import pad8

__all__ = ["MAX_KEPT", "decode_flow_actions", "decode_instructions", "encode_flow_actions", "encode_instructions"]

MAX_KEPT = 4096
"""Lists of instructions that are kept, none longer than `_MAX_KEPT_BYTES`; beyond it all are forgotten."""
_MAX_KEPT_BYTES = 256

_GOTO, _METADATA, _WRITE, _APPLY, _CLEAR, _METER, _EXPERIMENTER = 1, 2, 3, 4, 5, 6, 0xFFFF
_HEAD = Struct("!HH")
_GOTO_TABLE = Struct("!HHB3x")
_WRITE_METADATA = Struct("!HH4xQQ")
_ACTIONS = Struct("!HH4x")
_METER_ID = Struct("!HHI")
_LENGTHS = {_GOTO: 8, _METADATA: 24, _CLEAR: 8, _METER: 8}

_kept: dict[tuple[int, bytes], tuple[FlowAction, ...]] = {}


def decode_flow_actions(data: bytes, version: int) -> tuple[FlowAction, ...]:
    """A flow's actions: a list of them in OpenFlow 1.0, instructions later. What is kept, is given again."""
    key = (version, data)
    found = _kept.get(key)
    if found is None:
        found = decode_actions(data, version) if version == 1 else decode_instructions(data, version)
        if len(data) <= _MAX_KEPT_BYTES:
            if len(_kept) >= MAX_KEPT:
                _kept.clear()
            _kept[key] = found
    return found


def encode_flow_actions(actions: tuple[FlowAction, ...], version: int, match: FlowMatch | None = None) -> bytes:
    """And back; `match`: that of the flow."""
    protocol = 0
    if match is not None and version >= 3:
        protocol = _PROTOCOL.take(match.value)
    if version == 1:
        return encode_actions(actions, 1)
    return encode_instructions(actions, version, protocol=protocol)


_PROTOCOL = OPENFLOW_FIELDS["ip_proto"].view


def _split(data: bytes) -> dict[int, bytes]:
    """type -> whole instruction. OpenFlowError: a length is wrong, one is there twice, or is not known."""
    found: dict[int, bytes] = {}
    at, end = 0, len(data)
    while at < end:
        if end - at < 8:
            raise OpenFlowError("bad_instruction.bad_len", f"{end - at} bytes at the end are no instruction")
        kind, length = _HEAD.unpack_from(data, at)
        if length < 8 or length & 7 or at + length > end:
            what = f"instruction {kind} of {length} bytes, where {end - at} are left"
            raise OpenFlowError("bad_instruction.bad_len", what)
        if kind in found:
            raise OpenFlowError("bad_instruction.dup_inst", f"instruction {kind} is there twice")
        if kind == _EXPERIMENTER:
            raise OpenFlowError("bad_instruction.bad_experimenter", "no instructions of experimenters are known")
        if not _GOTO <= kind <= _METER:
            raise OpenFlowError("bad_instruction.unknown_inst", f"instruction {kind} is not known")
        if length != _LENGTHS.get(kind, length):
            raise OpenFlowError("bad_instruction.bad_len", f"instruction {kind} of {length} bytes")
        found[kind] = data[at : at + length]
        at += length
    return found


def decode_instructions(data: bytes, version: int) -> tuple[FlowAction, ...]:
    """The actions that the instructions in `data` stand for. OpenFlowError: bad_instruction.*, bad_action.*"""
    found = _split(data)
    actions: list[FlowAction] = []
    if _METER in found:
        if not 4 <= version <= 5:
            raise OpenFlowError("bad_instruction.unknown_inst", f"OpenFlow 1.{version - 1} has no instruction meter")
        actions.append(Meter(_METER_ID.unpack(found[_METER])[2]))
    if _APPLY in found:
        applied = decode_actions(found[_APPLY][8:], version)
        actions.extend(applied)
    if _CLEAR in found:
        actions.append(ClearActions())
    if _WRITE in found:
        actions.append(WriteActions(decode_actions(found[_WRITE][8:], version)))
    if _METADATA in found:
        _, _, value, mask = _WRITE_METADATA.unpack(found[_METADATA])
        actions.append(WriteMetadata(value, mask))
    if _GOTO in found:
        actions.append(GotoTable(_GOTO_TABLE.unpack(found[_GOTO])[2]))
    return tuple(actions)


def encode_instructions(actions: tuple[FlowAction, ...], version: int, *, protocol: int = 0) -> bytes:
    """The instructions that stand for the actions, in the order in which they are carried out."""
    applied = []
    ahead, behind = b"", []
    for action in actions:
        kind = type(action)
        if kind is Meter and 4 <= version <= 5:
            ahead = _METER_ID.pack(_METER, 8, action.id)  # type: ignore[attr-defined]
        elif kind is ClearActions:
            behind.append(_ACTIONS.pack(_CLEAR, 8))
        elif isinstance(action, WriteActions):
            data = pad8(encode_actions(action.actions, version, protocol=protocol))
            behind.append(_ACTIONS.pack(_WRITE, 8 + len(data)) + data)
        elif isinstance(action, WriteMetadata):
            behind.append(_WRITE_METADATA.pack(_METADATA, 24, action.value, action.mask))
        elif isinstance(action, GotoTable):
            behind.append(_GOTO_TABLE.pack(_GOTO, 8, action.table))
        else:
            applied.append(action)
    middle = b""
    if applied:
        data = encode_actions(tuple(applied), version, protocol=protocol)
        middle = _ACTIONS.pack(_APPLY, 8 + len(data)) + data
    return b"".join((ahead, middle, *behind))
