"""Groups and meters: what may be configured, who uses it, and what goes with it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.ofproto import Desk, flow
from vswitch.messages.actions import Controller, FlowAction, Group, Meter, Output, WriteActions
from vswitch.messages.flows import (
    ALL_GROUPS,
    ANY_GROUP,
    ANY_PORT,
    Bucket,
    FlowCommand,
    FlowRemovedReason,
    GroupCommand,
    GroupMod,
    GroupType,
    MeterBand,
    MeterCommand,
    MeterMod,
)
from vswitch.messages.match import FlowMatch
from vswitch.messages.stats import StatsRequest
from vswitch.ofproto.meters import ALL_METERS, CONTROLLER_METER, SLOW_PATH_METER

FIRST, LAST, ALL = 0xFFFFFFFD, 0xFFFFFFFE, 0xFFFFFFFF
ONE, TWO = Bucket((Output(1),)), Bucket((Output(2),))
UDP = FlowMatch(eth_type=0x800, ip_proto=17)


def add(number: int, *buckets: Bucket, kind: GroupType = GroupType.ALL, **more: Any) -> GroupMod:
    return GroupMod(GroupCommand.ADD, number, kind, buckets, **more)


def to(number: int) -> Bucket:
    return Bucket((Group(number),))


def numbered(desk: Desk, number: int) -> list[tuple[int | None, tuple[FlowAction, ...]]]:
    group = desk.switch.groups.get(number)
    assert group is not None
    assert len(group.bucket_counts) == len(group.buckets)
    return [(bucket.id, bucket.actions) for bucket in group.buckets]


REFUSED: list[tuple[GroupMod, str]] = [
    (add(1), "group_mod_failed.group_exists"),
    (add(0xFFFFFF01), "group_mod_failed.invalid_group"),
    (GroupMod(GroupCommand.MODIFY, 9), "group_mod_failed.unknown_group"),
    (GroupMod(GroupCommand.INSERT_BUCKET, 9, bucket_id=FIRST), "group_mod_failed.unknown_group"),
    (GroupMod(GroupCommand.REMOVE_BUCKET, 9, bucket_id=FIRST), "group_mod_failed.unknown_group"),
    (GroupMod(GroupCommand.INSERT_BUCKET, 1, bucket_id=5), "group_mod_failed.unknown_bucket"),
    (GroupMod(GroupCommand.REMOVE_BUCKET, 1, bucket_id=5), "group_mod_failed.unknown_bucket"),
    (GroupMod(GroupCommand.INSERT_BUCKET, 1, buckets=(Bucket((), id=0),), bucket_id=LAST),
     "group_mod_failed.bucket_exists"),
    (add(5, kind=GroupType.INDIRECT), "group_mod_failed.invalid_group"),
    (add(5, ONE, TWO, kind=GroupType.INDIRECT), "group_mod_failed.invalid_group"),
    (add(5, ONE, kind=GroupType.FAST_FAILOVER), "group_mod_failed.invalid_group"),
    (add(5, Bucket((), weight=3)), "group_mod_failed.invalid_group"),
    (add(5, Bucket((), id=3), Bucket((), id=3)), "group_mod_failed.bucket_exists"),
    (add(5, Bucket((), id=0xFFFFFF01)), "group_mod_failed.bad_bucket"),
    (add(5, selection="hash"), "group_mod_failed.bad_type"),
    (add(5, kind=GroupType.SELECT, selection="magic"), "group_mod_failed.bad_type"),
    (add(5, *[ONE] * 2049), "group_mod_failed.out_of_buckets"),
    (add(5, to(77)), "bad_action.bad_out_group"),
    (add(5, to(5)), "group_mod_failed.loop"),
    (GroupMod(GroupCommand.MODIFY, 1, buckets=(to(3),)), "group_mod_failed.loop"),
    (GroupMod(GroupCommand.INSERT_BUCKET, 1, buckets=(to(3),), bucket_id=LAST), "group_mod_failed.loop"),
    (GroupMod(GroupCommand.MODIFY, 1, GroupType.FAST_FAILOVER, (Bucket((), watch_group=3),)), "group_mod_failed.loop"),
    (GroupMod(GroupCommand.DELETE, 1), "group_mod_failed.chained_group"),
]  # fmt: skip


@pytest.mark.parametrize(("mod", "error"), REFUSED)
def test_what_no_group_can_be_is_refused(mod: GroupMod, error: str) -> None:
    desk = Desk(6)
    desk.do(add(1, ONE))
    desk.do(add(2, to(1)))
    desk.do(add(3, Bucket((WriteActions((Group(2),)),))))
    before = [group.description() for group in desk.switch.groups]
    assert desk.refused(mod) == error
    assert [group.description() for group in desk.switch.groups] == before


def test_a_group_is_told_as_it_was_added() -> None:
    desk = Desk()
    desk.do(add(4, ONE, TWO, kind=GroupType.SELECT, selection="hash", fields=(("ipv4_dst", 0xFF),)))
    group = desk.switch.groups.get(4)
    assert group is not None
    group.credit(3, 300)
    group.credit_bucket(1, 2, 200)
    group.credit_bucket(7, 2, 200)  # is there no more
    desk.do(flow(actions=(Group(4),)))
    desk.do(add(5, to(4)))
    desk.wait(2)
    (told, _) = desk.ask(StatsRequest("group", ALL_GROUPS)).entries
    assert (told.id, told.references, told.packets, told.bytes, told.duration_ns) == (4, 2, 3, 300, 2_000_000_000)
    assert [(each.packets, each.bytes) for each in told.buckets] == [(0, 0), (2, 200)]
    described = desk.ask(StatsRequest("group_description")).entries[0]
    assert (described.type, described.selection, described.fields) == (GroupType.SELECT, "hash", (("ipv4_dst", 0xFF),))
    assert [bucket.id for bucket in described.buckets] == [0, 1]


@pytest.mark.parametrize(
    ("version", "number", "told"), [(4, 1, [1, 2]), (6, 1, [1]), (6, ALL_GROUPS, [1, 2]), (6, 9, [])]
)
def test_one_group_can_be_described_from_1_5_on(version: int, number: int, told: list[int]) -> None:
    desk = Desk(version)
    desk.do(add(1))
    desk.do(add(2))
    assert [each.id for each in desk.ask(StatsRequest("group_description", number)).entries] == told


def test_a_group_that_is_modified_keeps_its_flows_and_counts_buckets_anew() -> None:
    desk = Desk()
    desk.do(add(1, ONE, TWO))
    desk.do(flow(actions=(Group(1),)))
    group = desk.switch.groups.get(1)
    assert group is not None
    group.credit_bucket(0, 1, 60)
    (change,) = desk.do(GroupMod(GroupCommand.MODIFY, 1, GroupType.SELECT, (TWO,))).groups
    assert (change.kind, change.group) == ("modified", group)
    assert (group.type, numbered(desk, 1), group.bucket_counts) == (GroupType.SELECT, [(0, (Output(2),))], [[0, 0]])
    assert len(group.rules) == 1


def test_add_or_modify_does_either() -> None:
    desk = Desk()
    for bucket in (ONE, TWO):
        desk.do(GroupMod(GroupCommand.ADD_OR_MODIFY, 1, buckets=(bucket,)))
        assert numbered(desk, 1) == [(0, bucket.actions)]


def bucket(number: int) -> Bucket:
    return Bucket((Output(number),), id=number)


@pytest.mark.parametrize(
    ("command", "bucket_id", "buckets", "left"),
    [
        (GroupCommand.INSERT_BUCKET, FIRST, (7, 8), [7, 8, 1, 2, 3]),
        (GroupCommand.INSERT_BUCKET, LAST, (7, 8), [1, 2, 3, 7, 8]),
        (GroupCommand.INSERT_BUCKET, 2, (7, 8), [1, 2, 7, 8, 3]),
        (GroupCommand.REMOVE_BUCKET, FIRST, (), [2, 3]),
        (GroupCommand.REMOVE_BUCKET, LAST, (), [1, 2]),
        (GroupCommand.REMOVE_BUCKET, 2, (), [1, 3]),
        (GroupCommand.REMOVE_BUCKET, ALL, (), []),
    ],
)
def test_buckets_come_and_go_and_others_keep_their_counts(
    command: GroupCommand, bucket_id: int, buckets: tuple[int, ...], left: list[int]
) -> None:
    desk = Desk(6)
    desk.do(add(1, bucket(1), bucket(2), bucket(3)))
    group = desk.switch.groups.get(1)
    assert group is not None
    for index in range(3):
        group.credit_bucket(index, index + 1, 0)
    desk.do(GroupMod(command, 1, GroupType.ALL, tuple(map(bucket, buckets)), bucket_id))
    assert [number for number, _ in numbered(desk, 1)] == left
    assert [count[0] for count in group.bucket_counts] == [0 if number > 3 else number for number in left]


def test_deleting_a_group_deletes_its_flows() -> None:
    desk = Desk()
    desk.do(add(1, ONE))
    desk.do(add(2, ONE))
    desk.do(flow(UDP, (WriteActions((Group(1),)),), flags=1))
    desk.do(flow(FlowMatch(in_port=1), (Group(1), Group(2))))
    desk.do(flow(FlowMatch(in_port=2), (Group(2),)))
    outcome = desk.do(GroupMod(GroupCommand.DELETE, 1))
    assert [(each.kind, each.group.id) for each in outcome.groups] == [("deleted", 1)]
    assert [each.reason for each in outcome.removed] == [FlowRemovedReason.GROUP_DELETE]
    assert [rule.match for rule in desk.rules()] == [FlowMatch(in_port=2)]
    group = desk.switch.groups.get(2)
    assert group is not None
    assert len(group.rules) == 1
    desk.do(GroupMod(GroupCommand.DELETE, 9))  # OpenFlow 1.3.5 section 6.7: no error


def test_all_groups_are_deleted_whoever_points_to_whom() -> None:
    desk = Desk()
    desk.do(add(1, ONE))
    desk.do(add(2, to(1)))
    desk.do(flow(actions=(Group(2),)))
    desk.do(GroupMod(GroupCommand.DELETE, ALL_GROUPS))
    assert len(desk.switch.groups) == 0
    assert desk.rules() == []


def test_flows_are_a_groups_as_long_as_they_name_it() -> None:
    desk = Desk()
    desk.do(add(1, ONE))
    group = desk.switch.groups.get(1)
    assert group is not None
    steps: list[tuple[Any, int]] = [
        (flow(UDP, (Group(1),)), 1),
        (flow(UDP, (Group(1), Output(1))), 1),
        (flow(UDP, (Output(1),), FlowCommand.MODIFY), 0),
        (flow(UDP, (Group(1),), FlowCommand.MODIFY), 1),
        (flow(UDP, (Output(2),)), 0),
        (flow(UDP, (Group(1),)), 1),
        (flow(command=FlowCommand.DELETE), 0),
    ]
    for mod, count in steps:
        desk.do(mod)
        assert len(group.rules) == count


def test_groups_have_a_bound() -> None:
    desk = Desk()
    desk.switch.groups.max_groups = 2
    desk.do(add(1))
    desk.do(add(2))
    assert desk.refused(add(3)) == "group_mod_failed.out_of_groups"


def test_a_group_may_watch_what_comes_later() -> None:
    Desk().do(add(1, Bucket((), watch_port=77), Bucket((), watch_group=99), kind=GroupType.FAST_FAILOVER))


def test_what_is_not_watched_is_any() -> None:
    assert (ONE.watch_port, ONE.watch_group) == (ANY_PORT, ANY_GROUP)


# ---- meters


def meter(number: int = 1, command: MeterCommand = MeterCommand.ADD, rate: int = 1000, **more: Any) -> MeterMod:
    return MeterMod(command, number, **{"bands": (MeterBand(rate),), **more})


METERS: list[tuple[MeterMod, str]] = [
    (meter(7), "meter_exists"),
    (meter(0), "invalid_meter"),
    (meter(0xFFFF0001), "invalid_meter"),
    (meter(ALL_METERS), "invalid_meter"),
    (meter(8, MeterCommand.MODIFY), "unknown_meter"),
    (meter(8, flags=3), "bad_flags"),
    (meter(8, flags=0), "bad_flags"),
    (meter(8, flags=16 + 1), "bad_flags"),
    (meter(8, rate=0), "bad_rate"),
    (meter(8, bands=()), "out_of_bands"),
    (meter(8, bands=(MeterBand(5, kind="dscp_remark", prec_level=1),)), "bad_band"),
    (meter(8, bands=(MeterBand(5), MeterBand(6))), "out_of_bands"),
    (meter(0, MeterCommand.DELETE), "invalid_meter"),
]


@pytest.mark.parametrize(("mod", "error"), METERS)
def test_what_no_meter_can_be_is_refused(mod: MeterMod, error: str) -> None:
    desk = Desk()
    desk.do(meter(7))
    assert desk.refused(mod) == f"meter_mod_failed.{error}"
    assert [each.id for each in desk.switch.meters] == [7]


def test_a_meter_is_told_as_it_is() -> None:
    desk = Desk()
    desk.do(meter(3, flags=2 | 8, bands=(MeterBand(100, 10),)))
    there = desk.switch.meters.get(3)
    assert there is not None
    there.packets, there.bytes, there.band_counts[0][:] = 10, 1000, [4, 400]
    desk.do(flow(actions=(Meter(3), Output(1))))
    desk.wait(3)
    (told,) = desk.ask(StatsRequest("meter", 3)).entries
    assert (told.flows, told.packets, told.bytes, told.duration_ns, told.bands) == (1, 10, 1000, 3 * 10**9, ((4, 400),))
    (config,) = desk.ask(StatsRequest("meter_config", ALL_METERS)).entries
    assert (config.flags, config.bands) == (10, (MeterBand(100, 10),))
    assert not there.kbps
    assert desk.refused(StatsRequest("meter", 4)) == "meter_mod_failed.unknown_meter"
    (features,) = desk.ask(StatsRequest("meter_features")).entries
    assert (features.max_bands, features.band_types) == (1, 2)


def test_deleting_a_meter_deletes_its_flows() -> None:
    desk = Desk()
    desk.do(meter(3))
    desk.do(flow(UDP, (Meter(3), Output(1)), flags=1))
    desk.do(flow(FlowMatch(in_port=1), (Controller(meter=3),)))  # its packets pass without it
    outcome = desk.do(MeterMod(MeterCommand.DELETE, 3))
    assert [each.reason for each in outcome.removed] == [FlowRemovedReason.METER_DELETE]
    assert outcome.meters == [3]
    assert len(desk.rules()) == 1
    desk.do(MeterMod(MeterCommand.DELETE, 3))  # OpenFlow 1.3.5 section A.3.4.4: no error


def test_virtual_meters_may_be_there_and_no_flow_may_name_them() -> None:
    desk = Desk()
    for number in (SLOW_PATH_METER, CONTROLLER_METER):
        desk.do(meter(number))
        desk.do(meter(number, MeterCommand.MODIFY, 5))
        assert desk.refused(flow(actions=(Meter(number),))) == "meter_mod_failed.invalid_meter"
    desk.do(MeterMod(MeterCommand.DELETE, ALL_METERS))
    assert len(desk.switch.meters) == 0


def test_modifying_a_meter_keeps_its_flows() -> None:
    desk = Desk()
    desk.do(meter(3))
    desk.do(flow(actions=(Meter(3),)))
    desk.do(meter(3, MeterCommand.MODIFY, 5))
    there = desk.switch.meters.get(3)
    assert there is not None
    assert (there.bands, len(there.rules), len(desk.rules())) == ((MeterBand(5),), 1, 1)
