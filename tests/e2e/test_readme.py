"""What README.md tells a user to paste works when it is pasted, block after block."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import Lab, patience, wait_until
from vswitch import Datapath

README = Path(__file__).parents[2] / "README.md"
BLOCKS = re.findall(r"^```(sh|python)\n(.*?)^```$", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


CONNECT = """import socket, sys
here = socket.socket()
here.settimeout(0.2)
here.bind(("10.0.0.1", 0))
here.connect_ex(("10.0.0.2", int(sys.argv[1])))
"""

_HOLD = "mkdir -p /run/netns; mount -t tmpfs none /run/netns && echo && exec cat"


class Terminal:
    """A shell as a user has it, with the programs of this Python first, and named network namespaces of its own."""

    def __init__(self, folder: Path) -> None:
        programs = folder / "bin"
        programs.mkdir()
        self._write(programs / "vswitch", f'#!/bin/sh\nexec {sys.executable} -m vswitch "$@"\n')
        self._write(programs / "python", f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        self._holder = subprocess.Popen(
            [
                "unshare",
                "--mount",
                "sh",
                "-c",
                "mkdir -p /run/netns; mount -t tmpfs none /run/netns && echo && exec cat",
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._holder.stdout
        assert self._holder.stdout.readline() == "\n"
        path, modules = f"{programs}:{os.environ['PATH']}", os.pathsep.join(filter(None, sys.path))
        self._environment = {**os.environ, "PATH": path, "PYTHONPATH": modules}

    @staticmethod
    def _write(path: Path, text: str) -> None:
        path.write_text(text)
        path.chmod(0o755)

    def start(self, *command: str) -> subprocess.Popen[str]:
        """A program, with its output in one."""
        return subprocess.Popen(
            ["nsenter", "--mount", "--root", "--wd", f"--target={self._holder.pid}", *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=self._environment,
        )

    def paste(self, block: str) -> str:
        """What a block of shell prints; none of its lines fails."""
        with self.start("sh", "-e", "-c", block) as process:
            try:
                output = process.communicate(timeout=60 * patience())[0]
            finally:
                process.kill()
        assert process.returncode == 0, f"{block}\n{output}"
        return output

    def close(self) -> None:
        self._holder.communicate()


@pytest.fixture
def terminal(lab: Lab, tmp_path: Path) -> Iterator[Terminal]:
    terminal = Terminal(tmp_path)
    yield terminal
    terminal.close()
    for name in {"sw0", "dp0"} & set(Datapath.list()):
        Datapath.delete(name)


def test_readme_works_when_pasted(terminal: Terminal) -> None:
    kinds, blocks = zip(*BLOCKS, strict=True)
    assert kinds == ("sh", "python", "sh", "python", "sh", "sh"), "another block in README.md: say here what it is"
    make_hosts, program, look, policy, dpctl, remove_hosts = blocks

    assert sum(1 for line in program.splitlines() if line) == 10
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
    terminal.paste(remove_hosts)
