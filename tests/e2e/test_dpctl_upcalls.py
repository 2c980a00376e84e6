"""`vswitch dpctl show` tells, beside the process that reads upcalls and after it, what became of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.datapaths import Controller, frame
from tests.lab import Host, wait_until
from tests.reactive import forward, running, udp_frame
from tests.shell import Shell
from vswitch import Datapath, Match, Miss, Options, Output, Userspace

Hosts = tuple[Host, Host, Host]

RECORD = 448
"""What a small packet takes of the ring."""

QUOTA = 1 << 17
MOST = QUOTA // RECORD


@pytest.fixture
def shell() -> Shell:
    return Shell()


@pytest.fixture
def dp(name: str, hosts: Hosts) -> Iterator[Datapath]:
    """Hosts 1 and 2 at ports 1 and 2, a share of the ring that is soon used up, and no megaflow."""
    sizes = Options(ring_bytes=1 << 20, port_quota_bytes=QUOTA)
    with Datapath.create(name, ports=[host.port for host in hosts[:2]], local=False, options=sizes) as datapath:
        yield datapath


def described(shell: Shell, name: str) -> tuple[dict[str, Any], dict[int, dict[str, Any]]]:
    """As JSON: what became of upcalls, and the counters of each port."""
    (shown,) = json.loads(shell.dpctl("show", "--json", name))
    return shown["upcall_stats"], {port["number"]: port["stats"] for port in shown["ports"]}


def test_port_whose_reader_is_behind_is_seen_to_be_held_back(dp: Datapath, hosts: Hosts, shell: Shell) -> None:
    h1, h2, _ = hosts
    assert "upcall" not in shell.dpctl("show", dp.name)
    dp.start_upcalls()
    assert "upcall" not in shell.dpctl("show", dp.name)
    h1.send_many([udp_frame(n, 0) for n in range(MOST + 20)])
    h2.send_many([frame(60, n) for n in range(3)])
    wait_until(lambda: (dp.ports.stats(1).lost, dp.ports.stats(2).upcalls) == (20, 3), "all have come up, or are lost")

    zeros = "handled:0 joined:0 installed:0 failed:0 released:0 dropped:0"
    text = shell.dpctl("show", "-s", dp.name)
    assert f"\n  upcalls: arrived:{MOST + 3} {zeros} waiting:{MOST + 3}\n  port 1: {h1.port} (held back)\n" in text
    assert f"\n    upcalls:{MOST} lost:20 waiting:{MOST * RECORD} of {QUOTA} bytes\n" in text
    assert f"\n  port 2: {h2.port}\n" in text
    assert text.endswith(f"\n    upcalls:3 lost:0 waiting:{3 * RECORD} of {QUOTA} bytes\n")
    assert f"\n  port 1: {h1.port} (held back)\n  port 2: {h2.port}\n" in shell.dpctl("show", dp.name)
    stats, ports = described(shell, dp.name)
    assert (stats["arrived"], stats["waiting"], stats["drops"]) == (MOST + 3, MOST + 3, {})
    assert [(ports[n]["upcall_bytes"], ports[n]["upcall_quota_bytes"], ports[n]["held_back"]) for n in (1, 2)] == [
        (MOST * RECORD, QUOTA, True), (3 * RECORD, QUOTA, False),
    ]  # fmt: skip
    with Datapath.open(dp.name, control=False) as other:
        assert other.upcall_stats == dp.upcall_stats
        assert [other.ports.stats(number).held_back for number in (1, 2)] == [True, False]
    assert (other.upcall_stats.arrived, other.upcall_stats.waiting) == (MOST + 3, MOST + 3), "also when it is closed"

    @dp.on_miss
    def only_port_1(miss: Miss) -> tuple[Match, Output] | None:
        return (Match(in_port=1), Output(2)) if miss.port == 1 else None

    with running(dp):
        wait_until(lambda: dp.upcall_stats.waiting == 0, "the reader has caught up")
    text = shell.dpctl("show", "-m", "-s", dp.name)
    assert "held back" not in text
    came = f"arrived:{MOST + 3} handled:4 joined:{MOST - 1} installed:1 failed:0 released:{MOST} dropped:3 waiting:0"
    assert f"\n  upcalls: {came}\n  upcall drops: unanswered:3\n  upcall waits: 50%<" in text
    assert re.search(r"^  upcall waits: 50%<[\d.]+m?s 90%<[\d.]+m?s 99%<[\d.]+m?s$", text, re.MULTILINE)
    by_wait = re.search(r"^  upcalls by wait: (.*)$", text, re.MULTILINE)
    assert by_wait
    assert sum(int(part.rpartition(":")[2]) for part in by_wait[1].split()) == MOST
    assert "by wait" not in shell.dpctl("show", dp.name)
    stats, ports = described(shell, dp.name)
    assert (stats["drops"], stats["dropped"], stats["waiting"]) == ({"unanswered": 3}, 3, 0)
    assert (len(stats["waits"]), sum(stats["waits"])) == (28, MOST)
    assert [ports[n]["upcall_bytes"] for n in (1, 2)] == [0, 0]


def test_counters_go_on_with_the_next_reader(dp: Datapath, hosts: Hosts, shell: Shell) -> None:
    h1, h2, _ = hosts
    dp.flows.add(Match(in_port=2), Userspace(b"seen"))  # what an action sends up counts as well
    dp.on_miss(lambda miss: forward(miss) if miss.port == 1 else None)
    with running(dp):
        h1.send_many([udp_frame(n, 0) for n in range(5)])
        wait_until(lambda: dp.upcall_stats.released == 5, "all are answered")
        h2.send_many([frame(60, n) for n in range(2)])
        wait_until(lambda: dp.upcall_stats.dropped == 2, "all are seen")
    h1.send_many([udp_frame(10 + n, 0) for n in range(3)])
    wait_until(lambda: dp.upcall_stats.waiting == 3, "nobody takes them")
    name, before = dp.name, dp.upcall_stats
    dp.keep()
    dp.close()
    stats, ports = described(shell, name)
    assert (stats["arrived"], stats["handled"], stats["released"]) == (10, before.handled, 5)
    assert (stats["drops"], stats["waiting"]) == ({"unanswered": 2, "closed": 3}, 0)
    assert [(ports[n]["upcall_bytes"], ports[n]["upcall_quota_bytes"]) for n in (1, 2)] == [(0, 0), (0, 0)]
    with Datapath.open(name) as again:
        again.on_miss(forward)
        with running(again):
            h1.send_many([udp_frame(20 + n, 0) for n in range(4)])
            wait_until(lambda: again.upcall_stats.released == 9, "all are answered")
        stats, _ = described(shell, name)
        assert (stats["arrived"], stats["released"], stats["waiting"]) == (14, 9, 0)
        assert (stats["handled"], stats["installed"], sum(stats["waits"])) == (before.handled + 4, 9, 9)
        assert stats["drops"] == {"unanswered": 2, "closed": 3}
    Datapath.delete(name)


TAKING = """
import time
dp = Datapath.open(name)
seen = []
def slow(miss):
    if miss.key.udp_src == 1000:
        return Match(in_port=miss.port, eth_type=0x0800, ip_proto=17, udp_src=1000), Output(2)
    seen.append(miss)
    done("at work")
    time.sleep(3600)
