"""Changing frames, as rewrite.h of the kernel's half does: bytes in, bytes out.

Each function leaves a frame alone that does not have the header asked for. Checksums are not made anew but follow the
change, so one that was wrong stays wrong.
"""

from __future__ import annotations

from vswitch.base.errors import VswitchError
from vswitch.base.limits import PARSE_BYTES
from vswitch.fields import FIELDS
from vswitch.fields.kinds import FRAGMENTS
from vswitch.fields.registry import ARP, ICMP, ICMPV6, IPV4, IPV6, MPLS, MPLS_MULTICAST, SCTP, TCP, UDP
from vswitch.model.actions import PushMpls, PushVlan, SetField
from vswitch.packet.checksum import crc32c
from vswitch.packet.code_points import NEIGHBOUR_ADVERTISEMENT, NEIGHBOUR_SOLICITATION, VLAN_PROTOCOLS
from vswitch.packet.parse import Headers, headers, parse
from vswitch.packet.spots import SPOTS, Base, Spot, Sum

__all__ = [
    "UnfitError",
    "dec_ttl",
    "hash_of",
    "pop_mpls",
    "pop_vlan",
    "push_mpls",
    "push_vlan",
    "set_field",
    "set_vlan",
]

_TPIDS = tuple(tpid.to_bytes(2, "big") for tpid in VLAN_PROTOCOLS)
_MPLS_TYPES = (MPLS, MPLS_MULTICAST)
_LOWEST_TYPE = 0x0600
_L4_SUMS = {TCP: 16, UDP: 6, ICMP: 2, ICMPV6: 2}
"""Protocol -> where the Internet checksum lies in its header."""
_WHOLE, _LATER = FRAGMENTS["no"], FRAGMENTS["later"]
_U64 = (1 << 64) - 1


class UnfitError(VswitchError):
    """The packet cannot be changed so and keep a right checksum: it is dropped."""


class _Place:
    """What a frame is, and where its headers are. `type` is 0 without a network header that can be read."""

    __slots__ = ("at", "fragment", "key", "protocol", "type")

    def __init__(self, frame: bytes) -> None:
        self.at: Headers = headers(frame)
        self.key = key = parse(frame)
        self.type = _wire_type(frame, self.at)
        if self.type in (IPV4, IPV6, ARP) and self.at.l3 is None:
            self.type = 0
        self.protocol = FIELDS["ip_proto"].take(key)
        self.fragment = FIELDS["ip_frag"].take(key)


def _wire_type(frame: bytes, at: Headers) -> int:
    """The Ethernet type behind tags, LLC and SNAP; 0 if there is none."""
    if at.payload is None:
        return 0
    found = int.from_bytes(frame[at.payload - 2 : at.payload], "big")
    return found if found >= _LOWEST_TYPE else 0


# ---- set-field


def set_field(frame: bytes, action: SetField) -> bytes:
    """With a field rewritten, that is not of VLAN, tunnel or metadata. UnfitError."""
    for spot in SPOTS[action.name]:
        frame = _set_at(frame, spot, FIELDS[action.name].bits, action.value, action.mask)
    return frame


