"""Rule sets exchanged under traffic: every packet sees the rules before or those after, and no packet is lost."""

from __future__ import annotations

import struct
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.lab import Host, Lab, patience
from vswitch import (
    ConfigError,
    Datapath,
    Match,
    NotFoundError,
    Output,
    OverlapError,
    PushVlan,
    Rule,
    SetField,
    TableFullError,
    Transaction,
)
from vswitch.packet import build

SENDER = """
import socket, sys, time
frame, seconds = bytes.fromhex(sys.argv[1]), float(sys.argv[2])
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
s.bind(("eth0", 0))
number, end = 0, time.monotonic() + seconds
while time.monotonic() < end:
    for _ in range(20):
        s.send(frame[:42] + number.to_bytes(4, "big") + frame[46:])
        number += 1
    time.sleep(0.001)
print(number)
"""


def frame(dst: int = 0x020000000099) -> bytes:
    segment = build.udp(1000, 2000, bytes(18))
    return build.ethernet(dst, 0x020000000001, 0x0800, build.ipv4(0x0A000001, 0x0A000063, 17, segment))


def is_ours(data: bytes) -> bool:
    return data[6:12] == bytes.fromhex("020000000001") and (data[12:14] in (b"\x08\x00", b"\x81\x00"))


@pytest.fixture
def hosts(lab: Lab) -> tuple[Host, Host, Host]:
    return lab.host("h1", ip="10.0.0.1/24"), lab.host("h2", ip="10.0.0.2/24"), lab.host("h3", ip="10.0.0.3/24")


@pytest.fixture
def dp(lab: Lab, hosts: tuple[Host, ...]) -> Iterator[Datapath]:
    with Datapath.create(f"t{lab.name}"[:15], ports=[host.port for host in hosts], local=False) as datapath:
        yield datapath


def rules_to(port: int, mark: int) -> list[Rule]:
    """A small pipeline in which one half alone would be seen: the mark says which set a packet saw first, the VLAN
    which one it saw after recirculation, and the output which port that set has."""
    from vswitch import Recirculate

    return [
        Rule(Match(in_port=1, recirc_id=0), (SetField("skb_mark", mark), Recirculate(1)), 10),
        Rule(Match(recirc_id=1, skb_mark=mark), (PushVlan(mark), Output(port)), 10),
        Rule(Match(recirc_id=1), (PushVlan(4000), Output(port)), 1),
    ]


def test_a_packet_sees_the_rules_before_or_after_never_between(dp: Datapath, hosts: tuple[Host, Host, Host]) -> None:
    """A packet keeps the version that it began with, also through a recirculation."""
    dp.flows.replace(rules_to(2, 100))
    with hosts[1].capturing(is_ours) as second, hosts[2].capturing(is_ours) as third:
        sender = hosts[0].popen([sys.executable, "-c", SENDER, frame().hex(), "2"], stdout=-1)
        swaps, end = 0, time.monotonic() + 2
        while time.monotonic() < end:
            swaps += 1
            dp.flows.replace(rules_to(2 + swaps % 2, 100 + swaps % 2))
        sent = int(sender.communicate(timeout=10)[0])
        second.settle()
        third.settle()
    assert swaps > 20 / patience()
    tags = {id(frames): {struct.unpack_from("!H", data, 14)[0] for data in frames} for frames in (second, third)}
    assert tags[id(second)] <= {100}
    assert tags[id(third)] <= {101}
    numbers = sorted(struct.unpack_from("!I", data, 46)[0] for data in [*second, *third])
    assert numbers == list(range(sent))


def test_replaced_and_removed_under_traffic_without_a_packet_to_a_wrong_port(
    dp: Datapath, hosts: tuple[Host, Host, Host]
) -> None:
    """Flows of others come and go, and one alternates between two outputs: nothing is lost or goes elsewhere."""
    dp.flows.add(Match(in_port=1, eth_dst=0x020000000099), Output(2))
    with hosts[1].capturing(is_ours) as second, hosts[2].capturing(is_ours) as third:
        sender = hosts[0].popen([sys.executable, "-c", SENDER, frame().hex(), "2"], stdout=-1)
        turn, end = 0, time.monotonic() + 2
        while time.monotonic() < end:
            turn += 1
            others = [Rule(Match(in_port=1, eth_dst=turn << 8 | n), (Output(3),)) for n in range(50)]
            dp.flows.add_many(others)
            dp.flows.modify(Match(in_port=1, eth_dst=0x020000000099), [SetField("ip_ttl", turn % 200 + 1), Output(2)])
            dp.flows.delete_many(others)
        sent = int(sender.communicate(timeout=10)[0])
        second.settle()
    assert turn > 10
    assert len(second) == sent
    assert not third


