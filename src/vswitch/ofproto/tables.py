"""The flow tables: what flow-mods do to them, and when flows go by themselves.

A flow-mod is looked through before anything is changed: it is refused, or done as a whole. Lists of them are atomic
through the journal. What has changed is told in `Change`s; who needs to know (translation, monitors, flow-removed) gets
them from the caller.

Flows with timeouts lie in a heap by the time at which one could be over. A flow that was used in the meantime goes back
into it with its new time, so what is looked at in a second is what may expire in it, and not all flows.

Invariant: a flow is in the table that it names exactly while `rule.removed` is False; it is among the `rules` of just
those groups and meters that its actions name, and counted for just those flows that it teaches (`_teachers`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from heapq import heapify, heappop, heappush, heapreplace

from vswitch.messages import actions as a
from vswitch.messages.actions import FlowAction
from vswitch.messages.control import TableStatus
from vswitch.messages.errors import OpenFlowError
from vswitch.messages.flows import (
    ALL_TABLES,
    ANY_GROUP,
    ANY_PORT,
    FlowCommand,
    FlowFlags,
    FlowMod,
    FlowRemovedReason,
    TableMod,
)
from vswitch.messages.match import FlowMatch
from vswitch.messages.stats import TableDescription
from vswitch.ofproto.admission import LAST_TABLE, Admission, check_match, taught
from vswitch.ofproto.classifier import Classifier
from vswitch.ofproto.groups import Groups
from vswitch.ofproto.journal import Journal
from vswitch.ofproto.meters import MeterTable
from vswitch.ofproto.rule import Rule

__all__ = ["MAX_ALL_FLOWS", "MAX_FLOWS", "TABLES", "Change", "FlowTable", "FlowTables", "outputs_to", "points_to_group"]

MAX_FLOWS = 1_000_000
"""Flows of one table: some 700 bytes each. More is refused (flow_mod_failed.table_full), or evicts others."""
MAX_ALL_FLOWS = 2_000_000
"""Flows of all tables together."""
TABLES = LAST_TABLE + 1
_CHECK_OVERLAP = int(FlowFlags.CHECK_OVERLAP)
_RESET_COUNTS, _EMERGENCY = int(FlowFlags.RESET_COUNTS), int(FlowFlags.EMERGENCY)
_ALL_REASONS_TO_EVICT = 0b111
_VACANCY_DOWN, _VACANCY_UP = 3, 4
_NO_COOKIE = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Change:
    """What became of a flow. `kind`: "added", "modified", "removed". `reason`: why it was removed; None if an equal one
    takes its place. `replaces`: the flow in whose place an added one came. `actions`, `uses`: those that a modified one
    had."""

    kind: str
    rule: Rule
    reason: FlowRemovedReason | None = None
    replaces: Rule | None = None
    actions: tuple[FlowAction, ...] = ()
    uses: tuple[tuple[str, int], ...] = ()

    @property
    def uses_no_more(self) -> tuple[tuple[str, int], ...]:
        """What was used by the actions that nobody does any more by it."""
        if self.kind == "modified":
            return self.uses
        gone = self.rule if self.kind == "removed" else self.replaces
        return gone.uses if gone is not None else ()


class FlowTable:
    """One table. `lookups`, `matched`: packets, as translation credits them. `miss`: "" (as the version has it),
    "controller", "continue", "drop". `refused`: flow-mods that it was too full for; `evicted`: flows that made way.
    `candidates`: heap of (importance, expiry, number, rule) of those that may make way, None as long as nobody had to;
    some may be gone, or live longer. `_by_cookie`: its flows by their cookies, None until somebody asks."""

    __slots__ = (
        "_by_cookie", "candidates", "classifier", "evicted", "eviction", "eviction_flags", "lookups", "matched",
        "max_flows", "metadata_match", "metadata_write", "miss", "name", "number", "refused", "vacancy", "vacancy_down",
        "vacancy_low", "vacancy_up",
    )  # fmt: skip

    def __init__(self, number: int, max_flows: int) -> None:
        self.number = number
        self.classifier = Classifier()
        self.name = ""
        self.max_flows = max_flows
        self.metadata_match = self.metadata_write = (1 << 64) - 1
        self.miss = ""
        self.lookups = self.matched = self.refused = self.evicted = 0
        self.eviction = False
        self.eviction_flags = _ALL_REASONS_TO_EVICT
        self.candidates: list[tuple[int, int, int, Rule]] | None = None
        self.vacancy = False
        self.vacancy_down = self.vacancy_up = 0
        self.vacancy_low = False
        self._by_cookie: dict[int, dict[Rule, None]] | None = None

    def __len__(self) -> int:
        return self.classifier.size

    def __iter__(self) -> Iterator[Rule]:
        return iter(self.classifier)

    def insert(self, rule: Rule) -> None:
        """It is one of the table's from now on."""
        self.classifier.insert(rule)
        if self._by_cookie is not None:
            self._by_cookie.setdefault(rule.cookie, {})[rule] = None

    def remove(self, rule: Rule) -> None:
        """It is not any more."""
        self.classifier.remove(rule)
        if self._by_cookie is not None:
            self._unlist(self._by_cookie, rule)

    def set_cookie(self, rule: Rule, cookie: int) -> None:
        """A flow of the table has another cookie."""
        if self._by_cookie is not None and cookie != rule.cookie:
            self._unlist(self._by_cookie, rule)
            self._by_cookie.setdefault(cookie, {})[rule] = None
        rule.cookie = cookie

    @staticmethod
    def _unlist(by_cookie: dict[int, dict[Rule, None]], rule: Rule) -> None:
        of_cookie = by_cookie[rule.cookie]
        del of_cookie[rule]
        if not of_cookie:
            del by_cookie[rule.cookie]

    def of_cookie(self, cookie: int) -> Collection[Rule]:
        """Its flows of that cookie; they are looked for among all of them the first time only."""
        if self._by_cookie is None:
            self._by_cookie = {}
            for rule in self:
                self._by_cookie.setdefault(rule.cookie, {})[rule] = None
        return self._by_cookie.get(cookie, {}).keys()

    def may_learn(self, mod: FlowMod, limit: int) -> bool:
        """Whether a learn action may do that: there is such a flow, or fewer than `limit` of its cookie."""
        return self.classifier.find(mod.match, mod.priority) is not None or len(self.of_cookie(mod.cookie)) < limit

    @property
    def vacancy_now(self) -> int:
        """How much of it is free, in percent."""
        return 100 * max(0, self.max_flows - len(self)) // self.max_flows if self.max_flows else 0

    def vacancy_event(self) -> list[TableStatus]:
        """What is to be told, once, when less than `vacancy_down` percent is free, or `vacancy_up` again."""
        now = self.vacancy_now
        if not self.vacancy_low and now < self.vacancy_down:
            self.vacancy_low = True
            return [TableStatus(_VACANCY_DOWN, self.description())]
        if self.vacancy_low and now > self.vacancy_up:
            self.vacancy_low = False
            return [TableStatus(_VACANCY_UP, self.description())]
        return []

    def description(self) -> TableDescription:
        """How it is configured."""
        return TableDescription(
            self.number, self.eviction, self.eviction_flags, self.vacancy, self.vacancy_down, self.vacancy_up,
            self.vacancy_now,
        )  # fmt: skip


