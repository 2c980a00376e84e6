"""A datapath without a kernel: packets are given to it, time is what the program says."""

from __future__ import annotations

from random import Random

from vswitch.base.errors import ConfigError
from vswitch.datapath.backend import Counters, Look
from vswitch.datapath.ebpf.layout import DATAPATH, METER
from vswitch.datapath.ebpf.state import Options, check_name
from vswitch.datapath.simulated.execute import Forwarder, SimulatedPacket
from vswitch.datapath.simulated.flows import SimulatedFlows
from vswitch.datapath.simulated.ports import SimulatedPorts
from vswitch.datapath.simulated.ring import SimulatedInjector, SimulatedRing
from vswitch.fields import SLOTS
from vswitch.model.actions import Action
from vswitch.model.sent import Sent

__all__ = ["SimulatedBackend"]

_TUNNEL_SHIFT = 8 * SLOTS["tun_id"].offset
_TUNNEL_MASK = (1 << 8 * 48) - 1 << _TUNNEL_SHIFT
_BEGIN_NS = 10**9
"""The simulated time at first: not 0, which the kernel's counters have for never."""


class SimulatedBackend:
    """One simulated datapath. Sizes that bound what lies in it (`max_flows`, `max_masks`, `max_ports`, `ring_bytes`,
    `port_quota_bytes`, `max_meters`) are the kernel's; what is a matter of memory there (`max_ops`, `cache_entries`) is
    of no matter here."""

    simulated = True
    is_forked = False

    def __init__(self, name: str, options: Options, seed: int = 0) -> None:
        self.name = check_name(name)
        self._closed = False
        self.options = options
        self.clock_ns = _BEGIN_NS
        self.flows = SimulatedFlows(self, options.max_flows, options.max_masks, self.now_ns)
        self.ports = SimulatedPorts(self, options.max_ports)
        self.shares = self.ports.shares
        self.alive = memoryview(bytearray(8)).cast("Q")
        self.reader = memoryview(bytearray(8 * DATAPATH.READER_WORDS)).cast("Q")
        self.meters = memoryview(bytearray(METER.size * options.max_meters)).cast("Q")
        self._ring = SimulatedRing(options.ring_bytes)
        self._forwarder = Forwarder(self.flows, self.ports, self._ring, self.meters, self.now_ns, Random(seed))
        self._injector = SimulatedInjector(self._ring.view, self._inject)

    # ---- packets

    def receive(self, frame: bytes, in_port: int) -> list[Sent]:
        """A frame comes in by a port; what goes out at once."""
        self.need_open()
        tally = self.ports.tally(in_port)
        tally.rx_packets += 1
        tally.rx_bytes += len(frame)
        before = len(self._forwarder.sent)
        if self.ports.may_enter(in_port, len(frame), self.now_ns()):
            self._forwarder.look_up(SimulatedPacket(frame, in_port))
        else:
            tally.drops["policing"] += 1
        return self._forwarder.sent[before:]

    def taken(self) -> list[Sent]:
        """What has gone out since the last call."""
        sent = list(self._forwarder.sent)
        self._forwarder.sent.clear()
        return sent

    def recirculated(self, key: int, frame: bytes, actions: tuple[Action, ...]) -> tuple[int, bytes] | None:
        """Key and frame of what a packet becomes which these actions recirculate; None if they do not. What they send
        goes nowhere."""
        packet = SimulatedPacket(frame, SLOTS["in_port"].take(key), tunnel_key=key & _TUNNEL_MASK)
        for name in ("recirc_id", "dp_hash", "skb_mark", "skb_priority"):
            setattr(packet, name, SLOTS[name].take(key))
        packet.recirc_id = self._forwarder.execute(packet, actions)
        self.taken()
        return (packet.key, packet.frame) if packet.recirc_id else None

    def _inject(self, look: Look, list_word: int, frame: bytes) -> None:
        in_port, recirc_id, skb_mark, skb_priority, dp_hash, recirculations, tunnel = look
        packet = SimulatedPacket(
            frame, in_port, recirc_id, dp_hash, skb_mark, skb_priority,
            int.from_bytes(tunnel, "little") << _TUNNEL_SHIFT, recirculations, reinjected=True,
        )  # fmt: skip
        if list_word:
            self._forwarder.carry_out(packet, self.flows.arena.lists[list_word])
        else:
            self._forwarder.look_up(packet)

    # ---- as of any datapath

    def need_open(self) -> None:
        """ConfigError if it is closed."""
        if self._closed:
            raise ConfigError(f"datapath {self.name} is closed")

    def need_control(self, _what: str) -> None:
        """Whoever has a simulated datapath controls it."""
        self.need_open()

    def need_removable(self) -> None:
        """It always is."""

    def ring(self) -> SimulatedRing:
        """A reader of what comes up."""
        self._ring.fd = 0
        return self._ring

    def injection(self) -> SimulatedInjector:
        """The way down."""
        return self._injector

    def counters(self) -> Counters:
        """Since it was made; there is no cache."""
        counted = self._forwarder
        tried = self.flows.masks_tried
        return Counters(0, counted.hits, tried, counted.missed, counted.lost, counted.upcalls)

    def explicit_drops(self) -> dict[int, int]:
        """Reason -> packets."""
        return dict(self._forwarder.explicit_drops)

    def now_ns(self) -> int:
        """The simulated time."""
        return self.clock_ns

    def advance(self, ns: int) -> None:
        """Time goes by."""
        self.clock_ns += ns

    def close(self) -> None:
        """It is gone with that."""
        self._closed = True

    delete = close
