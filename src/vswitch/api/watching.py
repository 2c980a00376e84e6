"""Looking at what comes up, beside the process that answers it.

The ring has one reader; it alone gives room back to the kernel. Who only looks on copies each record before that, and
is too late for some when they come faster than it can copy.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from vswitch.base.errors import NotFoundError
from vswitch.datapath.ebpf.memory import RingOnlooker
from vswitch.datapath.ebpf.state import State
from vswitch.upcalls.miss import Miss

__all__ = ["watch"]

INTERVAL_S = 0.01
"""How often to look, when there is nothing."""

BATCH = 16
"""Records to look at before the clock is."""


def watch(
    state: State, timeout_s: float | None, stopped: Callable[[], bool], on_overrun: Callable[[int], None]
) -> Iterator[Miss]:
    """What comes up from now on; see `Datapath.watch`."""
    return _look(RingOnlooker(state.maps["upcalls"]), state, timeout_s, stopped, on_overrun)


def _look(
    ring: RingOnlooker,
    state: State,
    timeout_s: float | None,
    stopped: Callable[[], bool],
    on_overrun: Callable[[int], None],
) -> Iterator[Miss]:
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    try:
        while not stopped():
            overrun = ring.overrun
            position = ring.position
            for record in ring.copies(BATCH):
                yield Miss.of_copy(record)
                if stopped():
                    return
            if ring.overrun > overrun:
                on_overrun(ring.overrun - overrun)
            if deadline is not None and time.monotonic() >= deadline:
                return
            if not state.exists:
                raise NotFoundError(f"datapath {state.name} does not exist any more")
            if ring.position == position:
                time.sleep(INTERVAL_S)
    finally:
        ring.close()
