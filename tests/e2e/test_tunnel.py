"""Tunnels: rules give metadata to a VXLAN device of the kernel, and match on what it found."""

from __future__ import annotations

from pyroute2 import IPRoute

from tests.lab import Lab
from vswitch import Action, Datapath, Match, Output, SetField

VNI = 77


def test_host_behind_a_vxlan_tunnel_is_reached(lab: Lab, name: str) -> None:
    near, far = lab.host("near", ip="10.0.0.1/24"), lab.host("far", ip="192.0.2.2/24", mtu=1600)
    with IPRoute() as route:
        route.addr("add", index=route.link_lookup(ifname=far.port)[0], address="192.0.2.1", prefixlen=24)
        route.link("add", ifname="vxlan", kind="vxlan", vxlan_collect_metadata=True, vxlan_port=4789)
        route.link("set", index=route.link_lookup(ifname="vxlan")[0], state="up")
    with far.inside(), IPRoute() as route:
        end = {"vxlan_id": VNI, "vxlan_group": "192.0.2.1", "vxlan_local": far.ip, "vxlan_port": 4789}
        route.link("add", ifname="vxlan", kind="vxlan", **end)
        device = route.link_lookup(ifname="vxlan")[0]
        route.addr("add", index=device, address="10.0.0.2", prefixlen=24)
        route.link("set", index=device, state="up")
    with Datapath.create(name, ports=[near.port, "vxlan"]) as dp:
        there: list[Action] = [SetField("tun_id", VNI), SetField("tun_dst", far.ip), SetField("tun_ttl", 64), Output(2)]
        dp.flows.add(Match(in_port=1), there)
        back = dp.flows.add(Match(in_port=2, tun_id=VNI, tun_src=far.ip, tun_dst="192.0.2.1"), Output(1))
        assert near.ping("10.0.0.2").received == 3
        assert dp.flows.get(back).stats.packets >= 3
        dp.flows.delete(back)
        dp.flows.add(Match(in_port=2, tun_id=VNI + 1), Output(1))
        assert near.ping("10.0.0.2", count=1).received == 0
