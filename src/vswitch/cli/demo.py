"""`vswitch demo`: a switch between hosts on this machine, with real traffic, and what it did with it.

The story has two parts on one datapath: rules that lie in the kernel before the first packet, then a Python program
that is asked about the packets that no rule takes. Each forwards ping, HTTP and iperf3, and is measured in turn with a
Linux bridge between hosts of the same kind. At the end it shows what the datapath counted.

Invariant: whatever happens, an error, Ctrl-C, SIGTERM, all that was made is removed; only SIGKILL leaves something,
for the next run to remove.
"""

from __future__ import annotations

import inspect
import os
import signal
import statistics
import sys
import textwrap
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import FrameType, TracebackType

from vswitch.api.datapath import Datapath, DatapathStats
from vswitch.base.errors import KernelError, MachineError, PrivilegeError, VswitchError
from vswitch.cli.arguments import Parser, Program
from vswitch.cli.demo_lab import DemoError, Host, Lab, missing_programs
from vswitch.cli.demo_show import Show
from vswitch.cli.table import VSWITCH
from vswitch.model.actions import Drop, Output, SetField
from vswitch.model.match import Match
from vswitch.model.megaflow import Megaflow, Rule
from vswitch.text import format_actions, format_match
from vswitch.upcalls.miss import Answer, Miss

__all__ = ["main"]

MULTICAST = ("01:00:00:00:00:00", "01:00:00:00:00:00")
"""Destination addresses, broadcast among them, that have this bit."""

WEB = 5
"""Number of the port that web traffic goes to."""


ROUNDS = 5
"""Measurements of which the median is taken."""

DESCRIPTION = """\
Show what the switch does, on real traffic between network namespaces that are made for it and removed afterwards.
Takes half a minute, and needs root, ping, curl and iperf3."""


def main(line: Sequence[str]) -> int:
    """Run the demonstration. 0: all went well, 1: it did not, 128 + the number of the signal that ended it."""
    program = VSWITCH.by_name["demo"]
    assert isinstance(program, Program)
    parser = Parser("vswitch demo", DESCRIPTION, program.example)
    parser.add(program.arguments)
    options = parser.parse_args(line)
    rounds = 1 if options.fast else ROUNDS
    try:
        _check_machine()
        _tell(Show(), rounds, with_bridge=not options.no_bridge)
    except Interrupted as interrupted:
        print("vswitch demo: interrupted; all that it made is removed", file=sys.stderr)
        return 128 + interrupted.signal
    except VswitchError as problem:
        first_line = str(problem).partition("\n")[0]  # a verifier's log follows
        print(f"vswitch demo: {first_line}", file=sys.stderr)
        return 1
    return 0


def _tell(show: Show, rounds: int, with_bridge: bool) -> None:
    with Interrupts() as interrupts, ExitStack() as stack:
        lab = stack.enter_context(Lab())
        stack.callback(interrupts.ignore)
        dp = stack.enter_context(Datapath.create(lab.name, local=False))
        stack.callback(interrupts.ignore)  # the first to be called at the end: cleaning up is not to be interrupted
        Story(lab, dp, show, rounds, with_bridge).tell()
    show.say("All that was made for this is removed again.")


def _check_machine() -> None:
    if os.geteuid():
        raise PrivilegeError("this needs root, as it makes network namespaces and loads eBPF: try sudo")
    if missing := missing_programs():
        packages = " ".join(missing.values())
        raise MachineError(f"not installed: {', '.join(missing)} (on Debian: apt-get install {packages})")


# ---- the end, at any time


class Interrupted(BaseException):
    """Someone wants the demonstration to end."""

    def __init__(self, number: int) -> None:
        self.signal = number
        super().__init__(signal.Signals(number).name)


