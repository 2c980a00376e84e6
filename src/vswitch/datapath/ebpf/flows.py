"""Megaflows in the kernel: slots, masks, versions, and changes that packets see whole or not at all.

A change is a set of flows to add and a set to take away. If one new version suffices for packets to see it (the rule
for nearly all), flows are written, indexed, and there; else they are written with `born` and `died` set to the
next version, and one store of the version number makes all of them true at once.

What has been taken away may still be in the hands of a packet on another CPU. It is used again only after a grace
period, which also is what makes a call return late enough: once it has, no packet sees the old rule.

Invariants
  - `_masks` counts the flows of each (mask, priority); a mask is in the current view exactly if it has some.
  - A slot is free, or holds a flow that is indexed.
  - The seed of the view changes when a flow comes to lie over others of lower priority, and before a slot is used
    again while there is more than one priority: a cached answer is then never one that a better rule hides.
"""

from __future__ import annotations

import contextlib
import functools
import secrets
import time
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Concatenate, ParamSpec, TypeVar

from vswitch.base.errors import ConfigError, ExistsError, LimitError, NotFoundError, TableFullError, VswitchError
from vswitch.datapath.ebpf.bpf_syscall import wait_for_programs
from vswitch.datapath.ebpf.layout import (
    DATAPATH,
    FLOW,
    FLOW_STATS,
    GATE,
    MASK,
    MAX_MASKS,
    NO_MASK,
    STAGE,
    VIEWS,
    ControlCode,
    ControlResult,
)
from vswitch.datapath.ebpf.oplist import Arena
from vswitch.datapath.ebpf.state import State
from vswitch.fields import KEY_BYTES, KEY_WORDS
from vswitch.model.match import Match
from vswitch.model.megaflow import FlowStats, Megaflow, Rule
from vswitch.model.overlap import OverlapIndex

__all__ = ["FlowTable"]

_P = ParamSpec("_P")
_R = TypeVar("_R")

_TRIES = 10
"""How often a reader looks again at what the controlling process has changed just then."""
_FOUND = 1 << 31
_WORD = (1 << 64) - 1
_FLOW_WORDS = FLOW.size // 8
_FLOW_INTS = FLOW.size // 4
_AT_MASK, _AT_BORN, _AT_DIED, _AT_IDLE, _AT_HARD, _AT_WANTED = 2, 3, 4, 5, 60, 61  # 32-bit members of struct flow
_AT_KEY = 24  # bytes


@dataclass(slots=True)
class _Noted:
    """What a change has done to the indexes of overlaps, by priority."""

    added: dict[int, list[Match]] = field(default_factory=dict)
    gone: dict[int, set[Match]] = field(default_factory=dict)


@dataclass(slots=True)
class _Mask:
    """One mask at one priority, as it lies in `dp.masks[id]`."""

    id: int
    mask: int
    priority: int
    words: tuple[int, ...]
    flows: int = 0


