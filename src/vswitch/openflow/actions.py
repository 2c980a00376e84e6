"""Actions on the wire, of OpenFlow 1.0 to 1.5.

An action is a type and a length of 16 bits each, and a body; its length is a multiple of eight. `_TABLE` says by which
type each version knows an action, and by which codec; one action may have two shapes (output, with ports of 16 and of
32 bits). What a version has no type for is written as Nicira's action, or as another that does the same: OpenFlow 1.2's
set_field stands for the set_... of 1.0, with a pushed tag before it where 1.0 pushes.

What cannot be said at all is left out if the flow means the same to who reads it (`PushVlan` in 1.0, where setting the
VLAN pushes), or has no place there (`WriteActions` in 1.0, as Open vSwitch does); else it is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import Any

from vswitch.fields.openflow import OPENFLOW_FIELDS
from vswitch.messages import actions as act
from vswitch.messages.actions import FlowAction
from vswitch.messages.errors import OpenFlowError
from vswitch.messages.match import SubField
from vswitch.openflow.action_parts import Row, Scope, decode_sub_field, encode_sub_field, frame, plain, writable
from vswitch.openflow.nicira_actions import ROWS as NICIRA_ROWS
from vswitch.openflow.nicira_actions import WRITERS as NICIRA_WRITERS
from vswitch.openflow.nicira_actions import encode_load
from vswitch.openflow.oxm import decode_field, encode_field
from vswitch.openflow.wire import NICIRA, ONF, VERSIONS, check_port, port_from_16, port_to_16

__all__ = ["decode_actions", "encode_actions", "new_scope"]

_CONTROLLER = 0xFFFFFFFD
_VENDOR = 0xFFFF
_HEAD = Struct("!HH")
_VENDOR_HEAD = Struct("!IH")
_ONF_COPY_FIELD = 3200
_H, _I = Struct("!H"), Struct("!I")
_OUTPUT_10, _OUTPUT_11 = Struct("!HH"), Struct("!IH6x")
_ENQUEUE = Struct("!H6xI")
_COPY_15 = Struct("!HHH2x")
_COPY_ONF = Struct("!2xHHH2x")


# ---- codecs: (least body, most body, decode)


def _output_10(body: bytes, _scope: Scope) -> FlowAction:
    port, max_len = _OUTPUT_10.unpack(body)
    return act.Output(port_from_16(port), max_len)


def _output_11(body: bytes, _scope: Scope) -> FlowAction:
    port, max_len = _OUTPUT_11.unpack(body)
    return act.Output(check_port(port), max_len)


def _enqueue(body: bytes, _scope: Scope) -> FlowAction:
    port, queue = _ENQUEUE.unpack(body)
    return act.Enqueue(port_from_16(port), queue)


def _mod(field: str, size: int, body_size: int) -> Row:
    """OpenFlow 1.0's set_...: a number of `size` bytes, then padding."""
    field_max = 0xFC if field == "ip_tos" else 3 if field == "ip_ecn" else (1 << 8 * size) - 1

    def decode(body: bytes, _scope: Scope) -> FlowAction:
        value = int.from_bytes(body[:size], "big")
        if value & ~field_max:
            raise OpenFlowError("bad_action.bad_argument", f"{field} {value:#x} is outside of {field_max:#x}")
        return act.ModField(field, value)

    return Row(decode, body_size, body_size)


def _vlan_vid(push: bool) -> Row:
    def decode(body: bytes, _scope: Scope) -> FlowAction:
        (vid,) = _H.unpack_from(body)
        if vid > 0xFFF:
            raise OpenFlowError("bad_action.bad_argument", f"VLAN id {vid} is outside of 0..4095")
        return act.ModVlanVid(vid, push)

    return Row(decode, 4, 4)


