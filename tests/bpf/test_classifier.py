"""The kernel's lookup against a naive one: of the rules that take a key, that of the highest priority.

A random history of adding, removing, changing and replacing is done to both; after each step random keys are looked up
in both, through the same code that packets take (`CONTROL_LOOKUP`), and as packets, whose answer the cache may know.
"""

from __future__ import annotations

import contextlib
import itertools
import random
from collections.abc import Iterator
from ipaddress import IPv4Address

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.datapaths import require_sound_masks
from tests.lab import Lab
from vswitch import (
    Action,
    Datapath,
    Drop,
    ExistsError,
    Match,
    NotFoundError,
    Output,
    OverlapError,
    Rule,
    TableFullError,
)
from vswitch.datapath.ebpf import bpf_syscall
from vswitch.datapath.ebpf.layout import DATAPATH
from vswitch.packet import build

FEW = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def dp(lab: Lab) -> Iterator[Datapath]:
    with Datapath.create(f"c{lab.name}"[:15], local=False, max_flows=4000) as datapath:
        yield datapath


class Naive:
    """Rules in a list."""

    def __init__(self) -> None:
        self.rules: list[Rule] = []

    def lookup(self, key: int) -> Rule | None:
        taking = [rule for rule in self.rules if key & rule.match.mask == rule.match.value]
        return max(taking, key=lambda rule: rule.priority, default=None)

    def conflict(self, rule: Rule) -> type[Exception] | None:
        for other in self.rules:
            if (other.match, other.priority) == (rule.match, rule.priority):
                return ExistsError
        for other in self.rules:
            if other.priority == rule.priority and other.match.overlaps(rule.match):
                return OverlapError
        return None


# Few values in few fields, so that rules do overlap.
PORTS = st.integers(0, 3)
ADDRESS = st.integers(0, 15).map(lambda n: 0x0A000000 | n)
PREFIX = st.sampled_from([8, 28, 30, 31, 32])


@st.composite
def matches(draw: st.DrawFn) -> Match:
    fields: dict[str, object] = {}
    if draw(st.booleans()):
        fields["in_port"] = draw(PORTS)
    if draw(st.booleans()):
        length = draw(PREFIX)
        mask = 0xFFFFFFFF ^ (0xFFFFFFFF >> length)
        fields["ipv4_dst"] = (draw(ADDRESS) & mask, mask)
    if draw(st.booleans()):
        fields["udp_dst"] = draw(PORTS)
    return Match(**fields)  # type: ignore[arg-type]


RULES = st.builds(
    lambda match, port, priority: Rule(match, (Output(port),), priority),
    matches(),
    st.integers(1, 60),
    st.integers(0, 3),
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), RULES),
        st.tuples(st.just("remove"), st.integers(0, 100)),
        st.tuples(st.just("change"), st.integers(0, 100)),
        st.tuples(st.just("replace"), st.lists(RULES, max_size=8)),
        st.tuples(st.just("reopen"), st.none()),
    ),
    min_size=1,
    max_size=25,
)


def frame(address: int, udp_dst: int) -> bytes:
    segment = build.udp(1000, udp_dst, b"")
    return build.ethernet(0x020000000001, 0x020000000002, 0x0800, build.ipv4(0x0A000099, address, 17, segment))


def look_up_packet(dp: Datapath, in_port: int, packet: bytes) -> int | None:
    """The slot that `vs_lookup` takes for a packet, by the flow whose counter moves."""
    table = dp._kernel.flows
    before = {slot: table.stats(slot).packets for slot in table.slots()}
    dp.execute(packet, in_port=in_port)
    moved = [slot for slot in table.slots() if table.stats(slot).packets != before[slot]]
    assert len(moved) <= 1
    return moved[0] if moved else None


def agree(dp: Datapath, naive: Naive, rng: random.Random) -> None:
    for _ in range(12):
        in_port, address, port = rng.randrange(4), 0x0A000000 | rng.randrange(16), rng.randrange(4)
        key = Match(in_port=in_port, ipv4_dst=address, udp_dst=port).value
        expected = naive.lookup(key)
        slot = dp._kernel.flows.lookup(key)
        found = dp._kernel.flows.read(slot).rule if slot else None
        assert found == expected
        packet_slot = look_up_packet(dp, in_port, frame(address, port))
        assert (dp._kernel.flows.read(packet_slot).rule if packet_slot else None) == expected
    assert {flow.rule for flow in dp.flows} == set(naive.rules)
    assert len(dp.flows) == len(naive.rules)
    require_sound_masks(dp)


