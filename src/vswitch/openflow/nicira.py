"""Nicira's messages, which Open vSwitch takes in every version: settings of a connection, and Geneve options as fields.

Codecs of bodies, behind vendor and subtype. Flows, packets, groups and roles of Nicira's are beside OpenFlow's own.
"""

from __future__ import annotations

from struct import Struct

from vswitch.messages.control import (
    FlowModTableId,
    SetControllerId,
    SetFlowFormat,
    SetPacketInFormat,
    TlvMap,
    TlvTableMod,
    TlvTableReply,
)
from vswitch.messages.errors import OpenFlowError
from vswitch.openflow.wire import Dialect, need

__all__ = [
    "decode_controller_id",
    "decode_flow_format",
    "decode_packet_in_format",
    "decode_table_id",
    "decode_tlv_mod",
    "decode_tlv_reply",
    "encode_controller_id",
    "encode_flow_format",
    "encode_packet_in_format",
    "encode_table_id",
    "encode_tlv_mod",
    "encode_tlv_reply",
]

_WORD = Struct("!I")
_TABLE_ID = Struct("!B7x")
_CONTROLLER_ID = Struct("!6xH")
_TLV_MOD = Struct("!H6x")
_TLV_REPLY = Struct("!IH10x")
_TLV_MAP = Struct("!HBBH2x")
_FLOW_FORMATS, _PACKET_IN_FORMATS = (0, 2), (0, 1, 2)


def decode_table_id(body: bytes, _dialect: Dialect) -> FlowModTableId:
    """NXT_FLOW_MOD_TABLE_ID."""
    need(body, _TABLE_ID.size, "bad_request.bad_len", "flow-mod table id")
    return FlowModTableId(bool(body[0]))


def encode_table_id(message: FlowModTableId, _dialect: Dialect) -> bytes:
    """As it is read."""
    return _TABLE_ID.pack(message.on)


def decode_flow_format(body: bytes, _dialect: Dialect) -> SetFlowFormat:
    """NXT_SET_FLOW_FORMAT."""
    need(body, _WORD.size, "bad_request.bad_len", "a flow format")
    (number,) = _WORD.unpack_from(body)
    if number not in _FLOW_FORMATS:
        raise OpenFlowError("bad_request.eperm", f"flow format {number} is not known")
    return SetFlowFormat(number)


def encode_flow_format(message: SetFlowFormat, _dialect: Dialect) -> bytes:
    """As it is read."""
    return _WORD.pack(message.format)


def decode_packet_in_format(body: bytes, _dialect: Dialect) -> SetPacketInFormat:
    """NXT_SET_PACKET_IN_FORMAT."""
    need(body, _WORD.size, "bad_request.bad_len", "a packet-in format")
    (number,) = _WORD.unpack_from(body)
    if number not in _PACKET_IN_FORMATS:
        raise OpenFlowError("bad_request.eperm", f"packet-in format {number} is not known")
    return SetPacketInFormat(number)


def encode_packet_in_format(message: SetPacketInFormat, _dialect: Dialect) -> bytes:
    """As it is read."""
    return _WORD.pack(message.format)


def decode_controller_id(body: bytes, _dialect: Dialect) -> SetControllerId:
    """NXT_SET_CONTROLLER_ID."""
    need(body, _CONTROLLER_ID.size, "bad_request.bad_len", "a controller id")
    if any(body[:6]):
        raise OpenFlowError("nicira.must_be_zero", "padding before a controller id is not zero")
    return SetControllerId(_CONTROLLER_ID.unpack_from(body)[0])


def encode_controller_id(message: SetControllerId, _dialect: Dialect) -> bytes:
    """As it is read."""
    return _CONTROLLER_ID.pack(message.id)


# ---- Geneve options

_TLV_FIELDS, _TLV_MOST, _TLV_COMMANDS = 64, 124, 3


def _maps(body: bytes, at: int) -> tuple[TlvMap, ...]:
    maps = []
    while at < len(body):
        need(body, at + _TLV_MAP.size, "bad_request.bad_len", "a TLV map")
        one = TlvMap(*_TLV_MAP.unpack_from(body, at))
        if one.length > _TLV_MOST or one.length % 4:
            what = f"an option of {one.length} bytes, where multiples of 4 up to {_TLV_MOST} may be"
            raise OpenFlowError("nicira.tlv_bad_opt_len", what)
        if one.index >= _TLV_FIELDS:
            raise OpenFlowError(
                "nicira.tlv_bad_field_idx", f"tun_metadata{one.index}, of which there are {_TLV_FIELDS}"
            )
        maps.append(one)
        at += _TLV_MAP.size
    return tuple(maps)


def _map_bytes(maps: tuple[TlvMap, ...]) -> bytes:
    return b"".join(_TLV_MAP.pack(one.option_class, one.option_type, one.length, one.index) for one in maps)


def decode_tlv_mod(body: bytes, _dialect: Dialect) -> TlvTableMod:
    """NXT_TLV_TABLE_MOD."""
    need(body, _TLV_MOD.size, "bad_request.bad_len", "a TLV table mod")
    (command,) = _TLV_MOD.unpack_from(body)
    if command >= _TLV_COMMANDS:
        raise OpenFlowError("nicira.tlv_bad_command", f"command {command} is not known")
    return TlvTableMod(command, _maps(body, _TLV_MOD.size))


def encode_tlv_mod(message: TlvTableMod, _dialect: Dialect) -> bytes:
    """As it is read."""
    return _TLV_MOD.pack(message.command) + _map_bytes(message.maps)


def decode_tlv_reply(body: bytes, _dialect: Dialect) -> TlvTableReply:
    """NXT_TLV_TABLE_REPLY."""
    need(body, _TLV_REPLY.size, "bad_request.bad_len", "a TLV table")
    space, fields = _TLV_REPLY.unpack_from(body)
    return TlvTableReply(space, fields, _maps(body, _TLV_REPLY.size))


def encode_tlv_reply(message: TlvTableReply, _dialect: Dialect) -> bytes:
    """As it is read."""
    return _TLV_REPLY.pack(message.space, message.fields) + _map_bytes(message.maps)
