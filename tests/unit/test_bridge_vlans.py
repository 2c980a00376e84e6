"""VLANs of ports: how they are written, what contradicts itself, and where packets go by them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from vswitch import Bridge, ConfigError
from vswitch.bridge.vlans import parse_port, port_vlan
from vswitch.ofproto.translation import PortVlan
from vswitch.packet import build

ANN, BOB = 0x020000000001, 0x020000000002

PORTS = [
    ("veth1", ("veth1", None, None)),
    ("veth1,port_no=7", ("veth1", 7, None)),
    ("veth1,tag=10", ("veth1", None, PortVlan("access", 10))),
    ("veth1,tag=0", ("veth1", None, PortVlan("access", 0))),
    ("veth1,port_no=7,tag=10", ("veth1", 7, PortVlan("access", 10))),
    ("veth1,tag=10,vlan_mode=access", ("veth1", None, PortVlan("access", 10))),
    ("veth1,trunks=10", ("veth1", None, PortVlan("trunk", 0, frozenset({10})))),
    ("veth1,trunks=10,20,30-32,port_no=2", ("veth1", 2, PortVlan("trunk", 0, frozenset({10, 20, 30, 31, 32})))),
    ("veth1,vlan_mode=trunk", ("veth1", None, PortVlan())),
    ("veth1,vlan_mode=native-tagged,tag=4095", ("veth1", None, PortVlan("native-tagged", 4095))),
    ("v,vlan_mode=native-untagged,tag=1,trunks=2,3", ("v", None, PortVlan("native-untagged", 1, frozenset({2, 3})))),
]


@pytest.mark.parametrize(("text", "expected"), PORTS)
def test_ports_are_read(text: str, expected: tuple[str, int | None, PortVlan | None]) -> None:
    assert parse_port(text) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (",tag=1", "has no name"),
        ("veth1,tag", "'tag' is none of port_no=, tag=, trunks=, vlan_mode="),
        ("veth1,10", "'10' is none of"),
        ("veth1,vid=10", "'vid=10' is none of"),
        ("veth1,tag=1,tag=2", "tag is given twice"),
        ("veth1,tag=4096", r"tag=4096 is no number of 0..4095"),
        ("veth1,tag=x", "tag=x is no number"),
        ("veth1,port_no=65535", r"port_no=65535 is no number of 0..65534"),
        ("veth1,trunks=", "'' is neither a VLAN nor a range"),
        ("veth1,trunks=10,x", "'x' is neither a VLAN nor a range"),
        ("veth1,trunks=20-10", "20-10 is no range within 0..4095"),
        ("veth1,trunks=4000-4096", "4000-4096 is no range within 0..4095"),
        ("veth1,vlan_mode=hybrid", "'hybrid' is none of access, trunk, native-tagged, native-untagged"),
        ("veth1,vlan_mode=access", "vlan_mode access needs a tag"),
        ("veth1,vlan_mode=native-tagged,trunks=5", "vlan_mode native-tagged needs a tag"),
        ("veth1,tag=1,trunks=2", "an access port has a tag, and no trunks"),
        ("veth1,vlan_mode=trunk,tag=1", "vlan_mode trunk has no tag"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(text: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        parse_port(text)


def test_numbers_of_programs_are_bounded_too() -> None:
    with pytest.raises(ConfigError, match=r"trunks: VLAN 4096 is outside 0..4095"):
        port_vlan(trunks=(1, 4096))


# ---- what becomes of packets


def plain(source: int = ANN, target: int = 0xFFFFFFFFFFFF) -> bytes:
    return build.ethernet(target, source, 0x88B5, bytes(46))


def tagged(vid: int, source: int = ANN, target: int = 0xFFFFFFFFFFFF) -> bytes:
    return build.vlan(plain(source, target), vid)


@pytest.fixture
def bridge() -> Iterator[Bridge]:
    """Access ports of VLAN 10 (1, 2) and 20 (3), trunks of all (4), of 10 (5), and with VLAN 20 untagged (6)."""
    vlans = {
        "port1": port_vlan(10), "port2": port_vlan(10), "port3": port_vlan(20), "port5": port_vlan(trunks=[10]),
        "port6": port_vlan(20, [10], "native-untagged"),
    }  # fmt: skip
    with Bridge.simulate(6, vlans=vlans) as bridge:
        yield bridge


def sent(bridge: Bridge, frame: bytes, in_port: int) -> dict[int, bytes]:
    return {each.port: each.packet for each in bridge.receive(frame, in_port)}


def test_an_access_port_reaches_its_vlan_and_trunks_that_carry_it(bridge: Bridge) -> None:
    assert sent(bridge, plain(), 1) == {2: plain(), 4: tagged(10), 5: tagged(10), 6: tagged(10)}
    assert sent(bridge, plain(), 3) == {4: tagged(20), 6: plain()}
    assert sent(bridge, tagged(10), 1) == {}


def test_trunks_carry_what_they_are_to(bridge: Bridge) -> None:
    assert sent(bridge, tagged(20), 4) == {3: plain(), 6: plain()}
    assert sent(bridge, tagged(20), 5) == {}
    assert sent(bridge, plain(), 6) == {3: plain(), 4: tagged(20)}
    assert sent(bridge, plain(), 4) == {}  # VLAN 0, which no other port carries


def test_addresses_are_learned_for_each_vlan_on_its_own(bridge: Bridge) -> None:
    bridge.receive(plain(BOB), 3)
    assert sent(bridge, plain(ANN, BOB), 1).keys() == {2, 4, 5, 6}
    bridge.receive(plain(BOB), 2)
    assert sent(bridge, plain(ANN, BOB), 1) == {2: plain(ANN, BOB)}


def test_a_port_may_change_its_vlan_while_packets_flow(bridge: Bridge) -> None:
    bridge.receive(plain(BOB), 2)
    assert sent(bridge, plain(ANN, BOB), 1).keys() == {2}
    bridge.set_vlan("port2", tag=20)
    assert sent(bridge, plain(ANN, BOB), 1).keys() == {4, 5, 6}
    assert sent(bridge, plain(BOB), 2).keys() == {3, 4, 6}
    bridge.set_vlan("port2")
    assert sent(bridge, plain(ANN), 1)[2] == tagged(10)
    with pytest.raises(ConfigError, match="vlan_mode access needs a tag"):
        bridge.set_vlan("port2", vlan_mode="access")


def test_a_port_that_comes_later_has_the_vlan_of_its_name(bridge: Bridge) -> None:
    bridge.set_vlan("late", tag=10)
    bridge.datapath.ports.add("late", 9)
    bridge.process()
    assert sent(bridge, plain(), 1)[9] == plain()
    bridge.datapath.ports.remove("late")
    bridge.process()
    bridge.datapath.ports.add("other", 9)
    bridge.process()
    assert sent(bridge, plain(), 1)[9] == tagged(10)


def test_flows_may_send_where_they_like(bridge: Bridge) -> None:
    bridge.add_flow("priority=9,in_port=1,actions=output:3")
    assert sent(bridge, plain(), 1) == {3: plain()}


def test_the_addresses_that_are_known_are_bounded_and_grow_old() -> None:
    with Bridge.simulate(3, max_macs=10, mac_age_s=15) as bridge:
        for number in range(30):
            bridge.receive(plain(ANN + number), 1)
        assert sent(bridge, plain(BOB, ANN), 2).keys() == {1, 3}
        assert sent(bridge, plain(BOB, ANN + 29), 2).keys() == {1}
        bridge.advance(seconds=16)
        assert sent(bridge, plain(BOB, ANN + 29), 2).keys() == {1, 3}
