"""Transactions: each operation, each error by its name, and what must hold of the whole in the end."""

from __future__ import annotations

from typing import Any

import pytest

from tests.ovsdb import insert, make, run, select, uuid
from vswitch.ovsdb.database import MAX_HISTORY, Change, Database
from vswitch.ovsdb.transaction import MAX_OPERATIONS, execute

SYNTAX, CONSTRAINT, INTEGRITY = "syntax error", "constraint violation", "referential integrity violation"
HERE = [["name", "==", "q"]]


def ref(number: int) -> list[str]:
    return ["uuid", uuid(number)]


def refs(*numbers: int) -> list[Any]:
    return ["set", [ref(number) for number in numbers]]


def named(name: str) -> list[str]:
    return ["named-uuid", name]


def update(table: str, where: list[Any], **row: Any) -> dict[str, Any]:
    return {"op": "update", "table": table, "where": where, "row": row}


def mutate(*mutations: Any, where: Any = HERE) -> dict[str, Any]:
    return {"op": "mutate", "table": "R", "where": where, "mutations": list(mutations)}


def delete(table: str, *where: Any) -> dict[str, Any]:
    return {"op": "delete", "table": table, "where": list(where)}


@pytest.fixture
def database() -> Database:
    found = make()
    row = {"i": 5, "oi": 3, "si": ["set", [1, 2, 3]], "m": ["map", [["a", "b"], ["k", "v"]]], "ss": ["set", ["a", "z"]]}
    run(found, insert("R", 1, name="q", **row), insert("R", 2, name="other"))
    return found


REFUSED = [
    (5, SYNTAX),
    ({"op": "bad"}, SYNTAX),
    ({"table": "R"}, SYNTAX),
    ({"op": ["insert"]}, SYNTAX),
    (insert("X"), SYNTAX),
    ({"op": "insert", "table": "R"}, SYNTAX),
    (insert("R", name="n") | {"foo": 1}, SYNTAX),
    (insert("R", zz=1), "unknown column"),
    (insert("R", name=1), SYNTAX),
    (insert("E"), CONSTRAINT),
    (insert("R", name="n") | {"uuid": "12"}, SYNTAX),
    (insert("R", name="n") | {"uuid": ref(9)}, SYNTAX),
    (insert("R", 1, name="n"), "duplicate uuid"),
    (insert("R", name="n") | {"uuid-name": "a-b"}, SYNTAX),
    (insert("R", name="n") | {"uuid-name": "9"}, SYNTAX),
    (select("R") | {"where": True}, SYNTAX),
    (select("R", columns=["name", "name"]), SYNTAX),
    (select("R", columns=["q"]), SYNTAX),
    (select("R") | {"columns": "name"}, SYNTAX),
    (select("R", ["i", "="]), SYNTAX),
    (select("R", ["i", "=", 1]), "unknown function"),
    (select("R", ["zz", "==", 1]), "unknown column"),
    (select("R", ["si", "<", 3]), SYNTAX),
    (select("R", ["name", ">", "a"]), SYNTAX),
    (select("R", ["i", "<", 4.5]), SYNTAX),
    (select("R", ["oi", "==", 11]), CONSTRAINT),
    (select("R", ["oi", "<", ["set", []]]), SYNTAX),
    (select("R", ["oi", "includes", ["set", [1, 2]]]), SYNTAX),
    (select("R", ["i", "excludes", ["set", [5, 6]]]), SYNTAX),
    (update("R", HERE, imm=""), CONSTRAINT),
    (update("R", HERE, _uuid=ref(9)), CONSTRAINT),
    (update("R", HERE, zz=1), "unknown column"),
    (update("R", HERE, ss=["set", []]), SYNTAX),
    ({"op": "update", "table": "R", "row": {}}, SYNTAX),
    (mutate(["i", "+="]), SYNTAX),
    (mutate(["i", "foo", 1]), "unknown mutator"),
    (mutate(["zz", "+=", 1]), "unknown column"),
    (mutate(["imm", "insert", "x"]), CONSTRAINT),
    (mutate(["i", "/=", 0]), "domain error"),
    (mutate(["si", "%=", 0]), "domain error"),
    (mutate(["r", "%=", 2]), SYNTAX),
    (mutate(["i", "+=", (1 << 63) - 1]), "range error"),
    (mutate(["r", "+=", 1e308], ["r", "*=", 10]), "range error"),
    (mutate(["si", "*=", 0]), CONSTRAINT),
    (mutate(["oi", "+=", 10]), CONSTRAINT),
    (mutate(["si", "insert", 4]), CONSTRAINT),
    (mutate(["oi", "insert", 4]), CONSTRAINT),
    (mutate(["ss", "delete", ["set", ["a", "z"]]]), CONSTRAINT),
    (mutate(["i", "insert", 4]), SYNTAX),
    (mutate(["m", "+=", 1]), SYNTAX),
    (mutate(["name", "insert", "x"]), SYNTAX),
    (mutate("x"), SYNTAX),
    ({"op": "abort"}, "aborted"),
    ({"op": "comment", "comment": 1}, SYNTAX),
    ({"op": "commit"}, SYNTAX),
    ({"op": "assert", "lock": "x"}, "not owner"),
    ({"op": "assert", "lock": "1 x"}, SYNTAX),
]


