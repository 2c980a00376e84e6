"""A port-scan detector: who opens connections faster than people do is shut out for a while, and nobody else is.

    sudo python examples/scan_detector.py sw0 veth1 veth2 veth3

makes the switch sw0, on which all the others reach the first device, a server's, and it reaches them; Ctrl-C ends and
removes it. Each new connection is asked about, and counted for its source: an IPv4 or IPv6 address at a port. So nobody
is shut out for what another sent in his name from elsewhere; who has a new address for each connection is not noticed.
A source that is shut out costs one megaflow, which drops its TCP packets in the kernel until the time is over.
"""

from __future__ import annotations

import sys
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from contextlib import suppress

from vswitch import Datapath, Decision, Packet, Policy, PolicyAnswer, Table, drop, in_sequence, now, output, pass_on

SYN, ACK = 2, 16
"""RFC 9293 section 3.1."""

LIMIT, WINDOW_S = 20, 1.0
"""Connections of one source within so many seconds."""

Source = tuple[int, int, int]
"""Port, IP version, address."""

BAN_S = 10.0
"""How long a source is shut out."""

IDLE_S = 30.0
"""A connection that is silent for so long is asked about again."""

GROUP = 1 << 40
"""Of a MAC address: it is that of a group (IEEE 802)."""

MAX_SOURCES = 65536
"""Counted at a time; of more the one that was silent for longest is forgotten."""


def main(name: str, devices: Iterable[str]) -> None:
    """Make a datapath and guard until Ctrl-C."""
    with Datapath.create(name, ports=devices, local=False) as dp, suppress(KeyboardInterrupt):
        others = tuple(port.number for port in dp.ports if port.number != 1)
        dp.policy(in_sequence(guard(dp.time), star(others)))
        print(f"{dp} looks for scans; Ctrl-C ends it", flush=True)
        dp.run()


def guard(time: Callable[[], float]) -> Callable[[Packet], object]:
    """A policy that drops what comes from those who are shut out, and passes on all else. `time()` is that of `now()`,
    but not noted as read."""
    until = Table()
    banned: deque[Source] = deque()
    tries: OrderedDict[Source, deque[float]] = OrderedDict()

    def policy(packet: Packet) -> object:
        if packet.in_port == 1 or not packet.tcp_flags.present:
            return pass_on
        source = (int(packet.in_port), packet.ip_src.version, int(packet.ip_src))
        if now() < until.get(source, 0.0):
            return drop
        hash((packet.tcp_src, packet.tcp_dst))  # reads all of both, so each connection has a megaflow of its own
        if packet.tcp_flags & (SYN | ACK) == SYN and is_too_fast(source):
            banned.append(source)
            until[source] = time() + BAN_S
            if len(banned) > MAX_SOURCES:
                until.pop(banned.popleft(), None)
            print(f"shut out: {packet.ip_src} at port {packet.in_port}", flush=True)
            return drop
        return pass_on

    def is_too_fast(source: Source) -> bool:
        times = tries.setdefault(source, deque(maxlen=LIMIT))
        tries.move_to_end(source)
        if len(tries) > MAX_SOURCES:
            tries.popitem(last=False)
        times.append(time())
        return len(times) == LIMIT and times[-1] - times[0] < WINDOW_S

    return policy


def star(ports: tuple[int, ...]) -> Policy:
    """A policy for a switch on which all of `ports` reach port 1, and it reaches them."""
    place_of = Table(key="eth_src")
    addresses: set[int] = set()

    def policy(packet: Packet) -> PolicyAnswer:
        if packet.in_port != 1:
            if packet.eth_src & GROUP:
                return drop  # nobody sends from such an address
            if len(addresses) >= MAX_SOURCES:
                addresses.clear()
                place_of.clear()
            addresses.add(int(packet.eth_src))
            place_of[packet.eth_src] = packet.in_port
            return Decision(output(1), idle_timeout_s=IDLE_S)
        port = place_of.get(packet.eth_dst)
        return Decision(output(*ports) if port is None else output(port), idle_timeout_s=IDLE_S)

    return policy


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2:])
