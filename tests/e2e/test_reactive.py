"""Programs that answer packets as they come up: order, timeouts, fairness."""

from __future__ import annotations

import asyncio
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.lab import Host, Lab, patience, wait_until
from tests.reactive import finish, forward, is_udp, numbers_by_flow, owed, running, udp_frame, whole_batches
from vswitch import (
    ConfigError,
    Datapath,
    Key,
    Match,
    Miss,
    NotFoundError,
    Options,
    Output,
    Rule,
    SetField,
    UnexpectedUpcallError,
    UpcallReason,
    Userspace,
)


@pytest.fixture
def dp(spacious: Datapath) -> Datapath:
    return spacious


SENDER = """
import socket, sys, time
flows, count, gap_s = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
frames = eval(sys.stdin.read())
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
s.bind(("eth0", 0))
for frame in frames:
    s.send(frame)
    until = time.perf_counter() + gap_s
    while time.perf_counter() < until:
        pass
"""


@pytest.mark.parametrize(("flows", "count", "gap_us"), [(1, 3000, 5), (40, 80, 10), (200, 20, 20)])
def test_packets_of_a_flow_stay_in_order_from_the_first_on(
    dp: Datapath, pair: tuple[Host, Host], flows: int, count: int, gap_us: int
) -> None:
    """While a flow's first packets are being looked at, later ones find the rule installed; none overtakes."""
    dp.on_miss(forward)
    frames = [udp_frame(flow, number) for number in range(count) for flow in range(flows)]
    with pair[1].capturing(is_udp) as captured, running(dp):
        command = [sys.executable, "-c", SENDER, str(flows), str(count), str(gap_us / 1e6)]
        sender = pair[0].popen(command, stdin=subprocess.PIPE)
        sender.communicate(repr(frames), timeout=60)
        captured.wait_for(len(frames), 20)
    assert numbers_by_flow(captured) == {flow: list(range(count)) for flow in range(flows)}
    assert dp.upcall_stats.handled == flows
    assert dp.stats().lost == 0
    assert dp.stats().flows == flows


def test_a_gate_opens_by_itself_when_its_opener_is_dead(dp: Datapath, pair: tuple[Host, Host]) -> None:
    """A rule that was installed for a packet lets others pass after 0.5 s even if Python never comes back."""
    dp.start_upcalls()
    pair[0].send(udp_frame(0, 0))
    for miss in dp.misses(timeout_s=5):
        miss.install(*forward(miss))
        break
    assert len(dp.flows) == 1
    with pair[1].capturing(is_udp) as captured:
        time.sleep(0.6)
        pair[0].send(udp_frame(0, 1))
        captured.wait_for(1)
    assert numbers_by_flow(captured)[0] == [1]


def test_handler_that_is_slow_keeps_the_order(dp: Datapath, pair: tuple[Host, Host]) -> None:
    """For longer than gates are trusted when nobody is heard of: what counts is when Python last took up a packet."""

    @dp.on_miss
    def slow(miss: Miss) -> tuple[Match, Output]:
        time.sleep(0.02)
        return forward(miss)

    numbers = 200
    with pair[1].capturing(is_udp) as captured, running(dp):
        for number in range(numbers):
            pair[0].send(udp_frame(0, number))
            pair[0].send(udp_frame(100 + number, 0))
            time.sleep(0.01)
        captured.wait_for(2 * numbers, 30)
    assert numbers_by_flow(captured)[0] == list(range(numbers))


def test_packets_that_came_while_the_first_was_looked_at_are_not_asked_about(
    dp: Datapath, pair: tuple[Host, Host]
) -> None:
    dp.start_upcalls()
    with pair[1].capturing(is_udp) as captured:
        for number in range(50):
            pair[0].send(udp_frame(7, number))
        asked = 0
        for miss in dp.misses(timeout_s=1):
            asked += 1
            miss.install(*forward(miss))
        captured.wait_for(50)
    assert asked == 1
    assert dp.upcall_stats.joined == 49
    assert numbers_by_flow(captured) == {7: list(range(50))}


