"""The schema of the database `Open_vSwitch`, in which a switch is configured.

Tables and columns are those of Open vSwitch 3.1's schema 8.3.1, and besides the columns in `NEWER`, which newer
programs ask for. ovs-vswitchd.conf.db(5) says what they mean. A test compares them with Open vSwitch's file.
"""

from __future__ import annotations

from vswitch.ovsdb.schema import Column, DatabaseSchema, TableSchema
from vswitch.ovsdb.types import UNLIMITED, BaseType, Type

__all__ = ["NEWER", "VSWITCH_SCHEMA"]

NEWER = (
    ("CT_Zone", "limit"),
    ("Datapath", "ct_zone_default_limit"),
    ("Flow_Sample_Collector_Set", "local_group_id"),
    ("Mirror", "filter"),
)
"""Columns that schema 8.3.1 does not have, as (table, column)."""

_MAX_32 = (1 << 32) - 1


def _integer(low: int | None = None, high: int | None = None) -> BaseType:
    return BaseType("integer", low, high)


def _words(*words: str) -> BaseType:
    return BaseType("string", enum=tuple(sorted(words)))


def _row(table: str) -> BaseType:
    return BaseType("uuid", ref_table=table)


def _weak(table: str) -> BaseType:
    return BaseType("uuid", ref_table=table, is_weak=True)


_STRING, _INTEGER, _BOOLEAN = BaseType("string"), BaseType("integer"), BaseType("boolean")
_VLAN, _U32 = _integer(0, 4095), _integer(0, _MAX_32)
_UP_OR_DOWN = _words("up", "down")


def _one(name: str, base: BaseType, *, mutable: bool = True, kept: bool = True) -> Column:
    return Column(name, Type(base), mutable, not kept)


def _maybe(name: str, base: BaseType, *, kept: bool = True) -> Column:
    return Column(name, Type(base, None, 0, 1), is_ephemeral=not kept)


def _any(name: str, base: BaseType, low: int = 0, high: int = UNLIMITED, *, kept: bool = True) -> Column:
    return Column(name, Type(base, None, low, high), is_ephemeral=not kept)


def _map(name: str, value: BaseType = _STRING, key: BaseType = _STRING, *, kept: bool = True) -> Column:
    return Column(name, Type(key, value, 0, UNLIMITED), is_ephemeral=not kept)


def _table(
    name: str,
    *columns: Column,
    root: bool = False,
    max_rows: int = UNLIMITED,
    unique: tuple[str, ...] = (),
) -> TableSchema:
    """`unique`: columns that no two rows have the same in, all together."""
    indexes = [unique] if unique else []
    return TableSchema(name, columns, is_root=root, max_rows=max_rows, indexes=indexes)


_NAME = _one("name", _STRING, mutable=False)
_OTHER_CONFIG, _EXTERNAL_IDS = _map("other_config"), _map("external_ids")
_STATUS = _map("status", kept=False)
_COUNTERS = _map("statistics", _INTEGER, kept=False)
_TCP_STATES = (
    *("syn_sent", "syn_recv", "established", "fin_wait", "close_wait", "last_ack", "time_wait", "close"),
    *("syn_sent2", "retransmit", "unack"),
)
_OTHER_STATES = ("udp_first", "udp_single", "udp_multiple", "icmp_first", "icmp_reply")
_TIMEOUTS = _words(*(f"tcp_{state}" for state in _TCP_STATES), *_OTHER_STATES)

