"""A controller for os-ken that decides about each TCP connection: two flows, one each way, when its first packet comes.

Ports belong together two by two. What is not TCP over IPv4 it leaves alone: there are flows for that.
"""

from __future__ import annotations

from typing import Any

from os_ken.base.app_manager import OSKenApp
from os_ken.controller import ofp_event
from os_ken.controller.handler import MAIN_DISPATCHER, set_ev_cls
from os_ken.ofproto import ofproto_v1_3

__all__ = ["Connections"]


class Connections(OSKenApp):  # type: ignore[misc]
    """Of OpenFlow 1.3."""

    OFP_VERSIONS = (ofproto_v1_3.OFP_VERSION,)

    @set_ev_cls(ofp_event.EventOFPPacketIn, MAIN_DISPATCHER)  # type: ignore[untyped-decorator]
    def packet_in(self, event: Any) -> None:
        message = event.msg
        datapath = message.datapath
        protocol, parser = datapath.ofproto, datapath.ofproto_parser
        frame, in_port = message.data, message.match["in_port"]
        if len(frame) < 54 or frame[12:15] != b"\x08\x00\x45" or frame[23] != 6:
            return
        out_port = (in_port - 1 ^ 1) + 1
        one, two = (".".join(map(str, frame[at : at + 4])) for at in (26, 30))
        here, there = (int.from_bytes(frame[at : at + 2], "big") for at in (34, 36))
        for port, source, target, sport, dport, out in (
            (in_port, one, two, here, there, out_port),
            (out_port, two, one, there, here, in_port),
        ):
            match = parser.OFPMatch(
                in_port=port,
                eth_type=0x0800,
                ip_proto=6,
                ipv4_src=source,
                ipv4_dst=target,
                tcp_src=sport,
                tcp_dst=dport,
            )
            actions = [parser.OFPActionOutput(out)]
            applied = [parser.OFPInstructionActions(protocol.OFPIT_APPLY_ACTIONS, actions)]
            datapath.send_msg(
                parser.OFPFlowMod(
                    datapath=datapath,
                    cookie=1,
                    priority=100,
                    idle_timeout=10,
                    match=match,
                    instructions=applied,
                )
            )
        datapath.send_msg(
            parser.OFPPacketOut(
                datapath=datapath,
                buffer_id=protocol.OFP_NO_BUFFER,
                in_port=in_port,
                actions=[parser.OFPActionOutput(out_port)],
                data=frame,
            )
        )
