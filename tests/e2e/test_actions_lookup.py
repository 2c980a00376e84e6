"""Actions whose effect another lookup sees: recirculate, hash, mark and priority; and meters."""

from __future__ import annotations

import time
from collections import Counter

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, fragment
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.layers.sctp import SCTP
from scapy.packet import Packet, Raw

from tests.rig import ARRIVED, Rig
from vswitch import (
    Clone,
    Hash,
    Match,
    Meter,
    Output,
    Recirculate,
    SetField,
    Userspace,
)
from vswitch.base.limits import MAX_RECIRCULATIONS
from vswitch.model.actions import Action

MACS = {"dst": "02:00:00:00:00:02", "src": "02:00:00:00:00:01"}
ETHER = Ether(**MACS)
FRAME = bytes(ETHER / IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=1, dport=2) / Raw(bytes(range(100))))

# --- recirculate


def test_a_packet_is_looked_up_again_with_its_id_and_as_it_is_then(rig: Rig) -> None:
    rig.dp.flows.add(ARRIVED, [SetField("udp_dst", 77), Recirculate(0xFFFFFFFF)])
    rig.dp.flows.add(Match(recirc_id=0xFFFFFFFF, udp_dst=2), Output(3))
    rig.dp.flows.add(Match(recirc_id=0xFFFFFFFF, udp_dst=77, in_port=1), Output(2))
    rig.host(1).send(FRAME)
    assert len(rig.frames(2, 1)) == 1
    assert rig.frames(3) == []


def test_recirculation_in_the_middle_works_on_a_copy(rig: Rig) -> None:
    rig.dp.flows.add(ARRIVED, [Recirculate(1), Recirculate(2), SetField("udp_dst", 7), Output(3), Recirculate(1)])
    rig.dp.flows.add(Match(recirc_id=1), [SetField("eth_src", 5), Output(2)])
    rig.dp.flows.add(Match(recirc_id=2), Output(1))
    rig.host(1).send(FRAME)
    changed = bytes(ETHER / IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=1, dport=7) / Raw(bytes(range(100))))
    assert (rig.frames(1, 1), rig.frames(3, 1)) == ([FRAME], [changed])
    assert sorted(rig.frames(2, 2)) == sorted(
        frame[:6] + bytes((0, 0, 0, 0, 0, 5)) + frame[12:] for frame in (FRAME, changed)
    )


def install_chain(rig: Rig, length: int) -> None:
    """A megaflow that recirculates, `length` times one after another, and an output."""
    rig.dp.flows.add(ARRIVED, Recirculate(1))
    for number in range(1, length):
        rig.dp.flows.add(Match(recirc_id=number), [SetField("udp_src", number), Recirculate(number + 1)])
    rig.dp.flows.add(Match(recirc_id=length), [Output(2), Output(3)])


def test_as_many_recirculations_as_the_bound(rig: Rig) -> None:
    install_chain(rig, MAX_RECIRCULATIONS)
    with rig.dropping() as dropped:
        rig.host(1).send(FRAME)
        assert len(rig.frames(2, 1)) == len(rig.frames(3, 1)) == 1
    assert dropped == {}


def test_more_recirculations_than_the_bound_are_counted(rig: Rig) -> None:
    install_chain(rig, MAX_RECIRCULATIONS + 1)
    with rig.dropping() as dropped:
        rig.host(1).send(FRAME, times=2)
        assert rig.frames(2) == rig.frames(3) == []
    assert dropped == {"recirculation_limit": 2}


def test_a_loop_of_recirculation_ends(rig: Rig) -> None:
    rig.dp.flows.add(Match(in_port=1), [Output(2), Recirculate(1)])
    with rig.dropping() as dropped:
        rig.host(1).send(FRAME)
        assert rig.frames(2, MAX_RECIRCULATIONS + 1) == [FRAME] * (MAX_RECIRCULATIONS + 1)
    assert dropped == {"recirculation_limit": 1}


