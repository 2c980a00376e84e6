"""Commands that need no switch: they show messages, and what texts become."""

from __future__ import annotations

import struct
import sys
from argparse import Namespace
from collections.abc import Iterable, Sequence
from pathlib import Path

from vswitch.base.errors import ConfigError, VswitchError
from vswitch.cli.arguments import UsageError
from vswitch.cli.ofctl.flows import warn
from vswitch.cli.ofctl.options import FORMATS, formats_of, versions_of
from vswitch.cli.ofctl.printing import format_bytes
from vswitch.messages.base import Message
from vswitch.messages.flows import ALL_TABLES, FlowCommand, FlowMod, GroupCommand, GroupMod
from vswitch.openflow.codec import encode, encode_message
from vswitch.openflow.wire import Dialect
from vswitch.text.flow import parse_flow
from vswitch.text.flow_files import parse_flows
from vswitch.text.flow_groups import parse_group
from vswitch.text.openflow_names import VERSIONS

__all__ = ["ofp_parse", "ofp_print", "parse_flow_command", "parse_flows_command", "parse_group_command"]

_HEADER = struct.Struct("!BBHI")
_VERBOSITY = 2


def ofp_print(arguments: Namespace) -> None:
    """The message that these hexadecimal digits are."""
    try:
        data = bytes.fromhex(arguments.message)
    except ValueError:
        raise UsageError("the message is not hexadecimal") from None
    verbosity = _VERBOSITY if arguments.verbosity is None else arguments.verbosity
    sys.stdout.write(format_bytes(data, verbosity))


def ofp_parse(arguments: Namespace) -> None:
    """The messages of a file, one behind the other as on a connection."""
    data = sys.stdin.buffer.read() if arguments.file == "-" else Path(arguments.file).read_bytes()
    at = 0
    while at < len(data):
        if len(data) - at < _HEADER.size:
            raise ConfigError(f"{arguments.file}: {len(data) - at} bytes at the end are no message")
        length = _HEADER.unpack_from(data, at)[2]
        if length < _HEADER.size or at + length > len(data):
            raise ConfigError(f"{arguments.file}: the message at byte {at} has {length} bytes, "
                              f"{len(data) - at} are there")  # fmt: skip
        sys.stdout.write(format_bytes(data[at : at + length], _VERBOSITY + arguments.more))
        at += length


# ---- texts


def parse_flow_command(arguments: Namespace) -> None:
    """What a flow becomes, and which formats can say it."""
    _show(arguments, [parse_flow(arguments.flow, FlowCommand.ADD, warn=warn)])


def parse_flows_command(arguments: Namespace) -> None:
    """What the flows of a file become, and which formats can say them all."""
    from vswitch.cli.ofctl.common import texts

    _show(arguments, list(parse_flows(texts(arguments.file), FlowCommand.ADD, warn=warn)))


def _show(arguments: Namespace, mods: Sequence[FlowMod]) -> None:
    usable = [name for name in FORMATS if _can_say(name, mods)]
    print(f"usable protocols: {_protocols(usable)}")
    allowed = formats_of(arguments)
    versions = versions_of(arguments) if arguments.protocols else frozenset(FORMATS[name] for name in allowed)
    chosen = [name for name in usable if name in allowed and FORMATS[name] in versions]
    if not chosen:
        raise ConfigError("no format of flows that can say this is among those allowed (see -O and -F)")
    print(f"chosen protocol: {chosen[0]}")
    dialect = _dialect(chosen[0])
    for number, mod in enumerate(mods, 1):
        data = encode_message(_for(chosen[0], mod), dialect, number)
        sys.stdout.write(format_bytes(data, 1 + arguments.more))


def _dialect(name: str) -> Dialect:
    return Dialect(FORMATS[name], table_id=name.endswith("+table_id"), nxm=name.startswith("NXM"))


def _for(name: str, mod: FlowMod) -> FlowMod:
    from dataclasses import replace

    if mod.table is not None:
        return mod
    return replace(mod, table=ALL_TABLES if name.endswith("+table_id") else 0) if FORMATS[name] > 1 else mod


def _can_say(name: str, mods: Iterable[FlowMod]) -> bool:
    """Whether the format has what the flows have: by trying."""
    dialect = _dialect(name)
    for mod in mods:
        if name.endswith("-table_id") and mod.table not in (None, ALL_TABLES):
            return False
        try:
            data = encode_message(_for(name, mod), dialect, 0)
        except (VswitchError, struct.error):
            return False
        if name.startswith("OpenFlow10") and data[1] == 4:  # it took Nicira's message
            return False
    return True


_GROUPS = {
    "OpenFlow10": ("OpenFlow10-table_id", "OpenFlow10+table_id"),
    "NXM": ("NXM-table_id", "NXM+table_id"),
    "OXM": ("OXM-OpenFlow12", "OXM-OpenFlow13", "OXM-OpenFlow14", "OXM-OpenFlow15"),
}


def _protocols(names: Sequence[str]) -> str:
    """Their names, with one for those that belong together."""
    if len(names) == len(FORMATS):
        return "any"
    left, words = list(names), []
    for word, members in _GROUPS.items():
        if all(member in left for member in members):
            words.append(word)
            left = [name for name in left if name not in members]
    return ",".join([*words, *left]) or "none"


def parse_group_command(arguments: Namespace) -> None:
    """What a group becomes."""
    mod = parse_group(arguments.group, GroupCommand.ADD)
    version = min(versions_of(arguments))
    print(f"chosen version: {VERSIONS[version]}")
    sys.stdout.write(format_bytes(_encoded(mod, version), 1 + arguments.more))


def _encoded(mod: Message, version: int) -> bytes:
    assert isinstance(mod, GroupMod)
    return encode(mod, version, 1)
