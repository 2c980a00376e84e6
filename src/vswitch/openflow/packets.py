"""Packets between switch and controller: packet-in in five shapes, packet-out, and Nicira's resume.

The pipeline's fields of a packet are a match (`PacketIn.metadata`), of which OpenFlow 1.0 and 1.1 know the port alone.
"""

from __future__ import annotations

from struct import Struct

from vswitch.fields.openflow import OPENFLOW_FIELDS
from vswitch.messages.errors import OpenFlowError
from vswitch.messages.flows import NO_BUFFER, PacketIn, PacketInReason, PacketOut, Resume
from vswitch.messages.match import FlowMatch
from vswitch.openflow.actions import decode_actions, encode_actions
from vswitch.openflow.matches import decode_nxm, encode_nxm
from vswitch.openflow.oxm import decode_fields, decode_match, encode_fields, encode_match
from vswitch.openflow.wire import (
    Dialect,
    check_port,
    need,
    port_from_16,
    port_to_16,
    properties,
    property_bytes,
)

__all__ = [
    "decode_nicira_packet_in",
    "decode_packet_in",
    "decode_packet_in2",
    "decode_packet_out",
    "decode_resume",
    "encode_nicira_packet_in",
    "encode_packet_in",
    "encode_packet_in2",
    "encode_packet_out",
    "encode_resume",
    "port_match",
]

_IN_10 = Struct("!IHHBx")
_IN_11 = Struct("!IIIHBB")
_IN_12 = Struct("!IHBB")
_IN_NX = Struct("!IHBBQH6x")
_COOKIE = Struct("!Q")
_OUT_10 = Struct("!IHH")
_OUT_11 = Struct("!IIH6x")
_OUT_15 = Struct("!IH2x")

_PORT = OPENFLOW_FIELDS["in_port"].view
_PORT_SHIFT, _PORT_MASK = 8 * _PORT.slot.offset, _PORT.mask
_NO_COOKIE = (1 << 64) - 1
_MAX_PORT, _MAY_SEND = 0xFF00, frozenset({0xFFFFFFFD, 0xFFFFFFFE, 0xFFFFFFFF})
"""Ports as which packets may be sent: besides the switch's, CONTROLLER, LOCAL and none."""


def port_match(port: int) -> FlowMatch:
    """in_port and nothing else."""
    return FlowMatch.from_ints(port << _PORT_SHIFT, _PORT_MASK)


def _port_of(metadata: FlowMatch) -> int:
    """in_port; ANY if it is not there."""
    if metadata.mask & _PORT_MASK != _PORT_MASK:
        return 0xFFFFFFFF
    return metadata.value >> _PORT_SHIFT & 0xFFFFFFFF


_REASONS = tuple(PacketInReason)


def _reason(number: int) -> PacketInReason:
    if number < len(_REASONS):
        return _REASONS[number]
    raise OpenFlowError("nicira.bad_reason", f"reason {number} of a packet-in is not known")


def _reason_number(reason: int, version: int) -> int:
    """Reasons of OpenFlow 1.4 are actions to those who do not know them."""
    return int(reason) if version >= 5 or reason <= PacketInReason.INVALID_TTL else int(PacketInReason.ACTION)


# ---- packet-in


