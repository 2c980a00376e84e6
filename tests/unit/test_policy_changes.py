"""What policies decided by changes: megaflows go, others take their place, and no packet is lost by it."""

from __future__ import annotations

import ipaddress
import signal
import threading
import time
from collections.abc import Iterator
from random import Random

import pytest
from scapy.layers.inet import IP, UDP, fragment
from scapy.layers.l2 import Ether

from vswitch import (
    ConfigError,
    Datapath,
    Match,
    Miss,
    Networks,
    Output,
    Packet,
    PolicyAnswer,
    PortEvent,
    Rule,
    Table,
    drop,
    now,
    output,
)
from vswitch.api.flows import Flows
from vswitch.testing import send


@pytest.fixture
def dp() -> Iterator[Datapath]:
    with Datapath.simulate(ports=3) as datapath:
        yield datapath


def udp(src: str = "10.0.0.1", dport: int = 9) -> bytes:
    return bytes(Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / IP(src=src) / UDP(dport=dport))


def test_what_is_wider_than_what_was_takes_its_place(dp: Datapath) -> None:
    """Without a network its neighbours read less, while their megaflows were made with it."""
    banned = Networks(["192.0.2.0/24", "198.51.100.0/24"])
    dp.policy(lambda packet: drop if packet.ipv4_src in banned else output(2))
    for source in ("10.0.0.1", "198.52.0.1", "192.0.3.1", "192.0.2.5"):
        send(dp, udp(source))
    del banned["192.0.2.0/24"]
    del banned["198.51.100.0/24"]
    for source in ("192.0.2.5", "198.51.100.1", "198.52.0.1", "10.0.0.1"):
        outcome = send(dp, udp(source))
        assert (outcome.ports, outcome.failed) == ([2], 0)
        assert send(dp, udp(source)).upcalls == 0
    assert len(dp.flows) == 1


@pytest.mark.parametrize("seed", range(20))
def test_random_networks_come_and_go_without_a_packet_lost(dp: Datapath, seed: int) -> None:
    chance, table = Random(seed), Networks()
    entries: dict[ipaddress.IPv4Network, int] = {}
    dp.policy(lambda packet: output(table.lookup(packet.ipv4_src, 1)))
    for _ in range(60):
        length = chance.choice((0, 1, 3, 8, 9, 30, 32))
        network = ipaddress.IPv4Network((chance.getrandbits(32) & -1 << 32 - length & 0xF0F0FFFF, length), strict=False)
        if chance.random() < 0.6:
            table[network] = entries[network] = chance.choice((2, 3))
        elif entries:
            gone = chance.choice(list(entries))
            del table[gone], entries[gone]
        for _ in range(4):
            near = chance.choice([*entries, network]).network_address
            source = ipaddress.IPv4Address(int(near) ^ chance.choice((0, 1, 1 << chance.randrange(32))))
            holding = [each for each in entries if source in each]
            expected = entries[max(holding, key=lambda each: each.prefixlen)] if holding else 1
            outcome = send(dp, udp(str(source)))
            assert (outcome.ports, outcome.failed) == ([expected], 0)
    masks = [flow.match for flow in dp.flows]
    assert not any(one.overlaps(other) for one in masks for other in masks if one is not other)


def test_megaflows_of_a_time_that_is_over_do_not_stand_in_the_way(dp: Datapath) -> None:
    """They go a moment after it, and others come before that."""
    opening = 20.0

    @dp.policy
    def policy(packet: Packet) -> PolicyAnswer:
        if packet.in_port == 1 and now() < opening:
            return output(2)
        return output(3) if packet.udp_dst == 53 else output(2)

    assert send(dp, udp()).ports == [2]
    dp._simulation.clock_ns = 20 * 10**9  # and nothing has looked for timeouts since
    (old,) = dp.flows
    table = dp.flows._table
    table.modify(table.find(old.match, 0), Rule(old.match, (Output(2),)))
    dp.receive(udp(dport=53), 2)
    dp.run()
    assert send(dp, udp(dport=53), 1).ports == [2], "the old one takes it as long as it is there"
    policy_rule = dp.explain(udp(dport=53), in_port=1).rule
    assert policy_rule is not None
    assert dp._loop.policy is not None
    assert dp._loop.policy.make_way([policy_rule]) == {old.match}
    outcome = send(dp, udp(dport=53), 1)
    assert (outcome.ports, outcome.failed) == ([3], 0)


