"""Multicast snooping beside Open vSwitch's: the same reports and queries to both, then what each knows, and where
packets to groups go."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest

from tests.interop.test_vlan_features import PORTS, asked, numbers, theirs
from tests.lab import wait_until
from tests.membership_frames import GROUP, data, igmp, mld
from tests.openvswitch import BRIDGE, OpenVswitch
from vswitch import Bridge, McastSnooping

GROUPS = (GROUP, GROUP + 1, GROUP + 2)
GROUPS6 = (0xFF05 << 112 | 0x1234, 0xFF05 << 112 | 0x5678)


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenVswitch]:
    with OpenVswitch(tmp_path_factory.mktemp("ovs")) as found:
        for number in PORTS[2:]:
            found.vsctl(
                *f"add-port {BRIDGE} p{number} -- set interface p{number} type=dummy ofport_request={number}".split()
            )
        found.ofctl(4, "del-flows")
        found.ofctl(4, "add-flow", "priority=0,actions=NORMAL")
        found.vsctl("set", "bridge", BRIDGE, "mcast_snooping_enable=true")
        yield found


def known(text: str) -> set[tuple[str, ...]]:
    """(port, VLAN, group) of mdb/show."""
    return {tuple(line.split()[:3]) for line in text.splitlines()[1:] if line.strip()}


def said(chance: Random) -> bytes:
    group = chance.choice(GROUPS)
    record = group.to_bytes(4, "big")
    kind = chance.choice((0, 0, 1, 2, 3, 4, 5))
    if kind == 0:
        return igmp(chance.choice((0x12, 0x16, 0x16)), group)
    if kind == 1:
        return igmp(0x17, group)
    if kind == 2:
        sources = chance.choice((0, 1))
        one = bytes((chance.choice((1, 2, 3, 4, 5, 6)), 0, 0, sources)) + record + bytes(4 * sources)
        return igmp(0x22, 0xE0000016, rest=bytes((0, 0, 0, 1)) + one)
    if kind == 3:
        return igmp(0x11, 0xE0000001, source=chance.choice((0, 0x0A000001)))
    return mld(131 if kind == 4 else 132, chance.choice(GROUPS6))


@pytest.mark.parametrize("seed", range(6))
def test_the_same_reports_make_the_same_groups(peer: OpenVswitch, seed: int) -> None:
    chance = Random(seed)
    asked(peer, "mdb/flush", BRIDGE)
    flood = chance.random() < 0.5
    peer.vsctl(
        "set", "bridge", BRIDGE, f"other_config:mcast-snooping-disable-flood-unregistered={str(not flood).lower()}"
    )
    ports = numbers(peer)
    with Bridge.simulate(5, name="br0", mcast_snooping=McastSnooping(flood_unregistered=flood)) as bridge:

        def ours() -> set[tuple[str, ...]]:
            return known("".join(bridge._commands.commands.call("mdb/show", ["br0"]).text))

        for _ in range(12):
            port, frame = chance.choice(PORTS[:4]), said(chance)
            bridge.receive(frame, port)
            asked(peer, "netdev-dummy/receive", f"p{port}", frame.hex())
            wait_until(
                lambda: known(asked(peer, "mdb/show", BRIDGE)) == ours(),
                f"the same groups after {frame.hex()} at {port}: {ours()}",
            )
        for group in (*GROUPS, 0xEF0A0A0A):
            address = ".".join(map(str, group.to_bytes(4, "big")))
            flow = f"in_port=5,udp,dl_src=02:00:00:00:00:01,dl_dst=01:00:5e:01:02:03,nw_src=10.0.0.9,nw_dst={address}"
            text = asked(peer, "ofproto/trace", BRIDGE, flow).split("Datapath actions: ")[1].splitlines()[0]
            wanted = {port for port, _, _ in theirs(text, (), ports)}
            sent = {each.port or 0xFFFFFFFE for each in bridge.receive(data(group), 5)}
            assert sent - {0xFFFFFFFE} == wanted - {0xFFFFFFFE}, (address, text, ours())
