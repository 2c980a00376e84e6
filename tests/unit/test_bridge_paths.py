"""Ways through the tables that a bridge remembers: what changes is seen by the next new flow."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest

from vswitch.bridge import engine
from vswitch.bridge.bridge import Bridge
from vswitch.messages.ports import PortConfig, PortMod

READ = "move:NXM_OF_UDP_SRC[]->NXM_NX_REG0[0..15]"


def udp(port: int, eth_dst: str = "020000000002", eth_src: str = "020000000001") -> bytes:
    ip = struct.pack("!BBHHHBBHII", 0x45, 0, 46, 0, 0, 64, 17, 0, 0x0A000001, 0x0A000002)
    return bytes.fromhex(eth_dst + eth_src) + b"\x08\x00" + ip + struct.pack("!HHHH", port, 9, 26, 0) + bytes(18)


@pytest.fixture
def bridge() -> Iterator[Bridge]:
    """Whose tables see each flow, and send all to port 2."""
    with Bridge.simulate(4, fail_mode="secure") as made:
        made.add_flow(f"table=0,udp,actions={READ},resubmit(,1)")
        made.add_flow("table=1,priority=2,reg0=0xffff,actions=drop")
        made.add_flow("table=1,priority=1,actions=output:2")
        for port in range(1, 20):
            assert ports(made, port) == [2]
        assert made._engine.paths.followed > 10
        yield made


def ports(bridge: Bridge, source: int, in_port: int = 1) -> list[int]:
    return [sent.port for sent in bridge.receive(udp(source), in_port)]


def test_each_flow_has_its_megaflow(bridge: Bridge) -> None:
    before = bridge.stats()["megaflows"]
    for port in range(100, 150):
        assert ports(bridge, port) == [2]
    assert bridge.stats()["megaflows"] == before + 50


def test_a_modified_flow(bridge: Bridge) -> None:
    bridge.modify_flows("table=1,priority=1,actions=output:3", strict=True)
    assert ports(bridge, 200) == [3]
    assert ports(bridge, 201) == [3]


def test_a_flow_that_comes_and_goes(bridge: Bridge) -> None:
    bridge.add_flow("table=1,priority=3,reg0=200,actions=output:4")
    assert ports(bridge, 200) == [4]
    assert ports(bridge, 201) == [2]
    bridge.delete_flows("table=1,priority=3,reg0=200", strict=True)
    assert ports(bridge, 200) == [2]


def test_a_port_that_is_closed(bridge: Bridge) -> None:
    (mac,) = [port.mac for port in bridge._engine.switch.ports if port.number == 2]
    bridge.send(PortMod(2, mac, PortConfig.NO_FWD, PortConfig.NO_FWD))
    assert ports(bridge, 200) == []
    bridge.send(PortMod(2, mac, 0, PortConfig.NO_FWD))
    assert ports(bridge, 201) == [2]


def test_an_address_that_moves(bridge: Bridge) -> None:
    bridge.modify_flows("table=1,priority=1,actions=NORMAL", strict=True)
    for source in range(300, 305):
        assert ports(bridge, source) == [2, 3, 4]
    bridge.receive(udp(9, "020000000001", "020000000002"), 3)
    for source in range(310, 315):
        assert ports(bridge, source) == [3]
    bridge.receive(udp(10, "020000000001", "020000000002"), 4)
    for source in range(320, 325):
        assert ports(bridge, source) == [4]


def test_counters_are_those_of_each_packet(bridge: Bridge) -> None:
    bridge.delete_flows("table=1,priority=2,reg0=0xffff", strict=True)
    for port in range(400, 420):
        ports(bridge, port)
    bridge.advance(1.0)
    (flow,) = bridge.dump_flows("table=1")
    assert flow.packets == 19 + 20


def test_counters_are_true_after_a_second_however_many_count(bridge: Bridge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "PUSH_AT_ONCE", 3)
    for port in range(500, 540):
        ports(bridge, port)
    (rule,) = [rule for rule in bridge._engine.switch.tables[1].classifier if rule.priority == 1]
    before = rule.packets
    assert before < 59
    bridge.advance(0.2)
    assert before < rule.packets < 59, "some at a time"
    bridge.advance(1.0)
    assert rule.packets == 59
    ports(bridge, 500)
    bridge.advance(0.1)
    told = {flow.priority: flow.packets for flow in bridge.dump_flows("table=1")}
    assert told[1] == 60, "who asks is told the truth at once"


def test_new_flows_of_a_port_can_be_bounded() -> None:
    with Bridge.simulate(4, fail_mode="secure", new_flow_rate_per_s=5) as bridge:
        bridge.add_flow("table=0,priority=2,udp,tp_src=1,actions=output:3")
        bridge.add_flow("table=0,priority=1,udp,actions=controller")
        told: list[object] = []
        bridge.on_packet_in(told.append)
        for source in range(100, 120):
            bridge.receive(udp(source), 1)
        assert len(told) == 5
        assert ports(bridge, 1, in_port=2) == [3], "another port has its own"
        bridge.advance(1.0)
        bridge.receive(udp(200), 1)
        assert len(told) == 6
