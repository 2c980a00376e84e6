"""Flows in the text of ovs-ofctl: what a text means, how a flow is printed, where a fault is."""

from __future__ import annotations

import pytest

from vswitch.base.errors import TextError
from vswitch.messages.actions import GotoTable, Output, RegLoad, Resubmit
from vswitch.messages.flows import ALL_TABLES, FlowCommand, FlowFlags, FlowMod
from vswitch.messages.match import FlowMatch, SubField
from vswitch.messages.stats import FlowMonitorRequest, FlowStats, FlowStatsRequest
from vswitch.text.flow import (
    format_flow,
    format_flow_mod,
    format_flow_request,
    parse_flow,
    parse_flow_monitor,
    parse_flow_request,
    parse_flow_stats,
)
from vswitch.text.flow_match import format_flow_match, parse_flow_match

MATCHES = [
    ("", FlowMatch()),
    ("tcp,nw_dst=10.0.0.0/8,tp_dst=80", FlowMatch(eth_type=0x800, ip_proto=6, ipv4_dst="10.0.0.0/8", tcp_dst=80)),
    ("dl_type=0x800,nw_proto=17,tp_src=53", FlowMatch(eth_type=0x800, ip_proto=17, udp_src=53)),
    ("tcp6,ipv6_src=fe80::/10", FlowMatch(eth_type=0x86DD, ip_proto=6, ipv6_src="fe80::/10")),
    ("in_port=LOCAL", FlowMatch(in_port=0xFFFFFFFE)),
    ("in_port=local", FlowMatch(in_port=0xFFFFFFFE)),
    ("in_port=65534", FlowMatch(in_port=0xFFFFFFFE)),
    ("arp,nw_src=1.2.3.4,nw_proto=2", FlowMatch(eth_type=0x806, arp_spa="1.2.3.4", arp_op=2)),
    ("dl_vlan=5", FlowMatch(vlan_tci=(0x1005, 0x1FFF))),
    ("dl_vlan=0xffff", FlowMatch(vlan_tci=(0, 0xFFFF))),
    ("dl_vlan_pcp=3", FlowMatch(vlan_tci=(0x7000, 0xF000))),
    ("vlan_tci=0x1000/0x1000", FlowMatch(vlan_tci=(0x1000, 0x1000))),
    ("vlan_vid=0x1005", FlowMatch(vlan_tci=(0x1005, 0x1FFF))),
    ("ip,nw_tos=33", FlowMatch(eth_type=0x800, ip_dscp=8)),
    ("ip,ip_dscp=8", FlowMatch(eth_type=0x800, ip_dscp=8)),
    ("ip,nw_frag=not_later", FlowMatch(eth_type=0x800, ip_frag=(0, 2))),
    ("tcp,tcp_flags=+syn-ack", FlowMatch(eth_type=0x800, ip_proto=6, tcp_flags=(2, 0x12))),
    ("tcp,tcp_flags=syn|ack", FlowMatch(eth_type=0x800, ip_proto=6, tcp_flags=0x12)),
    ("ct_state=+trk-new", FlowMatch(ct_state=(0x20, 0x21))),
    ("reg0=5/0xff,metadata=7", FlowMatch(reg0=(5, 0xFF), metadata=7)),
    ("xreg1=0x100000002", FlowMatch(reg2=1, reg3=2)),
    ("NXM_NX_REG0[4..7]=5", FlowMatch(reg0=(0x50, 0xF0))),
    ("dl_dst=01:00:00:00:00:00/01:00:00:00:00:00", FlowMatch(eth_dst=(1 << 40, 1 << 40))),
    ("mpls,mpls_label=5,mpls_bos=1", FlowMatch(eth_type=0x8847, mpls_label=5, mpls_bos=1)),
    ("icmp6,icmp_type=135,icmp_code=0,nd_target=::1", FlowMatch(icmpv6_type=135, icmpv6_code=0, nd_target="::1")),
    ("tun_id=5,tun_src=1.2.3.4", FlowMatch(tun_id=5, tun_src="1.2.3.4")),
    ("reg0=*,in_port=*", FlowMatch()),
    ("in_port=1,in_port=2", FlowMatch(in_port=2)),
    ("ip,arp", FlowMatch(eth_type=0x806)),
    ("nw_dst=1.2.3.4 ip\t", FlowMatch(eth_type=0x800, ipv4_dst="1.2.3.4")),
]


