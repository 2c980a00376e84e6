"""Set-field: every settable field, on every kind of packet, whole and masked; scapy says what must come out.

A packet that does not have the field comes out as it went in. What scapy builds anew has all checksums right, so a
wrong one of ours shows as a difference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
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

from tests.rig import Rig
from vswitch import Output, SetField
from vswitch.fields import FIELDS

ELSEWHERE = {"skb_mark", "skb_priority", *(name for name in FIELDS if name.startswith("tun_"))}
SETTABLE = [field for field in FIELDS.values() if field.settable and field.name not in ELSEWHERE]

# --- the oracle: where scapy has a field, and how far it is shifted there

_ICMPV6 = (ICMPv6EchoRequest, ICMPv6ND_NS, ICMPv6ND_NA)

PLACES: dict[str, list[tuple[type[Packet], str, int]]] = {
    "eth_dst": [(Ether, "dst", 0), (Dot3, "dst", 0)],
    "eth_src": [(Ether, "src", 0), (Dot3, "src", 0)],
    "vlan_vid": [(Dot1AD, "vlan", 0), (Dot1Q, "vlan", 0)],
    "vlan_pcp": [(Dot1AD, "prio", 0), (Dot1Q, "prio", 0)],
    "ipv4_src": [(IP, "src", 0)],
    "ipv4_dst": [(IP, "dst", 0)],
    "ipv6_src": [(IPv6, "src", 0)],
    "ipv6_dst": [(IPv6, "dst", 0)],
    "ipv6_label": [(IPv6, "fl", 0)],
    "ip_tos": [(IP, "tos", 0), (IPv6, "tc", 0)],
    "ip_dscp": [(IP, "tos", 2), (IPv6, "tc", 2)],
    "ip_ecn": [(IP, "tos", 0), (IPv6, "tc", 0)],
    "ip_ttl": [(IP, "ttl", 0), (IPv6, "hlim", 0)],
    "tcp_src": [(TCP, "sport", 0)],
    "tcp_dst": [(TCP, "dport", 0)],
    "udp_src": [(UDP, "sport", 0)],
    "udp_dst": [(UDP, "dport", 0)],
    "sctp_src": [(SCTP, "sport", 0)],
    "sctp_dst": [(SCTP, "dport", 0)],
    "icmpv4_type": [(ICMP, "type", 0)],
    "icmpv4_code": [(ICMP, "code", 0)],
    "icmpv6_type": [(layer, "type", 0) for layer in _ICMPV6],
    "icmpv6_code": [(layer, "code", 0) for layer in _ICMPV6],
    "arp_op": [(ARP, "op", 0)],
    "arp_spa": [(ARP, "psrc", 0)],
    "arp_tpa": [(ARP, "pdst", 0)],
    "arp_sha": [(ARP, "hwsrc", 0)],
    "arp_tha": [(ARP, "hwdst", 0)],
    "nd_target": [(ICMPv6ND_NS, "tgt", 0), (ICMPv6ND_NA, "tgt", 0)],
    "nd_sll": [(ICMPv6NDOptSrcLLAddr, "lladdr", 0)],
    "nd_tll": [(ICMPv6NDOptDstLLAddr, "lladdr", 0)],
    "mpls_label": [(MPLS, "label", 0)],
    "mpls_tc": [(MPLS, "cos", 0)],
    "mpls_bos": [(MPLS, "s", 0)],
    "mpls_ttl": [(MPLS, "ttl", 0)],
}


def to_int(value: Any) -> int:
    if not isinstance(value, str):
        return int(value)
    if value.count(":") == 5 and "::" not in value:
        return int(value.replace(":", ""), 16)
    return int(IPv6Address(value) if ":" in value else IPv4Address(value))


def like(old: Any, value: int) -> Any:
    """`value` as scapy writes it where `old` stood."""
    if not isinstance(old, str):
        return value
    if old.count(":") == 5 and "::" not in old:
        return value.to_bytes(6, "big").hex(":")
    return str(IPv6Address(value) if ":" in old else IPv4Address(value))


def rewritten(packet: Packet, name: str, value: int, mask: int) -> Packet:
    """A copy with the field set, its checksums still to be made."""
    copy = packet.copy()
    for layer, attribute, shift in PLACES[name]:
        if layer not in copy:
            continue
        found = copy[layer]
        old = getattr(found, attribute)
        setattr(found, attribute, like(old, to_int(old) & ~(mask << shift) | value << shift))
        break
    return copy


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
