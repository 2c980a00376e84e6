"""Ports in the kernel: numbers, devices, counters, and what rtnetlink tells of them.

A port has a number (the datapath's own) and a slot (where its counters are). The kernel finds the number by ifindex and
the ifindex by number; the name, by which a device is known again when it returns, is kept beside for Python. A port
whose device is away stays, and waits for one of that name.

A port is recorded as unfinished before anything is made for it, and again before anything of it is taken away: if its
process is killed meanwhile, the next one that opens the datapath takes away what is there of it.

Invariant: a device is a port of at most one datapath, and everything that was made for a port (its tap device, the
pair of devices of an internal port, the link or filter at the device) goes with it.
"""

from __future__ import annotations

import contextlib
import logging
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from vswitch.base.errors import ConfigError, ExistsError, NotFoundError, TableFullError, VswitchError
from vswitch.base.limits import MAX_PORT
from vswitch.datapath.ebpf import attach, bpf_syscall
from vswitch.datapath.ebpf.layout import POLICER, PORT_COUNTERS, PORT_INFO, PORT_RING
from vswitch.datapath.ebpf.netdev import Device, LinkEvent, LinkMonitor, Netdev
from vswitch.datapath.ebpf.state import State, hidden_name, is_hidden_name, owner_mark
from vswitch.model.port import DROP_REASONS, Policing, Port, PortChange, PortEvent, PortKind, PortStats

__all__ = ["PortTable", "take_down"]

logger = logging.getLogger("vswitch")

_U32 = 0xFFFFFFFF
_FLAG_TUNNEL, _FLAG_PEER, _FLAG_POLICED = 1, 2, 4
_KINDS = (None, PortKind.SYSTEM, PortKind.INTERNAL, PortKind.TAP)
_TUNNEL_DEVICES = ("vxlan", "geneve", "gretap", "ip6gretap", "erspan")
_NAME_BYTES, _AT_KIND, _AT_UNFINISHED = 16, 18, 19
_COUNTER_WORDS, _RING_WORDS = PORT_COUNTERS.size // 8, PORT_RING.size // 8
_PRODUCED, _CONSUMED, _QUOTA, _LOST, _MISS_COST, _MISS_BURST = range(6)
_POLICER_WORDS = POLICER.size // 8
_COST, _BURST = 1, 2
_MAX_MTU = 65535
_TCX_PORTS = 32
"""Ports that hang by tcx links. To hang and to take down each of these the kernel waits for a grace period of RCU, some
10 ms in which nobody else can change devices; filters of clsact, by which further ports hang, wait for nothing."""
_MAX_PENDING = 4096
"""Events kept for a program that does not ask for them; the oldest go."""


def take_down(datapath: str) -> int:
    """Delete the devices in this network namespace that some version of vswitch has made for a datapath, and take its
    filters off the others. (Links are pinned, and go with their pins.) How many there were."""
    found_so_far = 0
    with Netdev() as devices:
        for device in devices.devices():
            ours = device.alias == owner_mark(datapath) or (not device.alias and is_hidden_name(device.name, datapath))
            with contextlib.suppress(NotFoundError):  # it went with the other end of its pair
                if ours:
                    devices.delete(device.ifindex)
                    found_so_far += 1
                elif (found := attach.find(device.ifindex, "ingress", owner=datapath)) is not None:
                    attach.detach(found)
                    found_so_far += 1
    return found_so_far


@dataclass(slots=True)
class _Entry:
    slot: int
    port: Port
    peer: bool = False
    attached: attach.Attachment | None = None
    near: int = 0
    """Of an internal port the ifindex of the host's end; 0 while that is in another namespace."""


