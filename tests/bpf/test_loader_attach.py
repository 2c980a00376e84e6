"""Programs at devices, beside those of others."""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bpf.test_loader_program import loaded
from tests.lab import wait_until
from vswitch.base.errors import ExistsError, KernelError, MachineError, NotFoundError, PrivilegeError
from vswitch.datapath.ebpf import bpf_syscall
from vswitch.datapath.ebpf.attach import Attachment, attach, detach, find, is_attached, replace_program
from vswitch.datapath.ebpf.libbpf import ObjectFile
from vswitch.datapath.ebpf.memory import SharedMap
from vswitch.datapath.ebpf.netdev import Netdev, RouteSocket

KERNEL = tuple(int(part) for part in os.uname().release.split("-")[0].split(".")[:2])
MECHANISMS = ["tcx", "clsact"] if KERNEL >= (6, 6) else ["clsact"]
FRAME = bytes(12) + b"\x88\xb5" + bytes(86)


class Wire:
    """A veth pair, `port` and `far`; programs are attached at `port`."""

    def __init__(self, folder: Path, program: ObjectFile, net: Netdev) -> None:
        self.folder, self.program, self.net = folder, program, net
        port, far = net.create_veth("port", "far")
        for device in (port, far):
            net.silence(device.ifindex)
            net.set_up(device.ifindex)
        self.ifindex = port.ifindex
        self.memory = SharedMap(program.map_fd(".bss"))
        self.variables = program.variables(".bss")
        wait_until(lambda: net.device("port").carrier, "carrier")

    def fd(self, name: str) -> int:
        return self.program.program_fd(name)

    def pin(self, direction: str = "ingress") -> Path:
        return self.folder / f"link-{direction}"

    def attach(self, mechanism, direction="ingress", name="first", owner="dp0") -> Attachment:
        pin = self.pin(direction) if mechanism == "tcx" and owner == "dp0" else None
        return attach(self.ifindex, direction, self.fd(name), owner=owner, pin=pin, mechanism=mechanism)

    def order(self, direction="ingress") -> int:
        """Which programs meet a frame, as digits in order."""
        sender, receiver = ("port", "far") if direction == "egress" else ("far", "port")
        order, size = self.variables["order"]
        self.memory.view[order : order + size] = bytes(size)
        before = self.net.stats(receiver).rx_dropped
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
            sock.bind((sender, 0))
            sock.send(FRAME)
        # no protocol knows the frame: when it is counted as dropped, the programs have run
        wait_until(lambda: self.net.stats(receiver).rx_dropped > before, "the frame arrived")
        result: int = struct.unpack_from("=I", self.memory.view, order)[0]
        return result


@pytest.fixture
def wire(lab) -> Iterator[Wire]:
    folder = bpf_syscall.ensure_bpffs() / lab.name
    folder.mkdir()
    try:
        with loaded() as program, Netdev() as net:
            bpf_syscall.obj_pin(program.program_fd("second"), folder / "second")
            yield Wire(folder, program, net)
    finally:
        for pin in folder.iterdir():
            pin.unlink()
        folder.rmdir()


def tc(*arguments: str) -> str:
    return subprocess.run(["tc", *arguments], capture_output=True, text=True, check=True).stdout


def qdiscs() -> str:
    """The kind of the qdisc with the hooks, "" if there is none."""
    kinds = {entry["kind"] for entry in json.loads(tc("-j", "qdisc", "show", "dev", "port"))}
    return next(iter(kinds & {"clsact", "ingress"}), "")


def tcx_links(ifindex: int) -> tuple[int, ...]:
    return bpf_syscall.tcx_links(ifindex, bpf_syscall.TCX_INGRESS) if "tcx" in MECHANISMS else ()


