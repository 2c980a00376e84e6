"""Multipart messages: what is written is read again, and what is not well formed is refused and nothing else."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import openflow_stats as drawn
from tests.examples import examples
from vswitch.messages.base import Message
from vswitch.messages.control import QueueConfigRequest
from vswitch.messages.errors import OpenFlowError
from vswitch.messages.stats import FlowMonitorCancel, FlowMonitorPause
from vswitch.openflow import monitors, multipart, queues, table_config
from vswitch.openflow.errors import ALIASES, NUMBERS

Case = tuple[int, bool, str]


@functools.cache
def messages(version: int, is_reply: bool) -> dict[str, Any]:
    return drawn.replies(version) if is_reply else drawn.requests(version)


CASES: list[Case] = [
    (version, is_reply, name)
    for version in drawn.VERSIONS
    for is_reply in (False, True)
    for name in messages(version, is_reply)
    if is_reply or name != "experimenter"
]


def identity(case: Case) -> str:
    version, is_reply, name = case
    return f"1.{version - 1} {name} {'reply' if is_reply else 'request'}"


def strategy(case: Case) -> st.SearchStrategy[Any]:
    version, is_reply, name = case
    found: st.SearchStrategy[Any] = messages(version, is_reply)[name]
    return found


def tried(decode: Callable[..., Message], *arguments: Any) -> Message | OpenFlowError:
    """What it is, or the refusal."""
    try:
        return decode(*arguments)
    except OpenFlowError as error:
        return error


def is_said(found: Message | OpenFlowError) -> bool:
    """Whether a refusal has a name that the codec has numbers for."""
    return not isinstance(found, OpenFlowError) or ALIASES.get(found.error, found.error) in NUMBERS


LAZY = settings(examples(8), suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("case", CASES, ids=identity)
@LAZY
@given(data=st.data())
def test_what_is_written_is_read_again(case: Case, data: st.DataObject) -> None:
    version, is_reply, _ = case
    message = data.draw(strategy(case))
    (body,) = multipart.encode(message, version)
    assert multipart.decode(body, version, is_reply) == message


@pytest.mark.parametrize("case", CASES, ids=identity)
@LAZY
@given(data=st.data())
def test_cut_off_anywhere_it_is_refused_or_shorter(case: Case, data: st.DataObject) -> None:
    version, is_reply, _ = case
    message = data.draw(strategy(case))
    (body,) = multipart.encode(message, version)
    for length in range(len(body)):
        found = tried(multipart.decode, body[:length], version, is_reply)
        assert is_said(found), found
        assert found != message


@pytest.mark.parametrize("case", CASES, ids=identity)
@LAZY
@given(data=st.data())
def test_changed_bits_are_read_or_refused_by_a_name(case: Case, data: st.DataObject) -> None:
    version, is_reply, _ = case
    (body,) = multipart.encode(data.draw(strategy(case)), version)
    changed = bytearray(body)
    for bit in data.draw(st.lists(st.integers(0, 8 * len(body) - 1), min_size=1, max_size=4)):
        changed[bit // 8] ^= 1 << bit % 8
    assert is_said(tried(multipart.decode, bytes(changed), version, is_reply))


@pytest.mark.parametrize("version", drawn.VERSIONS)
@examples(60)
@given(kind=st.integers(0, 20) | st.just(0xFFFF), rest=st.binary(max_size=200), is_reply=st.booleans())
def test_random_bytes_are_read_or_refused_by_a_name(version: int, kind: int, rest: bytes, is_reply: bool) -> None:
    assert is_said(tried(multipart.decode, kind.to_bytes(2, "big") + rest, version, is_reply))


# ---- what is not a multipart, and says the same


def agrees(body: bytes, message: Message, decode: Callable[..., Message], *rest: Any) -> None:
    """It is read as it was written; cut off anywhere, or with any bit changed, it is another or refused by a name."""
    assert decode(body, *rest) == message
    for length in range(len(body)):
        found = tried(decode, body[:length], *rest)
        assert is_said(found), found
        assert found != message
    for bit in range(8 * len(body)):
        changed = bytearray(body)
        changed[bit // 8] ^= 1 << bit % 8
        assert is_said(tried(decode, bytes(changed), *rest))


@pytest.mark.parametrize("version", range(2, 7))
@LAZY
@given(data=st.data())
def test_table_mods(version: int, data: st.DataObject) -> None:
    message = data.draw(drawn.table_mods(version))
    agrees(table_config.encode_table_mod(message, version), message, table_config.decode_table_mod, version)


@pytest.mark.parametrize("version", range(1, 5))
@LAZY
@given(port=drawn.any_ports)
def test_requests_for_queues(version: int, port: int) -> None:
    message = QueueConfigRequest(port)
    body = queues.encode_queue_config_request(message, version)
    agrees(body, message, queues.decode_queue_config_request, version)


@pytest.mark.parametrize("version", range(1, 5))
@LAZY
@given(data=st.data())
def test_queues(version: int, data: st.DataObject) -> None:
    message = data.draw(drawn.queue_configs(version))
    agrees(queues.encode_queue_config_reply(message, version), message, queues.decode_queue_config_reply, version)


@pytest.mark.parametrize("version", range(1, 5))
@pytest.mark.parametrize("message", [FlowMonitorCancel(7), FlowMonitorPause(True), FlowMonitorPause(False)], ids=repr)
def test_experimenters_messages_of_monitors(version: int, message: FlowMonitorCancel | FlowMonitorPause) -> None:
    vendor, kind, data = monitors.encode_experimenter(message, version)
    assert monitors.decode_experimenter(vendor, kind, data) == message
    with pytest.raises(OpenFlowError, match=r"bad_request\.bad_len"):
        monitors.decode_experimenter(vendor, kind, data + b"\0")
    assert monitors.decode_experimenter(vendor, 99, data) is None
