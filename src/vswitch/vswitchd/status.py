"""What the database is told: what each row should say, and the one transaction that makes it say so.

Only what is not said already is written. A round costs by the rows that there are, a transaction by what has changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from vswitch.base.version import OPEN_VSWITCH_VERSION, VERSION
from vswitch.bridge.controllers import ControllerState
from vswitch.bridge.features import MirrorStats
from vswitch.host.link import Driver
from vswitch.messages.control import ControllerRole
from vswitch.ovsdb.database import Database
from vswitch.ovsdb.types import Atom, Json, Value
from vswitch.ovsdb.values import encode
from vswitch.vswitchd.plan import DATAPATH_TYPES, INTERFACE_TYPES, Wanted, WantedBridge
from vswitch.vswitchd.reconcile import InterfaceFacts
from vswitch.vswitchd.rows import rows_of

__all__ = [
    "CAPABILITIES",
    "Said",
    "bridge_row",
    "controller_row",
    "datapath_operations",
    "differences",
    "interface_row",
    "mirror_row",
    "root_row",
]

Cell = Atom | None | Mapping[str, Atom] | Iterable[str]

_ROLES = {
    ControllerRole.EQUAL: "other", ControllerRole.PRIMARY: "master", ControllerRole.SECONDARY: "slave",
}  # fmt: skip

CAPABILITIES: Mapping[str, str] = {
    "check_pkt_len": "true", "clone": "true", "ct_clear": "false", "ct_eventmask": "false", "ct_label": "false",
    "ct_mark": "false", "ct_orig_tuple": "false", "ct_orig_tuple6": "false", "ct_state": "false",
    "ct_state_nat": "false", "ct_timeout": "false", "ct_zero_snat": "false", "ct_zone": "false",
    "explicit_drop_action": "true", "lb_output_action": "false", "masked_set_action": "true", "max_vlan_headers": "2",
    "nd_ext": "false", "recirc": "true", "sample_nesting": "10", "tnl_push_pop": "false", "trunc": "true",
    "ufid": "false",
}  # fmt: skip
"""What the datapath has of what clients look for (Datapath.capabilities)."""

Row = dict[str, Value]


class Said:
    """What rows should say, by table and UUID."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Row]] = {}

    def put(self, table: str, uuid: str, row: Row) -> None:
        """This row should say that, besides what it should say already."""
        self.rows.setdefault(table, {}).setdefault(uuid, {}).update(row)


def _row(**cells: Cell) -> Row:
    return {name: _value(cell) for name, cell in cells.items()}


def _value(cell: Cell) -> Value:
    if cell is None:
        return ()
    if isinstance(cell, Mapping):
        return tuple(sorted(cell.items()))
    if isinstance(cell, str | int | float | bool):
        return (cell,)
    return tuple(sorted(cell))


def root_row(database: Database, wanted: Wanted, system: tuple[str, str]) -> Row:
    """That of Open_vSwitch. `system`: what it is called, and its version."""
    return _row(
        cur_cfg=wanted.generation,
        datapath_types=DATAPATH_TYPES,
        iface_types=INTERFACE_TYPES,
        ovs_version=OPEN_VSWITCH_VERSION,
        db_version=database.schema.version,
        system_type=system[0],
        system_version=system[1],
        dpdk_initialized=False,
    )


def bridge_row(bridge: WantedBridge, datapath_id: int | None, error: str) -> Row:
    """That of a bridge; `datapath_id`: None if it is not there."""
    status = dict(bridge.notes) | ({"error": error} if error else {})
    return _row(
        datapath_id=None if datapath_id is None else f"{datapath_id:016x}",
        datapath_version=VERSION if datapath_id is not None else "<unknown>",
        status=status,
    )


def interface_row(facts: InterfaceFacts, *, counts: bool) -> Row:
    """That of an interface. `counts`: with its counters."""
    device = facts.device
    if facts.number is None or device is None:
        return _row(
            ofport=-1, error=facts.error or None, ifindex=None, mac_in_use=None, admin_state=None, link_state=None,
            link_speed=None, duplex=None, link_resets=None, mtu=None, statistics={}, status={},
        )  # fmt: skip
    row = _row(
        ofport=facts.number,
        error=facts.error or None,
        ifindex=device.ifindex,
        mac_in_use=device.mac or None,
        admin_state="up" if device.up else "down",
        link_state="up" if device.carrier else "down",
        link_speed=device.speed_bps,
        duplex=device.duplex,
        link_resets=device.carrier_changes,
        mtu=device.mtu or None,
        status=_driver_status(facts.driver),
    )
    return row | (_row(statistics=facts.counted) if counts else {})


def mirror_row(copied: MirrorStats) -> Row:
    """That of a mirror."""
    return _row(statistics={"tx_packets": copied.tx_packets, "tx_bytes": copied.tx_bytes})


def _driver_status(driver: Driver | None) -> dict[str, Atom]:
    if driver is None:
        return {}
    return {
        "driver_name": driver.name,
        "driver_version": driver.version,
        "firmware_version": driver.firmware_version,
    }


def controller_row(state: ControllerState | None, error: str) -> Row:
    """That of a controller."""
    if state is None:
        return _row(is_connected=False, role=None, status={"state": "VOID", "last_error": error} if error else {})
    if state.is_passive and not state.is_connected and not state.last_error:
        return _row(is_connected=False, role=None, status={})
    status = {"state": state.state}
    if state.last_error or error:
        status["last_error"] = error or state.last_error
    status["sec_since_connect" if state.is_connected else "sec_since_disconnect"] = str(int(state.since_s))
    return _row(
        is_connected=state.is_connected,
        role=None if state.role is None else _ROLES.get(state.role, "other"),
        status=status,
    )


def differences(database: Database, said: Said) -> list[Json]:
    """The operations that make rows say what they should; none, if they do. Rows that are gone are passed over, and so
    are columns that the schema does not have."""
    operations: list[Json] = []
    for name, rows in said.rows.items():
        table = database.tables.get(name)
        if table is None:
            continue
        columns = table.schema.columns
        for uuid, row in rows.items():
            there = table.rows.get(uuid)
            if there is None:
                continue
            changed = {
                column: _listed(encode(columns[column].type, value))
                for column, value in row.items()
                if column in columns and there[columns[column].position] != value
            }
            if changed:
                where: Json = [["_uuid", "==", ["uuid", uuid]]]
                operations.append({"op": "update", "table": name, "where": where, "row": changed})
    return operations


def _listed(encoded: Json) -> Json:
    """As it is after a way as text: arrays are lists."""
    return [_listed(each) for each in encoded] if isinstance(encoded, list | tuple) else encoded


def datapath_operations(database: Database, root: str, wanted: Wanted) -> list[Json]:
    """The row of the table Datapath, which clients look for: one, as there is one kind, while there are bridges."""
    for row in rows_of(database, "Open_vSwitch"):
        there = row.pairs("datapaths")
        where: Json = [["_uuid", "==", ["uuid", root]]]
        if wanted.bridges and not there:
            made: Json = {
                "op": "insert", "table": "Datapath", "uuid-name": "datapath",
                "row": {
                    "datapath_version": VERSION,
                    "capabilities": ["map", [list(pair) for pair in sorted(CAPABILITIES.items())]],
                },
            }  # fmt: skip
            put: Json = ["datapaths", "insert", ["map", [["system", ["named-uuid", "datapath"]]]]]
            return [made, {"op": "mutate", "table": "Open_vSwitch", "where": where, "mutations": [put]}]
    return []
