"""What tests of workers share: handlers that say what they are at and wait until the test lets them go on, and a loop
for them in a thread of its own, over threads or over asyncio tasks."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from tests.lab import patience, wait_until
from tests.reactive import numbers_by_flow
from vswitch import Datapath, Miss, Workers
from vswitch.upcalls.miss import Answer

__all__ = ["KINDS", "Hands", "at_work", "kind_of_loop", "roomy", "settled", "trust_gates", "worker_threads"]

KINDS = ["threads", "tasks"]
LONG_S = 30


def roomy(count: int) -> Workers:
    """So many, for whom as much may wait as ports have room for in the ring."""
    return Workers(count, flow_packets=1 << 16, flow_bytes=1 << 28, port_packets=1 << 16, buffer_bytes=1 << 28)


class Hands:
    """A handler that `answer`s after `pause_s` of the packet, and while it `blocks` by a `permit`, the oldest first.

    `asked`: flow and number of each packet that it was asked about, in order; `at`: those that it is at; `most`: the
    most at a time. Without `names` packets may be others than those of `udp_frame`, and are all (0, 0).
    """

    def __init__(
        self,
        answer: Callable[[Miss], Answer],
        *,
        pause_s: Callable[[Miss], float] = lambda _miss: 0.0,
        blocks: Callable[[Miss], bool] = lambda _miss: False,
        names: bool = True,
    ) -> None:
        self.asked: list[tuple[int, int]] = []
        self.at: list[tuple[int, int]] = []
        self.most = 0
        self.problems: list[BaseException] = []
        self._answer = answer
        self._pause_s = pause_s
        self._blocks = blocks
        self._names = names
        self._lock = threading.Lock()
        self._permits = 0
        self._open = False

    def permit(self, count: int = 1) -> None:
        """Let so many of those that are blocked, or will be, go on."""
        with self._lock:
            self._permits += count

    def open(self) -> None:
        """Let all go on, for ever."""
        self._open = True

    def _may_go_on(self, miss: Miss, packet: tuple[int, int]) -> bool:
        if self._open or not self._blocks(miss):
            return True
        with self._lock:
            if not self._permits or self.at[0] != packet:
                return False
            self._permits -= 1
            self.at.remove(packet)
            return True

    def _begin(self, miss: Miss) -> tuple[int, int]:
        ((flow, (number,)),) = numbers_by_flow([miss.packet]).items() if self._names else [(0, (0,))]
        with self._lock:
            self.asked.append((flow, number))
            self.at.append((flow, number))
            self.most = max(self.most, len(self.at))
        return flow, number

    def _end(self, packet: tuple[int, int]) -> None:
        with self._lock, suppress(ValueError):
            self.at.remove(packet)

    def in_thread(self, miss: Miss) -> Answer:
        """The handler of `run`."""
        packet = self._begin(miss)
        try:
            time.sleep(self._pause_s(miss))
            wait_until(lambda: self._may_go_on(miss, packet), "the test lets the handler go on", LONG_S)
            return self._answer(miss)
        except BaseException as problem:
            self.problems.append(problem)
            raise
        finally:
            self._end(packet)

    async def in_task(self, miss: Miss) -> Answer:
        """The handler of `serve`."""
        packet = self._begin(miss)
        try:
            await asyncio.sleep(self._pause_s(miss))
            while not self._may_go_on(miss, packet):
                await asyncio.sleep(0.002)
            return self._answer(miss)
        except BaseException as problem:
            self.problems.append(problem)
            raise
        finally:
            self._end(packet)


def kind_of_loop(dp: Datapath, hands: Hands, workers: Workers | int, kind: str) -> Callable[[], None]:
    """A function that runs the loop."""
    dp.on_miss(hands.in_thread)
    if kind == "threads":
        return lambda: dp.run(workers=workers)
    return lambda: asyncio.run(dp.serve(hands.in_task, workers=workers))


def trust_gates(dp: Datapath) -> None:
    """Gates let packets pass when the loop was not heard of for half a second. On a machine that is busy with other
    tests it may only be slow, and who looks at the order of packets does not want to see that."""
    upcalls = dp.start_upcalls()
    upcalls._alive[0] = time.monotonic_ns() + 10**15
    upcalls._alive = memoryview(bytearray(8)).cast("Q")


@contextmanager
def at_work(dp: Datapath, hands: Hands, workers: Workers | int, kind: str) -> Iterator[threading.Thread]:
    """The loop in a thread. At the end all handlers may go on, and the loop ends without an error."""
    problems: list[BaseException] = []
    loop = kind_of_loop(dp, hands, workers, kind)

    def work() -> None:
        try:
            loop()
        except BaseException as problem:
            problems.append(problem)
            raise

    thread = threading.Thread(target=work, daemon=True)
    dp.start_upcalls()
    thread.start()
    try:
        yield thread
    finally:
        hands.open()
        if thread.is_alive():
            dp.stop()
        thread.join(10 * patience())
        assert not thread.is_alive(), "the loop ends"
    assert not problems
    wait_until(lambda: not worker_threads(), "the threads of the workers end")


def worker_threads() -> list[str]:
    """Names of those that are there."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("upcalls-")]


def settled(dp: Datapath) -> bool:
    """Whether all that came up is done with."""
    stats = dp.upcall_stats
    assert stats.arrived >= stats.released + stats.dropped
    return stats.waiting == 0
