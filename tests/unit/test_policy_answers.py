"""Policies that answer packets, change them and look again, on the simulated datapath."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoReply, ICMPv6EchoRequest, ICMPv6TimeExceeded, IPv6, IPv6ExtHdrFragment
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Packet as Scapy
from scapy.packet import Raw

from tests.frames import wrong_checksums
from vswitch import (
    ConfigError,
    Datapath,
    Decision,
    DecTtl,
    Key,
    Match,
    Output,
    Packet,
    PolicyAnswer,
    PolicyTimeoutError,
    PushVlan,
    Recirculate,
    Reply,
    SetField,
    Table,
    arp_reply,
    arp_request,
    drop,
    echo_reply,
    in_parallel,
    output,
    rewrite,
    time_exceeded,
)
from vswitch.base.limits import MAX_RECIRCULATIONS
from vswitch.packet.parse import parse
from vswitch.testing import Outcome, send

HOST, ROUTER = "02:00:00:00:00:01", "02:00:00:00:00:99"


@pytest.fixture
def dp() -> Iterator[Datapath]:
    with Datapath.simulate(ports=3) as datapath:
        yield datapath


def to_router(inner: Scapy, tagged: bool = False) -> Scapy:
    frame = Ether(src=HOST, dst=ROUTER)
    return frame / Dot1Q(vlan=7, prio=3) / inner if tagged else frame / inner


def answered(outcome: Outcome) -> Scapy:
    """The one frame that went back out of port 1."""
    (sent,) = outcome.sent
    assert sent.port == 1
    assert wrong_checksums(sent.packet) == []
    frame = Ether(sent.packet)
    assert (frame.src, frame.dst) == (ROUTER, HOST)
    return frame


@pytest.mark.parametrize("tagged", [False, True])
def test_arp_is_answered(dp: Datapath, tagged: bool) -> None:
    dp.policy(lambda packet: arp_reply(packet, ROUTER) if packet.arp_op == 1 else drop)
    request = to_router(ARP(op=1, hwsrc=HOST, psrc="10.0.0.1", pdst="10.0.0.9"), tagged)
    reply = answered(send(dp, request))
    arp = reply[ARP]
    assert (arp.op, arp.hwsrc, arp.psrc, arp.hwdst, arp.pdst) == (2, ROUTER, "10.0.0.9", HOST, "10.0.0.1")
    assert (Dot1Q in reply and reply[Dot1Q].vlan == 7) is tagged
    assert not dp.flows, "an answer is for its own packet alone"


@pytest.mark.parametrize("tagged", [False, True])
@pytest.mark.parametrize("size", [0, 1, 56, 1400])
def test_ping_is_answered(dp: Datapath, size: int, tagged: bool) -> None:
    dp.policy(echo_reply)
    data = bytes(range(256)) * 6
    four = IP(src="10.0.0.1", dst="10.0.0.9") / ICMP(type=8, id=5, seq=7) / data[:size]
    reply = answered(send(dp, to_router(four, tagged)))
    assert (reply[IP].src, reply[IP].dst) == ("10.0.0.9", "10.0.0.1")
    assert (reply[ICMP].type, reply[ICMP].id, reply[ICMP].seq, bytes(reply[ICMP].payload)) == (0, 5, 7, data[:size])
    six = IPv6(src="2001:db8::1", dst="2001:db8::9") / ICMPv6EchoRequest(id=5, seq=7, data=data[:size])
    reply = answered(send(dp, to_router(six, tagged)))
    assert (reply[IPv6].src, reply[ICMPv6EchoReply].seq) == ("2001:db8::9", 7)
    assert bytes(reply[ICMPv6EchoReply].data) == data[:size]


def test_padding_is_not_answered(dp: Datapath) -> None:
    dp.policy(echo_reply)
    ping = bytes(to_router(IP(src="10.0.0.1", dst="10.0.0.9") / ICMP(type=8) / b"abc")).ljust(60, b"\0")
    assert bytes(answered(send(dp, ping))[ICMP].payload).rstrip(b"\0") == b"abc"
    assert answered(send(dp, ping))[IP].len == 20 + 8 + 3


@pytest.mark.parametrize(
    "packet",
    [
        IP(src="10.0.0.1", dst="10.0.0.9", len=21) / ICMP(type=8) / bytes(50),
        IP(src="10.0.0.1", dst="10.0.0.9", len=27) / ICMP(type=8) / bytes(50),
        IPv6(src="2001:db8::1", dst="2001:db8::9", plen=7) / ICMPv6EchoRequest(data=bytes(50)),
    ],
)
def test_a_ping_that_says_it_is_shorter_is_not_answered(dp: Datapath, packet: Scapy) -> None:
    dp.policy(echo_reply)
    outcome = send(dp, to_router(packet))
    assert (outcome.sent, outcome.failed, outcome.drops) == ((), 0, {"explicit": 1})


@pytest.mark.parametrize("damaged", [b"\x44", b"\x65", b"\x45\0\0\x14"])
def test_a_damaged_header_is_not_answered_that_its_time_was_exceeded(dp: Datapath, damaged: bytes) -> None:
    dp.policy(lambda packet: time_exceeded(packet, "10.0.0.9"))
    outcome = send(dp, Ether(src=HOST, dst=ROUTER, type=0x0800) / Raw(damaged))
    assert (outcome.sent, outcome.failed, outcome.drops) == ((), 0, {"explicit": 1})


def test_time_exceeded_quotes_the_packet(dp: Datapath) -> None:
    dp.policy(lambda packet: time_exceeded(packet, "10.0.0.9" if packet.ip_dst.version == 4 else "2001:db8::9"))
    four = IP(src="10.0.0.1", dst="10.9.9.9", ttl=1) / UDP(sport=5, dport=6) / bytes(100)
    reply = answered(send(dp, to_router(four)))
    assert (reply[IP].src, reply[ICMP].type, reply[ICMP].code) == ("10.0.0.9", 11, 0)
    assert bytes(reply[ICMP].payload) == bytes(four)[:28]
    six = IPv6(src="2001:db8::1", dst="2001:db8:9::9", hlim=1) / UDP(sport=5, dport=6) / bytes(1400)
    outcome = send(dp, to_router(six))
    assert ICMPv6TimeExceeded in answered(outcome)
    assert outcome.packets[0].endswith(bytes(six)[:1232])


@pytest.mark.parametrize(
    "packet",
    [
        to_router(IP(src="10.0.0.1", dst="10.9.9.9", ttl=1) / ICMP(type=11) / bytes(28)),
        to_router(IP(src="10.0.0.1", dst="10.9.9.9", ttl=1, frag=100, proto=17) / bytes(100)),
        to_router(IP(src="255.255.255.255", dst="10.9.9.9", ttl=1) / UDP()),
        to_router(IP(src="224.0.0.1", dst="10.9.9.9", ttl=1) / UDP()),
        Ether(src=HOST, dst="ff:ff:ff:ff:ff:ff") / IP(src="10.0.0.1", dst="10.9.9.9", ttl=1) / UDP(),
        to_router(IPv6(src="::", dst="2001:db8::9", hlim=1) / UDP()),
        to_router(IPv6(src="2001:db8::1", dst="2001:db8::9", hlim=1) / ICMPv6TimeExceeded()),
    ],
)
def test_what_must_not_be_answered_is_dropped(dp: Datapath, packet: Scapy) -> None:
    dp.policy(lambda packet: time_exceeded(packet, "10.0.0.9" if packet.ip_dst.version == 4 else "2001:db8::9"))
    outcome = send(dp, packet)
    assert (outcome.sent, outcome.failed, outcome.drops) == ((), 0, {"explicit": 1})


@pytest.mark.parametrize(
    "packet",
    [
        Ether(src=HOST, dst="01:00:5e:00:00:01") / IP(src="10.0.0.1", dst="224.0.0.1") / ICMP(type=8),
        to_router(IP(src="10.0.0.1", dst="10.0.0.9", flags="MF") / ICMP(type=8) / bytes(1472)),
        to_router(IP(src="10.0.0.1", dst="10.0.0.9", frag=185, proto=1) / bytes(100)),
        to_router(IPv6(src="2001:db8::1", dst="2001:db8::9") / IPv6ExtHdrFragment(m=1) / ICMPv6EchoRequest()),
    ],
    ids=["of a group", "first fragment", "later fragment", "first fragment, IPv6"],
)
def test_pings_that_are_not_answered_are_dropped_without_asking_again(dp: Datapath, packet: Scapy) -> None:
    dp.policy(echo_reply)
    outcome = send(dp, packet)
    assert (outcome.sent, outcome.installed, outcome.drops) == ((), 1, {"explicit": 1})
    assert send(dp, packet).upcalls == 0


def test_a_question_goes_out_in_place_of_the_packet(dp: Datapath) -> None:
    dp.policy(lambda packet: arp_request(packet.ipv4_dst, mac=ROUTER, ip="10.0.2.1", port=3))
    (sent,) = send(dp, to_router(IP(src="10.0.0.1", dst="10.0.2.5") / UDP())).sent
    arp = Ether(sent.packet)[ARP]
    assert (sent.port, arp.op, arp.psrc, arp.pdst, arp.hwsrc) == (3, 1, "10.0.2.1", "10.0.2.5", ROUTER)


def test_answers_that_cannot_be(dp: Datapath) -> None:
    answers: dict[int, object] = {
        1: lambda packet: arp_reply(packet, ROUTER),
        2: echo_reply,
        3: lambda packet: time_exceeded(packet, "2001:db8::1"),
        4: lambda _packet: Reply(b"short"),
        5: lambda _packet: Reply(bytes(60), 70000),
        6: lambda _packet: rewrite(PushVlan(1), then=lambda _: drop, nonsense=1),  # type: ignore[call-arg]
        7: in_parallel(lambda _packet: rewrite(PushVlan(1), then=echo_reply)),
        8: lambda packet: arp_reply(packet, "nonsense"),
    }

    @dp.policy
    def policy(packet: Packet) -> PolicyAnswer:
        return answers[int(packet.udp_dst)](packet)  # type: ignore[operator, no-any-return]

    for number in answers:
        outcome = send(dp, to_router(IP(src="10.0.0.1", dst="10.0.0.9") / UDP(dport=number)), may_fail=True)
        assert (outcome.failed, outcome.sent, len(dp.flows)) == (1, (), 0), number


def test_what_is_read_of_the_frame_holds_for_its_packet_alone(dp: Datapath) -> None:
    dp.policy(lambda packet: output(2) if packet.frame.endswith(b"two") else output(3))
    for text, port in ((b"two", 2), (b"one", 3), (b"two", 2)):
        outcome = send(dp, to_router(IP() / UDP() / text))
        assert (outcome.ports, outcome.upcalls, outcome.installed) == ([port], 1, 0)
    key = next(iter(dp.flows), None)
    assert key is None
    with pytest.raises(ConfigError, match="frame"):
        dp.explain(_key_of(dp))


def _key_of(dp: Datapath):
    dp.receive(bytes(to_router(IP() / UDP())))
    return next(iter(dp.misses())).key


# ---- rewriting, and looking again


def test_a_policy_goes_on_with_what_it_made_of_the_packet(dp: Datapath) -> None:
    servers = Table({80: "10.0.2.5"})

    def deliver(packet: Packet) -> PolicyAnswer:
        return output(2) if packet.ipv4_dst.within("10.0.2.0/24") else output(3)

    @dp.policy
    def translate(packet: Packet) -> PolicyAnswer:
        if server := servers.get(packet.tcp_dst):
            return rewrite(SetField("ipv4_dst", server), DecTtl(), then=deliver)
        return deliver(packet)

    web = to_router(IP(src="10.0.0.1", dst="10.0.9.9", ttl=9) / TCP(sport=5, dport=80))
    outcome = send(dp, web)
    assert (outcome.ports, outcome.upcalls, outcome.installed) == ([2], 2, 2)
    frame = Ether(outcome.packets[0])
    assert (frame[IP].dst, frame[IP].ttl, wrong_checksums(outcome.packets[0])) == ("10.0.2.5", 8, [])
    assert send(dp, web).upcalls == 0
    other = to_router(IP(src="10.0.0.1", dst="10.0.9.9") / TCP(sport=5, dport=22))
    assert send(dp, other).ports == [3]
    first, second = sorted(
        (flow for flow in dp.flows if flow.match.fields().get("tcp_dst", (80, 0))[0] == 80),
        key=lambda flow: flow.match.fields()["recirc_id"],
    )
    assert isinstance(first.actions[-1], Recirculate)
    assert "tcp_dst" not in second.match.fields(), "what only the first one read is not in the second megaflow"
    servers[80] = "10.0.3.5"
    assert send(dp, web).ports == [3]


def test_stages_may_go_round_to_the_bound(dp: Datapath) -> None:
    def again(packet: Packet) -> PolicyAnswer:
        return rewrite(DecTtl(), then=again) if packet.ip_ttl > 5 else output(2)

    dp.policy(again)
    assert send(dp, to_router(IP(ttl=10) / UDP())).ports == [2]
    assert send(dp, to_router(IP(ttl=255) / UDP())).drops == {"recirculation_limit": 1}


def test_decisions_may_rewrite(dp: Datapath) -> None:
    dp.policy(lambda _packet: Decision(rewrite(PushVlan(5), then=lambda_two), hard_timeout_s=3))
    assert Ether(send(dp, to_router(IP() / UDP())).packets[0])[Dot1Q].vlan == 5
    assert sorted(flow.hard_timeout_s or 0 for flow in dp.flows) == [0, 3]


def lambda_two(packet: Packet) -> PolicyAnswer:
    assert packet.vlan_vid == 5
    return output(2)


def test_functions_made_anew_are_refused_at_the_bound(dp: Datapath) -> None:
    dp.policy(lambda packet: rewrite(SetField("eth_dst", int(packet.udp_dst)), then=lambda _: output(2)))
    for port in range(300):
        outcome = send(dp, to_router(IP() / UDP(dport=port)), may_fail=True)
        assert outcome.failed == (port >= 256)


def test_rules_of_ones_own_and_policies_keep_apart(dp: Datapath) -> None:
    dp.flows.add(Match(in_port=3, recirc_id=0), (PushVlan(3), Recirculate(9)), priority=5)
    dp.policy(lambda packet: output(2) if packet.recirc_id == 9 else output(1))
    assert send(dp, to_router(IP() / UDP()), 3).ports == [2]
    assert send(dp, to_router(IP() / UDP()), 1).ports == [1]
    assert dp.explain(bytes(to_router(IP() / UDP()))).actions == (Output(1),)


def test_explain_tells_of_replies(dp: Datapath) -> None:
    dp.policy(lambda packet: arp_reply(packet, ROUTER) if packet.arp_op == 1 else drop)
    told = dp.explain(bytes(to_router(ARP(op=1, psrc="10.0.0.1", pdst="10.0.0.9"))))
    assert told.reply is not None
    assert told.rule is None
    assert "reply    42 bytes to the port it came in by" in str(told)


def to_inside(packet: Packet) -> PolicyAnswer:
    return rewrite(SetField("ipv4_dst", 0x0A090001), DecTtl(), then=inside)


def inside(packet: Packet) -> PolicyAnswer:
    return output(3) if packet.ipv4_dst == "10.9.0.1" and packet.ip_ttl == 63 else drop


def test_explain_follows_what_a_rewrite_makes(dp: Datapath) -> None:
    dp.policy(to_inside)
    frame = bytes(to_router(IP(dst="10.0.0.9", ttl=64) / UDP()))
    first, second = dp.explain(frame, in_port=2).stages
    assert second.actions == (Output(3),)
    assert second.match.fields()["ipv4_dst"] == (0x0A090001, 0xFFFFFFFF)
    assert "\nthen\nreads    recirc_id" in str(first)
    assert len(dp.flows) == 0
    assert send(dp, frame, 2).ports == [3]
    assert {flow.rule.match for flow in dp.flows} == {first.match, second.match}
    assert dp.explain(bytes(to_router(IP(dst="10.0.0.9", ttl=1) / UDP()))).then is None  # it dies on the way
    assert dp.explain(Key(parse(frame, 0))).then is None  # of a key nobody knows what it becomes


def again(packet: Packet) -> PolicyAnswer:
    return rewrite(then=again)


def test_explain_comes_to_an_end_as_the_datapath_does(dp: Datapath) -> None:
    dp.policy(again)
    frame = bytes(to_router(IP() / UDP()))
    assert len(dp.explain(frame).stages) == 1 + MAX_RECIRCULATIONS
    assert send(dp, frame).drops == {"recirculation_limit": 1}


def test_explain_interrupts_a_policy_that_loops(dp: Datapath) -> None:
    def loops(packet: Packet) -> PolicyAnswer:
        while True:
            pass

    dp.policy(loops, limit_s=0.05)
    with pytest.raises(PolicyTimeoutError, match=r"longer than 0\.05 s"):
        dp.explain(bytes(60))


def test_a_test_fails_by_what_the_policy_raises(dp: Datapath) -> None:
    def wrong(packet: Packet) -> PolicyAnswer:
        raise LookupError("no such thing")

    dp.policy(wrong)
    for _ in "ab":  # logged once, raised each time
        with pytest.raises(LookupError, match="no such thing"):
            send(dp, to_router(IP() / UDP()))
    outcome = send(dp, to_router(IP() / UDP()), may_fail=True)
    assert (outcome.failed, str(outcome.failure)) == (1, "no such thing")
