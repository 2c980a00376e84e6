"""Flow monitors: who is told of which changes, in which words."""

from __future__ import annotations

from typing import Any

import pytest

from tests.ofproto import XID, Desk, flow
from vswitch.messages.actions import Group, Output
from vswitch.messages.flows import FlowCommand, GroupCommand, GroupMod
from vswitch.messages.match import FlowMatch
from vswitch.messages.stats import (
    FlowMonitorCancel,
    FlowMonitorPause,
    FlowMonitorRequest,
    FlowMonitorRequests,
    FlowMonitorUpdate,
    MultipartReply,
)
from vswitch.ofproto.monitor import RESUMED_AT_ONCE
from vswitch.ofproto.session import MAX_MONITORS, Session
from vswitch.ofproto.switch import Outcome

INITIAL, ADD, REMOVED, MODIFY, INSTRUCTIONS, FULL, OWN = (1 << bit for bit in range(7))
ALL = ADD | REMOVED | MODIFY
TCP, UDP = FlowMatch(eth_type=0x800, ip_proto=6), FlowMatch(eth_type=0x800, ip_proto=17)
WEB = FlowMatch(eth_type=0x800, ip_proto=6, tcp_dst=80)


def caught_up(desk: Desk, watcher: Session) -> list[FlowMonitorUpdate]:
    found: list[FlowMonitorUpdate] = []
    while watcher.monitors_paused:
        found += told(desk.switch.resume_monitors(watcher), watcher)
    return found


def told(outcome: Outcome, session: Session) -> list[FlowMonitorUpdate]:
    found: list[FlowMonitorUpdate] = []
    for to, message, xid in outcome.addressed:
        assert xid == 0
        assert isinstance(message, MultipartReply)
        assert message.kind == "flow_monitor"
        if to is session:
            found += message.entries  # type: ignore[arg-type]
    return found


def watched(**request: Any) -> tuple[Desk, Session]:
    desk = Desk(5)
    watcher = desk.join(5)
    desk.do(GroupMod(GroupCommand.ADD, 5))
    desk.do(FlowMonitorRequest(1, **{"flags": ALL | INSTRUCTIONS, **request}), watcher)
    return desk, watcher


def test_the_flows_that_are_there_are_told_once_each() -> None:
    desk = Desk(5)
    desk.do(flow(WEB, (Output(2),), table=1, priority=3, cookie=4, idle_timeout_s=5, hard_timeout_s=6))
    desk.do(flow(UDP))
    reply = desk.ask(FlowMonitorRequest(1, INITIAL | INSTRUCTIONS, TCP))
    assert reply.entries == (FlowMonitorUpdate("initial", 0, WEB, (Output(2),), 3, 1, 4, 5, 6),)
    (without,) = desk.ask(FlowMonitorRequest(2, INITIAL, UDP)).entries
    assert without.actions == ()
    assert desk.ask(FlowMonitorRequest(3, ADD)).entries == ()


CHANGES: list[tuple[dict[str, Any], list[str]]] = [
    ({}, ["added", "modified", "added", "removed"]),
    ({"flags": ADD}, ["added", "added"]),
    ({"flags": REMOVED}, ["removed"]),
    ({"flags": MODIFY}, ["modified"]),
    ({"flags": ALL | OWN}, ["added", "modified", "added", "removed"]),  # as Open vSwitch takes it
    ({"match": TCP}, ["added", "modified", "added", "removed"]),
    ({"match": UDP}, []),
    ({"table": 0}, ["added", "modified", "added", "removed"]),
    ({"table": 1}, []),
    ({"out_port": 1}, ["added", "modified"]),
    ({"out_port": 2}, ["modified"]),
    ({"out_port": 3}, ["added", "removed"]),
    ({"out_group": 5}, []),
]


@pytest.mark.parametrize(("request_", "events"), CHANGES)
def test_changes_of_others_are_told_as_they_were_asked_for(request_: dict[str, Any], events: list[str]) -> None:
    desk, watcher = watched(**request_)
    found: list[FlowMonitorUpdate] = []
    for mod in (
        flow(WEB),
        flow(WEB, (Output(2),), FlowCommand.MODIFY),
        flow(WEB, (Output(3),)),
        flow(command=FlowCommand.DELETE),
    ):
        outcome = desk.do(mod)
        found += told(outcome, watcher)
        assert not told(outcome, desk.session)
    assert [each.event for each in found] == events
    assert all(bool(each.actions) == bool(request_.get("flags", INSTRUCTIONS) & INSTRUCTIONS) for each in found)


def test_a_removal_has_its_reason() -> None:
    desk, watcher = watched()
    desk.do(flow(WEB, hard_timeout_s=1))
    desk.wait(1)
    assert [each.reason for each in told(desk.switch.expire(desk.now_ns), watcher)] == [1]
    desk.do(flow(WEB, (Group(5),)))
    assert [each.reason for each in told(desk.do(GroupMod(GroupCommand.DELETE, 5)), watcher)] == [3]


@pytest.mark.parametrize(("flags", "event"), [(ALL, "abbreviated"), (ALL | FULL, "added"), (ALL | OWN, "added")])
def test_what_a_controller_did_itself_is_told_in_short(flags: int, event: str) -> None:
    desk, watcher = watched(flags=flags)
    outcome = desk.do(flow(WEB), watcher)
    assert [(each.event, each.xid) for each in told(outcome, watcher)] == [
        (event, XID if event == "abbreviated" else 0)
    ]


