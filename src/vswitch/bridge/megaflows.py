"""The megaflows of a bridge: each with the translation that it follows from, and what it has counted so far.

Packets are counted in the kernel, by megaflow. `push` asks which have counted since the last time, and credits what is
new to the rules, groups and meters that the megaflow's translation has passed. So it is pushed each second, before
anybody asks, and before a megaflow goes.

There may be `limit` of them. When that is reached, those go which have been idle for longest.

Invariant: each slot of the datapath that this process filled is in `_by_slot`, and each of those is in the index.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING

from vswitch.api.flows import Flows
from vswitch.bridge.index import Index
from vswitch.bridge.sends import Sends
from vswitch.datapath.backend import FlowStore
from vswitch.model.match import Match
from vswitch.model.megaflow import Rule as Megaflow
from vswitch.upcalls.batches import Upcalls

if TYPE_CHECKING:
    from vswitch.ofproto.translation import Dependency, Translation

__all__ = ["Megaflows", "Standing"]

EVICT_TO = 0.9
"""Of the limit: what is left, so that it is not done for each new one."""


class Standing:
    """A megaflow. `rule`: as it lies in the datapath; `key`: that of the flow of its first packet; `numbers`: of what
    its userspace actions stand for; `packets`, `bytes`: what was credited so far; `used_ns`: when it last counted."""

    __slots__ = ("bytes", "indexed", "key", "numbers", "packets", "rule", "slot", "translation", "used_ns")

    def __init__(self, rule: Megaflow, key: int, translation: Translation, numbers: tuple[int, ...], now_ns: int):
        # hot: once per megaflow
        self.rule = rule
        self.key = key
        self.translation = translation
        self.numbers = numbers
        self.slot = 0
        self.packets = 0
        self.bytes = 0
        self.used_ns = now_ns
        self.indexed = False


Credit = Callable[["Translation", int, int, int], None]
"""Called with a translation, packets, bytes, and the time of the last one."""


class Megaflows:
    """What stands in the datapath, and where to find it."""

    def __init__(
        self, flows: Flows, store: FlowStore, sends: Sends, now_ns: Callable[[], int], credit: Credit, limit: int
    ) -> None:
        self._flows = flows
        self._store = store
        self._sends = sends
        self._now_ns = now_ns
        self._credit = credit
        self.limit = limit
        self.index: Index[Standing] = Index()
        self._by_slot: dict[int, Standing] = {}
        self._counting: list[int] = []  # slots that have counted what was not credited yet
        self._begun: dict[int, Standing] = {}  # by the identity of the rule: answered in this batch, not installed yet
        self.forget = flows.on_removal
        flows.on_removal = self._removed
        self.upcalls: Upcalls | None = None
        self.looked_at = self.withdrawn = self.kept = self.evicted = 0

    def __len__(self) -> int:
        return len(self._by_slot)

    def __iter__(self) -> Iterator[Standing]:
        return iter(self._by_slot.values())

    # ---- coming

    def begin(self, standing: Standing) -> None:
        """Its rule is the answer to an upcall, and about to be installed."""
        # hot: once per upcall
        self._begun[id(standing.rule)] = standing

    def installed(self, rules: Sequence[Megaflow], slots: Sequence[int]) -> None:
        """These have been, in these slots."""
        # hot: once per batch
        begun, by_slot, add = self._begun, self._by_slot, self.index.add
        for rule, slot in zip(rules, slots, strict=True):
            standing = begun.pop(id(rule), None)
            if standing is not None:
                standing.slot = slot
                by_slot[slot] = standing
                add(standing)

    def end_batch(self) -> None:
        """What was not installed in it never will be."""
        for standing in self._begun.values():
            self._sends.release(standing.numbers)
        self._begun.clear()

    def withdraw_begun(self, parts: Collection[Dependency]) -> None:
        """Answers of this batch that depend on one of these hold for their own packets alone."""
        if self._begun and self.upcalls is not None:
            stale = {
                standing.rule.match
                for standing in self._begun.values()
                if not standing.translation.depends.isdisjoint(parts)
            }
            if stale:
                self.upcalls.withdraw(stale)

    def make_way(self, rules: list[Megaflow]) -> set[Match]:
        """Take away what stands in the way of rules that were just answered: what follows from tables as they were, and
        is right for fewer packets than it could be by now."""
        new = [rule.match for rule in rules]
        stale = [
            standing
            for standing in self._by_slot.values()
            if any(standing.rule.match.overlaps(match) and standing.rule.match != match for match in new)
        ]
        gone = {standing.rule.match for standing in stale}
        self.withdraw(stale)
        return gone | self._strangers_gone(new)

    def _strangers_gone(self, new: list[Match]) -> set[Match]:
        """The same, of megaflows that an earlier process left."""
        slots = [slot for slot in self._store.slots() if slot not in self._by_slot]
        rules = [(slot, self._store.rule(slot)) for slot in slots]
        stale = [(slot, rule) for slot, rule in rules if any(rule.match.overlaps(match) for match in new)]
        self._flows.remove_slots([rule for _, rule in stale], [slot for slot, _ in stale])
        return {rule.match for _, rule in stale}

    def follow(self, standing: Standing, translation: Translation) -> None:
        """It stays, and follows from another translation from now on: what it has counted so far belongs to the old."""
        self._push(standing, self._now_ns())
        self.index.remove([standing])
        standing.translation = translation
        self.index.add(standing)

    # ---- going

    def withdraw(self, standing: Collection[Standing]) -> None:
        """Take these away; what they have counted is credited."""
        if standing:
            if self.upcalls is not None:
                self.upcalls.withdraw({each.rule.match for each in standing})
            self._flows.remove_slots([each.rule for each in standing], [each.slot for each in standing])

    def forget_strangers(self) -> int:
        """Take away what an earlier process left; how many there were."""
        slots = [slot for slot in self._store.slots() if slot not in self._by_slot]
        if slots:
            self._flows.remove_slots([self._store.rule(slot) for slot in slots], slots)
        return len(slots)

    def _removed(self, rules: Collection[Megaflow] | None, slots: Collection[int]) -> None:
        """Of the datapath's flows: these are there no more, and what they have counted can still be read."""
        gone = [standing for slot in slots if (standing := self._by_slot.pop(slot, None)) is not None]
        now_ns = self._now_ns()
        for standing in gone:
            self._push(standing, now_ns)
            self._sends.release(standing.numbers)
        if len(gone) > len(self._by_slot):
            self.index.restart(list(self._by_slot.values()))
        else:
            self.index.remove(gone)
        self.forget(rules, slots)

    def expire(self, now_ns: int) -> int:
        """Take away those that were idle for their time; how many."""
        slots = self._store.expired(now_ns)
        if not slots:
            return 0
        by_slot = self._by_slot
        rules = [by_slot[slot].rule if slot in by_slot else self._store.rule(slot) for slot in slots]
        self._flows.remove_slots(rules, slots)
        return len(slots)

    def evict(self) -> int:
        """If there are too many, take those away that have been idle for longest; how many."""
        if len(self._by_slot) < self.limit:
            return 0
        by_age = sorted(self._by_slot.values(), key=lambda standing: standing.used_ns)
        oldest = by_age[: len(by_age) - int(self.limit * EVICT_TO)]
        self.withdraw(oldest)
        self.evicted += len(oldest)
        return len(oldest)

    # ---- counting

    def push(self, now_ns: int) -> None:
        """Credit what was counted since the last time."""
        self.push_some(now_ns)
        self.look_who_counts()
        self.push_some(now_ns)

    def look_who_counts(self) -> int:
        """Find those that have counted since the last time, for `push_some`; how many."""
        self._counting += self._store.counting()
        return len(self._counting)

    def push_some(self, now_ns: int, most: int | None = None) -> bool:
        """Credit what these have counted, or so many of them. Whether there are more: then timeouts of rules are not to
        be looked at yet."""
        counting, by_slot = self._counting, self._by_slot
        begin = 0 if most is None else max(len(counting) - most, 0)
        for slot in counting[begin:]:
            standing = by_slot.get(slot)
            if standing is not None:
                self._push(standing, now_ns)
        del counting[begin:]
        return bool(counting)

    def _push(self, standing: Standing, now_ns: int) -> None:
        stats = self._store.stats(standing.slot, now_ns)
        packets, size = stats.packets - standing.packets, stats.bytes - standing.bytes
        if packets <= 0:
            return
        standing.packets, standing.bytes = stats.packets, stats.bytes
        standing.used_ns = now_ns if stats.used_s is None else now_ns - round(stats.used_s * 1e9)
        self._credit(standing.translation, packets, size, standing.used_ns)
