"""The rules of one table: which one takes a packet, and which of its bits say so.

Rules with one mask are a *subtable*: a dict from masked key to rule. A lookup goes through the subtables by the highest
priority that each has, and ends when no further one can have a better rule.

A subtable that has nothing for a packet is to be passed for few of its bits. It has *stages*, as headers lie one in the
other: what comes with the packet from outside, L2, L3, L4. For each stage but the last it knows the values that occur,
so that a packet which nothing takes by its port and MAC addresses is not asked for more. For IP addresses the table
knows all prefixes of the same length, which tell how few bits of the address prove that no rule has its prefix; for
the ports of L4 each subtable knows its own. And if all its rules differ from the packet in a bit that was asked for
already, it asks for nothing.

Bits are asked for in an order that depends on nothing but rules and bits asked for before, so that the megaflows that
follow from one state of the tables never overlap.

Invariant: for all keys that agree with one that was looked up in the bits of `Wildcards.mask` afterwards, the lookup
gives the same rule. An extra 1-bit there costs megaflows, an extra 0-bit misroutes packets.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from heapq import heappop, heappush
from operator import attrgetter

from vswitch.fields.openflow import FLOW_BYTES, OPENFLOW_FIELDS, PIPELINE_SLOTS
from vswitch.fields.registry import SLOTS, Slot
from vswitch.messages.match import FlowMatch
from vswitch.ofproto.prefixes import PrefixSet
from vswitch.ofproto.rule import Rule

__all__ = ["STAGES", "Classifier", "Wildcards"]

_ALL = (1 << 8 * FLOW_BYTES) - 1
_L2 = ("eth_dst", "eth_type", "eth_src", "vlan_tci", "vlan_tpid", "cvlan_tci", "cvlan_tpid")
_L3 = (
    "ip_proto", "ip_tos", "ip_ttl", "ip_frag", "ipv4_src", "ipv4_dst", "ipv6_src", "ipv6_dst", "ipv6_label", "arp_op",
)  # fmt: skip
_L4 = ("tcp_flags", "tp_src", "tp_dst", "nd_target", "l2_source", "l2_target")


def _bits(names: tuple[str, ...]) -> int:
    mask = 0
    for name in names:
        mask |= SLOTS[name].mask
    return mask


STAGES: tuple[int, ...] = (_ALL & ~_bits(_L2 + _L3 + _L4), _bits(_L2), _bits(_L3), _bits(_L4))
"""The bits of each stage, in order. MPLS lies in the bits of IPv4, so it is of L3 here."""

_CONJUNCTION = PIPELINE_SLOTS["conj_id"]
_PORTS = Slot("ports", SLOTS["tp_src"].offset, 4)
"""The ports of source and destination as one number."""
_PREFIXES = tuple(OPENFLOW_FIELDS[name].view.slot for name in ("ipv4_src", "ipv4_dst", "ipv6_src", "ipv6_dst"))


def _prefix_masks(slot: Slot) -> tuple[int, ...]:
    """The bits of the key that are the first n of the slot, for each n."""
    bits = 8 * slot.size
    return tuple(slot.place((1 << bits) - 1 ^ (1 << bits - length) - 1) for length in range(bits + 1))


_PREFIX_MASKS = {slot: _prefix_masks(slot) for slot in (*_PREFIXES, _PORTS)}
_PREFIX_LENGTH = {mask: length for masks in _PREFIX_MASKS.values() for length, mask in enumerate(masks) if length}
"""Masks that are a prefix of a slot, and how long it is."""


class Wildcards:
    """The bits of a key that were looked at so far."""

    __slots__ = ("mask",)

    def __init__(self, mask: int = 0) -> None:
        self.mask = mask


_MAX_ANSWERED = 256
"""Answers that are kept for the prefixes of one length."""


class _Prefixes:
    """The prefixes of one length that rules have in one field, and what was answered since they changed: new flows
    often are those of hosts that have others."""

    __slots__ = ("_answered", "_masks", "_set", "_shift", "_size", "_tail", "_word")

    def __init__(self, slot: Slot, length: int) -> None:
        self._shift = 8 * slot.offset
        self._size = slot.size
        self._word = (1 << 8 * slot.size) - 1
        self._tail = 8 * slot.size - length
        self._masks = _PREFIX_MASKS[slot]
        self._set = PrefixSet(length)
        self._answered: dict[int, int] = {}  # what was in the field -> the bits of a key that prove it

    def _take(self, word: int) -> int:
        return int.from_bytes(word.to_bytes(self._size, "little"), "big") >> self._tail

    def insert(self, value: int) -> None:
        self._set.insert(self._take(value >> self._shift & self._word))
        self._answered.clear()

    def remove(self, value: int) -> None:
        self._set.remove(self._take(value >> self._shift & self._word))
        self._answered.clear()

    def why_not(self, key: int) -> int:
        """The bits of `key` that prove that it has none of them; 0: it has one."""
        # hot: for each subtable without a rule
        word = key >> self._shift & self._word
        found = self._answered.get(word)
        if found is None:
            needed = self._set.needed(self._take(word))
            found = self._masks[needed] if needed else 0
            if len(self._answered) >= _MAX_ANSWERED:
                self._answered.clear()
            self._answered[word] = found
        return found


def _by_priority(rule: Rule) -> int:
    return -rule.priority


class _Subtable:
    """Rules with one mask. `rules`: masked key to rule, or to a list of them, the highest priority first. `stages`:
    (cumulative mask, values that occur with their numbers, prefixes of fields in it) for each stage in which the mask
    has bits; the last one has no values. `steady`: bits that are the same in all rules, and `common`: how they are.
    `priorities`: how many rules have it; `_heap`: those priorities, negative, and perhaps some that are no more.
    `rank`: by what it lies in the classifier's order."""

    __slots__ = (
        "_heap", "common", "mask", "number", "ports", "priorities", "priority", "rank", "rules", "size", "stages",
        "steady",
    )  # fmt: skip

    def __init__(self, mask: int, number: int, prefixes: dict[int, _Prefixes]) -> None:
        self.mask = mask
        self.number = number
        self.rules: dict[int, Rule | list[Rule]] = {}
        self.size = 0
        self.common = self.steady = 0
        self.priority = -1
        self.rank: tuple[int, int] | None = None
        self.priorities: dict[int, int] = {}
        self._heap: list[int] = []
        self.stages: list[tuple[int, dict[int, int] | None, tuple[_Prefixes, ...]]] = []
        until = 0
        used = [stage for stage in STAGES if mask & stage]
        for stage in used:
            until |= mask & stage
            tracked = []
            for slot in _PREFIXES:
                own = mask & slot.mask & stage
                length = _PREFIX_LENGTH.get(own, 0)
                if length:
                    if own not in prefixes:
                        prefixes[own] = _Prefixes(slot, length)
                    tracked.append(prefixes[own])
            self.stages.append((until, None if stage is used[-1] else {}, tuple(tracked)))
        written = _PORTS.take(mask)
        self.ports = _Prefixes(_PORTS, 33 - (written & -written).bit_length()) if written else None

    def insert(self, rule: Rule) -> None:
        value, priority = rule.match.value, rule.priority
        rules = self.rules
        there = rules.get(value)
        if there is None:
            rules[value] = rule
        elif type(there) is list:
            insort(there, rule, key=_by_priority)
        else:
            assert isinstance(there, Rule)
            rules[value] = [there, rule] if there.priority > priority else [rule, there]
        if self.size:
            self.steady &= ~(value ^ self.common)
        else:
            self.common, self.steady = value, self.mask
        self.size += 1
        count = self.priorities.get(priority, 0)
        self.priorities[priority] = count + 1
        if not count:
            heappush(self._heap, -priority)
            self.priority = max(self.priority, priority)
        for until, values, tracked in self.stages:
            if values is not None:
                part = value & until
                values[part] = values.get(part, 0) + 1
            for prefixes in tracked:
                prefixes.insert(value)
        if self.ports is not None:
            self.ports.insert(value)

    def remove(self, rule: Rule) -> None:
        value, priority = rule.match.value, rule.priority
        there = self.rules[value]
        if type(there) is list:
            there.remove(rule)
            if len(there) == 1:
                self.rules[value] = there[0]
        else:
            assert there is rule, "a rule that is not in the table"
            del self.rules[value]
        self.size -= 1
        if len(self.rules) == 1:
            (self.common,) = self.rules
            self.steady = self.mask
        count = self.priorities[priority] - 1
        if count:
            self.priorities[priority] = count
        else:
            del self.priorities[priority]
            heap = self._heap
            while heap and -heap[0] not in self.priorities:
                heappop(heap)
            self.priority = -heap[0] if heap else -1
        for until, values, tracked in self.stages:
            if values is not None:
                part = value & until
                left = values[part] - 1
                if left:
                    values[part] = left
                else:
                    del values[part]
            for prefixes in tracked:
                prefixes.remove(value)
        if self.ports is not None:
            self.ports.remove(value)

    def why_not(self, key: int, known: int) -> int:
        """The bits of `key` that prove that no rule here takes it, besides those that are known. # hot: for a subtable
        without a rule"""
        if (key ^ self.common) & self.steady & known:
            return 0
        proved = 0
        for until, values, tracked in self.stages:
            for prefixes in tracked:
                bits = prefixes.why_not(key)
                if bits:
                    return proved | bits
            if values is None:
                break
            proved = until
            if key & until not in values:
                return proved
        if self.ports is not None:
            bits = self.ports.why_not(key & self.mask)
            if bits:
                return proved | bits & self.mask
        return self.mask

    def find(self, value: int, priority: int) -> Rule | None:
        there = self.rules.get(value)
        if there is None:
            return None
        if type(there) is list:
            return next((rule for rule in there if rule.priority == priority), None)
        assert isinstance(there, Rule)
        return there if there.priority == priority else None

    def __iter__(self) -> Iterator[Rule]:
        for there in self.rules.values():
            if type(there) is list:
                yield from there
            else:
                yield there  # type: ignore[misc]


