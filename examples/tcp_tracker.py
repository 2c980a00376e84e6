"""A tracker of TCP connections: Python sees only packets with SYN, FIN or RST; all else stays in the kernel.

    sudo python examples/tcp_tracker.py sw0 veth1 veth2

makes the switch sw0, a cable between the two devices, and prints connections that begin and end; Ctrl-C ends and
removes it. The rules are laid down ahead of time, and the packets that Python sees are copies: nobody waits for it.
"""

from __future__ import annotations

import sys
import time
from collections import OrderedDict
from collections.abc import Iterable
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address

from vswitch import Datapath, Key, Match, Miss, Output, Rule, Userspace

FIN, SYN, RST, ACK = 1, 2, 4, 16
"""RFC 9293 section 3.1."""

MAX_CONNECTIONS = 65536
"""Kept in mind; of more the oldest is forgotten."""

Connection = tuple[str, str]


def main(name: str, devices: Iterable[str]) -> None:
    """Make a datapath and watch until Ctrl-C."""
    with Datapath.create(name, ports=devices, local=False) as dp, suppress(KeyboardInterrupt):
        track(dp)
        print(f"{dp} tracks connections; Ctrl-C ends it", flush=True)
        dp.run()


def track(dp: Datapath) -> None:
    """Make `dp` a cable that tells of connections."""
    begun: OrderedDict[Connection, tuple[float, str]] = OrderedDict()  # since when, and who has sent FIN
    rules: list[Rule] = []
    for here, there in ((1, 2), (2, 1)):
        rules.append(Rule(Match(in_port=here), (Output(there),)))
        for priority, flag in enumerate((FIN, SYN, RST), 1):
            watched = Match(in_port=here, tcp_flags=(flag, flag))
            rules.append(Rule(watched, (Output(there), Userspace()), priority))
    dp.flows.replace(rules)

    @dp.on_miss
    def see(miss: Miss) -> None:
        source, target = end(miss.key, "src"), end(miss.key, "dst")
        connection = (min(source, target), max(source, target))
        flags = miss.key.tcp_flags
        if connection not in begun:
            if flags & (FIN | SYN | RST | ACK) == SYN:
                begin(connection, f"{source} to {target}")
            return
        since, closed_by = begun[connection]
        if flags & RST or (flags & FIN and closed_by not in ("", source)):
            how = "reset" if flags & RST else "closed"
            print(f"{how}: {' and '.join(connection)} after {time.monotonic() - since:.3f} s", flush=True)
            del begun[connection]
        elif flags & FIN:
            begun[connection] = since, source

    def begin(connection: Connection, text: str) -> None:
        begun[connection] = time.monotonic(), ""
        print(f"new: {text}", flush=True)
        if len(begun) > MAX_CONNECTIONS:
            begun.popitem(last=False)


def end(key: Key, side: str) -> str:
    """Address and port."""
    port = getattr(key, f"tcp_{side}")
    if key.has("ipv4_src"):
        return f"{IPv4Address(getattr(key, f'ipv4_{side}'))}:{port}"
    return f"[{IPv6Address(getattr(key, f'ipv6_{side}'))}]:{port}"


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2:])
