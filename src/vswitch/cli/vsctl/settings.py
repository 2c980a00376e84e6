"""Commands on what a switch and its bridges are set to: controllers, managers, TLS, fail modes, auto-attach."""

from __future__ import annotations

from vswitch.cli.vsctl import check
from vswitch.cli.vsctl.bridges import number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from vswitch.cli.vsctl.options import Call
    from vswitch.cli.vsctl.plan import Plan
    from vswitch.cli.vsctl.rows import Row

__all__ = [
    "add_aa_mapping", "comment", "del_aa_mapping", "del_controller", "del_fail_mode", "del_manager", "del_ssl",
    "emer_reset", "get_aa_mapping", "get_controller", "get_fail_mode", "get_manager", "get_ssl", "init",
    "set_controller", "set_fail_mode", "set_manager", "set_ssl",
]  # fmt: skip

_TARGETS = ("tcp", "ssl", "unix", "ptcp", "pssl", "punix")


def init(plan: Plan, _: Call) -> None:
    """`init`: any command does it."""
    plan.rows.root()


def comment(_: Plan, __: Call) -> None:
    """`comment`: the words are in the transaction's comment, as those of all commands are."""


# ---- controllers and managers: rows with a target, all of which a column names


def _targets(plan: Plan, row: Row, column: str) -> None:
    for target in sorted(each.one("target") or "" for each in plan.rows.referred(row, column)):
        plan.out.line(target)


def _clear_targets(plan: Plan, row: Row, column: str) -> None:
    if row[column]:
        for each in list(plan.rows.referred(row, column)):
            plan.rows.delete(each)
        plan.rows.write(row, column, ())


def _set_targets(plan: Plan, call: Call, row: Row, column: str, table: str, targets: Iterable[str]) -> None:
    probe = call.options.get("--inactivity-probe")
    plan.rows.verify(row, column)
    wanted = list(targets)
    for target in wanted:
        kind, colon, _ = target.partition(":")
        if not colon or kind not in _TARGETS:
            plan.log.warning("vsctl", f'target type "{target}" is possibly erroneous')
    if _is_same(plan, row, column, wanted, None if probe is None else number(probe)):
        return
    _clear_targets(plan, row, column)
    made = []
    for target in wanted:
        new = plan.rows.insert(table)
        plan.rows.write(new, "target", (target,))
        if probe is not None:
            plan.rows.write(new, "inactivity_probe", (number(probe),))
        made.append(new.uuid)
    plan.rows.write(row, column, tuple(sorted(made)))


def _is_same(plan: Plan, row: Row, column: str, targets: list[str], probe: int | None) -> bool:
    """Whether they are set already. With other probes they are made anew."""
    there = list(plan.rows.referred(row, column))
    probes: set[Any] = {each.one("inactivity_probe") for each in there}
    return sorted(each.one("target") for each in there) == sorted(targets) and probes <= {probe}


def get_controller(plan: Plan, call: Call) -> None:
    """`get-controller`."""
    _targets(plan, plan.switch.bridge(call.words[0]).real.row, "controller")


def del_controller(plan: Plan, call: Call) -> None:
    """`del-controller`."""
    _clear_targets(plan, plan.switch.real_bridge(call.words[0]), "controller")


def set_controller(plan: Plan, call: Call) -> None:
    """`set-controller`."""
    row = plan.switch.real_bridge(call.words[0])
    _set_targets(plan, call, row, "controller", "Controller", call.words[1:])


def get_manager(plan: Plan, _: Call) -> None:
    """`get-manager`."""
    _targets(plan, plan.rows.root(), "manager_options")


def del_manager(plan: Plan, _: Call) -> None:
    """`del-manager`."""
    _clear_targets(plan, plan.rows.root(), "manager_options")


def set_manager(plan: Plan, call: Call) -> None:
    """`set-manager`."""
    _set_targets(plan, call, plan.rows.root(), "manager_options", "Manager", call.words)


# ---- fail modes


def get_fail_mode(plan: Plan, call: Call) -> None:
    """`get-fail-mode`."""
    mode = plan.switch.bridge(call.words[0]).real.row.one("fail_mode")
    if mode:
        plan.out.line(mode)


