"""One walk of a packet through the tables: lookups, lists of actions, copies, and stopping in the middle.

A walk may have to stop because the datapath must first do something to the packet (`Stop`): parse it anew, hash it,
measure it, or hand it to a controller that lets it go on. Then all that is left to be done is gathered from the
innermost list of actions outwards into `frames`, and the walk goes on from them: later, when the packet comes back with
the number of its frozen state, or here at once, for each of two answers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING

from vswitch.base.errors import TableFullError, VswitchError
from vswitch.base.limits import MAX_ACTION_DEPTH
from vswitch.fields.kinds import OPENFLOW_PORTS
from vswitch.fields.openflow import FLOW_BYTES, PIPELINE_SLOTS
from vswitch.fields.registry import SLOTS
from vswitch.messages import actions as a
from vswitch.messages.actions import FlowAction
from vswitch.messages.flows import PacketInReason
from vswitch.messages.match import FlowMatch, SubField
from vswitch.messages.ports import PortConfig
from vswitch.model.actions import (
    Action,
    CheckPacketLength,
    Clone,
    Hash,
    Meter,
    Output,
    Recirculate,
    Truncate,
    Userspace,
)
from vswitch.ofproto.action_set import in_order
from vswitch.ofproto.classifier import Wildcards
from vswitch.ofproto.mirrors import mirror_out
from vswitch.ofproto.packet import BlindError, Packet
from vswitch.ofproto.paths import Checkpoint, Piece
from vswitch.ofproto.places import (
    IN_PORT,
    IP_FRAG,
    PIPELINE_BITS,
    PLACES,
    PORT_BITS,
    PRIORITY,
    TUNNEL_BITS,
    Place,
    at_hand,
)
from vswitch.ofproto.translation import (
    ControllerSend,
    Dependency,
    Effect,
    Frame,
    FrozenState,
    Lookup,
    Stage,
    View,
)

if TYPE_CHECKING:
    from vswitch.ofproto.recorder import Recorder
    from vswitch.ofproto.rule import Rule

__all__ = ["MAX_DEPTH", "MAX_RESUBMITS", "TABLES", "Halt", "Run", "Stop", "TranslationError", "bits_place"]

MAX_DEPTH = 64
"""Tables, groups and copies inside of each other."""
MAX_RESUBMITS = 4096
"""Lookups of one packet."""
TABLES = 254

ALL_BITS = (1 << 8 * FLOW_BYTES) - 1
_FRAGMENT = IP_FRAG.place(1)
_ACTION_SET_OUTPUT = PIPELINE_SLOTS["actset_output"]
UNSET = 0xFFFFFFF7
_OF_TABLE: tuple[Dependency, ...] = tuple(("table", number) for number in range(TABLES))
"""One object for all megaflows that depend on it."""


class TranslationError(VswitchError):
    """The packet is dropped, for this reason."""


class Halt(Enum):
    """Why a list of actions is not gone on with."""

    NOT = 0
    RETURN = 1
    """This list alone is over."""
    EXIT = 2
    """All lists are."""
    STOP = 3
    """The datapath comes first; the rest is gathered."""


@dataclass(frozen=True, slots=True)
class Stop:
    """What the datapath has to do: "parse", "hash" (with the seed `number`), "length" (of more than `number` bytes,
    into `destination`), "pause" (`send`). `again`: the action that asked for it is to be done anew then."""

    kind: str
    number: int = 0
    destination: SubField | None = None
    send: ControllerSend | None = None
    again: bool = False


Doer = Callable[["Run", FlowAction], None]


class Run:
    """The walk. `stage`: where it is; `depth`: how many lists are in each other, `copies`: how many of them are copies;
    `first`: the first rule, whose the action set is; `hashed`: the seed by which the datapath has made dp_hash;
    `priority`: the packet's as it came, and the bits that say so. `way`: the lookups so far, and `places`: where NORMAL
    found addresses, for `paths`; None: nobody wants to know. `plain`: that is all there is to say of the walk.
    `mirrored`: by which mirrors the packet was copied, in this walk (`mirrors`) or before it came back. `snooped`: what
    multicast snooping has made of it: "report", "query", "other"; "": it has not seen it."""

    __slots__ = (
        "action_set", "buckets", "controllers", "copies", "depends", "depth", "do", "effects", "first", "frames",
        "halt", "hashed", "lookups", "meters", "mirrored", "mirrors", "now_ns", "packet", "places", "plain", "priority",
        "recorder", "resubmits", "rules", "snooped", "stage", "stop", "view", "way", "wildcards",
    )  # fmt: skip

    def __init__(
        self, view: View, packet: Packet, now_ns: int, do: Mapping[type, Doer], recorder: Recorder | None,
        way: list[Checkpoint] | None = None,
    ) -> None:  # fmt: skip
        self.view = view
        self.packet = packet
        self.now_ns = now_ns
        self.do = do
        self.recorder = recorder
        self.rules: list[Rule] = []
        self.lookups: list[Lookup] = []
        self.buckets: list[tuple[int, int]] = []
        self.meters: list[int] = []
        self.controllers: list[ControllerSend] = []
        self.effects: list[Effect] = []
        self.depends: set[Dependency] = set()
        self.wildcards = Wildcards()
        self.way = way
        self.places: list[tuple[int, int, int | None]] = []
        self.plain = True
        self.stage = Stage()
        self.action_set: tuple[FlowAction, ...] = ()
        self.halt = Halt.NOT
        self.stop: Stop | None = None
        self.frames: list[Frame] = []
        self.resubmits = 0
        self.first: Stage | None = None
        self.depth = 0
        self.copies = 0
        self.hashed: int | None = None
        self.priority = PRIORITY.get(packet.key), PRIORITY.bits
        self.mirrored: frozenset[str] = frozenset()
        self.mirrors: tuple[str, ...] = ()
        self.snooped = ""

    # ---- lists of actions

    def act(self, actions: tuple[FlowAction, ...], stage: Stage) -> None:
        """Carry these out, until something halts them."""
        # hot: once per rule that is passed
        self.stage = stage
        do = self.do
        recorder = self.recorder
        level = recorder.depth if recorder is not None else 0
        for index, action in enumerate(actions):
            if recorder is not None:
                recorder.leave(level)
                recorder.action(action)
            try:
                do[type(action)](self, action)
            except BlindError:
                self.halt_for(Stop("parse", again=True))
            if self.halt is not Halt.NOT:
                if self.halt is Halt.RETURN:
                    self.halt = Halt.NOT
                elif self.halt is Halt.STOP:
                    self._gather(actions, index, stage)
                return

    def _gather(self, actions: tuple[FlowAction, ...], index: int, stage: Stage) -> None:
        """What of a list is left, whose action number `index` was halted."""
        stop = self.stop
        assert stop is not None
        rest = actions[index:] if stop.again else actions[index + 1 :]
        if stop.again:
            self.stop = replace(stop, again=False)  # for those lists that this one is in
        if rest:
            self.frames.append(Frame(rest, stage))

    def deeper(self) -> None:
        """One more list inside of another. TranslationError: that is too many."""
        if self.depth >= MAX_DEPTH:
            raise TranslationError(f"tables and groups are more than {MAX_DEPTH} deep in each other")
        self.depth += 1

    def lookup(self, number: int, in_port: int | None = None, *, honour_miss: bool = False) -> None:
        """Look the packet up in a table, as if it had come in by `in_port`, and do what the rule says."""
        # hot: once per table that is passed
        if self.resubmits >= MAX_RESUBMITS:
            raise TranslationError(f"more than {MAX_RESUBMITS} lookups")
        packet = self.packet
        key, fresh = packet.key, packet.fresh
        if in_port is not None:
            key, fresh = key & ~IN_PORT.mask | IN_PORT.place(in_port), fresh & ~IN_PORT.mask
        wildcards = self.wildcards
        wildcards.mask = free = at_hand(fresh, packet.derived_bits | packet.blind)
        if key & _FRAGMENT and not self.view.config.fragments:
            key &= ~PORT_BITS  # OpenFlow's fragment handling "normal": they have no ports
            fresh &= ~PORT_BITS
        rule = self.view.tables[number].classifier.lookup(key, wildcards)
        mask = wildcards.mask
        if mask & PORT_BITS and not self.view.config.fragments:
            mask |= _FRAGMENT
            packet.look(mask & ~(free | PORT_BITS) if key & _FRAGMENT else mask & ~free)
        else:
            packet.look(mask & ~free)
        if self.way is not None and self.plain:
            self._note_lookup(number, in_port, rule)
        self.resubmits += 1
        self.depends.add(_OF_TABLE[number])
        self.lookups.append(Lookup(number, key, mask, rule, fresh))
        if self.recorder is not None:
            self.recorder.table(number, key, rule)
        if rule is None:
            if honour_miss:
                self._miss(number)
            return
        self.rules.append(rule)
        stage = self.stage
        self.deeper()
        found = Stage(number, rule, stage.kind)
        if self.first is None:
            self.first = found
        self.act(rule.actions, found)
        self.depth -= 1
        self.stage = stage

    def _note_lookup(self, number: int, in_port: int | None, rule: Rule | None) -> None:
        """What the key consisted of that was looked up."""
        packet = self.packet
        fresh, key = packet.fresh, packet.key
        if in_port is not None:
            fresh, key = fresh & ~IN_PORT.mask, key & ~IN_PORT.mask | IN_PORT.place(in_port)
        pieces: list[tuple[int, Piece]] = []
        for own, _, piece in packet.derived:
            if piece is None or (in_port is not None and own & IN_PORT.mask):
                self.plain = False
                return
            pieces.append((own, piece))
        constant = key & ~fresh & ~packet.derived_bits
        assert self.way is not None
        self.way.append(Checkpoint(number, packet.mask, fresh, constant, tuple(pieces), rule))

    def _miss(self, number: int) -> None:
        """No rule of the table takes it."""
        config = self.view.config
        what = config.misses.get(number, config.miss)
        if what == "continue" and number + 1 < TABLES:
            self.lookup(number + 1, honour_miss=True)
        elif what == "controller":
            in_port = IN_PORT.take(self.packet.key)
            self.depends.add(("port", in_port))
            port = self.view.ports.get(in_port)
            if port is None or not port.config & PortConfig.NO_PACKET_IN:
                stage, self.stage = self.stage, Stage(number, None)
                self.send(self.controller_send(PacketInReason.NO_MATCH, 0xFFFF, miss=True))
                self.stage = stage

    # ---- what goes out

    def output(self, port: int, truncate: int = 0) -> None:
        """A copy of the packet as it is now, out of the datapath's port for this port of OpenFlow."""
        packet = self.packet
        config = self.view.config
        if config.protected and port in config.protected and IN_PORT.take(packet.key) in config.protected:
            if self.recorder is not None:
                self.recorder.note(">> both ports are protected, skipping output")
            return
        packet.commit()
        if packet.tunnel and port in config.tunnel_ports:
            packet.commit_tunnel()
        if truncate:
            packet.emitted.append(Truncate(max(14, min(truncate, 65535))))
        packet.emitted.append(datapath_output(port))
        if config.mirrors:
            mirror_out(self, port)

    def controller_send(
        self, reason: PacketInReason | int, max_len: int, *, controller_id: int = 0, userdata: bytes = b"",
        meter: int | None = None, miss: bool = False, rest: bool = False,
    ) -> ControllerSend:  # fmt: skip
        """What a controller is told of the packet as it is now; consults what the megaflow must have in common."""
        packet = self.packet
        key = packet.key
        bits = IN_PORT.mask | (PIPELINE_BITS & ~_ACTION_SET_OUTPUT.mask | TUNNEL_BITS) & ~packet.fresh
        packet.consult(bits)
        given = 0
        for slot in _METADATA_SLOTS:
            if key & slot & bits:
                given |= slot
        rule = self.stage.rule
        return ControllerSend(
            controller_id, reason, max_len, userdata, self.stage.table or 0,
            rule.cookie if rule is not None else (1 << 64) - 1,
            FlowMatch.from_ints(key, (given | IN_PORT.mask) & bits), None, meter, miss, rest,
        )  # fmt: skip

    def send(self, what: ControllerSend) -> None:
        """The packet as it is now, to a controller."""
        packet = self.packet
        packet.commit()
        packet.emitted.append(Userspace(len(self.controllers).to_bytes(4, "big")))
        self.controllers.append(what)

    def meter(self, number: int) -> None:
        """Drop it if this meter says so."""
        self.depends.add(("meter", number))
        if self.view.meters is not None and self.view.meters.get(number) is None:
            return
        self.meters.append(number)
        self.packet.emitted.append(Meter(number))

    # ---- copies

    def on_copy(self, what: Callable[[], None], *, action_set: bool = False) -> None:
        """Do it to a copy, and the packet's action set behind it, if it has one there; the packet stays as it is."""
        packet = self.packet
        self.plain = False
        saved = packet.snapshot()
        own = (self.action_set, self.frames, self.stage, self.hashed, self.depth)
        outer, packet.emitted, self.frames = packet.emitted, [], []
        if not action_set:
            self.action_set = ()
        self.deeper()
        self.copies += 1
        what()
        self.end(top=action_set)
        inner, packet.emitted = packet.emitted, outer
        packet.restore(saved)
        self.copies -= 1
        self.action_set, self.frames, self.stage, self.hashed, self.depth = own
        inner = pruned(inner)
        if all(isinstance(each, _LEAVES_AS_IS) for each in inner):
            outer.extend(inner)
        elif packet.can_undo(inner, at_any_price=self.copies >= MAX_ACTION_DEPTH):
            outer.extend(inner)
            packet.undo(inner)
        else:
            outer.append(Clone(tuple(inner)))

    # ---- stopping and going on

    def halt_for(self, stop: Stop) -> None:
        """Let the datapath do this first."""
        self.halt, self.stop = Halt.STOP, stop
        self.plain = False

    def frozen(self, frames: list[Frame]) -> FrozenState:
        """What goes on later, with these lists of actions."""
        packet = self.packet
        mask = PIPELINE_BITS | (TUNNEL_BITS | IN_PORT.mask) & ~packet.fresh
        packet.consult(mask)
        stack = []
        for value, bits, sources in packet.stack:
            packet.mask |= sources
            stack.append((value, bits))
        priority = None
        if PRIORITY.bits & ~packet.fresh:
            priority, sources = self.priority
            packet.mask |= sources
        return FrozenState(
            tuple(frames), packet.key & mask, mask, tuple(stack), self.action_set,
            tuple(packet.tunnel.items()), self.hashed, self.depth, priority, self.mirrored,
        )  # fmt: skip

    def thaw(self, state: FrozenState) -> None:
        """Be as the walk was that this is the rest of."""
        self.plain = False
        packet = self.packet
        packet.assign(state.mask, state.value)
        packet.base_fresh &= ~(state.mask & ~PIPELINE_BITS)
        packet.stack = tuple((value, bits, 0) for value, bits in state.stack)
        packet.tunnel = dict(state.tunnel)
        self.action_set = state.action_set
        self.hashed = state.hashed
        self.depth = state.depth
        self.mirrored = state.mirrored
        self.first = state.frames[-1].stage if state.frames else None
        if state.priority is not None:
            self.priority = state.priority, 0

    def go_on(self, frames: list[Frame], *, top: bool) -> None:
        """Carry out what is left, innermost first, and if it is not a copy the action set behind it."""
        for index, frame in enumerate(frames):
            self.act(frame.actions, frame.stage)
            if self.halt is Halt.STOP:
                self.frames.extend(frames[index + 1 :])
            if self.halt is not Halt.NOT:
                break
        self.end(top=top)

    def end(self, *, top: bool) -> None:
        """All lists are done with, or halted."""
        if top and self.halt is Halt.NOT and self.action_set:
            actions, self.action_set = in_order(self.action_set), ()
            if self.recorder is not None:
                self.recorder.leave(1)
                self.recorder.title("--. Executing action set:", self.packet.key)
            first = self.first or Stage()
            self.act(actions, Stage(first.table, first.rule, "action_set"))
        if self.halt is Halt.STOP:
            self.finish(top=top)
        self.halt = Halt.NOT

    def finish(self, *, top: bool) -> None:
        """All that is left has been gathered: let the datapath do what it has to."""
        stop, frames = self.stop, self.frames
        assert stop is not None
        self.frames, self.halt, self.stop = [], Halt.NOT, None
        packet = self.packet
        if stop.kind == "length":
            self._branch(stop, frames, top=top)
            return
        if stop.kind == "pause":
            assert stop.send is not None
            self.send(replace(stop.send, pause=self.frozen(frames)))
            return
        packet.commit()
        if stop.kind == "hash":
            self.hashed = stop.number
            packet.emitted.append(Hash(stop.number))
        self._come_back(frames)

    def _branch(self, stop: Stop, frames: list[Frame], *, top: bool) -> None:
        """Go on for both answers: the packet is longer, or it is not. At once, unless something may be counted on one
        of the ways alone: one megaflow would count it for both. Then the packet comes back, as another one for each."""
        packet = self.packet
        packet.commit()
        counts = any(_may_count(frame.actions) for frame in frames) or (top and _may_count(self.action_set))
        what = (lambda: self._come_back(frames)) if counts else (lambda: self.go_on(frames, top=top))
        branches = [self._way(stop, answer, what) for answer in (1, 0)]
        if branches[0] == branches[1]:
            packet.emitted.extend(branches[0])
        else:
            packet.emitted.append(CheckPacketLength(stop.number, branches[0], branches[1]))

    def _way(self, stop: Stop, answer: int, what: Callable[[], None]) -> tuple[Action, ...]:
        """What the datapath does if the answer is this."""
        packet = self.packet
        saved, outer = packet.snapshot(), packet.emitted
        own = (self.action_set, self.stage, self.hashed, self.depth, self.resubmits, self.mirrored)
        packet.emitted = []
        self.copies += 1
        assert stop.destination is not None
        place, bits = bits_place(stop.destination)
        packet.write(place, bits, place.put(answer << stop.destination.start))
        what()
        self.copies -= 1
        emitted = tuple(pruned(packet.emitted))
        packet.restore(saved)
        packet.emitted = outer
        self.action_set, self.stage, self.hashed, self.depth, self.resubmits, self.mirrored = own
        return emitted

    def _come_back(self, frames: list[Frame]) -> None:
        """Let the datapath look the packet up again, for these lists of actions."""
        self.packet.commit()
        try:
            number = self.view.frozen.number(self.frozen(frames))
        except TableFullError as error:
            raise TranslationError(str(error)) from None
        self.packet.emitted.append(Recirculate(number))


