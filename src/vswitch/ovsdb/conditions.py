"""Conditions (RFC 7047, 5.1): clauses that a row fulfils all of.

A condition knows which rows can fulfil it at all, if that follows from equality with a UUID or with the columns of an
index: what is looked for so costs the same in a database of any size.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from vswitch.ovsdb.errors import OvsdbError, syntax_error
from vswitch.ovsdb.schema import UUID, Column, Row, TableSchema
from vswitch.ovsdb.types import Json, Value
from vswitch.ovsdb.values import NO_NAMES, Names, parse

__all__ = ["Condition"]

Test = Callable[[Row], bool]

_ORDERS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_FUNCTIONS = {*_ORDERS, "==", "!=", "includes", "excludes"}


class Condition:
    """`equal`: what columns must be equal to, by position. `never`: no row fulfils it. `always`: all do."""

    __slots__ = ("_tests", "always", "equal", "never")

    def __init__(self, table: TableSchema, given: Json, names: Names = NO_NAMES, *, any_of: bool = False) -> None:
        """Of `[clause, ...]`. `any_of`: one clause is enough, as in a monitor; none then stands for all rows.
        OvsdbError says what is wrong with it."""
        if not isinstance(given, list):
            raise syntax_error("a condition is an array", given)
        self.equal: dict[int, Value] = {}
        self._tests: list[Test] = []
        constants: list[bool] = []
        for clause in given:
            if isinstance(clause, bool):
                constants.append(clause)
            else:
                self._tests.append(self._parse(table, clause, names))
        if any_of:
            self.equal = {}
            self.always = not given or True in constants
            self.never = not self.always and not self._tests
            if len(self._tests) > 1:
                tests = tuple(self._tests)
                self._tests = [lambda row: any(test(row) for test in tests)]
        else:
            self.never = False in constants
            self.always = not self.never and not self._tests
        if self.always:
            self._tests = []

    def _parse(self, table: TableSchema, clause: Json, names: Names) -> Test:
        if not (isinstance(clause, list) and len(clause) == 3 and type(clause[0]) is type(clause[1]) is str):
            raise syntax_error("a clause is true, false, or [COLUMN, FUNCTION, VALUE]", clause)
        column = table.column(clause[0], clause)
        function = clause[1]
        if function not in _FUNCTIONS:
            raise OvsdbError("unknown function", f"{function!r} is none of {', '.join(sorted(_FUNCTIONS))}", clause)
        at = column.position
        if function in _ORDERS:
            return _ordered(column, function, clause, names)
        if function == "==":
            value = parse(column.type, clause[2], names)
            self.equal.setdefault(at, value)
            return lambda row: row[at] == value
        if function == "!=":
            value = parse(column.type, clause[2], names)
            return lambda row: row[at] != value
        if function == "includes":
            wanted = frozenset(parse(column.includes_type, clause[2], names))
            return lambda row: wanted.issubset(row[at])
        unwanted = frozenset(parse(column.excludes_type, clause[2], names))
        return lambda row: unwanted.isdisjoint(row[at])

    @property
    def uuid(self) -> str | None:
        """The only row that can fulfil it, if that follows from it."""
        found = self.equal.get(UUID)
        return None if found is None else found[0]

    def matches(self, row: Row) -> bool:
        """Whether the row fulfils it. # hot: once per row looked at"""
        if self.never:
            return False
        return all(test(row) for test in self._tests)


def _ordered(column: Column, function: str, clause: list[Json], names: Names) -> Test:
    """`<` and its like, for numbers. An empty optional number fulfils none of them."""
    kind = column.type
    if kind.is_map or kind.high != 1 or kind.key.kind not in ("integer", "real"):
        raise syntax_error(f"{function!r} is for numbers, and column {column.name} is a {kind}", clause)
    (bound,) = parse(replace(kind, low=1), clause[2], names)
    at, compare = column.position, _ORDERS[function]
    return lambda row: bool(row[at]) and compare(row[at][0], bound)