def _vlan_pcp(push: bool) -> Row:
    def decode(body: bytes, _scope: Scope) -> FlowAction:
        if body[0] > 7:
            raise OpenFlowError("bad_action.bad_argument", f"VLAN priority {body[0]} is outside of 0..7")
        return act.ModVlanPcp(body[0], push)

    return Row(decode, 4, 4)


def _push(cls: type[Any], allowed: tuple[int, ...], error: str = "bad_action.bad_argument") -> Row:
    def decode(body: bytes, _scope: Scope) -> FlowAction:
        (ethertype,) = _H.unpack_from(body)
        if allowed and ethertype not in allowed:
            raise OpenFlowError(error, f"no tag of type {ethertype:#06x} can be pushed")
        action: FlowAction = cls(ethertype)
        return action

    return Row(decode, 4, 4)


def _set_field(body: bytes, scope: Scope) -> FlowAction:
    field, value, mask, after = decode_field(body, 0)
    if len(body) - after >= 8:
        raise OpenFlowError("bad_action.bad_set_len", f"{len(body) - after} bytes behind {field.name}")
    if not field.writable:
        raise OpenFlowError("bad_action.bad_set_argument", f"{field.name} is not to be changed by actions")
    if mask != field.max and scope.version < 6:
        raise OpenFlowError("bad_action.bad_set_mask", "set_field has no mask before OpenFlow 1.5")
    return act.SetField(field, value, mask)


def _copy_field(body: bytes, _scope: Scope, layout: Struct = _COPY_15) -> FlowAction:
    bits, source_start, start = layout.unpack_from(body)
    source, after = decode_sub_field(body, layout.size, source_start, bits)
    destination, _ = decode_sub_field(body, after, start, bits)
    return act.RegMove(source, writable(destination))


def _none(action: FlowAction) -> Row:
    return Row(lambda _body, _scope: action, 4, 4)


_CODECS: dict[str, Row] = {
    "output_10": Row(_output_10, 4, 4),
    "output_11": Row(_output_11, 12, 12),
    "enqueue": Row(_enqueue, 12, 12),
    "vlan_vid_10": _vlan_vid(True),
    "vlan_vid_11": _vlan_vid(False),
    "vlan_pcp_10": _vlan_pcp(True),
    "vlan_pcp_11": _vlan_pcp(False),
    "strip_vlan": _none(act.PopVlan(strip=True)),
    "eth_src": _mod("eth_src", 6, 12),
    "eth_dst": _mod("eth_dst", 6, 12),
    "ipv4_src": _mod("ipv4_src", 4, 4),
    "ipv4_dst": _mod("ipv4_dst", 4, 4),
    "ip_tos": _mod("ip_tos", 1, 4),
    "ip_ecn": _mod("ip_ecn", 1, 4),
    "tp_src": _mod("tp_src", 2, 4),
    "tp_dst": _mod("tp_dst", 2, 4),
    "ip_ttl": _mod("ip_ttl", 1, 4),
    "copy_ttl_out": _none(act.CopyTtlOut()),
    "copy_ttl_in": _none(act.CopyTtlIn()),
    "mpls_label": plain(act.SetMplsLabel, "I", 4),
    "mpls_tc": plain(act.SetMplsTc, "B3x", 4),
    "mpls_ttl": plain(act.SetMplsTtl, "B3x", 4),
    "dec_mpls_ttl": _none(act.DecMplsTtl()),
    "push_vlan": _push(act.PushVlan, (0x8100, 0x88A8)),
    "pop_vlan": _none(act.PopVlan()),
    "push_mpls": _push(act.PushMpls, (0x8847, 0x8848)),
    "pop_mpls": _push(act.PopMpls, ()),
    "set_queue": plain(act.SetQueue, "I", 4),
    "group": plain(act.Group, "I", 4),
    "dec_ttl": _none(act.DecTtl()),
    "set_field": Row(_set_field, 8),
    "push_pbb": _push(act.PushPbb, (0x88E7,)),
    "pop_pbb": _none(act.PopPbb()),
    "copy_field": Row(_copy_field, 16, 24),
    "meter": plain(act.Meter, "I", 4),
}

