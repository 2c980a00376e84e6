"""OpenFlow that tcpdump has recorded: the TCP streams of a file, taken apart into messages and printed.

Each direction of a connection is a stream of bytes. Segments are put in order by their sequence numbers; what was sent
again is passed over, and where something is missing the stream begins anew with the next segment.
"""

from __future__ import annotations

import struct
import sys
import time
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from vswitch.base.errors import ConfigError
from vswitch.cli.arguments import UsageError
from vswitch.cli.ofctl.printing import format_bytes
from vswitch.text.openflow_names import VERSIONS

__all__ = ["ofp_parse_pcap"]

_PORTS = (6633, 6653)
_MAGIC = {b"\xd4\xc3\xb2\xa1": ("<", 1000), b"\xa1\xb2\xc3\xd4": (">", 1000), b"\x4d\x3c\xb2\xa1": ("<", 1_000_000),
          b"\xa1\xb2\x3c\x4d": (">", 1_000_000)}  # fmt: skip
"""First bytes of a file: byte order, and parts of a second in a millisecond."""
_LINK_ETHERNET, _LINK_COOKED = 1, 113
_HEADER = struct.Struct("!BBHI")
_VERBOSITY = 2
_HALF = 1 << 31


def ofp_parse_pcap(arguments: Namespace) -> None:
    """Prints the messages of the connections to the ports given."""
    ports = set(map(_port, arguments.ports)) or set(_PORTS)
    streams: dict[tuple[bytes, int, bytes, int], _Stream] = {}
    for when_ms, frame in _frames(Path(arguments.file).read_bytes(), arguments.file):
        segment = _segment(frame)
        if segment is None or not ports & {segment.key[1], segment.key[3]}:
            continue
        stream = streams.setdefault(segment.key, _Stream())
        for message in stream.take(segment):
            stamp = ""
            if arguments.timestamp:
                stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(when_ms // 1000)) + f".{when_ms % 1000:03} "
            ends = "{}.{}->{}.{}".format(*(_text(end) for end in segment.key))
            sys.stdout.write(f"{stamp}{ends}: {format_bytes(message, _VERBOSITY + arguments.more)}")


def _port(text: str) -> int:
    if not text.isdigit() or int(text) > 0xFFFF:
        raise UsageError(f"port {text!r} is outside 0..65535")
    return int(text)


def _text(end: bytes | int) -> str:
    return str(end) if isinstance(end, int) else ".".join(map(str, end))


def _frames(data: bytes, name: str) -> Iterator[tuple[int, bytes]]:
    """(milliseconds, frame without what the link adds) for each packet of the file."""
    if data[:4] not in _MAGIC or len(data) < 24:
        raise ConfigError(f"{name} is no capture in the pcap format")
    order, parts = _MAGIC[data[:4]]
    (link,) = struct.unpack_from(f"{order}I", data, 20)
    skip = {_LINK_ETHERNET: 12, _LINK_COOKED: 14}.get(link & 0xFFFF)
    if skip is None:
        raise ConfigError(
            f"{name} was captured on a link of type {link}: Ethernet (1) and Linux cooked (113) are known"
        )
    at = 24
    while at + 16 <= len(data):
        seconds, fraction, length, _ = struct.unpack_from(f"{order}4I", data, at)
        yield seconds * 1000 + fraction // parts, data[at + 16 + skip : at + 16 + length]
        at += 16 + length


@dataclass(frozen=True, slots=True)
class _Segment:
    """`key`: address and port of who sends it, and of who gets it."""

    key: tuple[bytes, int, bytes, int]
    sequence: int
    begins: bool
    data: bytes


def _segment(frame: bytes) -> _Segment | None:
    """The TCP segment in a packet of IPv4 that begins with its Ethernet type."""
    while frame[:2] in (b"\x81\x00", b"\x88\xa8"):
        frame = frame[4:]
    packet = frame[2:]
    if frame[:2] != b"\x08\x00" or len(packet) < 20 or packet[9] != 6:
        return None
    (length,) = struct.unpack_from("!H", packet, 2)
    segment = packet[4 * (packet[0] & 15) : length or None]
    if len(segment) < 20:
        return None
    source, destination, sequence = struct.unpack_from("!HHI", segment)
    data = segment[4 * (segment[12] >> 4) :]
    return _Segment((packet[12:16], source, packet[16:20], destination), sequence, bool(segment[13] & 2), data)


@dataclass(slots=True)
class _Stream:
    """One direction of a connection."""

    next: int | None = None
    buffer: bytearray = field(default_factory=bytearray)
    early: dict[int, bytes] = field(default_factory=dict)

    def take(self, segment: _Segment) -> Iterator[bytes]:
        """The messages that are whole with this segment."""
        if segment.begins:
            self.next = (segment.sequence + 1) & 0xFFFFFFFF
            self.buffer.clear()
            return
        if self.next is None:
            self.next = segment.sequence
        self.early[segment.sequence] = segment.data
        while self.next in self.early:
            data = self.early.pop(self.next)
            self.buffer += data
            self.next = (self.next + len(data)) & 0xFFFFFFFF
            if not data:
                break
        self.early = {at: data for at, data in self.early.items() if (at - self.next) & 0xFFFFFFFF < _HALF and data}
        yield from self._messages()

    def _messages(self) -> Iterator[bytes]:
        while len(self.buffer) >= _HEADER.size:
            version, _, length, _ = _HEADER.unpack_from(self.buffer)
            if version not in VERSIONS or length < _HEADER.size:  # it is no OpenFlow, or not from its beginning
                self.buffer.clear()
                return
            if len(self.buffer) < length:
                return
            yield bytes(self.buffer[:length])
            del self.buffer[:length]
