"""What controllers are answered and told: who the switch is, ports, roles, configuration, events."""

from __future__ import annotations

from typing import Any

import pytest

from tests.ofproto import XID, Desk, flow
from vswitch.messages import control as c
from vswitch.messages import stats as s
from vswitch.messages.actions import Output
from vswitch.messages.base import Message
from vswitch.messages.control import AsyncConfig, ControllerRole
from vswitch.messages.flows import (
    ANY_PORT,
    FlowCommand,
    FlowRemoved,
    FlowRemovedReason,
    GroupCommand,
    GroupMod,
    MeterBand,
    MeterCommand,
    MeterMod,
    PacketIn,
    PacketInReason,
    PacketOut,
    Resume,
    TableMod,
)
from vswitch.messages.match import FlowMatch
from vswitch.messages.ports import PortConfig, PortDescription, PortMod, PortState, PortStatus, PortStatusReason
from vswitch.ofproto.session import Session
from vswitch.ofproto.statistics import Identity
from vswitch.ofproto.switch import MAX_SESSIONS, Outcome
from vswitch.ofproto.tables import TABLES

MAC = 0x020000000000
PACKET = PacketIn(b"", 0, PacketInReason.ACTION, FlowMatch(in_port=1))
EQUAL, PRIMARY, SECONDARY = ControllerRole.EQUAL, ControllerRole.PRIMARY, ControllerRole.SECONDARY


def packet_in(reason: int) -> PacketIn:
    return PacketIn(b"", 0, PacketInReason(reason), FlowMatch(in_port=1))


# ---- who it is


@pytest.mark.parametrize(("version", "has", "lacks"), [
    (1, c.Capability.ARP_MATCH_IP, c.Capability.GROUP_STATS),
    (4, c.Capability.GROUP_STATS, c.Capability.BUNDLES),
    (5, c.Capability.BUNDLES, c.Capability.ARP_MATCH_IP),
])  # fmt: skip
def test_features_tell_who_the_switch_is(version: int, has: int, lacks: int) -> None:
    desk = Desk(version, identity=Identity(datapath_id=0xABC))
    told = desk.ask(c.FeaturesRequest())
    assert (told.datapath_id, told.buffers, told.tables) == (0xABC, 0, TABLES)
    assert told.capabilities & has
    assert not told.capabilities & lacks
    assert [port.number for port in told.ports] == [1, 2, 3]


def test_description_echo_barrier_and_table_names() -> None:
    desk = Desk(identity=Identity(manufacturer="m", datapath="br0"))
    (told,) = desk.ask(s.StatsRequest("description")).entries
    assert (told.manufacturer, told.datapath) == ("m", "br0")
    assert desk.ask(c.EchoRequest(b"x")) == c.EchoReply(b"x")
    assert desk.ask(c.BarrierRequest()) == c.BarrierReply()
    assert desk.do(c.EchoReply(b"")).replies == []


@pytest.mark.parametrize(
    ("message", "error"),
    [
        (c.Experimenter(5, 6), "bad_request.bad_experimenter"),
        (c.FeaturesReply(0, 0, 0, 0), "bad_request.bad_type"),
        (s.StatsRequest("nonsense"), "bad_request.bad_multipart"),
        (s.StatsRequest("answer"), "bad_request.bad_multipart"),
        (s.FlowStatsRequest(table=254), "bad_request.bad_table_id"),
        (s.StatsRequest("queue", 9), "queue_op_failed.bad_port"),
        (s.StatsRequest("queue", 1, 5), "queue_op_failed.bad_queue"),
        (c.QueueConfigRequest(9), "queue_op_failed.bad_port"),
        (c.SetConfig(fragments=2), "switch_config_failed.bad_flags"),
        (PacketOut(b"", (), FlowMatch(in_port=1), buffer_id=3), "bad_request.buffer_unknown"),
        (PortMod(9, MAC + 9, 1, 1), "port_mod_failed.bad_port"),
        (PortMod(1, MAC + 2, 1, 1), "port_mod_failed.bad_hw_addr"),
        (c.TlvTableMod(0, tuple(c.TlvMap(1, each, 124, each) for each in range(3))), "nicira.tlv_table_full"),
        (c.TlvTableMod(0, (c.TlvMap(1, 2, 4, 3), c.TlvMap(1, 2, 4, 4))), "nicira.tlv_dup_entry"),
        (c.TlvTableMod(0, (c.TlvMap(1, 2, 4, 3), c.TlvMap(1, 3, 4, 3))), "nicira.tlv_already_mapped"),
        (c.TlvTableMod(3), "nicira.tlv_bad_command"),
        (s.ExperimenterMultipart(5, 6), "bad_request.bad_experimenter"),
        (s.BundleFeaturesRequest(1), "bad_request.multipart_bad_sched"),
        (c.SetPacketInFormat(3), "bad_request.eperm"),
        (c.SetFlowFormat(1), "bad_request.eperm"),
        (s.FlowMonitorCancel(4), "flow_monitor_failed.unknown_monitor"),
    ],
)
def test_what_cannot_be_done_is_refused_under_the_xid_of_the_request(message: Message, error: str) -> None:
    desk = Desk()
    assert desk.refused(message) == error
    assert [xid for _, xid in desk.send(message).replies] == [XID]


