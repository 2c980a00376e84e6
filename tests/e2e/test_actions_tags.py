"""VLAN tags and MPLS entries pushed and popped, on frames that have none, one or more of them; what comes out is
compared with the same done to the bytes by hand."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import pytest
from pyroute2 import IPRoute
from scapy.contrib.mpls import MPLS
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, LLC, STP, Dot1AD, Dot1Q, Dot3, Ether
from scapy.packet import Raw

from tests.lab import Host, Lab
from tests.rig import ARRIVED, Rig
from vswitch import (
    Datapath,
    Match,
    Output,
    PopMpls,
    PopVlan,
    PushMpls,
    PushVlan,
    Recirculate,
    SetField,
)
from vswitch.model.actions import Action
from vswitch.packet.parse import headers

MACS = {"dst": "02:00:00:00:00:02", "src": "02:00:00:00:00:01"}
PACKET = IP(src="10.0.0.1", dst="10.0.0.2") / TCP(sport=1, dport=2) / Raw(bytes(30))
PACKET6 = IPv6(src="2001:db8::1", dst="2001:db8::2") / UDP(sport=1, dport=2) / Raw(bytes(30))


def ether(**more: Any) -> Any:
    return Ether(**MACS, **more)


FRAMES = {
    "IPv4": ether() / PACKET,
    "IPv6": ether() / PACKET6,
    "ARP": ether() / ARP(),
    "short": ether(type=0x88B5),
    "VLAN": ether() / Dot1Q(vlan=5, prio=3) / PACKET,
    "VLAN with the DEI bit": ether() / Dot1Q(vlan=5, prio=3, dei=1) / PACKET6,
    "service VLAN": ether() / Dot1AD(vlan=6) / PACKET6,
    "QinQ": ether() / Dot1AD(vlan=100, prio=1) / Dot1Q(vlan=7, prio=2) / PACKET6,
    "three tags": ether() / Dot1AD(vlan=100) / Dot1Q(vlan=7) / Dot1Q(vlan=8) / PACKET,
    "MPLS": ether() / MPLS(label=16, s=0, ttl=9) / MPLS(label=17, s=1, ttl=8) / PACKET,
    "one MPLS entry and nothing else": ether(type=0x8847) / MPLS(label=16, s=1),
    "MPLS behind a tag": ether() / Dot1Q(vlan=5) / MPLS(label=16, s=1, ttl=9) / PACKET6,
    "MPLS behind two tags": ether() / Dot1AD(vlan=9) / Dot1Q(vlan=5) / MPLS(label=16, s=1, ttl=9) / PACKET6,
    "MPLS, multicast": ether(type=0x8848) / MPLS(label=16, s=1, ttl=9) / PACKET6,
}
LINK = {"802.3": Dot3(**MACS) / LLC() / STP(), **FRAMES}  # has no Ethernet type to be replaced


def tagged(frame: bytes, vid: int, pcp: int = 0, tpid: int = 0x8100) -> bytes:
    return frame[:12] + struct.pack("!HH", tpid, pcp << 13 | vid) + frame[12:]


def untagged(frame: bytes) -> bytes:
    return frame[:12] + frame[16:] if frame[12:14] in (b"\x81\x00", b"\x88\xa8") else frame


def labelled(frame: bytes, entry: int, ethertype: int = 0x8847) -> bytes:
    at = 12 + 4 * headers(frame).tags
    return frame[:at] + struct.pack("!HI", ethertype, entry) + frame[at + 2 :]


def unlabelled(frame: bytes, ethertype: int) -> bytes:
    at = 12 + 4 * headers(frame).tags
    if frame[at : at + 2] not in (b"\x88\x47", b"\x88\x48") or len(frame) < at + 6:
        return frame
    return frame[:at] + struct.pack("!H", ethertype) + frame[at + 6 :]


def check(rig: Rig, actions: list[Action], expected: dict[str, bytes], frames: dict[str, Any]) -> None:
    came = rig.through([bytes(frame) for frame in frames.values()], [*actions, Output(2)])
    assert dict(zip(frames, (frame.hex() for frame in came), strict=True)) == {
        name: frame.hex() for name, frame in expected.items()
    }


VLANS: list[tuple[str, list[Action], Any]] = [
    ("push", [PushVlan(4093, 5)], lambda f: tagged(f, 4093, 5)),
    ("push of id 0", [PushVlan(0)], lambda f: tagged(f, 0)),
    ("push of a service tag", [PushVlan(100, 7, 0x88A8)], lambda f: tagged(f, 100, 7, 0x88A8)),
    ("push of two", [PushVlan(7, 1), PushVlan(100, 2, 0x88A8)], lambda f: tagged(tagged(f, 7, 1), 100, 2, 0x88A8)),
    ("pop", [PopVlan()], untagged),
    ("pop of two", [PopVlan(), PopVlan()], lambda f: untagged(untagged(f))),
    ("pop of more than there are", [PopVlan()] * 4, lambda f: untagged(untagged(untagged(f)))),
    ("push and pop", [PushVlan(1), PopVlan()], lambda f: f),
    ("push of three and pop", [PushVlan(1), PushVlan(2), PushVlan(3), PopVlan(), PopVlan(), PopVlan()], lambda f: f),
    ("swap", [PopVlan(), PushVlan(77, 0, 0x88A8)], lambda f: tagged(untagged(f), 77, 0, 0x88A8)),
    (
        "push and set",
        [PushVlan(0), SetField("vlan_vid", 0x123), SetField("vlan_pcp", 4, 4), SetField("eth_src", 5)],
        lambda f: tagged(f[:6] + b"\0\0\0\0\0\5" + f[12:], 0x123, 4),
    ),
]


@pytest.mark.parametrize(("actions", "expect"), [pytest.param(a, e, id=name) for name, a, e in VLANS])
def test_vlan(rig: Rig, actions: list[Action], expect: Any) -> None:
    check(rig, actions, {name: expect(bytes(frame)) for name, frame in LINK.items()}, LINK)


def entry(label: int, tc: int = 0, ttl: int = 64, bos: int = 1) -> int:
    return label << 12 | tc << 9 | bos << 8 | ttl


LABELS: list[tuple[str, list[Action], Any]] = [
    ("push", [PushMpls(1000, 5, 33, 1)], lambda f: labelled(f, entry(1000, 5, 33))),
    ("push for multicast", [PushMpls(1000, ethertype=0x8848)], lambda f: labelled(f, entry(1000), 0x8848)),
    (
        "push of two",
        [PushMpls(1000), PushMpls(0xFFFFF, 7, 255, 0)],
        lambda f: labelled(labelled(f, entry(1000)), entry(0xFFFFF, 7, 255, 0)),
    ),
    ("pop to IPv4", [PopMpls(0x0800)], lambda f: unlabelled(f, 0x0800)),
    ("pop to IPv6", [PopMpls(0x86DD)], lambda f: unlabelled(f, 0x86DD)),
    ("pop of two", [PopMpls(0x8847), PopMpls(0x0800)], lambda f: unlabelled(unlabelled(f, 0x8847), 0x0800)),
    ("push, set and pop", [PushMpls(7), SetField("mpls_label", 8), PopMpls(0x88B6)], lambda f: retyped(f, 0x88B6)),
    (
        "push, push a tag",
        [PushMpls(7), PushVlan(9)],
        lambda f: tagged(labelled(f, entry(7)), 9),
    ),
    ("push a tag, push", [PushVlan(9), PushMpls(7)], lambda f: labelled(tagged(f, 9), entry(7))),
    ("pop a tag, push, pop, push it again", [PopVlan(), PushMpls(7), PopMpls(0x0800), PushVlan(5)], None),
]


def retyped(frame: bytes, ethertype: int) -> bytes:
    at = 12 + 4 * headers(frame).tags
    return frame[:at] + struct.pack("!H", ethertype) + frame[at + 2 :]


@pytest.mark.parametrize(("actions", "expect"), [pytest.param(a, e, id=name) for name, a, e in LABELS])
def test_mpls(rig: Rig, actions: list[Action], expect: Any) -> None:
    expect = expect or (lambda f: tagged(retyped(untagged(f), 0x0800), 5))
    check(rig, actions, {name: expect(bytes(frame)) for name, frame in FRAMES.items()}, FRAMES)


def test_mpls_behind_802_3_headers_is_left_alone(rig: Rig) -> None:
    """There is no Ethernet type whose place the entry's could take."""
    frames = {"LLC": LINK["802.3"]}
    for action in (PushMpls(5), PopMpls(0x0800)):
        check(rig, [action], {name: bytes(frame) for name, frame in frames.items()}, frames)


