"""Fields, actions and instructions: what is written is read as it was; what is broken is refused, never worse."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.examples import examples
from tests.openflow_messages import VERSIONS, actions, flow_actions, matches
from vswitch.messages.errors import OpenFlowError
from vswitch.openflow import legacy_match
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


@st.composite
def matches_of_10_of_a_kind(draw: st.DrawFn) -> list[bytes]:
    """Some with the same wildcards, type and protocol, which are read by one plan."""
    wild = draw(st.integers(0, (1 << 32) - 1)) | draw(st.sampled_from([0, 0x300003, 0x3820FF]))
    eth_type = draw(st.sampled_from([0x0800, 0x86DD, 0x0806, 0x8847]) | st.integers(0, 0xFFFF))
    proto = draw(st.sampled_from([1, 6, 17, 58, 132]) | st.integers(0, 255))
    found = []
    for _ in range(3):
        data = bytearray(draw(st.binary(min_size=40, max_size=40)))
        data[:4], data[22:24], data[25] = wild.to_bytes(4, "big"), eth_type.to_bytes(2, "big"), proto
        found.append(bytes(data))
    return found


@examples(150)
@given(matches_of_10_of_a_kind())
def test_matches_of_10_are_read_by_a_plan_as_field_by_field(matches: list[bytes]) -> None:
    for data in matches:
        read: list[tuple[int, int] | str] = []
        for reader in (legacy_match._decode_10, legacy_match._read_10):
            try:
                match = reader(data, 0)
                read.append((match.value, match.mask))
            except OpenFlowError as error:
                read.append(str(error))
        assert read[0] == read[1], data.hex()
