"""What translation gives, what it looks at, and what it leaves behind for a packet that comes back.

Translation performs nothing: what is to be done besides forwarding (learning, packet-ins, statistics) is said in a
`Translation`, and the one who asked does it. Everything here is a frozen value but `FrozenStates`, which gives numbers
to values: the same state always gets the same number.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from vswitch.base.errors import TableFullError
from vswitch.messages.actions import FlowAction
from vswitch.messages.flows import Bucket, FlowMod, GroupType, PacketInReason
from vswitch.messages.match import FlowMatch
from vswitch.messages.ports import PortDescription
from vswitch.model.actions import Action
from vswitch.ofproto.classifier import Wildcards
from vswitch.ofproto.rule import Rule
from vswitch.ofproto.settings import PlacedMirror, Snooping

__all__ = [
    "ANY_PORT_CHANGE",
    "MAX_FROZEN_STATES",
    "Config",
    "ControllerSend",
    "Dependency",
    "Effect",
    "FinTimedOut",
    "Frame",
    "FrozenState",
    "FrozenStates",
    "GroupView",
    "Learned",
    "Lookup",
    "MacLearned",
    "MacsView",
    "McastView",
    "PortVlan",
    "PortsView",
    "Stage",
    "TableView",
    "TablesView",
    "Translation",
    "View",
]

MAX_FROZEN_STATES = 1 << 16
"""States of packets that are to come back: as many as a datapath has megaflows by default."""

Dependency = tuple[str, int] | tuple[str, int, int]
"""("table", n), ("group", id), ("port", n), ("mac", vlan, mac), ("meter", id), ("mcast", vlan, group),
("mrouter", vlan): what an answer would change with."""

ANY_PORT_CHANGE: Dependency = ("port", 0xFFFFFFFF)
"""The answer would change with any port that comes, goes or is configured."""


# ---- what translation looks at


@dataclass(frozen=True, slots=True)
class PortVlan:
    """How NORMAL treats a port. `mode`: "trunk" (carries the VLANs `trunks`, all if empty, tagged), "access" (carries
    `tag` alone, without a tag), "native-untagged" (a trunk on which packets of `tag` have none), "native-tagged" (a
    trunk on which packets without a tag are of VLAN `tag`), "dot1q-tunnel" (as access, for packets that have a tag of a
    customer's, one of `cvlans` if there are any; at other ports they have one of VLAN `tag` and protocol `ethertype`
    before it). `priority_tags`: whether packets that go out without a tag get one for their priority: "no", "always",
    "if-nonzero"."""

    mode: str = "trunk"
    tag: int = 0
    trunks: frozenset[int] = frozenset()
    cvlans: frozenset[int] = frozenset()
    ethertype: int = 0x88A8
    priority_tags: str = "no"

    def carries(self, vlan: int) -> bool:
        """Whether packets of this VLAN pass the port."""
        if self.mode in ("access", "dot1q-tunnel"):
            return vlan == self.tag
        if self.mode != "trunk" and not vlan:  # there all packets are of some VLAN
            return not self.tag
        return not self.trunks or vlan in self.trunks or (self.mode != "trunk" and vlan == self.tag)


@dataclass(frozen=True, slots=True)
class Config:
    """What holds for the whole switch. `fragments`: 0 normal (ports of fragments are not looked at), 1 drop,
    3 nx_match. `standalone`: forward as NORMAL does, whatever the tables say. `misses`: what a table does with a packet
    that none of its rules takes, where it is not `miss`: "controller", "continue", "drop". `vlans`: ports that are no
    plain trunks. `tunnel_ports`: those for which tunnel fields are set. `forward_bpdu`: NORMAL forwards packets to
    reserved addresses too. `mirrors`: packets that are copied; `protected`: ports of which nothing goes to another;
    `snooping`: how NORMAL treats multicast, None: as broadcast; `flood_vlans`: VLANs in which nothing is learned."""

    fragments: int = 0
    standalone: bool = False
    miss: str = "controller"
    misses: Mapping[int, str] = field(default_factory=dict)
    vlans: Mapping[int, PortVlan] = field(default_factory=dict)
    tunnel_ports: frozenset[int] = frozenset()
    forward_bpdu: bool = False
    mirrors: tuple[PlacedMirror, ...] = ()
    protected: frozenset[int] = frozenset()
    snooping: Snooping | None = None
    flood_vlans: frozenset[int] = frozenset()

    @property
    def reserved(self) -> frozenset[int]:
        """Ports that nothing but copies of packets goes out of."""
        return frozenset(each.output for each in self.mirrors if each.output is not None)


class TableView(Protocol):
    """One table."""

    @property
    def classifier(self) -> ClassifierView: ...

    def may_learn(self, mod: FlowMod, limit: int) -> bool: ...


class ClassifierView(Protocol):
    """The rules of a table."""

    def lookup(self, key: int, wildcards: Wildcards) -> Rule | None: ...


class TablesView(Protocol):
    """The tables by number."""

    def __getitem__(self, number: int, /) -> TableView: ...


class GroupView(Protocol):
    """A group as translation looks at it."""

    @property
    def type(self) -> GroupType: ...
    @property
    def buckets(self) -> tuple[Bucket, ...]: ...
    @property
    def selection(self) -> str: ...
    @property
    def selection_param(self) -> int: ...
    @property
    def fields(self) -> tuple[tuple[str, int], ...]: ...


class GroupsView(Protocol):
    """The groups by id."""

    def get(self, number: int, /) -> Any: ...


class PortsView(Protocol):
    """The ports by OpenFlow's number; iteration gives all of them."""

    def get(self, number: int, /) -> PortDescription | None: ...

    def __iter__(self) -> Iterator[PortDescription]: ...


