"""Devices that come, change and go, as events.

The kernel's own events tell of a device several times over, also where nothing has changed that matters here, and may
be lost. So they say only where to look: what is told is the difference between a device as it was when last looked at
and as it is now.

Invariant: after `read`, `devices` is what was told, from the first device on; nothing is told twice. A device that was
moved to another network namespace is gone; one that was moved here has come.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType, TracebackType
from typing import Self

from vswitch.base.errors import NotFoundError
from vswitch.datapath.ebpf.netdev import Device, LinkMonitor, Netdev

__all__ = ["DeviceChange", "DeviceEvent", "DeviceWatch"]

_MOST_ONE_BY_ONE = 32
"""Devices that are asked about one by one; all are listed if more have changed, which costs about as much."""


class DeviceChange(enum.Enum):
    """What has happened to a device."""

    GONE = "gone"
    CAME = "came"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class DeviceEvent:
    """`device`: as it is now, or was last if it is gone. `before`: as it was, None if it has come."""

    change: DeviceChange
    device: Device
    before: Device | None


class DeviceWatch:
    """All devices of a network namespace. Wait for `fileno` to be readable, then `read`; or iterate over `events`."""

    def __init__(self) -> None:
        self._monitor = LinkMonitor()  # before looking, so that nothing is missed
        try:
            self._net = Netdev()
            self._known = {device.ifindex: device for device in self._net.devices()}
        except BaseException:
            self._monitor.close()
            raise
        self.lost = 0
        """How often the kernel had to drop events; nothing is missed by that."""

    @property
    def devices(self) -> Mapping[int, Device]:
        """By ifindex, as told so far."""
        return MappingProxyType(self._known)

    def by_name(self, name: str) -> Device | None:
        """The device of that name, as told so far."""
        return next((device for device in self._known.values() if device.name == name), None)

    def fileno(self) -> int:
        """Readable when there may be something to read."""
        return self._monitor.fileno()

    def read(self) -> list[DeviceEvent]:
        """What has happened since the last call; devices that are gone first. Never blocks."""
        happened = self._monitor.read()
        lost = sum(event.resync for event in happened)
        touched = {event.ifindex for event in happened if not event.resync}
        self.lost += lost
        if lost or len(touched) > _MOST_ONE_BY_ONE:
            now = {device.ifindex: device for device in self._net.devices()}
            touched = self._known.keys() | now.keys()
        else:
            now = {}
            for ifindex in touched:
                with contextlib.suppress(NotFoundError):
                    now[ifindex] = self._net.device(ifindex)
        return self._compare(touched, now)

    def _compare(self, touched: set[int], now: Mapping[int, Device]) -> list[DeviceEvent]:
        gone, others = list[DeviceEvent](), list[DeviceEvent]()
        for ifindex in sorted(touched):
            before, device = self._known.get(ifindex), now.get(ifindex)
            if device is not None and device != before:
                change = DeviceChange.CHANGED if before else DeviceChange.CAME
                others.append(DeviceEvent(change, device, before))
                self._known[ifindex] = device
            elif device is None and before is not None:
                gone.append(DeviceEvent(DeviceChange.GONE, before, before))
                del self._known[ifindex]
        return gone + others

    async def events(self) -> AsyncIterator[DeviceEvent]:
        """The same without an end, as they happen; for one task at a time."""
        loop = asyncio.get_running_loop()
        readable = asyncio.Event()
        loop.add_reader(self.fileno(), readable.set)
        try:
            while True:
                readable.clear()
                for event in self.read():
                    yield event
                await readable.wait()
        finally:
            loop.remove_reader(self.fileno())

    def close(self) -> None:
        """Hear no more."""
        self._monitor.close()
        self._net.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
