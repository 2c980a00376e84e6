"""Packets that nobody knows yet: new flows a second, the first packet's round trip, and who suffers from a flood."""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from bench.measure import SUBJECT, Figure, Plan, compare, interleave
from bench.reactive import RULES, SUBTABLES, other_port
from bench.switches import OpenVswitch, Vswitch
from bench.testbed import ROOT, Bed, Senders, Sink, Switch
from tests.lab import Host, LabError, patience, wait_until
from vswitch.api import Datapath

__all__ = [
    "OFFERED",
    "Answered",
    "Ground",
    "Reactive",
    "fairness",
    "first",
    "make_grounds",
    "offer_without_mercy",
    "upcalls",
]

FLOOD_RATE = round(300_000 / patience())
"""New flows/s offered: more than anybody handles, less than what leaves the sender's CPU no time for anything else."""
OFFERED = 4
"""For how many measurements' time: queues and tables must have time to fill."""
BURST_FLOWS = 8000
"""Fewer than Open vSwitch begins to refuse (it starts with a limit of 10,000 megaflows and moves it as it sees fit)."""
BURST_RATE = round(100_000 / patience())
FIRST_PACKETS = 200
PROBES = 1400
PROBE_RATE = 700
PINGS_PER_S = 200
_ECHO_PORT = 7
_MAX_FLOWS = max(round((1 << 19) / patience()), 1 << 16)


@dataclass(slots=True)
class Answered:
    """What a switch did while it was answering, known at the end: packets that it sent on without making a megaflow
    (`declined`), and the CPU seconds of its process."""

    declined: int = 0
    cpu_s: float = 0.0


class Reactive(Switch, Protocol):
    """A switch that decides about new flows, ports two by two (`other_port`)."""

    def answering(self, seconds: float) -> AbstractContextManager[Answered]:
        """Be ready for so long; afterwards there are no megaflows."""


class Answering(Vswitch):
    """A datapath that `bench.reactive` answers for, in a process of its own."""

    def __init__(self, label: str = SUBJECT, policy: str = "exact") -> None:
        super().__init__(label=label, max_flows=_MAX_FLOWS)
        self._name = self.datapath.name
        self._policy = policy
        self._process: subprocess.Popen[str] | None = None

    def connect(self, ports: Sequence[str]) -> None:
        for device in ports:
            self.datapath.ports.add(device)
        self.datapath.close()
        command = [sys.executable, "-m", "bench.reactive", self._name, self._policy]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        self._wait_until_ready()

    def _read(self) -> str:
        assert self._process is not None
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def _wait_until_ready(self) -> None:
        if self._read() != "ready\n":
            raise LabError(f"{self.label}: bench.reactive ended")

    @contextmanager
    def answering(self, seconds: float) -> Iterator[Answered]:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(f"{seconds}\n")
        self._process.stdin.flush()
        answered = Answered()
        yield answered
        answered.cpu_s = json.loads(self._read())["cpu_s"]
        self._wait_until_ready()

    def close(self) -> None:
        if self._process is None:
            self.datapath.close()
        else:
            self._process.communicate(timeout=60 * patience())  # it ends with its input
        Datapath.delete(self._name)


