"""Matches as ovs-ofctl writes them: `priority=5,tcp,in_port=1,nw_dst=10.0.0.0/8,tp_dst=80`.

A word of the table below names bits of a flow's key and how its value is read. Words without a value name a protocol.
What is read later replaces what was read before it. A field counts only for packets that have it: `nw_dst` without
`ip` says nothing; whoever reads decides (`Draft.missing`) whether it is an error or dropped, as ovs-ofctl does.

Hot: what an item means is remembered for a while, so that those which many flows share cost a lookup.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from itertools import product
from types import MappingProxyType
from typing import Any

from vswitch.base.errors import ConfigError, TextError
from vswitch.fields.openflow import OPENFLOW_FIELDS, REGISTERS, FlowField
from vswitch.messages.match import FlowMatch
from vswitch.text.flow_values import (
    FAST_READERS,
    FIELDS_BY_WORD,
    format_value,
    number,
    read_subfield,
    read_value,
)
from vswitch.text.flow_words import Bits, Context, Item, check_length, fail, items, read_bounded, remember
from vswitch.text.values import Names, Numbers

__all__ = ["Draft", "Warn", "format_flow_match", "parse_flow_match"]

Warn = Callable[[TextError], None] | None
"""Is told what was read and cannot be kept: fields of packets that the flow does not match. None: it is an error."""

Need = tuple[tuple[int, int], ...]
"""Alternatives (mask, value), one of which a match must hold."""

ETH_TYPES = {"ip": 0x0800, "ipv6": 0x86DD, "arp": 0x0806, "rarp": 0x8035, "mpls": 0x8847, "mplsm": 0x8848}
IP_PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17, "sctp": 132}


Place = Callable[[int, int], Bits]


def _placer(field: FlowField, need: Need = ()) -> Place:
    """What makes the bits of a field from its value and mask. hot: once an item."""
    slot, shift = field.view.slot, field.view.shift
    offset, size = 8 * slot.offset, slot.size
    most, whole, keep = field.max, field.mask, ~field.mask
    turned = slot.wire and size > 1

    def place(value: int, mask: int) -> Bits:
        value <<= shift
        if turned:
            value = int.from_bytes(value.to_bytes(size, "big"), "little")
        return Bits(value << offset, whole if mask == most else slot.place(mask << shift), keep, need)

    return place


def _exactly(**values: int) -> tuple[int, int]:
    """(mask, value) of a key with these fields."""
    mask = value = 0
    for name, wanted in values.items():
        bits = _placer(OPENFLOW_FIELDS[name])(wanted, OPENFLOW_FIELDS[name].max)
        mask, value = mask | bits.mask, value | bits.value
    return mask, value


# ---- words without a value


def _protocols() -> dict[str, Bits]:
    rows: dict[str, dict[str, int]] = {word: {"eth_type": number} for word, number in ETH_TYPES.items()}
    for word, protocol in IP_PROTOCOLS.items():
        rows[word] = {"eth_type": 0x0800, "ip_proto": protocol}
        rows[word + "6"] = {"eth_type": 0x86DD, "ip_proto": protocol}
    rows["icmp6"] = {"eth_type": 0x86DD, "ip_proto": 58}
    rows["eth"] = {"packet_type": 0}
    found = {}
    for word, values in rows.items():
        mask, value = _exactly(**values)
        found[word] = Bits(value, mask, ~mask)
    return found


PROTOCOLS = _protocols()
_ETH_TYPE, _IP_PROTO = OPENFLOW_FIELDS["eth_type"], OPENFLOW_FIELDS["ip_proto"]
_VLAN = OPENFLOW_FIELDS["vlan_tci"]

# ---- what a field needs


def _needs() -> dict[str, Need]:
    """word -> what it needs; a word that several protocols share needs one of them."""
    found: dict[str, list[tuple[int, int]]] = {}
    for field in OPENFLOW_FIELDS.values():
        for word in {*field.texts, field.name, *field.symbols}:
            found.setdefault(word, []).extend(_alternatives(field))
    for word in ("dl_vlan_pcp", "vlan_pcp", "OXM_OF_VLAN_PCP"):  # it brings what it needs
        found[word] = [(0, 0)]
    for way in ("src", "dst"):  # icmp_type and icmp_code lie there too
        found[f"tp_{way}"] += [_exactly(eth_type=0x0800, ip_proto=1), _exactly(eth_type=0x86DD, ip_proto=58)]
        for word, arp in ((f"nw_{way}", "arp"), (f"ip_{way}", "arp")):
            found[word] += [_exactly(eth_type=ETH_TYPES[arp]), _exactly(eth_type=ETH_TYPES["r" + arp])]
    for word in ("nw_proto", "ip_proto"):
        found[word] += [_exactly(eth_type=0x0806), _exactly(eth_type=0x8035)]
    return {word: tuple(sorted(set(needs))) for word, needs in found.items() if (0, 0) not in needs}


def _alternatives(field: FlowField) -> Iterable[tuple[int, int]]:
    names = [name for name, _ in field.prerequisites if name != "vlan_vid"]
    for values in product(*(allowed for name, allowed in field.prerequisites if name != "vlan_vid")):
        yield _exactly(**dict(zip(names, values, strict=True)))


_NEEDS = _needs()


# ---- words with a value


_place_vlan = _placer(_VLAN)
_place_dscp = _placer(OPENFLOW_FIELDS["ip_dscp"], _NEEDS["ip_dscp"])
_VID, _PCP = (~_VLAN.view.slot.place(mask) for mask in (0x1FFF, 0xF000))
"""What the number and the priority of a VLAN leave as it was."""


def _read_dl_vlan(text: str, _ports: Numbers) -> Bits:
    vid = read_bounded("dl_vlan", text, 0xFFFF)
    if vid == 0xFFFF:
        return _place_vlan(0, 0xFFFF)
    if vid & 0xE000:
        raise ConfigError(f"dl_vlan {text} is outside 0..4095, and is not 0xffff for no tag")
    return _place_vlan(0x1000 | vid & 0xFFF, 0x1FFF)._replace(keep=_VID)


def _read_vlan_pcp(text: str, _ports: Numbers) -> Bits:
    return _place_vlan(0x1000 | read_bounded("dl_vlan_pcp", text, 7) << 13, 0xF000)._replace(keep=_PCP)


def _read_tos(text: str, _ports: Numbers) -> Bits:
    """The upper six bits of the octet; the lower two are ECN's and are ignored."""
    return _place_dscp(read_bounded("nw_tos", text, 0xFF) >> 2, 0x3F)