def test_a_packet_that_goes_up_after_the_bound_has_been_reached_and_comes_down(rig: Rig) -> None:
    """Python's answer does not make the count of recirculations begin anew."""
    rig.dp.flows.add(ARRIVED, Recirculate(1))
    for number in range(1, MAX_RECIRCULATIONS):
        rig.dp.flows.add(Match(recirc_id=number), Recirculate(number + 1))
    rig.host(1).send(FRAME)
    with rig.dropping() as dropped:
        for miss in rig.dp.start_upcalls().misses():
            assert miss.key.recirc_id == MAX_RECIRCULATIONS
            miss.install(Match(recirc_id=MAX_RECIRCULATIONS), [Output(2), Recirculate(99)])
        assert rig.frames(2, 1) == [FRAME]
    assert dropped == {"recirculation_limit": 1}


# --- mark and priority


@pytest.mark.parametrize("name", ["skb_mark", "skb_priority"])
def test_mark_and_priority_are_set_whole_and_masked(rig: Rig, name: str) -> None:
    rig.dp.flows.add(
        ARRIVED, [SetField(name, 0x12345678), SetField(name, 0xA000000B, 0xF000000F), Userspace(), Recirculate(1)]
    )
    rig.dp.flows.add(Match(recirc_id=1, **{name: 0xA234567B}), Output(2))
    rig.host(1).send(FRAME)
    assert rig.frames(2, 1) == [FRAME]
    assert [getattr(upcall.key, name) for upcall in rig.upcalls()] == [0xA234567B]


def test_mark_and_priority_stay_when_the_packet_goes_up_and_comes_down(rig: Rig) -> None:
    rig.dp.flows.add(ARRIVED, [SetField("skb_mark", 5), SetField("skb_priority", 6), Hash(1), Recirculate(1)])
    rig.host(1).send(FRAME)
    for miss in rig.dp.start_upcalls().misses():
        assert (miss.key.skb_mark, miss.key.skb_priority, miss.key.recirc_id) == (5, 6, 1)
        assert miss.key.dp_hash
        miss.install(Match(recirc_id=1, skb_mark=5, skb_priority=6, dp_hash=miss.key.dp_hash), Output(2))
    assert rig.frames(2, 1) == [FRAME]


# --- hash


def hashes(rig: Rig, frames: list[bytes], seed: int = 0) -> list[int]:
    """The dp_hash that each frame gets."""
    rig.dp.flows.put(ARRIVED, [Hash(seed), Recirculate(1)])
    rig.dp.flows.put(Match(recirc_id=1), Userspace())
    found = []
    for begin in range(0, len(frames), 200):
        rig.host(1).send_many(frames[begin : begin + 200])
        found += [upcall.key.dp_hash for upcall in rig.upcalls()]
    assert len(found) == len(frames)
    return found


FLOW: dict[str, list[Packet]] = {
    "TCP": [
        ETHER / IP(src="10.0.0.1", dst="10.0.0.2", id=n, ttl=9 + n) / TCP(sport=1, dport=2, seq=n) / Raw(bytes(n))
        for n in range(3)
    ],
    "the same from another router": [
        Ether(src=f"02:00:00:00:00:{n:02x}", dst=MACS["dst"])
        / IP(src="10.0.0.1", dst="10.0.0.2")
        / SCTP(sport=5, dport=6)
        for n in range(3)
    ],
    "tagged or not": [
        ETHER / IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=5, dport=6),
        ETHER / Dot1Q(vlan=7) / IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=5, dport=6),
    ],
    "all fragments": fragment(ETHER / IP(id=7) / UDP(sport=1, dport=2) / Raw(bytes(200)), 40),
    "all fragments, IPv6": [
        ETHER / IPv6() / IPv6ExtHdrFragment(offset=n, m=1, nh=17) / Raw(bytes(range(16 * n, 16 * n + 16)))
        for n in range(3)
    ],
    "IPv6, whatever its label": [ETHER / IPv6(fl=n, hlim=9 + n) / UDP(sport=1, dport=2) for n in range(3)],
    "ICMP, whatever its kind": [ETHER / IP() / ICMP(type=n) for n in range(3)],
    "ARP": [ETHER / ARP(op=n) for n in (1, 2)],
}


