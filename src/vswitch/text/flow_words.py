"""The words of ovs-ofctl's texts: `key`, `key=value`, `key:value`, `key(value)`, and what ports are called.

Commas and white space separate items. A value goes on through parentheses, so `resubmit(,5)`, `packet_type=(1,0x800)`
and `check_pkt_larger(1500)->reg0[0]` are one item each. All readers of this syntax look at spans of one text, never at
copies of its parts: whatever is wrong is a TextError that shows the place in the whole.

Hot: a file of flows is cut up here, a regular expression an item.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple, NoReturn, TypeVar

from vswitch.base.errors import ConfigError, TextError
from vswitch.base.limits import MAX_TEXT_CHARACTERS, MAX_TEXT_DEPTH
from vswitch.fields.kinds import OPENFLOW_PORTS
from vswitch.messages.actions import FlowAction
from vswitch.text.values import Names, Numbers

__all__ = [
    "Bits",
    "Context",
    "Item",
    "LineError",
    "check_length",
    "fail",
    "format_port",
    "items",
    "quote",
    "read_bounded",
    "read_number",
    "read_port",
    "reading",
    "remember",
    "span_read",
]

T = TypeVar("T")

MAX_REMEMBERED = 4096
"""Texts whose meaning is remembered: more than the different words of most files, less than a megabyte."""
MAX_REMEMBERED_CHARACTERS = 200

_ITEM = re.compile(r'[,\s]*([^\s,:=(]*)(?:([:=])("(?:[^"\\]|\\.)*"|[^\s,(]*)|(\())?')
_TAIL = re.compile(r"[^\s,(]*")
_PARENTHESIS = re.compile(r"[()]")
_NUMBER = re.compile(r"0|[1-9][0-9]{,38}|0[xX][0-9a-fA-F]{1,64}")
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_ESCAPES = re.compile(r"\\(.)")

_RESERVED = {word: number for word, number in OPENFLOW_PORTS.items() if word != "UNSET"} | {"NONE": 0xFFFFFFFF}
_PORT_WORDS = {**{number: word for word, number in OPENFLOW_PORTS.items()}}
_OLD_RESERVED = range(0xFF00, 0x10000)
"""Reserved ports as OpenFlow 1.0 numbers them."""


class LineError(ConfigError):
    """A line of a file is wrong. `line`: its number, from 1; `error`: what is wrong with it."""

    def __init__(self, line: int, error: ConfigError) -> None:
        super().__init__(f"line {line}: {error}")
        self.line = line
        self.error = error


class Item(NamedTuple):
    """`key` at `key_at`, and its value, which lies from `start` to `stop` of the text. `sign`: what stands before the
    value: "", ":", "=" or "("; with "(" the span is what is inside, and up to `end` is an arrow that follows it."""

    key: str
    sign: str
    key_at: int
    start: int
    stop: int
    end: int


class Bits(NamedTuple):
    """What one item of a match says: `value` and `mask` in the key of a flow; `keep`: the bits that it leaves as they
    were; `need`: alternatives (mask, value), one of which a match with it must hold, none if it may stand alone."""

    value: int
    mask: int
    keep: int
    need: tuple[tuple[int, int], ...] = ()


class Context:
    """What names mean, numbers of ports and of tables; and what was read with these names, to be looked up instead of
    read again: items of matches, properties of flows for each command (name and number), lists of actions. Each of
    these memories is emptied when it is full."""

    __slots__ = ("actions", "ports", "properties", "tables", "words")

    def __init__(self, ports: Numbers = None, tables: Mapping[str, int] | None = None) -> None:
        self.ports = ports
        self.tables = tables
        self.words: dict[str, Bits] = {}
        self.properties: dict[object, dict[str, tuple[str, int]]] = {}
        self.actions: dict[str, tuple[FlowAction, ...]] = {}

    @classmethod
    def of(cls, ports: Numbers, tables: Mapping[str, int] | None) -> Context:
        """The one without names is made once."""
        return _PLAIN if ports is None and tables is None else cls(ports, tables)


_PLAIN = Context()


def remember(memory: dict[str, T], text: str, meaning: T) -> None:
    """Keeps what a text means, if it is short enough to come again."""
    if len(text) <= MAX_REMEMBERED_CHARACTERS:
        if len(memory) >= MAX_REMEMBERED:
            memory.clear()
        memory[text] = meaning


def fail(problem: str, text: str, position: int) -> NoReturn:
    """Raises the TextError for `problem` at `position`."""
    raise TextError(problem, text, position)


def check_length(text: str) -> None:
    """TextError if it is longer than MAX_TEXT_CHARACTERS."""
    if len(text) > MAX_TEXT_CHARACTERS:
        fail(f"text of {len(text)} characters exceeds the bound of {MAX_TEXT_CHARACTERS}", text, MAX_TEXT_CHARACTERS)


def items(text: str, start: int, stop: int, depth: int = 0) -> Iterator[Item]:
    """The items from `start` to `stop`. hot: once an item. TextError: parentheses without an end or too deep."""
    if depth > MAX_TEXT_DEPTH:
        fail(f"parentheses nested {depth} deep exceed the bound of {MAX_TEXT_DEPTH}", text, start)
    match = _ITEM.match
    while start < stop:
        found = match(text, start, stop)
        assert found is not None  # it matches nothing at all
        key, sign, _, opening = found.groups()
        end = found.end()
        key_at = found.start(1)
        if not key:
            if sign or opening:
                fail(f"a word is missing before {text[key_at]!r}", text, key_at)
            return
        if sign:
            if end < stop and text[end] == "(":
                end = _value_end(text, end, stop)
            start = end
            yield Item(key, sign, key_at, found.start(3), end, end)
        elif opening:
            closing = _closing(text, end - 1, stop)
            start = closing + 1
            if text.startswith("->", start, stop):
                start = _value_end(text, start, stop)
            yield Item(key, "(", key_at, end, closing, start)
        else:
            start = end
            yield Item(key, "", key_at, end, end, end)


def _closing(text: str, opening: int, stop: int) -> int:
    """Where the parenthesis that opens at `opening` is closed."""
    depth = 0
    for found in _PARENTHESIS.finditer(text, opening, stop):
        depth += 1 if found[0] == "(" else -1
        if not depth:
            return found.start()
    fail("the parenthesis that opens here is not closed", text, opening)


def _value_end(text: str, position: int, stop: int) -> int:
    """Where a value ends that goes on at `position`."""
    while position < stop:
        found = _TAIL.match(text, position, stop)
        position = found.end() if found else position
        if position >= stop or text[position] != "(":
            break
        position = _closing(text, position, stop) + 1
    return position


class reading:  # noqa: N801
    """What the inside finds wrong with a value lies at `position` of `text`."""

    __slots__ = ("position", "text")

    def __init__(self, text: str, position: int) -> None:
        self.text = text
        self.position = position

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if isinstance(error, ConfigError) and not isinstance(error, TextError):
            raise TextError(str(error), self.text, self.position) from error


def read_number(text: str) -> int:
    """A number, decimal or hexadecimal. ConfigError: it is none."""
    if not _NUMBER.fullmatch(text):
        raise ConfigError(f"{text!r} is not a number")
    return int(text, 0)


def read_bounded(what: str, text: str, most: int, least: int = 0) -> int:
    """A number between `least` and `most`. ConfigError names `what`, the text and the bound."""
    try:
        plain = len(text) < 19 and text.isascii() and text.isdigit() and (text[0] != "0" or text == "0")
        value = int(text) if plain else read_number(text)
    except ConfigError as error:
        raise ConfigError(f"{what}: {error}") from None
    if not least <= value <= most:
        raise ConfigError(f"{what} {text} is outside {least}..{most}")
    return value


def read_port(text: str, ports: Numbers = None, what: str = "port") -> int:
    """The number of a port, written as a number, as a reserved name in any case, or as one of `ports`."""
    if (text.isascii() and text.isdigit()) or text.startswith(("0x", "0X")):
        number = read_bounded(what, text, 0xFFFFFFFF)
        return number | 0xFFFF0000 if number in _OLD_RESERVED else number
    quoted = len(text) > 1 and text[0] == text[-1] == '"'
    if not quoted:
        reserved = _RESERVED.get(text.upper())
        if reserved is not None:
            return reserved
    name = _ESCAPES.sub(r"\1", text[1:-1]) if quoted else text
    if ports is None or name not in ports:
        raise ConfigError(f"{what}: {text!r} is neither the number nor the name of a port")
    return ports[name]


def format_port(number: int, names: Names = None) -> str:
    """A port as ovs-ofctl writes it: a reserved name, the name that `names` has for it, or its number."""
    if number >= 0xFFFFFF00:
        return _PORT_WORDS.get(number, str(number))
    if names is not None and number in names:
        return quote(names[number])
    return str(number)


def quote(name: str) -> str:
    """A name as it is written: in quotes unless it is letters, digits and underscores, and no reserved word."""
    if _IDENTIFIER.fullmatch(name) and name.upper() not in _RESERVED:
        return name
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def span_read(text: str, item: Item, read: Callable[[str], T]) -> T:
    """What `read` makes of the value of an item."""
    with reading(text, item.start):
        return read(text[item.start : item.stop])
