"""The programs of examples/, run as a user runs them, with real traffic; Ctrl-C ends them and leaves nothing."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from tests.lab import Host, Lab, LabError, wait_until
from tests.programs import EXAMPLES, Program
from vswitch import Datapath, Drop, Match, Output
from vswitch.packet import build

EXPERIMENTAL = 0x88B5  # IEEE 802 local experimental Ethernet type
NOBODY = 0x02_00_00_00_00_77


class Starter:
    """Starts examples, which end with the test."""

    def __init__(self, lab: Lab, stack: ExitStack) -> None:
        self._lab = lab
        self._stack = stack

    def __call__(self, example: str, *ports: Host | str) -> Program:
        devices = [port.port if isinstance(port, Host) else port for port in ports]
        program = self._stack.enter_context(closing(Program(example, self._lab.name, devices)))
        program.wait_until_it_runs()
        return program


@pytest.fixture
def start(lab: Lab) -> Iterator[Starter]:
    with ExitStack() as stack:
        stack.callback(remove, lab.name)
        yield Starter(lab, stack)


def remove(name: str) -> None:
    if name in Datapath.list():
        Datapath.delete(name)


def make_hosts(lab: Lab, count: int) -> list[Host]:
    return [lab.host(f"h{n}", ip=f"10.0.0.{n}/24") for n in range(1, count + 1)]


def reaches(source: Host, target: Host) -> bool:
    return source.ping(target.ip, count=1).received == 1


def has_type(eth_type: int) -> Callable[[bytes], bool]:
    return lambda frame: frame[12:14] == eth_type.to_bytes(2, "big")


@pytest.mark.parametrize("example", sorted(path.stem for path in EXAMPLES.glob("*.py")))
def test_example_says_how_to_run_it_and_is_short(example: str) -> None:
    path = EXAMPLES / f"{example}.py"
    result = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 1
    assert f"sudo python examples/{example}.py sw0 veth1" in result.stderr
    assert path.read_text(encoding="utf-8").count("\n") <= 110


# ---- learning_switch


@pytest.mark.parametrize("example", ["learning_switch", "learning_policy"])
def test_learning_switch_connects_hosts(lab: Lab, start: Starter, example: str) -> None:
    h1, h2, h3 = hosts = make_hosts(lab, 3)
    program = start(example, *hosts)
    wait_until(lambda: reaches(h1, h2), "the switch runs")
    for source in hosts:
        for target in hosts:
            assert source is target or source.ping(target.ip).received == 3
    assert h3.curl(h2.serve_http()) == "hello from h2\n"
    h1.iperf3_server()
    assert h3.iperf3(h1.ip) > 0
    stats = program.stats()
    assert stats.upcalls < 40
    assert stats.hit > 100 * stats.upcalls
    assert program.interrupt() == ""


def test_learning_switch_asks_once_for_each_pair_and_direction(lab: Lab, start: Starter) -> None:
    h1, h2 = hosts = make_hosts(lab, 2)
    program = start("learning_switch", *hosts)
    wait_until(lambda: reaches(h1, h2), "the switch runs")
    wait_until(lambda: reaches(h1, h2) and len(program.flows()) == 2, "a megaflow in each direction")
    asked = program.stats().upcalls
    assert h1.ping(h2.ip, count=10, interval_s=0.01).received == 10
    assert program.stats().upcalls == asked
    assert {flow.match: flow.actions for flow in program.flows()} == {
        Match(in_port=1, eth_src=h1.mac, eth_dst=h2.mac): (Output(2),),
        Match(in_port=2, eth_src=h2.mac, eth_dst=h1.mac): (Output(1),),
    }
    assert all(flow.idle_timeout_s and flow.hard_timeout_s for flow in program.flows())


def test_learning_switch_floods_unknown_and_broadcast_without_a_megaflow(lab: Lab, start: Starter) -> None:
    h1, h2, h3 = hosts = make_hosts(lab, 3)
    program = start("learning_switch", *hosts)
    frames = [
        build.ethernet(address, int(h1.mac.replace(":", ""), 16), EXPERIMENTAL, bytes(46))
        for address in (NOBODY, 0xFFFFFFFFFFFF, 0x01005E000001)
    ]
    keep = has_type(EXPERIMENTAL)
    wait_until(lambda: reaches(h2, h3), "the switch runs")
    with h1.capturing(keep) as back, h2.capturing(keep) as second, h3.capturing(keep) as third:
        for frame in frames:
            h1.send(frame)
        second.wait_for(3)
        third.wait_for(3)
    assert (second, third, back) == (frames, frames, [])
    assert not any(flow.match.overlaps(Match(in_port=1)) for flow in program.flows())


def test_learning_switch_follows_a_host_that_moves(lab: Lab, start: Starter) -> None:
    h1, old = make_hosts(lab, 2)
    new = lab.host("h3", mac=old.mac)
    program = start("learning_switch", h1, old, new)
    wait_until(lambda: reaches(h1, old) and len(program.flows()) == 2, "the switch knows both")
    old.run(["ip", "addr", "del", f"{old.ip}/24", "dev", "eth0"])
    new.run(["ip", "addr", "add", f"{old.ip}/24", "dev", "eth0"])
    assert h1.ping(old.ip, count=1).received == 0
    assert new.ping(h1.ip, count=2).received == 2
    assert h1.ping(old.ip).received == 3
    assert {flow.match: flow.actions for flow in program.flows()} == {
        Match(in_port=1, eth_src=h1.mac, eth_dst=new.mac): (Output(3),),
        Match(in_port=3, eth_src=new.mac, eth_dst=h1.mac): (Output(1),),
    }


def test_learning_switch_forgets_what_it_knew_when_a_device_goes(lab: Lab, start: Starter) -> None:
    h1, h2, h3 = hosts = make_hosts(lab, 3)
    program = start("learning_switch", *hosts)
    wait_until(lambda: reaches(h1, h3) and len(program.flows()) == 2, "the switch knows both")
    h3.run(["ip", "link", "del", "eth0"])
    wait_until(lambda: not program.flows(), "it forgets")
    wait_until(lambda: reaches(h1, h2), "the others go on")
    assert program.interrupt() == ""


# ---- learning_policy


def test_learning_policy_floods_by_megaflows_that_go_when_it_learns(lab: Lab, start: Starter) -> None:
    h1, h2, h3 = hosts = make_hosts(lab, 3)
    program = start("learning_policy", *hosts)
    wait_until(lambda: reaches(h1, h3), "the switch runs")
    keep, to_h2 = has_type(EXPERIMENTAL), Match(eth_dst=h2.mac)
    frame = build.ethernet(int(h2.mac.replace(":", ""), 16), int(h1.mac.replace(":", ""), 16), EXPERIMENTAL, bytes(46))
    with h3.capturing(keep) as third:
        h1.send(frame, times=20)
        third.wait_for(20)
    (flood,) = [flow for flow in program.flows() if to_h2.covers(flow.match)]
    assert flood.actions == (Output(2), Output(3))
    assert reaches(h2, h1)
    with h2.capturing(keep) as second, h3.capturing(keep) as third:
        h1.send(frame, times=20)
        second.wait_for(20)
    assert third == []
    assert [flow.actions for flow in program.flows() if to_h2.covers(flow.match)] == [(Output(2),)]


def test_learning_policy_follows_hosts_and_ports(lab: Lab, start: Starter) -> None:
    h1, old, third = make_hosts(lab, 3)
    new = lab.host("h4", mac=old.mac)
    program = start("learning_policy", h1, old, third, new)
    wait_until(lambda: reaches(h1, old), "the switch knows both")
    old.run(["ip", "addr", "del", f"{old.ip}/24", "dev", "eth0"])
    new.run(["ip", "addr", "add", f"{old.ip}/24", "dev", "eth0"])
    assert h1.ping(old.ip, count=1).received == 0
    assert new.ping(h1.ip, count=2).received == 2
    assert h1.ping(old.ip).received == 3
    third.run(["ip", "link", "del", "eth0"])
    wait_until(lambda: all(len(flow.actions) == 3 for flow in program.flows()), "it forgets, and floods at most")
    wait_until(lambda: reaches(h1, old), "the others go on")
    assert program.interrupt() == ""


def test_learning_policy_needs_a_megaflow_for_each_who_broadcasts_and_asks_less(lab: Lab, start: Starter) -> None:
    """Beside learning_switch, which answers each broadcast anew: six hosts, each of which talks to each."""
    hosts = make_hosts(lab, 6)
    by_hand, asked_by_hand = talked(start("learning_switch", *hosts), hosts)
    by_policy, asked_by_policy = talked(start("learning_policy", *hosts), hosts)
    everybody = Match(eth_dst="ff:ff:ff:ff:ff:ff")
    to_everybody = {match for match in by_policy if everybody.covers(match)}
    assert len(by_hand) == 6 * 5, "one for each pair and direction"
    assert {match.mask & ~Match(recirc_id=0).mask for match in by_policy} == {match.mask for match in by_hand}
    assert all(any(match.covers(other) for match in by_hand) for other in by_policy - to_everybody), "the same ones"
    assert len(by_policy - to_everybody) == len(by_hand)
    assert len(to_everybody) == 5, "the last host knows all others before it talks to them"
    assert asked_by_policy == len(by_policy)
    requests = 5 + 4 + 3 + 2 + 1
    assert asked_by_hand >= len(by_hand) + requests


def talked(program: Program, hosts: list[Host]) -> tuple[set[Match], int]:
    """Lets each host, which knows nobody, talk to each, one packet after another: the megaflows, and about how many
    packets the program was asked. The program ends."""
    for one in hosts:
        for other in hosts:
            if one is not other:
                wait_until(partial(reaches, one, other), f"{one.name} reaches {other.name}", 20)
    matches, asked = {flow.match for flow in program.flows()}, program.upcall_stats().handled
    program.interrupt()
    for host in hosts:
        host.run(["ip", "neigh", "flush", "all"])
    return matches, asked


# ---- tcp_tracker


def test_tcp_tracker_sees_connections_begin_and_end_and_nothing_else(lab: Lab, start: Starter) -> None:
    h1, h2 = hosts = make_hosts(lab, 2)
    program = start("tcp_tracker", *hosts)
    address = h2.serve_http()
    h2.iperf3_server()
    assert h1.curl(address) == "hello from h2\n"
    assert h1.iperf3(h2.ip) > 0
    h1.run(["curl", "-s", "http://10.0.0.2:9"], check=False)  # where nobody listens
    asked = sum(program.port_stats(host).upcalls for host in hosts)
    assert asked <= 40, "some for each connection, none for its data"
    assert program.stats().missed == 0
    said = program.interrupt().splitlines()
    new, closed, reset = ([line for line in said if line.startswith(what)] for what in ("new: ", "closed: ", "reset: "))
    assert len(new) == 1 + 2 + 1, "HTTP, iperf3's two, and the one that is refused"
    assert len(closed) + len(reset) == len(new), "iperf3 may end its own by either"
    assert re.fullmatch(r"new: 10\.0\.0\.1:\d+ to 10\.0\.0\.2:80\d*", new[0])
    assert [line for line in closed if "10.0.0.2:80 " in line]
    assert [line for line in reset if "10.0.0.2:9 " in line]


# ---- scan_detector


def test_scan_detector_shuts_out_who_scans_and_nobody_else(lab: Lab, start: Starter) -> None:
    server, visitor, scanner = hosts = make_hosts(lab, 3)
    program = start("scan_detector", *hosts)
    address = server.serve_http()
    assert visitor.curl(address) == scanner.curl(address) == "hello from h1\n"
    of_scanner = IPv4Address(scanner.ip).packed + IPv4Address(server.ip).packed
    with server.capturing(lambda frame: frame[26:34] == of_scanner) as arrived:
        scan = ["hping3", "--quiet", "-S", "-p", "++100", "-i", "u2000", "-c", "500", server.ip]
        scanner.run(scan, timeout_s=60, check=False)
        for _ in range(3):
            assert visitor.curl(address) == "hello from h1\n"
    assert len(arrived) <= 60, "some before it was noticed"
    dropping = [flow for flow in program.flows() if not flow.actions or isinstance(flow.actions[0], Drop)]
    assert max(flow.stats.packets for flow in dropping) > 300, "one megaflow takes the scan"
    assert scanner.ping(server.ip, count=1).received == 1, "other than TCP is not its business"
    asked = program.port_stats(scanner).upcalls
    assert asked < 100
    assert program.interrupt() == f"shut out: {scanner.ip} at port 3\n"


# ---- load_balancer


def test_load_balancer_spreads_connections_over_the_servers_that_answer(lab: Lab, start: Starter) -> None:
    client, *servers = make_hosts(lab, 3)
    for server in servers:
        server.serve_http()
    arguments = [f"{server.port}={server.ip}" for server in servers]
    program = start("load_balancer", client.port, "10.0.0.100", *arguments)
    url = "http://10.0.0.100:80/"

    def served() -> set[str]:
        found = set()
        for _ in range(12):
            with suppress(LabError):
                found.add(client.curl(url, timeout_s=1).split()[-1])
        return found

    wait_until(lambda: served() == {"h2", "h3"}, "both servers answer", 20)
    servers[0].run(["ip", "link", "set", "eth0", "down"])
    wait_until(lambda: served() == {"h3"}, "the one that is left serves all", 20)
    for _ in range(10):
        assert client.curl(url) == "hello from h3\n"
    servers[0].run(["ip", "link", "set", "eth0", "up"])
    wait_until(lambda: served() == {"h2", "h3"}, "it is back", 20)
    assert [flow for flow in program.flows() if flow.actions and Output(1) == flow.actions[-1]]
    servers[0].run(["ip", "link", "set", "eth0", "address", "02:00:00:00:00:77"])
    wait_until(lambda: served() == {"h2", "h3"}, "it is found at its new MAC address", 20)
    assert program.interrupt() == ""


# ---- firewall

RULES = """
allow:
  - arp: true
  - {to: 10.0.0.2, tcp: 80}
  - {from: 10.0.0.0/24, ping: true}
