"""The classifier against a list of rules that is searched from the top; its wildcards against bits that are flipped."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.examples import examples
from vswitch.fields.openflow import FLOW_BYTES, OPENFLOW_FIELDS
from vswitch.messages.actions import Conjunction, Output
from vswitch.messages.match import FlowMatch
from vswitch.ofproto.classifier import STAGES, Classifier, Wildcards
from vswitch.ofproto.prefixes import PrefixSet
from vswitch.ofproto.rule import Rule

FIELDS = (
    "in_port", "metadata", "reg0", "eth_src", "eth_dst", "eth_type", "vlan_tci", "ip_proto", "ipv4_src", "ipv4_dst",
    "ipv6_src", "ipv6_dst", "tcp_src", "tcp_dst", "tcp_flags", "nd_target", "arp_op",
)  # fmt: skip
CONJ_ID = OPENFLOW_FIELDS["conj_id"]


def place(name: str, value: int) -> int:
    return OPENFLOW_FIELDS[name].view.place(value)


def draw_value(chance: random.Random, name: str) -> int:
    """Few values, so that rules and packets meet: small numbers, at the upper end in addresses."""
    bits = OPENFLOW_FIELDS[name].bits
    value = chance.randrange(4)
    return value << bits - 2 | chance.randrange(4) if bits >= 16 and chance.random() < 0.7 else value


def draw_match(chance: random.Random) -> FlowMatch:
    value = mask = 0
    for name in chance.sample(FIELDS, chance.randrange(5)):
        view = OPENFLOW_FIELDS[name].view
        how = chance.random()
        if how < 0.5:
            own = view.max
        elif how < 0.9:
            own = view.max ^ view.max >> chance.randrange(view.bits + 1)
        else:
            own = chance.getrandbits(view.bits)
        value |= view.slot.place((draw_value(chance, name) & own) << view.shift)
        mask |= view.slot.place(own << view.shift)
    return FlowMatch.from_ints(value, mask)


def draw_key(chance: random.Random, rules: list[Rule]) -> int:
    key = 0
    for name in FIELDS:
        key |= place(name, draw_value(chance, name))
    for rule in chance.sample(rules, min(len(rules), 2)):
        key = key & ~rule.match.mask | rule.match.value
    return key & ~CONJ_ID.mask


def naive(rules: list[Rule], key: int) -> Rule | None:
    """Priorities are unique in these tests, but for clauses of conjunctions."""
    matching = sorted((rule for rule in rules if key in rule.match), key=lambda rule: -rule.priority)
    for rule in matching:
        if not rule.conjunctions:
            return rule
        together = [each for other in matching if other.priority == rule.priority for each in other.conjunctions]
        for number in sorted({each.id for each in together}):
            for count in sorted({each.count for each in together if each.id == number}):
                if {each.clause for each in together if (each.id, each.count) == (number, count)} != set(range(count)):
                    continue
                other_key = key & ~CONJ_ID.mask | CONJ_ID.view.place(number)
                found = [each for each in rules if other_key in each.match and not each.conjunctions]
                best = max(found, key=lambda each: each.priority, default=None)
                if best is not None and best.match.mask & CONJ_ID.mask:
                    return best
    return None


def bits_of(mask: int) -> Iterator[int]:
    while mask:
        lowest = mask & -mask
        yield lowest
        mask ^= lowest


ANY_BITS = sum(OPENFLOW_FIELDS[name].mask for name in FIELDS if name != "ip_proto")


def check(chance: random.Random, classifier: Classifier, rules: list[Rule], keys: int) -> None:
    for _ in range(keys):
        key = draw_key(chance, rules)
        wildcards = Wildcards()
        found = classifier.lookup(key, wildcards)
        assert found is naive(rules, key)
        outside = ANY_BITS & ~wildcards.mask & ~CONJ_ID.mask
        flips = list(bits_of(outside))
        for flip in chance.sample(flips, min(len(flips), 12)):
            assert naive(rules, key ^ flip) is found
        for _ in range(6):
            other = draw_key(chance, rules)
            assert naive(rules, key & wildcards.mask | other & ~wildcards.mask) is found


def insert(classifier: Classifier, rules: list[Rule], rule: Rule) -> None:
    if classifier.find(rule.match, rule.priority) is None:
        classifier.insert(rule)
        rules.append(rule)


@pytest.mark.parametrize("seed", range(60))
def test_lookup_is_that_of_a_list_and_other_bits_do_not_matter(seed: int) -> None:
    chance = random.Random(seed)
    classifier, rules = Classifier(), list[Rule]()
    for step in range(40):
        insert(classifier, rules, Rule(0, draw_match(chance), step * 7 % 41))
        if rules and chance.random() < 0.2:
            gone = rules.pop(chance.randrange(len(rules)))
            classifier.remove(gone)
        if step % 8 == 7:
            check(chance, classifier, rules, 6)
    assert sorted(map(id, classifier)) == sorted(map(id, rules))
    for rule in list(rules):
        classifier.remove(rule)
    assert len(classifier) == 0
    assert classifier.masks == 0
    assert classifier.lookup(0, Wildcards()) is None


@pytest.mark.parametrize("seed", range(30))
def test_where_most_rules_match_the_best_one_is_found(seed: int) -> None:
    chance = random.Random(seed)
    classifier, rules = Classifier(), list[Rule]()
    priorities = list(range(24))
    chance.shuffle(priorities)
    for priority in priorities:
        value = mask = 0
        for name in chance.sample(("in_port", "eth_src", "ipv4_dst", "tcp_dst"), chance.randrange(3)):
            mask |= OPENFLOW_FIELDS[name].mask
            value |= place(name, chance.randrange(2))
        insert(classifier, rules, Rule(0, FlowMatch.from_ints(value, mask), priority))
    for _ in range(100):
        key = 0
        for name in ("in_port", "eth_src", "ipv4_dst", "tcp_dst"):
            key |= place(name, chance.randrange(2))
        assert classifier.lookup(key, Wildcards()) is naive(rules, key)
        if rules and chance.random() < 0.2:
            classifier.remove(rules.pop(chance.randrange(len(rules))))


@pytest.mark.parametrize("seed", range(40))
def test_conjunctions_are_those_of_a_list(seed: int) -> None:
    chance = random.Random(seed)
    classifier, rules = Classifier(), list[Rule]()
    for number in range(30):
        kind = chance.random()
        if kind < 0.55:
            clauses = tuple(
                Conjunction(chance.randrange(1, 4), chance.randrange(2), 2) for _ in range(chance.randrange(1, 3))
            )
            insert(classifier, rules, Rule(0, draw_match(chance), chance.choice((100, 200)), clauses))
        elif kind < 0.75:
            match, further = FlowMatch(conj_id=chance.randrange(1, 4)), draw_match(chance)
            match = FlowMatch.from_ints(match.value | further.value, match.mask | further.mask)
            insert(classifier, rules, Rule(0, match, 300 + number, (Output(1),)))
        else:
            insert(classifier, rules, Rule(0, draw_match(chance), number * 10 + 1, (Output(2),)))
    check(chance, classifier, rules, 30)


@pytest.mark.parametrize("seed", range(20))
def test_loose_and_overlapping_are_those_of_a_list(seed: int) -> None:
    chance = random.Random(seed)
    classifier, rules = Classifier(), list[Rule]()
    for _ in range(40):
        insert(classifier, rules, Rule(0, draw_match(chance), chance.randrange(3)))
    for _ in range(40):
        match, priority = draw_match(chance), chance.randrange(3)
        assert set(classifier.within(match)) == {rule for rule in rules if match.covers(rule.match)}
        over = [rule for rule in rules if rule.priority == priority and rule.match.overlaps(match)]
        over = [rule for rule in over if rule.match != match]
        found = classifier.overlapping(match, priority)
        assert (found in over) if over else found is None


@examples(300)
@given(
    st.integers(1, 10),
    st.lists(st.integers(0, 1023), max_size=40),
    st.lists(st.integers(0, 1023), min_size=1, max_size=8),
    st.randoms(use_true_random=False),
)
def test_prefixes_know_how_few_bits_tell(
    length: int, wanted: list[int], values: list[int], chance: random.Random
) -> None:
    prefixes, held = PrefixSet(length), list[int]()

    def look() -> None:
        for each in values:
            value = each >> 10 - length
            needed = prefixes.needed(value)
            assert (needed == 0) == (value in held)
            if needed:
                assert not any(value >> length - needed == other >> length - needed for other in held)
                assert needed == 1 or any(
                    value >> length - needed + 1 == other >> length - needed + 1 for other in held
                )

    for each in wanted:
        prefixes.insert(each >> 10 - length)
        held.append(each >> 10 - length)
    look()
    while held:
        prefixes.remove(held.pop(chance.randrange(len(held))))
        look()


@pytest.mark.parametrize("seed", range(3))
def test_many_prefixes_are_as_few(seed: int) -> None:
    chance = random.Random(seed)
    prefixes, held = PrefixSet(16), list[int]()
    for step in range(20000):
        if held and chance.random() < (0.3 if step < 10000 else 0.7):
            at = chance.randrange(len(held))
            held[at], held[-1] = held[-1], held[at]
            prefixes.remove(held.pop())
        else:
            held.append(chance.getrandbits(16))
            prefixes.insert(held[-1])
        if step % 1000 == 0:
            for _ in range(20):
                value = chance.getrandbits(16)
                common = max((16 - (value ^ other).bit_length() for other in held), default=0)
                assert prefixes.needed(value) == (0 if common == 16 else common + 1)


def test_every_bit_of_a_key_is_in_one_stage() -> None:
    together = 0
    for stage in STAGES:
        assert not together & stage
        together |= stage
    assert together == (1 << 8 * FLOW_BYTES) - 1
