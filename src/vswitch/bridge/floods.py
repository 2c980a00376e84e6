"""Ports that send a controller far more than it takes: they get a small part of its time, and others the rest.

Packet-ins for which a controller has no time wait by ports (`pacing`). A port whose queue overflows loses its own; but
with its turn as often as others it has half of the controller, and what it has sent lies before what others send. So a
port that has lost packet-ins in `TICKS` ticks on end, or very many in one, is a flood. Its packet-ins go in batches,
one at a time, and from the beginning of one to that of the next it is `1 / share` times as long as the controller took.

How long it took is seen by what comes back: the echo that follows a batch (it is read), and packet-outs of frames that
were in it (they are answered). A controller that reads ahead sends the echo long before the last answer, so whatever
comes last counts. The way there and back is part of it; where that is most of it, batches get larger.

What a port asks for is its load: packet-ins a second, times what the controller takes for one. While that is at most
`TOLERATED` it may have all that others leave: a busy port, and a controller that is somewhat slow. Beyond that its
share gets smaller the more it sends, down to `LEAST_SHARE`; so a flood gains nothing by being a larger one.

Invariant: what a flood offers is sent, waits (at most `WAITING`), or is counted in `dropped`.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from typing import Generic, TypeVar

__all__ = [
    "CALM_TICKS",
    "LEAST_BATCH",
    "LEAST_SHARE",
    "MANY",
    "MOST_BATCH",
    "MOST_PAUSE_NS",
    "PATIENCE_NS",
    "SMALL_SHARE",
    "TICKS",
    "TOLERATED",
    "WAITING",
    "Floods",
]

TICKS = 2
"""Ticks on end, a tenth of a second each, in which a port loses packet-ins before it is a flood: bursts are none."""

MANY = 1000
"""Packet-ins that are lost in one tick: that is no burst."""

CALM_TICKS = 20
"""Ticks on end in which it loses none until it is no more."""

TOLERATED = 2.0
"""Times what a controller takes that a port may ask for and have all that others leave."""

LEAST_SHARE = 1 / 8
"""Of a controller's time, for one flood."""

SMALL_SHARE = 1 / 4
"""With so little of it, what comes is some thirty times what goes: it need not even come up (`shedding`)."""

WAITING = 64
"""Packet-ins of a flood that wait."""

LEAST_BATCH, MOST_BATCH = 8, 32
"""Packet-ins that go at once: more only if that takes no longer."""

MOST_PAUSE_NS = 250_000_000
"""However long a batch took: it may have had to wait behind what was sent before."""

PATIENCE_NS = 1_000_000_000
"""After that a batch is not waited for: its controller answers nothing."""

MOST_AWAITED = 1024
"""Frames that may come back; the oldest is forgotten for one more."""

UNKNOWN_PER_S = 250
"""Packet-ins a second that are taken to be sent of a flood as long as nothing has come back."""

T = TypeVar("T")
_S = 10**9
_ALIKE, _FORGOTTEN = 1.2, 1.01
"""Times that differ by less are the same; so much is forgotten of the least one with each batch."""


class _Batch:
    """What was sent at once. `took_ns`: until the last of what has come back of it (0: nothing has yet)."""

    __slots__ = ("begun_ns", "count", "took_ns")

    def __init__(self, now_ns: int) -> None:
        self.begun_ns = now_ns
        self.count = self.took_ns = 0


