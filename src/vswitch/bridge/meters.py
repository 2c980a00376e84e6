"""OpenFlow's meters carried out by the datapath's: which of its numbers each has, and what it has counted.

OpenFlow numbers meters as it likes, the datapath from 0 up to the size that it was made with. Packets to controllers
pass no meter of the datapath; theirs are policed here.
"""

from __future__ import annotations

from vswitch.api.meters import Meters
from vswitch.base.errors import NotFoundError, VswitchError
from vswitch.ofproto.meters import CONTROLLER_METER, Meter, MeterTable

__all__ = ["ControllerMeters", "DatapathMeters"]

_BURST = 4
"""The flag that says that a meter's burst counts."""

_LEAST_KBIT = 525.0
"""A meter whose burst is not said lets a second's worth pass after a pause, as Open vSwitch's do, and the longest
packet at least."""

_LAST_OF_FLOWS = 0xFFFF0000


class DatapathMeters:
    """Keeps the datapath's meters as the tables say. `unmade`: meters for which the datapath had no room; their packets
    pass."""

    def __init__(self, meters: Meters, table: MeterTable, room: int) -> None:
        self._meters = meters
        self._table = table
        self._free = list(range(room - 1, -1, -1))
        self._numbers: dict[int, int] = {}
        self._as_set: dict[int, tuple[int, object]] = {}
        self.unmade: set[int] = set()
        self._nowhere = room

    def number(self, meter: int) -> int:
        """The datapath's number of OpenFlow's meter; one of none, whose packets pass, if it has no other."""
        return self._numbers.get(meter, self._nowhere)

    def sync(self) -> set[int]:
        """Make the datapath's meters as the tables say by now. Those that came, went or changed."""
        wanted = {meter.id: meter for meter in self._table if meter.id <= _LAST_OF_FLOWS}
        changed = set()
        for gone in self._numbers.keys() - wanted.keys():
            number = self._numbers.pop(gone)
            self._as_set.pop(gone, None)
            self._meters.delete(number)
            self._free.append(number)
            changed.add(gone)
        self.unmade &= wanted.keys()
        for meter in wanted.values():
            setting = (meter.flags, meter.bands)
            if self._as_set.get(meter.id) != setting:
                self._set(meter)
                self._as_set[meter.id] = setting
                changed.add(meter.id)
        return changed

    def _set(self, meter: Meter) -> None:
        number = self._numbers.get(meter.id)
        if number is None:
            if not self._free:
                self.unmade.add(meter.id)
                return
            number = self._free.pop()
        band = meter.bands[0]
        burst = float(band.burst if meter.flags & _BURST and band.burst else band.rate)
        if burst < _LEAST_KBIT and meter.kbps and not meter.flags & _BURST:
            burst = _LEAST_KBIT
        try:
            self._meters.set(number, band.rate, "kbps" if meter.kbps else "pktps", burst)
        except VswitchError:
            self.unmade.add(meter.id)
            self._free.append(number)
            self._numbers.pop(meter.id, None)
        else:
            self._numbers[meter.id] = number

    def count(self) -> None:
        """Tell the tables what was counted by now."""
        for meter in self._table:
            number = self._numbers.get(meter.id)
            if number is None:
                continue
            try:
                counted = self._meters.get(number)
            except NotFoundError:
                continue
            meter.packets = counted.packets + counted.dropped_packets
            meter.bytes = counted.bytes + counted.dropped_bytes
            meter.band_counts = [[counted.dropped_packets, counted.dropped_bytes]]


class ControllerMeters:
    """Polices packets to controllers: by the meter that the action names, else by the virtual one that stands for all
    of them, if there is one."""

    def __init__(self, table: MeterTable) -> None:
        self._table = table
        self._full_at_ns: dict[int, int] = {}

    def passes(self, number: int | None, length: int, now_ns: int) -> bool:
        """Whether a packet of so many bytes may go to controllers now."""
        meter = self._table.get(CONTROLLER_METER if number is None else number)
        if meter is None:
            return True
        virtual = number is None
        if virtual:
            meter.packets += 1
            meter.bytes += length
        band = meter.bands[0]
        units, least = (length * 8 / 1000, length * 8 / 1000) if meter.kbps else (1.0, 1.0)
        burst = band.burst if meter.flags & _BURST and band.burst else max(band.rate / 10, least)
        full_at_ns = max(self._full_at_ns.get(meter.id, 0), now_ns) + round(units * 1e9 / band.rate)
        if full_at_ns - now_ns <= burst * 1e9 / band.rate:
            self._full_at_ns[meter.id] = full_at_ns
            return True
        if virtual:
            meter.band_counts[0][0] += 1
            meter.band_counts[0][1] += length
        return False
