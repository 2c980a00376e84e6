"""Settings of a bridge that change while it is at work: what changes with them, and what does not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from vswitch import Bridge, BridgeOptions, ConfigError, ControllerSettings, TableSettings
from vswitch.ofproto.translation import MacLearned, PortVlan


def while_served(bridge: Bridge, work: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        ready = asyncio.Event()
        serving = asyncio.create_task(bridge.serve(ready.set, strict=False))
        await asyncio.wait_for(ready.wait(), 10)
        try:
            await work()
        finally:
            bridge.stop()
            await serving

    asyncio.run(main())


def flows(bridge: Bridge) -> list[int]:
    return sorted(flow.priority for flow in bridge.dump_flows())


@pytest.mark.parametrize(
    ("before", "after", "left"),
    [
        ({}, {"fail_mode": "secure"}, []),
        ({}, {"controllers": ("tcp:127.0.0.1:1",)}, []),
        ({"controllers": ("tcp:127.0.0.1:1",)}, {"controllers": ()}, [0]),
        ({"controllers": ("tcp:127.0.0.1:1",)}, {"controllers": ("tcp:127.0.0.1:2",)}, [7]),
        ({"controllers": ("tcp:127.0.0.1:1",)}, {"fail_mode": "secure"}, [7]),
        ({}, {"mac_age_s": 60}, [0, 7]),
    ],
)
def test_flows_stay_unless_somebody_else_says_what_they_are(
    before: dict[str, Any], after: dict[str, Any], left: list[int]
) -> None:
    with Bridge.simulate(2, **before) as bridge:
        bridge.add_flow("priority=7,actions=drop")
        asyncio.run(bridge.reconfigure(**after))
        assert flows(bridge) == left


def test_what_makes_no_sense_changes_nothing() -> None:
    with Bridge.simulate(2) as bridge:
        before = bridge.options
        with pytest.raises(ConfigError, match="mac_age_s"):
            asyncio.run(bridge.reconfigure(mac_age_s=1))
        assert bridge.options == before


def test_tables_vlans_and_addresses_follow() -> None:
    with Bridge.simulate(2) as bridge:
        engine = bridge._engine
        for mac in range(1, 40):
            engine.macs_changed(engine.view.macs.learn(MacLearned(0, mac, 1), 0))
        settings: dict[str, Any] = {"tables": {3: TableSettings("third", 1)}, "vlans": {"port2": PortVlan("access", 7)}}
        asyncio.run(bridge.reconfigure(max_macs=10, max_megaflows=64, datapath_id=0xAB, **settings))
        assert len(engine.view.macs) == 10
        assert (engine.switch.tables[3].name, engine.switch.tables[3].max_flows) == ("third", 1)
        assert engine.view.config.vlans == {2: PortVlan("access", 7)}
        assert (bridge.datapath_id, engine.megaflows.limit) == (0xAB, 64)
        asyncio.run(bridge.reconfigure(BridgeOptions()))
        assert (engine.switch.tables[3].name, engine.view.config.vlans) == ("", {})


def test_places_that_cannot_be_used_are_told_and_the_others_are_used(tmp_path: Path) -> None:
    good, bad = f"punix:{tmp_path}/good", f"punix:{tmp_path}/bad"
    (tmp_path / "bad").write_text("no socket")
    with Bridge.simulate(2) as bridge:

        async def work() -> None:
            await bridge.reconfigure(listen=(good, ControllerSettings(bad)))
            states = {state.target: state for state in bridge.controller_states()}
            assert "no socket" in states[bad].last_error
            assert not states[good].last_error
            assert (tmp_path / "good").is_socket()
            (tmp_path / "bad").unlink()
            await bridge.reconfigure()
            assert (tmp_path / "bad").is_socket()
            await bridge.reconfigure(listen=())
            assert not (tmp_path / "good").exists()

        while_served(bridge, work)
