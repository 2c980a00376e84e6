"""Requests for statistics and descriptions, and their replies, as ofp-print prints them."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from vswitch.messages import stats
from vswitch.text.flow import format_duration
from vswitch.text.flow_groups import format_group_stats
from vswitch.text.flow_meters import format_meter, format_meter_id, format_meter_stats
from vswitch.text.openflow_print import queue_line
from vswitch.text.openflow_print_ports import ACTIONS_1_0, format_ports
from vswitch.text.openflow_words import Style, bit_names, port

__all__ = ["ACTION_ROWS", "FUNCTIONS", "action_words"]

_ALL_QUEUES = 0xFFFFFFFF
_METER_BANDS = {1 << 1: "drop", 1 << 2: "dscp_remark"}
_METER_CAPABILITIES = {1: "kbps", 2: "pktps", 4: "burst", 8: "stats"}
_GROUP_TYPES = ("all", "select", "indirect", "fast failover")


# ---- requests


def _request(message: stats.StatsRequest, style: Style) -> str:
    kind, number = message.kind, message.number
    if kind == "port":
        return f" port_no={port(number, style.ports)}"
    if kind == "port_description":
        return f" port={port(number, style.ports)}"
    if kind in ("queue", "queue_description"):
        every = message.queue == _ALL_QUEUES
        if every and kind == "queue_description":
            return f" port={port(number, style.ports)}"
        return f" port={port(number, style.ports)} queue={'ALL' if every else message.queue}"
    if kind in ("group", "group_description"):
        return f" group_id={_group(number)}"
    if kind in ("meter", "meter_config"):
        return f" meter={format_meter_id(number)}"
    return ""


def _group(number: int) -> str:
    return "ALL" if number in (0xFFFFFFFC, 0xFFFFFFFF) else str(number)


# ---- replies


def _reply(message: stats.MultipartReply, style: Style) -> str:
    if message.kind in _ELSEWHERE:
        module = importlib.import_module(f"vswitch.text.openflow_print_{_ELSEWHERE[message.kind]}")
        function: Callable[[Any, Style], str] = module.REPLIES[message.kind]
        return function(message.entries, style)
    return _REPLIES[message.kind](message.entries, style)


def _description(entries: tuple[Any, ...], _style: Style) -> str:
    (found,) = entries
    return (
        f"\nManufacturer: {found.manufacturer}\nHardware: {found.hardware}\nSoftware: {found.software}\n"
        f"Serial Num: {found.serial}\nDP Description: {found.datapath}\n"
    )


def _aggregate(entries: tuple[stats.AggregateStats, ...], _style: Style) -> str:
    (found,) = entries
    return f" packet_count={found.packets} byte_count={found.bytes} flow_count={found.flows}"


def _counter(value: int | None) -> str:
    return "?" if value is None or value == (1 << 64) - 1 else str(value)


def _counters(each: Any, *counters: tuple[str, str]) -> str:
    return ", ".join(f"{word}={_counter(getattr(each, name))}" for word, name in counters)


def _ports(entries: tuple[stats.PortStats, ...], style: Style) -> str:
    lines = [f" {len(entries)} ports\n"]
    for each in entries:
        rx = _counters(
            each, ("pkts", "rx_packets"), ("bytes", "rx_bytes"), ("drop", "rx_dropped"), ("errs", "rx_errors"),
            ("frame", "rx_frame_errors"), ("over", "rx_over_errors"), ("crc", "rx_crc_errors"),
        )  # fmt: skip
        tx = _counters(
            each, ("pkts", "tx_packets"), ("bytes", "tx_bytes"), ("drop", "tx_dropped"), ("errs", "tx_errors"),
            ("coll", "collisions"),
        )  # fmt: skip
        lines.append(f"  port {port(each.port, style.ports):>2}: rx {rx}\n           tx {tx}\n")
        if style.version >= 4 and _known(each.duration_ns):
            lines.append(f"           duration={format_duration(each.duration_ns)}\n")
        if each.custom:
            lines.append(_custom(each.custom))
    return "".join(lines)


def _known(nanoseconds: int | None) -> bool:
    """All ones in the seconds is a duration that is not known."""
    return nanoseconds is not None and nanoseconds < 0xFFFFFFFF * 1_000_000_000


def _custom(counters: tuple[tuple[str, int], ...]) -> str:
    """Three to a line."""
    text = "           CUSTOM Statistics"
    for at, (name, value) in enumerate(counters):
        if not name:
            continue
        text += f"\n{'':22}" if at % 3 == 0 else " "
        text += f"{name}={value},"
    return text + "\n"


def _queues(entries: tuple[stats.QueueStats, ...], style: Style) -> str:
    lines = [f" {len(entries)} queues\n"]
    for each in entries:
        counters = _counters(each, ("bytes", "tx_bytes"), ("pkts", "tx_packets"), ("errors", "tx_errors"))
        age = format_duration(each.duration_ns) if style.version >= 4 and _known(each.duration_ns) else "?"
        queue = "ALL" if each.queue == _ALL_QUEUES else each.queue
        lines.append(f"  port {port(each.port, style.ports)} queue {queue}: {counters}, duration={age}\n")
    return "".join(lines)


def _queue_descriptions(entries: tuple[stats.QueueDescription, ...], style: Style) -> str:
    lines, last = [" "], 0
    for each in sorted(entries, key=lambda each: (each.port, each.queue)):
        if each.port != last:
            lines.append(f"port={port(each.port, style.ports)}\n")
            last = each.port
        lines.append(queue_line(each.queue, each.min_rate, each.max_rate))
    return "".join(lines)


def _port_descriptions(entries: tuple[Any, ...], style: Style) -> str:
    return "\n" + format_ports(entries, style)


# ---- groups


def _groups(entries: tuple[stats.GroupStats, ...], style: Style) -> str:
    return "\n" + "".join(
        f" {format_group_stats(each, duration=style.version not in (2, 3) and _known(each.duration_ns))}\n"
        for each in entries
    )


def _group_features(entries: tuple[stats.GroupFeatures, ...], style: Style) -> str:
    (found,) = entries
    lines = [f"\n Group table:\n    Types:  {found.types:#x}\n    Capabilities:  {found.capabilities:#x}\n"]
    for number, word in enumerate(_GROUP_TYPES):
        if found.types >> number & 1:
            lines.append(f"    {word} group:\n       max_groups={_alternate(found.max_groups[number])}\n")
            lines.append(f"       actions: {action_words(found.actions[number], style.version)}\n")
    return "".join(lines)


def _alternate(value: int) -> str:
    return f"{value:#x}" if value else "0"


_ACTIONS_1_1 = (
    (0, "output"), (22, "group"), (1, "set_vlan_vid"), (2, "set_vlan_pcp"), (18, "strip_vlan"), (17, "push_vlan"),
    (3, "mod_dl_src"), (4, "mod_dl_dst"), (5, "mod_nw_src"), (6, "mod_nw_dst"), (7, "mod_nw_tos"), (8, "mod_nw_ecn"),
    (23, "mod_nw_ttl"), (9, "mod_tp_src"), (10, "mod_tp_dst"), (24, "dec_ttl"), (13, "set_mpls_label"),
    (14, "set_mpls_tc"), (15, "set_mpls_ttl"), (16, "dec_mpls_ttl"), (19, "push_mpls"), (20, "pop_mpls"),
    (21, "set_queue"),
)  # fmt: skip
_ACTIONS_1_2 = (
    (0, "output"), (22, "group"), (25, "set_field"), (18, "strip_vlan"), (17, "push_vlan"), (23, "mod_nw_ttl"),
    (24, "dec_ttl"), (15, "set_mpls_ttl"), (16, "dec_mpls_ttl"), (19, "push_mpls"), (20, "pop_mpls"),
    (21, "set_queue"),
)  # fmt: skip
ACTION_ROWS = {1: ACTIONS_1_0, 2: _ACTIONS_1_1, 3: _ACTIONS_1_2}
"""Version, the last for all later ones: types of actions by number, in the order of print."""


def action_words(bits: int, version: int) -> str:
    """Types of actions that are bits, as each version numbers them."""
    return " ".join(word for number, word in ACTION_ROWS[min(version, 3)] if bits >> number & 1) or "<none>"


# ---- meters


def _meters(entries: tuple[stats.MeterStats, ...], _style: Style) -> str:
    return "".join(f"\n{format_meter_stats(each)}\n" for each in entries)


def _meter_configs(entries: tuple[stats.MeterConfig, ...], _style: Style) -> str:
    return "".join(f"\n{format_meter(each)}\n" for each in entries)


def _meter_features(entries: tuple[stats.MeterFeatures, ...], _style: Style) -> str:
    (found,) = entries
    return (
        f"\nmax_meter:{found.max_meters} max_bands:{found.max_bands} max_color:{found.max_colors}\n"
        f"band_types: {bit_names(found.band_types, _METER_BANDS)}\n"
        f"capabilities: {bit_names(found.capabilities, _METER_CAPABILITIES)}\n"
    )


_REPLIES: dict[str, Callable[[Any, Style], str]] = {
    "description": _description,
    "aggregate": _aggregate,
    "port": _ports,
    "queue": _queues,
    "queue_description": _queue_descriptions,
    "port_description": _port_descriptions,
    "group": _groups,
    "group_features": _group_features,
    "meter": _meters,
    "meter_config": _meter_configs,
    "meter_features": _meter_features,
}
_ELSEWHERE = {
    "flow": "flows", "flow_description": "flows", "group_description": "flows", "flow_monitor": "flows",
    "table": "tables", "table_features": "tables", "table_description": "tables",
}  # fmt: skip
"""Kind of a reply: the module `openflow_print_...` whose `REPLIES` prints it."""

FUNCTIONS: dict[str, Callable[[Any, Style], str]] = {"StatsRequest": _request, "MultipartReply": _reply}
"""Class of a message: what prints it."""
