"""Fields of OpenFlow as the packet on its way sees them: bits of its key, what they need, what the datapath calls them.

All of it is made once from the registry, as ints, so that translation has nothing left to compute.
"""

from __future__ import annotations

from dataclasses import dataclass

from vswitch.fields.openflow import FLOW_BYTES, OPENFLOW_FIELDS, PIPELINE_SLOTS, FlowField
from vswitch.fields.registry import FIELDS, KEY_BYTES, SLOTS, Field, Slot

__all__ = [
    "ETH_TYPE", "IN_PORT", "IP_FRAG", "IP_PROTO", "IP_TTL", "L3_BITS", "L4_BITS", "LATER_FRAGMENT", "MPLS_BITS",
    "PIPELINE_BITS", "PLACES", "PORT_BITS", "PRESENT", "PRIORITY", "TAG_BITS", "TCI",
    "TUNNEL_BITS", "Need", "Place", "at_hand", "bits_of",
]  # fmt: skip


def bits_of(*names: str) -> int:
    """All bits of these slots, as a key int."""
    mask = 0
    for name in names:
        mask |= SLOTS[name].mask
    return mask


TCI = SLOTS["vlan_tci"]
PRESENT = TCI.place(0x1000)
"""The bit that says that there is a VLAN tag."""
TAG_BITS = bits_of("vlan_tci", "vlan_tpid", "cvlan_tci", "cvlan_tpid")
ETH_TYPE, IN_PORT, IP_FRAG = SLOTS["eth_type"], SLOTS["in_port"], SLOTS["ip_frag"]
IP_PROTO, IP_TTL = SLOTS["ip_proto"], SLOTS["ip_ttl"]
LATER_FRAGMENT = IP_FRAG.place(2)
PORT_BITS = bits_of("tp_src", "tp_dst")
L4_BITS = bits_of("tcp_flags", "tp_src", "tp_dst", "nd_target", "l2_source", "l2_target")
L3_BITS = L4_BITS | bits_of(
    "ip_proto", "ip_tos", "ip_ttl", "ip_frag", "ipv4_src", "ipv4_dst", "ipv6_src", "ipv6_dst", "ipv6_label", "arp_op"
)
"""All that lies behind the Ethernet type; MPLS lies in the same bits."""
MPLS_BITS = bits_of("mpls_lse0", "mpls_lse1", "mpls_lse2")
PIPELINE_BITS = ((1 << 8 * (PIPELINE_SLOTS["in_phy_port"].offset + 4)) - 1) >> 8 * KEY_BYTES << 8 * KEY_BYTES
"""What no packet has by its bytes: registers, metadata."""
TUNNEL_BITS = bits_of("tun_id", "tun_src", "tun_dst", "tun_flags", "tun_tos", "tun_ttl", "tun_tp_src", "tun_tp_dst")
_OF_PACKETS = (1 << 8 * KEY_BYTES) - 1
_ALL = (1 << 8 * FLOW_BYTES) - 1 & ~PORT_BITS


def at_hand(fresh: int, derived: int) -> int:
    """The bits of a key that a lookup may decide by at no price, as they are the same for all packets that get there:
    neither as they came in nor derived from that, or none of any packet's. Ports are not: to have them is to be no
    fragment."""
    return _ALL & ~(fresh & _OF_PACKETS | derived)


@dataclass(frozen=True, slots=True)
class Need:
    """Bits that must have one of some values for a field to be there; both are key ints."""

    bits: int
    values: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a field lies. `needs`: what must hold for it to be there. `field`: what the datapath sets it by, None if it
    is no business of the datapath's. `tag`: it is part of the VLAN tag."""

    name: str
    slot: Slot
    shift: int
    width: int
    bits: int
    needs: tuple[Need, ...]
    field: Field | None
    tag: bool = False

    def put(self, value: int) -> int:
        """The key int that has `value` here."""
        return self.slot.place(value << self.shift)

    def get(self, key: int) -> int:
        """What `key` has here."""
        return self.slot.take(key) >> self.shift & (1 << self.width) - 1


_SET_BY = {"ip_dscp": "ip_tos", "ip_ecn": "ip_tos"}
"""Parts of a slot that the datapath can set whole."""


def _needs(each: FlowField) -> tuple[Need, ...]:
    found = []
    for name, allowed in each.prerequisites:
        view = OPENFLOW_FIELDS[name].view
        bits = PRESENT if name == "vlan_vid" else view.mask
        found.append(Need(bits, tuple(view.slot.place(value << view.shift) for value in allowed)))
    if any(name == "ip_proto" for name, _ in each.prerequisites):  # later fragments have no L4
        found.append(Need(LATER_FRAGMENT, (0,)))
    if any(name == "icmpv6_type" for name, _ in each.prerequisites):  # RFC 4861 section 4.3: or it is none
        found.append(Need(OPENFLOW_FIELDS["icmpv6_code"].mask, (0,)))
    return tuple(found)


def _place(each: FlowField) -> Place:
    view = each.view
    setter = FIELDS.get(_SET_BY.get(each.name, each.name))
    settable = setter is not None and setter.settable and each.name != "in_port"
    tag = each.name in ("vlan_tci", "vlan_vid", "vlan_pcp")
    return Place(
        each.name,
        view.slot,
        view.shift,
        view.bits,
        view.mask,
        _needs(each),
        setter if settable and not tag else None,
        tag,
    )


PLACES: dict[str, Place] = {name: _place(each) for name, each in OPENFLOW_FIELDS.items()}
"""Field of OpenFlow -> its place."""

PRIORITY = Place("skb_priority", SLOTS["skb_priority"], 0, 32, SLOTS["skb_priority"].mask, (), FIELDS["skb_priority"])
"""The datapath's field that stands for queues."""
