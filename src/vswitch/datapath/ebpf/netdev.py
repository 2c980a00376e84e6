"""Network devices over rtnetlink: look at them, make them, change them, hear of changes.

pyroute2 packs and unpacks the messages. The socket is our own, since pyroute2's synchronous one runs an event loop
inside and so refuses to work in a thread whose own event loop is running, as the daemon's is. Requests to
rtnetlink are answered within the system call that sends them: nothing here waits.

Invariant: a socket stays in the network namespace in which it was made, whatever the thread does later; all of a
`Netdev` or `LinkMonitor` acts there. (`create_tap` alone acts in the namespace of the calling thread.)
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from vswitch.base.errors import ConfigError, ExistsError, KernelError, MachineError, NotFoundError
from vswitch.datapath.ebpf.bpf_syscall import raise_errno
from vswitch.datapath.ebpf.link_message import Device, LinkEvent, attributes, read_device, read_event

__all__ = [
    "MAX_OTHER_NAME",
    "Device",
    "DeviceStats",
    "LinkEvent",
    "LinkMonitor",
    "Netdev",
    "RouteSocket",
    "is_device_name",
]

# include/uapi/linux/netlink.h, rtnetlink.h
NLM_F_REQUEST = 0x1
NLM_F_ACK = 0x4
NLM_F_EXCL = 0x200
NLM_F_DUMP = 0x300
NLM_F_CREATE = 0x400
_NLM_F_DUMP_INTR = 0x10
_NLM_F_ACK_TLVS = 0x200
_NLMSG_ERROR = 2
_NLMSG_DONE = 3
_NLMSG_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_NLMSGERR_ATTR_MSG = 1
_SOL_NETLINK = 270
_NETLINK_CAP_ACK = 10
_NETLINK_EXT_ACK = 11
_SO_RCVBUFFORCE = 33
_RTMGRP_LINK = 1

_RTM_NEWLINK = 16
_RTM_DELLINK = 17
_RTM_GETLINK = 18
_RTM_SETLINK = 19
_RTM_NEWLINKPROP = 108
_IFF_UP = 0x1
_RTEXT_FILTER_SKIP_STATS = 8
_IN6_ADDR_GEN_MODE_NONE = 1

_TUNSETIFF = 0x400454CA
_TUNSETPERSIST = 0x400454CB
_IFF_TAP = 0x0002
_IFF_MULTI_QUEUE = 0x0100
_IFF_NO_PI = 0x1000
_IFF_VNET_HDR = 0x4000
_IFF_TUN_EXCL = 0x8000

_MAX_NAME = 15
"""Characters of a device name: IFNAMSIZ without its end mark."""

MAX_OTHER_NAME = 127
"""Of the other names that a device may have: ALTIFNAMSIZ without its end mark."""

_MAX_MTU = (1 << 31) - 1
"""What the kernel's number holds; each device has a bound of its own below."""

_RECEIVE_BYTES = 1 << 16
"""Room for one datagram: the kernel makes them of 32 KB at most."""

_DUMP_TRIES = 5
"""Times that a list is asked for anew when devices changed while it was written."""

_MONITOR_BYTES = 1 << 21
"""Receive buffer of a monitor: some thousand events, for when a thousand devices come up at once."""

_MONITOR_DATAGRAMS = 256
"""Datagrams that one LinkMonitor.read takes, so that it ends; the descriptor stays readable for the rest."""


@dataclass(frozen=True, slots=True)
class DeviceStats:
    """The kernel's counters of a device, as `ip -s link` shows them. `rx` is what the device received."""

    rx_packets: int
    tx_packets: int
    rx_bytes: int
    tx_bytes: int
    rx_errors: int
    tx_errors: int
    rx_dropped: int
    tx_dropped: int


