"""Tunnels: a VXLAN device without addresses of its own ("external") is a port; actions say where each packet goes, and
the key says where each came from. At the other end is an ordinary VXLAN device of Linux."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pyroute2 import IPRoute
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.layers.vxlan import VXLAN
from scapy.packet import Packet, Raw

from tests.lab import Lab
from vswitch import Clone, Datapath, Match, Output, Recirculate, SetField, Userspace
from vswitch.model.actions import Action

NEAR, OTHER_NEAR, FAR, NEAR6, FAR6 = "10.1.0.1", "10.1.0.3", "10.1.0.2", "fd01::1", "fd01::2"
VNI, OTHER_VNI = 77, 0xABCDEF
PORT = 4789

ETHER = Ether(dst="02:00:00:00:00:02", src="02:00:00:00:00:01")
FRAME = bytes(ETHER / IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=1, dport=2) / Raw(b"inside"))


class Tunnel:
    """h1 - port 1 [dp] port 2, a tunnel over the link to `far`; port 3 - h3."""

    def __init__(self, lab: Lab, dp: Datapath) -> None:
        self.lab, self.dp = lab, dp
        self.h1, self.far, self.h3 = (lab.hosts[name] for name in ("h1", "far", "h3"))

    @contextmanager
    def far_device(self, vni: int, address: str, near: str = NEAR) -> Iterator[None]:
        """A VXLAN device at the far end, with an address in the network of h1."""
        six = ":" in near
        with self.far.inside(), IPRoute() as route:
            remote = {"vxlan_group6" if six else "vxlan_group": near}
            options: dict[str, Any] = {"vxlan_id": vni, "vxlan_port": PORT, **remote}
            options |= {"vxlan_udp_zero_csum6_tx": 1, "vxlan_udp_zero_csum6_rx": 1} if six else {"vxlan_udp_csum": 0}
            route.link("add", ifname=f"vx{vni}", kind="vxlan", mtu=1400, address="02:00:00:00:00:02", **options)
            index = route.link_lookup(ifname=f"vx{vni}")[0]
            route.addr("add", index=index, address=address, prefixlen=24)
            route.link("set", index=index, state="up")
        yield
        with self.far.inside(), IPRoute() as route:
            route.link("del", index=index)


def add_address(device: str, address: str) -> None:
    """An address for the device of the switch's namespace; IPv6 is off there by default."""
    Path(f"/proc/sys/net/ipv6/conf/{device}/disable_ipv6").write_text("0")
    Path(f"/proc/sys/net/ipv6/conf/{device}/accept_dad").write_text("0")
    with IPRoute() as route:
        index = route.link_lookup(ifname=device)[0]
        route.addr("add", index=index, address=address, prefixlen=64 if ":" in address else 24)


@pytest.fixture(scope="module")
def shared_tunnel() -> Iterator[Tunnel]:
    with Lab() as lab:
        h1 = lab.host("h1", ip="10.0.0.1/24", mtu=1400)
        far = lab.host("far", ip=f"{FAR}/24", ip6=f"{FAR6}/64")
        h3 = lab.host("h3")
        for address in (NEAR, OTHER_NEAR, NEAR6):
            add_address(far.port, address)
        with IPRoute() as route:
            options = {"vxlan_collect_metadata": True, "vxlan_port": PORT, "vxlan_learning": 0}
            route.link("add", ifname="tunnel", kind="vxlan", vxlan_udp_zero_csum6_rx=1, **options)
            route.link("set", index=route.link_lookup(ifname="tunnel")[0], state="up")
        with Datapath.create(lab.name.replace("vs-", "t"), ports=[h1.port, "tunnel", h3.port], local=False) as dp:
            dp.start_upcalls()
            yield Tunnel(lab, dp)


@pytest.fixture
def tunnel(shared_tunnel: Tunnel) -> Tunnel:
    """A datapath without megaflows."""
    shared_tunnel.dp.flows.flush()
    for _ in shared_tunnel.dp.start_upcalls().misses():
        pass
    return shared_tunnel


