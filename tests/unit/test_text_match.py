"""Matches as text: what each form means, what is written back, and where a wrong text is wrong."""

from __future__ import annotations

import pytest

from vswitch.base.errors import ConfigError, TextError
from vswitch.base.limits import MAX_TEXT_CHARACTERS, MAX_TEXT_DEPTH
from vswitch.fields import FIELDS, KEY_BYTES
from vswitch.model.match import Match
from vswitch.text import format_match, parse_match
from vswitch.text.groups import GROUPS, NEEDS

V4, V6, ARP = 0x0800, 0x86DD, 0x0806


def union(*matches: Match) -> Match:
    """All bits of all of them, without what the fields need."""
    value = mask = 0
    for match in matches:
        value, mask = value | match.value, mask | match.mask
    return Match.from_ints(value, mask)


def alone(name: str, value: int) -> Match:
    """Field `name` without what it needs."""
    return Match.from_ints(FIELDS[name].place(value), FIELDS[name].mask)


# text, the match that it means; written back as it stands
CANONICAL = [
    ("any", Match()),
    ("in_port(1)", Match(in_port=1)),
    ("in_port(1/0xff)", Match(in_port=(1, 0xFF))),
    (
        "in_port(1),eth_type(0x0800),ipv4(dst=10.0.0.0/255.0.0.0),tcp(dst=80)",
        Match(in_port=1, ipv4_dst="10.0.0.0/8", tcp_dst=80),
    ),
    ("eth(dst=aa:bb:cc:00:00:00/ff:ff:ff:00:00:00)", Match(eth_dst=(0xAABBCC000000, 0xFFFFFF000000))),
    ("eth(dst=00:00:00:00:00:02,src=00:00:00:00:00:01)", Match(eth_src=1, eth_dst=2)),
    ("skb_mark(0x10/0xf0)", Match(skb_mark=(0x10, 0xF0))),
    ("eth_type(0x0800/0xff00)", Match(eth_type=(0x0800, 0xFF00))),
    ("ip(proto=6)", Match(ip_proto=6)),
    ("ip(ttl=1)", Match(ip_ttl=1)),
    (
        "eth_type(0x0800),ipv4(proto=6,tos=0x0/0x3,ttl=16/0xf0,frag=no)",
        Match(eth_type=V4, ip_proto=6, ip_tos=(0, 3), ip_ttl=(16, 0xF0), ip_frag=0),
    ),
    (
        "eth_type(0x86dd),ipv6(src=2001:db8::/ffff:ffff::,label=0x5,proto=6,tclass=0x4,hlimit=1,frag=later)",
        Match(ipv6_src="2001:db8::/32", ipv6_label=5, ip_proto=6, ip_tos=4, ip_ttl=1, ip_frag=3),
    ),
    ("eth_type(0x0800),ipv4(frag=first/0x3)", Match(eth_type=V4, ip_frag=(1, 3))),
    ("eth_type(0x0800),ipv4(frag=200)", Match(eth_type=V4, ip_frag=200)),
    ("eth_type(0x0800),ipv4(tos=0xb8/0xfc)", Match(eth_type=V4, ip_dscp=46)),
    ("tcp(src=80/0xfff0)", Match(tcp_src=(80, 0xFFF0))),
    ("tcp(dst=80),tcp_flags(syn|ack)", Match(tcp_dst=80, tcp_flags=0x12)),
    ("tcp_flags(+syn-ack)", Match(tcp_flags=(0x02, 0x12))),
    ("tcp_flags(0)", Match(tcp_flags=0)),
    ("tcp_flags(syn|0x800)", Match(tcp_flags=0x802)),
    ("tcp_flags(syn/0x802)", Match(tcp_flags=(0x002, 0x802))),
    ("udp(src=53)", Match(udp_src=53)),
    ("sctp(dst=9)", Match(sctp_dst=9)),
    ("eth_type(0x0800),icmp(type=8,code=0)", Match(icmpv4_type=8, icmpv4_code=0)),
    ("eth_type(0x86dd),icmpv6(type=135),nd(target=fe80::1)", Match(icmpv6_type=135, nd_target="fe80::1")),
    ("eth_type(0x86dd),nd(sll=02:00:00:00:00:01)", Match(nd_sll="02:00:00:00:00:01")),
    ("eth_type(0x0806),arp(sip=10.0.0.1)", Match(arp_spa="10.0.0.1")),
    (
        "eth_type(0x8847),mpls(label=5,bos=0),mpls1(label=6,bos=1)",
        Match(eth_type=0x8847, mpls_label=5, mpls_bos=0, mpls1_label=6, mpls1_bos=1),
    ),
    ("vlan(present=0)", Match(vlan_present=0)),
    ("vlan(present=1)", Match(vlan_present=1)),
    ("vlan(vid=5,pcp=0),eth_type(0x0800)", Match(vlan_vid=5, vlan_pcp=0, eth_type=V4)),
    ("vlan(vid=5/0xff)", Match(vlan_vid=(5, 0xFF))),
    ("vlan(vid=5),cvlan(vid=6)", Match(vlan_vid=5, cvlan_vid=6)),
    ("vlan(vid=5),cvlan(present=0)", Match(vlan_vid=5, cvlan_present=0)),
    ("vlan(vid=5),eth_type(0x8100)", Match(vlan_vid=5, eth_type=0x8100)),
    (
        "tunnel(tun_id=0x5,src=1.2.3.4,dst=5.6.7.8,ttl=64,flags(+df-csum+key)),in_port(1)",
        Match(tun_id=5, tun_src="1.2.3.4", tun_dst="5.6.7.8", tun_ttl=64, tun_flags=(5, 7), in_port=1),
    ),
    ("tunnel(ipv6_dst=::1,flags(df|key))", Match(tun_ipv6_dst="::1", tun_flags=5)),
    ("tunnel(ipv6=0)", Match(tun_ipv6=0)),
    ("recirc_id(0x1),dp_hash(0x3/0xff),in_port(1)", Match(recirc_id=1, dp_hash=(3, 0xFF), in_port=1)),
    ("ct_state(+new-est)", Match(ct_state=(1, 3))),
    ("ct_tuple4(proto=6,src=1.2.3.4),eth_type(0x0800)", Match(ct_nw_src="1.2.3.4", ct_nw_proto=6)),
    # Bits of no field, and of headers that not every packet of the match has.
    ("raw(w5=0x1f00/0xff00)", Match.from_ints(0x1F00 << 320, 0xFF00 << 320)),
    ("raw(w13=0x1)", Match.from_ints(1 << 832, (1 << 64) - 1 << 832)),
    ("eth_type(0x0806),raw(w4=0x6/0xff)", union(alone("eth_type", ARP), alone("ip_proto", 6))),
    (
        "eth_type(0x0806),raw(w4=0x5000000000000006/0xffff0000000000ff)",
        union(alone("eth_type", ARP), alone("ip_proto", 6), alone("tcp_dst", 80)),
    ),
    ("raw(w4=0x0/0xff0000)", alone("ip_ttl", 0)),
    ("raw(w2=0x500000000000000/0xff0f000000000000)", alone("vlan_vid", 5)),
]

