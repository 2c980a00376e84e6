"""Completion: what may come next, and the scripts by which shells ask."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from vswitch import Datapath, PrivilegeError
from vswitch.cli.completion import candidates
from vswitch.cli.dpctl.table import DPCTL
from vswitch.cli.main import main
from vswitch.cli.table import SHELLS, VSWITCH

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for folder, bridge in (("VSWITCH_RUNDIR", "br0"), ("OVS_RUNDIR", "br1")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"{bridge}.mgmt").touch()
        monkeypatch.setenv(folder, str(tmp_path / folder))
    monkeypatch.setattr(Datapath, "list", lambda: ["dp0", "dp1"])
    monkeypatch.setattr(socket, "if_nameindex", lambda: [(1, "lo"), (2, "veth1"), (3, "veth2")])


def words(line: str) -> list[str]:
    """What may stand where `|` is."""
    return [word for word, _ in candidates(VSWITCH, line.rstrip("|").split(" "))]


COMMON = ["-m", "--more", "--names", "--no-names"]
LINES = [
    (
        "|",
        [
            "dpctl",
            "run",
            "vswitchd",
            "start",
            "stop",
            "restart",
            "status",
            "force-reload-kmod",
            "install-compat",
            "ofctl",
            "appctl",
            "ovsdb",
            "vsctl",
            "explain",
            "demo",
            "completion",
        ],
    ),
    ("d|", ["dpctl", "demo"]),
    ("--v|", []),
    ("nope |", []),
    ("dpctl |", list(DPCTL.by_name)),
    ("dpctl d|", ["del-dp", "dump-dps", "del-if", "del-flow", "del-flows", "dump-flows", "del-meter", "dump-meters"]),
    ("dpctl --names dump-f|", ["dump-flows"]),
    ("dpctl -|", [*COMMON, "-s", "--statistics", "--help"]),
    ("dpctl nope |", []),
    ("dpctl del-dp |", ["dp0", "dp1"]),
    ("dpctl del-dp dp0 |", []),
    ("dpctl show dp0 dp1 d|", ["dp0", "dp1"]),
    ("dpctl show -|", ["-s", "--statistics", "--json", *COMMON, "--help"]),
    ("dpctl add-if dp0 veth1 v|", ["veth1", "veth2"]),
    ("dpctl add-dp new |", ["lo", "veth1", "veth2"]),
    ("dpctl add-dp --max-fl|", ["--max-flows"]),
    ("dpctl add-dp --max-flows |", []),
    ("dpctl add-dp --max-flows 9 d|", ["dp0", "dp1"]),
    ("dpctl add-dp --no-local d|", ["dp0", "dp1"]),
    ("dpctl add-flow |", ["dp0", "dp1"]),
    ("dpctl add-flow dp0 |", []),
    ("dpctl add-flows |", ["dp0", "dp1", ":files"]),
    ("dpctl add-flows dp0 |", [":files"]),
    ("dpctl add-flows dp0 a |", []),
    ("dpctl dump-flows --j|", ["--json"]),
    ("run br0 --port v|", ["veth1", "veth2"]),
    ("run br0 --controller |", []),
    ("run br0 --controller tcp:127.0.0.1 --fail-mode |", ["standalone", "secure"]),
    ("ofctl -O OpenFlow13 dump-f|", ["dump-flows"]),
    ("ofctl dump-flows |", ["br0", "br1"]),
    ("ofctl dump-flows br0 |", []),
    ("ofctl add-flows br0 |", [":files"]),
    ("appctl --f|", ["--format"]),
    ("appctl -f |", ["text", "json"]),
    ("completion |", ["bash", "zsh", "fish"]),
    ("vsctl add-b|", ["add-br", "add-bond", "add-bond-iface"]),
    ("vsctl --db unix:x --if|", ["--if-exists"]),
    ("completion z|", ["zsh"]),
]


@pytest.mark.parametrize(("line", "expected"), LINES, ids=[line for line, _ in LINES])
def test_what_may_come_next(line: str, expected: list[str]) -> None:
    assert words(line) == expected


def test_every_candidate_means_something() -> None:
    for name, command in DPCTL.by_name.items():
        assert (name, command.summary) in candidates(VSWITCH, ["dpctl", ""])
        assert all(meaning for _, meaning in candidates(VSWITCH, ["dpctl", name, "-"]))


def test_no_datapath_is_offered_to_whom_the_kernel_tells_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> list[str]:
        raise PrivilegeError("not root")

    monkeypatch.setattr(Datapath, "list", refuse)
    assert words("dpctl del-dp |") == []


@pytest.mark.parametrize("shell", SHELLS)
def test_script_is_printed_and_asks_the_program(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert "completion --words" in script
    assert f"vswitch completion {shell}" in script


def test_program_answers_a_line_for_each_candidate(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "--words", "dpctl", "dump-f"]) == 0
    assert capsys.readouterr().out == "dump-flows\tprint the megaflows\n"


BASH_LINES = [
    ("vswitch dpctl dump-", "dump-dps dump-flows dump-meters"),
    ("vswitch dpctl show --j", "--json"),
    ("vswitch compl", "completion"),
    ("vswitch dpctl add-flows dp0 py", "pyproject.toml"),
]


@pytest.mark.parametrize(("line", "expected"), BASH_LINES, ids=[line for line, _ in BASH_LINES])
def test_bash_completes(line: str, expected: str, tmp_path: Path) -> None:
    """In a real bash, with the variables that it sets for a completion."""
    program = tmp_path / "vswitch"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m vswitch "$@"\n')
    program.chmod(0o755)
    script = (
        f"source <(vswitch completion bash); COMP_WORDS=({line}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); "
        "_vswitch; echo ${COMPREPLY[@]}; complete -p vswitch"
    )
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT / "src")}
    result = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, timeout=60, env=environment, cwd=ROOT, check=True
    )
    assert result.stdout.splitlines() == [expected, "complete -F _vswitch vswitch"]
