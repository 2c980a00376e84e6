"""Flow number i as a frame: the packets that the sender sends, and the fields by which rules take them.

All are 60 bytes, over IPv4. Those of UDP go to the discard port, and flows differ in the source port and, from the
60,000th on, in the source address. Those of a scan are the SYN of a TCP connection: one source tries one port after
another, each time from another port of its own. Only bytes and ints here: the sender starts quicker without the rest.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

__all__ = ["DISCARD_PORT", "FRAME_BYTES", "SOURCE_NETWORK", "TARGET", "frames", "source_of", "syn_frames"]

FRAME_BYTES = 60
DISCARD_PORT = 9
SOURCE_NETWORK = 0x0A4D0000
"""10.77.0.0/16, in which no host of the laboratory is."""
TARGET = 0x0A4E0001

_FIRST_PORT = 1024
_PORTS = 60000
_PAYLOAD = bytes(FRAME_BYTES - 42)
_SYN_BYTES = 40
"""IPv4 and TCP headers, without options."""
_SYN = 5 << 28 | 2 << 16 | 1024
"""Header length, flags and window of a SYN."""


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


def syn_frames(first: int, count: int, eth_src: bytes, eth_dst: bytes) -> Iterator[bytes]:
    """The frames of a scan: tries `first`, `first + 1`, ... The ports of two tries are never the same two."""
    source = SOURCE_NETWORK + 1
    before = eth_dst + eth_src + b"\x08\x00" + _ipv4(source, 6, _SYN_BYTES)
    words = struct.unpack("!4H", struct.pack("!II", source, TARGET))  # with the length they are the pseudo-header
    rest = sum(words) + 6 + _SYN_BYTES - 20 + (_SYN >> 16) + (_SYN & 0xFFFF)
    for number in range(first, first + count):
        sport = _FIRST_PORT + number % _PORTS
        dport = 1 + (number + number // _PORTS) % 65535
        header = struct.pack("!HHIIIHH", sport, dport, 0, 0, _SYN, _checksum(rest + sport + dport), 0)
        yield before + header + bytes(FRAME_BYTES - 14 - _SYN_BYTES)


def _ipv4(source: int, protocol: int = 17, length: int = FRAME_BYTES - 14) -> bytes:
    header = struct.pack("!BBHHHBBHII", 0x45, 0, length, 0, 0x4000, 64, protocol, 0, source, TARGET)
    return header[:10] + _checksum(sum(struct.unpack("!10H", header))).to_bytes(2, "big") + header[12:]


def _checksum(total: int) -> int:
    """From the sum of the words."""
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF
