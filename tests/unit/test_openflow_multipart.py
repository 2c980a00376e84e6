"""Multipart messages: cut and joined, and refused by the names that the specification has for it."""

from __future__ import annotations

import pytest

from tests.openflow_stats import REFUSED
from vswitch.base.errors import ConfigError
from vswitch.messages.actions import Note, Output
from vswitch.messages.base import Message
from vswitch.messages.control import QueueConfigReply, QueueConfigRequest
from vswitch.messages.errors import OpenFlowError
from vswitch.messages.flows import GroupType, TableMod
from vswitch.messages.match import FlowMatch
from vswitch.messages.stats import (
    AggregateStats,
    ControllerStatus,
    ControllerStatusChanged,
    ExperimenterMultipart,
    FlowMonitorCancel,
    FlowMonitorPause,
    FlowMonitorRequest,
    FlowMonitorUpdate,
    FlowStats,
    FlowStatsRequest,
    GroupDescription,
    GroupStats,
    MeterFeatures,
    MultipartReply,
    PortStats,
    QueueStats,
    StatsRequest,
    TableDescription,
    TableFeatures,
    TableFeaturesRequest,
    TableStats,
)
from vswitch.openflow import codec, monitors, multipart, queues, table_config
from vswitch.openflow.errors import NUMBERS
from vswitch.openflow.wire import HEADER_BYTES, MAX_MESSAGE_BYTES
from vswitch.text.openflow_print import format_message

MORE = 1


def flow(number: int) -> FlowStats:
    return FlowStats(FlowMatch(in_port=1, ipv4_dst=number), (Output(2),), 10, 0, number, 5, 6, 7)


def flags_of(body: bytes) -> int:
    return int.from_bytes(body[2:4], "big")


# ---- cut and joined


@pytest.mark.parametrize(("version", "nicira"), [(1, False), (1, True), (2, False), (4, False), (5, False), (6, False)])
def test_a_long_reply_is_cut_between_entries_and_says_that_more_follow(version: int, nicira: bool) -> None:
    kind = "flow_description" if version == 6 else "flow"
    reply = MultipartReply(kind, tuple(map(flow, range(2000))), nicira=nicira)
    bodies = multipart.encode(reply, version)
    assert len(bodies) > 1
    assert max(map(len, bodies)) <= MAX_MESSAGE_BYTES - HEADER_BYTES
    assert [flags_of(body) for body in bodies] == [MORE] * (len(bodies) - 1) + [0]
    parts = [multipart.decode(body, version, True) for body in bodies]
    assert tuple(entry for part in parts for entry in part.entries) == reply.entries  # type: ignore[attr-defined]
    assert {part.kind for part in parts} == {kind}  # type: ignore[attr-defined]


def test_the_last_part_says_more_if_the_reply_does() -> None:
    bodies = multipart.encode(MultipartReply("flow", tuple(map(flow, range(2000))), more=True), 4)
    assert [flags_of(body) for body in bodies] == [MORE] * len(bodies)


def test_a_reply_without_entries_is_one_message() -> None:
    (body,) = multipart.encode(MultipartReply("flow", ()), 4)
    assert body == bytes.fromhex("0001000000000000")


def test_an_entry_that_fits_into_no_message_is_refused() -> None:
    large = FlowStats(FlowMatch(), (Note(bytes(40_000)), Note(bytes(30_000))), 10, 0, 0, 5, 6, 7)
    with pytest.raises(ConfigError):
        multipart.encode(MultipartReply("flow", (large,)), 4)


def test_long_table_features_are_cut_in_requests_too() -> None:
    tables = tuple(
        TableFeatures(number, "", 0, 0, 0, 0, ((2, tuple(range(number + 1, 255))), (8, (0x80000004,) * 100)))
        for number in range(254)
    )
    bodies = multipart.encode(TableFeaturesRequest(tables), 4)
    assert len(bodies) > 1
    parts = [multipart.decode(body, 4, False) for body in bodies]
    assert [part.more for part in parts] == [True] * (len(bodies) - 1) + [False]  # type: ignore[attr-defined]
    assert tuple(table for part in parts for table in part.tables) == tables  # type: ignore[attr-defined]


