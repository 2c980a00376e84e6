"""Slots are physical bits of the flow key; fields are views on them.

The key is 208 bytes, 26 words of 64 bits. In the kernel it is `union flow_key` (generated from here);
in Python it is one int whose little-endian bytes are that struct, so masking is one `&` and
`key.to_bytes(KEY_BYTES, "little")` is what the kernel reads. The first eight words hold all that an
IPv4 or ARP packet on Ethernet needs, so that most megaflows touch one cache line.

Two fields may share a slot when no packet has both (`ipv4_src` and `mpls_label`): their prerequisites
differ. A slot that a packet does not have is zero.

Invariant: nothing outside this table knows where a field lies, how wide it is, or how it is written.
"""

from __future__ import annotations

from dataclasses import dataclass

from vswitch.base.errors import ConfigError
from vswitch.fields.kinds import KINDS, Kind

__all__ = ["EITHER", "FIELDS", "KEY_BYTES", "KEY_WORDS", "SLOTS", "Field", "Slot", "field"]

KEY_WORDS = 26
KEY_BYTES = KEY_WORDS * 8


@dataclass(frozen=True, slots=True)
class Slot:
    """`size` bytes at `offset` of the key; network byte order if `wire`, else the host's (little)."""

    name: str
    offset: int
    size: int
    wire: bool = True

    def shares_with(self, other: Slot) -> bool:
        """Whether the two lie, in part, in the same bytes."""
        return self.offset < other.offset + other.size and other.offset < self.offset + self.size

    @property
    def mask(self) -> int:
        """All bits of this slot, as a key int."""
        return (1 << 8 * self.size) - 1 << 8 * self.offset

    def place(self, value: int) -> int:
        """The key int that holds `value` here and zero elsewhere."""
        if self.wire and self.size > 1:
            value = int.from_bytes(value.to_bytes(self.size, "big"), "little")
        return value << 8 * self.offset

    def take(self, key: int) -> int:
        """The value that the key int `key` holds here."""
        value = key >> 8 * self.offset & (1 << 8 * self.size) - 1
        if self.wire and self.size > 1:
            value = int.from_bytes(value.to_bytes(self.size, "little"), "big")
        return value


def _layout() -> dict[str, Slot]:
    """The struct, word by word (left column: the word). Alternatives for one place are joined by |."""
    rows = """
     0  in_port:4h recirc_id:4h
     1  eth_dst:6 eth_type:2
     2  eth_src:6 vlan_tci:2
     3  vlan_tpid:2 cvlan_tci:2 cvlan_tpid:2 tcp_flags:2
     4  ip_proto:1 ip_tos:1 ip_ttl:1 ip_frag:1 tp_src:2 tp_dst:2
     5  ipv4_src|mpls_lse0:4 ipv4_dst|mpls_lse1:4
     6  skb_mark:4h dp_hash:4h
     7  ct_state:1 ct_proto:1 ct_zone:2h ct_mark:4h
     8  ipv6_src:16|mpls_lse2:4
    10  ipv6_dst:16
    12  ipv6_label:4 skb_priority:4h
    13  nd_target:16|ct_ipv6_src:16|ct_ipv4_src:4
    15  l2_source:6|ct_ipv6_dst:16|ct_ipv4_dst:4
    16  l2_target:6
    17  tun_id:8
    18  tun_src:16|tun_ipv4_src:4
    20  tun_dst:16|tun_ipv4_dst:4
    22  tun_flags:2h tun_tos:1 tun_ttl:1 tun_tp_src:2 tun_tp_dst:2
    23  ct_label:16
    25  ct_tp_src:2 ct_tp_dst:2 arp_op:2
    """
    slots: dict[str, Slot] = {}
    for row in rows.strip().splitlines():
        word, *members = row.split()
        offset = int(word) * 8
        for member in members:
            shared = member.split("|")
            size_of_all = shared[-1].partition(":")[2]
            sizes = [part.partition(":")[2] or size_of_all for part in shared]
            for part, text in zip(shared, sizes, strict=True):
                name = part.partition(":")[0]
                slots[name] = Slot(name, offset, int(text.rstrip("h")), wire=not text.endswith("h"))
            offset += int(sizes[0].rstrip("h"))
    return slots


SLOTS: dict[str, Slot] = _layout()

Prerequisites = tuple[tuple[str, tuple[int, ...]], ...]


