"""Ports: devices of every kind, their numbers, and what happens to them while traffic runs."""

from __future__ import annotations

import fcntl
import logging
import os
import select
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.datapaths import (
    MECHANISMS,
    Events,
    command,
    connect,
    frame,
    is_test,
    pinging,
    plug,
    reach,
    require_sound,
)
from tests.lab import DOWN_DEVICES_COUNT, KERNEL, Host, Lab, wait_until
from vswitch import (
    Clone,
    ConfigError,
    Datapath,
    ExistsError,
    Match,
    NotFoundError,
    Output,
    Port,
    PortChange,
    PortEvent,
    PortKind,
    TableFullError,
)
from vswitch.datapath.ebpf import bpf_syscall
from vswitch.datapath.ebpf.netdev import Netdev

RENAMES_WHILE_UP = KERNEL >= (6, 2)
"""Whether the kernel renames a device that is up."""

# ---- kinds of devices


@pytest.mark.usefixtures("mechanism")
def test_devices_that_exist_become_ports_and_stay_when_the_datapath_goes(
    name: str, hosts: tuple[Host, Host, Host]
) -> None:
    with Datapath.create(name, ports=[host.port for host in hosts]) as dp, Netdev() as devices:
        connect(dp, 1, 3)
        assert reach(hosts[0], hosts[2])
        assert not reach(hosts[0], hosts[1])
        for number, host in enumerate(hosts, 1):
            port, device = dp.ports[number], devices.device(host.port)
            assert port == dp.ports[host.port]
            assert (port.name, port.kind) == (host.port, PortKind.SYSTEM)
            assert (port.ifindex, port.mtu, port.mac, port.up) == (device.ifindex, device.mtu, device.mac, True)
        assert [port.number for port in dp.ports] == [0, 1, 2, 3]
        assert dp.ports.names() == {0: name, 1: "h1-port", 2: "h2-port", 3: "h3-port"}
        assert dp.ports.numbers()["h3-port"] == 3
        assert "h3-port" in dp.ports
        assert 4 not in dp.ports
        require_sound(dp)
    with Netdev() as devices:
        assert all(devices.exists(host.port) for host in hosts)


@contextmanager
def opened_tap(device: str) -> Iterator[int]:
    """A tap device, as a virtual machine would open it: a frame behind 10 bytes of virtio_net_hdr."""
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    try:
        fcntl.ioctl(descriptor, 0x400454CA, struct.pack("16sH22x", device.encode(), 0x0002 | 0x1000 | 0x4000))
        yield descriptor
    finally:
        os.close(descriptor)


def read_frame(descriptor: int, timeout_s: float = 5) -> bytes:
    end = time.monotonic() + timeout_s
    while (rest := end - time.monotonic()) > 0:
        if select.select([descriptor], [], [], rest)[0]:
            received = os.read(descriptor, 65536)[10:]
            if is_test(received):
                return received
    return b""


def test_tap_that_the_datapath_makes_carries_frames_and_goes_with_its_port(
    dp: Datapath, hosts: tuple[Host, Host, Host]
) -> None:
    port = dp.ports.add("tap0", kind="tap")
    assert (port.number, port.kind) == (3, PortKind.TAP)
    dp.flows.flush()
    connect(dp, 1, 3)
    with opened_tap("tap0") as tap, hosts[0].capturing(is_test) as received:
        Events(dp).wait_for(PortChange.UP, 3)  # a tap has a carrier while somebody has it open
        hosts[0].send(frame(60, 1))
        assert read_frame(tap) == frame(60, 1)
        os.write(tap, bytes(10) + frame(61, 2))
        received.wait_for(1)
    assert received == [frame(61, 2)]
    assert dp.ports.stats(3).rx_bytes == 61
    require_sound(dp)
    dp.ports.remove("tap0")
    with Netdev() as devices:
        assert not devices.exists("tap0")
    require_sound(dp)


