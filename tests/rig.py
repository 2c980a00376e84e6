"""A datapath between three hosts that say nothing of their own: what goes in by a port, and what comes out of others.

Sockets that capture stay open for the life of the rig, since closing one takes the kernel milliseconds; so a test costs
little more than its packets.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Any, NamedTuple, Self

from tests.lab import Frames, Host, Lab
from vswitch import Datapath, Key, Match, UpcallReason
from vswitch.model.actions import Action

__all__ = ["ARRIVED", "Rig", "Upcall"]

ARRIVED = Match(in_port=1, recirc_id=0)
"""What comes in by port 1, before it is recirculated."""

_numbers = itertools.count(1)


class Upcall(NamedTuple):
    """A packet that came up."""

    packet: bytes
    key: Key
    reason: UpcallReason
    userdata: bytes
    length: int
    port: int


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
            name = f"rvs-{os.getpid()}-{next(_numbers)}"
            ports = [host.port for host in self.hosts]
            self.dp = stack.enter_context(Datapath.create(name, ports=ports, local=False, **self._options))
            self.dp.start_upcalls()
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
        self.upcalls()

    def forget(self) -> None:
        """Frames that have come so far are of no interest."""
        for capture in self._captures:
            capture.settle(0)
            capture.clear()
            capture.headers.clear()

    def captured(self, port: int, count: int = 0, timeout_s: float = 2.0, quiet_s: float = 0.01) -> Frames:
        """What came out of the port since `forget`, when it is at least `count` frames and none has come for
        `quiet_s`."""
        return self._captures[port - 1].wait_for(count, timeout_s).settle(quiet_s)

    def frames(self, port: int, count: int = 0) -> list[bytes]:
        """The same, as a plain list."""
        return list(self.captured(port, count))

    def through(
        self,
        frames: Iterable[bytes],
        actions: Action | Sequence[Action],
        *,
        out: int = 2,
        count: int | None = None,
        vnet: bytes | None = None,
    ) -> list[bytes]:
        """Installs `actions` for all that arrives by port 1, sends the frames there, and returns what comes out of
        port `out`; it waits for `count` frames, by default as many as were sent."""
        self.dp.flows.put(ARRIVED, actions)
        self.forget()
        sent = list(frames)
        self.host(1).send_many(sent, vnet)
        return self.frames(out, len(sent) if count is None else count)

    def upcalls(self) -> list[Upcall]:
        """What came up and has not been looked at; it is not answered."""
        reader, found = self.dp.start_upcalls(), list[Upcall]()
        while batch := [
            Upcall(miss.packet, miss.key, miss.reason, miss.userdata, miss.length, miss.port)
            for miss in reader.misses()
        ]:
            found += batch
        return found

    @contextmanager
    def dropping(self, port: int = 1) -> Iterator[dict[str, int]]:
        """What is dropped meanwhile of packets that came in by the port, by reason; filled in at the end."""
        before, found = self.dp.ports.stats(port).drops, dict[str, int]()
        yield found
        after = self.dp.ports.stats(port).drops
        found.update({name: more for name, count in after.items() if (more := count - before.get(name, 0))})
