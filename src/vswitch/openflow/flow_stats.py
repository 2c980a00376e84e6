"""Flows and what they have counted: requests that choose flows, and the entries of the answers, in each version.

A layout is a row, as in `vswitch.openflow.stats`; OpenFlow 1.0's flows can also be asked for and told of by Nicira's
messages, which know every field, cookies to choose by, and how long a flow has been idle. From OpenFlow 1.5 on the
counters are OXS fields, and flows are told of with actions ("flow_description") or without ("flow").
"""

from __future__ import annotations

from struct import Struct
from typing import Any

from vswitch.messages.flows import ANY_GROUP
from vswitch.messages.stats import FlowStats, FlowStatsRequest
from vswitch.openflow.flow_parts import actions_bytes
from vswitch.openflow.instructions import decode_flow_actions
from vswitch.openflow.matches import decode_match, decode_nxm, encode_match, encode_nxm
from vswitch.openflow.oxs import decode_oxs, encode_oxs
from vswitch.openflow.records import bad_length, port_from_wire, port_to_wire, seconds, sized_records, to_ns, unsaid
from vswitch.openflow.stats import Records, row

__all__ = [
    "FLOWS",
    "FLOWS_WITHOUT_ACTIONS",
    "NICIRA_FLOWS",
    "decode_nicira_request",
    "decode_request",
    "encode_nicira_request",
    "encode_request",
]

# ---- requests

_REQUEST_TAIL_10 = Struct("!BxH")
_REQUEST = Struct("!B3xII4xQQ")
_NICIRA_REQUEST = Struct("!HHB3x")


def encode_request(message: FlowStatsRequest, version: int) -> bytes:
    """Which flows, as the version has it. OpenFlowError: OpenFlow 1.0 chooses neither by cookie nor by group."""
    if version > 1:
        head = _REQUEST.pack(message.table, message.out_port, message.out_group, message.cookie, message.cookie_mask)
        return head + encode_match(message.match, version)
    if message.cookie_mask or message.out_group != ANY_GROUP:
        raise unsaid(version, "chooses flows neither by cookie (Nicira's message does) nor by group")
    return encode_match(message.match, version) + _REQUEST_TAIL_10.pack(
        message.table, port_to_wire(message.out_port, 1)
    )


def decode_request(data: bytes, version: int, kind: str) -> FlowStatsRequest:
    """Of such a body. OpenFlowError: lengths do not fit, bad_match.*."""
    what = f"request for {kind} statistics"
    if version == 1:
        match, after = decode_match(data, 0, version)
        if len(data) - after != _REQUEST_TAIL_10.size:
            raise bad_length(what, len(data), after + _REQUEST_TAIL_10.size)
        table, out_port = _REQUEST_TAIL_10.unpack_from(data, after)
        return FlowStatsRequest(kind, match, table, port_from_wire(out_port, version))
    if len(data) < _REQUEST.size:
        raise bad_length(what, len(data), f"at least {_REQUEST.size}")
    table, out_port, out_group, cookie, cookie_mask = _REQUEST.unpack_from(data)
    match, after = decode_match(data, _REQUEST.size, version)
    if after != len(data):
        raise bad_length(what, len(data), after)
    return FlowStatsRequest(kind, match, table, out_port, out_group, cookie, cookie_mask)


def encode_nicira_request(message: FlowStatsRequest, version: int) -> bytes:
    """Which flows, in Nicira's message. OpenFlowError: it does not choose by group."""
    if message.out_group != ANY_GROUP:
        raise unsaid(version, "does not choose flows by group in Nicira's message")
    fields, length = encode_nxm(message.match, message.cookie, message.cookie_mask, version)
    return _NICIRA_REQUEST.pack(port_to_wire(message.out_port, 1), length, message.table) + fields


def decode_nicira_request(data: bytes, _version: int, kind: str) -> FlowStatsRequest:
    """Of such a body. OpenFlowError: lengths do not fit, bad_match.*."""
    what = f"request for {kind} statistics"
    if len(data) < _NICIRA_REQUEST.size:
        raise bad_length(what, len(data), f"at least {_NICIRA_REQUEST.size}")
    out_port, length, table = _NICIRA_REQUEST.unpack_from(data)
    match, cookie, cookie_mask, after = decode_nxm(data, _NICIRA_REQUEST.size, length)
    if after != len(data):
        raise bad_length(what, len(data), after)
    return FlowStatsRequest(
        kind, match, table, port_from_wire(out_port, 1), ANY_GROUP, cookie, cookie_mask, nicira=True
    )


