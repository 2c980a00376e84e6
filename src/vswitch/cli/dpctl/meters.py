"""add-meter, mod-meter, del-meter, dump-meters: bounds on rates, written as `id=1 rate=1000 unit=kbps burst=100`."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import asdict
from typing import Any

from vswitch import Datapath, ExistsError, MeterInfo, NotFoundError
from vswitch.cli.arguments import UsageError
from vswitch.cli.dpctl.common import controlling, number, print_json, reading

__all__ = ["add_meter", "del_meter", "dump_meters", "mod_meter"]

_SETTINGS = {"id": int, "rate": int, "unit": str, "burst": float}


def add_meter(arguments: Namespace) -> None:
    """One that does not exist yet."""
    name, settings = _read(arguments)
    with controlling(name) as datapath:
        if _exists(datapath, settings["number"]):
            raise ExistsError(f"meter {settings['number']} exists already: mod-meter changes it")
        datapath.meters.set(**settings)


def mod_meter(arguments: Namespace) -> None:
    """One that exists."""
    name, settings = _read(arguments)
    with controlling(name) as datapath:
        datapath.meters.get(settings["number"])
        datapath.meters.set(**settings)


def del_meter(arguments: Namespace) -> None:
    """Its number may be written `id=1`, too."""
    text = arguments.meter.removeprefix("id=")
    with controlling(arguments.dp) as datapath:
        datapath.meters.delete(_value("id", text))


def dump_meters(arguments: Namespace) -> None:
    """Each as add-meter takes it, then its counters."""
    with reading(arguments.dp) as datapath:
        meters = datapath.meters.list()
    if arguments.json:
        print_json([asdict(meter) for meter in meters])
    else:
        for meter in meters:
            print(_line(meter))


def _read(arguments: Namespace) -> tuple[str | None, dict[str, Any]]:
    """Datapath, and what `Meters.set` takes. (The first word is the datapath only if it is no setting.)"""
    words, name = list(arguments.settings), arguments.dp
    if name is not None and "=" in name:
        words, name = [name, *words], None
    given: dict[str, Any] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if key not in _SETTINGS or not equals:
            raise UsageError(f"{word!r} is none of id=N, rate=N, unit=kbps|pktps, burst=N")
        if key in given:
            raise UsageError(f"{key} is given twice")
        given[key] = _value(key, text)
    for key in ("id", "rate"):
        if key not in given:
            raise UsageError(f"{key}=N is missing")
    given["number"] = given.pop("id")
    return name, given


def _value(key: str, text: str) -> Any:
    try:
        return _SETTINGS[key](text)
    except ValueError:
        raise UsageError(f"{key} {text!r} is not a number") from None


def _exists(datapath: Datapath, number: int) -> bool:
    try:
        datapath.meters.get(number)
    except NotFoundError:
        return False
    return True


def _line(meter: MeterInfo) -> str:
    return (
        f"id={meter.number} rate={meter.rate} unit={meter.unit} burst={number(meter.burst)}, "
        f"packets:{meter.packets}, bytes:{meter.bytes}, "
        f"dropped_packets:{meter.dropped_packets}, dropped_bytes:{meter.dropped_bytes}"
    )