def decode_packet_in(body: bytes, dialect: Dialect) -> PacketIn:
    """OpenFlow 1.0.0 section 5.4.1; 1.1.0 section A.4.1; 1.3.5 section A.4.1."""
    version = dialect.version
    if version == 1:
        need(body, _IN_10.size, "bad_request.bad_len", "a packet-in")
        buffer_id, total, port, reason = _IN_10.unpack_from(body)
        metadata = port_match(port_from_16(port))
        return PacketIn(body[_IN_10.size :], total, _reason(reason), metadata, buffer_id=buffer_id)
    if version == 2:
        need(body, _IN_11.size, "bad_request.bad_len", "a packet-in")
        buffer_id, port, _, total, reason, table = _IN_11.unpack_from(body)
        return PacketIn(body[_IN_11.size :], total, _reason(reason), port_match(port), table, buffer_id=buffer_id)
    at = _IN_12.size + (_COOKIE.size if version >= 4 else 0)
    need(body, at, "bad_request.bad_len", "a packet-in")
    buffer_id, total, reason, table = _IN_12.unpack_from(body)
    cookie = _COOKIE.unpack_from(body, _IN_12.size)[0] if version >= 4 else _NO_COOKIE
    metadata, at = decode_match(body, at, strict=False)
    need(body, at + 2, "bad_request.bad_len", "a packet-in")
    return PacketIn(body[at + 2 :], total, _reason(reason), metadata, table, cookie, buffer_id)


# hot: once per packet-in
def encode_packet_in(message: PacketIn, dialect: Dialect) -> bytes:
    """As the version has it."""
    version = dialect.version
    reason = _reason_number(message.reason, version)
    if version == 1:
        port = port_to_16(_port_of(message.metadata))
        return _IN_10.pack(message.buffer_id, message.total_length, port, reason) + message.frame
    if version == 2:
        port = _port_of(message.metadata)
        fixed = _IN_11.pack(message.buffer_id, port, port, message.total_length, reason, message.table)
        return fixed + message.frame
    fixed = _IN_12.pack(message.buffer_id, message.total_length, reason, message.table)
    cookie = _COOKIE.pack(message.cookie) if version >= 4 else b""
    return b"".join((fixed, cookie, encode_match(message.metadata, version), b"\0\0", message.frame))


def decode_nicira_packet_in(body: bytes, _dialect: Dialect) -> PacketIn:
    """NXT_PACKET_IN."""
    need(body, _IN_NX.size, "bad_request.bad_len", "a packet-in")
    buffer_id, total, reason, table, cookie, length = _IN_NX.unpack_from(body)
    metadata, _, _, at = decode_nxm(body, _IN_NX.size, length, strict=False)
    need(body, at + 2, "bad_request.bad_len", "a packet-in")
    return PacketIn(body[at + 2 :], total, _reason(reason), metadata, table, cookie, buffer_id)


def encode_nicira_packet_in(message: PacketIn, dialect: Dialect) -> bytes:
    """As it is read."""
    fields, length = encode_nxm(message.metadata)
    reason = _reason_number(message.reason, dialect.version)
    fixed = _IN_NX.pack(message.buffer_id, message.total_length, reason, message.table, message.cookie, length)
    return b"".join((fixed, fields, b"\0\0", message.frame))


# ---- Nicira's packet-in of properties, and what resumes it

_PACKET, _FULL_LENGTH, _BUFFER, _TABLE, _COOKIE_OF_FLOW, _WHY, _METADATA, _USERDATA, _CONTINUATION = range(9)
_SIZES = {_FULL_LENGTH: 4, _BUFFER: 4, _TABLE: 1, _COOKIE_OF_FLOW: 12, _WHY: 1}
"""Bytes of values; the cookie's has four of padding before it."""


def decode_packet_in2(body: bytes, _dialect: Dialect) -> PacketIn:
    """NXT_PACKET_IN2; properties may stand in any order."""
    numbers: dict[int, int] = {}
    texts = {_PACKET: b"", _USERDATA: b"", _CONTINUATION: b""}
    metadata = FlowMatch()
    for kind, value in properties(body):
        if kind in texts:
            texts[kind] = bytes(value)
        elif kind == _METADATA:
            metadata = decode_fields(value, 0, len(value), strict=False)
        elif kind in _SIZES:
            if len(value) != _SIZES[kind]:
                what = f"property {kind} of a packet-in has {len(value)} bytes, not {_SIZES[kind]}"
                raise OpenFlowError("bad_property.bad_len", what)
            numbers[kind] = int.from_bytes(value[-8:], "big")
        elif not kind & 0x8000:  # the upper half is for those who do not know it to pass over
            raise OpenFlowError("bad_property.bad_type", f"a packet-in has no property {kind}")
    frame = texts[_PACKET]
    return PacketIn(
        frame, numbers.get(_FULL_LENGTH, len(frame)), _reason(numbers.get(_WHY, 0)), metadata, numbers.get(_TABLE, 0),
        numbers.get(_COOKIE_OF_FLOW, _NO_COOKIE), numbers.get(_BUFFER, NO_BUFFER), texts[_USERDATA],
        texts[_CONTINUATION],
    )  # fmt: skip