# ---- answers

_FLOW_10_HEAD, _FLOW_10_TAIL = Struct("!HBx"), Struct("!IIHHH6xQQQ")
_FLOW = {2: Struct("!HBxIIHHH6xQQQ"), 4: Struct("!HBxIIHHHH4xQQQ"), 5: Struct("!HBxIIHHHHH2xQQQ")}
_FLOW_15 = Struct("!H2xBxHHHHHQ")
_BARE_15 = Struct("!H2xBBH")
_NICIRA_FLOW = Struct("!HBxIIHHHHHHQQQ")

_MAX_AGE = 0xFFFF
_SECOND = 1_000_000_000


def _encode_flow(entry: FlowStats, version: int) -> bytes:  # hot: once per flow of a dump
    match, actions = encode_match(entry.match, version), actions_bytes(entry.actions, version, entry.match)
    if version >= 6:
        idle_ns = None if entry.idle_age_s is None else entry.idle_age_s * _SECOND
        counters = encode_oxs(duration_ns=entry.duration_ns, idle_ns=idle_ns, packets=entry.packets, bytes=entry.bytes)
        return (
            _FLOW_15.pack(
                _FLOW_15.size + len(match) + len(counters) + len(actions), entry.table, entry.priority,
                entry.idle_timeout_s, entry.hard_timeout_s, entry.flags & 0xFFFF, entry.importance, entry.cookie,
            )
            + match + counters + actions
        )  # fmt: skip
    whole, rest = seconds(entry.duration_ns)
    times = (entry.priority, entry.idle_timeout_s, entry.hard_timeout_s)
    counted = (entry.cookie, entry.packets, entry.bytes)
    if version == 1:
        length = _FLOW_10_HEAD.size + len(match) + _FLOW_10_TAIL.size + len(actions)
        tail = _FLOW_10_TAIL.pack(whole, rest, *times, *counted)
        return _FLOW_10_HEAD.pack(length, entry.table) + match + tail + actions
    extra: tuple[int, ...] = ()
    if version >= 4:
        extra = (entry.flags & 0xFFFF,) if version == 4 else (entry.flags & 0xFFFF, entry.importance)
    layout = row(_FLOW, version)
    length = layout.size + len(match) + len(actions)
    return layout.pack(length, entry.table, whole, rest, *times, *extra, *counted) + match + actions


def _decode_flows(data: bytes, version: int) -> tuple[object, ...]:
    if version == 1:
        return tuple(_flow_of_10(*record) for record in sized_records(_FLOW_10_HEAD, data, "flow statistics"))
    if version >= 6:
        return tuple(_flow_of_15(*record) for record in sized_records(_FLOW_15, data, "flow description"))
    found = []
    for fields, rest in sized_records(row(_FLOW, version), data, "flow statistics"):
        _, table, whole, part, priority, idle, hard, *extra, cookie, packets, octets = fields
        flags, importance = (*extra, 0, 0)[:2]
        match, after = decode_match(rest, 0, version)
        found.append(
            FlowStats(
                match, decode_flow_actions(rest[after:], version), priority, table, cookie, to_ns(whole, part), packets,
                octets, idle, hard, flags, importance,
            )
        )  # fmt: skip
    return tuple(found)


def _flow_of_10(fields: tuple[Any, ...], rest: bytes) -> FlowStats:
    match, after = decode_match(rest, 0, 1)
    if len(rest) - after < _FLOW_10_TAIL.size:
        raise bad_length("flow statistics", len(rest), f"at least {after + _FLOW_10_TAIL.size}")
    whole, part, priority, idle, hard, cookie, packets, octets = _FLOW_10_TAIL.unpack_from(rest, after)
    actions = decode_flow_actions(rest[after + _FLOW_10_TAIL.size :], 1)
    return FlowStats(match, actions, priority, fields[1], cookie, to_ns(whole, part), packets, octets, idle, hard)