# text, another text of the same match
SYNONYMS = [
    ("", "any"),
    ("  any ", "any"),
    ("eth()", "any"),
    ("tunnel()", "any"),
    ("raw()", "any"),
    ("ipv4()", "eth_type(0x0800)"),
    ("arp()", "eth_type(0x0806)"),
    ("tcp()", "ip(proto=6)"),
    ("icmp()", "eth_type(0x0800),ipv4(proto=1)"),
    ("icmpv6()", "eth_type(0x86dd),ipv6(proto=58)"),
    ("eth_type(0x8848),mpls()", "eth_type(0x8848)"),
    ("icmpv6(type=136),nd()", "icmpv6(type=136)"),
    ("nd(sll=0:0:0:0:0:1,target=::1)", "nd(target=::1,sll=0:0:0:0:0:1)"),
    ("vlan()", "vlan(present=1)"),
    ("cvlan()", "vlan(present=1),cvlan(present=1)"),
    ("ipv4(ttl=0)", "eth_type(0x0800),ip(ttl=0)"),
    ("ipv6(proto=6)", "eth_type(0x86dd),ip(proto=6)"),
    ("ct_tuple4(proto=6)", "eth_type(0x0800),ct_tuple4(proto=6)"),
    ("eth_type(0x0800/0xff00),ipv4(ttl=3)", "eth_type(0x0800),ipv4(ttl=3)"),
    ("ipv4(dst=10.0.0.0/8)", "ipv4(dst=10.0.0.0/255.0.0.0)"),
    ("ipv4(dst=10.1.2.3/8)", "ipv4(dst=10.0.0.0/8)"),
    ("ipv4(dst=10.1.2.3/0)", "ipv4()"),
    ("ipv6(dst=2001:db8::1/32)", "ipv6(dst=2001:db8::/ffff:ffff::)"),
    ("in_port( 0x1 ) , tcp( dst = 0x50 / 0xffff )", "in_port(1),tcp(dst=80)"),
    ("tcp(src=1),tcp(dst=2)", "tcp(src=1,dst=2)"),
    ("tcp_flags(ack|syn)", "tcp_flags(0x12)"),
    ("tcp_flags(+syn-ack)", "tcp_flags(syn/syn|ack)"),
    ("tunnel(flags())", "tunnel(flags(0))"),
    ("tunnel(flags=df|key)", "tunnel(flags(df|key))"),
    ("ip_dscp(46),ipv4()", "ipv4(tos=0xb8/0xfc)"),
    ("raw(w4=0xff/0x00f)", "raw(w4=0xf/0xf)"),
    ("raw(w0=0x1/0xffffffff)", "in_port(1)"),
    ("ip(proto=6),raw(w4=0x6/0xff)", "ip(proto=6)"),
    ("encap()", "vlan()"),
    ("encap(encap())", "cvlan()"),
    ("encap(eth_type(0x0800))", "vlan(),eth_type(0x0800)"),
    ("eth_type(0x8100),encap()", "vlan(tpid=0x8100)"),
    (
        "in_port(1),eth_type(0x8100),vlan(vid=5,pcp=0),encap(eth_type(0x0800),ipv4(dst=1.2.3.4),tcp(dst=80))",
        "in_port(1),vlan(vid=5,pcp=0,tpid=0x8100),ipv4(dst=1.2.3.4),tcp(dst=80)",
    ),
    (
        "eth_type(0x88a8),vlan(vid=5),encap(eth_type(0x8100),vlan(vid=6),encap(eth_type(0x86dd),ipv6(proto=58)))",
        "vlan(vid=5,tpid=0x88a8),cvlan(vid=6,tpid=0x8100),ipv6(proto=58)",
    ),
    ("eth_type(0x8100),vlan(vid=5),encap(vlan(present=0))", "vlan(vid=5,tpid=0x8100),cvlan(present=0)"),
    ("encap(eth_type(0x0800)),vlan(vid=5),eth_type(0x8100)", "vlan(vid=5,tpid=0x8100),eth_type(0x0800)"),
]

