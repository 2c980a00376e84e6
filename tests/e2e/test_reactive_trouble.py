"""Programs that answer packets wrongly, late, or not at all: what it costs, and whom."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import subprocess
from collections.abc import Awaitable, Callable
from contextlib import ExitStack

import pytest

from tests.lab import Host, Lab, wait_until
from tests.reactive import finish, forward, is_udp, numbers_by_flow, owed, running, udp_frame, whole_batches
from vswitch import (
    Action,
    Clone,
    ConfigError,
    Datapath,
    Match,
    Miss,
    Options,
    Output,
    Rule,
    SetField,
    UnexpectedUpcallError,
    Userspace,
)
from vswitch.datapath.ebpf.state import hidden_name
from vswitch.upcalls.miss import Answer


@pytest.fixture
def dp(spacious: Datapath) -> Datapath:
    return spacious


def unhashable_rule() -> Rule:
    """One that a handler could not make by fair means."""
    rule = Rule(Match(in_port=1), (Output(2), Output(1)))
    object.__setattr__(rule, "actions", ([Output(2)],))
    return rule


def test_a_handler_that_raises_loses_its_own_packet_only(
    dp: Datapath, pair: tuple[Host, Host], caplog: pytest.LogCaptureFixture
) -> None:
    @dp.on_miss
    def sometimes(miss: Miss) -> tuple[Match, Output]:
        if miss.key.udp_src == 1005:
            raise RuntimeError("no idea about flow 5")
        return forward(miss)

    with caplog.at_level(logging.ERROR, "vswitch"), pair[1].capturing(is_udp) as captured, running(dp):
        for flow in range(10):
            pair[0].send(udp_frame(flow, 1))
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
        (Match(in_port=1), 7),
        (Match(in_port=1), (Output(2), object())),
        (Match, Output(2)),
        unhashable_rule(),
    ],
)
def test_a_nonsense_answer_is_refused_and_counted(dp: Datapath, pair: tuple[Host, Host], answer: object) -> None:
    dp.on_miss(lambda miss: answer if miss.key.udp_src == 1000 else forward(miss))  # type: ignore[arg-type, return-value]
    with running(dp), pair[1].capturing(is_udp) as captured:
        pair[0].send(udp_frame(0, 0))
        wait_until(lambda: dp.upcall_stats.failed == 1, "the failure to be counted")
        pair[0].send(udp_frame(1, 1))
        captured.wait_for(1)
    assert numbers_by_flow(captured) == {1: [1]}
    assert len(dp.flows) == 1


@pytest.mark.parametrize("how", ["install", "send"])
def test_nested_list_that_is_no_tuple_costs_at_most_its_own_packet(
    dp: Datapath, pair: tuple[Host, Host], how: str
) -> None:
    nested = Clone([Output(2)])  # type: ignore[arg-type]

    def answer(miss: Miss) -> tuple[Match, Output | Clone] | None:
        if miss.key.udp_src != 1001:
            return forward(miss)
        if how == "install":
            return forward(miss)[0], nested
        miss.send(nested)
        return None

    dp.on_miss(answer)
    dp.start_upcalls()
    pair[0].send_many(udp_frame(flow, 0) for flow in range(4))
    with pair[1].capturing(is_udp) as captured, running(dp):
        captured.wait_for(3)
        wait_until(lambda: dp.upcall_stats.failed == 1 or len(captured.settle()) == 4, "flow 1 to be done with")
    assert set(numbers_by_flow(captured)) >= {0, 2, 3}


def test_bad_answers_do_not_use_up_the_share_of_their_port(lab: Lab, pair: tuple[Host, Host]) -> None:
    """More of them than the port's quota, and than the ring, has room for."""
    options = Options(ring_bytes=1 << 17, port_quota_bytes=1 << 17)
    ports = [host.port for host in pair]
    bad = unhashable_rule()
    with Datapath.create(f"b{lab.name}"[:15], ports=ports, local=False, options=options) as dp:

        @dp.on_miss
        def answer(miss: Miss) -> Answer:
            return bad if miss.key.udp_src == 1000 else forward(miss)

        dp.start_upcalls()
        for begin in range(0, 500, 100):
            pair[0].send_many(udp_frame(0, begin + number) for number in range(100))
            finish(dp, answer)
        assert dp.upcall_stats.failed == 500
        assert dp.ports.stats(1).lost == 0
        assert owed(dp, 1) == 0
        with pair[1].capturing(is_udp) as captured, running(dp):
            pair[0].send(udp_frame(1, 0))
            captured.wait_for(1)


