"""A static topology: all rules are in the kernel before the first packet, and no packet ever asks Python.

    sudo python examples/static_topology.py sw0 veth1 veth2 veth3 veth4 veth5

makes the switch sw0 with these devices as its ports, one for each container of the table below; Ctrl-C ends and
removes it. The rules would forward without this program too: `dp.keep()` leaves them in the kernel.

Web traffic, TCP to port 80, goes to the container at port 5 whomever it is for; that one has the addresses of the
others on its loopback device, as servers behind a load balancer do. Everything else goes to whom it is for, ARP
requests to the one who can answer, and the last rule drops the rest. So no packet misses; strict mode would tell.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress

from vswitch import Datapath, Drop, Match, Output, Rule, SetField

CONTAINERS = {  # port: MAC address, IP address
    1: ("02:00:00:00:00:01", "10.0.0.1"),
    2: ("02:00:00:00:00:02", "10.0.0.2"),
    3: ("02:00:00:00:00:03", "10.0.0.3"),
    4: ("02:00:00:00:00:04", "10.0.0.4"),
    5: ("02:00:00:00:00:05", "10.0.0.5"),
}
WEB = 5
BROADCAST = "ff:ff:ff:ff:ff:ff"


def rules() -> Iterator[Rule]:
    """The topology. Of rules that take the same packet the highest priority wins."""
    web_mac, _ = CONTAINERS[WEB]
    yield Rule(Match(tcp_dst=80), (SetField("eth_dst", web_mac), Output(WEB)), priority=30)
    for port, (mac, ip) in CONTAINERS.items():
        yield Rule(Match(eth_dst=mac), (Output(port),), priority=20)
        yield Rule(Match(eth_dst=BROADCAST, arp_tpa=ip), (Output(port),), priority=20)
    yield Rule(Match(), (Drop(),), priority=10)


def main(name: str, devices: Iterable[str]) -> None:
    """Make a datapath, lay the rules down, then let the packets in until Ctrl-C."""
    with Datapath.create(name, local=False) as dp:
        for rule, hidden_by in dp.flows.replace(rules()):
            print(f"no packet can reach {rule}: {hidden_by} takes them all", file=sys.stderr)
        for device in devices:
            dp.ports.add(device)
        with suppress(KeyboardInterrupt):
            print(f"{dp} forwards; Ctrl-C ends it", flush=True)
            dp.run(strict=True)
        stats = dp.stats()
        print(f"{stats.hit} packets found their rule, {stats.missed} did not, {stats.upcalls} asked Python")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2:])
