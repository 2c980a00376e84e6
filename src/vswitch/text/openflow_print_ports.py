"""What ports are, and what the switch is, as ofp-print prints them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vswitch.fields.kinds import KINDS
from vswitch.messages.control import Capability, FeaturesReply
from vswitch.messages.ports import PortConfig, PortDescription, PortMod, PortState, PortStatus
from vswitch.text.openflow_words import Style, bit_names, port

__all__ = ["ACTIONS_1_0", "FUNCTIONS", "format_port", "format_ports"]

_MAC = KINDS["mac"].format

_CONFIG: dict[int, str] = {int(bit): f"PORT_{bit.name}" if bit is PortConfig.DOWN else bit.name for bit in PortConfig}
_STATE: dict[int, str] = {PortState.LINK_DOWN: "LINK_DOWN", PortState.BLOCKED: "BLOCKED", PortState.LIVE: "LIVE"}
_FEATURES = {
    1 << bit: word
    for bit, word in enumerate(
        (
            "10MB-HD", "10MB-FD", "100MB-HD", "100MB-FD", "1GB-HD", "1GB-FD", "10GB-FD", "40GB-FD", "100GB-FD",
            "1TB-FD", "OTHER", "COPPER", "FIBER", "AUTO_NEG", "AUTO_PAUSE", "AUTO_PAUSE_ASYM",
        )
    )
}  # fmt: skip
_SPEEDS = ((9, 1_000_000), (8, 100_000), (7, 40_000), (6, 10_000), (5, 1_000), (4, 1_000), (3, 100), (2, 100), (1, 10),
           (0, 10))  # fmt: skip
"""Bits of features, the fastest first, and Mbit/s."""
_CAPABILITIES: dict[int, str] = {
    int(bit): bit.name
    for bit in (
        Capability.FLOW_STATS, Capability.TABLE_STATS, Capability.PORT_STATS, Capability.GROUP_STATS, Capability.STP,
        Capability.IP_REASM, Capability.QUEUE_STATS, Capability.ARP_MATCH_IP, Capability.PORT_BLOCKED,
        Capability.BUNDLES, Capability.FLOW_MONITORING,
    )
}  # fmt: skip
ACTIONS_1_0 = (
    (0, "output"), (11, "enqueue"), (1, "set_vlan_vid"), (2, "set_vlan_pcp"), (3, "strip_vlan"), (4, "mod_dl_src"),
    (5, "mod_dl_dst"), (6, "mod_nw_src"), (7, "mod_nw_dst"), (8, "mod_nw_tos"), (9, "mod_tp_src"), (10, "mod_tp_dst"),
)  # fmt: skip
"""OpenFlow 1.0's actions by their numbers, in the order of print."""


def format_ports(ports: tuple[PortDescription, ...], style: Style) -> str:
    """All of them, by number."""
    return "".join(format_port(each, style) for each in sorted(ports, key=lambda each: _sixteen(each.number)))


def _sixteen(number: int) -> int:
    return number


def format_port(each: PortDescription, style: Style) -> str:
    """` 1(p1): addr:...` and its lines."""
    state = "STP_BLOCK" * bool(each.state & PortState.BLOCKED) if style.version == 1 else ""
    left = each.state & ~PortState.BLOCKED if state else each.state
    shown = state + bit_names(left, _STATE) if left or not state else state
    lines = [
        f" {port(each.number)}({each.name}): addr:{_MAC(each.mac, 48)}\n",
        f"     config:     {bit_names(each.config, _CONFIG)}\n",
        f"     state:      {shown}\n",
    ]
    for word, bits in (
        ("current", each.current), ("advertised", each.advertised), ("supported", each.supported), ("peer", each.peer),
    ):  # fmt: skip
        if bits:
            label = f"{word}:"
            lines.append(f"     {label:<11} {bit_names(bits, _FEATURES)}\n")
    now, top = each.current_speed // 1000, each.max_speed // 1000
    if style.version == 1:
        now, top = now or _speed(each.current), top or _speed(each.supported)
    lines.append(f"     speed: {now} Mbps now, {top} Mbps max\n")
    return "".join(lines)


def _speed(features: int) -> int:
    return next((speed for bit, speed in _SPEEDS if features >> bit & 1), 0)


def _features(message: FeaturesReply, style: Style) -> str:
    auxiliary = f", auxiliary_id:{message.auxiliary_id}" if message.auxiliary_id else ""
    lines = [
        f" dpid:{message.datapath_id:016x}\n",
        f"n_tables:{message.tables}, n_buffers:{message.buffers}{auxiliary}\n",
        f"capabilities: {bit_names(message.capabilities, _CAPABILITIES)}\n",
    ]
    if style.version == 1:
        words = [word for bit, word in ACTIONS_1_0 if message.actions >> bit & 1]
        lines.append(f"actions: {' '.join(words)}\n" if words else "")
    if style.version < 4:
        lines.append(format_ports(message.ports, style))
    return "".join(lines)


def _port_status(message: PortStatus, style: Style) -> str:
    return f" {('ADD', 'DEL', 'MOD')[message.reason]}:{format_port(message.port, style)}"


def _port_mod(message: PortMod, style: Style) -> str:
    advertise = bit_names(message.advertise, _FEATURES) if message.advertise else "UNCHANGED"
    return (
        f" port: {port(message.port, style.ports)}: addr:{_MAC(message.mac, 48)}\n"
        f"     config: {bit_names(message.config, _CONFIG)}\n"
        f"     mask:   {bit_names(message.mask, _CONFIG)}\n"
        f"     advertise: {advertise}\n"
    )


FUNCTIONS: dict[str, Callable[[Any, Style], str]] = {
    "FeaturesReply": _features,
    "PortStatus": _port_status,
    "PortMod": _port_mod,
}
"""Class of a message: what prints it."""
