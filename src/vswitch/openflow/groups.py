"""Group-mod and meter-mod, and the buckets and bands that statistics have too.

OpenFlow 1.5 gave buckets an id, and moved what depends on the group's type into properties. How a select group chooses
is a property of an experimenter (Netronome's) there. Nicira's groups of OpenFlow 1.0 have 1.5's shape, and 1.0's
actions.
"""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct

from vswitch.fields.openflow import OPENFLOW_FIELDS
from vswitch.messages.errors import OpenFlowError
from vswitch.messages.flows import (
    ANY_GROUP,
    ANY_PORT,
    Bucket,
    GroupCommand,
    GroupMod,
    GroupType,
    MeterBand,
    MeterCommand,
    MeterMod,
)
from vswitch.openflow.actions import decode_actions, encode_actions
from vswitch.openflow.oxm import decode_header, encode_field
from vswitch.openflow.wire import Dialect, check_port, need, properties, property_bytes

__all__ = [
    "Selection",
    "decode_bands",
    "decode_buckets",
    "decode_group_mod",
    "decode_group_properties",
    "decode_meter_mod",
    "encode_bands",
    "encode_buckets",
    "encode_group_mod",
    "encode_group_properties",
    "encode_meter_mod",
]

_OLD = (2, 3, 4, 5)
"""Versions with the shape of 1.1."""
_GROUP_MOD = Struct("!HBxI")
_GROUP_MOD_15 = Struct("!HBxIH2xI")
_BUCKET_11 = Struct("!HHII4x")
_BUCKET_15 = Struct("!HHI")
_WEIGHT, _WATCH_PORT, _WATCH_GROUP = 0, 1, 2
_EXPERIMENTER = 0xFFFF
_SELECTION = Struct("!II4x16sQ")
_NETRONOME, _SELECTION_METHOD = 0x0000154D, 1
_LAST_ID, _ENDS, _ALL_BUCKETS = 0xFFFFFF00, (0xFFFFFFFD, 0xFFFFFFFE), 0xFFFFFFFF
_NO_ID = 0xFFFFFFFF
"""Of a bucket: the switch chooses (OpenFlow 1.5.1 section 7.3.4.3.1 has ids up to 0xffffff00)."""

_METER_MOD = Struct("!HHI")
_BAND = Struct("!HHII")
_BAND_BYTES = 16
_DROP, _DSCP_REMARK = 1, 2
_RATES = 3
"""kbit/s and packets/s: a meter counts one of them."""

Selection = tuple[str, int, tuple[tuple[str, int], ...]]
"""How a select group chooses: method, parameter, fields with masks."""


# ---- buckets


def decode_buckets(data: bytes, version: int) -> tuple[Bucket, ...]:
    """All buckets in `data`. OpenFlowError: group_mod_failed.bad_bucket, bad_action.*"""
    old = version in _OLD
    layout = _BUCKET_11 if old else _BUCKET_15
    buckets = []
    at, end = 0, len(data)
    while at < end:
        if end - at < layout.size:
            raise OpenFlowError("group_mod_failed.bad_bucket", f"{end - at} bytes at the end are no bucket")
        length = int.from_bytes(data[at : at + 2], "big")
        if length < layout.size or length & 7 or at + length > end:
            raise OpenFlowError("group_mod_failed.bad_bucket", f"a bucket of {length} bytes, where {end - at} are left")
        one = data[at : at + length]
        buckets.append(_bucket_11(one, version) if old else _bucket_15(one, version))
        at += length
    return tuple(buckets)


def _watched(port: int) -> int:
    return port if port == ANY_PORT else check_port(port, "group_mod_failed.bad_watch")


def _bucket_11(data: bytes, version: int) -> Bucket:
    _, weight, port, group = _BUCKET_11.unpack_from(data)
    return Bucket(decode_actions(data[_BUCKET_11.size :], version), weight, _watched(port), group)


def _bucket_15(data: bytes, version: int) -> Bucket:
    _, size, number = _BUCKET_15.unpack_from(data)
    at = _BUCKET_15.size
    if at + size > len(data):
        raise OpenFlowError("group_mod_failed.bad_bucket", f"actions of {size} bytes in a bucket of {len(data)}")
    values = {_WEIGHT: 0, _WATCH_PORT: ANY_PORT, _WATCH_GROUP: ANY_GROUP}
    for kind, value in properties(data[at + size :]):
        if kind not in values:
            raise OpenFlowError("bad_property.bad_type", f"a bucket has no property {kind}")
        if len(value) != 4:
            raise OpenFlowError("bad_property.bad_len", f"property {kind} of a bucket has {len(value)} bytes, not 4")
        values[kind] = int.from_bytes(value, "big") if kind else int.from_bytes(value[:2], "big")
    actions = decode_actions(data[at : at + size], version)
    number = None if number == _NO_ID else number
    return Bucket(actions, values[_WEIGHT], _watched(values[_WATCH_PORT]), values[_WATCH_GROUP], number)


