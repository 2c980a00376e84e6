"""A server of databases on asyncio: its sockets, its files, and its time.

One thread does everything but syncing and compacting files, which wait for disks. Replies to durable transactions that
come while a file is being synced wait for the next time, all of them for one. A process that does nothing else may also
sync by itself while the disk is quick: another thread would take longer to hear of it.

Invariant: a reply to a durable transaction is sent after its file has been synced, and updates before the replies that
they belong to.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vswitch.base.errors import BusyError
from vswitch.daemon.remotes import Remotes
from vswitch.ovsdb.database import Database
from vswitch.ovsdb.errors import FramingError
from vswitch.ovsdb.log import Log
from vswitch.ovsdb.server import Server
from vswitch.ovsdb.session import Session
from vswitch.transport.streams import Stream
from vswitch.transport.targets import Tls

__all__ = ["DatabaseServer", "new_uuid", "now_ms"]

logger = logging.getLogger("vswitch")

PROBE_S = 5.0
"""A peer on the network that has been silent so long is asked whether it is there; twice that, and it is gone."""

QUICK_SYNC_NS = 1_000_000
"""A disk that was that quick the last time is waited for, where `syncs_here`."""

LOOK_S = 1.0
"""How often silent peers and large files are looked for."""


def new_uuid() -> str:
    """A random one (RFC 4122, version 4). # hot: two per transaction"""
    digits = f"{_random.getrandbits(128) & ~_FIXED | _VERSION_4:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


_random = random.Random(secrets.randbits(256))
"""They need to be like no others, not to be secret, and the kernel is slow to ask."""

_FIXED = 0xF << 76 | 0x3 << 62
_VERSION_4 = 0x4 << 76 | 0x2 << 62


def now_ms() -> int:
    """The time, in ms since 1970."""
    return time.time_ns() // 1_000_000


@dataclass(slots=True)
class _Client:
    """`probe_s`: after how much silence it is asked; 0: never."""

    stream: Stream
    session: Session
    probe_s: float
    is_probed: bool = False
    is_scheduled: bool = False


