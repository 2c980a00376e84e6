"""Answers of many entries, in parts: what is in them, and what becomes of flows that go meanwhile."""

from __future__ import annotations

import pytest

from vswitch.messages.actions import Output
from vswitch.messages.errors import OpenFlowError
from vswitch.messages.flows import ALL_GROUPS, Bucket, FlowCommand, FlowMod, GroupCommand, GroupMod, GroupType
from vswitch.messages.stats import FlowStats, FlowStatsRequest, StatsRequest
from vswitch.ofproto.statistics import PART_STEPS
from vswitch.ofproto.switch import Switch

VERSION = 4


def switch_of(flows: int, actions: int = 1) -> Switch:
    switch = Switch()
    for priority in range(flows):
        switch.flow_mod(FlowMod(FlowCommand.ADD, priority=priority, actions=(Output(1),) * actions), 0)
    return switch


@pytest.mark.parametrize(("flows", "actions"), [(0, 1), (1, 1), (PART_STEPS, 1), (PART_STEPS // 2, 1), (5, 1000)])
def test_parts_are_together_what_is_answered_in_one(flows: int, actions: int) -> None:
    switch = switch_of(flows, actions)
    parts = list(switch.statistics.parts(FlowStatsRequest(), VERSION, 0))
    entries = tuple(entry for part in parts for entry in part.entries)
    assert entries == switch.statistics.answer(FlowStatsRequest(), VERSION, 0).entries
    assert [part.more for part in parts] == [True] * (len(parts) - 1) + [False]
    for part in parts:
        steps = [1 + len(each.actions) for each in part.entries if isinstance(each, FlowStats)]
        assert sum(steps[:-1]) < PART_STEPS


def test_flows_that_are_gone_when_their_part_is_made_are_left_out() -> None:
    switch = switch_of(PART_STEPS)
    parts = switch.statistics.parts(FlowStatsRequest(), VERSION, 0)
    first = next(parts)
    switch.flow_mod(FlowMod(FlowCommand.DELETE), 0)
    assert first.more
    assert sum(len(part.entries) for part in parts) <= PART_STEPS // 2


def test_groups_with_many_buckets_are_fewer_in_a_part() -> None:
    switch = switch_of(0)
    for number in range(4):
        switch.groups.apply(GroupMod(GroupCommand.ADD, number, GroupType.ALL, (Bucket((Output(1),)),) * 300), 0)
    for kind, sizes in (("group_description", [2, 2]), ("group", [4])):
        parts = list(switch.statistics.parts(StatsRequest(kind, ALL_GROUPS), VERSION, 0))
        assert [len(part.entries) for part in parts] == sizes


def test_what_cannot_be_answered_is_refused_before_the_first_part() -> None:
    with pytest.raises(OpenFlowError, match="unknown kind"):
        switch_of(0).statistics.parts(StatsRequest("nonsense"), VERSION, 0)
