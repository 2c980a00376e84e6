"""Network devices: made, changed, listened to."""

from __future__ import annotations

import asyncio
import select
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import wait_until
from vswitch.base.errors import ConfigError, ExistsError, NotFoundError
from vswitch.datapath.ebpf.netdev import LinkMonitor, Netdev


@pytest.fixture
def net(lab) -> Iterator[Netdev]:
    with Netdev() as net:
        yield net


@pytest.fixture
def monitor(lab) -> Iterator[LinkMonitor]:
    monitor = LinkMonitor()
    yield monitor
    monitor.close()


def test_veth_pair_is_made_as_asked(net) -> None:
    one, two = net.create_veth("one", "two", mac="02:00:00:00:00:01", peer_mac="02:00:00:00:00:02", mtu=2000)
    assert (one.name, one.kind, one.mac, one.mtu, one.up) == ("one", "veth", "02:00:00:00:00:01", 2000, False)
    assert (two.name, two.mac, two.mtu) == ("two", "02:00:00:00:00:02", 2000)
    assert (one.peer_ifindex, two.peer_ifindex) == (two.ifindex, one.ifindex)
    assert not one.peer_elsewhere
    assert net.device(one.ifindex) == net.device("one") == one
    assert {device.name for device in net.devices()} == {"lo", "one", "two"}


def test_peer_in_another_namespace_is_seen(net, lab) -> None:
    host = lab.host("h1")
    assert net.device(host.port).peer_elsewhere
    net.create_veth("one", "two")
    with host.namespace.open() as there:
        net.set_namespace("two", there.fileno())
    assert net.device("one").peer_elsewhere
    assert not net.exists("two")


def test_devices_are_changed(net) -> None:
    net.create_veth("one", "two")
    net.set_up("one")
    assert net.device("one").up
    assert not net.device("one").carrier, "the other end is down"
    net.set_up("two")
    wait_until(lambda: net.device("one").carrier, "carrier")
    net.set_mtu("one", 1400)
    net.set_mac(net.device("one").ifindex, "02:00:00:00:00:0a")
    assert (net.device("one").mtu, net.device("one").mac) == (1400, "02:00:00:00:00:0a")
    net.set_up("one", False)
    assert not net.device("one").up
    net.delete("one")
    assert not net.exists("two")


def test_tap_stays_without_anybody_having_it_open(net) -> None:
    tap = net.create_tap("tap0", mac="02:00:00:00:00:07", mtu=1300)
    assert (tap.kind, tap.mac, tap.mtu) == ("tun", "02:00:00:00:00:07", 1300)
    with pytest.raises(ExistsError, match="device tap0 exists already"):
        net.create_tap("tap0")
    net.delete("tap0")
    assert not net.exists("tap0")


@pytest.mark.parametrize("which", ["veth9", 4711])
@pytest.mark.parametrize(
    "ask",
    [
        lambda net, which: net.device(which),
        lambda net, which: net.stats(which),
        lambda net, which: net.delete(which),
        lambda net, which: net.set_up(which),
        lambda net, which: net.set_mtu(which, 1400),
        lambda net, which: net.set_mac(which, "02:00:00:00:00:01"),
        lambda net, which: net.silence(which),
    ],
)
def test_absent_device_is_named(net, ask, which) -> None:
    with pytest.raises(NotFoundError) as refusal:
        ask(net, which)
    assert str(refusal.value) == f"device {which} does not exist"


def test_names_are_taken_once(net) -> None:
    net.create_veth("one", "two")
    for name, peer, taken in (("one", "new", "one"), ("new", "two", "two")):
        with pytest.raises(ExistsError, match=f"device {taken} exists already"):
            net.create_veth(name, peer)


@pytest.mark.parametrize(
    ("ask", "sentence"),
    [
        (lambda net: net.set_mtu("lo", 0), "MTU 0 must be"),
        (lambda net: net.set_mtu("one", 1_000_000), "setting MTU 1000000 of device one: Invalid argument"),
        (lambda net: net.set_mac("one", "01:00:5e:00:00:01"), "setting address 01:00:5e:00:00:01 of device one"),
        (lambda net: net.set_mac("one", "2.0.0.0.0.1"), "must be six bytes"),
        (lambda net: net.create_veth("with space", "x"), "'with space' must have"),
        (lambda net: net.create_veth("x", "sixteen_letters_"), "'sixteen_letters_' must have 1 to 15"),
        (lambda net: net.create_tap("a/b"), "'a/b' must have"),
    ],
)
def test_impossible_values_are_refused(net, ask, sentence) -> None:
    net.create_veth("one", "two")
    with pytest.raises(ConfigError, match=sentence):
        ask(net)


def test_counters_count(net) -> None:
    for device in net.create_veth("one", "two"):
        net.silence(device.ifindex)
        net.set_up(device.ifindex)
    wait_until(lambda: net.device("one").carrier, "carrier")
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
        sock.bind(("one", 0))
        sock.send(bytes(12) + b"\x88\xb5" + bytes(86))
    assert (net.stats("one").tx_packets, net.stats("one").tx_bytes) == (1, 100)
    wait_until(lambda: net.stats("two").rx_packets == 1, "the frame arrived")
    assert net.stats("two").rx_errors == 0


def test_silenced_device_says_nothing(net) -> None:
    for switch in ("all", "default"):
        Path(f"/proc/sys/net/ipv6/conf/{switch}/disable_ipv6").write_text("0")
    for device in net.create_veth("one", "two"):
        net.silence(device.ifindex)
        net.set_up(device.ifindex)
    wait_until(lambda: net.device("one").carrier, "carrier")
    assert "one" not in Path("/proc/thread-self/net/if_inet6").read_text()


def test_devices_are_handled_inside_a_running_loop(net) -> None:
    async def work() -> str:
        with Netdev() as inner:
            return inner.create_veth("one", "two")[1].name

    assert asyncio.run(work()) == "two"


def test_monitor_tells_of_what_happens(net, monitor) -> None:
    assert monitor.read() == []
    one, _ = net.create_veth("one", "two")
    assert select.select([monitor], [], [], 5)[0]
    assert [(event.name, event.up, event.gone) for event in monitor.read()] == [
        ("two", False, False),
        ("one", False, False),
    ]
    net.set_up("one")
    net.set_mtu("one", 1400)
    net.set_mac("one", "02:00:00:00:00:0a")
    last = monitor.read()[-1]
    assert (last.ifindex, last.up, last.mtu, last.mac) == (one.ifindex, True, 1400, "02:00:00:00:00:0a")
    net.delete("one")
    assert {event.name for event in monitor.read() if event.gone} == {"one", "two"}


def test_monitor_takes_a_move_for_a_departure(net, monitor, lab) -> None:
    host = lab.host("h1")
    net.create_veth("one", "two")
    monitor.read()
    with host.namespace.open() as there:
        net.set_namespace("two", there.fileno())
    assert ("two", True) in [(event.name, event.gone) for event in monitor.read()]


def test_leaving_a_bridge_is_no_departure(net, monitor, lab) -> None:
    net.create_veth("one", "two")
    for command in ("add bridge0 type bridge", "set one master bridge0", "set one nomaster"):
        subprocess.run(["ip", "link", *command.split()], check=True)
    assert not [event for event in monitor.read() if event.gone]


def test_lost_events_ask_for_a_resync(net, monitor) -> None:
    monitor._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    net.create_veth("one", "two")
    for turn in range(20):
        net.set_mtu("one", 1400 + turn)
    events = monitor.read()
    assert [event for event in events if event.resync]
    net.delete("one")
    assert [event.name for event in monitor.read() if event.gone], "it goes on afterwards"
