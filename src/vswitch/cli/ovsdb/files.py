"""Commands on files of databases, and on schemas."""

from __future__ import annotations

import json
from argparse import Namespace
from datetime import datetime
from pathlib import Path

from vswitch.base.errors import ConfigError, ExistsError
from vswitch.daemon.ovsdb import new_uuid, now_ms
from vswitch.ovsdb import log
from vswitch.ovsdb.schema import DatabaseSchema
from vswitch.ovsdb.vswitch_schema import VSWITCH_SCHEMA

__all__ = ["compact", "create", "db_name", "read_schema", "schema_name", "schema_version", "show_log"]


def read_schema(name: str | None) -> DatabaseSchema:
    """That in a file; None: that of Open_vSwitch. ConfigError: it is none."""
    if name is None:
        return VSWITCH_SCHEMA
    try:
        return DatabaseSchema.parse(json.loads(Path(name).read_bytes()))
    except ValueError as error:
        raise ConfigError(f"{name} holds no schema: {error}") from error


def create(arguments: Namespace) -> None:
    """Make a file."""
    log.create(Path(arguments.place), read_schema(arguments.schema))


def compact(arguments: Namespace) -> None:
    """Rewrite a file, or write another."""
    path = Path(arguments.place)
    if arguments.target is None:
        with log.Log(path, new_uuid, now_ms) as opened:
            opened.compact("compacted by vswitch ovsdb")
        return
    target = Path(arguments.target)
    if target.exists():
        raise ExistsError(f"the file {target} exists")
    database, _ = log.load(path, new_uuid)
    log.write_file(target, database.schema, database.snapshot(), now_ms(), "compacted by vswitch ovsdb")


def db_name(arguments: Namespace) -> None:
    """Of the database in a file."""
    print(log.schema_of(Path(arguments.place)).name)


def schema_name(arguments: Namespace) -> None:
    """Of a schema."""
    print(read_schema(arguments.schema).name)


def schema_version(arguments: Namespace) -> None:
    """Of a schema."""
    print(read_schema(arguments.schema).version)


def show_log(arguments: Namespace) -> None:
    """One line for each record."""
    for number, (record, _) in enumerate(log.read(Path(arguments.place))):
        assert isinstance(record, dict)
        if not number:
            print(f'record 0: "{record.get("name")}" schema, version="{record.get("version", "")}"\n')
            continue
        date = record.get("_date")
        when = datetime.fromtimestamp(date / 1000).isoformat(" ", "milliseconds") if isinstance(date, int) else ""
        comment = f' "{record["_comment"]}"' if "_comment" in record else ""
        print(f"record {number}: {when}{comment}")
        for table, rows in record.items():
            if not table.startswith("_") and isinstance(rows, dict):
                gone = sum(row is None for row in rows.values())
                print(f"    table {table}: {len(rows) - gone} rows new or changed, {gone} gone")
