"""Flow monitors: requests to be told of changes of flows, and what is told, in three dialects of one idea.

Nicira made it for OpenFlow 1.0 to 1.2, ONF wrote it down as an extension of 1.3, and 1.4 took it in. A dialect is a
row: the layouts, how the match stands in them, and the numbers of events. Nicira and ONF cancel, pause and resume by
messages of their own (`encode_experimenter`), where 1.4 has a command and two kinds of updates.

Flags have the same numbers in all three but for "only own", which 1.4 alone has.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct

from vswitch.messages.errors import OpenFlowError
from vswitch.messages.flows import ANY_GROUP
from vswitch.messages.match import FlowMatch
from vswitch.messages.stats import FlowMonitorCancel, FlowMonitorPause, FlowMonitorRequest, FlowMonitorUpdate
from vswitch.openflow.actions import decode_actions, encode_actions
from vswitch.openflow.flow_parts import actions_bytes
from vswitch.openflow.instructions import decode_flow_actions
from vswitch.openflow.matches import decode_match, decode_nxm, encode_match, encode_nxm
from vswitch.openflow.records import bad_length, port_from_wire, port_to_wire, unpack, unsaid
from vswitch.openflow.stats import Records, row
from vswitch.openflow.wire import NICIRA, ONF

__all__ = [
    "FLOW_MONITOR",
    "decode_experimenter",
    "decode_requests",
    "encode_experimenter",
    "encode_request",
]


@dataclass(frozen=True, slots=True)
class _Dialect:
    """`vendor`: whose messages cancel and pause, 0: there are none. `match`: "nxm" (fields without a frame), "oxm" (a
    match structure, and its length), "own" (a match structure). `port_version`: as which version has ports. `flags`:
    those that there are. `events`: their names, by number."""

    vendor: int
    match: str
    port_version: int
    flags: int
    events: tuple[str, ...]


_OLD_EVENTS = ("added", "removed", "modified", "abbreviated")
_NEW_EVENTS = ("initial", *_OLD_EVENTS, "paused", "resumed")
_DIALECTS = {
    1: _Dialect(NICIRA, "nxm", 1, 0x3F, _OLD_EVENTS),
    4: _Dialect(ONF, "oxm", 4, 0x3F, _OLD_EVENTS),
    5: _Dialect(0, "own", 5, 0x7F, _NEW_EVENTS),
}

_REQUEST_NXM = Struct("!IHHHB5x")
_REQUEST_OXM = Struct("!IHHIB3x")
_REQUEST_OWN = Struct("!IIIHBB")
_COMMANDS = 3

_UPDATE_HEAD = Struct("!HH")
_UPDATE_OLD = Struct("!HHHHHHHBxQ")
_UPDATE_OWN = Struct("!HHBBHHH4xQ")
_UPDATE_SHORT = Struct("!HHI")


# ---- requests


def encode_request(message: FlowMonitorRequest, version: int) -> bytes:
    """One request, without what goes before it in a multipart. OpenFlowError: this version cannot say it."""
    dialect = row(_DIALECTS, version)
    if message.flags & ~dialect.flags:
        what = f"has flags {dialect.flags:#x} of flow monitors, and not {message.flags:#x}"
        raise unsaid(version, what, "flow_monitor_failed.bad_flags")
    if dialect.match == "own":
        head = _REQUEST_OWN.pack(
            message.id, message.out_port, message.out_group, message.flags, message.table, message.command
        )
        return head + encode_match(message.match, version)
    if message.out_group != ANY_GROUP or message.command:
        raise unsaid(version, "has neither groups nor commands in flow monitors", "flow_monitor_failed.bad_command")
    port = port_to_wire(message.out_port, dialect.port_version)
    if dialect.match == "nxm":
        fields, length = encode_nxm(message.match, version=version)
        return _REQUEST_NXM.pack(message.id, message.flags, port, length, message.table) + fields
    match = encode_match(message.match, version)
    return _REQUEST_OXM.pack(message.id, message.flags, _match_length(match), port, message.table) + match


def _match_length(match: bytes) -> int:
    """The length of a match structure without its padding, which stands in it."""
    return int.from_bytes(match[2:4], "big")


def _take_oxm(data: bytes, at: int, length: int, version: int) -> tuple[FlowMatch, int]:
    if length != _match_length(data[at : at + 4]):
        raise OpenFlowError(
            "bad_match.bad_len", f"a match of {_match_length(data[at:])} bytes where {length} were told"
        )
    return decode_match(data, at, version)


def decode_requests(data: bytes, version: int) -> tuple[FlowMonitorRequest, ...]:
    """All that one multipart asks for. OpenFlowError: lengths, flags, commands, bad_match.*."""
    dialect = row(_DIALECTS, version)
    layout = {"nxm": _REQUEST_NXM, "oxm": _REQUEST_OXM, "own": _REQUEST_OWN}[dialect.match]
    found = []
    at = 0
    while at < len(data):
        if len(data) - at < layout.size:
            raise bad_length("flow monitor request", len(data) - at, f"at least {layout.size}")
        fields = layout.unpack_from(data, at)
        at += layout.size
        out_group, command = ANY_GROUP, 0
        if dialect.match == "own":
            monitor, port, out_group, flags, table, command = fields
            match, at = decode_match(data, at, version)
        elif dialect.match == "nxm":
            monitor, flags, port, length, table = fields
            match, _, cookie_mask, at = decode_nxm(data, at, length)
            if cookie_mask:
                raise OpenFlowError("bad_match.bad_field", "flow monitors do not choose by cookie")
        else:
            monitor, flags, length, port, table = fields
            match, at = _take_oxm(data, at, length, version)
        if flags & ~dialect.flags:
            raise OpenFlowError("flow_monitor_failed.bad_flags", f"flow monitor {monitor} with flags {flags:#x}")
        if command >= _COMMANDS:
            raise OpenFlowError("flow_monitor_failed.bad_command", f"command {command} of a flow monitor, at most 2")
        out_port = port_from_wire(port, dialect.port_version)
        found.append(FlowMonitorRequest(monitor, flags, match, table, out_port, out_group, command))
    return tuple(found)


# ---- updates


def _actions_bytes(entry: FlowMonitorUpdate, version: int) -> bytes:
    """Nicira's updates have a list of actions in all versions, the others have instructions."""
    if row(_DIALECTS, version).match == "nxm":
        return encode_actions(entry.actions, version, protocol=entry.match.take("ip_proto")[0])
    return actions_bytes(entry.actions, version, entry.match)


