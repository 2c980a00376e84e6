"""Finding a rule that overlaps a new one, among rules of one priority.

Two matches overlap if their values agree in the bits that both masks have. So for each pair of masks the common bits
are what counts: each table of a mask keeps, for every other mask that was asked about, its values reduced to the common
bits. Asking and adding cost one dictionary access for each other mask, whatever the number of rules; a table that is
alone costs nothing but its set of values.

Invariant: a projection holds, with multiplicity, the reduced value of every value of its table.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from vswitch.model.match import Match

__all__ = ["OverlapIndex"]


class _Table:
    """The values of one mask, and their projections onto common bits with other masks."""

    __slots__ = ("projections", "values")

    def __init__(self, values: Iterable[int]) -> None:
        self.values = set(values)
        self.projections: dict[int, Counter[int]] = {}

    def projection(self, common: int) -> Counter[int]:
        found = self.projections.get(common)
        if found is None:
            found = self.projections[common] = Counter(value & common for value in self.values)
        return found

    def add(self, value: int) -> None:
        self.values.add(value)
        for common, counts in self.projections.items():
            counts[value & common] += 1

    def discard(self, value: int) -> None:
        if value not in self.values:
            return
        self.values.remove(value)
        for common, counts in self.projections.items():
            reduced = value & common
            counts[reduced] -= 1
            if not counts[reduced]:
                del counts[reduced]


class OverlapIndex:
    """Rules of one priority, by mask. `load(mask)` gives the values that a mask has already, when first needed."""

    def __init__(self, load: Callable[[int], Iterable[int]] = lambda _mask: ()) -> None:
        self._load = load
        self._tables: dict[int, _Table] = {}

    def _table(self, mask: int) -> _Table:
        table = self._tables.get(mask)
        if table is None:
            table = self._tables[mask] = _Table(self._load(mask))
        return table

    def prepare(self, masks: Iterable[int]) -> None:
        """Know the rules of these masks, so that what is added from now on is noticed."""
        for mask in masks:
            self._table(mask)

    def add(self, match: Match) -> bool:
        """The rule is there now. False if it was known already, or nobody has asked about its mask yet."""
        table = self._tables.get(match.mask)
        if table is None or match.value in table.values:
            return False
        table.add(match.value)
        return True

    def discard(self, match: Match) -> None:
        """The rule is gone."""
        table = self._tables.get(match.mask)
        if table is not None:
            table.discard(match.value)

    def overlapping(self, match: Match, masks: Iterable[int]) -> Match | None:
        """A rule under one of `masks`, other than that of `match` itself, that takes a packet that `match` takes."""
        for mask in masks:
            if mask == match.mask:
                continue
            common = mask & match.mask
            table = self._table(mask)
            reduced = match.value & common
            if (reduced in table.values) if common == mask else (reduced in table.projection(common)):
                return next(self._candidates(table, mask, common, reduced))
        return None

    @staticmethod
    def _candidates(table: _Table, mask: int, common: int, reduced: int) -> Iterator[Match]:
        for value in table.values:
            if value & common == reduced:
                yield Match.from_ints(value, mask)
