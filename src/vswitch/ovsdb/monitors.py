"""Monitors (RFC 7047, 4.1.5; ovsdb-server(7), monitor_cond and monitor_cond_since): what a client is told of changes.

A `View` is what a monitor asks for: tables, columns, kinds of changes, conditions. Clients that ask for the same share
one, and its text is made once for all of them. What a change of rows means for a view is a function of the change: so
changes that a slow client has not been told of can be joined, and told as one.

Invariant: a client that applies what it is told to what it was told before has the rows of the view.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from vswitch.ovsdb.conditions import Condition
from vswitch.ovsdb.database import Change, Database, RowChange
from vswitch.ovsdb.errors import OvsdbError, syntax_error
from vswitch.ovsdb.framing import dumps
from vswitch.ovsdb.schema import VERSION, Column, DatabaseSchema, Row, TableSchema
from vswitch.ovsdb.types import Json
from vswitch.ovsdb.values import diff, encode

__all__ = ["MAX_REQUESTS", "View", "join"]

INITIAL, INSERT, DELETE, MODIFY = 1, 2, 4, 8
_SELECT = {"initial": INITIAL, "insert": INSERT, "delete": DELETE, "modify": MODIFY}

MAX_REQUESTS = 256
"""Requests for one table in one monitor."""

Tables = Mapping[str, Mapping[str, RowChange]]


@dataclass(frozen=True, slots=True)
class _Table:
    """What is asked about one table. `columns`: each with the kinds of changes that it is told at; `kinds`: all of
    those. `condition`: of the rows that there are for the client."""

    schema: TableSchema
    columns: tuple[tuple[Column, int], ...]
    kinds: int
    condition: Condition

    @property
    def is_conditional(self) -> bool:
        return not self.condition.always


def join(changes: Iterable[Tables]) -> dict[str, dict[str, RowChange]]:
    """One change that does what these do, one after the other."""
    found: dict[str, dict[str, RowChange]] = {}
    for tables in changes:
        for name, rows in tables.items():
            here = found.setdefault(name, {})
            for uuid, (old, new) in rows.items():
                before = here.get(uuid)
                here[uuid] = (old if before is None else before[0], new)
    return found


class View:
    """`version`: 1 for monitor and its update, 2 for monitor_cond and update2, 3 for monitor_cond_since and update3,
    which tells rows as update2 does."""

    def __init__(self, schema: DatabaseSchema, version: int, tables: dict[str, _Table]) -> None:
        self.schema = schema
        self.version = version
        self._tables = tables
        self._last: tuple[object, str] = (None, "")
        self._describe = _row_update if version == 1 else _row_update2

    @classmethod
    def parse(cls, schema: DatabaseSchema, version: int, given: Json) -> View:
        """Of the requests in a monitor call. OvsdbError says what is wrong with them."""
        if not isinstance(given, dict):
            raise syntax_error("the requests of a monitor are an object", given)
        tables = {}
        for name, requests in given.items():
            table = schema.tables.get(name)
            if table is None:
                raise syntax_error(f"there is no table {name}", given)
            tables[name] = _parse_table(table, requests, version)
        return cls(schema, version, tables)

    def with_conditions(self, given: Json) -> View:
        """The same with other conditions. OvsdbError says what is wrong with them."""
        if not isinstance(given, dict):
            raise syntax_error("conditions by table are an object", given)
        tables = dict(self._tables)
        for name, requests in given.items():
            table = tables.get(name)
            if table is None:
                raise syntax_error(f"table {name} is not monitored", given)
            if not isinstance(requests, list):
                raise syntax_error(f"what is new for table {name} is no array", requests)
            clauses: list[Json] = []
            for request in requests:
                if not isinstance(request, dict) or request.keys() - {"where"}:
                    raise syntax_error(f"what is new for table {name} is more than its condition", request)
                clauses += _clauses(request)
            tables[name] = replace(table, condition=Condition(table.schema, clauses, any_of=True))
        return View(self.schema, self.version, tables)

    # ---- what is told

    def initial(self, database: Database) -> dict[str, Json]:
        """All rows of the view."""
        found: dict[str, Json] = {}
        for name, table in self._tables.items():
            if not table.kinds & INITIAL:
                continue
            matches = table.condition.matches if table.is_conditional else None
            rows = {
                uuid: self._describe(table, INITIAL, None, row)
                for uuid, row in database.tables[name].rows.items()
                if matches is None or matches(row)
            }
            if rows:
                found[name] = rows
        return found

    def text(self, change: Change) -> str:
        """What a transaction means, as JSON; empty: nothing. # hot: once per transaction and view"""
        if self._last[0] is not change:
            found = self.update(change.tables)
            self._last = (change, dumps(found) if found else "")
        return self._last[1]

    def update(self, tables: Tables) -> dict[str, Json]:
        """What a change means."""
        found: dict[str, Json] = {}
        for name, rows in tables.items():
            table = self._tables.get(name)
            if table is None:
                continue
            here = {}
            for uuid, (old, new) in rows.items():
                if table.is_conditional:
                    old = old if old is not None and table.condition.matches(old) else None
                    new = new if new is not None and table.condition.matches(new) else None
                if (told := self._told(table, old, new)) is not None:
                    here[uuid] = told
            if here:
                found[name] = here
        return found

    def _told(self, table: _Table, old: Row | None, new: Row | None) -> Json:
        if old is None:
            if new is None or not table.kinds & INSERT:
                return None
            return self._describe(table, INSERT, None, new)
        if new is None:
            return self._describe(table, DELETE, old, None) if table.kinds & DELETE else None
        if not table.kinds & MODIFY:
            return None
        for column, kinds in table.columns:
            if kinds & MODIFY and old[column.position] != new[column.position]:
                return self._describe(table, MODIFY, old, new)
        return None

    def turn_into(self, other: View, database: Database) -> dict[str, Json]:
        """What the client of this view is to be told to have those of `other`, which differs in conditions alone."""
        found: dict[str, Json] = {}
        for name, table in self._tables.items():
            after = other._tables[name]
            if table.condition is after.condition:
                continue
            here = {}
            for uuid, row in database.tables[name].rows.items():
                was, is_now = table.condition.matches(row), after.condition.matches(row)
                if was != is_now:
                    told = self._told(after, row if was else None, row if is_now else None)
                    if told is not None:
                        here[uuid] = told
            if here:
                found[name] = here
        return found