# ---- what a version cannot say

UNSPEAKABLE: list[tuple[Message, int]] = [
    (StatsRequest("meter", 1), 3),
    (TableFeaturesRequest(), 3),
    (StatsRequest("table_description"), 4),
    (StatsRequest("controller_status"), 5),
    (StatsRequest("nothing"), 4),
    (FlowStatsRequest(cookie=1, cookie_mask=1), 1),
    (FlowStatsRequest(out_group=1), 1),
    (FlowStatsRequest(out_group=1, nicira=True), 1),
    (FlowStatsRequest(nicira=True), 4),
    (FlowMonitorRequest(1, 64), 1),
    (FlowMonitorRequest(1, 2, command=2), 4),
    (FlowMonitorRequest(1, 2, out_group=2), 4),
    (MultipartReply("flow_monitor", (FlowMonitorUpdate("paused"),)), 4),
    (MultipartReply("table_features", (TableFeatures(1, "", 0, 0, 0, 0, ((16, (1,)),)),)), 4),
    (FlowMonitorCancel(7), 4),
    (FlowMonitorPause(True), 1),
]


@pytest.mark.parametrize(("message", "version"), UNSPEAKABLE, ids=repr)
def test_what_a_version_cannot_say_is_refused(message: Message, version: int) -> None:
    with pytest.raises(OpenFlowError) as refusal:
        multipart.encode(message, version)
    assert refusal.value.error in NUMBERS


OUT_OF_BOUNDS: list[tuple[Message, int]] = [
    (MultipartReply("aggregate", ()), 4),
    (MultipartReply("aggregate", (AggregateStats(1, 2, 3),) * 2), 4),
    (MultipartReply("aggregate", (AggregateStats(1 << 64, 2, 3),)), 4),
    (MultipartReply("table", (TableStats(1, 2, 3, 4, "n" * 32),)), 1),
    (MultipartReply("table", (TableStats(1, 2, 3, 4, bitmaps=(1,)),)), 2),
    (QueueConfigRequest(1), 4),
]


@pytest.mark.parametrize(("message", "version"), OUT_OF_BOUNDS, ids=repr)
def test_what_does_not_fit_is_refused(message: Message, version: int) -> None:
    with pytest.raises(ConfigError):
        multipart.encode(message, version)


@pytest.mark.parametrize(
    ("message", "version"),
    [
        (TableMod(1), 1),
        (TableMod(1, "drop"), 4),
        (TableMod(1, "fly"), 2),
        (TableMod(1), 2),
        (TableMod(1, eviction=True), 4),
        (TableMod(1, vacancy=False), 2),
    ],
    ids=repr,
)
def test_table_mods_that_a_version_cannot_say_are_refused(message: TableMod, version: int) -> None:
    with pytest.raises((ConfigError, OpenFlowError)):
        table_config.encode_table_mod(message, version)


def test_queue_get_config_ends_with_1_3() -> None:
    with pytest.raises(OpenFlowError, match=r"bad_request\.bad_type"):
        queues.encode_queue_config_request(QueueConfigRequest(1), 5)
    with pytest.raises(OpenFlowError, match=r"bad_request\.bad_type"):
        queues.encode_queue_config_reply(QueueConfigReply(1), 5)
    for decode in (queues.decode_queue_config_request, queues.decode_queue_config_reply):
        with pytest.raises(OpenFlowError, match=r"bad_request\.bad_type"):
            decode(bytes(8), 5)


def test_monitors_are_cancelled_by_the_multipart_from_1_4_on() -> None:
    assert monitors.encode_experimenter(FlowMonitorCancel(7), 1) == (0x2320, 21, b"\0\0\0\7")
    assert monitors.encode_experimenter(FlowMonitorPause(True), 4) == (0x4F4E4600, 1871, b"")
    with pytest.raises(OpenFlowError, match=r"bad_request\.bad_type"):
        monitors.encode_experimenter(FlowMonitorCancel(7), 5)
    (body,) = multipart.encode(FlowMonitorCancel(7), 5)
    assert multipart.decode(body, 5, False) == FlowMonitorRequest(7, 0, command=2)
    for message in (FlowMonitorCancel(7), FlowMonitorPause(True)):
        assert codec.decode(codec.encode(message, 4, 9)) == (message, 9)
    whole = codec.encode(FlowMonitorCancel(7), 5, 9)
    assert codec.decode(whole) == (FlowMonitorRequest(7, 0, command=2), 9)
    for paused, event in ((True, "paused"), (False, "resumed")):
        (body,) = multipart.encode(FlowMonitorPause(paused), 5)
        reply = MultipartReply("flow_monitor", (FlowMonitorUpdate(event),))
        assert multipart.decode(body, 5, True) == reply
        assert codec.decode(codec.encode(FlowMonitorPause(paused), 5, 9)) == (reply, 9)


