"""One flow of a table, and what it has counted.

A rule is mutable and has one owner, `FlowTables`; everybody else holds it to credit packets to it. A flow that is
modified stays the same object, so that what is in flight is counted where it belongs; one that is replaced by an equal
`add` is another.

Invariant: `removed` is False exactly while the rule is in a table.
"""

from __future__ import annotations

from vswitch.messages.actions import Conjunction, FlowAction
from vswitch.messages.flows import FlowFlags, FlowRemovedReason
from vswitch.messages.match import FlowMatch

__all__ = ["NS_PER_S", "Rule"]

NS_PER_S = 1_000_000_000
_NO_PACKETS, _NO_BYTES = int(FlowFlags.NO_PACKET_COUNTS), int(FlowFlags.NO_BYTE_COUNTS)


class Rule:
    """A flow. Times in ns of the caller's clock: `created_ns`, `modified_ns` (its hard timeout runs from there),
    `used_ns` (when a packet last passed; its idle timeout runs from there). `deadline_ns`: when the tables look at its
    timeouts again, 0 if it has none. `conjunctions`: the clauses that it stands for, empty for all but those rules.
    `uses`: the groups and meters that its actions name, as ("group", id) and ("meter", id), and what they teach until
    they go, as ("learned", table and cookie). `heir`: the flow that has taken its place and its counters."""

    __slots__ = (
        "actions", "bytes", "conjunctions", "cookie", "created_ns", "deadline_ns", "flags", "hard_timeout_s",
        "heir", "idle_timeout_s", "importance", "match", "modified_ns", "packets", "priority", "removed", "table",
        "used_ns", "uses",
    )  # fmt: skip

    def __init__(
        self,
        table: int,
        match: FlowMatch,
        priority: int,
        actions: tuple[FlowAction, ...] = (),
        cookie: int = 0,
        *,
        flags: int = 0,
        idle_timeout_s: int = 0,
        hard_timeout_s: int = 0,
        importance: int = 0,
        now_ns: int = 0,
    ) -> None:
        self.table = table
        self.match = match
        self.priority = priority
        self.cookie = cookie
        self.flags = flags
        self.idle_timeout_s = idle_timeout_s
        self.hard_timeout_s = hard_timeout_s
        self.importance = importance
        self.created_ns = self.modified_ns = self.used_ns = now_ns
        self.deadline_ns = 0
        self.packets = 0
        self.bytes = 0
        self.removed = True
        self.heir: Rule | None = None
        self.uses: tuple[tuple[str, int], ...] = ()
        self.conjunctions: tuple[Conjunction, ...] = ()
        self.actions = actions
        for action in actions:
            if type(action) is Conjunction:
                self.conjunctions += (action,)

    def credit(self, packets: int, size: int, used_ns: int) -> None:
        """So many packets and bytes have passed, the last at `used_ns`; they may have while its place was taken."""
        if self.heir is not None:
            self._last_heir().credit(packets, size, used_ns)
            return
        if not self.flags & _NO_PACKETS:
            self.packets += packets
        if not self.flags & _NO_BYTES:
            self.bytes += size
        self.used_ns = max(self.used_ns, used_ns)

    def _last_heir(self) -> Rule:
        rule = self
        while rule.heir is not None:
            rule = rule.heir
        return rule

    def expired(self, now_ns: int) -> FlowRemovedReason | None:
        """Which of its timeouts is over, if one is; the hard one first."""
        if self.hard_timeout_s and now_ns >= self.modified_ns + self.hard_timeout_s * NS_PER_S:
            return FlowRemovedReason.HARD_TIMEOUT
        if self.idle_timeout_s and now_ns >= self.used_ns + self.idle_timeout_s * NS_PER_S:
            return FlowRemovedReason.IDLE_TIMEOUT
        return None

    def expiry_ns(self) -> int:
        """When it would go if no packet came any more; 0: never."""
        hard = self.modified_ns + self.hard_timeout_s * NS_PER_S if self.hard_timeout_s else 0
        idle = self.used_ns + self.idle_timeout_s * NS_PER_S if self.idle_timeout_s else 0
        return min(hard, idle) if hard and idle else hard or idle

    def __repr__(self) -> str:
        return f"Rule(table={self.table}, priority={self.priority}, {self.match!r}, cookie={self.cookie:#x})"
