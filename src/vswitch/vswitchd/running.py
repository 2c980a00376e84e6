"""One bridge at work: its datapath, the switch on it, and the task that serves it.

A datapath that an earlier process left, also one that was killed, is taken over with its ports, their numbers and its
megaflows; what nobody wants of it goes only when all is known that is wanted.
"""

from __future__ import annotations

import asyncio
import logging
import zlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from vswitch.api.datapath import Datapath
from vswitch.base.errors import VswitchError
from vswitch.bridge.bridge import Bridge
from vswitch.bridge.options import BridgeOptions
from vswitch.datapath.ebpf.state import LeftoverError, Options
from vswitch.host.qos import Qos, QueueCounters
from vswitch.model.port import Policing, Port, PortKind
from vswitch.vswitchd.plan import WantedInterface
from vswitch.vswitchd.shaping import Shaping

__all__ = ["LOCAL_PORT", "RunningBridge", "datapath_sizes"]

logger = logging.getLogger("vswitch")

LOCAL_PORT = 0
MAX_PORTS = 4096
"""Of one bridge: each takes some 300 bytes of the kernel's memory, and counters."""
MAX_METERS = 4096
MAX_NUMBER = 4 * MAX_PORTS
"""Of ports that are given one."""

_KINDS = {
    "system": PortKind.SYSTEM, "patch": PortKind.SYSTEM, "internal": PortKind.INTERNAL, "tap": PortKind.TAP,
}  # fmt: skip
_MULTICAST, _LOCALLY_GIVEN = 1 << 40, 1 << 41


