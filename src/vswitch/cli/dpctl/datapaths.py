"""add-dp, del-dp, list, show: whole datapaths."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from dataclasses import asdict, fields
from typing import Any

from vswitch import Datapath, Options, Port, PortKind, PortStats
from vswitch.cli.dpctl import upcalls
from vswitch.cli.dpctl.common import print_json, reading
from vswitch.cli.dpctl.ports import read_interface

__all__ = ["add_dp", "del_dp", "dump_dps", "show"]


def add_dp(arguments: Namespace) -> None:
    """Make it with all its ports, or not at all."""
    interfaces = [read_interface(text) for text in arguments.interfaces]
    sizes = {each.name: getattr(arguments, each.name) for each in fields(Options)}
    options = Options(**{name: size for name, size in sizes.items() if size is not None})
    with Datapath.create(arguments.dp, local=not arguments.no_local, options=options) as datapath:
        for interface in interfaces:
            interface.add_to(datapath)
        datapath.keep()


def del_dp(arguments: Namespace) -> None:
    """Remove it, whoever made it."""
    Datapath.delete(arguments.dp)


def dump_dps(arguments: Namespace) -> None:
    """One name a line."""
    names = Datapath.list()
    if arguments.json:
        print_json(names)
    else:
        print("".join(f"{name}\n" for name in names), end="")


def show(arguments: Namespace) -> None:
    """As ovs-dpctl shows it, with what this datapath counts."""
    described = []
    for name in arguments.dps or Datapath.list():
        with reading(name) as datapath:
            if arguments.json:
                described.append(_describe(datapath))
            else:
                for line in _lines(datapath, counters=arguments.statistics, more=arguments.more):
                    print(line)
    if arguments.json:
        print_json(described)


def _describe(datapath: Datapath) -> dict[str, Any]:
    upcall_stats = upcalls.describe(datapath.upcall_stats)
    ports = []
    for port in datapath.ports:
        stats = datapath.ports.stats(port.number)
        counted = {**asdict(stats), "held_back": stats.held_back}
        ports.append({**asdict(port), "kind": port.kind.value, "stats": counted})
    return {"name": datapath.name, **asdict(datapath.stats()), "upcall_stats": upcall_stats, "ports": ports}


def _lines(datapath: Datapath, counters: bool, more: bool) -> Iterator[str]:
    stats, came_up = datapath.stats(), datapath.upcall_stats
    packets = stats.hit + stats.missed
    yield f"{datapath.name}:"
    yield f"  lookups: hit:{stats.hit} missed:{stats.missed} lost:{stats.lost}"
    yield f"  flows: {stats.flows}"
    yield f"  masks: hit:{stats.masks_tried} total:{stats.masks} hit/pkt:{_ratio(stats.masks_tried, packets):.2f}"
    yield f"  cache: hit:{stats.cache_hits} hit-rate:{100 * _ratio(stats.cache_hits, packets):.2f}%"
    for line in upcalls.lines(came_up, histogram=counters or more):
        yield f"  {line}"
    for port in datapath.ports:
        counted = datapath.ports.stats(port.number) if counters or came_up.waiting else PortStats()
        yield f"  port {port.number}: {port.name}{_remarks(port, counted, more)}"
        if counters:
            yield from _counters(counted)


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _remarks(port: Port, stats: PortStats, more: bool) -> str:
    """What is not as it is with most ports."""
    remarks = [port.kind.value] if port.kind is not PortKind.SYSTEM or more else []
    if port.ifindex is None:
        remarks.append("device away")
    elif not port.up:
        remarks.append("down")
    if stats.held_back:
        remarks.append("held back")
    if more and port.ifindex is not None:
        remarks += [f"mtu={port.mtu}", f"mac={port.mac}"]
    return f" ({', '.join(remarks)})" if remarks else ""


def _counters(stats: PortStats) -> Iterator[str]:
    dropped = sum(stats.drops.values())
    yield f"    RX packets:{stats.rx_packets} errors:{stats.rx_errors} dropped:{dropped} bytes:{stats.rx_bytes}"
    sent = f"packets:{stats.tx_packets} errors:{stats.tx_errors} dropped:{stats.tx_dropped} bytes:{stats.tx_bytes}"
    yield f"    TX {sent}"
    yield f"    {upcalls.of_port(stats)}"
    if stats.drops:
        yield f"    drops: {' '.join(f'{reason}:{count}' for reason, count in stats.drops.items())}"
