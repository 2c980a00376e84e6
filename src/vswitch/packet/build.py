"""Small builders for the packets that programs answer with: each makes one header and puts it before a payload.

They compose from the inside out, bytes in and bytes out; addresses are ints, as the fields of a key are:

    ethernet(key.eth_src, mac, ARP, arp(ARP_REPLY, mac, key.arp_tpa, key.arp_sha, key.arp_spa))
    ethernet(key.eth_src, mac, IPV4, ipv4(key.ipv4_dst, key.ipv4_src, UDP, udp(53, key.udp_src, answer)))

The checksum of TCP, UDP and ICMPv6 covers the IP addresses too, which only the IP header knows. So `tcp`, `udp` and
`icmpv6` leave it zero, as an operating system leaves it to the network card, and `ipv4` and `ipv6` fill it in.
A checksum that is not zero is not touched: a payload from elsewhere stays what it is.

Frames are not padded to the 60 bytes of Ethernet: devices do that. ConfigError: a value out of its bound.
"""

from __future__ import annotations

import struct

from vswitch.base.errors import ConfigError
from vswitch.fields.registry import ICMPV6, TCP, UDP
from vswitch.packet.checksum import internet_checksum, transport_checksum
from vswitch.packet.code_points import (
    NEIGHBOUR_ADVERTISEMENT,
    NEIGHBOUR_SOLICITATION,
    SOURCE_LINK_ADDRESS,
    TARGET_LINK_ADDRESS,
    VLAN_PROTOCOLS,
)

__all__ = [
    "arp",
    "echo",
    "ethernet",
    "icmp",
    "icmpv6",
    "ipv4",
    "ipv6",
    "neighbour_advertisement",
    "neighbour_solicitation",
    "tcp",
    "udp",
    "vlan",
]

_CHECKSUM_AT = {TCP: 16, UDP: 6, ICMPV6: 2}
"""Protocols with a pseudo header, and the offset (bytes) of their checksum."""


def _check(bits: int, **values: int) -> None:
    """ConfigError unless each of `values` fits in `bits`."""
    for name, value in values.items():
        if not 0 <= value < 1 << bits:
            raise ConfigError(f"{name} {value:#x} is outside 0..{(1 << bits) - 1:#x}")


def _check_length(name: str, length: int, most: int = 65535) -> None:
    if length > most:
        raise ConfigError(f"{name} of {length} bytes exceeds {most}")


def ethernet(dst: int, src: int, eth_type: int, payload: bytes = b"") -> bytes:
    """An Ethernet frame without FCS (IEEE 802.3 clause 3.1.1). `dst`, `src`: 48 bits; `eth_type`: 16."""
    _check(48, dst=dst, src=src)
    _check(16, eth_type=eth_type)
    return dst.to_bytes(6, "big") + src.to_bytes(6, "big") + eth_type.to_bytes(2, "big") + payload


def vlan(frame: bytes, vid: int, pcp: int = 0, tpid: int = VLAN_PROTOCOLS[0]) -> bytes:
    """`frame` with a VLAN tag in front of those it has (IEEE 802.1Q clause 9.6). `vid`: 12 bits; `pcp`: 3."""
    _check(12, vid=vid)
    _check(3, pcp=pcp)
    if tpid not in VLAN_PROTOCOLS:
        raise ConfigError(f"tpid {tpid:#06x} is neither 0x8100 nor 0x88a8")
    return frame[:12] + struct.pack("!HH", tpid, pcp << 13 | vid) + frame[12:]


def arp(op: int, sha: int, spa: int, tha: int, tpa: int) -> bytes:
    """An ARP message for Ethernet and IPv4 (RFC 826). `op`: ARP_REQUEST or ARP_REPLY; then sender and target.

    Hardware addresses (48 bits) and protocol addresses (32 bits). The `tha` of a request is 0.
    """
    _check(16, op=op)
    _check(48, sha=sha, tha=tha)
    _check(32, spa=spa, tpa=tpa)
    fixed = struct.pack("!HHBBH", 1, 0x0800, 6, 4, op)
    return fixed + sha.to_bytes(6, "big") + spa.to_bytes(4, "big") + tha.to_bytes(6, "big") + tpa.to_bytes(4, "big")


def ipv4(
    src: int, dst: int, protocol: int, payload: bytes = b"", *, tos: int = 0, ttl: int = 64, identification: int = 0
) -> bytes:
    """An IPv4 packet (RFC 791 section 3.1) without options, not to be fragmented; the payload's checksum is completed.

    `src`, `dst`: 32 bits; `identification`: 16 (of no use in a packet that is not fragmented, RFC 6864); others 8.
    """
    _check(32, src=src, dst=dst)
    _check(16, identification=identification)
    _check(8, protocol=protocol, tos=tos, ttl=ttl)
    _check_length("an IPv4 packet", 20 + len(payload))
    addresses = struct.pack("!II", src, dst)
    start = struct.pack("!BBHHHBB", 0x45, tos, 20 + len(payload), identification, 0x4000, ttl, protocol)
    checksum = internet_checksum(start + addresses)
    return start + checksum.to_bytes(2, "big") + addresses + _complete(addresses, protocol, payload)