def test_once_a_call_returns_no_packet_sees_the_old_rule(dp: Datapath, hosts: tuple[Host, Host, Host]) -> None:
    """Each kind of change, and a packet right after it."""
    h1, h2, h3 = hosts
    match = Match(in_port=1, eth_dst=0x020000000099)
    changes = [
        (lambda: dp.flows.add(match, Output(2)), h2),
        (lambda: dp.flows.modify(match, Output(3)), h3),
        (lambda: dp.flows.add(Match(in_port=1), Output(2), priority=5), h2),
        (lambda: dp.flows.delete(Match(in_port=1), 5), h3),
        (lambda: dp.flows.replace([Rule(match, (Output(2),), 7), Rule(match, (Output(3),), 3)]), h2),
        (lambda: dp.flows.delete(match, 7), h3),
    ]
    for change, expected in changes:
        with h2.capturing(is_ours) as second, h3.capturing(is_ours) as third:
            change()
            h1.send(frame(), times=20)
            (second if expected is h2 else third).wait_for(20)
            assert (len(second), len(third)) == ((20, 0) if expected is h2 else (0, 20))
    with h2.capturing(is_ours) as second, h3.capturing(is_ours) as third:
        dp.flows.flush()
        h1.send(frame(), times=20)
        second.settle()
        assert not second
        assert not third


def delete_what_is_not_there(transaction: Transaction) -> None:
    transaction.add(Match(in_port=3), Output(1), priority=5)
    transaction.delete(Match(in_port=9), 5)


def fail(transaction: Transaction) -> None:
    transaction.flush()
    raise ZeroDivisionError


def add_twice(transaction: Transaction) -> None:
    transaction.add(Match(in_port=3), Output(1))
    transaction.add(Match(in_port=3), Output(2))


def test_a_transaction_that_fails_changes_nothing(dp: Datapath) -> None:
    before = [Rule(Match(in_port=1), (Output(2),), 5), Rule(Match(in_port=2), (Output(1), Output(3)), 5)]
    dp.flows.replace(before)
    version = dp._kernel.flows.version
    impossible: list[tuple[type[Exception], list[Rule]]] = [
        (OverlapError, [Rule(Match(in_port=1), (), 5), Rule(Match(tcp_dst=80), (), 5)]),
        (TableFullError, [Rule(Match(ipv4_dst=n), (Output(1),)) for n in range(70000)]),
        (TableFullError, [Rule(Match(ipv4_dst=(1 << n, 1 << n), tcp_dst=n), (), n) for n in range(32) for _ in range(1)]
         + [Rule(Match(ipv6_dst=(1 << n, 1 << n)), (), 100 + n) for n in range(128)]
         + [Rule(Match(eth_dst=(1 << n, 1 << n)), (), 300 + n) for n in range(48)]
         + [Rule(Match(eth_src=(1 << n, 1 << n)), (), 400 + n) for n in range(48)]
         + [Rule(Match(in_port=(1 << n, 1 << n)), (), 500 + n) for n in range(16)]),
    ]  # fmt: skip
    for error, rules in impossible:
        with pytest.raises(error):
            dp.flows.replace(rules)
        assert {flow.rule for flow in dp.flows} == set(before)
        assert len(dp.flows.masks) == 1
    for error, fill in ((NotFoundError, delete_what_is_not_there), (ZeroDivisionError, fail), (ConfigError, add_twice)):
        with pytest.raises(error), dp.transaction() as transaction:
            fill(transaction)
    assert {flow.rule for flow in dp.flows} == set(before)
    assert dp._kernel.flows.version == version


def test_rules_that_stay_keep_their_statistics(dp: Datapath, hosts: tuple[Host, Host, Host]) -> None:
    stays = Rule(Match(in_port=1, eth_dst=0x020000000099), (Output(2),), 3)
    dp.flows.replace([stays, Rule(Match(in_port=2), (Output(1),), 3)])
    hosts[0].send(frame(), times=7)
    dp.flows.replace([stays, Rule(Match(in_port=3), (Output(1),), 3)])
    hosts[0].send(frame(), times=2)
    stats = dp.flows.get(stays).stats
    assert (stats.packets, stats.bytes) == (9, 9 * len(frame()))
    assert stats.used_s is not None
    assert stats.used_s < 5


def test_rules_that_no_packet_can_reach_are_reported(dp: Datapath) -> None:
    wide, hidden = Rule(Match(tcp_dst=80), (Output(2),), 9), Rule(Match(tcp_dst=80, in_port=1), (Output(3),), 5)
    free = Rule(Match(tcp_dst=81), (Output(3),), 5)
    assert dp.flows.replace([wide, hidden, free]) == [(hidden, wide)]
    assert dp.flows.replace([wide, free]) == []


def test_rules_hidden_by_what_stays_are_reported(dp: Datapath) -> None:
    wide, other = Rule(Match(tcp_dst=80), (Output(2),), 9), Rule(Match(in_port=1), (Output(2),), 7)
    hidden, free = Rule(Match(tcp_dst=80, in_port=1), (Output(3),), 5), Rule(Match(tcp_dst=81), (Output(3),), 5)
    above, beside = Rule(Match(tcp_dst=80, in_port=1), (), 10), Rule(Match(in_port=2), (), 9)
    dp.flows.add_many([wide, other])
    with dp.transaction() as transaction:
        for rule in (hidden, free, above):
            transaction.add(rule)
    assert transaction.unreachable == [(hidden, above)]
    dp.flows.delete_many([hidden, free, above])
    for removed, hiding in ((), wide), ((wide,), other), ((wide, other), None):
        with dp.transaction() as transaction:
            for rule in removed:
                transaction.delete(rule)
            transaction.add(hidden)
            transaction.add(free)
        assert transaction.unreachable == ([(hidden, hiding)] if hiding else [])
        dp.flows.replace([wide, other])
    with dp.transaction() as transaction:
        transaction.flush()
        transaction.add(hidden)
    assert transaction.unreachable == []
    refused = dp.transaction()
    for rule in (wide, beside, free):
        refused.add(rule)
    with pytest.raises(OverlapError):
        refused.commit()
    assert refused.unreachable == []


