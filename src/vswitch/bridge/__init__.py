"""A whole OpenFlow switch on a datapath: `Bridge`, its controllers, its upcalls."""

from __future__ import annotations

from vswitch.bridge.bridge import Bridge
from vswitch.bridge.controllers import ControllerState
from vswitch.bridge.features import MirrorStats
from vswitch.bridge.options import BridgeOptions, ControllerSettings, TableSettings
from vswitch.bridge.packet_trace import PacketTrace
from vswitch.bridge.vlans import port_vlan
from vswitch.messages.errors import OpenFlowError
from vswitch.ofproto.settings import McastSnooping, Mirror
from vswitch.ofproto.snooping import MulticastGroup
from vswitch.ofproto.translation import PortVlan
from vswitch.transport.targets import Tls

__all__ = [
    "Bridge", "BridgeOptions", "ControllerSettings", "ControllerState", "McastSnooping", "Mirror", "MirrorStats",
    "MulticastGroup", "OpenFlowError", "PacketTrace", "PortVlan", "TableSettings", "Tls", "port_vlan",
]  # fmt: skip
