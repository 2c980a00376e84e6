"""Messages to bytes and back: the one place that knows which message has which type in which version.

`_TABLE` has a row for each message of OpenFlow and a column for each version; `_VENDOR` those of Nicira's and ONF's. A
codec of theirs takes the body, what follows the header, and the `Dialect` of the connection.

`decode` gives back a message or raises: `OpenFlowError` with what is to be sent back, `ProtocolError` where the bytes
are no message of OpenFlow at all. Nothing else, whatever the bytes are.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from struct import error as StructError  # noqa: N812
from typing import Any

from vswitch.base.errors import ConfigError
from vswitch.messages import control as ctl
from vswitch.messages.base import Message
from vswitch.messages.errors import OpenFlowError
from vswitch.messages.flows import (
    FlowMod,
    FlowRemoved,
    GroupMod,
    MeterMod,
    PacketIn,
    PacketOut,
    Resume,
    TableMod,
)
from vswitch.messages.ports import PortMod, PortStatus
from vswitch.messages.stats import (
    ControllerStatusChanged,
    ExperimenterMultipart,
    FlowMonitorCancel,
    FlowMonitorPause,
    MultipartReply,
)
from vswitch.openflow import bundles, control, flows, groups, monitors, nicira, packets, ports, queues, table_config
from vswitch.openflow import multipart as multiparts
from vswitch.openflow.errors import decode_error, encode_error
from vswitch.openflow.features import CONTROLLER_STATUS
from vswitch.openflow.wire import (
    HEADER,
    HEADER_BYTES,
    MAX_MESSAGE_BYTES,
    NICIRA,
    ONF,
    VERSIONS,
    Dialect,
    ProtocolError,
    need,
    version_name,
)

__all__ = ["decode", "decode_message", "encode", "encode_message", "message_type"]

Decoder = Callable[[bytes, Dialect], Message]

_TABLE = """
message            | 1.0 | 1.1 | 1.2 | 1.3 | 1.4 | 1.5
hello              |  0  |  0  |  0  |  0  |  0  |  0
error              |  1  |  1  |  1  |  1  |  1  |  1
echo_request       |  2  |  2  |  2  |  2  |  2  |  2
echo_reply         |  3  |  3  |  3  |  3  |  3  |  3
experimenter       |  4  |  4  |  4  |  4  |  4  |  4
features_request   |  5  |  5  |  5  |  5  |  5  |  5
features_reply     |  6  |  6  |  6  |  6  |  6  |  6
get_config_request |  7  |  7  |  7  |  7  |  7  |  7
get_config_reply   |  8  |  8  |  8  |  8  |  8  |  8
set_config         |  9  |  9  |  9  |  9  |  9  |  9
packet_in          | 10  | 10  | 10  | 10  | 10  | 10
flow_removed       | 11  | 11  | 11  | 11  | 11  | 11
port_status        | 12  | 12  | 12  | 12  | 12  | 12
packet_out         | 13  | 13  | 13  | 13  | 13  | 13
flow_mod           | 14  | 14  | 14  | 14  | 14  | 14
group_mod          |     | 15  | 15  | 15  | 15  | 15
port_mod           | 15  | 16  | 16  | 16  | 16  | 16
table_mod          |     | 17  | 17  | 17  | 17  | 17
multipart_request  | 16  | 18  | 18  | 18  | 18  | 18
multipart_reply    | 17  | 19  | 19  | 19  | 19  | 19
barrier_request    | 18  | 20  | 20  | 20  | 20  | 20
barrier_reply      | 19  | 21  | 21  | 21  | 21  | 21
queues_request     | 20  | 22  | 22  | 22  |     |
queues_reply       | 21  | 23  | 23  | 23  |     |
role_request       |     |     | 24  | 24  | 24  | 24
role_reply         |     |     | 25  | 25  | 25  | 25
get_async_request  |     |     |     | 26  | 26  | 26
get_async_reply    |     |     |     | 27  | 27  | 27
set_async          |     |     |     | 28  | 28  | 28
meter_mod          |     |     |     | 29  | 29  | 29
role_status        |     |     |     |     | 30  | 30
table_status       |     |     |     |     | 31  | 31
requestforward     |     |     |     |     | 32  | 32
bundle_control     |     |     |     |     | 33  | 33
bundle_add         |     |     |     |     | 34  | 34
controller_status  |     |     |     |     |     | 35
"""

# ---- reading


def _empty(cls: type[Message]) -> Decoder:
    def decode_empty(body: bytes, _dialect: Dialect) -> Message:
        if body:
            raise OpenFlowError("bad_request.bad_len", f"{cls.__name__} has no body, {len(body)} bytes are there")
        return cls()

    return decode_empty


def _echo(cls: type[Any]) -> Decoder:
    def decode_echo(body: bytes, _dialect: Dialect) -> Message:
        message: Message = cls(body)
        return message

    return decode_echo


_TABLE_STATUS = Struct("!B7x")


def _table_status(body: bytes, dialect: Dialect) -> Message:
    need(body, _TABLE_STATUS.size, "bad_request.bad_len", "a table-status")
    description = table_config.decode_table_description(body[_TABLE_STATUS.size :], dialect.version)
    return ctl.TableStatus(body[0], description)


def _controller_status(body: bytes, dialect: Dialect) -> Message:
    """OpenFlow 1.5.1 section 7.4.8: a header, and one status."""
    found: Any = CONTROLLER_STATUS.decode(body, dialect.version)
    if len(found) != 1:
        raise OpenFlowError("bad_request.bad_len", f"a controller-status message has one status, not {len(found)}")
    return ControllerStatusChanged(found[0])


_DECODERS: dict[str, Decoder] = {
    "hello": control.decode_hello,
    "error": lambda body, dialect: decode_error(body, dialect.version),
    "echo_request": _echo(ctl.EchoRequest),
    "echo_reply": _echo(ctl.EchoReply),
    "features_request": _empty(ctl.FeaturesRequest),
    "features_reply": control.decode_features,
    "get_config_request": _empty(ctl.GetConfigRequest),
    "get_config_reply": lambda body, dialect: control.decode_config(body, dialect, ctl.GetConfigReply),
    "set_config": lambda body, dialect: control.decode_config(body, dialect, ctl.SetConfig),
    "packet_in": packets.decode_packet_in,
    "flow_removed": flows.decode_flow_removed,
    "port_status": ports.decode_port_status,
    "packet_out": packets.decode_packet_out,
    "flow_mod": flows.decode_flow_mod,
    "group_mod": groups.decode_group_mod,
    "port_mod": ports.decode_port_mod,
    "table_mod": lambda body, dialect: table_config.decode_table_mod(body, dialect.version),
    "multipart_request": lambda body, dialect: multiparts.decode(body, dialect.version, False),
    "multipart_reply": lambda body, dialect: multiparts.decode(body, dialect.version, True),
    "barrier_request": _empty(ctl.BarrierRequest),
    "barrier_reply": _empty(ctl.BarrierReply),
    "queues_request": lambda body, dialect: queues.decode_queue_config_request(body, dialect.version),
    "queues_reply": lambda body, dialect: queues.decode_queue_config_reply(body, dialect.version),
    "role_request": lambda body, dialect: control.decode_role(body, dialect, ctl.RoleRequest),
    "role_reply": lambda body, dialect: control.decode_role(body, dialect, ctl.RoleReply),
    "get_async_request": _empty(ctl.AsyncGet),
    "get_async_reply": control.decode_async_get,
    "set_async": control.decode_set_async,
    "meter_mod": groups.decode_meter_mod,
    "role_status": control.decode_role_status,
    "table_status": _table_status,
    "requestforward": lambda body, dialect: bundles.decode_request_forward(body, dialect, decode_message),
    "bundle_control": bundles.decode_bundle_control,
    "controller_status": _controller_status,
}


def _monitor(vendor: int, kind: int) -> Decoder:
    def decode_monitor(body: bytes, _dialect: Dialect) -> Message:
        message = monitors.decode_experimenter(vendor, kind, body)
        if message is None:
            raise OpenFlowError("bad_request.bad_exp_type", f"message {kind} of {vendor:#x} is not known")
        return message

    return decode_monitor


_BUNDLE_CONTROL, _BUNDLE_ADD = 2300, 2301

_VENDOR: dict[tuple[int, int], Decoder] = {
    (NICIRA, 10): lambda body, _: control.decode_nicira_role(body, ctl.RoleRequest),
    (NICIRA, 11): lambda body, _: control.decode_nicira_role(body, ctl.RoleReply),
    (NICIRA, 12): nicira.decode_flow_format,
    (NICIRA, 13): flows.decode_nicira_flow_mod,
    (NICIRA, 14): flows.decode_nicira_flow_removed,
    (NICIRA, 15): nicira.decode_table_id,
    (NICIRA, 16): nicira.decode_packet_in_format,
    (NICIRA, 17): packets.decode_nicira_packet_in,
    (NICIRA, 19): control.decode_nicira_async,
    (NICIRA, 20): nicira.decode_controller_id,
    (NICIRA, 21): _monitor(NICIRA, 21),
    (NICIRA, 22): _monitor(NICIRA, 22),
    (NICIRA, 23): _monitor(NICIRA, 23),
    (NICIRA, 24): nicira.decode_tlv_mod,
    (NICIRA, 25): _empty(ctl.TlvTableRequest),
    (NICIRA, 26): nicira.decode_tlv_reply,
    (NICIRA, 27): control.decode_nicira_async2,
    (NICIRA, 28): packets.decode_resume,
    (NICIRA, 30): packets.decode_packet_in2,
    (NICIRA, 31): groups.decode_group_mod,
    (ONF, _BUNDLE_CONTROL): bundles.decode_bundle_control,
}
_ONLY_10 = {(NICIRA, 31)}


def _numbers() -> tuple[dict[int, dict[int, str]], dict[str, dict[int, int]]]:
    names: dict[int, dict[int, str]] = {version: {} for version in VERSIONS}
    types: dict[str, dict[int, int]] = {}
    for line in _TABLE.strip().splitlines()[1:]:
        name, *columns = (column.strip() for column in line.split("|"))
        types[name] = {version: int(text) for version, text in zip(VERSIONS, columns, strict=True) if text}
        for version, number in types[name].items():
            names[version][number] = name
    return names, types


_NAMES, _TYPES = _numbers()
_BY_TYPE: dict[int, dict[int, Decoder]] = {
    version: {number: _DECODERS[name] for number, name in names.items() if name in _DECODERS}
    for version, names in _NAMES.items()
}
_DIALECTS = {(version, table_id): Dialect(version, table_id) for version in VERSIONS for table_id in (False, True)}
_VENDOR_HEAD = Struct("!II")


def message_type(name: str, version: int) -> int | None:
    """The type by which a version knows a message of `_TABLE`; None: it does not."""
    return _TYPES[name].get(version)


def _decode_vendor(body: bytes, dialect: Dialect, xid: int) -> Message:
    need(body, 4, "bad_request.bad_len", "an experimenter's message")
    vendor = int.from_bytes(body[:4], "big")
    if vendor not in (NICIRA, ONF):
        if len(body) < _VENDOR_HEAD.size:
            return ctl.Experimenter(vendor, 0)
        return control.decode_experimenter(body, dialect)
    need(body, _VENDOR_HEAD.size, "bad_request.bad_len", "an experimenter's message")
    _, kind = _VENDOR_HEAD.unpack_from(body)
    rest = body[_VENDOR_HEAD.size :]
    if (vendor, kind) == (ONF, _BUNDLE_ADD):
        return bundles.decode_bundle_add(rest, dialect, xid, decode_message)
    decoder = _VENDOR.get((vendor, kind))
    if decoder is None and vendor == ONF:
        message = monitors.decode_experimenter(vendor, kind, rest)
        if message is not None:
            return message
    if decoder is None or ((vendor, kind) in _ONLY_10 and dialect.version != 1):
        raise OpenFlowError("bad_request.bad_exp_type", f"message {kind} of experimenter {vendor:#x} is not known")
    return decoder(rest, dialect)


# hot: once per message
def decode_message(data: bytes, dialect: Dialect) -> tuple[Message, int]:
    """The message that `data` is, whole, in the dialect of its connection, and its xid."""
    if len(data) < HEADER_BYTES:
        raise ProtocolError(f"a message of OpenFlow takes {HEADER_BYTES} bytes, {len(data)} are there")
    version, kind, length, xid = HEADER.unpack_from(data)
    if length != len(data):
        raise ProtocolError(f"a message that says it has {length} bytes has {len(data)}")
    if version != dialect.version and kind != 0:
        what = f"version {version} on a connection of version {dialect.version}"
        raise OpenFlowError("bad_request.bad_version", what)
    body = data[HEADER_BYTES:]
    decoder = _BY_TYPE[dialect.version].get(kind)
    if decoder is not None:
        if kind == 0 and version not in VERSIONS:  # a hello of the future: what it says of the past counts
            return control.decode_hello(body, Dialect(version)), xid
        return decoder(body, dialect), xid
    name = _NAMES[dialect.version].get(kind)
    if name == "experimenter":
        return _decode_vendor(body, dialect, xid), xid
    if name == "bundle_add":
        return bundles.decode_bundle_add(body, dialect, xid, decode_message), xid
    what = f"OpenFlow {version_name(version)} has no message of type {kind} here"
    raise OpenFlowError("bad_request.bad_type", what)


def decode(data: bytes, *, table_id: bool = False) -> tuple[Message, int]:
    """One whole message, of the version that its header says, and its xid. `table_id`: whether Nicira's extension of
    OpenFlow 1.0's flow-mods is on. OpenFlowError: what is to be sent back; ProtocolError: it is no OpenFlow."""
    if not data or (data[0] not in VERSIONS and (len(data) < 2 or data[1] != 0 or not data[0])):
        raise ProtocolError(f"no version of OpenFlow begins with {data[:1].hex() or 'nothing'}")
    return decode_message(data, _DIALECTS.get((data[0], table_id)) or _DIALECTS[VERSIONS[-1], table_id])


