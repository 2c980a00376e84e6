"""Sessions of a server: requests and replies, monitors, locks, what waits, what is held, what is bounded."""

from __future__ import annotations

import errno
import json
import os
from typing import Any

import pytest

from tests.ovsdb import SCHEMA, counted, insert, make, select, uuid
from vswitch.ovsdb import session as session_module
from vswitch.ovsdb.database import Change, Database
from vswitch.ovsdb.errors import FramingError
from vswitch.ovsdb.framing import message
from vswitch.ovsdb.schema import DatabaseSchema
from vswitch.ovsdb.server import Server
from vswitch.ovsdb.session import Session

ZERO = uuid(0)


class Rig:
    """A server with the database T, and its clients. Time is `now`."""

    def __init__(self) -> None:
        self.server = Server(counted(1 << 26))
        self.database = make()
        self.server.add(self.database)
        self.now = 100.0
        self.numbers = iter(range(1, 1000))

    def connect(self, **settings: Any) -> Session:
        return self.server.connect("peer", self.now, **settings)

    def send(self, client: Session, method: str, *params: Any, identity: Any = "new") -> Any:
        identity = next(self.numbers) if identity == "new" else identity
        client.receive(json.dumps({"method": method, "params": params, "id": identity}).encode(), self.now)
        return identity

    def heard(self, client: Session) -> list[Any]:
        text, found, at = client.take().decode(), [], 0
        while at < len(text):
            message, at = json.JSONDecoder().raw_decode(text, at)
            found.append(message)
        return found

    def call(self, client: Session, method: str, *params: Any) -> Any:
        """The result, or of an error its name."""
        identity = self.send(client, method, *params)
        *told, reply = self.heard(client)
        assert reply["id"] == identity
        self.told = [(each["method"], each["params"]) for each in told]
        error = reply["error"]
        return reply["result"] if error is None else error["error"] if isinstance(error, dict) else error

    def transact(self, client: Session, *operations: Any) -> Any:
        return self.call(client, "transact", "T", *operations)


@pytest.fixture
def rig() -> Rig:
    return Rig()


def update(number: int, **row: Any) -> dict[str, Any]:
    return {"op": "update", "table": "L", "where": [["_uuid", "==", ["uuid", uuid(number)]]], "row": row}


def wait(x: int, timeout: int | None = None) -> dict[str, Any]:
    found = {"op": "wait", "table": "L", "where": [], "columns": ["x"], "until": "==", "rows": [{"x": x}]}
    return found | ({} if timeout is None else {"timeout": timeout})


REQUESTS = [
    ("list_dbs", [], ["T", "_Server"]),
    ("get_schema", ["X"], "unknown database"),
    ("get_schema", [], "syntax error"),
    ("transact", ["X"], "unknown database"),
    ("transact", [5], "syntax error"),
    ("transact", ["T"], []),
    ("nope", [], "unknown method"),
    ("echo", [1, {"x": None}], [1, {"x": None}]),
    ("set_db_change_aware", [True], {}),
    ("set_db_change_aware", [1], "syntax error"),
    ("monitor_cancel", ["x"], "unknown monitor"),
    ("monitor_cancel", [], "syntax error"),
    ("monitor", ["T", "a", {}], {}),
    ("monitor", ["T", "a"], "syntax error"),
    ("monitor", ["X", "a", {}], "unknown database"),
    ("monitor", ["T", "a", []], "syntax error"),
    ("monitor", ["T", "a", {"Q": {}}], "syntax error"),
    ("monitor", ["T", "a", {"L": {"columns": ["q"]}}], "syntax error"),
    ("monitor", ["T", "a", {"L": {"columns": 5}}], "syntax error"),
    ("monitor", ["T", "a", {"L": {"where": []}}], "syntax error"),
    ("monitor", ["T", "a", {"L": 5}], "syntax error"),
    ("monitor", ["T", "a", {"L": {"select": {"x": True}}}], "syntax error"),
    ("monitor", ["T", "a", {"L": {"select": {"insert": 1}}}], "syntax error"),
    ("monitor", ["T", "a", {"L": [{"columns": ["x"]}, {"columns": ["x"]}]}], "syntax error"),
    ("monitor_cond", ["T", "a", {"L": {"where": ["x"]}}], "syntax error"),
    ("monitor_cond", ["T", "a", {"L": {"where": True}}], "syntax error"),
    ("monitor_cond_since", ["T", "a", {}, "x"], "syntax error"),
    ("monitor_cond_since", ["T", "a", {}], "syntax error"),
    ("monitor_cond_change", ["a", "b", {}], "syntax error"),
    ("lock", ["1x"], "syntax error"),
    ("lock", [], "syntax error"),
    ("unlock", ["x"], "syntax error"),
    ("steal", ["x"], {"locked": True}),
    ("convert", ["T"], "syntax error"),
    ("convert", ["_Server", {"name": "_Server", "tables": {}}], "not allowed"),
]


