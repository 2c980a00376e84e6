"""The commands of ovs-vsctl, one row each: from them come what is parsed, what is watched, the help, the completion.

`arguments` are written as `--commands` shows them: `!` one, `?` one or none, `+` one or more, `*` any number. `reads`
are columns that a command looks at; those of the commands on records follow from their words (`records.reads`).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    Reads = dict[str, tuple[str, ...]]

__all__ = ["COMMANDS", "GROUPS", "Command"]

_MANY = 1 << 30


class Command:
    """`run`: `module:function` within this package. `low`, `high`: of the number of words. `summary`: what it does, by
    the words that it may stand with."""

    __slots__ = ("arguments", "changes", "group", "high", "low", "name", "options", "reads", "run", "summary")

    def __init__(
        self,
        name: str,
        arguments: str,
        bounds: tuple[int, int],
        run: str,
        summary: str,
        *,
        group: str,
        options: tuple[str, ...] = (),
        reads: Reads | None = None,
        changes: bool = False,
    ) -> None:
        self.name = name
        self.arguments = arguments
        self.low, self.high = bounds
        self.run = run
        self.summary = summary
        self.group = group
        self.options = options
        self.reads = reads
        self.changes = changes

    @property
    def is_of_records(self) -> bool:
        """Whether its words say what it reads."""
        return self.run.startswith("records:")


_BRIDGES: Reads = {
    "Open_vSwitch": ("bridges",),
    "Bridge": ("name", "ports"),
    "Port": ("name", "fake_bridge", "tag", "interfaces"),
    "Interface": ("name", "ofport", "error"),
}
_WITH_IDS: Reads = _BRIDGES | {
    "Bridge": ("name", "ports", "external_ids"),
    "Port": ("name", "fake_bridge", "tag", "interfaces", "external_ids"),
}
_CONTROLLERS: Reads = _BRIDGES | {
    "Bridge": ("name", "ports", "controller"),
    "Controller": ("target", "inactivity_probe"),
}
_FAIL_MODE: Reads = _BRIDGES | {"Bridge": ("name", "ports", "fail_mode")}
_AUTO_ATTACH: Reads = _BRIDGES | {"Bridge": ("name", "ports", "auto_attach"), "AutoAttach": ("mappings",)}
_MANAGERS: Reads = {"Open_vSwitch": ("manager_options",), "Manager": ("target", "inactivity_probe")}
_SSL: Reads = {
    "Open_vSwitch": ("ssl",),
    "SSL": ("private_key", "certificate", "ca_cert", "bootstrap_ca_cert"),
}
_ZONES: Reads = {
    "Open_vSwitch": ("datapaths",),
    "Datapath": ("ct_zones", "capabilities"),
    "CT_Zone": ("timeout_policy",),
    "CT_Timeout_Policy": ("timeouts",),
}
_SHOWN: Reads = {
    "Open_vSwitch": ("manager_options", "bridges", "ovs_version"),
    "Manager": ("target", "is_connected"),
    "Bridge": ("name", "controller", "fail_mode", "datapath_type", "ports"),
    "Controller": ("target", "is_connected"),
    "Port": ("name", "tag", "trunks", "interfaces"),
    "Interface": ("name", "type", "options", "error", "bfd_status"),
}
_RESET: Reads = {
    "Open_vSwitch": ("manager_options", "ssl"),
    "Bridge": ("mirrors", "netflow", "sflow", "ipfix", "controller", "fail_mode", "other_config"),
    "Port": ("other_config",),
    "Interface": ("ingress_policing_rate", "ingress_policing_burst"),
}

GROUPS = (
    "Open vSwitch", "Bridge", "Port", "Bond", "Interface", "Conntrack zone", "Datapath", "Controller", "Manager", "SSL",
    "Auto-attach", "Database",
)  # fmt: skip
"""In the order of the help."""

_IF_EXISTS, _MAY_EXIST, _PROBE = ("--if-exists",), ("--may-exist",), ("--inactivity-probe=",)
_SET = "*COLUMN?:KEY=VALUE"

COMMANDS: dict[str, Command] = {
    command.name: command
    for command in (
        Command("init", "", (0, 0), "settings:init", "make the only row of Open_vSwitch, if it is not there",
                group="Open vSwitch", changes=True),
        Command("show", "", (0, 0), "show:show", "print an overview", group="Open vSwitch", reads=_SHOWN),
        Command("emer-reset", "", (0, 0), "settings:emer_reset",
                "take away controllers, managers, SSL, mirrors, policing, samplers, fail modes and other_config",
                group="Open vSwitch", reads=_RESET, changes=True),
        Command("add-br", "!NEW-BRIDGE ?PARENT ?NEW-VLAN", (1, 3), "bridges:add_br",
                "make a bridge; with a parent a fake bridge: its ports with this VLAN", group="Bridge",
                options=_MAY_EXIST, reads=_BRIDGES, changes=True),
        Command("del-br", "!BRIDGE", (1, 1), "bridges:del_br", "take away a bridge with all of its ports",
                group="Bridge", options=_IF_EXISTS, reads=_BRIDGES, changes=True),
        Command("list-br", "", (0, 0), "bridges:list_br", "print the names of the bridges", group="Bridge",
                options=("--real", "--fake"), reads=_BRIDGES),
        Command("br-exists", "!BRIDGE", (1, 1), "bridges:br_exists", "end with status 2 if there is no such bridge",
                group="Bridge", reads=_BRIDGES),
        Command("br-to-vlan", "!BRIDGE", (1, 1), "bridges:br_to_vlan", "print the VLAN of a fake bridge, else 0",
                group="Bridge", reads=_BRIDGES),
        Command("br-to-parent", "!BRIDGE", (1, 1), "bridges:br_to_parent",
                "print the parent of a fake bridge, else its own name", group="Bridge", reads=_BRIDGES),
        Command("br-set-external-id", "!BRIDGE !KEY ?VALUE", (2, 3), "bridges:br_set_external_id",
                "set a key of external_ids; without a value, take it away", group="Bridge", reads=_WITH_IDS,
                changes=True),
        Command("br-get-external-id", "!BRIDGE ?KEY", (1, 2), "bridges:br_get_external_id",
                "print the value of a key of external_ids, or all as KEY=VALUE", group="Bridge", reads=_WITH_IDS),
        Command("list-ports", "!BRIDGE", (1, 1), "ports:list_ports",
                "print the names of a bridge's ports, but for that of its own name", group="Port", reads=_BRIDGES),
        Command("add-port", f"!BRIDGE !NEW-PORT {_SET}", (2, _MANY), "ports:add_port",
                "make a port of a device of the same name", group="Port", options=_MAY_EXIST, reads=_BRIDGES,
                changes=True),
        Command("del-port", "?BRIDGE !PORT|IFACE", (1, 2), "ports:del_port", "take away a port", group="Port",
                options=("--if-exists", "--with-iface"), reads=_BRIDGES, changes=True),
        Command("port-to-br", "!PORT", (1, 1), "ports:port_to_br", "print the bridge of a port", group="Port",
                reads=_BRIDGES),
        Command("add-bond", f"!BRIDGE !BOND +IFACE {_SET}", (4, _MANY), "ports:add_bond",
                "make a port of several devices", group="Bond", options=("--may-exist", "--fake-iface"),
                reads=_BRIDGES, changes=True),
        Command("add-bond-iface", "!BOND !IFACE", (2, 2), "ports:add_bond_iface", "add a device to a port",
                group="Bond", options=_MAY_EXIST, reads=_BRIDGES, changes=True),
        Command("del-bond-iface", "?BOND !IFACE", (1, 2), "ports:del_bond_iface", "take away a device of a port",
                group="Bond", options=_IF_EXISTS, reads=_BRIDGES, changes=True),
        Command("list-ifaces", "!BRIDGE", (1, 1), "ports:list_ifaces", "print the names of a bridge's interfaces",
                group="Interface", reads=_BRIDGES),
        Command("iface-to-br", "!IFACE", (1, 1), "ports:iface_to_br", "print the bridge of an interface",
                group="Interface", reads=_BRIDGES),
        Command("add-zone-tp", "!DATAPATH !ZONE +POLICY=SECONDS", (3, _MANY), "zones:add_zone_tp",
                "give a zone of conntrack timeouts", group="Conntrack zone", options=_MAY_EXIST, reads=_ZONES,
                changes=True),
        Command("del-zone-tp", "!DATAPATH !ZONE", (2, 2), "zones:del_zone_tp", "take a zone's timeouts away",
                group="Conntrack zone", options=_IF_EXISTS, reads=_ZONES, changes=True),
        Command("list-zone-tp", "!DATAPATH", (1, 1), "zones:list_zone_tp", "print the timeouts of all zones",
                group="Conntrack zone", reads=_ZONES),
        Command("list-dp-cap", "!DATAPATH", (1, 1), "zones:list_dp_cap", "print what a datapath can do",
                group="Datapath", reads=_ZONES),
        Command("get-controller", "!BRIDGE", (1, 1), "settings:get_controller", "print a bridge's controllers",
                group="Controller", reads=_CONTROLLERS),
        Command("del-controller", "!BRIDGE", (1, 1), "settings:del_controller", "let a bridge have no controllers",
                group="Controller", reads=_CONTROLLERS, changes=True),
        Command("set-controller", "!BRIDGE +TARGET", (1, _MANY), "settings:set_controller",
                "let a bridge have these controllers and no others", group="Controller", options=_PROBE,
                reads=_CONTROLLERS, changes=True),
        Command("get-fail-mode", "!BRIDGE", (1, 1), "settings:get_fail_mode",
                "print what a bridge does without its controllers", group="Controller", reads=_FAIL_MODE),
        Command("del-fail-mode", "!BRIDGE", (1, 1), "settings:del_fail_mode", "let it be as by default",
                group="Controller", reads=_FAIL_MODE, changes=True),
        Command("set-fail-mode", "!BRIDGE !MODE", (2, 2), "settings:set_fail_mode", "standalone or secure",
                group="Controller", reads=_FAIL_MODE, changes=True),
        Command("get-manager", "", (0, 0), "settings:get_manager", "print the managers", group="Manager",
                reads=_MANAGERS),
        Command("del-manager", "", (0, 0), "settings:del_manager", "let there be no managers", group="Manager",
                reads=_MANAGERS, changes=True),
        Command("set-manager", "+TARGET", (1, _MANY), "settings:set_manager",
                "let there be these managers and no others", group="Manager", options=_PROBE, reads=_MANAGERS,
                changes=True),
        Command("get-ssl", "", (0, 0), "settings:get_ssl", "print the files for TLS", group="SSL", reads=_SSL),
        Command("del-ssl", "", (0, 0), "settings:del_ssl", "let there be none", group="SSL", reads=_SSL, changes=True),
        Command("set-ssl", "!PRIVATE-KEY !CERTIFICATE !CA-CERT", (3, 3), "settings:set_ssl", "name them",
                group="SSL", options=("--bootstrap",), reads=_SSL, changes=True),
        Command("add-aa-mapping", "!BRIDGE !I-SID !VLAN", (3, 3), "settings:add_aa_mapping",
                "map a service to a VLAN", group="Auto-attach", reads=_AUTO_ATTACH, changes=True),
        Command("del-aa-mapping", "!BRIDGE !I-SID !VLAN", (3, 3), "settings:del_aa_mapping", "take that away",
                group="Auto-attach", reads=_AUTO_ATTACH, changes=True),
        Command("get-aa-mapping", "!BRIDGE", (1, 1), "settings:get_aa_mapping", "print what is mapped",
                group="Auto-attach", reads=_AUTO_ATTACH),
        Command("list", "!TABLE *RECORD", (1, _MANY), "records:list_records", "show records, or all of a table",
                group="Database", options=("--if-exists", "--columns=")),
        Command("find", f"!TABLE {_SET}", (1, _MANY), "records:find_records", "show records that fulfil conditions",
                group="Database", options=("--columns=",)),
        Command("get", "!TABLE !RECORD *COLUMN?:KEY", (2, _MANY), "records:get", "print values of a record",
                group="Database", options=("--if-exists", "--id=")),
        Command("set", "!TABLE !RECORD +COLUMN?:KEY=VALUE", (3, _MANY), "records:set_values", "set columns or keys",
                group="Database", options=_IF_EXISTS, changes=True),
        Command("add", "!TABLE !RECORD !COLUMN +?KEY=VALUE", (4, _MANY), "records:add",
                "add elements, or keys that are not there", group="Database", options=_IF_EXISTS, changes=True),
        Command("remove", "!TABLE !RECORD !COLUMN +KEY|VALUE|KEY=VALUE", (4, _MANY), "records:remove",
                "take elements or keys away", group="Database", options=_IF_EXISTS, changes=True),
        Command("clear", "!TABLE !RECORD +COLUMN", (3, _MANY), "records:clear", "let columns be empty",
                group="Database", options=_IF_EXISTS, changes=True),
        Command("create", "!TABLE +COLUMN?:KEY=VALUE", (2, _MANY), "records:create",
                "make a record and print its UUID; --id=@NAME names it for other commands", group="Database",
                options=("--id=",), changes=True),
        Command("destroy", "!TABLE *RECORD", (1, _MANY), "records:destroy", "take records away", group="Database",
                options=("--if-exists", "--all"), changes=True),
        Command("wait-until", f"!TABLE !RECORD {_SET}", (2, _MANY), "records:wait_until",
                "wait until a record is there and fulfils conditions", group="Database"),
        Command("comment", "*ARG", (0, _MANY), "settings:comment", "do nothing: the log of the database has the words",
                group="Database"),
    )
}  # fmt: skip
"""By name."""