# ---- writing

Encoded = tuple[str | tuple[int, int], bytes]
"""The name of a row of `_TABLE`, or (vendor, subtype); and the body."""


def _own(name: str, encoder: Callable[[Any, Dialect], bytes]) -> Callable[[Any, Dialect], Encoded]:
    return lambda message, dialect: (name, encoder(message, dialect))


def _nicira(subtype: int, encoder: Callable[[Any, Dialect], bytes]) -> Callable[[Any, Dialect], Encoded]:
    return lambda message, dialect: ((NICIRA, subtype), encoder(message, dialect))


def _no_body(_message: Message, _dialect: Dialect) -> bytes:
    return b""


def _data(message: ctl.EchoRequest | ctl.EchoReply, _dialect: Dialect) -> bytes:
    return message.data


def _flow_mod(message: FlowMod, dialect: Dialect) -> Encoded:
    if flows.needs_nicira(message.match, dialect, message.cookie_mask):
        return (NICIRA, 13), flows.encode_nicira_flow_mod(message, dialect)
    return "flow_mod", flows.encode_flow_mod(message, dialect)


def _flow_removed(message: FlowRemoved, dialect: Dialect) -> Encoded:
    if flows.needs_nicira(message.match, dialect):
        return (NICIRA, 14), flows.encode_nicira_flow_removed(message, dialect)
    return "flow_removed", flows.encode_flow_removed(message, dialect)


