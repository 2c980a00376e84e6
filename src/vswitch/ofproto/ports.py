"""The ports of the switch as OpenFlow knows them: descriptions, configuration, queues.

The bridge adds and removes ports and tells of their state; controllers change their configuration. What ports have
counted is the datapath's to know: `statistics` asks it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from vswitch.fields.kinds import OPENFLOW_PORTS
from vswitch.messages.errors import OpenFlowError
from vswitch.messages.flows import ANY_PORT
from vswitch.messages.ports import PortConfig, PortDescription, PortMod, PortState
from vswitch.messages.stats import PortStats, QueueDescription, QueueStats
from vswitch.ofproto.journal import Journal

__all__ = ["MAX_OPENFLOW_PORT", "MAX_PORTS", "Ports"]

MAX_OPENFLOW_PORT = 0xFEFF
"""The largest number of a port that is not reserved: what OpenFlow 1.0 has, for all versions."""
MAX_PORTS = MAX_OPENFLOW_PORT + 1
"""How many there may be: as many as there are numbers, and the local one."""

_ANY_QUEUE = 0xFFFFFFFF
_CHANGEABLE = PortConfig.DOWN | PortConfig.NO_RECV | PortConfig.NO_FLOOD | PortConfig.NO_FWD | PortConfig.NO_PACKET_IN
_CHANGEABLE |= PortConfig.NO_RECV_STP


def _no_statistics(_number: int) -> PortStats | None:
    return None


def _no_queues(_port: int, _queue: int) -> QueueStats | None:
    return None


class Ports:
    """Number -> description. `queues`: (port, queue) -> description. `statistics`, `queue_statistics`: by which the
    bridge tells what was counted; durations are filled in here."""

    def __init__(self, journal: Journal | None = None) -> None:
        self._ports: dict[int, PortDescription] = {}
        self._created_ns: dict[int, int] = {}
        self._journal = journal or Journal()
        self.queues: dict[tuple[int, int], QueueDescription] = {}
        self.statistics: Callable[[int], PortStats | None] = _no_statistics
        self.queue_statistics: Callable[[int, int], QueueStats | None] = _no_queues

    def __contains__(self, number: object) -> bool:
        return number in self._ports

    def __len__(self) -> int:
        return len(self._ports)

    def __iter__(self) -> Iterator[PortDescription]:
        """By number; the local one last."""
        return iter([self._ports[number] for number in sorted(self._ports)])

    def get(self, number: int) -> PortDescription | None:
        """The port of this number, if there is one."""
        return self._ports.get(number)

    def put(self, port: PortDescription, now_ns: int) -> bool:
        """There is this port, or it is so now; whether that is something new. Its configuration is kept."""
        known = self._ports.get(port.number)
        if known is None:
            self._created_ns[port.number] = now_ns
            self._ports[port.number] = port
            return True
        port = replace(port, config=known.config)
        self._ports[port.number] = port
        return port != known

    def remove(self, number: int) -> PortDescription | None:
        """It is there no more; what it was."""
        self._created_ns.pop(number, None)
        for port, queue in [each for each in self.queues if each[0] == number]:
            del self.queues[port, queue]
        return self._ports.pop(number, None)

    def live(self, number: int) -> bool:
        """Whether what is sent there can get on: the port is there, and neither it nor its link is down."""
        port = self._ports.get(number)
        return port is not None and not port.config & PortConfig.DOWN and not port.state & PortState.LINK_DOWN

    def has(self, number: int, config: int) -> bool:
        """Whether the port is there and configured to any of these bits."""
        port = self._ports.get(number)
        return port is not None and bool(port.config & config)

    def apply(self, mod: PortMod) -> PortDescription | None:
        """Change a port's configuration; the port as it is now, None if that is as it was. OpenFlowError: there is no
        such port, or the address is not its own."""
        port = self._ports.get(mod.port)
        if port is None:
            raise OpenFlowError("port_mod_failed.bad_port", f"port-mod: there is no port {mod.port}")
        if mod.mac != port.mac:
            text = f"port-mod: port {mod.port} has address {port.mac:012x}, not {mod.mac:012x}"
            raise OpenFlowError("port_mod_failed.bad_hw_addr", text)
        mask = mod.mask & _CHANGEABLE
        config = port.config & ~mask | mod.config & mask
        if config == port.config:
            return None
        self._journal.note(self._ports.__setitem__, port.number, port)
        self._ports[port.number] = changed = replace(port, config=config)
        return changed

    # ---- what requests ask for

    def chosen(self, number: int) -> list[PortDescription]:
        """The port of this number, or all (ANY_PORT). OpenFlowError: there is none."""
        if number == ANY_PORT:
            return list(self)
        port = self._ports.get(number)
        if port is None:
            raise OpenFlowError("bad_request.bad_port", f"there is no port {number}")
        return [port]

    def port_statistics(self, number: int, now_ns: int) -> list[PortStats]:
        """Of a port, or of all; nothing if there is no such port."""
        found = []
        for port in self if number == ANY_PORT else filter(None, (self._ports.get(number),)):
            counted = self.statistics(port.number) or PortStats(port.number, 0, 0, 0, 0, 0)
            found.append(replace(counted, port=port.number, duration_ns=now_ns - self._created_ns[port.number]))
        return found

    def queue_statistics_of(self, number: int, queue: int, now_ns: int) -> list[QueueStats]:
        """Of a port's queue, or of all. OpenFlowError: there is no such port or queue."""
        if number not in (ANY_PORT, OPENFLOW_PORTS["ALL"]):
            if number not in self._ports:
                raise OpenFlowError("queue_op_failed.bad_port", f"there is no port {number}")
            if queue != _ANY_QUEUE and (number, queue) not in self.queues:
                raise OpenFlowError("queue_op_failed.bad_queue", f"port {number} has no queue {queue}")
        found = []
        for port, own in sorted(self.queues):
            if number in (port, ANY_PORT, OPENFLOW_PORTS["ALL"]) and queue in (own, _ANY_QUEUE):
                counted = self.queue_statistics(port, own) or QueueStats(port, own, 0, 0, 0, 0)
                found.append(replace(counted, duration_ns=now_ns - self._created_ns.get(port, now_ns)))
        return found

    def queue_descriptions(self, number: int, queue: int = _ANY_QUEUE) -> list[QueueDescription]:
        """Of a port's queues, or of all ports'. OpenFlowError: there is no such port."""
        everywhere = number in (ANY_PORT, OPENFLOW_PORTS["ALL"])
        if not everywhere and number not in self._ports:
            raise OpenFlowError("queue_op_failed.bad_port", f"there is no port {number}")
        return [
            self.queues[port, own]
            for port, own in sorted(self.queues)
            if (everywhere or port == number) and queue in (own, _ANY_QUEUE)
        ]
