"""Messages that are refused, and by which error: one row for each fault, in the words of the specification."""

from __future__ import annotations

import pytest

from vswitch.messages.control import Error
from vswitch.messages.errors import OpenFlowError
from vswitch.messages.flows import FlowCommand, FlowMod
from vswitch.messages.match import FlowMatch
from vswitch.openflow.actions import decode_actions
from vswitch.openflow.codec import decode, encode
from vswitch.openflow.errors import NUMBERS
from vswitch.openflow.instructions import decode_instructions
from vswitch.openflow.matches import decode_match, decode_nxm
from vswitch.openflow.oxm import decode_fields
from vswitch.openflow.wire import HEADER, ProtocolError

FIELDS = [
    ("8000 0a 02 0800 8000 0a 02 0800", "bad_match.dup_field"),
    ("8000 14 01 06", "bad_match.bad_prereq"),  # ip_proto before eth_type
    ("8000 16 04 0a000001 8000 0a 02 0800", "bad_match.bad_prereq"),
    ("8000 0a 02 86dd 8000 16 04 0a000001", "bad_match.bad_prereq"),
    ("8000 0a 04 00000800", "bad_match.bad_len"),
    ("8000 0a 02 08", "bad_match.bad_len"),
    ("8000 0a", "bad_match.bad_len"),
    ("8000 0b 04 0800 ffff", "bad_match.bad_mask"),  # eth_type has none
    ("8000 07 0c 000000000001 ff0000000000", "bad_match.bad_wildcards"),
    ("8000 0a 02 0800 8000 10 01 40", "bad_match.bad_value"),  # ip_dscp has six bits
    ("8000 00 04 0000ff00", "bad_match.bad_value"),  # a port between 16 and 32 bits
    ("8000 0c 02 2005", "bad_match.bad_value"),
    ("8000 0e 01 03", "bad_match.bad_prereq"),  # vlan_pcp without a VLAN
    ("8000 7e 01 03", "bad_match.bad_field"),
    ("7777 00 01 03", "bad_match.bad_field"),
    ("ffff 00 08 00001234 00000001", "bad_match.bad_field"),
]


@pytest.mark.parametrize(("fields", "error"), FIELDS)
def test_fields(fields: str, error: str) -> None:
    data = bytes.fromhex(fields)
    with pytest.raises(OpenFlowError) as refused:
        decode_fields(data, 0, len(data))
    assert refused.value.error == error


def test_unknown_fields_of_a_packet_are_passed_over() -> None:
    data = bytes.fromhex("8000 7e 01 03 8000 14 01 06".replace(" ", ""))
    assert decode_fields(data, 0, len(data), strict=False) == FlowMatch.from_ints(*_proto(6))


def _proto(value: int) -> tuple[int, int]:
    whole = FlowMatch(eth_type=0x0800, ip_proto=value)
    ether = FlowMatch(eth_type=0x0800)
    return whole.value & ~ether.mask, whole.mask & ~ether.mask


MATCHES = [
    (4, "0000 0004 00000000", "bad_match.bad_type"),
    (4, "0001 0003 00000000", "bad_match.bad_len"),
    (4, "0001 0010 00000000", "bad_match.bad_len"),
    (4, "0001", "bad_match.bad_len"),
    (1, "00" * 39, "bad_request.bad_len"),
    (2, "0000 0058" + "00" * 80, "bad_match.bad_len"),
    (2, "0000 0057" + "00" * 84, "bad_match.bad_len"),
    (2, "0007 0058" + "00" * 84, "bad_match.bad_type"),
]


@pytest.mark.parametrize(("version", "data", "error"), MATCHES)
def test_matches(version: int, data: str, error: str) -> None:
    with pytest.raises(OpenFlowError) as refused:
        decode_match(bytes.fromhex(data), 0, version)
    assert refused.value.error == error


def test_nxm_that_ends_behind_its_message() -> None:
    with pytest.raises(OpenFlowError) as refused:
        decode_nxm(bytes(8), 0, 9)
    assert refused.value.error == "bad_request.bad_len"