def _row_update(table: _Table, kind: int, old: Row | None, new: Row | None) -> Json:
    """<row-update>: of a modified row the columns that are not what they were, and all as they are."""
    found: dict[str, Json] = {}
    if old is not None:
        found["old"] = {
            column.name: encode(column.type, old[column.position])
            for column, kinds in table.columns
            if kinds & kind and (new is None or old[column.position] != new[column.position])
        }
    if new is not None:
        found["new"] = {
            column.name: encode(column.type, new[column.position]) for column, kinds in table.columns if kinds & kind
        }
    return found


def _row_update2(table: _Table, kind: int, old: Row | None, new: Row | None) -> Json:
    """<row-update2>: of a new row what is not as by default, of a modified one the differences."""
    if new is None:
        return {"delete": None}
    if old is None:
        row = {
            column.name: encode(column.type, value)
            for column, kinds in table.columns
            if kinds & kind and (value := new[column.position]) != column.type.default
        }
        return {"initial" if kind == INITIAL else "insert": row}
    return {
        "modify": {
            column.name: encode(column.type, diff(column.type, was, value))
            for column, kinds in table.columns
            if kinds & kind and (value := new[column.position]) != (was := old[column.position])
        }
    }


# ---- what is asked for


def _parse_table(table: TableSchema, given: Json, version: int) -> _Table:
    requests = given if isinstance(given, list) else [given]
    if len(requests) > MAX_REQUESTS:
        raise OvsdbError(
            "resources exhausted", f"{len(requests)} requests for table {table.name} exceed {MAX_REQUESTS}"
        )
    columns: dict[str, tuple[Column, int]] = {}
    clauses: list[Json] = []
    for request in requests:
        _parse_request(table, request, version, columns)
        clauses += _clauses(request)
    kinds = 0
    for _, each in columns.values():
        kinds |= each
    if not columns:  # rows come and go all the same
        for request in requests:
            kinds |= _kinds(request)
    condition = Condition(table, clauses, any_of=True)
    return _Table(table, tuple(columns.values()), kinds, condition)


def _parse_request(table: TableSchema, given: Json, version: int, columns: dict[str, tuple[Column, int]]) -> None:
    if not isinstance(given, dict):
        raise syntax_error(f"a request for table {table.name} is no object", given)
    allowed = {"columns", "select"} | ({"where"} if version > 1 else set())
    if unknown := given.keys() - allowed:
        raise syntax_error(f"table {table.name}: the member {min(unknown)!r} is not allowed", given)
    kinds = _kinds(given)
    names = given.get("columns")
    if names is None:
        chosen = [column for column in table.by_position if column.position >= VERSION]
    elif isinstance(names, list):
        chosen = []
        for name in names:
            column = table.columns.get(name) if isinstance(name, str) else None
            if column is None:
                raise syntax_error(f"{name} is no column of table {table.name}", names)
            chosen.append(column)
    else:
        raise syntax_error(f"table {table.name}: columns are an array", names)
    for column in chosen:
        if column.name in columns:
            raise syntax_error(f"column {column.name} of table {table.name} is named twice", names)
        columns[column.name] = (column, kinds)


def _kinds(given: Json) -> int:
    """The kinds of changes that a request selects: all, without those that it says no to."""
    assert isinstance(given, dict)
    select = given.get("select", {})
    if not isinstance(select, dict) or not all(isinstance(wanted, bool) for wanted in select.values()):
        raise syntax_error("select is an object of booleans", select)
    if unknown := select.keys() - _SELECT:
        raise syntax_error(f"select: the member {min(unknown)!r} is not allowed", select)
    return sum(bit for name, bit in _SELECT.items() if select.get(name, True))


def _clauses(given: Json) -> list[Json]:
    """Of a request's condition. One without stands for all rows."""
    assert isinstance(given, dict)
    where = given.get("where")
    if where is None:
        return [True]
    if not isinstance(where, list):
        raise syntax_error("a condition is an array", where)
    return where or [True]
