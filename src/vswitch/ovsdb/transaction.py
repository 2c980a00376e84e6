"""Transactions (RFC 7047, 4.1.3 and 5.2): operations in order, all of them kept or none.

`execute` does what one asks for and undoes it unless it is kept. A `wait` that is not fulfilled yet undoes it too; who
called tries again when something has changed, until its time is over. What is looked at is what the operations name:
see `Condition` and `integrity`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from vswitch.ovsdb.conditions import Condition
from vswitch.ovsdb.database import Change, Changes, Database, Table
from vswitch.ovsdb.errors import OvsdbError, constraint_violation, syntax_error
from vswitch.ovsdb.integrity import keep, settle
from vswitch.ovsdb.mutations import parse_mutations
from vswitch.ovsdb.schema import IDENTIFIER, UUID, VERSION, Column, Row
from vswitch.ovsdb.types import Json, Value
from vswitch.ovsdb.values import encode, is_uuid, parse

__all__ = ["MAX_OPERATIONS", "Outcome", "execute", "tables_named"]

MAX_OPERATIONS = 100_000
"""Of one transaction."""

Operation = dict[str, Json]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of it. `results`: of the operations, as the reply has them; None: it waits. `timeout_ms`: how long it
    may wait, since it came; None: without end. `change`: what was kept, if that changed anything. `is_durable`: the
    reply is to come when that is on the disk."""

    results: list[Json] | None
    timeout_ms: float | None = None
    change: Change | None = None
    is_durable: bool = False
    error: OvsdbError | None = None


class _Wait(Exception):  # noqa: N818 # it is none
    """A wait is not fulfilled. `timeout_ms`: how long to wait for that."""

    def __init__(self, timeout_ms: float | None) -> None:
        self.timeout_ms = timeout_ms


@dataclass(slots=True)
class _Name:
    """A row that is called by a name in the transaction."""

    uuid: str
    is_inserted: bool = False


def execute(
    database: Database,
    operations: Sequence[Json],
    *,
    waited_ms: float = 0.0,
    owns: Callable[[str], bool] = lambda _lock: False,
    is_read_only: bool = False,
) -> Outcome:
    """Do it. `waited_ms`: since the request came. `owns`: whether the client has the lock of this name.
    `is_read_only`: what changes something is refused."""
    if len(operations) > MAX_OPERATIONS:
        error = OvsdbError("resources exhausted", f"{len(operations)} operations exceed {MAX_OPERATIONS}")
        return Outcome([error.to_json(), *[None] * (len(operations) - 1)], error=error)
    run = _Transaction(database, waited_ms, owns, is_read_only)
    results: list[Json] = []
    try:
        for operation in operations:
            results.append(run.perform(operation))  # noqa: PERF401 # those before a refused one count
    except _Wait as wait:
        run.changes.undo()
        return Outcome(None, wait.timeout_ms)
    except OvsdbError as error:
        run.changes.undo()
        database.counters.aborted += 1
        results.append(error.to_json())
        return Outcome(results + [None] * (len(operations) - len(results)), error=error)
    except BaseException:
        run.changes.undo()
        raise
    try:
        change = run.commit()
    except OvsdbError as error:
        database.counters.aborted += 1
        return Outcome([*results, error.to_json()], error=error)
    return Outcome(results, change=change, is_durable=run.is_durable)


def tables_named(operations: Sequence[Json]) -> frozenset[str]:
    """The tables that its operations are about."""
    return frozenset(
        name for each in operations if isinstance(each, dict) and isinstance(name := each.get("table"), str)
    )


