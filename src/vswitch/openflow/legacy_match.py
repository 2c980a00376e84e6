"""The matches of before OXM: OpenFlow 1.0's structure of 40 bytes, and OpenFlow 1.1's standard match of 88.

Both have a place for each field, and wildcard bits. A field that the packets of a match do not have (a port without TCP
or the like) is ignored, as OpenFlow 1.0.0 section 3.4 says. In 1.1 a mask has ones where bits do not matter.

Not every match can be said in these: `expressible` tells. Writing one that cannot leaves out what has no place, which
is what a switch does when it tells of flows to controllers that know no better.
"""

from __future__ import annotations

from struct import Struct

from vswitch.fields.openflow import OPENFLOW_FIELDS
from vswitch.fields.registry import Field
from vswitch.messages.errors import OpenFlowError
from vswitch.messages.match import FlowMatch
from vswitch.openflow.wire import check_port, port_from_16, port_to_16

__all__ = ["MATCH_10_BYTES", "MATCH_11_BYTES", "MAX_KEPT", "decode_legacy", "encode_legacy", "expressible"]

_MATCH_10 = Struct("!IH6s6sHBxHBB2x4s4sHH")
_MATCH_11 = Struct("!HHII6s6s6s6sHBxHBB4s4s4s4sHHIB3x8s8s")
MATCH_10_BYTES = _MATCH_10.size
MATCH_11_BYTES = _MATCH_11.size
_STANDARD = 0

# Wildcard bits of 1.0; of 1.1 where they differ.
_IN_PORT, _VLAN, _ETH_SRC, _ETH_DST, _ETH_TYPE, _PROTO, _TP_SRC, _TP_DST = (1 << bit for bit in range(8))
_NW_SRC_SHIFT, _NW_DST_SHIFT, _PCP, _TOS = 8, 14, 1 << 20, 1 << 21
_PCP_11, _ETH_TYPE_11, _TOS_11, _PROTO_11, _MPLS_LABEL_11, _MPLS_TC_11 = 1 << 2, 1 << 3, 1 << 4, 1 << 5, 1 << 8, 1 << 9
_ALL_10, _ALL_11 = (1 << 22) - 1, (1 << 10) - 1
_NO_VLAN, _ANY_VLAN, _PRESENT = 0xFFFF, 0xFFFE, 0x1000
_IPV4, _ARP, _RARP, _IPV6 = 0x0800, 0x0806, 0x8035, 0x86DD
_MPLS = (0x8847, 0x8848)
_WITH_PORTS = (6, 17, 132)


def _view(name: str) -> Field:
    return OPENFLOW_FIELDS[name].view


_V = {
    name: _view(name)
    for name in (
        "in_port", "eth_src", "eth_dst", "eth_type", "vlan_vid", "vlan_pcp", "ip_dscp", "ip_proto", "arp_op",
        "ipv4_src", "ipv4_dst", "tcp_src", "tcp_dst", "icmpv4_type", "icmpv4_code", "mpls_label", "mpls_tc", "metadata",
    )
}  # fmt: skip
_SHIFT = {name: 8 * view.slot.offset for name, view in _V.items()}
_IN_PORT_MASK, _ETH_TYPE_MASK = _V["in_port"].mask, _V["eth_type"].mask
_ALL_MAC = b"\xff" * 6


class _Parts:
    """A match in the making."""

    __slots__ = ("mask", "value")

    def __init__(self) -> None:
        self.value = 0
        self.mask = 0

    def put(self, name: str, value: int) -> None:
        """All bits of a field."""
        view = _V[name]
        self.value |= view.place(value)
        self.mask |= view.mask

    def put_bytes(self, name: str, value: bytes, mask: bytes) -> None:
        """A field that is bytes of the key."""
        bits = int.from_bytes(mask, "little")
        self.value |= (int.from_bytes(value, "little") & bits) << _SHIFT[name]
        self.mask |= bits << _SHIFT[name]

    def put_bits(self, name: str, value: int, mask: int) -> None:
        view = _V[name]
        self.value |= view.place(value & mask)
        self.mask |= view.place(mask)


