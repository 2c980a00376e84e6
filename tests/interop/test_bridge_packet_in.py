"""Packet-ins of the bridge and of Open vSwitch, for the same flows and packets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.ofctl_peer import BRIDGE, OpenVswitch
from tests.unit.test_bridge_channels import OPEN, Peer, served
from vswitch.bridge.bridge import Bridge
from vswitch.fields.openflow import flow_field
from vswitch.messages.actions import Controller, DecTtl, FlowAction, Output, SetField
from vswitch.messages.control import BarrierReply, BarrierRequest, SetConfig
from vswitch.messages.flows import FlowCommand, FlowMod, PacketIn, PacketOut
from vswitch.messages.match import FlowMatch
from vswitch.packet import build

FRAME = build.ethernet(0x020000000002, 0x020000000001, 0x0800, build.ipv4(1, 2, 17, build.udp(3, 4, bytes(60)), ttl=1))
CONTROLLER = 0xFFFFFFFD

ACTIONS: list[tuple[FlowAction, ...]] = [
    (Output(CONTROLLER, 20),),
    (Output(CONTROLLER, 0xFFFF),),
    (Controller(max_len=30),),
    (Controller(reason=0),),
    (SetField(flow_field("reg3"), 9, 0xFFFFFFFF), Output(CONTROLLER, 0xFFFF)),
    (DecTtl(), Output(2)),
]
"""Each sends the packet to the controller, for a reason of its own."""


async def told(peer: Peer, receive: Callable[[], object]) -> list[PacketIn]:
    """What a controller is told: of packets that it sends out, and of one that comes in."""
    await peer.hello()
    await peer.send(SetConfig(miss_send_length=128))
    found: list[PacketIn] = []

    async def one() -> None:
        packet = await peer.receive(PacketIn)
        assert isinstance(packet, PacketIn)
        found.append(packet)

    for actions in ACTIONS[:-1]:
        await peer.send(PacketOut(FRAME, actions, FlowMatch(in_port=1)))
        await one()
    for priority in (0, 5):
        for actions in ACTIONS[:-1]:
            await peer.send(FlowMod(FlowCommand.ADD, FlowMatch(), actions, priority, cookie=0x55), BarrierRequest())
            await peer.receive(BarrierReply)
            receive()
            await one()
    await peer.send(FlowMod(FlowCommand.DELETE, table=255), BarrierRequest())
    await peer.receive(BarrierReply)
    return found


def shown(packet: PacketIn) -> str:
    return (
        f"{len(packet.frame)} of {packet.total_length}, {packet.reason!r}, {packet.metadata}, table {packet.table}, "
        f"cookie {packet.cookie:#x}, buffer {packet.buffer_id:#x}, {packet.frame == FRAME}"
    )


@pytest.mark.parametrize("version", [1, 3, 4, 5, 6])
def test_packet_ins_are_those_of_open_vswitch(ovs: OpenVswitch, version: int, tmp_path: Path) -> None:
    def receive() -> None:
        ovs.appctl("revalidator/purge")  # its barriers do not wait for that
        ovs.appctl("netdev-dummy/receive", "p1", FRAME.hex())

    async def theirs() -> list[PacketIn]:
        peer = Peer(*await asyncio.open_unix_connection(str(ovs.folder / f"{BRIDGE}.mgmt")), version)
        try:
            return await told(peer, receive)
        finally:
            peer.close()
            OPEN.clear()

    async def ours() -> list[PacketIn]:
        path = tmp_path / "mgmt"
        with Bridge.simulate(3, fail_mode="secure", management=f"punix:{path}") as bridge:
            async with served(bridge):
                peer = Peer(*await asyncio.open_unix_connection(str(path)), version)
                return await told(peer, lambda: bridge.receive(FRAME))

    mine, wanted = asyncio.run(ours()), asyncio.run(theirs())
    assert [shown(each) for each in mine] == [shown(each) for each in wanted]
