"""The tools under Open vSwitch's names, as scripts and init systems use them: started, configured, asked, ended."""

from __future__ import annotations

import os
import subprocess
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.datapaths import remove_all
from tests.lab import Host, Lab, patience, wait_until
from vswitch.cli import compat

Say = Callable[..., str]


@pytest.fixture
def say(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Say]:
    """Runs a line of shell with these tools first, and folders of the test's own for Open vSwitch's."""
    monkeypatch.setattr(compat, "_PLACES", ())
    compat.install(Namespace(prefix=str(tmp_path), uninstall=False))
    folders = dict.fromkeys(("OVS_RUNDIR", "OVS_DBDIR", "OVS_LOGDIR"), str(tmp_path / "there"))
    environment = {**os.environ, **folders, "PATH": f"{tmp_path}/bin:{os.environ['PATH']}"}

    def run(line: str) -> str:
        done = subprocess.run(
            line, shell=True, env=environment, capture_output=True, text=True, timeout=60 * patience(), check=False
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        return done.stdout

    yield run
    for name in ("ovs-vswitchd", "ovsdb-server"):
        if (tmp_path / "there" / f"{name}.pid").exists():
            run(f"ovs-appctl -t {name} exit")
            wait_until(lambda name=name: not (tmp_path / "there" / f"{name}.pid").exists(), "it ends", 20)  # type: ignore[misc]
    remove_all(lab.name)


_SERVER = """ovsdb-server $OVS_DBDIR/conf.db -vconsole:emer -vsyslog:err -vfile:info
    --remote=punix:$OVS_RUNDIR/db.sock --remote=db:Open_vSwitch,Open_vSwitch,manager_options
    --private-key=db:Open_vSwitch,SSL,private_key --no-chdir --log-file=$OVS_LOGDIR/ovsdb-server.log
    --pidfile=$OVS_RUNDIR/ovsdb-server.pid --detach"""
_DAEMON = """ovs-vswitchd unix:$OVS_RUNDIR/db.sock -vconsole:emer -vsyslog:err -vfile:info --mlockall --no-chdir
    --log-file=$OVS_LOGDIR/ovs-vswitchd.log --pidfile=$OVS_RUNDIR/ovs-vswitchd.pid --detach"""
STARTS = {
    "ovs-ctl": ("ovs-ctl --system-id=random --no-mlockall start", "ovs-ctl status"),
    "daemons": (
        "ovsdb-tool create $OVS_DBDIR/conf.db",
        " ".join(_SERVER.split()),
        "ovs-vsctl --no-wait init",
        "ovs-appctl -t ovsdb-server ovsdb-server/list-dbs | grep Open_vSwitch",
        " ".join(_DAEMON.split()),
    ),
}


@pytest.mark.parametrize("how", STARTS)
def test_a_machine_is_run_by_the_old_names(
    say: Say, lab: Lab, pair: tuple[Host, Host], tmp_path: Path, how: str
) -> None:
    one, two = pair
    (tmp_path / "there").mkdir()
    for line in STARTS[how]:
        say(line)
    say(f"ovs-vsctl add-br {lab.name} -- add-port {lab.name} {one.port} -- add-port {lab.name} {two.port}")
    assert one.ping(two.ip, count=2, interval_s=0.05).received == 2
    assert say(f"ovs-vsctl list-ports {lab.name}").split() == sorted([one.port, two.port])
    assert "actions=NORMAL" in say(f"ovs-ofctl dump-flows {lab.name}")
    assert " port  VLAN  MAC" in say(f"ovs-appctl -t ovs-vswitchd fdb/show {lab.name}")
    assert lab.name in say("ovs-dpctl dump-dps")
    assert one.port in say(f"ovsdb-client dump unix:{tmp_path}/there/db.sock Open_vSwitch Port name")
    assert "vlog" in say("/usr/bin/ovs-appctl -t ovs-vswitchd list-commands"), "Debian's finds it, too"
    say(f"ovs-vsctl del-br {lab.name}")
    if how == "ovs-ctl":
        say("ovs-ctl stop")