def _packet_in(message: PacketIn, dialect: Dialect) -> Encoded:
    if dialect.packet_in == 2 or message.userdata or message.continuation:
        return (NICIRA, 30), packets.encode_packet_in2(message, dialect)
    if dialect.packet_in == 1:
        return (NICIRA, 17), packets.encode_nicira_packet_in(message, dialect)
    return "packet_in", packets.encode_packet_in(message, dialect)


def _group_mod(message: GroupMod, dialect: Dialect) -> Encoded:
    return "group_mod" if dialect.version > 1 else (NICIRA, 31), groups.encode_group_mod(message, dialect)


def _role(name: str, subtype: int) -> Callable[[Any, Dialect], Encoded]:
    def encode_role(message: ctl.RoleRequest | ctl.RoleReply, dialect: Dialect) -> Encoded:
        if message.nicira or dialect.version < 3:
            return (NICIRA, subtype), control.encode_nicira_role(message)
        return name, control.encode_role(message, dialect)

    return encode_role


def _set_async(message: ctl.SetAsync, dialect: Dialect) -> Encoded:
    if message.nicira or dialect.version < 4:
        subtype, body = control.encode_nicira_async(message.config)
        return (NICIRA, subtype), body
    return "set_async", control.encode_async(message.config, dialect)


