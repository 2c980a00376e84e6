"""A connection without a socket: agreeing on a version, cutting bytes into messages, probing."""

from __future__ import annotations

import pytest

from vswitch.messages.control import (
    BarrierRequest,
    EchoReply,
    EchoRequest,
    Error,
    FeaturesRequest,
    FlowModTableId,
    Hello,
    SetFlowFormat,
    SetPacketInFormat,
)
from vswitch.messages.flows import FlowCommand, FlowMod
from vswitch.openflow.codec import decode, encode
from vswitch.openflow.connection import Connected, Connection, Failed, Received, Refused
from vswitch.openflow.wire import HEADER

SECOND = 1_000_000_000


def opened(version: int = 4, **options) -> Connection:
    connection = Connection(0, (version,), **options)
    assert connection.receive_data(HEADER.pack(version, 0, 8, 1), 0) == [Connected(version)]
    connection.data_to_send()
    return connection


def only(data: bytes):
    message, xid = decode(data)
    return message, xid


# (versions here, header version, versions in the bitmap or None, agreed or None)
HELLOS = [
    ((1, 4), 4, {1, 4}, 4),
    ((1, 2, 3, 4, 5, 6), 6, {1, 4}, 4),
    ((1, 2, 3, 4, 5, 6), 4, None, 4),
    ((1, 2, 3, 4, 5, 6), 1, None, 1),
    ((1, 4), 6, {1, 4, 6}, 4),
    ((4,), 6, None, 4),  # without a bitmap, 1.5 stands for all below
    ((1, 4), 200, {4, 200}, 4),
    ((4,), 1, None, None),
    ((4,), 4, {1}, None),
    ((1, 4), 3, None, None),
    ((4,), 5, {5}, None),
]


