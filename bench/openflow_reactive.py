"""Controllers that decide about each TCP connection, and who suffers when somebody makes up connections."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from bench.measure import SUBJECT, Figure, Plan, compare, interleave
from bench.openflow import PAIRED, OpenFlowSwitch, OpenVswitchOfctl, VswitchRun
from bench.scanning import LASTS, MAX_ROUNDS, Ground
from bench.switches import OpenVswitch
from bench.testbed import Bed
from tests.osken import Application

__all__ = ["reactive", "scanned"]

AT_A_TIME = (1, 16)
NEW_FLOWS = 1000
"""A second, for each port, where they are bounded."""
IN_PROCESS = f"{SUBJECT}, its program the controller"
BOUNDED = f"{SUBJECT}, {NEW_FLOWS:,} new flows a second and port"
_first_port = itertools.count(6700)

ASKED = (
    "priority=10,arp,actions=resubmit(,1)",
    "priority=10,icmp,actions=resubmit(,1)",
    *(f"table=1,{flow}" for flow in PAIRED),
    "priority=0,actions=controller:65535",
)
"""All but TCP goes its way; TCP is asked about."""
KNOWN = (
    *ASKED,
    "priority=20,in_port=1,actions=output:2",
    "priority=20,in_port=2,actions=output:1",
)
"""What goes between the first two ports is never asked about."""


class _WithController:
    """A switch and its os-ken, each in the namespace of the thread."""

    def __init__(self, make: Callable[..., OpenFlowSwitch]) -> None:
        self._application = Application("bench.osken_flows", next(_first_port))
        try:
            self._switch = make(controller=self._application.target)
        except BaseException:
            self._application.said()
            raise

    def __getattr__(self, name: str) -> object:
        return getattr(self._switch, name)

    def close(self) -> None:
        self._switch.close()
        self._application.said()


class InProcess(VswitchRun):
    """A bridge in a program that is its controller."""

    def __init__(self, flows: Sequence[str]) -> None:
        super().__init__(flows, IN_PROCESS)

    def _command(self, ports: Sequence[str]) -> list[str]:
        return [sys.executable, "-m", "bench.inprocess", self._name, f"p{self.target}", *ports]


def reactive(plan: Plan) -> Iterator[Figure]:
    """TCP connections a second, each with flows of its own from a controller: os-ken, or the switch's own program."""
    makes = {
        SUBJECT: partial(_WithController, partial(VswitchRun, ASKED)),
        OpenVswitch.label: partial(_WithController, partial(OpenVswitchOfctl, ASKED)),
        IN_PROCESS: partial(InProcess, ASKED),
    }
    seconds = LASTS * plan.seconds
    with Bed() as bed:
        grounds = {label: Ground(bed, make, seconds, apart=False) for label, make in makes.items()}  # type: ignore[arg-type]
        for at_a_time in AT_A_TIME:
            case = f"connections with a controller, {at_a_time} at a time"
            runs = {label: partial(ground.quiet, seconds, at_a_time) for label, ground in grounds.items()}
            samples = interleave(case, min(plan.rounds, MAX_ROUNDS), runs)
            own = samples.pop(IN_PROCESS)
            yield from compare(case, "1/s", samples)
            peer = {IN_PROCESS: own, OpenVswitch.label: samples[OpenVswitch.label]}
            yield from compare(f"{case}, in process", "1/s", peer, IN_PROCESS)


def scanned(plan: Plan) -> Iterator[Figure]:
    """Connections of others while a port is scanned, 20,000 SYN/s, each of which a controller is asked about: others
    that it need not be asked about, and others like these."""
    seconds = LASTS * plan.seconds
    bounded = ("--new-flow-rate", str(NEW_FLOWS), "--packet-in-rate", str(2 * NEW_FLOWS))
    makes = {
        SUBJECT: partial(_WithController, partial(VswitchRun, KNOWN)),
        BOUNDED: partial(_WithController, partial(VswitchRun, KNOWN, label=BOUNDED, options=bounded)),
        OpenVswitch.label: partial(_WithController, partial(OpenVswitchOfctl, KNOWN)),
    }
    with Bed() as bed:
        grounds = {label: Ground(bed, make, seconds, apart=False) for label, make in makes.items()}  # type: ignore[arg-type]
        for what, flows in (("that flows know", KNOWN), ("that the controller is asked about", ASKED)):
            for ground in grounds.values():
                ground.switch.load(flows)  # type: ignore[attr-defined]
            runs = {label: partial(ground.measure, seconds, 4) for label, ground in grounds.items()}
            samples = interleave(f"scan of a controller, connections {what}", min(plan.rounds, MAX_ROUNDS), runs, str)
            for case, unit, member in (
                ("connections", "1/s", "quiet"), ("connections under a scan", "1/s", "under"), ("kept", "%", "kept"),
            ):  # fmt: skip
                figures = {name: [getattr(scanned, member) for scanned in each] for name, each in samples.items()}
                for subject in (SUBJECT, BOUNDED):
                    name = f"{subject.replace(SUBJECT, case)}, {what}"
                    yield from compare(name, unit, figures, subject, own_kind=False)
