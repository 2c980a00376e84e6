"""Devices that are made for ports of bridges: internal, tap, patch.

A port has a name, which may be whatever a database can hold, and a device, whose name the kernel has rules for. Where
the port's name is fit for a device the device has it; else the device's name is made of a hash of the port's, always
the same, and the port's name is the device's other name (altname) where the kernel takes it.

* internal: a veth pair. One end is the host's, named as the port; the other is the switch's (`Made.device`).
* tap: for another program to open; it stays while nobody has it open.
* patch: a veth pair between two bridges, an end for each. Both carry frames of any length, as nothing limits what
  passes from one bridge to another.

Each is made under a name of its owner's own, marked with the port's name (as the kernel's alias of the device), and
gets its own name last. So after a crash everything is either marked or has that name.

Invariant: only devices with our mark, or with the owner's name for unfinished ones, are ever deleted. A device with the
name of a port that is to be made is an error, never replaced.
"""

from __future__ import annotations

import contextlib
import enum
import hashlib
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from vswitch.base.errors import ConfigError, ExistsError, NotFoundError
from vswitch.datapath.ebpf.netdev import MAX_OTHER_NAME, Device, Netdev, is_device_name

__all__ = ["DeviceKind", "Devices", "Made", "device_name"]

_MARK = "vswitch-port"
_MAX_ALIAS_BYTES = 255
"""IFALIASZ of linux/if.h, without its end mark."""
_MAX_MTU = 65535
"""The longest that a veth has."""


class DeviceKind(enum.Enum):
    """What a device is made for."""

    INTERNAL = "internal"
    TAP = "tap"
    PATCH = "patch"


_KINDS = frozenset(kind.value for kind in DeviceKind)


@dataclass(frozen=True, slots=True)
class Made:
    """A device of ours. `name`: the port's; `device`, `ifindex`: of the device by which the switch sends and receives,
    to be added to a datapath."""

    kind: DeviceKind
    name: str
    device: str
    ifindex: int


def device_name(name: str, owner: str) -> str:
    """What the device of a tap or patch port is called: as the port, if a device can be called so, else by a hash."""
    return name if is_device_name(name) else _hashed(name, owner)


def _hashed(name: str, owner: str) -> str:
    return "vsx" + hashlib.sha256(f"{owner}\0{name}".encode()).hexdigest()[:12]