def _encode_update(entry: FlowMonitorUpdate, version: int) -> bytes:
    dialect = row(_DIALECTS, version)
    name = "added" if entry.event == "initial" and dialect.match != "own" else entry.event
    if name not in dialect.events:
        raise unsaid(version, f"has no update {name!r} of flow monitors", "nicira.fm_bad_event")
    event = dialect.events.index(name)
    if name in ("abbreviated", "paused", "resumed"):
        return _UPDATE_SHORT.pack(_UPDATE_SHORT.size, event, entry.xid if name == "abbreviated" else 0)
    reason = entry.reason if name == "removed" else 0
    actions = _actions_bytes(entry, version)
    times = (entry.idle_timeout_s, entry.hard_timeout_s)
    if dialect.match == "own":
        match = encode_match(entry.match, version)
        length = _UPDATE_OWN.size + len(match) + len(actions)
        head = _UPDATE_OWN.pack(length, event, entry.table, reason, *times, entry.priority, entry.cookie)
        return head + match + actions
    if dialect.match == "nxm":
        match, match_length = encode_nxm(entry.match, version=version)
    else:
        match = encode_match(entry.match, version)
        match_length = _match_length(match)
    length = _UPDATE_OLD.size + len(match) + len(actions)
    head = _UPDATE_OLD.pack(length, event, reason, entry.priority, *times, match_length, entry.table, entry.cookie)
    return head + match + actions