def test_options_of_tunnels_are_mapped_all_of_a_message_or_none() -> None:
    desk = Desk()
    assert desk.ask(c.TlvTableRequest()) == c.TlvTableReply(256, 64)
    one, two, three = c.TlvMap(0xFFFF, 1, 4, 5), c.TlvMap(0xFFFF, 2, 0, 3), c.TlvMap(1, 2, 4, 4)
    desk.do(c.TlvTableMod(0, (one, two)))
    assert desk.refused(c.TlvTableMod(0, (three, c.TlvMap(2, 2, 4, 5)))) == "nicira.tlv_already_mapped"
    assert desk.ask(c.TlvTableRequest()) == c.TlvTableReply(256, 64, (two, one))
    desk.do(c.TlvTableMod(1, (c.TlvMap(0, 0, 0, 5), c.TlvMap(0, 0, 0, 9))))
    assert desk.ask(c.TlvTableRequest()) == c.TlvTableReply(256, 64, (two,))
    desk.do(c.TlvTableMod(2))
    assert desk.ask(c.TlvTableRequest()) == c.TlvTableReply(256, 64)


def test_a_refusal_carries_its_text() -> None:
    ((reply, _),) = Desk().send(flow(table=254)).replies
    assert isinstance(reply, c.Error)
    assert "exceeds the last table 253" in reply.text


# ---- statistics


def test_flows_together() -> None:
    desk = Desk()
    for number in (1, 2):
        desk.do(flow(FlowMatch(in_port=number)))
    for rule in desk.rules():
        rule.credit(2, 100, desk.now_ns)
    (told,) = desk.ask(s.FlowStatsRequest("aggregate")).entries
    assert told == s.AggregateStats(4, 200, 2)
    (told,) = desk.ask(s.FlowStatsRequest("aggregate", match=FlowMatch(in_port=9))).entries
    assert told == s.AggregateStats(0, 0, 0)


def test_tables_tell_what_is_in_them_and_what_was_looked_up() -> None:
    desk = Desk()
    desk.do(flow(table=3))
    desk.switch.tables[3].lookups, desk.switch.tables[3].matched = 5, 4
    told = desk.ask(s.StatsRequest("table")).entries
    assert len(told) == TABLES
    assert told[3] == s.TableStats(3, 1, 5, 4, "", 1_000_000)


def test_ports_tell_what_they_have_counted() -> None:
    desk = Desk()
    desk.switch.ports.statistics = lambda number: s.PortStats(number, 0, number, 0, 0, 0)
    desk.wait(2)
    (told,) = desk.ask(s.StatsRequest("port", 2)).entries
    assert (told.port, told.rx_packets, told.duration_ns) == (2, 2, 2 * 10**9)
    assert len(desk.ask(s.StatsRequest("port", ANY_PORT)).entries) == 3
    assert desk.ask(s.StatsRequest("port", 9)).entries == ()


def test_queues_are_told_by_port() -> None:
    desk = Desk()
    for port, queue in ((1, 5), (1, 6), (2, 5)):
        desk.switch.ports.queues[port, queue] = s.QueueDescription(port, queue, 10, 20)
    told = desk.ask(s.StatsRequest("queue", ANY_PORT, 5)).entries
    assert [(each.port, each.queue) for each in told] == [(1, 5), (2, 5)]
    assert desk.ask(c.QueueConfigRequest(1)).queues == ((5, 10, 20, 1), (6, 10, 20, 1))
    assert len(desk.ask(s.StatsRequest("queue_description", 1)).entries) == 2
    desk.switch.port_removed(1)
    assert [(each.port, each.queue) for each in desk.ask(s.StatsRequest("queue", ANY_PORT)).entries] == [(2, 5)]