def test_the_packet_is_looked_up_again_as_it_is_then(rig: Rig) -> None:
    """Tags and entries that were pushed are in the key, and so is what is behind those that were popped."""
    rig.dp.flows.add(ARRIVED, [PushVlan(5, 3, 0x88A8), PushMpls(77, 1, 9), Recirculate(1)])
    rig.dp.flows.add(
        Match(
            recirc_id=1, vlan_vid=5, vlan_pcp=3, vlan_tpid=0x88A8, eth_type=0x8847, mpls_label=77, mpls_tc=1, mpls_ttl=9
        ),
        [PopMpls(0x0800), PopVlan(), Recirculate(2)],
    )
    rig.dp.flows.add(Match(recirc_id=2, vlan_present=0, ipv4_dst="10.0.0.2", tcp_dst=2), Output(2))
    rig.host(1).send(bytes(FRAMES["IPv4"]))
    assert rig.frames(2, 1) == [bytes(FRAMES["IPv4"])]


# --- between two switches


@pytest.fixture
def two(lab: Lab) -> Iterator[tuple[Datapath, Datapath, Host, Host]]:
    """h1 - port 1 [one] port 2 - port 2 [other] port 1 - h2"""
    h1 = lab.host("h1", ip="10.0.0.1/24", ip6="fd00::1/64")
    h2 = lab.host("h2", ip="10.0.0.2/24", ip6="fd00::2/64")
    lab.introduce()
    with IPRoute() as route:
        route.link("add", ifname="left", kind="veth", mtu=9000, peer={"ifname": "right", "mtu": 9000})
        for name in ("left", "right"):
            route.link("set", index=route.link_lookup(ifname=name)[0], state="up")
    names = [lab.name.replace("vs-", prefix) for prefix in ("a", "b")]
    with (
        Datapath.create(names[0], ports=[h1.port, "left"], local=False) as one,
        Datapath.create(names[1], ports=[h2.port, "right"], local=False) as other,
    ):
        yield one, other, h1, h2


