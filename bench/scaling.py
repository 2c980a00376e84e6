"""Many megaflows, and many at once: a million of them against a tenth, and transactions."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

from bench.measure import SUBJECT, Figure, Plan, compare, interleave
from bench.rules import Flow, spread
from bench.switches import OpenVswitch, Redirect, Vswitch
from bench.testbed import ROOT, Bed, Pair, Senders
from tests.lab import LabError, patience
from vswitch.api import Datapath
from vswitch.datapath.ebpf import bpf_syscall
from vswitch.model.actions import Output
from vswitch.model.megaflow import Rule

__all__ = ["flows", "transaction"]

MILLION = 1_000_000
TENTH = MILLION // 10
FEW = 1000
MASKS = 32
_FILL_TIMEOUT_S = 300


class Filled(Vswitch):
    """A datapath for `count` megaflows, filled by `bench.filler`."""

    def __init__(self, count: int) -> None:
        super().__init__(label=f"{SUBJECT}, {count:,} megaflows", max_flows=count)
        self.count = count
        self._name = self.datapath.name

    def connect(self, ports: Sequence[str]) -> None:
        for device in ports:
            self.datapath.ports.add(device)
        self.datapath.close()

    def fill(self) -> dict[str, float]:
        """Fill it anew; what bench.filler says."""
        command = [sys.executable, "-m", "bench.filler", self._name, str(self.count)]
        timeout_s = _FILL_TIMEOUT_S * patience()
        result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=timeout_s, check=False)
        if result.returncode:
            raise LabError(f"bench.filler: {result.stderr[-2000:]}")
        said: dict[str, float] = json.loads(result.stdout)
        return said

    def map_bytes(self) -> int:
        """Kernel memory of its maps."""
        total = 0
        for pin in (bpf_syscall.ensure_bpffs() / "vswitch" / self._name / "maps").iterdir():
            descriptor = bpf_syscall.obj_get(pin)
            try:
                rows = Path(f"/proc/self/fdinfo/{descriptor}").read_text().splitlines()
            finally:
                os.close(descriptor)
            total += sum(int(row.split()[1]) for row in rows if row.startswith("memlock:"))
        return total

    def close(self) -> None:
        Datapath.delete(self._name)


def flows(plan: Plan) -> Iterator[Figure]:
    """A million megaflows beside a tenth of them: insertion, memory, finding them; and lookups with all in use."""
    with Bed() as bed:
        bare = bed.pair(Redirect)
        full, tenth = ((switch, hosts) for switch, hosts in (bed.connect(partial(Filled, n)) for n in (MILLION, TENTH)))
        filled = {switch.label: switch for switch, _ in (full, tenth)}
        subject = full[0].label
        runs: dict[str, Callable[[], dict[str, float]]] = {label: switch.fill for label, switch in filled.items()}
        rounds = min(plan.rounds, 3)
        said = interleave("filling", rounds, runs, lambda each: f"{each['insert_s']:.2f} s")
        rates = {label: [filled[label].count / each["insert_s"] for each in said[label]] for label in said}
        reopen = {label: [1e3 * each["reopen_s"] for each in said[label]] for label in said}
        rss = {label: [each["rss_bytes"] / filled[label].count for each in said[label]] for label in said}
        kernel = {label: [switch.map_bytes() / switch.count] for label, switch in filled.items()}
        yield from compare(f"insertion, {MILLION:,} megaflows", "flows/s", rates, subject)
        yield from compare(f"taking over, {MILLION:,} megaflows", "ms", reopen, subject)
        yield from compare(f"memory of the process, {MILLION:,} megaflows", "bytes/flow", rss, subject)
        yield from compare(f"memory of the kernel, {MILLION:,} megaflows", "bytes/flow", kernel, subject)

        a, b = full[1]
        pair = Pair(subject, full[0], a, b, bed.sink(b), Senders(a, b))
        yield from _lookups(plan, pair, bare)


def _lookups(plan: Plan, pair: Pair, bare: Pair) -> Iterator[Figure]:
    """Each packet the next of the million flows: neither cache nor memory near the processor helps. The sender goes
    through as much memory then, so the bare redirect of the same packets is the measure."""
    case = "UDP, 60 bytes, {:,} megaflows in use"
    everyone = {SUBJECT: pair, bare.label: bare}
    for count in (FEW, MILLION):
        runs = {
            name: partial(each.packets_per_second, flows=count, seconds=plan.seconds) for name, each in everyone.items()
        }
        yield from compare(case.format(count), "packets/s", interleave(case.format(count), plan.rounds, runs))


# --------------------------------------------------------------------------------------------------- transactions


def transaction(plan: Plan) -> Iterator[Figure]:
    """All rules replaced in one step, by as many others."""
    with Bed() as bed, closing(Vswitch()) as ours, closing(OpenVswitch()) as theirs:
        (a,) = bed.hosts(1)
        for count in (FEW, 10 * FEW):
            listed = spread(count, MASKS, a.mac)
            runs = {SUBJECT: _replacing(ours, listed), f"{theirs.label}, a bundle": _bundling(theirs, listed)}
            case = f"replacing {count:,} rules"
            yield from compare(case, "ms", interleave(case, plan.rounds, runs))


def _replacing(switch: Vswitch, listed: Sequence[Flow]) -> Callable[[], float]:
    rules = [[Rule(flow.match, (Output(port),)) for flow in listed] for port in (2, 3)]
    return _in_turn([partial(switch.datapath.flows.replace, each) for each in rules])


def _bundling(switch: OpenVswitch, listed: Sequence[Flow]) -> Callable[[], float]:
    """With ovs-ofctl's own start and its reading of the text."""
    texts = [[flow.openflow().replace("output:2", f"output:{port}") for flow in listed] for port in (2, 3)]
    return _in_turn([partial(switch.daemon.set_flows, each) for each in texts])


def _in_turn(calls: Sequence[Callable[[], object]]) -> Callable[[], float]:
    """Milliseconds of the second call, after the first: each finds what the other left."""

    def run() -> float:
        calls[0]()
        begin = time.perf_counter()
        calls[1]()
        return 1e3 * (time.perf_counter() - begin)

    return run
