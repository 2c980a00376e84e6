"""A cursor over one text: the only way in which this room reads.

All readers share one scanner and so one text; whatever is wrong becomes a TextError that shows the place
in the whole of it, however deep the reader was.

Invariant: no text makes the scanner, or a reader that uses nothing else, raise anything but TextError.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from vswitch.base.errors import ConfigError, TextError
from vswitch.base.limits import MAX_TEXT_CHARACTERS, MAX_TEXT_DEPTH
from vswitch.fields.kinds import KINDS

__all__ = ["Scanner"]

T = TypeVar("T")

_SPACE = re.compile(r"\s*")
_WORD = re.compile(r"[a-z][a-z0-9_]*")
_ATOM = re.compile(r"[^\s,()=]+")
_VALUE = re.compile(r"[^,()]+")


class Scanner:
    """Reads `text` from left to right. TextError if it is longer than MAX_TEXT_CHARACTERS."""

    __slots__ = ("_depth", "_position", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self._position = 0
        self._depth = 0
        if len(text) > MAX_TEXT_CHARACTERS:
            problem = f"text of {len(text)} characters exceeds the bound of {MAX_TEXT_CHARACTERS}"
            raise self.fail(problem, MAX_TEXT_CHARACTERS)

    def fail(self, problem: str, position: int | None = None) -> TextError:
        """The error for `problem` at `position` (default: here), to be raised by the caller."""
        return TextError(problem, self.text, self.here() if position is None else position)

    @contextmanager
    def blame(self, position: int) -> Iterator[None]:
        """What the inside finds wrong with a value lies at `position`."""
        try:
            yield
        except TextError:
            raise
        except ConfigError as error:
            raise self.fail(str(error), position) from error

    def here(self) -> int:
        """Where the next thing starts; white space before it does not count."""
        self._position = _end(_SPACE, self.text, self._position)
        return self._position

    def peek(self) -> str:
        """The next character, "" at the end."""
        start = self.here()
        return self.text[start : start + 1]

    def take(self, character: str) -> bool:
        """Steps over `character` if it is next."""
        if self.peek() != character:
            return False
        self._position += 1
        return True

    def expect(self, character: str) -> None:
        """Steps over `character`, which must be next."""
        if not self.take(character):
            raise self.fail(f"expected {character!r}")

    def take_pattern(self, pattern: re.Pattern[str]) -> str:
        """Steps over what `pattern` matches here; "" if it does not."""
        start = self.here()
        self._position = _end(pattern, self.text, start)
        return self.text[start : self._position]

    def word(self, what: str) -> str:
        """A name of this language. `what` says in the error what was expected, here and below."""
        return self._some(_WORD, what)

    def atom(self, what: str) -> str:
        """A word, a number or the name of a port."""
        return self._some(_ATOM, what)

    def value(self, what: str) -> str:
        """Everything up to the next comma or parenthesis."""
        return self._some(_VALUE, what).rstrip()

    def number(self, what: str, bits: int = 32) -> int:
        """A number, decimal or hexadecimal, of at most `bits` bits."""
        position = self.here()
        text = self.atom(what)
        try:
            return KINDS["decimal"].parse(text, bits)
        except ValueError as error:
            raise self.fail(f"expected {what}: {error}", position) from error

    def items(self) -> Iterator[int]:
        """Yields the position of each of one or more items with commas between; the caller reads the item."""
        yield self.here()
        while self.take(","):
            yield self.here()

    def parentheses(self) -> Iterator[int]:
        """As `items`, for none or more of them in parentheses. TextError if nested deeper than MAX_TEXT_DEPTH."""
        start = self.here()
        self.expect("(")
        self._depth += 1
        if self._depth > MAX_TEXT_DEPTH:
            raise self.fail(f"parentheses nested {self._depth} deep exceed the bound of {MAX_TEXT_DEPTH}", start)
        if self.peek() != ")":
            yield from self.items()
        if not self.take(")"):
            raise self.fail("expected ',' or ')'")
        self._depth -= 1

    def single(self, read: Callable[[], T], what: str) -> T:
        """The one thing in parentheses, as `read` reads it."""
        start = self.here()
        found = [read() for _ in self.parentheses()]
        if len(found) != 1:
            raise self.fail(f"expected {what} in parentheses, and nothing else", start)
        return found[0]

    def end(self) -> None:
        """Nothing but white space may follow."""
        if self.peek():
            raise self.fail("expected ',' or the end")

    def _some(self, pattern: re.Pattern[str], what: str) -> str:
        found = self.take_pattern(pattern)
        if not found:
            raise self.fail(f"expected {what}")
        return found


def _end(pattern: re.Pattern[str], text: str, start: int) -> int:
    found = pattern.match(text, start)
    return found.end() if found else start
