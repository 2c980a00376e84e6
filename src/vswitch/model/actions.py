"""What the datapath can do to a packet.

Actions are frozen values, executed in order; a flow without actions drops. `drop` is an action of its own
so that the reason can be counted. Nested lists (clone, sample, check_pkt_len, dec_ttl) work on a copy of the
packet, unless they are the last action of their list, where no one could tell. They may be given as any iterable, or as
one action; kept they are as tuples, so that every action can be hashed.

The meaning follows the Linux openvswitch datapath (include/uapi/linux/openvswitch.h, enum ovs_action_attr)
where it has the action too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from operator import index
from typing import Any

from vswitch.base.errors import ConfigError, LimitError
from vswitch.base.limits import MAX_ACTION_DEPTH, MAX_ACTIONS, MAX_PORT, MAX_USERDATA_BYTES
from vswitch.fields import field
from vswitch.model.match import FieldValue, field_value_and_mask

__all__ = [
    "Action",
    "CheckPacketLength",
    "Clone",
    "DecTtl",
    "Drop",
    "Hash",
    "Meter",
    "Output",
    "PopMpls",
    "PopVlan",
    "PushMpls",
    "PushVlan",
    "Recirculate",
    "Sample",
    "SetField",
    "Truncate",
    "Userspace",
    "check_actions",
    "walk",
]

VLAN_PROTOCOLS = (0x8100, 0x88A8)
MPLS_PROTOCOLS = (0x8847, 0x8848)


def _as_number(value: Any) -> Any:
    """Of what is as good as a number, as is a packet's field in a policy, that number."""
    return index(value) if hasattr(value, "__index__") and not isinstance(value, int) else value


def _check(name: str, value: int, low: int, high: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ConfigError(f"{name} {value!r} is outside {low}..{high}")


def _check_type(name: str, value: int, types: tuple[int, int]) -> None:
    if not isinstance(value, int) or value not in types:
        shown = f"{value:#06x}" if isinstance(value, int) else repr(value)
        raise ConfigError(f"{name} {shown} is neither {types[0]:#06x} nor {types[1]:#06x}")


def _nest(action: Action, member: str, name: str) -> None:
    """Make `member` of an action a tuple of actions. ConfigError, which `name` begins, for what is no action."""
    given = getattr(action, member)
    actions = _listed(name, given)
    for each in actions:
        if not isinstance(each, Action):
            raise ConfigError(f"{name}: {each!r} is not an action")
    if actions is not given:
        object.__setattr__(action, member, actions)


def _listed(name: str, given: object) -> tuple[Action, ...]:
    """One thing, or any iterable, as a tuple."""
    if type(given) in (tuple, list):
        return tuple(given)  # type: ignore[arg-type]
    if isinstance(given, Action):
        return (given,)
    if isinstance(given, str | bytes) or not isinstance(given, Iterable):
        raise ConfigError(f"{name}: {given!r} is not an action")
    return tuple(given)


@dataclass(frozen=True, slots=True)
class Output:
    """Send the packet out of port `port` (the port that it came in by included)."""

    port: int

    def __post_init__(self) -> None:
        if type(self.port) is not int:
            object.__setattr__(self, "port", _as_number(self.port))
        _check("output port", self.port, 0, MAX_PORT)


@dataclass(frozen=True, slots=True)
class Drop:
    """Drop the packet and count it under `reason` (0..255); what follows is not executed."""

    reason: int = 0

    def __post_init__(self) -> None:
        _check("drop reason", self.reason, 0, 255)


@dataclass(frozen=True, slots=True, init=False)
class SetField:
    """Rewrite the bits `mask` (None: all) of field `name` to `value`, both in the field's own bits; checksums follow.

    A packet that has no such header is left as it is. ConfigError: docs/fields.md has no such field, or says that it
    cannot be set; a value or mask that the field cannot have.
    """

    name: str
    value: int
    mask: int

    def __init__(self, name: str, value: FieldValue, mask: FieldValue | None = None) -> None:
        view = field(name)
        if not view.settable:
            raise ConfigError(f"field {name} cannot be set")
        own_value, own_mask = field_value_and_mask(view, value if mask is None else (value, mask))
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "value", own_value)
        object.__setattr__(self, "mask", own_mask)


