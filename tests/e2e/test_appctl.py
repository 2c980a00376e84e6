"""Debian's ovs-appctl at the control socket of `vswitch run`, which takes it for a daemon of Open vSwitch."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.bridges import serving
from tests.lab import Host, LabError, patience, wait_until
from tests.running import Running
from vswitch import Bridge, Datapath
from vswitch.bridge.pidfile import pid_file

FLOWS = ("priority=9,tcp,tcp_dst=80,actions=goto_table:1", "table=1,actions=normal")


WORDS = ("--simulate", "--port", "p1", "--port", "p2", "--fail-mode", "secure")


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with Running("br0", tmp_path_factory.mktemp("run"), *WORDS) as running:
        for flow in FLOWS:
            running.ofctl("add-flow", flow)
        yield running


def test_it_lists_what_there_is_and_traces(simulated: Running) -> None:
    listed = simulated.appctl("list-commands")
    assert {"ofproto/trace", "fdb/show", "exit"} <= set(re.findall(r"^  (\S+)", listed, re.MULTILINE))
    text = simulated.appctl("ofproto/trace", "br0", "in_port=1,tcp,tcp_dst=80,dl_dst=02:00:00:00:00:02", "-generate")
    assert " 0. tcp,tp_dst=80, priority 9\n    goto_table:1\n 1. priority 32768\n    NORMAL\n" in text
    assert text.endswith("Datapath actions: 2\n")
    assert "n_packets=0" in simulated.ofctl("dump-flows")
    assert simulated.appctl("fdb/show", "br0").count("\n") == 1


def test_refusals_fail_it(simulated: Running) -> None:
    with pytest.raises(LabError, match='"nope" is not a valid command'):
        simulated.appctl("nope")
    with pytest.raises(LabError, match="br1: unknown bridge"):
        simulated.appctl("ofproto/trace", "br1", "in_port=1")


def test_each_command_that_is_listed_answers_or_says_what_it_needs(simulated: Running) -> None:
    for line in simulated.appctl("list-commands").splitlines()[1:]:
        name, _, usage = line.strip().partition(" ")
        if name == "exit":
            continue
        words = ["br0"] if usage.strip() in ("bridge", "[bridge]") else []
        if usage.strip().startswith(("{", "[-consistent]", "[-m] [--names | --no-names] b", "bridge ", "COUNTER")):
            with pytest.raises(LabError, match="requires at least"):
                simulated.appctl(name)
        else:
            simulated.appctl(name, *words)


def test_exit_ends_the_switch(tmp_path: Path) -> None:
    with closing(Running("br1", tmp_path, *WORDS)) as running:
        assert running.appctl("exit") == ""
        assert running.process.wait(20 * patience()) == 0
        assert not running.control.exists()


def test_it_is_found_by_name_as_daemons_of_open_vswitch_are(tmp_path: Path) -> None:
    environment = {**os.environ, "OVS_RUNDIR": str(tmp_path)}
    with ExitStack() as stack:
        path = stack.enter_context(pid_file(tmp_path, "br9"))
        stack.enter_context(serving(stack.enter_context(Bridge.simulate(2, name="br9", control=f"punix:{path}"))))
        command = ["ovs-appctl", "-t", "br9", "ofproto/list"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
        assert (done.stdout, done.stderr) == ("br9\n", "")


def test_what_packets_brought_is_shown_and_exit_may_clean_up(
    name: str, tmp_path: Path, hosts: tuple[Host, Host, Host]
) -> None:
    one, two, _ = hosts
    words = [word for host in hosts for word in ("--port", host.port)]
    with Running(name, tmp_path, *words, "--no-local", "--fail-mode", "secure", "--keep") as running:
        running.ofctl("add-flow", "actions=normal")
        assert one.ping(two.ip, count=2, interval_s=0.1).received == 2
        shown = running.appctl("fdb/show", name)
        assert re.search(rf"^    1     0  {one.mac}    \d$", shown, re.MULTILINE)
        assert re.search(rf"^    2     0  {two.mac}    \d$", shown, re.MULTILINE)
        assert "actions:2" in running.appctl("dpctl/dump-flows")
        assert f"({one.port})" not in running.appctl("dpif/show")
        assert f"    {one.port} 1/1: (system)\n" in running.appctl("dpif/show")
        running.ofctl("del-flows")
        wait_until(lambda: "(current 0)" in running.appctl("upcall/show"), "the megaflows are withdrawn")
        assert "(withdrawn 0)" not in running.appctl("upcall/show").splitlines()[-1]
        running.appctl("exit", "--cleanup")
        assert running.process.wait(20 * patience()) == 0
    assert name not in Datapath.list()
