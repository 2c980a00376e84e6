"""Our schema of the switch's database beside Open vSwitch's file, table by table, column by column."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vswitch.ovsdb.schema import DatabaseSchema, TableSchema, version_of
from vswitch.ovsdb.vswitch_schema import NEWER, VSWITCH_SCHEMA

THEIRS = DatabaseSchema.parse(json.loads(Path("/usr/share/openvswitch/vswitch.ovsschema").read_text(encoding="utf-8")))


def test_the_tables_are_the_same() -> None:
    assert VSWITCH_SCHEMA.name == THEIRS.name
    assert set(VSWITCH_SCHEMA.tables) == set(THEIRS.tables)


@pytest.mark.parametrize("theirs", THEIRS.tables.values(), ids=lambda table: table.name)
def test_each_column_is_the_same(theirs: TableSchema) -> None:
    ours = VSWITCH_SCHEMA.tables[theirs.name]
    newer = {column for table, column in NEWER if table == ours.name}
    assert set(ours.columns) - set(theirs.columns) == newer - set(theirs.columns)
    for name, column in theirs.columns.items():
        mine = ours.columns[name]
        assert (mine.type, mine.is_mutable, mine.is_ephemeral) == (
            column.type,
            column.is_mutable,
            column.is_ephemeral,
        ), name
    assert (ours.is_root, ours.max_rows, ours.index_names) == (theirs.is_root, theirs.max_rows, theirs.index_names)


def test_the_version_is_later_as_there_are_more_columns() -> None:
    assert version_of(VSWITCH_SCHEMA.version) > version_of("8.3.1")


def test_it_is_a_schema() -> None:
    assert DatabaseSchema.parse(VSWITCH_SCHEMA.to_json()) == VSWITCH_SCHEMA
