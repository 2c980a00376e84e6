"""What translation looks at: the switch, learned addresses, ways on of packets, and what holds for the whole bridge."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vswitch.ofproto.normal import MacTable
from vswitch.ofproto.snooping import McastTable
from vswitch.ofproto.translation import Config, FrozenStates

if TYPE_CHECKING:
    from vswitch.ofproto.groups import Groups
    from vswitch.ofproto.meters import MeterTable
    from vswitch.ofproto.ports import Ports
    from vswitch.ofproto.switch import Switch
    from vswitch.ofproto.tables import FlowTables

__all__ = ["BridgeView"]


class BridgeView:
    """`config`: replace it as a whole, and let megaflows be looked at again."""

    def __init__(self, switch: Switch, macs: MacTable) -> None:
        self.tables: FlowTables = switch.tables
        self.groups: Groups = switch.groups
        self.meters: MeterTable = switch.meters
        self.ports: Ports = switch.ports
        self.macs = macs
        self.mcast = McastTable()
        self.frozen = FrozenStates()
        self.config = Config()