_COUNTING = (a.GotoTable, a.Resubmit, a.Group, a.Learn, a.FinTimeout, a.Meter, a.OutputReg)
"""Actions that lead to rules, groups or meters, or have effects; outputs to some ports do too."""
_COUNTING_PORTS = (OPENFLOW_PORTS["NORMAL"], OPENFLOW_PORTS["TABLE"])


def _may_count(actions: tuple[FlowAction, ...]) -> bool:
    """Whether these may lead to something that is counted or learned."""
    for action in actions:
        if isinstance(action, _COUNTING) or (isinstance(action, a.Output) and action.port in _COUNTING_PORTS):
            return True
        if isinstance(action, a.Clone | a.WriteActions) and _may_count(action.actions):
            return True
    return False


_LEAVES_AS_IS = (Output, Userspace, Truncate)
"""Actions after which the packet is what it was before."""
_LASTING = (Output, Userspace, Recirculate, Meter, Clone, CheckPacketLength)
"""Actions that somebody will notice: others at the end of a list change a packet that is gone."""

_METADATA_SLOTS = tuple(
    slot.mask
    for slot in (
        *(PIPELINE_SLOTS[name] for name in ("metadata", *(f"reg{number}" for number in range(16)))),
        *(SLOTS[name] for name in ("tun_id", "tun_src", "tun_dst", "tun_flags")),
    )
)


