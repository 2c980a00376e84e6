"""What is built is read back as it was meant, and scapy finds every checksum and length right."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoReply, ICMPv6ND_NA, ICMPv6ND_NS, IPv6
from scapy.layers.l2 import Ether
from scapy.layers.sctp import crc32c as scapy_crc32c
from scapy.utils import checksum as scapy_checksum

from vswitch.fields import FIELDS
from vswitch.packet.build import (
    arp,
    echo,
    ethernet,
    icmp,
    icmpv6,
    ipv4,
    ipv6,
    neighbour_advertisement,
    neighbour_solicitation,
    tcp,
    udp,
    vlan,
)
from vswitch.packet.checksum import crc32c, internet_checksum
from vswitch.packet.parse import parse


def bits(count: int) -> st.SearchStrategy[int]:
    return st.integers(0, (1 << count) - 1)


def fields(*names: str) -> st.SearchStrategy[dict[str, int]]:
    """A value for each of these fields of a key."""
    return st.fixed_dictionaries({name: st.integers(0, FIELDS[name].max) for name in names})


payloads = st.binary(max_size=80)
link = fields("eth_dst", "eth_src")
ipv4_fields = fields("ipv4_src", "ipv4_dst", "ip_tos", "ip_ttl")
ipv6_fields = fields("ipv6_src", "ipv6_dst", "ip_tos", "ipv6_label", "ip_ttl")
Values = dict[str, int]


def ipv4_frame(eth: Values, ip: Values, protocol: int, payload: bytes) -> bytes:
    packet = ipv4(ip["ipv4_src"], ip["ipv4_dst"], protocol, payload, tos=ip["ip_tos"], ttl=ip["ip_ttl"])
    return ethernet(eth["eth_dst"], eth["eth_src"], 0x0800, packet)


def ipv6_frame(eth: Values, ip: Values, protocol: int, payload: bytes) -> bytes:
    packet = ipv6(
        ip["ipv6_src"],
        ip["ipv6_dst"],
        protocol,
        payload,
        traffic_class=ip["ip_tos"],
        label=ip["ipv6_label"],
        hop_limit=ip["ip_ttl"],
    )
    return ethernet(eth["eth_dst"], eth["eth_src"], 0x86DD, packet)


def key_of(**fields: int) -> int:
    key = 0
    for name, value in fields.items():
        key |= FIELDS[name].place(value)
    return key


def recomputed(frame: bytes, layers: tuple[type, ...]) -> bytes:
    """The frame as scapy makes it when it finds the lengths and checksums of `layers` itself."""
    packet = Ether(frame)
    for layer in layers:
        for name in ("chksum", "cksum", "len", "plen"):
            if name in packet[layer].fields:
                packet[layer].delfieldval(name)
    return bytes(packet)


@given(link, ipv4_fields, fields("tcp_src", "tcp_dst", "tcp_flags"), bits(32), bits(32), payloads)
def test_tcp_over_ipv4(eth: Values, ip: Values, l4: Values, seq: int, ack: int, payload: bytes) -> None:
    frame = ipv4_frame(eth, ip, 6, tcp(l4["tcp_src"], l4["tcp_dst"], seq, ack, l4["tcp_flags"], payload))
    assert parse(frame) == key_of(eth_type=0x0800, ip_proto=6, **eth, **ip, **l4)
    assert recomputed(frame, (IP, TCP)) == frame


@given(link, ipv4_fields, fields("udp_src", "udp_dst"), payloads)
def test_udp_over_ipv4_never_lacks_its_checksum(eth: Values, ip: Values, l4: Values, payload: bytes) -> None:
    frame = ipv4_frame(eth, ip, 17, udp(l4["udp_src"], l4["udp_dst"], payload))
    assert parse(frame) == key_of(eth_type=0x0800, ip_proto=17, **eth, **ip, **l4)
    assert frame[14 + 20 + 6 : 14 + 20 + 8] != b"\0\0"
    assert recomputed(frame, (IP, UDP)) == frame


@given(link, fields("vlan_vid", "vlan_pcp"), ipv6_fields, fields("udp_src", "udp_dst"), payloads)
def test_udp_over_ipv6_in_a_vlan(eth: Values, tag: Values, ip: Values, l4: Values, payload: bytes) -> None:
    plain = ipv6_frame(eth, ip, 17, udp(l4["udp_src"], l4["udp_dst"], payload))
    frame = vlan(plain, tag["vlan_vid"], tag["vlan_pcp"], 0x88A8)
    untagged = key_of(eth_type=0x86DD, ip_proto=17, **eth, **ip, **l4)
    assert parse(plain) == untagged
    assert parse(frame) == untagged | key_of(vlan_present=1, vlan_tpid=0x88A8, **tag)
    assert recomputed(plain, (IPv6, UDP)) == plain


@given(link, fields("arp_op", "arp_sha", "arp_spa", "arp_tha", "arp_tpa"))
def test_arp(eth: Values, message: Values) -> None:
    message_bytes = arp(**{name.removeprefix("arp_"): value for name, value in message.items()})
    frame = ethernet(eth["eth_dst"], eth["eth_src"], 0x0806, message_bytes)
    assert parse(frame) == key_of(eth_type=0x0806, **eth, **message)


@given(link, ipv4_fields, fields("icmpv4_type", "icmpv4_code"), bits(16), bits(16), payloads)
def test_icmp(eth: Values, ip: Values, l4: Values, identifier: int, sequence: int, payload: bytes) -> None:
    body = echo(identifier, sequence, payload)
    frame = ipv4_frame(eth, ip, 1, icmp(l4["icmpv4_type"], l4["icmpv4_code"], body))
    assert parse(frame) == key_of(eth_type=0x0800, ip_proto=1, **eth, **ip, **l4)
    assert scapy_checksum(frame[34:]) == 0
    reply = ipv4_frame(eth, ip, 1, icmp(0, 0, body))
    assert recomputed(reply, (IP, ICMP)) == reply


@given(link, ipv6_fields, bits(16), bits(16), payloads)
def test_icmpv6_echo(eth: Values, ip: Values, identifier: int, sequence: int, payload: bytes) -> None:
    frame = ipv6_frame(eth, ip, 58, icmpv6(129, 0, echo(identifier, sequence, payload)))
    assert parse(frame) == key_of(eth_type=0x86DD, ip_proto=58, icmpv6_type=129, **eth, **ip)
    assert recomputed(frame, (IPv6, ICMPv6EchoReply)) == frame


@given(link, ipv6_fields, fields("nd_target", "nd_sll"))
def test_a_neighbour_solicitation(eth: Values, ip: Values, asked: Values) -> None:
    frame = ipv6_frame(eth, ip, 58, neighbour_solicitation(asked["nd_target"], asked["nd_sll"]))
    assert parse(frame) == key_of(eth_type=0x86DD, ip_proto=58, icmpv6_type=135, **eth, **ip, **asked)
    assert recomputed(frame, (IPv6, ICMPv6ND_NS)) == frame


@given(link, ipv6_fields, fields("nd_target", "nd_tll"), st.booleans(), st.booleans(), st.booleans())
def test_a_neighbour_advertisement(
    eth: Values, ip: Values, told: Values, router: bool, solicited: bool, override: bool
) -> None:
    message = neighbour_advertisement(
        told["nd_target"], told["nd_tll"], router=router, solicited=solicited, override=override
    )
    frame = ipv6_frame(eth, ip, 58, message)
    assert parse(frame) == key_of(eth_type=0x86DD, ip_proto=58, icmpv6_type=136, **eth, **ip, **told)
    assert recomputed(frame, (IPv6, ICMPv6ND_NA)) == frame
    read = Ether(frame)[ICMPv6ND_NA]
    assert [read.getfieldval(flag) for flag in "RSO"] == [router, solicited, override]


@given(st.binary(max_size=200))
def test_the_internet_checksum_is_that_of_scapy(data: bytes) -> None:
    assert internet_checksum(data) == scapy_checksum(data)


@given(st.lists(st.sampled_from((b"\0\0", b"\xff\xff", b"\x80\0", b"\x7f\xff", b"\0\1", b"\xff\xfe")), max_size=12))
def test_the_internet_checksum_is_that_of_scapy_near_its_two_zeroes(words: list[bytes]) -> None:
    data = b"".join(words)
    assert internet_checksum(data) == scapy_checksum(data)


@given(st.binary(max_size=200))
def test_the_crc32c_is_that_of_scapy(data: bytes) -> None:
    in_packet = crc32c(data).to_bytes(4, "little")
    assert in_packet == scapy_crc32c(data).to_bytes(4, "big")
