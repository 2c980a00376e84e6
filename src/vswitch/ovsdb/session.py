"""One client of the server: its bytes in, ours out, without a socket.

What is to be sent lies in `take`; what is sent late is bounded: while `congested`, changes of monitored rows are joined
to one, and the caller gives no more bytes of the client. Of what a client asks for at once a part is done in each turn
(`work`), so that others have theirs and no replies pile up. Replies come in the order in which requests are done with,
updates before the reply to the transaction that made them (RFC 7047, 4.1.3).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vswitch.ovsdb.database import Change, Database, RowChange
from vswitch.ovsdb.errors import FramingError, OvsdbError, syntax_error
from vswitch.ovsdb.framing import MAX_MESSAGE_BYTES, Framer, dumps
from vswitch.ovsdb.monitors import View, join
from vswitch.ovsdb.schema import IDENTIFIER
from vswitch.ovsdb.transaction import Outcome, tables_named
from vswitch.ovsdb.types import Json
from vswitch.ovsdb.values import is_uuid

if TYPE_CHECKING:
    from vswitch.ovsdb.server import Server

__all__ = ["MAX_MONITORS", "MAX_WAITING", "Monitor", "Session", "Waiting"]

MAX_WAITING = 256
"""Transactions of one session that wait for something."""

MAX_MONITORS = 1024
"""Of one session."""

TURN_REQUESTS, TURN_CHARACTERS = 16, 1 << 20
"""What is done of one session's requests in one turn, and how much of replies may wait before no more is done."""

MAX_REQUESTS = 10_000
"""That one session may have sent without their having been done."""


@dataclass(eq=False, slots=True)
class Monitor:
    """What a client is told. `pending`: changes that it has not been told of, joined."""

    session: Session
    database: Database
    identity: Json
    view: View
    pending: dict[str, dict[str, RowChange]] = field(default_factory=dict)

    def tell(self, change: Change) -> None:
        """Of a transaction. # hot: once per transaction and monitor"""
        if self.session.congested:
            self.pending = join((self.pending, change.tables))
        elif text := self.view.text(change):
            self._send(text)

    def flush(self) -> None:
        """Of what it has not been told of."""
        if self.pending:
            changes, self.pending = self.pending, {}
            if found := self.view.update(changes):
                self._send(dumps(found))

    def send(self, found: dict[str, Json]) -> None:
        """An update of other origin."""
        if found:
            self._send(dumps(found))

    def _send(self, text: str) -> None:
        version = self.view.version
        params = f'"{self.database.identity}",{text}' if version == 3 else text
        method = "update" if version == 1 else f"update{version}"
        self.session.send(f'{{"id":null,"method":"{method}","params":[{dumps(self.identity)},{params}]}}')


@dataclass(eq=False, slots=True)
class Waiting:
    """A transaction that waits. `tables`: those whose changes may end that. `deadline_s`: when it gives up."""

    session: Session
    identity: Json
    database: Database
    operations: list[Json]
    begun_s: float
    deadline_s: float | None
    tables: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        self.tables = tables_named(self.operations)


