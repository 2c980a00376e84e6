"""Meters: the rates that flows may have, and what was counted.

The policing is the datapath's; here is what controllers have configured, and who uses it. The virtual meters, of
packets to controllers and of the slow path, are numbers like others that no flow may name.
"""

from __future__ import annotations

from collections.abc import Iterator

from vswitch.base.limits import MAX_METER_BURST, MAX_METER_BURST_S, MAX_METER_RATE
from vswitch.messages.errors import OpenFlowError
from vswitch.messages.flows import MeterBand, MeterCommand, MeterMod
from vswitch.messages.stats import MeterConfig, MeterFeatures, MeterStats
from vswitch.ofproto.journal import Journal
from vswitch.ofproto.rule import Rule

__all__ = [
    "ALL_METERS",
    "CONTROLLER_METER",
    "LAST_METER",
    "MAX_METERS",
    "MAX_METER_BANDS",
    "SLOW_PATH_METER",
    "Meter",
    "MeterTable",
]

MAX_METERS = 65536
"""Meters of one switch: each has 64 bytes in the datapath."""
MAX_METER_BANDS = 1
"""Bands of one meter: the datapath has one rate for each."""
LAST_METER = 0xFFFF0000
SLOW_PATH_METER, CONTROLLER_METER, ALL_METERS = 0xFFFFFFFD, 0xFFFFFFFE, 0xFFFFFFFF
_KBPS, _PKTPS, _BURST, _STATS = 1, 2, 4, 8
_KINDS = ("drop",)
_LONGEST_PACKET_KBIT = 525.0


class Meter:
    """A meter and what it has counted; `band_counts`: [packets, bytes] dropped by each band. `rules`: the flows that
    name it. `_here`: what was counted of packets that pass no meter of the datapath: packets and bytes in all, and
    dropped."""

    __slots__ = ("_here", "band_counts", "bands", "bytes", "created_ns", "flags", "id", "packets", "rules")

    def __init__(self, number: int, flags: int, bands: tuple[MeterBand, ...], now_ns: int) -> None:
        self.id = number
        self.flags = flags
        self.bands = bands
        self.created_ns = now_ns
        self.packets = self.bytes = 0
        self.band_counts = [[0, 0] for _ in bands]
        self._here = (0, 0, 0, 0)
        self.rules: dict[Rule, None] = {}

    @property
    def burst(self) -> float:
        """How much may pass at once after a pause, in kbit or packets. If that is not said, a second's worth, as Open
        vSwitch has it, and the longest packet at least."""
        band = self.bands[0]
        if self.flags & _BURST:
            return float(band.burst or band.rate)
        return max(float(band.rate), _LONGEST_PACKET_KBIT if self.kbps else 1.0)

    @property
    def kbps(self) -> bool:
        """Whether it counts kbit/s; else packets."""
        return not self.flags & _PKTPS

    def counted_here(self, size: int, *, dropped: bool) -> None:
        """One more packet, of so many bytes, that passed no meter of the datapath."""
        self.packets, self.bytes = self.packets + 1, self.bytes + size
        if dropped:
            self.band_counts[0][0] += 1
            self.band_counts[0][1] += size
        here = self._here
        self._here = (here[0] + 1, here[1] + size, here[2] + dropped, here[3] + size * dropped)

    def counted_by_datapath(self, packets: int, size: int, dropped_packets: int, dropped_bytes: int) -> None:
        """All that the datapath's meter has counted by now."""
        here = self._here
        self.packets, self.bytes = packets + here[0], size + here[1]
        self.band_counts = [[dropped_packets + here[2], dropped_bytes + here[3]]]

    def statistics(self, now_ns: int) -> MeterStats:
        """What it has counted."""
        bands = tuple((packets, size) for packets, size in self.band_counts)
        return MeterStats(self.id, len(self.rules), self.packets, self.bytes, now_ns - self.created_ns, bands)

    def config(self) -> MeterConfig:
        """What it is."""
        return MeterConfig(self.id, self.flags, self.bands)