class MacsView(Protocol):
    """Where NORMAL has seen addresses: `vswitch.ofproto.normal.MacTable`."""

    def lookup(self, vlan: int, mac: int) -> int | None: ...


class McastView(Protocol):
    """Who wants packets to groups: `vswitch.ofproto.snooping.McastTable`."""

    def ports(self, vlan: int, group: int) -> frozenset[int] | None: ...
    def routers(self, vlan: int) -> frozenset[int]: ...


class View(Protocol):
    """All that an answer is made from, besides the packet."""

    @property
    def tables(self) -> TablesView: ...
    @property
    def groups(self) -> GroupsView: ...
    @property
    def meters(self) -> Any: ...
    @property
    def ports(self) -> PortsView: ...
    @property
    def macs(self) -> MacsView: ...
    @property
    def mcast(self) -> McastView: ...
    @property
    def frozen(self) -> FrozenStates: ...
    @property
    def config(self) -> Config: ...


# ---- what it leaves behind


@dataclass(frozen=True, slots=True)
class Stage:
    """Where in the pipeline an action stands: table (None: not in any) and rule, and what it is carried out as:
    "action", "group", "action_set", "packet_out"."""

    table: int | None = None
    rule: Rule | None = None
    kind: str = "action"


@dataclass(frozen=True, slots=True)
class Frame:
    """What is still to be done: `actions` of the flow in `stage`."""

    actions: tuple[FlowAction, ...]
    stage: Stage


@dataclass(frozen=True, slots=True)
class FrozenState:
    """A packet's way through the pipeline, up to where it goes on when it comes back: what is left to be done,
    innermost first, and of the packet what its bytes do not say (`value` within `mask`, over the key of a flow)."""

    frames: tuple[Frame, ...]
    value: int
    mask: int
    stack: tuple[tuple[int, int], ...] = ()
    action_set: tuple[FlowAction, ...] = ()
    tunnel: tuple[tuple[str, int], ...] = ()
    hashed: int | None = None
    depth: int = 0
    priority: int | None = None
    mirrored: frozenset[str] = frozenset()


