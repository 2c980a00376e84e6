"""Mirrors and multicast snooping in the kernel, with real packets, changed while they go."""

from __future__ import annotations

import pytest

from tests.bridges import serving
from tests.lab import Host, wait_until
from tests.membership_frames import GROUP, data, igmp
from vswitch import McastSnooping, Mirror
from vswitch.bridge.bridge import Bridge
from vswitch.packet import build

Hosts = tuple[Host, Host, Host]
FRAME = build.ethernet(0x02000000000A, 0x02000000000B, 0x88B5, b"x" * 150)


def of_ours(frame: bytes) -> bool:
    return frame[12:14] == b"\x88\xb5"


def of_group(frame: bytes) -> bool:
    return frame[12:14] == b"\x08\x00" and frame[23] == 17 and frame[30:34] == GROUP.to_bytes(4, "big")


def test_a_mirror_copies_and_cuts_until_it_is_taken_away(name: str, hosts: Hosts) -> None:
    one, two, watcher = hosts
    with (
        Bridge.create(name, ports=[host.port for host in hosts], local=False, fail_mode="secure") as bridge,
        serving(bridge) as served,
    ):
        served.call(lambda bridge: bridge.add_flow("in_port=1,actions=output:2"))
        mirror = Mirror("span", select_src_port=frozenset({one.port}), output_port=watcher.port, snaplen=100)
        with two.capturing(of_ours) as arrived, watcher.capturing(of_ours) as copied:
            one.send(FRAME)
            arrived.wait_for(1)
            served.call(lambda bridge: bridge.set_mirrors([mirror]))
            one.send(FRAME, times=3)
            arrived.wait_for(4)
            copied.wait_for(3)
            served.call(lambda bridge: bridge.set_mirrors([]))
            one.send(FRAME)
            arrived.wait_for(5)
            copied.settle()
        assert [len(frame) for frame in copied] == [100, 100, 100]
        assert {len(frame) for frame in arrived} == {len(FRAME)}


def test_mirrors_count(name: str, hosts: Hosts) -> None:
    one, two, watcher = hosts
    mirror = Mirror("span", select_dst_port=frozenset({two.port}), output_port=watcher.port)
    with (
        Bridge.create(name, ports=[host.port for host in hosts], local=False, mirrors=(mirror,)) as bridge,
        serving(bridge) as served,
        watcher.capturing(of_ours) as copied,
    ):
        one.send(FRAME, times=5)
        copied.wait_for(5).settle()
        assert len(copied) == 5
        assert served.call(lambda bridge: bridge.mirror_stats()["span"].tx_packets) >= 5


@pytest.mark.parametrize("tag", [None, 7])
def test_multicast_goes_to_those_who_have_asked(name: str, hosts: Hosts, tag: int | None) -> None:
    one, two, three = hosts
    with (
        Bridge.create(name, ports=[host.port for host in hosts], local=False, mcast_snooping=McastSnooping()) as bridge,
        serving(bridge) as served,
    ):
        for host in hosts:
            served.call(lambda bridge, port=host.port: bridge.set_vlan(port, tag=tag))  # type: ignore[misc]
        with two.capturing(of_group) as wanted, three.capturing(of_group) as unwanted:
            one.send(data())
            wanted.wait_for(1)
            unwanted.wait_for(1)
            two.send(igmp(0x16))
            asked = (tag or 0, GROUP, 2)
            wait_until(
                lambda: asked in [each[:3] for each in served.call(lambda bridge: bridge.multicast_groups())],
                "the report is known",
            )
            one.send(data(), times=3)
            wanted.wait_for(4)
            unwanted.settle()
        assert len(unwanted) == 1
        assert served.call(lambda bridge: bridge.multicast_stats())["read"] >= 1
