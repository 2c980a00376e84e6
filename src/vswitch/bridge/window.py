"""How many packet-ins may be under way to a controller: few enough that the next one is not looked at seconds later.

Sockets on both sides and the controller's own queues hold tens of thousands of packets. What waits there can be neither
dropped nor overtaken: one port that floods then delays packets of all ports. So every now and then an echo request
follows a packet-in; who answers it has read all that went before. Beyond `MOST` packet-ins whose echo has not come back
the rest waits here, where ports have turns.

An answer that does not come within `PATIENCE_NS` is not waited for: a controller that answers no echoes gets packets
nevertheless, if fewer.
"""

from __future__ import annotations

from collections import deque

__all__ = ["MARK", "MOST", "PATIENCE_NS", "Window"]

MARK = 16
"""Packet-ins, after which an echo is asked for."""

MOST = 128
"""Some tens of milliseconds of a controller's time; at a round trip of 10 ms it is 12,800 packet-ins a second."""

PATIENCE_NS = 1_000_000_000


class Window:
    """Of one controller. `under_way`: packet-ins that it may not have read."""

    def __init__(self) -> None:
        self.under_way = 0
        self._unmarked = 0
        self._marks: deque[tuple[int, int, int]] = deque()  # xid, packet-ins before it, when

    @property
    def is_open(self) -> bool:
        """Whether one more may go."""
        return self.under_way < MOST

    @property
    def wants_mark(self) -> bool:
        """Whether an echo is to follow what has gone."""
        return self._unmarked >= MARK

    def sent(self) -> None:
        """One more has gone."""
        self.under_way += 1
        self._unmarked += 1

    def marked(self, xid: int, now_ns: int) -> None:
        """An echo request with this xid went behind the last one."""
        self._marks.append((xid, self._unmarked, now_ns))
        self._unmarked = 0

    def heard(self, xid: int) -> bool:
        """An echo has come back. Whether it was one of these."""
        if all(mark[0] != xid for mark in self._marks):
            return False
        while self._forget() != xid:
            pass
        return True

    def tick(self, now_ns: int) -> None:
        """Wait no longer for what is too long ago."""
        while self._marks and now_ns - self._marks[0][2] >= PATIENCE_NS:
            self._forget()

    def _forget(self) -> int:
        xid, count, _ = self._marks.popleft()
        self.under_way -= count
        return xid