def to_far(**fields: Any) -> list[Action]:
    given = {"tun_id": VNI, "tun_dst": FAR, **fields}
    return [*(SetField(name, value) for name, value in given.items()), Output(2)]


def outer(frames: list[bytes]) -> list[Packet]:
    """The VXLAN packets among them."""
    return [packet for frame in frames if VXLAN in (packet := Ether(frame))]


def encapsulated(tunnel: Tunnel, actions: list[Action], count: int = 1) -> list[Packet]:
    """What arrives at the far end's card when a frame of h1 takes these actions."""
    tunnel.dp.flows.put(Match(in_port=1, recirc_id=0), actions)
    with tunnel.far.capturing(lambda frame: VXLAN in Ether(frame)) as frames:
        tunnel.h1.send(FRAME)
        frames.wait_for(count)
    return outer(frames)


# --- out


def test_ping_and_http_through_a_tunnel(tunnel: Tunnel) -> None:
    tunnel.dp.flows.add(Match(in_port=1), to_far())
    tunnel.dp.flows.add(Match(in_port=2, tun_id=VNI, tun_src=FAR, tun_dst=NEAR), Output(1))
    with tunnel.far_device(VNI, "10.0.0.2"):
        assert tunnel.h1.ping("10.0.0.2").received == 3
        content = "x" * 3_000_000
        tunnel.far.serve_http(8000, content)
        assert tunnel.h1.curl("http://10.0.0.2:8000/") == content


def test_ping_through_a_tunnel_over_ipv6(tunnel: Tunnel) -> None:
    fields = [SetField("tun_id", VNI), SetField("tun_ipv6_src", NEAR6), SetField("tun_ipv6_dst", FAR6)]
    tunnel.dp.flows.add(Match(in_port=1), [*fields, SetField("tun_flags", "csum|key"), Output(2)])
    tunnel.dp.flows.add(Match(in_port=2, tun_id=VNI, tun_ipv6_src=FAR6, tun_ipv6_dst=NEAR6), Output(1))
    with tunnel.far_device(VNI, "10.0.0.2", NEAR6):
        assert tunnel.h1.ping("10.0.0.2").received == 3


OUTER: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    ({"tun_id": 0}, {"vni": 0}),
    ({"tun_id": OTHER_VNI}, {"vni": OTHER_VNI}),
    ({"tun_src": NEAR}, {}),
    ({"tun_src": OTHER_NEAR}, {"src": OTHER_NEAR}),
    ({"tun_tos": 0xB8}, {"tos": 0xB8}),
    ({"tun_ttl": 9}, {"ttl": 9}),
    ({"tun_flags": "df|key"}, {"df": True}),
    ({"tun_flags": "csum|key"}, {"csum": True}),
    ({"tun_flags": ("df|csum", "df|csum")}, {"df": True, "csum": True}),
]


@pytest.mark.parametrize(("fields", "expected"), OUTER)
def test_the_outer_header_is_as_it_was_set(tunnel: Tunnel, fields: dict[str, Any], expected: dict[str, Any]) -> None:
    actions: list[Action] = [
        SetField(name, *value) if isinstance(value, tuple) else SetField(name, value)
        for name, value in {"tun_id": VNI, "tun_dst": FAR, **fields}.items()
    ]
    (packet,) = encapsulated(tunnel, [*actions, Output(2)])
    found = {
        "vni": packet[VXLAN].vni,
        "src": packet[IP].src,
        "dst": packet[IP].dst,
        "tos": packet[IP].tos,
        "ttl": packet[IP].ttl,
        "df": bool(packet[IP].flags.DF),
        "csum": packet[UDP].chksum != 0,
    }
    defaults = {"vni": VNI, "src": NEAR, "dst": FAR, "tos": 0, "ttl": 64, "df": False, "csum": False}
    assert found == defaults | expected
    assert bytes(packet[VXLAN].payload) == FRAME


