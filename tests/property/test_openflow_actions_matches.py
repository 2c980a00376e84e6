"""Fields, actions and instructions: what is written is read as it was; what is broken is refused, never worse."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.examples import examples
from tests.openflow_messages import VERSIONS, actions, flow_actions, matches
from vswitch.messages.errors import OpenFlowError
from vswitch.openflow.actions import decode_actions, encode_actions
from vswitch.openflow.errors import ALIASES, NUMBERS
from vswitch.openflow.instructions import decode_instructions, encode_instructions
from vswitch.openflow.oxm import decode_fields, decode_match, encode_fields, encode_match


@pytest.mark.parametrize("version", VERSIONS)
@given(data=st.data())
@examples(40)
def test_match_comes_back(version, data) -> None:
    match = data.draw(matches())
    for nxm in (False, True):
        fields = encode_fields(match, version, nxm=nxm)
        assert decode_fields(fields, 0, len(fields)) == match
    whole = encode_match(match, version)
    if version >= 3:
        assert len(whole) % 8 == 0
        assert decode_match(b"12345678" + whole + b"x", 8) == (match, 8 + len(whole))


@pytest.mark.parametrize("version", VERSIONS)
@given(data=st.data())
@examples(40)
def test_actions_come_back(version, data) -> None:
    each = data.draw(actions(version))
    written = encode_actions(each, version)
    assert len(written) % 8 == 0
    assert decode_actions(written, version) == each


@pytest.mark.parametrize("version", VERSIONS[1:])
@given(data=st.data())
@examples(30)
def test_instructions_come_back(version, data) -> None:
    each = data.draw(flow_actions(version))
    assert decode_instructions(encode_instructions(each, version), version) == each


def refused_or_read(decode, *arguments) -> None:
    """It is read, or refused by an error that has a number."""
    refusal = None
    try:
        decode(*arguments)
    except OpenFlowError as error:
        refusal = error.error
    assert refusal is None or ALIASES.get(refusal, refusal) in NUMBERS


@pytest.mark.parametrize("version", VERSIONS)
@given(data=st.data())
@examples(40)
def test_broken_bytes_are_refused(version, data) -> None:
    good = encode_actions(data.draw(actions(version)), version)
    fields = encode_fields(data.draw(matches()), version)
    for piece in (good, fields):
        if not piece:
            continue
        bit = data.draw(st.integers(0, 8 * len(piece) - 1))
        flipped = bytearray(piece)
        flipped[bit // 8] ^= 1 << bit % 8
        cut = piece[: data.draw(st.integers(0, len(piece)))]
        for broken in (bytes(flipped), cut, cut + data.draw(st.binary(max_size=16))):
            refused_or_read(decode_actions, broken, version)
            refused_or_read(decode_fields, broken, 0, len(broken))
            if version >= 3:
                refused_or_read(decode_match, broken)
            if version >= 2:
                refused_or_read(decode_instructions, broken, version)
