"""Packets that Python sends down: each passes the datapath once, whatever becomes of those beside it."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.lab import Host, Lab
from vswitch import Action, Datapath, Drop, Match, Output, Userspace
from vswitch.packet import build

PACKETS = 40
SINGLE: tuple[Action, ...] = (Drop(7), Output(2), Output(9))  # there is no port 9
LAST: tuple[Action, ...] = (Output(9), Userspace(b"copy"), Output(2))


@pytest.fixture
def dp(lab: Lab, pair: tuple[Host, Host]) -> Iterator[Datapath]:
    with Datapath.create(f"j{lab.name}"[:15], ports=[host.port for host in pair], local=False) as datapath:
        datapath.start_upcalls()
        yield datapath


def frame(number: int) -> bytes:
    segment = build.udp(1000 + number, 2000, bytes(18))
    return build.ethernet(0x020000000099, 0x020000000001, 0x0800, build.ipv4(0x0A000001, 0x0A000002, 17, segment))


def number_of(packet: bytes) -> int:
    port: int = struct.unpack_from("!H", packet, 34)[0]
    return port - 1000


def is_ours(packet: bytes) -> bool:
    return packet[12:14] == b"\x08\x00" and packet[36:38] == struct.pack("!H", 2000)


def test_megaflows_that_drop_count_each_packet_of_a_batch_once(dp: Datapath, pair: tuple[Host, Host]) -> None:
    for number in range(PACKETS):
        pair[0].send(frame(number))
    with pair[1].capturing(is_ours) as captured:
        for miss in dp.misses(timeout_s=0.5):
            if is_ours(miss.packet):
                miss.install(Match.exact(miss.key, "in_port", "udp_src"), SINGLE[number_of(miss.packet) % 3])
        captured.wait_for(len(range(1, PACKETS, 3)))
    assert {flow.stats.packets for flow in dp.flows} == {1}
    assert len(dp.flows) == PACKETS
    assert Counter(map(number_of, captured)) == Counter(range(1, PACKETS, 3))
    assert dp.explicit_drops() == {7: len(range(0, PACKETS, 3))}
    assert dp.ports.stats(1).drops["no_port"] == len(range(2, PACKETS, 3))


def test_lists_that_end_in_a_drop_are_executed_once(dp: Datapath, pair: tuple[Host, Host]) -> None:
    """The first output of each happens once, although the last one cannot; so does the copy to Python."""
    for number in range(PACKETS):
        pair[0].send(frame(number))
    copies: Counter[int] = Counter()
    with pair[1].capturing(is_ours) as captured:
        for miss in dp.misses(timeout_s=0.5):
            if not is_ours(miss.packet):
                continue
            number = number_of(miss.packet)
            if miss.userdata:
                copies[number] += 1
            else:
                miss.send((Output(2), LAST[number % 3]))
        captured.wait_for(PACKETS + len(range(2, PACKETS, 3)))
    assert Counter(map(number_of, captured)) == {number: 1 + (number % 3 == 2) for number in range(PACKETS)}
    assert copies == dict.fromkeys(range(1, PACKETS, 3), 1)
