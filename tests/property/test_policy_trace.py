"""What a policy reads decides its megaflow: whatever the megaflow takes would have got the same answer, and
megaflows of the same policy never overlap."""

from __future__ import annotations

import ipaddress
import operator
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.policy import with_ports
from vswitch.fields import FIELDS, KEY_BYTES, SLOTS
from vswitch.model.match import Key, Match
from vswitch.policy.packet import Packet
from vswitch.policy.trace import Trace

NAMES = (
    "in_port", "eth_type", "eth_dst", "vlan_vid", "ip_proto", "ip_dscp", "ip_tos", "ipv4_src", "ipv4_dst", "ipv6_dst",
    "arp_spa", "tcp_dst", "tcp_flags", "udp_dst", "icmpv6_type", "nd_target", "mpls_label",
)  # fmt: skip
"""Among them those that lie in the same bits, and those that need two headers."""

ORDER: dict[str, Callable[[int, int], bool]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


@st.composite
def numbers(draw: st.DrawFn, bits: int) -> int:
    """Numbers that are often alike in their upper bits."""
    number = draw(st.sampled_from((0, 80, 1 << bits - 1, (1 << bits) - 1, 0x0A000001)))
    for _ in range(draw(st.integers(0, 2))):
        number ^= 1 << draw(st.integers(0, bits - 1))
    return number & (1 << bits) - 1


@st.composite
def keys(draw: st.DrawFn) -> Key:
    """Packets as they are: with the headers that their types say."""
    value = 0
    types = {"eth_type": (0x0800, 0x86DD, 0x0806, 0x8847, 0x88CC), "ip_proto": (1, 6, 17, 58, 132, 253)}
    types |= {"icmpv6_type": (128, 135, 136), "vlan_present": (0, 1)}
    for field in FIELDS.values():
        if field.slot.name.startswith(("tun", "ct_")) or not Key(value).has(field.name):
            continue
        number = draw(st.sampled_from(types[field.name]) if field.name in types else numbers(field.bits))
        value = value & ~field.mask | field.place(number)
    return Key(value)


@dataclass(frozen=True)
class Question:
    """`ask` a packet, or find the `answer` in the value of the field."""

    name: str
    text: str
    ask: Callable[[Packet], bool]
    answer: Callable[[int], bool]

    def plain(self, key: Key) -> bool:
        """The answer that is right: absent fields have none of these properties but to differ."""
        if not key.has(self.name):
            return self.text.startswith(f"{self.name} !=")
        return self.answer(getattr(key, self.name))


@st.composite
def questions(draw: st.DrawFn) -> Question:
    name = draw(st.sampled_from(NAMES))
    bits = FIELDS[name].bits
    number = draw(numbers(bits))
    kind = draw(st.sampled_from((*ORDER, "&", "&==", "in", "set", "prefix", "between", "%", "int", ">>")))
    text = f"{name} {kind} {number:#x}"
    if kind in ORDER:
        compare = ORDER[kind]
        return Question(name, text, lambda packet: compare(getattr(packet, name), number), lambda v: compare(v, number))
    if kind == "&":
        return Question(name, text, lambda packet: bool(getattr(packet, name) & number), lambda v: bool(v & number))
    if kind == "&==":
        mask = draw(numbers(bits))
        return Question(name, text, lambda packet: getattr(packet, name) & mask == number, lambda v: v & mask == number)
    if kind in ("in", "set"):
        several = [number, *draw(st.lists(numbers(bits), max_size=3))]
        container = set(several) if kind == "set" else tuple(several)
        return Question(name, text, lambda packet: getattr(packet, name) in container, lambda v: v in several)
    if kind == "prefix":
        length = draw(st.integers(0, bits))
        mask = ~0 << length & (1 << bits) - 1
        if FIELDS[name].kind.prefix_masks:
            address = ipaddress.IPv4Address if bits == 32 else ipaddress.IPv6Address
            network = ipaddress.ip_network((address(number & mask), bits - length))
            if draw(st.booleans()):
                return Question(name, text, lambda p: getattr(p, name) in network, lambda v: v & mask == number & mask)
            return Question(name, text, lambda p: getattr(p, name).within(network), lambda v: v & mask == number & mask)
        return Question(
            name, text, lambda p: getattr(p, name) & mask == number & mask, lambda v: v & mask == number & mask
        )
    if kind == "between":
        last = draw(numbers(bits))
        return Question(
            name, text, lambda packet: getattr(packet, name).between(number, last), lambda v: number <= v <= last
        )
    if kind == "%":
        divisor = draw(st.sampled_from((2, 3, 4, 16)))
        return Question(
            name,
            text,
            lambda packet: getattr(packet, name).present and getattr(packet, name) % divisor == 1,
            lambda v: v % divisor == 1,
        )
    if kind == ">>":
        count = draw(st.integers(0, bits - 1))
        return Question(
            name,
            text,
            lambda packet: getattr(packet, name).present and getattr(packet, name) >> count == number >> count,
            lambda v: v >> count == number >> count,
        )
    return Question(
        name,
        text,
        lambda packet: getattr(packet, name).present and int(getattr(packet, name)) == number,
        lambda v: v == number,
    )


class Tree:
    """A policy: a tree of questions, whose leaves are the answers. A question may be asked twice."""

    def __init__(self, asked: list[Question]) -> None:
        self.asked = asked

    def run(self, key: Key) -> tuple[int, Match]:
        trace = Trace(key)
        packet = Packet(trace)
        node = 0
        while node < len(self.asked):
            node = 2 * node + 1 + self.asked[node].ask(packet)
        return node, trace.match

    def plain(self, key: Key) -> int:
        node = 0
        while node < len(self.asked):
            node = 2 * node + 1 + self.asked[node].plain(key)
        return node


trees = st.lists(questions(), min_size=1, max_size=7).map(Tree)


@given(trees, keys())
def test_answer_is_that_of_the_values(tree: Tree, key: Key) -> None:
    assert tree.run(key)[0] == tree.plain(key)


@given(trees, keys(), st.lists(st.integers(0, KEY_BYTES * 8 - 1), min_size=1, max_size=20), keys())
def test_whatever_was_not_read_changes_nothing(tree: Tree, key: Key, bits: list[int], other: Key) -> None:
    """One bit at a time, several of them, and all at once."""
    answer, match = tree.run(key)
    assert key in match
    flips = [1 << bit for bit in bits] + [sum(1 << bit for bit in set(bits)), other.value ^ key.value]
    for flip in flips:
        assert tree.run(Key(key.value ^ flip & ~match.mask)) == (answer, match)


@given(trees, st.lists(keys(), min_size=2, max_size=6))
def test_megaflows_of_one_policy_are_equal_or_disjoint(tree: Tree, packets: list[Key]) -> None:
    found = {tree.run(key)[1] for key in packets}
    for one in found:
        assert not [other for other in found if other != one and other.overlaps(one)]


TCP = Match(in_port=1, ipv4_src="192.168.0.1", ipv4_dst="10.1.2.3", tcp_src=1025, tcp_dst=443, tcp_flags="syn")

WIDEST: list[tuple[str, bool, Match]] = [
    ("packet.tcp_dst == 443", True, with_ports(tcp_dst=443)),
    ("packet.tcp_dst == 80", False, with_ports(tcp_dst=(0x0100, 0xFF00))),
    ("packet.tcp_dst != 80", True, with_ports(tcp_dst=(0x0100, 0xFF00))),
    ("packet.tcp_dst in (80, 8080)", False, with_ports(tcp_dst=(0x0100, 0xFF00))),
    ("packet.tcp_dst < 1024", True, with_ports(tcp_dst=(0, 0xFC00))),
    ("packet.tcp_src < 1024", False, with_ports(tcp_src=(0x0400, 0xFC00))),
    ("packet.tcp_src >= 1025", True, with_ports(tcp_src=1025)),
    ("packet.tcp_dst <= 65535", True, with_ports(ip_proto=6)),
    ("packet.tcp_flags & 2", True, with_ports(tcp_flags=(2, 2))),
    ("packet.tcp_flags & 4", False, with_ports(tcp_flags=(0, 4))),
    ("packet.tcp_flags == 'syn|ack'", False, with_ports(tcp_flags=(0, 0xFF0))),
    ("packet.udp_dst == 443", False, Match.from_ints(0, 0xF0 << 8 * SLOTS["ip_proto"].offset)),
    ("packet.arp_op == 1", False, Match(eth_type=(0x0800, 0xFFFC))),
    ("packet.vlan_vid == 7", False, Match(vlan_present=0)),
    ("packet.ip_dst in ip_network('10.0.0.0/8')", True, Match(ipv4_dst="10.0.0.0/8")),
    ("packet.ip_dst in ip_network('12.0.0.0/8')", False, Match(ipv4_dst="8.0.0.0/6")),
    ("packet.ip_dst in ip_network('fe80::/10')", False, Match(eth_type=0x0800)),
    ("packet.ip_dst.within('fd00::/8', '10.0.0.0/8')", True, Match(ipv4_dst="10.0.0.0/8")),
    ("packet.ipv4_dst == ip_address('10.1.2.3')", True, Match(ipv4_dst="10.1.2.3")),
    ("packet.ipv4_src % 4 == 1", True, Match(ipv4_src=(1, 3))),
    ("packet.has('tcp_dst')", True, with_ports(ip_proto=6)),
    ("packet.has('ip_dst')", True, Match(eth_type=0x0800)),
    ("packet.in_port == 1 and packet.in_port == 2", False, Match(in_port=1)),
    ("packet.in_port in {1, 2}", True, Match(in_port=1)),
    ("packet.in_port == packet.recirc_id", False, Match(in_port=1, recirc_id=0)),
]


@pytest.mark.parametrize(("policy", "answer", "match"), WIDEST, ids=[row[0] for row in WIDEST])
def test_megaflow_is_the_widest_that_is_certain(policy: str, answer: bool, match: Match) -> None:
    trace = Trace(Key(TCP.value))
    names = {"ip_network": ipaddress.ip_network, "ip_address": ipaddress.ip_address, "packet": Packet(trace)}
    assert bool(eval(policy, names)) is answer
    assert trace.match == match


@pytest.mark.parametrize(
    ("policy", "sentence"),
    [
        ("packet.ip_dst == ip_network('10.0.0.0/8')", r"packet\.ipv4_dst\.within\('10\.0\.0\.0/8'\)"),
        ("packet.tcp_dst == (80, 443)", "a packet has one value"),
        ("packet.eth_src == bytes(6)", "a packet has one value"),
        ("packet.tcp_dst == 443.0", "values are whole numbers"),
        ("packet.tcp_dst < 443.5", "values are whole numbers"),
        ("packet.tcp_dst < None", "does not compare with None"),
    ],
)
def test_what_no_value_is_equal_to_is_not_silently_false(policy: str, sentence: str) -> None:
    with pytest.raises(TypeError, match=sentence):
        eval(policy, {"ip_network": ipaddress.ip_network, "packet": Packet(Trace(Key(TCP.value)))})