def test_packets_that_followed_a_refused_rule_are_asked_about_again(dp: Datapath, pair: tuple[Host, Host]) -> None:
    """They wait in their places, and none is sent down to a rule that is not there."""
    dp.flows.add(Match(udp_src=1999), Output(2))
    asked: list[int] = []

    def answer(miss: Miss) -> tuple[Match, Output]:
        asked.append(miss.key.udp_src - 1000)
        return forward(miss) if len(asked) > 2 else (Match(udp_dst=2000), Output(2))

    dp.start_upcalls()
    pair[0].send_many(udp_frame(flow, number) for number in range(3) for flow in (5, 6))
    with pair[1].capturing(is_udp) as captured:
        finish(dp, answer)
        captured.wait_for(4)
    assert asked == [5, 6, 5, 6]
    assert numbers_by_flow(captured) == {5: [1, 2], 6: [1, 2]}
    stats = dp.upcall_stats
    assert (stats.handled, stats.joined, stats.installed, stats.failed, stats.drops) == (4, 2, 2, 2, {"failed": 2})
    assert (stats.arrived, stats.released, sum(stats.waits), stats.waiting) == (6, 4, 4, 0)
    assert dp.ports.stats(1).drops == {}
    assert owed(dp, 1) == 0


def test_a_rule_that_is_taken_away_does_not_make_others_forgotten(dp: Datapath, pair: tuple[Host, Host]) -> None:
    """Packets that missed before their rule was there, and were not in its batch, are not asked about."""
    other = dp.flows.add(Match(udp_src=1999), Output(2))
    upcalls = whole_batches(dp)
    pair[0].send_many(udp_frame(1, number) for number in range(300))
    with pair[1].capturing(is_udp) as captured:
        upcalls.handle(forward)
        dp.flows.delete(other)
        finish(dp, forward)
        captured.wait_for(300)
    assert numbers_by_flow(captured) == {1: list(range(300))}
    assert (dp.upcall_stats.handled, dp.upcall_stats.failed) == (1, 0)


def test_an_answer_that_is_there_already_is_no_failure(dp: Datapath, pair: tuple[Host, Host]) -> None:
    upcalls = dp.start_upcalls()
    pair[0].send_many(udp_frame(flow, 0) for flow in (1, 2, 3))
    dp.flows.add(Match(udp_src=1001), Output(2))
    waiting: list[Miss] = []
    with pair[1].capturing(is_udp) as captured:
        for miss in upcalls.misses():
            waiting.append(miss)
            if len(waiting) == 3:
                waiting[0].install(Match(udp_src=1001), Output(2))
                for late in waiting[1:]:  # one rule twice in a batch
                    late.install(Match(udp_src=(1002, 0xFFFE)), Output(2))
        captured.wait_for(3)
    assert set(numbers_by_flow(captured)) == {1, 2, 3}
    assert (dp.upcall_stats.installed, dp.upcall_stats.failed, dp.upcall_stats.dropped) == (1, 0, 0)


def test_a_packet_sent_up_on_purpose_is_not_sent_to_the_same_rule_again(dp: Datapath, pair: tuple[Host, Host]) -> None:
    """The answer has the place of the rule that sent it up: for ever round, if that rule were let stand for it."""
    dp.flows.add(Match(udp_src=1001), Userspace())
    dp.flows.add(Match(udp_src=1002), Userspace())
    dp.start_upcalls()
    pair[0].send_many(udp_frame(flow, number) for number in range(2) for flow in (1, 2))
    with pair[1].capturing(is_udp) as captured:
        finish(dp, lambda miss: Rule(Match(udp_src=miss.key.udp_src), (Output(2),), miss.key.udp_src - 1001))
        captured.wait_for(2)
    assert numbers_by_flow(captured) == {2: [0, 1]}
    stats = dp.upcall_stats
    assert (stats.handled, stats.joined, stats.installed, stats.failed) == (3, 1, 1, 2)