def test_table_descriptions_follow_table_mods() -> None:
    desk = Desk(5, max_flows=10)
    desk.do(TableMod(1, eviction=True, vacancy=True, vacancy_down=10, vacancy_up=30))
    told = desk.ask(s.StatsRequest("table_description")).entries
    assert told[1] == s.TableDescription(1, True, 7, True, 10, 30, 100)
    assert told[2] == s.TableDescription(2, False, 7, False, 0, 0, 100)


def test_table_features_tell_where_one_may_go() -> None:
    told = Desk().ask(s.TableFeaturesRequest()).entries
    assert [each.table for each in told] == list(range(TABLES))
    following = {each.table: dict(each.properties)[2] for each in told}
    assert following[250] == (251, 252, 253)
    assert following[253] == ()


def test_tables_are_named_and_made_smaller() -> None:
    desk = Desk()
    there = desk.ask(s.TableFeaturesRequest()).entries[1]
    wanted = s.TableFeatures(1, "acl", there.metadata_match, there.metadata_write, 0, 1, there.properties)
    desk.do(s.TableFeaturesRequest((wanted,)))
    assert desk.ask(s.StatsRequest("table")).entries[1].name == "acl"
    desk.do(flow(table=1))
    assert desk.refused(flow(FlowMatch(in_port=1), table=1)) == "flow_mod_failed.table_full"


@pytest.mark.parametrize(
    ("wanted", "error"),
    [
        (s.TableFeatures(254, "", 0, 0, 0, 10), "bad_table"),
        (s.TableFeatures(1, "", 0, 0, 0, 10**9), "bad_max_ent"),
        (s.TableFeatures(1, "", 0, 0, 0, 0), "bad_max_ent"),
        (s.TableFeatures(1, "", 0, 0, 0, 10, ((0, (1,)),)), "eperm"),
    ],
)
def test_features_that_no_table_has_are_refused(wanted: s.TableFeatures, error: str) -> None:
    desk = Desk()
    desk.do(flow(table=1))
    fine = s.TableFeatures(0, "first", 0, 0, 0, 10)
    assert desk.refused(s.TableFeaturesRequest((fine, wanted))) == f"table_features_failed.{error}"
    assert desk.switch.tables[0].name == ""


def test_tables_are_set_by_several_messages_at_once_or_not_at_all() -> None:
    desk = Desk()
    first, second = s.TableFeatures(0, "a", 0, 0, 0, 10), s.TableFeatures(1, "b", 0, 0, 0, 10)
    assert desk.do(s.TableFeaturesRequest((first,), more=True)).replies == []
    assert desk.switch.tables[0].name == ""
    desk.do(s.TableFeaturesRequest((second,)))
    assert [desk.switch.tables[number].name for number in (0, 1)] == ["a", "b"]
    many = s.TableFeaturesRequest((first,) * 200, more=True)
    desk.do(many)
    assert desk.refused(many) == "table_features_failed.too_many"
    desk.do(many)


def test_nicira_is_answered_by_nicira() -> None:
    desk = Desk(1)
    for kind in ("flow", "aggregate"):
        assert desk.ask(s.FlowStatsRequest(kind, nicira=True)).nicira
        assert not desk.ask(s.FlowStatsRequest(kind)).nicira


def test_controllers_and_bundles_are_described() -> None:
    desk = Desk(6)
    other = desk.join(6, name="tcp:127.0.0.1:6653")
    other.role, other.controller_id = SECONDARY, 3
    told = desk.ask(s.StatsRequest("controller_status")).entries
    assert told == (s.ControllerStatus(3, SECONDARY, 0, True, "tcp:127.0.0.1:6653"),)  # the desk has no connection
    assert desk.ask(s.BundleFeaturesRequest()).entries == (s.BundleFeatures(3),)


