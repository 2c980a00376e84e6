"""The tools under Open vSwitch's names: written, run, removed; never where there are others."""

from __future__ import annotations

import subprocess
from argparse import Namespace
from pathlib import Path

import pytest

from vswitch.base.errors import ConfigError
from vswitch.cli import compat
from vswitch.cli.arguments import UsageError
from vswitch.cli.borrowed import translated, translated_life


@pytest.fixture(autouse=True)
def no_others(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """This machine may have Open vSwitch."""
    monkeypatch.setattr(compat, "_PLACES", (str(tmp_path / "usr"),))


def test_tools_are_written_run_and_removed(tmp_path: Path) -> None:
    compat.install(Namespace(prefix=str(tmp_path), uninstall=False))
    compat.install(Namespace(prefix=str(tmp_path), uninstall=False))  # once more
    other = tmp_path / "bin" / "other"
    other.write_text("")
    done = subprocess.run(
        [tmp_path / "bin" / "ovs-ofctl", "--help"], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.startswith("usage: vswitch ofctl")
    compat.install(Namespace(prefix=str(tmp_path), uninstall=True))
    assert list((tmp_path / "bin").iterdir()) == [other]


@pytest.mark.parametrize("place", ["bin", "usr"])
def test_nothing_is_written_where_there_are_others(tmp_path: Path, place: str) -> None:
    theirs = tmp_path / place / "ovsdb-tool"
    theirs.parent.mkdir()
    theirs.write_text("theirs")
    with pytest.raises(ConfigError, match=r"ovsdb-tool is not vswitch's"):
        compat.install(Namespace(prefix=str(tmp_path), uninstall=False))
    compat.install(Namespace(prefix=str(tmp_path), uninstall=True))
    assert theirs.read_text() == "theirs"
    assert not (tmp_path / "bin" / "ovs-ofctl").exists()


@pytest.mark.parametrize(
    ("name", "line", "becomes", "said"),
    [
        ("ovs-vswitchd", "", "vswitchd", 0),
        ("ovs-vswitchd", "unix:db.sock --pidfile --detach", "vswitchd --detach --db=unix:db.sock", 0),
        ("ovs-vswitchd", "--pidfile=/run/x.pid", "vswitchd", 1),
        ("ovs-vswitchd", "-v -vfile:info --verbose=dbg", "vswitchd --verbose=dbg --verbose=file:info --verbose=dbg", 0),
        ("ovs-vswitchd", "--monitor --log-file=a.log", "vswitchd --log-file=a.log", 1),
        ("ovs-vswitchd", "--log-file unix:s", "vswitchd --log-file=/logs/ovs-vswitchd.log --db=unix:s", 0),
        ("ovsdb-server", "--log-file a.db", "ovsdb server --log-file=/logs/ovsdb-server.log a.db", 0),
        ("ovs-vswitchd", "--private-key=db:Open_vSwitch,SSL,private_key", "vswitchd", 1),
        (
            "ovsdb-server",
            "a.db --remote=punix:s --remote db:A,B,c",
            "ovsdb server --remote=punix:s --remote=db:A,B,c a.db",
            0,
        ),
        ("ovsdb-server", "--user openvswitch:hugetlbfs a.db b.db", "ovsdb server a.db b.db", 1),
    ],
)
def test_their_command_lines_become_ours(name: str, line: str, becomes: str, said: int) -> None:
    words, remarks = translated(name, line.split(), "/logs")
    assert " ".join(words) == becomes
    assert len(remarks) == said


@pytest.mark.parametrize(
    ("name", "line", "problem"),
    [
        ("ovs-vswitchd", "--dpdk", "option --dpdk is not understood"),
        ("ovs-vswitchd", "unix:a unix:b", "2 databases are given, unix:a, unix:b"),
        ("ovs-vswitchd", "--remote=punix:s", "option --remote=punix:s is not understood"),
        ("ovsdb-server", "--remote", "option --remote needs a value"),
        ("ovsdb-server", "--sync-from=tcp:1.2.3.4:6640", "is not understood"),
    ],
)
def test_what_is_not_understood_is_refused(name: str, line: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        translated(name, line.split(), "/logs")


@pytest.mark.parametrize(
    ("line", "becomes", "said"),
    [
        ("start --system-id=random", "start --system-id=random", 0),
        ("--system-id=random --no-mlockall --db-file=/x start", "start --system-id=random --db-file=/x", 1),
        ("--system-id=random stop", "stop", 0),
        ("status", "status", 0),
    ],
)
def test_options_of_ovs_ctl_may_come_first(line: str, becomes: str, said: int) -> None:
    words, remarks = translated_life(line.split())
    assert " ".join(words) == becomes
    assert len(remarks) == said


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("", "nothing is none of the commands start, "),
        ("start stop", "start stop is none"),
        ("load-kmod", "load-kmod is none"),
        ("start --delete-bridges", "option --delete-bridges is not understood"),
    ],
)
def test_what_ovs_ctl_does_not_know_is_refused(line: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        translated_life(line.split())
