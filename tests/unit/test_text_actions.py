"""Actions as text: what each form means, what is written back, and where a wrong text is wrong."""

from __future__ import annotations

from typing import get_args

import pytest

from vswitch.base.errors import TextError
from vswitch.base.limits import MAX_ACTION_DEPTH, MAX_ACTIONS, MAX_TEXT_CHARACTERS, MAX_TEXT_DEPTH, MAX_USERDATA_BYTES
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
)
from vswitch.text import format_actions, parse_actions

Actions = tuple[Action, ...]
ONE = (Output(1),)

# text, the actions that it means; written back as it stands
CANONICAL: list[tuple[str, Actions]] = [
    ("drop", ()),
    ("2", (Output(2),)),
    ("1,2,3", (Output(1), Output(2), Output(3))),
    ("65534", (Output(65534),)),
    ("drop(reason=0)", (Drop(),)),
    ("1,drop(reason=3)", (Output(1), Drop(3))),
    (
        "set(eth(dst=02:00:00:00:00:01,src=02:00:00:00:00:02)),1",
        (SetField("eth_dst", 0x020000000001), SetField("eth_src", 0x020000000002), *ONE),
    ),
    (
        "set(ipv4(src=1.2.3.4,dst=5.6.7.0/255.255.255.0))",
        (SetField("ipv4_src", "1.2.3.4"), SetField("ipv4_dst", "5.6.7.0/24")),
    ),
    ("set(eth(src=00:00:00:00:00:01)),set(tcp(dst=80))", (SetField("eth_src", 1), SetField("tcp_dst", 80))),
    (
        "set(tcp(dst=80)),set(tcp(dst=81,src=82))",
        (SetField("tcp_dst", 80), SetField("tcp_dst", 81), SetField("tcp_src", 82)),
    ),
    ("set(tcp(dst=80)),1,set(tcp(src=81))", (SetField("tcp_dst", 80), *ONE, SetField("tcp_src", 81))),
    ("set(ip(ttl=3))", (SetField("ip_ttl", 3),)),
    ("set(ipv4(ttl=3,src=1.2.3.4))", (SetField("ip_ttl", 3), SetField("ipv4_src", "1.2.3.4"))),
    (
        "set(ipv6(dst=::1,hlimit=3)),set(ipv4(src=1.2.3.4))",
        (SetField("ipv6_dst", "::1"), SetField("ip_ttl", 3), SetField("ipv4_src", "1.2.3.4")),
    ),
    ("set(ip(tos=0xb8/0xfc)),set(ip_dscp(46))", (SetField("ip_tos", 0xB8, 0xFC), SetField("ip_dscp", 46))),
    ("set(skb_mark(0x1/0xff))", (SetField("skb_mark", 1, 0xFF),)),
    ("set(skb_mark(0x0/0x0))", (SetField("skb_mark", 0, 0),)),
    (
        "set(tunnel(tun_id=0x5,dst=1.2.3.4,ttl=64,flags(df|key)))",
        (
            SetField("tun_id", 5),
            SetField("tun_dst", "1.2.3.4"),
            SetField("tun_ttl", 64),
            SetField("tun_flags", 5),
        ),
    ),
    ("set(tunnel(flags(+df-csum)))", (SetField("tun_flags", 1, 3),)),
    (
        "set(mpls(label=5)),set(nd(target=::1)),set(arp(op=2))",
        (SetField("mpls_label", 5), SetField("nd_target", "::1"), SetField("arp_op", 2)),
    ),
    ("push_vlan(vid=5,pcp=0)", (PushVlan(5),)),
    ("push_vlan(tpid=0x88a8,vid=4095,pcp=7)", (PushVlan(4095, 7, 0x88A8),)),
    ("pop_vlan,2", (PopVlan(), Output(2))),
    ("push_mpls(label=5,tc=1,ttl=3,bos=0,eth_type=0x8848)", (PushMpls(5, 1, 3, 0, 0x8848),)),
    ("pop_mpls(eth_type=0x800)", (PopMpls(0x0800),)),
    ("dec_ttl,1", (DecTtl(), *ONE)),
    ("dec_ttl(le_1(userspace(pid=0))),1", (DecTtl((Userspace(),)), *ONE)),
    ("hash(hash_l4(0)),recirc(0x1)", (Hash(), Recirculate(1))),
    ("hash(hash_l4(4294967295)),recirc(0xffffffff)", (Hash(0xFFFFFFFF), Recirculate(0xFFFFFFFF))),
    ("trunc(100),1", (Truncate(100), *ONE)),
    ("meter(3),1", (Meter(3), *ONE)),
    ("sample(sample=50.0%,actions(1,2))", (Sample(0x80000000, (Output(1), Output(2))),)),
    ("sample(sample=49.99999999%,actions(1))", (Sample(0x7FFFFFFF, ONE),)),
    ("sample(sample=0.0%,actions(drop))", (Sample(0, ()),)),
    ("sample(sample=0.00000002%,actions(drop))", (Sample(1, ()),)),
    ("sample(sample=100.0%,actions(drop))", (Sample(0xFFFFFFFF, ()),)),
    ("sample(sample=99.99999998%,actions(drop))", (Sample(0xFFFFFFFE, ()),)),
    ("sample(sample=12.345%,actions(drop))", (Sample(530213713, ()),)),
    ("clone(1,2),3", (Clone((Output(1), Output(2))), Output(3))),
    ("clone(drop)", (Clone(()),)),
    ("clone(clone(clone(1)))", (Clone((Clone((Clone(ONE),)),)),)),
    ("check_pkt_len(size=200,gt(1),le(drop))", (CheckPacketLength(200, ONE, ()),)),
    ("userspace(pid=0)", (Userspace(),)),
    ("userspace(pid=0,userdata(0a0b))", (Userspace(b"\n\x0b"),)),
]

