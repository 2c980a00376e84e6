"""Programs that answer packets as they come up: order, timeouts, failures, fairness."""

from __future__ import annotations

import asyncio
import logging
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.lab import Host, Lab, wait_until
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
from vswitch.packet import build

MAC = {1: 0x020000000001, 2: 0x020000000099}  # nobody's, so that no host answers
FIVE_TUPLE = ("in_port", "eth_type", "ipv4_src", "ipv4_dst", "ip_proto", "udp_src", "udp_dst")


def udp_frame(flow: int, number: int) -> bytes:
    """Packet `number` of UDP flow `flow`."""
    segment = build.udp(1000 + flow, 2000, struct.pack("!I", number) + bytes(14))
    return build.ethernet(MAC[2], MAC[1], 0x0800, build.ipv4(0x0A000001, 0x0A000002, 17, segment))


def is_udp(frame: bytes) -> bool:
    return frame[12:14] == b"\x08\x00" and frame[23] == 17


def numbers_by_flow(frames: list[bytes]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for frame in frames:
        port, number = struct.unpack_from("!H", frame, 34)[0], struct.unpack_from("!I", frame, 42)[0]
        found.setdefault(port - 1000, []).append(number)
    return found


@contextmanager
def running(dp: Datapath, **arguments: object) -> Iterator[None]:
    """`dp.run()` in a thread of its own."""
    thread = threading.Thread(target=dp.run, kwargs=arguments, daemon=True)
    dp.start_upcalls()
    thread.start()
    try:
        yield
    finally:
        dp.stop()
        thread.join(5)
        assert not thread.is_alive()


@pytest.fixture
def hosts(lab: Lab) -> tuple[Host, Host]:
    return lab.host("h1", ip="10.0.0.1/24"), lab.host("h2", ip="10.0.0.2/24")


@pytest.fixture
def dp(lab: Lab, hosts: tuple[Host, Host]) -> Iterator[Datapath]:
    options = Options(ring_bytes=16 << 20, port_quota_bytes=8 << 20)  # for a machine that is busy with other tests
    ports = [host.port for host in hosts]
    with Datapath.create(f"r{lab.name}"[:15], ports=ports, local=False, options=options) as datapath:
        yield datapath


def forward(miss: Miss) -> tuple[Match, Output]:
    return Match.exact(miss.key, *FIVE_TUPLE), Output(3 - miss.port)


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
    dp: Datapath, hosts: tuple[Host, Host], flows: int, count: int, gap_us: int
) -> None:
    """While a flow's first packets are being looked at, later ones find the rule installed; none overtakes."""
    dp.on_miss(forward)
    frames = [udp_frame(flow, number) for number in range(count) for flow in range(flows)]
    with hosts[1].capturing(is_udp) as captured, running(dp):
        command = [sys.executable, "-c", SENDER, str(flows), str(count), str(gap_us / 1e6)]
        sender = hosts[0].popen(command, stdin=subprocess.PIPE)
        sender.communicate(repr(frames), timeout=60)
        captured.wait_for(len(frames), 20)
    assert numbers_by_flow(captured) == {flow: list(range(count)) for flow in range(flows)}
    assert dp.upcall_stats.handled == flows
    assert dp.stats().lost == 0
    assert dp.stats().flows == flows


def test_a_gate_opens_by_itself_when_its_opener_is_dead(dp: Datapath, hosts: tuple[Host, Host]) -> None:
    """A rule that was installed for a packet lets others pass after 0.5 s even if Python never comes back."""
    dp.start_upcalls()
    hosts[0].send(udp_frame(0, 0))
    for miss in dp.misses(timeout_s=5):
        miss.install(*forward(miss))
        break
    assert len(dp.flows) == 1
    with hosts[1].capturing(is_udp) as captured:
        time.sleep(0.6)
        hosts[0].send(udp_frame(0, 1))
        captured.wait_for(1)
    assert numbers_by_flow(captured)[0] == [1]


