"""Ports of a datapath: numbers, devices, counters, and what happens to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

__all__ = ["DROP_REASONS", "Port", "PortChange", "PortEvent", "PortKind", "PortStats"]

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
)
"""Why the datapath dropped a packet; the order is that of the counters in the kernel.

explicit: a drop action, or a flow without actions; no_flow: a miss while nobody reads upcalls;
upcall_quota: the port had used up its share of the ring; upcall_ring_full: the ring was full;
upcall_failed: the packet could not be copied into it; no_port: output to a port that does not exist;
ttl: dec_ttl at 1 or 0; meter: no tokens left; recirculation_limit, clone_limit: past the bound;
action_failed: the kernel refused a rewrite; bad_packet: shorter than an Ethernet header;
reinjected_miss: a packet sent back from Python matched no flow; upcall_rate: more misses came than
`limit_new_flows` lets pass. (What the output device refuses, as it is longer than
the MTU for one, is in `tx_dropped` of that port.)
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
    it can carry packets (its cable is in, the other end of its pair is up). Of an internal port these, `mtu` and `mac`
    are those of the end in the switch."""

    number: int
    name: str
    kind: PortKind = PortKind.SYSTEM
    ifindex: int | None = None
    up: bool = False
    mtu: int = 0
    mac: str = ""
    carrier: bool = False


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
