"""Actions of flows as ovs-ofctl's users write them: `load:5->reg0,output:2,resubmit(,3)`.

An action is a row of `_ACTIONS`: its word, and what reads its value. A word that is none of them is a port. Those with
arguments of their own kind are in `flow_action_calls`. No actions at all are `drop`, or nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from vswitch.base.errors import ConfigError
from vswitch.fields.kinds import OPENFLOW_PORTS
from vswitch.fields.openflow import FlowField
from vswitch.messages.actions import (
    ClearActions,
    Clone,
    CopyTtlIn,
    CopyTtlOut,
    CtClear,
    DebugRecirculate,
    DecMplsTtl,
    DecTtl,
    DeleteField,
    Enqueue,
    Exit,
    FlowAction,
    GotoTable,
    Group,
    Meter,
    ModField,
    ModVlanPcp,
    ModVlanVid,
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
from vswitch.text.flow_action_calls import CALLS
from vswitch.text.flow_action_words import Reader, read_bytes, read_table
from vswitch.text.flow_values import FIELDS_BY_WORD, read_destination, read_mac, read_subfield, read_value
from vswitch.text.flow_words import Context, Item, check_length, items, read_bounded, read_number, read_port, remember
from vswitch.text.values import Numbers

__all__ = ["parse_flow_actions", "read_flow_actions"]

Actions = tuple[FlowAction, ...]
Read = Callable[[Reader, Item], FlowAction]

CONTROLLER = OPENFLOW_PORTS["CONTROLLER"]
IN_PORT = OPENFLOW_PORTS["IN_PORT"]
_ORDER: dict[type[FlowAction], int] = {Meter: 0, ClearActions: 2, WriteActions: 3, WriteMetadata: 4, GotoTable: 5}
"""Instructions, and where they stand among each other; actions that are applied are 1."""
_PLACES = ("meter", "actions", "clear_actions", "write_actions", "write_metadata", "goto_table")


def parse_flow_actions(
    text: str, *, ports: Numbers = None, tables: Mapping[str, int] | None = None
) -> tuple[FlowAction, ...]:
    """The actions that `text` writes, instructions included. `ports`, `tables`: numbers by name. TextError shows where
    it goes wrong."""
    check_length(text)
    return read_flow_actions(text, 0, len(text), Context.of(ports, tables))


def read_flow_actions(text: str, start: int, stop: int, context: Context) -> Actions:
    """The actions from `start` to `stop`. hot: once a flow."""
    written = text[start:stop]
    known = context.actions.get(written)
    if known is None:
        known = _read(Reader(text, context, _nested), start, stop, True)
        remember(context.actions, written, known)
    return known


def _nested(reader: Reader, start: int, stop: int) -> Actions:
    """Actions within an action, among which no instruction may be."""
    reader.depth += 1
    found = _read(reader, start, stop, False)
    reader.depth -= 1
    return found


def _read(reader: Reader, start: int, stop: int, instructions: bool) -> Actions:
    found: list[FlowAction] = []
    drop = None
    last, last_word = -1, ""
    for item in items(reader.text, start, stop, reader.depth):
        if item.key == "drop":
            drop = item
            continue
        action = _read_one(reader, item)
        order = _ORDER.get(type(action), 1)
        if order != 1 or last > 1:
            if not instructions:
                reader.fail(f"{item.key} is an instruction and cannot stand within an action", item.key_at)
            if order < last or (order == last and order != 1):
                problem = f"{item.key} cannot follow {last_word}: the order is {', '.join(_PLACES)}, each once"
                reader.fail(problem, item.key_at)
        last, last_word = order, item.key
        found.append(action)
    if drop is not None and found:
        reader.fail("drop stands alone, without other actions", drop.key_at)
    return tuple(found)


def _read_one(reader: Reader, item: Item) -> FlowAction:
    read = _ACTIONS.get(item.key)
    if item.sign == "(" and item.end != item.stop + 1 and item.key != "check_pkt_larger":
        reader.fail(f"{item.key} has no destination", item.stop + 1)
    if read is not None:
        return read(reader, item)
    lower = item.key.lower()
    read = _ACTIONS.get(lower)
    if read is not None and lower in _ANY_CASE:
        return read(reader, item)
    if item.sign:
        reader.fail(f"no action is called {item.key!r}", item.key_at)
    with reader.at(item.key_at):
        try:
            return _output(read_port(item.key, reader.context.ports))
        except ConfigError:
            raise ConfigError(f"{item.key!r} is neither an action nor a port") from None


def _output(port: int) -> Output:
    return Output(port, 0xFFFF if port == CONTROLLER else 0)


# ---- output


def _read_output(reader: Reader, item: Item) -> FlowAction:
    if item.sign == "(":
        return _read_truncate(reader, item)
    text = reader.value(item)
    if text.isdigit() or reader.context.ports is not None:
        with reader.at(item.start):
            try:
                return _output(read_port(text, reader.context.ports))
            except ConfigError:
                if text.isdigit():
                    raise
    word = text.partition("[")[0]
    if word in FIELDS_BY_WORD and text.lower() not in _PORTS:
        return OutputReg(reader.subfield(item))
    return _output(reader.port(item))


def _read_truncate(reader: Reader, item: Item) -> FlowAction:
    known = {"port": reader.port, "max_len": lambda each: reader.number(each, 0xFFFFFFFF, 14)}
    found = reader.named(item, known, "output")
    for name in known:
        if name not in found:
            reader.fail(f"output(port=PORT,max_len=BYTES) needs {name}", item.key_at)
    port, length = found["port"], found["max_len"]
    assert isinstance(port, int)
    assert isinstance(length, int)
    if port >= 0xFFFFFF00 and port not in (OPENFLOW_PORTS["LOCAL"], IN_PORT):
        reader.fail(f"output to that reserved port ({port:#x}) cannot be cut to max_len", item.start)
    return Output(port, 0, length)


def _read_enqueue(reader: Reader, item: Item) -> FlowAction:
    parts = reader.value(item).replace(",", ":").split(":")
    if len(parts) != 2:
        reader.fail("enqueue is written enqueue:PORT:QUEUE", item.start)
    with reader.at(item.start):
        port = read_port(parts[0].strip(), reader.context.ports, "enqueue")
        return Enqueue(port, read_bounded("queue", parts[1].strip(), 0xFFFFFFFF))


def _read_resubmit(reader: Reader, item: Item) -> FlowAction:
    parts = [part.strip() for part in reader.value(item).split(",")]
    if len(parts) > 3 or (len(parts) == 3 and parts[2] != "ct"):
        reader.fail("resubmit is written resubmit(PORT,TABLE,ct), each of which may be left out", item.start)
    with reader.at(item.start):
        port = read_port(parts[0], reader.context.ports, "resubmit") if parts[0] else IN_PORT
        table = read_table(parts[1], reader.context.tables, 255) if len(parts) > 1 and parts[1] else 255
    if port == IN_PORT and table == 255:
        reader.fail("resubmit needs a port or a table", item.start)
    return Resubmit(None if port == IN_PORT else port, table, len(parts) == 3)


# ---- fields


def _field(reader: Reader, word: str, position: int) -> FlowField:
    field = FIELDS_BY_WORD.get(word.removesuffix("[]"))
    if field is None:
        reader.fail(f"no field is called {word!r}", position)
    return field


def _read_set_field(reader: Reader, item: Item) -> FlowAction:
    text, start, word, word_at = reader.arrow(item)
    field = _field(reader, word, word_at)
    if not field.writable:
        reader.fail(f"{word} can only be read", word_at)
    with reader.at(start):
        if not text:
            raise ConfigError(f"set_field of {word} has no value")
        value, mask = _read_bits(field, text, reader.context.ports)
    return SetField(field, value, mask)


def _read_bits(field: FlowField, text: str, ports: Numbers) -> tuple[int, int]:
    """(value, mask) to be set. Bits of a port can be, though none matches them."""
    value, slash, mask = text.partition("/")
    if slash and field.view.kind.name == "ofport":
        bits = read_bounded("mask", mask, field.max)
        return read_bounded(field.name, value, field.max) & bits, bits
    return read_value(field, text, ports)


def _read_load(reader: Reader, item: Item) -> FlowAction:
    text, start, word, word_at = reader.arrow(item)
    with reader.at(word_at):
        destination = read_destination(word)
    with reader.at(start):
        return RegLoad(destination, read_bounded("load", text, (1 << destination.bits) - 1))


def _read_move(reader: Reader, item: Item) -> FlowAction:
    text, start, word, word_at = reader.arrow(item)
    with reader.at(start):
        source = read_subfield(text)
    with reader.at(word_at):
        destination = read_destination(word)
        if source.bits != destination.bits:
            raise ConfigError(f"move of {source.bits} bits ({text}) to {destination.bits} bits ({word})")
    return RegMove(source, destination)


def _read_tos(reader: Reader, item: Item) -> FlowAction:
    value = reader.number(item, 0xFF)
    if value & 3:
        reader.fail(f"mod_nw_tos {value} is not a multiple of 4", item.start)
    return ModField("ip_tos", value)


def _read_mac(field: str) -> Read:
    return lambda reader, item: ModField(field, reader.read(item, read_mac))


def _read_address(field: str) -> Read:
    known = FIELDS_BY_WORD[field]
    return lambda reader, item: ModField(field, reader.read(item, lambda text: known.view.parse(text)))


def _read_metadata(reader: Reader, item: Item) -> FlowAction:
    return WriteMetadata(*reader.read(item, lambda text: read_value(FIELDS_BY_WORD["metadata"], text)))


def _read_delete_field(reader: Reader, item: Item) -> FlowAction:
    return DeleteField(_field(reader, reader.value(item), item.start))


def _read_tunnel(wide: bool) -> Read:
    def read(reader: Reader, item: Item) -> FlowAction:
        value = reader.number(item, (1 << 64) - 1)
        return SetTunnel(value, wide or value > 0xFFFFFFFF)

    return read


def _read_note(reader: Reader, item: Item) -> FlowAction:
    with reader.at(item.start):
        return Note(read_bytes("note", reader.text[item.start : item.stop]))


def _read_push_vlan(reader: Reader, item: Item) -> FlowAction:
    return PushVlan(_one_of(reader, item, (0x8100, 0x88A8)))


def _read_push_mpls(reader: Reader, item: Item) -> FlowAction:
    return PushMpls(_one_of(reader, item, (0x8847, 0x8848)))


def _one_of(reader: Reader, item: Item, allowed: tuple[int, ...]) -> int:
    value = reader.read(item, read_number)
    if value not in allowed:
        reader.fail(f"{item.key} {value:#x} is none of {', '.join(f'{each:#x}' for each in allowed)}", item.start)
    return value


def _read_dec_ttl(reader: Reader, item: Item) -> FlowAction:
    ids = tuple(_number_word(reader, each, 0xFFFF) for each in reader.arguments(item))
    return DecTtl(ids) if ids else DecTtl()


def _number_word(reader: Reader, item: Item, most: int) -> int:
    with reader.at(item.key_at):
        return read_bounded("id", item.key, most)


def _read_group(reader: Reader, item: Item) -> FlowAction:
    return Group(reader.number(item, 0xFFFFFFFF))


def _number(build: Callable[[int], FlowAction], most: int, least: int = 0) -> Read:
    return lambda reader, item: build(reader.number(item, most, least))


def _plain(action: FlowAction) -> Read:
    return lambda _reader, _item: action


def _inside(build: Callable[[Actions], FlowAction]) -> Read:
    return lambda reader, item: build(reader.nested(reader, item.start, item.stop))


_PORTS = {"in_port", "table", "normal", "flood", "all", "local"}
_ANY_CASE = {*_PORTS, "controller"}
"""Words that are read in any case, since they are printed in capitals."""

_ACTIONS: dict[str, Read] = {
    **CALLS,
    **{word: _plain(_output(OPENFLOW_PORTS[word.upper()])) for word in _PORTS},
    "output": _read_output,
    "enqueue": _read_enqueue,
    "group": _read_group,
    "resubmit": _read_resubmit,
    "set_field": _read_set_field,
    "load": _read_load,
    "move": _read_move,
    "push": lambda reader, item: StackPush(reader.subfield(item)),
    "pop": lambda reader, item: StackPop(reader.subfield(item)),
    "mod_dl_src": _read_mac("eth_src"),
    "mod_dl_dst": _read_mac("eth_dst"),
    "mod_nw_src": _read_address("ipv4_src"),
    "mod_nw_dst": _read_address("ipv4_dst"),
    "mod_nw_tos": _read_tos,
    "mod_nw_ecn": _number(lambda value: ModField("ip_ecn", value), 3),
    "mod_nw_ttl": _number(lambda value: ModField("ip_ttl", value), 0xFF),
    "mod_tp_src": _number(lambda value: ModField("tp_src", value), 0xFFFF),
    "mod_tp_dst": _number(lambda value: ModField("tp_dst", value), 0xFFFF),
    "mod_vlan_vid": _number(ModVlanVid, 0xFFF),
    "mod_vlan_pcp": _number(ModVlanPcp, 7),
    "set_vlan_vid": _number(lambda value: ModVlanVid(value, False), 0xFFF),
    "set_vlan_pcp": _number(lambda value: ModVlanPcp(value, False), 7),
    "strip_vlan": _plain(PopVlan(True)),
    "pop_vlan": _plain(PopVlan()),
    "push_vlan": _read_push_vlan,
    "push_mpls": _read_push_mpls,
    "pop_mpls": _number(PopMpls, 0xFFFF),
    "set_mpls_label": _number(SetMplsLabel, 0xFFFFF),
    "set_mpls_tc": _number(SetMplsTc, 7),
    "set_mpls_ttl": _number(SetMplsTtl, 0xFF),
    "dec_mpls_ttl": _plain(DecMplsTtl()),
    "dec_ttl": _read_dec_ttl,
    "copy_ttl_out": _plain(CopyTtlOut()),
    "copy_ttl_in": _plain(CopyTtlIn()),
    "push_pbb": _number(PushPbb, 0xFFFF),
    "pop_pbb": _plain(PopPbb()),
    "set_tunnel": _read_tunnel(False),
    "set_tunnel64": _read_tunnel(True),
    "set_queue": _number(SetQueue, 0xFFFFFFFF),
    "pop_queue": _plain(PopQueue()),
    "delete_field": _read_delete_field,
    "note": _read_note,
    "exit": _plain(Exit()),
    "ct_clear": _plain(CtClear()),
    "clone": _inside(Clone),
    "meter": _number(Meter, 0xFFFFFFFF, 1),
    "clear_actions": _plain(ClearActions()),
    "write_actions": _inside(WriteActions),
    "write_metadata": _read_metadata,
    "goto_table": lambda reader, item: GotoTable(reader.table(item)),
    "debug_recirc": _plain(DebugRecirculate()),
}
