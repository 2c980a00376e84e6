"""What policies cost, and how many megaflows they need: the policy alone, without a datapath."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from ipaddress import IPv4Network
from random import Random
from typing import Any

from bench.measure import SUBJECT, Figure, Plan, compare, interleave
from vswitch.model.match import Key, Match
from vswitch.policy import Networks, Packet, Table, drop, output
from vswitch.policy.run import Policy, Run, Stages

__all__ = ["policies"]

RUNS = 20_000
FEW, MANY = 100, 10_000
HOSTS, PORTS = 1000, 48
RULES, PACKETS = 1000, 100_000
EXACT = "exact match"
_FIVE_TUPLE = Match(in_port=0, ipv4_src=0, ipv4_dst=0, tcp_src=0, tcp_dst=0).mask


def policies(plan: Plan) -> Iterator[Figure]:
    """A policy with 10,000 addresses and networks beside one with 100; megaflows beside an exact-match controller's."""
    yield from _sizes(plan)
    yield from _learning()
    yield from _firewall()


# ---- the cost of an upcall, by how much the policy knows


def _sizes(plan: Plan) -> Iterator[Figure]:
    many, few = f"{SUBJECT}, {MANY:,} entries", f"{SUBJECT}, {FEW} entries"
    asked = {
        label: partial(_microseconds, _lists(count), _keys(Random(2))) for label, count in ((many, MANY), (few, FEW))
    }
    case = "policy, a network and an address looked up"
    yield from compare(case, "us", interleave(case, plan.rounds, asked), many)


def _lists(count: int) -> Policy:
    """A policy that looks the source up in networks and the destination among addresses, of each half of `count`."""
    chance = Random(1)
    networks = Networks()
    while len(networks) < count // 2:
        networks[IPv4Network((chance.getrandbits(32), chance.randrange(12, 29)), strict=False)] = chance.randrange(1, 4)
    addresses = Table({chance.getrandbits(32): chance.randrange(1, 4) for _ in range(count // 2)}, key="ipv4_dst")

    def policy(packet: Packet) -> Any:
        return output(addresses.get(packet.ipv4_dst) or networks.lookup(packet.ipv4_src, 1))

    return policy


def _keys(chance: Random) -> list[Key]:
    return [_key(chance, chance.randrange(1, 1 << 16)) for _ in range(1000)]


def _key(chance: Random, port: int, source: int | None = None, target: int | None = None) -> Key:
    addresses = [chance.getrandbits(32) if each is None else each for each in (source, target)]
    sport = chance.randrange(1024, 1 << 16)
    return Key(Match(in_port=1, ipv4_src=addresses[0], ipv4_dst=addresses[1], tcp_src=sport, tcp_dst=port).value)


def _microseconds(policy: Policy, keys: list[Key]) -> float:
    """Of one run, the megaflow included."""
    stages = Stages(policy)
    begin = time.perf_counter()
    for _ in range(RUNS // len(keys)):
        for key in keys:
            _ = Run(stages, key, 0.0).match
    return (time.perf_counter() - begin) / RUNS * 1e6


# ---- how many megaflows


def _needed(case: str, policy: Callable[[Packet], Any], keys: Iterator[Key]) -> Iterator[Figure]:
    """Those of the policy, beside one for each flow, as a controller installs them that matches all of a packet."""
    stages = Stages(policy)
    masked, exact = set(), set()
    for key in keys:
        masked.add(Run(stages, key, 0.0).match)
        exact.add(key.value & _FIVE_TUPLE)
    yield Figure(case, len(masked), "megaflows", EXACT, len(exact), len(masked) / len(exact))


def _learning() -> Iterator[Figure]:
    """All hosts talk to all, by a connection each way. Who learns reads where a packet comes from: each pair of hosts
    is a megaflow."""
    place_of = Table({0x020000000000 + host: host % PORTS + 1 for host in range(HOSTS)}, key="eth_src")

    def knowing(packet: Packet) -> Any:
        return output(place_of[packet.eth_dst])

    def learning(packet: Packet) -> Any:
        place_of[packet.eth_src] = packet.in_port
        return output(place_of[packet.eth_dst])

    def keys() -> Iterator[Key]:
        macs = [0x020000000000 + host for host in range(HOSTS)]
        ethernet = [Match(eth_src=mac).value for mac in macs]
        rest = [Match(eth_dst=mac, ipv4_dst=host, tcp_dst=80).value for host, mac in enumerate(macs)]
        chance = Random(3)
        for here in range(HOSTS):
            source = ethernet[here] | Match(in_port=here % PORTS + 1, ipv4_src=here).value
            for there in range(HOSTS):
                if here != there:
                    yield Key(source | rest[there] | Match(tcp_src=chance.randrange(1024, 1 << 16)).value)

    yield from _needed(f"megaflows of a switch that learns, {HOSTS:,} hosts, all to all", learning, keys())
    yield from _needed(f"megaflows of a switch that was told, {HOSTS:,} hosts, all to all", knowing, keys())


def _firewall() -> Iterator[Figure]:
    """Rules that let a network of sources to a port of a network of targets; packets from within some of them."""
    chance = Random(4)
    rules = []
    for _ in range(RULES):
        source = IPv4Network((chance.getrandbits(32), chance.choice((8, 16, 24))), strict=False)
        target = IPv4Network((0x0A000000 | chance.getrandbits(24), chance.choice((16, 24, 32))), strict=False)
        rules.append((source, target, chance.choice((22, 25, 53, 80, 443, 8080))))

    def policy(packet: Packet) -> Any:
        for source, target, port in rules:
            if packet.tcp_dst == port and packet.ipv4_dst in target and packet.ipv4_src in source:
                return output(2)
        return drop

    def keys() -> Iterator[Key]:
        for _ in range(PACKETS // 100):
            source, target, port = chance.choice(rules)
            for _ in range(20):
                address = int(source[0]) + chance.randrange(source.num_addresses)
                yield _key(chance, port, address, int(target[0]) + chance.randrange(target.num_addresses))

    yield from _needed(f"megaflows of a firewall, {RULES:,} rules", policy, keys())
