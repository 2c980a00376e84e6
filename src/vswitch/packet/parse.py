"""From the bytes of a frame to its flow key: one walk, whose rules are exact.

The parser in the kernel must come to the same key, bit for bit, for every frame: truncated, random or hostile.
A difference would send packets by another megaflow than the one that Python decided on. So nothing here is
left open, and a change of a rule is a change of both parsers. The rules:

A header whose bytes are not all there leaves all of its fields zero, and nothing behind it is read. Lengths
that a header claims for what it carries (IPv4 total length, UDP length) are not looked at.

Ethernet. A frame shorter than 14 bytes has no field at all. Up to two VLAN tags are read: a tag protocol
(0x8100 or 0x88a8) with the four bytes behind it (TCI, next type). The TCI slot has bit 12 set, which says 'present';
the DEI bit, whose place that is, is not kept. A tag that is cut is not read, and Ethernet type is the tag protocol;
likewise the protocol of a third tag.
A type below 0x0600 is a length (IEEE 802.3): if the 8 bytes behind it are aa aa 03 00 00 00 and a type
of at least 0x0600 (LLC and SNAP, RFC 1042), then that is the Ethernet type and the network header follows;
if not, Ethernet type is 0x05ff and nothing more is read.

View. What follows sees at most PARSE_BYTES from the start of the network header, and no more than the frame has:
'there', 'cut' and 'needs' mean within this view.

ARP needs 28 bytes, and to be Ethernet (1, addresses of 6 bytes) for IPv4 (0x0800, 4 bytes).

MPLS: up to MAX_MPLS_LABELS entries of 4 bytes, ending with one that has the bottom-of-stack bit, or with the view.

IPv4 needs 20 bytes, version 4 and a header length of at least 5 words. A fragment offset other than 0 makes it
a later fragment, which has no L4; else the more-fragments bit makes it a first one. L4 lies behind the options.

IPv6 needs 40 bytes and version 6. Extension headers are walked: hop-by-hop 0, routing 43, destination 60,
authentication 51, fragment 44. Each has 8 bytes, and by its second byte as many words of 8 more (of 4 for
authentication; none for a fragment header). At most MAX_EXTENSION_HEADERS, and of each the first 8 bytes must be
there. Where one cannot be walked, because it is cut or is one too many, the protocol is that header's own number
and there is no L4; a kind of fragment found before stays. A fragment header with an offset other than 0 makes it
a later fragment, ends the walk, and gives the protocol its next header; one with the M bit alone makes it a first
fragment; one with neither changes nothing.

L4, not of later fragments: TCP needs 20 bytes (ports, and as flags the low 12 bits of the word at 12), UDP 8 (ports),
SCTP 12 (ports), ICMP under IPv4 8 and ICMPv6 under IPv6 8 (type and code).
Neighbour solicitation (135) and advertisement (136) with code 0 and 24 bytes have a target. Of the options from
byte 24 on, at most MAX_ND_OPTIONS are looked at; each needs 8 bytes. A length of 0 ends the search. The first source
(for 135) or target (for 136) link-layer address with a length of 8 bytes is taken.

The design: the slots that a frame fills have network byte order, so the walk copies bytes of the frame to bytes of
the key as they are; only the last step makes an int. `headers` is the same walk, asked where things lie.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vswitch.base.limits import MAX_EXTENSION_HEADERS, MAX_MPLS_LABELS, MAX_ND_OPTIONS, PARSE_BYTES
from vswitch.fields import FIELDS, KEY_BYTES, SLOTS
from vswitch.fields.kinds import FRAGMENTS
from vswitch.fields.registry import ARP, ICMP, ICMPV6, IPV4, IPV6, MPLS, MPLS_MULTICAST, SCTP, TCP, UDP
from vswitch.packet.code_points import (
    AUTHENTICATION,
    DESTINATION,
    FRAGMENT,
    HOP_BY_HOP,
    NEIGHBOUR_ADVERTISEMENT,
    NEIGHBOUR_SOLICITATION,
    ROUTING,
    SOURCE_LINK_ADDRESS,
    TARGET_LINK_ADDRESS,
    VLAN_PROTOCOLS,
)

__all__ = ["Headers", "headers", "parse"]


def _bytes_of(name: str) -> slice:
    """The bytes of the key that hold a slot, which has network byte order."""
    slot = SLOTS[name]
    assert slot.wire, f"bytes of a frame cannot be copied to {name}, which has the host's byte order"
    return slice(slot.offset, slot.offset + slot.size)


def _last_byte_of(name: str) -> int:
    """The byte of the key that holds the low 8 bits of a slot, which has network byte order."""
    slot = SLOTS[name]
    assert slot.wire, f"the last byte of {name}, which has the host's byte order, is not its lowest"
    return slot.offset + slot.size - 1


_ETH_DST, _ETH_SRC, _ETH_TYPE = _bytes_of("eth_dst"), _bytes_of("eth_src"), _bytes_of("eth_type")
_TAGS = tuple((_bytes_of(f"{tag}_tpid"), _bytes_of(f"{tag}_tci")) for tag in ("vlan", "cvlan"))
_MPLS_ENTRIES = tuple(_bytes_of(f"mpls_lse{n}") for n in range(MAX_MPLS_LABELS))
_ARP_OP = _bytes_of("arp_op")
_L2_SOURCE, _L2_TARGET = _bytes_of("l2_source"), _bytes_of("l2_target")
_IPV4_SRC, _IPV4_DST = _bytes_of("ipv4_src"), _bytes_of("ipv4_dst")
_IPV6_SRC, _IPV6_DST, _IPV6_LABEL = _bytes_of("ipv6_src"), _bytes_of("ipv6_dst"), _bytes_of("ipv6_label")
_IP_PROTO, _IP_TOS, _IP_TTL, _IP_FRAG = (_last_byte_of(f"ip_{name}") for name in ("proto", "tos", "ttl", "frag"))
_TP_SRC, _TP_DST, _TCP_FLAGS = _bytes_of("tp_src"), _bytes_of("tp_dst"), _bytes_of("tcp_flags")
_ICMP_TYPE, _ICMP_CODE = _last_byte_of("tp_src"), _last_byte_of("tp_dst")
_ND_TARGET = _bytes_of("nd_target")

_PRESENT = 1 << FIELDS["vlan_present"].shift - 8  # in the first byte of a TCI
_TPIDS = tuple(tpid.to_bytes(2, "big") for tpid in VLAN_PROTOCOLS)
_MIN_ETH_TYPE = 0x0600  # IEEE 802.3 clause 3.2.6: below it is a length
_NO_ETH_TYPE = 0x05FF
_LLC_SNAP = bytes.fromhex("aaaa03000000")
_ARP_ETHERNET_IPV4 = bytes.fromhex("000108000604")  # htype, ptype, hlen, plen
_WHOLE, _FIRST, _LATER = FRAGMENTS.values()
_VISIBLE_BYTES = 14 + 2 * 4 + 8 + PARSE_BYTES  # Ethernet, two tags, LLC and SNAP, the view

_EXTENSION_UNITS = {HOP_BY_HOP: 8, ROUTING: 8, DESTINATION: 8, AUTHENTICATION: 4, FRAGMENT: 0}
"""An extension header has 8 bytes and as many of these units more as its second byte says."""

_ND_ADDRESSES = {
    NEIGHBOUR_SOLICITATION: (SOURCE_LINK_ADDRESS, _L2_SOURCE),
    NEIGHBOUR_ADVERTISEMENT: (TARGET_LINK_ADDRESS, _L2_TARGET),
}
"""ICMPv6 type -> the option with the link-layer address, and where that goes."""


@dataclass(frozen=True, slots=True)
class Headers:
    """Where the headers of a frame lie, as offsets in bytes from its start; None for what was not read.

    `payload`: what follows the Ethernet type (tags, LLC and SNAP passed), of whatever kind; the type itself
    lies in the two bytes before. `l3`: the same place, if an ARP, MPLS or IP header was read there. `l4`: the
    TCP, UDP, SCTP, ICMP or ICMPv6 header, if it was read. `link_address`: the 6 bytes of the link-layer address
    in an option of neighbour discovery. `tags`: how many VLAN tags were read, 0..2; the first begins at byte 12.
    `routed`: an IPv6 routing header says that the destination is not the last one, which checksums are over.
    `hidden`: there is an L4 header, but out of view.
    """

    tags: int = 0
    payload: int | None = None
    l3: int | None = None
    l4: int | None = None
    link_address: int | None = None
    routed: bool = False
    hidden: bool = False


class _Walk:
    """One pass over one frame. `key` holds the fields read so far, the other members are those of `Headers`.

    `end`: the first offset out of view. `length`: of the whole frame.
    """

    __slots__ = ("end", "frame", "hidden", "key", "l3", "l4", "length", "link_address", "payload", "routed", "tags")

    def __init__(self, frame: bytes | memoryview) -> None:
        self.frame = bytes(frame[:_VISIBLE_BYTES])
        self.length = len(frame)
        self.key = bytearray(KEY_BYTES)
        self.tags = self.end = 0
        self.payload: int | None = None
        self.l3: int | None = None
        self.l4: int | None = None
        self.link_address: int | None = None
        self.routed = self.hidden = False
        _ethernet(self)


def parse(frame: bytes | memoryview, metadata: int = 0) -> int:
    """The flow key of `frame` (Ethernet header first, no FCS), as a key int, OR-ed onto `metadata`.

    `metadata` is a key int with what the bytes do not say: in_port, recirc_id, tunnel. Raises nothing,
    whatever the bytes are.
    """
    # hot: once per packet of a simulated datapath
    return int.from_bytes(_Walk(frame).key, "little") | metadata


def headers(frame: bytes | memoryview) -> Headers:
    """Where the headers lie from which `parse` takes the fields of `frame`."""
    walk = _Walk(frame)
    return Headers(walk.tags, walk.payload, walk.l3, walk.l4, walk.link_address, walk.routed, walk.hidden)


def _ethernet(walk: _Walk) -> None:
    frame, key = walk.frame, walk.key
    if len(frame) < 14:
        return
    key[_ETH_DST] = frame[0:6]
    key[_ETH_SRC] = frame[6:12]
    at = 12  # of the type, or of a tag protocol in its place
    for tpid, tci in _TAGS:
        if frame[at : at + 2] not in _TPIDS or at + 6 > len(frame):
            break
        key[tpid] = frame[at : at + 2]
        key[tci] = frame[at + 2 : at + 4]
        key[tci.start] |= _PRESENT
        walk.tags += 1
        at += 4
    eth_type = frame[at] << 8 | frame[at + 1]
    at += 2
    if eth_type < _MIN_ETH_TYPE:
        eth_type = _snap_type(frame, at)
        if eth_type != _NO_ETH_TYPE:
            at += 8
    key[_ETH_TYPE] = eth_type.to_bytes(2, "big")
    walk.payload = at
    walk.end = min(len(frame), at + PARSE_BYTES)
    network = _NETWORK.get(eth_type)
    if network is not None:
        network(walk, at)


def _snap_type(frame: bytes, at: int) -> int:
    """The Ethernet type in the LLC and SNAP headers at `at`, or _NO_ETH_TYPE."""
    if at + 8 <= len(frame) and frame[at : at + 6] == _LLC_SNAP:
        eth_type = frame[at + 6] << 8 | frame[at + 7]
        if eth_type >= _MIN_ETH_TYPE:
            return eth_type
    return _NO_ETH_TYPE


def _arp(walk: _Walk, at: int) -> None:
    """RFC 826: the six bytes that tell the format, operation, sha, spa, tha, tpa."""
    frame, key = walk.frame, walk.key
    if at + 28 > walk.end or frame[at : at + 6] != _ARP_ETHERNET_IPV4:
        return
    walk.l3 = at
    key[_ARP_OP] = frame[at + 6 : at + 8]
    key[_L2_SOURCE] = frame[at + 8 : at + 14]
    key[_IPV4_SRC] = frame[at + 14 : at + 18]
    key[_L2_TARGET] = frame[at + 18 : at + 24]
    key[_IPV4_DST] = frame[at + 24 : at + 28]


def _mpls(walk: _Walk, at: int) -> None:
    """RFC 3032 section 2.1: label 20 bits, traffic class 3, bottom of stack 1, time to live 8."""
    frame = walk.frame
    for entry in _MPLS_ENTRIES:
        if at + 4 > walk.end:
            return
        walk.l3 = walk.payload
        walk.key[entry] = frame[at : at + 4]
        if frame[at + 2] & 1:
            return
        at += 4


def _ipv4(walk: _Walk, at: int) -> None:
    """RFC 791 section 3.1."""
    frame, key = walk.frame, walk.key
    if at + 20 > walk.end or not 0x45 <= frame[at] <= 0x4F:  # version 4, at least 5 words
        return
    walk.l3 = at
    protocol = frame[at + 9]
    key[_IP_PROTO] = protocol
    key[_IP_TOS] = frame[at + 1]
    key[_IP_TTL] = frame[at + 8]
    key[_IPV4_SRC] = frame[at + 12 : at + 16]
    key[_IPV4_DST] = frame[at + 16 : at + 20]
    flags_and_offset = frame[at + 6] << 8 | frame[at + 7]
    if flags_and_offset & 0x1FFF:
        key[_IP_FRAG] = _LATER
        return
    if flags_and_offset & 0x2000:
        key[_IP_FRAG] = _FIRST
    _transport(walk, IPV4, protocol, at + (frame[at] & 15) * 4)


def _ipv6(walk: _Walk, at: int) -> None:
    """RFC 8200 section 3."""
    frame, key = walk.frame, walk.key
    if at + 40 > walk.end or frame[at] >> 4 != 6:
        return
    walk.l3 = at
    key[_IP_TOS] = frame[at] << 4 & 0xF0 | frame[at + 1] >> 4
    key[_IPV6_LABEL] = bytes((0, frame[at + 1] & 15, frame[at + 2], frame[at + 3]))
    key[_IP_TTL] = frame[at + 7]
    key[_IPV6_SRC] = frame[at + 8 : at + 24]
    key[_IPV6_DST] = frame[at + 24 : at + 40]
    protocol, fragment, at = _skip_extensions(walk, frame[at + 6], at + 40)
    key[_IP_PROTO] = protocol
    key[_IP_FRAG] = fragment
    if fragment != _LATER:
        _transport(walk, IPV6, protocol, at)
        needed = 8 if protocol in _EXTENSION_UNITS else _TRANSPORT.get((IPV6, protocol), (0,))[0]
        walk.hidden = bool(needed) and walk.l4 is None and at + needed <= walk.length


def _skip_extensions(walk: _Walk, protocol: int, at: int) -> tuple[int, int, int]:
    """Pass the extension headers from `at` on, the first of which is `protocol`.

    Returns the protocol and offset of the header where the walk ended, and between them the kind of fragment.
    If that is an extension header that cannot be walked, `_transport` knows nothing of it.
    """
    frame = walk.frame
    fragment = _WHOLE
    for _ in range(MAX_EXTENSION_HEADERS):
        unit = _EXTENSION_UNITS.get(protocol)
        if unit is None or at + 8 > walk.end:
            break
        if protocol == FRAGMENT:
            offset_and_more = frame[at + 2] << 8 | frame[at + 3]
            if offset_and_more >> 3:
                return frame[at], _LATER, at + 8
            if offset_and_more & 1:
                fragment = _FIRST
        walk.routed |= protocol == ROUTING and frame[at + 3] > 0
        protocol, at = frame[at], at + 8 + unit * frame[at + 1]
    return protocol, fragment, at


def _transport(walk: _Walk, eth_type: int, protocol: int, at: int) -> None:
    """The L4 header at `at`, if it is one that has fields and is there."""
    row = _TRANSPORT.get((eth_type, protocol))
    if row is None:
        return
    needed, read = row
    if at + needed <= walk.end:
        walk.l4 = at
        read(walk, at)


def _ports(walk: _Walk, at: int) -> None:
    walk.key[_TP_SRC] = walk.frame[at : at + 2]
    walk.key[_TP_DST] = walk.frame[at + 2 : at + 4]


def _tcp(walk: _Walk, at: int) -> None:
    """RFC 9293 section 3.1; the flags' upper four bits are the reserved ones."""
    _ports(walk, at)
    walk.key[_TCP_FLAGS] = bytes((walk.frame[at + 12] & 15, walk.frame[at + 13]))