def _async_get(message: ctl.AsyncGet, dialect: Dialect) -> Encoded:
    name = "get_async_request" if message.config is None else "get_async_reply"
    return name, control.encode_async_get(message, dialect)


def _bundle_control(message: ctl.BundleControl, dialect: Dialect) -> Encoded:
    name = "bundle_control" if dialect.version >= 5 else (ONF, _BUNDLE_CONTROL)
    return name, bundles.encode_bundle_control(message, dialect)


def _encode_table_status(message: ctl.TableStatus, dialect: Dialect) -> bytes:
    description: Any = message.description
    return _TABLE_STATUS.pack(message.reason) + table_config.TABLE_DESCRIPTION.encode(description, dialect.version)


def _encode_monitor(message: FlowMonitorCancel | FlowMonitorPause, dialect: Dialect) -> Encoded:
    vendor, kind, body = monitors.encode_experimenter(message, dialect.version)
    return (vendor, kind), body


_ENCODERS: dict[type[Message], Callable[[Any, Dialect], Encoded]] = {
    ctl.Hello: _own("hello", lambda message, _: control.encode_hello(message)),
    ctl.Error: _own("error", lambda message, dialect: encode_error(message, dialect.version)),
    ctl.EchoRequest: _own("echo_request", _data),
    ctl.EchoReply: _own("echo_reply", _data),
    ctl.Experimenter: _own("experimenter", control.encode_experimenter),
    ctl.FeaturesRequest: _own("features_request", _no_body),
    ctl.FeaturesReply: _own("features_reply", control.encode_features),
    ctl.GetConfigRequest: _own("get_config_request", _no_body),
    ctl.GetConfigReply: _own("get_config_reply", control.encode_config),
    ctl.SetConfig: _own("set_config", control.encode_config),
    PacketIn: _packet_in,
    FlowRemoved: _flow_removed,
    PortStatus: _own("port_status", ports.encode_port_status),
    PacketOut: _own("packet_out", packets.encode_packet_out),
    FlowMod: _flow_mod,
    GroupMod: _group_mod,
    PortMod: _own("port_mod", ports.encode_port_mod),
    TableMod: _own("table_mod", lambda message, dialect: table_config.encode_table_mod(message, dialect.version)),
    ctl.BarrierRequest: _own("barrier_request", _no_body),
    ctl.BarrierReply: _own("barrier_reply", _no_body),
    ctl.QueueConfigRequest: _own(
        "queues_request", lambda message, dialect: queues.encode_queue_config_request(message, dialect.version)
    ),
    ctl.QueueConfigReply: _own(
        "queues_reply", lambda message, dialect: queues.encode_queue_config_reply(message, dialect.version)
    ),
    ctl.RoleRequest: _role("role_request", 10),
    ctl.RoleReply: _role("role_reply", 11),
    ctl.AsyncGet: _async_get,
    ctl.SetAsync: _set_async,
    MeterMod: _own("meter_mod", groups.encode_meter_mod),
    ctl.RoleStatus: _own("role_status", control.encode_role_status),
    ctl.TableStatus: _own("table_status", _encode_table_status),
    ControllerStatusChanged: _own(
        "controller_status", lambda message, dialect: CONTROLLER_STATUS.encode(message.status, dialect.version)
    ),
    ctl.BundleControl: _bundle_control,
    ctl.FlowModTableId: _nicira(15, nicira.encode_table_id),
    ctl.SetFlowFormat: _nicira(12, nicira.encode_flow_format),
    ctl.SetPacketInFormat: _nicira(16, nicira.encode_packet_in_format),
    ctl.SetControllerId: _nicira(20, nicira.encode_controller_id),
    ctl.TlvTableMod: _nicira(24, nicira.encode_tlv_mod),
    ctl.TlvTableRequest: _nicira(25, _no_body),
    ctl.TlvTableReply: _nicira(26, nicira.encode_tlv_reply),
    Resume: _nicira(28, packets.encode_resume),
    FlowMonitorCancel: _encode_monitor,
    FlowMonitorPause: _encode_monitor,
}


