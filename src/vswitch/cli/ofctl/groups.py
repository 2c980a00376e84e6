"""Commands that change groups and meters, and those that send bundles of changes."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterable, Mapping

from vswitch.base.errors import ConfigError
from vswitch.cli.ofctl.common import Session, changing, texts
from vswitch.cli.ofctl.flows import warn
from vswitch.cli.ofctl.sending import change, prepare_flows, prepare_groups
from vswitch.messages.base import Message
from vswitch.messages.flows import FlowMod, GroupCommand, GroupMod, MeterCommand, MeterMod
from vswitch.text.flow_files import parse_bundle, parse_groups
from vswitch.text.flow_groups import parse_group
from vswitch.text.flow_meters import parse_meter

__all__ = [
    "add_group", "add_groups", "add_meter", "bundle", "del_groups", "del_meters", "insert_buckets", "mod_group",
    "mod_meter", "remove_buckets",
]  # fmt: skip

Numbers = Mapping[str, int] | None
_ALL_GROUPS, _ALL_METERS = "group_id=all", "meter=all"


def add_group(arguments: Namespace) -> None:
    """Makes a group."""
    _change(arguments, GroupCommand.ADD, arguments.group)


def add_groups(arguments: Namespace) -> None:
    """Makes the groups of a file."""
    with changing(arguments) as found:
        change(found, prepare_groups(found, _read_file(found, arguments.file, GroupCommand.ADD)))


def mod_group(arguments: Namespace) -> None:
    """Makes a group another one."""
    command = GroupCommand.ADD_OR_MODIFY if arguments.may_create else GroupCommand.MODIFY
    _change(arguments, command, arguments.group)


def del_groups(arguments: Namespace) -> None:
    """Removes a group, or all."""
    _change(arguments, GroupCommand.DELETE, arguments.group or _ALL_GROUPS)


def insert_buckets(arguments: Namespace) -> None:
    """Puts buckets into a group."""
    _change(arguments, GroupCommand.INSERT_BUCKET, arguments.group)


def remove_buckets(arguments: Namespace) -> None:
    """Takes buckets out of a group."""
    _change(arguments, GroupCommand.REMOVE_BUCKET, arguments.group)


def _change(arguments: Namespace, command: GroupCommand, text: str) -> None:
    with changing(arguments) as found:
        if text == "-":
            mods = _read_file(found, "-", command)
        else:
            mods = [found.read(lambda ports, tables: parse_group(text, command, ports=ports, tables=tables))]
        change(found, prepare_groups(found, mods))


def _read_file(found: Session, name: str, command: GroupCommand) -> list[GroupMod]:
    lines = texts(name)

    def parse(ports: Numbers, tables: Numbers) -> list[GroupMod]:
        return list(parse_groups(lines, command, ports=ports, tables=tables))

    return found.read(parse, name)


def bundle(arguments: Namespace) -> None:
    """Sends what a file lists, flows, groups and packets, as one change."""
    arguments.bundle = True
    lines = texts(arguments.file)

    def parse(ports: Numbers, tables: Numbers) -> list[Message]:
        return list(parse_bundle(lines, ports=ports, tables=tables, warn=warn))

    with changing(arguments, least=4) as found:
        read = found.read(parse, arguments.file)
        change(found, [message for each in read for message in _prepared(found, each)])


def _prepared(found: Session, message: Message) -> Iterable[Message]:
    if isinstance(message, FlowMod):
        return prepare_flows(found, [message])
    return prepare_groups(found, [message]) if isinstance(message, GroupMod) else [message]


# ---- meters


def add_meter(arguments: Namespace) -> None:
    """Makes a meter."""
    _change_meter(arguments, parse_meter(arguments.meter, MeterCommand.ADD))


def mod_meter(arguments: Namespace) -> None:
    """Makes a meter another one."""
    _change_meter(arguments, parse_meter(arguments.meter, MeterCommand.MODIFY))


def del_meters(arguments: Namespace) -> None:
    """Removes a meter, or all."""
    _change_meter(arguments, parse_meter(arguments.meter or _ALL_METERS, MeterCommand.DELETE))


def _change_meter(arguments: Namespace, mod: MeterMod) -> None:
    with changing(arguments) as found:
        if found.switch.version < 4:
            raise ConfigError(f"meters need OpenFlow 1.3 or later, 1.{found.switch.version - 1} was agreed on (see -O)")
        change(found, [mod])
