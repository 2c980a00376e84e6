"""Requests for statistics and descriptions (multipart messages), and their replies.

A request is one message. A reply is many: `MultipartReply` holds entries of one kind, `more` says that further replies
follow. Who sends one hands over all entries; the codec cuts them into messages of at most 64 KB.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from vswitch.fields.openflow import OPENFLOW_FIELDS
from vswitch.messages.actions import FlowAction
from vswitch.messages.base import Message
from vswitch.messages.flows import (
    ALL_TABLES,
    ANY_GROUP,
    ANY_PORT,
    Bucket,
    GroupType,
    MeterBand,
)
from vswitch.messages.match import FlowMatch

__all__ = [
    "ALL_TABLE_BITMAPS", "AggregateStats", "BucketStats", "BundleFeatures", "BundleFeaturesRequest", "ControllerStatus",
    "ControllerStatusChanged",
    "Description",
    "ExperimenterMultipart", "FlowDescription", "FlowMonitorCancel", "FlowMonitorPause", "FlowMonitorRequest",
    "FlowMonitorRequests", "FlowMonitorUpdate", "FlowStats", "FlowStatsRequest", "GroupDescription", "GroupFeatures",
    "GroupStats",
    "MeterConfig", "MeterFeatures", "MeterStats", "MultipartReply", "PortStats", "QueueDescription", "QueueStats",
    "StatsRequest", "TableDescription", "TableFeatures", "TableFeaturesRequest", "TableStats",
]  # fmt: skip


_OXM_12 = [each for each in OPENFLOW_FIELDS.values() if each.oxm and each.oxm[0] == 0x8000 and each.since <= 3]
_MATCH_12 = sum(1 << each.oxm[1] for each in _OXM_12 if each.oxm)
_SET_12 = sum(1 << each.oxm[1] for each in _OXM_12 if each.oxm and each.writable)
_INSTRUCTIONS = 0x3E  # goto_table to clear_actions
_ACTIONS_11, _ACTIONS_12 = 0x01FFE7FF, 0x03FF8001  # all but those that copy a TTL
_EVERY_BIT = (1 << 64) - 1
ALL_TABLE_BITMAPS = {
    1: (0x3FFFFF,),
    2: (0xFBFF, 0xFBFF, _INSTRUCTIONS, _ACTIONS_11, _ACTIONS_11, 0),
    3: (
        _MATCH_12, _MATCH_12, _ACTIONS_12, _ACTIONS_12, _SET_12, _SET_12, _EVERY_BIT, _EVERY_BIT, _INSTRUCTIONS, 0,
    ),
}  # fmt: skip
"""Version: what `TableStats.bitmaps` are where they are (), all that there is."""


@dataclass(frozen=True, slots=True)
class StatsRequest(Message):
    """`kind`: "description", "table", "port" (`number`: port or ANY_PORT), "queue" (`number`, `queue`), "group",
    "group_description" (`number` in 1.5), "group_features", "meter", "meter_config" (`number`: meter or ALL),
    "meter_features", "port_description" (`number` in 1.5), "table_description", "queue_description" (`number`,
    `queue`), "controller_status"."""

    kind: str
    number: int = ANY_PORT
    queue: int = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class FlowStatsRequest(Message):
    """`kind`: "flow", "aggregate", or "flow_description" and "flow" as 1.5 has them (with and without actions). Which
    flows: as a loose delete chooses them. `nicira`: in OpenFlow 1.0, by Nicira's message, which knows all fields and
    cookies; whoever answers does so as well."""

    kind: str = "flow"
    match: FlowMatch = field(default_factory=FlowMatch)
    table: int = ALL_TABLES
    out_port: int = ANY_PORT
    out_group: int = ANY_GROUP
    cookie: int = 0
    cookie_mask: int = 0
    nicira: bool = False


@dataclass(frozen=True, slots=True)
class MultipartReply(Message):
    """`kind` as in the request, and `nicira`. `entries` in order; of "description" and "aggregate" and "..._features"
    just one (but for "table_features")."""

    kind: str
    entries: tuple[object, ...]
    more: bool = False
    nicira: bool = False


@dataclass(frozen=True, slots=True)
class Description:
    """Who made the switch, in texts (each 255 bytes at most, `serial` 31)."""

    manufacturer: str
    hardware: str
    software: str
    serial: str
    datapath: str


@dataclass(frozen=True, slots=True)
class FlowStats:
    """A flow and what it has counted. `idle_age_s`, `hard_age_s`: since a packet came, since it was changed; Nicira's
    and 1.5's (None: not known)."""

    match: FlowMatch
    actions: tuple[FlowAction, ...]
    priority: int
    table: int
    cookie: int
    duration_ns: int
    packets: int
    bytes: int
    idle_timeout_s: int = 0
    hard_timeout_s: int = 0
    flags: int = 0
    importance: int = 0
    idle_age_s: int | None = None
    hard_age_s: int | None = None