class FrozenStates:
    """Numbers for states, which recirculation ids are. The same state has the same number while it is kept."""

    def __init__(self, limit: int = MAX_FROZEN_STATES) -> None:
        self.limit = limit
        self._numbers: dict[FrozenState, int] = {}
        self._states: dict[int, FrozenState] = {}
        self._last = 0

    def number(self, state: FrozenState) -> int:
        """The number of this state, 1..2^32-1. TableFullError: `limit` states are kept already."""
        known = self._numbers.get(state)
        if known is not None:
            return known
        if len(self._states) >= self.limit:
            raise TableFullError(f"{self.limit} states of recirculated packets are kept already")
        while True:
            self._last = self._last % 0xFFFFFFFF + 1
            if self._last not in self._states:
                break
        self._numbers[state] = self._last
        self._states[self._last] = state
        return self._last

    def get(self, number: int) -> FrozenState | None:
        """The state of this number, None if it is not kept (any more)."""
        return self._states.get(number)

    def copy(self) -> FrozenStates:
        """What is kept, and room for more that nobody else sees."""
        other = FrozenStates(self.limit)
        other._numbers, other._states, other._last = dict(self._numbers), dict(self._states), self._last
        return other

    def keep(self, used: set[int]) -> None:
        """Forget all but these numbers: those in actions and matches of megaflows, and what follows from them."""
        for number in self._states.keys() - used:
            del self._numbers[self._states.pop(number)]

    def __len__(self) -> int:
        return len(self._states)


# ---- what it gives


class Lookup(NamedTuple):
    """One lookup: in `table`, with this key, decided by these bits of that key. `rule`: None is a miss. `fresh`: bits
    of the key that were as the packet came."""

    table: int
    key: int
    mask: int
    rule: Rule | None
    fresh: int = 0


@dataclass(frozen=True, slots=True)
class ControllerSend:
    """What a userspace action of the answer stands for: a packet-in to the controllers with this id. `metadata`: the
    pipeline's fields as constants; those that the datapath's key has (tunnel, mark) are in the upcall's key, and have
    precedence here where they have been set. `pause`: how the packet goes on when it is resumed. `miss`: no flow took
    it; `rest`: the flow did that takes what no other does, and `reason` says so. `snoop`: it is for multicast snooping
    alone, which lets it go on from `pause` then; the VLAN that it is of."""

    controller_id: int
    reason: PacketInReason | int
    max_len: int
    userdata: bytes
    table: int
    cookie: int
    metadata: FlowMatch
    pause: FrozenState | None = None
    meter: int | None = None
    miss: bool = False
    rest: bool = False
    snoop: int | None = None


@dataclass(frozen=True, slots=True)
class MacLearned:
    """NORMAL has seen `mac` in `vlan` at `port`."""

    vlan: int
    mac: int
    port: int


@dataclass(frozen=True, slots=True)
class Learned:
    """A learn action: do this flow-mod, if there are fewer than `limit` flows of its cookie in its table (0: always).
    `rule`: whose action it is; with `delete_learned` what it learned goes with it."""

    flow_mod: FlowMod
    limit: int = 0
    delete_learned: bool = False
    rule: Rule | None = None


@dataclass(frozen=True, slots=True)
class FinTimedOut:
    """A TCP FIN or RST has passed `rule`: its timeouts are no longer than these, in seconds (0: as they are)."""

    rule: Rule
    idle_timeout_s: int
    hard_timeout_s: int


Effect = MacLearned | Learned | FinTimedOut


class Translation(NamedTuple):
    """An answer: `actions` of the datapath for all packets that agree in `mask` (over the key of a flow) with the one
    that was asked about. `rules`: passed, in order, to be credited with packets and bytes; `buckets`: (group, index of
    the bucket) likewise, `meters` and `mirrors` likewise. `controllers`: what userspace actions stand for, whose
    user data is an index into them (4 bytes, big-endian). `effects`: to be done for this packet, and again for others
    that the answer is used for. `depends`: what it would change with. `error`: why it stopped, "" if it did not; then
    it drops."""

    actions: tuple[Action, ...]
    mask: int
    rules: tuple[Rule, ...] = ()
    lookups: tuple[Lookup, ...] = ()
    buckets: tuple[tuple[int, int], ...] = ()
    meters: tuple[int, ...] = ()
    controllers: tuple[ControllerSend, ...] = ()
    effects: tuple[Effect, ...] = ()
    depends: frozenset[Dependency] = frozenset()
    error: str = ""
    mirrors: tuple[str, ...] = ()
