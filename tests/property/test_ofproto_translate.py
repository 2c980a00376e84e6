"""Translation against the naive pipeline: what the datapath does to packets is what OpenFlow says, by megaflows that
are never too wide: those made for one packet are used for all others that they take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import combinations
from random import Random

import pytest

from tests.naive_pipeline import Naive, NaiveSwitch, Result
from tests.pipeline import LOCAL
from tests.pipeline_machine import Machine
from tests.pipeline_random import random_features, random_frame, random_switch, variant
from vswitch.fields.openflow import FLOW_BYTES
from vswitch.fields.registry import KEY_BYTES
from vswitch.ofproto.translate import translate
from vswitch.ofproto.translation import MacLearned, Translation
from vswitch.packet.parse import parse

PACKETS = 25
PIPELINE_BITS = (1 << 8 * FLOW_BYTES) - (1 << 8 * KEY_BYTES)
LIMITS = ("recirculation_limit", "clone_limit")


def outcomes(switch: NaiveSwitch, frame: bytes, in_port: int) -> Iterator[Result]:
    """What may become of the packet: select groups may choose any live bucket."""
    choices: list[list[int]] = []  # what was chosen, of how many, each time
    for _ in range(200):
        taken = 0

        def choose(size: int) -> int:
            nonlocal taken
            if taken == len(choices):
                choices.append([0, size])
            taken += 1
            return choices[taken - 1][0]

        switch.choose = choose
        yield Naive(switch).run(frame, in_port)
        del choices[taken:]
        while choices and choices[-1][0] + 1 >= choices[-1][1]:
            choices.pop()
        if not choices:
            return
        choices[-1][0] += 1


Seen = tuple[Counter[tuple[int, bytes, int, int]], Counter[tuple[int, bytes, int]], set[tuple[int, int, int]]]


def by_the_tables(result: Result) -> Seen:
    return Counter(result.sent), Counter(result.controllers), set(result.learned)


def by_the_datapath(machine: Machine) -> Seen:
    return (
        Counter((each.port, each.packet, each.skb_priority, each.skb_mark) for each in machine.sent),
        Counter((int(send.reason), frame, send.metadata.value & PIPELINE_BITS) for send, frame in machine.up),
        {(each.vlan, each.mac, each.port) for each in machine.effects if isinstance(each, MacLearned)},
    )


def agree(seed: int, *, select: bool = False, features: bool = False) -> Counter[str]:
    """Random tables and packets; what happened."""
    chance = Random(seed)
    view, switch = random_switch(chance, select=select)
    if features:
        random_features(chance, view, switch)
    machine = Machine(view)
    seen: Counter[str] = Counter()
    frames: list[bytes] = []
    for _ in range(PACKETS):
        frame = variant(chance, chance.choice(frames)) if frames and chance.random() < 0.5 else random_frame(chance)
        frames.append(frame)
        in_port = chance.choice((1, 1, 2, 3, LOCAL))
        before = len(machine.megaflows)
        machine.receive(frame, in_port)
        if machine.errors or any(machine.drops[reason] for reason in LIMITS):
            machine.drops.clear()
            seen[machine.errors[0] if machine.errors else "limit"] += 1
            continue
        possible = list(outcomes(switch, frame, in_port))
        if any(result.garbage for result in possible):
            seen["garbage"] += 1
            continue
        wanted = [by_the_tables(result) for result in possible]
        if select:
            assert by_the_datapath(machine) in wanted, (seed, frame.hex())
        else:
            assert [by_the_datapath(machine)] == wanted, (seed, frame.hex())
        seen["hit" if len(machine.megaflows) == before else "miss"] += 1
        seen["sent"] += len(machine.sent)
    for (mask, value, _), (other_mask, other, _) in combinations(machine.megaflows, 2):
        assert (value ^ other) & mask & other_mask, (seed, "megaflows overlap")
    return seen


@pytest.mark.parametrize("block", range(20))
def test_the_datapath_does_what_the_tables_say(block: int) -> None:
    seen: Counter[str] = Counter()
    for seed in range(25 * block, 25 * block + 25):
        seen += agree(seed)
    assert seen["hit"] > 100
    assert seen["sent"] > 100


@pytest.mark.parametrize("block", range(8))
def test_select_groups_take_one_of_their_live_buckets(block: int) -> None:
    seen: Counter[str] = Counter()
    for seed in range(25 * block, 25 * block + 25):
        seen += agree(seed, select=True)
    assert seen["hit"] > 100


@pytest.mark.parametrize("block", range(8))
def test_mirrors_and_all_modes_of_ports_are_as_the_tables_say(block: int) -> None:
    seen: Counter[str] = Counter()
    for seed in range(25 * block, 25 * block + 25):
        seen += agree(seed, features=True)
    assert seen["hit"] > 100
    assert seen["sent"] > 100


def flipped(seed: int, flips: int = 60, *, features: bool = False) -> int:
    """Packets that differ from one that was asked about, but not in the answer's mask, have the same answer. How many
    there were."""
    chance = Random(seed)
    view, switch = random_switch(chance, select=True)
    if features:
        random_features(chance, view, switch)
    compared = 0
    for _ in range(4):
        frame = random_frame(chance)
        in_port = chance.choice((1, 2))
        key = parse(frame, in_port)
        answer = translate(view, key, frame, 0)
        for _ in range(flips):
            other = variant(chance, frame)
            other_key = parse(other, in_port)
            if (key ^ other_key) & answer.mask:
                continue
            compared += 1
            assert told(translate(view, other_key, other, 0)) == told(answer), (seed, frame.hex(), other.hex())
    return compared


def told(answer: Translation) -> tuple[object, ...]:
    """All of it but the masks: a table may prove in two ways that a rule takes no packet of several."""
    lookups = tuple((each.table, each.rule) for each in answer.lookups)
    return (
        answer.actions, answer.rules, lookups, answer.buckets, answer.meters, answer.controllers,
        answer.effects, answer.depends, answer.error, answer.mirrors,
    )  # fmt: skip


@pytest.mark.parametrize("block", range(10))
def test_bits_outside_of_the_mask_decide_nothing(block: int) -> None:
    assert sum(flipped(seed) for seed in range(30 * block, 30 * block + 30)) > 1000


@pytest.mark.parametrize("block", range(4))
def test_bits_outside_of_the_mask_decide_nothing_of_mirrors(block: int) -> None:
    assert sum(flipped(seed, features=True) for seed in range(30 * block, 30 * block + 30)) > 1000