def encode_buckets(buckets: Iterable[Bucket], version: int) -> bytes:
    """One behind the other."""
    parts = []
    for bucket in buckets:
        actions = encode_actions(bucket.actions, version)
        if version in _OLD:
            length = _BUCKET_11.size + len(actions)
            parts.append(_BUCKET_11.pack(length, bucket.weight, bucket.watch_port, bucket.watch_group) + actions)
            continue
        rest = b""
        if bucket.weight:
            rest += property_bytes(_WEIGHT, bucket.weight.to_bytes(2, "big") + b"\0\0")
        if bucket.watch_port != ANY_PORT:
            rest += property_bytes(_WATCH_PORT, bucket.watch_port.to_bytes(4, "big"))
        if bucket.watch_group != ANY_GROUP:
            rest += property_bytes(_WATCH_GROUP, bucket.watch_group.to_bytes(4, "big"))
        length = _BUCKET_15.size + len(actions) + len(rest)
        parts.append(_BUCKET_15.pack(length, len(actions), _NO_ID if bucket.id is None else bucket.id) + actions + rest)
    return b"".join(parts)


# ---- how a select group chooses


def decode_group_properties(data: bytes) -> Selection:
    """Of a group in OpenFlow 1.5. OpenFlowError: bad_property.*"""
    found: Selection = ("", 0, ())
    for kind, value in properties(data):
        if kind != _EXPERIMENTER:
            raise OpenFlowError("bad_property.bad_type", f"a group has no property {kind}")
        need(value, 8, "bad_property.bad_len", "an experimenter's property")
        vendor, subtype = int.from_bytes(value[:4], "big"), int.from_bytes(value[4:8], "big")
        if vendor != _NETRONOME:
            raise OpenFlowError("bad_property.bad_experimenter", f"properties of {vendor:#x} are not known")
        if subtype != _SELECTION_METHOD:
            raise OpenFlowError("bad_property.bad_exp_type", f"property {subtype} of {vendor:#x} is not known")
        need(value, _SELECTION.size, "bad_property.bad_len", "a selection method")
        found = _selection(value)
    return found


def _selection(value: bytes) -> Selection:
    _, _, method, parameter = _SELECTION.unpack_from(value)
    name = method.split(b"\0", 1)[0].decode("ascii", "replace")
    if name not in ("hash", "dp_hash"):
        raise OpenFlowError("bad_property.bad_exp_value", f"groups do not choose by {name!r}")
    fields = []
    at = _SELECTION.size
    while at < len(value):
        field, begin, masked, length = _hashed_field(value, at)
        at = begin + length * (1 + masked)
        if at > len(value):
            raise OpenFlowError("bad_property.bad_exp_value", f"{field.name} ends behind the property")
        bits = int.from_bytes(value[begin : begin + length], "big")  # it is a mask, whether one follows or not
        fields.append((field.name, bits & field.max))
    if fields and name != "hash":
        raise OpenFlowError("bad_property.bad_exp_value", f"a group that chooses by {name} has no fields")
    return name, parameter, tuple(fields)