Read = Callable[[str, Numbers], Bits]


def _reader(field: FlowField, need: Need) -> Read:
    place, most, fast = _placer(field, need), field.max, FAST_READERS.get(field.view.kind.name)

    def read(text: str, ports: Numbers) -> Bits:
        return place(*read_value(field, text, ports))

    def read_fast(text: str, ports: Numbers) -> Bits:
        assert fast is not None
        value = fast(text)
        return read(text, ports) if value is None or value > most else place(value, most)

    return read if fast is None else read_fast


def _readers() -> dict[str, Read]:
    found = {word: _reader(field, _NEEDS.get(word, ())) for word, field in FIELDS_BY_WORD.items() if not word.isupper()}
    found |= dict.fromkeys(("dl_vlan_pcp", "vlan_pcp"), _read_vlan_pcp)
    return found | {"dl_vlan": _read_dl_vlan, "nw_tos": _read_tos}


_READERS = _readers()


# ---- reading


class Draft:
    """A match while it is read."""

    __slots__ = ("_needy", "context", "mask", "text", "value")

    def __init__(self, text: str, context: Context) -> None:
        self.text = text
        self.context = context
        self.value = self.mask = 0
        self._needy: list[tuple[Bits, int]] = []

    def read(
        self,
        start: int,
        stop: int,
        other: Callable[[Item], None],
        known: Mapping[str, tuple[str, int]] = MappingProxyType({}),
        members: MutableMapping[str, Any] | None = None,
    ) -> None:
        """Reads all items from `start` to `stop`; those that belong to no match go to `other`, unless they are `known`
        to say which member has which value. hot: once a flow."""
        text, words, ports = self.text, self.context.words, self.context.ports
        if text.find("(", start, stop) >= 0 or text.find('"', start, stop) >= 0:
            for item in items(text, start, stop):
                if not self.take(item):
                    other(item)
            return
        for found in _WORD.finditer(text, start, stop):
            word = found[0]
            bits = words.get(word)
            if bits is None:
                member = known.get(word)
                if member is not None and members is not None:
                    members[member[0]] = member[1]
                    continue
                key, _, value = word.partition("=")
                read = _READERS.get(key)
                if read is not None and value:
                    try:
                        bits = read(value, ports)
                        remember(words, word, bits)
                    except ConfigError:
                        pass  # it is read once more, to show where it goes wrong
            if bits is not None:
                self.put(bits, found.start())
                continue
            item = next(items(text, found.start(), found.end()))
            if not self.take(item):
                other(item)

    def put(self, bits: Bits, position: int) -> None:
        """Takes in what an item at `position` says."""
        self.value = self.value & bits.keep | bits.value
        self.mask = self.mask & bits.keep | bits.mask
        if bits.need:
            self._needy.append((bits, position))

    def take(self, item: Item) -> bool:
        """Takes an item in; False if it does not belong to a match."""
        key = item.key
        bits = PROTOCOLS.get(key)
        if bits is None:
            read = _READERS.get(key)
            if read is None and not key.endswith("]"):
                return False
            text = self.text[item.start : item.stop]
            if item.sign not in ("=", ":") or not text:
                fail(f"field {key} has no value, as {key}=VALUE", self.text, item.key_at)
            try:
                bits = read(text, self.context.ports) if read is not None else _read_part(key, text)
            except TextError:
                raise
            except ConfigError as error:
                raise TextError(str(error), self.text, item.start) from None
        remember(self.context.words, self.text[item.key_at : item.end], bits)
        self.put(bits, item.key_at)
        return True

    def _missing(self) -> Iterator[tuple[Bits, int]]:
        """What was read of fields that the packets of the match need not have."""
        value, mask = self.value, self.mask
        for bits, position in self._needy:
            for need_mask, need_value in bits.need:
                if mask & need_mask == need_mask and value & need_mask == need_value:
                    break
            else:
                yield bits, position

    def finish(self, warn: Warn = None) -> FlowMatch:
        """The match. TextError if fields of it need others, unless `warn` is there to be told."""
        if self._needy:
            for bits, position in list(self._missing()):
                problem = f"{self._word(position)} needs a protocol that the flow does not match, as ip or tcp"
                error = TextError(problem, self.text, position)
                if warn is None:
                    raise error
                warn(error)
                self.value, self.mask = self.value & bits.keep, self.mask & bits.keep
            self._move_arp_op()
            if _holds(_NEEDS["nd_target"], self.value, self.mask):
                for _, position in self._needy:
                    if self._word(position) in _LIKE_DISCOVERY:
                        problem = f"{self._word(position)} cannot be matched together with neighbour discovery"
                        fail(problem, self.text, position)
        return FlowMatch.from_ints(self.value, self.mask)

    def _word(self, position: int) -> str:
        return next(items(self.text, position, len(self.text))).key

    def _move_arp_op(self) -> None:
        """nw_proto of ARP is its operation."""
        if self.mask & _IP_PROTO_MASK and _ETH_TYPE.view.take(self.value) in (0x0806, 0x8035):
            moved = _place_arp_op(_IP_PROTO.view.take(self.value), 0xFFFF)
            keep = moved.keep & ~_IP_PROTO_MASK
            self.value, self.mask = self.value & keep | moved.value, self.mask & keep | moved.mask


