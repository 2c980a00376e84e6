"""`COLUMN[:KEY]=VALUE` and its like: what to get, what to set, what to look for.

Two kinds of operators compare. Those of numbers (`=`, `<=`) take values as sequences: the longer is greater. Those of
sets, in braces, ask what is part of what. A key makes both look at the value it leads to: without it, the first kind is
never fulfilled, and the second has an empty set.
"""

from __future__ import annotations

from vswitch.cli.vsctl import CommandError, check
from vswitch.cli.vsctl.schema import MANY, Column, Table, Type
from vswitch.cli.vsctl.values import parse, parse_atom, token

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from vswitch.cli.vsctl.rows import Row
    from vswitch.cli.vsctl.values import Resolve, Value

__all__ = ["Assignment", "Condition", "Selector"]

_OPERATORS = ("=", "!=", "<", ">", "<=", ">=", "{=}", "{!=}", "{<}", "{>}", "{<=}", "{>=}", "{in}", "{not-in}")
_LONGEST_FIRST = sorted(_OPERATORS, key=len, reverse=True)


class _Words:
    """A word in its parts. `operators`: what may stand before the value; none: nothing follows."""

    def __init__(self, table: Table, word: str, operators: tuple[str, ...]) -> None:
        name, at = token(word, 0)
        check(name, f"{word}: missing column name")
        self.column: Column = table.column(name)
        self.key: str | None = None
        self.operator, self.value = "", ""
        if word[at : at + 1] == ":":
            self.key, at = token(word, at + 1)
        if self.column.name == "_uuid" and (operators or self.key is not None):
            raise CommandError(f'{table.name} does not contain a column whose name matches "{name}"')
        self._word, self._operators, self._rest = word, operators, word[at:]

    def complete(self) -> None:
        """Look at what follows. CommandError: it is not what has to."""
        word, rest, operators = self._word, self._rest, self._operators
        if not operators:
            check(not rest, f'{word}: trailing garbage "{rest}" in argument')
            return
        fitting = (each for each in _LONGEST_FIRST if each in operators and rest.startswith(each) and rest != each)
        self.operator = next(fitting, "")
        self.value = rest[len(self.operator) :]
        if not self.operator:
            listed = [f'"{each}"' for each in operators]
            names = listed[0] if len(listed) == 1 else f"{', '.join(listed[:-1])}, or {listed[-1]}"
            raise CommandError(f"{word}: argument does not end in {names} followed by a value.")

    def parse_key(self, what: str, resolve: Resolve) -> Any:
        if self.column.type.value is None:
            raise CommandError(f"cannot specify key to {what} for non-map column {self.column.name}")
        assert self.key is not None
        return parse_atom(self.column.type.key, self.key, resolve)


class Selector:
    """`COLUMN[:KEY]`, of which `get` is."""

    def __init__(self, table: Table, word: str) -> None:
        self._words = _Words(table, word, ())
        self.column = self._words.column
        self.has_key = self._words.key is not None
        self.key_text = self._words.key or ""

    def complete(self) -> None:
        """CommandError: something follows."""
        self._words.complete()

    def key(self, resolve: Resolve) -> Any:
        """CommandError: it is none for this column."""
        return self._words.parse_key("get", resolve)


class Assignment:
    """`COLUMN[:KEY]=VALUE`, of which `set` and `create` are."""

    def __init__(self, table: Table, word: str) -> None:
        self._words = _Words(table, word, ("=",))
        self.column = self._words.column
        self.has_key = self._words.key is not None

    def complete(self) -> None:
        """CommandError: there is no value."""
        self._words.complete()

    def value(self, resolve: Resolve) -> Value:
        """The whole value; with a key the pair alone."""
        kind = self.column.type
        if not self.has_key:
            return parse(kind, self._words.value, resolve)
        key = self._words.parse_key("set", resolve)
        assert kind.value is not None
        return ((key, parse_atom(kind.value, self._words.value, resolve)),)


class Condition:
    """`COLUMN[:KEY]OPERATOR VALUE`, of which `find` and `wait-until` are."""

    def __init__(self, table: Table, word: str) -> None:
        self._words = _Words(table, word, _OPERATORS)
        self.column = self._words.column

    def holds(self, row: Row, resolve: Resolve) -> bool:
        """Whether the row fulfils it. CommandError: the value makes no sense."""
        words, kind, value = self._words, self.column.type, row[self.column.name]
        words.complete()
        is_of_sets = words.operator[0] == "{"
        if words.key is not None:
            key = words.parse_key("check", resolve)
            assert kind.value is not None
            value = tuple(atom for each, atom in value if each == key)
            kind = Type(kind.value, None, 0, MANY)
            wanted = parse(kind, words.value, resolve)
            if not is_of_sets and not value:
                return False
        else:
            wanted = parse(kind, words.value, resolve)
        if is_of_sets:
            return _compare_sets(words.operator, set(value), set(wanted))
        return _compare(words.operator, _order(kind, value), _order(kind, wanted))


def _order(kind: Type, value: Value) -> Any:
    """What values are compared by."""
    if kind.value is None:
        return (len(value), value)
    return (len(value), tuple(key for key, _ in value), tuple(atom for _, atom in value))


def _compare(operator: str, value: Any, wanted: Any) -> bool:
    if operator == "=":
        return bool(value == wanted)
    if operator == "!=":
        return bool(value != wanted)
    if operator[0] == "<":
        return bool(value < wanted or (operator == "<=" and value == wanted))
    return bool(value > wanted or (operator == ">=" and value == wanted))


def _compare_sets(operator: str, value: set[Any], wanted: set[Any]) -> bool:
    return {
        "{=}": value == wanted, "{!=}": value != wanted, "{<}": value < wanted, "{>}": value > wanted,
        "{<=}": value <= wanted, "{>=}": value >= wanted, "{in}": value <= wanted,
        "{not-in}": value.isdisjoint(wanted),
    }[operator]  # fmt: skip
