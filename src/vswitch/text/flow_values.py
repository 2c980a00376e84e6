"""How OpenFlow's fields write their values in ovs-ofctl's texts, and which names they have there.

A value is `VALUE`, `VALUE/MASK`, `VALUE/PREFIX` for addresses, a word for fragments, `+syn-ack` or `syn|ack` for
flags, `*` for no bits at all. Each field has a few names: the first of them stands in a printed match (`nw_src`), one
in a printed set_field (`ip_src`), and symbols (`NXM_OF_IP_SRC`) in what moves bits.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from vswitch.base.errors import ConfigError
from vswitch.fields.kinds import KINDS, OPENFLOW_PORTS
from vswitch.fields.openflow import OPENFLOW_FIELDS, FlowField
from vswitch.messages.match import SubField
from vswitch.text.flow_words import format_port, read_port
from vswitch.text.values import Names, Numbers

__all__ = [
    "FAST_READERS",
    "FIELDS_BY_WORD",
    "FRAGMENT_WORDS",
    "field_word",
    "format_flags",
    "format_ipv6",
    "format_subfield",
    "format_value",
    "number",
    "read_destination",
    "read_mac",
    "read_subfield",
    "read_value",
    "subfield_width",
]

FRAGMENT_WORDS = {"no": (0, 1), "yes": (1, 1), "first": (1, 3), "later": (3, 3), "not_later": (0, 2)}
"""(value, mask) of the two bits: that it is a fragment, and that it is not the first."""

_WORDS_OF_OWN = {
    "ip_ecn": "nw_ecn", "ip_proto": "nw_proto", "icmpv4_type": "icmp_type", "icmpv4_code": "icmp_code",
    "tun_id": "tun_id",
}  # fmt: skip
"""What a field is called where it is set, if it is not the last of its texts."""

_SIGNED = re.compile(r"(?:[+-](?:[a-z]+|\[[0-9a-fA-F]+\]))+")
_SIGN = re.compile(r"([+-])(?:([a-z]+)|\[([0-9a-fA-F]+)\])")
_UNKNOWN_FLAG = re.compile(r"\[([0-9a-fA-F]{1,8})\]")
_SUBFIELD = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?:\[(?:([0-9]{1,4})(?:\.\.([0-9]{1,4}))?)?\])?")
_BOUND = 1024
"""Entries of a memory of subfields; it is emptied when it is full."""


def field_word(field: FlowField) -> str:
    """What a field is called where it is set or learned."""
    return _WORDS_OF_OWN.get(field.name, field.texts[-1])


def _by_word() -> dict[str, FlowField]:
    """word -> field, for all names; tp_src and tp_dst stand for TCP's fields, icmp_type for ICMP's."""
    found: dict[str, FlowField] = {}
    for each in OPENFLOW_FIELDS.values():
        for word in (*each.texts, each.name, *each.symbols):
            found.setdefault(word, each)
    return found


FIELDS_BY_WORD = _by_word()


# ---- values


def read_mac(text: str) -> int:
    """An Ethernet address."""
    return _parse("mac", text, 48)


def _parse(kind: str, text: str, bits: int) -> int:
    try:
        return KINDS[kind].parse(text, bits)
    except ValueError as error:
        raise ConfigError(str(error)) from None


def _read_ipv4(text: str, _bits: int) -> int:
    parts = text.split(".")
    if len(parts) == 4:
        value = 0
        for part in parts:
            if not (part.isascii() and part.isdigit() and len(part) < 4 and (part[0] != "0" or len(part) == 1)):
                break
            number = int(part)
            if number > 255:
                break
            value = value << 8 | number
        else:
            return value
    raise ValueError(f"{text!r} is not an IPv4 address")


def _read_number(text: str, bits: int) -> int:
    if text.isascii() and text.isdigit() and (text[0] != "0" or len(text) == 1) and len(text) < 40:
        value = int(text)
    else:
        return KINDS["decimal"].parse(text, bits)
    if value >> bits:
        raise ValueError(f"{text} is outside 0..{(1 << bits) - 1}")
    return value


_OCTETS = {str(number): number for number in range(256)}


def _fast_ipv4(text: str) -> int | None:
    parts = text.split(".")
    try:
        first, second, third, fourth = parts
        return _OCTETS[first] << 24 | _OCTETS[second] << 16 | _OCTETS[third] << 8 | _OCTETS[fourth]
    except (KeyError, ValueError):
        return None


def _fast_mac(text: str) -> int | None:
    if len(text) != 17 or text[2::3] != ":::::":
        return None
    try:
        return int.from_bytes(bytes.fromhex(text.replace(":", "")), "big")
    except ValueError:
        return None


def _fast_number(text: str) -> int | None:
    if text.isdecimal() and text.isascii() and len(text) < 19 and text[0] != "0":
        return int(text)
    return None


FAST_READERS: dict[str, Callable[[str], int | None]] = {
    "ipv4": _fast_ipv4, "mac": _fast_mac, "decimal": _fast_number, "hexadecimal": _fast_number,
}  # fmt: skip
"""Kind -> what reads the plainest texts of its values, without a mask; None: it is not one of them."""

_PARSERS: dict[str, Callable[[str, int], int]] = {
    "ipv4": _read_ipv4, "decimal": _read_number, "hexadecimal": _read_number, "ethertype": _read_number,
}  # fmt: skip


def read_value(field: FlowField, text: str, ports: Numbers = None) -> tuple[int, int]:
    """(value, mask) of a field, in its own bits; bits outside of the mask are zero. ConfigError: it is no value."""
    kind = field.view.kind
    if text == "*":
        return 0, 0
    if kind.name == "ofport":
        if field.name == "actset_output" and text.upper() == "UNSET":
            return OPENFLOW_PORTS["UNSET"], field.max
        return read_port(text, ports, field.texts[0]), field.max
    if kind.name == "fragment":
        if text not in FRAGMENT_WORDS:
            raise ConfigError(f"{field.texts[0]}: {text!r} is none of {', '.join(FRAGMENT_WORDS)}")
        return FRAGMENT_WORDS[text]
    if kind.flag_names and _SIGNED.fullmatch(text):
        return _read_signed(field, text)
    if kind.flag_names and ("|" in text or "[" in text):
        return _read_flags(field, text), field.max
    parse = _PARSERS.get(kind.name, kind.parse)
    bits = field.view.bits
    try:
        value_text, slash, mask_text = text.partition("/")
        value = parse(value_text, bits)
        if not slash:
            return value, field.max
        mask = _read_mask(field, mask_text, parse)
    except ValueError as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{field.texts[0]}: {error}") from None
    if mask not in (0, field.max) and not field.maskable:
        raise ConfigError(f"{field.texts[0]} takes no mask, as {mask_text} is one")
    return value & mask, mask


def _read_mask(field: FlowField, text: str, parse: Callable[[str, int], int]) -> int:
    bits = field.view.bits
    if text == "-1":
        return field.max
    if field.view.kind.prefix_masks and text.isascii() and text.isdigit() and len(text) < 10:
        length = int(text)
        if length > bits:
            raise ConfigError(
                f"{field.texts[0]}: a prefix of {length} bits is longer than the {bits} bits of an address"
            )
        return field.max ^ (field.max >> length)
    return parse(text, bits)


def _read_signed(field: FlowField, text: str) -> tuple[int, int]:
    value = mask = 0
    names = field.view.kind.flag_names
    for sign, word, rest in _SIGN.findall(text):
        if word and word not in names:
            raise ConfigError(f"{field.texts[0]}: {word!r} is none of {', '.join(names)}")
        bits = 1 << names.index(word) if word else int(rest, 16)
        if mask & bits:
            raise ConfigError(f"{field.texts[0]}: {word or rest} is given twice")
        if bits >> field.view.bits:
            raise ConfigError(f"{field.texts[0]}: {rest} is outside of its {field.view.bits} bits")
        value, mask = value | bits * (sign == "+"), mask | bits
    return value, mask


def format_value(field: FlowField, value: int, mask: int, names: Names = None) -> str:
    """What `read_value` reads as (value, mask)."""
    kind = field.view.kind
    if kind.name == "ofport":
        return format_port(value, names)
    if kind.name == "fragment":
        return next((word for word, pair in FRAGMENT_WORDS.items() if pair == (value, mask)), "<error>")
    if kind.flag_names:
        return format_flags(field, value, mask)
    if mask == field.max:
        return number(value) if kind.name == "hexadecimal" else _format_whole(field, value)
    if kind.prefix_masks:
        return f"{_format_whole(field, value)}/{_format_prefix(field, mask)}"
    if kind.name == "mac":
        return f"{field.view.format(value)}/{field.view.format(mask)}"
    return f"{value:#x}/{mask:#x}" if kind.name == "decimal" else f"{number(value)}/{number(mask)}"


def number(value: int) -> str:
    """Hexadecimal, but for zero."""
    return f"{value:#x}" if value else "0"


def _format_whole(field: FlowField, value: int) -> str:
    return format_ipv6(value) if field.view.kind.name == "ipv6" else field.view.format(value)


def format_ipv6(value: int) -> str:
    """An address as the C library writes it: with that of IPv4 in it as one, if it is nothing else."""
    if value >> 16 and value >> 32 in (0, 0xFFFF):
        return f"::{'ffff:' if value >> 32 else ''}{KINDS['ipv4'].format(value & 0xFFFFFFFF, 32)}"
    return KINDS["ipv6"].format(value, 128)


def _format_prefix(field: FlowField, mask: int) -> str:
    """How long the prefix is, or the mask as an address if it is none."""
    rest = mask ^ field.max
    return _format_whole(field, mask) if rest & (rest + 1) else str(field.bits - rest.bit_length())


def format_flags(field: FlowField, value: int, mask: int) -> str:
    """`syn|ack` if all flags count, `+syn-ack` if some do."""
    words = [*field.view.kind.flag_names]
    words += [f"[{1 << bit:x}]" for bit in range(len(words), field.bits)]
    if mask == field.max:
        return "|".join(word for bit, word in enumerate(words) if value >> bit & 1) or "0"
    return "".join(("-", "+")[value >> bit & 1] + word for bit, word in enumerate(words) if mask >> bit & 1)


def _read_flags(field: FlowField, text: str) -> int:
    """`syn|ack|[200]`."""
    value = 0
    for word in text.split("|"):
        unknown = _UNKNOWN_FLAG.fullmatch(word)
        bits = int(unknown[1], 16) if unknown else field.view.parse(word)
        if bits >> field.bits:
            raise ConfigError(f"{field.texts[0]}: {word} is outside of its {field.bits} bits")
        value |= bits
    return value


# ---- parts of fields

_subfields: dict[str, SubField] = {}


def read_destination(text: str) -> SubField:
    """Bits that an action writes: those of `read_subfield`. ConfigError: the field can only be read."""
    found = read_subfield(text)
    if not found.field.writable:
        raise ConfigError(f"{text} can only be read")
    return found


def read_subfield(text: str) -> SubField:
    """`NXM_NX_REG0[0..15]`, `reg0[3]`, `reg0[]`, `reg0`. ConfigError: no such field, or no such bits of it."""
    found = _subfields.get(text)
    if found is not None:
        return found
    match = _SUBFIELD.fullmatch(text)
    if match is None:
        raise ConfigError(f"{text!r} is not a field or bits of one, as NXM_NX_REG0[0..15]")
    word, first, last = match.groups()
    field = FIELDS_BY_WORD.get(word)
    if field is None:
        raise ConfigError(f"no field is called {word!r}")
    if first is None:
        sub = SubField(field, 0, 32 if word == "OXM_OF_IN_PORT" else subfield_width(field))
    else:
        low, high = int(first), int(last or first)
        if high < low:
            raise ConfigError(f"{text}: bit {high} comes before bit {low}")
        sub = SubField(field, low, high - low + 1)
    if len(_subfields) >= _BOUND:
        _subfields.clear()
    _subfields[text] = sub
    return sub


_WIDTHS = {"vlan_vid": 12, "in_port": 16}
"""Bits of the whole where they are moved: a VLAN's number without the bit that says that there is one, and a port as
OpenFlow 1.0 and Nicira have it, which is the lower half of it."""


def subfield_width(field: FlowField) -> int:
    """Bits of the whole of a field where bits are moved."""
    return _WIDTHS.get(field.name, field.bits)


def format_subfield(sub: SubField) -> str:
    """What `read_subfield` reads."""
    field = sub.field
    symbol = field.symbols[0] if field.symbols else field_word(field)
    if field.name == "in_port" and sub.start + sub.bits > 16:
        symbol = field.symbols[1]
    if sub.start == 0 and sub.bits >= subfield_width(field):
        return f"{symbol}[]"
    if sub.bits == 1:
        return f"{symbol}[{sub.start}]"
    return f"{symbol}[{sub.start}..{sub.start + sub.bits - 1}]"
