"""Shared memory: array maps and the ring buffer."""

from __future__ import annotations

import ctypes
import mmap
import os
import select
import struct
from collections.abc import Iterator

import pytest

from tests.bpf.test_loader_program import loaded, object_bytes
from vswitch.base.errors import MachineError, PrivilegeError
from vswitch.datapath.ebpf.bpf_syscall import SyscallProgram, map_lookup, map_update
from vswitch.datapath.ebpf.libbpf import ObjectFile
from vswitch.datapath.ebpf.memory import RingBuffer, RingOnlooker, SharedMap

RECORD = 48


@pytest.fixture
def program() -> Iterator[ObjectFile]:
    with loaded() as program:
        yield program


@pytest.fixture
def ring() -> Iterator[tuple[RingBuffer, SyscallProgram]]:
    """The smallest ring there is, and a program that fills it."""
    with ObjectFile(object_bytes(), "loader") as program:
        program.set_max_entries("ring", mmap.PAGESIZE)
        program.load()
        ring = RingBuffer(program.map_fd("ring"))
        yield ring, SyscallProgram(program.program_fd("emit"), 8)
        ring.close()


def emit(producer: SyscallProgram, number: int, discard: bool = False) -> bool:
    producer.ctx[:] = struct.pack("=II", discard, number)
    return producer.run() == number


def numbers(ring: RingBuffer, found: list[int]) -> list[int]:
    headers = [struct.unpack_from("=I", ring.view, offset - 8)[0] for offset in found]
    assert headers == [RECORD] * len(found), "no record begins there"
    return [struct.unpack_from("=I", ring.view, offset + 4)[0] for offset in found]


def test_python_and_programs_see_the_same_values(program) -> None:
    fd = program.map_fd("items")
    items = SharedMap(fd)
    assert (items.entries, items.value_size, items.stride, len(items.view)) == (3, 20, 24, 72)
    items.value(2)[4:6] = struct.pack("=H", 80)
    SyscallProgram(program.program_fd("touch")).run()
    assert struct.unpack_from("=H", items.value(2), 4) == (81,)
    assert map_lookup(fd, struct.pack("=I", 2), 20) == bytes(items.value(2))
    map_update(fd, struct.pack("=I", 1), b"x" * 20)
    assert bytes(items.view) == bytes(24) + b"x" * 20 + bytes(4) + bytes(items.value(2)) + bytes(4)
    assert ctypes.string_at(items.address + 24, 20) == b"x" * 20
    items.close()


def test_stride_is_rounded_up_to_eight() -> None:
    with ObjectFile(object_bytes(), "loader") as program:
        for name in ("touch", "careless"):
            program.set_autoload(name, False)
        program.set_value_size("items", 5)
        program.load()
        items = SharedMap(program.map_fd("items"))
    assert (items.value_size, items.stride, len(items.view), len(items.value(1))) == (5, 8, 24, 5)
    items.close()


def test_values_past_the_end_are_refused(program) -> None:
    items = SharedMap(program.map_fd("items"))
    with pytest.raises(IndexError):
        items.value(3)
    items.close()


def test_variables_are_found_by_name(program) -> None:
    data = SharedMap(program.map_fd(".data"))
    place = program.variables(".data")["started_with"]
    SyscallProgram(program.program_fd("touch")).run()
    assert struct.unpack_from("=Q", data.view, place.offset) == (6,)
    data.close()


def test_constants_are_read_only(program) -> None:
    with pytest.raises((PrivilegeError, MachineError)):
        SharedMap(program.map_fd(".rodata"))
    constants = SharedMap(program.map_fd(".rodata"), writable=False)
    assert constants.view.readonly
    assert constants.address
    constants.close()


def test_memory_stays_while_a_view_of_it_lives() -> None:
    with loaded() as program:
        items = SharedMap(program.map_fd("items"))
        value = items.value(1)
        words = items.view.cast("Q")
    items.close()
    items.close()
    value[0] = 7
    assert words[3] == 7


def test_map_that_cannot_be_shared_is_refused(program) -> None:
    with pytest.raises(MachineError, match="of map table"):
        SharedMap(program.map_fd("table"))


def test_records_arrive_in_order(ring) -> None:
    ring, producer = ring
    assert ring.records(10) == []
    for number in range(5):
        emit(producer, number)
    assert numbers(ring, ring.records(3)) == [0, 1, 2]
    assert numbers(ring, ring.records(10)) == [3, 4]
    assert ring.records(10) == []


def test_discarded_records_are_skipped(ring) -> None:
    ring, producer = ring
    for number in range(8):
        emit(producer, number, discard=number % 3 == 0)
    assert numbers(ring, ring.records(2)) == [1, 2]
    assert numbers(ring, ring.records(10)) == [4, 5, 7]
    assert ring.position == ring.producer == 8 * (RECORD + 8)


