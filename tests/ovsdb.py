"""What tests of the database share: a schema with every kind of column, and a database whose UUIDs are counted."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from vswitch.ovsdb.database import Database
from vswitch.ovsdb.schema import DatabaseSchema
from vswitch.ovsdb.transaction import Outcome, execute

__all__ = ["SCHEMA", "counted", "insert", "make", "run", "select", "uuid"]

MANY = {"min": 0, "max": "unlimited"}
OPTIONAL = {"min": 0, "max": 1}

SCHEMA: dict[str, Any] = {
    "name": "T",
    "version": "1.2.3",
    "tables": {
        "R": {
            "columns": {
                "name": {"type": "string"},
                "i": {"type": "integer"},
                "r": {"type": "real"},
                "b": {"type": "boolean"},
                "u": {"type": "uuid"},
                "oi": {"type": {"key": {"type": "integer", "minInteger": 1, "maxInteger": 10}, **OPTIONAL}},
                "e": {"type": {"key": {"type": "string", "enum": ["set", ["a", "b", "c"]]}, **OPTIONAL}},
                "si": {"type": {"key": "integer", "min": 0, "max": 3}},
                "ss": {"type": {"key": "string", "min": 1, "max": "unlimited"}},
                "m": {"type": {"key": "string", "value": "string", **MANY}},
                "mi": {"type": {"key": "string", "value": "integer", **MANY}},
                "imm": {"type": "string", "mutable": False},
                "eph": {"type": "string", "ephemeral": True},
                "short": {"type": {"key": {"type": "string", "maxLength": 3}}},
                "kids": {"type": {"key": {"type": "uuid", "refTable": "C"}, **MANY}},
                "wk": {"type": {"key": {"type": "uuid", "refTable": "C", "refType": "weak"}, **MANY}},
                "wm": {
                    "type": {
                        "key": "string",
                        "value": {"type": "uuid", "refTable": "C", "refType": "weak"},
                        **MANY,
                    }
                },
            },
            "indexes": [["name"]],
            "isRoot": True,
        },
        "C": {
            "columns": {
                "name": {"type": "string"},
                "n": {"type": "integer"},
                "next": {"type": {"key": {"type": "uuid", "refTable": "C"}, **OPTIONAL}},
            },
            "indexes": [["name", "n"]],
        },
        "W": {
            "columns": {
                "w": {"type": {"key": {"type": "uuid", "refTable": "C", "refType": "weak"}, "min": 1, "max": 2}},
            },
            "isRoot": True,
        },
        "L": {"columns": {"x": {"type": "integer"}}, "maxRows": 2, "isRoot": True},
        "E": {"columns": {"e": {"type": {"key": {"type": "string", "enum": ["set", ["a", "b"]]}}}}, "isRoot": True},
    },
}


def uuid(number: int) -> str:
    return f"{number:08x}-0000-4000-8000-000000000000"


def counted(start: int = 1 << 20) -> Callable[[], str]:
    """Makes UUIDs, one after the other."""
    numbers = itertools.count(start)
    return lambda: uuid(next(numbers))


def make(start: int = 1 << 20) -> Database:
    return Database(DatabaseSchema.parse(SCHEMA), counted(start))


def insert(table: str, number: int | None = None, alias: str | None = None, /, **row: Any) -> dict[str, Any]:
    """An operation. `number`: of its UUID; `alias`: that it is called by in the transaction."""
    found: dict[str, Any] = {"op": "insert", "table": table, "row": row}
    if number is not None:
        found["uuid"] = uuid(number)
    if alias is not None:
        found["uuid-name"] = alias
    return found


def select(table: str, *where: Any, columns: list[str] | None = None) -> dict[str, Any]:
    found: dict[str, Any] = {"op": "select", "table": table, "where": list(where)}
    return found | ({} if columns is None else {"columns": columns})


def run(database: Database, *operations: Any, **settings: Any) -> list[Any]:
    """The results; of errors their names alone."""
    outcome: Outcome = execute(database, operations, **settings)
    assert outcome.results is not None, "it waits"
    return [each["error"] if isinstance(each, dict) and "error" in each else each for each in outcome.results]