@dataclass(frozen=True, slots=True)
class PushVlan:
    """Put a VLAN tag in front: id `vid` 0..4095, priority `pcp` 0..7, tag protocol `tpid` 0x8100 or 0x88a8."""

    vid: int
    pcp: int = 0
    tpid: int = 0x8100

    def __post_init__(self) -> None:
        _check("VLAN id", self.vid, 0, 4095)
        _check("VLAN priority", self.pcp, 0, 7)
        _check_type("VLAN tag protocol", self.tpid, VLAN_PROTOCOLS)


@dataclass(frozen=True, slots=True)
class PopVlan:
    """Take the outermost VLAN tag off; a packet without one is left as it is."""


@dataclass(frozen=True, slots=True)
class PushMpls:
    """Put an MPLS label stack entry in front of the network header and make `ethertype` (0x8847 or
    0x8848) the Ethernet type. `label` 0..2^20-1, traffic class `tc` 0..7, `ttl` 0..255, bottom-of-stack bit `bos`."""

    label: int
    tc: int = 0
    ttl: int = 64
    bos: int = 1
    ethertype: int = 0x8847

    def __post_init__(self) -> None:
        _check("MPLS label", self.label, 0, (1 << 20) - 1)
        _check("MPLS traffic class", self.tc, 0, 7)
        _check("MPLS time to live", self.ttl, 0, 255)
        _check("MPLS bottom-of-stack bit", self.bos, 0, 1)
        _check_type("MPLS Ethernet type", self.ethertype, MPLS_PROTOCOLS)


@dataclass(frozen=True, slots=True)
class PopMpls:
    """Take the outermost MPLS entry off and make `ethertype` (0x0600..0xffff) the Ethernet type. A packet without one
    is left as it is."""

    ethertype: int

    def __post_init__(self) -> None:
        _check("Ethernet type", self.ethertype, 0x0600, 0xFFFF)


@dataclass(frozen=True, slots=True)
class DecTtl:
    """Lower the IPv4 TTL or IPv6 hop limit by one. At 1 or 0 `exceeded` is executed instead of the rest."""

    exceeded: tuple[Action, ...] = ()

    def __post_init__(self) -> None:
        _nest(self, "exceeded", "dec_ttl, exceeded")


@dataclass(frozen=True, slots=True)
class Recirculate:
    """Look the packet, as it is now, up again with recirculation id `id` (1..2^32-1)."""

    id: int

    def __post_init__(self) -> None:
        _check("recirculation id", self.id, 1, 0xFFFFFFFF)


@dataclass(frozen=True, slots=True)
class Hash:
    """Put a hash of the packet's addresses, protocol and ports into dp_hash (32 bits, never 0), mixed with `seed`
    (0..2^32-1)."""

    seed: int = 0

    def __post_init__(self) -> None:
        _check("hash seed", self.seed, 0, 0xFFFFFFFF)


@dataclass(frozen=True, slots=True)
class Truncate:
    """The next output or userspace action of this list sends at most `max_length` bytes (Ethernet header included,
    14..65535). On output the kernel keeps a VLAN tag, of a packet that this machine made the headers before L4, and a
    checksum that is left to the network card: such a packet is cut behind them."""

    max_length: int

    def __post_init__(self) -> None:
        _check("truncation", self.max_length, 14, 65535)


@dataclass(frozen=True, slots=True)
class Sample:
    """With a chance of `probability` (0..2^32-1) in 2^32-1, execute `actions` on a copy; the packet itself goes on."""

    probability: int
    actions: tuple[Action, ...]

    def __post_init__(self) -> None:
        _check("sample probability", self.probability, 0, 0xFFFFFFFF)
        _nest(self, "actions", "sample")


@dataclass(frozen=True, slots=True)
class Meter:
    """Drop the packet if meter `id` has no tokens left for it; `dp.meters` has them. It passes if there is no such
    meter."""

    id: int

    def __post_init__(self) -> None:
        _check("meter", self.id, 0, 0xFFFFFFFF)


