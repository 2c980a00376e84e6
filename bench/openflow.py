"""OpenFlow switches as contestants: `vswitch run`, a program that is its own controller, Open vSwitch with its daemon.

All are given the same rules, by the same client, `ovs-ofctl`, at their management socket. The rules are a pipeline of
eight tables, of as many rules each, of eight kinds. None but the last rule of a table takes what is sent here, so each
packet is looked up in all of them; the first table copies ports and address into registers that a later one asks for,
so that each flow of UDP is to have a megaflow of its own.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from bench.measure import SUBJECT
from bench.openvswitch import PrivateOpenVswitch
from bench.reacting import Answered, Reactive
from bench.rules import Flow
from bench.switches import OpenVswitch, new_name
from bench.testbed import ROOT
from tests.lab import LabError, patience, wait_until
from vswitch.api import Datapath
from vswitch.base.errors import VswitchError

__all__ = [
    "MAX_MEGAFLOWS",
    "PAIRED",
    "TABLES",
    "OpenFlowSwitch",
    "OpenVswitchOfctl",
    "VswitchRun",
    "cpu_seconds",
    "normal",
    "pipeline",
    "resident_bytes",
]

TABLES = 8
MAX_MEGAFLOWS = 1 << 19
PAIRED = tuple(f"priority=1,in_port={here},actions=output:{there}" for here, there in ((1, 2), (2, 1), (3, 4), (4, 3)))
"""Ports two by two."""

_READ = ",".join(
    f"move:NXM_OF_{name}->NXM_NX_{register}"
    for name, register in (("UDP_SRC[]", "REG0[0..15]"), ("UDP_DST[]", "REG0[16..31]"), ("IP_SRC[]", "REG1[]"))
)
_SHAPES = (
    "in_port={port},tcp,nw_src={one},nw_dst={two},tp_src={high},tp_dst={low}",
    "dl_dst={mac}",
    "in_port={port},dl_src={mac}",
    "ip,nw_dst={one}",
    "ip,nw_src={one}",
    "tcp,tp_dst={low}",
    "udp,nw_dst={two},tp_dst={low}",
    "reg0={number},reg1={number}",
)
assert len(_SHAPES) == TABLES


def pipeline(rules: int) -> list[str]:
    """So many rules in eight tables; in the end ports are two by two."""
    chance = random.Random(1)
    found: dict[str, None] = {}
    while len(found) < rules - TABLES - len(PAIRED):
        number = len(found)
        table, (one, two) = number % TABLES, chance.sample(range(1 << 24), 2)
        match = _SHAPES[table].format(
            port=number % 4 + 1, number=number + 1, low=chance.randrange(20_000, 60_000), high=number % 60_000 + 1,
            one=_address(172, one), two=_address(192, two), mac=f"0a:00:00:{one.to_bytes(3).hex(':')}",
        )  # fmt: skip
        found[f"table={table},priority=100,{match},actions=output:{number % 4 + 1}"] = None
    ways = [f"table={table},priority=1,actions=resubmit(,{table + 1})" for table in range(TABLES - 1)]
    last = [f"table={TABLES - 1},{flow}" for flow in PAIRED]
    return [*found, f"table=0,priority=2,udp,actions={_READ},resubmit(,1)", *ways, *last]


def normal() -> list[str]:
    """A switch that learns, and that sees each flow of UDP."""
    return [
        f"table=0,priority=2,udp,actions={_READ},resubmit(,1)",
        "table=0,priority=1,actions=resubmit(,1)",
        "table=1,priority=2,reg0=0xffffffff,reg1=1,actions=drop",
        "table=1,priority=1,actions=NORMAL",
    ]


def _address(first: int, rest: int) -> str:
    return f"{first}.{rest >> 16}.{rest >> 8 & 255}.{rest & 255}"


def cpu_seconds(pid: int) -> float:
    """That a process has taken so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_bytes(pid: int) -> int:
    """Memory that a process has."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class OpenFlowSwitch(Reactive, Protocol):
    """A switch that `ovs-ofctl` talks to, at `target`."""

    flows: Sequence[str]

    @property
    def target(self) -> str: ...

    @property
    def pid(self) -> int: ...

    def ofctl(self, *arguments: str, content: str | None = None) -> str:
        """The client; what it prints. The switch is the argument behind the command's name."""

    def load(self, flows: Sequence[str]) -> None:
        """Have these flows alone."""

    def forget(self) -> None:
        """Have no megaflows, and no flows that a controller has added."""


LEARNED = "cookie=1/-1"
"""The flows that controllers add here."""