class Session:
    """`peer`: who it is, for people. `is_read_only`: it may change nothing. `last_heard_s`: when something came."""

    def __init__(self, server: Server, peer: str, now_s: float, *, is_read_only: bool = False) -> None:
        self.server = server
        self.peer = peer
        self.is_read_only = is_read_only
        self.is_change_aware = False
        self.last_heard_s = now_s
        self.congested = False
        self.closing = ""
        """Why the connection is to end, if it is."""
        self.monitors: dict[str, Monitor] = {}
        self.waiting: dict[str, Waiting] = {}
        self._framer = Framer(MAX_MESSAGE_BYTES)
        self._inbox: deque[dict[str, Json]] = deque()
        self._out: list[str] = []
        self._out_characters = 0

    # ---- bytes

    def receive(self, data: bytes, now_s: float) -> None:
        """What the client has sent. FramingError: the connection is to end."""
        self.last_heard_s = now_s
        self._inbox.extend(self._framer.feed(data))
        if len(self._inbox) > MAX_REQUESTS:
            raise FramingError(f"{len(self._inbox)} requests wait, more than {MAX_REQUESTS}")
        self.work(now_s)

    @property
    def has_more(self) -> bool:
        """Whether there are requests for another turn."""
        return bool(self._inbox)

    def work(self, now_s: float) -> None:
        """Do some of what it has asked for. FramingError: the connection is to end."""
        for _ in range(TURN_REQUESTS):
            if not self._inbox or self.closing or self._out_characters >= TURN_CHARACTERS:
                break
            try:
                self._take(self._inbox.popleft(), now_s)
            except RecursionError as problem:
                raise FramingError("a message is nested too deep") from problem
            self.server.settle(now_s)
        if self._inbox:
            self.server.ready.add(self)

    def send(self, text: str) -> None:
        """A message, of JSON text."""
        if not self._out:
            self.server.ready.add(self)
        self._out.append(text)
        self._out_characters += len(text)

    def take(self) -> bytes:
        """What is to be sent to the client."""
        out, self._out, self._out_characters = self._out, [], 0
        return "".join(out).encode()

    def reply(self, identity: Json, result: Json) -> None:
        self.send(dumps({"id": identity, "result": result, "error": None}))

    def refuse(self, identity: Json, error: Json) -> None:
        self.send(dumps({"id": identity, "result": None, "error": error}))

    def notify(self, method: str, params: list[Json]) -> None:
        self.send(dumps({"id": None, "method": method, "params": params}))

    def uncongested(self) -> None:
        """It takes what is sent again."""
        self.congested = False
        for monitor in self.monitors.values():
            monitor.flush()

    def probe(self) -> None:
        """Ask whether it is there."""
        self.send('{"method":"echo","params":[],"id":"echo"}')

    # ---- requests

    def _take(self, found: dict[str, Json], now_s: float) -> None:
        method = found.get("method")
        if method is None and "result" in found and "id" in found:
            return  # a reply, to an echo
        params, identity = found.get("params"), found.get("id")
        if not isinstance(method, str) or not isinstance(params, list):
            raise FramingError("a message is neither a request, nor a notification, nor a reply")
        if identity is None:
            if method == "cancel":
                self._cancel(params)
            return
        self.server.counters.requests += 1
        if method == "transact":
            self._transact(params, identity, now_s)
            return
        run = _METHODS.get(method)
        if run is None:
            self.refuse(identity, "unknown method")
            return
        try:
            result = run(self, params)
        except OvsdbError as error:
            self.refuse(identity, error.to_json())
        except _UnknownMonitor:
            self.refuse(identity, "unknown monitor")
        else:
            self.reply(identity, result)

    def _database(self, params: list[Json]) -> Database:
        if not params or not isinstance(name := params[0], str):
            raise syntax_error("the first parameter is the name of a database", params)
        found = self.server.databases.get(name)
        if found is None:
            raise OvsdbError("unknown database", f"there is no database {name}", params[:1])
        return found

    def _list_dbs(self, _params: list[Json]) -> Json:
        return sorted(self.server.databases)

    def _get_schema(self, params: list[Json]) -> Json:
        return self._database(params).schema.to_json()

    def _echo(self, params: list[Json]) -> Json:
        return params

    def _get_server_id(self, _params: list[Json]) -> Json:
        return self.server.identity

    def _set_db_change_aware(self, params: list[Json]) -> Json:
        if len(params) != 1 or not isinstance(params[0], bool):
            raise syntax_error("the parameter is true or false", params)
        self.is_change_aware = params[0]
        return {}

    def _convert(self, params: list[Json]) -> Json:
        database = self._database(params)
        if len(params) != 2:
            raise syntax_error("the parameters are a database and its schema", params[:1])
        if self.is_read_only:
            raise OvsdbError("not allowed", "this connection is read-only")
        self.server.convert(database, params[1])
        return {}

    # ---- transactions

    def _transact(self, params: list[Json], identity: Json, now_s: float) -> None:
        try:
            database = self._database(params)
            if self.waiting and dumps(identity) in self.waiting:
                raise syntax_error("a request of this id waits already", identity)
            if len(self.waiting) >= MAX_WAITING:
                raise OvsdbError("resources exhausted", f"{MAX_WAITING} transactions of this session wait")
        except OvsdbError as error:
            self.refuse(identity, error.to_json())
            return
        operations = params[1:]
        outcome = self.server.execute(database, operations, self, 0.0)
        if outcome.results is not None:
            self.conclude(database, identity, outcome)
            return
        deadline_s = None if outcome.timeout_ms is None else now_s + outcome.timeout_ms / 1000
        waiting = self.waiting[dumps(identity)] = Waiting(self, identity, database, operations, now_s, deadline_s)
        self.server.wait(waiting)

    def conclude(self, database: Database, identity: Json, outcome: Outcome) -> None:
        """Reply to a transaction, when it is where it is to be."""
        if outcome.is_durable and outcome.change is not None and database.journal is not None:
            self.server.hold(database, self, identity, outcome)
        else:
            self.reply(identity, outcome.results)

    def _cancel(self, params: list[Json]) -> None:
        waiting = self.waiting.get(dumps(params[0])) if len(params) == 1 else None
        if waiting is not None:
            self.server.forget(waiting)
            self.refuse(waiting.identity, "canceled")

    # ---- monitors

    def _monitor(self, params: list[Json]) -> Json:
        return self._new_monitor(params, 1, 3).initial()

    def _monitor_cond(self, params: list[Json]) -> Json:
        return self._new_monitor(params, 2, 3).initial()

    def _monitor_cond_since(self, params: list[Json]) -> Json:
        since = params[3] if len(params) == 4 else None
        if not isinstance(since, str) or not is_uuid(since.lower()):
            raise syntax_error("the last parameter is the UUID of a transaction", params[:2])
        monitor = self._new_monitor(params, 3, 4)
        database = monitor.monitor.database
        changes = database.since(since.lower())
        if changes is None:
            return [False, database.identity, monitor.initial()]
        return [True, database.identity, monitor.monitor.view.update(join(change.tables for change in changes))]

    def _new_monitor(self, params: list[Json], version: int, count: int) -> _NewMonitor:
        database = self._database(params)
        if len(params) != count:
            raise syntax_error(f"there are {len(params)} parameters, not {count}", params[:2])
        key = dumps(params[1])
        if key in self.monitors:
            raise syntax_error("a monitor of this id is there", params[1])
        if len(self.monitors) >= MAX_MONITORS:
            raise OvsdbError("resources exhausted", f"{MAX_MONITORS} monitors of this session are there")
        view = self.server.view(database, version, params[2])
        monitor = self.monitors[key] = Monitor(self, database, params[1], view)
        self.server.monitors_of(database)[monitor] = None
        return _NewMonitor(monitor)

    def _monitor_cond_change(self, params: list[Json]) -> Json:
        if len(params) != 3:
            raise syntax_error("the parameters are a monitor, the name that it is to have, and conditions", params[:2])
        key, new_key = dumps(params[0]), dumps(params[1])
        monitor = self.monitors.get(key)
        if monitor is None or monitor.view.version == 1:
            raise syntax_error("there is no monitor with conditions of this name", params[0])
        if new_key != key and new_key in self.monitors:
            raise syntax_error("a monitor of this id is there", params[1])
        view = monitor.view.with_conditions(params[2])
        monitor.flush()
        told = monitor.view.turn_into(view, monitor.database)
        monitor.view = view
        del self.monitors[key]
        self.monitors[new_key] = monitor
        monitor.identity = params[1]
        monitor.send(told)
        return {}

    def _monitor_cancel(self, params: list[Json]) -> Json:
        if len(params) != 1:
            raise syntax_error("the parameter is a monitor", params)
        monitor = self.monitors.pop(dumps(params[0]), None)
        if monitor is None:
            raise _UnknownMonitor
        self.server.monitors_of(monitor.database).pop(monitor, None)
        return {}

    # ---- locks

    def _lock(self, params: list[Json]) -> Json:
        return {"locked": self.server.locks.lock(self, _lock_name(params))}

    def _steal(self, params: list[Json]) -> Json:
        name = _lock_name(params)
        victim = self.server.locks.steal(self, name)
        if victim is not None:
            victim.notify("stolen", [name])
        return {"locked": True}

    def _unlock(self, params: list[Json]) -> Json:
        self.unlock(_lock_name(params))
        return {}

    def unlock(self, name: str) -> None:
        """Give a lock back; who has it then is told."""
        heir = self.server.locks.unlock(self, name)
        if heir is not None:
            heir.notify("locked", [name])


@dataclass(frozen=True, slots=True)
class _NewMonitor:
    monitor: Monitor

    def initial(self) -> Json:
        return self.monitor.view.initial(self.monitor.database)


class _UnknownMonitor(Exception):  # noqa: N818 # the protocol's own word
    """RFC 7047, 4.1.7."""


def _lock_name(params: list[Json]) -> str:
    if len(params) != 1 or not isinstance(name := params[0], str) or not IDENTIFIER.fullmatch(name):
        raise syntax_error("the parameter is the name of a lock, an identifier", params)
    return name


_METHODS: dict[str, Callable[[Session, list[Json]], Json]] = {
    "list_dbs": Session._list_dbs,
    "get_schema": Session._get_schema,
    "monitor": Session._monitor,
    "monitor_cond": Session._monitor_cond,
    "monitor_cond_since": Session._monitor_cond_since,
    "monitor_cond_change": Session._monitor_cond_change,
    "monitor_cancel": Session._monitor_cancel,
    "lock": Session._lock,
    "steal": Session._steal,
    "unlock": Session._unlock,
    "echo": Session._echo,
    "set_db_change_aware": Session._set_db_change_aware,
    "get_server_id": Session._get_server_id,
    "convert": Session._convert,
}
