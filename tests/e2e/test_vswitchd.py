"""The daemon that follows the database: what is there when it says that it is, and after it was ended or killed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.datapaths import pinging
from tests.lab import Host, Lab, wait_until
from tests.vswitchd import Daemon, add_bridge, add_port, change
from vswitch import Datapath
from vswitch.datapath.ebpf.netdev import Netdev

LOCAL = 65534


@pytest.fixture
def daemon(name: str, tmp_path: Path) -> Iterator[Daemon]:
    """With nothing in its database yet. Bridges are to be called `name`, or that and some letters."""
    assert name
    with Daemon(tmp_path) as running:
        yield running


def connect(daemon: Daemon, bridge: str, *hosts: Host) -> None:
    ports = [operation for host in hosts for operation in add_port(bridge, host.port)]
    daemon.configure(*add_bridge(bridge), *ports)


def test_ports_are_there_when_the_database_says_so(daemon: Daemon, name: str, pair: tuple[Host, Host]) -> None:
    one, two = pair
    connect(daemon, name, one, two)
    assert one.ping(two.ip, count=2, interval_s=0.05).received == 2
    assert daemon.ofports() == {name: LOCAL, one.port: 1, two.port: 2}
    row = daemon.row("Interface", one.port)
    with Netdev() as devices:
        device = devices.device(one.port)
    assert (row["ifindex"], row["mac_in_use"], row["mtu"]) == (device.ifindex, device.mac, device.mtu)
    assert (row["admin_state"], row["link_state"], row["error"]) == ("up", "up", ["set", []])
    lowest = min(daemon.row("Interface", each.port)["mac_in_use"] for each in pair)
    assert daemon.row("Bridge", name)["datapath_id"] == "0000" + lowest.replace(":", "")
    root = daemon.row("Open_vSwitch")
    assert root["iface_types"] == ["set", ["internal", "patch", "system", "tap"]]
    assert root["ovs_version"].count(".") == 2


def test_one_that_cannot_be_is_told_and_comes_later(daemon: Daemon, name: str, lab: Lab) -> None:
    one = lab.host("h1", ip="10.0.0.1/24")
    daemon.configure(
        *add_bridge(name), *add_port(name, "h2-port"), *add_port(name, "v1", "vxlan"), *add_port(name, one.port)
    )
    assert daemon.ofports() == {name: LOCAL, one.port: 1, "h2-port": -1, "v1": -1}
    assert "does not exist" in daemon.row("Interface", "h2-port")["error"]
    assert "vxlan are not supported" in daemon.row("Interface", "v1")["error"]
    with Netdev() as devices:
        devices.create_veth("h2-port", "h2-far")
        daemon.wait_for("Interface", "h2-port", lambda row: row["ofport"] == 2, "the device that came is a port")
        devices.delete("h2-port")
        daemon.wait_for("Interface", "h2-port", lambda row: row["ofport"] == -1, "the device that went is none")
        devices.create_veth("h2-port", "h2-far")
        daemon.wait_for("Interface", "h2-port", lambda row: row["ofport"] == 2, "it has the same number")


def test_what_is_removed_from_the_database_is_gone(daemon: Daemon, name: str, pair: tuple[Host, Host]) -> None:
    one, two = pair
    connect(daemon, name, one, two)
    daemon.configure(*add_bridge(f"{name}x"), *add_port(f"{name}x", "in0", "internal"))
    daemon.configure(daemon.delete_ports(name, [two.port]))
    with Datapath.open(name, control=False) as datapath:
        assert [port.name for port in datapath.ports] == [name, one.port]
    daemon.configure(*add_port(f"{name}x", two.port), daemon.delete_bridge(name))
    assert name not in Datapath.list()
    assert daemon.ofports() == {f"{name}x": LOCAL, "in0": 1, two.port: 2}
    with Netdev() as devices:
        assert not devices.exists(name)
        assert devices.exists("in0")


def test_requested_numbers_are_given_and_changed(daemon: Daemon, name: str, pair: tuple[Host, Host]) -> None:
    one, two = pair
    daemon.configure(*add_bridge(name), *add_port(name, one.port), *add_port(name, two.port, ofport_request=1))
    assert daemon.ofports() == {name: LOCAL, one.port: 2, two.port: 1}
    daemon.configure(change("Interface", one.port, ofport_request=1), change("Interface", two.port, ofport_request=2))
    assert daemon.ofports() == {name: LOCAL, one.port: 1, two.port: 2}
    assert one.ping(two.ip, count=2, interval_s=0.05).received == 2


def test_patch_ports_connect_bridges(daemon: Daemon, name: str, pair: tuple[Host, Host]) -> None:
    one, two = pair
    other = f"{name}x"
    connect(daemon, name, one)
    connect(daemon, other, two)
    daemon.configure(*add_port(name, "to-x", "patch", options=["map", [["peer", "from-x"]]]))
    assert daemon.row("Interface", "to-x")["ofport"] == 2, "it needs no peer to have a number"
    daemon.configure(*add_port(other, "from-x", "patch", options=["map", [["peer", "to-x"]]]))
    assert daemon.ofports() == {name: LOCAL, other: LOCAL, one.port: 1, two.port: 1, "to-x": 2, "from-x": 2}
    assert one.ping(two.ip, count=2, interval_s=0.05).received == 2
    daemon.configure(daemon.delete_ports(other, ["from-x"]))
    assert one.ping(two.ip, count=1, interval_s=0.05).received == 0
    assert daemon.row("Interface", "to-x")["ofport"] == 2


@pytest.mark.parametrize("how", ["ended", "killed"])
def test_no_ping_is_lost_over_a_restart(daemon: Daemon, name: str, pair: tuple[Host, Host], how: str) -> None:
    one, two = pair
    daemon.configure(*add_bridge(name), *add_port(name, one.port, ofport_request=9), *add_port(name, two.port))
    assert one.ping(two.ip, count=2, interval_s=0.05).received == 2
    numbers = daemon.ofports()
    with pinging(one, two.ip) as seen:
        if how == "killed":
            daemon.kill()
        else:
            assert daemon.end() == 0
        daemon.start()
        time.sleep(0.3)
    assert seen.sent > 300
    assert not seen.lost
    assert daemon.ofports() == numbers
    counted = dict(daemon.row("Interface", one.port)["statistics"][1])
    assert counted["rx_packets"] >= 300


def test_a_bridge_that_was_removed_while_nobody_looked_is_gone_afterwards(
    daemon: Daemon, name: str, pair: tuple[Host, Host]
) -> None:
    connect(daemon, name, *pair)
    daemon.configure(daemon.delete_bridge(name), wait=False)
    daemon.kill()
    daemon.start()
    wait_until(lambda: name not in Datapath.list(), "the datapath is gone")
    assert daemon.ofports() == {}
