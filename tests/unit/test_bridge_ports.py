"""Ports as OpenFlow sees them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from vswitch.bridge.ports import datapath_id_of
from vswitch.model.port import Port, PortKind

LOCAL = Port(0, "br0", PortKind.INTERNAL, 1, mac="02:00:00:00:00:01")
TAP = Port(4, "tap", PortKind.TAP, 5, mac="02:00:00:00:00:02")
LOW, HIGH = Port(2, "b", ifindex=3, mac="02:00:00:00:00:0a"), Port(1, "a", ifindex=2, mac="0a:00:00:00:00:01")


@pytest.mark.parametrize(
    ("ports", "expected"),
    [
        ([LOCAL, HIGH, LOW, TAP], 0x02000000000A),
        ([LOCAL, LOW, HIGH], 0x02000000000A),
        ([HIGH], 0x0A0000000001),
        ([LOCAL, HIGH, Port(3, "away")], 0x0A0000000001),
        ([HIGH, Port(3, "none", mac="00:00:00:00:00:00"), Port(5, "many", mac="01:00:00:00:00:00")], 0x0A0000000001),
    ],
    ids=["lowest", "in any order", "one", "without those that are away", "none of nobody and of many"],
)
def test_the_datapath_id_is_the_lowest_address_of_a_device_that_was_there(ports: list[Port], expected: int) -> None:
    assert datapath_id_of("br0", ports) == expected


def test_without_such_a_device_the_datapath_id_follows_from_the_name_in_each_process() -> None:
    code = "from vswitch.bridge.ports import datapath_id_of; print(datapath_id_of('br0', []))"
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60).stdout
    assert int(said) == datapath_id_of("br0", [LOCAL, TAP]) != datapath_id_of("br1", [LOCAL, TAP])
