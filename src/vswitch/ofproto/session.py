"""What the switch keeps of one controller's connection: who it is to the switch, and what it wants to be told.

The connection itself is the bridge's. A session ends with it, and all that is in here ends too: bundles that were not
committed, monitors, role.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from vswitch.messages.base import Message
from vswitch.messages.control import AsyncConfig, ControllerRole, RequestForward, RoleStatus, TableStatus
from vswitch.messages.flows import FlowRemoved, GroupMod, PacketIn
from vswitch.messages.ports import PortStatus
from vswitch.messages.stats import ControllerStatusChanged, FlowMonitorRequest, TableFeatures
from vswitch.ofproto.rule import Rule

__all__ = ["MAX_BUNDLES", "MAX_BUNDLE_BYTES", "MAX_BUNDLE_MESSAGES", "MAX_MONITORS", "OpenBundle", "Session"]

MAX_BUNDLES = 64
"""Bundles that one session may have open at a time."""
MAX_BUNDLE_MESSAGES = 1_000_000
"""Messages in the bundles of one session: as many as a table may have flows. For all sessions there is twice as much,
of this and of bytes, and none may have more than is left for others: so each that comes still finds room."""
MAX_BUNDLE_BYTES = 1 << 27
"""Bytes of those messages: a million flow-mods of some 130 bytes. They take several times that in memory."""
MAX_MONITORS = 1024
"""Flow monitors of one session: each change of a flow is compared with every one."""
_DEFAULTS = {
    "packet_in": (0b111011, 0),
    "port_status": (0b111, 0b111),
    "flow_removed": (0b111111, 0),
    "role_status": (0, 0),
    "table_status": (0, 0),
    "requestforward": (0, 0),
    "flow_stats": (0, 0),
    "cont_status": (0, 0),
}
"""Kind -> reasons (bits) as primary or equal, as secondary; invalid TTLs are told only to who asks."""
_BEFORE_1_4 = {"packet_in": (0b111, 1), "flow_removed": (0b1111, 2)}
"""Kind -> the reasons that OpenFlow 1.3 has, and which of them stands for those of later versions."""


@dataclass(slots=True)
class OpenBundle:
    """Messages that wait for a commit: (message, xid). `size`: their bytes, as they came."""

    flags: int
    closed: bool = False
    size: int = 0
    messages: list[tuple[Message, int]] = field(default_factory=list)


class Session:
    """A connection. `version`: wire number. `name`: where the controller is (`tcp:HOST:PORT`), for other controllers;
    empty: it is none that has a connection. `service`: it came in by a management socket, and is told nothing unasked
    before it has set a miss_send_length. `table_features`: those of a request that is to be continued.
    `packet_in_format`: 0 as the version has it, 1 and 2 Nicira's."""

    __slots__ = (
        "asynchronous", "bundles", "controller_id", "flow_format", "invalid_ttl", "miss_send_length", "missed",
        "monitors", "monitors_paused", "name", "packet_in_format", "role", "service", "table_features", "table_ids",
        "version",
    )  # fmt: skip

    def __init__(self, version: int, *, name: str = "", service: bool = False) -> None:
        self.version = version
        self.name = name
        self.service = service
        self.role = ControllerRole.EQUAL
        self.asynchronous: dict[str, tuple[int, int]] = dict(_DEFAULTS)
        self.packet_in_format = 0
        self.flow_format = 0
        self.table_ids = False
        self.controller_id = 0
        self.miss_send_length = 0 if service else 128
        self.invalid_ttl = False
        self.bundles: dict[int, OpenBundle] = {}
        self.monitors: dict[int, FlowMonitorRequest] = {}
        self.monitors_paused = False
        self.missed: dict[Rule, str] = {}
        self.table_features: tuple[TableFeatures, ...] = ()

    @property
    def secondary(self) -> bool:
        """Whether it may change nothing."""
        return self.role == ControllerRole.SECONDARY

    def async_config(self) -> AsyncConfig:
        """What it is told, in the reasons of its version."""
        known = {kind: _BEFORE_1_4[kind][0] for kind in _BEFORE_1_4} if self.version < 5 else {}
        rows = [(kind, bits, known.get(kind, -1)) for kind, bits in self.asynchronous.items()]
        return AsyncConfig(
            tuple((kind, bits[0] & mask) for kind, bits, mask in rows),
            tuple((kind, bits[1] & mask) for kind, bits, mask in rows),
        )

    def set_async(self, config: AsyncConfig) -> None:
        """From now on it is told this; kinds that are not named stay as they are."""
        for kind, bits in config.primary:
            self.asynchronous[kind] = (bits, self.asynchronous.get(kind, (0, 0))[1])
        for kind, bits in config.secondary:
            self.asynchronous[kind] = (self.asynchronous.get(kind, (0, 0))[0], bits)

    def wants(self, message: Message, *, implicit_miss: bool = False) -> bool:
        """Whether it is told of this by role and configuration. `implicit_miss`: a packet that no flow took, not even
        one for packets that nothing else takes; from OpenFlow 1.3 on that is no reason to send it."""
        if self.service and not self.miss_send_length:
            return False
        if isinstance(message, PacketIn):
            if implicit_miss and self.version >= 4:
                return False
            if message.reason == 2 and self.invalid_ttl:
                return not self.secondary
            return self._told("packet_in", message.reason)
        if isinstance(message, PortStatus):
            return self._told("port_status", message.reason)
        if isinstance(message, FlowRemoved):
            return self._told("flow_removed", message.reason)
        if isinstance(message, RoleStatus):
            return self.version >= 5
        if isinstance(message, TableStatus):
            return self.version >= 5 and self._told("table_status", message.reason)
        if isinstance(message, ControllerStatusChanged):
            return self.version >= 6 and self._told("cont_status", message.status.reason)
        if isinstance(message, RequestForward):
            return self.version >= 5 and self._told("requestforward", 0 if isinstance(message.message, GroupMod) else 1)
        return True

    def _told(self, kind: str, reason: int) -> bool:
        if self.version < 5 and kind in _BEFORE_1_4:
            known, instead = _BEFORE_1_4[kind]
            if not known >> reason & 1:
                reason = instead
        return bool(self.asynchronous[kind][self.secondary] >> reason & 1)