class Interrupts:
    """Turns the first Ctrl-C, SIGTERM or SIGHUP into an exception; those that follow do not disturb the clean-up."""

    _SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __enter__(self) -> Interrupts:
        self._ignored = False
        heeded = [number for number in self._SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
        self._before = {number: signal.signal(number, self._handle) for number in heeded}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def ignore(self) -> None:
        """From now on there is only cleaning up, which comes to its end by itself."""
        self._ignored = True

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if not self._ignored:
            self._ignored = True
            raise Interrupted(number)


# ---- the story


@dataclass(frozen=True, slots=True)
class Measured:
    """Gbit/s through the switch and, in turn with it, through a Linux bridge (none if there is no bridge)."""

    what: str
    switch: list[float]
    bridge: list[float]

    def row(self) -> tuple[object, ...]:
        switch = statistics.median(self.switch)
        if not self.bridge:
            return self.what, switch
        bridge = statistics.median(self.bridge)
        return self.what, switch, bridge, switch / bridge


class Story:
    """The demonstration, from its beginning to its end, on an empty lab and datapath."""

    def __init__(self, lab: Lab, dp: Datapath, show: Show, rounds: int, with_bridge: bool) -> None:
        self._lab = lab
        self._dp = dp
        self._show = show
        self._rounds = rounds
        self._with_bridge = with_bridge
        self._bridged: tuple[Host, Host] | None = None
        self._taken: list[tuple[int, Megaflow]] = []

    def tell(self) -> None:
        """All of it."""
        with self._show.busy("making hosts"):
            self._make_hosts()
        self._introduce()
        ahead = self._rules_ahead()
        asked = self._rules_when_asked()
        self._what_happened([ahead, asked])

    def _make_hosts(self) -> None:
        self._hosts = [self._lab.host(f"h{n}", n) for n in range(1, 6)]
        _, h2, h3, h4, h5 = self._hosts
        h5.stand_in_for((h2, h3, h4))
        h2.serve_http(80)
        h2.serve_http(8080)
        h5.serve_http(80)
        h3.serve_iperf3()
        if self._with_bridge:
            try:
                self._make_bridge()
            except KernelError as problem:
                self._show.say(f"There is no bridge to compare with: {problem}.")

    def _make_bridge(self) -> None:
        b1, b2 = (self._lab.host(f"b{n}", n, "10.0.1") for n in (1, 2))
        self._lab.bridge("bridge", b1, b2)
        b2.serve_iperf3()
        self._bridged = b1, b2

    def _introduce(self) -> None:
        show, dp = self._show, self._dp
        show.title(f"A switch with {len(self._hosts)} hosts")
        show.say(f"Datapath {dp.name} on Linux {os.uname().release}; each host is a network namespace.")
        show.table(
            ("port", "host", "MAC", "IP", "serves"),
            [
                (host.number, host.name, host.mac, host.ip, serves)
                for host, serves in zip(
                    self._hosts, ("", "HTTP on 80 and 8080", "iperf3", "", "HTTP on 80"), strict=True
                )
            ],
        )

    # ---- part one

    def _rules_ahead(self) -> Measured:
        show, dp = self._show, self._dp
        show.title("1. Rules that lie in the kernel before the first packet")
        rules = topology(self._hosts)
        dp.flows.replace(rules)
        for host in self._hosts:
            dp.ports.add(host.name, host.number)
        show.table(
            ("priority", "match", "actions"),
            [(rule.priority, format_match(rule.match), format_actions(rule.actions)) for rule in rules],
        )
        show.say("TCP to port 80 goes to port 5, whomever it is for; all other traffic to the host that it is for.")
        h1, h2, h3, _, h5 = self._hosts
        self._ping(h1, h2)
        self._get(h1, f"http://{h2.ip}:8080/", h2)
        self._get(h1, f"http://{h2.ip}/", h5)
        measured = self._measure("rules ahead", h1, h3)
        stats = dp.stats()
        if stats.missed:
            raise DemoError(f"{stats.missed} packets matched no rule, although the rules are complete")
        show.say(f"{stats.hit:,} packets found their rule, none had to ask; no Python was involved.")
        self._taken += [(1, flow) for flow in dp.flows]
        return measured

    # ---- part two

    def _rules_when_asked(self) -> Measured:
        show, dp = self._show, self._dp
        show.title("2. A Python program that is asked about packets that no rule takes")
        dp.flows.flush()
        show.say("The rules are gone, and web traffic is no longer special. This learns where everyone is:")
        show.code(textwrap.dedent(inspect.getsource(learning_switch)))
        learning_switch(dp)
        before = dp.stats()
        h1, h2, h3, *_ = self._hosts
        with answering(dp):
            self._ping(h1, h2)
            self._get(h1, f"http://{h2.ip}:8080/", h2)
            self._get(h1, f"http://{h2.ip}/", h2)
            measured = self._measure("rules when asked", h1, h3)
        self._say_who_asked(before, dp.stats())
        self._taken += [(2, flow) for flow in dp.flows]
        return measured

    def _say_who_asked(self, before: DatapathStats, after: DatapathStats) -> None:
        asked, went = after.upcalls - before.upcalls, after.hit - before.hit
        known = self._dp.upcall_stats
        self._show.say(
            f"Python was asked {asked} times, answered {known.installed} times with a megaflow, and saved {went:,} "
            f"upcalls by that; {after.lost - before.lost} were lost."
        )

    # ---- traffic

    def _ping(self, source: Host, target: Host) -> None:
        self._show.result(f"ping {source.name} to {target.name}", str(source.ping(target)))

    def _get(self, source: Host, url: str, expected: Host) -> None:
        page = source.get(url)
        if page != f"hello from {expected.name}":
            raise DemoError(f"{url} from {source.name} was answered with {page!r}, not by {expected.name}")
        self._show.result(f"curl {url} on {source.name}", f'"{page}"')

    def _measure(self, what: str, source: Host, target: Host) -> Measured:
        """Switch and bridge in turn, so that what else the machine does meets both."""
        measured = Measured(what, [], [])
        for n in range(self._rounds):
            with self._show.busy(f"iperf3, one TCP stream, round {n + 1} of {self._rounds}"):
                measured.switch.append(source.iperf3(target, 1))
                if self._bridged:
                    measured.bridge.append(self._bridged[0].iperf3(self._bridged[1], 1))
        speeds = ", ".join(f"{speed:.1f}" for speed in measured.switch)
        self._show.result(f"iperf3 {source.name} to {target.name}", f"{speeds} Gbit/s")
        return measured

    # ---- the end

    def _what_happened(self, measured: Sequence[Measured]) -> None:
        show = self._show
        show.title("What happened")
        show.say("Ports, in both parts:")
        show.table(
            ("port", "host", "rx packets", "rx bytes", "tx packets", "tx bytes", "upcalls", "dropped"),
            [self._port_row(host) for host in self._hosts],
        )
        show.say("Megaflows that packets took:")
        show.table(
            ("part", "packets", "bytes", "match", "actions"),
            [
                (part, flow.stats.packets, flow.stats.bytes, format_match(flow.match), format_actions(flow.actions))
                for part, flow in self._taken
                if flow.stats.packets
            ],
        )
        times = f"median of {self._rounds} runs of a second" if self._rounds > 1 else "one run of a second"
        if self._bridged:
            show.say(f"Gbit/s, one TCP stream, {times}, in turn with a Linux bridge:")
            columns: tuple[str, ...] = ("", "vswitch", "Linux bridge", "ratio")
        else:
            show.say(f"Gbit/s, one TCP stream, {times}:")
            columns = ("", "vswitch")
        show.table(columns, [each.row() for each in measured])

    def _port_row(self, host: Host) -> tuple[object, ...]:
        stats = self._dp.ports.stats(host.number)
        received, sent = (stats.rx_packets, stats.rx_bytes), (stats.tx_packets, stats.tx_bytes)
        return host.number, host.name, *received, *sent, stats.upcalls, sum(stats.drops.values())


def topology(hosts: Sequence[Host]) -> list[Rule]:
    """Everything to whom it is for, broadcasts to all others, TCP port 80 to port 5, and nothing else anywhere."""
    web = hosts[WEB - 1]
    rules = [Rule(Match(tcp_dst=80), (SetField("eth_dst", web.mac), Output(WEB)), priority=30)]
    rules += [Rule(Match(eth_dst=host.mac), (Output(host.number),), priority=20) for host in hosts]
    for host in hosts:
        others = tuple(Output(other.number) for other in hosts if other is not host)
        rules.append(Rule(Match(in_port=host.number, eth_dst=MULTICAST), others, priority=20))
    return [*rules, Rule(Match(), (Drop(),), priority=10)]


def learning_switch(dp: Datapath) -> None:
    """Learn from each packet where its sender is."""
    port_of = {}

    @dp.on_miss
    def answer(miss: Miss) -> Answer:
        key = miss.key
        port_of[key.eth_src] = miss.port
        if key.eth_dst in port_of:
            match = Match.exact(key, "in_port", "eth_src", "eth_dst")
            return match, [Output(port_of[key.eth_dst])]
        miss.send(Output(port.number) for port in dp.ports if port.number != miss.port)
        return None


@contextmanager
def answering(dp: Datapath) -> Iterator[None]:
    """The handler of `dp` answers meanwhile, in a thread of its own. What went wrong there is raised here."""
    dp.start_upcalls()
    with ThreadPoolExecutor(1) as executor:
        running = executor.submit(dp.run)
        try:
            yield
        finally:
            dp.stop()
            running.result()
