"""The text of a database's file (Open vSwitch's ovsdb(5), standalone).

Records lie one after the other, each with its length and its checksum. The first is the schema, each other one a
transaction.

A transaction says of each row what has changed of it: as the difference to what was (`values.diff`) where the column
was not as by default, else as the whole. A row that goes is null. Ephemeral columns are not in it.

Invariant: what `Reader` yields of the first N bytes of a file is a prefix of what it yields of the file.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping

from vswitch.ovsdb.database import Change, Database, RowChange
from vswitch.ovsdb.errors import LogError, OvsdbError
from vswitch.ovsdb.schema import UUID, VERSION, DatabaseSchema, Row, TableSchema
from vswitch.ovsdb.types import Json, Type, Value
from vswitch.ovsdb.values import apply_diff, diff, encode, is_uuid, parse

__all__ = ["MAX_RECORD_BYTES", "change_record", "frame", "records", "replay", "snapshot_record"]

MAX_RECORD_BYTES = 1 << 30
"""Of one record; a file that says more is damaged."""

_HEADER = re.compile(rb"OVSDB (JSON|CLUSTER) ([0-9]{1,10}) ([0-9a-f]{40})\n")
_MAX_HEADER_BYTES = 72
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


def frame(record: Json) -> bytes:
    """A record, as it stands in the file."""
    data = _encode(record).encode() + b"\n"
    return b"OVSDB JSON %d %s\n" % (len(data), hashlib.sha1(data, usedforsecurity=False).hexdigest().encode()) + data


def records(data: bytes) -> Iterator[tuple[Json, int]]:
    """Each whole record, and where it ends (bytes). They end at the first that is damaged or not all there. LogError:
    the file is none of a standalone database."""
    at = 0
    while at < len(data):
        header = _HEADER.match(data, at, at + _MAX_HEADER_BYTES)
        if header is None:
            if not at and b"\n" in data[:_MAX_HEADER_BYTES] + b"\n" * (len(data) > _MAX_HEADER_BYTES):
                raise LogError("the file does not begin as a database does")
            return
        if header[1] == b"CLUSTER":
            raise LogError(
                "the database is one of a cluster, which is not supported (ovsdb-tool cluster-to-standalone makes a "
                "standalone one of it)"
            )
        start, end = header.end(), header.end() + int(header[2])
        text = data[start:end]
        if len(text) < end - start or end - start > MAX_RECORD_BYTES:
            return
        if hashlib.sha1(text, usedforsecurity=False).hexdigest().encode() != header[3]:
            return
        try:
            record = json.loads(text)
        except (ValueError, RecursionError) as problem:
            raise LogError(f"the record at byte {at} is no JSON: {problem}") from problem
        yield record, end
        at = end


def change_record(schema: DatabaseSchema, change: Change, now_ms: int) -> dict[str, Json] | None:
    """What is to be kept of a transaction; None: nothing, as it has changed ephemeral columns alone."""
    tables: dict[str, Json] = {}
    for name, rows in change.tables.items():
        table = schema.tables[name]
        kept = {uuid: row for uuid, each in rows.items() if (row := _row_record(table, each)) is not _NOTHING}
        if kept:
            tables[name] = kept
    if not tables:
        return None
    found: dict[str, Json] = {"_date": now_ms, "_is_diff": True}
    if change.comment:
        found["_comment"] = change.comment
    return found | tables


_NOTHING = object()


def _row_record(table: TableSchema, change: RowChange) -> Json:
    old, new = change
    if new is None:
        return None
    before = table.default if old is None else old
    found = {}
    for column in table.stored:
        value, was = new[column.position], before[column.position]
        if value is not was and value != was:
            found[column.name] = encode(column.type, _difference(column.type, was, value))
    return found if found or old is None else _NOTHING


def _difference(kind: Type, was: Value, value: Value) -> Value:
    return value if was == kind.default else diff(kind, was, value)


def snapshot_record(
    schema: DatabaseSchema, rows: Mapping[str, Iterable[Row]], now_ms: int, comment: str
) -> dict[str, Json]:
    """All rows as one transaction."""
    found: dict[str, Json] = {"_date": now_ms, "_comment": comment}
    for name, of_table in rows.items():
        table = schema.tables[name]
        found[name] = {row[UUID][0]: _row_record(table, (None, row)) for row in of_table}
    return found


def replay(database: Database, record: Json) -> None:
    """Do what a record of a transaction says. `integrity.rebuild` is to follow the last. LogError: it cannot be."""
    if not isinstance(record, dict):
        raise LogError("a record is no object")
    is_diff = bool(record.get("_is_diff"))
    try:
        for name, rows in record.items():
            if name.startswith("_"):
                continue
            table = database.tables.get(name)
            if table is None or not isinstance(rows, dict):
                raise LogError(f"a record is about table {name}, which is not in the schema")
            for uuid, given in rows.items():
                if not is_uuid(uuid):
                    raise LogError(f"{uuid!r} in a record is no UUID")
                if given is None:
                    table.rows.pop(uuid, None)
                    continue
                table.rows[uuid] = _replay_row(database, table.schema, uuid, table.rows.get(uuid), given, is_diff)
    except OvsdbError as error:
        raise LogError(f"a record holds what the schema does not allow: {error}") from error


def _replay_row(database: Database, table: TableSchema, uuid: str, old: Row | None, given: Json, is_diff: bool) -> Row:
    if not isinstance(given, dict):
        raise LogError(f"row {uuid} of table {table.name} in a record is no object")
    row = database.new_row(table, uuid) if old is None else list(old)
    for name, text in given.items():
        column = table.columns.get(name)
        if column is None:
            raise LogError(f"a record is about column {name} of table {table.name}, which is not in the schema")
        kind, was = column.type, row[column.position]
        if is_diff and was != kind.default and kind.high > 1:
            row[column.position] = apply_diff(kind, was, parse(column.excludes_type, text))
        else:
            row[column.position] = parse(kind, text)
    row[VERSION] = (database.new_uuid(),)
    return tuple(row)