class ReadingOpenVswitch(OpenVswitch):
    """Open vSwitch with rules that read addresses and ports into registers, so that each flow gets a megaflow of its
    own: one rule does it, which costs less than rules for each port would."""

    protocol = "udp"

    def connect(self, ports: Sequence[str]) -> None:
        protocol = self.protocol.upper()
        reads = (f"{protocol}_SRC[]->NXM_NX_REG0[0..15]", f"{protocol}_DST[]->NXM_NX_REG0[16..31]")
        read = ",".join(f"move:NXM_OF_{each}" for each in (*reads, "IP_SRC[]->NXM_NX_REG1[]"))
        for number, port in enumerate(ports, 1):
            self.daemon.add_port(port, number)
        numbers = range(1, len(ports) + 1)
        self.daemon.set_flows(
            [f"priority=2,{self.protocol},in_port={n},actions={read},output:{other_port(n)}" for n in numbers]
            + [f"priority=1,in_port={n},actions=output:{other_port(n)}" for n in numbers]
        )

    @contextmanager
    def answering(self, seconds: float) -> Iterator[Answered]:  # noqa: ARG002 - it always answers
        answered = Answered()
        cpu_s, declined = self.cpu_s(), self.daemon.declined()
        yield answered
        answered.cpu_s = self.cpu_s() - cpu_s
        time.sleep(2)  # its threads add up what they have counted once a second or so
        answered.declined = self.daemon.declined() - declined
        self.forget()

    def forget(self) -> None:
        """Have no megaflows."""
        self.daemon.forget_megaflows()
        wait_until(lambda: not self.daemon.megaflows(), "Open vSwitch forgets its megaflows", 10)

    def cpu_s(self) -> float:
        """Seconds that its daemon has taken so far."""
        fields = Path(f"/proc/{self.daemon.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Ground:
    """A reactive switch, hosts in pairs that send to each other, and a sink at the second of each pair."""

    switch: Reactive
    hosts: Sequence[Host]
    sinks: Sequence[Sink]
    senders: Sequence[Senders]


def make_grounds(bed: Bed, hosts: int, *makes: Callable[[], Reactive]) -> dict[str, Ground]:
    """One for each kind of switch, by its label."""
    found = {}
    for make in makes:
        switch, made = bed.connect(make, hosts)
        sinks = [bed.sink(host) for host in made[1::2]]
        senders = [Senders(a, b) for a, b in zip(made[::2], made[1::2], strict=True)]
        found[switch.label] = Ground(switch, made, sinks, senders)
    return found


# --------------------------------------------------------------------------------------------------- new flows


@dataclass(frozen=True, slots=True)
class Offered:
    """What became of new flows: how many a second were served, and the switch's CPU time for each."""

    per_s: float
    cpu_us: float

    def __str__(self) -> str:
        return f"{self.per_s:,.0f}/s at {self.cpu_us:.1f} us"


def upcalls(plan: Plan) -> Iterator[Figure]:
    """New flows a second, each packet one: decided, installed, sent on. Offered without mercy, then in a burst."""
    many = f"{SUBJECT}, {SUBTABLES} subtables, {RULES:,} rules"
    several = f"{SUBJECT}, megaflows under {SUBTABLES} masks"
    policy = f"{SUBJECT}, by a policy with state"
    with Bed() as bed:
        makes: list[Callable[[], Reactive]] = [Answering, partial(ReadingOpenVswitch, plan.open_vswitch)]
        flavours = {SUBJECT: "exact", many: "classifier", several: "several-masks", policy: "stateful"}
        if plan.open_vswitch == "netdev":  # where the kernel module is, there is no time for more
            makes += [partial(Answering, label, flavours[label]) for label in flavours if label != SUBJECT]
        grounds = make_grounds(bed, 2, *makes)
        runs = {name: partial(offer_without_mercy, ground, OFFERED * plan.seconds) for name, ground in grounds.items()}
        samples = interleave("new flows", plan.rounds, runs, str)
        for case, unit, member in (("new flows", "flows/s", "per_s"), ("new flows, CPU time of each", "us", "cpu_us")):
            figures = {name: [getattr(offered, member) for offered in each] for name, each in samples.items()}
            for subject in [label for label in flavours if label in figures]:
                yield from compare(subject.replace(SUBJECT, case), unit, figures, subject, own_kind=False)
        case = f"new flows, a burst of {BURST_FLOWS:,}"
        slower = flavours.keys() - {SUBJECT}
        bursts = {name: partial(_burst, ground) for name, ground in grounds.items() if name not in slower}
        yield from compare(case, "flows/s", interleave(case, plan.rounds, bursts))


def offer_without_mercy(ground: Ground, seconds: float) -> Offered:
    """More than can be served, so what is served is what can be."""
    flows = round(FLOOD_RATE * seconds)
    sender = ground.senders[0].of(flows)
    with ground.switch.answering(seconds + 0.2) as answered:
        before = ground.sinks[0].count
        sender.start(seconds, rate=FLOOD_RATE)
        _, took = sender.finish()
        time.sleep(0.1)
        served = ground.sinks[0].count - before
    served = max(served - answered.declined, 1)
    return Offered(served / took, 1e6 * answered.cpu_s / served)


def _burst(ground: Ground) -> float:
    """Flows/s from the first packet sent to the last that arrives."""
    sink = ground.sinks[0]
    sender = ground.senders[0].of(BURST_FLOWS)
    with ground.switch.answering(patience()):
        before = seen = sink.count
        begin = last = time.perf_counter()
        sender.start(10 * patience(), rate=BURST_RATE, limit=BURST_FLOWS)
        while (now := time.perf_counter()) - last < 0.2 * patience():
            if sink.count != seen:
                seen, last = sink.count, now
            time.sleep(0.001 * patience())
        sender.finish()
    return (seen - before) / (last - begin)


# --------------------------------------------------------------------------------------------------- first packets


def first(plan: Plan) -> Iterator[Figure]:
    """Round trip of the first packet of a flow (UDP echo, new in both directions), and of the second."""
    case = "first packet, there and back"
    with Bed() as bed:
        grounds = make_grounds(bed, 2, Answering, partial(ReadingOpenVswitch, plan.open_vswitch))
        for ground in grounds.values():
            server = ground.hosts[1]
            echo = server.popen([sys.executable, "-c", _ECHO, server.ip, str(_ECHO_PORT)], stdout=subprocess.PIPE)
            assert echo.stdout is not None
            echo.stdout.readline()
        runs = {name: partial(_echo, ground) for name, ground in grounds.items()}
        samples = interleave(case, plan.rounds, runs, lambda sample: f"{sample[0]:.0f} us, then {sample[1]:.0f} us")
        figures = {name: [one for one, _ in each] for name, each in samples.items()}
        figures["vswitch, second packet"] = [two for _, two in samples[SUBJECT]]
        yield from compare(case, "us", figures)


_ECHO = """
import socket, sys
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind((sys.argv[1], int(sys.argv[2])))
print("ready", flush=True)
while True:
    sock.sendto(*sock.recvfrom(100))
"""


def _echo(ground: Ground) -> tuple[float, float]:
    """Median round trips of first and second packets, microseconds."""
    client, server = ground.hosts
    times: tuple[list[float], list[float]] = ([], [])
    with ground.switch.answering(FIRST_PACKETS * 0.01 + 1), client.inside():
        while len(times[1]) < FIRST_PACKETS:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.settimeout(2 * patience())
                sock.connect((server.ip, _ECHO_PORT))
                for kind in times:
                    begin = time.perf_counter()
                    sock.send(b"ping")
                    sock.recv(100)
                    kind.append(1e6 * (time.perf_counter() - begin))
            time.sleep(0.002)
    return statistics.median(times[0]), statistics.median(times[1])


# --------------------------------------------------------------------------------------------------- fairness


@dataclass(frozen=True, slots=True)
class Suffered:
    """What the second port saw: new flows lost (%), and the 99th percentile of its ping (ms)."""

    lost: float
    ping_ms: float

    def __str__(self) -> str:
        return f"{self.lost:.1f} % lost, ping {self.ping_ms:.3g} ms"


def fairness(plan: Plan) -> Iterator[Figure]:
    """A flood of new flows on one port: new flows that another port loses meanwhile, and the tail of its ping."""
    quiet = f"{SUBJECT}, no flood"
    with Bed() as bed:
        grounds = make_grounds(bed, 4, Answering, partial(ReadingOpenVswitch, plan.open_vswitch))
        runs = {name: partial(_suffer, ground, True) for name, ground in grounds.items()}
        runs[quiet] = partial(_suffer, grounds[SUBJECT], False)
        samples = interleave("beside a flood", plan.rounds, runs, str)
        lost = {name: [sample.lost for sample in each] for name, each in samples.items()}
        pings = {name: [sample.ping_ms for sample in each] for name, each in samples.items()}
        yield from compare(f"beside a flood, lost of {PROBES:,} new flows", "%", lost)
        yield from compare("beside a flood, ping 99th percentile", "ms", pings)


def _suffer(ground: Ground, flooded: bool) -> Suffered:
    """The flood goes from port 1 to 2, the rest between 3 and 4."""
    a, b = ground.hosts[2:]
    seconds = PROBES / PROBE_RATE
    flood = ground.senders[0].of(round(FLOOD_RATE * (seconds + 1)))
    probes = ground.senders[1].of(PROBES, pinned=False)
    with ground.switch.answering(seconds + 3):
        before = ground.sinks[1].count
        a.ping(b.ip, 2, 0.01)
        if flooded:
            flood.start(seconds + 1, rate=FLOOD_RATE)
        time.sleep(0.3)
        probes.start(60 * patience(), rate=PROBE_RATE, limit=PROBES)
        pinged = a.ping(b.ip, round(PINGS_PER_S * seconds), 1 / PINGS_PER_S)
        probes.finish()
        if flooded:
            flood.finish()
        time.sleep(0.3)
        arrived = ground.sinks[1].count - before
    times = sorted(pinged.rtts_ms) + [1000.0] * (pinged.sent - pinged.received)
    return Suffered(100 * (1 - arrived / PROBES), times[round(0.99 * (len(times) - 1))])
