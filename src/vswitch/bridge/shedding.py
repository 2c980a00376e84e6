"""Packets of floods that are not even sent up: what no controller has time for is dropped in the kernel.

A packet that comes up, is translated, and then dropped for want of a controller's time costs as much as a new flow that
is installed. Of a port that has a small share of every controller (`floods`) the kernel therefore lets so many misses
a second come up as keep its share busy: `PASSED` times what it is sent. As that share follows what the controller
takes, so does this.

That bounds all misses of the port. So it is done only while nearly all of them are packet-ins: of a port whose other
new flows have been more than one in `OTHERS` of late everything comes up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from vswitch.base.errors import NotFoundError
from vswitch.bridge.floods import Floods
from vswitch.bridge.ports import datapath_number
from vswitch.datapath.backend import PortStore

__all__ = ["Shedding"]

PASSED, SPARE = 4, 50
"""Misses a second that come up: so many for each packet-in that is sent, and so many besides."""

OTHERS, SLACK = 32, 24
"""One in so many misses may be something else than a packet-in; and so many, which are still in the ring."""

ENOUGH = 500
"""Misses that must have come up before that is told of them."""

_KEPT = 0.9
"""Of what was counted, with each tick: the last second counts."""

_BURST = 16
"""Misses at once."""


class Shedding:
    """`shed`: misses that the kernel has dropped of floods, for want of a controller's time."""

    def __init__(self, ports: PortStore) -> None:
        self._ports = ports
        self._counted: dict[int, tuple[int, int, int, int]] = {}  # port -> upcalls, lost, dropped, offered, as of last
        self.undecided = False  # a flood is new: another look, soon, tells what comes up by it
        self._misses: dict[int, tuple[float, float]] = {}  # port -> of late, and those of them that were no packet-ins
        self._bounded: set[int] = set()
        self.shed = 0

    def begin(self, told: Iterable[tuple[Floods[Any], Mapping[int, int]]]) -> None:
        """Floods may be new: what they have counted so far is of no interest."""
        told = list(told)
        for port in {port for floods, _ in told for port in floods} - self._counted.keys():
            with suppress(NotFoundError):
                self._counted[port] = self._count(port, told)
                self.undecided = True

    def _count(self, port: int, told: Sequence[tuple[Floods[Any], Mapping[int, int]]]) -> tuple[int, int, int, int]:
        stats = self._ports.stats(datapath_number(port))
        offered = max(floods.offered(port) for floods, _ in told if port in floods)
        return stats.upcalls, stats.lost, stats.drops.get("upcall_rate", 0), offered

    def tick(self, told: Iterable[tuple[Floods[Any], Mapping[int, int]]]) -> None:
        """Some time has gone by, a tenth of a second as a rule. `told`: of each controller its floods, and how many
        packet-ins of each other port it was sent of late. (Before the floods see to their tick.)"""
        told = list(told)
        wanted: dict[int, float] = {}
        counted: dict[int, tuple[int, int, int, int]] = {}
        for port in {port for floods, _ in told for port in floods}:
            try:
                now = counted[port] = self._count(port, told)
            except NotFoundError:
                continue
            came, missed, shed, asked = (a - b for a, b in zip(now, self._counted.get(port, now), strict=True))
            self.shed += shed if port in self._bounded else 0
            for floods, _ in told:
                if port in floods:
                    floods.missed(port, missed)
            misses, others = self._misses.get(port, (0.0, 0.0))
            self._misses[port] = _KEPT * misses + came, _KEPT * others + came - asked
            rate = self._passed(port, told)
            if rate is not None and self._are_packet_ins(port):
                wanted[port] = rate
        self._counted = counted
        self._misses = {port: late for port, late in self._misses.items() if port in counted}
        self.undecided = any(self._misses[port][0] < ENOUGH for port in counted.keys() - wanted.keys())
        self._bound(wanted)

    def _are_packet_ins(self, port: int) -> bool:
        """Whether what came up by the port of late was hardly anything else, as far as that is known."""
        misses, others = self._misses.get(port, (0.0, 0.0))
        return (misses >= ENOUGH or port in self._bounded) and others <= misses / OTHERS + SLACK

    @staticmethod
    def _passed(port: int, told: list[tuple[Floods[Any], Mapping[int, int]]]) -> float | None:
        """How many misses a second are of use; None: all may be."""
        rates: list[float] = []
        for floods, others in told:
            rate = floods.passes_per_s(port) if port in floods else None
            if rate is None and (port in floods or others.get(port)):
                return None
            rates += [] if rate is None else [rate]
        return PASSED * max(rates) + SPARE

    def _bound(self, wanted: Mapping[int, float]) -> None:
        for port in self._bounded - wanted.keys():
            self._ports.bound_misses(datapath_number(port), 0, 0)
        for port, rate in wanted.items():
            cost_ns = round(1e9 / rate)
            self._ports.bound_misses(datapath_number(port), cost_ns, _BURST * cost_ns)
        self._bounded = set(wanted)