@dataclass(slots=True)
class _Transaction:
    database: Database
    waited_ms: float
    owns: Callable[[str], bool]
    is_read_only: bool
    changes: Changes = field(init=False)
    names: dict[str, _Name] = field(default_factory=dict)
    comments: list[str] = field(default_factory=list)
    is_durable: bool = False

    def __post_init__(self) -> None:
        self.changes = Changes(self.database)

    def uuid_of(self, name: str) -> str:
        """The row of this name; it may be inserted later."""
        found = self.names.get(name)
        if found is None:
            found = self.names[name] = _Name(self.database.new_uuid())
        return found.uuid

    def perform(self, operation: Json) -> Json:
        """One operation; its result. # hot: once per operation"""
        if not isinstance(operation, dict):
            raise syntax_error("an operation is an object", operation)
        name = operation.get("op")
        rules = _OPERATIONS.get(name) if isinstance(name, str) else None
        if rules is None:
            raise syntax_error(f"{name!r} is none of the operations {', '.join(_OPERATIONS)}", operation)
        _check_members(operation, rules)
        if self.is_read_only and rules.changes:
            raise OvsdbError("not allowed", f"{name} changes something, and this is read-only")
        return rules.run(self, operation)

    def commit(self) -> Change | None:
        """Keep it. OvsdbError: it may not be, and is undone."""
        database = self.database
        try:
            changed = settle(database, self.changes)
            if changed is None:
                return None
            change = Change(database.new_uuid(), changed.tables, "\n".join(self.comments))
            if database.journal is not None:
                try:
                    database.journal.append(database.schema, change)
                except OSError as problem:
                    raise OvsdbError("I/O error", f"the database's file: {problem.strerror}") from problem
        except BaseException:
            self.changes.undo()
            raise
        keep(database, changed)
        database.committed(change)
        return change

    # ---- operations

    def table(self, operation: Operation) -> Table:
        name = operation["table"]
        found = self.database.tables.get(name) if isinstance(name, str) else None
        if found is None:
            raise syntax_error(f"there is no table {name}", operation)
        return found

    def condition(self, table: Table, operation: Operation) -> Condition:
        return Condition(table.schema, operation["where"], self)

    def row(self, table: Table, given: Json) -> list[tuple[Column, Value]]:
        """Columns, and what they are to hold."""
        assert isinstance(given, dict)
        return [
            (column := table.schema.column(name, given), parse(column.type, value, self))
            for name, value in given.items()
        ]

    def insert(self, operation: Operation) -> Json:
        table = self.table(operation)
        uuid = self._uuid_of_insert(table, operation)
        row = self.database.new_row(table.schema, uuid)
        given = self.row(table, operation["row"])
        for column, value in given:
            if not column.is_built_in:
                row[column.position] = value
        if table.schema.default_problem is not None:
            for column in table.schema.by_position:
                column.type.check(row[column.position], column.name)
        self.changes.put(table, uuid, tuple(row))
        return {"uuid": ("uuid", uuid)}

    def _uuid_of_insert(self, table: Table, operation: Operation) -> str:
        """From "uuid" or "uuid-name", or new."""
        wanted, name = operation.get("uuid"), operation.get("uuid-name")
        if wanted is not None:
            assert isinstance(wanted, str)
            wanted = wanted.lower()
            if not is_uuid(wanted):
                raise syntax_error(f"{wanted!r} is no UUID", operation["uuid"])
            if wanted in table.rows or wanted in self.changes.touched(table):
                raise OvsdbError("duplicate uuid", f"{wanted} is, or was before this transaction, a row", wanted)
        if name is None:
            return wanted or self.database.new_uuid()
        assert isinstance(name, str)
        known = self.names.get(name)
        if known is None:
            known = self.names[name] = _Name(wanted or self.database.new_uuid())
        elif known.is_inserted:
            raise OvsdbError("duplicate uuid-name", f"{name!r} is the name of another row", name)
        elif wanted is not None:
            raise syntax_error(f"{name!r} was referred to before it got its UUID", operation)
        known.is_inserted = True
        return known.uuid

    def select(self, operation: Operation) -> Json:
        table = self.table(operation)
        columns = _columns(table, operation.get("columns"))
        found = self.database.select(table, self.condition(table, operation), self.changes)
        if columns is None:
            columns = table.schema.by_position
        elif len(found) > 1 and UUID not in {column.position for column in columns}:
            found = list({tuple(row[column.position] for column in columns): row for row in found}.values())
        return {
            "rows": [{column.name: encode(column.type, row[column.position]) for column in columns} for row in found]
        }

    def update(self, operation: Operation) -> Json:
        table = self.table(operation)
        given = self.row(table, operation["row"])
        for column, _ in given:
            if not column.is_mutable:
                raise constraint_violation(f"column {column.name} of table {table.schema.name} is immutable", operation)
        found = self.database.select(table, self.condition(table, operation), self.changes)
        if given:
            for row in found:
                new = list(row)
                for column, value in given:
                    new[column.position] = value
                self._replace(table, new)
        return {"count": len(found)}

    def mutate(self, operation: Operation) -> Json:
        table = self.table(operation)
        mutations = parse_mutations(table.schema, operation["mutations"], self)
        found = self.database.select(table, self.condition(table, operation), self.changes)
        if mutations:
            for row in found:
                new = list(row)
                for position, mutate in mutations:
                    new[position] = mutate(new[position])
                self._replace(table, new)
        return {"count": len(found)}

    def _replace(self, table: Table, row: list[Value]) -> None:
        row[VERSION] = (self.database.new_uuid(),)
        self.changes.put(table, row[UUID][0], tuple(row))

    def delete(self, operation: Operation) -> Json:
        table = self.table(operation)
        found = self.database.select(table, self.condition(table, operation), self.changes)
        for row in found:
            self.changes.put(table, row[UUID][0], None)
        return {"count": len(found)}

    def wait(self, operation: Operation) -> Json:
        table = self.table(operation)
        columns = _columns(table, operation.get("columns")) or table.schema.by_position
        until, timeout_ms = operation["until"], operation.get("timeout")
        if until not in ("==", "!="):
            raise syntax_error(f'until is {until!r}, neither "==" nor "!="', operation)
        condition = self.condition(table, operation)
        wanted = {self._wanted(table, columns, row) for row in _array(operation["rows"])}
        found = {
            tuple(row[column.position] for column in columns)
            for row in self.database.select(table, condition, self.changes)
        }
        if (wanted == found) == (until == "=="):
            return {}
        if timeout_ms is not None:
            assert isinstance(timeout_ms, int | float)
            if self.waited_ms >= timeout_ms:
                raise OvsdbError("timed out", f"the wait was not fulfilled within {timeout_ms} ms")
        raise _Wait(None if timeout_ms is None else float(timeout_ms))

    def _wanted(self, table: Table, columns: Sequence[Column], given: Json) -> Row:
        if not isinstance(given, dict):
            raise syntax_error("a row is an object", given)
        values = dict(self.row(table, given))
        return tuple(values.get(column, column.type.default) for column in columns)

    def commit_operation(self, operation: Operation) -> Json:
        if operation["durable"]:
            self.is_durable = True
        return {}

    def abort(self, _operation: Operation) -> Json:
        raise OvsdbError("aborted", "the transaction asked for it")

    def comment(self, operation: Operation) -> Json:
        self.comments.append(str(operation["comment"]))
        return {}

    def assert_lock(self, operation: Operation) -> Json:
        if not self.owns(str(operation["lock"])):
            raise OvsdbError("not owner", f"lock {operation['lock']} is not held")
        return {}


