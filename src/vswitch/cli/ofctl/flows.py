"""Commands that look at flows and change them.

Texts are read before anything is sent: a file with a wrong line changes nothing. What is sent goes out without waiting
for each answer; with `--bundle` the switch does all of it or nothing.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TypeVar

from vswitch.base.errors import ConfigError
from vswitch.cli.ofctl.common import Session, changing, entries, print_answers, session, texts
from vswitch.cli.ofctl.sending import change, prepare_flows, use_nxm
from vswitch.messages.flows import ALL_TABLES, FlowCommand, FlowMod
from vswitch.messages.stats import FlowStats, FlowStatsRequest
from vswitch.text.flow import format_flow, parse_flow, parse_flow_request
from vswitch.text.flow_files import parse_flows

__all__ = [
    "add_flow", "add_flows", "del_flows", "diff_flows", "dump_aggregate", "dump_flows", "mod_flows", "replace_flows",
    "warn",
]  # fmt: skip

_OPENFLOW_1_5 = 6
Numbers = Mapping[str, int] | None
T = TypeVar("T")


def warn(error: ConfigError) -> None:
    """Says what was read and is dropped, as no packet of the flow has it."""
    print(f"vswitch: {error}", file=sys.stderr)


# ---- changing


def add_flow(arguments: Namespace) -> None:
    """Adds a flow, or those that the standard input lists."""
    _change(arguments, FlowCommand.ADD, arguments.flow)


def add_flows(arguments: Namespace) -> None:
    """Adds, changes and deletes what a file lists."""
    with changing(arguments) as found:
        change(found, prepare_flows(found, _read_file(found, arguments.file, FlowCommand.ADD)))


def mod_flows(arguments: Namespace) -> None:
    """Gives flows other actions."""
    command = FlowCommand.MODIFY_STRICT if arguments.strict else FlowCommand.MODIFY
    _change(arguments, command, arguments.flow)


def del_flows(arguments: Namespace) -> None:
    """Deletes flows."""
    command = FlowCommand.DELETE_STRICT if arguments.strict else FlowCommand.DELETE
    _change(arguments, command, arguments.flow or "")


def _change(arguments: Namespace, command: FlowCommand, text: str) -> None:
    with changing(arguments) as found:
        if text == "-":
            mods = _read_file(found, "-", command)
        else:
            mods = [found.read(lambda ports, tables: parse_flow(text, command, ports=ports, tables=tables, warn=warn))]
        change(found, prepare_flows(found, mods))


def _read_file(found: Session, name: str, command: FlowCommand) -> list[FlowMod]:
    lines = texts(name)

    def parse(ports: Numbers, tables: Numbers) -> list[FlowMod]:
        return list(parse_flows(lines, command, ports=ports, tables=tables, warn=warn))

    return found.read(parse, name)


# ---- looking


def _request(found: Session, text: str | None, kind: str) -> FlowStatsRequest:
    request = found.read(
        lambda ports, tables: parse_flow_request(text or "", kind, ports=ports, tables=tables, warn=warn)
    )
    if kind == "flow" and found.switch.version >= _OPENFLOW_1_5:
        request = replace(request, kind="flow_description")  # with actions
    return replace(request, nicira=use_nxm(found))


def dump_aggregate(arguments: Namespace) -> None:
    """What flows have counted together."""
    with session(arguments) as found:
        print_answers(found, found.switch.ask_all(_request(found, arguments.flow, "aggregate")))


def dump_flows(arguments: Namespace) -> None:
    """Flows, as they come, or sorted and with names."""
    with session(arguments) as found:
        request = _request(found, arguments.flow, "flow")
        paint = _painter(arguments)
        if not (arguments.order or arguments.stats is False or found.show_names):
            if paint is None:
                print_answers(found, found.switch.ask_all(request))
            else:
                for data in found.switch.ask_all(request):
                    sys.stdout.write(paint(found.text(data, 1)))
            return
        flows = [each for each in entries(found.switch, request) if isinstance(each, FlowStats)]
        order = arguments.order or ()
        if order:
            flows.sort(key=lambda flow: -flow.priority)  # of those that are alike otherwise
        for criterion, descending in reversed(order):
            flows.sort(key=_sort_key(criterion, descending), reverse=descending)
        stats = arguments.stats is not False
        if found.switch.version < _OPENFLOW_1_5:  # Nicira's ages, which ovs-ofctl shows of unsorted flows alone
            flows = [replace(each, idle_age_s=None, hard_age_s=None) for each in flows]
        for each in flows:
            line = format_flow(each, found.ports, found.tables, stats=stats)
            print(line if paint is None else paint(line))


def _painter(arguments: Namespace) -> Callable[[str], str] | None:
    """What colours the text, if colours are wanted."""
    if arguments.color == "always" or (arguments.color == "auto" and sys.stdout.isatty()):
        from vswitch.cli.ofctl.colors import paint

        return paint
    return None


def _sort_key(criterion: str, descending: bool) -> Callable[[FlowStats], tuple[bool, int]]:
    """Flows that say nothing of the field come last, whichever the order."""
    if criterion == "priority":
        return lambda flow: (False, flow.priority)
    from vswitch.text.flow_values import FIELDS_BY_WORD

    field = FIELDS_BY_WORD.get(criterion)
    if field is None:
        raise ConfigError(f"flows cannot be sorted by {criterion!r}: it is neither priority nor a field")
    name = field.name

    def key(flow: FlowStats) -> tuple[bool, int]:
        value, mask = flow.match.take(name)
        return (mask == 0) != descending, value

    return key


# ---- comparing

Key = tuple[int, int, int, int]
"""Table, priority, and value and mask of the match: no two flows of a switch share it."""


def _key(flow: FlowStats | FlowMod) -> Key:
    table = 0 if flow.table in (None, ALL_TABLES) else flow.table
    return table or 0, flow.priority, flow.match.value, flow.match.mask


def _of_switch(found: Session) -> dict[Key, FlowStats]:
    request = _request(found, None, "flow")
    return {_key(each): each for each in entries(found.switch, request) if isinstance(each, FlowStats)}


def _as_stats(mods: Iterable[FlowMod]) -> dict[Key, FlowStats]:
    found: dict[Key, FlowStats] = {}
    for mod in mods:
        if mod.command is not FlowCommand.ADD:
            raise ConfigError(f"flows are replaced and compared as they are: a file may not {mod.command.name.lower()}")
        found[_key(mod)] = FlowStats(
            mod.match, mod.actions, mod.priority, mod.table or 0, mod.cookie, 0, 0, 0, mod.idle_timeout_s,
            mod.hard_timeout_s, mod.flags, mod.importance,
        )  # fmt: skip
    return found


def _differ(one: FlowStats, other: FlowStats) -> bool:
    """Whether one is to be made of the other. Flags are not all told by all versions."""
    alike = ("cookie", "idle_timeout_s", "hard_timeout_s", "importance")
    if any(getattr(one, name) != getattr(other, name) for name in alike):
        return True
    return one.actions != other.actions and _written(one) != _written(other)


def _written(flow: FlowStats) -> str:
    from vswitch.text.flow_actions_format import format_flow_actions

    return format_flow_actions(flow.actions)


def replace_flows(arguments: Namespace) -> None:
    """Makes the flows of a switch those of a file."""
    with changing(arguments) as found:
        wanted = _as_stats(_read_file(found, arguments.file, FlowCommand.ADD))
        there = _of_switch(found)
        mods = list(_replacing(there, wanted, arguments.readd))
        change(found, prepare_flows(found, mods))


def _replacing(there: dict[Key, FlowStats], wanted: dict[Key, FlowStats], readd: bool) -> Iterator[FlowMod]:
    for key, flow in there.items():
        if key not in wanted:
            yield FlowMod(FlowCommand.DELETE_STRICT, flow.match, priority=flow.priority, table=flow.table)
    for key, flow in wanted.items():
        old = there.get(key)
        if readd or old is None or _differ(old, flow):
            yield FlowMod(
                FlowCommand.ADD, flow.match, flow.actions, flow.priority, flow.table, flow.cookie, 0,
                flow.idle_timeout_s, flow.hard_timeout_s, flow.flags, flow.importance,
            )  # fmt: skip


def diff_flows(arguments: Namespace) -> None:
    """Says how the flows of two sources differ; the exit status is 2 if they do."""
    first, second = (_source(arguments, name) for name in (arguments.source1, arguments.source2))
    differ = False
    for key in sorted({*first, *second}, key=_order):
        old, new = first.get(key), second.get(key)
        if old is not None and new is not None and not _differ(old, new):
            continue
        differ = True
        for sign, flow in (("-", old), ("+", new)):
            if flow is not None:
                print(f"{sign}{_line(flow)}")
    if differ:
        raise SystemExit(2)


def _order(key: Key) -> tuple[int, int, int, int]:
    table, priority, value, mask = key
    return table, -priority, mask, value


def _line(flow: FlowStats) -> str:
    """A flow as diff-flows writes it."""
    from vswitch.text.flow_match import format_flow_match

    priority = None if flow.priority == 0x8000 else flow.priority
    text = f"table={flow.table} " if flow.table else ""
    text += format_flow_match(flow.match, priority=priority)
    for word, value in (
        ("cookie", f"{flow.cookie:#x}" if flow.cookie else ""), ("idle_timeout", flow.idle_timeout_s),
        ("hard_timeout", flow.hard_timeout_s), ("importance", flow.importance),
    ):  # fmt: skip
        if value:
            text += f" {word}={value}"
    return f"{text} actions={_written(flow)}"


def _source(arguments: Namespace, name: str) -> dict[Key, FlowStats]:
    """The flows of a file or a switch: what begins with / or . is a file, what has a colon a switch, else a file if
    there is one."""
    from pathlib import Path

    is_file = name == "-" or name[:1] in ("/", ".") or (":" not in name and Path(name).is_file())
    if is_file:
        return _as_stats(parse_flows(texts(name), FlowCommand.ADD, warn=warn))
    arguments.switch = name
    with session(arguments) as found:
        return _of_switch(found)
