"""What flow tables are, can do and are to do, as ofp-print prints them.

There are 254 of them, mostly alike: what a table has in common with the one before is not said again, and tables that
are altogether alike are one line, `tables 1...252: ditto`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

from vswitch.fields.openflow import BY_CODE
from vswitch.messages.control import TableStatus
from vswitch.messages.flows import TableMod
from vswitch.messages.stats import ALL_TABLE_BITMAPS, TableDescription, TableFeatures, TableFeaturesRequest, TableStats
from vswitch.text.openflow_print_stats import ACTION_ROWS
from vswitch.text.openflow_words import Style, bit_names, table

__all__ = ["FUNCTIONS", "REPLIES", "format_features"]

_ALL = 255
_MISS = ("controller", "continue", "drop")
_DEFAULT = (0, 0xFFFFFFFF)
_EVICTION_FLAGS = {1: "OTHER", 2: "IMPORTANCE", 4: "LIFETIME"}

# ---- the names of fields, in ovs-ofctl's order

_NAMES = """
dp_hash recirc_id packet_type conj_id tun_id tun_src tun_dst tun_ipv6_src tun_ipv6_dst tun_flags tun_gbp_id
tun_gbp_flags tun_erspan_idx tun_erspan_ver tun_erspan_dir tun_erspan_hwid tun_gtpu_flags tun_gtpu_msgtype
tun_metadata:64 metadata in_port in_port_oxm actset_output pkt_mark ct_state ct_zone ct_mark ct_label ct_nw_proto
ct_nw_src ct_nw_dst ct_ipv6_src ct_ipv6_dst ct_tp_src ct_tp_dst reg:16 xreg:8 xxreg:4 eth_src eth_dst eth_type vlan_tci
vlan_vid vlan_pcp mpls_label mpls_tc mpls_bos mpls_ttl ip_src ip_dst ipv6_src ipv6_dst ipv6_label nw_proto nw_tos
ip_dscp nw_ecn nw_ttl ip_frag arp_op arp_spa arp_tpa arp_sha arp_tha tcp_src tcp_dst tcp_flags udp_src udp_dst sctp_src
sctp_dst icmp_type icmp_code icmpv6_type icmpv6_code nd_target nd_sll nd_tll nd_reserved nd_options_type nsh_flags
nsh_mdtype nsh_np nsh_spi nsh_si nsh_c1 nsh_c2 nsh_c3 nsh_c4 nsh_ttl
"""
_CALLED = {
    "skb_mark": "pkt_mark", "ipv4_src": "ip_src", "ipv4_dst": "ip_dst", "ip_proto": "nw_proto", "ip_tos": "nw_tos",
    "ip_ecn": "nw_ecn", "ip_ttl": "nw_ttl", "icmpv4_type": "icmp_type", "icmpv4_code": "icmp_code",
}  # fmt: skip
"""Our names, where ovs-ofctl has others."""
_TUNNEL_WORDS = ("erspan_idx", "erspan_ver", "erspan_dir", "erspan_hwid", "gtpu_flags", "gtpu_msgtype")
_MORE_CODES: dict[tuple[int, ...], str] = {
    (1, 104): "tun_flags", (1, 38): "tun_gbp_id", (1, 39): "tun_gbp_flags", (0x8000, 0): "in_port_oxm",
    (0x1000, 1): "nd_reserved", (0x1000, 2): "nd_options_type", (0xFFFF, 0x4F4E4600, 42): "tcp_flags",
    (0xFFFF, 0x4F4E4600, 43): "actset_output", **{(1, 40 + number): f"tun_metadata{number}" for number in range(64)},
    **{
        (0xFFFF, 0x2320, 11 + at): f"tun_{name}"
        for at, name in enumerate(_TUNNEL_WORDS)
    },
    **{
        (0xFFFF, 0x5AD650, 1 + at): f"nsh_{name}"
        for at, name in enumerate(("flags", "mdtype", "np", "spi", "si", "c1", "c2", "c3", "c4", "ttl"))
    },
}  # fmt: skip
"""Class and number (experimenters: class, experimenter and number) of fields that a flow here cannot match."""


def _order() -> dict[str, int]:
    names: list[str] = []
    for word in _NAMES.split():
        stem, _, count = word.partition(":")
        names += [f"{stem}{number}" for number in range(int(count))] if count else [stem]
    return {name: at for at, name in enumerate(names)}


_ORDER = _order()


def _field_name(header: int) -> str | None:
    """Of a field's header: 32 bits, or 64 with an experimenter's id."""
    if header > 0xFFFFFFFF:
        return _MORE_CODES.get((header >> 48, header & 0xFFFFFFFF, header >> 41 & 0x7F))
    code = (header >> 16, header >> 9 & 0x7F)
    if code in _MORE_CODES:
        return _MORE_CODES[code]
    each = BY_CODE.get(code)
    name = "" if each is None else _CALLED.get(each.name, each.name)
    return name if name in _ORDER else None


def _field_list(names: Iterable[str]) -> str:
    """In order, what begins alike together: `eth_{src,dst} reg0...reg15`."""
    return _together(sorted(names, key=lambda name: _ORDER.get(name, len(_ORDER))), " ")


def _together(names: Sequence[str], separator: str) -> str:
    words = []
    for prefix, found in groupby(names, lambda name: name[: name.find("_") + 1]):
        group = list(found)
        if not prefix:
            words += _ranges(group)
        elif len(group) == 1:
            words.append(group[0])
        else:
            words.append(f"{prefix}{{{_together([name[len(prefix) :] for name in group], ',')}}}")
    return separator.join(words)


def _ranges(names: Sequence[str]) -> list[str]:
    """`reg0...reg15` for three or more that count on."""

    def stem(at: int) -> tuple[str, int]:
        match = re.fullmatch(r"(.*?)(\d+)", names[at])
        return (match[1], int(match[2]) - at) if match else (names[at], -at - 1)

    words: list[str] = []
    for _, found in groupby(range(len(names)), stem):
        run = [names[at] for at in found]
        words += [f"{run[0]}...{run[-1]}"] if len(run) > 2 else run
    return words


# ---- what a table can do


@dataclass(frozen=True, slots=True)
class _Actions:
    """What write-actions or apply-actions may have."""

    actions: frozenset[int] = frozenset()
    fields: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class _Instructions:
    """What flows of a table, or its table-miss flow, may do."""

    next: frozenset[int] = frozenset()
    instructions: frozenset[int] = frozenset()
    write: _Actions = _Actions()
    apply: _Actions = _Actions()


@dataclass(frozen=True, slots=True)
class _Features:
    """A table, however a version describes it."""

    table: int
    name: str = ""
    counters: tuple[int, int, int] | None = None
    config: int | None = None
    metadata: tuple[int, int] = (0, 0)
    max_entries: int = 0
    eviction: tuple[bool, bool] | None = None
    others: _Instructions = _Instructions()
    miss: _Instructions = _Instructions()
    match: frozenset[str] = frozenset()
    mask: frozenset[str] = frozenset()
    wildcard: frozenset[str] = frozenset()
    rows: tuple[tuple[int, str], ...] = field(default=(), compare=False)
    command: int = 0

    def like(self, other: _Features) -> bool:
        """Whether all but number and name is the same."""
        alike = ("counters", "config", "metadata", "max_entries", "eviction", "match", "mask", "wildcard")
        return self.allows_like(other) and all(getattr(self, name) == getattr(other, name) for name in alike)

    def allows_like(self, other: _Features) -> bool:
        """Whether instructions and actions are the same. Tables that a flow can go to are those behind both."""
        first = max(self.table, other.table) + 1
        return all(
            replace(mine, next=mine.next.intersection(range(first, 256)))
            == replace(theirs, next=theirs.next.intersection(range(first, 256)))
            for mine, theirs in ((self.others, other.others), (self.miss, other.miss))
        )


_COMMANDS = ("replace", "modify", "enable", "disable")
_INSTRUCTIONS = {
    6: "meter", 4: "apply_actions", 5: "clear_actions", 3: "write_actions", 2: "write_metadata", 1: "goto_table",
}  # fmt: skip


def _from_features(each: TableFeatures, version: int) -> _Features:
    found = dict(each.properties)
    rows = ACTION_ROWS[min(version, 3)]

    def fields(kind: int) -> frozenset[str]:
        return frozenset(filter(None, map(_field_name, found.get(kind, ()))))

    def instructions(miss: int) -> _Instructions:
        def numbers(kind: int) -> frozenset[int]:
            return frozenset(found.get(kind + miss, found.get(kind, ())))

        def actions(kind: int) -> frozenset[int]:
            return numbers(kind).intersection(number for number, _ in rows)

        def names(kind: int) -> frozenset[str]:
            return fields(kind + miss if kind + miss in found else kind)

        known = numbers(0).intersection(_INSTRUCTIONS)
        return _Instructions(numbers(2), known, _Actions(actions(4), names(12)), _Actions(actions(6), names(14)))

    headers = found.get(8, ())
    masked = {_field_name(each) for each in headers if each >> (40 if each > 0xFFFFFFFF else 8) & 1}
    wildcards = fields(10)
    eviction = None
    if version >= 5:
        config = each.capabilities if version == 5 else 0
        eviction = (bool(config & 1 << 2), bool(config & 1 << 3))
    return _Features(
        each.table, each.name, None, None, (each.metadata_match, each.metadata_write), each.max_entries, eviction,
        instructions(0), instructions(1), fields(8), frozenset(filter(None, masked)), wildcards,
        rows, each.command,
    )  # fmt: skip


_FIELDS_1_0 = (
    (0, "in_port"), (1, "vlan_vid"), (2, "eth_src"), (3, "eth_dst"), (4, "eth_type"), (5, "nw_proto"), (6, "tcp_src"),
    (7, "tcp_dst"), (8, "ip_src"), (14, "ip_dst"), (20, "vlan_pcp"), (21, "nw_tos"),
)  # fmt: skip
_WIDTHS = {"ip_src": 0x3F, "ip_dst": 0x3F}
"""In OpenFlow 1.0 addresses have six bits, for the length of a prefix."""
_FIELDS_1_1 = (
    (0, "in_port"), (1, "vlan_vid"), (2, "vlan_pcp"), (3, "eth_type"), (4, "nw_tos"), (5, "nw_proto"), (6, "tcp_src"),
    (7, "tcp_dst"), (8, "mpls_label"), (9, "mpls_tc"), (11, "eth_src"), (12, "eth_dst"), (13, "ip_src"), (14, "ip_dst"),
    (15, "metadata"),
)  # fmt: skip


def _bits(value: int) -> frozenset[int]:
    return frozenset(bit for bit in range(value.bit_length()) if value >> bit & 1)


def _named(value: int, rows: Iterable[tuple[int, str]], widths: Mapping[str, int]) -> frozenset[str]:
    return frozenset(name for bit, name in rows if value >> bit & widths.get(name, 1))


def _oxm(value: int) -> frozenset[str]:
    """Of bits that OpenFlow 1.2 has by the numbers of fields."""
    known = (bit for bit in _bits(value) if (0x8000, bit) in BY_CODE and BY_CODE[0x8000, bit].since <= 3)
    return frozenset(filter(None, (_field_name(0x80000000 | bit << 9) for bit in known)))


def _from_stats(each: TableStats, version: int) -> _Features:
    counters = (each.active, each.lookups, each.matched)
    bits = each.bitmaps or ALL_TABLE_BITMAPS.get(version, ())
    plain = _Features(each.table, each.name, counters, None, (0, 0), each.max_entries)
    if version >= 4 or not bits:
        return plain
    rows = ACTION_ROWS[version]
    if version == 1:
        return _Features(
            each.table, each.name, counters, max_entries=each.max_entries,
            match=_named(bits[0], _FIELDS_1_0, _WIDTHS), wildcard=_named(bits[0], _FIELDS_1_0, _WIDTHS),
        )  # fmt: skip
    if version == 2:
        wildcards, match, instructions, write, _, config = bits
        actions = _Actions(_bits(write))
        both = _Instructions(frozenset(), _bits(instructions).intersection(range(1, 6)), actions, actions)
        return _Features(
            each.table, each.name, counters, config & 3, (0, 0), each.max_entries, None, both, both,
            _named(match, _FIELDS_1_1, {}), frozenset(), _named(wildcards, _FIELDS_1_1, {}), rows,
        )  # fmt: skip
    match, wildcards, write, apply, write_fields, apply_fields, *metadata, instructions, config = bits
    both = _Instructions(
        frozenset(), _bits(instructions).intersection(range(1, 6)), _Actions(_bits(write), _oxm(write_fields)),
        _Actions(_bits(apply), _oxm(apply_fields)),
    )  # fmt: skip
    return _Features(
        each.table, each.name, counters, config & 3, (metadata[0], metadata[1]), each.max_entries, None, both,
        both, _oxm(match), frozenset(), _oxm(wildcards), rows,
    )  # fmt: skip


# ---- printing


def _list(tables: Iterable[_Features]) -> str:
    """All of them, each compared with the one before."""
    text: list[str] = []
    before: _Features | None = None
    dittos: list[int] = []

    def finish() -> None:
        if dittos:
            which = f"table {dittos[0]}" if dittos[0] == dittos[-1] else f"tables {dittos[0]}...{dittos[-1]}"
            text.append(f"\n  {which}: ditto\n")
            dittos.clear()

    for each in tables:
        if before is not None and each.like(before):
            if each.name:
                finish()
                text.append(f"\n  table {_called(each)}: ditto")
            else:
                dittos.append(each.table)
        else:
            finish()
            command = f"\n  command: {_COMMANDS[each.command]}" if each.command else ""
            text.append(f"{command}\n  table {_called(each)}:\n{_features(each, before)}")
        before = each
    finish()
    return "".join(text)


def _called(each: _Features) -> str:
    return f'{each.table} ("{each.name}")' if each.name else str(each.table)


def _features(each: _Features, before: _Features | None) -> str:
    lines = []
    if each.counters is not None:
        lines.append("    active={}, lookup={}, matched={}\n".format(*each.counters))
    if before is not None and each.counters is not None and _same_features(each, before):
        return "".join(lines) + ("    (same features)\n" if _has_features(each) else "")
    if any(each.metadata):
        lines.append("    metadata: match={} write={}\n".format(*map(_alternate, each.metadata)))
    if each.config is not None:
        lines.append(f"    config={_MISS[min(each.config, 3) % 3]}\n")
    if each.eviction is not None:
        for word, supported in zip(("eviction", "vacancy events"), each.eviction, strict=True):
            lines.append(f"    {word}: {'' if supported else 'not '}supported\n")
    if each.max_entries:
        lines.append(f"    max_entries={each.max_entries}\n")
    lines.append(_instruction_sections(each, before))
    lines.append(_matching(each, before))
    return "".join(lines)


def _same_features(each: _Features, before: _Features) -> bool:
    return replace(each, counters=before.counters).like(before)


def _has_features(each: _Features) -> bool:
    return bool(each.max_entries or each.match or each.config is not None)


def _alternate(value: int) -> str:
    return f"{value:#x}" if value else "0"


def _instruction_sections(each: _Features, before: _Features | None) -> str:
    if each.others == each.miss == _Instructions():
        return ""
    if before is not None and each.allows_like(before):
        return "    (same instructions)\n"
    others, miss = (before.others, before.miss) if before is not None else (None, None)
    sections = [("table miss and others", each.others, others)]
    if each.others != each.miss:
        sections = [("other than table miss", each.others, others), ("table miss", each.miss, miss)]
    return "".join(
        f"    instructions ({title}):\n{_instructions(found, previous, each.rows)}"
        for title, found, previous in sections
    )


def _instructions(found: _Instructions, before: _Instructions | None, rows: Sequence[tuple[int, str]]) -> str:
    lines = []
    if found.next:
        lines.append(f"      next tables: {_numbers(found.next)}\n")
    if found.instructions:
        if before is not None and before.instructions == found.instructions:
            lines.append("      (same instructions)\n")
        else:
            words = [word for number, word in _INSTRUCTIONS.items() if number in found.instructions]
            lines.append(f"      instructions: {' '.join(words)}\n")
    fields = found.write.fields or found.apply.fields  # without, actions are said again
    if before is not None and fields and (before.write, before.apply) == (found.write, found.apply):
        lines.append("      (same actions)\n")
    elif found.write == found.apply:
        lines.append(_actions("Write-Actions and Apply-Actions", found.write, rows))
    else:
        lines.append(_actions("Write-Actions", found.write, rows))
        lines.append(_actions("Apply-Actions", found.apply, rows))
    return "".join(lines)


def _actions(title: str, found: _Actions, rows: Sequence[tuple[int, str]]) -> str:
    lines = []
    words = [word for number, word in rows if number in found.actions]
    if words:
        lines.append(f"        actions: {' '.join(words)}\n")
    if found.fields:
        lines.append(f"        supported on Set-Field: {_field_list(found.fields)}\n")
    return "".join([f"      {title} features:\n", *lines]) if lines else ""


def _numbers(numbers: Iterable[int]) -> str:
    """`1-2,5`."""
    words = []
    for _, found in groupby(enumerate(sorted(numbers)), lambda pair: pair[1] - pair[0]):
        run = [number for _, number in found]
        words.append(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}")
    return ",".join(words)


def _matching(each: _Features, before: _Features | None) -> str:
    if not each.match and not each.wildcard:
        return ""
    if before is not None and (each.match, each.mask, each.wildcard) == (before.match, before.mask, before.wildcard):
        return "    (same matching)\n"
    fields = each.match | each.wildcard
    kinds = (
        ("arbitrary mask", each.mask),
        ("exact match or wildcard", (fields & each.wildcard) - each.mask),
        ("must exact match", fields - each.wildcard - each.mask),
    )
    return "    matching:\n" + "".join(f"      {word}: {_field_list(names)}\n" for word, names in kinds if names)


def format_features(tables: Iterable[TableFeatures], style: Style) -> str:
    """What these tables can do, as `dump-table-features` prints them together."""
    return _list(_from_features(each, style.version) for each in tables)


# ---- messages


def _reply_features(entries: tuple[TableFeatures, ...], style: Style) -> str:
    return format_features(entries, style)


def _request_features(message: TableFeaturesRequest, style: Style) -> str:
    return format_features(message.tables, style)


def _reply_stats(entries: tuple[TableStats, ...], style: Style) -> str:
    return _list(_from_stats(each, style.version) for each in entries)


def _description(each: TableDescription, style: Style) -> str:
    flags = bit_names(each.eviction_flags, _EVICTION_FLAGS, "|") if each.eviction_flags not in _DEFAULT else "(default)"
    vacancy = (
        f"on vacancy_down={each.vacancy_down}% vacancy_up={each.vacancy_up}% vacancy={each.vacancy_now}%"
        if each.vacancy
        else "off"
    )
    return (
        f"\n  table {table(each.table, style.tables)}:\n"
        f"   eviction={'on' if each.eviction else 'off'} eviction_flags={flags}\n   vacancy={vacancy}\n"
    )


def _reply_descriptions(entries: tuple[TableDescription, ...], style: Style) -> str:
    return "".join(_description(each, style) for each in entries)


def _table_status(message: TableStatus, style: Style) -> str:
    reason = {3: "VACANCY_DOWN", 4: "VACANCY_UP"}.get(message.reason, "unknown")
    assert isinstance(message.description, TableDescription)
    return f" reason={reason}\ntable_desc:-{_description(message.description, style)}"


def _table_mod(message: TableMod, style: Style) -> str:
    text = " table_id: ALL_TABLES" if message.table == _ALL else f" table_id={table(message.table, style.tables)}"
    if style.version < 4 and message.miss is not None:
        text += f", flow_miss_config={message.miss}"
    if style.version >= 5:
        text += f", eviction={'on' if message.eviction else 'off'}, vacancy="
        text += f"on vacancy:{message.vacancy_down},{message.vacancy_up}" if message.vacancy else "off"
    return text


FUNCTIONS: dict[str, Callable[[Any, Style], str]] = {
    "TableMod": _table_mod,
    "TableStatus": _table_status,
    "TableFeaturesRequest": _request_features,
}
"""Class of a message: what prints it."""
REPLIES: dict[str, Callable[[Any, Style], str]] = {
    "table": _reply_stats,
    "table_features": _reply_features,
    "table_description": _reply_descriptions,
}
"""Kind of a reply: what prints its entries."""
