"""Which actions a flow may have, by its match, its table and the version of OpenFlow."""

from __future__ import annotations

import pytest

from tests.ofproto import Desk, flow
from vswitch.fields.openflow import OPENFLOW_FIELDS
from vswitch.messages import actions as a
from vswitch.messages.actions import FlowAction, Output
from vswitch.messages.flows import (
    Bucket,
    FlowCommand,
    GroupCommand,
    GroupMod,
    MeterBand,
    MeterCommand,
    MeterMod,
    PacketOut,
)
from vswitch.messages.match import FlowMatch, SubField
from vswitch.ofproto.admission import REFUSED_ACTIONS

ANY = FlowMatch()
IP, IPV6 = FlowMatch(eth_type=0x800), FlowMatch(eth_type=0x86DD)
TCP, UDP = FlowMatch(eth_type=0x800, ip_proto=6), FlowMatch(eth_type=0x800, ip_proto=17)
MPLS = FlowMatch(eth_type=0x8847)
TAGGED = FlowMatch(vlan_vid=(0x1000, 0x1000))
TAGGED_7 = FlowMatch(vlan_vid=0x1007)
INCONSISTENT, ARGUMENT, SET = "match_inconsistent", "bad_argument", "bad_set_argument"
CONJUNCTION = "nicira.bad_conjunction"


def set_field(name: str, value: int = 1) -> a.SetField:
    return a.SetField(OPENFLOW_FIELDS[name], value, OPENFLOW_FIELDS[name].max)


def part(name: str, start: int = 0, bits: int | None = None) -> SubField:
    return SubField.of(name, start, bits)


LEARN_IP = a.LearnSpec("match", 32, part("ipv4_src"), 0, part("ipv4_dst"))