def test_every_output_goes_by_what_is_set_so_far(tunnel: Tunnel) -> None:
    """A later set-field changes one thing and leaves the rest; what a copy sets is for the copy."""
    actions = [
        *to_far(tun_id=0x101, tun_ttl=7),
        SetField("tun_id", 0x020, 0x0F0),
        Output(2),
        Clone((SetField("tun_id", 0x3), SetField("eth_src", 5), Output(2))),
        SetField("tun_tos", 4),
        Output(2),
        Output(3),
    ]
    with tunnel.h3.capturing() as plain:
        packets = encapsulated(tunnel, actions, 4)
        plain.wait_for(1)
    assert sorted((packet[VXLAN].vni, packet[IP].tos) for packet in packets) == [
        (3, 0),
        (0x101, 0),
        (0x121, 0),
        (0x121, 4),
    ]
    assert {(packet[IP].dst, packet[IP].ttl) for packet in packets} == {(FAR, 7)}
    assert list(plain) == [FRAME], "a tunnel means nothing to an ordinary port"


def test_the_other_family_takes_the_place_of_an_address(tunnel: Tunnel) -> None:
    actions = [*to_far(), SetField("tun_ipv6_dst", FAR6), Output(2)]
    tunnel.dp.flows.add(Match(in_port=1), actions)
    with tunnel.far.capturing(lambda frame: VXLAN in Ether(frame)) as frames:
        tunnel.h1.send(FRAME)
        frames.wait_for(2)
    assert sorted(packet[IPv6].dst if IPv6 in packet else packet[IP].dst for packet in outer(frames)) == [FAR, FAR6]


def test_a_packet_without_a_tunnel_does_not_leave_by_one(tunnel: Tunnel) -> None:
    assert encapsulated(tunnel, [Output(2), Output(3)], 0) == []
    assert [packet[VXLAN].vni for packet in encapsulated(tunnel, to_far())] == [VNI]


# --- in


def vxlan(vni: int, inner: bytes = FRAME, *, tos: int = 0x28, ttl: int = 33, checksum: bool = True) -> bytes:
    """A VXLAN packet as the far end sends it."""
    udp = UDP(sport=5, dport=PORT) if checksum else UDP(sport=5, dport=PORT, chksum=0)
    link = Ether(dst="ff:ff:ff:ff:ff:ff", src="02:00:00:00:00:aa")
    return bytes(link / IP(src=FAR, dst=NEAR, tos=tos, ttl=ttl) / udp / VXLAN(vni=vni, flags=8) / inner)


@pytest.mark.parametrize("checksum", [False, True])
@pytest.mark.parametrize("vni", [0, VNI, OTHER_VNI])
def test_the_key_says_how_it_came(tunnel: Tunnel, vni: int, checksum: bool) -> None:
    tunnel.dp.flows.add(Match(in_port=2), Userspace())
    tunnel.far.send(vxlan(vni, checksum=checksum))
    (miss,) = tunnel.dp.start_upcalls().misses()
    key = miss.key
    assert miss.packet == FRAME
    names = ("tun_id", "tun_ipv6", "tun_src", "tun_dst", "tun_tos", "tun_ttl", "tun_flags", "udp_dst", "ipv4_dst")
    assert {name: getattr(key, name) for name in names} == {
        "tun_id": vni,
        "tun_ipv6": 0,
        "tun_src": 0x0A010002,
        "tun_dst": 0x0A010001,
        "tun_tos": 0x28,
        "tun_ttl": 33,
        "tun_flags": 6 if checksum else 4,  # csum, key
        "udp_dst": 2,
        "ipv4_dst": 0x0A000002,
    }


def test_the_key_says_how_it_came_over_ipv6(tunnel: Tunnel) -> None:
    link = Ether(dst=mac_of(tunnel.far.port), src="02:00:00:00:00:aa")
    ip = IPv6(src=FAR6, dst=NEAR6, tc=0x28, hlim=33)
    frame = bytes(link / ip / UDP(sport=5, dport=PORT) / VXLAN(vni=VNI, flags=8) / FRAME)
    whole: dict[str, Any] = {
        "tun_id": VNI,
        "tun_ipv6_src": FAR6,
        "tun_ipv6_dst": NEAR6,
        "tun_tos": 0x28,
        "tun_ttl": 33,
        "in_port": 2,
    }
    with tunnel.h3.capturing() as frames:
        tunnel.far.send(frame)
        for miss in tunnel.dp.start_upcalls().misses():
            miss.install(Match(**whole, tun_flags="csum|key"), Output(3))
        frames.wait_for(1)
    assert list(frames) == [FRAME]
    assert [flow.stats.packets for flow in tunnel.dp.flows] == [1]


