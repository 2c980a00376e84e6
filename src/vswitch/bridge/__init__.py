"""A whole OpenFlow switch on a datapath: `Bridge`, its controllers, its upcalls."""

from __future__ import annotations

from vswitch.bridge.bridge import Bridge
from vswitch.bridge.options import BridgeOptions
from vswitch.bridge.packet_trace import PacketTrace
from vswitch.bridge.vlans import port_vlan
from vswitch.messages.errors import OpenFlowError
from vswitch.ofproto.translation import PortVlan
from vswitch.transport.targets import Tls

__all__ = ["Bridge", "BridgeOptions", "OpenFlowError", "PacketTrace", "PortVlan", "Tls", "port_vlan"]
