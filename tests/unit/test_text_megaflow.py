"""Megaflows as lines of a dump, and rules as one writes them."""

from __future__ import annotations

import json

import pytest

from vswitch.base.errors import TextError
from vswitch.model.actions import Output, PopVlan
from vswitch.model.match import Match
from vswitch.model.megaflow import FlowStats, Megaflow, Rule
from vswitch.text import format_megaflow, megaflow_to_json, parse_rule

TWO = (Output(2),)
WEB = Match(in_port=1, ipv4_dst="10.0.0.0/8", tcp_dst=80)
SEEN = FlowStats(packets=3, bytes=222, used_s=0.4123, tcp_flags=0x1A, age_s=12.5)

# megaflow, its line, the line with more in it
LINES = [
    (
        Megaflow(Match()),
        "any, packets:0, bytes:0, used:never, actions:drop",
        "priority(0),any, packets:0, bytes:0, used:never, age:0.000s, actions:drop",
    ),
    (
        Megaflow(Match(in_port=1), TWO, 10, 5, 60.5, SEEN),
        (
            "priority(10),idle_timeout(5),hard_timeout(60.5),in_port(1), "
            "packets:3, bytes:222, used:0.412s, flags:SP., actions:2"
        ),
        (
            "priority(10),idle_timeout(5),hard_timeout(60.5),in_port(1), "
            "packets:3, bytes:222, used:0.412s, age:12.500s, flags:SP., actions:2"
        ),
    ),
    (
        Megaflow(WEB, TWO, stats=FlowStats(1, 60, 0.0)),
        (
            "in_port(1),eth_type(0x0800),ipv4(dst=10.0.0.0/255.0.0.0),tcp(dst=80), "
            "packets:1, bytes:60, used:0.000s, actions:2"
        ),
        (
            "priority(0),in_port(1),eth_type(0x0800),ipv4(dst=10.0.0.0/255.0.0.0),tcp(dst=80), "
            "packets:1, bytes:60, used:0.000s, age:0.000s, actions:2"
        ),
    ),
]

# TCP flags, their letters
FLAGS = [
    (0x001, "F"),
    (0x002, "S"),
    (0x004, "R"),
    (0x008, "P"),
    (0x010, "."),
    (0x020, "U"),
    (0x040, "E"),
    (0x080, "C"),
    (0x100, "N"),
    (0x0FF, "SFPRU.EC"),
    (0xFFF, "SFPRU.ECN[200][400][800]"),
]

# text, the rule that it means
RULES = [
    ("in_port(1), actions:2", Rule(Match(in_port=1), TWO)),
    ("in_port(1),actions:2", Rule(Match(in_port=1), TWO)),
    ("in_port(1) actions=2", Rule(Match(in_port=1), TWO)),
    ("in_port(1),eth_type(0x0800),ipv4(dst=10.0.0.0/8),tcp(dst=80) actions:1,2", Rule(WEB, (Output(1), Output(2)))),
    ("any,actions:drop", Rule(Match())),
    ("actions:2", Rule(Match(), TWO)),
    ("any, actions:", Rule(Match())),
    ("priority(10),in_port(1),actions:2", Rule(Match(in_port=1), TWO, 10)),
    ("in_port(1),priority(10),actions:2", Rule(Match(in_port=1), TWO, 10)),
    ("priority( 65535 ), actions:2", Rule(Match(), TWO, 65535)),
    ("idle_timeout(5),hard_timeout(0.001),any,actions:2", Rule(Match(), TWO, 0, 5.0, 0.001)),
    (
        (
            "ufid:6f314054-9afb-487b-ba74-b4f4120eee2b, recirc_id(0),in_port(1), "
            "packets:3, bytes:222, used:0.412s, flags:SFPR., offloaded:yes, dp:tc, actions:2"
        ),
        Rule(Match(recirc_id=0, in_port=1), TWO),
    ),
    (
        (
            "recirc_id(0),in_port(1),eth(),eth_type(0x8100),vlan(vid=5,pcp=0),encap(eth_type(0x0800),ipv4(frag=no)), "
            "packets:0, bytes:0, used:never, actions:pop_vlan,2"
        ),
        Rule(
            Match(recirc_id=0, in_port=1, vlan_tpid=0x8100, vlan_vid=5, vlan_pcp=0, eth_type=0x0800, ip_frag=0),
            (PopVlan(), Output(2)),
        ),
    ),
]