def test_controllers_hear_of_each_others_channels_roles_and_ids() -> None:
    desk = Desk(6)
    first, second = desk.join(6, name="tcp:192.0.2.1:6653"), desk.join(6, name="tcp:192.0.2.2:6653")
    tool = desk.join(6, name="punix:/run/br0", service=True)

    def said(outcome: Outcome) -> list[s.ControllerStatus]:
        return [each.status for each in outcome.events if isinstance(each, s.ControllerStatusChanged)]

    assert said(desk.switch.channel_changed(first, up=True)) == [s.ControllerStatus(0, 1, 1, True, first.name)]
    assert said(desk.do(c.RoleRequest(PRIMARY, 1), first)) == [s.ControllerStatus(0, PRIMARY, 2, True, first.name)]
    assert said(desk.do(c.RoleRequest(PRIMARY, 2), second)) == [
        s.ControllerStatus(0, SECONDARY, 2, True, first.name),
        s.ControllerStatus(0, PRIMARY, 2, True, second.name),
    ]
    assert said(desk.do(c.RoleRequest(PRIMARY, 2), second)) == []
    assert said(desk.do(c.SetControllerId(7), second)) == [s.ControllerStatus(7, PRIMARY, 5, True, second.name)]
    assert said(desk.do(c.RoleRequest(SECONDARY, 3), tool)) == []
    assert said(desk.switch.channel_changed(second, up=False)) == [
        s.ControllerStatus(7, PRIMARY, 1, False, second.name)
    ]


# ---- ports


def test_ports_come_change_and_go() -> None:
    desk = Desk()
    port = PortDescription(4, MAC + 4, "p4")
    changed = PortDescription(4, MAC + 4, "p4", state=PortState.LINK_DOWN)
    assert desk.switch.port_changed(port, 0).events == [PortStatus(PortStatusReason.ADD, port)]
    assert desk.switch.port_changed(port, 0).events == []
    assert desk.switch.ports.live(4)
    assert desk.switch.port_changed(changed, 0).events == [PortStatus(PortStatusReason.MODIFY, changed)]
    assert not desk.switch.ports.live(4)
    assert desk.switch.port_removed(4).events == [PortStatus(PortStatusReason.DELETE, changed)]
    assert desk.switch.port_removed(4).events == []


def test_port_mod_changes_the_bits_of_its_mask() -> None:
    desk = Desk()
    outcome = desk.do(PortMod(1, MAC + 1, PortConfig.NO_FLOOD | PortConfig.NO_FWD, PortConfig.NO_FLOOD))
    (status,) = outcome.events
    assert isinstance(status, PortStatus)
    assert (status.reason, status.port.config) == (PortStatusReason.MODIFY, PortConfig.NO_FLOOD)
    assert outcome.ports == [status.port]
    assert desk.switch.ports.has(1, PortConfig.NO_FLOOD)
    assert desk.do(PortMod(1, MAC + 1, PortConfig.NO_FLOOD, PortConfig.NO_FLOOD)).events == []
    desk.switch.port_changed(PortDescription(1, MAC + 1, "p1", state=PortState.LIVE), 0)
    assert desk.switch.ports.has(1, PortConfig.NO_FLOOD), "what a controller has set outlives what the port does"


# ---- configuration


def test_a_configuration_that_is_refused_is_not_set_in_part() -> None:
    desk = Desk()
    assert desk.refused(c.SetConfig(2, 64)) == "switch_config_failed.bad_flags"
    assert desk.ask(c.GetConfigRequest()) == c.GetConfigReply(0, 128)


def test_configuration_is_each_sessions_but_for_fragments() -> None:
    desk = Desk()
    other = desk.join()
    assert desk.do(c.SetConfig(1, 64)).configuration
    assert desk.ask(c.GetConfigRequest()) == c.GetConfigReply(1, 64)
    assert desk.ask(c.GetConfigRequest(), other) == c.GetConfigReply(1, 128)


@pytest.mark.parametrize(
    ("message", "member", "value"),
    [
        (c.FlowModTableId(True), "table_ids", True),
        (c.SetPacketInFormat(2), "packet_in_format", 2),
        (c.SetControllerId(9), "controller_id", 9),
        (c.SetFlowFormat(2), "flow_format", 2),
    ],
)
def test_what_a_session_sets_for_itself(message: Message, member: str, value: Any) -> None:
    desk = Desk(1)
    assert desk.do(message).replies == []
    assert getattr(desk.session, member) == value


# ---- who is told


