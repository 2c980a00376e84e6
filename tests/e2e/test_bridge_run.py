"""`vswitch run` as users run it, with ovs-ofctl at its management socket."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.datapaths import pinging
from tests.lab import Host, LabError, patience, wait_until
from tests.running import Running
from vswitch import Datapath

Hosts = tuple[Host, Host, Host]


@pytest.fixture
def ports(hosts: Hosts) -> list[str]:
    """Words for ports 1 to 3."""
    return [word for host in hosts for word in ("--port", host.port)]


@pytest.fixture
def running(name: str, tmp_path: Path, ports: list[str]) -> Iterator[Running]:
    """All three hosts, and no flow."""
    with closing(Running(name, tmp_path, *ports, "--no-local", "--fail-mode", "secure")) as running:
        yield running
        assert running.process.poll() is None, running.said()
        assert "Traceback" not in running.said()


def reaches(one: Host, other: Host, count: int = 3) -> bool:
    return one.ping(other.ip, count=count, interval_s=0.05).received == count


@pytest.mark.parametrize(
    "version", ["OpenFlow10", "OpenFlow11", "OpenFlow12", "OpenFlow13", "OpenFlow14", "OpenFlow15"]
)
def test_flows_of_every_version_forward(running: Running, hosts: Hosts, version: str) -> None:
    one, two, three = hosts
    assert not one.ping(two.ip, count=1).received
    for number, host in enumerate(hosts, 1):
        running.ofctl("add-flow", f"priority=7,dl_dst={host.mac},actions=output:{number}", version=version)
    assert reaches(one, two)
    assert reaches(three, one)
    dump = running.ofctl("dump-flows", version=version)
    counted = [int(count) for count in re.findall(r"n_packets=(\d+)", dump)]
    assert len(counted) == 3
    assert sum(counted) >= 12
    running.ofctl("del-flows", version=version)
    assert not one.ping(two.ip, count=1).received
    assert "n_packets" not in running.ofctl("dump-flows", version=version)


def test_normal_forwards_and_counts(running: Running, hosts: Hosts) -> None:
    one, two, _ = hosts
    running.ofctl("add-flow", "actions=normal")
    url = two.serve_http(content="normal")
    assert one.curl(url) == "normal"
    ports = running.ofctl("dump-ports", "1")
    assert int(re.search(r"rx pkts=(\d+)", ports)[1]) > 4  # type: ignore[index]


def test_bundles_are_done_whole(running: Running, hosts: Hosts, tmp_path: Path) -> None:
    one, two, _ = hosts
    flows = tmp_path / "flows.txt"
    flows.write_text("".join(f"dl_dst={host.mac},actions=output:{number}\n" for number, host in enumerate(hosts, 1)))
    running.ofctl("add-flows", str(flows), "--bundle", version="OpenFlow14")
    assert reaches(one, two)


def test_a_rule_set_is_replaced_under_traffic_without_a_lost_packet(
    running: Running, hosts: Hosts, tmp_path: Path
) -> None:
    one, two, _ = hosts
    for table in (1, 2):
        lines = [f"table=0,priority=5,actions=resubmit(,{table})\n", *(
            f"table={table},dl_dst={host.mac},actions=output:{number}\n" for number, host in enumerate(hosts, 1)
        )]  # fmt: skip
        (tmp_path / f"flows{table}.txt").write_text("".join(lines))
    running.ofctl("replace-flows", str(tmp_path / "flows1.txt"))
    with pinging(one, two.ip, interval_s=0.005) as seen:
        for turn in range(6):
            running.ofctl("replace-flows", str(tmp_path / f"flows{turn % 2 + 1}.txt"), "--bundle", version="OpenFlow14")
            time.sleep(0.1)
    assert seen.sent > 50
    assert not seen.lost


def test_packets_are_sent_out(running: Running, hosts: Hosts) -> None:
    data = "02000000000202000000000188b5" + "00" * 46
    with hosts[1].capturing(lambda frame: frame[12:14] == b"\x88\xb5") as frames:
        running.ofctl("packet-out", f"in_port=1,packet={data},actions=output:2")
        assert frames.wait_for(1) == [bytes.fromhex(data)]


def test_refusals_name_their_reason(running: Running) -> None:
    with pytest.raises(LabError, match="OFPBAC_BAD_OUT_GROUP"):
        running.ofctl("add-flow", "actions=group:9")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_and_nothing_is_left(
    name: str, tmp_path: Path, ports: list[str], number: signal.Signals
) -> None:
    running = Running(name, tmp_path, *ports)
    assert name in Datapath.list()
    assert running.end(number) == 0
    assert name not in Datapath.list()
    assert not list(tmp_path.glob("*.mgmt"))


def test_kept_megaflows_forward_and_the_next_run_takes_them_over(
    name: str, tmp_path: Path, ports: list[str], hosts: Hosts
) -> None:
    one, two, _ = hosts
    words = (*ports, "--no-local", "--fail-mode", "secure", "--keep", "--restore", "5")
    with closing(Running(name, tmp_path, *words)) as first:
        first.ofctl("add-flow", "actions=normal")
        with pinging(one, two.ip, interval_s=0.01) as seen:
            time.sleep(0.3)
            assert first.end() == 0
            time.sleep(0.5)
            with closing(Running(name, tmp_path, *words)) as second:
                time.sleep(0.5)
                assert "actions" not in second.ofctl("dump-flows")
                second.ofctl("add-flow", "actions=normal")
                wait_until(lambda: "are gone" in second.said(), "megaflows of the first are gone")
                time.sleep(0.3)
                assert second.end() == 0
        assert seen.sent > 50
        assert not seen.lost
    Datapath.delete(name)


def test_a_killed_switch_leaves_traffic_flowing(name: str, tmp_path: Path, ports: list[str], hosts: Hosts) -> None:
    one, two, _ = hosts
    with closing(Running(name, tmp_path, *ports, "--no-local", "--keep")) as running:
        assert reaches(one, two)
        with pinging(one, two.ip, interval_s=0.01) as seen:
            running.process.kill()
            running.process.wait()
            time.sleep(1)
        assert seen.sent > 50
        assert not seen.lost


def test_words_that_cannot_be_are_refused_in_one_sentence(name: str) -> None:
    for words, problem in [
        (["--controller", "ptcp:1"], "connected to"),
        (["--listen", "tcp:1.2.3.4"], "listened at"),
        (["--datapath-id", "xyz"], "no hexadecimal number"),
        (["--protocols", "OpenFlow99"], "none of OpenFlow10"),
        (["--port", "nothing-there"], "nothing-there"),
        (["--ca-cert", "x.pem"], "all or none"),
    ]:
        line = [sys.executable, "-m", "vswitch", "run", name, *words]
        result = subprocess.run(line, capture_output=True, text=True, timeout=30 * patience(), check=False)
        assert result.returncode in (1, 2)
        assert problem in result.stderr
        assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    assert name not in Datapath.list()
