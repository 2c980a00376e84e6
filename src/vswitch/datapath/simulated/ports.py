"""Ports without devices, and what they count."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from vswitch.base.errors import ConfigError, ExistsError, NotFoundError, TableFullError
from vswitch.base.limits import MAX_PORT
from vswitch.datapath.backend import Control
from vswitch.datapath.ebpf.layout import PORT_RING
from vswitch.model.port import Policing, Port, PortChange, PortEvent, PortKind, PortStats

__all__ = ["SimulatedPorts", "Tally"]

_WORDS = PORT_RING.size // 8
_PRODUCED, _CONSUMED, _QUOTA = range(3)


@dataclass(slots=True)
class Tally:
    """What one port counts."""

    slot: int
    port: Port
    rx_packets: int = 0
    rx_bytes: int = 0
    tx_packets: int = 0
    tx_bytes: int = 0
    upcalls: int = 0
    lost: int = 0
    drops: Counter[str] = field(default_factory=Counter)
    policing: Policing = field(default_factory=Policing)
    policed_until: list[int] = field(default_factory=lambda: [0, 0])


class SimulatedPorts:
    """The ports of one simulated datapath. `shares`: of each slot what it has produced and consumed of the ring, and
    its quota, as the kernel lays it out."""

    def __init__(self, control: Control, max_ports: int) -> None:
        self._control = control
        self._name = control.name
        self._max_ports = max_ports
        self._tallies: dict[int, Tally] = {}
        self._nobody = Tally(0, Port(MAX_PORT + 1, ""))
        self._events: list[PortEvent] = []
        self._quota = 0
        self._miss_rate = (0, 0)
        self._miss_rates: dict[int, tuple[int, int]] = {}
        self._full_at_ns: dict[int, int] = {}
        self.shares = memoryview(bytearray(PORT_RING.size * (max_ports + 1))).cast("Q")

    # ---- what is there

    def __iter__(self) -> Iterator[Port]:
        self._control.need_open()
        return iter([self._tallies[number].port for number in sorted(self._tallies)])

    def __len__(self) -> int:
        self._control.need_open()
        return len(self._tallies)

    def __contains__(self, which: object) -> bool:
        return any(which in (number, tally.port.name) for number, tally in self._tallies.items())

    def _find(self, which: int | str) -> Tally:
        self._control.need_open()
        for number, tally in self._tallies.items():
            if which in (number, tally.port.name):
                return tally
        raise NotFoundError(f"datapath {self._name} has no port {which!r}")

    def get(self, which: int | str) -> Port:
        """By number or name. NotFoundError."""
        return self._find(which).port

    def add(self, name: str, number: int | None, kind: PortKind, _peer_redirect: bool) -> Port:
        """See `Ports.add`; there need be no device."""
        self._control.need_open()
        if not isinstance(name, str) or not name:
            raise ConfigError(f"port name {name!r} is no text")
        if number is None:
            number = next(free for free in range(1, MAX_PORT + 2) if free not in self._tallies)
        if not isinstance(number, int) or not 0 <= number <= MAX_PORT:
            raise ConfigError(f"port number {number!r} is outside 0..{MAX_PORT}")
        if name in self or number in self._tallies:
            raise ExistsError(f"datapath {self._name} has port {number if number in self._tallies else name!r} already")
        if len(self._tallies) >= self._max_ports:
            raise TableFullError(f"{self._max_ports} ports are the most that there can be (max_ports)")
        used = {tally.slot for tally in self._tallies.values()}
        slot = next(free for free in range(1, self._max_ports + 1) if free not in used)
        port = Port(number, name, kind, ifindex=number + 1, up=True, mtu=1500, carrier=True)
        self._tallies[number] = Tally(slot, port)
        self.shares[slot * _WORDS + _CONSUMED] = self.shares[slot * _WORDS + _PRODUCED]
        self.shares[slot * _WORDS + _QUOTA] = self._quota
        self._events.append(PortEvent(PortChange.ADDED, port))
        return port

    def remove(self, which: int | str) -> Port:
        """NotFoundError."""
        port = self._find(which).port
        del self._tallies[port.number]
        self._full_at_ns.pop(port.number, None)
        self._miss_rates.pop(port.number, None)
        self._events.append(PortEvent(PortChange.REMOVED, port))
        return port

    def tally(self, number: int) -> Tally:
        """Where a port counts; who is none counts for nobody."""
        return self._tallies.get(number, self._nobody)

    def stats(self, which: int | str) -> PortStats:
        """What it has counted."""
        tally = self._find(which)
        at = tally.slot * _WORDS
        produced, consumed, quota = self.shares[at : at + 3]
        return PortStats(
            tally.rx_packets, tally.rx_bytes, tally.tx_packets, tally.tx_bytes, 0, 0, tally.upcalls, tally.lost,
            dict(tally.drops), 0, max(produced - consumed, 0), quota,
        )  # fmt: skip

    # ---- upcalls

    def set_quota(self, quota: int) -> None:
        """Bytes of the ring that each port may fill; 0: nobody reads it."""
        self._quota = quota
        for at in range(0, len(self.shares), _WORDS):
            self.shares[at + _CONSUMED] = self.shares[at + _PRODUCED]
            self.shares[at + _QUOTA] = quota

    def set_miss_rate(self, cost_ns: int, burst_ns: int) -> None:
        """Let a miss of each port come up every `cost_ns`, as many at once as `burst_ns` is worth; 0: any number."""
        self._miss_rate = (cost_ns, burst_ns)
        self._miss_rates.clear()

    def bound_misses(self, number: int, cost_ns: int, burst_ns: int) -> None:
        """The same of one port, if that is less; 0: as all of them."""
        self._miss_rates[number] = (cost_ns, burst_ns)

    def in_rate(self, number: int, now_ns: int) -> bool:
        """Whether one more miss of this port may come up."""
        cost_ns, burst_ns = max(self._miss_rates.get(number, (0, 0)), self._miss_rate)
        if not cost_ns:
            return True
        full_at_ns = max(self._full_at_ns.get(number, 0), now_ns) + cost_ns
        if full_at_ns - now_ns > burst_ns:
            return False
        self._full_at_ns[number] = full_at_ns
        return True

    def set_policing(self, which: int | str, policing: Policing) -> None:
        """See `Ports.set_policing`. NotFoundError."""
        tally = self._find(which)
        tally.policing, tally.policed_until = policing, [0, 0]

    def may_enter(self, number: int, length: int, now_ns: int) -> bool:
        """Whether a packet of so many bytes may come in by the port now; then it has taken what it costs."""
        tally, now = self.tally(number), now_ns << 10
        of_bytes, of_packets = tally.policing.buckets
        for bucket, (cost, burst), amount in ((1, of_packets, 1), (0, of_bytes, length)):
            begin = max(tally.policed_until[bucket], now)
            if cost and begin - now >= burst:
                return False
            tally.policed_until[bucket] = begin + cost * amount
        return True

    def slot_of(self, number: int) -> int:
        """Where its share of the ring is; 0 if there is no such port."""
        return self.tally(number).slot

    def owes(self, number: int) -> int:
        """Bytes of the ring that it may still fill; below 0 if it has filled more than its quota."""
        at = self.slot_of(number) * _WORDS
        return self.shares[at + _QUOTA] - (self.shares[at + _PRODUCED] - self.shares[at + _CONSUMED])

    @property
    def quota(self) -> int:
        """Bytes of the ring that each port may fill."""
        return self._quota

    def produce(self, number: int, size: int) -> None:
        """It has filled so many more."""
        self.shares[self.slot_of(number) * _WORDS + _PRODUCED] += size

    # ---- events

    def fileno(self) -> int:
        """There is nothing to wait for."""
        return -1

    @property
    def has_events(self) -> bool:
        """Whether something happened."""
        return bool(self._events)

    def events(self) -> list[PortEvent]:
        """What happened since the last call."""
        happened, self._events = self._events, []
        return happened

    def forget_events(self) -> None:
        """What happened so far is of no interest."""
        self._events.clear()