def test_packets_sent_up_on_purpose_follow_the_rule_that_answered_one_of_them(
    dp: Datapath, pair: tuple[Host, Host]
) -> None:
    """Also in the batch of that one, before the rule is there. Those with other user data are asked about."""
    asked: list[tuple[bytes, int, int]] = []
    dp.flows.add(Match(in_port=1), (Userspace(b"tell"), Userspace(b"ask")))

    @dp.on_miss
    def answer(miss: Miss) -> Rule | None:
        ((flow, (number,)),) = numbers_by_flow([miss.packet]).items()
        asked.append((miss.userdata, flow, number))
        if miss.userdata == b"ask":
            return Rule(Match(in_port=1, udp_src=miss.key.udp_src), (Output(2),), 5)
        miss.drop()
        return None

    dp.start_upcalls()
    pair[0].send_many([udp_frame(1, number) for number in range(3)] + [udp_frame(2, 0)])
    with pair[1].capturing(is_udp) as captured, running(dp):
        captured.wait_for(4)
        pair[0].send_many([udp_frame(1, 3)])
        captured.wait_for(5)
    assert numbers_by_flow(captured) == {1: [0, 1, 2, 3], 2: [0]}
    assert sorted(asked) == [(b"ask", 1, 0), (b"ask", 2, 0), *((b"tell", 1, n) for n in range(3)), (b"tell", 2, 0)]
    stats = dp.upcall_stats
    assert (stats.handled, stats.installed, stats.failed, stats.drops) == (6, 2, 0, {"answer": 4})


@pytest.mark.parametrize("installed", [False, True])
@pytest.mark.parametrize("again", [(Output(2), Userspace()), (Output(2), Clone((Clone((Userspace(),)),)))])
def test_a_rule_that_tells_of_every_packet_does_not_tell_of_one_for_ever(
    dp: Datapath, pair: tuple[Host, Host], again: tuple[Action, ...], installed: bool
) -> None:
    """The answer to what it sends up is the rule itself: the packet has been through it."""
    match = Match(udp_src=1001)
    if installed:
        dp.flows.add(match, again)
    dp.on_miss(lambda _: (match, again))
    dp.start_upcalls()
    with pair[1].capturing(is_udp) as captured:
        pair[0].send(udp_frame(1, 0))
        dp.run(timeout_s=0.5)
        captured.wait_for(1)
        assert len(captured.settle()) <= 2
    stats = dp.upcall_stats
    assert (stats.handled, stats.failed) == (1 if installed else 2, 1)
    assert dp.stats().upcalls <= 3


def test_failures_of_one_kind_are_reported_as_one(
    dp: Datapath, pair: tuple[Host, Host], caplog: pytest.LogCaptureFixture
) -> None:
    """What they say differs from packet to packet."""
    dp.flows.add(Match(ipv4_dst=0x0A000009), Output(2))

    def overlapping(miss: Miss) -> tuple[Match, Output]:
        return Match(udp_src=miss.key.udp_src), Output(2)

    with caplog.at_level(logging.ERROR, "vswitch"):
        dp.start_upcalls()
        for begin in range(0, 2000, 250):
            pair[0].send_many(udp_frame(flow, 0) for flow in range(begin, begin + 250))
            finish(dp, overlapping)
    assert dp.upcall_stats.failed == 2000
    assert len(caplog.records) == 4
    assert [bool(record.exc_info) for record in caplog.records] == [True, False, False, False]
    assert len({record.getMessage().partition("): ")[2] for record in caplog.records}) == 4


@pytest.mark.parametrize("by_handler", [False, True])
def test_a_slot_that_is_used_again_has_no_packets_of_the_rule_before(
    dp: Datapath, pair: tuple[Host, Host], by_handler: bool
) -> None:
    """Packets waited behind the gate of a rule that was deleted; the next rule in its place opens its gate in time."""
    upcalls = whole_batches(dp)
    asked: list[int] = []
    first = Match(in_port=1, udp_src=1001)

    def answer(miss: Miss) -> tuple[Match, Output]:
        asked.append(miss.key.udp_src - 1000)
        if asked == [1, 2] and by_handler:
            dp.flows.delete(first)
        return Match(in_port=1, udp_src=miss.key.udp_src), Output(2)

    with pair[1].capturing(is_udp) as captured:
        pair[0].send(udp_frame(1, 0))
        upcalls.handle(answer)
        slot = dp._kernel.flows.find(first, 0)
        pair[0].send_many(udp_frame(1, number) for number in (1, 2, 3))
        if not by_handler:
            dp.flows.delete(first)
        pair[0].send(udp_frame(2, 0))
        upcalls.handle(answer)
        assert slot in [dp._kernel.flows.find(flow.match, 0) for flow in dp.flows]
        pair[0].send_many(udp_frame(flow, number) for flow, number in ((1, 4), (2, 1)))
        finish(dp, answer)
        captured.wait_for(7)
    assert numbers_by_flow(captured) == {1: [0, 1, 2, 3, 4], 2: [0, 1]}
    assert asked == ([1, 2, 1] if by_handler else [1, 1, 2])
    assert not upcalls._gates._gone
    assert owed(dp, 1) == 0


