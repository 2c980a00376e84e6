"""A port scan that comes in by one port of a switch, and the connections that are made between others.

To a switch that makes a megaflow for each flow every packet of a scan is a new one; a switch whose megaflows are wide
does not notice. vswitch and Open vSwitch are measured as both. The Linux bridge decides about nothing: what it loses is
what the scan costs the machine, its sender included.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import IO

from bench.measure import SUBJECT, Figure, Plan, compare, interleave
from bench.reacting import Answered, Answering, Reactive, ReadingOpenVswitch
from bench.reactive import NEW_FLOWS
from bench.switches import Bridge, OpenVswitch
from bench.testbed import ROOT, Bed, Sender
from tests.lab import Host, LabError, patience

__all__ = ["LASTS", "MAX_ROUNDS", "Ground", "scan"]

SCAN_RATE = round(20_000 / patience())
"""Packets/s, each of a new flow."""
LASTS = 4
"""For how many measurements' time connections are made: tables must have time to fill."""
MAX_ROUNDS = 5
"""Each takes more than a minute."""
AHEAD_S = 0.3
"""The scan begins before the connections do, and ends after them."""
SERVER_PORT = 80
AT_A_TIME = (1, 4)
"""Connections under way."""
_SEEN = ", each flow"
EACH_FLOW = SUBJECT + _SEEN
BOUNDED = f"{EACH_FLOW}, {NEW_FLOWS:,} a second and port"
BY_POLICY = f"{EACH_FLOW}, by a policy"


class AnsweringBridge(Bridge):
    """The bridge, which always answers and has no process to do so."""

    @contextmanager
    def answering(self, seconds: float) -> Iterator[Answered]:  # noqa: ARG002
        yield Answered()


class AnsweringOpenVswitch(ReadingOpenVswitch):
    """Open vSwitch as a switch that learns (NORMAL), or with rules that make it see each flow."""

    protocol = "tcp"

    def __init__(self, *, each_flow: bool) -> None:
        super().__init__()
        self._each_flow = each_flow
        self.label += _SEEN if each_flow else ""

    def connect(self, ports: Sequence[str]) -> None:
        super().connect(ports)
        if not self._each_flow:
            self.daemon.set_flows(["actions=NORMAL"])

    @contextmanager
    def answering(self, seconds: float) -> Iterator[Answered]:  # noqa: ARG002
        """What it declines is forwarded all the same, so nobody counts it."""
        answered, before = Answered(), self.cpu_s()
        yield answered
        answered.cpu_s = self.cpu_s() - before
        self.forget()


@dataclass(frozen=True, slots=True)
class Scanned:
    """Connections/s without a scan and under it, of which so much is left (%); what arrived of the scan, packets/s; the
    CPU seconds that the switch's process took a second meanwhile."""

    quiet: float
    under: float
    scanned: float
    cpu: float

    @property
    def kept(self) -> float:
        return 100 * self.under / self.quiet if self.quiet else 0.0

    def __str__(self) -> str:
        return f"{self.quiet:,.0f}/s, then {self.under:,.0f}/s beside {self.scanned:,.0f}/s at {self.cpu:.2f} CPUs"


