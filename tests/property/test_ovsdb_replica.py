"""A replica against the server, in memory: whatever is done, and whenever connections are lost, its rows are some that
the server had, never older than before, and in the end the same. Listeners can build those rows from what they hear."""

from __future__ import annotations

from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.ovsdb import SCHEMA, counted, insert, make
from vswitch.ovsdb.database import Change, Database
from vswitch.ovsdb.replica import Replica
from vswitch.ovsdb.schema import VERSION, Row
from vswitch.ovsdb.server import Server
from vswitch.ovsdb.session import Session

NAMES = st.sampled_from(["a", "b", "c", "d"])
State = dict[str, dict[str, Any]]

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("insert"), NAMES, st.dictionaries(NAMES, NAMES, max_size=3)),
        st.tuples(st.just("update"), NAMES, st.dictionaries(NAMES, NAMES, max_size=3)),
        st.tuples(st.just("optional"), NAMES, st.sampled_from([["set", []], 3, 7])),
        st.tuples(st.just("rename"), NAMES, NAMES),
        st.tuples(st.just("delete"), NAMES, st.just(None)),
        st.tuples(st.just("kid"), NAMES, st.just(None)),
        st.tuples(st.just("carry"), st.just(""), st.sampled_from([None, 4000, 400, 30])),
        st.tuples(st.just("carry"), st.just(""), st.none()),
        st.tuples(st.just("lose"), st.just(""), st.just(None)),
        st.tuples(st.just("forget"), st.just(""), st.just(None)),
        st.tuples(st.just("convert"), st.just(""), st.sampled_from(["1.2.4", "1.2.5"])),
    ),
    min_size=5,
    max_size=30,
)

BEGIN, ALL, LOST = ("insert", "a", {"a": "b"}), ("carry", "", None), ("lose", "", None)


def operation(kind: str, name: str, given_: Any) -> Any:
    where = [["name", "==", name]]
    if kind == "insert":
        return insert("R", name=name, ss=name, short="", e="a", m=["map", list(map(list, given_.items()))])
    if kind == "kid":
        return {"op": "update", "table": "R", "where": where, "row": {"kids": ["named-uuid", "kid"]}}
    if kind == "delete":
        return {"op": "delete", "table": "R", "where": where}
    row = {
        "update": lambda: {"m": ["map", list(map(list, given_.items()))]},
        "optional": lambda: {"oi": given_},
        "rename": lambda: {"name": given_},
    }[kind]()
    return {"op": "update", "table": "R", "where": where, "row": row}


def plain(rows: dict[str, dict[str, Row]]) -> State:
    """Without the versions, which are each one's own."""
    return {
        name: {each: row[:VERSION] + row[VERSION + 1 :] for each, row in of_table.items()}
        for name, of_table in rows.items()
        if of_table
    }


class Pair:
    """A server and a replica. What the server sends lies in `wire`."""

    def __init__(self) -> None:
        self.server = Server(counted(1 << 26))
        self.server.add(make())
        self.replica = Replica("T", counted(1 << 27))
        self.replica.listeners.append(self.heard)
        self.session: Session | None = None
        self.wire = b""
        self.rebuilt: dict[str, dict[str, Row]] = {}
        self.known: Database | None = None
        self.states = [plain({})]
        self.at = 0

    def heard(self, change: Change) -> None:
        if self.known is not self.replica.database:  # converted: all rows are told anew
            self.known, self.rebuilt = self.replica.database, {}
        for name, rows in change.tables.items():
            here = self.rebuilt.setdefault(name, {})
            for each, (old, new) in rows.items():
                assert here.get(each) == old
                if new is None:
                    del here[each]
                else:
                    here[each] = new

    def do(self, *operations: Any) -> None:
        self.server.transact("T", operations, 0.0)
        self.states.append(plain({name: table.rows for name, table in self.server.databases["T"].tables.items()}))

    def carry(self, count: int | None = None) -> None:
        """So many bytes of the server's reach the replica; all that it says reaches the server."""
        if self.session is None:
            self.session = self.server.connect("replica", 0.0)
            self.replica.connected()
        while True:
            self.session.receive(self.replica.take(), 0.0)
            while self.session.has_more:
                self.session.work(0.0)
            self.wire += self.session.take()
            part, self.wire = self.wire[:count], self.wire[len(self.wire[:count]) :]
            for at in range(0, len(part), 50):
                self.replica.receive(part[at : at + 50])
                self.check()
            if count is not None or not part:
                return

    def lose(self) -> None:
        if self.session is not None:
            self.server.disconnect(self.session, 0.0)
            self.replica.disconnected("lost")
            self.session, self.wire = None, b""

    def rows(self) -> State:
        database = self.replica.database
        return plain({} if database is None else {name: table.rows for name, table in database.tables.items()})

    def check(self) -> None:
        self.at = self.states.index(self.rows(), self.at)


@settings(max_examples=150, deadline=None)
@given(STEPS)
@example([BEGIN, ALL, ("update", "a", {"b": "c"}), ALL, ("update", "a", {"b": "d", "c": "c"})])
@example([BEGIN, ALL, LOST, ("delete", "a", None), ("forget", "", None), ALL])
@example([BEGIN, ALL, LOST, ("update", "a", {}), ALL, ("rename", "a", "b"), ("insert", "a", {})])
def test_a_replica_has_what_the_server_had_and_in_the_end_the_same(steps: list[tuple[str, str, Any]]) -> None:
    pair = Pair()
    for kind, name, given_ in steps:
        if kind == "carry":
            pair.carry(given_)
        elif kind == "lose":
            pair.lose()
        elif kind == "forget":
            pair.server.databases["T"].history.clear()
        elif kind == "convert":
            pair.server.convert(pair.server.databases["T"], SCHEMA | {"version": given_})
            if pair.session is not None and pair.session.closing:
                pair.lose()
        elif kind == "kid":
            pair.do(insert("C", None, "kid", name=name), operation(kind, name, given_))
        else:
            pair.do(operation(kind, name, given_))
    pair.carry()
    assert pair.replica.is_current
    assert pair.rows() == pair.states[-1]
    replica, server = pair.replica.database, pair.server.databases["T"]
    assert replica is not None
    assert {name: table.indexes for name, table in replica.tables.items()} == {
        name: table.indexes for name, table in server.tables.items()
    }
