"""OpenFlow messages as `ovs-ofctl ofp-print` 3.1 prints them: `OFPT_ROLE_REQUEST (OF1.3) (xid=0x1): role=equal`.

A line says what the message is; the rest follows on it or on further lines, as other programs expect it. One table
leads from the class of a message to the function that prints the rest; those of statistics, of tables, of ports and of
flows and packets are in modules of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from vswitch.messages import control
from vswitch.messages.base import Message
from vswitch.messages.control import BundleControlType
from vswitch.messages.stats import ControllerStatusChanged
from vswitch.text.openflow_names import multipart_name, version_name
from vswitch.text.openflow_words import Style, bit_names, error_name, hex_dump, port, reason_names

__all__ = ["Style", "format_message", "header"]

FRAGMENTS = ("normal", "drop", "reassemble", "nx-match")
_BYTES_VERBOSITY = 2
_ROLES = ("nochange", "equal", "primary", "secondary")
_ROLE_REASONS = ("primary_request", "configuration_changed", "experimenter_data_changed")
_STATUS_REASONS = ("request", "channel", "role", "added", "removed", "short_id", "experimenter")
_BUNDLE_FLAGS = {1: "atomic", 2: "ordered"}
_PACKET_IN_FORMATS = ("standard", "nxt_packet_in", "nxt_packet_in2")

_ASYNC_REASONS = {
    "packet_in": ("no_match", "action", "invalid_ttl", "action_set", "group", "packet_out"),
    "port_status": ("add", "delete", "modify"),
    "flow_removed": ("idle", "hard", "delete", "group_delete", "meter_delete", "eviction"),
    "role_status": _ROLE_REASONS,
    "table_status": ("", "", "", "vacancy_down", "vacancy_up"),
    "requestforward": ("group_mod_request", "meter_mod_request"),
}


def format_message(
    message: Message,
    version: int,
    verbosity: int = 0,
    *,
    xid: int = 0,
    name: str | None = None,
    ports: Mapping[int, str] | None = None,
    tables: Mapping[int, str] | None = None,
    nested: Callable[[bytes], str] = hex_dump,
) -> str:
    """The text of a message, newline included. `version`: that it is spoken in (4 is 1.3). `name`: what the bytes of it
    are called (`openflow_names.message_name`), as extensions have names of their own. `ports`, `tables`: names to show
    instead of numbers. `nested`: prints the bytes of a message that this one carries."""
    style = Style(version, verbosity, ports, tables, nested)
    text = (header(message, version, xid, name) + _body(message, style)).rstrip(" ")
    return text if text.endswith("\n") else text + "\n"


def header(message: Message, version: int, xid: int, name: str | None = None) -> str:
    """`OFPT_HELLO (OF1.3) (xid=0x1):`."""
    spoken = "" if version == 1 else f" (OF{version_name(version)})"
    more = " flags=[more]" if getattr(message, "more", False) else ""
    return f"{name or _name(message, version)}{spoken} (xid={xid:#x}):{more}"


def _body(message: Message, style: Style) -> str:
    kind = type(message).__name__
    if kind in _FUNCTIONS:
        return _FUNCTIONS[kind](message, style)
    if kind in _ELSEWHERE:
        import importlib

        module = importlib.import_module(f"vswitch.text.openflow_print_{_ELSEWHERE[kind]}")
        function: Callable[[Any, Style], str] = module.FUNCTIONS[kind]
        return function(message, style)
    return ""


# ---- names


def _name(message: Message, version: int) -> str:
    kind = type(message).__name__
    if kind in _REQUESTS:
        what = _REQUESTS[kind] or message.kind  # type: ignore[attr-defined]
        return f"{_multipart(message, what, version)} request"
    if kind == "MultipartReply":
        return f"{_multipart(message, message.kind, version)} reply"  # type: ignore[attr-defined]
    if getattr(message, "nicira", False) or (version == 1 and kind in ("RoleRequest", "RoleReply")):
        return {"RoleRequest": "NXT_ROLE_REQUEST", "RoleReply": "NXT_ROLE_REPLY"}.get(kind, "NXT_SET_ASYNC_CONFIG")
    if version < 5 and kind in ("BundleControl", "BundleAdd", "RequestForward"):
        return f"ONFT_{_NAMES[kind]}"
    if kind == "AsyncGet":
        return f"OFPT_GET_ASYNC_{'REQUEST' if message.config is None else 'REPLY'}"  # type: ignore[attr-defined]
    if kind == "GroupMod" and version == 1:
        return "NXT_GROUP_MOD"
    return f"{'NXT' if kind in _NICIRA_NAMES else 'OFPT'}_{_NAMES.get(kind) or _snake(kind)}"


def _multipart(message: Message, kind: str, version: int) -> str:
    name = multipart_name(kind, version)
    return name.replace("OFPST", "NXST") if getattr(message, "nicira", False) else name


def _snake(name: str) -> str:
    return "".join(f"_{each}" if each.isupper() and at else each for at, each in enumerate(name)).upper()


_REQUESTS = {
    "StatsRequest": "", "FlowStatsRequest": "", "FlowMonitorRequest": "flow_monitor", "FlowMonitorRequests":
    "flow_monitor", "TableFeaturesRequest": "table_features",
}  # fmt: skip
"""Class of a request for statistics: its kind, "" if it says so itself."""
_NAMES = {
    "BundleAdd": "BUNDLE_ADD_MESSAGE", "RequestForward": "REQUESTFORWARD", "QueueConfigRequest":
    "QUEUE_GET_CONFIG_REQUEST", "QueueConfigReply": "QUEUE_GET_CONFIG_REPLY", "BundleControl": "BUNDLE_CONTROL",
    "ControllerStatusChanged": "CONTROLLER_STATUS",
}  # fmt: skip
_NICIRA_NAMES = {
    "FlowModTableId", "SetFlowFormat", "SetPacketInFormat", "SetControllerId", "TlvTableMod", "TlvTableRequest",
    "TlvTableReply", "Resume", "FlowMonitorCancel",
}  # fmt: skip


# ---- the connection


def _hello(message: control.Hello, _style: Style) -> str:
    versions = ", ".join(f"0x{version:02x}" for version in sorted(message.versions))
    return f"\n version bitmap: {versions}\n"


def _error(message: control.Error, style: Style) -> str:
    name = error_name(message.error)
    if message.error.startswith("hello_failed"):
        return f" {name}\n{_printable(message.data)}\n"
    if not message.data:
        return f" {name}\nOpenFlow message is empty\n"
    return f" {name}\n{style.nested(message.data)}"


def _printable(data: bytes) -> str:
    """Text that came from elsewhere, with what is no plain character written in octal."""
    return "".join(chr(byte) if 0x20 <= byte < 0x7F and byte != 0x5C else f"\\{byte:03o}" for byte in data)


def _echo(message: control.EchoRequest | control.EchoReply, style: Style) -> str:
    shown = hex_dump(message.data) if message.data and style.verbosity >= _BYTES_VERBOSITY else ""
    return f" {len(message.data)} bytes of payload\n{shown}"


def _config(message: control.GetConfigReply | control.SetConfig, _style: Style) -> str:
    invalid_ttl = " invalid_ttl_to_controller" if message.invalid_ttl else ""
    return f" frags={FRAGMENTS[message.fragments & 3]}{invalid_ttl} miss_send_len={message.miss_send_length}"


def _role(message: control.RoleRequest | control.RoleReply, _style: Style) -> str:
    generation = message.generation_id
    shown = "" if generation is None or message.role == 0 else f" generation_id={generation}"
    return f" role={_ROLES[message.role]}{shown}"


def _role_status(message: control.RoleStatus, _style: Style) -> str:
    generation = "" if message.generation_id is None else f" generation_id={message.generation_id}"
    reason = _ROLE_REASONS[message.reason] if message.reason < len(_ROLE_REASONS) else "(unknown)"
    return f" role={_ROLES[message.role]}{generation} reason={reason}"


def _controller_status(message: ControllerStatusChanged, _style: Style) -> str:
    status = message.status
    role = _ROLES[status.role] if status.role < len(_ROLES) else "(unknown)"
    reason = _STATUS_REASONS[status.reason] if status.reason < len(_STATUS_REASONS) else "(unknown)"
    uri = f" uri={status.uri}" if status.uri else ""
    return f" id={status.short_id} role={role} reason={reason} status={'up' if status.up else 'down'}{uri}"


def _async(message: control.SetAsync | control.AsyncGet, _style: Style) -> str:
    if message.config is None:
        return ""
    parts = []
    for title, kinds in (("primary", message.config.primary), ("secondary", message.config.secondary)):
        bits = dict(kinds)
        lines = [
            f"{kind.upper():>16}: {reason_names(bits.get(kind, 0), reasons)}\n"
            for kind, reasons in _ASYNC_REASONS.items()
        ]
        parts.append(f"\n {title}:\n" + "".join(lines))
    return "".join(parts)


def _bundle_control(message: control.BundleControl, _style: Style) -> str:
    kind = BundleControlType(message.type).name
    return f"\n bundle_id={_alternate(message.bundle)} type={kind} flags={bit_names(message.flags, _BUNDLE_FLAGS)}"


def _alternate(value: int) -> str:
    return f"{value:#x}" if value else "0"


def _bundle_add(message: control.BundleAdd, style: Style) -> str:
    inner = header(message.message, style.version, message.xid) + _body(message.message, style)
    flags = bit_names(message.flags, _BUNDLE_FLAGS)
    return f"\n bundle_id={_alternate(message.bundle)} flags={flags}\n{inner}"


def _request_forward(message: control.RequestForward, style: Style) -> str:
    kind = "group_mod" if type(message.message).__name__ == "GroupMod" else "meter_mod"
    return f" reason={kind}{_body(message.message, style)}"


# ---- queues


def _queue_config_request(message: control.QueueConfigRequest, style: Style) -> str:
    return f" port={port(message.port, style.ports)}"


def _queue_config_reply(message: control.QueueConfigReply, style: Style) -> str:
    lines = [f" port={port(message.port, style.ports)}\n"] if message.queues and message.port else [" "]
    lines += [queue_line(queue, low, high) for queue, low, high, _ in sorted(message.queues, key=lambda each: each[0])]
    return "".join(lines)


def queue_line(queue: int, min_rate: int, max_rate: int) -> str:
    """`queue 5: min_rate:30.0% max_rate:(disabled)`; 0xffff is no rate."""
    shown = "".join(
        f" {word}:{rate // 10}.{rate % 10}%" if rate <= 1000 else f" {word}:(disabled)"
        for word, rate in (("min_rate", min_rate), ("max_rate", max_rate))
        if rate != 0xFFFF
    )
    return f"queue {queue}:{shown}\n"


# ---- Nicira's


def _table_id(message: control.FlowModTableId, _style: Style) -> str:
    return " enable" if message.on else " disable"


def _flow_format(message: control.SetFlowFormat, _style: Style) -> str:
    return f" format={ {0: 'openflow10', 2: 'nxm'}.get(message.format, '(unknown)') }"


def _packet_in_format(message: control.SetPacketInFormat, _style: Style) -> str:
    return f" format={_PACKET_IN_FORMATS[message.format]}"


def _controller_id(message: control.SetControllerId, _style: Style) -> str:
    return f" id={message.id}"


def _monitor_cancel(message: Any, _style: Style) -> str:
    return f" id={message.id}"


def _tlv_mod(message: control.TlvTableMod, _style: Style) -> str:
    from vswitch.text.flow_files import format_tlv_mod

    return "\n" + format_tlv_mod(message)


def _tlv_reply(message: control.TlvTableReply, _style: Style) -> str:
    from vswitch.text.flow_files import format_tlv_table

    return "\n" + format_tlv_table(message)


_FUNCTIONS: dict[str, Callable[[Any, Style], str]] = {
    "Hello": _hello,
    "Error": _error,
    "EchoRequest": _echo,
    "EchoReply": _echo,
    "GetConfigReply": _config,
    "SetConfig": _config,
    "RoleRequest": _role,
    "RoleReply": _role,
    "RoleStatus": _role_status,
    "ControllerStatusChanged": _controller_status,
    "SetAsync": _async,
    "AsyncGet": _async,
    "BundleControl": _bundle_control,
    "BundleAdd": _bundle_add,
    "RequestForward": _request_forward,
    "QueueConfigRequest": _queue_config_request,
    "QueueConfigReply": _queue_config_reply,
    "FlowModTableId": _table_id,
    "SetFlowFormat": _flow_format,
    "SetPacketInFormat": _packet_in_format,
    "SetControllerId": _controller_id,
    "FlowMonitorCancel": _monitor_cancel,
    "TlvTableMod": _tlv_mod,
    "TlvTableReply": _tlv_reply,
}
_ELSEWHERE = {
    "FeaturesReply": "ports", "PortStatus": "ports", "PortMod": "ports",
    "TableMod": "tables", "TableStatus": "tables", "TableFeaturesRequest": "tables",
    "FlowMod": "flows", "FlowRemoved": "flows", "PacketIn": "flows", "PacketOut": "flows", "Resume": "flows",
    "GroupMod": "flows", "MeterMod": "flows", "FlowStatsRequest": "flows", "FlowMonitorRequest": "flows",
    "FlowMonitorRequests": "flows",
    "StatsRequest": "stats", "MultipartReply": "stats",
}  # fmt: skip
"""Class of a message: the module `openflow_print_...` that prints it; loaded when there is one to print."""