def test_each_miss_carries_packet_key_and_port(dp: Datapath, pair: tuple[Host, Host]) -> None:
    dp.start_upcalls()
    frame = udp_frame(3, 9)
    pair[0].send(frame)
    miss = next(dp.misses(timeout_s=5))
    assert miss.packet == frame
    assert (miss.port, miss.reason, miss.length) == (1, UpcallReason.MISS, len(frame))
    assert (miss.key.udp_src, miss.key.udp_dst, miss.key.ipv4_dst) == (1003, 2000, 0x0A000002)
    assert miss.key.has("udp_dst")
    assert not miss.key.has("tcp_dst")


def test_send_touches_this_packet_alone(dp: Datapath, pair: tuple[Host, Host]) -> None:
    dp.start_upcalls()
    with pair[1].capturing(is_udp) as captured:
        for number in range(3):
            pair[0].send(udp_frame(1, number))
        for miss in dp.misses(timeout_s=0.5):
            miss.send([SetField("udp_dst", 53), Output(2)])
        captured.wait_for(3)
    assert len(dp.flows) == 0
    assert {struct.unpack_from("!H", frame, 36)[0] for frame in captured} == {53}


def test_idle_and_hard_timeouts(dp: Datapath, pair: tuple[Host, Host]) -> None:
    dp.flows.add(Match(udp_src=1001), Output(2), idle_timeout_s=0.5)
    dp.flows.add(Match(udp_src=1002), Output(2), hard_timeout_s=0.5)
    dp.flows.add(Match(udp_src=1003), Output(2))
    with running(dp):
        for _ in range(8):
            for flow in (1, 2, 3):
                pair[0].send(udp_frame(flow, 0))
            time.sleep(0.1)
        assert [flow.match.fields()["udp_src"][0] for flow in sorted(dp.flows, key=repr)] == [1001, 1003]
        wait_until(lambda: dp.stats().flows == 1, "the idle one to go")
    assert dp.flows.get(Match(udp_src=1003)).stats.packets == 8
    with pytest.raises(NotFoundError):
        dp.flows.get(Match(udp_src=1001))


def test_deleted_rules_are_asked_about_again(dp: Datapath, pair: tuple[Host, Host]) -> None:
    dp.on_miss(forward)
    with pair[1].capturing(is_udp) as captured, running(dp):
        pair[0].send(udp_frame(1, 0))
        captured.wait_for(1)
    dp.flows.flush()
    with pair[1].capturing(is_udp) as captured, running(dp):
        pair[0].send(udp_frame(1, 1))
        captured.wait_for(1)
    assert dp.upcall_stats.handled == 2


def test_strict_mode_reports_a_miss_as_the_bug_that_it_is(dp: Datapath, pair: tuple[Host, Host]) -> None:
    dp.flows.add(Match(udp_src=1001), Output(2))
    dp.start_upcalls()
    pair[0].send(udp_frame(1, 0))
    dp.run(strict=True, timeout_s=0.3)
    pair[0].send(udp_frame(2, 0))
    with pytest.raises(UnexpectedUpcallError, match="udp_src=1002"):
        dp.run(strict=True, timeout_s=5)


def test_strict_mode_takes_what_the_rules_send_up_on_purpose(dp: Datapath, pair: tuple[Host, Host]) -> None:
    """ARP and new connections are left out for Python by rules; that is no miss."""
    seen: list[bytes] = []

    @dp.on_miss
    def left_out(miss: Miss) -> None:
        seen.append(miss.userdata)
        miss.send(Output(3 - miss.port))

    dp.flows.replace(
        [
            Rule(Match(arp_op=1), (Userspace(b"arp"),), 20),
            *(Rule(Match(tcp_flags=(flag, flag)), (Userspace(flag.encode()),), 20 - n) for n, flag in
              enumerate(("syn", "fin", "rst"), 1)),
            Rule(Match(in_port=1), (Output(2),), 1),
            Rule(Match(in_port=2), (Output(1),), 1),
        ]
    )  # fmt: skip
    url = pair[1].serve_http()
    with running(dp, strict=True):
        assert "hello" in pair[0].curl(url)
        wait_until(lambda: b"fin" in seen, "the end of the connection")
    assert b"arp" in seen
    assert seen.count(b"syn") == 2
    assert dp.stats().missed == 0


