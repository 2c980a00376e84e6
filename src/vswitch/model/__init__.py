"""The values that all rooms speak in: keys, matches, actions, megaflows, upcalls. Frozen, and without effects."""

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
from vswitch.model.port import Port, PortChange, PortEvent, PortKind, PortStats
from vswitch.model.sent import Sent
from vswitch.model.upcall import Offload, UpcallReason

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
