"""How the value of a field is written and read: a number, an address, a set of flags.

A kind turns an int into text and back, and knows how its mask is written. Values are plain ints in
the middle of the program; only here, at the edge, do they become text.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["KINDS", "Kind"]

TCP_FLAGS = ("fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr", "ns")
CT_STATES = ("new", "est", "rel", "rpl", "inv", "trk", "snat", "dnat")
FRAGMENTS = {"no": 0, "first": 1, "later": 3}
"""Two bits, as OpenFlow has them: that it is one, and that it is not the first."""
TUNNEL_FLAGS = ("df", "csum", "key")


@dataclass(frozen=True, slots=True)
class Kind:
    """One way of writing values. `parse(text, bits)` raises ValueError with the reason alone."""

    name: str
    format: Callable[[int, int], str]
    parse: Callable[[str, int], int]
    prefix_masks: bool = False
    """Contiguous masks are written as /N by people (addresses)."""
    flag_names: tuple[str, ...] = ()
    """For flag sets: the name of bit 0, bit 1, ..."""


_NUMBER = re.compile(r"0|[1-9][0-9]{,38}|0[xX][0-9a-fA-F]{1,64}")
"""Stricter than int(): no sign, space, underscore or foreign digit. 39 decimal digits hold 128 bits."""


def _number(text: str, bits: int) -> int:
    if not _NUMBER.fullmatch(text):
        raise ValueError(f"{text!r} is not a number")
    value = int(text, 0)
    if not 0 <= value < 1 << bits:
        raise ValueError(f"{text} is outside 0..{(1 << bits) - 1}")
    return value


def _format_mac(value: int, _bits: int) -> str:
    return ":".join(f"{byte:02x}" for byte in value.to_bytes(6, "big"))


def _parse_mac(text: str, _bits: int) -> int:
    parts = text.split(":")
    if len(parts) != 6 or not all(re.fullmatch("[0-9a-fA-F]{1,2}", part) for part in parts):
        raise ValueError(f"{text!r} is not an Ethernet address")
    return int.from_bytes(bytes(int(part, 16) for part in parts), "big")


def _parse_ipv4(text: str, _bits: int) -> int:
    try:
        return int(ipaddress.IPv4Address(text))
    except ValueError:
        raise ValueError(f"{text!r} is not an IPv4 address") from None


def _parse_ipv6(text: str, _bits: int) -> int:
    try:
        address = ipaddress.IPv6Address(text)
    except ValueError:
        raise ValueError(f"{text!r} is not an IPv6 address") from None
    if address.scope_id is not None:
        raise ValueError(f"{text!r} has a scope, which a field does not hold")
    return int(address)


def _parse_fragment(text: str, bits: int) -> int:
    if text in FRAGMENTS:
        return FRAGMENTS[text]
    return _number(text, bits)  # any number: masks are written with this kind too


def _format_fragment(value: int, _bits: int) -> str:
    return next((word for word, number in FRAGMENTS.items() if number == value), str(value))


OPENFLOW_PORTS = {
    "IN_PORT": 0xFFFFFFF8, "TABLE": 0xFFFFFFF9, "NORMAL": 0xFFFFFFFA, "FLOOD": 0xFFFFFFFB, "ALL": 0xFFFFFFFC,
    "CONTROLLER": 0xFFFFFFFD, "LOCAL": 0xFFFFFFFE, "ANY": 0xFFFFFFFF, "UNSET": 0xFFFFFFF7,
}  # fmt: skip
"""Reserved ports, in 32 bits (OpenFlow 1.3.5 section A.2.1; OpenFlow 1.5.1 section 7.2.3 for UNSET)."""
_OFPORT_NAMES = {number: word for word, number in OPENFLOW_PORTS.items()}


def _format_ofport(value: int, _bits: int) -> str:
    return _OFPORT_NAMES.get(value, str(value))


def _parse_ofport(text: str, bits: int) -> int:
    """A port by number, 16-bit reserved ones included, or by a reserved name."""
    if text.upper() in OPENFLOW_PORTS:
        return OPENFLOW_PORTS[text.upper()]
    value = _number(text, bits)
    if 0xFF00 <= value <= 0xFFFF:  # as OpenFlow 1.0 has them
        return value | 0xFFFF0000
    return value


def _parse_packet_type(text: str, _bits: int) -> int:
    """`(namespace,type)`, both of 16 bits, or all of it as a number."""
    parts = text.removeprefix("(").removesuffix(")").split(",")
    if len(parts) == 2:
        return _number(parts[0], 16) << 16 | _number(parts[1], 16)
    return _number(text, 32)


def _flags(name: str, names: tuple[str, ...]) -> Kind:
    """A set of named bits, written `syn|ack`; bits without a name as a hexadecimal rest."""

    def format_(value: int, _bits: int) -> str:
        words = [word for bit, word in enumerate(names) if value >> bit & 1]
        rest = value >> len(names) << len(names)
        if rest or not words:
            words.append(f"{rest:#x}" if rest else "0")
        return "|".join(words)

    def parse(text: str, bits: int) -> int:
        value = 0
        for word in text.split("|"):
            value |= 1 << names.index(word) if word in names else _number(word, bits)
        return value

    return Kind(name, format_, parse, flag_names=names)


KINDS = {
    kind.name: kind
    for kind in (
        Kind("decimal", lambda value, _bits: str(value), _number),
        Kind("hexadecimal", lambda value, _bits: f"{value:#x}", _number),
        Kind("ethertype", lambda value, _bits: f"0x{value:04x}", _number),
        Kind("mac", _format_mac, _parse_mac),
        Kind("ipv4", lambda value, _bits: str(ipaddress.IPv4Address(value)), _parse_ipv4, prefix_masks=True),
        Kind("ipv6", lambda value, _bits: str(ipaddress.IPv6Address(value)), _parse_ipv6, prefix_masks=True),
        Kind("fragment", _format_fragment, _parse_fragment),
        Kind("ofport", _format_ofport, _parse_ofport),
        Kind("packet_type", lambda value, _bits: f"({value >> 16},{value & 0xFFFF:#x})", _parse_packet_type),
        _flags("tcp_flags", TCP_FLAGS),
        _flags("ct_state", CT_STATES),
        _flags("tunnel_flags", TUNNEL_FLAGS),
    )
}
