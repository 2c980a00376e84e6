"""Nicira's actions, which Open vSwitch takes in every version of OpenFlow: type 0xffff, vendor 0x2320, a subtype.

What stands behind the ten bytes of header is in `ROWS` by subtype for reading, and in `WRITERS` by class for writing.
The numbers are facts of the protocol (ovs-actions(7) tells what each does).
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import Any

from vswitch.messages import actions as act
from vswitch.messages.actions import HASH_FIELDS, FlowAction
from vswitch.messages.errors import OpenFlowError
from vswitch.messages.match import SubField
from vswitch.openflow.action_parts import (
    Row,
    Scope,
    decode_sub_field,
    encode_sub_field,
    nicira,
    pack_span,
    plain,
    span,
    word_at,
    writable,
)
from vswitch.openflow.learn import LEARN_BYTES, decode_learn, encode_learn
from vswitch.openflow.nested_actions import (
    decode_clone,
    decode_ct,
    decode_decap,
    decode_encap,
    decode_nat,
    encode_clone,
    encode_ct,
    encode_decap,
    encode_encap,
    encode_nat,
)
from vswitch.openflow.oxm import decode_field, decode_header, encode_field, encode_header
from vswitch.openflow.wire import check_port, pad8, port_from_16, port_to_16, properties, property_bytes

__all__ = ["ROWS", "WRITERS", "encode_load"]

_IN_PORT_16, _IN_PORT = 0xFFF8, 0xFFFFFFF8
_NONE_16 = 0xFFFF
_ALGORITHMS = ("modulo_n", "hash_threshold", "hrw", "iter_hash")
_CHOICES = ("active_backup", "hrw")
_DIRECTIONS = ("", "ingress", "egress")
_NXM_IN_PORT = 0x00000002

_H, _I, _Q = Struct("!H"), Struct("!I"), Struct("!Q")
_RESUBMIT = Struct("!HB3x")
_MOVE = Struct("!HHH")
_LOAD = Struct("!HIQ")
_MULTIPATH = Struct("!HH2xHHI2xHI")
_BUNDLE = Struct("!HHHIHHI4x")
_OUTPUT_REG = Struct("!HIH6x")
_OUTPUT_REG2 = Struct("!HH")
_CONTROLLER = Struct("!HHBx")
_WRITE_METADATA = Struct("!6xQQ")
_SAMPLE = Struct("!HIII")
_SAMPLE2 = Struct("!HIIIHB5x")
_CONJUNCTION = Struct("!BBI")
_TRUNCATE = Struct("!HI")
_LARGER = Struct("!HH")
_WIDE_TUNNEL = Struct("!6xQ")
_TUNNEL = Struct("!2xI")


# ---- output


def _resubmit(body: bytes, _scope: Scope) -> FlowAction:
    port, _ = _RESUBMIT.unpack_from(body)
    return act.Resubmit(None if port == _IN_PORT_16 else port_from_16(port))


def _resubmit_table(body: bytes, _scope: Scope, ct: bool = False) -> FlowAction:
    port, table = _RESUBMIT.unpack_from(body)
    return act.Resubmit(None if port == _IN_PORT_16 else port_from_16(port), table, ct)


def _write_resubmit(action: act.Resubmit, _scope: Scope) -> bytes:
    port = _IN_PORT_16 if action.in_port is None else port_to_16(action.in_port)
    subtype = 44 if action.ct else 1 if action.table == 255 else 14
    return nicira(subtype, _RESUBMIT.pack(port, action.table if subtype != 1 else 0))


def _output_reg(body: bytes, _scope: Scope) -> FlowAction:
    bits, _, max_len = _OUTPUT_REG.unpack_from(body)
    source, _ = decode_sub_field(body, 2, *span(bits))
    return act.OutputReg(source, max_len)


def _output_reg2(body: bytes, _scope: Scope) -> FlowAction:
    bits, max_len = _OUTPUT_REG2.unpack_from(body)
    source, _ = decode_sub_field(body, 4, *span(bits))
    return act.OutputReg(source, max_len)


def _write_output_reg(action: act.OutputReg, scope: Scope) -> bytes:
    header = encode_sub_field(action.source, scope.version)
    bits = pack_span(action.source)
    if len(header) == 4:
        return nicira(15, _OUTPUT_REG.pack(bits, int.from_bytes(header, "big"), action.max_len))
    return nicira(32, _OUTPUT_REG2.pack(bits, action.max_len) + header)


def _truncate(body: bytes, _scope: Scope) -> FlowAction:
    port, length = _TRUNCATE.unpack_from(body)
    if length < 14:  # an Ethernet header is the least that leaves
        raise OpenFlowError("bad_action.bad_argument", f"output of {length} bytes, where 14 are the least")
    return act.Output(check_port(port_from_16(port)), 0, length)


def _controller(body: bytes, _scope: Scope) -> FlowAction:
    max_len, controller_id, reason = _CONTROLLER.unpack_from(body)
    return act.Controller(max_len, controller_id, reason)


_CONTROLLER_PROPERTIES: dict[int, tuple[str, int]] = {
    0: ("max_len", 2), 1: ("controller_id", 2), 2: ("reason", 1), 5: ("meter", 4),
}  # fmt: skip


def _controller2(body: bytes, _scope: Scope) -> FlowAction:
    members: dict[str, Any] = {}
    for kind, value in properties(body[6:]):
        if kind == 3:
            members["userdata"] = bytes(value)
        elif kind == 4:
            members["pause"] = True
        elif kind in _CONTROLLER_PROPERTIES:
            name, size = _CONTROLLER_PROPERTIES[kind]
            if len(value) != size:
                raise OpenFlowError("bad_property.bad_len", f"{name} of {len(value)} bytes, where it takes {size}")
            members[name] = int.from_bytes(value, "big")
        else:
            raise OpenFlowError("bad_property.bad_type", f"controller2 has no property {kind}")
    return act.Controller(**members)


def _write_controller(action: act.Controller, _scope: Scope) -> bytes:
    if not action.userdata and not action.pause and action.meter is None:
        return nicira(20, _CONTROLLER.pack(action.max_len, action.controller_id, action.reason))
    parts = [bytes(6)]
    for kind, (name, size) in list(_CONTROLLER_PROPERTIES.items())[:3]:
        value = getattr(action, name)
        if value != {"max_len": 0xFFFF, "controller_id": 0, "reason": 1}[name]:
            parts.append(property_bytes(kind, value.to_bytes(size, "big")))
    if action.userdata:
        parts.append(property_bytes(3, action.userdata))
    if action.pause:
        parts.append(property_bytes(4, b""))
    if action.meter is not None:
        parts.append(property_bytes(5, action.meter.to_bytes(4, "big")))
    return nicira(37, b"".join(parts))


def _bundle(body: bytes, _scope: Scope, load: bool = False) -> FlowAction:
    algorithm, fields, basis, kind, count, bits, header = _BUNDLE.unpack_from(body)
    if kind != _NXM_IN_PORT:
        raise OpenFlowError("bad_action.bad_argument", f"members of a bundle of kind {kind:#010x} are not known")
    if len(body) < _BUNDLE.size + 2 * count:
        raise OpenFlowError("bad_action.bad_len", f"a bundle of {count} members in {len(body) + 10} bytes")
    destination = None
    if load:
        destination = writable(decode_sub_field(body, 14, *span(bits))[0])
    elif bits or header:
        raise OpenFlowError("nicira.action_must_be_zero", "a bundle that loads nothing names bits of a field")
    members = Struct(f"!{count}H").unpack_from(body, _BUNDLE.size)
    words = word_at(HASH_FIELDS, fields, "hash of fields"), word_at(_CHOICES, algorithm, "choice of members")
    return act.Bundle(words[0], basis, words[1], tuple(map(port_from_16, members)), destination)


def _write_bundle(action: act.Bundle, scope: Scope) -> bytes:
    target = action.destination
    bits, header = 0, b"\0\0\0\0"
    if target is not None:
        bits, header = pack_span(target), encode_sub_field(target, scope.version)
    fixed = _BUNDLE.pack(
        _CHOICES.index(action.algorithm), HASH_FIELDS.index(action.fields), action.basis, _NXM_IN_PORT,
        len(action.members), bits, int.from_bytes(header[:4], "big"),
    )  # fmt: skip
    members = Struct(f"!{len(action.members)}H").pack(*map(port_to_16, action.members))
    return nicira(12 if target is None else 13, fixed + members)


# ---- fields


def _move(body: bytes, _scope: Scope) -> FlowAction:
    bits, source_start, start = _MOVE.unpack_from(body)
    source, after = decode_sub_field(body, 6, source_start, bits)
    destination, _ = decode_sub_field(body, after, start, bits)
    return act.RegMove(source, writable(destination))


def _write_move(action: act.RegMove, scope: Scope) -> bytes:
    source, target = action.source, action.destination
    headers = encode_sub_field(source, scope.version) + encode_sub_field(target, scope.version)
    return nicira(6, _MOVE.pack(target.bits, source.start, target.start) + headers)


def _load(body: bytes, _scope: Scope) -> FlowAction:
    bits, _, value = _LOAD.unpack_from(body)
    destination = writable(decode_sub_field(body, 2, *span(bits))[0])
    if value >> destination.bits:
        raise OpenFlowError("bad_action.bad_argument", f"load of {value:#x} into {destination.bits} bits")
    return act.RegLoad(destination, value)


def encode_load(destination: SubField, value: int, version: int) -> bytes:
    """Nicira's load. By load2, a field with value and mask, where it has not room for the field's header or value."""
    header = encode_sub_field(destination, version)
    if len(header) == 4 and destination.bits <= 64:
        return nicira(7, _LOAD.pack(pack_span(destination), int.from_bytes(header, "big"), value))
    mask = (1 << destination.bits) - 1 << destination.start
    return nicira(33, encode_field(destination.field, value << destination.start, mask, version))


def _load2(body: bytes, _scope: Scope) -> FlowAction:
    field, value, mask, after = decode_field(body, 0)
    if any(body[after:]) or len(body) - after >= 8:
        raise OpenFlowError("nicira.action_must_be_zero", "bytes behind the field of a load")
    if not field.writable:
        raise OpenFlowError("bad_action.bad_set_argument", f"{field.name} is not to be changed by actions")
    return act.SetField(field, value, mask)


def _stack(body: bytes) -> SubField:
    (start,) = _H.unpack_from(body)
    _, after = decode_header(body, 2)
    (bits,) = _H.unpack_from(body, after)
    return decode_sub_field(body, 2, start, bits)[0]


def _write_stack(subtype: int, part: SubField, scope: Scope) -> bytes:
    body = _H.pack(part.start) + encode_sub_field(part, scope.version) + _H.pack(part.bits)
    return nicira(subtype, body.ljust(14, b"\0"))


def _multipath(body: bytes, _scope: Scope) -> FlowAction:
    fields, basis, algorithm, max_link, argument, bits, _ = _MULTIPATH.unpack_from(body)
    destination = writable(decode_sub_field(body, 18, *span(bits))[0])
    words = word_at(HASH_FIELDS, fields, "hash of fields"), word_at(_ALGORITHMS, algorithm, "reduction of a hash")
    if max_link >> destination.bits:
        raise OpenFlowError("bad_action.bad_argument", f"{max_link + 1} links do not fit {destination.bits} bits")
    return act.Multipath(words[0], basis, words[1], max_link, argument, destination)


def _write_multipath(action: act.Multipath, scope: Scope) -> bytes:
    target = action.destination
    return nicira(10, _MULTIPATH.pack(
        HASH_FIELDS.index(action.fields), action.basis, _ALGORITHMS.index(action.algorithm), action.max_link,
        action.argument, pack_span(target), int.from_bytes(encode_sub_field(target, scope.version), "big"),
    ))  # fmt: skip


def _larger(body: bytes, _scope: Scope) -> FlowAction:
    length, start = _LARGER.unpack_from(body)
    return act.CheckPacketLarger(length, writable(decode_sub_field(body, 4, start, 1)[0]))


def _write_larger(action: act.CheckPacketLarger, scope: Scope) -> bytes:
    body = _LARGER.pack(action.length, action.destination.start) + encode_sub_field(action.destination, scope.version)
    return nicira(49, body.ljust(14, b"\0"))


def _metadata(body: bytes, _scope: Scope) -> FlowAction:
    value, mask = _WRITE_METADATA.unpack_from(body)
    return act.WriteMetadata(value, mask)


def _dec_ttl_ids(body: bytes, _scope: Scope) -> FlowAction:
    (count,) = _H.unpack_from(body)
    if not count or len(body) < 6 + 2 * count:
        raise OpenFlowError("bad_action.bad_len", f"dec_ttl for {count} controllers in {len(body) + 10} bytes")
    return act.DecTtl(Struct(f"!{count}H").unpack_from(body, 6))


def _write_dec_ttl_ids(action: act.DecTtl, _scope: Scope) -> bytes:
    count = len(action.controllers)
    return nicira(21, _H.pack(count) + bytes(4) + Struct(f"!{count}H").pack(*action.controllers))


# ---- the rest


def _conjunction(body: bytes, _scope: Scope) -> FlowAction:
    clause, count, number = _CONJUNCTION.unpack_from(body)
    if not 2 <= count <= 64 or clause >= count:
        raise OpenFlowError("nicira.bad_conjunction", f"clause {clause} of {count}, where 2 to 64 may be")
    return act.Conjunction(number, clause, count)


def _sample(body: bytes, _scope: Scope) -> FlowAction:
    if not _H.unpack_from(body)[0]:
        raise OpenFlowError("bad_action.bad_argument", "a sample with a probability of 0")
    if len(body) < _SAMPLE2.size:
        return act.Sample(*_SAMPLE.unpack_from(body))
    probability, collectors, domain, point, port, direction = _SAMPLE2.unpack_from(body)
    sampling_port = None if port == _NONE_16 else port_from_16(port)
    where = word_at(_DIRECTIONS, direction, "direction")
    return act.Sample(probability, collectors, domain, point, sampling_port, where)


def _write_sample(action: act.Sample, _scope: Scope) -> bytes:
    ids = (action.probability, action.collector_set_id, action.observation_domain_id, action.observation_point_id)
    if action.sampling_port is None and not action.direction:
        return nicira(29, _SAMPLE.pack(*ids))
    port = _NONE_16 if action.sampling_port is None else port_to_16(action.sampling_port)
    return nicira(41 if action.direction else 38, _SAMPLE2.pack(*ids, port, _DIRECTIONS.index(action.direction)))


ROWS: dict[int, Row] = {
    1: Row(_resubmit, 6, 6),
    2: Row(lambda body, _: act.SetTunnel(_TUNNEL.unpack(body)[0]), 6, 6),
    4: Row(lambda body, _: act.SetQueue(_TUNNEL.unpack(body)[0]), 6, 6),
    5: Row(lambda _body, _: act.PopQueue(), 6, 6),
    6: Row(_move, 14, 22),
    7: Row(_load, 14, 14),
    8: Row(lambda body, _: act.Note(bytes(body)), 6),
    9: Row(lambda body, _: act.SetTunnel(_WIDE_TUNNEL.unpack(body)[0], True), 14, 14),
    10: Row(_multipath, 22, 22),
    12: Row(_bundle, 22),
    13: Row(lambda body, scope: _bundle(body, scope, load=True), 22),
    14: Row(_resubmit_table, 6, 6),
    15: Row(_output_reg, 14, 14),
    16: Row(decode_learn, LEARN_BYTES),
    17: Row(lambda _body, _: act.Exit(), 6, 6),
    18: Row(lambda _body, _: act.DecTtl(), 6, 6),
    19: Row(plain(act.FinTimeout, "HH", 6).decode, 6, 6),
    20: Row(_controller, 6, 6),
    21: Row(_dec_ttl_ids, 6),
    22: Row(_metadata, 22, 22),
    23: plain(act.PushMpls, "H4x", 6),
    24: plain(act.PopMpls, "H4x", 6),
    25: plain(act.SetMplsTtl, "B5x", 6),
    26: Row(lambda _body, _: act.DecMplsTtl(), 6, 6),
    27: Row(lambda body, _: act.StackPush(_stack(body)), 14, 14),
    28: Row(lambda body, _: act.StackPop(writable(_stack(body))), 14, 14),
    29: Row(_sample, 14, 14),
    30: plain(act.SetMplsLabel, "2xI", 6),
    31: plain(act.SetMplsTc, "B5x", 6),
    32: Row(_output_reg2, 14, 14),
    33: Row(_load2, 6),
    34: Row(_conjunction, 6, 6),
    35: Row(decode_ct, 14),
    36: Row(decode_nat, 6),
    37: Row(_controller2, 6),
    38: Row(_sample, 22, 22),
    39: Row(_truncate, 6, 6),
    40: plain(act.Group, "2xI", 6),
    41: Row(_sample, 22, 22),
    42: Row(decode_clone, 6),
    43: Row(lambda _body, _: act.CtClear(), 6, 6),
    44: Row(lambda body, scope: _resubmit_table(body, scope, ct=True), 6, 6),
    45: Row(lambda body, scope: decode_learn(body, scope, limited=True), LEARN_BYTES + 8),
    46: Row(decode_encap, 6),
    47: Row(decode_decap, 6, 6),
    49: Row(_larger, 14, 14),
    50: Row(lambda body, _: act.DeleteField(decode_header(body, 0)[0]), 14, 14),
    255: Row(lambda _body, _: act.DebugRecirculate(), 6, 6),
}
"""subtype -> how it is read."""

_SIX = bytes(6)

WRITERS: dict[type[FlowAction], Callable[[Any, Scope], bytes]] = {
    act.Bundle: _write_bundle,
    act.CheckPacketLarger: _write_larger,
    act.Clone: encode_clone,
    act.Conjunction: lambda action, _: nicira(34, _CONJUNCTION.pack(action.clause, action.count, action.id)),
    act.Controller: _write_controller,
    act.Ct: encode_ct,
    act.CtClear: lambda _action, _: nicira(43, _SIX),
    act.DebugRecirculate: lambda _action, _: nicira(255, _SIX),
    act.DecMplsTtl: lambda _action, _: nicira(26, _SIX),
    act.DecTtl: _write_dec_ttl_ids,
    act.Decap: encode_decap,
    act.DeleteField: lambda action, scope: nicira(50, encode_header(action.field, scope.version).ljust(14, b"\0")),
    act.Encap: encode_encap,
    act.Exit: lambda _action, _: nicira(17, _SIX),
    act.FinTimeout: lambda action, _: nicira(19, Struct("!HH2x").pack(action.idle_timeout_s, action.hard_timeout_s)),
    act.Group: lambda action, _: nicira(40, _TUNNEL.pack(action.id)),
    act.Learn: encode_learn,
    act.Multipath: _write_multipath,
    act.Nat: encode_nat,
    act.Note: lambda action, _: nicira(8, pad8(bytes(2) + (action.data or _SIX))[2:]),
    act.Output: lambda action, _: nicira(39, _TRUNCATE.pack(port_to_16(action.port), action.truncate)),
    act.OutputReg: _write_output_reg,
    act.PopMpls: lambda action, _: nicira(24, _H.pack(action.ethertype)),
    act.PopQueue: lambda _action, _: nicira(5, _SIX),
    act.PushMpls: lambda action, _: nicira(23, _H.pack(action.ethertype)),
    act.RegLoad: lambda action, scope: encode_load(action.destination, action.value, scope.version),
    act.RegMove: _write_move,
    act.Resubmit: _write_resubmit,
    act.Sample: _write_sample,
    act.SetField: lambda action, scope: nicira(
        33, encode_field(action.field, action.value, action.mask, scope.version)
    ),
    act.SetMplsLabel: lambda action, _: nicira(30, _TUNNEL.pack(action.label)),
    act.SetMplsTc: lambda action, _: nicira(31, bytes([action.tc])),
    act.SetMplsTtl: lambda action, _: nicira(25, bytes([action.ttl])),
    act.SetQueue: lambda action, _: nicira(4, _TUNNEL.pack(action.queue)),
    act.SetTunnel: lambda action, _: (
        nicira(9, _WIDE_TUNNEL.pack(action.id))
        if action.wide or action.id >> 32
        else nicira(2, _TUNNEL.pack(action.id))
    ),
    act.StackPop: lambda action, scope: _write_stack(28, action.destination, scope),
    act.StackPush: lambda action, scope: _write_stack(27, action.source, scope),
    act.WriteMetadata: lambda action, _: nicira(22, _WRITE_METADATA.pack(action.value, action.mask)),
}
"""class -> how it is written, if OpenFlow's own actions do not have it."""
