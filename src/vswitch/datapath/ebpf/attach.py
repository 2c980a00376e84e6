"""Programs at devices: hung up, exchanged, taken down again, possibly by another process than the one that hung them.

Two mechanisms. *tcx* (Linux 6.6) is a link, pinned in the bpf file system: the pin keeps the program at the device,
the link in the pin is what a later process takes up. *clsact* is a cls_bpf filter (direct action) on the device's
clsact qdisc, for older kernels: it stays by itself, and is known again by its name, "vswitch:OWNER". Both run our
program after those of others, where these let a packet on.

Invariant: programs, filters and qdiscs of others stay as they are. A clsact qdisc (or an ingress qdisc, which has no
egress side) that is there already is used and left; one that we made is marked as ours in the names of our filters
(":qdisc") and goes with the last filter on it, if no one else has put one there since.

Devices are meant in the network namespace of the calling thread. A device that vanishes takes a filter with it and
leaves a link that hangs nowhere; one that moves to another namespace loses a filter, but keeps the program of a link.
To `is_attached` and `find` either is gone, and `detach` is right for all of them.
"""

from __future__ import annotations

import dataclasses
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pyroute2.netlink.rtnl.tcmsg import tcmsg

from vswitch.base.errors import ExistsError, KernelError, MachineError, NotFoundError, TableFullError
from vswitch.datapath.ebpf import bpf_syscall
from vswitch.datapath.ebpf.netdev import NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, RouteSocket

__all__ = [
    "Attachment",
    "Direction",
    "Mechanism",
    "attach",
    "detach",
    "detach_pin",
    "find",
    "is_attached",
    "owner_at",
    "replace_program",
]

Direction = Literal["ingress", "egress"]
Mechanism = Literal["tcx", "clsact"]

# include/uapi/linux/rtnetlink.h, pkt_sched.h, pkt_cls.h
_RTM_NEWQDISC = 36
_RTM_DELQDISC = 37
_RTM_GETQDISC = 38
_RTM_NEWTFILTER = 44
_RTM_DELTFILTER = 45
_RTM_GETTFILTER = 46
_CLSACT_HANDLE = 0xFFFF0000
_CLSACT_PARENT = 0xFFFFFFF1
_FILTER_PARENTS: dict[Direction, int] = {"ingress": 0xFFFFFFF2, "egress": 0xFFFFFFF3}
_TCA_BPF_FLAG_ACT_DIRECT = 1
_ETH_P_ALL = 0x0003

_TCX_TYPES: dict[Direction, int] = {"ingress": bpf_syscall.TCX_INGRESS, "egress": bpf_syscall.TCX_EGRESS}
_BPF_F_AFTER = 1 << 4

_NAME_PREFIX = "vswitch:"
_QDISC_MARK = ":qdisc"

_FILTER_HANDLE = 1
_FIRST_PRIORITY = 50000
"""Smallest priority that our filters take: behind 49152, which the kernel gives to a first filter that names none."""
_LAST_PRIORITY = 65535


@dataclass(frozen=True, slots=True)
class Attachment:
    """Where a program hangs, in plain values: a later process can detach it with them.

    owner: whose it is (the datapath's name). pin: path of the pinned link (tcx); link_id: the kernel's number of it,
    so that a later link in the same pin is not taken for it. link_fd: the descriptor that holds a link without a pin;
    it is this process's alone and no part of the JSON. priority, handle: of the filter (clsact); qdisc_made: the
    qdisc that it is on is ours to remove.
    """

    ifindex: int
    direction: Direction
    mechanism: Mechanism
    owner: str
    pin: str | None = None
    link_id: int = 0
    link_fd: int | None = None
    priority: int = 0
    handle: int = 0
    qdisc_made: bool = False

    def to_json(self) -> dict[str, Any]:
        """Plain values for the caller's record."""
        record = dataclasses.asdict(self)
        del record["link_fd"]
        return record

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Attachment:
        """What `to_json` gave."""
        return cls(**record)


