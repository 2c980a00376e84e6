"""What is known of packets that wait in the ring: which new rules take them, and behind which gates they are.

`Recent` has the rules that were installed so lately that packets which came up before may still be in the ring: nobody
needs to be asked about these, if they missed, or if a rule was the answer to another that was sent up as they were
(`goes_through`). `Gates` has the megaflows whose packets still come up, behind those that came first.

Both look at the ring from its end at the time of a change: once it has been read up to there, no packet can be in it
that has not seen the change. A megaflow's gate is known by its slot, and slots are used again; so a record is believed
to wait behind a slot's gate only if it came up after the last megaflow that was taken from that slot.

Invariant: of the records that the kernel counted at a gate, each is counted here once it is sent down, and no other.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence

from vswitch.datapath.backend import FlowStore, Ring
from vswitch.fields import FIELDS, SLOTS
from vswitch.model.actions import Userspace, walk
from vswitch.model.match import Match
from vswitch.model.megaflow import Rule
from vswitch.model.upcall import UpcallReason
from vswitch.upcalls.miss import Miss

__all__ = ["Gates", "Recent", "goes_through"]

_PORT_BITS = FIELDS["in_port"].mask
_PORT_SHIFT = 8 * SLOTS["in_port"].offset
_PORT_MASK = _PORT_BITS >> _PORT_SHIFT


def goes_through(flows: FlowStore, miss: Miss, rule: Rule) -> bool:
    """Whether a packet that a userspace action sent up goes through this rule, which stands or is about to, if it is
    sent down: not to the rule that has sent it up, nor to one that would send it up as that did, for ever round."""
    slot = flows.lookup(miss._key)
    found = None if slot is None else flows.rule(slot)
    stands = found is not None and (found.match, found.priority) == (rule.match, rule.priority)
    if found is not None and not (found.actions == rule.actions if stands else found.priority < rule.priority):
        return False
    userdata = miss.userdata
    return not any(isinstance(each, Userspace) and each.userdata == userdata for _, each in walk(rule.actions))


class Recent:
    """Rules installed so lately that packets which they take may still be in the ring. Two generations: what was
    installed before the ring's end then has been read is forgotten.

    `sent_up`: those of them that answered packets which userspace actions had sent up, by the user data of these."""

    def __init__(self) -> None:
        self.new: dict[int, dict[int, Rule]] = {}
        self.old: dict[int, dict[int, Rule]] = {}
        self.sent_up: dict[bytes, Recent] = {}
        self._refused: set[Match] = set()
        self._forget_at = 0

    def takes(self, key: int) -> bool:
        """Whether one of them takes a packet with this key."""
        # hot: once per upcall
        for mask, values in self.new.items():
            if key & mask in values:
                return True
        for mask, values in self.old.items():  # noqa: SIM110 - any() is a generator, twice as slow
            if key & mask in values:
                return True
        return False

    def follow(self, flows: FlowStore, miss: Miss) -> bool:
        """Whether a packet that a userspace action sent up is to follow another that was sent up as it was, through the
        rule that was the answer to that."""
        recent = self.sent_up.get(miss.userdata)
        return recent is not None and any(goes_through(flows, miss, rule) for rule in recent._taking(miss._key))

    def _taking(self, key: int) -> Iterator[Rule]:
        for generation in (self.new, self.old):
            for mask, rules in generation.items():
                if key & mask in rules:
                    yield rules[key & mask]

    def add(self, miss: Miss, rule: Rule) -> None:
        """This rule, with which a packet was answered, is about to be installed."""
        # hot: once per upcall
        if self._refused and rule.match in self._refused:
            return
        self._add(rule)
        if miss.reason is UpcallReason.ACTION:
            self.sent_up.setdefault(miss.userdata, Recent())._add(rule)

    def _add(self, rule: Rule) -> None:
        # hot: once per upcall
        match = rule.match
        rules = self.new.get(match.mask)
        if rules is None:
            rules = self.new[match.mask] = {}
        rules[match.value] = rule

    def forget(self, matches: Collection[Match]) -> None:
        """Rules with these matches are there no more."""
        for generation in (self.new, self.old):
            for match in matches if generation else ():
                rules = generation.get(match.mask)
                if rules is not None:
                    rules.pop(match.value, None)
                    if not rules:
                        del generation[match.mask]
        for recent in self.sent_up.values():
            recent.forget(matches)

    def refuse(self, match: Match) -> None:
        """A rule with this match could not be installed. Those that were to follow it are asked about again, and each
        for itself: if it is answered the same for all, they are done with in one more batch, not in one for each."""
        self.forget([match])
        self._refused.add(match)

    def stands(self, miss: Miss, rule: Rule) -> None:
        """This rule, with which a packet was answered, is there, whatever became of others."""
        self._refused.discard(rule.match)
        self.add(miss, rule)

    def age(self, position: int, end: int) -> None:
        """The ring has been read up to `position`, where all is done with, and ends at `end`."""
        self._refused.clear()
        if position >= self._forget_at:
            self.old, self.new = self.new, {}
            self._forget_at = end
        if self.sent_up:
            for recent in self.sent_up.values():
                recent.age(position, end)
            self.sent_up = {data: recent for data, recent in self.sent_up.items() if recent.new or recent.old}

    def clear(self) -> None:
        """No rule is there any more."""
        self.new, self.old, self.sent_up = {}, {}, {}


class Gates:
    """Flows that were installed for packets that came up, and let no packet pass before those that still wait here.

    A gate may be opened when the ring has been read up to where it ended after the flow was installed, as far as it has
    packets of the flow's port (all, if the flow takes those of any port): then all that missed before are through; and
    those that came to the gate are counted, by the kernel and here. Then the counts must agree: nothing of the flow is
    left in the ring.
    """

    def __init__(self, flows: FlowStore, ring: Ring) -> None:
        self._flows = flows
        self._ring = ring
        self._fresh: dict[int | None, list[int]] = {}
        self._closed: dict[int | None, deque[tuple[int, list[int]]]] = {}
        self._passed: dict[int, int] = {}
        self._gone: dict[int, int] = {}  # slot -> the ring's end when the flow in it was taken away

    def __bool__(self) -> bool:
        return bool(self._closed or self._fresh)

    def close(self, slots: list[int], rules: Sequence[Rule]) -> None:
        """These have just been installed, for these rules."""
        # hot: once per upcall
        for slot, rule in zip(slots, rules, strict=True):
            match = rule.match
            port = match.value >> _PORT_SHIFT & _PORT_MASK if match.mask & _PORT_BITS == _PORT_BITS else None
            fresh = self._fresh.get(port)
            if fresh is None:
                self._fresh[port] = [slot]
            else:
                fresh.append(slot)

    def holds(self, slot: int, offset: int) -> bool:
        """Whether the record at `offset` of the ring, which came up behind the gate of `slot`, still waits for it: not
        if its flow has been taken away since, whichever is in the slot now."""
        if slot not in self._gone:
            return True
        consumer = self._ring.consumer
        return consumer + (offset - consumer & self._ring.size - 1) >= self._gone[slot]

    def passed(self, slot: int) -> None:
        """A packet that came up to this gate is sent down."""
        self._passed[slot] = self._passed.get(slot, 0) + 1

    def forget(self, slots: Collection[int]) -> None:
        """The flows in these slots have been taken away, and a grace period is over: what comes up from now on belongs
        to others."""
        if not self:
            return
        gone = {slot for held in self._lists() for slot in held}.intersection(slots)
        if not gone:
            return
        for held in self._lists():
            held[:] = [slot for slot in held if slot not in gone]
        end = self._ring.producer
        for slot in gone:
            self._passed.pop(slot, None)
            self._gone[slot] = end

    def give_up(self) -> None:
        """Nobody will send packets down any more: let those that come pass."""
        for slots in self._lists():
            self._flows.remove_gates(slots)
        self._fresh, self._closed, self._passed = {}, {}, {}

    def _lists(self) -> Iterator[list[int]]:
        yield from self._fresh.values()
        for held in self._closed.values():
            for _, slots in held:
                yield slots

    def open(self, position: int, done: Callable[[int | None], int]) -> list[int]:
        """Open what may be opened, when all up to `position` of the ring has been sent down, and of each port all that
        came up to where it is `done`. Returns the slots of flows that could be opened if there were not more of their
        packets in the ring, behind the gate."""
        # hot: once per batch
        waiting: list[int] = []
        end = self._ring.producer
        for port, closed in list(self._closed.items()):
            up_to, ready = position if port is None else done(port), []
            while closed and closed[0][0] <= up_to:
                ready += closed.popleft()[1]
            held = self._try(ready) if ready else []
            if held:
                closed.append((end, held))
                waiting += held
            elif not closed:
                del self._closed[port]
        for port, fresh in self._fresh.items():
            self._closed.setdefault(port, deque()).append((end, fresh))
        self._fresh = {}
        if self._gone:
            self._gone = {slot: end for slot, end in self._gone.items() if end > position}
        return waiting

    def open_late(self, slots: list[int]) -> list[int]:
        """Open those that `open` returned, some more of whose packets have been sent down since; which are still
        waiting."""
        waiting = self._try(slots)
        opened = set(slots).difference(waiting)
        for held in self._lists():
            held[:] = [slot for slot in held if slot not in opened]
        return waiting

    def _try(self, slots: list[int]) -> list[int]:
        # hot: once per batch
        waiting = self._flows.open_gates(slots, self._passed)
        if self._passed:
            for slot in set(slots).difference(waiting):
                self._passed.pop(slot, None)
        return waiting
