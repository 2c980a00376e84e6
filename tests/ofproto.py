"""A switch without packets, for tests of what controllers are answered."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from vswitch.messages.actions import FlowAction, Output
from vswitch.messages.base import Message
from vswitch.messages.control import Error
from vswitch.messages.flows import FlowCommand, FlowMod
from vswitch.messages.match import FlowMatch
from vswitch.messages.ports import PortDescription
from vswitch.ofproto.rule import NS_PER_S, Rule
from vswitch.ofproto.session import Session
from vswitch.ofproto.switch import Outcome, Switch
from vswitch.text.flow import parse_flow

__all__ = ["LEARN", "TAUGHT_STEPS", "XID", "Desk", "flow", "flows_of"]

XID = 7
LEARN = "learn(table=5,cookie=7,delete_learned,NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[])"
_TAUGHT = (
    "add table=5,cookie=7,dl_dst=00:00:00:00:00:01,actions=1",
    "add table=5,cookie=8,dl_dst=00:00:00:00:00:02,actions=1",
    "add table=6,cookie=7,actions=1",
)
_STEPS: dict[str, tuple[tuple[str, ...], set[tuple[int, int]]]] = {
    "its only teacher is deleted": ((f"add in_port=1,actions={LEARN}", "delete table=0"), {(5, 8), (6, 7)}),
    "one of two": (
        (f"add in_port=1,actions={LEARN}", f"add in_port=2,actions={LEARN}", "delete table=0,in_port=1"),
        {(0, 0), (5, 7), (5, 8), (6, 7)},
    ),
    "the other does not delete": (
        (
            f"add in_port=1,actions={LEARN}", "delete table=0,in_port=2",
            f"add in_port=2,actions={LEARN.replace('delete_learned,', '')}", "delete table=0,in_port=1",
        ),
        {(0, 0), (5, 8), (6, 7)},
    ),
    "modified": ((f"add in_port=1,actions={LEARN}", "modify in_port=1,actions=2"), {(0, 0), (5, 8), (6, 7)}),
    "modified, and teaches on": (
        (f"add in_port=1,actions={LEARN}", f"modify in_port=1,actions=2,{LEARN}"), {(0, 0), (5, 7), (5, 8), (6, 7)},
    ),
    "replaced": ((f"add in_port=1,actions={LEARN}", "add in_port=1,actions=2"), {(0, 0), (5, 8), (6, 7)}),
    "what goes has taught": (
        (
            f"add in_port=1,actions={LEARN}",
            "add table=5,cookie=7,in_port=3,actions=learn(table=6,cookie=7,delete_learned,in_port=1)", "delete table=0",
        ),
        {(5, 8)},
    ),
    "one of those that it taught itself": (
        (f"add table=5,cookie=7,in_port=1,actions={LEARN}", "delete table=5,in_port=1"), {(5, 8), (6, 7)},
    ),
}  # fmt: skip
"""Steps, as lines of ovs-ofctl add-flows, and (table, cookie) of the flows that are left. ovs-vswitchd 3.1 agrees."""
TAUGHT_STEPS = {name: (_TAUGHT + steps, left) for name, (steps, left) in _STEPS.items()}


def flow(
    match: FlowMatch | None = None,
    actions: tuple[FlowAction, ...] = (Output(1),),
    command: FlowCommand = FlowCommand.ADD,
    **more: Any,
) -> FlowMod:
    """A flow-mod."""
    return FlowMod(command, match or FlowMatch(), actions, **more)


def flows_of(switch: Switch) -> list[tuple[int, int, FlowMatch, tuple[FlowAction, ...], int]]:
    """(table, priority, match, actions, cookie) of all flows, in order."""
    rules: list[Rule] = [rule for table in switch.tables for rule in table]
    shown = [(rule.table, rule.priority, rule.match, rule.actions, rule.cookie) for rule in rules]
    return sorted(shown, key=lambda each: (each[0], -each[1], each[2].mask, each[2].value))


class Desk:
    """A switch, a controller, and a clock that stands still until it is told otherwise."""

    def __init__(self, version: int = 4, **options: Any) -> None:
        self.switch = Switch(**options)
        self.now_ns = 1000 * NS_PER_S
        for number in (1, 2, 3):
            self.switch.port_changed(PortDescription(number, 0x020000000000 + number, f"p{number}"), self.now_ns)
        self.session = Session(version)
        self.switch.connect(self.session)

    def join(self, version: int = 4, **options: Any) -> Session:
        """One more controller."""
        session = Session(version, **options)
        self.switch.connect(session)
        return session

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.now_ns += round(seconds * NS_PER_S)

    def send(self, message: Message, session: Session | None = None, xid: int = XID) -> Outcome:
        """What follows from a message, be it refused or not."""
        return self.switch.handle(message, xid, session or self.session, self.now_ns)

    def do(self, message: Message, session: Session | None = None) -> Outcome:
        """As `send`; it must not be refused."""
        outcome = self.send(message, session)
        assert not any(isinstance(reply, Error) for reply, _ in outcome.replies), outcome.replies
        return outcome

    def ask(self, message: Message, session: Session | None = None) -> Any:
        """The one reply."""
        ((reply, xid),) = self.do(message, session).replies
        assert xid == XID
        return reply

    def refused(self, message: Message, session: Session | None = None) -> str:
        """With which error it is refused. Nothing must change by it."""
        before = flows_of(self.switch)
        outcome = self.send(message, session)
        assert flows_of(self.switch) == before
        assert not outcome.changes
        errors = [reply for reply, _ in outcome.replies]
        assert errors, "it was done"
        assert all(isinstance(each, Error) for each in errors)
        return errors[-1].error  # type: ignore[attr-defined, no-any-return]

    def write(self, lines: Iterable[str]) -> None:
        """Flow-mods, as lines of ovs-ofctl add-flows."""
        for line in lines:
            word, text = line.split(" ", 1)
            self.do(parse_flow(text, FlowCommand[word.upper()]))

    def rules(self) -> list[Rule]:
        """All flows."""
        return [rule for table in self.switch.tables for rule in table]

    def rule(self) -> Rule:
        """The only flow."""
        (rule,) = self.rules()
        return rule
