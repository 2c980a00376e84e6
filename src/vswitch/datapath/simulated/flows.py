"""Megaflows in Python dictionaries: what the kernel's half keeps in its maps, and decides by them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from vswitch.base.errors import ExistsError, NotFoundError, TableFullError
from vswitch.datapath.backend import Control
from vswitch.fields import FIELDS
from vswitch.model.actions import Action, check_actions
from vswitch.model.match import Match
from vswitch.model.megaflow import FlowStats, Megaflow, Rule
from vswitch.model.overlap import OverlapIndex

__all__ = ["SimulatedArena", "SimulatedFlows"]

_TCP_FLAGS = FIELDS["tcp_flags"]


@dataclass(slots=True)
class SimulatedArena:
    """Action lists by a number that means them."""

    lists: dict[int, tuple[Action, ...]] = field(default_factory=dict)
    _last: int = 0

    def acquire_list(self, actions: tuple[Action, ...]) -> int:
        """A number for the list."""
        self._last += 1
        self.lists[self._last] = check_actions(actions)
        return self._last

    def release(self, word: int) -> None:
        """It means nothing any more."""
        del self.lists[word]


@dataclass(slots=True)
class _Flow:
    rule: Rule
    created_ns: int
    used_ns: int = 0
    packets: int = 0
    bytes: int = 0
    tcp_flags: int = 0
    seen: int = 0  # packets, by `counting`


class SimulatedFlows:
    """The megaflows of one simulated datapath."""

    def __init__(self, control: Control, max_flows: int, max_masks: int, now_ns: Callable[[], int]) -> None:
        self._control = control
        self.arena = SimulatedArena()
        self._max_flows = max_flows
        self._max_masks = max_masks
        self._now_ns = now_ns
        self._flows: dict[int, _Flow] = {}
        self._tables: dict[tuple[int, int], dict[int, int]] = {}  # priority, mask -> value -> slot
        self._order: list[tuple[int, int]] = []
        self._overlaps: dict[int, OverlapIndex] = {}  # by priority
        self._gone: dict[int, _Flow] = {}  # by the last change; their statistics are asked for behind it
        self._last = 0
        self.masks_tried = 0

    def need_control(self) -> None:
        """Whoever has a simulated datapath controls it. ConfigError if it is closed."""
        self._control.need_open()

    # ---- changing

    def apply(
        self,
        add: Sequence[Rule],
        remove: Sequence[int] = (),
        *,
        atomic: bool = False,  # noqa: ARG002 - packets do not come meanwhile
        gated: bool = False,  # noqa: ARG002 - nor before others
    ) -> list[int]:
        """Add rules and take flows away, all or none; the slots of the new flows."""
        self.need_control()
        gone = set(remove)
        self._check(add, gone)
        self._gone = {slot: self._flows[slot] for slot in gone}
        for slot in gone:
            self._forget(slot)
        slots = []
        for rule in add:
            self._last += 1
            self._flows[self._last] = _Flow(rule, self._now_ns())
            self._tables.setdefault((rule.priority, rule.match.mask), {})[rule.match.value] = self._last
            slots.append(self._last)
        self._order = sorted(self._tables, reverse=True)
        return slots

    def _forget(self, slot: int) -> None:
        rule = self._flows.pop(slot).rule
        table = self._tables[rule.priority, rule.match.mask]
        del table[rule.match.value]
        if not table:
            del self._tables[rule.priority, rule.match.mask]

    def _check(self, add: Sequence[Rule], gone: set[int]) -> None:
        """ExistsError, OverlapError, TableFullError, and nothing changed; else the indexes of overlaps know of it."""
        new: dict[int, dict[Match, Rule]] = {}
        for rule in add:
            slot = self._slot(rule.match, rule.priority)
            same = new.setdefault(rule.priority, {})
            if (slot is not None and slot not in gone) or rule.match in same:
                raise ExistsError(f"megaflow {rule.match!r} of priority {rule.priority} exists already")
            same[rule.match] = rule
        old: dict[int, list[Match]] = {}
        for slot in gone:
            rule = self._flows[slot].rule
            old.setdefault(rule.priority, []).append(rule.match)
        noted: list[tuple[OverlapIndex, list[Match], list[Match]]] = []
        try:
            for priority in new.keys() | old.keys():
                self._note(priority, new.get(priority, {}), old.get(priority, []), noted)
            self._check_bounds(add, gone)
        except BaseException:
            for index, added, discarded in noted:
                index.discard(added)
                index.restore(discarded)
            raise

    def _note(
        self,
        priority: int,
        new: Iterable[Match],
        old: list[Match],
        noted: list[tuple[OverlapIndex, list[Match], list[Match]]],
    ) -> None:
        """Where all rules of a priority have one mask, none overlap, and there is no index."""
        masks = {mask for of, mask in self._tables if of == priority}.union(match.mask for match in new)
        if len(masks) < 2:
            self._overlaps.pop(priority, None)
            return
        index = self._overlaps.get(priority)
        if index is None:
            index = self._overlaps[priority] = OverlapIndex(lambda mask: self._tables.get((priority, mask), ()))
        index.prepare(masks)
        index.discard(old)
        noted.append((index, [], old))
        noted[-1][1].extend(index.add(new, masks))

    def _check_bounds(self, add: Sequence[Rule], gone: set[int]) -> None:
        if len(self._flows) - len(gone) + len(add) > self._max_flows:
            raise TableFullError(f"{self._max_flows} megaflows are the most that there can be (max_flows)")
        left = Counter((rule.priority, rule.match.mask) for rule in (self._flows[slot].rule for slot in gone))
        emptied = {table for table, count in left.items() if count == len(self._tables[table])}
        wanted = {(rule.priority, rule.match.mask) for rule in add}
        if len(self._tables) - len(emptied - wanted) + len(wanted - self._tables.keys()) > self._max_masks:
            raise TableFullError(f"{self._max_masks} masks are the most that there can be (max_masks)")

    def modify(self, slot: int, rule: Rule) -> None:
        """Other actions and timeouts for a flow, whose time begins anew if it has some."""
        self._flows[slot].rule = rule
        if rule.idle_timeout_s or rule.hard_timeout_s:
            self._flows[slot].created_ns = self._now_ns()

    def open_gates(self, _slots: Sequence[int], _sent: Mapping[int, int]) -> list[int]:
        """There are none."""
        return []

    def remove_gates(self, _slots: Iterable[int]) -> None:
        """There are none."""

    # ---- looking

    @property
    def masks(self) -> list[tuple[Match, int, int]]:
        """(mask, priority, flows), highest priority first."""
        self._control.need_open()
        return [
            (Match.from_ints(0, mask), priority, len(self._tables[priority, mask])) for priority, mask in self._order
        ]

    def _slot(self, match: Match, priority: int) -> int | None:
        return self._tables.get((priority, match.mask), {}).get(match.value)

    def find(self, match: Match, priority: int) -> int:
        """The slot of a flow. NotFoundError."""
        self._control.need_open()
        slot = self._slot(match, priority)
        if slot is None:
            raise NotFoundError(f"no megaflow {match!r} of priority {priority}")
        return slot

    def lookup(self, key: int) -> int | None:
        """The slot of the flow that takes a packet with this key."""
        for priority, mask in self._order:
            self.masks_tried += 1
            slot = self._tables[priority, mask].get(key & mask)
            if slot is not None:
                return slot
        return None

    def hiding(self, rule: Rule, gone: Mapping[int, object]) -> Rule | None:
        """A rule of higher priority, not in a slot of `gone`, that takes all packets of `rule`."""
        for (priority, mask), table in self._tables.items():
            if priority > rule.priority and mask & ~rule.match.mask == 0:
                slot = table.get(rule.match.value & mask)
                if slot is not None and slot not in gone:
                    return self._flows[slot].rule
        return None

    def slots(self) -> list[int]:
        """Those that hold flows."""
        self._control.need_open()
        return sorted(self._flows)

    def rule(self, slot: int) -> Rule:
        """What the flow was asked to be."""
        return self._flows[slot].rule

    def read(self, slot: int, now_ns: int | None = None) -> Megaflow:
        """The flow, with its statistics."""
        rule = self._flows[slot].rule
        return Megaflow(
            rule.match, rule.actions, rule.priority, rule.idle_timeout_s, rule.hard_timeout_s, self.stats(slot, now_ns)
        )

    def stats(self, slot: int, now_ns: int | None = None) -> FlowStats:
        """What the flow has counted, also of one that was taken away by the last change."""
        flow = self._flows.get(slot) or self._gone[slot]
        now = self._now_ns() if now_ns is None else now_ns
        used_s = max(now - flow.used_ns, 0) / 1e9 if flow.packets else None
        return FlowStats(flow.packets, flow.bytes, used_s, flow.tcp_flags, max(now - flow.created_ns, 0) / 1e9)

    def dump(self) -> Iterator[Megaflow]:
        """All of them."""
        for slot in self.slots():
            if slot in self._flows:
                yield self.read(slot)

    def counting(self) -> list[int]:
        """Slots of flows that have counted packets since the last call."""
        found = [slot for slot, flow in self._flows.items() if flow.packets != flow.seen]
        for slot in found:
            self._flows[slot].seen = self._flows[slot].packets
        return found

    def count(self, slot: int, length: int, key: int) -> None:
        """A packet of the flow has come."""
        flow = self._flows[slot]
        flow.packets += 1
        flow.bytes += length
        flow.tcp_flags |= _TCP_FLAGS.take(key)
        flow.used_ns = self._now_ns()

    def expired(self, now_ns: int) -> list[int]:
        """Slots of flows whose timeout is over."""
        return [slot for slot, flow in self._flows.items() if self._is_over(flow, now_ns)]

    @staticmethod
    def _is_over(flow: _Flow, now_ns: int) -> bool:
        idle, hard = flow.rule.idle_timeout_s, flow.rule.hard_timeout_s
        idle_since = max(flow.used_ns, flow.created_ns)
        return (idle is not None and now_ns - idle_since >= idle * 1e9) or (
            hard is not None and now_ns - flow.created_ns >= hard * 1e9
        )
