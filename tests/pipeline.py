"""What translation looks at, made by hand: tables, groups and ports without the switch around them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vswitch.fields.openflow import OPENFLOW_FIELDS
from vswitch.messages import actions as a
from vswitch.messages.flows import Bucket, GroupType
from vswitch.messages.match import FlowMatch
from vswitch.messages.ports import PortDescription
from vswitch.ofproto.normal import MacTable
from vswitch.ofproto.ports import Ports
from vswitch.ofproto.rule import Rule
from vswitch.ofproto.snooping import McastTable
from vswitch.ofproto.tables import MAX_FLOWS, FlowTable
from vswitch.ofproto.translation import Config, FrozenStates

LOCAL = 0xFFFFFFFE


@dataclass
class PlainGroup:
    type: GroupType
    buckets: tuple[Bucket, ...]
    selection: str = ""
    selection_param: int = 0
    fields: tuple[tuple[str, int], ...] = ()


class PlainView:
    """A switch's tables, groups and ports."""

    def __init__(self, ports: int = 4, config: Config | None = None) -> None:
        self.tables = [FlowTable(number, MAX_FLOWS) for number in range(254)]
        self.groups: dict[int, PlainGroup] = {}
        self.meters: dict[int, Any] = {}
        self.ports = Ports()
        for number in (LOCAL, *range(1, ports + 1)):
            self.ports.put(PortDescription(number, number & 0xFFFF, f"p{number & 0xFFFF}"), 0)
        self.macs = MacTable()
        self.mcast = McastTable()
        self.frozen = FrozenStates()
        self.config = config or Config()

    def configure(self, number: int, config: int, state: int = 0) -> None:
        """Another configuration and state of a port."""
        self.ports.remove(number)
        self.ports.put(PortDescription(number, number & 0xFFFF, f"p{number & 0xFFFF}", config, state), 0)

    def add(self, table: int, match: FlowMatch, *actions: a.FlowAction, priority: int = 100, cookie: int = 0) -> Rule:
        rule = Rule(table, match, priority, tuple(actions), cookie)
        self.tables[table].insert(rule)
        return rule


def set_field(name: str, value: int, mask: int | None = None) -> a.SetField:
    each = OPENFLOW_FIELDS[name]
    return a.SetField(each, value, each.max if mask is None else mask)
