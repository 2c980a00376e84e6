"""What a policy writes is as much a reason for its megaflow as what it reads: a packet that the megaflow takes would
have written it again."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from random import Random
from typing import Any, NamedTuple

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

from vswitch import (
    ConfigError,
    Datapath,
    Decision,
    Match,
    Miss,
    Networks,
    Output,
    Packet,
    PolicyAnswer,
    SetField,
    Table,
    Userspace,
    Workers,
    by_port,
    drop,
    now,
    output,
)
from vswitch.api.policies import _overlapping
from vswitch.fields import FIELDS
from vswitch.policy.state import changing
from vswitch.testing import send

A, B, C = (f"02:00:00:00:00:0{number}" for number in (1, 2, 3))


@pytest.fixture
def dp() -> Iterator[Datapath]:
    with Datapath.simulate(ports=3) as datapath:
        yield datapath


def tcp(src: str = A, dst: str = B, sport: int = 40000, dport: int = 80, flags: str = "A") -> bytes:
    return bytes(
        Ether(src=src, dst=dst) / IP(src="10.0.0.1", dst="10.0.0.2") / TCP(sport=sport, dport=dport, flags=flags)
    )


def learning(place_of: Any, ports: tuple[int, ...]) -> Any:
    def policy(packet: Packet) -> PolicyAnswer:
        place_of[packet.eth_src] = packet.in_port
        port = place_of.get(packet.eth_dst)
        if port is None:
            return output(*(number for number in ports if packet.in_port != number))
        return output(port) if packet.in_port != port else drop

    return policy


def test_a_host_that_comes_back_is_found_there(dp: Datapath) -> None:
    dp.policy(learning(Table(key="eth_src"), (1, 2, 3)))
    for src, dst, port in ((A, B, 1), (B, A, 2), (A, B, 1), (A, B, 3)):
        send(dp, tcp(src, dst), port)
    assert send(dp, tcp(B, A), 2).ports == [3]
    assert send(dp, tcp(A, B), 1).upcalls == 1
    assert send(dp, tcp(B, A), 2).ports == [1]


@pytest.mark.parametrize("kind", [Table, Networks])
@pytest.mark.parametrize("seed", range(12))
def test_megaflows_are_as_if_each_packet_had_been_asked_about(kind: Any, seed: int) -> None:
    """Hosts wander; a switch of Python alone says what each packet is to do."""
    chance = Random(seed)
    places: Any = kind(key="eth_src")
    naive: dict[str, int] = {}
    with Datapath.simulate(ports=3) as dp:
        dp.policy(learning(places, (1, 2, 3)))
        for _ in range(150):
            src, dst = chance.sample((A, B, C), 2)
            port = naive.get(src, 1) if chance.random() < 0.8 else chance.randrange(1, 4)
            naive[src] = port
            goes_to = {naive[dst]} if dst in naive else {1, 2, 3}
            assert set(send(dp, tcp(src, dst), port).ports) == goes_to - {port}


def test_sessions_that_end_can_begin_again(dp: Datapath) -> None:
    sessions: Table = Table()

    @dp.policy
    def policy(packet: Packet) -> PolicyAnswer:
        if packet.in_port == 1:
            session = (packet.tcp_src, packet.tcp_dst)
            if packet.tcp_flags & 2:
                sessions[session] = True
            elif packet.tcp_flags & 1:
                sessions.pop(session, None)
            return output(2)
        return output(1) if (packet.tcp_dst, packet.tcp_src) in sessions else drop

    for _ in range(3):
        assert send(dp, tcp(flags="S"), 1).ports == [2]
        assert send(dp, tcp(B, A, 80, 40000), 2).ports == [1]
        assert send(dp, tcp(flags="FA"), 1).ports == [2]
        assert send(dp, tcp(B, A, 80, 40000), 2).ports == []


def test_who_clears_a_table_is_asked_again_when_something_is_in_it(dp: Datapath) -> None:
    table: Table = Table({1: 1})

    @dp.policy
    def policy(packet: Packet) -> PolicyAnswer:
        if packet.in_port == 2:
            table.clear()
        else:
            table[int(packet.tcp_dst)] = 1
        return output(3)

    send(dp, tcp(), 2)
    assert send(dp, tcp(), 2).upcalls == 0
    send(dp, tcp(), 1)
    assert send(dp, tcp(), 2).upcalls == 1


# ---- explain


def test_explain_leaves_the_order_of_entries_as_it_is(dp: Datapath) -> None:
    table, networks = Table({1: 1, 2: 2, 3: 3}), Networks(["10.0.0.0/8", "11.0.0.0/8"])

    @dp.policy
    def policy(_packet: Packet) -> PolicyAnswer:
        del table[next(iter(table))]
        del networks[next(iter(networks))]
        return drop

    dp.explain(tcp())
    assert (list(table), list(networks)) == ([1, 2, 3], ["10.0.0.0/8", "11.0.0.0/8"])
    assert networks.lookup("10.1.1.1")


def test_explain_uses_up_no_recirculation_ids(dp: Datapath) -> None:
    from vswitch import rewrite

    dp.policy(lambda _packet: rewrite(SetField("eth_dst", 1), then=lambda _: output(2)))
    for _ in range(300):
        dp.explain(tcp())
    assert send(dp, tcp()).ports == [2]


def test_explain_tells_of_what_is_written_and_of_the_time(dp: Datapath) -> None:
    table: Table = Table()
    end = dp.time() + 60

    @dp.policy
    def policy(packet: Packet) -> PolicyAnswer:
        table["seen"] = packet.in_port
        return output(2) if now() < end else drop

    told = dp.explain(tcp(), in_port=1)
    assert "entry 'seen' of a table, written" in told.state
    assert f"the time: it is {dp.time():.6f}, and that it is not {end:.6f} yet" in told.state
    assert told.rule is not None
    assert told.rule.hard_timeout_s == pytest.approx(60)


@pytest.mark.parametrize(
    ("policy", "why"),
    [
        (lambda packet: output(packet.frame[0] + 1), "it follows from the bytes of the frame"),
        (lambda _packet: output(int(float(now()))), "it follows from the exact time"),
    ],
)
def test_explain_says_why_there_is_no_megaflow(dp: Datapath, policy: Any, why: str) -> None:
    dp.policy(policy)
    assert dp.explain(tcp()).alone == why


# ---- time


def test_the_boundary_of_a_time_is_where_it_is_said_to_be(dp: Datapath) -> None:
    end = dp.time() + 1
    dp.policy(lambda _packet: output(2) if now() <= end else drop)
    assert send(dp, tcp()).ports == [2]
    dp.advance(1)
    assert dp.time() == end
    assert send(dp, tcp()).ports == [2]
    dp.advance(0.001)
    assert send(dp, tcp()).ports == []


def test_now_is_not_kept(dp: Datapath) -> None:
    kept: list[Any] = []

    @dp.policy
    def policy(_packet: Packet) -> PolicyAnswer:
        kept.append(now())
        return output(2) if kept[0] < now() else drop

    with pytest.raises(TypeError, match="what a policy keeps of a time is float"):
        send(dp, tcp())


# ---- packets and their fields


def test_what_is_read_of_a_copy_is_read(dp: Datapath) -> None:
    dp.policy(lambda packet: output(2) if copy.deepcopy(packet).tcp_dst == 80 else drop)
    assert send(dp, tcp(dport=80)).ports == [2]
    assert send(dp, tcp(dport=22)).ports == []


def test_a_packet_that_is_kept_cannot_be_read_later(dp: Datapath) -> None:
    kept: list[Packet] = []

    @dp.policy
    def policy(packet: Packet) -> PolicyAnswer:
        kept.append(packet)
        return output(2) if kept[0].tcp_src == 1 else drop

    send(dp, tcp(sport=1))
    with pytest.raises(ConfigError, match="this packet's policy has answered"):
        send(dp, tcp(sport=2))


def test_tables_keep_numbers_of_fields_also_within_tuples(dp: Datapath) -> None:
    table: Table = Table()

    @dp.policy
    def policy(packet: Packet) -> PolicyAnswer:
        table[1] = (packet.in_port, ("x", packet.tcp_dst))
        return output(2)

    send(dp, tcp(), 3)
    assert table[1] == (3, ("x", 80))
    assert [type(table[1][0]), type(table[1][1][1])] == [int, int]


@pytest.mark.parametrize(
    ("question", "value"),
    [
        ("1 << packet.in_port", 2),
        ("packet.tcp_dst / 2", 40.0),
        ("divmod(packet.tcp_dst, 7)", (11, 3)),
        ("2 ** packet.in_port", 2),
        ("packet.in_port ** 2", 1),
        ("1000 % packet.tcp_dst", 40),
        ("1000 // packet.tcp_dst", 12),
        ("divmod(1000, packet.tcp_dst)", (12, 40)),
        ("160 / packet.tcp_dst", 2.0),
        ("-packet.in_port", -1),
        ("+packet.in_port", 1),
        ("~packet.in_port", -2),
        ("4 >> packet.in_port", 2),
        ("packet.tcp_dst >> packet.in_port", 40),
        ("packet.tcp_dst << packet.in_port", 160),
        ("packet.tcp_dst // packet.in_port", 80),
        ("packet.tcp_dst % packet.in_port", 0),
        ("int(packet.ipv4_src & packet.ipv4_dst)", 0x0A000000),
        ("f'{packet.tcp_dst:d} {packet.tcp_dst:#x} {packet.ipv4_src:>10}'", "80 0x50   10.0.0.1"),
    ],
)
def test_fields_reckon_as_numbers(dp: Datapath, question: str, value: object) -> None:
    found: list[object] = []

    @dp.policy
    def policy(packet: Packet) -> PolicyAnswer:
        found.append(eval(question, {"packet": packet}))
        return drop

    send(dp, tcp())
    assert found == [value]


def test_actions_take_fields_of_the_packet(dp: Datapath) -> None:
    @dp.policy
    def policy(packet: Packet) -> PolicyAnswer:
        back: Any = packet.in_port
        new: Any = packet.eth_src
        return SetField("eth_dst", new), Output(back)

    outcome = send(dp, tcp(), 3)
    assert (outcome.ports, Ether(outcome.packets[0]).dst) == ([3], A)


# ---- arguments


@pytest.mark.parametrize("workers", ["3", 2.5, [1]])
def test_workers_are_a_number_or_workers(dp: Datapath, workers: Any) -> None:
    with pytest.raises(ConfigError, match="of workers is outside"):
        dp.run(workers=workers)


def test_what_is_no_policy_is_refused(dp: Datapath) -> None:
    with pytest.raises(ConfigError, match="3 is no function"):
        dp.policy(3)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="by in_port: '1' is outside"):
        by_port({"1": lambda _: drop})  # type: ignore[dict-item]
    with pytest.raises(ConfigError, match="weights None of workers"):
        Workers(weights=None)  # type: ignore[arg-type]
    dp.policy(lambda _packet: drop)
    with pytest.raises(ConfigError, match="in_port -1 is outside"):
        dp.explain(tcp(), in_port=-1)


@pytest.mark.parametrize("workers", [None, 2])
def test_a_handler_of_serve_leaves_misses_to_the_policy(dp: Datapath, workers: int | None) -> None:
    dp.policy(lambda _packet: output(2))

    async def handler(miss: Miss) -> None:
        miss.send(Output(3))

    dp.start_upcalls()
    dp.receive(tcp())
    asyncio.run(dp.serve(handler, workers=workers))
    assert [sent.port for sent in dp.sent()] == [2]


def test_a_change_by_a_signal_handler_is_no_write_of_the_policy(dp: Datapath) -> None:
    table: Table = Table({1: 2})

    def interrupt(_number: int, _frame: object) -> None:
        table[1] = 3

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:

        @dp.policy
        def policy(_packet: Packet) -> PolicyAnswer:
            port = table[1]
            signal.raise_signal(signal.SIGUSR1)
            return Decision(output(port))

        assert send(dp, tcp()).installed == 0
        assert send(dp, tcp()).ports == [3]
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_megaflows_of_what_is_written_are_forgotten_with_it(dp: Datapath) -> None:
    table = Table(key="eth_src")
    dp.policy(learning(table, (1, 2, 3)))
    send(dp, tcp())
    assert table._waiting
    dp.flows.delete_within(Match())
    assert not table._waiting


# ---- containers


class Session(NamedTuple):
    host: Any
    port: Any


@dataclasses.dataclass(frozen=True)
class Place:
    port: Any


def test_named_tuples_keep_numbers_of_fields(dp: Datapath) -> None:
    table: Table = Table()

    @dp.policy
    def policy(packet: Packet) -> PolicyAnswer:
        key = Session(packet.eth_src, packet.in_port)
        known = table.get(key)
        table[key] = Session(packet.tcp_dst, 1)
        return output(2) if known == Session(80, 1) else output(3)

    assert [send(dp, tcp()).ports for _ in "abc"] == [[3], [2], [2]]
    assert list(table) == [Session(0x020000000001, 1)]


def test_a_frozen_set_of_fields_is_one_of_their_numbers(dp: Datapath) -> None:
    """Who speaks with whom, in either direction; and what a table keeps is of no packet any more."""
    seen, values = Table(), Table()

    @dp.policy
    def policy(packet: Packet) -> PolicyAnswer:
        pair = frozenset((packet.ipv4_src, packet.ipv4_dst))
        if pair not in seen:
            seen[pair] = packet.in_port
            values[int(packet.in_port)] = pair
        return output(int(seen[pair]) + 1)

    assert [send(dp, tcp()).ports for _ in range(3)] == [[2], [2], [2]]
    assert dict(seen) == {frozenset((0x0A000001, 0x0A000002)): 1}
    assert dict(values) == {1: frozenset((0x0A000001, 0x0A000002))}


def test_a_tuple_that_is_not_made_of_its_parts_is_refused() -> None:
    table = Table()
    with pytest.raises(ConfigError, match="is a tuple that is not made of its parts alone"):
        table["begin"] = time.gmtime(0)
    table["begin"] = tuple(time.gmtime(0))
    assert table["begin"][0] == 1970


@pytest.mark.parametrize("place", ["key", "value"])
def test_fields_within_other_objects_are_refused_at_once(dp: Datapath, place: str) -> None:
    table: Table = Table()

    @dp.policy
    def policy(packet: Packet) -> PolicyAnswer:
        odd = Place(packet.in_port)
        table[odd if place == "key" else 1] = odd if place == "value" else 1
        return output(2)

    with pytest.raises(ConfigError, match="holds a field of a packet"):
        send(dp, tcp())


def test_an_ipv6_address_is_no_key_of_a_table_of_ipv4_addresses(dp: Datapath) -> None:
    table = Table({"10.0.0.1": 3}, key="ipv4_src")
    dp.policy(lambda packet: output(table.get(packet.ip_src, 1)))
    six = bytes(Ether(src=A, dst=B) / IPv6(src="::10.0.0.1", dst="::2") / TCP())
    assert send(dp, tcp()).ports == [3]
    assert send(dp, six).ports == [1]


def test_an_ipv6_address_is_not_put_into_a_table_of_ipv4_addresses(dp: Datapath) -> None:
    table = Table(key="ipv4_src")

    @dp.policy
    def policy(packet: Packet) -> PolicyAnswer:
        table[packet.ip_src] = 1
        return output(2)

    with pytest.raises(ConfigError, match="no entry for an address of IPv6"):
        send(dp, bytes(Ether(src=A, dst=B) / IPv6(src="::10.0.0.1", dst="::2") / TCP()))


@pytest.mark.parametrize(("entry", "default", "found"), [("10.0.0.1", 0, 5), ("10.0.0.0/8", 7, 7)])
def test_networks_pop_just_that_address(dp: Datapath, entry: str, default: int, found: int) -> None:
    networks = Networks({entry: 5})
    heard: list[int] = []

    @dp.policy
    def policy(packet: Packet) -> PolicyAnswer:
        heard.append(networks.pop(packet.ip_src, default))
        return output(2)

    send(dp, tcp())
    assert (heard, len(networks)) == ([found], int(found == default))


def test_networks_set_a_default_beside_a_shorter_prefix(dp: Datapath) -> None:
    networks = Networks({"10.0.0.0/8": 5})
    dp.policy(lambda packet: output(networks.setdefault(packet.ip_src, 2)))
    assert [send(dp, tcp()).ports for _ in "ab"] == [[2], [2]]
    assert networks.lookup("10.0.0.1") == 2
    with pytest.raises(KeyError, match=r"10\.9\.9\.9"):
        networks.pop("10.9.9.9")


# ---- when rules of a batch go, or come late


def test_a_flush_in_the_middle_of_a_batch_takes_its_answers_too(dp: Datapath) -> None:
    table: Table = Table({"port": 2})

    @dp.policy
    def policy(packet: Packet) -> PolicyAnswer:
        return output(table["port"]) if packet.tcp_dst == 80 else Userspace(b"x")

    send(dp, tcp(dport=99))

    @dp.on_miss
    def flush(_miss: Miss) -> None:
        dp.flows.flush()

    dp.receive(tcp(dport=80))
    dp.receive(tcp(dport=99))
    dp.run()
    table["port"] = 3
    assert send(dp, tcp(dport=80)).ports == [3]


@pytest.mark.parametrize("timeout_s", [1.0, 5.0])
def test_a_hard_timeout_counts_from_the_answer(dp: Datapath, timeout_s: float) -> None:
    """Not from when its batch began: the handler takes 0.3 s for each packet."""
    dp.start_upcalls()
    for number in range(10):
        dp.receive(tcp(sport=1000 + number))

    @dp.on_miss
    def answer(miss: Miss) -> None:
        dp.advance(0.3)
        miss.install(Match.exact(miss.key, "tcp_src"), Output(2), hard_timeout_s=timeout_s)

    dp.run()
    left = sorted(flow.rule.hard_timeout_s or 0 for flow in dp.flows)
    expected = [timeout_s - 0.3 * later for later in range(10) if timeout_s > 0.3 * later]
    assert left == pytest.approx(sorted(expected))


def test_a_broken_off_batch_does_not_age_what_is_answered_later(dp: Datapath) -> None:
    dp.start_upcalls()
    dp.receive(tcp(sport=1))
    dp.receive(tcp(sport=2))
    for _ in dp.misses():
        break
    dp.advance(6)
    dp.on_miss(lambda miss: miss.install(Match.exact(miss.key, "tcp_src"), Output(2), hard_timeout_s=5))
    dp.run()
    assert [flow.rule.hard_timeout_s for flow in dp.flows] == [5]


@pytest.mark.parametrize("ports", ["veth1", True, -1])
def test_simulated_ports_are_names_or_a_number(ports: Any) -> None:
    with pytest.raises(ConfigError, match="are neither names nor a number"):
        Datapath.simulate(ports)


def test_fields_may_be_named_in_part() -> None:
    assert Workers(similar=("in_port", "ipv4_src/24")).mask == (
        FIELDS["in_port"].mask | Match(ipv4_src=(0, 0xFFFFFF00)).mask & FIELDS["ipv4_src"].mask
    )
    with pytest.raises(ConfigError, match="prefix /33 is longer"):
        Workers(similar=("ipv4_src/33",))


@pytest.mark.parametrize("seed", range(20))
def test_what_stands_in_the_way_of_many_is_what_overlaps_one(seed: int) -> None:
    chance = Random(seed)

    def matches(count: int) -> list[Match]:
        masks = [chance.getrandbits(12) for _ in range(4)]
        return [Match.from_ints(chance.getrandbits(12), chance.choice(masks)) for _ in range(count)]

    standing, new = matches(60), matches(8)
    assert _overlapping(standing, new) == [one for one in standing if any(one.overlaps(other) for other in new)]


# ---- threads, forks, and who else changes things


def test_an_update_that_is_refused_changes_nothing(dp: Datapath) -> None:
    table = Table({"10.0.0.1": 1}, key="ipv4_src")

    @dp.policy
    def policy(packet: Packet) -> PolicyAnswer:
        if packet.tcp_dst == 99:
            table.update([("10.0.0.1", 2), (packet.ip_src, 3)])
        return output(table.get(packet.ipv4_src, 3))

    assert send(dp, tcp()).ports == [1]
    outcome = send(dp, bytes(Ether(src=A, dst=B) / IPv6() / TCP(dport=99)), may_fail=True)
    assert (outcome.failed, table["10.0.0.1"]) == (1, 1)
    assert send(dp, tcp()).ports == [1]


def test_other_threads_use_tables_while_a_policy_hashes_fields(dp: Datapath) -> None:
    table: Table = Table()
    problems: list[Exception] = []
    over = threading.Event()

    def use() -> None:
        while not over.is_set():
            try:
                table["x"] = "text"
                table.get("y")
                assert dict(table.items()) == {"x": "text"}
            except Exception as problem:  # noqa: BLE001
                problems.append(problem)
                return

    dp.policy(lambda packet: output(2) if packet.tcp_src in {1, 2, 3} else drop)
    thread = threading.Thread(target=use)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    thread.start()
    try:
        for number in range(400):
            send(dp, tcp(sport=number))
    finally:
        over.set()
        thread.join()
        sys.setswitchinterval(before)
    assert problems == []


def test_the_thread_that_runs_it_changes_state_at_once() -> None:
    """It is not the one that made the datapath."""
    table: Table = Table({"port": 2})
    found = []
    with Datapath.simulate(ports=4) as dp:
        dp.policy(lambda _packet: output(table["port"]))

        def use() -> None:
            for port in (2, 3, 4):
                table["port"] = port
                found.append(send(dp, tcp()).ports)

        thread = threading.Thread(target=use)
        thread.start()
        thread.join()
        table["port"] = 2
        found.append(send(dp, tcp()).ports)
    assert found == [[2], [3], [4], [2]]


def test_a_child_forked_while_a_policy_runs_may_change_tables(dp: Datapath) -> None:
    table: Table = Table({"port": 2})
    began, over = threading.Event(), threading.Event()

    def hold() -> None:
        with changing:
            began.set()
            over.wait(20)

    thread = threading.Thread(target=hold)
    thread.start()
    began.wait(20)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads and fork, which this is about
        child = os.fork()
    if not child:
        signal.alarm(10)
        table["port"] = 3
        os._exit(7)
    over.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_who_puts_a_rule_over_a_megaflow_of_the_policy_keeps_it(dp: Datapath) -> None:
    table: Table = Table({"port": 2})
    dp.policy(lambda _packet: output(table["port"]))
    send(dp, tcp())
    (flow,) = dp.flows
    dp.flows.put(flow.rule.match, Output(1), priority=flow.rule.priority)
    table["port"] = 3
    assert send(dp, tcp()).ports == [1]


def test_a_policy_that_is_a_coroutine_is_refused(dp: Datapath) -> None:
    async def policy(_packet: Packet) -> PolicyAnswer:
        return drop

    with pytest.raises(ConfigError, match="a policy decides at once"):
        dp.policy(policy)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["idle_timeout_s", "hard_timeout_s"])
@pytest.mark.parametrize("seconds", [0, -1, "x", float("inf")])
def test_timeouts_of_decisions_are_checked(name: str, seconds: Any) -> None:
    with pytest.raises(ConfigError, match=f"{name} .* of a decision is outside"):
        Decision(output(2), **{name: seconds})


def test_explain_takes_what_send_takes(dp: Datapath) -> None:
    dp.policy(lambda packet: output(2) if packet.in_port == 1 else drop)
    frame = Ether(src=A, dst=B) / IP() / TCP()
    assert dp.explain(frame).actions == output(2)
    assert dp.explain(frame, in_port="port2").actions == (drop,)
