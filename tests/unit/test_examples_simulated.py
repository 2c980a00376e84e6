"""Programs of examples/ on a simulated datapath: packets that nobody should send them, hosts that change, and time."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet as Scapy

from vswitch import ConfigError, Datapath, in_sequence
from vswitch.testing import send

EXAMPLES = Path(__file__).parents[2] / "examples"


def example(name: str) -> Any:
    """The program as a module."""
    spec = importlib.util.spec_from_file_location(f"examples.{name}", EXAMPLES / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def dp() -> Iterator[Datapath]:
    with Datapath.simulate(ports=3) as datapath:
        yield datapath


# ---- firewall

FIRST, SECOND, THIRD = "10.0.0.1", "10.0.0.2", "10.0.0.3"


@pytest.mark.parametrize(
    ("entry", "in_port", "packet", "passes"),
    [
        ("{to: 10.0.0.2, tcp: 80}", 1, IP(src=FIRST, dst=SECOND) / TCP(dport=80, flags="S"), True),
        ("{to: 10.0.0.2, tcp: 80}", 1, IP(src=FIRST, dst=THIRD) / TCP(dport=80, flags="S"), False),
        ("{to: 10.0.0.2, tcp: 80}", 2, IP(src=SECOND, dst=FIRST) / TCP(sport=80, flags="SA"), True),
        ("{to: 10.0.0.2, tcp: 80}", 2, IP(src=SECOND, dst=FIRST) / TCP(sport=80, flags="R"), True),
        ("{to: 10.0.0.2, tcp: 80}", 2, IP(src=SECOND, dst=FIRST) / TCP(sport=80, flags="FA"), True),
        ("{to: 10.0.0.2, tcp: 80}", 2, IP(src=SECOND, dst=FIRST) / TCP(sport=80, flags="S"), False),
        ("{to: 10.0.0.2, tcp: 80}", 2, IP(src=SECOND, dst=FIRST) / TCP(dport=80, flags="SA"), False),
        ("{from: 10.0.0.1, udp: 53}", 1, IP(src=FIRST, dst=SECOND) / UDP(dport=53), True),
        ("{from: 10.0.0.1, udp: 53}", 1, IP(src=SECOND, dst=SECOND) / UDP(dport=53), False),
        ("{from: 10.0.0.1, udp: 53}", 2, IP(src=SECOND, dst=FIRST) / UDP(sport=53), True),
        ("{from: 10.0.0.1, udp: 53}", 2, IP(src=SECOND, dst=THIRD) / UDP(sport=53), False),
        ("{ping: true}", 1, IP(src=FIRST, dst=SECOND) / ICMP(type=8), True),
        ("{ping: true}", 2, IP(src=SECOND, dst=FIRST) / ICMP(type=0), True),
        ("{ping: true}", 2, IP(src=SECOND, dst=FIRST) / ICMP(type=8), False),
        ("{ping: true}", 1, IP(src=FIRST, dst=SECOND) / TCP(dport=80), False),
        ("{arp: true}", 1, ARP(), True),
        ("{arp: true}", 2, ARP(), True),
        ("{arp: true}", 1, IP(src=FIRST, dst=SECOND) / ICMP(type=8), False),
    ],
)
def test_firewall_lets_pass_what_an_entry_says_and_nothing_else(
    dp: Datapath, entry: str, in_port: int, packet: Scapy, passes: bool
) -> None:
    dp.flows.replace(example("firewall").rules(f"allow: [{entry}]".encode()))
    outcome = send(dp, Ether() / packet, in_port)
    assert (list(outcome.ports), outcome.upcalls) == ([3 - in_port] if passes else [], 0)


@pytest.mark.parametrize(
    "text",
    [
        "allow: [{arp: false}]",
        "allow: [{arp: true, to: 10.0.0.2}]",
        "allow: [{to: 10.0.0.2, ping: no}]",
        "allow: [{to: 10.0.0.2}]",
        "allow: [{tcp: 80, udp: 80}]",
        "allow: [{tcp: yes}]",
        "allow: [{tcp: [80]}]",
        "allow: [{tcp: 80, to: 5}]",
        "allow: [{tcp: 80, to: }]",
        "allow: [{}]",
        "allow: []\ndeny: [{tcp: 80}]",
        "",
    ],
)
def test_firewall_refuses_what_might_mean_something_else(text: str) -> None:
    with pytest.raises(ConfigError):
        example("firewall").rules(text.encode())


def test_entries_of_one_kind_share_a_priority_and_may_stand_twice(dp: Datapath) -> None:
    entries = [f"{{to: 10.0.{n // 256}.{n % 256}, tcp: {port}}}" for n in range(300) for port in (80, 443)]
    text = f"allow: [{', '.join([*entries, *entries, '{tcp: 80}', '{ping: true}'])}]"
    dp.flows.replace(example("firewall").rules(text.encode()))
    assert len(dp.flows) == 1 + 3 * 600 + 3 + 2
    assert {flow.rule.priority for flow in dp.flows} == set(range(8))


# ---- scan_detector


@pytest.mark.parametrize(
    "network", [IP(src=FIRST, dst=SECOND), IPv6(src="2001:db8::1", dst="2001:db8::2")], ids=["IPv4", "IPv6"]
)
def test_scan_in_the_name_of_another_shuts_out_the_port_that_it_comes_from(
    dp: Datapath, network: Scapy, capsys: pytest.CaptureFixture[str]
) -> None:
    program = example("scan_detector")
    dp.policy(in_sequence(program.guard(dp.time), program.star((2, 3))))

    def opens(port: int, tcp_dst: int) -> bool:
        packet = Ether(src=f"02:00:00:00:00:0{port}", dst="02:00:00:00:00:01") / network
        return list(send(dp, packet / TCP(sport=1024, dport=tcp_dst, flags="S"), port).ports) == [1]

    scanned = [opens(3, tcp_dst) for tcp_dst in range(1, 30)]
    assert scanned == [True] * (program.LIMIT - 1) + [False] * (30 - program.LIMIT)
    assert opens(2, 80), "whose name it was"
    assert not opens(3, 80)
    assert capsys.readouterr().out == f"shut out: {network.src} at port 3\n"
    dp.advance(program.BAN_S)
    assert opens(3, 80)


def test_the_server_finds_who_has_not_spoken_yet(dp: Datapath) -> None:
    dp.policy(example("scan_detector").star((2, 3)))
    question = Ether(src="02:00:00:00:00:01", dst="ff:ff:ff:ff:ff:ff") / ARP(op=1, psrc=FIRST, pdst=SECOND)
    assert send(dp, question, 1).ports == [2, 3]
    assert send(dp, Ether(src="02:00:00:00:00:02", dst="02:00:00:00:00:01") / IP(), 2).ports == [1]
    assert send(dp, Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / IP(), 1).ports == [2]


# ---- switches that learn


@pytest.mark.parametrize("program", ["learning_policy", "learning_switch"])
def test_nobody_is_learned_at_a_group_address(dp: Datapath, program: str) -> None:
    example(program).learn_and_switch(dp)
    everybody = "ff:ff:ff:ff:ff:ff"
    assert send(dp, Ether(src=everybody, dst="02:00:00:00:00:02") / IP(), 2).ports == []
    assert send(dp, Ether(src="02:00:00:00:00:01", dst=everybody) / IP(), 1).ports == [2, 3]


# ---- tcp_tracker


@pytest.mark.parametrize(
    ("segments", "said"),
    [
        ([(1, "S"), (2, "SA"), (1, "A"), (1, "FA"), (2, "FA")], ["new", "", "", "", "closed"]),
        ([(1, "S"), (2, "RA"), (1, "S")], ["new", "reset", "new"]),
        ([(1, "FA"), (2, "FA"), (2, "R"), (2, "SA")], ["", "", "", ""]),
        ([(1, "SF"), (1, "SR"), (1, "S"), (1, "S")], ["", "", "new", ""]),
        (
            [(1, "S"), (1, "FA"), (1, "FA"), (2, "FA"), (2, "FA"), (1, "S"), (1, "FA"), (2, "FA")],
            ["new", "", "", "closed", "", "new", "", "closed"],
        ),
    ],
    ids=["open and closed", "reset", "never begun", "strange flags", "FINs again, and the ports again"],
)
def test_tracker_tells_of_connections_that_it_saw_begin(
    dp: Datapath, capsys: pytest.CaptureFixture[str], segments: list[tuple[int, str]], said: list[str]
) -> None:
    example("tcp_tracker").track(dp)
    told = []
    for in_port, flags in segments:
        packet = IP(src=f"10.0.0.{in_port}", dst=f"10.0.0.{3 - in_port}")
        ports = {"sport": 40000, "dport": 80} if in_port == 1 else {"sport": 80, "dport": 40000}
        assert list(send(dp, Ether() / packet / TCP(flags=flags, **ports), in_port).ports) == [3 - in_port]
        told.append(capsys.readouterr().out.split(":")[0])
    assert told == said


# ---- router

OLD, NEW = "02:00:00:00:00:22", "02:00:00:00:00:33"


class Routed:
    """A router between 10.0.1.0/24 and 10.0.2.0/24, where 10.0.2.5 is."""

    def __init__(self, dp: Datapath) -> None:
        self._dp, self.program = dp, example("router")
        self.router = self.program.Router({1: "10.0.1.1/24", 2: "10.0.2.1/24"})
        dp.policy(self.router)

    def tell(self, mac: str, ip: str = "10.0.2.5", port: int = 2) -> None:
        """An ARP reply of the host."""
        self._dp.advance(2)
        send(self._dp, Ether(src=mac, dst=f"02:00:00:00:01:0{port}") / ARP(op=2, hwsrc=mac, psrc=ip), port)

    def routed(self) -> Scapy:
        """What comes of a packet to 10.0.2.5."""
        packet = IP(src="10.0.1.5", dst="10.0.2.5", ttl=64) / UDP(sport=1, dport=2)
        (sent,) = send(self._dp, Ether(src="02:00:00:00:00:11", dst="02:00:00:00:01:01") / packet).sent
        assert sent.port == 2
        return Ether(sent.packet)

    def asks(self) -> list[str]:
        """Whom it asks, on its own."""
        self._dp.sent()
        self.router.ask(self._dp)
        return [Ether(sent.packet)[ARP].pdst for sent in self._dp.sent()]


def test_router_asks_hosts_again_and_follows_a_new_mac_address(dp: Datapath) -> None:
    net = Routed(dp)
    assert net.routed()[ARP].pdst == "10.0.2.5"
    net.tell(OLD)
    assert net.routed().dst == OLD
    assert net.asks() == ["10.0.2.5"]
    assert net.routed().dst == OLD, "until it has answered"
    net.tell(NEW)
    assert net.routed().dst == NEW


def test_router_forgets_a_host_that_does_not_answer(dp: Datapath) -> None:
    net = Routed(dp)
    net.tell(OLD)
    assert [net.asks() for _ in range(net.program.MAX_ASKED)] == [["10.0.2.5"]] * net.program.MAX_ASKED
    assert net.routed().dst == OLD
    assert net.asks() == []
    assert net.routed()[ARP].pdst == "10.0.2.5"


def test_router_knows_so_many_hosts_at_a_time(dp: Datapath, monkeypatch: pytest.MonkeyPatch) -> None:
    net = Routed(dp)
    monkeypatch.setattr(net.program, "MAX_HOSTS", 2)
    for ip in ("10.0.2.5", "10.0.2.6", "10.0.2.7", "10.0.9.9"):
        net.tell(OLD, ip)
    net.tell(NEW)
    assert sorted(net.asks()) == ["10.0.2.5", "10.0.2.6"]
    assert net.routed().dst == NEW


def test_router_drops_fragments_of_pings_for_itself(dp: Datapath) -> None:
    Routed(dp)
    to_router = Ether(src=OLD, dst="02:00:00:00:01:01")
    for fragment in (IP(flags="MF") / ICMP(type=8) / bytes(1472), IP(frag=185, proto=1) / bytes(100)):
        fragment.src, fragment.dst = "10.0.1.5", "10.0.1.1"
        assert send(dp, to_router / fragment).drops == {"explicit": 1}


# ---- load_balancer


def test_balancer_finds_a_server_that_comes_back_with_another_mac_address(dp: Datapath) -> None:
    program = example("load_balancer")
    balancer = program.Balancer("10.0.0.100", {2: "10.0.0.2"})
    dp.policy(balancer)

    def probed() -> list[Scapy]:
        dp.sent()
        balancer.probe(dp)
        return [Ether(sent.packet) for sent in dp.sent()]

    def comes_up(mac: str) -> None:
        """Answers who it is, and a probe."""
        dp.advance(2)
        send(dp, Ether(src=mac, dst="02:00:00:00:02:00") / ARP(op=2, hwsrc=mac, psrc="10.0.0.2", pdst="10.0.0.100"), 2)
        probe = next(frame for frame in probed() if TCP in frame)
        assert probe.dst == mac
        answer = IP(src="10.0.0.2", dst="10.0.0.100") / TCP(sport=80, dport=1, flags="SA", ack=probe[TCP].seq + 1)
        send(dp, Ether(src=mac, dst=probe.src) / answer, 2)

    def served() -> list[str]:
        connection = IP(src="10.0.0.1", dst="10.0.0.100") / TCP(sport=5, dport=80, flags="S")
        return [Ether(frame).dst for frame in send(dp, Ether(dst="02:00:00:00:02:00") / connection).packets]

    assert [frame[ARP].pdst for frame in probed()] == ["10.0.0.2"]
    assert served() == []
    dp.advance(1)
    comes_up(OLD)
    assert served() == [OLD]
    for _ in range(program.MAX_UNANSWERED):
        assert [TCP in frame for frame in probed()] == [True], "an answer may be on its way"
    assert served() == [OLD]
    assert [ARP in frame for frame in probed()] == [True, False]
    assert served() == []
    comes_up(NEW)
    assert served() == [NEW]


def test_balancer_forgets_the_oldest_sessions_alone(dp: Datapath, monkeypatch: pytest.MonkeyPatch) -> None:
    program = example("load_balancer")
    monkeypatch.setattr(program, "MAX_SESSIONS", 4)
    balancer = program.Balancer("10.0.0.100", {2: SECOND, 3: THIRD})
    for client in range(7):
        balancer.session[client] = 2
    balancer.probe(dp)
    assert list(balancer.session) == [3, 4, 5, 6]


def test_router_hears_answers_while_it_asks(dp: Datapath, monkeypatch: pytest.MonkeyPatch) -> None:
    """More hosts of one port than its part of the ring takes answers of."""
    router = example("router").Router({1: "10.0.0.1/16", 2: "10.1.0.1/16"})
    dp.policy(router)
    addresses = [0x0A000100 + number for number in range(1500)]
    for address in addresses:
        router.asked[1, address] = 0
        router.mac_of[address] = 5
    executed = dp.execute

    def answered(frame: bytes, *rest: Any) -> None:
        executed(frame, *rest)
        question = Ether(frame)[ARP]
        answer = ARP(op=2, hwsrc="02:00:00:00:00:05", psrc=question.pdst, hwdst=question.hwsrc, pdst=question.psrc)
        dp.receive(bytes(Ether(src="02:00:00:00:00:05", dst=question.hwsrc) / answer), 1)

    monkeypatch.setattr(dp, "execute", answered)
    dp.start_upcalls()
    router.ask(dp)
    dp.run()
    assert [asked for asked in router.asked.values() if asked] == []
    assert dp.ports.stats(1).drops.get("upcall_quota", 0) == 0
