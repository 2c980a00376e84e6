"""Output, drop, truncate, and lists as long as they may be."""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Raw

from tests.lab import VNET_HEADER, Lab
from tests.rig import ARRIVED, Rig
from vswitch import (
    CheckPacketLength,
    Clone,
    Datapath,
    Drop,
    LimitError,
    Output,
    PopVlan,
    PushVlan,
    Recirculate,
    Sample,
    SetField,
    Truncate,
    Userspace,
)
from vswitch.base.limits import MAX_ACTIONS
from vswitch.model.actions import Action

MACS = {"dst": "02:00:00:00:00:02", "src": "02:00:00:00:00:01"}
ETHER = Ether(**MACS)
FRAME = bytes(ETHER / IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=1, dport=2) / Raw(bytes(range(100))))
TAGGED = bytes(ETHER / Dot1Q(vlan=5) / IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=1, dport=2) / Raw(bytes(100)))
BOTH = [FRAME, TAGGED]


# --- output


@pytest.mark.parametrize("ports", [(2,), (1,), (2, 3), (3, 2), (1, 2, 3), (2, 2, 2, 3, 1)])
def test_output_to_ports(rig: Rig, ports: tuple[int, ...]) -> None:
    rig.through(BOTH, [Output(port) for port in ports])
    for port in (1, 2, 3):
        came = rig.frames(port, 2 * ports.count(port))
        assert sorted(came) == sorted(BOTH * ports.count(port)), f"port {port}"


def test_outputs_are_counted(rig: Rig) -> None:
    before = [rig.dp.ports.stats(port) for port in (1, 2, 3)]
    rig.through([*BOTH, FRAME], [Output(2), Output(3), Output(2)])
    after = [rig.dp.ports.stats(port) for port in (1, 2, 3)]
    size = 2 * len(FRAME) + len(TAGGED)
    seen = [
        (b.rx_packets - a.rx_packets, b.rx_bytes - a.rx_bytes, b.tx_packets - a.tx_packets, b.tx_bytes - a.tx_bytes)
        for a, b in zip(before, after, strict=True)
    ]
    assert seen == [(3, size, 0, 0), (0, 0, 6, 2 * size), (0, 0, 3, size)]
    assert rig.dp.flows.get(ARRIVED).stats.bytes == size


@pytest.mark.parametrize("actions", [[Output(77)], [Output(77), Output(2)], [Output(2), Output(77)]])
def test_output_to_a_port_that_is_not_there_is_counted(rig: Rig, actions: list[Action]) -> None:
    forwarded = actions.count(Output(2))
    with rig.dropping() as dropped:
        assert rig.through([FRAME], actions, count=forwarded) == [FRAME] * forwarded
    assert dropped == {"no_port": 1}


def test_changes_between_outputs_are_not_seen_by_those_before(rig: Rig) -> None:
    actions: list[Action] = [Output(2), SetField("eth_src", 7), Output(3), PushVlan(9), Output(2), PopVlan(), Output(3)]
    rig.through([FRAME], actions)
    changed = FRAME[:6] + bytes((0, 0, 0, 0, 0, 7)) + FRAME[12:]
    assert rig.frames(2, 2) == [FRAME, changed[:12] + struct.pack("!HH", 0x8100, 9) + changed[12:]]
    assert rig.frames(3, 2) == [changed, changed]


def test_output_by_peer_redirect(lab: Lab) -> None:
    """Such a port takes packets from ports, from Python, copies, and those that were changed."""
    h1, h2 = lab.host("h1"), lab.host("h2")
    with Datapath.create(f"vsp{os.getpid()}", ports=[h1.port], local=False) as dp:
        dp.ports.add(h2.port, 2, peer_redirect=True)
        dp.flows.add(ARRIVED, [Output(2), Clone((Output(2),)), PushVlan(9), Output(2)])
        with h2.capturing() as frames:
            h1.send(FRAME)
            dp.execute(FRAME, Output(2))
            dp.execute(FRAME, in_port=1)
            frames.wait_for(7)
        tagged = FRAME[:12] + struct.pack("!HH", 0x8100, 9) + FRAME[12:]
        assert sorted(frames) == sorted([FRAME] * 5 + [tagged] * 2)


# --- drop


@pytest.mark.parametrize(
    ("actions", "reason"),
    [
        ([], 0),
        ([Drop()], 0),
        ([Drop(7)], 7),
        ([Drop(255)], 255),
        ([SetField("eth_src", 7), Drop(9)], 9),
        ([Drop(8), Output(2)], 8),
    ],
)
def test_drop_is_counted_with_its_reason(rig: Rig, actions: Sequence[Action], reason: int) -> None:
    reasons = rig.dp.explicit_drops().get(reason, 0)
    with rig.dropping() as dropped:
        rig.through([FRAME] * 3, actions, count=0)
    assert [rig.frames(port) for port in (1, 2, 3)] == [[], [], []]
    assert dropped == {"explicit": 3}
    assert rig.dp.explicit_drops().get(reason, 0) == reasons + 3


@pytest.mark.parametrize(
    "actions",
    [
        [SetField("eth_src", 7)],
        [PushVlan(5)],
        [CheckPacketLength(20, (), (Output(2),))],
        [Sample(0, (Output(2),))],
        [SetField("eth_src", 7), Clone(())],
    ],
    ids=lambda actions: type(actions[-1]).__name__,
)
def test_list_that_ends_without_an_output_is_a_drop(rig: Rig, actions: Sequence[Action]) -> None:
    reasons = rig.dp.explicit_drops().get(0, 0)
    with rig.dropping() as dropped:
        rig.through([FRAME] * 3, actions, count=0)
    assert [rig.frames(port) for port in (1, 2, 3)] == [[], [], []]
    assert dropped == {"explicit": 3}
    assert rig.dp.explicit_drops().get(0, 0) == reasons + 3


