"""What README.md tells a user to paste works when it is pasted, block after block."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.lab import Lab, patience, wait_until
from tests.terminal import Terminal
from vswitch import Datapath

README = Path(__file__).parents[2] / "README.md"
BLOCKS = re.findall(r"^```(sh|python)\n(.*?)^```$", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


CONNECT = """import socket, sys
here = socket.socket()
here.settimeout(0.2)
here.bind(("10.0.0.1", 0))
here.connect_ex(("10.0.0.2", int(sys.argv[1])))
"""


@pytest.fixture
def terminal(lab: Lab, tmp_path: Path) -> Iterator[Terminal]:
    terminal = Terminal(tmp_path)
    yield terminal
    terminal.close()
    for name in {"sw0", "dp0", "br0", "br1", "br2"} & set(Datapath.list()):
        Datapath.delete(name)


def test_readme_works_when_pasted(terminal: Terminal) -> None:
    kinds, blocks = zip(*BLOCKS, strict=True)
    expected = ("sh", "python", "sh", "python", "sh", "sh", "sh", "python", "sh", "sh", "sh")
    assert kinds == expected, "another block in README.md: say here what it is"
    make_hosts, program, look, policy, dpctl, run, ofctl, bridge, *daemon, remove_hosts = blocks

    assert sum(1 for line in program.splitlines() if line) == 11
    terminal.paste(make_hosts)
    with terminal.start("python", "-c", program) as process:
        try:
            wait_until(lambda: "sw0" in Datapath.list() or process.poll() is not None, "the program runs", 20)
            assert process.poll() is None, process.communicate()[0]
            output = terminal.paste(look)
            assert "3 packets transmitted, 3 received" in output
            assert re.search(r"in_port\(\w+\),eth\(.*actions:(2|veth2)\b", output)
            assert re.search(r"priority\(10\),.*tcp\(dst=80\).*actions:(3|veth3)\b", output)
        finally:
            process.send_signal(signal.SIGINT)
            last_words = process.communicate(timeout=20 * patience())[0]
    assert last_words.endswith("KeyboardInterrupt\n")
    assert "sw0" not in Datapath.list()

    assert "dp0" not in Datapath.list()
    process = terminal.start("python", "-c", policy)
    try:
        wait_until(lambda: "dp0" in Datapath.list(), "the policy's switch is there", 20 * patience())
        time.sleep(0.5)
        for port in (80, 443):
            terminal.paste(f"ip netns exec h1 python -c '{CONNECT}' {port}")
        output = terminal.paste("vswitch dpctl dump-flows dp0")
        assert re.search(r"tcp\(dst=80\).*packets:\d+.*actions:(3|veth3)\b", output)
        assert re.search(r"tcp\(dst=256/0xff00\).*actions:drop\b", output)
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20 * patience())

    output = terminal.paste(dpctl)
    assert "3 packets transmitted, 3 received" in output
    assert re.search(r"in_port\(\w+\).*packets:[1-9]", output)
    assert "dp0" not in Datapath.list()

    with until_interrupted(terminal.start(*run.split())) as process:
        assert process.stdout
        assert "is running" in process.stdout.readline()
        output = terminal.paste(ofctl)
        assert "3 packets transmitted, 3 received" in output
        assert re.search(r"n_packets=[1-9].* priority=1 actions=NORMAL", output)
    with until_interrupted(terminal.start("python", "-u", "-c", bridge)) as process:
        wait_until(lambda: "br1" in Datapath.list(), "the bridge is there", 20 * patience())
        time.sleep(0.5)
        terminal.paste(f"ip netns exec h1 python -c '{CONNECT}' 80")
        assert process.stdout
        assert process.stdout.readline().startswith("FlowMatch(in_port='1')")
    assert not {"br0", "br1"} & set(Datapath.list())

    configure, stop = daemon
    try:
        output = terminal.paste(configure)
        assert "3 packets transmitted, 3 received" in output
        assert re.search(r"Bridge br2\n", output)
        assert re.search(r"Port veth3\n\s+tag: 7\n", output)
        assert re.search(r"LOCAL|\s1\s+0\s+[0-9a-f:]{17}", output)
    finally:
        terminal.paste(stop)
    assert "br2" not in Datapath.list()
    terminal.paste(remove_hosts)


@contextmanager
def until_interrupted(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20 * patience())
    assert process.returncode == 0