def test_a_rule_named_twice_is_deleted_once(dp: Datapath) -> None:
    rules = [Rule(Match(udp_src=number), (Output(2),)) for number in range(2)]
    dp.flows.add_many(rules)
    assert [flow.rule for flow in dp.flows.delete_many([*rules, rules[0], Rule(Match(udp_src=9))])] == rules
    assert len(dp.flows) == len(dp._kernel.flows) == 0
    more = [Rule(Match(udp_src=number), (Output(2),)) for number in range(10, 14)]
    dp.flows.add_many(more)
    assert {flow.rule for flow in dp.flows} == set(more)


def test_overlapping_answers_are_refused_one_by_one(dp: Datapath, pair: tuple[Host, Host]) -> None:
    """Of two megaflows that overlap, the second is refused and reported; others of the batch live."""
    dp.start_upcalls()
    for flow in range(4):
        pair[0].send(udp_frame(flow, 0))
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


def test_list_that_is_too_long_costs_its_own_packet_alone(dp: Datapath, pair: tuple[Host, Host]) -> None:
    """64 actions are allowed, but these compile to more steps than one list may have."""
    endless = [SetField("ipv6_src", number) for number in range(64)]

    def answer(miss: Miss) -> None:
        miss.send(endless if miss.key.udp_src == 1001 else Output(2))

    dp.on_miss(answer)
    dp.start_upcalls()
    for flow in range(4):
        pair[0].send(udp_frame(flow, 0))
    with pair[1].capturing(is_udp) as captured, running(dp):
        captured.wait_for(3)
        wait_until(lambda: dp.upcall_stats.failed == 1, "the failure to be counted")
        pair[0].send(udp_frame(4, 0))
        captured.wait_for(4)
    assert sorted(numbers_by_flow(captured)) == [0, 2, 3, 4]


def test_strict_mode_survives_a_handler_that_fails(dp: Datapath, pair: tuple[Host, Host]) -> None:
    """What comes up on purpose and cannot be answered costs its own packet; a miss still ends it."""
    dp.flows.add(Match(udp_src=1001), Userspace())
    dp.on_miss(lambda miss: 1 / 0 if miss.packet[-1] else "nonsense")  # type: ignore[arg-type, return-value]
    dp.start_upcalls()
    for last in (0, 1, 0):
        pair[0].send(udp_frame(1, 0)[:-1] + bytes([last]))
    dp.run(strict=True, timeout_s=0.3)
    assert (dp.upcall_stats.handled, dp.upcall_stats.failed) == (3, 3)
    pair[0].send(udp_frame(2, 0))
    with pytest.raises(UnexpectedUpcallError, match="udp_src=1002"):
        dp.run(strict=True, timeout_s=5)


def test_packets_that_the_kernel_does_not_take_back_are_counted(dp: Datapath, pair: tuple[Host, Host]) -> None:
    dp.start_upcalls()
    pair[0].send_many(udp_frame(flow, 0) for flow in range(3))
    subprocess.run(["ip", "link", "set", hidden_name("vsi", dp.name), "down"], check=True)
    finish(dp, forward)
    assert (dp.upcall_stats.installed, dp.upcall_stats.drops) == (3, {"unsent": 3})


def test_what_nobody_reads_any_more_is_counted_as_dropped(dp: Datapath, pair: tuple[Host, Host]) -> None:
    """Once, whether or not a batch had begun, and also for who starts anew."""
    for count in (5, 10):
        upcalls = dp.start_upcalls()
        pair[0].send_many(udp_frame(count, number) for number in range(5))
        if count == 10:
            for _ in upcalls.misses():
                break
        dp._close_upcalls()
        dp.start_upcalls()
        assert dp.upcall_stats.dropped == count