ACTIONS = [
    (4, "0000 0010 00000001 0000 0000", "bad_action.bad_len"),
    (4, "0000 0008 00000001", "bad_action.bad_len"),
    (4, "0000 000c 00000001 00000000", "bad_action.bad_len"),
    (4, "0000 0000 00000000", "bad_action.bad_len"),
    (4, "0063 0008 00000000", "bad_action.bad_type"),
    (4, "0001 0008 00050000", "bad_action.bad_type"),  # set_vlan_vid ended with 1.1
    (4, "0000 0010 0000ff00 0000 000000000000", "bad_action.bad_out_port"),
    (4, "0011 0008 1234 0000", "bad_action.bad_argument"),  # pushes no VLAN
    (4, "0019 0010 8000 0a 02 0800 0000 00000000", "bad_action.bad_set_argument"),  # eth_type
    (4, "0019 0010 8000 7e 02 0800 0000 00000000", "bad_action.bad_set_type"),
    (4, "0019 0010 8000 06 05 0000 0000 00000000", "bad_action.bad_set_len"),
    (4, "0019 0018 8000 07 0c 000000000001 0000000000ff 00000000", "bad_action.bad_set_mask"),
    (1, "0001 0008 2000 0000", "bad_action.bad_argument"),
    (1, "0008 0008 01 000000", "bad_action.bad_argument"),
    (1, "ffff 0008 00002320", "bad_action.bad_len"),
    (1, "ffff 0010 00001234 0000 000000000000", "bad_action.bad_experimenter"),
    (1, "ffff 0010 00002320 0fff 000000000000", "bad_action.bad_exp_type"),
    (1, "ffff 0018 00002320 0011 000000000000 0000000000000000", "bad_action.bad_len"),
    (1, "ffff 0010 00002320 0022 03 03 00000001", "nicira.bad_conjunction"),
    (1, "ffff 0018 00002320 0007 0007 00010004 0000000000000100", "bad_action.bad_argument"),
    (1, "ffff 0018 00002320 0007 07df 00010004 0000000000000000", "bad_action.bad_set_len"),
    (1, "ffff 0018 00002320 0006 0020 0000 0000 00010004 00000602", "bad_action.bad_set_len"),
    (1, "ffff 0018 00002320 001d 0000 00000000 00000000 00000000", "bad_action.bad_argument"),
    (4, "ffff 0018 00002320 0023 0002 00000000 0000 ff 000000 0000", "bad_action.bad_argument"),
    (4, "ffff 0018 00002320 0025 000000000000 0009 0004 00000000", "bad_property.bad_type"),
]


@pytest.mark.parametrize(("version", "data", "error"), ACTIONS)
def test_actions(version: int, data: str, error: str) -> None:
    with pytest.raises(OpenFlowError) as refused:
        decode_actions(bytes.fromhex(data), version)
    assert refused.value.error == error


def test_actions_within_actions_have_a_bound() -> None:
    data = b""
    for _ in range(200):
        data = (
            bytes.fromhex("ffff")
            + (16 + len(data)).to_bytes(2, "big")
            + bytes.fromhex("00002320002a000000000000")
            + data
        )
    with pytest.raises(OpenFlowError) as refused:
        decode_actions(data, 4)
    assert refused.value.error == "bad_action.too_many"


INSTRUCTIONS = [
    (4, "0001 0008 03000000 0001 0008 04000000", "bad_instruction.dup_inst"),
    (4, "0001 0010 03000000 0000000000000000", "bad_instruction.bad_len"),
    (4, "0001 0007 03000000", "bad_instruction.bad_len"),
    (4, "0001", "bad_instruction.bad_len"),
    (4, "0009 0008 00000000", "bad_instruction.unknown_inst"),
    (3, "0006 0008 00000001", "bad_instruction.unknown_inst"),  # meters begin with 1.3
    (6, "0006 0008 00000001", "bad_instruction.unknown_inst"),  # and are actions in 1.5
    (4, "ffff 0008 00002320", "bad_instruction.bad_experimenter"),
]


@pytest.mark.parametrize(("version", "data", "error"), INSTRUCTIONS)
def test_instructions(version: int, data: str, error: str) -> None:
    with pytest.raises(OpenFlowError) as refused:
        decode_instructions(bytes.fromhex(data), version)
    assert refused.value.error == error


def framed(version: int, kind: int, body: str) -> bytes:
    data = bytes.fromhex(body)
    return HEADER.pack(version, kind, 8 + len(data), 1) + data