def attach(
    ifindex: int,
    direction: Direction,
    program_fd: int,
    *,
    owner: str,
    pin: Path | None = None,
    mechanism: Mechanism | Literal["auto"] = "auto",
) -> Attachment:
    """Run a tc program on what enters ("ingress") or leaves ("egress") a device, after the programs of others.

    `pin` is where a tcx link is pinned; without, it goes when `link_fd` is closed. Raises NotFoundError if the device
    does not exist, ExistsError if this owner (or this pin) is attached there already, KernelError if "tcx" is asked for
    and the kernel has none, MachineError if an ingress qdisc is in the way of "egress".
    """
    assert owner, "an attachment needs an owner to be known by"
    assert not owner.endswith(_QDISC_MARK), f"{owner!r} cannot name an owner"
    if mechanism == "auto":
        mechanism = "tcx" if bpf_syscall.has_tcx() else "clsact"
    if mechanism == "tcx" and not bpf_syscall.has_tcx():
        raise KernelError(f"tcx needs Linux 6.6 or newer, this is {os.uname().release}")
    if find(ifindex, direction, owner=owner, pin=pin) is not None:
        raise ExistsError(f"{owner} is attached to device {ifindex} {direction} already")
    if mechanism == "tcx":
        return _attach_tcx(ifindex, direction, program_fd, owner, pin)
    return _attach_clsact(ifindex, direction, program_fd, owner)


def find(ifindex: int, direction: Direction, *, owner: str, pin: Path | None = None) -> Attachment | None:
    """What this owner has attached there, found in the kernel itself: a live link under `pin`, or a filter."""
    if pin is not None and (link := _pinned_link(pin)) is not None:
        found = Attachment(ifindex, direction, "tcx", owner, str(pin), link.id)
        if is_attached(found):
            return found
    with RouteSocket() as route:
        return next((ours for ours in _our_filters(route, ifindex, direction) if ours.owner == owner), None)


def owner_at(ifindex: int, direction: Direction, root: Path) -> str | None:
    """Whose program hangs there, of all vswitch datapaths: that of a filter, or of a link pinned as ROOT/OWNER/links/X.
    None if nobody's does."""
    with RouteSocket() as route:
        for ours in _our_filters(route, ifindex, direction):
            return ours.owner
    hanging = bpf_syscall.tcx_links(ifindex, _TCX_TYPES[direction]) if bpf_syscall.has_tcx() else ()
    for pin in root.glob("*/links/*") if any(hanging) else ():
        link = _pinned_link(pin)
        if link is not None and link.id in hanging:
            return pin.parent.parent.name
    return None


def is_attached(attachment: Attachment) -> bool:
    """Whether the program still hangs where it was hung."""
    if attachment.mechanism == "clsact":
        with RouteSocket() as route:
            return attachment in _our_filters(route, attachment.ifindex, attachment.direction)
    try:
        with _link(attachment):
            hanging = bpf_syscall.tcx_links(attachment.ifindex, _TCX_TYPES[attachment.direction])
    except NotFoundError:
        return False
    return attachment.link_id in hanging


def replace_program(attachment: Attachment, program_fd: int) -> None:
    """Put another program in its place; each packet meets the one or the other. NotFoundError if it hangs no more.
    The old one may still be running on some CPU when this returns (see `bpf_syscall.wait_for_programs`)."""
    if attachment.mechanism == "tcx":
        with _link(attachment) as link_fd:
            bpf_syscall.link_update(link_fd, program_fd)
        return
    if not is_attached(attachment):
        raise NotFoundError(f"{attachment.owner} is not attached to device {attachment.ifindex} any more")
    with RouteSocket() as route:
        what = f"replacing the program at device {attachment.ifindex} {attachment.direction}"
        route.request(what, _filter_message(attachment, program_fd), _RTM_NEWTFILTER)


def detach(attachment: Attachment) -> None:
    """Take the program down. That it is gone already, or its device, is no error."""
    if attachment.mechanism == "tcx":
        _detach_tcx(attachment)
    else:
        _detach_clsact(attachment)


def detach_pin(pin: Path) -> None:
    """Take down what is pinned there, wherever it hangs, and the pin. That it is gone already is no error."""
    with suppress(NotFoundError):
        link_fd = bpf_syscall.obj_get(pin)
        try:
            bpf_syscall.link_detach(link_fd)  # without, it would go some time after the pin
        except NotFoundError:
            pass  # its device has vanished
        finally:
            os.close(link_fd)
    pin.unlink(missing_ok=True)


# --------------------------------------------------------------------------------------------------- tcx


