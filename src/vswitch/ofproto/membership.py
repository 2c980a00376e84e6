"""What hosts and routers say of multicast: IGMPv1 to v3 (RFC 1112, 2236, 3376) and MLDv1 and v2 (RFC 2710, 3810).

`read_membership` takes a frame and says what it asks for. What is not whole, or has a wrong checksum, says nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from vswitch.packet.checksum import internet_checksum

__all__ = ["MLD_TYPES", "Membership", "is_local", "read_membership"]

MLD_TYPES = (130, 131, 132, 143)
"""ICMPv6: query, report, done, report of version 2."""

_VLANS = (0x8100, 0x88A8)
_IGMP, _ICMPV6 = 2, 58
_SKIPPED = (0, 43, 60)
"""IPv6: hop-by-hop, routing and destination options."""
_MOST_OPTIONS = 8
_INCLUDE, _KINDS = (1, 3), range(1, 7)
"""Kinds of records (RFC 3376 section 4.2.12): sources are included, were changed to be; all."""


@dataclass(frozen=True, slots=True)
class Membership:
    """`kind`: "report" (of what a host wants), "query" (of a router), "other". `joins`, `leaves`: groups, as ints of 32
    bits (IPv4) or 128 bits. `router`: the query comes from an address that a router may have."""

    kind: str = "other"
    joins: tuple[int, ...] = ()
    leaves: tuple[int, ...] = ()
    router: bool = False


_NOTHING = Membership()


def is_local(group: int) -> bool:
    """Whether packets to the group go to all hosts of a network, whoever has asked for it (RFC 4541 section 2.1.2;
    RFC 4541 section 3: ff02::1)."""
    if group >> 32:
        return group == 0xFF02 << 112 | 1
    return group >> 8 == 0xE00000


def read_membership(frame: bytes) -> Membership:
    """What the frame says. No frame is an error."""
    at = 12
    while int.from_bytes(frame[at : at + 2], "big") in _VLANS and at < 24:
        at += 4
    kind = int.from_bytes(frame[at : at + 2], "big")
    packet = frame[at + 2 :]
    if kind == 0x0800:
        return _of_ipv4(packet)
    return _of_ipv6(packet) if kind == 0x86DD else _NOTHING


def _of_ipv4(packet: bytes) -> Membership:
    if len(packet) < 20 or packet[0] >> 4 != 4 or packet[9] != _IGMP or int.from_bytes(packet[6:8], "big") & 0x3FFF:
        return _NOTHING
    head, length = (packet[0] & 15) * 4, int.from_bytes(packet[2:4], "big")
    message = packet[head:length]
    if head < 20 or length > len(packet) or len(message) < 8 or internet_checksum(message):
        return _NOTHING
    group = (int.from_bytes(message[4:8], "big"),)
    match message[0]:
        case 0x11:
            return Membership("query", router=any(packet[12:16]))
        case 0x12 | 0x16:
            return Membership("report", joins=_asked(group))
        case 0x17:
            return Membership("report", leaves=_asked(group))
        case 0x22:
            return _of_records(message, 4)
    return _NOTHING


def _of_ipv6(packet: bytes) -> Membership:
    if len(packet) < 40 or packet[0] >> 4 != 6:
        return _NOTHING
    following, end = packet[6], 40 + int.from_bytes(packet[4:6], "big")
    at = 40
    for _ in range(_MOST_OPTIONS):
        if following not in _SKIPPED or at + 8 > end:
            break
        following, at = packet[at], at + 8 + 8 * packet[at + 1] if at + 1 < len(packet) else end
    message = packet[at:end]
    if following != _ICMPV6 or end > len(packet) or len(message) < 8 or message[0] not in MLD_TYPES:
        return _NOTHING
    if internet_checksum(packet[8:40] + len(message).to_bytes(4, "big") + bytes((0, 0, 0, _ICMPV6)) + message):
        return _NOTHING
    if message[0] == 143:
        return _of_records(message, 16)
    if len(message) < 24:
        return _NOTHING
    group = (int.from_bytes(message[8:24], "big"),)
    if message[0] == 130:
        return Membership("query", router=any(packet[8:24]))
    return (
        Membership("report", joins=_asked(group)) if message[0] == 131 else Membership("report", leaves=_asked(group))
    )


def _of_records(message: bytes, size: int) -> Membership:
    """Those of a report of IGMPv3 (`size` of addresses is 4) or MLDv2 (16), which have the same form."""
    joins, leaves = [], []
    for kind, sources, group in _records(message, size):
        if kind in _INCLUDE and not sources:
            leaves.append(group)
        elif kind in _KINDS:  # also one that blocks sources has asked for the group
            joins.append(group)
    return Membership("report", _asked(joins), _asked(leaves))


def _records(message: bytes, size: int) -> Iterator[tuple[int, int, int]]:
    """Kind, number of sources, group."""
    at = 8
    for _ in range(int.from_bytes(message[6:8], "big")):
        if at + 4 + size > len(message):
            return
        sources = int.from_bytes(message[at + 2 : at + 4], "big")
        yield message[at], sources, int.from_bytes(message[at + 4 : at + 4 + size], "big")
        at += 4 + size + sources * size + 4 * message[at + 1]


def _asked(groups: tuple[int, ...] | list[int]) -> tuple[int, ...]:
    """Those that are groups, and none that everybody is in."""
    return tuple(each for each in groups if not is_local(each) and each >> (120 if each >> 32 else 28) in (0xFF, 0xE))
