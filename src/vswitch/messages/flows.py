"""What changes the tables of a switch, and what tells of them: flows, groups, meters, packets."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

from vswitch.fields.registry import SLOTS
from vswitch.messages.actions import FlowAction
from vswitch.messages.base import Message
from vswitch.messages.match import FlowMatch

__all__ = [
    "ALL_TABLES",
    "ANY_GROUP",
    "ANY_PORT",
    "NO_BUFFER",
    "Bucket",
    "FlowCommand",
    "FlowFlags",
    "FlowMod",
    "FlowRemoved",
    "FlowRemovedReason",
    "GroupCommand",
    "GroupMod",
    "GroupType",
    "MeterBand",
    "MeterCommand",
    "MeterMod",
    "PacketIn",
    "PacketInReason",
    "PacketOut",
    "Resume",
    "TableMod",
]  # fmt: skip

NO_BUFFER = 0xFFFFFFFF
ANY_PORT = ANY_GROUP = 0xFFFFFFFF
ALL_TABLES = 255
ALL_GROUPS = 0xFFFFFFFC


_IN_PORT = SLOTS["in_port"]


class FlowCommand(IntEnum):
    """What a flow-mod does (OpenFlow 1.3.5 section A.3.4.1)."""

    ADD = 0
    MODIFY = 1
    MODIFY_STRICT = 2
    DELETE = 3
    DELETE_STRICT = 4


class FlowFlags(IntEnum):
    """Bits of `FlowMod.flags`, as OpenFlow 1.3 numbers them, and those of Nicira's and 1.0 behind them."""

    SEND_FLOW_REM = 1 << 0
    CHECK_OVERLAP = 1 << 1
    RESET_COUNTS = 1 << 2
    NO_PACKET_COUNTS = 1 << 3
    NO_BYTE_COUNTS = 1 << 4
    EMERGENCY = 1 << 16  # OpenFlow 1.0, refused


@dataclass(frozen=True, slots=True)
class FlowMod(Message):
    """Change flows. `table`: None is the switch's choice (OpenFlow 1.0 without the table id extension), `ALL_TABLES`
    for deletion. `out_port`, `out_group`: only flows that output there (`ANY_PORT`: any). `importance`: OpenFlow 1.4,
    for eviction. `cookie_mask`: only flows whose cookie agrees in these bits. `new_cookie`: what modified
    flows get (OpenFlow 1.0 and Nicira's; None: it stays, as in 1.1 and later)."""

    command: FlowCommand
    match: FlowMatch = field(default_factory=FlowMatch)
    actions: tuple[FlowAction, ...] = ()
    priority: int = 0x8000
    table: int | None = 0
    cookie: int = 0
    cookie_mask: int = 0
    idle_timeout_s: int = 0
    hard_timeout_s: int = 0
    flags: int = 0
    importance: int = 0
    buffer_id: int = NO_BUFFER
    out_port: int = ANY_PORT
    out_group: int = ANY_GROUP
    new_cookie: int | None = None


class FlowRemovedReason(IntEnum):
    """Why a flow is there no more (OpenFlow 1.4.1 section 7.4.2)."""

    IDLE_TIMEOUT = 0
    HARD_TIMEOUT = 1
    DELETE = 2
    GROUP_DELETE = 3
    METER_DELETE = 4
    EVICTION = 5


@dataclass(frozen=True, slots=True)
class FlowRemoved(Message):
    """A flow with `SEND_FLOW_REM` is there no more."""

    match: FlowMatch
    priority: int
    table: int
    cookie: int
    reason: FlowRemovedReason
    duration_ns: int
    idle_timeout_s: int
    hard_timeout_s: int
    packets: int
    bytes: int


class PacketInReason(IntEnum):
    """Why a packet comes to the controller (OpenFlow 1.4.1 section 7.4.1)."""

    NO_MATCH = 0
    ACTION = 1
    INVALID_TTL = 2
    ACTION_SET = 3
    GROUP = 4
    PACKET_OUT = 5


