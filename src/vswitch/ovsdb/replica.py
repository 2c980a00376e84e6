"""A database that a server elsewhere has, kept here in step: bytes in, bytes out, without a socket.

It asks for the schema, and for a monitor of what is wanted: by monitor_cond_since, which tells one who comes again of
what has happened meanwhile; else by monitor_cond, else by monitor (RFC 7047, 4.1.5). A whole new state is told to the
listeners of `database` as the difference to what was known. That the database is converted, or goes, is noticed.

Invariant: between two calls the rows are those that the server had after some transaction, never older than before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from vswitch.base.errors import MachineError, VswitchError
from vswitch.ovsdb.database import Change, Database, RowChange, Table
from vswitch.ovsdb.errors import NAMES, FramingError, OvsdbError
from vswitch.ovsdb.framing import Framer, dumps, message
from vswitch.ovsdb.schema import UUID, VERSION, DatabaseSchema, Row, TableSchema
from vswitch.ovsdb.types import Json
from vswitch.ovsdb.values import apply_diff, is_uuid, parse

__all__ = ["MAX_OUTSTANDING", "Done", "Replica"]

MAX_OUTSTANDING = 1000
"""Requests that wait for an answer at a time."""

MAX_OUT_BYTES = 64 << 20
"""That wait to be sent; more is refused."""

MAX_MESSAGE_BYTES = 1 << 28
"""All rows of a database come in one message."""

Done = Callable[[Json, VswitchError | None], None]
"""Told of a request's result, or of why there is none."""

_NEVER = "00000000-0000-0000-0000-000000000000"
_METHODS = ("monitor", "monitor_cond", "monitor_cond_since")
_SERVER = "_Server"