def _hashed_field(value: bytes, at: int):  # type: ignore[no-untyped-def]
    """(field, where its value begins, whether a mask follows, length)."""
    masked = at + 3 < len(value) and bool(value[at + 2] & 1)
    size = value[at + 3] if at + 3 < len(value) else 0
    header = value[at : at + 8]
    if masked:
        header = bytes((header[0], header[1], header[2] & 0xFE, size // 2)) + header[4:]
    field, begin = decode_header(header, 0, "bad_property.bad_exp_value")
    return field, at + begin, masked, field.length


def encode_group_properties(selection: Selection, version: int = 6) -> bytes:
    """As they are read; nothing if the switch chooses how."""
    name, parameter, fields = selection
    if not name:
        return b""
    data = _SELECTION.pack(_NETRONOME, _SELECTION_METHOD, name.encode(), parameter)
    for field_name, mask in fields:
        field = OPENFLOW_FIELDS[field_name]
        data += encode_field(field, mask, field.max, version)
    return property_bytes(_EXPERIMENTER, data)


# ---- group-mod

_COMMANDS_11 = {GroupCommand.ADD, GroupCommand.MODIFY, GroupCommand.DELETE, GroupCommand.ADD_OR_MODIFY}
_COMMANDS_15 = _COMMANDS_11 | {GroupCommand.INSERT_BUCKET, GroupCommand.REMOVE_BUCKET}


def _may_name(command: GroupCommand, bucket_id: int) -> bool:
    """Whether a command may name that bucket (OpenFlow 1.5.1 section 7.3.4.3): those for groups name all."""
    if command not in (GroupCommand.INSERT_BUCKET, GroupCommand.REMOVE_BUCKET):
        return bucket_id == _ALL_BUCKETS
    if bucket_id == _ALL_BUCKETS:
        return command is GroupCommand.REMOVE_BUCKET
    return bucket_id <= _LAST_ID or bucket_id in _ENDS


def decode_group_mod(body: bytes, dialect: Dialect) -> GroupMod:
    """OpenFlow 1.3.5 section A.3.4.2; OpenFlow 1.5.1 section 7.3.4.3."""
    version = dialect.version
    layout = _GROUP_MOD if version in _OLD else _GROUP_MOD_15
    need(body, layout.size, "bad_request.bad_len", "a group-mod")
    selection: Selection = ("", 0, ())
    bucket_id = _NO_ID
    if version in _OLD:
        number, kind, group = layout.unpack_from(body)
        rest = body[layout.size :]
    else:
        number, kind, group, size, bucket_id = layout.unpack_from(body)
        at = layout.size
        if at + size > len(body):
            raise OpenFlowError("bad_request.bad_len", f"buckets of {size} bytes, where {len(body) - at} are left")
        rest = body[at : at + size]
        selection = decode_group_properties(body[at + size :])
    known = _COMMANDS_11 if version in _OLD else _COMMANDS_15
    command = next((each for each in known if each == number), None)
    if command is None:
        raise OpenFlowError("group_mod_failed.bad_command", f"command {number} is not known")
    if version not in _OLD and not _may_name(command, bucket_id):
        raise OpenFlowError("group_mod_failed.bad_bucket", f"{command.name} with bucket {bucket_id:#x}")
    if kind > GroupType.FAST_FAILOVER:
        raise OpenFlowError("group_mod_failed.bad_type", f"groups of type {kind} are not known")
    buckets = decode_buckets(rest, version)
    return GroupMod(command, group, GroupType(kind), buckets, bucket_id, *selection)


def encode_group_mod(message: GroupMod, dialect: Dialect) -> bytes:
    """As it is read. OpenFlowError: the version has no such command, or cannot say how the group chooses."""
    version = dialect.version
    known = _COMMANDS_11 if version in _OLD else _COMMANDS_15
    if message.command not in known:
        raise OpenFlowError("group_mod_failed.bad_command", f"OpenFlow 1.{version - 1} has no {message.command.name}")
    buckets = encode_buckets(message.buckets, version)
    if version in _OLD:
        if message.selection:
            what = f"selection by {message.selection} takes OpenFlow 1.5"
            raise OpenFlowError("bad_property.bad_type", what)
        return _GROUP_MOD.pack(message.command, message.type, message.id) + buckets
    fixed = _GROUP_MOD_15.pack(message.command, message.type, message.id, len(buckets), message.bucket_id)
    chosen = encode_group_properties((message.selection, message.selection_param, message.fields), version)
    return fixed + buckets + chosen


# ---- meters


def decode_bands(data: bytes) -> tuple[MeterBand, ...]:
    """All bands in `data`. OpenFlowError: a length is wrong, or the kind is not known."""
    bands = []
    at, end = 0, len(data)
    while at < end:
        if end - at < _BAND_BYTES:
            raise OpenFlowError("bad_request.bad_len", f"{end - at} bytes at the end are no band")
        kind, length, rate, burst = _BAND.unpack_from(data, at)
        if kind not in (_DROP, _DSCP_REMARK):
            raise OpenFlowError("meter_mod_failed.bad_band", f"bands of type {kind} are not known")
        if length != _BAND_BYTES:
            raise OpenFlowError("bad_request.bad_len", f"a band of {length} bytes, not {_BAND_BYTES}")
        remark = kind == _DSCP_REMARK
        level = data[at + _BAND.size] if remark else 0
        bands.append(MeterBand(rate, burst, "dscp_remark" if remark else "drop", level))
        at += length
    return tuple(bands)


def encode_bands(bands: Iterable[MeterBand]) -> bytes:
    """One behind the other."""
    parts = []
    for band in bands:
        kind = _DSCP_REMARK if band.kind == "dscp_remark" else _DROP
        parts.append(_BAND.pack(kind, _BAND_BYTES, band.rate, band.burst) + bytes((band.prec_level, 0, 0, 0)))
    return b"".join(parts)


def decode_meter_mod(body: bytes, _dialect: Dialect) -> MeterMod:
    """OpenFlow 1.3.5 section A.3.4.4."""
    need(body, _METER_MOD.size, "bad_request.bad_len", "a meter-mod")
    number, flags, meter = _METER_MOD.unpack_from(body)
    if number > MeterCommand.DELETE:
        raise OpenFlowError("meter_mod_failed.bad_command", f"command {number} is not known")
    command = MeterCommand(number)
    if flags & ~0xF or flags & _RATES == _RATES:
        raise OpenFlowError("meter_mod_failed.bad_flags", f"a meter has no flags {flags:#x}")
    return MeterMod(command, meter, flags, decode_bands(body[_METER_MOD.size :]))


def encode_meter_mod(message: MeterMod, _dialect: Dialect) -> bytes:
    """As it is read."""
    return _METER_MOD.pack(message.command, message.flags, message.id) + encode_bands(message.bands)
