"""How many packet-ins a controller gets: so many a second, and of all ports alike when there are more.

A token bucket with a queue for each port behind it. What finds a token and no queue goes at once. When the queues hold
`burst` packets in all, the longest loses its last one: a flood on one port costs that port its packets, and no other.
(A port that goes on losing them is paced by `floods`.)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from vswitch.base.errors import ConfigError

__all__ = ["Pacer"]

WAITING = 256
"""Items that may wait where there is no rate."""

T = TypeVar("T")
_S = 10**9


class Pacer(Generic[T]):
    """`rate_per_s` 0: without bound. `burst`: so many at once after a pause, and so many may wait (default: those of a
    quarter of a second, or `WAITING`). `send` is called for each that is let go, as long as `may_send` says so.
    `dropped` counts those that were not, `delayed` those that had to wait."""

    def __init__(
        self,
        send: Callable[[T], object],
        rate_per_s: int = 0,
        burst: int = 0,
        may_send: Callable[[], bool] = lambda: True,
    ) -> None:
        if rate_per_s < 0 or burst < 0:
            raise ConfigError(f"a rate of {rate_per_s} packets/s with a burst of {burst}: neither may be below 0")
        self._send = send
        self._cost_ns = _S // rate_per_s if rate_per_s else 0
        self._may_send = may_send
        self._burst = max(burst or (rate_per_s // 4 if rate_per_s else WAITING), 1)
        self._full_at_ns = 0
        self._queues: dict[int, deque[T]] = {}
        self._turns: deque[int] = deque()  # ports that have a queue, the next one first
        self._waiting = 0
        self._lost: dict[int, int] = {}
        self.dropped = 0
        self.delayed = 0

    def __len__(self) -> int:
        return self._waiting

    def offer(self, port: int, item: T, now_ns: int) -> None:
        """Let it go now, or when its turn comes; or drop one."""
        if not self._waiting and self._may_send() and self.has_token(now_ns):
            self._send(item)
        else:
            self.delayed += 1
            self._put(port, item)

    def has_token(self, now_ns: int) -> bool:
        """Whether one more may go now, as far as the rate goes; it is taken to go."""
        if not self._cost_ns:
            return True
        full_at_ns = max(self._full_at_ns, now_ns) + self._cost_ns
        if full_at_ns - now_ns > self._burst * self._cost_ns:
            return False
        self._full_at_ns = full_at_ns
        return True

    def _put(self, port: int, item: T) -> None:
        queue = self._queues.get(port)
        if queue is None:
            queue = self._queues[port] = deque()
            self._turns.append(port)
        queue.append(item)
        self._waiting += 1
        if self._waiting > self._burst:
            longest = max(self._queues, key=lambda number: len(self._queues[number]))
            self._queues[longest].pop()
            self._waiting -= 1
            self.dropped += 1
            self._lost[longest] = self._lost.get(longest, 0) + 1
            if not self._queues[longest]:
                del self._queues[longest]
                self._turns.remove(longest)

    def turn(self, now_ns: int) -> None:
        """Let those go whose turn it is: one of each port after another."""
        while self._waiting and self._may_send() and self.has_token(now_ns):
            port = self._turns.popleft()
            queue = self._queues[port]
            item = queue.popleft()
            self._waiting -= 1
            if queue:
                self._turns.append(port)
            else:
                del self._queues[port]
            self._send(item)

    def take_lost(self) -> dict[int, int]:
        """How many items of which ports were dropped since the last call."""
        lost, self._lost = self._lost, {}
        return lost

    def take(self, port: int) -> list[T]:
        """All that waits of a port, which is no longer to wait here."""
        queue = self._queues.pop(port, None)
        if queue is None:
            return []
        self._turns.remove(port)
        self._waiting -= len(queue)
        return list(queue)

    def clear(self) -> None:
        """Whom it was for is gone."""
        self._queues.clear()
        self._turns.clear()
        self._waiting = 0
