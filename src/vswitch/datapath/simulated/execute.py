"""What becomes of a packet: lookup, actions, output, as vswitch.bpf.c and actions.h of the kernel's half do it.

A packet passes whole before the next one comes, so there are no versions and no gates.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random

from vswitch.base.limits import MAX_ACTION_DEPTH, MAX_RECIRCULATIONS
from vswitch.datapath.ebpf.layout import METER
from vswitch.datapath.simulated import rewrite
from vswitch.datapath.simulated.flows import SimulatedFlows
from vswitch.datapath.simulated.ports import SimulatedPorts
from vswitch.datapath.simulated.ring import SimulatedRing, record, room_for
from vswitch.datapath.tunnel import TUNNEL_DEFAULTS, set_tunnel_field
from vswitch.fields import FIELDS, SLOTS
from vswitch.model.actions import (
    Action,
    CheckPacketLength,
    Clone,
    DecTtl,
    Drop,
    Hash,
    Meter,
    Output,
    PopMpls,
    PopVlan,
    PushMpls,
    PushVlan,
    Recirculate,
    Sample,
    SetField,
    Truncate,
    Userspace,
)
from vswitch.model.sent import Sent
from vswitch.model.upcall import UpcallReason
from vswitch.packet.parse import parse

__all__ = ["Forwarder", "SimulatedPacket"]


@dataclass(slots=True)
class SimulatedPacket:
    """A packet on its way, with what is not in its bytes. `depth`: copies of copies; `reinjected`: Python sent it down,
    and it has not become another one since."""

    frame: bytes
    in_port: int
    recirc_id: int = 0
    dp_hash: int = 0
    skb_mark: int = 0
    skb_priority: int = 0
    tunnel_key: int = 0
    recirculations: int = 0
    depth: int = 0
    reinjected: bool = False
    tunnel: tuple[tuple[str, int], ...] = ()

    @property
    def key(self) -> int:
        """What it looks like."""
        metadata = self.tunnel_key
        for name in ("in_port", "recirc_id", "dp_hash", "skb_mark", "skb_priority"):
            metadata |= SLOTS[name].place(getattr(self, name))
        return parse(self.frame, metadata)


class _DoneWithError(Exception):
    """The packet is done with."""


class Forwarder:
    """Takes packets through one simulated datapath. `chance` decides about samples."""

    def __init__(
        self,
        flows: SimulatedFlows,
        ports: SimulatedPorts,
        ring: SimulatedRing,
        meters: memoryview,
        now_ns: Callable[[], int],
        chance: Random,
    ) -> None:
        self._flows = flows
        self._ports = ports
        self._ring = ring
        self._meters = meters
        self._now_ns = now_ns
        self._chance = chance
        self.sent: list[Sent] = []
        self.explicit_drops: Counter[int] = Counter()
        self.hits = self.missed = self.lost = self.upcalls = 0

    # ---- lookup

    def look_up(self, packet: SimulatedPacket) -> None:
        """Find the packet's megaflow and do what it says."""
        self._go_on(packet, self._look_up_once(packet))

    def carry_out(self, packet: SimulatedPacket, actions: tuple[Action, ...]) -> None:
        """Do this to the packet, and what follows from it."""
        self._go_on(packet, self.execute(packet, actions))

    def _go_on(self, packet: SimulatedPacket, recirculate: int) -> None:
        """Recirculate it, as often as it wants to be."""
        while recirculate:
            packet.recirculations += 1
            packet.reinjected = False
            packet.recirc_id = recirculate
            recirculate = self._look_up_once(packet)

    def _look_up_once(self, packet: SimulatedPacket) -> int:
        if len(packet.frame) < 14:
            self._drop(packet, "bad_packet")
            return 0
        key = packet.key
        slot = self._flows.lookup(key)
        if slot is None:
            self._miss(packet)
            return 0
        self.hits += 1
        self._flows.count(slot, len(packet.frame), key)
        return self.execute(packet, self._flows.rule(slot).actions)

    def _miss(self, packet: SimulatedPacket) -> None:
        self.missed += 1
        if packet.reinjected:
            self._drop(packet, "reinjected_miss")
            return
        failed = self._send_up(packet, UpcallReason.MISS, 0, b"")
        if failed:
            self._drop(packet, failed)

    def _drop(self, packet: SimulatedPacket, reason: str) -> None:
        self._ports.tally(packet.in_port).drops[reason] += 1

    # ---- up

    def _send_up(self, packet: SimulatedPacket, reason: UpcallReason, longest: int, userdata: bytes) -> str:
        """And count that. Why it did not get there, or nothing."""
        failed = self._write_up(packet, reason, longest, userdata)
        if failed:
            self.lost += 1
        else:
            self.upcalls += 1
        return failed

    def _write_up(self, packet: SimulatedPacket, reason: UpcallReason, longest: int, userdata: bytes) -> str:
        captured = min(len(packet.frame), longest or len(packet.frame))
        size = room_for(captured)
        tally = self._ports.tally(packet.in_port)
        if tally.slot == 0:
            return "no_port"
        if size > self._ports.owes(packet.in_port):
            tally.lost += 1
            return "upcall_quota" if self._ports.quota else "no_flow"
        if reason is UpcallReason.MISS and not self._ports.in_rate(packet.in_port, self._now_ns()):
            tally.lost += 1
            return "upcall_rate"
        data = record(
            packet.frame, key=packet.key, in_port=packet.in_port, reason=reason,
            recirculations=packet.recirculations, captured=captured, userdata=userdata,
            now_ns=self._now_ns(),
        )  # fmt: skip
        if not self._ring.write(data, size):
            tally.lost += 1
            return "upcall_ring_full"
        self._ports.produce(packet.in_port, size)
        tally.upcalls += 1
        return ""

    # ---- actions

    def execute(self, packet: SimulatedPacket, actions: tuple[Action, ...]) -> int:
        """Do this to the packet. The id if it is to be recirculated, else 0."""
        run = _Run(self, packet, actions)
        try:
            while run.rest:
                run.step()
        except _DoneWithError:
            return 0
        except rewrite.UnfitError:
            self._drop(packet, "action_failed")
            return 0
        if run.recirculate:
            if packet.recirculations >= MAX_RECIRCULATIONS:
                self._drop(packet, "recirculation_limit")
                return 0
            return run.recirculate
        if not run.accounted and (not packet.depth or not actions):  # who has no actions is dropped, copy or not
            self.explicit_drops[0] += 1
            self._drop(packet, "explicit")
        return 0

    def on_copy(self, packet: SimulatedPacket, actions: tuple[Action, ...]) -> None:
        """Do this to a copy."""
        if not actions:
            return
        if packet.depth > MAX_ACTION_DEPTH:
            self._drop(packet, "clone_limit")
            return
        self.carry_out(replace(packet, depth=packet.depth + 1), actions)

    def output(self, packet: SimulatedPacket, number: int, longest: int) -> None:
        """Let it go out."""
        if number not in self._ports:
            self._drop(packet, "no_port")
            return
        frame = packet.frame[:longest] if longest else packet.frame
        tally = self._ports.tally(number)
        tally.tx_packets += 1
        tally.tx_bytes += len(frame)
        self.sent.append(Sent(number, frame, packet.skb_mark, packet.skb_priority, packet.tunnel))

    def conforms(self, number: int, length: int) -> bool:
        """Whether the meter has tokens for the packet."""
        words = METER.size // 8
        at = number * words
        if at >= len(self._meters) or not self._meters[at + 3]:
            return True
        full_at, cost, kind, burst = self._meters[at : at + 4].tolist()
        now = self._now_ns() << 10
        begin = now if full_at < now or full_at - now > burst + (10**9 << 10) else full_at
        begin += cost * length if kind & 0xFFFFFFFF else cost
        passes = begin - now <= burst
        for word, more in ((4, 1), (5, length)) if passes else ((6, 1), (7, length)):
            self._meters[at + word] += more
        if passes:
            self._meters[at] = begin
        return passes

    def sampled(self, probability: int) -> bool:
        """Whether chance has it."""
        return bool(probability) and self._chance.getrandbits(32) <= probability


