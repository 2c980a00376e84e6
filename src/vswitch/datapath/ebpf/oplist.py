"""Action lists, compiled to the ops that bpf/actions.h executes, and the arena in the kernel where they lie.

A megaflow without actions, with one drop or one output needs no list: its action word says it all. Everything else
is a block of ops:

    header | main list | nested lists ... | the actions as JSON

The JSON is how another process, or a dump, learns what the list was. Equal lists share one block, counted.

Invariant: a block is written whole before its offset is given out, and used again only after a grace period.
"""

from __future__ import annotations

import json
import struct
from bisect import bisect
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

from vswitch.base.errors import LimitError, NotFoundError, TableFullError
from vswitch.datapath.ebpf.layout import OP, Verdict
from vswitch.datapath.tunnel import TUNNEL_DEFAULTS, Tunnel, set_tunnel_field
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
from vswitch.model.plain import actions_from_plain, actions_to_plain
from vswitch.packet.spots import SPOTS

__all__ = ["Arena", "OpCode", "compile_list"]


class OpCode:
    """`enum op_code` of bpf/state.h."""

    NOTHING, OUTPUT, DROP, SET, SET_MARK, SET_PRIORITY, SET_VLAN, SET_TUNNEL = range(8)
    PUSH_VLAN, POP_VLAN, PUSH_MPLS, POP_MPLS, DEC_TTL, RECIRCULATE, HASH, SAMPLE = range(8, 16)
    METER, CLONE, CHECK_LENGTH, USERSPACE = range(16, 20)


MAX_STEPS = 255
"""Ops of one list: eight bits in the word that a packet carries from program to program."""

_RESERVED = 1
"""Op 0 is none."""


def _op(code: int, *, a8: int = 0, a16: int = 0, a32: int = 0, value: int = 0, mask: int = 0, extra: int = 0) -> bytes:
    return OP.pack(code, a8, a16, a32, value, mask, extra)


def _set_ops(action: SetField) -> list[bytes]:
    """The ops of one set-field that is no tunnel's."""
    if action.name in ("skb_mark", "skb_priority"):
        code = OpCode.SET_MARK if action.name == "skb_mark" else OpCode.SET_PRIORITY
        return [_op(code, value=action.value, mask=action.mask)]
    if action.name.startswith("vlan_"):
        shift = FIELDS[action.name].shift
        return [_op(OpCode.SET_VLAN, value=action.value << shift, mask=action.mask << shift)]
    return _packet_ops(action)