@dataclass(frozen=True, slots=True)
class Field:
    """A view on `bits` bits of a slot, from bit `shift` (0 is the least significant of its value).

    `texts`: where the field stands in the datapath's flow text, as (group, member): `ipv4(src=...)`
    is ("ipv4", "src"); a group with nothing but a value has member "". Several where the text depends
    on the packet's kind. `prerequisites`: (field, allowed values) that a packet having this field
    meets. `settable`: a set action may rewrite it.
    """

    name: str
    slot: Slot
    shift: int
    bits: int
    kind: Kind
    texts: tuple[tuple[str, str], ...]
    prerequisites: Prerequisites
    settable: bool
    doc: str

    @property
    def max(self) -> int:
        """The largest value."""
        return (1 << self.bits) - 1

    @property
    def mask(self) -> int:
        """All bits of this field, as a key int."""
        return self.slot.place(self.max << self.shift)

    def place(self, value: int) -> int:
        """The key int that holds `value` in this field and zero elsewhere. ConfigError if too large."""
        if not 0 <= value <= self.max:
            raise ConfigError(f"{self.name} {value:#x} is outside 0..{self.max:#x}")
        return self.slot.place(value << self.shift)

    def take(self, key: int) -> int:
        """The value of this field in the key int `key`."""
        return self.slot.take(key) >> self.shift & self.max

    def format(self, value: int) -> str:
        """The value as text."""
        return self.kind.format(value, self.bits)

    def parse(self, text: str) -> int:
        """The value that `text` writes. ConfigError names the field, the text and the bound."""
        try:
            return self.kind.parse(text, self.bits)
        except ValueError as error:
            raise ConfigError(f"{self.name}: {error}") from None


IPV4, ARP, IPV6, MPLS, MPLS_MULTICAST = 0x0800, 0x0806, 0x86DD, 0x8847, 0x8848
ICMP, TCP, UDP, ICMPV6, SCTP = 1, 6, 17, 58, 132

_ETH = {
    "ip": (("eth_type", (IPV4, IPV6)),),
    "ipv4": (("eth_type", (IPV4,)),),
    "ipv6": (("eth_type", (IPV6,)),),
    "arp": (("eth_type", (ARP,)),),
    "mpls": (("eth_type", (MPLS, MPLS_MULTICAST)),),
}
_NEEDS: dict[str, Prerequisites] = {
    "": (),
    **_ETH,
    "vlan": (("vlan_present", (1,)),),
    "cvlan": (("vlan_present", (1,)), ("cvlan_present", (1,))),
    "tcp": (("ip_proto", (TCP,)),),
    "udp": (("ip_proto", (UDP,)),),
    "sctp": (("ip_proto", (SCTP,)),),
    "icmp": (*_ETH["ipv4"], ("ip_proto", (ICMP,))),
    "icmpv6": (*_ETH["ipv6"], ("ip_proto", (ICMPV6,))),
    "nd": (*_ETH["ipv6"], ("ip_proto", (ICMPV6,)), ("icmpv6_type", (135, 136))),
    "ns": (*_ETH["ipv6"], ("ip_proto", (ICMPV6,)), ("icmpv6_type", (135,))),
    "na": (*_ETH["ipv6"], ("ip_proto", (ICMPV6,)), ("icmpv6_type", (136,))),
    "tun4": (("tun_ipv6", (0,)),),
    "tun6": (("tun_ipv6", (1,)),),
}

