"""A learning switch for os-ken, in the version of OpenFlow that OPENFLOW_VERSION names (wire number: 4 is 1.3).

It installs a flow for each pair of addresses at each port, as controllers for beginners do.
"""

from __future__ import annotations

import os

from os_ken.base.app_manager import OSKenApp
from os_ken.controller import ofp_event
from os_ken.controller.handler import CONFIG_DISPATCHER, MAIN_DISPATCHER, set_ev_cls
from os_ken.lib.packet import ethernet, packet

VERSION = int(os.environ.get("OPENFLOW_VERSION", "4"))


class Learning(OSKenApp):  # type: ignore[misc]
    """`places`: the port at which each address was seen."""

    OFP_VERSIONS = (VERSION,)

    def __init__(self, *arguments, **named):
        super().__init__(*arguments, **named)
        self.places = {}

    @set_ev_cls(ofp_event.EventOFPSwitchFeatures, CONFIG_DISPATCHER)
    def features(self, event):
        datapath = event.msg.datapath
        if VERSION > 1:
            protocol, parser = datapath.ofproto, datapath.ofproto_parser
            actions = [parser.OFPActionOutput(protocol.OFPP_CONTROLLER, protocol.OFPCML_NO_BUFFER)]
            self.add_flow(datapath, 0, parser.OFPMatch(), actions)

    @staticmethod
    def add_flow(datapath, priority, match, actions):
        protocol, parser = datapath.ofproto, datapath.ofproto_parser
        if VERSION == 1:
            mod = parser.OFPFlowMod(
                datapath=datapath, match=match, cookie=0, command=protocol.OFPFC_ADD, idle_timeout=0, hard_timeout=0,
                priority=priority, flags=protocol.OFPFF_SEND_FLOW_REM, actions=actions,
            )  # fmt: skip
        else:
            applied = [parser.OFPInstructionActions(protocol.OFPIT_APPLY_ACTIONS, actions)]
            mod = parser.OFPFlowMod(
                datapath=datapath, priority=priority, match=match, instructions=applied, cookie=0, cookie_mask=0,
                table_id=0, command=protocol.OFPFC_ADD, idle_timeout=0, hard_timeout=0,
                buffer_id=protocol.OFP_NO_BUFFER, out_port=protocol.OFPP_ANY, out_group=protocol.OFPG_ANY, flags=0,
            )  # fmt: skip
        datapath.send_msg(mod)

    @set_ev_cls(ofp_event.EventOFPPacketIn, MAIN_DISPATCHER)
    def packet_in(self, event):
        message = event.msg
        datapath = message.datapath
        protocol, parser = datapath.ofproto, datapath.ofproto_parser
        in_port = message.in_port if VERSION == 1 else message.match["in_port"]
        frame = packet.Packet(message.data).get_protocols(ethernet.ethernet)[0]
        self.places[frame.src] = in_port
        out = self.places.get(frame.dst, protocol.OFPP_FLOOD)
        actions = [parser.OFPActionOutput(out)]
        if out != protocol.OFPP_FLOOD:
            fields = {"dl_dst": frame.dst, "dl_src": frame.src} if VERSION == 1 else {
                "eth_dst": frame.dst, "eth_src": frame.src,
            }  # fmt: skip
            self.add_flow(datapath, 1, parser.OFPMatch(in_port=in_port, **fields), actions)
        if VERSION == 6:
            match = parser.OFPMatch(in_port=in_port)
            reply = parser.OFPPacketOut(datapath, protocol.OFP_NO_BUFFER, match, actions, message.data)
        elif VERSION == 1:
            reply = parser.OFPPacketOut(
                datapath=datapath, buffer_id=0xFFFFFFFF, in_port=in_port, actions=actions, data=message.data
            )
        else:
            reply = parser.OFPPacketOut(
                datapath=datapath, buffer_id=protocol.OFP_NO_BUFFER, in_port=in_port, actions=actions,
                data=message.data,
            )  # fmt: skip
        datapath.send_msg(reply)
