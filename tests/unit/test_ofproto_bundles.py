"""Bundles: all or nothing, in order, and invisible until the commit."""

from __future__ import annotations

from typing import Any

import pytest

from tests.ofproto import XID, Desk, flow, flows_of
from vswitch.messages.actions import Group, Output
from vswitch.messages.base import Message
from vswitch.messages.control import BundleAdd, BundleControl, BundleControlType, Error
from vswitch.messages.flows import FlowCommand, GroupCommand, GroupMod, MeterBand, MeterCommand, MeterMod, PacketOut
from vswitch.messages.match import FlowMatch
from vswitch.messages.ports import PortConfig, PortMod
from vswitch.messages.stats import FlowMonitorRequest, FlowStatsRequest
from vswitch.ofproto import bundle as bundles
from vswitch.ofproto.session import MAX_BUNDLES
from vswitch.openflow.codec import decode, encode

OPEN, CLOSE = BundleControlType.OPEN_REQUEST, BundleControlType.CLOSE_REQUEST
COMMIT, DISCARD = BundleControlType.COMMIT_REQUEST, BundleControlType.DISCARD_REQUEST
WEB = FlowMatch(eth_type=0x800, ip_proto=6, tcp_dst=80)
MAC = 0x020000000000


def control(kind: BundleControlType, number: int = 1, flags: int = 3) -> BundleControl:
    return BundleControl(number, kind, flags)


def put(desk: Desk, *messages: Message, number: int = 1, flags: int = 3) -> None:
    for index, message in enumerate(messages):
        desk.send(BundleAdd(number, flags, message, 100 + index), xid=100 + index)


def test_nothing_is_seen_before_the_commit_and_all_after_it() -> None:
    desk = Desk(5)
    assert desk.ask(control(OPEN)) == control(BundleControlType.OPEN_REPLY)
    put(desk, GroupMod(GroupCommand.ADD, 1), flow(WEB, (Group(1),)), flow(cookie=5))
    assert desk.rules() == []
    assert len(desk.switch.groups) == 0
    assert desk.ask(control(CLOSE)) == control(BundleControlType.CLOSE_REPLY)
    outcome = desk.do(control(COMMIT))
    assert outcome.replies == [(control(BundleControlType.COMMIT_REPLY), XID)]
    assert [change.kind for change in outcome.changes] == ["added", "added"]
    assert len(desk.rules()) == 2
    assert len(desk.switch.groups) == 1
    assert desk.refused(control(COMMIT)) == "bundle_failed.bad_id"


def test_the_error_names_the_message_that_was_refused() -> None:
    desk = Desk(5)
    desk.do(flow(cookie=1))
    put(desk, flow(WEB), flow(WEB, (Group(9),)), flow())
    outcome = desk.send(control(COMMIT))
    (first, first_xid), (second, second_xid) = outcome.replies
    assert isinstance(first, Error)
    assert isinstance(second, Error)
    assert (first.error, first_xid) == ("bad_action.bad_out_group", 101)
    assert (second.error, second_xid) == ("bundle_failed.msg_failed", XID)
    assert [rule.cookie for rule in desk.rules()] == [1]


def everything(desk: Desk) -> Any:
    switch = desk.switch
    return (
        flows_of(switch),
        {rule: (rule.packets, rule.bytes, rule.modified_ns, rule.removed, rule.uses) for rule in desk.rules()},
        [(group.description(), group.statistics(0), set(group.rules)) for group in switch.groups],
        [(meter.config(), meter.statistics(0), set(meter.rules)) for meter in switch.meters],
        list(switch.ports),
        [table.description() for table in switch.tables],
        switch.tables.flows,
        sorted(rule.deadline_ns for rule in desk.rules()),
    )


STEPS: list[Message] = [
    flow(cookie=9),
    flow(WEB, (Output(7),), FlowCommand.MODIFY, flags=4),
    flow(WEB, (Group(2),)),
    flow(command=FlowCommand.DELETE, table=255),
    GroupMod(GroupCommand.ADD, 3, buckets=()),
    GroupMod(GroupCommand.MODIFY, 1),
    GroupMod(GroupCommand.DELETE, 1),
    GroupMod(GroupCommand.DELETE, 0xFFFFFFFC),
    MeterMod(MeterCommand.ADD, 2, 1, (MeterBand(5),)),
    MeterMod(MeterCommand.MODIFY, 1, 2, (MeterBand(6),)),
    MeterMod(MeterCommand.DELETE, 1),
    PortMod(1, MAC + 1, PortConfig.NO_FLOOD, PortConfig.NO_FLOOD),
    PacketOut(b"", (Output(1),), FlowMatch(in_port=1)),
]