class Ground:
    """A client and a server on ports 1 and 2 of a switch; on 3 and 4 who scans, and a host that does not answer."""

    def __init__(self, bed: Bed, make: Callable[[], Reactive], seconds: float, *, apart: bool) -> None:
        self.switch, self._hosts = bed.connect(make, 4, apart=apart)
        client, server, scanner, target = self._hosts
        self._sink = bed.sink(target)
        self._sender = Sender(scanner, target, round(SCAN_RATE * (seconds + 3 * AHEAD_S)), scan=True)
        _start(server, "serve", server.ip)
        process = _start(client, "connect", server.ip)
        assert process.stdin is not None
        assert process.stdout is not None
        self._orders: IO[str] = process.stdin
        self._reports: IO[str] = process.stdout

    def measure(self, seconds: float, at_a_time: int) -> Scanned:
        """Without the scan and right afterwards under it."""
        quiet, _, _ = self._connections(seconds, at_a_time, scanned=False)
        return Scanned(quiet, *self._connections(seconds, at_a_time, scanned=True))

    def quiet(self, seconds: float, at_a_time: int) -> float:
        """Connections/s without the scan."""
        return self._connections(seconds, at_a_time, scanned=False)[0]

    def _connections(self, seconds: float, at_a_time: int, *, scanned: bool) -> tuple[float, float, float]:
        """Connections/s; packets/s of the scan that arrived; CPU seconds of the switch for each second."""
        client, server, scanner, target = self._hosts
        lasts = seconds + 2 * AHEAD_S
        with self.switch.answering(lasts + patience()) as answered:
            for here, there in ((client, server), (scanner, target)):  # a switch that learns knows them all then
                if not here.ping(there.ip, 1).received:
                    raise LabError(f"{self.switch.label}: {here.name} does not reach {there.name}")
            before, arrived = self._sink.count, 0.0
            if scanned:
                self._sender.start(lasts, rate=SCAN_RATE)
            time.sleep(AHEAD_S)
            self._orders.write(json.dumps({"seconds": seconds, "at_a_time": at_a_time}) + "\n")
            self._orders.flush()
            report = json.loads(self._reports.readline())
            if scanned:
                sent, took = self._sender.finish()
                if not 0.95 < sent / took / SCAN_RATE < 1.05:
                    raise LabError(f"{self.switch.label}: the scan was {sent / took:,.0f} packets/s, not {SCAN_RATE:,}")
                arrived = (self._sink.count - before) / took
        return report["made"] / report["seconds"], arrived, answered.cpu_s / lasts


def _start(host: Host, role: str, ip: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "bench.connections", role, ip, str(SERVER_PORT)]
    process = host.popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=None, cwd=ROOT)
    assert process.stdout is not None
    if process.stdout.readline() != "ready\n":
        raise LabError(f"bench.connections in {host.name} did not start")
    return process


def scan(plan: Plan) -> Iterator[Figure]:
    """Connections/s while another port is scanned: a SYN for each of 20,000 new flows a second."""
    makes: list[Callable[[], Reactive]] = [
        partial(Answering, policy="learning"),
        partial(Answering, EACH_FLOW, "exact"),
        partial(Answering, BOUNDED, "bounded"),
        partial(Answering, BY_POLICY, "stateful-tcp"),
        AnsweringBridge,
    ]
    open_vswitches = [partial(AnsweringOpenVswitch, each_flow=each_flow) for each_flow in (False, True)]
    seconds = LASTS * plan.seconds
    with Bed() as bed:
        grounds = [Ground(bed, make, seconds, apart=False) for make in makes]
        grounds += [Ground(bed, make, seconds, apart=True) for make in open_vswitches]
        for at_a_time in AT_A_TIME:
            runs = {ground.switch.label: partial(ground.measure, seconds, at_a_time) for ground in grounds}
            samples = interleave(f"scan, {at_a_time} at a time", min(plan.rounds, MAX_ROUNDS), runs, str)
            for case, unit, member in _MEMBERS:
                figures = {name: [getattr(scanned, member) for scanned in each] for name, each in samples.items()}
                for subject, peers in _PEERS.items():
                    name = f"{subject.replace(SUBJECT, case)}, {at_a_time} at a time"
                    yield from compare(name, unit, {label: figures[label] for label in (subject, *peers)}, subject)


_PEERS = {
    SUBJECT: (Bridge.label, OpenVswitch.label),
    EACH_FLOW: (Bridge.label, OpenVswitch.label + _SEEN),
    BOUNDED: (Bridge.label, OpenVswitch.label + _SEEN),
    BY_POLICY: (Bridge.label, OpenVswitch.label + _SEEN),
}
_MEMBERS = (
    ("connections", "1/s", "quiet"),
    ("connections under a scan", "1/s", "under"),
    ("connections kept under a scan", "%", "kept"),
)
