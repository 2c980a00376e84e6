"""A load balancer for one virtual address: connections are spread over the servers that answer.

    sudo python examples/load_balancer.py sw0 veth1 10.0.0.100 veth2=10.0.0.2 veth3=10.0.0.3

makes the switch sw0 with the clients at the first device and a web server at each of the others; who asks 10.0.0.100 is
served by one of them. Each server is asked twice a second whether it takes connections, by a SYN that Python sends. A
connection stays with its server as long as that one answers, and 65,536 others have not come since. Ctrl-C ends and
removes the switch.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from ipaddress import IPv4Address

from vswitch import Datapath, Decision, Output, Packet, PolicyAnswer, Reply, SetField, Table, arp_reply, drop
from vswitch.packet import build

ARP, IPV4, TCP, WEB = 0x0806, 0x0800, 6, 80
SYN, RST, ACK = 2, 4, 16
MAC, PROBE_PORT = 0x0200_0000_0200, 1
"""Of the virtual address; and the TCP port by which it asks whether servers answer."""
PROBE_EVERY_S, MAX_UNANSWERED, IDLE_S = 0.5, 3, 60.0
CLIENTS, MAX_SESSIONS = 1, 65536


def main(name: str, clients: str, virtual: str, *arguments: str) -> None:
    """Make a datapath and balance until Ctrl-C."""
    servers = dict(argument.split("=") for argument in arguments)
    with Datapath.create(name, ports=[clients, *servers], local=False) as dp, suppress(KeyboardInterrupt):
        balancer = Balancer(virtual, {dp.ports[device].number: address for device, address in servers.items()})
        dp.policy(balancer)
        print(f"{dp} balances {virtual}; Ctrl-C ends it", flush=True)
        while True:
            balancer.probe(dp)
            dp.run(timeout_s=PROBE_EVERY_S)


class Balancer:
    """A policy for clients at port 1 and a server at each of the ports in `servers`."""

    def __init__(self, virtual: str, servers: Mapping[int, str]) -> None:
        self.virtual = int(IPv4Address(virtual))
        self.servers = {port: int(IPv4Address(address)) for port, address in servers.items()}
        self.mac_of, self.answers = Table(), Table(dict.fromkeys(servers, False))
        self.session = Table()  # client's address and port -> server's port
        self.asked, self.unanswered = dict.fromkeys(servers, 0), dict.fromkeys(servers, MAX_UNANSWERED)

    def __call__(self, packet: Packet) -> PolicyAnswer:
        port = int(packet.in_port)
        if packet.eth_type == ARP:
            if port in self.servers and packet.arp_spa == self.servers[port]:
                self.mac_of[port] = packet.arp_sha
            if packet.arp_op == 1 and packet.arp_tpa == self.virtual:
                return arp_reply(packet, MAC)
            others = self.servers if port == CLIENTS else [CLIENTS]
            return Decision([Output(other) for other in others], hard_timeout_s=1)
        if port == CLIENTS and packet.ipv4_dst == self.virtual and packet.tcp_dst == WEB:
            return self.serve(packet)
        if port in self.servers and packet.ipv4_src == self.servers[port] and packet.tcp_src == WEB:
            if packet.ipv4_dst == self.virtual:
                if packet.tcp_flags == SYN | ACK:
                    self.unanswered[port], self.answers[port] = 0, True
                return Reply(self.segment(port, int(packet.eth_src), 1, RST))
            return SetField("eth_src", MAC), SetField("ipv4_src", self.virtual), Output(CLIENTS)
        return drop

    def serve(self, packet: Packet) -> PolicyAnswer:
        """By the server that the connection has, if it answers, else by another one."""
        client = (int(packet.ipv4_src), int(packet.tcp_src))
        port = self.session.get(client)
        if port is None or not self.answers[port]:
            answering = [each for each in self.servers if self.answers[each]]
            if not answering:
                return Decision(drop, hard_timeout_s=PROBE_EVERY_S)
            self.session[client] = port = answering[hash(client) % len(answering)]
        there = SetField("eth_dst", self.mac_of[port]), SetField("ipv4_dst", self.servers[port]), Output(port)
        return Decision(there, idle_timeout_s=IDLE_S)

    def probe(self, dp: Datapath) -> None:
        """Ask each server whether it takes connections, and for its MAC address while it does not: it may have another
        one when it is back."""
        for port, address in self.servers.items():
            self.unanswered[port] += 1
            if self.unanswered[port] > MAX_UNANSWERED:
                self.answers[port] = False
                question = build.arp(1, MAC, self.virtual, 0, address)
                dp.execute(build.ethernet((1 << 48) - 1, MAC, ARP, question), Output(port))
            if mac := self.mac_of.get(port):
                self.asked[port] = int(time.monotonic() * 1000) & 0x7FFFFFFF
                dp.execute(self.segment(port, mac, 0, SYN), Output(port))
        for client in list(self.session)[: max(len(self.session) - MAX_SESSIONS, 0)]:
            del self.session[client]  # the oldest

    def segment(self, port: int, mac: int, later: int, flags: int) -> bytes:
        """Of the connection that a server is asked by."""
        tcp = build.tcp(PROBE_PORT, WEB, self.asked[port] + later, 0, flags)
        return build.ethernet(mac, MAC, IPV4, build.ipv4(self.virtual, self.servers[port], TCP, tcp))


if __name__ == "__main__":
    if len(sys.argv) < 5:
        sys.exit(__doc__)
    main(*sys.argv[1:])
