"""Runs of policies: what a policy has read, of the packet, of state, of the time, and what it answered.

One run is one packet. What is read of the packet is in its `Trace`; what is read of state is listed here, so that the
megaflow can be withdrawn when that changes; what is read of the time bounds how long the megaflow may live.

Invariant: a run whose answer would not be the same a moment later, or for the next packet of its megaflow, is not
`lasting`: its answer holds for its own packet alone.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

from vswitch.base.errors import ConfigError
from vswitch.model.actions import Action, Drop, Output, check_actions
from vswitch.model.match import Key, Match
from vswitch.model.megaflow import Rule
from vswitch.policy.packet import Packet
from vswitch.policy.trace import Trace

__all__ = [
    "Decision",
    "Explanation",
    "Moment",
    "Policy",
    "Run",
    "Source",
    "Waiting",
    "current_run",
    "drop",
    "explain",
    "now",
    "output",
]

SHORTEST_S = 0.001
"""Megaflows count milliseconds: what holds for less is not worth one."""


class Waiting(Protocol):
    """Somebody who wants to know when something that was read is no longer so."""

    def withdraw(self) -> None:
        """It has changed."""
        ...


class Source(Protocol):
    """Something that policies read, part by part, and that may change."""

    def describe(self, part: Hashable) -> str:
        """What was read, for people."""
        ...

    def wait(self, part: Hashable, waiting: Waiting) -> None:
        """Tell `waiting` of the next change of this part."""
        ...

    def stop_waiting(self, part: Hashable, waiting: Waiting) -> None:
        """It need not be told any more."""
        ...


@dataclass(frozen=True, slots=True)
class Decision:
    """An answer that says how long it holds: after `idle_timeout_s` without a packet, or `hard_timeout_s` after it was
    given, the policy is asked again."""

    actions: Action | Iterable[Action]
    idle_timeout_s: float | None = None
    hard_timeout_s: float | None = None


Policy = Callable[[Packet], Action | Iterable[Action] | Decision]
"""A function over a packet. It returns what is to be done with it: an action, several, or a `Decision`."""

drop = Drop()
"""The answer of a policy that lets nothing through."""


def output(*ports: int) -> tuple[Output, ...]:
    """Send the packet out of these ports, in this order."""
    return _outputs(ports if set(map(type, ports)) == {int} else tuple(map(int, ports)))


@lru_cache(4096)
def _outputs(ports: tuple[int, ...]) -> tuple[Output, ...]:
    """The same object for the same ports: what has been checked once need not be again."""
    return tuple(Output(port) for port in ports)


def _checked(answer: Any) -> tuple[Action, ...]:
    if answer is None:
        raise ConfigError("the policy returned nothing: return drop, or what is to be done with the packet")
    return check_actions(answer)


class Run:
    """One run of a policy: asks `policy` about a packet that looks like `key`, at the time `now_s` (of any clock that
    does not go back). ConfigError: the answer is nonsense; whatever the policy raises goes through."""

    __slots__ = ("actions", "hard_timeout_s", "idle_timeout_s", "lasting", "now_s", "reads", "trace", "valid_until_s")

    def __init__(self, policy: Callable[[Packet], Any], key: Key, now_s: float) -> None:
        # hot: once per upcall
        self.trace = Trace(key)
        self.reads: list[tuple[Source, Hashable]] = []
        self.now_s = now_s
        self.valid_until_s: float | None = None
        self.lasting = True
        token = _current.set(self)
        try:
            answer = policy(Packet(self.trace))
        finally:
            _current.reset(token)
        self.idle_timeout_s = self.hard_timeout_s = None
        if isinstance(answer, Decision):
            self.idle_timeout_s, self.hard_timeout_s = answer.idle_timeout_s, answer.hard_timeout_s
            answer = answer.actions
        self.actions = _checked(answer)
        self._bound_by_time()

    def _bound_by_time(self) -> None:
        if self.valid_until_s is not None:
            left_s = self.valid_until_s - self.now_s
            self.hard_timeout_s = left_s if self.hard_timeout_s is None else min(left_s, self.hard_timeout_s)
            self.lasting &= left_s >= SHORTEST_S

    @property
    def match(self) -> Match:
        """The packets that get the same answer."""
        return self.trace.match

    def rule(self, priority: int) -> Rule:
        """The megaflow of this run."""
        return Rule(self.trace.match, self.actions, priority, self.idle_timeout_s, self.hard_timeout_s)

    def holds_until(self, time_s: float) -> None:
        """The answer may be another from then on."""
        if self.valid_until_s is None or time_s < self.valid_until_s:
            self.valid_until_s = time_s


_current: ContextVar[Run | None] = ContextVar("run", default=None)


def current_run() -> Run | None:
    """The run that this thread, or asyncio task, is at."""
    return _current.get()


class Moment:
    """The time, in seconds of a clock that does not go back, in a policy. Compared with a number it reads just whether
    that time has come: a megaflow made before then lives until then. `float` of it holds for its own packet alone."""

    __slots__ = ("_offset_s", "_run")

    def __init__(self, run: Run, offset_s: float = 0.0) -> None:
        self._run = run
        self._offset_s = offset_s

    def _has_come(self, time_s: float) -> bool:
        if self._run.now_s + self._offset_s >= time_s:
            return True
        self._run.holds_until(time_s - self._offset_s)
        return False

    def __ge__(self, time_s: float) -> bool:
        return self._has_come(time_s)

    def __gt__(self, time_s: float) -> bool:
        return self._has_come(time_s)

    def __lt__(self, time_s: float) -> bool:
        return not self._has_come(time_s)

    def __le__(self, time_s: float) -> bool:
        return not self._has_come(time_s)

    def __add__(self, seconds: float) -> Moment:
        return Moment(self._run, self._offset_s + seconds)

    __radd__ = __add__

    def __sub__(self, seconds: float) -> Moment:
        return Moment(self._run, self._offset_s - seconds)

    def __float__(self) -> float:
        self._run.lasting = False
        return self._run.now_s + self._offset_s

    def __repr__(self) -> str:
        return f"Moment({float(self)})"


def now() -> Moment:
    """The time, as a policy may read it. ConfigError outside of a policy."""
    run = _current.get()
    if run is None:
        raise ConfigError("now() is the time within a policy; outside of one, time.monotonic() tells it")
    return Moment(run)


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a policy would do with a packet: the megaflow that follows from what it read (None: the answer holds for
    this packet alone), the actions, and what it read of state."""

    match: Match
    rule: Rule | None
    actions: tuple[Action, ...]
    state: tuple[str, ...]

    def __str__(self) -> str:
        lines = [
            f"reads    {name}: value {value:#x}, bits {mask:#x}" for name, (value, mask) in self.match.fields().items()
        ]
        lines += [f"reads    {text}" for text in self.state]
        lines.append(
            f"megaflow {self.rule!r}" if self.rule else "megaflow none: the answer holds for this packet alone"
        )
        lines.append(f"actions  {', '.join(map(repr, self.actions)) or 'drop'}")
        return "\n".join(lines)


def explain(policy: Policy, key: Key, now_s: float, priority: int = 0) -> Explanation:
    """What `policy` says to a packet that looks like `key`. State that the policy changes is changed."""
    run = Run(policy, key, now_s)
    state = dict.fromkeys(source.describe(part) for source, part in run.reads)
    return Explanation(run.match, run.rule(priority) if run.lasting else None, run.actions, tuple(state))