def mac_of(device: str) -> str:
    with IPRoute() as route:
        return str(route.get_links(route.link_lookup(ifname=device)[0])[0].get_attr("IFLA_ADDRESS"))


MATCHES: list[tuple[dict[str, Any], bool]] = [
    ({"tun_id": VNI}, True),
    ({"tun_id": VNI + 1}, False),
    ({"tun_id": (VNI & 0xF0, 0xF0)}, True),
    ({"tun_src": FAR}, True),
    ({"tun_src": "10.1.0.0/24"}, True),
    ({"tun_src": NEAR}, False),
    ({"tun_dst": NEAR}, True),
    ({"tun_dst": FAR}, False),
    ({"tun_tos": 0x28}, True),
    ({"tun_ttl": 33}, True),
    ({"tun_ttl": 34}, False),
    ({"tun_flags": "key|csum"}, True),
    ({"tun_flags": ("df", "df")}, False),
    ({"tun_ipv6": 1}, False),
]


def test_matches_on_tunnel_fields(tunnel: Tunnel) -> None:
    dp = tunnel.dp
    for fields, taken in MATCHES:
        dp.flows.flush()
        dp.flows.add(Match(in_port=2, recirc_id=0, **fields), Recirculate(1))
        dp.flows.add(Match(recirc_id=1, **fields), Output(1))
        with tunnel.h1.capturing() as frames:
            tunnel.far.send(vxlan(VNI))
            frames.wait_for(1, 1 if taken else 0.05)
        assert list(frames) == [FRAME] * taken, fields


def test_what_came_by_a_tunnel_is_answered_by_python(tunnel: Tunnel) -> None:
    """A packet that goes up and comes down is still one that came by the tunnel, also when it is looked up again."""
    dp = tunnel.dp
    drops = dp.ports.stats(2).drops
    whole: dict[str, Any] = {
        "tun_id": VNI,
        "tun_src": FAR,
        "tun_dst": NEAR,
        "tun_tos": 0x28,
        "tun_ttl": 33,
        "tun_flags": "csum|key",
    }
    with tunnel.h1.capturing() as frames:
        tunnel.far.send(vxlan(VNI))
        for number in (0, 1):
            for miss in dp.start_upcalls().misses():
                actions: list[Action] = [Output(1), Recirculate(1)] if number == 0 else [Output(1)]
                miss.install(Match(in_port=2, recirc_id=number, **whole), actions)
        frames.wait_for(2)
        assert list(frames) == [FRAME] * 2
        tunnel.far.send(vxlan(VNI))
        for miss in dp.start_upcalls().misses():
            raise AssertionError(f"{miss} came up again")
        frames.wait_for(4)
    assert list(frames) == [FRAME] * 4
    assert dp.ports.stats(2).drops == drops
    assert {flow.stats.packets for flow in dp.flows} == {2}


def test_from_one_tunnel_into_another(tunnel: Tunnel) -> None:
    """What was set by the sender does not stay: TTL and type of service are those of the new tunnel."""
    tunnel.dp.flows.add(Match(in_port=2, tun_id=VNI), to_far(tun_id=OTHER_VNI))
    with tunnel.far.capturing(lambda frame: VXLAN in Ether(frame)) as frames:
        tunnel.far.send(vxlan(VNI))
        frames.wait_for(1)
    (packet,) = outer(frames)
    assert (packet[VXLAN].vni, packet[IP].src, packet[IP].dst) == (OTHER_VNI, NEAR, FAR)
    assert (packet[IP].ttl, packet[IP].tos) == (64, 0)
    assert struct.unpack("!I", bytes(packet[VXLAN])[4:8])[0] >> 8 == OTHER_VNI
    assert bytes(packet[VXLAN].payload) == FRAME
