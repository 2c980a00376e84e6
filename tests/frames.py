"""Frames for the tests of the datapath: random valid ones, and what scapy says about the checksums of any.

Invariant: chance is an argument; the same seed makes the same frames.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from random import Random
from typing import Any, NamedTuple

from scapy.contrib.mpls import MPLS
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP
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
)
from scapy.layers.ipsec import AH
from scapy.layers.l2 import ARP, LLC, SNAP, Dot1AD, Dot1Q, Dot3, Ether
from scapy.layers.sctp import SCTP
from scapy.packet import Packet, Raw

from tests.lab import VNET_HEADER, VNET_NEEDS_CHECKSUM
from vswitch import Key
from vswitch.fields.registry import ICMP as ICMP_NUMBER
from vswitch.fields.registry import IPV4 as IPV4_TYPE
from vswitch.fields.registry import IPV6 as IPV6_TYPE
from vswitch.fields.registry import SCTP as SCTP_NUMBER
from vswitch.fields.registry import UDP as UDP_NUMBER
from vswitch.packet.checksum import crc32c, internet_checksum
from vswitch.packet.code_points import AUTHENTICATION, FRAGMENT, ROUTING
from vswitch.packet.parse import headers, parse

__all__ = ["PLACES", "Unfinished", "left_to_the_card", "random_packet", "rewritten", "unfinished", "wrong_checksums"]


def _mac(chance: Random) -> str:
    return chance.randbytes(6).hex(":")


def _payload(chance: Random) -> Packet:
    return Raw(chance.randbytes(chance.choice((0, 1, 7, 32, 60, 301))))


def _tcp(chance: Random) -> Packet:
    options = [("NOP", None)] * chance.choice((0, 0, 4, 12))
    return TCP(
        sport=chance.randrange(65536),
        dport=chance.randrange(65536),
        seq=chance.getrandbits(32),
        flags=chance.getrandbits(9),
        reserved=chance.getrandbits(3),
        options=options,
    ) / _payload(chance)


def _udp(chance: Random) -> Packet:
    return UDP(sport=chance.randrange(65536), dport=chance.randrange(65536)) / _payload(chance)


def _sctp(chance: Random) -> Packet:
    return SCTP(sport=chance.randrange(65536), dport=chance.randrange(65536)) / Raw(chance.randbytes(20))


def _icmp(chance: Random) -> Packet:
    return ICMP(type=chance.randrange(256), code=chance.randrange(256)) / _payload(chance)


def _neighbour(chance: Random) -> Packet:
    target = str(IPv6Address(chance.getrandbits(128)))
    message = chance.choice((ICMPv6ND_NS, ICMPv6ND_NA))(tgt=target)
    for _ in range(chance.randrange(6)):
        option = chance.choice((ICMPv6NDOptSrcLLAddr, ICMPv6NDOptDstLLAddr, ICMPv6NDOptMTU))()
        if not isinstance(option, ICMPv6NDOptMTU):
            option.lladdr = _mac(chance)
        message /= option
    return message


def _icmpv6(chance: Random) -> Packet:
    if chance.random() < 0.6:
        return _neighbour(chance)
    return ICMPv6EchoRequest(id=chance.randrange(65536), data=chance.randbytes(chance.randrange(40)))


def _other(chance: Random) -> Packet:
    return Raw(chance.randbytes(chance.randrange(30)))


_OVER_IP: tuple[Callable[[Random], Packet], ...] = (_tcp, _udp, _sctp)


def _ipv4(chance: Random) -> Packet:
    make = chance.choice((*_OVER_IP, _icmp, _other))
    fragment = chance.choice((0, 0, 0, 0, 0, 1, 185))
    header = IP(
        src=str(IPv4Address(chance.getrandbits(32))),
        dst=str(IPv4Address(chance.getrandbits(32))),
        tos=chance.getrandbits(8),
        ttl=chance.getrandbits(8),
        id=chance.getrandbits(16),
        flags=chance.choice(("", "DF", "MF")),
        frag=fragment,
        options=[IPOption_NOP()] * chance.choice((0, 0, 0, 4, 40)),
    )
    if make is _other:
        header.proto = chance.choice((0, 43, 44, 47, 50, 58, 255))
    return header / make(chance)


def _extensions(chance: Random) -> list[Packet]:
    makers: tuple[Callable[[], Packet], ...] = (
        lambda: IPv6ExtHdrHopByHop(options=[PadN(optdata=bytes(4))]),
        lambda: IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(chance.choice((4, 12, 100))))]),
        lambda: IPv6ExtHdrRouting(
            addresses=["2001:db8::1"] * (count := chance.randrange(3)), segleft=chance.randrange(count + 1)
        ),
        lambda: AH(payloadlen=1 + (words := chance.choice((1, 3))), icv=chance.randbytes(4 * words)),
        lambda: IPv6ExtHdrFragment(m=chance.getrandbits(1), offset=chance.choice((0, 0, 0, 5))),
    )
    return [chance.choice(makers)() for _ in range(chance.choice((0, 0, 0, 1, 1, 2, 3, 8, 9)))]


_NEXT_HEADERS: dict[type[Packet], int] = {
    IPv6ExtHdrHopByHop: 0,
    TCP: 6,
    UDP: 17,
    IPv6ExtHdrRouting: 43,
    IPv6ExtHdrFragment: 44,
    AH: 51,
    IPv6ExtHdrDestOpt: 60,
    SCTP: 132,
}
"""Numbers of what may follow; else it is ICMPv6."""


def _ipv6(chance: Random) -> Packet:
    packet = IPv6(
        src=str(IPv6Address(chance.getrandbits(128))),
        dst=str(IPv6Address(chance.getrandbits(128))),
        tc=chance.getrandbits(8),
        fl=chance.getrandbits(20),
        hlim=chance.getrandbits(8),
    )
    make = chance.choice((*_OVER_IP, _icmpv6, _icmpv6, _other))
    inside = make(chance)
    extensions = _extensions(chance)
    if make is _tcp:  # of which scapy makes no checksum behind an authentication header
        extensions = [extension for extension in extensions if not isinstance(extension, AH)]
    for following in (*extensions, inside):
        if isinstance(packet.lastlayer(), AH):  # scapy leaves that to us
            packet.lastlayer().nh = next((n for kind, n in _NEXT_HEADERS.items() if isinstance(following, kind)), 58)
        packet /= following
    if make is _other:
        packet[Raw].underlayer.nh = chance.choice((1, 47, 50, 59, 255))
    return packet


def _arp(chance: Random) -> Packet:
    return ARP(
        op=chance.randrange(1, 3),
        hwsrc=_mac(chance),
        psrc=str(IPv4Address(chance.getrandbits(32))),
        hwdst=_mac(chance),
        pdst=str(IPv4Address(chance.getrandbits(32))),
        hwtype=chance.choice((1, 1, 1, 6)),
    )


def _mpls(chance: Random) -> Packet:
    count = chance.randrange(1, 5)
    packet: Packet | None = None
    for number in range(count):
        entry = MPLS(
            label=chance.getrandbits(20),
            cos=chance.getrandbits(3),
            s=int(number == count - 1),
            ttl=chance.getrandbits(8),
        )
        packet = entry if packet is None else packet / entry
    return packet / chance.choice((_ipv4, _ipv6))(chance)


def random_packet(chance: Random) -> Packet:
    """A packet of any kind that the flow key has fields for, or of a kind that it has none for; all is valid in it."""
    network = chance.choice((_ipv4, _ipv4, _ipv6, _ipv6, _arp, _mpls, _other))
    inside = network(chance)
    if chance.random() < 0.1:
        number = {_ipv4: 0x0800, _ipv6: 0x86DD, _arp: 0x0806, _mpls: 0x8847}.get(network, 0x9000)
        packet = (
            Dot3(dst=_mac(chance), src=_mac(chance)) / LLC(dsap=0xAA, ssap=0xAA, ctrl=3) / SNAP(code=number) / inside
        )
        return Dot3(bytes(packet))
    packet = Ether(dst=_mac(chance), src=_mac(chance))
    for _ in range(chance.choice((0, 0, 1, 1, 2, 3))):
        tag = chance.choice((Dot1Q, Dot1AD))
        packet /= tag(vlan=chance.getrandbits(12), prio=chance.getrandbits(3), dei=chance.getrandbits(1))
    if network is _other:
        packet.lastlayer().type = chance.choice((0x0600, 0x88CC, 0x9000, 0xFFFF))
    return packet / inside


class Unfinished(NamedTuple):
    """A frame as a host hands it to a card, and what the card is to do."""

    frame: bytes
    header: bytes


def unfinished(packet: Packet, segment: int) -> Unfinished:
    """The checksum is that of the pseudo header alone; `segment`: bytes of payload in each frame on the wire, or 0."""
    layer, offset = (TCP, 16) if TCP in packet else (UDP, 6)
    frame = bytearray(bytes(packet))
    l4 = bytes(Ether(bytes(packet))[layer])
    start = len(frame) - len(l4)
    ip = packet[IPv6] if IPv6 in packet else packet[IP]
    family = socket.AF_INET6 if IPv6 in packet else socket.AF_INET
    addresses = socket.inet_pton(family, ip.src) + socket.inet_pton(family, ip.dst)
    pseudo = addresses + len(l4).to_bytes(4, "big") + (6 if layer is TCP else 17).to_bytes(4, "big")
    struct.pack_into("!H", frame, start + offset, 0xFFFF ^ internet_checksum(pseudo))
    kind = 0 if not segment else 4 if IPv6 in packet else 1
    length = start + 20 if segment else 0
    return Unfinished(bytes(frame), VNET_HEADER.pack(VNET_NEEDS_CHECKSUM, kind, length, segment, start, offset))


def left_to_the_card(header: bytes) -> tuple[int, int, int, int, int]:
    """What a virtio_net_hdr says beside hdr_len, which is but a hint: flags, kind and size of segments, where the
    checksum begins and where in there it lies."""
    flags, kind, _, size, start, offset = VNET_HEADER.unpack(header)
    return flags, kind, size, start, offset


def wrong_checksums(frame: bytes) -> list[str]:
    """The checksums of a frame that are not right, of those that can be told: of whole packets, and not behind a
    routing header that is not at its end."""
    found, key = headers(frame), Key(parse(frame))
    if found.l3 is None or key.eth_type not in (IPV4_TYPE, IPV6_TYPE):
        return []
    wrong, l3 = [], found.l3
    if key.eth_type == IPV4_TYPE:
        end = l3 + int.from_bytes(frame[l3 + 2 : l3 + 4], "big")
        addresses = frame[l3 + 12 : l3 + 20]
        if internet_checksum(frame[l3 : l3 + (frame[l3] & 15) * 4]):
            wrong.append("IPv4")
    else:
        end = l3 + 40 + int.from_bytes(frame[l3 + 4 : l3 + 6], "big")
        addresses = frame[l3 + 8 : l3 + 40]
    if found.l4 is None or key.ip_frag or end > len(frame) or _is_routed(frame, l3, found.l4):
        return wrong
    segment = frame[found.l4 : end]
    if key.ip_proto == SCTP_NUMBER:
        if crc32c(segment[:8] + bytes(4) + segment[12:]).to_bytes(4, "little") != segment[8:12]:
            wrong.append("SCTP")
    elif key.ip_proto == ICMP_NUMBER:
        if internet_checksum(segment):
            wrong.append("ICMP")
    elif key.ip_proto != UDP_NUMBER or segment[6:8] != b"\0\0":
        pseudo = addresses + len(segment).to_bytes(4, "big") + key.ip_proto.to_bytes(4, "big")
        if internet_checksum(pseudo + segment):
            wrong.append(f"protocol {key.ip_proto}")
    return wrong


def _is_routed(frame: bytes, l3: int, l4: int) -> bool:
    """Whether there is an IPv6 routing header with segments left, so that the last destination is another."""
    at, number = l3 + 40, frame[l3 + 6]
    if frame[l3] >> 4 != 6:
        return False
    while at < l4:
        if number == ROUTING and frame[at + 3]:
            return True
        size = (
            8
            if number == FRAGMENT
            else 4 * (frame[at + 1] + 2)
            if number == AUTHENTICATION
            else 8 * (frame[at + 1] + 1)
        )
        number, at = frame[at], at + size
    return False


# --- set-field, as scapy does it

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
"""Where scapy has a settable field, and how many bits above it there are part of something else: layer, attribute,
shift. The first of them that a packet has counts."""


def _to_int(value: Any) -> int:
    if not isinstance(value, str):
        return int(value)
    if value.count(":") == 5 and "::" not in value:
        return int(value.replace(":", ""), 16)
    return int(IPv6Address(value) if ":" in value else IPv4Address(value))


def _like(old: Any, value: int) -> Any:
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
        setattr(found, attribute, _like(old, _to_int(old) & ~(mask << shift) | value << shift))
        break
    return copy
