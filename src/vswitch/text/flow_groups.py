"""Groups as ovs-ofctl writes them: `group_id=1,type=select,bucket=weight:5,actions=output:1`.

Properties of the group come first; then its buckets, each from `bucket=` to the next or to the end. In a bucket, its
properties come first and what is not one begins its actions, with `actions=` before them or not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from vswitch.base.errors import ConfigError, TextError
from vswitch.fields.openflow import OPENFLOW_FIELDS, FlowField
from vswitch.messages.flows import ALL_GROUPS, ANY_GROUP, ANY_PORT, Bucket, GroupCommand, GroupMod, GroupType
from vswitch.messages.stats import GroupDescription, GroupStats
from vswitch.text.flow import format_duration
from vswitch.text.flow_actions import read_flow_actions
from vswitch.text.flow_actions_format import format_flow_actions
from vswitch.text.flow_values import FIELDS_BY_WORD, field_word, format_value, read_value
from vswitch.text.flow_words import Context, Item, check_length, fail, format_port, items, read_bounded, read_port
from vswitch.text.values import Names, Numbers

__all__ = [
    "ALL_BUCKETS",
    "FIRST_BUCKET",
    "LAST_BUCKET",
    "format_group",
    "format_group_mod",
    "format_group_stats",
    "parse_group",
    "parse_group_id",
    "read_group",
]

MAX_GROUP = 0xFFFFFF00
FIRST_BUCKET, LAST_BUCKET, ALL_BUCKETS = 0xFFFFFFFD, 0xFFFFFFFE, 0xFFFFFFFF
_BUCKET_WORDS = {"first": FIRST_BUCKET, "last": LAST_BUCKET, "all": ALL_BUCKETS}
_NAMES_OF_BUCKETS = {number: word for word, number in _BUCKET_WORDS.items()}
_TYPES = {
    "all": GroupType.ALL,
    "select": GroupType.SELECT,
    "indirect": GroupType.INDIRECT,
    "ff": GroupType.FAST_FAILOVER,
    "fast_failover": GroupType.FAST_FAILOVER,
}
_NAMES_OF_TYPES = {GroupType.ALL: "all", GroupType.SELECT: "select", GroupType.INDIRECT: "indirect"} | {
    GroupType.FAST_FAILOVER: "ff"
}
GROUP_COMMANDS = {
    "add": GroupCommand.ADD,
    "modify": GroupCommand.MODIFY,
    "add_or_mod": GroupCommand.ADD_OR_MODIFY,
    "delete": GroupCommand.DELETE,
    "insert_bucket": GroupCommand.INSERT_BUCKET,
    "remove_bucket": GroupCommand.REMOVE_BUCKET,
}
"""Words that a line of a file may begin with."""
_WHOLE = (GroupCommand.ADD, GroupCommand.MODIFY, GroupCommand.ADD_OR_MODIFY)
"""Commands that say all of a group."""
_BUCKET_COMMANDS = (GroupCommand.INSERT_BUCKET, GroupCommand.REMOVE_BUCKET)

_BUCKET = re.compile(r"(?<![^\s,])buckets?\s*=")
_BUCKET_NUMBERS = {
    "weight": ("weight", 0xFFFF),
    "bucket_id": ("id", MAX_GROUP),
    "watch_group": ("watch_group", MAX_GROUP),
}


def parse_group_id(text: str) -> int:
    """Which group: `group_id=3`, `3` or `all`. ConfigError: it is none."""
    number = text.strip().removeprefix("group_id=").removeprefix("group_id:")
    return ALL_GROUPS if number.lower() == "all" else read_bounded("group_id", number, MAX_GROUP)


def parse_group(
    text: str,
    command: GroupCommand = GroupCommand.ADD,
    *,
    ports: Numbers = None,
    tables: Mapping[str, int] | None = None,
) -> GroupMod:
    """The change of a group that `text` writes, as ovs-ofctl's add-group, mod-group, del-groups, insert-buckets and
    remove-buckets read it. TextError shows where it goes wrong."""
    return read_group(text, 0, command, Context.of(ports, tables))


def read_group(text: str, start: int, command: GroupCommand, context: Context) -> GroupMod:
    """As `parse_group`, of what begins at `start`."""
    check_length(text)
    found = list(_BUCKET.finditer(text, start))
    stop = found[0].start() if found else len(text)
    members = _read_properties(text, start, stop, command)
    if found and command in (GroupCommand.DELETE, GroupCommand.REMOVE_BUCKET):
        fail("this command takes no buckets", text, stop)
    kind = members.get("type", GroupType.ALL)
    ends = ([each.start() for each in found[1:]] + [len(text)])[: len(found)]
    buckets = tuple(_read_bucket(text, each.end(), end, kind, context) for each, end in zip(found, ends, strict=True))
    if kind is GroupType.INDIRECT and len(buckets) > 1:
        fail(f"an indirect group has one bucket, not {len(buckets)}", text, found[1].start())
    return GroupMod(command, buckets=buckets, **members)


def _read_properties(text: str, start: int, stop: int, command: GroupCommand) -> dict[str, Any]:
    members: dict[str, Any] = {}
    places: dict[str, int] = {}
    for item in items(text, start, stop):
        places[item.key] = item.key_at
        _read_property(text, item, members)
    if "id" not in members:
        if command is not GroupCommand.DELETE:
            fail("the group has no group_id", text, start)
        members["id"] = ALL_GROUPS
    if command in _WHOLE and "type" not in members:
        fail(f"the group has no type ({', '.join(_TYPES)})", text, start)
    if command not in _WHOLE:
        for word in ("type", "selection_method", "selection_method_param", "fields"):
            if word in places:
                fail(f"{word} has no meaning for this command", text, places[word])
    _check_bucket_id(text, start, command, members, places)
    if members.get("selection_param") and not members.get("selection"):
        fail("selection_method_param needs selection_method", text, places["selection_method_param"])
    if members.get("fields") and members.get("selection") != "hash":
        fail("fields need selection_method=hash", text, places["fields"])
    if members.get("selection") and members["type"] is not GroupType.SELECT:
        fail("selection_method is for groups of type select", text, places["selection_method"])
    return members


def _check_bucket_id(
    text: str, start: int, command: GroupCommand, members: dict[str, Any], places: dict[str, int]
) -> None:
    if command not in _BUCKET_COMMANDS:
        if "bucket_id" in members:
            fail("command_bucket_id has no meaning for this command", text, places["command_bucket_id"])
    elif command is GroupCommand.INSERT_BUCKET:
        if "bucket_id" not in members:
            fail("where do the buckets go? command_bucket_id is missing", text, start)
        if members["bucket_id"] == ALL_BUCKETS:
            fail("buckets go before one of them, first or last", text, places["command_bucket_id"])


def _read_property(text: str, item: Item, members: dict[str, Any]) -> None:
    """Takes one property of a group in."""
    value = text[item.start : item.stop].strip()
    key = item.key
    if key == "fields":
        members["fields"] = tuple(_read_fields(text, item))
        return
    known = ("group_id", "type", "command_bucket_id", "selection_method", "selection_method_param")
    if key not in known:
        fail(f"a group has {', '.join(known)}, fields, bucket=, and nothing called {key!r}", text, item.key_at)
    if not value:
        fail(f"{key} has no value, as {key}=VALUE", text, item.key_at)
    try:
        if key == "group_id":
            members["id"] = parse_group_id(value)
        elif key == "type":
            members["type"] = _among("type", value, _TYPES)
        elif key == "command_bucket_id":
            words = _BUCKET_WORDS
            members["bucket_id"] = words[value] if value in words else read_bounded(key, value, MAX_GROUP)
        elif key == "selection_method":
            if not 0 < len(value) < 16:
                raise ConfigError(f"selection_method {value!r} has more than 15 characters")
            members["selection"] = value
        else:
            members["selection_param"] = read_bounded(key, value, (1 << 64) - 1)
    except TextError:
        raise
    except ConfigError as error:
        raise TextError(str(error), text, item.start) from None


def _among(what: str, word: str, known: Mapping[str, GroupType]) -> GroupType:
    if word not in known:
        raise ConfigError(f"{what} {word!r} is none of {', '.join(known)}")
    return known[word]


def _read_fields(text: str, item: Item) -> Iterator[tuple[str, int]]:
    """Fields that are hashed: `fields(ip_src,ip_dst=255.255.255.0)`, `fields=ip_src`."""
    for each in items(text, item.start, item.stop, 1):
        field = FIELDS_BY_WORD.get(each.key)
        if field is None:
            fail(f"no field is called {each.key!r}", text, each.key_at)
        mask_text = text[each.start : each.stop]
        try:
            mask = read_value(field, mask_text)[0] if mask_text else field.max
        except ConfigError as error:
            raise TextError(str(error), text, each.start) from None
        if mask not in (0, field.max) and not field.maskable:
            fail(f"{each.key} is hashed as a whole, without a mask", text, each.start)
        yield field.name, mask


def _read_bucket(text: str, start: int, stop: int, kind: GroupType, context: Context) -> Bucket:
    """The bucket from `start`: its properties, then actions."""
    members: dict[str, Any] = {"weight": 1} if kind is GroupType.SELECT else {}
    actions_at = actions_stop = None
    for item in items(text, start, stop):
        number = _BUCKET_NUMBERS.get(item.key)
        value = text[item.start : item.stop]
        try:
            if number is not None:
                parameter, most = number
                members[parameter] = read_bounded(item.key, value, most)
            elif item.key == "watch_port":
                members["watch_port"] = read_port(value, context.ports, "watch_port")
            else:
                nested = item.sign == "("
                is_word = item.key in ("actions", "action")
                actions_at = item.start if is_word else item.key_at
                actions_stop = item.stop if is_word and nested else stop
                break
        except ConfigError as error:
            raise TextError(str(error), text, item.start) from None
        if item.key == "weight" and members["weight"] and kind is not GroupType.SELECT:
            fail("only buckets of select groups have a weight", text, item.key_at)
    if actions_at is None or actions_stop is None:
        fail("the bucket has no actions", text, start)
    if kind is GroupType.FAST_FAILOVER and "watch_port" not in members and "watch_group" not in members:
        fail("a bucket of a fast failover group needs watch_port or watch_group", text, start)
    return Bucket(read_flow_actions(text, actions_at, actions_stop, context), **members)


# ---- writing


def format_group(group: GroupDescription | GroupMod, names: Names = None, tables: Names = None) -> str:
    """A group as dump-groups prints it."""
    parts = [f"group_id={group.id}", f"type={_NAMES_OF_TYPES[group.type]}"]
    parts += _selection(group.selection, group.selection_param, group.fields)
    parts += [_format_bucket(bucket, group.type, names, tables) for bucket in group.buckets]
    return ",".join(parts)


def _selection(selection: str, param: int, fields: tuple[tuple[str, int], ...]) -> list[str]:
    if not selection:
        return []
    parts = [f"selection_method={selection}"]
    if param:
        parts.append(f"selection_method_param={param}")
    if fields:
        hashed = [(OPENFLOW_FIELDS[name], mask) for name, mask in fields]
        if len(hashed) == 1 and hashed[0][1] == hashed[0][0].max:
            parts.append(f"fields={field_word(hashed[0][0])}")
        else:
            hashed.sort(key=lambda pair: _ORDER.get(pair[0].name, 0))
            parts.append(f"fields({','.join(_format_field(field, mask) for field, mask in hashed)})")
    return parts


def _format_field(field: FlowField, mask: int) -> str:
    return field_word(field) if mask == field.max else f"{field_word(field)}={format_value(field, mask, field.max)}"


def _field_order() -> dict[str, int]:
    """Where a field stands among those that are hashed: the pipeline's first, then by header."""
    order = [name for name in OPENFLOW_FIELDS if name.startswith(("reg", "xreg", "xxreg"))]
    headers = [name for name in OPENFLOW_FIELDS if name not in order]
    front = ("dp_hash", "recirc_id", "conj_id", "metadata", "in_port", "skb_mark")
    middle = ["eth_src", "eth_dst", "eth_type", "vlan_tci", "vlan_vid", "vlan_pcp"]
    network = ["ipv4_src", "ipv4_dst", "ipv6_src", "ipv6_dst", "ipv6_label", "ip_proto", "ip_tos", "ip_dscp"]
    before = [name for name in headers if name.startswith(("tun_", "ct_", "actset", "packet_"))]
    mpls = [name for name in headers if name.startswith("mpls_")]
    known = [*front[:3], *before, *front[3:], *order, *middle, *mpls, *network]
    return {name: place for place, name in enumerate([*known, *(name for name in headers if name not in known)])}


