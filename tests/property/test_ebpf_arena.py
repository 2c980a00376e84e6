"""The room of action lists: what is free agrees with a naive account, and half a list is never taken for one."""

from __future__ import annotations

import contextlib
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vswitch.base.errors import NotFoundError, TableFullError
from vswitch.datapath.ebpf.layout import OP, Verdict
from vswitch.datapath.ebpf.oplist import Arena, compile_list
from vswitch.model.actions import Action, Clone, DecTtl, Output, PushVlan, Userspace

Actions = tuple[Action, ...]

STEPS = 128


def numbered(number: int, length: int) -> Actions:
    """A list that needs room, of so many outputs; lists of different numbers are different."""
    return (PushVlan(number), *[Output(number)] * length)


def arena_of(steps: int) -> Arena:
    return Arena(memoryview(bytearray(steps * OP.size)))


def free_by_naive_account(arena: Arena, steps: int) -> list[tuple[int, int]]:
    """Each step that no list has, in ranges as long as can be. Step 0 is nobody's."""
    used = {0}.union(*(range(held.at, held.at + held.ops) for held in arena.held.values()))
    ranges: list[tuple[int, int]] = []
    for step in range(steps):
        if step in used:
            continue
        if ranges and sum(ranges[-1]) == step:
            ranges[-1] = (ranges[-1][0], ranges[-1][1] + 1)
        else:
            ranges.append((step, 1))
    return ranges


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 30), st.integers(1, 12)), max_size=60))
def test_free_room_is_what_no_list_has(changes: list[tuple[bool, int, int]]) -> None:
    arena = arena_of(STEPS)
    words: list[int] = []
    for take, number, length in changes:
        if take:
            before = list(arena.free)
            try:
                words.append(arena.acquire(numbered(number, length)))
            except TableFullError:
                need = len(compile_list(numbered(number, length), 0)[0]) // OP.size
                assert max((room for _, room in before), default=0) < need
                assert arena.free == before
        elif words:
            arena.release(words.pop(number % len(words)))
        assert arena.free == free_by_naive_account(arena, STEPS)
        for long, full in arena.full_before.items():
            assert all(at >= full or room < long for at, room in arena.free), "a place that would never be found again"
    again = arena_of(STEPS)
    again.memory[:] = arena.memory
    again.adopt(Counter(words))
    assert (again.free, again.held) == (arena.free, arena.held)
    for word in words:
        arena.release(word)
    assert arena.free == [(1, STEPS - 1)]


LISTS: list[Actions] = [
    (Userspace(b"text"), Output(1)),
    (Clone((DecTtl((Output(3),)), Output(4))), Output(5)),
    numbered(7, 20),
]


@pytest.mark.parametrize("actions", LISTS, ids=str)
def test_list_is_read_back_by_another_process(actions: Actions) -> None:
    arena = arena_of(STEPS)
    word = arena.acquire(actions)
    assert Arena(arena.memory).decode(word) == actions


@pytest.mark.parametrize("old", LISTS, ids=str)
@pytest.mark.parametrize("new", LISTS, ids=str)
def test_block_that_is_being_rewritten_is_some_list_or_said_to_be_changed(old: Actions, new: Actions) -> None:
    """As it is after each byte."""
    arena = arena_of(STEPS)
    word = arena.acquire(old)
    block, _ = compile_list(new, 1)
    for end, byte in enumerate(block):
        arena.memory[OP.size + end] = byte
        with contextlib.suppress(NotFoundError):
            assert all(isinstance(action, Action) for action in Arena(arena.memory).decode(word))
    assert Arena(arena.memory).decode(word) == new


# JSON of what is no list of actions
NONSENSE = [
    b"", b"[", b"\xff\xfe", b"5", b"null", b"{}", b'""', b'"text"', b"[5]", b"[[]]", b'[["Output"]]',
    b'[["Output",1,2]]', b'[["Output","1"]]', b'[["Output",{}]]', b'[["Userspace"]]', b'[["Userspace",5]]',
    b'[["Userspace","x"]]',
    b'[["Nothing"]]', b'[[["Output",1]]]', b'[["SetField","tcp_dst",1e400]]', b'[["SetField",1,2,3]]', b"[" * 3000,
    b'[["SetField","ipv4_dst",null,null]]', b'[["Hash",NaN]]', b'[["Clone",5]]', b'[["Action",1]]',
]  # fmt: skip


@pytest.mark.parametrize("text", NONSENSE)
def test_nonsense_is_said_to_be_changed(text: bytes) -> None:
    steps = 2 + len(text) // OP.size + 1
    arena = arena_of(1 + steps)
    block = OP.pack(0, 0, 0, steps, 1, len(text), 0) + text
    arena.memory[OP.size : OP.size + len(block)] = block
    with pytest.raises(NotFoundError, match="has just been changed"):
        arena.decode(Verdict.LIST << 48 | 1 << 32 | 2)


def test_place_or_length_that_no_block_has_is_said_to_be_changed() -> None:
    chance = random.Random(1)
    arena = arena_of(STEPS)
    for _ in range(2000):
        arena.memory[:] = chance.randbytes(len(arena.memory))
        with pytest.raises(NotFoundError, match="has just been changed"):
            arena.decode(Verdict.LIST << 48 | 1 << 32 | chance.choice((0, 1, 2, STEPS, STEPS + 1, 0xFFFFFFFF)))
