"""OpenFlow's meters carried out by the datapath's: which of its numbers each has, and what it has counted.

OpenFlow numbers meters as it likes, the datapath from 0 up to the size that it was made with. Packets that come up pass
no meter of the datapath; theirs are policed here.
"""

from __future__ import annotations

from collections.abc import Iterable

from vswitch.api.meters import Meters
from vswitch.base.errors import NotFoundError
from vswitch.ofproto.meters import CONTROLLER_METER, LAST_METER, SLOW_PATH_METER, Meter, MeterTable

__all__ = ["DatapathMeters", "PolicedHere"]


class DatapathMeters:
    """Keeps the datapath's meters as the tables say, which have no more meters than it has `room` for."""

    def __init__(self, meters: Meters, table: MeterTable, room: int) -> None:
        self._meters = meters
        self._table = table
        self._free = list(range(room - 1, -1, -1))
        self._numbers: dict[int, int] = {}
        self._as_set: dict[int, tuple[int, object]] = {}
        self._nowhere = room

    def number(self, meter: int) -> int:
        """The datapath's number of OpenFlow's meter; one of none, whose packets pass, if there is no such meter."""
        return self._numbers.get(meter, self._nowhere)

    def sync(self, numbers: Iterable[int]) -> set[int]:
        """Make these meters of the datapath as the tables say by now. Those that came, went or changed."""
        changed = set()
        for number in set(numbers):
            if number > LAST_METER:
                continue
            meter = self._table.get(number)
            if meter is None:
                if number in self._numbers:
                    self._delete(number)
                    changed.add(number)
            elif self._as_set.get(number) != (meter.flags, meter.bands):
                self._set(meter)
                changed.add(number)
        return changed

    def _delete(self, meter: int) -> None:
        number = self._numbers.pop(meter)
        del self._as_set[meter]
        self._meters.delete(number)
        self._free.append(number)

    def _set(self, meter: Meter) -> None:
        number = self._numbers.get(meter.id)
        if number is None:
            number = self._numbers[meter.id] = self._free.pop()
        self._meters.set(number, meter.bands[0].rate, "kbps" if meter.kbps else "pktps", meter.burst)
        self._as_set[meter.id] = (meter.flags, meter.bands)

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
            passed = counted.packets + counted.dropped_packets, counted.bytes + counted.dropped_bytes
            meter.counted_by_datapath(*passed, counted.dropped_packets, counted.dropped_bytes)


class PolicedHere:
    """The meters of packets that come up. Packets to controllers pass the one that their action names, else the virtual
    one of controllers; packets that missed pass the virtual one of the slow path, before anything is found out about
    them. Without such a meter all pass. What passes is counted, and what is dropped, as the datapath's meters do."""

    def __init__(self, table: MeterTable) -> None:
        self._table = table
        self._full_at_ns: dict[int, int] = {}

    def passes_to_controllers(self, number: int | None, length: int, now_ns: int) -> bool:
        """Whether a packet of so many bytes may go to controllers now."""
        meter = self._table.get(CONTROLLER_METER if number is None else number)
        return meter is None or self._passes(meter, length, now_ns)

    def passes_slow_path(self, length: int, now_ns: int) -> bool:
        """Whether a packet of so many bytes may be looked at now that missed."""
        meter = self._table.get(SLOW_PATH_METER)
        return meter is None or self._passes(meter, length, now_ns)

    @property
    def polices_slow_path(self) -> bool:
        """Whether there is a meter for it."""
        return SLOW_PATH_METER in self._table

    def _passes(self, meter: Meter, length: int, now_ns: int) -> bool:
        band = meter.bands[0]
        units = length * 8 / 1000 if meter.kbps else 1.0
        full_at_ns = max(self._full_at_ns.get(meter.id, 0), now_ns) + round(units * 1e9 / band.rate)
        passes = full_at_ns - now_ns <= meter.burst * 1e9 / band.rate
        if passes:
            self._full_at_ns[meter.id] = full_at_ns
        meter.counted_here(length, dropped=not passes)
        return passes
