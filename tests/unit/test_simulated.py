"""The simulated datapath, as a program uses it: no kernel, no root, and time that goes on when the test says so."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import ARP, Ether

from vswitch import (
    ConfigError,
    Datapath,
    Decision,
    Drop,
    ExistsError,
    Key,
    Match,
    Meter,
    Miss,
    NotFoundError,
    Output,
    OverlapError,
    Packet,
    Rule,
    SetField,
    Table,
    TableFullError,
    UnexpectedUpcallError,
    Userspace,
    drop,
    now,
    output,
)
from vswitch.testing import send

A, B, C = (f"02:00:00:00:00:0{n}" for n in (1, 2, 3))


def udp(sport: int = 1, dport: int = 2, src: str = A, dst: str = B) -> bytes:
    return bytes(Ether(src=src, dst=dst) / IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=sport, dport=dport))


WEB = bytes(Ether(src=A, dst=B) / IP(src="10.0.0.1", dst="10.0.0.2") / TCP(sport=1234, dport=80))


@pytest.fixture
def dp() -> Iterator[Datapath]:
    with Datapath.simulate(ports=3) as datapath:
        yield datapath


def test_rules_forward_and_count(dp: Datapath) -> None:
    dp.flows.add(Match(tcp_dst=80), Output(3), priority=10)
    dp.flows.add(Match(), Output(2))
    assert [sent.port for sent in dp.receive(WEB, 1)] == [3]
    assert dp.receive(udp(), "port1")[0].packet == udp()
    assert [sent.port for sent in dp.sent()] == [3, 2]
    assert dp.sent() == []
    assert [flow.stats.packets for flow in dp.flows] == [1, 1]
    assert (dp.ports.stats(1).rx_packets, dp.ports.stats(3).tx_bytes) == (2, len(WEB))
    stats = dp.stats()
    assert (stats.hit, stats.missed, stats.flows, stats.masks) == (2, 0, 2, 2)


def test_flows_are_what_they_are_in_the_kernel(dp: Datapath) -> None:
    dp.flows.add(Match(in_port=1), Output(2))
    with pytest.raises(ExistsError):
        dp.flows.add(Match(in_port=1), Output(3))
    with pytest.raises(OverlapError):
        dp.flows.add(Match(eth_type=0x0806), Output(3))
    dp.flows.delete(Match(in_port=1))
    dp.flows.add(Match(eth_type=0x0806), Output(3))
    with pytest.raises(OverlapError):
        dp.flows.add(Match(in_port=1), Output(2))
    change = dp.transaction()
    change.delete(Match(eth_type=0x0806))
    change.add(Match(in_port=2), Output(2))
    change.add(Match(eth_type=0x0800), Output(2))
    with pytest.raises(OverlapError):
        change.commit()
    with pytest.raises(OverlapError):
        dp.flows.add(Match(in_port=1), Output(2))
    with dp.transaction() as change:
        change.delete(Match(eth_type=0x0806))
        change.add(Match(in_port=1), Output(2))
    dp.flows.add(Match(eth_type=0x0806), Output(3), priority=1)
    hidden = Rule(Match(in_port=2, eth_type=0x0806), (Output(1),))
    assert [rule for rule, _ in dp.flows.replace([*(flow.rule for flow in dp.flows), hidden])] == [hidden]
    dp.flows.modify(Match(in_port=1), Output(1))
    assert [sent.port for sent in dp.receive(udp(), 1)] == [1]
    assert dp.flows.delete(Match(in_port=1)).stats.packets == 1
    with pytest.raises(NotFoundError):
        dp.flows.get(Match(in_port=1))
    transaction = dp.transaction()
    transaction.add(Match(in_port=3), Output(1))
    transaction.delete(Match(in_port=1))
    with pytest.raises(NotFoundError):
        transaction.commit()
    assert len(dp.flows) == dp.flows.flush() == 2


def test_sizes_bound_it() -> None:
    with Datapath.simulate(ports=1, max_flows=4, max_masks=2, max_ports=1) as dp:
        with pytest.raises(TableFullError, match="max_ports"):
            dp.ports.add("another")
        dp.flows.add_many(Rule(Match(in_port=port)) for port in (1, 2, 3, 4))
        with pytest.raises(TableFullError, match="max_flows"):
            dp.flows.add(Match(in_port=5))
        dp.flows.flush()
        dp.flows.add(Match(in_port=1), priority=1)
        dp.flows.add(Match(in_port=1), priority=2)
        with pytest.raises(TableFullError, match="max_masks"):
            dp.flows.replace([Rule(Match(in_port=1), (), priority) for priority in (1, 2, 3)])
        assert len(dp.flows) == 2


def test_a_handler_is_asked_once_and_its_packet_sent_on(dp: Datapath) -> None:
    @dp.on_miss
    def handle(miss: Miss) -> tuple[Match, Output]:
        return Match.exact(miss.key, "in_port", "eth_dst"), Output(2)

    first = send(dp, udp())
    assert (first.ports, first.packets, first.upcalls, first.installed) == ([2], [udp()], 1, 1)
    second = send(dp, udp(sport=9))
    assert (second.ports, second.upcalls) == ([2], 0)


def test_packets_that_wait_leave_in_order_behind_the_first(dp: Datapath) -> None:
    asked = []

    @dp.on_miss
    def handle(miss: Miss) -> tuple[Match, Output]:
        asked.append(miss.key.udp_src)
        return Match.exact(miss.key, "in_port", "eth_dst"), Output(2)

    packets = [udp(sport=sport) for sport in range(1, 600)]  # more than a batch
    for packet in packets:
        assert dp.receive(packet) == []
    dp.run()
    assert [sent.packet for sent in dp.sent()] == packets
    assert asked == [1]
    assert dp.upcall_stats.joined == len(packets) - 1


def test_a_handler_that_raises_costs_its_own_packet(dp: Datapath, caplog: pytest.LogCaptureFixture) -> None:
    @dp.on_miss
    def handle(miss: Miss) -> None:
        if miss.key.udp_src == 1:
            raise ValueError("no")
        miss.send(Output(3))

    assert send(dp, udp(sport=1), may_fail=True).failed == 1
    assert "ValueError: no" in caplog.text
    assert send(dp, udp(sport=2)).ports == [3]


def test_rules_alone_are_tested_alike_each_time(dp: Datapath) -> None:
    dp.flows.add(Match(tcp_dst=80), Output(3))
    assert send(dp, WEB).ports == [3]
    for _ in range(2):
        outcome = send(dp, udp())
        assert (outcome.upcalls, outcome.sent, outcome.drops) == (1, (), {"unanswered": 1}), "no rule knows it"


def test_what_nobody_reads_is_counted(dp: Datapath) -> None:
    assert dp.receive(udp()) == []
    assert (dp.ports.stats(1).lost, dp.ports.stats(1).drops) == (1, {"no_flow": 1})


def test_a_port_has_its_share_of_the_ring() -> None:
    with Datapath.simulate(ports=2, port_quota_bytes=1 << 17) as dp:
        dp.start_upcalls()
        for sport in range(1, 400):
            dp.receive(udp(sport=sport))
        taken = (1 << 17) // 448
        assert dp.ports.stats(1).upcalls == taken
        assert dp.ports.stats(1).drops == {"upcall_quota": 399 - taken}
        dp.receive(udp(), 2)
        assert dp.ports.stats(2).upcalls == 1
        assert len(list(dp.misses())) == taken + 1
        dp.receive(udp())
        assert dp.ports.stats(1).upcalls == taken + 1


def test_the_ring_goes_round() -> None:
    with Datapath.simulate(ports=1, ring_bytes=1 << 17, port_quota_bytes=1 << 17) as dp:
        dp.start_upcalls()
        for sport in range(1, 1000):
            dp.receive(udp(sport=sport))
            if sport % 7 == 0:
                assert [miss.key.udp_src for miss in dp.misses()] == list(range(sport - 6, sport + 1))
        assert dp.ports.stats(1).lost == 0


def test_userspace_actions_come_up_with_their_data(dp: Datapath) -> None:
    dp.start_upcalls()
    dp.flows.add(Match(), (Userspace(b"why"), Output(2)))
    assert [sent.port for sent in dp.receive(udp())] == [2]
    assert (dp.stats().missed, dp.stats().upcalls, dp.upcall_stats.waiting) == (0, 1, 1)
    (miss,) = dp.misses()
    assert (miss.reason.name, miss.userdata, miss.packet) == ("ACTION", b"why", udp())
    dp.flows.flush()
    dp.receive(udp())
    stats = dp.upcall_stats
    assert (stats.arrived, stats.dropped, stats.waiting) == (2, 1, 1)


def test_execute_and_strict(dp: Datapath) -> None:
    dp.execute(udp(), [Output(1), Output(3)])
    assert [sent.port for sent in dp.sent()] == [1, 3]
    dp.start_upcalls()
    dp.receive(udp())
    with pytest.raises(UnexpectedUpcallError):
        dp.run(strict=True)


@pytest.mark.parametrize("reason", ["answer", "unanswered", "failed", "rate", "released"])
def test_what_becomes_of_a_packet_that_came_up_is_in_the_outcome(dp: Datapath, reason: str) -> None:
    @dp.on_miss
    def answer(miss: Miss) -> tuple[Match, Drop] | None:
        if reason == "answer":
            miss.drop()
        if reason == "failed":
            raise RuntimeError("as asked")
        return (Match(), Drop()) if reason == "released" else None

    if reason == "rate":
        dp.limit_new_flows(1, burst=1, by=("ipv4_src",))
        assert send(dp, udp()).drops == {"unanswered": 1}
    outcome = send(dp, udp(), may_fail=True)
    assert (outcome.ports, outcome.upcalls) == ([], 0 if reason == "rate" else 1)
    assert outcome.drops == {"explicit" if reason == "released" else reason: 1}


def test_one_port_is_bounded_by_itself_and_no_higher_than_all(dp: Datapath) -> None:
    dp.start_upcalls()
    ports = dp.backend.ports
    for bound, limit, come_up in (
        ((10**9, 10**9), None, [1, 3]),
        ((0, 0), 2, [2, 2]),
        ((2 * 10**9, 2 * 10**9), 2, [1, 2]),
    ):
        if limit is not None:
            dp.limit_new_flows(1, burst=limit)
        ports.bound_misses(1, *bound)
        before = [dp.ports.stats(port).upcalls for port in (1, 2)]
        dp.advance(60)
        for port in (1, 2):
            for number in range(3):
                dp.receive(udp(number), port)
        assert [dp.ports.stats(port).upcalls - was for port, was in zip((1, 2), before, strict=True)] == come_up


def test_time_is_what_the_test_says(dp: Datapath) -> None:
    dp.flows.add(Match(in_port=1), Output(2), idle_timeout_s=10)
    dp.flows.add(Match(in_port=2), Output(1), hard_timeout_s=15)
    dp.advance(9)
    dp.receive(udp())
    dp.receive(udp(), 2)
    dp.advance(9)
    assert [(flow.match, flow.stats.used_s, flow.stats.age_s) for flow in dp.flows] == [(Match(in_port=1), 9, 18)]
    dp.run(timeout_s=1)
    assert not dp.flows
    for wrong in (-1, float("nan"), float("inf"), "1"):
        with pytest.raises(ConfigError):
            dp.advance(wrong)  # type: ignore[arg-type]


def test_meters_go_by_simulated_time(dp: Datapath) -> None:
    dp.meters.set(1, rate=10, unit="pktps", burst=2)
    dp.flows.add(Match(), (Meter(1), Output(2)))
    assert [len(dp.receive(udp())) for _ in range(4)] == [1, 1, 0, 0]
    dp.advance(0.1)
    assert [len(dp.receive(udp())) for _ in range(2)] == [1, 0]
    meter = dp.meters.get(1)
    assert (meter.packets, meter.dropped_packets) == (3, 3)
    assert dp.ports.stats(1).drops == {"meter": 3}


def test_a_policy_at_work(dp: Datapath) -> None:
    places, banned = Table(key="eth_src"), Table({3: True})
    begin = 10.0

    @dp.policy
    def policy(packet: Packet) -> Drop | tuple[Output, ...] | Decision:
        if banned.get(packet.in_port, False):
            return drop
        if now() < begin:
            return Decision(output(9), idle_timeout_s=100)
        places[packet.eth_src] = packet.in_port
        port = places.get(packet.eth_dst)
        return output(*(n for n in (1, 2, 3) if n != packet.in_port)) if port is None else output(port)

    assert send(dp, udp()).drops == {"no_port": 1}
    (early,) = dp.flows
    assert early.hard_timeout_s == pytest.approx(9)
    dp.advance(9)
    assert not dp.flows
    assert send(dp, udp()).ports == [2, 3]
    assert send(dp, udp(src=B, dst=A), 2).ports == [1]
    assert send(dp, udp()).upcalls == 1, "where B is has changed"
    assert send(dp, udp()).upcalls == 0
    assert send(dp, udp(src=C, dst=A), 3).sent == ()
    before = len(dp.flows)
    assert dp.explain(udp(dst=C), in_port=1).actions == output(2, 3)
    assert len(dp.flows) == before
    del banned[3]
    assert len(dp.flows) == before - 1
    assert send(dp, udp(src=C, dst=A), 3).ports == [1]


def test_on_asyncio(dp: Datapath) -> None:
    async def handle(miss: Miss) -> tuple[Match, Output]:
        await asyncio.sleep(0)
        return Match.exact(miss.key, "in_port"), Output(2)

    async def main() -> None:
        dp.start_upcalls()
        dp.receive(udp())
        await asyncio.wait_for(dp.serve(handle), 5)

    asyncio.run(main())
    assert [sent.packet for sent in dp.sent()] == [udp()]


def test_ports_come_and_go(dp: Datapath) -> None:
    seen = []
    dp.on_port_event(lambda event: seen.append((event.change.value, event.port.name)))
    dp.run()
    assert seen == []
    dp.ports.add("tunnel", 9)
    dp.flows.add(Match(), Output(9))
    assert send(dp, udp()).ports == [9]
    dp.ports.remove("tunnel")
    assert send(dp, udp()).drops == {"no_port": 1}
    assert seen[-2:] == [("added", "tunnel"), ("removed", "tunnel")]
    with pytest.raises(NotFoundError):
        dp.receive(udp(), 9)
    with pytest.raises(ExistsError):
        dp.ports.add("port1")
    with pytest.raises(ConfigError):
        dp.ports.add("x", 70000)


def test_what_is_the_kernels_is_refused(dp: Datapath) -> None:
    with pytest.raises(ConfigError, match="simulated"):
        dp.watch()
    for wrong in (b"short", "text"):
        with pytest.raises(ConfigError):
            dp.receive(wrong)  # type: ignore[arg-type]
    dp.close()
    dp.close()
    with pytest.raises(ConfigError, match="closed"):
        dp.receive(udp())
    uses: list[Callable[[], object]] = [
        dp.stats, lambda: dp.flows.add(Match()), lambda: list(dp.flows), lambda: dp.flows.get(Match()), dp.flows.flush,
        lambda: dp.ports.add("x"), lambda: list(dp.ports), lambda: dp.ports.stats(1), lambda: dp.meters.set(1, 1),
        lambda: dp.execute(udp(), Output(1)), dp.start_upcalls, lambda: dp.policy(lambda _packet: drop),
    ]  # fmt: skip
    for use in uses:
        with pytest.raises(ConfigError, match="closed"):
            use()


def test_it_takes_no_root() -> None:
    child = os.fork()
    if not child:
        status = 1
        try:
            if not os.geteuid():
                os.setuid(65534)
            with Datapath.simulate() as dp:
                dp.policy(lambda packet: output(2) if packet.eth_type == 0x0806 else drop)
                arp = Ether(src=A, dst="ff:ff:ff:ff:ff:ff") / ARP()
                status = 0 if (send(dp, arp).ports, send(dp, WEB).ports) == ([2], []) else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_key_is_what_the_packet_looks_like(dp: Datapath) -> None:
    dp.start_upcalls()
    dp.receive(WEB, 2)
    (miss,) = dp.misses()
    key: Key = miss.key
    assert (key.in_port, key.tcp_dst, key.ipv4_src, miss.port) == (2, 80, 0x0A000001, 2)


def test_tunnel_fields_go_out_with_the_packet(dp: Datapath) -> None:
    sets = [SetField("tun_id", 5), SetField("tun_dst", "192.0.2.1"), SetField("tun_ttl", 3), SetField("skb_mark", 7)]
    dp.flows.add(Match(), (Output(2), *sets, Output(3), SetField("tun_ipv6_dst", "2001:db8::1"), Output(2)))
    first, second, third = dp.receive(udp())
    assert (first.tunnel, first.skb_mark, second.skb_mark) == ((), 0, 7)
    assert dict(second.tunnel) == {"tun_id": 5, "tun_dst": 0xC0000201, "tun_ttl": 3, "tun_flags": 4}
    assert "tun_dst" not in dict(third.tunnel)
    assert dict(third.tunnel)["tun_id"] == 5


@pytest.mark.parametrize("workers", [None, 2])
def test_packets_are_sent_on_when_the_table_is_full(workers: int | None) -> None:
    """By what was answered; others like them come up again."""
    with Datapath.simulate(ports=2, max_flows=2) as dp:
        dp.on_miss(lambda miss: (Match(in_port=miss.port, udp_src=miss.key.udp_src), Output(2)))
        for source in (1, 2, 3, 3, 1, 4):
            dp.receive(udp(source), 1)
        dp.run(workers=workers)
        assert len(dp.sent()) == 6
        stats = dp.upcall_stats
        assert (len(dp.flows), stats.installed, stats.released, stats.dropped) == (2, 2, 6, 0)
        assert stats.failed == 3
