"""What other threads want the thread to do that takes upcalls: it alone may use the datapath."""

from __future__ import annotations

import contextlib
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Any, TypeVar

from vswitch.base.errors import ConfigError

__all__ = ["Calls"]

T = TypeVar("T")
_Call = tuple[Callable[[], Any], Future[Any]]


class Calls:
    """Functions that wait to be called in the loop. There are at most as many as there are threads that wait.

    Invariant: the descriptor is readable exactly while some wait, so that none is missed and no loop turns for nothing.
    """

    def __init__(self) -> None:
        self.fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        """Readable when there are some."""
        self._waiting: deque[_Call] = deque()
        self._lock = threading.Lock()
        self._thread: int | None = None

    def __del__(self) -> None:
        os.close(self.fd)

    def begin(self) -> None:
        """This thread makes the calls from now on."""
        self._thread = threading.get_ident()

    def end(self) -> None:
        """Nobody makes calls any more."""
        with self._lock:
            self._thread = None
        _refuse(self._take())

    def wait_for(self, function: Callable[[], T]) -> T:
        """Let it be called; what it returned or raised. ConfigError: no loop is at work."""
        if threading.get_ident() == self._thread:
            return function()
        future: Future[T] = Future()
        with self._lock:
            if self._thread is None:
                raise ConfigError("no loop takes upcalls, which could make a call")
            self._waiting.append((function, future))
            os.eventfd_write(self.fd, 1)
        return future.result()

    def make(self) -> None:
        """Make the calls that wait."""
        if not self._waiting:
            return
        waiting = self._take()
        while waiting:
            function, future = waiting.popleft()
            try:
                future.set_result(function())
            except Exception as problem:  # noqa: BLE001 - its caller is told
                future.set_exception(problem)
            except BaseException:  # the loop is interrupted
                waiting.appendleft((function, future))
                _refuse(waiting)
                raise

    def _take(self) -> deque[_Call]:
        with self._lock:
            with contextlib.suppress(BlockingIOError):
                os.eventfd_read(self.fd)
            waiting, self._waiting = self._waiting, deque()
        return waiting


def _refuse(calls: Iterable[_Call]) -> None:
    for _, future in calls:
        if not future.done():
            future.set_exception(ConfigError("the loop that takes upcalls has ended before it could make a call"))
