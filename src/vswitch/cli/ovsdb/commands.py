"""Commands on databases, wherever they are: in a file, or with a server.

A file is loaded into a server in this process, so that each command is written once, as one of a client.
"""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from vswitch.base.errors import ConfigError, MachineError
from vswitch.cli.ovsdb.client import Client, is_server
from vswitch.cli.ovsdb.files import read_schema
from vswitch.cli.ovsdb.printing import Cell, render
from vswitch.daemon.ovsdb import new_uuid, now_ms
from vswitch.ovsdb import log
from vswitch.ovsdb.convert import convert as convert_database
from vswitch.ovsdb.convert import needs_conversion as schemas_differ
from vswitch.ovsdb.database import Database
from vswitch.ovsdb.errors import OvsdbError
from vswitch.ovsdb.framing import dumps
from vswitch.ovsdb.schema import Column, DatabaseSchema, TableSchema
from vswitch.ovsdb.transaction import execute
from vswitch.ovsdb.types import Json
from vswitch.ovsdb.values import parse

__all__ = [
    "convert",
    "db_version",
    "dump",
    "get_schema",
    "list_dbs",
    "monitor",
    "needs_conversion",
    "query",
    "transact",
]


class _Place(Protocol):
    """A database, asked."""

    def database(self, name: str | None) -> str:
        """The name, or that of the only one."""

    def schema(self, name: str) -> DatabaseSchema:
        """Of the database."""

    def transact(self, name: str, operations: list[Json]) -> Json:
        """The results."""


class _Served:
    def __init__(self, client: Client) -> None:
        self.client = client

    def database(self, name: str | None) -> str:
        return self.client.database(name)

    def schema(self, name: str) -> DatabaseSchema:
        return self.client.schema(name)

    def transact(self, name: str, operations: list[Json]) -> Json:
        return self.client.call("transact", name, *operations)


class _InFile:
    def __init__(self, place: str, database: Database, opened: log.Log | None) -> None:
        self._place = place
        self._database = database
        self._log = opened

    def database(self, name: str | None) -> str:
        found = self._database.schema.name
        if name not in (None, found):
            raise ConfigError(f"{self._place} holds database {found}, not {name}")
        return found

    def schema(self, name: str) -> DatabaseSchema:
        self.database(name)
        return self._database.schema

    def transact(self, name: str, operations: list[Json]) -> Json:
        self.database(name)
        outcome = execute(self._database, operations, waited_ms=float("inf"), is_read_only=self._log is None)
        if outcome.results is None:
            raise MachineError(f"{self._place}: the transaction waits for what nobody will do to a file")
        if outcome.change is not None and self._log is not None:
            self._log.sync()
        found: Json = json.loads(dumps(outcome.results))  # as it comes from a server
        return found


@contextmanager
def _open(arguments: Namespace, *, is_read_only: bool = True) -> Iterator[_Place]:
    place = arguments.place
    if is_server(place):
        with Client(place, arguments) as client:
            yield _Served(client)
    elif is_read_only:
        yield _InFile(place, log.load(Path(place), new_uuid)[0], None)
    else:
        with log.Log(Path(place), new_uuid, now_ms) as opened:
            yield _InFile(place, opened.database, opened)


def transact(arguments: Namespace) -> None:
    """Run a transaction."""
    _transact(arguments, is_read_only=False)


def query(arguments: Namespace) -> None:
    """Run a transaction, and undo it."""
    _transact(arguments, is_read_only=True)


def _transact(arguments: Namespace, *, is_read_only: bool) -> None:
    try:
        given = json.loads(arguments.transaction)
    except ValueError as error:
        raise ConfigError(f"the transaction is no JSON: {error}") from error
    if not isinstance(given, list) or not given or not isinstance(given[0], str):
        raise ConfigError('the transaction is not of the form ["DATABASE", OPERATION...]')
    operations = given[1:]
    if is_read_only and is_server(arguments.place):
        operations.append({"op": "abort"})
    with _open(arguments, is_read_only=is_read_only) as place:
        found = place.transact(given[0], operations)
    if is_read_only and isinstance(found, list) and len(found) == len(operations) and is_server(arguments.place):
        del found[-1]
    print(dumps(found))


def get_schema(arguments: Namespace) -> None:
    """As JSON."""
    with _open(arguments) as place:
        print(dumps(place.schema(place.database(arguments.database)).to_json()))


def db_version(arguments: Namespace) -> None:
    """Of a database's schema."""
    with _open(arguments) as place:
        print(place.schema(place.database(arguments.database)).version)


def needs_conversion(arguments: Namespace) -> None:
    """Print yes or no."""
    schema = read_schema(arguments.schema)
    with _open(arguments) as place:
        print("yes" if schemas_differ(place.schema(schema.name), schema) else "no")


def convert(arguments: Namespace) -> None:
    """To another schema."""
    schema = read_schema(arguments.schema)
    if is_server(arguments.place):
        with Client(arguments.place, arguments) as client:
            client.call("set_db_change_aware", True)
            client.call("convert", schema.name, schema.to_json())
        return
    with log.Log(Path(arguments.place), new_uuid, now_ms) as opened:
        try:
            opened.replace(convert_database(opened.database, schema))
        except OvsdbError as error:
            raise ConfigError(f"{arguments.place}: {error}") from error