def datapath_sizes(options: BridgeOptions) -> Options:
    """Of the datapath that such a bridge needs: while megaflows are exchanged there are more of them."""
    most = options.max_megaflows
    return Options(max_flows=most + most // 4, max_ports=MAX_PORTS, max_meters=MAX_METERS)


def _take(name: str, sizes: Options) -> Datapath:
    """The datapath of this name, which stays; made, if there is none that can be used."""
    try:
        left = name in Datapath.list()  # with sizes that may be others
        datapath = Datapath.create(name, local=False, exist_ok=True, options=None if left else sizes)
    except LeftoverError as problem:
        logger.warning("%s; this is done", problem)
        Datapath.delete(name)
        datapath = Datapath.create(name, local=False, options=sizes)
    datapath.keep()
    return datapath


class RunningBridge:
    """`kinds`, `policing`: of each port's device what it was added as, and what it was given. `options`: as they were
    given last."""

    def __init__(self, datapath: Datapath, bridge: Bridge, options: BridgeOptions, shaping: Shaping) -> None:
        self.datapath = datapath
        self.bridge = bridge
        self.options = options
        self.kinds: dict[str, str] = {}
        self.policing: dict[str, Policing] = {}
        self._shaping = shaping
        self._queues: dict[str, tuple[int, ...]] = {}
        bridge.queue_counters = self._queue_counters
        self._last_number = max((port.number for port in datapath.ports if port.number < MAX_PORTS), default=0)
        self._task: asyncio.Task[None] | None = None

    @classmethod
    async def start(cls, name: str, options: BridgeOptions, shaping: Shaping) -> RunningBridge:
        """Have it, and serve it. VswitchError: it cannot be, and all is as it was."""
        loop = asyncio.get_running_loop()
        # the kernel takes a third of a second to look through the programs, meanwhile other bridges work
        datapath = await loop.run_in_executor(None, _take, name, datapath_sizes(options))
        try:
            bridge = Bridge(datapath, _fitting(options, datapath))
        except BaseException:
            datapath.close()
            raise
        if adopted := bridge.stats()["adopted"]:
            logger.info("%s: taken over with %d megaflows", name, adopted)
        return cls(datapath, bridge, options, shaping)

    @property
    def name(self) -> str:
        """What it is called."""
        return self.datapath.name

    @property
    def is_served(self) -> bool:
        """Whether it has begun to be."""
        return self._task is not None

    @property
    def is_over(self) -> bool:
        """Whether it is not served any more, which is a fault of ours."""
        return self._task is not None and self._task.done()

    async def serve(self) -> None:
        """Begin to. Of places that cannot be listened at, `Bridge.controller_states` tells."""
        ready = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(
            self.bridge.serve(ready.set, strict=False), name=f"bridge {self.name}"
        )
        waiting = asyncio.get_running_loop().create_task(ready.wait())
        await asyncio.wait({waiting, self._task}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()

    async def stop(self, *, remove: bool = False) -> None:
        """End it; its datapath forwards on, or is removed."""
        self.bridge.stop()
        if self._task is not None:
            try:
                await self._task
            except Exception:
                logger.exception("%s: it has failed", self.name)
        self.bridge.close()
        if not remove:
            self.datapath.close()
            return
        name = self.name
        try:
            self.datapath.keep(False)
            self.datapath.__exit__(None, None, None)
        except VswitchError:
            self.datapath.close()
            raise
        logger.info("%s: removed", name)

    async def reconfigure(self, options: BridgeOptions) -> None:
        """Have these options, if they are others than it has."""
        if options != self.options:
            self.options = options
            await self.bridge.reconfigure(_fitting(options, self.datapath))

    # ---- ports

    def ports(self) -> dict[str, Port]:
        """By the names of their devices."""
        return {port.name: port for port in self.datapath.ports}

    def drop_ports(self, wanted: Mapping[str, WantedInterface]) -> None:
        """Take away what is not wanted (by device), or is wanted as something else."""
        there = self.ports()
        for name, port in list(there.items()):
            interface = wanted.get(name)
            is_local = name == self.name
            if (
                interface is None
                or port.kind is not _KINDS[interface.kind]
                or self.kinds.get(name, interface.kind) != interface.kind
                or is_local != (port.number == LOCAL_PORT)
            ):
                self._remove(port)
                del there[name]
        numbers = {port.number: name for name, port in there.items()}
        for name, port in there.items():
            request = wanted[name].request
            if port.number in (LOCAL_PORT, request) or request is None:
                continue
            holder = numbers.get(request)
            if holder is None or wanted[holder].request not in (None, request):
                self._remove(port)

    def _remove(self, port: Port) -> None:
        self.kinds.pop(port.name, None)
        self.policing.pop(port.name, None)
        self._queues.pop(port.name, None)
        if port.ifindex is not None:
            self._shaping.release(port.ifindex)
        try:
            self.datapath.ports.remove(port.number)
        except VswitchError as problem:  # nothing of it is wanted
            logger.warning("%s: port %d (%s): %s", self.name, port.number, port.name, problem)

    def add_port(self, device: str, interface: WantedInterface, reserved: Collection[int]) -> Port:
        """Have this port. `reserved`: numbers that others are to have. VswitchError: it cannot be."""
        if device == self.name:
            number = LOCAL_PORT
        else:
            used = {port.number for port in self.datapath.ports}
            number = self._number(interface, used, reserved)
        port = self.datapath.ports.add(device, number, kind=_KINDS[interface.kind])
        if number not in (LOCAL_PORT, interface.request, interface.last):
            self._last_number = number
        self.kinds[device] = interface.kind
        self.policing[device] = Policing()
        return port

    def _number(self, interface: WantedInterface, used: set[int], reserved: Collection[int]) -> int:
        """What was requested, else what it had, else the next that nobody has or is to have: one that has become free
        is not given again soon, as flows may speak of it."""
        for number in (interface.request, interface.last):
            if number is not None and number not in used:
                return number
        after = (*range(self._last_number + 1, MAX_NUMBER), *range(1, self._last_number + 1))
        found: int = next(number for number in after if number not in used and number not in reserved)
        return found

    def shape(self, port: Port, qos: Qos | None) -> None:
        """Shape what a port sends, and tell controllers of its queues. VswitchError: it cannot be."""
        if port.ifindex is not None:
            self._shaping.apply(port.ifindex, qos)
        queues = tuple(qos.queues) if qos is not None else ()
        if queues != self._queues.get(port.name, ()):
            self._queues[port.name] = queues
            self.bridge.set_queues(port.name, queues)

    def shaped(self, name: str) -> tuple[Qos | None, dict[int, QueueCounters]] | None:
        """How the port of this name is shaped, and what its queues have counted; None: there is no such port."""
        port = next((port for port in self.datapath.ports if port.name == name), None)
        if port is None:
            return None
        if port.ifindex is None:
            return None, {}
        return self._shaping.shaped(port.ifindex), self._shaping.counters(port.ifindex)

    def _queue_counters(self, name: str, queue: int) -> tuple[int, int, int] | None:
        """Bytes, packets and errors of a queue, None if it has gone."""
        ifindex = self.datapath.ports[name].ifindex
        found = self._shaping.counters(ifindex).get(queue) if ifindex is not None else None
        return None if found is None else (found.bytes, found.packets, found.errors)

    def follow_ports(self) -> None:
        """Let the switch know of what has happened to ports."""
        self.bridge.follow_ports()

    # ---- who it is

    def address(self, hwaddr: str | None, physical: Iterable[str]) -> int:
        """That of the bridge: as it is to be; else the lowest of its devices that were there before it, of addresses
        that their makers gave them; else one made of its name."""
        if hwaddr is not None:
            return int(hwaddr.replace(":", ""), 16)
        ports = self.ports()
        addresses = [
            int(ports[name].mac.replace(":", ""), 16) for name in physical if name in ports and ports[name].mac
        ]
        return min(
            (address for address in addresses if address and not address & (_MULTICAST | _LOCALLY_GIVEN)),
            default=0x020000000000 | zlib.crc32(self.name.encode()),
        )


def _fitting(options: BridgeOptions, datapath: Datapath) -> BridgeOptions:
    """With no more megaflows than a datapath has room for, which may have been made for fewer."""
    most = datapath.backend.options.max_flows * 4 // 5
    return options if options.max_megaflows <= most else replace(options, max_megaflows=most)