def test_tap_that_exists_stays(dp: Datapath, hosts: tuple[Host, Host, Host]) -> None:
    command("ip", "tuntap", "add", "tap1", "mode", "tap", "vnet_hdr")
    command("ip", "link", "set", "tap1", "up")
    with pytest.raises(ExistsError, match="device tap1 exists already"):
        dp.ports.add("tap1", kind="tap")
    dp.ports.add("tap1", 9)
    dp.flows.flush()
    connect(dp, 1, 9)
    with opened_tap("tap1") as tap:
        Events(dp).wait_for(PortChange.UP, 9)
        hosts[0].send(frame())
        assert read_frame(tap) == frame()
    dp.ports.remove(9)
    with Netdev() as devices:
        assert devices.exists("tap1")


def use_local_port(dp: Datapath) -> None:
    """The host itself is 10.0.0.100, by the device that is called as the datapath."""
    command("ip", "address", "add", "10.0.0.100/24", "dev", dp.name)
    command("ip", "link", "set", dp.name, "up")


@pytest.mark.usefixtures("mechanism")
def test_host_itself_is_on_the_switch_by_its_local_port(name: str, hosts: tuple[Host, Host, Host]) -> None:
    with Datapath.create(name, ports=[hosts[0].port]) as dp:
        assert dp.ports[0].name == name
        assert dp.ports[0].kind is PortKind.INTERNAL
        connect(dp, 0, 1)
        use_local_port(dp)
        assert hosts[0].ping("10.0.0.100").received == 3
        assert "3 received" in command("ping", "-c3", "-i0.1", "-W1", "10.0.0.1")
        stats = dp.ports.stats(0)
        assert stats.rx_packets == stats.tx_packets >= 6
    with Netdev() as devices:
        assert not devices.exists(name)


def test_internal_device_works_in_another_namespace_too(name: str, hosts: tuple[Host, Host, Host]) -> None:
    h1, _, h3 = hosts
    with Datapath.create(name, ports=[h1.port]) as dp:
        dp.ports.add("lan0", 7, kind="internal")
        connect(dp, 1, 7)
        command("ip", "link", "set", "lan0", "netns", h3.namespace.name)
        inside = ("ip", "-n", h3.namespace.name)
        command(*inside, "link", "set", "eth0", "down")
        command(*inside, "address", "add", "10.0.0.7/24", "dev", "lan0")
        command(*inside, "link", "set", "lan0", "up")
        assert h1.ping("10.0.0.7").received == 3
        assert Events(dp).settle()[-1].change is PortChange.UP
        dp.keep()
    with Datapath.open(name) as dp:
        assert h1.ping("10.0.0.7").received == 3
        dp.ports.add("lan1", kind="internal")
        require_sound(dp)
        dp.ports.remove(7)
        assert "lan0" not in command(*inside, "link")
        require_sound(dp)


def test_peer_redirect_reaches_a_host_also_from_python(dp: Datapath, hosts: tuple[Host, Host, Host]) -> None:
    dp.ports.add(hosts[2].port, peer_redirect=True)
    dp.flows.flush()
    connect(dp, 1, 3)
    assert reach(hosts[0], hosts[2])
    with hosts[2].capturing(is_test) as received:
        dp.execute(frame(60, 1), Output(3), in_port=1)
        dp.execute(frame(60, 2), (Clone((Output(3),)), Output(3)), in_port=1)
        received.wait_for(3)
    assert received == [frame(60, 1), frame(60, 2), frame(60, 2)]
    with pytest.raises(ConfigError, match="not for tap"):
        dp.ports.add("tap0", kind="tap", peer_redirect=True)