class PortTable:
    """The ports of one datapath, as the process knows them that controls it; for one that only reads, as they are in
    the kernel each time. What changes them needs the lock of `state`, in the network namespace of the datapath."""

    def __init__(self, state: State, controlled: bool) -> None:
        self._state = state
        self._controlled = controlled
        self._is_here = state.is_here
        self._words = state.memory["ports"].view.cast("Q")  # ifindex | slot << 32 | flags << 48
        self._infos = state.memory["port_infos"].view
        self._rings = state.memory["port_rings"].view.cast("Q")
        self._policers = state.memory["policers"].view.cast("Q")
        self._counters = state.memory["port_counters"].view.cast("Q")
        self._slots = state.memory["port_infos"].entries
        self._quota = 0
        self._miss_rate = (0, 0)
        self._known: dict[int, _Entry] = {}
        self._by_ifindex: dict[int, _Entry] = {}  # those whose device is there
        self._by_near: dict[int, _Entry] = {}  # internal ones whose other end is here
        self._strayed: set[int] = set()  # numbers of those whose other end is not
        self._pending: deque[PortEvent] = deque(maxlen=_MAX_PENDING)
        self._monitor: LinkMonitor | None = None
        self._devices = Netdev()
        if controlled:
            try:
                self._monitor = LinkMonitor()  # before looking at devices, so that nothing is missed
                self._take_stock()
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """Forget the ports, which stay."""
        self._devices.close()
        if self._monitor is not None:
            self._monitor.close()
            self._monitor = None

    # ---- what is there

    def _recorded(self) -> Iterator[tuple[_Entry, bool]]:
        """The ports in the kernel's memory, and whether they are unfinished."""
        for slot in range(1, self._slots):
            name, number, kind, unfinished, peer = PORT_INFO.unpack_from(self._infos, slot * PORT_INFO.size)
            port_kind = _KINDS[kind]
            if port_kind is not None:
                text = name.rstrip(b"\0").decode(errors="replace")
                port = Port(number, text, port_kind, ifindex=self._words[number] & _U32 or None)
                yield _Entry(slot, port, bool(peer)), bool(unfinished)

    def _entries(self) -> dict[int, _Entry]:
        """By number. One who only reads knows nothing of their devices but the ifindex, and the names as they were when
        somebody in control last looked."""
        self._state.need_open()
        if self._controlled:
            return self._known
        return {entry.port.number: entry for entry, unfinished in self._recorded() if not unfinished}

    def _entry(self, which: int | str) -> _Entry:
        entries = self._entries()
        if isinstance(which, int):
            found = [entries[which]] if which in entries else []
        else:
            self._look_at_devices(entries)
            found = [entry for entry in entries.values() if entry.port.name == which]
        if not found:
            raise NotFoundError(f"datapath {self._state.name} has no port {which!r}")
        # one that waits for its device may have the name that another was given meanwhile
        return max(found, key=lambda entry: entry.port.ifindex is not None)

    def _look_at_devices(self, entries: dict[int, _Entry]) -> None:
        """Who only reads sees devices, and their names, as they are now."""
        if not self._controlled and self._is_here:
            devices = {device.ifindex: device for device in self._devices.devices()}
            for entry in entries.values():
                device = devices.get(entry.port.ifindex or 0)
                near = devices.get(_near_ifindex(entry.port, device))
                entry.port = _seen(entry.port, device, near)

    def __len__(self) -> int:
        return len(self._entries())

    def __contains__(self, which: object) -> bool:
        entries = self._entries()
        self._look_at_devices(entries)
        return any(which in (number, entry.port.name) for number, entry in entries.items())

    def __iter__(self) -> Iterator[Port]:
        entries = self._entries()
        self._look_at_devices(entries)
        return iter([entries[number].port for number in sorted(entries)])

    def get(self, which: int | str) -> Port:
        """The port of that number or name. NotFoundError if there is none."""
        port = self._entry(which).port
        if self._controlled or not self._is_here or port.ifindex is None:
            return port
        try:
            device = self._devices.device(port.ifindex)
            return _seen(port, device, self._near_end(port, device))
        except NotFoundError:
            return _seen(port, None, None)

    def _near_end(self, port: Port, device: Device) -> Device | None:
        """The host's end of an internal port, if it is here."""
        ifindex = _near_ifindex(port, device)
        with contextlib.suppress(NotFoundError):
            return self._devices.device(ifindex) if ifindex else None
        return None

    # ---- taking up what an earlier process left

    def _take_stock(self) -> None:
        """Find the ports again, finish the removal of those that are unfinished, and note what happened to their
        devices while nobody looked."""
        devices = self._devices.devices()
        by_index = {device.ifindex: device for device in devices}
        by_name = {device.name: device for device in devices}
        for entry, unfinished in list(self._recorded()):
            device = by_index.get(entry.port.ifindex or 0)
            if unfinished:
                device = device or by_name.get(self._switch_end(entry.port))
                entry.attached = self._find(entry, device)
                entry.port = _with_device(entry.port, device)
                self._discard(entry)
                continue
            self._known[entry.port.number] = entry
            self._take_up(entry, device, by_name.get(self._switch_end(entry.port)))
        for at in range(0, self._slots * _RING_WORDS, _RING_WORDS):
            self._rings[at + _QUOTA] = 0  # what lies in the ring, for nobody, waits for the next reader to drop it

    def _take_up(self, entry: _Entry, device: Device | None, namesake: Device | None) -> None:
        """`device`: the one with the ifindex that was the port's; `namesake`: the one with its name."""
        entry.attached = self._find(entry, device)
        if device is not None and entry.attached is not None:
            self._point_to(entry, device)
            if self._rename(entry, device.name):
                self._pending.append(PortEvent(PortChange.RENAMED, entry.port))
            return
        happened = self._lost(entry) if entry.port.ifindex is not None else []
        if namesake is not None:
            happened += self._returned(entry, namesake)
        if device is None or device is not namesake or entry.port.ifindex is None:
            self._pending += happened  # else it was there all the time, only our program was not

    def _find(self, entry: _Entry, device: Device | None) -> attach.Attachment | None:
        if device is None:
            return None
        return attach.find(device.ifindex, "ingress", owner=self._state.name, pin=self._pin(entry.port.number))

    # ---- adding and removing

    def add(self, name: str, number: int | None, kind: PortKind, peer_redirect: bool) -> Port:
        """Make device `name` a port; the lowest free number from 1 on if none is given.

        NotFoundError: no such device. ExistsError: it, or the number, is in use. TableFullError: max_ports.
        ConfigError: it cannot be a port.
        """
        self._state.need_control("adding a port")
        self._state.need_network()
        number = self._free_number() if number is None else number
        if not isinstance(number, int) or not 0 <= number <= MAX_PORT:
            raise ConfigError(f"port number {number!r} is outside 0..{MAX_PORT}")
        if number in self._known:
            raise ExistsError(f"port number {number} is {self._known[number].port.name} already")
        name = self._checked_device(name, kind, peer_redirect)
        used = {entry.slot for entry in self._known.values()}
        slot = next((slot for slot in range(1, self._slots) if slot not in used), None)
        if slot is None:
            raise TableFullError(f"no room for port {name}: the datapath has all {self._slots - 1} of max_ports")
        entry = _Entry(slot, Port(number, name, kind), peer_redirect)
        self._forget_counters(slot)
        self._write(entry)
        self._known[number] = entry
        try:
            self._make_device(entry)
            self._attach(entry, self._devices.device(self._switch_end(entry.port)))
        except BaseException:
            self._discard(entry)
            raise
        self._infos[slot * PORT_INFO.size + _AT_UNFINISHED] = 0
        self._pending.append(PortEvent(PortChange.ADDED, entry.port))
        return entry.port

    def remove(self, which: int | str) -> Port:
        """Take a port out of the datapath; a device that was made for it goes too."""
        self._state.need_control("removing a port")
        self._state.need_network()
        entry = self._entry(which)
        port = entry.port
        self._infos[entry.slot * PORT_INFO.size + _AT_UNFINISHED] = 1
        self._discard(entry)
        self._pending.append(PortEvent(PortChange.REMOVED, port))
        return port

    def _discard(self, entry: _Entry) -> None:
        """Take away all that is there of an unfinished port; the record last."""
        port = entry.port
        self._detach(entry)
        if port.kind is PortKind.INTERNAL:
            with contextlib.suppress(NotFoundError):
                self._devices.delete(self._switch_end(port))
        elif port.kind is PortKind.TAP:
            self._delete_tap(port)
        self._erase(entry)
        self._known.pop(port.number, None)
        self._strayed.discard(port.number)

    def _delete_tap(self, port: Port) -> None:
        """Ours bears our mark, or still the name that it was made under."""
        with contextlib.suppress(NotFoundError):
            self._devices.delete(hidden_name("vst", self._state.name, port.number))
        with contextlib.suppress(NotFoundError):
            device = self._devices.device(port.ifindex or port.name)
            if device.alias == owner_mark(self._state.name):
                self._devices.delete(device.ifindex)

    def _free_number(self) -> int:
        number = next((n for n in range(1, MAX_PORT + 1) if n not in self._known), None)
        if number is None:
            raise TableFullError(f"all port numbers 1..{MAX_PORT} are in use")
        return number

    def _checked_device(self, name: str, kind: PortKind, peer_redirect: bool) -> str:
        """The name of the device that is to be a port, if it can be one."""
        if not isinstance(name, str):
            raise ConfigError(f"port name {name!r} is no text")
        if any(entry.port.name == name for entry in self._known.values()):
            raise ExistsError(f"device {name} is a port of datapath {self._state.name} already")
        if kind is not PortKind.SYSTEM:
            if peer_redirect:
                raise ConfigError(f"port {name}: peer_redirect is for veth devices that exist, not for {kind.value}")
            if self._devices.exists(name):
                raise ExistsError(f"device {name} exists already")
            return name
        device = self._devices.device(name)
        if peer_redirect and device.kind != "veth":
            raise ConfigError(f"device {name} is no veth, so packets cannot be handed to its other end")
        self._refuse_unfit(device)
        return device.name  # `name` may be another name of it

    def _refuse_unfit(self, device: Device) -> None:
        if not device.mac:
            raise ConfigError(f"device {device.name} is no Ethernet device")
        owner = attach.owner_at(device.ifindex, "ingress", self._state.folder.parent)
        if owner is not None:
            raise ExistsError(f"device {device.name} is a port of datapath {owner} already")

    def _switch_end(self, port: Port) -> str:
        """The device that packets of the port come in by: of an internal port, the other end of a pair."""
        if port.kind is PortKind.INTERNAL:
            return hidden_name("vsp", self._state.name, port.number)
        return port.name

    def _make_device(self, entry: _Entry) -> None:
        port, mark = entry.port, owner_mark(self._state.name)
        if port.kind is PortKind.TAP:
            # under another name until it is marked, so that a device of this name is ours only if it bears the mark
            hidden = hidden_name("vst", self._state.name, port.number)
            self._devices.create_tap(hidden)
            self._devices.set_alias(hidden, mark)
            self._devices.set_name(hidden, port.name)
            self._devices.set_up(port.name)
        elif port.kind is PortKind.INTERNAL:
            hidden = self._switch_end(port)
            self._devices.create_veth(port.name, hidden)
            self._devices.set_alias(hidden, mark)
            self._devices.set_mtu(hidden, _MAX_MTU)  # that of the host's end alone is a bound
            self._devices.silence(hidden)
            self._devices.set_up(hidden)

    def _attach(self, entry: _Entry, device: Device) -> None:
        self._state.need_network()
        entry.attached = attach.attach(
            device.ifindex, "ingress", self._state.programs["vs_port"],
            owner=self._state.name, pin=self._pin(entry.port.number),
            mechanism="auto" if len(self._known) <= _TCX_PORTS else "clsact",
        )  # fmt: skip
        self._point_to(entry, device)

    def _detach(self, entry: _Entry) -> None:
        self._point_to(entry, None)
        if entry.attached is not None:
            attach.detach(entry.attached)
            entry.attached = None
        attach.detach_pin(self._pin(entry.port.number))  # it may hang at a device that has moved away

    def _pin(self, number: int) -> Path:
        return self._state.folder / "links" / str(number)

    # ---- what the kernel knows

    def _point_to(self, entry: _Entry, device: Device | None) -> None:
        """Let the port be this device, or none."""
        number = entry.port.number
        by_ifindex, value = self._state.maps["ports_by_ifindex"], number.to_bytes(4, "little")
        old = (self._words[number] & _U32).to_bytes(4, "little")
        flags = ifindex = 0
        if device is not None:
            ifindex, flags = device.ifindex, self._flags(entry, device)
        self._words[number] = ifindex | entry.slot << 32 | flags << 48  # one store, so never half
        if any(old) and bpf_syscall.map_lookup(by_ifindex, old, 4) == value and old != ifindex.to_bytes(4, "little"):
            bpf_syscall.map_delete(by_ifindex, old)
        if ifindex:
            bpf_syscall.map_update(by_ifindex, ifindex.to_bytes(4, "little"), value)
            self._state.memory["ifindex_hints"].value(ifindex & 0xFFFF)[:] = value
        self._by_ifindex.pop(entry.port.ifindex or 0, None)
        if ifindex:
            self._by_ifindex[ifindex] = entry
        near = self._near_end(entry.port, device) if device is not None else None
        self._have_near(entry, near)
        entry.port = _with_device(entry.port, device, near)

    def _have_near(self, entry: _Entry, near: Device | None) -> None:
        """Follow this device as the host's end of the port, or none."""
        self._by_near.pop(entry.near, None)
        self._strayed.discard(entry.port.number)
        entry.near = near.ifindex if near is not None else 0
        if entry.near:
            self._by_near[entry.near] = entry
        elif entry.port.kind is PortKind.INTERNAL:
            self._strayed.add(entry.port.number)

    def _flags(self, entry: _Entry, device: Device) -> int:
        """What the kernel is to know of a port's device. It drops, and does not count, what is handed to an end of a
        pair that is down or in this namespace. The other end cannot be asked; but the pair has a carrier exactly while
        both ends are up, and an end that moves to another namespace is set down for that."""
        flags = self._policed(entry.slot) | (_FLAG_TUNNEL if device.kind in _TUNNEL_DEVICES else 0)
        if entry.peer and device.peer_elsewhere and device.up and device.carrier:
            flags |= _FLAG_PEER
        return flags

    def _write(self, entry: _Entry) -> None:
        """Record a port, as unfinished; the kind, which makes it a record, last."""
        port, at = entry.port, entry.slot * PORT_INFO.size
        PORT_INFO.pack_into(self._infos, at, port.name.encode(), port.number, 0, 1, entry.peer)
        self._infos[at + _AT_KIND] = _KINDS.index(port.kind)

    def _erase(self, entry: _Entry) -> None:
        at = entry.slot * PORT_INFO.size
        self._words[entry.port.number] = 0
        self._infos[at + _AT_KIND] = 0
        self._infos[at : at + PORT_INFO.size] = bytes(PORT_INFO.size)

    def _forget_counters(self, slot: int) -> None:
        """Of a slot that no port has: nothing counts there meanwhile."""
        for stripe in range(self._state.stripes):
            begin = (slot + stripe * self._slots) * _COUNTER_WORDS
            for at in range(begin, begin + _COUNTER_WORDS):
                self._counters[at] = 0
        at = 2 * slot * _POLICER_WORDS
        self._policers[at + _COST] = self._policers[at + _POLICER_WORDS + _COST] = 0
        at = slot * _RING_WORDS
        # what is in the ring of an earlier port in this slot is not this port's
        self._rings[at + _CONSUMED] = self._rings[at + _PRODUCED]
        self._rings[at + _LOST] = 0
        self._rings[at + _QUOTA] = self._quota
        self._write_rate(at)

    # ---- upcalls

    def set_quota(self, quota: int) -> None:
        """Let each port put so many bytes of upcalls into the ring; 0 when nobody reads it any more. What it has in the
        ring is no longer owed. Ports may be using it: what the kernel counts (produced, lost) is not stored to, the
        rest word by word."""
        self._quota = quota
        for at in range(0, self._slots * _RING_WORDS, _RING_WORDS):
            self._rings[at + _QUOTA] = 0  # so that nothing is added meanwhile
            self._rings[at + _CONSUMED] = self._rings[at + _PRODUCED]
            self._rings[at + _QUOTA] = quota

    def set_miss_rate(self, cost_ns: int, burst_ns: int) -> None:
        """Let a miss of each port come up every `cost_ns`, as many at once as `burst_ns` is worth; 0: any number."""
        self._miss_rate = (cost_ns, burst_ns)
        for at in range(0, self._slots * _RING_WORDS, _RING_WORDS):
            self._write_rate(at)

    def bound_misses(self, number: int, cost_ns: int, burst_ns: int) -> None:
        """The same of one port, if that is less; 0: as all of them. Ports that are added later in its place have it no
        more."""
        slot = self.slot_of(number)
        if slot:
            self._write_rate(slot * _RING_WORDS, (cost_ns, burst_ns))

    def _write_rate(self, at: int, own: tuple[int, int] = (0, 0)) -> None:
        cost_ns, burst_ns = max(own, self._miss_rate)
        if self._rings[at + _MISS_COST] != cost_ns or self._rings[at + _MISS_BURST] != burst_ns:
            self._rings[at + _MISS_COST] = 0  # while the burst is that of another rate
            self._rings[at + _MISS_BURST] = burst_ns
            self._rings[at + _MISS_COST] = cost_ns

    def set_policing(self, which: int | str, policing: Policing) -> None:
        """Bound what comes in by a port, from now on; `Policing()` for no bound. What a port was policed by goes with
        it."""
        self._state.need_control("policing a port")
        entry = self._entry(which)
        for bucket, (cost, burst) in enumerate(policing.buckets):
            at = (2 * entry.slot + bucket) * _POLICER_WORDS
            if (self._policers[at + _COST], self._policers[at + _BURST]) != (cost, burst):
                self._policers[at + _COST] = 0  # while the burst is that of another rate
                self._policers[at + _BURST] = burst
                self._policers[at] = 0  # begins with a whole burst
                self._policers[at + _COST] = cost
        word = self._words[entry.port.number]
        self._words[entry.port.number] = word & ~(_FLAG_POLICED << 48) | self._policed(entry.slot) << 48

    def _policed(self, slot: int) -> int:
        """The flag, as the buckets say."""
        at = 2 * slot * _POLICER_WORDS
        return _FLAG_POLICED if self._policers[at + _COST] or self._policers[at + _POLICER_WORDS + _COST] else 0

    def slot_of(self, number: int) -> int:
        """Where the counters of port `number` are; 0, where all others are counted, if there is none."""
        entry = self._known.get(number)
        return entry.slot if entry is not None else 0

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
        at = entry.slot * _RING_WORDS
        produced, consumed, quota, lost = self._rings[at : at + 4]
        rx_errors = tx_dropped = 0
        if entry.port.ifindex is not None and self._is_here:
            with contextlib.suppress(NotFoundError):
                device = self._devices.stats(entry.port.ifindex)
                rx_errors, tx_dropped = device.rx_errors, device.tx_dropped
                tx_errors += device.tx_errors
        return PortStats(
            rx_packets, rx_bytes, tx_packets, tx_bytes, rx_errors, tx_errors, upcalls, lost, drops, tx_dropped,
            max(produced - consumed, 0), quota,
        )  # fmt: skip

    # ---- events

    def fileno(self) -> int:
        """Readable when something happened to a device."""
        assert self._monitor is not None, "only who controls a datapath hears of its devices"
        return self._monitor.fileno()

    @property
    def has_events(self) -> bool:
        """Whether something happened that `fileno` does not tell."""
        return bool(self._pending)

    def forget_events(self) -> None:
        """What happened so far is known."""
        self._pending.clear()

    def events(self) -> list[PortEvent]:
        """What happened to ports since the last call; the kernel's tables follow by that."""
        self._state.need_control("hearing of ports")
        assert self._monitor is not None
        happened = list(self._pending)
        self._pending.clear()
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
        for entry in list(self._known.values()):
            ifindex = entry.port.ifindex
            if ifindex is not None and ifindex not in present:
                happened += self._lost(entry)
            elif entry.near and entry.near not in present:
                happened += self._follow(LinkEvent(entry.near, "", False, 0, "", gone=True))
        for device in present.values():
            happened += self._follow(
                LinkEvent(device.ifindex, device.name, device.up, device.mtu, device.mac, carrier=device.carrier)
            )
        return happened

    def _follow(self, event: LinkEvent) -> list[PortEvent]:
        # hot: once per event, of any device
        known = self._by_ifindex.get(event.ifindex)
        if known is not None:
            return self._lost(known) if event.gone else self._changed(known, event)
        near = self._by_near.get(event.ifindex)
        if near is not None and event.gone:
            self._have_near(near, None)
            near.port = replace(near.port, up=True)  # whether it is, its carrier tells
        elif near is not None:
            return self._changed(near, replace(event, carrier=near.port.carrier))
        if event.gone or (len(self._by_ifindex) == len(self._known) and not self._strayed):
            return []
        for entry in self._known.values():
            if entry.port.number in self._strayed and entry.port.name == event.name and entry.port.ifindex is not None:
                return self._near_came(entry)
            if entry.port.ifindex is None and self._switch_end(entry.port) == event.name:
                with contextlib.suppress(NotFoundError):  # gone again, or renamed: that event is on its way
                    if (device := self._devices.device(event.ifindex)).name == event.name:
                        return self._returned(entry, device)
        return []

    def _near_came(self, entry: _Entry) -> list[PortEvent]:
        """Maybe: a device of that name is there."""
        with contextlib.suppress(NotFoundError):
            device = self._devices.device(entry.port.ifindex or 0)
            near = self._near_end(entry.port, device)
            if near is not None:
                self._have_near(entry, near)
                event = LinkEvent(near.ifindex, near.name, near.up, near.mtu, near.mac, carrier=device.carrier)
                return self._changed(entry, event)
        return []

    def _lost(self, entry: _Entry) -> list[PortEvent]:
        self._detach(entry)
        return [PortEvent(PortChange.LOST, entry.port)]

    def _returned(self, entry: _Entry, device: Device) -> list[PortEvent]:
        """A device of the port's name is there: if it can be a port, it is this one."""
        try:
            self._refuse_unfit(device)
            self._attach(entry, device)
        except VswitchError as problem:
            logger.warning("port %d (%s) does not return: %s", entry.port.number, entry.port.name, problem)
            return []
        return [PortEvent(PortChange.RETURNED, entry.port)]

    def _look_at_peer(self, entry: _Entry, ifindex: int) -> None:
        """Something happened to a device with `peer_redirect`: whether packets can be handed to its other end."""
        with contextlib.suppress(NotFoundError):  # it is gone: that event is on its way
            flags = self._flags(entry, self._devices.device(ifindex))
            self._words[entry.port.number] = ifindex | entry.slot << 32 | flags << 48

    def _rename(self, entry: _Entry, name: str) -> bool:
        """Whether the name is new. An internal port keeps the name that it was given, whatever its ends are called."""
        if entry.port.kind is PortKind.INTERNAL or name == entry.port.name:
            return False
        entry.port = replace(entry.port, name=name)
        at = entry.slot * PORT_INFO.size
        self._infos[at : at + _NAME_BYTES] = name.encode().ljust(_NAME_BYTES, b"\0")
        return True

    def _changed(self, entry: _Entry, event: LinkEvent) -> list[PortEvent]:
        if entry.peer:
            self._look_at_peer(entry, event.ifindex)
        happened = [PortChange.RENAMED] if self._rename(entry, event.name) else []
        old = entry.port
        if old.kind is PortKind.INTERNAL and event.ifindex == old.ifindex:  # what the host sees is told by its own end
            new = replace(old, carrier=event.carrier)
        else:
            new = replace(old, up=event.up, carrier=event.carrier, mtu=event.mtu, mac=event.mac)
        if (new.up and new.carrier) != (old.up and old.carrier):
            happened.append(PortChange.UP if new.up and new.carrier else PortChange.DOWN)
        if (new.mtu, new.mac) != (old.mtu, old.mac):
            happened.append(PortChange.CHANGED)
        entry.port = new
        return [PortEvent(change, new) for change in happened]


def _near_ifindex(port: Port, device: Device | None) -> int:
    """Of the host's end of an internal port whose other end is this device; 0 if it is in another namespace."""
    if port.kind is not PortKind.INTERNAL or device is None or device.peer_elsewhere:
        return 0
    return device.peer_ifindex or 0


def _with_device(port: Port, device: Device | None, near: Device | None = None) -> Port:
    """`near`: the host's end of an internal port, if it is here. While it is not, what it was last is shown."""
    if device is None:
        return replace(port, ifindex=None, up=False, carrier=False)
    if near is None and port.kind is PortKind.INTERNAL and port.mac:
        return replace(port, ifindex=device.ifindex, up=device.up, carrier=device.carrier)
    end = near or device
    return replace(port, ifindex=device.ifindex, up=end.up, carrier=device.carrier, mtu=end.mtu, mac=end.mac)


def _seen(port: Port, device: Device | None, near: Device | None) -> Port:
    """With the name that the device has by now. An internal port keeps the name that it was given."""
    if device is not None and port.kind is not PortKind.INTERNAL:
        port = replace(port, name=device.name)
    return _with_device(port, device, near)
