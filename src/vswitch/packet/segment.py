"""What a sender left to the network card, done here: a packet as the packets that a cable carries.

A host with offloads hands over a packet of up to 64 KB that stands for many (GSO), or one whose checksum is so far
only that of the pseudo header. A datapath keeps it so, and a virtio_net_hdr says what is left to do. Who carries
packets to where there is no place for that header has it done first:

    for frame in segment.cut(miss.packet, miss.offload.header): ...

Segments are those that Linux makes (tcp_gso_segment, __udp_gso_segment). The sum of a segment's pseudo header differs
from that of the whole packet in the length alone, so neither addresses nor IPv6 extension headers matter for it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from vswitch.base.errors import ConfigError
from vswitch.packet.checksum import crc32c, internet_checksum
from vswitch.packet.parse import headers

__all__ = ["cut"]

_OFFLOAD = struct.Struct("<BBHHHH")  # flags, gso_type, hdr_len, gso_size, csum_start, csum_offset
_NEEDS_CHECKSUM = 1
_TCPV4_KIND, _TCPV6_KIND, _UDP_KIND, _ECN = 1, 4, 5, 0x80  # gso_type: VIRTIO_NET_HDR_GSO_*
_UDP_AT, _SCTP_AT, _TCP_AT = 6, 8, 16
"""Where the checksums of these lie in their headers."""
_CHECKSUM_AT = {_TCPV4_KIND: _TCP_AT, _TCPV6_KIND: _TCP_AT, _UDP_KIND: _UDP_AT}

_FIN, _PSH, _CWR = 0x01, 0x08, 0x80


def cut(frame: bytes, offload: bytes) -> list[bytes]:
    """The packets that `frame` stands for, with their checksums complete; `offload` is its `struct virtio_net_hdr`.

    ConfigError: the two do not fit each other, or it is to be cut in a way that no upcall has: the datapath passes up
    packets of TCP and UDP only."""
    if len(offload) != _OFFLOAD.size:
        raise ConfigError(f"an offload of {len(offload)} bytes, not {_OFFLOAD.size}")
    flags, kind, _, size, start, offset = _OFFLOAD.unpack(offload)
    if flags & _NEEDS_CHECKSUM and start + offset + 2 > len(frame):
        raise ConfigError(f"a checksum at byte {start + offset} of a frame of {len(frame)}")
    if size:
        kind &= ~_ECN
        if not flags & _NEEDS_CHECKSUM or _CHECKSUM_AT.get(kind) != offset:
            raise ConfigError(
                f"a GSO packet of kind {kind}, with its checksum at {offset}, is neither of TCP nor of UDP"
            )
        return list(_pieces(frame, kind == _UDP_KIND, size, start, offset))
    return [_summed(frame, start, offset) if flags & _NEEDS_CHECKSUM else frame]


def _summed(frame: bytes, start: int, offset: int) -> bytes:
    """With its L4 checksum, in whose place the sum of the pseudo header is."""
    at = start + offset
    if offset == _SCTP_AT:
        checksum = crc32c(frame[start:at] + bytes(4) + frame[at + 4 :])
        return frame[:at] + checksum.to_bytes(4, "little") + frame[at + 4 :]
    checksum = internet_checksum(frame[start:])
    if offset == _UDP_AT and not checksum:  # RFC 768: 0 would mean none
        checksum = 0xFFFF
    return frame[:at] + checksum.to_bytes(2, "big") + frame[at + 2 :]


def _pieces(frame: bytes, is_udp: bool, size: int, start: int, offset: int) -> Iterator[bytes]:
    l3 = headers(frame).l3
    begin = start + (8 if is_udp else frame[start + 12] >> 4 << 2)
    if l3 is None or not l3 < start < begin < len(frame):
        raise ConfigError(f"a GSO packet of {len(frame)} bytes without the headers of one")
    (pseudo,) = struct.unpack_from("!H", frame, start + offset)
    for number, at in enumerate(range(begin, len(frame), size)):
        segment = bytearray(frame[:begin] + frame[at : at + size])
        length = len(segment) - start
        # modulo 65535, which is what sums in ones' complement are
        struct.pack_into("!H", segment, start + offset, (pseudo - (len(frame) - start) + length) % 0xFFFF)
        _say_length(segment, l3, number)
        if is_udp:
            struct.pack_into("!H", segment, start + 4, length)
        else:
            (sequence,) = struct.unpack_from("!I", frame, start + 4)
            struct.pack_into("!I", segment, start + 4, sequence + at - begin & 0xFFFFFFFF)
            kept = 0xFF if at + size >= len(frame) else ~(_FIN | _PSH)
            segment[start + 13] &= kept & (~_CWR if number else 0xFF) & 0xFF
        yield _summed(bytes(segment), start, offset)


def _say_length(segment: bytearray, l3: int, number: int) -> None:
    """In the IP header of the segment of that number."""
    if segment[l3] >> 4 == 6:
        struct.pack_into("!H", segment, l3 + 4, len(segment) - l3 - 40)
        return
    (identification,) = struct.unpack_from("!H", segment, l3 + 4)
    struct.pack_into("!HH", segment, l3 + 2, len(segment) - l3, identification + number & 0xFFFF)
    end = l3 + (segment[l3] & 15) * 4
    segment[l3 + 10 : l3 + 12] = bytes(2)
    segment[l3 + 10 : l3 + 12] = internet_checksum(bytes(segment[l3:end])).to_bytes(2, "big")
