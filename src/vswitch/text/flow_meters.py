"""Meters as ovs-ofctl writes them: `meter=1,kbps,burst,bands=type=drop,rate=1000,burst_size=100`."""

from __future__ import annotations

import re
from typing import Any

from vswitch.base.errors import ConfigError, TextError
from vswitch.messages.flows import MeterBand, MeterCommand, MeterMod
from vswitch.messages.stats import MeterConfig, MeterFeatures, MeterStats
from vswitch.text.flow import format_duration
from vswitch.text.flow_words import Item, check_length, fail, items, read_bounded

__all__ = [
    "format_meter",
    "format_meter_features",
    "format_meter_mod",
    "format_meter_stats",
    "parse_meter",
    "parse_meter_id",
]

MAX_METER = 0xFFFF0000
METER_WORDS = {"slowpath": 0xFFFFFFFD, "controller": 0xFFFFFFFE, "all": 0xFFFFFFFF}
_NAMES = {number: word for word, number in METER_WORDS.items()}
_FLAGS = {"kbps": 1, "pktps": 2, "burst": 4, "stats": 8}
_BANDS = re.compile(r"(?<![^\s,])bands?\s*=")
_BAND_NUMBERS = {"rate": ("rate", 0xFFFFFFFF), "burst_size": ("burst", 0xFFFFFFFF), "prec_level": ("prec_level", 0xFF)}
_BAND_TYPES = ("drop", "dscp_remark")
_BAND_BITS = {"drop": 1 << 1, "dscp_remark": 1 << 2}


def parse_meter_id(text: str) -> int:
    """Which meter: `meter=3`, `3`, `all`, `controller` or `slowpath`. ConfigError: it is none."""
    number = text.strip().removeprefix("meter=").removeprefix("meter:")
    known = METER_WORDS.get(number)
    return read_bounded("meter", number, MAX_METER, 1) if known is None else known


def parse_meter(text: str, command: MeterCommand = MeterCommand.ADD) -> MeterMod:
    """The change of a meter that `text` writes, as ovs-ofctl's add-meter, mod-meter and del-meters read it. TextError
    shows where it goes wrong."""
    check_length(text)
    found = _BANDS.search(text)
    stop = found.start() if found else len(text)
    number: int | None = None
    flags = 0
    for item in items(text, 0, stop):
        if item.key == "meter":
            try:
                number = parse_meter_id(text[item.start : item.stop])
            except ConfigError as error:
                raise TextError(str(error), text, item.start) from None
        elif item.key in _FLAGS and command is not MeterCommand.DELETE:
            flags |= _FLAGS[item.key]
        else:
            fail(
                f"a meter has meter, {', '.join(_FLAGS)} and bands, and nothing called {item.key!r}", text, item.key_at
            )
    if command is MeterCommand.DELETE:
        if found is not None:
            fail("this command takes no bands", text, stop)
        return MeterMod(command, METER_WORDS["all"] if number is None else number, 0)
    if number is None:
        fail("which meter? meter=NUMBER is missing", text, 0)
    if not flags & 3:
        fail("the meter counts kbps or pktps, and the text says neither", text, 0)
    if found is None:
        fail("the meter has no bands, as bands=type=drop,rate=1000", text, stop)
    return MeterMod(command, number, flags, _read_bands(text, found.end(), flags))


def _read_bands(text: str, start: int, flags: int) -> tuple[MeterBand, ...]:
    bands: list[dict[str, Any]] = []
    places: list[Item] = []
    for item in items(text, start, len(text)):
        value = text[item.start : item.stop]
        if item.key == "type":
            if value not in _BAND_TYPES:
                fail(f"type {value!r} of a band is none of {', '.join(_BAND_TYPES)}", text, item.start)
            bands.append({"kind": value})
            places.append(item)
        elif item.key not in _BAND_NUMBERS:
            fail(f"a band has type, {', '.join(_BAND_NUMBERS)}, and nothing called {item.key!r}", text, item.key_at)
        elif not bands:
            fail("a band begins with its type, as type=drop", text, item.key_at)
        else:
            parameter, most = _BAND_NUMBERS[item.key]
            try:
                bands[-1][parameter] = read_bounded(item.key, value, most)
            except ConfigError as error:
                raise TextError(str(error), text, item.start) from None
    for band, item in zip(bands, places, strict=True):
        if not band.get("rate"):
            fail("the band has no rate", text, item.key_at)
        if ("burst" in band) != bool(flags & _FLAGS["burst"]):
            fail("a band has burst_size if the meter says burst, and only then", text, item.key_at)
    if not bands:
        fail("the meter has no bands, as bands=type=drop,rate=1000", text, start)
    return tuple(MeterBand(**band) for band in bands)


def format_meter_id(number: int) -> str:
    """A meter as it is named."""
    return _NAMES.get(number, str(number))


def format_meter(meter: MeterConfig | MeterMod) -> str:
    """A meter as dump-meters prints it, a line for each band."""
    flags = "".join(f" {word}" for word, bit in _FLAGS.items() if meter.flags & bit)
    lines = [f"meter={format_meter_id(meter.id)}{flags} bands="]
    for band in meter.bands:
        line = f"type={band.kind} rate={band.rate}"
        if meter.flags & _FLAGS["burst"]:
            line += f" burst_size={band.burst}"
        if band.kind == "dscp_remark":
            line += f" prec_level={band.prec_level}"
        lines.append(line)
    return "\n".join(lines)


_VERBS = {MeterCommand.ADD: "ADD", MeterCommand.MODIFY: "MOD", MeterCommand.DELETE: "DEL"}


def format_meter_mod(mod: MeterMod) -> str:
    """A change of a meter as ofp-print shows it, behind the name of the message."""
    return f"{_VERBS[mod.command]} {format_meter(mod)}"


def format_meter_stats(stats: MeterStats) -> str:
    """What a meter has counted, as meter-stats prints it."""
    head = f"meter:{format_meter_id(stats.id)} flow_count:{stats.flows} packet_in_count:{stats.packets}"
    lines = [f"{head} byte_in_count:{stats.bytes} duration:{format_duration(stats.duration_ns)} bands:"]
    lines += [f"{number}: packet_count:{band[0]} byte_count:{band[1]}" for number, band in enumerate(stats.bands)]
    return "\n".join(lines)


def format_meter_features(features: MeterFeatures) -> str:
    """What meters there can be, as meter-features prints it."""
    kinds = " ".join(word for word, bit in _BAND_BITS.items() if features.band_types & bit)
    words = " ".join(word for word, bit in _FLAGS.items() if features.capabilities & bit)
    return (
        f"max_meter:{features.max_meters} max_bands:{features.max_bands} max_color:{features.max_colors}\n"
        f"band_types: {kinds}\ncapabilities: {words}"
    )
