"""An Open vSwitch of its own for each measurement, beside the machine's and unknown to it.

Database, sockets, logs and pid files lie in a temporary folder; both daemons run in the network namespace of the
thread that starts them and end with it. The userspace datapath ("netdev") needs no kernel module; "system" is
openvswitch.ko, where a kernel has it.

Invariant: `close` has ended both daemons, by their pids, and the folder is gone.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.lab import patience, wait_until

__all__ = ["DAEMON", "OpenVswitchError", "PrivateOpenVswitch"]

DAEMON = "ovs-vswitchd"
SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")

_END_S = 5.0


class OpenVswitchError(Exception):
    """Open vSwitch is not there, or refuses."""


class PrivateOpenVswitch:
    """One bridge on datapath type "netdev" or "system"; `settings` are other_config of the whole switch. The name of
    the bridge is that of a device, so it must be free."""

    def __init__(self, bridge: str, datapath_type: str = "netdev", settings: Mapping[str, str] | None = None) -> None:
        if shutil.which(DAEMON, path=_path()) is None:
            raise OpenVswitchError(f"{DAEMON} is not installed (scripts/setup bench)")
        self._bridge = bridge
        self._folder = Path(tempfile.mkdtemp(prefix="bench-ovs-"))
        self._environment = {
            **os.environ, "PATH": _path(), "LC_ALL": "C",
            **{f"OVS_{name}DIR": str(self._folder) for name in ("RUN", "LOG", "DB", "SYSCONF")},
        }  # fmt: skip
        self._processes: list[subprocess.Popen[bytes]] = []
        self._control = self._folder / "vswitchd.ctl"
        self._database = f"unix:{self._folder / 'db.sock'}"
        try:
            self._start(datapath_type, settings or {})
        except BaseException:
            self.close()
            raise

    def _start(self, datapath_type: str, settings: Mapping[str, str]) -> None:
        database = self._folder / "conf.db"
        self.run("ovsdb-tool", "create", str(database), str(SCHEMA))
        socket, server_control = self._folder / "db.sock", self._folder / "ovsdb.ctl"
        self._spawn("ovsdb-server", str(database), f"--remote=punix:{socket}", f"--unixctl={server_control}")
        wait_until(socket.exists, "ovsdb-server's socket", 10)
        self.vsctl("--no-wait", "init")
        for name, value in settings.items():
            self.vsctl("--no-wait", "set", "Open_vSwitch", ".", f"other_config:{name}={value}")
        only_user_space = ["--disable-system"] if datapath_type == "netdev" else []
        self._spawn(DAEMON, self._database, f"--unixctl={self._control}", *only_user_space)
        wait_until(self._control.exists, f"{DAEMON}'s socket", 10)
        self.vsctl(
            "add-br",
            self._bridge,
            "--",
            "set",
            "bridge",
            self._bridge,
            f"datapath_type={datapath_type}",
            "fail_mode=secure",
        )

    def _spawn(self, program: str, *arguments: str) -> None:
        command = ["setpriv", "--pdeathsig", "KILL", "--", program, *arguments]
        log = [f"--log-file={self._folder / program}.log", "-vconsole:off", "--no-chdir"]
        with (self._folder / f"{program}.out").open("wb") as output:
            self._processes.append(
                subprocess.Popen(
                    [*command, *log], env=self._environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
                )
            )

    # ---- what a measurement needs

    @property
    def pid(self) -> int:
        """Of ovs-vswitchd."""
        return self._processes[-1].pid

    def add_port(self, device: str, number: int) -> None:
        """Make a device OpenFlow port `number`."""
        self.vsctl("add-port", self._bridge, device, "--", "set", "interface", device, f"ofport_request={number}")

    @property
    def management(self) -> str:
        """Where ovs-ofctl finds the bridge, from any namespace."""
        return f"unix:{self._folder / self._bridge}.mgmt"

    def set_controller(self, target: str) -> None:
        """Let this be its controller."""
        self.vsctl("set-controller", self._bridge, target, "--", "set", "controller", self._bridge, "max_backoff=1000")

    def declined(self) -> int:
        """Packets for which it made no megaflow, since there were enough in its opinion."""
        found = re.search(r"^upcall_flow_limit_hit .*total: (\d+)", self.appctl("coverage/show"), re.MULTILINE)
        return int(found[1]) if found else 0

    def set_flows(self, flows: Sequence[str]) -> None:
        """Make these (texts of ovs-ofctl) the only OpenFlow rules, in one bundle."""
        self.ofctl("--bundle", "replace-flows", self._bridge, "-", content="\n".join(flows) + "\n")

    def forget_megaflows(self) -> None:
        """Empty the datapath."""
        self.appctl("revalidator/purge")

    def megaflows(self) -> int:
        """How many the datapath holds now."""
        return sum(int(count) for count in re.findall(r"current (\d+)", self.appctl("upcall/show")))

    def vsctl(self, *arguments: str) -> str:
        return self.run("ovs-vsctl", f"--db={self._database}", "--timeout=30", *arguments)

    def ofctl(self, *arguments: str, content: str | None = None) -> str:
        return self.run("ovs-ofctl", "-O", "OpenFlow14", *arguments, content=content)

    def appctl(self, *arguments: str) -> str:
        return self.run("ovs-appctl", f"--target={self._control}", *arguments)

    def run(self, *command: str, content: str | None = None) -> str:
        """One of its programs; what it prints."""
        result = subprocess.run(
            command, env=self._environment, input=content, stdin=None if content is not None else subprocess.DEVNULL,
            capture_output=True, text=True, timeout=60 * patience(), check=False,
        )  # fmt: skip
        if result.returncode:
            raise OpenVswitchError(f"{' '.join(command)}: {(result.stderr or self._words()).strip()}")
        return result.stdout

    def _words(self) -> str:
        """The last that the daemons said."""
        return "\n".join(path.read_text(errors="replace")[-500:] for path in self._folder.glob("*.log"))

    def close(self) -> None:
        if (self._control.exists()) and self._processes[-1].poll() is None:
            with contextlib.suppress(OpenVswitchError, subprocess.TimeoutExpired):
                self.appctl("exit", "--cleanup")  # takes its datapath out of the kernel, too
        for process in reversed(self._processes):
            _end(process)
        self._processes.clear()
        shutil.rmtree(self._folder, ignore_errors=True)


def _end(process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + _END_S * patience()
    process.terminate()
    while process.poll() is None and time.monotonic() < end:
        time.sleep(0.01)
    if process.poll() is None:
        process.kill()
    process.wait()


def _path() -> str:
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