_ORDER = _field_order()


def _format_bucket(bucket: Bucket, kind: GroupType, names: Names, tables: Names) -> str:
    parts = []
    if bucket.id is not None:
        parts.append(f"bucket_id:{bucket.id}")
    if bucket.weight != (1 if kind is GroupType.SELECT else 0):
        parts.append(f"weight:{bucket.weight}")
    if bucket.watch_port != ANY_PORT:
        parts.append(f"watch_port:{format_port(bucket.watch_port, names)}")
    if bucket.watch_group != ANY_GROUP:
        parts.append(f"watch_group:{bucket.watch_group}")
    parts.append(f"actions={format_flow_actions(bucket.actions, names, tables)}")
    return f"bucket={','.join(parts)}"


_VERBS = {
    GroupCommand.ADD: "ADD",
    GroupCommand.MODIFY: "MOD",
    GroupCommand.ADD_OR_MODIFY: "ADD_OR_MOD",
    GroupCommand.DELETE: "DEL",
    GroupCommand.INSERT_BUCKET: "INSERT_BUCKET",
    GroupCommand.REMOVE_BUCKET: "REMOVE_BUCKET",
}


def format_group_mod(mod: GroupMod, names: Names = None, tables: Names = None) -> str:
    """A change of a group as ofp-print shows it, behind the name of the message."""
    if mod.command not in _BUCKET_COMMANDS:
        return f"{_VERBS[mod.command]} {format_group(mod, names, tables)}"
    where = _NAMES_OF_BUCKETS.get(mod.bucket_id, str(mod.bucket_id))
    buckets = [_format_bucket(bucket, mod.type, names, tables) for bucket in mod.buckets]
    parts = [f"command_bucket_id:{where}", f"group_id={mod.id}", *buckets]
    return f"{_VERBS[mod.command]} {','.join(parts)}"


_NOT_KEPT = (1 << 64) - 1
"""A counter that is none."""


def format_group_stats(stats: GroupStats, *, duration: bool = True) -> str:
    """What a group has counted, as dump-group-stats prints it. `duration`: OpenFlow 1.3 and later have it."""
    parts = [f"group_id={stats.id}"]
    if duration:
        parts.append(f"duration={format_duration(stats.duration_ns)}")
    parts.append(f"ref_count={stats.references},packet_count={stats.packets},byte_count={stats.bytes}")
    for number, bucket in enumerate(stats.buckets):
        if bucket.packets != _NOT_KEPT:
            parts.append(f"bucket{number}:packet_count={bucket.packets},byte_count={bucket.bytes}")
    return ",".join(parts)
