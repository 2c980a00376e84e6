"""A whole OpenFlow switch on a datapath: `Bridge`, its controllers, its upcalls."""

from __future__ import annotations

from vswitch.bridge.bridge import Bridge
from vswitch.bridge.options import BridgeOptions
from vswitch.bridge.targets import Tls
from vswitch.messages.errors import OpenFlowError

__all__ = ["Bridge", "BridgeOptions", "OpenFlowError", "Tls"]
