"""Flows, groups and meters that one daemon leaves and the next one has."""

from __future__ import annotations

import asyncio
from pathlib import Path

from vswitch.bridge.bridge import Bridge
from vswitch.vswitchd.saved import load, save

FLOWS = [
    "table=0,priority=7,cookie=0x5,tcp,tcp_dst=80,actions=group:1",
    "table=0,priority=6,idle_timeout=60,send_flow_rem,udp,actions=meter:3,resubmit(,1)",
    "table=1,priority=5,ip,actions=learn(table=2,NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],output:NXM_OF_IN_PORT[])",
    "table=1,priority=4,conj_id=7,ip,actions=output:2",
    "table=1,priority=3,ip,nw_dst=10.0.0.1,actions=conjunction(7,1/2)",
    "table=1,priority=2,actions=NORMAL",
    "table=2,priority=1,actions=set_field:1->reg0,note:00.01.02.03.04.05",
]


def shown(bridge: Bridge) -> list[object]:
    flows = sorted(
        (flow.table, flow.priority, flow.cookie, repr(flow.match), flow.actions, flow.idle_timeout_s, flow.flags)
        for flow in bridge.dump_flows()
    )
    return [*flows, *bridge.dump_groups()[0], *bridge.dump_meters()[0]]


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "flows"
    with Bridge.simulate(4) as first:
        first.delete_flows()
        first.add_group("group_id=9,type=all,bucket=output:1,bucket=output:2")
        first.add_group("group_id=1,type=select,bucket=weight:5,output:3,bucket=weight:1,group:9")
        first.add_meter("meter=3,kbps,burst,band=type=drop,rate=1000,burst_size=500")
        first.add_flows(FLOWS)
        count = save(first, path)
        wanted = shown(first)
    assert count == 2 * 2 + 1 + len(FLOWS)
    with Bridge.simulate(4) as second:
        assert asyncio.run(load(second, path)) == count
        assert shown(second) == wanted
        assert asyncio.run(load(second, path)) == 0, "the file has been used"


def test_a_bridge_that_had_no_flows_has_none(tmp_path: Path) -> None:
    """Though one that begins has one by itself."""
    with Bridge.simulate(4) as first:
        first.delete_flows()
        save(first, tmp_path / "flows")
    with Bridge.simulate(4) as second:
        asyncio.run(load(second, tmp_path / "flows"))
        assert not second.dump_flows()


def test_a_file_that_is_none_changes_nothing_and_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "flows"
    for junk in (b"junk and more of it", b"\x06\x0e\x00\x09\0\0\0\0", b"\x06\x0e\x00\x01\0\0\0\0", b"\x06"):
        path.write_bytes(junk)
        with Bridge.simulate(4) as bridge:
            asyncio.run(load(bridge, path))
            assert not path.exists()
            assert len(bridge.dump_flows()) == 1
