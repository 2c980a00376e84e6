"""Policies that do not come to an end are interrupted, and nothing else is."""

from __future__ import annotations

import contextlib
import itertools
import sys
import time

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from vswitch import ConfigError, Datapath, Packet, PolicyAnswer, PolicyTimeoutError, Table, output
from vswitch.api.watchdog import Watchdog
from vswitch.policy.state import changing
from vswitch.testing import send


def udp(port: int) -> bytes:
    return bytes(Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / IP(src="10.0.0.1") / UDP(dport=port))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # one may fall into the collector's hook
def test_a_policy_that_does_not_end_is_interrupted(caplog: pytest.LogCaptureFixture) -> None:
    """It costs its packet; the others go on, and state is as it should be."""
    table: Table = Table()

    def policy(packet: Packet) -> PolicyAnswer:
        if packet.udp_dst == 1:
            while True:
                table["rounds"] = table.get("rounds", 0) + 1
        if packet.udp_dst == 2:
            while True:
                with contextlib.suppress(Exception):
                    table.get("rounds")
        if packet.udp_dst == 4:
            return (output(2) for _ in itertools.count())
        if packet.udp_dst == 5:
            return (output(port) for port in itertools.count() if port < 0)
        return output(2)

    with Datapath.simulate(ports=2) as dp:
        dp.policy(policy, limit_s=0.05)
        outcomes = [send(dp, udp(port), may_fail=True) for port in (1, 2, 3, 4, 5, 3)]
        assert [outcome.failed for outcome in outcomes] == [1, 1, 0, 1, 1, 0]
        assert [outcome.ports for outcome in outcomes] == [[], [], [2], [], [], [2]]
        assert dp.upcall_stats.drops == {"failed": 4}
        assert table["rounds"] > 2
        assert "count=0 " in repr(changing)
    assert "PolicyTimeoutError: the policy took longer than 0.05 s to decide" in caplog.text


def test_an_interruption_that_comes_too_late_is_taken_back() -> None:
    """A policy that ends just when its time is over: whatever happens, nothing is raised outside of it."""
    watchdog = Watchdog(0.002)
    watchdog.begin()
    interrupted = ended = 0
    deadline = time.monotonic() + 1.5

    def last(seconds: float) -> bool:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            pass
        return True

    try:
        with changing:
            for number in range(100000):
                if time.monotonic() > deadline:
                    break
                try:
                    ended += watchdog.call(last, 0.0015 + number % 32 / 20000)
                except PolicyTimeoutError:
                    interrupted += 1
                assert not watchdog._firing
    finally:
        watchdog.end()
    assert interrupted
    assert ended


def test_a_change_of_state_is_not_interrupted() -> None:
    watchdog = Watchdog(0.01)
    watchdog.begin()
    done = []

    def policy(_packet: object) -> None:
        with changing:
            until = time.monotonic() + 0.1
            while time.monotonic() < until:
                pass
            done.append("change")
        while True:
            pass

    try:
        with changing, pytest.raises(PolicyTimeoutError):
            watchdog.call(policy, None)
    finally:
        watchdog.end()
    assert done == ["change"]


def test_limits_that_cannot_be() -> None:
    with Datapath.simulate() as dp, pytest.raises(ConfigError, match="limit_s 0 of a policy"):
        dp.policy(lambda _packet: output(1), limit_s=0)


@pytest.mark.parametrize("depth", range(4))
def test_the_text_of_a_lock_tells_how_often_it_is_held(depth: int) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(depth):
            stack.enter_context(changing)
        assert ("count=1 " in repr(changing)) == (depth == 1)


def test_changes_are_not_interrupted_however_often_threads_take_turns() -> None:
    """Between the watchdog's look at the lock and what it does, too."""
    watchdog = Watchdog(0.001)
    interval = sys.getswitchinterval()
    amid = [False]
    found, interrupted = 0, 0

    def work() -> None:
        for _ in range(30):
            pass

    def policy(_packet: object) -> None:
        while True:
            with changing:
                amid[0] = True
                work()
                amid[0] = False
            work()

    deadline = time.monotonic() + 3
    watchdog.begin()
    try:
        sys.setswitchinterval(1e-5)
        with changing:
            while time.monotonic() < deadline:
                amid[0] = False
                with contextlib.suppress(PolicyTimeoutError):
                    watchdog.call(policy, None)
                interrupted += 1
                found += amid[0]
    finally:
        sys.setswitchinterval(interval)
        watchdog.end()
    assert found == 0
    assert interrupted > 10
