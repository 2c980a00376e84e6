"""`vswitch demo`: it tells its story, and leaves nothing behind however it ends."""

from __future__ import annotations

import io
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from rich.console import Console

from tests.lab import is_running, patience, wait_until
from vswitch import Datapath, KernelError
from vswitch.cli import demo
from vswitch.cli.demo import Interrupted, Interrupts, Story
from vswitch.cli.demo_lab import DemoError, Host, Lab
from vswitch.cli.demo_show import Show

COMMAND = [sys.executable, "-m", "vswitch", "demo"]
LIMIT_S = 90


class Run:
    """A demonstration in a process of its own."""

    def __init__(self, *options: str) -> None:
        pipe = subprocess.PIPE
        self.process = subprocess.Popen([*COMMAND, *options], stdout=pipe, stderr=pipe, text=True)
        self.name = f"vsdemo-{self.process.pid}"
        self.output = ""

    def wait_for(self, text: str) -> None:
        """Return when it has printed a line with `text`."""
        assert self.process.stdout
        for line in self.process.stdout:
            self.output += line
            if text in line:
                return
        pytest.fail(f"it ended without a word of {text!r}: {self.output}{self.end()}")

    def end(self) -> str:
        """What it wrote to standard error, when it has ended."""
        output, errors = self.process.communicate(timeout=LIMIT_S * patience())
        self.output += output
        return errors

    def namespaces(self) -> list[str]:
        return [path.name for path in Path("/run/netns").glob(f"{self.name}-*")]

    def left(self) -> list[str]:
        """What is there of it."""
        return self.namespaces() + [name for name in Datapath.list() if name == self.name]

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def runs() -> Iterator[ExitStack]:
    """Ends demonstrations; what is left of those that had to be killed goes with them."""
    with ExitStack() as stack:
        yield stack
    with Lab():
        pass


def start(runs: ExitStack, *options: str) -> Run:
    run = Run(*options)
    runs.callback(run.close)
    return run


def test_demo_shows_both_ways_of_programming(runs: ExitStack) -> None:
    run = start(runs, "--fast")
    assert (run.end(), run.process.returncode) == ("", 0), run.output
    for pattern in (
        r"^ +30  tcp\(dst=80\) +set\(eth\(dst=02:00:00:00:00:05\)\),5$",
        r'curl http://10[.]0[.]0[.]2:8080/ on h1 +"hello from h2"',
        r'curl http://10[.]0[.]0[.]2/ on h1 +"hello from h5"',
        r"[\d,]+ packets found their rule, none had to ask",
        r'def learning_switch[^$]*curl http://10[.]0[.]0[.]2/ on h1 +"hello from h2"',
        r"Python was asked \d+ times, answered 4 times with a megaflow, and saved [\d,]+ upcalls",
        r"^ +3  h3 +[\d,]+ +[\d,]+ +[\d,]+ +[\d,]+ +\d+ +0$",
        r"^ +1 +[\d,]+ +[\d,]+  tcp\(dst=80\) +set\(eth\(dst=02:00:00:00:00:05\)\),5$",
        r"^ +2 +[\d,]+ +[\d,]+  in_port\(1\),eth\([^)]*\) +3$",
        r"vswitch +Linux bridge +ratio\n +rules ahead +[\d.]+ +[\d.]+ +[\d.]+\n +rules when asked +[\d.]+",
    ):
        assert re.search(pattern, run.output, re.MULTILINE), f"{pattern}: {run.output}"
    assert run.left() == []


def test_demos_run_side_by_side(runs: ExitStack) -> None:
    both = [start(runs, "--fast", "--no-bridge") for _ in range(2)]
    for run in both:
        assert (run.end(), run.process.returncode) == ("", 0), run.output
        assert "Linux bridge" not in run.output
        assert run.left() == []


@pytest.mark.parametrize(
    ("number", "moment"),
    [
        (signal.SIGINT, "A switch with 5 hosts"),
        (signal.SIGTERM, "curl http://10.0.0.2/ on h1"),
        (signal.SIGINT, "2. A Python program"),
    ],
)
def test_interrupted_demo_cleans_up(runs: ExitStack, number: signal.Signals, moment: str) -> None:
    run = start(runs, "--fast")
    run.wait_for(moment)
    assert run.left() != []
    run.process.send_signal(number)
    assert run.end() == "vswitch demo: interrupted; all that it made is removed\n"
    assert run.process.returncode == 128 + number
    assert run.left() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_second_interrupt_does_not_disturb_the_clean_up(number: signal.Signals) -> None:
    cleaned = []

    def clean() -> None:
        signal.raise_signal(signal.SIGINT)
        cleaned.append("all")

    def work() -> None:
        with Interrupts(), ExitStack() as stack:
            stack.callback(clean)
            signal.raise_signal(number)

    before = signal.signal(number, signal.SIG_DFL)  # who runs the tests may ignore it, as nohup does SIGHUP
    try:
        with pytest.raises(Interrupted) as end:
            work()
    finally:
        signal.signal(number, before)
    assert cleaned == ["all"]
    assert end.value.signal == number