# text, position of the fault, part of what is said about it
ERRORS = [
    ("foo(1)", 0, "expected a match group (docs/fields.md lists them), not 'foo'"),
    ("in_port(1),", 11, "expected a match group"),
    (",in_port(1)", 0, "expected a match group"),
    ("in_port(1))", 10, "expected ',' or the end"),
    ("in_port(1) eth()", 11, "expected ',' or the end"),
    ("in_port", 7, "expected '('"),
    ("in_port()", 8, "expected a value of in_port"),
    ("in_port(1,2)", 10, "expected ')'"),
    ("in_port(1", 9, "expected ',' or ')'"),
    ("in_port(eth0)", 8, "'eth0' is not the number of a port"),
    ("in_port(4294967296)", 8, "in_port: 4294967296 is outside 0..4294967295"),
    ("ipv4(src=1.2.3.4", 16, "expected ',' or ')'"),
    ("ipv4(src=)", 9, "expected a value of ipv4_src"),
    ("ipv4(src)", 8, "expected '='"),
    ("ipv4(sip=1.2.3.4)", 5, "ipv4 has no member 'sip', it has src, dst, proto, tos, ttl, frag"),
    ("ipv4(ttl=1,ttl=1)", 11, "ttl is given twice"),
    ("ipv4(ttl=1),ipv4(ttl=1)", 21, "ip_ttl is given twice"),
    ("ipv4(src=10.0.0)", 9, "ipv4_src: '10.0.0' is not an IPv4 address"),
    ("ipv4(src=10.0.0.0/33)", 9, "prefix /33 is longer than 32 bits"),
    ("ipv4(src=10.0.0.0/" + "9" * 5000 + ")", 9, "is longer than 32 bits"),
    ("ipv4(src=10.0.0.0/x)", 9, "'x' is not an IPv4 address"),
    ("ipv6(src=fe80::1%eth0)", 9, "has a scope"),
    ("eth(src=1:2:3:4:5)", 8, "is not an Ethernet address"),
    ("eth(src=+1:2:3:4:5:6)", 8, "is not an Ethernet address"),
    ("tcp(dst=65536)", 8, "tcp_dst: 65536 is outside 0..65535"),
    ("tcp(dst=1_0)", 8, "'1_0' is not a number"),
    ("tcp(dst=-1)", 8, "'-1' is not a number"),
    ("tcp(dst=1/0x10000)", 8, "0x10000 is outside 0..65535"),
    ("tcp_flags()", 10, "expected a value of tcp_flags"),
    ("tcp_flags(+syn-foo)", 10, "'foo' is none of fin, syn"),
    ("tcp_flags(+syn-syn)", 10, "syn is given twice"),
    ("tunnel(flags(df|foo))", 13, "'foo' is not a number"),
    ("tunnel(flags(df)", 16, "expected ',' or ')'"),
    ("ipv4(frag=maybe)", 10, "'maybe' is not a number"),
    ("any,in_port(1)", 0, "any stands alone"),
    ("in_port(1),any", 11, "any stands alone"),
    ("eth(),any", 6, "any stands alone"),
    ("any(1)", 0, "not 'any'"),
    ("tcp(src=1),udp(dst=2)", 19, "tcp_src needs ip_proto to be 6, not 17"),
    ("udp(dst=2),in_port(1),tcp(src=1)", 30, "udp_dst needs ip_proto to be 17, not 6"),
    ("in_port(1),eth_type(0x0806),tcp(src=1)", 36, "ip_proto needs eth_type to be 0x0800 or 0x86dd, not 0x0806"),
    ("eth_type(0x0806),ipv4(ttl=1)", 17, "ipv4 needs eth_type to be 0x0800, not 0x0806"),
    ("eth_type(0x86dd),arp()", 17, "arp needs eth_type to be 0x0806, not 0x86dd"),
    ("ipv4(ttl=1),ipv6(hlimit=1)", 24, "ip_ttl is given twice"),
    ("ipv4(ttl=1),ipv6(src=::1)", 21, "ipv6_src needs eth_type to be 0x86dd, not 0x0800"),
    ("vlan(present=0),encap()", 16, "encap needs vlan_present to be 1, not 0"),
    ("vlan(present=0,vid=5)", 19, "vlan_vid needs vlan_present to be 1, not 0"),
    ("ip(ttl=0)", 7, "ip_ttl needs eth_type: say whether 0x0800 or 0x86dd"),
    ("ip()", 0, "ip() needs eth_type: say whether 0x0800 or 0x86dd"),
    ("in_port(1),nd()", 11, "nd() needs icmpv6_type: say whether 135 or 136"),
    ("in_port(1),mpls(label=5)", 22, "mpls_label needs eth_type: say whether 0x8847 or 0x8848"),
    ("ipv4(proto=6/0),tcp(dst=80)", 11, "ip_proto is wildcarded here but needed elsewhere"),
    ("raw(w26=1)", 4, "raw has no member 'w26'"),
    ("raw(w4=0x10000000000000000)", 7, "is outside 0..18446744073709551615"),
    ("in_port(1),raw(w0=0x2/0xff)", 18, "raw contradicts what lies in the same bits"),
    ("raw(w0=1,w0=2)", 9, "w0 is given twice"),
    ("eth_type(0x8100),vlan(vid=5)", 17, "eth_type of a VLAN tag needs encap(...)"),
    ("eth_type(0x0800),vlan(vid=5),encap(ipv4())", 9, "eth_type beside encap must be 0x8100 or 0x88a8"),
    ("eth_type(0x8100/0xff00),encap()", 9, "eth_type beside encap must be 0x8100 or 0x88a8"),
    ("eth_type(0x8100),eth_type(0x8100)", 26, "eth_type is given twice"),
    ("encap(),encap()", 8, "encap is given twice"),
    ("encap(encap(encap()))", 12, "no more than 2 VLAN tags"),
    ("encap(encap(vlan()))", 12, "no more than 2 VLAN tags"),
    ("encap(foo(1))", 6, "expected a match group"),
    ("encap(eth_type(0x0800)", 22, "expected ',' or ')'"),
    ("eth_type(0x8100),vlan(tpid=0x8100),encap()", 9, "vlan_tpid is given twice"),
    ("\N{ARABIC-INDIC DIGIT ONE}", 0, "expected a match group"),
    ("tcp(dst=\N{ARABIC-INDIC DIGIT ONE})", 8, "is not a number"),
]