# ---- refusals by name


@pytest.mark.parametrize(("version", "text", "error"), REFUSED)
def test_a_bad_request_is_refused_by_name(version: int, text: str, error: str) -> None:
    with pytest.raises(OpenFlowError) as refusal:
        multipart.decode(bytes.fromhex(text), version, False)
    assert refusal.value.error == error


@pytest.mark.parametrize(
    ("version", "text", "error"),
    [
        (1, "05000000", "bad_request.bad_type"),
        (2, "050000", "bad_request.bad_len"),
        (2, "0500000000000003", "table_mod_failed.bad_config"),
        (4, "0500000000000004", "table_mod_failed.bad_config"),
        (4, "050000000000000000", "bad_request.bad_len"),
        (5, "0500000000000010", "table_mod_failed.bad_config"),
        (5, "0500000000000004 0002000c00000000", "bad_property.bad_len"),
        (5, "0500000000000004 0002000600000000", "bad_property.bad_len"),
        (5, "0500000000000004 0004000800000000", "bad_property.bad_type"),
        (5, "0500000000000004 ffff000800000000", "bad_property.bad_experimenter"),
        (5, "0500000000000008 0003000814140000 0003000814140000", "bad_property.dup_type"),
        (5, "0500000000000008 0003000814130000", "bad_property.bad_value"),
        (5, "0500000000000008 0003000814650000", "bad_property.bad_value"),
    ],
)
def test_a_bad_table_mod_is_refused_by_name(version: int, text: str, error: str) -> None:
    with pytest.raises(OpenFlowError) as refusal:
        table_config.decode_table_mod(bytes.fromhex(text), version)
    assert refusal.value.error == error


# ---- facts of single versions


def test_in_1_0_all_ports_have_another_number_for_queues() -> None:
    assert multipart.encode(StatsRequest("queue"), 1) == [bytes.fromhex("00050000 fffc0000 ffffffff")]
    assert multipart.decode(bytes.fromhex("00050000 fffc0000 ffffffff"), 1, False) == StatsRequest("queue")
    assert multipart.encode(StatsRequest("port"), 1) == [bytes.fromhex("00040000 ffff000000000000")]


def test_table_statistics_name_what_a_table_can_do_unless_told() -> None:
    (body,) = multipart.encode(MultipartReply("table", (TableStats(0, 1, 2, 3, "", 1000),)), 1)
    assert body[4 + 36 :][:4] == bytes.fromhex("003fffff")
    (body,) = multipart.encode(MultipartReply("table", (TableStats(0, 1, 2, 3, "", 1000, (7,)),)), 1)
    assert body[4 + 36 :][:4] == bytes.fromhex("00000007")


def test_meter_features_of_1_5_are_read_with_and_without_their_last_field() -> None:
    short = "000b000000000000 00000010 00000003 00000007 050a0000"
    plain, full = MeterFeatures(16, 3, 7, 5, 10), MeterFeatures(16, 3, 7, 5, 10, 2)
    assert multipart.encode(MultipartReply("meter_features", (plain,)), 6) == [bytes.fromhex(short)]
    (body,) = multipart.encode(MultipartReply("meter_features", (full,)), 6)
    assert body == bytes.fromhex(short + "00000002 00000000")
    for entry, data in ((plain, bytes.fromhex(short)), (full, body)):
        assert multipart.decode(data, 6, True) == MultipartReply("meter_features", (entry,))


