"""The parser's rules, one row each: a frame made by scapy, and all fields that its key has; every other bit is zero."""

from __future__ import annotations

import pytest
from scapy.contrib.mpls import MPLS
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6ND_RS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptMTU,
    ICMPv6NDOptSrcLLAddr,
    ICMPv6Unknown,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
)
from scapy.layers.l2 import ARP, LLC, SNAP, STP, Dot1AD, Dot1Q, Dot3, Ether
from scapy.layers.sctp import SCTP
from scapy.packet import Packet, Raw

from vswitch.base.limits import MAX_EXTENSION_HEADERS, MAX_ND_OPTIONS, PARSE_BYTES
from vswitch.fields import FIELDS, SLOTS
from vswitch.packet.parse import Headers, headers, parse

DST, SRC = "02:00:00:00:00:02", "02:00:00:00:00:01"
A4, B4, A6, B6 = "10.1.2.3", "192.0.2.77", "2001:db8::a:1", "fe80::1:2:3:4"
MAC = "0a:bc:de:f0:12:34"
ETH = {"eth_dst": DST, "eth_src": SRC}

Fields = dict[str, int | str]
Rows = list[tuple[str, Packet, Fields]]


def key_of(**fields: int | str) -> int:
    """The key int with these fields and zero elsewhere."""
    key = 0
    for name, value in fields.items():
        key |= FIELDS[name].place(FIELDS[name].parse(value) if isinstance(value, str) else value)
    return key


def slots_of(key: int) -> dict[str, int]:
    """What lies in the key, slot by slot, without zeroes: it reads better than one int in a failure."""
    return {name: slot.take(key) for name, slot in SLOTS.items() if slot.take(key)}


def ether(**options: object) -> Packet:
    return Ether(dst=DST, src=SRC, **options)


def ip4(**options: object) -> Packet:
    return IP(**{"src": A4, "dst": B4, "ttl": 61, "tos": 0xB9, **options})


def ip6(**options: object) -> Packet:
    return IPv6(**{"src": A6, "dst": B6, "hlim": 63, "tc": 0xA7, "fl": 0xFEDCB, **options})


def v4(proto: int, **fields: int | str) -> Fields:
    base: Fields = {"eth_type": 0x0800, "ipv4_src": A4, "ipv4_dst": B4, "ip_ttl": 61, "ip_tos": 0xB9}
    return {**ETH, **base, "ip_proto": proto, **fields}


def v6(proto: int, **fields: int | str) -> Fields:
    base: Fields = {"eth_type": 0x86DD, "ipv6_src": A6, "ipv6_dst": B6, "ip_ttl": 63, "ip_tos": 0xA7}
    return {**ETH, **base, "ipv6_label": 0xFEDCB, "ip_proto": proto, **fields}


def extension(number: int, following: int, length: int = 0, rest: bytes = b"\xff" * 6) -> tuple[int, bytes]:
    """An IPv6 extension header of 2 + len(rest) bytes, and its number."""
    return number, bytes((following, length)) + rest


def chain(numbers: list[int], last: int) -> bytes:
    """Extension headers of 8 bytes with these numbers in order, and behind them protocol `last`."""
    return b"".join(extension(n, f, 0, bytes(6))[1] for n, f in zip(numbers, [*numbers[1:], last], strict=True))


TCP_SYN = TCP(sport=40001, dport=443, flags="S")
TCP_BYTES = bytes(TCP(sport=40001, dport=443, flags="S", chksum=0))
TCP_FIELDS: Fields = {"tcp_src": 40001, "tcp_dst": 443, "tcp_flags": "syn"}
UDP_FIELDS: Fields = {"udp_src": 5353, "udp_dst": 53}
DNS = UDP(sport=5353, dport=53)
MORE, OFFSET = 1, 1 << 3  # of the word at byte 2 of a fragment header


def fragment(word: int, following: int = 6) -> bytes:
    return bytes((following, 0xFF)) + word.to_bytes(2, "big") + b"\x12\x34\x56\x78"


def vlan(prefix: str, vid: int, pcp: int, tpid: int) -> Fields:
    return {f"{prefix}_present": 1, f"{prefix}_vid": vid, f"{prefix}_pcp": pcp, f"{prefix}_tpid": tpid}