@pytest.mark.parametrize(("text", "match"), CANONICAL, ids=[text for text, _ in CANONICAL])
def test_canonical_text_means_its_match_and_is_written_back(text: str, match: Match) -> None:
    assert parse_match(text) == match
    assert format_match(match) == text


@pytest.mark.parametrize(("text", "other"), SYNONYMS, ids=[text for text, _ in SYNONYMS])
def test_texts_of_the_same_match(text: str, other: str) -> None:
    assert parse_match(text) == parse_match(other)


@pytest.mark.parametrize(("text", "position", "problem"), ERRORS, ids=[text[:60] for text, _, _ in ERRORS])
def test_error_shows_where_and_what(text: str, position: int, problem: str) -> None:
    with pytest.raises(TextError) as caught:
        parse_match(text)
    assert problem in caught.value.problem
    assert (caught.value.text, caught.value.position) == (text, position)


PORTS = {"p1": 1, "veth-0.5@if3": 7, "9": 2, "0x3": 3, "a(b": 4, "a,b": 5, "a/b": 6, "": 8}
NAMES = {number: name for name, number in PORTS.items()}


def test_port_is_read_and_written_by_name() -> None:
    for name in ("p1", "veth-0.5@if3"):
        assert parse_match(f"in_port({name})", PORTS) == Match(in_port=PORTS[name])
        assert format_match(Match(in_port=PORTS[name]), NAMES) == f"in_port({name})"


