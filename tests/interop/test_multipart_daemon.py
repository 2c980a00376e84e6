"""Multipart messages beside Open vSwitch: we ask a real ovs-vswitchd in every version, and read what it answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.openflow_stats import REFUSED
from tests.openvswitch import OpenVswitch
from vswitch.messages.actions import GotoTable, Output
from vswitch.messages.base import Message
from vswitch.messages.match import FlowMatch
from vswitch.messages.stats import (
    AggregateStats,
    FlowMonitorRequest,
    FlowStats,
    FlowStatsRequest,
    MultipartReply,
    StatsRequest,
    TableFeaturesRequest,
)
from vswitch.openflow import multipart
from vswitch.openflow.errors import decode_error
from vswitch.openflow.wire import HEADER_BYTES

ALL = range(1, 7)
ERROR = 1


@pytest.fixture(scope="module")
def switch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenVswitch]:
    with OpenVswitch(tmp_path_factory.mktemp("ovs")) as started:
        started.ofctl(4, "add-flow", "table=3,priority=7,cookie=0x5,idle_timeout=900,tcp,nw_dst=10.0.0.0/8,tp_dst=80,"
                                     "actions=output:2,goto_table:9")  # fmt: skip
        started.ofctl(4, "add-flow", "table=9,priority=1,cookie=0x6,in_port=1,actions=output:1")
        started.ofctl(4, "add-group", "group_id=5,type=select,bucket=weight:3,output:1,bucket=weight:4,output:2")
        started.ofctl(4, "add-meter", "meter=6,kbps,burst,stats,band=type=drop,rate=1000,burst_size=100")
        yield started


def ask(switch: OpenVswitch, message: Message, version: int) -> tuple[list[MultipartReply], list[bytes]]:
    """The parts of the answer, and their bodies."""
    (body,) = multipart.encode(message, version)
    answers = switch.ask(version, 16 if version == 1 else 18, body)
    bodies = [answer[HEADER_BYTES:] for answer in answers]
    assert {answer[1] for answer in answers} == {17 if version == 1 else 19}, answers[0].hex()
    parts = [multipart.decode(each, version, True) for each in bodies]
    assert all(isinstance(part, MultipartReply) for part in parts)
    return parts, bodies  # type: ignore[return-value]


def entries(switch: OpenVswitch, message: Message, version: int) -> tuple[Any, ...]:
    parts, _ = ask(switch, message, version)
    return tuple(entry for part in parts for entry in part.entries)


@pytest.mark.parametrize(
    ("version", "nicira"), [(1, False), (1, True), (2, False), (3, False), (4, False), (5, False), (6, False)]
)
def test_flows(switch: OpenVswitch, version: int, nicira: bool) -> None:
    request = FlowStatsRequest("flow" if nicira else "flow_description", FlowMatch(eth_type=0x0800), nicira=nicira)
    (found,) = entries(switch, request, version)
    assert isinstance(found, FlowStats)
    assert found.match == FlowMatch(eth_type=0x0800, ip_proto=6, ipv4_dst="10.0.0.0/8", tcp_dst=80)
    assert (found.table, found.priority, found.cookie, found.idle_timeout_s) == (3, 7, 5, 900)
    assert (found.packets, found.bytes) == (0, 0)
    assert 0 < found.duration_ns < 600 * 1_000_000_000
    assert (found.idle_age_s is not None) == (nicira or version == 6)
    if version > 1:
        assert found.actions == (Output(2), GotoTable(9))


@pytest.mark.parametrize("version", range(2, 7))
def test_flows_by_cookie(switch: OpenVswitch, version: int) -> None:
    request = FlowStatsRequest("aggregate", cookie=6, cookie_mask=(1 << 64) - 1)
    assert entries(switch, request, version) == (AggregateStats(0, 0, 1),)


def test_flows_by_cookie_in_nicira_s_message(switch: OpenVswitch) -> None:
    for cookie, mask, count in ((6, (1 << 64) - 1, 1), (4, 4, 2), (3, 3, 0)):
        request = FlowStatsRequest("aggregate", cookie=cookie, cookie_mask=mask, nicira=True)
        assert entries(switch, request, 1) == (AggregateStats(0, 0, count),)


KINDS: list[tuple[Message, range]] = [
    (StatsRequest("description"), ALL),
    (StatsRequest("table"), ALL),
    (StatsRequest("port"), ALL),
    (StatsRequest("port", 1), ALL),
    (StatsRequest("queue"), ALL),
    (StatsRequest("port_description"), ALL),
    (StatsRequest("group", 0xFFFFFFFC), range(2, 7)),
    (StatsRequest("group_description", 0xFFFFFFFC), range(2, 7)),
    (StatsRequest("group_features"), range(3, 7)),
    (StatsRequest("meter", 0xFFFFFFFF), range(4, 7)),
    (StatsRequest("meter_config", 0xFFFFFFFF), range(4, 7)),
    (StatsRequest("meter_features"), range(4, 7)),
    (TableFeaturesRequest(), range(4, 7)),
    (StatsRequest("table_description"), range(5, 7)),
    (StatsRequest("queue_description"), range(5, 7)),
    (FlowStatsRequest("flow_description"), ALL),
    (FlowStatsRequest("flow", nicira=True), range(1, 2)),
    (FlowStatsRequest("aggregate"), ALL),
    (FlowMonitorRequest(1, 0x1F, table=9), ALL),
]


@pytest.mark.parametrize("version", range(5, 7))
def test_counters_of_ports_that_have_names(switch: OpenVswitch, version: int) -> None:
    (port,) = entries(switch, StatsRequest("port", 1), version)
    assert ("rx_custom_packets_1", 0) in port.custom
    (body,) = multipart.encode(MultipartReply("port", (port,)), version)
    assert multipart.decode(body, version, True) == MultipartReply("port", (port,))


OWN_WAY = {"flow", "flow_monitor", "flow_description", "port"}
"""Of these, some may be written in more than one way: fields have no order, and ports have properties of Intel's."""