ETHERNET: Rows = [
    ("unknown type", ether(type=0x9000) / b"payload", {**ETH, "eth_type": 0x9000}),
    ("lowest type", ether(type=0x0600) / b"payload", {**ETH, "eth_type": 0x0600}),
    ("nothing behind the type", ether(type=0x0800), {**ETH, "eth_type": 0x0800}),
    (
        "VLAN",
        ether() / Dot1Q(vlan=4093, prio=5) / ip4() / TCP_SYN,
        {**v4(6), **TCP_FIELDS, **vlan("vlan", 4093, 5, 0x8100)},
    ),
    (
        "VLAN 0 with the DEI bit",
        ether() / Dot1Q(vlan=0, prio=7, dei=1, type=0x9000),
        {**ETH, "eth_type": 0x9000, **vlan("vlan", 0, 7, 0x8100)},
    ),
    (
        "QinQ",
        ether() / Dot1AD(vlan=100, prio=1) / Dot1Q(vlan=7, prio=2) / ip6() / DNS,
        {**v6(17), **UDP_FIELDS, **vlan("vlan", 100, 1, 0x88A8), **vlan("cvlan", 7, 2, 0x8100)},
    ),
    (
        "customer tag outside, service tag inside",
        ether() / Dot1Q(vlan=1) / Dot1AD(vlan=2, type=0x9000),
        {**ETH, "eth_type": 0x9000, **vlan("vlan", 1, 0, 0x8100), **vlan("cvlan", 2, 0, 0x88A8)},
    ),
    (
        "three tags",
        ether() / Dot1Q(vlan=1) / Dot1Q(vlan=2) / Dot1Q(vlan=3) / ip4() / TCP_SYN,
        {**ETH, "eth_type": 0x8100, **vlan("vlan", 1, 0, 0x8100), **vlan("cvlan", 2, 0, 0x8100)},
    ),
    ("an older tag protocol is a type", ether(type=0x9100) / bytes(8), {**ETH, "eth_type": 0x9100}),
]

LENGTHS: Rows = [
    ("LLC", Dot3(dst=DST, src=SRC) / LLC() / STP(), {**ETH, "eth_type": 0x05FF}),
    ("length 0", ether(type=0) / bytes(46), {**ETH, "eth_type": 0x05FF}),
    (
        "SNAP",
        Dot3(dst=DST, src=SRC) / LLC(dsap=0xAA, ssap=0xAA, ctrl=3) / SNAP(OUI=0, code=0x0800) / ip4() / TCP_SYN,
        {**v4(6), **TCP_FIELDS},
    ),
    (
        "SNAP in a VLAN",
        ether() / Dot1Q(vlan=9, type=60) / LLC(dsap=0xAA, ssap=0xAA, ctrl=3) / SNAP(OUI=0, code=0x86DD) / ip6() / DNS,
        {**v6(17), **UDP_FIELDS, **vlan("vlan", 9, 0, 0x8100)},
    ),
    (
        "SNAP with a VLAN tag inside is not followed",
        ether(type=60) / bytes.fromhex("aaaa03000000 8100 0005 0800") / ip4(),
        {**ETH, "eth_type": 0x8100},
    ),
    (
        "SNAP of a vendor",
        Dot3(dst=DST, src=SRC) / LLC(dsap=0xAA, ssap=0xAA, ctrl=3) / SNAP(OUI=0x00000C, code=0x2000) / bytes(40),
        {**ETH, "eth_type": 0x05FF},
    ),
    (
        "SNAP with a length for a type",
        ether(type=60) / bytes.fromhex("aaaa0300000005ff") / ip4(),
        {**ETH, "eth_type": 0x05FF},
    ),
    ("SNAP with the lowest type", ether(type=60) / bytes.fromhex("aaaa030000000600"), {**ETH, "eth_type": 0x0600}),
    (
        "SNAP behind the largest length",
        ether(type=0x05FF) / bytes.fromhex("aaaa030000000800") / ip4() / DNS,
        {**v4(17), **UDP_FIELDS},
    ),
    ("SNAP that is cut", ether(type=60) / bytes.fromhex("aaaa0300000008"), {**ETH, "eth_type": 0x05FF}),
]


def arp(**options: object) -> Packet:
    return ARP(**{"op": 1, "hwsrc": MAC, "psrc": A4, "hwdst": DST, "pdst": B4, **options})


def arp_with(lengths: bytes) -> bytes:
    """An ARP message whose address lengths are these; scapy alone would lay it out anew."""
    message = bytes(arp())
    return message[:4] + lengths + message[6:] + bytes(24)


ARP_FIELDS: Fields = {**ETH, "eth_type": 0x0806, "arp_sha": MAC, "arp_spa": A4, "arp_tha": DST, "arp_tpa": B4}
NO_ARP: Fields = {**ETH, "eth_type": 0x0806}

