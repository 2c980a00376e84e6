"""Where handlers run when they may take long: threads, asyncio tasks, or at once (for a simulated datapath).

A *job* is one packet of one flow that a handler is asked about. Whoever runs jobs touches nothing of the datapath: what
was answered is in the packet, and the thread that takes upcalls carries it out.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Protocol

from vswitch.base.errors import ConfigError
from vswitch.upcalls.miss import Answer, Miss, answer_by, apply_answer
from vswitch.upcalls.queue import Flow

__all__ = ["AtOnce", "Job", "Runner", "Tasks", "Threads"]


@dataclass(eq=False, slots=True)
class Job:
    """`ticket`: the flow's, when the handler was asked. `problem`: what it raised."""

    flow: Flow
    ticket: int
    miss: Miss
    problem: BaseException | None = None


class Runner(Protocol):
    """Runs handlers."""

    @property
    def idle(self) -> int:
        """Jobs that it would begin at once."""
        ...

    def begin(self, job: Job) -> None:
        """Let the handler look at a packet."""
        ...

    def finished(self) -> list[Job]:
        """Those that are through since the last call."""
        ...

    def give_up(self, job: Job) -> None:
        """It takes too long: nobody waits for it any more."""
        ...

    def fileno(self) -> int:
        """Readable when jobs are finished; -1: `finished` tells all."""
        ...

    def close(self) -> None:
        """No more jobs."""
        ...


def _ask(handler: Callable[[Miss], Answer | Awaitable[Answer]], miss: Miss) -> None:
    """Let a handler answer that is a plain function."""
    answer = handler(miss)
    if isinstance(answer, Awaitable):
        if inspect.iscoroutine(answer):
            answer.close()
        raise ConfigError("the handler is a coroutine function: `serve` runs it, `run` does not")
    if answer is not None:
        apply_answer(miss, answer)


class AtOnce:
    """Where time stands still while a handler runs."""

    def __init__(self, handler: Callable[[Miss], Answer]) -> None:
        self._handler = handler
        self._finished: list[Job] = []

    @property
    def idle(self) -> int:
        """Always one."""
        return 1

    def begin(self, job: Job) -> None:
        """And end."""
        try:
            _ask(self._handler, job.miss)
        except Exception as problem:  # noqa: BLE001 - its packet is lost and said so; the others go on
            job.problem = problem
        self._finished.append(job)

    def finished(self) -> list[Job]:
        """Those that are through since the last call."""
        finished, self._finished = self._finished, []
        return finished

    def give_up(self, job: Job) -> None:
        """No job takes long."""

    def fileno(self) -> int:
        """There is nothing to wait for."""
        return -1

    def close(self) -> None:
        """No more jobs."""


class _Bell:
    """Wakes whoever polls its descriptor."""

    def __init__(self) -> None:
        self.fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._lock = threading.Lock()

    def ring(self) -> None:
        with self._lock:
            if self.fd >= 0:
                os.eventfd_write(self.fd, 1)

    def heard(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self.fd)

    def close(self) -> None:
        with self._lock:
            os.close(self.fd)
            self.fd = -1


class Threads:
    """A pool of threads, begun as they are needed. Python cannot end a thread: one that was given up goes on until its
    handler returns. Meanwhile another takes its place, as long as no more than `count` are so."""

    def __init__(self, count: int, handler: Callable[[Miss], Answer]) -> None:
        self._count = count
        self._handler = handler
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._done: SimpleQueue[Job] = SimpleQueue()
        self._bell = _Bell()
        self._busy: set[Job] = set()
        self._stuck: set[Job] = set()
        self._threads: list[threading.Thread] = []

    @property
    def idle(self) -> int:
        """Jobs that it would begin at once."""
        return min(self._count - len(self._busy), 2 * self._count - len(self._busy) - len(self._stuck))

    def begin(self, job: Job) -> None:
        """Let a thread do it."""
        self._busy.add(job)
        if len(self._threads) < len(self._busy) + len(self._stuck):
            thread = threading.Thread(target=self._work, name=f"upcalls-{len(self._threads)}", daemon=True)
            try:
                thread.start()
            except RuntimeError as problem:  # the machine has no more; those that there are do it, if there are any
                if not self._threads:
                    job.problem = problem
                    self._done.put(job)
                    self._bell.ring()
                    return
            else:
                self._threads.append(thread)
        self._jobs.put(job)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                _ask(self._handler, job.miss)
            except BaseException as problem:  # noqa: BLE001 - SystemExit too: the thread is needed
                job.problem = problem
            self._done.put(job)
            self._bell.ring()
            del job

    def finished(self) -> list[Job]:
        """Those that are through since the last call."""
        self._bell.heard()
        found = []
        for _ in range(self._done.qsize()):
            job = self._done.get()
            self._busy.discard(job)
            self._stuck.discard(job)
            found.append(job)
        return found

    def give_up(self, job: Job) -> None:
        """Its thread is as good as gone."""
        if job in self._busy:
            self._busy.remove(job)
            self._stuck.add(job)

    def fileno(self) -> int:
        """Readable when jobs are finished."""
        return self._bell.fd

    def close(self) -> None:
        """Threads end when their handlers return; who waits for them waits in vain if one never does."""
        for _ in self._threads:
            self._jobs.put(None)
        self._bell.close()


class Tasks:
    """Tasks of the running event loop. One that was given up is cancelled."""

    def __init__(self, count: int, handler: Callable[[Miss], Answer | Awaitable[Answer]]) -> None:
        self._count = count
        self._handler = handler
        self._tasks: dict[Job, asyncio.Task[None]] = {}
        self._given_up: set[Job] = set()
        self._done: deque[Job] = deque()
        self._bell = _Bell()

    @property
    def idle(self) -> int:
        """Jobs that it would begin at once. A task that does not end when it is cancelled keeps its place."""
        return self._count - len(self._tasks)

    def begin(self, job: Job) -> None:
        """Let a task do it."""
        loop = asyncio.get_running_loop()
        self._tasks[job] = asyncio.Task(self._work(job), loop=loop)  # begun when the loop gets to it, never in here

    async def _work(self, job: Job) -> None:
        try:
            await answer_by(self._handler, job.miss)
        except asyncio.CancelledError as problem:
            job.problem = problem
            if job not in self._given_up:
                raise
        except Exception as problem:  # noqa: BLE001 - its packet is lost and said so; the others go on
            job.problem = problem
        finally:
            del self._tasks[job]
            self._given_up.discard(job)
            self._done.append(job)
            self._bell.ring()

    def finished(self) -> list[Job]:
        """Those that are through since the last call."""
        self._bell.heard()
        found = list(self._done)
        self._done.clear()
        return found

    def give_up(self, job: Job) -> None:
        """Cancel its task."""
        task = self._tasks.get(job)
        if task is not None:
            self._given_up.add(job)
            task.cancel()

    def fileno(self) -> int:
        """Readable when jobs are finished."""
        return self._bell.fd

    def close(self) -> None:
        """Cancel what is at work."""
        for job in list(self._tasks):
            self.give_up(job)
        self._bell.close()
