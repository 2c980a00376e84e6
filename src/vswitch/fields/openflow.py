"""The fields of OpenFlow: how they are called, their code points, and where they lie in the key of a flow.

The key of a flow is the key of the datapath (`vswitch.fields.registry`) with the pipeline's own slots behind it:
metadata, registers, and what else is known of a packet only while it goes through tables. A field here is a view on one
of both kinds of slots. Code points are those of OXM (OpenFlow 1.2 and later) and NXM (Nicira), as ovs-fields(7) lists
them.

Ports in the key of a flow are OpenFlow's, 32 bits: the local port is 0xfffffffe there, and 0 in the datapath's.
"""

from __future__ import annotations

from dataclasses import dataclass

from vswitch.base.errors import ConfigError
from vswitch.fields.kinds import KINDS
from vswitch.fields.registry import FIELDS, KEY_BYTES, SLOTS, Field, Prerequisites, Slot

__all__ = [
    "BY_CODE",
    "FLOW_BYTES",
    "OPENFLOW_FIELDS",
    "OXM_CLASSES",
    "PIPELINE_SLOTS",
    "REGISTERS",
    "FlowField",
    "flow_field",
]

REGISTERS = 16
"""reg0 to reg15, 32 bits each; two make an xreg, four an xxreg."""

OXM_CLASSES = {"NXM_OF": 0x0000, "NXM_NX": 0x0001, "OXM_OF": 0x8000, "OXM_REGS": 0x8001, "ONF": 0xFFFF}
"""Classes of field headers; those of class 0xffff are followed by an experimenter id."""