def _put_vlan(parts: _Parts, vid: int | None, pcp: int | None) -> None:
    """`None` is what does not matter; the pcp of no tag neither."""
    if vid == _NO_VLAN:
        parts.put("vlan_vid", 0)
        return
    if vid is None and pcp is None:
        return
    parts.put_bits("vlan_vid", _PRESENT | (vid or 0), _PRESENT if vid is None or vid == _ANY_VLAN else 0x1FFF)
    if vid == _ANY_VLAN:
        parts.value &= ~_V["vlan_vid"].place(0xFFF)
    if pcp is not None:
        parts.put("vlan_pcp", pcp & 7)


def _put_transport(parts: _Parts, eth_type: int, proto: int, source: int | None, target: int | None) -> None:
    """Ports, or type and code of ICMP."""
    if proto in _WITH_PORTS:
        names = ("tcp_src", "tcp_dst")
    elif (eth_type, proto) in {(_IPV4, 1), (_IPV6, 58)}:
        names = ("icmpv4_type", "icmpv4_code")
        if (source or 0) > 0xFF or (target or 0) > 0xFF:
            raise OpenFlowError("bad_match.bad_value", f"ICMP type {source} or code {target} is above 255")
    else:
        return
    for name, value in zip(names, (source, target), strict=True):
        if value is not None:
            parts.put(name, value)


def _prefix(wildcarded: int) -> bytes:
    return (0xFFFFFFFF << wildcarded & 0xFFFFFFFF if wildcarded < 32 else 0).to_bytes(4, "big")


_PREFIXES = tuple(_prefix(count) for count in range(64))


# Where the 40 bytes have fields that the key has too, byte for byte.
_SAME_BYTES = {
    "eth_src": (6, 6), "eth_dst": (12, 6), "eth_type": (22, 2), "ip_proto": (25, 1), "ipv4_src": (28, 4),
    "ipv4_dst": (32, 4), "tcp_src": (36, 2), "tcp_dst": (38, 2),
}  # fmt: skip
_NOT_PLANNED = _VLAN | _PCP | _IN_PORT | _TOS
_PLANNED_TYPES = (_IPV4, _IPV6)
_KIND = Struct("!I18xH1xB")


class _Plan:
    """How matches are read that have the same wildcards, type and protocol: the mask that all of them have, and the
    bits that are brought from where they are to where they belong. `simple`: that is all there is to them."""

    __slots__ = ("mask", "moves", "simple")

    def __init__(self, kind: tuple[int, int, int], mask: int) -> None:
        wild, eth_type, proto = kind
        self.mask = mask
        self.moves: list[tuple[int, int, int]] = []
        self.simple = not _NOT_PLANNED & ~wild
        if not wild & _ETH_TYPE:
            self.simple &= eth_type in _PLANNED_TYPES and (proto in _WITH_PORTS or bool(wild & _PROTO))
        for name, (at, size) in _SAME_BYTES.items():
            bits = (1 << 8 * size) - 1
            if mask >> _SHIFT[name] & bits:
                self.moves.append((8 * at, bits, _SHIFT[name]))


_plans: dict[tuple[int, int, int], _Plan] = {}


# hot: once per flow-mod of OpenFlow 1.0
def _decode_10(data: bytes, at: int) -> FlowMatch:
    kind: tuple[int, int, int] = _KIND.unpack_from(data, at)
    plan = _plans.get(kind)
    if plan is None:
        match = _read_10(data, at)
        if len(_plans) >= MAX_KEPT:
            _plans.clear()
        _plans[kind] = _Plan(kind, match.mask)
        return match
    if not plan.simple:
        return _read_10(data, at)
    raw = int.from_bytes(data[at : at + MATCH_10_BYTES], "little")
    value = 0
    for here, bits, there in plan.moves:
        value |= (raw >> here & bits) << there
    return FlowMatch.from_ints(value, plan.mask)


