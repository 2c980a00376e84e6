"""What ovs-ofctl calls each message, by the first bytes of it: `OFPST_PORT_DESC reply`, `NXT_FLOW_MOD`.

A message that has been decoded no longer knows whether it came as OpenFlow's own or as an extension; its header does.
Whoever has no bytes gets the name that the message has in the version that it is spoken in.
"""

from __future__ import annotations

import struct

from vswitch.messages.base import NICIRA, ONF, version_name

__all__ = ["NICIRA", "ONF", "VERSIONS", "message_name", "multipart_name", "version_name"]

VERSIONS = {1: "OpenFlow10", 2: "OpenFlow11", 3: "OpenFlow12", 4: "OpenFlow13", 5: "OpenFlow14", 6: "OpenFlow15"}
"""Wire numbers, and what `-O` calls them."""

_ALWAYS = (
    "HELLO", "ERROR", "ECHO_REQUEST", "ECHO_REPLY", "", "FEATURES_REQUEST", "FEATURES_REPLY", "GET_CONFIG_REQUEST",
    "GET_CONFIG_REPLY", "SET_CONFIG", "PACKET_IN", "FLOW_REMOVED", "PORT_STATUS", "PACKET_OUT", "FLOW_MOD",
)  # fmt: skip
_FIRST = (*_ALWAYS, "PORT_MOD", "", "", "BARRIER_REQUEST", "BARRIER_REPLY", "QUEUE_GET_CONFIG_REQUEST",
          "QUEUE_GET_CONFIG_REPLY")  # fmt: skip
_LATER = (
    *_ALWAYS, "GROUP_MOD", "PORT_MOD", "TABLE_MOD", "", "", "BARRIER_REQUEST", "BARRIER_REPLY",
    "QUEUE_GET_CONFIG_REQUEST", "QUEUE_GET_CONFIG_REPLY", "ROLE_REQUEST", "ROLE_REPLY", "GET_ASYNC_REQUEST",
    "GET_ASYNC_REPLY", "SET_ASYNC", "METER_MOD", "ROLE_STATUS", "TABLE_STATUS", "REQUESTFORWARD", "BUNDLE_CONTROL",
    "BUNDLE_ADD_MESSAGE", "CONTROLLER_STATUS",
)  # fmt: skip
_EXTENSIONS = {
    NICIRA: {
        10: "NXT_ROLE_REQUEST", 11: "NXT_ROLE_REPLY", 12: "NXT_SET_FLOW_FORMAT", 13: "NXT_FLOW_MOD",
        14: "NXT_FLOW_REMOVED", 15: "NXT_FLOW_MOD_TABLE_ID", 16: "NXT_SET_PACKET_IN_FORMAT", 17: "NXT_PACKET_IN",
        18: "NXT_FLOW_AGE", 19: "NXT_SET_ASYNC_CONFIG", 20: "NXT_SET_CONTROLLER_ID", 21: "NXT_FLOW_MONITOR_CANCEL",
        22: "NXT_FLOW_MONITOR_PAUSED", 23: "NXT_FLOW_MONITOR_RESUMED", 24: "NXT_TLV_TABLE_MOD",
        25: "NXT_TLV_TABLE_REQUEST", 26: "NXT_TLV_TABLE_REPLY", 27: "NXT_SET_ASYNC_CONFIG2", 28: "NXT_RESUME",
        29: "NXT_CT_FLUSH_ZONE", 30: "NXT_PACKET_IN2", 31: "NXT_GROUP_MOD", 32: "NXT_CT_FLUSH",
    },
    ONF: {1911: "ONFT_ROLE_STATUS", 2100: "ONFT_REQUESTFORWARD", 2300: "ONFT_BUNDLE_CONTROL",
          2301: "ONFT_BUNDLE_ADD_MESSAGE", 2350: "ONFT_TABLE_STATUS"},
}  # fmt: skip
_MULTIPART = (
    "DESC", "FLOW", "AGGREGATE", "TABLE", "PORT", "QUEUE", "GROUP", "GROUP_DESC", "GROUP_FEATURES", "METER",
    "METER_CONFIG", "METER_FEATURES", "TABLE_FEATURES", "PORT_DESC", "TABLE_DESC", "QUEUE_DESC", "FLOW_MONITOR", "FLOW",
)  # fmt: skip
_MULTIPART_EXTENSIONS = {
    NICIRA: ("NXST_FLOW", "NXST_AGGREGATE", "NXST_FLOW_MONITOR", "NXST_IPFIX_BRIDGE", "NXST_IPFIX_FLOW", "",
             "", "NXST_GROUP", "NXST_GROUP_DESC", "NXST_GROUP_FEATURES"),
    ONF: (),
}  # fmt: skip
_KINDS = {
    "description": "DESC", "flow": "FLOW", "flow_description": "FLOW", "aggregate": "AGGREGATE", "table": "TABLE",
    "port": "PORT", "queue": "QUEUE", "group": "GROUP", "group_description": "GROUP_DESC",
    "group_features": "GROUP_FEATURES", "meter": "METER", "meter_config": "METER_CONFIG",
    "meter_features": "METER_FEATURES", "table_features": "TABLE_FEATURES", "port_description": "PORT_DESC",
    "table_description": "TABLE_DESC", "queue_description": "QUEUE_DESC", "flow_monitor": "FLOW_MONITOR",
}  # fmt: skip


def multipart_name(kind: str, version: int) -> str:
    """What the multipart messages of a kind (see `vswitch.messages.stats`) are called, without "request" or "reply"."""
    if (version == 1 and kind.startswith("group")) or (version == 2 and kind == "group_features"):
        return f"NXST_{_KINDS[kind]}"
    if version < 5 and kind == "flow_monitor":
        return "ONFST_FLOW_MONITOR" if version == 4 else "NXST_FLOW_MONITOR"
    return f"OFPST_{_KINDS[kind]}"


def message_name(data: bytes) -> str:
    """The name of the message that begins with these bytes; "" if it has none."""
    if len(data) < 8:
        return ""
    version, kind = data[0], data[1]
    if version not in VERSIONS:
        return ""
    if kind == 4:
        if len(data) < 16:
            return ""
        experimenter, subtype = struct.unpack_from("!II", data, 8)
        return _EXTENSIONS.get(experimenter, {}).get(subtype, "")
    request = 16 if version == 1 else 18
    if kind in (request, request + 1):
        name = _multipart(data, version)
        return name and f"{name} {'request' if kind == request else 'reply'}"
    names = _FIRST if version == 1 else _LATER
    return f"OFPT_{names[kind]}" if kind < len(names) else ""


def _multipart(data: bytes, version: int) -> str:
    header = 12 if version == 1 else 16
    if len(data) < header:
        return ""
    (kind,) = struct.unpack_from("!H", data, 8)
    if kind != 0xFFFF:
        return f"OFPST_{_MULTIPART[kind]}" if kind < len(_MULTIPART) else ""
    if len(data) < header + 8:
        return ""
    experimenter, subtype = struct.unpack_from("!II", data, header)
    if (experimenter, subtype) == (ONF, 1870):
        return "ONFST_FLOW_MONITOR"
    names = _MULTIPART_EXTENSIONS.get(experimenter, ())
    return names[subtype] if subtype < len(names) else ""