def _whole(change: Callable[Concatenate[FlowTable, _P], _R]) -> Callable[Concatenate[FlowTable, _P], _R]:
    """A change that Ctrl-C, or what else a signal's handler raises, may end anywhere: it is then finished or undone as
    if this process had been killed, and another had taken up what it left."""

    @functools.wraps(change)
    def changing(table: FlowTable, /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return change(table, *args, **kwargs)
        except Exception:  # undone by the change itself
            raise
        except BaseException:
            table._take_up()
            raise

    return changing


class FlowTable:
    """The megaflows of one datapath. What changes them needs the lock of `state`."""

    def __init__(self, state: State, max_masks: int, controlled: bool) -> None:
        self._state = state
        self._controlled = controlled
        self._max_masks = max_masks
        self._flows = state.memory["flows"].view
        self._flow_words = self._flows.cast("Q")
        self._flow_ints = self._flows.cast("I")
        self._stats = state.memory["flow_stats"].view
        self._words = state.words
        self._stage = state.words[DATAPATH.STAGE_ID // 4 : DATAPATH.STAGE_ID // 4 + STAGE]
        self._results = state.words[DATAPATH.STAGE_RESULT // 4 : DATAPATH.STAGE_RESULT // 4 + STAGE]
        self._take_up()

    # ---- taking up what is there

    def _take_up(self) -> None:
        """Read the books from what is in the kernel."""
        self._masks: dict[tuple[int, int], _Mask] = {}
        self._masks_by_id: dict[int, _Mask] = {}
        self._free: list[int] = []
        self._free_masks: list[int] = []
        self._priorities: Counter[int] = Counter()  # masks of each
        self._overlaps: dict[int, OverlapIndex] = {}
        self._reused = False  # slots were given back since the last new seed
        self._unsettled = 0  # versions since the last grace period
        self._timed = 0  # flows that have a timeout
        self._highest = 0  # slot that has been in use
        self._counted: list[int] = []  # packets of each slot, as `counting` saw them
        self.arena = Arena(self._state.memory["ops"].view)
        self._read_masks()
        if self._controlled:
            self._adopt()

    def _read_masks(self) -> None:
        """Masks and priorities of the current view. A mask's priority is kept in its `pad`, for this purpose."""
        for _ in range(_TRIES):
            version = self.version
            view = self._view_at(version)
            count = min(self._words[(view + DATAPATH.VIEW_N_MASKS) // 4], MAX_MASKS)
            order = self._state.bytes[view + DATAPATH.VIEW_ORDER :].cast("B")[: 2 * count].cast("H").tolist()
            self._masks, self._masks_by_id = {}, {}
            for mask_id in order:
                entry = self._read_mask(mask_id % MAX_MASKS)
                self._masks[entry.mask, entry.priority] = self._masks_by_id[mask_id] = entry
            if self.version == version:  # else another process has changed them meanwhile
                break

    def _read_mask(self, mask_id: int) -> _Mask:
        _, n, priority, index, word = MASK.unpack_from(self._state.bytes, DATAPATH.MASKS + mask_id * MASK.size)
        words = range(min(n, KEY_WORDS))
        mask = sum(int.from_bytes(word[8 * j : 8 * j + 8], "little") << 64 * index[j] for j in words)
        return _Mask(mask_id, mask, priority, tuple(index[: len(words)]))

    def _adopt(self) -> None:
        """Count what an earlier controller left, and finish or undo the change in the middle of which it was killed."""
        used = self._flow_ints[_AT_MASK::_FLOW_INTS].tolist()
        held = [slot for slot in range(1, len(used)) if used[slot] != NO_MASK]
        gone = {slot for slot in held if used[slot] not in self._masks_by_id or not self._settle_turn(slot)}
        if gone:
            self._unindex(list(gone))
            wait_for_programs()
        self._priorities = Counter(entry.priority for entry in self._masks.values())
        words: Counter[int] = Counter()
        for slot in held:
            if slot not in gone:
                self._masks_by_id[used[slot]].flows += 1
                self._timed += self._has_timeout(slot)
                words[self._flow_words[slot * _FLOW_WORDS] & ~GATE] += 1
        taken = {slot for slot in held if slot not in gone}
        self._highest = max(taken, default=0)
        self.remove_gates(slot for slot in taken if self._flow_words[slot * _FLOW_WORDS] & GATE)
        self._free = [slot for slot in range(len(used) - 1, 0, -1) if slot not in taken]
        self._free_masks = [i for i in range(self._max_masks, 0, -1) if i not in self._masks_by_id]
        self.arena.adopt(words)
        self._drop_empty_masks()
        self._publish()  # a rule may have been indexed over others whose answers are cached

    def _settle_turn(self, slot: int) -> bool:
        """Make a flow of an unfinished change what packets see it as by now. Whether it is there."""
        at = slot * _FLOW_INTS
        born, died = self._flow_ints[at + _AT_BORN], self._flow_ints[at + _AT_DIED]
        if (born and not self._is_past(born)) or (died and self._is_past(died)):
            return False
        self._flow_ints[at + _AT_BORN] = self._flow_ints[at + _AT_DIED] = 0
        return True

    def _is_past(self, version: int) -> bool:
        return self.version - version & 0xFFFFFFFF < 1 << 31

    # ---- versions and views

    @property
    def version(self) -> int:
        """What packets that start now see."""
        return self._words[DATAPATH.VERSION // 4]

    @staticmethod
    def _view_at(version: int) -> int:
        return DATAPATH.VIEWS + version % VIEWS * DATAPATH.VIEW_SIZE

    def _publish(self) -> None:
        """Make the next version the current one: the masks that have flows, a new seed."""
        if self._unsettled >= VIEWS - 2:
            self._settle()
        version = self._next_version()
        at = self._view_at(version)
        entries = sorted(self._masks.values(), key=lambda entry: -entry.priority)
        union = 0
        for entry in entries:
            union |= entry.mask
        self._write_mask(at, union, 0)
        order = memoryview(bytearray(2 * len(entries))).cast("H")
        for place, entry in enumerate(entries):
            order[place] = entry.id
        begin = at + DATAPATH.VIEW_ORDER
        self._state.bytes[begin : begin + 2 * len(entries)] = order.cast("B")
        self._words[(at + DATAPATH.VIEW_N_MASKS) // 4] = len(entries)
        self._words[DATAPATH.VERSION // 4] = version
        self._unsettled += 1
        self._reused = False

    def _next_version(self) -> int:
        """Versions are 32 bits and 0 means none; `visible()` in bpf/lookup.h compares them across the turn."""
        return (self.version + 1 & 0xFFFFFFFF) or VIEWS

    def _settle(self) -> None:
        wait_for_programs()
        self._unsettled = 0

    def _write_mask(self, at: int, mask: int, priority: int) -> tuple[int, ...]:
        """Write a sparse mask at byte `at` of `dp`; the key words it looks at."""
        words = [mask >> 64 * i & _WORD for i in range(KEY_WORDS)]
        index = tuple(i for i in range(KEY_WORDS) if words[i])
        packed = b"".join(words[i].to_bytes(8, "little") for i in index)
        MASK.pack_into(self._state.bytes, at, secrets.randbits(64), len(index), priority, bytes(index), packed)
        return index

    def _mask_for(self, mask: int, priority: int) -> _Mask:
        entry = self._masks.get((mask, priority))
        if entry is None:
            if mask >> 8 * KEY_BYTES:
                raise ConfigError(f"a mask has bits beyond the {KEY_BYTES} bytes of a key")
            if not self._free_masks:
                raise TableFullError(f"no room for another mask: the datapath has all {self._max_masks} of max_masks")
            mask_id = self._free_masks.pop()
            words = self._write_mask(DATAPATH.MASKS + mask_id * MASK.size, mask, priority)
            entry = _Mask(mask_id, mask, priority, words)
            self._masks[mask, priority] = self._masks_by_id[mask_id] = entry
            self._priorities[priority] += 1
        return entry

    # ---- changing

    def need_control(self) -> None:
        """BusyError on a datapath that was opened for reading."""
        self._state.need_control("changing megaflows")

    @_whole
    def apply(
        self, add: Sequence[Rule], remove: Sequence[int] = (), *, atomic: bool = False, gated: bool = False
    ) -> list[int]:
        """Add rules and take flows (by slot) away; the slots of the new flows. All of it happens, or nothing does.

        `atomic`: packets see all of it or nothing. `gated`: packets of the new flows go on coming up until
        `open_gates`. ExistsError, OverlapError: a rule is there, or lies across another of its priority, that is not
        taken away. TableFullError, LimitError: a bound would be passed.
        """
        self.need_control()
        if self._reused and len({*self._priorities, *(rule.priority for rule in add)}) > 1:
            self._publish()
        noted = self._note(add, remove)
        known_masks = len(self._masks)
        versioned = atomic and len(add) + len(remove) > 1
        turn = self._next_version() if versioned else 0
        for slot in remove if versioned else ():
            self._flow_ints[slot * _FLOW_INTS + _AT_DIED] = turn
        try:
            slots = self._write(add, turn, GATE if gated else 0)
        except BaseException:
            for slot in remove:
                self._flow_ints[slot * _FLOW_INTS + _AT_DIED] = 0
            self._unnote(noted)
            raise
        hidden = self._hides_others(add)
        if versioned or hidden or len(self._masks) != known_masks:
            self._publish()
        if versioned or (hidden and not gated):  # nobody promises to an upcall that the old rule is out of sight
            self._settle()
        for slot in slots if versioned else ():
            self._flow_ints[slot * _FLOW_INTS + _AT_BORN] = 0
        if remove:
            self._take_away(remove)
        return slots

    def _hides_others(self, add: Sequence[Rule]) -> bool:
        """Whether one of these lies over others of lower priority."""
        if len(self._priorities) < 2:
            return False
        lowest = min(self._priorities)
        return any(rule.priority > lowest for rule in add)

    # ---- overlaps within a priority

    def _note(self, add: Sequence[Rule], remove: Sequence[int]) -> _Noted:
        """Bring the indexes of overlaps up to what is to be. OverlapError, and nothing noted, if two rules of one
        priority would take the same packet. (Two equal matches are found by the kernel's index.)"""
        by_priority = _by_priority(add)
        for priority in by_priority if remove else ():
            self._index_of(priority)  # so that what goes away is taken out of it
        gone = self._gone(remove)
        noted = _Noted()
        try:
            for priority in by_priority.keys() | gone.keys():
                self._note_priority(priority, by_priority.get(priority, []), gone.get(priority, set()), noted)
        except BaseException:
            self._unnote(noted)
            raise
        return noted

    def _note_priority(self, priority: int, new: list[Match], gone: set[Match], noted: _Noted) -> None:
        """Where one match takes the place of an equal one, the index stays as it is. One that has become needless is
        forgotten: it would not hear of what is added."""
        if gone:
            same = gone.intersection(new)
            new = [match for match in new if match not in same]
            gone = gone - same
            self._overlaps[priority].discard(gone)
            noted.gone[priority] = gone
        masks = {entry.mask for entry in self._masks.values() if entry.priority == priority}
        masks.update({id(match.mask): match.mask for match in new}.values())  # to hash a mask is dear, and most are one
        if len(masks) < 2:
            self._overlaps.pop(priority, None)
        elif new:
            index = self._index_of(priority)
            index.prepare(masks)
            index.discard(gone)  # again: `prepare` may have read it from the kernel
            noted.added[priority] = index.add(new, masks)

    def _unnote(self, noted: _Noted) -> None:
        for priority, matches in noted.added.items():
            self._overlaps[priority].discard(matches)
        for priority, gone in noted.gone.items():
            if priority in self._overlaps:
                self._overlaps[priority].restore(gone)

    def _gone(self, remove: Sequence[int]) -> dict[int, set[Match]]:
        """Matches of the flows in these slots by priority, where someone keeps an index of them."""
        found: dict[int, set[Match]] = {}
        for slot in remove if self._overlaps else ():
            entry = self._masks_by_id[self._flow_ints[slot * _FLOW_INTS + _AT_MASK]]
            if entry.priority in self._overlaps:
                match = Match.from_ints(self._value_at(slot, entry), entry.mask)
                found.setdefault(entry.priority, set()).add(match)
        return found

    def _index_of(self, priority: int) -> OverlapIndex:
        index = self._overlaps.get(priority)
        if index is None:
            index = self._overlaps[priority] = OverlapIndex(lambda mask: self._values(mask, priority))
        return index

    def _values(self, mask: int, priority: int) -> Iterator[int]:
        entry = self._masks.get((mask, priority))
        if entry is not None:
            for slot in self._slots_of({entry.id}):
                yield self._value_at(slot, entry)

    def _write(self, rules: Sequence[Rule], born: int, gate: int) -> list[int]:
        """Write and index flows; on error none of them is left."""
        if len(rules) > len(self._free):
            raise TableFullError(
                f"no room for {len(rules)} megaflows: {self._state.flow_slots - 1 - len(self._free)} of max_flows "
                f"{self._state.flow_slots - 1} are in use"
            )
        slots: list[int] = []
        indexed: list[int] = []
        now = time.monotonic_ns()
        try:
            for begin in range(0, len(rules), STAGE):
                part = rules[begin : begin + STAGE]
                mask, priority = -1, -1
                for rule in part:
                    if rule.match.mask is not mask or rule.priority != priority:
                        mask, priority = rule.match.mask, rule.priority
                        entry = self._mask_for(mask, priority)
                    slots.append(self._write_one(rule, entry, born, now, gate))
                new = slots[begin:]
                self._run_on(ControlCode.INSERT, new)
                results = self._results[: len(part)].tolist()
                if not any(results):
                    indexed += new
                    continue
                indexed += [slot for slot, result in zip(new, results, strict=True) if result == ControlResult.OK]
                for rule, result in zip(part, results, strict=True):
                    if result != ControlResult.OK:
                        self._explain(rule, result)
        except BaseException:
            self._undo(slots, indexed)
            raise
        return slots

    def _write_one(self, rule: Rule, entry: _Mask, born: int, now: int, gate: int) -> int:
        # hot: once per megaflow
        word = self.arena.acquire(rule.actions)
        slot = self._free.pop()
        if slot > self._highest:
            self._highest = slot
        if slot < len(self._counted):
            self._counted[slot] = 0  # of the flow that had it before; a new one may well count to the same number
        idle, hard = rule.idle_timeout_s, rule.hard_timeout_s
        FLOW.pack_into(
            self._flows, slot * FLOW.size,
            word | gate, NO_MASK, born, 0, round(idle * 1000) if idle else 0,
            rule.match.value.to_bytes(KEY_BYTES, "little"), now, round(hard * 1000) if hard else 0, entry.id, gate,
        )  # fmt: skip
        entry.flows += 1
        if idle or hard:
            self._timed += 1
        return slot

    def _explain(self, rule: Rule, result: int) -> None:
        if result & _FOUND:
            raise ExistsError(f"megaflow {rule.match!r} of priority {rule.priority} exists already")
        if result == ControlResult.FULL:
            raise TableFullError(f"both buckets of the index for megaflow {rule.match!r} are full: raise max_flows")
        raise LimitError(f"the kernel refused megaflow {rule.match!r} ({result})")

    def _undo(self, slots: list[int], indexed: list[int]) -> None:
        if indexed:
            self._unindex(indexed)
            self._settle()
        for slot in slots:
            self._forget(slot)
        self._drop_empty_masks()
        self._reused = True

    def open_gates(self, slots: Sequence[int], sent: Mapping[int, int]) -> list[int]:
        """Let packets of these flows pass from now on, where `sent` (by slot, 0 if absent) packets that came up to the
        gate are all that did. The slots where some more are on their way."""
        # hot: once per batch of upcalls
        waiting: list[int] = []
        for begin in range(0, len(slots), STAGE):
            part = slots[begin : begin + STAGE]
            counts = array("I", [sent.get(slot, 0) for slot in part] if sent else bytes(4 * len(part)))
            self._results[: len(part)] = memoryview(counts)
            self._run_on(ControlCode.OPEN, part)
            results = self._results[: len(part)].tolist()
            if ControlResult.WAITING in results:
                waiting += [slot for slot, result in zip(part, results, strict=True) if result == ControlResult.WAITING]
        return waiting

    def remove_gates(self, slots: Iterable[int]) -> None:
        """Let packets of these flows pass, whatever is on its way."""
        for slot in slots:
            self._flow_words[slot * _FLOW_WORDS] &= ~GATE

    def _unindex(self, slots: Sequence[int]) -> None:
        for begin in range(0, len(slots), STAGE):
            self._run_on(ControlCode.REMOVE, slots[begin : begin + STAGE])

    def _run_on(self, code: ControlCode, slots: Sequence[int]) -> None:
        """One control request for at most STAGE flows."""
        self._stage[: len(slots)] = memoryview(array("I", slots))
        self._state.control(code, count=len(slots))

    def _take_away(self, slots: Sequence[int]) -> None:
        """Out of the index, out of the packets' hands, then free."""
        self._unindex(slots)
        emptied = self._count_down(slots)
        if emptied or len(self._priorities) > 1:
            self._drop_empty_masks(keep_numbers=True)
            self._publish()
        self._settle()
        for entry in emptied:
            self._free_masks.append(entry.id)
        for slot in slots:
            self.arena.release(self._flow_words[slot * _FLOW_WORDS] & ~GATE)
            self._free.append(slot)
        self._reused = len(self._priorities) < 2

    def _count_down(self, slots: Sequence[int]) -> list[_Mask]:
        emptied = []
        for slot in slots:
            entry = self._masks_by_id[self._flow_ints[slot * _FLOW_INTS + _AT_WANTED]]
            entry.flows -= 1
            self._timed -= self._has_timeout(slot)
            if not entry.flows:
                emptied.append(entry)
        return emptied

    def _forget(self, slot: int) -> None:
        """A slot that was written but is not, or no longer, indexed."""
        entry = self._masks_by_id[self._flow_ints[slot * _FLOW_INTS + _AT_WANTED]]
        entry.flows -= 1
        self._timed -= self._has_timeout(slot)
        self.arena.release(self._flow_words[slot * _FLOW_WORDS] & ~GATE)
        self._flow_ints[slot * _FLOW_INTS + _AT_MASK] = NO_MASK
        self._free.append(slot)

    def _drop_empty_masks(self, keep_numbers: bool = False) -> None:
        for key, entry in [item for item in self._masks.items() if not item[1].flows]:
            del self._masks[key]
            del self._masks_by_id[entry.id]
            self._priorities[entry.priority] -= 1
            if not self._priorities[entry.priority]:
                del self._priorities[entry.priority]
            if not keep_numbers:
                self._free_masks.append(entry.id)

    @_whole
    def modify(self, slot: int, rule: Rule) -> None:
        """Other actions and timeouts for the flow in `slot`; its statistics go on. Its time begins anew if it has
        timeouts."""
        self.need_control()
        old = self._flow_words[slot * _FLOW_WORDS] & ~GATE
        word = self.arena.acquire(rule.actions)
        idle, hard = rule.idle_timeout_s, rule.hard_timeout_s
        self._timed -= self._has_timeout(slot)
        if idle or hard:
            self._flow_words[slot * _FLOW_WORDS + (_AT_KEY + KEY_BYTES) // 8] = time.monotonic_ns()
        self._flow_ints[slot * _FLOW_INTS + _AT_IDLE] = round(idle * 1000) if idle else 0
        self._flow_ints[slot * _FLOW_INTS + _AT_HARD] = round(hard * 1000) if hard else 0
        self._timed += self._has_timeout(slot)
        if word == old:
            self.arena.release(word)
            return
        self._flow_words[slot * _FLOW_WORDS] = word | self._flow_words[slot * _FLOW_WORDS] & GATE
        self._settle()
        self.arena.release(old)

    def _has_timeout(self, slot: int) -> bool:
        at = slot * _FLOW_INTS
        return bool(self._flow_ints[at + _AT_IDLE] or self._flow_ints[at + _AT_HARD])

    # ---- looking

    def _refresh(self) -> None:
        """Who only reads looks anew each time."""
        self._state.need_open()
        if not self._controlled:
            self._read_masks()

    def __len__(self) -> int:
        return self._state.flow_slots - 1 - len(self._free)

    @property
    def masks(self) -> list[tuple[Match, int, int]]:
        """(mask as a match of all zero values, priority, flows), highest priority first."""
        self._refresh()
        if not self._controlled:  # another process keeps the count
            used = Counter(self._flow_ints[_AT_MASK::_FLOW_INTS].tolist())
            for entry in self._masks_by_id.values():
                entry.flows = used[entry.id]
        entries = sorted(self._masks.values(), key=lambda entry: -entry.priority)
        return [(Match.from_ints(0, entry.mask), entry.priority, entry.flows) for entry in entries]

    def find(self, match: Match, priority: int) -> int:
        """The slot of the flow with exactly this match and priority. NotFoundError if there is none."""
        self._refresh()
        entry = self._masks.get((match.mask, priority))
        if entry is not None and not self._controlled:
            for slot in self._slots_of({entry.id}):
                if self._value_at(slot, entry) == match.value:
                    return slot
        elif entry is not None:
            at = DATAPATH.STAGE_KEY
            self._state.bytes[at : at + KEY_BYTES] = match.value.to_bytes(KEY_BYTES, "little")
            slot, _ = self._state.control(ControlCode.FIND, mask=entry.id)
            if slot:
                return slot
        raise NotFoundError(f"no megaflow {match!r} of priority {priority}")

    def hiding(self, rule: Rule, gone: Mapping[int, object]) -> Rule | None:
        """A rule of higher priority that takes all packets of `rule`, if there is one in a slot that is not in `gone`.
        Cost: one request to the kernel, some 3 us, for each mask of higher priority that looks at no more bits."""
        at, value = DATAPATH.STAGE_KEY, rule.match.value
        for entry in self._masks.values():
            if entry.priority > rule.priority and entry.mask & ~rule.match.mask == 0:
                self._state.bytes[at : at + KEY_BYTES] = (value & entry.mask).to_bytes(KEY_BYTES, "little")
                slot, _ = self._state.control(ControlCode.FIND, mask=entry.id)
                if slot and slot not in gone:
                    return self.rule(slot)
        return None

    def lookup(self, key: int) -> int | None:
        """The slot of the flow that takes a packet with this key now."""
        at = DATAPATH.STAGE_KEY
        self._state.bytes[at : at + KEY_BYTES] = key.to_bytes(KEY_BYTES, "little")
        return self._state.control(ControlCode.LOOKUP)[0] or None

    def slots(self) -> list[int]:
        """The slots that hold flows."""
        self._state.need_open()
        return self._slots_of(self._masks_by_id.keys())

    def _slots_of(self, mask_ids: Iterable[int]) -> list[int]:
        wanted = set(mask_ids)
        end = self._highest + 1 if self._controlled else self._state.flow_slots  # nothing is above
        used = self._flow_ints[_AT_MASK : end * _FLOW_INTS : _FLOW_INTS].tolist()
        return [slot for slot in range(1, len(used)) if used[slot] in wanted]

    def _value_at(self, slot: int, entry: _Mask) -> int:
        begin = slot * _FLOW_WORDS + _AT_KEY // 8
        words = self._flow_words[begin : begin + len(entry.words)].tolist()
        value = 0
        for index, word in zip(entry.words, words, strict=True):
            value |= word << 64 * index
        return value

    def rule(self, slot: int) -> Rule:
        """What the flow in `slot` was asked to be."""
        at = slot * _FLOW_INTS
        entry = self._masks_by_id[self._flow_ints[at + _AT_MASK]]
        match = Match.from_ints(self._value_at(slot, entry), entry.mask)
        actions = self.arena.decode(self._flow_words[slot * _FLOW_WORDS] & ~GATE)
        idle, hard = self._flow_ints[at + _AT_IDLE], self._flow_ints[at + _AT_HARD]
        return Rule(match, actions, entry.priority, idle / 1000 or None, hard / 1000 or None)

    def read(self, slot: int, now_ns: int | None = None) -> Megaflow:
        """The flow in `slot`, with its statistics."""
        rule = self.rule(slot)
        return Megaflow(
            rule.match, rule.actions, rule.priority, rule.idle_timeout_s, rule.hard_timeout_s, self.stats(slot, now_ns)
        )

    def dump(self) -> Iterator[Megaflow]:
        """All flows, as they are while it goes along."""
        self._refresh()
        for slot in self.slots():
            flow = self._read_beside(slot)
            if flow is not None:
                yield flow

    def _read_beside(self, slot: int) -> Megaflow | None:
        """The flow in `slot` if it stays there while it is read: another process may be changing it."""
        for _ in range(_TRIES):
            before = self._identity(slot)
            flow = None
            with contextlib.suppress(LookupError, ValueError, VswitchError):  # half of what it was, half of what it is
                flow = self.read(slot)
            if self._identity(slot) == before:
                return flow
        return None

    def _identity(self, slot: int) -> tuple[int, int, int]:
        """What differs if the slot holds another flow, or the flow has other actions."""
        words, at = self._flow_words, slot * _FLOW_WORDS
        return words[at] & ~GATE, words[at + 1], words[at + (_AT_KEY + KEY_BYTES) // 8]

    def stats(self, slot: int, now_ns: int | None = None) -> FlowStats:
        """What the flow in `slot` has counted, over all CPUs."""
        packets = bytes_ = used = flags = 0
        for stripe in range(self._state.stripes):
            at = (slot + stripe * self._state.flow_slots) * FLOW_STATS.size
            stripe_packets, stripe_bytes, stripe_used, stripe_flags, _ = FLOW_STATS.unpack_from(self._stats, at)
            packets += stripe_packets
            bytes_ += stripe_bytes
            used = max(used, stripe_used)
            flags |= stripe_flags
        now = time.monotonic_ns() if now_ns is None else now_ns
        created = self._flow_words[slot * _FLOW_WORDS + (_AT_KEY + KEY_BYTES) // 8]
        age = max(now - created, 0) / 1e9
        return FlowStats(packets, bytes_, max(now - used, 0) / 1e9 if used else None, flags, age)

    def counting(self) -> list[int]:
        """Slots of flows that have counted packets since the last call. Those of flows that are gone may be among
        them. Cost: some 10 ns for each slot up to the highest that was in use."""
        end, step, stripes = self._highest + 1, FLOW_STATS.size // 8, range(self._state.stripes)
        words, width = self._stats.cast("Q"), self._state.flow_slots * step
        columns = [words[stripe * width : stripe * width + end * step : step].tolist() for stripe in stripes]
        before, self._counted = self._counted, list(map(sum, zip(*columns, strict=True)))
        before += [0] * (end - len(before))
        return [slot for slot, (now, then) in enumerate(zip(self._counted, before, strict=True)) if now != then]

    def expired(self, now_ns: int) -> list[int]:
        """Slots of flows whose idle or hard timeout is over."""
        self.need_control()
        found: list[int] = []
        first = 1 if self._timed else self._highest + 1
        while first <= self._highest:
            count, first = self._state.control(ControlCode.EXPIRE, first=first, now_ns=now_ns)
            found += self._stage[:count].tolist()
        return found


def _by_priority(rules: Sequence[Rule]) -> dict[int, list[Match]]:
    """The matches of these rules, by priority."""
    # hot: once per batch of upcalls, which are of one priority as a rule
    priorities = dict.fromkeys([rule.priority for rule in rules])
    if len(priorities) == 1:
        return {rules[0].priority: [rule.match for rule in rules]}
    found: dict[int, list[Match]] = {priority: [] for priority in priorities}
    for rule in rules:
        found[rule.priority].append(rule.match)
    return found
