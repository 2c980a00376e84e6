"""What all messages of OpenFlow are made of: the header, numbers of versions and vendors, padding, properties, ports.

Versions are the numbers of the wire: 1 is OpenFlow 1.0, 4 is 1.3, 6 is 1.5. All integers are in network byte order. A
structure whose length is no multiple of eight is padded with zeros; what stands in padding that is read is ignored, as
OpenFlow 1.5.1 section 7.1.2 asks.

Ports have 16 bits in OpenFlow 1.0 and 32 bits afterwards; in messages they have 32. The reserved ones are the highest
of each, so 0xff00 to 0xffff stand for 0xffffff00 to 0xffffffff.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct

from vswitch.base.errors import VswitchError
from vswitch.messages.base import NICIRA, ONF, version_name
from vswitch.messages.errors import OpenFlowError

__all__ = [
    "HEADER",
    "HEADER_BYTES",
    "MAX_MESSAGE_BYTES",
    "NICIRA",
    "ONF",
    "VERSIONS",
    "Dialect",
    "ProtocolError",
    "check_port",
    "need",
    "pad8",
    "port_from_16",
    "port_to_16",
    "properties",
    "property_bytes",
    "version_name",
]

HEADER = Struct("!BBHI")
"""version, type, length (this header included), xid."""
HEADER_BYTES = HEADER.size
MAX_MESSAGE_BYTES = 0xFFFF
VERSIONS = (1, 2, 3, 4, 5, 6)
"""OpenFlow 1.0 to 1.5."""

_PROPERTY = Struct("!HH")
_EXPERIMENTER_PROPERTIES = 0xFFFE
_FIRST_RESERVED_16, _FIRST_RESERVED_32 = 0xFF00, 0xFFFFFF00


class ProtocolError(VswitchError):
    """What came is no OpenFlow, or not from there: the connection is of no more use."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one connection writes what its version leaves open. `table_id`: in OpenFlow 1.0 the upper byte of a
    flow-mod's command is the table (Nicira). `nxm`: flows of 1.0 in Nicira's messages, even if its own would
    do. `packet_in`: 0 as the version has it, 1 NXT_PACKET_IN, 2 NXT_PACKET_IN2."""

    version: int
    table_id: bool = False
    nxm: bool = False
    packet_in: int = 0


def pad8(data: bytes) -> bytes:
    """With zeros up to a multiple of eight bytes."""
    return data + bytes(-len(data) % 8)


def need(data: bytes, length: int, error: str, what: str) -> None:
    """OpenFlowError `error`: `data` has fewer bytes than `what` takes."""
    if len(data) < length:
        raise OpenFlowError(error, f"{what} takes {length} bytes, {len(data)} are there")


def port_from_16(port: int) -> int:
    """OpenFlow 1.0's port as messages have it."""
    return port | 0xFFFF0000 if port >= _FIRST_RESERVED_16 else port


def port_to_16(port: int) -> int:
    """A port as OpenFlow 1.0 has it. OpenFlowError: it has no such number there."""
    if port < _FIRST_RESERVED_16 or port >= _FIRST_RESERVED_32:
        return port & 0xFFFF
    raise OpenFlowError("bad_action.bad_out_port", f"port {port:#x} has no number of 16 bits")


def check_port(port: int, error: str = "bad_action.bad_out_port") -> int:
    """The port of 32 bits, if it is below 0xff00 or a reserved one; else OpenFlowError `error`. Numbers between are
    those of no port that this switch can have."""
    if _FIRST_RESERVED_16 <= port < _FIRST_RESERVED_32:
        raise OpenFlowError(error, f"port {port:#x} is neither below 0xff00 nor from 0xffffff00 on")
    return port


def property_bytes(kind: int, value: bytes) -> bytes:
    """One property: type, length, value, padding behind the length."""
    return pad8(_PROPERTY.pack(kind, 4 + len(value)) + value)


def properties(
    data: bytes, what: str = "a message", error: str = "bad_property.bad_len", *, once: bool = False
) -> Iterator[tuple[int, bytes]]:
    """(type, value) of each property in `data`, which is of `what`. `once`: each type is there once, but for those of
    experimenters. OpenFlowError: a length does not fit (`error`), or a type is there twice."""
    at, end = 0, len(data)
    seen: set[int] = set()
    while at < end:
        if end - at < _PROPERTY.size:
            raise OpenFlowError(error, f"{end - at} bytes at the end of {what} are no property")
        kind, length = _PROPERTY.unpack_from(data, at)
        padded = length + -length % 8
        if length < _PROPERTY.size or padded > end - at:
            what = f"property {kind} of {what} has {length} bytes, where {end - at} are left, padding included"
            raise OpenFlowError(error, what)
        if once and kind in seen and kind < _EXPERIMENTER_PROPERTIES:
            raise OpenFlowError("bad_property.dup_type", f"{what} has property {kind} twice")
        seen.add(kind)
        yield kind, data[at + _PROPERTY.size : at + length]
        at += padded
