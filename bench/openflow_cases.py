"""What an OpenFlow pipeline costs: TCP through it, new flows, rules that come and go, and a change of them."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from bench.forwarding import streams
from bench.measure import SUBJECT, Figure, Plan, compare, interleave
from bench.openflow import (
    PAIRED,
    OpenFlowSwitch,
    OpenVswitchOfctl,
    VswitchRun,
    cpu_seconds,
    normal,
    pipeline,
    resident_bytes,
)
from bench.reacting import OFFERED, make_grounds, offer_without_mercy
from bench.switches import Vswitch
from bench.testbed import Bed, Sender, Sink
from tests.lab import LabError, patience
from vswitch.messages.actions import Output
from vswitch.messages.base import Message
from vswitch.messages.control import BarrierReply, BarrierRequest
from vswitch.messages.flows import FlowCommand, FlowMod
from vswitch.messages.match import FlowMatch
from vswitch.openflow.connection import Connected, Connection, Received

__all__ = ["flow_mods", "new_flows", "tcp", "withdrawal"]

TCP_RULES, FLOW_RULES = 10_000, 100_000
RAW = f"{SUBJECT}, the datapath alone"
MAX_ROUNDS = 5
"""Each takes half a minute."""


def tcp(plan: Plan) -> Iterator[Figure]:
    """TCP through OpenFlow's tables: 8 of them, 10,000 rules; beside the datapath alone."""
    flows = pipeline(TCP_RULES)
    with Bed() as bed:
        pairs = bed.pairs(partial(VswitchRun, flows), partial(Vswitch, label=RAW), partial(OpenVswitchOfctl, flows))
        for pair in pairs.values():
            pair.b.iperf3_server()
        yield from compare(
            f"TCP through 8 tables, {TCP_RULES:,} rules", "Gbit/s",
            interleave("TCP through tables", plan.rounds, streams(plan, pairs, 1)),
        )  # fmt: skip


def new_flows(plan: Plan) -> Iterator[Figure]:
    """New flows a second through OpenFlow's tables: 8 of them with 100,000 rules, and NORMAL."""
    tables = pipeline(FLOW_RULES)
    for case, flows in ((f"new flows, 8 tables, {FLOW_RULES:,} rules", tables), ("new flows, NORMAL", normal())):
        with Bed() as bed:
            grounds = make_grounds(bed, 2, partial(VswitchRun, flows), partial(OpenVswitchOfctl, flows))
            for ground in grounds.values():  # a switch that learns knows both then
                ground.hosts[0].ping(ground.hosts[1].ip, 2, 0.1)
            seconds = OFFERED * plan.seconds
            runs = {name: partial(offer_without_mercy, ground, seconds) for name, ground in grounds.items()}
            samples = interleave(case, plan.rounds, runs, str)
        for kind, unit, member in (("", "flows/s", "per_s"), (", CPU time of each", "us", "cpu_us")):
            figures = {name: [getattr(offered, member) for offered in each] for name, each in samples.items()}
            yield from compare(case + kind, unit, figures)


# --------------------------------------------------------------------------------------------------- rules


@dataclass(frozen=True, slots=True)
class Managed:
    """How long a client took, and how much CPU time the switch; how much its process grew."""

    seconds: float
    cpu_s: float
    grown: int

    def __str__(self) -> str:
        return f"{self.seconds:.2f} s at {self.cpu_s:.2f} s"


def flow_mods(plan: Plan) -> Iterator[Figure]:
    """100,000 rules come, are listed, changed and go, by ovs-ofctl: seconds, and CPU time and memory of the switch."""
    flows = pipeline(FLOW_RULES)
    text = "\n".join(flows) + "\n"
    with Bed() as bed:
        makes: tuple[Callable[[], OpenFlowSwitch], ...] = (partial(VswitchRun, []), partial(OpenVswitchOfctl, []))
        switches = {switch.label: switch for switch, _ in (bed.connect(make) for make in makes)}
        steps: dict[str, dict[str, list[Managed]]] = {}
        samples = interleave(
            f"{FLOW_RULES:,} rules", min(plan.rounds, MAX_ROUNDS),
            {name: partial(_manage, switch, text) for name, switch in switches.items()},
            lambda found: "; ".join(f"{step} {managed}" for step, managed in found.items()),
        )  # fmt: skip
    for name, rounds in samples.items():
        for found in rounds:
            for step, managed in found.items():
                steps.setdefault(step, {}).setdefault(name, []).append(managed)
    for step, by_name in steps.items():
        case = f"{step} of {FLOW_RULES:,} rules"
        yield from compare(case, "s", {name: [each.seconds for each in found] for name, found in by_name.items()})
        cpu = {name: [each.cpu_s for each in found] for name, found in by_name.items()}
        yield from compare(f"{case}, CPU time of the switch", "s", cpu)
        if step == "add-flows":  # the first time, when nothing that went before has left room
            first = {name: [found[0].grown / FLOW_RULES] for name, found in by_name.items()}
            yield from compare("memory of a rule, in its process", "bytes", first)