class RouteSocket:
    """A netlink socket, of rtnetlink by default: a request, its answers, the kernel's own words when it refuses."""

    def __init__(self, protocol: int = socket.NETLINK_ROUTE) -> None:
        """`protocol`: NETLINK_GENERIC speaks in the same way."""
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        self._socket.setsockopt(_SOL_NETLINK, _NETLINK_CAP_ACK, 1)
        self._socket.setsockopt(_SOL_NETLINK, _NETLINK_EXT_ACK, 1)
        self._socket.bind((0, 0))
        self._sequence = 0

    def request(self, what: str, message: Any, command: int, flags: int = 0) -> list[Any]:
        """Send a message of pyroute2, return the answers, of the same class. `what` begins the sentence of an error:
        NotFoundError (ENOENT, ENODEV), ExistsError, PrivilegeError, MachineError for the rest."""
        answers = [type(message)(raw) for raw in self.ask(what, message, command, flags)]
        for answer in answers:
            answer.decode()
        return answers

    def ask(self, what: str, message: Any, command: int, flags: int = 0) -> list[bytes]:
        """The same, but the answers are bytes as they came, header first: for lists that would take long to decode."""
        for _ in range(_DUMP_TRIES):
            answers, interrupted = self._exchange(what, message, command, flags)
            if not interrupted:
                break
        return answers

    def _exchange(self, what: str, message: Any, command: int, flags: int) -> tuple[list[bytes], bool]:
        self._sequence = (self._sequence + 1) & 0xFFFFFFFF
        is_dump = flags & NLM_F_DUMP == NLM_F_DUMP
        flags |= NLM_F_REQUEST | (0 if is_dump else NLM_F_ACK)
        message["header"] = {"type": command, "flags": flags, "sequence_number": self._sequence, "pid": 0}
        message.reset()
        message.encode()
        self._socket.send(message.data)
        answers: list[bytes] = []
        interrupted = False
        while True:
            for kind, sequence, answer_flags, raw in _messages(self._socket.recv(_RECEIVE_BYTES)):
                if sequence != self._sequence:
                    continue  # left over from a request that failed half way
                interrupted |= bool(answer_flags & _NLM_F_DUMP_INTR)
                if kind in (_NLMSG_ERROR, _NLMSG_DONE):
                    (result,) = struct.unpack_from("=i", raw, _NLMSG_HEADER.size) if len(raw) >= 20 else (0,)
                    if result < 0:
                        raise_errno(what, -result, _explanation(kind, answer_flags, raw))
                    return answers, interrupted
                answers.append(raw)

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> RouteSocket:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Netdev:
    """What vswitch asks of network devices. A device is named by its name or its ifindex. A device that does not
    exist raises NotFoundError, a value that the device refuses ConfigError. One thread at a time."""

    def __init__(self) -> None:
        self._route = RouteSocket()

    def device(self, which: str | int) -> Device:
        message = _link(which, IFLA_EXT_MASK=_RTEXT_FILTER_SKIP_STATS)
        return read_device(self._ask_raw(which, "looking at", message, _RTM_GETLINK)[0])

    def devices(self) -> list[Device]:
        message = _link(0, IFLA_EXT_MASK=_RTEXT_FILTER_SKIP_STATS)
        return [read_device(raw) for raw in self._route.ask("listing devices", message, _RTM_GETLINK, NLM_F_DUMP)]

    def exists(self, which: str | int) -> bool:
        try:
            self.device(which)
        except NotFoundError:
            return False
        return True

    def stats(self, which: str | int) -> DeviceStats:
        counters = self._ask(which, "reading the counters of", _link(which), _RTM_GETLINK)[0].get_attr("IFLA_STATS64")
        return DeviceStats(**{name: counters[name] for name in DeviceStats.__slots__})

    def create_veth(
        self, name: str, peer: str, *, mac: str = "", peer_mac: str = "", mtu: int = 0
    ) -> tuple[Device, Device]:
        """Make a pair of Ethernet devices, each of which receives what the other sends; deleting one deletes both."""
        far_end = {"attrs": _new_end(peer, peer_mac, mtu)}
        info = [["IFLA_INFO_KIND", "veth"], ["IFLA_INFO_DATA", {"attrs": [["VETH_INFO_PEER", far_end]]}]]
        message = ifinfmsg()
        message["attrs"] = [*_new_end(name, mac, mtu), ["IFLA_LINKINFO", {"attrs": info}]]
        try:
            self._route.request(f"creating devices {name} and {peer}", message, _RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL)
        except ExistsError:
            taken = name if self.exists(name) else peer
            raise ExistsError(f"device {taken} exists already") from None
        return self.device(name), self.device(peer)

    def create_tap(self, name: str, *, mac: str = "", mtu: int = 0, multi_queue: bool = False) -> Device:
        """Make a tap device for another program to open; it stays when nobody has it open."""
        request_name = _checked_name(name).encode()
        flags = _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR | _IFF_TUN_EXCL | (_IFF_MULTI_QUEUE if multi_queue else 0)
        try:
            fd = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
        except OSError as problem:
            if problem.errno not in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
                raise_errno("opening /dev/net/tun", problem.errno or 0)
            raise KernelError(
                f"/dev/net/tun: {problem.strerror}: the module tun is not loaded, or the kernel has no CONFIG_TUN"
            ) from problem
        try:
            fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", request_name, flags))
            fcntl.ioctl(fd, _TUNSETPERSIST, 1)
        except OSError as problem:
            if problem.errno == errno.EBUSY:
                raise ExistsError(f"device {name} exists already") from None
            raise_errno(f"creating tap device {name}", problem.errno or 0)
        finally:
            os.close(fd)
        if mac:
            self.set_mac(name, mac)
        if mtu:
            self.set_mtu(name, mtu)
        return self.device(name)

    def delete(self, which: str | int) -> None:
        self._ask(which, "deleting", _link(which), _RTM_DELLINK)

    def set_up(self, which: str | int, up: bool = True) -> None:
        message = _link(which)
        message["flags"] = _IFF_UP if up else 0
        message["change"] = _IFF_UP
        self._ask(which, "setting up" if up else "setting down", message, _RTM_SETLINK)

    def set_mtu(self, which: str | int, mtu: int) -> None:
        self._change(which, f"MTU {mtu}", IFLA_MTU=_checked_mtu(mtu))

    def set_mac(self, which: str | int, mac: str) -> None:
        self._change(which, f"address {mac}", IFLA_ADDRESS=_checked_mac(mac))

    def set_name(self, which: str | int, name: str) -> None:
        """Rename a device, which must be down on kernels before 6.2. ExistsError if the name is taken."""
        try:
            index = which if isinstance(which, int) else self.device(which).ifindex
            self._change(index, f"name {name}", IFLA_IFNAME=_checked_name(name))
        except ExistsError:
            raise ExistsError(f"device {name} exists already") from None

    def add_other_name(self, which: str | int, name: str) -> None:
        """Let a device be known by another name too (altname), which may be longer. ExistsError if it is taken."""
        if not 0 < len(name.encode()) <= MAX_OTHER_NAME:
            raise ConfigError(f"other name {name!r} of device {which} must have 1 to {MAX_OTHER_NAME} bytes")
        try:
            message = _link(which, IFLA_PROP_LIST={"attrs": [["IFLA_ALT_IFNAME", name]]})
            self._ask(which, f"naming {name!r}", message, _RTM_NEWLINKPROP)
        except ExistsError:
            raise ExistsError(f"device {name} exists already") from None

    def set_alias(self, which: str | int, alias: str) -> None:
        """Set the note that `ip link` shows as the device's alias, at most 255 bytes."""
        self._ask(which, "setting the alias of", _link(which, IFLA_IFALIAS=alias), _RTM_SETLINK)

    def set_namespace(self, which: str | int, namespace_fd: int) -> None:
        """Move a device to the network namespace of a descriptor (of /run/netns/x, or /proc/pid/ns/net)."""
        self._ask(which, "moving", _link(which, IFLA_NET_NS_FD=namespace_fd), _RTM_SETLINK)

    def silence(self, which: str | int) -> None:
        """Keep the host's IPv6 off a device that is not up yet: it gets no link-local address, so that the host sends
        neither solicitations nor reports of its own through it. What programs send on it is untouched."""
        mode = {"attrs": [["IFLA_INET6_ADDR_GEN_MODE", _IN6_ADDR_GEN_MODE_NONE]]}
        message = _link(which, IFLA_AF_SPEC={"attrs": [["AF_INET6", mode]]})
        try:
            self._ask(which, "silencing IPv6 on", message, _RTM_SETLINK)
        except MachineError as problem:
            # a kernel without IPv6, or with it off, has nothing to silence
            if _errno(problem) not in (errno.EAFNOSUPPORT, errno.EOPNOTSUPP):
                raise

    def close(self) -> None:
        self._route.close()

    def __enter__(self) -> Netdev:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, which: str | int, doing: str, message: Any, command: int) -> list[Any]:
        answers = [ifinfmsg(raw) for raw in self._ask_raw(which, doing, message, command)]
        for answer in answers:
            answer.decode()
        return answers

    def _ask_raw(self, which: str | int, doing: str, message: Any, command: int) -> list[bytes]:
        if isinstance(which, str) and len(which.encode()) > MAX_OTHER_NAME:
            raise NotFoundError(f"device {which} does not exist")
        try:
            return self._route.ask(f"{doing} device {which}", message, command)
        except NotFoundError:
            raise NotFoundError(f"device {which} does not exist") from None

    def _change(self, which: str | int, what: str, **attributes: Any) -> None:
        try:
            message = _link(which, **attributes)
            self._ask(which, f"setting {what} of", message, _RTM_SETLINK)
        except MachineError as problem:
            if _errno(problem) in (errno.EINVAL, errno.ERANGE, errno.EADDRNOTAVAIL):
                raise ConfigError(str(problem)) from problem
            raise