@pytest.mark.parametrize(("operation", "error"), REFUSED, ids=str)
def test_refused_operation_undoes_those_before_it(database: Database, operation: Any, error: str) -> None:
    before = database.snapshot()
    results = run(database, insert("R", 7, name="new"), mutate(["i", "+=", 1]), operation, {"op": "abort"})
    assert results == [{"uuid": ("uuid", uuid(7))}, {"count": 1}, error, None]
    assert database.snapshot() == before
    assert database.counters.aborted == 1


WHERE = [
    ([], True),
    ([True], True),
    ([False], False),
    ([["oi", "<", 4]], True),
    ([["oi", ">=", 4]], False),
    ([["oi", "==", ["set", []]]], False),
    ([["oi", "excludes", ["set", [1, 2]]]], True),
    ([["si", "includes", ["set", [1, 2]]]], True),
    ([["si", "includes", ["set", [1, 4]]]], False),
    ([["si", "includes", ["set", []]]], True),
    ([["si", "excludes", ["set", [1, 2, 3, 4, 5]]]], False),
    ([["si", "excludes", ["set", [4, 5]]]], True),
    ([["m", "includes", ["map", [["k", "v"]]]]], True),
    ([["m", "includes", ["map", [["k", "w"]]]]], False),
    ([["m", "excludes", ["map", [["k", "w"]]]]], True),
    ([["m", "!=", ["map", [["a", "b"], ["k", "v"]]]]], False),
    ([["i", "includes", 5]], True),
    ([["i", "excludes", 5]], False),
    ([["r", "<", 4]], True),
    ([["_uuid", "==", ref(1)]], True),
    ([["_uuid", "==", ref(2)]], False),
    ([["_uuid", "==", ref(1)], ["i", "==", 6]], False),
    ([["name", "==", "other"]], False),
    ([["i", "==", 5], ["i", "==", 6]], False),
    ([["u", "==", named("nobody")]], False),
]


@pytest.mark.parametrize(("where", "is_found"), WHERE, ids=str)
def test_condition(database: Database, where: list[Any], is_found: bool) -> None:
    found = run(database, select("R", *HERE, *where, columns=["name"]))
    assert found == [{"rows": [{"name": "q"}] if is_found else []}]


MUTATIONS = [
    (["i", "+=", 1], "i", 6),
    (["i", "-=", 6], "i", -1),
    (["i", "*=", -3], "i", -15),
    (["i", "/=", -2], "i", -2),
    (["i", "%=", -2], "i", 1),
    (["r", "+=", 1], "r", 1),
    (["si", "+=", 1], "si", ["set", (2, 3, 4)]),
    (["si", "+=", ["set", [1]]], "si", ["set", (2, 3, 4)]),
    (["oi", "*=", 2], "oi", 6),
    (["si", "insert", ["set", [1, 2]]], "si", ["set", (1, 2, 3)]),
    (["si", "delete", ["set", [1, 2, 9]]], "si", 3),
    (["oi", "delete", 3], "oi", ["set", ()]),
    (["e", "insert", "a"], "e", "a"),
    (["m", "insert", ["map", [["k", "new"], ["n", "1"]]]], "m", ["map", (("a", "b"), ("k", "v"), ("n", "1"))]),
    (["m", "delete", ["map", [["k", "new"]]]], "m", ["map", (("a", "b"), ("k", "v"))]),
    (["m", "delete", ["map", [["k", "v"]]]], "m", ["map", (("a", "b"),)]),
    (["m", "delete", ["set", ["k", "n"]]], "m", ["map", (("a", "b"),)]),
    (["m", "delete", "a"], "m", ["map", (("k", "v"),)]),
]


