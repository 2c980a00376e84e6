"""Which megaflows a change affects: by rules that they passed, by lookups that they made, by what else they depend on.

A megaflow follows from what its translation has found. A rule that goes, or does something else, affects those that
passed it. A rule that comes affects those that looked its table up with a key which it takes, as far as is known of the
keys of all their packets, and found none of a higher priority. What is known are the bits that were looked at, and
those of the megaflow's own mask that the packet still had as it came. So lookups are kept by table and by these bits,
which are the same for most megaflows; to ask about a rule is a pass over each group, or, if rules of its mask came
before, one dictionary access: a group then knows its megaflows by the bits that this mask asks for (a projection). Many
rules at once are asked about together.

To enter a megaflow costs microseconds, so it is done when nothing else waits, or when somebody asks; projections of
large groups are made when nothing else waits.

Invariant: an entry is in `_fresh`, or in all places where it belongs.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

from vswitch.ofproto.rule import Rule
from vswitch.ofproto.translation import Dependency, Lookup

__all__ = ["Index", "Indexed"]

FEW = 16
"""Members of a group that are rather looked through than kept by their bits."""

AT_ONCE = 1024
"""Members that are entered into a new projection at once: it costs what looking through them once does."""

MOST_PROJECTIONS = 8
"""Of one group: each costs something with every new megaflow."""


class Indexed(Protocol):
    """A megaflow, as far as it is looked for here. `indexed`: whether it has been entered."""

    indexed: bool
    translation: Any

    def __hash__(self) -> int: ...


E = TypeVar("E", bound=Indexed)
Lookups = Lookup | tuple[Lookup, ...]
"""One, as nearly always, or several."""


class _Places(Generic[E]):
    """Entries by something. Most have a place for themselves, which then is the entry itself and no set."""

    __slots__ = ("_places",)

    def __init__(self) -> None:
        self._places: dict[Hashable, Any] = {}

    def add(self, key: Hashable, entry: E) -> None:
        # hot: several times for each megaflow
        there = self._places.get(key)
        if there is None:
            self._places[key] = entry
        elif type(there) is set:
            there.add(entry)
        elif there is not entry:
            self._places[key] = {there, entry}

    def discard(self, key: Hashable, entry: E) -> None:
        there = self._places.get(key)
        if there is entry:
            del self._places[key]
        elif type(there) is set:
            there.discard(entry)
            if not there:
                del self._places[key]

    def get(self, key: Hashable) -> Collection[E]:
        there = self._places.get(key)
        if there is None:
            return ()
        return there if type(there) is set else (there,)

    def clear(self) -> None:
        self._places.clear()


class _Projection(Generic[E]):
    """The members of a group by some of their bits. It is filled bit by bit; until then it is of no use."""

    __slots__ = ("_left", "common", "places")

    def __init__(self, common: int, members: Iterable[E]) -> None:
        self.common = common
        self.places: _Places[E] = _Places()
        self._left = list(members)

    def fill(self, members: Mapping[E, Lookups], most: int) -> bool:
        """Enter so many. Whether all are."""
        left = self._left
        for entry in left[-most:]:
            for lookup in _each(members.get(entry, ())):  # those that have gone since have none
                self.places.add(lookup.key & self.common, entry)
        del left[-most:]
        return not left

    @property
    def is_whole(self) -> bool:
        """Whether all members are in it."""
        return not self._left


class _Group(Generic[E]):
    """Those that have the same bits of their keys in common in a table: each with its lookup, or lookups if there were
    several."""

    __slots__ = ("_asked", "members", "projections")

    def __init__(self) -> None:
        self.members: dict[E, Lookups] = {}
        self.projections: dict[int, _Projection[E]] = {}
        self._asked: set[int] = set()

    def add(self, entry: E, lookup: Lookup) -> None:
        # hot: for each lookup of a megaflow
        there = self.members.get(entry)
        self.members[entry] = lookup if there is None else (*_each(there), lookup)
        for common, projection in self.projections.items():
            projection.places.add(lookup.key & common, entry)

    def remove(self, entry: E) -> None:
        lookups = self.members.pop(entry, ())
        for common, projection in self.projections.items():
            for lookup in _each(lookups):
                projection.places.discard(lookup.key & common, entry)

    def found_by(self, common: int, rules: dict[int, Rule]) -> Iterator[tuple[E, Rule]]:
        """Those whose keys have the bits `common` as one of these rules wants them."""
        projection = self.projections.get(common)
        if projection is not None and projection.is_whole and len(rules) < len(self.members):
            for value, rule in rules.items():
                for entry in projection.places.get(value):
                    yield entry, rule
        elif len(rules) == 1:
            ((wanted, rule),) = rules.items()
            for entry, lookups in self.members.items():
                if not isinstance(lookups, Lookup) or lookups.key & common == wanted:
                    yield entry, rule
        else:
            for entry, lookups in self.members.items():
                for lookup in _each(lookups):
                    found = rules.get(lookup.key & common)
                    if found is not None:
                        yield entry, found

    def wish(self, common: int) -> _Projection[E] | None:
        """A projection to be filled, if these bits were asked for before, and it is worth having."""
        if common in self.projections or len(self.members) < FEW or len(self.projections) >= MOST_PROJECTIONS:
            return None
        if common not in self._asked:
            self._asked.add(common)
            return None
        projection = self.projections[common] = _Projection(common, self.members)
        return None if len(self.members) <= AT_ONCE and projection.fill(self.members, AT_ONCE) else projection


def _each(lookups: Lookups) -> tuple[Lookup, ...]:
    return (lookups,) if isinstance(lookups, Lookup) else lookups


class Index(Generic[E]):
    """Entries are any objects with a `translation`."""

    def __init__(self) -> None:
        self._fresh: list[E] = []
        self._by_rule: _Places[E] = _Places()
        self._by_part: _Places[E] = _Places()
        self._by_lookup: dict[int, dict[int, _Group[E]]] = {}
        self._filling: list[tuple[_Group[E], _Projection[E]]] = []

    @property
    def behind(self) -> bool:
        """Whether `work` has something to do."""
        return bool(self._fresh or self._filling)

    def work(self, most: int) -> None:
        """Nothing else waits: enter so many megaflows, or prepare so much for who asks next."""
        if self._fresh:
            self.settle(most)
        elif self._filling:
            group, projection = self._filling[-1]
            if projection.fill(group.members, most):
                self._filling.pop()

    # ---- what is there

    def add(self, entry: E) -> None:
        """It stands from now on."""
        # hot: once per megaflow
        self._fresh.append(entry)

    def settle(self, most: int | None = None) -> None:
        """Enter those that were not yet, or so many of them."""
        fresh = self._fresh
        if not fresh:
            return
        begin = 0 if most is None else max(len(fresh) - most, 0)
        for entry in fresh[begin:]:
            self._enter(entry)
        del fresh[begin:]

    def _enter(self, entry: E) -> None:
        # hot: once per megaflow
        translation = entry.translation
        add = self._by_rule.add
        for rule in translation.rules:
            add(rule, entry)
        add = self._by_part.add
        for part in translation.depends:
            if part[0] != "table":  # which its lookups tell
                add(part, entry)
        by_lookup = self._by_lookup
        mask = translation.mask
        for lookup in translation.lookups:
            groups = by_lookup.get(lookup.table)
            if groups is None:
                groups = by_lookup[lookup.table] = {}
            bits = lookup.mask | mask & lookup.fresh
            group = groups.get(bits)
            if group is None:
                group = groups[bits] = _Group()
            group.add(entry, lookup)
        entry.indexed = True

    def restart(self, left: Sequence[E]) -> None:
        """These are all that stand. Where few are left that is quicker than to remove the others."""
        self._by_rule.clear()
        self._by_part.clear()
        self._by_lookup.clear()
        self._filling.clear()
        for entry in left:
            entry.indexed = False
        self._fresh = list(left)

    def remove(self, entries: Collection[E]) -> None:
        """These stand no more."""
        strangers = False
        for entry in entries:
            if entry.indexed:
                self._leave(entry)
            else:
                strangers = True
        if strangers:
            gone = set(entries)
            self._fresh = [entry for entry in self._fresh if entry not in gone]

    def _leave(self, entry: E) -> None:
        translation = entry.translation
        for rule in translation.rules:
            self._by_rule.discard(rule, entry)
        for part in translation.depends:
            self._by_part.discard(part, entry)
        for lookup in translation.lookups:
            groups = self._by_lookup.get(lookup.table, {})
            bits = lookup.mask | translation.mask & lookup.fresh
            group = groups.get(bits)
            if group is not None:
                group.remove(entry)
                if not group.members:
                    del groups[bits]
        entry.indexed = False

    # ---- who is affected

    def of_rules(self, rules: Iterable[Rule]) -> set[E]:
        """Those that passed one of these."""
        self.settle()
        found: set[E] = set()
        for rule in rules:
            found.update(self._by_rule.get(rule))
        return found

    def of_parts(self, parts: Iterable[Dependency]) -> set[E]:
        """Those that depend on one of these."""
        self.settle()
        found: set[E] = set()
        for part in parts:
            if part[0] == "table":
                for group in self._by_lookup.get(part[1], {}).values():
                    found.update(group.members)
            else:
                found.update(self._by_part.get(part))
        return found

    def that_would_find(self, rules: Iterable[Rule]) -> set[E]:
        """Those of whose lookups one would have found one of these, which are in the tables only now."""
        self.settle()
        found: set[E] = set()
        by_table: dict[int, dict[int, dict[int, Rule]]] = {}
        for rule in rules:
            if rule.table in self._by_lookup:
                match = rule.match
                _prefer(by_table.setdefault(rule.table, {}).setdefault(match.mask, {}), match.value, rule)
        for table, by_mask in by_table.items():
            for mask, named in by_mask.items():
                for bits, group in self._by_lookup[table].items():
                    common = mask & bits
                    reduced = named if common == mask else _reduced(named, common)
                    for entry, rule in group.found_by(common, reduced):
                        if entry not in found and _may_lose(group.members[entry], common, rule):
                            found.add(entry)
                    projection = group.wish(common)
                    if projection is not None:
                        self._filling.append((group, projection))
        return found


def _rank(rule: Rule) -> int:
    """Its priority; a clause of a conjunction may decide for rules of any."""
    return 1 << 32 if rule.conjunctions else rule.priority


def _prefer(rules: dict[int, Rule], value: int, rule: Rule) -> None:
    """Of several rules under one value, the one of the highest priority."""
    before = rules.get(value)
    if before is None or _rank(before) < _rank(rule):
        rules[value] = rule


def _reduced(rules: dict[int, Rule], common: int) -> dict[int, Rule]:
    """The rules by these bits of their values."""
    reduced: dict[int, Rule] = {}
    for value, rule in rules.items():
        _prefer(reduced, value & common, rule)
    return reduced


def _may_lose(lookups: Lookups, common: int, rule: Rule) -> bool:
    """Whether one of these lookups, of those that the rule takes as far as is known, found nothing of a higher
    priority."""
    rank = _rank(rule)
    wanted = rule.match.value & common
    return any(
        lookup.key & common == wanted and (lookup.rule is None or lookup.rule.priority <= rank)
        for lookup in _each(lookups)
    )
