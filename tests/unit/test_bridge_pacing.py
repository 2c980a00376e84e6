"""Packet-ins to a controller: how many a second, and whose."""

from __future__ import annotations

import pytest

from vswitch import ConfigError
from vswitch.bridge.pacing import Pacer

S = 10**9


def test_without_a_rate_everything_goes_at_once() -> None:
    sent: list[int] = []
    pacer = Pacer(sent.append)
    for number in range(1000):
        pacer.offer(1, number, 0)
    assert sent == list(range(1000))
    assert len(pacer) == 0


def test_a_burst_goes_at_once_and_the_rest_at_the_rate() -> None:
    sent: list[int] = []
    pacer = Pacer(sent.append, rate_per_s=100, burst=10)
    for number in range(20):
        pacer.offer(1, number, 0)
    assert sent == list(range(10))
    assert len(pacer) == 10
    pacer.turn(S // 100)
    assert sent == list(range(11))
    pacer.turn(S // 10)
    assert sent == list(range(20))
    assert pacer.delayed == 10
    assert pacer.dropped == 0


def test_the_next_turn_is_neither_too_early_nor_too_late() -> None:
    sent: list[int] = []
    pacer = Pacer(sent.append, rate_per_s=100, burst=1)
    pacer.offer(1, 0, 0)
    pacer.offer(1, 1, 0)
    pacer.turn(S // 100 - 1)
    assert sent == [0]
    pacer.turn(S // 100)
    assert sent == [0, 1]


def test_a_flood_on_one_port_costs_the_others_nothing() -> None:
    sent: list[tuple[int, int]] = []
    pacer = Pacer(sent.append, rate_per_s=1000, burst=50)
    for number in range(1000):
        pacer.offer(1, (1, number), 0)
    for number in range(10):
        pacer.offer(2, (2, number), 0)
    pacer.turn(S // 1000 * 20)
    assert [number for port, number in sent if port == 2] == list(range(10))
    assert pacer.dropped == 1000 - 50 - 50 + 10
    assert len(pacer) == 30


def test_each_port_keeps_its_order() -> None:
    sent: list[tuple[int, int]] = []
    pacer = Pacer(sent.append, rate_per_s=10, burst=30)
    for number in range(15):
        for port in (1, 2, 3):
            pacer.offer(port, (port, number), 0)
    pacer.turn(100 * S)
    for port in (1, 2, 3):
        numbers = [number for each, number in sent if each == port]
        assert numbers == sorted(numbers)


def test_who_is_gone_gets_nothing() -> None:
    sent: list[int] = []
    pacer = Pacer(sent.append, rate_per_s=1, burst=1)
    pacer.offer(1, 1, 0)
    pacer.offer(1, 2, 0)
    pacer.clear()
    pacer.turn(100 * S)
    assert sent == [1]


def test_rates_below_zero_are_refused() -> None:
    with pytest.raises(ConfigError, match="below 0"):
        Pacer(print, rate_per_s=-1)
