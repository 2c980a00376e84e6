"""Where the fields that an action may set lie in a packet, and which checksums are over them."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["SPOTS", "Base", "Spot", "Sum"]


class Base:
    """From which header an offset counts: `enum set_base` of the kernel's half. ND_SOURCE and ND_TARGET are addresses
    in options of neighbour discovery."""

    ETHERNET, IPV4, IPV6, ARP, MPLS, TCP, UDP, SCTP, ICMP, ICMPV6, ND, ND_SOURCE, ND_TARGET = range(13)


class Sum:
    """Which checksums cover a field: `enum set_checksum` of the kernel's half. ADDRESS: that of IPv4 and, by the
    pseudo header, that of L4."""

    NONE, IPV4, ADDRESS, L4 = range(4)


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a field lies in a packet: bit offset `bit` from the start of header `base`, most significant bit first."""

    base: int
    bit: int
    sums: int


SPOTS: dict[str, tuple[Spot, ...]] = {
    "eth_dst": (Spot(Base.ETHERNET, 0, Sum.NONE),),
    "eth_src": (Spot(Base.ETHERNET, 48, Sum.NONE),),
    "ipv4_src": (Spot(Base.IPV4, 96, Sum.ADDRESS),),
    "ipv4_dst": (Spot(Base.IPV4, 128, Sum.ADDRESS),),
    "ip_tos": (Spot(Base.IPV4, 8, Sum.IPV4), Spot(Base.IPV6, 4, Sum.NONE)),
    "ip_dscp": (Spot(Base.IPV4, 8, Sum.IPV4), Spot(Base.IPV6, 4, Sum.NONE)),
    "ip_ecn": (Spot(Base.IPV4, 14, Sum.IPV4), Spot(Base.IPV6, 10, Sum.NONE)),
    "ip_ttl": (Spot(Base.IPV4, 64, Sum.IPV4), Spot(Base.IPV6, 56, Sum.NONE)),
    "ipv6_src": (Spot(Base.IPV6, 64, Sum.ADDRESS),),
    "ipv6_dst": (Spot(Base.IPV6, 192, Sum.ADDRESS),),
    "ipv6_label": (Spot(Base.IPV6, 12, Sum.NONE),),
    "tcp_src": (Spot(Base.TCP, 0, Sum.L4),),
    "tcp_dst": (Spot(Base.TCP, 16, Sum.L4),),
    "udp_src": (Spot(Base.UDP, 0, Sum.L4),),
    "udp_dst": (Spot(Base.UDP, 16, Sum.L4),),
    "sctp_src": (Spot(Base.SCTP, 0, Sum.L4),),
    "sctp_dst": (Spot(Base.SCTP, 16, Sum.L4),),
    "icmpv4_type": (Spot(Base.ICMP, 0, Sum.L4),),
    "icmpv4_code": (Spot(Base.ICMP, 8, Sum.L4),),
    "icmpv6_type": (Spot(Base.ICMPV6, 0, Sum.L4),),
    "icmpv6_code": (Spot(Base.ICMPV6, 8, Sum.L4),),
    "arp_op": (Spot(Base.ARP, 48, Sum.NONE),),
    "arp_sha": (Spot(Base.ARP, 64, Sum.NONE),),
    "arp_spa": (Spot(Base.ARP, 112, Sum.NONE),),
    "arp_tha": (Spot(Base.ARP, 144, Sum.NONE),),
    "arp_tpa": (Spot(Base.ARP, 192, Sum.NONE),),
    "nd_target": (Spot(Base.ND, 64, Sum.L4),),
    "nd_sll": (Spot(Base.ND_SOURCE, 0, Sum.L4),),
    "nd_tll": (Spot(Base.ND_TARGET, 0, Sum.L4),),
    "mpls_label": (Spot(Base.MPLS, 0, Sum.NONE),),
    "mpls_tc": (Spot(Base.MPLS, 20, Sum.NONE),),
    "mpls_bos": (Spot(Base.MPLS, 23, Sum.NONE),),
    "mpls_ttl": (Spot(Base.MPLS, 24, Sum.NONE),),
}