@pytest.mark.parametrize(("here", "header", "there", "agreed"), HELLOS)
def test_versions_are_agreed_on(here, header, there, agreed) -> None:
    connection = Connection(0, here)
    first, _ = only(connection.data_to_send())
    assert first == Hello(frozenset(here))
    body = b"" if there is None else HEADER.pack(0, 0, 0, 0)[:0]
    if there is not None:
        words = sum(1 << bit for bit in there)
        size = (max(there) // 32 + 1) * 4
        bitmap = b"".join((words >> 32 * index & 0xFFFFFFFF).to_bytes(4, "big") for index in range(size // 4))
        body = b"\0\1" + (4 + size).to_bytes(2, "big") + bitmap
        body += bytes(-len(body) % 8)
    events = connection.receive_data(HEADER.pack(header, 0, 8 + len(body), 7) + body, 1)
    if agreed:
        assert events == [Connected(agreed)]
        assert connection.version == agreed
        assert connection.data_to_send() == b""
    else:
        assert isinstance(events[0], Failed)
        assert "no version in common" in events[0].reason
        answer, xid = only(connection.data_to_send())
        assert isinstance(answer, Error)
        assert (answer.error, xid) == ("hello_failed.incompatible", 7)
        assert answer.data.decode() == events[0].reason
        assert connection.receive_data(b"more", 2) == []


@pytest.mark.parametrize("first", [encode(FeaturesRequest(), 4, 1), b"\0\0\0\x08\0\0\0\1"])
def test_who_does_not_say_hello_is_not_heard(first) -> None:
    connection = Connection(0)
    (event,) = connection.receive_data(first, 0)
    assert isinstance(event, Failed)
    assert connection.failed


STREAM = [(BarrierRequest(), 1), (EchoRequest(b"abc"), 2), (FeaturesRequest(), 3), (EchoReply(b"x"), 4)]


@pytest.mark.parametrize("size", [1, 3, 8, 9, 1000])
def test_messages_come_whole_however_they_are_cut(size) -> None:
    connection = Connection(0)
    data = HEADER.pack(4, 0, 8, 1) + b"".join(encode(message, 4, xid) for message, xid in STREAM)
    events = []
    for at in range(0, len(data), size):
        events += connection.receive_data(data[at : at + size], at)
    assert events[0] == Connected(4)
    told = [(event.message, event.xid) for event in events if isinstance(event, Received)]
    assert told == [STREAM[0], STREAM[2], STREAM[3]]
    sent = connection.data_to_send()
    assert only(sent[-11:]) == (EchoReply(b"abc"), 2)


def test_what_is_incomplete_waits() -> None:
    connection = opened()
    data = encode(BarrierRequest(), 4, 9)
    assert connection.receive_data(data + data[:5], 1) == [Received(BarrierRequest(), 9, data)]
    assert connection.receive_data(data[5:], 2) == [Received(BarrierRequest(), 9, data)]


def test_a_length_below_the_header_ends_it() -> None:
    connection = opened()
    good = encode(BarrierRequest(), 4, 9)
    events = connection.receive_data(good + HEADER.pack(4, 2, 7, 1) + good, 1)
    assert [type(event) for event in events] == [Received, Failed]


def test_what_is_refused_is_answered_and_it_goes_on() -> None:
    connection = opened()
    bad, good = HEADER.pack(4, 99, 100, 5) + bytes(92), encode(BarrierRequest(), 4, 6)
    events = connection.receive_data(bad + good, 1)
    assert [type(event) for event in events] == [Refused, Received]
    assert only(connection.data_to_send()) == (Error("bad_request.bad_type", bad), 5)


def test_of_what_is_refused_as_much_is_sent_back_as_there_is_room_for() -> None:
    connection = opened()
    bad = HEADER.pack(4, 99, 65535, 5) + bytes(65535 - 8)
    connection.receive_data(bad, 1)
    assert only(connection.data_to_send()) == (Error("bad_request.bad_type", bad[: 65535 - 12]), 5)


def test_no_error_about_an_error() -> None:
    connection = opened()
    events = connection.receive_data(HEADER.pack(4, 1, 9, 5) + b"x", 1)
    assert isinstance(events[0], Refused)
    assert connection.data_to_send() == b""


def test_another_version_is_refused() -> None:
    connection = opened()
    connection.receive_data(encode(BarrierRequest(), 5, 6), 1)
    answer, xid = only(connection.data_to_send())
    assert isinstance(answer, Error)
    assert (answer.error, xid) == ("bad_request.bad_version", 6)


def test_silence_is_probed_and_then_ends_it() -> None:
    connection = opened(probe_ns=5 * SECOND)
    assert connection.next_tick_ns() == 5 * SECOND
    assert connection.tick(4 * SECOND) == []
    assert connection.data_to_send() == b""
    assert connection.tick(5 * SECOND) == []
    probe, xid = only(connection.data_to_send())
    assert probe == EchoRequest()
    assert connection.next_tick_ns() == 10 * SECOND
    assert connection.receive_data(encode(EchoReply(), 4, xid), 6 * SECOND) == []
    assert connection.next_tick_ns() == 11 * SECOND
    connection.tick(11 * SECOND)
    (event,) = connection.tick(16 * SECOND)
    assert isinstance(event, Failed)
    assert "no answer" in event.reason
    assert connection.next_tick_ns() is None


def test_no_hello_in_time_ends_it() -> None:
    connection = Connection(0, probe_ns=SECOND)
    (event,) = connection.tick(SECOND)
    assert isinstance(event, Failed)


def test_without_probes_silence_is_borne() -> None:
    connection = opened()
    assert connection.next_tick_ns() is None
    assert connection.tick(10**18) == []


def test_xids_are_counted_and_begin_again() -> None:
    connection = opened(first_xid=(1 << 32) - 2)
    data = connection.send(BarrierRequest()) + connection.send(BarrierRequest())
    assert [only(data[at : at + 8])[1] for at in (0, 8)] == [(1 << 32) - 1, 0]


def test_nicira_settings_are_heeded_from_then_on() -> None:
    connection = opened(1)
    flow = FlowMod(FlowCommand.DELETE, table=3)
    for message in (FlowModTableId(True), SetFlowFormat(2), SetPacketInFormat(2)):
        connection.receive_data(encode(message, 1, 1), 1)
    dialect = connection.dialect
    assert (dialect.table_id, dialect.nxm, dialect.packet_in) == (True, True, 2)
    data = connection.send(flow)
    (event,) = connection.receive_data(data, 2)
    assert isinstance(event, Received)
    assert event.message == flow
    connection.receive_data(encode(FlowModTableId(False), 1, 1), 3)
    (event,) = connection.receive_data(data, 4)
    assert isinstance(event, Refused)
    assert event.error.error == "flow_mod_failed.bad_command"
