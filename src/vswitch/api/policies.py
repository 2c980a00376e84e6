"""A policy at work: it answers misses, and its megaflows go when what they were decided by changes.

Invariant: of each megaflow that stands, everything is waited for that its run has read of state; nobody waits for one
that is gone.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import deque
from collections.abc import Callable, Collection, Hashable

from vswitch.api.flows import Flows
from vswitch.api.upcalls import Miss, Upcalls
from vswitch.model.match import Match
from vswitch.model.megaflow import Rule
from vswitch.policy.run import Policy, Run, Source, Stages

__all__ = ["PolicyAtWork"]


class _Standing:
    """A megaflow that was decided by state, and waits to be told that this is another now."""

    __slots__ = ("_reads", "_tell", "rule")

    def __init__(self, rule: Rule, reads: list[tuple[Source, Hashable]], tell: Callable[[_Standing], None]) -> None:
        self.rule = rule
        self._reads = reads
        self._tell = tell
        for table, part in reads:
            table.wait(part, self)

    def withdraw(self) -> None:
        """Something that it was decided by has changed."""
        self._tell(self)

    def forget(self) -> None:
        """It is gone; nothing concerns it any more."""
        for table, part in self._reads:
            table.stop_waiting(part, self)


class PolicyAtWork:
    """Answers misses by a policy. State may be changed by the policy, by the thread that the datapath is used in, or by
    any other: what was decided by it is then withdrawn at the end of the run, at once, or when the loop gets to it."""

    def __init__(
        self,
        policy: Policy,
        flows: Flows,
        priority: int,
        now_s: Callable[[], float],
        send: Callable[[bytes, int], None],
    ) -> None:
        self.policy = Stages(policy)
        self._send = send
        self.priority = priority
        self._flows = flows
        self._now_s = now_s
        self._standing: dict[Match, _Standing] = {}
        self._changed: deque[_Standing] = deque()
        self._thread = threading.get_ident()
        self._running = False
        self.upcalls: Upcalls | None = None
        self.waker = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        """Readable when another thread has changed something: call `withdraw_changed`."""

    def close(self) -> None:
        """Whatever changes now, changes no megaflow."""
        for standing in self._standing.values():
            standing.forget()
        self._standing.clear()
        os.close(self.waker)

    def begin(self, upcalls: Upcalls) -> None:
        """This thread takes upcalls from now on."""
        self.upcalls = upcalls
        self._thread = threading.get_ident()
        self.withdraw_changed()

    def answer(self, miss: Miss) -> Rule | None:
        """What the policy says to a miss."""
        # hot: once per upcall
        self._running = True
        try:
            run = Run(self.policy, miss.key, self._now_s(), lambda: miss.packet)
        finally:
            self._running = False
            if self._changed:
                self.withdraw_changed()
        if run.reply is not None:
            self._send(run.reply.frame, miss.port if run.reply.port is None else run.reply.port)
            miss.drop()
            return None
        if not run.lasting:
            miss.send(run.actions)
            return None
        rule = run.rule(self.priority)
        if run.reads:
            before = self._standing.pop(rule.match, None)
            if before is not None:
                before.forget()
            self._standing[rule.match] = _Standing(rule, run.reads, self._tell)
        return rule

    def _tell(self, standing: _Standing) -> None:
        self._changed.append(standing)
        if self._running:
            return
        if threading.get_ident() == self._thread:
            self.withdraw_changed()
        else:
            os.eventfd_write(self.waker, 1)

    def withdraw_changed(self) -> None:
        """Take away the megaflows that were decided by what has changed. Packets that wait for one are asked about
        again."""
        rules = []
        while self._changed:
            standing = self._changed.popleft()
            if self._standing.get(standing.rule.match) is standing:
                del self._standing[standing.rule.match]
                standing.forget()
                rules.append(standing.rule)
        if rules:
            if self.upcalls is not None:
                self.upcalls.withdraw({rule.match for rule in rules})
            self._flows.delete_many(rules)

    def woken(self) -> None:
        """`waker` may be readable."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self.waker)
        self.withdraw_changed()

    def forget(self, matches: Collection[Match] | None) -> None:
        """Megaflows with these matches (None: all) are there no more, or never were."""
        for match in list(self._standing) if matches is None else matches:
            standing = self._standing.pop(match, None)
            if standing is not None:
                standing.forget()
