"""What became of packets that came up: counters, kept where other processes can read them.

Invariant: of the packets that the kernel counts as sent up, each is waiting, released, or dropped for one reason.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import accumulate

from vswitch.datapath.backend import Backend

__all__ = ["UPCALL_DROPS", "Drop", "Tally", "UpcallStats"]


class Drop(IntEnum):
    """Why a packet that came up went no further."""

    ANSWER = 0
    """The program said so."""
    UNANSWERED = 1
    """The program said nothing."""
    FAILED = 2
    """The program raised, or its answer was refused; or it did so for the packet that this one waited behind."""
    LATE = 3
    """The handler took longer than its limit, with this packet or with the one that it waited behind."""
    EXPIRED = 4
    """It waited too long for a worker."""
    FLOW_FULL = 5
    """As many packets of its flow waited as may."""
    PORT_FULL = 6
    """As many packets of its port waited as may."""
    BUFFER_FULL = 7
    """As many bytes waited, of all ports, as may."""
    RATE = 8
    """More new flows came than `limit_new_flows` lets pass, other than by port alone."""
    UNSENT = 9
    """The kernel refused to take it back."""
    CLOSED = 10
    """Its reader ended, or was killed."""


UPCALL_DROPS = tuple(reason.name.lower() for reason in Drop)
"""The names of the reasons."""

_HANDLED, _JOINED, _RELEASED, _INSTALLED, _FAILED = range(5)
_DROPS = 8
_WAITS = 32
WAIT_BUCKETS = 28
"""Of the histogram of waiting times: bucket i counts those below 2^i microseconds, the last one all that are longer."""


@dataclass(frozen=True, slots=True)
class UpcallStats:
    """What became of packets that came up, since the datapath was made.

    arrived: packets that came up. handled: packets that the program was asked about. joined: packets that it was not
    asked about, as a rule takes them that was installed for another one. installed: rules. released: packets that were
    sent down. failed: times that the program raised or was late, or that what it answered was refused. drops: reason ->
    packets, of those reasons that occurred. waits: packets by the time from their arrival to their release; `waits[i]`
    counts those below 2^i microseconds and not below half of that, the last all that took longer.
    """

    arrived: int = 0
    handled: int = 0
    joined: int = 0
    installed: int = 0
    released: int = 0
    failed: int = 0
    drops: Mapping[str, int] = field(default_factory=dict)
    waits: tuple[int, ...] = ()

    @property
    def dropped(self) -> int:
        """Packets that came up and went no further, for whatever reason."""
        return sum(self.drops.values())

    @property
    def waiting(self) -> int:
        """Packets that came up and are neither released nor dropped yet."""
        return max(self.arrived - self.released - self.dropped, 0)

    def wait_s(self, quantile: float) -> float:
        """An upper bound, to a factor of two, of the seconds that this share of packets (0..1) waited at most; 0 if
        none was released, infinity beyond the histogram."""
        counted = list(accumulate(self.waits))
        if not counted or not counted[-1]:
            return 0.0
        bucket = bisect_left(counted, min(quantile, 1) * counted[-1])
        return (1 << bucket) / 1e6 if bucket < WAIT_BUCKETS - 1 else math.inf


class Tally:
    """The counters, where this process writes them and others read them."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._words: memoryview = backend.reader
        self._arrived = 0
        self._closed = False

    def close(self) -> None:
        """The memory goes; what was counted can still be read, and corrected."""
        if not self._closed:
            self._arrived = self._backend.counters().upcalls
            self._words = memoryview(bytearray(self._words.tobytes())).cast("Q")
            self._closed = True

    def read(self) -> UpcallStats:
        """As it is now. Words are read before what the kernel counts: what is settled has arrived."""
        words = self._words.tolist()  # once, as another process may be counting
        settled = words[_RELEASED] + sum(words[_DROPS : _DROPS + len(Drop)])
        arrived = self._arrived if self._closed else self._backend.counters().upcalls
        return UpcallStats(
            arrived=max(arrived, settled),
            handled=words[_HANDLED],
            joined=words[_JOINED],
            installed=words[_INSTALLED],
            released=words[_RELEASED],
            failed=words[_FAILED],
            drops={name: words[_DROPS + i] for i, name in enumerate(UPCALL_DROPS) if words[_DROPS + i]},
            waits=tuple(words[_WAITS : _WAITS + WAIT_BUCKETS]),
        )

    def begin(self) -> None:
        """A new reader: what came up and was not settled, nobody will."""
        stats = self.read()
        self.drop(Drop.CLOSED, stats.waiting)

    def handled(self, count: int) -> None:
        """The program was asked about so many; below 0: is to be asked about them again."""
        self._words[_HANDLED] += count

    def joined(self, count: int) -> None:
        """So many need not be asked about; below 0: must be, after all."""
        self._words[_JOINED] += count

    def installed(self, count: int) -> None:
        """Rules."""
        self._words[_INSTALLED] += count

    def failed(self) -> None:
        """The program could not answer, or its answer was refused."""
        self._words[_FAILED] += 1

    def drop(self, reason: Drop, count: int = 1) -> None:
        """So many packets go no further; below 0: it was for another reason."""
        self._words[_DROPS + reason] += count

    def released(self, arrivals_ns: list[int], now_ns: int) -> None:
        """Packets that came up at these times are sent down."""
        # hot: once per batch, and the loop once per packet
        words = self._words
        words[_RELEASED] += len(arrivals_ns)
        for arrived_ns in arrivals_ns:
            bucket = ((now_ns - arrived_ns) // 1000).bit_length()
            words[_WAITS + (bucket if bucket < WAIT_BUCKETS else WAIT_BUCKETS - 1)] += 1

    def unsent(self, count: int) -> None:
        """Of those that are said to be released, so many were refused."""
        self._words[_RELEASED] -= count
        self._words[_DROPS + Drop.UNSENT] += count
