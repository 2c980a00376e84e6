"""Every message in every version: what is written is read as it was; what is broken is refused, and nothing worse."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.examples import examples
from tests.openflow_messages import VERSIONS, XID, flow_mods, flow_removals, messages, packet_ins
from vswitch.messages.base import Message
from vswitch.messages.errors import OpenFlowError
from vswitch.messages.flows import FlowMod
from vswitch.openflow.codec import decode, decode_message, encode, encode_message
from vswitch.openflow.errors import ALIASES, NUMBERS
from vswitch.openflow.wire import HEADER, Dialect, ProtocolError


@pytest.mark.parametrize("version", VERSIONS)
@given(data=st.data())
@examples(60)
def test_message_comes_back(version: int, data) -> None:
    message = data.draw(messages(version))
    written = encode(message, version, XID)
    assert HEADER.unpack_from(written)[0] == version
    assert HEADER.unpack_from(written)[2:] == (len(written), XID)
    assert decode(written) == (message, XID)


@given(message=flow_mods(1), table=st.integers(0, 254), nxm=st.booleans())
def test_table_of_a_flow_mod_of_1_0_comes_back(message: FlowMod, table: int, nxm: bool) -> None:
    known = replace(message, table=table)
    dialect = Dialect(1, table_id=True, nxm=nxm)
    assert decode_message(encode_message(known, dialect, 1), dialect) == (known, 1)


@given(message=flow_removals(1), nxm=st.booleans(), table=st.integers(0, 253))
def test_nicira_flow_removed_comes_back(message, nxm: bool, table: int) -> None:
    if nxm:
        message = replace(message, table=table)
    dialect = Dialect(1, nxm=nxm)
    assert decode_message(encode_message(message, dialect, 1), dialect) == (message, 1)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("shape", [1, 2])
@given(data=st.data())
@examples(10)
def test_packet_in_of_nicira_comes_back(version: int, shape: int, data) -> None:
    message = data.draw(packet_ins(version, shape))
    dialect = Dialect(version, packet_in=shape)
    assert decode_message(encode_message(message, dialect, 1), dialect) == (message, 1)


def read(data: bytes) -> Message | None:
    """The message, or None where it is refused properly."""
    refusal = None
    try:
        return decode(data)[0]
    except ProtocolError:
        return None
    except OpenFlowError as error:
        refusal = error.error
    assert ALIASES.get(refusal, refusal) in NUMBERS
    return None


def framed(version: int, kind: int, body: bytes) -> bytes:
    return HEADER.pack(version, kind, 8 + len(body), XID) + body


@pytest.mark.parametrize("version", VERSIONS)
@given(data=st.data())
@examples(20)
def test_every_truncation_is_refused_or_is_a_message(version: int, data) -> None:
    written = encode(data.draw(messages(version)), version, XID)
    for end in range(8, min(len(written), 400)):
        read(framed(version, written[1], written[8:end]))


@pytest.mark.parametrize("version", VERSIONS)
@given(data=st.data())
@examples(50)
def test_every_flipped_bit_is_refused_or_is_a_message(version: int, data) -> None:
    written = bytearray(encode(data.draw(messages(version)), version, XID))
    for bit in data.draw(st.lists(st.integers(0, 8 * len(written) - 1), min_size=1, max_size=4)):
        written[bit // 8] ^= 1 << bit % 8
    read(bytes(written))
    read(framed(version, written[1] & 0x3F, bytes(written[8:])))


@pytest.mark.parametrize("version", VERSIONS)
@given(kind=st.integers(0, 40), body=st.binary(max_size=200))
@examples(50)
def test_random_bytes_are_refused_or_are_a_message(version: int, kind: int, body: bytes) -> None:
    read(framed(version, kind, body))
    read(body)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("vendor", [0x2320, 0x4F4E4600, 0x1234])
@given(
    kind=st.one_of(st.integers(0, 40), st.integers(1860, 1880), st.integers(2300, 2302)), body=st.binary(max_size=99)
)
@examples(30)
def test_random_experimenters_are_refused_or_are_a_message(version: int, vendor: int, kind: int, body: bytes) -> None:
    read(framed(version, 4, vendor.to_bytes(4, "big") + kind.to_bytes(4, "big") + body))


@pytest.mark.parametrize("version", VERSIONS)
@given(data=st.data())
@examples(30)
def test_what_is_read_can_be_written(version: int, data) -> None:
    """A broken message that is a message nevertheless is written and read again as the same."""
    written = bytearray(encode(data.draw(messages(version)), version, XID))
    bit = data.draw(st.integers(64, max(64, 8 * len(written) - 1)))
    if bit < 8 * len(written):
        written[bit // 8] ^= 1 << bit % 8
    message = read(bytes(written))
    if message is None:
        return
    again = encode(message, version, XID)
    read(again)
