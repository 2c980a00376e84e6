"""From a key back to a frame: the simplest packet that looks like it.

Invariant: `parse(compose(key))` has the headers of `key`, for every key that `parse` gives of a frame without IPv6
extension headers. Lengths and checksums are right; what a key does not say (sequence numbers, options) is zero.
"""

from __future__ import annotations

from vswitch.fields.kinds import FRAGMENTS
from vswitch.fields.registry import ARP, FIELDS, ICMP, ICMPV6, IPV4, IPV6, MPLS, MPLS_MULTICAST, SCTP, SLOTS, TCP, UDP
from vswitch.packet import build
from vswitch.packet.checksum import crc32c, internet_checksum
from vswitch.packet.code_points import NEIGHBOUR_ADVERTISEMENT, NEIGHBOUR_SOLICITATION, VLAN_PROTOCOLS

__all__ = ["compose"]

_BOTTOM_OF_STACK = 1 << 8
_LATER, _FIRST = FRAGMENTS["later"], FRAGMENTS["first"]
_SOURCE_OPTION, _TARGET_OPTION = b"\1\1", b"\2\1"
_LATER_AT, _MORE = 185, 1 << 13
"""Where a later fragment lies, in units of 8 bytes: behind a first one of the usual size. And the flag of a first."""


def _take(key: int, name: str) -> int:
    return SLOTS[name].take(key)


def compose(key: int, payload: bytes = b"") -> bytes:
    """A frame (Ethernet header first, no FCS) with these fields; `payload` is behind the last header. ConfigError: the
    payload is too long for what carries it."""
    eth_type = _take(key, "eth_type")
    body = _BODIES.get(eth_type, lambda _key, rest: rest)(key, payload)
    frame = build.ethernet(_take(key, "eth_dst"), _take(key, "eth_src"), eth_type, body)
    for tag, slot in (("cvlan", "cvlan_tpid"), ("vlan", "vlan_tpid")):
        if FIELDS[f"{tag}_present"].take(key):
            vid, pcp = FIELDS[f"{tag}_vid"].take(key), FIELDS[f"{tag}_pcp"].take(key)
            frame = build.vlan(frame, vid, pcp, _take(key, slot) or VLAN_PROTOCOLS[0])
    return frame


def _arp(key: int, payload: bytes) -> bytes:
    addresses = (_take(key, name) for name in ("l2_source", "ipv4_src", "l2_target", "ipv4_dst"))
    return build.arp(_take(key, "arp_op"), *addresses) + payload


def _mpls(key: int, payload: bytes) -> bytes:
    entries = b""
    for number in range(3):
        entry = _take(key, f"mpls_lse{number}")
        entries += entry.to_bytes(4, "big")
        if entry & _BOTTOM_OF_STACK:
            break
    return entries + payload


def _ipv4(key: int, payload: bytes) -> bytes:
    fragment, protocol = _take(key, "ip_frag"), _take(key, "ip_proto")
    inner = payload if fragment == _LATER else _transport(key, IPV4, protocol, payload)
    packet = build.ipv4(
        _take(key, "ipv4_src"), _take(key, "ipv4_dst"), protocol, inner, tos=_take(key, "ip_tos"),
        ttl=_take(key, "ip_ttl"),
    )  # fmt: skip
    if not fragment:
        return packet
    header = bytearray(packet[:20])
    header[6:8] = (_LATER_AT if fragment == _LATER else _MORE).to_bytes(2, "big")
    header[10:12] = bytes(2)
    header[10:12] = internet_checksum(bytes(header)).to_bytes(2, "big")
    return bytes(header) + packet[20:]


def _ipv6(key: int, payload: bytes) -> bytes:
    fragment, protocol = _take(key, "ip_frag"), _take(key, "ip_proto")
    inner = payload if fragment == _LATER else _transport(key, IPV6, protocol, payload)
    packet = build.ipv6(
        _take(key, "ipv6_src"), _take(key, "ipv6_dst"), protocol, inner, traffic_class=_take(key, "ip_tos"),
        label=_take(key, "ipv6_label"), hop_limit=_take(key, "ip_ttl"),
    )  # fmt: skip
    if not fragment:
        return packet
    offset_and_more = _LATER_AT << 3 if fragment == _LATER else 1
    header = bytes((protocol, 0)) + offset_and_more.to_bytes(2, "big") + bytes(4)  # RFC 8200 section 4.5
    length = len(packet) - 40 + len(header)
    return packet[:4] + length.to_bytes(2, "big") + b"\x2c" + packet[7:40] + header + packet[40:]


def _transport(key: int, eth_type: int, protocol: int, payload: bytes) -> bytes:
    source, destination = _take(key, "tp_src"), _take(key, "tp_dst")
    if protocol == TCP:
        return build.tcp(source, destination, 0, 0, _take(key, "tcp_flags"), payload)
    if protocol == UDP:
        return build.udp(source, destination, payload)
    if protocol == SCTP:
        ports = source.to_bytes(2, "big") + destination.to_bytes(2, "big") + bytes(4)
        return ports + crc32c(ports + bytes(4) + payload).to_bytes(4, "little") + payload
    if (eth_type, protocol) == (IPV4, ICMP):
        return build.icmp(source & 0xFF, destination & 0xFF, bytes(4) + payload)
    if (eth_type, protocol) == (IPV6, ICMPV6):
        return build.icmpv6(source & 0xFF, destination & 0xFF, _icmpv6_body(key, source, destination) + payload)
    return payload


def _icmpv6_body(key: int, kind: int, code: int) -> bytes:
    """What follows the checksum: of neighbour discovery, target and link-layer address."""
    if code or kind not in (NEIGHBOUR_SOLICITATION, NEIGHBOUR_ADVERTISEMENT):
        return bytes(4)
    body = bytes(4) + _take(key, "nd_target").to_bytes(16, "big")
    solicits = kind == NEIGHBOUR_SOLICITATION
    address = _take(key, "l2_source" if solicits else "l2_target")
    option = _SOURCE_OPTION if solicits else _TARGET_OPTION
    return body + option + address.to_bytes(6, "big") if address else body


_BODIES = {ARP: _arp, MPLS: _mpls, MPLS_MULTICAST: _mpls, IPV4: _ipv4, IPV6: _ipv6}
"""Ethernet type -> what makes of a key what follows that type."""
