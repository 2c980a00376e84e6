"""Builders: byte for byte what scapy makes of the same values, and a clear refusal of values out of bound."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoReply,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
)
from scapy.layers.l2 import ARP, Dot1AD, Dot1Q, Ether
from scapy.packet import Packet, Raw

from vswitch.base.errors import ConfigError
from vswitch.packet import build
from vswitch.packet.build import arp, echo, ethernet, icmp, icmpv6, ipv4, ipv6, tcp, udp, vlan
from vswitch.packet.code_points import (
    ARP_REPLY,
    ARP_REQUEST,
    ICMP_ECHO_REPLY,
    ICMPV6_ECHO_REPLY,
)

DST, SRC, MAC = "02:00:00:00:00:02", "02:00:00:00:00:01", "0a:bc:de:f0:12:34"
A4, B4, A6, B6 = "10.1.2.3", "192.0.2.77", "2001:db8::a:1", "fe80::1:2:3:4"
DST_INT, SRC_INT, MAC_INT = (int(mac.replace(":", ""), 16) for mac in (DST, SRC, MAC))
A4_INT, B4_INT, A6_INT, B6_INT = (int(ip_address(address)) for address in (A4, B4, A6, B6))
FRAME = ethernet(DST_INT, SRC_INT, 0x9000, b"payload")


def ether(**options: object) -> Packet:
    return Ether(dst=DST, src=SRC, **options)


def ip4(**options: object) -> Packet:
    return IP(**{"src": A4, "dst": B4, "id": 0, "flags": "DF", **options})


def ip6(**options: object) -> Packet:
    return IPv6(**{"src": A6, "dst": B6, "hlim": 64, **options})


SCAPY = [
    ("ethernet", FRAME, ether(type=0x9000) / b"payload"),
    ("vlan", vlan(FRAME, 4093, 5), ether() / Dot1Q(vlan=4093, prio=5, type=0x9000) / b"payload"),
    (
        "two tags, the last put in is the outer one",
        vlan(vlan(FRAME, 7), 100, 1, 0x88A8),
        ether() / Dot1AD(vlan=100, prio=1) / Dot1Q(vlan=7, type=0x9000) / b"payload",
    ),
    (
        "arp request",
        arp(ARP_REQUEST, SRC_INT, A4_INT, 0, B4_INT),
        ARP(op=1, hwsrc=SRC, psrc=A4, hwdst="00:00:00:00:00:00", pdst=B4),
    ),
    ("arp reply", arp(ARP_REPLY, SRC_INT, A4_INT, MAC_INT, B4_INT), ARP(op=2, hwsrc=SRC, psrc=A4, hwdst=MAC, pdst=B4)),
    ("ipv4 without payload", ipv4(A4_INT, B4_INT, 253), ip4(proto=253)),
    (
        "ipv4, everything told",
        ipv4(A4_INT, B4_INT, 253, b"odd", tos=0xB9, ttl=1, identification=0xBEEF),
        ip4(proto=253, tos=0xB9, ttl=1, id=0xBEEF) / b"odd",
    ),
    ("ipv6 without payload", ipv6(A6_INT, B6_INT, 59), ip6(nh=59)),
    (
        "ipv6, everything told",
        ipv6(A6_INT, B6_INT, 253, b"odd", traffic_class=0xA7, label=0xFEDCB, hop_limit=1),
        ip6(nh=253, tc=0xA7, fl=0xFEDCB, hlim=1) / Raw(b"odd"),
    ),
    (
        "udp over ipv4",
        ipv4(A4_INT, B4_INT, 17, udp(53, 40000, b"answer")),
        ip4() / UDP(sport=53, dport=40000) / b"answer",
    ),
    ("udp over ipv6", ipv6(A6_INT, B6_INT, 17, udp(53, 40000, b"odd")), ip6() / UDP(sport=53, dport=40000) / b"odd"),
    (
        "tcp reset over ipv4",
        ipv4(A4_INT, B4_INT, 6, tcp(443, 40000, 0, 0xFFFFFFFF, 0x014)),
        ip4() / TCP(sport=443, dport=40000, seq=0, ack=0xFFFFFFFF, flags="RA", window=0),
    ),
    (
        "tcp over ipv6, everything told",
        ipv6(A6_INT, B6_INT, 6, tcp(1, 2, 3, 4, 0xB12, b"data", window=5, options=b"\x02\x04\x05\xb4\x04\x02")),
        ip6()
        / TCP(
            sport=1, dport=2, seq=3, ack=4, flags=0x112, reserved=5, window=5, options=[("MSS", 1460), ("SAckOK", b"")]
        )
        / b"data",
    ),
    (
        "echo reply",
        ipv4(A4_INT, B4_INT, 1, icmp(ICMP_ECHO_REPLY, 0, echo(0x1234, 0xFFFF, b"ping"))),
        ip4() / ICMP(type=0, id=0x1234, seq=0xFFFF) / b"ping",
    ),
    ("icmp without a body", icmp(9, 0), ICMP(type=9) / bytes(0)),
    ("icmp error", icmp(3, 13, bytes(4) + FRAME), ICMP(type=3, code=13) / FRAME),
    (
        "echo reply, ICMPv6",
        ipv6(A6_INT, B6_INT, 58, icmpv6(ICMPV6_ECHO_REPLY, 0, echo(0x1234, 0xFFFF, b"ping"))),
        ip6() / ICMPv6EchoReply(id=0x1234, seq=0xFFFF, data=b"ping"),
    ),
    ("icmpv6 error", ipv6(A6_INT, B6_INT, 58, icmpv6(1, 4)), ip6() / ICMPv6DestUnreach(code=4)),
    (
        "neighbour solicitation",
        ipv6(A6_INT, B6_INT, 58, build.neighbour_solicitation(B6_INT, MAC_INT), hop_limit=255),
        ip6(hlim=255) / ICMPv6ND_NS(tgt=B6) / ICMPv6NDOptSrcLLAddr(lladdr=MAC),
    ),
    (
        "neighbour advertisement, an answer",
        ipv6(A6_INT, B6_INT, 58, build.neighbour_advertisement(A6_INT, MAC_INT), hop_limit=255),
        ip6(hlim=255) / ICMPv6ND_NA(tgt=A6, R=0, S=1, O=1) / ICMPv6NDOptDstLLAddr(lladdr=MAC),
    ),
    (
        "neighbour advertisement of a router, to all",
        ipv6(
            A6_INT,
            B6_INT,
            58,
            build.neighbour_advertisement(A6_INT, MAC_INT, router=True, solicited=False, override=False),
        ),
        ip6() / ICMPv6ND_NA(tgt=A6, R=1, S=0, O=0) / ICMPv6NDOptDstLLAddr(lladdr=MAC),
    ),
]


@pytest.mark.parametrize(("built", "expected"), [pytest.param(b, e, id=name) for name, b, e in SCAPY])
def test_the_bytes_are_those_that_scapy_makes(built: bytes, expected: Packet) -> None:
    assert built.hex(" ") == bytes(expected).hex(" ")


SEGMENTS = [
    ("a checksum that is there already", 17, b"\x00\x35\x00\x35\x00\x08\x12\x34"),
    ("a segment too short to have a checksum", 6, bytes(16)),
    ("a protocol without a pseudo header", 132, bytes(20)),
]


@pytest.mark.parametrize(("protocol", "segment"), [pytest.param(p, s, id=name) for name, p, s in SEGMENTS])
def test_a_payload_stays_what_it_is(protocol: int, segment: bytes) -> None:
    assert ipv4(A4_INT, B4_INT, protocol, segment)[20:] == segment
    assert ipv6(A6_INT, B6_INT, protocol, segment)[40:] == segment


Refused = Callable[[], bytes]
REFUSED: list[tuple[Refused, str]] = [
    (lambda: ethernet(1 << 48, 0, 0), "dst 0x1000000000000 is outside 0..0xffffffffffff"),
    (lambda: ethernet(0, -1, 0), "src -0x1 is outside"),
    (lambda: ethernet(0, 0, 1 << 16), "eth_type 0x10000 is outside"),
    (lambda: vlan(FRAME, 4096), "vid 0x1000 is outside 0..0xfff"),
    (lambda: vlan(FRAME, 1, 8), "pcp 0x8 is outside 0..0x7"),
    (lambda: vlan(FRAME, 1, 0, 0x9100), "tpid 0x9100 is neither 0x8100 nor 0x88a8"),
    (lambda: arp(1 << 16, 0, 0, 0, 0), "op 0x10000 is outside"),
    (lambda: arp(1, 1 << 48, 0, 0, 0), "sha 0x1000000000000 is outside"),
    (lambda: arp(1, 0, 1 << 32, 0, 0), "spa 0x100000000 is outside"),
    (lambda: arp(1, 0, 0, 1 << 48, 0), "tha 0x1000000000000 is outside"),
    (lambda: arp(1, 0, 0, 0, 1 << 32), "tpa 0x100000000 is outside"),
    (lambda: ipv4(1 << 32, 0, 6), "src 0x100000000 is outside"),
    (lambda: ipv4(0, 1 << 32, 6), "dst 0x100000000 is outside"),
    (lambda: ipv4(0, 0, 256), "protocol 0x100 is outside"),
    (lambda: ipv4(0, 0, 6, tos=256), "tos 0x100 is outside"),
    (lambda: ipv4(0, 0, 6, ttl=256), "ttl 0x100 is outside"),
    (lambda: ipv4(0, 0, 6, identification=1 << 16), "identification 0x10000 is outside"),
    (lambda: ipv4(0, 0, 6, bytes(65516)), "an IPv4 packet of 65536 bytes exceeds 65535"),
    (lambda: ipv6(1 << 128, 0, 6), "src 0x1"),
    (lambda: ipv6(0, 1 << 128, 6), "dst 0x1"),
    (lambda: ipv6(0, 0, 256), "protocol 0x100 is outside"),
    (lambda: ipv6(0, 0, 6, traffic_class=256), "traffic_class 0x100 is outside"),
    (lambda: ipv6(0, 0, 6, label=1 << 20), "label 0x100000 is outside 0..0xfffff"),
    (lambda: ipv6(0, 0, 6, hop_limit=256), "hop_limit 0x100 is outside"),
    (lambda: ipv6(0, 0, 6, bytes(65536)), "an IPv6 payload of 65536 bytes exceeds 65535"),
    (lambda: udp(1 << 16, 0), "src 0x10000 is outside"),
    (lambda: udp(0, 1 << 16), "dst 0x10000 is outside"),
    (lambda: udp(0, 0, bytes(65528)), "a UDP datagram of 65536 bytes exceeds 65535"),
    (lambda: tcp(1 << 16, 0, 0, 0, 0), "src 0x10000 is outside"),
    (lambda: tcp(0, 1 << 16, 0, 0, 0), "dst 0x10000 is outside"),
    (lambda: tcp(0, 0, 1 << 32, 0, 0), "seq 0x100000000 is outside"),
    (lambda: tcp(0, 0, 0, 1 << 32, 0), "ack 0x100000000 is outside"),
    (lambda: tcp(0, 0, 0, 0, 0x1000), "flags 0x1000 is outside 0..0xfff"),
    (lambda: tcp(0, 0, 0, 0, 0, window=1 << 16), "window 0x10000 is outside"),
    (lambda: tcp(0, 0, 0, 0, 0, options=bytes(41)), "a TCP option list of 41 bytes exceeds 40"),
    (lambda: echo(1 << 16, 0), "identifier 0x10000 is outside"),
    (lambda: echo(0, 1 << 16), "sequence 0x10000 is outside"),
    (lambda: icmp(256, 0), "type 0x100 is outside"),
    (lambda: icmp(0, 256), "code 0x100 is outside"),
    (lambda: icmp(0, 0, bytes(3)), "an ICMP body of 3 bytes is shorter than 4"),
    (lambda: icmpv6(0, 0, bytes(3)), "an ICMP body of 3 bytes is shorter than 4"),
    (lambda: build.neighbour_solicitation(1 << 128, 0), "target 0x1"),
    (lambda: build.neighbour_advertisement(0, 1 << 48), "mac 0x1000000000000 is outside"),
]


@pytest.mark.parametrize(("build_it", "words"), REFUSED)
def test_a_value_out_of_its_bound_is_refused_by_name(build_it: Refused, words: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        build_it()
    assert str(refusal.value).startswith(words)


LARGEST: list[tuple[Refused, int]] = [
    (lambda: ipv4(0xFFFFFFFF, 0xFFFFFFFF, 255, bytes(65515), tos=255, ttl=255, identification=0xFFFF), 65535),
    (
        lambda: ipv6(
            (1 << 128) - 1, (1 << 128) - 1, 255, bytes(65535), traffic_class=255, label=0xFFFFF, hop_limit=255
        ),
        65575,
    ),
    (lambda: udp(0xFFFF, 0xFFFF, bytes(65527)), 65535),
    (lambda: tcp(0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0xFFF, window=0xFFFF, options=bytes(40)), 60),
    (lambda: arp(0xFFFF, (1 << 48) - 1, 0xFFFFFFFF, (1 << 48) - 1, 0xFFFFFFFF), 28),
    (lambda: vlan(ethernet((1 << 48) - 1, (1 << 48) - 1, 0xFFFF), 4095, 7), 18),
    (lambda: icmp(255, 255, echo(0xFFFF, 0xFFFF)), 8),
    (lambda: build.neighbour_advertisement((1 << 128) - 1, (1 << 48) - 1), 32),
]


@pytest.mark.parametrize(("build_it", "length"), LARGEST)
def test_the_largest_values_are_taken(build_it: Refused, length: int) -> None:
    assert len(build_it()) == length
