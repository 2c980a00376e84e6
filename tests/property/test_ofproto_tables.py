"""Random flow-mods on the tables and on a list of flows, which does what the specification says, word by word."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import Any

import pytest

from tests.ofproto import Desk
from vswitch.messages.actions import FlowAction, Group, Output, WriteActions
from vswitch.messages.control import BundleAdd, BundleControl, BundleControlType, Error
from vswitch.messages.flows import (
    ALL_TABLES,
    ANY_GROUP,
    ANY_PORT,
    FlowCommand,
    FlowFlags,
    FlowMod,
    GroupCommand,
    GroupMod,
)
from vswitch.messages.match import FlowMatch

MATCHES = (
    FlowMatch(),
    FlowMatch(in_port=1),
    FlowMatch(in_port=2),
    FlowMatch(in_port=1, eth_type=0x800),
    FlowMatch(eth_type=0x800),
    FlowMatch(ipv4_dst="10.0.0.0/8"),
    FlowMatch(ipv4_dst="10.1.0.0/16"),
    FlowMatch(ipv4_dst="10.1.2.3"),
    FlowMatch(ip_proto=6, ipv4_dst="10.1.2.3"),
    FlowMatch(eth_type=0x806),
    FlowMatch(metadata=(1, 1)),
)
ACTIONS: tuple[tuple[FlowAction, ...], ...] = (
    (),
    (Output(1),),
    (Output(2), Output(1)),
    (WriteActions((Output(3),)),),
    (Group(1),),
    (Group(2), Output(1)),
)


@dataclass(frozen=True)
class Flow:
    """A flow of the list. `born`: when it was created, `number` of the step."""

    table: int
    priority: int
    match: FlowMatch
    actions: tuple[FlowAction, ...]
    cookie: int
    idle: int
    packets: int
    born: int


def outputs(actions: tuple[FlowAction, ...]) -> set[int]:
    flat = [each for action in actions for each in (action.actions if isinstance(action, WriteActions) else (action,))]
    return {each.port for each in flat if isinstance(each, Output)}


def groups(actions: tuple[FlowAction, ...]) -> set[int]:
    return {each.id for each in actions if isinstance(each, Group)}


class Model:
    """Flows in a list; every search looks at all."""

    def __init__(self, version: int) -> None:
        self.version = version
        self.flows: list[Flow] = []

    def chosen(self, mod: FlowMod, *, strict: bool) -> list[Flow]:
        return [
            each
            for each in self.flows
            if mod.table in (ALL_TABLES, each.table)
            and ((each.match, each.priority) == (mod.match, mod.priority) if strict else mod.match.covers(each.match))
            and each.cookie & mod.cookie_mask == mod.cookie & mod.cookie_mask
            and (mod.out_port == ANY_PORT or mod.out_port in outputs(each.actions))
            and (mod.out_group == ANY_GROUP or mod.out_group in groups(each.actions))
        ]

    def apply(self, mod: FlowMod, step: int) -> str:
        command = mod.command
        if command == FlowCommand.ADD:
            return self.add(mod, step)
        found = self.chosen(mod, strict=command in (FlowCommand.MODIFY_STRICT, FlowCommand.DELETE_STRICT))
        if command in (FlowCommand.DELETE, FlowCommand.DELETE_STRICT):
            self.flows = [each for each in self.flows if each not in found]
            return ""
        if mod.table == ALL_TABLES:
            return "flow_mod_failed.bad_table_id"
        if not found and self.version < 3 and not mod.cookie_mask:
            return self.add(mod, step)
        for each in found:
            reset = mod.flags & FlowFlags.RESET_COUNTS
            self.flows[self.flows.index(each)] = replace(
                each, actions=mod.actions, packets=0 if reset else each.packets
            )  # fmt: skip
        return ""

    def add(self, mod: FlowMod, step: int) -> str:
        if mod.table == ALL_TABLES:
            return "flow_mod_failed.bad_table_id"
        same = self.chosen(replace(mod, cookie_mask=0, out_port=ANY_PORT, out_group=ANY_GROUP), strict=True)
        if mod.flags & FlowFlags.CHECK_OVERLAP and not same:
            for each in self.flows:
                if (each.table, each.priority) == (mod.table, mod.priority) and each.match.overlaps(mod.match):
                    return "flow_mod_failed.overlap"
        kept = same[0].packets if same and self.version >= 3 and not mod.flags & FlowFlags.RESET_COUNTS else 0
        self.flows = [each for each in self.flows if each not in same]
        assert mod.table is not None
        self.flows.append(
            Flow(mod.table, mod.priority, mod.match, mod.actions, mod.cookie, mod.idle_timeout_s, kept, step)
        )  # fmt: skip
        return ""


def draw(chance: random.Random, version: int) -> FlowMod:
    command = chance.choices(tuple(FlowCommand), (6, 2, 2, 1, 2))[0]
    by_cookie = command != FlowCommand.ADD and chance.random() < 0.3
    return FlowMod(
        command,
        chance.choice(MATCHES),
        chance.choice(ACTIONS),
        chance.choice((1, 2)),
        chance.choices((0, 1, ALL_TABLES), (5, 5, 1))[0],
        chance.randrange(4) if version > 1 or command == FlowCommand.ADD or by_cookie else (1 << 64) - 1,
        chance.choice((1, 2, 3)) if by_cookie else 0,
        chance.choice((0, 0, 10)),
        0,
        chance.choice((0, 0, 0, FlowFlags.CHECK_OVERLAP, FlowFlags.RESET_COUNTS)),
        out_port=chance.choice((1, 2)) if command >= FlowCommand.DELETE and chance.random() < 0.3 else ANY_PORT,
        out_group=1 if command >= FlowCommand.DELETE and chance.random() < 0.2 else ANY_GROUP,
    )


def shown(desk: Desk) -> set[tuple[Any, ...]]:
    return {
        (rule.table, rule.priority, rule.match, rule.actions, rule.cookie, rule.idle_timeout_s, rule.packets,
         rule.created_ns)
        for rule in desk.rules()
    }  # fmt: skip


def shown_of_model(model: Model) -> set[tuple[Any, ...]]:
    return {
        (each.table, each.priority, each.match, each.actions, each.cookie, each.idle, each.packets, each.born)
        for each in model.flows
    }


def with_groups(version: int) -> Desk:
    desk = Desk(version)
    for number in (1, 2):
        desk.do(GroupMod(GroupCommand.ADD, number))
    return desk


def check_links(desk: Desk) -> None:
    for group in desk.switch.groups:
        assert set(group.rules) == {rule for rule in desk.rules() if group.id in groups(rule.actions)}
    assert desk.switch.tables.flows == len(desk.rules())
    assert all(not rule.removed for rule in desk.rules())
    timed = {rule for rule in desk.rules() if rule.idle_timeout_s}
    watched = {rule for deadline, _, rule in desk.switch.tables._deadlines if deadline == rule.deadline_ns}
    assert timed <= watched


@pytest.mark.parametrize("version", [1, 2, 3, 4])
@pytest.mark.parametrize("seed", range(25))
def test_flow_mods_do_what_they_do_to_a_list(version: int, seed: int) -> None:
    chance = random.Random(seed)
    desk, model = with_groups(version), Model(version)
    for step in range(60):
        desk.now_ns = step
        mod = draw(chance, version)
        if version == 1 and mod.table == ALL_TABLES and mod.command < FlowCommand.DELETE:
            continue  # the switch's choice there
        replies = desk.send(mod).replies
        expected = model.apply(mod, step)
        assert [reply.error for reply, _ in replies if isinstance(reply, Error)] == [expected] * bool(expected)
        assert shown(desk) == shown_of_model(model)
        for rule in desk.rules():
            if chance.random() < 0.2:
                rule.credit(1, 1, 0)
                flow = next(
                    each for each in model.flows
                    if (each.table, each.priority, each.match) == (rule.table, rule.priority, rule.match)
                )  # fmt: skip
                model.flows[model.flows.index(flow)] = replace(flow, packets=flow.packets + 1)
    check_links(desk)


@pytest.mark.parametrize("seed", range(60))
def test_a_bundle_that_is_refused_leaves_no_trace_and_one_that_is_done_is_as_its_messages(seed: int) -> None:
    chance = random.Random(seed)
    desk, single = with_groups(4), with_groups(4)
    for step in range(8):
        desk.now_ns = single.now_ns = step
        before = shown(desk)
        messages: list[FlowMod | GroupMod] = []
        for _ in range(chance.randrange(1, 12)):
            if chance.random() < 0.2:
                command = chance.choice((GroupCommand.ADD_OR_MODIFY, GroupCommand.DELETE))
                messages.append(GroupMod(command, chance.choice((1, 2))))
            else:
                messages.append(draw(chance, 4))
        for index, message in enumerate(messages):
            desk.send(BundleAdd(1, 3, message, index), xid=index)
        outcome = desk.send(BundleControl(1, BundleControlType.COMMIT_REQUEST, 3))
        refused = [xid for reply, xid in outcome.replies if isinstance(reply, Error)]
        if refused:
            assert shown(desk) == before
            for message in messages[: refused[0]]:  # those before it are fine by themselves, it is not
                single_outcome = single.send(message)
                assert not single_outcome.replies
            assert single.send(messages[refused[0]]).replies
            break
        for message in messages:
            assert not single.send(message).replies
        assert shown(desk) == shown(single)
        check_links(desk)
    check_links(desk)