_WORD = re.compile(r"[^\s,]+")
_place_arp_op = _placer(OPENFLOW_FIELDS["arp_op"])
_IP_PROTO_MASK = _IP_PROTO.mask


def _read_part(key: str, text: str) -> Bits:
    """`NXM_NX_REG0[0..3]=5`."""
    sub = read_subfield(key)
    value = read_bounded(key, text, (1 << sub.bits) - 1)
    mask = (1 << sub.bits) - 1 << sub.start
    bits = _placer(sub.field, _NEEDS.get(key.partition("[")[0], ()))(value << sub.start, mask)
    return bits._replace(keep=~bits.mask)


def parse_flow_match(text: str, *, ports: Numbers = None, warn: Warn = None) -> FlowMatch:
    """The match that `text` writes: words and fields, nothing else. TextError shows where it goes wrong."""
    check_length(text)
    draft = Draft(text, Context.of(ports, None))
    draft.read(0, len(text), lambda item: fail(f"no field is called {item.key!r}", text, item.key_at))
    return draft.finish(warn)


# ---- writing


_BEFORE = (
    "skb_mark", "recirc_id", "dp_hash", "conj_id", "actset_output", "ct_state", "ct_zone", "ct_mark", "ct_label",
    "ct_nw_src", "ct_nw_dst", "ct_ipv6_src", "ct_ipv6_dst", "ct_nw_proto", "ct_tp_src", "ct_tp_dst",
)  # fmt: skip
"""Before the protocol."""
_AFTER = (
    *(f"reg{number}" for number in range(REGISTERS)),
    "tun_id", "tun_src", "tun_dst", "tun_ipv6_src", "tun_ipv6_dst", "metadata", "in_port", "in_phy_port", "vlan_tci",
    "eth_src", "eth_dst", "eth_type", "ipv4_src", "ipv4_dst", "ipv6_src", "ipv6_dst", "ipv6_label", "arp_spa",
    "arp_tpa", "ip_proto", "arp_op", "arp_sha", "arp_tha", "ip_dscp", "ip_ecn", "ip_ttl", "mpls_label", "mpls_tc",
    "mpls_ttl", "mpls_bos", "ip_frag", "tcp_src", "tcp_dst", "tcp_flags", "udp_src", "udp_dst", "sctp_src",
    "sctp_dst", "icmpv4_type", "icmpv4_code", "icmpv6_type", "icmpv6_code", "nd_target", "nd_sll", "nd_tll",
)  # fmt: skip

