"""From the rows of the database to what is wanted, as frozen values.

Invariant: no row, whatever is in it, keeps another from being understood. What is wrong with one is said beside it: as
the `error` of an interface, as `notes` of a bridge or of the whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from vswitch.base.errors import ConfigError
from vswitch.bridge.options import BridgeOptions, ControllerSettings, TableSettings
from vswitch.datapath.ebpf.state import check_name
from vswitch.host.policing import policing
from vswitch.host.qos import Qos, parse_qos
from vswitch.model.port import Policing
from vswitch.ofproto.settings import McastSnooping, Mirror
from vswitch.ofproto.translation import PortVlan
from vswitch.ovsdb.database import Database
from vswitch.ovsdb.types import Atom
from vswitch.transport.targets import Tls, parse_target
from vswitch.vswitchd.rows import Cells, rows_of

__all__ = [
    "INTERFACE_TYPES",
    "Wanted",
    "WantedBridge",
    "WantedController",
    "WantedInterface",
    "WantedPort",
    "plan",
]

INTERFACE_TYPES = ("internal", "patch", "system", "tap")
"""Those that there are here."""

_LATER = (
    "bareudp", "erspan", "geneve", "gre", "gtpu", "ip6erspan", "ip6gre", "lisp", "srv6", "stt", "vxlan", "dpdk",
    "dpdkvhostuser", "dpdkvhostuserclient", "afxdp", "afxdp-nonpmd",
)  # fmt: skip
DATAPATH_TYPES = ("netdev", "system")
"""Names of kinds of datapaths that may be asked for. There is one kind here, which both of them mean."""

_PRIORITY_TAGS = {"true": "if-nonzero", "if-nonzero": "if-nonzero", "always": "always"}
_POLICING = ("rate", "burst", "kpkts_rate", "kpkts_burst")
_MAC = re.compile(r"[0-9a-fA-F]{2}(?::[0-9a-fA-F]{2}){5}")
_HEX = re.compile(r"(?:0[xX](?=[0-9a-fA-F]{1,16}$)|(?=[0-9a-fA-F]{16}$))([0-9a-fA-F]+)")
_VERSIONS = {f"OpenFlow1{minor}": minor + 1 for minor in range(6)}
_MAX_OFPORT = 65279
"""0xff00 and above are reserved by OpenFlow 1.0."""

_WITHOUT_EFFECT = {
    "Open_vSwitch": (
        "dpdk-init", "hw-offload", "n-handler-threads", "n-revalidator-threads", "max-revalidator",
        "min-revalidate-pps", "offload-rebalance", "tc-policy", "userspace-tso-enable", "vlan-limit", "ct-zone-limit",
        "pmd-cpu-mask",
    ),
    "Bridge": ("in-band-queue", "controller-queue-size", "stp-priority", "rstp-priority", "mac-table-idle"),
    "Port": ("bond-mode", "lacp-time", "stp-enable", "rstp-enable", "qinq-vlan-limit"),
}  # fmt: skip
"""Keys of other_config, by tables, that Open vSwitch heeds and that mean nothing here; keys that nobody knows are left
to those who wrote them."""

MAX_BRIDGES = 1024
"""More in the database are not made: each has maps in the kernel, and a program."""

DEFAULT_MEGAFLOWS = 65_536
"""Of each bridge, if `flow-limit` does not say otherwise; the size of its maps is fixed when it is made."""


@dataclass(frozen=True, slots=True)
class WantedInterface:
    """`request`: the OpenFlow number that it is to have; `last`: the one that it had. `peer`: of a patch port the name
    of the other. `mac`, `mtu`: None if it is to be left as it is. `error`: why it cannot be; `note`: what is wrong with
    it besides."""

    uuid: str
    name: str
    kind: str
    request: int | None = None
    last: int | None = None
    mac: str | None = None
    mtu: int | None = None
    peer: str = ""
    policing: Policing = field(default_factory=Policing)
    qos: Qos | None = None
    error: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class WantedPort:
    """With its one interface, or with several, none of which can be."""

    uuid: str
    name: str
    interfaces: tuple[WantedInterface, ...]


@dataclass(frozen=True, slots=True)
class WantedController:
    """A row of the table Controller. `error`: why it cannot be."""

    uuid: str
    target: str
    error: str = ""


@dataclass(frozen=True, slots=True)
class WantedBridge:
    """`options`: all that a Bridge is told, but the datapath id if none was given: it follows from `hwaddr`, or from
    the ports. `mirrors`: UUIDs and names of those that there are. `notes`: what was asked for and is not done, by its
    name. `error`: why there cannot be such a bridge."""

    uuid: str
    name: str
    options: BridgeOptions
    ports: tuple[WantedPort, ...] = ()
    controllers: tuple[WantedController, ...] = ()
    mirrors: tuple[tuple[str, str], ...] = ()
    hwaddr: str | None = None
    notes: Mapping[str, str] = field(default_factory=dict)
    error: str = ""

    def interfaces(self) -> Iterable[WantedInterface]:
        """Of all of its ports."""
        return (interface for port in self.ports for interface in port.interfaces)


@dataclass(frozen=True, slots=True)
class Wanted:
    """`generation`: `next_cfg` of the database, which `cur_cfg` follows. `root`: the row of Open_vSwitch, if there is
    one. `statistics_s`: how often counters are written."""

    root: str = ""
    generation: int = 0
    bridges: tuple[WantedBridge, ...] = ()
    statistics_s: float = 5.0
    waits: bool = False
    tls: Tls | None = None
    notes: tuple[str, ...] = ()


def plan(database: Database, folder: str) -> Wanted:
    """What the database asks for. `folder`: where sockets are."""
    roots = list(rows_of(database, "Open_vSwitch"))
    if not roots:
        return Wanted()
    root = roots[0]
    reader = _Reader(database, root, folder)
    config = root.texts("other_config")
    bridges: dict[str, WantedBridge] = {}
    rows = list(rows_of(database, "Bridge", root.many("bridges")))
    if len(rows) > MAX_BRIDGES:
        reader.notes.append(f"{len(rows)} bridges are more than {MAX_BRIDGES}: the others are not made")
    for row in sorted(rows, key=lambda each: each.text("name"))[:MAX_BRIDGES]:
        bridges[row.text("name")] = reader.bridge(row)
    return Wanted(
        root.uuid,
        root.number("next_cfg") or 0,
        tuple(bridges.values()),
        reader.bounded(config, "stats-update-interval", 5000, 5000, 3_600_000) / 1000,
        reader.waits,
        reader.tls,
        tuple(reader.notes),
    )


class _Reader:
    """Reads rows; what is said once for all bridges is at hand."""

    def __init__(self, database: Database, root: Cells, folder: str) -> None:
        self.notes: list[str] = []
        self._database = database
        self._folder = folder
        self._config = root.texts("other_config")
        self._taken: set[str] = set()
        self._note_ignored("Open_vSwitch", root, "")
        self.waits = self._config.get("flow-restore-wait") == "true"
        self.tls = self._tls(root)

    def bounded(self, config: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
        """A number from a map of strings; outside of its bounds, the nearest that is not."""
        text = config.get(name)
        if text is None:
            return default
        try:
            return min(max(int(text), low), high)
        except ValueError:
            self.notes.append(f"{name}={text!r} is no number: it is {default}")
            return default

    def _note_ignored(self, table: str, row: Cells, of: str) -> None:
        """Say which settings of a row are heeded by Open vSwitch alone."""
        config = row.texts("other_config")
        for key in _WITHOUT_EFFECT[table] if config else ():
            if config.get(key, "false") != "false":
                self.notes.append(f"other_config:{key}={config[key]}{of} has no effect here")

    def _tls(self, root: Cells) -> Tls | None:
        for row in rows_of(self._database, "SSL", root.many("ssl")):
            return Tls(row.text("private_key"), row.text("certificate"), row.text("ca_cert"))
        return None

    # ---- bridges

    def bridge(self, row: Cells) -> WantedBridge:
        name, config = row.text("name"), row.texts("other_config")
        notes: dict[str, str] = {}
        ports = tuple(self._port(port, name) for port in self._ports(row))
        vlans = {}
        for port in self._ports(row):
            vlan = _vlan(port)
            if vlan != PortVlan():
                vlans[port.text("name")] = vlan
        controllers, places, settings = self._controllers(row, notes)
        mirrors = self._mirrors(row, notes)
        hwaddr = self._mac(config.get("hwaddr"), f"{name}: hwaddr")
        self._note_what_is_not_done(row, notes)
        for port in self._ports(row):
            self._note_ignored("Port", port, f" of port {port.text('name')}")
        self._note_ignored("Bridge", row, f" of bridge {name}")
        options = _as_far_as_possible(
            BridgeOptions(waits=self.waits),
            {
                "management": f"punix:{self._folder}/{name}.mgmt",
                "controllers": settings,
                "listen": places,
                "snoop": f"punix:{self._folder}/{name}.snoop",
                "fail_mode": row.text("fail_mode") or "standalone",
                "datapath_id": self._datapath_id(config, name),
                "versions": frozenset(number for text, number in _VERSIONS.items() if text in row.many("protocols"))
                or frozenset(_VERSIONS.values()),
                "max_megaflows": self.bounded(self._config, "flow-limit", DEFAULT_MEGAFLOWS, 1000, 1_000_000),
                "idle_timeout_s": self.bounded(self._config, "max-idle", 10_000, 500, 3_600_000) / 1000,
                "mac_age_s": self.bounded(config, "mac-aging-time", 300, 15, 3600),
                "max_macs": self.bounded(config, "mac-table-size", 8192, 10, 1_000_000),
                "vlans": vlans,
                "tables": self._tables(row, notes),
                "mirrors": tuple(mirror for _, mirror in mirrors),
                "mcast_snooping": self._snooping(row, config),
                "protected": frozenset(port.text("name") for port in self._ports(row) if port.flag("protected")),
                "flood_vlans": row.numbers("flood_vlans"),
                "forward_bpdu": config.get("forward-bpdu") == "true",
                "description": config.get("dp-desc", "None"),
                "serial": config.get("dp-sn", "None"),
                "tls": self.tls,
            },
            notes,
        )
        error = ""
        try:
            check_name(name)
        except ConfigError as problem:
            error = str(problem)
        told = tuple((uuid, mirror.name) for uuid, mirror in mirrors)
        return WantedBridge(row.uuid, name, options, ports, controllers, told, hwaddr, notes, error)

    def _ports(self, row: Cells) -> Iterable[Cells]:
        rows = rows_of(self._database, "Port", row.many("ports"))
        return sorted(rows, key=lambda each: (each.text("name") != row.text("name"), each.text("name")))

    def _datapath_id(self, config: Mapping[str, str], name: str) -> int | None:
        text = config.get("datapath-id")
        if text is None:
            return None
        found = _HEX.fullmatch(text)
        if found is None or not int(found[1], 16):
            self.notes.append(
                f"{name}: datapath-id {text!r} is not 16 hexadecimal digits, or 0x and fewer, not all zero"
            )
            return None
        return int(found[1], 16)

    def _mac(self, text: str | None, what: str) -> str | None:
        if not text:
            return None
        if not _MAC.fullmatch(text) or int(text[:2], 16) & 1 or not int(text.replace(":", ""), 16):
            self.notes.append(f"{what} {text!r} is no address of one device")
            return None
        return text.lower()

    def _tables(self, row: Cells, notes: dict[str, str]) -> dict[int, TableSettings]:
        found: dict[int, TableSettings] = {}
        for number, uuid in row.pairs("flow_tables").items():
            for table in rows_of(self._database, "Flow_Table", (uuid,)):
                try:
                    found[int(number)] = TableSettings(
                        table.text("name"), table.number("flow_limit"), table.text("overflow_policy") == "evict"
                    )
                except ConfigError as problem:
                    notes[f"flow_table {number}"] = str(problem)
        return {number: settings for number, settings in found.items() if settings != TableSettings()}

    def _snooping(self, row: Cells, config: Mapping[str, str]) -> McastSnooping | None:
        if not row.flag("mcast_snooping_enable"):
            return None

        def ports(key: str) -> frozenset[str]:
            return frozenset(
                port.text("name") for port in self._ports(row) if port.texts("other_config").get(key) == "true"
            )

        return McastSnooping(
            config.get("mcast-snooping-disable-flood-unregistered") != "true",
            ports("mcast-snooping-flood"),
            ports("mcast-snooping-flood-reports"),
            self.bounded(config, "mcast-snooping-aging-time", 300, 15, 3600),
            self.bounded(config, "mcast-snooping-table-size", 2048, 10, 1_000_000),
        )

    def _mirrors(self, row: Cells, notes: dict[str, str]) -> list[tuple[str, Mirror]]:
        names: dict[Atom, str] = {port.uuid: port.text("name") for port in self._ports(row)}
        found: dict[str, tuple[str, Mirror]] = {}
        for each in rows_of(self._database, "Mirror", row.many("mirrors")):
            name = each.text("name")
            try:
                if name in found:
                    raise ConfigError(f"there are two mirrors {name}")
                if each.many("filter"):
                    raise ConfigError("filters of mirrors are not supported yet")
                outputs = [names[uuid] for uuid in each.many("output_port") if uuid in names]
                mirror = Mirror(
                    name,
                    bool(each.flag("select_all")),
                    frozenset(names[uuid] for uuid in each.many("select_src_port") if uuid in names),
                    frozenset(names[uuid] for uuid in each.many("select_dst_port") if uuid in names),
                    each.numbers("select_vlan"),
                    outputs[0] if outputs else None,
                    None if outputs else each.number("output_vlan"),
                    each.number("snaplen") or 0,
                )
            except ConfigError as problem:
                notes[f"mirror {name}"] = str(problem)
            else:
                found[name] = (each.uuid, mirror)
        return sorted(found.values(), key=lambda pair: pair[1].name)

    def _note_what_is_not_done(self, row: Cells, notes: dict[str, str]) -> None:
        for column, what in (("netflow", "NetFlow"), ("sflow", "sFlow"), ("ipfix", "IPFIX")):
            if row.many(column):
                notes[column] = f"{what} is not supported yet"
        for column, what in (("stp_enable", "STP"), ("rstp_enable", "RSTP")):
            if row.flag(column):
                notes[column] = f"{what} is not supported yet"
        if row.text("datapath_type") not in ("", *DATAPATH_TYPES):
            notes["datapath_type"] = (
                f"{row.text('datapath_type')!r} is none of {', '.join(DATAPATH_TYPES)}: it is system"
            )

    # ---- controllers

    def _controllers(
        self, row: Cells, notes: dict[str, str]
    ) -> tuple[tuple[WantedController, ...], tuple[ControllerSettings, ...], tuple[ControllerSettings, ...]]:
        """The rows, what is listened at, and what is connected to."""
        wanted: list[WantedController] = []
        listen: dict[str, ControllerSettings] = {}
        connect: dict[str, ControllerSettings] = {}
        rows = rows_of(self._database, "Controller", row.many("controller"))
        for each in sorted(rows, key=lambda controller: controller.text("target")):
            target = each.text("target")
            try:
                parsed = parse_target(target)
                if parsed.kind == "unix" and parsed.path.rpartition("/")[0] != self._folder:
                    raise ConfigError(f"target {target!r}: a socket is to be in the folder {self._folder}")
                if parsed.kind == "ssl" and self.tls is None:
                    raise ConfigError(f"target {target!r} needs a private key, a certificate and that of an authority")
                settings = ControllerSettings(
                    target,
                    probe_s=_seconds(each.number("inactivity_probe"), 0, 3600),
                    max_backoff_s=_seconds(each.number("max_backoff"), 1, 3600),
                    packet_in_rate_per_s=each.number("controller_rate_limit"),
                    packet_in_burst=each.number("controller_burst_limit"),
                    is_service=each.text("type") == "service",
                )
            except ConfigError as problem:
                wanted.append(WantedController(each.uuid, target, str(problem)))
                notes[f"controller {target}"] = str(problem)
                continue
            wanted.append(WantedController(each.uuid, target))
            (listen if parsed.passive else connect).setdefault(target, settings)
        return tuple(wanted), tuple(listen.values()), tuple(connect.values())

    # ---- ports

    def _port(self, row: Cells, bridge: str) -> WantedPort:
        rows = sorted(rows_of(self._database, "Interface", row.many("interfaces")), key=lambda each: each.text("name"))
        error = f"port {row.text('name')} is a bond, and bonds are not supported yet" if len(rows) > 1 else ""
        if row.uuid in self._taken:
            error = f"port {row.text('name')} is another bridge's already"
        self._taken.add(row.uuid)
        qos, note = self._qos(row)
        found = [
            replace(each, qos=qos, note=each.note or note)
            for each in (self._interface(interface, bridge, error) for interface in rows)
        ]
        return WantedPort(row.uuid, row.text("name"), tuple(found))

    def _qos(self, row: Cells) -> tuple[Qos | None, str]:
        """That of a port; else why there is none."""
        for qos in rows_of(self._database, "QoS", row.many("qos")):
            queues: dict[int, dict[str, str]] = {}
            for number, uuid in qos.pairs("queues").items():
                for queue in rows_of(self._database, "Queue", (uuid,)):
                    queues[int(number)] = queue.texts("other_config")
            try:
                return parse_qos(qos.text("type"), qos.texts("other_config"), queues), ""
            except ConfigError as problem:
                return None, str(problem)
        return None, ""

    def _interface(self, row: Cells, bridge: str, error: str) -> WantedInterface:
        name, kind, options = row.text("name"), row.text("type") or "system", row.texts("options")
        if name == bridge:
            kind = "internal"
        if row.uuid in self._taken:
            error = error or f"interface {name} is another port's already"
        self._taken.add(row.uuid)
        peer = options.get("peer", "") if kind == "patch" else ""
        limits, note = Policing(), ""
        try:
            limits = policing(*(row.number(f"ingress_policing_{name}") or 0 for name in _POLICING))
        except ConfigError as problem:
            note = f"ingress policing: {problem}"
        return WantedInterface(
            row.uuid,
            name,
            kind,
            row.number("ofport_request"),
            last if (last := row.number("ofport")) is not None and 0 < last <= _MAX_OFPORT else None,
            self._mac(row.text("mac"), f"{name}: mac"),
            row.number("mtu_request"),
            peer,
            limits,
            error=error or _what_is_wrong(name, kind, peer),
            note=note,
        )


def _what_is_wrong(name: str, kind: str, peer: str) -> str:
    if kind in _LATER:
        return f"interfaces of type {kind} are not supported yet"
    if kind not in INTERFACE_TYPES:
        return f"interface type {kind!r} is none of {', '.join(INTERFACE_TYPES)}"
    if kind == "patch" and not peer:
        return f"patch port {name} needs options:peer, the name of another one"
    if kind == "patch" and peer == name:
        return f"patch port {name} cannot be its own peer"
    return ""


def _vlan(port: Cells) -> PortVlan:
    """How a port treats VLANs. Words that contradict each other are taken as Open vSwitch takes them: the mode says
    what counts."""
    tag, trunks = port.number("tag"), port.numbers("trunks")
    mode = port.text("vlan_mode") or ("trunk" if tag is None else "access")
    config = port.texts("other_config")
    tags = _PRIORITY_TAGS.get(config.get("priority-tags", ""), "no")
    if mode == "access":
        return PortVlan(mode, tag or 0, priority_tags=tags)
    if mode == "trunk":
        return PortVlan(mode, 0, trunks, priority_tags=tags)
    if mode == "dot1q-tunnel":
        ethertype = 0x8100 if config.get("qinq-ethtype") == "802.1q" else 0x88A8
        return PortVlan(mode, tag or 0, frozenset(), port.numbers("cvlans"), ethertype, tags)
    return PortVlan(mode, tag or 0, trunks, priority_tags=tags)


def _seconds(milliseconds: int | None, low: float, high: float) -> float | None:
    return None if milliseconds is None else min(max(milliseconds / 1000, low), high)


def _as_far_as_possible(base: BridgeOptions, settings: Mapping[str, object], notes: dict[str, str]) -> BridgeOptions:
    """With these settings; without those that make no sense, which are noted."""
    for name, value in settings.items():
        try:
            base = _with(base, name, value)
        except ConfigError as problem:
            notes[name] = str(problem)
    return base


def _with(base: BridgeOptions, name: str, value: object) -> BridgeOptions:
    settings: dict[str, Any] = {name: value}
    return replace(base, **settings)
