"""What Debian's Open vSwitch sets and says of a device, beside what we do.

Its userspace datapath works with real devices, here in a namespace of their own: two hosts' ports, one for it, one for
us.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab import Lab, patience, wait_until
from tests.openvswitch import OpenVswitch
from vswitch.datapath.ebpf.netdev import Netdev
from vswitch.host.link import STATISTICS, Links
from vswitch.host.qdiscs import Qdiscs
from vswitch.host.qos import parse_qos

THEIRS, OURS = "h1-port", "h2-port"


@pytest.fixture
def beside(lab: Lab, tmp_path: Path) -> Iterator[OpenVswitch]:
    """Open vSwitch, with a bridge on the device THEIRS."""
    for number in (1, 2):
        lab.host(f"h{number}", mtu=1500)
    with OpenVswitch(tmp_path) as switch:
        switch.vsctl(
            "add-br", "br1", "--", "set", "bridge", "br1", "datapath_type=netdev", "--", "add-port", "br1", THEIRS
        )
        yield switch


def row(switch: OpenVswitch, name: str) -> dict[str, Any]:
    """An interface's, as JSON."""
    table = json.loads(switch.vsctl("--format=json", "list", "Interface", name))
    return dict(zip(table["headings"], table["data"][0], strict=True))


def of_map(value: Any) -> dict[str, Any]:
    return dict(value[1])


def tc(*words: str) -> str:
    return subprocess.run(["tc", *words], capture_output=True, text=True, check=True, timeout=20 * patience()).stdout


def classes(device: str) -> list[str]:
    """As tc shows them, without what the time of their making decides."""
    return sorted(tc("-d", "class", "show", "dev", device).splitlines())


def set_qos(switch: OpenVswitch, config: dict[str, str], queues: dict[int, dict[str, str]]) -> None:
    words = ["--", "set", "port", THEIRS, "qos=@qos", "--", "--id=@qos", "create", "qos", "type=linux-htb"]
    words += [f"other-config:{key}={value}" for key, value in config.items()]
    words += [f"queues:{number}=@queue{number}" for number in queues]
    for number, settings in queues.items():
        words += ["--", f"--id=@queue{number}", "create", "queue", f"external-ids:number={number}"]
        words += [f"other-config:{key}={value}" for key, value in settings.items()]
    switch.vsctl(*words)


CASES: list[tuple[dict[str, str], dict[int, dict[str, str]]]] = [
    ({}, {0: {}}),
    ({"max-rate": "10000000"}, {}),
    ({"max-rate": "10000000"}, {3: {"min-rate": "500"}}),
    ({"max-rate": "10000000"}, {1: {"min-rate": "20000000", "max-rate": "30000000"}}),
    ({"max-rate": "10000000"}, {1: {"max-rate": "3000000"}, 2: {"burst": "80000"}, 7: {"burst": "8", "priority": "9"}}),
    ({"max-rate": "1000"}, {1: {"max-rate": "500", "min-rate": "10"}}),
    ({"max-rate": "12345678"}, {0: {"min-rate": "1234567", "max-rate": "7654321"}, 61439: {"min-rate": "100000"}}),
    ({"max-rate": "10000000"}, {100: {"min-rate": "7000000", "max-rate": "6000000", "priority": "4294967295"}}),
]


@pytest.mark.parametrize("mtu", [1500, 9000])
def test_htb_is_set_as_by_open_vswitch(beside: OpenVswitch, mtu: int) -> None:
    with Netdev() as net, Qdiscs() as qdiscs:
        for device in (THEIRS, OURS):
            net.set_mtu(device, mtu)
        wait_until(lambda: row(beside, THEIRS)["mtu"] == mtu, "the new MTU")
        for config, queues in CASES:
            set_qos(beside, config, queues)
            qdiscs.apply(net.device(OURS).ifindex, parse_qos("linux-htb", config, queues))
            ours = classes(OURS)
            wait_for_classes(len(ours))
            assert [_roughly(line) for line in ours] == [_roughly(line) for line in classes(THEIRS)], (config, queues)
            ours_is, theirs_is = (tc("-d", "qdisc", "show", "dev", device) for device in (OURS, THEIRS))
            assert re.sub(r"r2q \d+", "r2q 10", ours_is) == theirs_is, "but for the mark"


def wait_for_classes(count: int) -> None:
    wait_until(lambda: len(classes(THEIRS)) == count, f"{count} classes of Open vSwitch's")


def _roughly(line: str) -> str:
    """Bursts are times in the kernel, and tc works them out again: a byte more or less."""
    return re.sub(r"burst (\d+)b", lambda found: f"burst {(int(found[1]) + 2) // 8 * 8}b", line)


def test_interfaces_are_described_alike(beside: OpenVswitch, lab: Lab) -> None:
    lab.hosts["h1"].send(b"\xff" * 6 + bytes(94), times=5)
    with Links() as links:
        facts, driver = links.one(THEIRS), links.driver(THEIRS)
        said = row(beside, THEIRS)
        assert driver is not None
        assert of_map(said["status"]) == {
            "driver_name": driver.name, "driver_version": driver.version, "firmware_version": driver.firmware_version,
        }  # fmt: skip
        assert (said["ifindex"], said["mac_in_use"], said["mtu"]) == (facts.ifindex, facts.mac, facts.mtu)
        assert (said["admin_state"], said["link_state"]) == ("up", "up")
        assert facts.up
        assert facts.carrier
        assert (said["link_speed"], said["duplex"]) == (facts.speed_bps, facts.duplex)
        assert set(of_map(said["statistics"])) == set(STATISTICS)
        wait_until(
            lambda: of_map(row(beside, THEIRS)["statistics"]) == links.one(THEIRS).statistics, "its counters", 20
        )
        assert links.one(THEIRS).statistics["rx_packets"] >= 5


def test_mark_tells_ours_from_open_vswitchs(beside: OpenVswitch) -> None:
    set_qos(beside, {"max-rate": "10000000"}, {1: {}})
    wait_until(lambda: "htb" in tc("qdisc", "show", "dev", THEIRS), "its qdisc")
    with Netdev() as net, Qdiscs() as qdiscs:
        assert qdiscs.read(net.device(THEIRS).ifindex) is None
        assert not qdiscs.remove(net.device(THEIRS).ifindex)
    assert "htb" in tc("qdisc", "show", "dev", THEIRS)