class DatabaseServer:
    """Databases from their files, at remotes. `server`: what is served; `remotes`: where. `syncs_here`: nobody but
    clients of databases is kept waiting if a sync takes long for once."""

    def __init__(self, tls: Tls | None = None, *, syncs_here: bool = False) -> None:
        self.server = Server(new_uuid)
        self._syncs_here = syncs_here
        self._sync_ns = 0  # the last one took so long
        self._is_sync_due = False
        self.logs: dict[str, Log] = {}
        self.remotes = Remotes(self, tls)
        self._clients: dict[Session, _Client] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._deadline_s: float | None = None
        self._syncing: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None
        self._compacting: asyncio.Task[None] | None = None

    # ---- databases

    def open(self, path: Path) -> Database:
        """Serve the database in this file. LogError: it holds none; BusyError: another process has it."""
        log = Log(path, new_uuid, now_ms)
        if log.discarded:
            logger.warning("%s: %d bytes of an unfinished transaction are gone", path, log.discarded)
        try:
            self.server.add(log.database, log)
        except BaseException:
            log.close()
            raise
        self.logs[log.database.schema.name] = log
        self.flush()
        return log.database

    def close_database(self, name: str) -> None:
        """Serve it no longer. Replies that wait for its file come now: it is synced."""
        database = self.server.databases[name]
        if database in self.server.unsynced():
            self.logs[name].sync()
        self.server.remove(name)
        self.logs.pop(name).close()
        self.flush()

    # ---- running

    def start(self) -> None:
        """Begin, on the running event loop."""
        self._looking = asyncio.get_running_loop().create_task(self._look(), name="looking after clients and files")

    async def stop(self) -> None:
        """No more of it. What was acknowledged is on the disk."""
        await self.remotes.stop()
        for client in list(self._clients.values()):
            client.stream.close("the server ends")
        for task in (self._looking, self._compacting):
            if task is not None:
                task.cancel()
        tasks = [task for task in (self._looking, self._compacting, self._syncing) if task is not None]
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._timer is not None:
            self._timer.cancel()
        for log in self.logs.values():
            log.close()
        self.logs = {}

    def now_s(self) -> float:
        """Time that does not jump."""
        return time.monotonic()

    # ---- clients

    def opened(self, stream: Stream, *, probe_s: float, is_read_only: bool = False) -> None:
        """A client has come."""
        session = self.server.connect(stream.peer, self.now_s(), is_read_only=is_read_only)
        client = self._clients[session] = _Client(stream, session, probe_s)

        def on_data(data: bytes) -> None:
            client.is_probed = False
            self._do(client, lambda: session.receive(data, self.now_s()))

        def on_close(_reason: str) -> None:
            if self._clients.pop(session, None) is not None:
                self.server.disconnect(session, self.now_s())
                self.flush()

        def on_writable() -> None:
            session.uncongested()
            self._do(client, lambda: session.work(self.now_s()))

        stream.on_data, stream.on_close, stream.on_writable = on_data, on_close, on_writable

    def _do(self, client: _Client, work: Callable[[], None]) -> None:
        try:
            work()
        except FramingError as error:
            client.session.closing = str(error)
            self.server.ready.add(client.session)
        self.flush()

    def _go_on(self, client: _Client) -> None:
        """Its next turn."""
        client.is_scheduled = False
        if client.session in self._clients and not client.session.congested:
            self._do(client, lambda: client.session.work(self.now_s()))

    def flush(self) -> None:
        """Send what there is to be sent, and see to files and deadlines. # hot: once per slice of a client's bytes"""
        self._send()
        if self._syncing is None and (unsynced := self.server.unsynced()):
            if self._syncs_here and self._sync_ns < QUICK_SYNC_NS:
                if len(self._clients) == 1:
                    self._sync_now()
                elif not self._is_sync_due:  # all who have asked by now are synced for at once
                    self._is_sync_due = True
                    asyncio.get_running_loop().call_soon(self._sync_now)
            else:
                self._syncing = asyncio.get_running_loop().create_task(self._sync(unsynced), name="syncing databases")
        self._set_timer()

    def _send(self) -> None:
        ready = self.server.ready
        while ready:
            session = ready.pop()
            client = self._clients.get(session)
            if client is None:
                continue
            if data := session.take():
                client.stream.write(data)
                session.congested = client.stream.is_full
            if session.closing:
                client.stream.close(session.closing)
            elif session.has_more and not session.congested and not client.is_scheduled:
                client.is_scheduled = True
                asyncio.get_running_loop().call_soon(self._go_on, client)

    def _set_timer(self) -> None:
        deadline_s = self.server.next_deadline_s
        if deadline_s == self._deadline_s:
            return
        self._deadline_s = deadline_s
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if deadline_s is not None:
            delay_s = max(0.0, deadline_s - self.now_s())
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._expire)

    def _expire(self) -> None:
        self._timer, self._deadline_s = None, None
        self.server.expire(self.now_s())
        self.flush()

    # ---- files

    def _sync_now(self) -> None:
        self._is_sync_due = False
        if self._syncing is None:
            for database, count in self.server.unsynced().items():
                self._synced(database, count, *_timed(self._sync_of(database)))
            self._send()

    async def _sync(self, unsynced: dict[Database, int]) -> None:
        loop = asyncio.get_running_loop()
        while unsynced:
            for database, count in unsynced.items():
                found = await loop.run_in_executor(None, _timed, self._sync_of(database))
                self._synced(database, count, *found)
            unsynced = self.server.unsynced()
        self._syncing = None
        self.flush()

    def _sync_of(self, database: Database) -> Callable[[], None]:
        """What syncs its file, in whatever thread."""
        log = self.logs.get(database.schema.name)
        return log.sync_elsewhere() if log is not None else _nothing

    def _synced(self, database: Database, count: int, problem: OSError | None, took_ns: int) -> None:
        self._sync_ns = took_ns
        if problem is not None:
            logger.error("%s: %s", database.schema.name, problem.strerror)  # its words are enough
        self.server.synced(database, count, problem)

    async def compact(self, name: str) -> None:
        """Make the file of a database as short as it can be, while it is served. OSError: the old one stays."""
        log = self.logs[name]
        compaction = log.compaction()
        try:
            await asyncio.get_running_loop().run_in_executor(None, compaction.write)
            compaction.finish()
        except BaseException:
            compaction.abandon()
            raise

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            self._probe()
            self.remotes.look()
            large = [name for name, log in self.logs.items() if log.is_large]
            if large and (self._compacting is None or self._compacting.done()):
                self._compacting = asyncio.get_running_loop().create_task(self._compact(large))

    async def _compact(self, names: list[str]) -> None:
        for name in names:
            try:
                await self.compact(name)
            except (OSError, BusyError) as error:
                logger.warning("database %s could not be compacted: %s", name, error)

    def _probe(self) -> None:
        now_s = self.now_s()
        for client in list(self._clients.values()):
            if not client.probe_s:
                continue
            silent_s = now_s - client.session.last_heard_s
            if silent_s >= 2 * client.probe_s:
                client.stream.close(f"it has been silent for {silent_s:.0f} s")
            elif silent_s >= client.probe_s and not client.is_probed:
                client.is_probed = True
                client.session.probe()
        self.flush()


def _nothing() -> None:
    pass


def _timed(sync: Callable[[], None]) -> tuple[OSError | None, int]:
    """What went wrong, if something did, and how many nanoseconds it took."""
    begun_ns = time.monotonic_ns()
    try:
        sync()
    except OSError as problem:
        return problem, time.monotonic_ns() - begun_ns
    return None, time.monotonic_ns() - begun_ns
