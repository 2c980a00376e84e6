"""What a database costs beside ovsdb-server: transactions of one client and of ten, durable ones, monitors, memory."""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Self

from bench.measure import SUBJECT, Figure, Plan, compare, interleave
from tests.lab import patience, wait_until

__all__ = ["databases"]

SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema"
PEER = "ovsdb-server"
PORTS = 1000
"""In the database, while it is measured."""

CLIENTS, MONITORS = 10, 50
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Client:
    """One connection to a server."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(str(path))
        self._text = ""

    def send(self, method: str, *params: Any) -> None:
        self.socket.sendall(json.dumps({"method": method, "params": params, "id": 1}).encode())

    def receive(self) -> Any:
        """The next message."""
        while True:
            self._text += self.socket.recv(1 << 18).decode()
            if self._text.endswith("}"):
                try:
                    found = json.loads(self._text)
                except ValueError:
                    continue
                self._text = ""
                return found

    def transact(self, *operations: Any) -> Any:
        self.send("transact", "Open_vSwitch", *operations)
        return self.receive()["result"]


class Server:
    """A server of its own with PORTS ports in the database."""

    def __init__(self, ours: bool) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="bench-ovsdb-")
        folder = Path(self._folder.name)
        file, self.path = folder / "conf.db", folder / "db.sock"
        subprocess.run(["ovsdb-tool", "create", str(file), SCHEMA], check=True, timeout=60)
        remote = f"--remote=punix:{self.path}"
        command = ["ovsdb-server", str(file), remote, f"--unixctl={folder}/ctl", "-vconsole:off"]
        if ours:
            command = [sys.executable, "-m", "vswitch", "ovsdb", "server", str(file), remote]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(self.path.exists, "the server listens", 30)
        self.clients = [Client(self.path) for _ in range(CLIENTS)]
        self._number = 0
        self._last = ""
        """The port that came and has not gone."""
        before = self.resident_bytes()
        self._fill()
        self.grown = self.resident_bytes() - before

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for client in self.clients:
            client.socket.close()
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(30 * patience())
        self._folder.cleanup()

    def resident_bytes(self) -> int:
        return int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1]) * _PAGE

    def _fill(self) -> None:
        names = [f"p{number}" for number in range(PORTS)]
        ports: Any = ["set", [["named-uuid", name] for name in names]]
        operations: list[Any] = [
            {"op": "insert", "table": "Open_vSwitch", "row": {"bridges": ["named-uuid", "br"]}},
            {"op": "insert", "table": "Bridge", "uuid-name": "br", "row": {"name": "br0", "ports": ports}},
        ]
        for name in names:
            row = {"name": name, "interfaces": ["named-uuid", f"i{name}"]}
            operations.append({"op": "insert", "table": "Port", "uuid-name": name, "row": row})
            operations.append({"op": "insert", "table": "Interface", "uuid-name": f"i{name}", "row": {"name": name}})
        results = self.clients[0].transact(*operations)
        assert "error" not in results[-1], results[-1]
        (found,) = self.clients[0].transact({"op": "select", "table": "Bridge", "where": [], "columns": ["_uuid"]})
        self.bridge = [["_uuid", "==", found["rows"][0]["_uuid"]]]

    # ---- what is measured

    def change(self) -> list[Any]:
        """A port's interface gets another value."""
        self._number += 1
        row = {"external_ids": ["map", [["number", str(self._number)]]]}
        where = [["name", "==", f"p{self._number % PORTS}"]]
        return [{"op": "update", "table": "Interface", "where": where, "row": row}]

    def add_and_remove(self) -> list[Any]:
        """A port comes to the bridge, or the last that came goes."""
        self._number += 1
        if self._last:
            mutation: Any = ["ports", "delete", ["set", [["uuid", self._last]]]]
            self._last = ""
            return [{"op": "mutate", "table": "Bridge", "where": self.bridge, "mutations": [mutation]}]
        self._last = f"{self._number:08x}-0000-4000-8000-000000000000"
        mutation = ["ports", "insert", ["set", [["uuid", self._last]]]]
        name = f"new{self._number}"
        row = {"name": name, "interfaces": ["named-uuid", "i"]}
        return [
            {"op": "insert", "table": "Interface", "uuid-name": "i", "row": {"name": name}},
            {"op": "insert", "table": "Port", "uuid": self._last, "row": row},
            {"op": "mutate", "table": "Bridge", "where": self.bridge, "mutations": [mutation]},
        ]

    def one(self, seconds: float, work: Callable[[Server], list[Any]], durable: bool) -> float:
        """Transactions a second, of one client, one after the other."""
        end = time.monotonic() + seconds
        done, begun = 0, time.monotonic()
        while time.monotonic() < end:
            results = self.clients[0].transact(*work(self), *_durable(durable))
            assert "error" not in results[-1], results[-1]
            done += 1
        return done / (time.monotonic() - begun)

    def many(self, seconds: float, durable: bool) -> float:
        """Transactions a second, of all clients together."""
        with selectors.DefaultSelector() as selector:
            for client in self.clients:
                selector.register(client.socket, selectors.EVENT_READ, client)
                client.send("transact", "Open_vSwitch", *self.change(), *_durable(durable))
            begun = now = time.monotonic()
            done, waiting = 0, len(self.clients)
            while waiting:
                for key, _ in selector.select():
                    key.data.receive()
                    done += 1
                    now = time.monotonic()
                    if now < begun + seconds:
                        key.data.send("transact", "Open_vSwitch", *self.change(), *_durable(durable))
                    else:
                        waiting -= 1
            return done / (now - begun)

    def fan_out(self, seconds: float) -> float:
        """Transactions a second of which MONITORS clients have been told, each before the next."""
        with ExitStack() as stack:
            watchers = [Client(self.path) for _ in range(MONITORS)]
            for watcher in watchers:
                stack.callback(watcher.socket.close)
                columns = {"Interface": [{"columns": ["name", "external_ids"]}]}
                watcher.send("monitor_cond", "Open_vSwitch", None, columns)
                watcher.receive()
            begun, done = time.monotonic(), 0
            while time.monotonic() < begun + seconds:
                self.clients[0].transact(*self.change())
                for watcher in watchers:
                    assert watcher.receive()["method"] == "update2"
                done += 1
            return done / (time.monotonic() - begun)


