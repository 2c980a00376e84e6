"""Frames for the tests of the datapath: random valid ones, and what scapy says about the checksums of any.

Invariant: chance is an argument; the same seed makes the same frames.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from random import Random

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

__all__ = ["random_packet"]


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
        lambda: AH(spi=chance.getrandbits(32), icv=chance.randbytes(chance.choice((4, 12)))),
        lambda: IPv6ExtHdrFragment(m=chance.getrandbits(1), offset=chance.choice((0, 0, 0, 5))),
    )
    return [chance.choice(makers)() for _ in range(chance.choice((0, 0, 0, 1, 1, 2, 3, 8, 9)))]


def _ipv6(chance: Random) -> Packet:
    packet = IPv6(
        src=str(IPv6Address(chance.getrandbits(128))),
        dst=str(IPv6Address(chance.getrandbits(128))),
        tc=chance.getrandbits(8),
        fl=chance.getrandbits(20),
        hlim=chance.getrandbits(8),
    )
    for extension in _extensions(chance):
        packet /= extension
    make = chance.choice((*_OVER_IP, _icmpv6, _icmpv6, _other))
    if make is _other:
        packet.lastlayer().nh = chance.choice((1, 47, 50, 59, 255))
    return packet / make(chance)


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