def test_a_time_that_is_far_away(dp: Datapath) -> None:
    dp.policy(lambda _packet: output(2) if now() < 1e9 else drop)
    outcome = send(dp, udp())
    assert (outcome.ports, outcome.installed) == ([2], 1)
    dp.flows.flush()
    dp._loop.policy = None
    dp.policy(lambda _packet: output(2) if now() < float("inf") else drop)
    assert send(dp, udp()).installed == 1


def test_packets_pass_though_no_megaflow_can_be_installed() -> None:
    with Datapath.simulate(ports=3, max_masks=3) as dp:
        dp.policy(lambda packet: output(2 + (int(packet.udp_dst & 1 << int(packet.udp_src & 15)) > 0)))
        outcomes = [send(dp, udp_from(sport, 0xFF), may_fail=True) for sport in range(16)]
        assert [outcome.ports for outcome in outcomes] == [[3]] * 8 + [[2]] * 8
        assert sum(outcome.installed for outcome in outcomes) <= 3 < sum(outcome.failed for outcome in outcomes)


def udp_from(sport: int, dport: int) -> bytes:
    return bytes(Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / IP() / UDP(sport=sport, dport=dport))


def test_rules_of_others_are_not_made_way_for(dp: Datapath) -> None:
    dp.flows.add(Match(in_port=1, udp_dst=7), Output(1))
    state = Table({"port": 2})
    dp.policy(lambda _packet: output(state["port"]))
    outcome = send(dp, udp(), may_fail=True)
    assert (outcome.ports, outcome.installed, outcome.failed) == ([2], 0, 1)
    assert [flow.actions for flow in dp.flows] == [(Output(1),)]
    assert not state._waiting


def test_a_later_fragment_has_no_ports(dp: Datapath) -> None:
    dp.policy(lambda packet: output(2) if packet.udp_dst < 1024 else output(3))
    whole = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / IP(id=7) / UDP(dport=9) / bytes(2000)
    first, later = fragment(whole, fragsize=1400)
    assert send(dp, bytes(first)).ports == [2]
    assert send(dp, bytes(later)).ports == [3]
    assert send(dp, udp()).upcalls <= 1
    assert send(dp, bytes(later)).upcalls == 0


def test_a_change_by_another_thread_while_a_policy_runs_is_not_lost(dp: Datapath) -> None:
    is_open = Table({"door": True})
    read, changed = threading.Event(), threading.Event()

    @dp.policy
    def policy(packet: Packet) -> PolicyAnswer:
        answer = output(2) if is_open["door"] else drop
        read.set()
        changed.wait(0.2)  # in which the other thread tries
        return answer

    def close() -> None:
        read.wait(5)
        is_open["door"] = False
        changed.set()

    thread = threading.Thread(target=close)
    thread.start()
    dp.receive(udp())
    dp.run()
    thread.join(5)
    dp.run()
    assert not [flow for flow in dp.flows if flow.actions == output(2)]
    assert send(dp, udp()).drops == {"explicit": 1}