def test_a_batch_in_the_middle_of_which_the_datapath_is_closed(dp: Datapath, pair: tuple[Host, Host]) -> None:
    """What was answered is carried out."""
    misses = dp.misses()
    dp.start_upcalls()
    pair[0].send_many(udp_frame(flow, 0) for flow in range(3))
    with pair[1].capturing(is_udp) as captured:
        miss = next(misses)
        miss.install(*forward(miss))
        dp._close_upcalls()
        captured.wait_for(1)
    misses.close()  # type: ignore[attr-defined]
    assert numbers_by_flow(captured) == {0: [0]}
    assert dp.upcall_stats.dropped == 2
    assert miss.packet == udp_frame(0, 0)


def run(dp: Datapath, handler: Callable[[Miss], None]) -> None:
    dp.on_miss(handler)
    dp.run(timeout_s=5)


def run_strictly(dp: Datapath, handler: Callable[[Miss], None]) -> None:
    dp.on_miss(handler)
    dp.run(timeout_s=5, strict=True)


def take(dp: Datapath, handler: Callable[[Miss], None]) -> None:
    for miss in dp.misses(timeout_s=5):
        handler(miss)


def serve(dp: Datapath, handler: Callable[[Miss], None]) -> None:
    async def main() -> None:
        await asyncio.wait_for(dp.serve(handler), 5)

    asyncio.run(main())


def take_asynchronously(dp: Datapath, handler: Callable[[Miss], None]) -> None:
    async def main() -> None:
        async for miss in dp.async_misses():
            handler(miss)

    asyncio.run(asyncio.wait_for(main(), 5))


LOOPS = [run, run_strictly, take, serve, take_asynchronously]


@pytest.mark.parametrize("leave", [Datapath.close, lambda dp: dp.__exit__(None, None, None)])
@pytest.mark.parametrize("loop", LOOPS)
def test_loop_ends_when_a_handler_closes_the_datapath(
    dp: Datapath,
    pair: tuple[Host, Host],
    caplog: pytest.LogCaptureFixture,
    loop: Callable[[Datapath, Callable[[Miss], None]], None],
    leave: Callable[[Datapath], None],
) -> None:
    """What was answered before is carried out, what comes behind is counted as dropped."""

    def answer(miss: Miss) -> None:
        miss.send(Output(2))
        if miss.key.udp_src == 1001:
            leave(dp)

    dp.flows.add(Match(eth_type=0x0800), Userspace())
    dp.start_upcalls()
    with pair[1].capturing(is_udp) as captured:
        pair[0].send_many(udp_frame(flow, 0) for flow in range(4))
        loop(dp, answer)
        captured.wait_for(2)
    assert set(numbers_by_flow(captured)) == {0, 1}
    assert (dp.upcall_stats.dropped, dp.upcall_stats.failed) == (2, 0)
    assert not caplog.records
    with pytest.raises(ConfigError, match="is closed"):
        dp.run()
    if dp.name in Datapath.list():
        Datapath.delete(dp.name)


def test_answer_of_a_handler_that_has_closed_the_datapath_is_too_late(
    dp: Datapath, pair: tuple[Host, Host], caplog: pytest.LogCaptureFixture
) -> None:
    """And counted once."""

    @dp.on_miss
    def answer(miss: Miss) -> tuple[Match, Output]:
        dp.close()
        return forward(miss)

    dp.start_upcalls()
    pair[0].send_many(udp_frame(flow, 0) for flow in range(3))
    dp.run(timeout_s=5)
    assert (dp.upcall_stats.drops, dp.upcall_stats.failed) == ({"closed": 2, "failed": 1}, 1)
    assert "too late to answer" in caplog.text
    Datapath.delete(dp.name)


def test_loop_ends_when_another_task_or_a_callback_closes_the_datapath(dp: Datapath, pair: tuple[Host, Host]) -> None:
    async def main() -> None:
        serving = asyncio.create_task(dp.serve())
        await asyncio.sleep(0.05)
        dp.close()
        await asyncio.wait_for(serving, 5)

    asyncio.run(main())
    with Datapath.open(dp.name) as again:
        again.on_port_event(lambda _: again.close())
        again.start_upcalls()
        subprocess.run(["ip", "link", "set", pair[0].port, "down"], check=True)
        again.run(timeout_s=5)
        assert "closed" in repr(again)
    Datapath.delete(dp.name)


