"""The program that answers upcalls while they are measured: `python -m bench.reactive NAME POLICY`, a process of its
own, as a user would write it. It opens datapath NAME and says "ready"; for each line, a number of seconds, it runs for
so long, prints {"cpu_s"}, forgets all megaflows, and is ready again.

Ports belong together two by two: 1 and 2, 3 and 4, ... A policy decides where a packet goes and what the megaflow is.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Callable

from bench.rules import EXACT, exact_rules
from vswitch.api import Answer, Datapath, Miss
from vswitch.model.actions import Action, Output
from vswitch.model.match import Match
from vswitch.policy import Packet, Policy, Table, output

__all__ = ["POLICIES", "main", "other_port"]

SUBTABLES = 8
RULES = 100_000
LEARNING_PORTS = (1, 2, 3, 4)
NEW_FLOWS = 4000
"""A second, for each port: more than the connections need that are made beside a scan."""

_MASKS = [
    Match(in_port=1, ipv4_src=(0, prefix), udp_src=0, **({"udp_dst": 0} if exact else {})).mask
    for prefix in (0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFC, 0xFFFFFFF8)
    for exact in (True, False)
]  # fmt: skip
assert len(_MASKS) == SUBTABLES


def other_port(port: int) -> int:
    """1 for 2, 2 for 1, 3 for 4, ..."""
    return (port - 1 ^ 1) + 1


_OUTPUTS = {port: (Output(other_port(port)),) for port in range(1, 9)}


def exact(miss: Miss) -> Answer:
    """A megaflow for each flow: the port and the five-tuple."""
    return Match.from_ints(miss.key.value, EXACT), _OUTPUTS[miss.port]


def classifier() -> Callable[[Miss], Answer]:
    """The same, decided by a hundred thousand rules under eight masks, looked through in order. None of the rules is
    for the packets that come, except the last, for all."""
    chance = random.Random(1)
    tables: list[tuple[int, dict[int, tuple[Action, ...]]]] = []
    for mask in _MASKS:
        rules = {rule.match.value & mask: (Output(3),) for rule in exact_rules(10**8, 1)}
        while len(rules) < RULES // SUBTABLES:
            rules[chance.getrandbits(512) & mask] = (Output(3),)
        tables.append((mask, dict.fromkeys(rules, (Output(3),))))

    def classify(miss: Miss) -> Answer:
        key = miss.key.value
        for mask, rules in tables:
            if (actions := rules.get(key & mask)) is not None:
                return Match.from_ints(key, EXACT), actions
        return Match.from_ints(key, EXACT), _OUTPUTS[miss.port]

    return classify


def several_masks() -> Callable[[Miss], Answer]:
    """Megaflows under eight masks in turn, disjoint by the source port."""

    def answer(miss: Miss) -> Answer:
        key = miss.key
        return Match.from_ints(key.value, _MASKS[key.udp_src % SUBTABLES]), _OUTPUTS[miss.port]

    return answer


def stateful(protocol: str) -> Policy:
    """A policy that learns where addresses are, and looks each flow of "udp" or "tcp" up among its sessions: a megaflow
    for each."""
    places, sessions = Table(key="eth_src"), Table()
    source, target = f"{protocol}_src", f"{protocol}_dst"

    def policy(packet: Packet) -> tuple[Output, ...]:
        places[packet.eth_src] = packet.in_port
        ports = getattr(packet, source), getattr(packet, target)
        chosen = sessions.get((packet.ipv4_src, packet.ipv4_dst, *ports))
        return output(other_port(int(packet.in_port)) if chosen is None else chosen)

    return policy


def learning() -> Policy:
    """A switch that learns where addresses are: all between two hosts is one megaflow each way."""
    place_of = Table(key="eth_src")

    def policy(packet: Packet) -> tuple[Output, ...]:
        place_of[packet.eth_src] = packet.in_port
        port = place_of.get(packet.eth_dst)
        return output(*(port for port in LEARNING_PORTS if packet.in_port != port) if port is None else (port,))

    return policy


def bounded(datapath: Datapath) -> None:
    """`exact`, with a bound for the new flows of each port."""
    datapath.limit_new_flows(NEW_FLOWS)
    datapath.on_miss(exact)


POLICIES: dict[str, Callable[[Datapath], object]] = {
    "exact": lambda datapath: datapath.on_miss(exact),
    "bounded": bounded,
    "classifier": lambda datapath: datapath.on_miss(classifier()),
    "several-masks": lambda datapath: datapath.on_miss(several_masks()),
    "learning": lambda datapath: datapath.policy(learning()),
    "stateful": lambda datapath: datapath.policy(stateful("udp")),
    "stateful-tcp": lambda datapath: datapath.policy(stateful("tcp")),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.reactive", description="Answers upcalls.")
    parser.add_argument("name")
    parser.add_argument("policy", choices=POLICIES)
    options = parser.parse_args()
    with Datapath.open(options.name) as datapath:
        POLICIES[options.policy](datapath)
        datapath.start_upcalls()
        print("ready", flush=True)
        for line in sys.stdin:
            before = time.process_time()
            datapath.run(timeout_s=float(line))
            print(json.dumps({"cpu_s": time.process_time() - before}), flush=True)
            datapath.flows.flush()
            print("ready", flush=True)


if __name__ == "__main__":
    main()