FlowDescription = FlowStats
"""1.5 tells of flows with and without actions; here it is one."""


@dataclass(frozen=True, slots=True)
class AggregateStats:
    """Of flows together."""

    packets: int
    bytes: int
    flows: int


@dataclass(frozen=True, slots=True)
class TableStats:
    """Of one table. `name`, `max_entries`: 1.0 to 1.2. `bitmaps`: what the table can do, as these versions have it, in
    their order; (): all that there is. 1.0: wildcards; 1.1: wildcards, match, instructions, write and apply actions,
    config; 1.2: match, wildcards, write and apply actions, write and apply set-field, metadata match and write,
    instructions, config."""

    table: int
    active: int
    lookups: int
    matched: int
    name: str = ""
    max_entries: int = 0
    bitmaps: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class PortStats:
    """Of one port; None is a counter that is not kept (all ones on the wire). `custom`: further counters with their
    names, as Open vSwitch has them from OpenFlow 1.4 on."""

    port: int
    duration_ns: int
    rx_packets: int
    tx_packets: int
    rx_bytes: int
    tx_bytes: int
    rx_dropped: int | None = None
    tx_dropped: int | None = None
    rx_errors: int | None = None
    tx_errors: int | None = None
    rx_frame_errors: int | None = None
    rx_over_errors: int | None = None
    rx_crc_errors: int | None = None
    collisions: int | None = None
    custom: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class QueueStats:
    """Of one queue."""

    port: int
    queue: int
    tx_bytes: int
    tx_packets: int
    tx_errors: int
    duration_ns: int


@dataclass(frozen=True, slots=True)
class QueueDescription:
    """OpenFlow 1.4 and later; rates in tenths of a percent (0xffff: none)."""

    port: int
    queue: int
    min_rate: int = 0xFFFF
    max_rate: int = 0xFFFF


@dataclass(frozen=True, slots=True)
class BucketStats:
    """Of one bucket."""

    packets: int
    bytes: int


@dataclass(frozen=True, slots=True)
class GroupStats:
    """Of one group. `references`: how many flows and groups point to it."""

    id: int
    references: int
    packets: int
    bytes: int
    duration_ns: int
    buckets: tuple[BucketStats, ...]


@dataclass(frozen=True, slots=True)
class GroupDescription:
    """What a group is; see `GroupMod`."""

    id: int
    type: GroupType
    buckets: tuple[Bucket, ...]
    selection: str = ""
    selection_param: int = 0
    fields: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class GroupFeatures:
    """What groups there can be. `types`, `capabilities`: bits; `max_groups`, `actions` (bits of action types): for each
    of the four types."""

    types: int
    capabilities: int
    max_groups: tuple[int, int, int, int]
    actions: tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class MeterStats:
    """Of one meter; `bands`: (packets, bytes) dropped by each."""

    id: int
    flows: int
    packets: int
    bytes: int
    duration_ns: int
    bands: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class MeterConfig:
    """What a meter is; see `MeterMod`."""

    id: int
    flags: int
    bands: tuple[MeterBand, ...]


@dataclass(frozen=True, slots=True)
class MeterFeatures:
    """What meters there can be. `band_types`, `capabilities`: bits. `features`: bits, OpenFlow 1.5."""

    max_meters: int
    band_types: int
    capabilities: int
    max_bands: int
    max_colors: int
    features: int = 0