@pytest.mark.parametrize(("mutation", "column", "value"), MUTATIONS, ids=str)
def test_mutation(database: Database, mutation: Any, column: str, value: Any) -> None:
    assert run(database, mutate(mutation), select("R", *HERE, columns=[column])) == [
        {"count": 1},
        {"rows": [{column: value}]},
    ]


def test_a_mutation_of_no_row_cannot_fail_but_for_what_it_says(database: Database) -> None:
    nobody = [["name", "==", "nobody"]]
    assert run(database, mutate(["i", "/=", 0], where=nobody)) == [{"count": 0}]
    assert run(database, mutate(["i", "insert", 1], where=nobody)) == [SYNTAX]


def test_select_tells_equal_rows_once(database: Database) -> None:
    run(database, insert("L", x=1), insert("L", x=1))
    assert run(database, select("L", columns=["x"])) == [{"rows": [{"x": 1}]}]
    assert run(database, select("L", columns=[])) == [{"rows": [{}]}]
    assert len(run(database, select("L", columns=["_uuid"]))[0]["rows"]) == 2


def test_select_has_all_columns_if_none_is_named(database: Database) -> None:
    (row,) = run(database, select("R", *HERE))[0]["rows"]
    assert set(row) == set(database.schema.tables["R"].columns)


def test_a_row_has_another_version_just_if_it_has_changed(database: Database) -> None:
    version = select("R", *HERE, columns=["_version"])
    (first,) = run(database, version)
    run(database, update("R", HERE, i=5))
    assert run(database, version) == [first]
    run(database, update("R", HERE, i=6))
    assert run(database, version) != [first]


def test_what_changes_nothing_is_no_transaction(database: Database) -> None:
    seen: list[Change] = []
    database.listeners.append(seen.append)
    run(database, update("R", HERE, i=5), insert("L", 3), delete("L"))
    assert not seen
    run(database, update("R", HERE, i=6), {"op": "comment", "comment": "a"}, {"op": "comment", "comment": "b"})
    (change,) = seen
    assert {name: list(rows) for name, rows in change.tables.items()} == {"R": [uuid(1)]}
    assert change.comment == "a\nb"
    assert change.identity == database.identity


# ---- names


def test_a_name_may_be_used_before_its_row_is_inserted() -> None:
    database = make()
    run(database, insert("R", 1, name="p", kids=named("c")), insert("C", None, "c", name="c"))
    assert rows(database, "R", "kids") == [(["uuid", each[0][1]],) for each in rows(database, "C", "_uuid")]


def test_a_name_stands_for_one_row() -> None:
    database = make()
    two = [insert("R", name=name) | {"uuid-name": "a"} for name in ("x", "y")]
    assert run(database, *two)[1:] == ["duplicate uuid-name"]


def test_a_name_of_no_row_is_of_a_row_that_is_not_there() -> None:
    assert run(make(), insert("R", 1, name="x", kids=named("c")))[1:] == [INTEGRITY]


def test_names_of_rows_and_of_named_rows_with_uuids_are_the_same() -> None:
    database = make()
    run(database, insert("C", 2, "c", name="c"), insert("R", 1, name="x", kids=named("c")))
    assert run(database, select("R", columns=["kids"])) == [{"rows": [{"kids": ["uuid", uuid(2)]}]}]


# ---- references


def rows(database: Database, table: str, *columns: str) -> list[Any]:
    found = run(database, select(table, columns=list(columns)))[0]["rows"]
    return sorted((tuple(row[column] for column in columns) for row in found), key=str)


@pytest.fixture
def family() -> Database:
    """Row 1 keeps the children 11 and 12, of which 12 keeps 13; 2 and W refer weakly to the first two."""
    database = make()
    results = run(
        database,
        insert("C", 13, name="c13"),
        insert("C", 12, name="c12", next=ref(13)),
        insert("C", 11, name="c11"),
        insert("R", 1, name="r1", kids=refs(11, 12)),
        insert("R", 2, name="r2", wk=refs(11, 12), wm=["map", [["x", ref(11)], ["y", ref(12)]]]),
        insert("W", 3, w=refs(11, 12)),
    )
    assert len(results) == 6
    return database


