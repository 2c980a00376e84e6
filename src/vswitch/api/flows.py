"""`dp.flows`: the megaflows of a datapath, as a program sees them."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Concatenate, ParamSpec, TypeVar

from vswitch.base.errors import ConfigError, ExistsError, NotFoundError
from vswitch.datapath.backend import FlowStore
from vswitch.model.actions import Action
from vswitch.model.match import Match
from vswitch.model.megaflow import Megaflow, Rule
from vswitch.model.reach import unreachable

__all__ = ["Flows", "Transaction"]

Actions = Action | Iterable[Action]
"""One action, or several to be executed in order; none drops."""

_P = ParamSpec("_P")
_R = TypeVar("_R")

Removal = Callable[[Collection[Rule] | None, Collection[int]], None]
"""Called when megaflows have been taken away: what they were (None: all that were there), and their slots."""


def make_rule(
    match: Match | Rule,
    actions: Actions = (),
    priority: int = 0,
    idle_timeout_s: float | None = None,
    hard_timeout_s: float | None = None,
) -> Rule:
    """A rule from its parts; one that is a rule already stays. ConfigError for what is neither match nor rule."""
    if isinstance(match, Rule):
        return _checked(match)
    if not isinstance(match, Match):
        raise ConfigError(f"a match is needed, not {match!r}")
    listed = (actions,) if isinstance(actions, Action) else tuple(actions)
    return Rule(match, listed, priority, idle_timeout_s, hard_timeout_s)


def _checked(rule: Rule) -> Rule:
    """ConfigError if it is no rule, or one of something else than a match."""
    if not isinstance(rule, Rule):
        raise ConfigError(f"a rule is needed, not {rule!r}")
    if not isinstance(rule.match, Match):
        raise ConfigError(f"a match is needed, not {rule.match!r}")
    return rule


def _at_work(change: Callable[Concatenate[Flows, _P], _R]) -> Callable[Concatenate[Flows, _P], _R]:
    """Nothing else changes megaflows until this is done."""

    @functools.wraps(change)
    def changing(flows: Flows, /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        with flows.at_work():
            return change(flows, *args, **kwargs)

    return changing


class Flows:
    """Add, change, remove and read megaflows. `len` counts them, iteration is `dump`.

    Where a match is asked for, a `Rule` may be given instead: its own actions, priority and timeouts then count, not
    those of the call. Priorities are 0..65535, the highest wins; timeouts are seconds, None for never.

    Whatever changes them is done when the call returns: no packet sees the old rule any more. All that do raise
    BusyError on a datapath that was opened for reading, and ConfigError for what is no match, rule or action, or out of
    its bound."""

    def __init__(self, table: FlowStore, now_ns: Callable[[], int]) -> None:
        self._table = table
        self._now_ns = now_ns
        self._changing = 0
        self.on_removal: Removal = lambda _rules, _slots: None
        self.on_withdrawal: Callable[[Match], None] = lambda _match: None
        self.on_idle: Callable[[], None] = lambda: None

    @property
    def changing(self) -> bool:
        """Whether they are being changed: a signal's handler must not change them."""
        return self._changing > 0

    def _apply(self, add: Sequence[Rule], remove: Sequence[int] = (), *, atomic: bool = False) -> list[int]:
        with self.at_work():
            return self._table.apply(add, remove, atomic=atomic)

    def _modify(self, slot: int, rule: Rule) -> None:
        with self.at_work():
            self._table.modify(slot, rule)
            self.on_removal([rule], ())  # if it was a policy's, it is the caller's now

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """They are being changed; `on_idle` is called at the end."""
        self._changing += 1
        try:
            yield
        finally:
            self._changing -= 1
            if not self._changing:
                self.on_idle()

    def __len__(self) -> int:
        return sum(count for _, _, count in self._table.masks)

    def __iter__(self) -> Iterator[Megaflow]:
        return self.dump()

    @property
    def masks(self) -> list[tuple[Match, int, int]]:
        """(mask, priority, how many megaflows have both), highest priority first; a mask is a match of value 0."""
        return self._table.masks

    # ---- changing

    def add(
        self,
        match: Match | Rule,
        actions: Actions = (),
        *,
        priority: int = 0,
        idle_timeout_s: float | None = None,
        hard_timeout_s: float | None = None,
    ) -> Rule:
        """Install one. ExistsError: one with this match and priority is there. OverlapError: another of this priority
        would take some of the same packets. TableFullError: max_flows, max_masks or max_ops is reached. LimitError: the
        actions are too many. The rule is returned as it was installed."""
        rule = make_rule(match, actions, priority, idle_timeout_s, hard_timeout_s)
        self._apply([rule])
        return rule

    def add_many(self, rules: Iterable[Rule]) -> int:
        """Install many, all or none; quicker than one by one. Packets may see some before others. Returns how many.
        Errors are those of `add`."""
        return len(self._apply([_checked(rule) for rule in rules]))

    @_at_work
    def put(
        self,
        match: Match | Rule,
        actions: Actions = (),
        *,
        priority: int = 0,
        idle_timeout_s: float | None = None,
        hard_timeout_s: float | None = None,
    ) -> Rule:
        """Install one, as `add` does, or change the one with this match and priority that is there, as `modify`
        does."""
        rule = make_rule(match, actions, priority, idle_timeout_s, hard_timeout_s)
        try:
            self._apply([rule])
        except ExistsError:
            self._modify(self._table.find(rule.match, rule.priority), rule)
        return rule

    @_at_work
    def modify(
        self,
        match: Match | Rule,
        actions: Actions = (),
        *,
        priority: int = 0,
        idle_timeout_s: float | None = None,
        hard_timeout_s: float | None = None,
    ) -> Rule:
        """Other actions and timeouts (None for never) for the one with exactly this match and priority; it keeps
        counting, and timeouts count from now on. NotFoundError: there is none; TableFullError: max_ops is reached."""
        self._table.need_control()
        rule = make_rule(match, actions, priority, idle_timeout_s, hard_timeout_s)
        self._modify(self._table.find(rule.match, rule.priority), rule)
        return rule

    @_at_work
    def delete(self, match: Match | Rule, priority: int = 0) -> Megaflow:
        """Remove the one with exactly this match and priority; it is returned with its last statistics.
        NotFoundError: there is none."""
        self._table.need_control()
        rule = make_rule(match, (), priority)
        slot = self._table.find(rule.match, rule.priority)
        return self._remove([slot])[0]

    @_at_work
    def delete_many(self, rules: Iterable[Match | Rule], priority: int = 0) -> list[Megaflow]:
        """Remove many at once, those that are there; each is returned once, with its last statistics. `priority` is
        that of matches; rules have their own."""
        self._table.need_control()
        slots: dict[int, None] = {}  # in order; who names a rule twice means one
        for each in rules:
            rule = make_rule(each, (), priority)
            with contextlib.suppress(NotFoundError):
                slots[self._table.find(rule.match, rule.priority)] = None
        return self._remove(list(slots))

    def delete_within(self, match: Match) -> list[Megaflow]:
        """Remove all whose packets are all in `match`, at once; also what was answered so in the batch of upcalls that
        is being looked at: it holds for its own packets, and is not installed. Cost: it looks at all megaflows."""
        self._table.need_control()
        self.on_withdrawal(make_rule(match).match)
        return self.delete_many(self.dump(match))

    @_at_work
    def flush(self) -> int:
        """Remove all. Returns how many there were."""
        self._table.need_control()
        slots = self._table.slots()
        if slots:
            self._apply([], slots)
            self.on_removal(None, slots)
        return len(slots)

    def expire(self, now_ns: int | None = None) -> list[Megaflow]:
        """Remove those whose idle or hard timeout is over at `now_ns` (nanoseconds of CLOCK_MONOTONIC, or of the
        simulated time; by default now); they are returned with their last statistics. `run` and `misses` do so by
        themselves."""
        return self._remove(self._table.expired(self._now_ns() if now_ns is None else now_ns))

    @_at_work
    def _remove(self, slots: list[int]) -> list[Megaflow]:
        if not slots:
            return []
        flows = [self._table.read(slot) for slot in slots]
        self._apply([], slots)
        self.on_removal(flows, slots)
        return [flow.with_stats(self._table.stats(slot)) for flow, slot in zip(flows, slots, strict=True)]

    @_at_work
    def remove_slots(self, rules: Collection[Rule], slots: list[int]) -> None:
        """Remove those in these slots, which hold these rules, without reading them: what they counted can still be
        read by slot until something is added."""
        if slots:
            self._apply([], slots)
            self.on_removal(rules, slots)

    def replace(self, rules: Iterable[Rule]) -> list[tuple[Rule, Rule]]:
        """Make the megaflows exactly these, in one step: every packet sees the rules before it or those after it,
        never some of each. Those that stay the same keep their statistics. Returns rules that no packet can reach,
        each with the one that hides it. On error nothing changes; errors are those of `Transaction.commit`."""
        with Transaction(self) as transaction:
            transaction.flush()
            for rule in rules:
                transaction.add(rule)
        return transaction.unreachable

    # ---- reading

    def get(self, match: Match | Rule, priority: int = 0) -> Megaflow:
        """The one with exactly this match and priority, with its statistics. NotFoundError: there is none."""
        rule = make_rule(match, (), priority)
        return self._table.read(self._table.find(rule.match, rule.priority))

    def has(self, match: Match | Rule, priority: int = 0) -> bool:
        """Whether there is one with exactly this match and priority."""
        try:
            rule = make_rule(match, (), priority)
            self._table.find(rule.match, rule.priority)
        except NotFoundError:
            return False
        return True

    def dump(self, within: Match | None = None) -> Iterator[Megaflow]:
        """All of them, or those whose packets are all in `within`, one after another, each with its statistics at
        that time."""
        for flow in self._table.dump():
            if within is None or within.covers(flow.match):
                yield flow


