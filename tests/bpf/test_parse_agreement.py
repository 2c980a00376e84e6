"""The kernel's parser and Python's come to the same key, bit for bit, for every frame.

The program vs_extract is run on a frame without any device (BPF_PROG_TEST_RUN) and leaves the key in dp.stage_key. What
such a run cannot have, VLAN tags beside the packet, packets in pieces and very short ones, is sent through a veth pair;
there the key of the upcall is compared.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from random import Random
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.examples import examples
from tests.frames import random_packet
from tests.lab import VNET_HEADER, Host, Lab
from tests.property.test_packet_parse_properties import any_frame
from tests.reactive import whole_batches
from tests.unit.test_packet_parse import FRAMES
from vswitch import Datapath, Key
from vswitch.datapath.ebpf.bpf_syscall import prog_test_run
from vswitch.datapath.ebpf.layout import DATAPATH
from vswitch.datapath.ebpf.state import State
from vswitch.fields import FIELDS, KEY_BYTES
from vswitch.packet.parse import parse

SHORTEST = {b"\x08\x00": 34, b"\x86\xdd": 54}  # bytes that BPF_PROG_TEST_RUN wants, by Ethernet type; else 15
ROWS = [cast(bytes, row.values[0]) for row in FRAMES]
MARK, PRIORITY, CB = 8, 32, 48  # offsets in struct __sk_buff


@pytest.fixture(scope="module")
def state() -> Iterator[State]:
    """The maps and programs of a datapath without ports."""
    with Lab(), Datapath.create(f"vsk{os.getpid()}", local=False) as datapath:
        yield datapath._kernel.state


def runs(frame: bytes) -> bool:
    """Whether BPF_PROG_TEST_RUN takes the frame."""
    return len(frame) >= SHORTEST.get(frame[12:14], 15)


def extract(state: State, frame: bytes, context: bytes = b"") -> int:
    """The kernel's key."""
    answer = prog_test_run(state.programs["vs_extract"], frame, context)
    assert answer.retval == 0
    return int.from_bytes(state.bytes[DATAPATH.STAGE_KEY : DATAPATH.STAGE_KEY + KEY_BYTES], "little")


def difference(frame: bytes, kernel: int, python: int) -> str:
    return f"frame {frame.hex()}\nkernel {Key(kernel)!r}\npython {Key(python)!r}\nbits {kernel ^ python:#x}"


def check(state: State, frame: bytes) -> None:
    if not runs(frame):
        return
    kernel, python = extract(state, frame), parse(frame)
    assert kernel == python, difference(frame, kernel, python)


def variants(frame: bytes, chance: Random, cuts: int, flips: int) -> Iterator[bytes]:
    """The frame, the frame cut short, and with some of its bits changed."""
    yield frame
    for _ in range(cuts):
        yield frame[: chance.randrange(14, len(frame) + 1)]
    for _ in range(flips):
        changed = bytearray(frame)
        for _ in range(chance.randrange(1, 4)):
            # mostly in the headers: what is behind them nobody reads
            changed[chance.randrange(min(len(frame), chance.choice((40, 100, 400))))] ^= 1 << chance.randrange(8)
        yield bytes(changed)


@pytest.mark.parametrize("frame", FRAMES)
def test_rows_of_the_parser_at_every_length(state: State, frame: bytes) -> None:
    for length in range(14, len(frame) + 1):
        check(state, frame[:length])


def test_valid_cut_and_damaged_packets(state: State) -> None:
    chance = Random(3)
    for _ in range(1500):
        for frame in variants(bytes(random_packet(chance)), chance, cuts=3, flips=4):
            check(state, frame)


@examples(1000)
@given(any_frame.filter(runs))
def test_random_and_hostile_frames(state: State, frame: bytes) -> None:
    check(state, frame)


@given(
    st.integers(0, 65534), st.integers(0, 0xFFFFFFFF), st.integers(0, 0xFFFFFFFF), st.integers(0, 0xFFFFFFFF),
    st.integers(0, 0xFFFFFFFF), st.sampled_from([frame for frame in ROWS if runs(frame)]),
)  # fmt: skip
def test_metadata_is_in_the_key(
    state: State, port: int, recirc_id: int, dp_hash: int, mark: int, priority: int, frame: bytes
) -> None:
    context = bytearray(192)
    struct.pack_into("=I", context, MARK, mark)
    struct.pack_into("=I", context, PRIORITY, priority)
    struct.pack_into("=III", context, CB, recirc_id, dp_hash, port)
    given = {
        "in_port": port, "recirc_id": recirc_id, "dp_hash": dp_hash, "skb_mark": mark, "skb_priority": priority,
    }  # fmt: skip
    metadata = sum(FIELDS[name].place(value) for name, value in given.items())
    assert extract(state, frame, bytes(context)) == parse(frame, metadata)


# --- through a device


@pytest.fixture
def sender(lab: Lab) -> Host:
    return lab.host("h1", mtu=9000)


@pytest.fixture
def dp(lab: Lab, sender: Host) -> Iterator[Datapath]:
    with Datapath.create(f"vsd{os.getpid()}", ports=[sender.port], local=False, port_quota_bytes=2 << 20) as datapath:
        datapath.start_upcalls()
        yield datapath


def check_upcalls(dp: Datapath, sender: Host, frames: list[bytes], vnet: bytes | None = None) -> None:
    """Every frame comes up as it was sent, in order, with the key that Python reads from it."""
    for begin in range(0, len(frames), 100):
        sent = frames[begin : begin + 100]
        sender.send_many(sent, vnet)
        came = [(miss.packet, miss.key.value, miss.port) for miss in whole_batches(dp).misses()]
        assert [frame.hex() for frame, _, _ in came] == [frame.hex() for frame in sent]
        for frame, key, port in came:
            expected = parse(frame, FIELDS["in_port"].place(port))
            assert key == expected, difference(frame, key, expected)
    assert dp.stats().lost == 0


def test_short_frames(dp: Datapath, sender: Host) -> None:
    frames = [frame[:length] for frame in ROWS for length in range(14, min(len(frame), 80))]
    check_upcalls(dp, sender, sorted({frame for frame in frames if arrives(frame) and not runs(frame)}))


def arrives(frame: bytes) -> bool:
    """Whether the kernel lets a frame in: it drops one whose VLAN tag is cut before any program sees it."""
    return len(frame) >= (20 if frame[12:14] in (b"\x81\x00", b"\x88\xa8") else 14)


def test_tags_beside_the_packet(dp: Datapath, sender: Host) -> None:
    chance = Random(4)
    frames = [*ROWS]
    for _ in range(400):
        frames += variants(bytes(random_packet(chance)), chance, cuts=1, flips=1)
    check_upcalls(dp, sender, [frame for frame in frames if arrives(frame)])


def test_packets_in_pieces(dp: Datapath, sender: Host) -> None:
    """A frame that is longer than a page, of which only `hdr_len` bytes lie in one piece."""
    for linear in (1, 20, 60):
        header = VNET_HEADER.pack(0, 0, linear, 0, 0, 0)
        check_upcalls(dp, sender, [frame.ljust(5000, b"\xa5") for frame in ROWS], header)