VSWITCH_SCHEMA = DatabaseSchema(
    "Open_vSwitch",
    "8.3.2",
    [
        _table(
            "Open_vSwitch",
            _map("datapaths", _row("Datapath")),
            _any("bridges", _row("Bridge")),
            _any("manager_options", _row("Manager")),
            _maybe("ssl", _row("SSL")),
            _OTHER_CONFIG,
            _EXTERNAL_IDS,
            _one("next_cfg", _INTEGER),
            _one("cur_cfg", _INTEGER),
            _map("statistics", kept=False),
            _maybe("ovs_version", _STRING),
            _maybe("db_version", _STRING),
            _maybe("system_type", _STRING),
            _maybe("system_version", _STRING),
            _any("datapath_types", _STRING),
            _any("iface_types", _STRING),
            _one("dpdk_initialized", _BOOLEAN),
            _maybe("dpdk_version", _STRING),
            root=True,
            max_rows=1,
        ),
        _table(
            "Bridge",
            _NAME,
            _one("datapath_type", _STRING),
            _one("datapath_version", _STRING),
            _maybe("datapath_id", _STRING, kept=False),
            _one("stp_enable", _BOOLEAN),
            _one("rstp_enable", _BOOLEAN),
            _one("mcast_snooping_enable", _BOOLEAN),
            _any("ports", _row("Port")),
            _any("mirrors", _row("Mirror")),
            _maybe("netflow", _row("NetFlow")),
            _maybe("sflow", _row("sFlow")),
            _maybe("ipfix", _row("IPFIX")),
            _any("controller", _row("Controller")),
            _any("protocols", _words(*(f"OpenFlow1{minor}" for minor in range(6)))),
            _maybe("fail_mode", _words("standalone", "secure")),
            _STATUS,
            _map("rstp_status", kept=False),
            _OTHER_CONFIG,
            _EXTERNAL_IDS,
            _any("flood_vlans", _VLAN, high=4096),
            _map("flow_tables", _row("Flow_Table"), _integer(0, 254)),
            _maybe("auto_attach", _row("AutoAttach")),
            unique=("name",),
        ),
        _table(
            "Port",
            _NAME,
            _any("interfaces", _row("Interface"), 1),
            _any("trunks", _VLAN, high=4096),
            _any("cvlans", _VLAN, high=4096),
            _maybe("tag", _VLAN),
            _maybe("vlan_mode", _words("trunk", "access", "native-tagged", "native-untagged", "dot1q-tunnel")),
            _maybe("qos", _row("QoS")),
            _maybe("mac", _STRING),
            _maybe("bond_mode", _words("balance-tcp", "balance-slb", "active-backup")),
            _maybe("lacp", _words("active", "passive", "off")),
            _one("bond_updelay", _INTEGER),
            _one("bond_downdelay", _INTEGER),
            _maybe("bond_active_slave", _STRING),
            _one("bond_fake_iface", _BOOLEAN),
            _one("fake_bridge", _BOOLEAN),
            _STATUS,
            _map("rstp_status", kept=False),
            _map("rstp_statistics", _INTEGER, kept=False),
            _COUNTERS,
            _one("protected", _BOOLEAN),
            _OTHER_CONFIG,
            _EXTERNAL_IDS,
            unique=("name",),
        ),
        _table(
            "Interface",
            _NAME,
            _one("type", _STRING),
            _map("options"),
            _one("ingress_policing_rate", _integer(0)),
            _one("ingress_policing_burst", _integer(0)),
            _one("ingress_policing_kpkts_rate", _integer(0)),
            _one("ingress_policing_kpkts_burst", _integer(0)),
            _maybe("mac_in_use", _STRING, kept=False),
            _maybe("mac", _STRING),
            _maybe("ifindex", _U32, kept=False),
            _EXTERNAL_IDS,
            _maybe("ofport", _INTEGER),
            _maybe("ofport_request", _integer(1, 65279)),
            _map("bfd"),
            _map("bfd_status", kept=False),
            _maybe("cfm_mpid", _INTEGER),
            _any("cfm_remote_mpids", _INTEGER, kept=False),
            _maybe("cfm_flap_count", _INTEGER),
            _maybe("cfm_fault", _BOOLEAN, kept=False),
            _any("cfm_fault_status", _STRING, kept=False),
            _maybe("cfm_remote_opstate", _UP_OR_DOWN, kept=False),
            _maybe("cfm_health", _integer(0, 100), kept=False),
            _maybe("lacp_current", _BOOLEAN, kept=False),
            _map("lldp"),
            _OTHER_CONFIG,
            _COUNTERS,
            _STATUS,
            _maybe("admin_state", _UP_OR_DOWN, kept=False),
            _maybe("link_state", _UP_OR_DOWN, kept=False),
            _maybe("link_resets", _INTEGER, kept=False),
            _maybe("link_speed", _INTEGER, kept=False),
            _maybe("duplex", _words("half", "full"), kept=False),
            _maybe("mtu", _INTEGER, kept=False),
            _maybe("mtu_request", _integer(1)),
            _maybe("error", _STRING),
            unique=("name",),
        ),
        _table(
            "Flow_Table",
            _maybe("name", _STRING),
            _maybe("flow_limit", _integer(0)),
            _maybe("overflow_policy", _words("refuse", "evict")),
            _any("groups", _STRING),
            _any("prefixes", _STRING, high=3),
            _EXTERNAL_IDS,
        ),
        _table(
            "QoS",
            _one("type", _STRING),
            _map("queues", _row("Queue"), _U32),
            _OTHER_CONFIG,
            _EXTERNAL_IDS,
            root=True,
        ),
        _table("Queue", _maybe("dscp", _integer(0, 63)), _OTHER_CONFIG, _EXTERNAL_IDS, root=True),
        _table(
            "Mirror",
            _one("name", _STRING),
            _one("select_all", _BOOLEAN),
            _any("select_src_port", _weak("Port")),
            _any("select_dst_port", _weak("Port")),
            _any("select_vlan", _VLAN, high=4096),
            _maybe("output_port", _weak("Port")),
            _maybe("output_vlan", _integer(1, 4095)),
            _maybe("snaplen", _integer(14, 65535)),
            _maybe("filter", _STRING),
            _COUNTERS,
            _EXTERNAL_IDS,
        ),
        _table(
            "NetFlow",
            _any("targets", _STRING, 1),
            _maybe("engine_type", _integer(0, 255)),
            _maybe("engine_id", _integer(0, 255)),
            _one("add_id_to_interface", _BOOLEAN),
            _one("active_timeout", _integer(-1)),
            _EXTERNAL_IDS,
        ),
        _table(
            "sFlow",
            _any("targets", _STRING, 1),
            _maybe("sampling", _INTEGER),
            _maybe("polling", _INTEGER),
            _maybe("header", _INTEGER),
            _maybe("agent", _STRING),
            _EXTERNAL_IDS,
        ),
        _table(
            "IPFIX",
            _any("targets", _STRING),
            _maybe("sampling", _integer(1, _MAX_32)),
            _maybe("obs_domain_id", _U32),
            _maybe("obs_point_id", _U32),
            _maybe("cache_active_timeout", _integer(0, 4200)),
            _maybe("cache_max_flows", _U32),
            _OTHER_CONFIG,
            _EXTERNAL_IDS,
        ),
        _table(
            "Flow_Sample_Collector_Set",
            _one("id", _U32),
            _one("bridge", _row("Bridge")),
            _maybe("ipfix", _row("IPFIX")),
            _maybe("local_group_id", _U32),
            _EXTERNAL_IDS,
            root=True,
            unique=("id", "bridge"),
        ),
        _table(
            "Controller",
            _maybe("type", _words("primary", "service")),
            _one("target", _STRING),
            _maybe("max_backoff", _integer(1000)),
            _maybe("inactivity_probe", _INTEGER),
            _maybe("connection_mode", _words("in-band", "out-of-band")),
            _maybe("local_ip", _STRING),
            _maybe("local_netmask", _STRING),
            _maybe("local_gateway", _STRING),
            _maybe("enable_async_messages", _BOOLEAN),
            _maybe("controller_queue_size", _integer(1, 512)),
            _maybe("controller_rate_limit", _integer(100)),
            _maybe("controller_burst_limit", _integer(25)),
            _OTHER_CONFIG,
            _EXTERNAL_IDS,
            _one("is_connected", _BOOLEAN, kept=False),
            _maybe("role", _words("other", "master", "slave"), kept=False),
            _STATUS,
        ),
        _table(
            "Manager",
            _one("target", _STRING),
            _maybe("max_backoff", _integer(1000)),
            _maybe("inactivity_probe", _INTEGER),
            _maybe("connection_mode", _words("in-band", "out-of-band")),
            _OTHER_CONFIG,
            _EXTERNAL_IDS,
            _one("is_connected", _BOOLEAN, kept=False),
            _STATUS,
            unique=("target",),
        ),
        _table(
            "Datapath",
            _one("datapath_version", _STRING),
            _map("ct_zones", _row("CT_Zone"), _integer(0, 65535)),
            _maybe("ct_zone_default_limit", _U32),
            _map("capabilities"),
            _EXTERNAL_IDS,
        ),
        _table(
            "CT_Zone",
            _maybe("timeout_policy", _row("CT_Timeout_Policy")),
            _maybe("limit", _U32),
            _EXTERNAL_IDS,
        ),
        _table("CT_Timeout_Policy", _map("timeouts", _U32, _TIMEOUTS), _EXTERNAL_IDS),
        _table(
            "SSL",
            _one("private_key", _STRING),
            _one("certificate", _STRING),
            _one("ca_cert", _STRING),
            _one("bootstrap_ca_cert", _BOOLEAN),
            _EXTERNAL_IDS,
            max_rows=1,
        ),
        _table(
            "AutoAttach",
            _one("system_name", _STRING),
            _one("system_description", _STRING),
            _map("mappings", _integer(0, 4095), _integer(0, 16777215)),
        ),
    ],
)