@pytest.mark.parametrize(("text", "match"), MATCHES)
def test_what_a_match_means(text: str, match: FlowMatch) -> None:
    assert parse_flow_match(text) == match


PRINTED = [
    (FlowMatch(eth_type=0x800, ip_proto=6, tcp_dst=80), "tcp,tp_dst=80"),
    (FlowMatch(vlan_tci=(0x1005, 0x1FFF)), "dl_vlan=5"),
    (FlowMatch(vlan_tci=0x3005), "dl_vlan=5,dl_vlan_pcp=1"),
    (FlowMatch(vlan_tci=0), "vlan_tci=0x0000"),
    (FlowMatch(vlan_tci=(0, 0x1000)), "vlan_tci=0x0000/0x1000"),
    (FlowMatch(eth_type=0x86DD, ipv6_label=5), "ipv6,ipv6_label=0x00005"),
    (FlowMatch(eth_type=0x86DD, ipv6_src="::1.2.3.4"), "ipv6,ipv6_src=::1.2.3.4"),
    (FlowMatch(tun_ipv6_src="fe80::1"), "tun_ipv6_src=fe80::1"),
    (FlowMatch(eth_type=0x5FF), "dl_type=0x05ff"),
    (FlowMatch(xxreg1=5), "reg4=0,reg5=0,reg6=0,reg7=0x5"),
    (FlowMatch(in_port=0xFFFFFFFD), "in_port=CONTROLLER"),
    (FlowMatch(actset_output=0xFFFFFFF7), "actset_output=UNSET"),
    (FlowMatch(packet_type=0x10800), "packet_type=(1,0x800)"),
    (FlowMatch(eth_type=0x800, ip_dscp=8, ip_ecn=1), "ip,nw_tos=32,nw_ecn=1"),
]


@pytest.mark.parametrize(("match", "text"), PRINTED)
def test_how_a_match_is_printed(match: FlowMatch, text: str) -> None:
    assert format_flow_match(match) == text
    assert parse_flow_match(text) == match


def test_properties_of_a_flow() -> None:
    text = (
        "table=3,cookie=0x12,idle_timeout=3,hard_timeout=5,importance=7,send_flow_rem,check_overlap,reset_counts,"
        "no_packet_counts,no_byte_counts,priority=9,actions=output:1"
    )
    assert parse_flow(text) == FlowMod(
        FlowCommand.ADD, FlowMatch(), (Output(1),), 9, 3, 0x12, 0, 3, 5, sum(f for f in FlowFlags if f < 1 << 16), 7
    )


def test_the_switch_chooses_a_table_that_is_not_named() -> None:
    assert parse_flow("actions=drop").table is None
    assert parse_flow("table=255,actions=drop").table is None
    assert parse_flow("", FlowCommand.DELETE).table == ALL_TABLES


def test_cookies_of_a_modification() -> None:
    mod = parse_flow("cookie=0x15/0xf,cookie=9,actions=drop", FlowCommand.MODIFY)
    assert (mod.cookie, mod.cookie_mask, mod.new_cookie) == (5, 0xF, 9)
    assert format_flow_mod(mod) == "MOD cookie:0x9 cookie:0x5/0xf actions=drop"


def test_a_deletion_chooses_by_cookie_and_output() -> None:
    mod = parse_flow("table=3,cookie=5/-1,ip,out_port=LOCAL,out_group=4", FlowCommand.DELETE)
    assert (mod.cookie, mod.cookie_mask, mod.out_port, mod.out_group) == (5, (1 << 64) - 1, 0xFFFFFFFE, 4)
    printed = "DEL table:3 ip cookie:0x5/0xffffffffffffffff out_port:LOCAL out_group:4 actions=drop"
    assert format_flow_mod(mod) == printed