class LinkMonitor:
    """Hears of devices that come, change and go, from when it was made. Wait for `fileno` to be readable."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _MONITOR_BYTES)
        except PermissionError:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _MONITOR_BYTES)
        self._socket.setblocking(False)
        self._socket.bind((0, _RTMGRP_LINK))

    def fileno(self) -> int:
        return self._socket.fileno()

    def read(self) -> list[LinkEvent]:
        """What happened since the last call, in order; never blocks. The kernel tells of a device several times over
        and of things that a LinkEvent does not show: an event may bring nothing new."""
        events: list[LinkEvent] = []
        for _ in range(_MONITOR_DATAGRAMS):
            try:
                datagram = self._socket.recv(_RECEIVE_BYTES)
            except BlockingIOError:
                break
            except OSError as problem:
                if problem.errno != errno.ENOBUFS:
                    raise
                events.append(LinkEvent(0, "", False, 0, "", resync=True))
                continue
            events.extend(read_event(kind, raw) for kind, _, _, raw in _messages(datagram) if _is_of_device(kind, raw))
        return events

    def close(self) -> None:
        self._socket.close()


def _messages(datagram: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Type, sequence number, flags and all bytes of each message."""
    start = 0
    while start + _NLMSG_HEADER.size <= len(datagram):
        length, kind, flags, sequence, _ = _NLMSG_HEADER.unpack_from(datagram, start)
        yield kind, sequence, flags, datagram[start : start + length]
        start += max(_NLMSG_HEADER.size, (length + 3) & ~3)


