"""Packets that stand for many, cut: scapy finds every checksum and length right, and the data is all there."""

from __future__ import annotations

import struct

import pytest
from scapy.layers.inet import IP, TCP, UDP, IPOption_NOP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrHopByHop
from scapy.layers.l2 import Dot1Q, Ether
from scapy.layers.sctp import SCTP, SCTPChunkData
from scapy.packet import Packet

from vswitch import ConfigError
from vswitch.packet.checksum import internet_checksum
from vswitch.packet.segment import cut

TCPV4, TCPV6, UDP_L4, ECN = 1, 4, 5, 0x80
DATA = bytes(range(251)) * 12
SIZE = 1000
ETHERNET = Ether(dst=2, src=1)
FOUR, SIX = IP(src="10.0.0.1", dst="10.0.0.2", id=0xFFFF), IPv6(src="fd00::1", dst="fd00::2")
OPENING = TCP(sport=1, dport=2, seq=(1 << 32) - 500, flags="FPAC", options=[("Timestamp", (1, 2))])
LAYERS = {TCP: (16, TCPV4), UDP: (6, UDP_L4), SCTP: (8, 0)}

ROWS = {
    "TCP over IPv4": ETHERNET / FOUR / OPENING,
    "TCP over IPv4 with options": ETHERNET
    / IP(src="10.0.0.1", dst="10.0.0.2", id=0xFFFF, options=[IPOption_NOP()] * 4)
    / OPENING,
    "TCP over IPv6": ETHERNET / SIX / OPENING,
    "TCP over IPv6 with an extension header": ETHERNET / SIX / IPv6ExtHdrHopByHop() / OPENING,
    "TCP behind a tag": ETHERNET / Dot1Q(vlan=5) / FOUR / OPENING,
    "UDP over IPv4": ETHERNET / FOUR / UDP(sport=1, dport=2),
    "UDP over IPv6": ETHERNET / SIX / UDP(sport=1, dport=2),
}


def left_to_the_card(packet: Packet, size: int = SIZE) -> tuple[bytes, bytes]:
    """A packet as a host with offloads hands it over: the sum of the pseudo header alone, and its virtio_net_hdr."""
    layer = next(layer for layer in LAYERS if layer in packet)
    offset, kind = LAYERS[layer]
    frame = bytearray(bytes(packet))
    start = len(frame) - len(bytes(packet[layer]))
    (checksum,) = struct.unpack_from("!H", frame, start + offset)
    frame[start + offset : start + offset + 2] = bytes(2)
    pseudo = (0xFFFF - checksum - (0xFFFF - internet_checksum(bytes(frame[start:])))) % 0xFFFF
    struct.pack_into("!H", frame, start + offset, pseudo)
    return bytes(frame), struct.pack("<BBHHHH", 1, kind if size else 0, 0, size, start, offset)


def computed(packet: bytes) -> bytes:
    """The same with every length and checksum computed by scapy."""
    read = Ether(packet)
    for layer in (IP, IPv6, TCP, UDP, SCTP):
        if layer in read:
            for name in ("chksum", "len", "plen"):
                if name in read[layer].fields:
                    del read[layer].fields[name]
    return bytes(read)


@pytest.mark.parametrize("name", ROWS)
def test_segments_are_packets_of_their_own(name: str) -> None:
    frame, offload = left_to_the_card(ROWS[name] / DATA)
    found = cut(frame, offload)
    assert [len(Ether(each).lastlayer().load) for each in found] == [1000, 1000, 1000, 12]
    assert b"".join(Ether(each).lastlayer().load for each in found) == DATA
    assert [computed(each) for each in found] == found
    if IP in ROWS[name]:
        assert [Ether(each)[IP].id for each in found] == [0xFFFF, 0, 1, 2]
    if TCP in ROWS[name]:
        assert [str(Ether(each)[TCP].flags) for each in found] == ["AC", "A", "A", "FPA"]
        assert [Ether(each)[TCP].seq for each in found] == [(1 << 32) - 500, 500, 1500, 2500]
        assert all(Ether(each)[TCP].options == Ether(frame)[TCP].options for each in found)


@pytest.mark.parametrize("name", ROWS)
def test_a_checksum_is_completed(name: str) -> None:
    packet = ROWS[name] / DATA[:77]
    assert cut(*left_to_the_card(packet, 0)) == [bytes(packet)]


def test_a_checksum_of_sctp_is_completed() -> None:
    packet = ETHERNET / FOUR / SCTP(sport=1, dport=2) / SCTPChunkData(data=DATA[:76])
    frame = bytearray(bytes(packet))
    frame[42:46] = bytes(4)
    assert cut(bytes(frame), struct.pack("<BBHHHH", 1, 0, 0, 0, 34, 8)) == [bytes(packet)]


def test_a_udp_checksum_that_comes_to_0_is_sent_as_all_ones() -> None:
    frame = bytes(40) + b"\xff\xff"
    assert cut(frame, struct.pack("<BBHHHH", 1, 0, 0, 0, 34, 6)) == [frame]


def test_a_packet_of_which_nothing_is_left_to_do_stays_as_it_is() -> None:
    frame = bytes(ETHERNET / FOUR / OPENING / DATA)
    assert cut(frame, bytes(10)) == [frame]


@pytest.mark.parametrize(
    ("offload", "frame"),
    [
        (bytes(12), bytes(60)),
        (struct.pack("<BBHHHH", 1, 0, 0, 0, 34, 16), bytes(51)),
        (struct.pack("<BBHHHH", 0, TCPV4, 0, 100, 34, 16), bytes(600)),
        (struct.pack("<BBHHHH", 1, 3, 0, 100, 34, 6), bytes(600)),
        (struct.pack("<BBHHHH", 1, TCPV4 | ECN, 0, 100, 34, 16), bytes(600)),
        (struct.pack("<BBHHHH", 1, UDP_L4, 0, 100, 595, 1), bytes(600)),
    ],
)
def test_what_does_not_fit_is_refused(offload: bytes, frame: bytes) -> None:
    with pytest.raises(ConfigError):
        cut(frame, offload)