_RANK = attrgetter("rank")


class Classifier:
    """Rules of one table: one at most of equal match and priority."""

    __slots__ = ("_conjunctive", "_number", "_order", "_prefixes", "_subtables", "size")

    def __init__(self) -> None:
        self._subtables: dict[int, _Subtable] = {}
        self._order: list[_Subtable] = []
        self._prefixes: dict[int, _Prefixes] = {}
        self._number = 0
        self._conjunctive = 0
        self.size = 0

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[Rule]:
        for subtable in self._subtables.values():
            yield from subtable

    @property
    def masks(self) -> int:
        """How many subtables there are."""
        return len(self._subtables)

    def insert(self, rule: Rule) -> None:
        """Put it in. There must not be one of the same match and priority. # hot: once per flow-mod"""
        mask = rule.match.mask
        subtable = self._subtables.get(mask)
        if subtable is None:
            self._number += 1
            subtable = self._subtables[mask] = _Subtable(mask, self._number, self._prefixes)
        before = subtable.priority
        subtable.insert(rule)
        if subtable.priority != before:
            self._place(subtable)
        if rule.conjunctions:
            self._conjunctive += 1
        self.size += 1
        rule.removed = False

    def remove(self, rule: Rule) -> None:
        """Take it out; it must be in."""
        subtable = self._subtables[rule.match.mask]
        before = subtable.priority
        subtable.remove(rule)
        if subtable.priority != before:
            self._place(subtable)
        if not subtable.size:
            del self._subtables[subtable.mask]
        if rule.conjunctions:
            self._conjunctive -= 1
        self.size -= 1
        rule.removed = True

    def _place(self, subtable: _Subtable) -> None:
        """Put it where it belongs by its priority, which is another now; nowhere if it has no rule."""
        order = self._order
        if subtable.rank is not None:
            del order[bisect_left(order, subtable.rank, key=_RANK)]
            subtable.rank = None
        if subtable.priority >= 0:
            subtable.rank = (-subtable.priority, subtable.number)
            insort(order, subtable, key=_RANK)

    def find(self, match: FlowMatch, priority: int) -> Rule | None:
        """The rule of just this match and priority. # hot: once per flow-mod"""
        subtable = self._subtables.get(match.mask)
        return None if subtable is None else subtable.find(match.value, priority)

    def within(self, match: FlowMatch) -> list[Rule]:
        """The rules all of whose packets are in `match`: those that a loose flow-mod is about."""
        value, mask = match.value, match.mask
        found: list[Rule] = []
        for subtable in self._subtables.values():
            if mask & ~subtable.mask:
                continue
            if mask == subtable.mask:
                there = subtable.rules.get(value)
                if there is not None:
                    found.extend(there if isinstance(there, list) else (there,))
            elif not mask:
                found.extend(subtable)
            else:
                for own, there in subtable.rules.items():
                    if own & mask == value:
                        found.extend(there if isinstance(there, list) else (there,))
        return found

    def overlapping(self, match: FlowMatch, priority: int) -> Rule | None:
        """Some rule of this priority that has packets in common with `match`, other than one of just this match."""
        value, mask = match.value, match.mask
        for subtable in self._subtables.values():
            if priority not in subtable.priorities or subtable.mask == mask:
                continue
            common = mask & subtable.mask
            if common == subtable.mask:
                found = subtable.find(value & common, priority)
                if found is not None:
                    return found
                continue
            wanted = value & common
            for rule in subtable:
                if rule.priority == priority and rule.match.value & common == wanted:
                    return rule
        return None

    def lookup(self, key: int, wildcards: Wildcards) -> Rule | None:
        """The rule of the highest priority that takes `key`; of two with equal priority any, but always the same. Adds
        to `wildcards` the bits that this answer was decided by. # hot: once per table and upcall"""
        order = self._order
        if self._conjunctive:
            return self._lookup_conjunctive(key, wildcards, order)
        mask, best, floor = wildcards.mask, None, -1
        for subtable in order:
            if subtable.priority <= floor:
                break
            own = subtable.mask
            found = subtable.rules.get(key & own)
            if found is None:
                if mask | own != mask:
                    mask |= subtable.why_not(key, mask)
                continue
            mask |= own
            rule: Rule = found[0] if type(found) is list else found  # type: ignore[assignment]
            if rule.priority > floor:
                best, floor = rule, rule.priority
        wildcards.mask = mask
        return best

    def _lookup_conjunctive(self, key: int, wildcards: Wildcards, order: list[_Subtable]) -> Rule | None:
        """As `lookup`, where some rules are clauses of conjunctions: they take no packet themselves. All clauses of one
        priority that hold are taken together; a conjunction that is complete is looked up by its id."""
        best, clauses = _rule_and_clauses(key, wildcards, order)
        floor = -1 if best is None else best.priority
        for priority in sorted(clauses, reverse=True):
            if priority <= floor:
                break
            for number in _complete(clauses[priority]):
                own = Wildcards()
                resolved, _ = _rule_and_clauses(key & ~_CONJUNCTION.mask | _CONJUNCTION.place(number), own, order)
                wildcards.mask |= own.mask & ~_CONJUNCTION.mask
                if resolved is not None and resolved.match.mask & _CONJUNCTION.mask:
                    return resolved
        return best