@pytest.mark.parametrize("packets", [pytest.param(packets, id=name) for name, packets in FLOW.items()])
def test_all_packets_of_a_flow_have_one_hash(rig: Rig, packets: list[Packet]) -> None:
    (value,) = set(hashes(rig, [bytes(packet) for packet in packets]))
    assert value


def sources(numbers: range) -> dict[str, list[Packet]]:
    """Many flows that differ in one thing."""
    four, six = {"src": "10.0.0.1", "dst": "10.0.0.2"}, {"src": "2001:db8::1", "dst": "2001:db8::2"}
    return {
        "IPv4 source": [ETHER / IP(src=f"10.0.{n}.1", dst="10.0.0.2") / UDP() for n in numbers],
        "IPv4 destination": [ETHER / IP(src="10.0.0.1", dst=f"10.0.{n}.2") / UDP() for n in numbers],
        "TCP source": [ETHER / IP(**four) / TCP(sport=n, dport=2) for n in numbers],
        "IPv6 source": [ETHER / IPv6(src=f"2001:db8::{n:x}") / UDP() for n in numbers],
        "IPv6 destination": [ETHER / IPv6(dst=f"2001:db8::{n:x}") / UDP() for n in numbers],
        "UDP destination": [ETHER / IPv6(**six) / UDP(sport=1, dport=n) for n in numbers],
        "SCTP destination": [ETHER / IPv6(**six) / SCTP(sport=1, dport=n) for n in numbers],
        "protocol": [ETHER / IP(**four, proto=n) / Raw(bytes(40)) for n in numbers],
        "MAC": [Ether(src=f"02:00:00:00:00:{n:02x}", dst=MACS["dst"], type=0x88B5) for n in numbers],
    }


@pytest.mark.parametrize("packets", [pytest.param(p, id=name) for name, p in sources(range(200)).items()])
def test_flows_spread_over_the_hashes(rig: Rig, packets: list[Packet]) -> None:
    found = hashes(rig, [bytes(packet) for packet in packets])
    assert len(set(found)) == len(found)
    for buckets, deviations in ((2, 5), (8, 5)):
        for bucket, count in Counter(value % buckets for value in found).items():
            share = len(found) / buckets
            assert abs(count - share) < deviations * share**0.5, f"bucket {bucket} of {buckets}"


def test_another_seed_gives_another_hash(rig: Rig) -> None:
    assert len({hashes(rig, [FRAME], seed)[0] for seed in (0, 1, 2, 0xFFFFFFFF)}) == 4


def test_hash_chooses_a_port(rig: Rig) -> None:
    """What a balancer does: the hash's last bit is matched after recirculation."""
    rig.dp.flows.add(ARRIVED, [Hash(), Recirculate(1)])
    rig.dp.flows.add(Match(recirc_id=1, dp_hash=(0, 1)), Output(2))
    rig.dp.flows.add(Match(recirc_id=1, dp_hash=(1, 1)), Output(3))
    frames = [bytes(ETHER / IP() / UDP(sport=n, dport=2)) for n in range(100)]
    rig.host(1).send_many(frames * 2)
    two, three = rig.frames(2), rig.frames(3)
    assert sorted(two + three) == sorted(frames * 2)
    assert not set(two) & set(three), "a flow went two ways"
    assert min(len(two), len(three)) > 50


# --- meters


def send_at_once(rig: Rig, count: int, actions: list[Action]) -> tuple[list[bytes], float]:
    """What comes out, and how long it took to send."""
    begin = time.monotonic()
    came = rig.through([FRAME] * count, actions, count=0)
    return came, time.monotonic() - begin