def _read_10(data: bytes, at: int) -> FlowMatch:
    """The same, field by field."""
    (
        wild, in_port, eth_src, eth_dst, vid, pcp, eth_type, tos, proto, nw_src, nw_dst, tp_src, tp_dst,
    ) = _MATCH_10.unpack_from(data, at)  # fmt: skip
    parts = _Parts()
    if not wild & _IN_PORT:
        parts.value, parts.mask = port_from_16(in_port) << _SHIFT["in_port"], _IN_PORT_MASK
    if not wild & _ETH_SRC:
        parts.put_bytes("eth_src", eth_src, _ALL_MAC)
    if not wild & _ETH_DST:
        parts.put_bytes("eth_dst", eth_dst, _ALL_MAC)
    _put_vlan(parts, None if wild & _VLAN else vid if vid == _NO_VLAN else vid & 0xFFF, None if wild & _PCP else pcp)
    if not wild & _ETH_TYPE:
        parts.put("eth_type", eth_type)
        known_proto = None if wild & _PROTO else proto
        _put_network(parts, eth_type, None if wild & _TOS else tos, known_proto)
        if eth_type in (_IPV4, _ARP, _RARP):
            parts.put_bytes("ipv4_src", nw_src, _PREFIXES[wild >> _NW_SRC_SHIFT & 63])
            parts.put_bytes("ipv4_dst", nw_dst, _PREFIXES[wild >> _NW_DST_SHIFT & 63])
        if known_proto is not None and eth_type in (_IPV4, _IPV6) and wild & (_TP_SRC | _TP_DST) != _TP_SRC | _TP_DST:
            source, target = None if wild & _TP_SRC else tp_src, None if wild & _TP_DST else tp_dst
            _put_transport(parts, eth_type, known_proto, source, target)
    return FlowMatch.from_ints(parts.value, parts.mask)


def _put_network(parts: _Parts, eth_type: int, tos: int | None, proto: int | None) -> None:
    if eth_type in (_IPV4, _IPV6):
        if tos is not None:
            parts.put("ip_dscp", tos >> 2)
        if proto is not None:
            parts.put("ip_proto", proto)
    elif eth_type in (_ARP, _RARP) and proto is not None:
        parts.put("arp_op", proto)


def _put_mpls(parts: _Parts, label: int | None, tc: int | None) -> None:
    for name, value in (("mpls_label", label), ("mpls_tc", tc)):
        if value is not None:
            if value > _V[name].max:
                raise OpenFlowError("bad_match.bad_value", f"{name} {value} is above {_V[name].max}")
            parts.put(name, value)


def _inverted(mask: bytes) -> bytes:
    return bytes(byte ^ 0xFF for byte in mask)


def _decode_11(data: bytes, at: int) -> FlowMatch:
    (
        kind, length, in_port, wild, eth_src, eth_src_mask, eth_dst, eth_dst_mask, vid, pcp, eth_type, tos, proto,
        nw_src, nw_src_mask, nw_dst, nw_dst_mask, tp_src, tp_dst, label, tc, metadata, metadata_mask,
    ) = _MATCH_11.unpack_from(data, at)  # fmt: skip
    if kind != _STANDARD:
        raise OpenFlowError("bad_match.bad_type", f"matches of type {kind} are not known")
    if length != MATCH_11_BYTES:
        raise OpenFlowError("bad_match.bad_len", f"a standard match of {length} bytes, not {MATCH_11_BYTES}")
    parts = _Parts()
    if not wild & _IN_PORT:
        parts.put("in_port", check_port(in_port, "bad_match.bad_value"))
    parts.put_bytes("eth_src", eth_src, _inverted(eth_src_mask))
    parts.put_bytes("eth_dst", eth_dst, _inverted(eth_dst_mask))
    if not wild & _VLAN:
        if vid > 0xFFF and vid not in (_NO_VLAN, _ANY_VLAN):
            raise OpenFlowError("bad_match.bad_value", f"VLAN id {vid:#x} is above 4095")
        _put_vlan(parts, vid, None if wild & _PCP_11 else pcp)
    parts.put_bytes("metadata", metadata, _inverted(metadata_mask))
    if not wild & _ETH_TYPE_11:
        parts.put("eth_type", eth_type)
        known_proto = None if wild & _PROTO_11 else proto
        if not wild & _TOS_11 and tos & 3:
            raise OpenFlowError("bad_match.bad_value", f"type of service {tos:#x} has bits of congestion notification")
        _put_network(parts, eth_type, None if wild & _TOS_11 else tos, known_proto)
        if eth_type in (_IPV4, _ARP, _RARP):
            parts.put_bytes("ipv4_src", nw_src, _inverted(nw_src_mask))
            parts.put_bytes("ipv4_dst", nw_dst, _inverted(nw_dst_mask))
        if known_proto is not None and eth_type in (_IPV4, _IPV6):
            source, target = None if wild & _TP_SRC else tp_src, None if wild & _TP_DST else tp_dst
            _put_transport(parts, eth_type, known_proto, source, target)
        if eth_type in _MPLS:
            _put_mpls(parts, None if wild & _MPLS_LABEL_11 else label, None if wild & _MPLS_TC_11 else tc)
    return FlowMatch.from_ints(parts.value, parts.mask)