class Replica:
    """Of the database `name`. `wanted`: columns by table, None: all; a table or column that the server's schema lacks
    is not there. `new_uuid`: makes one that nobody has had. `database`: None until its rows are known; another one
    after it was converted to another schema, with the same listeners. `is_current`: its rows are followed just now."""

    def __init__(
        self, name: str, new_uuid: Callable[[], str], wanted: Mapping[str, Sequence[str] | None] | None = None
    ) -> None:
        self.name = name
        self.database: Database | None = None
        self._next: Database | None = None
        self.listeners: list[Callable[[Change], None]] = []
        self.is_current = False
        self.resyncs = 0
        self.last_id = _NEVER
        self._new_uuid = new_uuid
        self._wanted = wanted
        self._locks: dict[str, bool] = {}
        self._is_connected = False
        self._knows_server = False
        self._is_beginning = False
        self._version = 3
        self._monitor: list[Json] = []
        self._sequence = 0
        self._outstanding: dict[int, Done] = {}
        self._framer = Framer(MAX_MESSAGE_BYTES)
        self._out = bytearray()

    # ---- the connection

    def connected(self) -> None:
        """There is a new one."""
        self._is_connected, self._knows_server, self._version = True, False, 3
        self._framer = Framer(MAX_MESSAGE_BYTES)
        self._out.clear()
        self.request("set_db_change_aware", [True], lambda _result, _problem: None)
        requests: Json = {"Database": {"columns": ["name", "schema"]}}
        self.request("monitor_cond", [_SERVER, _SERVER, requests], self._server_known)
        self._begin()
        for lock in self._locks:
            self._ask_for_lock(lock, "lock")

    def disconnected(self, reason: str) -> None:
        """It has ended. The rows stay as they were known; locks are lost; nobody knows what became of requests."""
        self._is_connected = self.is_current = False
        self._locks = dict.fromkeys(self._locks, False)
        self._out.clear()
        outstanding, self._outstanding = self._outstanding, {}
        for done in outstanding.values():
            done(None, MachineError(f"database {self.name}: {reason}"))

    def receive(self, data: bytes) -> None:
        """What the server has sent. FramingError: it makes no sense, and the connection is to end."""
        for found in self._framer.feed(data):
            try:
                self._take(found)
            except OvsdbError as problem:
                self.last_id = _NEVER  # the next connection begins with all rows
                raise FramingError(f"database {self.name}: what the server says does not fit: {problem}") from problem

    def take(self) -> bytes:
        """What is to be sent to the server."""
        found = bytes(self._out)
        self._out.clear()
        return found

    # ---- requests

    def request(self, method: str, params: Sequence[Json], done: Done) -> int:
        """Ask for something; the request's id. MachineError: there is no connection, or too much is asked already."""
        if not self._is_connected:
            raise MachineError(f"database {self.name}: there is no connection")
        if len(self._outstanding) >= MAX_OUTSTANDING:
            raise MachineError(f"database {self.name}: {MAX_OUTSTANDING} requests wait for an answer")
        if len(self._out) > MAX_OUT_BYTES:
            raise MachineError(f"database {self.name}: more than {MAX_OUT_BYTES} bytes wait to be sent")
        self._sequence += 1
        self._out += message(method, list(params), self._sequence)
        self._outstanding[self._sequence] = done
        return self._sequence

    def transact(self, operations: Sequence[Json], done: Done) -> int:
        """`done` gets the results, or the error of the first operation that was refused."""

        def answered(result: Json, problem: VswitchError | None) -> None:
            if problem is None and isinstance(result, list):
                refused = [each for each in result if isinstance(each, dict) and "error" in each]
                problem = _problem(refused[0]) if refused else None
            elif problem is None:
                problem = MachineError(f"database {self.name}: the answer to a transaction is no array")
            done(None if problem else result, problem)

        return self.request("transact", [self.name, *operations], answered)

    def probe(self) -> None:
        """Ask whether the server is there."""
        self.request("echo", [], lambda _result, _problem: None)

    # ---- locks

    def has_lock(self, name: str) -> bool:
        """Whether it is ours just now."""
        return self._locks.get(name, False)

    def lock(self, name: str, *, steal: bool = False) -> None:
        """Wish to have it, on this connection and those that follow."""
        self._locks[name] = False
        if self._is_connected:
            self._ask_for_lock(name, "steal" if steal else "lock")

    def unlock(self, name: str) -> None:
        """Wish so no more."""
        if self._locks.pop(name, None) is not None and self._is_connected:
            self.request("unlock", [name], lambda _result, _problem: None)

    def _ask_for_lock(self, name: str, method: str) -> None:
        def answered(result: Json, _problem: VswitchError | None) -> None:
            if isinstance(result, dict) and result.get("locked") is True and name in self._locks:
                self._locks[name] = True

        self.request(method, [name], answered)

    # ---- messages

    def _take(self, found: dict[str, Json]) -> None:
        method, params, identity = found.get("method"), found.get("params"), found.get("id")
        if method is None:
            done = self._outstanding.pop(identity, None) if type(identity) is int else None
            if done is not None:
                error = found.get("error")
                done(found.get("result"), None if error is None else _problem(error))
        elif method == "echo":
            if len(self._out) > MAX_OUT_BYTES:
                raise FramingError(f"more than {MAX_OUT_BYTES} bytes wait to be sent, and the server asks for more")
            self._out += dumps({"id": identity, "result": params, "error": None}).encode()
        elif not isinstance(params, list) or not params:
            raise FramingError(f"a notification {method} of the server has no parameters")
        elif method in ("locked", "stolen"):
            if isinstance(params[0], str) and params[0] in self._locks:
                self._locks[params[0]] = method == "locked"
        elif method == "monitor_canceled":
            if params[0] == self._monitor and self.is_current:
                self.is_current = False
                self.last_id = _NEVER
                self._begin()
        elif params[0] == _SERVER and method == "update2":
            self._server_changed()
        elif params[0] == self._monitor and self.is_current:
            self._updated(str(method), params)

    def _updated(self, method: str, params: list[Json]) -> None:
        if method == "update3" and len(params) == 3:
            self._carry_out(self._changes(params[2], 3), self._transaction_id(params[1]))
            self.last_id = self._transaction_id(params[1])
        elif method in ("update", "update2") and len(params) == 2:
            self._carry_out(self._changes(params[1], 1 if method == "update" else 2), self._new_uuid())
        else:
            raise FramingError(f"{method} of the server has {len(params)} parameters")

    # ---- beginning

    def _server_known(self, _result: Json, problem: VswitchError | None) -> None:
        self._knows_server = problem is None

    def _server_changed(self) -> None:
        """Databases have come, gone or been converted; if ours is not followed, it may be there now."""
        if not self.is_current and not self._is_beginning:
            self._begin()

    def _begin(self) -> None:
        self._is_beginning = True
        self.request("get_schema", [self.name], self._schema_known)

    def _schema_known(self, result: Json, problem: VswitchError | None) -> None:
        if not self._is_connected:
            return
        if problem is not None:
            self._is_beginning = False
            if self._knows_server and isinstance(problem, OvsdbError) and problem.name == "unknown database":
                return  # `_server_changed` is told when it comes
            raise FramingError(f"database {self.name}: its schema is not told: {problem}")
        schema = _part(DatabaseSchema.parse(result), self._wanted)
        self._next = self.database
        if self._next is None or schema != self._next.schema:
            self._next, self.last_id = Database(schema, self._new_uuid), _NEVER
            self._next.listeners = self.listeners
        self._follow()

    def _follow(self) -> None:
        assert self._next is not None
        requests: dict[str, Json] = {
            name: {"columns": [column.name for column in table.by_position if not column.is_built_in]}
            for name, table in self._next.schema.tables.items()
        }
        self._monitor = [self.name, self._sequence]
        params: list[Json] = [self.name, self._monitor, requests]
        if self._version == 3:
            params.append(self.last_id)
        self.request(_METHODS[self._version - 1], params, self._followed)

    def _followed(self, result: Json, problem: VswitchError | None) -> None:
        if not self._is_connected:
            return
        if problem is not None:
            if "unknown method" in str(problem) and self._version > 1:
                self._version -= 1
                self._follow()
                return
            raise FramingError(f"database {self.name}: it is not to be followed: {problem}")
        is_whole, identity = True, _NEVER
        if self._version == 3:
            if not isinstance(result, list) or len(result) != 3 or type(result[0]) is not bool:
                raise FramingError("the answer to monitor_cond_since is not of three parts")
            is_whole, identity, result = not result[0], self._transaction_id(result[1]), result[2]
        changes = self._changes(result, self._version, is_whole=is_whole)
        self.resyncs += is_whole
        self.is_current, self._is_beginning = True, False
        self.last_id = identity
        self.database = self._next
        self._carry_out(changes, self._new_uuid() if identity == _NEVER else identity)

    def _transaction_id(self, given: Json) -> str:
        if not isinstance(given, str) or not is_uuid(given):
            raise FramingError(f"{given!r} of the server is no id of a transaction")
        return given

    # ---- rows

    def _changes(self, given: Json, version: int, *, is_whole: bool = False) -> dict[str, dict[str, RowChange]]:
        """What the server tells, without doing it. `is_whole`: those are all rows."""
        database = self._next
        assert database is not None
        found: dict[str, dict[str, RowChange]] = {}
        updates = _object(given, "an update")
        for name in updates:
            if name not in database.tables:
                raise FramingError(f"the server tells of table {name}, which it was not asked for")
        for name, table in database.tables.items():
            here: dict[str, RowChange] = {}
            told = _object(updates.get(name, {}), f"an update of table {name}")
            for uuid, each in told.items():
                if not is_uuid(uuid):
                    raise FramingError(f"{uuid!r} in an update of table {name} is no UUID")
                old = table.rows.get(uuid)
                new = self._row(table, uuid, old, _object(each, f"an update of row {uuid}"), version)
                if old is None or new is None or old[VERSION + 1 :] != new[VERSION + 1 :]:
                    here[uuid] = (old, new)
            if is_whole:
                here |= {uuid: (row, None) for uuid, row in table.rows.items() if uuid not in told}
            here = {uuid: each for uuid, each in here.items() if each != (None, None)}
            if here:
                found[name] = here
        return found

    def _row(self, table: Table, uuid: str, old: Row | None, given: dict[str, Json], version: int) -> Row | None:
        kind = next((each for each in ("initial", "insert", "modify", "new") if given.get(each) is not None), None)
        if kind is None:
            return None
        if kind == "modify" and old is None:
            raise FramingError(f"the server changes row {uuid} of table {table.schema.name}, which is not there")
        row = list(old if kind == "modify" and old is not None else table.schema.default)
        row[UUID], row[VERSION] = (uuid,), (self._new_uuid(),)
        for name, text in _object(given[kind], f"row {uuid}").items():
            column = table.schema.column(name, text)
            if kind == "modify" and version > 1 and column.type.high > 1:
                value = apply_diff(column.type, row[column.position], parse(column.excludes_type, text))
            else:
                value = parse(column.type, text)
            row[column.position] = value
        return tuple(row)

    def _carry_out(self, changes: dict[str, dict[str, RowChange]], identity: str) -> None:
        assert self.database is not None
        for name, rows in changes.items():
            table = self.database.tables[name]
            for positions, index in zip(table.schema.indexes, table.indexes, strict=True):
                for old, _ in rows.values():
                    if old is not None:
                        index.pop(tuple(old[at] for at in positions), None)
                for uuid, (_, new) in rows.items():
                    if new is not None:
                        index[tuple(new[at] for at in positions)] = uuid
            for uuid, (_, new) in rows.items():
                if new is None:
                    table.rows.pop(uuid, None)
                else:
                    table.rows[uuid] = new
        if changes:
            self.database.committed(Change(identity, changes))


def _part(schema: DatabaseSchema, wanted: Mapping[str, Sequence[str] | None] | None) -> DatabaseSchema:
    """Of a schema, the tables and columns that are wanted, and the indexes whose columns all are."""
    if wanted is None:
        return schema
    tables = []
    for name, table in schema.tables.items():
        if name not in wanted:
            continue
        names = wanted[name]
        columns = [each for each in table.by_position if not each.is_built_in and (names is None or each.name in names)]
        kept = {each.name for each in columns}
        indexes = [index for index in table.index_names if kept.issuperset(index)]
        part = TableSchema(name, columns, is_root=table.is_root, max_rows=table.max_rows, indexes=indexes)
        tables.append(part)
    return DatabaseSchema(schema.name, schema.version, tables)


def _object(given: Json, what: str) -> dict[str, Json]:
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise FramingError(f"{what} of the server is no object")
    return given


def _problem(error: Json) -> VswitchError:
    """What the server said instead of a result."""
    if not isinstance(error, dict):
        return MachineError(f"the server refuses: {error}")
    name, details = str(error.get("error")), str(error.get("details", ""))
    return OvsdbError(name, details) if name in NAMES else MachineError(f"the server refuses: {name}: {details}")
