"""What is counted of packets that wait for workers, and against which bounds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab import Host, wait_until
from tests.reactive import forward, is_udp, owed, udp_frame
from tests.workers import Hands, at_work
from vswitch import Datapath, Match, Userspace


@pytest.fixture
def dp(name: str, pair: tuple[Host, Host]) -> Iterator[Datapath]:
    with Datapath.create(name, ports=[host.port for host in pair], local=False) as datapath:
        yield datapath


def test_packets_sent_up_by_userspace_actions_are_counted_as_arrived(dp: Datapath, pair: tuple[Host, Host]) -> None:
    dp.flows.add(Match(in_port=1), Userspace(b"new"))
    dp.start_upcalls()
    pair[0].send_many(udp_frame(0, number) for number in range(5))
    assert dp.ports.stats(1).upcalls == 5
    assert (dp.upcall_stats.arrived, dp.upcall_stats.waiting) == (5, 5)


def test_leftovers_are_counted_once_by_the_next_reader(dp: Datapath, pair: tuple[Host, Host]) -> None:
    """Of both kinds."""
    dp.flows.add(Match(in_port=1, udp_src=1000), Userspace(b"new"))
    dp.on_miss(lambda miss: miss.drop())
    dp.start_upcalls()
    pair[0].send_many(udp_frame(0, number) for number in range(5))
    dp.run(timeout_s=0.2)
    assert dp.upcall_stats.drops == {"answer": 5}
    pair[0].send_many(udp_frame(1, number) for number in range(5))
    assert dp.upcall_stats.waiting == 5


def test_packets_behind_one_that_is_looked_at_are_no_new_flows(dp: Datapath, pair: tuple[Host, Host]) -> None:
    hands = Hands(forward, blocks=lambda _: True)
    dp.limit_new_flows(1, burst=2, by=("udp_src",))
    with pair[1].capturing(is_udp) as captured, at_work(dp, hands, 2, "threads"):
        pair[0].send_many(udp_frame(1, number) for number in range(10))
        wait_until(lambda: len(hands.at) == 1, "a worker is at the first")
        wait_until(lambda: dp.upcall_stats.waiting == 10, "the others wait", 1)
        hands.open()
        captured.wait_for(10)
    assert dp.upcall_stats.drops == {}


def test_the_kernel_keeps_out_what_is_beyond_the_limit_of_a_port(dp: Datapath, pair: tuple[Host, Host]) -> None:
    """Of this port alone, and as soon as it is set."""
    upcalls = dp.start_upcalls()
    dp.limit_new_flows(1, burst=2)
    for host in pair:
        host.send_many(udp_frame(flow, 0) for flow in range(10))
    assert [dp.ports.stats(port).upcalls for port in (1, 2)] == [2, 2]
    assert [dp.ports.stats(port).drops for port in (1, 2)] == [{"upcall_rate": 8}] * 2
    dp.unlimit_new_flows()
    pair[0].send_many(udp_frame(flow, 0) for flow in range(10))
    assert dp.ports.stats(1).upcalls == 12
    while upcalls.handle(lambda miss: miss.drop()) or upcalls.busy:
        pass
    assert dp.upcall_stats.drops == {"answer": 14}


def test_the_kernel_keeps_out_what_is_beyond_the_bound_of_one_port(dp: Datapath, pair: tuple[Host, Host]) -> None:
    dp.start_upcalls()
    dp.backend.ports.bound_misses(1, 10**9, 3 * 10**9)
    for host in pair:
        host.send_many(udp_frame(flow, 0) for flow in range(10))
    assert [dp.ports.stats(port).upcalls for port in (1, 2)] == [3, 10]
    assert dp.ports.stats(1).drops == {"upcall_rate": 7}
    dp.backend.ports.bound_misses(1, 0, 0)
    pair[0].send_many(udp_frame(flow, 0) for flow in range(10))
    assert dp.ports.stats(1).upcalls == 13


def test_a_port_has_no_credit_for_packets_of_the_one_before(dp: Datapath, pair: tuple[Host, Host]) -> None:
    hands = Hands(forward, blocks=lambda _: True)
    with at_work(dp, hands, 2, "threads"):
        pair[0].send_many(udp_frame(1, number) for number in range(10))
        wait_until(lambda: dp.upcall_stats.waiting == 10, "they are held")
        dp.call(lambda: dp.ports.remove(1))
        dp.call(lambda: dp.ports.add(pair[0].port))
        hands.open()
        wait_until(lambda: dp.upcall_stats.waiting == 0, "they are done with")
    assert owed(dp, 1) == 0