@pytest.mark.parametrize(("method", "params", "result"), REQUESTS, ids=str)
def test_request(rig: Rig, method: str, params: list[Any], result: Any) -> None:
    assert rig.call(rig.connect(), method, *params) == result


@pytest.mark.parametrize(
    "text",
    ['{"method":5,"params":[],"id":1}', '{"method":"echo","params":{},"id":1}', '{"foo":1}', '{"params":[],"id":1}'],
)
def test_what_is_no_request_ends_the_session(rig: Rig, text: str) -> None:
    with pytest.raises(FramingError):
        rig.connect().receive(text.encode(), 0)


def test_notifications_and_replies_are_not_answered(rig: Rig) -> None:
    client = rig.connect()
    client.probe()
    assert rig.heard(client) == [{"method": "echo", "params": [], "id": "echo"}]
    client.receive(b'{"id":"echo","result":[],"error":null}{"method":"echo","params":[],"id":null}', 0)
    assert rig.heard(client) == []


# ---- monitors


def test_each_kind_of_monitor_tells_its_own_way(rig: Rig) -> None:
    client, other = rig.connect(), rig.connect()
    columns = {"R": {"columns": ["name", "si", "oi"]}}
    rig.transact(other, insert("R", 1, name="a", si=["set", [1, 2]]))
    row = {"name": "a", "si": ["set", [1, 2]], "oi": ["set", []]}
    short = {"name": "a", "si": ["set", [1, 2]]}
    assert rig.call(client, "monitor", "T", 1, columns) == {"R": {uuid(1): {"new": row}}}
    assert rig.call(client, "monitor_cond", "T", 2, columns) == {"R": {uuid(1): {"initial": short}}}
    found, last, initial = rig.call(client, "monitor_cond_since", "T", [3], columns, ZERO)
    assert (found, last, initial) == (False, rig.database.identity, {"R": {uuid(1): {"initial": short}}})
    where: list[Any] = []
    operation = {"op": "update", "table": "R", "where": where, "row": {"si": ["set", [2, 3]], "oi": 5}}
    rig.transact(other, operation)
    new = {"name": "a", "si": ["set", [2, 3]], "oi": 5}
    modify = {"R": {uuid(1): {"modify": {"si": ["set", [1, 3]], "oi": 5}}}}
    old = {"si": ["set", [1, 2]], "oi": ["set", []]}
    assert [(each["method"], each["params"]) for each in rig.heard(client)] == [
        ("update", [1, {"R": {uuid(1): {"old": old, "new": new}}}]),
        ("update2", [2, modify]),
        ("update3", [[3], rig.database.identity, modify]),
    ]
    rig.transact(other, {"op": "delete", "table": "R", "where": []})
    assert [each["params"][-1] for each in rig.heard(client)] == [
        {"R": {uuid(1): {"old": new}}},
        {"R": {uuid(1): {"delete": None}}},
        {"R": {uuid(1): {"delete": None}}},
    ]


def test_updates_come_before_the_reply(rig: Rig) -> None:
    client = rig.connect()
    rig.call(client, "monitor", "T", None, {"L": {}})
    rig.transact(client, insert("L", 1))
    assert [method for method, _ in rig.told] == ["update"]


def test_what_is_not_selected_is_not_told(rig: Rig) -> None:
    client, other = rig.connect(), rig.connect()
    rig.transact(other, insert("L", 1, x=1), insert("R", 9, name="r"))
    select = dict.fromkeys(("initial", "insert", "modify"), False)
    assert rig.call(client, "monitor", "T", None, {"L": {"columns": ["x"], "select": select}}) == {}
    rig.transact(other, insert("L", 2, x=2))
    rig.transact(other, update(2, x=3))
    rig.transact(other, {"op": "update", "table": "R", "where": [], "row": {"i": 3}})
    assert rig.heard(client) == []
    rig.transact(other, {"op": "delete", "table": "L", "where": [["x", "==", 3]]})
    assert [each["params"] for each in rig.heard(client)] == [[None, {"L": {uuid(2): {"old": {"x": 3}}}}]]


