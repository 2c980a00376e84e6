"""The actions of flows that are told of, in each version's form: a list of them in OpenFlow 1.0, instructions later.

A dump of many flows writes the same few lists of actions again and again. Flows that were read from the wire share the
lists that are alike, so what was written is kept by the identity of the list.
"""

from __future__ import annotations

from vswitch.fields.openflow import OPENFLOW_FIELDS
from vswitch.messages.actions import FlowAction
from vswitch.messages.match import FlowMatch
from vswitch.openflow.instructions import encode_flow_actions

__all__ = ["MAX_KEPT", "actions_bytes"]

MAX_KEPT = 4096
"""Lists of actions whose encodings are kept; beyond it all are made anew."""

_PROTOCOL = OPENFLOW_FIELDS["ip_proto"].mask

_kept: dict[tuple[int, int, int], tuple[tuple[FlowAction, ...], bytes]] = {}
"""(identity, version, what decides of the match) -> the list, whose identity is its own while it is kept; its bytes."""


def actions_bytes(actions: tuple[FlowAction, ...], version: int, match: FlowMatch) -> bytes:  # hot: dumps of flows
    """The actions of a flow with this match."""
    if not actions:
        return b""
    key = (id(actions), version, match.value & _PROTOCOL)
    found = _kept.get(key)
    if found is None:
        if len(_kept) >= MAX_KEPT:
            _kept.clear()
        found = _kept[key] = (actions, encode_flow_actions(actions, version, match))
    return found[1]