def test_peer_redirect_ends_while_the_other_end_takes_nothing(
    dp: Datapath, hosts: tuple[Host, Host, Host], lab: Lab
) -> None:
    """The kernel drops what is handed to an end that is down, or in the switch's namespace, and does not count it."""
    dp.ports.add(hosts[2].port, 3, peer_redirect=True)
    dp.flows.put(Match(in_port=1), Output(3))
    events, host, switch = Events(dp), hosts[2].namespace.name, lab.switch_namespace.name
    far_end = ("ip", "-n", host, "link", "set", "eth0")

    def counted() -> tuple[int, int]:
        """Packets that are dropped at the near end, and those that pass it, of ten."""
        with Netdev() as devices:
            before, sent = devices.stats("h3-port"), dp.ports.stats(3).tx_packets
            hosts[0].send(frame(), times=10)
            wait_until(lambda: dp.ports.stats(3).tx_packets == sent + 10, "the frames arrived")
            after = devices.stats("h3-port")
        return after.tx_dropped - before.tx_dropped, after.tx_packets - before.tx_packets

    assert counted() == (0, 0)
    command(*far_end, "down")
    events.wait_for(PortChange.DOWN, 3)
    assert counted() == (10 if DOWN_DEVICES_COUNT else 0, 0)
    command(*far_end, "up")
    events.wait_for(PortChange.UP, 3)
    assert counted() == (0, 0)
    command("ip", "link", "set", "h3-port", "down")
    events.wait_for(PortChange.DOWN, 3)
    assert counted() == (10 if DOWN_DEVICES_COUNT else 0, 0)
    command("ip", "link", "set", "h3-port", "up")
    events.wait_for(PortChange.UP, 3)
    assert counted() == (0, 0)
    command(*far_end, "netns", switch)
    events.wait_for(PortChange.DOWN, 3)
    command("ip", "link", "set", "eth0", "up")
    events.wait_for(PortChange.UP, 3)
    assert counted() == (0, 10)
    command("ip", "link", "set", "eth0", "netns", host)
    events.wait_for(PortChange.DOWN, 3)
    command(*far_end, "up")
    events.wait_for(PortChange.UP, 3)
    assert counted() == (0, 0)
    with hosts[2].capturing(is_test) as received:
        hosts[0].send(frame(60, 5))
        received.wait_for(1)
    assert received == [frame(60, 5)]


# ---- numbers and names


def test_numbers_are_given_or_the_lowest_free(dp: Datapath, lab: Lab) -> None:
    names = [lab.host(f"x{n}").port for n in range(5)]
    wanted = [None, 65534, 5, 0, None]
    ports = [dp.ports.add(name, number) for name, number in zip(names, wanted, strict=True)]
    assert [port.number for port in ports] == [3, 65534, 5, 0, 4]
    dp.ports.remove(3)
    assert dp.ports.add(names[0]).number == 3
    assert [port.number for port in dp.ports] == [0, 1, 2, 3, 4, 5, 65534]
    require_sound(dp)


LONG = "of-another-name-" * 9

REFUSED = [  # name, number | error | what it says
    (("h3-port", 1), ExistsError, "port number 1 is h1-port already"),
    (("h1-port", None), ExistsError, "device h1-port is a port of datapath {name} already"),
    (("h1-port", 9), ExistsError, "device h1-port is a port of datapath {name} already"),
    (("h3-port", 65535), ConfigError, "port number 65535 is outside 0..65534"),
    (("h3-port", -1), ConfigError, "port number -1 is outside 0..65534"),
    (("h3-port", "1"), ConfigError, "port number '1' is outside 0..65534"),
    (("absent", None), NotFoundError, "device absent does not exist"),
    (("a-name-that-is-too-long", None), NotFoundError, "device a-name-that-is-too-long does not exist"),
    ((LONG, None), NotFoundError, f"device {LONG} does not exist"),
    (("", None), NotFoundError, "device  does not exist"),
    ((5, None), ConfigError, "port name 5 is no text"),
    (("lo", None), ConfigError, "device lo is no Ethernet device"),
    (("tun0", None), ConfigError, "device tun0 is no Ethernet device"),
]


def test_port_that_cannot_be_is_refused(dp: Datapath) -> None:
    command("ip", "tuntap", "add", "tun0", "mode", "tun")
    for arguments, error, message in REFUSED:
        with pytest.raises(error) as caught:
            dp.ports.add(*arguments)  # type: ignore[arg-type]
        assert str(caught.value) == message.format(name=dp.name)
        assert [port.number for port in dp.ports] == [1, 2]
    require_sound(dp)


