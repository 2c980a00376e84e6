"""What becomes of a packet, told step by step: the text of `ovs-appctl ofproto/trace`, and the same as a dict.

How flows and actions are written is another room's business: `Writers` has its functions. Tables are indented by what
led to them, but for the last action of a list: the table that it goes on in stands below the one that it came from.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from vswitch.messages.actions import FlowAction
from vswitch.messages.match import FlowMatch
from vswitch.model.actions import Action
from vswitch.ofproto.recorder import Entry, Note, Recorder, SetNote, Step, TableStep
from vswitch.ofproto.translate import translate
from vswitch.ofproto.translation import FrozenState, Translation, View

__all__ = ["Trace", "Writers", "trace"]

_INDENT = "    "


@dataclass(frozen=True, slots=True)
class Writers:
    """`flow`: a key of a flow, all its fields. `match`: that of a rule, "" if it takes all. `action`: one of a flow.
    `megaflow`: what an answer holds for. `datapath_actions`: of a megaflow, not empty."""

    flow: Callable[[int], str]
    match: Callable[[FlowMatch], str]
    action: Callable[[FlowAction], str]
    megaflow: Callable[[FlowMatch], str]
    datapath_actions: Callable[[tuple[Action, ...]], str]


@dataclass(frozen=True, slots=True)
class Trace:
    """A packet's way: `key` as it came, `final` as it was in the end, the `answer`, and the `steps` to it."""

    bridge: str
    key: int
    final: int
    answer: Translation
    steps: tuple[Entry, ...]

    def text(self, writers: Writers) -> str:
        """As ofproto/trace prints it."""
        title = f'bridge("{self.bridge}")'
        lines = [f"Flow: {writers.flow(self.key)}", "", title, "-" * len(title)]
        _write(writers, _with_action_set(self.steps), lines, 0)
        final = "unchanged" if self.final == self.key else writers.flow(self.final)
        lines += ["", f"Final flow: {final}", f"Megaflow: {writers.megaflow(self._megaflow())}"]
        actions = self.answer.actions
        lines.append(f"Datapath actions: {writers.datapath_actions(actions) if actions else 'drop'}")
        if self.answer.error:
            lines.append(f"Translation failed ({self.answer.error}), packet is dropped.")
        return "\n".join(lines) + "\n"

    def as_dict(self, writers: Writers) -> dict[str, Any]:
        """The same for programs."""
        return {
            "bridge": self.bridge,
            "flow": writers.flow(self.key),
            "steps": [_as_dict(writers, step) for step in self.steps],
            "final_flow": writers.flow(self.final),
            "megaflow": writers.megaflow(self._megaflow()),
            "datapath_actions": writers.datapath_actions(self.answer.actions) if self.answer.actions else "drop",
            "error": self.answer.error,
        }

    def _megaflow(self) -> FlowMatch:
        return FlowMatch.from_ints(self.key, self.answer.mask)


def _write(writers: Writers, steps: list[Entry], lines: list[str], level: int) -> None:
    """`level`: how far in. What an action leads to stands on its level, behind it; what a table leads to further in,
    but for the last of a list, which needs no telling apart from what follows."""
    flat = _flat(steps)
    for index, step in enumerate(flat):
        if isinstance(step, TableStep):
            more = index < len(flat) - 1
            title = step.title or f"{step.table:2d}. {_rule(writers, step)}"
            lines.append(_INDENT * (level + more) + title)
            inner = level + 2 * more
            if not step.title and not step.inner and not (step.rule and step.rule.actions):
                lines.append(_INDENT * (inner + 1) + "drop")
            _write(writers, step.inner, lines, inner)
        else:
            lines.append(_INDENT * (level + 1) + _line(writers, step))


def _flat(steps: list[Entry]) -> list[Entry]:
    """Actions with what they led to behind them."""
    found: list[Entry] = []
    for step in steps:
        found.append(step)
        if isinstance(step, Step):
            found.extend(_flat(step.inner))
    return found


def _with_action_set(steps: tuple[Entry, ...]) -> list[Entry]:
    """The action set stands where the first table's actions do, behind them."""
    if len(steps) == 2 and isinstance(steps[0], TableStep) and isinstance(steps[1], TableStep):
        return [replace(steps[0], inner=[*steps[0].inner, steps[1]])]
    return list(steps)


def _line(writers: Writers, step: Note | SetNote | Step) -> str:
    match step:
        case Note():
            return f" {step.text}"
        case SetNote():
            return f" -> action set is{_set(writers, step)}"
        case Step():
            return writers.action(step.action)


def _set(writers: Writers, step: SetNote) -> str:
    return ": " + ",".join(writers.action(each) for each in step.actions) if step.actions else " empty"


def _rule(writers: Writers, step: TableStep) -> str:
    rule = step.rule
    if rule is None:
        return "No match."
    match = writers.match(rule.match)
    cookie = f", cookie {rule.cookie:#x}" if rule.cookie else ""
    return f"{match}{', ' if match else ''}priority {rule.priority}{cookie}"


def _as_dict(writers: Writers, step: Entry) -> dict[str, Any]:
    if isinstance(step, Note):
        return {"note": step.text}
    if isinstance(step, SetNote):
        return {"action_set": [writers.action(each) for each in step.actions]}
    inner = [_as_dict(writers, each) for each in step.inner]
    if isinstance(step, Step):
        return {"action": writers.action(step.action), "steps": inner}
    if step.title:
        return {"title": step.title, "steps": inner}
    rule = step.rule
    found = None
    if rule is not None:
        found = {"match": writers.match(rule.match), "priority": rule.priority, "cookie": rule.cookie}
    return {"table": step.table, "rule": found, "steps": inner}


def trace(
    view: View,
    key: int,
    frame: bytes | None,
    now_ns: int,
    *,
    bridge: str = "br0",
    actions: tuple[FlowAction, ...] | None = None,
    resume: FrozenState | None = None,
) -> Trace:
    """What `translate` would say of the packet, with every step. Nothing is changed by it."""
    recorder = Recorder()
    answer = translate(view, key, frame, now_ns, recorder=recorder, actions=actions, resume=resume)
    return Trace(bridge, key, recorder.final, answer, tuple(recorder.steps))