@dataclass(frozen=True, slots=True)
class TableFeatures:
    """What a table can do, OpenFlow 1.3 and later. `properties`: as the wire has them, in order: (type, list of numbers
    or, for fields, of field headers with has-mask bit). The number of what is an experimenter's is its 8 bytes: its
    header or type and length, and the experimenter. Properties of experimenters: words of 32 bits, the experimenter
    first."""

    table: int
    name: str
    metadata_match: int
    metadata_write: int
    capabilities: int
    max_entries: int
    properties: tuple[tuple[int, tuple[int, ...]], ...] = ()
    command: int = 0
    features: int = 0


@dataclass(frozen=True, slots=True)
class TableFeaturesRequest(Message):
    """What can the tables do? With `tables`: let them be so. `more`: another request continues this one."""

    tables: tuple[TableFeatures, ...] = ()
    more: bool = False


@dataclass(frozen=True, slots=True)
class TableDescription(Message):
    """How a table is configured, OpenFlow 1.4 and later; see `TableMod`."""

    table: int
    eviction: bool = False
    eviction_flags: int = 0
    vacancy: bool = False
    vacancy_down: int = 0
    vacancy_up: int = 0
    vacancy_now: int = 0


@dataclass(frozen=True, slots=True)
class FlowMonitorRequest(Message):
    """Tell me of changes of flows: Nicira's, ONF's and 1.4's. `flags`: 1 initial, 2 add, 4 removed, 8 modify, 16
    instructions, 32 no abbreviations, 64 only own. `command`: 0 add, 1 modify, 2 delete."""

    id: int
    flags: int
    match: FlowMatch = field(default_factory=FlowMatch)
    table: int = ALL_TABLES
    out_port: int = ANY_PORT
    out_group: int = ANY_GROUP
    command: int = 0


@dataclass(frozen=True, slots=True)
class FlowMonitorRequests(Message):
    """Several in one message, or none: all or nothing."""

    requests: tuple[FlowMonitorRequest, ...]


@dataclass(frozen=True, slots=True)
class FlowMonitorCancel(Message):
    """No more of that monitor (Nicira's and ONF's; later versions: `FlowMonitorRequest.command`)."""

    id: int


@dataclass(frozen=True, slots=True)
class FlowMonitorPause(Message):
    """The connection is too slow for updates: there are none from now on (`paused`), or there are again. Nicira's and
    ONF's; in later versions it is an update of its own."""

    paused: bool


@dataclass(frozen=True, slots=True)
class FlowMonitorUpdate:
    """An entry of "flow_monitor" replies. `event`: "initial", "added", "removed", "modified", "abbreviated" (`xid`
    alone), "paused", "resumed". `reason`: why it was removed."""

    event: str
    xid: int = 0
    match: FlowMatch = field(default_factory=FlowMatch)
    actions: tuple[FlowAction, ...] = ()
    priority: int = 0
    table: int = 0
    cookie: int = 0
    idle_timeout_s: int = 0
    hard_timeout_s: int = 0
    reason: int = 0


@dataclass(frozen=True, slots=True)
class BundleFeaturesRequest(Message):
    """OpenFlow 1.5: what can bundles do? `flags`: 1 timestamp, 2 with `times` as `BundleFeatures` has them."""

    flags: int = 0
    times: tuple[int, int, int, int] | None = None


@dataclass(frozen=True, slots=True)
class BundleFeatures:
    """`capabilities`: 1 atomic, 2 ordered, 4 timed. `times`: accuracy, how far in the future and in the past a bundle
    may be scheduled, and now, in nanoseconds; None: not told."""

    capabilities: int
    times: tuple[int, int, int, int] | None = None


@dataclass(frozen=True, slots=True)
class ControllerStatus:
    """OpenFlow 1.5: how a controller is connected. `role`: of `ControllerRole`. `reason`: 0 it was asked for, 1 channel
    status, 2 role, 3 added, 4 removed, 5 short id, 6 experimenter. `up`: whether the channel is."""

    short_id: int
    role: int
    reason: int
    up: bool
    uri: str = ""


@dataclass(frozen=True, slots=True)
class ControllerStatusChanged(Message):
    """OpenFlow 1.5: a controller is connected otherwise now; `status.reason` says what has changed."""

    status: ControllerStatus


@dataclass(frozen=True, slots=True)
class ExperimenterMultipart(Message):
    """Statistics of somebody's own that are not known here. `reply`: whether it is one."""

    experimenter: int
    kind: int
    data: bytes = b""
    reply: bool = False
    more: bool = False