@pytest.fixture
def deletions(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many megaflows each call took away."""
    calls: list[int] = []
    plain = Flows._remove

    def remove(flows: Flows, slots: list[int]) -> object:
        if slots:
            calls.append(len(slots))
        return plain(flows, slots)

    monkeypatch.setattr(Flows, "_remove", remove)
    return calls


@pytest.mark.parametrize("kind", ["table", "networks"])
def test_many_changes_withdraw_together(dp: Datapath, deletions: list[int], kind: str) -> None:
    """One by one each would wait for the packets that are under way."""
    addresses = [f"10.0.0.{n}" for n in range(1, 101)]
    state: Table | Networks = Table(key="ipv4_src") if kind == "table" else Networks()
    state.update(dict.fromkeys(addresses, 2))
    dp.policy(lambda packet: output(state.get(packet.ipv4_src, 3)))

    def fill() -> None:
        assert {send(dp, udp(address)).failed for address in addresses} == {0}
        assert len(dp.flows) == 100
        deletions.clear()

    fill()
    state.update(dict.fromkeys(addresses, 1))
    assert deletions == [100]
    fill()

    @dp.on_port_event
    def follow(_event: PortEvent) -> None:
        for address in addresses:
            state[address] = 3

    dp.ports.add("another")
    dp.run()
    assert deletions == [100]
    fill()
    state.clear()
    assert deletions == [100]
    assert not state
    with pytest.raises(ConfigError, match="could change unseen"):
        state.update({"10.0.0.1": 2, "10.0.0.2": []})
    assert not state, "all or nothing"


# ---- within a batch


def test_what_makes_way_within_a_batch_loses_no_packet(dp: Datapath) -> None:
    """The time that a policy compares with comes between two packets of one batch, whose megaflows overlap."""
    opening = 20.0

    @dp.policy
    def policy(packet: Packet) -> PolicyAnswer:
        if now() < opening:
            dp._simulation.clock_ns = 21 * 10**9  # after it has been asked
            return output(2) if packet.udp_src == 7 else output(3)
        return output(2) if packet.udp_dst == 53 else output(3)

    packets = [udp_from(7, 1), udp_from(8, 53), *(udp_from(7, 1 + n % 60) for n in range(100)), udp_from(8, 53)]
    for packet in packets:
        dp.receive(packet)
    dp.run()
    assert len(dp.sent()) == len(packets)
    assert dp.ports.stats(1).drops == {}
    assert dp.upcall_stats.failed == 0
    assert send(dp, udp_from(7, 53)).ports == [2]
    assert send(dp, udp_from(7, 9)).ports == [3]


def test_many_that_need_way_are_made_way_for_at_once(dp: Datapath, deletions: list[int]) -> None:
    networks = Networks()
    dp.policy(lambda packet: output(networks.lookup(packet.ipv4_src, 2)))
    networks.update({f"10.0.0.{n}/32": 2 for n in range(0, 256, 2)})
    for n in range(1, 256, 2):
        dp.receive(udp(f"10.0.0.{n}"))
    dp.run()
    installed = len(dp.flows)
    assert installed > 100
    deletions.clear()
    networks.clear()
    assert deletions == [installed]
    networks.update({f"10.0.0.{n}/32": 2 for n in range(0, 256, 2)})
    for n in range(1, 256, 2):
        dp.receive(udp(f"10.0.0.{n}"))
    dp.run()
    deletions.clear()
    for n in range(0, 128, 2):
        del networks[f"10.0.0.{n}/32"]
    assert deletions == [], "nobody has asked for these"
    dp.sent()
    for n in range(0, 128, 2):
        dp.receive(udp(f"10.0.0.{n}"))
    dp.run()
    assert len(dp.sent()) == 64
    assert len(deletions) <= 2
    assert dp.upcall_stats.failed == 0


def test_a_rule_of_another_priority_that_goes_is_another_rule(dp: Datapath) -> None:
    state = Table({"port": 2})
    dp.policy(lambda packet: output(state["port"]) if packet.in_port == 1 else drop)
    assert send(dp, udp()).ports == [2]
    (flow,) = dp.flows
    dp.flows.add(flow.match, priority=10)
    assert send(dp, udp()).ports == []
    dp.flows.delete(flow.match, 10)
    assert send(dp, udp()).ports == [2]
    state["port"] = 3
    assert send(dp, udp()).ports == [3]


# ---- threads and signals


def test_changes_are_settled_at_once_when_no_loop_runs(dp: Datapath) -> None:
    """Also after one has run in another thread."""
    state = Table({"port": 2})
    dp.policy(lambda _packet: output(state["port"]))
    dp.receive(udp())
    thread = threading.Thread(target=dp.run)
    thread.start()
    thread.join(5)
    assert len(dp.flows) == 1
    state["port"] = 3
    assert len(dp.flows) == 0


def test_state_may_be_changed_by_a_signal(dp: Datapath) -> None:
    """Its handler runs in the middle of whatever the loop is at."""
    state, turn = Table(dict.fromkeys(range(32), 2), key="udp_dst"), 0
    dp.policy(lambda packet: output(state[packet.udp_dst]))

    def change(_number: int, _frame: object) -> None:
        nonlocal turn
        turn += 1
        state.update(dict.fromkeys(range(32), 2 + turn % 2))

    before = signal.signal(signal.SIGALRM, change)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0007)
    try:
        end = time.monotonic() + 0.6
        while time.monotonic() < end:
            for port in range(32):
                dp.receive(udp(dport=port))
            dp.run()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert turn > 20
    assert dp.upcall_stats.failed == 0
    state.update(dict.fromkeys(range(32), 1))
    assert not dp.flows


@pytest.mark.parametrize("table", [Table({1: 2}, key="ip_ttl"), Networks({1: 2}, key="ip_ttl")])
def test_tables_are_mappings_for_threads_too(table: Table | Networks) -> None:
    problems: list[Exception] = []

    def use() -> None:
        try:
            for _ in range(500):
                table.pop(1, None)
                table.setdefault(1, 3)
                list(table)
                table.clear()
                with pytest.raises(KeyError):
                    table.pop(2)
        except Exception as problem:  # noqa: BLE001 - told by the test
            problems.append(problem)

    threads = [threading.Thread(target=use) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert problems == []
    with pytest.raises(KeyError):
        table.popitem()


@pytest.mark.parametrize("answer", ["table full", "for its packet alone"])
def test_packets_of_a_flow_stay_in_order_when_one_is_asked_about_again(answer: str) -> None:
    """The second follows a megaflow that is withdrawn while the third is looked at, which gets none."""
    with Datapath.simulate(ports=3, max_flows=1) as dp:
        state = Table({"port": 2})

        @dp.policy
        def policy(packet: Packet) -> PolicyAnswer:
            if packet.udp_dst == 99:
                state["port"] = 3
                dp.flows.add(Match(in_port=3))
                return drop
            port = state["port"]
            if answer == "for its packet alone" and port == 3:
                float(now())
            return output(port)

        packets = [udp(dport=9) + bytes([number]) for number in range(4)]
        for packet in (*packets[:2], udp(dport=99), *packets[2:]):
            dp.receive(packet)
        dp.run()
        assert [sent.packet[-1] for sent in dp.sent()] == [0, 1, 2, 3]


def test_what_was_answered_in_this_batch_can_be_taken_back(dp: Datapath) -> None:
    """As when a host moves: what has been decided by its old place must not be installed afterwards."""

    @dp.on_miss
    def handle(miss: Miss) -> tuple[Match, Output]:
        if miss.key.udp_dst == 99:
            assert dp.flows.delete_within(Match(udp_dst=9)) == []
        return Match.exact(miss.key, "in_port", "udp_dst"), Output(2)

    for port in (9, 8, 9, 99):
        dp.receive(udp(dport=port))
    dp.run()
    assert len(dp.sent()) == 4
    assert sorted(flow.match.fields()["udp_dst"][0] for flow in dp.flows) == [8, 9, 99], "the second asked again"
    assert len(dp.flows.delete_within(Match(udp_dst=9))) == 1
    assert len(dp.flows) == 2


def test_a_signal_while_megaflows_are_changed_waits(dp: Datapath, monkeypatch: pytest.MonkeyPatch) -> None:
    state = Table({"port": 2})
    dp.policy(lambda _packet: output(state["port"]))
    send(dp, udp())
    plain = dp._simulation.flows._check
    during: list[int] = []

    def check(*arguments: object) -> None:
        if not during:
            during.append(0)
            state["port"] = 3  # as a signal's handler would
            during[0] = len(dp.flows)
        plain(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(dp._simulation.flows, "_check", check)
    dp.flows.add(Match(in_port=3), Output(1), priority=5)
    assert during == [1], "nothing is withdrawn in the middle of it"
    assert [flow.match for flow in dp.flows] == [Match(in_port=3)], "but right behind it"


@pytest.mark.parametrize("seed", range(20))
def test_explain_leaves_state_and_megaflows_as_they_are(seed: int) -> None:
    chance = Random(seed)
    table = Table({number: chance.randrange(3) for number in range(6)})
    networks = Networks({f"10.{number}.0.0/16": chance.randrange(3) for number in range(6)})
    changing_it = [False]

    def policy(packet: Packet) -> PolicyAnswer:
        if changing_it[0]:
            for _ in range(8):
                number = chance.randrange(9)
                change = chance.choice(["set", "delete", "clear", "update"])
                if change == "set":
                    table[number] = networks[f"10.{number}.0.0/16"] = chance.randrange(3)
                elif change == "delete":
                    table.pop(number, None)
                    networks.pop(f"10.{number}.0.0/16", None)
                elif change == "clear" and chance.random() < 0.3:
                    table.clear()
                    networks.clear()
                else:
                    table.update({number: 5, number + 1: 6})
                    networks.update({f"10.{number}.0.0/16": 5, "10.0.0.0/9": 6})
        return output(1 + (table.get(packet.udp_dst) or 0) % 3, 1 + networks.lookup(packet.ipv4_src, 0) % 3)

    with Datapath.simulate(ports=3) as dp:
        dp.policy(policy)
        packets = [udp(f"10.{net}.0.1", port) for net in range(7) for port in range(7)]
        before = [send(dp, packet).ports for packet in packets]
        entries = dict(table), dict(networks)
        changing_it[0] = True
        for packet in packets:
            dp.explain(packet, in_port=1)
        changing_it[0] = False
        assert (dict(table), dict(networks)) == entries
        outcomes = [send(dp, packet) for packet in packets]
        assert [outcome.ports for outcome in outcomes] == before
        assert not any(outcome.upcalls for outcome in outcomes)
        networks["10.3.0.0/16"] = 7
        assert send(dp, udp("10.3.0.1", 2)).upcalls == 1, "who waits is told as ever"
