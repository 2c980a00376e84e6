"""A learning switch: Python finds out where each address is, the kernel does the forwarding.

    sudo python examples/learning_switch.py sw0 veth1 veth2 veth3

makes the switch sw0 with these devices as its ports; Ctrl-C ends and removes it.

A packet that no megaflow takes comes up. Its sender is at the port that it came in by. If it is known where its
destination is, a megaflow takes it there, and all that follow without asking; a broadcast, or a packet to an address
not heard of yet, goes to all other ports. Megaflows name the port, the source and the destination, so no two overlap.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextlib import suppress

from vswitch import Datapath, Match, Miss, Output, PortChange, PortEvent, Rule

IDLE_S = 30.0
"""A pair of addresses that is silent for so long is forgotten."""

FRESH_S = 60.0
"""After so long a busy pair asks again too, so a host that moved without a word is found again."""

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
    port_of: dict[int, int] = {}

    @dp.on_miss
    def answer(miss: Miss) -> Rule | None:
        key = miss.key
        if key.eth_src & GROUP:
            return None  # nobody sends from such an address
        learn(key.eth_src, miss.port)
        port = port_of.get(key.eth_dst)
        if port is None:
            miss.send(Output(other.number) for other in dp.ports if other.number != miss.port)
            return None
        match = Match.exact(key, "in_port", "eth_src", "eth_dst")
        actions = (Output(port),) if port != miss.port else ()
        return Rule(match, actions, idle_timeout_s=IDLE_S, hard_timeout_s=FRESH_S)

    def learn(address: int, port: int) -> None:
        if port_of.get(address, port) != port:  # it moved: what led to the old place goes
            dp.flows.delete_within(Match(eth_dst=address))
            dp.flows.delete_within(Match(eth_src=address))
        if address not in port_of and len(port_of) >= MAX_ADDRESSES:
            port_of.clear()
        port_of[address] = port

    @dp.on_port_event
    def forget(event: PortEvent) -> None:
        if event.change is not PortChange.CHANGED:  # who knows what is at the other end now
            port_of.clear()
            dp.flows.flush()


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2:])
