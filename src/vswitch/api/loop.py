"""The loop of a program: what it waits for, and who answers.

It waits for packets that come up, for ports, timeouts, workers and other threads.

There is one at a time, in the one thread that uses the datapath. `run` and its like of `Datapath` are this class's.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import select
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar, cast

from vswitch.api.flows import Flows
from vswitch.api.policies import PolicyAtWork
from vswitch.base.errors import ConfigError, VswitchError
from vswitch.datapath.backend import Backend
from vswitch.model.megaflow import Rule
from vswitch.model.port import PortEvent
from vswitch.model.upcall import UpcallReason
from vswitch.upcalls.batches import Upcalls
from vswitch.upcalls.calls import Calls
from vswitch.upcalls.miss import Answer, Miss, answer_by
from vswitch.upcalls.pool import Pool
from vswitch.upcalls.queue import Workers
from vswitch.upcalls.rates import NewFlowLimits
from vswitch.upcalls.stats import Tally
from vswitch.upcalls.workers import AtOnce, Runner, Tasks, Threads

if TYPE_CHECKING:
    from vswitch.datapath.simulated.backend import SimulatedBackend

__all__ = ["AsyncHandler", "Handler", "Loop", "UnexpectedUpcallError"]

logger = logging.getLogger("vswitch")

T = TypeVar("T")
Handler = Callable[[Miss], Answer]
AsyncHandler = Callable[[Miss], Answer | Awaitable[Answer]]

EXPIRY_INTERVAL_S = 0.2
"""How often the loop looks for timeouts: a megaflow outlives its timeout by at most so much."""


class UnexpectedUpcallError(VswitchError):
    """Strict mode: a packet missed, although the rules were meant to cover all that can come."""


class Loop:
    """`handler`, `policy`: who answers. `upcalls`: the reader, from `start` to `close`."""

    def __init__(self, backend: Backend, flows: Flows, tally: Tally) -> None:
        self._backend = backend
        self._ports = backend.ports
        self._flows = flows
        self._tally = tally
        self._limits = NewFlowLimits()
        self.handler: Handler = _drop
        self.policy: PolicyAtWork | None = None
        self.port_callbacks: list[Callable[[PortEvent], None]] = []
        self.upcalls: Upcalls | None = None
        self._calls = Calls()
        self._pool: Pool | None = None
        self._poll = select.poll()
        self._stopped = False
        self._looping = False
        self._draining = False  # no packet is taken any more, workers are waited for
        self._next_expiry_ns = 0

    @property
    def answers(self) -> bool:
        """Whether there is a handler."""
        return self.handler is not _drop

    # ---- beginning and ending

    def start(self) -> Upcalls:
        """Let packets come up."""
        self._backend.need_control("taking upcalls")
        if self.upcalls is None:
            self.upcalls = Upcalls(self._backend, self._tally, self._limits)
            self.upcalls.on_refusal = lambda rule: self.forget_removed([rule], ())
        return self.upcalls

    def close(self) -> None:
        """No more packets come up, and no policy answers."""
        if self.policy is not None:
            self.policy.close()
            self.policy = None
        if self.upcalls is not None:
            self.upcalls.close()
            self.upcalls = None

    def limit(self, per_s: float, burst: int | None, by: Iterable[str]) -> None:
        """See `Datapath.limit_new_flows`."""
        self._limits.set(per_s, burst, by)
        if self.upcalls is not None:
            self.upcalls.set_miss_rate()

    def unlimit(self, by: Iterable[str]) -> None:
        """See `Datapath.unlimit_new_flows`."""
        self._limits.remove(by)
        if self.upcalls is not None:
            self.upcalls.set_miss_rate()

    def forget_removed(self, rules: Collection[Rule] | None, slots: Collection[int]) -> None:
        """Megaflows of these rules (None: all) have been taken from these slots."""
        if self.upcalls is not None:
            self.upcalls.forget(None if rules is None else [rule.match for rule in rules], slots)
        if self.policy is not None:
            self.policy.forget(rules)

    def deferring(self) -> contextlib.AbstractContextManager[None]:
        """Changes of what the policy has read are settled at the end of the block."""
        return contextlib.nullcontext() if self.policy is None else self.policy.deferring()

    def stop(self) -> None:
        """See `Datapath.stop`."""
        self._stopped = True

    def call(self, function: Callable[[], T]) -> T:
        """See `Datapath.call`."""
        return self._calls.wait_for(function)

    def _begin(self) -> Upcalls:
        upcalls = self.start()
        if upcalls.in_batch or self._looping:
            raise ConfigError(
                f"datapath {self._backend.name} is at a packet of a batch already, or waits for one: a handler, or a "
                "loop over misses, must end before another loop takes packets"
            )
        self._looping = True
        self._calls.begin()
        if self.policy is not None:
            upcalls.make_way = self.policy.make_way
            self.policy.begin(upcalls)
        self._listen(upcalls)
        return upcalls

    async def _begin_async(self) -> Upcalls:
        upcalls = self.start()
        for _ in range(4):  # in which the event loop closes `async_misses` that somebody broke off
            if not (upcalls.in_batch or self._looping):
                break
            await asyncio.sleep(0)
        return self._begin()

    def _end(self) -> None:
        pool, self._pool = self._pool, None
        try:
            if pool is not None:
                pool.close()
        finally:
            self._stopped = self._looping = self._draining = False
            self._calls.end()
            if self.policy is not None:
                self.policy.end()

    @contextlib.contextmanager
    def _at_work(self) -> Iterator[None]:
        """What breaks the loop off in the middle of anything (Ctrl-C, the exception of a signal's handler) may leave it
        there. So its reader is given up: what it has not settled is counted as closed when the next one begins."""
        try:
            yield
        except (Exception, GeneratorExit, asyncio.CancelledError):
            raise
        except BaseException:
            upcalls, self.upcalls = self.upcalls, None
            with contextlib.suppress(Exception):
                self._pool = None
                if upcalls is not None:
                    upcalls.close()
            raise
        finally:
            self._end()

    def _goes_on(self, upcalls: Upcalls) -> bool:
        """Whether it was neither stopped nor closed."""
        return not self._stopped and self.upcalls is upcalls

    # ---- who answers

    def _answerer(self, handler: Any = None) -> Any:
        """Who is asked about a packet: the policy about misses, if there is one, else `handler` (None: that of
        `on_miss`)."""
        handler, policy = handler or self.handler, self.policy
        if policy is None:
            return handler
        return lambda miss: policy.answer(miss) if miss.reason is UpcallReason.MISS else handler(miss)

    def run(self, timeout_s: float | None, strict: bool, workers: Workers | int | None) -> None:
        """See `Datapath.run`."""
        upcalls = self._begin()
        deadline_ns = self._deadline_ns(timeout_s)
        with self._at_work():
            if workers is not None:
                self._run_workers(upcalls, workers, deadline_ns, strict)
                return
            handler = self._answerer()
            while self._goes_on(upcalls) and self._wait(upcalls, deadline_ns):
                if strict:
                    for miss in upcalls.misses():
                        _refuse(miss)
                        upcalls.answer(miss, handler)
                else:
                    upcalls.handle(handler)

    def _run_workers(self, upcalls: Upcalls, workers: Workers | int, deadline_ns: int | None, strict: bool) -> None:
        settings = _settings(workers)
        runner = AtOnce(self.handler) if self._backend.simulated else Threads(settings.count, self.handler)
        pool = self._begin_pool(upcalls, settings, runner)
        self._listen(upcalls)
        while self._goes_on(upcalls) and self._wait(upcalls, deadline_ns):
            pool.turn(_refuse if strict else None)
        self._draining = True
        if self.upcalls is upcalls:
            self._listen(upcalls)
        while self.upcalls is upcalls and pool.busy:
            self._wait(upcalls, None)
            pool.settle()

    async def serve(self, handler: AsyncHandler | None, strict: bool, workers: Workers | int | None) -> None:
        """See `Datapath.serve`."""
        upcalls = await self._begin_async()
        with self._at_work():
            if workers is not None:
                await self._serve_workers(upcalls, handler or self.handler, workers, strict)
                return
            answerer = self._answerer(handler)
            task = asyncio.current_task()
            assert task is not None
            cancels = task.cancelling()
            while self._goes_on(upcalls) and await self._async_wait(upcalls):
                for miss in upcalls.misses():
                    if strict:
                        _refuse(miss)
                    try:
                        await answer_by(answerer, miss)
                    except asyncio.CancelledError as problem:
                        if task.cancelling() > cancels:
                            raise  # else what the handler has awaited was cancelled, and not this loop
                        upcalls.failed(miss, problem)
                    except Exception as problem:  # noqa: BLE001 - its packet is lost and said so; the others go on
                        upcalls.failed(miss, problem)

    async def _serve_workers(
        self, upcalls: Upcalls, handler: AsyncHandler, workers: Workers | int, strict: bool
    ) -> None:
        settings = _settings(workers)
        pool = self._begin_pool(upcalls, settings, Tasks(settings.count, handler))
        while self._goes_on(upcalls) and await self._async_wait(upcalls):
            pool.turn(_refuse if strict else None)
        self._draining = True
        while self.upcalls is upcalls and pool.busy:
            await self._async_wait(upcalls)
            pool.settle()

    def _begin_pool(self, upcalls: Upcalls, settings: Workers, runner: Runner) -> Pool:
        at_once = None if self.policy is None else self.policy.answer
        self._pool = Pool(upcalls, settings, runner, self._tally, self._backend.now_ns, at_once)
        return self._pool

    def misses(self, timeout_s: float | None) -> Iterator[Miss]:
        """See `Datapath.misses`."""
        upcalls = self._begin()
        deadline_ns = self._deadline_ns(timeout_s)
        with self._at_work():
            while self._goes_on(upcalls) and self._wait(upcalls, deadline_ns):
                yield from upcalls.misses()

    async def async_misses(self) -> AsyncIterator[Miss]:
        """See `Datapath.async_misses`."""
        upcalls = await self._begin_async()
        with self._at_work():
            while self._goes_on(upcalls) and await self._async_wait(upcalls):
                for miss in upcalls.misses():
                    yield miss

    # ---- waiting

    def _deadline_ns(self, timeout_s: float | None) -> int | None:
        return None if timeout_s is None else self._backend.now_ns() + round(timeout_s * 1e9)

    def _listen(self, upcalls: Upcalls) -> None:
        self._poll = select.poll()  # select() knows no descriptor above 1023
        for descriptor in self._descriptors(upcalls):
            self._poll.register(descriptor, select.POLLIN)

    def _descriptors(self, upcalls: Upcalls) -> list[int]:
        """Readable when there is something to do; of a simulated datapath those from which other threads wake it."""
        listed = [self._calls.fd]
        if not self._backend.simulated:
            listed += [self._ports.fileno()] if self._draining else [upcalls.fileno(), self._ports.fileno()]
        if self.policy is not None:
            listed.append(self.policy.waker)
        if self._pool is not None and self._pool.fileno() >= 0:
            listed.append(self._pool.fileno())
        return listed

    def _wait(self, upcalls: Upcalls, deadline_ns: int | None) -> bool:
        """Wait for packets, ports, workers and the next expiry. False when the deadline has passed, or a callback
        closed the datapath."""
        now_ns = self._expire()
        if self._backend.simulated:
            return self._has_work(upcalls, deadline_ns)
        readable = self._poll.poll(math.ceil(self._patience_s(upcalls, now_ns, deadline_ns) * 1000))
        return self._go_round(upcalls, [fd for fd, _ in readable]) and (
            deadline_ns is None or self._backend.now_ns() < deadline_ns
        )

    async def _async_wait(self, upcalls: Upcalls) -> bool:
        """As `_wait`, without a deadline."""
        now_ns = self._expire()
        if self._backend.simulated:
            await asyncio.sleep(0)
            return self._has_work(upcalls, None)
        loop = asyncio.get_running_loop()
        happened = loop.create_future()

        def wake() -> None:
            if not happened.done():
                happened.set_result(None)

        descriptors = self._descriptors(upcalls)  # another task may close them
        for descriptor in descriptors:
            loop.add_reader(descriptor, wake)
        try:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(happened, self._patience_s(upcalls, now_ns, None))
        finally:
            for descriptor in descriptors:
                loop.remove_reader(descriptor)
        return self._go_round(upcalls)

    def _patience_s(self, upcalls: Upcalls, now_ns: int, deadline_ns: int | None) -> float:
        """How long to wait at most."""
        if (upcalls.busy and not self._draining) or self._ports.has_events:
            return 0.0
        wake_ns = None if self._pool is None else self._pool.wake_ns
        until_ns = min(at_ns for at_ns in (self._next_expiry_ns, deadline_ns, wake_ns) if at_ns is not None)
        return max(until_ns - now_ns, 0) / 1e9

    def _go_round(self, upcalls: Upcalls, readable: Collection[int] | None = None) -> bool:
        """See to what has happened, packets excepted; `readable`: which descriptors are, if it is known. False: the
        datapath is closed."""
        if self.upcalls is upcalls:
            if readable is None or self._ports.has_events or self._ports.fileno() in readable:
                self._follow_ports()
            if self.policy is not None and (readable is None or self.policy.waker in readable):
                self.policy.woken()
            self._calls.make()
        return self.upcalls is upcalls

    def _has_work(self, upcalls: Upcalls, deadline_ns: int | None) -> bool:
        """Of a simulated datapath, to which nothing comes while its program waits: whether packets wait. If not, what
        is left of the time goes by."""
        waiting = upcalls.busy or upcalls.has_records or (self._pool is not None and self._pool.waiting)
        if not self._go_round(upcalls):
            return False
        if not waiting and deadline_ns is not None:
            cast("SimulatedBackend", self._backend).advance(max(deadline_ns - self._backend.now_ns(), 0))
            self._flows.expire()
        return bool(waiting)

    def _expire(self) -> int:
        """Take away what has timed out, now and then. The time, ns."""
        now_ns = self._backend.now_ns()
        if now_ns >= self._next_expiry_ns:
            self._next_expiry_ns = now_ns + round(EXPIRY_INTERVAL_S * 1e9)
            self._flows.expire()
        return now_ns

    def _follow_ports(self) -> None:
        for event in self._ports.events():
            logger.info("port %d (%s): %s", event.port.number, event.port.name, event.change.value)
            with self.deferring():
                for callback in self.port_callbacks:
                    try:
                        callback(event)
                    except Exception:  # said so; the other events, and packets, go on
                        logger.exception("a callback failed at %r", event)


def _drop(_miss: Miss) -> Answer:
    """What comes up and nobody asked for."""
    return None


def _refuse(miss: Miss) -> None:
    """Of strict mode."""
    if miss.reason is UpcallReason.MISS:
        raise UnexpectedUpcallError(f"a packet from port {miss.port} matches no megaflow: {miss.key!r}")


def _settings(workers: Workers | int) -> Workers:
    """ConfigError: neither a number nor `Workers`."""
    return workers if isinstance(workers, Workers) else Workers(workers)