@pytest.mark.parametrize(
    "actions", [[Userspace()], [Output(2), SetField("eth_src", 7)], [Clone((Output(2),)), PopVlan()]], ids=str
)
def test_packet_of_which_something_came_out_is_no_drop(rig: Rig, actions: Sequence[Action]) -> None:
    with rig.dropping() as dropped:
        rig.through([FRAME], actions, count=0 if actions == [Userspace()] else 1)
        rig.upcalls()
    assert dropped == {}


def test_drop_in_a_copy_ends_the_copy_alone(rig: Rig) -> None:
    with rig.dropping() as dropped:
        assert rig.through([FRAME], [Clone((Drop(5), Output(3))), Output(2)]) == [FRAME]
    assert rig.frames(3) == []
    assert dropped == {"explicit": 1}


# --- truncate


@pytest.mark.parametrize(("frame", "kept"), [(FRAME, {34}), (TAGGED, {18, 38})], ids=["plain", "tagged"])
@pytest.mark.parametrize("length", [14, 18, 20, 34, 60, len(FRAME) - 1, len(FRAME), len(TAGGED), 2000])
def test_truncate_is_for_the_next_output_alone(rig: Rig, frame: bytes, kept: set[int], length: int) -> None:
    """The kernel keeps the headers before L4 of a packet that this machine made, and a tag; behind a tag it sees them
    or not, as its version is."""
    shortened = [frame[: max(length, least)] for least in kept]
    rig.through([frame], [Truncate(length), Output(2), Output(3), Output(2)])
    assert sorted(rig.frames(2, 2)) in [sorted([short, frame]) for short in shortened]
    assert rig.frames(3, 1) == [frame]
    (came,) = rig.through([frame], [Output(3), Truncate(length), Output(2)])
    assert came in shortened
    assert rig.frames(3, 1) == [frame]


def test_truncate_is_for_userspace_too(rig: Rig) -> None:
    assert rig.through([FRAME], [Truncate(33), Userspace(), Output(2)]) == [FRAME]
    assert [(miss.packet, miss.length) for miss in rig.upcalls()] == [(FRAME[:33], len(FRAME))]


def test_truncate_in_a_copy_stays_in_the_copy(rig: Rig) -> None:
    rig.through([FRAME], [Clone((Truncate(40), Output(3))), Output(2)])
    assert (rig.frames(2, 1), rig.frames(3, 1)) == ([FRAME], [FRAME[:40]])


@pytest.mark.parametrize(("ip", "kept"), [(IP(), 52), (IPv6(), 72)], ids=["IPv4", "IPv6"])
def test_truncate_keeps_the_checksum_that_is_left_to_the_card(rig: Rig, ip: IP | IPv6, kept: int) -> None:
    """The kernel does not cut it off (Linux 6.1 does), so such a packet may come out somewhat longer than was asked
    for."""
    frame = bytes(ETHER / ip / TCP() / Raw(bytes(2000)))
    start = len(bytes(ETHER / ip))
    header = VNET_HEADER.pack(1, 1 if kept == 52 else 4, start + 20, 500, start, 16)
    for length in (14, 60, 100):
        came = rig.through([frame], [Output(3), Truncate(length), Output(2)], vnet=header)
        assert [len(each) for each in came] in ([max(length, kept)], [max(length, start)])
        assert rig.frames(3, 1) == [frame]


# --- long lists


@pytest.mark.parametrize("count", [32, MAX_ACTIONS])
def test_lists_of_many_actions(rig: Rig, count: int) -> None:
    actions: list[Action] = [Output(3)]
    actions += [SetField("udp_dst", number) for number in range(1, count - 1)]
    actions += [Output(2)]
    assert len(actions) == count
    (came,) = rig.through([FRAME], actions)
    assert came == bytes(
        ETHER / IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=1, dport=count - 2) / Raw(bytes(range(100)))
    )
    assert rig.frames(3, 1) == [FRAME]


def test_a_list_of_outputs_alone(rig: Rig) -> None:
    came = rig.through([FRAME], [Output(2 + number % 2) for number in range(MAX_ACTIONS)])
    assert came + rig.frames(3, 32) == [FRAME] * MAX_ACTIONS


def test_many_actions_that_go_up(rig: Rig) -> None:
    rig.through([FRAME], [*(Userspace(bytes([number]) * 64) for number in range(MAX_ACTIONS - 1)), Output(2)])
    came = [(miss.userdata, miss.packet) for miss in rig.upcalls()]
    assert came == [(bytes([number]) * 64, FRAME) for number in range(MAX_ACTIONS - 1)]


def test_more_actions_than_the_bound_are_refused(rig: Rig) -> None:
    with pytest.raises(LimitError, match=f"{MAX_ACTIONS + 1} actions exceed the bound of {MAX_ACTIONS}"):
        rig.dp.flows.add(ARRIVED, [Output(2)] * (MAX_ACTIONS + 1))
    with pytest.raises(LimitError, match="steps"):
        rig.dp.flows.add(ARRIVED, [SetField("ipv6_src", number) for number in range(MAX_ACTIONS)])
    assert len(rig.dp.flows) == 0
    assert rig.through([FRAME], Output(2)) == [FRAME]


def test_the_longest_list_by_execute(rig: Rig) -> None:
    pairs: list[Action] = [Output(3), Recirculate(5)]
    rig.dp.execute(FRAME, [*pairs * (MAX_ACTIONS // 2 - 1), Output(3), Output(2)])
    assert (rig.frames(2, 1), rig.frames(3, 32)) == ([FRAME], [FRAME] * 32)
