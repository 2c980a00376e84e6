"""Actions with lists of their own: clone, sample, check_pkt_len, dec_ttl with what is done to packets that had no TTL
left. What they do, they do to a copy, unless they are the last of their list."""

from __future__ import annotations

import math
import os

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrHopByHop
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Packet, Raw

from tests.lab import VNET_HEADER
from tests.rig import ARRIVED, Rig
from vswitch import (
    CheckPacketLength,
    Clone,
    DecTtl,
    LimitError,
    Match,
    Meter,
    Output,
    PopVlan,
    PushMpls,
    PushVlan,
    Recirculate,
    Sample,
    SetField,
    Truncate,
    Userspace,
)
from vswitch.base.limits import MAX_ACTION_DEPTH
from vswitch.model.actions import Action

MACS = {"dst": "02:00:00:00:00:02", "src": "02:00:00:00:00:01"}
ETHER = Ether(**MACS)
PACKET = ETHER / IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=1, dport=2) / Raw(bytes(range(100)))
FRAME = bytes(PACKET)
ALWAYS, NEVER = 0xFFFFFFFF, 0


def with_destination(port: int) -> bytes:
    changed = PACKET.copy()
    changed[UDP].dport = port
    return bytes(changed)


def set_destination(port: int) -> SetField:
    return SetField("udp_dst", port)


# --- clone

EVERYTHING: tuple[Action, ...] = (
    SetField("eth_dst", 1),
    SetField("ipv4_src", "1.2.3.4"),
    set_destination(9),
    SetField("skb_mark", 5),
    PushVlan(7),
    PushMpls(3),
    DecTtl(),
    Truncate(60),
    Output(3),
)


@pytest.mark.parametrize("make", [Clone, lambda actions: Sample(ALWAYS, actions)], ids=["clone", "sample"])
@pytest.mark.parametrize("tagged", [False, True])
def test_the_packet_goes_on_unchanged(rig: Rig, make: type[Clone], tagged: bool) -> None:
    frame = bytes(ETHER / Dot1Q(vlan=5) / PACKET[IP]) if tagged else FRAME
    rig.dp.flows.add(ARRIVED, [make(EVERYTHING), Recirculate(1)])
    rig.dp.flows.add(Match(recirc_id=1, skb_mark=0, udp_dst=2), Output(2))
    with rig.dropping() as dropped:
        rig.host(1).send(frame)
        assert rig.frames(2, 1) == [frame]
    assert dropped == {}
    (copy,) = rig.frames(3, 1)
    assert copy[:6] == bytes((0, 0, 0, 0, 0, 1))
    assert copy != frame


def test_a_clone_that_is_last_needs_no_copy_and_does_the_same(rig: Rig) -> None:
    assert rig.through([FRAME], [Output(3), Clone((set_destination(7), Output(2)))]) == [with_destination(7)]
    assert rig.frames(3, 1) == [FRAME]


@pytest.mark.parametrize(
    "nested",
    [(), (Userspace(),), (Meter(200),), (set_destination(4),), (Clone(()), Userspace())],
    ids=["nothing", "userspace", "meter", "set", "more"],
)
def test_a_clone_without_an_output_is_no_drop(rig: Rig, nested: tuple[Action, ...]) -> None:
    with rig.dropping() as dropped:
        assert rig.through([FRAME], [Clone(nested), Output(2)]) == [FRAME]
    assert dropped == {}


def nest(depth: int, inner: tuple[Action, ...]) -> tuple[Action, ...]:
    """Lists within lists; each sends what it was given out of port 2 after the inner ones have changed their copies."""
    for level in range(depth):
        inner = (set_destination(100 + level), Clone(inner), Output(2))
    return inner


def test_clones_nested_as_deep_as_the_bound(rig: Rig) -> None:
    depth = MAX_ACTION_DEPTH
    rig.through([FRAME], nest(depth, (set_destination(99), Output(3))))
    expected = [with_destination(100 + level) for level in range(depth)]
    assert sorted(rig.frames(2, depth)) == expected
    assert rig.frames(3, 1) == [with_destination(99)]


def test_truncated_and_recirculated_copies_at_the_deepest_level(rig: Rig) -> None:
    """These take a copy of their own, one deeper than any list."""
    rig.dp.flows.add(Match(recirc_id=9), Output(3))
    with rig.dropping() as dropped:
        rig.through([FRAME], nest(MAX_ACTION_DEPTH, (Truncate(60), Output(3), Recirculate(9), Output(3))), count=3)
        assert sorted(len(frame) for frame in rig.frames(3, 3)) == [60, len(FRAME), len(FRAME)]
    assert dropped == {}


