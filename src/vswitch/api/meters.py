"""`dp.meters`: bounds on rates, which the action `Meter(number)` enforces."""

from __future__ import annotations

from dataclasses import dataclass

from vswitch.base.errors import ConfigError, NotFoundError
from vswitch.base.limits import MAX_METER_BURST, MAX_METER_BURST_S, MAX_METER_RATE
from vswitch.datapath.backend import Control
from vswitch.datapath.ebpf.layout import METER

__all__ = ["MeterInfo", "Meters"]

_SCALE = 10
"""The kernel counts in 2^-10 ns, so that the time of a byte at 100 Gbit/s is not rounded away."""

_LONGEST_PACKET = 65535 + 40 + 14 + 8
"""Bytes that a packet has at most: a GSO packet, with headers of IPv6 and Ethernet, and two VLAN tags."""

_WORDS = METER.size // 8
_FULL_AT, _COST, _KIND, _WINDOW = range(4)
"""Words of `struct meter`; behind them are the counters."""


@dataclass(frozen=True, slots=True)
class MeterInfo:
    """A meter: `rate` in kbit/s or packets/s (`unit` "kbps" or "pktps"), `burst` in kbit or packets, and what it saw
    since it was set: `packets` and `bytes` that passed, and those that were dropped. Bytes are those of whole
    frames."""

    number: int
    rate: int
    unit: str
    burst: float
    packets: int = 0
    bytes: int = 0
    dropped_packets: int = 0
    dropped_bytes: int = 0


class Meters:
    """Meters by number, 0 to max_meters - 1. A packet whose meter does not exist passes.

    ConfigError: there can be no meter of that number. What sets or deletes raises BusyError on a datapath that was
    opened for reading."""

    def __init__(self, control: Control, words: memoryview) -> None:
        self._control = control
        self._words = words
        self._count = words.nbytes // METER.size

    def set(self, number: int, rate: int, unit: str = "kbps", burst: float | None = None) -> None:
        """Make or change meter `number`: `rate` kbit/s ("kbps") or packets/s ("pktps"), 1 to 10^9; `burst` kbit or
        packets that may pass at once after a pause, up to 10^9 and to 52 days' worth.

        By default the burst is a tenth of a second's worth, and at least the longest packet: 525 kbit (64 KB and
        headers), or 1 packet. What TCP or UDP has not cut into segments yet (GSO) is one packet, and passes or is
        dropped whole: those that are longer than the burst never pass, so that TCP through a meter with a small burst
        gets less than the rate, or nothing.

        ConfigError: rate, unit or burst cannot be. A meter that was there begins to count from 0."""
        self._control.need_control("setting a meter")
        self._check(number)
        if not isinstance(rate, int) or not 1 <= rate <= MAX_METER_RATE:
            raise ConfigError(f"meter {number}: rate {rate!r} is outside 1..{MAX_METER_RATE}")
        if unit not in ("kbps", "pktps"):
            raise ConfigError(f"meter {number}: unit {unit!r} is neither kbps nor pktps")
        least = 1 if unit == "pktps" else _LONGEST_PACKET * 8 / 1000
        burst = max(rate / 10, least) if burst is None else burst
        second = 10**9 << _SCALE
        most = min(MAX_METER_BURST_S * rate, MAX_METER_BURST)
        if not isinstance(burst, int | float) or not 0 < burst <= most:
            raise ConfigError(f"meter {number}: burst {burst!r} is outside 0..{most} (of rate {rate} {unit})")
        counts_bytes = unit == "kbps"
        cost = 8 * second // (rate * 1000) if counts_bytes else second // rate
        window = round(burst * second) // rate
        self._write(number, cost, int(counts_bytes) | rate << 32, max(window, 1))

    def delete(self, number: int) -> None:
        """Remove meter `number`: its packets pass from now on. NotFoundError if there is none."""
        self._control.need_control("deleting a meter")
        self.get(number)
        self._write(number, 0, 0, 0)

    def _write(self, number: int, cost: int, kind: int, window: int) -> None:
        """Word by word, as packets may be metered meanwhile: while there is no window, they pass."""
        at = number * _WORDS
        self._words[at + _WINDOW] = 0
        for place in (_FULL_AT, *range(_WINDOW + 1, _WORDS)):
            self._words[at + place] = 0
        self._words[at + _COST] = cost
        self._words[at + _KIND] = kind
        self._words[at + _WINDOW] = window

    def get(self, number: int) -> MeterInfo:
        """Meter `number` and what it has counted. NotFoundError if there is none."""
        self._control.need_open()
        self._check(number)
        _, _, counts_bytes, rate, window, *counted = METER.unpack_from(self._words, number * METER.size)
        if not window:
            raise NotFoundError(f"meter {number} does not exist")
        second = 10**9 << _SCALE
        return MeterInfo(number, rate, "kbps" if counts_bytes else "pktps", round(window * rate / second, 3), *counted)

    def list(self) -> list[MeterInfo]:
        """All meters that exist, by number."""
        self._control.need_open()
        return [
            self.get(number) for number in range(self._count) if METER.unpack_from(self._words, number * METER.size)[4]
        ]

    def _check(self, number: int) -> None:
        if not isinstance(number, int) or not 0 <= number < self._count:
            raise ConfigError(f"meter {number!r} is outside 0..{self._count - 1} (max_meters)")