class FlowTables:
    """All tables of a switch. `tables[n]` is table n. `flows`: how many there are in all of them."""

    def __init__(
        self, groups: Groups, meters: MeterTable, journal: Journal | None = None, *, max_flows: int = MAX_FLOWS
    ) -> None:
        self.groups = groups
        self.meters = meters
        self._journal = journal or Journal()
        self.max_flows = max_flows
        self.max_all_flows = MAX_ALL_FLOWS
        self.flows = 0
        self._tables = [FlowTable(number, max_flows) for number in range(TABLES)]
        self._deadlines: list[tuple[int, int, Rule]] = []
        self._number = 0
        self._timed = 0
        self._teachers: dict[int, int] = {}

    def __getitem__(self, number: int) -> FlowTable:
        return self._tables[number]

    def __len__(self) -> int:
        return len(self._tables)

    def __iter__(self) -> Iterator[FlowTable]:
        return iter(self._tables)

    # ---- flow-mods

    def apply(self, mod: FlowMod, now_ns: int, *, version: int = 4) -> list[Change]:
        """Do what a flow-mod says, as that version of OpenFlow (wire number: 4 is 1.3) means it. OpenFlowError: it is
        refused, and nothing was changed. # hot: once per flow-mod"""
        return self._unlearn(self._apply(mod, now_ns, version))

    def _apply(self, mod: FlowMod, now_ns: int, version: int) -> list[Change]:
        check_match(mod.match)
        command = mod.command
        if command == FlowCommand.ADD:
            return self._add(mod, now_ns, version)
        strict = command in (FlowCommand.MODIFY_STRICT, FlowCommand.DELETE_STRICT)
        tables = self._named(mod, version)
        rules = self._strict(mod, tables) if strict else self._loose(mod, tables)
        if command in (FlowCommand.DELETE, FlowCommand.DELETE_STRICT):
            return [self.remove(rule, FlowRemovedReason.DELETE) for rule in rules]
        if not rules:
            if version < 3 and not mod.cookie_mask:  # OpenFlow 1.0 section 4.6, 1.1 section 6.4
                return self._add(mod, now_ns, version)
            admission = Admission(self.groups, self.meters, mod.match, _first_table(mod), version)
            admission.named = False  # as Open vSwitch has it: where nothing is changed, they need not be there
            admission.check(mod.actions)
            return []
        return self._modify(mod, rules, now_ns, version)

    def apply_learned(self, mod: FlowMod, now_ns: int) -> list[Change]:
        """Do what a learn action says: change the flow of just this match and priority, or add it. The hard timeout of
        one that is there begins anew; how long it is stays. OpenFlowError: the table is full, or it is refused."""
        table = self._tables[mod.table or 0]
        there = table.classifier.find(mod.match, mod.priority)
        if there is None:
            return self._unlearn(self._add(mod, now_ns, 1))
        if there.actions == mod.actions and there.cookie == mod.cookie:
            self._journal.note(setattr, there, "modified_ns", there.modified_ns)
            there.modified_ns = now_ns  # its hard timeout begins anew; nothing else is to be told
            return []
        return self._unlearn(self._modify(mod, [there], now_ns, 1))

    def teaches(self, table: int, cookie: int) -> bool:
        """Whether a learn action of some flow makes such flows, that go with the last that does (delete_learned)."""
        return taught(table, cookie) in self._teachers

    def _unlearn(self, changes: list[Change]) -> list[Change]:
        """These changes, and that flows go which were learned by actions that nobody has any more, as ovs-actions(7)
        says it of delete_learned: all of the table and the cookie."""
        for change in changes:  # there may come to be more: what goes may have taught, too
            for kind, number in change.uses_no_more:
                if kind == "learned" and number not in self._teachers:
                    learned = self._tables[number >> 64].of_cookie(number & _NO_COOKIE)
                    changes += [self.remove(rule, FlowRemovedReason.DELETE) for rule in list(learned)]
        return changes

    def _named(self, mod: FlowMod, version: int) -> Iterable[FlowTable]:
        """The tables that a flow-mod which adds nothing is about."""
        if mod.table is None:
            return self._tables
        if mod.table == ALL_TABLES:
            if version > 1 and mod.command in (FlowCommand.MODIFY, FlowCommand.MODIFY_STRICT):
                raise OpenFlowError("flow_mod_failed.bad_table_id", "flow-mod: only deletion is for all tables")
            return self._tables
        return (self._table(mod.table),)

    def _table(self, number: int) -> FlowTable:
        if number > LAST_TABLE:
            text = f"flow-mod: table {number} exceeds the last table {LAST_TABLE}"
            raise OpenFlowError("flow_mod_failed.bad_table_id", text)
        return self._tables[number]

    def _strict(self, mod: FlowMod, tables: Iterable[FlowTable]) -> list[Rule]:
        found = []
        for table in tables:
            if table.classifier.size:
                rule = table.classifier.find(mod.match, mod.priority)
                if rule is not None and _chosen(rule, mod.cookie, mod.cookie_mask, mod.out_port, mod.out_group):
                    found.append(rule)
        return found

    def _loose(self, mod: FlowMod, tables: Iterable[FlowTable]) -> list[Rule]:
        found = []
        for table in tables:
            if table.classifier.size:
                found.extend(table.classifier.within(mod.match))
        return _filtered(found, mod.cookie, mod.cookie_mask, mod.out_port, mod.out_group)

    def matching(
        self, match: FlowMatch, table: int, out_port: int, out_group: int, cookie: int, cookie_mask: int
    ) -> list[Rule]:
        """The flows that a request for statistics is about. OpenFlowError: there is no such table."""
        if table != ALL_TABLES and table > LAST_TABLE:
            text = f"table {table} exceeds the last table {LAST_TABLE}"
            raise OpenFlowError("bad_request.bad_table_id", text)
        found: list[Rule] = []
        for each in self._tables if table == ALL_TABLES else (self._tables[table],):
            if each.classifier.size:
                found.extend(each.classifier.within(match))
        return _filtered(found, cookie, cookie_mask, out_port, out_group)

    def _admit(self, mod: FlowMod, match: FlowMatch, table: int, version: int) -> tuple[tuple[str, int], ...]:
        """The groups and meters that its actions use. OpenFlowError: one of them is refused."""
        return Admission(self.groups, self.meters, match, table, version).check(mod.actions)

    def _add(self, mod: FlowMod, now_ns: int, version: int) -> list[Change]:
        number = mod.table
        if number is None or (number == ALL_TABLES and version == 1):
            number = 0
        table = self._table(number)
        flags = mod.flags
        if flags & _EMERGENCY:
            raise OpenFlowError("flow_mod_failed.table_full", "flow-mod: there is no room for emergency flows")
        if version < 3 and mod.command == FlowCommand.ADD:
            flags |= _RESET_COUNTS  # OpenFlow 1.1 section 6.4; from 1.2 on counters are kept
        uses = self._admit(mod, mod.match, number, version)
        cookie = mod.cookie if mod.new_cookie is None else mod.new_cookie
        classifier = table.classifier
        there = classifier.find(mod.match, mod.priority)
        if flags & _CHECK_OVERLAP and there is None:  # one that is equal is replaced
            other = classifier.overlapping(mod.match, mod.priority)
            if other is not None:
                text = f"flow-mod: {mod.match!r} overlaps {other.match!r}, which has priority {other.priority} too"
                raise OpenFlowError("flow_mod_failed.overlap", text)
        changes: list[Change] = []
        if there is None and (classifier.size >= table.max_flows or self.flows >= self.max_all_flows):
            changes.append(self._evict(table))
        rule = Rule(
            number, mod.match, mod.priority, mod.actions, cookie, flags=flags,
            idle_timeout_s=mod.idle_timeout_s, hard_timeout_s=mod.hard_timeout_s, importance=mod.importance,
            now_ns=now_ns,
        )  # fmt: skip
        rule.uses = uses
        if there is not None:
            if not flags & _RESET_COUNTS:
                rule.packets, rule.bytes = there.packets, there.bytes
                self._journal.note(setattr, there, "heir", None)
                there.heir = rule
            self._take_out(there)
        self._put_in(rule)
        changes.append(Change("added", rule, replaces=there))
        return changes

    def _modify(self, mod: FlowMod, rules: list[Rule], now_ns: int, version: int) -> list[Change]:
        """Other actions for these flows; counters, timeouts and flags stay (OpenFlow 1.3.5 section 6.4)."""
        admitted = [self._admit(mod, rule.match, rule.table, version) for rule in rules] if mod.actions else None
        conjunctive = any(type(action) is a.Conjunction for action in mod.actions)
        cookie = mod.new_cookie
        if cookie is None and version == 1 and not mod.cookie_mask and mod.cookie != _NO_COOKIE:
            cookie = mod.cookie  # OpenFlow 1.0 has no other
        changes = []
        for index, rule in enumerate(rules):
            before = rule.actions, rule.uses
            state = (rule.actions, rule.uses, rule.cookie, rule.modified_ns, rule.packets, rule.bytes)
            self._journal.note(self._become, rule, *state)
            reset = mod.flags & _RESET_COUNTS
            self._become(
                rule, mod.actions, admitted[index] if admitted else (), rule.cookie if cookie is None else cookie,
                now_ns, 0 if reset else rule.packets, 0 if reset else rule.bytes, conjunctive=conjunctive,
            )  # fmt: skip
            changes.append(Change("modified", rule, None, None, *before))
        return changes

    def _become(
        self,
        rule: Rule,
        actions: tuple[FlowAction, ...],
        uses: tuple[tuple[str, int], ...],
        cookie: int,
        modified_ns: int,
        packets: int,
        size: int,
        *,
        conjunctive: bool = True,
    ) -> None:
        table = self._tables[rule.table]
        classifier = table.classifier
        if conjunctive or rule.conjunctions:
            classifier.remove(rule)
            rule.conjunctions = tuple(action for action in actions if isinstance(action, a.Conjunction))
            classifier.insert(rule)
        if uses != rule.uses:
            self._unlink(rule)
            rule.uses = uses
            self._link(rule)
        table.set_cookie(rule, cookie)
        rule.actions, rule.modified_ns = actions, modified_ns
        rule.packets, rule.bytes = packets, size

    # ---- flows come and go

    def remove(self, rule: Rule, reason: FlowRemovedReason) -> Change:
        """Take a flow out of its table."""
        self._take_out(rule)
        return Change("removed", rule, reason)

    def remove_all(self, rules: Iterable[Rule], reason: FlowRemovedReason) -> list[Change]:
        """Take these flows out, those of them that are still there."""
        return self._unlearn([self.remove(rule, reason) for rule in list(rules) if not rule.removed])

    def _put_in(self, rule: Rule) -> None:
        self._journal.note(self._undo_put_in, rule)
        table = self._tables[rule.table]
        table.insert(rule)
        self.flows += 1
        if table.candidates is not None and (rule.idle_timeout_s or rule.hard_timeout_s):
            heappush(table.candidates, self._candidate(rule))
            if len(table.candidates) > 2 * len(table) + 1024:  # mostly flows that are there no more
                table.candidates = None
        if rule.uses:
            self._link(rule)
        if rule.idle_timeout_s or rule.hard_timeout_s:
            self._timed += 1
            self._watch(rule)

    def _take_out(self, rule: Rule) -> None:
        self._journal.note(self._undo_take_out, rule)
        self._undo_put_in(rule)

    def _undo_put_in(self, rule: Rule) -> None:
        self._tables[rule.table].remove(rule)
        self.flows -= 1
        if rule.uses:
            self._unlink(rule)
        if rule.deadline_ns:
            self._timed -= 1
            rule.deadline_ns = 0

    def _undo_take_out(self, rule: Rule) -> None:
        self._tables[rule.table].insert(rule)
        self.flows += 1
        if rule.uses:
            self._link(rule)
        if rule.idle_timeout_s or rule.hard_timeout_s:
            self._timed += 1
            self._watch(rule)

    def _link(self, rule: Rule) -> None:
        for kind, number in rule.uses:
            if kind == "learned":
                self._teachers[number] = self._teachers.get(number, 0) + 1
                continue
            owner = self.groups.get(number) if kind == "group" else self.meters.get(number)
            if owner is not None:
                owner.rules[rule] = None

    def _unlink(self, rule: Rule) -> None:
        for kind, number in rule.uses:
            if kind == "learned":
                self._teachers[number] -= 1
                if not self._teachers[number]:
                    del self._teachers[number]
                continue
            owner = self.groups.get(number) if kind == "group" else self.meters.get(number)
            if owner is not None:
                owner.rules.pop(rule, None)

    def _evict(self, table: FlowTable) -> Change:
        """Make room for one flow. OpenFlowError: none may go."""
        victim = self._victim(table) if table.eviction else None
        if victim is None:
            table.refused += 1
            most = min(table.max_flows, self.max_all_flows)
            text = f"flow-mod: no room in table {table.number}: it has {len(table)} flows, and may have {most}"
            raise OpenFlowError("flow_mod_failed.table_full", text)
        table.evicted += 1
        return self.remove(victim, FlowRemovedReason.EVICTION)

    def _victim(self, table: FlowTable) -> Rule | None:
        """The flow of the least importance; of these the one that would go first (OpenFlow 1.4.1 section 6.5). Flows
        without a timeout are there to stay, as Open vSwitch has it."""
        if table.candidates is None:
            table.candidates = [self._candidate(rule) for rule in table if rule.deadline_ns]
            heapify(table.candidates)
        heap = table.candidates
        while heap:
            rule = heap[0][3]
            if rule.removed:
                heappop(heap)
                continue
            as_it_is = self._candidate(rule)
            if as_it_is[:2] == heap[0][:2]:
                return rule
            heapreplace(heap, as_it_is)
        return None

    def _candidate(self, rule: Rule) -> tuple[int, int, int, Rule]:
        self._number += 1
        return rule.importance, rule.expiry_ns(), self._number, rule

    # ---- timeouts

    def _watch(self, rule: Rule) -> None:
        """Look at its timeouts when one of them could be over."""
        self._number += 1
        rule.deadline_ns = rule.expiry_ns()
        heappush(self._deadlines, (rule.deadline_ns, self._number, rule))
        if len(self._deadlines) > 2 * self._timed + 1024:  # mostly flows that are there no more
            self._deadlines = [each for each in self._deadlines if each[2].deadline_ns == each[0]]
            heapify(self._deadlines)

    def expire(self, now_ns: int) -> list[Change]:
        """Take out the flows whose time is over. The flows' `used_ns` are to be true before."""
        changes = []
        deadlines = self._deadlines
        while deadlines and deadlines[0][0] <= now_ns:
            deadline, _, rule = heappop(deadlines)
            if rule.deadline_ns != deadline:
                continue
            reason = rule.expired(now_ns)
            if reason is None:
                self._watch(rule)
                deadlines = self._deadlines
            else:
                changes.append(self.remove(rule, reason))
        return self._unlearn(changes)

    def reduce_timeouts(self, rule: Rule, idle_timeout_s: int, hard_timeout_s: int) -> None:
        """Its timeouts are no longer than these from now on (0: as it is): what fin_timeout does."""
        if rule.removed:
            return
        if idle_timeout_s and not 0 < rule.idle_timeout_s <= idle_timeout_s:
            rule.idle_timeout_s = idle_timeout_s
        if hard_timeout_s and not 0 < rule.hard_timeout_s <= hard_timeout_s:
            rule.hard_timeout_s = hard_timeout_s
        if rule.expiry_ns() and rule.expiry_ns() != rule.deadline_ns:
            if not rule.deadline_ns:
                self._timed += 1
            self._watch(rule)
            candidates = self._tables[rule.table].candidates
            if candidates is not None:
                heappush(candidates, self._candidate(rule))

    # ---- tables

    def configure(self, mod: TableMod) -> None:
        """Do what a table-mod says. OpenFlowError: there is no such table, or no such configuration."""
        if mod.table != ALL_TABLES and mod.table > LAST_TABLE:
            text = f"table-mod: table {mod.table} exceeds the last table {LAST_TABLE}"
            raise OpenFlowError("table_mod_failed.bad_table", text)
        if mod.vacancy and not mod.vacancy_down <= mod.vacancy_up <= 100:
            text = f"table-mod: vacancy down {mod.vacancy_down} %, up {mod.vacancy_up} % is not in order"
            raise OpenFlowError("bad_property.bad_value", text)
        for table in self._tables if mod.table == ALL_TABLES else (self._tables[mod.table],):
            if mod.miss is not None:
                self._journal.note(setattr, table, "miss", table.miss)
                table.miss = mod.miss
            if mod.eviction is not None:
                self._journal.note(setattr, table, "eviction", table.eviction)
                self._journal.note(setattr, table, "eviction_flags", table.eviction_flags)
                table.eviction, table.eviction_flags = mod.eviction, mod.eviction_flags or _ALL_REASONS_TO_EVICT
            if mod.vacancy is not None:
                for name in ("vacancy", "vacancy_down", "vacancy_up", "vacancy_low"):
                    self._journal.note(setattr, table, name, getattr(table, name))
                table.vacancy, table.vacancy_down, table.vacancy_up = mod.vacancy, mod.vacancy_down, mod.vacancy_up
                table.vacancy_low = table.vacancy_now < mod.vacancy_down