# text, another text of the same actions
SYNONYMS = [
    ("", "drop"),
    ("actions:2", "2"),
    ("actions=1,2", "1,2"),
    ("actions:drop", "drop"),
    ("actions:", "drop"),
    (" 1 , 0x2 ", "1,2"),
    ("drop(3)", "drop(reason=3)"),
    ("set(ipv4(dst=5.6.7.8/255.255.255.0))", "set(ipv4(dst=5.6.7.0/24))"),
    ("set(ipv4(ttl=3)),set(ipv6(hlimit=3))", "set(ip(ttl=3)),set(ip(ttl=3))"),
    ("set( tcp( dst = 80 ) )", "set(tcp(dst=80))"),
    ("set(tunnel(flags()))", "set(tunnel(flags(0)))"),
    ("push_vlan(vid=5)", "push_vlan(tpid=0x8100,vid=5,pcp=0)"),
    ("push_vlan(pcp=0x1,vid=0x5)", "push_vlan(vid=5,pcp=1)"),
    ("push_mpls(label=5)", "push_mpls(label=5,tc=0,ttl=64,bos=1,eth_type=0x8847)"),
    ("dec_ttl(le_1(drop))", "dec_ttl"),
    ("dec_ttl(le_1())", "dec_ttl"),
    ("recirc(1)", "recirc(0x1)"),
    ("hash(l4(7))", "hash(hash_l4(7))"),
    ("sample(actions(1),sample=50%)", "sample(sample=50.0%,actions(1))"),
    ("sample(sample=0x7fffffff,actions())", "sample(sample=49.99999999%,actions(drop))"),
    ("clone()", "clone(drop)"),
    ("userspace()", "userspace(pid=0)"),
    ("userspace(pid=4294967295,userdata(0A))", "userspace(pid=0,userdata(0a))"),
    ("userspace(pid=0,userdata())", "userspace(pid=0)"),
]

