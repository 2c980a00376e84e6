"""What ports count: packets, bytes, drops by reason, errors of devices, and their share of the ring of upcalls."""

from __future__ import annotations

import sys

import pytest

from tests.datapaths import Events, command, frame, is_test, plug, reach
from tests.lab import DOWN_DEVICES_COUNT, Host, wait_until
from vswitch import (
    Datapath,
    DecTtl,
    Drop,
    Match,
    Meter,
    MeterInfo,
    Options,
    Output,
    PortChange,
    Recirculate,
)
from vswitch.datapath.ebpf.layout import METER, PORT_RING
from vswitch.datapath.ebpf.netdev import Netdev
from vswitch.packet import build

# ---- counters


def test_counters_are_those_of_the_devices(dp: Datapath, hosts: tuple[Host, Host, Host]) -> None:
    dp.ports.add(hosts[2].port)
    dp.flows.flush()
    dp.flows.add(Match(in_port=1), (Output(2), Output(3)))
    dp.flows.add(Match(in_port=2), Output(1))
    lengths = [60, 61, 100, 1000, 1514]
    with Netdev() as devices, hosts[1].capturing(is_test) as second, hosts[2].capturing(is_test) as third:
        before = {n: devices.stats(f"h{n}-port") for n in (1, 2, 3)}
        hosts[0].send_many([frame(length) for length in lengths])
        hosts[1].send(frame(77), times=3)
        second.wait_for(len(lengths))
        third.wait_for(len(lengths))
        assert reach(hosts[0], hosts[1])
        for number in (1, 2, 3):
            ours, old, new = dp.ports.stats(number), before[number], devices.stats(f"h{number}-port")
            theirs = [
                getattr(new, field) - getattr(old, field)
                for field in ("rx_packets", "rx_bytes", "tx_packets", "tx_bytes")
            ]
            assert [ours.rx_packets, ours.rx_bytes, ours.tx_packets, ours.tx_bytes] == theirs, number
            assert (ours.rx_errors, ours.tx_errors, ours.tx_dropped, ours.lost, ours.drops) == (0, 0, 0, 0, {})
    assert dp.ports.stats(1).rx_packets == len(lengths) + 2
    assert dp.ports.stats(1).rx_bytes == sum(lengths) + 2 * 98
    assert dp.ports.stats(3).tx_packets == len(lengths) + 2


def test_counters_begin_anew_with_the_port(dp: Datapath, hosts: tuple[Host, Host, Host]) -> None:
    hosts[0].send(frame(), times=5)
    wait_until(lambda: dp.ports.stats(1).rx_packets == 5, "the frames arrived")
    dp.ports.remove(1)
    port = dp.ports.add(hosts[2].port)
    assert port.number == 1
    assert dp.ports.stats(1).rx_packets == 0


def test_counters_stay_while_the_device_is_away(dp: Datapath, hosts: tuple[Host, Host, Host]) -> None:
    events = Events(dp)
    hosts[0].send(frame(), times=5)
    wait_until(lambda: dp.ports.stats(1).rx_packets == 5, "the frames arrived")
    command("ip", "link", "delete", "h1-port")
    events.wait_for(PortChange.LOST, 1)
    assert dp.ports.stats(1).rx_packets == 5
    plug(hosts[0])
    events.wait_for(PortChange.RETURNED, 1)
    assert dp.ports.stats(1).rx_packets == 5


IP_PACKET = build.ethernet(2, 1, 0x0800, build.ipv4(0x0A000001, 0x0A000002, 17, build.udp(1, 2, bytes(30)), ttl=1))

DROPS = [  # reason | flows: match, actions | frames sent into port 1
    ("explicit", [(Match(in_port=1), Drop(7))], 1),
    ("explicit", [(Match(in_port=1), ())], 1),
    ("no_flow", [], 1),
    ("no_port", [(Match(in_port=1), Output(9))], 1),
    ("no_port", [(Match(in_port=1), (Output(9), Output(2)))], 1),
    ("ttl", [(Match(in_port=1), (DecTtl(), Output(2)))], 1),
    ("meter", [(Match(in_port=1), (Meter(3), Output(2)))], 2),
    ("recirculation_limit", [(Match(in_port=1), Recirculate(1))], 1),
    ("clone_limit", [(Match(in_port=1), (Recirculate(1), Output(2)))], 1),
]  # fmt: skip


@pytest.mark.parametrize(("reason", "flows", "frames"), DROPS)
def test_drop_is_counted_by_its_reason(
    dp: Datapath, hosts: tuple[Host, Host, Host], reason: str, flows: list[tuple[Match, object]], frames: int
) -> None:
    dp.meters.set(3, 1, "pktps", 1)
    dp.flows.flush()
    for match, actions in flows:
        dp.flows.add(match, actions)  # type: ignore[arg-type]
    hosts[0].send(IP_PACKET, times=frames)
    wait_until(lambda: dp.ports.stats(1).rx_packets == frames, "the frames arrived")
    wait_until(lambda: dp.ports.stats(1).drops, "the drop is counted")
    assert dp.ports.stats(1).drops == {reason: 1}
    assert dp.ports.stats(2).drops == {}


