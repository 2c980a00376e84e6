"""A switch that is killed and started again: what forwards, until controllers have loaded the flows."""

from __future__ import annotations

import signal
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.datapaths import pinging
from tests.lab import Host, LabError, wait_until
from tests.running import Running
from vswitch import Datapath

Hosts = tuple[Host, Host, Host]


@pytest.fixture
def words(hosts: Hosts) -> list[str]:
    return [*(word for host in hosts for word in ("--port", host.port)), "--no-local", "--fail-mode", "secure"]


def load(running: Running, hosts: Hosts) -> None:
    """Flows by which all reach each other, each in a connection of its own, with a barrier behind it."""
    running.ofctl("add-flow", "table=0,priority=1,actions=resubmit(,1)")
    for number, host in enumerate(hosts, 1):
        time.sleep(0.2)
        running.ofctl("add-flow", f"table=1,priority=7,dl_dst={host.mac},actions=output:{number}")


def reaches(one: Host, other: Host, count: int = 3) -> bool:
    return one.ping(other.ip, count=count, interval_s=0.05).received == count


@pytest.mark.parametrize("keep", [["--keep"], []], ids=["kept", "not kept"])
def test_no_ping_is_lost_from_its_death_until_the_flows_are_loaded_anew(
    name: str, tmp_path: Path, words: list[str], hosts: Hosts, keep: list[str]
) -> None:
    one, two, three = hosts
    with closing(Running(name, tmp_path, *words, *keep)) as first:
        load(first, hosts)
        assert reaches(one, two)
        with pinging(one, two.ip, interval_s=0.01) as seen:
            time.sleep(0.3)
            first.process.kill()
            first.process.wait()
            time.sleep(0.5)
            with closing(Running(name, tmp_path, *words, *keep, "--restore", "20")) as second:
                three.ping(two.ip, count=2, interval_s=0.05)  # which no flow takes yet, nor any megaflow
                one.ping(three.ip, count=2, interval_s=0.05)
                time.sleep(0.5)
                load(second, hosts)
                wait_until(lambda: "are gone" in second.said(), "megaflows of the first are gone", 25)
                time.sleep(0.5)
                assert second.process.poll() is None
                assert reaches(three, one)
                assert "Traceback" not in second.said()
                sent, flows = seen, second.ofctl("dump-flows")
                assert f"dl_dst={two.mac}" in flows
    assert sent.sent > 100
    assert not sent.lost


def test_a_start_that_fails_leaves_what_forwards_alone(
    name: str, tmp_path: Path, words: list[str], hosts: Hosts
) -> None:
    one, two, _ = hosts
    with closing(Running(name, tmp_path, *words)) as first:
        load(first, hosts)
        assert reaches(one, two)
        with pinging(one, two.ip, interval_s=0.01) as seen:
            first.process.kill()
            first.process.wait()
            with pytest.raises(LabError, match="nothing-there"):
                Running(name, tmp_path, *words, "--port", "nothing-there")
            assert name in Datapath.list()
    assert seen.sent > 20
    assert not seen.lost


def test_one_that_runs_is_not_taken_over(name: str, tmp_path: Path, words: list[str], hosts: Hosts) -> None:
    one, two, _ = hosts
    with closing(Running(name, tmp_path, *words)) as first:
        load(first, hosts)
        with pinging(one, two.ip, interval_s=0.01) as seen, pytest.raises(LabError, match="another process"):
            Running(name, tmp_path, *words, "--management", "none")
        assert first.end() == 0
    assert seen.sent > 20
    assert not seen.lost
    assert name not in Datapath.list()


def test_what_was_taken_over_is_removed_at_the_end(name: str, tmp_path: Path, words: list[str], hosts: Hosts) -> None:
    with closing(Running(name, tmp_path, *words)) as first:
        first.process.kill()
        first.process.wait()
    with closing(Running(name, tmp_path, *words)) as second:
        assert second.end(signal.SIGTERM) == 0
    assert name not in Datapath.list()
