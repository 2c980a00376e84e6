"""Ports of a datapath: numbers, devices, counters, and what happens to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from vswitch.base.errors import ConfigError
from vswitch.base.limits import MAX_METER_BURST, MAX_METER_BURST_S, MAX_METER_RATE

__all__ = ["DROP_REASONS", "Policing", "Port", "PortChange", "PortEvent", "PortKind", "PortStats"]

_SMALLEST_UPCALL = 448
"""Bytes that a packet takes of the ring if it is no longer than 128: no record is smaller."""


class PortKind(Enum):
    """What stands behind a port."""

    SYSTEM = "system"
    """A device that exists already (veth, tap, physical); it stays when the port is removed."""
    INTERNAL = "internal"
    """A device that the datapath makes for the host's own traffic; it goes with the port."""
    TAP = "tap"
    """A tap device that the datapath makes for a program to open; it goes with the port."""


DROP_REASONS = (
    "explicit",
    "no_flow",
    "upcall_quota",
    "upcall_ring_full",
    "upcall_failed",
    "no_port",
    "ttl",
    "meter",
    "recirculation_limit",
    "clone_limit",
    "action_failed",
    "bad_packet",
    "reinjected_miss",
    "upcall_rate",
    "policing",
)
"""Why the datapath dropped a packet; the order is that of the counters in the kernel.

explicit: a drop action, or a flow without actions; no_flow: a miss while nobody reads upcalls;
upcall_quota: the port had used up its share of the ring; upcall_ring_full: the ring was full;
upcall_failed: the packet could not be copied into it; no_port: output to a port that does not exist;
ttl: dec_ttl at 1 or 0; meter: no tokens left; recirculation_limit, clone_limit: past the bound;
action_failed: the kernel refused a rewrite; bad_packet: shorter than an Ethernet header;
reinjected_miss: a packet sent back from Python matched no flow; upcall_rate: more misses came than
`limit_new_flows` lets pass; policing: more came in than `set_policing` lets. (What the output device
refuses, as it is longer than the MTU for one, is in `tx_dropped` of that port.)
"""


@dataclass(frozen=True, slots=True)
class PortStats:
    """Counters of one port since it was added. Bytes are those of whole frames; a packet that is not cut into segments
    yet (GSO) is one. `drops`: packets that came in by the port and were dropped, for each of `DROP_REASONS` that
    occurred; `upcalls`: packets sent up to Python; `lost`: upcalls that did not get there.

    `tx_packets` have been handed to the device; what becomes of them it counts itself. From its counters (those of
    `ip -s link`, which begin when the device is made, and are 0 while it is away) come `rx_errors`, `tx_dropped`
    (packets that it did not take: its queue is full, or it is down, which Linux 6.1 does not count) and, added to the
    copies that could not be sent, `tx_errors`. Of an internal port it is the end in the switch that counts.

    `upcall_bytes`: bytes of the ring that packets of the port take now, which came up and are neither released nor
    dropped yet; a small packet takes 448. `upcall_quota_bytes`: bytes that they may take at most; 0: nobody reads
    upcalls. (If a reader was killed, it stays until another process takes control of the datapath.)"""

    rx_packets: int = 0
    rx_bytes: int = 0
    tx_packets: int = 0
    tx_bytes: int = 0
    rx_errors: int = 0
    tx_errors: int = 0
    upcalls: int = 0
    lost: int = 0
    drops: Mapping[str, int] = field(default_factory=dict)
    tx_dropped: int = 0
    upcall_bytes: int = 0
    upcall_quota_bytes: int = 0

    @property
    def held_back(self) -> bool:
        """Whether the port has used up its share of the ring, so that the kernel drops what is to come up (and counts
        it: `lost`) until some of its packets are released or dropped. False if nobody reads upcalls."""
        quota = self.upcall_quota_bytes
        return quota > 0 and self.upcall_bytes + _SMALLEST_UPCALL > quota


@dataclass(frozen=True, slots=True)
class Port:
    """A port of a datapath. `ifindex`: the number of its device, None while that is away; `mtu` in bytes, without the
    Ethernet header; `mac` as text, `02:00:00:00:00:01`; `up`: as set by the administrator; `carrier`:
    it can carry packets (its cable is in, the other end of its pair is up). Of an internal port `ifindex` and `carrier`
    are those of the end in the switch, the others of the host's, as it was last while that is in another network
    namespace."""

    number: int
    name: str
    kind: PortKind = PortKind.SYSTEM
    ifindex: int | None = None
    up: bool = False
    mtu: int = 0
    mac: str = ""
    carrier: bool = False


@dataclass(frozen=True, slots=True)
class Policing:
    """What may come in by a port; what is more is dropped (`policing`). Rates of 0: any number. A burst is what may
    come in at once. A packet passes while there is a token left, and takes all that it costs: a packet that is not cut
    into segments yet (GSO) may be worth more than a burst, and never starves. ConfigError for what is out of bounds."""

    rate_kbps: int = 0
    burst_kb: int = 8000
    rate_kpps: int = 0
    burst_kpackets: int = 16

    def __post_init__(self) -> None:
        for name, burst_name, unit in (("rate_kbps", "burst_kb", 1), ("rate_kpps", "burst_kpackets", 1000)):
            rate, burst = getattr(self, name), getattr(self, burst_name)
            if not 0 <= rate * unit <= MAX_METER_RATE:
                raise ConfigError(f"{name} {rate} is outside 0..{MAX_METER_RATE // unit}")
            most = min(MAX_METER_BURST // unit, rate * MAX_METER_BURST_S)
            if rate and not 1 <= burst <= most:
                raise ConfigError(f"{burst_name} {burst} is outside 1..{most}, for {name} {rate}")

    @property
    def buckets(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Cost of a byte and its burst, cost of a packet and its burst, in 2^-10 ns; 0 for no bound."""
        second = 10**9 << 10
        of_bytes = of_packets = (0, 0)
        if self.rate_kbps:
            of_bytes = (second * 8 // (self.rate_kbps * 1000), second * self.burst_kb // self.rate_kbps)
        if self.rate_kpps:
            of_packets = (second // (self.rate_kpps * 1000), second * self.burst_kpackets // self.rate_kpps)
        return of_bytes, of_packets


class PortChange(Enum):
    """What happened to a port."""

    ADDED = "added"
    """By this process: the datapath has it from now on."""
    REMOVED = "removed"
    """By this process: the datapath has it no more."""
    LOST = "lost"
    """The device disappeared; the port keeps its number and waits for a device of that name."""
    RETURNED = "returned"
    """A device of that name appeared, and the port goes on with it."""
    RENAMED = "renamed"
    """The device has another name, and so has the port."""
    UP = "up"
    """The device is up and has a carrier, which it had not before."""
    DOWN = "down"
    """The device was set down or lost its carrier."""
    CHANGED = "changed"
    """The device has another MTU or MAC address."""


@dataclass(frozen=True, slots=True)
class PortEvent:
    """Something happened to a port; `port` is as it was then, a removed one as it was last."""

    change: PortChange
    port: Port
