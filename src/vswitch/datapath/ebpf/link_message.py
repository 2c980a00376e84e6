"""Messages of rtnetlink about devices, read.

Such a message has some sixty attributes, of which a few are wanted, and there is one for each of a thousand devices, or
several while they change. So these few alone are taken out of the bytes: that takes a tenth of what decoding them all
does. (What is asked is packed by pyroute2, which knows what the numbers mean.)
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, Final

from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

__all__ = [
    "ATTRIBUTES_AT",
    "Device",
    "LinkEvent",
    "attributes",
    "header",
    "numbers",
    "read_device",
    "read_event",
    "u32",
]

# include/uapi/linux/netlink.h, rtnetlink.h, if.h, if_arp.h
_IFINFO: Final = struct.Struct("=BxHiII")  # family, type, index, flags, change
_ATTRIBUTE: Final = struct.Struct("=HH")  # length, type
_U32: Final = struct.Struct("=I")
_HEADER_BYTES = 16
_TYPE_MASK = 0x3FFF
_RTM_DELLINK = 17
_IFF_UP = 0x1
_IFF_LOWER_UP = 0x10000
_ARPHRD_ETHER = 1
_IFLA_INFO_KIND = 1

ATTRIBUTES_AT: Final = _HEADER_BYTES + _IFINFO.size
"""Where the attributes of a message about a device begin."""


@dataclass(frozen=True, slots=True)
class Device:
    """A network device as it is now. `kind`: "veth", "tun", "bridge", ..., "" for a plain one; `up`: as set by the
    administrator; `carrier`: it can carry packets; `mac`: "" unless it is an Ethernet device; `alias`: a note of
    whoever set it; `min_mtu`, `max_mtu`: what it takes, 0 if it does not say. Of a veth, `peer_ifindex` is the other
    end's number in its own namespace, and `peer_elsewhere` says that this is another."""

    ifindex: int
    name: str
    kind: str
    up: bool
    carrier: bool
    mtu: int
    mac: str
    peer_ifindex: int | None = None
    peer_elsewhere: bool = False
    master_ifindex: int | None = None
    alias: str = ""
    min_mtu: int = 0
    max_mtu: int = 0


@dataclass(frozen=True, slots=True)
class LinkEvent:
    """A device came, changed or went. `gone`: deleted, or moved to another namespace. `resync`: events were lost,
    the other fields are empty: ask for all devices anew."""

    ifindex: int
    name: str
    up: bool
    mtu: int
    mac: str
    gone: bool = False
    carrier: bool = False
    resync: bool = False


def numbers(message: Any) -> dict[str, int]:
    """Of one of pyroute2's messages: attribute -> number."""
    return {row[0]: number for number, row in enumerate(message.nla_map)}


_IFLA: Final = numbers(ifinfmsg)
_ADDRESS, _NAME, _MTU, _LINK = (_IFLA[f"IFLA_{name}"] for name in ("ADDRESS", "IFNAME", "MTU", "LINK"))
_MASTER, _LINKINFO, _ALIAS = (_IFLA[f"IFLA_{name}"] for name in ("MASTER", "LINKINFO", "IFALIAS"))
_NETNSID, _MIN_MTU, _MAX_MTU = (_IFLA[f"IFLA_{name}"] for name in ("LINK_NETNSID", "MIN_MTU", "MAX_MTU"))

_Places = dict[int, tuple[int, int]]


def attributes(raw: bytes, at: int, end: int = 0) -> dict[int, tuple[int, int]]:
    """Of attributes that follow each other from `at` on: by type, where the value begins and ends."""
    found = {}
    end = end or len(raw)
    while at + _ATTRIBUTE.size <= end:
        length, kind = _ATTRIBUTE.unpack_from(raw, at)
        if length < _ATTRIBUTE.size:
            break
        found[kind & _TYPE_MASK] = (at + _ATTRIBUTE.size, min(at + length, end))
        at += (length + 3) & ~3
    return found


def header(raw: bytes) -> tuple[int, bool, bool, bool]:
    """ifindex; whether it is an Ethernet device, is up, has a carrier."""
    _, kind, ifindex, flags, _ = _IFINFO.unpack_from(raw, _HEADER_BYTES)
    return ifindex, kind == _ARPHRD_ETHER, bool(flags & _IFF_UP), bool(flags & _IFF_LOWER_UP)


def u32(raw: bytes, at: _Places, attribute: int) -> int | None:
    """Of a number; None if it is not there."""
    return int(_U32.unpack_from(raw, at[attribute][0])[0]) if attribute in at else None


def _text(raw: bytes, at: _Places, attribute: int) -> str:
    return raw[slice(*at[attribute])].rstrip(b"\0").decode(errors="replace") if attribute in at else ""


def _mac(raw: bytes, at: _Places, is_ethernet: bool) -> str:
    return raw[slice(*at[_ADDRESS])].hex(":") if is_ethernet and _ADDRESS in at else ""


def read_device(raw: bytes) -> Device:
    """What such a message says."""
    # hot: once per device and change
    ifindex, is_ethernet, up, carrier = header(raw)
    at = attributes(raw, ATTRIBUTES_AT)
    kind = _text(raw, attributes(raw, *at[_LINKINFO]), _IFLA_INFO_KIND) if _LINKINFO in at else ""
    is_veth = kind == "veth"
    return Device(
        ifindex=ifindex,
        name=_text(raw, at, _NAME),
        kind=kind,
        up=up,
        carrier=carrier,
        mtu=u32(raw, at, _MTU) or 0,
        mac=_mac(raw, at, is_ethernet),
        peer_ifindex=u32(raw, at, _LINK) if is_veth else None,
        peer_elsewhere=is_veth and _NETNSID in at,
        master_ifindex=u32(raw, at, _MASTER),
        alias=_text(raw, at, _ALIAS),
        min_mtu=u32(raw, at, _MIN_MTU) or 0,
        max_mtu=u32(raw, at, _MAX_MTU) or 0,
    )


def read_event(kind: int, raw: bytes) -> LinkEvent:
    """The same of a message that came unasked."""
    ifindex, is_ethernet, up, carrier = header(raw)
    at = attributes(raw, ATTRIBUTES_AT)
    return LinkEvent(
        ifindex=ifindex,
        name=_text(raw, at, _NAME),
        up=up,
        mtu=u32(raw, at, _MTU) or 0,
        mac=_mac(raw, at, is_ethernet),
        gone=kind == _RTM_DELLINK,
        carrier=carrier,
    )
