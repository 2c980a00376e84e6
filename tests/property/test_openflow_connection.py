"""A connection bears whatever comes: any bytes, cut in any way, and tells of messages as they were sent."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from tests.examples import examples
from tests.openflow_messages import messages
from vswitch.messages.control import EchoReply, EchoRequest, Hello
from vswitch.openflow.codec import encode
from vswitch.openflow.connection import Connected, Connection, Failed, Received, Refused
from vswitch.openflow.wire import HEADER

HELLO = HEADER.pack(4, 0, 8, 1)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return [data[begin:end] for begin, end in itertools.pairwise(ends)]


@given(st.lists(messages(4), max_size=5), st.lists(st.integers(0, 10**6), max_size=8))
@examples(30)
def test_messages_come_in_order_however_they_are_cut(sent, places) -> None:
    data = HELLO + b"".join(encode(message, 4, 0x12345678) for message in sent)
    connection = Connection(0, (4,))
    events = [event for piece in cut(data, places) for event in connection.receive_data(piece, 0)]
    assert events[:1] == [Connected(4)]
    told = [event.message for event in events if isinstance(event, Received)]
    assert told == [each for each in sent if not isinstance(each, Hello | EchoRequest)]
    replies = [encode(EchoReply(each.data), 4, 0x12345678) for each in sent if isinstance(each, EchoRequest)]
    assert connection.data_to_send().endswith(b"".join(replies))


@given(st.booleans(), st.lists(st.binary(max_size=80), max_size=8))
@examples(60)
def test_any_bytes_end_in_events(agreed: bool, pieces: list[bytes]) -> None:
    connection = Connection(0)
    if agreed:
        connection.receive_data(HELLO, 0)
    events = [event for piece in pieces for event in connection.receive_data(piece, 0)]
    assert all(isinstance(event, Connected | Received | Refused | Failed) for event in events)
    assert connection.failed == any(isinstance(event, Failed) for event in events)
    assert not any(isinstance(event, Failed) for event in events[:-1]), "nothing comes after the end"
    connection.data_to_send()


@given(st.data())
@examples(30)
def test_a_broken_message_does_not_harm_the_next(data) -> None:
    written = bytearray(encode(data.draw(messages(4)), 4, 7))
    bit = data.draw(st.integers(64, max(64, 8 * len(written) - 1)))
    if bit < 8 * len(written):
        written[bit // 8] ^= 1 << bit % 8
    connection = Connection(0, (4,))
    connection.receive_data(HELLO, 0)
    (*_, last) = connection.receive_data(bytes(written) + encode(EchoReply(b"still"), 4, 9), 0)
    assert isinstance(last, Received)
    assert last.message == EchoReply(b"still")
