"""A process that goes to the background: who started it waits until it is ready, and has its exit status if it is not.

Invariant: what it says before it is ready is seen where it was started; afterwards it holds nothing of that terminal.
"""

from __future__ import annotations

import contextlib
import os

__all__ = ["Detached"]


class Detached:
    """`begin` before there are threads, sockets or locks; `ready` once."""

    def __init__(self) -> None:
        self._told: int | None = None

    def begin(self) -> None:
        """Goes on in a new process. The old one ends when that is ready, or has ended."""
        heard, self._told = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(heard)
            os.setsid()
            return
        os.close(self._told)
        with contextlib.suppress(KeyboardInterrupt):
            if os.read(heard, 1):
                os._exit(0)
        _, status = os.waitpid(child, 0)
        os._exit(os.waitstatus_to_exitcode(status) & 0xFF or 1)

    def ready(self) -> None:
        """Let the starter go; nothing happens if there is none."""
        if self._told is None:
            return
        os.chdir("/")
        nowhere = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(nowhere, descriptor)
        os.close(nowhere)
        with contextlib.suppress(BrokenPipeError):
            os.write(self._told, b"r")
        os.close(self._told)
        self._told = None
