"""What OpenFlow's tables cost, without a wire and without a datapath: 100,000 flows beside 1,000."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Iterator
from functools import cache, partial
from random import Random

from bench.measure import SUBJECT, Figure, Plan, compare, interleave
from vswitch.fields.openflow import OPENFLOW_FIELDS
from vswitch.messages.actions import Output
from vswitch.messages.flows import ALL_TABLES, FlowCommand, FlowMod
from vswitch.messages.match import FlowMatch
from vswitch.ofproto.classifier import Wildcards
from vswitch.ofproto.session import Session
from vswitch.ofproto.switch import Switch

__all__ = ["tables"]

FEW, MANY = 1000, 100_000
LOOKUPS = 2000
_SHAPES = (
    ("in_port", "eth_type", "ip_proto", "ipv4_src", "ipv4_dst", "tcp_src", "tcp_dst"),
    ("eth_dst",),
    ("in_port", "eth_src"),
    ("eth_type", "ipv4_dst"),
    ("eth_type", "ipv4_src"),
    ("eth_type", "ip_proto", "tcp_dst"),
    ("in_port", "eth_type", "arp_op"),
    ("metadata",),
)
"""The fields of eight kinds of flows: as many subtables."""
_FIXED = {"eth_type": 0x0800, "ip_proto": 6}


def tables(plan: Plan) -> Iterator[Figure]:
    """Flow-mods and lookups in a table of 100,000 flows beside one of 1,000; memory of a flow."""
    many, few = f"{SUBJECT}, {MANY:,} flows", f"{SUBJECT}, {FEW:,} flows"
    for case, measure in (
        ("flow-mods that add", _add),
        ("flow-mods that change one flow", _change_one),
        ("one flow-mod that changes all, each flow", _change_all),
        ("one flow-mod that deletes all, each flow", _delete_all),
        ("lookup in 8 subtables", _lookup),
    ):
        asked = {label: partial(measure, count) for label, count in ((many, MANY), (few, FEW))}
        yield from compare(case, "us", interleave(case, plan.rounds, asked), many)
    yield Figure("memory of a flow in a table", _memory(MANY), "bytes", few, _memory(FEW), _memory(MANY) / _memory(FEW))


@cache
def _mods(count: int) -> tuple[FlowMod, ...]:
    chance = Random(1)
    found: dict[FlowMatch, FlowMod] = {}
    while len(found) < count:
        shape = _SHAPES[len(found) % len(_SHAPES)]
        value = mask = 0
        for name in shape:
            view = OPENFLOW_FIELDS[name].view
            value |= view.place(_FIXED.get(name, chance.getrandbits(view.bits)))
            mask |= view.mask
        match = FlowMatch.from_ints(value, mask)
        found[match] = FlowMod(FlowCommand.ADD, match, (Output(chance.randrange(1, 5)),), 100 + len(shape))
    return tuple(found.values())


def _filled(count: int) -> tuple[Switch, Session]:
    switch, session = Switch(), Session(4)
    switch.connect(session)
    for mod in _mods(count):
        switch.handle(mod, 1, session, 1)
    return switch, session


def _add(count: int) -> float:
    _mods(count)
    begin = time.perf_counter()
    _filled(count)
    return (time.perf_counter() - begin) / count * 1e6


def _change_one(count: int) -> float:
    switch, session = _filled(count)
    mods = [
        FlowMod(FlowCommand.MODIFY_STRICT, mod.match, (Output(9),), mod.priority)
        for mod in Random(2).sample(_mods(count), min(count, LOOKUPS))
    ]
    begin = time.perf_counter()
    for mod in mods:
        switch.handle(mod, 1, session, 2)
    return (time.perf_counter() - begin) / len(mods) * 1e6


def _change_all(count: int) -> float:
    switch, session = _filled(count)
    begin = time.perf_counter()
    switch.handle(FlowMod(FlowCommand.MODIFY, actions=(Output(9),)), 1, session, 2)
    return (time.perf_counter() - begin) / count * 1e6


def _delete_all(count: int) -> float:
    switch, session = _filled(count)
    begin = time.perf_counter()
    switch.handle(FlowMod(FlowCommand.DELETE, table=ALL_TABLES), 1, session, 2)
    return (time.perf_counter() - begin) / count * 1e6


def _lookup(count: int) -> float:
    """Of packets that some flow takes, with other bits around what it looks at."""
    classifier = _filled(count)[0].tables[0].classifier
    chance = Random(3)
    around = OPENFLOW_FIELDS["ip_ttl"].view.place(64) | OPENFLOW_FIELDS["eth_src"].view.place(0x020000000001)
    keys = [mod.match.value | around & ~mod.match.mask for mod in chance.choices(_mods(count), k=LOOKUPS)]
    begin = time.perf_counter()
    for key in keys:
        classifier.lookup(key, Wildcards())
    return (time.perf_counter() - begin) / len(keys) * 1e6


def _memory(count: int) -> float:
    """Of a flow, its match and action included."""
    _mods.cache_clear()
    tracemalloc.start()
    _kept = _filled(count)
    _mods.cache_clear()
    used = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return used / count
