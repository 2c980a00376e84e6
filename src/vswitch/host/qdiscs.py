"""Quality of service in the kernel: qdiscs and classes at the devices of ports, over rtnetlink.

A device sends what its root qdisc gives it. Ours is recognised by what the kernel keeps of it, also after a crash: one
without classes by its handle; one of htb, whose handle has to be 1: as the classes of queues are 1:N+1, by its `r2q`, a
divisor that goes unused since each class is told its quantum.

* htb: class 1:fffe is the port's rate, and the queues are its children, each of which gets a packet a second at least.
  Rates, bursts and quanta are worked out as Open vSwitch does. What changes is changed in place: packets that wait in a
  queue stay there.
* The rest is one qdisc.

Invariant: a root qdisc that is not ours is never touched: to shape a port that has one is refused. What fails leaves
the port as it was.
"""

from __future__ import annotations

import contextlib
import errno
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

from pyroute2.netlink.rtnl.tcmsg import sched_netem, tcmsg
from pyroute2.netlink.rtnl.tcmsg.common import tick_in_usec

from vswitch.base.errors import ExistsError, KernelError, NotFoundError, VswitchError
from vswitch.datapath.ebpf.link_message import attributes
from vswitch.datapath.ebpf.netdev import NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, RouteSocket
from vswitch.host.link import Links
from vswitch.host.qos import KINDS, Qos, Queue, QueueCounters

__all__ = ["Qdiscs"]

# include/uapi/linux/rtnetlink.h, pkt_sched.h, gen_stats.h
_NLM_F_REPLACE = 0x100
_RTM_NEWQDISC, _RTM_DELQDISC, _RTM_GETQDISC = 36, 37, 38
_RTM_NEWTCLASS, _RTM_DELTCLASS, _RTM_GETTCLASS = 40, 41, 42
_ROOT = 0xFFFFFFFF
_HTB_VERSION = 3
_ETHERNET = 1
_TCMSG: Final = struct.Struct("=BxxxiIII")  # family, index, handle, parent, info
_HEADER_BYTES = 16
_TCA_STATS2 = 7
_BASIC, _QUEUE, _PACKETS_64 = 1, 3, 8

_HTB_HANDLE = 0x10000
_PORT_CLASS = 0xFFFE
_DEFAULT_CLASS = 1
_MARK = 0x7673  # "vs"
_LEAF_HANDLE = _MARK << 16

_DEFAULT_RATE_BPS = 100_000_000
_LEAST_PACKET_BYTES = 60
_HEADERS_BYTES = 64
_MAX_HTB_PRIORITY = 7
_R2Q = 10
_MAX_QUANTUM = 200_000


@dataclass(frozen=True, slots=True)
class _Class:
    """Of htb, as the kernel has it: bytes/s; of bursts the ticks that they take at those rates; bytes."""

    rate: int
    ceil: int
    buffer: int
    cbuffer: int
    quantum: int
    priority: int


