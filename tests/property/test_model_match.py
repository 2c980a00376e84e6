"""The algebra of matches, against sets of keys and bit by bit."""

from __future__ import annotations

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from vswitch.base.errors import ConfigError
from vswitch.fields import FIELDS, KEY_BYTES
from vswitch.model.match import Key, Match

KEY_BITS = 8 * KEY_BYTES
ALL = (1 << KEY_BITS) - 1
LIKELY = {"eth_type": [0x0800, 0x86DD, 0x0806, 0x8847], "ip_proto": [1, 6, 17, 58], "icmpv6_type": [135, 136]}
FieldValues = dict[str, tuple[int, int]]


@st.composite
def field_values(draw: st.DrawFn, max_size: int = 6) -> FieldValues:
    """Field -> (value, mask), whether they go together or not."""
    fields: FieldValues = {}
    for name in draw(st.lists(st.sampled_from(sorted(FIELDS)), max_size=max_size, unique=True)):
        view = FIELDS[name]
        value = draw(st.sampled_from(LIKELY[name]) if name in LIKELY else st.integers(0, view.max))
        mask = view.max if draw(st.booleans()) else draw(st.integers(0, view.max))
        fields[name] = value & mask, mask
    return fields


@st.composite
def sparse_bits(draw: st.DrawFn) -> int:
    """A key int with a few runs of bits: two of them overlap often enough."""
    bits = 0
    for shift in draw(st.lists(st.integers(0, 12) | st.integers(0, KEY_BITS - 8), max_size=4)):
        bits |= draw(st.integers(0, 0xFF)) << shift
    return bits


def matches() -> st.SearchStrategy[Match]:
    return st.one_of(
        st.builds(Match.from_ints, sparse_bits(), sparse_bits()),
        st.builds(Match.from_ints, st.integers(0, ALL), st.integers(0, ALL)),
    )


def keys() -> st.SearchStrategy[int]:
    return sparse_bits() | st.integers(0, ALL)


def bits_of(number: int) -> list[int]:
    return [number >> bit & 1 for bit in range(KEY_BITS)]


def bits(match: Match) -> list[int | None]:
    """What a match says of each bit of a key: 0, 1, or nothing."""
    pairs = zip(bits_of(match.value), bits_of(match.mask), strict=True)
    return [value if cares else None for value, cares in pairs]


@given(st.integers(0, ALL), st.integers(0, ALL))
def test_value_bits_outside_of_the_mask_do_not_count(value: int, mask: int) -> None:
    match = Match.from_ints(value, mask)
    assert match.value & ~match.mask == 0
    assert match == Match.from_ints(value & mask, mask)
    assert hash(match) == hash(Match.from_ints(value & mask, mask))


@given(matches(), keys())
def test_key_is_in_a_match_if_no_bit_disagrees(match: Match, key: int) -> None:
    agree = all(wanted in (None, own) for wanted, own in zip(bits(match), bits_of(key), strict=True))
    assert (Key(key) in match) is agree
    assert Key(key & ~match.mask | match.value) in match


@given(matches(), matches())
def test_matches_overlap_if_no_bit_disagrees(one: Match, other: Match) -> None:
    disagree = any({a, b} == {0, 1} for a, b in zip(bits(one), bits(other), strict=True))
    assert one.overlaps(other) is other.overlaps(one) is not disagree


@given(matches(), matches(), keys())
def test_overlap_has_a_key_in_both(one: Match, other: Match, key: int) -> None:
    if one.overlaps(other):
        both = Key(key & ~one.mask & ~other.mask | one.value | other.value)
        assert both in one
        assert both in other
    else:
        assert not (Key(key) in one and Key(key) in other)


@st.composite
def nested(draw: st.DrawFn) -> tuple[Match, Match]:
    """A match, and one that is in it or nearly so."""
    inner = draw(matches())
    forgotten, changed = draw(sparse_bits()), draw(st.just(0) | sparse_bits())
    outer = Match.from_ints(inner.value ^ changed, inner.mask & ~forgotten)
    return outer, inner


@given(nested() | st.tuples(matches(), matches()))
@example((Match(), Match(in_port=1)))
def test_match_covers_another_if_it_says_nothing_more(pair: tuple[Match, Match]) -> None:
    outer, inner = pair
    assert outer.covers(inner) is all(a in (None, b) for a, b in zip(bits(outer), bits(inner), strict=True))


@given(nested(), keys())
def test_cover_has_every_key_and_no_cover_misses_one(pair: tuple[Match, Match], key: int) -> None:
    outer, inner = pair
    in_inner = key & ~inner.mask | inner.value
    if outer.covers(inner):
        assert Key(in_inner) in outer
    else:
        free = outer.mask & ~inner.mask  # bits that only the outer one cares about can be set against it
        assert Key(in_inner & ~free | ~outer.value & free) not in outer


@given(matches())
def test_match_covers_itself_and_is_covered_by_any(match: Match) -> None:
    assert match.covers(match)
    assert Match().covers(match)


@given(matches())
def test_fields_bring_back_all_bits_that_lie_in_a_field(match: Match) -> None:
    value = mask = known = 0
    for view in FIELDS.values():
        known |= view.mask
    for name, (own_value, own_mask) in match.fields().items():
        assert own_mask
        value |= FIELDS[name].place(own_value & own_mask)
        mask |= FIELDS[name].place(own_mask)
    assert (value, mask) == (match.value & known, match.mask & known)


@given(field_values())
@example({"nd_target": (0, 0), "nd_sll": (1, 1), "ct_ipv6_dst": (0, 1)})  # two fields in one slot
def test_fields_of_a_match_make_the_same_match(fields: FieldValues) -> None:
    match = match_or_none(fields)
    assume(match is not None)
    assert match is not None
    assert Match(**match.fields()) == match


def match_or_none(fields: FieldValues) -> Match | None:
    try:
        return Match(**fields)
    except ConfigError:
        return None


def needed(name: str) -> FieldValues:
    """What field `name` needs, where there is one possibility only, and so on."""
    found: FieldValues = {}
    for need, allowed in FIELDS[name].prerequisites:
        if len(allowed) == 1:
            found |= {need: (allowed[0], FIELDS[need].max)} | needed(need)
    return found


@given(field_values(max_size=3))
def test_match_of_fields_is_their_bits_and_what_they_need(fields: FieldValues) -> None:
    match = match_or_none(fields)
    assume(match is not None)
    value = mask = 0
    for given_or_needed in (fields, *(needed(name) for name in fields)):
        for name, (own_value, own_mask) in given_or_needed.items():
            value |= FIELDS[name].place(own_value)
            mask |= FIELDS[name].place(own_mask)
    assert match == Match.from_ints(value, mask)


@given(field_values(max_size=4), st.randoms(use_true_random=False))
def test_order_of_the_fields_does_not_matter(fields: FieldValues, random: object) -> None:
    names = list(fields)
    random.shuffle(names)  # type: ignore[attr-defined]
    assert match_or_none({name: fields[name] for name in names}) == match_or_none(fields)


@pytest.mark.parametrize("name", sorted(FIELDS))
def test_exact_match_takes_its_key_and_only_keys_that_agree(name: str) -> None:
    view = FIELDS[name]
    key = Key(view.mask)
    match = Match.exact(key, name)
    assert key in match
    assert Key(0) not in match
    assert match.mask & view.mask == view.mask
    needs = [FIELDS[need].mask for need, _ in view.prerequisites]
    assert all(match.mask & need == need for need in needs)
