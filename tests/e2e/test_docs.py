"""The programs in docs/programming.md and docs/tutorial.md work as they are written there."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.lab import Host, patience, wait_until
from tests.reactive import running
from vswitch import Datapath, Policy

DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / "programming.md").read_text(encoding="utf-8")
PROGRAMS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
REACHES = {"web_goes_to_three": False, "learning_switch": True, "firewall": False, "until_closing": False}
"""Whether hosts 1 and 2 can ping each other."""


def test_every_program_is_tried() -> None:
    functions = [re.findall(r"def (\w+)", program) for program in PROGRAMS]
    assert functions == [*([name] for name in REACHES), ["place"], ["policy", "frame"]]


def test_the_tutorial_works_step_by_step(name: str, hosts: tuple[Host, Host, Host]) -> None:
    """Each piece of code after the others, and what they end with on real devices."""
    names: dict[str, Any] = {}
    text = (DOCS / "tutorial.md").read_text(encoding="utf-8")
    pieces = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(pieces) == 6
    for piece in pieces:
        exec(piece, names)
    program = "\n".join(pieces) + "\nimport sys\nmain(sys.argv[1], sys.argv[2:])\n"
    ports = [host.port for host in hosts]
    with subprocess.Popen([sys.executable, "-c", program, name, *ports], stderr=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: name in Datapath.list() and hosts[0].ping(hosts[1].ip, count=1).received, "it works")
            assert hosts[1].curl(hosts[2].serve_http()) == "hello from h3\n"
            process.send_signal(signal.SIGINT)
            process.wait(10 * patience())
        finally:
            process.kill()
    assert name not in Datapath.list()


@pytest.mark.parametrize("which", [-2, -1], ids=["workers", "tests"])
def test_the_programs_without_a_network_work(which: int) -> None:
    exec(PROGRAMS[which], {})


@pytest.mark.parametrize("name_of_policy", REACHES)
def test_program_works(name_of_policy: str, name: str, hosts: tuple[Host, Host, Host]) -> None:
    names: dict[str, Policy] = {}
    exec(PROGRAMS[list(REACHES).index(name_of_policy)], names)
    with Datapath.create(name, ports=[host.port for host in hosts], local=False) as dp:
        dp.policy(names[name_of_policy])
        with running(dp):
            ping = hosts[0].ping(hosts[1].ip, count=3, interval_s=0.05)
        assert (ping.received == 3) is REACHES[name_of_policy]
        assert dp.upcall_stats.failed == 0
        assert 0 < len(dp.flows) <= dp.upcall_stats.installed <= 6
