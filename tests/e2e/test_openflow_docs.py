"""What docs/openflow-switch.md tells a user to paste works when it is pasted, block after block."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.lab import Lab, patience, wait_until
from tests.terminal import Terminal
from vswitch import Datapath

PAGE = (Path(__file__).parents[2] / "docs" / "openflow-switch.md").read_text(encoding="utf-8")
SHELL = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
PROGRAMS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
(CONTROLLER,) = (program for program in PROGRAMS if "os_ken" in program)
NAME = "br0"
THREE_CAME = "3 packets transmitted, 3 received"


@pytest.fixture
def terminal(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    monkeypatch.chdir(tmp_path)
    terminal = Terminal(tmp_path)
    yield terminal
    terminal.close()
    if NAME in Datapath.list():
        Datapath.delete(NAME)


@contextmanager
def running(terminal: Terminal, block: str, end: signal.Signals) -> Iterator[subprocess.Popen[str]]:
    """A block that runs until that signal."""
    process = terminal.start(*block.split())
    try:
        yield process
    finally:
        process.send_signal(end)
        process.communicate(timeout=20 * patience())


@contextmanager
def switch(terminal: Terminal, block: str) -> Iterator[subprocess.Popen[str]]:
    with running(terminal, block, signal.SIGINT) as process:
        assert process.stdout is not None
        wait_until(lambda: "is running" in process.stdout.readline(), "the switch runs", 30)  # type: ignore[union-attr]
        yield process
    assert NAME not in Datapath.list()


def test_the_page_works_when_pasted(terminal: Terminal, tmp_path: Path) -> None:
    make_hosts, run, flows, look, bundle, ask, run_with_vlans, vlans, *rest = SHELL
    controller, run_with_controller, again, remove_hosts = rest
    terminal.paste(make_hosts)
    with switch(terminal, run):
        output = terminal.paste(flows)
        assert THREE_CAME in output
        assert "tp_dst=80 actions=output:veth3" in output
        output = terminal.paste(look)
        assert re.search(r"n_packets=[1-9].*,icmp actions=goto_table:1", output)
        assert "rx pkts=" in output
        assert re.search(r"in_port\(1\).*ipv4\(.*proto=1.*actions:2", output)
        assert THREE_CAME in terminal.paste(bundle)
        output = terminal.paste(ask)
        assert output.startswith("Flow: tcp,in_port=1,")
        assert '"datapath_actions": "meter(' in output
        assert len(re.findall(r"^    [13]     0  ..:..:..:..:..:..  +\d+$", output, re.MULTILINE)) >= 2
        assert "table_id=1, duration=" in output
        assert re.search(r"  last change   : \(affected \d+\) \(looked at \d+\) \(withdrawn \d+\)", output)
        assert re.search(r"Current/maximum MAC entries in the table: [2-9]/8192", output)
    with switch(terminal, run_with_vlans):
        output = terminal.paste(vlans)
        assert THREE_CAME in output
        assert re.search(r"^    1    10  ", output, re.MULTILINE)
        assert output.endswith("Datapath actions: 2,push_vlan(vid=10,pcp=0),3\n"), "the local port is down"
    (tmp_path / "learning.py").write_text(CONTROLLER)
    with running(terminal, controller, signal.SIGKILL), switch(terminal, run_with_controller):
        wait_until(lambda: "CONTROLLER" in terminal.paste(again.splitlines()[1]), "the controller is connected", 30)
        output = terminal.paste(again)
        assert THREE_CAME in output
        assert re.search(r"n_packets=[1-9].*priority=1,in_port=1,dl_src=.* actions=output:2", output)
    terminal.paste(remove_hosts)
