"""Messages as they came, in bytes, to the text of ofp-print; also those that are no messages."""

from __future__ import annotations

import struct
from collections.abc import Mapping

from vswitch.messages.control import Experimenter
from vswitch.messages.errors import OpenFlowError
from vswitch.openflow.codec import decode
from vswitch.text.openflow_names import VERSIONS, message_name, version_name
from vswitch.text.openflow_print import format_message
from vswitch.text.openflow_words import error_name, hex_dump

__all__ = ["format_bytes"]

_HEADER = struct.Struct("!BBHI")
_ECHO_VERBOSITY = 1
_OF_THE_FRAME = {
    "bad_request.bad_version", "bad_request.bad_type", "bad_request.bad_multipart", "bad_request.bad_experimenter",
    "bad_request.bad_exp_type", "bad_request.bad_len",
}  # fmt: skip
"""What is wrong with a message before anybody has looked into it."""


_FLOW_MOD, _NICIRA_FLOW_MOD = (14, 56), (4, 24)
"""Type of a flow-mod of OpenFlow 1.0, its own and Nicira's, and where its command is."""


def _names_table(data: bytes) -> bool:
    """Whether it is a flow-mod of OpenFlow 1.0 with a table in the upper byte of its command, which an extension is."""
    for kind, at in (_FLOW_MOD, _NICIRA_FLOW_MOD):
        if data[0] == 1 and data[1] == kind and len(data) > at:
            return data[at] != 0
    return False


def format_bytes(
    data: bytes, verbosity: int = 0, ports: Mapping[int, str] | None = None, tables: Mapping[int, str] | None = None
) -> str:
    """What the bytes of a message say, newline included; if they make no sense, why, and the bytes."""
    if not data:
        return "OpenFlow message is empty\n"
    if len(data) < _HEADER.size:
        return f"OpenFlow packet too short (only {len(data)} bytes):\n{hex_dump(data)}"
    version, _, length, xid = _HEADER.unpack_from(data)
    name = message_name(data)
    spoken = f" (OF{version_name(version)})" if version in VERSIONS and version > 1 else ""
    head = f"{name}{spoken} (xid={xid:#x}):"
    if length > len(data):
        return f"{head}\n(***truncated to {len(data)} bytes from {length}***)\n{hex_dump(data)}"
    if length < len(data):
        return f"{head}\n(***only uses {length} bytes out of {len(data)}***)\n{hex_dump(data)}"
    try:
        message, _ = decode(data, table_id=_names_table(data))
    except OpenFlowError as error:
        shown = "" if error.error in _OF_THE_FRAME or not name else f"{head} "
        return f"{shown}***decode error: {error_name(error.error)}***\n{hex_dump(data)}"
    except ValueError as error:  # it is no OpenFlow
        return f"{error}\n{hex_dump(data)}"
    if isinstance(message, Experimenter) and not name:
        return f"***decode error: {error_name('bad_request.bad_experimenter')}***\n{hex_dump(data)}"
    return format_message(
        message, version, verbosity, xid=xid, name=name or None, ports=ports, tables=tables,
        nested=lambda inner: format_bytes(inner, _ECHO_VERBOSITY, ports, tables),
    )  # fmt: skip
