"""Choosing by hash: buckets of select groups, links of multipath, members of bundle.

The hash is stable: it depends on the values alone. What is hashed has been looked at, so its bits are consulted; fields
that the packet does not have count as zero.

A choice among members that come and go is by highest random weight: each member has a score for each hash, the highest
wins, so that a member that goes away moves only what it had.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from math import log

from vswitch.fields.registry import SLOTS
from vswitch.ofproto.packet import Packet
from vswitch.ofproto.places import ETH_TYPE, IP_FRAG, IP_PROTO, PLACES, PRESENT

__all__ = ["HASH_SPACE", "hash_named", "hash_of_fields", "heaviest", "mix", "shares"]

HASH_SPACE = (16, 256)
"""Values of dp_hash that a select group tells apart: at least, at most. Each is a megaflow."""

_IP_TYPES = (0x0800, 0x86DD)
_PORT_PROTOCOLS = (6, 132)


def mix(*values: int) -> int:
    """64 bits that look random, of any numbers."""
    data = b",".join(b"%x" % value for value in values)
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "little")


def _score(hashed: int, member: int, weight: int) -> float:
    """Weighted rendezvous: members win in proportion to their weights."""
    chance = (mix(hashed, member) + 1) / ((1 << 64) + 2)
    return -weight / log(chance)


def heaviest(hashed: int, members: list[tuple[int, int]]) -> int | None:
    """Of (member, weight) the one that this hash goes to; None if none has a weight."""
    best, best_score = None, 0.0
    for member, weight in members:
        if weight > 0:
            score = _score(hashed, member, weight)
            if score > best_score:
                best, best_score = member, score
    return best


@lru_cache(maxsize=1024)
def shares(weights: tuple[int, ...]) -> tuple[int, ...]:
    """For each value that dp_hash can have (a power of two of them), the member: by the method of Webster, as seats are
    given to parties."""
    total = sum(weights)
    least = min((weight for weight in weights if weight > 0), default=0)
    if not least:
        return ()
    size = HASH_SPACE[0]
    while size < HASH_SPACE[1] and size < total / least:
        size *= 2
    seats = [0] * len(weights)
    given = []
    for _ in range(size):
        best = max(range(len(weights)), key=lambda member: (weights[member] / (2 * seats[member] + 1), -member))
        seats[best] += 1
        given.append(best)
    return tuple(given)


def hash_of_fields(packet: Packet, fields: tuple[tuple[str, int], ...], basis: int) -> int:
    """Of these fields, each under its mask."""
    values = [basis]
    for name, mask in fields:
        place = PLACES[name]
        value = 0
        if packet.has(place):
            bits = place.put(mask or (1 << place.width) - 1)
            value = place.get(packet.consult(bits))
        values.append(value)
    return mix(*values)


def _take(packet: Packet, name: str) -> int:
    slot = SLOTS[name]
    return slot.take(packet.consult(slot.mask))


def _symmetric(packet: Packet, *, l2: bool, ports: tuple[int, ...]) -> list[int]:
    """Addresses, and ports of these protocols, so that both directions have the same."""
    values = []
    if l2:
        values.append(_take(packet, "eth_src") ^ _take(packet, "eth_dst"))
        values.append(_take(packet, "vlan_tci") & 0xFFF if packet.consult(PRESENT) else 0)
    eth_type = ETH_TYPE.take(packet.consult(ETH_TYPE.mask))
    values.append(eth_type)
    if eth_type in _IP_TYPES:
        version = "ipv4" if eth_type == _IP_TYPES[0] else "ipv6"
        values.append(_take(packet, f"{version}_src") ^ _take(packet, f"{version}_dst"))
        protocol = IP_PROTO.take(packet.consult(IP_PROTO.mask))
        values.append(protocol)
        if protocol in ports and not packet.consult(IP_FRAG.place(1)):
            values.append(_take(packet, "tp_src") ^ _take(packet, "tp_dst"))
    return values


def hash_named(packet: Packet, fields: str, basis: int) -> int:
    """Of what Nicira's word for it names (`messages.actions.HASH_FIELDS`)."""
    match fields:
        case "eth_src":
            values = [_take(packet, "eth_src")]
        case "symmetric_l4":
            values = _symmetric(packet, l2=True, ports=_PORT_PROTOCOLS)
        case "symmetric_l3l4":
            values = _symmetric(packet, l2=False, ports=_PORT_PROTOCOLS)
        case "symmetric_l3l4+udp":
            values = _symmetric(packet, l2=False, ports=(*_PORT_PROTOCOLS, 17))
        case "symmetric_l3":
            values = _symmetric(packet, l2=False, ports=())
        case "nw_src" | "nw_dst":
            eth_type = ETH_TYPE.take(packet.consult(ETH_TYPE.mask))
            end = fields.removeprefix("nw")
            values = [eth_type]
            if eth_type in _IP_TYPES:
                values.append(_take(packet, ("ipv4" if eth_type == _IP_TYPES[0] else "ipv6") + end))
        case _:
            raise AssertionError(f"no fields are called {fields!r}")
    return mix(basis, *values)