def del_fail_mode(plan: Plan, call: Call) -> None:
    """`del-fail-mode`."""
    plan.rows.write(plan.switch.real_bridge(call.words[0]), "fail_mode", ())


def set_fail_mode(plan: Plan, call: Call) -> None:
    """`set-fail-mode`."""
    row = plan.switch.real_bridge(call.words[0])
    check(call.words[1] in ("standalone", "secure"), 'fail-mode must be "standalone" or "secure"')
    plan.rows.write(row, "fail_mode", (call.words[1],))


# ---- TLS


def get_ssl(plan: Plan, _: Call) -> None:
    """`get-ssl`."""
    for row in plan.rows.referred(plan.rows.root(), "ssl"):
        plan.out.line(f"Private key: {row.one('private_key')}")
        plan.out.line(f"Certificate: {row.one('certificate')}")
        plan.out.line(f"CA Certificate: {row.one('ca_cert')}")
        plan.out.line(f"Bootstrap: {'true' if row.one('bootstrap_ca_cert') else 'false'}")


def del_ssl(plan: Plan, _: Call) -> None:
    """`del-ssl`."""
    root = plan.rows.root()
    if root["ssl"]:
        plan.rows.verify(root, "ssl")
        for row in list(plan.rows.referred(root, "ssl")):
            plan.rows.delete(row)
        plan.rows.write(root, "ssl", ())


def set_ssl(plan: Plan, call: Call) -> None:
    """`set-ssl`."""
    del_ssl(plan, call)
    row = plan.rows.insert("SSL")
    for column, word in zip(("private_key", "certificate", "ca_cert"), call.words, strict=True):
        plan.rows.write(row, column, (word,))
    plan.rows.write(row, "bootstrap_ca_cert", ("--bootstrap" in call.options,))
    plan.rows.write(plan.rows.root(), "ssl", (row.uuid,))


# ---- auto-attach


def _mapping(call: Call) -> tuple[int, int]:
    found = []
    for word in call.words[1:]:
        check(word.isdigit() and word.isascii(), f"Invalid argument {word}")
        found.append(int(word))
    return found[0], found[1]


def add_aa_mapping(plan: Plan, call: Call) -> None:
    """`add-aa-mapping`."""
    service, vlan = _mapping(call)
    bridge = plan.switch.bridge(call.words[0]).real.row
    row = next(plan.rows.referred(bridge, "auto_attach"), None)
    if row is None:
        row = plan.rows.insert("AutoAttach")
        plan.rows.write(bridge, "auto_attach", (row.uuid,))
    if service not in dict(row["mappings"]):
        plan.rows.put(row, "mappings", ((service, vlan),))


def del_aa_mapping(plan: Plan, call: Call) -> None:
    """`del-aa-mapping`."""
    pair = _mapping(call)
    bridge = plan.switch.bridge(call.words[0]).real.row
    for row in plan.rows.referred(bridge, "auto_attach"):
        if pair in row["mappings"]:
            plan.rows.take(row, "mappings", (pair,))


def get_aa_mapping(plan: Plan, call: Call) -> None:
    """`get-aa-mapping`."""
    bridge = plan.switch.bridge(call.words[0]).real.row
    for row in plan.rows.referred(bridge, "auto_attach"):
        for service, vlan in row["mappings"]:
            plan.out.line(f"{service} {vlan}")


# ---- all at once


def emer_reset(plan: Plan, call: Call) -> None:
    """`emer-reset`."""
    rows, root = plan.rows, plan.rows.root()
    _clear_targets(plan, root, "manager_options")
    del_ssl(plan, call)
    for bridge in rows.of("Bridge"):
        for column in ("mirrors", "netflow", "sflow", "ipfix", "controller", "fail_mode"):
            rows.write(bridge, column, ())
        kept = tuple(pair for pair in bridge["other_config"] if pair[0] == "hwaddr")
        rows.write(bridge, "other_config", kept)
    for port in rows.of("Port"):
        rows.write(port, "other_config", ())
    for interface in rows.of("Interface"):
        rows.write(interface, "ingress_policing_rate", (0,))
        rows.write(interface, "ingress_policing_burst", (0,))
