"""What ovs-ofctl sends is read, and written again as the same bytes; what is written here, it prints as it is meant."""

from __future__ import annotations

from typing import Any

import pytest

from tests.openflow_capture import captured, printed
from vswitch.messages import control as ctl
from vswitch.messages.actions import Group, Output
from vswitch.messages.base import Message
from vswitch.messages.control import FlowModTableId
from vswitch.messages.flows import (
    FlowCommand,
    FlowFlags,
    FlowMod,
    FlowRemoved,
    FlowRemovedReason,
    MeterBand,
    MeterCommand,
    MeterMod,
    PacketIn,
    PacketInReason,
)
from vswitch.messages.match import FlowMatch
from vswitch.messages.ports import PortDescription, PortStatus, PortStatusReason
from vswitch.openflow.codec import decode, encode, encode_message
from vswitch.openflow.wire import Dialect

ALL, SINCE_11, SINCE_13 = (1, 2, 3, 4, 5, 6), (2, 3, 4, 5, 6), (4, 5, 6)
NXM = (1, 3, 4, 5, 6)
"""Where a match may have any field."""
HASH = "fields(ip_src,tcp_dst=0xff),bucket=weight:3,watch_port:1,output:1"
PACKET = "000000000001000000000002080045000014"
FLOW = (
    "table=3,tcp,tcp_dst=80,in_port=LOCAL,ip_dst=10.0.0.0/8,dl_vlan=5,dl_vlan_pcp=3,idle_timeout=5,"
    "actions=output:1,resubmit(,4),controller:128"
)

# (versions, what ovs-ofctl is told)
SENT = [
    (ALL, ("add-flow", FLOW)),
    (ALL, ("add-flow", "priority=9,send_flow_rem,check_overlap,actions=drop")),
    (ALL, ("add-flow", "cookie=0x77,dl_dst=01:00:00:00:00:00/01:00:00:00:00:00,ipv6,actions=NORMAL")),
    (ALL, ("add-flow", "dl_vlan=0xffff,arp,arp_op=1,arp_tpa=10.0.0.0/24,actions=in_port")),
    (ALL, ("add-flow", "icmp,icmp_type=8,icmp_code=0,nw_tos=32,actions=all")),
    ((1, 3, 4, 5), ("add-flow", "reg0=5,reg3=1/0xff,tun_id=7,metadata=4,icmp6,icmp_type=135,nd_target=::1,actions=1")),
    (NXM, ("add-flow", "udp6,ipv6_src=fe80::/10,ipv6_label=3,tp_src=0x80/0xff80,actions=load:1->NXM_NX_REG2[]")),
    (NXM, ("add-flow", "ip,ip_frag=later,nw_ttl=3,nw_ecn=1,actions=2")),
    ((3, 4, 5, 6), ("add-flow", "sctp,sctp_dst=5,actions=write_actions(output:2),write_metadata:3/7,goto_table:4")),
    (SINCE_11, ("add-flow", "mpls,mpls_label=3,mpls_tc=2,actions=set_field:4->mpls_label,2")),
    (SINCE_13, ("add-flow", "tcp,tcp_flags=+syn-ack,pkt_mark=3,actions=meter:3,clear_actions")),
    (SINCE_13, ("add-flow", "ip,conj_id=3,ct_state=+trk+new,ct_mark=1/3,actions=ct(commit,table=4,nat(src=1.2.3.4))")),
    ((5, 6), ("add-flow", "importance=7,actions=1")),
    (ALL, ("mod-flows", "table=3,arp,arp_spa=1.2.3.4,actions=flood")),
    (ALL, ("--strict", "mod-flows", "table=3,priority=7,in_port=2,actions=controller(max_len=100,id=3)")),
    (ALL, ("del-flows", "table=3,tcp,out_port=3,cookie=5/7")),
    (ALL, ("--strict", "del-flows", "table=3,tcp,priority=5")),
    (ALL, ("mod-port", "p1", "no-flood")),
    (ALL, ("mod-port", "p1", "down")),
    (ALL, ("packet-out", f"in_port=1,packet={PACKET} actions=output:2")),
    (NXM, ("packet-out", f"in_port=controller,packet={PACKET} actions=output:2,set_field:1->reg0")),
    (ALL, ("get-frags",)),
    ((1, *SINCE_11), ("add-group", "group_id=1,type=select,bucket=output:1,bucket=weight:5,output:2")),
    (SINCE_11, ("add-group", "group_id=1,type=ff,bucket=watch_port:1,output:1,bucket=watch_group:3,output:2")),
    (ALL, ("--may-create", "mod-group", "group_id=1,type=all,bucket=output:1")),
    (ALL, ("del-groups", "group_id=1")),
    (
        (1, 6),
        (
            "add-group",
            f"group_id=1,type=select,selection_method=hash,selection_method_param=5,{HASH}",
        ),
    ),
    ((6,), ("add-group", "group_id=1,type=select,selection_method=dp_hash,bucket=bucket_id:7,output:1")),
    ((1, 6), ("insert-buckets", "group_id=1,command_bucket_id=last,bucket=bucket_id:3,output:1")),
    ((1, 6), ("remove-buckets", "group_id=1,command_bucket_id=3")),
    (SINCE_13, ("add-meter", "meter=1,kbps,burst,band=type=drop,rate=100,burst_size=10")),
    (SINCE_13, ("mod-meter", "meter=1,pktps,stats,band=type=dscp_remark,rate=100,prec_level=2")),
    (SINCE_13, ("del-meters",)),
    ((1, 4), ("add-tlv-map", "{class=0xffff,type=0,len=4}->tun_metadata0")),
    ((1, 4), ("del-tlv-map",)),
    ((1, 4), ("dump-tlv-map",)),
]  # fmt: skip