def test_packets_that_came_while_the_first_was_looked_at_are_not_asked_about(
    dp: Datapath, hosts: tuple[Host, Host]
) -> None:
    dp.start_upcalls()
    with hosts[1].capturing(is_udp) as captured:
        for number in range(50):
            hosts[0].send(udp_frame(7, number))
        asked = 0
        for miss in dp.misses(timeout_s=1):
            asked += 1
            miss.install(*forward(miss))
        captured.wait_for(50)
    assert asked == 1
    assert dp.upcall_stats.saved == 49
    assert numbers_by_flow(captured) == {7: list(range(50))}


def test_each_miss_carries_packet_key_and_port(dp: Datapath, hosts: tuple[Host, Host]) -> None:
    dp.start_upcalls()
    frame = udp_frame(3, 9)
    hosts[0].send(frame)
    miss = next(dp.misses(timeout_s=5))
    assert miss.packet == frame
    assert (miss.port, miss.reason, miss.length) == (1, UpcallReason.MISS, len(frame))
    assert (miss.key.udp_src, miss.key.udp_dst, miss.key.ipv4_dst) == (1003, 2000, 0x0A000002)
    assert miss.key.has("udp_dst")
    assert not miss.key.has("tcp_dst")


def test_send_touches_this_packet_alone(dp: Datapath, hosts: tuple[Host, Host]) -> None:
    dp.start_upcalls()
    with hosts[1].capturing(is_udp) as captured:
        for number in range(3):
            hosts[0].send(udp_frame(1, number))
        for miss in dp.misses(timeout_s=0.5):
            miss.send([SetField("udp_dst", 53), Output(2)])
        captured.wait_for(3)
    assert len(dp.flows) == 0
    assert {struct.unpack_from("!H", frame, 36)[0] for frame in captured} == {53}


def test_a_handler_that_raises_loses_its_own_packet_only(
    dp: Datapath, hosts: tuple[Host, Host], caplog: pytest.LogCaptureFixture
) -> None:
    @dp.on_miss
    def sometimes(miss: Miss) -> tuple[Match, Output]:
        if miss.key.udp_src == 1005:
            raise RuntimeError("no idea about flow 5")
        return forward(miss)

    with caplog.at_level(logging.ERROR, "vswitch"), hosts[1].capturing(is_udp) as captured, running(dp):
        for flow in range(10):
            hosts[0].send(udp_frame(flow, 1))
        captured.wait_for(9)
        wait_until(lambda: dp.upcall_stats.failed == 1, "the failure to be counted")
    assert set(numbers_by_flow(captured)) == set(range(10)) - {5}
    assert "no idea about flow 5" in caplog.text
    assert dp.stats().flows == 9


@pytest.mark.parametrize(
    "answer",
    [
        "nonsense",
        (Match(in_port=2), Output(1)),
        (Match(in_port=1), "to port two"),
        Rule(Match(udp_src=1), (Output(2),)),
        (Match.from_ints(0, 1 << 5000), Output(2)),
        (Match.from_ints(0, -1 << 2000), Output(2)),
    ],
)
def test_a_nonsense_answer_is_refused_and_counted(dp: Datapath, hosts: tuple[Host, Host], answer: object) -> None:
    dp.on_miss(lambda _miss: answer)  # type: ignore[arg-type, return-value]
    with running(dp):
        hosts[0].send(udp_frame(0, 0))
        wait_until(lambda: dp.upcall_stats.failed == 1, "the failure to be counted")
    assert len(dp.flows) == 0


def test_overlapping_answers_are_refused_one_by_one(dp: Datapath, hosts: tuple[Host, Host]) -> None:
    """Of two megaflows that overlap, the second is refused and reported; others of the batch live."""
    dp.start_upcalls()
    for flow in range(4):
        hosts[0].send(udp_frame(flow, 0))
    answers = {
        1000: Match(udp_src=1000, in_port=1),
        1001: Match(udp_src=1001),
        1002: Match(udp_src=1002),
        1003: Match(udp_dst=2000),
    }
    for miss in dp.misses(timeout_s=0.5):
        miss.install(answers[miss.key.udp_src], Output(2))
    assert dp.upcall_stats.failed == 1
    assert {flow.match for flow in dp.flows} == {answers[1000], answers[1001], answers[1002]}


