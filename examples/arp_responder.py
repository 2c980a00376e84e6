"""An ARP responder: Python answers ARP from what it has heard, everything else stays in the kernel.

    sudo python examples/arp_responder.py sw0 veth1 veth2 veth3

makes the switch sw0 with these devices as its ports; Ctrl-C ends and removes it.

One rule leaves ARP out for Python. Each message tells where its sender is, and a rule for that sender's address is laid
down at once, before anyone can send to it. A request for an address heard of is answered here, and reaches nobody;
only the first for a new one goes to all ports. What no rule takes is dropped in the kernel.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextlib import suppress

from vswitch import Datapath, Drop, Match, Miss, Output, Userspace
from vswitch.packet import build

ARP, REQUEST, REPLY = 0x0806, 1, 2
"""Ethernet type and operations (RFC 826)."""

MAX_ADDRESSES = 4096
"""Addresses remembered: more are made up by somebody."""


def main(name: str, devices: Iterable[str]) -> None:
    """Make a datapath and answer until Ctrl-C."""
    with Datapath.create(name, ports=devices, local=False) as dp, suppress(KeyboardInterrupt):
        answer_arp(dp)
        print(f"{dp} answers ARP; Ctrl-C ends it", flush=True)
        dp.run()


def answer_arp(dp: Datapath) -> None:
    """Make `dp` a switch that knows from ARP where everybody is."""
    dp.flows.add(Match(eth_type=ARP), Userspace(), priority=20)
    dp.flows.add(Match(), Drop(), priority=0)
    mac_of: dict[int, int] = {}  # by IP address
    port_of: dict[int, int] = {}  # by MAC address

    @dp.on_miss
    def arp(miss: Miss) -> None:
        key = miss.key
        learn(key.arp_spa, key.arp_sha, miss.port)
        asks_for_others = key.arp_spa not in (0, key.arp_tpa)  # or it tries whether an address is free (RFC 5227)
        known = mac_of.get(key.arp_tpa) if asks_for_others else None
        if key.arp_op == REPLY and key.eth_dst in port_of:
            miss.send(Output(port_of[key.eth_dst]))
        elif key.arp_op == REQUEST and known is not None:
            reply = build.arp(REPLY, known, key.arp_tpa, key.arp_sha, key.arp_spa)
            dp.execute(build.ethernet(key.arp_sha, known, ARP, reply), Output(miss.port))
        elif key.arp_op == REQUEST:
            miss.send(Output(port.number) for port in dp.ports if port.number != miss.port)

    def learn(ip: int, mac: int, port: int) -> None:
        if mac >> 40 & 1:  # of a group: nobody's
            return
        if ip and (ip in mac_of or len(mac_of) < MAX_ADDRESSES):  # a probe comes from address 0 (RFC 5227)
            mac_of[ip] = mac
        if port_of.get(mac) != port and (mac in port_of or len(port_of) < MAX_ADDRESSES):
            port_of[mac] = port
            dp.flows.put(Match(eth_dst=mac), Output(port), priority=10)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2:])
