"""Devices of ports: made as they are called, taken up after a crash, removed, and those of others left alone."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.lab import Lab, inside, wait_until
from vswitch import Datapath, Match
from vswitch.base.errors import ConfigError, ExistsError, NotFoundError
from vswitch.datapath.ebpf.netdev import Netdev
from vswitch.host.devices import DeviceKind, Devices, device_name
from vswitch.host.watch import DeviceChange, DeviceEvent, DeviceWatch
from vswitch.model.actions import Output

LONG = "a patch port whose name has 40 bytes: % /"


@pytest.fixture
def net(lab: Lab) -> Iterator[Netdev]:
    with Netdev() as net:
        yield net


@pytest.fixture
def devices(lab: Lab) -> Iterator[Devices]:
    with Devices("test") as devices:
        yield devices


@pytest.fixture
def watch(lab: Lab) -> Iterator[DeviceWatch]:
    with DeviceWatch() as watch:
        yield watch


def names(net: Netdev) -> set[str]:
    return {device.name for device in net.devices()} - {"lo"}


def test_internal_device_is_a_pair_of_which_the_switch_holds_one_end(devices: Devices, net: Netdev) -> None:
    made = devices.create_internal("lan0", mac="02:00:00:00:00:07", mtu=1400)
    near, far = net.device("lan0"), net.device(made.device)
    assert (made.kind, made.name, made.ifindex) == (DeviceKind.INTERNAL, "lan0", far.ifindex)
    assert (near.mac, near.mtu, near.up, near.peer_ifindex) == ("02:00:00:00:00:07", 1400, False, far.ifindex)
    assert (far.up, far.mtu) == (True, 65535)
    devices.set_mtu("lan0", 9000)
    assert net.device("lan0").mtu == 9000


def test_several_devices_of_each_kind_are_found_again_by_another_process(devices: Devices) -> None:
    made = {devices.create_internal("i1"), devices.create_internal("i2"), devices.create_tap("t1")}
    made |= set(devices.create_patch("p1", "p2")) | set(devices.create_patch(LONG, "p" * 100))
    with Devices("test") as later, Devices("other") as stranger:
        assert set(later.made()) == made
        assert stranger.made() == []
        assert later.find(LONG) in made
        assert stranger.find("p1") is None


def test_what_is_there_already_is_taken_up(devices: Devices, net: Netdev) -> None:
    first = devices.create_internal("i1"), devices.create_tap("t1"), devices.create_patch("p1", LONG)
    before = net.devices()
    assert (devices.create_internal("i1"), devices.create_tap("t1"), devices.create_patch("p1", LONG)) == first
    assert net.devices() == before
    assert devices.create_patch(LONG, "p1") == (first[2][1], first[2][0])


def test_long_names_are_other_names_of_devices(devices: Devices, net: Netdev) -> None:
    long = "int-to-the-bridge-outside"
    one, two = devices.create_patch(long, "phy")
    assert one.device == device_name(long, "test")
    assert len(one.device) == 15
    assert net.device(long).name == one.device
    assert (two.name, two.device) == ("phy", "phy")
    assert device_name(long, "other") != one.device


@pytest.mark.parametrize("name", ["a b", "a/b", "a:b", "%d", ".", "..", "ü" * 100, "\n", "a" * 16])
def test_patch_ports_may_be_called_anything(devices: Devices, net: Netdev, name: str) -> None:
    one, _ = devices.create_patch(name, "peer")
    assert devices.find(name) == one
    assert net.device(one.device).up
    assert devices.remove(name)
    assert names(net) == set()


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda devices: devices.create_internal("a" * 16), "internal port 'aaaaaaaaaaaaaaaa' must have"),
        (lambda devices: devices.create_internal(""), "internal port '' must have"),
        (lambda devices: devices.create_patch("p" * 300, "q"), "must have 1 to 231 bytes, none of them 0"),
        (lambda devices: devices.create_patch("p", "q\0"), "must have 1 to 231 bytes, none of them 0"),
        (lambda devices: devices.create_patch(""), "cannot be its own peer"),
        (lambda devices: devices.create_patch("p", "p"), "patch port 'p' cannot be its own peer"),
        (lambda devices: devices.create_internal("i", mtu=65536), "MTU 65536 is outside 68..65535"),
        (lambda devices: devices.create_internal("i", mac="01:00:00:00:00:00"), "address 01:00:00:00:00:00"),
        (lambda devices: devices.create_tap("t", mtu=5), "MTU 5 "),
    ],
)
def test_impossible_things_are_refused_and_leave_nothing(devices: Devices, net: Netdev, make, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        make(devices)
    assert names(net) == set()


@pytest.mark.parametrize(
    "make",
    [
        lambda devices: devices.create_internal("taken"),
        lambda devices: devices.create_tap("taken"),
        lambda devices: devices.create_patch("taken", "new"),
        lambda devices: devices.create_patch("new", "taken"),
    ],
)
def test_device_of_somebody_else_is_never_taken(devices: Devices, net: Netdev, make) -> None:
    net.create_veth("taken", "theirs")
    with pytest.raises(ExistsError, match="device taken exists already"):
        make(devices)
    assert devices.find("taken") is None
    assert not devices.remove("taken")
    assert devices.remove_all_but(()) == []
    assert names(net) == {"taken", "theirs"}


def test_patch_port_with_another_peer_is_removed_first(devices: Devices, net: Netdev) -> None:
    devices.create_patch("p1", "p2")
    for one, two in (("p1", "p3"), ("p3", "p2")):
        with pytest.raises(ExistsError, match=r"patch port 'p[12]' is the peer of"):
            devices.create_patch(one, two)
    devices.remove("p1")
    devices.create_patch("p1", "p3")
    assert names(net) == {"p1", "p3"}
    with pytest.raises(ExistsError, match="port 'p1' has a device of kind patch already"):
        devices.create_tap("p1")


def test_patch_port_waits_for_its_peer(devices: Devices, net: Netdev) -> None:
    (one,) = devices.create_patch("p1")
    assert net.device("p1").carrier, "as if there were somebody"
    assert devices.made() == [one]
    assert devices.create_patch("p1") == (one,)
    assert [end.name for end in devices.create_patch("p2", "p1")] == ["p2", "p1"]
    assert names(net) == {"p1", "p2"}
    devices.create_patch("p3")
    devices.remove("p3")
    assert names(net) == {"p1", "p2"}


def test_patch_stays_while_one_of_its_ports_does(devices: Devices, net: Netdev) -> None:
    devices.create_patch("p1", "p2")
    assert devices.remove_all_but({"p2"}) == []
    assert names(net) == {"p1", "p2"}


def test_what_a_killed_process_left_is_removed(devices: Devices, net: Netdev) -> None:
    near, far = devices._unfinished
    for progress in range(4):
        net.create_veth(near, far)
        if progress > 0:
            net.set_alias(near, "vswitch-port:test:patch:p1")
        if progress > 1:
            net.set_alias(far, "vswitch-port:test:patch:p2")
        if progress > 2:
            net.set_name(near, "p1")
        net.create_veth("theirs", "vsx012345678901")
        devices.remove_all_but(())
        assert names(net) == {"theirs", "vsx012345678901"}
        net.delete("theirs")


def test_half_made_pair_is_made_anew(devices: Devices, net: Netdev) -> None:
    near, far = devices._unfinished
    net.create_veth(near, far)
    net.set_alias(near, "vswitch-port:test:patch:p1")
    one, two = devices.create_patch("p1", "p2")
    assert {one.device, two.device} == names(net) == {"p1", "p2"}


def test_all_but_some_go(devices: Devices, net: Netdev) -> None:
    devices.create_internal("i1")
    devices.create_tap("t1")
    devices.create_patch("p1", "p2")
    devices.create_patch("p3", "p4")
    assert sorted(devices.remove_all_but({"t1", "p1", "p2"})) == ["i1", "p3", "p4"]
    assert names(net) == {"t1", "p1", "p2"}


def test_internal_device_in_another_namespace_goes_too(devices: Devices, net: Netdev, lab: Lab) -> None:
    host = lab.host("h1")
    devices.create_internal("lan0")
    with host.namespace.open() as there:
        net.set_namespace("lan0", there.fileno())
    assert devices.find("lan0") is not None
    assert devices.create_internal("lan0") == devices.find("lan0")
    assert devices.remove("lan0")
    with inside(host.namespace), Netdev() as elsewhere:
        assert not elsewhere.exists("lan0")


def test_mtu_is_refused_with_its_bounds(devices: Devices) -> None:
    devices.create_internal("lan0")
    for mtu in (67, 65536):
        with pytest.raises(ConfigError, match=f"device lan0: MTU {mtu} is outside 68..65535"):
            devices.set_mtu("lan0", mtu)
    with pytest.raises(NotFoundError, match="device lan1 does not exist"):
        devices.set_mtu("lan1", 1500)


def test_frames_pass_between_two_datapaths_by_a_patch(name: str, lab: Lab, devices: Devices) -> None:
    one, two = lab.host("h1", ip="10.0.0.1/24", mtu=9000), lab.host("h2", ip="10.0.0.2/24", mtu=9000)
    lab.introduce()
    left, right = devices.create_patch("to the right", "to-left")
    with (
        Datapath.create(name, ports=[one.port, left.device], local=False) as first,
        Datapath.create(f"{name}b", ports=[two.port, right.device], local=False) as second,
    ):
        for dp in (first, second):
            dp.flows.put(Match(in_port=1, recirc_id=0), Output(2))
            dp.flows.put(Match(in_port=2, recirc_id=0), Output(1))
        assert one.ping(two.ip, size=8900).received == 3


def settled(watch: DeviceWatch, events: list[DeviceEvent], change: DeviceChange, name: str) -> DeviceEvent:
    """That event, when it has come."""

    def there() -> list[DeviceEvent]:
        events.extend(watch.read())
        return [event for event in events if (event.change, event.device.name) == (change, name)]

    wait_until(there, f"{name} {change.value}")
    return there()[-1]


def test_devices_that_come_change_and_go_are_told_once(watch: DeviceWatch, net: Netdev) -> None:
    events = list[DeviceEvent]()
    one, _ = net.create_veth("one", "two")
    settled(watch, events, DeviceChange.CAME, "one")
    assert watch.by_name("one") == one
    net.set_mtu("one", 1400)
    changed = settled(watch, events, DeviceChange.CHANGED, "one")
    assert changed.before is not None
    assert (changed.before.mtu, changed.device.mtu) == (1500, 1400)
    net.set_alias("one", "x")
    net.delete("one")
    settled(watch, events, DeviceChange.GONE, "two")
    assert [event.change for event in events if event.device.name == "one"].count(DeviceChange.CAME) == 1
    assert watch.by_name("one") is None
    assert watch.read() == []


def test_device_in_another_namespace_is_gone_until_it_returns(watch: DeviceWatch, net: Netdev, lab: Lab) -> None:
    host = lab.host("h1")
    events = list[DeviceEvent]()
    net.create_veth("one", "two")
    settled(watch, events, DeviceChange.CAME, "two")
    with host.namespace.open() as there:
        net.set_namespace("one", there.fileno())
    settled(watch, events, DeviceChange.GONE, "one")
    events.clear()
    with lab.switch_namespace.open() as here, inside(host.namespace), Netdev() as elsewhere:
        elsewhere.set_namespace("one", here.fileno())
    assert settled(watch, events, DeviceChange.CAME, "one").device.name == "one"


def test_lost_events_are_made_up_for(watch: DeviceWatch, net: Netdev) -> None:
    for number in range(60):
        net.create_veth(f"a{number}", f"b{number}")
    for round_ in range(40):
        for number in range(60):
            net.set_mtu(f"a{number}", 1400 + round_)
    events = list[DeviceEvent]()
    while more := watch.read():
        events += more
    came = [event.device.name for event in events if event.change is DeviceChange.CAME]
    assert len(came) == len(set(came)) == 120
    assert {device.mtu for device in watch.devices.values() if device.name.startswith("a")} == {1439}


def test_events_are_awaited(watch: DeviceWatch, net: Netdev) -> None:
    async def until_it_comes() -> DeviceEvent:
        asyncio.get_running_loop().call_later(0.01, net.create_veth, "one", "two")
        async for event in watch.events():
            if event.device.name == "two":
                return event
        raise AssertionError

    async def bounded() -> DeviceEvent:
        return await asyncio.wait_for(until_it_comes(), 10)

    assert asyncio.run(bounded()).change is DeviceChange.CAME