def test_rows_come_into_a_condition_and_leave_it(rig: Rig) -> None:
    client, other = rig.connect(), rig.connect()
    request = {"L": [{"columns": ["x"], "where": [["x", "==", 7]]}]}
    assert rig.call(client, "monitor_cond", "T", "m", request) == {}
    for x in (1, 7, 8):
        rig.transact(other, update(1, x=x) if x > 1 else insert("L", 1, x=1))
    assert [each["params"][1]["L"][uuid(1)] for each in rig.heard(client)] == [{"insert": {"x": 7}}, {"delete": None}]
    assert rig.call(client, "monitor_cond_change", "m", "n", {"L": [{"where": [["x", "==", 8]]}]}) == {}
    assert rig.told == [("update2", ["n", {"L": {uuid(1): {"insert": {"x": 8}}}}])]
    assert rig.call(client, "monitor_cond_change", "m", "n", {}) == "syntax error"
    assert rig.call(client, "monitor_cond_change", "n", "n", {"R": []}) == "syntax error"
    assert rig.call(client, "monitor_cond_change", "n", "n", {"L": {"where": [True]}}) == "syntax error"
    assert rig.call(client, "monitor_cancel", "n") == {}
    rig.transact(other, update(1, x=9))
    assert rig.heard(client) == []


def test_clauses_of_a_monitor_are_alternatives(rig: Rig) -> None:
    client, other = rig.connect(), rig.connect()
    where = [["x", "==", 1], ["x", "==", 2]]
    assert rig.call(client, "monitor_cond", "T", "m", {"L": [{"columns": ["x"], "where": where}]}) == {}
    rig.transact(other, insert("L", 1, x=2))
    rig.transact(other, insert("L", 2, x=3))
    assert [each["params"][1]["L"] for each in rig.heard(client)] == [{uuid(1): {"insert": {"x": 2}}}]


def test_a_client_that_comes_again_is_told_what_it_missed(rig: Rig) -> None:
    other = rig.connect()
    rig.transact(other, insert("L", 1, x=1))
    last = rig.database.identity
    rig.transact(other, update(1, x=2))
    rig.transact(other, insert("L", 2, x=5))
    rig.transact(other, update(1, x=3))
    client = rig.connect()
    missed = {"L": {uuid(1): {"modify": {"x": 3}}, uuid(2): {"insert": {"x": 5}}}}
    request = {"L": {"columns": ["x"]}}
    assert rig.call(client, "monitor_cond_since", "T", "m", request, last) == [True, rig.database.identity, missed]
    assert rig.call(client, "monitor_cond_since", "T", "n", request, rig.database.identity) == [
        True,
        rig.database.identity,
        {},
    ]


def test_a_client_that_does_not_take_things_is_told_less_often_of_as_much(rig: Rig) -> None:
    client, other = rig.connect(), rig.connect()
    rig.call(client, "monitor_cond_since", "T", "m", {"L": {"columns": ["x"]}}, ZERO)
    rig.transact(other, insert("L", 1, x=1))
    rig.heard(client)
    client.congested = True
    for x in range(2, 100):
        rig.transact(other, update(1, x=x))
        rig.transact(other, insert("L", 2))
        rig.transact(other, {"op": "delete", "table": "L", "where": [["x", "==", 0]]})
    assert rig.heard(client) == []
    client.uncongested()
    (told,) = rig.heard(client)
    assert told["params"] == ["m", rig.database.identity, {"L": {uuid(1): {"modify": {"x": 99}}}}]


def test_clients_that_ask_for_the_same_share_the_text(rig: Rig) -> None:
    clients = [rig.connect() for _ in range(3)]
    for client in clients:
        rig.call(client, "monitor", "T", "m", {"L": {"columns": ["x"]}})
    views = {id(monitor.view) for client in clients for monitor in client.monitors.values()}
    assert len(views) == 1


def test_monitors_have_a_bound(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "MAX_MONITORS", 2)
    client = rig.connect()
    assert [rig.call(client, "monitor", "T", number, {}) for number in range(3)] == [{}, {}, "resources exhausted"]
    assert rig.call(client, "monitor", "T", 1, {}) == "syntax error"


def test_a_client_that_asks_for_much_at_once_gets_it_in_turns(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "TURN_CHARACTERS", 1000)
    client = rig.connect()
    client.receive(b"".join(message("echo", [], number) for number in range(1, 41)), 0)
    turns = []
    while replies := rig.heard(client):
        turns.append(len(replies))
        client.work(0)
    assert turns == [16, 16, 8]
    client.receive(b"".join(message("echo", ["x" * 600], number) for number in range(1, 6)), 0)
    while replies := rig.heard(client):
        turns.append(len(replies))
        client.work(0)
    assert turns[3:] == [2, 2, 1]
    monkeypatch.setattr(session_module, "MAX_REQUESTS", 3)
    with pytest.raises(FramingError, match="requests wait"):
        client.receive(b"".join(message("echo", [], number) for number in range(1, 6)), 0)