"""
TOO_MANY_KINDS = "allow:\n" + "".join(
    f"- {{from: 0.0.0.0/{n}, to: 0.0.0.0/{m}, tcp: 1}}\n" for n in range(33) for m in range(9)
)
"""Each needs masks of its own, of which a datapath has 256."""

WRONG_FILES = (
    "allow: 5",
    "allow:\n  - {tpc: 80}",
    "allow:\n  - {to: nobody, tcp: 80}",
    "allow: [",
    "[" * 5000,
    TOO_MANY_KINDS,
)


def test_firewall_lets_pass_what_its_file_allows(lab: Lab, start: Starter, tmp_path: Path) -> None:
    h1, h2 = hosts = make_hosts(lab, 2)
    file = tmp_path / "rules.yaml"
    file.write_text(RULES)
    program = start("firewall", *hosts, str(file))
    addresses = [h2.serve_http(port) for port in (80, 81)]
    assert h1.curl(addresses[0]) == "hello from h2\n"
    with pytest.raises(LabError):
        h1.curl(addresses[1], timeout_s=1)
    with pytest.raises(LabError):
        h2.curl(h1.serve_http(80), timeout_s=1)
    assert h1.ping(h2.ip).received == 3
    file.write_text(RULES + "  - {to: 10.0.0.2, tcp: 81}\n")
    wait_until(lambda: len(program.flows()) == 11, "the file is read again")
    assert h1.curl(addresses[1]) == "hello from h2\n"
    assert program.process.stdout
    for wrong in (*(text.encode() for text in WRONG_FILES), b"\xff"):
        file.write_bytes(wrong)
        line = program.process.stdout.readline()
        while line.endswith(" rules\n"):
            line = program.process.stdout.readline()
        assert line.startswith("the rules stay as they were: ")
        assert h1.curl(addresses[1]) == "hello from h2\n"
    file.unlink()
    assert "No such file" in program.process.stdout.readline()
    file.write_text(RULES + "".join(f"  - {{to: 10.0.1.{n}, tcp: 80}}\n" for n in range(256)) + RULES[8:])
    wait_until(lambda: len(program.flows()) == 8 + 3 * 256, "entries of one kind share their masks", 20)
    assert program.stats().missed == 0
    assert program.interrupt().count("No such file") == 0, "what is wrong is told once"


def test_firewall_does_not_start_with_a_wrong_file(lab: Lab, start: Starter, tmp_path: Path) -> None:
    hosts = make_hosts(lab, 2)
    file = tmp_path / "rules.yaml"
    for wrong in (TOO_MANY_KINDS, "allow: [{arp: false}]"):
        file.write_text(wrong)
        with pytest.raises(AssertionError, match=rf"^{file}: [^\n]+\n$"):
            start("firewall", *hosts, str(file))
        wait_until(lambda: lab.name not in Datapath.list(), "it leaves nothing")


def test_firewall_is_reloaded_without_a_packet_lost(lab: Lab, start: Starter, tmp_path: Path) -> None:
    h1, h2 = hosts = make_hosts(lab, 2)
    file = tmp_path / "rules.yaml"
    file.write_text(RULES)
    program = start("firewall", *hosts, str(file))
    count = 20
    with ThreadPoolExecutor(1) as pool:
        pinging = pool.submit(h1.ping, h2.ip, 100 * count, 0.002)
        for number in range(count):
            file.write_text(RULES + f"  - {{to: 10.0.0.2, tcp: {1000 + number}}}\n")
            time.sleep(0.25)
        assert pinging.result().received == 100 * count
    assert program.interrupt().count(" rules\n") >= count // 2


# ---- router


def test_router_connects_subnets_in_the_kernel(lab: Lab, start: Starter) -> None:
    hosts = [lab.host(f"h{n}", ip=f"10.0.{n}.5/24") for n in (1, 2, 3)]
    for n, host in enumerate(hosts, 1):
        host.run(["ip", "route", "add", "default", "via", f"10.0.{n}.1"])
    h1, h2, h3 = hosts
    program = start("router", *(f"{host.port}=10.0.{n}.1/24" for n, host in enumerate(hosts, 1)))
    assert h1.ping("10.0.1.1").received == 3
    assert h1.ping("10.0.3.1").received == 3, "the router has all its addresses on each port"
    wait_until(lambda: reaches(h1, h2), "the router has learned who is where")
    assert set(h1.ping(h2.ip).ttls) == {63}
    wait_until(lambda: reaches(h3, h1), "the third subnet, too")
    asked = sum(program.port_stats(host).upcalls for host in (h1, h2))
    h2.iperf3_server()
    assert h1.curl(h2.serve_http()) == "hello from h2\n"
    assert h1.iperf3(h2.ip) > 0
    assert sum(program.port_stats(host).upcalls for host in (h1, h2)) <= asked + 6, "it stays in the kernel"
    hops = h1.run(["ping", "-n", "-c", "1", "-t", "1", "-W", "2", h2.ip], check=False).stdout
    assert "From 10.0.1.1 icmp_seq=1 Time to live exceeded" in hops
    assert h1.ping("10.0.9.9", count=1).received == 0
    assert h1.ping("10.0.1.1", count=2, size=3000).received == 0
    assert h1.ping(h2.ip, count=2, size=3000).received == 2, "fragments for others it forwards"
    h2.run(["ip", "link", "set", "eth0", "address", "02:00:00:00:00:77"])
    assert h1.ping(h2.ip, count=1).received == 0
    wait_until(lambda: reaches(h1, h2), "it asks again, and finds the new address", 10)
    h3.run(["ip", "link", "del", "eth0"])
    time.sleep(5.5)
    assert h1.ping(h2.ip).received == 3, "a port that is gone does not end it"
    assert program.interrupt() == ""


# ---- static_topology


@pytest.fixture
def containers(lab: Lab) -> list[Host]:
    """Five hosts, the last of which has the addresses of others too, without a word of it in ARP."""
    hosts = make_hosts(lab, 5)
    hosts[4].run(["sysctl", "-q", "net.ipv4.conf.all.arp_ignore=1", "net.ipv4.conf.all.arp_announce=2"])
    for other in hosts[1:4]:
        hosts[4].run(["ip", "addr", "add", f"{other.ip}/32", "dev", "lo"])
    return hosts


def test_static_topology_never_asks(lab: Lab, containers: list[Host], start: Starter) -> None:
    h1, h2, h3, h4, h5 = containers
    program = start("static_topology", *containers)
    for source, target in ((h1, h2), (h2, h3), (h3, h4), (h4, h1), (h5, h1)):
        assert source.ping(target.ip).received == 3
    h1.send(build.ethernet(NOBODY, 1, EXPERIMENTAL, bytes(46)))
    h3.iperf3_server()
    assert h2.iperf3(h3.ip) > 0
    wait_until(lambda: program.port_stats(h1).drops.get("explicit") == 1, "a frame to nobody is dropped")
    stats = program.stats()
    assert (stats.missed, stats.upcalls, stats.lost) == (0, 0, 0)
    assert f"{stats.hit} packets found their rule, 0 did not, 0 asked Python" in program.interrupt()


def test_static_topology_sends_web_traffic_to_port_5(lab: Lab, containers: list[Host], start: Starter) -> None:
    h1, h2, _, _, h5 = containers
    program = start("static_topology", *containers)
    h2.serve_http(80)
    h5.serve_http(80)
    elsewhere = h2.serve_http(8080)
    assert h1.curl(elsewhere) == "hello from h2\n"
    for host in containers[1:]:
        assert h1.curl(f"http://{host.ip}/") == "hello from h5\n"
    web = next(flow for flow in program.flows() if flow.match == Match(tcp_dst=80))
    assert web.stats.packets >= 4 * 5  # SYN, ACK, request, FIN, ACK


def test_static_topology_sends_arp_requests_to_their_target_only(
    lab: Lab, containers: list[Host], start: Starter
) -> None:
    h1, h2, h3, _, h5 = containers
    start("static_topology", *containers)
    arp = has_type(0x0806)
    with h2.capturing(arp) as second, h3.capturing(arp) as third, h5.capturing(arp) as fifth:
        assert reaches(h1, h2)
    assert [frame[:6] for frame in second] == [b"\xff" * 6]
    assert (third, fifth) == ([], [])


def test_rules_forward_without_the_program(lab: Lab, containers: list[Host], start: Starter) -> None:
    h1, h2, *_ = containers
    program = start("static_topology", *containers)
    program.process.kill()
    program.process.wait()
    assert h1.ping(h2.ip).received == 3


# ---- arp_responder


def test_arp_responder_answers_for_hosts_that_it_has_heard_of(lab: Lab, start: Starter) -> None:
    h1, h2, h3 = hosts = make_hosts(lab, 3)
    program = start("arp_responder", *hosts)
    wait_until(lambda: reaches(h1, h2), "the switch runs")
    arp = has_type(0x0806)
    with h1.capturing(arp) as first, h2.capturing(arp) as second:
        assert h3.ping(h1.ip).received == 3
        assert h3.ping(h2.ip).received == 3
    assert [frame[20:22] for frame in first + second if frame[:6] == b"\xff" * 6] == []
    neighbours = h3.run(["ip", "neigh", "show", "dev", "eth0"]).stdout
    assert {h1.mac, h2.mac} <= set(neighbours.split())
    assert program.interrupt() == ""


def test_arp_responder_does_not_answer_who_tries_an_address(lab: Lab, start: Starter) -> None:
    """As at a host's start, to find out that the address is nobody else's (RFC 5227); nor does it believe groups."""
    h1, h2 = hosts = make_hosts(lab, 2)
    program = start("arp_responder", *hosts)
    wait_until(lambda: reaches(h2, h1), "the switch runs")
    everybody, mac, ip = (1 << 48) - 1, int(h1.mac.replace(":", ""), 16), int(IPv4Address(h1.ip))
    with h1.capturing(has_type(0x0806)) as back, h2.capturing(has_type(0x0806)) as others:
        for source in (0, ip):
            h1.send(build.ethernet(everybody, mac, 0x0806, build.arp(1, mac, source, 0, ip)))
        others.wait_for(2)
    assert back == []
    h1.send(build.ethernet(everybody, mac, 0x0806, build.arp(1, everybody, ip + 7, 0, ip + 8)))
    wait_until(lambda: program.port_stats(h1).upcalls >= 3, "it was looked at")
    assert not [flow for flow in program.flows() if Match(eth_dst=everybody).covers(flow.match)]


def test_arp_responder_lets_nothing_else_up(lab: Lab, start: Starter) -> None:
    h1, h2 = hosts = make_hosts(lab, 2)
    program = start("arp_responder", *hosts)
    wait_until(lambda: reaches(h1, h2), "the switch runs")
    asked = program.port_stats(h1).upcalls
    h2.iperf3_server()
    assert h1.curl(h2.serve_http()) == "hello from h2\n"
    assert h1.iperf3(h2.ip) > 0
    h1.send(build.ethernet(NOBODY, 1, EXPERIMENTAL, bytes(46)))
    wait_until(lambda: program.port_stats(h1).drops.get("explicit") == 1, "a frame to nobody is dropped")
    assert program.port_stats(h1).upcalls == asked
    assert program.stats().missed == 0


def test_arp_responder_asks_everybody_about_an_address_not_heard_of(lab: Lab, start: Starter) -> None:
    h1, h2, h3 = hosts = make_hosts(lab, 3)
    start("arp_responder", *hosts)
    wait_until(lambda: reaches(h1, h2), "the switch runs")
    arp = has_type(0x0806)
    with h2.capturing(arp) as second, h3.capturing(arp) as third:
        assert h1.ping("10.0.0.77", count=1).received == 0
        second.wait_for(1)
        third.wait_for(1)
    assert {frame[38:42] for frame in second} == {frame[38:42] for frame in third} == {bytes((10, 0, 0, 77))}


# ---- what goes wrong


def test_example_on_a_device_that_is_not_there_leaves_nothing(lab: Lab, start: Starter) -> None:
    with pytest.raises(AssertionError, match="no-such-device"):
        start("learning_switch", "no-such-device")
    assert lab.name not in Datapath.list()


def test_second_program_on_the_same_datapath_is_refused(lab: Lab, start: Starter) -> None:
    hosts = make_hosts(lab, 2)
    start("learning_switch", *hosts)
    with pytest.raises(AssertionError, match=f"{lab.name} exists already"):
        start("learning_switch", *hosts)
