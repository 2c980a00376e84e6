"""What is wanted against what is: bridges, devices and ports that are made, changed and removed.

One step that fails keeps no other from being done. It is told as the `error` of the interfaces that it was for, and
tried again when a device has come that it may have waited for, when something else is wanted of it, and after a while
that gets longer.

Before anything is made for a bridge its folder is there (RUNDIR/bridges/NAME), and it goes last: so who comes after a
process that was killed knows which datapaths are ours, and removes those that nobody wants any more. Datapaths of
others (`vswitch run`, programs) are left alone.

Invariant: after `apply`, each port that is in a datapath of ours is wanted there, with that type.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from vswitch.api.datapath import Datapath
from vswitch.base.errors import ConfigError, ExistsError, NotFoundError, VswitchError
from vswitch.bridge.options import BridgeOptions
from vswitch.host.devices import Devices, device_name
from vswitch.host.link import Driver, LinkFacts, Links
from vswitch.host.qos import Qos, QueueCounters
from vswitch.host.watch import DeviceChange, DeviceWatch
from vswitch.model.port import Port
from vswitch.vswitchd.plan import Wanted, WantedBridge, WantedInterface
from vswitch.vswitchd.running import LOCAL_PORT, RunningBridge
from vswitch.vswitchd.saved import load, save
from vswitch.vswitchd.shaping import Shaping

__all__ = ["LOCAL_OFPORT", "InterfaceFacts", "Reconciler"]

logger = logging.getLogger("vswitch")

FIRST_PAUSE_S, LAST_PAUSE_S = 1.0, 64.0
"""Before a step that failed is tried again; twice as long each time."""

PORTS_IN_ONE_TURN = 1
"""Added before others have their turn: some ten milliseconds, which the kernel takes to be sure of itself."""

LOCAL_OFPORT = 65534
_OWNER = "vswitchd"


@dataclass(frozen=True, slots=True)
class InterfaceFacts:
    """What has become of an interface. `number`: OpenFlow's, None if it is no port. `device`: by which the host knows
    it, None if there is none; `counted`: what the switch has received and sent there."""

    number: int | None = None
    device: LinkFacts | None = None
    driver: Driver | None = None
    counted: Mapping[str, int] = field(default_factory=dict)
    error: str = ""


@dataclass(slots=True)
class _Failure:
    """`what`: that was tried; `text`: why it failed."""

    what: object
    text: str
    pause_s: float
    again_s: float


class Reconciler:
    """`bridges`: those at work, by name. `interfaces`: what has become of each, by UUID."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "bridges"
        self._devices = Devices(_OWNER)
        self.watch = DeviceWatch()
        self._links = Links()
        self._shaping = Shaping()
        self._drivers: dict[int, tuple[str, Driver | None]] = {}  # ifindex -> name, what drives it
        self.bridges: dict[str, RunningBridge] = {}
        self.interfaces: dict[str, InterfaceFacts] = {}
        self._tried: set[str] = set()
        self._uuids: dict[str, list[str]] = {}  # of interfaces, by the names of their devices
        self._failures: dict[str, _Failure] = {}
        self._patches: dict[str, str] = {}  # port -> peer, of those that there are
        self._knows_patches = False  # what an earlier process has left has gone

    # ---- time and devices

    def follow_devices(self, ours: Collection[str] = ()) -> bool:
        """See to what has happened to devices. Whether something that failed may go well now, or what follows from the
        devices of ports may be other than it was. `ours`: names that we have just used, so that what happened to them
        is no news."""
        changed = False
        touched: set[str] = set()
        for event in self.watch.read():
            before = event.before
            if event.change is DeviceChange.CHANGED and before is not None and before.name == event.device.name:
                if event.device.name in self._uuids and event.device.name not in ours:
                    changed |= (before.mtu, before.mac) != (event.device.mtu, event.device.mac)
                continue
            touched |= {event.device.name} | ({before.name} if before is not None else set())
        touched.difference_update(ours)
        keys = [key for name in touched for key in (name, *self._uuids.get(name, ())) if key in self._failures]
        for key in keys:  # of bridges, by name, and of interfaces
            del self._failures[key]
        return bool(keys) or changed

    def shaped(self, name: str) -> tuple[Qos | None, dict[int, QueueCounters]] | None:
        """How the port of this name is shaped; None: no bridge has one. VswitchError: its device is gone."""
        for bridge in self.bridges.values():
            found = bridge.shaped(name)
            if found is not None:
                return found
        return None

    @property
    def again_s(self) -> float | None:
        """When something that failed is to be tried again (the time of the event loop)."""
        return min((failure.again_s for failure in self._failures.values()), default=None)

    def _may_try(self, key: str, what: object) -> bool:
        """Whether it is time, or something else is to be tried."""
        failure = self._failures.get(key)
        if failure is not None and failure.what != what:
            del self._failures[key]
            return True
        return failure is None or asyncio.get_running_loop().time() >= failure.again_s

    def _failed(self, key: str, what: object, problem: VswitchError) -> None:
        before = self._failures.get(key)
        text = str(problem)
        pause_s = min(before.pause_s * 2, LAST_PAUSE_S) if before is not None else FIRST_PAUSE_S
        if before is None or before.text != text:
            logger.warning("%s", text)
        self._failures[key] = _Failure(what, text, pause_s, asyncio.get_running_loop().time() + pause_s)

    # ---- all of it

    async def apply(self, wanted: Wanted) -> bool:
        """Make it so, as far as that goes. Whether something that failed may go well by now."""
        self._tried = set()
        begun_s = asyncio.get_running_loop().time()
        bridges = {each.name: each for each in wanted.bridges if not each.error}
        await self._remove_bridges(bridges)
        for bridge in bridges.values():
            await self._have_bridge(bridge)
        running = [(self.bridges[name], bridge) for name, bridge in bridges.items() if name in self.bridges]
        patches = {
            interface.name: interface
            for _, bridge in running
            for interface in bridge.interfaces()
            if interface.kind == "patch" and not interface.error
        }
        wanted_ports = {each.name: _by_device(bridge) for each, bridge in running}
        for each, _ in running:
            each.drop_ports(wanted_ports[each.name])
        self._have_patches(patches)
        for each, _ in running:
            await self._add_ports(each, wanted_ports[each.name])
        for each, bridge in running:
            each.follow_ports()
            await self._configure(each, bridge, wanted_ports[each.name])
        may_help = self.follow_devices(self._tried)
        self.look(wanted)
        known = {interface.uuid for bridge in wanted.bridges for interface in bridge.interfaces()}
        for key, failure in list(self._failures.items()):
            is_wanted = key.partition(" ")[0] in known or key in bridges
            if not is_wanted or failure.again_s <= begun_s:  # it was time, and nobody has tried
                del self._failures[key]
        return may_help

    # ---- bridges

    async def _remove_bridges(self, wanted: Mapping[str, WantedBridge]) -> None:
        for name in [name for name in self.bridges if name not in wanted]:
            await self._stop(name, remove=True)
        for name in [name for name, each in self.bridges.items() if each.is_over]:
            logger.error("%s: it is not served any more, and begins anew", name)
            await self._stop(name, remove=False, keep_flows=True)
        for folder in self._folder.iterdir() if self._folder.is_dir() else ():
            if folder.name not in wanted and folder.name not in self.bridges:
                self._remove_leftover(folder)

    def _flows(self, name: str) -> Path:
        """Where those of a bridge are kept."""
        return self._folder / name / "flows"

    async def _stop(self, name: str, *, remove: bool, keep_flows: bool = False) -> None:
        if keep_flows:
            try:
                save(self.bridges[name].bridge, self._flows(name))
            except OSError as problem:
                logger.warning("%s: its flows are not kept: %s", name, problem.strerror)
        try:
            await self.bridges.pop(name).stop(remove=remove)
        except VswitchError as problem:
            logger.warning("%s: %s", name, problem)
            return  # its folder stays, so it is tried again
        if remove:
            shutil.rmtree(self._folder / name, ignore_errors=True)

    def _remove_leftover(self, folder: Path) -> None:
        """Of a bridge that nobody wants any more."""
        try:
            Datapath.delete(folder.name)
        except NotFoundError:
            pass
        except VswitchError as problem:
            logger.warning("%s: %s", folder.name, problem)
            return
        shutil.rmtree(folder, ignore_errors=True)

    async def _have_bridge(self, wanted: WantedBridge) -> None:
        name = wanted.name
        if name in self.bridges or not self._may_try(name, None):
            return
        options = wanted.options
        if options.datapath_id is None:
            options = replace(options, datapath_id=1)  # before its ports are known; nobody is told
        try:
            (self._folder / name).mkdir(parents=True, exist_ok=True)
            running = await RunningBridge.start(name, options, self._shaping)
            if options.waits:
                self._flows(name).unlink(missing_ok=True)  # somebody else loads them
            else:
                await load(running.bridge, self._flows(name))
        except VswitchError as problem:
            self._failed(name, None, problem)
        except OSError as problem:
            self._failed(name, None, ConfigError(f"bridge {name}: {problem.filename}: {problem.strerror}"))
        else:
            self._failures.pop(name, None)
            self.bridges[name] = running

    async def stop(self, *, remove: bool = False) -> None:
        """End all bridges; their datapaths forward on, or are removed with all that was made for them."""
        for name in list(self.bridges):
            await self._stop(name, remove=remove, keep_flows=not remove)
        if remove:
            self._devices.remove_all_but(())
        self._devices.close()
        self._links.close()
        self._shaping.close()
        self.watch.close()

    # ---- devices and ports

    def _have_patches(self, wanted: Mapping[str, WantedInterface]) -> None:
        """A pair of devices for each two that name each other; the others are at a pair whose other end nobody has."""
        peers = {name: _peer(interface, wanted) for name, interface in wanted.items()}
        if not self._knows_patches:
            keep = {*peers, *peers.values()}
            for name in self._devices.remove_all_but(keep):
                logger.info("patch port %s: what was left of it is gone", name)
            self._knows_patches = True
        for name in [name for name in self._patches if self._patches[name] != peers.get(name)]:
            self._devices.remove(name)
            del self._patches[name]
        for name, peer in peers.items():
            if name in self._patches or not self._may_try(wanted[name].uuid, wanted[name]):
                continue
            try:
                self._tried |= {name, peer}
                self._have_pair(name, peer)
            except VswitchError as problem:
                self._failed(wanted[name].uuid, wanted[name], problem)
                continue
            self._patches[name] = peer
            if peer in wanted:
                self._patches[peer] = name

    def _have_pair(self, name: str, peer: str) -> None:
        try:
            self._devices.create_patch(name, peer)
        except ExistsError:
            if not (self._devices.remove(name) | self._devices.remove(peer)):
                raise
            self._devices.create_patch(name, peer)

    async def _add_ports(self, running: RunningBridge, wanted: Mapping[str, WantedInterface]) -> None:
        """Those with a number of their own first, so that no other gets it."""
        there = running.ports()
        missing = {device: each for device, each in wanted.items() if device not in there}
        order = sorted(
            missing, key=lambda device: (device != running.name, missing[device].request is None,
                                         missing[device].last is None, device)
        )  # fmt: skip
        reserved = {each.request for each in missing.values()} | {each.last for each in missing.values()}
        numbers = {number for number in reserved if number is not None}
        for count, device in enumerate(order):
            interface = missing[device]
            self._tried.add(device)
            if not self._may_try(interface.uuid, interface):
                continue
            try:
                running.add_port(device, interface, numbers)
            except VswitchError as problem:
                self._failed(interface.uuid, interface, problem)
            else:
                self._failures.pop(interface.uuid, None)
            if count % PORTS_IN_ONE_TURN == PORTS_IN_ONE_TURN - 1:
                await asyncio.sleep(0)

    async def _configure(
        self, running: RunningBridge, wanted: WantedBridge, ports: Mapping[str, WantedInterface]
    ) -> None:
        local = ports.get(running.name)
        hwaddr = wanted.hwaddr or (local.mac if local is not None else None)
        address = running.address(hwaddr, (name for name, each in ports.items() if each.kind == "system"))
        text = ":".join(f"{address:012x}"[at : at + 2] for at in range(0, 12, 2))
        there = running.ports()
        physical = {name: each for name, each in ports.items() if each.kind == "system" and name in there}
        lengths = [each.mtu or there[name].mtu for name, each in physical.items()]
        shortest = min((length for length in lengths if length), default=None)
        for name, interface in (physical | dict(ports)).items():
            if name not in there:
                continue
            mac = text if name == running.name else interface.mac if interface.kind != "system" else None
            mtu = interface.mtu
            if mtu is None and interface.kind == "internal":
                mtu = shortest
            self._set_device(running, name, interface, mac, mtu)
            self._set_policing(running, name, interface)
            self._shape(running, there[name], interface)
        options = wanted.options
        if options.datapath_id is None:
            options = replace(options, datapath_id=address or 1)
        await running.reconfigure(_with_devices(options, wanted))
        if not running.is_served:
            await running.serve()

    def _set_device(
        self, running: RunningBridge, name: str, interface: WantedInterface, mac: str | None, mtu: int | None
    ) -> None:
        what = (interface, mac, mtu)
        if mac is None and mtu is None:
            self._failures.pop(interface.uuid, None)
            return
        if not self._may_try(interface.uuid, what):
            return
        try:
            device = self._devices.device(name)
            self._tried.add(name)
            if mac is not None and device.mac != mac:
                self._devices.set_mac(name, mac)
            if mtu is not None and device.mtu != mtu:
                if interface.kind == "internal" and (end := running.ports()[name].ifindex) is not None:
                    self._devices.set_mtu(end, mtu)
                self._devices.set_mtu(name, mtu)
        except VswitchError as problem:
            self._failed(interface.uuid, what, problem)
        else:
            self._failures.pop(interface.uuid, None)

    def _set_policing(self, running: RunningBridge, name: str, interface: WantedInterface) -> None:
        if running.policing.get(name) == interface.policing:
            return
        try:
            running.datapath.ports.set_policing(name, interface.policing)
        except VswitchError as problem:
            self._failed(interface.uuid, interface.policing, problem)
        else:
            running.policing[name] = interface.policing

    def _shape(self, running: RunningBridge, port: Port, interface: WantedInterface) -> None:
        key, what = f"{interface.uuid} QoS", (port.ifindex, interface.qos)
        if not self._may_try(key, what):
            return
        try:
            running.shape(port, interface.qos)
        except VswitchError as problem:
            self._failed(key, what, problem)
        else:
            self._failures.pop(key, None)

    # ---- what has become of it

    def look(self, wanted: Wanted) -> None:
        """Look at what has become of the interfaces."""
        links = self._links.all()
        by_name = {link.name: link for link in links.values()}
        self._shaping.forget_all_but(links)
        self._drivers = {index: known for index, known in self._drivers.items() if index in links}
        found: dict[str, InterfaceFacts] = {}
        self._uuids = {}
        for bridge in wanted.bridges:
            running = self.bridges.get(bridge.name)
            there = running.ports() if running is not None else {}
            why = bridge.error or self.why_not(bridge.name)
            for interface in bridge.interfaces():
                name = _device(interface)
                self._uuids.setdefault(name, []).append(interface.uuid)
                error = interface.error or why or self._text_of(interface.uuid) or interface.note
                error = error or self._text_of(f"{interface.uuid} QoS")
                if not error and interface.kind == "patch" and self._patches.get(interface.name) != interface.peer:
                    error = f"no patch port {interface.peer} has {interface.name} as its peer"
                port, link = there.get(name), by_name.get(name)
                if port is None or port.ifindex is None or link is None:
                    found[interface.uuid] = InterfaceFacts(error=error or f"device {name} does not exist")
                    continue
                number = LOCAL_OFPORT if port.number == LOCAL_PORT else port.number
                end = links.get(port.ifindex, link)
                found[interface.uuid] = InterfaceFacts(number, link, self._driver(link), end.statistics, error)
        self.interfaces = found

    def _driver(self, link: LinkFacts) -> Driver | None:
        name, driver = self._drivers.get(link.ifindex, ("", None))
        if name != link.name:
            with contextlib.suppress(VswitchError):  # it has just gone
                driver = self._links.driver(link.name)
            self._drivers[link.ifindex] = (link.name, driver)
        return driver

    def why_not(self, bridge: str) -> str:
        """Why there is no such bridge, if that is so."""
        return "" if bridge in self.bridges else self._text_of(bridge)

    def _text_of(self, key: str) -> str:
        failure = self._failures.get(key)
        return failure.text if failure is not None else ""


