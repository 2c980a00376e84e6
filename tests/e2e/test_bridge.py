"""A whole switch in the kernel, with real traffic, and the test as its controller."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from functools import partial
from operator import methodcaller

import pytest

from tests.bridges import Served, serving
from tests.datapaths import command, frame, is_test, require_sound
from tests.lab import VNET_HEADER, Host, wait_until
from vswitch import Datapath
from vswitch.bridge.bridge import Bridge
from vswitch.bridge.ports import LOCAL
from vswitch.datapath.ebpf.netdev import Device, Netdev
from vswitch.messages.base import Message
from vswitch.messages.control import BarrierRequest
from vswitch.messages.flows import FlowCommand, FlowMod, FlowRemoved, PacketIn
from vswitch.messages.ports import PortConfig, PortDescription, PortMod, PortState, PortStatus
from vswitch.messages.stats import MultipartReply, StatsRequest
from vswitch.packet.build import ethernet, ipv4, tcp
from vswitch.packet.checksum import internet_checksum
from vswitch.text.flow import parse_flow

Hosts = tuple[Host, Host, Host]

FLOOD = """
import os, socket
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind(("eth0", 0))
while True:
    s.send(bytes.fromhex("020000000002") + bytes([2]) + os.urandom(5) + bytes(48))
"""
"""Packets from ever other addresses."""

STREAM = """
import socket, sys, time
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind(("eth0", 0))
while True:
    for _ in range(20):
        s.send(bytes.fromhex(sys.argv[1]))
    time.sleep(0.001)