def test_device_that_cannot_be_made_is_refused(dp: Datapath) -> None:
    before = command("ip", "-o", "link").count("\n")
    for kind in ("tap", "internal"):
        for device in ("", "sixteen-letters-", "a/b", "a b", "port%d", ".", "a:b"):
            with pytest.raises(ConfigError, match="device name"):
                dp.ports.add(device, kind=kind)
    assert command("ip", "-o", "link").count("\n") == before
    require_sound(dp)


def test_kind_that_is_not_known_is_refused(dp: Datapath) -> None:
    with pytest.raises(ConfigError, match="port 'h3-port': kind 'patch' is none of system, internal, tap"):
        dp.ports.add("h3-port", kind="patch")
    with pytest.raises(NotFoundError, match="has no port 17"):
        dp.ports.remove(17)
    with pytest.raises(NotFoundError, match="has no port 'h3-port'"):
        dp.ports.stats("h3-port")


def test_other_name_of_a_device_is_the_device(dp: Datapath) -> None:
    command("ip", "link", "property", "add", "dev", "h3-port", "altname", "uplink-of-the-third-host")
    assert dp.ports.add("uplink-of-the-third-host").name == "h3-port"
    assert [event.change for event in Events(dp).settle()] == [PortChange.ADDED]


@pytest.mark.usefixtures("mechanism")
def test_device_of_another_datapath_is_refused(dp: Datapath, name: str) -> None:
    with Datapath.create(f"{name}b") as other:
        with pytest.raises(ExistsError, match=f"device h1-port is a port of datapath {name} already"):
            other.ports.add("h1-port")
        require_sound(other)
        other.ports.add("h3-port")
        with pytest.raises(ExistsError, match=f"device h3-port is a port of datapath {name}b already"):
            dp.ports.add("h3-port")


def test_max_ports_is_the_bound(name: str, hosts: tuple[Host, Host, Host]) -> None:
    with Datapath.create(name, max_ports=2) as dp:
        dp.ports.add("h1-port")
        with pytest.raises(TableFullError, match="no room for port h2-port: the datapath has all 2 of max_ports"):
            dp.ports.add("h2-port")
        with pytest.raises(TableFullError, match="no room for port tap0"):
            dp.ports.add("tap0", kind="tap")
        require_sound(dp)
        for _ in range(5):  # all that a port took is given back
            dp.ports.remove("h1-port")
            dp.ports.add("h2-port", 40000)
            connect(dp, 0, 40000)
            use_local_port(dp)
            assert hosts[1].ping("10.0.0.100", count=1).received == 1
            dp.flows.flush()
            dp.ports.remove(40000)
            dp.ports.add("h1-port")
            command("ip", "address", "flush", "dev", name)
        require_sound(dp)


# ---- while traffic runs


@pytest.mark.usefixtures("mechanism")
def test_ports_come_and_go_without_a_loss_on_others(dp: Datapath, hosts: tuple[Host, Host, Host]) -> None:
    with pinging(hosts[0], hosts[1].ip) as ping:
        for n in range(10):
            dp.ports.add(hosts[2].port, 3)
            dp.ports.add(f"tap{n}", kind="tap")
            dp.ports.add(f"int{n}", kind="internal")
            dp.flows.add(Match(in_port=3), Output(1))
            hosts[2].send(frame())
            dp.flows.delete(Match(in_port=3))
            for port in (3, f"tap{n}", f"int{n}"):
                dp.ports.remove(port)
    assert ping.sent > 300
    assert ping.lost == ()
    require_sound(dp)


@pytest.mark.usefixtures("mechanism")
def test_port_that_is_in_use_comes_and_goes(dp: Datapath, hosts: tuple[Host, Host, Host]) -> None:
    """Its own traffic stops and goes on; nothing goes anywhere else."""
    with pinging(hosts[0], hosts[1].ip), hosts[2].capturing() as strayed:
        dp.ports.add(hosts[2].port, 3)
        for _ in range(5):
            dp.ports.remove(2)
            dp.ports.add(hosts[1].port, 2)
    assert strayed == []
    assert reach(hosts[0], hosts[1])
    assert dp.ports.stats(1).drops["no_port"] > 0


# ---- what happens to devices


