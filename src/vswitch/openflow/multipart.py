"""Multipart messages (in OpenFlow 1.0: statistics): requests, and replies that may be many messages.

A multipart is a type, flags and a body. `_KINDS` has a row for each kind: its type, the versions that have it, what a
request's body is, how the entries of a reply are written. Nicira's and ONF's multiparts are rows like the others, with
their experimenter.

A reply is cut between its entries into messages of at most 64 KB, all but the last of which say that more follow. So a
reply that was cut may be read as one by joining the entries.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from struct import Struct
from typing import Any

from vswitch.base.errors import ConfigError
from vswitch.messages.base import Message
from vswitch.messages.errors import OpenFlowError
from vswitch.messages.flows import ANY_PORT
from vswitch.messages.stats import (
    BundleFeaturesRequest,
    ExperimenterMultipart,
    FlowMonitorCancel,
    FlowMonitorPause,
    FlowMonitorRequest,
    FlowMonitorRequests,
    FlowMonitorUpdate,
    FlowStatsRequest,
    MultipartReply,
    StatsRequest,
    TableFeaturesRequest,
)
from vswitch.openflow import features, flow_stats, monitors
from vswitch.openflow.descriptions import GROUP_DESCRIPTION, METER_CONFIG, PORT_DESCRIPTION
from vswitch.openflow.queues import QUEUE_DESCRIPTION
from vswitch.openflow.records import bad_length, port_from_wire, port_to_wire, unpack, unsaid
from vswitch.openflow.stats import RECORDS, Records, row
from vswitch.openflow.table_config import TABLE_DESCRIPTION
from vswitch.openflow.table_features import TABLE_FEATURES
from vswitch.openflow.wire import HEADER_BYTES, MAX_MESSAGE_BYTES, NICIRA, ONF

__all__ = ["decode", "encode"]

_MORE = 1
_EXPERIMENTER = 0xFFFF
_HEAD = {1: Struct("!HH"), 2: Struct("!HH4x")}
_VENDOR = Struct("!II")
_NICIRA_10 = Struct("!II4x")
_ALL_PORTS_10 = 0xFFFC
_OWN_MONITORS, _DELETE_MONITOR = 5, 2


@dataclass(frozen=True, slots=True)
class _Request:
    """How a request's body is written and read; it is called with the message and the version, or with the body, the
    version and the kind."""

    encode: Callable[[Any, int], bytes]
    decode: Callable[[bytes, int, str], Message]


@dataclass(frozen=True, slots=True)
class _Kind:
    """A kind of multipart: by what name, type (and experimenter's type) it goes, in the versions `since` to `until`."""

    name: str
    since: int
    until: int
    type: int
    request: _Request
    records: Records
    experimenter: int = 0
    experimenter_type: int = 0


# ---- requests


def _decode_empty(data: bytes, _version: int, kind: str) -> Message:
    if data:
        raise bad_length(f"request for {kind}", len(data), 0)
    return StatsRequest(kind)


_EMPTY = _Request(lambda _message, _version: b"", _decode_empty)

_PORT = {1: Struct("!H6x"), 2: Struct("!I4x")}
_QUEUE = {1: Struct("!H2xI"), 2: Struct("!II")}
_NUMBER = Struct("!I4x")


def _encode_port(message: StatsRequest, version: int) -> bytes:
    return row(_PORT, version).pack(port_to_wire(message.number, version))


def _decode_port(data: bytes, version: int, kind: str) -> Message:
    (port,) = unpack(row(_PORT, version), data, f"request for {kind}")
    return StatsRequest(kind, port_from_wire(port, version))


def _encode_queue(message: StatsRequest, version: int) -> bytes:
    # OpenFlow 1.0 says "all ports" here, where it says "none" for other statistics.
    every = version == 1 and message.number == ANY_PORT
    port = _ALL_PORTS_10 if every else port_to_wire(message.number, version)
    return row(_QUEUE, version).pack(port, message.queue)


def _decode_queue(data: bytes, version: int, kind: str) -> Message:
    port, queue = unpack(row(_QUEUE, version), data, f"request for {kind}")
    every = version == 1 and port == _ALL_PORTS_10
    return StatsRequest(kind, ANY_PORT if every else port_from_wire(port, version), queue)


def _decode_number(data: bytes, _version: int, kind: str) -> Message:
    (number,) = unpack(_NUMBER, data, f"request for {kind}")
    return StatsRequest(kind, number)


def _decode_table_features(data: bytes, version: int, _kind: str) -> Message:
    tables: tuple[Any, ...] = TABLE_FEATURES.decode(data, version)
    return TableFeaturesRequest(tables)


def _encode_monitors(message: FlowMonitorRequest | FlowMonitorRequests, version: int) -> bytes:
    requests = (message,) if isinstance(message, FlowMonitorRequest) else message.requests
    return b"".join(monitors.encode_request(each, version) for each in requests)


def _decode_monitors(data: bytes, version: int, _kind: str) -> Message:
    requests = monitors.decode_requests(data, version)
    return requests[0] if len(requests) == 1 else FlowMonitorRequests(requests)


_BY_PORT = _Request(_encode_port, _decode_port)
_BY_QUEUE = _Request(_encode_queue, _decode_queue)
_BY_NUMBER = _Request(lambda message, _version: _NUMBER.pack(message.number), _decode_number)
_FLOWS = _Request(flow_stats.encode_request, flow_stats.decode_request)
_NICIRA_FLOWS = _Request(flow_stats.encode_nicira_request, flow_stats.decode_nicira_request)
_TABLE_FEATURES = _Request(lambda _message, _version: b"", _decode_table_features)
_MONITORS = _Request(_encode_monitors, _decode_monitors)
_BUNDLE_FEATURES = _Request(
    features.encode_bundle_features_request,
    lambda data, version, _kind: features.decode_bundle_features_request(data, version),
)

_KINDS = (
    _Kind("description", 1, 6, 0, _EMPTY, RECORDS["description"]),
    _Kind("flow", 1, 5, 1, _FLOWS, flow_stats.FLOWS),
    _Kind("flow_description", 6, 6, 1, _FLOWS, flow_stats.FLOWS),
    _Kind("aggregate", 1, 6, 2, _FLOWS, RECORDS["aggregate"]),
    _Kind("table", 1, 6, 3, _EMPTY, RECORDS["table"]),
    _Kind("port", 1, 6, 4, _BY_PORT, RECORDS["port"]),
    _Kind("queue", 1, 6, 5, _BY_QUEUE, RECORDS["queue"]),
    _Kind("group", 2, 6, 6, _BY_NUMBER, RECORDS["group"]),
    _Kind("group_description", 2, 5, 7, _EMPTY, GROUP_DESCRIPTION),
    _Kind("group_description", 6, 6, 7, _BY_NUMBER, GROUP_DESCRIPTION),
    _Kind("group_features", 3, 6, 8, _EMPTY, RECORDS["group_features"]),
    _Kind("meter", 4, 6, 9, _BY_NUMBER, RECORDS["meter"]),
    _Kind("meter_config", 4, 6, 10, _BY_NUMBER, METER_CONFIG),
    _Kind("meter_features", 4, 6, 11, _EMPTY, RECORDS["meter_features"]),
    _Kind("table_features", 4, 6, 12, _TABLE_FEATURES, TABLE_FEATURES),
    _Kind("port_description", 1, 5, 13, _EMPTY, PORT_DESCRIPTION),  # 1.3's; Open vSwitch has it in all versions
    _Kind("port_description", 6, 6, 13, _BY_PORT, PORT_DESCRIPTION),
    _Kind("table_description", 5, 6, 14, _EMPTY, TABLE_DESCRIPTION),
    _Kind("queue_description", 5, 6, 15, _BY_QUEUE, QUEUE_DESCRIPTION),
    _Kind("flow_monitor", 5, 6, 16, _MONITORS, monitors.FLOW_MONITOR),
    _Kind("flow", 6, 6, 17, _FLOWS, flow_stats.FLOWS_WITHOUT_ACTIONS),
    _Kind("controller_status", 6, 6, 18, _EMPTY, features.CONTROLLER_STATUS),
    _Kind("bundle_features", 6, 6, 19, _BUNDLE_FEATURES, features.BUNDLE_FEATURES),
    _Kind("flow", 1, 1, _EXPERIMENTER, _NICIRA_FLOWS, flow_stats.NICIRA_FLOWS, NICIRA, 0),
    _Kind("aggregate", 1, 1, _EXPERIMENTER, _NICIRA_FLOWS, RECORDS["aggregate"], NICIRA, 1),
    _Kind("group", 1, 1, _EXPERIMENTER, _BY_NUMBER, RECORDS["group"], NICIRA, 7),
    _Kind("group_description", 1, 1, _EXPERIMENTER, _BY_NUMBER, GROUP_DESCRIPTION, NICIRA, 8),
    _Kind("group_features", 1, 2, _EXPERIMENTER, _EMPTY, RECORDS["group_features"], NICIRA, 9),
    _Kind("flow_monitor", 1, 3, _EXPERIMENTER, _MONITORS, monitors.FLOW_MONITOR, NICIRA, 2),
    _Kind("flow_monitor", 4, 4, _EXPERIMENTER, _MONITORS, monitors.FLOW_MONITOR, ONF, 1870),
)


def _spoken() -> Iterator[tuple[int, _Kind]]:
    for kind in _KINDS:
        for version in range(kind.since, kind.until + 1):
            yield version, kind


_BY_TYPE = {(version, kind.type, kind.experimenter, kind.experimenter_type): kind for version, kind in _spoken()}
_ALIKE = {"flow_description": "flow"}
"""What a kind is before the version that has it."""


def _by_name() -> dict[tuple[int, str, bool], _Kind]:
    """(version, name, whether by Nicira's message) -> kind."""
    found: dict[tuple[int, str, bool], _Kind] = {}
    for version, kind in _spoken():
        found[version, kind.name, kind.experimenter == NICIRA] = kind
        if kind.experimenter and kind.request is not _NICIRA_FLOWS:  # there is no other
            found[version, kind.name, False] = found[version, kind.name, True] = kind
    for (version, name, nicira), kind in list(found.items()):
        for other, alike in _ALIKE.items():
            if alike == name:
                found.setdefault((version, other, nicira), kind)
    return found


_BY_NAME = _by_name()


def _kind_of(name: str, version: int, nicira: bool) -> _Kind:
    found = _BY_NAME.get((version, name, nicira))
    if found is None:
        how = " by Nicira's message" if nicira else ""
        raise unsaid(version, f"has no {name!r} statistics{how}")
    return found


# ---- reading


def decode(body: bytes, version: int, is_reply: bool) -> Message:
    """The message whose body, behind the header of OpenFlow, this is. OpenFlowError: it is refused, with the reason
    that the specification names."""
    head = row(_HEAD, version)
    if len(body) < head.size:
        raise bad_length("multipart", len(body), f"at least {head.size}")
    number, flags = head.unpack_from(body)
    experimenter = experimenter_type = 0
    begin = head.size
    if number == _EXPERIMENTER:
        if len(body) < begin + _VENDOR.size:
            raise bad_length("experimenter's multipart", len(body) - begin, f"at least {_VENDOR.size}")
        experimenter, experimenter_type = _VENDOR.unpack_from(body, begin)
        begin += _experimenter_head(experimenter, version).size
    kind = _BY_TYPE.get((version, number, experimenter, experimenter_type))
    if kind is None:
        return _unknown(body, version, number, experimenter, experimenter_type, is_reply, bool(flags & _MORE))
    if begin > len(body):
        raise bad_length("experimenter's multipart", len(body), f"at least {begin}")
    content, nicira = body[begin:], kind.experimenter == NICIRA and kind.request is _NICIRA_FLOWS
    if is_reply:
        return MultipartReply(kind.name, kind.records.decode(content, version), bool(flags & _MORE), nicira)
    message = kind.request.decode(content, version, kind.name)
    if flags & _MORE:
        if not isinstance(message, TableFeaturesRequest):
            raise OpenFlowError(
                "bad_request.multipart_buffer_overflow", f"a request for {kind.name} in more than one message"
            )
        return TableFeaturesRequest(message.tables, more=True)
    return message


def _experimenter_head(experimenter: int, version: int) -> Struct:
    return _NICIRA_10 if version == 1 and experimenter == NICIRA else _VENDOR


def _unknown(
    body: bytes, version: int, number: int, experimenter: int, experimenter_type: int, is_reply: bool, more: bool
) -> Message:
    """What is done with a kind that has no row. OpenFlowError: it is no experimenter's answer."""
    if number != _EXPERIMENTER:
        raise unsaid(version, f"has no statistics of type {number}")
    if is_reply:
        data = body[row(_HEAD, version).size + _VENDOR.size :]
        return ExperimenterMultipart(experimenter, experimenter_type, data, True, more)
    if experimenter in (NICIRA, ONF):
        raise OpenFlowError(
            "bad_request.bad_exp_type", f"experimenter {experimenter:#x} has no statistics of type {experimenter_type}"
        )
    raise OpenFlowError("bad_request.bad_experimenter", f"statistics of experimenter {experimenter:#x} are not known")


# ---- writing


def encode(message: Message, version: int) -> list[bytes]:
    """The bodies of the messages that say it, behind the header of OpenFlow: one for a request, as many as it takes for
    a reply. OpenFlowError: the version has no such message. ConfigError: a number does not fit into its field."""
    try:
        return list(_encode(message, version))
    except (struct.error, OverflowError) as error:
        raise ConfigError(f"{type(message).__name__}: a number is out of its bounds ({error})") from None


def _encode(message: Message, version: int) -> Iterable[bytes]:
    if isinstance(message, ExperimenterMultipart):
        content = _VENDOR.pack(message.experimenter, message.kind) + message.data
        head = row(_HEAD, version).pack(_EXPERIMENTER, _MORE * message.more)
        return _cut([content], lambda _more: head)
    if isinstance(message, MultipartReply):
        kind = _kind_of(message.kind, version, message.nicira)
        records = kind.records
        if records.single and len(message.entries) != 1:
            raise ConfigError(f"a {message.kind} reply has one entry, and not {len(message.entries)}")
        return _cut((records.encode(each, version) for each in message.entries), _heads(kind, version), message.more)
    if isinstance(message, TableFeaturesRequest):
        kind = _kind_of("table_features", version, False)
        return _cut(
            (TABLE_FEATURES.encode(each, version) for each in message.tables), _heads(kind, version), message.more
        )
    if isinstance(message, FlowMonitorCancel | FlowMonitorPause):
        return _encode(_monitor_message(message, version), version)
    name, nicira = _request_kind(message)
    kind = _kind_of(name, version, nicira)
    return _cut([kind.request.encode(message, version)], _heads(kind, version))


def _monitor_message(message: FlowMonitorCancel | FlowMonitorPause, version: int) -> Message:
    """What says the same in OpenFlow 1.4 and later: a command, an update."""
    if version < _OWN_MONITORS:
        raise unsaid(version, "cancels and pauses flow monitors by an experimenter's message", "bad_request.bad_type")
    if isinstance(message, FlowMonitorCancel):
        return FlowMonitorRequest(message.id, 0, command=_DELETE_MONITOR)
    return MultipartReply("flow_monitor", (FlowMonitorUpdate("paused" if message.paused else "resumed"),))


def _request_kind(message: Message) -> tuple[str, bool]:
    """The kind that a request asks for, and whether by Nicira's message."""
    if isinstance(message, StatsRequest):
        return message.kind, False
    if isinstance(message, FlowStatsRequest):
        return message.kind, message.nicira
    if isinstance(message, FlowMonitorRequest | FlowMonitorRequests):
        return "flow_monitor", False
    if isinstance(message, BundleFeaturesRequest):
        return "bundle_features", False
    raise ConfigError(f"{type(message).__name__} is no multipart message")


def _heads(kind: _Kind, version: int) -> Callable[[bool], bytes]:
    """What goes before the entries, by whether more follow."""
    experimenter = b""
    if kind.type == _EXPERIMENTER:
        layout = _experimenter_head(kind.experimenter, version)
        experimenter = layout.pack(kind.experimenter, kind.experimenter_type)
    head = row(_HEAD, version)
    return lambda more: head.pack(kind.type, _MORE * more) + experimenter


def _cut(entries: Iterable[bytes], heads: Callable[[bool], bytes], more: bool = False) -> Iterator[bytes]:
    """Bodies of at most 64 KB with their headers; the last one says `more`."""
    room = MAX_MESSAGE_BYTES - HEADER_BYTES - len(heads(True))
    parts: list[bytes] = []
    used = 0
    for entry in entries:  # hot: once per flow of a dump
        size = len(entry)
        if used + size > room:
            if size > room:
                raise ConfigError(f"an entry of a multipart has {size} bytes, at most {room} can be sent")
            yield heads(True) + b"".join(parts)
            parts, used = [], 0
        parts.append(entry)
        used += size
    yield heads(more) + b"".join(parts)
