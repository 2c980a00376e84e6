"""The program that runs a bridge as its controller: the same messages, without a socket."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, TypeVar

from vswitch.base.errors import ConfigError
from vswitch.messages.actions import FlowAction
from vswitch.messages.base import Message
from vswitch.messages.control import Error
from vswitch.messages.errors import OpenFlowError
from vswitch.messages.flows import (
    ALL_GROUPS,
    ALL_TABLES,
    FlowCommand,
    FlowMod,
    GroupCommand,
    GroupMod,
    MeterCommand,
    MeterMod,
    PacketIn,
    PacketOut,
)
from vswitch.messages.match import FlowMatch
from vswitch.messages.stats import (
    FlowStats,
    GroupDescription,
    GroupStats,
    MeterConfig,
    MeterStats,
    MultipartReply,
    StatsRequest,
)
from vswitch.ofproto.meters import ALL_METERS
from vswitch.ofproto.session import Session
from vswitch.text.flow import parse_flow, parse_flow_request
from vswitch.text.flow_actions import parse_flow_actions
from vswitch.text.flow_groups import parse_group
from vswitch.text.flow_meters import parse_meter

if TYPE_CHECKING:
    from vswitch.bridge.engine import Engine

__all__ = ["LocalController"]

logger = logging.getLogger("vswitch")

T = TypeVar("T")

VERSION = 4
"""Whose meaning messages of the program have: that of OpenFlow 1.3."""

_COMMANDS = {
    "add": FlowCommand.ADD, "modify": FlowCommand.MODIFY, "modify_strict": FlowCommand.MODIFY_STRICT,
    "delete": FlowCommand.DELETE, "delete_strict": FlowCommand.DELETE_STRICT,
}  # fmt: skip


class LocalController:
    """`packet_callbacks`, `event_callbacks`: called with what the switch says unasked."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.session = Session(VERSION)
        engine.switch.connect(self.session)
        self.packet_callbacks: list[Callable[[PacketIn], object]] = []
        self.event_callbacks: list[Callable[[Message], object]] = []

    def send(self, *messages: Message) -> list[Message]:
        """Do what they say; the answers. OpenFlowError."""
        replies: list[Message] = []
        try:
            for message in messages:
                for reply, _ in self._engine.handle(message, 0, self.session):
                    if isinstance(reply, Error):
                        raise OpenFlowError(reply.error, data=reply.data)
                    replies.append(reply)
        finally:
            self._engine.call_ends()
        return replies

    def flow_mod(self, flow: str | FlowMod, command: str) -> None:
        """Change flows by a message, or by text."""
        self.flow_mods((flow,), command)

    def flow_mods(self, flows: Iterable[str | FlowMod], command: str) -> None:
        """The same, many times."""
        engine = self._engine
        try:
            for flow in flows:
                engine.flow_mod(self._mod(flow, command), version=VERSION)
        finally:
            engine.call_ends()

    def _mod(self, flow: str | FlowMod, command: str) -> FlowMod:
        wanted = _COMMANDS[command]
        if isinstance(flow, FlowMod):
            if flow.command != wanted:
                raise ConfigError(f"a flow-mod of command {flow.command.name} is given to {command}")
            return flow
        if wanted is FlowCommand.DELETE and not flow:
            return FlowMod(wanted, table=ALL_TABLES)
        return parse_flow(flow, wanted, ports=self.port_numbers())

    def port_numbers(self) -> dict[str, int]:
        """OpenFlow's numbers of ports by name."""
        return {port.name: port.number for port in self._engine.switch.ports}

    def dump_flows(self, flow: str) -> list[FlowStats]:
        """The flows within a match."""
        return self._entries(parse_flow_request(flow, ports=self.port_numbers()), FlowStats)

    def _entries(self, request: Message, kind: type[T]) -> list[T]:
        (reply,) = self.send(request)
        assert isinstance(reply, MultipartReply)
        return [entry for entry in reply.entries if isinstance(entry, kind)]

    def packet_out(self, frame: bytes, actions: FlowAction | Iterable[FlowAction] | str, in_port: int) -> None:
        """Send a frame."""
        self.send(PacketOut(frame, self.read_actions(actions), FlowMatch(in_port=in_port)))

    def read_actions(self, actions: FlowAction | Iterable[FlowAction] | str) -> tuple[FlowAction, ...]:
        """One, several, or their text."""
        if isinstance(actions, str):
            return parse_flow_actions(actions, ports=self.port_numbers())
        return (actions,) if isinstance(actions, FlowAction) else tuple(actions)

    # ---- groups and meters

    def group_mod(self, group: str | GroupMod, command: GroupCommand) -> None:
        """Change groups by a message, or by text."""
        if isinstance(group, str):
            group = parse_group(group, command, ports=self.port_numbers())
        self.send(group)

    def dump_groups(self) -> tuple[list[GroupDescription], list[GroupStats]]:
        """What they are, and what they have counted."""
        return (
            self._entries(StatsRequest("group_description", ALL_GROUPS), GroupDescription),
            self._entries(StatsRequest("group", ALL_GROUPS), GroupStats),
        )

    def meter_mod(self, meter: str | MeterMod, command: MeterCommand) -> None:
        """Change meters by a message, or by text."""
        self.send(parse_meter(meter, command) if isinstance(meter, str) else meter)

    def dump_meters(self) -> tuple[list[MeterConfig], list[MeterStats]]:
        """What they are, and what they have counted."""
        return (
            self._entries(StatsRequest("meter_config", ALL_METERS), MeterConfig),
            self._entries(StatsRequest("meter", ALL_METERS), MeterStats),
        )

    # ---- what it is told

    def packet(self, packet: PacketIn) -> None:
        """A packet is for controllers."""
        self._call(self.packet_callbacks, packet)

    def event(self, message: Message) -> None:
        """Something has happened."""
        if self.event_callbacks:
            self._call(self.event_callbacks, message)

    @staticmethod
    def _call(callbacks: Sequence[Callable[..., object]], message: Message) -> None:
        for callback in callbacks:
            try:
                callback(message)
            except Exception:  # said so; the switch goes on
                logger.exception("a callback failed at %s", type(message).__name__)
