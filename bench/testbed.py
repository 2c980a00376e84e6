"""The ground that all contestants stand on: pairs of hosts, each pair on a switch of its own, in one laboratory.

Every contestant is set up before the first measurement and stays to the last, idle while it is not its turn; what
differs between them is only the switch.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self, TypeVar

from pyroute2 import IPRoute

from bench.rules import Flow
from tests.lab import Host, Lab, LabError, wait_until
from vswitch.datapath.ebpf import attach
from vswitch.datapath.ebpf.compile import SOURCE, compile_object
from vswitch.datapath.ebpf.libbpf import ObjectFile
from vswitch.datapath.ebpf.memory import SharedMap

__all__ = ["BUILD", "ROOT", "Bed", "Pair", "Program", "Sender", "Senders", "Sink", "Switch", "sender_cpu"]

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "build"

AnySwitch = TypeVar("AnySwitch", bound="Switch")


class Switch(Protocol):
    """What connects the ports of one contestant."""

    label: str
    takes_offloads: bool
    """Whether it passes on packets that their sender left to the network card to sum and to cut."""

    def connect(self, ports: Sequence[str]) -> None:
        """Make these devices its ports 1, 2, ..., and let 1 and 2 reach each other."""

    def install(self, flows: Sequence[Flow]) -> None:
        """Have exactly these rules for what enters by port 1, all to port 2. Nothing, for those that know no rules."""

    def close(self) -> None: ...


class Program:
    """bench/NAME.bpf.c, compiled if need be and loaded. Its program, also called NAME, can be attached to devices."""

    def __init__(self, name: str) -> None:
        self._name = name
        output = BUILD / f"{name}.bpf.o"
        compile_object(Path(__file__).with_name(f"{name}.bpf.c"), output, [SOURCE.parent])
        self.object = ObjectFile(output)
        self.object.load()
        self._links: list[int] = []

    def attach(self, device: str) -> None:
        """Run it on what enters by a device of the calling thread's namespace."""
        program = self.object.program_fd(self._name)
        made = attach.attach(socket.if_nametoindex(device), "ingress", program, owner=f"bench-{self._name}")
        if made.link_fd is not None:
            self._links.append(made.link_fd)

    def close(self) -> None:
        """Where it hangs by filters, not by links, it stays until the device goes."""
        for link in self._links:
            os.close(link)
        self._links.clear()
        self.object.close()


def sender_cpu() -> int:
    """Where senders are pinned: the first CPU. Everything else may go where it likes."""
    return min(os.sched_getaffinity(0))


class Sink:
    """Counts and drops what arrives at a device (sink.bpf.c) of the calling thread's namespace."""

    def __init__(self, device: str) -> None:
        self._program = Program("sink")
        self._memory = SharedMap(self._program.object.map_fd(".bss"))
        self._count = self._memory.view.cast("Q")
        self._program.attach(device)

    @property
    def count(self) -> int:
        """Frames so far."""
        return self._count[0]

    def close(self) -> None:
        self._program.close()


class Sender:
    """A `bench.sender` that waits to be started, any number of times."""

    def __init__(self, source: Host, target: Host, flows: int, *, pinned: bool = True, scan: bool = False) -> None:
        command = [sys.executable, "-m", "bench.sender", source.device, f"--flows={flows}"]
        command += [f"--eth-src={source.mac}", f"--eth-dst={target.mac}"]
        command += [f"--cpu={sender_cpu()}"] if pinned else []
        command += ["--scan"] if scan else []
        process = source.popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=None, cwd=ROOT)
        assert process.stdin is not None
        assert process.stdout is not None
        self._in, self._out = process.stdin, process.stdout
        if self._out.readline() != "ready\n":
            raise LabError(f"the sender in {source.name} did not start")

    def start(self, seconds: float, *, rate: int = 0, limit: int = 0) -> None:
        """Send for so long; at most `rate` packets/s and `limit` packets, if they are not 0."""
        self._in.write(json.dumps({"seconds": seconds, "rate": rate, "limit": limit}) + "\n")
        self._in.flush()

    def finish(self) -> tuple[int, float]:
        """Wait for its end. Packets sent, and the seconds that it took."""
        result = json.loads(self._out.readline())
        return result["sent"], result["seconds"]


