"""An Open vSwitch of a test's own: database, daemon and sockets in a folder of its own.

The daemon has the userspace datapath of kind "dummy", whose devices are not there, so neither the kernel nor the host's
interfaces are touched. Who closes it ends its two processes, by their ids.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Self

from vswitch.openflow.wire import HEADER, HEADER_BYTES

__all__ = ["OpenVswitch"]

SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")
BRIDGE = "br-oracle"
PATIENCE_S = 20.0
_HELLO, _MORE = 0, 1
_MULTIPART_REPLIES = {1: 17}


class OpenVswitch:
    """A bridge with two ports (1 and 2), that speaks all versions of OpenFlow on a socket."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = dict.fromkeys(("OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVS_SYSCONFDIR"), str(folder)) | {
            "PATH": os.environ["PATH"]
        }
        self.database = f"unix:{folder}/db.sock"
        self.processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        self.run("ovsdb-tool", "create", f"{self.folder}/conf.db", str(SCHEMA))
        try:
            self.start("ovsdb-server", f"{self.folder}/conf.db", f"--remote=punix:{self.folder}/db.sock")
            self.wait_for("db.sock")
            self.vsctl("--no-wait", "init")
            self.start("ovs-vswitchd", self.database, "--disable-system", "--enable-dummy")
            ports = [f"-- add-port {BRIDGE} p{n} -- set interface p{n} type=dummy ofport_request={n}" for n in (1, 2)]
            versions = ",".join(f"OpenFlow1{minor}" for minor in range(6))
            bridge = f"add-br {BRIDGE} -- set bridge {BRIDGE} datapath_type=dummy protocols={versions} fail_mode=secure"
            self.vsctl(*bridge.split(), *" ".join(ports).split())
            self.wait_for(f"{BRIDGE}.mgmt")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for process in reversed(self.processes):
            process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE_S)
        self.processes = []

    def start(self, *command: str) -> None:
        """A daemon that stays our child."""
        log = (self.folder / f"{command[0]}.log").open("wb")
        with log:
            self.processes.append(
                subprocess.Popen([*command, "-vconsole:warn"], env=self.environment, stdout=log, stderr=log)
            )

    def wait_for(self, name: str) -> None:
        """Until there is a file of this name."""
        until = time.monotonic() + PATIENCE_S
        while not (self.folder / name).exists():
            assert time.monotonic() < until, f"no {name} after {PATIENCE_S} s"
            time.sleep(0.01)

    def run(self, *command: str) -> str:
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=PATIENCE_S)
        assert not done.returncode, f"{' '.join(command)}: {done.stderr}"
        return done.stdout

    def vsctl(self, *words: str) -> str:
        return self.run("ovs-vsctl", f"--db={self.database}", f"--timeout={PATIENCE_S:.0f}", *words)

    @property
    def socket(self) -> str:
        """Where it speaks OpenFlow."""
        return f"{self.folder}/{BRIDGE}.mgmt"

    def ofctl(self, version: int, command: str, *words: str) -> str:
        return self.run("ovs-ofctl", "-O", f"OpenFlow1{version - 1}", command, f"unix:{self.socket}", *words)

    def ask(self, version: int, kind: int, body: bytes) -> list[bytes]:
        """Send one message, and return the answer's messages, with their headers."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(PATIENCE_S)
            connection.connect(self.socket)
            connection.sendall(HEADER.pack(version, _HELLO, HEADER_BYTES, 1))
            connection.sendall(HEADER.pack(version, kind, HEADER_BYTES + len(body), 7) + body)
            stream = connection.makefile("rb")
            answers: list[bytes] = []
            while True:
                head = stream.read(HEADER_BYTES)
                message = head + stream.read(HEADER.unpack(head)[2] - HEADER_BYTES)
                if message[1] == _HELLO:
                    continue
                answers.append(message)
                if message[1] != _MULTIPART_REPLIES.get(version, 19) or not message[11] & _MORE:
                    return answers