# ---- locks


def test_a_lock_has_one_owner_at_a_time(rig: Rig) -> None:
    first, second, third = rig.connect(), rig.connect(), rig.connect()
    assertion = {"op": "assert", "lock": "l"}
    assert rig.call(first, "lock", "l") == {"locked": True}
    assert rig.call(second, "lock", "l") == {"locked": False}
    assert rig.call(second, "lock", "l") == "syntax error"
    assert rig.transact(first, assertion) == [{}]
    assert rig.transact(second, assertion)[0]["error"] == "not owner"
    assert rig.call(third, "steal", "l") == {"locked": True}
    assert [each["method"] for each in rig.heard(first)] == ["stolen"]
    assert rig.transact(first, assertion)[0]["error"] == "not owner"
    assert rig.call(third, "unlock", "l") == {}
    assert [(each["method"], each["params"]) for each in rig.heard(first)] == [("locked", ["l"])]
    rig.server.disconnect(first, rig.now)
    assert [each["method"] for each in rig.heard(second)] == ["locked"]
    assert rig.transact(second, assertion) == [{}]
    assert rig.call(second, "unlock", "l") == {}
    assert rig.call(third, "lock", "l") == {"locked": True}


# ---- what waits


def test_a_transaction_waits_for_what_another_does(rig: Rig) -> None:
    client, other = rig.connect(), rig.connect()
    identity = rig.send(client, "transact", "T", wait(5), insert("R", 1, name="done"))
    for x in (1, 5):
        assert rig.heard(client) == []
        rig.transact(other, insert("L", 1, x=1) if x == 1 else update(1, x=5))
    assert rig.heard(client) == [{"id": identity, "result": [{}, {"uuid": ["uuid", uuid(1)]}], "error": None}]
    assert rig.server.next_deadline_s is None


def test_waits_that_help_each_other_are_all_done(rig: Rig) -> None:
    client, other = rig.connect(), rig.connect()
    rig.transact(other, insert("L", 1, x=0))
    for x in range(20, 0, -1):
        rig.send(client, "transact", "T", wait(x), update(1, x=x + 1))
    rig.transact(other, update(1, x=1))
    assert len(rig.heard(client)) == 20
    assert rig.transact(other, select("L", columns=["x"])) == [{"rows": [{"x": 21}]}]


def test_what_waits_is_tried_again_only_if_its_tables_change(rig: Rig) -> None:
    client, other = rig.connect(), rig.connect()
    rig.send(client, "transact", "T", wait(5))
    rig.transact(other, insert("R", name="x"))
    assert rig.server.counters.retried == 0
    rig.transact(other, insert("L", x=4))
    assert rig.server.counters.retried == 1


def test_a_wait_gives_up_in_time(rig: Rig) -> None:
    client = rig.connect()
    rig.send(client, "transact", "T", wait(5, 2000))
    assert rig.server.next_deadline_s == rig.now + 2
    rig.server.expire(rig.now + 1.9)
    assert rig.heard(client) == []
    rig.server.expire(rig.now + 2)
    (reply,) = rig.heard(client)
    assert reply["result"][0]["error"] == "timed out"
    assert rig.server.counters.timed_out == 1


def test_a_wait_is_canceled(rig: Rig) -> None:
    client, other = rig.connect(), rig.connect()
    rig.send(client, "transact", "T", wait(5), identity="w")
    rig.send(client, "cancel", "other", identity=None)
    assert rig.heard(client) == []
    rig.send(client, "cancel", "w", identity=None)
    assert rig.heard(client) == [{"id": "w", "result": None, "error": "canceled"}]
    rig.transact(other, insert("L", x=5))
    assert rig.heard(client) == []


def test_what_a_client_waits_for_goes_with_it(rig: Rig) -> None:
    client, other = rig.connect(), rig.connect()
    rig.send(client, "transact", "T", wait(5), insert("R", name="ghost"))
    rig.server.disconnect(client, rig.now)
    rig.transact(other, insert("L", x=5))
    assert rig.transact(other, select("R", columns=["name"])) == [{"rows": []}]


def test_waits_have_a_bound(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "MAX_WAITING", 2)
    client = rig.connect()
    for name in "ab":
        rig.send(client, "transact", "T", wait(5), identity=name)
    assert rig.call(client, "transact", "T", wait(5)) == "resources exhausted"


# ---- the disk


class Journal:
    def __init__(self) -> None:
        self.written = 0

    def append(self, schema: DatabaseSchema, change: Change) -> None:
        self.written += 1