class Switch:
    """A datapath whose ports change while it is controlled, or while nobody looks."""

    def __init__(self, dp: Datapath, watched: bool) -> None:
        self.dp = dp
        self.events = Events(dp)
        self.watched = watched

    def change(self, *changes: Callable[[], object]) -> None:
        if not self.watched:
            self.dp.close()
        for change in changes:
            change()
        if not self.watched:
            self.dp = self.events.dp = Datapath.open(self.dp.name)

    def close(self) -> None:
        self.dp.close()


@pytest.fixture(params=["watched", "unwatched"])
def switch(request: pytest.FixtureRequest, mechanism: str, dp: Datapath) -> Iterator[Switch]:
    switch = Switch(dp, request.param == "watched")
    yield switch
    switch.close()


def test_device_that_is_deleted_and_returns_is_the_same_port(switch: Switch, hosts: tuple[Host, Host, Host]) -> None:
    switch.change(lambda: command("ip", "link", "delete", "h1-port"))
    lost = switch.events.wait_for(PortChange.LOST, 1).port
    assert (lost.name, lost.ifindex, lost.up) == ("h1-port", None, False)
    assert switch.dp.ports[1] == lost
    assert len(switch.dp.flows) == 2
    hosts[1].send(frame())
    wait_until(lambda: switch.dp.ports.stats(2).drops.get("no_port"), "a packet to the port is dropped")
    require_sound(switch.dp)
    switch.change(lambda: plug(hosts[0]))
    returned = switch.events.wait_for(PortChange.RETURNED, 1).port
    assert (returned.number, returned.name) == (1, "h1-port")
    assert returned.ifindex is not None
    assert reach(hosts[0], hosts[1])
    require_sound(switch.dp)
    assert [each.change for each in switch.events.settle() if each.port.number != 1] == []


def test_device_that_is_exchanged_at_once_is_the_same_port(switch: Switch, hosts: tuple[Host, Host, Host]) -> None:
    switch.change(lambda: command("ip", "link", "delete", "h1-port"), lambda: plug(hosts[0]))
    switch.events.wait_for(PortChange.LOST, 1)
    switch.events.wait_for(PortChange.RETURNED, 1)
    assert reach(hosts[0], hosts[1])
    require_sound(switch.dp)


def test_device_that_is_renamed_is_still_the_port(switch: Switch, hosts: tuple[Host, Host, Host]) -> None:
    with pinging(hosts[0], hosts[1].ip, interval_s=0.01) as ping:
        live = switch.watched and RENAMES_WHILE_UP
        down = () if live else (lambda: command("ip", "link", "set", "h1-port", "down"),)
        switch.change(*down, lambda: command("ip", "link", "set", "h1-port", "name", "uplink"))
        if down:
            command("ip", "link", "set", "uplink", "up")
        assert switch.events.wait_for(PortChange.RENAMED, 1).port.name == "uplink"
    assert live <= (ping.lost == ())
    assert "h1-port" not in switch.dp.ports
    assert switch.dp.ports["uplink"].number == 1
    assert reach(hosts[0], hosts[1])
    require_sound(switch.dp)
    switch.change(lambda: command("ip", "link", "delete", "uplink"))
    assert switch.events.wait_for(PortChange.LOST, 1).port.name == "uplink"


def test_name_of_a_renamed_device_is_free_for_another_port(switch: Switch, hosts: tuple[Host, Host, Host]) -> None:
    command("ip", "link", "set", "h1-port", "down")
    switch.change(lambda: command("ip", "link", "set", "h1-port", "name", "uplink"))
    switch.events.wait_for(PortChange.RENAMED, 1)
    command("ip", "link", "set", "h3-port", "down")
    command("ip", "link", "set", "h3-port", "name", "h1-port")
    assert switch.dp.ports.add("h1-port").number == 3
    assert switch.dp.ports["h1-port"].number == 3
    assert switch.dp.ports["uplink"].number == 1
    require_sound(switch.dp)


