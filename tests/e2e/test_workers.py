"""Handlers that take their time, beside each other, in threads and in asyncio tasks: what waits behind what, what is
released when, and who gets a worker."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from random import Random

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Raw

from tests.frames import Unfinished, unfinished
from tests.lab import VNET_HEADER, Host, Lab, patience, wait_until
from tests.reactive import forward, is_udp, numbers_by_flow, owed, running, udp_frame
from tests.workers import KINDS, Hands, at_work, roomy, settled, trust_gates
from vswitch import (
    ConfigError,
    Datapath,
    ExistsError,
    Match,
    Miss,
    Options,
    Output,
    Rule,
    Userspace,
    Workers,
    output,
)

each_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture
def dp(spacious: Datapath) -> Datapath:
    return spacious


class Stream:
    """Packets of several flows, sent one round after another in a thread of its own, until enough is enough."""

    def __init__(self, host: Host, flows: int, *, burst: int = 4, gap_s: float = 0.002) -> None:
        self.rounds = 0
        self._host = host
        self._flows = flows
        self._burst = burst
        self._gap_s = gap_s
        self._until: int | None = None
        self._thread = threading.Thread(target=lambda: host.send_many(self._frames()), daemon=True)

    def _frames(self) -> Iterator[bytes]:
        for begin in itertools.count(step=self._burst):
            for flow in range(self._flows):
                for number in range(begin, begin + self._burst):
                    yield udp_frame(flow, number)
            self.rounds += 1
            if self._until is not None and self.rounds >= self._until:
                return
            time.sleep(self._gap_s)

    @property
    def sent(self) -> dict[int, list[int]]:
        """Numbers by flow."""
        return {flow: list(range(self.rounds * self._burst)) for flow in range(self._flows)}

    def __enter__(self) -> Stream:
        self._thread.start()
        return self

    def finish(self, rounds: int) -> None:
        """After so many more rounds."""
        self._until = self.rounds + rounds
        self._thread.join(30 * patience())
        assert not self._thread.is_alive()

    def __exit__(self, *_: object) -> None:
        self.finish(0)


# ---- beside each other, and in order


@each_kind
def test_slow_handlers_run_beside_each_other_and_each_flow_is_asked_about_once(
    dp: Datapath, pair: tuple[Host, Host], kind: str
) -> None:
    """All that came meanwhile is released behind the first packet, before what finds the rule in the kernel."""
    hands = Hands(forward, pause_s=lambda miss: 0.05 + 0.05 * (miss.key.udp_src % 8) / 8, blocks=lambda _: True)
    trust_gates(dp)
    with (
        pair[1].capturing(is_udp) as captured,
        at_work(dp, hands, roomy(8), kind),
        Stream(pair[0], 8) as stream,
    ):
        wait_until(lambda: len(hands.at) == 8, "all eight are at work at one time")
        wait_until(lambda: dp.upcall_stats.waiting >= 800, "hundreds of packets wait")
        hands.open()
        wait_until(lambda: dp.upcall_stats.installed == 8, "the rules are installed")
        stream.finish(100)
        wait_until(lambda: settled(dp), "all are done with")
        captured.wait_for(8 * len(stream.sent[0]), 20)
    assert numbers_by_flow(captured) == stream.sent
    assert sorted(hands.asked) == [(flow, 0) for flow in range(8)]
    stats = dp.upcall_stats
    assert (stats.handled, stats.installed, stats.failed, stats.drops) == (8, 8, 0, {})
    assert stats.joined == stats.arrived - 8
    assert stats.arrived == stats.released
    assert dp.stats().lost == 0
    assert dp.stats().upcalls < 8 * len(stream.sent[0]), "the last ones met open gates"
    assert owed(dp, 1) == 0


@each_kind
def test_order_holds_while_rules_come_at_any_time(dp: Datapath, pair: tuple[Host, Host], kind: str) -> None:
    """Many flows, many workers, each of another speed: rules are installed right between packets."""
    chance = Random(1)
    hands = Hands(forward, pause_s=lambda _: chance.choice([0, 0.001, 0.01, 0.03]))
    trust_gates(dp)
    with (
        pair[1].capturing(is_udp) as captured,
        at_work(dp, hands, roomy(32), kind),
        Stream(pair[0], 100, burst=3, gap_s=0.001) as stream,
    ):
        wait_until(lambda: dp.upcall_stats.installed == 100, "the rules are installed", 20)
        stream.finish(10)
        wait_until(lambda: settled(dp), "all are done with", 20)
        captured.wait_for(100 * len(stream.sent[0]), 20)
    assert numbers_by_flow(captured) == stream.sent
    assert dp.upcall_stats.handled == 100
    assert hands.most <= 32
    assert owed(dp, 1) == 0


def test_a_flow_keeps_its_order_although_a_handler_deletes_its_rule(dp: Datapath, pair: tuple[Host, Host]) -> None:
    """Over and over, by a call, while packets of it wait, lie in the ring, and come to its gate."""

    def answer(miss: Miss) -> tuple[Match, Output]:
        other = Match(in_port=1, udp_src=1000 + (miss.key.udp_src - 999) % 6)
        dp.call(lambda: dp.flows.has(other) and dp.flows.delete(other))
        return Match(in_port=1, udp_src=miss.key.udp_src), Output(2)

    hands = Hands(answer, pause_s=lambda miss: 0.002 * (miss.key.udp_src % 4))
    trust_gates(dp)
    with (
        pair[1].capturing(is_udp) as captured,
        at_work(dp, hands, roomy(4), "threads"),
        Stream(pair[0], 6, burst=2, gap_s=0.0005) as stream,
    ):
        wait_until(lambda: len(hands.asked) >= 150, "rules come and go", 20)
        stream.finish(20)
        wait_until(lambda: settled(dp) and not dp.start_upcalls().busy, "all are done with", 20)
        captured.wait_for(6 * len(stream.sent[0]), 20)
    assert numbers_by_flow(captured) == stream.sent
    assert dp.upcall_stats.drops == {}
    assert dp.stats().lost == 0
    assert owed(dp, 1) == 0


@each_kind
def test_a_rule_releases_what_it_takes_of_other_flows_and_their_handlers_are_not_at_fault(
    dp: Datapath, pair: tuple[Host, Host], kind: str
) -> None:
    """What they answer is not needed any more, however they do it."""
    refused: list[Exception] = []

    def answer(miss: Miss) -> tuple[Match, Output] | None:
        flow = miss.key.udp_src - 1000
        if flow == 0:
            return Match(in_port=1), Output(2)
        try:
            if flow == 1:
                miss.install(*forward(miss))
            elif flow == 2:
                miss.send(Output(2))
            elif flow == 3:
                miss.drop()
        except ConfigError as problem:
            refused.append(problem)
        return None

    def blocks(miss: Miss) -> bool:
        """The first goes on when all are at work and all packets are there, the others when these are gone."""
        if miss.key.udp_src == 1000:
            return len(hands.asked) < 4 or dp.upcall_stats.waiting < 8
        return dp.upcall_stats.released < 8

    hands = Hands(answer, blocks=blocks)
    with pair[1].capturing(is_udp) as captured, at_work(dp, hands, 4, kind):
        pair[0].send_many(udp_frame(flow, number) for number in range(2) for flow in range(4))
        captured.wait_for(8)
        wait_until(lambda: not hands.at, "all are through")
    assert numbers_by_flow(captured) == {flow: [0, 1] for flow in range(4)}
    assert refused == []
    stats = dp.upcall_stats
    assert (stats.handled, stats.joined, stats.installed, stats.failed, stats.drops) == (4, 4, 1, 0, {})


@each_kind
def test_packets_that_are_alike_as_the_program_says_wait_for_one_answer(
    dp: Datapath, pair: tuple[Host, Host], kind: str
) -> None:
    """Those that its rule does not take are asked about in turn."""
    hands = Hands(lambda miss: (Match(in_port=1, udp_src=(miss.key.udp_src & ~1, 0xFFFE)), Output(2)))
    workers = Workers(8, similar=("in_port", "eth_type"))
    dp.start_upcalls()
    pair[0].send_many(udp_frame(flow, number) for number in range(3) for flow in range(8))
    with pair[1].capturing(is_udp) as captured, at_work(dp, hands, workers, kind):
        captured.wait_for(24)
    assert numbers_by_flow(captured) == {flow: [0, 1, 2] for flow in range(8)}
    assert hands.asked == [(0, 0), (2, 0), (4, 0), (6, 0)]
    assert hands.most == 1


@each_kind
def test_packets_that_are_answered_each_for_itself_are_asked_about_in_turn(
    dp: Datapath, pair: tuple[Host, Host], kind: str
) -> None:
    def answer(miss: Miss) -> None:
        miss.send(Output(2))

    hands = Hands(answer, pause_s=lambda miss: 0.001 * (miss.packet[45] % 3))
    with pair[1].capturing(is_udp) as captured, at_work(dp, hands, 8, kind):
        pair[0].send_many(udp_frame(flow, number) for number in range(20) for flow in range(4))
        captured.wait_for(80)
    assert numbers_by_flow(captured) == {flow: list(range(20)) for flow in range(4)}
    assert sorted(hands.asked) == [(flow, number) for flow in range(4) for number in range(20)]
    assert hands.most <= 4
    assert len(dp.flows) == 0
    assert owed(dp, 1) == 0


# ---- ports beside each other


@pytest.fixture
def narrow(lab: Lab, pair: tuple[Host, Host]) -> Iterator[Datapath]:
    """One whose ports may put 292 small packets into the ring."""
    options = Options(ring_bytes=1 << 20, port_quota_bytes=1 << 17)
    ports = [host.port for host in pair]
    with Datapath.create(f"n{lab.name}"[:15], ports=ports, local=False, options=options) as datapath:
        yield datapath


FITS = (1 << 17) // 448


@each_kind
def test_the_kernel_stops_sending_for_a_port_whose_packets_wait(
    narrow: Datapath, pair: tuple[Host, Host], kind: str
) -> None:
    """For that port alone: new flows of another are answered by the first worker who is free."""
    dp = narrow
    hands = Hands(forward, blocks=lambda miss: miss.port == 1)
    with pair[0].capturing(is_udp) as captured, at_work(dp, hands, Workers(4, limit_s=60, patience_s=60), kind):
        pair[0].send_many(udp_frame(flow, 0) for flow in range(1000))
        wait_until(lambda: len(hands.at) == 4 and dp.upcall_stats.arrived == FITS, "all workers are at port 1")
        pair[1].send_many(udp_frame(2000 + flow, number) for number in range(20) for flow in range(3))
        assert dp.ports.stats(1).drops == {"upcall_quota": 1000 - FITS}
        assert owed(dp, 1) == FITS * 448
        pair[0].send(udp_frame(3000, 0))
        assert dp.ports.stats(1).drops == {"upcall_quota": 1001 - FITS}
        hands.permit()
        captured.wait_for(60)
        assert hands.asked[4:7] == [(2000, 0), (2001, 0), (2002, 0)]
        assert numbers_by_flow(captured) == {2000 + flow: list(range(20)) for flow in range(3)}
        assert dp.ports.stats(2).drops == {}
        wait_until(lambda: owed(dp, 2) == 0, "its share is given back")
        assert owed(dp, 1) == (FITS - 1) * 448
        hands.open()
        wait_until(lambda: settled(dp), "all are answered", 20)
        assert (dp.upcall_stats.handled, dp.upcall_stats.drops) == (FITS + 3, {})
        pair[0].send(udp_frame(3000, 0))
        wait_until(lambda: (3000, 0) in hands.asked, "the port is heard again")
    assert owed(dp, 1) == 0


@each_kind
@pytest.mark.parametrize(("weights", "share"), [({}, 2), ({2: 3.0}, 1), ({1: 3.0}, 3)])
def test_ports_share_workers_by_weight(
    narrow: Datapath, pair: tuple[Host, Host], kind: str, weights: dict[int, float], share: int
) -> None:
    dp = narrow
    hands = Hands(forward, blocks=lambda _: True)
    with at_work(dp, hands, Workers(4, limit_s=60, patience_s=60, weights=weights), kind):
        pair[0].send_many(udp_frame(flow, 0) for flow in range(100))
        wait_until(lambda: len(hands.at) == 4, "all workers are at port 1")
        pair[1].send_many(udp_frame(2000 + flow, 0) for flow in range(100))
        wait_until(lambda: dp.upcall_stats.waiting == 200, "packets of both wait")
        for _ in range(8):
            asked = len(hands.asked) + 1
            hands.permit()
            wait_until(partial(lambda count: len(hands.asked) == count, asked), "the next one is asked about")
        at_one = Counter(flow < 2000 for flow, _ in hands.at)[True]
        assert abs(at_one - share) <= 1, "what each has had is a matter of time"
    assert settled(dp)


# ---- who answers what


@each_kind
def test_a_policy_decides_at_once_and_its_userspace_actions_go_to_workers(
    dp: Datapath, pair: tuple[Host, Host], kind: str
) -> None:
    """Each packet that a rule sends up is asked about, in order; those with other user data are other flows."""
    seen: defaultdict[tuple[int, bytes], list[int]] = defaultdict(list)
    tell = (Userspace(b"one"), Userspace(b"two"), Output(2))
    dp.policy(lambda packet: tell if packet.udp_src < 1002 else output(2))

    def answer(miss: Miss) -> None:
        ((flow, numbers),) = numbers_by_flow([miss.packet]).items()
        seen[flow, miss.userdata] += numbers

    hands = Hands(answer, blocks=lambda _: True)
    with pair[1].capturing(is_udp) as captured, at_work(dp, hands, 8, kind):
        pair[0].send_many(udp_frame(flow, number) for number in range(10) for flow in range(4))
        captured.wait_for(40)
        wait_until(lambda: len(hands.at) == 4, "two flows, two of each")
        hands.open()
        wait_until(lambda: len(hands.asked) == 40 and owed(dp, 1) == 0, "all that the rules send up is asked about")
    assert numbers_by_flow(captured) == {flow: list(range(10)) for flow in range(4)}
    assert seen == {(flow, data): list(range(10)) for flow in range(2) for data in (b"one", b"two")}
    assert dp.upcall_stats.failed == 0
    assert owed(dp, 1) == 0


@each_kind
def test_a_packet_sent_up_on_purpose_may_be_answered_by_a_rule(
    dp: Datapath, pair: tuple[Host, Host], kind: str
) -> None:
    """One that takes the place of the rule that sent it up for later packets, and holds for those that wait, too."""
    dp.flows.add(Match(in_port=1), Userspace(b"new"))
    hands = Hands(lambda miss: Rule(forward(miss)[0], (Output(2),), 5), blocks=lambda _: True)
    with pair[1].capturing(is_udp) as captured, at_work(dp, hands, 8, kind):
        pair[0].send_many(udp_frame(flow, number) for number in range(5) for flow in range(3))
        wait_until(lambda: len(hands.at) == 3 and owed(dp, 1) == 15 * 448, "all wait")
        hands.open()
        captured.wait_for(15)
        pair[0].send_many(udp_frame(flow, 5) for flow in range(3))
        captured.wait_for(18)
    assert numbers_by_flow(captured) == {flow: list(range(6)) for flow in range(3)}
    assert sorted(hands.asked) == [(flow, 0) for flow in range(3)]
    stats = dp.upcall_stats
    assert (stats.handled, stats.installed, stats.failed, stats.drops) == (3, 3, 0, {})
    assert owed(dp, 1) == 0


@each_kind
def test_a_flow_that_is_sent_up_on_purpose_keeps_its_order(dp: Datapath, pair: tuple[Host, Host], kind: str) -> None:
    """Packets of it wait, lie in the ring, and come to the gate of the rule that one of them is answered with."""
    dp.policy(lambda packet: Userspace() if packet.in_port == 1 else output(1))
    hands = Hands(
        lambda miss: Rule(Match(in_port=1, udp_src=miss.key.udp_src), (Output(2),), 5),
        pause_s=lambda miss: 0.05 + 0.01 * (miss.key.udp_src % 8),
    )
    trust_gates(dp)
    with pair[1].capturing(is_udp) as captured, at_work(dp, hands, roomy(8), kind), Stream(pair[0], 8) as stream:
        wait_until(lambda: dp.upcall_stats.installed == 9, "the rules are installed")
        stream.finish(50)
        wait_until(lambda: settled(dp), "all are done with")
        captured.wait_for(8 * len(stream.sent[0]), 20)
    assert numbers_by_flow(captured) == stream.sent
    assert sorted(hands.asked) == [(flow, 0) for flow in range(8)]
    assert dp.upcall_stats.drops == {}
    assert owed(dp, 1) == 0


@each_kind
def test_each_packet_sent_up_on_purpose_is_seen_by_who_asked_for_it(
    dp: Datapath, pair: tuple[Host, Host], kind: str
) -> None:
    """A tracker beside a handler that answers the same packets by rules: neither its copies, with other user data, nor
    those that its own rule of higher priority goes on sending up are released by these."""
    seen: list[tuple[int, int]] = []
    dp.flows.add(Match(in_port=1), (Userspace(b"copy"), Userspace(b"ask")), priority=1)
    dp.flows.add(Match(in_port=1, udp_src=1001), (Output(2), Userspace(b"ask")), priority=9)

    def answer(miss: Miss) -> Rule | None:
        if miss.userdata == b"ask" and miss.key.udp_src != 1001:
            return Rule(Match(in_port=1, udp_src=(miss.key.udp_src & ~3, 0xFFFC)), (Output(2),), 5)
        ((flow, (number,)),) = numbers_by_flow([miss.packet]).items()
        seen.append((flow, number))
        return None

    hands = Hands(answer, blocks=lambda _: True)
    with pair[1].capturing(is_udp) as captured, at_work(dp, hands, 8, kind):
        pair[0].send_many(udp_frame(flow, number) for number in range(3) for flow in range(2))
        wait_until(lambda: dp.upcall_stats.waiting == 9, "all wait")
        hands.open()
        captured.wait_for(6)
        wait_until(lambda: settled(dp), "all are seen")
    assert numbers_by_flow(captured) == {0: [0, 1, 2], 1: [0, 1, 2]}
    assert sorted(seen) == [(flow, number) for flow in range(2) for number in range(3)]
    stats = dp.upcall_stats
    assert (stats.handled, stats.joined, stats.failed, stats.drops) == (7, 2, 0, {"unanswered": 6})


def test_a_handler_in_a_thread_uses_the_datapath_by_calls(dp: Datapath, pair: tuple[Host, Host]) -> None:
    """They run in the thread of the loop; what they raise is raised in the handler."""
    threads: set[int] = set()
    raised: list[BaseException] = []

    def change(miss: Miss) -> int:
        threads.add(threading.get_ident())
        dp.flows.add(forward(miss)[0], Output(2))
        dp.execute(miss.packet, Output(2), in_port=1)
        return dp.call(lambda: len(dp.flows))

    def answer(miss: Miss) -> None:
        if miss.key.udp_src == 1009:
            dp.call(lambda: dp.flows.add(Match(in_port=1), Output(2)))
        assert dp.call(lambda: change(miss)) >= 1
        try:
            dp.call(lambda: change(miss))
        except ExistsError as problem:
            raised.append(problem)
        miss.drop()

    hands = Hands(answer)
    with pair[1].capturing(is_udp) as captured, at_work(dp, hands, 8, "threads") as loop:
        pair[0].send_many(udp_frame(flow, 0) for flow in range(8))
        captured.wait_for(8)
        wait_until(lambda: len(raised) == 8, "each is told of its error")
        pair[0].send_many(udp_frame(flow, 1) for flow in range(8))
        captured.wait_for(16)
        wait_until(lambda: settled(dp), "all are dropped")
        assert threads == {loop.ident}
        pair[0].send(udp_frame(9, 0))
        wait_until(lambda: dp.upcall_stats.failed == 1, "what a call raises is the handler's failure if it lets it")
    assert sorted(numbers_by_flow(captured)) == list(range(8))
    assert {tuple(numbers) for numbers in numbers_by_flow(captured).values()} == {(0, 1)}
    assert "overlap" in str(hands.problems[0])
    assert dp.upcall_stats.drops == {"answer": 8, "failed": 1}
    with pytest.raises(ConfigError, match="no loop takes upcalls"):
        dp.call(lambda: None)


def test_a_task_uses_the_datapath_itself_and_calls_are_made_at_once(dp: Datapath, pair: tuple[Host, Host]) -> None:
    async def answer(miss: Miss) -> None:
        dp.call(lambda: dp.flows.add(forward(miss)[0], Output(2)))
        await asyncio.sleep(0.01)
        dp.execute(miss.packet, in_port=1)
        others = await asyncio.to_thread(dp.call, lambda: len(dp.flows))
        if others == 3:
            dp.stop()
        miss.drop()

    dp.start_upcalls()
    pair[0].send_many(udp_frame(flow, 0) for flow in range(3))
    with pair[1].capturing(is_udp) as captured:
        asyncio.run(asyncio.wait_for(dp.serve(answer, workers=4), 10))
        captured.wait_for(3)
    assert numbers_by_flow(captured) == {flow: [0] for flow in range(3)}
    assert dp.upcall_stats.drops == {"answer": 3}


# ---- packets as they came


def packets_of_all_kinds() -> list[Unfinished]:
    """Each of a flow of its own."""
    ether = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:99")
    ip = IP(src="10.0.0.1", dst="10.0.0.2")
    data = bytes(range(256)) * 250
    whole = [ether / ip / UDP(sport=size, dport=2) / Raw(data[:size]) for size in (0, 18, 86, 87, 470, 1400)]
    whole += [
        ether / Dot1Q(vlan=7, prio=3) / ip / UDP(sport=1, dport=3) / Raw(b"tagged" * 10),
        ether / Dot1Q(vlan=7) / Dot1Q(vlan=8) / ip / UDP(sport=1, dport=4) / Raw(b"twice" * 10),
    ]
    to_be_cut = [ether / ip / TCP(sport=size, dport=5, flags="A") / Raw(data[:size]) for size in (5000, 12000, 64000)]
    to_be_cut += [ether / Dot1Q(vlan=9) / ip / TCP(sport=4, dport=6, flags="A") / Raw(data[:20000])]
    return [
        *(Unfinished(bytes(packet), bytes(VNET_HEADER.size)) for packet in whole),
        unfinished(ether / ip / UDP(sport=1, dport=7) / Raw(data[:400]), 0),
        *(unfinished(packet, 1400) for packet in to_be_cut),
    ]


@each_kind
@pytest.mark.parametrize("how", ["install", "send", "of userspace"])
def test_packets_that_were_held_go_down_as_they_came(
    dp: Datapath, pair: tuple[Host, Host], kind: str, how: str
) -> None:
    """Byte for byte, tags and what is left to the network card too, as if no worker had been at them."""
    packets = packets_of_all_kinds()
    data = b"what the action carries"
    seen: set[tuple[bytes, bytes, bytes]] = set()

    def answer(miss: Miss) -> tuple[Match, Output] | None:
        seen.add((miss.packet, miss.offload.header, miss.userdata))
        if how == "install":
            return Match(in_port=1), Output(2)
        miss.send(Output(2))
        return None

    def through(loop: AbstractContextManager[object], ready: Callable[[], object]) -> list[tuple[bytes, bytes]]:
        dp.flows.flush()
        if how == "of userspace":
            dp.flows.add(Match(in_port=1), Userspace(data))
        with pair[1].capturing(lambda frame: frame[:6] == packets[0].frame[:6]) as captured, loop:
            for packet in packets:
                pair[0].send(packet.frame, packet.header)
            ready()
            captured.wait_for(len(packets))
        return sorted(zip(captured, captured.headers, strict=True))

    dp.on_miss(answer)
    dp.start_upcalls()
    plain = through(running(dp), lambda: None)
    assert len(plain) == len(packets)
    seen_by_loop, seen = seen, set()
    before = dp.ports.stats(1).upcalls

    ready = threading.Event()
    hands = Hands(answer, blocks=lambda _: not ready.is_set(), names=False)

    def all_wait() -> None:
        wait_until(lambda: dp.ports.stats(1).upcalls == before + len(packets), "all come up")
        ready.set()
        hands.open()

    assert through(at_work(dp, hands, roomy(16), kind), all_wait) == plain
    assert seen >= seen_by_loop
    assert sorted((packet, header) for packet, header, _ in seen) == plain
    assert {userdata for _, _, userdata in seen} == {data if how == "of userspace" else b""}
    assert (dp.upcall_stats.drops, dp.upcall_stats.waiting) == ({}, 0)
    assert owed(dp, 1) == 0


@each_kind
def test_a_stream_of_tcp_through_slow_handlers(dp: Datapath, pair: tuple[Host, Host], kind: str) -> None:
    """Every packet of it is asked about; big ones stay whole on their way."""
    lengths: list[int] = []

    def answer(miss: Miss) -> None:
        lengths.append(miss.length)
        miss.send(Output(3 - miss.port))

    content = "".join(f"{n:07d} " for n in range(60_000))
    url = pair[1].serve_http(content=content)
    hands = Hands(answer, pause_s=lambda _: 0.001, names=False)
    with at_work(dp, hands, roomy(4), kind):
        assert pair[0].curl(url, timeout_s=20) == content
        wait_until(lambda: settled(dp), "the last ones are answered")
    assert max(lengths) > 1514
    assert (dp.upcall_stats.failed, dp.upcall_stats.drops) == (0, {})
    assert owed(dp, 1) == owed(dp, 2) == 0