def test_clones_nested_deeper_than_the_bound_are_refused(rig: Rig) -> None:
    with pytest.raises(LimitError, match=f"nested {MAX_ACTION_DEPTH + 1} deep exceed the bound of {MAX_ACTION_DEPTH}"):
        rig.dp.flows.add(Match(in_port=1), nest(MAX_ACTION_DEPTH + 1, (Output(3),)))


def test_copies_that_go_deeper_by_recirculation_are_counted(rig: Rig) -> None:
    """A list cannot be too deep, but copies of copies can, by way of other megaflows."""
    rig.dp.flows.add(ARRIVED, [Clone((Recirculate(1),)), Output(2)])
    for number in range(1, 8):
        rig.dp.flows.add(Match(recirc_id=number), [Clone((Recirculate(number + 1),)), Output(2)])
    with rig.dropping() as dropped:
        rig.host(1).send(FRAME)
        came = rig.frames(2, 6)
    assert dropped == {"clone_limit": 1}
    assert came == [FRAME] * (MAX_ACTION_DEPTH + 2)


# --- sample


def test_sample_never_and_always(rig: Rig) -> None:
    with rig.dropping() as dropped:
        assert rig.through([FRAME] * 100, [Sample(NEVER, (Output(3),)), Output(2)]) == [FRAME] * 100
        assert rig.frames(3) == []
        assert rig.through([FRAME] * 100, [Sample(ALWAYS, (Output(3),)), Output(2)]) == [FRAME] * 100
        assert rig.frames(3, 100) == [FRAME] * 100
        assert rig.through([FRAME], [Output(2), Sample(NEVER, (Output(3),))]) == [FRAME]
    assert dropped == {}


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("chance", [0.5, 0.01])
def test_sample_takes_its_share(rig: Rig, chance: float, last: bool) -> None:
    count = 4000
    sample = Sample(round(chance * ALWAYS), (Output(3),))
    came = rig.through([FRAME] * count, [Output(2), sample] if last else [sample, Output(2)])
    assert len(came) == count
    deviation = math.sqrt(count * chance * (1 - chance))
    assert abs(len(rig.frames(3)) - chance * count) < 5 * deviation


# --- check_pkt_len

SIZED = [bytes(ETHER / IP() / UDP() / Raw(bytes(size))) for size in (0, 57, 58, 59, 500)]
ON_THE_WIRE = {"plain": SIZED, "tagged": [frame[:12] + b"\x81\x00\x00\x05" + frame[12:] for frame in SIZED]}


SEGMENTED = [pytest.param(TCP(), id="TCP"), pytest.param(TCP(options=[("NOP", None)] * 12), id="TCP options")]
if tuple(map(int, os.uname().release.split(".")[:2])) >= (6, 2):  # before, raw sockets do not take such packets
    SEGMENTED.append(pytest.param(UDP(), id="UDP"))


@pytest.mark.parametrize("kind", list(ON_THE_WIRE))
@pytest.mark.parametrize("last", [False, True])
def test_length_decides(rig: Rig, kind: str, last: bool) -> None:
    frames = ON_THE_WIRE[kind]
    check = CheckPacketLength(100, (set_destination(1), Output(3)), (set_destination(2), Output(2)))
    rig.through(frames, [check] if last else [check, Output(1)], count=0)
    assert [len(frame) for frame in rig.frames(3)] == [len(frame) for frame in frames if len(frame) > 100]
    assert [len(frame) for frame in rig.frames(2)] == [len(frame) for frame in frames if len(frame) <= 100]
    assert rig.frames(1) == ([] if last else frames)