ARPS: Rows = [
    ("request", ether() / arp(), {**ARP_FIELDS, "arp_op": 1}),
    ("reply, padded", ether() / arp(op=2) / bytes(18), {**ARP_FIELDS, "arp_op": 2}),
    ("operation of 16 bits", ether() / arp(op=0x1234), {**ARP_FIELDS, "arp_op": 0x1234}),
    ("not Ethernet", ether() / arp(hwtype=6), NO_ARP),
    ("not IPv4", ether() / arp(ptype=0x86DD, hwlen=6, plen=4), NO_ARP),
    ("hardware addresses of 8 bytes", ether(type=0x0806) / arp_with(b"\x08\x04"), NO_ARP),
    ("protocol addresses of 16 bytes", ether(type=0x0806) / arp_with(b"\x06\x10"), NO_ARP),
]


def mpls(n: int, label: int, bos: int) -> Fields:
    prefix = f"mpls{n or ''}"
    return {f"{prefix}_label": label, f"{prefix}_tc": 5, f"{prefix}_bos": bos, f"{prefix}_ttl": 200 + n}


def entry(n: int, label: int, bos: int) -> Packet:
    return MPLS(label=label, cos=5, s=bos, ttl=200 + n)


MPLS_FIELDS: Fields = {**ETH, "eth_type": 0x8847}

LABELS: Rows = [
    ("one label", ether() / entry(0, 0xFEDCB, 1) / ip4(), {**MPLS_FIELDS, **mpls(0, 0xFEDCB, 1)}),
    (
        "two labels",
        ether() / entry(0, 1, 0) / entry(1, 2, 1) / ip4(),
        {**MPLS_FIELDS, **mpls(0, 1, 0), **mpls(1, 2, 1)},
    ),
    (
        "three labels",
        ether() / entry(0, 1, 0) / entry(1, 2, 0) / entry(2, 3, 1) / ip4(),
        {**MPLS_FIELDS, **mpls(0, 1, 0), **mpls(1, 2, 0), **mpls(2, 3, 1)},
    ),
    (
        "of four labels three",
        ether() / entry(0, 1, 0) / entry(1, 2, 0) / entry(2, 3, 0) / entry(3, 4, 1) / ip4(),
        {**MPLS_FIELDS, **mpls(0, 1, 0), **mpls(1, 2, 0), **mpls(2, 3, 0)},
    ),
    ("multicast", ether(type=0x8848) / entry(0, 77, 1), {**MPLS_FIELDS, "eth_type": 0x8848, **mpls(0, 77, 1)}),
    (
        "a second label that is cut",
        ether(type=0x8847) / (bytes(entry(0, 1, 0)) + b"\0\0\x21"),
        {**MPLS_FIELDS, **mpls(0, 1, 0)},
    ),
]

IPV4S: Rows = [
    ("TCP", ether() / ip4() / TCP_SYN, {**v4(6), **TCP_FIELDS}),
    (
        "TCP, all twelve flags, and a header length that lies",
        ether() / ip4() / TCP(sport=1, dport=2, flags=0x1FF, reserved=7, dataofs=15),
        v4(6, tcp_src=1, tcp_dst=2, tcp_flags=0xFFF),
    ),
    (
        "TCP, alternate flags",
        ether() / ip4() / TCP(sport=0xFFFF, dport=0, flags=0x0AA, reserved=2, dataofs=5),
        v4(6, tcp_src=0xFFFF, tcp_flags=0x4AA),
    ),
    ("UDP", ether() / ip4() / DNS / b"question", {**v4(17), **UDP_FIELDS}),
    ("SCTP", ether() / ip4() / SCTP(sport=36412, dport=36422), v4(132, sctp_src=36412, sctp_dst=36422)),
    ("ICMP", ether() / ip4() / ICMP(type=3, code=13), v4(1, icmpv4_type=3, icmpv4_code=13)),
    ("ICMPv6 is none under IPv4", ether() / ip4(proto=58) / ICMP(type=135, code=13), v4(58)),
    ("GRE", ether() / ip4(proto=47) / bytes(40), v4(47)),
    ("an IPv6 extension header is none", ether() / ip4(proto=0) / chain([0], 6) / TCP_BYTES, v4(0)),
    ("options", ether() / ip4(options=[IPOption_NOP()] * 8) / DNS, {**v4(17), **UDP_FIELDS}),
    ("most options", ether() / ip4(options=[IPOption_NOP()] * 40) / TCP_SYN, {**v4(6), **TCP_FIELDS}),
    ("options beyond the end", ether() / ip4(ihl=15) / TCP_SYN, v4(6)),
    ("total length that lies", ether() / ip4(len=20) / TCP_SYN, {**v4(6), **TCP_FIELDS}),
    ("do not fragment", ether() / ip4(flags="DF") / DNS, {**v4(17), **UDP_FIELDS}),
    ("reserved flag", ether() / ip4(flags="evil") / DNS, {**v4(17), **UDP_FIELDS}),
    ("first fragment", ether() / ip4(flags="MF") / DNS, {**v4(17, ip_frag="first"), **UDP_FIELDS}),
    ("later fragment", ether() / ip4(flags="MF", frag=1) / DNS, v4(17, ip_frag="later")),
    ("last fragment", ether() / ip4(frag=0x1000) / DNS, v4(17, ip_frag="later")),
    ("version 5", ether() / ip4(version=5) / DNS, {**ETH, "eth_type": 0x0800}),
    ("version 5, no length", ether() / ip4(version=5, ihl=0) / DNS, {**ETH, "eth_type": 0x0800}),
    ("version 6", ether(type=0x0800) / ip6() / DNS, {**ETH, "eth_type": 0x0800}),
    ("header of four words", ether() / ip4(ihl=4) / DNS, {**ETH, "eth_type": 0x0800}),
]