@pytest.fixture
def meter(rig: Rig) -> int:
    """The number of a meter that is not there yet."""
    for info in rig.dp.meters.list():
        rig.dp.meters.delete(info.number)
    return 7


@pytest.mark.parametrize(
    ("unit", "rate", "burst"), [("pktps", 50, 20), ("kbps", 50 * len(FRAME) * 8 // 1000, 20 * len(FRAME) * 8 / 1000)]
)
def test_meter_passes_the_burst_and_then_the_rate(rig: Rig, meter: int, unit: str, rate: int, burst: float) -> None:
    rig.dp.meters.set(meter, rate, unit, burst)
    with rig.dropping() as dropped:
        came, took = send_at_once(rig, 200, [Meter(meter), Output(2)])
    assert 19 <= len(came) <= 20 + 50 * took + 1
    assert dropped == {"meter": 200 - len(came)}
    info = rig.dp.meters.get(meter)
    assert (info.packets, info.bytes) == (len(came), len(came) * len(FRAME))
    assert (info.dropped_packets, info.dropped_bytes) == (200 - len(came), (200 - len(came)) * len(FRAME))
    time.sleep(0.3)  # 15 packets' worth
    more, took = send_at_once(rig, 100, [Meter(meter), Output(2)])
    assert 14 <= len(more) <= 15 + 50 * (took + 0.2) + 1


def test_a_meter_that_is_full_fills_at_its_rate(rig: Rig, meter: int) -> None:
    rig.dp.meters.set(meter, 200, "pktps", 20)
    rig.dp.flows.add(ARRIVED, [Meter(meter), Output(2)])
    begin = time.monotonic()
    while time.monotonic() < begin + 1:
        rig.host(1).send_many([FRAME] * 20)
    took = time.monotonic() - begin
    assert 0.8 * 200 * took <= len(rig.frames(2)) <= 20 + 200 * took + 1


def test_packets_over_the_rate_take_the_rest_of_the_list_with_them(rig: Rig, meter: int) -> None:
    rig.dp.meters.set(meter, 1, "pktps", 3)
    rig.through([FRAME] * 10, [Output(2), Meter(meter), Output(3)])
    assert (len(rig.frames(2)), len(rig.frames(3))) == (10, 3)


def test_a_meter_in_a_copy_is_for_the_copy(rig: Rig, meter: int) -> None:
    rig.dp.meters.set(meter, 1, "pktps", 3)
    with rig.dropping() as dropped:
        assert rig.through([FRAME] * 10, [Clone((Meter(meter), Output(3))), Output(2)]) == [FRAME] * 10
    assert rig.frames(3) == [FRAME] * 3
    assert dropped == {"meter": 7}


def test_a_meter_that_is_not_there_lets_pass(rig: Rig, meter: int) -> None:
    assert rig.through([FRAME] * 10, [Meter(meter), Output(2)]) == [FRAME] * 10
    rig.dp.meters.set(meter, 1, "pktps", 1)
    assert len(rig.through([FRAME] * 10, [Meter(meter), Output(2)], count=0)) == 1
    rig.dp.meters.delete(meter)
    assert rig.through([FRAME] * 10, [Meter(meter), Output(2)]) == [FRAME] * 10
    assert rig.through([FRAME] * 10, [Meter(0xFFFFFFFF), Output(2)]) == [FRAME] * 10


def test_tags_count_as_bytes(rig: Rig, meter: int) -> None:
    tagged = FRAME[:12] + b"\x81\x00\x00\x05" + FRAME[12:]
    rig.dp.meters.set(meter, 1_000_000, "kbps", 10_000)
    assert rig.through([tagged] * 3, [Meter(meter), Output(2)]) == [tagged] * 3
    assert rig.dp.meters.get(meter).bytes == 3 * len(tagged)
