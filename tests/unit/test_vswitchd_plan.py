"""What rows of the database are understood as, and that what is wrong with one keeps no other from that."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from tests.vswitchd import add_bridge, add_port, change, insert, mapping
from vswitch.bridge.options import ControllerSettings, TableSettings
from vswitch.host.qos import Qos, Queue
from vswitch.model.port import Policing
from vswitch.ofproto.settings import McastSnooping, Mirror
from vswitch.ofproto.translation import PortVlan
from vswitch.ovsdb.database import Change, Database
from vswitch.ovsdb.transaction import execute
from vswitch.ovsdb.vswitch_schema import VSWITCH_SCHEMA
from vswitch.vswitchd.plan import Wanted, WantedBridge, WantedInterface, plan
from vswitch.vswitchd.rows import asks_for_something, rows_of

RUN = "/run/vswitch"


def database(*operations: dict[str, Any]) -> Database:
    numbers = itertools.count(1)
    found = Database(VSWITCH_SCHEMA, lambda: f"{next(numbers):08x}-0000-4000-8000-000000000000")
    do(found, insert("Open_vSwitch", "root"))
    do(found, *operations)
    return found


def do(where: Database, *operations: dict[str, Any]) -> None:
    if operations:
        outcome = execute(where, list(operations))
        assert outcome.error is None, outcome.error


def planned(*operations: dict[str, Any]) -> Wanted:
    return plan(database(*operations), RUN)


def bridge(*operations: dict[str, Any], **row: Any) -> WantedBridge:
    (found,) = planned(*add_bridge("br0", **row), *operations).bridges
    return found


def interface(*args: Any, **row: Any) -> WantedInterface:
    found = bridge(*add_port("br0", "p1", *args, **row))
    return next(each for each in found.interfaces() if each.name == "p1")


def test_an_empty_database_asks_for_nothing() -> None:
    assert plan(Database(VSWITCH_SCHEMA, lambda: "00000000-0000-4000-8000-000000000000"), RUN) == Wanted()
    assert planned().bridges == ()


def test_a_bridge_has_its_local_port_first() -> None:
    found = bridge(*add_port("br0", "a1"))
    assert [each.name for each in found.interfaces()] == ["br0", "a1"]
    assert [each.kind for each in found.interfaces()] == ["internal", "system"]
    assert found.options.management == f"punix:{RUN}/br0.mgmt"
    assert found.options.fail_mode == "standalone"


@pytest.mark.parametrize(
    ("kind", "options", "error"),
    [
        ("", {}, ""),
        ("system", {}, ""),
        ("internal", {}, ""),
        ("tap", {}, ""),
        ("patch", {"peer": "p2"}, ""),
        ("patch", {}, "needs options:peer"),
        ("patch", {"peer": "p1"}, "its own peer"),
        ("vxlan", {"remote_ip": "192.0.2.1"}, "interfaces of type vxlan are not supported yet"),
        ("nonsense", {}, "interface type 'nonsense' is none of internal, patch, system, tap"),
    ],
)
def test_types_of_interfaces(kind: str, options: dict[str, str], error: str) -> None:
    found = interface(kind, options=mapping(options))
    assert error in found.error
    assert bool(error) == bool(found.error)


def test_a_bond_is_an_error_of_each_of_its_interfaces() -> None:
    (found,) = planned(
        *add_bridge("br0"),
        insert("Interface", "i1", name="e1"),
        insert("Interface", "i2", name="e2"),
        insert("Port", "bond", name="bond0", interfaces=["set", [["named-uuid", "i1"], ["named-uuid", "i2"]]]),
        {"op": "mutate", "table": "Bridge", "where": [], "mutations": [["ports", "insert", ["named-uuid", "bond"]]]},
        *add_port("br0", "fine"),
    ).bridges
    errors = {each.name: each.error for each in found.interfaces()}
    assert "bonds are not supported yet" in errors["e1"]
    assert "bonds are not supported yet" in errors["e2"]
    assert not errors["fine"]


@pytest.mark.parametrize(
    ("row", "vlan"),
    [
        ({}, None),
        ({"tag": 7}, PortVlan("access", 7)),
        ({"trunks": ["set", [1, 2]]}, PortVlan("trunk", 0, frozenset({1, 2}))),
        ({"tag": 7, "trunks": 9}, PortVlan("access", 7)),
        ({"tag": 7, "vlan_mode": "native-untagged", "trunks": 9}, PortVlan("native-untagged", 7, frozenset({9}))),
        ({"tag": 7, "vlan_mode": "native-tagged"}, PortVlan("native-tagged", 7)),
        ({"tag": 7, "vlan_mode": "trunk"}, None),
        (
            {"tag": 7, "vlan_mode": "dot1q-tunnel", "cvlans": 5},
            PortVlan("dot1q-tunnel", 7, frozenset(), frozenset({5})),
        ),
        (
            {"tag": 7, "other_config": mapping({"priority-tags": "always"})},
            PortVlan("access", 7, priority_tags="always"),
        ),
    ],
)
def test_vlans_of_ports(row: dict[str, Any], vlan: PortVlan | None) -> None:
    found = bridge(*add_port("br0", "p1", port=row))
    assert found.options.vlans.get("p1") == vlan


def test_numbers_of_ports_are_what_is_asked_for_or_what_they_were() -> None:
    assert (interface(ofport_request=7).request, interface(ofport_request=7).last) == (7, None)
    assert (interface(ofport=9).request, interface(ofport=9).last) == (None, 9)
    assert interface(ofport=-1).last is None


def test_policing() -> None:
    assert interface(ingress_policing_rate=1000, ingress_policing_kpkts_rate=5).policing == Policing(1000, 8000, 5, 16)
    wrong = interface(ingress_policing_rate=1, ingress_policing_burst=1 << 62)
    assert wrong.policing == Policing()
    assert "burst_kb" in wrong.note
    assert not wrong.error


def test_mirrors() -> None:
    ports = [*add_port("br0", "p1"), *add_port("br0", "p2")]
    there = database(*add_bridge("br0"), *ports)
    uuids = {row.text("name"): row.uuid for row in rows_of(there, "Port")}
    good = insert("Mirror", "m", name="m", select_src_port=["uuid", uuids["p1"]], output_port=["uuid", uuids["p2"]])
    wrong = insert("Mirror", "n", name="n", select_all=True)
    do(there, good, wrong, change("Bridge", "br0", mirrors=["set", [["named-uuid", "m"], ["named-uuid", "n"]]]))
    (found,) = plan(there, RUN).bridges
    assert found.options.mirrors == (Mirror("m", select_src_port=frozenset({"p1"}), output_port="p2"),)
    assert [name for _, name in found.mirrors] == ["m"]
    assert "output" in found.notes["mirror n"]


def test_multicast_snooping_and_protected_ports() -> None:
    settings = mapping({"mcast-snooping-table-size": "100", "forward-bpdu": "true"})
    port = {"protected": True, "other_config": mapping({"mcast-snooping-flood": "true"})}
    found = bridge(
        *add_port("br0", "p1", port=port), mcast_snooping_enable=True, other_config=settings, flood_vlans=5
    ).options
    assert found.mcast_snooping == McastSnooping(flood_ports=frozenset({"p1"}), max_groups=100)
    assert (found.protected, found.flood_vlans, found.forward_bpdu) == (frozenset({"p1"}), frozenset({5}), True)


def test_queues() -> None:
    queue = insert("Queue", "q", other_config=mapping({"max-rate": "1000000"}))
    rows = [queue, insert("QoS", "qos", type="linux-htb", queues=mapping({1: ["named-uuid", "q"]}))]
    (found,) = planned(*rows, *add_bridge("br0"), *add_port("br0", "p1", port={"qos": ["named-uuid", "qos"]})).bridges
    (shaped,) = [each for each in found.interfaces() if each.name == "p1"]
    assert shaped.qos == Qos("linux-htb", 0, {1: Queue(max_rate_bps=1000000)})
    rows = [insert("QoS", "qos", type="nonsense")]
    (found,) = planned(*rows, *add_bridge("br0"), *add_port("br0", "p1", port={"qos": ["named-uuid", "qos"]})).bridges
    (plain,) = [each for each in found.interfaces() if each.name == "p1"]
    assert (plain.qos, plain.error) == (None, "")
    assert "QoS type 'nonsense'" in plain.note


CONTROLLERS: list[tuple[dict[str, Any], ControllerSettings | None, str]] = [
    ({"target": "tcp:127.0.0.1:6653"}, ControllerSettings("tcp:127.0.0.1:6653"), ""),
    (
        {"target": "tcp:127.0.0.1", "max_backoff": 1000, "inactivity_probe": 0, "controller_rate_limit": 100},
        ControllerSettings("tcp:127.0.0.1", probe_s=0, max_backoff_s=1, packet_in_rate_per_s=100),
        "",
    ),
    ({"target": "ptcp:6634"}, ControllerSettings("ptcp:6634"), ""),
    ({"target": f"punix:{RUN}/x"}, ControllerSettings(f"punix:{RUN}/x"), ""),
    ({"target": "punix:/etc/x"}, None, f"a socket is to be in the folder {RUN}"),
    ({"target": "nonsense"}, None, "begins with none of"),
    ({"target": "ssl:127.0.0.1"}, None, "needs a private key"),
]


@pytest.mark.parametrize(("row", "settings", "error"), CONTROLLERS, ids=[row["target"] for row, _, _ in CONTROLLERS])
def test_controllers(row: dict[str, Any], settings: ControllerSettings | None, error: str) -> None:
    good = insert("Controller", "good", target="tcp:192.0.2.1")
    both = ["set", [["named-uuid", "c"], ["named-uuid", "good"]]]
    (found,) = planned(insert("Controller", "c", **row), good, *add_bridge("br0", controller=both)).bridges
    targets = {*found.options.controllers, *found.options.listen}
    assert targets == {ControllerSettings("tcp:192.0.2.1")} | ({settings} if settings is not None else set())
    told = {each.target: each.error for each in found.controllers}
    assert error in told[row["target"]]
    assert not told["tcp:192.0.2.1"]


@pytest.mark.parametrize(
    ("row", "name", "value"),
    [
        ({"fail_mode": "secure"}, "fail_mode", "secure"),
        ({"protocols": ["set", ["OpenFlow10", "OpenFlow13"]]}, "versions", frozenset({1, 4})),
        ({}, "versions", frozenset(range(1, 7))),
        ({"other_config": mapping({"datapath-id": "00000000000000ab"})}, "datapath_id", 0xAB),
        ({"other_config": mapping({"datapath-id": "0xab"})}, "datapath_id", 0xAB),
        ({"other_config": mapping({"datapath-id": "what"})}, "datapath_id", None),
        ({"other_config": mapping({"datapath-id": "1234"})}, "datapath_id", None),
        ({"other_config": mapping({"datapath-id": "0x00000000000000001"})}, "datapath_id", None),
        ({"other_config": mapping({"datapath-id": "0000000000000000"})}, "datapath_id", None),
        ({"other_config": mapping({"mac-aging-time": "60"})}, "mac_age_s", 60),
        ({"other_config": mapping({"mac-aging-time": "1"})}, "mac_age_s", 15),
        ({"other_config": mapping({"mac-aging-time": "soon"})}, "mac_age_s", 300),
        ({"other_config": mapping({"mac-table-size": "100"})}, "max_macs", 100),
        ({"other_config": mapping({"dp-desc": "x"})}, "description", "x"),
        ({"other_config": mapping({"dp-sn": "42"})}, "serial", "42"),
    ],
)
def test_settings_of_bridges(row: dict[str, Any], name: str, value: object) -> None:
    assert getattr(bridge(**row).options, name) == value


def test_flow_tables() -> None:
    limited = insert("Flow_Table", "t", name="first", flow_limit=10, overflow_policy="evict")
    (found,) = planned(limited, *add_bridge("br0", flow_tables=mapping({0: ["named-uuid", "t"]}))).bridges
    assert found.options.tables == {0: TableSettings("first", 10, evicts=True)}


def test_what_is_not_done_is_noted() -> None:
    flow = insert("NetFlow", "n", targets="192.0.2.1:2055")
    (found,) = planned(flow, *add_bridge("br0", netflow=["named-uuid", "n"], stp_enable=True)).bridges
    assert found.notes == {"netflow": "NetFlow is not supported yet", "stp_enable": "STP is not supported yet"}


def test_settings_without_effect_are_noted_and_those_of_others_are_not() -> None:
    config = mapping({"hw-offload": "true", "vlan-limit": "1", "tc-policy": "false", "ovn-bridge": "br-int"})
    bridge = add_bridge("br0", other_config=mapping({"stp-priority": "7"}))
    assert planned(change("Open_vSwitch", None, other_config=config), *bridge).notes == (
        "other_config:hw-offload=true has no effect here",
        "other_config:vlan-limit=1 has no effect here",
        "other_config:stp-priority=7 of bridge br0 has no effect here",
    )


def test_a_name_that_no_bridge_can_have_is_an_error_of_that_bridge_alone() -> None:
    wrong, right = planned(*add_bridge("../x"), *add_bridge("br0")).bridges
    assert "datapath name" in wrong.error
    assert not right.error


def test_only_what_is_asked_for_begins_a_round() -> None:
    there = database(*add_bridge("br0"), *add_port("br0", "p1"))
    seen: list[Change] = []
    there.listeners.append(seen.append)
    rows = [
        (change("Interface", "p1", ofport=3, error="x", statistics=mapping({"rx_packets": 1})), False),
        (change("Open_vSwitch", None, cur_cfg=3, ovs_version="1"), False),
        (change("Interface", "p1", external_ids=mapping({"a": "b"})), False),
        (change("Interface", "p1", ofport_request=3), True),
        (change("Open_vSwitch", None, next_cfg=3), True),
        (change("Bridge", "br0", fail_mode="secure"), True),
    ]
    for operation, asks in rows:
        do(there, operation)
        assert asks_for_something(there, seen[-1]) is asks, operation
