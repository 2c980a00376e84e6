"""Flow monitors: who is told of which changes of flows, and in which words.

A session that reads too slowly is paused: it is told of what it knew and what is gone, and once it has caught up, of
what was added and changed in the meantime. So what is kept for it is bounded by the number of flows.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from vswitch.messages.errors import OpenFlowError
from vswitch.messages.flows import ALL_TABLES, ANY_GROUP, ANY_PORT, FlowRemovedReason
from vswitch.messages.stats import FlowMonitorRequest, FlowMonitorUpdate
from vswitch.ofproto.rule import Rule
from vswitch.ofproto.session import MAX_MONITORS, Session
from vswitch.ofproto.tables import Change, FlowTables, outputs_to, points_to_group

__all__ = ["add_monitors", "cancel_monitor", "initial", "missed", "updates"]

_INITIAL, _ADD, _REMOVED, _MODIFY, _INSTRUCTIONS, _NO_ABBREVIATIONS, _ONLY_OWN = (1 << bit for bit in range(7))
_IN_FULL = _NO_ABBREVIATIONS | _ONLY_OWN
"""What the session itself has changed is told in full, too. OpenFlow 1.4 has a flag for changes of the session alone;
Open vSwitch takes it so, and ovs-ofctl sends it with that meaning."""
RESUMED_AT_ONCE = 128
"""Flows of which one who was paused is told in one part."""
_EVENTS = {"added": _ADD, "removed": _REMOVED, "modified": _MODIFY}


def add_monitors(
    session: Session, requests: Iterable[FlowMonitorRequest], tables: FlowTables
) -> list[FlowMonitorUpdate]:  # fmt: skip
    """Do these requests, all or none; what is told at once: each flow once. OpenFlowError: one of them is refused."""
    before = dict(session.monitors)
    try:
        added = [each for each in requests if _do(session, each, tables) and each.flags & _INITIAL]
    except OpenFlowError:
        session.monitors = before
        raise
    return initial(added, tables)


def _do(session: Session, request: FlowMonitorRequest, tables: FlowTables) -> bool:
    """Add, change or delete a monitor; whether there is one now. OpenFlowError: its number is taken, or unknown."""
    if request.command == 2:
        cancel_monitor(session, request.id)
        return False
    if request.command not in (0, 1):
        raise OpenFlowError("flow_monitor_failed.bad_command", f"flow monitor: unknown command {request.command}")
    if request.command == 0 and request.id in session.monitors:
        raise OpenFlowError("flow_monitor_failed.monitor_exists", f"there is a flow monitor {request.id} already")
    if request.command == 1 and request.id not in session.monitors:
        raise OpenFlowError("flow_monitor_failed.unknown_monitor", f"there is no flow monitor {request.id}")
    if request.table != ALL_TABLES and request.table >= len(tables):
        raise OpenFlowError("flow_monitor_failed.bad_table_id", f"table {request.table} exceeds the last table")
    if request.flags & ~0x7F or not request.flags & (_INITIAL | _ADD | _REMOVED | _MODIFY):
        raise OpenFlowError("flow_monitor_failed.bad_flags", f"flow monitor: flags {request.flags:#x}")
    if len(session.monitors) >= MAX_MONITORS and request.id not in session.monitors:
        text = f"the session has {MAX_MONITORS} flow monitors, as many as it may"
        raise OpenFlowError("flow_monitor_failed.unknown", text)
    session.monitors[request.id] = request
    return True


def cancel_monitor(session: Session, number: int) -> None:
    """No more of that monitor. OpenFlowError: there is none."""
    if session.monitors.pop(number, None) is None:
        raise OpenFlowError("flow_monitor_failed.unknown_monitor", f"there is no flow monitor {number}")


def initial(requests: Iterable[FlowMonitorRequest], tables: FlowTables) -> list[FlowMonitorUpdate]:
    """The flows that are there, each once, with actions if one of the monitors wants them."""
    flags: dict[Rule, int] = {}
    for request in requests:
        for rule in tables.matching(
            request.match, request.table, request.out_port, request.out_group, 0, 0
        ):  # fmt: skip
            flags[rule] = flags.get(rule, 0) | request.flags
    return [_update("initial", rule, bool(bits & _INSTRUCTIONS)) for rule, bits in flags.items()]


def updates(session: Session, changes: Iterable[Change], *, own: bool, xid: int) -> list[FlowMonitorUpdate]:
    """What a session is told of these changes. `own`: it has made them itself, by the message of this xid."""
    if not session.monitors:
        return []
    told: list[FlowMonitorUpdate] = []
    abbreviated = False
    for change in changes:
        event = change.kind
        before = change.actions if event == "modified" else change.rule.actions
        flags = 0
        for request in session.monitors.values():
            if request.flags & _EVENTS[event] and _watches(request, change.rule, before):
                flags |= request.flags
        if not flags:
            continue
        if own and not flags & _IN_FULL:
            abbreviated = True
        elif session.monitors_paused:
            told.extend(_while_paused(session, change, bool(flags & _INSTRUCTIONS)))
        else:
            told.append(_update(event, change.rule, bool(flags & _INSTRUCTIONS), change.reason))
    if abbreviated and not session.monitors_paused:
        told.append(FlowMonitorUpdate("abbreviated", xid))
    return told


def _while_paused(session: Session, change: Change, with_actions: bool) -> list[FlowMonitorUpdate]:
    """Only that what it knows is there no more; the rest is kept for later."""
    rule = change.rule
    if change.kind == "removed":
        if session.missed.pop(rule, "") == "added":
            return []
        return [_update("removed", rule, with_actions, change.reason)]
    if session.missed.get(rule) != "added":
        session.missed[rule] = change.kind
    return []


def missed(session: Session) -> list[FlowMonitorUpdate]:
    """It takes things again: some of what was added and changed while it was paused, which it still is."""
    told = []
    for rule in list(islice(session.missed, RESUMED_AT_ONCE)):
        event = session.missed.pop(rule)
        wanted = [each for each in session.monitors.values() if _watches(each, rule, rule.actions)]
        flags = 0
        for request in wanted:
            flags |= request.flags
        if flags & _EVENTS[event] and not rule.removed:
            told.append(_update(event, rule, bool(flags & _INSTRUCTIONS)))
    return told


def _watches(request: FlowMonitorRequest, rule: Rule, before: tuple[object, ...]) -> bool:
    if request.table not in (ALL_TABLES, rule.table) or not request.match.covers(rule.match):
        return False
    if request.out_port != ANY_PORT and not (
        outputs_to(rule.actions, request.out_port) or outputs_to(before, request.out_port)  # type: ignore[arg-type]
    ):
        return False
    return request.out_group == ANY_GROUP or points_to_group(rule.actions, request.out_group)


def _update(
    event: str, rule: Rule, with_actions: bool, reason: FlowRemovedReason | None = None
) -> FlowMonitorUpdate:  # fmt: skip
    return FlowMonitorUpdate(
        event, 0, rule.match, rule.actions if with_actions else (), rule.priority, rule.table, rule.cookie,
        rule.idle_timeout_s, rule.hard_timeout_s, int(reason or 0),
    )  # fmt: skip
