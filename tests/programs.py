"""The programs of examples/, run as a user runs them."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from tests.lab import Host, patience
from vswitch import Datapath, DatapathStats, Megaflow, PortStats, UpcallStats

__all__ = ["EXAMPLES", "Program"]

EXAMPLES = Path(__file__).parents[1] / "examples"


class Program:
    """An example that runs on hosts of the lab, and what it made, as another process sees it."""

    def __init__(self, example: str, name: str, devices: Iterable[str]) -> None:
        self.name = name
        self.process = subprocess.Popen(
            [sys.executable, str(EXAMPLES / f"{example}.py"), name, *devices],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def wait_until_it_runs(self) -> None:
        """Examples say so in their first line."""
        assert self.process.stdout
        first_line = self.process.stdout.readline()
        assert "Ctrl-C ends it" in first_line, first_line + self.process.stdout.read()

    def interrupt(self) -> str:
        """Ctrl-C; what it printed since its first line. It ends without an error, and its datapath with it."""
        self.process.send_signal(signal.SIGINT)
        output, _ = self.process.communicate(timeout=20 * patience())
        assert self.process.returncode == 0, output
        assert self.name not in Datapath.list()
        return output

    def close(self) -> None:
        """Whatever happened, it ends."""
        self.process.kill()
        self.process.communicate()

    def flows(self) -> list[Megaflow]:
        with closing(Datapath.open(self.name, control=False)) as dp:
            return list(dp.flows)

    def stats(self) -> DatapathStats:
        with closing(Datapath.open(self.name, control=False)) as dp:
            return dp.stats()

    def upcall_stats(self) -> UpcallStats:
        with closing(Datapath.open(self.name, control=False)) as dp:
            return dp.upcall_stats

    def port_stats(self, host: Host) -> PortStats:
        with closing(Datapath.open(self.name, control=False)) as dp:
            return dp.ports.stats(host.port)
