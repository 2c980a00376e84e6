"""The userspace action: a copy goes up with user data and the key as it is then; the packet goes on unchanged."""

from __future__ import annotations

import struct

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Dot1AD, Dot1Q, Ether
from scapy.packet import Raw

from tests.frames import left_to_the_card
from tests.lab import VNET_HEADER
from tests.rig import ARRIVED, Rig
from vswitch import (
    Clone,
    LimitError,
    Match,
    Output,
    PopVlan,
    PushMpls,
    PushVlan,
    Recirculate,
    SetField,
    Truncate,
    UpcallReason,
    Userspace,
)
from vswitch.base.limits import MAX_USERDATA_BYTES
from vswitch.fields import FIELDS
from vswitch.model.actions import Action
from vswitch.packet.parse import parse

MACS = {"dst": "02:00:00:00:00:02", "src": "02:00:00:00:00:01"}
ETHER = Ether(**MACS)
L3 = IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=1, dport=2) / Raw(bytes(range(100)))
PLAIN = bytes(ETHER / L3)
FRAMES = {
    "plain": PLAIN,
    "VLAN": bytes(ETHER / Dot1Q(vlan=5, prio=3) / L3),
    "VLAN with the DEI bit": bytes(ETHER / Dot1Q(vlan=5, dei=1) / L3),
    "service VLAN": bytes(ETHER / Dot1AD(vlan=5) / L3),
    "QinQ": bytes(ETHER / Dot1AD(vlan=6) / Dot1Q(vlan=5) / L3),
    "short": bytes(Ether(**MACS, type=0x88B5)),
    "long": bytes(ETHER / IPv6() / TCP() / Raw(bytes(8000))),
}
IN_PORT = FIELDS["in_port"].place(1)


@pytest.mark.parametrize("frame", [pytest.param(frame, id=name) for name, frame in FRAMES.items()])
@pytest.mark.parametrize("place", ["first", "middle", "last", "alone"])
def test_a_copy_goes_up_and_the_packet_goes_on(rig: Rig, frame: bytes, place: str) -> None:
    up = Userspace(b"why")
    count = 0 if place == "alone" else 2
    lists: dict[str, list[Action]] = {
        "first": [up, Output(2)],
        "middle": [Output(3), up, Output(2)],
        "last": [Output(2), up],
        "alone": [up],
    }
    with rig.dropping() as dropped:
        assert rig.through([frame] * 2, lists[place], count=count) == [frame] * count
    upcalls = rig.upcalls()
    assert [upcall.packet for upcall in upcalls] == [frame] * 2
    for upcall in upcalls:
        assert (upcall.reason, upcall.userdata, upcall.length, upcall.port) == (
            UpcallReason.ACTION, b"why", len(frame), 1,
        )  # fmt: skip
        assert upcall.key.value == parse(frame, IN_PORT)
    assert dropped == {}


@pytest.mark.parametrize("size", [0, 1, 8, 31, 32, 33, MAX_USERDATA_BYTES])
def test_user_data_of_every_size(rig: Rig, size: int) -> None:
    data = bytes(range(1, size + 1))
    rig.through([PLAIN], [Userspace(data), Userspace(b"other"), Output(2)])
    assert [upcall.userdata for upcall in rig.upcalls()] == [data, b"other"]


def test_more_user_data_than_the_bound_is_refused() -> None:
    with pytest.raises(LimitError, match="65 bytes exceeds the bound of 64"):
        Userspace(bytes(MAX_USERDATA_BYTES + 1))


@pytest.mark.parametrize("frame", [pytest.param(FRAMES[name], id=name) for name in ("plain", "VLAN", "long")])
@pytest.mark.parametrize("length", [14, 15, 64, 128, 129, 512, 513, 2048, 2049, 9000, 65535])
def test_truncated_copies(rig: Rig, frame: bytes, length: int) -> None:
    """Around the sizes of records in the ring, too. The key is that of the whole packet."""
    assert rig.through([frame], [Truncate(length), Userspace(), Output(2)]) == [frame]
    (upcall,) = rig.upcalls()
    assert (upcall.packet, upcall.length) == (frame[:length], len(frame))
    assert upcall.key.value == parse(frame, IN_PORT)


