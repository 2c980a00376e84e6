"""Flows as ovs-ofctl writes them: `table=1,priority=5,tcp,nw_dst=10.0.0.0/8,actions=output:2`.

One text is a match (`flow_match`), what else a flow has (the tables below), and its actions (`flow_actions`), which are
last and begin with `actions=`. Which words there may be depends on the command: a deletion has no actions and no
timeouts, only a strict one has a priority. What dump-flows prints (duration, n_packets, ...) is read and ignored, so
that its lines can be used to make flows.

Hot: `parse_flow` is called for each line of a file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from vswitch.base.errors import ConfigError, TextError
from vswitch.messages.flows import (
    ALL_TABLES,
    ANY_GROUP,
    ANY_PORT,
    FlowCommand,
    FlowFlags,
    FlowMod,
)
from vswitch.messages.stats import FlowMonitorRequest, FlowStats, FlowStatsRequest
from vswitch.text.flow_action_words import read_table
from vswitch.text.flow_actions import read_flow_actions
from vswitch.text.flow_actions_format import format_flow_actions
from vswitch.text.flow_match import Draft, Warn, format_flow_match
from vswitch.text.flow_words import (
    Context,
    Item,
    check_length,
    fail,
    format_port,
    quote,
    read_bounded,
    read_number,
    read_port,
    remember,
)
from vswitch.text.values import Names, Numbers

__all__ = [
    "format_duration",
    "format_flow",
    "format_flow_mod",
    "format_flow_request",
    "parse_flow",
    "parse_flow_monitor",
    "parse_flow_request",
    "parse_flow_stats",
    "read_flow",
]

_ALL_ONES = (1 << 64) - 1
_ADDS = (FlowCommand.ADD, FlowCommand.MODIFY, FlowCommand.MODIFY_STRICT)
_DELETES = (FlowCommand.DELETE, FlowCommand.DELETE_STRICT)
_STRICT = (FlowCommand.ADD, FlowCommand.MODIFY, FlowCommand.MODIFY_STRICT, FlowCommand.DELETE_STRICT)

FLOW_COMMANDS = {
    "add": FlowCommand.ADD,
    "modify": FlowCommand.MODIFY,
    "modify_strict": FlowCommand.MODIFY_STRICT,
    "delete": FlowCommand.DELETE,
    "delete_strict": FlowCommand.DELETE_STRICT,
}
"""Words that a line of a file may begin with."""

_FLAGS = {
    "send_flow_rem": FlowFlags.SEND_FLOW_REM,
    "check_overlap": FlowFlags.CHECK_OVERLAP,
    "reset_counts": FlowFlags.RESET_COUNTS,
    "no_packet_counts": FlowFlags.NO_PACKET_COUNTS,
    "no_byte_counts": FlowFlags.NO_BYTE_COUNTS,
}
"""In the order in which they are printed."""
_COUNTED = {
    "duration": "duration_ns",
    "n_packets": "packets",
    "n_packet": "packets",
    "n_bytes": "bytes",
    "idle_age": "idle_age_s",
    "hard_age": "hard_age_s",
}
"""Statistics that dump-flows prints -> members of `FlowStats`. Who changes flows ignores them."""
_DURATION = re.compile(r"([0-9]{1,12})(?:\.([0-9]{1,9}))?s?")
_NUMBERS = {
    "priority": ("priority", 0xFFFF, _STRICT),
    "idle_timeout": ("idle_timeout_s", 0xFFFF, _ADDS),
    "hard_timeout": ("hard_timeout_s", 0xFFFF, _ADDS),
    "importance": ("importance", 0xFFFF, (FlowCommand.ADD,)),
}
"""Word -> (member of `FlowMod`, bound, commands that have it)."""

_WATCHES = {"!initial": 1, "!add": 2, "!delete": 4, "!modify": 8, "!actions": 16, "!own": 32}
"""What a monitor is not to tell -> bits of `FlowMonitorRequest.flags`, all of which are set without these words."""

_ACTIONS = re.compile(r"(?<![^\s,])actions?\s*=")


class _Reading:
    """A flow while it is read: what its match is made of, and its members by name."""

    __slots__ = ("command", "context", "counted", "draft", "found", "known", "text")

    def __init__(self, text: str, command: FlowCommand | None, context: Context) -> None:
        self.text = text
        self.command = command
        self.context = context
        self.draft = Draft(text, context)
        self.found: dict[str, Any] = {}
        self.known = context.properties.setdefault(command, {})
        self.counted: list[Item] = []

    def take(self, item: Item) -> None:
        """Takes in an item that does not belong to the match."""
        key = item.key
        number = _NUMBERS.get(key)
        if number is not None:
            parameter, most, commands = number
            if self.command not in commands:
                self.unknown(item)
            self.keep(item, parameter, self.number(item, most))
        elif key in _WORDS:
            _WORDS[key](self, item)
        elif key in _FLAGS:
            if self.command not in _ADDS:
                self.unknown(item)
            self.found["flags"] = self.found.get("flags", 0) | _FLAGS[key]
        elif key in _COUNTED:
            self.value(item)
            self.counted.append(item)
        else:
            self.unknown(item)

    def keep(self, item: Item, member: str, number: int) -> None:
        """The member has this number, and will have it whenever the item comes again."""
        self.found[member] = number
        remember(self.known, self.text[item.key_at : item.end], (member, number))

    def unknown(self, item: Item) -> None:
        """Raises the TextError for a word that has no place here."""
        known = {*_NUMBERS, *_FLAGS, *_WORDS, *_COUNTED}
        if item.key in known:
            fail(f"{item.key} has no meaning for this command", self.text, item.key_at)
        fail(f"nothing is called {item.key!r}: neither a field nor a property of flows", self.text, item.key_at)

    def value(self, item: Item) -> str:
        text = self.text[item.start : item.stop]
        if not text:
            fail(f"{item.key} has no value, as {item.key}=VALUE", self.text, item.key_at)
        return text

    def number(self, item: Item, most: int) -> int:
        text = self.value(item)
        try:
            return read_bounded(item.key, text, most)
        except ConfigError as error:
            raise TextError(str(error), self.text, item.start) from None

    def read(self, item: Item, parse: Callable[[str], int]) -> int:
        text = self.value(item)
        try:
            return parse(text)
        except ConfigError as error:
            raise TextError(str(error), self.text, item.start) from None


def _read_table(reading: _Reading, item: Item) -> None:
    tables = reading.context.tables
    reading.keep(item, "table", reading.read(item, lambda text: read_table(text, tables, 255)))


def _read_out_port(reading: _Reading, item: Item) -> None:
    if reading.command in _ADDS:
        reading.unknown(item)
    ports = reading.context.ports
    reading.found["out_port"] = reading.read(item, lambda text: read_port(text, ports, "out_port"))


def _read_out_group(reading: _Reading, item: Item) -> None:
    if reading.command in _ADDS:
        reading.unknown(item)
    reading.found["out_group"] = reading.number(item, 0xFFFFFFFF)


def _read_cookie(reading: _Reading, item: Item) -> None:
    """`cookie=VALUE/MASK` chooses flows, `cookie=VALUE` is what they get."""
    value_text, slash, mask_text = reading.value(item).partition("/")
    value = reading.read(item, lambda _: _read_u64("cookie", value_text))
    command = reading.command
    if slash:
        if command is FlowCommand.ADD:
            fail("a flow that is added has no mask of its cookie", reading.text, item.start)
        mask = reading.read(item, lambda _: _read_u64("mask of cookie", mask_text))
        reading.found["cookie"], reading.found["cookie_mask"] = value & mask, mask
    elif command not in _ADDS:
        fail("a cookie chooses flows by value and mask, as cookie=VALUE/-1", reading.text, item.start)
    elif command is FlowCommand.ADD:
        reading.found["cookie"] = value
    else:
        reading.found["new_cookie"] = value


def _read_u64(what: str, text: str) -> int:
    return _ALL_ONES if text == "-1" else read_bounded(what, text, _ALL_ONES)


_WORDS: dict[str, Callable[[_Reading, Item], None]] = {
    "table": _read_table,
    "cookie": _read_cookie,
    "out_port": _read_out_port,
    "out_group": _read_out_group,
}


def parse_flow(
    text: str,
    command: FlowCommand = FlowCommand.ADD,
    *,
    ports: Numbers = None,
    tables: Mapping[str, int] | None = None,
    warn: Warn = None,
) -> FlowMod:
    """The change of flows that `text` writes, as ovs-ofctl's add-flow, mod-flows and del-flows read it.

    `ports`, `tables`: numbers by name. `warn` is told of fields that no packet of the flow has (`nw_dst` without `ip`),
    which are dropped then; without it they are errors. TextError shows where the text goes wrong. The table is None if
    the text names none or 255 (`ALL_TABLES` for a deletion). hot: once a line of a file.
    """
    return read_flow(text, 0, command, Context.of(ports, tables), warn)


def read_flow(text: str, start: int, command: FlowCommand, context: Context, warn: Warn = None) -> FlowMod:
    """As `parse_flow`, of what begins at `start`."""
    return _read_whole(text, start, command, context, warn)[1]


def _read_whole(text: str, start: int, command: FlowCommand, context: Context, warn: Warn) -> tuple[_Reading, FlowMod]:
    """The flow and how it was read. hot: once a flow."""
    check_length(text)
    stop = actions_at = len(text)
    found = _ACTIONS.search(text, start)
    if found is not None:
        stop, actions_at = found.span()
    reading = _Reading(text, command, context)
    reading.draft.read(start, stop, reading.take, reading.known, reading.found)
    members = reading.found
    if command in _DELETES:
        if found is not None:
            fail("flows are deleted without actions", text, stop)
        members.setdefault("table", ALL_TABLES)
    else:
        if found is None:
            fail("the flow has no actions, as actions=output:1 or actions=drop", text, stop)
        members["actions"] = read_flow_actions(text, actions_at, len(text), context)
        if members.get("table", ALL_TABLES) == ALL_TABLES:
            members["table"] = None
    return reading, FlowMod(command, reading.draft.finish(warn), **members)


def parse_flow_stats(
    text: str, *, ports: Numbers = None, tables: Mapping[str, int] | None = None, warn: Warn = None
) -> FlowStats:
    """A flow with what it has counted, as dump-flows prints it. TextError shows where the text goes wrong."""
    context = Context.of(ports, tables)
    reading, mod = _read_whole(text, 0, FlowCommand.ADD, context, warn)
    counted: dict[str, int] = {"duration_ns": 0, "packets": 0, "bytes": 0}
    for item in reading.counted:
        read = _read_duration if item.key == "duration" else read_number
        counted[_COUNTED[item.key]] = reading.read(item, read)
    return FlowStats(
        mod.match,
        mod.actions,
        mod.priority,
        mod.table or 0,
        mod.cookie,
        idle_timeout_s=mod.idle_timeout_s,
        hard_timeout_s=mod.hard_timeout_s,
        flags=mod.flags,
        importance=mod.importance,
        **counted,
    )


def _read_duration(text: str) -> int:
    """Seconds and parts of them, in nanoseconds."""
    found = _DURATION.fullmatch(text)
    if found is None:
        raise ConfigError(f"duration: {text!r} is not seconds, as 1.250s")
    return int(found[1]) * 1_000_000_000 + int((found[2] or "0").ljust(9, "0"))


def parse_flow_monitor(
    text: str,
    number: int,
    *,
    ports: Numbers = None,
    tables: Mapping[str, int] | None = None,
    warn: Warn = None,
) -> FlowMonitorRequest:
    """Which changes of flows to be told of, as `ovs-ofctl monitor SWITCH watch:TEXT` reads it: `!initial,table=3,ip`.
    `number`: the monitor's."""
    context = Context.of(ports, tables)
    reading = _Reading(text, None, context)
    flags = sum(_WATCHES.values())
    check_length(text)

    def take(item: Item) -> None:
        nonlocal flags
        if item.key in _WATCHES:
            flags &= ~_WATCHES[item.key]
        elif item.key == "cookie":
            reading.unknown(item)
        else:
            reading.take(item)

    reading.draft.read(0, len(text), take)
    return FlowMonitorRequest(number, flags, reading.draft.finish(warn), **reading.found)


