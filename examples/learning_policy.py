"""A learning switch as a policy: what it reads decides the megaflows, what it learns withdraws them.

    sudo python examples/learning_policy.py sw0 veth1 veth2 veth3

makes the switch sw0 with these devices as its ports; Ctrl-C ends and removes it.

Beside examples/learning_switch.py, which builds its megaflows by hand and takes away by hand what led to the old place
of a host that moved, this one says just where packets go. A packet to an address not heard of yet goes to all other
ports, also by a megaflow: it is withdrawn as soon as the address is heard of. So is what led to an old place.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextlib import suppress

from vswitch import Datapath, Decision, Packet, PortChange, PortEvent, Table, drop, output

IDLE_S = 30.0
"""A pair of addresses that is silent for so long is asked about again."""

GROUP = 1 << 40
"""Of a MAC address: it is that of a group (IEEE 802)."""

MAX_ADDRESSES = 65536
"""Addresses remembered: more are made up by somebody."""


def main(name: str, devices: Iterable[str]) -> None:
    """Make a datapath and switch until Ctrl-C."""
    with Datapath.create(name, ports=devices, local=False) as dp, suppress(KeyboardInterrupt):
        learn_and_switch(dp)
        print(f"{dp} learns and switches; Ctrl-C ends it", flush=True)
        dp.run()


def learn_and_switch(dp: Datapath) -> None:
    """Make `dp` a learning switch."""
    ports = Table({"numbers": tuple(port.number for port in dp.ports)})
    place_of = Table(key="eth_src")
    addresses: set[int] = set()

    @dp.policy
    def decide(packet: Packet) -> Decision:
        if packet.eth_src & GROUP:
            return Decision(drop)  # nobody sends from such an address
        learn(int(packet.eth_src), int(packet.in_port))
        port = place_of.get(packet.eth_dst)
        if port is None:
            port_numbers = ports["numbers"]
            return Decision(output(*(n for n in port_numbers if packet.in_port != n)), idle_timeout_s=IDLE_S)
        return Decision(output(port) if packet.in_port != port else (), idle_timeout_s=IDLE_S)

    def learn(address: int, port: int) -> None:
        if address not in addresses and len(addresses) >= MAX_ADDRESSES:
            forget()
        addresses.add(address)
        place_of[address] = port

    def forget() -> None:
        addresses.clear()
        place_of.clear()

    @dp.on_port_event
    def follow(event: PortEvent) -> None:
        ports["numbers"] = tuple(port.number for port in dp.ports)
        if event.change is not PortChange.CHANGED:  # who knows what is at the other end now
            forget()


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2:])