def decode_legacy(data: bytes, at: int, version: int) -> FlowMatch:
    """The match at `at`, of OpenFlow 1.0 or 1.1. OpenFlowError: bad_match.*"""
    size = MATCH_10_BYTES if version == 1 else MATCH_11_BYTES
    if len(data) - at < size:
        error = "bad_request.bad_len" if version == 1 else "bad_match.bad_len"
        raise OpenFlowError(error, f"a match takes {size} bytes, {len(data) - at} are there")
    return _decode_10(data, at) if version == 1 else _decode_11(data, at)


# ---- writing


def _whole(match: FlowMatch, name: str) -> int | None:
    """The value of a field that is matched exactly."""
    view = _V[name]
    return view.take(match.value) if match.mask & view.mask == view.mask else None


def _vlan_of(match: FlowMatch) -> tuple[int | None, int | None]:
    """As `_put_vlan` takes them."""
    value, mask = _V["vlan_vid"].take(match.value), _V["vlan_vid"].take(match.mask)
    if not mask & _PRESENT:
        return None, None
    if not value & _PRESENT:
        return _NO_VLAN, None
    return (value & 0xFFF if mask & 0xFFF == 0xFFF else _ANY_VLAN), _whole(match, "vlan_pcp")


def _network_of(match: FlowMatch, eth_type: int | None) -> tuple[int | None, int | None, int | None, int | None]:
    """(type of service, protocol, source port, target port)."""
    tos = proto = source = target = None
    if eth_type in (_IPV4, _IPV6):
        dscp = _whole(match, "ip_dscp")
        tos = None if dscp is None else dscp << 2
        proto = _whole(match, "ip_proto")
        if proto in _WITH_PORTS:
            source, target = _whole(match, "tcp_src"), _whole(match, "tcp_dst")
        elif (eth_type, proto) in {(_IPV4, 1), (_IPV6, 58)}:
            source, target = _whole(match, "icmpv4_type"), _whole(match, "icmpv4_code")
    elif eth_type in (_ARP, _RARP):
        operation = _whole(match, "arp_op")
        proto = operation if operation is not None and operation <= 0xFF else None
    return tos, proto, source, target


def _bytes_of(match: FlowMatch, name: str, size: int) -> tuple[bytes, bytes]:
    view = _V[name]
    return view.take(match.value).to_bytes(size, "big"), view.take(match.mask).to_bytes(size, "big")


def _wildcards(pairs: tuple[tuple[object, int], ...]) -> int:
    """The bits of those that are not there."""
    wild = 0
    for value, bit in pairs:
        if value is None:
            wild |= bit
    return wild


