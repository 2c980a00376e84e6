"""JSON-RPC 1.0 on a stream, as Open vSwitch's daemons speak it, without the stream.

A message is a JSON object (`base.objects`); one begins where the one before ends. A request has a method, parameters
and an id; the answer has that id, and a result or an error (RFC 7047 section 4 has the same messages). For a command
its parameters are texts, and the result and the error are, too.

Bounds: a message has MAX_MESSAGE_BYTES, and brackets in each other to MAX_DEPTH. Whatever the bytes are, what comes of
them is values, or a `MessageError` after which the stream is of no use.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from vswitch.base.errors import VswitchError
from vswitch.base.objects import Objects

__all__ = [
    "MAX_MESSAGE_BYTES", "MessageError", "Request", "Splitter", "answer", "answer_in_parts", "gathered", "read_request",
    "refusal", "request",
]  # fmt: skip

MAX_MESSAGE_BYTES = 1 << 20
"""The longest frame is 131 KB in hexadecimal digits; all else that is asked is shorter."""

MAX_DEPTH = 16


class MessageError(VswitchError):
    """The peer sent what is no message."""


@dataclass(frozen=True, slots=True)
class Request:
    """A `method` that is to be called. `id`: what the answer is to bear, any JSON value but null."""

    method: str
    params: tuple[Any, ...]
    id: Any


class Splitter:
    """Bytes in, JSON objects out. `most`: bytes of one."""

    def __init__(self, most: int = MAX_MESSAGE_BYTES) -> None:
        self._most = most
        self._objects = Objects(MessageError, MAX_DEPTH)

    def receive(self, data: bytes) -> Iterator[Any]:
        """The objects that are whole with these bytes. MessageError: they are none, or too long or too deep."""
        for text in self._objects.receive(data):
            try:
                found = json.loads(text)
            except ValueError as problem:
                raise MessageError(f"no JSON: {problem}") from None
            yield found
        if len(self._objects) > self._most:
            raise MessageError(f"a message of more than {self._most} bytes")


def read_request(message: Any) -> Request:
    """What a message asks for. MessageError: it is no request."""
    if not isinstance(message, dict) or set(message) != {"id", "method", "params"}:
        raise MessageError("a message that is no request, which has id, method and params")
    method, params, number = message["method"], message["params"], message["id"]
    if not isinstance(method, str) or not isinstance(params, list) or number is None:
        raise MessageError("a request whose method is no text, whose params are no list, or without an id")
    return Request(method, tuple(params), number)


# ---- writing


def request(method: str, params: tuple[str, ...], number: int = 0) -> bytes:
    """A request."""
    return json.dumps({"id": number, "method": method, "params": params}).encode()


def answer(number: Any, result: Any) -> bytes:
    """The answer to the request with this id."""
    return json.dumps({"id": number, "result": result, "error": None}).encode()


def answer_in_parts(number: Any, texts: Iterable[str], *, wrapped: bool = False) -> Iterator[bytes]:
    """The answer that is these texts, one behind the other; `wrapped`: in an object that says it is but text."""
    before, behind = ('{"reply-format": "plain", "reply": "', '"}') if wrapped else ('"', '"')
    yield f'{{"id": {json.dumps(number)}, "error": null, "result": {before}'.encode()
    for text in texts:
        yield json.dumps(text)[1:-1].encode()
    yield f"{behind}}}".encode()


def gathered(parts: Iterable[bytes], size: int) -> Iterator[bytes]:
    """The same bytes in parts of `size` or a little more."""
    held = bytearray()
    for part in parts:
        held += part
        if len(held) >= size:
            yield bytes(held)
            held.clear()
    yield bytes(held)


def refusal(number: Any, error: str) -> bytes:
    """The answer that it cannot be done."""
    return json.dumps({"id": number, "result": None, "error": error}).encode()