def test_which_flows_to_dump() -> None:
    request = parse_flow_request("table=3,out_port=4,ip,cookie=1/1")
    assert request == FlowStatsRequest("flow", FlowMatch(eth_type=0x800), 3, 4, cookie=1, cookie_mask=1)
    assert format_flow_request(request) == "table=3 out_port=4 ip"
    assert parse_flow_request() == FlowStatsRequest()


def test_names_of_ports_and_tables() -> None:
    ports, tables = {"eth0": 1, "s1-eth2": 2}, {"acl": 4}
    mod = parse_flow('table=acl,in_port=eth0,actions=output:"s1-eth2",eth0,resubmit(,acl)', ports=ports, tables=tables)
    assert mod.actions == (Output(2), Output(1), Resubmit(None, 4))
    names, table_names = {1: "eth0", 2: "s1-eth2"}, {4: "acl"}
    text = format_flow_mod(mod, names, table_names)
    assert text == 'ADD table:acl in_port=eth0 actions=output:"s1-eth2",output:eth0,resubmit(,acl)'


STATS = [
    (
        FlowStats(
            FlowMatch(eth_type=0x800, ipv4_dst="10.0.0.0/8"), (Output(2),), 5, 0, 0, 1_234_000_000, 0, 0, idle_age_s=1
        ),
        " cookie=0x0, duration=1.234s, table=0, n_packets=0, n_bytes=0, idle_age=1, ",
        " ",
        "priority=5,ip,nw_dst=10.0.0.0/8 actions=output:2",
    ),
    (
        FlowStats(FlowMatch(), (), 0x8000, 3, 0x12, 7_000_000_000, 4, 240, 300, 500, 1, 3, 2, 5),
        (
            " cookie=0x12, duration=7s, table=3, n_packets=4, n_bytes=240, idle_timeout=300, hard_timeout=500, "
            "send_flow_rem importance=3, idle_age=2, hard_age=5, "
        ),
        " cookie=0x12, table=3, idle_timeout=300, hard_timeout=500, send_flow_rem importance=3, ",
        "actions=drop",
    ),
    (
        FlowStats(FlowMatch(in_port=1), (GotoTable(6),), 0, 5, 0, 1_000_001_000, 0, 0, flags=0x1F),
        " cookie=0x0, duration=1.000001s, table=5, n_packets=0, n_bytes=0, ",
        " table=5, ",
        (
            "send_flow_rem check_overlap reset_counts no_packet_counts no_byte_counts priority=0,in_port=1 "
            "actions=goto_table:6"
        ),
    ),
]


@pytest.mark.parametrize(("flow", "head", "plain", "rest"), STATS)
def test_how_a_flow_is_dumped(flow: FlowStats, head: str, plain: str, rest: str) -> None:
    assert format_flow(flow) == head + rest
    assert format_flow(flow, stats=False) == plain + rest


FAULTS = [
    ("ip,nw_dst=10.0.0.0/33,actions=drop", 10, "longer than the 32 bits"),
    ("ip,nw_dst=10.0.0,actions=drop", 10, "not an IPv4 address"),
    ("foo=3,actions=drop", 0, "foo"),
    ("tcp,tp_dst=65536,actions=drop", 11, "outside 0..65535"),
    ("priority=70000,actions=drop", 9, "priority 70000 is outside 0..65535"),
    ("priority,actions=drop", 0, "no value"),
    ("ip,in_port=eth7,actions=drop", 11, "eth7"),
    ("ip", 2, "no actions"),
    ("nw_dst=10.0.0.1,actions=drop", 0, "nw_dst needs"),
    ("ip,tcp_dst=80,actions=drop", 3, "tcp_dst needs"),
    ("actions=output:1,foo", 17, "neither an action nor a port"),
    ("actions=load:5->reg0[3]", 13, "outside 0..1"),
    ("actions=load:5->regx", 16, "regx"),
    ("actions=set_field:1->dl_type", 21, "only be read"),
    ("actions=clone(output:1,clone(foo))", 29, "foo"),
    ("actions=clone(output:1", 13, "not closed"),
    ("actions=learn(table=1,bar=4)", 22, "bar"),
    ("actions=ct(commit,nat(src=1.2.3))", 26, "1.2.3"),
    ("actions=drop,output:1", 8, "alone"),
    ("actions=goto_table:1,output:2", 21, "order"),
    ("out_port=3,actions=drop", 0, "no meaning"),
    ("tcp,tcp_flags=+foo,actions=drop", 14, "foo"),
    ("in_port=1/2,actions=drop", 8, "1/2"),
    ("ip,nw_ttl=3/1,actions=drop", 10, "no mask"),
    ("cookie=1/1,actions=drop", 7, "mask"),
    ("=3,actions=drop", 0, "word is missing"),
    ("n_packets=,actions=drop", 0, "no value"),
    ("actions=resubmit(,5)foo", 20, "foo"),
    ("actions=clone(output:1)->reg0", 23, "destination"),
    ("actions=ct(commit,nat(src=1.2.3.4-))", 26, "address"),
    ("actions=ct(commit,nat(src=1.2.3.4:5-))", 26, "port"),
]


