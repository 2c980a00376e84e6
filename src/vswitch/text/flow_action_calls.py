"""Actions with arguments of their own kind: controller, bundle, multipath, learn, ct, encap, sample and the like."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from vswitch.base.errors import ConfigError
from vswitch.fields.kinds import OPENFLOW_PORTS
from vswitch.messages.actions import (
    HASH_FIELDS,
    Bundle,
    CheckPacketLarger,
    Conjunction,
    Controller,
    Ct,
    Decap,
    Encap,
    FinTimeout,
    FlowAction,
    Learn,
    LearnSpec,
    Multipath,
    Nat,
    Output,
    RegLoad,
    Sample,
    SetField,
)
from vswitch.messages.match import SubField
from vswitch.text.flow_action_words import (
    BUNDLE_ALGORITHMS,
    HELPERS,
    MULTIPATH_ALGORITHMS,
    PACKET_TYPES,
    REASONS,
    Reader,
    read_bytes,
)
from vswitch.text.flow_values import FIELDS_BY_WORD, read_destination, read_subfield, read_value, subfield_width
from vswitch.text.flow_words import Item, read_bounded, read_port

__all__ = ["CALLS"]

Read = Callable[[Reader, Item], FlowAction]
CONTROLLER = OPENFLOW_PORTS["CONTROLLER"]
_FLAG = True


def _flag(_item: Item) -> object:
    return _FLAG


def _word(reader: Reader, what: str, known: dict[str, int]) -> Callable[[Item], int]:
    """Reads one of some words."""

    def read(item: Item) -> int:
        word = reader.value(item)
        if word not in known:
            reader.fail(f"{what} {word!r} is none of {', '.join(known)}", item.start)
        return known[word]

    return read


def _read_controller(reader: Reader, item: Item) -> FlowAction:
    text = reader.text[item.start : item.stop].strip()
    if text.isdigit():
        return Output(CONTROLLER, reader.number(item, 0xFFFF))
    found: dict[str, Any] = reader.named(
        item,
        {
            "max_len": lambda each: reader.number(each, 0xFFFF),
            "id": lambda each: reader.number(each, 0xFFFF),
            "reason": _word(reader, "reason", REASONS),
            "userdata": lambda each: reader.read(each, lambda text: read_bytes("userdata", text)),
            "pause": _flag,
            "meter_id": lambda each: reader.number(each, 0xFFFFFFFF),
        },
        "controller",
    )
    max_len = found.pop("max_len", 0xFFFF)
    if "id" in found:
        found["controller_id"] = found.pop("id")
    if "meter_id" in found:
        found["meter"] = found.pop("meter_id")
    plain = Controller(max_len)
    action = Controller(max_len, **found)
    return Output(CONTROLLER, max_len) if action == plain else action


# ---- choices by a hash


def _read_bundle(reader: Reader, item: Item) -> FlowAction:
    text = reader.value(item)
    before, colon, members = text.partition(":")
    parts = [part.strip() for part in before.replace(" ", ",").split(",") if part.strip()]
    count = 6 if item.key == "bundle_load" else 5
    if not colon or len(parts) != count or parts[-1] not in ("members", "slaves"):
        form = "DESTINATION," if count == 6 else ""
        reader.fail(f"{item.key} is written {item.key}(FIELDS,BASIS,ALGORITHM,ofport,{form}members:PORTS)", item.start)
    with reader.at(item.start):
        fields, basis, algorithm, kind = parts[:4]
        _among("fields", fields, HASH_FIELDS)
        _among("algorithm", algorithm, BUNDLE_ALGORITHMS)
        _among("kind of member", kind, ("ofport",))
        destination = read_destination(parts[4]) if count == 6 else None
        ports = tuple(read_port(word, reader.context.ports, "members") for word in members.replace(",", " ").split())
        return Bundle(fields, read_bounded("basis", basis, 0xFFFF), algorithm, ports, destination)


def _among(what: str, word: str, known: tuple[str, ...]) -> None:
    if word not in known:
        raise ConfigError(f"{what} {word!r} is none of {', '.join(known)}")


def _read_multipath(reader: Reader, item: Item) -> FlowAction:
    parts = reader.value(item).replace(",", " ").split()
    if len(parts) != 6:
        reader.fail("multipath is written multipath(FIELDS,BASIS,ALGORITHM,LINKS,ARGUMENT,DESTINATION)", item.start)
    with reader.at(item.start):
        fields, basis, algorithm, links, argument, destination = parts
        _among("fields", fields, HASH_FIELDS)
        _among("algorithm", algorithm, MULTIPATH_ALGORITHMS)
        into = read_destination(destination)
        count = read_bounded("links", links, 65536, 1)
        if into.bits < 16 and count > 1 << into.bits:
            raise ConfigError(f"links {count} do not fit into the {into.bits} bits of {destination}")
        return Multipath(
            fields,
            read_bounded("basis", basis, 0xFFFF),
            algorithm,
            count - 1,
            read_bounded("argument", argument, 0xFFFFFFFF),
            into,
        )


def _read_conjunction(reader: Reader, item: Item) -> FlowAction:
    parts = reader.value(item).replace(",", " ").replace("/", " / ").split()
    if len(parts) != 4 or parts[2] != "/":
        reader.fail("conjunction is written conjunction(ID,CLAUSE/COUNT)", item.start)
    with reader.at(item.start):
        number, clause, _, count = parts
        total = read_bounded("clauses", count, 64, 2)
        return Conjunction(
            read_bounded("conjunction", number, 0xFFFFFFFF), read_bounded("clause", clause, total, 1) - 1, total
        )


def _read_check_larger(reader: Reader, item: Item) -> FlowAction:
    after = reader.text[item.stop : item.end]
    if item.sign != "(" or not after.startswith(")->"):
        reader.fail("check_pkt_larger is written check_pkt_larger(BYTES)->BIT", item.key_at)
    with reader.at(item.stop + 3):
        destination = read_subfield(after[3:])
        if destination.bits != 1:
            raise ConfigError(f"check_pkt_larger needs one bit, and {after[3:]} is {destination.bits}")
    return CheckPacketLarger(reader.number(item, 0xFFFF), destination)


def _read_fin_timeout(reader: Reader, item: Item) -> FlowAction:
    seconds = {name: lambda each: reader.number(each, 0xFFFF) for name in ("idle_timeout", "hard_timeout")}
    found: dict[str, Any] = reader.named(item, seconds, "fin_timeout")
    return FinTimeout(found.get("idle_timeout", 0), found.get("hard_timeout", 0))


def _read_sample(reader: Reader, item: Item) -> FlowAction:
    found: dict[str, Any] = reader.named(
        item,
        {
            "probability": lambda each: reader.number(each, 0xFFFF, 1),
            "collector_set_id": lambda each: reader.number(each, 0xFFFFFFFF),
            "obs_domain_id": lambda each: reader.number(each, 0xFFFFFFFF),
            "obs_point_id": lambda each: reader.number(each, 0xFFFFFFFF),
            "sampling_port": reader.port,
            "ingress": _flag,
            "egress": _flag,
        },
        "sample",
    )
    if "probability" not in found:
        reader.fail("sample needs probability=1..65535", item.key_at)
    direction = "ingress" if "ingress" in found else "egress" if "egress" in found else ""
    return Sample(
        found["probability"],
        found.get("collector_set_id", 0),
        found.get("obs_domain_id", 0),
        found.get("obs_point_id", 0),
        found.get("sampling_port"),
        direction,
    )


# ---- learn

_LEARN_NUMBERS = {
    "idle_timeout": ("idle_timeout_s", 0xFFFF), "hard_timeout": ("hard_timeout_s", 0xFFFF),
    "fin_idle_timeout": ("fin_idle_timeout_s", 0xFFFF), "fin_hard_timeout": ("fin_hard_timeout_s", 0xFFFF),
    "priority": ("priority", 0xFFFF), "cookie": ("cookie", (1 << 64) - 1), "limit": ("limit", 0xFFFFFFFF),
}  # fmt: skip
"""Argument -> (parameter, bound)."""


def _read_learn(reader: Reader, item: Item) -> FlowAction:
    found: dict[str, Any] = {}
    specs: list[LearnSpec] = []
    for argument in reader.arguments(item):
        key = argument.key
        if key in _LEARN_NUMBERS:
            parameter, most = _LEARN_NUMBERS[key]
            found[parameter] = reader.number(argument, most)
        elif key == "table":
            found["table"] = reader.table(argument)
        elif key in ("send_flow_rem", "delete_learned"):
            found[key] = True
        elif key == "result_dst":
            found["result"] = reader.subfield(argument)
            if found["result"].bits != 1:
                reader.fail("result_dst is more than one bit", argument.start)
        elif key == "load":
            specs.append(_read_learn_load(reader, argument))
        elif key == "output":
            source = reader.subfield(argument)
            specs.append(LearnSpec("output", source.bits, source, 0, None))
        else:
            specs.append(_read_learn_match(reader, argument))
    return Learn(tuple(specs), **found)


def _read_learn_load(reader: Reader, item: Item) -> LearnSpec:
    text, start, word, word_at = reader.arrow(item)
    with reader.at(word_at):
        destination = read_destination(word)
    with reader.at(start):
        if text[:1].isdigit():
            value = read_bounded("load", text, (1 << destination.bits) - 1)
            return LearnSpec("load", destination.bits, None, value, destination)
        source = read_subfield(text)
        _same_width(source, text, destination, word)
        return LearnSpec("load", destination.bits, source, 0, destination)


def _same_width(source: SubField, text: str, destination: SubField, word: str) -> None:
    if source.bits != destination.bits:
        raise ConfigError(f"{text} has {source.bits} bits, and {word} has {destination.bits}")


def _read_learn_match(reader: Reader, item: Item) -> LearnSpec:
    key = item.key
    if key.partition("[")[0] not in FIELDS_BY_WORD:
        reader.fail(f"learn has no argument {key!r}, and no field is called so", item.key_at)
    with reader.at(item.key_at):
        destination = read_subfield(key)
    if not item.sign:
        return LearnSpec("match", destination.bits, destination, 0, destination)
    text = reader.value(item)
    with reader.at(item.start):
        if text.partition("[")[0] in FIELDS_BY_WORD:
            source = read_subfield(text)
            _same_width(source, text, destination, key)
            return LearnSpec("match", destination.bits, source, 0, destination)
        if destination.start == 0 and destination.bits >= subfield_width(destination.field):
            value, mask = read_value(destination.field, text, reader.context.ports)
            if mask != destination.field.max:
                raise ConfigError(f"{key} of learn takes no mask, as {text} has one")
            value &= (1 << destination.bits) - 1
        else:
            value = read_bounded(key, text, (1 << destination.bits) - 1)
        return LearnSpec("match", destination.bits, None, value, destination)


# ---- connection tracking


def _read_ct(reader: Reader, item: Item) -> FlowAction:
    found: dict[str, Any] = {}
    inside: list[FlowAction] = []
    for argument in reader.arguments(item):
        key = argument.key
        if key in ("commit", "force"):
            found[key] = True
        elif key == "zone":
            found["zone"] = _read_zone(reader, argument)
        elif key == "table":
            found["table"] = reader.table(argument)
        elif key == "alg":
            found["alg"] = _word(reader, "alg", HELPERS)(argument)
        elif key == "nat":
            inside.append(_read_nat(reader, argument))
        elif key == "exec":
            actions = reader.nested(reader, argument.start, argument.stop)
            if not all(isinstance(each, SetField | RegLoad) or type(each).__name__ == "RegMove" for each in actions):
                reader.fail("exec of ct takes only what sets fields", argument.start)
            inside += actions
        else:
            reader.fail(f"ct takes commit, force, zone, table, alg, nat and exec, not {key!r}", argument.key_at)
    if found.get("force") and not found.get("commit"):
        reader.fail("force of ct needs commit", item.key_at)
    return Ct(actions=tuple(inside), **found)


def _read_zone(reader: Reader, item: Item) -> int | SubField:
    if reader.value(item)[:1].isdigit():
        return reader.number(item, 0xFFFF)
    zone = reader.subfield(item)
    if zone.bits != 16:
        reader.fail(f"zone of ct is 16 bits of a field, not {zone.bits}", item.start)
    return zone


def _read_nat(reader: Reader, item: Item) -> FlowAction:
    found: dict[str, Any] = {}
    for argument in reader.arguments(item):
        key = argument.key
        if key in ("src", "dst"):
            if "kind" in found:
                reader.fail("nat takes src or dst, and once", argument.key_at)
            found["kind"] = key
            if reader.has_value(argument):
                found |= reader.read(argument, _read_range)
        elif key in ("persistent", "hash", "random"):
            found[key] = True
        else:
            reader.fail(f"nat takes src, dst, persistent, hash and random, not {key!r}", argument.key_at)
    if found.get("hash") and found.get("random"):
        reader.fail("nat takes hash or random, not both", item.key_at)
    if found and "kind" not in found:
        reader.fail("nat has flags, and neither src nor dst", item.key_at)
    return Nat(**found)


def _read_range(text: str) -> dict[str, int]:
    """`ADDRESS[-ADDRESS][:PORT[-PORT]]`, addresses of IPv6 in brackets if ports follow."""
    if text.startswith("["):
        addresses, bracket, ports = text.rpartition("]")
        addresses += bracket
        ports = ports.removeprefix(":")
    elif text.count(":") > 1:
        addresses, ports = text, ""
    else:
        addresses, _, ports = text.partition(":")
    first_text, dash, last_text = addresses.partition("-")
    first, last = _read_ip(first_text), _read_ip(last_text if dash else first_text)
    if first.version != last.version or int(last) < int(first):
        raise ConfigError(f"{addresses!r} is no range of addresses")
    found = {"version": first.version, "first_address": int(first), "last_address": int(last) if last_text else 0}
    if ports:
        low, dash, high = ports.partition("-")
        found["first_port"] = read_bounded("port", low, 0xFFFF, 1)
        found["last_port"] = read_bounded("port", high, 0xFFFF, found["first_port"]) if dash else 0
    return found


def _read_ip(text: str) -> IPv4Address | IPv6Address:
    try:
        return ip_address(text.removeprefix("[").removesuffix("]"))
    except ValueError:
        raise ConfigError(f"{text!r} is not an address of IPv4 or IPv6") from None


# ---- headers around packets

NSH = 4
"""Class of the properties of a header of network services."""


def _read_encap(reader: Reader, item: Item) -> FlowAction:
    headers = list(reader.arguments(item))
    if len(headers) != 1 or headers[0].key not in PACKET_TYPES:
        reader.fail(f"encap takes one of {', '.join(PACKET_TYPES)}", item.start)
    header = headers[0]
    properties: list[tuple[int, int, bytes]] = []
    if header.sign:
        if header.key != "nsh":
            reader.fail(f"encap({header.key}) takes no properties", header.start)
        properties = [_read_property(reader, each) for each in reader.arguments(header)]
    return Encap(PACKET_TYPES[header.key], tuple(properties))


def _read_property(reader: Reader, item: Item) -> tuple[int, int, bytes]:
    """(class, type, value), the value padded as Open vSwitch wants it: with its header, it is words of eight bytes."""
    if item.key == "md_type":
        return NSH, 1, bytes([reader.number(item, 2, 1), 0, 0, 0])
    parts = [part.strip() for part in reader.text[item.start : item.stop].split(",")]
    if item.key != "tlv" or len(parts) != 3 or not (parts[2] == "0" or parts[2].startswith("0x")):
        reader.fail("nsh takes md_type=1, md_type=2 and tlv(CLASS,TYPE,0xBYTES)", item.key_at)
    with reader.at(item.start):
        data = read_bytes("tlv", parts[2][2:])
        if len(data) > 0xFF:
            raise ConfigError(f"tlv of {len(data)} bytes is longer than 255")
        head = read_bounded("class", parts[0], 0xFFFF).to_bytes(2, "big")
        padding = bytes(-len(data) % 8)
        return NSH, 2, head + bytes([read_bounded("type", parts[1], 0xFF), len(data)]) + data + padding


def _read_decap(reader: Reader, item: Item) -> FlowAction:
    found = list(reader.arguments(item))
    if not found:
        return Decap()
    if len(found) != 1 or found[0].key != "packet_type":
        reader.fail("decap takes packet_type(ns=NAMESPACE,type=TYPE) and nothing else", item.start)
    numbers = {name: lambda each: reader.number(each, 0xFFFF) for name in ("ns", "type")}
    parts: dict[str, Any] = reader.named(found[0], numbers, "packet_type")
    return Decap(parts.get("ns", 0) << 16 | parts.get("type", 0))


CALLS: dict[str, Read] = {
    "controller": _read_controller,
    "bundle": _read_bundle,
    "bundle_load": _read_bundle,
    "multipath": _read_multipath,
    "conjunction": _read_conjunction,
    "check_pkt_larger": _read_check_larger,
    "fin_timeout": _read_fin_timeout,
    "sample": _read_sample,
    "learn": _read_learn,
    "ct": _read_ct,
    "encap": _read_encap,
    "decap": _read_decap,
}
"""Word -> what reads it."""
