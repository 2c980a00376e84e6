"""What holds for every frame, hostile ones included, and that scapy reads valid ones alike."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, UDP, IPOption_NOP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop, IPv6ExtHdrRouting
from scapy.layers.l2 import Dot1AD, Dot1Q, Ether
from scapy.layers.sctp import SCTP
from scapy.packet import Packet

from vswitch.base.limits import PARSE_BYTES
from vswitch.fields import FIELDS, KEY_BYTES, SLOTS, Field
from vswitch.packet.parse import headers, parse

METADATA_GROUPS = ("tunnel", "ct_tuple4", "ct_tuple6")
METADATA = {"in_port", "recirc_id", "skb_mark", "skb_priority", "dp_hash", "ct_state", "ct_zone", "ct_mark", "ct_label"}
FRAME_FIELDS = [
    view
    for view in FIELDS.values()
    if view.name not in METADATA and not any(group in METADATA_GROUPS for group, _ in view.texts)
]


def has(view: Field, key: int) -> bool:
    """Whether the prerequisites of a field are met, and theirs."""
    return all(FIELDS[n].take(key) in allowed and has(FIELDS[n], key) for n, allowed in view.prerequisites)


def take(key: int, name: str) -> int:
    return FIELDS[name].take(key)


# --- frames: pieces that make a parser go far, in an order that need not make sense, with some bytes changed

byte = st.integers(0, 255)
port = st.integers(0, 0xFFFF)
ETH_TYPES = (0x0800, 0x86DD, 0x0806, 0x8847, 0x8100, 0x88A8, 60)
PROTOCOLS = (0, 43, 44, 51, 60, 1, 6, 17, 58, 132)


def sized(start: bytes, size: int) -> st.SearchStrategy[bytes]:
    """`start`, and random bytes up to `size`."""
    return st.binary(min_size=size - len(start), max_size=size - len(start)).map(start.__add__)


@st.composite
def ipv4_headers(draw: st.DrawFn) -> bytes:
    fragment = draw(st.sampled_from((0, 0, 0, 0x2000, 0x4000, 0x0001, 0x3FFF))).to_bytes(2, "big")
    start = bytes((draw(st.sampled_from((0x45, 0x46, 0x4F, 0x44, 0x55))), draw(byte))) + bytes(4) + fragment
    return start + bytes((draw(byte), draw(st.sampled_from(PROTOCOLS)))) + draw(st.binary(min_size=10, max_size=10))


@st.composite
def ipv6_headers(draw: st.DrawFn) -> bytes:
    start = bytes((draw(st.sampled_from((0x60, 0x6F, 0x45))),)) + draw(st.binary(min_size=5, max_size=5))
    return start + bytes((draw(st.sampled_from(PROTOCOLS)), draw(byte))) + draw(st.binary(min_size=32, max_size=32))


@st.composite
def extension_headers(draw: st.DrawFn) -> bytes:
    length = draw(st.sampled_from((0, 0, 0, 1, 2, 255)))
    word = draw(st.sampled_from((0, 1, 6, 8, 9, 0xFFF8))).to_bytes(2, "big")
    padding = bytes(8 * length if length < 3 else 0)
    return bytes((draw(st.sampled_from(PROTOCOLS)), length)) + word + bytes(4) + padding


nd_options = st.tuples(st.sampled_from((1, 2, 5)), st.sampled_from((0, 1, 1, 2))).flatmap(
    lambda head: sized(bytes(head), 8 * max(1, head[1]))
)
nd_messages = st.tuples(st.sampled_from((135, 136)), st.sampled_from((0, 0, 1))).flatmap(lambda h: sized(bytes(h), 24))
network_pieces = st.one_of(
    ipv4_headers(),
    ipv6_headers(),
    sized(bytes.fromhex("000108000604"), 28),
    extension_headers(),
    nd_messages,
    nd_options,
    st.binary(max_size=24),
)
link_pieces = st.one_of(
    st.tuples(st.binary(min_size=2, max_size=2), st.sampled_from(ETH_TYPES)).map(
        lambda t: t[0] + t[1].to_bytes(2, "big")
    ),
    st.sampled_from(ETH_TYPES).map(lambda eth_type: bytes.fromhex("aaaa03000000") + eth_type.to_bytes(2, "big")),
)


@st.composite
def sensible_starts(draw: st.DrawFn) -> bytes:
    """What a parser expects: addresses, tags, and the header that the type announces."""
    start = draw(st.binary(min_size=12, max_size=12))
    for _ in range(draw(st.integers(0, 3))):
        start += draw(st.sampled_from((b"\x81\x00", b"\x88\xa8"))) + draw(st.binary(min_size=2, max_size=2))
    kind = draw(st.integers(0, 3))
    if kind == 0:
        return start + b"\x08\x00" + draw(ipv4_headers())
    if kind == 1:
        extensions = b"".join(draw(st.lists(extension_headers(), max_size=10)))
        return start + b"\x86\xdd" + draw(ipv6_headers()) + extensions
    if kind == 2:
        options = b"".join(draw(st.lists(nd_options, max_size=6)))
        return start + b"\x86\xdd\x60\0\0\0\0\0\x3a" + bytes(33) + draw(nd_messages) + options
    return (
        start + draw(st.sampled_from(ETH_TYPES)).to_bytes(2, "big") + b"".join(draw(st.lists(link_pieces, max_size=3)))
    )


@st.composite
def frames(draw: st.DrawFn) -> bytes:
    """Frames of all kinds, whole, cut and broken."""
    frame = bytearray(draw(sensible_starts()) + b"".join(draw(st.lists(network_pieces, max_size=6))))
    for _ in range(draw(st.integers(0, 2))):
        frame[draw(st.integers(0, len(frame) - 1))] = draw(byte)
    return bytes(frame[: draw(st.sampled_from((len(frame), draw(st.integers(0, len(frame))))))])


any_frame = frames() | st.binary(max_size=400)


@given(any_frame)
def test_every_bit_of_the_key_belongs_to_a_field_that_the_packet_has(frame: bytes) -> None:
    key = parse(frame)
    allowed = 0
    for view in FRAME_FIELDS:
        if has(view, key):
            allowed |= view.mask
    assert key & ~allowed == 0


@given(any_frame, st.integers(0, (1 << 8 * KEY_BYTES) - 1))
def test_metadata_is_or_ed_on(frame: bytes, metadata: int) -> None:
    assert parse(frame, metadata) == parse(frame) | metadata


@given(any_frame, st.binary(max_size=64), st.binary(max_size=64))
def test_bytes_out_of_view_do_not_matter(frame: bytes, one: bytes, other: bytes) -> None:
    end = (headers(frame).payload or 0) + PARSE_BYTES
    seen = frame[:end] + bytes(max(0, end - len(frame)))
    assert parse(seen + one) == parse(seen + other) == parse(seen)
    assert headers(seen + one) == headers(seen)


EXPLAINED = {
    "eth_type": {0x8100, 0x88A8, 0x05FF},  # a tag or a SNAP header that is cut
    "ip_proto": {0, 43, 44, 51, 60},  # an extension header that is cut
    "ip_frag": {0, 1},  # a first fragment header is there, a second one is cut
}


@given(any_frame, st.data())
def test_a_truncated_frame_has_no_field_that_the_whole_has_not(frame: bytes, data: st.DataObject) -> None:
    whole = parse(frame)
    key = parse(frame[: data.draw(st.integers(0, len(frame)))])
    for name, slot in SLOTS.items():
        assert slot.take(key) in {0, slot.take(whole)} | EXPLAINED.get(name, set()), name


@given(any_frame)
def test_headers_lie_where_the_fields_were_read(frame: bytes) -> None:
    key, found = parse(frame), headers(frame)
    assert found.tags == take(key, "vlan_present") + take(key, "cvlan_present")
    assert (found.payload is None) == (len(frame) < 14)
    if found.payload is not None and take(key, "eth_type") != 0x05FF:
        assert frame[found.payload - 2 : found.payload] == take(key, "eth_type").to_bytes(2, "big")
    if found.l3 is not None:
        assert found.l3 == found.payload
        at, size = {0x0800: (12, 4), 0x0806: (14, 4), 0x8847: (0, 4), 0x8848: (0, 4), 0x86DD: (8, 16)}[
            take(key, "eth_type")
        ]
        slot = SLOTS["ipv6_src" if size == 16 else "ipv4_src"]
        assert frame[found.l3 + at : found.l3 + at + size] == slot.take(key).to_bytes(size, "big")
    if found.l4 is not None:
        assert take(key, "ip_frag") != 2
        source, destination = take(key, "tcp_src"), take(key, "tcp_dst")
        icmp = take(key, "ip_proto") in (1, 58)
        expected = bytes((source, destination)) if icmp else source.to_bytes(2, "big") + destination.to_bytes(2, "big")
        assert frame[found.l4 :].startswith(expected)
    else:
        assert SLOTS["tp_src"].take(key) == SLOTS["tp_dst"].take(key) == SLOTS["tcp_flags"].take(key) == 0
    if found.link_address is not None:
        address = SLOTS["l2_source" if take(key, "icmpv6_type") == 135 else "l2_target"].take(key)
        assert frame[found.link_address : found.link_address + 6] == address.to_bytes(6, "big")


# --- valid packets, as scapy makes them

mac = st.binary(min_size=6, max_size=6).map(lambda b: b.hex(":"))
tags = st.lists(
    st.builds(
        lambda kind, vid, pcp, dei: kind(vlan=vid, prio=pcp, dei=dei),
        st.sampled_from((Dot1Q, Dot1AD)),
        st.integers(0, 4095),
        st.integers(0, 7),
        st.integers(0, 1),
    ),
    max_size=2,
)
ipv4_packets = st.builds(
    lambda src, dst, tos, ttl, flags, nops: IP(
        src=str(src), dst=str(dst), tos=tos, ttl=ttl, flags=flags, options=[IPOption_NOP()] * nops
    ),
    st.integers(0, 0xFFFFFFFF).map(IPv4Address),
    st.integers(0, 0xFFFFFFFF).map(IPv4Address),
    byte,
    byte,
    st.integers(0, 7),
    st.integers(0, 40),
)
ipv6_packets = st.builds(
    lambda src, dst, tc, fl, hlim: IPv6(src=str(src), dst=str(dst), tc=tc, fl=fl, hlim=hlim),
    st.integers(0, (1 << 128) - 1).map(IPv6Address),
    st.integers(0, (1 << 128) - 1).map(IPv6Address),
    byte,
    st.integers(0, 0xFFFFF),
    byte,
)
extensions = st.lists(
    st.one_of(
        st.builds(IPv6ExtHdrHopByHop),
        st.builds(IPv6ExtHdrDestOpt),
        st.builds(lambda n: IPv6ExtHdrRouting(addresses=["2001:db8::1"] * n), st.integers(0, 3)),
    ),
    max_size=3,
)
transports = st.one_of(
    st.builds(
        lambda s, d, flags, reserved: TCP(sport=s, dport=d, flags=flags, reserved=reserved),
        port,
        port,
        st.integers(0, 0x1FF),
        st.integers(0, 7),
    ),
    st.builds(lambda s, d: UDP(sport=s, dport=d), port, port),
    st.builds(lambda s, d: SCTP(sport=s, dport=d), port, port),
)
NUMBERS = {TCP: 6, UDP: 17, SCTP: 132}


def chained(layers: list[Packet]) -> Packet:
    packet = layers[0]
    for layer in layers[1:]:
        packet /= layer
    return packet


def check_link(key: int, dst: str, src: str, packet: Packet, tagged: list[Packet]) -> None:
    assert FIELDS["eth_dst"].format(take(key, "eth_dst")) == dst
    assert FIELDS["eth_src"].format(take(key, "eth_src")) == src
    assert take(key, "eth_type") == (0x86DD if IPv6 in packet else 0x0800)
    for prefix, tag in zip(("vlan", "cvlan"), [*tagged, None, None][:2], strict=True):
        read = [take(key, f"{prefix}_{name}") for name in ("present", "vid", "pcp", "tpid")]
        protocol = 0x88A8 if isinstance(tag, Dot1AD) else 0x8100
        assert read == ([1, tag.vlan, tag.prio, protocol] if tag else [0, 0, 0, 0])


def check_transport(key: int, transport: Packet) -> None:
    assert take(key, "ip_proto") == NUMBERS[type(transport)]
    assert (take(key, "tcp_src"), take(key, "tcp_dst")) == (transport.sport, transport.dport)
    flags = transport.reserved << 9 | int(transport.flags) if isinstance(transport, TCP) else 0
    assert take(key, "tcp_flags") == flags


@given(mac, mac, tags, ipv4_packets, transports)
def test_scapy_agrees_on_ipv4(dst: str, src: str, tagged: list[Packet], ip: Packet, transport: Packet) -> None:
    packet = chained([Ether(dst=dst, src=src), *tagged, ip, transport])
    key = parse(bytes(packet))
    check_link(key, dst, src, packet, tagged)
    assert str(IPv4Address(take(key, "ipv4_src"))) == ip.src
    assert str(IPv4Address(take(key, "ipv4_dst"))) == ip.dst
    assert (take(key, "ip_tos"), take(key, "ip_ttl")) == (ip.tos, ip.ttl)
    assert take(key, "ip_frag") == int(ip.flags.MF)
    check_transport(key, transport)


@given(mac, mac, tags, ipv6_packets, extensions, st.booleans(), transports)
def test_scapy_agrees_on_ipv6(
    dst: str,
    src: str,
    tagged: list[Packet],
    ip: Packet,
    passed: list[Packet],
    fragmented: bool,
    transport: Packet,
) -> None:
    if fragmented:
        passed = [*passed, IPv6ExtHdrFragment(m=1)]
    packet = chained([Ether(dst=dst, src=src), *tagged, ip, *passed, transport])
    key = parse(bytes(packet))
    check_link(key, dst, src, packet, tagged)
    assert IPv6Address(take(key, "ipv6_src")) == IPv6Address(ip.src)
    assert IPv6Address(take(key, "ipv6_dst")) == IPv6Address(ip.dst)
    assert (take(key, "ip_tos"), take(key, "ipv6_label"), take(key, "ip_ttl")) == (ip.tc, ip.fl, ip.hlim)
    assert take(key, "ip_frag") == fragmented
    check_transport(key, transport)
