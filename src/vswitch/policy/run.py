"""Runs of policies: what a policy has read, of the packet, of state, of the time, and what it answered.

One run is one packet. What is read of the packet is in its `Trace`; what is read of state is listed here, so that the
megaflow can be withdrawn when that changes; what is read of the time bounds how long the megaflow may live.

What it writes to state is listed too: a packet that the megaflow takes is one for which that would have been written
again, so the megaflow is right as long as it stands there.

Invariant: a run whose answer would not be the same a moment later, or for the next packet of its megaflow, is not
`lasting`: its answer holds for its own packet alone, and `alone` says why.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice
from typing import Any, Protocol

from vswitch.base.errors import ConfigError
from vswitch.base.limits import MAX_ACTIONS, MAX_TIMEOUT_S
from vswitch.model.actions import Action, Drop, Output, Recirculate, check_actions
from vswitch.model.match import Key
from vswitch.model.megaflow import Rule
from vswitch.policy.packet import Packet
from vswitch.policy.trace import VIEWS, Trace

__all__ = [
    "Decision",
    "Moment",
    "Policy",
    "PolicyAnswer",
    "Reply",
    "Rewrite",
    "Run",
    "Settling",
    "Source",
    "Stages",
    "Waiting",
    "changes",
    "current_run",
    "drop",
    "laid_out",
    "now",
    "output",
    "rewrite",
]

SHORTEST_S = 0.001
"""Megaflows count milliseconds: what holds for less is not worth one."""


class Settling(Protocol):
    """Somebody who has been told of changes, and is to draw the consequences of all of them at once."""

    def settle(self) -> None:
        """That was all for now."""
        ...


class Waiting(Protocol):
    """Somebody who wants to know when something that was read is no longer so."""

    def withdraw(self) -> Settling | None:
        """It has changed. Who is to settle that, when all are told."""
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
    """An answer that says how long it holds: after `idle_timeout_s` seconds without a packet, or `hard_timeout_s`
    seconds after the policy was asked, it is asked again. None: there is no such end."""

    actions: Action | Iterable[Action | tuple[Action, ...]] | Rewrite
    idle_timeout_s: float | None = None
    hard_timeout_s: float | None = None

    def __post_init__(self) -> None:
        for name in ("idle_timeout_s", "hard_timeout_s"):
            seconds = getattr(self, name)
            if seconds is not None and not (isinstance(seconds, int | float) and 0 < seconds <= MAX_TIMEOUT_S):
                raise ConfigError(f"{name} {seconds!r} of a decision is outside 0..{MAX_TIMEOUT_S}, 0 excluded")


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer to the packet itself: `frame` (14..65549 bytes, Ethernet header first) goes out of port number `port`
    (None: of that which the packet came in by), and the packet goes nowhere. It holds for its own packet alone."""

    frame: bytes
    port: int | None = None


@dataclass(frozen=True, slots=True)
class Rewrite:
    """An answer that changes the packet by `actions`, and asks the policy `then` what becomes of what it is now. The
    packet stays in the kernel: it is recirculated, and what `then` reads becomes a megaflow of its own."""

    actions: tuple[Action, ...]
    then: Callable[[Packet], Any]


def rewrite(*actions: Action, then: Callable[[Packet], Any]) -> Rewrite:
    """See `Rewrite`. `then` is one of a few functions that are always the same, not one that is made anew each time.
    ConfigError: an action that is none; LimitError: too many."""
    return Rewrite(check_actions(actions), then)


PolicyAnswer = Action | Iterable[Action | tuple[Action, ...]] | Reply | Rewrite | Decision
"""What a policy may return. Actions without any drop; a `Reply` holds for its own packet, the others for all of the
megaflow that follows from what was read."""
Policy = Callable[[Packet], PolicyAnswer]
"""A function over a packet. It returns what is to be done with it: an action, several, a `Reply` or a `Rewrite`, or a
`Decision`, which says how long that holds."""

FIRST_STAGE, MAX_STAGES = 0x50000000, 256
"""Recirculation ids of what policies go on with: from here on, at most so many."""


def _call(policy: Callable[[Packet], Any], packet: Packet) -> Any:
    return policy(packet)


