"""The kernel's programs, run by BPF_PROG_TEST_RUN, and the simulated datapath do the same to a packet: random packets,
rules and actions.

No device is in between, so a packet is seen as the program leaves it: where it redirects it to, or that it drops it.
tests/e2e/test_simulated_agreement.py compares what comes out of devices, copies and upcalls included.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from random import Random

import pytest

from tests.bpf.test_parse_agreement import runs
from tests.frames import random_packet
from tests.lab import Lab
from vswitch import ConfigError, Datapath, ExistsError, Match, Output, OverlapError, Rule
from vswitch.datapath.ebpf.bpf_syscall import prog_test_run
from vswitch.fields import FIELDS
from vswitch.model.actions import (
    Action,
    CheckPacketLength,
    DecTtl,
    Drop,
    Hash,
    PopMpls,
    PopVlan,
    PushMpls,
    PushVlan,
    Recirculate,
    SetField,
)
from vswitch.packet.parse import parse

IFINDEX = 40  # offset in struct __sk_buff
SHOT, REDIRECT = 2, 7
"""Verdicts of tc programs (include/uapi/linux/pkt_cls.h)."""
SETTABLE = [name for name, view in FIELDS.items() if view.settable and not name.startswith(("tun_", "skb_"))]


@pytest.fixture(scope="module")
def wired() -> Iterator[tuple[Datapath, bytes]]:
    """A datapath with three ports, and the context of a packet that comes in by the first."""
    with Lab() as lab:
        hosts = [lab.host(f"h{number}", mtu=9000) for number in (1, 2, 3)]
        name = f"vsf{os.getpid()}"
        with Datapath.create(name, ports=[host.port for host in hosts], local=False) as datapath:
            context = bytearray(192)
            struct.pack_into("=I", context, IFINDEX, datapath.ports[1].ifindex)
            yield datapath, bytes(context)


def change(chance: Random, depth: int) -> list[Action]:
    """One action, or two, that do not copy the packet."""
    name = chance.choice(SETTABLE)
    mask = chance.choice((FIELDS[name].max, chance.getrandbits(FIELDS[name].bits) or 1))
    made: list[list[Action]] = [
        [SetField(name, chance.getrandbits(FIELDS[name].bits) & mask, mask)],
        [PushVlan(chance.getrandbits(12), chance.getrandbits(3), chance.choice((0x8100, 0x88A8)))],
        [PopVlan()],
        [PushMpls(chance.getrandbits(20), chance.getrandbits(3), chance.getrandbits(8))],
        [PopMpls(chance.choice((0x0800, 0x86DD, 0x8847)))],
        [DecTtl(ending(chance, depth + 1) if depth < 2 and chance.random() < 0.5 else ())],
        [Hash(chance.getrandbits(32)), Recirculate(7)],
    ]
    return made[chance.choice((0, 0, 0, 0, 1, 2, 3, 4, 5, 6))]


def ending(chance: Random, depth: int = 0) -> tuple[Action, ...]:
    """A list that sends the packet itself on, and no copy of it: its output, or what else ends it, comes last."""
    made: list[Action] = []
    for _ in range(chance.randrange(4)):
        made += change(chance, depth)
        if isinstance(made[-1], Recirculate):
            return tuple(made)
    if depth < 2 and chance.random() < 0.2:
        lengths = CheckPacketLength(chance.randrange(60, 300), ending(chance, depth + 1), ending(chance, depth + 1))
        return (*made, lengths)
    return (*made, chance.choice((Output(2), Output(3), Output(2), Output(9), Drop(4), Recirculate(1), Recirculate(2))))


def rules(chance: Random, frames: list[bytes]) -> list[Rule]:
    """What comes in by port 1, what is recirculated, and some of any mask and priority above these."""
    found = [Rule(Match(recirc_id=number), ending(chance)) for number in (0, 1, 2)]
    found += [Rule(Match(recirc_id=7, dp_hash=(bit, 1)), ending(chance)) for bit in (0, 1)]
    names = [name for name in FIELDS if not name.startswith(("tun_", "ct_", "skb_"))]
    with Datapath.simulate(ports=3) as dp:
        for _ in range(12):
            mask = 0
            for name in chance.sample(names, chance.randrange(1, 4)):
                mask |= FIELDS[name].place(chance.choice((FIELDS[name].max, chance.getrandbits(FIELDS[name].bits))))
            match = Match.from_ints(parse(chance.choice(frames), FIELDS["in_port"].place(1)), mask)
            with suppress(ConfigError, OverlapError, ExistsError):
                found.append(dp.flows.add(match, ending(chance), priority=chance.randrange(1, 4)))
    return found


def seen(frame: bytes) -> set[str]:
    """How a frame may be seen: the outermost VLAN tag may lie beside it, where BPF_PROG_TEST_RUN does not look."""
    tagged = frame[12:14] in (b"\x81\0", b"\x88\xa8")
    return {frame.hex(), (frame[:12] + frame[16:]).hex()} if tagged else {frame.hex()}


def counted(dp: Datapath) -> tuple[object, ...]:
    """Each rule with its packets, the drops of port 1 by reason, and those of drop actions by theirs."""
    return (
        {flow.rule: (flow.stats.packets, flow.stats.bytes) for flow in dp.flows},
        dp.ports.stats(1).drops, dp.explicit_drops(),
    )  # fmt: skip


def more(after: tuple[object, ...], before: tuple[object, ...]) -> tuple[object, ...]:
    """The counters, those of drops as much as they have grown."""
    grown: list[object] = []
    for new, old in zip(after[1:], before[1:], strict=True):
        assert isinstance(new, dict)
        assert isinstance(old, dict)
        grown.append({reason: grew for reason, count in new.items() if (grew := count - old.get(reason, 0))})
    return (after[0], *grown)


@pytest.mark.parametrize("seed", range(60))
def test_programs_and_simulation_leave_a_packet_alike(wired: tuple[Datapath, bytes], seed: int) -> None:
    kernel, context = wired
    chance = Random(seed)
    frames = [frame for _ in range(20) if runs(frame := bytes(random_packet(chance)).ljust(60, b"\0"))]
    listed = rules(chance, frames)
    program = kernel._kernel.state.programs["vs_port"]
    with Datapath.simulate(ports=3) as simulated:
        for dp in (kernel, simulated):
            dp.flows.replace(listed)
        before = counted(kernel)
        for frame in frames:
            result = prog_test_run(program, frame, context, data_out_size=len(frame) + 256)
            sent = simulated.receive(frame, 1)
            assert (result.retval == REDIRECT) == bool(sent), (result.retval, sent)
            assert result.retval in (SHOT, REDIRECT)
            if sent:
                assert result.data_out.hex() in seen(sent[-1].packet)
        assert more(counted(kernel), before) == counted(simulated)
