"""Flows, groups, meters and packets, in what changes them and in what tells of them, as ofp-print prints them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from vswitch.messages import flows, stats
from vswitch.messages.flows import ALL_TABLES, ANY_GROUP, ANY_PORT, NO_BUFFER, FlowFlags
from vswitch.text.flow import format_duration, format_flow, format_flow_mod
from vswitch.text.flow_actions_format import format_flow_actions
from vswitch.text.flow_groups import format_group, format_group_mod
from vswitch.text.flow_match import format_flow_match
from vswitch.text.flow_meters import format_meter_mod
from vswitch.text.openflow_words import Style, bit_names, hex_dump, port, table

__all__ = ["FUNCTIONS", "REPLIES"]

_MODIFIES = (flows.FlowCommand.MODIFY, flows.FlowCommand.MODIFY_STRICT)
_DEFAULT_PRIORITY = 0x8000
_REASONS = ("idle", "hard", "delete", "group_delete", "meter_delete", "eviction")
_PACKET_IN_REASONS = ("no_match", "action", "invalid_ttl", "action_set", "group", "packet_out")
_NO_COOKIE = (1 << 64) - 1
_MAC_FRAME_VERBOSITY, _BYTES_VERBOSITY = 1, 3


# ---- what changes flows


def _flow_mod(message: flows.FlowMod, style: Style) -> str:
    if not message.table:
        message = replace(message, table=None)
    if message.command is not flows.FlowCommand.ADD:
        message = replace(message, importance=0)
    if style.version < 3:  # where counters always begin anew, nobody says so
        message = replace(message, flags=message.flags & ~FlowFlags.RESET_COUNTS)
    if style.version < 3 and message.command in _MODIFIES and not message.cookie_mask:
        message = replace(message, new_cookie=message.cookie or None)
    return f" {format_flow_mod(message, style.ports, style.tables)}"


def _priority(priority: int) -> int | None:
    return None if priority == _DEFAULT_PRIORITY else priority


def _alternate(value: int) -> str:
    return f"{value:#x}" if value else "0"


def _flow_removed(message: flows.FlowRemoved, style: Style) -> str:
    match = format_flow_match(message.match, style.ports, priority=_priority(message.priority))
    reason = _REASONS[message.reason] if message.reason < len(_REASONS) else str(message.reason)
    words = [f" {match} reason={reason}"]
    if message.table != ALL_TABLES and style.version > 1:
        words.append(f"table_id={table(message.table, style.tables)}")
    if message.cookie:
        words.append(f"cookie:{message.cookie:#x}")
    words.append(f"duration{format_duration(message.duration_ns)} idle{message.idle_timeout_s}")
    if message.hard_timeout_s:
        words.append(f"hard{message.hard_timeout_s}")
    words.append(f"pkts{message.packets} bytes{message.bytes}")
    return " ".join(words)


# ---- packets


def _packet_in(message: flows.PacketIn, style: Style) -> str:
    words = [""]
    if message.table:
        words.append(f"table_id={table(message.table, style.tables)}")
    if message.cookie != _NO_COOKIE and (style.version > 1 or message.cookie):
        words.append(f"cookie={_hexadecimal(message.cookie)}")
    reason = _PACKET_IN_REASONS[message.reason] if message.reason < len(_PACKET_IN_REASONS) else ""
    words.append(f"total_len={message.total_length}")
    metadata = format_flow_match(message.metadata, style.ports)
    words.append(f"{metadata} (via {reason}) data_len={len(message.frame)}")
    if message.buffer_id == NO_BUFFER:
        words.append("(unbuffered)")
        if len(message.frame) != message.total_length:
            words.append("(***total_len != data_len***)")
    else:
        words.append(f"buffer=0x{message.buffer_id:08x}")
    text = " ".join(words)
    if message.userdata:
        text += f"\n userdata={'.'.join(f'{byte:02x}' for byte in message.userdata)}"
    return f"{text}\n{_frame(message.frame, style)}"


def _hexadecimal(value: int) -> str:
    return f"{value:#x}"


def _frame(frame: bytes, style: Style) -> str:
    if style.verbosity < _MAC_FRAME_VERBOSITY:
        return ""
    from vswitch.text.openflow_print_packet import format_frame

    text = f"{format_frame(frame)}\n"
    if style.verbosity >= _BYTES_VERBOSITY:
        text += "".join(f"{line[:58].rstrip()}\n" for line in hex_dump(frame).splitlines())
    return text


def _resume(message: flows.Resume, style: Style) -> str:
    return _packet_in(message.packet, style)


def _packet_out(message: flows.PacketOut, style: Style) -> str:
    metadata = format_flow_match(message.metadata, style.ports)
    actions = format_flow_actions(message.actions, style.ports, style.tables)
    text = f" {metadata} actions={actions}"
    if message.buffer_id != NO_BUFFER:
        return f"{text} buffer=0x{message.buffer_id:08x}"
    if not message.frame:
        return f"{text} data_len=0\n"
    return f"{text} data_len={len(message.frame)}\n{_frame(message.frame, style)}"


# ---- requests


def _flow_request(message: stats.FlowStatsRequest, style: Style) -> str:
    words = [""]
    if message.table != ALL_TABLES:
        words.append(f"table={table(message.table, style.tables)}")
    if message.out_port != ANY_PORT:
        words.append(f"out_port={port(message.out_port, style.ports)}")
    match = format_flow_match(message.match, style.ports)
    if match:
        words.append(match)
    return " ".join(words)


_MONITOR_FLAGS = {1: "initial", 2: "add", 4: "delete", 8: "modify", 16: "actions", 32: "own", 64: "own"}
_EVENTS = {"initial": "INITIAL", "added": "ADDED", "removed": "DELETED", "modified": "MODIFIED"}


def _monitor_request(message: stats.FlowMonitorRequest, style: Style) -> str:
    return "\n" + _one_monitor(message, style)


def _monitor_requests(message: Any, style: Style) -> str:
    return "".join("\n" + _one_monitor(each, style) for each in message.requests)


_MONITOR_DELETE = 2


def _one_monitor(message: stats.FlowMonitorRequest, style: Style) -> str:
    words = [f" id={message.id}"]
    if message.command == _MONITOR_DELETE:
        return f"{words[0]} command=delete"
    words.append(f"flags={bit_names(message.flags, _MONITOR_FLAGS, ',')}")
    if message.out_port != ANY_PORT:
        words.append(f"out_port={port(message.out_port, style.ports)}")
    if message.out_group not in (0, ANY_GROUP) and style.version >= 4:
        words.append(f"out_group={message.out_group}")
    if message.table != ALL_TABLES:
        words.append(f"table={table(message.table, style.tables)}")
    match = format_flow_match(message.match, style.ports)
    return " ".join(words) + (f" {match}" if match else "")


def _monitor_updates(entries: tuple[stats.FlowMonitorUpdate, ...], style: Style) -> str:
    return "".join(f"\n {_one_update(each, style)}" for each in entries)


def _one_update(each: stats.FlowMonitorUpdate, style: Style) -> str:
    if each.event in ("paused", "resumed"):
        return f"event={each.event.upper()}"
    if each.event == "abbreviated":
        return f"event=ABBREV xid={each.xid:#x}"
    words = [f"event={_EVENTS[each.event]}"]
    if each.event == "removed":
        words.append(f"reason={_REASONS[each.reason] if each.reason < len(_REASONS) else each.reason}")
    words.append(f"table={table(each.table, style.tables)}")
    if each.idle_timeout_s:
        words.append(f"idle_timeout={each.idle_timeout_s}")
    if each.hard_timeout_s:
        words.append(f"hard_timeout={each.hard_timeout_s}")
    words.append(f"cookie={_alternate(each.cookie)}")
    text = f"{' '.join(words)} {format_flow_match(each.match, style.ports)}"
    if each.actions:
        text = f"{text.rstrip(' ')} actions={format_flow_actions(each.actions, style.ports, style.tables)}"
    return text


# ---- groups and meters


def _group_mod(message: flows.GroupMod, style: Style) -> str:
    return f"\n {format_group_mod(message, style.ports, style.tables)}"


def _meter_mod(message: flows.MeterMod, _style: Style) -> str:
    if message.command is flows.MeterCommand.DELETE:
        message = replace(message, flags=0, bands=())
    return f" {format_meter_mod(message)}"


def _group_descriptions(entries: tuple[stats.GroupDescription, ...], style: Style) -> str:
    return "\n" + "".join(f" {format_group(each, style.ports, style.tables)}\n" for each in entries)


# ---- replies


def _flow_stats(entries: tuple[stats.FlowStats, ...], style: Style) -> str:
    return "".join(f"\n{format_flow(each, style.ports, style.tables)}" for each in entries)


FUNCTIONS: dict[str, Callable[[Any, Style], str]] = {
    "FlowMod": _flow_mod,
    "FlowRemoved": _flow_removed,
    "PacketIn": _packet_in,
    "PacketOut": _packet_out,
    "Resume": _resume,
    "GroupMod": _group_mod,
    "MeterMod": _meter_mod,
    "FlowStatsRequest": _flow_request,
    "FlowMonitorRequest": _monitor_request,
    "FlowMonitorRequests": _monitor_requests,
}
"""Class of a message: what prints it."""
REPLIES: dict[str, Callable[[Any, Style], str]] = {
    "flow": _flow_stats,
    "flow_description": _flow_stats,
    "group_description": _group_descriptions,
    "flow_monitor": _monitor_updates,
}
"""Kind of a reply: what prints its entries."""