def test_asyncio_handler_may_wait(dp: Datapath, pair: tuple[Host, Host]) -> None:
    async def slow(miss: Miss) -> tuple[Match, Output]:
        await asyncio.sleep(0.02)
        return forward(miss)

    async def program() -> None:
        serving = asyncio.create_task(dp.serve(slow))
        await asyncio.sleep(0.1)
        for number in range(3):
            for flow in range(5):
                pair[0].send(udp_frame(flow, number))
        await asyncio.sleep(0.8)
        dp.stop()
        await asyncio.wait_for(serving, 2)

    with pair[1].capturing(is_udp) as captured:
        asyncio.run(program())
        captured.wait_for(15)
    assert numbers_by_flow(captured) == {flow: [0, 1, 2] for flow in range(5)}
    assert dp.upcall_stats.handled == 5


def test_large_transfer_through_a_reactive_program(dp: Datapath, pair: tuple[Host, Host], tmp_path: Path) -> None:
    """GSO packets and partial checksums come up and go down whole: what was sent is what arrives."""

    @dp.on_miss
    def by_port(miss: Miss) -> tuple[Match, Output]:
        wanted = ("in_port", "tcp_src", "tcp_dst") if miss.key.has("tcp_dst") else ("in_port", "eth_type")
        return Match.exact(miss.key, *wanted), Output(3 - miss.port)

    content = "".join(f"{n:07d} " for n in range(200_000))
    url = pair[1].serve_http(content=content)
    with running(dp):
        assert pair[0].curl(url) == content


def test_a_gso_packet_comes_up_whole(dp: Datapath, pair: tuple[Host, Host]) -> None:
    """Every packet of a bulk transfer through Python: none is segmented on the way, sums stay right."""
    lengths: list[int] = []

    @dp.on_miss
    def carry(miss: Miss) -> None:
        lengths.append(miss.length)
        miss.send(Output(3 - miss.port))

    content = "x" * 1_000_000
    url = pair[1].serve_http(content=content)
    with running(dp):
        assert pair[0].curl(url) == content
    assert max(lengths) > max(10_000 / patience(), 1514)
    assert len(dp.flows) == 0


def test_a_flow_gets_into_the_kernel_although_its_port_floods(dp: Datapath, pair: tuple[Host, Host]) -> None:
    """There are always packets of others before its own in the ring, and always one of its own behind these."""
    upcalls, flood = whole_batches(dp), iter(range(2, 60000))

    def answer(miss: Miss) -> tuple[Match, Output] | None:
        return forward(miss) if miss.key.udp_src == 1001 else None

    def fill(number: int) -> None:
        pair[0].send_many([udp_frame(1, number), *(udp_frame(next(flood), 0) for _ in range(300))])
        wait_until(lambda: dp.ports.stats(1).rx_packets >= 301 * number + 301, "the packets come up")

    with pair[1].capturing(is_udp) as received:
        fill(0)
        for number in range(1, 8):
            fill(number)
            upcalls.handle(answer)
        before = dp.stats().upcalls
        pair[0].send(udp_frame(1, 8))
        received.wait_for(9)
        assert dp.stats().upcalls == before, "its megaflow takes its packets"
        finish(dp, answer)
    assert numbers_by_flow(received) == {1: list(range(9))}
    assert dp.upcall_stats.handled == 1 + 8 * 300
    assert owed(dp, 1) == 0