class VswitchRun:
    """The command `vswitch run`, in a process of its own. `controller`: what it connects to; `made`: what is started
    beside it."""

    takes_offloads = True

    def __init__(
        self, flows: Sequence[str], label: str = SUBJECT, controller: str = "", options: Sequence[str] = ()
    ) -> None:
        self.label = label
        self.flows = flows
        self._options = options
        self._controller = controller
        self._name = new_name()
        self._folder = tempfile.TemporaryDirectory(prefix="bench-run-")
        self._process: subprocess.Popen[str] | None = None

    def _command(self, ports: Sequence[str]) -> list[str]:
        command = [str(Path(sys.executable).with_name("vswitch")), "run", self._name, "--no-local"]
        command += ["--fail-mode", "secure", "--management", f"p{self.target}", "--max-megaflows", str(MAX_MEGAFLOWS)]
        command += ["--controller", self._controller, "--max-backoff", "1"] if self._controller else []
        command += self._options
        return command + [word for port in ports for word in ("--port", port)]

    @property
    def target(self) -> str:
        return f"unix:{self._folder.name}/switch.mgmt"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def connect(self, ports: Sequence[str]) -> None:
        with Path(self._folder.name, "log").open("wb") as log:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "--", *self._command(ports)], stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=log, text=True, cwd=ROOT,
            )  # fmt: skip
        assert self._process.stdout is not None
        if "running" not in self._process.stdout.readline():
            raise LabError(f"{self.label} did not start: {Path(self._folder.name, 'log').read_text()[-500:]}")
        self.load(self.flows)

    def ofctl(self, *arguments: str, content: str | None = None) -> str:
        return run_ofctl(*arguments, content=content)

    def load(self, flows: Sequence[str]) -> None:
        load(self, flows)

    def install(self, flows: Sequence[Flow]) -> None:
        """Its rules are its own."""

    @contextmanager
    def answering(self, seconds: float) -> Iterator[Answered]:  # noqa: ARG002 - it always answers
        answered, before = Answered(), cpu_seconds(self.pid)
        yield answered
        answered.cpu_s = cpu_seconds(self.pid) - before
        self.forget()

    def forget(self) -> None:
        """All megaflows have passed table 0, so a rule there that comes and goes withdraws them."""
        self.ofctl("del-flows", self.target, LEARNED)
        self.ofctl("add-flow", self.target, "table=0,priority=65535,actions=drop")
        self.ofctl("--strict", "del-flows", self.target, "table=0,priority=65535")

    def close(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(20 * patience())
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
        with suppress(VswitchError):
            Datapath.delete(self._name)
        self._folder.cleanup()


class OpenVswitchOfctl:
    """Open vSwitch, given flows in the same way."""

    takes_offloads = False

    def __init__(self, flows: Sequence[str], label: str = OpenVswitch.label, controller: str = "") -> None:
        self.label = label
        self.flows = flows
        self.daemon = PrivateOpenVswitch(new_name(), "netdev", {})
        self._controller = controller

    @property
    def target(self) -> str:
        return self.daemon.management

    @property
    def pid(self) -> int:
        return self.daemon.pid

    def connect(self, ports: Sequence[str]) -> None:
        for number, port in enumerate(ports, 1):
            self.daemon.add_port(port, number)
        if self._controller:
            self.daemon.set_controller(self._controller)
        wait_until(Path(self.target.removeprefix("unix:")).exists, f"{self.label}'s management socket", 10)
        self.load(self.flows)

    def ofctl(self, *arguments: str, content: str | None = None) -> str:
        return run_ofctl(*arguments, content=content)

    def load(self, flows: Sequence[str]) -> None:
        load(self, flows)

    def install(self, flows: Sequence[Flow]) -> None:
        """Its rules are its own."""

    @contextmanager
    def answering(self, seconds: float) -> Iterator[Answered]:  # noqa: ARG002 - it always answers
        answered = Answered()
        before, declined = cpu_seconds(self.pid), self.daemon.declined()
        yield answered
        answered.cpu_s = cpu_seconds(self.pid) - before
        time.sleep(2)  # its threads add up what they have counted once a second or so
        answered.declined = self.daemon.declined() - declined
        self.forget()

    def forget(self) -> None:
        self.ofctl("del-flows", self.target, LEARNED)
        self.daemon.forget_megaflows()
        wait_until(lambda: self.daemon.megaflows() < 5, "Open vSwitch forgets its megaflows", 60)

    def close(self) -> None:
        self.daemon.close()


def load(switch: OpenFlowSwitch, flows: Sequence[str]) -> None:
    """In one bundle, which is quickest."""
    switch.ofctl("-O", "OpenFlow14", "del-flows", switch.target)
    if flows:
        switch.ofctl("-O", "OpenFlow14", "--bundle", "add-flows", switch.target, "-", content="\n".join(flows) + "\n")


def run_ofctl(*arguments: str, content: str | None = None) -> str:
    """`ovs-ofctl` with these arguments; what it prints."""
    result = subprocess.run(
        ["ovs-ofctl", *arguments], input=content, stdin=None if content is not None else subprocess.DEVNULL,
        capture_output=True, text=True, timeout=120 * patience(), check=False,
    )  # fmt: skip
    if result.returncode:
        raise LabError(f"ovs-ofctl {' '.join(arguments)}: {result.stderr.strip()[:500]}")
    return result.stdout


Make = Callable[[], OpenFlowSwitch]