def test_what_was_done_to_the_packet_so_far_is_seen(rig: Rig) -> None:
    actions: list[Action] = [
        Userspace(b"0"),
        SetField("udp_dst", 7),
        SetField("skb_mark", 5),
        Userspace(b"1"),
        PushVlan(9, 1),
        Userspace(b"2"),
        PushVlan(10, 1, 0x88A8),
        Userspace(b"3"),
        PopVlan(),
        PopVlan(),
        PushMpls(99),
        Userspace(b"4"),
        Recirculate(6),
    ]
    rig.dp.flows.add(Match(recirc_id=6), [Userspace(b"5"), Output(2)])
    changed = bytes(ETHER / IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=1, dport=7) / Raw(bytes(range(100))))
    tagged = changed[:12] + struct.pack("!HH", 0x8100, 1 << 13 | 9) + changed[12:]
    twice = tagged[:12] + struct.pack("!HH", 0x88A8, 1 << 13 | 10) + tagged[12:]
    labelled = changed[:12] + struct.pack("!HI", 0x8847, 99 << 12 | 1 << 8 | 64) + changed[14:]
    assert rig.through([PLAIN], actions) == [labelled]
    upcalls = rig.upcalls()
    assert [upcall.userdata for upcall in upcalls] == [b"0", b"1", b"2", b"3", b"4", b"5"]
    assert [upcall.packet for upcall in upcalls] == [PLAIN, changed, tagged, twice, labelled, labelled]
    for number, upcall in enumerate(upcalls):
        metadata = IN_PORT
        metadata |= FIELDS["skb_mark"].place(5) if number else 0
        metadata |= FIELDS["recirc_id"].place(6) if number == 5 else 0
        assert upcall.key.value == parse(upcall.packet, metadata)


def test_a_copy_of_a_copy_goes_up(rig: Rig) -> None:
    nested = Clone((SetField("udp_dst", 9), Userspace(b"nested"), Output(3)))
    assert rig.through([PLAIN], [nested, Userspace(b"outer"), Output(2)]) == [PLAIN]
    upcalls = {upcall.userdata: upcall.key.udp_dst for upcall in rig.upcalls()}
    assert upcalls == {b"nested": 9, b"outer": 2}


def test_what_is_left_to_the_card_goes_up_with_it(rig: Rig) -> None:
    """A GSO packet goes up whole, and comes down again as it was."""
    frame = bytes(ETHER / Dot1Q(vlan=5) / IP(src="10.0.0.1", dst="10.0.0.2") / TCP(chksum=0x1234) / Raw(bytes(30000)))
    header = VNET_HEADER.pack(1, 1, 58, 1400, 38, 16)
    rig.dp.flows.add(ARRIVED, [Userspace(b"x"), Output(2)])
    rig.host(1).send(frame, header)
    for miss in rig.dp.start_upcalls().misses():
        assert miss.packet == frame
        assert left_to_the_card(miss.offload.header) == left_to_the_card(header)
        miss.send(Output(3))
    for port in (2, 3):
        frames = rig.captured(port, 1)
        assert list(frames) == [frame]
        assert [left_to_the_card(each) for each in frames.headers] == [left_to_the_card(header)]


def test_a_lost_upcall_of_the_action_is_counted_and_the_packet_goes_on(rig: Rig) -> None:
    count = 20
    frames = [FRAMES["long"] + bytes([number]) for number in range(count)]
    lost, before = rig.dp.ports.stats(1).lost, rig.dp.stats()
    actions: list[Action] = [*[Userspace()] * 10, Output(2)]
    with rig.dropping() as dropped:
        assert rig.through(frames, actions) == frames
    came = len(rig.upcalls())
    assert 0 < came < 10 * count
    assert dropped == {"upcall_quota": 10 * count - came}
    assert rig.dp.ports.stats(1).lost - lost == 10 * count - came
    after = rig.dp.stats()
    assert (after.upcalls - before.upcalls, after.lost - before.lost) == (came, 10 * count - came)
    assert rig.dp.upcall_stats.arrived == after.upcalls