class Stages:
    """A policy, and the policies that it goes on with; which one a packet is for, its recirculation id says."""

    def __init__(self, policy: Callable[[Packet], Any]) -> None:
        self.policy = policy
        self.call: Callable[[Callable[[Packet], Any], Packet], Any] = _call
        """How the one that a packet is for is called."""
        self._ids: dict[Callable[[Packet], Any], int] = {}
        self._policies: dict[int, Callable[[Packet], Any]] = {}

    def called_by(self, call: Callable[[Callable[[Packet], Any], Packet], Any]) -> Stages:
        """The same policies, called in another way; those to come are its own."""
        other = Stages(self.policy)
        other.call, other._ids, other._policies = call, dict(self._ids), dict(self._policies)
        return other

    def __call__(self, packet: Packet) -> Any:
        """Ask the one that the packet is for."""
        # hot: once per upcall
        recirc_id = packet._trace.bits(_RECIRC_ID, _RECIRC_ID.max)
        return self.call(self._policies.get(recirc_id, self.policy) if recirc_id else self.policy, packet)

    def id_of(self, policy: Callable[[Packet], Any]) -> int:
        """By which packets are for this one. ConfigError: too many."""
        number = self._ids.get(policy)
        if number is None:
            if len(self._ids) >= MAX_STAGES:
                raise ConfigError(
                    f"policies go on with more than {MAX_STAGES} others: {policy!r} should be made once, not anew for "
                    "each packet"
                )
            number = self._ids[policy] = FIRST_STAGE + len(self._ids)
            self._policies[number] = policy
        return number


_RECIRC_ID = VIEWS["recirc_id"]

drop = Drop()
"""The answer of a policy that lets nothing through: the packet is dropped, for reason 0."""


def output(*ports: int) -> tuple[Output, ...]:
    """Send the packet out of the ports of these numbers, in this order. ConfigError: a number that no port can have."""
    return _outputs(ports if set(map(type, ports)) == {int} else tuple(map(int, ports)))


@lru_cache(4096)
def _outputs(ports: tuple[int, ...]) -> tuple[Output, ...]:
    """The same object for the same ports: what has been checked once need not be again."""
    return tuple(Output(port) for port in ports)


def laid_out(answer: Any) -> Any:
    """The answer with its actions in a tuple. To go through a generator is to run the policy on: it has to be done
    within the run, and it may not end. `output(2)`, a tuple itself, may stand among others."""
    # hot: once per upcall
    if type(answer) is tuple:
        for each in answer:
            if type(each) is tuple:
                break
        else:
            return answer
    elif isinstance(answer, Decision):
        actions = laid_out(answer.actions)
        return answer if actions is answer.actions else replace(answer, actions=actions)
    elif isinstance(answer, Action | str | bytes | Mapping) or not isinstance(answer, Iterable):
        return answer
    found: list[Any] = []
    for each in islice(answer, MAX_ACTIONS + 1):  # one more than may be is refused
        found += each if type(each) is tuple else (each,)
    return tuple(found)


def _checked(answer: Any) -> tuple[Action, ...]:
    if answer is None:
        raise ConfigError("the policy returned nothing: return drop, or what is to be done with the packet")
    if isinstance(answer, Mapping):
        raise ConfigError(f"the policy returned {answer!r:.60}, which is no action")
    return check_actions(answer)


def _checked_reply(reply: Reply) -> Reply:
    if not isinstance(reply.frame, bytes) or not 14 <= len(reply.frame) <= 65549:
        raise ConfigError(f"the policy replied with {reply.frame!r:.60}, which is no frame of 14..65549 bytes")
    if reply.port is not None:
        Output(reply.port)  # ConfigError if it cannot be one
    return reply


