"""`vswitch vswitchd` in a process of its own, and operations on its database, which a client of the test sends.

`Daemon` is the process; it may be killed and another started in the same folder. `add_bridge` and its like are the
operations of RFC 7047 that ovs-vsctl would send.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.lab import LabError, patience, wait_until
from tests.shell import ENVIRONMENT
from vswitch.base.errors import MachineError
from vswitch.cli.ovsdb.client import Client
from vswitch.ovsdb.log import create
from vswitch.ovsdb.schema import DatabaseSchema
from vswitch.ovsdb.vswitch_schema import VSWITCH_SCHEMA

__all__ = ["OUR_SERVER", "Daemon", "add_bridge", "add_port", "change", "insert", "mapping", "where"]

Operation = dict[str, Any]
DATABASE = "Open_vSwitch"
OUR_SERVER = (sys.executable, "-m", "vswitch", "ovsdb", "server")


def mapping(pairs: Mapping[Any, Any]) -> list[Any]:
    return ["map", [[key, value] for key, value in pairs.items()]]


def where(name: str) -> list[Any]:
    """The row of that name."""
    return [["name", "==", name]]


def insert(table: str, alias: str, **row: Any) -> Operation:
    return {"op": "insert", "table": table, "row": row, "uuid-name": alias}


def change(table: str, name: str | None, **row: Any) -> Operation:
    """Other values for the row of that name, or for all."""
    return {"op": "update", "table": table, "where": [] if name is None else where(name), "row": row}


def _mutate(table: str, name: str | None, *mutations: list[Any]) -> Operation:
    return {"op": "mutate", "table": table, "where": [] if name is None else where(name), "mutations": list(mutations)}


def _alias(name: str) -> str:
    return "r" + "".join(letter if letter.isalnum() else "_" for letter in name)


def _port(name: str, kind: str, port: Mapping[str, Any], interface: Mapping[str, Any]) -> list[Operation]:
    alias = _alias(name)
    return [
        insert("Interface", f"i{alias}", name=name, type=kind, **interface),
        insert("Port", f"p{alias}", name=name, interfaces=["named-uuid", f"i{alias}"], **port),
    ]


def add_bridge(name: str, **row: Any) -> list[Operation]:
    return [
        *_port(name, "internal", {}, {}),
        insert("Bridge", _alias(name), name=name, ports=["named-uuid", f"p{_alias(name)}"], **row),
        _mutate(DATABASE, None, ["bridges", "insert", ["named-uuid", _alias(name)]]),
    ]


def add_port(bridge: str, name: str, kind: str = "", port: Mapping[str, Any] = {}, **interface: Any) -> list[Operation]:
    return [
        *_port(name, kind, port, interface),
        _mutate("Bridge", bridge, ["ports", "insert", ["named-uuid", f"p{_alias(name)}"]]),
    ]


class Daemon:
    """The daemon in `folder`, in the namespace of the switch. `server`: the words of a server that has the database
    instead of the daemon; it stays when that is killed. `schema`: a file, if it is not ours."""

    def __init__(self, folder: Path, server: Sequence[str] | None = None, *, schema: Path | None = None) -> None:
        self.folder = folder
        self.server: subprocess.Popen[bytes] | None = None
        self.words = [f"{folder}/conf.db"] if server is None else ["--db", f"unix:{folder}/db.sock"]
        self._server = server
        self._schema = schema
        self.socket = f"unix:{folder}/db.sock"
        self.errors = (folder / "vswitchd.errors").open("a+")
        self.process: subprocess.Popen[str] | None = None
        self._client: Client | None = None

    def __enter__(self) -> Daemon:
        if self._server is not None:
            given = DatabaseSchema.parse(json.loads(self._schema.read_text())) if self._schema else VSWITCH_SCHEMA
            create(self.folder / "conf.db", given)
            self._start_server(self._server)
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ended as by Ctrl-C; without an error in the test, there is none in what it said either."""
        status = self.end()
        if self.server is not None:
            self.server.terminate()
            self.server.wait(20 * patience())
        said = self.said()
        self.errors.close()
        if kind is None:
            assert (status, "Traceback" in said) == (0, False), said

    # ---- the processes

    def _start_server(self, words: Sequence[str]) -> None:
        self.server = subprocess.Popen(
            [*words, f"{self.folder}/conf.db", f"--remote=punix:{self.folder}/db.sock"],
            stdout=subprocess.DEVNULL, stderr=self.errors,
            env={**os.environ, **ENVIRONMENT, "OVS_RUNDIR": str(self.folder)},
        )  # fmt: skip

    def restart_server(self) -> None:
        """Of the database that is elsewhere."""
        assert self.server is not None
        assert self._server is not None
        self._forget_client()
        self.server.terminate()
        self.server.wait(20 * patience())
        self._start_server(self._server)
        self.wait_until_answered()

    def _forget_client(self) -> None:
        if self._client is not None:
            self._client.__exit__()
            self._client = None

    def start(self, *, wait: bool = True) -> None:
        folder = str(self.folder)
        command = [sys.executable, "-m", "vswitch", "vswitchd", "--rundir", folder, *self.words]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=self.errors, text=True,
            env={**os.environ, **ENVIRONMENT, "OVS_RUNDIR": folder, "OVS_DBDIR": folder},
        )  # fmt: skip
        if wait:
            self.wait_until_ready()

    def wait_until_ready(self) -> None:
        """Until the machine is what the database said when it began."""
        assert self.process is not None
        assert self.process.stdout is not None
        readable, _, _ = select.select([self.process.stdout], [], [], 30 * patience())
        line = self.process.stdout.readline() if readable else "nothing within 30 s\n"
        if "is running" not in line:
            raise LabError(f"vswitch vswitchd: {line}{self.said()}")

    def wait_until_answered(self) -> None:
        """Until the database is served."""

        def is_served() -> bool:
            try:
                self.client()
            except MachineError:
                return False
            return True

        wait_until(is_served, "the database is served", 20)

    def kill(self) -> None:
        """As a power cut would."""
        self._ended(signal.SIGKILL)

    def end(self, number: int = signal.SIGTERM) -> int:
        return self._ended(number)

    def _ended(self, number: int) -> int:
        self._forget_client()
        if self.process is None:
            return 0
        process, self.process = self.process, None
        process.send_signal(number)
        try:
            return process.wait(20 * patience())
        finally:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()

    def said(self) -> str:
        self.errors.seek(0)
        return self.errors.read()

    # ---- the database

    def client(self) -> Client:
        if self._client is None:
            words = Namespace(private_key=None, certificate=None, ca_cert=None, timeout=20 * patience())
            self._client = Client(self.socket, words)
        return self._client

    def transact(self, *operations: Operation) -> list[Any]:
        results = self.client().call("transact", DATABASE, *operations)
        assert isinstance(results, list)
        for result in results:
            if isinstance(result, dict) and "error" in result:
                raise MachineError(f"{operations}: {result}")
        return results

    def configure(self, *operations: Operation, wait: bool = True) -> None:
        """Do that, and wait until the daemon has."""
        counted = _mutate(DATABASE, None, ["next_cfg", "+=", 1])
        results = self.transact(*operations, counted, {"op": "select", "table": DATABASE, "where": []})
        if wait:
            wanted = results[-1]["rows"][0]["next_cfg"]
            wait_until(lambda: self.row(DATABASE)["cur_cfg"] >= wanted, f"cur_cfg is {wanted}", 20)

    def rows(self, table: str, name: str | None = None) -> list[dict[str, Any]]:
        found = self.transact({"op": "select", "table": table, "where": [] if name is None else where(name)})
        rows = found[0]["rows"]
        assert isinstance(rows, list)
        return rows

    def row(self, table: str, name: str | None = None) -> dict[str, Any]:
        (found,) = self.rows(table, name)
        return found

    def wait_for(self, table: str, name: str | None, condition: Callable[[dict[str, Any]], object], what: str) -> None:
        wait_until(lambda: condition(self.row(table, name)), what, 15)

    def ofports(self) -> dict[str, int]:
        return {row["name"]: row["ofport"] for row in self.rows("Interface")}

    def delete_bridge(self, name: str) -> Operation:
        """The operation."""
        return _mutate(DATABASE, None, ["bridges", "delete", self.row("Bridge", name)["_uuid"]])

    def delete_ports(self, bridge: str, names: Iterable[str]) -> Operation:
        """The operation."""
        gone = [self.row("Port", name)["_uuid"] for name in names]
        return _mutate("Bridge", bridge, ["ports", "delete", ["set", gone]])

    def appctl(self, *words: str) -> str:
        """What `vswitch appctl` prints."""
        (control,) = self.folder.glob("vswitchd.*.ctl")
        line = [sys.executable, "-m", "vswitch", "appctl", "-t", str(control), *words]
        done = subprocess.run(
            line, capture_output=True, text=True, timeout=30 * patience(), env=ENVIRONMENT, check=False
        )
        if done.returncode:
            raise LabError(f"{' '.join(line)}: {done.stderr}")
        return done.stdout

    def ofctl(self, bridge: str, command: str, *words: str, version: str = "OpenFlow13") -> str:
        """What `vswitch ofctl` prints."""
        line = [sys.executable, "-m", "vswitch", "ofctl", "-O", version, command]
        line += [f"unix:{self.folder}/{bridge}.mgmt", *words]
        done = subprocess.run(
            line, capture_output=True, text=True, timeout=30 * patience(), env=ENVIRONMENT, check=False
        )
        if done.returncode:
            raise LabError(f"{' '.join(line)}: {done.stderr}")
        return done.stdout
