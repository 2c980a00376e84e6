"""What a datapath is made of, whatever carries it out: the kernel (`ebpf`), or Python (`simulated`).

What the methods do is said where they are written; here is what who uses them may count on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from vswitch.model.actions import Action
from vswitch.model.match import Match
from vswitch.model.megaflow import FlowStats, Megaflow, Rule
from vswitch.model.port import Policing, Port, PortEvent, PortKind, PortStats

__all__ = ["Arena", "Backend", "Control", "Counters", "FlowStore", "Injection", "Look", "PortStore", "Ring"]

Look = tuple[int, int, int, int, int, int, bytes]
"""What a packet that is sent down looks like: in_port, recirc_id, skb_mark, skb_priority, dp_hash, recirculations so
far, tunnel (48 bytes of the key)."""


class Control(Protocol):
    """Who may do what."""

    @property
    def name(self) -> str:
        """What it is called."""
        ...

    def need_open(self) -> None:
        """ConfigError if it is closed."""
        ...

    def need_control(self, what: str, /) -> None:
        """BusyError if it may only be read. `what` begins the sentence."""
        ...

    @property
    def is_forked(self) -> bool:
        """Whether this process is a copy of that which took control."""
        ...


class Arena(Protocol):
    """Action lists that packets can be sent with."""

    def acquire_list(self, actions: tuple[Action, ...]) -> int:
        """A word that means the list, until it is released. TableFullError, LimitError."""
        ...

    def release(self, word: int) -> None:
        """It is of no use any more."""
        ...


class FlowStore(Protocol):
    """The megaflows, by slot."""

    @property
    def arena(self) -> Arena:
        """Lists for packets that are sent down."""
        ...

    @property
    def masks(self) -> list[tuple[Match, int, int]]:
        """(mask, priority, flows), highest priority first."""
        ...

    def need_control(self) -> None:
        """BusyError on a datapath that was opened for reading."""
        ...

    def apply(
        self, add: Sequence[Rule], remove: Sequence[int] = (), *, atomic: bool = False, gated: bool = False
    ) -> list[int]:
        """Add rules and take flows away, all or none; the slots of the new flows."""
        ...

    def modify(self, slot: int, rule: Rule) -> None:
        """Other actions and timeouts for a flow."""
        ...

    def find(self, match: Match, priority: int) -> int:
        """The slot of a flow. NotFoundError."""
        ...

    def lookup(self, key: int) -> int | None:
        """The slot of the flow that takes a packet with this key."""
        ...

    def hiding(self, rule: Rule, gone: Mapping[int, object]) -> Rule | None:
        """A rule of higher priority, not in a slot of `gone`, that takes all packets of `rule`."""
        ...

    def slots(self) -> list[int]:
        """Those that hold flows."""
        ...

    def rule(self, slot: int) -> Rule:
        """What the flow was asked to be."""
        ...

    def read(self, slot: int, now_ns: int | None = None) -> Megaflow:
        """The flow, with its statistics."""
        ...

    def stats(self, slot: int, now_ns: int | None = None) -> FlowStats:
        """What it has counted."""
        ...

    def dump(self) -> Iterator[Megaflow]:
        """All of them."""
        ...

    def counting(self) -> list[int]:
        """Slots of flows that have counted packets since the last call, and maybe of some new ones."""
        ...

    def expired(self, now_ns: int) -> list[int]:
        """Slots of flows whose timeout is over."""
        ...

    def open_gates(self, slots: Sequence[int], sent: Mapping[int, int], /) -> list[int]:
        """Let packets of these flows pass, if so many were sent down as came up to the gate; which still wait."""
        ...

    def remove_gates(self, slots: Iterable[int], /) -> None:
        """Let packets of these flows pass."""
        ...


class PortStore(Protocol):
    """The ports."""

    def __iter__(self) -> Iterator[Port]:
        """By number."""
        ...

    def __len__(self) -> int:
        """How many."""
        ...

    def __contains__(self, which: object) -> bool:
        """By number or name."""
        ...

    def get(self, which: int | str) -> Port:
        """By number or name. NotFoundError."""
        ...

    def add(self, name: str, number: int | None, kind: PortKind, peer_redirect: bool, /) -> Port:
        """See `Ports.add`."""
        ...

    def remove(self, which: int | str) -> Port:
        """NotFoundError."""
        ...

    def stats(self, which: int | str) -> PortStats:
        """What it has counted."""
        ...

    def set_quota(self, quota: int) -> None:
        """Bytes of the ring that each port may fill; 0: nobody reads it."""
        ...

    def set_miss_rate(self, cost_ns: int, burst_ns: int, /) -> None:
        """Let a miss of each port come up every `cost_ns`, as many at once as `burst_ns` is worth; 0: any number."""
        ...

    def bound_misses(self, number: int, cost_ns: int, burst_ns: int, /) -> None:
        """The same of one port, if that is less; 0: as all of them."""
        ...

    def set_policing(self, which: int | str, policing: Policing, /) -> None:
        """Bound what comes in by a port. NotFoundError."""
        ...

    def slot_of(self, number: int) -> int | None:
        """Where its share of the ring is written down."""
        ...

    @property
    def has_events(self) -> bool:
        """Whether `events` has some without waiting."""
        ...

    def events(self) -> list[PortEvent]:
        """What happened since the last call."""
        ...

    def forget_events(self) -> None:
        """What happened so far is of no interest."""
        ...

    def fileno(self) -> int:
        """Readable when there are events; -1: `has_events` tells all."""
        ...


class Ring(Protocol):
    """Where packets come up. `view`: records, at the offsets that `records` gives; `address`: where it begins; `fd`:
    readable when there are some, -1 when it is closed."""

    size: int
    view: memoryview
    address: int
    fd: int

    @property
    def consumer(self) -> int:
        """Up to where it may be overwritten."""
        ...

    @property
    def producer(self) -> int:
        """Up to where it is filled."""
        ...

    @property
    def position(self) -> int:
        """Up to where `records` has read."""
        ...

    def records(self, limit: int) -> list[int]:
        """The next records."""
        ...

    def position_of(self, offset: int) -> int:
        """Where a record begins that has not been given back."""
        ...

    def advance(self, position: int | None = None) -> None:
        """What lies before may be overwritten."""
        ...

    def close(self) -> None:
        """No more of it."""
        ...


class Injection(Protocol):
    """The way down."""

    failed: int

    def entry(self, look: Look, list_word: int = 0) -> int:
        """A number for how packets are to look, and the list to execute on them (0: they are looked up)."""
        ...

    def entry_of_port(self, port: int) -> int:
        """For packets as they came in by this port."""
        ...

    def forget(self, look: Look, list_word: int) -> None:
        """The list is about to go."""
        ...

    def add(self, entry: int, address: int, length: int) -> None:
        """Send what lies there: a virtio_net_hdr and the frame, `length` bytes, which stay until `flush`."""
        ...

    def add_copy(self, entry: int, data: bytes) -> None:
        """Send these bytes, which are as those of `add`."""
        ...

    def flush(self) -> None:
        """Do it now."""
        ...

    def send(self, entry: int, packet: bytes, offload: bytes = ..., /) -> None:
        """Send one packet at once."""
        ...

    def close(self) -> None:
        """No more of it."""
        ...


class Counters(NamedTuple):
    """Of the whole datapath."""

    cache_hits: int
    mask_hits: int
    masks_tried: int
    missed: int
    lost: int
    upcalls: int


class Backend(Control, Protocol):
    """One datapath. `options`: its sizes. `flows`, `ports`: what is in it. `meters`: 64-bit words, as the kernel
    lays them out. `shares`: words, of each port slot what it has produced and consumed of the ring. `alive`: where who
    reads upcalls leaves the time. `reader`: 64 words for what it counts."""

    options: Any
    simulated: bool
    meters: memoryview
    shares: memoryview
    alive: memoryview
    reader: memoryview

    @property
    def flows(self) -> FlowStore:
        """Its megaflows."""
        ...

    @property
    def ports(self) -> PortStore:
        """Its ports."""
        ...

    def need_removable(self) -> None:
        """ConfigError if it cannot be removed from here."""
        ...

    def ring(self) -> Ring:
        """A new reader; there must be one at a time."""
        ...

    def injection(self) -> Injection:
        """The way down."""
        ...

    def counters(self) -> Counters:
        """Since it was made."""
        ...

    def explicit_drops(self) -> dict[int, int]:
        """Reason -> packets."""
        ...

    def now_ns(self) -> int:
        """The time, of a clock that does not go back."""
        ...

    def close(self) -> None:
        """Leave it as it is."""
        ...

    def delete(self) -> None:
        """Remove it and all that was made for it."""
        ...
