"""One value with its mask, and ports by name.

A value stands alone if every bit of the field counts; otherwise its mask follows: `10.0.0.0/255.0.0.0`,
`aa:bb:cc:00:00:00/ff:ff:ff:00:00:00`, `80/0xfff0`; `/8` is read for addresses too. A set of flags says which
must be one and which zero: `+syn-ack`. Bits of a value outside of its mask are ignored, as Open vSwitch
does, whose dumps have them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from vswitch.base.errors import ConfigError
from vswitch.fields import FIELDS, Field
from vswitch.model.match import field_value_and_mask

__all__ = ["Names", "Numbers", "format_mask", "format_port", "format_value", "parse_port", "parse_value"]

Numbers = Mapping[str, int] | None
"""Port numbers by name, for reading: `dp.ports.numbers()`."""
Names = Mapping[int, str] | None
"""Port names by number, for writing: `dp.ports.names()`."""

_PORT = FIELDS["in_port"]
_ADDRESS_KINDS = ("ethertype", "mac", "ipv4", "ipv6")
"""Their masks are written as their values are; those of all other kinds are hexadecimal numbers."""
_SIGNED = re.compile(r"(?:[+-][a-z]+)+")
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9a-fA-F]+")
_PLAIN_NAME = re.compile(r"[\w.@~+-]+", re.ASCII)
"""Names that need no quotes. The kernel allows parentheses and commas too; such a port is written as a number."""


def parse_port(text: str, ports: Numbers) -> int:
    """The number of the port that `text` writes, as a number or a name. ConfigError if there is no such name."""
    if _NUMBER.fullmatch(text):
        return _PORT.parse(text)
    if ports is None:
        raise ConfigError(f"{text!r} is not the number of a port")
    if text not in ports:
        raise ConfigError(f"no port is called {text!r}")
    return ports[text]


def format_port(number: int, names: Names, reserved: frozenset[str] = frozenset()) -> str:
    """The name of a port, or its number if it has none, or if the name would be read as something else."""
    name = names.get(number, "") if names else ""
    readable = _PLAIN_NAME.fullmatch(name) and not _NUMBER.fullmatch(name) and name not in reserved
    return name if readable else str(number)


def parse_value(view: Field, text: str, ports: Numbers = None) -> tuple[int, int]:
    """(value, mask) of the field `view`, in its own bits. ConfigError names the field, the text and the bound."""
    if view.kind.flag_names and _SIGNED.fullmatch(text):
        return _parse_signed(view, text)
    value_text, slash, mask_text = (part.strip() for part in text.partition("/"))
    if not slash:
        return parse_port(value_text, ports) if view is _PORT else view.parse(value_text), view.max
    _, mask = field_value_and_mask(view, f"{view.format(0)}/{mask_text}")
    return view.parse(value_text) & mask, mask


def format_value(view: Field, value: int, mask: int, names: Names = None) -> str:
    """What `parse_value` reads as (value, mask)."""
    if mask == view.max:
        return format_port(value, names) if view is _PORT else view.format(value)
    flags = view.kind.flag_names
    if mask and not mask >> len(flags):
        return "".join(("-", "+")[value >> bit & 1] + flag for bit, flag in enumerate(flags) if mask >> bit & 1)
    return f"{view.format(value)}/{format_mask(view, mask)}"


def format_mask(view: Field, mask: int) -> str:
    """The mask alone: an address for addresses, else hexadecimal."""
    return view.format(mask) if view.kind.name in _ADDRESS_KINDS else f"{mask:#x}"


def _parse_signed(view: Field, text: str) -> tuple[int, int]:
    value = mask = 0
    for sign, flag in re.findall(r"([+-])([a-z]+)", text):
        if flag not in view.kind.flag_names:
            raise ConfigError(f"{view.name}: {flag!r} is none of {', '.join(view.kind.flag_names)}")
        bit = 1 << view.kind.flag_names.index(flag)
        if mask & bit:
            raise ConfigError(f"{view.name}: {flag} is given twice")
        value, mask = value | bit * (sign == "+"), mask | bit
    return value, mask