def list_dbs(arguments: Namespace) -> None:
    """One line for each."""
    with Client(arguments.place, arguments) as client:
        found = client.call("list_dbs")
        print("\n".join(sorted(map(str, found))) if isinstance(found, list) else "")


def _table(schema: DatabaseSchema, name: str) -> TableSchema:
    found = schema.tables.get(name)
    if found is None:
        raise ConfigError(f"database {schema.name} has no table {name}")
    return found


def _columns(table: TableSchema, names: list[str], *, has_version: bool = False) -> list[str]:
    """Those that are named; all, if none is."""
    if unknown := [name for name in names if name not in table.columns]:
        raise ConfigError(f"table {table.name} has no column {unknown[0]}")
    return sorted(names or {name for name in table.columns if name != "_version" or has_version})


def dump(arguments: Namespace) -> None:
    """Tables as tables."""
    words = list(arguments.words)
    with _open(arguments) as place:
        name = place.database(words.pop(0) if words else None)
        schema = place.schema(name)
        tables = [_table(schema, words[0])] if words else [schema.tables[each] for each in sorted(schema.tables)]
        columns = [_columns(table, words[1:]) for table in tables]
        found = place.transact(
            name,
            [
                {"op": "select", "table": table.name, "where": [], "columns": chosen}
                for table, chosen in zip(tables, columns, strict=True)
            ],
        )
    assert isinstance(found, list)
    texts = []
    for table, chosen, result in zip(tables, columns, found, strict=True):
        told = sorted(result["rows"], key=lambda row: [_order(table.columns[each], row[each]) for each in chosen])
        rows = [[Cell.of(table.columns[each], row[each]) for each in chosen] for row in told]
        texts.append(_render(arguments, f"{table.name} table", chosen, rows))
    print("\n".join(texts) if arguments.format != "json" else "".join(texts), end="")


def _order(column: Column, given: Json) -> tuple[int, list[Json], list[Json]]:
    """How rows are ordered by it, as ovsdb-client orders them: by no UUIDs, and first by the number of elements."""
    kind = column.type
    if "uuid" in (kind.key.kind, kind.value.kind if kind.value else ""):
        return 0, [], []
    value = parse(kind, given)
    if kind.is_map:
        return len(value), [key for key, _ in value], [atom for _, atom in value]
    return len(value), list(value), []


def _render(arguments: Namespace, caption: str, headings: list[str], rows: list[list[Cell]]) -> str:
    return render(caption, headings, rows, arguments.format, has_headings=not arguments.no_headings)


def monitor(arguments: Namespace) -> None:
    """Rows, and what becomes of them."""
    with Client(arguments.place, arguments) as client:
        words = list(arguments.words)
        known = client.call("list_dbs")
        name = client.database(words.pop(0) if isinstance(known, list) and words[0] in known else None)
        schema = client.schema(name)
        wanted = _wanted(schema, words)
        requests = {table: {"columns": columns} for table, columns in wanted.items()}
        _show(arguments, schema, wanted, client.call("monitor", name, None, requests), "initial")
        for found in client.notifications():
            params = found.get("params")
            if found.get("method") == "update" and isinstance(params, list) and len(params) == 2:
                _show(arguments, schema, wanted, params[1], "insert", before="" if arguments.format == "json" else "\n")


def _wanted(schema: DatabaseSchema, words: list[str]) -> dict[str, list[str]]:
    """Columns by table: a word that is no table is columns of the one before it."""
    if words == ["ALL"]:
        return {name: _columns(table, [], has_version=True) for name, table in sorted(schema.tables.items())}
    found: dict[str, list[str]] = {}
    table: TableSchema | None = None
    for word in words:
        if word in schema.tables:
            table = schema.tables[word]
            found[word] = _columns(table, [], has_version=True)
        elif table is None:
            raise ConfigError(f"database {schema.name} has no table {word}")
        else:
            found[table.name] = _columns(table, [name for name in word.split(",") if name])
    return found


def _show(
    arguments: Namespace, schema: DatabaseSchema, wanted: dict[str, list[str]], told: Json, new: str, before: str = ""
) -> None:
    """Of each table the rows that are told of: those that have changed as they were, and as they are."""
    assert isinstance(told, dict)
    texts = []
    for name, rows in told.items():
        headings = ["row", "action", *wanted[name]]
        lines: list[list[Cell]] = []
        for uuid, row in rows.items():
            old, now = row.get("old"), row.get("new")
            if old is not None:
                lines.append(_line(schema.tables[name], wanted[name], uuid, "delete" if now is None else "old", old))
            if now is not None:
                action = new if old is None else "new"
                lines.append(_line(schema.tables[name], wanted[name], uuid if old is None else "", action, now))
        caption = f"{name} table" if len(wanted) > 1 else ""
        texts.append(_render(arguments, caption, headings, lines))
    if texts:
        print(before + ("" if arguments.format == "json" else "\n").join(texts), end="", flush=True)


def _line(table: TableSchema, columns: list[str], uuid: str, action: str, row: dict[str, Json]) -> list[Cell]:
    cells = [Cell.of(table.columns[each], row[each]) if each in row else Cell("", None) for each in columns]
    return [Cell(uuid, uuid), Cell(action, action), *cells]
