"""What the kernel says of network devices: addresses, states, speeds, counters, drivers.

`Links.all` is one rtnetlink dump for the states and counters of all devices, and one of ethtool netlink for their
speeds. The answers are many and long, and few of their attributes are wanted. So these alone are taken out of the
bytes: that takes a twelfth of what decoding them all does, for a thousand devices 25 ms. (pyroute2 packs the requests,
and knows what the numbers mean.)

Invariant: all of a `Links` acts in the network namespace in which it was made. Nothing here changes anything.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Literal, Self

from pyroute2.netlink import ctrlmsg
from pyroute2.netlink.generic import ethtool
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from vswitch.base.errors import NotFoundError, VswitchError
from vswitch.datapath.ebpf.bpf_syscall import raise_errno
from vswitch.datapath.ebpf.link_message import ATTRIBUTES_AT, attributes, header, numbers, u32
from vswitch.datapath.ebpf.netdev import MAX_OTHER_NAME, NLM_F_DUMP, RouteSocket, is_device_name

__all__ = ["STATISTICS", "Driver", "LinkFacts", "Links"]

# include/uapi/linux/netlink.h, rtnetlink.h, if_link.h, if.h, ethtool.h, genetlink.h
_RTM_GETLINK = 18
_NETLINK_GENERIC = 16
_MESSAGE_HEADER_BYTES = 16
_GENERIC_HEADER_BYTES = 4
_GENL_ID_CTRL = 16
_CTRL_CMD_GETFAMILY = 3
_COMPACT_BITSETS = 1
_SPEED_UNKNOWN = 0xFFFFFFFF
_DUPLEX: Final[dict[int, Literal["half", "full"]]] = {0: "half", 1: "full"}
_SIOCETHTOOL = 0x8946
_ETHTOOL_GDRVINFO = 0x3
_DRVINFO: Final = struct.Struct("=I32s32s32s32s32s12x5I")
_IFREQ: Final = struct.Struct("=16sQ16x")


_IFLA: Final = numbers(ifinfmsg)
_ADDRESS, _NAME, _MTU = _IFLA["IFLA_ADDRESS"], _IFLA["IFLA_IFNAME"], _IFLA["IFLA_MTU"]
_STATS64, _CARRIER_CHANGES = _IFLA["IFLA_STATS64"], _IFLA["IFLA_CARRIER_CHANGES"]
_COUNTERS: Final = tuple(name for name, _ in ifinfmsg.ifstats64.fields)
_MODES: Final = numbers(ethtool.ethtool_linkmode_msg)
_MODES_HEADER = _MODES["ETHTOOL_A_LINKMODES_HEADER"]
_SPEED, _DUPLEX_OF = _MODES["ETHTOOL_A_LINKMODES_SPEED"], _MODES["ETHTOOL_A_LINKMODES_DUPLEX"]
_INDEX = numbers(ethtool.ethtoolheader)["ETHTOOL_A_HEADER_DEV_INDEX"]

STATISTICS: Final[Mapping[str, str]] = {
    "collisions": "collisions",
    "rx_bytes": "rx_bytes",
    "rx_crc_err": "rx_crc_errors",
    "rx_dropped": "rx_dropped",
    "rx_errors": "rx_errors",
    "rx_frame_err": "rx_frame_errors",
    "rx_missed_errors": "rx_missed_errors",
    "rx_multicast_packets": "multicast",
    "rx_over_err": "rx_over_errors",
    "rx_packets": "rx_packets",
    "tx_bytes": "tx_bytes",
    "tx_dropped": "tx_dropped",
    "tx_errors": "tx_errors",
    "tx_packets": "tx_packets",
}
"""Open vSwitch's name of each counter, and the kernel's."""

_PLACES: Final = tuple((name, _COUNTERS.index(kernels)) for name, kernels in STATISTICS.items())


@dataclass(frozen=True, slots=True)
class LinkFacts:
    """A device as it is now. `up`: as set by the administrator; `carrier`: it can carry packets; `speed_bps`, `duplex`:
    None where the device does not know. `carrier_changes`: since it was made. `statistics`: by the names of
    `STATISTICS`; "rx" is what the device received. (Of an internal port that is the other way round: what the host
    received on it. What the switch received is what its other device did.)"""

    ifindex: int
    name: str
    mac: str
    up: bool
    carrier: bool
    mtu: int
    carrier_changes: int
    speed_bps: int | None
    duplex: Literal["half", "full"] | None
    statistics: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Driver:
    """Of a device, as its driver says; texts may be empty. They stay the same as long as the device is there."""

    name: str
    version: str
    firmware_version: str


class Links:
    """Asks the kernel of devices, each by name, other name or ifindex. NotFoundError if there is none. One thread at a
    time."""

    def __init__(self) -> None:
        self._route = RouteSocket()
        self._generic = RouteSocket(_NETLINK_GENERIC)
        self._control = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._ethtool = self._family(ethtool.ETHTOOL_GENL_NAME)

    def all(self) -> dict[int, LinkFacts]:
        """All devices, by ifindex."""
        speeds = self._speeds(ethtool.ethtool_linkmode_msg(), NLM_F_DUMP)
        answers = self._route.ask("listing devices", ifinfmsg(), _RTM_GETLINK, NLM_F_DUMP)
        facts = (_facts(raw, speeds) for raw in answers)
        return {each.ifindex: each for each in facts}

    def one(self, which: str | int) -> LinkFacts:
        """One device. NotFoundError."""
        message = ifinfmsg()
        if isinstance(which, int):
            message["index"] = which
        else:
            if len(which.encode()) > MAX_OTHER_NAME:
                raise NotFoundError(f"device {which} does not exist")
            message["attrs"] = [["IFLA_IFNAME" if is_device_name(which) else "IFLA_ALT_IFNAME", which]]
        try:
            answer = self._route.ask(f"looking at device {which}", message, _RTM_GETLINK)[0]
        except NotFoundError:
            raise NotFoundError(f"device {which} does not exist") from None
        ifindex = header(answer)[0]
        request = ethtool.ethtool_linkmode_msg()
        request["attrs"] = [["ETHTOOL_A_LINKMODES_HEADER", {"attrs": [["ETHTOOL_A_HEADER_DEV_INDEX", ifindex]]}]]
        speeds = {}
        with contextlib.suppress(VswitchError):  # it does not know, or has gone
            speeds = self._speeds(request)
        return _facts(answer, speeds)

    def driver(self, name: str) -> Driver | None:
        """Of the device of that name; None if it says nothing. NotFoundError."""
        found = ctypes.create_string_buffer(_DRVINFO.pack(_ETHTOOL_GDRVINFO, *[b""] * 5, *[0] * 5))
        request = bytearray(_IFREQ.pack(name.encode()[:15], ctypes.addressof(found)))
        try:
            fcntl.ioctl(self._control.fileno(), _SIOCETHTOOL, request)
        except OSError as problem:
            if problem.errno == errno.ENODEV:
                raise NotFoundError(f"device {name} does not exist") from None
            if problem.errno in (errno.EOPNOTSUPP, errno.EPERM):
                return None
            raise_errno(f"asking device {name} for its driver", problem.errno or 0)
        texts = _DRVINFO.unpack_from(found)[1:4]
        return Driver(*(text.partition(b"\0")[0].decode(errors="replace") for text in texts))

    def close(self) -> None:
        """Ask no more."""
        self._route.close()
        self._generic.close()
        self._control.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _family(self, name: str) -> int:
        """The number of a family of generic netlink; 0 if the kernel has none (before Linux 5.6, or without
        CONFIG_ETHTOOL_NETLINK)."""
        request = ctrlmsg()
        request["cmd"], request["version"] = _CTRL_CMD_GETFAMILY, 1
        request["attrs"] = [["CTRL_ATTR_FAMILY_NAME", name]]
        try:
            return int(
                self._generic.request("asking for ethtool", request, _GENL_ID_CTRL)[0].get_attr("CTRL_ATTR_FAMILY_ID")
            )
        except NotFoundError:
            return 0

    def _speeds(self, request: Any, flags: int = 0) -> dict[int, tuple[int, int]]:
        """Speed in Mbit/s and duplex, as the kernel's numbers, by ifindex."""
        if not self._ethtool:
            return {}
        request["cmd"], request["version"] = ethtool.ETHTOOL_MSG_LINKMODES_GET, ethtool.ETHTOOL_GENL_VERSION
        if not request["attrs"]:
            header = {"attrs": [["ETHTOOL_A_HEADER_FLAGS", _COMPACT_BITSETS]]}
            request["attrs"] = [["ETHTOOL_A_LINKMODES_HEADER", header]]
        found = {}
        for raw in self._generic.ask("asking for speeds", request, self._ethtool, flags):
            at = attributes(raw, _MESSAGE_HEADER_BYTES + _GENERIC_HEADER_BYTES)
            header_at = at.get(_MODES_HEADER)
            if header_at is None:
                continue
            ifindex = u32(raw, attributes(raw, *header_at), _INDEX)
            speed = u32(raw, at, _SPEED)
            if ifindex is not None and speed is not None:
                found[ifindex] = (speed, raw[at[_DUPLEX_OF][0]] if _DUPLEX_OF in at else -1)
        return found


def _facts(raw: bytes, speeds: Mapping[int, tuple[int, int]]) -> LinkFacts:
    # hot: once per device every few seconds
    ifindex, is_ethernet, up, carrier = header(raw)
    at = attributes(raw, ATTRIBUTES_AT)
    speed, duplex = speeds.get(ifindex, (_SPEED_UNKNOWN, -1))
    start, end = at.get(_STATS64, (0, 0))
    counters = struct.unpack_from(f"={min((end - start) // 8, len(_COUNTERS))}Q", raw, start) if end else ()
    return LinkFacts(
        ifindex,
        raw[at[_NAME][0] : at[_NAME][1] - 1].decode(errors="replace"),
        raw[slice(*at[_ADDRESS])].hex(":") if is_ethernet and _ADDRESS in at else "",
        up,
        carrier,
        u32(raw, at, _MTU) or 0,
        u32(raw, at, _CARRIER_CHANGES) or 0,
        None if speed == _SPEED_UNKNOWN else speed * 1_000_000,
        _DUPLEX.get(duplex),
        {name: counters[place] for name, place in _PLACES if place < len(counters)},
    )
