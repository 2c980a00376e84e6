"""`vswitch ovsdb backup` and `restore`: all that a server has in a database, as a file, and back.

A backup is a database's file with one transaction in it, so `ovsdb-tool` reads it, and a server can be started on it.
To restore is one transaction, too: what the server had is there until what the backup has is.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Iterator
from typing import Any

from vswitch.base.errors import ConfigError, MachineError
from vswitch.cli.ovsdb.client import Client
from vswitch.daemon.ovsdb import new_uuid, now_ms
from vswitch.ovsdb.database import Database
from vswitch.ovsdb.errors import LogError
from vswitch.ovsdb.records import frame, records, replay, snapshot_record
from vswitch.ovsdb.schema import DatabaseSchema, Row, TableSchema
from vswitch.ovsdb.types import Json
from vswitch.ovsdb.values import encode, parse

__all__ = ["backup", "restore"]


def backup(arguments: Namespace) -> None:
    """Write all of it to the standard output."""
    with Client(arguments.place, arguments) as client:
        name = client.database(arguments.database)
        schema = client.schema(name)
        tables = list(schema.tables.values())
        asked: list[Json] = [
            {"op": "select", "table": table.name, "where": [], "columns": ["_uuid", *(c.name for c in table.stored)]}
            for table in tables
        ]
        results = _results(client, name, asked)
    rows = {
        table.name: [_row(table, row) for row in result["rows"]] for table, result in zip(tables, results, strict=True)
    }
    sys.stdout.buffer.write(frame(schema.to_json()) + frame(snapshot_record(schema, rows, now_ms(), "a backup")))
    sys.stdout.buffer.flush()


def _results(client: Client, name: str, operations: list[Json]) -> list[Any]:
    """Of all operations. MachineError: one has failed, so nothing was done."""
    found = client.call("transact", name, *operations)
    assert isinstance(found, list)
    for result in found:
        if isinstance(result, dict) and "error" in result:
            raise MachineError(f"{client.place}: {result['error']}: {result.get('details', '')}".removesuffix(": "))
    return found


def _row(table: TableSchema, given: dict[str, Json]) -> Row:
    row = list(table.default)
    for name, value in given.items():
        column = table.columns[name]
        row[column.position] = parse(column.type, value)
    return tuple(row)


def restore(arguments: Namespace) -> None:
    """Put what the standard input has in the place of all that is there. ConfigError: it is none of that database."""
    saved = _loaded(sys.stdin.buffer.read())
    with Client(arguments.place, arguments) as client:
        name = client.database(arguments.database or saved.schema.name)
        schema = client.schema(name)
        if saved.schema != schema and not arguments.force:
            versions = f"version {saved.schema.version or 'none'} there, {schema.version or 'none'} here"
            problem = f"the backup has another schema than {client.place} ({versions})"
            raise ConfigError(f"{problem}: --force takes what both have")
        asked: list[Json] = [
            {"op": "select", "table": table, "where": [], "columns": ["_uuid"]} for table in schema.tables
        ]
        there = {
            table: [row["_uuid"][1] for row in result["rows"]]
            for table, result in zip(schema.tables, _results(client, name, asked), strict=True)
        }
        operations = [each for table in schema.tables.values() for each in _changes(table, saved, there[table.name])]
        _results(client, name, [*operations, {"op": "comment", "comment": "vswitch ovsdb restore"}])


def _changes(table: TableSchema, saved: Database, there: list[str]) -> Iterator[Json]:
    """Operations that make the rows of a table those that were saved. `there`: the UUIDs that it has; if it has others
    by then, nothing is done."""
    rows = saved.tables[table.name].rows if table.name in saved.tables else {}
    present = set(there)
    known: list[Json] = [{"_uuid": ["uuid", uuid]} for uuid in there]
    yield {
        "op": "wait", "table": table.name, "where": [], "columns": ["_uuid"], "until": "==", "rows": known, "timeout": 0
    }  # fmt: skip
    for uuid in there:
        if uuid not in rows:
            yield {"op": "delete", "table": table.name, "where": [["_uuid", "==", ["uuid", uuid]]]}
    for uuid, row in rows.items():
        columns = saved.tables[table.name].schema.columns
        both = [(column, columns[column.name]) for column in table.stored if column.name in columns]
        written = {here.name: encode(of.type, row[of.position]) for here, of in both}
        if uuid in present:  # a row keeps its identity, so it is changed, and what cannot be changed is as it was
            fixed = {here.name for here, _ in both if not here.is_mutable}
            changed = {name: value for name, value in written.items() if name not in fixed}
            yield {"op": "update", "table": table.name, "where": [["_uuid", "==", ["uuid", uuid]]], "row": changed}
        else:
            yield {"op": "insert", "table": table.name, "uuid": uuid, "row": written}


def _loaded(data: bytes) -> Database:
    found: Database | None = None
    end = transactions = 0
    try:
        for record, whole in records(data):
            end = whole
            if found is None:
                found = Database(DatabaseSchema.parse(record), new_uuid)
            else:
                replay(found, record)
                transactions += 1
    except LogError as problem:
        raise ConfigError(f"the backup cannot be read: {problem}") from None
    if not data:
        raise ConfigError("the backup is empty: it is to come by the standard input")
    if found is None or end != len(data):
        raise ConfigError(f"the backup is damaged: {end} of its {len(data)} bytes are whole records")
    if not transactions:
        raise ConfigError("the backup ends behind its schema: it has no transaction, which even an empty one has")
    return found