IPV6S: Rows = [
    ("TCP", ether() / ip6() / TCP_SYN, {**v6(6), **TCP_FIELDS}),
    ("UDP", ether() / ip6() / DNS, {**v6(17), **UDP_FIELDS}),
    ("SCTP", ether() / ip6() / SCTP(sport=1, dport=2), v6(132, sctp_src=1, sctp_dst=2)),
    ("echo", ether() / ip6() / ICMPv6EchoRequest(code=9), v6(58, icmpv6_type=128, icmpv6_code=9)),
    ("ICMP is none under IPv6", ether() / ip6(nh=1) / ICMP(type=3, code=13), v6(1)),
    ("no next header", ether() / ip6(nh=59) / TCP_BYTES, v6(59)),
    ("ESP is not walked", ether() / ip6(nh=50) / chain([50], 6) / TCP_BYTES, v6(50)),
    ("payload length that lies", ether() / ip6(plen=0) / TCP_SYN, {**v6(6), **TCP_FIELDS}),
    ("version 4", ether(type=0x86DD) / ip4() / bytes(40), {**ETH, "eth_type": 0x86DD}),
    (
        "all ones",
        ether() / ip6(tc=0xFF, fl=0xFFFFF, hlim=0xFF, nh=59),
        v6(59, ip_tos=0xFF, ipv6_label=0xFFFFF, ip_ttl=0xFF),
    ),
    ("hop-by-hop", ether() / ip6() / IPv6ExtHdrHopByHop() / DNS, {**v6(17), **UDP_FIELDS}),
    (
        "hop-by-hop, 24 bytes",
        ether() / ip6(nh=0) / extension(0, 17, 2, b"\xff" * 22)[1] / DNS,
        {**v6(17), **UDP_FIELDS},
    ),
    ("destination", ether() / ip6() / IPv6ExtHdrDestOpt() / DNS, {**v6(17), **UDP_FIELDS}),
    (
        "destination, 24 bytes",
        ether() / ip6(nh=60) / extension(60, 17, 2, b"\xff" * 22)[1] / DNS,
        {**v6(17), **UDP_FIELDS},
    ),
    (
        "routing, two addresses",
        ether() / ip6() / IPv6ExtHdrRouting(addresses=["::1", "::2"]) / DNS,
        {**v6(17), **UDP_FIELDS},
    ),
    (
        "authentication counts in words of four bytes",
        ether() / ip6(nh=51) / extension(51, 17, 4, b"\xff" * 22)[1] / DNS,
        {**v6(17), **UDP_FIELDS},
    ),
    ("authentication of 8 bytes", ether() / ip6(nh=51) / extension(51, 17)[1] / DNS, {**v6(17), **UDP_FIELDS}),
    (
        "all kinds",
        ether() / ip6(nh=0) / chain([0, 60, 43, 44, 51], 6) / TCP_BYTES,
        {**v6(6), **TCP_FIELDS},
    ),
    (
        "as many as are walked",
        ether() / ip6(nh=60) / chain([60] * MAX_EXTENSION_HEADERS, 6) / TCP_BYTES,
        {**v6(6), **TCP_FIELDS},
    ),
    ("one too many", ether() / ip6(nh=60) / chain([60] * MAX_EXTENSION_HEADERS + [43], 6) / TCP_BYTES, v6(43)),
    (
        "a fragment header that is one too many",
        ether() / ip6(nh=60) / chain([60] * MAX_EXTENSION_HEADERS, 44) / fragment(OFFSET) / TCP_BYTES,
        v6(44),
    ),
    ("an extension header that is cut", ether() / ip6(nh=0) / chain([0], 43) / bytes((6, 0, 0, 0, 0, 0, 0)), v6(43)),
    ("one that leads out of the frame", ether() / ip6(nh=0) / extension(0, 6, 30)[1] / TCP_BYTES, v6(6)),
    ("one that leads out to another", ether() / ip6(nh=0) / extension(0, 60, 30)[1] / TCP_BYTES, v6(60)),
]

