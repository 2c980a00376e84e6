"""What a policy would do with a packet, told and not done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from vswitch.base.limits import MAX_RECIRCULATIONS
from vswitch.model.actions import Action
from vswitch.model.match import Key, Match
from vswitch.model.megaflow import Rule
from vswitch.policy.packet import Packet
from vswitch.policy.run import Reply, Run

__all__ = ["Explanation", "Onward", "explain"]

Onward = Callable[[Key, bytes, tuple[Action, ...]], tuple[Key, bytes] | None]
"""What a packet, by its key and its frame, has become when these actions recirculate it; None if they do not."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a policy would do with a packet: the megaflow that follows from what it read (None: the answer holds for
    this packet alone, `alone` says why), the actions, and what it read or wrote of state, in words. `match`: what it
    read of the packet; `reply`: the frame that it would answer with; `then`: the same of the packet that a `Rewrite`
    made of it, if its frame is known. `str` of it is a text of several lines."""

    match: Match
    rule: Rule | None
    actions: tuple[Action, ...]
    state: tuple[str, ...]
    reply: Reply | None = None
    alone: str = ""
    then: Explanation | None = None

    @property
    def stages(self) -> tuple[Explanation, ...]:
        """This one, and those that follow by `then`."""
        return (self, *(self.then.stages if self.then is not None else ()))

    def __str__(self) -> str:
        lines = [
            f"reads    {name}: value {value:#x}, bits {mask:#x}" for name, (value, mask) in self.match.fields().items()
        ]
        lines += [f"reads    {text}" for text in self.state]
        lines.append(
            f"megaflow {self.rule!r}" if self.rule else f"megaflow none: for this packet alone, as {self.alone}"
        )
        if self.reply is not None:
            port = "the port it came in by" if self.reply.port is None else f"port {self.reply.port}"
            lines.append(f"reply    {len(self.reply.frame)} bytes to {port}")
        lines.append(f"actions  {', '.join(map(repr, self.actions)) or 'drop'}")
        if self.then is not None:
            lines += ["then", str(self.then)]
        return "\n".join(lines)


def explain(
    policy: Callable[[Packet], Any],
    key: Key,
    now_s: float,
    priority: int = 0,
    frame: bytes | None = None,
    onward: Onward | None = None,
) -> Explanation:
    """What `policy` says to a packet that looks like `key`, and to what becomes of it as far as `onward` knows. What it
    changes of a `Table` or of `Networks` is as it was afterwards. Whoever calls it holds the lock `changing`."""
    undo: dict[int, Callable[[], None]] = {}
    told: list[Explanation] = []
    try:
        while len(told) <= MAX_RECIRCULATIONS:
            run = Run(policy, key, now_s, None if frame is None else partial(bytes, frame), undo)
            told.append(_told(run, priority))
            become = onward(key, frame, run.actions) if onward is not None and frame is not None else None
            if become is None:
                break
            key, frame = become
    finally:
        for each in undo.values():
            each()
    whole = told.pop()
    while told:
        whole = replace(told.pop(), then=whole)
    return whole


def _told(run: Run, priority: int) -> Explanation:
    state = [source.describe(part) for source, part in run.reads]
    state += [f"{source.describe(part)}, written" for source, part in run.writes]
    if run.valid_until_s is not None:
        state.append(f"the time: it is {run.now_s:.6f}, and that it is not {run.valid_until_s:.6f} yet")
    rule = run.rule(priority) if run.lasting else None
    return Explanation(run.match, rule, run.actions, tuple(dict.fromkeys(state)), run.reply, run.alone)
