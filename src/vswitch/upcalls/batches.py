"""Packets that came up, and what a program answers.

The kernel writes them into a ring; here they are taken in batches. For a batch: ask about each packet that no rule of
this batch takes already, install all rules at once, send all packets down in order, and only then give the ring back
to the kernel. So a flow's packets leave in the order in which they came, from the first one on: those that came up
while the first was being looked at are sent down behind it, before any that find the rule in the kernel.

`pool.py` lets workers look at packets meanwhile, in the same ring.

Invariant: every record is sent down, or dropped and counted, exactly once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from heapq import heappop, heappush
from sys import getrefcount
from time import monotonic_ns

from vswitch.base.errors import ExistsError, OverlapError, TableFullError
from vswitch.datapath.backend import Backend, Look
from vswitch.datapath.ebpf.layout import PORT_RING, UpcallOffset
from vswitch.fields import SLOTS
from vswitch.model.actions import Action
from vswitch.model.match import Match
from vswitch.model.megaflow import Rule
from vswitch.model.upcall import UpcallReason
from vswitch.upcalls.failures import Failures
from vswitch.upcalls.lanes import Lanes
from vswitch.upcalls.miss import Answer, Miss, apply_answer
from vswitch.upcalls.rates import NewFlowLimits
from vswitch.upcalls.stats import Drop, Tally
from vswitch.upcalls.waiting import Gates, Recent, goes_through

__all__ = ["Upcalls"]

BATCH = 256
"""Upcalls taken at a time: enough to make the cost of a system call small, few enough that a packet does not wait
long."""

BATCH_NS = 4_000_000
"""What comes by another port waits for so long at most, if answers do not take longer than they have taken so far."""

HURRIES = 3
"""How often the ring is looked through, after a batch, for packets of flows that could have their way in the kernel if
nothing of them was left in the ring."""

_SHORTEST_S = 0.001
"""Megaflows count milliseconds."""

_WAYS_MADE = 2
"""How often megaflows make way for those of one batch, which may lie across each other, too."""

_METADATA = sum(SLOTS[name].mask for name in ("recirc_id", "skb_mark", "dp_hash", "skb_priority")) | (
    ((1 << 48 * 8) - 1) << 8 * SLOTS["tun_id"].offset
)
_OFFLOAD_BYTES = UpcallOffset.PACKET - UpcallOffset.OFFLOAD


def _own_references() -> int:
    """References to a miss that nobody but `_account` has, whose loop this is: from the list, and, as the interpreter's
    version has it, from its variable and from the argument."""
    for miss in [object()]:
        return getrefcount(miss)
    raise AssertionError


_OWN_REFERENCES = _own_references()


class Upcalls:
    """The one reader of a datapath's ring."""

    def __init__(self, backend: Backend, tally: Tally, limits: NewFlowLimits) -> None:
        self._now_ns = backend.now_ns
        self._flows = backend.flows
        self._ports = backend.ports
        self._injector = backend.injection()
        self._ring = backend.ring()
        self._view = self._ring.view
        self._rings = backend.shares
        self._alive = backend.alive
        self._records: deque[int] = deque()
        self._lanes = Lanes(self._ring)  # read from the ring, behind `_records`
        self._unfreed: list[tuple[int, int, int]] = []  # a heap of what is done with: its place, port and bytes
        self._cost_ns = 0.0  # of a record
        self._begun_ns = 0
        self._handled: list[Miss] = []
        self._recent = Recent()
        self._gates = Gates(self._flows, self._ring)
        self._shaken = False  # a rule of this batch was refused, or rules were taken away since it began
        self._tally = tally
        self._limits = limits
        self.on_refusal: Callable[[Rule], None] = lambda _rule: None
        self.on_installed: Callable[[Sequence[Rule], Sequence[int]], None] | None = None  # rules, and their slots
        self.on_close: Callable[[], None] | None = None  # of who has packets of ours
        self.make_way: Callable[[list[Rule]], Collection[Match]] | None = None  # of a policy, whose misses these are
        self._failures = Failures()
        self.last_failure: BaseException | None = None
        self._discard_leftovers()
        tally.begin()
        self.set_miss_rate()
        self._ports.set_quota(backend.options.port_quota_bytes)

    def set_miss_rate(self) -> None:
        """Let the kernel send as many misses of each port as the limits say now."""
        self._ports.set_miss_rate(*self._limits.of_ports)

    def _discard_leftovers(self) -> None:
        """What came up for an earlier reader is too old to be sent on; for this one, nobody is left to answer."""
        while left := self._ring.records(BATCH):
            self._ring.advance()
            self._tally.drop(Drop.CLOSED, len(left))

    def close(self) -> None:
        """Carry out what was answered so far, stop the kernel from sending, and drop what has not been read."""
        if self.on_close is not None:
            self.on_close()
        self._finish()
        self._gates.give_up()
        self._ports.set_quota(0)
        self._tally.drop(Drop.CLOSED, len(self._records) + len(self._lanes))
        self._records.clear()
        self._lanes = Lanes(self._ring)
        self._ring.advance()
        self._discard_leftovers()
        self._ring.close()

    @property
    def busy(self) -> bool:
        """Whether there is something to do although no packet waits: call `misses` or `handle` again soon."""
        return bool(self._records or self._lanes or self._gates)

    @property
    def has_records(self) -> bool:
        """Whether packets wait."""
        return self._ring.position < self._ring.producer

    @property
    def in_batch(self) -> bool:
        """Whether a handler, or who takes misses, is at a packet now."""
        return bool(self._handled)

    def fileno(self) -> int:
        """Readable when packets wait."""
        return self._ring.fd

    def forget(self, matches: Collection[Match] | None, slots: Collection[int]) -> None:
        """Rules with these matches (None: all rules) were taken away from these slots, and a grace period is over: ask
        again about packets that they would have taken. Answers of this batch that would make them anew are right for
        their own packets."""
        self.withdraw({miss.rule.match for miss in self._handled if miss.rule} if matches is None else matches)
        if matches is None:
            self._recent.clear()
        self._gates.forget(slots)
        self._shaken |= bool(self._handled)

    def withdraw(self, matches: Collection[Match]) -> None:
        """Answers of this batch with these matches were right for their own packets, and are not to be installed."""
        for miss in self._handled:
            if miss.rule is not None and miss.rule.match in matches:
                miss._send, miss.rule = miss.rule.actions, None
                self._shaken = True
        self._recent.forget(matches)

    def withdraw_within(self, match: Match) -> None:
        """The same, of all answers of this batch whose packets are all in `match`."""
        within = {miss.rule.match for miss in self._handled if miss.rule is not None and match.covers(miss.rule.match)}
        if within:
            self.withdraw(within)

    # ---- a batch

    def misses(self) -> Iterator[Miss]:
        """The packets of one batch that need an answer. Their answers are carried out at its end, or when the caller
        stops early; what it has not seen then comes with the next batch."""
        if not self._records:
            self._take_batch()
        try:
            while self._records:
                miss = Miss(self._view, self._records.popleft())
                self._handled.append(miss)
                if self._is_covered(miss):
                    miss.covered = True
                    self._tally.joined(1)
                    continue
                if not self.may_be_new(miss):
                    continue
                self._tally.handled(1)
                self._alive[0] = monotonic_ns()
                yield miss
                if miss.rule is not None:
                    self._recent.add(miss, miss.rule)
                    miss.answered_ns = self._now_ns()
        finally:
            self._finish()

    def handle(self, handler: Callable[[Miss], Answer]) -> int:
        """Let `handler` answer one batch; the number of packets that were in it."""
        # hot: as `misses`, without its generator and with `_is_covered` written out where it is easy
        records = self._records
        if not records:
            self._take_batch()
        handled, recent, view, limits = self._handled, self._recent, self._view, self._limits
        count, joined, limited = len(records), 0, 0
        try:
            while records:
                miss = Miss(view, records.popleft())
                handled.append(miss)
                plain = not miss.flow and miss.reason is UpcallReason.MISS
                if recent.takes(miss._key) if plain else self._is_covered(miss):
                    miss.covered = True
                    joined += 1
                    continue
                if limits and not self.may_be_new(miss):
                    limited += 1
                    continue
                self.answer(miss, handler)
                if miss.rule is not None:
                    recent.add(miss, miss.rule)
        finally:
            self._tally.joined(joined)
            self._tally.handled(len(handled) - joined - limited)
            self._finish()
        return count

    def divert(self, take: Callable[[Miss], bool]) -> int:
        """One batch, of which `take` sees each packet that somebody is to be asked about: True, and it has it, until
        `send_on` or `discard`; else its answer is carried out at the end of the batch. The number of packets."""
        records = self._records
        if not records:
            self._take_batch()
        handled = self._handled
        count = len(records)
        try:
            while records:
                miss = Miss(self._view, records.popleft())
                handled.append(miss)
                if self._is_covered(miss):
                    miss.covered = True
                    self._tally.joined(1)
                elif take(miss):
                    handled.pop()
        finally:
            self._finish()
        return count

    def ask(self, miss: Miss, handler: Callable[[Miss], Answer]) -> None:
        """Within `divert`: let `handler` answer now."""
        self._tally.handled(1)
        self.answer(miss, handler)
        if miss.rule is not None:
            self._recent.add(miss, miss.rule)

    def install(self, answered: list[Miss]) -> list[tuple[Miss, Rule]]:
        """Of packets that were taken over: install what was answered. The rules that stand, and to what each of them
        was the answer."""
        self._alive[0] = monotonic_ns()
        self._install(answered)
        standing = [(miss, miss.rule) for miss in answered if miss.rule is not None]
        for miss, rule in standing:
            self._recent.add(miss, rule)
        return standing

    def releases(self, answered: Miss, rule: Rule, miss: Miss) -> bool:
        """Whether a packet that was taken over goes down through a rule that takes it and stands, as the answer to
        another: one that missed does; one that was sent up on purpose behind another that was sent up as it was."""
        if miss.reason is UpcallReason.MISS:
            return True
        return (
            answered.reason is UpcallReason.ACTION
            and answered.userdata == miss.userdata
            and goes_through(self._flows, miss, rule)
        )

    def send_on(self, taken: list[Miss]) -> None:
        """Carry out what was answered to packets that were taken over, in this order."""
        self._send_down(taken)
        self._account(taken)

    def discard(self, taken: list[Miss], reason: Drop) -> None:
        """Drop packets that were taken over."""
        self._tally.drop(reason, len(taken))
        self._account(taken)

    def may_be_new(self, miss: Miss) -> bool:
        """Whether the program may be asked about one more new flow. If not, the packet is dropped."""
        if not self._limits or miss.reason is not UpcallReason.MISS or self._limits.allow(miss._key, self._now_ns()):
            return True
        miss.dropped = Drop.RATE
        return False

    def _take_batch(self) -> None:
        """As many records as are done with in a moment. If there are more, each port gets its part."""
        self._begun_ns = self._now_ns()
        limit = BATCH if self._cost_ns * BATCH <= BATCH_NS else max(int(BATCH_NS / self._cost_ns), 1)
        if not self._lanes:
            offsets = self._ring.records(limit)
            if len(offsets) < limit:
                self._records.extend(offsets)
                return
            self._lanes.add(offsets)
        self._lanes.read_all()
        self._records.extend(self._lanes.take(limit))

    def answer(self, miss: Miss, handler: Callable[[Miss], Answer]) -> None:
        """Let `handler` answer; what goes wrong with that costs this packet alone."""
        # hot: once per upcall
        self._alive[0] = monotonic_ns()
        try:
            answer = handler(miss)
            if answer is not None:
                apply_answer(miss, answer)
            if miss.rule is not None and miss.rule.hard_timeout_s is not None:
                miss.answered_ns = self._now_ns()
        except Exception as problem:  # noqa: BLE001 - its packet is lost and said so; the others go on
            self.failed(miss, problem)

    def _is_covered(self, miss: Miss) -> bool:
        """Whether nobody need be asked about a packet: a rule takes it that was installed since it came up."""
        if miss.flow and self._waits(miss):
            return True
        if miss.reason is UpcallReason.MISS:
            return self._recent.takes(miss._key)
        return bool(self._recent.sent_up) and self._recent.follow(self._flows, miss)

    def _waits(self, miss: Miss) -> bool:
        """Whether a packet that came up behind a gate is still behind it. If its flow is there no more, it is a miss
        as any other."""
        if self._gates.holds(miss.flow, miss._offset):
            return True
        miss.flow = 0
        return False

    def failed(self, miss: Miss, problem: BaseException) -> None:
        """The program could not answer: the packet is dropped, counted and reported."""
        if not (miss._size or miss.answered):  # its handler closed the datapath before it failed
            self._tally.drop(Drop.UNANSWERED, -1)
            self._tally.drop(Drop.FAILED)
        miss.rule = miss._send = None
        miss.dropped = Drop.FAILED
        self.report(problem, miss)

    def report(self, problem: BaseException, miss: Miss) -> None:
        """A packet failed by this."""
        self._tally.failed()
        self.last_failure = problem
        self._failures.report(problem, miss, self._now_ns())

    def _finish(self) -> None:
        """Carry the answers out. Whatever becomes of them, the ports get their share of the ring back."""
        # hot: once per batch
        if self._ring.fd < 0:
            return
        handled, self._handled = self._handled, []
        self._alive[0] = monotonic_ns()
        try:
            if handled:
                self._install(handled)
                if self._shaken:
                    handled = self._ask_again(handled)
                self._send_down(handled)
        finally:
            self._shaken = bool(self._records)  # which may follow rules that are answered anew
            self._account(handled)
            if not self._records:
                done = self._give_back()
                waiting = self._gates.open(done, self._lanes.done)
                self._recent.age(done, self._ring.producer)
                if waiting:
                    self._hurry(waiting)
                if handled:
                    took_ns = (self._now_ns() - self._begun_ns) / len(handled)
                    self._cost_ns += (took_ns - self._cost_ns) / 4

    def _give_back(self) -> int:
        """Let the kernel overwrite what is done with; up to where that is."""
        done = self._lanes.done()
        self._ring.advance(done)
        if self._unfreed:
            consumed: dict[int, int] = {}
            while self._unfreed and self._unfreed[0][0] < done:
                _, port, size = heappop(self._unfreed)
                consumed[port] = consumed.get(port, 0) + size
            self._give_share_back(consumed)
        return done

    def _hurry(self, waiting: list[int]) -> None:
        """Send down what comes up behind the gates of these flows, whose first packets are through, before all else
        that is in the ring. In its turn it would be followed by more as long as the ring is full of other packets, and
        a flow whose megaflow stands would stay out of the kernel."""
        for _ in range(HURRIES):
            self._send_ahead(set(waiting))
            waiting = self._gates.open_late(waiting)
            if not waiting:
                break
        self._give_back()

    def _send_ahead(self, flows: set[int]) -> None:
        """Read all that is in the ring, and send down what is of these flows."""
        self._lanes.read_all()
        held = [Miss(self._view, offset) for offset in self._lanes.extract(flows, self._gates.holds)]
        for miss in held:
            miss.covered = True
        self._tally.joined(len(held))
        self._send_down(held)
        self._account(held)

    def _install(self, handled: list[Miss]) -> None:
        rules = [miss.rule for miss in handled if miss.rule is not None]
        if any(rule.hard_timeout_s is not None for rule in rules):
            rules = self._shortened(handled)
        if not rules:
            return
        try:
            self._apply(rules)
        except Exception:  # noqa: BLE001 - whatever it is, it comes again for the one that it is about
            self._install_one_by_one(handled)

    def _shortened(self, handled: list[Miss]) -> list[Rule]:
        """The rules of these, those with a hard timeout as if they had been installed when they were given. What is
        over already is carried out, and no more."""
        now_ns = self._now_ns()
        for miss in handled:
            rule = miss.rule
            if rule is None or rule.hard_timeout_s is None:
                continue
            left_s = rule.hard_timeout_s - (now_ns - (miss.answered_ns or now_ns)) / 1e9
            if left_s >= _SHORTEST_S:
                miss.rule = replace(rule, hard_timeout_s=left_s)
            else:
                miss._send, miss.rule = rule.actions, None
                self._recent.forget({rule.match})
                self._shaken = True
                self.on_refusal(rule)
        return [miss.rule for miss in handled if miss.rule is not None]

    def _install_one_by_one(self, handled: list[Miss]) -> None:
        """One of them is refused: find out which, and let the others live."""
        left = [miss for miss in handled if miss.rule is not None]
        for rounds in range(_WAYS_MADE, -1, -1):
            self._alive[0] = monotonic_ns()
            problems = [(miss, miss.rule, problem) for miss in left if miss.rule and (problem := self._try(miss))]
            in_the_way = [(miss, rule) for miss, rule, problem in problems if isinstance(problem, OverlapError)]
            if self.make_way is None or not in_the_way or not rounds:
                break
            ours = [(miss, rule) for miss, rule in in_the_way if miss.reason is UpcallReason.MISS]
            gone = self.make_way([rule for _, rule in ours])
            if not gone:
                break
            self._take_back(handled, gone)
            left = [miss for miss, _ in ours]
            for miss, rule, problem in problems:
                if miss not in left:
                    self._refuse(miss, rule, problem)
            problems = []
        for miss, rule, problem in problems:
            self._refuse(miss, rule, problem)

    def _try(self, miss: Miss) -> Exception | None:
        """Why the rule of a miss cannot be installed, if it cannot."""
        assert miss.rule is not None
        problem = self._install_one(miss.rule)
        return None if isinstance(problem, ExistsError) and self._stands(miss, miss.rule) else problem

    def _take_back(self, handled: list[Miss], gone: Collection[Match]) -> None:
        """Some megaflows made way, which may have been installed in this batch: their packets are sent on all the
        same, and those that were to follow them are asked about again."""
        self._shaken = True
        for miss in handled:
            if miss.rule is not None and miss.rule.match in gone:
                miss._send, miss.rule = miss.rule.actions, None

    def _refuse(self, miss: Miss, rule: Rule, problem: Exception) -> None:
        """The rule cannot be installed. If a policy has made it, or it is only that the table is full, what becomes of
        the packet is known all the same, although others like it will come up again."""
        exists = isinstance(problem, ExistsError)
        if not exists or miss.reason is UpcallReason.ACTION:
            self._recent.refuse(rule.match)
            self._shaken = True
        if not exists:
            self.on_refusal(rule)
        by_policy = self.make_way is not None and miss.reason is UpcallReason.MISS
        if by_policy or isinstance(problem, TableFullError):
            miss._send = rule.actions
        miss.rule = None
        miss.dropped = Drop.FAILED
        self.report(problem, miss)

    def _install_one(self, rule: Rule) -> Exception | None:
        """Why not, if it cannot be."""
        try:
            self._apply([rule])
        except Exception as problem:  # noqa: BLE001 - whatever it is, it is said, and the others go on
            return problem
        return None

    def _apply(self, rules: list[Rule]) -> None:
        slots = self._flows.apply(rules, gated=True)
        self._gates.close(slots, rules)
        self._tally.installed(len(rules))
        if self.on_installed is not None:
            self.on_installed(rules, slots)

    def _stands(self, miss: Miss, rule: Rule) -> bool:
        """Whether the packet may go down through the rule that is there already in the place of `rule`. One that missed
        may: the rule was installed while it waited. One that a rule sent up on purpose must not get to that rule again,
        so the answer has to be what it will find; and it must not send it up once more, for ever round."""
        return miss.reason is UpcallReason.MISS or goes_through(self._flows, miss, rule)

    def _ask_again(self, handled: list[Miss]) -> list[Miss]:
        """Put packets whose rule was refused, or taken away, since they were found to be covered, back where they came
        from: the next batch begins with them, and with those of the same flow that were answered each for itself, which
        must not overtake them. What is left."""
        for miss in handled:
            if miss.rule is not None:
                self._recent.stands(miss, miss.rule)
        left, again = [], []
        behind: set[int] = set()
        for miss in handled:
            if miss._send is not None and miss._key in behind:
                self._tally.handled(-1)
            elif not miss.covered or self._is_covered(miss):
                left.append(miss)
                continue
            else:
                self._tally.joined(-1)
            behind.add(miss._key)
            again.append(miss._offset)
        self._records.extendleft(reversed(again))
        return left

    def _send_down(self, handled: list[Miss]) -> None:
        injector, ring, refused = self._injector, self._ring.address, self._injector.failed
        lists: list[tuple[Look, int]] = []
        arrivals_ns: list[int] = []
        drop = self._tally.drop
        try:
            for miss in handled:
                if miss.flow:
                    self._gates.passed(miss.flow)
                if miss.covered or miss.rule is not None:
                    plain = not (miss._key & _METADATA or miss._recirculations)
                    entry = injector.entry_of_port(miss.port) if plain else injector.entry(miss.look())
                elif miss._send:
                    try:
                        entry = self._entry_of_list(miss.look(), miss._send, lists)
                    except Exception as problem:  # noqa: BLE001 - too long, no room: this packet's loss alone
                        self.report(problem, miss)
                        drop(Drop.FAILED)
                        continue
                else:
                    drop(miss.dropped)
                    continue
                arrivals_ns.append(miss.arrived_ns)
                if miss.held:
                    injector.add_copy(entry, miss.to_send())
                else:
                    offset, captured = miss._offset, miss._captured
                    injector.add(entry, ring + offset + UpcallOffset.OFFLOAD, _OFFLOAD_BYTES + captured)
        finally:
            injector.flush()
            self._tally.released(arrivals_ns, self._now_ns())
            if injector.failed != refused:
                self._tally.unsent(injector.failed - refused)
            for look, word in lists:
                injector.forget(look, word)
                self._flows.arena.release(word)

    def _entry_of_list(self, look: Look, actions: tuple[Action, ...], held: list[tuple[Look, int]]) -> int:
        word = self._flows.arena.acquire_list(actions)
        held.append((look, word))
        return self._injector.entry(look, word)

    def _account(self, handled: list[Miss]) -> None:
        """Give each port its share of the ring back, and leave to the program what it has kept."""
        consumed: dict[int, int] = {}
        for miss in handled:
            if self._lanes and not miss.held:  # there may be older records, which are not done with
                heappush(self._unfreed, (self._ring.position_of(miss._offset), miss.port, miss._size))
            else:
                consumed[miss.port] = consumed.get(miss.port, 0) + miss._size
            if miss.held or getrefcount(miss) > _OWN_REFERENCES:
                miss.keep()
        self._give_share_back(consumed)

    def _give_share_back(self, consumed: dict[int, int]) -> None:
        for port, size in consumed.items():
            slot = self._ports.slot_of(port)
            if slot is not None:
                at = slot * PORT_RING.size // 8
                # a port that was made anew under its number owes nothing of what the last one has sent up
                self._rings[at + 1] = min(self._rings[at + 1] + size, self._rings[at])