"""
"""The same packet some ten thousand times a second."""


@pytest.fixture
def served(name: str, hosts: Hosts) -> Iterator[Served]:
    """All three hosts, and no flow."""
    with (
        Bridge.create(name, ports=[host.port for host in hosts], local=False, fail_mode="secure") as bridge,
        serving(bridge) as served,
    ):
        yield served
        served.call(lambda bridge: require_sound(bridge.datapath))


def reaches(one: Host, other: Host, count: int = 3) -> bool:
    return one.ping(other.ip, count=count, interval_s=0.05).received == count


def test_a_switch_without_controllers_learns(name: str, pair: tuple[Host, Host]) -> None:
    one, two = pair
    with Bridge.create(name, ports=[one.port, two.port], local=False) as bridge, serving(bridge) as served:
        assert reaches(one, two)
        assert reaches(two, one)
        url = two.serve_http(content="through NORMAL")
        assert one.curl(url) == "through NORMAL"
        (flow,) = served.call(lambda bridge: bridge.dump_flows())
        assert flow.packets > 12
    assert name not in Datapath.list()


def test_the_host_itself_is_on_the_switch(name: str, pair: tuple[Host, Host]) -> None:
    one, _ = pair
    with Bridge.create(name, ports=[one.port]) as bridge, serving(bridge):
        command("ip", "address", "add", "10.0.0.9/24", "dev", name)
        command("ip", "link", "set", name, "up")
        assert one.ping("10.0.0.9", count=3, interval_s=0.05).received == 3


def test_packets_go_as_the_flows_say_through_many_tables(served: Served, hosts: Hosts) -> None:
    one, two, three = hosts

    def program(bridge: Bridge) -> None:
        for table in range(8):
            bridge.add_flow(f"table={table},priority=0,actions=goto_table:{table + 1}")
        for number, host in enumerate(hosts, 1):
            bridge.add_flow(f"table=8,dl_dst={host.mac},actions=output:{number}")

    served.call(program)
    assert reaches(one, two)
    assert reaches(three, one)
    served.call(lambda bridge: bridge.add_flow(f"table=4,priority=9,dl_dst={two.mac},actions=drop"))
    assert not one.ping(two.ip, count=2, interval_s=0.05).received
    assert reaches(three, one)


def test_what_no_flow_takes_is_for_the_program_to_decide(served: Served, hosts: Hosts) -> None:
    one, two, _ = hosts
    places: dict[str, int] = {}

    def learn(packet: PacketIn) -> None:
        bridge = served.bridge
        target, source = packet.frame[:6].hex(":"), packet.frame[6:12].hex(":")
        in_port = packet.metadata.take("in_port")[0]
        places[source] = in_port
        out = places.get(target)
        if out is not None:
            bridge.add_flow(f"in_port={in_port},dl_dst={target},actions=output:{out}")
        bridge.packet_out(packet.frame, f"output:{out}" if out else "flood", in_port=in_port)

    served.call(lambda bridge: bridge.on_packet_in(learn))
    assert reaches(one, two)
    assert len(places) == 2
    assert served.call(lambda bridge: len(bridge.dump_flows())) == 2
    before = served.call(lambda bridge: bridge.stats()["misses"])
    assert reaches(two, one)
    assert served.call(lambda bridge: bridge.stats()["misses"]) == before


def test_the_virtual_meters_police_what_comes_up(served: Served, hosts: Hosts) -> None:
    found: list[PacketIn] = []

    def program(bridge: Bridge) -> None:
        bridge.on_packet_in(found.append)
        bridge.add_meter("meter=slowpath,pktps,burst,stats,band=type=drop,rate=1,burst_size=20")
        bridge.add_meter("meter=controller,pktps,burst,stats,band=type=drop,rate=1,burst_size=5")
        bridge.add_flow("tcp,actions=controller")

    def counted(bridge: Bridge) -> list[tuple[int, int]]:
        """Of the slow path and of controllers: packets that came, and that passed."""
        return [(each.packets, each.packets - each.bands[0][0]) for each in bridge.dump_meters()[1]]

    served.call(program)
    segment = tcp(40000, 80, 1, 0, 0x10)
    hosts[0].send(ethernet(0x020000000002, 0x020000000001, 0x0800, ipv4(1, 2, 6, segment)), times=200)
    wait_until(lambda: served.call(counted)[0][0] >= 200, "200 packets that came up")
    (came, looked_at), (for_controllers, told) = served.call(counted)
    assert 20 <= looked_at < came
    assert 5 <= told < for_controllers <= looked_at
    assert len(found) == told


@pytest.mark.parametrize(("size", "count"), [(0, 1), (1000, 3), (1448, 3)])
def test_controllers_get_packets_with_all_done_that_was_left_to_a_network_card(
    served: Served, hosts: Hosts, size: int, count: int
) -> None:
    payload = bytes(range(250)) * (12 if size else 2)
    whole = ethernet(0x020000000002, 0x020000000001, 0x0800, ipv4(1, 2, 6, tcp(40000, 80, 1, 0, 0x10, payload)))
    left = 0xFFFF - internet_checksum(whole[26:34] + (6).to_bytes(2, "big") + (len(whole) - 34).to_bytes(2, "big"))
    partial = whole[:50] + left.to_bytes(2, "big") + whole[52:]
    found: list[PacketIn] = []
    served.call(lambda bridge: bridge.on_packet_in(lambda packet: found.append(packet) if packet.frame[23] == 6 else 0))
    hosts[0].send(partial, VNET_HEADER.pack(1, 1 if size else 0, 54 if size else 0, size, 34, 16))
    wait_until(lambda: len(found) == count, f"{count} packet-ins")
    assert b"".join(packet.frame[54:] for packet in found) == payload
    for packet in found:
        assert (packet.in_port, packet.total_length) == (1, len(packet.frame))
        segment = packet.frame[34:]
        assert not internet_checksum(packet.frame[26:34] + (6 << 16 | len(segment)).to_bytes(4, "big") + segment)


def test_after_a_barrier_no_packet_takes_the_old_way(served: Served, hosts: Hosts) -> None:
    one, two, three = hosts
    served.call(lambda bridge: bridge.add_flow("actions=output:2"))
    one.send(frame())
    for turn in range(20):
        new, there, elsewhere = (3, three, two) if turn % 2 == 0 else (2, two, three)

        def change(bridge: Bridge, new: int = new) -> None:
            bridge.modify_flows(f"actions=output:{new}")
            bridge.send(BarrierRequest())

        served.call(change)
        with there.capturing(is_test) as right, elsewhere.capturing(is_test) as wrong:
            for number in range(5):
                one.send(frame(number=number))
            assert len(right.wait_for(5)) == 5
            assert not wrong.settle()


def test_counters_are_what_was_sent(served: Served, hosts: Hosts) -> None:
    one, two, _ = hosts
    served.call(lambda bridge: bridge.add_flow("table=0,actions=resubmit(,1)"))
    served.call(lambda bridge: bridge.add_flow("table=1,in_port=1,actions=output:2"))
    with two.capturing(is_test) as arrived:
        for number in range(500):
            one.send(frame(100, number=number))
        arrived.wait_for(500)
    flows = served.call(lambda bridge: bridge.dump_flows())
    assert [(flow.packets, flow.bytes) for flow in flows] == [(500, 50_000)] * 2


def test_a_megaflow_in_the_place_of_another_counts_anew(served: Served, hosts: Hosts) -> None:
    """It has counted as much as the one before had when it went: that is news all the same."""
    one, two, _ = hosts
    for number in range(3):
        served.call(lambda bridge: bridge.add_flow("in_port=1,actions=output:2"))
        with two.capturing(is_test) as arrived:
            one.send(frame(number=number))
            arrived.wait_for(1)
        (flow,) = served.call(lambda bridge: bridge.dump_flows())
        assert flow.packets == 1
        served.call(lambda bridge: bridge.delete_flows())
        served.call(lambda bridge: bridge.send(BarrierRequest()))


def test_a_flow_that_was_deleted_under_traffic_has_counted_all(served: Served, hosts: Hosts) -> None:
    one, two, _ = hosts
    told: list[Message] = []
    served.call(lambda bridge: bridge.on_message(told.append))
    served.call(lambda bridge: bridge.add_flow("in_port=1,send_flow_rem,actions=output:2"))
    with two.capturing(is_test) as arrived:
        for number in range(200):
            one.send(frame(number=number))
        arrived.wait_for(200)
        served.call(lambda bridge: bridge.delete_flows())
    removed = [each for each in told if isinstance(each, FlowRemoved)]
    assert [(each.packets, each.bytes) for each in removed] == [(200, 12_000)]


@pytest.mark.parametrize("how", ["timeout", "deleted", "replaced"])
def test_a_flow_that_goes_while_packets_come_has_counted_each_that_arrived(
    served: Served, hosts: Hosts, how: str
) -> None:
    one, two, _ = hosts
    told: list[Message] = []
    served.call(lambda bridge: bridge.on_message(told.append))
    flow = "in_port=1,send_flow_rem,actions=output:2"

    def change(bridge: Bridge) -> None:
        """As a controller does: nothing is settled yet when it returns."""
        for cookie in range(20 if how == "replaced" else 0):
            bridge._engine.flow_mod(parse_flow(f"cookie={cookie},{flow}"))
        if how != "timeout":
            bridge._engine.flow_mod(FlowMod(FlowCommand.DELETE))

    served.call(lambda bridge: bridge.add_flow(f"hard_timeout=1,{flow}" if how == "timeout" else flow))
    with two.capturing(is_test) as arrived:
        sender = one.popen([sys.executable, "-c", STREAM, frame().hex()])
        try:
            arrived.wait_for(1000)
            served.call(change)
            wait_until(lambda: bool(told), "it is told", 5)
        finally:
            sender.kill()
            sender.wait()
    (removed,) = told
    assert isinstance(removed, FlowRemoved)
    assert removed.packets == len(arrived)


def test_idle_flows_go_and_those_in_use_stay(served: Served, hosts: Hosts) -> None:
    one, two, _ = hosts
    served.call(lambda bridge: bridge.add_flow(f"idle_timeout=2,dl_dst={two.mac},actions=output:2"))
    served.call(lambda bridge: bridge.add_flow(f"idle_timeout=2,dl_dst={one.mac},actions=output:1"))
    assert one.ping(two.ip, count=20, interval_s=0.2).received == 20
    wait_until(lambda: not served.call(lambda bridge: bridge.dump_flows()), "both are idle", 5)


def test_ports_tell_of_themselves(served: Served, hosts: Hosts) -> None:
    told: list[PortStatus] = []

    def note(message: Message) -> None:
        if isinstance(message, PortStatus):
            told.append(message)

    served.call(lambda bridge: bridge.on_message(note))
    command("ip", "-n", hosts[1].namespace.name, "link", "set", hosts[1].device, "down")
    wait_until(lambda: told and told[-1].port.state & PortState.LINK_DOWN, "its link is down")
    assert told[-1].port.number == 2
    command("ip", "-n", hosts[1].namespace.name, "link", "set", hosts[1].device, "up")
    wait_until(lambda: not told[-1].port.state & PortState.LINK_DOWN, "its link is up")


def test_a_port_is_set_down_and_up(served: Served, hosts: Hosts) -> None:
    one, two, _ = hosts
    served.call(lambda bridge: bridge.add_flow("actions=normal"))
    assert reaches(one, two)

    def set_down(bridge: Bridge, config: int) -> None:
        (reply,) = bridge.send(StatsRequest("port_description"))
        assert isinstance(reply, MultipartReply)
        mac = next(port.mac for port in reply.entries if port.number == 2)  # type: ignore[attr-defined]
        bridge.send(PortMod(2, mac, config, 1))

    served.call(lambda bridge: set_down(bridge, 1))
    wait_until(lambda: not served.call(lambda bridge: bridge.datapath.ports[2].up), "its device is down")
    assert not one.ping(two.ip, count=2, interval_s=0.05).received
    served.call(lambda bridge: set_down(bridge, 0))
    wait_until(lambda: served.call(lambda bridge: bridge.datapath.ports[2].carrier), "its device is up")
    wait_until(lambda: reaches(one, two, 1), "its packets pass")


def test_local_port_is_the_hosts_device_to_controllers(name: str) -> None:
    def local(bridge: Bridge) -> PortDescription:
        (reply,) = bridge.send(StatsRequest("port_description"))
        assert isinstance(reply, MultipartReply)
        found = (port for port in reply.entries if isinstance(port, PortDescription) and port.number == LOCAL)
        return next(found)

    def device() -> Device:
        with Netdev() as devices:
            return devices.device(name)

    with Bridge.create(name, fail_mode="secure") as bridge, serving(bridge) as served:
        mac = served.call(local).mac
        assert mac == int(device().mac.replace(":", ""), 16)
        assert served.call(local).config & PortConfig.DOWN
        for up in (True, False, True):
            mod = PortMod(LOCAL, mac, 0 if up else PortConfig.DOWN, PortConfig.DOWN)
            served.call(methodcaller("send", mod))
            wait_until(partial(is_up, name, up), "the host's device follows")
            assert bool(served.call(local).config & PortConfig.DOWN) != up
        with Netdev() as devices:
            devices.set_mac(name, "02:00:00:00:00:77")
        wait_until(lambda: served.call(local).mac == 0x020000000077, "controllers see its address")


def is_up(name: str, up: bool) -> bool:
    """Whether that is so."""
    with Netdev() as devices:
        return (devices.device(name).up, devices.device(name).carrier) == (up, up)


def test_a_flood_on_one_port_does_not_keep_others_from_the_switch(served: Served, hosts: Hosts) -> None:
    one, two, three = hosts
    served.call(lambda bridge: bridge.add_flow("priority=1,actions=normal"))
    served.call(lambda bridge: bridge.add_flow("priority=2,udp,tp_src=7,actions=normal"))
    flood = three.popen([sys.executable, "-c", FLOOD])
    try:
        time.sleep(0.5)
        assert one.ping(two.ip, count=20, interval_s=0.05).received == 20
        url = two.serve_http(content="beside a flood")
        assert one.curl(url) == "beside a flood"
    finally:
        flood.kill()
        flood.wait()