def test_replies_to_durable_transactions_wait_for_the_disk(rig: Rig) -> None:
    rig.database.journal = Journal()
    client = rig.connect()
    durable = {"op": "commit", "durable": True}
    first = rig.send(client, "transact", "T", insert("L", 1), durable)
    assert rig.heard(client) == []
    unsynced = rig.server.unsynced()
    assert unsynced == {rig.database: 1}
    second = rig.send(client, "transact", "T", insert("L", 2), durable)
    assert rig.transact(client, insert("R", name="at once"))
    assert rig.call(client, "transact", "T", durable) == [{}]
    rig.server.synced(rig.database, 1)
    assert [each["id"] for each in rig.heard(client)] == [first]
    rig.server.synced(rig.database, 1, OSError(errno.EIO, os.strerror(errno.EIO)))
    (reply,) = rig.heard(client)
    assert (reply["id"], reply["result"][-1]["error"]) == (second, "I/O error")
    assert rig.server.unsynced() == {}


# ---- databases that come, change and go


def test_a_server_tells_of_its_databases(rig: Rig) -> None:
    client = rig.connect()
    columns = ["name", "model", "connected", "leader", "cid", "index"]
    empty: Any = ["set", []]
    row = {"model": "standalone", "connected": True, "leader": True, "cid": empty, "index": empty}
    found = rig.call(client, "transact", "_Server", select("Database", columns=columns))
    assert found == [{"rows": [{"name": "_Server", **row}, {"name": "T", **row}]}]
    (told,) = rig.call(client, "transact", "_Server", select("Database", ["name", "==", "T"], columns=["schema"]))
    assert json.loads(told["rows"][0]["schema"]) == rig.call(client, "get_schema", "T")
    (refused,) = rig.call(client, "transact", "_Server", {"op": "delete", "table": "Database", "where": []})
    assert refused["error"] == "not allowed"


def test_conversion_ends_monitors_and_those_who_do_not_expect_it(rig: Rig) -> None:
    aware, unaware = rig.connect(), rig.connect()
    rig.call(aware, "set_db_change_aware", True)
    rig.transact(aware, insert("L", 1, x=5))
    rig.call(aware, "monitor", "T", "m", {"L": {}})
    rig.send(aware, "transact", "T", wait(9), identity="w")
    schema = json.loads(json.dumps(SCHEMA))
    schema["tables"]["L"]["columns"]["y"] = {"type": "integer"}
    assert rig.call(unaware, "convert", "T", {"name": "T"}) == "syntax error"
    assert rig.call(unaware, "convert", "T", schema) == {}
    assert unaware.closing
    assert not aware.closing
    assert rig.heard(aware) == [
        {"id": None, "method": "monitor_canceled", "params": ["m"]},
        {"id": "w", "result": None, "error": "canceled"},
    ]
    assert rig.call(aware, "monitor", "T", "m", {"L": {"columns": ["x", "y"]}}) == {
        "L": {uuid(1): {"new": {"x": 5, "y": 0}}}
    }
    (told,) = rig.call(aware, "transact", "_Server", select("Database", ["name", "==", "T"], columns=["schema"]))
    assert json.loads(told["rows"][0]["schema"])["tables"]["L"]["columns"]["y"] == {"type": "integer"}


def test_a_database_goes(rig: Rig) -> None:
    client = rig.connect()
    rig.call(client, "set_db_change_aware", True)
    rig.call(client, "monitor", "T", "m", {"L": {}})
    rig.server.remove("T")
    assert [each["method"] for each in rig.heard(client)] == ["monitor_canceled"]
    assert rig.call(client, "list_dbs") == ["_Server"]
    rig.server.add(Database(DatabaseSchema.parse(SCHEMA), counted()))
    assert rig.call(client, "list_dbs") == ["T", "_Server"]


def test_a_connection_that_only_reads(rig: Rig) -> None:
    client = rig.connect(is_read_only=True)
    assert rig.transact(client, insert("L"))[0]["error"] == "not allowed"
    assert rig.call(client, "convert", "T", SCHEMA) == "not allowed"
    assert rig.transact(client, select("L", columns=["x"])) == [{"rows": []}]


def test_a_program_uses_its_server_without_a_session(rig: Rig) -> None:
    client = rig.connect()
    rig.call(client, "monitor", "T", "m", {"L": {"columns": ["x"]}})
    outcome = rig.server.transact("T", [insert("L", 1, x=3)], rig.now)
    assert outcome.error is None
    assert [each["params"] for each in rig.heard(client)] == [["m", {"L": {uuid(1): {"new": {"x": 3}}}}]]