class MeterTable:
    """Number -> meter."""

    def __init__(self, journal: Journal | None = None, *, max_meters: int = MAX_METERS) -> None:
        self._meters: dict[int, Meter] = {}
        self._journal = journal or Journal()
        self.max_meters = max_meters

    def __contains__(self, number: object) -> bool:
        return number in self._meters

    def __len__(self) -> int:
        return len(self._meters)

    def __iter__(self) -> Iterator[Meter]:
        return iter([self._meters[number] for number in sorted(self._meters)])

    def get(self, number: int) -> Meter | None:
        """The meter of this number, if there is one."""
        return self._meters.get(number)

    def apply(self, mod: MeterMod, now_ns: int) -> list[Meter]:
        """Add, change or delete meters; those that were deleted, whose flows are to go. Raises OpenFlowError as section
        7.5.4.13 of OpenFlow 1.5.1 has it."""
        if mod.command == MeterCommand.DELETE:
            return self._delete(mod.id)
        if not 1 <= mod.id <= LAST_METER and mod.id not in (SLOW_PATH_METER, CONTROLLER_METER):
            raise OpenFlowError("meter_mod_failed.invalid_meter", f"meter {mod.id:#x} is outside 1..{LAST_METER:#x}")
        known = self._meters.get(mod.id)
        if mod.command == MeterCommand.ADD:
            if known is not None:
                raise OpenFlowError("meter_mod_failed.meter_exists", f"there is a meter {mod.id} already")
            if len(self._meters) >= self.max_meters:
                raise OpenFlowError("meter_mod_failed.out_of_meters", f"there are {self.max_meters} meters already")
            _check(mod)
            self._journal.note(self._meters.pop, mod.id)
            self._meters[mod.id] = Meter(mod.id, mod.flags, mod.bands, now_ns)
            return []
        if mod.command != MeterCommand.MODIFY:
            raise OpenFlowError("meter_mod_failed.bad_command", f"meter-mod: unknown command {mod.command}")
        if known is None:
            raise OpenFlowError("meter_mod_failed.unknown_meter", f"there is no meter {mod.id}")
        _check(mod)
        self._journal.note(_restore, known, known.flags, known.bands, known.band_counts)
        _restore(known, mod.flags, mod.bands, [[0, 0] for _ in mod.bands])
        return []

    def _delete(self, number: int) -> list[Meter]:
        """No error if there is none (OpenFlow 1.3.5 section A.3.4.4)."""
        if number == ALL_METERS:
            gone = list(self)
        else:
            if not 1 <= number <= LAST_METER and number not in (SLOW_PATH_METER, CONTROLLER_METER):
                raise OpenFlowError(
                    "meter_mod_failed.invalid_meter", f"meter {number:#x} is outside 1..{LAST_METER:#x}"
                )
            gone = [self._meters[number]] if number in self._meters else []
        for meter in gone:
            self._journal.note(self._meters.__setitem__, meter.id, meter)
            del self._meters[meter.id]
        return gone

    # ---- what requests ask for

    def chosen(self, number: int) -> list[Meter]:
        """The meter of this number, or all. OpenFlowError: there is none."""
        if number == ALL_METERS:
            return list(self)
        meter = self._meters.get(number)
        if meter is None:
            raise OpenFlowError("meter_mod_failed.unknown_meter", f"there is no meter {number}")
        return [meter]

    def features(self) -> MeterFeatures:
        """What meters there can be."""
        return MeterFeatures(self.max_meters, 1 << 1, _KBPS | _PKTPS | _BURST | _STATS, MAX_METER_BANDS, 0)


def _restore(meter: Meter, flags: int, bands: tuple[MeterBand, ...], counts: list[list[int]]) -> None:
    meter.flags, meter.bands, meter.band_counts = flags, bands, counts


def _check(mod: MeterMod) -> None:
    if mod.flags & ~(_KBPS | _PKTPS | _BURST | _STATS) or mod.flags & (_KBPS | _PKTPS) == _KBPS | _PKTPS:
        text = f"meter {mod.id}: flags {mod.flags:#x} are not one of kbps and pktps, with burst and stats"
        raise OpenFlowError("meter_mod_failed.bad_flags", text)
    if not mod.flags & (_KBPS | _PKTPS):
        raise OpenFlowError("meter_mod_failed.bad_flags", f"meter {mod.id}: flags have neither kbps nor pktps")
    if len(mod.bands) > MAX_METER_BANDS:
        text = f"meter {mod.id}: {len(mod.bands)} bands are more than {MAX_METER_BANDS}"
        raise OpenFlowError("meter_mod_failed.out_of_bands", text)
    if not mod.bands:
        raise OpenFlowError("meter_mod_failed.out_of_bands", f"meter {mod.id}: no band")
    for band in mod.bands:
        if band.kind not in _KINDS:
            text = f"meter {mod.id}: the datapath has no band {band.kind}, only {', '.join(_KINDS)}"
            raise OpenFlowError("meter_mod_failed.bad_band", text)
        if not 1 <= band.rate <= MAX_METER_RATE:
            text = f"meter {mod.id}: rate {band.rate} is outside 1..{MAX_METER_RATE}"
            raise OpenFlowError("meter_mod_failed.bad_rate", text)
        most = min(band.rate * MAX_METER_BURST_S, MAX_METER_BURST)
        if mod.flags & _BURST and band.burst > most:
            text = f"meter {mod.id}: burst {band.burst} is outside 0..{most} (of rate {band.rate})"
            raise OpenFlowError("meter_mod_failed.bad_burst", text)