def test_who_is_slow_hears_of_the_rest_when_it_has_caught_up() -> None:
    desk, watcher = watched()
    desk.do(flow(WEB, cookie=1))
    desk.do(flow(UDP, cookie=2))
    assert [each.event for each in told(desk.switch.pause_monitors(watcher), watcher)] == ["paused"]
    assert desk.switch.pause_monitors(watcher).addressed == []
    assert told(desk.do(flow(TCP, cookie=3)), watcher) == []
    assert told(desk.do(flow(UDP, (Output(2),), FlowCommand.MODIFY)), watcher) == []
    assert told(desk.do(flow(FlowMatch(in_port=1), cookie=4)), watcher) == []
    gone = told(desk.do(flow(WEB, command=FlowCommand.DELETE_STRICT)), watcher)
    assert [(each.event, each.cookie) for each in gone] == [("removed", 1)]
    assert told(desk.do(flow(FlowMatch(in_port=1), command=FlowCommand.DELETE_STRICT)), watcher) == []  # it never knew
    found = caught_up(desk, watcher)
    assert [(each.event, each.cookie) for each in found] == [("added", 3), ("modified", 2), ("resumed", 0)]
    assert desk.switch.resume_monitors(watcher).addressed == []
    assert [each.event for each in told(desk.do(flow(WEB)), watcher)] == ["added"]


def test_who_has_missed_much_is_told_of_it_part_by_part_and_paused_until_the_last() -> None:
    desk, watcher = watched()
    desk.switch.pause_monitors(watcher)
    for port in range(1, RESUMED_AT_ONCE + 11):
        desk.do(flow(FlowMatch(in_port=port), cookie=port))
    first = told(desk.switch.resume_monitors(watcher), watcher)
    assert [each.cookie for each in first] == list(range(1, RESUMED_AT_ONCE + 1))
    gone = [
        desk.do(flow(FlowMatch(in_port=port), command=FlowCommand.DELETE_STRICT)) for port in (1, RESUMED_AT_ONCE + 1)
    ]
    assert [[each.event for each in told(outcome, watcher)] for outcome in gone] == [["removed"], []]
    desk.do(flow(FlowMatch(in_port=2), (Output(9),), FlowCommand.MODIFY))
    last = caught_up(desk, watcher)
    assert [each.event for each in last] == ["added"] * 9 + ["modified", "resumed"]


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (FlowMonitorRequest(1, ADD), "monitor_exists"),
        (FlowMonitorRequest(2, ADD, command=1), "unknown_monitor"),
        (FlowMonitorRequest(2, ADD, command=2), "unknown_monitor"),
        (FlowMonitorRequest(2, ADD, command=3), "bad_command"),
        (FlowMonitorRequest(2, INSTRUCTIONS), "bad_flags"),
        (FlowMonitorRequest(2, 1 << 7 | ADD), "bad_flags"),
        (FlowMonitorRequest(2, ADD, table=254), "bad_table_id"),
    ],
)
def test_monitors_that_cannot_be_are_refused(request_: FlowMonitorRequest, error: str) -> None:
    desk, watcher = watched()
    assert desk.refused(request_, watcher) == f"flow_monitor_failed.{error}"


def test_a_monitor_is_changed_and_cancelled() -> None:
    desk, watcher = watched()
    desk.do(FlowMonitorRequest(1, REMOVED, command=1), watcher)
    assert told(desk.do(flow(WEB)), watcher) == []
    desk.do(FlowMonitorCancel(1), watcher)
    assert desk.do(flow(WEB, command=FlowCommand.DELETE)).addressed == []


@pytest.mark.parametrize("version", [1, 4])
def test_older_versions_have_messages_for_pause_and_resume(version: int) -> None:
    desk, watcher = watched()
    watcher.version = version
    assert desk.switch.pause_monitors(watcher).addressed == [(watcher, FlowMonitorPause(True), 0)]
    assert desk.switch.resume_monitors(watcher).addressed == [(watcher, FlowMonitorPause(False), 0)]


def test_several_monitors_in_one_request_are_made_all_or_none() -> None:
    desk = Desk(5)
    desk.do(flow(WEB))
    fine = (FlowMonitorRequest(1, INITIAL), FlowMonitorRequest(2, INITIAL | INSTRUCTIONS, TCP))
    assert (
        desk.refused(FlowMonitorRequests((*fine, FlowMonitorRequest(1, ADD)))) == "flow_monitor_failed.monitor_exists"
    )
    assert desk.session.monitors == {}
    (update,) = desk.ask(FlowMonitorRequests(fine)).entries
    assert (update.match, update.actions) == (WEB, (Output(1),))
    assert set(desk.session.monitors) == {1, 2}
    assert desk.ask(FlowMonitorRequests(())).entries == ()


def test_monitors_have_a_bound() -> None:
    desk = Desk(5)
    for number in range(MAX_MONITORS):
        desk.session.monitors[number] = FlowMonitorRequest(number, ADD)
    assert desk.refused(FlowMonitorRequest(MAX_MONITORS, ADD)) == "flow_monitor_failed.unknown"