# name | slot or slot[bits] | kind | flow text | prerequisites | settable | what it is
_TABLE = """
in_port       | in_port          | decimal     | in_port                  |        |   | port of the datapath that the packet came in by
recirc_id     | recirc_id        | hexadecimal | recirc_id                |        |   | recirculation id; 0 for a packet that has just arrived
skb_mark      | skb_mark         | hexadecimal | skb_mark                 |        | s | packet mark, as iptables and nftables use it
skb_priority  | skb_priority     | hexadecimal | skb_priority             |        | s | packet priority, as qdiscs use it
dp_hash       | dp_hash          | hexadecimal | dp_hash                  |        |   | what the hash action left; 0 before it
tun_id        | tun_id           | hexadecimal | tunnel.tun_id            |        | s | tunnel: key (VXLAN network identifier)
tun_ipv6      | tun_flags[15:15] | decimal     | tunnel.ipv6              |        |   | tunnel: 1 if its addresses are IPv6
tun_src       | tun_ipv4_src     | ipv4        | tunnel.src               | tun4   | s | tunnel: outer IPv4 source
tun_dst       | tun_ipv4_dst     | ipv4        | tunnel.dst               | tun4   | s | tunnel: outer IPv4 destination
tun_ipv6_src  | tun_src          | ipv6        | tunnel.ipv6_src          | tun6   | s | tunnel: outer IPv6 source
tun_ipv6_dst  | tun_dst          | ipv6        | tunnel.ipv6_dst          | tun6   | s | tunnel: outer IPv6 destination
tun_tos       | tun_tos          | hexadecimal | tunnel.tos               |        | s | tunnel: outer type of service
tun_ttl       | tun_ttl          | decimal     | tunnel.ttl               |        | s | tunnel: outer time to live
tun_flags     | tun_flags[0:14]  | tunnel_flags| tunnel.flags             |        | s | tunnel: df, csum, key
eth_dst       | eth_dst          | mac         | eth.dst                  |        | s | Ethernet destination
eth_src       | eth_src          | mac         | eth.src                  |        | s | Ethernet source
eth_type      | eth_type         | ethertype   | eth_type                 |        |   | Ethernet type after all VLAN tags; 0x05ff for IEEE 802.3 frames without one
vlan_present  | vlan_tci[12:12]  | decimal     | vlan.present             |        |   | 1 if the frame has a VLAN tag
vlan_vid      | vlan_tci[0:11]   | decimal     | vlan.vid                 | vlan   | s | outer VLAN id
vlan_pcp      | vlan_tci[13:15]  | decimal     | vlan.pcp                 | vlan   | s | outer VLAN priority
vlan_tpid     | vlan_tpid        | ethertype   | vlan.tpid                | vlan   |   | outer VLAN tag protocol (0x8100 or 0x88a8)
cvlan_present | cvlan_tci[12:12] | decimal     | cvlan.present            |        |   | 1 if the frame has a second VLAN tag
cvlan_vid     | cvlan_tci[0:11]  | decimal     | cvlan.vid                | cvlan  |   | inner VLAN id
cvlan_pcp     | cvlan_tci[13:15] | decimal     | cvlan.pcp                | cvlan  |   | inner VLAN priority
cvlan_tpid    | cvlan_tpid       | ethertype   | cvlan.tpid               | cvlan  |   | inner VLAN tag protocol
ipv4_src      | ipv4_src         | ipv4        | ipv4.src                 | ipv4   | s | IPv4 source
ipv4_dst      | ipv4_dst         | ipv4        | ipv4.dst                 | ipv4   | s | IPv4 destination
ipv6_src      | ipv6_src         | ipv6        | ipv6.src                 | ipv6   | s | IPv6 source
ipv6_dst      | ipv6_dst         | ipv6        | ipv6.dst                 | ipv6   | s | IPv6 destination
ipv6_label    | ipv6_label[0:19] | hexadecimal | ipv6.label               | ipv6   | s | IPv6 flow label
ip_proto      | ip_proto         | decimal     | ipv4.proto ipv6.proto ip.proto | ip |  | IP protocol (IPv6: the first header that is not an extension)
ip_tos        | ip_tos           | hexadecimal | ipv4.tos ipv6.tclass ip.tos    | ip | s | IPv4 type of service or IPv6 traffic class
ip_dscp       | ip_tos[2:7]      | decimal     |                          | ip     | s | the upper six bits of ip_tos
ip_ecn        | ip_tos[0:1]      | decimal     |                          | ip     | s | the lower two bits of ip_tos
ip_ttl        | ip_ttl           | decimal     | ipv4.ttl ipv6.hlimit ip.ttl    | ip | s | IPv4 time to live or IPv6 hop limit
ip_frag       | ip_frag          | fragment    | ipv4.frag ipv6.frag ip.frag    | ip |   | no: whole packet, first: first fragment, later: any other
tcp_src       | tp_src           | decimal     | tcp.src                  | tcp    | s | TCP source port
tcp_dst       | tp_dst           | decimal     | tcp.dst                  | tcp    | s | TCP destination port
tcp_flags     | tcp_flags[0:11]  | tcp_flags   | tcp_flags                | tcp    |   | TCP flags, 12 bits
udp_src       | tp_src           | decimal     | udp.src                  | udp    | s | UDP source port
udp_dst       | tp_dst           | decimal     | udp.dst                  | udp    | s | UDP destination port
sctp_src      | tp_src           | decimal     | sctp.src                 | sctp   | s | SCTP source port
sctp_dst      | tp_dst           | decimal     | sctp.dst                 | sctp   | s | SCTP destination port
icmpv4_type   | tp_src[0:7]      | decimal     | icmp.type                | icmp   | s | ICMP type
icmpv4_code   | tp_dst[0:7]      | decimal     | icmp.code                | icmp   | s | ICMP code
icmpv6_type   | tp_src[0:7]      | decimal     | icmpv6.type              | icmpv6 | s | ICMPv6 type
icmpv6_code   | tp_dst[0:7]      | decimal     | icmpv6.code              | icmpv6 | s | ICMPv6 code
arp_op        | arp_op           | decimal     | arp.op                   | arp    | s | ARP operation
arp_spa       | ipv4_src         | ipv4        | arp.sip                  | arp    | s | ARP sender's protocol address
arp_tpa       | ipv4_dst         | ipv4        | arp.tip                  | arp    | s | ARP target's protocol address
arp_sha       | l2_source        | mac         | arp.sha                  | arp    | s | ARP sender's hardware address
arp_tha       | l2_target        | mac         | arp.tha                  | arp    | s | ARP target's hardware address
nd_target     | nd_target        | ipv6        | nd.target                | nd     | s | neighbour discovery: target
nd_sll        | l2_source        | mac         | nd.sll                   | ns     | s | neighbour solicitation: source link-layer address
nd_tll        | l2_target        | mac         | nd.tll                   | na     | s | neighbour advertisement: target link-layer address
mpls_label    | mpls_lse0[12:31] | decimal     | mpls.label               | mpls   | s | outermost MPLS label
mpls_tc       | mpls_lse0[9:11]  | decimal     | mpls.tc                  | mpls   | s | outermost MPLS traffic class
mpls_bos      | mpls_lse0[8:8]   | decimal     | mpls.bos                 | mpls   | s | outermost MPLS bottom-of-stack bit
mpls_ttl      | mpls_lse0[0:7]   | decimal     | mpls.ttl                 | mpls   | s | outermost MPLS time to live
mpls1_label   | mpls_lse1[12:31] | decimal     | mpls1.label              | mpls   |   | second MPLS label
mpls1_tc      | mpls_lse1[9:11]  | decimal     | mpls1.tc                 | mpls   |   | second MPLS traffic class
mpls1_bos     | mpls_lse1[8:8]   | decimal     | mpls1.bos                | mpls   |   | second MPLS bottom-of-stack bit
mpls1_ttl     | mpls_lse1[0:7]   | decimal     | mpls1.ttl                | mpls   |   | second MPLS time to live
mpls2_label   | mpls_lse2[12:31] | decimal     | mpls2.label              | mpls   |   | third MPLS label
mpls2_tc      | mpls_lse2[9:11]  | decimal     | mpls2.tc                 | mpls   |   | third MPLS traffic class
mpls2_bos     | mpls_lse2[8:8]   | decimal     | mpls2.bos                | mpls   |   | third MPLS bottom-of-stack bit
mpls2_ttl     | mpls_lse2[0:7]   | decimal     | mpls2.ttl                | mpls   |   | third MPLS time to live
ct_state      | ct_state         | ct_state    | ct_state                 |        |   | connection tracking state (reserved: the ct action comes later)
ct_zone       | ct_zone          | decimal     | ct_zone                  |        |   | connection tracking zone (reserved)
ct_mark       | ct_mark          | hexadecimal | ct_mark                  |        |   | connection tracking mark (reserved)
ct_label      | ct_label         | hexadecimal | ct_label                 |        |   | connection tracking label (reserved)
ct_nw_proto   | ct_proto         | decimal     | ct_tuple4.proto ct_tuple6.proto |  |   | original direction: IP protocol (reserved)
ct_nw_src     | ct_ipv4_src      | ipv4        | ct_tuple4.src            | ipv4   |   | original direction: IPv4 source (reserved)
ct_nw_dst     | ct_ipv4_dst      | ipv4        | ct_tuple4.dst            | ipv4   |   | original direction: IPv4 destination (reserved)
ct_ipv6_src   | ct_ipv6_src      | ipv6        | ct_tuple6.src            | ipv6   |   | original direction: IPv6 source (reserved)
ct_ipv6_dst   | ct_ipv6_dst      | ipv6        | ct_tuple6.dst            | ipv6   |   | original direction: IPv6 destination (reserved)
ct_tp_src     | ct_tp_src        | decimal     | ct_tuple4.tp_src ct_tuple6.tp_src | |   | original direction: source port (reserved)
ct_tp_dst     | ct_tp_dst        | decimal     | ct_tuple4.tp_dst ct_tuple6.tp_dst | |   | original direction: destination port (reserved)
"""


def _fields() -> dict[str, Field]:
    fields: dict[str, Field] = {}
    for row in _TABLE.strip().splitlines():
        name, place, kind, texts, needs, settable, doc = (column.strip() for column in row.split("|"))
        slot_name, _, bit_range = place.rstrip("]").partition("[")
        slot = SLOTS[slot_name]
        low, high = (int(bit) for bit in bit_range.split(":")) if bit_range else (0, slot.size * 8 - 1)
        groups = tuple((group, member) for group, _, member in (text.partition(".") for text in texts.split()))
        fields[name] = Field(name, slot, low, high - low + 1, KINDS[kind], groups, _NEEDS[needs], settable == "s", doc)
    return fields


FIELDS: dict[str, Field] = _fields()

EITHER = {"ip_src": ("ipv4_src", "ipv6_src"), "ip_dst": ("ipv4_dst", "ipv6_dst")}
"""Names for the field of IPv4 or that of IPv6, whichever a packet has."""


def field(name: str) -> Field:
    """The field called `name`. ConfigError names what is unknown."""
    try:
        return FIELDS[name]
    except KeyError:
        raise ConfigError(f"no field is called {name!r} (docs/fields.md lists them)") from None
