"""Flow number i as a frame: the packets that the sender sends, and the fields by which rules take them.

All are UDP over IPv4, 60 bytes, to the discard port. Flows differ in the source port and, from the 60,000th on, in the
source address. Only bytes and ints here: the sender starts quicker without the rest.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

__all__ = ["DISCARD_PORT", "FRAME_BYTES", "SOURCE_NETWORK", "TARGET", "frames", "source_of"]

FRAME_BYTES = 60
DISCARD_PORT = 9
SOURCE_NETWORK = 0x0A4D0000
"""10.77.0.0/16, in which no host of the laboratory is."""
TARGET = 0x0A4E0001

_FIRST_PORT = 1024
_PORTS = 60000
_PAYLOAD = bytes(FRAME_BYTES - 42)


def source_of(flow: int) -> tuple[int, int]:
    """IPv4 source address and UDP source port of a flow."""
    return SOURCE_NETWORK + 1 + flow // _PORTS, _FIRST_PORT + flow % _PORTS


def frames(first: int, count: int, eth_src: bytes, eth_dst: bytes) -> Iterator[bytes]:
    """The frames of flows `first`, `first + 1`, ..."""
    behind = struct.pack("!HHH", DISCARD_PORT, FRAME_BYTES - 34, 0) + _PAYLOAD  # an UDP checksum of 0 is none
    address, before = -1, b""
    for flow in range(first, first + count):
        source, port = source_of(flow)
        if source != address:
            address = source
            before = eth_dst + eth_src + b"\x08\x00" + _ipv4(source)
        yield before + port.to_bytes(2, "big") + behind


def _ipv4(source: int) -> bytes:
    header = struct.pack("!BBHHHBBHII", 0x45, 0, FRAME_BYTES - 14, 0, 0x4000, 64, 17, 0, source, TARGET)
    total: int = sum(struct.unpack("!10H", header))
    total = (total & 0xFFFF) + (total >> 16)
    checksum = ~(total + (total >> 16)) & 0xFFFF
    return header[:10] + checksum.to_bytes(2, "big") + header[12:]
