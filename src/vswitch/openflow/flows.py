"""Flow-mod and flow-removed, of every version and of Nicira's extensions.

A codec here takes the body of a message, what follows its header of eight bytes (for Nicira's: and vendor and subtype).
"""

from __future__ import annotations

from struct import Struct

from vswitch.messages.errors import OpenFlowError
from vswitch.messages.flows import (
    ALL_TABLES,
    ANY_GROUP,
    ANY_PORT,
    FlowCommand,
    FlowFlags,
    FlowMod,
    FlowRemoved,
    FlowRemovedReason,
)
from vswitch.messages.match import FlowMatch
from vswitch.openflow.instructions import decode_flow_actions, encode_flow_actions
from vswitch.openflow.legacy_match import MATCH_10_BYTES, decode_legacy, encode_legacy, expressible
from vswitch.openflow.matches import decode_match, decode_nxm, encode_match, encode_nxm
from vswitch.openflow.oxm import decode_match as decode_oxm
from vswitch.openflow.oxs import decode_oxs, encode_oxs
from vswitch.openflow.wire import Dialect, check_port, need, port_from_16, port_to_16

__all__ = [
    "decode_flow_mod",
    "decode_flow_removed",
    "decode_nicira_flow_mod",
    "decode_nicira_flow_removed",
    "encode_flow_mod",
    "encode_flow_removed",
    "encode_nicira_flow_mod",
    "encode_nicira_flow_removed",
    "flags_from_wire",
    "flags_to_wire",
    "needs_nicira",
]

_MOD_10 = Struct("!QHHHHIHH")
_MOD_11 = Struct("!QQBBHHHIIIHH")
_MOD_NX = Struct("!QHHHHIHHH6x")
_REMOVED_10 = Struct("!QHBxIIHxxQQ")
_REMOVED_11 = Struct("!QHBBIIHHQQ")
_REMOVED_15 = Struct("!BBHHHQ")
_REMOVED_NX = Struct("!QHBBIIHHQQ")

_COMMANDS = tuple(FlowCommand)
_KEEP_COOKIE = (1 << 64) - 1
_NS = 1_000_000_000
_EMERGENCY_10 = 1 << 2
# Flags that each version has, as 1.3 numbers them.
_FLAGS = {1: 3, 2: 3, 3: 7, 4: 31, 5: 31, 6: 31}


def flags_from_wire(flags: int, version: int) -> int:
    """As `FlowFlags` numbers them. OpenFlowError: the version has no such flag."""
    if flags & ~_FLAGS[version]:
        if version == 1 and not flags & ~(_FLAGS[1] | _EMERGENCY_10):
            return flags & 3 | FlowFlags.EMERGENCY
        raise OpenFlowError("flow_mod_failed.bad_flags", f"flags {flags:#x}, of which {_FLAGS[version]:#x} are known")
    return flags


def flags_to_wire(flags: int, version: int) -> int:
    """As the version numbers them; those that it does not have are left out."""
    emergency = _EMERGENCY_10 if version == 1 and flags & FlowFlags.EMERGENCY else 0
    return flags & _FLAGS[version] | emergency


def _command(number: int) -> FlowCommand:
    if number >= len(_COMMANDS):
        raise OpenFlowError("flow_mod_failed.bad_command", f"command {number} is not known")
    return _COMMANDS[number]


_RESET = int(FlowFlags.RESET_COUNTS)


def _old_command(word: int, dialect: Dialect) -> tuple[FlowCommand, int | None]:
    """Command and table of OpenFlow 1.0, where the upper byte is the table if Nicira's extension is on."""
    if not dialect.table_id:
        return _command(word), None
    return _command(word & 0xFF), word >> 8


def _old_flags(flags: int, command: FlowCommand, version: int) -> int:
    """In 1.0 and 1.1, adding always begins to count anew (OpenFlow 1.1.0 section 4.6)."""
    flags = flags_from_wire(flags, version)
    return flags | _RESET if command is FlowCommand.ADD else flags


# hot: once per flow-mod
def decode_flow_mod(body: bytes, dialect: Dialect) -> FlowMod:
    """OpenFlow 1.0.0 section 5.3.3; OpenFlow 1.3.5 section A.3.4.1."""
    version = dialect.version
    if version == 1:
        return _decode_flow_mod_10(body, dialect)
    need(body, _MOD_11.size, "bad_request.bad_len", "a flow-mod")
    (
        cookie, cookie_mask, table, number, idle, hard, priority, buffer_id, out_port, out_group, flags, importance,
    ) = _MOD_11.unpack_from(body)  # fmt: skip
    command = _command(number)
    if version >= 3:
        match, at = decode_oxm(body, _MOD_11.size)
        flags = flags_from_wire(flags, version)
    else:
        match, at = decode_match(body, _MOD_11.size, version)
        flags = _old_flags(flags, command, version)
    if number < FlowCommand.DELETE:  # they say nothing there
        out_port, out_group = ANY_PORT, ANY_GROUP
    elif out_port != ANY_PORT:
        check_port(out_port)
    actions = decode_flow_actions(body[at:], version)
    if version < 5:
        importance = 0
    return FlowMod(
        command, match, actions, priority, table, cookie, cookie_mask, idle, hard, flags, importance, buffer_id,
        out_port, out_group,
    )  # fmt: skip


