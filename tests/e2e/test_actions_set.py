"""Set-field: every settable field, on every kind of packet, whole and masked; scapy says what must come out.

A packet that does not have the field comes out as it went in. What scapy builds anew has all checksums right, so a
wrong one of ours shows as a difference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from scapy.contrib.mpls import MPLS
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP, fragment
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptMTU,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    PadN,
    fragment6,
)
from scapy.layers.l2 import ARP, LLC, SNAP, Dot1AD, Dot1Q, Dot3, Ether
from scapy.layers.sctp import SCTP
from scapy.packet import Packet, Raw

from tests.frames import PLACES, rewritten
from tests.rig import Rig
from vswitch import Output, SetField
from vswitch.fields import FIELDS

ELSEWHERE = {"skb_mark", "skb_priority", *(name for name in FIELDS if name.startswith("tun_"))}
SETTABLE = [field for field in FIELDS.values() if field.settable and field.name not in ELSEWHERE]

# --- the packets

MACS = {"dst": "02:00:00:00:00:02", "src": "02:00:00:00:00:01"}
V4 = {"src": "10.1.2.3", "dst": "192.0.2.77"}
V6 = {"src": "2001:db8::a:1", "dst": "fe80::1:2:3:4"}
DATA = Raw(bytes(range(33)))  # of odd length


def as_is(packet: Packet) -> bytes:
    return bytes(packet)


def fragment_of(number: int) -> Callable[[Packet], bytes]:
    """The fragment of that number of a datagram, whose L4 checksum covers all of it."""

    def cut(packet: Packet) -> bytes:
        whole = packet.__class__(bytes(packet))
        if IP in whole:
            return bytes(fragment(whole, 40)[number])
        return bytes(whole)[:14] + bytes(fragment6(whole[IPv6], 100)[number])

    return cut


@dataclass(frozen=True)
class Sample:
    """A packet, and how it is sent."""

    packet: Packet
    cut: Callable[[Packet], bytes] = as_is


def ether(**more: Any) -> Packet:
    return Ether(**MACS, **more)


def ip4(**more: Any) -> Packet:
    return IP(**{**V4, "ttl": 61, "tos": 0xB9, "id": 7, **more})


def ip6(**more: Any) -> Packet:
    return IPv6(**{**V6, "hlim": 63, "tc": 0xA7, "fl": 0xFEDCB, **more})


def chain(*layers: Packet) -> Packet:
    packet = layers[0]
    for layer in layers[1:]:
        packet = packet / layer
    return packet


SEGMENT = TCP(sport=40001, dport=443, flags="PA", seq=1, ack=2, options=[("NOP", None)] * 4) / DATA
DATAGRAM = UDP(sport=5353, dport=53) / DATA
CHUNKS = SCTP(sport=9999, dport=3868) / Raw(bytes(range(48)))
SOLICITATION = ICMPv6ND_NS(tgt="2001:db8::5") / ICMPv6NDOptMTU() / ICMPv6NDOptSrcLLAddr(lladdr="0a:bc:de:f0:12:34")
ADVERTISEMENT = ICMPv6ND_NA(tgt="2001:db8::6") / ICMPv6NDOptDstLLAddr(lladdr="0a:bc:de:f0:12:35")
PADDING = IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(12))])
LONG = Raw(bytes(range(200)))

UNSEEN = Raw(bytes(ip4() / SEGMENT))  # not looked at behind MPLS

SAMPLES: dict[str, Sample] = {
    "TCP": Sample(ether() / ip4() / SEGMENT),
    "UDP": Sample(ether() / ip4() / DATAGRAM),
    "UDP without a checksum": Sample(ether() / ip4() / UDP(sport=1, dport=2, chksum=0) / DATA),
    "SCTP": Sample(ether() / ip4() / CHUNKS),
    "ICMP": Sample(ether() / ip4() / ICMP(type=8, code=0, id=0, seq=0) / DATA),
    "GRE": Sample(ether() / ip4(proto=47) / DATA),
    "options": Sample(ether() / ip4(options=[IPOption_NOP()] * 40) / SEGMENT),
    "first fragment, UDP": Sample(ether() / ip4() / UDP(sport=5, dport=6) / LONG, fragment_of(0)),
    "later fragment, UDP": Sample(ether() / ip4() / UDP(sport=5, dport=6) / LONG, fragment_of(1)),
    "last fragment, TCP": Sample(ether() / ip4() / TCP(sport=5, dport=6) / LONG, fragment_of(-1)),
    "later fragment, SCTP": Sample(ether() / ip4() / SCTP(sport=5, dport=6) / LONG, fragment_of(1)),
    "TCP over IPv6": Sample(ether() / ip6() / SEGMENT),
    "UDP over IPv6": Sample(ether() / ip6() / DATAGRAM),
    "UDP over IPv6 without a checksum": Sample(ether() / ip6() / UDP(sport=1, dport=2, chksum=0) / DATA),
    "SCTP over IPv6": Sample(ether() / ip6() / CHUNKS),
    "ICMPv6": Sample(ether() / ip6() / ICMPv6EchoRequest(id=3, seq=4, data=b"abc")),
    "solicitation": Sample(ether() / ip6(hlim=255) / SOLICITATION),
    "advertisement": Sample(ether() / ip6(hlim=255) / ADVERTISEMENT),
    "extension headers": Sample(
        chain(ether(), ip6(), IPv6ExtHdrHopByHop(options=[PadN(optdata=bytes(4))]), PADDING, SEGMENT)
    ),
    "routing header to go": Sample(
        chain(ether(), ip6(), IPv6ExtHdrRouting(addresses=["2001:db8::9", "2001:db8::8"], segleft=2), DATAGRAM)
    ),
    "routing header at its end": Sample(
        chain(ether(), ip6(), IPv6ExtHdrRouting(addresses=["2001:db8::9"], segleft=0), DATAGRAM)
    ),
    "first fragment, UDP over IPv6": Sample(
        chain(ether(), ip6(), IPv6ExtHdrFragment(id=9), UDP(sport=5, dport=6), LONG), fragment_of(0)
    ),
    "later fragment, UDP over IPv6": Sample(
        chain(ether(), ip6(), IPv6ExtHdrFragment(id=9), UDP(sport=5, dport=6), LONG), fragment_of(1)
    ),
    "one fragment, TCP over IPv6": Sample(chain(ether(), ip6(), IPv6ExtHdrFragment(id=9), SEGMENT)),
    "VLAN": Sample(ether() / Dot1Q(vlan=4093, prio=5) / ip4() / SEGMENT),
    "VLAN with the DEI bit": Sample(ether() / Dot1Q(vlan=1, dei=1) / ip6() / DATAGRAM),
    "QinQ": Sample(ether() / Dot1AD(vlan=100, prio=1) / Dot1Q(vlan=7, prio=2) / ip6() / SEGMENT),
    "QinQ, ARP": Sample(chain(ether(), Dot1AD(vlan=100), Dot1Q(vlan=7), ARP(psrc="10.0.0.1", pdst="10.0.0.2"))),
    "ARP": Sample(ether() / ARP(hwsrc=MACS["src"], psrc="10.0.0.1", pdst="10.0.0.2")),
    "MPLS": Sample(ether() / MPLS(label=16, cos=2, s=0, ttl=9) / MPLS(label=17, s=1, ttl=8) / UNSEEN),
    "MPLS behind a tag": Sample(ether() / Dot1Q(vlan=5) / MPLS(label=16, s=1, ttl=9) / UNSEEN),
    "SNAP": Sample(chain(Dot3(**MACS), LLC(dsap=0xAA, ssap=0xAA, ctrl=3), SNAP(OUI=0, code=0x0800), ip4(), SEGMENT)),
    "unknown type": Sample(ether(type=0x88B5) / DATA),
}


def values(name: str) -> Iterator[tuple[int, int]]:
    """Values and masks to be tried: every bit set and cleared once, and some bits alone."""
    field = FIELDS[name]
    pattern = 0x5A3C96E1F00D4BC8A5C3691E0FF2B437 >> 128 - field.bits
    yield pattern, field.max
    yield ~pattern & field.max, field.max
    mask = field.max & 0x0FF00FF00FF00FF00FF00FF00FF00FF0 if field.bits > 8 else field.max & 0b01100110
    yield pattern & mask, mask


def test_every_settable_field_is_tested_here_or_elsewhere() -> None:
    assert set(PLACES) == {field.name for field in SETTABLE}


@pytest.mark.parametrize("name", list(PLACES))
def test_set(rig: Rig, name: str) -> None:
    changed = 0
    for value, mask in values(name):
        came = rig.through(
            (sample.cut(sample.packet) for sample in SAMPLES.values()), [SetField(name, value, mask), Output(2)]
        )
        assert len(came) == len(SAMPLES)
        for (case, sample), frame in zip(SAMPLES.items(), came, strict=True):
            expected = sample.cut(rewritten(sample.packet, name, value, mask))
            assert frame.hex() == expected.hex(), f"{case}: {name}={value:#x}/{mask:#x}"
            changed += expected != sample.cut(sample.packet)
    assert changed, f"no sample has {name}"


# --- headers that are not all there, and what cannot be done rightly

CUT: list[tuple[str, bytes, list[str]]] = [
    ("TCP of 19 bytes", bytes(ether() / ip4() / SEGMENT)[: 34 + 19], ["tcp_src", "tcp_dst"]),
    ("UDP of 7 bytes", bytes(ether() / ip4() / DATAGRAM)[: 34 + 7], ["udp_src", "udp_dst"]),
    ("SCTP of 11 bytes", bytes(ether() / ip4() / CHUNKS)[: 34 + 11], ["sctp_src", "sctp_dst"]),
    ("ICMP of 7 bytes", bytes(ether() / ip4() / ICMP() / DATA)[: 34 + 7], ["icmpv4_type", "icmpv4_code"]),
    ("ICMPv6 of 7 bytes", bytes(ether() / ip6() / SOLICITATION)[: 54 + 7], ["icmpv6_type", "icmpv6_code"]),
    ("ND of 23 bytes", bytes(ether() / ip6() / SOLICITATION)[: 54 + 23], ["nd_target", "nd_sll"]),
    ("ND with code 1", bytes(ether() / ip6() / ICMPv6ND_NS(code=1) / SOLICITATION[1]), ["nd_target", "nd_sll"]),
    ("ND option of 7 bytes", bytes(ether() / ip6() / SOLICITATION)[:-1], ["nd_sll"]),
    ("ARP of 27 bytes", bytes(ether() / ARP())[:-1], ["arp_op", "arp_spa", "arp_tpa", "arp_sha", "arp_tha"]),
    ("ARP of another kind", bytes(ether() / ARP(hwtype=6)), ["arp_op", "arp_spa", "arp_tpa", "arp_sha", "arp_tha"]),
    ("IPv4 of 19 bytes", bytes(ether() / ip4())[:-1], ["ipv4_src", "ip_tos", "ip_ttl"]),
    ("IPv4 of version 5", bytes(ether() / ip4(version=5)), ["ipv4_src", "ip_tos", "ip_ttl"]),
    ("IPv6 of 39 bytes", bytes(ether() / ip6())[:-1], ["ipv6_src", "ipv6_label", "ip_tos", "ip_ttl"]),
    ("MPLS of 3 bytes", bytes(ether(type=0x8847) / b"abc"), ["mpls_label", "mpls_ttl"]),
]


@pytest.mark.parametrize(("frame", "names"), [pytest.param(frame, names, id=name) for name, frame, names in CUT])
def test_a_header_that_the_parser_does_not_read_is_left_alone(rig: Rig, frame: bytes, names: list[str]) -> None:
    actions = [SetField(name, next(values(name))[0]) for name in names]
    assert rig.through([frame], [*actions, Output(2)]) == [frame]


FAR = IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(124))])  # two of them leave no room in the view
NINE = [IPv6ExtHdrHopByHop()] * 9
UNFIT: list[tuple[str, bytes, str]] = [
    ("SCTP fragment", fragment_of(0)(ether() / ip4() / SCTP(sport=5, dport=6) / LONG), "sctp_dst"),
    ("address before a far TCP", bytes(chain(ether(), ip6(), FAR, FAR, SEGMENT)), "ipv6_src"),
    ("address before too many headers", bytes(chain(ether(), ip6(), *NINE, SEGMENT)), "ipv6_dst"),
]


@pytest.mark.parametrize(("frame", "name"), [pytest.param(frame, field, id=name) for name, frame, field in UNFIT])
def test_what_would_leave_a_wrong_checksum_is_refused_and_counted(rig: Rig, frame: bytes, name: str) -> None:
    """The CRC of a fragmented SCTP packet, and an L4 checksum that lies out of view."""
    with rig.dropping() as dropped:
        assert rig.through([frame], [SetField(name, 5), Output(2)], count=0) == []
    assert dropped == {"action_failed": 1}
    (came,) = rig.through([frame], [SetField("eth_src", 5), SetField("ip_ttl", 9), Output(2)])
    assert came[14 + 8 if name == "sctp_dst" else 14 + 7] == 9
