"""Values between JSON and memory (RFC 7047, 5.1), and what is done with whole values: differences, unions.

Invariant: what `parse` returns is canonical: sorted, without duplicates, within the type's bounds. So two values are
equal just if their tuples are.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from vswitch.ovsdb.errors import OvsdbError, syntax_error
from vswitch.ovsdb.types import MAX_INTEGER, MIN_INTEGER, Atom, BaseType, Json, Type, Value

__all__ = [
    "NO_NAMES",
    "Names",
    "apply_diff",
    "as_map",
    "contains",
    "diff",
    "difference",
    "encode",
    "from_atoms",
    "from_map",
    "insert",
    "is_uuid",
    "parse",
    "parse_atom",
    "remove",
    "sized",
]

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


class Names(Protocol):
    """Who knows rows by the names that a transaction gives them."""

    def uuid_of(self, name: str) -> str:
        """The row's UUID, also if the row is yet to be inserted."""


class _NoNames:
    def uuid_of(self, name: str) -> str:
        raise syntax_error("a named-uuid can stand in a transaction only", ["named-uuid", name])


NO_NAMES: Names = _NoNames()


def is_uuid(text: str) -> bool:
    """Whether it is one, written in lower case."""
    return _UUID.fullmatch(text) is not None


def _integer(given: Json, _names: Names) -> Atom:
    if type(given) is float and given.is_integer():
        given = int(given)
    if type(given) is not int or not MIN_INTEGER <= given <= MAX_INTEGER:
        raise syntax_error("an integer of 64 bits is expected", given)
    return given


def _real(given: Json, _names: Names) -> Atom:
    if type(given) is int:
        try:
            return float(given)
        except OverflowError:
            given = math.inf
    if type(given) is not float:
        raise syntax_error("a real number is expected", given)
    if not math.isfinite(given):
        raise syntax_error("the number is outside of what 64 bits of floating point hold")
    return given


def _boolean(given: Json, _names: Names) -> Atom:
    if type(given) is not bool:
        raise syntax_error("true or false is expected", given)
    return given


def _string(given: Json, _names: Names) -> Atom:
    if type(given) is not str:
        raise syntax_error("a string is expected", given)
    return given


def _uuid(given: Json, names: Names) -> Atom:
    if type(given) is list and len(given) == 2 and type(text := given[1]) is str:
        if given[0] == "uuid":
            if _UUID.fullmatch(text) or _UUID.fullmatch(text := text.lower()):
                return text
            raise syntax_error(f"{text!r} is no UUID", given)
        if given[0] == "named-uuid":
            return names.uuid_of(text)
    raise syntax_error('["uuid", STRING] or ["named-uuid", NAME] is expected', given)


_PARSERS: dict[str, Callable[[Json, Names], Atom]] = {
    "integer": _integer,
    "real": _real,
    "boolean": _boolean,
    "string": _string,
    "uuid": _uuid,
}


def parse_atom(base: BaseType, given: Json, names: Names = NO_NAMES) -> Atom:
    """OvsdbError: it is none, or none that is allowed."""
    atom = _PARSERS[base.kind](given, names)
    if base.is_constrained:
        base.check(atom)
    return atom


def parse(kind: Type, given: Json, names: Names = NO_NAMES) -> Value:
    """A whole value. OvsdbError says what is wrong with it. # hot: once per column written"""
    if kind.is_map:
        return _parse_map(kind, given, names)
    if type(given) is list and given and given[0] == "set":
        if len(given) != 2 or type(given[1]) is not list:
            raise syntax_error('["set", ARRAY] is expected', given)
        elements = given[1]
    else:
        elements = [given]
    if not kind.low <= len(elements) <= kind.high:
        raise syntax_error(f"{len(elements)} elements are outside {kind.low}..{kind.high} for a {kind}", given)
    read = _PARSERS[kind.key.kind]
    atoms = [read(element, names) for element in elements]
    if kind.key.is_constrained:
        for atom in atoms:
            kind.key.check(atom)
    if len(atoms) < 2:
        return tuple(atoms)
    atoms.sort()
    if any(atom == atoms[at] for at, atom in enumerate(atoms[1:])):
        raise OvsdbError("ovsdb error", "an element is twice in a set", given)
    return tuple(atoms)


def _parse_map(kind: Type, given: Json, names: Names) -> Value:
    if type(given) is not list or len(given) != 2 or given[0] != "map" or type(given[1]) is not list:
        raise syntax_error('["map", ARRAY] is expected', given)
    assert kind.value is not None
    if not kind.low <= len(given[1]) <= kind.high:
        raise syntax_error(f"{len(given[1])} elements are outside {kind.low}..{kind.high} for a {kind}", given)
    found: dict[Atom, Atom] = {}
    for pair in given[1]:
        if type(pair) is not list or len(pair) != 2:
            raise syntax_error("an array of two elements is expected", pair)
        key = parse_atom(kind.key, pair[0], names)
        if key in found:
            raise OvsdbError("ovsdb error", "a key is twice in a map", given)
        found[key] = parse_atom(kind.value, pair[1], names)
    return tuple(sorted(found.items()))


def _plain(atom: Atom) -> Json:
    return atom


def _encode_uuid(atom: Atom) -> Json:
    return ["uuid", atom]


def _encode_real(atom: Atom) -> Json:
    assert isinstance(atom, float)
    return int(atom) if atom.is_integer() and abs(atom) < _WHOLE else atom


