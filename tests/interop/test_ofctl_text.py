"""Debian's ovs-ofctl reads what is written here, and writes what is written here: many at once, in one call of it."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.openflow_texts import any_actions, flow_mods, group_mods, matches, plain_actions
from vswitch.messages.actions import CheckPacketLarger
from vswitch.messages.flows import FlowCommand, FlowMod
from vswitch.text.flow import format_flow_mod, parse_flow
from vswitch.text.flow_actions_format import format_flow_actions
from vswitch.text.flow_groups import format_group
from vswitch.text.flow_match import format_flow_match

pytestmark = pytest.mark.skipif(shutil.which("ovs-ofctl") is None, reason="ovs-ofctl is not installed")

_MESSAGE = re.compile(r"^(?:OFPT|NXT|ONFT)_FLOW_MOD (?:\(OF1\.[0-9]\) )?\(xid=0x[0-9a-f]+\): (.*)$")
_ETHERNET = re.compile(r",eth(?=[, ])")
"""ovs-ofctl says that packets are of Ethernet if the match has a recirc_id."""
FEW = settings(
    max_examples=6, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck), phases=(Phase.generate,)
)
"""Each example is a whole file."""


def printed(lines: Iterable[str], tmp_path: Path, version: str = "OpenFlow13") -> list[str]:
    """How ovs-ofctl prints the flows that the lines write, behind the name of the message."""
    file = tmp_path / "flows.txt"
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    command = ["ovs-ofctl", "-vwarn", "-O", version, "parse-flows", str(file)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr
    found = []
    for line in result.stdout.splitlines():
        message = _MESSAGE.match(line)
        if message:
            found.append(message[1])
        else:
            assert line.startswith(("usable protocols", "chosen protocol")), line
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def added(mod: FlowMod) -> str:
    """The text that makes a flow."""
    parts = [f"priority={mod.priority}", f"cookie={mod.cookie:#x}", f"idle_timeout={mod.idle_timeout_s}"]
    parts += [f"hard_timeout={mod.hard_timeout_s}", f"importance={mod.importance}"]
    parts += [word for bit, word in ((1, "send_flow_rem"), (2, "check_overlap")) if mod.flags & bit]
    return f"{','.join([*parts, format_flow_match(mod.match)])},actions={format_flow_actions(mod.actions)}"


@FEW
@given(texts=st.lists(matches().map(format_flow_match), min_size=100, max_size=100))
def test_matches_are_printed_alike(texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    lines = [f"{text}{',' if text else ''}actions=drop" for text in texts]
    theirs = printed(lines, tmp_path_factory.mktemp("flows"))
    for text, line in zip(texts, theirs, strict=True):
        assert _ETHERNET.sub("", line) == f"ADD {text}{' ' if text else ''}actions=drop"


@FEW
@given(texts=st.lists(any_actions(plain_actions()).map(format_flow_actions), min_size=80, max_size=80))
def test_actions_are_printed_alike(texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    theirs = printed([f"actions={text}" for text in texts], tmp_path_factory.mktemp("flows"))
    for text, line in zip(texts, theirs, strict=True):
        assert line == f"ADD actions={text}"


@FEW
@given(lines=st.lists(flow_mods(plain_actions()).map(added), min_size=50, max_size=50))
def test_flows_are_printed_alike(lines: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    theirs = printed(lines, tmp_path_factory.mktemp("flows"), "OpenFlow14")
    for own, line in zip(lines, theirs, strict=True):
        assert _ETHERNET.sub("", line) == format_flow_mod(parse_flow(own))


TEXTS = [
    "tcp,tp_src=80,actions=2,3,normal,flood,all,local,in_port,controller,controller:128,LOCAL,NORMAL",
    "priority=5 ip nw_dst=1.2.3.4 actions=output:1 output:2",
    "dl_vlan=5,dl_vlan_pcp=3,actions=drop",
    "vlan_tci=0x1123,actions=drop",
    "vlan_pcp=3,vlan_vid=0x1000/0x1000,actions=drop",
    "ip,ip_frag=not_later,actions=drop",
    "tcp,tcp_flags=0x12/0x13,actions=drop",
    "tcp,tcp_flags=syn|[200],actions=drop",
    "ct_state=+trk+est-new,actions=drop",
    "xxreg1=5/7,xreg4=3,actions=drop",
    "arp,nw_src=1.2.3.4,nw_proto=1,actions=drop",
    "dl_type=0x86dd,nw_proto=58,icmp_type=135,icmp_code=0,nd_target=::1,actions=drop",
    "dl_src=0:1:2:3:4:5,actions=drop",
    "ip,nw_src=10.0.0.1/255.0.255.0,nw_tos=33,actions=drop",
    "NXM_NX_REG0[0..3]=5,NXM_OF_ETH_DST[40]=1,actions=drop",
    "actset_output=unset,actions=drop",
    "in_port=65533,actions=output:65532",
    "duration=5s,n_packets=3,n_bytes=4,idle_age=3,hard_age=3,actions=drop",
    "actions=controller(max_len=128,reason=no_match,id=3),controller(userdata=01.02.0304,pause)",
    "actions=bundle(symmetric_l4,60,active_backup,ofport,slaves:4,8)",
    "actions=bundle_load(eth_src,0,hrw,ofport,reg0,members:4 8)",
    "actions=load:0x12->reg1[3..10],move:eth_src->eth_dst,move:reg0[0..15]->NXM_OF_VLAN_TCI[]",
    "actions=check_pkt_larger(1500)->reg0[0],clone(),clone(clone(drop))",
    "actions=note:00.01.02.03.04.05,push:reg0,pop:reg1[3..8]",
    "actions=learn(table=1,in_port=99,NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],load:NXM_OF_IN_PORT[]->NXM_NX_REG1[16..31])",
    "actions=learn(table=1,dl_type=0x806,vlan_tci=0x1005,output:reg1)",
    "actions=learn(eth_dst=00:11:22:33:44:55,eth_src,vlan_vid=3,reg3[0..3]=5,load:0xffff->NXM_OF_VLAN_TCI[])",
    "actions=multipath(eth_src, 50, modulo_n, 1, 0, reg0)",
    "actions=conjunction(5,1/3),conjunction(7, 2/2)",
    "actions=resubmit:3,resubmit(3),resubmit(,5),resubmit(LOCAL,5),resubmit(3,255)",
    "ip,ct_state=+trk+new,actions=resubmit(3,5,ct)",
    "ip,actions=ct(commit,nat,exec(load:1->NXM_NX_CT_MARK[0]),table=3,zone=5)",
    "tcp,actions=ct(commit,force,alg=ftp,nat(src=1.2.3.4-1.2.3.9:5-10,random))",
    "ipv6,actions=ct(commit,nat(dst=[fe80::1]-[fe80::5]:5-6,hash,persistent))",
    "actions=encap(nsh(md_type=2,tlv(0x1000,10,0x12345678))),decap(),encap(mpls),decap(packet_type(ns=0,type=0))",
    "mpls,actions=dec_mpls_ttl,pop_mpls:0x800",
    "tcp,actions=set_field:1.2.3.4->nw_dst,set_field:5->tp_src,set_field:8->ip_dscp,dec_ttl,dec_ttl(1,2)",
    "vlan_vid=0x1000/0x1000,actions=set_field:4101->vlan_vid,set_field:3->vlan_pcp,set_field:0x1003->vlan_tci",
    "actions=meter:5,output:1,clear_actions,write_actions(output:1),write_metadata:5/7,goto_table:3",
    "tcp,actions=fin_timeout(idle_timeout=5),fin_timeout()",
]  # fmt: skip


@pytest.mark.parametrize("text", TEXTS)
def test_what_it_prints_for_a_text(text: str, folder: Path) -> None:
    assert printed([text], folder) == [format_flow_mod(parse_flow(text))]


OLD = [
    "dl_vlan=0xffff,actions=drop",
    "tcp,actions=mod_nw_src:1.2.3.4,mod_nw_tos:32,mod_tp_src:5,mod_dl_dst:00:00:00:00:00:01",
    "dl_vlan=5,actions=mod_vlan_vid:3,mod_vlan_pcp:2,strip_vlan",
    "actions=set_tunnel:0x5,set_tunnel64:0x5,enqueue:3:4,set_queue:7,pop_queue",
    "mpls,actions=set_mpls_label:5,set_mpls_tc(3),set_mpls_ttl:4",
]


@pytest.mark.parametrize("text", OLD)
def test_what_it_prints_for_openflow_10(text: str, folder: Path) -> None:
    assert printed([text], folder, "OpenFlow10") == [format_flow_mod(parse_flow(text))]


def test_masked_set_field_in_openflow_15(folder: Path) -> None:
    text = (
        "ip,actions=set_field:5/7->reg0,set_field:01:00:00:00:00:00/01:00:00:00:00:00->eth_dst,"
        "set_field:10.0.0.0/8->ip_dst,set_field:0x5/0xff->xxreg1"
    )
    assert printed([text], folder, "OpenFlow15") == [format_flow_mod(parse_flow(text))]


REFUSED = [
    "priority=65536,actions=drop", "priority = 5,actions=drop", "ip", "foo=3,actions=drop", "table=256,actions=drop",
    "cookie=0x5/0xff,actions=drop", "nw_dst=1.2.3,ip,actions=drop", "ip,nw_dst=1.2.3.4/33,actions=drop",
    "idle_timeout=65536,actions=drop", "ct_state=+foo,actions=drop", "ct_state=+new-new,actions=drop",
    "reg0=0x1ffffffff,actions=drop", "reg0=5/0x1ffffffff,actions=drop", "eth_type=0x800/0xff,actions=drop",
    "nw_proto=6/3,ip,actions=drop", "NXM_NX_REG0=5,actions=drop", "ip,nw_frag=no_later,actions=drop",
    "out_port=3,actions=drop", "actions=drop,priority=5", "actions=drop,output:1", "actions=output",
    "actions=output:foo", "actions=output(port=3)", "actions=output(port=3,max_len=13)",
    "actions=output(port=normal,max_len=100)", "actions=enqueue:3", "actions=group:all", "actions=mod_vlan_vid:4096",
    "actions=mod_vlan_pcp:8", "ip,actions=mod_nw_tos:33", "ip,actions=mod_nw_ecn:4", "actions=push_vlan:0x800",
    "actions=load:5->reg0[3]", "actions=move:reg0[0..3]->reg1[0..5]", "actions=move:reg0", "actions=set_field:5",
    "actions=set_field:5->reg0[3..5]", "actions=set_field:5->dl_type", "actions=controller(foo)",
    "actions=controller:65536", "actions=conjunction(5,3/2)", "actions=conjunction(5,0/2)",
    "actions=conjunction(5,1/1)", "actions=conjunction(5,1/65)", "actions=multipath(eth_src,50,modulo_n,0,0,reg0)",
    "actions=multipath(foo,50,modulo_n,1,0,reg0)", "actions=multipath(eth_src,50,modulo_n,1,0)", "actions=note:0",
    "actions=sample(probability=0)", "actions=sample()", "actions=meter:1,meter:2", "actions=output:1,meter:2",
    "actions=goto_table:3,output:1", "actions=write_metadata:5,output:1", "actions=clone(goto_table:3)",
    "actions=write_actions(output:1),clear_actions", "actions=resubmit()", "actions=resubmit(,255)",
    "actions=learn(foo=3)", "actions=learn(table=255)", "actions=learn(table=3,reg0=5/7)",
    "actions=learn(result_dst=reg0)", "actions=learn(table=3,output:LOCAL)", "ip,actions=ct(force)",
    "ip,actions=ct(commit,nat(src=1.2.3.4,random,hash))", "ip,actions=ct(commit,nat(src=1.2.3.9-1.2.3.4))",
    "ip,actions=ct(commit,exec(output:1))", "ip,actions=ct(commit,zone=65536)", "ip,actions=ct(commit,alg=foo)",
    "actions=check_pkt_larger(1500)->reg0", "actions=check_pkt_larger(5)", "actions=encap(foo)",
    "actions=encap(nsh(md_type=3))", "actions=foo", "actions=foo:3",
]  # fmt: skip


@pytest.mark.parametrize("text", REFUSED)
def test_both_refuse(text: str, folder: Path) -> None:
    with pytest.raises(AssertionError):
        printed([text], folder)
    with pytest.raises(ValueError, match=r"at character"):
        parse_flow(text, FlowCommand.ADD)


IN_GROUPS = plain_actions().filter(lambda action: not isinstance(action, CheckPacketLarger))
"""What follows that one in a bucket, ovs-ofctl cannot read."""


@FEW
@given(texts=st.lists(group_mods(IN_GROUPS).map(format_group), min_size=8, max_size=8))
def test_groups_are_printed_alike(texts: list[str]) -> None:
    for text in texts:
        command = ["ovs-ofctl", "-vwarn", "-O", "OpenFlow13", "parse-group", text]
        result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert result.returncode == 0, result.stderr
        theirs = result.stdout.splitlines()[-1].removeprefix(" ")
        ours = re.sub(r"selection_method=[^,]*,|selection_method_param=[^,]*,|fields\([^)]*\),|fields=[^,]*,", "", text)
        assert theirs == f"ADD {ours}", result.stdout  # the selection method is OpenFlow 1.5's