# text, actions apart, position of the fault, part of what is said about it
ERRORS = [
    ("in_port(1)", None, 10, "expected 'actions:'"),
    ("", None, 0, "expected 'actions:'"),
    ("in_port(1),", None, 11, "expected a match group or 'actions:'"),
    ("in_port(1) eth(),actions:2", None, 11, "expected ',' or the end"),
    ("in_port(1), foo:3, actions:2", None, 12, "expected a match group"),
    ("in_port(1), actions:2 3", None, 22, "expected ',' or the end"),
    ("in_port(1), actions:2,x", None, 22, "'x' is not the number of a port"),
    ("in_port(1), actions:2", "3", 12, "actions are given twice"),
    ("tcp(dst=1),udp(dst=1), actions:2", None, 19, "ip_proto"),
    ("priority(65536), actions:2", None, 0, "priority 65536 is outside 0..65535"),
    ("priority(x), actions:2", None, 9, "expected a number"),
    ("priority(), actions:2", None, 8, "expected a value of priority"),
    ("priority(1,2), actions:2", None, 8, "expected a value of priority"),
    ("priority=1, actions:2", None, 8, "expected '('"),
    ("priority(1),priority(1), actions:2", None, 12, "priority is given twice"),
    ("idle_timeout(0), actions:2", None, 0, "idle timeout 0.0 s is outside 0.001..4000000"),
    ("any,hard_timeout(9999999999), actions:2", None, 4, "hard timeout 9999999999.0 s is outside"),
    ("idle_timeout(5s), actions:2", None, 13, "expected seconds, not '5s'"),
    ("idle_timeout(nan), actions:2", None, 13, "expected seconds, not 'nan'"),
    ("in_port(1), any, actions:2", None, 12, "any stands alone"),
]


@pytest.mark.parametrize(("megaflow", "line", "longer"), LINES, ids=[line for _, line, _ in LINES])
def test_line_of_a_dump(megaflow: Megaflow, line: str, longer: str) -> None:
    assert format_megaflow(megaflow) == line
    assert format_megaflow(megaflow, more=True) == longer
    assert parse_rule(line) == parse_rule(longer) == megaflow.rule


@pytest.mark.parametrize(("flags", "letters"), FLAGS, ids=[letters for _, letters in FLAGS])
def test_letters_of_the_tcp_flags_seen(flags: int, letters: str) -> None:
    assert f", flags:{letters}, actions:" in format_megaflow(Megaflow(Match(), stats=FlowStats(tcp_flags=flags)))


@pytest.mark.parametrize(("text", "rule"), RULES, ids=[text for text, _ in RULES])
def test_rule(text: str, rule: Rule) -> None:
    assert parse_rule(text) == rule


def test_actions_may_stand_apart() -> None:
    assert parse_rule("priority(1),in_port(1)", "2") == Rule(Match(in_port=1), TWO, 1)
    assert parse_rule("priority(1),in_port(1), packets:0", "actions:2") == Rule(Match(in_port=1), TWO, 1)
    assert parse_rule("", "drop") == Rule(Match())


@pytest.mark.parametrize(("text", "actions", "position", "problem"), ERRORS, ids=[text for text, *_ in ERRORS])
def test_error_shows_where_and_what(text: str, actions: str | None, position: int, problem: str) -> None:
    with pytest.raises(TextError) as caught:
        parse_rule(text, actions)
    assert problem in caught.value.problem
    assert (caught.value.text, caught.value.position) == (text, position)


def test_error_in_actions_that_stand_apart_shows_them() -> None:
    with pytest.raises(TextError) as caught:
        parse_rule("in_port(1)", "2,x")
    assert (caught.value.text, caught.value.position) == ("2,x", 2)


def test_names_of_ports_reach_match_and_actions() -> None:
    megaflow = Megaflow(Match(in_port=1), TWO)
    line = format_megaflow(megaflow, {1: "p1", 2: "p2"})
    assert line == "in_port(p1), packets:0, bytes:0, used:never, actions:p2"
    assert parse_rule(line, ports={"p1": 1, "p2": 2}) == megaflow.rule
    assert parse_rule("in_port(p1)", "p2", {"p1": 1, "p2": 2}) == megaflow.rule


def test_json_of_a_megaflow() -> None:
    megaflow = Megaflow(Match(in_port=1, tcp_dst=(80, 0xFFF0), ipv4_dst="10.0.0.0/8"), TWO, 10, 5, None, SEEN)
    shown = megaflow_to_json(megaflow, {1: "p1"})
    assert json.loads(json.dumps(shown)) == shown
    assert shown == {
        "match": {
            "in_port": {"value": "p1", "mask": "0xffffffff"},
            "eth_type": {"value": "0x0800", "mask": "0xffff"},
            "ipv4_dst": {"value": "10.0.0.0", "mask": "255.0.0.0"},
            "ip_proto": {"value": "6", "mask": "0xff"},
            "tcp_dst": {"value": "80", "mask": "0xfff0"},
        },
        "match_text": "in_port(p1),eth_type(0x0800),ipv4(dst=10.0.0.0/255.0.0.0),tcp(dst=80/0xfff0)",
        "actions_text": "2",
        "priority": 10,
        "idle_timeout_s": 5,
        "hard_timeout_s": None,
        "packets": 3,
        "bytes": 222,
        "used_s": 0.4123,
        "age_s": 12.5,
        "tcp_flags": ["syn", "psh", "ack"],
    }


def test_json_of_a_megaflow_that_nothing_has_used() -> None:
    shown = megaflow_to_json(Megaflow(Match()))
    assert shown["used_s"] is None
    assert shown["tcp_flags"] == []
    assert shown["match"] == {}
    assert (shown["match_text"], shown["actions_text"]) == ("any", "drop")