def raw_filters(ifindex: int) -> dict[int, list[bytes]]:
    """Every filter as the kernel writes it, byte for byte, by hook; priorities that vswitch took left out."""
    found: dict[int, list[bytes]] = {}
    ours: set[bytes] = set()
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as sock:
        for hook in (0xFFFFFFF2, 0xFFFFFFF3):
            body = struct.pack("=BxxxiIII", 0, ifindex, 0, hook, 0)
            sock.send(struct.pack("=IHHII", 16 + len(body), 46, 0x301, 1, 0) + body)
            rest, kind = b"", 0
            while kind != 3:
                rest = rest or sock.recv(1 << 16)
                length, kind = struct.unpack_from("=IH", rest)
                message, rest = rest[:length], rest[(length + 3) & ~3 :]
                if kind == 44:
                    found.setdefault(hook, []).append(message[16:])
                    if b"vswitch:" in message:
                        ours.add(message[28:36])  # hook and priority
    others = {hook: [each for each in messages if each[12:20] not in ours] for hook, messages in found.items()}
    return {hook: messages for hook, messages in others.items() if messages}


def add_foreign_filters(folder: Path, kind: str = "clsact") -> None:
    """Two filters of somebody else: our `second` program, and one on protocol and address."""
    tc("qdisc", "add", "dev", "port", kind)
    pinned = str(folder / "second")
    tc("filter", "add", "dev", "port", "ingress", "prio", "50000", "bpf", "da", "object-pinned", pinned)
    tc("filter", "add", "dev", "port", "ingress", "prio", "7", "protocol", "ip", "u32", "match", "u32", "0", "0")
    if kind == "clsact":
        tc("filter", "add", "dev", "port", "egress", "bpf", "da", "object-pinned", pinned)


@pytest.mark.parametrize("direction", ["ingress", "egress"])
@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_program_meets_frames_until_it_is_detached(wire, mechanism, direction) -> None:
    attachment = wire.attach(mechanism, direction)
    assert attachment.mechanism == mechanism
    assert is_attached(attachment)
    assert wire.order(direction) == 1
    assert wire.order("egress" if direction == "ingress" else "ingress") == 0
    detach(attachment)
    assert not is_attached(attachment)
    assert wire.order(direction) == 0
    assert qdiscs() == ""
    assert not wire.pin(direction).exists()
    detach(attachment)


def test_auto_takes_tcx_where_there_is_tcx(wire) -> None:
    attachment = attach(wire.ifindex, "ingress", wire.fd("first"), owner="dp0", pin=wire.pin())
    assert attachment.mechanism == MECHANISMS[0]
    detach(attachment)


