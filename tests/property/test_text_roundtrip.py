"""What is written is read back as the same: for every match, action list and megaflow; and no text breaks a reader."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vswitch.base.errors import ConfigError, TextError
from vswitch.base.limits import MAX_ACTION_DEPTH, MAX_PORT, MAX_TIMEOUT_S
from vswitch.fields import FIELDS, KEY_BYTES
from vswitch.model.actions import (
    MPLS_PROTOCOLS,
    VLAN_PROTOCOLS,
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
)
from vswitch.model.match import Match
from vswitch.model.megaflow import FlowStats, Megaflow
from vswitch.text import (
    format_actions,
    format_match,
    format_megaflow,
    megaflow_to_json,
    parse_actions,
    parse_match,
    parse_rule,
)

KEY_BITS = 8 * KEY_BYTES
LIKELY = {
    "eth_type": [0x0800, 0x86DD, 0x0806, 0x8847, 0x8848, 0x8100, 0x88A8],
    "ip_proto": [1, 6, 17, 58, 132],
    "icmpv6_type": [135, 136],
    "vlan_present": [0, 1],
    "cvlan_present": [0, 1],
    "tun_ipv6": [0, 1],
}
"""Values on which depends what else a packet has."""


TEXT_SAYS_MORE = ("ct_nw_proto", "ct_tp_src", "ct_tp_dst")
"""A match can hold these without saying whether IPv4 or IPv6, which their groups do; they are raw then."""


@st.composite
def field_values(draw: st.DrawFn, name: str) -> tuple[int, int]:
    """(value, mask): mostly exact, else with any mask."""
    view = FIELDS[name]
    value = draw(st.sampled_from(LIKELY[name]) if name in LIKELY else st.integers(0, view.max))
    mask = view.max if draw(st.integers(0, 3)) else draw(st.integers(0, view.max))
    return value & mask, mask


@st.composite
def field_matches(draw: st.DrawFn, names: tuple[str, ...] = tuple(FIELDS)) -> Match:
    """Of fields that go together; one that contradicts those before it is left out."""
    fields: dict[str, tuple[int, int]] = {}
    match = Match()
    for name in draw(st.lists(st.sampled_from(names), max_size=12, unique=True)):
        tried = fields | {name: draw(field_values(name))}
        try:
            match = Match(**tried)
        except ConfigError:
            continue
        fields = tried
    return match


@st.composite
def odd_matches(draw: st.DrawFn) -> Match:
    """A match of fields with bits added or taken away anywhere, so that masks end and headers hang in the air."""
    match = draw(field_matches())
    value, mask = match.value, match.mask
    for name in draw(st.lists(st.sampled_from(sorted(FIELDS)), max_size=4)):
        own_value, own_mask = draw(field_values(name))
        value, mask = value | FIELDS[name].place(own_value), mask | FIELDS[name].place(own_mask)
    for shift in draw(st.lists(st.integers(0, KEY_BITS - 16), max_size=4)):
        mask ^= draw(st.integers(0, 0xFFFF)) << shift
        value ^= draw(st.integers(0, 0xFFFF)) << shift
    return Match.from_ints(value, mask)


def matches() -> st.SearchStrategy[Match]:
    keys = st.integers(0, (1 << KEY_BITS) - 1)
    return st.one_of(field_matches(), odd_matches(), st.builds(Match.from_ints, keys, keys))


SETTABLE = sorted(name for name, view in FIELDS.items() if view.settable)


@st.composite
def set_fields(draw: st.DrawFn) -> SetField:
    name = draw(st.sampled_from(SETTABLE))
    value, mask = draw(field_values(name))
    return SetField(name, value, mask)


def numbers(bits: int, low: int = 0) -> st.SearchStrategy[int]:
    return st.integers(low, (1 << bits) - 1)


PORT_NUMBERS = st.integers(0, MAX_PORT) | st.integers(0, 8)
FLAT_ACTIONS: st.SearchStrategy[Action] = st.one_of(
    st.builds(Output, PORT_NUMBERS),
    st.builds(Drop, numbers(8)),
    set_fields(),
    st.builds(PushVlan, numbers(12), numbers(3), st.sampled_from(VLAN_PROTOCOLS)),
    st.just(PopVlan()),
    st.builds(PushMpls, numbers(20), numbers(3), numbers(8), numbers(1), st.sampled_from(MPLS_PROTOCOLS)),
    st.builds(PopMpls, st.integers(0x0600, 0xFFFF)),
    st.builds(Recirculate, numbers(32, low=1)),
    st.builds(Hash, numbers(32)),
    st.builds(Truncate, st.integers(14, 65535)),
    st.builds(Meter, numbers(32)),
    st.builds(Userspace, st.binary(max_size=64)),
)


@st.composite
def action_lists(draw: st.DrawFn, depth: int = MAX_ACTION_DEPTH) -> tuple[Action, ...]:
    """Of any kind, nested up to `depth` deep. Hypothesis writes down what is filtered: as a function that is short."""
    one = FLAT_ACTIONS
    if depth:
        inner = action_lists(depth - 1)
        one |= st.one_of(
            st.builds(DecTtl, inner),
            st.builds(Sample, numbers(32), inner),
            st.builds(Clone, inner),
            st.builds(CheckPacketLength, numbers(16), inner, inner),
        )
    return tuple(draw(st.lists(one, max_size=3)))


def checked_actions() -> st.SearchStrategy[tuple[Action, ...]]:
    return action_lists().filter(are_accepted)


def are_accepted(actions: tuple[Action, ...]) -> bool:
    """They are not too many, and set no tunnel field that a recirculation loses."""
    try:
        check_actions(actions)
    except ConfigError:
        return False
    return True


@st.composite
def megaflows(draw: st.DrawFn) -> Megaflow:
    timeouts = st.none() | st.floats(0.001, MAX_TIMEOUT_S) | st.integers(1, MAX_TIMEOUT_S)
    used = st.none() | st.floats(0, 1e6)
    stats = st.builds(FlowStats, numbers(64), numbers(64), used, numbers(12), st.floats(0, 1e6))
    return Megaflow(
        draw(matches()), draw(checked_actions()), draw(numbers(16)), draw(timeouts), draw(timeouts), draw(stats)
    )


ODD_NAMES = st.sampled_from(
    ["drop", "clone", "pop_vlan", "any", "7", "0x8", "a b", "x(y", "x,y", "x=1", "actions", "+1"]
)
PORT_NAMES = st.dictionaries(
    st.integers(0, 8),
    ODD_NAMES | st.from_regex(r"[!-.0-~]{1,15}", fullmatch=True) | st.from_regex(r"[a-z0-9.-]{1,4}", fullmatch=True),
).map(lambda names: {number: name for name, number in {name: number for number, name in names.items()}.items()})
"""Names of ports, all different: what the kernel takes, and what could be mistaken."""


def inverse(names: dict[int, str]) -> dict[str, int]:
    return {name: number for number, name in names.items()}


@given(matches(), PORT_NAMES)
@example(Match.from_ints(-1, (1 << KEY_BITS) - 1), {})
def test_match_is_read_back(match: Match, names: dict[int, str]) -> None:
    assert parse_match(format_match(match)) == match
    assert parse_match(format_match(match, names), inverse(names)) == match


@given(field_matches(tuple(name for name in FIELDS if name not in TEXT_SAYS_MORE)))
def test_match_of_fields_alone_is_written_without_raw_bits(match: Match) -> None:
    assert "raw(" not in format_match(match)


@given(field_matches())
def test_text_of_a_match_grows_no_longer_when_read(match: Match) -> None:
    text = format_match(match)
    assert format_match(parse_match(text)) == text


@given(checked_actions(), PORT_NAMES)
def test_actions_are_read_back(actions: tuple[Action, ...], names: dict[int, str]) -> None:
    assert parse_actions(format_actions(actions)) == actions
    assert parse_actions(format_actions(actions, names), inverse(names)) == actions


@given(numbers(32))
def test_probability_is_read_back_to_the_last_bit(probability: int) -> None:
    sample = (Sample(probability, ()),)
    assert parse_actions(format_actions(sample)) == sample


@given(megaflows(), PORT_NAMES, st.booleans())
def test_megaflow_is_read_back_as_its_rule(megaflow: Megaflow, names: dict[int, str], more: bool) -> None:
    assert parse_rule(format_megaflow(megaflow, names, more), ports=inverse(names)) == megaflow.rule


@given(megaflows(), PORT_NAMES)
def test_json_of_a_megaflow_is_plain_and_agrees_with_its_texts(megaflow: Megaflow, names: dict[int, str]) -> None:
    shown = json.loads(json.dumps(megaflow_to_json(megaflow, names)))
    assert parse_match(shown["match_text"], inverse(names)) == megaflow.match
    assert parse_actions(shown["actions_text"], inverse(names)) == megaflow.actions
    assert shown["match"].keys() == megaflow.match.fields().keys()


PIECES = [
    *(
        "in_port",
        "eth",
        "eth_type",
        "ipv4",
        "ipv6",
        "ip",
        "tcp",
        "tcp_flags",
        "vlan",
        "cvlan",
        "encap",
        "tunnel",
        "raw",
    ),
    *("nd", "mpls", "any", "src", "dst", "proto", "frag", "vid", "flags", "present", "w4", "ttl", "tos", "sll"),
    *("set", "clone", "sample", "actions", "drop", "push_vlan", "dec_ttl", "le_1", "hash", "hash_l4", "userspace"),
    *("userdata", "pid", "check_pkt_len", "size", "gt", "le", "trunc", "priority", "idle_timeout", "packets:", "used:"),
    *("(", ")", ",", "=", "/", ":", "+", "-", "|", "%", " ", "()", "),", "=1,", "(1)", "\n", "\0", "²", "٣", "é"),
    *("0", "1", "6", "80", "0x", "0x0800", "0x8100", "0x86dd", "50.0%", "1.2.3.4", "10.0.0.0/8", "/255.0.0.0", "::1"),
    *("/64", "1:2:3:4:5:6", "syn|ack", "+syn-ack", "df", "no", "first", "9" * 50, "-1", "1e3", "nan", "p1", "actions:"),
]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=40).map("".join) | st.text(max_size=60)
READERS: list[Callable[[str], object]] = [parse_match, parse_actions, parse_rule]


@st.composite
def damaged(draw: st.DrawFn) -> str:
    """A text that was right, with some characters lost, doubled or replaced."""
    text = format_megaflow(draw(megaflows()))
    for at in draw(st.lists(st.integers(0, len(text)), min_size=1, max_size=4)):
        lost = draw(st.integers(0, 3))
        text = text[:at] + draw(st.sampled_from(["", *PIECES])) + text[at + lost :]
    return text


@pytest.mark.parametrize("reader", READERS)
@given(text=TEXTS)
def test_no_text_breaks_a_reader(reader: Callable[[str], object], text: str) -> None:
    error = fault(reader, text)
    assert error is None or shows_its_place(error, text)


@given(damaged())
def test_no_damage_breaks_a_reader(text: str) -> None:
    head, _, actions = text.partition("actions:")
    for reader, part in ((parse_rule, text), (parse_match, head.partition(", packets")[0]), (parse_actions, actions)):
        error = fault(reader, part)
        assert error is None or shows_its_place(error, part)


def fault(reader: Callable[[str], object], text: str) -> TextError | None:
    try:
        reader(text)
    except TextError as error:
        return error
    return None


def shows_its_place(error: TextError, text: str) -> bool:
    return error.text == text and 0 <= error.position <= len(text) and bool(error.problem)