class Senders:
    """The senders from one host to another, each kept for the next round."""

    def __init__(self, source: Host, target: Host) -> None:
        self._ends = source, target
        self._known: dict[tuple[int, bool], Sender] = {}

    def of(self, flows: int, *, pinned: bool = True) -> Sender:
        """The one that sends so many flows, one packet of each in turn. `pinned`: on `sender_cpu`."""
        if (flows, pinned) not in self._known:
            self._known[flows, pinned] = Sender(*self._ends, flows, pinned=pinned)
        return self._known[flows, pinned]


@dataclass(frozen=True, slots=True)
class Pair:
    """Hosts `a` and `b` on ports 1 and 2 of a switch (None: there is none); what `a` sends to `b` ends in `sink`."""

    label: str
    switch: Switch | None
    a: Host
    b: Host
    sink: Sink
    senders: Senders

    def install(self, flows: Sequence[Flow]) -> None:
        """Have exactly these rules for what `a` sends, if there is a switch that knows rules."""
        if self.switch is not None:
            self.switch.install(flows)

    def packets_per_second(self, seconds: float, flows: int = 1) -> float:
        """What arrives while the sender sends."""
        sender = self.senders.of(flows)
        before = self.sink.count
        sender.start(seconds)
        _, took = sender.finish()
        return (self.sink.count - before) / took


class Bed:
    """The laboratory and all that was set up in it, which goes at the end of the with statement."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._networks = 0

    def __enter__(self) -> Self:
        self.lab = self._stack.enter_context(Lab())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def hosts(self, count: int, *, offload: bool = True) -> list[Host]:
        """Hosts in a network of their own, who know each other's addresses."""
        self._networks += 1
        made = []
        for number, letter in zip(range(1, count + 1), "abcdefgh", strict=False):
            address = f"10.0.{self._networks}.{number}/24"
            made.append(self.lab.host(f"n{self._networks}{letter}", ip=address, offload=offload))
        _introduce(made)
        return made

    def connect(
        self, make: Callable[[], AnySwitch], hosts: int = 2, *, apart: bool = False
    ) -> tuple[AnySwitch, list[Host]]:
        """A switch with some hosts on its ports 1, 2, ... `apart`: in a namespace for this switch alone, as two
        userspace datapaths of Open vSwitch need (each has a device of the same name)."""
        with self.lab.host(f"room{self._networks}").inside() if apart else nullcontext():
            switch = make()
            self._stack.callback(switch.close)
            made = self.hosts(hosts, offload=switch.takes_offloads)
            switch.connect([host.port for host in made])
        return switch, made

    def pair(self, make: Callable[[], Switch], *, apart: bool = False) -> Pair:
        """Two hosts on a switch, who reach each other. `apart`: as `connect` has it."""
        switch, (a, b) = self.connect(make, apart=apart)
        wait_until(lambda: a.ping(b.ip, 1).received, f"{switch.label}: the hosts reach each other", 10)
        return Pair(switch.label, switch, a, b, self.sink(b), Senders(a, b))

    def pairs(self, *makes: Callable[[], Switch]) -> dict[str, Pair]:
        """A pair for each kind of switch, by its label."""
        made = [self.pair(make) for make in makes]
        return {pair.label: pair for pair in made}

    def no_switch(self) -> Pair:
        """Hosts without a switch: packets end where they would enter it. What sender and receiver cost alone."""
        a, b = self.hosts(2)
        sink = Sink(a.port)
        self._stack.callback(sink.close)
        return Pair("no switch", None, a, b, sink, Senders(a, b))

    def sink(self, host: Host) -> Sink:
        """Count and drop what the sender sends to this host."""
        with host.inside():
            sink = Sink(host.device)
        self._stack.callback(sink.close)
        return sink


def _introduce(hosts: Sequence[Host]) -> None:
    """As Lab.introduce(), among these alone."""
    for host in hosts:
        with host.inside(), IPRoute() as route:
            device = route.link_lookup(ifname=host.device)[0]
            for other in hosts:
                if other is not host:
                    route.neigh("replace", dst=other.ip, lladdr=other.mac, ifindex=device, state="permanent")