def _decode_updates(data: bytes, version: int) -> tuple[object, ...]:
    events = row(_DIALECTS, version).events
    found = []
    at = 0
    while at < len(data):
        left = len(data) - at
        if left < _UPDATE_SHORT.size:
            raise bad_length("flow update", left, f"at least {_UPDATE_SHORT.size}")
        length, event = _UPDATE_HEAD.unpack_from(data, at)
        if length < _UPDATE_SHORT.size or length > left or length % 8:
            raise bad_length("flow update", length, f"a multiple of 8 from 8 to {left}")
        if event >= len(events):
            raise OpenFlowError("nicira.fm_bad_event", f"event {event} of a flow update, at most {len(events) - 1}")
        found.append(_update(events[event], data[at : at + length], version))
        at += length
    return tuple(found)


def _update(event: str, record: bytes, version: int) -> FlowMonitorUpdate:
    if event in ("abbreviated", "paused", "resumed"):
        _, _, xid = unpack(_UPDATE_SHORT, record, "flow update")
        return FlowMonitorUpdate(event, xid if event == "abbreviated" else 0)
    dialect = row(_DIALECTS, version)
    layout = _UPDATE_OWN if dialect.match == "own" else _UPDATE_OLD
    if len(record) < layout.size:
        raise bad_length("flow update", len(record), f"at least {layout.size}")
    if dialect.match == "own":
        _, _, table, reason, idle, hard, priority, cookie = layout.unpack_from(record)
        match, after = decode_match(record, layout.size, version)
    else:
        _, _, reason, priority, idle, hard, length, table, cookie = layout.unpack_from(record)
        if dialect.match == "nxm":
            match, _, cookie_mask, after = decode_nxm(record, layout.size, length)
            if cookie_mask:
                raise OpenFlowError("bad_match.bad_field", "a flow update has no cookie in its match")
        else:
            match, after = _take_oxm(record, layout.size, length, version)
    decode = decode_actions if dialect.match == "nxm" else decode_flow_actions
    actions = decode(record[after:], version)
    told = reason if event == "removed" else 0
    return FlowMonitorUpdate(event, 0, match, actions, priority, table, cookie, idle, hard, told)


FLOW_MONITOR = Records(_encode_update, _decode_updates)
"""The entries of "flow_monitor" replies."""


# ---- cancel, paused, resumed: experimenters' messages before 1.4

_CANCEL = Struct("!I")
_MESSAGES: dict[int, tuple[int, int, int]] = {NICIRA: (21, 22, 23), ONF: (1870, 1871, 1872)}
"""vendor -> types of cancel, paused and resumed."""


def encode_experimenter(message: FlowMonitorCancel | FlowMonitorPause, version: int) -> tuple[int, int, bytes]:
    """(vendor, type, what follows) of the experimenter's message. OpenFlowError: OpenFlow 1.4 and later have
    none."""
    vendor = row(_DIALECTS, version).vendor
    if not vendor:
        raise unsaid(version, "cancels and pauses flow monitors by its multipart", "bad_request.bad_type")
    cancel, paused, resumed = _MESSAGES[vendor]
    if isinstance(message, FlowMonitorCancel):
        return vendor, cancel, _CANCEL.pack(message.id)
    return vendor, paused if message.paused else resumed, b""


def decode_experimenter(vendor: int, kind: int, data: bytes) -> FlowMonitorCancel | FlowMonitorPause | None:
    """The message, if it is one of these. OpenFlowError: its length does not fit."""
    if vendor not in _MESSAGES or kind not in _MESSAGES[vendor]:
        return None
    which = _MESSAGES[vendor].index(kind)
    if which == 0:
        return FlowMonitorCancel(*unpack(_CANCEL, data, "flow monitor cancel"))
    if data:
        raise bad_length("flow monitor pause", len(data), 0)
    return FlowMonitorPause(which == 1)
