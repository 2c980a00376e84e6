"""The index of megaflows names all that a change affects, against a comparison of each with each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import vswitch.bridge.index as module
from vswitch.bridge.index import Index
from vswitch.messages.match import FlowMatch
from vswitch.ofproto.rule import Rule
from vswitch.ofproto.translation import Lookup

BITS = 4
"""Of keys here: few, so that what is random meets."""

numbers = st.integers(0, (1 << BITS) - 1)
masks = st.sampled_from([0b0000, 0b0001, 0b0011, 0b1100, 0b1111, 0b1010])
tables = st.integers(0, 2)


@dataclass(eq=False)
class Entry:
    """A megaflow."""

    translation: SimpleNamespace
    indexed: bool = False


@st.composite
def rules(draw: st.DrawFn) -> Rule:
    return Rule(draw(tables), FlowMatch.from_ints(draw(numbers), draw(masks)), draw(st.integers(0, 5)))


KNOWN = [Rule(number % 3, FlowMatch.from_ints(number, 0b1111), number % 6) for number in range(12)]


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    lookups = tuple(
        Lookup(draw(tables), draw(numbers), draw(masks), draw(st.sampled_from([None, *KNOWN])), draw(masks))
        for _ in range(draw(st.integers(0, 3)))
    )
    passed = tuple(lookup.rule for lookup in lookups if lookup.rule is not None)
    parts = draw(st.frozensets(st.sampled_from([("port", 1), ("port", 2), ("group", 1), ("mac", 0, 5)])))
    mask = draw(masks)
    return Entry(
        SimpleNamespace(mask=mask, lookups=lookups, rules=passed, depends=parts | {("table", n.table) for n in lookups})
    )


def known(entry: Entry, lookup: Lookup) -> int:
    """The bits that the keys of all packets of a megaflow have in common at a lookup."""
    mask: int = entry.translation.mask
    return lookup.mask | mask & lookup.fresh


def would_find(entry: Entry, rule: Rule) -> bool:
    """By the definition."""
    return any(
        lookup.table == rule.table
        and not (lookup.key ^ rule.match.value)
        & rule.match.mask
        & (lookup.mask | entry.translation.mask & lookup.fresh)
        and (lookup.rule is None or lookup.rule.priority <= rule.priority)
        for lookup in entry.translation.lookups
    )


@pytest.fixture(autouse=True, params=[0, 256], ids=["by their bits", "looked through"])
def few(request: pytest.FixtureRequest) -> Iterator[None]:
    before, module.FEW = module.FEW, request.param
    yield
    module.FEW = before


@given(st.lists(entries(), max_size=12), st.lists(rules(), max_size=5), st.integers(0, 12), st.data())
def test_those_that_would_find_a_rule(there: list[Entry], added: list[Rule], settled: int, data: st.DataObject) -> None:
    index: Index[Entry] = Index()
    for entry in there:
        index.add(entry)
    index.settle(settled)
    gone = data.draw(st.sets(st.sampled_from(there))) if there else set()
    index.remove(gone)
    left = [entry for entry in there if entry not in gone]
    if data.draw(st.booleans()):
        index.restart(left)
    for _ in range(data.draw(st.integers(0, 3))):
        index.that_would_find(added)
        for _ in range(data.draw(st.integers(0, 4))):
            index.work(data.draw(st.integers(1, 5)))
    late = data.draw(st.sets(st.sampled_from(left))) if left else set()
    index.remove(late)
    left = [entry for entry in left if entry not in late]
    assert index.that_would_find(added) == {entry for entry in left if any(would_find(entry, rule) for rule in added)}
    for rule in KNOWN:
        assert index.of_rules([rule]) == {entry for entry in left if rule in entry.translation.rules}
    for part in (("port", 1), ("group", 1), ("table", 0), ("table", 2), ("mac", 0, 5), ("mac", 0, 6)):
        assert index.of_parts([part]) == {entry for entry in left if part in entry.translation.depends}
    index.remove(left)
    assert not index.of_rules(KNOWN)
    assert not index.that_would_find(added)
    assert not any(index._by_lookup.values())
