"""The laboratory itself, with a Linux bridge as the switch."""

from __future__ import annotations

import signal
import socket
import struct
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from pyroute2 import IPRoute

from tests.datapaths import ROOT, remove_remains
from tests.lab import NAMESPACES, Host, Lab, LabError, is_running, remove_leftovers, wait_until
from vswitch import Datapath

BROADCAST = b"\xff" * 6
EXPERIMENTAL = b"\x88\xb5"  # IEEE 802 local experimental Ethernet type


def is_experimental(frame: bytes) -> bool:
    return EXPERIMENTAL in frame[12:22]


def bridge(*hosts: Host) -> None:
    """Wires the hosts together in the current namespace."""
    with IPRoute() as route:
        route.link("add", ifname="bridge", kind="bridge", br_mcast_snooping=0)
        index = route.link_lookup(ifname="bridge")[0]
        route.link("set", index=index, state="up")
        for host in hosts:
            route.link("set", index=route.link_lookup(ifname=host.port)[0], master=index)


@pytest.fixture
def pair(lab: Lab) -> tuple[Host, Host]:
    """Two hosts that reach each other."""
    h1 = lab.host("h1", ip="10.0.0.1/24", ip6="fd00::1/64")
    h2 = lab.host("h2", ip="10.0.0.2/24", ip6="fd00::2/64")
    bridge(h1, h2)
    wait_until(lambda: h1.ping(h2.ip, count=1).received, "the bridge forwards", 10)
    return h1, h2


def test_ping_counts_requests_and_replies(pair: tuple[Host, Host]) -> None:
    h1, h2 = pair
    for address in (h2.ip, h2.ip6):
        answer = h1.ping(address, count=3)
        assert (answer.sent, answer.received, len(answer.rtts_ms), answer.ttls) == (3, 3, 3, (64, 64, 64))
    assert h1.ping("10.0.0.77", count=1).received == 0
    with pytest.raises(LabError, match=r"ping 10[.]9[.]9[.]9"):
        h1.ping("10.9.9.9", count=1)


def test_programs_run_in_the_host(pair: tuple[Host, Host]) -> None:
    h1, h2 = pair
    assert h1.mac in h1.run(["ip", "-br", "link", "show", "eth0"]).stdout
    assert h2.mac not in h1.run(["ip", "neigh", "show", "dev", "eth0", "nud", "failed"]).stdout
    with pytest.raises(LabError, match="ended with 3"):
        h1.run(["sh", "-c", "exit 3"])
    with pytest.raises(LabError, match="took longer"):
        h1.run(["sleep", "60"], timeout_s=0.1)


def test_http(pair: tuple[Host, Host]) -> None:
    h1, h2 = pair
    url = h2.serve_http(8080)
    assert h1.curl(url) == "hello from h2\n"
    assert h1.curl(f"http://[{h2.ip6}]:8080/") == "hello from h2\n"
    with pytest.raises(LabError):
        h1.curl("http://10.0.0.2:81/")


def test_iperf3(pair: tuple[Host, Host]) -> None:
    h1, h2 = pair
    h2.iperf3_server()
    assert h1.iperf3(h2.ip, seconds=1, parallel=2) > 0.01
    assert h1.iperf3(h2.ip, seconds=1, udp=True, bitrate="10M") > 0.001


def test_capture_sees_what_was_sent_with_its_vlan_tags(pair: tuple[Host, Host]) -> None:
    h1, h2 = pair
    plain = BROADCAST + bytes.fromhex("020000000001") + EXPERIMENTAL + b"plain".ljust(50, b".")
    tagged = plain[:12] + b"\x81\x00\x60\x05" + plain[12:]
    twice = plain[:12] + b"\x88\xa8\x00\x07" + tagged[12:]
    with h2.capturing(is_experimental) as frames, h1.capturing(is_experimental) as own:
        for frame in (plain, tagged):
            h1.send(frame)
        h1.send(twice, times=3)
        frames.wait_for(5)
    assert frames == [plain, tagged] + [twice] * 3
    assert own == []


