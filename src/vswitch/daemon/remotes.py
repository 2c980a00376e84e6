"""Where a server of databases is to be found: targets that it is told, and those in a column of a database.

A remote is written as Open vSwitch writes it: `punix:FILE`, `ptcp:[PORT][:HOST]`, `pssl:...` to be connected to,
`unix:`, `tcp:`, `ssl:` to connect to a client, and `db:DATABASE,TABLE,COLUMN` for all that are named there, now and
later: a column of strings, or one that refers to rows with a column `target`, such as `manager_options` of
`Open_vSwitch`. Such rows are told whether somebody is connected.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vswitch.base.errors import ConfigError
from vswitch.ovsdb.database import Change, Database, Table
from vswitch.ovsdb.schema import UUID, Column, Row
from vswitch.ovsdb.types import Json
from vswitch.transport.streams import MAX_BACKOFF_S, Dialer, Listener, Stream
from vswitch.transport.targets import OVSDB_PORT, Target, Tls, parse_target

if TYPE_CHECKING:
    from vswitch.daemon.ovsdb import DatabaseServer

__all__ = ["Remotes"]

logger = logging.getLogger("vswitch")

MAX_REMOTES = 256
"""At a time: each is a socket."""


@dataclass(frozen=True, slots=True)
class _Settings:
    """Of one remote, as its row has them. `row`: that, to be told what becomes of it."""

    target: str
    probe_s: float
    max_backoff_s: float = MAX_BACKOFF_S
    row: tuple[str, str, str] | None = None


@dataclass(slots=True)
class _Remote:
    settings: _Settings
    target: Target
    end: Listener | Dialer | None = None
    problem: str = ""
    streams: set[Stream] = field(default_factory=set)
    connections: int = 0
    told: dict[str, Json] = field(default_factory=dict)


class Remotes:
    """Of one server."""

    def __init__(self, owner: DatabaseServer, tls: Tls | None, probe_s: float = 5.0) -> None:
        self._owner = owner
        self._tls = tls
        self._probe_s = probe_s
        self._fixed: dict[str, _Remote] = {}
        self._sources: list[str] = []
        self._named: dict[_Settings, _Remote] = {}
        self._task: asyncio.Task[None] | None = None
        self._again = False

    async def add(self, text: str) -> None:
        """Be there from now on. ConfigError: it is none, or cannot be listened there."""
        if text.startswith("db:"):
            self._find(text)
            self._sources.append(text)
            await self._follow()
            return
        if text in self._fixed:
            raise ConfigError(f"remote {text!r} is there already")
        remote = _Remote(_Settings(text, self._probe_s), parse_target(text, default_port=OVSDB_PORT))
        await self._begin(remote)
        self._fixed[text] = remote

    async def remove(self, text: str) -> None:
        """Be there no longer. ConfigError: it is not there."""
        if text in self._sources:
            self._sources.remove(text)
            await self._follow()
            return
        remote = self._fixed.pop(text, None)
        if remote is None:
            raise ConfigError(f"there is no remote {text!r}")
        await self._end(remote)

    def listed(self) -> list[str]:
        """What was added, in order of name."""
        return sorted([*self._fixed, *self._sources])

    async def stop(self) -> None:
        """At none of them."""
        self._sources = []
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for remote in [*self._fixed.values(), *self._named.values()]:
            await self._end(remote)
        self._fixed, self._named = {}, {}

    # ---- one remote

    async def _begin(self, remote: _Remote) -> None:
        is_local = remote.target.is_local

        def opened(stream: Stream) -> None:
            remote.streams.add(stream)
            remote.connections += 1
            self._owner.opened(stream, probe_s=0.0 if is_local else remote.settings.probe_s)
            ended = stream.on_close

            def on_close(reason: str) -> None:
                remote.streams.discard(stream)
                ended(reason)

            stream.on_close = on_close

        if remote.target.passive:
            listener = Listener(remote.target, opened, self._tls)
            await listener.start()
            remote.end = listener
        else:
            dialer = Dialer(remote.target, opened, self._tls, max_backoff_s=remote.settings.max_backoff_s)
            dialer.start()
            remote.end = dialer

    async def _end(self, remote: _Remote) -> None:
        if remote.end is not None:
            await remote.end.stop()

    # ---- those in a database

    def _find(self, source: str) -> tuple[Database, Table, Column]:
        words = source.removeprefix("db:").split(",")
        if len(words) != 3:
            raise ConfigError(f"remote {source!r} is not of the form db:DATABASE,TABLE,COLUMN")
        database = self._owner.server.databases.get(words[0])
        table = database.tables.get(words[1]) if database is not None else None
        column = table.schema.columns.get(words[2]) if table is not None else None
        if database is None or table is None or column is None:
            raise ConfigError(f"remote {source!r}: there is no such database, table or column")
        if column.type.key.kind != "string" and not column.type.key.ref_table:
            raise ConfigError(f"remote {source!r}: the column neither holds strings nor refers to rows")
        return database, table, column

    async def _follow(self) -> None:
        """Be at the remotes that are in the databases now, and at no others of them."""
        wanted: dict[_Settings, None] = {}
        for source in self._sources:
            try:
                database, table, column = self._find(source)
            except ConfigError as error:
                logger.warning("%s", error)
                continue
            if self._changed not in database.listeners:
                database.listeners.append(self._changed)
            wanted |= dict.fromkeys(self._settings(database, table, column))
        if len(wanted) > MAX_REMOTES:
            logger.warning("%d remotes are in the databases, more than %d", len(wanted), MAX_REMOTES)
            wanted = dict.fromkeys(list(wanted)[:MAX_REMOTES])
        for settings in [each for each in self._named if each not in wanted]:
            await self._end(self._named.pop(settings))
        for settings in wanted:
            if settings not in self._named:
                await self._begin_named(settings)

    async def _begin_named(self, settings: _Settings) -> None:
        try:
            remote = _Remote(settings, parse_target(settings.target, default_port=OVSDB_PORT))
        except ConfigError as error:
            remote = _Remote(settings, Target(settings.target, "", passive=True), problem=str(error))
        else:
            try:
                await self._begin(remote)
            except ConfigError as error:
                remote.problem = str(error)
        if remote.problem:
            logger.warning("%s", remote.problem)
        self._named[settings] = remote

    def _changed(self, change: Change) -> None:
        """Of a transaction in a database with remotes: follow, after it, if it may have to do with them."""
        names = {name for source in self._sources for name in self._tables_of(source)}
        if not names & change.tables.keys():
            return
        self._again = True
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._keep_following(), name="following remotes")

    async def _keep_following(self) -> None:
        while self._again:
            self._again = False
            await self._follow()

    def _tables_of(self, source: str) -> set[str]:
        try:
            _, table, column = self._find(source)
        except ConfigError:
            return set()
        return {table.schema.name, column.type.key.ref_table}

    def _settings(self, database: Database, table: Table, column: Column) -> list[_Settings]:
        found: dict[str, _Settings] = {}
        for row in table.rows.values():
            for atom in row[column.position]:
                if not column.type.key.ref_table:
                    found.setdefault(atom, _Settings(atom, self._probe_s))
                elif (referred := database.tables[column.type.key.ref_table].rows.get(atom)) is not None:
                    each = self._settings_of(database, database.tables[column.type.key.ref_table], referred)
                    found.setdefault(each.target, each)
        return list(found.values())

    def _settings_of(self, database: Database, table: Table, row: Row) -> _Settings:
        target = _first(table, row, "target", "")
        probe_ms = _first(table, row, "inactivity_probe", self._probe_s * 1000)
        backoff_ms = _first(table, row, "max_backoff", MAX_BACKOFF_S * 1000)
        assert isinstance(target, str)
        assert isinstance(probe_ms, int | float)
        assert isinstance(backoff_ms, int | float)
        place = (database.schema.name, table.schema.name, row[UUID][0])
        return _Settings(target, max(0.0, probe_ms / 1000), max(1.0, backoff_ms / 1000), place)

    # ---- what rows are told

    def look(self) -> None:
        """Tell rows what has become of their remotes, if that is news."""
        for remote in self._named.values():
            if remote.settings.row is None:
                continue
            state = _state(remote)
            if state != remote.told:
                remote.told = state
                self._tell(remote.settings.row, state)

    def _tell(self, place: tuple[str, str, str], state: dict[str, Json]) -> None:
        name, table_name, uuid = place
        database = self._owner.server.databases.get(name)
        table = database.tables.get(table_name) if database is not None else None
        if table is None:
            return
        row = {column: value for column, value in state.items() if column in table.schema.columns}
        where: Json = [["_uuid", "==", ["uuid", uuid]]]
        update: Json = {"op": "update", "table": table_name, "where": where, "row": row}
        outcome = self._owner.server.transact(name, [update], self._owner.now_s())
        if outcome.error is not None:
            logger.warning("%s: %s", table_name, outcome.error)
        self._owner.flush()


def _state(remote: _Remote) -> dict[str, Json]:
    status: list[tuple[str, str]] = []
    if isinstance(remote.end, Listener):
        if remote.end.port:
            status.append(("bound_port", str(remote.end.port)))
        status.append(("n_connections", str(len(remote.streams))))
        status.append(("state", "ACTIVE"))
    elif isinstance(remote.end, Dialer):
        if remote.end.last_error:
            status.append(("last_error", remote.end.last_error))
        status.append(("state", remote.end.state.upper()))
    if remote.problem:
        status.append(("last_error", remote.problem))
    return {"is_connected": bool(remote.streams), "status": ["map", [list(pair) for pair in status]]}


def _first(table: Table, row: Row, name: str, default: Json) -> Json:
    column = table.schema.columns.get(name)
    value = row[column.position] if column is not None else ()
    return value[0] if value else default
