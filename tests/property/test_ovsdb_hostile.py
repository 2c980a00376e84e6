"""Whatever a client sends, the server answers it or ends its session: nothing else happens to it, nor to others."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ovsdb import counted, insert, make, uuid
from vswitch.ovsdb.errors import NAMES, FramingError
from vswitch.ovsdb.integrity import rebuild
from vswitch.ovsdb.server import Server

TABLES_AND_COLUMNS = "R C L E T _Server Database name i r oi si ss m mi kids wk wm x _uuid _version"
KEYWORDS = "== != < includes excludes += /= %= insert delete set map uuid named-uuid a é initial modify"
WORDS = st.sampled_from([*f"{TABLES_AND_COLUMNS} {KEYWORDS}".split(), uuid(1), uuid(2), "", "\x01"])
ATOMS = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0, 1, -1, 1 << 63, -(1 << 63), 10**30]),
    st.floats(allow_nan=False, allow_infinity=False),
    WORDS,
)
JSON = st.recursive(
    ATOMS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(WORDS, inner, max_size=3)),
    max_leaves=12,
)
WHERE = st.one_of(JSON, st.lists(st.tuples(WORDS, WORDS, JSON).map(list), max_size=2))
MEMBERS = {
    "table": st.one_of(WORDS, JSON),
    "row": st.one_of(JSON, st.dictionaries(WORDS, JSON, max_size=3)),
    "rows": st.one_of(JSON, st.lists(st.dictionaries(WORDS, JSON, max_size=2), max_size=2)),
    "where": WHERE,
    "mutations": WHERE,
    "columns": st.one_of(JSON, st.lists(WORDS, max_size=3)),
    "until": WORDS,
    "timeout": st.one_of(st.just(0), JSON),
    "uuid": st.one_of(st.just(uuid(3)), JSON),
    "uuid-name": st.one_of(st.just("a"), JSON),
    "durable": JSON,
    "comment": JSON,
    "lock": WORDS,
    "nonsense": JSON,
}
OPERATIONS = st.one_of(
    JSON,
    st.builds(
        lambda op, members: {"op": op, **members},
        st.sampled_from(
            ["insert", "select", "update", "mutate", "delete", "wait", "commit", "abort", "comment", "assert"]
        ),
        st.fixed_dictionaries({}, optional=MEMBERS),
    ),
    st.builds(
        lambda op, members: {"op": op, "table": "R", **members},
        st.sampled_from(["insert", "select", "update", "mutate", "delete", "wait"]),
        st.fixed_dictionaries({"where": WHERE, "row": MEMBERS["row"], "mutations": WHERE}),
    ),
)
METHODS = ["transact", "monitor", "monitor_cond", "monitor_cond_since", "monitor_cond_change", "monitor_cancel", "lock"]
METHODS += ["steal", "unlock", "echo", "list_dbs", "get_schema", "get_server_id", "set_db_change_aware", "convert"]
SELECT = st.dictionaries(st.sampled_from(["initial", "insert", "delete", "modify"]), st.booleans(), max_size=2)
REQUESTS = st.dictionaries(
    st.sampled_from(["R", "L", "C", "nothing"]),
    st.one_of(
        JSON, st.fixed_dictionaries({}, optional={"columns": MEMBERS["columns"], "where": WHERE, "select": SELECT})
    ),
    max_size=2,
)
CALLS = st.one_of(
    st.tuples(st.just("transact"), st.lists(OPERATIONS, max_size=4).map(lambda each: ["T", *each])),
    st.tuples(st.sampled_from(METHODS[1:4]), st.tuples(st.just("T"), JSON, REQUESTS, st.just(uuid(9))).map(list)),
    st.tuples(st.just("monitor_cond_change"), st.tuples(JSON, JSON, REQUESTS).map(list)),
    st.tuples(st.sampled_from(METHODS), st.lists(JSON, max_size=4)),
    st.tuples(st.just("convert"), st.tuples(st.just("T"), JSON).map(list)),
)


@settings(max_examples=100)
@given(st.lists(CALLS, max_size=6))
def test_a_hostile_client_gets_answers_or_is_ended(calls: list[tuple[str, list[Any]]]) -> None:
    server = Server(counted(1 << 26))
    database = make()
    server.add(database)
    server.transact("T", [insert("R", 1, name="a", si=["set", [1, 2]]), insert("L", 2, x=1)], 0)
    client, other = server.connect("hostile", 0), server.connect("other", 0)
    for number, (method, params) in enumerate(calls):
        waiting = len(client.waiting)
        text = json.dumps({"method": method, "params": params, "id": number})
        try:
            client.receive(text.encode(), 0)
        except FramingError:
            server.disconnect(client, 0)
            break
        replies = [each for each in _messages(client.take()) if each.get("id") == number and "method" not in each]
        assert len(replies) + len(client.waiting) - waiting == 1
        for reply in replies:
            for error in _errors(reply):
                assert error in NAMES or error in ("unknown method", "unknown monitor"), error
    other.receive(b'{"method":"echo","params":[1],"id":1}', 0)
    assert _messages(other.take())[-1] == {"id": 1, "result": [1], "error": None}
    before = {name: (table.rows, table.strong, table.weak, table.indexes) for name, table in database.tables.items()}
    rebuild(database)
    assert before == {
        name: (table.rows, table.strong, table.weak, table.indexes) for name, table in database.tables.items()
    }


def _messages(data: bytes) -> list[Any]:
    text, found, at = data.decode(), [], 0
    while at < len(text):
        message, at = json.JSONDecoder().raw_decode(text, at)
        found.append(message)
    return found


def _errors(reply: Any) -> list[str]:
    if reply["error"] is not None:
        return [reply["error"]["error"] if isinstance(reply["error"], dict) else reply["error"]]
    results = reply["result"] if isinstance(reply["result"], list) else []
    return [each["error"] for each in results if isinstance(each, dict) and isinstance(each.get("error"), str)]


@given(st.binary(max_size=200))
def test_bytes_of_any_kind_end_the_session_at_most(data: bytes) -> None:
    server = Server(counted(1 << 26))
    client = server.connect("hostile", 0)
    try:
        client.receive(b'{"method":' + data, 0)
    except FramingError:
        server.disconnect(client, 0)
    assert set(server.databases) == {"_Server"}
