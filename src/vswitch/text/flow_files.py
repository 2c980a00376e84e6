"""Files of flows, groups and bundles, and what else their lines can be: packets to send out, maps of tunnel options.

`#` begins a comment. A line of a file of flows may begin with a command (`delete table=3`); a line of a bundle begins
with what it changes (`flow add ...`, `group delete ...`, `packet-out ...`). Errors name the line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

from vswitch.base.errors import ConfigError
from vswitch.fields.openflow import REGISTERS
from vswitch.messages.base import Message
from vswitch.messages.control import TlvMap, TlvTableMod, TlvTableReply
from vswitch.messages.flows import FlowCommand, FlowMod, GroupCommand, GroupMod, PacketOut
from vswitch.messages.match import FlowMatch
from vswitch.text.flow import FLOW_COMMANDS, read_flow
from vswitch.text.flow_action_words import read_bytes
from vswitch.text.flow_actions import read_flow_actions
from vswitch.text.flow_groups import GROUP_COMMANDS, read_group
from vswitch.text.flow_match import Draft, Warn
from vswitch.text.flow_values import FIELDS_BY_WORD
from vswitch.text.flow_words import Context, LineError, check_length, fail, items, read_bounded, read_port, reading
from vswitch.text.values import Numbers

__all__ = [
    "LineError",
    "format_tlv_mod",
    "format_tlv_table",
    "parse_bundle",
    "parse_flows",
    "parse_groups",
    "parse_packet_out",
    "parse_tlv_maps",
]

Command = TypeVar("Command", FlowCommand, GroupCommand)
_FIRST_WORD = re.compile(r"\s*([A-Za-z_-]+)(?=\s|$)")
_ACTIONS = re.compile(r"(?<![^\s,])actions?\s*=")
_TLV = re.compile(r"\{\s*class=([^,\s]+)\s*,\s*type=([^,\s]+)\s*,\s*len=([^,\s}]+)\s*\}->tun_metadata([0-9]{1,4})")


def _lines(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    """The lines that say something, with their numbers; comments are blanked out."""
    for number, line in enumerate(lines, 1):
        text = line.partition("#")[0].rstrip() if "#" in line else line.rstrip()
        if text and not text.isspace():
            yield number, text


def _command(text: str, start: int, known: Mapping[str, Command], default: Command) -> tuple[Command, int]:
    """The command that a text begins with, and where what follows it begins."""
    found = _FIRST_WORD.match(text, start)
    if found is None or found[1] not in known:
        return default, start
    return known[found[1]], found.end()


def parse_flows(
    lines: Iterable[str],
    command: FlowCommand = FlowCommand.ADD,
    *,
    ports: Numbers = None,
    tables: Mapping[str, int] | None = None,
    warn: Warn = None,
) -> Iterator[FlowMod]:
    """The changes that the lines of a file write, one after the other; `command` is that of lines that name none.
    LineError: a line is wrong."""
    context = Context.of(ports, tables)
    for number, text in _lines(lines):
        try:
            own, start = _command(text, 0, FLOW_COMMANDS, command)
            yield read_flow(text, start, own, context, warn)
        except ConfigError as error:
            raise LineError(number, error) from error


def parse_groups(
    lines: Iterable[str],
    command: GroupCommand = GroupCommand.ADD,
    *,
    ports: Numbers = None,
    tables: Mapping[str, int] | None = None,
) -> Iterator[GroupMod]:
    """As `parse_flows`, of groups."""
    context = Context.of(ports, tables)
    for number, text in _lines(lines):
        try:
            own, start = _command(text, 0, GROUP_COMMANDS, command)
            yield read_group(text, start, own, context)
        except ConfigError as error:
            raise LineError(number, error) from error


def parse_bundle(
    lines: Iterable[str],
    *,
    ports: Numbers = None,
    tables: Mapping[str, int] | None = None,
    warn: Warn = None,
) -> Iterator[Message]:
    """The messages that the lines of a bundle's file write. LineError: a line is wrong."""
    context = Context.of(ports, tables)
    for number, text in _lines(lines):
        try:
            yield _parse_bundle_line(text, context, warn)
        except ConfigError as error:
            raise LineError(number, error) from error


def _parse_bundle_line(text: str, context: Context, warn: Warn) -> Message:
    found = _FIRST_WORD.match(text)
    word = found[1] if found else ""
    end = found.end() if found else 0
    if word == "flow":
        flow_command, start = _command(text, end, FLOW_COMMANDS, FlowCommand.ADD)
        return read_flow(text, start, flow_command, context, warn)
    if word == "group":
        group_command, start = _command(text, end, GROUP_COMMANDS, GroupCommand.ADD)
        return read_group(text, start, group_command, context)
    if word != "packet-out":
        fail("a line of a bundle begins with flow, group or packet-out", text, found.start(1) if found else 0)
    return _read_packet_out(text, end, context)