@dataclass(frozen=True, slots=True)
class Clone:
    """Execute `actions` on a copy; the packet itself goes on unchanged."""

    actions: tuple[Action, ...]

    def __post_init__(self) -> None:
        _nest(self, "actions", "clone")


@dataclass(frozen=True, slots=True)
class CheckPacketLength:
    """Execute `greater` if the frame is longer than `length` bytes (0..65535; for a GSO packet: its longest segment),
    else `less_equal`."""

    length: int
    greater: tuple[Action, ...]
    less_equal: tuple[Action, ...]

    def __post_init__(self) -> None:
        _check("packet length", self.length, 0, 65535)
        _nest(self, "greater", "check_pkt_len, greater")
        _nest(self, "less_equal", "check_pkt_len, less_equal")


@dataclass(frozen=True, slots=True)
class Userspace:
    """Send a copy up to Python with `userdata` (at most 64 bytes, else LimitError)."""

    userdata: bytes = b""

    def __post_init__(self) -> None:
        if not isinstance(self.userdata, bytes):
            raise ConfigError(f"userdata {self.userdata!r} is not bytes")
        if len(self.userdata) > MAX_USERDATA_BYTES:
            raise LimitError(f"userdata of {len(self.userdata)} bytes exceeds the bound of {MAX_USERDATA_BYTES}")


Action = (
    Output
    | Drop
    | SetField
    | PushVlan
    | PopVlan
    | PushMpls
    | PopMpls
    | DecTtl
    | Recirculate
    | Hash
    | Truncate
    | Sample
    | Meter
    | Clone
    | CheckPacketLength
    | Userspace
)
"""Any of the actions."""
Actions = tuple[Action, ...]


def nested(action: Action) -> tuple[Actions, ...]:
    """The action lists inside of `action`."""
    match action:
        case Sample(_, actions) | Clone(actions) | DecTtl(actions):
            return (actions,)
        case CheckPacketLength(_, greater, less_equal):
            return (greater, less_equal)
        case _:
            return ()


def walk(actions: Iterable[Action], depth: int = 0) -> Iterator[tuple[int, Action]]:
    """Every action, nested ones included, with its depth (0 outermost)."""
    for action in actions:
        yield depth, action
        for inner in nested(action):
            yield from walk(inner, depth + 1)


def _check_tunnel(actions: Actions, lost: str) -> None:
    """`lost`: a tunnel field that was set before."""
    for action in actions:
        if isinstance(action, SetField) and action.name.startswith("tun_"):
            lost = action.name
        elif lost and isinstance(action, Recirculate):
            raise ConfigError(f"{lost} is set before a recirculation, which loses it: set it after that")
        for inner in nested(action):
            _check_tunnel(inner, lost)


_checked: dict[int, tuple[object, Actions]] = {}
"""Actions and tuples that passed, by identity: programs install the same few over and over. They stay alive in here, so
that no other object gets their identity."""

_MAX_CHECKED = 1024


def check_actions(actions: Iterable[Action] | Action) -> Actions:
    """`actions`, or one action, as a tuple. ConfigError for what is no action, and for tunnel fields that are set
    before a recirculation, as a packet that comes up behind it has lost them; LimitError past MAX_ACTIONS or
    MAX_ACTION_DEPTH."""
    # hot: once per megaflow
    known = _checked.get(id(actions))
    if known is not None:
        return known[1]
    checked = _listed("actions", actions)
    count = 0
    for depth, action in walk(checked):
        count += 1
        if not isinstance(action, Action):
            raise ConfigError(f"{action!r} is not an action")
        if depth > MAX_ACTION_DEPTH:
            raise LimitError(f"actions nested {depth} deep exceed the bound of {MAX_ACTION_DEPTH}")
    if count > MAX_ACTIONS:
        raise LimitError(f"{count} actions exceed the bound of {MAX_ACTIONS}")
    _check_tunnel(checked, "")
    if len(_checked) >= _MAX_CHECKED:
        _checked.clear()
    if checked and checked[0] is actions:
        _checked[id(actions)] = actions, checked
    _checked[id(checked)] = checked, checked
    return checked
