"""Mutations (RFC 7047, 5.1): a column's value, changed by what it is.

Arithmetic is that of 64 bits: integer division goes towards zero, and what does not fit is a range error.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from vswitch.ovsdb.errors import OvsdbError, constraint_violation, syntax_error
from vswitch.ovsdb.schema import Column, TableSchema
from vswitch.ovsdb.types import MAX_INTEGER, MIN_INTEGER, UNLIMITED, Atom, BaseType, Json, Type, Value
from vswitch.ovsdb.values import (
    NO_NAMES,
    Names,
    as_map,
    contains,
    from_atoms,
    from_map,
    insert,
    parse,
    parse_atom,
    remove,
    sized,
)

__all__ = ["Mutation", "parse_mutations"]

Mutation = tuple[int, Callable[[Value], Value]]
"""The position of a column, and what becomes of its value. OvsdbError: it may not become that."""

_ARITHMETIC = {"+=", "-=", "*=", "/=", "%="}
_MUTATORS = _ARITHMETIC | {"insert", "delete"}


def parse_mutations(table: TableSchema, given: Json, names: Names = NO_NAMES) -> list[Mutation]:
    """Of `[[COLUMN, MUTATOR, VALUE], ...]`. OvsdbError says what is wrong with it."""
    if not isinstance(given, list):
        raise syntax_error("mutations are an array", given)
    return [_parse(table, mutation, names) for mutation in given]


def _parse(table: TableSchema, given: Json, names: Names) -> Mutation:
    if not (isinstance(given, list) and len(given) == 3 and type(given[0]) is type(given[1]) is str):
        raise syntax_error("a mutation is [COLUMN, MUTATOR, VALUE]", given)
    column, mutator = table.column(given[0], given), given[1]
    if not column.is_mutable:
        raise constraint_violation(f"column {column.name} of table {table.name} is immutable", given)
    if mutator not in _MUTATORS:
        raise OvsdbError("unknown mutator", f"{mutator!r} is none of {', '.join(sorted(_MUTATORS))}", given)
    kind = column.type
    what = f"column {column.name} of table {table.name}"
    if mutator in _ARITHMETIC:
        numbers = ("integer",) if mutator == "%=" else ("integer", "real")
        if kind.is_map or kind.key.kind not in numbers:
            raise syntax_error(f"{mutator!r} is for numbers, and column {column.name} is a {kind}", given)
        return column.position, _arithmetic(column, mutator, _operand(kind.key, given[2], names))
    if kind.is_scalar:
        raise syntax_error(f"{mutator!r} is for sets and maps, and column {column.name} is a {kind}", given)
    if mutator == "insert":
        return column.position, _insertion(kind, parse(column.includes_type, given[2], names), what)
    return column.position, _deletion(column, given[2], names, what)


def _operand(base: BaseType, given: Json, names: Names) -> Atom:
    """One number, of any size; it may be written as a set of one."""
    if isinstance(given, list) and len(given) == 2 and given[0] == "set" and isinstance(given[1], list):
        if len(given[1]) != 1:
            raise syntax_error("one number is expected", given)
        given = given[1][0]
    return parse_atom(BaseType(base.kind), given, names)


def _arithmetic(column: Column, mutator: str, operand: Atom) -> Callable[[Value], Value]:
    base = column.type.key
    compute = _INTEGER[mutator] if base.kind == "integer" else _REAL[mutator]
    if mutator in ("/=", "%=") and not operand:

        def refuse(value: Value) -> Value:
            if value:
                raise OvsdbError("domain error", f"column {column.name}: division by zero")
            return value

        return refuse

    def mutate(value: Value) -> Value:
        results = [compute(atom, operand) for atom in value]
        for result in results:
            fits = MIN_INTEGER <= result <= MAX_INTEGER if base.kind == "integer" else math.isfinite(result)
            if not fits:
                raise OvsdbError("range error", f"column {column.name}: the result of {mutator!r} does not fit")
            base.check(result)
        if len(set(results)) != len(results):
            raise constraint_violation(f"column {column.name}: results of {mutator!r} are equal")
        return from_atoms(results)

    return mutate


def _quotient(a: int, b: int) -> int:
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


_INTEGER: dict[str, Callable[..., int]] = {
    "+=": lambda a, b: a + b,
    "-=": lambda a, b: a - b,
    "*=": lambda a, b: a * b,
    "/=": _quotient,
    "%=": lambda a, b: a - b * _quotient(a, b),
}
_REAL: dict[str, Callable[..., float]] = {
    "+=": lambda a, b: a + b,
    "-=": lambda a, b: a - b,
    "*=": lambda a, b: a * b,
    "/=": lambda a, b: a / b,
}


def _insertion(kind: Type, value: Value, what: str) -> Callable[[Value], Value]:
    """Elements come; a key that is there keeps its value."""
    if kind.is_map:
        pairs = as_map(value)
        return lambda old: sized(kind, from_map(pairs | as_map(old)), what)

    def mutate(old: Value) -> Value:
        coming = tuple(atom for atom in value if not contains(old, atom))
        return sized(kind, insert(old, coming), what) if coming else old

    return mutate


def _deletion(column: Column, given: Json, names: Names, what: str) -> Callable[[Value], Value]:
    """Elements go; of a map those with these keys, or just these pairs."""
    kind = column.type
    if kind.is_map:
        try:
            pairs = as_map(parse(column.excludes_type, given, names))
        except OvsdbError:
            keys = frozenset(parse(Type(kind.key, None, 0, UNLIMITED), given, names))
            return lambda old: sized(kind, tuple(pair for pair in old if pair[0] not in keys), what)
        gone = frozenset(pairs.items())
        return lambda old: sized(kind, tuple(pair for pair in old if pair not in gone), what)
    atoms = parse(column.excludes_type, given, names)
    return lambda old: sized(kind, remove(old, atoms), what)
