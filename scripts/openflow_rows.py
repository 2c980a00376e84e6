"""The rows of docs/openflow.md: an example of each message, multipart and action, and what is not there.

`scripts/openflow_page.py` encodes each in every version and asks a switch about it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from vswitch.messages import actions as act
from vswitch.messages import control as ctl
from vswitch.messages import stats
from vswitch.messages.base import Message
from vswitch.messages.flows import (
    Bucket,
    FlowCommand,
    FlowMod,
    FlowRemoved,
    FlowRemovedReason,
    GroupCommand,
    GroupMod,
    MeterBand,
    MeterCommand,
    MeterMod,
    PacketIn,
    PacketInReason,
    PacketOut,
    Resume,
    TableMod,
)
from vswitch.messages.match import FlowMatch
from vswitch.messages.ports import PortDescription, PortMod, PortStatus, PortStatusReason

__all__ = ["ABSENT", "ACTIONS", "MESSAGES", "MULTIPARTS", "TOLD", "MessageRow"]


@dataclass(frozen=True, slots=True)
class MessageRow:
    """An example of a message, or one for each of some versions. `told`: it is the switch that says it."""

    name: str
    message: Message
    told: bool = False
    since: dict[int, Message] = field(default_factory=dict)

    def of(self, version: int) -> Message:
        """The example for a version (wire number)."""
        return next((self.since[each] for each in sorted(self.since, reverse=True) if each <= version), self.message)


_OUT = (act.Output(1),)
_MATCH = FlowMatch(in_port=1)
_REGISTER = FlowMatch(reg0=1)
_PORT = PortDescription(1, 1, "p1")
_PACKET = PacketIn(b"\0" * 64, 64, PacketInReason.ACTION, _MATCH)
_CONTROL = ctl.BundleControlType
_TABLE = stats.TableDescription(0)
_ASYNC = ctl.AsyncConfig((("packet_in", 1), ("port_status", 1), ("flow_removed", 1)), ())

MESSAGES = (
    MessageRow("hello", ctl.Hello(frozenset({1, 2, 3, 4, 5, 6}))),
    MessageRow("echo request", ctl.EchoRequest()),
    MessageRow("features request", ctl.FeaturesRequest()),
    MessageRow("get-config request", ctl.GetConfigRequest()),
    MessageRow("set-config", ctl.SetConfig()),
    MessageRow("packet-out", PacketOut(b"\0" * 64, _OUT, _MATCH)),
    MessageRow("flow-mod", FlowMod(FlowCommand.ADD, _MATCH, _OUT)),
    MessageRow("flow-mod with fields of an extension", FlowMod(FlowCommand.ADD, _REGISTER, _OUT)),
    MessageRow("group-mod", GroupMod(GroupCommand.ADD, 2, buckets=(Bucket(_OUT),))),
    MessageRow("port-mod", PortMod(1, 1, 0, 1)),
    MessageRow("table-mod", TableMod(0, miss="drop"), since={4: TableMod(0), 5: TableMod(0, eviction=True)}),
    MessageRow("meter-mod", MeterMod(MeterCommand.ADD, 2, bands=(MeterBand(1000),))),
    MessageRow("barrier request", ctl.BarrierRequest()),
    MessageRow("queue-get-config request", ctl.QueueConfigRequest(1)),
    MessageRow("role request", ctl.RoleRequest(ctl.ControllerRole.EQUAL)),
    MessageRow("get-async request", ctl.AsyncGet()),
    MessageRow("set-async", ctl.SetAsync(_ASYNC)),
    MessageRow("bundle control", ctl.BundleControl(1, _CONTROL.OPEN_REQUEST)),
    MessageRow("bundle add", ctl.BundleAdd(1, 0, FlowMod(FlowCommand.ADD, _MATCH, _OUT))),
    MessageRow("resume", Resume(_PACKET)),
    MessageRow("flow-mod table id", ctl.FlowModTableId(True)),
    MessageRow("set flow format", ctl.SetFlowFormat(2)),
    MessageRow("set packet-in format", ctl.SetPacketInFormat(2)),
    MessageRow("set controller id", ctl.SetControllerId(1)),
    MessageRow("flow-monitor cancel", stats.FlowMonitorCancel(1)),
    MessageRow("TLV table mod", ctl.TlvTableMod(0, (ctl.TlvMap(1, 2, 4, 0),))),
    MessageRow("TLV table request", ctl.TlvTableRequest()),
    MessageRow("experimenter, others'", ctl.Experimenter(0x1234, 1)),
    MessageRow("error", ctl.Error("bad_request.bad_type")),
)
"""What controllers say."""

TOLD = (
    MessageRow("echo reply", ctl.EchoReply(), told=True),
    MessageRow("features reply", ctl.FeaturesReply(1, 0, 254, 0), told=True),
    MessageRow("get-config reply", ctl.GetConfigReply(), told=True),
    MessageRow("packet-in", _PACKET, told=True),
    MessageRow("packet-in 2", PacketIn(b"\0" * 64, 64, PacketInReason.ACTION, _MATCH, userdata=b"\1"), told=True),
    MessageRow("flow-removed", FlowRemoved(_MATCH, 1, 0, 0, FlowRemovedReason.DELETE, 0, 0, 0, 0, 0), told=True),
    MessageRow(
        "flow-removed with fields of an extension",
        FlowRemoved(_REGISTER, 1, 0, 0, FlowRemovedReason.DELETE, 0, 0, 0, 0, 0),
        told=True,
    ),
    MessageRow("port-status", PortStatus(PortStatusReason.ADD, _PORT), told=True),
    MessageRow("barrier reply", ctl.BarrierReply(), told=True),
    MessageRow("queue-get-config reply", ctl.QueueConfigReply(1), told=True),
    MessageRow("role reply", ctl.RoleReply(ctl.ControllerRole.EQUAL), told=True),
    MessageRow("get-async reply", ctl.AsyncGet(_ASYNC), told=True),
    MessageRow("role-status", ctl.RoleStatus(ctl.ControllerRole.SECONDARY, 0, 1), told=True),
    MessageRow("table-status", ctl.TableStatus(3, _TABLE), told=True),
    MessageRow(
        "controller-status",
        stats.ControllerStatusChanged(stats.ControllerStatus(1, 1, 2, True, "tcp:127.0.0.1:6653")),
        told=True,
    ),
    MessageRow("request-forward", ctl.RequestForward(MeterMod(MeterCommand.DELETE, 1, bands=())), told=True),
    MessageRow("flow-monitor paused, resumed", stats.FlowMonitorPause(True), told=True),
    MessageRow("TLV table reply", ctl.TlvTableReply(0, 0), told=True),
)
"""What the switch says, beside errors and replies to multipart requests."""

_NUMBERS = {"group": 1, "group_description": 0xFFFFFFFC, "meter": 1, "meter_config": 1, "port": 1}
_PLAIN = (
    "description table port queue group group_description group_features meter meter_config meter_features "
    "port_description table_description queue_description controller_status"
)

MULTIPARTS = (
    MessageRow("flow", stats.FlowStatsRequest("flow")),
    MessageRow("flow, with fields of an extension", stats.FlowStatsRequest("flow", _REGISTER, nicira=True)),
    MessageRow("flow description", stats.FlowStatsRequest("flow_description")),
    MessageRow("aggregate", stats.FlowStatsRequest("aggregate")),
    *(
        MessageRow(kind.replace("_", " "), stats.StatsRequest(kind, _NUMBERS.get(kind, 0xFFFFFFFF)))
        for kind in _PLAIN.split()
    ),
    MessageRow("table features", stats.TableFeaturesRequest()),
    MessageRow("flow monitor", stats.FlowMonitorRequest(2, 1)),
    MessageRow("bundle features", stats.BundleFeaturesRequest()),
    MessageRow("experimenter, others'", stats.ExperimenterMultipart(0x1234, 1)),
)

_NO_COLLECTORS = "but there are no collectors, so nothing is sampled"

ACTIONS = (
    ("output:1", ""),
    ("in_port", ""),
    ("normal", ""),
    ("flood", ""),
    ("all", ""),
    ("local", ""),
    ("controller", ""),
    ("controller(reason=action,max_len=128,id=1)", ""),
    ("controller(userdata=01.02,pause)", ""),
    ("controller(meter_id=1)", ""),
    ("output(port=1,max_len=100)", ""),
    ("output:reg0[0..15]", ""),
    ("enqueue:1:2", ""),
    ("set_queue:2", ""),
    ("pop_queue", ""),
    ("group:1", ""),
    ("bundle(eth_src,0,hrw,ofport,members:1,2)", ""),
    ("bundle_load(eth_src,0,hrw,ofport,reg0,members:1,2)", ""),
    ("mod_dl_src:02:00:00:00:00:01", ""),
    ("mod_dl_dst:02:00:00:00:00:01", ""),
    ("mod_nw_src:10.0.0.1", "ip"),
    ("mod_nw_dst:10.0.0.1", "ip"),
    ("mod_nw_tos:32", "ip"),
    ("mod_nw_ecn:1", "ip"),
    ("mod_nw_ttl:64", "ip"),
    ("mod_tp_src:80", "tcp"),
    ("mod_tp_dst:80", "tcp"),
    ("mod_vlan_vid:5", ""),
    ("mod_vlan_pcp:3", ""),
    ("strip_vlan", "dl_vlan=1"),
    ("pop_vlan", "dl_vlan=1"),
    ("push_vlan:0x8100", ""),
    ("push_mpls:0x8847", ""),
    ("pop_mpls:0x0800", "mpls"),
    ("set_mpls_label:5", "mpls"),
    ("set_mpls_tc:5", "mpls"),
    ("set_mpls_ttl:5", "mpls"),
    ("dec_mpls_ttl", "mpls"),
    ("dec_ttl", "ip"),
    ("dec_ttl(1,2)", "ip"),
    ("set_field:10.0.0.1->ip_dst", "ip"),
    ("set_field:0x1/0xf->reg0", ""),
    ("load:0x1->NXM_NX_REG0[0..3]", ""),
    ("move:NXM_OF_ETH_SRC[]->NXM_OF_ETH_DST[]", ""),
    ("set_tunnel:5", ""),
    ("set_tunnel64:0x500000000", ""),
    ("push:NXM_NX_REG0[]", ""),
    ("pop:NXM_NX_REG0[]", ""),
    ("multipath(eth_src,0,modulo_n,4,0,NXM_NX_REG0[0..3])", ""),
    ("check_pkt_larger(1500)->NXM_NX_REG0[0]", ""),
    ("resubmit:1", ""),
    ("resubmit(1,2)", ""),
    ("clone(output:1)", ""),
    ("learn(table=1,NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],output:NXM_OF_IN_PORT[])", ""),
    ("learn(table=1,limit=2,result_dst=reg0[0],NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[])", ""),
    ("conjunction(1,1/2)", ""),
    ("fin_timeout(idle_timeout=1)", "tcp"),
    ("sample(probability=65535,collector_set_id=1)", "", _NO_COLLECTORS),
    ("sample(probability=65535,collector_set_id=1,sampling_port=1,egress)", "", _NO_COLLECTORS),
    ("note:01.02", ""),
    ("exit", ""),
    ("meter:1", ""),
    ("clear_actions", ""),
    ("write_actions(output:1)", ""),
    ("write_metadata:0x1/0xff", ""),
    ("goto_table:1", ""),
    ("resubmit(,2,ct)", "", "there is no connection tracking"),
    ("ct(commit,zone=1,nat(src=10.0.0.1))", "ip"),
    ("ct_clear", ""),
    ("encap(ethernet)", ""),
    ("decap()", ""),
    ("delete_field:reg0", ""),
    ("debug_recirc", ""),
    ("push_pbb:0x88e7", ""),
    ("pop_pbb", ""),
    ("copy_ttl_out", ""),
    ("copy_ttl_in", ""),
)
"""An example as ovs-ofctl writes it, what its flow must match, and what is to be said of it beside."""

ABSENT = (
    ("tunnel options and extensions", "tun_metadata0 tun_gbp_id tun_gbp_flags tun_flags tun_gtpu_flags tun_erspan_ver"),
    ("NSH", "nsh_flags nsh_mdtype nsh_np nsh_spi nsh_si nsh_c1 nsh_ttl"),
    ("OpenFlow's of which Open vSwitch has none either", "pbb_isid pbb_uca ipv6_exthdr"),
)
"""Fields that one might look for."""
