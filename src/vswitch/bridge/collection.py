"""Garbage collection for a process that is a switch.

A switch keeps millions of small objects, megaflows and what they follow from, and makes and forgets thousands a
second; none of them is in a cycle. Python's collector, as it is set by default, looks through all of them again and
again, which takes more time than the switching. So here it looks at what is new, and at the rest only when little is
there, or when a long time has gone by.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator

__all__ = ["Collector", "seldom"]

_THRESHOLDS = (10_000, 5, 1_000_000)
"""New objects, by which the youngest generation is looked through (half a millisecond), and how often before the next
older one is; the oldest practically never."""

QUIET_S, LATEST_S = 60.0, 3600.0
FEW_MEGAFLOWS = 2000


@contextlib.contextmanager
def seldom() -> Iterator[None]:
    """Collect so for the length of the block."""
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


class Collector:
    """Looks through everything now and then, where `seldom` holds."""

    def __init__(self, now_s: float) -> None:
        self._last_s = now_s

    def tick(self, now_s: float, megaflows: int) -> bool:
        """Do it if it is time, and little is there to be looked through or it has been too long. Whether it was."""
        since_s = now_s - self._last_s
        if gc.get_threshold() != _THRESHOLDS or since_s < QUIET_S:
            return False
        if megaflows > FEW_MEGAFLOWS and since_s < LATEST_S:
            return False
        gc.collect()
        self._last_s = now_s
        return True