_WHOLE_HEX = {"recirc_id"}
_WHOLE_DECIMAL = {"ct_zone"}


def format_flow_match(match: FlowMatch, names: Names = None, *, priority: int | None = None) -> str:
    """The text of a match as ovs-ofctl prints it, with `priority=` where it stands if one is given. hot: once a flow of
    a dump."""
    value, mask = match.value, match.mask
    parts: list[str] = [] if priority is None else [f"priority={priority}"]
    rest = mask
    if rest & _ANY_BEFORE:
        discovery = _holds(_NEEDS["nd_target"], value, mask)  # its fields lie where IPv6 connections have theirs
        for field, bits, needs in _FORMAT_BEFORE:
            if rest & bits and _holds(needs, value, mask) and not (discovery and field.name in _LIKE_DISCOVERY):
                rest &= ~bits
                parts.append(_format(field, match, names))
    word, bits = _protocol(value, mask)
    if word:
        parts.append(word)
        rest &= ~bits
    for group, rows in _FORMAT_AFTER:
        if rest & group:
            for field, bits, needs in rows:
                if rest & bits and _holds(needs, value, mask):
                    rest &= ~bits
                    if field is _VLAN:
                        parts += _format_vlan(match)
                    elif field.name in _TUNNEL_ADDRESSES:
                        parts.append(_format_tunnel(field, match))
                        rest &= ~OPENFLOW_FIELDS[_TUNNEL_ADDRESSES[field.name]].mask
                    else:
                        parts.append(_format(field, match, names))
    return ",".join(parts)


def _holds(needs: Need, value: int, mask: int) -> bool:
    """Whether a match holds one of some alternatives, or there are none."""
    if not needs:
        return True
    for bits, wanted in needs:  # noqa: SIM110
        if mask & bits == bits and value & bits == wanted:
            return True
    return False


