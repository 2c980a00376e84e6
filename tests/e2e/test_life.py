"""The daemon started, asked, restarted and ended by commands, in a namespace of the switch."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import Lab, is_running, patience, wait_until
from tests.shell import ENVIRONMENT
from vswitch.cli.life import running_pid


class Machine:
    """`vswitch` with folders of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pid_file = folder / "run" / "vswitchd.pid"
        self.log = folder / "log" / "vswitchd.log"

    def __call__(self, *words: str, status: int = 0) -> str:
        places = {f"OVS_{name}DIR": str(self.folder / name.lower()) for name in ("RUN", "DB", "LOG")}
        done = subprocess.run(
            [sys.executable, "-m", "vswitch", *words], capture_output=True, text=True, check=False,
            timeout=60 * patience(), env={**os.environ, **ENVIRONMENT, **places},
        )  # fmt: skip
        assert done.returncode == status, done.stderr
        return done.stdout + done.stderr

    def appctl(self, *words: str) -> str:
        (control,) = (self.folder / "run").glob("vswitchd.*.ctl")
        return self("appctl", "-t", str(control), *words)


@pytest.fixture
def machine(lab: Lab, tmp_path: Path) -> Iterator[Machine]:
    assert lab
    found = Machine(tmp_path)
    yield found
    found("stop")


def test_the_daemon_is_started_asked_restarted_and_ended(machine: Machine) -> None:
    assert "vswitchd is not running" in machine("status", status=1)
    first = machine("start", "--system-id=one")
    pid = running_pid(machine.pid_file)
    assert first == f"vswitchd is running with pid {pid}\n" == machine("status")
    assert machine("start") == f"vswitchd is already running with pid {pid}\n"
    assert '"one"' in machine("ovsdb", "query", f"unix:{machine.folder}/run/db.sock",
                              '["Open_vSwitch",{"op":"select","table":"Open_vSwitch","where":[]}]')  # fmt: skip
    moved = machine.log.rename(machine.log.with_suffix(".1"))
    machine.appctl("vlog/reopen")
    assert moved.exists()
    assert machine.log.exists()
    assert "bridge            INFO       INFO        DBG" in _set_and_list(machine)
    machine("restart")
    second = running_pid(machine.pid_file)
    assert second not in (None, pid)
    assert pid is not None
    assert not is_running(pid)
    machine("stop")
    assert running_pid(machine.pid_file) is None
    assert machine("stop") == "vswitchd is not running\n"


def test_the_database_in_the_daemon_is_asked_at_its_control_socket(machine: Machine) -> None:
    machine("start")
    socket, more = (f"{machine.folder}/run/{name}.sock" for name in ("db", "more"))
    assert machine.appctl("ovsdb-server/list-dbs") == "Open_vSwitch\n_Server\n"
    machine.appctl("ovsdb-server/add-remote", f"punix:{more}")
    listed = machine.appctl("ovsdb-server/list-remotes").splitlines()
    assert listed == ["db:Open_vSwitch,Open_vSwitch,manager_options", f"punix:{socket}", f"punix:{more}"]
    assert "Open_vSwitch" in machine("ovsdb", "list-dbs", f"unix:{more}")
    machine.appctl("ovsdb-server/remove-remote", f"punix:{more}")
    assert more not in machine.appctl("ovsdb-server/list-remotes")
    machine.appctl("ovsdb-server/compact")
    assert machine.appctl("ovsdb-server/sync-status") == "state: active\n"
    (control,) = (machine.folder / "run").glob("vswitchd.*.ctl")
    for words, refusal in (
        (("remove-remote", "punix:/nowhere"), "no such remote"),
        (("compact", "nowhere"), "no database by that name"),
        (("add-remote", "foo:bar"), "foo"),
    ):
        said = machine("appctl", "-t", str(control), f"ovsdb-server/{words[0]}", words[1], status=1)
        assert refusal in said


def test_a_copy_of_the_database_that_was_made_while_it_was_served_restores_it(machine: Machine) -> None:
    machine("start", "--system-id=kept")
    database = machine.folder / "db" / "conf.db"
    copy = database.read_bytes()
    machine("restart", "--system-id=other")
    machine("stop")
    database.write_bytes(copy)
    machine("start")
    rows = machine("ovsdb", "query", f"unix:{machine.folder}/run/db.sock",
                   '["Open_vSwitch",{"op":"select","table":"Open_vSwitch","where":[]}]')  # fmt: skip
    assert '"kept"' in rows
    assert '"other"' not in rows


def _set_and_list(machine: Machine) -> str:
    machine.appctl("vlog/set", "bridge:file:dbg")
    return machine.appctl("vlog/list")


def test_the_pid_file_of_a_killed_daemon_means_nothing(machine: Machine) -> None:
    machine("start")
    pid = running_pid(machine.pid_file)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: running_pid(machine.pid_file) is None, "the lock is gone", 10)
    assert machine.pid_file.read_text() == f"{pid}\n"
    assert "is not running" in machine("status", status=1)
    assert "is running with pid" in machine("start")


def test_a_daemon_that_cannot_start_says_why_and_is_no_success(machine: Machine) -> None:
    (machine.folder / "db").mkdir()
    (machine.folder / "db" / "conf.db").write_text("this is no database\n")
    said = machine("start", status=1)
    assert "conf.db" in said
    assert "did not start" in said
    assert running_pid(machine.pid_file) is None
