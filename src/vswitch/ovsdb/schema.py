"""Schemas (RFC 7047, 3.2): the tables of a database, their columns, and where each column's value lies in a row.

A row is a tuple with a value for each column: `_uuid`, `_version`, then the others in the order of the schema.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

from vswitch.ovsdb.errors import OvsdbError, syntax_error
from vswitch.ovsdb.types import UNLIMITED, BaseType, Json, Type, Value

__all__ = ["IDENTIFIER", "UUID", "VERSION", "Column", "DatabaseSchema", "Reference", "Row", "TableSchema", "version_of"]

IDENTIFIER = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
"""<id> of RFC 7047, 3.1."""

_SCHEMA_VERSION = re.compile(r"([0-9]+)\.([0-9]+)\.([0-9]+)")

Row = tuple[Value, ...]
"""The values of a row, by the positions of its table's columns."""

UUID, VERSION = 0, 1
"""Positions of the columns that every table has."""

_UUID_TYPE = Type(BaseType("uuid"))


@dataclass(frozen=True, slots=True)
class Reference:
    """A column whose atoms name rows of `table`. `in_values`: those are the values of a map, not its keys."""

    position: int
    table: str
    is_weak: bool
    in_values: bool
    is_map: bool

    def targets(self, value: Value) -> Iterator[str]:
        """The rows that a value of the column names; in a map one may come more than once."""
        if not self.is_map:
            return iter(value)
        return (pair[self.in_values] for pair in value)


@dataclass(frozen=True, slots=True)
class Column:
    """`position`: in a row. `is_ephemeral`: it is not kept in the file."""

    name: str
    type: Type
    is_mutable: bool = True
    is_ephemeral: bool = False
    position: int = 0
    includes_type: Type = field(init=False)
    """That of what may stand behind "includes" in a condition, and behind "insert" in a mutation."""
    excludes_type: Type = field(init=False)
    """The same for "excludes", and for "delete"."""

    def __post_init__(self) -> None:
        relaxed = self.type if self.type.is_scalar else replace(self.type, low=0)
        object.__setattr__(self, "includes_type", relaxed)
        unlimited = self.type if self.type.is_scalar else replace(self.type, low=0, high=UNLIMITED)
        object.__setattr__(self, "excludes_type", unlimited)

    @property
    def is_built_in(self) -> bool:
        """Whether every table has it."""
        return self.position <= VERSION

    def references(self) -> Iterator[Reference]:
        """To rows, by its keys and its values."""
        for in_values, base in enumerate((self.type.key, self.type.value)):
            if base is not None and base.ref_table:
                yield Reference(self.position, base.ref_table, base.is_weak, bool(in_values), self.type.is_map)

    def to_json(self) -> dict[str, Json]:
        """As a schema has it."""
        found: dict[str, Json] = {"type": self.type.to_json()}
        if not self.is_mutable:
            found["mutable"] = False
        if self.is_ephemeral:
            found["ephemeral"] = True
        return found

    @classmethod
    def parse(cls, name: str, given: Json) -> Column:
        """OvsdbError: it is none."""
        _check_members(given, f"column {name}", {"type"}, {"mutable": bool, "ephemeral": bool})
        assert isinstance(given, dict)
        return cls(
            name, Type.parse(given["type"]), bool(given.get("mutable", True)), bool(given.get("ephemeral", False))
        )


_BUILT_IN = (Column("_uuid", _UUID_TYPE, False, False, UUID), Column("_version", _UUID_TYPE, False, True, VERSION))


class TableSchema:
    """`columns`: by name, the two that every table has included. `indexes`: positions of the columns of each.
    `is_root`: its rows stay without being referred to; `says_root`: the schema says so."""

    def __init__(
        self,
        name: str,
        columns: Iterable[Column],
        *,
        is_root: bool = False,
        max_rows: int = UNLIMITED,
        indexes: Iterable[Iterable[str]] = (),
    ) -> None:
        self.name = name
        self.is_root = self.says_root = is_root
        self.max_rows = max_rows
        placed = (replace(column, position=at) for at, column in enumerate(columns, len(_BUILT_IN)))
        self.columns: dict[str, Column] = {column.name: column for column in (*_BUILT_IN, *placed)}
        self.by_position = tuple(self.columns.values())
        self.index_names = tuple(tuple(names) for names in indexes)
        self.indexes = tuple(tuple(self.columns[name].position for name in names) for names in self.index_names)
        references = tuple(reference for column in self.by_position for reference in column.references())
        self.strong = tuple(reference for reference in references if not reference.is_weak)
        self.weak = tuple(reference for reference in references if reference.is_weak)
        self.default: Row = tuple(column.type.default for column in self.by_position)
        self.default_problem = self._default_problem()
        self.stored = tuple(column for column in self.by_position if not column.is_ephemeral and not column.is_built_in)

    def _default_problem(self) -> OvsdbError | None:
        """What is wrong with a row of which nothing has been said."""
        try:
            for column in self.by_position:
                column.type.check(column.type.default, f"column {column.name} of table {self.name}")
        except OvsdbError as error:
            return error
        return None

    def column(self, name: str, syntax: Json) -> Column:
        """OvsdbError: there is none of this name."""
        found = self.columns.get(name)
        if found is None:
            raise OvsdbError("unknown column", f"table {self.name} has no column {name}", syntax)
        return found

    def to_json(self) -> dict[str, Json]:
        """As a schema has it."""
        found: dict[str, Json] = {
            "columns": {name: column.to_json() for name, column in self.columns.items() if not column.is_built_in}
        }
        if self.says_root:
            found["isRoot"] = True
        if self.max_rows != UNLIMITED:
            found["maxRows"] = self.max_rows
        if self.index_names:
            found["indexes"] = [list(names) for names in self.index_names]
        return found

    @classmethod
    def parse(cls, name: str, given: Json) -> TableSchema:
        """OvsdbError: it is none."""
        _check_members(given, f"table {name}", {"columns"}, {"isRoot": bool, "maxRows": int, "indexes": list})
        assert isinstance(given, dict)
        columns = given["columns"]
        if not isinstance(columns, dict) or not columns:
            raise syntax_error(f"table {name} has no columns", given)
        for column in columns:
            if not IDENTIFIER.fullmatch(column) or column.startswith("_"):
                raise syntax_error(f"{column!r} in table {name} is no name that a column may have", columns)
        indexes = given.get("indexes", [])
        for index in indexes:
            _check_index(name, columns, index)
        max_rows = given.get("maxRows", UNLIMITED)
        if max_rows < 1:
            raise syntax_error(f"maxRows of table {name} is not positive", given)
        parsed = [Column.parse(each, columns[each]) for each in columns]
        for index in indexes:
            if ephemeral := [each.name for each in parsed if each.name in index and each.is_ephemeral]:
                raise syntax_error(f"ephemeral column {ephemeral[0]} is in an index of table {name}", index)
        return cls(name, parsed, is_root=given.get("isRoot", False), max_rows=max_rows, indexes=indexes)