def _icmp(walk: _Walk, at: int) -> None:
    walk.key[_ICMP_TYPE] = walk.frame[at]
    walk.key[_ICMP_CODE] = walk.frame[at + 1]


def _icmpv6(walk: _Walk, at: int) -> None:
    """RFC 4443 section 2.1; neighbour discovery: RFC 4861 sections 4.3, 4.4 and 4.6."""
    _icmp(walk, at)
    frame, key, end = walk.frame, walk.key, walk.end
    row = _ND_ADDRESSES.get(frame[at])
    if row is None or frame[at + 1] != 0 or at + 24 > end:
        return
    key[_ND_TARGET] = frame[at + 8 : at + 24]
    option, address = row
    at += 24
    for _ in range(MAX_ND_OPTIONS):
        if at + 8 > end or frame[at + 1] == 0:
            return
        if frame[at] == option and frame[at + 1] == 1:
            key[address] = frame[at + 2 : at + 8]
            walk.link_address = at + 2
            return
        at += 8 * frame[at + 1]


_Reader = Callable[[_Walk, int], None]

_NETWORK: dict[int, _Reader] = {ARP: _arp, MPLS: _mpls, MPLS_MULTICAST: _mpls, IPV4: _ipv4, IPV6: _ipv6}
"""Ethernet type -> what reads the header behind it."""

_TRANSPORT: dict[tuple[int, int], tuple[int, _Reader]] = {
    (IPV4, ICMP): (8, _icmp),
    (IPV4, TCP): (20, _tcp),
    (IPV4, UDP): (8, _ports),
    (IPV4, SCTP): (12, _ports),
    (IPV6, ICMPV6): (8, _icmpv6),
    (IPV6, TCP): (20, _tcp),
    (IPV6, UDP): (8, _ports),
    (IPV6, SCTP): (12, _ports),
}
"""Ethernet type and protocol -> the bytes that the header needs, and what reads it."""
