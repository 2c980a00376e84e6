"""Actions of flows as ovs-ofctl prints them. Each kind is a row of `_FORMS`: what makes a text of it.

Invariant: what is written here, `flow_actions` reads as the same action, but for a `Controller` that says no more than
an output to the controllers, which is written as that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from vswitch.fields.kinds import KINDS, OPENFLOW_PORTS
from vswitch.fields.openflow import FlowField
from vswitch.messages.actions import (
    Bundle,
    CheckPacketLarger,
    ClearActions,
    Clone,
    Conjunction,
    Controller,
    CopyTtlIn,
    CopyTtlOut,
    Ct,
    CtClear,
    DebugRecirculate,
    Decap,
    DecMplsTtl,
    DecTtl,
    DeleteField,
    Encap,
    Enqueue,
    Exit,
    FinTimeout,
    FlowAction,
    GotoTable,
    Group,
    Learn,
    LearnSpec,
    Meter,
    ModField,
    ModVlanPcp,
    ModVlanVid,
    Multipath,
    Nat,
    Note,
    Output,
    OutputReg,
    PopMpls,
    PopPbb,
    PopQueue,
    PopVlan,
    PushMpls,
    PushPbb,
    PushVlan,
    RegLoad,
    RegMove,
    Resubmit,
    Sample,
    SetField,
    SetMplsLabel,
    SetMplsTc,
    SetMplsTtl,
    SetQueue,
    SetTunnel,
    StackPop,
    StackPush,
    WriteActions,
    WriteMetadata,
)
from vswitch.text.flow_action_words import HELPERS, PACKET_TYPES, REASONS
from vswitch.text.flow_values import field_word, format_ipv6, format_subfield, format_value, number, subfield_width
from vswitch.text.flow_words import format_port, quote
from vswitch.text.values import Names

__all__ = ["format_flow_actions"]

CONTROLLER = OPENFLOW_PORTS["CONTROLLER"]
_REASONS = {number: word for word, number in REASONS.items()}
_HELPERS = {number: word for word, number in HELPERS.items()}
_PACKET_TYPES = {number: word for word, number in PACKET_TYPES.items()}


def format_flow_actions(actions: Iterable[FlowAction], names: Names = None, tables: Names = None) -> str:
    """The text of actions, "drop" if there are none. `names`, `tables`: names of ports and tables by number."""
    return ",".join([_format(action, names, tables) for action in actions]) or "drop"


def _format(action: FlowAction, names: Names, tables: Names) -> str:
    return _FORMS[type(action)](action, names, tables)


def _table(table: int, tables: Names) -> str:
    return quote(tables[table]) if tables is not None and table in tables else str(table)


# ---- output


def _output(action: Output, names: Names, _tables: Names) -> str:
    if action.truncate:
        return f"output(port={format_port(action.port, names)},max_len={action.truncate})"
    if action.port == CONTROLLER:
        return f"CONTROLLER:{action.max_len}"
    text = format_port(action.port, names)
    return text if action.port >= 0xFFFFFF00 and not text.isdigit() else f"output:{text}"


def _controller(action: Controller, _names: Names, _tables: Names) -> str:
    parts = []
    if action.reason != 1:
        parts.append(f"reason={_REASONS.get(action.reason, str(action.reason))}")
    if action.max_len != 0xFFFF:
        parts.append(f"max_len={action.max_len}")
    if action.controller_id:
        parts.append(f"id={action.controller_id}")
    if action.userdata:
        parts.append(f"userdata={action.userdata.hex('.')}")
    if action.pause:
        parts.append("pause")
    if action.meter is not None:
        parts.append(f"meter_id={action.meter}")
    if not parts or (len(parts) == 1 and action.max_len != 0xFFFF):
        return f"CONTROLLER:{action.max_len}"
    return f"controller({','.join(parts)})"


def _bundle(action: Bundle, names: Names, _tables: Names) -> str:
    members = ",".join(format_port(port, names) for port in action.members)
    head = f"{action.fields},{action.basis},{action.algorithm},ofport"
    if action.destination is None:
        return f"bundle({head},members:{members})"
    return f"bundle_load({head},{format_subfield(action.destination)},members:{members})"


def _resubmit(action: Resubmit, names: Names, tables: Names) -> str:
    port = "" if action.in_port is None else format_port(action.in_port, names)
    if action.table == 255 and not action.ct:
        return f"resubmit:{port}" if port else "resubmit(,255)"
    table = "" if action.table == 255 else _table(action.table, tables)
    return f"resubmit({port},{table}{',ct' if action.ct else ''})"


# ---- fields


def _literal(field: FlowField, value: int, mask: int, names: Names) -> str:
    """A value as it is set, and its mask if not all of it is."""
    kind = KINDS["decimal"] if field.name == "vlan_vid" else field.view.kind
    if mask != field.max and not kind.prefix_masks and kind.name != "mac":
        shown = number(value) if kind.name == "hexadecimal" else kind.format(value, field.bits)
        return f"{shown}/{number(mask)}"
    if kind.name == "ethertype":
        return number(value)
    if field.name == "vlan_vid":
        return str(value)
    return format_value(field, value, mask, names)


def _set_field(action: SetField, names: Names, _tables: Names) -> str:
    return f"set_field:{_literal(action.field, action.value, action.mask, names)}->{field_word(action.field)}"


_MOD_KINDS = {"eth_src": "mac", "eth_dst": "mac", "ipv4_src": "ipv4", "ipv4_dst": "ipv4"}
_MOD_WORDS = {
    "eth_src": "mod_dl_src", "eth_dst": "mod_dl_dst", "ipv4_src": "mod_nw_src", "ipv4_dst": "mod_nw_dst",
    "ip_tos": "mod_nw_tos", "ip_ecn": "mod_nw_ecn", "ip_ttl": "mod_nw_ttl", "tp_src": "mod_tp_src",
    "tp_dst": "mod_tp_dst",
}  # fmt: skip


def _mod_field(action: ModField, _names: Names, _tables: Names) -> str:
    kind = KINDS[_MOD_KINDS.get(action.field, "decimal")]
    return f"{_MOD_WORDS[action.field]}:{kind.format(action.value, 48)}"


def _write_metadata(action: WriteMetadata, _names: Names, _tables: Names) -> str:
    mask = "" if action.mask == (1 << 64) - 1 else f"/{number(action.mask)}"
    return f"write_metadata:{number(action.value)}{mask}"


def _multipath(action: Multipath, _names: Names, _tables: Names) -> str:
    head = f"{action.fields},{action.basis},{action.algorithm},{action.max_link + 1},{action.argument}"
    return f"multipath({head},{format_subfield(action.destination)})"


def _dec_ttl(action: DecTtl, _names: Names, _tables: Names) -> str:
    return "dec_ttl" if action.controllers == (0,) else f"dec_ttl({','.join(map(str, action.controllers))})"


# ---- learn


def _learn(action: Learn, names: Names, tables: Names) -> str:
    parts = [f"table={_table(action.table, tables)}"]
    for word, value in (
        ("idle_timeout", action.idle_timeout_s),
        ("hard_timeout", action.hard_timeout_s),
        ("fin_idle_timeout", action.fin_idle_timeout_s),
        ("fin_hard_timeout", action.fin_hard_timeout_s),
    ):
        if value:
            parts.append(f"{word}={value}")
    if action.priority != 0x8000:
        parts.append(f"priority={action.priority}")
    if action.send_flow_rem:
        parts.append("send_flow_rem")
    if action.delete_learned:
        parts.append("delete_learned")
    if action.cookie:
        parts.append(f"cookie={action.cookie:#x}")
    if action.limit:
        parts.append(f"limit={action.limit}")
    if action.result is not None:
        parts.append(f"result_dst={format_subfield(action.result)}")
    parts += [_learn_spec(spec, names) for spec in action.specs]
    return f"learn({','.join(parts)})"


def _learn_spec(spec: LearnSpec, names: Names) -> str:
    if spec.kind == "output":
        assert spec.source is not None
        return f"output:{format_subfield(spec.source)}"
    assert spec.destination is not None
    destination = format_subfield(spec.destination)
    if spec.kind == "load":
        return f"load:{number(spec.value) if spec.source is None else format_subfield(spec.source)}->{destination}"
    if spec.source is not None:
        return destination if spec.source == spec.destination else f"{destination}={format_subfield(spec.source)}"
    field = spec.destination.field
    if spec.destination.start == 0 and spec.destination.bits >= subfield_width(field):
        value = spec.value
        if field.name == "in_port" and value in range(0xFF00, 0x10000):
            value |= 0xFFFF0000  # as OpenFlow 1.0 has it
        return f"{field_word(field)}={_literal(field, value, field.max, names)}"
    return f"{destination}={number(spec.value)}"


# ---- connection tracking


def _ct(action: Ct, names: Names, tables: Names) -> str:
    parts = ["commit"] if action.commit else []
    if action.force:
        parts.append("force")
    if action.table is not None:
        parts.append(f"table={_table(action.table, tables)}")
    if not isinstance(action.zone, int):
        parts.append(f"zone={format_subfield(action.zone)}")
    elif action.zone:
        parts.append(f"zone={action.zone}")
    inside = [each for each in action.actions if not isinstance(each, Nat)]
    parts += [_nat(each, names, tables) for each in action.actions if isinstance(each, Nat)]
    if inside:
        parts.append(f"exec({format_flow_actions(inside, names, tables)})")
    if action.alg:
        parts.append(f"alg={_HELPERS.get(action.alg, str(action.alg))}")
    return f"ct({','.join(parts)})"


def _nat(action: Nat, _names: Names, _tables: Names) -> str:
    if not action.kind:
        return "nat"
    text = action.kind
    if action.version:
        text += f"={_range(action)}"
    for word, given in (("persistent", action.persistent), ("hash", action.hash), ("random", action.random)):
        text += f",{word}" if given else ""
    return f"nat({text})"


def _format_ipv4(value: int) -> str:
    return KINDS["ipv4"].format(value, 32)


def _range(action: Nat) -> str:
    address = format_ipv6 if action.version == 6 else _format_ipv4
    form = "[{}]" if action.version == 6 and action.first_port else "{}"
    text = form.format(address(action.first_address))
    if action.last_address:
        text += "-" + form.format(address(action.last_address))
    if action.first_port:
        text += f":{action.first_port}"
        if action.last_port:
            text += f"-{action.last_port}"
    return text


# ---- the rest


def _encap(action: Encap, _names: Names, _tables: Names) -> str:
    word = _PACKET_TYPES.get(action.packet_type, f"{action.packet_type:#x}")
    parts = []
    for _, kind, data in action.properties:
        if kind == 1:
            parts.append(f"md_type={data[0]}")
        else:
            value = f"0x{data[4 : 4 + data[3]].hex()}" if data[3] else "0"
            parts.append(f"tlv(0x{data[0]:02x}{data[1]:02x},{data[2]},{value})")
    return f"encap({word}({','.join(parts)}))" if parts else f"encap({word})"


def _decap(action: Decap, _names: Names, _tables: Names) -> str:
    if action.packet_type is None:
        return "decap()"
    return f"decap(packet_type(ns={action.packet_type >> 16},type={number(action.packet_type & 0xFFFF)}))"


def _sample(action: Sample, names: Names, _tables: Names) -> str:
    text = (
        f"probability={action.probability},collector_set_id={action.collector_set_id},"
        f"obs_domain_id={action.observation_domain_id},obs_point_id={action.observation_point_id}"
    )
    if action.sampling_port is not None:
        text += f",sampling_port={format_port(action.sampling_port, names)}"
    return f"sample({text}{',' if action.direction else ''}{action.direction})"


def _fin_timeout(action: FinTimeout, _names: Names, _tables: Names) -> str:
    parts = [f"idle_timeout={action.idle_timeout_s}"] if action.idle_timeout_s else []
    parts += [f"hard_timeout={action.hard_timeout_s}"] if action.hard_timeout_s else []
    return f"fin_timeout({','.join(parts)})"


Form = Callable[[Any, Names, Names], str]


def _word(text: str) -> Form:
    return lambda _action, _names, _tables: text


def _form(text: Callable[[Any], str]) -> Form:
    return lambda action, _names, _tables: text(action)


def _inside(word: str) -> Form:
    return lambda action, names, tables: f"{word}({format_flow_actions(action.actions, names, tables)})"


_FORMS: dict[type[FlowAction], Form] = {
    Output: _output,
    OutputReg: _form(lambda action: f"output:{format_subfield(action.source)}"),
    Enqueue: lambda action, names, _tables: f"enqueue:{format_port(action.port, names)}:{action.queue}",
    Controller: _controller,
    Group: _form(lambda action: f"group:{action.id}"),
    Bundle: _bundle,
    SetField: _set_field,
    RegLoad: _form(lambda action: f"load:{number(action.value)}->{format_subfield(action.destination)}"),
    RegMove: _form(lambda action: f"move:{format_subfield(action.source)}->{format_subfield(action.destination)}"),
    ModField: _mod_field,
    ModVlanVid: _form(lambda action: f"{'mod' if action.push else 'set'}_vlan_vid:{action.vid}"),
    ModVlanPcp: _form(lambda action: f"{'mod' if action.push else 'set'}_vlan_pcp:{action.pcp}"),
    PopVlan: _form(lambda action: "strip_vlan" if action.strip else "pop_vlan"),
    PushVlan: _form(lambda action: f"push_vlan:0x{action.ethertype:04x}"),
    PushMpls: _form(lambda action: f"push_mpls:0x{action.ethertype:04x}"),
    PopMpls: _form(lambda action: f"pop_mpls:0x{action.ethertype:04x}"),
    PushPbb: _form(lambda action: f"push_pbb:0x{action.ethertype:04x}"),
    PopPbb: _word("pop_pbb"),
    SetMplsLabel: _form(lambda action: f"set_mpls_label({action.label})"),
    SetMplsTc: _form(lambda action: f"set_mpls_tc({action.tc})"),
    SetMplsTtl: _form(lambda action: f"set_mpls_ttl({action.ttl})"),
    DecMplsTtl: _word("dec_mpls_ttl"),
    DecTtl: _dec_ttl,
    CopyTtlOut: _word("copy_ttl_out"),
    CopyTtlIn: _word("copy_ttl_in"),
    SetTunnel: _form(lambda action: f"set_tunnel{'64' if action.wide else ''}:{number(action.id)}"),
    SetQueue: _form(lambda action: f"set_queue:{action.queue}"),
    PopQueue: _word("pop_queue"),
    StackPush: _form(lambda action: f"push:{format_subfield(action.source)}"),
    StackPop: _form(lambda action: f"pop:{format_subfield(action.destination)}"),
    DeleteField: _form(lambda action: f"delete_field:{field_word(action.field)}"),
    CheckPacketLarger: _form(
        lambda action: f"check_pkt_larger({action.length})->{format_subfield(action.destination)}"
    ),
    Resubmit: _resubmit,
    GotoTable: lambda action, _names, tables: f"goto_table:{_table(action.table, tables)}",
    WriteActions: _inside("write_actions"),
    ClearActions: _word("clear_actions"),
    WriteMetadata: _write_metadata,
    Meter: _form(lambda action: f"meter:{action.id}"),
    Clone: _inside("clone"),
    Exit: _word("exit"),
    Conjunction: _form(lambda action: f"conjunction({action.id},{action.clause + 1}/{action.count})"),
    Multipath: _multipath,
    Learn: _learn,
    FinTimeout: _fin_timeout,
    Sample: _sample,
    Note: _form(lambda action: f"note:{action.data.hex('.')}" if action.data else "note:"),
    Nat: _nat,
    Ct: _ct,
    CtClear: _word("ct_clear"),
    Encap: _encap,
    Decap: _decap,
    DebugRecirculate: _word("debug_recirc"),
}
