"""Mirrors and multicast snooping of a whole bridge, while it runs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.membership_frames import GROUP, HOST, data, data6, igmp, mld
from vswitch.base.errors import ConfigError
from vswitch.bridge import Bridge, McastSnooping, Mirror
from vswitch.packet import build


@pytest.fixture
def bridge() -> Iterator[Bridge]:
    with Bridge.simulate(5, mcast_snooping=McastSnooping()) as made:
        yield made


def ports(bridge: Bridge, frame: bytes, in_port: int) -> list[int]:
    return sorted(each.port for each in bridge.receive(frame, in_port))


ALL_BUT_4 = [1, 2, 3, 5]


def known(bridge: Bridge) -> list[tuple[int, int | None, int]]:
    return [(each.vlan, each.group, each.port) for each in bridge.multicast_groups()]


def test_multicast_goes_where_it_is_wanted(bridge: Bridge) -> None:
    flooded = ports(bridge, data(), 4)
    assert {1, 2, 3, 5} <= set(flooded)
    ports(bridge, igmp(0x16), 1)
    assert known(bridge) == [(0, GROUP, 1)]
    assert ports(bridge, data(), 4) == [1]
    ports(bridge, igmp(0x16), 2)
    assert ports(bridge, data(), 4) == [1, 2]
    ports(bridge, igmp(0x17), 1)
    assert ports(bridge, data(), 4) == [2]
    ports(bridge, igmp(0x17), 2)
    assert ports(bridge, data(), 4) == flooded
    assert bridge.multicast_stats()["read"] == 4


def test_routers_get_reports_and_all_multicast(bridge: Bridge) -> None:
    assert len(ports(bridge, igmp(0x11, 0xE0000001), 5)) >= 4
    assert known(bridge) == [(0, None, 5)]
    assert ports(bridge, igmp(0x16), 1) == [5]
    assert ports(bridge, data(), 4) == [1, 5]
    bridge.set_mcast_snooping(McastSnooping(flood_unregistered=False))
    assert ports(bridge, data(0xEF090909), 4) == [5]


def test_a_query_of_no_address_comes_from_no_router(bridge: Bridge) -> None:
    ports(bridge, igmp(0x11, 0xE0000001, source=0), 5)
    assert known(bridge) == []


def test_settings_of_ports() -> None:
    snooping = McastSnooping(
        flood_unregistered=False, flood_ports=frozenset({"port3"}), flood_reports_ports=frozenset({"port2"})
    )
    with Bridge.simulate(["port1", "port2", "port3", "port4"], mcast_snooping=snooping) as bridge:
        assert ports(bridge, data(), 4) == [3]
        assert ports(bridge, igmp(0x16), 1) == [2]
        assert ports(bridge, data(), 4) == [1, 3]


def test_reports_of_version_3(bridge: Bridge) -> None:
    record = GROUP.to_bytes(4, "big")
    ports(bridge, igmp(0x22, 0xE0000016, rest=bytes((0, 0, 0, 1, 4, 0, 0, 0)) + record), 1)
    assert known(bridge) == [(0, GROUP, 1)]
    ports(bridge, igmp(0x22, 0xE0000016, rest=bytes((0, 0, 0, 1, 3, 0, 0, 0)) + record), 1)
    assert known(bridge) == []


def test_mld_is_the_same_for_ipv6(bridge: Bridge) -> None:
    group = 0xFF05 << 112 | 0x1234
    ports(bridge, mld(131, group), 2)
    assert known(bridge) == [(0, group, 2)]
    assert ports(bridge, data6(group), 1) == [2]
    record = bytes((0, 0, 0, 1, 3, 0, 0, 0)) + group.to_bytes(16, "big")
    ports(bridge, mld(143, 0xFF02 << 112 | 0x16, record), 2)
    assert known(bridge) == []


def test_packets_to_all_of_a_network_are_flooded(bridge: Bridge) -> None:
    ports(bridge, igmp(0x16, 0xE0000005), 1)
    assert known(bridge) == []
    assert len(ports(bridge, data(0xE0000005), 4)) >= 4


def test_groups_age(bridge: Bridge) -> None:
    ports(bridge, igmp(0x16), 1)
    bridge.advance(299)
    assert known(bridge) == [(0, GROUP, 1)]
    bridge.advance(2)
    assert known(bridge) == []
    assert len(ports(bridge, data(), 4)) >= 4


def test_a_port_that_makes_groups_up_pushes_out_its_own() -> None:
    with Bridge.simulate(4, mcast_snooping=McastSnooping(max_groups=5)) as bridge:
        ports(bridge, igmp(0x16), 1)
        for number in range(20):
            ports(bridge, igmp(0x16, 0xEF000000 + number), 2)
        assert (0, GROUP, 1) in known(bridge)
        assert len(known(bridge)) == 5
        assert bridge.multicast_stats()["evicted"] == 16


def test_damaged_reports_say_nothing(bridge: Bridge) -> None:
    frame = igmp(0x16)
    for cut in range(14, len(frame)):
        bridge.receive(frame[:cut], 1)
    bridge.receive(frame[:-1] + b"\xff", 1)
    assert known(bridge) == []


def test_without_snooping_multicast_is_flooded(bridge: Bridge) -> None:
    ports(bridge, igmp(0x16), 1)
    bridge.set_mcast_snooping(None)
    assert known(bridge) == []
    assert len(ports(bridge, data(), 4)) >= 4


PLAIN = build.ethernet(0x02000000000A, HOST, 0x88B5, b"x" * 46)


def test_mirrors_come_and_go_while_megaflows_stand() -> None:
    with Bridge.simulate(["a", "b", "c", "d"]) as bridge:
        bridge.delete_flows()
        bridge.add_flow("in_port=1,actions=output:2")
        bridge.add_flow("in_port=2,actions=output:1")
        assert ports(bridge, PLAIN, 1) == [2]
        ports(bridge, PLAIN, 2)
        before = bridge.stats()["withdrawn"]
        bridge.set_mirrors([Mirror("m", select_src_port=frozenset({"a"}), output_port="d")])
        assert bridge.stats()["withdrawn"] == before + 1
        assert ports(bridge, PLAIN, 1) == [2, 4]
        assert ports(bridge, PLAIN, 2) == [1]
        bridge.receive(PLAIN, 1)
        assert bridge.mirror_stats() == {"m": (2, 2 * len(PLAIN))}
        bridge.set_mirrors([])
        assert ports(bridge, PLAIN, 1) == [2]
        assert bridge.mirror_stats() == {}


def test_packet_outs_are_copied_and_counted() -> None:
    with Bridge.simulate(["a", "b", "c", "d"]) as bridge:
        bridge.set_mirrors([Mirror("m", select_dst_port=frozenset({"b"}), output_port="d")])
        bridge.datapath.sent()
        bridge.packet_out(PLAIN, "output:2", in_port=1)
        bridge.process()
        assert sorted(each.port for each in bridge.datapath.sent()) == [2, 4]
        assert bridge.mirror_stats()["m"].tx_packets == 1


def test_reports_are_copied_once() -> None:
    mirror = Mirror("m", select_all=True, output_port="d")
    with Bridge.simulate(["a", "b", "c", "d"], mirrors=(mirror,), mcast_snooping=McastSnooping()) as bridge:
        assert ports(bridge, igmp(0x11, 0xE0000001), 1).count(4) == 1
        assert ports(bridge, igmp(0x16), 2) == [1, 4]


def test_mirrors_of_one_name_are_refused() -> None:
    mirror = Mirror("m", select_all=True, output_port="d")
    with Bridge.simulate(2) as bridge:
        with pytest.raises(ConfigError, match="two mirrors have the name m"):
            bridge.set_mirrors([mirror, mirror])
        assert bridge.mirror_stats() == {}


def test_protected_ports_and_reserved_addresses_while_it_runs() -> None:
    bpdu = build.ethernet(0x0180C2000000, HOST, 0x88B5, b"x" * 46)
    with Bridge.simulate(["a", "b", "c"]) as bridge:
        assert {2, 3} <= set(ports(bridge, PLAIN, 1))
        bridge.set_protected(["a", "b"])
        assert 2 not in ports(bridge, PLAIN, 1)
        assert ports(bridge, bpdu, 1) == []
        bridge.set_forward_bpdu(True)
        assert 3 in ports(bridge, bpdu, 1)
        bridge.set_vlan("c", tag=10, vlan_mode="dot1q-tunnel", cvlans=[20])
        assert 3 not in ports(bridge, PLAIN, 1)