def test_device_that_moves_to_another_namespace_is_lost(switch: Switch, hosts: tuple[Host, Host, Host]) -> None:
    h3 = hosts[2].namespace.name
    switch.change(lambda: command("ip", "link", "set", "h1-port", "netns", h3))
    switch.events.wait_for(PortChange.LOST, 1)
    with hosts[2].inside(), Netdev() as devices:
        moved = devices.device("h1-port").ifindex
        if "tcx" in MECHANISMS:
            assert bpf_syscall.tcx_links(moved, bpf_syscall.TCX_INGRESS) == ()
        assert "vswitch" not in command("tc", "filter", "show", "dev", "h1-port", "ingress")
    require_sound(switch.dp)
    switch.change(
        lambda: command("ip", "-n", h3, "link", "set", "h1-port", "netns", str(os.getpid())),
        lambda: command("ip", "link", "set", "h1-port", "up"),
    )
    switch.events.wait_for(PortChange.RETURNED, 1)
    assert reach(hosts[0], hosts[1])
    require_sound(switch.dp)


def test_device_that_another_datapath_took_does_not_return(
    dp: Datapath, name: str, hosts: tuple[Host, Host, Host], caplog: pytest.LogCaptureFixture
) -> None:
    events = Events(dp)
    command("ip", "link", "delete", "h1-port")
    events.wait_for(PortChange.LOST, 1)
    plug(hosts[0])
    with Datapath.create(f"{name}b", ports=["h1-port"]), caplog.at_level(logging.WARNING, "vswitch"):
        assert [event for event in events.settle() if event.port.number == 1] == []
        assert f"port 1 (h1-port) does not return: device h1-port is a port of datapath {name}b already" in caplog.text


@pytest.mark.parametrize("where", ["port", "host"])
def test_device_that_goes_down_is_reported(dp: Datapath, hosts: tuple[Host, Host, Host], where: str) -> None:
    """Whether it is set down, or only its other end."""
    events = Events(dp)
    events.settle()
    here = ("ip", "link", "set", "h1-port")
    there = ("ip", "-n", hosts[0].namespace.name, "link", "set", "eth0")
    device = here if where == "port" else there
    command(*device, "down")
    port = events.wait_for(PortChange.DOWN, 1).port
    assert (port.up, port.carrier) == (where == "host", False)
    assert dp.ports[1] == port
    command(*device, "up")
    port = events.wait_for(PortChange.UP, 1).port
    assert (port.up, port.carrier) == (True, True)
    assert events.settle() == []
    assert reach(hosts[1], hosts[0])


def test_other_changes_of_a_device_are_reported(dp: Datapath) -> None:
    events = Events(dp)
    command("ip", "link", "set", "h1-port", "mtu", "1400")
    assert events.wait_for(PortChange.CHANGED, 1).port.mtu == 1400
    command("ip", "link", "set", "h1-port", "address", "02:00:00:00:00:77")
    assert events.wait_for(PortChange.CHANGED, 1).port.mac == "02:00:00:00:00:77"


def test_internal_device_that_is_deleted_is_lost(name: str) -> None:
    with Datapath.create(name) as dp:
        events = Events(dp)
        command("ip", "link", "delete", name)
        assert events.wait_for(PortChange.LOST, 0).port == Port(
            0, name, PortKind.INTERNAL, None, mtu=1500, mac=dp.ports[0].mac
        )
        require_sound(dp)
        dp.ports.remove(0)
        dp.ports.add(name, 0, kind="internal")
        require_sound(dp)


