"""Values and schemas: from JSON and back, differences, what is refused."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from tests.ovsdb import SCHEMA, insert, make, run, select, uuid
from vswitch.ovsdb.convert import convert, needs_conversion
from vswitch.ovsdb.errors import OvsdbError
from vswitch.ovsdb.schema import DatabaseSchema, version_of
from vswitch.ovsdb.types import Type
from vswitch.ovsdb.values import apply_diff, diff, encode, parse

TABLE = DatabaseSchema.parse(SCHEMA).tables["R"]

GOOD = [
    ("name", "x", ("x",)),
    ("name", "", ("",)),
    ("i", 1.0, (1,)),
    ("i", -(1 << 63), (-(1 << 63),)),
    ("r", 3, (3.0,)),
    ("r", 1.5, (1.5,)),
    ("b", True, (True,)),
    ("u", ["uuid", "ABCDEF00-0000-4000-8000-000000000000"], ("abcdef00-0000-4000-8000-000000000000",)),
    ("oi", ["set", []], ()),
    ("oi", ["set", [3]], (3,)),
    ("si", ["set", [3, 1, 2]], (1, 2, 3)),
    ("e", "b", ("b",)),
    ("ss", ["set", ["é", "z", "a"]], ("a", "z", "é")),
    ("m", ["map", [["k", "v"], ["a", "b"]]], (("a", "b"), ("k", "v"))),
    ("short", "äöü", ("äöü",)),
]

BAD = [
    ("name", 1, "syntax error"),
    ("name", None, "syntax error"),
    ("i", 1.5, "syntax error"),
    ("i", True, "syntax error"),
    ("i", 1 << 63, "syntax error"),
    ("r", "1", "syntax error"),
    ("r", 10**400, "syntax error"),
    ("b", 1, "syntax error"),
    ("u", "x", "syntax error"),
    ("u", ["uuid", "x"], "syntax error"),
    ("u", ["named-uuid", "x"], "syntax error"),
    ("oi", 11, "constraint violation"),
    ("oi", 0, "constraint violation"),
    ("e", "z", "constraint violation"),
    ("short", "abcd", "constraint violation"),
    ("si", ["set", [1, 2, 3, 4]], "syntax error"),
    ("si", ["set", [1, 1]], "ovsdb error"),
    ("si", ["set", 1], "syntax error"),
    ("ss", ["set", []], "syntax error"),
    ("m", ["set", []], "syntax error"),
    ("m", ["map", [["a"]]], "syntax error"),
    ("m", ["map", [["a", "b"], ["a", "b"]]], "ovsdb error"),
]


@pytest.mark.parametrize(("column", "given", "value"), GOOD)
def test_value_is_read(column: str, given: Any, value: Any) -> None:
    assert parse(TABLE.columns[column].type, given) == value


@pytest.mark.parametrize(("column", "given", "error"), BAD)
def test_wrong_value_is_refused(column: str, given: Any, error: str) -> None:
    with pytest.raises(OvsdbError) as caught:
        parse(TABLE.columns[column].type, given)
    assert caught.value.name == error


WRITTEN = [
    ("oi", (), ["set", ()]),
    ("oi", (3,), 3),
    ("si", (1, 2), ["set", (1, 2)]),
    ("r", (2.0,), 2),
    ("r", (0.1,), 0.1),
    ("r", (1e300,), 1e300),
    ("wk", (uuid(1),), ["uuid", uuid(1)]),
    ("wk", (uuid(1), uuid(2)), ["set", [["uuid", uuid(1)], ["uuid", uuid(2)]]]),
    ("wm", (("a", uuid(1)),), ["map", [("a", ["uuid", uuid(1)])]]),
    ("m", (), ["map", ()]),
]


@pytest.mark.parametrize(("column", "value", "given"), WRITTEN)
def test_value_is_written(column: str, value: Any, given: Any) -> None:
    assert encode(TABLE.columns[column].type, value) == given


DIFFERENCES = [
    ("si", (1, 2), (2, 3), (1, 3)),
    ("si", (1, 2), (), (1, 2)),
    ("si", (), (5,), (5,)),
    ("oi", (1,), (2,), (2,)),
    ("oi", (1,), (), ()),
    ("m", (("a", "1"), ("b", "2")), (("a", "3"), ("c", "4")), (("a", "3"), ("b", "2"), ("c", "4"))),
]


@pytest.mark.parametrize(("column", "old", "new", "change"), DIFFERENCES)
def test_difference_is_as_update2_has_it(column: str, old: Any, new: Any, change: Any) -> None:
    kind = TABLE.columns[column].type
    assert diff(kind, old, new) == change
    assert apply_diff(kind, old, change) == new


def test_schema_is_written_as_it_was_read() -> None:
    assert DatabaseSchema.parse(SCHEMA).to_json()["tables"]["C"] == SCHEMA["tables"]["C"] | {  # type: ignore[index]
        "columns": SCHEMA["tables"]["C"]["columns"]
        | {"next": {"type": {"key": {"type": "uuid", "refTable": "C"}, "min": 0}}}
    }
    again = DatabaseSchema.parse(SCHEMA).to_json()
    assert DatabaseSchema.parse(again).to_json() == again


def changed(*path_and_value: Any) -> dict[str, Any]:
    """The schema with something else at a place in it."""
    *path, last, value = path_and_value
    schema = copy.deepcopy(SCHEMA)
    place: Any = schema
    for name in path:
        place = place[name]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return schema


COLUMN = ("tables", "L", "columns", "x")
WRONG_SCHEMAS: list[tuple[Any, ...]] = [
    ("name", None),
    ("name", "a-b"),
    ("tables", None),
    ("tables", "L", 5),
    ("tables", "_L", {"columns": {"x": {"type": "integer"}}}),
    ("version", "1.2"),
    ("more", 1),
    ("tables", "L", "columns", {}),
    ("tables", "L", "columns", "_x", {"type": "integer"}),
    ("tables", "L", "maxRows", 0),
    ("tables", "L", "indexes", [["y"]]),
    ("tables", "L", "indexes", [[]]),
    ("tables", "L", "isRoot", 1),
    ("tables", "R", "indexes", [["eph"]]),
    (*COLUMN, "type", "number"),
    (*COLUMN, "type", {"key": "integer", "min": 2}),
    (*COLUMN, "type", {"key": "integer", "max": 0}),
    (*COLUMN, "type", {"key": "integer", "max": "many"}),
    (*COLUMN, "type", {"min": 0}),
    (*COLUMN, "type", {"key": {"type": "integer", "minInteger": 3, "maxInteger": 2}}),
    (*COLUMN, "type", {"key": {"type": "integer", "minLength": 3}}),
    (*COLUMN, "type", {"key": {"type": "integer", "enum": ["set", []]}}),
    (*COLUMN, "type", {"key": {"type": "integer", "enum": ["set", ["a"]]}}),
    (*COLUMN, "type", {"key": {"type": "uuid", "refTable": "X"}}),
    (*COLUMN, "type", {"key": {"type": "uuid", "refTable": "C", "refType": "loose"}}),
]


@pytest.mark.parametrize("change", WRONG_SCHEMAS, ids=str)
def test_wrong_schema_is_refused(change: tuple[Any, ...]) -> None:
    with pytest.raises(OvsdbError):
        DatabaseSchema.parse(changed(*change))


def test_a_schema_without_a_root_set_has_all_tables_in_it() -> None:
    schema = {"name": "N", "tables": {"A": {"columns": {"x": {"type": "integer"}}}}}
    parsed = DatabaseSchema.parse(schema)
    assert parsed.tables["A"].is_root
    assert parsed.to_json()["tables"] == schema["tables"]


def test_types_are_written_short() -> None:
    for short in ("integer", {"key": "string", "min": 0}, {"key": "string", "value": "real", "max": 7}):
        assert Type.parse(short).to_json() == short


def test_versions_compare_by_number() -> None:
    assert version_of("8.10.0") > version_of("8.9.3") > version_of("")


def test_conversion_keeps_what_the_new_schema_has() -> None:
    database = make()
    run(database, insert("R", 1, name="a", i=5, m=["map", [["k", "v"]]]), insert("L", 2, x=7))
    schema = changed("tables", "L", None)
    schema["tables"]["R"]["columns"]["new"] = {"type": {"key": "integer", "min": 0}}
    schema["tables"]["R"]["columns"]["i"] = {"type": {"key": "integer", "min": 0, "max": 2}}
    assert needs_conversion(database.schema, DatabaseSchema.parse(schema))
    assert not needs_conversion(database.schema, DatabaseSchema.parse(SCHEMA | {"cksum": "1 2"}))
    new = convert(database, DatabaseSchema.parse(schema))
    assert run(new, select("R", columns=["name", "i", "m", "new"])) == [
        {"rows": [{"name": "a", "i": 5, "m": ["map", (("k", "v"),)], "new": ["set", ()]}]}
    ]
    assert "L" not in new.tables


def test_conversion_refuses_what_does_not_fit() -> None:
    database = make()
    run(database, insert("R", 1, name="long", i=5))
    narrow = changed("tables", "R", "columns", "name", "type", {"key": {"type": "string", "maxLength": 2}})
    for schema in (narrow, SCHEMA | {"name": "Other"}):
        with pytest.raises(OvsdbError):
            convert(database, DatabaseSchema.parse(schema))
    assert run(database, select("R", columns=["name"])) == [{"rows": [{"name": "long"}]}]