def test_a_port_that_floods_does_not_take_the_ring(lab: Lab) -> None:
    """While nobody reads, port 1 fills its quota and no more; a packet of port 2 still comes up."""
    h1, h2 = lab.host("h1", ip="10.0.0.1/24"), lab.host("h2", ip="10.0.0.2/24")
    options = Options(ring_bytes=1 << 20, port_quota_bytes=1 << 17)
    with Datapath.create(f"q{lab.name}"[:15], ports=[h1.port, h2.port], local=False, options=options) as dp:
        dp.start_upcalls()
        h1.send_many(udp_frame(1, number) for number in range(1000))
        h2.send(udp_frame(2, 0))
        stats = dp.ports.stats(1)
        assert stats.upcalls == (1 << 17) // 448
        assert stats.lost == 1000 - stats.upcalls
        assert stats.drops == {"upcall_quota": stats.lost}
        assert dp.ports.stats(2).lost == 0
        ports = [miss.port for miss in dp.misses(timeout_s=0.5)]
        assert ports.count(1) == stats.upcalls
        assert ports.count(2) == 1
        h1.send(udp_frame(1, 0))
        assert [miss.port for miss in dp.misses(timeout_s=0.5)] == [1]


def test_misses_that_are_kept_can_still_be_read(lab: Lab) -> None:
    """Also when the ring has gone round, and when it is gone."""
    h1, h2 = lab.host("h1", ip="10.0.0.1/24"), lab.host("h2", ip="10.0.0.2/24")
    options = Options(ring_bytes=1 << 17, port_quota_bytes=1 << 17)
    kept: list[Miss] = []
    frames = [udp_frame(flow, flow) for flow in range(300)]
    with Datapath.create(f"k{lab.name}"[:15], ports=[h1.port, h2.port], local=False, options=options) as dp:
        dp.start_upcalls()
        for begin in range(0, len(frames), 50):
            for frame in frames[begin : begin + 50]:
                h1.send(frame)
            kept += dp.misses(timeout_s=0.1)
        assert [miss.packet for miss in kept if is_udp(miss.packet)] == frames
    assert [miss.packet for miss in kept if is_udp(miss.packet)] == frames
    for answer in (lambda: kept[0].send(Output(2)), kept[0].drop, lambda: kept[0].install(Match(), Output(2))):
        with pytest.raises(ConfigError, match="too late"):
            answer()


def test_without_a_reader_misses_are_counted(dp: Datapath, pair: tuple[Host, Host]) -> None:
    pair[0].send(udp_frame(0, 0), times=5)
    assert dp.ports.stats(1).drops == {"no_flow": 5}
    assert dp.stats().lost == 5


def test_packet_metadata_survives_the_way_through_python(dp: Datapath, pair: tuple[Host, Host]) -> None:
    """A mark set before recirculation is in the key of the miss and of the packet that is sent down again."""
    from vswitch import Recirculate

    dp.flows.add(Match(recirc_id=0), [SetField("skb_mark", 77), Recirculate(5)])
    keys: list[Key] = []

    @dp.on_miss
    def look(miss: Miss) -> tuple[Match, Output]:
        keys.append(miss.key)
        return Match.exact(miss.key, "recirc_id", "skb_mark"), Output(2)

    with pair[1].capturing(is_udp) as captured, running(dp):
        pair[0].send(udp_frame(0, 0))
        captured.wait_for(1)
        pair[0].send(udp_frame(0, 1))
        captured.wait_for(2)
    assert [(key.recirc_id, key.skb_mark) for key in keys] == [(5, 77)]


def test_gates_go_with_the_program_that_would_open_them(dp: Datapath, pair: tuple[Host, Host]) -> None:
    """A program that ends, or one that finds the datapath again, leaves no rule behind its gate."""
    for number, leave in enumerate((dp._close_upcalls, dp._kernel.flows._adopt)):
        dp.start_upcalls()
        pair[0].send(udp_frame(number, 0))
        for miss in dp.misses(timeout_s=5):
            miss.install(*forward(miss))
            break
        (match,) = (flow.match for flow in dp.flows if flow.match.fields()["udp_src"][0] == 1000 + number)
        slot = dp._kernel.flows.find(match, 0)
        words = dp._kernel.flows._flow_words
        assert words[slot * 32] >> 63
        leave()
        assert not words[slot * 32] >> 63
        with pair[1].capturing(is_udp) as captured:
            pair[0].send(udp_frame(number, 1))
            captured.wait_for(1)