def _framed(kind: int, body: bytes, version: int, xid: int) -> bytes:
    length = HEADER_BYTES + len(body)
    if length > MAX_MESSAGE_BYTES:
        raise OpenFlowError("bad_request.bad_len", f"a message of {length} bytes exceeds {MAX_MESSAGE_BYTES}")
    return HEADER.pack(version, kind, length, xid) + body


def _number(name: str, version: int) -> int:
    kind = _TYPES[name].get(version)
    if kind is None:
        raise OpenFlowError("bad_request.bad_type", f"OpenFlow {version_name(version)} has no {name}")
    return kind


# hot: once per message
def encode_message(message: Message, dialect: Dialect, xid: int) -> bytes:
    """The message in the dialect of its connection. OpenFlowError: it cannot be said there. ConfigError: a number is
    out of its bounds."""
    try:
        return _encode(message, dialect, xid)
    except (StructError, OverflowError) as error:
        raise ConfigError(f"{type(message).__name__}: a number is out of its bounds ({error})") from None


def _encode(message: Message, dialect: Dialect, xid: int) -> bytes:
    version = dialect.version
    encoder = _ENCODERS.get(type(message))
    if isinstance(message, FlowMonitorCancel | FlowMonitorPause) and version >= 5:
        encoder = None  # OpenFlow 1.4 cancels and pauses by its multipart
    if encoder is not None:
        name, body = encoder(message, dialect)
    elif isinstance(message, ctl.BundleAdd):
        body = bundles.encode_bundle_add(message, dialect, xid, encode_message)
        name = "bundle_add" if version >= 5 else (ONF, _BUNDLE_ADD)
    elif isinstance(message, ctl.RequestForward):
        name, body = "requestforward", bundles.encode_request_forward(message, dialect, encode_message)
    else:
        answers = isinstance(message, MultipartReply | FlowMonitorPause)
        answers = answers or (isinstance(message, ExperimenterMultipart) and message.reply)
        kind = _number("multipart_reply" if answers else "multipart_request", version)
        return b"".join(_framed(kind, part, version, xid) for part in multiparts.encode(message, version))
    if not isinstance(name, str):
        name, body = "experimenter", _VENDOR_HEAD.pack(*name) + body
    return _framed(_number(name, version), body, version, xid)


def encode(message: Message, version: int, xid: int) -> bytes:
    """The message as that version has it; a reply of many entries may become several messages, one behind the other.
    OpenFlowError: it cannot be said there."""
    return encode_message(message, _DIALECTS[version, False], xid)