def _array(given: Json) -> list[Json]:
    assert isinstance(given, list)
    return given


def _columns(table: Table, given: Json) -> tuple[Column, ...] | None:
    """Those that are named; None: all."""
    if given is None:
        return None
    names = _array(given)
    columns = table.schema.columns
    if unknown := [name for name in names if not isinstance(name, str) or name not in columns]:
        raise syntax_error(f"{unknown[0]} is no column of table {table.schema.name}", given)
    if len(set(names)) != len(names):
        raise syntax_error("a column is named twice", given)
    return tuple(columns[str(name)] for name in names)


def _is_duration(given: Json) -> bool:
    return isinstance(given, int | float) and type(given) is not bool and given >= 0 and given == int(given)


def _is_identifier(given: Json) -> bool:
    return isinstance(given, str) and IDENTIFIER.fullmatch(given) is not None


def _is(kind: type) -> Callable[[Json], bool]:
    return lambda given: type(given) is kind


Check = Callable[[Json], bool]


@dataclass(frozen=True, slots=True)
class _Rules:
    """Of one operation: its members, and whether it may change something."""

    run: Callable[[_Transaction, Operation], Json]
    needed: Mapping[str, Check]
    optional: Mapping[str, Check] = field(default_factory=dict)
    changes: bool = False
    names: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", frozenset({"op", *self.needed, *self.optional}))


_string, _array_check, _object = _is(str), _is(list), _is(dict)
_TABLE, _WHERE = {"table": _string}, {"where": _array_check}

_OPERATIONS = {
    "insert": _Rules(
        _Transaction.insert,
        {**_TABLE, "row": _object},
        {"uuid-name": _is_identifier, "uuid": _string},
        changes=True,
    ),
    "select": _Rules(_Transaction.select, {**_TABLE, **_WHERE}, {"columns": _array_check}),
    "update": _Rules(_Transaction.update, {**_TABLE, **_WHERE, "row": _object}, changes=True),
    "mutate": _Rules(_Transaction.mutate, {**_TABLE, **_WHERE, "mutations": _array_check}, changes=True),
    "delete": _Rules(_Transaction.delete, {**_TABLE, **_WHERE}, changes=True),
    "wait": _Rules(
        _Transaction.wait,
        {**_TABLE, **_WHERE, "until": _string, "rows": _array_check},
        {"timeout": _is_duration, "columns": _array_check},
    ),
    "commit": _Rules(_Transaction.commit_operation, {"durable": _is(bool)}),
    "abort": _Rules(_Transaction.abort, {}),
    "comment": _Rules(_Transaction.comment, {"comment": _string}),
    "assert": _Rules(_Transaction.assert_lock, {"lock": _is_identifier}),
}


def _check_members(operation: Operation, rules: _Rules) -> None:
    """OvsdbError: one is missing, of the wrong type, or not known."""
    for name, check in rules.needed.items():
        if name not in operation:
            raise syntax_error(f"the member {name!r} is missing", operation)
        if not check(operation[name]):
            raise syntax_error(f"the member {name!r} is of the wrong type", operation)
    for name, check in rules.optional.items():
        if name in operation and not check(operation[name]):
            raise syntax_error(f"the member {name!r} is of the wrong type", operation)
    if unknown := operation.keys() - rules.names:
        raise syntax_error(f"the member {min(unknown)!r} is not allowed", operation)