class Changes:
    """How often state has changed. A run is over before what it has read is waited for; a signal's handler may change
    it in between."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0


changes = Changes()


class Run:
    """One run of a policy: asks `policy` about a packet that looks like `key`, at the time `now_s` (of any clock that
    does not go back). `frame` gives its bytes. ConfigError: the answer is nonsense; whatever the policy raises goes
    through."""

    __slots__ = (
        "actions", "alone", "changes_seen", "hard_timeout_s", "idle_timeout_s", "match", "now_s", "reads", "reply",
        "trace", "undo", "valid_until_s", "writes",
    )  # fmt: skip

    def __init__(
        self,
        policy: Callable[[Packet], Any],
        key: Key,
        now_s: float,
        frame: Callable[[], bytes] | None = None,
        undo: dict[int, Callable[[], None]] | None = None,
    ) -> None:
        # hot: once per upcall. `undo`: if it is there, what the policy changes of state concerns nobody, and here is
        # noted how to undo it, for each container by its id
        self.undo = undo
        self.trace = Trace(key, frame)
        self.reply: Reply | None = None
        self.reads: list[tuple[Source, Hashable]] = []
        self.writes: list[tuple[Source, Hashable]] = []
        self.now_s = now_s
        self.valid_until_s: float | None = None
        self.alone = ""
        token = _current.set(self)
        try:
            answer = laid_out(policy(Packet(self.trace)))
            self.changes_seen = changes.count  # what comes until the next line makes the run not lasting
        finally:
            _current.reset(token)
        self.idle_timeout_s = self.hard_timeout_s = None
        if isinstance(answer, Decision):
            self.idle_timeout_s, self.hard_timeout_s = answer.idle_timeout_s, answer.hard_timeout_s
            answer = answer.actions
        if isinstance(answer, Reply):
            self.reply, answer = _checked_reply(answer), drop
        elif isinstance(answer, Rewrite):
            answer = self._going_on(policy, answer)
        self.actions = _checked(answer)
        if self.reply is not None:
            self.alone = "it is a reply"
        elif self.trace.whole:
            self.alone = "it follows from the bytes of the frame"
        self._bound_by_time()
        self.match = self.trace.finish()

    @staticmethod
    def _going_on(policy: Callable[[Packet], Any], answer: Rewrite) -> tuple[Action, ...]:
        if not isinstance(policy, Stages):
            raise ConfigError(f"{answer!r} is no answer of a policy that is not at work on a datapath")
        return (*answer.actions, Recirculate(policy.id_of(answer.then)))

    def _bound_by_time(self) -> None:
        if self.valid_until_s is not None:
            left_s = min(self.valid_until_s - self.now_s, MAX_TIMEOUT_S)
            self.hard_timeout_s = left_s if self.hard_timeout_s is None else min(left_s, self.hard_timeout_s)
            if left_s < SHORTEST_S:
                self.alone = self.alone or "it holds for less than a millisecond"

    def count_down(self, now_s: float) -> None:
        """It is that time now: a hard timeout counts from when the policy was asked."""
        if self.hard_timeout_s is not None:
            self.hard_timeout_s -= now_s - self.now_s
            if self.hard_timeout_s < SHORTEST_S:
                self.alone = self.alone or "its time is over"

    @property
    def lasting(self) -> bool:
        """Whether the answer holds for more than its own packet."""
        return not self.alone

    def rule(self, priority: int) -> Rule:
        """The megaflow of this run."""
        if priority == 0 and self.idle_timeout_s is None and self.hard_timeout_s is None:
            return Rule.plain(self.match, self.actions)
        return Rule(self.match, self.actions, priority, self.idle_timeout_s, self.hard_timeout_s)

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

    def _has_come(self, time_s: float | Moment, passed: bool) -> bool:
        """Whether it is that time, or if it has `passed`."""
        if isinstance(time_s, Moment):
            raise TypeError("compare now() with a number: what a policy keeps of a time is float(now())")
        mine = self._run.now_s + self._offset_s
        if mine > time_s or (mine == time_s and not passed):
            return True
        self._run.holds_until(time_s - self._offset_s)
        return False

    def __eq__(self, other: object) -> bool:
        raise TypeError("no policy can know whether it is just that time: compare now() by < or >=")

    def __bool__(self) -> bool:
        raise TypeError("now() is neither true nor false: compare it by < or >=")

    def __ge__(self, time_s: float | Moment) -> bool:
        return self._has_come(time_s, False)

    def __gt__(self, time_s: float | Moment) -> bool:
        return self._has_come(time_s, True)

    def __lt__(self, time_s: float | Moment) -> bool:
        return not self._has_come(time_s, False)

    def __le__(self, time_s: float | Moment) -> bool:
        return not self._has_come(time_s, True)

    def __add__(self, seconds: float) -> Moment:
        return Moment(self._run, self._offset_s + seconds)

    __radd__ = __add__

    def __sub__(self, seconds: float) -> Moment:
        return Moment(self._run, self._offset_s - seconds)

    def __float__(self) -> float:
        self._run.alone = "it follows from the exact time"
        return self._run.now_s + self._offset_s

    def __repr__(self) -> str:
        return f"Moment({float(self)})"


def now() -> Moment:
    """The time, as a policy may read it; outside of one, that of the datapath is `time()`. ConfigError: no policy is at
    work."""
    run = _current.get()
    if run is None:
        raise ConfigError("now() is the time within a policy; outside of one, `time()` of the datapath tells it")
    return Moment(run)
