"""Debian's Mininet, unmodified, on our daemon: its topologies, with and without a controller, with limited links.

Each run has pid, mount and network namespaces of its own, and a bpf file system of its own: Mininet ends processes and
empties folders as if the machine were its.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.lab import patience

ROOT = Path(__file__).parents[2]
VSWITCH = Path(sys.executable).with_name("vswitch")
CONTROLLER = f"{sys.executable} -W ignore -m tests.osken 6653 os_ken.app.simple_switch_13"
IPERF = ("h1 iperf -s -D > /dev/null", "h2 sleep 0.5", "h2 iperf -f m -t 2 -c h1", "h2 iperf -f m -t 2 -c h1")

pytestmark = [pytest.mark.kernel, pytest.mark.slow]


class Run:
    """One. `said`: by Mininet."""

    def __init__(self, folder: Path, options: str, lines: Sequence[str], controller: str = "-") -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        command = [
            "unshare", "--mount", "--pid", "--fork", "--net", "--mount-proc", "--kill-child",
            str(ROOT / "tests/mininet.sh"), str(folder), str(VSWITCH), controller, *options.split(),
        ]  # fmt: skip
        process = subprocess.run(
            command, input="\n".join([*lines, "exit", ""]), text=True, timeout=120 * patience(), cwd=ROOT, check=False
        )
        self.folder = folder
        self.said = (folder / "mn.log").read_text()
        assert process.returncode == 0, self.said + self.read("daemon.log")
        assert self.read("ended") == "0\n", self.read("daemon.log")
        assert self.read("bridges") == "", "Mininet removes its bridges"
        assert self.read("datapaths") == "", "so they have left nothing"
        assert "Traceback" not in self.read("daemon.log") + self.said

    def read(self, name: str) -> str:
        """What was left behind."""
        return (self.folder / name).read_text()

    def rates(self) -> list[float]:
        """Of iperf, in Mbit/s."""
        return [float(rate) for rate in re.findall(r"([\d.]+) Mbits/sec", self.said)]


def all_reached(run: Run, hosts: int) -> bool:
    pairs = hosts * (hosts - 1)
    return f"0% dropped ({pairs}/{pairs} received)" in run.said


@pytest.mark.parametrize(
    ("options", "hosts"),
    [("--topo single,4", 4), ("--topo linear,3", 3), ("--topo tree,depth=2,fanout=2", 4)],
    ids=["single", "linear", "tree"],
)
def test_topologies_of_learning_switches(tmp_path: Path, options: str, hosts: int) -> None:
    run = Run(tmp_path / "run", f"{options} --controller none --switch ovsk,failMode=standalone", ["pingall", *IPERF])
    assert all_reached(run, hosts), run.said
    assert min(run.rates()) > 100, run.said


@pytest.mark.parametrize(
    ("options", "hosts"), [("--topo single,3", 3), ("--topo linear,3", 3), ("--topo tree,depth=2,fanout=2", 4)]
)
def test_topologies_with_a_remote_controller(tmp_path: Path, options: str, hosts: int) -> None:
    switch = "--switch ovsk,protocols=OpenFlow13 --controller remote,ip=127.0.0.1,port=6653"
    run = Run(tmp_path / "run", f"{options} {switch}", ["pingall", "pingall", *IPERF], controller=CONTROLLER)
    assert all_reached(run, hosts), run.said
    assert min(run.rates()) > 100, run.said


def test_without_its_controller_a_secure_switch_forwards_nothing(tmp_path: Path) -> None:
    options = "--topo single,2 --switch ovsk,failMode=secure --controller remote,ip=127.0.0.1,port=6654"
    run = Run(tmp_path / "run", f"{options} --test none", [])
    assert "Unable to contact the remote controller" in run.said


def test_limited_links_limit_and_our_ports_survive_that(tmp_path: Path) -> None:
    options = "--topo single,2 --controller none --switch ovsk,failMode=standalone --link tc,bw=10,delay=2ms"
    run = Run(tmp_path / "run", options, ["pingall", *IPERF])
    assert all_reached(run, 2), run.said
    assert max(run.rates()) < 14, run.said
    assert min(run.rates()) > 3, run.said
