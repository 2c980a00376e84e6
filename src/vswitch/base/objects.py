"""Where JSON objects end in a stream of bytes that has one behind the other, with nothing or blanks between them.

Only brackets and quotes are looked at; whether an object is JSON is for a decoder to say.

Invariant: what comes out does not depend on how the bytes are cut, and each byte is looked at a bounded number of
times, however many pieces an object comes in.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from vswitch.base.errors import VswitchError

__all__ = ["Objects"]

_BLANKS = re.compile(rb"[ \t\r\n]*+")
_SKIPPED = re.compile(rb'(?:[^{}\[\]"]++|"[^"\\]*+")*+')
"""What lies between brackets, with whole strings that have no escapes in them."""
_STRING = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
_OPENING, _QUOTE = b"{[", ord('"')


class Objects:
    """Bytes in, texts of whole objects out. `error`: what is raised where there is none; `max_depth`: of brackets in
    each other, None without a bound. `len` of it: bytes of the object that is not whole yet; who feeds it bounds them.
    """

    def __init__(self, error: type[VswitchError], max_depth: int | None = None) -> None:
        self._error = error
        self._max_depth = max_depth
        self._held = bytearray()
        self._at = 0
        self._depth = 0
        self._in_string = False

    def __len__(self) -> int:
        return len(self._held)

    def receive(self, data: bytes) -> Iterator[bytes]:
        """The objects that end in these bytes. `error`: one does not begin as an object does, or is too deep."""
        held = self._held
        held += data
        while (end := self._scan()) is not None:
            text = bytes(held[:end])
            del held[:end]
            self._at = 0
            yield text

    def _scan(self) -> int | None:
        """Where the first object ends, if it does; it goes on from where it was."""
        held, at = self._held, self._at
        if not at:
            del held[: self._end_of(_BLANKS, 0)]
            if held and held[0] != ord("{"):
                raise self._error(f"a message begins with {bytes(held[:1])!r}, not with '{{'")
        while at < len(held):
            if self._in_string:
                at = self._end_of(_STRING, at)
                if at >= len(held) or held[at] != _QUOTE:
                    break  # an escape may be cut here
                self._in_string = False
                at += 1
                continue
            at = self._end_of(_SKIPPED, at)
            if at >= len(held):
                break
            found = held[at]
            at += 1
            if found == _QUOTE:
                self._in_string = True
            elif found in _OPENING:
                self._depth += 1
                if self._max_depth is not None and self._depth > self._max_depth:
                    raise self._error(f"brackets are more than {self._max_depth} deep in each other")
            else:
                self._depth -= 1
                if not self._depth:
                    return at
        self._at = at
        return None

    def _end_of(self, pattern: re.Pattern[bytes], at: int) -> int:
        found = pattern.match(self._held, at)
        assert found is not None
        return found.end()
