"""Who gets the next worker, what waits behind what, and where it ends."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Ether

from vswitch import ConfigError, Datapath, Match, Miss, Options, Output, UpcallStats, Workers
from vswitch.datapath.simulated.ring import record
from vswitch.fields import SLOTS
from vswitch.model import UpcallReason
from vswitch.upcalls.queue import Flow, Queue
from vswitch.upcalls.rates import NewFlowLimits
from vswitch.upcalls.stats import Drop
from vswitch.upcalls.workers import Job, Threads

SECOND = 10**9


def miss(port: int, flow: int, *, length: int = 60, userdata: bytes | None = None) -> Miss:
    """A packet that came up."""
    key = Match(in_port=port, udp_src=flow).value
    reason = UpcallReason.MISS if userdata is None else UpcallReason.ACTION
    return Miss(
        memoryview(
            record(
                bytes(length), key=key, in_port=port, reason=reason, recirculations=0, captured=length,
                userdata=userdata or b"", now_ns=0,
            )
        ),
        0,
    )  # fmt: skip


def always(_miss: Miss) -> bool:
    return True


def served(queue: Queue, turns: int, took_ns: Callable[[int], int] = lambda _port: SECOND) -> Counter[int]:
    """How many packets of each port one worker after another looks at, if each takes so long."""
    counted: Counter[int] = Counter()
    now_ns = 0
    for _ in range(turns):
        flow = queue.next(now_ns)
        assert flow is not None
        counted[flow.port] += 1
        now_ns += took_ns(flow.port)
        queue.finish(flow, now_ns)
        queue.go_on(flow, now_ns)
    return counted


@pytest.mark.parametrize(("weights", "share"), [({}, 50), ({1: 3.0}, 75), ({2: 0.25}, 80), ({1: 9.0}, 90)])
def test_one_worker_is_shared_by_weight(weights: dict[int, float], share: int) -> None:
    queue = Queue(Workers(weights=weights))
    for flow in range(300):
        for port in (1, 2):
            assert queue.arrive(miss(port, flow), 0) is None
    assert served(queue, 100)[1] == pytest.approx(share, abs=1)


def test_time_is_shared_and_not_the_number_of_packets() -> None:
    queue = Queue(Workers())
    for flow in range(300):
        for port in (1, 2):
            queue.arrive(miss(port, flow), 0)
    counted = served(queue, 100, lambda port: port * SECOND)
    assert counted[1] == pytest.approx(2 * counted[2], abs=2)


@pytest.mark.parametrize(("weights", "share"), [({}, 4), ({1: 3.0}, 6), ({1: 1000.0}, 7)])
def test_workers_side_by_side_are_shared_by_weight(weights: dict[int, float], share: int) -> None:
    queue = Queue(Workers(weights=weights))
    for flow in range(20):
        for port in (1, 2):
            queue.arrive(miss(port, flow), 0)
    flows = [queue.next(0) for _ in range(8)]
    assert Counter(flow.port for flow in flows if flow)[1] == share
    assert queue.busy == 8


@pytest.mark.parametrize(("workers", "ports", "weight"), [(8, 20, 10.0), (2, 2, 3.0), (1, 20, 10.0), (4, 3, 0.5)])
def test_shares_are_those_of_the_weights_whatever_the_number_of_workers(
    workers: int, ports: int, weight: float
) -> None:
    queue = Queue(Workers(count=workers, weights={1: weight}))
    counted: Counter[int] = Counter()
    at_work: list[Flow] = []
    numbers = dict.fromkeys(range(1, ports + 1), 0)
    for turn in range(4000):
        for port in numbers:
            while numbers[port] - counted[port] < workers + 1:
                queue.arrive(miss(port, numbers[port] % 60000), turn * SECOND)
                numbers[port] += 1
        while len(at_work) < workers:
            flow = queue.next(turn * SECOND)
            assert flow is not None
            counted[flow.port] += 1
            at_work.append(flow)
        flow = at_work.pop(turn % workers)
        queue.finish(flow, turn * SECOND)
        queue.go_on(flow, turn * SECOND)
    assert counted[1] / counted.total() == pytest.approx(weight / (weight + ports - 1), rel=0.2)


def test_who_comes_late_starves_nobody() -> None:
    queue = Queue(Workers(count=2, weights={1: 3.0}))
    counted: Counter[int] = Counter()
    for turn in range(900):
        for port in (1, 2, *([3] if turn > 600 else [])):
            queue.arrive(miss(port, turn), turn * SECOND)
            queue.arrive(miss(port, turn + 1000), turn * SECOND)
        for flow in [queue.next(turn * SECOND) for _ in range(2)]:
            assert flow is not None
            counted[flow.port] += turn > 600
            queue.finish(flow, (turn + 1) * SECOND)
            queue.go_on(flow, (turn + 1) * SECOND)
    assert min(counted[port] for port in (2, 3)) > 80
    assert counted[1] > 200


def test_a_flood_on_one_port_costs_another_one_turn() -> None:
    queue = Queue(Workers())
    for flow in range(1000):
        assert queue.arrive(miss(1, flow), 0) is None
    for _ in range(500):
        flow_at = queue.next(0)
        assert flow_at is not None
        queue.finish(flow_at, SECOND)
        queue.go_on(flow_at, SECOND)
    queue.arrive(miss(2, 1), 0)
    at = queue.next(0)
    assert at is not None
    assert at.port == 2
    assert at.asked is not None


def test_who_was_idle_gets_no_arrears() -> None:
    queue = Queue(Workers())
    for flow in range(600):
        queue.arrive(miss(1, flow), 0)
    served(queue, 200)
    for flow in range(300):
        queue.arrive(miss(2, flow), 0)
    assert served(queue, 100)[1] == pytest.approx(50, abs=1)


def test_packets_of_one_flow_are_asked_about_one_after_another() -> None:
    queue = Queue(Workers())
    packets = [miss(1, 7) for _ in range(3)]
    for each in packets:
        queue.arrive(each, 0)
    for each in packets:
        flow = queue.next(0)
        assert flow is not None
        assert flow.asked is each
        assert queue.next(0) is None, "the others wait behind it"
        assert queue.finish(flow, 1) is each
        queue.go_on(flow, 1)
    assert queue.next(2) is None
    assert len(queue) == 0


def test_similar_is_what_the_program_says() -> None:
    key = Match(in_port=1, udp_src=1).value
    by_host, by_default = Workers(similar=("in_port",)).mask, Workers().mask
    assert key & by_host == Match(in_port=1).value
    assert key & by_default == key
    assert not by_default & (SLOTS["ip_ttl"].mask | SLOTS["tcp_flags"].mask)
    queue = Queue(Workers(similar=("in_port",)))
    queue.arrive(miss(1, 1), 0)
    queue.arrive(miss(1, 2), 0)
    queue.arrive(miss(2, 1), 0)
    first, second = queue.next(0), queue.next(0)
    assert first is not None
    assert second is not None
    assert [first.port, second.port] == [1, 2]
    assert queue.next(0) is None


def test_a_rule_releases_what_it_takes_wherever_it_waits() -> None:
    queue = Queue(Workers())
    packets = [miss(port, flow) for flow in range(6) for port in (1, 2)]
    for each in packets:
        queue.arrive(each, 0)
    at = queue.next(0)
    assert at is not None
    released = queue.release(Match(in_port=1), always)
    assert [each for each, _ in released] == packets[::2], "in the order of arrival"
    assert [asked for _, asked in released] == [True, False, False, False, False, False]
    assert queue.finish(at, 1) is None
    queue.go_on(at, 1)
    assert len(queue) == 6
    late = miss(1, 9)
    queue.arrive(late, 0)
    assert [each for each, _ in queue.release(Match(in_port=1), always)] == [late]


def test_packets_that_are_not_to_go_through_a_rule_go_on_waiting() -> None:
    """Of one sent up on purpose with user data, those with other data are another flow."""
    queue = Queue(Workers())
    packets = [miss(1, 1, userdata=data) for data in (b"a", b"b", b"a")]
    for each in packets:
        queue.arrive(each, 0)
    assert queue.release(Match(in_port=1), lambda _: False) == []
    flows = [queue.next(0), queue.next(0)]
    assert flows[0] is not flows[1]
    assert (queue.busy, queue.next(0)) == (2, None)
    released = queue.release(Match(in_port=1), lambda each: each.userdata == b"a")
    assert released == [(packets[0], True), (packets[2], False)]
    assert len(queue) == 1


@pytest.mark.parametrize(
    ("workers", "packets", "reason"),
    [
        (Workers(flow_packets=3), [(1, 1, 60)] * 4, Drop.FLOW_FULL),
        (Workers(flow_bytes=1 << 17), [(1, 1, 60000)] * 2, Drop.FLOW_FULL),
        (Workers(port_packets=3), [(1, flow, 60) for flow in range(4)], Drop.PORT_FULL),
        (Workers(buffer_bytes=1 << 17), [(flow, flow, 60000) for flow in range(2)], Drop.BUFFER_FULL),
    ],
)
def test_bounds(workers: Workers, packets: list[tuple[int, int, int]], reason: Drop) -> None:
    queue = Queue(workers)
    arrived = [queue.arrive(miss(port, flow, length=length), 0) for port, flow, length in packets]
    assert arrived == [None] * (len(packets) - 1) + [reason]
    assert len(queue) == len(packets) - 1
    queue.clear()
    assert queue.arrive(miss(1, 1), 0) is None, "there is room again"


def test_the_kernel_stops_sending_for_a_port_before_its_packets_are_too_many() -> None:
    """Else what a flood sends would be dropped where that costs the program time, and nobody would see it held back."""
    smallest = len(record(bytes(60), key=0, in_port=1, reason=UpcallReason.MISS, recirculations=0, captured=60,
                          userdata=b"", now_ns=0))  # fmt: skip
    assert Workers().port_packets * smallest > 2 * Options().port_quota_bytes


def test_lists_do_not_grow_while_the_oldest_packet_waits() -> None:
    queue = Queue(Workers(count=2))
    queue.arrive(miss(1, 0), 0)
    assert queue.next(0) is not None  # and it takes long
    for flow in range(1, 2000):
        queue.arrive(miss(1, flow), 0)
        at = queue.next(0)
        assert at is not None
        queue.finish(at, 1)
        queue.go_on(at, 1)
        queue.arrive(miss(2, flow), 0)
        queue.release(Match(in_port=2), always)
    assert max(len(queue._asked), len(queue._waiting)) < 200
    assert all(len(port.queue) < 200 for port in queue._ports.values())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"count": 0}, "count 0 of workers is outside 1..1024"),
        ({"limit_s": 0}, "limit_s 0 of workers is outside 0..3600, 0 excluded"),
        ({"weights": {1: 0}}, "weight 0 of port 1 is outside 0.001..1000"),
        ({"similar": ("nonsense",)}, "there is no field 'nonsense'"),
        ({"similar": "eth_src"}, "fields 'eth_src' is one text"),
        ({"flow_bytes": 1000}, "flow_bytes 1000 of workers is outside 131072"),
    ],
)
def test_what_cannot_be(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Workers(**arguments)  # type: ignore[arg-type]


# ---- new flows a second


def test_new_flows_are_bounded_for_each_source() -> None:
    limits = NewFlowLimits()
    assert not limits
    limits.set(10, 3, ("udp_src",))
    one, two = Match(eth_type=0x0800, udp_src=1).value, Match(eth_type=0x0800, udp_src=2).value
    assert [limits.allow(one, 0) for _ in range(5)] == [True, True, True, False, False]
    assert limits.allow(two, 0)
    assert not limits.allow(one, SECOND // 10 - 1)
    assert limits.allow(one, SECOND // 10)
    assert [limits.allow(one, 10 * SECOND) for _ in range(5)] == [True, True, True, False, False]


def test_all_limits_have_to_be_kept() -> None:
    limits = NewFlowLimits()
    limits.set(100, 4, ("in_port", "ip_proto"))
    limits.set(100, 1, ("in_port", "udp_src"))
    keys = [Match(in_port=1, eth_type=0x0800, udp_src=source).value for source in (1, 1, 2, 3, 4, 5)]
    assert [limits.allow(key, 0) for key in keys] == [True, False, True, True, False, False]
    limits.remove(("in_port", "ip_proto"))
    assert limits.allow(Match(in_port=1, eth_type=0x0800, udp_src=6).value, 0)
    with pytest.raises(ConfigError, match="no limit of new flows by"):
        limits.remove(("in_port",))


def test_sources_that_are_known_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vswitch.upcalls.rates.MAX_SOURCES", 100)
    limits = NewFlowLimits()
    limits.set(1, 1, ("udp_src",))
    for source in range(5000):
        assert limits.allow(Match(eth_type=0x0800, udp_src=source).value, 0)
    assert len(limits._limits[0].full_at_ns) == 100
    assert not limits.allow(Match(eth_type=0x0800, udp_src=4999).value, 0)


def test_a_datapath_drops_and_counts_new_flows_beyond_the_limit() -> None:
    with Datapath.simulate(ports=2) as dp:
        asked = []
        dp.on_miss(lambda each: asked.append(each.port))
        dp.limit_new_flows(5, burst=2)
        for flow in range(6):
            dp.receive(bytes(12) + b"\x08\x00" + bytes([flow]) * 40, 1 + flow % 2)
        dp.run()
        assert asked == [1, 2, 1, 2]
        assert dp.upcall_stats.drops == {"unanswered": 4}
        assert [dp.ports.stats(port).drops for port in (1, 2)] == [{"upcall_rate": 1}] * 2
        dp.advance(0.2)
        dp.receive(bytes(60), 1)
        dp.run()
        assert len(asked) == 5, "a fifth of a second's worth"
        dp.limit_new_flows(1, by=("eth_src",))
        for number in range(4):
            dp.advance(0.2)
            dp.receive(bytes(6) + bytes([number // 2]) * 6 + bytes(60), 1)
        dp.run()
        assert dp.upcall_stats.drops == {"unanswered": 7, "rate": 2}
        dp.unlimit_new_flows()
        dp.unlimit_new_flows(by=("eth_src",))
        dp.receive(bytes(60), 1)
        dp.run()
        assert len(asked) == 8
        with pytest.raises(ConfigError, match=r"outside 0\.001\.\.10000000"):
            dp.limit_new_flows(0)


# ---- what a simulated datapath does with workers


def test_handlers_of_a_simulated_datapath_run_at_once() -> None:
    with Datapath.simulate(ports=2) as dp:
        dp.on_miss(lambda each: (Match(in_port=each.port), Output(2)))
        for _ in range(3):
            dp.receive(bytes(60), 1)
        dp.run(workers=4)
        assert len(dp.sent()) == 3
        stats = dp.upcall_stats
        assert (stats.handled, stats.joined, stats.released, stats.waiting) == (1, 2, 3, 0)


def test_waits_are_told_by_quantile() -> None:
    waits = [0] * 28
    assert UpcallStats(waits=tuple(waits)).wait_s(0.99) == 0
    waits[3], waits[10], waits[27] = 90, 9, 1
    stats = UpcallStats(waits=tuple(waits))
    assert stats.wait_s(0.5) == pytest.approx(8e-6)
    assert stats.wait_s(0.99) == pytest.approx(1024e-6)
    assert stats.wait_s(1.0) == float("inf")


def test_without_threads_a_packet_fails_and_the_loop_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    threads = Threads(2, lambda _miss: None)
    queue = Queue(Workers())
    queue.arrive(miss(1, 1), 0)
    flow = queue.next(0)
    assert flow is not None
    assert flow.asked is not None
    threads.begin(Job(flow, flow.ticket, flow.asked))
    (job,) = threads.finished()
    assert str(job.problem) == "can't start new thread"
    assert threads.idle == 2
    threads.close()


def ip_frame(source: str) -> bytes:
    version = IPv6(src=source, dst="2001:db8::99") if ":" in source else IP(src=source, dst="10.0.0.99")
    return bytes(Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / version / UDP())


FOURS, SIXES = [f"10.0.0.{number}" for number in range(20)], [f"2001:db8::{number}" for number in range(20)]


@pytest.mark.parametrize(
    ("by", "passing"),
    [
        (("ipv4_src",), [4, 40, 10]),
        (("in_port", "ipv4_src"), [4, 40, 10]),
        (("ip_src",), [4, 4, 10]),
        (("in_port", "ip_src"), [4, 4, 10]),
        (("in_port",), [2, 0, 0]),
    ],
)
def test_a_limit_by_a_field_is_one_of_packets_that_have_it(by: tuple[str, ...], passing: list[int]) -> None:
    """Of two IPv4 hosts with 20 new flows each, of two IPv6 hosts with as many, and of ten questions by ARP."""
    handled: list[int] = []
    with Datapath.simulate(ports=2) as dp:
        dp.limit_new_flows(1, burst=2, by=by)

        @dp.on_miss
        def handle(miss: Miss) -> None:
            handled.append(miss.port)

        for frames in (
            [ip_frame(source) for source in FOURS[:2] for _ in range(20)],
            [ip_frame(source) for source in SIXES[:2] for _ in range(20)],
            [bytes(Ether(src="02:00:00:00:00:01") / ARP()) for _ in range(10)],
        ):
            dp.start_upcalls()
            for frame in frames:
                dp.receive(frame)
            dp.run()
            assert len(handled) == passing.pop(0)
            handled.clear()


def test_workers_do_not_depend_on_how_the_loop_begins_tasks() -> None:
    """Python 3.12 has loops that begin a task within `create_task`; a handler that does not wait is through by then."""
    begun: list[object] = []

    async def handler(miss: Miss) -> tuple[Match, Output]:
        return Match.exact(miss.key, "udp_src"), Output(2)

    async def main(dp: Datapath) -> None:
        loop: Any = asyncio.get_running_loop()
        loop.set_task_factory(lambda _loop, coroutine, **_: begun.append(coroutine))
        dp.start_upcalls()
        for source in FOURS:
            dp.receive(ip_frame(source))
        await dp.serve(handler, workers=2)
        loop.set_task_factory(None)

    with Datapath.simulate(ports=2) as dp:
        asyncio.run(main(dp))
        assert dp.upcall_stats.released == 20
    assert begun == []


def test_limits_by_fields_in_the_same_bits_stand_side_by_side() -> None:
    limits = NewFlowLimits()
    limits.set(1, 1, ("tcp_dst",))
    limits.set(1, 2, ("udp_dst",))
    tcp, udp = (Match(eth_type=0x0800, **{field: 80}).value for field in ("tcp_dst", "udp_dst"))
    assert [limits.allow(tcp, 0) for _ in range(3)] == [True, False, False]
    assert [limits.allow(udp, 0) for _ in range(3)] == [True, True, False]
    with pytest.raises(ConfigError, match="no limit of new flows by"):
        limits.remove(("sctp_dst",))
    limits.remove(("udp_dst",))
    assert limits.allow(udp, 0)
    assert not limits.allow(tcp, 0)


@pytest.mark.parametrize("by", [("ipv4_src", "ipv6_src"), ("tcp_dst", "udp_dst"), ("ip_src", "arp_op")])
def test_limits_that_no_packet_is_meant_by_are_refused(by: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="no packet has all of"):
        NewFlowLimits().set(1, 1, by)


@pytest.mark.parametrize("by", [("ip_src", "ip_dst", "tcp_dst"), ("ip_ttl",), ("vlan_vid", "eth_src"), ("nd_target",)])
def test_limits_by_fields_of_one_packet_are_taken(by: tuple[str, ...]) -> None:
    limits = NewFlowLimits()
    limits.set(1, 1, by)
    assert limits