def _explanation(kind: int, flags: int, raw: bytes) -> str:
    """What the kernel says besides the errno (NLMSGERR_ATTR_MSG), "" if nothing."""
    if kind != _NLMSG_ERROR or not flags & _NLM_F_ACK_TLVS:
        return ""
    start = _NLMSG_HEADER.size + 4 + _NLMSG_HEADER.size  # its own header, the errno, the header of the request
    place = attributes(raw, start).get(_NLMSGERR_ATTR_MSG)
    return raw[slice(*place)].rstrip(b"\0").decode(errors="replace") if place else ""


def _is_of_device(kind: int, raw: bytes) -> bool:
    """A bridge speaks of its ports in RTNLGRP_LINK too: with family AF_BRIDGE, "deleted" means "left the bridge"."""
    return kind in (_RTM_NEWLINK, _RTM_DELLINK) and raw[_NLMSG_HEADER.size] == socket.AF_UNSPEC


def _link(which: str | int, **attributes: Any) -> Any:
    """The message about a device."""
    message = ifinfmsg()
    attrs: list[Any] = [[name, value] for name, value in attributes.items()]
    if isinstance(which, int):
        message["index"] = which
    else:
        attrs.append(["IFLA_IFNAME" if len(which.encode()) <= _MAX_NAME else "IFLA_ALT_IFNAME", which])
    message["attrs"] = attrs
    return message


def _new_end(name: str, mac: str, mtu: int) -> list[Any]:
    """The attributes of a device to be made."""
    attrs: list[Any] = [["IFLA_IFNAME", _checked_name(name)]]
    if mac:
        attrs.append(["IFLA_ADDRESS", _checked_mac(mac)])
    if mtu:
        attrs.append(["IFLA_MTU", _checked_mtu(mtu)])
    return attrs


def is_device_name(name: str) -> bool:
    """Whether a device can be called so."""
    return (
        0 < len(name.encode()) <= _MAX_NAME
        and name not in (".", "..")
        and not any(c.isspace() or c in "/:%\0" for c in name)  # the kernel puts a number for %d
    )


def _checked_name(name: str) -> str:
    if not is_device_name(name):
        raise ConfigError(f"device name {name!r} must have 1 to {_MAX_NAME} bytes, without spaces and / : %")
    return name


def _checked_mac(mac: str) -> str:
    if not re.fullmatch(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}", mac):
        raise ConfigError(f"address {mac!r} must be six bytes, as in 02:00:00:00:00:01")
    return mac


def _checked_mtu(mtu: int) -> int:
    if not 0 < mtu <= _MAX_MTU:
        raise ConfigError(f"MTU {mtu} must be 1 to {_MAX_MTU}")
    return mtu


def _errno(problem: BaseException) -> int | None:
    return problem.__cause__.errno if isinstance(problem.__cause__, OSError) else None
