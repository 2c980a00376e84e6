"""Actions in the text of ovs-ofctl: each word with what it means."""

from __future__ import annotations

import pytest

from vswitch.fields.openflow import OPENFLOW_FIELDS
from vswitch.messages import actions as a
from vswitch.messages.match import SubField
from vswitch.text.flow_actions import parse_flow_actions
from vswitch.text.flow_actions_format import format_flow_actions

REG0, REG1 = SubField.of("reg0"), SubField.of("reg1")

ROWS: list[tuple[str, a.FlowAction, str]] = [
    ("3", a.Output(3), "output:3"),
    ("output:LOCAL", a.Output(0xFFFFFFFE), "LOCAL"),
    ("normal", a.Output(0xFFFFFFFA), "NORMAL"),
    ("Flood", a.Output(0xFFFFFFFB), "FLOOD"),
    ("in_port", a.Output(0xFFFFFFF8), "IN_PORT"),
    ("controller", a.Output(0xFFFFFFFD, 0xFFFF), "CONTROLLER:65535"),
    ("controller:128", a.Output(0xFFFFFFFD, 128), "CONTROLLER:128"),
    ("controller(max_len=5)", a.Output(0xFFFFFFFD, 5), "CONTROLLER:5"),
    ("controller(reason=no_match,id=3)", a.Controller(0xFFFF, 3, 0), "controller(reason=no_match,id=3)"),
    ("controller(userdata=01.0203,pause)", a.Controller(userdata=b"\x01\x02\x03", pause=True),
     "controller(userdata=01.02.03,pause)"),
    ("controller(id=3,meter_id=5)", a.Controller(controller_id=3, meter=5), "controller(id=3,meter_id=5)"),
    ("output:reg0[0..15]", a.OutputReg(SubField.of("reg0", 0, 16)), "output:NXM_NX_REG0[0..15]"),
    ("output(port=3,max_len=100)", a.Output(3, 0, 100), "output(port=3,max_len=100)"),
    ("enqueue(3,4)", a.Enqueue(3, 4), "enqueue:3:4"),
    ("group:5", a.Group(5), "group:5"),
    ("bundle(symmetric_l4,60,active_backup,ofport,slaves:4,8)",
     a.Bundle("symmetric_l4", 60, "active_backup", (4, 8)),
     "bundle(symmetric_l4,60,active_backup,ofport,members:4,8)"),
    ("bundle_load(eth_src,0,hrw,ofport,reg0,members:4)", a.Bundle("eth_src", 0, "hrw", (4,), REG0),
     "bundle_load(eth_src,0,hrw,ofport,NXM_NX_REG0[],members:4)"),
    ("set_field:5->reg0", a.SetField(OPENFLOW_FIELDS["reg0"], 5, 0xFFFFFFFF), "set_field:0x5->reg0"),
    ("set_field:0x15/0xf->reg0", a.SetField(OPENFLOW_FIELDS["reg0"], 5, 15), "set_field:0x5/0xf->reg0"),
    ("set_field:1.2.3.4->nw_dst", a.SetField(OPENFLOW_FIELDS["ipv4_dst"], 0x01020304, 0xFFFFFFFF),
     "set_field:1.2.3.4->ip_dst"),
    ("set_field:::1->ipv6_src", a.SetField(OPENFLOW_FIELDS["ipv6_src"], 1, (1 << 128) - 1), "set_field:::1->ipv6_src"),
    ("set_field:0x1005->vlan_vid", a.SetField(OPENFLOW_FIELDS["vlan_vid"], 0x1005, 0x1FFF),
     "set_field:4101->vlan_vid"),
    ("set_field:0x450/0x1ff0->in_port", a.SetField(OPENFLOW_FIELDS["in_port"], 0x450, 0x1FF0),
     "set_field:1104/0x1ff0->in_port"),
    ("load:5->NXM_NX_REG0[4..7]", a.RegLoad(SubField.of("reg0", 4, 4), 5), "load:0x5->NXM_NX_REG0[4..7]"),
    ("load:0->reg0", a.RegLoad(REG0, 0), "load:0->NXM_NX_REG0[]"),
    ("move:reg0->reg1", a.RegMove(REG0, REG1), "move:NXM_NX_REG0[]->NXM_NX_REG1[]"),
    ("move:in_port->reg0[0..15]", a.RegMove(SubField.of("in_port", 0, 16), SubField.of("reg0", 0, 16)),
     "move:NXM_OF_IN_PORT[]->NXM_NX_REG0[0..15]"),
    ("move:OXM_OF_IN_PORT[]->reg0", a.RegMove(SubField.of("in_port"), REG0), "move:OXM_OF_IN_PORT[]->NXM_NX_REG0[]"),
    ("mod_dl_src:0:1:2:3:4:5", a.ModField("eth_src", 0x000102030405), "mod_dl_src:00:01:02:03:04:05"),
    ("mod_nw_src:1.2.3.4", a.ModField("ipv4_src", 0x01020304), "mod_nw_src:1.2.3.4"),
    ("mod_nw_tos:32", a.ModField("ip_tos", 32), "mod_nw_tos:32"),
    ("mod_nw_ecn:2", a.ModField("ip_ecn", 2), "mod_nw_ecn:2"),
    ("mod_nw_ttl:2", a.ModField("ip_ttl", 2), "mod_nw_ttl:2"),
    ("mod_tp_dst:80", a.ModField("tp_dst", 80), "mod_tp_dst:80"),
    ("mod_vlan_vid:3", a.ModVlanVid(3), "mod_vlan_vid:3"),
    ("set_vlan_pcp:3", a.ModVlanPcp(3, False), "set_vlan_pcp:3"),
    ("strip_vlan", a.PopVlan(True), "strip_vlan"),
    ("pop_vlan", a.PopVlan(), "pop_vlan"),
    ("push_vlan:0x88a8", a.PushVlan(0x88A8), "push_vlan:0x88a8"),
    ("push_mpls:0x8847", a.PushMpls(), "push_mpls:0x8847"),
    ("pop_mpls:0x800", a.PopMpls(0x800), "pop_mpls:0x0800"),
    ("set_mpls_label:5", a.SetMplsLabel(5), "set_mpls_label(5)"),
    ("set_mpls_tc:5", a.SetMplsTc(5), "set_mpls_tc(5)"),
    ("set_mpls_ttl:5", a.SetMplsTtl(5), "set_mpls_ttl(5)"),
    ("dec_mpls_ttl", a.DecMplsTtl(), "dec_mpls_ttl"),
    ("dec_ttl", a.DecTtl(), "dec_ttl"),
    ("dec_ttl(1,2)", a.DecTtl((1, 2)), "dec_ttl(1,2)"),
    ("set_tunnel:5", a.SetTunnel(5), "set_tunnel:0x5"),
    ("set_tunnel:0x100000000", a.SetTunnel(1 << 32, True), "set_tunnel64:0x100000000"),
    ("set_queue:5", a.SetQueue(5), "set_queue:5"),
    ("pop_queue", a.PopQueue(), "pop_queue"),
    ("push:reg0", a.StackPush(REG0), "push:NXM_NX_REG0[]"),
    ("pop:reg0[3]", a.StackPop(SubField.of("reg0", 3, 1)), "pop:NXM_NX_REG0[3]"),
    ("check_pkt_larger(1500)->reg0[0]", a.CheckPacketLarger(1500, SubField.of("reg0", 0, 1)),
     "check_pkt_larger(1500)->NXM_NX_REG0[0]"),
    ("resubmit:3", a.Resubmit(3), "resubmit:3"),
    ("resubmit(,5)", a.Resubmit(None, 5), "resubmit(,5)"),
    ("resubmit(3,5,ct)", a.Resubmit(3, 5, True), "resubmit(3,5,ct)"),
    ("resubmit(in_port,5)", a.Resubmit(None, 5), "resubmit(,5)"),
    ("clone(output:1,clone(drop))", a.Clone((a.Output(1), a.Clone(()))), "clone(output:1,clone(drop))"),
    ("exit", a.Exit(), "exit"),
    ("conjunction(7, 2/3)", a.Conjunction(7, 1, 3), "conjunction(7,2/3)"),
    ("multipath(eth_src, 50, modulo_n, 4, 0, reg0)", a.Multipath("eth_src", 50, "modulo_n", 3, 0, REG0),
     "multipath(eth_src,50,modulo_n,4,0,NXM_NX_REG0[])"),
    ("note:0001.02", a.Note(b"\x00\x01\x02"), "note:00.01.02"),
    ("fin_timeout(idle_timeout=5)", a.FinTimeout(5, 0), "fin_timeout(idle_timeout=5)"),
    ("sample(probability=5,sampling_port=LOCAL,egress)", a.Sample(5, sampling_port=0xFFFFFFFE, direction="egress"),
     "sample(probability=5,collector_set_id=0,obs_domain_id=0,obs_point_id=0,sampling_port=LOCAL,egress)"),
    ("learn(table=2,eth_dst=eth_src,load:in_port->reg0[0..15],output:reg1,dl_type=0x806,reg0[0..3]=5)",
     a.Learn((
         a.LearnSpec("match", 48, SubField.of("eth_src"), 0, SubField.of("eth_dst")),
         a.LearnSpec("load", 16, SubField.of("in_port", 0, 16), 0, SubField.of("reg0", 0, 16)),
         a.LearnSpec("output", 32, REG1, 0, None),
         a.LearnSpec("match", 16, None, 0x806, SubField.of("eth_type")),
         a.LearnSpec("match", 4, None, 5, SubField.of("reg0", 0, 4)),
     ), table=2),
     ("learn(table=2,NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],load:NXM_OF_IN_PORT[]->NXM_NX_REG0[0..15],"
     "output:NXM_NX_REG1[],eth_type=0x806,NXM_NX_REG0[0..3]=0x5)")),
    ("ct(commit,zone=5,table=3,nat(src=1.2.3.4-1.2.3.9:5-10,random),exec(load:1->ct_mark))",
     a.Ct(True, False, 5, 3, 0, (
         a.Nat("src", 4, 0x01020304, 0x01020309, 5, 10, random=True), a.RegLoad(SubField.of("ct_mark"), 1),
     )),
     "ct(commit,table=3,zone=5,nat(src=1.2.3.4-1.2.3.9:5-10,random),exec(load:0x1->NXM_NX_CT_MARK[]))"),
    ("ct", a.Ct(), "ct()"),
    ("ct_clear", a.CtClear(), "ct_clear"),
    ("encap(nsh(md_type=2,tlv(0x1000,10,0x12345678)))",
     a.Encap(0x1894F, ((4, 1, b"\x02\0\0\0"), (4, 2, b"\x10\x00\x0a\x04\x12\x34\x56\x78\0\0\0\0"))),
     "encap(nsh(md_type=2,tlv(0x1000,10,0x12345678)))"),
    ("decap(packet_type(ns=1,type=0x800))", a.Decap(0x10800), "decap(packet_type(ns=1,type=0x800))"),
    ("decap", a.Decap(), "decap()"),
    ("meter:5", a.Meter(5), "meter:5"),
    ("write_actions(output:1,group:2)", a.WriteActions((a.Output(1), a.Group(2))), "write_actions(output:1,group:2)"),
    ("clear_actions", a.ClearActions(), "clear_actions"),
    ("write_metadata:0x15/0xf", a.WriteMetadata(5, 0xF), "write_metadata:0x5/0xf"),
    ("write_metadata:5", a.WriteMetadata(5), "write_metadata:0x5"),
    ("goto_table:5", a.GotoTable(5), "goto_table:5"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "action", "printed"), ROWS)
def test_what_an_action_means_and_how_it_is_printed(text: str, action: a.FlowAction, printed: str) -> None:
    assert parse_flow_actions(text) == (action,)
    assert format_flow_actions((action,)) == printed
    assert parse_flow_actions(printed) == (action,)


@pytest.mark.parametrize("text", ["", "drop", " ", ",,"])
def test_no_actions_are_drop(text: str) -> None:
    assert parse_flow_actions(text) == ()
    assert format_flow_actions(()) == "drop"


def test_commas_and_spaces_separate() -> None:
    assert parse_flow_actions("1 2,,output:3,\t") == (a.Output(1), a.Output(2), a.Output(3))
