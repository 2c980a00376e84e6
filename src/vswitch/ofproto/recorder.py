"""What a walk through the tables looked like, step by step, for those who want to see it.

Recording changes nothing: `translate` calls these with what it does anyway. `vswitch.ofproto.trace` writes it down.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from vswitch.messages.actions import FlowAction
from vswitch.ofproto.rule import Rule

__all__ = ["Entry", "Note", "Recorder", "SetNote", "Step", "TableStep"]


@dataclass(slots=True)
class Note:
    """A remark about what has just been done."""

    text: str


@dataclass(slots=True)
class SetNote:
    """The packet's action set as it is now."""

    actions: tuple[FlowAction, ...]


@dataclass(slots=True)
class Step:
    """An action, what was remarked about it, and what it led to."""

    action: FlowAction
    inner: list[Entry] = field(default_factory=list)


@dataclass(slots=True)
class TableStep:
    """A lookup in a table, and what the rule did. `rule`: None is a miss. `title`: instead of a table's number."""

    table: int
    key: int
    rule: Rule | None
    title: str = ""
    inner: list[Entry] = field(default_factory=list)


Entry = Note | SetNote | Step | TableStep


class Recorder:
    """Collects what is done. `steps`: the outermost. `final`: the packet's key in the end."""

    def __init__(self) -> None:
        self.final = 0
        self.steps: list[Entry] = []
        self._open: list[list[Entry]] = [self.steps]

    @property
    def depth(self) -> int:
        """How many lists are open inside of each other: what `leave` is given."""
        return len(self._open)

    def table(self, number: int, key: int, rule: Rule | None) -> None:
        """A lookup; what follows is inside of it, until `leave`."""
        self._enter(TableStep(number, key, rule))

    def title(self, text: str, key: int) -> None:
        """Something that is done besides tables; what follows is inside of it, until `leave`."""
        self._enter(TableStep(-1, key, None, text))

    def action(self, action: FlowAction) -> None:
        """An action; what follows is inside of it, until `leave`."""
        self._enter(Step(action))

    def note(self, text: str) -> None:
        """A remark."""
        self._open[-1].append(Note(text))

    def action_set(self, actions: tuple[FlowAction, ...]) -> None:
        """The action set has become these."""
        self._open[-1].append(SetNote(actions))

    def _enter(self, step: Step | TableStep) -> None:
        self._open[-1].append(step)
        self._open.append(step.inner)

    def leave(self, depth: int) -> None:
        """Close all lists that were opened since `depth`."""
        del self._open[depth:]
