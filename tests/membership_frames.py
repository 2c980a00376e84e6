"""Frames of hosts and routers that say what they want of multicast, and of those who send to groups."""

from __future__ import annotations

from vswitch.packet import build
from vswitch.packet.checksum import internet_checksum

__all__ = ["GROUP", "HOST", "data", "data6", "igmp", "ipv4", "mld"]

HOST = 0x020000000001
GROUP = 0xEF010203
GROUP_MAC = 0x01005E010203


def ipv4(source: int, destination: int, protocol: int, body: bytes, options: bytes = b"") -> bytes:
    length = 20 + len(options) + len(body)
    head = bytes((0x40 | 5 + len(options) // 4, 0)) + length.to_bytes(2, "big") + bytes((0, 0, 0, 0, 1, protocol, 0, 0))
    head += source.to_bytes(4, "big") + destination.to_bytes(4, "big") + options
    return head[:10] + internet_checksum(head).to_bytes(2, "big") + head[12:] + body


def igmp(kind: int, group: int = GROUP, *, source: int = 0x0A000001, rest: bytes = b"") -> bytes:
    body = bytes((kind, 0, 0, 0)) + (rest or group.to_bytes(4, "big"))
    body = body[:2] + internet_checksum(body).to_bytes(2, "big") + body[4:]
    return build.ethernet(GROUP_MAC, HOST, 0x0800, ipv4(source, group, 2, body, bytes((0x94, 4, 0, 0))))


def mld(kind: int, group: int, rest: bytes = b"") -> bytes:
    body = bytes((kind, 0, 0, 0)) + (rest or bytes(4) + group.to_bytes(16, "big"))
    addresses = (0xFE80 << 112 | 1).to_bytes(16, "big") + group.to_bytes(16, "big")
    covered = addresses + len(body).to_bytes(4, "big") + bytes((0, 0, 0, 58)) + body
    body = body[:2] + internet_checksum(covered).to_bytes(2, "big") + body[4:]
    router_alert = bytes((58, 0, 5, 2, 0, 0, 1, 0))
    head = bytes((0x60, 0, 0, 0)) + (len(body) + 8).to_bytes(2, "big") + bytes((0, 1))
    return build.ethernet(0x333300000000 | group & 0xFFFFFFFF, HOST, 0x86DD, head + addresses + router_alert + body)


def data(group: int = GROUP) -> bytes:
    return build.ethernet(GROUP_MAC, HOST, 0x0800, ipv4(0x0A000009, group, 17, bytes((0, 9, 0, 9, 0, 8, 0, 0))))


def data6(group: int) -> bytes:
    addresses = (0xFE80 << 112 | 9).to_bytes(16, "big") + group.to_bytes(16, "big")
    head = bytes((0x60, 0, 0, 0, 0, 8, 17, 1)) + addresses
    return build.ethernet(0x333300000000 | group & 0xFFFFFFFF, HOST, 0x86DD, head + bytes((0, 9, 0, 9, 0, 8, 1, 1)))
