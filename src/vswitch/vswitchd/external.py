"""A database that a server elsewhere has, as real `ovsdb-server`s do: followed by a monitor of all its tables.

The rows are kept in a `Database` as if it were here. When the connection is made anew, the rows as they are then are
compared with those that were known, and listeners are told of the difference as of one transaction.

One process at a time makes a machine what a database says: it has the lock `LOCK`, which ovs-vswitchd takes too.

Invariant: between two messages of the server the rows are those that it had after some transaction.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

from vswitch.base.errors import MachineError, VswitchError
from vswitch.daemon.ovsdb import new_uuid
from vswitch.ovsdb.database import Change, Database, RowChange, Table
from vswitch.ovsdb.errors import NAMES, OvsdbError
from vswitch.ovsdb.framing import Framer, dumps, message
from vswitch.ovsdb.schema import UUID, DatabaseSchema, Row
from vswitch.ovsdb.types import Json
from vswitch.ovsdb.values import parse
from vswitch.ovsdb.vswitch_schema import VSWITCH_SCHEMA
from vswitch.transport.streams import Dialer, Stream
from vswitch.transport.targets import OVSDB_PORT, Tls, parse_target

__all__ = ["ExternalSource"]

logger = logging.getLogger("vswitch")

LOCK = "ovs_vswitchd"
DATABASE = "Open_vSwitch"

PROBE_S = 5.0
"""After so long without a word the server is asked whether it is there; after the same time again it is not."""

MAX_REQUESTS = 1000
"""That wait for an answer at a time."""

MAX_MESSAGE_BYTES = 1 << 28
"""All rows of a database come in one message."""


class ExternalSource:
    """`on_lock`: called when the lock was got."""

    def __init__(self, place: str, tls: Tls | None = None) -> None:
        self.database = Database(VSWITCH_SCHEMA, new_uuid)
        self.has_lock = False
        self.on_lock: Callable[[], None] = lambda: None
        self.resyncs = 0
        target = parse_target(place, passive=False, default_port=OVSDB_PORT)
        self._dialer = Dialer(target, self._opened, tls)
        self._stream: Stream | None = None
        self._framer = Framer(MAX_MESSAGE_BYTES)
        self._identity = 0
        self._waiting: dict[int, asyncio.Future[Json]] = {}
        self._beginning: asyncio.Task[None] | None = None
        self._probing: asyncio.Task[None] | None = None
        self._heard_s = 0.0
        self._is_known = asyncio.Event()

    async def start(self) -> None:
        """Connect; returns when the rows are known for the first time."""
        self._dialer.start()
        self._probing = asyncio.get_running_loop().create_task(self._probe(), name="asking the database's server")
        await self._is_known.wait()

    async def stop(self) -> None:
        """End it."""
        tasks = [task for task in (self._probing, self._beginning) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._dialer.stop()

    async def transact(self, operations: Sequence[Json]) -> list[Json]:
        """The results. OvsdbError: it was refused; MachineError: there is no connection."""
        results = await self._call("transact", [DATABASE, *operations])
        if not isinstance(results, list):
            raise MachineError(f"{self._dialer.target.text}: the answer to a transaction is none")
        for result in results:
            if isinstance(result, dict) and "error" in result:
                raise _refusal(result)
        return results

    # ---- the connection

    def _opened(self, stream: Stream) -> None:
        self._stream = stream
        self._framer = Framer(MAX_MESSAGE_BYTES)
        self._heard_s = asyncio.get_running_loop().time()
        stream.on_data = self._received
        stream.on_close = self._closed
        self._beginning = asyncio.get_running_loop().create_task(self._begin(stream), name="following the database")

    def _closed(self, reason: str) -> None:
        self._stream = None
        self.has_lock = False
        if self._beginning is not None:
            self._beginning.cancel()
        waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            if not future.done():
                future.set_exception(MachineError(f"{self._dialer.target.text}: {reason}"))
                future.exception()  # nobody may be waiting any more

    async def _begin(self, stream: Stream) -> None:
        try:
            schema = DatabaseSchema.parse(await self._call("get_schema", [DATABASE]))
            if schema != self.database.schema:
                listeners = self.database.listeners
                self.database = Database(schema, new_uuid)
                self.database.listeners = listeners
            requests: Json = {
                name: {"columns": [column.name for column in table.by_position if not column.is_built_in]}
                for name, table in schema.tables.items()
            }
            rows = await self._call("monitor", [DATABASE, DATABASE, requests])
            self._resync(rows)
            self._is_known.set()
            locked = await self._call("lock", [LOCK])
            if isinstance(locked, dict) and locked.get("locked") is True:
                self._locked()
            else:
                logger.info("%s: another process has the lock %s", self._dialer.target.text, LOCK)
        except VswitchError as problem:
            logger.warning("%s: %s", self._dialer.target.text, problem)
            stream.close(str(problem))

    def _locked(self) -> None:
        self.has_lock = True
        self.on_lock()

    async def _probe(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(PROBE_S / 2)
            silent_s = loop.time() - self._heard_s
            if self._stream is None or silent_s < PROBE_S:
                continue
            if silent_s >= 2 * PROBE_S:
                self._stream.close(f"the server has been silent for {silent_s:.0f} s")
            else:
                self._stream.write(message("echo", [], "echo"))

    # ---- messages

    async def _call(self, method: str, params: Json) -> Json:
        """The result. MachineError: there is no connection; OvsdbError: it was refused."""
        if self._stream is None:
            raise MachineError(f"{self._dialer.target.text}: there is no connection")
        if len(self._waiting) >= MAX_REQUESTS:
            raise MachineError(f"{self._dialer.target.text}: {MAX_REQUESTS} requests wait for an answer")
        self._identity += 1
        identity = self._identity
        future = self._waiting[identity] = asyncio.get_running_loop().create_future()
        self._stream.write(message(method, params, identity))
        try:
            return await future
        finally:
            self._waiting.pop(identity, None)

    def _received(self, data: bytes) -> None:
        self._heard_s = asyncio.get_running_loop().time()
        try:
            for found in self._framer.feed(data):
                self._take(found)
        except VswitchError as problem:  # what it says makes no sense, so what it said may not have either
            if self._stream is not None:
                self._stream.close(str(problem))

    def _take(self, found: dict[str, Any]) -> None:
        method, params = found.get("method"), found.get("params")
        if method is None:
            identity = found.get("id")
            future = self._waiting.get(identity) if isinstance(identity, int) else None
            if future is not None and not future.done():
                if found.get("error") is not None:
                    future.set_exception(_refusal(found["error"]))
                else:
                    future.set_result(found.get("result"))
        elif method == "echo":
            if self._stream is not None:
                self._stream.write(dumps({"id": found.get("id"), "result": params, "error": None}).encode())
        elif method == "update" and isinstance(params, list) and len(params) == 2:
            self._update(params[1])
        elif method == "locked":
            self._locked()
        elif method == "stolen":
            self.has_lock = False

    # ---- rows

    def _resync(self, given: Json) -> None:
        """These are all rows."""
        self.resyncs += 1
        changes: dict[str, dict[str, RowChange]] = {}
        updates = given if isinstance(given, dict) else {}
        for name, table in self.database.tables.items():
            new = {uuid: self._row(table, uuid, each) for uuid, each in _rows(updates.get(name, {})).items()}
            for uuid in table.rows.keys() | new.keys():
                before, after = table.rows.get(uuid), new.get(uuid)
                if before != after:
                    changes.setdefault(name, {})[uuid] = (before, after)
        self._carry_out(changes)

    def _update(self, given: Json) -> None:
        changes: dict[str, dict[str, RowChange]] = {}
        for name, rows in (given if isinstance(given, dict) else {}).items():
            table = self.database.tables.get(name)
            if table is None:
                continue
            for uuid, each in _rows(rows).items():
                after = self._row(table, uuid, each) if each.get("new") is not None else None
                changes.setdefault(name, {})[uuid] = (table.rows.get(uuid), after)
        self._carry_out(changes)

    def _row(self, table: Table, uuid: str, given: dict[str, Any]) -> Row:
        row = list(table.schema.default)
        row[UUID] = (uuid,)
        for name, value in given["new"].items():
            column = table.schema.columns.get(name)
            if column is not None:
                row[column.position] = parse(column.type, value)
        return tuple(row)

    def _carry_out(self, changes: dict[str, dict[str, RowChange]]) -> None:
        for name, rows in changes.items():
            there = self.database.tables[name].rows
            for uuid, (_, after) in rows.items():
                if after is None:
                    there.pop(uuid, None)
                else:
                    there[uuid] = after
        if changes:
            self.database.committed(Change(new_uuid(), changes))


def _rows(given: Json) -> dict[str, dict[str, Any]]:
    """MachineError: what the server says makes no sense."""
    if not isinstance(given, dict) or not all(isinstance(each, dict) for each in given.values()):
        raise MachineError("an update of a table is no object of rows")
    return given


def _refusal(error: Json) -> VswitchError:
    if not isinstance(error, dict):
        return MachineError(str(error))
    name, details = str(error.get("error")), str(error.get("details", ""))
    return OvsdbError(name, details) if name in NAMES else MachineError(f"{name}: {details}")
