"""One database: its rows, what is looked up by, and what has happened to it lately.

Rows are changed in place by one `Changes` at a time, which can undo itself; there is one thread. What must hold of the
whole (references, indexes) is checked by `integrity` when the changes are to be kept, and costs by what has changed.

Invariant: outside of a transaction, `references` and `indexes` of each table say what follows from all rows.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from vswitch.ovsdb.conditions import Condition
from vswitch.ovsdb.schema import UUID, VERSION, DatabaseSchema, Row, TableSchema
from vswitch.ovsdb.types import Value

__all__ = ["Change", "Changes", "Database", "Journal", "RowChange", "Table"]

RowChange = tuple[Row | None, Row | None]
"""A row before and after; None: it was not there, or is not."""

MAX_HISTORY = 1000
"""Transactions that a client which comes again can be told of one by one, instead of all rows."""

MAX_HISTORY_ROWS = 50_000
"""Rows that those have changed, all together."""


@dataclass(frozen=True, slots=True)
class Change:
    """A transaction that was kept. `tables`: by name and UUID, each row that it changed. `identity`: its own UUID."""

    identity: str
    tables: dict[str, dict[str, RowChange]]
    comment: str = ""

    @property
    def size(self) -> int:
        """Rows."""
        return sum(map(len, self.tables.values()))


class Journal(Protocol):
    """Where transactions are kept."""

    def append(self, schema: DatabaseSchema, change: Change) -> None:
        """Write it. OSError: it could not be, and is not there in part."""


class Table:
    """Rows by UUID. `strong`: how often each row is named by references that keep it; `weak`: the rows that name it by
    others, as (table, UUID). `indexes`: for each index of the schema, the row by the values of its columns."""

    __slots__ = ("indexes", "rows", "schema", "strong", "weak")

    def __init__(self, schema: TableSchema) -> None:
        self.schema = schema
        self.rows: dict[str, Row] = {}
        self.strong: dict[str, int] = {}
        self.weak: dict[str, set[tuple[str, str]]] = {}
        self.indexes: list[dict[tuple[Value, ...], str]] = [{} for _ in schema.indexes]


class Changes:
    """What a transaction has done to the rows so far: for each that it touched, what it was before."""

    __slots__ = ("_database", "before")

    def __init__(self, database: Database) -> None:
        self._database = database
        self.before: dict[str, dict[str, Row | None]] = {}

    def put(self, table: Table, uuid: str, row: Row | None) -> None:
        """Make this the row; None: let there be none."""
        before = self.before.get(table.schema.name)
        if before is None:
            before = self.before[table.schema.name] = {}
        if uuid not in before:
            before[uuid] = table.rows.get(uuid)
        if row is None:
            table.rows.pop(uuid, None)
        else:
            table.rows[uuid] = row

    def touched(self, table: Table) -> dict[str, Row | None]:
        """The rows of the table that it has changed, as they were."""
        return self.before.get(table.schema.name, {})

    def undo(self) -> None:
        """All of it."""
        for name, before in self.before.items():
            rows = self._database.tables[name].rows
            for uuid, row in before.items():
                if row is None:
                    rows.pop(uuid, None)
                else:
                    rows[uuid] = row
        self.before = {}


@dataclass(slots=True)
class Counters:
    """What has happened, in numbers."""

    transactions: int = 0
    aborted: int = 0
    rows_collected: int = 0
    history_dropped: int = 0


@dataclass(eq=False)
class Database:
    """`new_uuid`: makes one that nobody has had. `journal`: where what is committed is kept, if anywhere. `listeners`:
    are told of each transaction, after it."""

    schema: DatabaseSchema
    new_uuid: Callable[[], str]
    journal: Journal | None = None
    tables: dict[str, Table] = field(init=False)
    listeners: list[Callable[[Change], None]] = field(default_factory=list)
    history: deque[Change] = field(default_factory=deque)
    counters: Counters = field(default_factory=Counters)

    def __post_init__(self) -> None:
        self.tables = {name: Table(schema) for name, schema in self.schema.tables.items()}
        self.identity = self.new_uuid()
        self._history_rows = 0

    @property
    def rows(self) -> int:
        """How many there are."""
        return sum(len(table.rows) for table in self.tables.values())

    def select(self, table: Table, condition: Condition, changes: Changes | None = None) -> list[Row]:
        """The rows that fulfil it. `changes`: those of the transaction that asks, which indexes do not know yet."""
        uuid = condition.uuid
        if uuid is not None:
            row = table.rows.get(uuid)
            return [row] if row is not None and condition.matches(row) else []
        if condition.never:
            return []
        if condition.always:
            return list(table.rows.values())
        candidates = self._candidates(table, condition, changes) if table.indexes and condition.equal else None
        return [row for row in (table.rows.values() if candidates is None else candidates) if condition.matches(row)]

    def _candidates(self, table: Table, condition: Condition, changes: Changes | None) -> Iterable[Row] | None:
        """Rows among which are all that fulfil it; None: those are all rows."""
        equal = condition.equal
        for positions, index in zip(table.schema.indexes, table.indexes, strict=True):
            if all(at in equal for at in positions):
                uuids = set(changes.touched(table)) if changes is not None else set()
                found = index.get(tuple(equal[at] for at in positions))
                if found is not None:
                    uuids.add(found)
                return [row for uuid in uuids if (row := table.rows.get(uuid)) is not None]
        return None

    def committed(self, change: Change) -> None:
        """A transaction is kept: remember it, and tell."""
        self.identity = change.identity
        self.counters.transactions += 1
        self.history.append(change)
        self._history_rows += change.size
        while self.history and (len(self.history) > MAX_HISTORY or self._history_rows > MAX_HISTORY_ROWS):
            self._history_rows -= self.history.popleft().size
            self.counters.history_dropped += 1
        for listener in tuple(self.listeners):
            listener(change)

    def since(self, identity: str) -> Iterator[Change] | None:
        """The transactions after that one; None: it is not known any more, or never was."""
        if identity == self.identity:
            return iter(())
        found: list[Change] = []
        for change in reversed(self.history):
            if change.identity == identity:
                return reversed(found)
            found.append(change)
        return None

    def snapshot(self) -> dict[str, list[Row]]:
        """All rows as they are now. What happens later does not change it, as rows are never changed themselves."""
        return {name: list(table.rows.values()) for name, table in self.tables.items() if table.rows}

    def new_row(self, table: TableSchema, uuid: str) -> list[Value]:
        """Of which nothing has been said."""
        row = list(table.default)
        row[UUID] = (uuid,)
        row[VERSION] = (self.new_uuid(),)
        return row
