"""Multipart messages beside Open vSwitch: `ovs-ofctl ofp-print` says of what we write what we meant."""

from __future__ import annotations

import subprocess
from dataclasses import replace

import pytest

from vswitch.messages.actions import GotoTable, Output, WriteActions
from vswitch.messages.base import Message
from vswitch.messages.control import QueueConfigReply, QueueConfigRequest
from vswitch.messages.flows import Bucket, GroupType, MeterBand, TableMod
from vswitch.messages.match import FlowMatch
from vswitch.messages.ports import PortDescription
from vswitch.messages.stats import (
    AggregateStats,
    BucketStats,
    Description,
    FlowMonitorCancel,
    FlowMonitorPause,
    FlowMonitorRequest,
    FlowMonitorRequests,
    FlowMonitorUpdate,
    FlowStats,
    FlowStatsRequest,
    GroupDescription,
    GroupFeatures,
    GroupStats,
    MeterConfig,
    MeterFeatures,
    MeterStats,
    MultipartReply,
    PortStats,
    QueueDescription,
    QueueStats,
    StatsRequest,
    TableDescription,
    TableFeatures,
    TableFeaturesRequest,
    TableStats,
)
from vswitch.openflow import monitors, multipart, queues, table_config
from vswitch.openflow.wire import HEADER, HEADER_BYTES

ALL = range(1, 7)
DURATION_NS = 5_123_000_000


def framed(message: Message, version: int) -> bytes:
    """A message with its header, as the codec of messages writes it."""
    old = version == 1
    if isinstance(message, QueueConfigRequest):
        kind, body = (20 if old else 22), queues.encode_queue_config_request(message, version)
    elif isinstance(message, QueueConfigReply):
        kind, body = (21 if old else 23), queues.encode_queue_config_reply(message, version)
    elif isinstance(message, TableMod):
        kind, body = 17, table_config.encode_table_mod(message, version)
    elif isinstance(message, FlowMonitorCancel | FlowMonitorPause):
        vendor, number, rest = monitors.encode_experimenter(message, version)
        kind, body = 4, vendor.to_bytes(4, "big") + number.to_bytes(4, "big") + rest
    else:
        (body,) = multipart.encode(message, version)
        kind = (16 if old else 18) + isinstance(message, MultipartReply)
    return HEADER.pack(version, kind, HEADER_BYTES + len(body), 7) + body


def printed(message: Message, version: int) -> str:
    """What ovs-ofctl says that it is, without the head of the line."""
    command = ["ovs-ofctl", "ofp-print", framed(message, version).hex()]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
    assert not done.stderr, done.stderr
    head, _, rest = done.stdout.partition("(xid=0x7):")
    assert ("(OF1." in head) == (version > 1), head
    return rest.strip()


FLOW = FlowStats(
    FlowMatch(in_port=1, ipv4_dst="10.0.0.0/8"), (Output(2),), 100, 3, 0x1234, DURATION_NS, 7, 420, 60, 90, 1, 5, 4, 2
)


@pytest.mark.parametrize(
    ("version", "nicira", "extra"),
    [
        (1, False, ""),
        (1, True, "idle_age=4, hard_age=2, "),
        (2, False, ""),
        (3, False, ""),
        (4, False, "send_flow_rem "),
        (5, False, "send_flow_rem importance=5, "),
        (6, False, "send_flow_rem importance=5, idle_age=4, "),
    ],
)
def test_flows(version: int, nicira: bool, extra: str) -> None:
    reply = MultipartReply("flow" if nicira else "flow_description", (FLOW, replace(FLOW, table=4)), nicira=nicira)
    line = (
        "cookie=0x1234, duration=5.123s, table={}, n_packets=7, n_bytes=420, idle_timeout=60, hard_timeout=90, "
        f"{extra}priority=100,ip,in_port=1,nw_dst=10.0.0.0/8 actions=output:2"
    )
    assert printed(reply, version).splitlines() == [line.format(3), " " + line.format(4)]


@pytest.mark.parametrize("version", range(2, 7))
def test_flows_with_fields_of_later_versions(version: int) -> None:
    flow = replace(FLOW, match=FlowMatch(eth_type=0x86DD, ipv6_dst="fd00::/8", reg3=5))
    reply = MultipartReply("flow_description", (flow,))
    assert printed(reply, version).endswith("priority=100,ipv6,reg3=0x5,ipv6_dst=fd00::/8 actions=output:2")
    (body,) = multipart.encode(reply, version)
    (read,) = multipart.decode(body, version, True).entries  # type: ignore[attr-defined]
    assert read.match == flow.match