def parse_flow_request(
    text: str = "",
    kind: str = "flow",
    *,
    ports: Numbers = None,
    tables: Mapping[str, int] | None = None,
    warn: Warn = None,
) -> FlowStatsRequest:
    """Which flows to dump, as ovs-ofctl's dump-flows and dump-aggregate read it."""
    chosen = parse_flow(text, FlowCommand.DELETE, ports=ports, tables=tables, warn=warn)
    table = ALL_TABLES if chosen.table is None else chosen.table
    return FlowStatsRequest(
        kind, chosen.match, table, chosen.out_port, chosen.out_group, chosen.cookie, chosen.cookie_mask
    )


# ---- writing


def format_duration(duration_ns: int) -> str:
    """Seconds, with three digits of their parts where these are enough, else as many as say something, or none."""
    seconds, rest = divmod(duration_ns, 1_000_000_000)
    if not rest:
        return f"{seconds}s"
    if rest % 1_000_000 == 0:
        return f"{seconds}.{rest // 1_000_000:03d}s"
    return f"{seconds}.{rest:09d}".rstrip("0") + "s"


def format_flow(flow: FlowStats, names: Names = None, tables: Names = None, *, stats: bool = True) -> str:
    """A flow as dump-flows prints it. `names`, `tables`: names of ports and tables by number. `stats`: with what it has
    counted, and the like that changes by itself."""
    match = format_flow_match(flow.match, names, priority=None if flow.priority == 0x8000 else flow.priority)
    actions = format_flow_actions(flow.actions, names, tables)
    head = "".join(_head(flow, tables, stats))
    return f" {head}{match}{' ' if match else ''}actions={actions}"