def again(data: bytes, table_id: bool) -> tuple[Message, bytes]:
    """The message, and how it is written here, in the way that it came."""
    message, xid = decode(data, table_id=table_id)
    dialect = Dialect(data[0], table_id, nxm=data[0] == 1 and data[1] == 4)
    return message, encode_message(message, dialect, xid)


CASES = [(version, *words) for versions, words in SENT for version in versions]


@pytest.mark.parametrize("case", CASES, ids=lambda case: " ".join(map(str, case))[:70])
def test_what_ovs_ofctl_sends_is_written_again_as_it_was(case) -> None:
    version, *words = case
    options = tuple(word for word in words if word.startswith("--"))
    command, *arguments = (word for word in words if not word.startswith("--"))
    sent = captured(version, command, *arguments, options=options)
    assert sent
    table_id = False
    for data in sent:
        message, written = again(data, table_id)
        if isinstance(message, FlowModTableId):
            table_id = message.on
        assert written.hex() == data.hex(), message


@pytest.mark.parametrize("version", SINCE_13)
def test_bundles_that_ovs_ofctl_sends(version: int) -> None:
    flows = "tcp actions=output:1\nudp actions=output:2\n"
    sent = captured(version, "add-flows", "-", stdin=flows, options=("--bundle",))
    messages = [again(data, False) for data in sent]
    assert [written.hex() for _, written in messages] == [data.hex() for data in sent]
    assert [type(message) for message, _ in messages].count(ctl.BundleAdd) == 2


TCP = FlowMatch(tcp_dst=80, eth_type=0x0800)
PORT = PortDescription(1, 0x020000000001, "p1", 1, 1, 0x20, 0, 0, 0)
REMOVED = FlowRemoved(FlowMatch(in_port=1), 7, 3, 5, FlowRemovedReason.IDLE_TIMEOUT, 2_500_000_000, 60, 0, 3, 180)
IN = PacketIn(bytes.fromhex(PACKET), 18, PacketInReason.ACTION, FlowMatch(in_port=3), 2, 9)