def _decode_flow_mod_10(body: bytes, dialect: Dialect) -> FlowMod:
    begin = MATCH_10_BYTES + _MOD_10.size
    need(body, begin, "bad_request.bad_len", "a flow-mod")
    cookie, word, idle, hard, priority, buffer_id, out_port, flags = _MOD_10.unpack_from(body, MATCH_10_BYTES)
    command, table = _old_command(word, dialect)
    match = decode_legacy(body, 0, 1)
    flags = _old_flags(flags, command, 1)
    port = port_from_16(out_port) if command >= FlowCommand.DELETE else ANY_PORT
    actions = decode_flow_actions(body[begin:], 1)
    return FlowMod(command, match, actions, priority, table, cookie, 0, idle, hard, flags, 0, buffer_id, port)


def decode_nicira_flow_mod(body: bytes, dialect: Dialect) -> FlowMod:
    """NXT_FLOW_MOD: as OpenFlow 1.0's, with a match in NXM, in which the cookie that is looked for may stand."""
    need(body, _MOD_NX.size, "bad_request.bad_len", "a flow-mod")
    cookie, word, idle, hard, priority, buffer_id, out_port, flags, length = _MOD_NX.unpack_from(body)
    command, table = _old_command(word, dialect)
    match, wanted, cookie_mask, at = decode_nxm(body, _MOD_NX.size, length)
    if cookie_mask:
        if command is FlowCommand.ADD:
            raise OpenFlowError("nicira.nxm_invalid", "a flow that is added has a cookie, and cannot look for one")
        cookie = wanted
    flags = _old_flags(flags, command, 1)
    port = port_from_16(out_port) if command >= FlowCommand.DELETE else ANY_PORT
    actions = decode_flow_actions(body[at:], dialect.version)
    return FlowMod(
        command, match, actions, priority, table, cookie, cookie_mask, idle, hard, flags, 0, buffer_id, port
    )  # fmt: skip


def needs_nicira(match: FlowMatch, dialect: Dialect, cookie_mask: int = 0) -> bool:
    """Whether flows with this match, or those of a cookie, are written in Nicira's messages."""
    return dialect.version == 1 and (dialect.nxm or bool(cookie_mask) or not expressible(match, 1))


def _old_word(message: FlowMod, dialect: Dialect) -> int:
    if not dialect.table_id:
        return int(message.command)
    return (ALL_TABLES if message.table is None else message.table) << 8 | message.command


def encode_flow_mod(message: FlowMod, dialect: Dialect) -> bytes:
    """OpenFlow's own; `needs_nicira` tells whether it can say the match."""
    version = dialect.version
    flags = flags_to_wire(message.flags, version)
    actions = encode_flow_actions(message.actions, version, message.match)
    if version == 1:
        fixed = _MOD_10.pack(
            message.cookie, _old_word(message, dialect), message.idle_timeout_s, message.hard_timeout_s,
            message.priority, message.buffer_id, port_to_16(message.out_port), flags,
        )  # fmt: skip
        return encode_legacy(message.match, 1) + fixed + actions
    if version == 2 and not expressible(message.match, 2):
        raise OpenFlowError("bad_match.bad_field", f"OpenFlow 1.1 cannot say {message.match}")
    fixed = _MOD_11.pack(
        message.cookie, message.cookie_mask, ALL_TABLES if message.table is None else message.table, message.command,
        message.idle_timeout_s, message.hard_timeout_s, message.priority, message.buffer_id, message.out_port,
        message.out_group, flags, message.importance if version >= 5 else 0,
    )  # fmt: skip
    return fixed + encode_match(message.match, version) + actions


def encode_nicira_flow_mod(message: FlowMod, dialect: Dialect) -> bytes:
    """NXT_FLOW_MOD. Flows that are found by their cookie keep it: so say all ones."""
    fields, length = encode_nxm(message.match, message.cookie, message.cookie_mask)
    cookie = message.cookie
    if message.cookie_mask:
        cookie = 0 if message.command >= FlowCommand.DELETE else _KEEP_COOKIE
    fixed = _MOD_NX.pack(
        cookie, _old_word(message, dialect), message.idle_timeout_s, message.hard_timeout_s, message.priority,
        message.buffer_id, port_to_16(message.out_port), flags_to_wire(message.flags, 1), length,
    )  # fmt: skip
    return fixed + fields + encode_flow_actions(message.actions, dialect.version, message.match)