class _Run:
    """One list of actions on one packet. `rest`: what is still to be done; `longest`: of the next output."""

    def __init__(self, forwarder: Forwarder, packet: SimulatedPacket, actions: tuple[Action, ...]) -> None:
        self.forwarder = forwarder
        self.packet = packet
        self.rest = _effective(actions)
        self.longest = 0
        self.recirculate = 0
        self.accounted = False

    def step(self) -> None:
        """The next action."""
        action, self.rest = self.rest[0], self.rest[1:]
        packet = self.packet
        if isinstance(action, SetField):
            _set(packet, action)
            return
        match action:
            case Output(port):
                self._output(port)
            case Drop(reason):
                self.forwarder.explicit_drops[reason] += 1
                self._stop("explicit")
            case Truncate(length):
                self.longest = length
            case PushVlan():
                packet.frame = rewrite.push_vlan(packet.frame, action)
            case PopVlan():
                packet.frame = rewrite.pop_vlan(packet.frame)
            case PushMpls():
                packet.frame = rewrite.push_mpls(packet.frame, action)
            case PopMpls(ethertype):
                packet.frame = rewrite.pop_mpls(packet.frame, ethertype)
            case DecTtl(exceeded):
                self._dec_ttl(exceeded)
            case Hash(seed):
                packet.dp_hash = rewrite.hash_of(packet.frame, seed)
            case _:
                self._act(action)

    def _act(self, action: Action) -> None:
        """Those that go on elsewhere."""
        packet = self.packet
        match action:
            case Recirculate(number) if self.rest:
                self.forwarder.on_copy(packet, (action,))
                self.accounted = True
            case Recirculate(number):
                self.recirculate = number
            case Sample(probability, nested):
                if self.forwarder.sampled(probability):
                    self._nested(nested)
            case Clone(nested):
                self._nested(nested)
            case CheckPacketLength(length, greater, less_equal):
                self._nested(greater if len(packet.frame) > length else less_equal)
            case Meter(number):
                if not self.forwarder.conforms(number, len(packet.frame)):
                    self._stop("meter")
            case Userspace(userdata):
                self._userspace(userdata)

    def _stop(self, reason: str) -> None:
        self.forwarder._drop(self.packet, reason)
        raise _DoneWithError

    def _nested(self, actions: tuple[Action, ...]) -> None:
        """In place if nothing comes behind, else on a copy."""
        if not self.rest:
            self.rest, self.longest = _effective(actions), 0
            return
        effective = _effective(actions)
        self.forwarder.on_copy(self.packet, effective)
        self.accounted |= bool(effective)

    def _output(self, port: int) -> None:
        longest, self.longest = self.longest, 0
        self.accounted = True
        if self.rest and longest and len(self.packet.frame) > longest:
            self.forwarder.on_copy(self.packet, (Truncate(longest), Output(port)))
        else:
            self.forwarder.output(self.packet, port, longest)

    def _dec_ttl(self, exceeded: tuple[Action, ...]) -> None:
        frame = rewrite.dec_ttl(self.packet.frame)
        if frame is not None:
            self.packet.frame = frame
        elif effective := _effective(exceeded):
            self.rest, self.longest = effective, 0
        else:
            self._stop("ttl")

    def _userspace(self, userdata: bytes) -> None:
        longest, self.longest = self.longest, 0
        self.accounted = True
        failed = self.forwarder._send_up(self.packet, UpcallReason.ACTION, longest, userdata)
        if failed:
            self.forwarder._drop(self.packet, failed)


def _effective(actions: tuple[Action, ...]) -> tuple[Action, ...]:
    """Without those at the end that change nothing any more: an action is the last if none that does follows it."""
    end = len(actions)
    while end and _is_idle(actions[end - 1]):
        end -= 1
    return actions[:end]


def _is_idle(action: Action) -> bool:
    return isinstance(action, Truncate) or (isinstance(action, SetField) and action.name.startswith("tun_"))


def _set(packet: SimulatedPacket, action: SetField) -> None:
    name = action.name
    if name in ("skb_mark", "skb_priority"):
        setattr(packet, name, getattr(packet, name) & ~action.mask | action.value)
    elif name.startswith("tun_"):
        fields = set_tunnel_field(dict(packet.tunnel) or TUNNEL_DEFAULTS, action)
        packet.tunnel = tuple(sorted(fields.items()))
    elif name.startswith("vlan_"):
        shift = FIELDS[name].shift
        packet.frame = rewrite.set_vlan(packet.frame, action.value << shift, action.mask << shift)
    else:
        packet.frame = rewrite.set_field(packet.frame, action)
