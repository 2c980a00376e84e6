"""examples/tunnel.py at both ends, on two machines that an Ethernet connects: what the hosts see, what the Ethernet
sees, and what becomes of packets that nobody should have sent.

    h1 -- left == Ethernet, with a spy on it == right -- h2
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from tests.datapaths import command
from tests.lab import Host, Lab, wait_until
from tests.programs import Program
from vswitch import Datapath, Userspace
from vswitch.packet import build

OTHER, TOO_LONG, NOWHERE, CUT, FOREIGN, FORGED, LATE = range(7)
ETHERNET_MTU, HOST_MTU = 1500, 1430
PORT, DATA_AT = 7471, 42  # in a frame, behind the UDP header
MAGIC_AT, NUMBER_AT, HASH_AT, FRAME_AT = 0, 4, 12, 28  # in the data


@dataclass
class End:
    """A machine with its switch, the host at it, and the addresses of its end of the tunnel, and its own."""

    machine: Host
    host: Host
    tunnel: str
    ip: str
    name: str
    program: Program

    def drops(self) -> dict[int, int]:
        with closing(Datapath.open(self.name, control=False)) as dp:
            return dp.explicit_drops()


@pytest.fixture
def ends(lab: Lab, tmp_path: Path) -> Iterator[tuple[End, End]]:
    """Both ends, and the tunnel between them at work."""
    key = tmp_path / "tunnel.key"
    key.write_bytes(os.urandom(32))
    command("ip", "link", "add", "name", "ethernet", "type", "bridge")
    command("ip", "link", "set", "ethernet", "up")
    machines = [lab.host("left", mtu=ETHERNET_MTU), lab.host("right", mtu=ETHERNET_MTU)]
    hosts = [lab.host(f"h{n}", ip=f"10.0.0.{n}/24") for n in (1, 2)]
    for each in (*machines, lab.host("spy", ip="10.9.0.50/24")):
        command("ip", "link", "set", each.port, "master", "ethernet")
    with ExitStack() as stack:
        found = []
        for n, (machine, host) in enumerate(zip(machines, hosts, strict=True), 1):
            host.run(["ip", "link", "set", "eth0", "mtu", str(HOST_MTU)])
            command("ip", "link", "set", host.port, "netns", machine.namespace.name)
            machine.run(["ip", "link", "set", host.port, "up"])
            found.append(stack.enter_context(running(lab, machine, host, n, key)))
        left, right = found
        wait_until(lambda: left.host.ping(right.host.ip, count=1).received, "the ends have found each other", 10)
        yield left, right


@contextmanager
def running(lab: Lab, machine: Host, host: Host, n: int, key: Path) -> Iterator[End]:
    """The example on a machine, which has an address on the Ethernet by the switch's own device."""
    name, own, peer = f"{lab.name}{'ab'[n - 1]}", f"10.9.0.10{n}", f"10.9.0.10{3 - n}"
    with machine.inside():
        program = Program("tunnel", name, [host.port, machine.device, own, peer, str(key)])
    try:
        program.wait_until_it_runs()
        machine.run(["ip", "address", "add", f"10.9.0.{n}/24", "dev", name])
        machine.run(["ip", "link", "set", name, "up"])
        yield End(machine, host, own, f"10.9.0.{n}", name, program)
    finally:
        program.close()
        with machine.inside():
            if name in Datapath.list():
                Datapath.delete(name)


def is_wrapped(frame: bytes) -> bool:
    """Whether it is a packet of the tunnel, and fits in the Ethernet."""
    return frame[12:14] == b"\x08\0" and frame[36:38] == PORT.to_bytes(2, "big") and len(frame) <= ETHERNET_MTU + 14


