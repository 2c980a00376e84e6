"""What must hold of a database when a transaction is kept, and what follows from it (RFC 7047, 3.2 and 4.1.3).

In this order, as ovsdb-server has it: changes that change nothing are none; strong references name rows that are there;
rows outside of the root set that nobody refers to go, and with them what only they referred to; tables are not too
full; weak references to what is gone go, too; indexes are unique.

Invariant: `settle` changes rows through `Changes` alone, so that undoing those undoes all; counts of references and
indexes are brought up to date by `keep`, which cannot fail. It looks at rows that have changed, at those they
refer to or did, and at those that refer weakly to a row that goes; at no others.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from vswitch.ovsdb.database import Changes, Database, RowChange, Table
from vswitch.ovsdb.errors import OvsdbError, constraint_violation
from vswitch.ovsdb.schema import UUID, VERSION, Reference, Row
from vswitch.ovsdb.types import Value
from vswitch.ovsdb.values import difference

__all__ = ["Settled", "keep", "rebuild", "settle"]

Keys = list[tuple[int, tuple[Value, ...], str, bool]]


@dataclass(frozen=True, slots=True)
class Settled:
    """`tables`: by name and UUID, the rows that are not what they were. `strong`: how counts of strong references
    change, by table and row. `keys`: what becomes of the indexes."""

    tables: dict[str, dict[str, RowChange]]
    strong: dict[str, Counter[str]]
    keys: dict[str, Keys]


class _Settlement:
    def __init__(self, database: Database, changes: Changes) -> None:
        self.database = database
        self.tables = database.tables
        self.changes = changes
        self.strong: dict[str, Counter[str]] = {}
        """How the counts of strong references are to change, by table and row."""

    def changed(self) -> dict[str, dict[str, RowChange]]:
        """By table, each row that is not what it was."""
        found: dict[str, dict[str, RowChange]] = {}
        for name, before in self.changes.before.items():
            rows = self.tables[name].rows
            here = {}
            for uuid, old in before.items():
                new = rows.get(uuid)
                if old is new:
                    continue
                if old is not None and new is not None and old[VERSION + 1 :] == new[VERSION + 1 :]:
                    rows[uuid] = old  # nothing but the version
                    continue
                here[uuid] = (old, new)
            if here:
                found[name] = here
        return found

    # ---- strong references

    def count(self, table: Table, old: Row | None, new: Row | None) -> None:
        """Note what the references of this row mean for the rows that they name."""
        for reference in table.schema.strong:
            before = old[reference.position] if old is not None else ()
            after = new[reference.position] if new is not None else ()
            if before is after or before == after:
                continue
            counts = self.strong.get(reference.table)
            if counts is None:
                counts = self.strong[reference.table] = Counter()
            row = new if new is not None else old
            assert row is not None
            _count_difference(counts, reference, before, after, row[UUID][0])

    def check_strong(self, changed: dict[str, dict[str, RowChange]]) -> None:
        for name, rows in changed.items():
            table = self.tables[name]
            if table.schema.strong:
                for old, new in rows.values():
                    self.count(table, old, new)
        for name, counts in self.strong.items():
            target = self.tables[name]
            for uuid, more in counts.items():
                if more > 0 and uuid not in target.rows:
                    raise OvsdbError(
                        "referential integrity violation",
                        f"a {self._referrer(changed, name, uuid)} refers to row {uuid} of table {name}, which is not "
                        "there",
                    )
        for name, rows in changed.items():
            for uuid, (_, new) in rows.items():
                if new is None and (left := self.references(name, uuid)):
                    raise OvsdbError(
                        "referential integrity violation",
                        f"row {uuid} of table {name} cannot be deleted: {left} references to it are left",
                    )

    def references(self, table: str, uuid: str) -> int:
        """How often the row is strongly referred to now."""
        counts = self.strong.get(table)
        return self.tables[table].strong.get(uuid, 0) + (counts.get(uuid, 0) if counts else 0)

    def _referrer(self, changed: dict[str, dict[str, RowChange]], target: str, uuid: str) -> str:
        for name, rows in changed.items():
            for reference in self.tables[name].schema.strong:
                for referrer, (_, new) in rows.items():
                    if reference.table == target and new and uuid in reference.targets(new[reference.position]):
                        column = self.tables[name].schema.by_position[reference.position].name
                        return f"row {referrer} of table {name}, in column {column},"
        return "row"

    def collect_garbage(self, changed: dict[str, dict[str, RowChange]]) -> bool:
        """Rows outside of the root set to which no strong reference is left go. Whether there are such."""
        collected = 0
        candidates = [
            (name, uuid)
            for name, rows in changed.items()
            if not self.tables[name].schema.is_root
            for uuid, (_, new) in rows.items()
            if new is not None
        ]
        for name, counts in self.strong.items():
            if not self.tables[name].schema.is_root:
                candidates += [(name, uuid) for uuid, difference in counts.items() if difference < 0]
        while candidates:
            name, uuid = candidates.pop()
            table = self.tables[name]
            row = table.rows.get(uuid)
            if row is None or self.references(name, uuid):
                continue
            self.changes.put(table, uuid, None)
            collected += 1
            self.count(table, row, None)
            for reference in table.schema.strong:
                if not self.tables[reference.table].schema.is_root:
                    candidates += [(reference.table, each) for each in reference.targets(row[reference.position])]
        self.database.counters.rows_collected += collected
        return collected > 0

    # ---- weak references

    def drop_weak(self, changed: dict[str, dict[str, RowChange]]) -> bool:
        """Weak references to rows that are not there go. Whether there may be such."""
        suspects: dict[tuple[str, str], None] = {}
        for name, rows in changed.items():
            table = self.tables[name]
            for uuid, (_, new) in rows.items():
                if new is None:
                    suspects.update(dict.fromkeys(table.weak.get(uuid, ())))
                elif table.schema.weak:
                    suspects[name, uuid] = None
        for name, uuid in suspects:
            table = self.tables[name]
            row = table.rows.get(uuid)
            if row is not None:
                self._drop_from(table, uuid, row)
        return bool(suspects)

    def _drop_from(self, table: Table, uuid: str, row: Row) -> None:
        changed: list[Value] | None = None
        for reference in table.schema.weak:
            value = (changed or row)[reference.position]
            rows = self.tables[reference.table].rows
            if all(target in rows for target in reference.targets(value)):
                continue
            if reference.is_map:
                kept: Value = tuple(pair for pair in value if pair[reference.in_values] in rows)
            else:
                kept = tuple(target for target in value if target in rows)
            column = table.schema.by_position[reference.position]
            if len(kept) < column.type.low:
                raise constraint_violation(
                    f"column {column.name} of row {uuid} of table {table.schema.name} would lose its last weak "
                    "references to rows that are there, and must have one"
                )
            changed = changed or list(row)
            changed[reference.position] = kept
        if changed is not None:
            self.changes.put(table, uuid, tuple(changed))

    # ---- tables

    def check_sizes(self) -> None:
        for name in self.changes.before:
            table = self.tables[name]
            if len(table.rows) > table.schema.max_rows:
                raise constraint_violation(
                    f"table {name} would hold {len(table.rows)} rows, more than {table.schema.max_rows}"
                )

    def check_indexes(self, changed: dict[str, dict[str, RowChange]]) -> dict[str, Keys]:
        """OvsdbError: two rows are alike in the columns of an index. What is to become of the indexes: for each key
        the number of its index, whose it is, and whether it comes or goes."""
        found: dict[str, Keys] = {}
        for name, rows in changed.items():
            table = self.tables[name]
            keys: Keys = []
            for number, positions in enumerate(table.schema.indexes):
                self._check_index(table, number, positions, rows, keys)
            found[name] = keys
        return found

    def _check_index(
        self, table: Table, number: int, positions: tuple[int, ...], rows: dict[str, RowChange], keys: Keys
    ) -> None:
        index = table.indexes[number]
        coming: dict[tuple[Value, ...], str] = {}
        going: set[tuple[Value, ...]] = set()
        for uuid, (old, new) in rows.items():
            before = None if old is None else tuple(old[at] for at in positions)
            after = None if new is None else tuple(new[at] for at in positions)
            if before == after:
                continue
            if before is not None:
                going.add(before)
                keys.append((number, before, uuid, False))
            if after is not None:
                if after in coming:
                    raise self._duplicate(table, number, after, coming[after], uuid)
                coming[after] = uuid
        for key, uuid in coming.items():
            if key in index and key not in going:
                raise self._duplicate(table, number, key, index[key], uuid)
            keys.append((number, key, uuid, True))

    def _duplicate(self, table: Table, number: int, key: tuple[Value, ...], first: str, second: str) -> OvsdbError:
        return constraint_violation(
            f"rows {first} and {second} of table {table.schema.name} have the same in the index of "
            f"{', '.join(table.schema.index_names[number])}: {', '.join(str(value) for value in key)}"
        )


def _count_difference(counts: Counter[str], reference: Reference, before: Value, after: Value, own: str) -> None:
    """A row's reference to itself keeps nothing."""
    gone, come = difference(before, after)
    for uuid in reference.targets(come):
        if uuid != own:
            counts[uuid] += 1
    for uuid in reference.targets(gone):
        if uuid != own:
            counts[uuid] -= 1