def _attach_tcx(ifindex: int, direction: Direction, program_fd: int, owner: str, pin: Path | None) -> Attachment:
    if pin is not None and (old := _pinned_link(pin)) is not None:
        if old.ifindex:
            raise ExistsError(f"{pin} exists already: it is a link to device {old.ifindex}")
        pin.unlink(missing_ok=True)  # its device has vanished
    try:
        link_fd = bpf_syscall.link_create_tcx(program_fd, ifindex, _TCX_TYPES[direction], _BPF_F_AFTER)
    except NotFoundError:
        raise NotFoundError(f"device {ifindex} does not exist") from None
    except ExistsError:
        raise ExistsError(f"this program is attached to device {ifindex} {direction} already") from None
    link_id = bpf_syscall.link_info(link_fd).id
    if pin is None:
        return Attachment(ifindex, direction, "tcx", owner, link_id=link_id, link_fd=link_fd)
    try:
        bpf_syscall.obj_pin(link_fd, pin)
    finally:
        os.close(link_fd)  # unpinned, it goes with this
    return Attachment(ifindex, direction, "tcx", owner, str(pin), link_id)


def _detach_tcx(attachment: Attachment) -> None:
    with suppress(NotFoundError), _link(attachment) as link_fd:
        bpf_syscall.link_detach(link_fd)
        if attachment.pin is not None:
            Path(attachment.pin).unlink(missing_ok=True)
        else:
            os.close(link_fd)


def _pinned_link(pin: Path) -> bpf_syscall.LinkInfo | None:
    try:
        link_fd = bpf_syscall.obj_get(pin)
    except NotFoundError:
        return None
    try:
        return bpf_syscall.link_info(link_fd)
    finally:
        os.close(link_fd)


@contextmanager
def _link(attachment: Attachment) -> Iterator[int]:
    """The descriptor of a tcx link: from its pin, or the one that this process holds. NotFoundError if it is gone."""
    if attachment.pin is not None:
        link_fd = bpf_syscall.obj_get(Path(attachment.pin))
        try:
            if bpf_syscall.link_info(link_fd).id != attachment.link_id:
                raise NotFoundError(f"{attachment.pin} is another link than that of {attachment.owner}")
            yield link_fd
        finally:
            os.close(link_fd)
    elif attachment.link_fd is not None:
        yield attachment.link_fd
    else:
        raise NotFoundError(f"the link of {attachment.owner} to device {attachment.ifindex} went with its process")


# --------------------------------------------------------------------------------------------------- clsact


def _attach_clsact(ifindex: int, direction: Direction, program_fd: int, owner: str) -> Attachment:
    with RouteSocket() as route:
        made = _ensure_qdisc(route, ifindex, direction)
        try:
            used = {_priority(entry) for entry in _filters(route, ifindex, direction)}
            priority = _free_priority(used, ifindex, direction)
            attachment = Attachment(
                ifindex, direction, "clsact", owner, priority=priority, handle=_FILTER_HANDLE, qdisc_made=made
            )
            what = f"attaching a program to device {ifindex} {direction}"
            route.request(what, _filter_message(attachment, program_fd), _RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_EXCL)
        except BaseException:
            if made:
                _remove_qdisc_if_bare(route, ifindex)
            raise
    return attachment


def _detach_clsact(attachment: Attachment) -> None:
    with RouteSocket() as route:
        if attachment not in _our_filters(route, attachment.ifindex, attachment.direction):
            return
        with suppress(NotFoundError):
            what = f"detaching from device {attachment.ifindex} {attachment.direction}"
            route.request(what, _filter_message(attachment), _RTM_DELTFILTER)
            if attachment.qdisc_made:
                _remove_qdisc_if_bare(route, attachment.ifindex)


def _ensure_qdisc(route: RouteSocket, ifindex: int, direction: Direction) -> bool:
    """Have a qdisc that takes filters of this direction; whether it is ours (made now, or for a filter before)."""
    try:
        what = f"adding a clsact qdisc to device {ifindex}"
        route.request(what, _qdisc_message(ifindex, TCA_KIND="clsact"), _RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL)
    except NotFoundError:
        raise NotFoundError(f"device {ifindex} does not exist") from None
    except ExistsError:
        kind = _qdisc_kind(route, ifindex)
        if kind != "clsact" and direction == "egress":
            raise MachineError(
                f"device {ifindex} has a qdisc {kind}, beside which there is no egress hook; a clsact qdisc has both"
            ) from None
        ours = [entry for side in _FILTER_PARENTS for entry in _our_filters(route, ifindex, side)]
        return any(entry.qdisc_made for entry in ours)
    return True