# match, actions, since which version it is refused, how ("": never)
ROWS: list[tuple[FlowMatch, tuple[FlowAction, ...], int, str]] = [
    (ANY, (), 1, ""),
    (ANY, (Output(60000),), 1, ""),
    (ANY, (Output(0xFF00),), 1, "bad_out_port"),
    (ANY, (Output(0xFFFFFFFF),), 1, "bad_out_port"),
    (ANY, (Output(0xFFFFFF00),), 1, "bad_out_port"),
    *((ANY, (Output(port),), 1, "") for port in range(0xFFFFFFF8, 0xFFFFFFFF)),
    (ANY, (a.Enqueue(7, 1),), 1, ""),
    (ANY, (a.Enqueue(0xFFFFFFFA, 1),), 1, "bad_out_port"),
    (ANY, (a.Group(5),), 1, "bad_out_group"),
    (IP, (set_field("ipv4_src"),), 1, ""),
    (ANY, (set_field("ipv4_src"),), 1, INCONSISTENT),
    (IPV6, (set_field("ipv4_src"),), 1, INCONSISTENT),
    (IPV6, (set_field("ip_dscp"),), 1, ""),
    (TCP, (set_field("tcp_dst"),), 1, ""),
    (UDP, (set_field("tcp_dst"),), 1, INCONSISTENT),
    (ANY, (set_field("eth_type"),), 1, SET),
    (ANY, (set_field("in_port"),), 1, ""),
    (ANY, (a.SetField(OPENFLOW_FIELDS["reg0"], 3, 1),), 1, SET),
    (ANY, (set_field("ct_mark"),), 1, SET),
    (ANY, (a.Resubmit(None, 1, ct=True),), 1, "bad_type"),
    (ANY, (set_field("vlan_vid", 0x1005),), 1, INCONSISTENT),
    (TAGGED, (set_field("vlan_vid", 0x1005),), 1, ""),
    (ANY, (a.RegLoad(part("vlan_vid", 0, 12), 5),), 1, INCONSISTENT),
    (TAGGED_7, (a.RegLoad(part("vlan_vid", 0, 12), 5),), 1, ""),
    (ANY, (a.WriteActions((set_field("vlan_vid", 0x1005),)),), 1, INCONSISTENT),
    (ANY, (a.WriteActions((a.PopVlan(), a.DecTtl(), a.DecMplsTtl(), a.PopMpls(0x800))),), 2, ""),
    (ANY, (a.WriteActions((a.ModVlanVid(5, push=False), a.ModField("tp_src", 1))),), 2, ""),
    (ANY, (set_field("vlan_pcp", 5),), 1, INCONSISTENT),
    (TAGGED, (set_field("vlan_pcp", 5),), 1, ""),
    (TAGGED_7, (set_field("vlan_pcp", 5),), 1, ""),
    (ANY, (a.PushVlan(), set_field("vlan_vid", 0x1005), set_field("vlan_pcp")), 1, ""),
    (ANY, (a.PushVlan(0x9100),), 1, ARGUMENT),
    (ANY, (a.PopVlan(),), 2, INCONSISTENT),
    (TAGGED, (a.PopVlan(),), 1, ""),
    (TAGGED, (a.PopVlan(), set_field("vlan_pcp")), 1, INCONSISTENT),
    (ANY, (a.ModVlanVid(5),), 1, ""),
    (ANY, (a.ModVlanVid(5, push=False),), 2, INCONSISTENT),
    (ANY, (a.ModVlanVid(0x1000),), 1, ARGUMENT),
    (ANY, (a.ModVlanPcp(8),), 1, ARGUMENT),
    (ANY, (a.ModField("ipv4_src", 1),), 2, INCONSISTENT),
    (IP, (a.ModField("ipv4_src", 1),), 1, ""),
    (ANY, (a.ModField("tp_src", 1),), 2, INCONSISTENT),
    (UDP, (a.ModField("tp_src", 1),), 1, ""),
    (ANY, (a.DecTtl(),), 2, INCONSISTENT),
    (IPV6, (a.DecTtl(),), 1, ""),
    (IP, (a.PushMpls(), a.SetMplsTtl(3), a.PopMpls(0x800), a.DecTtl()), 1, ""),
    (IP, (a.PushMpls(), a.DecTtl()), 2, INCONSISTENT),
    (IP, (a.PushMpls(0x8849),), 1, ARGUMENT),
    (IP, (a.PushMpls(), set_field("mpls_label")), 1, ""),
    (IP, (a.PopMpls(0x800),), 2, INCONSISTENT),
    (MPLS, (a.PopMpls(0x800), set_field("ipv4_dst")), 1, ""),
    (MPLS, (a.DecMplsTtl(), a.SetMplsLabel(3), a.SetMplsTc(1)), 1, ""),
    (ANY, (a.DecMplsTtl(),), 2, INCONSISTENT),
    (IP, (a.RegMove(part("ipv4_src"), part("reg0")),), 1, ""),
    (ANY, (a.RegMove(part("ipv4_src"), part("reg0")),), 1, INCONSISTENT),
    (IP, (a.RegMove(part("ipv4_src"), part("reg0", 0, 16)),), 1, ARGUMENT),
    (IP, (a.RegMove(part("reg0"), part("ipv4_src")),), 1, ""),
    (ANY, (a.RegMove(part("reg0"), part("ipv4_src")),), 1, INCONSISTENT),
    (ANY, (a.RegMove(part("reg0", 0, 16), part("eth_type")),), 1, SET),
    (ANY, (a.RegLoad(part("reg0", 0, 4), 15),), 1, ""),
    (ANY, (a.RegLoad(part("reg0", 0, 4), 16),), 1, ARGUMENT),
    (ANY, (a.OutputReg(part("tcp_src")),), 1, INCONSISTENT),
    (ANY, (a.OutputReg(part("reg0")),), 1, ""),
    (ANY, (a.StackPush(part("tcp_src")),), 1, INCONSISTENT),
    (ANY, (a.StackPop(part("eth_type")),), 1, SET),
    (ANY, (a.CheckPacketLarger(100, part("reg0", 0, 1)),), 1, ""),
    (ANY, (a.CheckPacketLarger(100, part("reg0", 0, 2)),), 1, SET),
    (ANY, (a.Multipath("symmetric_l4", 0, "hrw", 3, 0, part("reg0", 0, 2)),), 1, ""),
    (ANY, (a.Multipath("symmetric_l4", 0, "hrw", 4, 0, part("reg0", 0, 2)),), 1, ARGUMENT),
    (ANY, (a.Bundle("eth_src", 0, "hrw", (1, 2)),), 1, ""),
    (ANY, (a.Bundle("eth_src", 0, "hrw", (1, 0xFF00)),), 1, "bad_out_port"),
    (ANY, (a.Conjunction(1, 0, 2), a.Conjunction(2, 1, 2), a.Note(b"x")), 1, ""),
    (ANY, (a.Conjunction(1, 2, 2),), 1, CONJUNCTION),
    (ANY, (a.Conjunction(1, 0, 1),), 1, CONJUNCTION),
    (ANY, (a.Conjunction(1, 0, 2), Output(1)), 1, CONJUNCTION),
    (ANY, (a.Clone((a.Conjunction(1, 0, 2),)),), 1, "bad_type"),
    (ANY, (a.WriteActions((a.Learn(()),)),), 1, "bad_type"),
    (ANY, (a.WriteActions((Output(1), a.SetQueue(1))),), 1, ""),
    (ANY, (a.WriteActions((set_field("ipv4_src"),)),), 1, INCONSISTENT),
    (ANY, (a.Clone((a.PushVlan(),)), set_field("vlan_pcp")), 1, INCONSISTENT),
    (ANY, (a.Learn((a.LearnSpec("match", 16, part("tcp_src"), 0, part("tcp_dst")),)),), 1, INCONSISTENT),
    (ANY, (a.Learn((a.LearnSpec("match", 48, part("eth_src"), 0, part("eth_dst")),)),), 1, ""),
    (ANY, (a.Learn((), table=254),), 1, ARGUMENT),
    (IP, (a.Learn((LEARN_IP,)),), 1, INCONSISTENT),
    (IP, (a.Learn((a.LearnSpec("match", 16, None, 0x800, part("eth_type")), LEARN_IP)),), 1, ""),
    (IP, (a.Learn((a.LearnSpec("match", 16, part("eth_type"), 0, part("eth_type")), LEARN_IP)),), 1, INCONSISTENT),
    (ANY, (a.Learn((a.LearnSpec("load", 8, None, 4, part("ip_ttl")),)),), 1, INCONSISTENT),
    (ANY, (a.FinTimeout(5, 5),), 2, INCONSISTENT),
    (TCP, (a.FinTimeout(5, 5),), 1, ""),
    (ANY, (a.Resubmit(None, 5), a.Exit(), a.SetTunnel(5), a.PopQueue(), a.Sample(1)), 1, ""),
    (ANY, (a.Controller(meter=77),), 1, ""),
]