_TABLE = """
codec        | 1.0 | 1.1 | 1.2 | 1.3 | 1.4 | 1.5
output_10    |  0  |     |     |     |     |
output_11    |     |  0  |  0  |  0  |  0  |  0
vlan_vid_10  |  1  |     |     |     |     |
vlan_vid_11  |     |  1  |     |     |     |
vlan_pcp_10  |  2  |     |     |     |     |
vlan_pcp_11  |     |  2  |     |     |     |
strip_vlan   |  3  |     |     |     |     |
eth_src      |  4  |  3  |     |     |     |
eth_dst      |  5  |  4  |     |     |     |
ipv4_src     |  6  |  5  |     |     |     |
ipv4_dst     |  7  |  6  |     |     |     |
ip_tos       |  8  |  7  |     |     |     |
ip_ecn       |     |  8  |     |     |     |
tp_src       |  9  |  9  |     |     |     |
tp_dst       | 10  | 10  |     |     |     |
enqueue      | 11  |     |     |     |     |
copy_ttl_out |     | 11  | 11  | 11  | 11  | 11
copy_ttl_in  |     | 12  | 12  | 12  | 12  | 12
mpls_label   |     | 13  |     |     |     |
mpls_tc      |     | 14  |     |     |     |
mpls_ttl     |     | 15  | 15  | 15  | 15  | 15
dec_mpls_ttl |     | 16  | 16  | 16  | 16  | 16
push_vlan    |     | 17  | 17  | 17  | 17  | 17
pop_vlan     |     | 18  | 18  | 18  | 18  | 18
push_mpls    |     | 19  | 19  | 19  | 19  | 19
pop_mpls     |     | 20  | 20  | 20  | 20  | 20
set_queue    |     | 21  | 21  | 21  | 21  | 21
group        |     | 22  | 22  | 22  | 22  | 22
ip_ttl       |     | 23  | 23  | 23  | 23  | 23
dec_ttl      |     | 24  | 24  | 24  | 24  | 24
set_field    |     |     | 25  | 25  | 25  | 25
push_pbb     |     |     |     | 26  | 26  | 26
pop_pbb      |     |     |     | 27  | 27  | 27
copy_field   |     |     |     |     |     | 28
meter        |     |     |     |     |     | 29
"""


def _types() -> tuple[dict[int, dict[int, Row]], dict[str, dict[int, int]]]:
    rows: dict[int, dict[int, Row]] = {version: {} for version in VERSIONS}
    types: dict[str, dict[int, int]] = {}
    for line in _TABLE.strip().splitlines()[1:]:
        name, *columns = (column.strip() for column in line.split("|"))
        types[name] = {version: int(text) for version, text in zip(VERSIONS, columns, strict=True) if text}
        for version, number in types[name].items():
            rows[version][number] = _CODECS[name]
    return rows, types


_ROWS, _TYPES = _types()


# ---- reading


def _read_vendor(data: bytes, at: int, length: int, scope: Scope) -> FlowAction:
    if length < 16:
        raise OpenFlowError("bad_action.bad_len", f"an experimenter's action of {length} bytes, where 16 are the least")
    vendor, subtype = _VENDOR_HEAD.unpack_from(data, at + 4)
    begin = at + 10
    if vendor == NICIRA:
        row = NICIRA_ROWS.get(subtype)
        if row is None:
            raise OpenFlowError("bad_action.bad_exp_type", f"Nicira's action {subtype} is not known")
    elif vendor == ONF:
        if subtype != _ONF_COPY_FIELD:
            raise OpenFlowError("bad_action.bad_exp_type", f"ONF's action {subtype} is not known")
        row = Row(lambda body, scope: _copy_field(body, scope, _COPY_ONF), 18)
    else:
        raise OpenFlowError("bad_action.bad_experimenter", f"actions of experimenter {vendor:#x} are not known")
    size = length - 10
    if size < row.least or (row.most and size > row.most + 7):
        raise OpenFlowError("bad_action.bad_len", f"Nicira's action {subtype} of {length} bytes")
    if row.most and row.most == row.least and size != row.most:
        raise OpenFlowError("bad_action.bad_len", f"Nicira's action {subtype} of {length} bytes, not {row.most + 10}")
    return row.decode(data[begin : at + length], scope)