def test_what_was_committed_by_hand_is_not_committed_again(dp: Datapath) -> None:
    first, second = Rule(Match(in_port=1), (Output(2),), 9), Rule(Match(in_port=1, tcp_dst=80), (Output(3),), 5)
    dp.flows.add(Match(in_port=2), Output(1))
    with dp.transaction() as transaction:
        transaction.delete(Match(in_port=2))
        transaction.add(first)
        transaction.commit()
        version = dp._kernel.flows.version
        assert {flow.rule for flow in dp.flows} == {first}
    assert dp._kernel.flows.version == version
    with dp.transaction() as transaction:
        transaction.flush()
        transaction.add(first)
        transaction.commit()
        transaction.add(second)
    assert {flow.rule for flow in dp.flows} == {first, second}
    assert transaction.unreachable == [(second, first)]


NO_RULES: list[tuple[Callable[[Any], object], str]] = [
    (lambda flows: flows.add("in_port(1)", Output(2)), "a match is needed, not 'in_port(1)'"),
    (lambda flows: flows.add(5, Output(2)), "a match is needed, not 5"),
    (lambda flows: flows.add(Rule(5, ())), "a match is needed, not 5"),  # type: ignore[arg-type]
    (lambda flows: flows.put(None, Output(2)), "a match is needed, not None"),
    (lambda flows: flows.modify(5, Output(2)), "a match is needed, not 5"),
    (lambda flows: flows.delete("any"), "a match is needed, not 'any'"),
    (lambda flows: flows.get(5), "a match is needed, not 5"),
    (lambda flows: flows.add_many([1]), "a rule is needed, not 1"),
    (lambda flows: flows.add_many([Match()]), "a rule is needed, not Match()"),
    (lambda flows: flows.replace([1]), "a match is needed, not 1"),
    (lambda flows: flows.delete_many([1]), "a match is needed, not 1"),
]


def test_what_is_no_rule_is_refused_by_name(dp: Datapath) -> None:
    for change, said in NO_RULES:
        with pytest.raises(ConfigError) as caught:
            change(dp.flows)
        assert str(caught.value) == said
    assert len(dp.flows) == 0


def test_many_are_deleted_by_their_matches(dp: Datapath) -> None:
    dp.flows.add_many([Rule(Match(in_port=port), (), priority) for port in (1, 2) for priority in (0, 5)])
    assert [flow.priority for flow in dp.flows.delete_many([Match(in_port=1), Match(in_port=9)])] == [0]
    rules: list[Match | Rule] = [Match(in_port=1), Rule(Match(in_port=2), (), 0)]
    assert [flow.priority for flow in dp.flows.delete_many(rules, 5)] == [5, 0]
    assert [flow.rule for flow in dp.flows] == [Rule(Match(in_port=2), (), 5)]


def test_proactive_priorities_as_they_are_written(dp: Datapath, hosts: tuple[Host, Host, Host]) -> None:
    """TCP port 80 goes to port 3, everything else to port 2."""
    dp.flows.replace([Rule(Match(tcp_dst=80), (Output(3),), 10), Rule(Match(in_port=1), (Output(2),), 1)])
    segments = [build.tcp(5000, port, 0, 0, flags=2) for port in (80, 81)]
    with hosts[1].capturing(is_ours) as second, hosts[2].capturing(is_ours) as third:
        for segment in segments:
            packet = build.ipv4(0x0A000001, 0x0A000063, 6, segment)
            hosts[0].send(build.ethernet(0x020000000099, 0x020000000001, 0x0800, packet))
        hosts[0].send(frame())
        second.wait_for(2)
        third.wait_for(1)
    assert [struct.unpack_from("!H", data, 36)[0] for data in third] == [80]
    assert dp.stats().missed == 0


def test_statistics_have_packets_bytes_age_and_tcp_flags(dp: Datapath, hosts: tuple[Host, Host, Host]) -> None:
    dp.flows.add(Match(in_port=1), Output(2))
    for flags in (0x02, 0x10, 0x11):
        packet = build.ipv4(0x0A000001, 0x0A000063, 6, build.tcp(5000, 80, 0, 0, flags=flags))
        hosts[0].send(build.ethernet(0x020000000099, 0x020000000001, 0x0800, packet))
    flow = dp.flows.delete(Match(in_port=1))
    assert (flow.stats.packets, flow.stats.bytes, flow.stats.tcp_flags) == (3, 3 * 54, 0x13)
    assert 0 <= (flow.stats.used_s or 0) <= flow.stats.age_s + 0.01