class Transaction:
    """Changes that packets see all at once. `with dp.transaction() as t: t.delete(...); t.add(...)`: they happen when
    the block ends, and not at all if it raises, or if one of them is impossible."""

    def __init__(self, flows: Flows) -> None:
        self._flows = flows
        self._add: dict[tuple[Match, int], Rule] = {}
        self._remove: set[tuple[Match, int]] = set()
        self._flush = False
        self.unreachable: list[tuple[Rule, Rule]] = []
        """Once it is done: which of the rules added no packet can reach, each with a rule of higher priority that takes
        all of its packets, be that added as well or a megaflow that was there and stays."""

    def add(self, match: Match | Rule, actions: Actions = (), *, priority: int = 0, **timeouts: float | None) -> None:
        """Install one. `timeouts`: `idle_timeout_s` and `hard_timeout_s`, as of `Flows.add`. ConfigError: the
        transaction has one with this match and priority already."""
        rule = make_rule(match, actions, priority, **timeouts)
        if (rule.match, rule.priority) in self._add:
            raise ConfigError(f"the transaction adds {rule.match!r} of priority {rule.priority} twice")
        self._add[rule.match, rule.priority] = rule

    def delete(self, match: Match | Rule, priority: int = 0) -> None:
        """Remove the one with exactly this match and priority, be it there or added before in this transaction."""
        rule = make_rule(match, (), priority)
        if self._add.pop((rule.match, rule.priority), None) is None:
            self._remove.add((rule.match, rule.priority))

    def flush(self) -> None:
        """Remove all that are there, and what the transaction has added so far."""
        self._flush = True
        self._add.clear()
        self._remove.clear()

    def commit(self) -> None:
        """Do it now; the end of the block then does what was asked for since. NotFoundError: one to remove is not
        there; else as `Flows.add`."""
        with self._flows.at_work():
            self._commit()

    def _commit(self) -> None:
        table = self._flows._table
        table.need_control()
        add = dict(self._add)
        remove: dict[int, Rule] = {}
        if self._flush:
            for slot in table.slots():
                rule = table.rule(slot)
                if add.get((rule.match, rule.priority)) == rule:
                    del add[rule.match, rule.priority]
                else:
                    remove[slot] = rule
        else:
            remove = {table.find(match, priority): Rule(match, (), priority) for match, priority in self._remove}
        hidden = self._hidden(remove)
        if add or remove:
            self._flows._apply(list(add.values()), list(remove), atomic=True)
        self.unreachable += hidden
        self._add.clear()
        self._remove.clear()
        self._flush = False
        if remove:
            self._flows.on_removal(list(remove.values()), list(remove))

    def _hidden(self, remove: Mapping[int, Rule]) -> list[tuple[Rule, Rule]]:
        """What is to be in `unreachable`. After a flush nothing stays but rules that are among those added."""
        found = unreachable(self._add.values())
        if not self._flush:
            known = {(rule.match, rule.priority) for rule, _ in found}
            for key, rule in self._add.items():
                hiding = None if key in known else self._flows._table.hiding(rule, remove)
                if hiding is not None:
                    found.append((rule, hiding))
        return found

    def __enter__(self) -> Transaction:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.commit()