class _Flood(Generic[T]):
    """One port. `rate_per_s`: packet-ins that it would send; `cost_ns`: what the controller takes for one (0: it is not
    known yet)."""

    def __init__(self, rate_per_s: float) -> None:
        self.rate_per_s = rate_per_s
        self.cost_ns = 0.0
        self.waiting: deque[T] = deque()
        self.batch: _Batch | None = None
        self.size = LEAST_BATCH
        self.next_ns = 0
        self.offered = self.missed = self.lost = 0  # since the last tick
        self.total = 0
        self.calm = 0
        self._cost_before_ns = 0.0  # as it was known before the last batch
        self._least_ns = 0.0  # that a batch took of late

    @property
    def share(self) -> float:
        """Of the controller's time."""
        load = self.rate_per_s * self.cost_ns / _S
        return 1.0 if load <= TOLERATED else max(TOLERATED / load, LEAST_SHARE)

    def seen(self, batch: _Batch, now_ns: int) -> None:
        """Something of this batch has come back."""
        batch.took_ns = took_ns = max(now_ns - batch.begun_ns, 1)
        each_ns = took_ns / batch.count
        if batch is self.batch:
            self.cost_ns = (self._cost_before_ns or each_ns) / 2 + each_ns / 2
        else:  # it was taken to be over too early
            self._cost_before_ns = max(self._cost_before_ns, each_ns)
            self.cost_ns = max(self.cost_ns, each_ns / 2)
        takes_ns = max(took_ns, self.cost_ns * batch.count)
        next_ns = batch.begun_ns + round(min(takes_ns / self.share, took_ns + MOST_PAUSE_NS))
        self.next_ns = max(now_ns, next_ns) if batch is self.batch else max(self.next_ns, next_ns)

    def resize(self) -> None:
        """The last batch is over. If it took no longer than others, it could have been larger."""
        if self.batch is None or not self.batch.took_ns:
            return
        took_ns = self.batch.took_ns
        self._cost_before_ns = self.cost_ns
        self._least_ns = min(took_ns, self._least_ns * _FORGOTTEN) if self._least_ns else took_ns
        larger = took_ns < _ALIKE * self._least_ns
        self.size = min(self.size * 2, MOST_BATCH) if larger else max(self.size // 2, LEAST_BATCH)


class Floods(Generic[T]):
    """Those of one controller. `send` takes one item; `mark` asks for an echo behind what was sent, and gives its xid;
    `may_send` says whether one more may go; `frame` is what an answer would bring back of an item. Times are of a clock
    that goes on by itself."""

    def __init__(
        self,
        send: Callable[[T], object],
        mark: Callable[[], int],
        may_send: Callable[[], bool],
        frame: Callable[[T], Hashable],
    ) -> None:
        self._send = send
        self._mark = mark
        self._may_send = may_send
        self._frame = frame
        self._floods: dict[int, _Flood[T]] = {}
        self._streaks: dict[int, int] = {}
        self._awaited: OrderedDict[Hashable, tuple[_Flood[T], _Batch]] = OrderedDict()
        self._ticked_ns = 0
        self.dropped = 0

    def __bool__(self) -> bool:
        return bool(self._floods)

    def __contains__(self, port: int) -> bool:
        return port in self._floods

    def __iter__(self) -> Iterator[int]:
        return iter(list(self._floods))

    def share(self, port: int) -> float:
        """The part of the controller's time that this flood may have; 1: all that others leave."""
        return self._floods[port].share

    def offered(self, port: int) -> int:
        """Its packet-ins since it is a flood."""
        return self._floods[port].total

    def passes_per_s(self, port: int) -> float | None:
        """How many packet-ins a second the controller is sent of this flood; None: its share is not
        small."""
        flood = self._floods[port]
        if not flood.cost_ns:
            return UNKNOWN_PER_S
        return flood.share * _S / flood.cost_ns if flood.share <= SMALL_SHARE else None

    # ---- sending

    def offer(self, port: int, item: T, now_ns: int) -> None:
        """One more of a flood."""
        # hot: once per packet-in of a flood
        flood = self._floods[port]
        flood.offered += 1
        flood.total += 1
        if len(flood.waiting) < WAITING:
            flood.waiting.append(item)
        else:
            flood.lost += 1
            self.dropped += 1
        if now_ns >= flood.next_ns:
            self.turn(now_ns)

    def turn(self, now_ns: int) -> None:
        """Send batches of those whose pause is over, each port after the others that it was before."""
        for port, flood in list(self._floods.items()):
            if flood.waiting and now_ns >= flood.next_ns and self._may_send():
                self._floods[port] = self._floods.pop(port)
                self._send_batch(flood, now_ns)

    def _send_batch(self, flood: _Flood[T], now_ns: int) -> None:
        flood.resize()
        batch = flood.batch = _Batch(now_ns)
        flood.next_ns = now_ns + PATIENCE_NS
        while flood.waiting and batch.count < flood.size and (not batch.count or self._may_send()):
            item = flood.waiting.popleft()
            batch.count += 1
            self._await(self._frame(item), flood, batch)
            self._send(item)
        self._await(self._mark(), flood, batch)

    def _await(self, what: Hashable, flood: _Flood[T], batch: _Batch) -> None:
        self._awaited[what] = flood, batch
        if len(self._awaited) > MOST_AWAITED:
            self._awaited.popitem(last=False)

    def came_back(self, what: Hashable, now_ns: int) -> None:
        """An echo with this xid, or this frame in a packet-out."""
        found = self._awaited.pop(what, None)
        if found is not None:
            found[0].seen(found[1], now_ns)

    # ---- who is a flood

    def missed(self, port: int, count: int) -> None:
        """So many packets of the port did not come up since the last tick, which would have been packet-ins."""
        self._floods[port].missed += count

    def tick(self, lost: Mapping[int, int], now_ns: int) -> tuple[list[int], list[tuple[int, T]]]:
        """A tenth of a second has gone by. `lost`: packet-ins that other ports have lost in it. Which of them are
        floods from now on; and items that wait, with their ports, of those that are floods no more."""
        past_ns, self._ticked_ns = max(now_ns - self._ticked_ns, 1), now_ns
        self._streaks = {port: self._streaks.get(port, 0) + 1 for port, count in lost.items() if count}
        ended: list[tuple[int, T]] = []
        for port, flood in list(self._floods.items()):
            asked_per_s = (flood.offered + flood.missed) * _S / past_ns
            flood.rate_per_s += (asked_per_s - flood.rate_per_s) / 4
            flood.calm = 0 if flood.lost or flood.missed else flood.calm + 1
            flood.offered = flood.missed = flood.lost = 0
            if flood.calm >= CALM_TICKS:
                del self._floods[port]
                ended += [(port, item) for item in flood.waiting]
        begun = [port for port, streak in self._streaks.items() if streak >= TICKS or lost[port] >= MANY]
        for port in begun:
            self._floods[port] = _Flood(lost[port] * _S / past_ns)
            del self._streaks[port]
        return begun, ended

    def begin(self, port: int, items: Iterable[T]) -> None:
        """These have waited until its port became a flood."""
        flood = self._floods[port]
        for item in items:
            if len(flood.waiting) < WAITING:
                flood.waiting.append(item)
            else:
                self.dropped += 1

    def clear(self) -> None:
        """Whom it was for is gone."""
        self._floods.clear()
        self._streaks.clear()
        self._awaited.clear()