def _device(interface: WantedInterface) -> str:
    """What the device of an interface is called."""
    return device_name(interface.name, _OWNER) if interface.kind == "patch" else interface.name


def _by_device(bridge: WantedBridge) -> dict[str, WantedInterface]:
    return {_device(interface): interface for interface in bridge.interfaces() if not interface.error}


def _peer(interface: WantedInterface, others: Mapping[str, WantedInterface]) -> str:
    """The other end of a patch port's pair: its peer, if that is there and has this one as its own."""
    other = others.get(interface.peer)
    return interface.peer if other is not None and other.peer == interface.name else f"no peer of {interface.name}"


def _with_devices(options: BridgeOptions, wanted: WantedBridge) -> BridgeOptions:
    """With the names of devices in place of those of ports."""
    devices = {port.name: _device(interface) for port in wanted.ports for interface in port.interfaces}

    def named(ports: frozenset[str]) -> frozenset[str]:
        return frozenset(devices.get(name, name) for name in ports)

    snooping = options.mcast_snooping
    if snooping is not None:
        snooping = replace(
            snooping,
            flood_ports=named(snooping.flood_ports),
            flood_reports_ports=named(snooping.flood_reports_ports),
        )
    mirrors = [
        replace(
            each,
            select_src_port=named(each.select_src_port),
            select_dst_port=named(each.select_dst_port),
            output_port=None if each.output_port is None else devices.get(each.output_port, each.output_port),
        )
        for each in options.mirrors
    ]
    return replace(
        options,
        vlans={devices.get(name, name): vlan for name, vlan in options.vlans.items()},
        protected=named(options.protected),
        mcast_snooping=snooping,
        mirrors=tuple(mirrors),
    )
