"""The values that all rooms speak in: keys, matches, actions, megaflows, upcalls. Frozen, and without effects.

The names live in the modules below and are fetched when they are first used: who wants matches alone does not wait for
the others.
"""

from __future__ import annotations

import typing

from vswitch.base.lazily import fetching

if typing.TYPE_CHECKING:
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
    from vswitch.model.match import Key, Match
    from vswitch.model.megaflow import FlowStats, Megaflow, Rule
    from vswitch.model.port import Policing, Port, PortChange, PortEvent, PortKind, PortStats
    from vswitch.model.sent import Sent
    from vswitch.model.upcall import Offload, UpcallReason

_MODULES = tuple(f"vswitch.model.{name}" for name in ("match", "actions", "megaflow", "port", "sent", "upcall"))

__all__ = [
    "Action",
    "CheckPacketLength",
    "Clone",
    "DecTtl",
    "Drop",
    "FlowStats",
    "Hash",
    "Key",
    "Match",
    "Megaflow",
    "Meter",
    "Offload",
    "Output",
    "Policing",
    "PopMpls",
    "PopVlan",
    "Port",
    "PortChange",
    "PortEvent",
    "PortKind",
    "PortStats",
    "PushMpls",
    "PushVlan",
    "Recirculate",
    "Rule",
    "Sample",
    "Sent",
    "SetField",
    "Truncate",
    "UpcallReason",
    "Userspace",
]

if not typing.TYPE_CHECKING:  # to mypy this would say that every name exists
    __getattr__ = fetching(globals(), _MODULES)
