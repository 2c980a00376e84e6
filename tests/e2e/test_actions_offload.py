"""Actions on packets that are not finished: checksums left to the network card, and GSO packets of up to 64 KB that
leave as many. First single packets, completed here and compared with scapy's; then connections through an address
translator."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from pyroute2 import IPRoute
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Packet, Raw

from tests.frames import left_to_the_card, rewritten, unfinished
from tests.lab import VNET_HEADER, VNET_NEEDS_CHECKSUM, Host, Lab
from tests.rig import Rig
from vswitch import Datapath, DecTtl, Match, Output, PopVlan, PushVlan, SetField
from vswitch.model.actions import Action
from vswitch.packet.checksum import internet_checksum
from vswitch.packet.segment import cut

MACS = {"dst": "02:00:00:00:00:02", "src": "02:00:00:00:00:01"}
ETHER = Ether(**MACS)
DATA = Raw(bytes(range(256)) * 8)

PACKETS: dict[str, Packet] = {
    "TCP": ETHER / IP(src="10.0.0.1", dst="10.0.0.2") / TCP(sport=1, dport=2) / DATA,
    "UDP": ETHER / IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=1, dport=2) / DATA,
    "TCP over IPv6": ETHER / IPv6(src="2001:db8::1", dst="2001:db8::2") / TCP(sport=1, dport=2) / DATA,
    "UDP over IPv6": ETHER / IPv6(src="2001:db8::1", dst="2001:db8::2") / UDP(sport=1, dport=2) / DATA,
    "TCP in a VLAN": ETHER / Dot1Q(vlan=5) / IP(src="10.0.0.1", dst="10.0.0.2") / TCP(sport=1, dport=2) / DATA,
    "UDP behind an extension header": ETHER / IPv6(dst="2001:db8::2") / IPv6ExtHdrDestOpt() / UDP() / DATA,
}

SETS: list[tuple[str, Any]] = [
    ("ipv4_src", "192.0.2.200"),
    ("ipv4_dst", "198.51.100.7"),
    ("ipv6_src", "2001:db8:1234::5"),
    ("ipv6_dst", "fd00:5678::9abc"),
    ("tcp_src", 40000),
    ("tcp_dst", 443),
    ("udp_src", 40001),
    ("udp_dst", 53),
    ("ip_tos", 0xB8),
    ("ip_ttl", 7),
    ("eth_dst", "02:00:00:00:00:99"),
    ("vlan_vid", 77),
]


def finished(frame: bytes, header: bytes) -> bytes:
    """With the checksum that the card would have put in."""
    flags, _, _, _, start, offset = VNET_HEADER.unpack(header)
    assert flags & VNET_NEEDS_CHECKSUM
    at = start + offset
    checksum = internet_checksum(frame[start:])
    return frame[:at] + (checksum or (0xFFFF if offset == 6 else 0)).to_bytes(2, "big") + frame[at + 2 :]


@pytest.mark.parametrize("name", list(PACKETS))
def test_set_on_partial_checksums(rig: Rig, name: str) -> None:
    packet = PACKETS[name]
    frame, header = unfinished(packet, 0)
    for field, value in SETS:
        action = SetField(field, value)
        rig.through([frame], [action, Output(2)], vnet=header)
        came = rig.captured(2, 1)
        expected = rewritten(packet, field, action.value, action.mask)
        assert [finished(*each).hex() for each in zip(came, came.headers, strict=True)] == [bytes(expected).hex()], (
            field
        )


@pytest.mark.parametrize("name", [name for name in PACKETS if "TCP" in name])
def test_set_on_gso_packets(rig: Rig, name: str) -> None:
    packet = PACKETS[name]
    frame, header = unfinished(packet, 500)
    for field, value in SETS:
        action = SetField(field, value)
        rig.through([frame], [action, Output(2)], vnet=header)
        came = rig.captured(2, 1)
        expected = rewritten(packet, field, action.value, action.mask)
        assert [finished(*each).hex() for each in zip(came, came.headers, strict=True)] == [bytes(expected).hex()], (
            field
        )
        assert [left_to_the_card(each) for each in came.headers] == [left_to_the_card(header)]


def test_many_actions_on_one_gso_packet(rig: Rig) -> None:
    packet = PACKETS["TCP"]
    frame, header = unfinished(packet, 500)
    sets: list[tuple[str, Any]] = [("ipv4_src", "192.0.2.1"), ("ipv4_dst", "192.0.2.9"), ("tcp_src", 5), ("tcp_dst", 6)]
    expected = packet
    for field, value in sets:
        action = SetField(field, value)
        expected = rewritten(expected, field, action.value, action.mask)
    lowered = rewritten(expected, "ip_ttl", 63, 0xFF)
    actions: list[Action] = [*(SetField(field, value) for field, value in sets), Output(3)]
    rig.through([frame], [*actions, PushVlan(9), PushVlan(8), DecTtl(), PopVlan(), PopVlan(), Output(2)], vnet=header)
    for port, packet in ((2, lowered), (3, expected)):
        came = rig.captured(port, 1)
        assert [finished(*each) for each in zip(came, came.headers, strict=True)] == [bytes(packet)]
        assert [left_to_the_card(each) for each in came.headers] == [left_to_the_card(header)]


# --- what a host does that has no such card


@pytest.mark.parametrize("segment", [0, 500])
def test_segments_are_those_of_the_kernel(name: str, lab: Lab, segment: int) -> None:
    h1, h2 = lab.host("h1", mtu=9000, offload=False), lab.host("h2", mtu=9000)
    with Datapath.create(name, ports=[h1.port, h2.port], local=False) as dp:
        dp.flows.add(Match(in_port=1), Output(2))
        for each, packet in PACKETS.items():
            if segment and TCP not in packet:
                continue
            frame, header = unfinished(packet, segment)
            with h2.capturing() as came:
                h1.send(frame, header)
                came.wait_for(1)
            assert (each, list(came)) == (each, cut(frame, header))


# --- connections through a translator

VIRTUAL, VIRTUAL6 = "10.0.0.99", "fd00::99"
CONTENT = "".join(hashlib.sha256(str(number).encode()).hexdigest() for number in range(100_000))  # 6.4 MB


class Translator(NamedTuple):
    """h1 knows h2 only by a virtual address and another port, and both only by MAC addresses of nobody."""

    dp: Datapath
    h1: Host
    h2: Host


@pytest.fixture(params=["offload", "without"])
def translator(lab: Lab, request: pytest.FixtureRequest) -> Iterator[Translator]:
    offload = request.param == "offload"
    h1 = lab.host("h1", ip="10.0.0.1/24", ip6="fd00::1/64", offload=offload)
    h2 = lab.host("h2", ip="10.0.0.2/24", ip6="fd00::2/64", offload=offload)
    lab.introduce()
    with h1.inside(), IPRoute() as route:
        for address in (VIRTUAL, VIRTUAL6):
            device = route.link_lookup(ifname=h1.device)[0]
            route.neigh("replace", dst=address, lladdr="02:00:00:00:99:99", ifindex=device, state="permanent")
    with Datapath.create(lab.name.replace("vs-", "n"), ports=[h1.port, h2.port], local=False) as dp:
        yield Translator(dp, h1, h2)


def translate(translator: Translator, proto: str) -> None:
    """Rules of a destination translation, there and back, for both families."""
    dp, h2 = translator.dp, translator.h2
    for virtual, real, version in ((VIRTUAL, h2.ip, "ipv4"), (VIRTUAL6, h2.ip6, "ipv6")):
        there: dict[str, Any] = {"in_port": 1, f"{version}_dst": virtual, f"{proto}_dst": 8080}
        back: dict[str, Any] = {"in_port": 2, f"{version}_src": real, f"{proto}_src": 5555}
        dp.flows.add(
            Match(**there),
            [
                SetField("eth_dst", h2.mac),
                SetField(f"{version}_dst", real),
                SetField(f"{proto}_dst", 5555),
                DecTtl(),
                Output(2),
            ],
        )
        dp.flows.add(
            Match(**back),
            [SetField(f"{version}_src", virtual), SetField(f"{proto}_src", 8080), SetField("ip_dscp", 10), Output(1)],
        )


def test_a_large_download_through_the_translator_is_intact(translator: Translator, request: Any) -> None:
    translate(translator, "tcp")
    dp, h1, h2 = translator
    h2.serve_http(5555, CONTENT)
    for address in (VIRTUAL, f"[{VIRTUAL6}]"):
        assert h1.curl(f"http://{address}:8080/", timeout_s=20) == CONTENT
    if "offload" in request.node.callspec.id:
        packets = sum(flow.stats.packets for flow in dp.flows if Match(in_port=2).covers(flow.match))
        assert packets < 2 * len(CONTENT) / 1448 / 2, "GSO packets did not stay whole"


def test_streams_both_ways_through_the_translator(translator: Translator) -> None:
    translate(translator, "tcp")
    _, h1, h2 = translator
    h2.iperf3_server(5555)
    for reverse in (False, True):
        for address in (VIRTUAL, VIRTUAL6):
            assert h1.iperf3(address, seconds=1, port=8080, reverse=reverse) > 0.05


def test_datagrams_through_the_translator(translator: Translator) -> None:
    """Of all sizes; the kernel of the other host drops those with a wrong checksum."""
    translate(translator, "udp")
    _, h1, h2 = translator
    for family, address in ((socket.AF_INET, VIRTUAL), (socket.AF_INET6, VIRTUAL6)):
        with h2.inside():
            server = socket.socket(family, socket.SOCK_DGRAM)
            server.bind(("", 5555))
        with h1.inside():
            client = socket.socket(family, socket.SOCK_DGRAM)
            client.connect((address, 8080))
        with server, client:
            server.settimeout(2)
            client.settimeout(2)
            for size in (0, 1, 2, 100, 1400):
                question, answer = bytes([size % 256]) * size, bytes([7]) * size
                client.send(question)
                data, sender = server.recvfrom(2000)
                assert data == question
                server.sendto(answer, sender)
                assert client.recv(2000) == answer