def _manage(switch: OpenFlowSwitch, flows: str) -> dict[str, Managed]:
    """Each step of it, by what it does."""
    target = switch.target

    def step(*arguments: str, content: str | None = None) -> Managed:
        cpu_s, memory, begin = cpu_seconds(switch.pid), resident_bytes(switch.pid), time.perf_counter()
        printed = switch.ofctl(*arguments, content=content)
        if "dump-flows" in arguments and printed.count("actions=") != flows.count("\n"):
            raise LabError(f"{switch.label}: {printed.count('actions=')} flows are there, not {flows.count(chr(10))}")
        took = time.perf_counter() - begin
        time.sleep(0.1)
        return Managed(took, cpu_seconds(switch.pid) - cpu_s, resident_bytes(switch.pid) - memory)

    done = {
        "add-flows": step("add-flows", target, "-", content=flows),
        "dump-flows": step("dump-flows", target),
        "mod-flows": step("mod-flows", target, "actions=drop"),
        "del-flows": step("del-flows", target),
        "add-flows --bundle": step("-O", "OpenFlow14", "--bundle", "add-flows", target, "-", content=flows),
        "dump-flows of 1.4": step("-O", "OpenFlow14", "dump-flows", target),
    }
    step("del-flows", target)
    return done


# --------------------------------------------------------------------------------------------------- withdrawal

MEGAFLOWS = 100_000
FILL_RATE = round(15_000 / patience())
"""Flows/s: all are used again before they have been idle for too long."""
FILL_S = MEGAFLOWS / FILL_RATE + 3
PROBE_RATE = round(20_000 / patience())
STILL_S = 0.3
PATIENCE_S = 5 * patience()
WITHDRAWALS = 3


def withdrawal(plan: Plan) -> Iterator[Figure]:
    """A rule that stops one flow, beside 100,000 megaflows: until the switch says it is done, until it is true."""
    flows = ["table=1,priority=2,reg0=0xffffffff,reg1=1,actions=drop", *(f"table=1,{flow}" for flow in PAIRED)]
    flows += normal()[:2]
    with Bed() as bed:
        runs = {}
        makes: tuple[Callable[[], OpenFlowSwitch], ...] = (partial(VswitchRun, flows), partial(OpenVswitchOfctl, flows))
        for make in makes:
            switch, hosts = bed.connect(make, 4)
            crowd, probe = (
                Sender(hosts[0], hosts[1], MEGAFLOWS, pinned=False),
                Sender(hosts[2], hosts[3], 1, pinned=False),
            )
            sinks = bed.sink(hosts[1]), bed.sink(hosts[3])
            runs[switch.label] = partial(_withdraw, switch, crowd, probe, sinks)
        samples = interleave("withdrawal", min(plan.rounds, WITHDRAWALS), runs, str)
    for case, member in (("barrier reply", "replied_ms"), ("last packet by the old rules", "last_ms")):
        figures = {name: [getattr(each, member) for each in found] for name, found in samples.items()}
        yield from compare(f"a rule among {MEGAFLOWS:,} megaflows, {case}", "ms", figures)


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """Milliseconds from the flow-mod to the barrier's reply, and to the last packet that it should have stopped."""

    replied_ms: float
    last_ms: float
    arrived: int

    def __str__(self) -> str:
        return f"reply {self.replied_ms:.1f} ms, last packet {self.last_ms:.1f} ms ({self.arrived:,} of the crowd)"


def _withdraw(switch: OpenFlowSwitch, crowd: Sender, probe: Sender, sinks: tuple[Sink, Sink]) -> Withdrawn:
    match = FlowMatch(in_port=3, eth_type=0x0800, ip_proto=17)
    before = sinks[0].count
    with Client(switch.target.removeprefix("unix:")) as client:
        crowd.start(FILL_S + 2, rate=FILL_RATE)
        time.sleep(FILL_S)
        probe.start(2 * STILL_S + 0.3, rate=PROBE_RATE)
        time.sleep(0.3)
        sink = sinks[1]
        if not sink.count:
            raise LabError(f"{switch.label}: nothing of the flow arrives that is to be stopped")
        begin = last = time.perf_counter()
        client.send(FlowMod(FlowCommand.ADD, match, (), 50_000), BarrierRequest())
        replied = 0.0
        seen = sink.count
        while (now := time.perf_counter()) - last < STILL_S or (not replied and now - begin < PATIENCE_S):
            if sink.count != seen:
                seen, last = sink.count, now
            if not replied and client.replied():
                replied = now
            time.sleep(0.0002)
        if not replied:
            raise LabError(f"{switch.label}: no reply to a barrier within {PATIENCE_S} s")
        probe.finish()
        crowd.finish()
        client.send(FlowMod(FlowCommand.DELETE_STRICT, match, (Output(1),), 50_000), BarrierRequest())
    switch.forget()
    return Withdrawn(1000 * (replied - begin), 1000 * (last - begin), sinks[0].count - before)


class Client:
    """A connection to a management socket, of OpenFlow 1.3."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(path)
        self._connection = Connection(time.monotonic_ns(), (4,))
        self._socket.sendall(self._connection.data_to_send())
        while not any(isinstance(event, Connected) for event in self._events()):
            pass
        self._socket.setblocking(False)

    def _events(self) -> Iterator[object]:
        data = self._socket.recv(1 << 16)
        if not data:
            raise LabError("the switch has ended the connection")
        yield from self._connection.receive_data(data, time.monotonic_ns())

    def send(self, *messages: Message) -> None:
        """All at once."""
        self._socket.sendall(b"".join(self._connection.send(message) for message in messages))

    def replied(self) -> bool:
        """Whether a barrier's reply has come."""
        try:
            return any(isinstance(each, Received) and isinstance(each.message, BarrierReply) for each in self._events())
        except BlockingIOError:
            return False

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_problem: object) -> None:
        self._socket.close()