def _read(data: bytes, scope: Scope) -> tuple[FlowAction, ...]:
    """All actions in `data`."""
    actions = []
    at, end = 0, len(data)
    rows = _ROWS[scope.version]
    while at < end:
        if end - at < 8:
            raise OpenFlowError("bad_action.bad_len", f"{end - at} bytes at the end are no action")
        kind, length = _HEAD.unpack_from(data, at)
        if length < 8 or length & 7 or at + length > end:
            raise OpenFlowError("bad_action.bad_len", f"action {kind} of {length} bytes, where {end - at} are left")
        if kind == _VENDOR:
            actions.append(_read_vendor(data, at, length, scope))
        else:
            row = rows.get(kind)
            if row is None:
                raise OpenFlowError("bad_action.bad_type", f"action {kind} is not known")
            size = length - 4
            if size < row.least or (row.most and size > row.most):
                raise OpenFlowError("bad_action.bad_len", f"action {kind} of {length} bytes")
            actions.append(row.decode(data[at + 4 : at + length], scope))
        at += length
    return tuple(actions)


# ---- writing


def _named(name: str, layout: str, *members: str) -> Callable[[Any, Scope], bytes | None]:
    """Writes members by a structure, in versions that have the action."""
    structure, types = Struct("!" + layout), _TYPES[name]

    def write(action: Any, scope: Scope) -> bytes | None:
        kind = types.get(scope.version)
        if kind is None:
            return None
        return frame(kind, structure.pack(*[getattr(action, member) for member in members]))

    return write


def _write_output(action: act.Output, scope: Scope) -> bytes | None:
    if action.truncate:
        return None
    if scope.version == 1:
        return frame(0, _OUTPUT_10.pack(port_to_16(action.port), action.max_len))
    return frame(0, _OUTPUT_11.pack(action.port, action.max_len))


def _write_enqueue(action: act.Enqueue, scope: Scope) -> bytes:
    if scope.version == 1:
        return frame(11, _ENQUEUE.pack(port_to_16(action.port), action.queue))
    steps = (act.SetQueue(action.queue), act.Output(action.port), act.PopQueue())
    return scope.write(steps, scope)


_FIELD_OF_MOD = {"ip_tos": "ip_dscp"}
_PROTOCOL_PREFIX = {6: "tcp", 17: "udp", 132: "sctp"}
_MOD_OF_FIELD = {
    "eth_src": "eth_src", "eth_dst": "eth_dst", "ipv4_src": "ipv4_src", "ipv4_dst": "ipv4_dst", "ip_dscp": "ip_tos",
    "ip_ecn": "ip_ecn", "tcp_src": "tp_src", "tcp_dst": "tp_dst", "udp_src": "tp_src", "udp_dst": "tp_dst",
}  # fmt: skip
_MOD_BYTES = {"eth_src": 6, "eth_dst": 6, "ipv4_src": 4, "ipv4_dst": 4, "tp_src": 2, "tp_dst": 2}


def _write_mod(action: act.ModField, scope: Scope) -> bytes:
    name, value = action.field, action.value
    kind = _TYPES[name].get(scope.version)
    if kind is not None:
        body = value.to_bytes(_MOD_BYTES.get(name, 1), "big")
        return frame(kind, body.ljust(_CODECS[name].least, b"\0"))
    if name.startswith("tp_"):
        name = f"{_PROTOCOL_PREFIX.get(scope.protocol, 'tcp')}{name[2:]}"
    elif name == "ip_tos":
        name, value = "ip_dscp", value >> 2
    field = OPENFLOW_FIELDS[name]
    if scope.version < 3:
        return encode_load(SubField(field, 0, field.bits), value, scope.version)
    return _write_set_field(act.SetField(field, value, field.max), scope)


