"""A schema as the server sends it, as far as commands need it: tables and columns by name, however short.

Invariant: only tables and columns that are asked for are parsed; a schema has 19 tables, a command needs two.
"""

from __future__ import annotations

from vswitch.cli.vsctl import CommandError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

__all__ = ["MANY", "Base", "Column", "Schema", "Table", "Type"]

MANY = (1 << 32) - 1
"""How many elements "unlimited" stands for."""

_BOUNDS = {
    "integer": ("minInteger", "maxInteger"),
    "real": ("minReal", "maxReal"),
    "string": ("minLength", "maxLength"),
}
_DEFAULTS: dict[str, Any] = {"integer": 0, "real": 0.0, "boolean": False, "string": ""}
_DEFAULTS["uuid"] = "00000000-0000-0000-0000-000000000000"


class Base:
    """What an atom may be; `ref_table`: of a uuid, whose row it names."""

    __slots__ = ("enum", "high", "is_weak", "kind", "low", "ref_table")

    def __init__(self, given: Any) -> None:
        if isinstance(given, str):
            given = {"type": given}
        self.kind: str = given["type"]
        low, high = _BOUNDS.get(self.kind, ("", ""))
        self.low = given.get(low)
        self.high = given.get(high)
        enum = given.get("enum", ())
        if isinstance(enum, list) and enum[:1] == ["set"]:
            enum = enum[1]
        self.enum: tuple[Any, ...] = tuple(sorted(enum)) if isinstance(enum, list | tuple) else (enum,)
        self.ref_table: str = given.get("refTable", "")
        self.is_weak: bool = given.get("refType") == "weak"

    @property
    def default(self) -> Any:
        """What an atom is before anybody has said."""
        return _DEFAULTS[self.kind]


class Type:
    """`low` to `high` elements of `key`, or pairs of `key` and `value`."""

    __slots__ = ("high", "key", "low", "value")

    def __init__(self, key: Base, value: Base | None, low: int, high: int) -> None:
        self.key = key
        self.value = value
        self.low = low
        self.high = high

    @classmethod
    def parse(cls, given: Any) -> Type:
        """Of a schema."""
        if isinstance(given, str) or "key" not in given:
            return cls(Base(given), None, 1, 1)
        high = given.get("max", 1)
        value = given.get("value")
        return cls(
            Base(given["key"]), None if value is None else Base(value), given.get("min", 1),
            MANY if high == "unlimited" else high,
        )  # fmt: skip

    @property
    def default(self) -> tuple[Any, ...]:
        """What a column holds before anybody has said."""
        if not self.low:
            return ()
        return (self.key.default,) if self.value is None else ((self.key.default, self.value.default),)

    def sized(self, low: int, high: int) -> Type:
        """The same, of other numbers of elements."""
        return Type(self.key, self.value, low, high)

    def __str__(self) -> str:
        key = self.key.kind
        if self.low == self.high == 1 and self.value is None:
            return key
        if self.high == MANY:
            count = f"{self.low} or more " if self.low else ""
        else:
            count = f"{self.low} to {self.high} " if self.low else f"up to {self.high} "
        if self.value is None:
            return f"set of {count}{key}s"
        return f"map of {count}({key}, {self.value.kind}) pairs"


class Column:
    """One of a table's."""

    __slots__ = ("is_mutable", "name", "type")

    def __init__(self, name: str, given: Any) -> None:
        self.name = name
        self.type = Type.parse(given["type"])
        self.is_mutable: bool = given.get("mutable", True)


_UUID = Column("_uuid", {"type": "uuid", "mutable": False})


class Table:
    """`is_root`: its rows stay without being referred to."""

    def __init__(self, name: str, given: Any, is_root: bool) -> None:
        self.name = name
        self.is_root = is_root
        self._given: dict[str, Any] = given["columns"]
        self._columns: dict[str, Column] = {"_uuid": _UUID}

    @property
    def names(self) -> list[str]:
        """Of the columns, in alphabetical order."""
        return sorted(self._given)

    def has(self, name: str) -> bool:
        """Whether there is a column of exactly this name."""
        return name in self._given

    def __getitem__(self, name: str) -> Column:
        found = self._columns.get(name)
        if found is None:
            if name not in self._given:
                raise CommandError(f"{self.name} does not contain a column whose name matches {_quoted(name)}")
            found = self._columns[name] = Column(name, self._given[name])
        return found

    def column(self, name: str) -> Column:
        """By a name, or the beginning of one. CommandError: there is none, or more than one."""
        if name in self._given or name == "_uuid":
            return self[name]
        found = _matching(name, self._given)
        if not found:
            raise CommandError(f"{self.name} does not contain a column whose name matches {_quoted(name)}")
        if len(found) > 1:
            what = f"{self.name} contains more than one column whose name matches"
            raise CommandError(f"{what} {_quoted(name)}: {', '.join(found)}")
        return self[found[0]]


class Schema:
    """Of a database."""

    def __init__(self, given: Any) -> None:
        self.version: str = given.get("version", "")
        self._given: dict[str, Any] = given["tables"]
        self._tables: dict[str, Table] = {}
        self._all_root = not any(table.get("isRoot") for table in self._given.values())

    @property
    def names(self) -> list[str]:
        """Of the tables."""
        return sorted(self._given)

    def __contains__(self, name: str) -> bool:
        return name in self._given

    def __getitem__(self, name: str) -> Table:
        found = self._tables.get(name)
        if found is None:
            if name not in self._given:
                raise CommandError(f"unknown table {_quoted(name)}")
            given = self._given[name]
            found = self._tables[name] = Table(name, given, self._all_root or given.get("isRoot", False))
        return found

    def table(self, name: str) -> Table:
        """By a name, or the beginning of one. CommandError: there is none, or more than one."""
        if name in self._given:
            return self[name]
        found = _matching(name, self._given)
        if not found:
            raise CommandError(f"unknown table {_quoted(name)}")
        if len(found) > 1:
            raise CommandError(f"{_quoted(name)} matches multiple table names: {', '.join(found)}")
        return self[found[0]]


def _quoted(text: str) -> str:
    return f'"{text}"'


def _plain(name: str) -> str:
    return name.replace("-", "_").lower()


def _matching(given: str, names: Iterable[str]) -> list[str]:
    """The names that it is short for; the one that it is alone, if it is one."""
    wanted = _plain(given)
    if not wanted:
        return []
    found = []
    for name in sorted(names):
        plain = _plain(name)
        if plain == wanted:
            return [name]
        if plain.startswith(wanted):
            found.append(name)
    return found