WRAPPINGS: list[tuple[str, list[Action], list[Action]]] = [
    ("one label", [PushMpls(77)], [PopMpls(0x0800)]),
    ("two labels", [PushMpls(77), PushMpls(78, bos=0)], [PopMpls(0x8847), PopMpls(0x0800)]),
    ("a tag", [PushVlan(77)], [PopVlan()]),
    ("two tags", [PushVlan(77), PushVlan(78, 0, 0x88A8)], [PopVlan(), PopVlan()]),
    ("a label behind a tag", [PushVlan(77), PushMpls(78)], [PopMpls(0x0800), PopVlan()]),
]


def ipv6_too(actions: list[Action]) -> list[Action]:
    return [PopMpls(0x86DD) if action == PopMpls(0x0800) else action for action in actions]


@pytest.mark.parametrize(("wrap", "unwrap"), [pytest.param(w, u, id=name) for name, w, u in WRAPPINGS])
def test_ping_and_tcp_wrapped_between_two_switches(two: Any, wrap: list[Action], unwrap: list[Action]) -> None:
    one, other, h1, h2 = two
    for dp in (one, other):
        dp.flows.add(Match(in_port=1, eth_type=0x0800), [*wrap, Output(2)])
        dp.flows.add(Match(in_port=2), [*unwrap, Output(1)])
    assert h1.ping(h2.ip, count=2).received == 2
    url = h2.serve_http(8000, "x" * 3_000_000)
    assert len(h1.curl(url)) == 3_000_000
    for dp in (one, other):
        dp.flows.flush()
        dp.flows.add(Match(in_port=1, eth_type=0x86DD), [*wrap, Output(2)])
        dp.flows.add(Match(in_port=2), [*ipv6_too(unwrap), Output(1)])
    assert h1.ping(h2.ip6, count=2).received == 2
    assert len(h1.curl(f"http://[{h2.ip6}]:8000/")) == 3_000_000