Row = tuple[FlowField, int, Need]


def _rows(names: Iterable[str]) -> tuple[Row, ...]:
    return tuple((OPENFLOW_FIELDS[name], OPENFLOW_FIELDS[name].mask, _NEEDS.get(name, ())) for name in names)


def _any(rows: Iterable[Row]) -> int:
    """All bits of some fields."""
    found = 0
    for _, bits, _ in rows:
        found |= bits
    return found


_FORMAT_BEFORE = _rows(_BEFORE)
_ANY_BEFORE = _any(_FORMAT_BEFORE)
_FORMAT_AFTER = tuple((_any(rows), rows) for rows in (_rows(_AFTER[at : at + 8]) for at in range(0, len(_AFTER), 8)))
"""In groups of eight, most of which a match does not touch at all."""
_LIKE_DISCOVERY = ("ct_ipv6_src", "ct_ipv6_dst")
_TUNNEL_ADDRESSES = {"tun_src": "tun_ipv6_src", "tun_dst": "tun_ipv6_dst"}
"""Both lie in the same bytes, IPv4's in the first four."""
_PACKET_TYPE = OPENFLOW_FIELDS["packet_type"]
_PACKET_TYPE_MASK, _ETH_TYPE_MASK = _PACKET_TYPE.mask, _ETH_TYPE.mask
_SHORTHANDS = tuple(
    (bits.mask, bits.value, word)
    for word, bits in sorted(PROTOCOLS.items(), key=lambda pair: -pair[1].mask.bit_count())
    if word != "eth"
)


def _protocol(value: int, mask: int) -> tuple[str, int]:
    """The word for the protocol of a match, and the bits that it says."""
    words, said = [], 0
    if mask & _PACKET_TYPE_MASK:
        said |= _PACKET_TYPE_MASK
        packet_type = _PACKET_TYPE.view.take(value)
        words.append(f"packet_type={_PACKET_TYPE.view.format(packet_type)}" if packet_type else "eth")
    if mask & _ETH_TYPE_MASK == _ETH_TYPE_MASK:
        for bits, wanted, word in _SHORTHANDS:
            if mask & bits == bits and value & bits == wanted:
                return ",".join((*words, word)), said | bits
    return ",".join(words), said


def _format(field: FlowField, match: FlowMatch, names: Names) -> str:
    value, mask = field.view.take(match.value), field.view.take(match.mask)
    word = field.texts[0]
    if field.name == "ip_dscp":
        return f"nw_tos={value << 2}" if mask == field.max else f"nw_tos={value << 2:#x}/{mask << 2:#x}"
    if field.name == "ipv6_label":
        return f"{word}=0x{value:05x}" if mask == field.max else f"{word}=0x{value:05x}/0x{mask:05x}"
    if mask == field.max:
        if field.name in _WHOLE_HEX:
            return f"{word}={number(value)}"
        if field.name in _WHOLE_DECIMAL:
            return f"{word}={value}"
    return f"{word}={format_value(field, value, mask, names)}"


def _format_tunnel(field: FlowField, match: FlowMatch) -> str:
    """An address of IPv4, or of IPv6 if more than 32 bits of it matter."""
    wide = OPENFLOW_FIELDS[_TUNNEL_ADDRESSES[field.name]]
    return _format(wide if match.mask & wide.mask & ~field.mask else field, match, None)


def _format_vlan(match: FlowMatch) -> list[str]:
    value, mask = _VLAN.view.take(match.value), _VLAN.view.take(match.mask)
    vid, pcp = mask & 0xFFF, mask & 0xE000
    if value & 0x1000 and vid in (0, 0xFFF) and pcp in (0, 0xE000) and (vid or pcp):
        parts = [f"dl_vlan={value & 0xFFF}"] if vid else []
        return [*parts, f"dl_vlan_pcp={value >> 13}"] if pcp else parts
    return [f"vlan_tci=0x{value:04x}" if mask == 0xFFFF else f"vlan_tci=0x{value:04x}/0x{mask:04x}"]