def _move_weak(tables: dict[str, Table], table: Table, uuid: str, old: Row | None, new: Row | None) -> None:
    """Bring up to date who refers weakly to whom."""
    me = (table.schema.name, uuid)
    before = _weak_targets(table, old) if old is not None else set()
    after = _weak_targets(table, new) if new is not None else set()
    for name, target in before - after:
        referrers = tables[name].weak.get(target)
        if referrers is not None:
            referrers.discard(me)
            if not referrers:
                del tables[name].weak[target]
    for name, target in after - before:
        tables[name].weak.setdefault(target, set()).add(me)


def _weak_targets(table: Table, row: Row) -> set[tuple[str, str]]:
    return {
        (reference.table, target)
        for reference in table.schema.weak
        for target in reference.targets(row[reference.position])
    }


def settle(database: Database, changes: Changes) -> Settled | None:
    """Check, and complete, what a transaction has done; None if nothing has changed. OvsdbError: it may not be kept.
    `keep` is to follow, or `Changes.undo`."""
    settlement = _Settlement(database, changes)
    changed = settlement.changed()
    if not changed:
        return None
    settlement.check_strong(changed)
    has_changed = settlement.collect_garbage(changed)
    settlement.check_sizes()
    if has_changed:
        changed = settlement.changed()
    if settlement.drop_weak(changed):
        changed = settlement.changed()
    if not changed:
        return None  # what came has gone
    return Settled(changed, settlement.strong, settlement.check_indexes(changed))


def keep(database: Database, settled: Settled) -> None:
    """Bring counts of references and indexes up to date."""
    for name, counts in settled.strong.items():
        strong = database.tables[name].strong
        for uuid, more in counts.items():
            left = strong.get(uuid, 0) + more
            if left:
                strong[uuid] = left
            else:
                strong.pop(uuid, None)
    for name, rows in settled.tables.items():
        table = database.tables[name]
        if table.schema.weak:
            for uuid, (old, new) in rows.items():
                _move_weak(database.tables, table, uuid, old, new)
        keys = settled.keys[name]
        for number, key, _, comes in keys:
            if not comes:
                del table.indexes[number][key]
        for number, key, uuid, comes in keys:
            if comes:
                table.indexes[number][key] = uuid


def rebuild(database: Database) -> None:
    """Check all rows, as after they have been read, and count references and fill indexes anew. OvsdbError says what
    is wrong. Weak references to rows that are not there, and garbage, go."""
    changes = Changes(database)
    for table in database.tables.values():
        table.strong, table.weak = {}, {}
        table.indexes = [{} for _ in table.schema.indexes]
        changes.before[table.schema.name] = dict.fromkeys(table.rows)
    settled = settle(database, changes)
    if settled is not None:
        keep(database, settled)