def test_hosts_reach_each_other_and_the_ethernet_sees_wrapped_packets_alone(ends: tuple[End, End]) -> None:
    one, two = (end.host for end in ends)
    with ends[0].machine.capturing() as to_left, ends[1].machine.capturing() as to_right:
        assert one.ping(two.ip).received == 3
        assert two.ping(one.ip, count=1, size=HOST_MTU - 28, options=["-M", "do"]).received == 1
        content = "".join(map(str, range(100_000)))
        assert one.curl(two.serve_http(content=content), timeout_s=30) == content
        two.iperf3_server()
        assert one.iperf3(two.ip) > 0
        assert one.iperf3(two.ip, reverse=True) > 0
        assert one.iperf3(two.ip, udp=True, bitrate="1M") > 0
    for end, seen in zip(ends, (to_left, to_right), strict=True):
        assert len(seen) > 100
        assert [frame for frame in seen if not is_wrapped(frame)] == []
        assert not any(header[1] for header in seen.headers), "nothing is left to a network card to cut"
        assert end.drops().keys() <= {OTHER, NOWHERE}
        flows = end.program.flows()
        assert len(flows) <= 4
        assert sum(flow.stats.packets for flow in flows if flow.actions == (Userspace(),)) > 200


def test_traffic_of_the_machines_stays_in_the_kernel(ends: tuple[End, End], lab: Lab) -> None:
    left, right = ends
    spy = lab.hosts["spy"]
    assert left.machine.ping(right.ip).received == spy.ping(left.ip).received == 3
    asked = [upcalls_of_ports(end) for end in ends]
    assert left.machine.ping(right.ip, count=20, interval_s=0.01).received == 20
    assert spy.ping(left.ip, count=20, interval_s=0.01).received == 20
    assert [upcalls_of_ports(end) for end in ends] == asked
    assert spy.ping(left.tunnel, count=1).received == 0, "the address of a tunnel answers ARP alone"
    assert len(left.program.flows()) <= 10


def upcalls_of_ports(end: End) -> list[int]:
    """How many packets each port has sent up."""
    with closing(Datapath.open(end.name, control=False)) as dp:
        return [dp.ports.stats(number).upcalls for number in range(3)]


def test_packets_that_nobody_should_have_sent_are_dropped_and_counted(ends: tuple[End, End], lab: Lab) -> None:
    left, right = ends
    spy = lab.hosts["spy"]
    with right.machine.capturing(is_wrapped) as seen:
        assert left.host.ping(right.host.ip, count=1).received == 1
        seen.wait_for(1)
    good = seen[0][DATA_AT:]
    with right.host.capturing() as arrived:
        for source, data in (
            (left.tunnel, good),  # again
            (left.tunnel, changed(good, NUMBER_AT)),  # as if it were another one
            (left.tunnel, changed(good, HASH_AT)),
            (left.tunnel, changed(good, FRAME_AT + 40)),
            (left.tunnel, changed(good, MAGIC_AT)),
            (left.tunnel, good[: FRAME_AT + 13]),
            (left.tunnel, b""),
            ("10.9.0.50", good),
        ):
            addresses = int(IPv4Address(source)), int(IPv4Address(right.tunnel))
            packet = build.ipv4(*addresses, 17, build.udp(PORT, PORT, data))
            spy.send(build.ethernet(int.from_bytes(seen[0][:6], "big"), 0x02_00_00_00_00_77, 0x0800, packet))
        wait_until(lambda: right.drops().get(OTHER) == 1, "the last one is dropped")
        wait_until(lambda: right.drops().get(CUT) == 2, "those before it, too")
    assert arrived == []
    assert right.drops() == {OTHER: 1, CUT: 2, FOREIGN: 1, FORGED: 3, LATE: 1}
    assert left.host.ping(right.host.ip).received == 3, "the tunnel goes on"
    assert "dropped, forged: 3\ndropped, again or too late: 1\n" in right.program.interrupt()


def changed(data: bytes, at: int) -> bytes:
    """With one bit of the byte at `at` turned over."""
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def test_what_is_too_long_for_the_ethernet_is_dropped_and_counted(ends: tuple[End, End]) -> None:
    left, right = ends
    left.host.run(["ip", "link", "set", "eth0", "mtu", str(ETHERNET_MTU)])
    ping = left.host.ping(right.host.ip, count=2, size=HOST_MTU - 28 + 1, options=["-M", "do"])
    assert ping.received == 0
    wait_until(lambda: left.drops().get(TOO_LONG) == 2, "they are counted")
    assert left.host.ping(right.host.ip, count=2, size=HOST_MTU - 28, options=["-M", "do"]).received == 2