def test_space_returns_only_when_it_is_given_back(ring) -> None:
    ring, producer = ring
    written = 0
    while emit(producer, written):
        written += 1
    assert written == mmap.PAGESIZE // (RECORD + 8)
    assert numbers(ring, ring.records(1000)) == list(range(written))
    assert not emit(producer, 1000), "read, but not given back"
    ring.advance()
    assert ring.consumer == ring.producer
    assert emit(producer, 1000)
    assert numbers(ring, ring.records(1000)) == [1000]


def test_records_across_the_end_are_contiguous(ring) -> None:
    ring, producer = ring
    crossed = False
    for number in range(1, 500):
        assert emit(producer, number)
        found = ring.records(10)
        assert numbers(ring, found) == [number]
        offset = found[0]
        crossed |= offset < ring.size < offset + RECORD
        assert ctypes.string_at(ring.address + offset, RECORD) == bytes(ring.view[offset : offset + RECORD])
        ring.advance()
    assert crossed, "no record lay across the end"


def test_part_of_what_was_read_can_be_given_back(ring) -> None:
    ring, producer = ring
    for number in range(3):
        emit(producer, number)
    ring.records(2)
    ring.advance(RECORD + 8)
    assert ring.consumer == RECORD + 8
    assert numbers(ring, ring.records(5)) == [2]


def test_next_reader_goes_on_where_the_last_gave_back(program) -> None:
    producer = SyscallProgram(program.program_fd("emit"), 8)
    for number in range(4):
        emit(producer, number)
    for expected in ([0, 1], [2, 3], []):
        ring = RingBuffer(program.map_fd("ring"))
        assert numbers(ring, ring.records(2)) == expected
        ring.advance()
        ring.records(1)  # not given back
        ring.close()
        ring.close()


def test_ring_is_readable_when_records_wait(ring) -> None:
    ring, producer = ring
    assert select.select([ring.fd], [], [], 0)[0] == []
    emit(producer, 1)
    assert select.select([ring.fd], [], [], 5)[0] == [ring.fd]
    ring.records(1)
    ring.advance()
    assert select.select([ring.fd], [], [], 0)[0] == []


def test_record_being_written_holds_back_those_behind_it(ring) -> None:
    ring, _ = ring
    busy = 1 << 31
    # what the kernel's memory looks like while a program on another CPU fills the second of three records
    area = bytearray(2 * ring.size)
    for offset, header in ((0, 8), (16, 8 | busy), (32, 8)):
        struct.pack_into("=I", area, offset, header)
    ring._headers = memoryview(area).cast("I")
    ring._producer = memoryview(struct.pack("=Q", 48)).cast("Q")
    assert ring.records(10) == [8]
    assert ring.records(10) == []
    struct.pack_into("=I", area, 16, 8 | 1 << 30)
    assert ring.records(10) == [40]


def test_onlooker_sees_what_the_reader_is_given_and_what_it_gave_back_just_now(ring) -> None:
    ring, producer = ring
    emit(producer, 1)
    onlooker = RingOnlooker(ring_fd := os.dup(ring.fd))
    os.close(ring_fd)
    assert list(onlooker.copies()) == [], "it begins with what comes from now on"
    for number in range(2, 300):
        emit(producer, number, discard=number % 3 == 0)
        ring.records(10)
        ring.advance()
        if number % 40 == 0:
            copied = [struct.unpack_from("=I", copy, 4)[0] for copy in onlooker.copies()]
            assert copied == [n for n in range(number - 39, number + 1) if n % 3 and n > 1]
    assert onlooker.overrun == 0
    assert {len(copy) for copy in onlooker.copies()} == {RECORD}
    onlooker.close()
    onlooker.close()


def test_onlooker_that_is_too_late_counts_what_it_has_missed(ring) -> None:
    ring, producer = ring
    onlooker = RingOnlooker(ring.fd)
    for number in range(200):
        emit(producer, number)
        if number <= 190:
            ring.records(1000)
            ring.advance()
    copied = [struct.unpack_from("=I", copy, 4)[0] for copy in onlooker.copies()]
    assert copied == list(range(191, 200)), "what the reader has not given back is there for certain"
    assert onlooker.overrun == 191 * (RECORD + 8)
    onlooker.close()


def test_onlooker_may_take_some_at_a_time(ring) -> None:
    ring, producer = ring
    onlooker = RingOnlooker(ring.fd)
    for number in range(10):
        emit(producer, number)
    assert [len(list(onlooker.copies(4))) for _ in range(4)] == [4, 4, 2, 0]
    onlooker.close()


def test_ring_needs_no_descriptor_of_the_map() -> None:
    with loaded() as program:
        fd = os.dup(program.map_fd("ring"))
        ring = RingBuffer(fd)
        os.close(fd)
        producer = SyscallProgram(program.program_fd("emit"), 8)
        emit(producer, 5)
        assert numbers(ring, ring.records(5)) == [5]
    ring.close()