@pytest.mark.parametrize("version", range(2, 7))
def test_instructions_of_flows(version: int) -> None:
    flow = replace(FLOW, actions=(Output(2), WriteActions((Output(3),)), GotoTable(9)))
    said = printed(MultipartReply("flow_description", (flow,)), version)
    assert said.endswith("actions=output:2,write_actions(output:3),goto_table:9")


ONE_QUEUE = QueueStats(1, 2, 3, 4, 5, DURATION_NS)
KEPT = PortStats(1, DURATION_NS, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12)
NOT_KEPT = PortStats(0xFFFFFFFE, DURATION_NS, 1, 2, 3, 4)
PORT = PortDescription(1, 0x20000000001, "eth1", 1, 1, 1 << 6, 0, 0, 0, 10_000_000, 40_000_000)
BUCKETS = (Bucket((Output(1),), 10), Bucket((Output(2),), 20, 3, 4))
NUMBERED = (BUCKETS[0], replace(BUCKETS[1], id=7))

REPLIES: list[tuple[str, object, range, str]] = [
    (
        "aggregate", AggregateStats(7, 420, 2), ALL,
        "packet_count=7 byte_count=420 flow_count=2",
    ),
    (
        "description", Description("Maker", "Hard", "Soft", "S1", "dp"), ALL,
        "Manufacturer: Maker\nHardware: Hard\nSoftware: Soft\nSerial Num: S1\nDP Description: dp",
    ),
    (
        "queue", ONE_QUEUE, range(1, 4),
        "1 queues\n  port 1 queue 2: bytes=3, pkts=4, errors=5, duration=?",
    ),
    (
        "queue", ONE_QUEUE, range(4, 7),
        "1 queues\n  port 1 queue 2: bytes=3, pkts=4, errors=5, duration=5.123s",
    ),
    (
        "port", KEPT, range(1, 4),
        ("1 ports\n  port  1: rx pkts=1, bytes=3, drop=5, errs=7, frame=9, over=10, crc=11\n"
        "           tx pkts=2, bytes=4, drop=6, errs=8, coll=12"),
    ),
    (
        "port", KEPT, range(4, 7),
        ("1 ports\n  port  1: rx pkts=1, bytes=3, drop=5, errs=7, frame=9, over=10, crc=11\n"
        "           tx pkts=2, bytes=4, drop=6, errs=8, coll=12\n           duration=5.123s"),
    ),
    (
        "port", NOT_KEPT, range(4, 7),
        ("1 ports\n  port LOCAL: rx pkts=1, bytes=3, drop=?, errs=?, frame=?, over=?, crc=?\n"
        "           tx pkts=2, bytes=4, drop=?, errs=?, coll=?\n           duration=5.123s"),
    ),
    (
        "group", GroupStats(1, 2, 3, 4, DURATION_NS, (BucketStats(5, 6), BucketStats(7, 8))), range(2, 4),
        ("group_id=1,ref_count=2,packet_count=3,byte_count=4,bucket0:packet_count=5,byte_count=6,"
        "bucket1:packet_count=7,byte_count=8"),
    ),
    (
        "group", GroupStats(1, 2, 3, 4, DURATION_NS, (BucketStats(5, 6),)), range(4, 7),
        "group_id=1,duration=5.123s,ref_count=2,packet_count=3,byte_count=4,bucket0:packet_count=5,byte_count=6",
    ),
    (
        "group_description", GroupDescription(1, GroupType.SELECT, BUCKETS), range(2, 6),
        ("group_id=1,type=select,bucket=weight:10,actions=output:1,"
        "bucket=weight:20,watch_port:3,watch_group:4,actions=output:2"),
    ),
    (
        "group_description",
        GroupDescription(1, GroupType.SELECT, NUMBERED, "hash", 1, (("ipv4_src", 0xFFFFFFFF),)), range(6, 7),
        ("group_id=1,type=select,selection_method=hash,selection_method_param=1,fields=ip_src,"
        "bucket=bucket_id:0,weight:10,actions=output:1,"
        "bucket=bucket_id:7,weight:20,watch_port:3,watch_group:4,actions=output:2"),
    ),
    (
        "meter", MeterStats(1, 2, 3, 4, DURATION_NS, ((5, 6),)), range(4, 7),
        ("meter:1 flow_count:2 packet_in_count:3 byte_in_count:4 duration:5.123s bands:\n"
        "0: packet_count:5 byte_count:6"),
    ),
    (
        "meter_config",
        MeterConfig(1, 13, (MeterBand(1000, 100), MeterBand(2000, 200, "dscp_remark", 1))), range(4, 7),
        ("meter=1 kbps burst stats bands=\ntype=drop rate=1000 burst_size=100\n"
        "type=dscp_remark rate=2000 burst_size=200 prec_level=1"),
    ),
    (
        "meter_features", MeterFeatures(100, 6, 15, 8, 3), range(4, 7),
        "max_meter:100 max_bands:8 max_color:3\nband_types: drop dscp_remark\ncapabilities: kbps pktps burst stats",
    ),
    (
        "port_description", PORT, range(1, 2),
        ("1(eth1): addr:02:00:00:00:00:01\n     config:     PORT_DOWN\n     state:      LINK_DOWN\n"
        "     current:    10GB-FD\n     speed: 10000 Mbps now, 0 Mbps max"),
    ),
    (
        "port_description", PORT, range(2, 7),
        ("1(eth1): addr:02:00:00:00:00:01\n     config:     PORT_DOWN\n     state:      LINK_DOWN\n"
        "     current:    10GB-FD\n     speed: 10000 Mbps now, 40000 Mbps max"),
    ),
    (
        "table_description", TableDescription(5, True, 1, True, 10, 20, 55), range(5, 7),
        "table 5:\n   eviction=on eviction_flags=OTHER\n   vacancy=on vacancy_down=10% vacancy_up=20% vacancy=55%",
    ),
    (
        "queue_description", QueueDescription(1, 2, 100, 200), range(5, 7),
        "port=1\nqueue 2: min_rate:10.0% max_rate:20.0%",
    ),
    (
        "table", TableStats(0, 2, 10, 9), range(4, 7),
        "table 0:\n    active=2, lookup=10, matched=9",
    ),
    (
        "table", TableStats(0, 2, 10, 9, "first", 1000), range(1, 2),
        ('table 0 ("first"):\n    active=2, lookup=10, matched=9\n    max_entries=1000\n    matching:\n'
        "      exact match or wildcard: in_port eth_{src,dst,type} vlan_{vid,pcp} ip_{src,dst} nw_{proto,tos}"
        " tcp_{src,dst}"),
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "entry", "version", "text"),
    [
        pytest.param(kind, entry, version, text, id=f"1.{version - 1} {kind}")
        for kind, entry, versions, text in REPLIES
        for version in versions
    ],
)
def test_replies(kind: str, entry: object, version: int, text: str) -> None:
    assert printed(MultipartReply(kind, (entry,)), version) == text