def _head(flow: FlowStats, tables: Names, stats: bool) -> Iterator[str]:
    """What stands before the match."""
    if stats or flow.cookie:
        yield f"cookie={flow.cookie:#x}, "
    if stats:
        yield f"duration={format_duration(flow.duration_ns)}, "
    if stats or flow.table:
        yield f"table={quote(tables[flow.table]) if tables and flow.table in tables else flow.table}, "
    if stats:
        yield f"n_packets={flow.packets}, n_bytes={flow.bytes}, "
    if flow.idle_timeout_s:
        yield f"idle_timeout={flow.idle_timeout_s}, "
    if flow.hard_timeout_s:
        yield f"hard_timeout={flow.hard_timeout_s}, "
    for word, bit in _FLAGS.items() if flow.flags else ():
        if flow.flags & bit:
            yield f"{word} "
    if flow.importance:
        yield f"importance={flow.importance}, "
    if stats and flow.idle_age_s is not None:
        yield f"idle_age={flow.idle_age_s}, "
    if stats and flow.hard_age_s is not None and flow.hard_age_s != flow.duration_ns // 1_000_000_000:
        yield f"hard_age={flow.hard_age_s}, "


_VERBS = {
    FlowCommand.ADD: "ADD",
    FlowCommand.MODIFY: "MOD",
    FlowCommand.MODIFY_STRICT: "MOD_STRICT",
    FlowCommand.DELETE: "DEL",
    FlowCommand.DELETE_STRICT: "DEL_STRICT",
}