IPV6_FRAGMENTS: Rows = [
    (
        "first, by scapy",
        ether() / ip6() / IPv6ExtHdrFragment(m=1) / DNS,
        {**v6(17, ip_frag="first"), **UDP_FIELDS},
    ),
    ("later, by scapy", ether() / ip6() / IPv6ExtHdrFragment(offset=1, nh=17) / DNS, v6(17, ip_frag="later")),
    ("whole", ether() / ip6(nh=44) / fragment(0) / TCP_BYTES, {**v6(6), **TCP_FIELDS}),
    ("reserved bits", ether() / ip6(nh=44) / fragment(6) / TCP_BYTES, {**v6(6), **TCP_FIELDS}),
    ("an offset in the upper byte alone", ether() / ip6(nh=44) / fragment(0x0100) / TCP_BYTES, v6(6, ip_frag="later")),
    ("last", ether() / ip6(nh=44) / fragment(0xFFF8) / TCP_BYTES, v6(6, ip_frag="later")),
    ("later with more", ether() / ip6(nh=44) / fragment(OFFSET | MORE) / TCP_BYTES, v6(6, ip_frag="later")),
    (
        "first, and headers behind",
        ether() / ip6(nh=0) / chain([0], 44) / fragment(MORE, 60) / chain([60], 6) / TCP_BYTES,
        {**v6(6, ip_frag="first"), **TCP_FIELDS},
    ),
    (
        "later: the protocol is its next header, whichever",
        ether() / ip6(nh=44) / fragment(OFFSET, 60) / chain([60], 6) / TCP_BYTES,
        v6(60, ip_frag="later"),
    ),
    (
        "first and then later is later",
        ether() / ip6(nh=44) / fragment(MORE, 44) / fragment(OFFSET) / TCP_BYTES,
        v6(6, ip_frag="later"),
    ),
    (
        "first and then whole stays first",
        ether() / ip6(nh=44) / fragment(MORE, 44) / fragment(0) / TCP_BYTES,
        {**v6(6, ip_frag="first"), **TCP_FIELDS},
    ),
    ("cut", ether() / ip6(nh=44) / fragment(OFFSET)[:7], v6(44)),
]

NS, NA = ICMPv6ND_NS(tgt=A6), ICMPv6ND_NA(tgt=A6)
SLL, TLL = ICMPv6NDOptSrcLLAddr(lladdr=MAC), ICMPv6NDOptDstLLAddr(lladdr=MAC)
OTHER_SLL = ICMPv6NDOptSrcLLAddr(lladdr=DST)
MTU = ICMPv6NDOptMTU()
NS_FIELDS = v6(58, icmpv6_type=135, nd_target=A6)
NA_FIELDS = v6(58, icmpv6_type=136, nd_target=A6)


def options(count: int) -> bytes:
    return bytes(MTU) * count