def test_a_counter_or_duration_that_is_not_known_is_all_ones() -> None:
    every = (1 << 64) - 1
    (body,) = multipart.encode(MultipartReply("port", (PortStats(1, 0, 1, 2, 3, 4),)), 1)
    assert body[-64:] == b"\xff" * 64
    unknown = QueueStats(1, 2, every, every, every, 0xFFFFFFFF * 1_000_000_000 + 0xFFFFFFFF)
    (body,) = multipart.encode(MultipartReply("queue", (unknown,)), 4)
    assert body[-32:] == b"\xff" * 32
    assert multipart.decode(body, 4, True) == MultipartReply("queue", (unknown,))


def test_a_duration_beyond_32_bits_of_seconds_is_not_known() -> None:
    (body,) = multipart.encode(MultipartReply("group", (GroupStats(1, 0, 0, 0, 1 << 70, ()),)), 4)
    assert body[-8:] == b"\xff" * 8


def test_idle_ages_of_nicira_stop_at_the_largest() -> None:
    old = FlowStats(FlowMatch(), (), 1, 0, 0, 0, 0, 0, idle_age_s=100_000)
    (body,) = multipart.encode(MultipartReply("flow", (old,), nicira=True), 1)
    (read,) = multipart.decode(body, 1, True).entries  # type: ignore[attr-defined]
    assert read.idle_age_s == 0xFFFE


def test_properties_of_ports_that_are_not_known_are_passed_over() -> None:
    (body,) = multipart.encode(MultipartReply("port", (PortStats(1, 0, 1, 2, 3, 4),)), 5)
    head, entry = body[:8], body[8:]
    longer = (len(entry) + 16).to_bytes(2, "big") + entry[2:] + bytes.fromhex("ffff0010 0000aa01 00000009 00000000")
    assert multipart.decode(head + longer, 5, True) == multipart.decode(body, 5, True)


def test_how_a_group_chooses_is_left_out_before_1_5() -> None:
    group = GroupDescription(1, GroupType.SELECT, (), "hash", 2)
    for version, selection in ((5, ""), (6, "hash")):
        (body,) = multipart.encode(MultipartReply("group_description", (group,)), version)
        (read,) = multipart.decode(body, version, True).entries  # type: ignore[attr-defined]
        assert read.selection == selection


def test_1_5_asks_for_flows_with_and_without_actions() -> None:
    described = multipart.encode(FlowStatsRequest("flow_description"), 6)[0]
    bare = multipart.encode(FlowStatsRequest("flow"), 6)[0]
    assert (described[:2], bare[:2]) == (b"\0\1", b"\0\x11")
    assert multipart.encode(FlowStatsRequest("flow_description"), 4) == multipart.encode(FlowStatsRequest("flow"), 4)


def test_an_unknown_answer_of_an_experimenter_is_a_message() -> None:
    body = bytes.fromhex("ffff0001 00000000 00123456 00000007 aabb")
    assert multipart.decode(body, 4, True) == ExperimenterMultipart(0x123456, 7, b"\xaa\xbb", reply=True, more=True)


@pytest.mark.parametrize("count", [0, 2])
def test_controller_status_has_one_status(count: int) -> None:
    one = codec.encode(ControllerStatusChanged(ControllerStatus(1, 1, 2, True)), 6, 5)
    body = one[8:] * count
    with pytest.raises(OpenFlowError, match="one status"):
        codec.decode(one[:2] + (8 + len(body)).to_bytes(2, "big") + one[4:8] + body)


def test_controller_status_is_printed() -> None:
    message = ControllerStatusChanged(ControllerStatus(1, 2, 2, True, "tcp:192.0.2.1:6653"))
    said = "OFPT_CONTROLLER_STATUS (OF1.5) (xid=0x5): id=1 role=primary reason=role status=up uri=tcp:192.0.2.1:6653"
    assert format_message(message, 6, xid=5).strip() == said


def test_table_status_has_one_description() -> None:
    entry = TableDescription(5, True, 1)
    data = table_config.TABLE_DESCRIPTION.encode(entry, 5)
    assert table_config.decode_table_description(data, 5) == entry
    for wrong in (b"", data + data):
        with pytest.raises(OpenFlowError, match=r"bad_request\.bad_len"):
            table_config.decode_table_description(wrong, 5)
