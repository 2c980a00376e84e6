"""An Open vSwitch for tests, of which nobody else on the machine knows: no kernel module, no devices, no root.

Its bridge is of the datapath type "dummy", which is memory alone. Database, sockets and logs lie in the folder that it
is given.

Invariant: `close` has ended both daemons, by their pids.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tests.lab import patience, wait_until

SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")
BRIDGE = "br0"
_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
_END_S = 10.0


class Result(NamedTuple):
    status: int
    out: str
    err: str


class OpenVswitch:
    """One bridge with ports p1, p2, ... (numbers 1, 2, ...), speaking all versions of OpenFlow."""

    def __init__(self, folder: Path, ports: int = 3) -> None:
        assert shutil.which("ovs-vswitchd", path=_PATH), "openvswitch-switch is not installed (scripts/setup)"
        self.folder = folder
        self.environment = {
            **os.environ, "PATH": _PATH, "LC_ALL": "C",
            **{f"OVS_{name}DIR": str(folder) for name in ("RUN", "LOG", "DB", "SYSCONF")},
        }  # fmt: skip
        self._processes: list[subprocess.Popen[bytes]] = []
        try:
            self._start(ports)
        except BaseException:
            self.close()
            raise

    def _start(self, ports: int) -> None:
        self.run("ovsdb-tool", "create", str(self.folder / "conf.db"), str(SCHEMA))
        socket, control = self.folder / "db.sock", self.folder / "vswitchd.ctl"
        self._spawn("ovsdb-server", str(self.folder / "conf.db"), f"--remote=punix:{socket}",
                    f"--unixctl={self.folder / 'ovsdb.ctl'}")  # fmt: skip
        wait_until(socket.exists, "ovsdb-server's socket", 10)
        self.vsctl("--no-wait", "init")
        self._spawn("ovs-vswitchd", f"unix:{socket}", f"--unixctl={control}", "--disable-system", "--enable-dummy")
        wait_until(control.exists, "ovs-vswitchd's socket", 10)
        versions = ",".join(f"OpenFlow1{minor}" for minor in range(6))
        words = ["add-br", BRIDGE, "--", "set", "bridge", BRIDGE, "datapath_type=dummy", "fail_mode=secure",
                 f"protocols={versions}"]  # fmt: skip
        for number in range(1, ports + 1):
            words += ["--", "add-port", BRIDGE, f"p{number}", "--", "set", "interface", f"p{number}", "type=dummy",
                      f"ofport_request={number}"]  # fmt: skip
        self.vsctl(*words)

    def _spawn(self, program: str, *arguments: str) -> None:
        log = [f"--log-file={self.folder / program}.log", "-vconsole:off", "--no-chdir"]
        command = ["setpriv", "--pdeathsig", "KILL", "--", program, *arguments, *log]
        self._processes.append(
            subprocess.Popen(command, env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL)
        )  # fmt: skip

    def run(self, *command: str) -> str:
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False,
                              stdin=subprocess.DEVNULL, timeout=60 * patience())  # fmt: skip
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def vsctl(self, *arguments: str) -> str:
        return self.run("ovs-vsctl", f"--db=unix:{self.folder / 'db.sock'}", "--timeout=30", *arguments)

    def appctl(self, *arguments: str) -> str:
        return self.run("ovs-appctl", f"--target={self.folder / 'vswitchd.ctl'}", *arguments)

    def ovs_ofctl(self, *arguments: str, content: str = "") -> Result:
        """What ovs-ofctl does with these words."""
        done = subprocess.run(["ovs-ofctl", *arguments], env=self.environment, capture_output=True, text=True,
                              check=False, input=content, timeout=60 * patience())  # fmt: skip
        return Result(done.returncode, done.stdout, done.stderr)

    def ofctl(self, *arguments: str, content: str = "") -> Result:
        """What `vswitch ofctl` does with them, in this process."""
        return run_ofctl(arguments, content, str(self.folder))

    def reset(self) -> None:
        """Takes away what a test has changed."""
        for words in (["del-flows"], ["-OOpenFlow15", "del-groups"], ["-OOpenFlow13", "del-meters"], ["del-tlv-map"]):
            done = self.ovs_ofctl(*words, BRIDGE)
            assert done.status == 0, done

    def close(self) -> None:
        for process in reversed(self._processes):
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_END_S)
            if process.poll() is None:
                process.kill()
                process.wait()
        self._processes.clear()


def run_ofctl(arguments: Sequence[str], content: str = "", run_directory: str = "") -> Result:
    """`vswitch ofctl` in this process, with what is to be found in the run directory of an Open vSwitch."""
    from vswitch.cli.main import main

    out, err = io.StringIO(), io.StringIO()
    before, stdin = os.environ.get("OVS_RUNDIR"), sys.stdin
    os.environ["OVS_RUNDIR"] = run_directory
    sys.stdin = io.StringIO(content)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = main(["ofctl", *arguments])
    finally:
        sys.stdin = stdin
        if before is None:
            del os.environ["OVS_RUNDIR"]
        else:
            os.environ["OVS_RUNDIR"] = before
    return Result(status, out.getvalue(), err.getvalue())
