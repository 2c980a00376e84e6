"""A policy at work: it answers misses, and its megaflows go when what they were decided by changes.

Invariant: of each megaflow that stands, everything is waited for that its run has read or written of state; nobody
waits for one that is gone.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import deque
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator

from vswitch.api.flows import Flows
from vswitch.api.watchdog import Watchdog
from vswitch.datapath.ebpf.state import Options
from vswitch.model.actions import Action
from vswitch.model.match import Key, Match
from vswitch.model.megaflow import Rule
from vswitch.policy.explanation import Explanation, explain
from vswitch.policy.run import Policy, Run, Source, Stages, changes
from vswitch.policy.state import changing
from vswitch.upcalls.batches import Upcalls
from vswitch.upcalls.miss import Miss

__all__ = ["PolicyAtWork"]

os.register_at_fork(after_in_child=changing._at_fork_reinit)  # type: ignore[attr-defined]  # nobody there holds it


class _Standing:
    """A megaflow that was decided by state, and waits to be told that this is another now."""

    __slots__ = ("_owner", "_reads", "rule")

    def __init__(self, rule: Rule, reads: list[tuple[Source, Hashable]], owner: PolicyAtWork) -> None:
        self.rule = rule
        self._reads = reads
        self._owner = owner
        for table, part in reads:
            table.wait(part, self)

    def withdraw(self) -> PolicyAtWork:
        """Something that it was decided by has changed."""
        self._owner.note_change(self)
        return self._owner

    def forget(self) -> None:
        """It is gone; nothing concerns it any more."""
        for table, part in self._reads:
            table.stop_waiting(part, self)


def _overlapping(standing: Iterable[Match], new: Iterable[Match]) -> list[Match]:
    """Which of those that stand overlap a new one: one look for each of them and each mask of the new ones."""
    values: dict[int, list[int]] = {}
    for match in new:
        values.setdefault(match.mask, []).append(match.value)
    common_values: dict[int, list[tuple[int, set[int]]]] = {}
    found = []
    for match in standing:
        reduced = common_values.get(match.mask)
        if reduced is None:
            reduced = common_values[match.mask] = [
                (match.mask & mask, {value & match.mask for value in several}) for mask, several in values.items()
            ]
        if any(match.value & common in several for common, several in reduced):
            found.append(match)
    return found


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
        limit_s: float,
    ) -> None:
        self.policy = Stages(policy)
        self._limit_s = limit_s
        self._watchdog = Watchdog(limit_s)
        self._send = send
        self.priority = priority
        self._flows = flows
        flows.on_idle = self._settle_late
        self._now_s = now_s
        self._standing: dict[Match, _Standing] = {}
        self._changed: deque[_Standing] = deque()
        self._thread = threading.get_ident()  # that of the loop, or of the last one
        self._users = {self._thread}  # who may change megaflows at once while there is no loop
        self._looping = False
        self._deferring = 0
        self.upcalls: Upcalls | None = None
        self.waker = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        """Readable when another thread has changed something: call `withdraw_changed`."""

    def close(self) -> None:
        """Whatever changes now, changes no megaflow."""
        self.forget(None)
        self._watchdog.end()
        os.close(self.waker)

    def begin(self, upcalls: Upcalls) -> None:
        """This thread takes upcalls from now on."""
        self.upcalls = upcalls
        self.policy.call = self._watchdog.call
        self._watchdog.begin()
        self._thread, self._looping = threading.get_ident(), True
        self._users.add(self._thread)
        self.withdraw_changed()

    def end(self) -> None:
        """The loop has ended."""
        self._watchdog.end()
        self.withdraw_changed()
        self._looping = False
        self._settle_late()

    def answer(self, miss: Miss) -> Rule | None:
        """What the policy says to a miss."""
        # hot: once per upcall
        with changing:
            if self._changed:
                self.withdraw_changed()
            self._deferring += 1
            try:
                run = Run(self.policy, miss.key, self._now_s(), lambda: miss.packet)
            finally:
                self._deferring -= 1
                if self._changed:
                    self.withdraw_changed()
            if run.hard_timeout_s is not None:
                run.count_down(self._now_s())
            if run.lasting:
                rule = self._standing_rule(run)
                if changes.count == run.changes_seen:
                    return rule
                self.forget([rule])  # it is of the past already: a signal's handler has changed something
        if run.reply is not None:
            self._send(run.reply.frame, miss.port if run.reply.port is None else run.reply.port)
            miss.drop()
        else:
            miss.send(run.actions)
        return None

    def explain(self, key: Key, frame: bytes | None) -> Explanation:
        """What the policy would say to a packet; see `Datapath.explain`."""
        from vswitch.datapath.simulated.backend import SimulatedBackend  # who is not asked need not load it

        kernel = SimulatedBackend("explain", Options(ring_bytes=1 << 17))

        def onward(key: Key, frame: bytes, actions: tuple[Action, ...]) -> tuple[Key, bytes] | None:
            become = kernel.recirculated(key.value, frame, actions)
            return None if become is None else (Key(become[0]), become[1])

        watchdog = Watchdog(self._limit_s)
        watchdog.begin()
        try:
            with changing:
                policy = self.policy.called_by(watchdog.call)
                return explain(policy, key, self._now_s(), self.priority, frame, onward)
        finally:
            watchdog.end()

    def _standing_rule(self, run: Run) -> Rule:
        rule = run.rule(self.priority)
        if run.reads or run.writes or run.valid_until_s is not None:
            standing = _Standing(rule, run.reads + run.writes if run.writes else run.reads, self)
            before = self._standing.setdefault(rule.match, standing)
            if before is not standing:
                before.forget()
                self._standing[rule.match] = standing
        return rule

    def make_way(self, rules: list[Rule]) -> set[Match]:
        """Take away what stands in the way of rules that follow from state, or a time, as it is now: megaflows that
        followed from it as it was, and are right for fewer packets than they could be by now, or not for long. All at
        once; which they were."""
        with changing:
            new = {rule.match for rule in rules}
            stale = [
                self._standing[match]
                for match in _overlapping(self._standing, new)
                if match not in new and self._flows.has(self._standing[match].rule)
            ]
            for standing in stale:
                del self._standing[standing.rule.match]
                standing.forget()
        self._flows.delete_many([standing.rule for standing in stale])
        return {standing.rule.match for standing in stale}

    @contextlib.contextmanager
    def deferring(self) -> Iterator[None]:
        """What is changed within is settled at the end, all at once."""
        self._deferring += 1
        try:
            yield
        finally:
            self._deferring -= 1
            if self._changed and not self._deferring:
                self.withdraw_changed()

    def note_change(self, standing: _Standing) -> None:
        """What it was decided by has changed; `settle` follows."""
        self._changed.append(standing)

    def settle(self) -> None:
        """Withdraw what has been noted: at once in the thread that uses the datapath, unless it is in a loop, which may
        be at its megaflows (this may be a signal's handler); then, and in other threads, when the loop gets to it."""
        if self._deferring and threading.get_ident() == self._thread:
            return
        if self._looping or self._flows.changing or threading.get_ident() not in self._users:
            os.eventfd_write(self.waker, 1)
        else:
            self.withdraw_changed()

    def _settle_late(self) -> None:
        """Megaflows have been changed, and are not any more: what a signal's handler has noted meanwhile is due."""
        if self._changed and not self._looping and threading.get_ident() in self._users:
            self.withdraw_changed()

    def withdraw_changed(self) -> None:
        """Take away the megaflows that were decided by what has changed. Packets that wait for one are asked about
        again."""
        rules = []
        with changing:
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

    def forget(self, rules: Collection[Rule] | None) -> None:
        """Megaflows of these rules (None: all) are there no more, or never were."""
        with changing:
            if rules is None:
                matches = list(self._standing)
            else:
                matches = [rule.match for rule in rules if rule.priority == self.priority]
            for match in matches:
                standing = self._standing.pop(match, None)
                if standing is not None:
                    standing.forget()