def format_flow_request(request: FlowStatsRequest, names: Names = None, tables: Names = None) -> str:
    """Which flows are asked for, as ofp-print shows it behind the name of the message."""
    parts = []
    if request.table != ALL_TABLES:
        parts.append(f"table={quote(tables[request.table]) if tables and request.table in tables else request.table}")
    if request.out_port != ANY_PORT:
        parts.append(f"out_port={format_port(request.out_port, names)}")
    match = format_flow_match(request.match, names)
    return " ".join([*parts, match] if match else parts)


def format_flow_mod(mod: FlowMod, names: Names = None, tables: Names = None, *, version: int | None = None) -> str:
    """A change of flows as parse-flow and ofp-print show it, behind the name of the message. `version`: of OpenFlow
    (its wire number), if it came in a message: in 1.0 and 1.1 every addition resets the counts, and none says so."""
    if version is not None and version < 3:
        mod = replace(mod, flags=mod.flags & ~FlowFlags.RESET_COUNTS)
    parts = [_VERBS[mod.command]]
    if mod.table is not None and (mod.table or mod.command in _DELETES):
        table = quote(tables[mod.table]) if tables and mod.table in tables else str(mod.table)
        parts.append(f"table:{table}")
    match = format_flow_match(mod.match, names, priority=None if mod.priority == 0x8000 else mod.priority)
    parts += [match] if match else []
    return " ".join([*parts, *_mod_properties(mod, names, tables)])


def _mod_properties(mod: FlowMod, names: Names, tables: Names) -> list[str]:
    parts = []
    cookie = mod.new_cookie if mod.command is not FlowCommand.ADD else mod.cookie or None
    if cookie is not None and cookie != _ALL_ONES:
        parts.append(f"cookie:{cookie:#x}")
    if mod.cookie_mask:
        parts.append(f"cookie:{mod.cookie:#x}/{mod.cookie_mask:#x}")
    for word, number in (
        ("idle", mod.idle_timeout_s),
        ("hard", mod.hard_timeout_s),
        ("importance", mod.importance),
    ):
        if number:
            parts.append(f"{word}:{number}")
    if mod.buffer_id != 0xFFFFFFFF:
        parts.append(f"buf:{mod.buffer_id:#x}")
    if mod.out_port != ANY_PORT:
        parts.append(f"out_port:{format_port(mod.out_port, names)}")
    if mod.out_group != ANY_GROUP:
        parts.append(f"out_group:{mod.out_group}")
    parts += [word for word, bit in _FLAGS.items() if mod.flags & bit]
    parts.append(f"actions={format_flow_actions(mod.actions, names, tables)}")
    return parts
