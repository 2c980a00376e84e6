"""The server of databases on sockets: clients at once, clients that are slow, files, remotes that a database names."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.certificates import make_certificates
from tests.ovsdb import SCHEMA, counted, insert, select, uuid
from vswitch.base.errors import ConfigError
from vswitch.daemon import ovsdb as daemon
from vswitch.daemon.ovsdb import DatabaseServer, new_uuid
from vswitch.ovsdb.log import Log, create, load
from vswitch.ovsdb.schema import DatabaseSchema
from vswitch.ovsdb.values import is_uuid
from vswitch.ovsdb.vswitch_schema import VSWITCH_SCHEMA
from vswitch.transport import streams
from vswitch.transport.targets import Tls

PATIENCE_S = 30.0


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self._text = ""
        self._identity = 0

    async def receive(self) -> Any:
        while True:
            try:
                found, end = json.JSONDecoder().raw_decode(self._text)
            except ValueError:
                data = await self.reader.read(1 << 16)
                if not data:
                    raise EOFError from None
                self._text += data.decode()
            else:
                self._text = self._text[end:]
                return found

    async def to_the_end(self) -> None:
        while True:
            await self.receive()

    def send(self, method: str, *params: Any) -> None:
        self._identity += 1
        self.writer.write(json.dumps({"method": method, "params": params, "id": self._identity}).encode())

    async def call(self, method: str, *params: Any) -> Any:
        self.send(method, *params)
        while (found := await self.receive()).get("method") is not None:
            pass
        assert found["error"] is None, found
        return found["result"]


Test = Callable[[DatabaseServer, Callable[[], Awaitable[Client]]], Awaitable[None]]


def run(
    path: Path, test: Test, schema: DatabaseSchema | None = None, tls: Tls | None = None, *, syncs_here: bool = False
) -> None:
    """A test with a server of one database, and with what connects to it."""
    create(path, schema or DatabaseSchema.parse(SCHEMA))
    place = path.with_suffix(".sock")

    async def whole() -> None:
        server = DatabaseServer(tls, syncs_here=syncs_here)
        writers = []

        async def connect() -> Client:
            reader, writer = await asyncio.open_unix_connection(str(place), limit=1 << 16)
            writers.append(writer)
            return Client(reader, writer)

        try:
            server.open(path)
            server.start()
            await server.remotes.add(f"punix:{place}")
            async with asyncio.timeout(PATIENCE_S):
                await test(server, connect)
        finally:
            await server.stop()
            for writer in writers:
                writer.close()

    asyncio.run(whole())


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.01)


def update(x: int) -> dict[str, Any]:
    return {"op": "update", "table": "L", "where": [], "row": {"x": x}}


def test_uuids_are_of_version_4() -> None:
    found = {new_uuid() for _ in range(100)}
    assert len(found) == 100
    assert all(is_uuid(each) and each[14] == "4" and each[19] in "89ab" for each in found)


@pytest.mark.parametrize("syncs_here", [False, True])
@pytest.mark.parametrize("is_slow", [False, True])
def test_what_was_acknowledged_is_in_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, syncs_here: bool, is_slow: bool
) -> None:
    path = tmp_path / "t.db"
    synced: list[int] = []
    sync = os.fdatasync

    def fdatasync(file: int) -> None:
        sync(file)
        time.sleep(0.002 if is_slow else 0)
        synced.append(threading.get_ident())

    monkeypatch.setattr(os, "fdatasync", fdatasync)
    monkeypatch.setattr(daemon, "QUICK_SYNC_NS", 1_000_000 if is_slow else 10**10)

    async def test(server: DatabaseServer, connect: Callable[[], Awaitable[Client]]) -> None:
        clients = [await connect() for _ in range(5)]
        durable = {"op": "commit", "durable": True}
        operations = [insert("R", name=f"{number}") for number in range(5)]
        results = await asyncio.gather(
            *(each.call("transact", "T", row, durable) for each, row in zip(clients, operations, strict=True))
        )
        saved = tmp_path / "killed.db"  # as if the process were killed now
        saved.write_bytes(path.read_bytes())
        rows = load(saved, counted())[0].tables["R"].rows
        assert {result[0]["uuid"][1] for result in results} == set(rows)
        for number in range(3):
            synced.clear()
            await clients[0].call("transact", "T", insert("R", name=f"more {number}"), durable)
            assert len(synced) == 1
        is_here = synced == [threading.get_ident()]
        assert is_here == (syncs_here and not is_slow)

    run(path, test, syncs_here=syncs_here)


@pytest.mark.parametrize("syncs_here", [False, True])
def test_a_disk_that_fails_is_told_to_who_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, syncs_here: bool
) -> None:
    async def test(server: DatabaseServer, connect: Callable[[], Awaitable[Client]]) -> None:
        client = await connect()

        def fdatasync(_file: int) -> None:
            raise OSError(errno.EIO, "Input/output error")

        monkeypatch.setattr(os, "fdatasync", fdatasync)
        durable = {"op": "commit", "durable": True}
        results = await client.call("transact", "T", insert("R", name="lost"), durable)
        assert results[-1]["error"] == "I/O error"
        monkeypatch.undo()

    run(tmp_path / "t.db", test, syncs_here=syncs_here)


def test_a_wait_ends_by_another_client_and_by_time(tmp_path: Path) -> None:
    async def test(server: DatabaseServer, connect: Callable[[], Awaitable[Client]]) -> None:
        waiting, other = await connect(), await connect()
        wait: dict[str, Any] = {
            "op": "wait",
            "table": "L",
            "where": [],
            "columns": ["x"],
            "until": "==",
            "rows": [{"x": 5}],
        }
        waiting.send("transact", "T", wait)
        await other.call("transact", "T", insert("L", x=5))
        assert (await waiting.receive())["result"] == [{}]
        wait |= {"rows": [{"x": 6}], "timeout": 50}
        (result,) = await waiting.call("transact", "T", wait)
        assert result["error"] == "timed out"

    run(tmp_path / "t.db", test)


def test_a_client_that_does_not_read_costs_the_others_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "HIGH_BYTES", 1 << 14)
    monkeypatch.setattr(streams, "LOW_BYTES", 1 << 12)

    async def test(server: DatabaseServer, connect: Callable[[], Awaitable[Client]]) -> None:
        slow, other = await connect(), await connect()
        await slow.call("monitor_cond_since", "T", "m", {"R": {"columns": ["name"]}}, uuid(0))
        await other.call("transact", "T", insert("R", 1, name="x"))
        await slow.receive()
        slow.writer.transport.pause_reading()  # type: ignore[attr-defined]
        update = {"op": "update", "table": "R", "where": []}
        for number in range(300):
            await other.call("transact", "T", update | {"row": {"name": f"{number}" + "x" * 10_000}})
        (monitor,) = next(session for session in server.server.sessions if session.monitors).monitors.values()
        assert monitor.pending
        slow.writer.transport.resume_reading()  # type: ignore[attr-defined]
        count, last = 0, ""
        while not last.startswith("299x"):
            (row,) = (await slow.receive())["params"][2]["R"].values()
            last = row["modify"]["name"]
            count += 1
        assert count < 300
        assert not monitor.pending

    run(tmp_path / "t.db", test)


def test_a_hostile_client_is_ended_and_nobody_else(tmp_path: Path) -> None:
    async def test(server: DatabaseServer, connect: Callable[[], Awaitable[Client]]) -> None:
        good = await connect()
        for data in (
            b"hello",
            b"[]",
            b'{"x":',
            b'{"method":"echo","params":[' + b"[" * 5000,
            b'{"a":"\xff"}',
            b"\0" * 99,
        ):
            bad = await connect()
            bad.writer.write(data + b"}" * 10_000)
            with pytest.raises(EOFError):
                await bad.to_the_end()
        assert await good.call("echo", 1) == [1]
        await until(lambda: len(server.server.sessions) == 1)

    run(tmp_path / "t.db", test)


def test_requests_that_come_at_once_are_all_answered(tmp_path: Path) -> None:
    async def test(server: DatabaseServer, connect: Callable[[], Awaitable[Client]]) -> None:
        greedy, other = await connect(), await connect()
        await other.call("transact", "T", *(insert("R", name=f"{number}" + "x" * 1000) for number in range(100)))
        for _ in range(50):
            greedy.send("transact", "T", select("R"))
        assert await other.call("echo", 1) == [1]
        for number in range(1, 51):
            reply = await greedy.receive()
            assert (reply["id"], len(reply["result"][0]["rows"])) == (number, 100)

    run(tmp_path / "t.db", test)


def test_peers_speak_by_tls_if_their_certificate_is_signed(tmp_path: Path) -> None:
    certificates = make_certificates(tmp_path)

    async def test(server: DatabaseServer, connect: Callable[[], Awaitable[Client]]) -> None:
        await server.remotes.add("pssl:0:127.0.0.1")
        (remote,) = [each for text, each in server.remotes._fixed.items() if text.startswith("pssl")]
        assert isinstance(remote.end, streams.Listener)
        port = remote.end.port
        context = certificates["controller"].context(server=False)
        known = Client(*await asyncio.open_connection("127.0.0.1", port, ssl=context))
        assert await known.call("list_dbs") == ["T", "_Server"]
        known.writer.close()
        strange = certificates["stranger"].context(server=False)
        refused = Client(*await asyncio.open_connection("127.0.0.1", port, ssl=strange))
        with pytest.raises((OSError, EOFError)):
            await refused.call("list_dbs")
        refused.writer.close()

    run(tmp_path / "t.db", test, tls=certificates["switch"])


def test_a_silent_peer_is_asked_and_then_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemon, "LOOK_S", 0.02)

    async def test(server: DatabaseServer, connect: Callable[[], Awaitable[Client]]) -> None:
        client = await connect()
        assert await client.call("echo") == []
        (each,) = server._clients.values()
        each.probe_s = 0.2
        assert (await client.receive())["method"] == "echo"
        with pytest.raises(EOFError):
            await client.receive()

    run(tmp_path / "t.db", test)


def test_a_file_is_compacted_while_it_is_used(tmp_path: Path) -> None:
    path = tmp_path / "t.db"

    async def test(server: DatabaseServer, connect: Callable[[], Awaitable[Client]]) -> None:
        client = await connect()
        await client.call("transact", "T", insert("L", 1))
        for x in range(1, 200):
            await client.call("transact", "T", update(x))
        size = path.stat().st_size
        compaction = asyncio.create_task(server.compact("T"))
        while not compaction.done():
            x += 1
            await client.call("transact", "T", update(x))
        await compaction
        assert path.stat().st_size < size
        rows = load(path, counted())[0].tables["L"].rows
        assert [row[2] for row in rows.values()] == [(x,)]

    run(path, test)


def test_a_server_has_its_file_for_itself(tmp_path: Path) -> None:
    path = tmp_path / "t.db"

    async def test(server: DatabaseServer, connect: Callable[[], Awaitable[Client]]) -> None:
        with pytest.raises(ConfigError):
            await server.remotes.add(f"punix:{path.with_suffix('.sock')}")
        with pytest.raises(ConfigError):
            await server.remotes.add("db:T,R,i")
        with pytest.raises(ConfigError):
            await server.remotes.remove("ptcp:1")
        assert server.remotes.listed() == [f"punix:{path.with_suffix('.sock')}"]
        server.close_database("T")
        Log(path, counted(), lambda: 0).close()

    run(path, test)
    assert not path.with_suffix(".sock").exists()


def test_remotes_follow_the_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemon, "LOOK_S", 0.02)

    async def test(server: DatabaseServer, connect: Callable[[], Awaitable[Client]]) -> None:
        await server.remotes.add("db:Open_vSwitch,Open_vSwitch,manager_options")
        client = await connect()
        targets = [f"punix:{tmp_path}/m.sock", "ptcp:0:127.0.0.1", "nonsense"]
        rows = [
            {"op": "insert", "table": "Manager", "row": {"target": target}, "uuid-name": f"m{number}"}
            for number, target in enumerate(targets)
        ]
        named = ["set", [["named-uuid", f"m{number}"] for number in range(3)]]
        root = {"op": "insert", "table": "Open_vSwitch", "row": {"manager_options": named}}
        await client.call("transact", "Open_vSwitch", *rows, root)
        managers = select("Manager", columns=["target", "is_connected", "status"])

        async def status() -> dict[str, Any]:
            (found,) = await client.call("transact", "Open_vSwitch", managers)
            return {row["target"]: (row["is_connected"], dict(row["status"][1])) for row in found["rows"]}

        while "bound_port" not in (found := await status())[targets[1]][1]:
            await asyncio.sleep(0.02)
        port = int(found[targets[1]][1]["bound_port"])
        while "last_error" not in (await status())[targets[2]][1]:
            await asyncio.sleep(0.02)
        far = Client(*await asyncio.open_connection("127.0.0.1", port))
        assert await far.call("list_dbs") == ["Open_vSwitch", "_Server"]
        while not (await status())[targets[1]][0]:
            await asyncio.sleep(0.02)
        change = {"op": "update", "table": "Open_vSwitch", "where": [], "row": {"manager_options": ["set", []]}}
        await client.call("transact", "Open_vSwitch", change)
        with pytest.raises(EOFError):
            await far.receive()
        far.writer.close()
        assert not os.path.lexists(tmp_path / "m.sock")

    run(tmp_path / "t.db", test, VSWITCH_SCHEMA)


@pytest.mark.slow
def test_what_was_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    path, place = tmp_path / "t.db", tmp_path / "t.sock"
    create(path, DatabaseSchema.parse(SCHEMA))
    chance, names = random.Random(1), itertools.count()
    acknowledged: set[str] = set()
    durable = {"op": "commit", "durable": True}

    async def commit_until_it_ends(seconds: float, process: subprocess.Popen[bytes]) -> None:
        reader, writer = await asyncio.open_unix_connection(str(place))
        client = Client(reader, writer)
        asyncio.get_running_loop().call_later(seconds, process.kill)
        with contextlib.suppress(EOFError, OSError):
            while True:
                row, committed = await client.call("transact", "T", insert("R", name=f"{next(names)}"), durable)
                assert committed == {}
                acknowledged.add(row["uuid"][1])
        writer.close()

    for _ in range(10):
        command = [sys.executable, "-m", "vswitch", "ovsdb", "server", str(path), f"--remote=punix:{place}"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        try:
            assert process.stdout is not None
            assert b"is running" in process.stdout.readline()
            asyncio.run(commit_until_it_ends(chance.uniform(0.05, 0.5), process))
        finally:
            process.kill()
            process.communicate()
        assert acknowledged <= set(load(path, counted())[0].tables["R"].rows)
    assert acknowledged