@pytest.mark.parametrize(("text", "position", "problem"), FAULTS)
def test_where_a_fault_is(text: str, position: int, problem: str) -> None:
    with pytest.raises(TextError) as caught:
        parse_flow(text)
    assert caught.value.position == position
    assert problem in caught.value.problem
    assert caught.value.text == text


def test_fields_that_no_packet_has_are_told_of_and_dropped() -> None:
    told: list[TextError] = []
    mod = parse_flow("nw_dst=10.0.0.1,in_port=1,actions=drop", warn=told.append)
    assert mod.match == FlowMatch(in_port=1)
    assert [error.position for error in told] == [0]


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("priority=5", FlowCommand.DELETE),
        ("cookie=5", FlowCommand.DELETE),
        ("actions=drop", FlowCommand.DELETE),
        ("idle_timeout=5", FlowCommand.DELETE_STRICT),
        ("send_flow_rem", FlowCommand.DELETE),
        ("importance=5,actions=drop", FlowCommand.MODIFY),
        ("out_port=5,actions=drop", FlowCommand.MODIFY_STRICT),
    ],
)
def test_words_that_a_command_does_not_take(text: str, command: FlowCommand) -> None:
    with pytest.raises(TextError):
        parse_flow(text, command)


def test_what_dump_flows_counts_is_ignored() -> None:
    counted = "duration=1.5s, table=1, n_packets=3, n_bytes=4, idle_age=1, hard_age=3"
    mod = parse_flow(f" cookie=0x5, {counted}, priority=7 actions=load:1->reg0")
    assert (mod.cookie, mod.table, mod.priority) == (5, 1, 7)
    assert mod.actions == (RegLoad(SubField.of("reg0"), 1),)


@pytest.mark.parametrize(("flow", "head", "plain", "rest"), STATS)
def test_a_dumped_flow_is_read_back(flow: FlowStats, head: str, plain: str, rest: str) -> None:
    assert parse_flow_stats(head + rest) == flow


def test_which_changes_to_be_told_of() -> None:
    assert parse_flow_monitor("", 1).flags == 63
    request = parse_flow_monitor("!initial,!own,table=3,ip,out_port=LOCAL,out_group=2", 7)
    assert request == FlowMonitorRequest(7, 30, FlowMatch(eth_type=0x800), 3, 0xFFFFFFFE, 2)
    with pytest.raises(TextError, match="priority"):
        parse_flow_monitor("priority=3", 1)


@pytest.mark.parametrize("text", ["priority=" + "9" * 5000, "ip,nw_dst=1.2.3.4/" + "9" * 5000, "reg0=" + "1" * 5000])
def test_a_number_of_thousands_of_digits_is_refused(text: str) -> None:
    with pytest.raises(TextError):
        parse_flow(f"{text},actions=drop")


def test_reset_counts_is_said_since_openflow_12() -> None:
    mod = parse_flow("reset_counts,check_overlap,actions=drop")
    assert format_flow_mod(mod, version=1) == format_flow_mod(mod, version=2) == "ADD check_overlap actions=drop"
    assert format_flow_mod(mod, version=3) == format_flow_mod(mod) == "ADD check_overlap reset_counts actions=drop"