@given(steps=STEPS, seed=st.integers(0, 1 << 32))
@FEW
def test_lookup_agrees_with_a_list_of_rules(lab: Lab, steps: list[tuple[str, object]], seed: int) -> None:
    rng = random.Random(seed)
    naive = Naive()
    dp = Datapath.create(f"p{lab.name}"[:15], local=False, max_flows=200)
    try:
        for what, argument in steps:
            if what == "add":
                add(dp, naive, argument)  # type: ignore[arg-type]
            elif what == "remove" and naive.rules:
                rule = naive.rules.pop(argument % len(naive.rules))  # type: ignore[operator]
                assert dp.flows.delete(rule).rule == rule
            elif what == "change" and naive.rules:
                place = argument % len(naive.rules)  # type: ignore[operator]
                old = naive.rules[place]
                naive.rules[place] = Rule(old.match, (Output(61),), old.priority)
                dp.flows.modify(naive.rules[place])
            elif what == "replace":
                replace(dp, naive, argument)  # type: ignore[arg-type]
            elif what == "reopen":
                dp.close()
                dp = Datapath.open(f"p{lab.name}"[:15])
            agree(dp, naive, rng)
    finally:
        dp._delete()


def add(dp: Datapath, naive: Naive, rule: Rule) -> None:
    conflict = naive.conflict(rule)
    if conflict is None:
        dp.flows.add(rule)
        naive.rules.append(rule)
    else:
        with pytest.raises(conflict):
            dp.flows.add(rule)


def replace(dp: Datapath, naive: Naive, rules: list[Rule]) -> None:
    wanted = Naive()
    bad = False
    for rule in rules:
        bad = bad or wanted.conflict(rule) is not None
        wanted.rules.append(rule)
    if bad:
        with contextlib.suppress(OverlapError, ExistsError, ValueError):
            dp.flows.replace(rules)
            pytest.fail("rules that overlap were taken")
    else:
        dp.flows.replace(rules)
        naive.rules = rules


def test_overlap_of_equal_priority_names_both(dp: Datapath) -> None:
    dp.flows.add(Match(in_port=1), Output(1), priority=5)
    dp.flows.add(Match(tcp_dst=80), Output(2), priority=6)
    with pytest.raises(OverlapError) as refused:
        dp.flows.add(Match(tcp_dst=80), Output(2), priority=5)
    assert "Match(in_port=1)" in str(refused.value)
    assert "tcp_dst=80" in str(refused.value)
    assert len(dp.flows) == 2


def test_overlap_within_one_batch_is_found_and_leaves_nothing(dp: Datapath) -> None:
    with pytest.raises(OverlapError):
        dp.flows.add_many([Rule(Match(in_port=1), (Output(1),)), Rule(Match(tcp_dst=80), (Output(2),))])
    assert len(dp.flows) == 0
    assert dp.flows.masks == []


def test_a_full_table_refuses_and_keeps_what_it_has(lab: Lab) -> None:
    with Datapath.create(f"f{lab.name}"[:15], local=False, max_flows=100) as dp:
        rules = [Rule(Match(ipv4_dst=n), (Output(1),)) for n in range(100)]
        dp.flows.add_many(rules)
        with pytest.raises(TableFullError, match="max_flows 100"):
            dp.flows.add(Match(ipv4_dst=100), Output(1))
        assert {flow.rule for flow in dp.flows} == set(rules)
        dp.flows.delete(Match(ipv4_dst=5))
        dp.flows.add(Match(ipv4_dst=100), Output(1))
        assert len(dp.flows) == 100


def test_every_flow_of_a_full_index_is_found(lab: Lab) -> None:
    """At the load that max_flows means, all flows fit into the index, and each is found under its key."""
    count = 20000
    with Datapath.create(f"i{lab.name}"[:15], local=False, max_flows=count) as dp:
        for begin in range(0, count, 5000):
            dp.flows.add_many(
                Rule(Match(ipv4_src=n * 7919, ipv4_dst=n), (Output(1),)) for n in range(begin, begin + 5000)
            )
        keys = [Match(ipv4_src=n * 7919, ipv4_dst=n).value for n in range(count)]
        assert all(dp._kernel.flows.lookup(key) for key in keys)
        removed = dp.flows.delete_many([Rule(Match(ipv4_src=n * 7919, ipv4_dst=n)) for n in range(0, count, 2)])
        assert len(removed) == count // 2
        assert [bool(dp._kernel.flows.lookup(key)) for key in keys] == [bool(n % 2) for n in range(count)]


