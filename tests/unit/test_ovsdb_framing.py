"""Messages in a stream of bytes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest

from vswitch.ovsdb.errors import FramingError
from vswitch.ovsdb.framing import Framer, message

MESSAGES: list[dict[str, Any]] = [
    {"method": "echo", "params": [], "id": 1},
    {"a": '"}{][\\', "é€😀": 'é\\"', "b": [{}, [[]], ["x{"]]},
    {"x": "\\", "y": '\\"', "z": ["\n"]},
    {"n": [1.5, -3, 1e30, None, True]},
    {},
]
STREAM = b"".join(json.dumps(each).encode() + b" \n" * (at % 2) for at, each in enumerate(MESSAGES))
STREAM += b"".join(json.dumps(each, ensure_ascii=False).encode() for each in MESSAGES)


def feed(pieces: Iterable[bytes], max_bytes: int = 1 << 20) -> list[Any]:
    framer = Framer(max_bytes)
    return [each for piece in pieces for each in framer.feed(piece)]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 16, 64, 10_000])
def test_messages_do_not_depend_on_how_bytes_are_cut(size: int) -> None:
    assert feed(STREAM[at : at + size] for at in range(0, len(STREAM), size)) == MESSAGES * 2


def test_message_is_whole_in_any_two_pieces() -> None:
    for cut in range(len(STREAM)):
        assert feed([STREAM[:cut], STREAM[cut:]]) == MESSAGES * 2


WRONG = [
    b"[]",
    b"5",
    b'"x"',
    b"}",
    b'{"a":}',
    b'{"a":1]',
    b"{]",
    b'{"a":01}',
    b'{"a":NaN}',
    b'{"a":-Infinity}',
    b'{"a":1e999}',
    b'{"a":"\xff"}',
    b'{"a":"\\u0000"}',
    b'{"a":"\\ud800"}',
    b'{"a":"\n"}',
    b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    b'{"a":' + b"9" * 5000 + b"}",
    b'{"ok":1} x',
]


@pytest.mark.parametrize("pieces", [1, 2])
@pytest.mark.parametrize("data", WRONG, ids=lambda data: repr(data[:20]))
def test_what_is_no_message_ends_the_stream(data: bytes, pieces: int) -> None:
    middle = len(data) // 2
    with pytest.raises(FramingError):
        feed([data] if pieces == 1 else [data[:middle], data[middle:], b"}" * 200_000])


def test_what_only_looks_like_a_nul_is_none() -> None:
    text = '{"a":"\\\\u0000","b":"\\u00e9"}'
    assert list(Framer().feed(text.encode())) == [{"a": "\\u0000", "b": "é"}]


def test_a_message_has_a_bound() -> None:
    assert len(feed([message("echo", ["x" * 900], 1)], 1000)) == 1
    with pytest.raises(FramingError, match="exceeds 1000"):
        feed([b'{"a":"', *[b"x" * 100] * 20], 1000)


def test_bytes_are_looked_at_once_however_small_the_pieces() -> None:
    """A message of 300,000 bytes in 30,000 pieces: time that grows by their square would be minutes."""
    data = message("echo", [["x" * 10, {"y": 1}] * 10_000], 1)
    assert len(feed(data[at : at + 10] for at in range(0, len(data), 10))) == 1
