"""Databases and their clients, without sockets: who is told of what, who waits for what, who has which lock.

The caller gives the bytes of each client to its `Session`, sends what the sessions in `ready` have to say, calls
`expire` when `next_deadline_s` has come, and `synced` when what `unsynced` names is on the disk.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol
from weakref import WeakValueDictionary

from vswitch.base.errors import ExistsError
from vswitch.ovsdb.convert import convert
from vswitch.ovsdb.database import Change, Database
from vswitch.ovsdb.errors import OvsdbError
from vswitch.ovsdb.framing import dumps
from vswitch.ovsdb.locks import Locks
from vswitch.ovsdb.monitors import View
from vswitch.ovsdb.schema import DatabaseSchema
from vswitch.ovsdb.server_schema import SERVER_SCHEMA
from vswitch.ovsdb.session import Monitor, Session, Waiting
from vswitch.ovsdb.transaction import Outcome, execute
from vswitch.ovsdb.types import Json

__all__ = ["Counters", "Server", "Store"]


_ROUNDING_S = 0.001
"""Added to the time of who gives up, so that a rounded difference is not short of what it waits."""


class Store(Protocol):
    """The file of a database (`log.Log`)."""

    def replace(self, database: Database) -> None:
        """Let it hold another one from now on. OSError: it holds the old one."""


@dataclass(slots=True)
class Counters:
    """What has happened, in numbers."""

    sessions: int = 0
    requests: int = 0
    transactions: int = 0
    retried: int = 0
    timed_out: int = 0
    ended: int = 0
    """Sessions that were ended because a database changed its schema, or went."""


@dataclass(frozen=True, slots=True)
class _Held:
    """A reply that waits for the disk."""

    session: Session
    identity: Json
    outcome: Outcome


class Server:
    """`new_uuid`: makes one that nobody has had. `ready`: sessions that have something to be sent, or requests for
    another turn, or are `closing`."""

    def __init__(self, new_uuid: Callable[[], str]) -> None:
        self.new_uuid = new_uuid
        self.identity = new_uuid()
        self.databases: dict[str, Database] = {}
        self.stores: dict[str, Store] = {}
        self.sessions: dict[Session, None] = {}
        self.ready: set[Session] = set()
        self.locks: Locks[Session] = Locks()
        self.counters = Counters()
        self._listeners: dict[Database, Callable[[Change], None]] = {}
        self._monitors: dict[Database, dict[Monitor, None]] = {}
        self._views: WeakValueDictionary[tuple[str, int, str], View] = WeakValueDictionary()
        self._waiting: dict[Waiting, None] = {}
        self._waiting_on: dict[tuple[Database, str], dict[Waiting, None]] = {}
        self._deadlines: list[tuple[float, int, Waiting]] = []
        self._sequence = itertools.count()
        self._changed: dict[Database, set[str]] = {}
        self._held: dict[Database, list[_Held]] = {}
        self._own = Database(SERVER_SCHEMA, new_uuid)
        self._take(self._own)
        self._describe({"op": "insert", "table": "Database", "row": self._row(self._own)})

    # ---- databases

    def add(self, database: Database, store: Store | None = None) -> None:
        """Serve it. `store`: its file. ExistsError: one of this name is served."""
        name = database.schema.name
        if name in self.databases:
            raise ExistsError(f"database {name} is served already")
        self._take(database)
        if store is not None:
            self.stores[name] = store
        self._describe({"op": "insert", "table": "Database", "row": self._row(database)})
        self._end_unaware()

    def remove(self, name: str) -> None:
        """Serve it no longer."""
        self._leave(self.databases[name])
        self.stores.pop(name, None)
        self._describe({"op": "delete", "table": "Database", "where": [["name", "==", name]]})
        self._end_unaware()

    def convert(self, database: Database, given: Json) -> None:
        """Give it another schema. OvsdbError: it cannot have that one, and keeps its own."""
        schema = DatabaseSchema.parse(given)
        name = database.schema.name
        if database is self._own:
            raise OvsdbError("not allowed", f"database {name} cannot be converted")
        new = convert(database, schema)
        store = self.stores.get(name)
        if store is not None:
            try:
                store.replace(new)
            except OSError as problem:
                raise OvsdbError("I/O error", f"the database's file: {problem.strerror}") from problem
        new.listeners = [listener for listener in database.listeners if listener is not self._listeners[database]]
        self._leave(database)
        self._take(new)
        row = self._row(new)
        self._describe({"op": "update", "table": "Database", "where": [["name", "==", name]], "row": row})
        self._end_unaware()

    def _take(self, database: Database) -> None:
        self.databases[database.schema.name] = database
        self._monitors[database] = {}

        def listener(change: Change) -> None:
            self._committed(database, change)

        self._listeners[database] = listener
        database.listeners.append(listener)

    def _leave(self, database: Database) -> None:
        """Its monitors end, and what waits in it."""
        database.listeners.remove(self._listeners.pop(database))
        for monitor in self._monitors.pop(database):
            monitor.session.monitors.pop(dumps(monitor.identity), None)
            monitor.session.notify("monitor_canceled", [monitor.identity])
        for waiting in [each for each in self._waiting if each.database is database]:
            self.forget(waiting)
            waiting.session.refuse(waiting.identity, "canceled")
        self.synced(database)
        self._changed.pop(database, None)
        del self.databases[database.schema.name]

    def _end_unaware(self) -> None:
        """Clients that do not know that databases change have to begin anew."""
        for session in self.sessions:
            if not session.is_change_aware:
                session.closing = "the databases have changed"
                self.ready.add(session)
                self.counters.ended += 1

    def _row(self, database: Database) -> dict[str, Json]:
        schema = database.schema
        return {
            "name": schema.name,
            "model": "standalone",
            "connected": True,
            "leader": True,
            "schema": dumps(schema.to_json()),
        }

    def _describe(self, operation: Json) -> None:
        outcome = execute(self._own, [operation])
        assert outcome.error is None, outcome.error

    # ---- sessions

    def connect(self, peer: str, now_s: float, *, is_read_only: bool = False) -> Session:
        """A client has come."""
        session = Session(self, peer, now_s, is_read_only=is_read_only)
        self.sessions[session] = None
        self.counters.sessions += 1
        return session

    def disconnect(self, session: Session, now_s: float) -> None:
        """It has gone: its locks are others', its monitors and what it waited for end."""
        self.sessions.pop(session, None)
        for monitor in session.monitors.values():
            self.monitors_of(monitor.database).pop(monitor, None)
        for waiting in list(session.waiting.values()):
            self.forget(waiting)
        for name in self.locks.names(session):
            session.unlock(name)
        self.ready.discard(session)
        self.settle(now_s)

    def monitors_of(self, database: Database) -> dict[Monitor, None]:
        """Those of the database."""
        return self._monitors.get(database, {})

    def view(self, database: Database, version: int, given: Json) -> View:
        """What is asked for; one that somebody asks for already is the same."""
        key = (database.schema.name, version, dumps(given))
        found = self._views.get(key)
        if found is None or found.schema is not database.schema:
            found = self._views[key] = View.parse(database.schema, version, given)
        return found

    # ---- transactions

    def transact(self, name: str, operations: Sequence[Json], now_s: float) -> Outcome:
        """One of the program's own, which is not a client: what it waits for it does not wait for."""
        outcome = self._execute(self.databases[name], operations, lambda _lock: True, 0.0, is_read_only=False)
        self.settle(now_s)
        return outcome

    def execute(self, database: Database, operations: Sequence[Json], session: Session, waited_ms: float) -> Outcome:
        """One of a client's."""

        def owns(lock: str) -> bool:
            return self.locks.owner(lock) is session

        is_read_only = session.is_read_only or database is self._own
        return self._execute(database, operations, owns, waited_ms, is_read_only=is_read_only)

    def _execute(
        self,
        database: Database,
        operations: Sequence[Json],
        owns: Callable[[str], bool],
        waited_ms: float,
        *,
        is_read_only: bool,
    ) -> Outcome:
        self.counters.transactions += 1
        return execute(database, operations, waited_ms=waited_ms, owns=owns, is_read_only=is_read_only)

    def _committed(self, database: Database, change: Change) -> None:
        for monitor in self._monitors[database]:
            monitor.tell(change)
        if self._waiting:
            self._changed.setdefault(database, set()).update(change.tables)

    # ---- what waits

    def wait(self, waiting: Waiting) -> None:
        """Try it again when something has changed that may help."""
        self._waiting[waiting] = None
        for table in waiting.tables:
            self._waiting_on.setdefault((waiting.database, table), {})[waiting] = None
        self._note_deadline(waiting)

    def _note_deadline(self, waiting: Waiting) -> None:
        if waiting.deadline_s is not None:
            heapq.heappush(self._deadlines, (waiting.deadline_s, next(self._sequence), waiting))

    def forget(self, waiting: Waiting) -> None:
        """Do not."""
        self._waiting.pop(waiting, None)
        for table in waiting.tables:
            others = self._waiting_on.get((waiting.database, table), {})
            others.pop(waiting, None)
            if not others:
                self._waiting_on.pop((waiting.database, table), None)
        waiting.session.waiting.pop(dumps(waiting.identity), None)

    def settle(self, now_s: float) -> None:
        """Try again what waits for what has changed; what that changes may help others."""
        while self._changed:
            database, tables = self._changed.popitem()
            concerned = {each: None for table in tables for each in self._waiting_on.get((database, table), ())}
            for waiting in concerned:
                if waiting in self._waiting:
                    self._retry(waiting, now_s)

    def _retry(self, waiting: Waiting, now_s: float) -> None:
        self.counters.retried += 1
        waited_ms = (now_s - waiting.begun_s) * 1000
        outcome = self.execute(waiting.database, waiting.operations, waiting.session, waited_ms)
        if outcome.results is not None:
            self.forget(waiting)
            waiting.session.conclude(waiting.database, waiting.identity, outcome)
            return
        before = waiting.deadline_s
        waiting.deadline_s = None if outcome.timeout_ms is None else waiting.begun_s + outcome.timeout_ms / 1000
        if waiting.deadline_s != before:  # it waits at another place
            self._note_deadline(waiting)

    @property
    def next_deadline_s(self) -> float | None:
        """When `expire` has something to do."""
        heap = self._deadlines
        while heap and (heap[0][2] not in self._waiting or heap[0][2].deadline_s != heap[0][0]):
            heapq.heappop(heap)  # it waits no more, or for another time
        return heap[0][0] if heap else None

    def expire(self, now_s: float) -> None:
        """What has waited long enough gives up."""
        while (deadline_s := self.next_deadline_s) is not None and deadline_s <= now_s:
            _, _, waiting = heapq.heappop(self._deadlines)
            self.counters.timed_out += 1
            self._retry(waiting, now_s + _ROUNDING_S)
        self.settle(now_s)

    # ---- what is to be on the disk

    def hold(self, database: Database, session: Session, identity: Json, outcome: Outcome) -> None:
        """Reply when the transaction is on the disk."""
        self._held.setdefault(database, []).append(_Held(session, identity, outcome))

    def unsynced(self) -> dict[Database, int]:
        """Databases whose file is to be synced, and how many replies wait for that."""
        return {database: len(held) for database, held in self._held.items()}

    def synced(self, database: Database, count: int | None = None, problem: OSError | None = None) -> None:
        """The first `count` of those replies (None: all) wait no more. `problem`: it could not be."""
        held = self._held.pop(database, [])
        count = len(held) if count is None else count
        if held[count:]:
            self._held[database] = held[count:]
        for each in held[:count]:
            if problem is None:
                each.session.reply(each.identity, each.outcome.results)
            else:
                error = OvsdbError("I/O error", f"the database's file: {problem.strerror}")
                assert each.outcome.results is not None
                each.session.reply(each.identity, [*each.outcome.results, error.to_json()])