def _set_at(frame: bytes, spot: Spot, bits: int, value: int, mask: int) -> bytes:
    place = _Place(frame)
    base = _base(frame, place, spot.base)
    if base is None:
        return frame
    begin = base + spot.bit // 16 * 2  # whole words, as checksums sum them
    end = base + -(-(spot.bit + bits) // 16) * 2
    if end > len(frame):
        return frame
    behind = (end - base) * 8 - spot.bit - bits
    old = int.from_bytes(frame[begin:end], "big")
    new = old & ~(mask << behind) | value << behind
    if new == old:
        return frame
    if spot.sums == Sum.L4 and place.protocol == SCTP and place.fragment != _WHOLE:
        raise UnfitError("one fragment does not tell how the SCTP checksum changes")
    if spot.sums == Sum.ADDRESS and place.at.hidden:
        raise UnfitError("the L4 checksum is out of sight")
    changed = bytearray(frame)
    changed[begin:end] = new.to_bytes(end - begin, "big")
    _follow(changed, frame, place, spot, new - old)
    return bytes(changed)


def _follow(changed: bytearray, frame: bytes, place: _Place, spot: Spot, difference: int) -> None:
    """The checksums over a field whose words have become more by `difference`."""
    l3, l4 = place.at.l3, place.at.l4
    if spot.sums == Sum.NONE or l3 is None:
        return
    if spot.sums != Sum.L4 and place.type == IPV4:
        _update(changed, l3 + 10, difference)
    if spot.sums == Sum.IPV4 or l4 is None:
        return
    if spot.sums == Sum.L4 and place.protocol == SCTP:
        _update_sctp(changed, frame, place, l4)
        return
    if spot.base == Base.IPV6 and spot.bit >= 192 and place.at.routed:
        return  # checksums are over the last destination, which is another one
    where = _L4_SUMS.get(place.protocol)
    if where is None or (spot.sums == Sum.ADDRESS and place.protocol == ICMP):
        return
    at = l4 + where
    if place.protocol != UDP:
        _update(changed, at, difference)
    elif changed[at : at + 2] != b"\0\0":
        _update(changed, at, difference)
        if changed[at : at + 2] == b"\0\0":
            changed[at : at + 2] = b"\xff\xff"


def _update(changed: bytearray, at: int, difference: int) -> None:
    """RFC 1624: ones' complement is arithmetic modulo 65535, of which the kernel's sums end up as 1..65535."""
    if at + 2 <= len(changed):
        summed = ((changed[at] << 8 | changed[at + 1]) ^ 0xFFFF) + difference
        changed[at : at + 2] = (0xFFFF - (summed % 0xFFFF or 0xFFFF)).to_bytes(2, "big")


def _update_sctp(changed: bytearray, frame: bytes, place: _Place, l4: int) -> None:
    """CRCs are linear: what the change makes of the sum does not depend on what the sum was."""
    l3 = place.at.l3 or 0
    if place.type == IPV4:
        end = l3 + int.from_bytes(frame[l3 + 2 : l3 + 4], "big")
    else:
        end = l3 + 40 + int.from_bytes(frame[l3 + 4 : l3 + 6], "big")
    if end < l4 + 12 or end > len(frame):
        return

    def summed(data: bytes | bytearray) -> int:
        return crc32c(bytes(data[l4 : l4 + 8]) + bytes(4) + bytes(data[l4 + 12 : end]))

    sum_ = int.from_bytes(frame[l4 + 8 : l4 + 12], "little") ^ summed(frame) ^ summed(changed)
    changed[l4 + 8 : l4 + 12] = sum_.to_bytes(4, "little")


_NETWORK_BASES = {Base.IPV4: (IPV4,), Base.IPV6: (IPV6,), Base.ARP: (ARP,), Base.MPLS: _MPLS_TYPES}
_TRANSPORT_BASES = {
    Base.TCP: (TCP, (IPV4, IPV6)),
    Base.UDP: (UDP, (IPV4, IPV6)),
    Base.SCTP: (SCTP, (IPV4, IPV6)),
    Base.ICMP: (ICMP, (IPV4,)),
    Base.ICMPV6: (ICMPV6, (IPV6,)),
}


def _base(frame: bytes, place: _Place, base: int) -> int | None:
    """Where the header begins that an offset counts from; None if the packet does not have it."""
    if base == Base.ETHERNET:
        return 0
    if base in _NETWORK_BASES:
        return place.at.payload if place.type in _NETWORK_BASES[base] else None
    l4 = place.at.l4
    if l4 is None or place.fragment == _LATER:
        return None
    if base in _TRANSPORT_BASES:
        protocol, types = _TRANSPORT_BASES[base]
        return l4 if place.protocol == protocol and place.type in types else None
    if not _is_neighbour(frame, place, l4):
        return None
    if base == Base.ND:
        return l4
    wanted = NEIGHBOUR_SOLICITATION if base == Base.ND_SOURCE else NEIGHBOUR_ADVERTISEMENT
    return place.at.link_address if frame[l4] == wanted else None


def _is_neighbour(frame: bytes, place: _Place, l4: int) -> bool:
    """Whether it is a solicitation or an advertisement."""
    end = min(len(frame), (place.at.payload or 0) + PARSE_BYTES)
    kinds = (NEIGHBOUR_SOLICITATION, NEIGHBOUR_ADVERTISEMENT)
    is_one = place.protocol == ICMPV6 and place.type == IPV6 and frame[l4] in kinds and not frame[l4 + 1]
    return is_one and l4 + 24 <= end


# ---- VLAN


def _is_tagged(frame: bytes) -> bool:
    return frame[12:14] in _TPIDS and len(frame) >= 18


def set_vlan(frame: bytes, value: int, mask: int) -> bytes:
    """With these bits of the outermost tag's TCI rewritten."""
    if not _is_tagged(frame):
        return frame
    tci = int.from_bytes(frame[14:16], "big") & ~mask | value
    return frame[:14] + tci.to_bytes(2, "big") + frame[16:]


def push_vlan(frame: bytes, action: PushVlan) -> bytes:
    """With another tag in front."""
    tag = action.tpid.to_bytes(2, "big") + (action.vid | action.pcp << 13).to_bytes(2, "big")
    return frame[:12] + tag + frame[12:]


def pop_vlan(frame: bytes) -> bytes:
    """Without the outermost tag."""
    return frame[:12] + frame[16:] if _is_tagged(frame) else frame


# ---- MPLS


def _type_at(frame: bytes) -> int:
    """Where the Ethernet type lies, behind two tags at most."""
    at = 12
    while at < 20 and frame[at : at + 2] in _TPIDS and len(frame) >= at + 6:
        at += 4
    return at


def push_mpls(frame: bytes, action: PushMpls) -> bytes:
    """With an entry in front of the network header."""
    at = _type_at(frame)
    if int.from_bytes(frame[at : at + 2], "big") < _LOWEST_TYPE:
        return frame
    entry = action.label << 12 | action.tc << 9 | action.bos << 8 | action.ttl
    return frame[:at] + action.ethertype.to_bytes(2, "big") + entry.to_bytes(4, "big") + frame[at + 2 :]


def pop_mpls(frame: bytes, ethertype: int) -> bytes:
    """Without the outermost entry."""
    at = _type_at(frame)
    if int.from_bytes(frame[at : at + 2], "big") not in _MPLS_TYPES or len(frame) < at + 6:
        return frame
    return frame[:at] + ethertype.to_bytes(2, "big") + frame[at + 6 :]


# ---- time to live


def dec_ttl(frame: bytes) -> bytes | None:
    """With one less; None if there was none left."""
    place = _Place(frame)
    l3 = place.at.l3
    if l3 is None or place.type not in (IPV4, IPV6):
        return frame
    at = l3 + (8 if place.type == IPV4 else 7)
    if frame[at] <= 1:
        return None
    changed = bytearray(frame)
    changed[at] -= 1
    if place.type == IPV4:
        _update(changed, l3 + 10, -0x100)
    return bytes(changed)


# ---- hash


def hash_of(frame: bytes, seed: int) -> int:
    """The hash (1..2^32-1) of addresses, protocol and ports that the kernel's half makes."""
    place = _Place(frame)
    l3, l4 = place.at.payload or 0, place.at.l4
    if place.type == IPV4:
        data = frame[l3 + 12 : l3 + 20]
    elif place.type == IPV6:
        data = frame[l3 + 8 : l3 + 40]
    else:
        data = frame[:12].ljust(16, b"\0") + place.type.to_bytes(2, "big")
    ports = 0
    if l4 is not None and place.fragment == _WHOLE and place.protocol in (TCP, UDP, SCTP):
        ports = int.from_bytes(frame[l4 : l4 + 4], "little")
    mixed = seed
    data = data.ljust(32, b"\0")
    words = [int.from_bytes(data[at : at + 8], "little") for at in range(0, 32, 8)]
    for word in (*words, ports << 8 | place.protocol):
        mixed = (mixed ^ word) * 0x9E3779B97F4A7C15 & _U64
        mixed ^= mixed >> 29
    for _ in range(2):
        mixed ^= mixed >> 32
        mixed = mixed * 0xD6E8FEB86659FD93 & _U64
    return (mixed ^ mixed >> 32) & 0xFFFFFFFF or 1
