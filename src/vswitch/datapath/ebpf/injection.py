"""Sending packets down: into the datapath, as if they had come in by a port.

A raw socket on a private device (one end of a veth pair) whose egress program takes every packet over. The packet's
mark says which entry of the map `injections` holds what the packet is to look like: its port, mark, recirculation id,
or a list of actions to execute instead of a lookup. Packets go out by sendmmsg() in batches, straight from where
they lie (the ring of upcalls); what the sender had left to the network card goes along as a virtio_net_hdr.

Invariant: the program runs inside the system call, so when `flush` returns every packet has been looked up.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
from array import array
from collections import OrderedDict

from vswitch.base.errors import NotFoundError, PrivilegeError, VswitchError
from vswitch.datapath.backend import Look
from vswitch.datapath.ebpf import attach
from vswitch.datapath.ebpf.layout import DATAPATH, INJECTION
from vswitch.datapath.ebpf.netdev import Netdev
from vswitch.datapath.ebpf.state import State, hidden_name, owner_mark

__all__ = ["Injector", "attach_program", "make_device"]

BATCH = 256
"""Packets of one system call."""

_SO_MARK = 36
_SOL_PACKET = 263
_PACKET_VNET_HDR = 15
_MMSGHDR = struct.Struct("=QI4xQQQQi4xI4x")  # name, namelen, iov, iovlen, control, controllen, flags; msg_len
_CMSG = struct.Struct("=QiiI4x")
_OFFLOAD_BYTES = 10
_MTU = 65535
"""Of the private device: the longest that a veth has, for GSO packets."""

_libc = ctypes.CDLL(None, use_errno=True)
_sendmmsg = _libc.sendmmsg
_sendmmsg.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int)


def make_device(datapath: str) -> int:
    """Make the private device of a new datapath, and its other end; the ifindex."""
    name, far = hidden_name("vsi", datapath), hidden_name("vsj", datapath)
    with Netdev() as devices:
        device, _ = devices.create_veth(name, far, mtu=_MTU)
        for end in (name, far):
            devices.set_alias(end, owner_mark(datapath))
            devices.silence(end)
        devices.set_up(name)
    return device.ifindex


def attach_program(state: State, ifindex: int) -> None:
    """Let what is sent on the private device enter the datapath."""
    pin = state.folder / "links" / "inject"
    attach.attach(ifindex, "egress", state.programs["vs_inject"], owner=state.name, pin=pin)


class Injector:
    """One process's way into one datapath. `failed` counts packets that the kernel refused to take. NotFoundError if
    somebody has deleted the device."""

    def __init__(self, state: State) -> None:
        self._injections = state.memory["injections"].view
        self._slots = state.memory["injections"].entries
        self._injected = state.bytes[DATAPATH.INJECTED : DATAPATH.INJECTED + 8].cast("Q")
        try:
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        except PermissionError as problem:
            raise PrivilegeError(
                f"sending packets into datapath {state.name} needs root, or the capability CAP_NET_RAW"
            ) from problem
        self._socket.setsockopt(_SOL_PACKET, _PACKET_VNET_HDR, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
        device = hidden_name("vsi", state.name)
        try:
            self._socket.bind((device, 0))
        except OSError as problem:
            self._socket.close()
            raise NotFoundError(
                f"device {device}, by which packets enter datapath {state.name}, is gone ({problem.strerror}): delete "
                f"the datapath and make it anew"
            ) from problem
        self._fd = self._socket.fileno()
        self._known: OrderedDict[tuple[Look, int], int] = OrderedDict()
        self._of_ports: dict[int, int] = {}
        self._headers = (ctypes.c_char * (_MMSGHDR.size * BATCH))()
        self._iovecs = (ctypes.c_uint64 * (2 * BATCH))()
        self._control = (ctypes.c_char * (_CMSG.size * BATCH))()
        self._base = ctypes.addressof(self._headers)
        iovecs, control = ctypes.addressof(self._iovecs), ctypes.addressof(self._control)
        for i in range(BATCH):
            _CMSG.pack_into(self._control, i * _CMSG.size, 20, socket.SOL_SOCKET, _SO_MARK, 0)
            where = (0, 0, iovecs + 16 * i, 1, control + _CMSG.size * i, _CMSG.size, 0, 0)
            _MMSGHDR.pack_into(self._headers, i * _MMSGHDR.size, *where)
        self._iov = memoryview(self._iovecs).cast("B").cast("Q")
        self._marks = memoryview(self._control).cast("B").cast("I")[4 :: _CMSG.size // 4]
        self._vectors: list[int] = []  # address and length of each packet that waits for `flush`
        self._entries: list[int] = []
        self._copies: list[bytes] = []  # kept until `flush`
        self.failed = 0
        self.sent = 0

    def close(self) -> None:
        """No more packets."""
        self._socket.close()
        self._injections.release()
        self._injected.release()

    def entry(self, look: Look, list_word: int = 0) -> int:
        """The number of an entry that makes packets look so. `list_word`: an action word that is a list, or 0."""
        number = self._known.get((look, list_word))
        if number is not None:
            return number
        if len(self._known) + 1 < self._slots:
            number = len(self._known) + 1
        else:
            self.flush()
            number = self._known.popitem(last=False)[1]
            self._of_ports.clear()
        in_port, recirc_id, mark, priority, dp_hash, recirculations, tunnel = look
        INJECTION.pack_into(
            self._injections, number * INJECTION.size,
            in_port, recirc_id, mark, priority, dp_hash, recirculations,
            list_word >> 32 & 0xFFFF, list_word & 0xFFFFFFFF, 1, tunnel,
        )  # fmt: skip
        self._known[look, list_word] = number
        return number

    def entry_of_port(self, port: int) -> int:
        """The number of an entry that makes packets look as they came in by this port."""
        # hot: once per packet sent down
        number = self._of_ports.get(port)
        if number is None:
            number = self._of_ports[port] = self.entry((port, 0, 0, 0, 0, 0, bytes(48)))
        return number

    def forget(self, look: Look, list_word: int) -> None:
        """The list is about to go: no packet may be sent with it again."""
        number = self._known.get((look, list_word))
        if number is not None:
            INJECTION.pack_into(self._injections, number * INJECTION.size, *look[:6], 0, 0, 0, look[6])
            self._known[look, -number] = number  # keeps its number, unused until it is the oldest
            del self._known[look, list_word]

    def add(self, entry: int, address: int, length: int) -> None:
        """Send `length` bytes at `address` (a virtio_net_hdr and the frame), which stay there until `flush`."""
        # hot: once per packet sent down
        self._entries.append(entry)
        self._vectors += (address, length)
        if len(self._entries) == BATCH:
            self.flush()

    def add_copy(self, entry: int, data: bytes) -> None:
        """Send these bytes, which are as those of `add`."""
        self._copies.append(data)
        self.add(entry, ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p).value or 0, len(data))

    def flush(self) -> None:
        """Send what was added; afterwards all of it has passed the datapath.

        A packet that the datapath drops fails with ENOBUFS, and sendmmsg() tells of a failure only by how many it has
        sent before. So the program counts what has arrived: it says whether the one that failed did.
        """
        at, waiting = 0, len(self._entries)
        self._iov[: 2 * waiting] = memoryview(array("Q", self._vectors))
        self._marks[:waiting] = memoryview(array("I", self._entries))
        self._vectors.clear()
        self._entries.clear()
        while at < waiting:
            before = self._injected[0]
            sent = max(_sendmmsg(self._fd, self._base + at * _MMSGHDR.size, waiting - at, 0), 0)
            arrived = self._injected[0] - before
            if arrived > sent:  # the last one was dropped there, which the datapath has counted
                sent = arrived
            elif not sent and ctypes.get_errno() != errno.EINTR:
                self.failed += 1
                at += 1
            self.sent += sent
            at += sent
        self._copies.clear()

    def send(self, entry: int, packet: bytes, offload: bytes = bytes(_OFFLOAD_BYTES)) -> None:
        """Send one packet at once. VswitchError if the kernel refuses it."""
        buffer = ctypes.create_string_buffer(offload + packet, _OFFLOAD_BYTES + len(packet))
        failed = self.failed
        self.add(entry, ctypes.addressof(buffer), _OFFLOAD_BYTES + len(packet))
        self.flush()
        if self.failed != failed:
            reason = os.strerror(ctypes.get_errno())
            raise VswitchError(f"the kernel refuses a packet of {len(packet)} bytes: {reason}")