# (versions, message, dialect's options, what ovs-ofctl prints of it)
PRINTED: list[tuple[tuple[int, ...], Message, dict[str, Any], str | None]] = [
    (ALL, FlowMod(FlowCommand.ADD, TCP, (Output(1),), 5), {}, "ADD priority=5,tcp,"),
    (ALL, FlowMod(FlowCommand.DELETE, FlowMatch(in_port=1), out_port=4), {}, "DEL in_port=1 out_port:4"),
    (ALL, FlowMod(FlowCommand.MODIFY, FlowMatch(), (Output(1),), flags=FlowFlags.SEND_FLOW_REM), {}, "send_flow_rem"),
    (SINCE_11, FlowMod(FlowCommand.ADD, TCP, (Group(9),), table=7, cookie=5), {}, "table:7 tcp,tp_dst=80 cookie:0x5"),
    ((1,), FlowMod(FlowCommand.ADD, FlowMatch(reg0=(1, 3)), (Output(1),)), {}, "NXT_FLOW_MOD (xid=0x2): ADD reg0="),
    (SINCE_11, REMOVED, {}, "in_port=1 reason=idle table_id=3 cookie:0x5 duration2.500s idle60 pkts3 bytes180"),
    ((1,), REMOVED, {"nxm": True}, "NXT_FLOW_REMOVED (xid=0x2): priority=7,in_port=1 reason=idle table_id=3"),
    (ALL, IN, {}, "total_len=18 in_port=3 (via action) data_len=18 (unbuffered)"),
    (SINCE_13, IN, {}, "table_id=2 cookie=0x9 total_len=18"),
    (ALL, IN, {"packet_in": 1}, "NXT_PACKET_IN"),
    (ALL, IN, {"packet_in": 2}, "table_id=2 cookie=0x9 total_len=18 in_port=3 (via action) data_len=18"),
    (ALL, PortStatus(PortStatusReason.MODIFY, PORT), {}, "MOD: 1(p1): addr:02:00:00:00:00:01"),
    (ALL, ctl.Error("bad_match.bad_prereq", b""), {}, "OFPBMC_BAD_PREREQ"),
    (ALL, ctl.Error("bundle_failed.bad_id", b""), {}, None),
    (ALL, ctl.EchoRequest(b"ab"), {}, "OFPT_ECHO_REQUEST"),
    (ALL, ctl.Hello(frozenset({1, 4})), {}, "version bitmap: 0x01, 0x04"),
    (ALL, ctl.SetConfig(1, 77), {}, "frags=drop miss_send_len=77"),
    ((3, 4, 5, 6), ctl.RoleRequest(ctl.ControllerRole.PRIMARY, 5), {}, "role=primary generation_id=5"),
    (ALL, ctl.RoleReply(ctl.ControllerRole.SECONDARY, nicira=True), {}, "role=secondary"),
    ((5, 6), ctl.RoleStatus(ctl.ControllerRole.SECONDARY, 0, 5), {}, "role=secondary generation_id=5"),
    (SINCE_13, MeterMod(MeterCommand.ADD, 3, 1, (MeterBand(100),)), {}, "ADD meter=3 kbps bands=\ntype=drop rate=100"),
    (ALL, ctl.SetControllerId(7), {}, "id=7"),
    (ALL, ctl.SetPacketInFormat(2), {}, "packet_in2" ),
    (ALL, ctl.TlvTableMod(0, (ctl.TlvMap(0xFFFF, 1, 8, 3),)), {}, "0xffff"),
    ((5, 6), ctl.BundleControl(3, ctl.BundleControlType.OPEN_REQUEST, 3), {}, "type=OPEN_REQUEST flags=atomic ordered"),
    ((5, 6), ctl.RequestForward(MeterMod(MeterCommand.DELETE, 3, 1), 4), {}, "reason=meter_mod"),
]  # fmt: skip


@pytest.mark.parametrize("version", ALL)
def test_ovs_ofctl_prints_messages_as_they_are_meant(version: int) -> None:
    wrong = []
    for versions, message, options, text in PRINTED:
        if version in versions and text is not None:
            shown = printed(encode_message(message, Dialect(version, **options), 2))
            if text not in shown or "decode error" in shown:
                wrong.append((message, text, shown))
    assert not wrong


@pytest.mark.parametrize("version", ALL)
def test_ovs_ofctl_reads_a_features_reply(version: int) -> None:
    message = ctl.FeaturesReply(0xABC, 0, 254, 7, ports=(PORT,) if version <= 3 else ())
    shown = printed(encode(message, version, 1))
    assert "dpid:0000000000000abc" in shown
    assert "capabilities: FLOW_STATS TABLE_STATS PORT_STATS" in shown
    assert ("1(p1)" in shown) == (version <= 3)