@pytest.mark.parametrize(("match", "actions", "since", "error"), ROWS)
@pytest.mark.parametrize("version", [1, 2, 4, 6])
def test_actions_are_admitted_or_refused(
    match: FlowMatch, actions: tuple[FlowAction, ...], since: int, error: str, version: int
) -> None:
    desk = Desk(version)
    if error and version >= since:
        assert desk.refused(flow(match, actions)) == (error if "." in error else f"bad_action.{error}")
    else:
        desk.do(flow(match, actions))
        assert desk.rule().actions == actions


@pytest.mark.parametrize("kind", REFUSED_ACTIONS)
def test_what_the_datapath_lacks_is_refused(kind: type[FlowAction]) -> None:
    arguments = {a.Encap: (1,), a.DeleteField: (OPENFLOW_FIELDS["reg0"],)}.get(kind, ())
    assert Desk().refused(flow(IP, (kind(*arguments),))) == "bad_action.bad_type"


@pytest.mark.parametrize(
    ("table", "to", "fine"), [(0, 1, True), (3, 3, False), (3, 2, False), (3, 253, True), (3, 254, False)]
)
def test_goto_goes_only_forwards(table: int, to: int, fine: bool) -> None:
    desk, mod = Desk(), flow(actions=(a.GotoTable(to),), table=table)
    if fine:
        desk.do(mod)
    else:
        assert desk.refused(mod) == "bad_instruction.bad_table_id"


def test_a_meter_must_be_there() -> None:
    desk = Desk()
    mod = flow(actions=(a.Meter(3), Output(1)))
    assert desk.refused(mod) == "meter_mod_failed.invalid_meter"
    desk.do(MeterMod(MeterCommand.ADD, 3, 1, (MeterBand(1000),)))
    desk.do(mod)


def test_modify_is_admitted_by_the_match_of_each_flow_and_done_for_all_or_none() -> None:
    desk = Desk()
    desk.do(flow(TCP))
    desk.do(flow(UDP))
    assert desk.refused(flow(IP, (set_field("tcp_dst"),), FlowCommand.MODIFY)) == "bad_action.match_inconsistent"
    desk.do(flow(TCP, (set_field("tcp_dst"),), FlowCommand.MODIFY))


def test_nesting_has_a_bound() -> None:
    actions: tuple[FlowAction, ...] = (Output(1),)
    for _ in range(9):
        actions = (a.Clone(actions),)
    assert Desk().refused(flow(actions=actions)) == "bad_action.too_many"


def test_a_packet_out_and_a_bucket_are_looked_through_too() -> None:
    desk = Desk()
    assert desk.refused(PacketOut(b"", (a.Group(9),), FlowMatch(in_port=1))) == "bad_action.bad_out_group"
    assert desk.refused(PacketOut(b"", (a.Ct(),), FlowMatch(in_port=1))) == "bad_action.bad_type"
    packet = PacketOut(b"frame", (set_field("ipv4_src"), Output(1)), FlowMatch(in_port=1))
    assert desk.do(packet).packets == [packet]
    bucket = Bucket((a.Conjunction(1, 0, 2),))
    assert desk.refused(GroupMod(GroupCommand.ADD, 1, buckets=(bucket,))) == "bad_action.bad_type"


@pytest.mark.parametrize("name", [each.name for each in OPENFLOW_FIELDS.values() if each.name.startswith("ct_")])
def test_no_flow_matches_connections(name: str) -> None:
    """Not by fields either that lie where other packets have other headers."""
    assert Desk().refused(flow(FlowMatch(**{name: 1}))) == "bad_match.bad_field"


def test_fields_that_lie_where_those_of_connections_do_are_matched() -> None:
    desk = Desk()
    desk.do(flow(FlowMatch(icmpv6_type=135, nd_target="fe80::1", nd_sll=5)))
    desk.do(flow(FlowMatch(eth_type=0x806, arp_sha=5, arp_op=1)))