def test_masks_go_with_their_last_flow(lab: Lab) -> None:
    with Datapath.create(f"m{lab.name}"[:15], local=False, max_masks=4) as dp:
        for turn in range(3):
            for n in range(4):
                dp.flows.add(Match(ipv4_dst=(0x0A000000, 0xFF000000 | 1 << n)), Output(1), priority=n)
            with pytest.raises(TableFullError, match="max_masks"):
                dp.flows.add(Match(in_port=turn), Output(1), priority=9)
            assert len(dp.flows.masks) == 4
            assert dp.flows.flush() == 4
            assert dp.flows.masks == []


def test_256_masks_of_one_priority_all_answer(lab: Lab) -> None:
    with Datapath.create(f"n{lab.name}"[:15], local=False, max_masks=256) as dp:
        rules = [
            Rule(Match(eth_dst=(n & 0xFF, 0xFF), eth_src=(n & (n << 1), n << 1 | 1), in_port=n), (Output(n + 1),))
            for n in range(256)
        ]
        dp.flows.add_many(rules)
        assert len(dp.flows.masks) == 256
        for rule in rules:
            slot = dp._kernel.flows.lookup(rule.match.value)
            assert slot is not None
            assert dp._kernel.flows.read(slot).rule == rule
        for rule in rules:
            given = rule.match.fields()
            packet = build.ethernet(given["eth_dst"][0], given.get("eth_src", (0, 0))[0], 0x88B5, bytes(46))
            for _ in range(2):  # by the masks, then by the cache
                slot = look_up_packet(dp, given["in_port"][0], packet)
                assert slot is not None
                assert dp._kernel.flows.read(slot).rule == rule


def test_a_slot_used_again_under_a_lower_rule_does_not_answer_from_the_cache(dp: Datapath) -> None:
    """A cached answer names a slot. After the slot went to a rule of lower priority, it must not win over a higher
    one."""
    packet = frame(0x0A000001, 1)
    dp.flows.add(Match(udp_dst=1), Output(1), priority=5)
    look_up_packet(dp, 1, packet)  # the cache knows the slot now
    dp.flows.delete(Match(udp_dst=1), 5)
    dp.flows.add(Match(in_port=1), Output(2), priority=10)
    dp.flows.add(Match(ipv4_dst="10.0.0.0/8"), Output(3), priority=1)
    slot = look_up_packet(dp, 1, packet)
    assert slot is not None
    assert dp._kernel.flows.read(slot).actions == (Output(2),)


def actions_for(dp: Datapath, packet: bytes) -> tuple[Action, ...]:
    slot = look_up_packet(dp, 1, packet)
    assert slot is not None
    return dp._kernel.flows.read(slot).actions


def test_keys_that_differ_by_the_multiplier_of_a_hash_are_told_apart(dp: Datapath) -> None:
    """The top bit of a word survives a multiplication by any odd number: these pairs once had the same signature,
    whatever the seed, and so the wider rule of the first answered for the second."""
    dp.flows.add(Match(ipv4_dst="10.0.0.1", udp_dst=80), Drop(1), priority=20)
    dp.flows.add(Match(in_port=1), Output(2), priority=10)
    for first, second in [("14.0.0.129", 80 ^ 0x80), ("138.0.0.1", 80), ("10.0.0.129", 80), ("10.0.0.1", 80 ^ 0x8000)]:
        assert actions_for(dp, frame(int(IPv4Address(first)), second)) == (Output(2),)
        assert actions_for(dp, frame(0x0A000001, 80)) == (Drop(1),)


@pytest.mark.parametrize("word", range(3))
def test_flows_that_differ_in_neighbouring_words_all_fit(dp: Datapath, word: int) -> None:
    """The same pairs in IPv6 addresses, whose words are neighbours: eight flows of one signature fit in no index."""
    for bits in itertools.product((0, 1), repeat=3):
        words = [0, 0, 0, 0]
        for place, bit in enumerate(bits):
            if bit and place + word < 4:
                words[place + word] ^= 1 << 63
                if place + word < 3:
                    words[place + word + 1] ^= 1 << 63 | 1 << 34
        value = Match(in_port=1).value | sum(each << 64 * (8 + n) for n, each in enumerate(words))
        mask = Match(in_port=0).mask | ((1 << 256) - 1) << 64 * 8
        with contextlib.suppress(ExistsError):  # where the last pair ends with the addresses
            dp.flows.add(Match.from_ints(value, mask), Output(1))
    for flow in dp.flows:
        slot = dp._kernel.flows.lookup(flow.match.value)
        assert slot is not None
        assert dp._kernel.flows.read(slot).match == flow.match