def test_packet_sent_down_that_misses_is_counted(dp: Datapath) -> None:
    dp.flows.flush()
    dp.execute(frame(), in_port=2)
    assert dp.ports.stats(2).drops == {"reinjected_miss": 1}


def test_numbers_without_a_port_count_for_no_port(dp: Datapath) -> None:
    """What is sent down on behalf of no port, or of one that is gone, is nobody's drop."""
    dp.flows.flush()
    for number in (0, 77, 65534):
        dp.execute(frame(), in_port=number)
    assert [dp.ports.stats(number).drops for number in (1, 2)] == [{}, {}]


def test_what_the_device_does_not_take_is_counted(dp: Datapath, hosts: tuple[Host, Host, Host]) -> None:
    dp.ports.add(hosts[2].port)
    dp.flows.flush()
    dp.flows.add(Match(in_port=1), (Output(2), Output(3)))  # to port 2 a copy, to port 3 itself
    for device in ("h2-port", "h3-port"):
        command("ip", "link", "set", device, "down")
    before = {number: dp.ports.stats(number) for number in (2, 3)}
    hosts[0].send(frame(), times=4)
    wait_until(lambda: dp.ports.stats(1).rx_packets == 4, "the frames arrived")
    for number in (2, 3):
        after = dp.ports.stats(number)
        assert after.tx_packets - before[number].tx_packets == 4
        assert after.tx_dropped - before[number].tx_dropped == (4 if DOWN_DEVICES_COUNT else 0)
        assert after.tx_errors == before[number].tx_errors


def test_longer_frame_than_the_device_takes_is_counted(dp: Datapath, hosts: tuple[Host, Host, Host]) -> None:
    command("ip", "link", "set", "h2-port", "mtu", "1000")
    command("ip", "-n", hosts[1].namespace.name, "link", "set", "eth0", "mtu", "1000")
    hosts[0].send(frame(1500))
    wait_until(lambda: dp.ports.stats(2).tx_dropped == 1, "the device counted it")


def test_errors_of_the_device_are_those_of_the_port(dp: Datapath, hosts: tuple[Host, Host, Host]) -> None:
    """A VXLAN device counts a packet as wrong whose outer header says "congestion" and whose inner one cannot."""
    command("ip", "address", "add", "10.0.0.50/24", "dev", "h3-port")
    command(
        "ip",
        "link",
        "add",
        "vx0",
        "type",
        "vxlan",
        "id",
        "5",
        "dstport",
        "4789",
        "local",
        "10.0.0.50",
        "dev",
        "h3-port",
    )
    command("ip", "link", "set", "vx0", "up")
    with Netdev() as devices:
        mac = int(devices.device("h3-port").mac.replace(":", ""), 16)
    vxlan = bytes.fromhex("0800000000000500") + IP_PACKET
    outer = build.ipv4(0x0A000003, 0x0A000032, 17, build.udp(5000, 4789, vxlan), tos=3)
    port = dp.ports.add("vx0")
    hosts[2].send(build.ethernet(mac, 0x020000000003, 0x0800, outer), times=2)
    wait_until(lambda: dp.ports.stats(port.number).rx_errors == 2, "the device counted them")
    assert dp.ports.stats(port.number).rx_packets == 0


# ---- upcalls of ports that come and go


def test_port_added_while_upcalls_are_taken_has_its_share_of_the_ring(
    dp: Datapath, hosts: tuple[Host, Host, Host]
) -> None:
    dp.start_upcalls()
    dp.ports.add(hosts[2].port)
    hosts[2].send(frame())
    assert next(dp.misses(timeout_s=5)).port == 3


def test_port_that_is_added_again_is_not_charged_for_what_waits_of_the_old_one(
    dp: Datapath, hosts: tuple[Host, Host, Host]
) -> None:
    dp.flows.flush()
    dp.start_upcalls()
    for _ in range(3):
        hosts[0].send_many([frame(60, n) for n in range(100)])
        wait_until(lambda: dp.ports.stats(1).upcalls == 100, "they came up")
        dp.ports.remove(1)
        dp.ports.add(hosts[0].port, 1)
        seen = sum(1 for _ in dp.misses(timeout_s=0.3))
        assert seen == 100
        hosts[0].send(frame())
        assert next(dp.misses(timeout_s=5)).port == 1
        dp.ports.remove(1)
        dp.ports.add(hosts[0].port, 1)


