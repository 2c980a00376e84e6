"""Frames with which a policy answers a packet itself. The answer has the packet's VLAN tags, and goes to its sender."""

from __future__ import annotations

from vswitch.base.errors import ConfigError
from vswitch.fields import field
from vswitch.model.actions import Drop
from vswitch.model.match import FieldValue, field_value
from vswitch.packet import build
from vswitch.packet.parse import headers
from vswitch.policy.packet import Packet, Reading
from vswitch.policy.run import Reply, drop

__all__ = ["arp_reply", "arp_request", "echo_reply", "time_exceeded"]

_ARP, _IPV4, _IPV6 = 0x0806, 0x0800, 0x86DD
_ICMP, _ICMPV6 = 1, 58
_REQUEST, _REPLY = 1, 2
_ECHO_REPLY, _ECHO, _TIME_EXCEEDED = 0, 8, 11
_ECHO_REPLY_V6, _ECHO_V6, _TIME_EXCEEDED_V6 = 129, 128, 3
_QUOTED_V4, _QUOTED_V6 = 28, 1232
"""Bytes of the packet that an ICMP error quotes (RFC 792; RFC 4443: up to the minimum MTU)."""

_IPV6_BYTES, _ECHO_BYTES = 40, 4
"""Of an IPv6 header; and of what each echo has behind its checksum, the identifier and the number."""

_BROADCAST, _GROUP = (1 << 48) - 1, 1 << 40
_ERRORS, _FIRST_QUERY_V6 = (3, 4, 5, 11, 12), 128
"""ICMP messages that are about other packets."""


def _mac(mac: FieldValue) -> int:
    return field_value(field("eth_src"), mac)


def _to_sender(frame: bytes, source: int, payload: bytes) -> Reply:
    """`payload` in place of the packet's own, between the Ethernet addresses and tags of an answer."""
    at = headers(frame).payload
    return Reply(frame[6:12] + source.to_bytes(6, "big") + frame[12:at] + payload)


def arp_reply(packet: Packet, mac: FieldValue) -> Reply:
    """That the address which an ARP request asks for is at `mac`. ConfigError: the packet is no ARP request, or
    `mac` is no address."""
    if packet.arp_op != _REQUEST:
        raise ConfigError("an ARP reply to a packet that is no ARP request")
    own = _mac(mac)
    payload = build.arp(_REPLY, own, int(packet.arp_tpa), int(packet.arp_sha), int(packet.arp_spa))
    return _to_sender(packet.frame, own, payload)


def arp_request(target: FieldValue | Reading, *, mac: FieldValue, ip: FieldValue, port: int) -> Reply:
    """In place of the packet, an ARP request for the IPv4 address `target` out of port number `port`, from who has
    `mac` and `ip`. ConfigError: an address that is none."""
    own, source = _mac(mac), field_value(field("arp_spa"), ip)
    asked = field_value(field("arp_tpa"), int(target) if isinstance(target, Reading) else target)
    return Reply(build.ethernet(_BROADCAST, own, _ARP, build.arp(_REQUEST, own, source, 0, asked)), port)


def _is_unanswered(packet: Packet) -> bool:
    group = bool(packet.eth_src & _GROUP or packet.eth_dst & _GROUP)
    fragment = packet.ip_frag == "later"
    error = packet.icmpv4_type in _ERRORS or packet.icmpv6_type < _FIRST_QUERY_V6
    if packet.ip_src.version == 4:
        nobody = packet.ipv4_src.within("0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/3")
    else:
        nobody = packet.ipv6_src.within("::/128", "ff00::/8")
    return group or fragment or error or nobody


def echo_reply(packet: Packet) -> Reply | Drop:
    """The answer to a ping, IPv4 or IPv6, from who it was for; `drop` if that is a group, or the packet is a fragment
    or too short to be one. ConfigError: it is no echo request."""
    if packet.ip_frag.present and packet.ip_frag != 0:
        return drop
    is_v4 = packet.icmpv4_type == _ECHO
    if not (is_v4 or packet.icmpv6_type == _ECHO_V6):
        raise ConfigError("an echo reply to a packet that is no echo request")
    if packet.eth_dst & _GROUP:
        return drop
    frame, found = packet.frame, headers(packet.frame)
    assert found.l3 is not None
    assert found.l4 is not None
    l3, l4 = found.l3, found.l4
    source = int(packet.eth_dst)
    length = int.from_bytes(frame[l3 + 2 : l3 + 4] if is_v4 else frame[l3 + 4 : l3 + 6], "big")
    body = frame[l4 + 4 : l3 + length + (0 if is_v4 else _IPV6_BYTES)]
    if len(body) < _ECHO_BYTES:
        return drop
    if is_v4:
        message = build.icmp(_ECHO_REPLY, 0, body)
        answer = build.ipv4(int(packet.ipv4_dst), int(packet.ipv4_src), _ICMP, message)
    else:
        message = build.icmpv6(_ECHO_REPLY_V6, 0, body)
        answer = build.ipv6(int(packet.ipv6_dst), int(packet.ipv6_src), _ICMPV6, message)
    return _to_sender(frame, source, answer)


def time_exceeded(packet: Packet, ip: FieldValue) -> Reply | Drop:
    """That the packet's time to live ended at a router with address `ip`; `drop` where there must be no such answer: to
    errors, fragments but the first, what comes from no single host (RFC 1812 section 4.3.2.7, RFC 4443 section 2.4),
    and what has no sound IP header. ConfigError: the packet is not of that IP version."""
    frame, found = packet.frame, headers(packet.frame)
    version = 6 if ":" in str(ip) else 4
    if packet.eth_type != (_IPV6 if version == 6 else _IPV4):
        raise ConfigError(f"time exceeded at {ip}, of a packet that is not of IPv{version}")
    if found.l3 is None or packet.ip_dst.version != version or _is_unanswered(packet):
        return drop
    quoted = frame[found.l3 : found.l3 + (_QUOTED_V4 if version == 4 else _QUOTED_V6)]
    if version == 4:
        message = build.icmp(_TIME_EXCEEDED, 0, bytes(4) + quoted)
        answer = build.ipv4(field_value(field("ipv4_src"), ip), int(packet.ipv4_src), _ICMP, message)
    else:
        message = build.icmpv6(_TIME_EXCEEDED_V6, 0, bytes(4) + quoted)
        answer = build.ipv6(field_value(field("ipv6_src"), ip), int(packet.ipv6_src), _ICMPV6, message)
    return _to_sender(frame, int(packet.eth_dst), answer)
