"""Rows as they are in the database, with what commands have changed of them so far; and the operations that do it.

What is read for a decision is verified: a `wait` before the changes holds it fixed, so that commands that ran on rows
which are gone meanwhile change nothing, and run again. Where elements alone come and go (a port of a bridge, a key of a
map), the operation says those and no more, so that others can change the rest.

Invariant: reading after writing gives what was written; `begin` forgets all of it.
"""

from __future__ import annotations

from vswitch.cli.vsctl import RetryError, TransactionError
from vswitch.cli.vsctl.json import dumps
from vswitch.cli.vsctl.values import encode, from_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from vswitch.cli.vsctl.schema import Schema, Table
    from vswitch.cli.vsctl.values import Value

__all__ = ["ROOT", "Row", "Rows", "done"]

ROOT = "Open_vSwitch"
"""The table whose only row all others hang on."""

_SHAPE = frozenset(("bridges", "ports", "interfaces", "name", "tag", "fake_bridge"))


class Row:
    """One row. `given`: as the server has sent it; `changes`: columns that are to be otherwise."""

    __slots__ = ("_values", "changes", "given", "is_gone", "is_new", "named", "pieces", "table", "uuid", "verified")

    def __init__(self, table: Table, uuid: str, given: dict[str, Any] | None, *, named: bool = False) -> None:
        self.table = table
        self.uuid = uuid
        self.given: dict[str, Any] = given or {}
        self.is_new = given is None
        self.named = named
        """Whether it is to have this UUID, and no other."""
        self.is_gone = False
        self._values: dict[str, Value] = {}
        self.changes: dict[str, Value] = {}
        self.pieces: set[str] = set()
        """Columns of `changes` of which elements alone were changed."""
        self.verified: set[str] = set()

    def __getitem__(self, name: str) -> Value:
        found = self.changes.get(name)
        return self.original(name) if found is None else found

    def original(self, name: str) -> Value:
        """As it is in the database."""
        found = self._values.get(name)
        if found is None:
            if name == "_uuid":
                return (self.uuid,)
            kind = self.table[name].type
            found = from_json(kind, self.given[name]) if name in self.given else kind.default
            self._values[name] = found
        return found

    def one(self, name: str) -> Any:
        """The only element; None: there is none."""
        found = self[name]
        return found[0] if found else None

    def reset(self) -> None:
        """Forget what was changed."""
        self.changes.clear()
        self.pieces.clear()
        self.verified.clear()
        self.is_gone = False

    def changed(self) -> list[str]:
        """Columns that are to be otherwise than they are."""
        return [name for name, value in self.changes.items() if value != self.original(name)]


