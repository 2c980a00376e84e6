"""Ports in the kernel: numbers, devices, counters, and what rtnetlink tells of them.

A port has a number (the datapath's own) and a slot (where its counters are). The kernel finds the number by ifindex and
the ifindex by number; the name, by which a device is known again when it returns, is kept beside for Python.

Invariant: a device is a port of at most one datapath here, and everything that was made for a port (the other end of an
internal port, the link or filter at the device) goes with it.
"""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from vswitch.base.errors import ConfigError, ExistsError, NotFoundError, TableFullError, VswitchError
from vswitch.base.limits import MAX_PORT
from vswitch.datapath.ebpf import attach, bpf_syscall
from vswitch.datapath.ebpf.layout import PORT, PORT_COUNTERS, PORT_INFO, PORT_RING
from vswitch.datapath.ebpf.netdev import Device, LinkEvent, LinkMonitor, Netdev
from vswitch.datapath.ebpf.state import State
from vswitch.model.port import DROP_REASONS, Port, PortChange, PortEvent, PortKind, PortStats

__all__ = ["PortTable", "hidden_name"]

_FLAG_TUNNEL, _FLAG_PEER = 1, 2
_KINDS = (None, PortKind.SYSTEM, PortKind.INTERNAL, PortKind.TAP)
_TUNNEL_DEVICES = ("vxlan", "geneve", "gre", "gretap", "ip6gretap", "erspan", "bareudp")
INJECT_SLOT = "inject"


def hidden_name(prefix: str, name: str) -> str:
    """A device name (11 characters) for what the user need not see, the same for the same `name`."""
    return f"{prefix}{zlib.crc32(name.encode()):08x}"


@dataclass(slots=True)
class _Entry:
    slot: int
    port: Port
    peer: bool
    attached: attach.Attachment | None = None


