"""Records of the ring that were read and not taken up yet, by the port that they came in by.

A port that is flooded has its share of the ring full at any time; who came later by another port should not wait until
all of that is done with. So a batch takes as many of each port, as far as there are. The ring's memory is given back in
the order of the ring all the same: up to the oldest record that is not done with.

Invariant: records of one port are taken in the order in which they came, but for those that `extract` takes, whose
flows have their rule.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable
from struct import Struct

from vswitch.datapath.backend import Ring
from vswitch.datapath.ebpf.layout import UpcallOffset

__all__ = ["Lanes"]

_PORT_AND_FLOW = Struct(f"<4xH{UpcallOffset.FLOW - 6}xI")


class Lanes:
    """`len()`: how many records wait."""

    def __init__(self, ring: Ring) -> None:
        self._ring = ring
        self._view = ring.view
        self._lanes: dict[int, deque[int]] = {}  # none of them is empty
        self._behind: dict[int, dict[int, None]] = {}  # slot of a flow -> records that came up behind its gate
        self._flow_of: dict[int, int] = {}
        self._gone: set[int] = set()  # in a lane still, and taken
        self._waiting = 0

    def __len__(self) -> int:
        return self._waiting

    def add(self, offsets: Iterable[int]) -> None:
        """These were read from the ring."""
        # hot: once per record, when there are more than a batch takes
        lanes, unpack, view = self._lanes, _PORT_AND_FLOW.unpack_from, self._view
        for offset in offsets:
            port, flow = unpack(view, offset)
            lane = lanes.get(port)
            if lane is None:
                lane = lanes[port] = deque()
            lane.append(offset)
            self._waiting += 1
            if flow:
                self._behind.setdefault(flow, {})[offset] = None
                self._flow_of[offset] = flow

    def read_all(self) -> None:
        """Add what is in the ring."""
        self.add(self._ring.records(self._ring.size))

    def take(self, limit: int) -> list[int]:
        """At most so many records, of each port as many as of the others if it has them."""
        taken: list[int] = []
        by_length = sorted(self._lanes.items(), key=lambda item: len(item[1]))
        for index, (port, lane) in enumerate(by_length):
            for _ in range(min(-(-(limit - len(taken)) // (len(by_length) - index)), len(lane))):
                offset = lane.popleft()
                if offset in self._gone:
                    self._gone.remove(offset)
                    continue
                taken.append(offset)
                flow = self._flow_of.pop(offset, 0)
                if flow:
                    self._leave(flow, offset)
            if not lane:
                del self._lanes[port]
        self._waiting -= len(taken)
        return taken

    def _leave(self, flow: int, offset: int) -> None:
        behind = self._behind[flow]
        del behind[offset]
        if not behind:
            del self._behind[flow]

    def extract(self, flows: Collection[int], holds: Callable[[int, int], bool]) -> list[int]:
        """Take all records that came up behind the gates of these flows, if it `holds`, for flow and record, that they
        still wait there."""
        taken = []
        for flow in flows:
            for offset in self._behind.pop(flow, ()):
                del self._flow_of[offset]
                if holds(flow, offset):
                    taken.append(offset)
        self._gone.update(taken)
        self._waiting -= len(taken)
        return taken

    def done(self, port: int | None = None) -> int:
        """Up to where all that came in by this port (None: by any) has been taken."""
        if port is None:
            return min(map(self._begin, list(self._lanes)), default=self._ring.position)
        return self._begin(port)

    def _begin(self, port: int) -> int:
        lane = self._lanes.get(port)
        while lane and lane[0] in self._gone:
            self._gone.remove(lane.popleft())
        if lane:
            return self._ring.position_of(lane[0])
        self._lanes.pop(port, None)
        return self._ring.position
