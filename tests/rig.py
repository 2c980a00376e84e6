"""A datapath between three hosts that say nothing of their own: what goes in by a port, and what comes out of others.

Sockets that capture stay open for the life of the rig, since closing one takes the kernel milliseconds; so a test costs
little more than its packets.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

from tests.lab import Frames, Host, Lab
from vswitch import Datapath, Match
from vswitch.model.actions import Action

__all__ = ["Rig"]

_numbers = itertools.count(1)


class Rig:
    """Hosts h1, h2, h3 at the ports 1, 2, 3 of `dp`, which has no megaflow at first. Its thread is in the namespace of
    the switch."""

    def __init__(self, **options: Any) -> None:
        self._options = options
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.lab = stack.enter_context(Lab())
            self.hosts = [self.lab.host(f"h{number}", mtu=9000) for number in (1, 2, 3)]
            name = f"vsr{os.getpid()}-{next(_numbers)}"
            ports = [host.port for host in self.hosts]
            self.dp = stack.enter_context(Datapath.create(name, ports=ports, local=False, **self._options))
            self._captures = [stack.enter_context(host.capturing()) for host in self.hosts]
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def host(self, port: int) -> Host:
        """The host at that port."""
        return self.hosts[port - 1]

    def clear(self) -> None:
        """As at first: no megaflow, no packet under way."""
        self.dp.flows.flush()
        self.forget()

    def forget(self) -> None:
        """Frames that have come so far are of no interest."""
        for capture in self._captures:
            capture.settle(0)
            capture.clear()
            capture.headers.clear()

    def captured(self, port: int, count: int = 0, timeout_s: float = 2.0) -> Frames:
        """What came out of the port since `forget`, when it is at least `count` frames and no more come."""
        return self._captures[port - 1].wait_for(count, timeout_s).settle(0.01)

    def frames(self, port: int, count: int = 0) -> list[bytes]:
        """The same, as a plain list."""
        return list(self.captured(port, count))

    def through(
        self, frames: Iterable[bytes], actions: Action | Sequence[Action], *, out: int = 2, vnet: bytes | None = None
    ) -> list[bytes]:
        """Installs `actions` for all that comes in by port 1, sends the frames there, and returns what comes out of
        port `out`."""
        self.dp.flows.put(Match(in_port=1), actions)
        self.forget()
        sent = list(frames)
        self.host(1).send_many(sent, vnet)
        return self.frames(out, len(sent))

    def drops(self, port: int = 1) -> dict[str, int]:
        """Packets dropped that came in by the port, by reason."""
        return dict(self.dp.ports.stats(port).drops)
