"""Types of columns (RFC 7047, 3.2): what an atom may be, and how many of them a column holds.

A *base type* is one of five kinds of atoms with a range, a set of allowed values, or a table whose rows it names. A
*type* is a base type for keys, perhaps one for values (then it is a map), and how many there may be.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from vswitch.ovsdb.errors import OvsdbError, syntax_error

__all__ = ["KINDS", "MAX_INTEGER", "MIN_INTEGER", "UNLIMITED", "Atom", "BaseType", "Json", "Type", "Value"]

Json = object
"""What `json` reads: None, bool, int, float, str, list, dict."""

Atom = int | float | bool | str
"""An atom in memory. A UUID is its text, 36 characters in lower case: it is compared, hashed and sent as such."""

Value = tuple[Any, ...]
"""What a column holds. Of a set the atoms, of a map pairs of atoms, ascending, none twice; a scalar is a set of one."""

KINDS: dict[str, Atom] = {
    "integer": 0,
    "real": 0.0,
    "boolean": False,
    "string": "",
    "uuid": "00000000-0000-0000-0000-000000000000",
}
"""Kinds of atoms, and what each is by default."""

MIN_INTEGER, MAX_INTEGER = -(1 << 63), (1 << 63) - 1
UNLIMITED = (1 << 32) - 1
"""The number of elements that is written as "unlimited"."""

MAX_ENUM = 4096
"""Allowed values of one base type."""

_BOUNDS = {
    "integer": ("minInteger", "maxInteger"),
    "real": ("minReal", "maxReal"),
    "string": ("minLength", "maxLength"),
}


@dataclass(frozen=True, slots=True)
class BaseType:
    """`low` and `high`: of numbers the range, of strings that of their length in characters. `enum`: the values that
    are allowed. `ref_table`: whose rows a uuid names; a strong reference keeps its row, a weak one
    (`is_weak`) goes with it."""

    kind: str
    low: float | None = None
    high: float | None = None
    enum: tuple[Atom, ...] = ()
    ref_table: str = ""
    is_weak: bool = False

    @property
    def is_constrained(self) -> bool:
        """Whether there are atoms of its kind that it does not allow."""
        return bool(self.enum) or self.low is not None or self.high is not None

    @property
    def default(self) -> Atom:
        """What an atom of it is before anybody has said."""
        return KINDS[self.kind]

    def check(self, atom: Atom) -> None:
        """OvsdbError: it does not allow this one."""
        if self.enum:
            if atom not in self.enum:
                allowed = ", ".join(map(str, self.enum))
                raise OvsdbError("constraint violation", f"{atom!r} is none of the allowed values: {allowed}")
            return
        measure = len(atom) if isinstance(atom, str) else atom
        if (self.low is not None and measure < self.low) or (self.high is not None and measure > self.high):
            low = "-infinity" if self.low is None else f"{self.low}"
            high = "infinity" if self.high is None else f"{self.high}"
            what = f"{atom!r}: a length of {measure} characters" if isinstance(atom, str) else f"{atom}"
            raise OvsdbError("constraint violation", f"{what} is outside {low}..{high}")

    def to_json(self) -> Json:
        """As a schema has it, in its shortest form."""
        found: dict[str, Json] = {"type": self.kind}
        if self.enum:
            atoms = [["uuid", atom] for atom in self.enum] if self.kind == "uuid" else list(self.enum)
            found["enum"] = atoms[0] if len(atoms) == 1 else ["set", atoms]
        bounds = zip(_BOUNDS.get(self.kind, ()), (self.low, self.high), strict=False)
        found |= {name: bound for name, bound in bounds if bound is not None}
        if self.ref_table:
            found["refTable"] = self.ref_table
            if self.is_weak:
                found["refType"] = "weak"
        return self.kind if len(found) == 1 else found

    @classmethod
    def parse(cls, given: Json) -> BaseType:
        """Of a schema. OvsdbError: it is none."""
        if isinstance(given, str):
            given = {"type": given}
        if not isinstance(given, dict):
            raise syntax_error("a base type is a string or an object", given)
        kind = given.get("type")
        if not isinstance(kind, str) or kind not in KINDS:
            raise syntax_error(f"the type of an atom is none of {', '.join(KINDS)}", given)
        names: tuple[str, ...] = _BOUNDS.get(kind, ())
        known = {"type", "enum", *names} | ({"refTable", "refType"} if kind == "uuid" else set())
        if unknown := given.keys() - known:
            raise syntax_error(f"member {min(unknown)!r} is not allowed in a base type of kind {kind}", given)
        low, high = (_bound(given, name, kind) for name in names) if names else (None, None)
        if low is not None and high is not None and low > high:
            raise syntax_error(f"{names[0]} exceeds {names[1]}", given)
        enum = _enum(given, kind)
        if enum and (low is not None or high is not None):
            raise syntax_error("a base type has either an enum or a range", given)
        ref_table, ref_type = given.get("refTable", ""), given.get("refType", "strong")
        if not isinstance(ref_table, str) or ref_type not in ("strong", "weak"):
            raise syntax_error("refTable is the name of a table, refType strong or weak", given)
        return cls(kind, low, high, enum, ref_table, ref_type == "weak" and bool(ref_table))


def _bound(given: dict[str, Json], name: str, kind: str) -> float | None:
    found = given.get(name)
    if found is None and name not in given:
        return None
    if isinstance(found, bool) or not isinstance(found, int | float):
        raise syntax_error(f"{name} is no number", given)
    if kind != "real" and (found != int(found) or (kind == "string" and found < 0)):
        raise syntax_error(f"{name} is no integer that can be a bound", given)
    return float(found) if kind == "real" else int(found)


def _enum(given: dict[str, Json], kind: str) -> tuple[Atom, ...]:
    if "enum" not in given:
        return ()
    found = given["enum"]
    is_set = isinstance(found, list) and len(found) == 2 and found[0] == "set" and isinstance(found[1], list)
    atoms = found[1] if is_set and isinstance(found, list) else [found]
    wanted: dict[str, type | tuple[type, ...]] = {"integer": int, "real": (int, float), "boolean": bool, "string": str}
    if kind == "uuid" or not atoms or len(atoms) > MAX_ENUM:
        raise syntax_error(f"an enum has 1 to {MAX_ENUM} values, which are no uuids", given)
    for atom in atoms:
        if not isinstance(atom, wanted[kind]) or isinstance(atom, bool) != (kind == "boolean"):
            raise syntax_error(f"a value of the enum is no {kind}", atom)
    if len(set(atoms)) != len(atoms):
        raise syntax_error("a value is twice in the enum", given)
    return tuple(sorted(atoms))


@dataclass(frozen=True, slots=True)
class Type:
    """`low` to `high` elements: of `key` alone, or pairs with `value`."""

    key: BaseType
    value: BaseType | None = None
    low: int = 1
    high: int = 1
    is_map: bool = field(init=False)
    is_scalar: bool = field(init=False)
    default: Value = field(init=False)
    """What a column of it holds before anybody has said: nothing if it may, else one default atom."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "is_map", self.value is not None)
        object.__setattr__(self, "is_scalar", self.value is None and self.low == self.high == 1)
        first: Atom | tuple[Atom, Atom] = self.key.default
        if self.value is not None:
            first = (self.key.default, self.value.default)
        object.__setattr__(self, "default", (first,) if self.low else ())

    def __str__(self) -> str:
        if self.is_scalar:
            return self.key.kind
        what = f"map of {self.key.kind} to {self.value.kind}" if self.value else f"set of {self.key.kind}"
        return f"{what} with {self.low} to {'any number of' if self.high == UNLIMITED else self.high} elements"

    def check(self, value: Value, what: str) -> None:
        """OvsdbError: it has an atom that is not allowed. `what`: whose value it is."""
        for base, atoms in self._atoms(value):
            if base.is_constrained:
                for atom in atoms:
                    try:
                        base.check(atom)
                    except OvsdbError as error:
                        raise OvsdbError(error.name, f"{what}: {error.details}") from None

    def _atoms(self, value: Value) -> Iterator[tuple[BaseType, Iterable[Atom]]]:
        if self.value is None:
            yield self.key, value
        else:
            yield self.key, (key for key, _ in value)
            yield self.value, (atom for _, atom in value)

    def to_json(self) -> Json:
        """As a schema has it, in its shortest form."""
        if self.is_scalar and isinstance(short := self.key.to_json(), str):
            return short
        found: dict[str, Json] = {"key": self.key.to_json()}
        if self.value is not None:
            found["value"] = self.value.to_json()
        if self.low != 1:
            found["min"] = self.low
        if self.high != 1:
            found["max"] = "unlimited" if self.high == UNLIMITED else self.high
        return found

    @classmethod
    def parse(cls, given: Json) -> Type:
        """Of a schema. OvsdbError: it is none."""
        if isinstance(given, str):
            return cls(BaseType.parse(given))
        if not isinstance(given, dict) or "key" not in given:
            raise syntax_error("a type is a string, or an object with a key", given)
        if unknown := given.keys() - {"key", "value", "min", "max"}:
            raise syntax_error(f"member {min(unknown)!r} is not allowed in a type", given)
        low, high = given.get("min", 1), given.get("max", 1)
        high = UNLIMITED if high == "unlimited" else high
        if not _is_count(low) or low not in (0, 1):
            raise syntax_error("min is neither 0 nor 1", given)
        if not _is_count(high) or not isinstance(high, int) or not 1 <= high <= UNLIMITED:
            raise syntax_error('max is neither a positive integer nor "unlimited"', given)
        value = BaseType.parse(given["value"]) if "value" in given else None
        return cls(BaseType.parse(given["key"]), value, low, high)


def _is_count(found: Json) -> bool:
    return isinstance(found, int) and not isinstance(found, bool)