def test_a_signal_that_is_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interrupts():
            signal.raise_signal(signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_interrupt_during_the_clean_up_does_not_disturb_it() -> None:
    with Interrupts() as interrupts:
        interrupts.ignore()
        signal.raise_signal(signal.SIGINT)


def test_leftovers_of_a_killed_demo_are_removed(runs: ExitStack) -> None:
    run = start(runs, "--fast")
    run.wait_for("2. A Python program")
    run.process.kill()
    run.process.wait()
    assert len(run.namespaces()) == 8
    assert run.name in Datapath.list()
    servers = [path.name for path in Path("/proc").glob("[0-9]*") if _is_server(run, path.name)]
    assert servers
    with Lab():
        assert run.left() == []
        wait_until(lambda: not any(map(is_running, servers)), "the end of its servers")


def _is_server(run: Run, pid: str) -> bool:
    places = [Path("/run/netns", name).stat().st_ino for name in run.namespaces()]
    try:
        return Path("/proc", pid, "ns/net").stat().st_ino in places
    except OSError:
        return False


# ---- what goes wrong


def test_traffic_that_fails_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(self: Host, url: str) -> str:
        raise DemoError(f"{url} from {self.name}: connection refused")

    monkeypatch.setattr(Host, "get", fail)
    assert demo.main(["--fast"]) == 1
    assert capsys.readouterr().err == "vswitch demo: http://10.0.0.2:8080/ from h1: connection refused\n"
    assert f"vsdemo-{os.getpid()}" not in Datapath.list()
    assert not list(Path("/run/netns").glob(f"vsdemo-{os.getpid()}-*"))


def test_missing_root_is_one_sentence(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert demo.main([]) == 1
    assert capsys.readouterr().err == (
        "vswitch demo: this needs root, as it makes network namespaces and loads eBPF: try sudo\n"
    )


def test_missing_programs_are_named_with_their_packages(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    there = {"ip", "curl"}
    monkeypatch.setattr(shutil, "which", lambda program: program if program in there else None)
    assert demo.main([]) == 1
    assert capsys.readouterr().err == (
        "vswitch demo: not installed: ping, iperf3 (on Debian: apt-get install iputils-ping iperf3)\n"
    )


def test_kernel_without_bridge_leaves_it_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_bridge(self: Lab, name: str, *hosts: Host) -> None:
        raise KernelError("this kernel does not make devices of kind bridge")

    def enough(self: Story) -> None:
        raise DemoError("enough")

    monkeypatch.setattr(Lab, "bridge", no_bridge)
    monkeypatch.setattr(Story, "_rules_ahead", enough)
    assert demo.main(["--fast"]) == 1
    told = capsys.readouterr()
    assert "There is no bridge to compare with: this kernel does not make devices of kind bridge.\n" in told.out
    assert told.err == "vswitch demo: enough\n"


def test_help_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        demo.main(["--help"])
    assert end.value.code == 0
    assert "example:\n  sudo vswitch demo --fast" in capsys.readouterr().out


# ---- how it looks


def shown(terminal: bool) -> str:
    file = io.StringIO()
    show = Show(Console(file=file, force_terminal=terminal, highlight=False, soft_wrap=True, width=40))
    show.title("A part")
    show.say("long " * 20 + "end")
    with show.busy("working"):
        show.result("ping [h1]", "3 of 3")
    show.code("if x:\n    pass\n")
    show.table(("n", "name", "speed"), [(1234567, "[a]", 1.5), (2, "b" * 30, 20.0)])
    return file.getvalue()


def test_plain_output_has_no_control_characters_and_whole_lines() -> None:
    assert shown(terminal=False).splitlines() == [
        "",
        "A part",
        "long " * 20 + "end",
        "  ping [h1]                           3 of 3",
        "    if x:",
        "        pass",
        "  " + "        n  name                            speed",
        "  " + "1,234,567  [a]                              1.50",
        "  " + "        2  " + "b" * 30 + "  20.00",
    ]


def test_terminal_output_fits_the_terminal() -> None:
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown(terminal=True)).splitlines()
    table = [line for line in lines if line.startswith(("│", "┃"))]
    assert len(table) > 3
    assert all(len(line) <= 40 for line in table)
    assert "1,234,567 │ [a]" in table[1]