class Qdiscs:
    """What devices send, each by its ifindex. NotFoundError if there is no such device. One thread at a time."""

    def __init__(self) -> None:
        self._route = RouteSocket()
        self._links = Links()

    # ---- what is there

    def read(self, ifindex: int) -> Qos | None:
        """What a device is shaped by, if by us, as the kernel has it: rates are what came of what was asked for."""
        root = self._root(ifindex)
        if root is None or (kind := _ours(root)) is None:
            return None
        if kind != "htb":
            return Qos(next(type_ for type_, (name, _) in KINDS.items() if name == kind))
        classes = self._classes(ifindex)
        port = classes.pop(_PORT_CLASS, None)
        queues = {
            minor - 1: Queue(8 * each.rate, 8 * each.ceil, 8 * _bytes(each.buffer, each.rate), each.priority)
            for minor, each in sorted(classes.items())
        }
        return Qos("linux-htb", 8 * port.rate if port else 0, queues)

    def statistics(self, ifindex: int) -> dict[int, QueueCounters]:
        """Of each queue of a device that we shape by htb; nothing of others."""
        root = self._root(ifindex)
        if root is None or _ours(root) != "htb":
            return {}
        found = {}
        message = _message(ifindex)
        for raw in self._route.ask(f"reading queues of device {ifindex}", message, _RTM_GETTCLASS, NLM_F_DUMP):
            _, _, handle, _, _ = _TCMSG.unpack_from(raw, _HEADER_BYTES)
            minor = handle & 0xFFFF
            if handle >> 16 == 1 and 0 < minor < _PORT_CLASS:
                found[minor - 1] = _counters(raw)
        return dict(sorted(found.items()))

    # ---- changing

    def apply(self, ifindex: int, qos: Qos) -> None:
        """Shape what a device sends; what was there of ours changes or goes. ExistsError: it has a qdisc that somebody
        else made. KernelError: the kernel has no qdisc of that kind."""
        if qos.type == "linux-noop":
            self.remove(ifindex)
            return
        root = self._root(ifindex)
        kind = KINDS[qos.type][0]
        before = _ours(root) if root is not None else None
        if root is not None and before is None and root["handle"]:
            what = f"{root.get_attr('TCA_KIND')} {root['handle'] >> 16:x}:"
            raise ExistsError(
                f"device {self._name(ifindex)} has the qdisc {what}, which is not vswitch's, and is left alone"
            )
        if kind != "htb":
            self._put_qdisc(ifindex, kind, _LEAF_HANDLE, _options(kind, qos.settings), replace=before is not None)
        elif before == "htb":
            self._change_htb(ifindex, self._wanted(ifindex, qos))
        else:
            self._make_htb(ifindex, self._wanted(ifindex, qos), replace=before is not None)

    def remove(self, ifindex: int) -> bool:
        """A device sends as the kernel has it by default again; whether it was shaped by us."""
        root = self._root(ifindex)
        if root is None or _ours(root) is None:
            return False
        message = _message(ifindex, root["handle"], _ROOT)
        with contextlib.suppress(NotFoundError):
            self._route.request(f"removing the qdisc of device {ifindex}", message, _RTM_DELQDISC)
        return True

    def _put_qdisc(self, ifindex: int, kind: str, handle: int, options: Any, *, replace: bool) -> None:
        message = _message(ifindex, handle, _ROOT)
        message["attrs"] = [["TCA_KIND", kind]]
        if options:
            message["attrs"].append(["TCA_OPTIONS", options])
        flags = NLM_F_CREATE | (_NLM_F_REPLACE if replace else NLM_F_EXCL)
        try:
            self._route.request(f"giving device {ifindex} the qdisc {kind}", message, _RTM_NEWQDISC, flags)
        except NotFoundError as problem:
            if isinstance(problem.__cause__, OSError) and problem.__cause__.errno == errno.ENOENT:
                module, option = f"sch_{kind}", f"CONFIG_NET_SCH_{kind.upper()}"
                raise KernelError(f"the kernel has no qdisc {kind}: no module {module} ({option})") from problem
            raise NotFoundError(f"device {ifindex} does not exist") from None

    # ---- htb

    def _wanted(self, ifindex: int, qos: Qos) -> dict[int, _Class]:
        link = self._links.one(ifindex)
        most = (qos.max_rate_bps or link.speed_bps or _DEFAULT_RATE_BPS) // 8 or 1
        found = {_PORT_CLASS: _class(most, most, link.mtu, link.mtu)}
        for number, queue in {0: Queue(), **qos.queues}.items():
            rate = min(max(queue.min_rate_bps // 8, link.mtu), most)
            ceil = max(min(queue.max_rate_bps // 8 or most, most), rate)
            burst = max(queue.burst_bits // 8, link.mtu + _HEADERS_BYTES)
            found[number + 1] = _class(rate, ceil, burst, link.mtu, queue.priority)
        return found

    def _make_htb(self, ifindex: int, wanted: Mapping[int, _Class], *, replace: bool) -> None:
        whole = {"version": _HTB_VERSION, "rate2quantum": _MARK, "defcls": _DEFAULT_CLASS, "debug": 0, "direct_pkts": 0}
        self._put_qdisc(ifindex, "htb", _HTB_HANDLE, {"attrs": [["TCA_HTB_INIT", whole]]}, replace=replace)
        try:
            for minor in sorted(wanted, reverse=True):  # the port's, whose children the others are, first
                self._put_class(ifindex, minor, wanted[minor])
        except BaseException:
            self.remove(ifindex)
            raise

    def _change_htb(self, ifindex: int, wanted: Mapping[int, _Class]) -> None:
        before = self._classes(ifindex)
        try:
            self._go_to(ifindex, before, wanted)
        except BaseException:
            with contextlib.suppress(VswitchError):
                self._go_to(ifindex, self._classes(ifindex), before)
            raise

    def _go_to(self, ifindex: int, before: Mapping[int, _Class], wanted: Mapping[int, _Class]) -> None:
        for minor in sorted(wanted, reverse=True):
            if before.get(minor) != wanted[minor]:
                self._put_class(ifindex, minor, wanted[minor])
        for minor in sorted(before.keys() - wanted.keys()):
            message = _message(ifindex, _HTB_HANDLE | minor)
            with contextlib.suppress(NotFoundError):
                self._route.request(f"removing queue {minor - 1} of device {ifindex}", message, _RTM_DELTCLASS)

    def _put_class(self, ifindex: int, minor: int, each: _Class) -> None:
        message = _message(ifindex, _HTB_HANDLE | minor, _HTB_HANDLE | (0 if minor == _PORT_CLASS else _PORT_CLASS))
        numbers = {
            "rate": min(each.rate, 0xFFFFFFFF), "ceil": min(each.ceil, 0xFFFFFFFF),
            "buffer": each.buffer, "cbuffer": each.cbuffer,
            "quantum": each.quantum, "prio": each.priority,
            "rate_mpu": _LEAST_PACKET_BYTES, "ceil_mpu": _LEAST_PACKET_BYTES,
            "rate___reserved": _ETHERNET, "ceil___reserved": _ETHERNET,
        }  # fmt: skip
        options: list[list[Any]] = [["TCA_HTB_PARMS", numbers]]
        options += [
            [f"TCA_HTB_{name}64", rate] for name, rate in (("RATE", each.rate), ("CEIL", each.ceil)) if rate >> 32
        ]
        message["attrs"] = [["TCA_KIND", "htb"], ["TCA_OPTIONS", {"attrs": options}]]
        what = f"the rate of device {ifindex}" if minor == _PORT_CLASS else f"queue {minor - 1} of device {ifindex}"
        self._route.request(f"setting {what}", message, _RTM_NEWTCLASS, NLM_F_CREATE)

    def _classes(self, ifindex: int) -> dict[int, _Class]:
        found = {}
        what = f"reading queues of device {ifindex}"
        for entry in self._route.request(what, _message(ifindex), _RTM_GETTCLASS, NLM_F_DUMP):
            options = entry.get_attr("TCA_OPTIONS")
            if entry["handle"] >> 16 == 1 and entry.get_attr("TCA_KIND") == "htb" and options is not None:
                numbers = options.get_attr("TCA_HTB_PARMS")
                rate = options.get_attr("TCA_HTB_RATE64") or numbers["rate"]
                ceil = options.get_attr("TCA_HTB_CEIL64") or numbers["ceil"]
                words = (numbers[name] for name in ("buffer", "cbuffer", "quantum", "prio"))
                found[entry["handle"] & 0xFFFF] = _Class(rate, ceil, *words)
        return found

    # ---- the kernel's answers

    def _root(self, ifindex: int) -> Any:
        """The root qdisc of a device, as rtnetlink has it; None if it has none."""
        what = f"reading the qdiscs of device {self._name(ifindex)}"
        for raw in self._route.ask(what, _message(ifindex), _RTM_GETQDISC, NLM_F_DUMP):  # it lists those of all devices
            _, index, _, parent, _ = _TCMSG.unpack_from(raw, _HEADER_BYTES)
            if (index, parent) == (ifindex, _ROOT):
                found = tcmsg(raw)
                found.decode()
                return found
        return None

    def _name(self, ifindex: int) -> str:
        return self._links.one(ifindex).name

    def close(self) -> None:
        """What devices are shaped by stays."""
        self._route.close()
        self._links.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _message(ifindex: int, handle: int = 0, parent: int = 0) -> Any:
    message = tcmsg()
    message["index"], message["handle"], message["parent"] = ifindex, handle, parent
    return message


def _ours(root: Any) -> str | None:
    """The kind of a root qdisc, if it is ours."""
    kind = root.get_attr("TCA_KIND")
    if root["handle"] == _HTB_HANDLE and kind == "htb":
        whole = root.get_attr("TCA_OPTIONS").get_attr("TCA_HTB_INIT")
        return "htb" if whole["rate2quantum"] == _MARK else None
    known = {name for name, _ in KINDS.values()}
    return str(kind) if root["handle"] == _LEAF_HANDLE and kind in known else None


def _options(kind: str, settings: Mapping[str, int]) -> Any:
    """The qdisc's options; None if all are to be as the kernel has them."""
    if kind == "sfq":
        return {"quantum": settings.get("quantum", 0), "perturb_period": settings.get("perturb", 10)}
    if kind == "netem":
        times = {"delay": settings.get("latency", 0), "jitter": settings.get("jitter", 0)}
        return sched_netem.get_parameters(
            {**times, "limit": settings.get("limit", 1000), "loss": settings.get("loss", 0)}
        )
    return {"attrs": [[f"TCA_{kind.upper()}_{key.upper()}", value] for key, value in settings.items()]}


def _class(rate: int, ceil: int, burst: int, mtu: int, priority: int = 0) -> _Class:
    quantum = max(min(rate // _R2Q, _MAX_QUANTUM), mtu)  # what it sends before it is the next one's turn
    return _Class(rate, ceil, _ticks(burst, rate), _ticks(burst, ceil), quantum, min(priority, _MAX_HTB_PRIORITY))


_TICKS_PER_S: Final[int] = round(1_000_000 * tick_in_usec)


def _ticks(size: int, rate: int) -> int:
    """The time that so many bytes take."""
    return min(-(-size * _TICKS_PER_S // rate), 0xFFFFFFFF)


def _bytes(ticks: int, rate: int) -> int:
    """What takes so long."""
    return ticks * rate // _TICKS_PER_S


def _counters(raw: bytes) -> QueueCounters:
    stats_at = attributes(raw, _HEADER_BYTES + _TCMSG.size).get(_TCA_STATS2)
    at = attributes(raw, *stats_at) if stats_at else {}
    size, packets = struct.unpack_from("=QI", raw, at[_BASIC][0]) if _BASIC in at else (0, 0)
    if _PACKETS_64 in at:  # when the other number is too small
        (packets,) = struct.unpack_from("=Q", raw, at[_PACKETS_64][0])
    dropped = struct.unpack_from("=5I", raw, at[_QUEUE][0])[2] if _QUEUE in at else 0
    return QueueCounters(size, packets, dropped)