def test_list_that_is_too_long_costs_its_own_packet_alone(dp: Datapath, hosts: tuple[Host, Host]) -> None:
    """64 actions are allowed, but these compile to more steps than one list may have."""
    endless = [SetField("ipv6_src", number) for number in range(64)]

    def answer(miss: Miss) -> None:
        miss.send(endless if miss.key.udp_src == 1001 else Output(2))

    dp.on_miss(answer)
    dp.start_upcalls()
    for flow in range(4):
        hosts[0].send(udp_frame(flow, 0))
    with hosts[1].capturing(is_udp) as captured, running(dp):
        captured.wait_for(3)
        wait_until(lambda: dp.upcall_stats.failed == 1, "the failure to be counted")
        hosts[0].send(udp_frame(4, 0))
        captured.wait_for(4)
    assert sorted(numbers_by_flow(captured)) == [0, 2, 3, 4]


def test_idle_and_hard_timeouts(dp: Datapath, hosts: tuple[Host, Host]) -> None:
    dp.flows.add(Match(udp_src=1001), Output(2), idle_timeout_s=0.5)
    dp.flows.add(Match(udp_src=1002), Output(2), hard_timeout_s=0.5)
    dp.flows.add(Match(udp_src=1003), Output(2))
    with running(dp):
        for _ in range(8):
            for flow in (1, 2, 3):
                hosts[0].send(udp_frame(flow, 0))
            time.sleep(0.1)
        assert [flow.match.fields()["udp_src"][0] for flow in sorted(dp.flows, key=repr)] == [1001, 1003]
        wait_until(lambda: dp.stats().flows == 1, "the idle one to go")
    assert dp.flows.get(Match(udp_src=1003)).stats.packets == 8
    with pytest.raises(NotFoundError):
        dp.flows.get(Match(udp_src=1001))


def test_deleted_rules_are_asked_about_again(dp: Datapath, hosts: tuple[Host, Host]) -> None:
    dp.on_miss(forward)
    with hosts[1].capturing(is_udp) as captured, running(dp):
        hosts[0].send(udp_frame(1, 0))
        captured.wait_for(1)
    dp.flows.flush()
    with hosts[1].capturing(is_udp) as captured, running(dp):
        hosts[0].send(udp_frame(1, 1))
        captured.wait_for(1)
    assert dp.upcall_stats.handled == 2


def test_strict_mode_reports_a_miss_as_the_bug_that_it_is(dp: Datapath, hosts: tuple[Host, Host]) -> None:
    dp.flows.add(Match(udp_src=1001), Output(2))
    dp.start_upcalls()
    hosts[0].send(udp_frame(1, 0))
    dp.run(strict=True, timeout_s=0.3)
    hosts[0].send(udp_frame(2, 0))
    with pytest.raises(UnexpectedUpcallError, match="udp_src=1002"):
        dp.run(strict=True, timeout_s=5)


def test_strict_mode_takes_what_the_rules_send_up_on_purpose(dp: Datapath, hosts: tuple[Host, Host]) -> None:
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
    url = hosts[1].serve_http()
    with running(dp, strict=True):
        assert "hello" in hosts[0].curl(url)
        wait_until(lambda: b"fin" in seen, "the end of the connection")
    assert b"arp" in seen
    assert seen.count(b"syn") == 2
    assert dp.stats().missed == 0


def test_asyncio_handler_may_wait(dp: Datapath, hosts: tuple[Host, Host]) -> None:
    async def slow(miss: Miss) -> tuple[Match, Output]:
        await asyncio.sleep(0.02)
        return forward(miss)

    async def program() -> None:
        serving = asyncio.create_task(dp.serve(slow))
        await asyncio.sleep(0.1)
        for number in range(3):
            for flow in range(5):
                hosts[0].send(udp_frame(flow, number))
        await asyncio.sleep(0.8)
        dp.stop()
        await asyncio.wait_for(serving, 2)

    with hosts[1].capturing(is_udp) as captured:
        asyncio.run(program())
        captured.wait_for(15)
    assert numbers_by_flow(captured) == {flow: [0, 1, 2] for flow in range(5)}
    assert dp.upcall_stats.handled == 5


