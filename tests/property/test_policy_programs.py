"""Random policies that read, write and delete state, against the same policy asked about every packet.

A program is a list of steps, made by chance. It runs as a policy on a simulated datapath with containers of its own,
and as a plain function, with others, for each packet: whatever megaflows there are, both do the same.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from vswitch import Datapath, Decision, Networks, Output, Packet, PolicyAnswer, Table, Userspace, output, rewrite
from vswitch.fields import FIELDS
from vswitch.model.match import Key
from vswitch.packet import build
from vswitch.packet.parse import parse
from vswitch.policy.trace import Trace
from vswitch.testing import send

FIELD_NAMES = ("in_port", "eth_src", "ipv4_src", "ipv4_dst", "tcp_src", "tcp_dst", "tcp_flags")
ADDRESSES = (0x0A000001, 0x0A000002, 0x0A010001, 0x0B000001)
PREFIXES = ("10.0.0.0/8", "10.0.0.0/16", "10.1.0.0/16", "10.0.0.1", "11.0.0.0/8")

State = tuple[Table, Networks]
Step = Callable[[Packet, State], int]
"""What it found, a small number."""


def frame(chance: Random) -> bytes:
    segment = build.tcp(chance.choice((1, 2)), chance.choice((80, 443)), seq=1, ack=0, flags=chance.choice((2, 1, 16)))
    packet = build.ipv4(chance.choice(ADDRESSES), chance.choice(ADDRESSES), 6, segment)
    return build.ethernet(2, chance.choice((0x020000000001, 0x020000000002)), 0x0800, packet)


def key_of(chance: Random) -> Callable[[Packet], Any]:
    """How a step finds the key of an entry."""
    name, other = chance.choice(FIELD_NAMES), chance.choice(FIELD_NAMES)
    constant = chance.randrange(3)
    kinds: list[Callable[[Packet], Any]] = [
        lambda packet: getattr(packet, name),
        lambda packet: (getattr(packet, name), getattr(packet, other)),
        lambda _packet: constant,
    ]
    return chance.choice(kinds)


def on_table(chance: Random) -> Step:
    key, value = key_of(chance), chance.randrange(1, 4)
    name = chance.choice(FIELD_NAMES)

    def delete(packet: Packet, state: State) -> int:
        try:
            del state[0][key(packet)]
        except KeyError:
            return 0
        return 1

    def put(packet: Packet, state: State) -> int:
        state[0][key(packet)] = value
        return 0

    def put_field(packet: Packet, state: State) -> int:
        state[0][key(packet)] = getattr(packet, name)
        return 0

    def clear(_packet: Packet, state: State) -> int:
        state[0].clear()
        return 0

    def count(packet: Packet, state: State) -> int:
        state[0][key(packet)] = number = (int(state[0].get(key(packet), 0)) + 1) % 4
        return number

    steps: list[Step] = [
        lambda packet, state: int(state[0].get(key(packet), 0)) & 3,
        lambda packet, state: key(packet) in state[0],
        lambda packet, state: int(state[0].pop(key(packet), 0)) & 3,
        lambda packet, state: int(state[0].setdefault(key(packet), value)) & 3,
        lambda _packet, state: len(state[0]) & 3,
        lambda _packet, state: sum(1 for each in state[0] if each == 1),
        put, put, put_field, delete, count, clear,
    ]  # fmt: skip
    return chance.choice(steps)


def on_networks(chance: Random) -> Step:
    prefix, value = chance.choice(PREFIXES), chance.randrange(1, 4)
    name = chance.choice(("ipv4_src", "ipv4_dst"))
    address = chance.choice(("10.0.0.1", "10.1.0.1", "11.0.0.1"))

    def put(_packet: Packet, state: State) -> int:
        state[1][prefix] = value
        return 0

    def put_field(packet: Packet, state: State) -> int:
        state[1][getattr(packet, name)] = value
        return 0

    def delete(_packet: Packet, state: State) -> int:
        try:
            del state[1][prefix]
        except KeyError:
            return 0
        return 1

    steps: list[Step] = [
        lambda packet, state: int(state[1].lookup(getattr(packet, name), 0)),
        lambda packet, state: int(state[1].lookup(getattr(packet, name), 0)),
        lambda packet, state: getattr(packet, name) in state[1],
        lambda _packet, state: int(state[1].lookup(address, 0)),
        lambda _packet, state: prefix in state[1],
        lambda packet, state: int(state[1].pop(getattr(packet, name), 0)),
        lambda packet, state: int(state[1].setdefault(getattr(packet, name), value)),
        lambda _packet, state: len(state[1]) & 3,
        put, put_field, delete,
    ]  # fmt: skip
    return chance.choice(steps)


def on_packet(chance: Random) -> Step:
    name, number = chance.choice(FIELD_NAMES), chance.choice((1, 2, 80))
    address = chance.choice(PREFIXES)
    steps: list[Step] = [
        lambda packet, _state: getattr(packet, name) == number,
        lambda packet, _state: bool(getattr(packet, name) & number),
        lambda packet, _state: getattr(packet, name) < number,
        lambda packet, _state: packet.ipv4_src.within(address),
    ]
    return chance.choice(steps)


def program(chance: Random) -> Callable[[Packet, State], int]:
    """A tree of a few steps: what one finds decides whether the next is taken. What it comes to is a port or none."""
    steps = [
        (chance.choice((on_table, on_table, on_networks, on_packet))(chance), chance.randrange(3))
        for _ in range(chance.randrange(2, 6))
    ]

    def decide(packet: Packet, state: State) -> int:
        found = 0
        for step, skipped in steps:
            if found % 3 != skipped or not skipped:
                found += int(step(packet, state))
        return found % 4

    return decide


def answer(port: int) -> tuple[Output, ...]:
    return output(port) if port else ()


def containers(chance: Random) -> tuple[State, State]:
    entries = {number: chance.randrange(4) for number in range(3) if chance.random() < 0.5}
    networks = {prefix: chance.randrange(1, 4) for prefix in PREFIXES if chance.random() < 0.4}
    return (Table(entries), Networks(networks)), (Table(entries), Networks(networks))


def change(chance: Random, both: tuple[State, State]) -> None:
    """From outside, to both."""
    which, number, prefix, value = (
        chance.randrange(4),
        chance.randrange(3),
        chance.choice(PREFIXES),
        chance.randrange(4),
    )
    for table, networks in both:
        if which == 0:
            table[number] = value
        elif which == 1:
            table.pop(number, None)
        elif which == 2:
            networks[prefix] = value
        else:
            networks.pop(prefix, None)


def plain(decide: Callable[[Packet, State], int], frame: bytes, port: int, state: State) -> int:
    return decide(Packet(Trace(Key(parse(frame, FIELDS["in_port"].place(port))))), state)


@pytest.mark.parametrize("seed", range(250))
def test_megaflows_do_what_the_policy_would_for_each_packet(seed: int) -> None:
    chance = Random(seed)
    decide = program(chance)
    both = containers(chance)
    frames = [frame(chance) for _ in range(6)]
    with Datapath.simulate(ports=4) as dp:
        dp.policy(lambda packet: answer(decide(packet, both[0])))
        for _ in range(60):
            if chance.random() < 0.2:
                change(chance, both)
            if chance.random() < 0.03:
                dp.flows.flush()
            packet, port = chance.choice(frames), chance.randrange(1, 4)
            expected = plain(decide, packet, port, both[1])
            assert send(dp, packet, port).ports == [expected] * bool(expected)
        assert [*both[0][0].items()] == [*both[1][0].items()]
        assert [*both[0][1].items()] == [*both[1][1].items()]


@pytest.mark.parametrize("seed", range(120))
def test_so_do_those_of_whole_batches_that_are_disturbed(seed: int) -> None:
    """Packets wait for each other in a batch, in which a handler changes state or takes all megaflows away."""
    chance = Random(1000 + seed)
    decide = program(chance)
    both = containers(chance)
    frames = [frame(chance) for _ in range(6)]
    heard = bytes(build.ethernet(2, 1, 0x88B5, bytes(46)))
    with Datapath.simulate(ports=4) as dp:

        @dp.policy
        def policy(packet: Packet) -> PolicyAnswer:
            return Userspace(b"x") if packet.eth_type == 0x88B5 else answer(decide(packet, both[0]))

        @dp.on_miss
        def disturb(_miss: object) -> None:
            if chance.random() < 0.5:
                change(chance, both)
            else:
                dp.flows.flush()

        send(dp, heard)
        for _ in range(12):
            for _ in range(chance.randrange(1, 5)):  # all of it comes up before anything is answered
                dp.receive(chance.choice((*frames, heard)), chance.randrange(1, 4))
            dp.run()
            both[1][0].clear()
            both[1][0].update(both[0][0])
            for prefix in list(both[1][1]):
                del both[1][1][prefix]
            both[1][1].update(both[0][1])
            for _ in range(3):
                change(chance, both)
                packet, port = chance.choice(frames), chance.randrange(1, 4)
                expected = plain(decide, packet, port, both[1])
                assert send(dp, packet, port).ports == [expected] * bool(expected)


@pytest.mark.parametrize("seed", range(60))
def test_so_do_those_of_rewritten_packets_and_of_answers_for_a_time(seed: int) -> None:
    chance = Random(2000 + seed)
    first, second = program(chance), program(chance)
    both = containers(chance)
    frames = [frame(chance) for _ in range(6)]

    def then(packet: Packet) -> PolicyAnswer:
        return Decision(answer(second(packet, both[0])), hard_timeout_s=2)

    with Datapath.simulate(ports=4) as dp:

        @dp.policy
        def policy(packet: Packet) -> PolicyAnswer:
            port = first(packet, both[0])
            return rewrite(then=then) if port == 3 else Decision(answer(port), idle_timeout_s=3)

        for _ in range(40):
            if chance.random() < 0.2:
                change(chance, both)
            dp.advance(chance.choice((0.001, 0.5, 4)))
            packet, port = chance.choice(frames), chance.randrange(1, 4)
            expected = plain(first, packet, port, both[1])
            if expected == 3:
                expected = plain(second, packet, port, both[1])
            assert send(dp, packet, port).ports == [expected] * bool(expected)