NEIGHBOURS: Rows = [
    ("solicitation", ether() / ip6() / NS / SLL, {**NS_FIELDS, "nd_sll": MAC}),
    ("advertisement", ether() / ip6() / NA / TLL, {**NA_FIELDS, "nd_tll": MAC}),
    ("no options", ether() / ip6() / NS, NS_FIELDS),
    ("a solicitation has no target's address", ether() / ip6() / NS / TLL, NS_FIELDS),
    ("an advertisement has no source's address", ether() / ip6() / NA / SLL, NA_FIELDS),
    ("the wrong one before the right", ether() / ip6() / NA / SLL / TLL, {**NA_FIELDS, "nd_tll": MAC}),
    ("the first of two", ether() / ip6() / NS / SLL / OTHER_SLL, {**NS_FIELDS, "nd_sll": MAC}),
    (
        "the last option looked at",
        ether() / ip6() / NS / (options(MAX_ND_OPTIONS - 1) + bytes(SLL)),
        {**NS_FIELDS, "nd_sll": MAC},
    ),
    ("one option too many", ether() / ip6() / NS / (options(MAX_ND_OPTIONS) + bytes(SLL)), NS_FIELDS),
    ("an option of length 0", ether() / ip6() / NS / (b"\x05" + bytes(7) + bytes(SLL)), NS_FIELDS),
    ("the option with length 0", ether() / ip6() / NS / (b"\x01" + bytes(7) + bytes(SLL)), NS_FIELDS),
    (
        "an address of another length is passed",
        ether() / ip6() / NS / (b"\x01\x02" + b"\xff" * 14 + bytes(SLL)),
        {**NS_FIELDS, "nd_sll": MAC},
    ),
    (
        "an option of type 0 is passed",
        ether() / ip6() / NS / (b"\0\1" + bytes(6) + bytes(SLL)),
        {**NS_FIELDS, "nd_sll": MAC},
    ),
    ("an option that leads out of the frame", ether() / ip6() / NS / (b"\x05\xff" + bytes(6) + bytes(SLL)), NS_FIELDS),
    ("an option that is cut", ether() / ip6() / NS / bytes(SLL)[:7], NS_FIELDS),
    ("code 1", ether() / ip6() / ICMPv6ND_NS(tgt=A6, code=1) / SLL, v6(58, icmpv6_type=135, icmpv6_code=1)),
    ("router solicitation", ether() / ip6() / ICMPv6ND_RS() / SLL, v6(58, icmpv6_type=133)),
    ("redirect", ether() / ip6() / ICMPv6Unknown(type=137, msgbody=b"\x7f" * 60), v6(58, icmpv6_type=137)),
    (
        "behind an extension header",
        ether() / ip6() / IPv6ExtHdrHopByHop() / NS / SLL,
        {**NS_FIELDS, "nd_sll": MAC},
    ),
]

GROUPS = {
    "ethernet": ETHERNET,
    "802.3": LENGTHS,
    "ARP": ARPS,
    "MPLS": LABELS,
    "IPv4": IPV4S,
    "IPv6": IPV6S,
    "IPv6 fragment": IPV6_FRAGMENTS,
    "ND": NEIGHBOURS,
}
ROWS = [
    pytest.param(bytes(packet), fields, id=f"{group}: {name}")
    for group, rows in GROUPS.items()
    for name, packet, fields in rows
]
FRAMES = [pytest.param(row.values[0], id=row.id) for row in ROWS]


@pytest.mark.parametrize(("frame", "fields"), ROWS)
def test_the_key_has_these_fields_and_no_others(frame: bytes, fields: Fields) -> None:
    assert slots_of(parse(frame)) == slots_of(key_of(**fields))
    assert parse(frame) == key_of(**fields)


@pytest.mark.parametrize("frame", FRAMES)
def test_metadata_is_kept(frame: bytes) -> None:
    metadata = key_of(in_port=7, recirc_id=0xDEAD, tun_id=0xABCDEF, skb_mark=1)
    assert parse(frame, metadata) == parse(frame) | metadata
    assert parse(frame[:13], metadata) == metadata


@pytest.mark.parametrize("frame", FRAMES)
def test_a_memoryview_is_as_good_as_bytes(frame: bytes) -> None:
    assert parse(memoryview(b"before" + frame)[6:]) == parse(frame)


# --- truncated frames

EXPLAINED = {
    "eth_type": {0x8100, 0x88A8, 0x05FF},  # a tag or a SNAP header that is cut
    "ip_proto": {0, 43, 44, 51, 60},  # an extension header that is cut
    "ip_frag": {1},  # a second fragment header that is cut
}


@pytest.mark.parametrize("frame", FRAMES)
def test_a_truncated_frame_has_no_field_that_the_whole_has_not(frame: bytes) -> None:
    whole = parse(frame)
    for length in range(len(frame)):
        key = parse(frame[:length])
        for name, slot in SLOTS.items():
            value = slot.take(key)
            assert value in {0, slot.take(whole)} | EXPLAINED.get(name, set()), f"{name} of the first {length} bytes"


@pytest.mark.parametrize("length", range(14))
def test_a_frame_without_its_ethernet_header_has_no_field(length: int) -> None:
    assert parse(b"\xff" * length) == 0


