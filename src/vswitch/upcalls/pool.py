"""Upcalls that several workers answer: slow handlers, beside each other.

The thread that takes upcalls reads the ring as ever, but does not wait for answers: what somebody must be asked about
is copied out of the ring into the `Queue`, from where a `Runner` gets it when a worker is free. What workers have
answered is carried out in between: rules are installed behind gates, then the packets that they take are released in
the order of their arrival, before any that came up after them. So also here a flow's packets leave in order.

A port's bytes count as its share of the ring until they are released or dropped. So it is the kernel that stops sending
for a port whose packets wait, and for that port alone.

Invariant: what is in the queue, and nothing else, is held; each held packet is settled by `Upcalls` once.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from vswitch.model.upcall import UpcallReason
from vswitch.upcalls.batches import Upcalls
from vswitch.upcalls.miss import Answer, Miss
from vswitch.upcalls.queue import Flow, Queue, Workers
from vswitch.upcalls.stats import Drop, Tally
from vswitch.upcalls.workers import Job, Runner

__all__ = ["Pool"]


class Pool:
    """One loop's workers. `at_once`, the policy, answers misses without any of them."""

    def __init__(
        self,
        upcalls: Upcalls,
        workers: Workers,
        runner: Runner,
        tally: Tally,
        now_ns: Callable[[], int],
        at_once: Callable[[Miss], Answer] | None = None,
    ) -> None:
        self._upcalls = upcalls
        self._queue = Queue(workers)
        self._runner = runner
        self._tally = tally
        self._now_ns = now_ns
        self._at_once = at_once
        self._jobs: dict[Flow, Job] = {}
        self._closed = False
        upcalls.on_close = self.close

    @property
    def waiting(self) -> int:
        """Packets that wait for a worker, or that one is at."""
        return len(self._queue)

    @property
    def busy(self) -> bool:
        """Whether workers are at packets."""
        return self._queue.busy > 0

    @property
    def wake_ns(self) -> int | None:
        """When there is something to do, whatever comes."""
        return self._queue.next_overdue_ns()

    def fileno(self) -> int:
        """Readable when workers are through."""
        return self._runner.fileno()

    def turn(self, take: Callable[[Miss], None] | None = None) -> int:
        """Carry out what was answered, take up a batch, and give workers what they have hands for. `take` sees each
        packet that somebody is to be asked about. The number of packets in the batch."""
        self.settle()
        if self._closed:
            return 0
        count = self._upcalls.divert(lambda miss: self._take(miss, take))
        if not self._closed:
            self._hand_out()
        return count

    def settle(self) -> None:
        """Carry out what was answered, and give up what takes too long."""
        if self._closed:
            return
        answered: list[tuple[Flow, Miss | None]] = []
        for job in self._runner.finished():
            flow = job.flow
            if flow.ticket != job.ticket:
                continue
            del self._jobs[flow]
            asked = self._queue.finish(flow, self._now_ns())
            if job.problem is not None:
                self._fail(job, asked)
            else:
                answered.append((flow, asked))
        if answered:
            self._carry_out(answered)
        else:
            self._upcalls.install([])  # gates stay closed only as long as they are told that somebody is there
        for flow, reason in self._queue.overdue(self._now_ns()):
            late = self._jobs.pop(flow) if reason is Drop.LATE else None
            if late is not None:
                problem = TimeoutError("the handler takes longer than its limit, and is given up")
                self._runner.give_up(late)
                self._upcalls.report(problem, late.miss)
            if late is not None and late.miss.covered:  # its packet was released meanwhile, by the rule of another
                self._queue.go_on(flow, self._now_ns())
            else:
                self._upcalls.discard(self._queue.give_up(flow), reason)

    def _fail(self, job: Job, asked: Miss | None) -> None:
        assert job.problem is not None
        self._upcalls.report(job.problem, job.miss)
        if asked is None:  # its packet was released meanwhile, by the rule of another
            self._queue.go_on(job.flow, self._now_ns())
        else:
            self._upcalls.discard([asked, *self._queue.give_up(job.flow)], Drop.FAILED)

    def _carry_out(self, finished: list[tuple[Flow, Miss | None]]) -> None:
        settled = [asked for _, asked in finished if asked is not None]
        for answered, rule in self._upcalls.install(settled):
            for miss, asked in self._queue.release(rule.match, partial(self._upcalls.releases, answered, rule)):
                miss.rule = miss._send = None
                miss.covered = True
                self._tally.joined(not asked)
                settled.append(miss)
        settled.sort(key=lambda miss: miss.turn)
        self._upcalls.send_on(settled)
        for flow, _ in finished:
            self._queue.go_on(flow, self._now_ns())

    def _take(self, miss: Miss, look: Callable[[Miss], None] | None) -> bool:
        """Whether a packet is held; if not, it is answered, or is to be dropped."""
        if look is not None:
            look(miss)
        at_once = self._at_once is not None and miss.reason is UpcallReason.MISS
        if (at_once or not self._queue.knows(miss)) and not self._upcalls.may_be_new(miss):
            return False
        if self._at_once is not None and at_once:
            self._upcalls.ask(miss, self._at_once)
            return False
        refused = self._queue.arrive(miss, self._now_ns())
        if refused is not None:
            miss.dropped = refused
            return False
        miss.hold()
        return True

    def _hand_out(self) -> None:
        while self._runner.idle > 0:
            flow = self._queue.next(self._now_ns())
            if flow is None:
                break
            assert flow.asked is not None
            self._tally.handled(1)
            job = self._jobs[flow] = Job(flow, flow.ticket, flow.asked)
            self._runner.begin(job)

    def close(self) -> None:
        """Nobody is asked any more, and what waits is dropped."""
        if not self._closed:
            self._closed = True
            self._upcalls.on_close = None
            self._upcalls.discard(self._queue.clear(), Drop.CLOSED)
            self._jobs.clear()
            self._runner.close()
