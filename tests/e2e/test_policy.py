"""Policies on real traffic: what they read decides the megaflows, what they read of state withdraws them."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Iterator

import pytest

from tests.datapaths import TEST_TYPE, frame, is_test, require_sound
from tests.lab import Host, wait_until
from tests.reactive import running
from vswitch import (
    Action,
    ConfigError,
    Datapath,
    Decision,
    Drop,
    Match,
    Output,
    Packet,
    Policy,
    PolicyAnswer,
    Rule,
    Table,
    Userspace,
    drop,
    now,
    output,
)
from vswitch.packet import build

Hosts = tuple[Host, Host, Host]


@pytest.fixture
def dp(name: str, hosts: Hosts) -> Iterator[Datapath]:
    """All three hosts are on it; no rules."""
    with Datapath.create(name, ports=[host.port for host in hosts], local=False) as datapath:
        yield datapath


def learning(table: Table) -> Policy:
    """A learning switch for ports 1 to 3."""

    def policy(packet: Packet) -> tuple[Output, ...]:
        table[packet.eth_src] = packet.in_port
        port = table.get(packet.eth_dst)
        return output(*(n for n in (1, 2, 3) if packet.in_port != n) if port is None else (port,))

    return policy


def matches(dp: Datapath) -> set[Match]:
    return {flow.match for flow in dp.flows}


def test_megaflows_are_as_wide_as_what_was_read(dp: Datapath, hosts: Hosts) -> None:
    @dp.policy
    def web_goes_to_two(packet: Packet) -> tuple[Output, ...] | Drop:
        if packet.in_port == 2:
            return output(1)
        if packet.arp_op.present or packet.tcp_dst == 80:
            return output(2)
        return drop

    url = hosts[1].serve_http(port=80, content="hello")
    with running(dp):
        for _ in range(5):
            assert hosts[0].curl(url) == "hello"
        assert hosts[0].ping(hosts[1].ip, count=3, interval_s=0.05).received == 0
    assert len(dp.flows) <= 5
    assert dp.upcall_stats.handled <= 5
    assert not dp.upcall_stats.failed
    require_sound(dp)


def test_learning_switch_withdraws_what_was_decided_by_what_it_learns(dp: Datapath, hosts: Hosts) -> None:
    table = Table(key="eth_dst")
    dp.policy(learning(table))
    h1, h2, h3 = hosts
    with running(dp):
        h2.send(frame())  # from a MAC address that is nobody's, to another
        with h3.capturing(is_test) as flooded:
            h1.send(frame())
            flooded.wait_for(1)
        assert h1.ping(h2.ip, count=3, interval_s=0.05).received == 3
        assert h3.ping(h1.ip, count=3, interval_s=0.05).received == 3
        before = matches(dp)
        to_h1 = {match for match in before if Match(eth_dst=h1.mac).covers(match)}
        assert to_h1
        table[h1.mac] = 3  # from another thread
        wait_until(lambda: not to_h1 & matches(dp), "what led to the first host is withdrawn")
        kept = {match for match in before if Match(eth_src=h1.mac).covers(match)}
        assert before - to_h1 >= matches(dp) >= before - to_h1 - kept
        del table[h1.mac]
        assert h2.ping(h1.ip, count=3, interval_s=0.05).received == 3
    require_sound(dp)


def test_state_that_changes_within_a_batch_leaves_no_stale_megaflow(dp: Datapath, hosts: Hosts) -> None:
    """The first packet is answered by a state that the second one changes, before the rule of the first is there."""
    where = Table({"port": 2})

    @dp.policy
    def policy(packet: Packet) -> tuple[Output, ...]:
        if packet.in_port == 3:
            where["port"] = 3
            return output(1)
        return output(where["port"])

    dp.start_upcalls()
    with hosts[1].capturing(is_test) as second, hosts[2].capturing(is_test) as third:
        hosts[0].send(frame(number=1))
        hosts[0].send(frame(number=2))
        wait_until(lambda: dp.stats().upcalls == 2, "two packets wait")
        hosts[2].send(frame(number=3))
        wait_until(lambda: dp.stats().upcalls == 3, "three packets wait")
        dp.run(timeout_s=0.3)
        hosts[0].send(frame(number=4))
        third.wait_for(2)
        second.settle()
    assert [int.from_bytes(each[14:18], "big") for each in second] == [1]
    assert [int.from_bytes(each[14:18], "big") for each in third] == [2, 4]
    assert {flow.actions for flow in dp.flows} == {output(1), output(3)}
    require_sound(dp)


def test_megaflow_goes_when_its_time_has_come(dp: Datapath, hosts: Hosts) -> None:
    begin = time.monotonic()

    @dp.policy
    def by_day_and_by_night(packet: Packet) -> tuple[Output, ...]:
        return output(2) if now() < begin + 1.0 else output(3)

    with running(dp), hosts[1].capturing(is_test) as second, hosts[2].capturing(is_test) as third:
        hosts[0].send(frame(number=1))
        second.wait_for(1)
        assert next(iter(dp.flows)).rule.hard_timeout_s is not None
        wait_until(lambda: len(dp.flows) == 0, "the day is over")
        hosts[0].send(frame(number=2))
        third.wait_for(1)
    assert next(iter(dp.flows)).rule.hard_timeout_s is None


def test_answer_that_counts_packets_sees_each(dp: Datapath, hosts: Hosts) -> None:
    seen = Table({"packets": 0})

    @dp.policy
    def every_second(_packet: Packet) -> tuple[Output, ...]:
        seen["packets"] += 1
        return output(2 + seen["packets"] % 2)

    with running(dp), hosts[1].capturing(is_test) as second, hosts[2].capturing(is_test) as third:
        for number in range(10):
            hosts[0].send(frame(number=number))
        second.wait_for(5)
        third.wait_for(5)
    assert len(dp.flows) == 0
    assert seen["packets"] == 10


def test_policy_that_fails_costs_its_packets_alone(
    dp: Datapath, hosts: Hosts, caplog: pytest.LogCaptureFixture
) -> None:
    @dp.policy
    def policy(packet: Packet) -> tuple[Output, ...]:
        if packet.eth_type == 0x88B5:
            raise RuntimeError("out of order")
        return output(3 - packet.in_port) if packet.in_port < 3 else None  # type: ignore[return-value]

    with caplog.at_level(logging.ERROR, "vswitch"), running(dp):
        for number in range(20):
            hosts[0].send(frame(number=number))
        hosts[2].send(bytes(12) + b"\x88\xb6" + bytes(46))
        assert hosts[0].ping(hosts[1].ip, count=3, interval_s=0.05).received == 3
        wait_until(lambda: dp.upcall_stats.failed == 21, "all that fail are counted")
    said = [record.getMessage() for record in caplog.records]
    assert len([text for text in said if "out of order" in text]) == 2  # the 1st and the 10th
    assert len([text for text in said if "returned nothing" in text]) == 1
    require_sound(dp)


def test_nobody_waits_for_a_megaflow_that_is_gone(dp: Datapath, hosts: Hosts) -> None:
    """Removed by hand, by a timeout, by a change, refused: nothing is left of it in the table that it read."""
    table = Table({"port": 2})
    dp.policy(lambda packet: Decision(output(table["port"]), idle_timeout_s=0.3) if packet.eth_type == 0x88B5 else drop)

    def waiting() -> int:
        return sum(len(each) if isinstance(each, dict) else 1 for each in table._waiting.values())

    with running(dp):
        hosts[0].send(frame())
        wait_until(lambda: waiting() == 1, "it waits")
        wait_until(lambda: waiting() == 0, "its time is over")
        hosts[0].send(frame())
        wait_until(lambda: waiting() == 1, "it waits")
        table["port"] = 3
        assert waiting() == 0
        wait_until(lambda: len(dp.flows) == 0, "it is withdrawn")
        hosts[0].send(frame())
        wait_until(lambda: waiting() == 1, "it waits")
        dp.flows.flush()
        assert waiting() == 0
        dp.flows.add(Match(in_port=2), Output(1))
        hosts[0].send(frame())
        wait_until(lambda: dp.upcall_stats.failed == 1, "its megaflow is refused, as it would overlap this one")
        assert waiting() == 0


def test_static_rules_and_a_policy_live_side_by_side(dp: Datapath, hosts: Hosts) -> None:
    """Of higher priority, and sending some packets up for the handler."""
    heard: list[bytes] = []
    dp.flows.add(Match(eth_type=0x88B5), [Userspace(b"seen"), Output(3)], priority=9)
    dp.policy(lambda packet: output(3 - packet.in_port) if packet.in_port < 3 else drop)
    dp.on_miss(lambda miss: heard.append(miss.userdata))
    with running(dp), hosts[2].capturing(is_test) as third:
        hosts[0].send(frame())
        third.wait_for(1)
        assert hosts[0].ping(hosts[1].ip, count=2, interval_s=0.05).received == 2
    assert heard == [b"seen"]


def test_a_rule_does_not_outlive_its_time_however_long_its_batch_takes(dp: Datapath, hosts: Hosts) -> None:
    """What was answered first waits for what is answered slowly; by then its time is over."""
    dp.start_upcalls()
    hosts[0].send_many(build.ethernet(0x020000000002, number, TEST_TYPE, bytes(46)) for number in range(1, 6))
    over = time.monotonic() + 0.5

    @dp.policy
    def policy(packet: Packet) -> PolicyAnswer:
        if int(packet.eth_src) == 1:
            return output(2) if now() < over else drop
        time.sleep(0.2)
        return drop

    with hosts[1].capturing(is_test) as second:
        dp.run(timeout_s=0.1)
        second.wait_for(1)
    assert dp.upcall_stats.handled == 5
    assert time.monotonic() > over
    assert [flow for flow in dp.flows if flow.actions == output(2)] == []


def test_policy_on_asyncio(dp: Datapath, hosts: Hosts) -> None:
    table = Table({1: 2, 2: 1})
    dp.policy(lambda packet: output(table[packet.in_port]) if packet.in_port < 3 else drop)

    async def main() -> None:
        dp.start_upcalls()
        serving = asyncio.create_task(dp.serve())
        ping = await asyncio.to_thread(hosts[0].ping, hosts[1].ip, count=3, interval_s=0.05)
        assert ping.received == 3
        threading.Thread(target=table.__setitem__, args=(1, 3)).start()
        for _ in range(100):
            await asyncio.sleep(0.02)
            if not [flow for flow in dp.flows if flow.actions == output(2)]:
                break
        dp.stop()
        await serving

    asyncio.run(main())
    assert not [flow for flow in dp.flows if flow.actions == output(2)]


def test_explain_touches_nothing(dp: Datapath, hosts: Hosts) -> None:
    with pytest.raises(ConfigError, match="has no policy to explain"):
        dp.explain(frame())
    ports = Table({1: 2})
    actions: tuple[Action, ...] = output(2)
    dp.policy(lambda packet: output(ports[packet.in_port]))
    said = dp.explain(frame(), in_port=1)
    assert said.rule == Rule(Match(in_port=1, recirc_id=0), actions)
    assert said.state == ("entry 1 of a table",)
    assert len(dp.flows) == 0
    assert ports._waiting == {}
    with pytest.raises(ConfigError, match="has a policy already"):
        dp.policy(lambda packet: drop)
