"""How `show` tells of packets that came up, and when a port is held back."""

from __future__ import annotations

import json

import pytest

from vswitch import Datapath, PortStats, UpcallStats
from vswitch.cli.dpctl import upcalls
from vswitch.datapath.simulated.ring import room_for
from vswitch.upcalls.stats import WAIT_BUCKETS

SMALL = room_for(1)
"""Bytes of the smallest record."""


def waits(**counts: int) -> tuple[int, ...]:
    """`b3=90`: 90 packets in bucket 3."""
    return tuple(counts.get(f"b{bucket}", 0) for bucket in range(WAIT_BUCKETS))


def test_nothing_is_said_where_nothing_came_up() -> None:
    assert list(upcalls.lines(UpcallStats(waits=waits()), histogram=True)) == []
    assert list(upcalls.lines(UpcallStats(), histogram=True)) == []


def test_what_did_not_occur_is_not_said() -> None:
    zeros = "handled:0 joined:0 installed:0 failed:0 released:0 dropped:0"
    stats = UpcallStats(arrived=3, waits=waits())
    assert list(upcalls.lines(stats, histogram=True)) == [f"upcalls: arrived:3 {zeros} waiting:3"]


def test_all_is_said_that_there_is() -> None:
    stats = UpcallStats(
        arrived=1234, handled=400, joined=800, installed=390, released=1190, failed=2,
        drops={"failed": 2, "rate": 40}, waits=waits(b6=1000, b7=100, b11=88, b27=2),
    )  # fmt: skip
    said = [
        "upcalls: arrived:1234 handled:400 joined:800 installed:390 failed:2 released:1190 dropped:42 waiting:2",
        "upcall drops: failed:2 rate:40",
        "upcall waits: 50%<64us 90%<128us 99%<2.1ms",
    ]
    assert list(upcalls.lines(stats, histogram=False)) == said
    by_wait = "upcalls by wait: <64us:1000 <128us:100 <2.1ms:88 >67s:2"
    assert list(upcalls.lines(stats, histogram=True)) == [*said, by_wait]


@pytest.mark.parametrize(
    ("bucket", "bound"),
    [
        (0, "<1us"), (1, "<2us"), (9, "<512us"), (10, "<1.1ms"), (13, "<8.2ms"), (14, "<17ms"), (19, "<525ms"),
        (20, "<1.1s"), (23, "<8.4s"), (24, "<17s"), (26, "<68s"), (27, ">67s"),
    ],
)  # fmt: skip
def test_bounds_have_a_unit_and_hold(bucket: int, bound: str) -> None:
    """Upper bounds are rounded up, the lower one down."""
    stats = UpcallStats(arrived=5, released=5, waits=waits(**{f"b{bucket}": 5}))
    *_, quantiles, by_wait = upcalls.lines(stats, histogram=True)
    assert quantiles == f"upcall waits: 50%{bound} 90%{bound} 99%{bound}"
    assert by_wait == f"upcalls by wait: {bound}:5"


def test_every_bound_is_another_text() -> None:
    counts = {f"b{bucket}": bucket + 1 for bucket in range(WAIT_BUCKETS)}
    stats = UpcallStats(arrived=1, waits=waits(**counts))
    *_, by_wait = upcalls.lines(stats, histogram=True)
    found = dict(part.rsplit(":", 1) for part in by_wait.removeprefix("upcalls by wait: ").split())
    assert [int(count) for count in found.values()] == list(counts.values())


def test_json_has_sums_too() -> None:
    stats = UpcallStats(arrived=9, handled=8, released=3, drops={"late": 4}, waits=waits(b0=3))
    described = json.loads(json.dumps(upcalls.describe(stats)))
    assert described == {
        "arrived": 9, "handled": 8, "joined": 0, "installed": 0, "released": 3, "failed": 0, "drops": {"late": 4},
        "waits": [3] + [0] * (WAIT_BUCKETS - 1), "dropped": 4, "waiting": 2,
    }  # fmt: skip


# ---- ports


def test_port_tells_what_it_has_of_the_ring() -> None:
    assert upcalls.of_port(PortStats(upcalls=7, lost=2)) == "upcalls:7 lost:2"
    left = PortStats(upcalls=7, lost=2, upcall_bytes=448)
    assert upcalls.of_port(left) == "upcalls:7 lost:2 waiting:448 bytes"
    reading = PortStats(upcalls=7, lost=2, upcall_quota_bytes=1000)
    assert upcalls.of_port(reading) == "upcalls:7 lost:2 waiting:0 of 1000 bytes"


@pytest.mark.parametrize(
    ("taken", "quota", "held_back"),
    [(0, 0, False), (5000, 0, False), (0, SMALL, False), (1, SMALL, True), (552, 1000, False), (553, 1000, True)],
)
def test_port_is_held_back_when_no_packet_has_room(taken: int, quota: int, held_back: bool) -> None:
    assert PortStats(upcall_bytes=taken, upcall_quota_bytes=quota).held_back is held_back


def test_simulated_port_is_held_back_until_the_reader_has_caught_up() -> None:
    quota = 1 << 17
    most = quota // SMALL
    with Datapath.simulate(ports=2, ring_bytes=1 << 20, port_quota_bytes=quota) as dp:
        assert dp.ports.stats(1).upcall_quota_bytes == 0
        dp.start_upcalls()
        for _ in range(most):
            assert not dp.ports.stats(1).held_back
            dp.receive(bytes(60), 1)
        dp.receive(bytes(60), 1)
        dp.receive(bytes(60), 2)
        one, two = dp.ports.stats(1), dp.ports.stats(2)
        assert (one.upcall_bytes, one.upcall_quota_bytes, one.held_back) == (most * SMALL, quota, True)
        assert (two.upcall_bytes, two.upcall_quota_bytes, two.held_back) == (SMALL, quota, False)
        assert (one.upcalls, one.lost, dp.upcall_stats.waiting) == (most, 1, most + 1)
        dp.run()
        for number in (1, 2):
            assert (dp.ports.stats(number).upcall_bytes, dp.ports.stats(number).held_back) == (0, False)
        assert dp.upcall_stats.waiting == 0
        dp.receive(bytes(60), 1)
        dp._close_upcalls()
        stats = dp.ports.stats(1)
        assert (stats.upcall_bytes, stats.upcall_quota_bytes, dp.upcall_stats.waiting) == (0, 0, 0)
