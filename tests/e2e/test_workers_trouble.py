"""Handlers in workers that fail, take too long, or never end; loops that end while workers are busy; floods: what it
costs, and whom."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import pytest

from tests.datapaths import Controller
from tests.lab import Host, Lab, patience, wait_until
from tests.reactive import forward, is_udp, numbers_by_flow, owed, udp_frame
from tests.workers import KINDS, Hands, at_work, kind_of_loop, settled, trust_gates, worker_threads
from vswitch import (
    BusyError,
    ConfigError,
    Datapath,
    Match,
    Miss,
    Options,
    Output,
    UnexpectedUpcallError,
    Workers,
)
from vswitch.upcalls.miss import Answer

each_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture
def dp(spacious: Datapath) -> Datapath:
    return spacious


def send(host: Host, flow: int, numbers: range | int) -> None:
    host.send_many(udp_frame(flow, number) for number in ([numbers] if isinstance(numbers, int) else numbers))


def install(miss: Miss) -> None:
    """As `forward`, by the miss's own method."""
    miss.install(*forward(miss))


# ---- handlers that do not answer


@each_kind
def test_what_waits_behind_a_packet_whose_handler_raises_is_dropped_with_it(
    dp: Datapath, pair: tuple[Host, Host], kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Others of its port go on, and later packets of the flow are asked about anew."""

    def answer(miss: Miss) -> Answer:
        if hands.asked.count((1, 0)) == 1 and miss.key.udp_src == 1001 and miss.packet[45] == 0:
            raise RuntimeError("no idea")
        return forward(miss)

    hands = Hands(answer, blocks=lambda miss: miss.key.udp_src == 1001)
    with pair[1].capturing(is_udp) as captured, at_work(dp, hands, 2, kind):
        send(pair[0], 1, range(5))
        send(pair[0], 2, range(5))
        captured.wait_for(5)
        wait_until(lambda: dp.upcall_stats.waiting == 5, "flow 1 waits")
        hands.open()
        wait_until(lambda: settled(dp), "it is dropped")
        assert owed(dp, 1) == 0
        send(pair[0], 1, range(5, 8))
        captured.wait_for(8)
    assert numbers_by_flow(captured) == {2: [0, 1, 2, 3, 4], 1: [5, 6, 7]}
    assert hands.asked == [(1, 0), (2, 0), (1, 5)]
    stats = dp.upcall_stats
    assert (stats.failed, stats.drops, stats.arrived) == (1, {"failed": 5}, 5 + stats.released)
    assert "no idea" in caplog.text


@each_kind
def test_nonsense_is_refused_in_workers_too(
    dp: Datapath, pair: tuple[Host, Host], kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    answers: list[Any] = ["nonsense", (Match(in_port=2), Output(1)), 7, (Match(in_port=1), "to port two")]
    hands = Hands(lambda miss: forward(miss) if miss.key.udp_src == 1009 else answers[miss.key.udp_src - 1000])
    with pair[1].capturing(is_udp) as captured, at_work(dp, hands, 2, kind):
        for flow in (0, 1, 2, 3, 9):
            send(pair[0], flow, 0)
        captured.wait_for(1)
        wait_until(lambda: dp.upcall_stats.failed == 4, "they are counted")
    assert numbers_by_flow(captured) == {9: [0]}
    assert dp.upcall_stats.drops == {"failed": 4}
    assert "ConfigError" in caplog.text


@each_kind
def test_a_rule_that_is_refused_costs_its_packet_and_the_next_is_asked_about(
    dp: Datapath, pair: tuple[Host, Host], kind: str
) -> None:
    """As it would lie across one that is there."""
    dp.flows.add(Match(udp_src=1009), Output(2))

    def answer(miss: Miss) -> Answer:
        return (Match(udp_dst=2000), Output(2)) if miss.packet[45] < 2 else forward(miss)

    hands = Hands(answer, blocks=lambda _: dp.upcall_stats.arrived < 12)
    with pair[1].capturing(is_udp) as captured, at_work(dp, hands, 4, kind):
        for flow in (1, 2):
            send(pair[0], flow, range(6))
        captured.wait_for(8)
        wait_until(lambda: settled(dp), "all are done with")
    assert numbers_by_flow(captured) == {flow: [2, 3, 4, 5] for flow in (1, 2)}
    assert sorted(hands.asked) == [(flow, number) for flow in (1, 2) for number in range(3)]
    stats = dp.upcall_stats
    assert (stats.installed, stats.failed, stats.drops) == (2, 4, {"failed": 4})
    assert owed(dp, 1) == 0


def test_a_thread_that_is_past_its_limit_is_replaced_and_its_answer_too_late(
    dp: Datapath, pair: tuple[Host, Host]
) -> None:
    hands = Hands(install, blocks=lambda miss: miss.key.udp_src == 1001)
    with pair[1].capturing(is_udp) as captured, at_work(dp, hands, Workers(1, limit_s=0.3), "threads"):
        send(pair[0], 1, range(4))
        wait_until(lambda: dp.upcall_stats.drops == {"late": 4}, "its limit is over")
        assert settled(dp)
        assert owed(dp, 1) == 0
        send(pair[0], 2, range(4))
        captured.wait_for(4)
        assert hands.at == [(1, 0)], "it is still at it"
        assert len(worker_threads()) == 2
        hands.permit()
        wait_until(lambda: hands.problems, "it is told")
        send(pair[0], 3, range(2))
        captured.wait_for(6)
    assert isinstance(hands.problems[0], ConfigError)
    assert "too late to answer" in str(hands.problems[0])
    assert numbers_by_flow(captured) == {2: [0, 1, 2, 3], 3: [0, 1]}
    assert sorted(flow.match.fields()["udp_src"][0] for flow in dp.flows) == [1002, 1003]
    stats = dp.upcall_stats
    assert (stats.handled, stats.failed, stats.drops) == (3, 1, {"late": 4})


def test_a_task_that_is_past_its_limit_is_cancelled(dp: Datapath, pair: tuple[Host, Host]) -> None:
    hands = Hands(forward, blocks=lambda miss: miss.key.udp_src == 1001)
    with pair[1].capturing(is_udp) as captured, at_work(dp, hands, Workers(1, limit_s=0.3), "tasks"):
        send(pair[0], 1, range(4))
        wait_until(lambda: dp.upcall_stats.drops == {"late": 4}, "its limit is over")
        assert settled(dp)
        assert owed(dp, 1) == 0
        send(pair[0], 2, range(4))
        captured.wait_for(4)
        assert [type(problem) for problem in hands.problems] == [asyncio.CancelledError]
    assert numbers_by_flow(captured) == {2: [0, 1, 2, 3]}
    assert (dp.upcall_stats.handled, dp.upcall_stats.failed) == (2, 1)


@each_kind
def test_what_waits_behind_a_packet_that_another_rule_has_released_is_not_late_with_its_handler(
    dp: Datapath, pair: tuple[Host, Host], kind: str
) -> None:
    """It is asked about in its turn, as when that handler is through in time."""

    def answer(miss: Miss) -> Answer:
        return (Match(in_port=1, udp_src=(miss.key.udp_src & 7, 7)), Output(2))

    blocks = {1000: lambda: True, 1008: lambda: dp.upcall_stats.waiting < 4}
    hands = Hands(answer, blocks=lambda miss: miss.key.udp_src in blocks and blocks[miss.key.udp_src]())
    workers = Workers(3, limit_s=0.5, similar=("udp_src/0xfff8",))  # flows 0 to 7 are one, and 8 to 15
    with pair[1].capturing(is_udp) as captured, at_work(dp, hands, workers, kind):
        for flow, number in ((0, 0), (1, 0), (1, 1), (8, 0)):
            send(pair[0], flow, number)
        wait_until(lambda: dp.upcall_stats.released == 2, "the rule of flow 8 takes flow 0")
        assert hands.at == [(0, 0)]
        captured.wait_for(4)
        wait_until(lambda: settled(dp), "all are done with")
    assert numbers_by_flow(captured) == {0: [0], 8: [0], 1: [0, 1]}
    assert hands.asked == [(0, 0), (8, 0), (1, 0)]
    stats = dp.upcall_stats
    assert (stats.handled, stats.joined, stats.failed, stats.drops) == (3, 1, 1, {})
    assert owed(dp, 1) == 0


def test_when_all_threads_and_those_in_their_place_are_stuck_packets_expire(
    dp: Datapath, pair: tuple[Host, Host]
) -> None:
    """Twice as many threads as workers, and no more."""
    hands = Hands(forward, blocks=lambda miss: miss.key.udp_src < 1010)
    workers = Workers(2, limit_s=0.1, patience_s=0.4)
    with pair[1].capturing(is_udp) as captured, at_work(dp, hands, workers, "threads"):
        for flow in range(8):
            send(pair[0], flow, range(2))
        wait_until(lambda: settled(dp), "all are dropped")
        assert len(hands.at) == len(worker_threads()) == 4
        assert dp.upcall_stats.drops == {"late": 8, "expired": 8}
        assert owed(dp, 1) == 0
        hands.open()
        wait_until(lambda: not hands.at, "they end at last")
        send(pair[0], 10, range(2))
        captured.wait_for(2)
    assert numbers_by_flow(captured) == {10: [0, 1]}


@pytest.mark.parametrize(
    ("workers", "flows", "reason"),
    [
        (Workers(1, flow_packets=10), 1, "flow_full"),
        (Workers(1, flow_packets=1 << 16, flow_bytes=1 << 17), 1, "flow_full"),
        (Workers(1, port_packets=10), 30, "port_full"),
        (Workers(1, buffer_bytes=1 << 17), 30, "buffer_full"),
    ],
)
def test_what_waits_is_bounded(
    dp: Datapath, pair: tuple[Host, Host], workers: Workers, flows: int, reason: str
) -> None:
    """In packets and in bytes; those that came first stay."""
    fits = 10 if 10 in (workers.flow_packets, workers.port_packets) else (1 << 17) // 448
    sent = 600 // flows * flows
    hands = Hands(forward, blocks=lambda _: True)
    with pair[1].capturing(is_udp) as captured, at_work(dp, hands, workers, "threads"):
        pair[0].send_many(udp_frame(flow, number) for number in range(600 // flows) for flow in range(flows))
        wait_until(lambda: dp.upcall_stats.drops == {reason: sent - fits}, "the rest is dropped")
        assert dp.upcall_stats.waiting == fits
        assert owed(dp, 1) == fits * 448
        hands.open()
        captured.wait_for(fits)
        wait_until(lambda: settled(dp), "all are done with")
    expected: dict[int, list[int]] = {}
    for at in range(fits):
        expected.setdefault(at % flows, []).append(at // flows)
    assert numbers_by_flow(captured) == expected
    assert owed(dp, 1) == 0


# ---- loops that end


@each_kind
def test_stop_waits_for_what_is_at_work_and_drops_what_waits(
    dp: Datapath, pair: tuple[Host, Host], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It sleeps meanwhile, although packets come. What no worker was at is counted as closed; a second loop works."""
    rounds = Counter[bool]()
    go_round = dp._loop._go_round

    def counted(*arguments: Any) -> bool:
        rounds[dp._loop._draining] += 1
        return go_round(*arguments)

    monkeypatch.setattr(dp._loop, "_go_round", counted)
    hands = Hands(forward, blocks=lambda _: True)
    with pair[1].capturing(is_udp) as captured:
        with at_work(dp, hands, 2, kind) as loop:
            for flow in range(4):
                send(pair[0], flow, range(3))
            wait_until(lambda: len(hands.at) == 2 and dp.upcall_stats.waiting == 12, "two are at work")
            dp.stop()
            wait_until(lambda: dp._loop._draining, "it waits for them")
            send(pair[0], 9, 0)
            time.sleep(0.3)
            assert rounds[True] < 100
            assert dp.upcall_stats.waiting == 13
            hands.open()
            loop.join(10 * patience())
            assert not loop.is_alive()
        assert numbers_by_flow(captured.wait_for(6)) == {flow: [0, 1, 2] for flow in range(2)}
        assert (dp.upcall_stats.drops, dp.upcall_stats.waiting) == ({"closed": 6}, 1)
        again = Hands(forward)
        with at_work(dp, again, 2, kind):
            for flow in range(4):
                send(pair[0], flow, 3)
            captured.wait_for(11)
    assert numbers_by_flow(captured) == {0: [0, 1, 2, 3], 1: [0, 1, 2, 3], 2: [3], 3: [3], 9: [0]}
    assert [flow for flow, _ in again.asked] == [9, 2, 3]
    assert settled(dp)
    assert owed(dp, 1) == 0


def test_gates_stay_closed_while_a_loop_waits_for_its_workers_to_end(dp: Datapath, pair: tuple[Host, Host]) -> None:
    """For longer than they are trusted when nobody is heard of; the next loop sends on what came to them."""
    hands = Hands(forward, blocks=lambda miss: miss.key.udp_src == 1002 or not dp._loop._draining)
    with pair[1].capturing(is_udp) as captured:
        with at_work(dp, hands, 2, "threads") as loop:
            for flow in (1, 2):
                send(pair[0], flow, 0)
            wait_until(lambda: len(hands.at) == 2, "two are at work")
            dp.stop()
            wait_until(lambda: dp.upcall_stats.installed == 1, "the rule of one")
            send(pair[0], 1, 1)
            time.sleep(0.7)
            send(pair[0], 1, 2)
            hands.open()
            loop.join(10 * patience())
        with at_work(dp, Hands(forward), 2, "threads"):
            captured.wait_for(4)
    assert numbers_by_flow(captured) == {1: [0, 1, 2], 2: [0]}


def test_the_end_of_its_time_is_like_stop(dp: Datapath, pair: tuple[Host, Host]) -> None:
    """What is at work then may take until its limit."""
    hands = Hands(install, blocks=lambda _: True)
    dp.on_miss(hands.in_thread)
    dp.start_upcalls()
    for flow in range(4):
        send(pair[0], flow, range(3))
    dp.run(timeout_s=0.3, workers=Workers(2, limit_s=0.6))
    assert dp.upcall_stats.drops == {"late": 6, "closed": 6}
    assert settled(dp)
    assert owed(dp, 1) == 0
    hands.open()
    wait_until(lambda: not worker_threads(), "the threads end when their handlers do")
    assert len(hands.problems) == 2
    assert all(isinstance(problem, ConfigError) for problem in hands.problems)


@each_kind
@pytest.mark.parametrize("draining", [False, True])
def test_a_handler_may_close_the_datapath(
    dp: Datapath, pair: tuple[Host, Host], kind: str, draining: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Also while the loop waits for its workers to end. A thread does so by a call."""

    def answer(miss: Miss) -> None:
        miss.drop()
        if kind == "threads":
            dp.call(dp.close)
        else:
            dp.close()

    hands = Hands(answer, blocks=lambda _: True)
    loop = threading.Thread(target=kind_of_loop(dp, hands, 2, kind), daemon=True)
    dp.start_upcalls()
    for flow in range(4):
        send(pair[0], flow, range(3))
    loop.start()
    wait_until(lambda: len(hands.at) == 2 and dp.upcall_stats.waiting == 12, "two are at work")
    if draining:
        dp.stop()
        wait_until(lambda: dp._loop._draining, "the loop waits for them")
    hands.permit()
    loop.join(10 * patience())
    assert not loop.is_alive()
    assert dp.upcall_stats.drops == {"closed": 12}
    assert settled(dp)
    assert not caplog.records
    with pytest.raises(ConfigError, match="is closed"):
        dp.run(workers=1)
    hands.open()
    wait_until(lambda: not worker_threads(), "the other one ends, too")
    Datapath.delete(dp.name)


@each_kind
def test_ctrl_c_while_workers_are_busy(dp: Datapath, pair: tuple[Host, Host], kind: str) -> None:
    """What they are at is dropped and counted; another loop works."""
    main = threading.main_thread()
    assert threading.current_thread() is main
    hands = Hands(forward, blocks=lambda _: True)

    def interrupt() -> None:
        wait_until(lambda: len(hands.at) == 2 and dp.upcall_stats.waiting == 12, "two are at work")
        assert main.ident is not None
        signal.pthread_kill(main.ident, signal.SIGINT)

    dp.start_upcalls()
    for flow in range(4):
        send(pair[0], flow, range(3))
    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        kind_of_loop(dp, hands, 2, kind)()
    thread.join()
    assert dp.upcall_stats.drops == {"closed": 12}
    assert settled(dp)
    assert owed(dp, 1) == 0
    hands.open()
    wait_until(lambda: not hands.at, "their handlers end")
    assert len(dp.flows) == 0
    with pair[1].capturing(is_udp) as captured, at_work(dp, Hands(forward), 2, kind):
        send(pair[0], 1, range(3))
        captured.wait_for(3)
    assert numbers_by_flow(captured) == {1: [0, 1, 2]}


def test_a_task_that_serves_may_be_cancelled(dp: Datapath, pair: tuple[Host, Host]) -> None:
    """With it those that are at packets, and none is left."""
    hands = Hands(forward, blocks=lambda _: True)

    async def main() -> None:
        serving = asyncio.create_task(dp.serve(hands.in_task, workers=2))
        while dp.upcall_stats.waiting < 12 or len(hands.at) < 2:
            await asyncio.sleep(0.005)
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serving
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    dp.start_upcalls()
    for flow in range(4):
        send(pair[0], flow, range(3))
    asyncio.run(main())
    assert [type(problem) for problem in hands.problems] == [asyncio.CancelledError] * 2
    assert (dp.upcall_stats.drops, dp.upcall_stats.failed) == ({"closed": 12}, 0)
    assert owed(dp, 1) == 0


@pytest.mark.parametrize(
    ("kind", "problem"),
    [("threads", SystemExit), ("threads", asyncio.CancelledError), ("tasks", asyncio.CancelledError)],
)
def test_what_is_raised_to_end_a_worker_costs_its_packet_and_not_the_worker(
    dp: Datapath, pair: tuple[Host, Host], kind: str, problem: type[BaseException]
) -> None:
    def answer(miss: Miss) -> Answer:
        if miss.key.udp_src == 1001:
            raise problem
        return forward(miss)

    hands = Hands(answer)
    with pair[1].capturing(is_udp) as captured, at_work(dp, hands, 1, kind):
        for number in range(3):
            send(pair[0], 1, number)
        wait_until(lambda: dp.upcall_stats.drops == {"failed": 3}, "they are dropped")
        send(pair[0], 2, 0)
        captured.wait_for(1)
    assert numbers_by_flow(captured) == {2: [0]}


@each_kind
def test_a_loop_within_a_handler_of_a_worker_is_refused(dp: Datapath, pair: tuple[Host, Host], kind: str) -> None:
    def answer(miss: Miss) -> Answer:
        with pytest.raises(ConfigError, match="at a packet of a batch already"):
            dp.call(lambda: dp.run(workers=1, timeout_s=1))
        return forward(miss)

    with pair[1].capturing(is_udp) as captured, at_work(dp, Hands(answer), 2, kind):
        send(pair[0], 1, range(3))
        captured.wait_for(3)
    assert numbers_by_flow(captured) == {1: [0, 1, 2]}
    assert dp.upcall_stats.failed == 0


def test_strict_mode_with_workers(dp: Datapath, pair: tuple[Host, Host]) -> None:
    dp.on_miss(forward)
    dp.start_upcalls()
    send(pair[0], 1, range(3))
    with pytest.raises(UnexpectedUpcallError, match="udp_src=1001"):
        dp.run(strict=True, timeout_s=5, workers=2)
    wait_until(lambda: not worker_threads(), "their threads end")


PROGRAM = """
import asyncio, time
dp = Datapath.open(name)
dp.start_upcalls()
done()
@dp.on_miss
def never(miss):
    time.sleep(1000)
async def never_either(miss):
    await asyncio.sleep(1000)
if {tasks}:
    async def main():
        serving = asyncio.create_task(dp.serve(never_either, workers=Workers(4, limit_s=0.2)))
        while dp.upcall_stats.drops.get("late", 0) < 8:
            await asyncio.sleep(0.01)
        dp.stop()
        await serving
        assert asyncio.all_tasks() == {{asyncio.current_task()}}
    asyncio.run(main())
else:
    dp.run(timeout_s=0.5, workers=Workers(4, limit_s=0.2))
dp.close()
print(sorted(dp.upcall_stats.drops))
"""


@each_kind
def test_handlers_that_never_end_do_not_hold_their_process(name: str, pair: tuple[Host, Host], kind: str) -> None:
    with Datapath.create(name, ports=[host.port for host in pair], local=False) as dp:
        dp.keep()
    with Controller(name, PROGRAM.format(tasks=kind == "tasks")) as controller:
        controller.wait_for()
        pair[0].send_many(udp_frame(flow, 0) for flow in range(8))
        controller.go_on()
        status, output, errors = controller.end(20)
    assert status == 0
    assert "late" in output
    assert "TimeoutError: the handler takes longer than its limit" in errors
    Datapath.delete(name)


# ---- who takes over


KILLED = """
dp = Datapath.open(name)
dp.on_miss(lambda miss: time.sleep(1000))
dp.start_upcalls()
done()
import threading, time
def tell():
    while dp.upcall_stats.handled < 4 or dp.upcall_stats.waiting < 300:
        time.sleep(0.01)
    done("busy")
threading.Thread(target=tell, daemon=True).start()
dp.run(workers=Workers(4, limit_s=100, patience_s=100))
"""


def test_what_a_process_held_that_was_killed_is_counted_by_the_next_reader(name: str, pair: tuple[Host, Host]) -> None:
    """As closed; and the ports have their shares of the ring back."""
    with Datapath.create(name, ports=[host.port for host in pair], local=False) as dp:
        dp.keep()
    with Controller(name, KILLED) as controller:
        controller.wait_for()
        controller.go_on()
        pair[0].send_many(udp_frame(flow, number) for flow in range(30) for number in range(10))
        controller.wait_for("busy")
        with pytest.raises(BusyError):
            Datapath.open(name)
        controller.kill()
    send(pair[0], 99, range(20))
    with Datapath.open(name) as dp:
        assert dp.upcall_stats.waiting == 320
        assert owed(dp, 1) == 320 * 448
        with pair[1].capturing(is_udp) as captured, at_work(dp, Hands(forward), 4, "threads"):
            assert dp.upcall_stats.drops == {"closed": 320}
            assert owed(dp, 1) == 0
            send(pair[0], 1, range(3))
            captured.wait_for(3)
        assert numbers_by_flow(captured) == {1: [0, 1, 2]}
        assert dp.upcall_stats.arrived == 320 + dp.upcall_stats.released
    Datapath.delete(name)


# ---- all at once


@pytest.mark.parametrize(("kind", "limited"), [("threads", False), ("tasks", False), ("threads", True)])
def test_http_beside_a_scan_of_another_port(lab: Lab, name: str, kind: str, limited: bool) -> None:
    """Few workers, and slow ones: every request is answered, and every packet of the scan accounted for."""
    server, visitor, scanner = (lab.host(f"h{n}", ip=f"10.0.0.{n}/24") for n in (1, 2, 3))
    lab.introduce()
    options = Options(ring_bytes=1 << 20, port_quota_bytes=1 << 17)
    ports = [host.port for host in (server, visitor, scanner)]
    url = server.serve_http()

    def answer(miss: Miss) -> Answer:
        fields = ("in_port", "eth_type", "ipv4_src", "ipv4_dst", "ip_proto", "tcp_src", "tcp_dst")
        wanted = fields if miss.key.has("tcp_dst") else ("in_port", "eth_type")
        return Match.exact(miss.key, *wanted), Output(miss.key.eth_dst & 0xF)

    hands = Hands(answer, pause_s=lambda miss: 0.005 + 0.015 * (miss.key.tcp_src % 16) / 16, names=False)
    with Datapath.create(name, ports=ports, local=False, options=options) as dp:
        if limited:
            dp.limit_new_flows(50)
        with at_work(dp, hands, Workers(3), kind):
            assert visitor.curl(url) == "hello from h1\n"
            scan = scanner.popen(["timeout", "30", "hping3", "-q", "-S", "-p", "++1000", "-i", "u200", server.ip])
            wait_until(lambda: dp.ports.stats(3).rx_packets > 1000, "the scan is on", 10)
            for _ in range(5):
                assert visitor.curl(url) == "hello from h1\n"
            assert scan.poll() is None, "the scan goes on meanwhile"
            scan.terminate()
            scan.wait(10 * patience())
            wait_until(lambda: settled(dp), "all are done with", 20)
            assert dp.ports.stats(2).drops == {}
            assert set(dp.ports.stats(1).drops) <= ({"upcall_rate"} if limited else set())  # the server answers scans
            counted = dp.ports.stats(3)
            assert counted.lost == sum(counted.drops.values()), (
                "the kernel stopped sending for the port that is scanned"
            )
            assert set(counted.drops) == {"upcall_rate" if limited else "upcall_quota"}
            assert hands.problems == []
            stats = dp.upcall_stats
            assert stats.arrived == stats.released + stats.dropped
            assert set(stats.drops) <= (set() if limited else {"expired", "flow_full"})
            assert [owed(dp, port) for port in (1, 2, 3)] == [0, 0, 0]
            assert hands.most <= 3


def random_frames(chance: Random, flows: range, numbers: Counter[int]) -> Iterator[bytes]:
    """The next packets of these flows, in any order, sometimes after a while."""
    for _ in range(2500):
        flow = chance.choice(flows)
        yield udp_frame(flow, numbers[flow])
        numbers[flow] += 1
        if chance.random() < 0.02:
            time.sleep(0.002)


@pytest.mark.parametrize("seed", range(3))
def test_whatever_handlers_do_every_packet_is_accounted_for(
    dp: Datapath, pair: tuple[Host, Host], seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Many threads that answer, fail, take too long, and delete rules, while packets come by both ports."""
    caplog.set_level("CRITICAL", "vswitch")
    chance = Random(seed)

    stays = Match(udp_src=999)  # what is to be refused lies across it
    dp.flows.add(stays, Output(2))

    def delete_one() -> None:
        dp.flows.delete_many([flow.rule for flow in dp.flows if flow.match != stays][:1])

    def fail() -> None:
        raise RuntimeError("as asked")

    others: dict[str, Callable[[Miss], object]] = {
        "send": lambda miss: miss.send(Output(3 - miss.port)),
        "drop": Miss.drop,
        "raise": lambda _: fail(),
        "late": lambda _: time.sleep(0.1),
        "delete": lambda _: dp.call(delete_one),
        "nothing": lambda _: None,
    }

    def answer(miss: Miss) -> Answer:
        what = chance.choice(["rule"] * 6 + ["refused", *others])
        if what in others:
            others[what](miss)
            return None
        return forward(miss) if what == "rule" else (Match(udp_dst=2000), Output(1))

    hands = Hands(answer, pause_s=lambda _: chance.choice([0, 0, 0.002, 0.01]))
    workers = Workers(24, limit_s=0.06, patience_s=0.5, flow_packets=20, port_packets=300)
    dp.limit_new_flows(3000, burst=500)
    numbers: Counter[int] = Counter()

    def send_all(port: int) -> None:
        pair[port].send_many(random_frames(chance, range(40 * port, 40 * port + 40), numbers))

    trust_gates(dp)
    with pair[0].capturing(is_udp) as first, pair[1].capturing(is_udp) as second:
        with at_work(dp, hands, workers, "threads"):
            senders = [threading.Thread(target=send_all, args=(port,)) for port in (0, 1)]
            for sender in senders:
                sender.start()
            for sender in senders:
                sender.join()
            wait_until(lambda: settled(dp) and not dp.start_upcalls().busy, "all are done with", 20)
            assert owed(dp, 1) == owed(dp, 2) == 0
            again = dp.upcall_stats
        first.settle()
        second.settle()
    assert (again.arrived, again.waiting) == (again.released + again.dropped, 0)
    assert sum(again.waits) == again.released
    lost = sum(sum(dp.ports.stats(port).drops.values()) for port in (1, 2))
    assert len(first) + len(second) + again.dropped + lost == 5000
    for flow, came in numbers_by_flow([*first, *second]).items():
        assert came == sorted(set(came)), f"flow {flow} in order, and no packet twice"
    assert hands.most <= 48


@each_kind
def test_a_port_that_goes_while_its_packets_are_held(dp: Datapath, pair: tuple[Host, Host], kind: str) -> None:
    """They are answered all the same; the next port with its number begins with nothing in the ring."""
    hands = Hands(forward, blocks=lambda miss: not dp._loop._stopped and miss.key.udp_src == 1001)
    with pair[1].capturing(is_udp) as captured, at_work(dp, hands, 2, kind):
        send(pair[0], 1, range(5))
        wait_until(lambda: dp.upcall_stats.waiting == 5, "they are held")
        dp.call(lambda: dp.ports.remove(1))
        hands.open()
        wait_until(lambda: settled(dp), "they are done with")
        assert dp.call(lambda: dp.ports.add(pair[0].port)).number == 1
        assert owed(dp, 1) == 0
        send(pair[0], 2, range(3))
        wait_until(lambda: (2, 0) in hands.asked, "the new port is heard")
        captured.wait_for(3)
        wait_until(lambda: settled(dp), "all are done with")
    assert numbers_by_flow(captured)[2] == [0, 1, 2]
    assert dp.upcall_stats.failed == 0
    assert owed(dp, 1) == 0


def test_calls_that_wait_when_the_loop_ends_are_refused(dp: Datapath, pair: tuple[Host, Host]) -> None:
    """Their threads do not wait for ever."""
    begun = threading.Event()

    def answer(_miss: Miss) -> Answer:
        begun.set()
        dp.call(lambda: time.sleep(0.01))
        return None

    hands = Hands(answer)
    for _ in range(5):
        begun.clear()
        with at_work(dp, hands, 8, "threads"):
            pair[0].send_many(udp_frame(flow, 0) for flow in range(20))
            assert begun.wait(5 * patience())
    assert settled(dp)
    assert owed(dp, 1) == 0
    assert set(dp.upcall_stats.drops) <= {"unanswered", "closed"}
