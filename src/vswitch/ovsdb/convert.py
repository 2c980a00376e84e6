"""From one schema to another: the rows of a database, as far as the new schema has room for them.

Tables and columns are told by their names. What the new schema does not have goes; what it has besides is as by
default.
"""

from __future__ import annotations

from vswitch.ovsdb.database import Database
from vswitch.ovsdb.errors import OvsdbError
from vswitch.ovsdb.integrity import rebuild
from vswitch.ovsdb.schema import DatabaseSchema
from vswitch.ovsdb.values import encode, parse

__all__ = ["convert", "needs_conversion"]


def convert(database: Database, schema: DatabaseSchema) -> Database:
    """Another database, of that schema. OvsdbError: a value, or the rows together, are not allowed there."""
    if database.schema.name != schema.name:
        raise OvsdbError(
            "not allowed", f"database {database.schema.name} cannot become one with the schema of {schema.name}"
        )
    found = Database(schema, database.new_uuid)
    for name, table in found.tables.items():
        source = database.tables.get(name)
        if source is None:
            continue
        columns = [
            (column, before)
            for column in table.schema.by_position
            if not column.is_built_in and (before := source.schema.columns.get(column.name)) is not None
        ]
        for uuid, old in source.rows.items():
            row = found.new_row(table.schema, uuid)
            for column, before in columns:
                value = old[before.position]
                if before.type != column.type:
                    try:
                        value = parse(column.type, encode(before.type, value))
                    except OvsdbError as error:
                        raise OvsdbError(
                            "constraint violation",
                            f"column {column.name} of row {uuid} of table {name} cannot be converted: {error.details}",
                        ) from error
                row[column.position] = value
            table.rows[uuid] = tuple(row)
    rebuild(found)
    return found


def needs_conversion(old: DatabaseSchema, new: DatabaseSchema) -> bool:
    """Whether a database of the one is none of the other. Checksums are not looked at."""
    before, after = old.to_json(), new.to_json()
    return any(before.get(member) != after.get(member) for member in ("name", "version", "tables"))