STATUS = s.ControllerStatusChanged(s.ControllerStatus(0, 1, 2, True))
TOLD: list[tuple[dict[str, Any], Message, bool]] = [
    ({}, packet_in(0), True),
    ({}, packet_in(1), True),
    ({}, packet_in(2), False),
    ({"invalid_ttl": True}, packet_in(2), True),
    ({"role": SECONDARY}, packet_in(1), False),
    ({"role": SECONDARY, "invalid_ttl": True}, packet_in(2), False),
    ({"role": PRIMARY}, packet_in(1), True),
    ({"role": SECONDARY}, PortStatus(PortStatusReason.ADD, PortDescription(1, 1, "")), True),
    ({"role": SECONDARY}, FlowRemoved(FlowMatch(), 0, 0, 0, FlowRemovedReason.DELETE, 0, 0, 0, 0, 0), False),
    ({}, FlowRemoved(FlowMatch(), 0, 0, 0, FlowRemovedReason.GROUP_DELETE, 0, 0, 0, 0, 0), True),
    ({}, c.TableStatus(3, s.TableDescription(0)), False),
    ({}, c.RequestForward(GroupMod(GroupCommand.ADD, 1)), False),
    ({"version": 6}, STATUS, False),
    ({"version": 6, "asynchronous": {"cont_status": (0b100, 0)}}, STATUS, True),
    ({"version": 6, "asynchronous": {"cont_status": (0b010, 0)}}, STATUS, False),
    ({"version": 6, "asynchronous": {"cont_status": (0b100, 0)}, "role": SECONDARY}, STATUS, False),
    ({"version": 5, "asynchronous": {"cont_status": (0b100, 0)}}, STATUS, False),
]


@pytest.mark.parametrize(("state", "message", "wanted"), TOLD)
def test_sessions_are_told_by_role_and_by_default(state: dict[str, Any], message: Message, wanted: bool) -> None:
    session = Session(5)
    for name, value in state.items():
        setattr(session, name, value)
    assert session.wants(message) == wanted


@pytest.mark.parametrize(("version", "wanted"), [(1, True), (3, True), (4, False), (6, False)])
def test_packets_that_no_flow_takes_are_for_old_versions(version: int, wanted: bool) -> None:
    desk = Desk(version)
    assert desk.switch.wants(desk.session, packet_in(0), implicit_miss=True) == wanted
    assert desk.switch.sends_misses == wanted


def test_a_management_connection_is_told_nothing_before_it_asks() -> None:
    desk = Desk()
    session = desk.join(service=True)
    assert not session.wants(PACKET)
    desk.do(c.SetConfig(0, 128), session)
    assert session.wants(PACKET)


def test_async_config_is_kept_for_kinds_that_are_not_named() -> None:
    desk = Desk(5)
    desk.do(c.SetAsync(AsyncConfig((("packet_in", 0b100),), (("packet_in", 0b1), ("table_status", 0b1000)))))
    told = desk.ask(c.AsyncGet()).config
    assert dict(told.primary)["packet_in"] == 0b100
    assert dict(told.primary)["port_status"] == 0b111
    assert dict(told.secondary)["packet_in"] == 0b1
    assert desk.session.wants(packet_in(2))
    assert not desk.session.wants(packet_in(1))
    desk.session.role = SECONDARY
    assert desk.session.wants(packet_in(0))
    assert desk.session.wants(c.TableStatus(3, s.TableDescription(0)))


@pytest.mark.parametrize(("version", "packet_in_", "flow_removed"), [(4, 0b011, 0b1111), (5, 0b111011, 0b111111)])
def test_the_defaults_are_those_of_open_vswitch(version: int, packet_in_: int, flow_removed: int) -> None:
    told = Desk(version).ask(c.AsyncGet()).config
    assert dict(told.primary)["packet_in"] == packet_in_
    assert dict(told.primary)["flow_removed"] == flow_removed
    assert dict(told.secondary)["packet_in"] == 0


def test_reasons_that_a_version_has_not_are_told_as_those_that_it_has() -> None:
    desk = Desk(4)
    assert desk.session.wants(packet_in(PacketInReason.GROUP))
    desk.do(c.SetAsync(AsyncConfig((("packet_in", 0b001), ("flow_removed", 0b100)), ())))
    assert not desk.session.wants(packet_in(PacketInReason.GROUP))
    for reason, wanted in ((FlowRemovedReason.EVICTION, True), (FlowRemovedReason.HARD_TIMEOUT, False)):
        assert desk.session.wants(FlowRemoved(FlowMatch(), 0, 0, 0, reason, 0, 0, 0, 0, 0)) == wanted


def test_other_controllers_hear_of_group_and_meter_mods_if_they_want() -> None:
    desk = Desk(5)
    other, deaf, old = desk.join(5), desk.join(5), desk.join(4)
    for session in (desk.session, other, old):
        session.set_async(AsyncConfig((("requestforward", 0b11),), ()))
    mods = (GroupMod(GroupCommand.ADD, 1), MeterMod(MeterCommand.ADD, 1, 1, (MeterBand(5),)))
    for mod in mods:
        assert desk.do(mod).addressed == [(other, c.RequestForward(mod, XID), XID)]
        desk.send(mod)  # is refused: nobody hears of it
    assert desk.send(mods[0]).addressed == []
    assert deaf.wants(PACKET)