@pytest.mark.parametrize("number", [2, 3, 4, 5, 6, 8, 99])
def test_port_is_written_as_a_number_where_the_name_would_be_misread(number: int) -> None:
    assert format_match(Match(in_port=number), NAMES) == f"in_port({number})"


def test_number_of_a_port_wins_over_a_name_that_looks_like_one() -> None:
    assert parse_match("in_port(9)", PORTS) == Match(in_port=9)


def test_port_with_a_mask_is_written_as_a_number() -> None:
    assert format_match(Match(in_port=(1, 0x0F)), NAMES) == "in_port(1/0xf)"


def test_unknown_port_is_named() -> None:
    with pytest.raises(TextError, match="no port is called 'p9' at character 8"):
        parse_match("in_port(p9)", PORTS)


def test_too_long_a_text_is_refused() -> None:
    parse_match(" " * MAX_TEXT_CHARACTERS)
    with pytest.raises(TextError, match=f"exceeds the bound of {MAX_TEXT_CHARACTERS}"):
        parse_match(" " * (MAX_TEXT_CHARACTERS + 1))


def test_groups_side_by_side_are_not_deep() -> None:
    side_by_side = "in_port(1)" + ",eth()" * MAX_TEXT_DEPTH
    assert parse_match(side_by_side) == Match(in_port=1)


def test_bits_beyond_the_key_cannot_be_written() -> None:
    bit = 1 << 8 * KEY_BYTES
    with pytest.raises(ConfigError, match="beyond the 208 bytes"):
        format_match(Match.from_ints(bit, bit))


def test_every_field_has_a_place_of_its_own_in_the_text() -> None:
    places = [(group, member) for view in FIELDS.values() for group, member in view.texts]
    assert len(places) == len(set(places))
    assert {view.name for members in GROUPS.values() for view in members.values()} >= FIELDS.keys()


def test_group_is_one_value_or_has_members_but_not_both() -> None:
    assert [group for group, members in GROUPS.items() if "" in members and len(members) > 1] == []


@pytest.mark.parametrize(
    ("group", "needs"),
    [
        ("in_port", ()),
        ("eth", ()),
        ("ipv4", (("eth_type", (V4,)),)),
        ("ip", (("eth_type", (V4, V6)),)),
        ("tcp", (("ip_proto", (6,)),)),
        ("vlan", (("vlan_present", (1,)),)),
        ("nd", (("eth_type", (V6,)), ("ip_proto", (58,)), ("icmpv6_type", (135, 136)))),
    ],
)
def test_name_of_a_group_says_what_its_fields_need(group: str, needs: object) -> None:
    assert NEEDS[group] == needs
