"""What would become of a packet, told and not done: `Bridge.trace`, and `ofproto/trace` at the control socket.

Nothing is changed by it, whatever is given: no address and no flow is learned, nothing is counted, no timeout begins
anew, and states of recirculated packets get their numbers in a copy. (Open vSwitch learns from a packet whose bytes are
given.)

Where the datapath has to do something before the tables can go on, the packet is taken through that by the simulated
datapath, and traced on. If its bytes are not given, they are composed of its fields.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vswitch.base.errors import ConfigError
from vswitch.base.limits import MAX_RECIRCULATIONS
from vswitch.bridge.ports import IN_PORT_MASK, KEY_MASK, LOCAL, datapath_number
from vswitch.bridge.tracing import trace_writers
from vswitch.datapath.ebpf.state import Options
from vswitch.fields import SLOTS
from vswitch.fields.kinds import OPENFLOW_PORTS
from vswitch.messages.actions import FlowAction
from vswitch.messages.match import FlowMatch
from vswitch.ofproto.places import TUNNEL_BITS
from vswitch.ofproto.trace import Trace, trace
from vswitch.packet.compose import compose
from vswitch.packet.parse import parse
from vswitch.text.actions import format_actions

if TYPE_CHECKING:
    from vswitch.bridge.view import BridgeView

__all__ = ["MIN_FRAME", "PacketTrace", "key_of_packet", "trace_packet"]

MIN_FRAME = 14
"""Bytes of an Ethernet header."""

_IN_PORT = SLOTS["in_port"]
_NOT_IN_BYTES = _IN_PORT.mask | SLOTS["skb_mark"].mask | SLOTS["skb_priority"].mask | TUNNEL_BITS
_MAY_BE_PARTS = (SLOTS["vlan_tci"].mask, SLOTS["tcp_flags"].mask, SLOTS["ip_frag"].mask)
"""Fields that a text names bits of: the others are zero."""
_BYTES_OF_A_TRACE = 1 << 17
_RULE = "=" * 79


@dataclass(frozen=True, slots=True)
class PacketTrace:
    """`parts`: the packet's way through the tables, and on each time that the datapath has recirculated it. `str` of it
    is the text of `ovs-appctl ofproto/trace`, with numbers for ports. `port_names`: by number, the local port's by both
    that it has."""

    parts: tuple[Trace, ...]
    port_names: Mapping[int, str]

    def __str__(self) -> str:
        return self.text()

    @property
    def datapath_actions(self) -> str:
        """What the megaflow of the packet would do, as `ovs-dpctl` writes it: "drop" if nothing."""
        return format_actions(self.parts[0].answer.actions) or "drop"

    def text(self, *, names: bool = False) -> str:
        """Several lines. `names`: ports by their names."""
        writers = trace_writers(self.port_names if names else None)
        texts = [self.parts[0].text(writers)]
        for part in self.parts[1:]:
            title = f"recirc({SLOTS['recirc_id'].take(part.key):#x}) - resume"
            texts.append(f"\n{_RULE}\n{title}\n{_RULE}\n\n{part.text(writers)}")
        return "".join(texts)

    def as_dict(self, *, names: bool = False) -> dict[str, Any]:
        """The same for `json.dumps`: of the first part `bridge`, `flow`, `steps`, `final_flow`, `megaflow`,
        `datapath_actions` and `error`, texts as in `text`; the others, such dicts too, are a list in `recirculated`."""
        writers = trace_writers(self.port_names if names else None)
        first, *others = (part.as_dict(writers) for part in self.parts)
        return {**first, "recirculated": others}


def key_of_packet(match: FlowMatch, frame: bytes | None) -> int:
    """The key of a packet with these fields, all others being zero; of one with these bytes, `match` says but what is
    not in them. ConfigError: a field has no single value, or the frame is no frame."""
    for each, _, mask in match.fields():
        if mask != each.max and not each.mask & _sum(_MAY_BE_PARTS) and not each.name.startswith(("reg", "metadata")):
            raise ConfigError(f"{each.name}: a packet has one value, not all within the mask {each.view.format(mask)}")
    value = match.value
    if not match.mask & _IN_PORT.mask:
        value |= _IN_PORT.place(OPENFLOW_PORTS["ANY"])
    if frame is None:
        return value
    if len(frame) < MIN_FRAME:
        raise ConfigError(f"a frame of {len(frame)} bytes is shorter than an Ethernet header, which has {MIN_FRAME}")
    return parse(frame, value & _NOT_IN_BYTES)


def _sum(masks: Iterable[int]) -> int:
    whole = 0
    for mask in masks:
        whole |= mask
    return whole


def trace_packet(
    name: str,
    view: BridgeView,
    key: int,
    frame: bytes | None,
    now_ns: int,
    actions: tuple[FlowAction, ...] | None = None,
) -> PacketTrace:
    """The way of the packet with this key (of a flow) through a bridge. `actions`: that of a packet-out with them."""
    view = copy.copy(view)
    view.frozen = view.frozen.copy()
    parts = [trace(view, key, frame, now_ns, bridge=name, actions=actions)]
    while len(parts) <= MAX_RECIRCULATIONS:
        become = _recirculated(parts[-1], frame)
        if become is None:
            break
        key, frame = become
        parts.append(trace(view, key, frame, now_ns, bridge=name))
    names = {port.number: port.name for port in view.ports}
    if LOCAL in names:
        names[datapath_number(LOCAL)] = names[LOCAL]
    return PacketTrace(tuple(parts), names)


def _recirculated(part: Trace, frame: bytes | None) -> tuple[int, bytes] | None:
    """What the datapath makes of the packet, if it looks it up again then: its key (of a flow) and its bytes."""
    actions = part.answer.actions
    if "recirc(" not in format_actions(actions):
        return None
    from vswitch.datapath.simulated.backend import SimulatedBackend  # few packets need it

    in_port = part.key & IN_PORT_MASK
    number = datapath_number(_IN_PORT.take(in_port))
    key = part.key & KEY_MASK & ~IN_PORT_MASK | _IN_PORT.place(number & 0xFFFF)
    kernel = SimulatedBackend("trace", Options(ring_bytes=_BYTES_OF_A_TRACE))
    become = kernel.recirculated(key, compose(part.key) if frame is None else frame, actions)
    return None if become is None else (become[0] & ~IN_PORT_MASK | in_port, become[1])
