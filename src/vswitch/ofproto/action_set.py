"""The action set of a packet: one action of each kind, carried out when the tables are through.

The order is its own (OpenFlow 1.5.1 section 5.6). Buckets of groups are such sets too. Of several actions of a kind the
last is kept; of fields each has its own. A set without an output, group or lookup at its end does nothing.
"""

from __future__ import annotations

from vswitch.messages import actions as a
from vswitch.messages.actions import FlowAction

__all__ = ["in_order", "output_port", "written"]

_FIRST: tuple[tuple[type, ...], ...] = (
    (a.CopyTtlIn,), (a.PopVlan,), (a.PopMpls,), (a.PopPbb,), (a.Decap,), (a.Encap,), (a.PushMpls,), (a.PushPbb,),
    (a.PushVlan,), (a.CopyTtlOut,), (a.DecTtl,), (a.DecMplsTtl,),
)  # fmt: skip
"""Kinds, in their order, of which there is one at most."""
_FIELDS: tuple[type, ...] = (
    a.SetField, a.RegLoad, a.RegMove, a.ModField, a.ModVlanVid, a.ModVlanPcp, a.SetMplsLabel, a.SetMplsTc,
    a.SetMplsTtl, a.SetTunnel, a.DeleteField,
)  # fmt: skip
"""In the order in which they were written."""
_LAST: tuple[type, ...] = (a.Group, a.Output, a.Resubmit, a.Ct)
"""The first of these kinds that is there is the end."""
_OUTPUTS: tuple[type, ...] = (a.Output, a.OutputReg, a.Controller, a.Enqueue, a.Bundle)


def written(before: tuple[FlowAction, ...], more: tuple[FlowAction, ...]) -> tuple[FlowAction, ...]:
    """The set after more is written into it: of all kinds but those that set fields the last is kept."""
    both = before + more
    last = {type(each): index for index, each in enumerate(both)}
    return tuple(each for index, each in enumerate(both) if index == last[type(each)] or isinstance(each, _FIELDS))


def _last_of(actions: tuple[FlowAction, ...], kinds: tuple[type, ...]) -> FlowAction | None:
    return next((each for each in reversed(actions) if isinstance(each, kinds)), None)


def in_order(actions: tuple[FlowAction, ...]) -> tuple[FlowAction, ...]:
    """What is carried out of a set, in order."""
    end = None
    for kind in _LAST:
        end = _last_of(actions, (kind,))
        if end is None and kind is a.Output:
            end = _last_of(actions, _OUTPUTS)
        if end is not None:
            break
    if end is None:
        return ()
    found: list[FlowAction] = []
    for kinds in _FIRST:
        each = _last_of(actions, kinds)
        if each is not None:
            found.append(each)
    found.extend(each for each in actions if isinstance(each, _FIELDS))
    queue = _last_of(actions, (a.SetQueue,))
    if queue is not None:
        found.append(queue)
    return (*found, end)


def output_port(actions: tuple[FlowAction, ...]) -> int | None:
    """The port that the set sends to (field actset_output); None if to none, or if a group has it."""
    if _last_of(actions, (a.Group,)) is not None:
        return None
    last = _last_of(actions, (a.Output,))
    return last.port if isinstance(last, a.Output) else None
