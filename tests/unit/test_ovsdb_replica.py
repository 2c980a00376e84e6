"""A replica alone: what it asks of servers that can less, what it wants, locks, transactions, and nonsense."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.ovsdb import SCHEMA, counted, uuid
from vswitch.base.errors import MachineError, VswitchError
from vswitch.ovsdb import replica as module
from vswitch.ovsdb.errors import FramingError, OvsdbError
from vswitch.ovsdb.replica import Replica

WANTED = {"C": ["name"], "gone": None}


def sent(replica: Replica) -> list[dict[str, Any]]:
    text, found, at = replica.take().decode(), [], 0
    while at < len(text):
        each, at = json.JSONDecoder().raw_decode(text, at)
        found.append(each)
    return found


def tell(replica: Replica, **members: Any) -> None:
    replica.receive(json.dumps(members).encode())


def answer(replica: Replica, method: str, result: Any = None, error: Any = None) -> dict[str, Any]:
    """Answer the request of this method that lies in what it sends."""
    (request,) = [each for each in sent(replica) if each.get("method") == method]
    tell(replica, id=request["id"], result=result, error=error)
    return request


def follow(version: int, wanted: Any = None) -> Replica:
    """A replica that follows an empty database of a server which knows monitors up to this version."""
    replica = Replica("T", counted(), wanted)
    replica.connected()
    answer(replica, "get_schema", SCHEMA)
    for each in range(3, version, -1):
        answer(replica, ["monitor", "monitor_cond", "monitor_cond_since"][each - 1], error="unknown method")
    methods = ["monitor", "monitor_cond", "monitor_cond_since"]
    answer(replica, methods[version - 1], [False, uuid(9), {}] if version == 3 else {})
    assert replica.is_current
    return replica


@pytest.mark.parametrize(
    ("version", "method", "change"),
    [(1, "update", {"new": {"name": "x"}}), (2, "update2", {"insert": {"name": "x"}})],
)
def test_servers_that_know_older_monitors_are_followed(version: int, method: str, change: Any) -> None:
    replica = follow(version, WANTED)
    tell(replica, id=None, method=method, params=[["T", replica._monitor[1]], {"C": {uuid(1): change}}])
    assert replica.database is not None
    assert list(replica.database.tables) == ["C"]
    assert [row[2] for row in replica.database.tables["C"].rows.values()] == [("x",)]


def test_locks_are_wished_for_on_each_connection() -> None:
    replica = follow(3)
    replica.lock("one")
    answer(replica, "lock", {"locked": False})
    assert not replica.has_lock("one")
    tell(replica, id=None, method="locked", params=["one"])
    assert replica.has_lock("one")
    tell(replica, id=None, method="stolen", params=["one"])
    assert not replica.has_lock("one")
    replica.lock("one", steal=True)
    answer(replica, "steal", {"locked": True})
    assert replica.has_lock("one")
    replica.disconnected("lost")
    assert not replica.has_lock("one")
    replica.connected()
    answer(replica, "lock", {"locked": True})
    assert replica.has_lock("one")
    replica.unlock("one")
    assert [each["method"] for each in sent(replica)] == ["unlock"]


def test_transactions_end_with_results_or_with_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    replica, told = follow(3), list[tuple[Any, VswitchError | None]]()
    results: list[Any] = [[{}], [{}, {"error": "aborted", "details": "d"}], {}]
    for result in results:
        replica.transact([{"op": "abort"}], lambda *each: told.append(each))
        answer(replica, "transact", result)
    replica.transact([], lambda *each: told.append(each))
    monkeypatch.setattr(module, "MAX_OUTSTANDING", 1)
    with pytest.raises(MachineError, match="wait for an answer"):
        replica.transact([], lambda *each: told.append(each))
    replica.disconnected("lost")
    assert told[0] == ([{}], None)
    assert [type(problem) for _, problem in told[1:]] == [OvsdbError, MachineError, MachineError]
    with pytest.raises(MachineError, match="no connection"):
        replica.transact([], lambda *each: told.append(each))


@pytest.mark.parametrize(
    "update",
    [
        {"R": {}, "X": {}},
        {"C": []},
        {"C": {"no uuid": {"insert": {}}}},
        {"C": {uuid(1): {"modify": {"n": 1}}}},
        {"C": {uuid(1): {"insert": {"n": 1}}, uuid(2): {"insert": {"n": "x"}}}},
        {"C": {uuid(1): {"insert": {"n": 1}}, uuid(2): {"insert": {"none": 1}}}},
    ],
)
def test_what_makes_no_sense_ends_the_connection_and_changes_nothing(update: Any) -> None:
    replica = follow(3)
    with pytest.raises(FramingError):
        tell(replica, id=None, method="update3", params=[["T", replica._monitor[1]], uuid(10), update])
    assert replica.database is not None
    assert replica.database.rows == 0


def test_echoes_are_answered() -> None:
    replica = follow(3)
    sent(replica)
    tell(replica, id="e", method="echo", params=[1])
    assert sent(replica) == [{"id": "e", "result": [1], "error": None}]
