"""Ports as OpenFlow tells of them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from vswitch.messages.base import Message

__all__ = ["PortConfig", "PortDescription", "PortMod", "PortState", "PortStatus", "PortStatusReason"]


class PortConfig(IntEnum):
    """Bits of `config`, as OpenFlow 1.0 numbers them; later versions have DOWN, NO_RECV, NO_FWD and NO_PACKET_IN."""

    DOWN = 1 << 0
    NO_STP = 1 << 1
    NO_RECV = 1 << 2
    NO_RECV_STP = 1 << 3
    NO_FLOOD = 1 << 4
    NO_FWD = 1 << 5
    NO_PACKET_IN = 1 << 6


class PortState(IntEnum):
    """Bits of `state`, as OpenFlow 1.1 and later number them."""

    LINK_DOWN = 1 << 0
    BLOCKED = 1 << 1
    LIVE = 1 << 2


@dataclass(frozen=True, slots=True)
class PortDescription:
    """A port. Features are bits as OpenFlow 1.1 and later number them; speeds in kbit/s."""

    number: int
    mac: int
    name: str
    config: int = 0
    state: int = 0
    current: int = 0
    advertised: int = 0
    supported: int = 0
    peer: int = 0
    current_speed: int = 0
    max_speed: int = 0


class PortStatusReason(IntEnum):
    """What happened to it."""

    ADD = 0
    DELETE = 1
    MODIFY = 2


@dataclass(frozen=True, slots=True)
class PortStatus(Message):
    """Something happened to a port."""

    reason: PortStatusReason
    port: PortDescription


@dataclass(frozen=True, slots=True)
class PortMod(Message):
    """Set the bits `mask` of a port's configuration to those of `config`. `mac`: that of the port, or it is refused."""

    port: int
    mac: int
    config: int
    mask: int
    advertise: int = 0