# ---- roles


def test_there_is_one_primary_and_the_last_one_hears_that_it_is_another() -> None:
    desk = Desk(5)
    other = desk.join(5)
    assert desk.ask(c.RoleRequest(PRIMARY, 5)) == c.RoleReply(PRIMARY, 5)
    outcome = desk.do(c.RoleRequest(PRIMARY, 6), other)
    assert outcome.replies == [(c.RoleReply(PRIMARY, 6), XID)]
    assert outcome.addressed == [(desk.session, c.RoleStatus(SECONDARY, 0, 6), 0)]
    assert desk.session.role == SECONDARY


@pytest.mark.parametrize(
    ("generation", "stale"), [(10, False), (11, False), (9, True), ((1 << 63) + 9, False), ((1 << 63) + 10, True)]
)
def test_a_request_of_an_older_generation_is_stale(generation: int, stale: bool) -> None:
    desk = Desk()
    desk.do(c.RoleRequest(SECONDARY, 10))
    if stale:
        assert desk.refused(c.RoleRequest(PRIMARY, generation)) == "role_request_failed.stale"
        assert desk.session.role == SECONDARY
    else:
        assert desk.ask(c.RoleRequest(PRIMARY, generation)) == c.RoleReply(PRIMARY, generation)


def test_asking_for_the_role_changes_nothing() -> None:
    desk = Desk()
    desk.do(c.RoleRequest(SECONDARY, 10))
    assert desk.ask(c.RoleRequest(ControllerRole.NO_CHANGE, 0)) == c.RoleReply(SECONDARY, 10)
    assert desk.ask(c.RoleRequest(EQUAL, 0)) == c.RoleReply(EQUAL, 10)


def test_niciras_roles_have_no_generation() -> None:
    desk = Desk(1)
    assert desk.ask(c.RoleRequest(PRIMARY, nicira=True)) == c.RoleReply(PRIMARY, nicira=True)


CHANGES: list[Message] = [
    flow(),
    GroupMod(GroupCommand.ADD, 1),
    MeterMod(MeterCommand.ADD, 1, 1, (MeterBand(5),)),
    PortMod(1, MAC + 1, 1, 1),
    TableMod(1, eviction=True),
    PacketOut(b"", (Output(1),), FlowMatch(in_port=1)),
    Resume(PACKET),
    s.TableFeaturesRequest((s.TableFeatures(1, "", 0, 0, 0, 10),)),
    c.BundleControl(1, c.BundleControlType.OPEN_REQUEST),
    c.BundleAdd(1, 0, flow(), XID),
]


@pytest.mark.parametrize("message", CHANGES, ids=lambda message: type(message).__name__)
def test_a_secondary_controller_changes_nothing(message: Message) -> None:
    desk = Desk(5)
    desk.session.role = SECONDARY
    assert desk.refused(message) == "bad_request.is_slave"
    desk.session.role = PRIMARY
    desk.do(message)


@pytest.mark.parametrize(
    "message", [s.FlowStatsRequest(), s.TableFeaturesRequest(), c.FeaturesRequest(), c.SetConfig(0, 9)]
)
def test_a_secondary_controller_may_ask_and_set_its_own(message: Message) -> None:
    desk = Desk(5)
    desk.session.role = SECONDARY
    desk.do(message)
    desk.do(c.SetConfig(1, 9))
    assert desk.switch.fragments == 0


def test_sessions_have_a_bound_and_leave_nothing_behind() -> None:
    desk = Desk(5)
    for _ in range(MAX_SESSIONS - 1):
        desk.join(5)
    with pytest.raises(Exception, match=f"{MAX_SESSIONS} connections"):
        desk.join(5)
    desk.do(c.BundleControl(1, c.BundleControlType.OPEN_REQUEST))
    desk.do(s.FlowMonitorRequest(1, 2))
    desk.switch.disconnect(desk.session)
    assert not desk.session.bundles
    assert not desk.session.monitors
    desk.join(5)


def test_a_program_may_send_flow_mods_too() -> None:
    desk = Desk()
    assert [each.kind for each in desk.switch.flow_mod(flow(), 5).changes] == ["added"]
    assert [each.kind for each in desk.switch.flow_mod(flow(command=FlowCommand.DELETE), 5).changes] == ["removed"]