def _encode_10(match: FlowMatch) -> bytes:
    in_port, eth_type = _whole(match, "in_port"), _whole(match, "eth_type")
    eth_src, eth_dst = _whole(match, "eth_src"), _whole(match, "eth_dst")
    vid, pcp = _vlan_of(match)
    tos, proto, source, target = _network_of(match, eth_type)
    known_vid = None if vid == _ANY_VLAN else vid
    if vid == _NO_VLAN:
        pcp = 0  # which says no more, and is what others write
    wild = _wildcards((
        (in_port, _IN_PORT), (known_vid, _VLAN), (eth_src, _ETH_SRC), (eth_dst, _ETH_DST), (eth_type, _ETH_TYPE),
        (proto, _PROTO), (source, _TP_SRC), (target, _TP_DST), (pcp, _PCP), (tos, _TOS),
    ))  # fmt: skip
    addresses = []
    for name, shift in (("ipv4_src", _NW_SRC_SHIFT), ("ipv4_dst", _NW_DST_SHIFT)):
        address, mask = _bytes_of(match, name, 4)
        if eth_type not in (_IPV4, _ARP, _RARP) or mask not in _PREFIXES:
            address, mask = bytes(4), bytes(4)
        addresses.append(address)
        wild |= _PREFIXES.index(mask) << shift
    return _MATCH_10.pack(
        wild, port_to_16(in_port or 0), (eth_src or 0).to_bytes(6, "big"), (eth_dst or 0).to_bytes(6, "big"),
        known_vid or 0, pcp or 0, eth_type or 0, tos or 0, proto or 0, *addresses, source or 0, target or 0,
    )  # fmt: skip


def _encode_11(match: FlowMatch) -> bytes:
    in_port, eth_type = _whole(match, "in_port"), _whole(match, "eth_type")
    eth_src, eth_src_mask = _bytes_of(match, "eth_src", 6)
    eth_dst, eth_dst_mask = _bytes_of(match, "eth_dst", 6)
    vid, pcp = _vlan_of(match)
    tos, proto, source, target = _network_of(match, eth_type)
    label, tc = (_whole(match, "mpls_label"), _whole(match, "mpls_tc")) if eth_type in _MPLS else (None, None)
    wild = _wildcards((
        (in_port, _IN_PORT), (vid, _VLAN), (pcp, _PCP_11), (eth_type, _ETH_TYPE_11), (tos, _TOS_11), (proto, _PROTO_11),
        (source, _TP_SRC), (target, _TP_DST), (label, _MPLS_LABEL_11), (tc, _MPLS_TC_11),
    ))  # fmt: skip
    addresses: list[bytes] = []
    for name in ("ipv4_src", "ipv4_dst"):
        address, mask = _bytes_of(match, name, 4) if eth_type in (_IPV4, _ARP, _RARP) else (bytes(4), bytes(4))
        addresses += (address, _inverted(mask))
    metadata, metadata_mask = _bytes_of(match, "metadata", 8)
    return _MATCH_11.pack(
        _STANDARD, MATCH_11_BYTES, in_port or 0, wild, eth_src, _inverted(eth_src_mask), eth_dst,
        _inverted(eth_dst_mask), vid or 0, pcp or 0, eth_type or 0, tos or 0, proto or 0, *addresses, source or 0,
        target or 0, label or 0, tc or 0, metadata, _inverted(metadata_mask),
    )  # fmt: skip


def encode_legacy(match: FlowMatch, version: int) -> bytes:
    """As OpenFlow 1.0 or 1.1 has it; what has no place there is left out."""
    return _encode_10(match) if version == 1 else _encode_11(match)


MAX_KEPT = 4096
"""Answers of `expressible` that are kept; beyond it all are forgotten."""

_kept: dict[tuple[int, int, int], bool] = {}
_DECIDING = _ETH_TYPE_MASK | _V["ip_proto"].mask | _V["arp_op"].mask | _V["vlan_vid"].place(_PRESENT)
_HIGH_PORT = 0xFF00


# hot: once per flow of OpenFlow 1.0
def expressible(match: FlowMatch, version: int) -> bool:
    """Whether that leaves out nothing. It depends on the mask, on which headers there are, and whether the port is one
    that 16 bits can say."""
    value, mask = match.value, match.mask
    port = value >> _SHIFT["in_port"] & 0xFFFFFFFF
    if port >= _HIGH_PORT:
        return _says(match, version)
    key = (version, mask, value & _DECIDING)
    found = _kept.get(key)
    if found is None:
        if len(_kept) >= MAX_KEPT:
            _kept.clear()
        found = _kept[key] = _says(match, version)
    return found


def _says(match: FlowMatch, version: int) -> bool:
    try:
        return decode_legacy(encode_legacy(match, version), 0, version) == match
    except OpenFlowError:
        return False