TAGGED = ether() / Dot1AD(vlan=100) / Dot1Q(vlan=7) / ip4() / DNS
ND_FRAME = ether() / ip6() / NS / MTU / SLL
NEEDS = [
    # frame, slot, bytes of the frame with which it appears
    (TAGGED, "eth_dst", 14),
    (TAGGED, "vlan_tci", 18),
    (TAGGED, "cvlan_tci", 22),
    (TAGGED, "ipv4_src", 22 + 20),
    (TAGGED, "tp_src", 22 + 20 + 8),
    (ether() / arp(), "arp_op", 14 + 28),
    (ether() / entry(0, 1, 0) / entry(1, 2, 0) / entry(2, 3, 1), "mpls_lse0", 14 + 4),
    (ether() / entry(0, 1, 0) / entry(1, 2, 0) / entry(2, 3, 1), "mpls_lse1", 14 + 8),
    (ether() / entry(0, 1, 0) / entry(1, 2, 0) / entry(2, 3, 1), "mpls_lse2", 14 + 12),
    (ether() / ip4() / TCP_SYN, "tp_src", 14 + 20 + 20),
    (ether() / ip4() / TCP_SYN, "tcp_flags", 14 + 20 + 20),
    (ether() / ip4() / SCTP(sport=1, dport=2), "tp_src", 14 + 20 + 12),
    (ether() / ip4() / ICMP(), "tp_src", 14 + 20 + 8),
    (ether() / ip4(options=[IPOption_NOP()] * 4) / DNS, "ip_ttl", 14 + 20),
    (ether() / ip4(options=[IPOption_NOP()] * 4) / DNS, "tp_dst", 14 + 24 + 8),
    (ether() / ip6() / TCP_SYN, "ipv6_dst", 14 + 40),
    (ether() / ip6() / TCP_SYN, "ip_proto", 14 + 40),
    (ether() / ip6() / TCP_SYN, "tp_src", 14 + 40 + 20),
    (ether() / ip6() / SCTP(sport=1, dport=2), "tp_src", 14 + 40 + 12),
    (ether() / ip6() / DNS, "tp_src", 14 + 40 + 8),
    (ether() / ip6() / IPv6ExtHdrFragment(m=1) / DNS, "ip_frag", 14 + 40 + 8),
    (ND_FRAME, "tp_src", 14 + 40 + 8),
    (ND_FRAME, "nd_target", 14 + 40 + 24),
    (ND_FRAME, "l2_source", 14 + 40 + 24 + 8 + 8),
]


@pytest.mark.parametrize(("packet", "name", "needed"), NEEDS)
def test_a_field_appears_with_the_last_byte_that_its_header_needs(packet: Packet, name: str, needed: int) -> None:
    frame = bytes(packet)
    appeared = next(n for n in range(len(frame) + 1) if SLOTS[name].take(parse(frame[:n])))
    assert appeared == needed
    assert SLOTS[name].take(parse(frame[:needed])) == SLOTS[name].take(parse(frame))


def test_a_cut_tag_makes_its_protocol_the_ethernet_type() -> None:
    frame = bytes(TAGGED)
    assert [SLOTS["eth_type"].take(parse(frame[:n])) for n in (14, 17, 18, 21, 22)] == [
        0x88A8,
        0x88A8,
        0x8100,
        0x8100,
        0x0800,
    ]


# --- the view: PARSE_BYTES from the start of the network header

VIEWS = [
    # the L4 header ends with the view: (protocol, its bytes in the view, its fields)
    ("TCP", 6, TCP_BYTES, 20, TCP_FIELDS),
    ("UDP", 17, bytes(UDP(sport=5353, dport=53, chksum=0)), 8, UDP_FIELDS),
]


