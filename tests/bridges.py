"""What tests of bridges share: one that is served beside the test, and controllers of few lines."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TypeVar

from tests.lab import patience
from vswitch.bridge.bridge import Bridge

__all__ = ["Served", "serving"]

T = TypeVar("T")


class Served:
    """A bridge that is served in a thread of its own."""

    def __init__(self, bridge: Bridge) -> None:
        self.bridge = bridge
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ready = threading.Event()
        self._problem: BaseException | None = None
        self._thread = threading.Thread(target=self._serve, name=f"bridge {bridge.name}")

    def _serve(self) -> None:
        try:
            asyncio.run(self._main())
        except BaseException as problem:  # noqa: BLE001 - the test is told
            self._problem = problem
        finally:
            self._ready.set()

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        await self.bridge.serve(self._ready.set)

    def call(self, function: Callable[[Bridge], T]) -> T:
        """What `function` returns, called with the bridge in its thread."""
        assert self._loop is not None
        result: Future[T] = Future()

        def work() -> None:
            try:
                result.set_result(function(self.bridge))
            except BaseException as problem:  # noqa: BLE001 - the caller gets it
                result.set_exception(problem)

        self._loop.call_soon_threadsafe(work)
        return result.result(30 * patience())

    def start(self) -> None:
        self._thread.start()
        self._ready.wait(30 * patience())
        if self._problem is not None:
            raise self._problem

    def end(self) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.bridge.stop)
        self._thread.join(30 * patience())
        assert not self._thread.is_alive(), "the bridge does not end"
        if self._problem is not None:
            raise self._problem


@contextmanager
def serving(bridge: Bridge) -> Iterator[Served]:
    """The bridge at work for the length of the block."""
    served = Served(bridge)
    served.start()
    try:
        yield served
    finally:
        served.end()