# ---- packets

PIPELINE_FIELDS = frozenset(
    {"in_port", "metadata", "skb_mark", "tun_id", "tun_src", "tun_dst", "tun_ipv6_src", "tun_ipv6_dst", "ct_state",
     "ct_zone", "ct_mark", "ct_label", "packet_type", *(f"reg{number}" for number in range(REGISTERS)),
     *(f"xreg{number}" for number in range(REGISTERS // 2)), *(f"xxreg{number}" for number in range(REGISTERS // 4))}
)  # fmt: skip
"""What a packet has besides its bytes when it is sent out."""


def parse_packet_out(text: str, *, ports: Numbers = None, tables: Mapping[str, int] | None = None) -> PacketOut:
    """A packet and what to do with it: `in_port=1,packet=HEX,actions=output:2`, with fields of the pipeline if they
    are given. TextError shows where it goes wrong."""
    return _read_packet_out(text, 0, Context.of(ports, tables))


def _read_packet_out(text: str, start: int, context: Context) -> PacketOut:
    check_length(text)
    found = _ACTIONS.search(text, start)
    stop = found.start() if found else len(text)
    draft = Draft(text, context)
    frame: bytes | None = None
    with_port = False
    for item in items(text, start, stop):
        value = text[item.start : item.stop]
        if item.key == "packet":
            with reading(text, item.start):
                frame = read_bytes("packet", value)
                if len(frame) < 14:
                    raise ConfigError(f"packet of {len(frame)} bytes is shorter than an Ethernet header, 14")
        elif item.key == "in_port":
            with_port = True
            with reading(text, item.start):
                number = read_port(value, context.ports, "in_port")
            placed = FlowMatch(in_port=number)
            draft.value, draft.mask = draft.value | placed.value, draft.mask | placed.mask
        else:
            field = FIELDS_BY_WORD.get(item.key.partition("[")[0])
            if field is None or field.name not in PIPELINE_FIELDS:
                fail(f"packet-out takes in_port, packet, fields of the pipeline and actions, not {item.key!r}", text,
                     item.key_at)  # fmt: skip
            draft.take(item)
    if frame is None:
        fail("there is no packet, as packet=HEX", text, start)
    if not with_port:
        fail("the packet has no in_port", text, start)
    actions = read_flow_actions(text, found.end(), len(text), context) if found else ()
    return PacketOut(frame, actions, draft.finish())


# ---- tunnel options


def parse_tlv_maps(text: str) -> tuple[TlvMap, ...]:
    """`{class=0xffff,type=0,len=4}->tun_metadata0`, one or more with commas between. TextError shows where it goes
    wrong."""
    check_length(text)
    maps = []
    position = 0
    while position < len(text):
        found = _TLV.match(text, position)
        if found is None:
            fail("a map is written {class=CLASS,type=TYPE,len=BYTES}->tun_metadataN", text, position)
        with reading(text, position):
            number = read_bounded("tun_metadata", found[4], 63)
            length = read_bounded("len", found[3], 124)
            if length % 4:
                raise ConfigError(f"len {length} is not a multiple of 4")
            maps.append(
                TlvMap(read_bounded("class", found[1], 0xFFFF), read_bounded("type", found[2], 0xFF), length, number)
            )
        position = found.end()
        while position < len(text) and text[position] in ", \t\r\n":
            position += 1
    return tuple(maps)


def _hex(number: int, width: int) -> str:
    return f"{f'{number:#x}' if number else '0':>{width}}"


def format_tlv_table(table: TlvTableReply) -> str:
    """Which tunnel options are fields, as dump-tlv-map prints it behind the name of the message."""
    used = sum(each.length for each in table.maps)
    lines = [
        f" max option space={table.space} max fields={table.fields}",
        f" allocated option space={used}",
        "",
        *_tlv_lines(table.maps),
    ]
    return "\n".join(lines)


def format_tlv_mod(mod: TlvTableMod) -> str:
    """A change of the maps as ofp-print shows it, in the lines behind the name of the message."""
    verb = (" ADD", " DEL", " CLEAR")[mod.command]
    lines = _tlv_lines(mod.maps)
    return "\n".join([verb + lines[0], *lines[1:]]) if mod.maps else verb


def _tlv_lines(maps: Iterable[TlvMap]) -> list[str]:
    """The lines of a table of maps."""
    lines = [" mapping table:", "  class  type  length  match field", " ------  ----  ------  --------------"]
    for each in maps:
        head = f" {_hex(each.option_class, 6)}  {_hex(each.option_type, 4)}  {each.length:>6}"
        lines.append(f"{head}  tun_metadata{each.index}")
    return lines