FLOW_MOD = encode(FlowMod(FlowCommand.ADD, FlowMatch(in_port=1)), 4, 1)[8:].hex()
MESSAGES = [
    (framed(4, 99, ""), "bad_request.bad_type"),
    (framed(1, 24, ""), "bad_request.bad_type"),
    (framed(5, 22, "00000001 00000000"), "bad_request.bad_type"),  # queues are a multipart from 1.4 on
    (framed(4, 20, "00"), "bad_request.bad_len"),
    (framed(4, 14, FLOW_MOD[:60]), "bad_request.bad_len"),
    (framed(4, 14, FLOW_MOD[:34] + "05" + FLOW_MOD[36:]), "flow_mod_failed.bad_command"),
    (framed(4, 14, FLOW_MOD[:72] + "8000" + FLOW_MOD[76:]), "flow_mod_failed.bad_flags"),
    (framed(4, 13, "ffffffff 00000001 0100 000000000000"), "bad_request.bad_len"),
    (framed(4, 13, "ffffffff fffffff8 0000 000000000000"), "bad_request.bad_port"),
    (framed(4, 15, "0009 00 00 00000001"), "group_mod_failed.bad_command"),
    (framed(4, 15, "0000 09 00 00000001"), "group_mod_failed.bad_type"),
    (framed(4, 15, "0000 00 00 00000001 0008 0000 00000000"), "group_mod_failed.bad_bucket"),
    (framed(4, 29, "0009 0001 00000001"), "meter_mod_failed.bad_command"),
    (framed(4, 29, "0000 0010 00000001"), "meter_mod_failed.bad_flags"),
    (framed(4, 29, "0000 0003 00000001"), "meter_mod_failed.bad_flags"),
    (framed(6, 15, "0000 00 00 00000001 0000 0000 00000005"), "group_mod_failed.bad_bucket"),
    (framed(6, 15, "0003 00 00 00000001 0000 0000 ffffffff"), "group_mod_failed.bad_bucket"),
    (framed(6, 15, "0005 00 00 00000001 0000 0000 ffffff01"), "group_mod_failed.bad_bucket"),
    (framed(4, 29, "0000 0001 00000001 0007 0010 00000001 00000000 00000000"), "meter_mod_failed.bad_band"),
    (framed(4, 24, "00000009 00000000 0000000000000000"), "role_request_failed.bad_role"),
    (framed(4, 9, "0010 0080"), "switch_config_failed.bad_flags"),
    (framed(5, 33, "00000001 0008 0001"), "bundle_failed.bad_type"),
    (framed(5, 33, "00000001 0000 0008"), "bundle_failed.bad_flags"),
    (framed(5, 34, "00000001 0000 0001 0514 0009 00000001"), "bundle_failed.msg_bad_len"),
    (framed(5, 34, "00000001 0000 0001 0514 0008 00000002"), "bundle_failed.msg_bad_xid"),
    (framed(5, 34, "00000001 0000 0001 0414 0008 00000001"), "bundle_failed.bad_version"),
    (framed(5, 28, "0063 0008 00000001"), "bad_property.bad_type"),
    (framed(4, 4, "00002320 0000ffff"), "bad_request.bad_exp_type"),
    (framed(4, 4, "0000"), "bad_request.bad_len"),
    (framed(1, 4, "00002320 00000018 0009 000000000000"), "nicira.tlv_bad_command"),
    (framed(1, 4, "00002320 00000018 0000 000000000000 ffff 00 03 0000 0000"), "nicira.tlv_bad_opt_len"),
]


@pytest.mark.parametrize(("data", "error"), MESSAGES, ids=lambda value: value if isinstance(value, str) else None)
def test_messages(data: bytes, error: str) -> None:
    with pytest.raises(OpenFlowError) as refused:
        decode(data)
    assert refused.value.error == error
    assert error in NUMBERS


@pytest.mark.parametrize(
    "data", [b"", b"\4", b"\4\0\0", b"\0\0\0\x08\0\0\0\0", b"GET / HTTP/1.1", HEADER.pack(4, 2, 9, 1)]
)
def test_what_is_no_openflow(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode(data)


# (error, version, bytes of the error message's body before the data)
ERRORS = [
    ("bad_match.bad_prereq", 1, "b0c2 0000 00002320 0001 0104"),
    ("bad_match.bad_prereq", 4, "0004 0009"),
    ("flow_mod_failed.overlap", 1, "0003 0001"),
    ("flow_mod_failed.overlap", 4, "0005 0003"),
    ("bundle_failed.bad_id", 4, "ffff 08fe 4f4e4600"),
    ("bundle_failed.bad_id", 5, "0011 0002"),
    ("bundle_failed.bad_id", 3, "ffff 000a 00002320"),  # which 1.2 cannot say
    ("bad_request.is_slave", 4, "0001 000a"),
    ("bad_request.is_secondary", 4, "0001 000a"),
    ("77/3", 4, "004d 0003"),
]


@pytest.mark.parametrize(("error", "version", "body"), ERRORS)
def test_errors_have_the_numbers_of_their_version(error: str, version: int, body: str) -> None:
    assert encode(Error(error, b"data"), version, 1)[8:] == bytes.fromhex(body) + b"data"