def test_rows_that_nobody_refers_to_go(family: Database) -> None:
    assert run(family, mutate(["kids", "delete", ref(12)], where=[["name", "==", "r1"]])) == [{"count": 1}]
    assert rows(family, "C", "name") == [("c11",)]
    assert family.counters.rows_collected == 2


def test_weak_references_go_with_their_rows(family: Database) -> None:
    run(family, mutate(["kids", "delete", ref(12)], where=[["name", "==", "r1"]]))
    assert rows(family, "R", "name", "wk", "wm")[1] == ("r2", ["uuid", uuid(11)], ["map", [("x", ["uuid", uuid(11)])]])
    assert rows(family, "W", "w") == [(["uuid", uuid(11)],)]


def test_a_weak_reference_that_must_be_there_keeps_its_row(family: Database) -> None:
    assert run(family, delete("R", ["name", "==", "r1"])) == [{"count": 1}, CONSTRAINT]
    assert len(rows(family, "C", "name")) == 3
    assert run(family, delete("W"), delete("R", ["name", "==", "r1"])) == [{"count": 1}, {"count": 1}]
    assert rows(family, "C", "name") == []
    assert rows(family, "R", "wk", "wm") == [(["set", []], ["map", []])]


def test_weak_references_of_a_row_that_changes_itself_go_too(family: Database) -> None:
    where = [["name", "==", "r1"]]
    run(family, update("R", where, wk=refs(11)))
    run(family, update("R", where, kids=refs(12)))
    assert rows(family, "R", "name", "wk")[0] == ("r1", ["set", []])


def test_a_weak_reference_to_no_row_goes_at_once() -> None:
    database = make()
    run(database, insert("R", 1, name="x", wk=ref(99)))
    assert rows(database, "R", "wk") == [(["set", []],)]
    assert run(database, insert("W", w=ref(99)))[1:] == [CONSTRAINT]


def test_a_row_that_is_referred_to_cannot_be_deleted(family: Database) -> None:
    assert run(family, delete("C", ["name", "==", "c11"])) == [{"count": 1}, INTEGRITY]
    where = [["name", "==", "r1"]]
    assert run(family, delete("C", ["name", "==", "c11"]), update("R", where, kids=ref(12))) == [{"count": 1}] * 2


def test_a_reference_to_no_row_is_refused(family: Database) -> None:
    assert run(family, update("R", [], kids=ref(99))) == [{"count": 2}, INTEGRITY]
    assert len(rows(family, "C", "name")) == 3


def test_a_row_does_not_keep_itself_but_two_keep_each_other() -> None:
    database = make()
    run(database, insert("C", 1, "a", name="self", next=named("a")))
    assert rows(database, "C", "name") == []
    run(database, insert("C", 1, name="a", next=ref(2)), insert("C", 2, name="b", next=ref(1)))
    assert rows(database, "C", "name") == [("a",), ("b",)]


def test_a_chain_of_any_length_goes_at_once() -> None:
    database = make()
    chain = [insert("C", number, name="c", n=number, next=ref(number + 1)) for number in range(10, 3000)]
    run(database, *chain, insert("C", 3000, name="end"), insert("R", 1, name="r", kids=ref(10)))
    assert len(rows(database, "C", "_uuid")) == 2991
    run(database, update("R", [], kids=["set", []]))
    assert rows(database, "C", "_uuid") == []


# ---- tables


def test_a_table_has_no_more_rows_than_it_may(database: Database) -> None:
    three = [insert("L", x=number) for number in range(3)]
    assert run(database, *three)[3:] == [CONSTRAINT]
    assert len(run(database, *three[:2])) == 2
    assert run(database, insert("L", x=3))[1:] == [CONSTRAINT]
    assert len(run(database, insert("L", x=3), delete("L", ["x", "==", 0]))) == 2