def _rule_and_clauses(
    key: int, wildcards: Wildcards, order: list[_Subtable]
) -> tuple[Rule | None, dict[int, list[Rule]]]:
    """The best rule that is no clause of a conjunction, and the clauses of higher priority, by priority."""
    mask, best, floor = wildcards.mask, None, -1
    clauses: dict[int, list[Rule]] = {}
    for subtable in order:
        if subtable.priority <= floor:
            break
        own = subtable.mask
        found = subtable.rules.get(key & own)
        if found is None:
            if mask | own != mask:
                mask |= subtable.why_not(key, mask)
            continue
        mask |= own
        for rule in found if isinstance(found, list) else (found,):
            if rule.priority <= floor:
                break
            if not rule.conjunctions:
                best, floor = rule, rule.priority
                break
            clauses.setdefault(rule.priority, []).append(rule)
    wildcards.mask = mask
    return best, clauses


def _complete(rules: list[Rule]) -> list[int]:
    """The ids of those conjunctions of which every clause is among these, in order."""
    held: dict[tuple[int, int], int] = {}
    for rule in rules:
        for each in rule.conjunctions:
            held[each.id, each.count] = held.get((each.id, each.count), 0) | 1 << each.clause
    return sorted({number for (number, count), clauses in held.items() if clauses == (1 << count) - 1})
