"""Megaflows that are right no more are withdrawn; those that are stay.

A change of tables, ports, groups or learned addresses is noted, and settled before anything follows from what is new:
before more packets are answered, before a barrier is. Many changes are settled together. The index names the megaflows
that a change may have affected. If these are few, each is translated anew, and stays if the answer is the same; if they
are many, they go: their packets come up again and are answered by what holds now.

Invariant: after `settle`, each megaflow of the bridge says what its translation would say now.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

from vswitch.bridge.megaflows import Megaflows, Standing
from vswitch.ofproto.rule import Rule

if TYPE_CHECKING:
    from vswitch.ofproto.translation import Dependency, Translation

__all__ = ["Revalidator", "Settled"]

LOOK_AGAIN = 1000
"""So many are translated anew: some 30 ms."""


class Settled(NamedTuple):
    """What a change meant for megaflows: so many it may have `affected`, so many of these were translated anew
    (`looked_at`; none if they were too many for that), so many were `withdrawn`."""

    affected: int = 0
    looked_at: int = 0
    withdrawn: int = 0


class Revalidator:
    """`translate`: anew, for a megaflow's first packet. `on_change`: called when anything but the places of addresses,
    and which rules there are, is another now. `last`: what the last change meant that was settled while there were
    megaflows; `looked_at`, `withdrawn`: of all changes."""

    def __init__(
        self,
        megaflows: Megaflows,
        translate: Callable[[Standing], Translation],
        on_change: Callable[[], object] = lambda: None,
    ) -> None:
        self._megaflows = megaflows
        self._translate = translate
        self._on_change = on_change
        self._added: dict[Rule, None] = {}
        self._gone: dict[Rule, None] = {}
        self._parts: set[Dependency] = set()
        self._all = False
        self.changes = self.looked_at = self.withdrawn = 0
        self.last = Settled()

    def __bool__(self) -> bool:
        return bool(self._added or self._gone or self._parts or self._all)

    def note_added(self, rule: Rule) -> None:
        """A rule is in a table from now on."""
        self.changes += 1
        self._added[rule] = None

    def note_modified(self, rule: Rule) -> None:
        """A rule does something else."""
        self.changes += 1
        self._on_change()
        self._gone[rule] = None

    def note_removed(self, rule: Rule) -> None:
        """A rule is in its table no more."""
        self.changes += 1
        self._added.pop(rule, None)
        self._gone[rule] = None

    def note_parts(self, parts: Iterable[Dependency]) -> None:
        """These are others now: ("group", id) and so on, as translations name what they depend on."""
        self.changes += 1
        parts = set(parts)
        self._parts |= parts
        if any(part[0] != "mac" for part in parts):
            self._on_change()

    def note_all(self) -> None:
        """Whatever it is, all may depend on it."""
        self.changes += 1
        self._all = True
        self._on_change()

    def settle(self) -> int:
        """See to what was noted. How many megaflows were withdrawn."""
        if not self:
            return 0
        added, gone, parts, everything = self._added, self._gone, self._parts, self._all
        self._added, self._gone, self._parts, self._all = {}, {}, set(), False
        megaflows = self._megaflows
        if not len(megaflows):
            return 0
        if everything:
            affected = set(megaflows)
        else:
            index = megaflows.index
            affected = index.of_rules(gone) if gone else set()
            clauses = [rule for rule in gone if rule.conjunctions]
            if added or clauses:
                affected |= index.that_would_find([*added, *clauses])
            if parts:
                affected |= index.of_parts(parts)
        before = self.looked_at
        stale = self._stale(affected)
        megaflows.withdraw(stale)
        self.withdrawn += len(stale)
        self.last = Settled(len(affected), self.looked_at - before, len(stale))
        return len(stale)

    def _stale(self, affected: set[Standing]) -> list[Standing]:
        if len(affected) > LOOK_AGAIN:
            return list(affected)
        self.looked_at += len(affected)
        stale = []
        for standing in affected:
            new = self._translate(standing)
            if not is_same(standing.translation, new):
                stale.append(standing)
            elif new is not standing.translation:
                self._megaflows.follow(standing, new)
        return stale


def is_same(old: Translation, new: Translation) -> bool:
    """Whether a megaflow that follows from the old one could follow from the new one: it does the same, and all that it
    takes would be answered so."""
    return new.actions == old.actions and new.controllers == old.controllers and new.mask & ~old.mask == 0
