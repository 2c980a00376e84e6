"""A whole OpenFlow switch on a datapath: `Bridge`, its controllers, its upcalls."""

from __future__ import annotations

from vswitch.bridge.bridge import Bridge
from vswitch.bridge.controllers import ControllerState
from vswitch.bridge.options import BridgeOptions, ControllerSettings, TableSettings
from vswitch.bridge.packet_trace import PacketTrace
from vswitch.bridge.vlans import port_vlan
from vswitch.messages.errors import OpenFlowError
from vswitch.ofproto.translation import PortVlan
from vswitch.transport.targets import Tls

__all__ = [
    "Bridge",
    "BridgeOptions",
    "ControllerSettings",
    "ControllerState",
    "OpenFlowError",
    "PacketTrace",
    "PortVlan",
    "TableSettings",
    "Tls",
    "port_vlan",
]
