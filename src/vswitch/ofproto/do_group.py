"""Groups: which buckets have the packet, and carrying them out (OpenFlow 1.5.1 section 5.10).

Each bucket is an action set of its own, done to a copy: the packet is as it was afterwards.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vswitch.fields.registry import SLOTS
from vswitch.messages import actions as a
from vswitch.messages.flows import ANY_GROUP, ANY_PORT, Bucket, GroupType
from vswitch.ofproto.action_set import in_order
from vswitch.ofproto.do_output import is_live_port
from vswitch.ofproto.run import MAX_DEPTH, Halt, Run, Stop
from vswitch.ofproto.select import hash_named, hash_of_fields, heaviest, shares
from vswitch.ofproto.translation import GroupView, Stage

__all__ = ["DO_GROUP"]

_DP_HASH = SLOTS["dp_hash"]
_in_order: dict[int, tuple[Bucket, tuple[a.FlowAction, ...]]] = {}
"""What buckets do, in order, by their identity; they stay alive in here, so that none gets the identity of another."""
_MAX_IN_ORDER = 8192


def _ordered(bucket: Bucket) -> tuple[a.FlowAction, ...]:
    # hot: once per bucket that is carried out
    known = _in_order.get(id(bucket))
    if known is None:
        if len(_in_order) >= _MAX_IN_ORDER:
            _in_order.clear()
        known = _in_order[id(bucket)] = bucket, in_order(bucket.actions)
    return known[1]


def _group(run: Run, action: a.Group) -> None:
    number = action.id
    run.depends.add(("group", number))
    group = run.view.groups.get(number)
    if group is None:
        if run.recorder is not None:
            run.recorder.note(f">> no group {number}")
        return
    buckets: tuple[Bucket, ...] = group.buckets
    if group.type == GroupType.ALL:
        run.packet.commit()
        for at, bucket in enumerate(buckets):
            _bucket(run, number, at, bucket)
        return
    index: int | None
    if group.type == GroupType.INDIRECT:
        index = 0 if buckets else None
    elif group.type == GroupType.FAST_FAILOVER:
        index = next((at for at, each in enumerate(buckets) if _is_live(run, each, 0)), None)
    else:
        index = _select(run, group, buckets)
        if run.halt is not Halt.NOT:
            return
    if index is not None:
        _bucket(run, number, index, buckets[index])


def _bucket(run: Run, number: int, index: int, bucket: Bucket) -> None:
    run.buckets.append((number, index))
    stage = Stage(run.stage.table, run.stage.rule, "group")
    recorder = run.recorder
    if recorder is None:
        run.on_copy(lambda: run.act(_ordered(bucket), stage))
        return
    level = recorder.depth
    recorder.title(f"bucket {index}", run.packet.key)
    run.on_copy(lambda: run.act(_ordered(bucket), stage))
    recorder.leave(level)


# ---- which are alive


def _is_live(run: Run, bucket: Bucket, depth: int) -> bool:
    """A bucket that watches nothing is."""
    if depth > MAX_DEPTH:
        return False
    if bucket.watch_port == ANY_PORT and bucket.watch_group == ANY_GROUP:
        return True
    if bucket.watch_port != ANY_PORT and is_live_port(run, bucket.watch_port):
        return True
    return bucket.watch_group != ANY_GROUP and _is_live_group(run, bucket.watch_group, depth + 1)


def _is_live_group(run: Run, number: int, depth: int) -> bool:
    run.depends.add(("group", number))
    group = run.view.groups.get(number)
    return group is not None and any(_is_live(run, each, depth) for each in group.buckets)


# ---- which one is selected


def _select(run: Run, group: GroupView, buckets: tuple[Bucket, ...]) -> int | None:
    live = [(index, each.weight) for index, each in enumerate(buckets) if each.weight > 0 and _is_live(run, each, 0)]
    if len(live) <= 1:
        return live[0][0] if live else None
    if group.selection == "hash":
        if group.fields:
            hashed = hash_of_fields(run.packet, tuple(group.fields), group.selection_param)
        else:
            hashed = hash_named(run.packet, "symmetric_l4", group.selection_param)
        return heaviest(hashed, live)
    seed = group.selection_param & 0xFFFFFFFF
    if run.hashed != seed:
        run.halt_for(Stop("hash", seed, again=True))
        return None
    given = shares(tuple(each.weight for each in buckets))
    low = _DP_HASH.take(run.packet.consult(_DP_HASH.place(len(given) - 1)))
    index = given[low]
    if any(index == each for each, _ in live):
        return index
    return heaviest(low, live)


DO_GROUP: dict[type, Callable[[Run, Any], None]] = {a.Group: _group}