@pytest.mark.parametrize("tagged", [False, True])
@pytest.mark.parametrize("ip", [IP(), IPv6()], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("l4", SEGMENTED)
def test_length_of_a_packet_that_leaves_as_segments(rig: Rig, ip: Packet, l4: Packet, tagged: bool) -> None:
    """GSO: what counts is the longest frame on the wire."""
    link = ETHER / Dot1Q(vlan=5) if tagged else ETHER
    start, segment = len(bytes(link / ip)), 500
    kind = 5 if isinstance(l4, UDP) else 1 if isinstance(ip, IP) else 4
    head = start + len(bytes(l4))
    header = VNET_HEADER.pack(1, kind, head, segment, start, 6 if isinstance(l4, UDP) else 16)
    frame = bytes(link / ip / l4 / Raw(bytes(4 * segment + 7)))
    for limit, out in ((head + segment - 1, 3), (head + segment, 2)):
        actions = [CheckPacketLength(limit, (Output(3),), (Output(2),))]
        assert [len(each) for each in rig.through([frame], actions, out=out, vnet=header)] == [len(frame)]


def test_both_branches_may_be_empty(rig: Rig) -> None:
    with rig.dropping() as dropped:
        assert rig.through(SIZED, [CheckPacketLength(100, (), ()), Output(2)]) == SIZED
    assert dropped == {}


# --- dec_ttl

TTLS: list[tuple[str, Packet]] = [
    ("IPv4", ETHER / IP(ttl=5) / TCP()),
    ("IPv4, the checksum carries", ETHER / IP(ttl=255, src="0.0.255.255", dst="255.255.0.0", id=0xFFFF) / UDP()),
    ("IPv4 at 2", ETHER / IP(ttl=2) / ICMP()),
    ("IPv4, a later fragment", ETHER / IP(ttl=77, frag=20, proto=17) / Raw(bytes(50))),
    ("IPv6", ETHER / IPv6(hlim=64) / UDP()),
    ("IPv6 at 2", ETHER / IPv6(hlim=2) / IPv6ExtHdrHopByHop() / TCP()),
    ("behind a tag", ETHER / Dot1Q(vlan=5) / IPv6(hlim=9) / UDP()),
    ("behind two tags", ETHER / Dot1Q(vlan=5) / Dot1Q(vlan=6) / IP(ttl=9) / UDP()),
    ("ARP has none", ETHER / ARP()),
    ("unknown type", Ether(**MACS, type=0x88B5) / Raw(bytes(60))),
]


@pytest.mark.parametrize("packet", [pytest.param(packet, id=name) for name, packet in TTLS])
def test_dec_ttl(rig: Rig, packet: Packet) -> None:
    lowered = packet.copy()
    if IP in lowered:
        lowered[IP].ttl -= 1
    elif IPv6 in lowered:
        lowered[IPv6].hlim -= 1
    assert rig.through([bytes(packet)], [DecTtl(), Output(2)]) == [bytes(lowered)]


@pytest.mark.parametrize("ttl", [0, 1])
@pytest.mark.parametrize("six", [False, True])
def test_without_a_ttl_left_the_packet_is_dropped_and_counted(rig: Rig, ttl: int, six: bool) -> None:
    frame = bytes(ETHER / (IPv6(hlim=ttl) if six else IP(ttl=ttl)) / UDP())
    with rig.dropping() as dropped:
        rig.through([frame] * 3, [Output(3), DecTtl(), Output(2)], count=0)
    assert (rig.frames(2), rig.frames(3, 3)) == ([], [frame] * 3)
    assert dropped == {"ttl": 3}


def test_without_a_ttl_left_other_actions_are_executed_instead(rig: Rig) -> None:
    frame = bytes(ETHER / IP(ttl=1) / UDP(sport=1, dport=2))
    exceeded = (Userspace(b"time exceeded"), SetField("udp_dst", 77), Output(3))
    with rig.dropping() as dropped:
        rig.through([frame, FRAME], [DecTtl(exceeded), Output(2)], count=1)
        assert [IP(each[14:]).ttl for each in rig.frames(2)] == [63]
    assert rig.frames(3, 1) == [bytes(ETHER / IP(ttl=1) / UDP(sport=1, dport=77))]
    assert [(miss.userdata, miss.packet) for miss in rig.upcalls()] == [(b"time exceeded", frame)]
    assert dropped == {}


def test_each_hop_lowers_it(rig: Rig) -> None:
    rig.dp.flows.add(ARRIVED, [DecTtl(), DecTtl(), PopVlan(), Recirculate(1)])
    rig.dp.flows.add(Match(recirc_id=1, ip_ttl=1, eth_type=0x0800), [DecTtl((Output(3),)), Output(2)])
    frame = bytes(ETHER / IP(ttl=3) / UDP())
    rig.host(1).send(frame)
    assert [IP(each[14:]).ttl for each in rig.frames(3, 1)] == [1]