# ---- flow removed


def _reason(number: int) -> FlowRemovedReason:
    try:
        return FlowRemovedReason(number)
    except ValueError:
        raise OpenFlowError("nicira.bad_reason", f"reason {number} of a removal is not known") from None


def _reason_number(reason: FlowRemovedReason, version: int) -> int:
    """Reasons that came later are deletions to those who do not know them."""
    known = 2 if version == 1 else 3 if version < 5 else 5
    return int(reason) if reason <= known else int(FlowRemovedReason.DELETE)


def decode_flow_removed(body: bytes, dialect: Dialect) -> FlowRemoved:
    """OpenFlow 1.0.0 section 5.4.3; OpenFlow 1.3.5 section A.4.2; OpenFlow 1.5.1 section 7.4.2."""
    version = dialect.version
    if version == 1:
        need(body, MATCH_10_BYTES + _REMOVED_10.size, "bad_request.bad_len", "a flow-removed")
        match = decode_legacy(body, 0, 1)
        cookie, priority, reason, sec, nsec, idle, packets, size = _REMOVED_10.unpack_from(body, MATCH_10_BYTES)
        return FlowRemoved(match, priority, 0, cookie, _reason(reason), sec * _NS + nsec, idle, 0, packets, size)
    if version == 6:
        return _decode_flow_removed_15(body)
    need(body, _REMOVED_11.size, "bad_request.bad_len", "a flow-removed")
    cookie, priority, reason, table, sec, nsec, idle, hard, packets, size = _REMOVED_11.unpack_from(body)
    match, _ = decode_match(body, _REMOVED_11.size, version, strict=False)
    hard = hard if version >= 3 else 0
    return FlowRemoved(match, priority, table, cookie, _reason(reason), sec * _NS + nsec, idle, hard, packets, size)


def _decode_flow_removed_15(body: bytes) -> FlowRemoved:
    need(body, _REMOVED_15.size, "bad_request.bad_len", "a flow-removed")
    table, reason, priority, idle, hard, cookie = _REMOVED_15.unpack_from(body)
    match, at = decode_oxm(body, _REMOVED_15.size, strict=False)
    told, _ = decode_oxs(body, at, "a flow-removed")
    duration, packets, size = (told.get(name, 0) for name in ("duration_ns", "packets", "bytes"))
    return FlowRemoved(match, priority, table, cookie, _reason(reason), duration, idle, hard, packets, size)


def encode_flow_removed(message: FlowRemoved, dialect: Dialect) -> bytes:
    """As the version has it."""
    version = dialect.version
    sec, nsec = divmod(message.duration_ns, _NS)
    reason = _reason_number(message.reason, version)
    if version == 1:
        return encode_legacy(message.match, 1) + _REMOVED_10.pack(
            message.cookie, message.priority, reason, sec, nsec, message.idle_timeout_s, message.packets, message.bytes
        )
    if version == 6:
        fixed = _REMOVED_15.pack(
            message.table, reason, message.priority, message.idle_timeout_s, message.hard_timeout_s, message.cookie
        )
        stats = encode_oxs(duration_ns=message.duration_ns, packets=message.packets, bytes=message.bytes)
        return fixed + encode_match(message.match, version) + stats
    fixed = _REMOVED_11.pack(
        message.cookie, message.priority, reason, message.table, sec, nsec, message.idle_timeout_s,
        message.hard_timeout_s if version >= 3 else 0, message.packets, message.bytes,
    )  # fmt: skip
    return fixed + encode_match(message.match, version)


def decode_nicira_flow_removed(body: bytes, _dialect: Dialect) -> FlowRemoved:
    """NXT_FLOW_REMOVED; the table is one more than its number there, 0 if it is not known."""
    need(body, _REMOVED_NX.size, "bad_request.bad_len", "a flow-removed")
    cookie, priority, reason, table, sec, nsec, idle, length, packets, size = _REMOVED_NX.unpack_from(body)
    match, *_ = decode_nxm(body, _REMOVED_NX.size, length, strict=False)
    table = table - 1 if table else ALL_TABLES
    return FlowRemoved(match, priority, table, cookie, _reason(reason), sec * _NS + nsec, idle, 0, packets, size)


def encode_nicira_flow_removed(message: FlowRemoved, _dialect: Dialect) -> bytes:
    """As it is read."""
    fields, length = encode_nxm(message.match)
    sec, nsec = divmod(message.duration_ns, _NS)
    table = message.table + 1 if message.table < ALL_TABLES else 0
    fixed = _REMOVED_NX.pack(
        message.cookie, message.priority, _reason_number(message.reason, 1), table, sec, nsec, message.idle_timeout_s,
        length, message.packets, message.bytes,
    )  # fmt: skip
    return fixed + fields