class Rows:
    """All rows that are watched, by table and UUID. `new_uuid`: makes one that nobody has had."""

    def __init__(self, schema: Schema, new_uuid: Callable[[], str]) -> None:
        self.schema = schema
        self._new_uuid = new_uuid
        self._tables: dict[str, dict[str, Row]] = {}
        self._inserted: list[Row] = []
        self._unnamed: set[str] = set()
        self.writes = 0
        """How often something was changed that says what a bridge, a port or an interface is, and of which: who keeps
        what follows from that looks at it."""

    # ---- what the server says

    def load(self, given: Any) -> None:
        """Hold these rows and no others: the reply to `monitor`."""
        self._tables = {}
        self._inserted = []
        self._unnamed = set()
        self.update(given)

    def update(self, given: Any) -> None:
        """The rows of an `update`."""
        for name, rows in given.items():
            table = self._tables.setdefault(name, {})
            for uuid, change in rows.items():
                if (new := change.get("new")) is None:
                    table.pop(uuid, None)
                else:
                    table[uuid] = Row(self.schema[name], uuid, new)

    # ---- what commands do

    def begin(self) -> None:
        """Forget what commands have changed."""
        for row in self._inserted:
            self._tables[row.table.name].pop(row.uuid, None)
        self._inserted = []
        self._unnamed = set()
        for table in self._tables.values():
            for row in table.values():
                if row.changes or row.verified or row.is_gone:
                    row.reset()
        self.writes += 1

    def of(self, table: str) -> list[Row]:
        """The rows of a table, by UUID."""
        found = self._tables.get(table, {})
        return [found[uuid] for uuid in sorted(found) if not found[uuid].is_gone]

    def find(self, table: str, uuid: str) -> Row | None:
        """The row of this UUID."""
        found = self._tables.get(table, {}).get(uuid)
        return None if found is None or found.is_gone else found

    def referred(self, row: Row, column: str) -> Iterator[Row]:
        """The rows that a column names."""
        kind = row.table[column].type
        for element in row[column]:
            found = self.find(kind.key.ref_table, element) if kind.value is None else None
            if found is not None:
                yield found

    def root(self) -> Row:
        """The only row of `Open_vSwitch`; it is made if it is not there."""
        rows = self.of(ROOT)
        return rows[0] if rows else self.insert(ROOT)

    def insert(self, table: str, uuid: str | None = None, *, named: bool = False) -> Row:
        """A new row. `named`: it is to have this UUID in the database, too."""
        row = Row(self.schema[table], uuid or self._new_uuid(), None, named=named)
        self._tables.setdefault(table, {})[row.uuid] = row
        self._inserted.append(row)
        if not named:
            self._unnamed.add(row.uuid)
        return row

    def inserted(self) -> Iterator[Row]:
        """The rows that are new."""
        return (row for row in self._inserted if not row.is_gone)

    def delete(self, row: Row) -> None:
        """Without what refers to it."""
        row.is_gone = True
        self.writes += 1

    def verify(self, row: Row, *columns: str) -> None:
        """The changes are to be done only if these are as they were."""
        if not row.is_new:
            row.verified.update(columns)

    def write(self, row: Row, column: str, value: Value) -> None:
        """Let a column hold this."""
        row.pieces.discard(column)
        row.changes[column] = value
        self.writes += column in _SHAPE

    def put(self, row: Row, column: str, elements: Value) -> None:
        """Let a column hold these elements besides others; of a map, instead of those with the same keys."""
        kind = row.table[column].type
        if kind.value is not None:
            value: Value = tuple(sorted((dict(row[column]) | dict(elements)).items()))
        else:
            value = tuple(sorted({*row[column], *elements}))
        self._piece(row, column, value)

    def take(self, row: Row, column: str, elements: Value) -> None:
        """Let a column not hold these elements; of a map, these pairs."""
        gone = set(elements)
        self._piece(row, column, tuple(each for each in row[column] if each not in gone))

    def _piece(self, row: Row, column: str, value: Value) -> None:
        if column not in row.changes:
            row.pieces.add(column)
        row.changes[column] = value
        self.writes += column in _SHAPE

    # ---- what follows

    def operations(self) -> tuple[list[Any], dict[str, int]]:
        """What does all that was changed; and which of it inserts a row, by UUID. Nothing, if nothing changes."""
        waits: list[Any] = []
        changes: list[Any] = []
        for table in self._tables.values():
            for row in table.values():
                if row.verified:
                    waits.append(self._wait(row))
                if row.is_new:
                    continue
                if row.is_gone:
                    if row.table.is_root:  # others go with what refers to them
                        changes.append({"op": "delete", "table": row.table.name, "where": _where(row)})
                    continue
                changes += self._updates(row)
        inserts: list[Any] = []
        at = len(waits)
        places: dict[str, int] = {}
        for row in self._inserted:
            if not row.is_gone:
                places[row.uuid] = at + len(inserts)
                inserts.append(self._insert(row))
        return (waits + inserts + changes if inserts or changes else []), places

    def _reference(self, uuid: str) -> Any:
        return ["named-uuid", _name(uuid)] if uuid in self._unnamed else ["uuid", uuid]

    def _wait(self, row: Row) -> Any:
        columns = sorted(row.verified)
        rows = [{name: encode(row.table[name].type, row.original(name), _plain) for name in columns}]
        return {
            "op": "wait", "table": row.table.name, "where": _where(row), "columns": columns, "until": "==",
            "rows": rows, "timeout": 0,
        }  # fmt: skip

    def _insert(self, row: Row) -> Any:
        found = {"op": "insert", "table": row.table.name, "uuid-name": _name(row.uuid), "row": self._columns(row)}
        if row.named:
            found["uuid"] = row.uuid
        return found

    def _columns(self, row: Row) -> dict[str, Any]:
        return {name: encode(row.table[name].type, row.changes[name], self._reference) for name in row.changed()}

    def _updates(self, row: Row) -> list[Any]:
        names = row.changed()
        whole = {
            name: encode(row.table[name].type, row.changes[name], self._reference)
            for name in names
            if name not in row.pieces
        }
        found: list[Any] = []
        where, table = _where(row), row.table.name
        if whole:
            found.append({"op": "update", "table": table, "where": where, "row": whole})
        if mutations := [each for name in names if name in row.pieces for each in self._mutations(row, name)]:
            found.append({"op": "mutate", "table": table, "where": where, "mutations": mutations})
        return found

    def _mutations(self, row: Row, name: str) -> list[Any]:
        kind = row.table[name].type
        old, new = row.original(name), row.changes[name]
        gone, come = _without(old, new), _without(new, old)
        found = []
        if gone:
            elements = [key for key, _ in gone] if kind.value is not None else gone
            atoms = [self._reference(each) if kind.key.kind == "uuid" else each for each in elements]
            found.append([name, "delete", ["set", atoms]])
        if come:
            value = encode(kind, come, self._reference)
            if kind.value is None and len(come) == 1:
                value = ["set", [value]]
            found.append([name, "insert", value])
        return found


def done(results: Any, operations: list[Any]) -> None:
    """TransactionError: the server has refused; RetryError: what was verified is otherwise by now."""
    errors = [each for each in results if each is not None and "error" in each]
    if any(each["error"] == "timed out" for each in errors):
        raise RetryError
    if errors:
        raise TransactionError(f"transaction error: {dumps(dict(sorted(errors[0].items())))}")
    if len(results) < len(operations) or None in results:
        raise TransactionError("transaction error: the server has done a part of it only")


def _without(value: Value, others: Value) -> Value:
    known = set(others)
    return tuple(each for each in value if each not in known)


def _where(row: Row) -> Any:
    return [["_uuid", "==", ["uuid", row.uuid]]]


def _plain(uuid: str) -> Any:
    return ["uuid", uuid]


def _name(uuid: str) -> str:
    return "row" + uuid.replace("-", "_")
