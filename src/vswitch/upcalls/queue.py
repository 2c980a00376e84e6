"""Packets that wait for workers: grouped by flow, bounded, and shared out fairly among ports. Time is an argument.

Packets that are alike in the fields that the program names are one *flow*. Its first packet is the one that a worker
is asked about; the others wait behind it. When a rule is installed, all packets that it takes are released, of
whatever flow: those that missed, and those that userspace actions sent up with the same user data as the packet that it
is the answer to. Those of a flow that it does not take, or that wait behind an answer which held for one packet alone,
are asked about in turn: the next when the one before is done with. So no two workers are at packets of one flow.

Workers are shared by ports: the next one goes to the port that, by its weight, has had least of their time, that of
those which are at its packets now included. A port that had nothing to do begins one turn behind the last one that
got a worker.

Invariant: a packet is in one flow, from `arrive` to the one call that gives it back; a flow with packets is waiting for
a worker or at one; what waits never passes the bounds.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, field

from vswitch.base.errors import ConfigError
from vswitch.base.limits import MAX_PORT
from vswitch.fields import KEY_BYTES, SLOTS
from vswitch.model.match import Match
from vswitch.model.upcall import UpcallReason
from vswitch.upcalls.miss import Miss
from vswitch.upcalls.rates import mask_of
from vswitch.upcalls.stats import Drop

__all__ = ["Flow", "Queue", "Workers"]

MAX_WORKERS = 1024
"""Threads or tasks at a time; of threads that are past their limit as many again."""

MAX_LIMIT_S = 3600
"""Longest limit of a handler."""

_INDEXED_MASKS = 256
"""Masks of rules by which waiting packets are found at once. Those of others are looked for one by one."""

_ESTIMATE_NS, _LEARNING = 1_000_000.0, 8
"""What a handler takes, before one was seen; and by which part of the difference each that is seen changes it."""

_LEAST_NS = 1000
"""What a handler takes at least: where time stands still, turns are shared."""

_ALL = (1 << 8 * KEY_BYTES) - 1
_UNLIKE = ("tcp_flags", "ip_ttl")
"""What packets of one connection do not have in common."""


@dataclass(frozen=True, slots=True)
class Workers:
    """How handlers run beside each other, and how much may wait for them.

    count: handlers at work at a time, threads or asyncio tasks. limit_s: a handler that takes longer is given up; its
    packet, and those behind it, are dropped (`late`). patience_s: packets for which no worker was free for so long are
    dropped (`expired`). similar: the fields, or parts of them as "ipv4_src/24", in which packets must be alike to be
    one flow, of which one packet is looked at at a time; None: all but TTL and TCP flags. flow_packets, flow_bytes: so
    much of one flow may wait, the packet that is looked at included (else `flow_full`). port_packets: so many packets
    of one port (`port_full`). Before that its bytes are bounded by `Options.port_quota_bytes`, at which the kernel
    stops sending for the port: 1,170 small packets, if nothing says otherwise. buffer_bytes: of all ports
    (`buffer_full`). Bytes are those that records take: a small packet 448.
    weights: port number -> its share of the workers, 1 if it is not named.
    """

    count: int = 8
    limit_s: float = 5.0
    patience_s: float = 5.0
    similar: tuple[str, ...] | None = None
    flow_packets: int = 64
    flow_bytes: int = 256 << 10
    port_packets: int = 4096
    buffer_bytes: int = 64 << 20
    weights: Mapping[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        bounds = {
            "count": (1, MAX_WORKERS), "flow_packets": (1, 1 << 20), "flow_bytes": (1 << 17, 1 << 30),
            "port_packets": (1, 1 << 20), "buffer_bytes": (1 << 17, 1 << 36),
        }  # fmt: skip
        for name, (low, high) in bounds.items():
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
                raise ConfigError(f"{name} {value!r} of workers is outside {low}..{high}")
        for name in ("limit_s", "patience_s"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not 0 < value <= MAX_LIMIT_S:
                raise ConfigError(f"{name} {value!r} of workers is outside 0..{MAX_LIMIT_S}, 0 excluded")
        if not isinstance(self.weights, Mapping):
            raise ConfigError(f"weights {self.weights!r} of workers are no mapping of ports to numbers")
        for port, weight in self.weights.items():
            if not isinstance(port, int) or not 0 <= port <= MAX_PORT:
                raise ConfigError(f"port {port!r} in weights is outside 0..{MAX_PORT}")
            if not isinstance(weight, int | float) or not 0.001 <= weight <= 1000:
                raise ConfigError(f"weight {weight!r} of port {port} is outside 0.001..1000")
        self.mask  # noqa: B018 - ConfigError: there is no such field

    @property
    def mask(self) -> int:
        """The bits of the key in which packets of one flow are alike."""
        return _ALL & ~sum(SLOTS[name].mask for name in _UNLIKE) if self.similar is None else mask_of(self.similar)


class Flow:
    """Packets that are alike, by their turn. `asked`: the one that a worker is at. `ticket` changes with each of them,
    so that who has it knows whether it is still about the same."""

    __slots__ = ("asked", "bytes", "key", "packets", "port", "since_ns", "ticket")

    def __init__(self, key: Hashable, port: int) -> None:
        self.key = key
        self.port = port
        self.packets: dict[int, Miss] = {}
        self.bytes = 0
        self.asked: Miss | None = None
        self.since_ns = 0
        self.ticket = 0


class _Port:
    """`served`: ns of workers that it had, by its weight. `since_ns`: the sum of the times at which those began that
    are at its packets."""

    __slots__ = ("busy", "packets", "queue", "served", "since_ns", "weight")

    def __init__(self, weight: float) -> None:
        self.weight = weight
        self.queue: deque[tuple[Flow, int]] = deque()
        self.packets = 0
        self.busy = 0
        self.served = 0.0
        self.since_ns = 0

    def had(self, now_ns: int, estimate_ns: float) -> float:
        """As `served`, with those that are at work: what they took so far, and what they will take."""
        return self.served + (self.busy * (now_ns + estimate_ns) - self.since_ns) / self.weight


def _first(entries: deque[tuple[Flow, int]]) -> Flow | None:
    """The flow of the first entry whose ticket it still has; those before are taken out."""
    while entries:
        flow, ticket = entries[0]
        if flow.ticket == ticket:
            return flow
        entries.popleft()
    return None


class Queue:
    """What waits for workers, and what they are at."""

    def __init__(self, workers: Workers) -> None:
        self._bounds = workers
        self._mask = workers.mask
        self._limit_ns = round(workers.limit_s * 1e9)
        self._patience_ns = round(workers.patience_s * 1e9)
        self._flows: dict[Hashable, Flow] = {}
        self._of: dict[int, Flow] = {}  # by turn of a packet
        self._ports: dict[int, _Port] = {}
        self._competing: dict[_Port, None] = {}  # for workers; some may have nothing in their queue any more
        self._last: _Port | None = None
        self._estimate_ns = _ESTIMATE_NS
        self._turns = 0
        self._tickets = 0
        self._bytes = 0
        self.busy = 0
        """Flows that workers are at."""
        self._asked: deque[tuple[Flow, int]] = deque()  # oldest first
        self._waiting: deque[tuple[Flow, int]] = deque()
        self._indices: OrderedDict[int, dict[int, dict[int, Miss]]] = OrderedDict()

    def __len__(self) -> int:
        """Packets that wait, or are looked at."""
        return len(self._of)

    # ---- in

    def arrive(self, miss: Miss, now_ns: int) -> Drop | None:
        """A packet that nobody was asked about: it waits from now on. Or, if there is no room, why not."""
        key = self._key_of(miss)
        port = self._ports.get(miss.port)
        if port is None:
            weight = self._bounds.weights.get(miss.port, 1.0)
            port = self._ports[miss.port] = _Port(weight)
        flow = self._flows.get(key)
        bounds = self._bounds
        if flow is not None and (
            len(flow.packets) >= bounds.flow_packets or flow.bytes + miss._size > bounds.flow_bytes
        ):
            return Drop.FLOW_FULL
        if port.packets >= bounds.port_packets:
            return Drop.PORT_FULL
        if self._bytes + miss._size > bounds.buffer_bytes:
            return Drop.BUFFER_FULL
        self._turns += 1
        miss.turn = self._turns
        if flow is None:
            flow = self._flows[key] = Flow(key, miss.port)
            self._enqueue(flow, now_ns)
        flow.packets[miss.turn] = miss
        flow.bytes += miss._size
        port.packets += 1
        self._bytes += miss._size
        self._of[miss.turn] = flow
        for mask, index in self._indices.items():
            index.setdefault(miss._key & mask, {})[miss.turn] = miss
        return None

    def knows(self, miss: Miss) -> bool:
        """Whether a packet is of a flow that is waiting already."""
        return self._key_of(miss) in self._flows

    def _key_of(self, miss: Miss) -> Hashable:
        key = miss._key & self._mask
        return key if miss.reason is UpcallReason.MISS else (key, miss.userdata)

    def _enqueue(self, flow: Flow, now_ns: int) -> None:
        """It waits for a worker."""
        self._tickets += 1
        flow.ticket, flow.since_ns, flow.asked = self._tickets, now_ns, None
        port = self._ports[flow.port]
        if not port.queue and not port.busy and self._last is not None:
            # what it did not use while it had nothing to do is gone, but for one turn
            begin = self._last.had(now_ns, 0.0) - self._estimate_ns / self._last.weight
            port.served = max(port.served, begin)
        self._note(port.queue, flow)
        self._note(self._waiting, flow)
        self._competing[port] = None

    def _note(self, entries: deque[tuple[Flow, int]], flow: Flow) -> None:
        """Put it at the end of a list, from which entries go when they come to its front, or get too many."""
        entries.append((flow, flow.ticket))
        if len(entries) > 64 + 4 * len(self._flows):
            current = [entry for entry in entries if entry[0].ticket == entry[1]]
            entries.clear()
            entries.extend(current)

    # ---- to workers, and back

    def next(self, now_ns: int) -> Flow | None:
        """The flow that the next worker is to look at, at its `asked` packet."""
        # linear in the ports whose packets wait: what each has had grows with the time
        estimate_ns = self._estimate_ns
        while self._competing:
            port = min(self._competing, key=lambda each: each.had(now_ns, estimate_ns))
            flow = _first(port.queue)
            if flow is not None:
                port.queue.popleft()
            if not port.queue:
                del self._competing[port]
            if flow is None:
                continue
            self._last = port
            port.busy += 1
            port.since_ns += now_ns
            self.busy += 1
            self._tickets += 1
            flow.ticket, flow.since_ns = self._tickets, now_ns
            flow.asked = next(iter(flow.packets.values()))
            self._note(self._asked, flow)
            return flow
        return None

    def finish(self, flow: Flow, now_ns: int) -> Miss | None:
        """A worker is through with the packet that it was asked about, and the flow's ticket still that of then. The
        packet, which is given back; None: it was released meanwhile. `go_on` follows, or `give_up`."""
        asked = flow.asked
        self._leave(flow, now_ns)
        return self._remove(asked) if asked is not None and asked.turn in flow.packets else None

    def _leave(self, flow: Flow, now_ns: int) -> None:
        port = self._ports[flow.port]
        port.busy -= 1
        port.since_ns -= flow.since_ns
        self.busy -= 1
        took_ns = max(now_ns - flow.since_ns, _LEAST_NS)
        port.served += took_ns / port.weight
        self._estimate_ns += (took_ns - self._estimate_ns) / _LEARNING
        self._tickets += 1
        flow.ticket, flow.asked = self._tickets, None

    def go_on(self, flow: Flow, now_ns: int) -> None:
        """Its next packet is to be asked about, if there is one."""
        if flow.packets:
            self._enqueue(flow, now_ns)
        else:
            self._forget(flow)

    def give_up(self, flow: Flow) -> list[Miss]:
        """Nobody will be asked about its packets, which are given back."""
        packets = [self._remove(miss) for miss in list(flow.packets.values())]
        self._forget(flow)
        return packets

    def overdue(self, now_ns: int) -> Iterator[tuple[Flow, Drop]]:
        """Flows whose worker takes longer than it may, and flows that have waited for one longer than they may: to be
        given up."""
        while (flow := _first(self._asked)) is not None and flow.since_ns + self._limit_ns <= now_ns:
            self._leave(flow, now_ns)
            yield flow, Drop.LATE
        while (flow := _first(self._waiting)) is not None and flow.since_ns + self._patience_ns <= now_ns:
            self._waiting.popleft()
            yield flow, Drop.EXPIRED

    def next_overdue_ns(self) -> int | None:
        """When `overdue` may have something to say."""
        times = []
        for entries, limit_ns in ((self._asked, self._limit_ns), (self._waiting, self._patience_ns)):
            flow = _first(entries)
            if flow is not None:
                times.append(flow.since_ns + limit_ns)
        return min(times, default=None)

    # ---- out

    def release(self, match: Match, goes: Callable[[Miss], bool]) -> list[tuple[Miss, bool]]:
        """A rule with this match stands: all packets that it takes, and of which `goes` says that they are to go
        through it, are given back, each with whether a worker is at it."""
        index = self._indices.get(match.mask)
        if index is None:
            index = self._index(match.mask)
        else:
            self._indices.move_to_end(match.mask)
        found = [miss for miss in index.get(match.value, {}).values() if goes(miss)]
        released = []
        for miss in found:
            flow = self._of[miss.turn]
            released.append((self._remove(miss), flow.asked is miss))
            if not flow.packets and flow.asked is None:
                self._forget(flow)
        return released

    def _index(self, mask: int) -> dict[int, dict[int, Miss]]:
        index: dict[int, dict[int, Miss]] = {}
        for turn, flow in self._of.items():
            miss = flow.packets[turn]
            index.setdefault(miss._key & mask, {})[turn] = miss
        self._indices[mask] = index
        if len(self._indices) > _INDEXED_MASKS:
            self._indices.popitem(last=False)
        return index

    def clear(self) -> list[Miss]:
        """All packets are given back."""
        packets = []
        for flow in list(self._flows.values()):
            if flow.asked is not None:
                self._leave(flow, flow.since_ns)
            packets += self.give_up(flow)
        return packets

    def _remove(self, miss: Miss) -> Miss:
        flow = self._of.pop(miss.turn)
        del flow.packets[miss.turn]
        flow.bytes -= miss._size
        self._ports[miss.port].packets -= 1
        self._bytes -= miss._size
        for mask, index in self._indices.items():
            value = miss._key & mask
            found = index[value]
            del found[miss.turn]
            if not found:
                del index[value]
        return miss

    def _forget(self, flow: Flow) -> None:
        """It has no packets, and no worker is at it."""
        self._tickets += 1
        flow.ticket, flow.asked = self._tickets, None
        if self._flows.get(flow.key) is flow:
            del self._flows[flow.key]