def pruned(actions: list[Action]) -> list[Action]:
    """Without what nobody notices at the end, and without a copy for what comes last."""
    end = len(actions)
    while end:
        last = actions[end - 1]
        if isinstance(last, Clone):
            return pruned(actions[: end - 1] + list(last.actions))
        if isinstance(last, CheckPacketLength) and not last.greater and not last.less_equal:
            end -= 1
            continue
        if isinstance(last, _LASTING):
            break
        end -= 1
    return actions[:end] if end < len(actions) else actions


_OUTPUTS: dict[int, Output] = {}
_LOCAL = 0xFFFFFFFE


def datapath_output(port: int) -> Output:
    """Out of OpenFlow's port `port`, in the datapath's numbers."""
    made = _OUTPUTS.get(port)
    if made is None:
        made = _OUTPUTS[port] = Output(0 if port == _LOCAL else port)
    return made


_subfields: dict[tuple[str, int, int], int] = {}


def bits_place(sub: SubField) -> tuple[Place, int]:
    """The place of a field and the bits of the key that `sub` names of it."""
    place = PLACES[sub.field.name]
    known = _subfields.get((sub.field.name, sub.start, sub.bits))
    if known is None:
        known = place.put((1 << sub.bits) - 1 << sub.start)
        _subfields[sub.field.name, sub.start, sub.bits] = known
    return place, known
