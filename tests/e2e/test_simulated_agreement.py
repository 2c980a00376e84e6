"""The simulated datapath and the kernel's do the same: random packets, rules and actions through both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from random import Random

import pytest

from tests.frames import random_packet
from tests.rig import ARRIVED, Rig
from vswitch import ConfigError, Datapath, ExistsError, Match, OverlapError, Rule
from vswitch.fields import FIELDS
from vswitch.model.actions import (
    Action,
    CheckPacketLength,
    Clone,
    DecTtl,
    Drop,
    Hash,
    Meter,
    Output,
    PopMpls,
    PopVlan,
    PushMpls,
    PushVlan,
    Recirculate,
    Sample,
    SetField,
    Truncate,
    Userspace,
)
from vswitch.packet import build
from vswitch.packet.parse import parse

SETTABLE = [name for name, view in FIELDS.items() if view.settable and not name.startswith("tun_")]
PER_ROUND = 12
COMPARED = ("frames", "upcalls", "drops", "explicit", "flows", "meters")


def _value(chance: Random, name: str) -> Action:
    view = FIELDS[name]
    mask = chance.choice((view.max, chance.getrandbits(view.bits) or 1))
    return SetField(name, chance.getrandbits(view.bits) & mask, mask)


def _actions(chance: Random, depth: int = 0) -> tuple[Action, ...]:
    """A list as a program might have it: mostly sets and outputs, now and then anything, or nothing."""
    if chance.random() < 0.05:
        return chance.choice(((), (Truncate(400),), (SetField("tun_id", 5),), (PopVlan(),), (Drop(3),)))
    made: list[Action] = []
    for _ in range(chance.randrange(1, 5)):
        kind = chance.randrange(19 if depth < 2 else 12)
        makers: dict[int, Callable[[], list[Action]]] = {
            0: lambda: [PushVlan(chance.getrandbits(12), chance.getrandbits(3), chance.choice((0x8100, 0x88A8)))],
            1: lambda: [PopVlan()],
            2: lambda: [PushMpls(chance.getrandbits(20), chance.getrandbits(3), chance.getrandbits(8))],
            3: lambda: [PopMpls(chance.choice((0x0800, 0x86DD, 0x8847)))],
            4: lambda: [DecTtl(_actions(chance, depth + 1) if chance.random() < 0.3 and depth < 2 else ())],
            5: lambda: [Hash(chance.getrandbits(32)), Recirculate(7)],
            6: lambda: [Truncate(chance.randrange(300, 600)), Output(chance.choice((2, 3)))],
            7: lambda: [Drop(chance.getrandbits(8))] if chance.random() < 0.2 else [Output(9)],
            8: lambda: [Userspace(bytes(chance.randrange(5)))],
            12: lambda: [Clone(_actions(chance, depth + 1))],
            13: lambda: [CheckPacketLength(chance.randrange(60, 300), *(_actions(chance, depth + 1) for _ in "ab"))],
            14: lambda: [Clone(_actions(chance, depth + 1)), Output(3)],
            15: lambda: [Recirculate(chance.randrange(1, 4))],
            16: lambda: [Sample(chance.choice((0, 0xFFFFFFFF)), _actions(chance, depth + 1))],  # never or always
            17: lambda: [Meter(chance.randrange(3))],
            18: lambda: [SetField("tun_id", 7)],
        }
        made += makers.get(kind, lambda: [_value(chance, chance.choice(SETTABLE))])()
    return (*made, Output(chance.choice((2, 3)))) if chance.random() < 0.9 else tuple(made)


def _rules(chance: Random) -> list[Rule]:
    matches = [ARRIVED, *(Match(recirc_id=number) for number in (1, 2, 3))]
    matches += [Match(recirc_id=7, dp_hash=(bit, 1)) for bit in (0, 1)]
    rules: list[Rule] = []
    while len(rules) < len(matches):
        with suppress(ConfigError):  # too many actions, or what a recirculation would lose
            rules.append(Rule(matches[len(rules)], _actions(chance)))
    return rules


def _set_meters(dp: Datapath) -> None:
    """Meter 0 lets one packet pass, meter 1 five; the next one would a second later. There is no meter 2."""
    for number, burst in enumerate((1, 5)):
        dp.meters.set(number, 1, "pktps", burst)


def _in_kernel(rig: Rig, rules: Sequence[Rule], frames: Sequence[bytes]) -> tuple[object, ...]:
    rig.clear()
    _set_meters(rig.dp)
    rig.dp.flows.add_many(rules)
    drops, explicit = rig.dp.ports.stats(1).drops, rig.dp.explicit_drops()
    rig.host(1).send_many(list(frames))
    rig.frames(2), rig.frames(3)
    out = {port: rig.frames(port) for port in (1, 2, 3)}
    upcalls = [(upcall.packet, upcall.key, upcall.reason, upcall.userdata, upcall.length) for upcall in rig.upcalls()]
    after, explicit_after = rig.dp.ports.stats(1).drops, rig.dp.explicit_drops()
    return (
        out, upcalls,
        {reason: more for reason, count in after.items() if (more := count - drops.get(reason, 0))},
        {reason: more for reason, count in explicit_after.items() if (more := count - explicit.get(reason, 0))},
        {flow.rule: (flow.stats.packets, flow.stats.bytes, flow.stats.tcp_flags) for flow in rig.dp.flows},
        rig.dp.meters.list(),
    )  # fmt: skip


def _simulated(rules: Sequence[Rule], frames: Sequence[bytes]) -> tuple[object, ...]:
    with Datapath.simulate(ports=3) as dp:
        dp.start_upcalls()
        _set_meters(dp)
        dp.flows.add_many(rules)
        for frame in frames:
            dp.receive(frame, 1)
        sent = dp.sent()
        upcalls = [(miss.packet, miss.key, miss.reason, miss.userdata, miss.length) for miss in dp.misses()]
        return (
            {port: [each.packet for each in sent if each.port == port] for port in (1, 2, 3)}, upcalls,
            dp.ports.stats(1).drops, dp.explicit_drops(),
            {flow.rule: (flow.stats.packets, flow.stats.bytes, flow.stats.tcp_flags) for flow in dp.flows},
            dp.meters.list(),
        )  # fmt: skip


@pytest.mark.parametrize("seed", range(40))
def test_simulated_and_kernel_do_the_same(rig: Rig, seed: int) -> None:
    chance = Random(seed)
    rules = _rules(chance)
    frames = [bytes(random_packet(chance)) for _ in range(PER_ROUND)]
    frames = [frame.ljust(60, b"\0") for frame in frames if len(frame) <= 1500]
    expected = _in_kernel(rig, rules, frames)
    simulated = _simulated(rules, frames)
    for what, real, guess in zip(COMPARED, expected, simulated, strict=True):
        assert guess == real, what


def _any_rules(chance: Random, frames: Sequence[bytes]) -> list[Rule]:
    """Rules of any mask and priority that some of these packets meet, over each other."""
    names = [name for name in FIELDS if not name.startswith(("tun_", "ct_"))]
    accepted: list[Rule] = []
    with Datapath.simulate(ports=3) as dp:
        for _ in range(24):
            mask = 0
            for name in chance.sample(names, chance.randrange(1, 4)):
                view = FIELDS[name]
                bits = chance.choice((view.max, chance.getrandbits(view.bits), view.max & -1 << view.bits // 2))
                mask |= view.place(bits & view.max)
            match = Match.from_ints(parse(chance.choice(frames), FIELDS["in_port"].place(1)), mask)
            with suppress(ConfigError, OverlapError, ExistsError):
                rule = Rule(match, _actions(chance), chance.randrange(4))
                dp.flows.add(rule.match, rule.actions, priority=rule.priority)
                accepted.append(rule)
    return accepted


def _bent(chance: Random, frame: bytes) -> bytes:
    """A packet like it, with some bits the other way."""
    bent = bytearray(frame)
    for _ in range(chance.randrange(4)):
        bent[chance.randrange(len(bent))] ^= 1 << chance.randrange(8)
    return bytes(bent)


@pytest.mark.parametrize("seed", range(40))
def test_rules_of_any_mask_and_priority_do_the_same(rig: Rig, seed: int) -> None:
    chance = Random(1000 + seed)
    frames = [bytes(random_packet(chance)).ljust(60, b"\0") for _ in range(PER_ROUND)]
    frames = [frame for frame in frames if len(frame) <= 1500]
    rules = _any_rules(chance, frames)
    frames += [_bent(chance, frame) for frame in frames for _ in range(2)]
    expected = _in_kernel(rig, rules, frames)
    simulated = _simulated(rules, frames)
    for what, real, guess in zip(COMPARED, expected, simulated, strict=True):
        assert guess == real, what


FRAME = build.ethernet(2, 1, 0x0800, build.ipv4(0x0A000001, 0x0A000002, 6, build.tcp(1, 80, 0, 0, 2))).ljust(60, b"\0")
LAST_HOP = FRAME[:22] + b"\1" + FRAME[23:]
DROPPED: dict[str, tuple[tuple[Action, ...], tuple[Action, ...], bytes]] = {
    "a copy that is recirculated meets a rule without actions": ((Recirculate(1), Output(2)), (), FRAME),
    "so does one within a clone": ((Clone((Recirculate(1),)), Output(2)), (), FRAME),
    "it meets one that changes it and no more": ((Recirculate(1), Output(2)), (PopVlan(),), FRAME),
    "a TTL that is over, with what changes nothing": ((DecTtl((Truncate(100),)), Output(2)), (), LAST_HOP),
    "a TTL that is over, with a field that goes nowhere": ((DecTtl((SetField("tun_id", 5),)), Output(2)), (), LAST_HOP),
    "a clone that changes nothing": ((Clone((Truncate(100),)), PopVlan()), (), FRAME),
    "a sample that changes nothing": ((Sample(0xFFFFFFFF, (SetField("tun_id", 1),)), PopVlan()), (), FRAME),
    "a length that changes nothing": ((CheckPacketLength(10, (Truncate(20),), ()), PopVlan()), (), FRAME),
    "a clone that drops": ((Clone((Drop(3),)), Output(2)), (), FRAME),
}


@pytest.mark.parametrize("case", DROPPED)
def test_what_is_dropped_counts_alike(rig: Rig, case: str) -> None:
    first, then, frame = DROPPED[case]
    rules = [Rule(ARRIVED, first), Rule(Match(recirc_id=1), then)]
    for what, real, guess in zip(COMPARED, _in_kernel(rig, rules, [frame]), _simulated(rules, [frame]), strict=True):
        assert guess == real, what