def test_tcx_is_refused_where_there_is_none(wire, monkeypatch) -> None:
    monkeypatch.setattr(bpf_syscall, "has_tcx", lambda: False)
    with pytest.raises(KernelError, match=r"tcx needs Linux 6\.6 or newer"):
        wire.attach("tcx")
    assert attach(wire.ifindex, "ingress", wire.fd("first"), owner="dp0", pin=wire.pin()).mechanism == "clsact"


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_later_process_detaches_by_the_record(wire, mechanism) -> None:
    record = json.dumps(wire.attach(mechanism).to_json())
    attachment = Attachment.from_json(json.loads(record))
    assert is_attached(attachment)
    detach(attachment)
    assert wire.order() == 0


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_later_process_finds_without_a_record(wire, mechanism) -> None:
    assert find(wire.ifindex, "ingress", owner="dp0", pin=wire.pin()) is None
    attachment = wire.attach(mechanism)
    assert find(wire.ifindex, "ingress", owner="dp0", pin=wire.pin()) == attachment
    assert find(wire.ifindex, "egress", owner="dp0", pin=wire.pin("egress")) is None
    assert find(wire.ifindex, "ingress", owner="dp1", pin=wire.folder / "other") is None
    detach(attachment)
    assert find(wire.ifindex, "ingress", owner="dp0", pin=wire.pin()) is None


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_program_is_replaced_in_place(wire, mechanism) -> None:
    attachment = wire.attach(mechanism)
    before = raw_filters(wire.ifindex)
    replace_program(attachment, wire.fd("second"))
    assert wire.order() == 2
    assert is_attached(attachment)
    assert raw_filters(wire.ifindex) == before
    detach(attachment)
    with pytest.raises(NotFoundError):
        replace_program(attachment, wire.fd("first"))
    assert qdiscs() == ""


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_one_owner_is_attached_once(wire, mechanism) -> None:
    attachment = wire.attach(mechanism)
    for name in ("first", "second"):
        with pytest.raises(ExistsError, match=f"dp0 is attached to device {wire.ifindex} ingress already"):
            wire.attach(mechanism, name=name)
    both = wire.attach(mechanism, "egress")
    other = wire.attach(mechanism, name="second", owner="dp1")
    assert wire.order() == 12, "the later one runs later"
    for each in (attachment, both, other):
        detach(each)
    assert qdiscs() == ""


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_absent_device_is_not_found(wire, mechanism) -> None:
    with pytest.raises(NotFoundError, match="device 4711 does not exist"):
        attach(4711, "ingress", wire.fd("first"), owner="dp0", pin=wire.pin(), mechanism=mechanism)
    assert not wire.pin().exists()
    assert find(4711, "ingress", owner="dp0", pin=wire.pin()) is None


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_vanished_device_takes_the_program_with_it(wire, mechanism) -> None:
    attachment = wire.attach(mechanism)
    wire.net.delete("port")
    assert not is_attached(attachment)
    assert find(wire.ifindex, "ingress", owner="dp0", pin=wire.pin()) is None
    with pytest.raises(NotFoundError):
        replace_program(attachment, wire.fd("second"))
    detach(attachment)
    assert not wire.pin().exists()


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_device_that_returns_is_attached_anew(wire, mechanism) -> None:
    old = wire.attach(mechanism)
    wire.net.delete("port")
    again = Wire(wire.folder, wire.program, wire.net)
    attachment = again.attach(mechanism)
    assert again.order() == 1
    detach(old)
    assert is_attached(attachment), "a record of what is gone takes nothing down"
    with pytest.raises(NotFoundError):
        replace_program(old, wire.fd("second"))
    assert again.order() == 1
    detach(attachment)
    assert again.order() == 0


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_program_does_not_stay_at_a_device_that_moved_away(wire, mechanism, lab) -> None:
    host = lab.host("h1")
    attachment = wire.attach(mechanism)
    with host.namespace.open() as there:
        wire.net.set_namespace("port", there.fileno())
    assert not is_attached(attachment)
    assert find(wire.ifindex, "ingress", owner="dp0", pin=wire.pin()) is None
    detach(attachment)
    assert not wire.pin().exists()
    with host.inside(), Netdev() as net:
        assert tcx_links(net.device("port").ifindex) == ()
        assert qdiscs() == ""


@pytest.mark.parametrize("kind", ["clsact", "ingress"])
@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_filters_of_others_stay_byte_for_byte(wire, mechanism, kind) -> None:
    add_foreign_filters(wire.folder, kind)
    before = raw_filters(wire.ifindex)
    assert before
    attachment = wire.attach(mechanism)
    assert wire.order() == (21 if mechanism == "clsact" else 12), "tcx runs before filters, filters by priority"
    assert raw_filters(wire.ifindex) == before
    replace_program(attachment, wire.fd("second"))
    assert raw_filters(wire.ifindex) == before
    detach(attachment)
    assert raw_filters(wire.ifindex) == before
    assert qdiscs() == kind
    assert wire.order() == 2


@pytest.mark.parametrize("kind", ["clsact", "ingress"])
@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_bare_qdisc_of_others_stays(wire, mechanism, kind) -> None:
    tc("qdisc", "add", "dev", "port", kind)
    detach(wire.attach(mechanism))
    assert qdiscs() == kind


def test_ingress_qdisc_has_no_egress(wire) -> None:
    add_foreign_filters(wire.folder, "ingress")
    before = raw_filters(wire.ifindex)
    with pytest.raises(MachineError, match="has a qdisc ingress, beside which there is no egress hook"):
        wire.attach("clsact", "egress")
    assert raw_filters(wire.ifindex) == before