@pytest.mark.parametrize("version", range(5, 7))
def test_counters_of_ports_that_have_names(version: int) -> None:
    said = printed(MultipartReply("port", (replace(KEPT, custom=(("eaten", 7), ("spilt", 8))),)), version)
    assert said.endswith("duration=5.123s\n           CUSTOM Statistics\n                      eaten=7, spilt=8,")


@pytest.mark.parametrize("version", range(3, 7))
def test_group_features(version: int) -> None:
    features = GroupFeatures(15, 7, (1, 2, 3, 4), (0x1, 0x400001, 0x1, 0x1))
    lines = [line.strip() for line in printed(MultipartReply("group_features", (features,)), version).splitlines()]
    assert lines[1:3] == ["Types:  0xf", "Capabilities:  0x7"]
    assert [line for line in lines if line.startswith("max_groups")] == [f"max_groups={n:#x}" for n in (1, 2, 3, 4)]
    actions = [line for line in lines if line.startswith("actions")]
    assert actions == ["actions: output", "actions: output group", "actions: output", "actions: output"]


FEATURES = TableFeatures(
    5, "five", 0xFF, 0xF0, 0, 1000,
    (
        (0, (1, 4)), (2, (6, 7)), (4, (0, 22)), (6, (0,)), (8, (0x80000004, 0x80001704)), (10, (0x80000004,)),
        (12, (0x80000606,)), (14, (0x80000606,)),
    ),
)  # fmt: skip


