"""`show`: the switch, its bridges, their ports, their interfaces, each indented under what refers to it."""

from __future__ import annotations

from vswitch.cli.vsctl.values import atom_text, value_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vswitch.cli.vsctl.options import Call
    from vswitch.cli.vsctl.plan import Plan
    from vswitch.cli.vsctl.rows import Row

__all__ = ["show"]

_SHOWN: dict[str, tuple[str, tuple[str, ...]]] = {
    "Open_vSwitch": ("", ("manager_options", "bridges", "ovs_version")),
    "Manager": ("target", ("is_connected",)),
    "Bridge": ("name", ("controller", "fail_mode", "datapath_type", "ports")),
    "Controller": ("target", ("is_connected",)),
    "Port": ("name", ("tag", "trunks", "interfaces")),
    "Interface": ("name", ("type", "options", "error", "bfd_status")),
}
"""Of each table what its rows are called by, and the columns, in their order."""

_INDENT = "    "


def show(plan: Plan, _: Call) -> None:
    """`show`."""
    lines: list[str] = []
    for row in plan.rows.of("Open_vSwitch"):
        _show(plan, row, 0, lines)
    plan.out.text = "".join(f"{line}\n" for line in lines)


def _show(plan: Plan, row: Row, depth: int, lines: list[str]) -> None:
    table = row.table
    name, columns = _SHOWN[table.name]
    if name:
        kind = table[name].type
        lines.append(f"{_INDENT * depth}{table.name} {atom_text(row.one(name), kind.key.kind)}")
    else:
        lines.append(f"{_INDENT * depth}{row.uuid}")
    for column in columns:
        if not table.has(column):
            continue
        kind, value = table[column].type, row[column]
        if kind.key.ref_table in _SHOWN:
            for each in plan.rows.referred(row, column):
                _show(plan, each, depth + 1, lines)
        elif value and value != kind.default:
            lines.append(f"{_INDENT * (depth + 1)}{column}: {value_text(kind, value)}")
