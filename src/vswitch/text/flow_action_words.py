"""The words of actions that several modules of this room know: what numbers are called, how arguments are read.

A `Reader` is one text with what names mean in it. It hands out values of items, and whatever is wrong with one becomes
a TextError at its place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NoReturn, TypeVar

from vswitch.base.errors import ConfigError, TextError
from vswitch.messages.actions import FlowAction
from vswitch.messages.match import SubField
from vswitch.text.flow_values import read_subfield
from vswitch.text.flow_words import Context, Item, fail, items, read_bounded, read_port, reading

__all__ = [
    "ALGORITHMS",
    "BUNDLE_ALGORITHMS",
    "HELPERS",
    "MULTIPATH_ALGORITHMS",
    "PACKET_TYPES",
    "REASONS",
    "Reader",
    "read_bytes",
    "read_table",
]

T = TypeVar("T")

REASONS = {"no_match": 0, "action": 1, "invalid_ttl": 2, "action_set": 3, "group": 4, "packet_out": 5}
"""Why a packet comes to a controller."""
BUNDLE_ALGORITHMS = ("active_backup", "hrw")
MULTIPATH_ALGORITHMS = ("modulo_n", "hash_threshold", "hrw", "iter_hash")
ALGORITHMS = {*BUNDLE_ALGORITHMS, *MULTIPATH_ALGORITHMS}
HELPERS = {"ftp": 21, "tftp": 69}
"""Helpers of connection tracking, by the port of their protocol."""
PACKET_TYPES = {"ethernet": 0, "nsh": 0x1894F, "mpls": 0x18847, "mpls_mc": 0x18848}
"""Headers that can be put around a packet: namespace and type."""


class Reader:
    """A text that is read, and what its names mean. `nested`: reads actions in parentheses, which `flow_actions`
    provides."""

    __slots__ = ("context", "depth", "nested", "text")

    def __init__(
        self, text: str, context: Context, nested: Callable[[Reader, int, int], tuple[FlowAction, ...]]
    ) -> None:
        self.text = text
        self.context = context
        self.nested = nested
        self.depth = 0

    def fail(self, problem: str, position: int) -> NoReturn:
        fail(problem, self.text, position)

    def value(self, item: Item) -> str:
        """The text of an item's value; it must have one."""
        text = self.text[item.start : item.stop].strip()
        if not text:
            self.fail(f"{item.key} has no value, as {item.key}:VALUE", item.start)
        return text

    def has_value(self, item: Item) -> bool:
        return bool(self.text[item.start : item.stop].strip())

    def read(self, item: Item, parse: Callable[[str], T]) -> T:
        """The value as `parse` makes it; a ConfigError of it is shown at the value's place."""
        text = self.value(item)
        try:
            return parse(text)
        except TextError:
            raise
        except ConfigError as error:
            raise TextError(str(error), self.text, item.start) from None

    def number(self, item: Item, most: int, least: int = 0) -> int:
        """A number between `least` and `most`."""
        return self.read(item, lambda text: read_bounded(item.key, text, most, least))

    def port(self, item: Item) -> int:
        return self.read(item, lambda text: read_port(text, self.context.ports, item.key))

    def table(self, item: Item, most: int = 254) -> int:
        return self.read(item, lambda text: read_table(text, self.context.tables, most))

    def subfield(self, item: Item) -> SubField:
        return self.read(item, read_subfield)

    def arrow(self, item: Item) -> tuple[str, int, str, int]:
        """What stands before and after `->` in a value, each with its place."""
        text = self.text[item.start : item.end]
        before, arrow, after = text.partition("->")
        if not arrow:
            self.fail(f"{item.key} needs an arrow, as {item.key}:VALUE->FIELD", item.end)
        return before, item.start, after, item.start + len(before) + 2

    def at(self, position: int) -> reading:
        """What the inside finds wrong lies at `position`."""
        return reading(self.text, position)

    def arguments(self, item: Item) -> Iterator[Item]:
        """The items of a value, which is within parentheses or stands behind a colon."""
        self.depth += 1
        for each in items(self.text, item.start, item.stop, self.depth):
            if each.sign == "(" and each.end != each.stop + 1:
                self.fail(f"{each.key} has no destination", each.stop + 1)
            yield each
        self.depth -= 1

    def named(self, item: Item, known: Mapping[str, Callable[[Item], object]], action: str) -> dict[str, object]:
        """The arguments of an action by name, each as its reader in `known` makes it."""
        found: dict[str, object] = {}
        for argument in self.arguments(item):
            read = known.get(argument.key)
            if read is None:
                self.fail(f"{action} takes {', '.join(known)}, not {argument.key!r}", argument.key_at)
            found[argument.key] = read(argument)
        return found


def read_table(text: str, tables: Mapping[str, int] | None, most: int = 254) -> int:
    """A table by number or name. ConfigError: there is none."""
    if tables is not None and text in tables:
        return tables[text]
    if not text[:1].isdigit():
        raise ConfigError(f"no table is called {text!r}")
    return read_bounded("table", text, most)


def read_bytes(what: str, text: str) -> bytes:
    """Pairs of hexadecimal digits, with points between them or not."""
    digits = text.replace(".", "")
    try:
        if not digits.isascii() or any(digit.isspace() for digit in digits):
            raise ValueError
        return bytes.fromhex(digits)
    except ValueError:
        raise ConfigError(f"{what}: {text!r} is not pairs of hexadecimal digits") from None