def test_large_transfer_through_a_reactive_program(dp: Datapath, hosts: tuple[Host, Host], tmp_path: Path) -> None:
    """GSO packets and partial checksums come up and go down whole: what was sent is what arrives."""

    @dp.on_miss
    def by_port(miss: Miss) -> tuple[Match, Output]:
        wanted = ("in_port", "tcp_src", "tcp_dst") if miss.key.has("tcp_dst") else ("in_port", "eth_type")
        return Match.exact(miss.key, *wanted), Output(3 - miss.port)

    content = "".join(f"{n:07d} " for n in range(200_000))
    url = hosts[1].serve_http(content=content)
    with running(dp):
        assert hosts[0].curl(url) == content


def test_a_gso_packet_comes_up_whole(dp: Datapath, hosts: tuple[Host, Host]) -> None:
    """Every packet of a bulk transfer through Python: none is segmented on the way, sums stay right."""
    lengths: list[int] = []

    @dp.on_miss
    def carry(miss: Miss) -> None:
        lengths.append(miss.length)
        miss.send(Output(3 - miss.port))

    content = "x" * 1_000_000
    url = hosts[1].serve_http(content=content)
    with running(dp):
        assert hosts[0].curl(url) == content
    assert max(lengths) > 10_000
    assert len(dp.flows) == 0


def test_a_port_that_floods_does_not_take_the_ring(lab: Lab) -> None:
    """While nobody reads, port 1 fills its quota and no more; a packet of port 2 still comes up."""
    h1, h2 = lab.host("h1", ip="10.0.0.1/24"), lab.host("h2", ip="10.0.0.2/24")
    options = Options(ring_bytes=1 << 20, port_quota_bytes=1 << 17)
    with Datapath.create(f"q{lab.name}"[:15], ports=[h1.port, h2.port], local=False, options=options) as dp:
        dp.start_upcalls()
        for number in range(1000):
            h1.send(udp_frame(1, number))
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


def test_without_a_reader_misses_are_counted(dp: Datapath, hosts: tuple[Host, Host]) -> None:
    hosts[0].send(udp_frame(0, 0), times=5)
    assert dp.ports.stats(1).drops == {"no_flow": 5}
    assert dp.stats().lost == 5


def test_packet_metadata_survives_the_way_through_python(dp: Datapath, hosts: tuple[Host, Host]) -> None:
    """A mark set before recirculation is in the key of the miss and of the packet that is sent down again."""
    from vswitch import Recirculate

    dp.flows.add(Match(recirc_id=0), [SetField("skb_mark", 77), Recirculate(5)])
    keys: list[Key] = []

    @dp.on_miss
    def look(miss: Miss) -> tuple[Match, Output]:
        keys.append(miss.key)
        return Match.exact(miss.key, "recirc_id", "skb_mark"), Output(2)

    with hosts[1].capturing(is_udp) as captured, running(dp):
        hosts[0].send(udp_frame(0, 0))
        captured.wait_for(1)
        hosts[0].send(udp_frame(0, 1))
        captured.wait_for(2)
    assert [(key.recirc_id, key.skb_mark) for key in keys] == [(5, 77)]


def test_gates_go_with_the_program_that_would_open_them(dp: Datapath, hosts: tuple[Host, Host]) -> None:
    """A program that ends, or one that finds the datapath again, leaves no rule behind its gate."""
    for number, leave in enumerate((dp._close_upcalls, dp._flow_table._adopt)):
        dp.start_upcalls()
        hosts[0].send(udp_frame(number, 0))
        for miss in dp.misses(timeout_s=5):
            miss.install(*forward(miss))
            break
        (match,) = (flow.match for flow in dp.flows if flow.match.fields()["udp_src"][0] == 1000 + number)
        slot = dp._flow_table.find(match, 0)
        words = dp._flow_table._flow_words
        assert words[slot * 32] >> 63
        leave()
        assert not words[slot * 32] >> 63
        with hosts[1].capturing(is_udp) as captured:
            hosts[0].send(udp_frame(number, 1))
            captured.wait_for(1)