def _first_table(mod: FlowMod) -> int:
    return 0 if mod.table is None or mod.table == ALL_TABLES else mod.table


def _filtered(rules: list[Rule], cookie: int, cookie_mask: int, out_port: int, out_group: int) -> list[Rule]:
    if not cookie_mask and out_port == ANY_PORT and out_group == ANY_GROUP:
        return rules
    return [rule for rule in rules if _chosen(rule, cookie, cookie_mask, out_port, out_group)]


def _chosen(rule: Rule, cookie: int, cookie_mask: int, out_port: int, out_group: int) -> bool:
    return (
        not (rule.cookie ^ cookie) & cookie_mask
        and (out_port == ANY_PORT or outputs_to(rule.actions, out_port))
        and (out_group == ANY_GROUP or points_to_group(rule.actions, out_group))
    )


def outputs_to(actions: tuple[FlowAction, ...], port: int) -> bool:
    """Whether one of them sends to that port."""
    for action in actions:
        if isinstance(action, a.Output | a.Enqueue):
            if action.port == port:
                return True
        elif isinstance(action, a.WriteActions | a.Clone):
            if outputs_to(action.actions, port):
                return True
        elif isinstance(action, a.Controller) and port == 0xFFFFFFFD:
            return True
    return False


def points_to_group(actions: tuple[FlowAction, ...], group: int) -> bool:
    """Whether one of them gives the packet to that group."""
    for action in actions:
        if isinstance(action, a.Group):
            if action.id == group:
                return True
        elif isinstance(action, a.WriteActions | a.Clone) and points_to_group(action.actions, group):
            return True
    return False
