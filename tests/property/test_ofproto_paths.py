"""A packet that goes a known way is answered as if it were translated, whatever the tables and what came before."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from tests.pipeline_random import random_frame, random_switch, variant
from vswitch.fields.kinds import OPENFLOW_PORTS
from vswitch.fields.openflow import OPENFLOW_FIELDS
from vswitch.messages.actions import FlowAction, Output
from vswitch.messages.match import SubField
from vswitch.ofproto.paths import MOST_STEPS, Paths, Piece
from vswitch.ofproto.places import PLACES
from vswitch.ofproto.run import bits_place
from vswitch.ofproto.translate import translate
from vswitch.packet.parse import parse

TO_THE_TABLES = (Output(OPENFLOW_PORTS["TABLE"]), Output(2))


def compare(seed: int, packets: int = 60, actions: tuple[FlowAction, ...] | None = None) -> Counter[str]:
    """Random tables, and packets most of which are much alike; how many went known ways. `actions`: are given with
    every second packet."""
    chance = Random(seed)
    view, _ = random_switch(chance)
    paths = Paths(view)
    frames: list[bytes] = []
    seen: Counter[str] = Counter()
    for _ in range(packets):
        frame = variant(chance, chance.choice(frames)) if frames and chance.random() < 0.8 else random_frame(chance)
        frames.append(frame)
        key = parse(frame, chance.choice((1, 1, 2, 3)))
        given = actions if len(frames) % 2 else None
        followed = paths.follow(key, given)
        wanted = translate(view, key, frame, 0, paths=paths, actions=given)
        if followed is None:
            seen["translated"] += 1
            continue
        seen["followed"] += 1
        seen["with lookups"] += len(followed.lookups) > 1
        seen["sent"] += bool(followed.actions)
        assert followed == wanted, (seed, frame.hex())
    return seen


@pytest.mark.parametrize("block", range(8))
def test_a_known_way_leads_to_the_same_answer(block: int) -> None:
    seen: Counter[str] = Counter()
    for seed in range(50 * block, 50 * block + 50):
        seen += compare(seed)
    assert seen["followed"] > 300
    assert seen["with lookups"] > 50
    assert seen["sent"] > 100


def test_packets_that_come_with_actions() -> None:
    seen: Counter[str] = Counter()
    for seed in range(1000, 1080):
        seen += compare(seed, actions=TO_THE_TABLES)
    assert seen["followed"] > 300
    assert seen["with lookups"] > 50


def test_ways_are_bounded() -> None:
    view, _ = random_switch(Random(3))
    paths = Paths(view)
    key = parse(random_frame(Random(1)), 1)
    answer = translate(view, key, None, 0)
    for number in range(MOST_STEPS + 10):
        paths.learn(number, [], 0xFFFFFFFF, [], answer, None if number % 2 else ())
        assert len(paths) <= MOST_STEPS
    assert len(paths) < 20, "all were forgotten when there were too many"


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (("udp_src", 0, 16), ("reg0", 0, 16)),
        (("udp_dst", 0, 16), ("reg0", 16, 16)),
        (("ipv4_src", 0, 32), ("reg1", 0, 32)),
        (("eth_src", 0, 48), ("xxreg0", 40, 48)),
        (("eth_src", 3, 9), ("reg3", 5, 9)),
        (("in_port", 0, 16), ("reg2", 0, 16)),
        (("vlan_vid", 0, 12), ("reg4", 4, 12)),
        (("ip_proto", 0, 8), ("metadata", 8, 8)),
    ],
)
def test_pieces_are_what_a_move_copies(source: tuple[str, int, int], target: tuple[str, int, int]) -> None:
    one, two = (SubField(OPENFLOW_FIELDS[name], start, bits) for name, start, bits in (source, target))
    piece = Piece.of(one, (*bits_place(one), *bits_place(two)), two)
    chance = Random(1)
    for _ in range(200):
        key = chance.getrandbits(1600)
        number = PLACES[source[0]].get(key) >> source[1] & (1 << source[2]) - 1
        assert piece.value(key) == PLACES[target[0]].put(number << target[1])
