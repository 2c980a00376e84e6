"""What is said of devices, beside what ip(8) says."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab import Lab, wait_until
from vswitch.base.errors import NotFoundError
from vswitch.datapath.ebpf.netdev import Netdev
from vswitch.host.link import STATISTICS, Links


@pytest.fixture
def links(lab: Lab) -> Iterator[Links]:
    with Links() as links:
        yield links


@pytest.fixture
def net(lab: Lab) -> Iterator[Netdev]:
    with Netdev() as net:
        yield net


def ip(*words: str) -> list[dict[str, Any]]:
    command = ["ip", "-j", "-s", "-s", "-d", "link", "show", *words]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
    return list(json.loads(result.stdout))


def test_all_devices_are_as_ip_shows_them(links: Links, net: Netdev, lab: Lab) -> None:
    one = lab.host("h1", ip="10.0.0.1/24", mtu=1400)
    one.send(b"\xff" * 6 + bytes(100), times=7)
    net.create_veth("down", "away", mtu=2000)
    net.create_tap("tap0")
    wait_until(lambda: links.one(one.port).statistics["rx_packets"] == 7, "seven packets")
    said = links.all()
    shown = ip()
    assert {each["ifindex"] for each in shown} == set(said)
    for device in shown:
        facts = said[device["ifindex"]]
        assert (facts.name, facts.mtu) == (device["ifname"], device["mtu"])
        assert facts.mac == (device["address"] if device["link_type"] == "ether" else "")
        assert (facts.up, facts.carrier) == ("UP" in device["flags"], "LOWER_UP" in device["flags"])
        received, sent = device["stats64"]["rx"], device["stats64"]["tx"]
        assert facts.statistics == {
            "rx_packets": received["packets"], "tx_packets": sent["packets"],
            "rx_bytes": received["bytes"], "tx_bytes": sent["bytes"],
            "rx_errors": received["errors"], "tx_errors": sent["errors"],
            "rx_dropped": received["dropped"], "tx_dropped": sent["dropped"],
            "rx_multicast_packets": received["multicast"], "collisions": sent["collisions"],
            "rx_crc_err": received["crc_errors"], "rx_frame_err": received["frame_errors"],
            "rx_over_err": received["over_errors"], "rx_missed_errors": received["missed_errors"],
        }  # fmt: skip
        assert facts == links.one(device["ifname"]) == links.one(device["ifindex"])
    assert said[net.device(one.port).ifindex].statistics["rx_bytes"] == 7 * 106


def test_statistics_are_those_of_ovs() -> None:
    assert list(STATISTICS) == sorted(STATISTICS)
    assert len(set(STATISTICS.values())) == len(STATISTICS)


def test_speed_is_known_of_some_devices(links: Links, lab: Lab) -> None:
    port = links.one(lab.host("h1").port)
    assert (port.speed_bps, port.duplex) == (10_000_000_000, "full")
    assert (links.one("lo").speed_bps, links.one("lo").duplex) == (None, None)


def test_changes_of_carrier_are_counted(links: Links, net: Netdev, lab: Lab) -> None:
    host = lab.host("h1")
    before = links.one(host.port).carrier_changes
    net.set_up(host.port, False)
    wait_until(lambda: not links.one(host.port).carrier, "no carrier")
    net.set_up(host.port)
    wait_until(lambda: links.one(host.port).carrier, "carrier")
    wait_until(lambda: links.one(host.port).carrier_changes >= before + 2, "two changes")


def test_drivers(links: Links, net: Netdev) -> None:
    net.create_veth("one", "two")
    net.create_tap("tap0")
    drivers = [links.driver(name) for name in ("one", "tap0")]
    assert [driver.name for driver in drivers if driver] == ["veth", "tun"]
    assert links.driver("lo") is None


@pytest.mark.parametrize("which", ["nobody", "n" * 40, "n" * 200, 4711, ""])
def test_absent_device_is_named(links: Links, which: str | int) -> None:
    with pytest.raises(NotFoundError, match=f"device {which} does not exist"):
        links.one(which)


def test_absent_device_has_no_driver(links: Links) -> None:
    with pytest.raises(NotFoundError, match="device nobody does not exist"):
        links.driver("nobody")


def test_other_names_are_names(links: Links, net: Netdev) -> None:
    net.create_veth("one", "two")
    net.add_other_name("one", "a-name-that-is-too-long")
    assert links.one("a-name-that-is-too-long") == links.one("one")


def test_it_works_within_an_event_loop(links: Links) -> None:
    async def ask() -> int:
        return len(links.all())

    assert asyncio.run(ask()) == 1
