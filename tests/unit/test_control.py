"""The control protocol without its socket: messages of any cut, bounds, commands and what is said of wrong ones."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vswitch.control.commands import Answer, CommandError, Commands
from vswitch.control.coverage import Coverage, Gauge
from vswitch.control.jsonrpc import (
    MAX_DEPTH,
    MessageError,
    Request,
    Splitter,
    answer,
    answer_in_parts,
    gathered,
    read_request,
    refusal,
    request,
)

# ---- messages

MESSAGES: list[dict[str, Any]] = [
    {"id": 0, "method": "version", "params": []},
    {},
    {"a": '}{"\\', "b\\": ["[", {"c": None}], "ü": "\u2028"},
    {"text": "\\\\", "deep": [[[{"x": [1.5, True]}]]]},
]


def split(data: bytes, size: int) -> list[Any]:
    splitter = Splitter()
    pieces = (data[at : at + size] for at in range(0, len(data), size))
    return [message for piece in pieces for message in splitter.receive(piece)]


@pytest.mark.parametrize("between", ["", " ", "\r\n\t "])
@pytest.mark.parametrize("size", [1, 2, 7, 1 << 20])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_messages_are_found_whole_however_they_come(between: str, size: int, ascii_only: bool) -> None:
    text = between.join(json.dumps(each, ensure_ascii=ascii_only) for each in [*MESSAGES, MESSAGES[0]])
    assert split(f"{between}{text}".encode(), size) == [*MESSAGES, MESSAGES[0]]


values = st.text(max_size=8) | st.lists(st.text('[]{}"\\x', max_size=5), max_size=3) | st.none()
objects = st.lists(st.dictionaries(st.text('}"\\x', max_size=3), values, max_size=3), max_size=3)


@given(objects, st.integers(1, 40))
def test_any_objects_are_found(wanted: list[dict[str, Any]], size: int) -> None:
    assert split(b"".join(json.dumps(each).encode() for each in wanted), size) == wanted


@given(st.binary(max_size=200), st.integers(1, 40))
def test_garbage_is_refused_or_waited_for_and_nothing_else(data: bytes, size: int) -> None:
    try:
        found = split(b"{" + data, size)
    except MessageError:
        return
    assert all(isinstance(each, dict) for each in found)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"garbage", "begins with b'g'"),
        (b"[1]", r"begins with b'\['"),
        (b"{]", "no JSON"),
        (b'{"a": }', "no JSON"),
        (b'{"a": "\xff"}', "no JSON"),
        (b'{"a":' * (MAX_DEPTH + 1), "more than 16 deep"),
        (b'{"a": "' + b"x" * (1 << 20), "more than 1048576 bytes"),
    ],
)
def test_what_is_no_message_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(MessageError, match=reason):
        split(data, 1 << 14)


@pytest.mark.parametrize(
    "message",
    [
        {"id": None, "method": "version", "params": []},
        {"id": 0, "method": "version"},
        {"id": 0, "method": 7, "params": []},
        {"id": 0, "method": "version", "params": {}},
        {"id": 0, "method": "version", "params": [], "more": 1},
        {"id": 0, "result": "", "error": None},
    ],
)
def test_what_is_no_request_is_refused(message: dict[str, Any]) -> None:
    with pytest.raises(MessageError):
        read_request(message)


def test_requests_and_answers_have_the_members_that_others_look_for() -> None:
    (sent,) = split(request("fdb/show", ("br0",), 7), 3)
    assert sent == {"id": 7, "method": "fdb/show", "params": ["br0"]}
    assert read_request(sent) == Request("fdb/show", ("br0",), 7)
    assert json.loads(answer(7, "x")) == {"id": 7, "result": "x", "error": None}
    assert json.loads(refusal("a", "no\n")) == {"id": "a", "result": None, "error": "no\n"}


@given(st.lists(st.text()), st.integers(1, 50))
def test_an_answer_in_parts_is_the_same_answer(texts: list[str], size: int) -> None:
    whole = b"".join(gathered(answer_in_parts(3, texts), size))
    assert json.loads(whole) == {"id": 3, "result": "".join(texts), "error": None}
    wrapped = b"".join(answer_in_parts(3, texts, wrapped=True))
    assert json.loads(wrapped)["result"] == {"reply-format": "plain", "reply": "".join(texts)}


# ---- commands


@pytest.fixture
def commands() -> Commands:
    commands = Commands("program 1.2")
    commands.add("do/it", "[one] two", 1, 2, lambda words: Answer(" ".join(words)))
    return commands


def test_a_command_is_called_with_its_words(commands: Commands) -> None:
    assert commands.call("do/it", ("a", "b")).text == "a b"
    assert commands.call("version", ()).text == "program 1.2\n"
    listed = commands.call("list-commands", ())
    assert listed.text == (
        "The available commands are:\n"
        "  do/it                   [one] two\n"
        "  list-commands           \n"
        "  version                 \n"
    )
    assert listed.value is not None
    assert listed.value() == {"do/it": "[one] two", "list-commands": "", "version": ""}


@pytest.mark.parametrize(
    ("name", "words", "text"),
    [
        ("nope", (), '"nope" is not a valid command (use "list-commands" to see a list of valid commands)'),
        ("do/it", (), '"do/it" command requires at least 1 arguments'),
        ("do/it", ("a", "b", "c"), '"do/it" command takes at most 2 arguments'),
        ("do/it", (1,), '"do/it" command has non-string argument'),
    ],
)
def test_wrong_words_are_refused(commands: Commands, name: str, words: tuple[Any, ...], text: str) -> None:
    with pytest.raises(CommandError) as refused:
        commands.call(name, words)
    assert str(refused.value) == text


# ---- what is told over time


def test_rates_are_those_of_the_last_five_seconds_minute_and_hour() -> None:
    coverage = Coverage(0.0, {"a": 0, "b": 0})
    for second in range(1, 121):
        if coverage.is_due(second):
            coverage.sample(second, {"a": 10 * second, "b": 0})
    assert coverage.text({"a": 1201, "b": 0}) == (
        "Event coverage, avg rate over last: 5 seconds, last minute, last hour:\n"
        "a                         10.0/sec    10.000/sec        0.3333/sec   total: 1201\n"
        "1 events never hit\n"
    )


def test_a_gauge_knows_mean_and_most() -> None:
    gauge = Gauge()
    for figure in [900, *[100] * 2000]:
        gauge.look(figure)
    assert gauge.most == 900
    assert round(gauge.mean) == 100