@pytest.mark.parametrize(
    ("message", "version"),
    [
        pytest.param(
            message, version, id=f"1.{version - 1} {getattr(message, 'kind', type(message).__name__)} {number}"
        )
        for number, (message, versions) in enumerate(KINDS)
        for version in versions
    ],
)
def test_what_the_switch_says_is_written_again_as_it_was(switch: OpenVswitch, message: Message, version: int) -> None:
    parts, bodies = ask(switch, message, version)
    for part, body in zip(parts, bodies, strict=True):
        (again,) = multipart.encode(part, version)
        assert again == body or (part.kind in OWN_WAY and multipart.decode(again, version, True) == part)


THEIR_OWN = {
    # Open vSwitch looks at whether the whole is a multiple of 8 bytes before it looks at the match.
    "0001000a 80000a02080000000000": "bad_request.bad_len",
    # It puts requests of any kind together that come in parts, and so waits for the rest.
    "0001000100000000": "",
    "00002320 00000000 00000000 ffff00ff": "nicira.unencodable_error",
    "0000000400000000" * 2: "nicira.unencodable_error",
    # It takes commands that there are not.
    "0002 ff 03": "",
}


def theirs(text: str, error: str) -> str:
    """What Open vSwitch answers; nothing if it does not refuse that."""
    return next((their for part, their in THEIR_OWN.items() if part in text), error)


@pytest.mark.parametrize(
    ("version", "text", "error"),
    [(version, text, theirs(text, error)) for version, text, error in REFUSED if theirs(text, error)],
)
def test_a_bad_request_is_refused_as_open_vswitch_refuses_it(
    switch: OpenVswitch, version: int, text: str, error: str
) -> None:
    (answer,) = switch.ask(version, 16 if version == 1 else 18, bytes.fromhex(text))
    assert answer[1] == ERROR  # in some refusals its version is 1.0, whatever the connection speaks
    assert decode_error(answer[HEADER_BYTES:], answer[0]).error == error
