"""`vswitch` as users run it: in another process, in a pipe or on a terminal, in the namespace of the switch."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.lab import patience
from vswitch.cli.main import main

__all__ = ["ENVIRONMENT", "Shell", "monitoring", "on_terminal", "refused"]

ROOT = Path(__file__).parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT / "src")}


@dataclass
class Shell:
    """Runs `vswitch` as a user does: another process, in the namespace of the switch. `before`: what the command line
    begins with."""

    before: tuple[str, ...] = (sys.executable, "-m", "vswitch")
    environment: Mapping[str, str] = field(default_factory=lambda: ENVIRONMENT)

    def run(self, *words: str, text: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.before, *words], input=text, capture_output=True, text=True, timeout=60 * patience(),
            env=self.environment, check=False,
        )  # fmt: skip

    def __call__(self, *words: str, text: str = "") -> str:
        """What it prints, if it goes well."""
        result = self.run(*words, text=text)
        assert (result.returncode, result.stderr) == (0, ""), f"{words}: {result.stderr}"
        return result.stdout

    def refused(self, *words: str, text: str = "", status: int = 1) -> str:
        """The sentence, if it does not."""
        result = self.run(*words, text=text)
        return the_sentence(result.returncode, result.stdout, result.stderr, status)

    def dpctl(self, command: str, *words: str, text: str = "") -> str:
        return self("dpctl", command, *words, text=text)


def refused(*words: str, status: int = 1) -> str:
    """As `Shell.refused` for `vswitch dpctl`, within this process: there are many refusals, and they change nothing."""
    output, errors = io.StringIO(), io.StringIO()
    with redirect_stdout(output), redirect_stderr(errors):
        ended = main(["dpctl", *words])
    return the_sentence(ended, output.getvalue(), errors.getvalue(), status)


def the_sentence(ended: int, output: str, errors: str, status: int) -> str:
    assert (ended, output) == (status, ""), errors
    assert errors.startswith("vswitch: ")
    assert errors.count("\n") == 1, errors
    return errors.removeprefix("vswitch: ").rstrip("\n")


@contextmanager
def monitoring(*words: str) -> Iterator[subprocess.Popen[str]]:
    """`monitor` from the time on when it listens."""
    command = [sys.executable, "-m", "vswitch", "dpctl", "monitor", *words]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
    ) as process:
        try:
            assert process.stderr is not None
            assert process.stderr.readline().startswith("listening to datapath ")
            yield process
        finally:
            process.kill()


def on_terminal(*words: str) -> str:
    """What `vswitch` writes to a terminal."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "vswitch", *words], stdin=theirs, stdout=theirs, stderr=theirs, env=ENVIRONMENT
    ) as process:
        os.close(theirs)
        output = b""
        with suppress(OSError):  # how a terminal says that nobody is left at its other end
            while data := os.read(ours, 65536):
                output += data
        os.close(ours)
        assert process.wait(60 * patience()) == 0, output
    return output.decode()
