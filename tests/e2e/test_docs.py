"""The programs in docs/programming.md and docs/tutorial.md work as they are written there."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path

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


def followed(blocks: list[tuple[str, str]]) -> str:
    """The tutorial as a script: commands as they are, pieces of code at the end of the file that they name, and all
    tests after each piece that has some."""
    script = ["set -e\n"]
    for kind, block in blocks:
        if kind == "sh":
            script.append(block)
            continue
        named = re.match(r"# ((?:test_)?office\.py)\n", block)
        assert named, f"where does this go?\n{block}"
        script.append(f"cat >> {named[1]} <<'END'\n{block}\n\nEND\n")
        if named[1].startswith("test_"):
            script.append("python -m pytest\n")
    return "".join(script)


def test_the_tutorial_works_step_by_step(name: str, hosts: tuple[Host, Host, Host], tmp_path: Path) -> None:
    """Each command and each piece of code after the others, and at last on real devices. The installation is real, but
    for what it would download: that it finds where this Python has it."""
    text = (DOCS / "tutorial.md").read_text(encoding="utf-8")
    *blocks, last = re.findall(r"```(sh|python)\n(.*?)```", text, re.DOTALL)
    assert ("sh", "python -m pytest\n") in blocks
    (tmp_path / "vswitch").symlink_to(DOCS.parent)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    offline = {"PYTHONPATH": sysconfig.get_path("purelib"), "PIP_NO_BUILD_ISOLATION": "0"}  # 0: there is none
    environment = {**os.environ, "PATH": path, **offline}
    result = subprocess.run(
        ["sh", "-c", followed(blocks)],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=180 * patience(), check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    passed = re.findall(r"= (.*) in [0-9.]+s =", result.stdout)
    assert list(dict.fromkeys(passed)) == [f"{count} passed" for count in range(1, 6)]

    assert last == ("sh", "python office.py sw0 02:00:00:00:00:09 veth1 veth2 veth3\n")
    command = [str(tmp_path / "office-env" / "bin" / "python"), "office.py", name, hosts[2].mac]
    with subprocess.Popen(
        [*command, *(host.port for host in hosts)],
        cwd=tmp_path / "office", env=environment, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        try:
            wait_until(lambda: name in Datapath.list() and hosts[0].ping(hosts[1].ip, count=1).received, "it works", 30)
            assert hosts[1].curl(hosts[2].serve_http()) == "hello from h3\n"
            assert hosts[1].ping(hosts[2].ip, count=1).received == 0, "guests see the web only"
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