def test_overlap_is_found_after_a_priority_was_down_to_one_mask(dp: Datapath) -> None:
    dp.flows.add(Match(in_port=1), Output(1))
    dp.flows.add(Match(in_port=2, eth_type=0x806), Output(2))
    dp.flows.delete(Match(in_port=2, eth_type=0x806))
    dp.flows.add(Match(in_port=3), Output(3))
    with pytest.raises(OverlapError, match="in_port=3"):
        dp.flows.add(Match(in_port=3, eth_type=0x806), Output(4))


def test_batch_that_failed_leaves_nothing_in_the_cache(dp: Datapath, monkeypatch: pytest.MonkeyPatch) -> None:
    """A packet comes while half of the batch is there, and its answer is cached; afterwards the slot is another's."""
    packet = frame(0x0A000001, 1)
    dp.flows.add(Match(udp_dst=1), Output(5), priority=5)
    dp.flows.add(Match(in_port=3), Output(7), priority=10)
    dp.flows.add(Match(ipv4_dst="10.0.0.9"), Output(8), priority=0)
    explain = dp._kernel.flows._explain

    def packet_first(rule: Rule, result: int) -> None:
        assert actions_for(dp, packet) == (Output(6),)
        explain(rule, result)

    monkeypatch.setattr(dp._kernel.flows, "_explain", packet_first)
    with pytest.raises(ExistsError):
        dp.flows.add_many([Rule(Match(in_port=n), (Output(6),), 10) for n in (3, 1)])
    monkeypatch.undo()
    assert len(dp.flows) == 3
    dp.flows.add(Match(ipv4_dst="10.0.0.1"), Output(9), priority=0)
    assert actions_for(dp, packet) == (Output(5),)


def test_takeover_makes_true_what_was_indexed_but_not_published(lab: Lab) -> None:
    """Its controller was killed after a rule had been indexed, before the caches were told."""
    name, packet = f"k{lab.name}"[:15], frame(0x0A000001, 1)
    with Datapath.create(name, local=False) as first:
        first.flows.add(Match(in_port=2), Output(2), priority=9)
        first.flows.add(Match(udp_dst=1), Output(1), priority=5)
        assert actions_for(first, packet) == (Output(1),)
        first._kernel.flows._write([Rule(Match(in_port=1), (Output(3),), 9)], 0, 0)
        first.keep()
    with Datapath.open(name) as second:
        try:
            assert actions_for(second, packet) == (Output(3),)
        finally:
            second._delete()


@given(idle=st.one_of(st.none(), st.floats(0.001, 4_000_000)), hard=st.one_of(st.none(), st.floats(0.001, 4_000_000)))
@FEW
def test_rule_is_read_back_as_it_was_asked_for(dp: Datapath, idle: float | None, hard: float | None) -> None:
    rule = Rule(Match(in_port=1), (Output(2),), 5, idle, hard)
    dp.flows.put(rule)
    assert [flow.rule for flow in dp.flows] == [rule]
    assert dp.flows.expire(0) == [], "a clock that stands before the rule was made"


def test_delete_and_get_of_what_is_not_there(dp: Datapath) -> None:
    for call in (dp.flows.delete, dp.flows.get):
        with pytest.raises(NotFoundError, match="in_port=3"):
            call(Match(in_port=3))
    with pytest.raises(NotFoundError):
        dp.flows.modify(Match(in_port=3), Output(1))


def test_versions_turn_round(dp: Datapath) -> None:
    """The version number is 32 bits: transactions work across its turn."""
    words = dp._kernel.state.words
    table = dp._kernel.flows
    dp.flows.add(Match(in_port=1), Output(1))
    view = bytes(dp._kernel.state.bytes[table._view_at(table.version) :][: DATAPATH.VIEW_SIZE])
    words[0] = 0xFFFFFFFD
    dp._kernel.state.bytes[table._view_at(0xFFFFFFFD) :][: len(view)] = view
    for turn in range(6):
        dp.flows.replace([Rule(Match(in_port=1), (Output(turn + 2),)), Rule(Match(in_port=2), (Output(turn),))])
        slot = look_up_packet(dp, 1, frame(0x0A000001, 1))
        assert slot is not None
        assert table.read(slot).actions == (Output(turn + 2),)
    assert words[0] < 1000
    bpf_syscall.wait_for_programs()