class DatabaseSchema:
    """`tables`: by name. `checksum`: as the schema's file has it; nobody computes it."""

    def __init__(self, name: str, version: str, tables: Iterable[TableSchema], checksum: str = "") -> None:
        self.name = name
        self.version = version
        self.checksum = checksum
        self.tables = {table.name: table for table in tables}
        if not any(table.is_root for table in self.tables.values()):
            # RFC 7047, 3.2: a schema that knows of no root set has all tables in it.
            for table in self.tables.values():
                table.is_root = True

    def to_json(self) -> dict[str, Json]:
        """As its file has it."""
        return self._json

    @cached_property
    def _json(self) -> dict[str, Json]:
        found: dict[str, Json] = {"name": self.name, "version": self.version}
        if self.checksum:
            found["cksum"] = self.checksum
        return found | {"tables": {name: table.to_json() for name, table in self.tables.items()}}

    @classmethod
    def parse(cls, given: Json) -> DatabaseSchema:
        """OvsdbError says what is wrong with it."""
        optional: dict[str, type] = {"version": str, "cksum": str}
        _check_members(given, "the schema", {"name", "tables"}, optional)
        assert isinstance(given, dict)
        name, tables = given["name"], given["tables"]
        if not isinstance(name, str) or not IDENTIFIER.fullmatch(name):
            raise syntax_error("the name of a database is an identifier", name)
        version = given.get("version", "")
        if version and not _SCHEMA_VERSION.fullmatch(version):
            raise syntax_error("the version of a schema has the form X.Y.Z", version)
        if not isinstance(tables, dict):
            raise syntax_error("the tables of a schema are an object", tables)
        for table in tables:
            if not IDENTIFIER.fullmatch(table) or table.startswith("_"):
                raise syntax_error(f"{table!r} is no name that a table may have")
        schema = cls(name, version, [TableSchema.parse(each, tables[each]) for each in tables], given.get("cksum", ""))
        for table in schema.tables.values():
            for column in table.by_position:
                for reference in column.references():
                    if reference.table not in schema.tables:
                        raise syntax_error(
                            f"column {column.name} of table {table.name} refers to table {reference.table}, which is "
                            "not there"
                        )
        return schema

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DatabaseSchema) and self._json == other._json

    def __hash__(self) -> int:
        return hash((self.name, self.version))


def version_of(text: str) -> tuple[int, ...]:
    """Of a schema, as numbers that can be compared; those of one without are ()."""
    found = _SCHEMA_VERSION.fullmatch(text)
    return tuple(map(int, found.groups())) if found else ()


def _check_members(given: Json, what: str, needed: set[str], optional: dict[str, type]) -> None:
    if not isinstance(given, dict):
        raise syntax_error(f"{what} is no object", given)
    if missing := needed - given.keys():
        raise syntax_error(f"{what} lacks the member {min(missing)!r}", given)
    if unknown := given.keys() - needed - optional.keys():
        raise syntax_error(f"{what}: the member {min(unknown)!r} is not allowed", given)
    for name, kind in optional.items():
        if name in given and type(given[name]) is not kind:
            raise syntax_error(f"{what}: the member {name!r} is no {kind.__name__}", given)


def _check_index(table: str, columns: dict[str, Json], index: Json) -> None:
    if not isinstance(index, list) or not index or not all(isinstance(name, str) for name in index):
        raise syntax_error(f"an index of table {table} is no array of columns", index)
    if unknown := [name for name in index if name not in columns]:
        raise syntax_error(f"an index of table {table} has the column {unknown[0]}, which is not there", index)
    if len(set(index)) != len(index):
        raise syntax_error(f"an index of table {table} has a column twice", index)