dp.on_miss(slow)
dp.start_upcalls()
done()
dp.run(workers=WORKERS)
"""


@pytest.mark.parametrize("workers", ["None", "1"])
def test_packets_of_a_reader_that_is_killed_wait_until_the_next_one_closes_with_them(
    dp: Datapath, hosts: Hosts, shell: Shell, workers: str
) -> None:
    h1, _, _ = hosts
    name = dp.name
    dp.keep()
    dp.close()
    with Datapath.open(name, control=False) as looking:
        with Controller(name, TAKING.replace("WORKERS", workers)) as reader:
            reader.wait_for()
            reader.go_on()
            h1.send(udp_frame(0, 0))
            wait_until(lambda: looking.upcall_stats.released == 1, "the first is answered")
            h1.send_many([udp_frame(1 + n, 0) for n in range(MOST)])
            reader.wait_for("at work")
            wait_until(lambda: looking.upcall_stats.arrived == MOST + 1, "all have come up")
            reader.kill()
        h1.send_many([udp_frame(1000, n) for n in range(5)])
        wait_until(lambda: looking.ports.stats(1).lost == 5, "nothing more comes up")
    stats, ports = described(shell, name)
    assert (stats["arrived"], stats["released"], stats["drops"], stats["waiting"]) == (MOST + 1, 1, {}, MOST)
    assert (ports[1]["upcall_bytes"], ports[1]["held_back"]) == (MOST * RECORD, True)
    with Datapath.open(name) as again:
        stats, ports = described(shell, name)  # somebody is in control again, but reads no upcalls
        assert (stats["drops"], stats["waiting"]) == ({}, MOST)
        assert (ports[1]["upcall_bytes"], ports[1]["held_back"]) == (MOST * RECORD, False)
        again.start_upcalls()
        stats, ports = described(shell, name)
        assert (stats["arrived"], stats["released"], stats["drops"]) == (MOST + 1, 1, {"closed": MOST})
        assert stats["waiting"] == 0
        assert (ports[1]["upcall_bytes"], ports[1]["upcall_quota_bytes"]) == (0, QUOTA)
        h1.send(udp_frame(2000, 0))
        wait_until(lambda: again.upcall_stats.waiting == 1, "one comes up")
    Datapath.delete(name)
