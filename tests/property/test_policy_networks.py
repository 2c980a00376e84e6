"""Tables of networks agree with trying each of them, and tell exactly those whose answer may have changed."""

from __future__ import annotations

import ipaddress
import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.examples import examples
from vswitch import ConfigError, Drop, Key, Match, Networks, Packet
from vswitch.policy.run import Run
from vswitch.policy.trace import Trace

prefixes = st.integers(0, 8).flatmap(
    lambda n: st.tuples(st.integers(0, 255).map(lambda v: v & -1 << 8 - n), st.just(n))
)
steps = st.lists(st.tuples(st.sampled_from(("set", "set", "delete")), prefixes, st.integers(0, 3)), max_size=25)


def written(prefix: tuple[int, int]) -> tuple[int, int]:
    return prefix[0], 0xFF ^ 0xFF >> prefix[1]


def of_ttl(ttl: int) -> Key:
    return Key(Match(eth_type=0x0800, ip_ttl=ttl).value)


def best(entries: dict[tuple[int, int], int], number: int) -> int | None:
    """By trying each."""
    there = [(length, value) for (first, length), value in entries.items() if number & -1 << 8 - length == first]
    return max(there)[1] if there else None


class Told:
    def __init__(self) -> None:
        self.times = 0

    def withdraw(self) -> None:
        self.times += 1


@examples(50)
@given(steps, st.lists(st.integers(0, 255), min_size=1, max_size=6))
def test_longest_prefix_wins_and_changes_tell(history: list[Any], numbers: list[int]) -> None:
    table = Networks(key="ip_ttl")
    entries: dict[tuple[int, int], int] = {}
    waiting: list[tuple[Run, Told]] = []
    for what, prefix, value in history:
        for number in numbers:
            told = Told()
            run = Run(lambda packet: Drop(table.lookup(packet.ip_ttl, 9)), of_ttl(number), 0)
            assert run.actions == (Drop(9 if (value_there := best(entries, number)) is None else value_there),)
            for source, part in run.reads:
                source.wait(part, told)
            waiting.append((run, told))
        before = dict(entries)
        if what == "set":
            table[written(prefix)] = entries[prefix] = value
        elif prefix in entries:
            del table[written(prefix)], entries[prefix]
        else:
            with pytest.raises(KeyError):
                del table[written(prefix)]
        for run, told in waiting:
            taken = [n for n in range(256) if of_ttl(n) in run.match]
            if any(best(before, n) != best(entries, n) for n in taken):
                assert told.times == 1, "the answer is another for one of its packets"
            elif told.times:
                assert before.get(prefix) != entries.get(prefix)
                assert any(n & -1 << 8 - prefix[1] == prefix[0] for n in taken), "what is changed is elsewhere"
        waiting = [(run, told) for run, told in waiting if not told.times]
        segments = table._of(8)
        assert all(one != other for one, other in itertools.pairwise(segments.owners))
        assert segments.starts == sorted(set(segments.starts))
    for run, told in waiting:
        for source, part in run.reads:
            source.stop_waiting(part, told)
    assert not any(ranges._waiting or ranges._by_size for ranges in table._ranges.values())


@given(steps, st.integers(0, 255), st.lists(st.integers(0, 7), max_size=3))
def test_whatever_was_not_read_has_the_same_answer(history: list[Any], number: int, asked: list[int]) -> None:
    """Also when some bits are known before, from other questions."""
    table = Networks(key="ip_ttl")
    for what, prefix, value in history:
        if what == "set":
            table[written(prefix)] = value
        else:
            table.pop(written(prefix), None)

    def ask(key: Key) -> tuple[list[object], Match]:
        trace = Trace(key)
        packet = Packet(trace)
        found = [bool(packet.ip_ttl & 1 << bit) for bit in asked]
        return [*found, table.lookup(packet.ip_ttl)], trace.match

    answer, match = ask(of_ttl(number))
    for other in range(256):
        if of_ttl(other) in match:
            assert ask(of_ttl(other)) == (answer, match)


LAN = {"10.0.0.0/8": "lan", "10.1.0.0/16": "dmz", "10.1.2.3": "host", "2001:db8::/32": "six"}


@pytest.mark.parametrize(
    ("address", "value", "read"),
    [
        ("10.1.2.3", "host", "10.1.2.3/32"),
        ("10.1.2.2", "dmz", "10.1.2.2/32"),
        ("10.1.3.3", "dmz", "10.1.3.0/24"),
        ("10.2.0.1", "lan", "10.2.0.0/15"),
        ("11.0.0.1", None, "11.0.0.0/8"),
        ("192.0.2.1", None, "128.0.0.0/1"),
    ],
)
def test_address_finds_its_network_and_reads_no_more(address: str, value: str | None, read: str) -> None:
    table = Networks(LAN)
    trace = Trace(Key(Match(ipv4_dst=address).value))
    assert table.lookup(Packet(trace).ip_dst) == value
    assert trace.match == Match(ipv4_dst=read)
    assert (Packet(trace).ip_dst in table) is (value is not None)
    assert table.lookup(address) == table.lookup(ipaddress.ip_address(address)) == value


def test_both_versions_side_by_side() -> None:
    table = Networks(LAN)
    assert table.lookup("2001:db8::1") == "six"
    assert table.lookup(Packet(Trace(Key(Match(ipv6_src="2001:db8::1").value))).ip_src) == "six"
    assert table.lookup(Packet(Trace(Key(Match(arp_op=1).value))).ip_src) is None
    assert sorted(table) == ["10.0.0.0/8", "10.1.0.0/16", "10.1.2.3/32", "2001:db8::/32"]
    assert table["10.1.0.0/16"] == "dmz"
    assert "10.1.0.0/17" not in table
    assert Networks(["10.0.0.0/8"]).lookup("10.9.9.9") is True


@pytest.mark.parametrize("key", ["nonsense", "10.0.0.1/8", "10.0.0.0/255.0.255.0", 7, "10.0.0.0/33", None])
def test_what_is_no_network_is_refused(key: object) -> None:
    with pytest.raises(ConfigError):
        Networks()[key] = 1
    with pytest.raises(ConfigError, match="must be hashable"):
        Networks()["10.0.0.0/8"] = []
    with pytest.raises(ConfigError, match="is a network, not an address"):
        Networks().lookup("10.0.0.0/8")
