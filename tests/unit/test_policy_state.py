"""Reads of state and of the time, and what becomes of answers that follow from them."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from tests.policy import with_ports
from vswitch import (
    Action,
    ConfigError,
    Datapath,
    Decision,
    Drop,
    Key,
    Match,
    Output,
    Packet,
    Policy,
    Reply,
    SetField,
    Table,
    drop,
    now,
    output,
)
from vswitch.policy.explanation import explain
from vswitch.policy.run import Run
from vswitch.testing import send

KEY = Key(Match(in_port=1, eth_src="02:00:00:00:00:01", ipv4_dst="10.0.0.2", tcp_dst=80).value)


class Told:
    """Waits for a part of a table."""

    def __init__(self) -> None:
        self.times = 0

    def withdraw(self) -> None:
        self.times += 1


def waits(policy: Policy, now_s: float = 0.0) -> Told:
    told = Told()
    for source, part in Run(policy, KEY, now_s).reads:
        source.wait(part, told)
    return told


@pytest.mark.parametrize("priority", [-1, 65536, "x", True, 1.0])
def test_a_policy_of_no_priority_is_refused_at_once(priority: Any) -> None:
    with Datapath.simulate() as dp, pytest.raises(ConfigError, match=r"^priority .* is outside 0..65535$"):
        dp.policy(lambda _packet: drop, priority=priority)


def test_only_a_change_of_the_entry_that_was_read_tells() -> None:
    table = Table({80: 2, 443: 3})
    told = waits(lambda packet: output(table[packet.tcp_dst]))
    table[443] = 4
    table[8080] = 5
    table[80] = 2  # as it is
    assert told.times == 0
    table[80] = 9
    assert told.times == 1
    table[80] = 10
    assert told.times == 1  # once


CHANGES: list[tuple[str, Callable[[Table], object], int]] = [
    ("set", lambda table: table.__setitem__(80, 7), 1),
    ("delete", lambda table: table.__delitem__(80), 1),
    ("pop", lambda table: table.pop(80), 1),
    ("clear", lambda table: table.clear(), 1),
    ("update", lambda table: table.update({80: 7, 81: 8}), 1),
    ("setdefault that is there", lambda table: table.setdefault(80, 7), 0),
    ("new entry", lambda table: table.setdefault(81, 7), 0),
]


@pytest.mark.parametrize(("what", "change", "times"), CHANGES, ids=[row[0] for row in CHANGES])
def test_every_way_of_changing_tells(what: str, change: Callable[[Table], object], times: int) -> None:
    table = Table({80: 2, 443: 3})
    told = waits(lambda packet: output(table.get(packet.tcp_dst, 1)))
    change(table)
    assert told.times == times, what


READS_OF_ALL: list[Callable[[Table], object]] = [len, list, lambda table: sum(table.values()), bool, lambda t: t == {}]


@pytest.mark.parametrize("read", READS_OF_ALL)
def test_who_reads_all_is_told_of_what_comes_and_goes(read: Callable[[Table], object]) -> None:
    table = Table({80: 2})

    def policy(_packet: Packet) -> Drop:
        read(table)
        return drop

    told = waits(policy)
    table[81] = 3
    assert told.times
    told = waits(policy)
    del table[80]
    assert told.times


def test_absence_is_read_too() -> None:
    table = Table()
    for policy in (
        lambda packet: output(table.get(packet.tcp_dst, 1)),
        lambda packet: drop if packet.tcp_dst in table else output(1),
    ):
        told = waits(policy)
        table[80] = 2
        assert told.times == 1
        del table[80]


def test_who_stopped_waiting_is_not_told() -> None:
    table = Table({80: 2})
    told = Told()
    table.wait(80, told)
    table.stop_waiting(80, told)
    table.stop_waiting(80, told)
    table[80] = 3
    assert told.times == 0
    assert table._waiting == {}


def test_key_of_a_table_is_read_whole() -> None:
    table = Table(key="eth_dst")
    table["02:00:00:00:00:01"] = 5
    assert Run(lambda packet: output(table[packet.eth_src]), KEY, 0).match == Match(eth_src="02:00:00:00:00:01")
    pairs = Table({(1, 80): 3})
    assert Run(lambda p: output(pairs[p.in_port, p.tcp_dst]), KEY, 0).match == with_ports(in_port=1, tcp_dst=80)


def test_keys_are_values_of_the_field() -> None:
    table = Table({"10.0.0.2": "two"}, key="ipv4_dst")
    assert table[0x0A000002] == table["10.0.0.2"] == table[ipaddress.ip_address("10.0.0.2")] == "two"
    with pytest.raises(ConfigError, match="ipv4_dst"):
        table["nonsense"] = 1
    with pytest.raises(KeyError, match=r"entry 10\.0\.0\.3 of a table"):
        table["10.0.0.3"]
    with pytest.raises(ConfigError, match="no field is called"):
        Table(key="colour")


def test_values_cannot_change_unseen() -> None:
    with pytest.raises(ConfigError, match="must be hashable"):
        Table({1: [2]})


def test_value_that_was_read_of_a_packet_is_kept_as_a_number() -> None:
    table = Table()

    def policy(packet: Packet) -> Drop:
        table[packet.eth_src] = packet.in_port
        return drop

    run = Run(policy, KEY, 0)
    assert dict(table) == {0x020000000001: 1}
    assert all(type(part) is int for entry in table.items() for part in entry)
    assert run.match == Match(in_port=1, eth_src="02:00:00:00:00:01")
    assert run.lasting


def test_answer_from_what_it_has_changed_itself_holds_for_its_packet_alone() -> None:
    table = Table({"packets": 0})

    def count(_packet: Packet) -> tuple[Output, ...]:
        table["packets"] += 1
        return output(table["packets"])

    assert [Run(count, KEY, 0).actions for _ in range(3)] == [output(1), output(2), output(3)]
    assert not Run(count, KEY, 0).lasting
    assert table["packets"] == 4


# ---- the time

TIMES: list[tuple[Policy, float | None, tuple[Output, ...]]] = [
    (lambda packet: output(2 if now() >= 100.0 else 1), 10.0, output(1)),
    (lambda packet: output(2 if now() < 100.0 else 1), 10.0, output(2)),
    (lambda packet: output(2 if now() > 80.0 else 1), None, output(2)),
    (lambda packet: output(2 if now() - 60 > 40.0 else 1), 10.0, output(1)),
    (lambda packet: output(2 if now() + 5 <= 97.5 else 1), 2.5, output(2)),
    (lambda packet: output(1 if now() < 100 and now() < 95 else 2), 5.0, output(1)),
    (lambda packet: Decision(output(1 if now() < 100 else 2), idle_timeout_s=1, hard_timeout_s=4), 4.0, output(1)),
    (lambda packet: Decision(output(1 if now() < 92 else 2), hard_timeout_s=4), 2.0, output(1)),
]


@pytest.mark.parametrize(("policy", "hard_timeout_s", "actions"), TIMES)
def test_time_that_was_read_bounds_the_megaflow(
    policy: Policy, hard_timeout_s: float | None, actions: tuple[Output, ...]
) -> None:
    run = Run(policy, KEY, 90.0)
    assert run.lasting
    assert run.rule(7) == run.rule(7)
    assert (run.rule(7).hard_timeout_s, run.actions, run.rule(7).priority) == (hard_timeout_s, actions, 7)


def test_exact_time_holds_for_its_packet_alone() -> None:
    assert not Run(lambda packet: output(int(float(now())) % 2), KEY, 5.0).lasting
    assert not Run(lambda packet: output(2 if now() >= 5.0001 else 1), KEY, 5.0).lasting
    with pytest.raises(ConfigError, match="within a policy"):
        now()


# ---- answers

NONSENSE: list[tuple[Any, str]] = [
    (None, "returned nothing: return drop"),
    (3, "is not an action"),
    ("2", "is not an action"),
    ([Output(1), 2], "is not an action"),
    (Decision(None), "returned nothing"),  # type: ignore[arg-type]
    ([Output(1)] * 65, "65"),
]


@pytest.mark.parametrize(("answer", "said"), NONSENSE)
def test_nonsense_is_refused(answer: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Run(lambda packet: answer, KEY, 0)


def test_explanation_says_what_was_read_and_what_follows() -> None:
    ports = Table({80: 2})
    said = explain(lambda packet: output(ports[packet.tcp_dst]), KEY, 0, priority=3)
    assert said.rule is not None
    assert (said.match, said.actions, said.rule.priority) == (with_ports(tcp_dst=80), output(2), 3)
    assert said.state == ("entry 80 of a table",)
    assert "tcp_dst: value 0x50" in str(said)
    alone = explain(lambda p: output(int(float(now()))), KEY, 1)
    assert "none: for this packet alone, as it follows from the exact time" in str(alone)


@pytest.mark.parametrize("lazily", [False, True])
def test_what_a_generator_reads_is_recorded(lazily: bool) -> None:
    members = Table({1: True, 2: True})

    def policy(_packet: Packet) -> Iterable[Action]:
        outputs = (Output(port) for port in (1, 2, 3) if members.get(port))
        return outputs if lazily else list(outputs)

    def generator(_packet: Packet) -> Iterator[Action]:
        yield from (Output(port) for port in (1, 2, 3) if members.get(port))

    def decided(packet: Packet) -> Decision:
        return Decision(policy(packet), hard_timeout_s=9)

    for each in (policy, generator, decided):
        members[3] = False
        with Datapath.simulate() as dp:
            dp.policy(each)
            assert send(dp, bytes(60), 4).ports == [1, 2]
            members[3] = True
            outcome = send(dp, bytes(60), 4)
            assert (outcome.ports, outcome.upcalls) == ([1, 2, 3], 1)


def test_output_may_stand_among_other_actions() -> None:
    with Datapath.simulate() as dp:
        dp.policy(lambda _packet: [SetField("eth_src", 7), output(2, 3)])
        outcome = send(dp, bytes(60), 1)
        assert outcome.ports == [2, 3]
        assert outcome.packets[0][6:12] == (7).to_bytes(6, "big")


@pytest.mark.parametrize(
    ("use", "problem"),
    [
        (lambda: now() == 1.0, "no policy can know"),
        (lambda: bool(now()), "neither true nor false"),
        (lambda: {now(): 1}, "unhashable"),
        (lambda: Table({1: now()}), "of this run alone"),
    ],
)
def test_the_time_is_not_used_wrongly_in_silence(
    use: Callable[[], object], problem: str, caplog: pytest.LogCaptureFixture
) -> None:
    with Datapath.simulate() as dp:
        dp.policy(lambda _packet: output(2) if use() else drop)
        assert send(dp, bytes(60), 1, may_fail=True).failed == 1
    assert problem in caplog.text


def test_a_reply_to_a_port_that_does_not_exist_is_a_failure(caplog: pytest.LogCaptureFixture) -> None:
    with Datapath.simulate() as dp:
        dp.policy(lambda _packet: Reply(bytes(60), 99))
        assert send(dp, bytes(60), 1, may_fail=True).failed == 1
        assert dp.upcall_stats.drops == {"failed": 1}
    assert "replied to port 99, which does not exist" in caplog.text
