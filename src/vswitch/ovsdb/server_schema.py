"""The schema of the database `_Server`, in which a server tells of its databases (Open vSwitch's ovsdb-server(5))."""

from __future__ import annotations

from vswitch.ovsdb.schema import Column, DatabaseSchema, TableSchema
from vswitch.ovsdb.types import BaseType, Type

__all__ = ["SERVER_SCHEMA"]

_OPTIONAL_UUID = Type(BaseType("uuid"), low=0)

SERVER_SCHEMA = DatabaseSchema(
    "_Server",
    "1.2.0",
    [
        TableSchema(
            "Database",
            [
                Column("name", Type(BaseType("string"))),
                Column("model", Type(BaseType("string", enum=("clustered", "relay", "standalone")))),
                Column("connected", Type(BaseType("boolean"))),
                Column("leader", Type(BaseType("boolean"))),
                Column("schema", Type(BaseType("string"), low=0)),
                Column("cid", _OPTIONAL_UUID),
                Column("sid", _OPTIONAL_UUID),
                Column("index", Type(BaseType("integer"), low=0)),
            ],
        )
    ],
)
