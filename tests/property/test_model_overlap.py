"""The index of overlaps agrees with comparing each rule with every other."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vswitch.base.errors import OverlapError
from vswitch.model.match import Match
from vswitch.model.overlap import OverlapIndex

BITS = 6


@st.composite
def matches(draw: st.DrawFn) -> Match:
    """Over so few bits that many overlap."""
    return Match.from_ints(draw(st.integers(0, 2**BITS - 1)), draw(st.integers(0, 2**BITS - 1)))


steps = st.one_of(
    st.tuples(st.just("add"), st.lists(matches(), max_size=4)),
    st.tuples(st.just("discard"), st.lists(matches(), max_size=4)),
    st.tuples(st.just("undo"), st.lists(matches(), max_size=4)),
)


def clash(new: list[Match], there: set[Match]) -> bool:
    """Whether one of `new` lies across another rule; equal ones are no clash here."""
    for place, match in enumerate(new):
        if any(match != other and match.mask != other.mask and match.overlaps(other) for other in there):
            return True
        if any(match.mask != other.mask and match.overlaps(other) for other in new[:place]):
            return True
    return False


@given(st.lists(matches(), max_size=4, unique_by=lambda match: match.mask), st.lists(steps, max_size=12))
def test_agrees_with_comparing_each_with_each(first: list[Match], history: list[tuple[str, list[Match]]]) -> None:
    there = set() if clash(first, set()) else set(first)
    known = frozenset(there)
    index = OverlapIndex(lambda mask: [match.value for match in known if match.mask == mask])
    for what, given_matches in history:
        masks = {match.mask for match in (*there, *given_matches)}
        index.prepare(masks)
        if what == "add":
            if clash(given_matches, there):
                with pytest.raises(OverlapError):
                    index.add(given_matches, masks)
            else:
                assert set(index.add(given_matches, masks)) == set(given_matches) - there
                there.update(given_matches)
        else:
            gone = there.intersection(given_matches)
            index.discard(given_matches)
            if what == "undo":
                index.restore(gone)
            else:
                there -= gone


def test_names_both() -> None:
    index = OverlapIndex()
    narrow, wide = Match(tcp_dst=80), Match(ipv4_dst="10.0.0.0/8")
    masks = {narrow.mask, wide.mask}
    assert index.add([wide], masks) == [wide]
    with pytest.raises(OverlapError, match="which has the same priority") as caught:
        index.add([Match(tcp_dst=81), narrow], masks)
    assert "tcp_dst=81" in str(caught.value)
    assert "10.0.0.0/8" in str(caught.value)
    index.discard([wide])
    assert index.add([narrow], masks) == [narrow]
