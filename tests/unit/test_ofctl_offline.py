"""What `vswitch ofctl` does without a switch: messages in hexadecimal, in files, in captures; texts of flows."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from tests.ofctl_peer import run_ofctl
from vswitch.messages.actions import Output
from vswitch.messages.control import EchoRequest, Hello
from vswitch.messages.flows import FlowMod
from vswitch.messages.match import FlowMatch
from vswitch.openflow.codec import encode
from vswitch.text.openflow_names import message_name
from vswitch.text.openflow_print import format_message

HELLO = encode(Hello(frozenset({1, 4})), 4, 1)
ECHO = encode(EchoRequest(b"abc"), 4, 2)

CUT = """\
OFPT_GET_CONFIG_REQUEST (OF1.3) (xid=0x1):
(***truncated to 8 bytes from 12***)
00000000  04 07 00 0c 00 00 00 01-                        |........        |
"""
PRINTED = [
    ("0405000800000001", "OFPT_FEATURES_REQUEST (OF1.3) (xid=0x1):\n"),
    ("010200080000000a", "OFPT_ECHO_REQUEST (xid=0xa): 0 bytes of payload\n"),
    ("0104001400000001000023200000000a00000001", "NXT_ROLE_REQUEST (xid=0x1): role=primary\n"),
    ("0407000c00000001", CUT),
    ("0409000c0000000100030080", "OFPT_SET_CONFIG (OF1.3) (xid=0x1): frags=nx-match miss_send_len=128\n"),
]  # fmt: skip


@pytest.mark.parametrize(("digits", "text"), PRINTED)
def test_a_message_in_hexadecimal_is_printed(digits: str, text: str) -> None:
    assert run_ofctl(["ofp-print", digits]) == (0, text, "")


def test_digits_that_are_none_are_refused() -> None:
    assert run_ofctl(["ofp-print", "04zz"]).status == 2


def test_the_messages_of_a_file_are_printed_in_order(tmp_path: Path) -> None:
    file = tmp_path / "messages"
    file.write_bytes(HELLO + ECHO)
    done = run_ofctl(["ofp-parse", str(file)])
    assert [line.split()[0] for line in done.out.splitlines() if line.startswith("OFPT")] == [
        "OFPT_HELLO",
        "OFPT_ECHO_REQUEST",
    ]
    file.write_bytes(HELLO + ECHO[:-1])
    done = run_ofctl(["ofp-parse", str(file)])
    assert done.status == 1
    assert f"at byte {len(HELLO)} has 11 bytes, 10 are there" in done.err


def segment(sequence: int, data: bytes, flags: int = 0x10) -> bytes:
    tcp = struct.pack("!HHIIBBHHH", 40000, 6653, sequence, 0, 5 << 4, flags, 100, 0, 0) + data
    ip = struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0, 20 + len(tcp), 0, 0, 64, 6, 0, bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2])
    )
    return bytes(12) + b"\x08\x00" + ip + tcp


def capture(frames: list[bytes]) -> bytes:
    head = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
    return head + b"".join(struct.pack("<IIII", 5, 250000, len(each), len(each)) + each for each in frames)


def test_messages_are_found_in_a_capture_whatever_the_order_of_segments(tmp_path: Path) -> None:
    file = tmp_path / "openflow.pcap"
    stream = HELLO + ECHO
    file.write_bytes(
        capture(
            [
                segment(99, b"", flags=2),
                segment(100, stream[:5]),
                segment(110, stream[10:]),
                segment(105, stream[5:10]),
                segment(105, stream[5:10]),
            ]
        )
    )
    done = run_ofctl(["--timestamp", "ofp-parse-pcap", str(file)])
    assert done.status == 0
    lines = [line for line in done.out.splitlines() if "OFPT" in line]
    assert len(lines) == 2
    assert "OFPT_ECHO_REQUEST (OF1.3) (xid=0x2): 3 bytes of payload" in lines[1]
    assert lines[0].startswith("1970-01-01 00:00:05.250 10.0.0.1.40000->10.0.0.2.6653: OFPT_HELLO")
    assert run_ofctl(["ofp-parse-pcap", str(file), "99"]).out == ""


def test_what_is_no_capture_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "openflow.pcap"
    file.write_bytes(b"no capture at all, but long enough")
    done = run_ofctl(["ofp-parse-pcap", str(file)])
    assert (done.status, "no capture" in done.err) == (1, True)


FLOWS = [
    ("in_port=1,actions=2", [], "any", "OpenFlow10-table_id",
     "OFPT_FLOW_MOD (xid=0x1): ADD in_port=1 actions=output:2"),
    ("table=3,reg0=1,actions=drop", [], "OXM,NXM+table_id", "NXM+table_id",
     "NXT_FLOW_MOD (xid=0x1): ADD table:3 reg0=0x1 actions=drop"),
    ("in_port=1,actions=2", ["-O", "OpenFlow13"], "any", "OXM-OpenFlow13",
     "OFPT_FLOW_MOD (OF1.3) (xid=0x1): ADD in_port=1 actions=output:2"),
    ("in_port=1,actions=2", ["-F", "nxm"], "any", "NXM-table_id",
     "NXT_FLOW_MOD (xid=0x1): ADD in_port=1 actions=output:2"),
]  # fmt: skip


@pytest.mark.parametrize(("flow", "options", "usable", "chosen", "text"), FLOWS)
def test_a_flow_is_shown_in_the_simplest_format(
    flow: str, options: list[str], usable: str, chosen: str, text: str
) -> None:
    done = run_ofctl([*options, "parse-flow", flow])
    assert done.status == 0, done.err
    assert done.out.splitlines()[1:] == [f"chosen protocol: {chosen}", text]
    assert set(usable.split(",")) <= set(done.out.splitlines()[0].removeprefix("usable protocols: ").split(","))


def test_the_place_of_a_fault_is_shown() -> None:
    done = run_ofctl(["parse-flow", "tcp,nw_dst=1.2.3.4.5,actions=1"])
    assert done.status == 1
    assert "at character 11" in done.err


def test_a_message_without_bytes_has_the_name_of_its_version() -> None:
    mod = FlowMod(0, FlowMatch(in_port=1), (Output(2),))  # type: ignore[arg-type]
    assert format_message(mod, 4, xid=9) == "OFPT_FLOW_MOD (OF1.3) (xid=0x9): ADD in_port=1 actions=output:2\n"
    assert format_message(mod, 1, ports={1: "p1", 2: "a b"}) == (
        'OFPT_FLOW_MOD (xid=0x0): ADD in_port=p1 actions=output:"a b"\n'
    )


@pytest.mark.parametrize("data", [b"", b"\4", b"\x09\0\0\x08\0\0\0\1", b"\4\4\0\x08\0\0\0\1", b"\4\x63\0\x08\0\0\0\1"])
def test_bytes_of_no_message_have_no_name(data: bytes) -> None:
    assert message_name(data) == ""