def test_capture_and_send_keep_gso_packets_whole(pair: tuple[Host, Host]) -> None:
    h1, h2 = pair
    payload = bytes(5000)
    addresses = socket.inet_aton(h1.ip) + socket.inet_aton(h2.ip)
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 40 + len(payload), 0, 0, 64, 6, 0)
    ip = ip[:10] + _checksum(ip + addresses) + addresses
    pseudo = addresses + struct.pack("!BBH", 0, 6, 20 + len(payload))
    partial = bytes(byte ^ 0xFF for byte in _checksum(pseudo))
    tcp = struct.pack("!HHIIBBH", 1000, 2000, 0, 0, 0x50, 0x10, 1000) + partial + bytes(2)
    frame = bytes.fromhex("020000000002020000000001") + b"\x08\x00" + ip + tcp + payload
    header = struct.pack("<BBHHHH", 1, 1, 54, 1000, 34, 16)  # checksum to be completed, TCPv4 GSO by 1000 bytes
    tagged_header = struct.pack("<BBHHHH", 1, 1, 58, 1000, 38, 16)
    tagged = frame[:12] + b"\x81\x00\x00\x05" + frame[12:]
    with h2.capturing(lambda frame: b"\x03\xe8\x07\xd0" in frame[34:42]) as frames:
        h1.send(frame, header)
        h1.send(tagged, tagged_header)
        frames.wait_for(2)
    assert frames == [frame, tagged]
    assert frames.headers == [header, tagged_header]


def _checksum(data: bytes) -> bytes:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!H", ~total & 0xFFFF)


@pytest.mark.parametrize("ip6", [None, "fd00::1/64"])
def test_hosts_are_silent(lab: Lab, ip6: str | None) -> None:
    h1 = lab.host("h1", ip="10.0.0.1/24", ip6=ip6)
    h2 = lab.host("h2")
    bridge(h1, h2)
    with h2.capturing() as frames:
        frames.wait_for(1, timeout_s=2)
    assert frames == []


def test_introduced_hosts_need_not_ask(lab: Lab) -> None:
    h1 = lab.host("h1", ip="10.0.0.1/24", ip6="fd00::1/64")
    h2 = lab.host("h2", ip="10.0.0.2/24", ip6="fd00::2/64")
    bridge(h1, h2)
    lab.introduce()
    with h2.capturing() as frames:
        assert h1.ping(h2.ip, count=1).received == 1
        assert h1.ping(h2.ip6, count=1).received == 1
    assert [frame[12:14] for frame in frames] == [b"\x08\x00", b"\x86\xdd"]


def test_host_without_offload_sends_whole_packets(lab: Lab) -> None:
    h1 = lab.host("h1", ip="10.0.0.1/24", offload=False)
    h2 = lab.host("h2", ip="10.0.0.2/24")
    bridge(h1, h2)
    h2.iperf3_server()
    with h2.capturing(lambda frame: frame[23] == 6) as frames:
        h1.iperf3(h2.ip, bitrate="20M")
    assert frames
    assert max(map(len, frames)) <= 1514
    assert {header[0] & 1 for header in frames.headers} == {0}


def test_thread_is_in_the_namespace_of_the_switch_and_comes_back() -> None:
    def here() -> int:
        return Path("/proc/thread-self/ns/net").stat().st_ino

    home = here()
    with Lab() as lab:
        assert here() == lab.switch_namespace.stat().st_ino != home
        assert subprocess.run(["ip", "-br", "link"], capture_output=True, text=True, check=True).stdout.count("\n") == 1
    assert here() == home


def test_nothing_is_left() -> None:
    with suppress(ZeroDivisionError), Lab() as lab:
        host = lab.host("h1", ip="10.0.0.1/24")
        process = host.popen(["sleep", "1000"])
        child = host.popen(["sh", "-c", "trap '' TERM; sleep 1000 & echo $!; wait"], stdout=subprocess.PIPE)
        assert child.stdout
        grandchild = int(child.stdout.readline())
        raise ZeroDivisionError
    assert process.returncode == -signal.SIGTERM
    wait_until(lambda: not is_running(grandchild), "the end of what a program had started")
    assert not [path for path in NAMESPACES.iterdir() if path.name.startswith(lab.name)]


def test_what_a_killed_run_left_is_removed() -> None:
    """Namespaces, the processes in them, and datapaths, of which one is not whole."""
    program = (
        "from tests.lab import Lab\n"
        "from vswitch import Datapath\n"
        "lab = Lab().__enter__()\n"
        "process = lab.host('h1').popen(['sleep', '1000'])\n"
        "Datapath.create(lab.name, ports=['h1-port']).keep()\n"
        "print(lab.name, process.pid, flush=True)\n"
        "__import__('time').sleep(1000)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        name, sleeper = process.stdout.readline().split()
        process.kill()
    (ROOT / f"{name}b" / "maps").mkdir(parents=True)
    assert (NAMESPACES / f"{name}-h1").exists()
    assert name in Datapath.list()
    remove_leftovers()
    remove_remains()
    assert not is_running(sleeper)
    assert not [path for path in NAMESPACES.iterdir() if path.name.startswith(name)]
    assert not list(ROOT.glob(f"{name}*"))