def ipv6(
    src: int,
    dst: int,
    protocol: int,
    payload: bytes = b"",
    *,
    traffic_class: int = 0,
    label: int = 0,
    hop_limit: int = 64,
) -> bytes:
    """An IPv6 packet (RFC 8200 section 3) without extension headers; the payload's checksum is completed.

    `src`, `dst`: 128 bits; `label`: 20; others 8. Neighbour discovery must have a `hop_limit` of 255.
    """
    _check(128, src=src, dst=dst)
    _check(20, label=label)
    _check(8, protocol=protocol, traffic_class=traffic_class, hop_limit=hop_limit)
    _check_length("an IPv6 payload", len(payload))
    addresses = src.to_bytes(16, "big") + dst.to_bytes(16, "big")
    start = struct.pack("!IHBB", 6 << 28 | traffic_class << 20 | label, len(payload), protocol, hop_limit)
    return start + addresses + _complete(addresses, protocol, payload)


def _complete(addresses: bytes, protocol: int, segment: bytes) -> bytes:
    """`segment` with its checksum, if it is one that has a pseudo header and the field is zero."""
    at = _CHECKSUM_AT.get(protocol)
    if at is None or segment[at : at + 2] != b"\0\0":
        return segment
    checksum = transport_checksum(addresses, protocol, segment)
    return segment[:at] + checksum.to_bytes(2, "big") + segment[at + 2 :]


def udp(src: int, dst: int, payload: bytes = b"") -> bytes:
    """A UDP datagram (RFC 768), checksum left to the IP header. Ports: 16 bits."""
    _check(16, src=src, dst=dst)
    _check_length("a UDP datagram", 8 + len(payload))
    return struct.pack("!HHHH", src, dst, 8 + len(payload), 0) + payload


def tcp(
    src: int, dst: int, seq: int, ack: int, flags: int, payload: bytes = b"", *, window: int = 0, options: bytes = b""
) -> bytes:
    """A TCP segment (RFC 9293 section 3.1), checksum left to the IP header.

    Ports and `window`: 16 bits; `seq`, `ack`: 32; `flags`: 12, as in the field tcp_flags. `options`: at most 40
    bytes, padded here with zeroes to whole words.
    """
    _check(16, src=src, dst=dst, window=window)
    _check(32, seq=seq, ack=ack)
    _check(12, flags=flags)
    _check_length("a TCP option list", len(options), 40)
    options += bytes(-len(options) % 4)
    words = 5 + len(options) // 4
    return struct.pack("!HHIIHHHH", src, dst, seq, ack, words << 12 | flags, window, 0, 0) + options + payload


def echo(identifier: int, sequence: int, data: bytes = b"") -> bytes:
    """The body of an echo request or reply, for `icmp` (RFC 792) and `icmpv6` (RFC 4443 section 4). 16 bits each."""
    _check(16, identifier=identifier, sequence=sequence)
    return struct.pack("!HH", identifier, sequence) + data


def icmp(type_: int, code: int, body: bytes = bytes(4)) -> bytes:
    """An ICMP message (RFC 792) with its checksum; `body` is all that follows it (at least 4 bytes).

    An error message has as its body 4 bytes, mostly zero, and the start of the packet that it is about.
    """
    return _icmp_message(type_, code, internet_checksum(_icmp_message(type_, code, 0, body)), body)


def icmpv6(type_: int, code: int, body: bytes = bytes(4)) -> bytes:
    """An ICMPv6 message (RFC 4443 section 2.1), checksum left to `ipv6`; `body` as for `icmp`."""
    return _icmp_message(type_, code, 0, body)


def _icmp_message(type_: int, code: int, checksum: int, body: bytes) -> bytes:
    _check(8, type=type_, code=code)
    if len(body) < 4:
        raise ConfigError(f"an ICMP body of {len(body)} bytes is shorter than 4")
    return struct.pack("!BBH", type_, code, checksum) + body


def neighbour_solicitation(target: int, source_mac: int) -> bytes:
    """An ICMPv6 message that asks who has `target` (128 bits), with the asker's address (RFC 4861 section 4.3)."""
    return icmpv6(NEIGHBOUR_SOLICITATION, 0, _neighbour(0, target, SOURCE_LINK_ADDRESS, source_mac))


def neighbour_advertisement(
    target: int, target_mac: int, *, router: bool = False, solicited: bool = True, override: bool = True
) -> bytes:
    """An ICMPv6 message that says `target` (128 bits) is at `target_mac` (48 bits) (RFC 4861 section 4.4).

    `solicited`: it answers a question; False for one to all nodes. `override`: it replaces what the asker knew.
    """
    flags = router << 31 | solicited << 30 | override << 29
    return icmpv6(NEIGHBOUR_ADVERTISEMENT, 0, _neighbour(flags, target, TARGET_LINK_ADDRESS, target_mac))


def _neighbour(flags: int, target: int, option: int, mac: int) -> bytes:
    """The body of a neighbour message with one option of 8 bytes (RFC 4861 section 4.6.1)."""
    _check(128, target=target)
    _check(48, mac=mac)
    return struct.pack("!I", flags) + target.to_bytes(16, "big") + bytes((option, 1)) + mac.to_bytes(6, "big")
