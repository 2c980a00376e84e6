"""JSON-RPC messages in a stream of bytes (RFC 7047, 4): JSON objects, one directly after the other.

Most come whole, and are decoded as they are; `base.objects` finds the ends of others. What comes out does not depend on
how the bytes are cut.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator

from vswitch.base.objects import Objects
from vswitch.ovsdb.errors import FramingError
from vswitch.ovsdb.types import Json

__all__ = ["MAX_MESSAGE_BYTES", "Framer", "dumps", "message"]

MAX_MESSAGE_BYTES = 64 << 20
"""Of one message: a transaction that fills a database of 100,000 ports has a third of that."""

dumps = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode
"""JSON in its shortest form."""

_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


def _refuse_constant(name: str) -> Json:
    raise ValueError(f"{name} is no JSON")


def _finite(text: str) -> float:
    found = float(text)
    if not math.isfinite(found):
        raise ValueError(f"{text} does not fit in 64 bits")
    return found


_decoder = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)


def message(method: str, params: Json, identity: Json = None) -> bytes:
    """A request, or with `identity` None a notification."""
    return dumps({"method": method, "params": params, "id": identity}).encode()


class Framer:
    """Of one connection. `max_bytes`: of a message."""

    def __init__(self, max_bytes: int = MAX_MESSAGE_BYTES) -> None:
        self._max_bytes = max_bytes
        self._objects = Objects(FramingError)

    def feed(self, data: bytes) -> Iterator[dict[str, Json]]:
        """The messages that end in these bytes. FramingError: they are none, or one is too long; the stream is of no
        use then."""
        if not self._objects:
            done = 0
            for found, whole in self._whole(data):
                done = whole
                yield found
            data = data[done:]
        for text in self._objects.receive(data):
            found, _ = self._decode(self._text(text), 0)
            _check_strings(text, found)
            yield found
        if len(self._objects) > self._max_bytes:
            raise FramingError(f"a message exceeds {self._max_bytes} bytes")

    def _whole(self, data: bytes) -> Iterator[tuple[dict[str, Json], int]]:
        """The messages at the beginning that are all there, and where each ends: most are."""
        if data[-1:] not in (b"}", b"\n") or len(data) > self._max_bytes:
            return
        try:
            text = data.decode()
        except UnicodeDecodeError:
            return
        if len(text) != len(data):  # places in the text are not those in the bytes
            try:
                found = _decoder.decode(text)
            except (ValueError, RecursionError):
                return
            if isinstance(found, dict):
                _check_strings(data, found)
                yield found, len(data)
            return
        at = 0
        while at < len(text) and text[at] == "{":
            try:
                found, end = _decoder.raw_decode(text, at)
            except (ValueError, RecursionError):
                return
            _check_strings(data[at:end], found)
            at = end
            while at < len(text) and text[at] in " \t\r\n":
                at += 1
            yield found, at

    def _text(self, data: bytes) -> str:
        try:
            return data.decode()
        except UnicodeDecodeError as problem:
            raise FramingError(f"a message is no UTF-8: {problem.reason}") from problem

    def _decode(self, text: str, at: int) -> tuple[dict[str, Json], int]:
        try:
            found, end = _decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as problem:
            raise FramingError(f"a message is no JSON: {problem}") from problem
        assert isinstance(found, dict)
        return found, end


def _check_strings(data: bytes, found: Json) -> None:
    """FramingError: a string has what cannot be sent on: a NUL, or half a character of UTF-16."""
    if b"\\u" not in data:
        return
    text = dumps(found)
    if _NUL.search(text):
        raise FramingError("a string holds a NUL")
    try:
        text.encode()
    except UnicodeEncodeError as problem:
        raise FramingError("a string holds half a character of UTF-16") from problem