def test_misses_of_a_flooding_port_are_counted_when_its_share_is_used_up(
    name: str, hosts: tuple[Host, Host, Host]
) -> None:
    sizes = Options(ring_bytes=1 << 17, port_quota_bytes=1 << 17)
    with Datapath.create(name, ports=[host.port for host in hosts], local=False, options=sizes) as dp:
        dp.start_upcalls()
        most = (1 << 17) // 448
        hosts[0].send_many([frame(60, n) for n in range(500)])
        wait_until(lambda: dp.ports.stats(1).rx_packets == 500, "the frames arrived")
        first = dp.ports.stats(1)
        assert first.drops.keys() <= {"upcall_quota", "upcall_ring_full"}
        assert first.lost == sum(first.drops.values()) == 500 - first.upcalls
        assert 0 < first.upcalls <= most
        hosts[1].send_many([frame(60, n) for n in range(50)])
        wait_until(lambda: dp.ports.stats(2).rx_packets == 50, "the frames arrived")
        assert dp.ports.stats(2).drops == {"upcall_ring_full": 50 - dp.ports.stats(2).upcalls}
        assert dp.stats().lost == first.lost + dp.ports.stats(2).lost


SENDING = """
import socket, sys
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
    sock.bind(("eth0", 0))
    for _ in range(20000):
        sock.send(bytes.fromhex(sys.argv[1]))
"""


def test_losses_are_counted_right_while_quotas_are_set(name: str, hosts: tuple[Host, Host, Host]) -> None:
    sizes = Options(max_ports=1)
    with Datapath.create(name, ports=[hosts[0].port], local=False, options=sizes) as dp:
        process = hosts[0].popen([sys.executable, "-c", SENDING, frame().hex()])
        while process.poll() is None:
            for quota in (0, 1) * 100:  # 1 is too little for a packet
                dp._kernel.ports.set_quota(quota)
        assert process.returncode == 0
        stats = dp.ports.stats(1)
        assert stats.drops.keys() <= {"no_flow", "upcall_quota"}
        assert stats.lost == sum(stats.drops.values()) == stats.rx_packets == 20000
        produced, consumed, quota, lost, *_ = PORT_RING.unpack_from(
            dp._kernel.state.memory["port_rings"].view, PORT_RING.size
        )
        assert (produced, consumed, quota, lost) == (0, 0, 1, stats.lost)


# ---- meters


@pytest.mark.parametrize(
    ("rate", "unit", "burst"),
    [(1, "pktps", 1), (1, "kbps", 12), (900_000, "kbps", 90_000), (10**9, "kbps", 10**9), (10**9, "pktps", 5)],
)
def test_meter_is_as_it_was_set(dp: Datapath, rate: int, unit: str, burst: int) -> None:
    dp.meters.set(7, rate, unit, burst)
    assert dp.meters.list() == [MeterInfo(7, rate, unit, burst)]
    dp.meters.delete(7)
    assert dp.meters.list() == []


@pytest.mark.parametrize("unit", ["kbps", "pktps"])
@pytest.mark.parametrize("rate", [1, 2, 3, 7, 1000, 5243, 5248, 10**6, 10**9])
def test_default_burst_lets_the_longest_packet_pass(dp: Datapath, rate: int, unit: str) -> None:
    """As the kernel reckons: what it costs is not more than the window."""
    longest = 65535 + 40 + 14 + 8
    dp.meters.set(7, rate, unit)
    _, cost, counts_bytes, _, window, *_ = METER.unpack_from(dp._kernel.state.memory["meters"].view, 7 * METER.size)
    assert cost * (longest if counts_bytes else 1) <= window
    assert dp.meters.get(7).burst == pytest.approx(max(rate / 10, longest / 125 if unit == "kbps" else 1), abs=0.001)


def test_meter_that_is_set_again_counts_from_zero(dp: Datapath, hosts: tuple[Host, Host, Host]) -> None:
    dp.meters.set(7, 1, "pktps", 2)
    dp.flows.put(Match(in_port=1), (Meter(7), Output(2)))
    hosts[0].send(frame(), times=5)
    wait_until(lambda: dp.ports.stats(1).rx_packets == 5, "the frames arrived")
    assert dp.meters.get(7) == MeterInfo(7, 1, "pktps", 2, 2, 120, 3, 180)
    dp.meters.set(7, 1000)
    assert dp.meters.get(7) == MeterInfo(7, 1000, "kbps", 524.776)


@pytest.mark.parametrize("rate", [100, 1000])
def test_tcp_goes_through_a_meter_at_about_its_rate(dp: Datapath, hosts: tuple[Host, Host, Host], rate: int) -> None:
    """What is sent at once is one packet of up to 64 KB, which passes or is dropped whole."""
    dp.meters.set(7, rate)
    dp.flows.put(Match(in_port=1), (Meter(7), Output(2)))
    hosts[1].iperf3_server()
    seconds, burst = 4, 525
    most = rate * seconds + burst
    kbit = hosts[0].iperf3(hosts[1].ip, seconds) * 1e6 * seconds
    assert most / 20 < kbit < most * 2
    assert dp.ports.stats(1).drops.get("meter", 0) > 0