# text, position of the fault, part of what is said about it
ERRORS = [
    ("1,", 2, "expected an action"),
    (",1", 0, "expected an action"),
    ("1 2", 2, "expected ',' or the end"),
    ("1)", 1, "expected ',' or the end"),
    ("65535", 0, "output port 65535 is outside 0..65534"),
    ("1,99999999999", 2, "99999999999 is outside"),
    ("p1", 0, "'p1' is not the number of a port"),
    ("output(1)", 0, "expected an action or a port, not 'output' with arguments"),
    ("drop,1", 0, "drop stands alone"),
    ("1,drop", 2, "drop stands alone"),
    ("drop,drop", 5, "drop stands alone"),
    ("clone(1,drop)", 8, "drop stands alone"),
    ("clone", 0, "clone needs arguments in parentheses"),
    ("clone(1", 7, "expected ',' or ')'"),
    ("drop()", 4, "reason is missing"),
    ("drop(256)", 0, "drop reason 256 is outside 0..255"),
    ("drop(1,2)", 7, "reason is given twice"),
    ("pop_vlan()", 0, "not 'pop_vlan' with arguments"),
    ("set()", 3, "expected one group of fields to set"),
    ("set(tcp(dst=1),udp(dst=1))", 3, "expected one group of fields to set"),
    ("set(tcp())", 4, "expected a field of tcp to set"),
    ("set(foo(1))", 4, "expected a group of fields"),
    ("set(ipv4(proto=6))", 15, "field ip_proto cannot be set"),
    ("set(ipv4(sip=1.2.3.4))", 9, "ipv4 has no member 'sip'"),
    ("set(in_port(1))", 12, "field in_port cannot be set"),
    ("set(raw(w0=1))", 11, "no field is called"),
    ("1,set(tcp(dst=65536))", 14, "tcp_dst: 65536 is outside 0..65535"),
    ("push_vlan(pcp=1)", 9, "vid is missing"),
    ("push_vlan(vid=5,vid=6)", 16, "vid is given twice"),
    ("push_vlan(vid=5,cfi=1)", 16, "expected an argument (tpid, vid, pcp), not 'cfi'"),
    ("push_vlan(vid=4096)", 0, "VLAN id 4096 is outside 0..4095"),
    ("push_vlan(vid=x)", 14, "expected a number: 'x' is not a number"),
    ("push_vlan(vid=5,tpid=0x800)", 0, "tag protocol 0x0800 is neither"),
    ("push_mpls(tc=1)", 9, "label is missing"),
    ("pop_mpls()", 8, "eth_type is missing"),
    ("recirc(0)", 0, "recirculation id 0 is outside 1..4294967295"),
    ("recirc(4294967296)", 7, "4294967296 is outside 0..4294967295"),
    ("recirc(id)", 9, "expected '='"),
    ("trunc(13)", 0, "truncation 13 is outside 14..65535"),
    ("hash(sym_l4(0))", 5, "expected an argument (hash_l4, l4)"),
    ("hash(l4())", 7, "expected a number in parentheses"),
    ("hash(l4(0),hash_l4(0))", 11, "hash_l4 is given twice"),
    ("sample(sample=100.1%,actions(1))", 14, "probability 100.1% is more than 100%"),
    ("sample(sample=half,actions(1))", 14, "expected a probability"),
    ("sample(sample=50.0%)", 6, "actions is missing"),
    ("sample(actions(1))", 6, "sample is missing"),
    ("check_pkt_len(size=200,gt(1))", 13, "le is missing"),
    ("check_pkt_len(size=65536,gt(1),le(2))", 0, "packet length 65536 is outside 0..65535"),
    ("userspace(userdata(0a0))", 18, "expected bytes in hexadecimal"),
    ("userspace(userdata(0a,0b))", 18, "expected bytes in hexadecimal"),
    ("userspace(pid=0,pid=0)", 16, "pid is given twice"),
    ("clone(clone(trunc(1)))", 12, "truncation 1 is outside"),
    ("1,actions:2", 2, "'actions:2' is not the number of a port"),
]


@pytest.mark.parametrize(("text", "actions"), CANONICAL, ids=[text for text, _ in CANONICAL])
def test_canonical_text_means_its_actions_and_is_written_back(text: str, actions: Actions) -> None:
    assert parse_actions(text) == actions
    assert format_actions(actions) == text


