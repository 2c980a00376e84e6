"""What a program raised about packets, told to people: once for each cause with all of it, then now and then."""

from __future__ import annotations

import logging
from collections import OrderedDict

from vswitch.upcalls.miss import Miss

__all__ = ["Failures"]

logger = logging.getLogger("vswitch")

_MAX_CAUSES = 1000
"""Remembered; of more the one that was raised least lately is forgotten."""

_MAX_DEPTH = 100
"""Frames to look through for where something was raised: of an exception that is raised over and over there are ever
more."""


class Failures:
    """How often what was raised. What is raised at one place is one cause, whatever it says: texts name the packet, or
    its rule."""

    def __init__(self) -> None:
        self._causes: OrderedDict[tuple[type, str, int], tuple[int, int]] = OrderedDict()  # how often, and since when

    def report(self, problem: BaseException, miss: Miss, now_ns: int) -> None:
        """With where it came from the first time, then at every power of ten."""
        # hot: once per packet that fails
        cause = (type(problem), *_place(problem))
        count, since_ns = self._causes.pop(cause, (0, now_ns))
        count += 1
        self._causes[cause] = count, since_ns
        if len(self._causes) > _MAX_CAUSES:
            self._causes.popitem(last=False)
        name = type(problem).__name__
        if count == 1:
            logger.error("handling %r failed (1 times): %s: %s", miss, name, problem, exc_info=problem)
        elif count in (10, 100, 1000, 10000) or count % 100000 == 0:
            rate = count / max((now_ns - since_ns) / 1e9, 1e-3)
            logger.error("handling %r failed (%d times, %.3g/s): %s: %s", miss, count, rate, name, problem)


def _place(problem: BaseException) -> tuple[str, int]:
    """File and line where it was raised."""
    trace = problem.__traceback__
    if trace is None:
        return "", 0
    for _ in range(_MAX_DEPTH):
        if trace.tb_next is None:
            break
        trace = trace.tb_next
    return trace.tb_frame.f_code.co_filename, trace.tb_lineno
