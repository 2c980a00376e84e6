"""A router between subnets, as a policy: it answers ARP and ping for its own addresses, asks who has what it does not
know, and forwards the rest in the kernel, by one megaflow for each host.

    sudo python examples/router.py sw0 veth1=10.0.1.1/24 veth2=10.0.2.1/24

makes the switch sw0 with these devices as its ports, and these addresses as the router's on them; Ctrl-C ends and
removes it. Hosts are asked again and again who they are: one that has another MAC address now is followed, one that
does not answer any more is forgotten. Pings of the router that come in fragments are not answered.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from ipaddress import IPv4Interface

from vswitch import (
    Datapath,
    Decision,
    DecTtl,
    Output,
    Packet,
    PolicyAnswer,
    SetField,
    Table,
    arp_reply,
    arp_request,
    drop,
    echo_reply,
    time_exceeded,
)
from vswitch.packet import build

ARP, IPV4, REQUEST, ECHO = 0x0806, 0x0800, 1, 8
BROADCAST, AT_ONCE = (1 << 48) - 1, 256
MAC = 0x0200_0000_0100
"""Of the router on port 0; on port n it is n more."""

ASK_EVERY_S, MAX_ASKED, MAX_HOSTS = 5.0, 3, 4096
"""How often hosts are asked, how often without an answer until one is forgotten, and how many are known at a time."""


def main(name: str, arguments: Iterable[str]) -> None:
    """Make a datapath and route until Ctrl-C."""
    addresses = dict(argument.split("=") for argument in arguments)
    with Datapath.create(name, ports=addresses, local=False) as dp, suppress(KeyboardInterrupt):
        router = Router({dp.ports[device].number: address for device, address in addresses.items()})
        dp.policy(router)
        print(f"{dp} routes; Ctrl-C ends it", flush=True)
        while True:
            dp.run(timeout_s=ASK_EVERY_S)
            router.ask(dp)


class Router:
    """A policy that routes between the subnets of these addresses, by port."""

    def __init__(self, addresses: Mapping[int, str]) -> None:
        self.own = {port: IPv4Interface(text) for port, text in addresses.items()}
        self.mac_of = Table(key="ipv4_src")  # of hosts, from ARP
        self.asked: dict[tuple[int, int], int] = {}  # port and address: how often since it was heard of

    def __call__(self, packet: Packet) -> PolicyAnswer:
        port = int(packet.in_port)
        if packet.eth_type == ARP:
            return self.hear(packet, port)
        if packet.eth_type != IPV4 or packet.eth_dst != MAC + port:
            return drop
        if any(packet.ipv4_dst == own.ip for own in self.own.values()):
            return echo_reply(packet) if packet.icmpv4_type == ECHO else drop
        return time_exceeded(packet, self.own[port].ip) if packet.ip_ttl <= 1 else self.forward(packet)

    def hear(self, packet: Packet, port: int) -> PolicyAnswer:
        """Learn who has an address, and say which is ours."""
        host = (port, int(packet.arp_spa))
        if packet.arp_spa.within(self.own[port].network) and (host in self.asked or len(self.asked) < MAX_HOSTS):
            self.mac_of[packet.arp_spa], self.asked[host] = packet.arp_sha, 0
        if packet.arp_op == REQUEST and packet.arp_tpa == self.own[port].ip:
            return arp_reply(packet, MAC + port)
        return Decision(drop, hard_timeout_s=1)

    def forward(self, packet: Packet) -> PolicyAnswer:
        """To the subnet that the destination is in; whose MAC address is not known is asked for it."""
        for port, own in self.own.items():
            if packet.ipv4_dst.within(own.network):
                mac = self.mac_of.get(packet.ipv4_dst)
                if mac is None:
                    return arp_request(packet.ipv4_dst, mac=MAC + port, ip=own.ip, port=port)
                return DecTtl(), SetField("eth_src", MAC + port), SetField("eth_dst", mac), Output(port)
        return drop

    def ask(self, dp: Datapath) -> None:
        """Ask each host for its MAC address. The old one is in use until it answers, or is forgotten."""
        for number, ((port, address), asked) in enumerate(list(self.asked.items()), 1):
            if number % AT_ONCE == 0:
                dp.run(timeout_s=0.02)  # hear those answers, of which a port's part of the ring takes so many
            if asked == MAX_ASKED:
                del self.asked[port, address]
                self.mac_of.pop(address, None)
                continue
            self.asked[port, address] = asked + 1
            question = build.arp(REQUEST, MAC + port, int(self.own[port].ip), 0, address)
            dp.execute(build.ethernet(BROADCAST, MAC + port, ARP, question), Output(port))


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2:])