def _qdisc_kind(route: RouteSocket, ifindex: int) -> str:
    """ "clsact" or "ingress"; "" for neither. (The kernel lists the qdiscs of all devices, or tells of one to all
    listeners; the list is the lesser evil.)"""
    for entry in route.request("listing qdiscs", _qdisc_message(ifindex), _RTM_GETQDISC, NLM_F_DUMP):
        if (entry["index"], entry["parent"]) == (ifindex, _CLSACT_PARENT):
            kind: str = entry.get_attr("TCA_KIND")
            return kind
    return ""


def _remove_qdisc_if_bare(route: RouteSocket, ifindex: int) -> None:
    """Remove the clsact qdisc unless it has filters. (One that is added between question and answer goes with it:
    the kernel has no way to ask for both at once.)"""
    if not any(_filters(route, ifindex, direction) for direction in _FILTER_PARENTS):
        with suppress(NotFoundError):
            route.request(f"removing the qdisc of device {ifindex}", _qdisc_message(ifindex), _RTM_DELQDISC)


def _free_priority(used: set[int], ifindex: int, direction: Direction) -> int:
    """Behind all others, or in the last gap."""
    last = max(used, default=0)
    if last < _LAST_PRIORITY:
        return max(last + 1, _FIRST_PRIORITY)
    free = set(range(1, _LAST_PRIORITY)) - used
    if not free:
        raise TableFullError(f"device {ifindex} {direction} has filters at all {_LAST_PRIORITY} priorities")
    return max(free)


def _our_filters(route: RouteSocket, ifindex: int, direction: Direction) -> list[Attachment]:
    """The filters that some vswitch datapath has put there."""
    found = []
    for entry in _filters(route, ifindex, direction):
        options = entry.get_attr("TCA_OPTIONS") if entry.get_attr("TCA_KIND") == "bpf" else None
        name: str = (options.get_attr("TCA_BPF_NAME") if options else None) or ""
        if name.startswith(_NAME_PREFIX):
            owner = name.removeprefix(_NAME_PREFIX).removesuffix(_QDISC_MARK)
            made = name.endswith(_QDISC_MARK)
            place = (_priority(entry), entry["handle"])
            found.append(Attachment(ifindex, direction, "clsact", owner, None, 0, None, *place, qdisc_made=made))
    return found


def _filters(route: RouteSocket, ifindex: int, direction: Direction) -> list[Any]:
    """All filters of one direction; none where there is no qdisc, or no device."""
    message = tcmsg()
    message["index"] = ifindex
    message["parent"] = _FILTER_PARENTS[direction]
    try:
        return route.request(f"listing the filters of device {ifindex}", message, _RTM_GETTFILTER, NLM_F_DUMP)
    except NotFoundError:
        return []


def _priority(entry: Any) -> int:
    priority: int = entry["info"] >> 16
    return priority


def _qdisc_message(ifindex: int, **attributes: str) -> Any:
    message = tcmsg()
    message["index"] = ifindex
    message["handle"] = _CLSACT_HANDLE
    message["parent"] = _CLSACT_PARENT
    message["attrs"] = [[name, value] for name, value in attributes.items()]
    return message


def _filter_message(attachment: Attachment, program_fd: int | None = None) -> Any:
    message = tcmsg()
    message["index"] = attachment.ifindex
    message["handle"] = attachment.handle
    message["parent"] = _FILTER_PARENTS[attachment.direction]
    message["info"] = attachment.priority << 16 | socket.htons(_ETH_P_ALL)
    message["attrs"] = [["TCA_KIND", "bpf"]]
    if program_fd is not None:
        name = _NAME_PREFIX + attachment.owner + (_QDISC_MARK if attachment.qdisc_made else "")
        options = [
            ["TCA_BPF_FD", program_fd],
            ["TCA_BPF_NAME", name],
            ["TCA_BPF_FLAGS", _TCA_BPF_FLAG_ACT_DIRECT],
        ]
        message["attrs"].append(["TCA_OPTIONS", {"attrs": options}])
    return message
