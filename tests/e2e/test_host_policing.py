"""Policing: what is more than its rate is dropped where it comes in, and nothing else is."""

from __future__ import annotations

import subprocess

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from tests.datapaths import connect
from tests.lab import VNET_HEADER, VNET_NEEDS_CHECKSUM, Host, Lab, patience
from vswitch import ConfigError, Datapath, Match, NotFoundError, Output, Policing
from vswitch.host.policing import policing

FRAME = bytes.fromhex("02000000000202000000000188b5")


def flooded(one: Host, two: Host, *, seconds: int = 1, length: int = 1000, bitrate: str = "100M") -> float:
    """Mbit/s of payload that arrive of a flood of UDP."""
    two.iperf3_server()
    return 1000 * one.iperf3(two.ip, seconds, udp=True, bitrate=bitrate, options=["-l", str(length)])


def test_rate_holds(dp: Datapath, hosts: tuple[Host, Host, Host]) -> None:
    one, two, _ = hosts
    dp.ports.set_policing(1, policing(5_000, 100))
    assert 2 < flooded(one, two, seconds=2) < 8
    assert dp.ports.stats(1).drops["policing"] > 100
    assert "policing" not in dp.ports.stats(2).drops


def test_burst_passes_at_once_and_no_more(dp: Datapath, hosts: tuple[Host, Host, Host]) -> None:
    one, two, _ = hosts
    dp.ports.set_policing(1, policing(1, 80))  # 125 bytes/s: ten packets of 1,000 bytes, and none for some seconds
    with two.capturing(lambda frame: len(frame) == 1000) as frames:
        one.send(FRAME + bytes(986), times=40)
    assert len(frames) in (10, 11), "the last one takes what has come by meanwhile"
    assert dp.ports.stats(1).drops == {"policing": 40 - len(frames)}
    assert dp.ports.stats(1).rx_packets >= 40


def test_packets_are_counted_whatever_their_size(dp: Datapath, hosts: tuple[Host, Host, Host]) -> None:
    one, two, _ = hosts
    dp.ports.set_policing(1, policing(rate_kpps=1, burst_kpackets=1))
    with two.capturing(lambda frame: frame[12:14] == b"\x88\xb5") as frames:
        one.send_many([FRAME + bytes(46 + 1400 * (n % 2)) for n in range(6000)])
    rest = 6000 - len(frames)
    assert len(frames) >= 1000
    assert rest == dp.ports.stats(1).drops["policing"] > 0


def test_packet_of_many_segments_is_worth_more_than_a_burst_and_passes(
    dp: Datapath, hosts: tuple[Host, Host, Host]
) -> None:
    one, two, _ = hosts
    dp.ports.set_policing(1, policing(1, 12))
    packet = IP(src=one.ip, dst=two.ip) / TCP(sport=1, dport=2) / Raw(bytes(60_000))
    frame = bytes(Ether(dst=two.mac, src=one.mac) / packet)
    segments = VNET_HEADER.pack(VNET_NEEDS_CHECKSUM, 1, 54, 1400, 34, 16)
    with two.capturing(lambda frame: len(frame) > 50_000) as frames:
        one.send(frame, segments, times=3)
    assert len(frames) == 1
    assert dp.ports.stats(1).drops == {"policing": 2}


def test_no_policing_is_as_before(dp: Datapath, hosts: tuple[Host, Host, Host]) -> None:
    one, two, _ = hosts
    dp.ports.set_policing(1, policing(1, 1))
    assert one.ping(two.ip, 3, 0.01).received < 3
    dp.ports.set_policing(1, Policing())
    assert one.ping(two.ip, 3, 0.01).received == 3
    before = dp.ports.stats(1).drops
    assert flooded(one, two, bitrate="20M") > 15
    assert dp.ports.stats(1).drops == before


def test_it_outlives_its_process_and_goes_with_its_port(name: str, hosts: tuple[Host, Host, Host]) -> None:
    one, two, _ = hosts
    with Datapath.create(name, ports=[one.port, two.port], local=False) as dp:
        dp.keep()
        connect(dp, 1, 2)
        dp.ports.set_policing(1, policing(1, 1))
    assert one.ping(two.ip, 3, 0.01).received < 3
    with Datapath.create(name, local=False, exist_ok=True) as dp:
        dropped = dp.ports.stats(1).drops["policing"]
        assert one.ping(two.ip, 3, 0.01).received < 3
        assert dp.ports.stats(1).drops["policing"] > dropped
        dp.ports.remove(1)
        dp.ports.add(one.port, 1)
        assert one.ping(two.ip, 3, 0.01).received == 3


def test_device_that_returns_is_policed_still(name: str, hosts: tuple[Host, Host, Host], lab: Lab) -> None:
    one, two, _ = hosts
    with Datapath.create(name, ports=[one.port, two.port], local=False) as dp:
        connect(dp, 1, 2)
        dp.ports.set_policing(1, policing(1, 1))
        subprocess.run(["ip", "link", "set", one.port, "mtu", "1400"], check=True, timeout=20 * patience())
        dp.ports.events()
        assert one.ping(two.ip, 3, 0.01).received < 3


def test_filters_and_qdiscs_of_others_stay(dp: Datapath, hosts: tuple[Host, Host, Host]) -> None:
    def shown() -> str:
        return subprocess.run(["tc", "qdisc", "show"], capture_output=True, text=True, check=True, timeout=20).stdout

    before = shown()
    dp.ports.set_policing(1, policing(1000))
    assert shown() == before


def test_simulated_ports_are_policed_alike() -> None:
    frame = FRAME + bytes(986)
    with Datapath.simulate(2) as dp:
        dp.flows.put(Match(in_port=1, recirc_id=0), Output(2))
        dp.ports.set_policing(1, policing(1, 80))
        passed = sum(len(dp.receive(frame, 1)) for _ in range(40))
        assert passed == 10
        assert dp.ports.stats(1).drops == {"policing": 30}
        dp.ports.set_policing(1, Policing())
        assert dp.receive(frame, 1)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ((-1,), "rate_kbps -1 is outside 0..1000000000"),
        ((10**10,), "rate_kbps 10000000000 is outside 0..1000000000"),
        ((0, 0, 10**7), "rate_kpps 10000000 is outside 0..1000000"),
        ((1000, -5), "burst_kb -5 is outside 1..1000000000, for rate_kbps 1000"),
        ((1000, 2 * 10**9), "burst_kb 2000000000 is outside 1..1000000000, for rate_kbps 1000"),
    ],
)
def test_impossible_rates_are_refused(values: tuple[int, ...], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        policing(*values)


def test_absent_port_is_refused(dp: Datapath) -> None:
    with pytest.raises(NotFoundError, match="has no port 99"):
        dp.ports.set_policing(99, Policing())
