"""Ways that packets took through the pipeline, so that others go the same way without carrying out a single action.

Most new flows differ from earlier ones in bits that only say which rules do not take them: the same rules take both, in
the same order, or others that do the same. What a translation decides by are bits of the packet that it asks for, and
what the rules do that it finds. So a way is a sequence of both: bits and their value, then a lookup and what the rule
does that it found, bits again, and so on to the answer. Ways that begin alike are one tree. To follow it, each lookup
is made anew, with the key that the packet would have there: bits as they came, constants, and pieces that were copied
from elsewhere (`Piece`). A packet that leaves all known ways is translated, and its way is known from then on.

Rules may come and go, since they are looked for each time. Any other change makes the ways wrong: call `clear`.

Invariant: what `follow` answers is what `translate` would answer, in all but the order of things that have none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vswitch.ofproto.classifier import Wildcards
from vswitch.ofproto.places import IP_FRAG, PORT_BITS, Place, at_hand
from vswitch.ofproto.rule import Rule
from vswitch.ofproto.translation import Lookup, Translation, View

if TYPE_CHECKING:
    from vswitch.messages.actions import FlowAction
    from vswitch.messages.match import SubField

__all__ = ["MOST_STEPS", "Checkpoint", "Paths", "Piece"]

MOST_STEPS = 1 << 15
"""Lookups and answers that are kept, some 20 MB; beyond that all are forgotten, for the ways of now."""

MOST_ALIKE = 64
"""Rules of one table that are known by themselves; others are known by what they do, which is slower."""

MOST_ROOTS = 256
"""Lists of actions, given with a packet, whose ways are known."""

MOST_ALTERNATIVES = 4
"""Sets of bits that are asked for behind the same lookup, according to earlier bits: each is tried."""

_FRAGMENT = IP_FRAG.place(1)


class Piece:
    """A copy of some bits of the packet as it came (`sources`), somewhere else in its key."""

    __slots__ = ("_down", "_from", "_shift", "_to", "_up", "sources")

    def __init__(self, source: Place, from_bits: int, target: Place, to_bits: int, down: int, up: int) -> None:
        self.sources = from_bits
        self._from, self._to, self._down, self._up = source, target, down, up
        self._shift = _plain_shift(source, from_bits, target, to_bits)

    @classmethod
    def of(cls, source: SubField, places: tuple[Place, int, Place, int], target: SubField) -> Piece:
        """What is copied from one field to another."""
        return cls(*places, source.start, target.start)

    def value(self, key: int) -> int:
        """What it is for a packet that came with this key."""
        # hot: once per copied field and upcall
        shift = self._shift
        if shift is None:
            return self._to.put(self._from.get(key & self.sources) >> self._down << self._up)
        return (key & self.sources) << shift if shift >= 0 else (key & self.sources) >> -shift


def _plain_shift(source: Place, from_bits: int, target: Place, to_bits: int) -> int | None:
    """By how much whole bytes move up in the key, if they stay in their order; None: they do not."""
    low_from, low_to = (from_bits & -from_bits).bit_length() - 1, (to_bits & -to_bits).bit_length() - 1
    run_from, run_to = from_bits >> low_from, to_bits >> low_to
    alike = source.slot.wire == target.slot.wire or run_from == 0xFF
    if not alike or run_from != run_to or run_from & run_from + 1 or low_from % 8 or low_to % 8:
        return None
    return None if run_from.bit_length() % 8 else low_to - low_from


Pieces = tuple[tuple[int, Piece], ...]


class Checkpoint:
    """A lookup as a translation made it. `asked`: all bits of the packet that were asked for until then; `fresh`: bits
    of the looked-up key that are as they came, `constant`: those that are not, `pieces`: copies, each with the bits of
    the key that it is still in."""

    __slots__ = ("asked", "constant", "fresh", "pieces", "rule", "table")

    def __init__(
        self,
        table: int,
        asked: int,
        fresh: int,
        constant: int,
        pieces: tuple[tuple[int, Piece], ...],
        rule: Rule | None,
    ) -> None:
        self.table = table
        self.asked = asked
        self.fresh = fresh
        self.constant = constant
        self.pieces = pieces
        self.rule = rule


class _Way:
    """What comes behind a lookup: (bits that are asked for, what follows by their value)."""

    __slots__ = ("alternatives",)

    def __init__(self) -> None:
        self.alternatives: list[tuple[int, dict[int, _Step | _End]]] = []

    def of(self, bits: int) -> dict[int, _Step | _End] | None:
        """What follows by the value of these; None: there are too many alternatives."""
        for known, by_value in self.alternatives:
            if known == bits:
                return by_value
        if len(self.alternatives) >= MOST_ALTERNATIVES:
            return None
        new: dict[int, _Step | _End] = {}
        self.alternatives.append((bits, new))
        return new


_NO_WAY = _Way()
"""It leads nowhere."""


class _Step:
    """A lookup. `as_before`: with the key of the one before; `at_hand`: bits of it that it may decide by at no
    price; `asked`: those among `fresh` that it asks the packet for."""

    __slots__ = ("_ways", "as_before", "asked", "at_hand", "constant", "fresh", "pieces", "table")

    def __init__(self, made: Checkpoint, *, as_before: bool) -> None:
        self.table = made.table
        self.fresh = made.fresh
        self.constant = made.constant
        self.pieces = made.pieces
        self.at_hand = at_hand(made.fresh, sum(own for own, _ in made.pieces))
        self.asked = made.fresh & ~self.at_hand
        self.as_before = as_before
        self._ways: dict[Rule | tuple[FlowAction, ...] | None, _Way] = {}

    def way(self, rule: Rule | None) -> _Way | None:
        """What comes behind this rule, or one that does the same."""
        found = self._ways.get(rule)
        if found is None and rule is not None:
            found = self._ways.get(rule.actions)
            if found is not None and len(self._ways) < MOST_ALIKE:
                self._ways[rule] = found
        return found

    def new_way(self, rule: Rule | None) -> _Way:
        """The same, which is made if there is none."""
        found = self.way(rule)
        if found is None:
            found = self._ways[rule if rule is None else rule.actions] = _Way()
        return found


class _End:
    """An answer. `asked`: all bits that were asked for; `places`: (vlan, mac, port) as NORMAL found them."""

    __slots__ = ("asked", "places", "translation")

    def __init__(self, translation: Translation, asked: int, places: tuple[tuple[int, int, int | None], ...]) -> None:
        self.translation = translation
        self.asked = asked
        self.places = places


class Paths:
    """The ways through one pipeline. `followed`, `left`: packets that went one of them, and that did not."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._root = _Way()
        self._roots: dict[tuple[FlowAction, ...], _Way] = {}
        self._size = 0
        self._wildcards = Wildcards()
        self.followed = self.left = 0

    def __len__(self) -> int:
        return self._size

    def clear(self) -> None:
        """Forget all."""
        if self._size:
            self._root = _Way()
            self._roots.clear()
            self._size = 0

    def follow(self, key: int, actions: tuple[FlowAction, ...] | None = None) -> Translation | None:
        """The answer for the packet with this key, if it goes a way that is known. `actions`: as `translate` has it."""
        # hot: once per upcall
        view, wildcards = self._view, self._wildcards
        tables, normal_fragments = view.tables, not view.config.fragments
        lookups: list[Lookup] = []
        way = self._root if actions is None else self._roots.get(actions, _NO_WAY)
        now = looked = 0
        while True:
            for bits, by_value in way.alternatives:
                step = by_value.get(key & bits)
                if step is not None:
                    break
            else:
                break
            if type(step) is _End:
                return self._answer(step, step.asked | looked, lookups)
            assert type(step) is _Step
            if not step.as_before:
                now = key & step.fresh | step.constant
                for own, piece in step.pieces:
                    now |= piece.value(key) & own
                if normal_fragments and now & _FRAGMENT:
                    break
            wildcards.mask = step.at_hand
            rule = tables[step.table].classifier.lookup(now, wildcards)
            mask = wildcards.mask
            if normal_fragments and mask & PORT_BITS:
                mask |= _FRAGMENT
            looked |= mask & step.asked
            for own, piece in step.pieces:
                if mask & own:
                    looked |= piece.sources
            lookups.append(Lookup(step.table, now, mask, rule, step.fresh))
            way = step.way(rule) or _NO_WAY
        self.left += 1
        return None

    def _answer(self, end: _End, mask: int, lookups: list[Lookup]) -> Translation | None:
        lookup = self._view.macs.lookup
        for vlan, mac, port in end.places:
            if lookup(vlan, mac) != port:
                self.left += 1
                return None
        was = end.translation
        rules = tuple([lookup.rule for lookup in lookups if lookup.rule is not None])
        if was.controllers and rules != was.rules:  # who are told by which rule it was
            self.left += 1
            return None
        self.followed += 1
        return Translation(
            was.actions, mask, rules, tuple(lookups), was.buckets, was.meters, was.controllers, was.effects,
            was.depends, mirrors=was.mirrors,
        )  # fmt: skip

    def learn(
        self,
        key: int,
        checkpoints: list[Checkpoint],
        asked: int,
        places: list[tuple[int, int, int | None]],
        translation: Translation,
        actions: tuple[FlowAction, ...] | None = None,
    ) -> None:
        """A packet with this key was translated, and this is how."""
        if self._size >= MOST_STEPS or len(self._roots) >= MOST_ROOTS:
            self.clear()
        way = self._root if actions is None else self._roots.setdefault(actions, _Way())
        before: Checkpoint | None = None
        for made in checkpoints:
            by_value = way.of(made.asked)
            if by_value is None:
                return
            step = by_value.get(key & made.asked)
            if type(step) is not _Step:
                step = by_value[key & made.asked] = _Step(made, as_before=_same_key(before, made))
                self._size += 1
            way, before = step.new_way(made.rule), made
        by_value = way.of(asked)
        if by_value is not None:
            by_value[key & asked] = _End(translation, asked, tuple(places))
            self._size += 1


def _same_key(before: Checkpoint | None, made: Checkpoint) -> bool:
    if before is None:
        return False
    return (before.fresh, before.constant, before.pieces) == (made.fresh, made.constant, made.pieces)