def _write_vlan_vid(action: act.ModVlanVid, scope: Scope) -> bytes:
    if scope.version <= 2:
        kind, push = 1, b"" if scope.version == 1 or not action.push else scope.write((act.PushVlan(),), scope)
        return push + frame(kind, _H.pack(action.vid) + b"\0\0")
    push = scope.write((act.PushVlan(),), scope) if action.push else b""
    field = OPENFLOW_FIELDS["vlan_vid"]
    return push + _write_set_field(act.SetField(field, action.vid | 0x1000, field.max), scope)


def _write_vlan_pcp(action: act.ModVlanPcp, scope: Scope) -> bytes:
    push = scope.write((act.PushVlan(),), scope) if action.push and scope.version > 1 else b""
    if scope.version <= 2:
        return push + frame(2, bytes([action.pcp, 0, 0, 0]))
    field = OPENFLOW_FIELDS["vlan_pcp"]
    return push + _write_set_field(act.SetField(field, action.pcp, field.max), scope)


def _write_set_field(action: act.SetField, scope: Scope) -> bytes:
    field, value, mask, version = action.field, action.value, action.mask, scope.version
    if version >= 6 or (version >= 3 and mask == field.max):
        return frame(_TYPES["set_field"][version], encode_field(field, value, mask, version))
    whole = mask == field.max
    if whole and version < 3:
        if field.name == "vlan_vid":
            return frame(1, _H.pack(value & 0xFFF) + b"\0\0")
        if field.name == "vlan_pcp":
            return frame(2, bytes([value, 0, 0, 0]))
        name = _MOD_OF_FIELD.get(field.name)
        if name is not None and version in _TYPES[name]:
            return _write_mod(act.ModField(name, value << 2 if name == "ip_tos" else value), scope)
    start = (mask & -mask).bit_length() - 1
    bits = mask.bit_length() - start
    if mask == (1 << bits) - 1 << start and bits <= 64:
        return encode_load(SubField(field, start, bits), value >> start, version)
    return NICIRA_WRITERS[act.SetField](action, scope)


def _write_pop_vlan(_action: act.PopVlan, scope: Scope) -> bytes:
    return frame(3 if scope.version == 1 else 18, bytes(4))


def _write_push_vlan(action: act.PushVlan, scope: Scope) -> bytes:
    return b"" if scope.version == 1 else frame(17, _H.pack(action.ethertype) + b"\0\0")


def _write_dec_ttl(action: act.DecTtl, scope: Scope) -> bytes | None:
    if action.controllers != (0,):
        return None
    return frame(24, bytes(4)) if scope.version > 1 else frame(_VENDOR, _VENDOR_HEAD.pack(NICIRA, 18) + bytes(6))


def _write_move(action: act.RegMove, scope: Scope) -> bytes | None:
    if scope.version < 6:
        return None
    source, target = action.source, action.destination
    headers = encode_sub_field(source, scope.version) + encode_sub_field(target, scope.version)
    return frame(28, _COPY_15.pack(target.bits, source.start, target.start) + headers)


def _write_load(action: act.RegLoad, scope: Scope) -> bytes | None:
    """1.5 has it as set_field with a mask."""
    if scope.version < 6:
        return None
    target = action.destination
    mask = (1 << target.bits) - 1 << target.start
    return _write_set_field(act.SetField(target.field, action.value << target.start, mask), scope)


def _write_tunnel(action: act.SetTunnel, scope: Scope) -> bytes | None:
    """From 1.2 on a field like others."""
    if scope.version < 3:
        return None
    field = OPENFLOW_FIELDS["tun_id"]
    return _write_set_field(act.SetField(field, action.id, field.max), scope)


