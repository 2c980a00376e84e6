"""A shell as a user has it, for tests of what documents tell users to paste."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.lab import patience

__all__ = ["Terminal"]

_HOLD = "mkdir -p /run/netns; mount -t tmpfs none /run/netns && echo && exec cat"


class Terminal:
    """A shell as a user has it, with the programs of this Python first, named network namespaces of its own, and places
    of its own for a daemon."""

    def __init__(self, folder: Path) -> None:
        programs = folder / "bin"
        programs.mkdir()
        self._write(programs / "vswitch", f'#!/bin/sh\nexec {sys.executable} -m vswitch "$@"\n')
        self._write(programs / "python", f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        self._holder = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", _HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._holder.stdout
        assert self._holder.stdout.readline() == "\n"
        path, modules = f"{programs}:{os.environ['PATH']}", os.pathsep.join(filter(None, sys.path))
        self._environment = {**os.environ, "PATH": path, "PYTHONPATH": modules}
        self._environment |= {f"OVS_{name}": str(folder / name.lower()) for name in ("RUNDIR", "DBDIR", "LOGDIR")}

    @staticmethod
    def _write(path: Path, text: str) -> None:
        path.write_text(text)
        path.chmod(0o755)

    def start(self, *command: str) -> subprocess.Popen[str]:
        """A program, with its output in one."""
        return subprocess.Popen(
            ["nsenter", "--mount", "--root", "--wd", f"--target={self._holder.pid}", *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=self._environment,
        )

    def paste(self, block: str) -> str:
        """What a block of shell prints; none of its lines fails."""
        with self.start("sh", "-e", "-c", block) as process:
            try:
                output = process.communicate(timeout=60 * patience())[0]
            finally:
                process.kill()
        assert process.returncode == 0, f"{block}\n{output}"
        return output

    def close(self) -> None:
        self._holder.communicate()
