"""Flow-mods: what they do to tables, and when flows go."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.ofproto import LEARN, TAUGHT_STEPS, Desk, flow, flows_of
from vswitch.messages.actions import Clone, Controller, FlowAction, Group, Output, WriteActions
from vswitch.messages.control import BundleAdd, BundleControl, BundleControlType
from vswitch.messages.flows import (
    ALL_TABLES,
    FlowCommand,
    FlowFlags,
    FlowRemoved,
    FlowRemovedReason,
    GroupCommand,
    GroupMod,
    TableMod,
)
from vswitch.messages.match import FlowMatch
from vswitch.messages.stats import FlowStatsRequest
from vswitch.ofproto.rule import NS_PER_S, Rule
from vswitch.ofproto.switch import Outcome
from vswitch.ofproto.tables import FlowTable
from vswitch.text.flow import parse_flow

ADD, MODIFY, MODIFY_STRICT = FlowCommand.ADD, FlowCommand.MODIFY, FlowCommand.MODIFY_STRICT
DELETE, DELETE_STRICT = FlowCommand.DELETE, FlowCommand.DELETE_STRICT
TCP = FlowMatch(eth_type=0x800, ip_proto=6)
WEB = FlowMatch(eth_type=0x800, ip_proto=6, tcp_dst=80)
UDP = FlowMatch(eth_type=0x800, ip_proto=17)
ARP = FlowMatch(eth_type=0x806)


def test_a_flow_is_told_as_it_was_added() -> None:
    desk = Desk()
    desk.do(flow(WEB, (Output(2),), table=3, priority=7, cookie=0x1234, idle_timeout_s=10, hard_timeout_s=20, flags=1,
                 importance=5))  # fmt: skip
    desk.wait(1.5)
    (told,) = desk.ask(FlowStatsRequest()).entries
    assert (told.match, told.actions, told.priority, told.table, told.cookie) == (WEB, (Output(2),), 7, 3, 0x1234)
    assert (told.idle_timeout_s, told.hard_timeout_s, told.flags, told.importance) == (10, 20, 1, 5)
    assert (told.duration_ns, told.idle_age_s, told.hard_age_s) == (1_500_000_000, 1, 1)


@pytest.mark.parametrize(
    ("version", "flags", "kept"),
    [(1, 0, False), (2, 0, False), (3, 0, True), (4, 0, True), (6, 0, True), (4, FlowFlags.RESET_COUNTS, False)],
)
def test_adding_the_same_again_replaces_it(version: int, flags: int, kept: bool) -> None:
    desk = Desk(version)
    desk.do(flow(WEB, cookie=1))
    old = desk.rule()
    old.credit(3, 300, desk.now_ns)
    desk.wait(5)
    (change,) = desk.do(flow(WEB, (Output(2),), cookie=2, flags=flags)).changes
    new = desk.rule()
    assert new is not old
    assert (change.kind, change.rule, change.replaces) == ("added", new, old)
    assert old.removed
    assert not new.removed
    assert (new.packets, new.bytes) == ((3, 300) if kept else (0, 0))
    assert (new.created_ns, new.cookie, new.actions) == (desk.now_ns, 2, (Output(2),))


def test_replacing_a_flow_sends_no_flow_removed() -> None:
    desk = Desk()
    desk.do(flow(WEB, flags=FlowFlags.SEND_FLOW_REM))
    assert desk.do(flow(WEB, flags=FlowFlags.SEND_FLOW_REM)).events == []


def test_another_priority_or_table_is_another_flow() -> None:
    desk = Desk()
    for priority in (1, 2):
        for table in (0, 9):
            desk.do(flow(WEB, priority=priority, table=table))
    assert len(desk.rules()) == 4
    assert desk.switch.tables.flows == 4


@pytest.mark.parametrize("command", [MODIFY, MODIFY_STRICT])
@pytest.mark.parametrize(("version", "adds"), [(1, True), (2, True), (3, False), (4, False), (5, False), (6, False)])
def test_a_modify_that_matches_nothing_adds_before_1_2(command: FlowCommand, version: int, adds: bool) -> None:
    desk = Desk(version)
    desk.do(flow(WEB, command=command))
    assert len(desk.rules()) == adds


def test_a_modify_by_cookie_that_matches_nothing_adds_nothing() -> None:
    desk = Desk(1)
    desk.do(flow(WEB, command=MODIFY, cookie=5, cookie_mask=0xFF))
    assert desk.rules() == []


@pytest.mark.parametrize("version", [1, 2, 4])
def test_modify_changes_actions_and_keeps_the_rest(version: int) -> None:
    desk = Desk(version)
    desk.do(flow(WEB, cookie=7, idle_timeout_s=60, hard_timeout_s=100, flags=1))
    rule = desk.rule()
    rule.credit(2, 200, desk.now_ns)
    desk.wait(4)
    (change,) = desk.do(flow(TCP, (Output(3),), MODIFY, cookie=9, idle_timeout_s=5)).changes
    assert desk.rule() is rule
    assert (change.kind, change.rule, change.actions) == ("modified", rule, (Output(1),))
    assert (rule.actions, rule.idle_timeout_s, rule.hard_timeout_s, rule.flags & 1) == ((Output(3),), 60, 100, 1)
    assert (rule.packets, rule.bytes, desk.now_ns - rule.created_ns) == (2, 200, 4 * NS_PER_S)
    assert rule.cookie == (9 if version == 1 else 7)


def test_a_modification_may_give_another_cookie() -> None:
    desk = Desk()
    desk.do(flow(WEB, cookie=7))
    desk.do(flow(WEB, command=MODIFY, cookie=7, cookie_mask=0xFF, new_cookie=9))
    assert desk.rule().cookie == 9


def test_a_modification_to_no_group_is_refused_where_it_would_change_something() -> None:
    desk = Desk()
    desk.do(flow(WEB, (Group(9),), MODIFY))  # changes nothing
    desk.do(flow(WEB))
    assert desk.refused(flow(WEB, (Group(9),), MODIFY)) == "bad_action.bad_out_group"


def test_all_tables_together_have_a_bound() -> None:
    desk = Desk()
    desk.switch.tables.max_all_flows = 3
    for table in range(3):
        desk.do(flow(table=table))
    assert desk.refused(flow(table=3)) == "flow_mod_failed.table_full"
    desk.do(flow(table=2, command=DELETE))
    desk.do(flow(table=3))


def test_modify_with_reset_counts_begins_anew() -> None:
    desk = Desk()
    desk.do(flow(WEB))
    desk.rule().credit(2, 200, desk.now_ns)
    desk.do(flow(WEB, command=MODIFY, flags=FlowFlags.RESET_COUNTS))
    assert (desk.rule().packets, desk.rule().bytes) == (0, 0)


LOOSE: list[tuple[dict[str, Any], set[str]]] = [
    ({}, {"tcp", "web", "web low", "udp", "arp"}),
    ({"match": TCP}, {"tcp", "web", "web low"}),
    ({"match": WEB}, {"web", "web low"}),
    ({"match": WEB, "priority": 1}, {"web", "web low"}),
    ({"table": 1}, {"arp"}),
    ({"table": 0}, {"tcp", "web", "web low", "udp"}),
    ({"cookie": 0x10, "cookie_mask": 0xF0}, {"tcp", "web"}),
    ({"cookie": 0x11, "cookie_mask": (1 << 64) - 1}, {"web"}),
    ({"out_port": 2}, {"udp", "arp"}),
    ({"out_port": 0xFFFFFFFD}, {"web low"}),
    ({"out_group": 5}, {"tcp"}),
    ({"out_group": 6}, set()),
    ({"match": FlowMatch(eth_type=0x86DD)}, set()),
]


def five() -> Desk:
    desk = Desk()
    desk.do(GroupMod(GroupCommand.ADD, 5))
    rows: list[tuple[FlowMatch, tuple[FlowAction, ...], dict[str, Any]]] = [
        (TCP, (Group(5),), {"cookie": 0x10}),
        (WEB, (Output(1),), {"cookie": 0x11}),
        (WEB, (Controller(),), {"priority": 1}),
        (UDP, (WriteActions((Output(2),)),), {}),
        (ARP, (Clone((Output(2),)),), {"table": 1}),
    ]
    for match, actions, more in rows:
        desk.do(flow(match, actions, **more))
    return desk


def names(desk: Desk) -> set[str]:
    known = {TCP: "tcp", WEB: "web", UDP: "udp", ARP: "arp"}
    return {known[rule.match] + (" low" if rule.priority == 1 else "") for rule in desk.rules()}


@pytest.mark.parametrize(("criteria", "chosen"), LOOSE)
def test_a_loose_delete_takes_just_these(criteria: dict[str, Any], chosen: set[str]) -> None:
    desk = five()
    everything = names(desk)
    told = desk.ask(FlowStatsRequest(**{name: value for name, value in criteria.items() if name != "priority"}))
    assert len(told.entries) == len(chosen)
    desk.do(flow(command=DELETE, **{"table": ALL_TABLES, **criteria}))
    assert names(desk) == everything - chosen


STRICT: list[tuple[dict[str, Any], set[str]]] = [
    ({}, set()),
    ({"match": WEB}, {"web"}),
    ({"match": WEB, "priority": 1}, {"web low"}),
    ({"match": WEB, "priority": 2}, set()),
    ({"match": ARP}, {"arp"}),
    ({"match": ARP, "table": 0}, set()),
    ({"match": WEB, "cookie": 0x10, "cookie_mask": 0xFF}, set()),
    ({"match": WEB, "cookie": 0x11, "cookie_mask": 0xFF}, {"web"}),
    ({"match": TCP, "out_port": 1}, set()),
]


@pytest.mark.parametrize(("criteria", "chosen"), STRICT)
def test_a_strict_delete_takes_one_flow_of_each_table(criteria: dict[str, Any], chosen: set[str]) -> None:
    desk = five()
    everything = names(desk)
    desk.do(flow(command=DELETE_STRICT, **{"table": ALL_TABLES, **criteria}))
    assert names(desk) == everything - chosen


def test_strict_modify_leaves_other_priorities() -> None:
    desk = five()
    desk.do(flow(WEB, (Output(3),), MODIFY_STRICT, priority=1))
    assert {rule.priority: rule.actions for rule in desk.rules() if rule.match == WEB} == {
        0x8000: (Output(1),),
        1: (Output(3),),
    }


@pytest.mark.parametrize(
    ("version", "mod", "error"),
    [
        (4, flow(table=254), "flow_mod_failed.bad_table_id"),
        (4, flow(table=ALL_TABLES), "flow_mod_failed.bad_table_id"),
        (4, flow(table=ALL_TABLES, command=MODIFY), "flow_mod_failed.bad_table_id"),
        (4, flow(table=254, command=DELETE), "flow_mod_failed.bad_table_id"),
        (4, flow(buffer_id=5), "bad_request.buffer_unknown"),
        (1, flow(flags=FlowFlags.EMERGENCY), "flow_mod_failed.table_full"),
        (4, flow(FlowMatch(ct_mark=1)), "bad_match.bad_field"),
        (4, flow(FlowMatch(ct_state=(0x20, 0x20))), "bad_match.bad_field"),
    ],
)
def test_what_no_table_can_do_is_refused(version: int, mod: Any, error: str) -> None:
    assert Desk(version).refused(mod) == error


@pytest.mark.parametrize("table", [None, ALL_TABLES])
def test_openflow_1_0_leaves_the_table_to_the_switch(table: int | None) -> None:
    desk = Desk(1)
    desk.do(flow(WEB, table=table))
    desk.do(flow(WEB, table=4))
    assert [rule.table for rule in desk.rules()] == [0, 4]
    desk.do(flow(WEB, (Output(2),), MODIFY, table=table))
    assert {rule.actions for rule in desk.rules()} == {(Output(2),)}
    desk.do(flow(command=DELETE, table=table))
    assert desk.rules() == []


@pytest.mark.parametrize(
    ("match", "priority", "refused"),
    [
        (TCP, 5, True),
        (FlowMatch(eth_type=0x800, ip_proto=6, tcp_src=9), 5, True),
        (FlowMatch(in_port=1), 5, True),
        (FlowMatch(eth_type=0x800, ip_proto=6, tcp_dst=81), 5, False),
        (TCP, 6, False),
        (UDP, 5, False),
        (WEB, 5, False),  # it is replaced
    ],
)
def test_check_overlap_finds_flows_with_packets_in_common(match: FlowMatch, priority: int, refused: bool) -> None:
    desk = Desk()
    desk.do(flow(WEB, priority=5))
    mod = flow(match, priority=priority, flags=FlowFlags.CHECK_OVERLAP)
    if refused:
        assert desk.refused(mod) == "flow_mod_failed.overlap"
    else:
        desk.do(mod)


# ---- flows go


def removed(outcome: Outcome) -> list[tuple[FlowRemovedReason, int]]:
    return [(each.message().reason, each.rule.cookie) for each in outcome.removed]


def test_flow_removed_tells_what_the_flow_was() -> None:
    desk = Desk()
    desk.do(flow(WEB, table=2, priority=9, cookie=3, idle_timeout_s=7, hard_timeout_s=8, flags=1))
    desk.rule().credit(5, 500, desk.now_ns)
    desk.wait(1.25)
    (told,) = desk.do(flow(command=DELETE, table=ALL_TABLES)).removed
    assert told.message() == FlowRemoved(WEB, 9, 2, 3, FlowRemovedReason.DELETE, 1_250_000_000, 7, 8, 5, 500)


def test_who_did_not_ask_for_it_gets_no_flow_removed() -> None:
    desk = Desk()
    desk.do(flow(WEB))
    outcome = desk.do(flow(command=DELETE))
    assert [change.kind for change in outcome.changes] == ["removed"]
    assert outcome.removed == []


def test_what_passed_last_counts_for_a_flow_that_is_gone_or_for_its_heir() -> None:
    desk = Desk()
    desk.do(flow(WEB, cookie=1))
    first = desk.rule()
    for cookie in (2, 3):
        desk.do(flow(WEB, cookie=cookie, flags=1))
    first.credit(3, 300, desk.now_ns)
    assert (desk.rule().cookie, desk.rule().packets, desk.rule().bytes) == (3, 3, 300)
    last = desk.rule()
    (gone,) = desk.do(flow(command=DELETE)).removed
    last.credit(1, 64, desk.now_ns)
    assert (gone.message().packets, gone.message().bytes) == (4, 364)


@pytest.mark.parametrize(("flags", "credited"), [(0, 2), (FlowFlags.RESET_COUNTS, 0)])
def test_a_flow_inherits_what_passes_the_one_that_it_replaced(flags: int, credited: int) -> None:
    desk = Desk(5)
    desk.do(flow(WEB))
    old = desk.rule()
    for xid, mod in enumerate((flow(WEB, cookie=1), flow(UDP, (Group(9),)))):
        desk.send(BundleAdd(1, 3, mod, xid), xid=xid)
    desk.send(BundleControl(1, BundleControlType.COMMIT_REQUEST, 3))
    old.credit(1, 64, desk.now_ns)
    assert (desk.rule(), old.packets) == (old, 1)  # it was refused
    desk.do(flow(WEB, flags=flags))
    old.credit(1, 64, desk.now_ns)
    assert desk.rule().packets == credited


def test_a_hard_timeout_ends_it_whatever_passes() -> None:
    desk = Desk()
    desk.do(flow(WEB, hard_timeout_s=10, flags=1))
    desk.wait(9.999)
    desk.rule().credit(1, 60, desk.now_ns)
    assert desk.switch.expire(desk.now_ns).changes == []
    desk.wait(0.001)
    assert removed(desk.switch.expire(desk.now_ns)) == [(FlowRemovedReason.HARD_TIMEOUT, 0)]
    assert desk.rules() == []


def test_an_idle_timeout_runs_from_the_last_packet() -> None:
    desk = Desk()
    desk.do(flow(WEB, idle_timeout_s=10, flags=1))
    desk.wait(8)
    desk.rule().credit(1, 60, desk.now_ns)
    desk.wait(8)
    assert desk.switch.expire(desk.now_ns).changes == []
    assert desk.rule().deadline_ns == desk.now_ns + 2 * NS_PER_S
    desk.wait(2)
    assert removed(desk.switch.expire(desk.now_ns)) == [(FlowRemovedReason.IDLE_TIMEOUT, 0)]


def test_of_many_flows_only_those_expire_whose_time_is_over() -> None:
    desk = Desk()
    for number in range(50):
        desk.do(flow(FlowMatch(in_port=number), cookie=number, hard_timeout_s=1 + number % 5, flags=1))
    desk.wait(2)
    gone = desk.switch.expire(desk.now_ns).removed
    assert sorted(each.rule.cookie for each in gone) == [n for n in range(50) if n % 5 < 2]
    assert len(desk.rules()) == 30


def test_a_flow_that_was_deleted_or_replaced_does_not_expire() -> None:
    desk = Desk()
    desk.do(flow(WEB, hard_timeout_s=1, flags=1))
    desk.do(flow(WEB, flags=1))
    desk.do(flow(TCP, hard_timeout_s=1, flags=1))
    desk.do(flow(TCP, command=DELETE_STRICT))
    desk.wait(100)
    assert desk.switch.expire(desk.now_ns).changes == []
    assert len(desk.rules()) == 1


def test_what_is_watched_does_not_grow_with_flows_that_are_gone() -> None:
    desk = Desk()
    for number in range(5000):
        desk.do(flow(FlowMatch(in_port=number), hard_timeout_s=60000))
        desk.do(flow(FlowMatch(in_port=number), command=DELETE_STRICT))
    assert len(desk.switch.tables._deadlines) <= 1024 + 2


def test_fin_timeout_makes_timeouts_shorter_and_never_longer() -> None:
    desk = Desk()
    desk.do(flow(WEB, idle_timeout_s=60))
    desk.switch.tables.reduce_timeouts(desk.rule(), 5, 10)
    assert (desk.rule().idle_timeout_s, desk.rule().hard_timeout_s) == (5, 10)
    desk.switch.tables.reduce_timeouts(desk.rule(), 50, 100)
    assert (desk.rule().idle_timeout_s, desk.rule().hard_timeout_s) == (5, 10)
    desk.wait(5)
    assert len(desk.switch.expire(desk.now_ns).changes) == 1


def test_fin_timeout_gives_a_timeout_to_a_flow_that_had_none() -> None:
    desk = Desk()
    desk.do(flow(WEB))
    desk.switch.tables.reduce_timeouts(desk.rule(), 5, 0)
    desk.wait(5)
    assert len(desk.switch.expire(desk.now_ns).changes) == 1


# ---- full tables


def test_a_full_table_refuses_and_counts() -> None:
    desk = Desk(max_flows=2)
    desk.do(flow(WEB))
    desk.do(flow(TCP))
    assert desk.refused(flow(UDP)) == "flow_mod_failed.table_full"
    assert desk.switch.tables[0].refused == 1
    desk.do(flow(TCP, (Output(2),)))  # replaces
    desk.do(flow(UDP, table=1))


def test_eviction_takes_the_least_important_that_would_go_first() -> None:
    desk = Desk(5, max_flows=3)
    desk.do(TableMod(0, eviction=True))
    desk.do(flow(WEB, cookie=1, importance=2, hard_timeout_s=5, flags=1))
    desk.do(flow(TCP, cookie=2, importance=1, hard_timeout_s=100, flags=1))
    desk.do(flow(UDP, cookie=3, importance=1, hard_timeout_s=50, flags=1))
    evicted = []
    for number in range(3):
        outcome = desk.do(flow(FlowMatch(in_port=number), importance=9))
        assert [change.kind for change in outcome.changes] == ["removed", "added"]
        evicted += removed(outcome)
    assert evicted == [
        (FlowRemovedReason.EVICTION, 3),
        (FlowRemovedReason.EVICTION, 2),
        (FlowRemovedReason.EVICTION, 1),
    ]
    assert desk.switch.tables[0].evicted == 3
    assert len(desk.rules()) == 3


def test_eviction_knows_flows_that_have_been_used_since() -> None:
    desk = Desk(5, max_flows=2)
    desk.do(TableMod(0, eviction=True))
    desk.do(flow(WEB, cookie=1, idle_timeout_s=10, flags=1))
    desk.do(flow(TCP, cookie=2, idle_timeout_s=11, flags=1))
    desk.do(flow(UDP, cookie=3, idle_timeout_s=5, flags=1))  # evicts 1
    next(rule for rule in desk.rules() if rule.cookie == 3).credit(1, 1, desk.now_ns + 8 * NS_PER_S)
    assert removed(desk.do(flow(ARP, cookie=4, idle_timeout_s=20))) == [(FlowRemovedReason.EVICTION, 2)]


def test_flows_without_a_timeout_are_not_evicted() -> None:
    desk = Desk(5, max_flows=2)
    desk.do(TableMod(0, eviction=True))
    desk.do(flow(WEB))
    desk.do(flow(TCP))
    assert desk.refused(flow(UDP)) == "flow_mod_failed.table_full"
    desk.switch.tables.reduce_timeouts(desk.rules()[0], 5, 0)
    desk.do(flow(UDP))


def test_vacancy_is_told_once_when_it_falls_and_once_when_it_rises() -> None:
    desk = Desk(5, max_flows=10)
    desk.do(TableMod(0, vacancy=True, vacancy_down=20, vacancy_up=50))
    told = []
    for number in range(10):
        told += [(number, event.reason) for event in desk.do(flow(FlowMatch(in_port=number))).events]  # type: ignore[attr-defined]
    for number in range(10):
        mod = flow(FlowMatch(in_port=number), command=DELETE)
        told += [(number, event.reason) for event in desk.do(mod).events]  # type: ignore[attr-defined]
    assert told == [(8, 3), (5, 4)]


@pytest.mark.parametrize(
    ("mod", "error"),
    [
        (TableMod(254, eviction=True), "table_mod_failed.bad_table"),
        (TableMod(0, vacancy=True, vacancy_down=60, vacancy_up=50), "bad_property.bad_value"),
        (TableMod(0, vacancy=True, vacancy_down=60, vacancy_up=101), "bad_property.bad_value"),
    ],
)
def test_tables_that_cannot_be_so_are_refused(mod: TableMod, error: str) -> None:
    assert Desk(5).refused(mod) == error


def test_a_table_mod_for_all_tables_is_for_each() -> None:
    desk = Desk(2)
    desk.do(TableMod(ALL_TABLES, miss="controller"))
    assert {table.miss for table in desk.switch.tables} == {"controller"}


# ---- learned flows


def test_a_learned_flow_is_added_then_kept_alive() -> None:
    desk = Desk()
    mod = flow(WEB, table=1, idle_timeout_s=10, hard_timeout_s=30)
    assert [each.kind for each in desk.switch.flow_mod(mod, desk.now_ns, learned=True).changes] == ["added"]
    rule = desk.rule()
    desk.wait(20)
    assert desk.switch.flow_mod(mod, desk.now_ns, learned=True).changes == []
    assert desk.rule() is rule
    assert rule.modified_ns == desk.now_ns
    changed = flow(WEB, (Output(2),), table=1, idle_timeout_s=10, hard_timeout_s=30)
    assert [each.kind for each in desk.switch.flow_mod(changed, desk.now_ns, learned=True).changes] == ["modified"]
    assert flows_of(desk.switch)[0][3] == (Output(2),)


@pytest.mark.parametrize("name", TAUGHT_STEPS)
def test_what_was_learned_goes_with_the_last_flow_that_taught_it(name: str) -> None:
    desk = Desk()
    steps, left = TAUGHT_STEPS[name]
    desk.write(steps)
    assert {(rule.table, rule.cookie) for rule in desk.rules()} == left


@pytest.mark.parametrize(("how", "reason"), [("group", 3), ("timeout", 1)])
def test_what_was_learned_goes_however_its_teacher_went(how: str, reason: int) -> None:
    desk = Desk()
    desk.do(GroupMod(GroupCommand.ADD, 1))
    desk.do(parse_flow(f"hard_timeout=5,send_flow_rem,actions=group:1,{LEARN}"))
    desk.do(parse_flow("table=5,cookie=7,send_flow_rem,actions=drop"))
    desk.wait(6)
    outcome = desk.do(GroupMod(GroupCommand.DELETE, 1)) if how == "group" else desk.switch.expire(desk.now_ns)
    assert [each.reason for each in outcome.removed] == [reason, 2]
    assert not desk.rules()


def test_what_was_learned_is_there_again_when_a_bundle_is_refused() -> None:
    desk = Desk(5)
    desk.do(parse_flow(f"actions={LEARN}"))
    desk.do(parse_flow("table=5,cookie=7,actions=drop"))
    before = flows_of(desk.switch)
    for xid, mod in enumerate((parse_flow("table=0", DELETE), flow(WEB, (Group(9),)))):
        desk.send(BundleAdd(1, 3, mod, xid), xid=xid)
    desk.send(BundleControl(1, BundleControlType.COMMIT_REQUEST, 3))
    assert flows_of(desk.switch) == before
    desk.do(parse_flow("table=0", DELETE))
    assert not desk.rules()


def test_flows_of_a_cookie_are_looked_for_among_all_of_them_once(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk()
    looked = []

    def look(table: FlowTable) -> Iterator[Rule]:
        looked.append(table)
        return iter(table.classifier)

    monkeypatch.setattr(FlowTable, "__iter__", look)
    table = desk.switch.tables[1]
    for number in range(20):
        mod = flow(FlowMatch(in_port=number), table=1, cookie=number % 2)
        assert table.may_learn(mod, 5) == (number < 10)
        if table.may_learn(mod, 5):
            desk.do(mod)
    assert looked == [table]
    desk.do(flow(FlowMatch(in_port=0), (), MODIFY_STRICT, table=1, new_cookie=9))
    assert [len(table.of_cookie(cookie)) for cookie in (0, 1, 9)] == [4, 5, 1]
    desk.do(flow(command=DELETE, table=1))
    assert [len(table.of_cookie(cookie)) for cookie in (0, 1, 9)] == [0, 0, 0]
    assert looked == [table]
