"""Between switch and controller: the connection itself, what each wants to be told, roles, bundles, errors."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

from vswitch.messages.base import Message
from vswitch.messages.ports import PortDescription

__all__ = [
    "AsyncConfig", "AsyncGet", "BarrierReply", "BarrierRequest", "BundleAdd", "BundleControl", "BundleControlType",
    "Capability", "ControllerRole", "EchoReply", "EchoRequest", "Error", "Experimenter", "FeaturesReply",
    "FeaturesRequest", "FlowModTableId", "GetConfigReply", "GetConfigRequest", "Hello", "QueueConfigReply",
    "QueueConfigRequest", "RequestForward", "RoleReply", "RoleRequest", "RoleStatus", "SetAsync", "SetConfig",
    "SetControllerId", "SetFlowFormat", "SetPacketInFormat", "TableStatus", "TlvMap", "TlvTableMod",
    "TlvTableReply", "TlvTableRequest",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Hello(Message):
    """The versions (wire numbers, 1 is 1.0 and 6 is 1.5) that the sender speaks. `bitmap`: whether it said so by a
    bitmap; else by the highest alone, which stands for all up to it."""

    versions: frozenset[int]
    bitmap: bool = True


@dataclass(frozen=True, slots=True)
class Error(Message):
    """`error`: a name of `vswitch.messages.errors.ERRORS`, or "type/code" in numbers if it is none of them. `data`: at
    least the first 64 bytes of the message that it is about; or a text, with "hello_failed.incompatible". `text`: why,
    for people; it does not go over the wire."""

    error: str
    data: bytes = b""
    text: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class EchoRequest(Message):
    """Are you there?"""

    data: bytes = b""


@dataclass(frozen=True, slots=True)
class EchoReply(Message):
    """Yes; with the request's data."""

    data: bytes = b""


@dataclass(frozen=True, slots=True)
class Experimenter(Message):
    """A message of somebody's own that is not known here."""

    experimenter: int
    kind: int
    data: bytes = b""


@dataclass(frozen=True, slots=True)
class FeaturesRequest(Message):
    """Who are you?"""


class Capability(IntEnum):
    """Bits of `FeaturesReply.capabilities` (OpenFlow 1.5.1 section 7.3.1; 1.0's ARP_MATCH_IP and STP behind them)."""

    FLOW_STATS = 1 << 0
    TABLE_STATS = 1 << 1
    PORT_STATS = 1 << 2
    GROUP_STATS = 1 << 3
    IP_REASM = 1 << 5
    QUEUE_STATS = 1 << 6
    PORT_BLOCKED = 1 << 8
    BUNDLES = 1 << 9
    FLOW_MONITORING = 1 << 10
    ARP_MATCH_IP = 1 << 16
    STP = 1 << 17


@dataclass(frozen=True, slots=True)
class FeaturesReply(Message):
    """Who the switch is. `ports`: OpenFlow 1.0 to 1.2 list them here; `actions`: 1.0, bits of action types."""

    datapath_id: int
    buffers: int
    tables: int
    capabilities: int
    auxiliary_id: int = 0
    actions: int = 0
    ports: tuple[PortDescription, ...] = ()


@dataclass(frozen=True, slots=True)
class GetConfigRequest(Message):
    """How are you configured?"""


@dataclass(frozen=True, slots=True)
class GetConfigReply(Message):
    """`fragments`: 0 normal, 1 drop, 2 reassemble, 3 nx_match; `miss_send_length`: bytes of a packet that the
    controller is sent; `invalid_ttl`: 1.1 and 1.2, whether packets with an invalid TTL go to the controller."""

    fragments: int = 0
    miss_send_length: int = 128
    invalid_ttl: bool = False


@dataclass(frozen=True, slots=True)
class SetConfig(Message):
    """As `GetConfigReply`."""

    fragments: int = 0
    miss_send_length: int = 128
    invalid_ttl: bool = False


@dataclass(frozen=True, slots=True)
class BarrierRequest(Message):
    """Answer when all before is done."""


@dataclass(frozen=True, slots=True)
class BarrierReply(Message):
    """It is done."""


class ControllerRole(IntEnum):
    """OpenFlow 1.2 and later; Nicira's "other" is EQUAL."""

    NO_CHANGE = 0
    EQUAL = 1
    PRIMARY = 2
    SECONDARY = 3


@dataclass(frozen=True, slots=True)
class RoleRequest(Message):
    """Be that to me. `nicira`: by Nicira's message, without a generation id."""

    role: ControllerRole
    generation_id: int | None = None
    nicira: bool = False
    short_id: int | None = None