@pytest.mark.parametrize("version", range(4, 7))
def test_table_features(version: int) -> None:
    said = printed(MultipartReply("table_features", (FEATURES,)), version)
    for line in (
        'table 5 ("five"):', "metadata: match=0xff write=0xf0", "max_entries=1000", "next tables: 6-7",
        "instructions: apply_actions goto_table", "actions: output group", "supported on Set-Field: eth_dst",
    ):  # fmt: skip
        assert line in said
    assert 'table 5 ("five"):' in printed(TableFeaturesRequest((FEATURES,)), version)


BOTH_RATES = "port=1\nqueue 2: min_rate:10.0% max_rate:20.0%"
REQUESTS: list[tuple[Message, range, str]] = [
    (FlowStatsRequest("flow_description", FlowMatch(in_port=1), 3, 5), ALL, "table=3 out_port=5 in_port=1"),
    (FlowStatsRequest("aggregate", FlowMatch(in_port=1), 3, 5), ALL, "table=3 out_port=5 in_port=1"),
    (FlowStatsRequest("flow", FlowMatch(in_port=1), 3, 5, nicira=True), range(1, 2), "table=3 out_port=5 in_port=1"),
    (StatsRequest("port", 5), ALL, "port_no=5"),
    (StatsRequest("port"), ALL, "port_no=ANY"),
    (StatsRequest("queue", 5, 6), ALL, "port=5 queue=6"),
    (StatsRequest("queue"), ALL, "port=ANY queue=ALL"),
    (StatsRequest("group", 7), range(2, 7), "group_id=7"),
    (StatsRequest("group_description", 7), range(6, 7), "group_id=7"),
    (StatsRequest("meter", 7), range(4, 7), "meter=7"),
    (StatsRequest("meter_config", 7), range(4, 7), "meter=7"),
    (StatsRequest("port_description", 7), range(6, 7), "port=7"),
    (StatsRequest("queue_description", 1, 2), range(5, 7), "port=1 queue=2"),
    (
        FlowMonitorRequest(7, 0x1F, FlowMatch(in_port=1), 3, 5), ALL,
        "id=7 flags=initial,add,delete,modify,actions out_port=5 table=3 in_port=1",
    ),
    (
        FlowMonitorRequests((FlowMonitorRequest(7, 2), FlowMonitorRequest(8, 4, table=1))), ALL,
        "id=7 flags=add\n id=8 flags=delete table=1",
    ),
    (QueueConfigRequest(1), range(1, 5), "port=1"),
    (QueueConfigReply(1, ((2, 100, 200, 1),)), range(1, 5), BOTH_RATES),
    (TableMod(5, "drop"), range(2, 4), "table_id=5, flow_miss_config=drop"),
    (TableMod(5), range(4, 5), "table_id=5"),
    (TableMod(5, None, True, 1, True, 10, 20), range(5, 7), "table_id=5, eviction=on, vacancy=on vacancy:10,20"),
    (FlowMonitorCancel(7), range(1, 5), "id=7"),
    (FlowMonitorPause(True), range(1, 5), ""),
    (FlowMonitorPause(False), range(1, 5), ""),
]  # fmt: skip


@pytest.mark.parametrize(
    ("message", "version", "text"),
    [
        pytest.param(message, version, text, id=f"1.{version - 1} {type(message).__name__} {number}")
        for number, (message, versions, text) in enumerate(REQUESTS)
        for version in versions
    ],
)
def test_requests(message: Message, version: int, text: str) -> None:
    assert printed(message, version) == text


@pytest.mark.parametrize("version", ALL)
def test_updates_of_monitors(version: int) -> None:
    full = FlowMonitorUpdate("added", 0, FlowMatch(in_port=1), (Output(2),), 5, 3, 0x12, 60, 90)
    entries = [full, replace(full, event="removed", reason=1), FlowMonitorUpdate("abbreviated", 9)]
    flow = "table=3 idle_timeout=60 hard_timeout=90 cookie=0x12 in_port=1 actions=output:2"
    lines = [f"event=ADDED {flow}", f" event=DELETED reason=hard {flow}", " event=ABBREV xid=0x9"]
    if version >= 5:
        entries += [replace(full, event="initial"), FlowMonitorUpdate("paused"), FlowMonitorUpdate("resumed")]
        lines += [f" event=INITIAL {flow}", " event=PAUSED", " event=RESUMED"]
    assert printed(MultipartReply("flow_monitor", tuple(entries)), version).splitlines() == lines