def filler(total: int, last: int) -> bytes:
    """One authentication header of `total` bytes, which may be any multiple of four."""
    return extension(51, last, total // 4 - 2, bytes(total - 2))[1]


QINQ = ether() / Dot1Q(vlan=1) / Dot1Q(vlan=2)
QINQ_FIELDS: Fields = {**vlan("vlan", 1, 0, 0x8100), **vlan("cvlan", 2, 0, 0x8100)}
STARTS: list[tuple[str, Packet, Fields]] = [
    ("untagged", ether(), {}),
    ("QinQ", QINQ, QINQ_FIELDS),
    (
        "QinQ and SNAP",
        ether() / Dot1Q(vlan=1) / Dot1Q(vlan=2, type=60) / LLC(dsap=0xAA, ssap=0xAA, ctrl=3) / SNAP(OUI=0, code=0x86DD),
        QINQ_FIELDS,
    ),
]


@pytest.mark.parametrize(("start", "start_fields"), [pytest.param(p, f, id=name) for name, p, f in STARTS])
@pytest.mark.parametrize(
    ("protocol", "header", "size", "fields"), [pytest.param(*view, id=name) for name, *view in VIEWS]
)
def test_a_header_that_ends_with_the_view_is_read_and_one_that_passes_it_is_not(
    start: Packet, start_fields: Fields, protocol: int, header: bytes, size: int, fields: Fields
) -> None:
    last = PARSE_BYTES - 40 - size
    for length, seen in ((last, fields), (last + 4, {})):
        frame = bytes(start / ip6(nh=51) / filler(length, protocol) / header / bytes(1000))
        assert slots_of(parse(frame)) == slots_of(key_of(**{**v6(protocol), **start_fields, **seen}))


def test_an_extension_header_that_passes_the_view_is_not_walked() -> None:
    last = PARSE_BYTES - 40 - 8
    for length, protocol in ((last, 6), (last + 4, 60)):
        frame = bytes(ether() / ip6(nh=51) / filler(length, 60) / chain([60], 6) / bytes(1000))
        assert parse(frame) == key_of(**v6(protocol))


def test_an_nd_option_that_passes_the_view_is_not_read() -> None:
    last = PARSE_BYTES - 40 - 24 - 8
    for length, address in ((last, {"nd_sll": MAC}), (last + 4, {})):
        frame = bytes(ether() / ip6(nh=51) / filler(length, 58) / bytes(NS / SLL) / bytes(1000))
        assert slots_of(parse(frame)) == slots_of(key_of(**NS_FIELDS, **address))


# --- where the headers lie

OFFSETS = [
    ("short frame", Raw(bytes(13)), Headers()),
    ("unknown type", ether(type=0x9000) / b"payload", Headers(payload=14)),
    ("VLAN", ether() / Dot1Q(vlan=1, type=0x9000), Headers(tags=1, payload=18)),
    ("QinQ TCP/IPv4", ether() / Dot1AD(vlan=1) / Dot1Q(vlan=2) / ip4() / TCP_SYN, Headers(2, 22, 22, 42)),
    ("three tags", ether() / Dot1Q() / Dot1Q() / Dot1Q() / ip4(), Headers(2, 22)),
    ("LLC", Dot3(dst=DST, src=SRC) / LLC() / STP(), Headers(payload=14)),
    ("SNAP", ether(type=60) / bytes.fromhex("aaaa030000000800") / ip4() / DNS, Headers(0, 22, 22, 42)),
    ("ARP", ether() / arp(), Headers(0, 14, 14)),
    ("ARP not for IPv4", ether() / arp(hwtype=6), Headers(0, 14)),
    ("MPLS", ether() / entry(0, 1, 0) / entry(1, 2, 1) / ip4(), Headers(0, 14, 14)),
    ("MPLS that is cut", ether(type=0x8847) / b"\0\0\x11", Headers(0, 14)),
    ("IPv4 with options", ether() / ip4(options=[IPOption_NOP()] * 8) / ICMP(), Headers(0, 14, 14, 42)),
    ("IPv4 of a wrong version", ether() / ip4(version=5) / DNS, Headers(0, 14)),
    ("IPv4, unknown protocol", ether() / ip4(proto=47) / bytes(40), Headers(0, 14, 14)),
    ("later fragment", ether() / ip4(frag=1) / DNS, Headers(0, 14, 14)),
    ("TCP that is cut", ether() / ip4(proto=6) / TCP_BYTES[:19], Headers(0, 14, 14)),
    ("IPv6, extension headers", ether() / ip6(nh=0) / chain([0, 44, 60], 6) / TCP_BYTES, Headers(0, 14, 14, 78)),
    ("IPv6, later fragment", ether() / ip6(nh=44) / fragment(OFFSET) / TCP_BYTES, Headers(0, 14, 14)),
    ("IPv6 that is cut", ether(type=0x86DD) / bytes(ip6())[:39], Headers(0, 14)),
    ("solicitation", ether() / ip6() / NS / MTU / SLL, Headers(0, 14, 14, 54, 54 + 24 + 8 + 2)),
    ("solicitation without the option", ether() / ip6() / NS / MTU, Headers(0, 14, 14, 54)),
]


@pytest.mark.parametrize(("packet", "expected"), [pytest.param(p, e, id=name) for name, p, e in OFFSETS])
def test_headers_lie_where_the_fields_were_read(packet: Packet, expected: Headers) -> None:
    assert headers(bytes(packet)) == expected
    assert headers(memoryview(bytes(packet))) == expected
