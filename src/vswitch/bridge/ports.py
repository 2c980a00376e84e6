"""Ports of the datapath as OpenFlow sees them.

Numbers are the same but for the local port: 0 in the datapath, 0xfffffffe (LOCAL) in OpenFlow. So is in_port in keys:
the slot has room for either.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable

from vswitch.fields import KEY_BYTES, SLOTS
from vswitch.messages.ports import PortConfig, PortDescription, PortState
from vswitch.messages.stats import PortStats
from vswitch.model.port import Port, PortKind
from vswitch.model.port import PortStats as Counted

__all__ = [
    "IN_PORT_MASK",
    "KEY_MASK",
    "LOCAL",
    "datapath_id_of",
    "datapath_number",
    "describe",
    "openflow_number",
    "stats_of",
]

LOCAL = 0xFFFFFFFE
KEY_MASK = (1 << 8 * KEY_BYTES) - 1
IN_PORT_MASK = SLOTS["in_port"].mask

_10GB_FULL_DUPLEX, _COPPER = 1 << 6, 1 << 11
_MULTICAST = 1 << 40
_SPEED_KBPS = 10_000_000
"""What virtual devices say of themselves, since they have to say something."""


def openflow_number(number: int) -> int:
    """Of the datapath's port."""
    return number or LOCAL


def datapath_number(number: int) -> int:
    """Of OpenFlow's port."""
    return 0 if number == LOCAL else number


def describe(port: Port, config: int = 0) -> PortDescription:
    """What OpenFlow tells of it. `config`: what controllers have set."""
    up, live = port.up and port.ifindex is not None, port.carrier and port.ifindex is not None
    config = config & ~PortConfig.DOWN if up else config | PortConfig.DOWN
    state = 0 if live else PortState.LINK_DOWN
    if up and live:
        state |= PortState.LIVE
    features, speed = (0, 0) if port.number == 0 else (_10GB_FULL_DUPLEX | _COPPER, _SPEED_KBPS)
    return PortDescription(
        openflow_number(port.number), mac_of(port), port.name[:15], int(config), int(state), current=features,
        current_speed=speed,
    )  # fmt: skip


def mac_of(port: Port) -> int:
    """Its address; one made of its name if its device is away, or it has none."""
    if port.mac:
        return int(port.mac.replace(":", ""), 16)
    return _made_of(port.name)


def _made_of(name: str) -> int:
    """An address that nobody else gives: locally administered."""
    return 0x020000000000 | zlib.crc32(name.encode())


def datapath_id_of(name: str, ports: Iterable[Port]) -> int:
    """By which controllers know a bridge: the lowest address of its ports on devices that were there before it, which
    are the same when it is made anew; without such a port, one made of its name."""
    addresses = (mac_of(port) for port in ports if port.kind is PortKind.SYSTEM and port.mac)
    return min((mac for mac in addresses if mac and not mac & _MULTICAST), default=_made_of(name))


def stats_of(number: int, counted: Counted, duration_ns: int) -> PortStats:
    """What it has counted."""
    return PortStats(
        number, duration_ns, counted.rx_packets, counted.tx_packets, counted.rx_bytes, counted.tx_bytes,
        rx_dropped=sum(counted.drops.values()), tx_dropped=counted.tx_dropped,
        rx_errors=counted.rx_errors, tx_errors=counted.tx_errors,
        rx_frame_errors=0, rx_over_errors=0, rx_crc_errors=0, collisions=0,
    )  # fmt: skip