@dataclass(frozen=True, slots=True)
class PacketIn(Message):
    """A packet for controllers. `frame`: its bytes, as many as are sent; `total_length`: how many it has. `metadata`:
    the pipeline's fields of it, at least in_port. `continuation`: with which `Resume` lets it go on (Nicira)."""

    frame: bytes
    total_length: int
    reason: PacketInReason
    metadata: FlowMatch
    table: int = 0
    cookie: int = (1 << 64) - 1
    buffer_id: int = NO_BUFFER
    userdata: bytes = b""
    continuation: bytes = b""

    @property
    def in_port(self) -> int:
        """The port of OpenFlow that it came in by."""
        return _IN_PORT.take(self.metadata.value)


@dataclass(frozen=True, slots=True)
class Resume(Message):
    """Nicira: let a packet that was paused go on, as the controller has changed it."""

    packet: PacketIn


@dataclass(frozen=True, slots=True)
class PacketOut(Message):
    """Do `actions` to a frame, as if it had come in by in_port of `metadata`."""

    frame: bytes
    actions: tuple[FlowAction, ...]
    metadata: FlowMatch
    buffer_id: int = NO_BUFFER


class GroupType(IntEnum):
    """Which buckets of a group are carried out."""

    ALL = 0
    SELECT = 1
    INDIRECT = 2
    FAST_FAILOVER = 3


@dataclass(frozen=True, slots=True)
class Bucket:
    """Actions of a group. `weight`: of a select group; `watch_port`, `watch_group`: it is live while they are
    (`ANY_PORT`: not watched). `id`: OpenFlow 1.5; None: the switch's choice."""

    actions: tuple[FlowAction, ...]
    weight: int = 0
    watch_port: int = ANY_PORT
    watch_group: int = ANY_GROUP
    id: int | None = None


class GroupCommand(IntEnum):
    """What a group-mod does; `ADD_OR_MODIFY` is Nicira's."""

    ADD = 0
    MODIFY = 1
    DELETE = 2
    INSERT_BUCKET = 3
    REMOVE_BUCKET = 5
    ADD_OR_MODIFY = 0x8000


@dataclass(frozen=True, slots=True)
class GroupMod(Message):
    """Change a group. `bucket_id`: where buckets are inserted, or which are removed (OpenFlow 1.5: 0xfffffffd first,
    0xfffffffe last, 0xffffffff all). `selection`: how a select group chooses: "" (the switch's choice), "hash",
    "dp_hash"; `selection_param`, and `fields` that are hashed (name -> mask)."""

    command: GroupCommand
    id: int
    type: GroupType = GroupType.ALL
    buckets: tuple[Bucket, ...] = ()
    bucket_id: int = 0xFFFFFFFF
    selection: str = ""
    selection_param: int = 0
    fields: tuple[tuple[str, int], ...] = ()


class MeterCommand(IntEnum):
    """What a meter-mod does."""

    ADD = 0
    MODIFY = 1
    DELETE = 2


@dataclass(frozen=True, slots=True)
class MeterBand:
    """Above `rate` (kbit/s or packets/s, as the meter counts): `kind` "drop" or "dscp_remark"."""

    rate: int
    burst: int = 0
    kind: str = "drop"
    prec_level: int = 0


@dataclass(frozen=True, slots=True)
class MeterMod(Message):
    """Change a meter. `id`: 1..0xffff0000, or 0xfffffffd slow path, 0xfffffffe controller, 0xffffffff all. `flags`: 1
    kbps, 2 pktps, 4 burst, 8 stats."""

    command: MeterCommand
    id: int
    flags: int = 1
    bands: tuple[MeterBand, ...] = ()


@dataclass(frozen=True, slots=True)
class TableMod(Message):
    """Configure a table (255: all). `miss`: OpenFlow 1.1 and 1.2: "controller", "continue", "drop"; None: as it is.
    `eviction`, `vacancy`: OpenFlow 1.4, None: as it is; `vacancy_down`, `vacancy_up` in percent."""

    table: int
    miss: str | None = None
    eviction: bool | None = None
    eviction_flags: int = 0
    vacancy: bool | None = None
    vacancy_down: int = 0
    vacancy_up: int = 0