@pytest.mark.parametrize("step", STEPS, ids=lambda step: type(step).__name__)
@pytest.mark.parametrize(
    "again", [(), (GroupMod(GroupCommand.ADD_OR_MODIFY, 1), flow(WEB, (Group(1),), hard_timeout_s=5))]
)
def test_what_a_refused_bundle_has_done_is_undone(step: Message, again: tuple[Message, ...]) -> None:
    desk = Desk(5)
    desk.do(GroupMod(GroupCommand.ADD, 1))
    desk.do(GroupMod(GroupCommand.ADD, 2))
    desk.do(MeterMod(MeterCommand.ADD, 1, 1, (MeterBand(5),)))
    desk.do(flow(WEB, (Group(1), Group(2)), cookie=1, idle_timeout_s=5))
    desk.do(flow(cookie=2, flags=1))
    for rule in desk.rules():
        rule.credit(3, 300, desk.now_ns)
    before = everything(desk)
    desk.wait(1)
    put(desk, step, *again, flow(table=254))
    outcome = desk.send(control(COMMIT))
    assert [reply.error for reply, _ in outcome.replies] == [  # type: ignore[attr-defined]
        "flow_mod_failed.bad_table_id",
        "bundle_failed.msg_failed",
    ]
    assert everything(desk) == before
    assert [outcome.changes, outcome.events, outcome.packets, outcome.groups, outcome.ports] == [[]] * 5
    desk.wait(5)
    assert [change.rule.cookie for change in desk.switch.expire(desk.now_ns).changes] == [1]


REFUSED: list[tuple[list[Message], Message, str]] = [
    ([control(OPEN)], control(OPEN), "bundle_exist"),
    ([], control(CLOSE), "bad_id"),
    ([], control(DISCARD), "bad_id"),
    ([control(OPEN), control(CLOSE)], control(CLOSE), "bundle_closed"),
    ([control(OPEN), control(CLOSE)], BundleAdd(1, 3, flow(), XID), "bundle_closed"),
    ([control(OPEN)], control(CLOSE, flags=1), "bad_flags"),
    ([control(OPEN)], control(COMMIT, flags=1), "bad_flags"),
    ([control(OPEN)], BundleAdd(1, 2, flow(), XID), "bad_flags"),
    ([], control(OPEN, flags=4), "bad_flags"),
    ([], BundleAdd(1, 3, flow(), XID + 1), "msg_bad_xid"),
    ([], BundleAdd(1, 3, FlowStatsRequest(), XID), "msg_unsup"),
    ([], control(BundleControlType.OPEN_REPLY), "bad_type"),
]


@pytest.mark.parametrize(("before", "message", "error"), REFUSED)
def test_what_is_wrong_with_a_bundle_is_said(before: list[Message], message: Message, error: str) -> None:
    desk = Desk(5)
    for each in before:
        desk.do(each)
    assert desk.refused(message) == f"bundle_failed.{error}"


def test_a_bundle_that_is_discarded_does_nothing() -> None:
    desk = Desk(5)
    put(desk, flow())
    desk.do(control(DISCARD))
    assert desk.refused(control(COMMIT)) == "bundle_failed.bad_id"
    assert desk.rules() == []


def test_bundles_are_each_sessions_own_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(5)
    other = desk.join(5)
    for number in range(MAX_BUNDLES):
        desk.do(control(OPEN, number))
    assert desk.refused(control(OPEN, MAX_BUNDLES)) == "bundle_failed.out_of_bundles"
    assert desk.refused(control(COMMIT, 0), other) == "bundle_failed.bad_id"
    monkeypatch.setattr(bundles, "MAX_BUNDLE_MESSAGES", 2)
    put(desk, flow(), number=1)
    put(desk, flow(), number=2)
    assert desk.refused(BundleAdd(1, 3, flow(), XID)) == "bundle_failed.msg_too_many"
    desk.do(BundleAdd(1, 3, flow(), XID), other)  # one session leaves room for another
    assert desk.refused(BundleAdd(1, 3, flow(), XID), other) == "bundle_failed.msg_too_many"
    desk.switch.disconnect(desk.session)
    desk.do(BundleAdd(1, 3, flow(), XID), other)
    assert desk.refused(BundleAdd(1, 3, flow(), XID), other) == "bundle_failed.msg_too_many"


def test_bundles_of_large_messages_are_bounded_by_their_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(5)
    other = desk.join(5)
    large = flow(WEB, (Output(1),) * 4000)
    data = encode(BundleAdd(1, 3, large, XID), 5, XID)
    add, _ = decode(data)
    assert isinstance(add, BundleAdd)
    size = len(add.raw)
    assert size > 64_000
    monkeypatch.setattr(bundles, "MAX_BUNDLE_BYTES", 4 * size)
    for _ in range(4):
        desk.do(add)
    assert desk.refused(add) == "bundle_failed.msg_too_many"
    for _ in range(2):
        desk.do(add, other)
    assert desk.refused(add, other) == "bundle_failed.msg_too_many"
    desk.do(control(DISCARD))
    desk.do(add, other)
    desk.do(add)


def test_monitors_hear_of_a_bundle_once_it_is_done() -> None:
    desk = Desk(5)
    other = desk.join(5)
    desk.do(FlowMonitorRequest(1, 2 | 4 | 8), other)
    put(desk, flow(cookie=1), flow(WEB, cookie=2))
    ((session, reply, _),) = desk.do(control(COMMIT)).addressed
    assert session is other
    assert [(each.event, each.cookie) for each in reply.entries] == [("added", 1), ("added", 2)]  # type: ignore[attr-defined]