@dataclass(frozen=True, slots=True)
class RoleReply(Message):
    """I am."""

    role: ControllerRole
    generation_id: int | None = None
    nicira: bool = False
    short_id: int | None = None


@dataclass(frozen=True, slots=True)
class RoleStatus(Message):
    """OpenFlow 1.4: your role is another now. `reason`: 0 another master's request, 1 configuration, 2 experimenter."""

    role: ControllerRole
    reason: int
    generation_id: int | None


@dataclass(frozen=True, slots=True)
class AsyncConfig:
    """What a controller wants to be told, for each kind of message the reasons (bits): as primary or equal, and as
    secondary. Kinds: "packet_in", "port_status", "flow_removed", "role_status", "table_status", "requestforward",
    "flow_stats", "cont_status"."""

    primary: tuple[tuple[str, int], ...]
    secondary: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class SetAsync(Message):
    """Tell me that and no more. Kinds that are not named stay as they are (1.4 and later). `nicira`: by Nicira's
    message."""

    config: AsyncConfig
    nicira: bool = False


@dataclass(frozen=True, slots=True)
class AsyncGet(Message):
    """What am I told? With `config` it is the answer."""

    config: AsyncConfig | None = None


class BundleControlType(IntEnum):
    """Requests are even, replies odd."""

    OPEN_REQUEST = 0
    OPEN_REPLY = 1
    CLOSE_REQUEST = 2
    CLOSE_REPLY = 3
    COMMIT_REQUEST = 4
    COMMIT_REPLY = 5
    DISCARD_REQUEST = 6
    DISCARD_REPLY = 7


@dataclass(frozen=True, slots=True)
class BundleControl(Message):
    """`flags`: 1 atomic, 2 ordered. By ONF's extension in 1.0 to 1.3."""

    bundle: int
    type: BundleControlType
    flags: int = 0


@dataclass(frozen=True, slots=True)
class BundleAdd(Message):
    """Put `message` into a bundle. `xid`: of that message, which is this one's too. `raw`: its bytes, for errors."""

    bundle: int
    flags: int
    message: Message
    xid: int = 0
    raw: bytes = field(default=b"", compare=False)


@dataclass(frozen=True, slots=True)
class RequestForward(Message):
    """OpenFlow 1.4: another controller has sent this group-mod or meter-mod."""

    message: Message
    xid: int = 0


@dataclass(frozen=True, slots=True)
class TableStatus(Message):
    """OpenFlow 1.4: a table has another state. `reason`: 3 vacancy down, 4 vacancy up."""

    reason: int
    description: Message


@dataclass(frozen=True, slots=True)
class QueueConfigRequest(Message):
    """OpenFlow 1.0 to 1.3: which queues has that port?"""

    port: int


@dataclass(frozen=True, slots=True)
class QueueConfigReply(Message):
    """`queues`: (queue, min rate, max rate, port), rates in tenths of a percent, 0xffff if there is none."""

    port: int
    queues: tuple[tuple[int, int, int, int], ...] = ()


# ---- Nicira's


@dataclass(frozen=True, slots=True)
class FlowModTableId(Message):
    """In OpenFlow 1.0 flow-mods, the table stands in the upper byte of the command from now on."""

    on: bool


@dataclass(frozen=True, slots=True)
class SetFlowFormat(Message):
    """0: OpenFlow 1.0, 2: NXM."""

    format: int


@dataclass(frozen=True, slots=True)
class SetPacketInFormat(Message):
    """0: as the version has it, 1: NXT_PACKET_IN, 2: NXT_PACKET_IN2."""

    format: int


@dataclass(frozen=True, slots=True)
class SetControllerId(Message):
    """The id by which actions name this connection."""

    id: int


@dataclass(frozen=True, slots=True)
class TlvMap:
    """Geneve option `option_class`, `option_type` of `length` bytes is tun_metadata`index`."""

    option_class: int
    option_type: int
    length: int
    index: int


@dataclass(frozen=True, slots=True)
class TlvTableMod(Message):
    """`command`: 0 add, 1 delete, 2 clear."""

    command: int
    maps: tuple[TlvMap, ...] = ()


@dataclass(frozen=True, slots=True)
class TlvTableRequest(Message):
    """Which Geneve options are fields?"""


@dataclass(frozen=True, slots=True)
class TlvTableReply(Message):
    """`space`: bytes that options may take in all; `fields`: how many there may be."""

    space: int
    fields: int
    maps: tuple[TlvMap, ...] = ()