@pytest.mark.parametrize(("text", "other"), SYNONYMS, ids=[text for text, _ in SYNONYMS])
def test_texts_of_the_same_actions(text: str, other: str) -> None:
    assert parse_actions(text) == parse_actions(other)


@pytest.mark.parametrize(("text", "position", "problem"), ERRORS, ids=[text for text, _, _ in ERRORS])
def test_error_shows_where_and_what(text: str, position: int, problem: str) -> None:
    with pytest.raises(TextError) as caught:
        parse_actions(text)
    assert problem in caught.value.problem
    assert (caught.value.text, caught.value.position) == (text, position)


def test_every_action_has_a_text() -> None:
    assert {type(action) for _, actions in CANONICAL for action in actions} == set(get_args(Action))


PORTS = {"p1": 1, "drop": 2, "clone": 3, "pop_vlan": 4, "7": 5, "a,b": 6}
NAMES = {number: name for name, number in PORTS.items()}


def test_ports_are_read_and_written_by_name() -> None:
    actions = (Output(1), Clone((Output(1), Output(9))))
    assert parse_actions("p1,clone(p1,9)", PORTS) == actions
    assert format_actions(actions, NAMES) == "p1,clone(p1,9)"


@pytest.mark.parametrize("number", [2, 3, 4, 5, 6])
def test_port_is_written_as_a_number_where_the_name_would_be_misread(number: int) -> None:
    assert format_actions((Output(number),), NAMES) == str(number)


def test_unknown_port_is_named() -> None:
    with pytest.raises(TextError, match="no port is called 'p9' at character 9"):
        parse_actions("p1,clone(p9)", PORTS)


def test_action_is_no_port_even_if_a_port_is_called_so() -> None:
    assert parse_actions("pop_vlan", PORTS) == (PopVlan(),)


def test_too_many_actions_are_refused() -> None:
    assert len(parse_actions(",".join(["1"] * MAX_ACTIONS))) == MAX_ACTIONS
    with pytest.raises(TextError, match=f"exceed the bound of {MAX_ACTIONS}"):
        parse_actions(",".join(["1"] * (MAX_ACTIONS + 1)))


def test_actions_nested_too_deep_are_refused() -> None:
    deepest = "clone(" * MAX_ACTION_DEPTH + "1" + ")" * MAX_ACTION_DEPTH
    assert format_actions(parse_actions(deepest)) == deepest
    with pytest.raises(TextError, match=f"exceed the bound of {MAX_ACTION_DEPTH}"):
        parse_actions(f"clone({deepest})")


def test_deepest_actions_fit_the_depth_of_a_text() -> None:
    text = "set(tunnel(flags(df)))"
    for _ in range(MAX_ACTION_DEPTH):
        text = f"sample(sample=1.0%,actions({text}))"
    assert format_actions(parse_actions(text)) == text


def test_too_deep_a_text_is_refused_where_it_becomes_so() -> None:
    before = "meter(1)," * MAX_TEXT_DEPTH
    with pytest.raises(TextError, match=f"parentheses nested .* exceed the bound of {MAX_TEXT_DEPTH}") as caught:
        parse_actions(before + "clone(" * 1000)
    assert caught.value.position == len(before) + len("clone(") * (MAX_TEXT_DEPTH + 1) - 1


def test_too_long_a_text_is_refused() -> None:
    with pytest.raises(TextError, match=f"exceeds the bound of {MAX_TEXT_CHARACTERS}"):
        parse_actions("1" + " " * MAX_TEXT_CHARACTERS)


def test_too_much_userdata_is_refused() -> None:
    assert parse_actions(f"userspace(userdata({'00' * MAX_USERDATA_BYTES}))") == (Userspace(bytes(MAX_USERDATA_BYTES)),)
    with pytest.raises(TextError, match=f"exceeds the bound of {MAX_USERDATA_BYTES}"):
        parse_actions(f"userspace(userdata({'00' * (MAX_USERDATA_BYTES + 1)}))")
