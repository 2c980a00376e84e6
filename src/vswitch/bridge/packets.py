"""Packets on their way to controllers and back: packet-ins, and ways on of packets that controllers may resume."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from vswitch.bridge.ports import IN_PORT_MASK
from vswitch.fields.openflow import OPENFLOW_FIELDS
from vswitch.messages.flows import PacketIn, PacketInReason
from vswitch.messages.match import FlowMatch

if TYPE_CHECKING:
    from vswitch.bridge.handler import PacketForControllers
    from vswitch.ofproto.translation import FrozenState

__all__ = ["Paused", "packet_in"]

MOST_PAUSED = 1 << 16
"""Ways on that are kept for packets which controllers may resume; the oldest is forgotten for one more."""

_KEPT_FIELDS = tuple(
    OPENFLOW_FIELDS[name].mask for name in ("tun_id", "tun_src", "tun_dst", "tun_ipv6_src", "tun_ipv6_dst", "skb_mark")
)
_KEPT = sum(_KEPT_FIELDS)
"""What the datapath knows of a packet besides its bytes."""


class Paused:
    """Ways on, by a number that is all that the controller gets of them. A controller may resume a packet twice."""

    def __init__(self) -> None:
        self._states: OrderedDict[int, FrozenState] = OrderedDict()
        self._numbers: dict[FrozenState, int] = {}
        self._last = 0

    def __len__(self) -> int:
        return len(self._states)

    def put(self, state: FrozenState) -> bytes:
        """What stands for it."""
        number = self._numbers.get(state)
        if number is None:
            number = self._last = self._last + 1
            self._states[number] = state
            self._numbers[state] = number
            if len(self._states) > MOST_PAUSED:
                del self._numbers[self._states.popitem(last=False)[1]]
        return number.to_bytes(8, "big")

    def get(self, continuation: bytes) -> FrozenState | None:
        """What a controller gives back; None: it stands for nothing, or no longer."""
        return self._states.get(int.from_bytes(continuation, "big")) if len(continuation) == 8 else None


def packet_in(told: PacketForControllers, paused: Paused) -> PacketIn:
    """What controllers are told of a packet. It is whole, whatever an action said of its length: no buffer is kept here
    by which a controller could name the rest (OpenFlow 1.3.5 section 7.4.1). Open vSwitch does the same."""
    send, key = told.send, told.key
    mask = send.metadata.mask | IN_PORT_MASK
    value = send.metadata.value | key & IN_PORT_MASK & ~send.metadata.mask
    if key & _KEPT:
        for bits in _KEPT_FIELDS:
            if key & bits and not mask & bits:
                mask |= bits
                value |= key & bits
    return PacketIn(
        told.frame, told.length, PacketInReason(send.reason), FlowMatch.from_ints(value, mask), send.table, send.cookie,
        userdata=send.userdata, continuation=b"" if send.pause is None else paused.put(send.pause),
    )  # fmt: skip
