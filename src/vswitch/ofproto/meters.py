"""Meters: the rates that flows may have, and what was counted.

The policing is the datapath's; here is what controllers have configured, and who uses it. The virtual meters, of
packets to controllers and of the slow path, are numbers like others that no flow may name.
"""

from __future__ import annotations

from collections.abc import Iterator

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
"""Meters of one switch: each has state in the datapath."""
MAX_METER_BANDS = 1
"""Bands of one meter: the datapath has one rate for each."""
LAST_METER = 0xFFFF0000
SLOW_PATH_METER, CONTROLLER_METER, ALL_METERS = 0xFFFFFFFD, 0xFFFFFFFE, 0xFFFFFFFF
_KBPS, _PKTPS, _BURST, _STATS = 1, 2, 4, 8
_KINDS = ("drop",)


class Meter:
    """A meter and what it has counted; `band_counts`: [packets, bytes] dropped by each band. `rules`: the flows that
    name it."""

    __slots__ = ("band_counts", "bands", "bytes", "created_ns", "flags", "id", "packets", "rules")

    def __init__(self, number: int, flags: int, bands: tuple[MeterBand, ...], now_ns: int) -> None:
        self.id = number
        self.flags = flags
        self.bands = bands
        self.created_ns = now_ns
        self.packets = self.bytes = 0
        self.band_counts = [[0, 0] for _ in bands]
        self.rules: dict[Rule, None] = {}

    @property
    def kbps(self) -> bool:
        """Whether it counts kbit/s; else packets."""
        return not self.flags & _PKTPS

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
        if not band.rate:
            raise OpenFlowError("meter_mod_failed.bad_rate", f"meter {mod.id}: rate 0")