def encode_packet_in2(message: PacketIn, dialect: Dialect) -> bytes:
    """As it is read."""
    reason = _reason_number(message.reason, dialect.version)
    parts = [property_bytes(_PACKET, message.frame)]
    if message.total_length != len(message.frame):
        parts.append(property_bytes(_FULL_LENGTH, message.total_length.to_bytes(4, "big")))
    if message.buffer_id != NO_BUFFER:
        parts.append(property_bytes(_BUFFER, message.buffer_id.to_bytes(4, "big")))
    parts.append(property_bytes(_TABLE, bytes([message.table])))
    if message.cookie != _NO_COOKIE:
        parts.append(property_bytes(_COOKIE_OF_FLOW, bytes(4) + message.cookie.to_bytes(8, "big")))
    parts.append(property_bytes(_WHY, bytes([reason])))
    parts.append(property_bytes(_METADATA, encode_fields(message.metadata, dialect.version)))
    if message.userdata:
        parts.append(property_bytes(_USERDATA, message.userdata))
    if message.continuation:
        parts.append(property_bytes(_CONTINUATION, message.continuation))
    return b"".join(parts)


def decode_resume(body: bytes, dialect: Dialect) -> Resume:
    """NXT_RESUME: the packet-in, as the controller has changed it."""
    return Resume(decode_packet_in2(body, dialect))


def encode_resume(message: Resume, dialect: Dialect) -> bytes:
    """As it is read."""
    return encode_packet_in2(message.packet, dialect)


# ---- packet-out


# hot: once per packet-out
def decode_packet_out(body: bytes, dialect: Dialect) -> PacketOut:
    """OpenFlow 1.0.0 section 5.3.6; 1.3.5 section A.3.7; 1.5.1 section 7.3.6."""
    version = dialect.version
    layout = _OUT_10 if version == 1 else _OUT_11 if version < 6 else _OUT_15
    need(body, layout.size, "bad_request.bad_len", "a packet-out")
    at = layout.size
    if version == 6:
        buffer_id, length = layout.unpack_from(body)
        metadata, at = decode_match(body, at)
        port = _port_of(metadata)
    else:
        buffer_id, port, length = layout.unpack_from(body)
        port = port_from_16(port) if version == 1 else port
        metadata = port_match(port)
    if port >= _MAX_PORT and port not in _MAY_SEND:
        raise OpenFlowError("bad_request.bad_port", f"no packet comes in by port {port:#x}")
    if at + length > len(body):
        raise OpenFlowError("bad_request.bad_len", f"actions of {length} bytes, where {len(body) - at} are left")
    actions = decode_actions(body[at : at + length], version)
    return PacketOut(body[at + length :], actions, metadata, buffer_id)


def encode_packet_out(message: PacketOut, dialect: Dialect) -> bytes:
    """As the version has it."""
    version = dialect.version
    actions = encode_actions(message.actions, version)
    if version == 6:
        fixed = _OUT_15.pack(message.buffer_id, len(actions)) + encode_match(message.metadata, version)
    elif version == 1:
        fixed = _OUT_10.pack(message.buffer_id, port_to_16(_port_of(message.metadata)), len(actions))
    else:
        fixed = _OUT_11.pack(message.buffer_id, check_port(_port_of(message.metadata)), len(actions))
    return b"".join((fixed, actions, message.frame))