def _write_goto(action: act.GotoTable, scope: Scope) -> bytes:
    return scope.write((act.Resubmit(None, action.table),), scope)


def _write_nothing(_action: FlowAction, _scope: Scope) -> bytes:
    return b""


def _write_mpls(name: str, field: str, layout: str, member: str) -> Callable[[Any, Scope], bytes | None]:
    """1.1 has it, from 1.2 on it is a field, in 1.0 it is Nicira's."""
    own = _named(name, layout, member)

    def write(action: Any, scope: Scope) -> bytes | None:
        if scope.version >= 3:
            known = OPENFLOW_FIELDS[field]
            return _write_set_field(act.SetField(known, getattr(action, member), known.max), scope)
        return own(action, scope)

    return write


_WRITERS: dict[type[FlowAction], Callable[[Any, Scope], bytes | None]] = {
    act.ClearActions: _write_nothing,  # instructions, where there are none
    act.CopyTtlIn: _named("copy_ttl_in", "4x"),
    act.CopyTtlOut: _named("copy_ttl_out", "4x"),
    act.DecMplsTtl: _named("dec_mpls_ttl", "4x"),
    act.DecTtl: _write_dec_ttl,
    act.Enqueue: _write_enqueue,
    act.GotoTable: _write_goto,
    act.Group: _named("group", "I", "id"),
    act.Meter: _named("meter", "I", "id"),
    act.ModField: _write_mod,
    act.ModVlanPcp: _write_vlan_pcp,
    act.ModVlanVid: _write_vlan_vid,
    act.Output: _write_output,
    act.PopMpls: _named("pop_mpls", "H2x", "ethertype"),
    act.PopPbb: _named("pop_pbb", "4x"),
    act.PopVlan: _write_pop_vlan,
    act.PushMpls: _named("push_mpls", "H2x", "ethertype"),
    act.PushPbb: _named("push_pbb", "H2x", "ethertype"),
    act.PushVlan: _write_push_vlan,
    act.RegLoad: _write_load,
    act.RegMove: _write_move,
    act.SetField: _write_set_field,
    act.SetMplsLabel: _write_mpls("mpls_label", "mpls_label", "I", "label"),
    act.SetMplsTc: _write_mpls("mpls_tc", "mpls_tc", "B3x", "tc"),
    act.SetMplsTtl: _named("mpls_ttl", "B3x", "ttl"),
    act.SetTunnel: _write_tunnel,
    act.SetQueue: _named("set_queue", "I", "queue"),
    act.WriteActions: _write_nothing,
}


def _write(actions: tuple[FlowAction, ...], scope: Scope) -> bytes:
    parts = []
    for action in actions:
        writer = _WRITERS.get(type(action))
        data = writer(action, scope) if writer is not None else None
        if data is None:
            nicira = NICIRA_WRITERS.get(type(action))
            if nicira is None:
                what = f"{type(action).__name__} is no action of OpenFlow 1.{scope.version - 1}"
                raise OpenFlowError("bad_action.bad_type", what)
            data = nicira(action, scope)
        parts.append(data)
    return b"".join(parts)


_SCOPES = {version: Scope(version, _read, _write) for version in VERSIONS}


def new_scope(version: int, protocol: int = 0) -> Scope:
    """Of the outermost actions."""
    return Scope(version, _read, _write, 0, protocol) if protocol else _SCOPES[version]


# hot: once per flow-mod
def decode_actions(data: bytes, version: int) -> tuple[FlowAction, ...]:
    """The actions that `data` is, all of it. OpenFlowError: bad_action.*"""
    return _read(data, _SCOPES[version])


def encode_actions(actions: tuple[FlowAction, ...], version: int, *, protocol: int = 0) -> bytes:
    """As bytes. `protocol`: the IP protocol of the flow, which decides what "the port" is from OpenFlow 1.2 on.
    OpenFlowError: an action that the version cannot say."""
    return _write(actions, new_scope(version, protocol))