@pytest.mark.parametrize("order", [("ingress", "egress"), ("egress", "ingress")])
def test_qdisc_goes_with_the_last_of_our_filters(wire, order) -> None:
    attachments = {direction: wire.attach("clsact", direction) for direction in ("ingress", "egress")}
    first, last = order
    detach(attachments[first])
    assert qdiscs() == "clsact"
    assert is_attached(attachments[last])
    detach(attachments[last])
    assert qdiscs() == ""


def test_qdisc_of_ours_stays_under_filters_of_others(wire) -> None:
    attachment = wire.attach("clsact")
    pinned = str(wire.folder / "second")
    tc("filter", "add", "dev", "port", "egress", "bpf", "da", "object-pinned", pinned)
    before = raw_filters(wire.ifindex)
    detach(attachment)
    assert qdiscs() == "clsact"
    assert raw_filters(wire.ifindex) == before


def test_qdisc_that_replaced_ours_is_not_removed(wire) -> None:
    attachment = wire.attach("clsact")
    tc("qdisc", "del", "dev", "port", "clsact")
    tc("qdisc", "add", "dev", "port", "clsact")
    assert not is_attached(attachment)
    detach(attachment)
    assert qdiscs() == "clsact"


def test_failed_attach_leaves_no_qdisc(wire) -> None:
    with pytest.raises(MachineError):
        attach(wire.ifindex, "ingress", wire.program.map_fd("items"), owner="dp0", mechanism="clsact")
    assert qdiscs() == ""


@pytest.mark.parametrize("taken", [65534, 65535])
def test_priorities_of_others_are_avoided(wire, taken) -> None:
    tc("qdisc", "add", "dev", "port", "clsact")
    tc("filter", "add", "dev", "port", "ingress", "prio", str(taken), "u32", "match", "u32", "0", "0")
    before = raw_filters(wire.ifindex)
    assert wire.attach("clsact").priority == {65534: 65535, 65535: 65534}[taken]
    assert raw_filters(wire.ifindex) == before


def test_filters_of_others_that_are_named_like_ours_are_left_alone(wire) -> None:
    attachment = wire.attach("clsact", owner="dp1")
    assert find(wire.ifindex, "ingress", owner="dp") is None
    detach(wire.attach("clsact", name="second", owner="dp"))
    assert is_attached(attachment)


def test_unpinned_link_goes_with_its_descriptor(wire) -> None:
    if "tcx" not in MECHANISMS:
        with pytest.raises(KernelError):
            wire.attach("tcx", owner="dp1")
        return
    attachment = wire.attach("tcx", owner="dp1")
    assert attachment.link_fd is not None
    assert "link_fd" not in attachment.to_json()
    assert wire.order() == 1
    with pytest.raises(ExistsError, match="this program is attached"):
        wire.attach("tcx", owner="dp1")
    os.close(attachment.link_fd)
    wait_until(lambda: wire.order() == 0, "the link went")
    later = Attachment.from_json(attachment.to_json())
    assert not is_attached(later)
    detach(later)


def test_pin_of_another_live_link_is_kept(wire) -> None:
    if "tcx" not in MECHANISMS:
        return
    wire.attach("tcx")
    wire.net.create_veth("third", "fourth")
    with pytest.raises(ExistsError, match="is a link to device"):
        attach(wire.net.device("third").ifindex, "ingress", wire.fd("first"), owner="dp0", pin=wire.pin())
    assert wire.order() == 1


def test_attaching_without_privilege_says_so(wire, monkeypatch) -> None:
    def refuse(*_arguments: object) -> None:
        bpf_syscall.raise_errno("attaching", 1)

    monkeypatch.setattr(bpf_syscall, "link_create_tcx", refuse)
    monkeypatch.setattr(RouteSocket, "request", refuse)
    with pytest.raises(PrivilegeError, match="needs root"):
        wire.attach(MECHANISMS[0])
