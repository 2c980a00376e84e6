"""How a bridge is to be: all that can be set, and the bounds."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from dataclasses import dataclass, field

from vswitch.base.errors import ConfigError
from vswitch.base.places import RUN_FOLDER
from vswitch.ofproto.admission import LAST_TABLE
from vswitch.ofproto.settings import McastSnooping, Mirror
from vswitch.ofproto.translation import PortVlan
from vswitch.transport.targets import Tls, parse_target

__all__ = ["MANAGEMENT_FOLDER", "BridgeOptions", "ControllerSettings", "TableSettings", "settings_of"]

MANAGEMENT_FOLDER = RUN_FOLDER
"""Where the sockets are by which `ovs-ofctl` and `vswitch ofctl` find a bridge of this machine."""

FAIL_MODES = ("standalone", "secure")

_MOST_FLOWS = 10**7
_TABLE_NAME_BYTES = 31
"""OFP_MAX_TABLE_NAME_LEN of OpenFlow 1.3, without its end mark."""


@dataclass(frozen=True, slots=True)
class ControllerSettings:
    """One target, to be connected to or listened at, with settings of its own; None: what the bridge has for all.
    `is_service`: who is there is a tool, not a controller: it is told nothing unasked, and does not count for the fail
    mode."""

    target: str
    probe_s: float | None = None
    max_backoff_s: float | None = None
    packet_in_rate_per_s: int | None = None
    packet_in_burst: int | None = None
    is_service: bool = False

    def __post_init__(self) -> None:
        parse_target(self.target)
        _check_bounds(self, f"controller {self.target}: ")


@dataclass(frozen=True, slots=True)
class TableSettings:
    """Of one flow table. `max_flows`: None as the bridge has it. `evicts`: when it is full, flows that would end first
    make way for new ones; else these are refused."""

    name: str = ""
    max_flows: int | None = None
    evicts: bool = False

    def __post_init__(self) -> None:
        if self.max_flows is not None and not 0 <= self.max_flows <= _MOST_FLOWS:
            raise ConfigError(f"flow table {self.name!r}: max_flows {self.max_flows} is outside 0..{_MOST_FLOWS}")
        if len(self.name.encode()) > _TABLE_NAME_BYTES:
            raise ConfigError(f"flow table name {self.name!r} is longer than {_TABLE_NAME_BYTES} bytes")


@dataclass(frozen=True, slots=True)
class BridgeOptions:
    """`controllers`: targets to connect to; `listen`: targets at which controllers may connect; each a text, or
    `ControllerSettings`. `management`: one at which tools of this machine do, who are no controllers; `snoop`: one at
    which they see what controllers say and are told; `control`: one (punix:) at which `vswitch appctl` and
    `ovs-appctl` ask and tell the bridge itself. `fail_mode`: what becomes of packets without a controller: "standalone"
    (the bridge is a learning switch until there is one) or "secure" (only what the flows say). `datapath_id`: 64 bits,
    by default a port's lowest address.

    `versions`: numbers of the OpenFlow versions that are spoken (1 is 1.0, 6 is 1.5). `probe_s`: after so long without
    a word a controller is asked whether it is there, and after the same time again disconnected; 0: never.
    `max_backoff_s`: between attempts to connect. `packet_in_rate_per_s`, `packet_in_burst`: bound the packet-ins to
    each controller; 0: no bound. `new_flow_rate_per_s`: packets of each port that no megaflow takes and that are looked
    at; more are dropped in the kernel, where they cost next to nothing, as those of a scan should; 0: no bound.
    `max_flows`: of each table; `max_megaflows`: in the datapath; the idlest go. `idle_timeout_s`: of megaflows.
    `mac_age_s`, `max_macs`: of what NORMAL learns. `vlans`: how ports, by their names, treat VLANs there; all carry
    all of them, tagged, if nothing is said (`port_vlan`). `mirrors`, `mcast_snooping`: packets that are copied, and
    whether multicast goes where it is wanted alone; `protected`: ports of which nothing goes to another;
    `flood_vlans`: VLANs in which it learns nothing; `forward_bpdu`: it forwards to reserved addresses. `tables`: flow
    tables that differ from the others, by number. `description`, `serial`: what controllers are told of the switch.
    `restore_s`: how long megaflows of an earlier process go on forwarding at most while controllers load the flows
    anew. `waits`: no packet is answered and no controller connected to as long as that is so; then megaflows of an
    earlier process go (`flow-restore-wait`)."""

    controllers: tuple[str | ControllerSettings, ...] = ()
    listen: tuple[str | ControllerSettings, ...] = ()
    management: str = ""
    snoop: str = ""
    control: str = ""
    fail_mode: str = "standalone"
    datapath_id: int | None = None
    versions: frozenset[int] = frozenset(range(1, 7))
    probe_s: float = 5.0
    max_backoff_s: float = 8.0
    packet_in_rate_per_s: int = 0
    packet_in_burst: int = 0
    new_flow_rate_per_s: int = 0
    max_flows: int = 1_000_000
    max_megaflows: int = 100_000
    idle_timeout_s: float = 10.0
    mac_age_s: int = 300
    max_macs: int = 8192
    vlans: Mapping[str, PortVlan] = field(default_factory=dict)
    mirrors: tuple[Mirror, ...] = ()
    mcast_snooping: McastSnooping | None = None
    protected: frozenset[str] = frozenset()
    flood_vlans: frozenset[int] = frozenset()
    forward_bpdu: bool = False
    tables: Mapping[int, TableSettings] = field(default_factory=dict)
    description: str = "None"
    serial: str = "None"
    restore_s: float = 10.0
    waits: bool = False
    tls: Tls | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.fail_mode not in FAIL_MODES:
            raise ConfigError(f"fail_mode {self.fail_mode!r} is neither {FAIL_MODES[0]} nor {FAIL_MODES[1]}")
        for each in self.controllers:
            parse_target(settings_of(each).target, passive=False)
        for text in (*(settings_of(each).target for each in self.listen), self.management, self.snoop):
            if text:
                parse_target(text, passive=True)
        if self.control and parse_target(self.control, passive=True).kind != "unix":
            raise ConfigError(f"control {self.control!r} is no punix:FILE: who may stop the switch is of this machine")
        if self.datapath_id is not None and not 0 < self.datapath_id < 1 << 64:
            raise ConfigError(f"datapath_id {self.datapath_id:#x} is outside 1..{(1 << 64) - 1:#x}")
        if not self.versions or not self.versions <= set(range(1, 7)):
            raise ConfigError(f"versions {sorted(self.versions)} are not some of 1..6 (OpenFlow 1.0 to 1.5)")
        if unknown := [number for number in self.tables if not 0 <= number <= LAST_TABLE]:
            raise ConfigError(f"flow table {unknown[0]} is outside 0..{LAST_TABLE}")
        _check_bounds(self, "")


def settings_of(given: str | ControllerSettings) -> ControllerSettings:
    """The same of a target that is only named."""
    return ControllerSettings(given) if isinstance(given, str) else given


def _check_bounds(given: BridgeOptions | ControllerSettings, whose: str) -> None:
    for name, low, high in _BOUNDS:
        value = getattr(given, name, None)
        if value is None and isinstance(given, ControllerSettings):
            continue
        if not isinstance(value, int | float) or not low <= value <= high:
            raise ConfigError(f"{whose}{name} {value!r} is outside {low}..{high}")


_BOUNDS: typing.Final = (
    ("probe_s", 0, 3600),
    ("max_backoff_s", 1, 3600),
    ("packet_in_rate_per_s", 0, 10**7),
    ("packet_in_burst", 0, 10**7),
    ("new_flow_rate_per_s", 0, 10**7),
    ("max_flows", 1, _MOST_FLOWS),
    ("max_megaflows", 64, 10**7),
    ("idle_timeout_s", 0.1, 3600),
    ("mac_age_s", 15, 3600),
    ("max_macs", 10, 1_000_000),
    ("restore_s", 0, 3600),
)
