"""Rows of a database by the names of their columns, and which columns are whose.

`_WRITTEN` are the columns that the daemon writes itself: a change of them alone asks for nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from vswitch.ovsdb.database import Change, Database, Table
from vswitch.ovsdb.schema import UUID, Row
from vswitch.ovsdb.types import Atom

__all__ = ["Cells", "asks_for_something", "rows_of"]

_WRITTEN = {
    "Open_vSwitch": {
        "cur_cfg", "statistics", "ovs_version", "db_version", "system_type", "system_version", "datapath_types",
        "iface_types", "dpdk_initialized", "dpdk_version", "datapaths",
    },
    "Bridge": {"datapath_version", "datapath_id", "status", "rstp_status"},
    "Port": {"status", "statistics", "rstp_status", "rstp_statistics", "bond_active_slave"},
    "Interface": {
        "mac_in_use", "ifindex", "ofport", "statistics", "status", "admin_state", "link_state", "link_resets",
        "link_speed", "duplex", "mtu", "error", "bfd_status", "cfm_flap_count", "cfm_fault", "cfm_fault_status",
        "cfm_remote_opstate", "cfm_health", "cfm_remote_mpids", "lacp_current",
    },
    "Controller": {"is_connected", "role", "status"},
    "Manager": {"is_connected", "status"},
    "Mirror": {"statistics"},
    "Datapath": {"datapath_version", "capabilities"},
}  # fmt: skip
"""Columns that the daemon writes, by table."""

_UNASKED = {"external_ids", "_version"}
"""Columns that are for others."""


class Cells:
    """One row. A column that the server's schema lacks is as one of which nothing was said."""

    __slots__ = ("_columns", "row")

    def __init__(self, table: Table, row: Row) -> None:
        self._columns = table.schema.columns
        self.row = row

    @property
    def uuid(self) -> str:
        """Its UUID."""
        return cast("str", self.row[UUID][0])

    def many(self, name: str) -> tuple[Atom, ...]:
        """The atoms of a set."""
        column = self._columns.get(name)
        return self.row[column.position] if column is not None else ()

    def pairs(self, name: str) -> dict[Atom, Atom]:
        """The pairs of a map."""
        column = self._columns.get(name)
        return dict(self.row[column.position]) if column is not None else {}

    def texts(self, name: str) -> dict[str, str]:
        """The pairs of a map of strings."""
        return cast("dict[str, str]", self.pairs(name))

    def text(self, name: str) -> str:
        """A string; empty if there is none."""
        found = self.many(name)
        return cast("str", found[0]) if found else ""

    def number(self, name: str) -> int | None:
        """An integer, if there is one."""
        found = self.many(name)
        return cast("int", found[0]) if found else None

    def numbers(self, name: str) -> frozenset[int]:
        """A set of integers."""
        return cast("frozenset[int]", frozenset(self.many(name)))

    def flag(self, name: str) -> bool | None:
        """A boolean, if there is one."""
        found = self.many(name)
        return cast("bool", found[0]) if found else None


def rows_of(database: Database, table: str, uuids: tuple[Atom, ...] | None = None) -> Iterator[Cells]:
    """The rows with these UUIDs, in their order; without, all. Those that are not there are passed over."""
    found = database.tables.get(table)
    if found is None:
        return
    for uuid in found.rows if uuids is None else uuids:
        row = found.rows.get(cast("str", uuid))
        if row is not None:
            yield Cells(found, row)


def asks_for_something(database: Database, change: Change) -> bool:
    """Whether a transaction has changed what is wanted, and not only what the daemon itself writes."""
    for name, rows in change.tables.items():
        table = database.tables.get(name)
        if table is None:
            continue
        ignored = _WRITTEN.get(name, set()) | _UNASKED
        positions = [column.position for column in table.schema.by_position if column.name not in ignored]
        for before, after in rows.values():
            if before is None or after is None or any(before[at] != after[at] for at in positions):
                return True
    return False
