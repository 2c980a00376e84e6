"""Actions: the bounds of each, and what is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from vswitch.base.errors import ConfigError, LimitError
from vswitch.base.limits import MAX_ACTION_DEPTH, MAX_ACTIONS, MAX_PORT, MAX_USERDATA_BYTES
from vswitch.fields import FIELDS
from vswitch.model.actions import (
    Action,
    CheckPacketLength,
    Clone,
    DecTtl,
    Drop,
    Hash,
    Meter,
    Output,
    PopMpls,
    PopVlan,
    PushMpls,
    PushVlan,
    Recirculate,
    Sample,
    SetField,
    Truncate,
    Userspace,
    check_actions,
    nested,
    walk,
)
from vswitch.model.match import Match
from vswitch.model.megaflow import FlowStats, Megaflow, Rule

U32 = 0xFFFFFFFF
Make = Callable[[int], Action]

# an action of one number, its lowest and highest, how it is called
BOUNDS: list[tuple[Make, int, int, str]] = [
    (Output, 0, MAX_PORT, "output port"),
    (Drop, 0, 255, "drop reason"),
    (PushVlan, 0, 4095, "VLAN id"),
    (lambda n: PushVlan(0, pcp=n), 0, 7, "VLAN priority"),
    (PushMpls, 0, (1 << 20) - 1, "MPLS label"),
    (lambda n: PushMpls(0, tc=n), 0, 7, "MPLS traffic class"),
    (lambda n: PushMpls(0, ttl=n), 0, 255, "MPLS time to live"),
    (lambda n: PushMpls(0, bos=n), 0, 1, "MPLS bottom-of-stack bit"),
    (PopMpls, 0x0600, 0xFFFF, "Ethernet type"),
    (Recirculate, 1, U32, "recirculation id"),
    (Hash, 0, U32, "hash seed"),
    (Truncate, 14, 65535, "truncation"),
    (lambda n: Sample(n, ()), 0, U32, "sample probability"),
    (Meter, 0, U32, "meter"),
    (lambda n: CheckPacketLength(n, (), ()), 0, 65535, "packet length"),
]


@pytest.mark.parametrize(("make", "low", "high", "name"), BOUNDS, ids=[name for *_, name in BOUNDS])
def test_number_has_its_bounds(make: Make, low: int, high: int, name: str) -> None:
    assert make(low) != make(high)
    for number in (low - 1, high + 1, "1", None):
        with pytest.raises(ConfigError) as caught:
            make(number)  # type: ignore[arg-type]
        assert str(caught.value) == f"{name} {number!r} is outside {low}..{high}"


WRONG_TYPES = [0, 0x0800, 0x8101, 0x8846, "0x8100", 33024.0, 34887.0, None]


@pytest.mark.parametrize("tpid", WRONG_TYPES)
def test_tag_protocol_is_one_of_two(tpid: object) -> None:
    shown = f"{tpid:#06x}" if isinstance(tpid, int) else repr(tpid)
    with pytest.raises(ConfigError, match=f"VLAN tag protocol {shown} is neither 0x8100 nor 0x88a8"):
        PushVlan(1, 0, tpid)  # type: ignore[arg-type]


@pytest.mark.parametrize("ethertype", WRONG_TYPES)
def test_mpls_type_is_one_of_two(ethertype: object) -> None:
    shown = f"{ethertype:#06x}" if isinstance(ethertype, int) else repr(ethertype)
    with pytest.raises(ConfigError, match=f"MPLS Ethernet type {shown} is neither 0x8847 nor 0x8848"):
        PushMpls(1, ethertype=ethertype)  # type: ignore[arg-type]


def test_userdata_has_a_bound() -> None:
    assert len(Userspace(bytes(MAX_USERDATA_BYTES)).userdata) == MAX_USERDATA_BYTES
    with pytest.raises(LimitError, match=f"65 bytes exceeds the bound of {MAX_USERDATA_BYTES}"):
        Userspace(bytes(MAX_USERDATA_BYTES + 1))


@pytest.mark.parametrize("userdata", ["text", bytearray(3), 5, None])
def test_userdata_is_bytes(userdata: object) -> None:
    with pytest.raises(ConfigError) as caught:
        Userspace(userdata)  # type: ignore[arg-type]
    assert str(caught.value) == f"userdata {userdata!r} is not bytes"


# a set action as written, its value and mask
SETS = [
    (SetField("tcp_dst", 80), 80, 0xFFFF),
    (SetField("tcp_dst", "80"), 80, 0xFFFF),
    (SetField("tcp_dst", 0x50, 0xFFF0), 0x50, 0xFFF0),
    (SetField("tcp_dst", "0x50/0xfff0"), 0x50, 0xFFF0),
    (SetField("ipv4_dst", "10.0.0.0/8"), 0x0A000000, 0xFF000000),
    (SetField("ipv4_dst", "10.0.0.0", "255.0.0.0"), 0x0A000000, 0xFF000000),
    (SetField("eth_dst", "02:00:00:00:00:01"), 0x020000000001, 0xFFFFFFFFFFFF),
    (SetField("tun_flags", "df|key"), 5, 0x7FFF),
]


@pytest.mark.parametrize(("action", "value", "mask"), SETS, ids=[str(action) for action, *_ in SETS])
def test_set_field_understands_what_a_match_does(action: SetField, value: int, mask: int) -> None:
    assert (action.value, action.mask) == (value, mask)


# arguments of a set action, what is said about them
BAD_SETS: list[tuple[tuple[str, int | str, int | None], str]] = [
    (("tcp_port", 1, None), "no field is called 'tcp_port'"),
    (("tcp_dst", 65536, None), "tcp_dst 65536 is outside 0..65535"),
    (("tcp_dst", 1, 0x10000), "tcp_dst 65536 is outside 0..65535"),
    (("tcp_dst", 1, 2), "value 1 has bits outside of its mask 2"),
    (("tcp_dst", "http", None), "tcp_dst: 'http' is not a number"),
]


@pytest.mark.parametrize(("arguments", "problem"), BAD_SETS, ids=[problem for _, problem in BAD_SETS])
def test_set_field_refuses(arguments: tuple[str, int | str, int | None], problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        SetField(*arguments)
    assert problem in str(caught.value)


@pytest.mark.parametrize("name", [name for name, view in FIELDS.items() if not view.settable])
def test_what_says_what_a_packet_is_cannot_be_set(name: str) -> None:
    with pytest.raises(ConfigError, match=f"field {name} cannot be set"):
        SetField(name, 0)


def test_fields_that_say_what_a_packet_is_are_not_settable() -> None:
    asked = {need for view in FIELDS.values() for need, _ in view.prerequisites}
    settable = {name for name, view in FIELDS.items() if view.settable}
    assert asked & settable == {"icmpv6_type"}


ONE = Output(1)
FORK = CheckPacketLength(100, (ONE,), (Drop(), PopVlan()))
TREE = (ONE, Clone((DecTtl((ONE,)), Sample(1, ()))), FORK)


def test_walk_visits_every_action_in_order_with_its_depth() -> None:
    assert [(depth, type(action).__name__) for depth, action in walk(TREE)] == [
        (0, "Output"),
        (0, "Clone"),
        (1, "DecTtl"),
        (2, "Output"),
        (1, "Sample"),
        (0, "CheckPacketLength"),
        (1, "Output"),
        (1, "Drop"),
        (1, "PopVlan"),
    ]


def test_nested_lists_of_an_action() -> None:
    assert nested(FORK) == ((ONE,), (Drop(), PopVlan()))
    assert nested(ONE) == ()


def test_number_of_actions_has_a_bound_that_counts_nested_ones() -> None:
    fits = (Clone((ONE,) * (MAX_ACTIONS - 1)),)
    assert check_actions(fits) == fits
    with pytest.raises(LimitError, match=f"{MAX_ACTIONS + 1} actions exceed the bound of {MAX_ACTIONS}"):
        check_actions((*fits, ONE))


def test_nesting_has_a_bound() -> None:
    deepest: Action = ONE
    for _ in range(MAX_ACTION_DEPTH):
        deepest = Clone((deepest,))
    assert check_actions([deepest]) == (deepest,)
    with pytest.raises(LimitError, match=f"nested 4 deep exceed the bound of {MAX_ACTION_DEPTH}"):
        check_actions([Clone((deepest,))])


@pytest.mark.parametrize("wrong", [1, "drop", None, (ONE,)])
def test_what_is_no_action_is_refused(wrong: object) -> None:
    with pytest.raises(ConfigError, match="is not an action"):
        check_actions([wrong])  # type: ignore[list-item]
    with pytest.raises(ConfigError, match="is not an action"):
        check_actions([Clone((wrong,))])  # type: ignore[arg-type]


# an action with a nested list, how that is called
NESTING: list[tuple[Callable[[object], Action], str]] = [
    (lambda some: Clone(some), "clone"),  # type: ignore[arg-type]
    (lambda some: Sample(1, some), "sample"),  # type: ignore[arg-type]
    (lambda some: DecTtl(some), "dec_ttl, exceeded"),  # type: ignore[arg-type]
    (lambda some: CheckPacketLength(9, some, ()), "check_pkt_len, greater"),  # type: ignore[arg-type]
    (lambda some: CheckPacketLength(9, (), some), "check_pkt_len, less_equal"),  # type: ignore[arg-type]
]
NESTING_NAMES = [name for _, name in NESTING]


@pytest.mark.parametrize(("make", "name"), NESTING, ids=NESTING_NAMES)
def test_nested_actions_may_be_any_iterable_or_one_action(make: Callable[[object], Action], name: str) -> None:
    written = make((ONE,))
    for some in ([ONE], ONE, iter([ONE]), {ONE: 1}):
        assert {make(some)} == {written}, "it can be hashed, as equal lists are compiled once"
    assert make([]) == make(())


# what is no list of actions, what is said of it
BAD_NESTED: list[tuple[object, str]] = [
    ([1], "1 is not an action"),
    ([ONE, "drop"], "'drop' is not an action"),
    ([[ONE]], r"[Output(port=1)] is not an action"),
    ("drop", "'drop' is not an action"),
    (b"drop", "b'drop' is not an action"),
    (5, "5 is not an action"),
    (None, "None is not an action"),
    (Output, "<class 'vswitch.model.actions.Output'> is not an action"),
]


@pytest.mark.parametrize(("some", "problem"), BAD_NESTED, ids=[problem for _, problem in BAD_NESTED])
@pytest.mark.parametrize(("make", "name"), NESTING, ids=NESTING_NAMES)
def test_nested_things_that_are_no_actions_are_refused(
    make: Callable[[object], Action], name: str, some: object, problem: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        make(some)
    assert str(caught.value) == f"{name}: {problem}"


def test_one_action_is_a_list_of_one() -> None:
    assert check_actions(ONE) == check_actions(iter([ONE])) == (ONE,)


@pytest.mark.parametrize("wrong", [5, None, Output])
def test_list_of_actions_that_is_none_is_refused(wrong: object) -> None:
    with pytest.raises(ConfigError) as caught:
        check_actions(wrong)  # type: ignore[arg-type]
    assert str(caught.value) == f"actions: {wrong!r} is not an action"


def test_actions_are_values() -> None:
    assert {Output(1), Output(1), SetField("tcp_dst", 80), SetField("tcp_dst", "80")} == {
        Output(1),
        SetField("tcp_dst", 80),
    }
    with pytest.raises(AttributeError):
        ONE.port = 2  # type: ignore[misc]


# arguments of a rule, what is said about them
BAD_RULES: list[tuple[dict[str, object], str]] = [
    ({"priority": -1}, "priority -1 is outside 0..65535"),
    ({"priority": 65536}, "priority 65536 is outside 0..65535"),
    ({"priority": 1.5}, "priority 1.5 is outside 0..65535"),
    ({"idle_timeout_s": 0}, "idle timeout 0 s is outside 0.001..4000000"),
    ({"hard_timeout_s": 4_000_001}, "hard timeout 4000001 s is outside 0.001..4000000"),
    ({"hard_timeout_s": float("nan")}, "hard timeout nan s is outside"),
    ({"actions": (1,)}, "1 is not an action"),
    ({"actions": (ONE,) * (MAX_ACTIONS + 1)}, f"exceed the bound of {MAX_ACTIONS}"),
]


@pytest.mark.parametrize(("arguments", "problem"), BAD_RULES, ids=[problem for _, problem in BAD_RULES])
def test_rule_refuses(arguments: dict[str, object], problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Rule(Match(), **arguments)  # type: ignore[arg-type]
    assert problem in str(caught.value)


def test_megaflow_is_its_rule_whatever_it_has_counted() -> None:
    rule = Rule(Match(in_port=1), (ONE,), 10, 5.0, 60.0)
    megaflow = Megaflow(rule.match, rule.actions, 10, 5.0, 60.0)
    used = megaflow.with_stats(FlowStats(packets=1))
    assert (used.rule, used.stats.packets) == (rule, 1)
    assert used == megaflow


@pytest.mark.parametrize(
    "actions",
    [
        (SetField("tun_id", 7), Recirculate(1)),
        (SetField("tun_id", 7), Output(2), Recirculate(1)),
        (SetField("tun_id", 7), Clone((Recirculate(1),))),
        (Clone((SetField("tun_id", 7), Recirculate(1))),),
    ],
)
def test_tunnel_fields_before_a_recirculation_are_refused(actions: tuple[Action, ...]) -> None:
    with pytest.raises(ConfigError, match="tun_id is set before a recirculation"):
        check_actions(actions)


def test_tunnel_fields_of_a_copy_are_its_own() -> None:
    actions = (Clone((SetField("tun_id", 7), Output(2))), Recirculate(1), SetField("tun_id", 8), Output(2))
    assert check_actions(actions) == actions