def test_indexes_are_unique_in_the_end(database: Database) -> None:
    def rename(old: str, new: str) -> dict[str, Any]:
        return update("R", [["name", "==", old]], name=new)

    assert run(database, insert("R", name="q"))[1:] == [CONSTRAINT]
    assert run(database, rename("q", "other")) == [{"count": 1}, CONSTRAINT]
    assert run(database, update("R", [], name="same")) == [{"count": 2}, CONSTRAINT]
    assert run(database, rename("q", "x"), rename("other", "q"), rename("x", "other")) == [{"count": 1}] * 3
    assert rows(database, "R", "name", "_uuid") == [("other", ["uuid", uuid(1)]), ("q", ["uuid", uuid(2)])]
    assert len(run(database, delete("R", ["name", "==", "q"]), insert("R", 9, name="q"))) == 2


def test_an_index_may_have_two_columns() -> None:
    database = make()
    two = [insert("C", number, name="c", n=number) for number in (1, 2)]
    keep = insert("R", 3, name="r", kids=refs(1, 2))
    assert len(run(database, *two, keep)) == 3
    assert run(database, update("C", [], n=1)) == [{"count": 2}, CONSTRAINT]


def test_what_is_found_by_an_index_is_what_a_transaction_sees(database: Database) -> None:
    found = select("R", ["name", "==", "new"], columns=["i"])
    assert run(database, insert("R", 5, name="new", i=1), found, update("R", HERE, name="x"), select("R", *HERE)) == [
        {"uuid": ("uuid", uuid(5))},
        {"rows": [{"i": 1}]},
        {"count": 1},
        {"rows": []},
    ]


# ---- waiting


def wait(*given: Any, until: str = "==", timeout: Any = 0, columns: Any = ("name",)) -> dict[str, Any]:
    found = {"op": "wait", "table": "R", "where": HERE, "columns": list(columns), "until": until, "rows": list(given)}
    return found | ({} if timeout is None else {"timeout": timeout})


WAITS = [
    (wait({"name": "q"}), {}),
    (wait({"name": "x"}), "timed out"),
    (wait(), "timed out"),
    (wait({"name": "q"}, until="!="), "timed out"),
    (wait({"name": "x"}, until="!="), {}),
    (wait({"name": "q", "i": 0}), {}),
    (wait({"name": "q"}, columns=["name", "i"]), "timed out"),
    (wait({"name": "q"}, {"name": "q"}), {}),
    (wait({"name": "q"}, until="="), SYNTAX),
    (wait(5), SYNTAX),
    (wait({"zz": 5}), "unknown column"),
    (wait(timeout="x"), SYNTAX),
    (wait(timeout=-1), SYNTAX),
    (wait(timeout=0.5), SYNTAX),
]


@pytest.mark.parametrize(("operation", "result"), WAITS, ids=str)
def test_wait(database: Database, operation: Any, result: Any) -> None:
    assert run(database, operation) == [result]


def test_a_wait_undoes_what_was_done_before_it(database: Database) -> None:
    before = database.snapshot()
    for timeout in (None, 100):
        outcome = execute(database, [insert("R", 7, name="new"), wait({"name": "x"}, timeout=timeout)])
        assert (outcome.results, outcome.timeout_ms) == (None, timeout)
        assert database.snapshot() == before
    assert run(database, wait({"name": "x"}, timeout=100), waited_ms=100) == ["timed out"]


# ---- the rest


def test_a_lock_is_asserted(database: Database) -> None:
    assert run(database, {"op": "assert", "lock": "mine"}, owns={"mine"}.__contains__) == [{}]


def test_what_only_reads_may_not_write(database: Database) -> None:
    assert run(database, select("R", *HERE, columns=["i"]), delete("L"), is_read_only=True) == [
        {"rows": [{"i": 5}]},
        "not allowed",
    ]


def test_operations_have_a_bound(database: Database) -> None:
    many = [{"op": "comment", "comment": ""}] * (MAX_OPERATIONS + 1)
    assert run(database, *many)[0] == "resources exhausted"


def test_transactions_of_late_are_remembered_and_no_more() -> None:
    database = make()
    identities = [database.identity]
    for number in range(MAX_HISTORY + 5):
        run(database, *[insert("L", 1)] * (number == 0), update("L", [], x=number + 1))
        identities.append(database.identity)
    assert database.since(identities[0]) is None
    assert database.since("nonsense") is None
    assert list(database.since(identities[-1]) or [0]) == []
    since = database.since(identities[-4])
    assert since is not None
    assert [change.identity for change in since] == identities[-3:]
    assert database.counters.history_dropped == 5