def _flow_of_15(fields: tuple[Any, ...], rest: bytes) -> FlowStats:
    _, table, priority, idle, hard, flags, importance, cookie = fields
    match, after = decode_match(rest, 0, 6)
    values, after = decode_oxs(rest, after, "flow description")
    idle_ns = values.get("idle_ns")
    return FlowStats(
        match, decode_flow_actions(rest[after:], 6), priority, table, cookie, values.get("duration_ns", 0),
        values.get("packets", 0), values.get("bytes", 0), idle, hard, flags, importance,
        None if idle_ns is None else idle_ns // _SECOND,
    )  # fmt: skip


FLOWS = Records(_encode_flow, _decode_flows)
"""The entries of "flow" replies; in OpenFlow 1.5 of "flow_description"."""


def _encode_bare(entry: FlowStats, version: int) -> bytes:
    idle_ns = None if entry.idle_age_s is None else entry.idle_age_s * _SECOND
    counters = encode_oxs(duration_ns=entry.duration_ns, idle_ns=idle_ns, packets=entry.packets, bytes=entry.bytes)
    match = encode_match(entry.match, version)
    length = _BARE_15.size + len(match) + len(counters)
    return _BARE_15.pack(length, entry.table, 0, entry.priority) + match + counters


def _decode_bare(data: bytes, version: int) -> tuple[object, ...]:
    found = []
    for (_, table, _, priority), rest in sized_records(_BARE_15, data, "flow statistics"):
        match, after = decode_match(rest, 0, version)
        values, end = decode_oxs(rest, after, "flow statistics")
        if end != len(rest):
            raise bad_length("flow statistics", len(rest), end)
        idle_ns = values.get("idle_ns")
        found.append(
            FlowStats(
                match, (), priority, table, 0, values.get("duration_ns", 0), values.get("packets", 0),
                values.get("bytes", 0), idle_age_s=None if idle_ns is None else idle_ns // _SECOND,
            )
        )  # fmt: skip
    return tuple(found)


FLOWS_WITHOUT_ACTIONS = Records(_encode_bare, _decode_bare)
"""The entries of "flow" replies in OpenFlow 1.5: match, priority, table, counters."""


def _encode_age(age_s: int | None) -> int:
    return 0 if age_s is None else min(age_s + 1, _MAX_AGE)


def _decode_age(age: int) -> int | None:
    return age - 1 if age else None


def _encode_nicira_flow(entry: FlowStats, version: int) -> bytes:  # hot: once per flow of a dump
    fields, length = encode_nxm(entry.match, version=version)
    actions = actions_bytes(entry.actions, version, entry.match)
    whole, rest = seconds(entry.duration_ns)
    return (
        _NICIRA_FLOW.pack(
            _NICIRA_FLOW.size + len(fields) + len(actions), entry.table, whole, rest, entry.priority,
            entry.idle_timeout_s, entry.hard_timeout_s, length, _encode_age(entry.idle_age_s),
            _encode_age(entry.hard_age_s), entry.cookie, entry.packets, entry.bytes,
        )
        + fields + actions
    )  # fmt: skip


def _decode_nicira_flows(data: bytes, version: int) -> tuple[object, ...]:
    found = []
    for fields, rest in sized_records(_NICIRA_FLOW, data, "flow statistics"):
        _, table, whole, part, priority, idle, hard, length, idle_age, hard_age, cookie, packets, octets = fields
        match, _, cookie_mask, after = decode_nxm(rest, 0, length)
        if cookie_mask:
            raise bad_length("flow statistics", length, "a match without a cookie in it", "bad_match.bad_field")
        found.append(
            FlowStats(
                match, decode_flow_actions(rest[after:], version), priority, table, cookie, to_ns(whole, part), packets,
                octets, idle, hard, idle_age_s=_decode_age(idle_age), hard_age_s=_decode_age(hard_age),
            )
        )  # fmt: skip
    return tuple(found)


NICIRA_FLOWS = Records(_encode_nicira_flow, _decode_nicira_flows)
"""The entries of NXST_FLOW replies."""