def _packet_ops(action: SetField) -> list[bytes]:
    """Windows of 4 bytes at offsets that are a multiple of 2, so that one sum over old and new gives the change of
    every Internet checksum over them. An address behind an odd word (ARP) takes two windows."""
    view = FIELDS[action.name]
    ops = []
    for spot in SPOTS[action.name]:
        end = spot.bit + view.bits
        for start in _windows(spot.bit, end):
            behind = start + 32 - end  # bits of the window behind the field; negative: the field goes on
            value = (action.value << behind if behind >= 0 else action.value >> -behind) & 0xFFFFFFFF
            mask = (action.mask << behind if behind >= 0 else action.mask >> -behind) & 0xFFFFFFFF
            if mask:
                where = {"a8": spot.base, "a16": start // 8, "a32": 4 | spot.sums << 8}
                ops.append(_op(OpCode.SET, **where, value=_swapped(value), mask=_swapped(mask)))
    return ops


def _windows(begin: int, end: int) -> list[int]:
    """Where windows of 32 bits start that cover a field; the last ends with it, over one before if need be, as what is
    behind a field may be the end of the packet."""
    if begin % 32 + end - begin <= 32:
        return [begin // 32 * 32]
    return [min(start, end - 32) for start in range(begin // 16 * 16, end, 32)]


def _swapped(word: int) -> int:
    return int.from_bytes(word.to_bytes(4, "big"), "little")


def _tunnel_ops(tunnel: Tunnel) -> list[bytes]:
    """The kernel takes the whole tunnel key at once, so all tunnel fields set in a row make one op."""
    ipv6 = "tun_ipv6_dst" in tunnel or "tun_ipv6_src" in tunnel
    op = _op(
        OpCode.SET_TUNNEL,
        a8=tunnel.get("tun_tos", 0),
        a16=tunnel["tun_ttl"] | (tunnel["tun_flags"] & 0xFF) << 8,
        a32=0 if ipv6 else _swapped(tunnel.get("tun_src", 0)),
        value=tunnel.get("tun_id", 0),
        mask=0 if ipv6 else _swapped(tunnel.get("tun_dst", 0)),
        extra=int(ipv6),
    )
    if not ipv6:
        return [op]
    addresses = tunnel.get("tun_ipv6_src", 0).to_bytes(16, "big") + tunnel.get("tun_ipv6_dst", 0).to_bytes(16, "big")
    return [op, addresses]


@dataclass(frozen=True, slots=True)
class _Nesting:
    """An op that refers to other lists: its members without these, the lists by member, and what they begin with."""

    members: dict[str, int]
    lists: dict[str, tuple[Action, ...]]
    tunnel: Tunnel


class _Block:
    """Ops of one list and its nested lists, as they will lie at offset `at`."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.ops: list[bytes] = []

    def place(self, actions: tuple[Action, ...], tunnel: Tunnel = TUNNEL_DEFAULTS) -> int:
        """Append a list (its nested lists behind it); where it begins | its length << 32."""
        ops = list(_flatten(actions, tunnel))
        if len(ops) > MAX_STEPS:
            raise LimitError(f"actions compile to {len(ops)} steps, more than {MAX_STEPS}")
        begin = len(self.ops)
        self.ops += [b""] * len(ops)
        for place, op in enumerate(ops):
            if isinstance(op, bytes):
                self.ops[begin + place] = op
            else:
                placed = {name: self.place(nested, op.tunnel) for name, nested in op.lists.items()}
                self.ops[begin + place] = _op(**op.members, **placed)
        return (self.at + begin) | len(ops) << 32


def _flatten(actions: tuple[Action, ...], tunnel: Tunnel) -> Iterator[bytes | _Nesting]:  # noqa: C901 - a table
    """One op, or what one is made from when its nested lists have places, after another."""
    longest = 0
    pending = False  # tunnel fields that no op has set yet
    for action in actions:
        if isinstance(action, SetField) and action.name.startswith("tun_"):
            tunnel, pending = set_tunnel_field(tunnel, action), True
            continue
        if pending:
            yield from _tunnel_ops(tunnel)
            pending = False
        match action:
            case Output(port):
                yield _op(OpCode.OUTPUT, a32=port, extra=longest)
                longest = 0
            case Userspace(userdata):
                yield _op(OpCode.USERSPACE, a8=len(userdata), extra=longest)
                yield from _data(userdata)
                longest = 0
            case Truncate(length):
                longest = length
            case Drop(reason):
                yield _op(OpCode.DROP, a8=reason)
            case SetField():
                yield from _set_ops(action)
            case PushVlan(vid, pcp, tpid):
                yield _op(OpCode.PUSH_VLAN, a16=tpid, a32=vid | pcp << 13)
            case PopVlan():
                yield _op(OpCode.POP_VLAN)
            case PushMpls(label, tc, ttl, bos, ethertype):
                yield _op(OpCode.PUSH_MPLS, a16=ethertype, a32=label << 12 | tc << 9 | bos << 8 | ttl)
            case PopMpls(ethertype):
                yield _op(OpCode.POP_MPLS, a16=ethertype)
            case DecTtl(exceeded):
                yield _Nesting({"code": OpCode.DEC_TTL}, {"value": exceeded}, tunnel)
            case Recirculate(number):
                yield _op(OpCode.RECIRCULATE, a32=number)
            case Hash(seed):
                yield _op(OpCode.HASH, a32=seed)
            case Sample(probability, nested):
                yield _Nesting({"code": OpCode.SAMPLE, "a32": probability}, {"value": nested}, tunnel)
            case Meter(number):
                yield _op(OpCode.METER, a32=number)
            case Clone(nested):
                yield _Nesting({"code": OpCode.CLONE}, {"value": nested}, tunnel)
            case CheckPacketLength(length, greater, less_equal):
                lists = {"value": greater, "mask": less_equal}
                yield _Nesting({"code": OpCode.CHECK_LENGTH, "a32": length}, lists, tunnel)


def _data(content: bytes) -> list[bytes]:
    """User data, always two ops long."""
    padded = content.ljust(2 * OP.size, b"\0")
    return [padded[at : at + OP.size] for at in range(0, len(padded), OP.size)]


@lru_cache(256)
def compile_list(actions: tuple[Action, ...], at: int) -> tuple[bytes, int]:
    """The block for `actions` as it lies from op `at` on, and the length (ops) of its main list."""
    # hot: once per packet that is executed, mostly the same list in the same place
    block = _Block(at + 1)
    count = block.place(actions) >> 32
    source = json.dumps(actions_to_plain(actions), separators=(",", ":")).encode()
    chunks = -(-len(source) // OP.size)
    total = 1 + len(block.ops) + chunks
    header = _op(OpCode.NOTHING, a32=total, value=1 + len(block.ops), mask=len(source))
    return header + b"".join(block.ops) + source.ljust(chunks * OP.size, b"\0"), count


def _single_word(actions: tuple[Action, ...]) -> int | None:
    """The action word that needs no list; None if there is none such."""
    match actions:
        case ():
            return 0
        case (Output(port),):
            return Verdict.OUTPUT << 48 | port
        case (Drop(reason),):
            return Verdict.DROP << 48 | 1 << 32 | reason
        case _:
            return None


@dataclass(slots=True)
class _Held:
    word: int
    at: int
    ops: int
    users: int = 0


@dataclass(slots=True)
class Arena:
    """The ops of all lists of one datapath. Only the process that controls it may call what changes it.

    `memory`: the map `ops` as bytes. Free room is kept as ranges sorted by place, first fit. `full_before`: for each
    length that was asked for, a step before which no range is so long, so that these are not looked through again.
    `last_single`: actions that needed no list, and their word."""

    memory: memoryview
    held: dict[tuple[Action, ...], _Held] = field(default_factory=dict)
    by_word: dict[int, tuple[Action, ...]] = field(default_factory=dict)
    free: list[tuple[int, int]] = field(default_factory=list)
    full_before: dict[int, int] = field(default_factory=dict)
    last_single: tuple[tuple[Action, ...], int] = ((), 0)

    def __post_init__(self) -> None:
        self.free = [(_RESERVED, len(self.memory) // OP.size - _RESERVED)]

    def adopt(self, words: Counter[int]) -> None:
        """Take up the lists that flows use already: their action words, and how many flows have each."""
        taken = []
        for word, users in words.items():
            if word >> 48 == Verdict.LIST:
                actions = self.decode(word)
                at = (word & 0xFFFFFFFF) - 1
                held = _Held(word, at, OP.unpack_from(self.memory, at * OP.size)[3], users)
                self.held[actions] = held
                self.by_word[word] = actions
                taken.append((held.at, held.ops))
        self.free, self.full_before = [], {}
        begin = _RESERVED
        for at, ops in sorted(taken):
            if at > begin:
                self.free.append((begin, at - begin))
            begin = at + ops
        size = len(self.memory) // OP.size
        if size > begin:
            self.free.append((begin, size - begin))

    def acquire(self, actions: tuple[Action, ...]) -> int:
        """The action word for `actions`; `release` it when no flow uses it. TableFullError if there is no room."""
        # hot: once per megaflow
        last, word = self.last_single
        if actions is last:
            return word
        single = _single_word(actions)
        if single is None:
            return self.acquire_list(actions)
        self.last_single = actions, single
        return single

    def acquire_list(self, actions: tuple[Action, ...]) -> int:
        """As `acquire`, but always a list: what a packet that is sent down executes."""
        held = self.held.get(actions) or self._store(actions)
        held.users += 1
        return held.word

    def _store(self, actions: tuple[Action, ...]) -> _Held:
        block, count = compile_list(actions, 0)
        ops = len(block) // OP.size
        at = self._take(ops)
        block, count = compile_list(actions, at)
        self.memory[at * OP.size : (at + ops) * OP.size] = block
        held = _Held(Verdict.LIST << 48 | count << 32 | (at + 1), at, ops)
        self.held[actions] = held
        self.by_word[held.word] = actions
        return held

    def _take(self, ops: int) -> int:
        """The first free room for so many ops. TableFullError."""
        size = len(self.memory) // OP.size
        first = bisect(self.free, (self.full_before.get(ops, 0),))
        place = next((place for place in range(first, len(self.free)) if self.free[place][1] >= ops), None)
        if place is None:
            self.full_before[ops] = size
            raise TableFullError(f"no room for {ops} steps of actions: {len(self.held)} lists fill max_ops {size}")
        at, room = self.free[place]
        self.free[place : place + 1] = [(at + ops, room - ops)] if room > ops else []
        self.full_before[ops] = at
        return at

    def release(self, word: int) -> None:
        """One user of this action word less. Call it only after a grace period."""
        if word >> 48 != Verdict.LIST:
            return
        actions = self.by_word[word]
        held = self.held[actions]
        held.users -= 1
        if not held.users:
            del self.held[actions], self.by_word[word]
            self._give_back(held.at, held.ops)

    def _give_back(self, at: int, ops: int) -> None:
        """Free room, one with that beside it. The ranges do not touch each other, so only the two neighbours can."""
        place = bisect(self.free, (at,))
        begin, end = at, at + ops
        first = last = place
        if place and sum(self.free[place - 1]) == begin:
            first, begin = place - 1, self.free[place - 1][0]
        if place < len(self.free) and self.free[place][0] == end:
            last, end = place + 1, sum(self.free[place])
        self.free[first:last] = [(begin, end - begin)]
        for length, full in self.full_before.items():
            if begin < full and length <= end - begin:
                self.full_before[length] = begin

    def decode(self, word: int) -> tuple[Action, ...]:
        """The actions that an action word stands for.

        Who reads beside the process that controls the datapath may find that the block was given to another list
        meanwhile. NotFoundError if what is there makes no sense; it may make sense and be another list's: only if the
        flow has the word still, or again, afterwards, is it the flow's."""
        verdict, argument = word >> 48, word & 0xFFFFFFFF
        if verdict == Verdict.OUTPUT:
            return (Output(argument),)
        if verdict == Verdict.DROP:
            return (Drop(argument),) if word >> 32 & 1 else ()
        known = self.by_word.get(word)
        if known is not None:
            return known
        try:
            header = (argument - 1) * OP.size
            _, _, _, _, source, length, _ = OP.unpack_from(self.memory, header)
            begin = header + source * OP.size
            return actions_from_plain(json.loads(bytes(self.memory[begin : begin + length])))
        except _NONSENSE as problem:
            raise NotFoundError(f"the action list at step {argument} has just been changed") from problem


_NONSENSE = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError, struct.error)
"""What the bytes of half a block may raise: no UTF-8 (a ValueError, as ConfigError is), no JSON, an action with another
one's members."""