def test_run_tells_callbacks_what_happens(
    dp: Datapath, hosts: tuple[Host, Host, Host], caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[PortEvent] = []

    @dp.on_port_event
    def broken(event: PortEvent) -> None:
        raise ValueError("of the callback's own")

    dp.on_port_event(seen.append)
    runner = threading.Thread(target=dp.run)
    runner.start()
    try:
        command("ip", "link", "delete", "h1-port")
        wait_until(lambda: any(event.change is PortChange.LOST for event in seen), "the event")
        plug(hosts[0])
        wait_until(lambda: any(event.change is PortChange.RETURNED for event in seen), "the event")
    finally:
        dp.stop()
        runner.join(5)
    assert not runner.is_alive()
    assert "of the callback's own" in caplog.text


def test_what_the_program_does_itself_is_an_event_too(dp: Datapath) -> None:
    dp.ports.add("h3-port")
    dp.ports.remove(3)
    changes = [(event.change, event.port.number) for event in dp.ports.events() if event.port.number == 3]
    assert [changes[0], changes[-1]] == [(PortChange.ADDED, 3), (PortChange.REMOVED, 3)]


def test_more_events_than_the_kernel_keeps_are_made_up_for(
    dp: Datapath, hosts: tuple[Host, Host, Host], tmp_path: Path
) -> None:
    """The ports are compared with the devices there are."""
    script = "".join(
        f"link set h3-port mtu {1000 + n % 400}\nlink set h2-port mtu {1000 + n % 400}\n" for n in range(5000)
    )
    batch = tmp_path / "changes"
    batch.write_text(script)
    command("ip", "-batch", str(batch))
    command("ip", "link", "delete", "h1-port")
    plug(hosts[0])
    command("ip", "link", "set", "h2-port", "mtu", "1500")
    events = Events(dp)
    events.wait_for(PortChange.LOST, 1)
    events.wait_for(PortChange.RETURNED, 1)
    assert reach(hosts[0], hosts[1])


# ---- the host's end of an internal port


def test_internal_port_is_described_as_the_host_sees_it(name: str) -> None:
    with Datapath.create(name) as dp:
        events = Events(dp)
        with Netdev() as devices:
            near = devices.device(name)
            assert (dp.ports[0].mac, dp.ports[0].mtu, dp.ports[0].up) == (near.mac, 1500, False)
            command("ip", "link", "set", name, "address", "02:00:00:00:00:55")
            assert events.wait_for(PortChange.CHANGED, 0).port.mac == "02:00:00:00:00:55"
            command("ip", "link", "set", name, "mtu", "9000")
            assert events.wait_for(PortChange.CHANGED, 0).port.mtu == 9000
            command("ip", "link", "set", name, "up")
            assert events.wait_for(PortChange.UP, 0).port.up
            command("ip", "link", "set", name, "down")
            assert not events.wait_for(PortChange.DOWN, 0).port.up
        with Datapath.open(name, control=False) as reader:
            assert (reader.ports[0].mac, reader.ports[0].mtu) == ("02:00:00:00:00:55", 9000)
            assert [port.mac for port in reader.ports] == ["02:00:00:00:00:55"]
        dp.keep()
    with Datapath.create(name, exist_ok=True) as dp:
        assert (dp.ports[0].mac, dp.ports[0].mtu) == ("02:00:00:00:00:55", 9000)
        require_sound(dp)


def test_internal_port_whose_end_strays_is_followed_by_its_carrier(name: str, hosts: tuple[Host, Host, Host]) -> None:
    h1, there = hosts[0], hosts[2].namespace.name
    with Datapath.create(name, ports=[h1.port]) as dp:
        events = Events(dp)
        connect(dp, 0, 1)
        mac = dp.ports[0].mac
        command("ip", "link", "set", name, "netns", there)
        command("ip", "-n", there, "link", "set", "eth0", "down")
        command("ip", "-n", there, "link", "set", name, "up")
        assert events.wait_for(PortChange.UP, 0).port.mac == mac
        command("ip", "-n", there, "address", "add", "10.0.0.100/24", "dev", name)
        assert h1.ping("10.0.0.100").received == 3
        command("ip", "-n", there, "link", "set", name, "address", "02:00:00:00:00:66")
        command("ip", "-n", there, "link", "set", name, "netns", str(os.getpid()))
        assert events.wait_for(PortChange.CHANGED, 0).port.mac == "02:00:00:00:00:66"
        require_sound(dp)


def test_jumbo_frames_pass_an_internal_port(name: str, lab: Lab) -> None:
    h1 = lab.host("h1", ip="10.0.0.1/24", mtu=9000)
    with Datapath.create(name, ports=[h1.port]) as dp:
        connect(dp, 0, 1)
        use_local_port(dp)
        command("ip", "link", "set", name, "mtu", "9000")
        assert h1.ping("10.0.0.100", size=8900).received == 3
