"""Finding a rule that overlaps a new one, among rules of one priority.

Two matches overlap if their values agree in the bits that both masks have. So for each pair of masks the common bits
are what counts: each table of a mask keeps, for every other mask that was asked about, its values reduced to the common
bits. Asking and adding cost one dictionary access for each other mask, whatever the number of rules; a table that is
alone costs nothing but its set of values.

Invariant: a projection holds, with multiplicity, the reduced value of every value of its table.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterable

from vswitch.base.errors import OverlapError
from vswitch.model.match import Match

__all__ = ["OverlapIndex"]


class _Table:
    """The values of one mask, and their projections onto common bits with other masks: reduced value -> how many."""

    __slots__ = ("projections", "values")

    def __init__(self, values: Iterable[int]) -> None:
        self.values = set(values)
        self.projections: dict[int, dict[int, int]] = {}

    def projection(self, common: int) -> dict[int, int]:
        counts = self.projections.get(common)
        if counts is None:
            counts = self.projections[common] = {}
            for value in self.values:
                reduced = value & common
                counts[reduced] = counts.get(reduced, 0) + 1
        return counts

    def add(self, value: int) -> None:
        self.values.add(value)
        for common, counts in self.projections.items():
            reduced = value & common
            counts[reduced] = counts.get(reduced, 0) + 1

    def discard(self, value: int) -> None:
        if value not in self.values:
            return
        self.values.remove(value)
        for common, counts in self.projections.items():
            reduced = value & common
            if counts[reduced] == 1:
                del counts[reduced]
            else:
                counts[reduced] -= 1


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

    def add(self, matches: Iterable[Match], masks: Collection[int]) -> list[Match]:
        """These are there now, `masks` being those of all rules; returns those that were not known yet. OverlapError,
        and none is added, if one takes a packet that a rule under another mask takes."""
        # hot: once per megaflow, where a priority has several masks
        probes: dict[int, list[tuple[int, Container[int]]]] = {}
        added: list[Match] = []
        for match in matches:
            value, mask = match.value, match.mask
            held = probes.get(mask)
            if held is None:
                held = probes[mask] = self._probes(mask, masks)
            for common, values in held:
                if value & common in values:
                    other = self._overlapping(match, masks)
                    self.discard(added)
                    raise OverlapError(match, other)
            table = self._table(mask)
            if value not in table.values:
                table.add(value)
                added.append(match)
        return added

    def restore(self, matches: Iterable[Match]) -> None:
        """These, which were discarded, are there again."""
        for match in matches:
            table = self._tables.get(match.mask)
            if table is not None and match.value not in table.values:
                table.add(match.value)

    def discard(self, matches: Iterable[Match]) -> None:
        """These are gone."""
        for match in matches:
            table = self._tables.get(match.mask)
            if table is not None:
                table.discard(match.value)

    def _probes(self, own: int, masks: Iterable[int]) -> list[tuple[int, Container[int]]]:
        """For each other mask the common bits, and what its rules have there."""
        found: list[tuple[int, Container[int]]] = []
        for mask in masks:
            if mask != own:
                common, table = mask & own, self._table(mask)
                found.append((common, table.values if common == mask else table.projection(common)))
        return found

    def _overlapping(self, match: Match, masks: Iterable[int]) -> Match:
        """A rule under another mask that takes a packet that `match` takes; there is one."""
        for mask in masks:
            for value in self._table(mask).values if mask != match.mask else ():
                if not (value ^ match.value) & mask & match.mask:
                    return Match.from_ints(value, mask)
        raise AssertionError(f"{match!r} overlaps nothing")
