"""Actions as Open vSwitch reads them: what is encoded here, `ovs-ofctl parse-actions` prints as it should, and would
write again with the same bytes (it shows those that differ)."""

from __future__ import annotations

import subprocess

import pytest

from vswitch.fields.openflow import OPENFLOW_FIELDS
from vswitch.messages import actions as act
from vswitch.messages.match import SubField
from vswitch.openflow.actions import decode_actions, encode_actions

REG0, REG1 = SubField.of("reg0"), SubField.of("reg1")
LOW = SubField.of("reg1", 0, 16)
MAC = SubField.of("eth_dst")

OLD, NEW, ALL = (1, 2), (3, 4, 5, 6), (1, 2, 3, 4, 5, 6)


def field(name: str, value: int) -> act.SetField:
    return act.SetField(OPENFLOW_FIELDS[name], value, OPENFLOW_FIELDS[name].max)


# (versions, action, what ovs-ofctl calls it)
ROWS: list[tuple[tuple[int, ...], act.FlowAction, str]] = [
    (ALL, act.Output(3), "output:3"),
    (ALL, act.Output(0xFFFFFFFE), "LOCAL"),
    (ALL, act.Output(0xFFFFFFFD, 128), "CONTROLLER:128"),
    (ALL, act.Output(3, 0, 100), "output(port=3,max_len=100)"),
    (ALL, act.OutputReg(REG0), "output:NXM_NX_REG0[]"),
    ((1,), act.Enqueue(3, 7), "enqueue:3:7"),
    ((4,), act.Enqueue(3, 7), "set_queue:7,output:3,pop_queue"),
    (ALL, act.SetQueue(7), "set_queue:7"),
    (ALL, act.PopQueue(), "pop_queue"),
    (ALL, act.Group(9), "group:9"),
    ((6,), act.Meter(4), "meter:4"),
    (ALL, act.Controller(100, 5, 2), "controller(reason=invalid_ttl,max_len=100,id=5)"),
    (ALL, act.Controller(userdata=b"\1\2", pause=True, meter=7), "controller(userdata=01.02,pause,meter_id=7)"),
    (OLD, act.ModField("eth_src", 0x0A), "mod_dl_src:00:00:00:00:00:0a"),
    (OLD, act.ModField("ipv4_dst", 0x01020304), "mod_nw_dst:1.2.3.4"),
    (OLD, act.ModField("ip_tos", 0x10), "mod_nw_tos:16"),
    (OLD, act.ModField("tp_dst", 80), "mod_tp_dst:80"),
    ((1,), act.ModField("ip_ttl", 9), "load:0x9->NXM_NX_IP_TTL[]"),
    ((4,), act.ModField("ip_ttl", 9), "mod_nw_ttl:9"),
    ((4,), act.ModField("ip_tos", 0x10), "set_field:4->ip_dscp"),
    ((4,), act.ModField("tp_dst", 80), "set_field:80->tcp_dst"),
    ((1,), act.ModVlanVid(5), "mod_vlan_vid:5"),
    ((2,), act.ModVlanVid(5, False), "set_vlan_vid:5"),
    ((4,), act.ModVlanVid(5), "push_vlan:0x8100,set_field:4101->vlan_vid"),
    ((1,), act.ModVlanPcp(5), "mod_vlan_pcp:5"),
    ((1,), act.PopVlan(True), "strip_vlan"),
    (NEW, act.PopVlan(), "pop_vlan"),
    (NEW, act.PushVlan(0x88A8), "push_vlan:0x88a8"),
    (ALL, act.PushMpls(0x8848), "push_mpls:0x8848"),
    (ALL, act.PopMpls(0x0800), "pop_mpls:0x0800"),
    (OLD, act.SetMplsLabel(16), "set_mpls_label(16)"),
    (OLD, act.SetMplsTc(3), "set_mpls_tc(3)"),
    (NEW, act.SetMplsLabel(16), "set_field:16->mpls_label"),
    (ALL, act.SetMplsTtl(3), "set_mpls_ttl(3)"),
    (ALL, act.DecMplsTtl(), "dec_mpls_ttl"),
    (ALL, act.DecTtl(), "dec_ttl"),
    (ALL, act.DecTtl((1, 2)), "dec_ttl(1,2)"),
    (NEW, field("eth_src", 0x0A), "set_field:00:00:00:00:00:0a->eth_src"),
    (NEW, field("reg3", 7), "set_field:0x7->reg3"),
    (NEW, field("tun_id", 7), "set_field:0x7->tun_id"),
    ((6,), act.SetField(OPENFLOW_FIELDS["reg3"], 1, 1), "set_field:0x1/0x1->reg3"),
    ((1, 4), act.SetField(OPENFLOW_FIELDS["reg3"], 1, 1), "load:0x1->NXM_NX_REG3[0]"),
    ((1, 4), act.SetField(OPENFLOW_FIELDS["reg3"], 1, 5), "set_field:0x1/0x5->reg3"),
    ((1, 2, 3, 4, 5), act.RegLoad(SubField.of("reg0", 4, 8), 0xFF), "load:0xff->NXM_NX_REG0[4..11]"),
    ((6,), act.RegLoad(SubField.of("reg0", 4, 8), 0xFF), "set_field:0xff0/0xff0->reg0"),
    (ALL, act.RegMove(REG0, REG1), "move:NXM_NX_REG0[]->NXM_NX_REG1[]"),
    (OLD, act.SetTunnel(5), "set_tunnel:0x5"),
    (OLD, act.SetTunnel(5, True), "set_tunnel64:0x5"),
    ((3, 6), act.SetTunnel(5, True), "set_field:0x5->tun_id"),
    (ALL, act.StackPush(REG0), "push:NXM_NX_REG0[]"),
    (ALL, act.StackPop(LOW), "pop:NXM_NX_REG1[0..15]"),
    (ALL, act.Resubmit(5), "resubmit:5"),
    (ALL, act.Resubmit(None, 3), "resubmit(,3)"),
    (ALL, act.Resubmit(4, 3), "resubmit(4,3)"),
    (ALL, act.Resubmit(None, 3, True), "resubmit(,3,ct)"),
    (ALL, act.Clone((act.Output(1), act.DecTtl())), "clone(output:1,dec_ttl)"),
    (ALL, act.Exit(), "exit"),
    (ALL, act.Conjunction(10, 1, 3), "conjunction(10,2/3)"),
    (ALL, act.Note(bytes.fromhex("010203000000")), "note:01.02.03.00.00.00"),
    (ALL, act.FinTimeout(5, 6), "fin_timeout(idle_timeout=5,hard_timeout=6)"),
    (
        ALL,
        act.Multipath("symmetric_l4", 50, "modulo_n", 3, 7, LOW),
        "multipath(symmetric_l4,50,modulo_n,4,7,NXM_NX_REG1[0..15])",
    ),
    (
        ALL,
        act.Bundle("eth_src", 50, "active_backup", (1, 2)),
        "bundle(eth_src,50,active_backup,ofport,members:1,2)",
    ),
    (
        ALL,
        act.Bundle("nw_src", 0, "hrw", (1, 2), LOW),
        "bundle_load(nw_src,0,hrw,ofport,NXM_NX_REG1[0..15],members:1,2)",
    ),
    (
        ALL,
        act.Sample(100, 1, 2, 3),
        "sample(probability=100,collector_set_id=1,obs_domain_id=2,obs_point_id=3)",
    ),
    (
        ALL,
        act.Sample(100, 1, 2, 3, 4, "egress"),
        "sample(probability=100,collector_set_id=1,obs_domain_id=2,obs_point_id=3,sampling_port=4,egress)",
    ),
    (ALL, act.CheckPacketLarger(1500, SubField.of("reg0", 3, 1)), "check_pkt_larger(1500)->NXM_NX_REG0[3]"),
    (ALL, act.CtClear(), "ct_clear"),
    (
        ALL,
        act.Ct(True, False, 7, 4, 21, (act.Nat("src", 4, 0x01020304, 0x01020306, 10, 20, hash=True),)),
        "ct(commit,table=4,zone=7,nat(src=1.2.3.4-1.2.3.6:10-20,hash),alg=ftp)",
    ),
    (ALL, act.Ct(False, False, LOW), "ct(zone=NXM_NX_REG1[0..15])"),
    ((4, 5, 6), act.Decap(), "decap()"),
    ((4, 5, 6), act.Encap(0), "encap(ethernet)"),
    (
        ALL,
        act.Learn(
            (
                act.LearnSpec("match", 48, SubField.of("eth_src"), 0, MAC),
                act.LearnSpec("match", 16, None, 0x0800, SubField.of("eth_type")),
                act.LearnSpec("load", 16, SubField.of("in_port", 0, 16), 0, LOW),
                act.LearnSpec("load", 16, None, 5, LOW),
                act.LearnSpec("output", 16, SubField.of("in_port", 0, 16), 0, None),
            ),
            table=9, idle_timeout_s=3, priority=5, cookie=7, send_flow_rem=True, delete_learned=True,
            fin_idle_timeout_s=1,
        ),
        "learn(table=9,idle_timeout=3,fin_idle_timeout=1,priority=5,send_flow_rem,delete_learned,cookie=0x7,",
    ),
    (
        ALL,
        act.Learn((), 9, limit=10, result=SubField.of("reg0", 3, 1)),
        "learn(table=9,limit=10,result_dst=NXM_NX_REG0[3])",
    ),
]  # fmt: skip


@pytest.mark.parametrize("version", ALL)
def test_ovs_ofctl_reads_actions_as_they_are_meant(version: int) -> None:
    rows = [(action, text) for versions, action, text in ROWS if version in versions]
    lines = "".join(f"{encode_actions((action,), version).hex()}\n" for action, _ in rows)
    done = subprocess.run(
        ["ovs-ofctl", "parse-actions", f"OpenFlow1{version - 1}"],
        input=lines, capture_output=True, text=True, timeout=20,
    )  # fmt: skip
    answers = [part.strip() for part in done.stdout.strip().split("\n\n")]
    assert len(answers) == len(rows), done.stdout
    wrong = []
    for (action, text), answer in zip(rows, answers, strict=True):
        if not answer.startswith(f"actions={text}") or "->" in answer.partition("\n")[2]:
            wrong.append((action, text, answer))
    assert not wrong


@pytest.mark.parametrize("version", ALL)
def test_they_come_back(version: int) -> None:
    """Those that have no other form in this version."""
    for versions, action, _ in ROWS:
        if version in versions and len(versions) > 2 and not isinstance(action, act.SetMplsLabel):
            assert decode_actions(encode_actions((action,), version), version) == (action,)