class PortTable:
    """The ports of one datapath. What changes them needs the lock of `state`; devices are looked for in the network
    namespace of the thread that made the table."""

    def __init__(self, state: State, controlled: bool) -> None:
        self._state = state
        self._controlled = controlled
        self._ports = state.memory["ports"].view
        self._infos = state.memory["port_infos"].view
        self._rings = state.memory["port_rings"].view
        self._devices = Netdev()
        self._monitor: LinkMonitor | None = LinkMonitor() if controlled else None
        self._entries: dict[int, _Entry] = {}
        self._pending: list[PortEvent] = []
        self._read()

    def close(self) -> None:
        """Forget the ports, which stay."""
        self._devices.close()
        if self._monitor is not None:
            self._monitor.close()
            self._monitor = None

    # ---- what is there

    def _read(self) -> None:
        by_name = {device.name: device for device in self._devices.devices()}
        for slot in range(self._slots):
            name, number, kind, _, peer = PORT_INFO.unpack_from(self._infos, slot * PORT_INFO.size)
            if not kind:
                continue
            text = name.rstrip(b"\0").decode()
            ifindex = PORT.unpack_from(self._ports, number * PORT.size)[0]
            port_kind = _KINDS[kind]
            assert port_kind is not None
            device = by_name.get(self._switch_end(text, port_kind))
            if not self._controlled:
                device = device if device is not None and device.ifindex == ifindex else None
            entry = _Entry(slot, _with_device(Port(number, text, port_kind), device), bool(peer))
            self._entries[number] = entry
            if self._controlled:
                self._take_up(entry, device, ifindex)

    def _take_up(self, entry: _Entry, device: Device | None, known_ifindex: int) -> None:
        """A port as an earlier process left it: still attached, or its device went, or came back, meanwhile."""
        if device is None:
            self._set_ifindex(entry, None, known_ifindex)
            return
        if device.ifindex == known_ifindex:
            entry.attached = attach.find(
                device.ifindex, "ingress", owner=self._state.name, pin=self._pin(entry.port.number)
            )
        if entry.attached is None:
            self._set_ifindex(entry, None, known_ifindex)
            self._attach(entry, device)

    @property
    def _slots(self) -> int:
        return self._state.memory["port_infos"].entries

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Port]:
        return iter([self._entries[number].port for number in sorted(self._entries)])

    def get(self, which: int | str) -> Port:
        """The port of that number or name. NotFoundError if there is none."""
        return self._entry(which).port

    def _entry(self, which: int | str) -> _Entry:
        for entry in self._entries.values():
            if which in (entry.port.number, entry.port.name):
                return entry
        raise NotFoundError(f"datapath {self._state.name} has no port {which!r}")

    # ---- adding and removing

    def add(self, name: str, number: int | None, kind: PortKind, peer_redirect: bool) -> Port:
        """Make device `name` a port; the lowest free number from 1 on if none is given.

        NotFoundError: no such device. ExistsError: it, or the number, is in use. TableFullError: max_ports.
        """
        if any(entry.port.name == name for entry in self._entries.values()):
            raise ExistsError(f"device {name} is a port of datapath {self._state.name} already")
        number = self._free_number() if number is None else number
        if not isinstance(number, int) or not 0 <= number <= MAX_PORT:
            raise ConfigError(f"port number {number!r} is outside 0..{MAX_PORT}")
        if number in self._entries:
            raise ExistsError(f"port number {number} is {self._entries[number].port.name} already")
        used = {entry.slot for entry in self._entries.values()}
        slot = next((slot for slot in range(self._slots) if slot not in used), None)
        if slot is None:
            raise TableFullError(f"no room for port {name}: the datapath has all {self._slots} of max_ports")
        made = self._make_device(name, kind)
        entry = _Entry(slot, Port(number, name, kind), peer_redirect)
        try:
            device = self._devices.device(self._switch_end(name, kind))
            if peer_redirect and device.kind != "veth":
                raise ConfigError(f"device {name} is no veth, so packets cannot be handed to its other end")
            self._forget_counters(slot)
            self._write(entry)
            self._entries[number] = entry
            self._attach(entry, device)
        except BaseException:
            self._entries.pop(number, None)
            self._erase(entry)
            if made:
                with contextlib.suppress(VswitchError):
                    self._devices.delete(name)
            raise
        return entry.port

    def remove(self, which: int | str) -> Port:
        """Take a port out of the datapath; a device that was made for it goes too."""
        entry = self._entry(which)
        self._detach(entry)
        self._erase(entry)
        del self._entries[entry.port.number]
        if entry.port.kind is not PortKind.SYSTEM:
            with contextlib.suppress(NotFoundError):
                self._devices.delete(self._switch_end(entry.port.name, entry.port.kind))
        return entry.port

    def _free_number(self) -> int:
        number = next((n for n in range(1, MAX_PORT + 1) if n not in self._entries), None)
        if number is None:
            raise TableFullError(f"all port numbers 1..{MAX_PORT} are in use")
        return number

    def _switch_end(self, name: str, kind: PortKind) -> str:
        """The device that packets of the port come in by: of an internal port, the other end of a veth pair."""
        return hidden_name("vsp", name) if kind is PortKind.INTERNAL else name

    def _make_device(self, name: str, kind: PortKind) -> bool:
        if kind is PortKind.SYSTEM:
            return False
        if kind is PortKind.TAP:
            self._devices.create_tap(name)
            self._devices.set_up(name)
            return True
        hidden = self._switch_end(name, kind)
        self._devices.create_veth(name, hidden)
        self._devices.silence(hidden)
        self._devices.set_up(hidden)
        return True

    def _attach(self, entry: _Entry, device: Device) -> None:
        entry.attached = attach.attach(
            device.ifindex, "ingress", self._state.programs["vs_port"],
            owner=self._state.name, pin=self._pin(entry.port.number),
        )  # fmt: skip
        entry.port = _with_device(entry.port, device)
        self._set_ifindex(entry, device, 0)

    def _detach(self, entry: _Entry) -> None:
        ifindex = entry.port.ifindex or 0
        self._set_ifindex(entry, None, ifindex)
        if entry.attached is not None:
            attach.detach(entry.attached)
            entry.attached = None
        with contextlib.suppress(FileNotFoundError):
            self._pin(entry.port.number).unlink()

    def _pin(self, number: int) -> Path:
        return self._state.folder / "links" / str(number)

    # ---- what the kernel knows

    def _set_ifindex(self, entry: _Entry, device: Device | None, old: int) -> None:
        flags = 0
        if device is not None:
            flags |= _FLAG_TUNNEL if device.kind in _TUNNEL_DEVICES else 0
            flags |= _FLAG_PEER if entry.peer and device.peer_elsewhere else 0
        ifindex = device.ifindex if device is not None else 0
        number = entry.port.number
        PORT.pack_into(self._ports, number * PORT.size, ifindex, entry.slot, flags)
        by_ifindex = self._state.maps["ports_by_ifindex"]
        if old and old != ifindex:
            bpf_syscall.map_delete(by_ifindex, old.to_bytes(4, "little"))
        if ifindex:
            bpf_syscall.map_update(by_ifindex, ifindex.to_bytes(4, "little"), number.to_bytes(4, "little"))
        entry.port = _with_device(entry.port, device)

    def _write(self, entry: _Entry) -> None:
        port = entry.port
        PORT_INFO.pack_into(
            self._infos, entry.slot * PORT_INFO.size,
            port.name.encode(), port.number, _KINDS.index(port.kind), port.kind is not PortKind.SYSTEM, entry.peer,
        )  # fmt: skip

    def _erase(self, entry: _Entry) -> None:
        self._infos[entry.slot * PORT_INFO.size : (entry.slot + 1) * PORT_INFO.size] = bytes(PORT_INFO.size)
        PORT.pack_into(self._ports, entry.port.number * PORT.size, 0, 0, 0)

    def _forget_counters(self, slot: int) -> None:
        counters = self._state.memory["port_counters"].view
        for stripe in range(self._state.stripes):
            at = (slot + stripe * self._slots) * PORT_COUNTERS.size
            counters[at : at + PORT_COUNTERS.size] = bytes(PORT_COUNTERS.size)
        self._rings[slot * PORT_RING.size : (slot + 1) * PORT_RING.size] = bytes(PORT_RING.size)

    # ---- upcalls

    def set_quota(self, quota: int) -> None:
        """Let each port put so many bytes of upcalls into the ring; 0 when nobody reads it."""
        for slot in range(self._slots):
            produced, consumed, _, lost = PORT_RING.unpack_from(self._rings, slot * PORT_RING.size)
            # what an earlier reader left unread is no longer owed
            PORT_RING.pack_into(
                self._rings, slot * PORT_RING.size, produced, produced if quota else consumed, quota, lost
            )

    def slot_of(self, number: int) -> int | None:
        """Where the counters of port `number` are."""
        entry = self._entries.get(number)
        return entry.slot if entry is not None else None

    # ---- counters

    def stats(self, which: int | str) -> PortStats:
        """What the port has counted, over all CPUs."""
        entry = self._entry(which)
        counters = self._state.memory["port_counters"].view
        sums = [0] * (6 + 24)
        for stripe in range(self._state.stripes):
            at = (entry.slot + stripe * self._slots) * PORT_COUNTERS.size
            sums = [a + b for a, b in zip(sums, PORT_COUNTERS.unpack_from(counters, at), strict=True)]
        rx_packets, rx_bytes, tx_packets, tx_bytes, tx_errors, upcalls = sums[:6]
        drops = {reason: count for reason, count in zip(DROP_REASONS, sums[6:], strict=False) if count}
        lost = PORT_RING.unpack_from(self._rings, entry.slot * PORT_RING.size)[3]
        return PortStats(rx_packets, rx_bytes, tx_packets, tx_bytes, 0, tx_errors, upcalls, lost, drops)

    # ---- events

    def fileno(self) -> int:
        """Readable when something happened to a device."""
        assert self._monitor is not None, "only who controls a datapath hears of its devices"
        return self._monitor.fileno()

    def events(self) -> list[PortEvent]:
        """What happened to ports since the last call; the kernel's tables follow by that."""
        assert self._monitor is not None, "only who controls a datapath hears of its devices"
        happened: list[PortEvent] = []
        for event in self._monitor.read():
            if event.resync:
                happened += self._resync()
            else:
                happened += self._follow(event)
        return happened

    def _resync(self) -> list[PortEvent]:
        """Events were lost: compare every port with its device."""
        happened: list[PortEvent] = []
        present = {device.ifindex: device for device in self._devices.devices()}
        for entry in list(self._entries.values()):
            ifindex = entry.port.ifindex
            if ifindex is not None and ifindex not in present:
                happened += self._lost(entry)
        for device in present.values():
            happened += self._follow(
                LinkEvent(device.ifindex, device.name, device.up, device.mtu, device.mac, carrier=device.carrier)
            )
        return happened

    def _follow(self, event: LinkEvent) -> list[PortEvent]:
        for entry in self._entries.values():
            if entry.port.ifindex == event.ifindex:
                return self._lost(entry) if event.gone else self._changed(entry, event)
        if event.gone:
            return []
        for entry in self._entries.values():
            if entry.port.ifindex is None and self._switch_end(entry.port.name, entry.port.kind) == event.name:
                return self._returned(entry)
        return []

    def _lost(self, entry: _Entry) -> list[PortEvent]:
        self._detach(entry)
        return [PortEvent(PortChange.LOST, entry.port)]

    def _returned(self, entry: _Entry) -> list[PortEvent]:
        try:
            self._attach(entry, self._devices.device(self._switch_end(entry.port.name, entry.port.kind)))
        except NotFoundError:
            return []  # gone again; the event that says so is on its way
        return [PortEvent(PortChange.RETURNED, entry.port)]

    def _changed(self, entry: _Entry, event: LinkEvent) -> list[PortEvent]:
        happened = []
        old = entry.port
        name = old.name if old.kind is PortKind.INTERNAL else event.name
        new = replace(old, name=name, up=event.up, mtu=event.mtu, mac=event.mac)
        if new.name != old.name:
            happened.append(PortChange.RENAMED)
        if new.up != old.up:
            happened.append(PortChange.UP if new.up else PortChange.DOWN)
        if (new.mtu, new.mac) != (old.mtu, old.mac):
            happened.append(PortChange.CHANGED)
        if new != old:
            entry.port = new
            self._write(entry)
        return [PortEvent(change, new) for change in happened]


def _with_device(port: Port, device: Device | None) -> Port:
    if device is None:
        return replace(port, ifindex=None, up=False)
    return replace(port, ifindex=device.ifindex, up=device.up, mtu=device.mtu, mac=device.mac)