def _durable(durable: bool) -> list[Any]:
    return [{"op": "commit", "durable": True}] * durable


def databases(plan: Plan) -> Iterator[Figure]:
    """A database with 1,000 ports: transactions a second, monitors, memory; beside ovsdb-server."""
    with ExitStack() as stack:
        servers = {name: stack.enter_context(Server(name == SUBJECT)) for name in (SUBJECT, PEER)}
        cases: dict[str, Callable[[Server], float]] = {
            "transactions, 1 client": partial(Server.one, seconds=plan.seconds, work=Server.change, durable=False),
            f"transactions, {CLIENTS} clients": partial(Server.many, seconds=plan.seconds, durable=False),
            "durable, 1 client": partial(Server.one, seconds=plan.seconds, work=Server.change, durable=True),
            f"durable, {CLIENTS} clients": partial(Server.many, seconds=plan.seconds, durable=True),
            "a port comes or goes": partial(
                Server.one, seconds=plan.seconds, work=Server.add_and_remove, durable=False
            ),
            f"told to {MONITORS} monitors": partial(Server.fan_out, seconds=plan.seconds),
        }
        for case, measure in cases.items():
            contestants = {name: partial(measure, server) for name, server in servers.items()}
            yield from compare(f"database, {case}", "1/s", interleave(case, plan.rounds, contestants))
        grown = {name: [server.grown / (1 << 20)] for name, server in servers.items()}
        yield from compare(f"database, memory of {PORTS:,} ports", "MB", grown)