@pytest.mark.parametrize("inner", [lambda dp: dp.run(timeout_s=1), lambda dp: next(dp.misses(timeout_s=1))])
def test_loop_within_a_handler_is_refused(
    dp: Datapath, pair: tuple[Host, Host], caplog: pytest.LogCaptureFixture, inner: Callable[[Datapath], object]
) -> None:
    """It costs the packet at which it was begun, no other of the batch."""

    @dp.on_miss
    def answer(miss: Miss) -> tuple[Match, Output]:
        if miss.key.udp_src == 1001:
            inner(dp)
        return forward(miss)

    dp.start_upcalls()
    pair[0].send_many(udp_frame(flow, 0) for flow in range(4))
    with pair[1].capturing(is_udp) as captured:
        dp.run(timeout_s=0.3)
        captured.wait_for(3)
    assert set(numbers_by_flow(captured)) == {0, 2, 3}
    assert (dp.upcall_stats.handled, dp.upcall_stats.failed) == (4, 1)
    assert "is at a packet of a batch already" in caplog.text


@pytest.mark.parametrize("inner", [lambda dp: dp.serve(), lambda dp: anext(dp.async_misses())])
def test_loop_within_a_coroutine_is_refused(
    dp: Datapath, pair: tuple[Host, Host], inner: Callable[[Datapath], Awaitable[object]]
) -> None:
    async def answer(miss: Miss) -> tuple[Match, Output]:
        if miss.key.udp_src == 1001:
            await inner(dp)
        if miss.key.udp_src == 1003:
            dp.stop()
        return forward(miss)

    dp.start_upcalls()
    pair[0].send_many(udp_frame(flow, 0) for flow in range(4))
    with pair[1].capturing(is_udp) as captured:
        asyncio.run(asyncio.wait_for(dp.serve(answer), 5))
        captured.wait_for(3)
    assert set(numbers_by_flow(captured)) == {0, 2, 3}
    assert (dp.upcall_stats.handled, dp.upcall_stats.failed) == (4, 1)


def test_loop_over_misses_that_was_broken_off_bars_no_other(dp: Datapath, pair: tuple[Host, Host]) -> None:
    dp.start_upcalls()
    pair[0].send_many(udp_frame(flow, 0) for flow in range(6))

    async def main() -> None:
        async for miss in dp.async_misses():
            miss.install(*forward(miss))
            break
        async for miss in dp.async_misses():
            miss.install(*forward(miss))
            break
        await dp.serve(last)

    def last(miss: Miss) -> tuple[Match, Output]:
        dp.stop()
        return forward(miss)

    with pair[1].capturing(is_udp) as captured:
        for _ in range(2):
            for miss in dp.misses():
                miss.install(*forward(miss))
                break
        asyncio.run(asyncio.wait_for(main(), 5))
        captured.wait_for(6)
    assert dp.upcall_stats.failed == 0


def test_stop_that_came_too_early_ends_the_next_loop(dp: Datapath, pair: tuple[Host, Host]) -> None:
    """Before it has handled anything; and one loop only."""
    dp.on_miss(forward)
    dp.start_upcalls()
    pair[0].send(udp_frame(0, 0))
    for loop in (
        dp.run,
        lambda: list(dp.misses()),
        lambda: asyncio.run(asyncio.wait_for(dp.serve(), 5)),
        lambda: asyncio.run(asyncio.wait_for(first(dp), 5)),
    ):
        dp.stop()
        loop()
        assert dp.upcall_stats.handled == 0
    with pair[1].capturing(is_udp) as captured:
        dp.run(timeout_s=0.3)
        captured.wait_for(1)


async def first(dp: Datapath) -> Miss | None:
    return await anext(dp.async_misses(), None)


def test_descriptors_beyond_1023(dp: Datapath, pair: tuple[Host, Host]) -> None:
    """A program with many connections waits for packets, too."""
    bounds = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (2048, bounds[1]))
    with pair[1].capturing(is_udp) as captured, ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, bounds)
        null = os.open(os.devnull, os.O_RDONLY)
        stack.callback(os.close, null)
        for _ in range(1024):
            stack.callback(os.close, os.dup(null))
        stack.callback(dp._close_upcalls)
        dp.on_miss(forward)
        assert dp.start_upcalls().fileno() > 1023
        with running(dp):
            pair[0].send(udp_frame(0, 0))
            captured.wait_for(1)