def _pipeline() -> dict[str, Slot]:
    """Slots behind the datapath's key."""
    slots: dict[str, Slot] = {}
    offset = KEY_BYTES

    def place(name: str, size: int, at: int | None = None, wire: bool = True) -> None:
        nonlocal offset
        slots[name] = Slot(name, offset if at is None else at, size, wire)
        if at is None:
            offset += size

    place("metadata", 8)
    begin = offset
    for number in range(REGISTERS // 4):
        place(f"xxreg{number}", 16)
    for number in range(REGISTERS // 2):
        place(f"xreg{number}", 8, begin + 8 * number)
    for number in range(REGISTERS):
        place(f"reg{number}", 4, begin + 4 * number)
    for name in ("actset_output", "conj_id", "packet_type", "in_phy_port"):
        place(name, 4, wire=False)
    return slots


PIPELINE_SLOTS: dict[str, Slot] = _pipeline()
FLOW_BYTES = max(slot.offset + slot.size for slot in PIPELINE_SLOTS.values())
"""Size of the key of a flow."""


@dataclass(frozen=True, slots=True)
class FlowField:
    """A field of OpenFlow.

    `name`: as `Match` has it where the datapath has the field. `texts`: what ovs-ofctl calls it, the first is what is
    printed. `view`: where it lies, and how values are written. `nxm`, `oxm`: (class, number) by which the wire knows
    it, None if it does not. `since`: the first version of OpenFlow (wire number: 4 is 1.3) whose OXM has it. `length`:
    bytes of its value on the wire. `prerequisites`: (field, allowed values). `maskable`, `writable`: as the wire and
    set actions may use it. `refused`: why no flow may have it yet, empty if it may.
    """

    name: str
    texts: tuple[str, ...]
    view: Field
    nxm: tuple[int, int] | None
    oxm: tuple[int, int] | None
    since: int
    length: int
    prerequisites: Prerequisites
    maskable: bool
    writable: bool
    refused: str = ""

    def __hash__(self) -> int:
        """There is one of each name."""
        return hash(self.name)

    @property
    def bits(self) -> int:
        """Its width."""
        return self.view.bits

    @property
    def max(self) -> int:
        """The largest value."""
        return self.view.max

    @property
    def mask(self) -> int:
        """All its bits, in the key of a flow."""
        return self.view.mask

    @property
    def symbols(self) -> tuple[str, ...]:
        """What ovs-ofctl calls it in a move or a load, as NXM_OF_IP_SRC; the first is what is printed."""
        stem = _STEMS.get(self.name, self.name.upper())
        found = []
        if self.nxm is not None:
            found.append(f"NXM_{'NX' if self.nxm[0] else 'OF'}_{stem}")
        if self.name == "actset_output":
            found.append(f"ONFOXM_ET_{stem}")
        if self.oxm is not None:
            found.append(f"OXM_OF_{_OXM_STEMS.get(self.name, self.name.upper())}")
        return tuple(found)


_IP, _IPV4, _IPV6 = (("eth_type", (0x0800, 0x86DD)),), (("eth_type", (0x0800,)),), (("eth_type", (0x86DD,)),)
_ARP, _MPLS = (("eth_type", (0x0806, 0x8035)),), (("eth_type", (0x8847, 0x8848)),)
_ICMPV6 = (*_IPV6, ("ip_proto", (58,)))
_NEEDS: dict[str, Prerequisites] = {
    "-": (),
    "ip": _IP,
    "ipv4": _IPV4,
    "ipv6": _IPV6,
    "arp": _ARP,
    "mpls": _MPLS,
    "vlan": (("vlan_vid", (0x1000,)),),  # some VLAN: the bit of presence
    "tcp": (*_IP, ("ip_proto", (6,))),
    "udp": (*_IP, ("ip_proto", (17,))),
    "sctp": (*_IP, ("ip_proto", (132,))),
    "icmp": (*_IPV4, ("ip_proto", (1,))),
    "icmpv6": _ICMPV6,
    "nd": (*_ICMPV6, ("icmpv6_type", (135, 136))),
    "ns": (*_ICMPV6, ("icmpv6_type", (135,))),
    "na": (*_ICMPV6, ("icmpv6_type", (136,))),
}

# name | texts | place: =field of the datapath, or slot[bits] | kind | NXM | OXM (since) | bytes | needs | m: maskable,
# w: writable
_TABLE = """
in_port       | in_port          | =in_port         | ofport      | OF 0   | OF 0 2   | 4  | -      | w
in_phy_port   | in_phy_port      | in_phy_port      | ofport      |        | OF 1 2   | 4  | -      |
metadata      | metadata         | metadata         | hexadecimal |        | OF 2 2   | 8  | -      | mw
eth_dst       | dl_dst eth_dst   | =eth_dst         | mac         | OF 1   | OF 3 2   | 6  | -      | mw
eth_src       | dl_src eth_src   | =eth_src         | mac         | OF 2   | OF 4 2   | 6  | -      | mw
eth_type      | dl_type eth_type | =eth_type        | ethertype   | OF 3   | OF 5 2   | 2  | -      |
vlan_tci      | vlan_tci         | vlan_tci[0:15]   | hexadecimal | OF 4   |          | 2  | -      | mw
vlan_vid      | vlan_vid         | vlan_tci[0:12]   | hexadecimal |        | OF 6 2   | 2  | -      | mw
vlan_pcp      | dl_vlan_pcp vlan_pcp | vlan_tci[13:15] | decimal  |        | OF 7 2   | 1  | vlan   | w
ip_dscp       | ip_dscp          | =ip_dscp         | decimal     |        | OF 8 2   | 1  | ip     | w
ip_tos        | nw_tos           | ip_tos[0:7]      | decimal     | OF 5   |          | 1  | ip     | w
ip_ecn        | nw_ecn ip_ecn    | =ip_ecn          | decimal     | NX 28  | OF 9 2   | 1  | ip     | w
ip_proto      | nw_proto ip_proto | =ip_proto       | decimal     | OF 6   | OF 10 2  | 1  | ip     |
ip_ttl        | nw_ttl           | =ip_ttl          | decimal     | NX 29  |          | 1  | ip     | w
ip_frag       | nw_frag ip_frag  | ip_frag[0:1]     | fragment    | NX 26  |          | 1  | ip     | m
ipv4_src      | nw_src ip_src    | =ipv4_src        | ipv4        | OF 7   | OF 11 2  | 4  | ipv4   | mw
ipv4_dst      | nw_dst ip_dst    | =ipv4_dst        | ipv4        | OF 8   | OF 12 2  | 4  | ipv4   | mw
tcp_src       | tp_src tcp_src   | =tcp_src         | decimal     | OF 9   | OF 13 2  | 2  | tcp    | mw
tcp_dst       | tp_dst tcp_dst   | =tcp_dst         | decimal     | OF 10  | OF 14 2  | 2  | tcp    | mw
tcp_flags     | tcp_flags        | =tcp_flags       | tcp_flags   | NX 34  | OF 42 6  | 2  | tcp    | m
udp_src       | tp_src udp_src   | =udp_src         | decimal     | OF 11  | OF 15 2  | 2  | udp    | mw
udp_dst       | tp_dst udp_dst   | =udp_dst         | decimal     | OF 12  | OF 16 2  | 2  | udp    | mw
sctp_src      | tp_src sctp_src  | =sctp_src        | decimal     |        | OF 17 2  | 2  | sctp   | mw
sctp_dst      | tp_dst sctp_dst  | =sctp_dst        | decimal     |        | OF 18 2  | 2  | sctp   | mw
icmpv4_type   | icmp_type icmpv4_type | =icmpv4_type | decimal    | OF 13  | OF 19 2  | 1  | icmp   | w
icmpv4_code   | icmp_code icmpv4_code | =icmpv4_code | decimal    | OF 14  | OF 20 2  | 1  | icmp   | w
arp_op        | arp_op           | =arp_op          | decimal     | OF 15  | OF 21 2  | 2  | arp    | w
arp_spa       | arp_spa          | =arp_spa         | ipv4        | OF 16  | OF 22 2  | 4  | arp    | mw
arp_tpa       | arp_tpa          | =arp_tpa         | ipv4        | OF 17  | OF 23 2  | 4  | arp    | mw
arp_sha       | arp_sha          | =arp_sha         | mac         | NX 17  | OF 24 2  | 6  | arp    | mw
arp_tha       | arp_tha          | =arp_tha         | mac         | NX 18  | OF 25 2  | 6  | arp    | mw
ipv6_src      | ipv6_src         | =ipv6_src        | ipv6        | NX 19  | OF 26 2  | 16 | ipv6   | mw
ipv6_dst      | ipv6_dst         | =ipv6_dst        | ipv6        | NX 20  | OF 27 2  | 16 | ipv6   | mw
ipv6_label    | ipv6_label       | =ipv6_label      | hexadecimal | NX 27  | OF 28 2  | 4  | ipv6   | mw
icmpv6_type   | icmp_type icmpv6_type | =icmpv6_type | decimal    | NX 21  | OF 29 2  | 1  | icmpv6 | w
icmpv6_code   | icmp_code icmpv6_code | =icmpv6_code | decimal    | NX 22  | OF 30 2  | 1  | icmpv6 | w
nd_target     | nd_target        | =nd_target       | ipv6        | NX 23  | OF 31 2  | 16 | nd     | mw
nd_sll        | nd_sll           | =nd_sll          | mac         | NX 24  | OF 32 2  | 6  | ns     | mw
nd_tll        | nd_tll           | =nd_tll          | mac         | NX 25  | OF 33 2  | 6  | na     | mw
mpls_label    | mpls_label       | =mpls_label      | decimal     |        | OF 34 2  | 4  | mpls   | w
mpls_tc       | mpls_tc          | =mpls_tc         | decimal     |        | OF 35 2  | 1  | mpls   | w
mpls_bos      | mpls_bos         | =mpls_bos        | decimal     |        | OF 36 4  | 1  | mpls   |
mpls_ttl      | mpls_ttl         | =mpls_ttl        | decimal     | NX 30  |          | 1  | mpls   | w
tun_id        | tun_id tunnel_id | =tun_id          | hexadecimal | NX 16  | OF 38 4  | 8  | -      | mw
tun_src       | tun_src          | =tun_src         | ipv4        | NX 31  |          | 4  | -      | mw
tun_dst       | tun_dst          | =tun_dst         | ipv4        | NX 32  |          | 4  | -      | mw
tun_ipv6_src  | tun_ipv6_src     | =tun_ipv6_src    | ipv6        | NX 109 |          | 16 | -      | mw
tun_ipv6_dst  | tun_ipv6_dst     | =tun_ipv6_dst    | ipv6        | NX 110 |          | 16 | -      | mw
skb_mark      | pkt_mark         | =skb_mark        | hexadecimal | NX 33  |          | 4  | -      | mw
dp_hash       | dp_hash          | =dp_hash         | hexadecimal | NX 35  |          | 4  | -      | m
recirc_id     | recirc_id        | =recirc_id       | decimal     | NX 36  |          | 4  | -      |
conj_id       | conj_id          | conj_id          | decimal     | NX 37  |          | 4  | -      |
actset_output | actset_output    | actset_output    | ofport      |        | OF 43 6  | 4  | -      |
packet_type   | packet_type      | packet_type      | packet_type |        | OF 44 6  | 4  | -      |
ct_state      | ct_state         | =ct_state        | ct_state    | NX 105 |          | 4  | -      | m
ct_zone       | ct_zone          | =ct_zone         | hexadecimal | NX 106 |          | 2  | -      |
ct_mark       | ct_mark          | =ct_mark         | hexadecimal | NX 107 |          | 4  | -      | mw
ct_label      | ct_label         | =ct_label        | hexadecimal | NX 108 |          | 16 | -      | mw
ct_nw_proto   | ct_nw_proto      | =ct_nw_proto     | decimal     | NX 119 |          | 1  | -      |
ct_nw_src     | ct_nw_src        | =ct_nw_src       | ipv4        | NX 120 |          | 4  | ipv4   | m
ct_nw_dst     | ct_nw_dst        | =ct_nw_dst       | ipv4        | NX 121 |          | 4  | ipv4   | m
ct_ipv6_src   | ct_ipv6_src      | =ct_ipv6_src     | ipv6        | NX 122 |          | 16 | ipv6   | m
ct_ipv6_dst   | ct_ipv6_dst      | =ct_ipv6_dst     | ipv6        | NX 123 |          | 16 | ipv6   | m
ct_tp_src     | ct_tp_src        | =ct_tp_src       | decimal     | NX 124 |          | 2  | -      | m
ct_tp_dst     | ct_tp_dst        | =ct_tp_dst       | decimal     | NX 125 |          | 2  | -      | m
"""

_STEMS = {
    "ipv4_src": "IP_SRC", "ipv4_dst": "IP_DST", "icmpv4_type": "ICMP_TYPE", "icmpv4_code": "ICMP_CODE",
    "tun_src": "TUN_IPV4_SRC", "tun_dst": "TUN_IPV4_DST", "skb_mark": "PKT_MARK",
}  # fmt: skip
_OXM_STEMS = {
    "tun_id": "TUNNEL_ID", "ipv6_label": "IPV6_FLABEL", "nd_target": "IPV6_ND_TARGET", "nd_sll": "IPV6_ND_SLL",
    "nd_tll": "IPV6_ND_TLL", **{f"xreg{number}": f"PKT_REG{number}" for number in range(REGISTERS // 2)},
}  # fmt: skip


_NO_CONNECTIONS = "there is no connection tracking"


def _view(name: str, place: str, kind: str) -> Field:
    if place.startswith("="):
        known = FIELDS[place[1:]]
        slot, low, bits, doc = known.slot, known.shift, known.bits, known.doc
    else:
        slot_name, _, span = place.rstrip("]").partition("[")
        slot = PIPELINE_SLOTS.get(slot_name) or SLOTS[slot_name]
        low, high = (int(bit) for bit in span.split(":")) if span else (0, slot.size * 8 - 1)
        bits, doc = high - low + 1, ""
    return Field(name, slot, low, bits, KINDS[kind], (), (), False, doc)


def _code(text: str, classes: dict[str, int]) -> tuple[tuple[int, int] | None, int]:
    """(class, number) and the version, of `NX 28` or `OF 9 2`."""
    if not text:
        return None, 0
    group, number, *since = text.split()
    return (classes[group], int(number)), int(since[0]) if since else 0


def _fields() -> dict[str, FlowField]:
    fields: dict[str, FlowField] = {}
    nxm_classes, oxm_classes = {"OF": 0x0000, "NX": 0x0001}, {"OF": 0x8000}
    for row in _TABLE.strip().splitlines():
        name, texts, place, kind, nxm, oxm, length, needs, flags = (column.strip() for column in row.split("|"))
        code, since = _code(oxm, oxm_classes)
        fields[name] = FlowField(
            name, tuple(texts.split()), _view(name, place, kind), _code(nxm, nxm_classes)[0], code, since,
            int(length), _NEEDS[needs], "m" in flags, "w" in flags, _NO_CONNECTIONS if name.startswith("ct_") else "",
        )  # fmt: skip
    for number in range(REGISTERS):
        fields[f"reg{number}"] = _register(f"reg{number}", 4, (1, number), None)
    for number in range(REGISTERS // 2):
        fields[f"xreg{number}"] = _register(f"xreg{number}", 8, None, (0x8001, number))
    for number in range(REGISTERS // 4):
        fields[f"xxreg{number}"] = _register(f"xxreg{number}", 16, (1, 111 + number), None)
    return fields


def _register(name: str, length: int, nxm: tuple[int, int] | None, oxm: tuple[int, int] | None) -> FlowField:
    view = Field(name, PIPELINE_SLOTS[name], 0, 8 * length, KINDS["hexadecimal"], (), (), False, "register")
    return FlowField(name, (name,), view, nxm, oxm, 5 if oxm else 0, length, (), True, True)


OPENFLOW_FIELDS: dict[str, FlowField] = _fields()
"""name -> field."""

BY_CODE: dict[tuple[int, int], FlowField] = {
    code: each for each in OPENFLOW_FIELDS.values() for code in (each.nxm, each.oxm) if code is not None
}
"""(class, number) -> field. NXM's in_port has two bytes on the wire, OXM's four."""


def flow_field(name: str) -> FlowField:
    """The field of this name, its own or one of ovs-ofctl's where just one field has it. ConfigError: there is none."""
    found = OPENFLOW_FIELDS.get(name) or _BY_TEXT.get(name)
    if found is None:
        raise ConfigError(f"no field of OpenFlow is called {name!r}")
    return found


def _by_text() -> dict[str, FlowField]:
    found: dict[str, list[FlowField]] = {}
    for each in OPENFLOW_FIELDS.values():
        for text in each.texts:
            found.setdefault(text, []).append(each)
    return {text: fields[0] for text, fields in found.items() if len(fields) == 1}


_BY_TEXT = _by_text()
