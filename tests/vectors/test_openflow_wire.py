"""Messages as bytes: what programs of Open vSwitch 3.1 sent on a socket, and what it means. Needs no such program."""

from __future__ import annotations

import pytest

from vswitch.messages.actions import Controller, Output, Resubmit
from vswitch.messages.base import Message
from vswitch.messages.control import (
    BundleAdd,
    BundleControl,
    BundleControlType,
    FlowModTableId,
    SetFlowFormat,
    TlvMap,
    TlvTableMod,
)
from vswitch.messages.flows import (
    Bucket,
    FlowCommand,
    FlowFlags,
    FlowMod,
    GroupCommand,
    GroupMod,
    GroupType,
    MeterBand,
    MeterCommand,
    MeterMod,
    PacketOut,
)
from vswitch.messages.match import FlowMatch
from vswitch.openflow.codec import decode_message, encode_message
from vswitch.openflow.wire import Dialect

ZEROS = "0000000000000000"
TCP = FlowMatch(eth_type=0x0800, ip_proto=6)
FRAME = bytes.fromhex("00000000000000000000000008000000")
NO_BUFFER_ANY_ANY = "ffffffff" * 3
ADD_TCP = (
    f"050e005800000002{ZEROS}{ZEROS}0000000000008000{NO_BUFFER_ANY_ANY}00000000"
    f"0001000f80000a020800800014010600000400180000000000000010000000010000{ZEROS[4:]}"
)
FLOW = FlowMod(FlowCommand.ADD, TCP, (Output(1),))
IN_VLAN_5 = {"vlan_vid": 0x1005, "vlan_pcp": 3}

# (dialect, bytes, what it is)
ROWS: list[tuple[Dialect, str, Message]] = [
    (Dialect(1), "0104001400000002 000023200000000c 00000002", SetFlowFormat(2)),
    (Dialect(1), "0104001800000002 000023200000000f 0100000000000000", FlowModTableId(True)),
    (
        Dialect(1, True, True),
        (f"0104004000000002 000023200000000d {ZEROS} 0300 0000 0000 8000 ffffffff ffff 0000 0008 000000000000"
        " 0001000400000001 0000000800010000"),
        FlowMod(FlowCommand.ADD, FlowMatch(reg0=1), (Output(1),), flags=FlowFlags.RESET_COUNTS, table=3),
    ),
    (
        Dialect(1, True, True),
        ("0104005000000002 000023200000000d ffffffffffffffff 0301 0000 0000 8000 ffffffff ffff 0000 0014 000000000000"
        " 0001000400000001 00013c08 0000000000000001 00000000 0000000800010000"),
        FlowMod(FlowCommand.MODIFY, FlowMatch(reg0=1), (Output(1),), table=3, cookie=1, cookie_mask=(1 << 64) - 1),
    ),
    (Dialect(5), ADD_TCP, FLOW),
    (
        Dialect(4),
        (f"040e00a000000002{ZEROS}{ZEROS}0300000000008000{NO_BUFFER_ANY_ANY}00000000"
        "00010034 80000004fffffffe 80000a020800 80000c021005 80000e0103 8000190 80a000000ff000000 8000140106"
        " 80001c020050 00000000 0004003800000000 0000001000000001 0000000000000000 ffff001000002320000efff804000000"
        "00000010fffffffd0080000000000000"),
        FlowMod(
            FlowCommand.ADD,
            FlowMatch(in_port=0xFFFFFFFE, tcp_dst=80, eth_type=0x0800, ipv4_dst="10.0.0.0/8", **IN_VLAN_5),
            (Output(1), Resubmit(None, 4), Output(0xFFFFFFFD, 128)), table=3,
        ),
    ),
    (
        Dialect(4),
        "041d002000000002 0000 0005 00000001 0001 0010 00000064 0000000a 00000000",
        MeterMod(MeterCommand.ADD, 1, 5, (MeterBand(100, 10),)),
    ),
    (
        Dialect(4),
        "040f003000000002 0000 01 00 00000001 0020 0001 ffffffff ffffffff 00000000 0000001000000001 0000000000000000",
        GroupMod(GroupCommand.ADD, 1, GroupType.SELECT, (Bucket((Output(1),), 1),)),
    ),
    (
        Dialect(1),
        ("0104003800000002 000023200000001f 0000 01 00 00000001 0018 0000 ffffffff"
        " 0018 0008 00000000 0000000800010000 0000 0008 0001 0000"),
        GroupMod(GroupCommand.ADD, 1, GroupType.SELECT, (Bucket((Output(1),), 1, id=0),)),
    ),
    (
        Dialect(6),
        ("060f007800000002 0000 01 00 00000001 0028 0000 ffffffff 0028 0010 00000000 0000001000000001 0000000000000000"
        " 0000000800030000 0001000800000001 ffff0036 0000154d 00000001 00000000 68617368000000000000000000000000"
        " 0000000000000005 80001604ffffffff 80001c0200ff 0000"),
        GroupMod(
            GroupCommand.ADD, 1, GroupType.SELECT, (Bucket((Output(1),), 3, 1, id=0),), 0xFFFFFFFF, "hash", 5,
            (("ipv4_src", 0xFFFFFFFF), ("tcp_dst", 0xFF)),
        ),
    ),
    (
        Dialect(4), "0404001800000002 4f4e4600000008fc 00000000 0000 0003",
        BundleControl(0, BundleControlType.OPEN_REQUEST, 3),
    ),
    (Dialect(5), "0521001000000002 00000000 0004 0003", BundleControl(0, BundleControlType.COMMIT_REQUEST, 3)),
    (Dialect(5), f"0522006800000002 00000000 0000 0003 {ADD_TCP}", BundleAdd(0, 3, FLOW, 2)),
    (
        Dialect(4),
        f"040d003800000002 ffffffff 00000001 0010 000000000000 0000001000000002 0000000000000000 {FRAME.hex()}",
        PacketOut(FRAME, (Output(2),), FlowMatch(in_port=1)),
    ),
    (
        Dialect(6),
        f"060d004000000002 ffffffff 0010 0000 0001000c80000004 0000000100000000 0000001000000002 {ZEROS} {FRAME.hex()}",
        PacketOut(FRAME, (Output(2),), FlowMatch(in_port=1)),
    ),
    (
        Dialect(1),
        f"0104002000000002 0000232000000018 {ZEROS} ffff000400000000",
        TlvTableMod(0, (TlvMap(0xFFFF, 0, 4, 0),)),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("dialect", "text", "message"), ROWS)
def test_bytes_and_what_they_mean(dialect: Dialect, text: str, message: Message) -> None:
    data = bytes.fromhex(text.replace(" ", ""))
    assert decode_message(data, dialect) == (message, 2)
    assert encode_message(message, dialect, 2).hex() == data.hex()


def test_controller_of_nicira_says_no_more_than_it_must() -> None:
    plain = FlowMod(FlowCommand.ADD, TCP, (Controller(100, 3),))
    assert encode_message(plain, Dialect(4), 2).hex().endswith("ffff001000002320001400640003" + "0100")