class Devices:
    """Devices of one owner, of which there is one at a time (a daemon with a lock, a test). `owner` is part of the
    marks: letters, digits, and `-_.`. One thread at a time.

    Whatever makes a device takes up one of ours that is there already, as an earlier process left it. ExistsError: a
    device of that name is there that is not ours. ConfigError: the name or a value is impossible."""

    def __init__(self, owner: str = "vswitchd") -> None:
        if not owner or not owner.isascii() or not owner.replace("-", "").replace("_", "").replace(".", "").isalnum():
            raise ConfigError(f"owner {owner!r} must be of ASCII letters, digits and -_.")
        self.owner = owner
        self._unfinished = tuple(f"vsm{zlib.crc32(owner.encode()):08x}{end}" for end in "ab")
        self._net = Netdev()

    # ---- what is there

    def device(self, which: str | int) -> Device:
        """Any device, ours or not, by name, other name or ifindex. NotFoundError if there is none."""
        return self._net.device(which)

    def made(self) -> list[Made]:
        """All that is ours."""
        return [made for device in self._net.devices() if (made := self._made(device)) is not None]

    def find(self, name: str) -> Made | None:
        """Ours of the port of that name; None if it has none."""
        with contextlib.suppress(NotFoundError):
            for candidate in {device_name(name, self.owner), _hashed(name, self.owner)}:
                with contextlib.suppress(NotFoundError):
                    made = self._made(self._net.device(candidate))
                    if made is not None and made.name == name:
                        return made
        # it may have been renamed
        return next((made for made in self.made() if made.name == name), None)

    def _made(self, device: Device) -> Made | None:
        kind, separator, name = device.alias.removeprefix(f"{_MARK}:{self.owner}:").partition(":")
        if not device.alias.startswith(f"{_MARK}:{self.owner}:") or not separator or device.name in self._unfinished:
            return None
        if kind not in _KINDS or not name:
            return None
        return Made(DeviceKind(kind), name, device.name, device.ifindex)

    # ---- making

    def create_internal(self, name: str, *, mac: str = "", mtu: int = 0) -> Made:
        """A device of the host's, named as the port. It begins down, as the host's administrator has it."""
        if not is_device_name(name):
            raise ConfigError(f"internal port {name!r} must have 1 to 15 bytes, without spaces and / : %")
        made = self._take_up(DeviceKind.INTERNAL, name)
        if made is not None:
            return made
        near, far = self._unfinished
        with self._making():
            self._net.create_veth(near, far, mtu=_MAX_MTU)
            self.set_mtu(near, mtu or 1500)
            if mac:
                self._net.set_mac(near, mac)
            self._net.set_alias(far, self._mark(DeviceKind.INTERNAL, name))
            self._net.silence(far)
            self._net.set_up(far)
            self._net.set_name(near, name)
            self._net.set_name(far, _hashed(name, self.owner))
        return self._finished(name)

    def create_tap(self, name: str, *, mac: str = "", mtu: int = 0, multi_queue: bool = False) -> Made:
        """A tap device, which is up. A tap that somebody else has made is a system device, not one of ours."""
        made = self._take_up(DeviceKind.TAP, name)
        if made is not None:
            return made
        hidden = self._unfinished[0]
        with self._making():
            self._net.create_tap(hidden, mac=mac, mtu=mtu, multi_queue=multi_queue)
            self._net.set_alias(hidden, self._mark(DeviceKind.TAP, name))
            self._net.set_name(hidden, device_name(name, self.owner))
        made = self._finished(name)
        self._finish(made)
        return made

    def create_patch(self, name: str, peer: str = "") -> tuple[Made, ...]:
        """What goes in at one comes out at the other; both are up. Without `peer` it is a port whose other end is
        nobody's, until it is made again with one. ExistsError also if one of the two is there with another port at its
        other end: remove that first."""
        if name == peer:
            raise ConfigError(f"patch port {name!r} cannot be its own peer")
        wanted = (name, peer) if peer else (name,)
        made = [found for each in wanted if (found := self._take_up(DeviceKind.PATCH, each)) is not None]
        others = {self._other_end(each) for each in made}
        if others - {*wanted, ""}:
            raise ExistsError(f"patch port {(others - {*wanted, ''}).pop()!r} is the peer of {name!r} or {peer!r}")
        if len(made) < len(wanted) or (peer and "" in others):
            for each in made:
                self.remove(each.name)  # one without a peer
            self._make_patch(name, peer)
        ends = tuple(self._finished(each) for each in wanted)
        for end in ends:
            self._finish(end)
        return ends

    def _other_end(self, made: Made) -> str:
        """The name of the port at the other end of a patch; "" if that is nobody's."""
        with contextlib.suppress(NotFoundError):
            other = self._net.device(self._net.device(made.ifindex).peer_ifindex or 0)
            return other.alias.removeprefix(f"{_MARK}:{self.owner}:{DeviceKind.PATCH.value}:")
        return ""

    def _make_patch(self, name: str, peer: str) -> None:
        near, far = self._unfinished
        with self._making():
            self._net.create_veth(near, far, mtu=_MAX_MTU)
            for hidden, port in ((near, name), (far, peer)):
                self._net.set_alias(hidden, f"{_MARK}:{self.owner}:{DeviceKind.PATCH.value}:{port}")
                self._net.silence(hidden)
            self._net.set_name(far, device_name(peer, self.owner) if peer else _hashed(f"{name}\0", self.owner))
            self._net.set_name(near, device_name(name, self.owner))
            if not peer:
                self._net.set_up(_hashed(f"{name}\0", self.owner))

    def _take_up(self, kind: DeviceKind, name: str) -> Made | None:
        """Ours that is there; None if there is none and the way is free."""
        self._mark(kind, name)
        made = self.find(name)
        if made is None:
            wanted = device_name(name, self.owner)
            if self._net.exists(wanted):
                raise ExistsError(f"device {wanted} exists already")
        elif made.kind is not kind:
            raise ExistsError(f"port {name!r} has a device of kind {made.kind.value} already")
        return made

    def _mark(self, kind: DeviceKind, name: str) -> str:
        mark = f"{_MARK}:{self.owner}:{kind.value}:{name}"
        if not name or "\0" in name or len(mark.encode()) > _MAX_ALIAS_BYTES:
            most = _MAX_ALIAS_BYTES - len(mark.encode()) + len(name.encode())
            raise ConfigError(f"port name {name!r} must have 1 to {most} bytes, none of them 0")
        return mark

    @contextlib.contextmanager
    def _making(self) -> Iterator[None]:
        """What is left of an earlier attempt goes first, and all of this one if it fails."""
        self._remove_unfinished()
        try:
            yield
        except BaseException:
            self._remove_unfinished()
            raise

    def _remove_unfinished(self) -> None:
        for hidden in self._unfinished:
            with contextlib.suppress(NotFoundError):
                self._net.delete(hidden)

    def _finished(self, name: str) -> Made:
        made = self.find(name)
        if made is None:
            raise NotFoundError(f"the device of port {name!r} was deleted while it was made")
        return made

    def _finish(self, made: Made) -> None:
        """What may be missing of a device that a process was killed behind."""
        if made.device != made.name and len(made.name.encode()) <= MAX_OTHER_NAME:
            with contextlib.suppress(ExistsError, ConfigError):  # it has it already, or the kernel does not like it
                self._net.add_other_name(made.ifindex, made.name)
        self._net.set_up(made.ifindex)

    # ---- changing

    def set_mac(self, which: str | int, mac: str) -> None:
        """Give a device an Ethernet address. ConfigError if it is none, or the device does not take it."""
        self._net.set_mac(which, mac)

    def set_mtu(self, which: str | int, mtu: int) -> None:
        """Give a device an MTU. ConfigError with the device's own bounds if it is outside of them."""
        device = self._net.device(which)
        most = device.max_mtu or (1 << 31) - 1
        if not device.min_mtu <= mtu <= most:
            raise ConfigError(f"device {device.name}: MTU {mtu} is outside {device.min_mtu}..{most}")
        if device.mtu != mtu:
            self._net.set_mtu(device.ifindex, mtu)

    def set_up(self, which: str | int, up: bool = True) -> None:
        """Set a device up or down."""
        self._net.set_up(which, up)

    # ---- removing

    def remove(self, name: str) -> bool:
        """Delete what is ours of that port (and of a pair both ends); whether there was something."""
        made = self.find(name)
        if made is not None:
            self._delete(made)
        return made is not None

    def remove_all_but(self, names: Collection[str]) -> list[str]:
        """Delete all that is ours, of killed processes too, but what belongs to ports of these names; a patch stays
        while one of its two ports does. The names of the ports whose devices went."""
        self._remove_unfinished()
        gone = [made for made in self.made() if made.name not in names]
        gone = [made for made in gone if made.kind is not DeviceKind.PATCH or self._other_end(made) not in names]
        for made in gone:
            self._delete(made)
        return [made.name for made in gone]

    def _delete(self, made: Made) -> None:
        with contextlib.suppress(NotFoundError):  # it went with the other end of its pair
            self._net.delete(made.ifindex)

    def close(self) -> None:
        """The devices stay."""
        self._net.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
