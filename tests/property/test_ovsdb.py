"""The database against a naive one, and what must hold for all values, changes, files and conditions."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ovsdb import SCHEMA, counted, insert, make, run, uuid
from vswitch.ovsdb.database import Change, Database
from vswitch.ovsdb.integrity import rebuild
from vswitch.ovsdb.monitors import View, join
from vswitch.ovsdb.records import change_record, frame, records, replay, snapshot_record
from vswitch.ovsdb.schema import DatabaseSchema, Row
from vswitch.ovsdb.types import Type
from vswitch.ovsdb.values import apply_diff, diff, difference, encode, parse
from vswitch.ovsdb.values import insert as insert_elements

TABLES = DatabaseSchema.parse(SCHEMA)
TEXT = st.text('aé😀\\"', max_size=4)
REALS = st.floats(allow_nan=False, allow_infinity=False)
INTEGERS = st.integers(-(1 << 63), (1 << 63) - 1)
UUIDS = st.integers(0, 30).map(uuid)
ATOMS: dict[str, st.SearchStrategy[Any]] = {
    "string": TEXT,
    "real": REALS,
    "integer": INTEGERS,
    "uuid": UUIDS,
    "boolean": st.booleans(),
}


@st.composite
def typed(draw: st.DrawFn, count: int = 1) -> tuple[Type, list[Any]]:
    """A type, and values of it."""
    key, value = draw(st.sampled_from(sorted(ATOMS))), draw(st.sampled_from([None, *sorted(ATOMS)]))
    high: Any = draw(st.sampled_from([1, 2, "unlimited"]))
    kind = Type.parse({"key": key, "min": 0, "max": high} | ({} if value is None else {"value": value}))
    most = 40 if high == "unlimited" else high
    values: list[Any] = []
    for _ in range(count):
        keys = draw(st.lists(ATOMS[key], max_size=most, unique=True))
        values.append(tuple(sorted(keys)))
        if value is not None:
            values[-1] = tuple((each, draw(ATOMS[value])) for each in values[-1])
    return kind, values


@given(typed())
def test_values_survive_json(given_: tuple[Type, list[Any]]) -> None:
    kind, (value,) = given_
    (found,) = [each for each, _ in records(frame({"x": encode(kind, value)}))]
    assert isinstance(found, dict)
    assert parse(kind, found["x"]) == value


@given(typed(2))
def test_differences_lead_from_the_old_to_the_new(given_: tuple[Type, list[Any]]) -> None:
    kind, (old, new) = given_
    assert apply_diff(kind, old, diff(kind, old, new)) == new
    gone, come = difference(old, new)
    assert set(gone) == set(old) - set(new)
    assert set(come) == set(new) - set(old)
    kept = tuple(each for each in old if each not in set(new))
    assert insert_elements(kept, tuple(each for each in new if each not in set(kept))) == tuple(sorted({*kept, *new}))


# ---- transactions


class Naive:
    """The same rules, by looking at everything: rows as dictionaries, references counted anew each time."""

    def __init__(self) -> None:
        self.tables: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in SCHEMA["tables"]}

    def commit(self) -> bool:
        """Complete what was done; whether it may be kept."""
        rows = self.tables
        strong = {("R", "kids"), ("C", "next")}
        for table, column in strong:
            for row in rows[table].values():
                if any(target not in rows["C"] for target in row[column]):
                    return False
        while True:
            kept = {
                target
                for table, column in strong
                for identity, row in rows[table].items()
                for target in row[column]
                if target != identity
            }
            garbage = set(rows["C"]) - kept
            if not garbage:
                break
            for each in garbage:
                del rows["C"][each]
        for row in rows["R"].values():
            row["wk"] = tuple(target for target in row["wk"] if target in rows["C"])
        for row in rows["W"].values():
            row["w"] = tuple(target for target in row["w"] if target in rows["C"])
            if not row["w"]:
                return False
        names = [row["name"] for row in rows["R"].values()]
        keys = [(row["name"], row["n"]) for row in rows["C"].values()]
        return len(rows["L"]) <= 2 and len(set(names)) == len(names) and len(set(keys)) == len(keys)


SMALL = st.integers(0, 5)
CHILDREN = st.lists(st.integers(10, 14).map(uuid), max_size=3, unique=True).map(lambda each: tuple(sorted(each)))
ONE = st.integers(0, 2).map(str)
STEPS = st.one_of(
    st.tuples(st.just("R"), SMALL, st.fixed_dictionaries({"name": ONE, "kids": CHILDREN, "wk": CHILDREN})),
    st.tuples(
        st.just("C"),
        st.integers(10, 14),
        st.fixed_dictionaries({"name": ONE, "n": st.integers(0, 1), "next": CHILDREN.map(lambda each: each[:1])}),
    ),
    st.tuples(st.just("W"), SMALL, st.fixed_dictionaries({"w": CHILDREN.filter(bool).map(lambda each: each[:2])})),
    st.tuples(st.just("L"), SMALL, st.fixed_dictionaries({"x": SMALL})),
    st.tuples(st.sampled_from("RWL"), SMALL, st.none()),
)
TRANSACTIONS = st.lists(st.lists(STEPS, min_size=1, max_size=5), max_size=12)


def operation(
    database: Database, table: str, number: int, row: dict[str, Any] | None, *, naive: Naive
) -> dict[str, Any]:
    """A step as an operation, done to the naive database, too."""
    rows, where = naive.tables[table], [["_uuid", "==", ["uuid", uuid(number)]]]
    if row is None:
        rows.pop(uuid(number), None)
        return {"op": "delete", "table": table, "where": where}
    columns = database.schema.tables[table].columns
    values = {name: value if isinstance(value, tuple) else (value,) for name, value in row.items()}
    written = {name: encode(columns[name].type, value) for name, value in values.items()}
    if uuid(number) in rows:
        rows[uuid(number)].update(row)
        return {"op": "update", "table": table, "where": where, "row": written}
    rows[uuid(number)] = {"wk": (), "kids": (), "next": (), **row}
    return insert(table, number, **written)


def plain(database: Database) -> dict[str, dict[str, dict[str, Any]]]:
    """Its rows as the naive database has them."""
    wanted = {"R": ("name", "kids", "wk"), "C": ("name", "n", "next"), "W": ("w",), "L": ("x",), "E": ()}
    many = {"kids", "wk", "next", "w"}
    return {
        table: {
            identity: {
                name: value if name in many else value[0]
                for name in wanted[table]
                for value in [row[database.schema.tables[table].columns[name].position]]
            }
            for identity, row in found.rows.items()
        }
        for table, found in database.tables.items()
    }


def state(database: Database) -> Any:
    """All that it keeps, with what follows from the rows."""
    return {name: (table.rows, table.strong, table.weak, table.indexes) for name, table in database.tables.items()}


@given(TRANSACTIONS)
def test_database_does_what_the_naive_one_does(transactions: list[list[Any]]) -> None:
    database, naive = make(), Naive()
    for steps in transactions:
        before = plain(database)
        touched = set()
        operations = []
        for table, number, row in steps:
            # A row that goes and comes in one transaction is refused.
            if (table, number) in touched and uuid(number) not in naive.tables[table]:
                continue
            touched.add((table, number))
            operations.append(operation(database, table, number, row, naive=naive))
        results = run(database, *operations)
        is_kept = len(results) == len(operations)
        assert is_kept == naive.commit()
        if not is_kept:
            naive.tables = {name: {key: dict(row) for key, row in rows.items()} for name, rows in before.items()}
        wanted = {
            table: {key: {name: row[name] for name in row if name in _columns(table)} for key, row in rows.items()}
            for table, rows in naive.tables.items()
        }
        assert plain(database) == wanted
        kept = state(database)
        rebuild(database)
        assert state(database) == kept


def _columns(table: str) -> set[str]:
    return set(SCHEMA["tables"][table]["columns"]) & {"name", "kids", "wk", "n", "next", "w", "x"}


def history(transactions: list[list[Any]]) -> tuple[Database, list[Change], list[dict[str, list[Row]]]]:
    """A database after these, what they changed, and all rows after each."""
    database, naive = make(), Naive()
    changes: list[Change] = []
    snapshots = [database.snapshot()]

    def listener(change: Change) -> None:
        changes.append(change)
        snapshots.append(database.snapshot())

    database.listeners.append(listener)
    for steps in transactions:
        naive.tables = {name: {key: {} for key in table.rows} for name, table in database.tables.items()}
        run(database, *(operation(database, *step, naive=naive) for step in steps))
    return database, changes, snapshots


@settings(max_examples=50)
@given(TRANSACTIONS)
def test_files_hold_what_was_committed(transactions: list[list[Any]]) -> None:
    database, changes, _ = history(transactions)
    whole, short = Database(TABLES, counted(1 << 24)), Database(TABLES, counted(1 << 24))
    for change in changes:
        record = change_record(TABLES, change, 0)
        assert record is not None
        for found, _ in records(frame(record)):
            replay(whole, found)
    for found, _ in records(frame(snapshot_record(TABLES, database.snapshot(), 0, ""))):
        replay(short, found)
    rebuild(whole)
    rebuild(short)
    assert plain(whole) == plain(short) == plain(database)


# ---- monitors

CONDITIONS = st.fixed_dictionaries(
    {},
    optional={
        "R": st.lists(
            st.one_of(
                st.booleans(),
                st.tuples(st.just("name"), st.sampled_from(["==", "!="]), ONE).map(list),
                st.tuples(
                    st.just("kids"), st.just("includes"), st.integers(10, 14).map(lambda each: ["uuid", uuid(each)])
                ).map(list),
            ),
            max_size=2,
        )
    },
)
COLUMNS = {"R": ["name", "kids", "wk"], "C": ["name", "n"], "L": ["x"]}


def request(conditions: dict[str, Any]) -> dict[str, Any]:
    return {
        table: {"columns": columns} | ({"where": conditions[table]} if table in conditions else {})
        for table, columns in COLUMNS.items()
    }


def follow(told: dict[str, Any], rows: dict[Any, Any]) -> None:
    """A client of update2."""
    for table, of_table in told.items():
        for identity, what in of_table.items():
            ((kind, row),) = what.items()
            key = (table, identity)
            columns = {name: TABLES.tables[table].columns[name].type for name in COLUMNS[table]}
            if kind == "delete":
                del rows[key]
            elif kind == "modify":
                assert row
                for name, value in row.items():
                    change = parse(columns[name], value)
                    rows[key][name] = apply_diff(columns[name], rows[key][name], change)
            else:
                assert key not in rows
                rows[key] = {
                    name: parse(type_, row[name]) if name in row else type_.default for name, type_ in columns.items()
                }


def seen(view: View, database: Database) -> dict[Any, Any]:
    rows: dict[Any, Any] = {}
    follow(view.initial(database), rows)
    return rows


@settings(max_examples=60)
@given(TRANSACTIONS, CONDITIONS, st.integers(0, 5))
def test_a_client_that_is_told_has_the_rows(
    transactions: list[list[Any]], conditions: dict[str, Any], joined: int
) -> None:
    database = make()
    view = View.parse(TABLES, 2, request(conditions))
    rows: dict[Any, Any] = {}
    pending: list[Any] = []

    def listener(change: Change) -> None:
        pending.append(change.tables)
        if len(pending) > joined:
            follow(view.update(join(pending)), rows)
            pending.clear()
            assert rows == seen(view, database)

    database.listeners.append(listener)
    naive = Naive()
    for steps in transactions:
        naive.tables = {name: {key: {} for key in table.rows} for name, table in database.tables.items()}
        run(database, *(operation(database, *step, naive=naive) for step in steps))


@settings(max_examples=60)
@given(TRANSACTIONS, CONDITIONS, CONDITIONS)
def test_conditions_that_change_tell_the_difference(
    transactions: list[list[Any]], first: dict[str, Any], second: dict[str, Any]
) -> None:
    database, _, _ = history(transactions)
    view = View.parse(TABLES, 2, request(first))
    rows = seen(view, database)
    other = view.with_conditions({table: [{"where": where}] for table, where in second.items()})
    follow(view.turn_into(other, database), rows)
    assert rows == seen(other, database)
