"""`vswitch run` in a process of its own, with ovs-ofctl at its management socket."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType

from tests.lab import LabError, patience

__all__ = ["Running"]


class Running:
    """`vswitch run` in a process of its own, in the namespace of the switch."""

    def __init__(self, name: str, folder: Path, *words: str) -> None:
        self.name = name
        self.socket = f"unix:{folder}/{name}.mgmt"
        self.control = folder / f"{name}.ctl"
        sockets = ["--management", f"p{self.socket}", "--control", f"punix:{self.control}"]
        command = [sys.executable, "-m", "vswitch", "run", name, *sockets, *words]
        self.errors = (folder / f"{name}.errors").open("w+")
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.errors, text=True)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if "is running" not in line:
            self.process.wait(20 * patience())
            said = self.said()
            self.close()
            raise LabError(f"vswitch run: {line}{said}")

    def __enter__(self) -> Running:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ctrl-C; without an error in the test, there is none in what it said either."""
        status = self.end()
        if kind is None:
            assert status == 0, self.errors.name

    def said(self) -> str:
        self.errors.seek(0)
        return self.errors.read()

    def ofctl(self, command: str, *words: str, version: str = "OpenFlow13") -> str:
        """What ovs-ofctl prints; LabError: it failed."""
        line = ["ovs-ofctl", "-O", version, command, self.socket, *words]
        result = subprocess.run(line, capture_output=True, text=True, timeout=30 * patience(), check=False)
        if result.returncode:
            raise LabError(f"{' '.join(line)}: {result.stderr}")
        return result.stdout

    def appctl(self, *words: str) -> str:
        """What ovs-appctl prints; LabError: it failed."""
        line = ["ovs-appctl", "-t", str(self.control), *words]
        result = subprocess.run(line, capture_output=True, text=True, timeout=30 * patience(), check=False)
        if result.returncode:
            raise LabError(f"{' '.join(line)}: {result.stderr}")
        return result.stdout

    def end(self, number: int = signal.SIGINT) -> int:
        self.process.send_signal(number)
        status = self.process.wait(20 * patience())
        self.close()
        return status

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.errors.close()