_WHOLE = 1e15
"""Whole reals below that are written as integers are."""

_ENCODERS: dict[str, Callable[[Atom], Json]] = {"uuid": _encode_uuid, "real": _encode_real}


def encode(kind: Type, value: Value) -> Json:
    """As JSON. # hot: once per column sent or stored"""
    encode_key = _ENCODERS.get(kind.key.kind)
    if kind.value is None:
        if encode_key is None:
            return value[0] if len(value) == 1 else ["set", value]
        return encode_key(value[0]) if len(value) == 1 else ["set", [encode_key(atom) for atom in value]]
    encode_value = _ENCODERS.get(kind.value.kind)
    if encode_key is encode_value is None:
        return ["map", value]
    encode_key, encode_value = encode_key or _plain, encode_value or _plain
    return ["map", [(encode_key(key), encode_value(atom)) for key, atom in value]]


def as_map(value: Value) -> dict[Atom, Atom]:
    """The pairs of a map."""
    return dict(value)


def from_map(pairs: Mapping[Atom, Atom]) -> Value:
    """The value of these pairs."""
    return tuple(sorted(pairs.items()))


def from_atoms(atoms: Iterable[Atom]) -> Value:
    """The value of these atoms, none of which is twice among them."""
    return tuple(sorted(atoms))


def sized(kind: Type, value: Value, what: str) -> Value:
    """The same. OvsdbError: that are more or fewer elements than the type allows."""
    if not kind.low <= len(value) <= kind.high:
        raise OvsdbError(
            "constraint violation", f"{what} would hold {len(value)} elements, outside {kind.low}..{kind.high}"
        )
    return value


def difference(old: Value, new: Value) -> tuple[Value, Value]:
    """The elements that go, and those that come. What both have in common at the beginning and at the end is passed
    over in strides, so that a port more in a bridge of thousands costs little."""
    # hot: of each value that changes, for the references, the file and the monitors
    if len(old) <= _STRIDES[0] and len(new) <= _STRIDES[0]:
        return _difference(old, new)
    key = id(old), id(new)
    known = _differed.get(key)
    if known is None:
        if len(_differed) >= _MOST_DIFFERED:
            _differed.clear()
        known = _differed[key] = old, new, _difference(old, new)
    return known[2]


def _difference(old: Value, new: Value) -> tuple[Value, Value]:
    start = _common(old, new)
    before, after = old[start:], new[start:]
    end = _common_end(before, after)
    before, after = before[: len(before) - end], after[: len(after) - end]
    if not before or not after:
        return before, after
    gone, come = set(before), set(after)
    return tuple(each for each in before if each not in come), tuple(each for each in after if each not in gone)


_differed: dict[tuple[int, int], tuple[Value, Value, tuple[Value, Value]]] = {}
"""Long values that were asked about lately, by identity, with the answer: a transaction asks several times. They are
alive in here, so no other has their identity."""

_MOST_DIFFERED = 16

_STRIDES = (64, 8, 1)
"""Elements compared at a time: more are copied in vain where values differ, fewer take more steps."""


def _common(old: Value, new: Value) -> int:
    """How many elements at the beginning are the same."""
    at, most = 0, min(len(old), len(new))
    for stride in _STRIDES:
        while at + stride <= most and old[at : at + stride] == new[at : at + stride]:
            at += stride
    return at


def _common_end(old: Value, new: Value) -> int:
    """How many elements at the end are the same."""
    before, after = len(old), len(new)
    for stride in _STRIDES:
        while min(before, after) >= stride and old[before - stride : before] == new[after - stride : after]:
            before, after = before - stride, after - stride
    return len(old) - before


def insert(value: Value, elements: Value) -> Value:
    """With these, none of which is there."""
    if len(elements) * 8 > len(value):
        return tuple(sorted((*value, *elements)))
    found = list(value)
    for element in elements:
        insort(found, element)
    return tuple(found)


def remove(value: Value, elements: Iterable[object]) -> Value:
    """Without those of these that are there."""
    found = list(value)
    for element in elements:
        at = bisect_left(found, element)
        if at < len(found) and found[at] == element:
            del found[at]
    return value if len(found) == len(value) else tuple(found)


def contains(value: Value, element: object) -> bool:
    """Whether it is among the elements."""
    at = bisect_left(value, element)
    return at < len(value) and bool(value[at] == element)


def diff(kind: Type, old: Value, new: Value) -> Value:
    """What `apply_diff` makes of `old` the value `new`: of sets the elements that come and go, of maps the pairs that
    come, change, or go (those as they were). Of types with at most one element it is `new` (ovsdb-server(7), update2;
    the file has the same)."""
    if kind.high == 1 or not old:
        return new
    gone, come = difference(old, new)
    if kind.is_map:
        changed = {key for key, _ in come}
        gone = tuple(pair for pair in gone if pair[0] not in changed)
    return tuple(sorted(gone + come))


def apply_diff(kind: Type, old: Value, change: Value) -> Value:
    """The value that `change` is the difference to."""
    if kind.high == 1 or not old:
        return change
    if kind.is_map:
        found = as_map(old)
        for key, atom in change:
            if key in found and found[key] == atom:
                del found[key]
            else:
                found[key] = atom
        return from_map(found)
    return insert(remove(old, change), tuple(atom for atom in change if not contains(old, atom)))
