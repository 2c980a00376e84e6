"""Our database beside Open vSwitch's: the same transactions and monitors to both, and their programs on ours."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab import patience
from tests.ovsdb import SCHEMA, insert, select, uuid

THEIRS = Path("/usr/share/openvswitch/vswitch.ovsschema")
PATIENCE_S = 20.0


class Peer:
    """A server of databases in a process of its own, and a connection to it."""

    def __init__(self, folder: Path, kind: str, schema: Path) -> None:
        self.place = folder / f"{kind}.sock"
        self.file = folder / f"{kind}.db"
        run("ovsdb-tool", "create", str(self.file), str(schema))
        remote = f"--remote=punix:{self.place}"
        if kind == "ours":
            command = [sys.executable, "-m", "vswitch", "ovsdb", "server", str(self.file), remote]
        else:
            command = ["ovsdb-server", str(self.file), remote, f"--unixctl={folder}/ctl", "-vconsole:off"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        try:
            self.socket = self.connect()
        except BaseException:
            self.close()
            raise
        self._text = ""

    def connect(self) -> socket.socket:
        until = time.monotonic() + PATIENCE_S * patience()
        while True:
            found = socket.socket(socket.AF_UNIX)
            found.settimeout(PATIENCE_S)
            try:
                found.connect(str(self.place))
            except OSError:
                found.close()
                assert time.monotonic() < until, "nobody listens"
                time.sleep(0.05)
            else:
                return found

    def send(self, method: str, params: Any, identity: Any) -> None:
        self.socket.sendall(json.dumps({"method": method, "params": params, "id": identity}).encode())

    def receive(self) -> Any:
        while True:
            try:
                found, end = json.JSONDecoder().raw_decode(self._text)
            except ValueError:
                data = self.socket.recv(1 << 16)
                assert data, "the server has ended the connection"
                self._text += data.decode()
            else:
                self._text = self._text[end:].lstrip()
                return found

    def call(self, method: str, *params: Any) -> list[Any]:
        """All that comes up to the reply, which is the last."""
        self.send(method, params, "call")
        found = [self.receive()]
        while found[-1].get("id") != "call":
            found.append(self.receive())
        return found

    def close(self) -> None:
        if hasattr(self, "socket"):
            self.socket.close()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(PATIENCE_S * patience())
        assert self.process.stdout is not None
        self.process.stdout.close()


def run(*command: str, status: int = 0) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S * patience())
    assert done.returncode == status, f"{' '.join(command)}: {done.stderr}"
    return done.stdout


@pytest.fixture
def both(tmp_path: Path) -> Iterator[tuple[Peer, Peer]]:
    schema = tmp_path / "t.ovsschema"
    schema.write_text(json.dumps(SCHEMA))
    peers: list[Peer] = []
    try:
        peers += [Peer(tmp_path, kind, schema) for kind in ("theirs", "ours")]
        yield peers[0], peers[1]
    finally:
        for peer in peers:
            peer.close()


@pytest.fixture
def ours(tmp_path: Path) -> Iterator[Peer]:
    peer = Peer(tmp_path, "ours", THEIRS)
    try:
        yield peer
    finally:
        peer.close()


UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def plain(found: Any) -> Any:
    """Without what may differ: random UUIDs, words for people, the order of rows."""
    if isinstance(found, dict):
        kept = {key: plain(value) for key, value in found.items() if key not in ("details", "syntax")}
        if "rows" in kept:
            kept["rows"] = sorted(kept["rows"], key=str)
        if kept.get("error", 0) is None or ("error" in kept and kept.get("result", 0) is None):
            kept = {key: value for key, value in kept.items() if value is not None or key == "id"}
        return dict(sorted(kept.items()))
    if isinstance(found, list):
        return [plain(each) for each in found]
    if isinstance(found, str) and UUID.fullmatch(found) and not found.endswith("-4000-8000-000000000000"):
        return "some UUID"
    return found


RIGHT: dict[str, list[Any]] = {
    "name": ["a", "b", "c"],
    "i": [0, 1, -7, 1 << 62, 1.0],
    "r": [0, 0.5, -2],
    "b": [True, False],
    "oi": [["set", []], 1, 10],
    "e": ["a", "b", ["set", []]],
    "si": [["set", []], 1, ["set", [1, 2]], ["set", [3, 1, 2]]],
    "ss": ["x", ["set", ["y", "x"]]],
    "m": [["map", []], ["map", [["k", "v"]]], ["map", [["k", "w"], ["l", "v"]]]],
    "imm": ["", "x"],
    "short": ["abc", ""],
}
WRONG: dict[str, list[Any]] = {
    "name": [5],
    "i": [1.5, "x", 1 << 63],
    "r": ["x"],
    "b": [1],
    "oi": [11, ["set", [2, 3]]],
    "e": ["z"],
    "si": [["set", [1, 2, 3, 4]], ["set", [1, 1]]],
    "ss": [["set", []]],
    "m": [["set", ["k"]], "k", ["map", [["k", "a"], ["k", "b"]]]],
    "imm": [5],
    "short": ["abcd"],
}
ATOMS = {name: RIGHT[name] + WRONG[name] for name in RIGHT}

FUNCTIONS = ["==", "!=", "<", "<=", ">", ">=", "includes", "excludes", "="]
MUTATORS = ["+=", "-=", "*=", "/=", "%=", "insert", "delete", "^="]


def operation(chance: random.Random) -> dict[str, Any]:
    def where() -> list[Any]:
        names = [chance.choice(list(ATOMS)) for _ in range(chance.choice([0, 1, 1, 2]))]
        return [[name, chance.choice(FUNCTIONS), chance.choice(ATOMS[name])] for name in names]

    def row(count: int) -> dict[str, Any]:
        """At most one value is wrong: which of two is the error depends on the order of an object's members."""
        names = chance.sample(list(RIGHT), count)
        found = {name: chance.choice(RIGHT[name]) for name in names}
        if names and not chance.randrange(5):
            found[names[0]] = chance.choice(WRONG[names[0]])
        return found

    kind = chance.choice(["insert", "insert", "select", "update", "mutate", "mutate", "delete", "wait"])
    if kind == "insert":
        return insert("R", chance.randrange(1, 9), **({"name": chance.choice("abcdef")} | row(chance.randrange(3))))
    found: dict[str, Any] = {"op": kind, "table": "R", "where": where()}
    if kind == "select":
        return found | {"columns": sorted(ATOMS)}
    if kind == "update":
        return found | {"row": row(2)}
    if kind == "mutate":
        # One at a time: ovsdb-server 3.1 dies of a mutation that fails before another one.
        name = chance.choice(list(ATOMS))
        return found | {"mutations": [[name, chance.choice(MUTATORS), chance.choice([*ATOMS[name], 2, 0])]]}
    if kind == "wait":
        return found | {
            "columns": ["name"],
            "until": chance.choice(["==", "!="]),
            "rows": [{"name": "a"}],
            "timeout": 0,
        }
    return found


@pytest.mark.parametrize("seed", range(4))
def test_random_transactions_have_the_same_results(both: tuple[Peer, Peer], seed: int) -> None:
    theirs, ours = both
    chance = random.Random(seed)
    for _ in range(300):
        operations = [operation(chance) for _ in range(chance.randrange(1, 4))]
        found, wanted = (plain(peer.call("transact", "T", *operations)) for peer in (ours, theirs))
        assert found == wanted, operations


def ref(*numbers: int) -> list[Any]:
    return ["set", [["uuid", uuid(number)] for number in numbers]]


def test_references_have_the_same_results(both: tuple[Peer, Peer]) -> None:
    """All but weak references of a row that changes itself when what it refers to goes: theirs stay, which RFC 7047
    does not have."""
    theirs, ours = both
    seen = select("C", columns=["_uuid", "name", "n", "next"])
    weak = select("W", columns=["w"])
    chance = random.Random(1)
    for _ in range(400):
        number = chance.randrange(10, 16)
        targets = [chance.randrange(10, 16) for _ in range(chance.randrange(3))]
        step: list[Any] = chance.choice(
            [
                [
                    insert("C", number, name=chance.choice("ab"), n=chance.randrange(3), next=ref(*targets[:1])),
                    {"op": "mutate", "table": "R", "where": [], "mutations": [["kids", "insert", ref(number)]]},
                ],
                [insert("R", chance.randrange(1, 4), name=chance.choice("ab"), kids=ref(*set(targets)))],
                [{"op": "update", "table": "R", "where": [["name", "==", "a"]], "row": {"kids": ref(*set(targets))}}],
                [{"op": "delete", "table": "R", "where": [["name", "==", chance.choice("ab")]]}],
                [{"op": "delete", "table": "C", "where": [["_uuid", "==", ["uuid", uuid(number)]]]}],
                [insert("W", w=ref(*set(targets)) if targets else ref(number))],
                [{"op": "delete", "table": "W", "where": []}],
            ]
        )
        found, wanted = (
            [plain(peer.call("transact", "T", *step)), plain(peer.call("transact", "T", seen, weak))]
            for peer in (ours, theirs)
        )
        assert found == wanted, step


def told(messages: list[Any]) -> list[Any]:
    """What monitors were told, in any order: theirs has none."""
    updates = [[each["method"], [each["params"][0], each["params"][-1]]] for each in messages if "method" in each]
    return sorted((plain(each) for each in updates), key=str)


def test_monitors_are_told_the_same(both: tuple[Peer, Peer]) -> None:
    columns = ["name", "i", "si", "oi", "m", "ss"]
    watchers = {
        "monitor": {"R": {"columns": columns}},
        "monitor_cond": {"R": [{"columns": columns, "where": [["i", "==", 1]]}]},
        "monitor_cond_since": {"R": [{"columns": columns, "where": [["name", "==", "a"], ["name", "==", "b"]]}]},
    }
    for peer in both:
        for method, requests in watchers.items():
            more = [uuid(0)] if method == "monitor_cond_since" else []
            (reply,) = peer.call(method, "T", method, requests, *more)
            assert reply["error"] is None
    chance = random.Random(2)
    right: dict[str, list[Any]] = {
        "name": list("abcd"),
        "i": [0, 1],
        "si": RIGHT["si"],
        "oi": RIGHT["oi"],
        "m": RIGHT["m"],
    }
    for step in range(300):
        number = chance.randrange(1, 6)
        row = {name: chance.choice(right[name]) for name in chance.sample(list(right), 3)}
        where = [["_uuid", "==", ["uuid", uuid(number)]]]
        change: Any = chance.choice(
            [
                insert("R", number, **({"name": chance.choice("abcd")} | row)),
                {"op": "update", "table": "R", "where": where, "row": row},
                {"op": "delete", "table": "R", "where": where},
            ]
        )
        found = [peer.call("transact", "T", change) for peer in both]
        assert plain(found[0][-1]) == plain(found[1][-1])
        assert told(found[0]) == told(found[1]), change
        if step % 50 == 49:
            conditions = {"R": [{"where": chance.choice([[["i", "==", 0]], [True], [False], [["i", "==", 1]]])}]}
            found = [peer.call("monitor_cond_change", "monitor_cond", "monitor_cond", conditions) for peer in both]
            assert told(found[0]) == told(found[1])


def test_their_tool_reads_our_file_and_we_read_theirs(both: tuple[Peer, Peer], tmp_path: Path) -> None:
    theirs, ours = both
    chance = random.Random(3)
    for _ in range(150):
        operations = [operation(chance) for _ in range(2)]
        for peer in both:
            peer.call("transact", "T", *operations)
    everything = json.dumps(["T", *(select(table, columns=sorted(ATOMS)) for table in ("R",))])
    vswitch = [sys.executable, "-m", "vswitch", "ovsdb"]
    asked = [
        plain(json.loads(text))
        for peer in both
        for text in (
            run("ovsdb-tool", "query", str(peer.file), everything),
            run(*vswitch, "query", str(peer.file), everything),
        )
    ]
    assert asked[0][0]["rows"]
    assert all(each == asked[0] for each in asked)
    run("ovsdb-tool", "compact", str(ours.file), str(tmp_path / "theirs-of-ours.db"))
    run(*vswitch, "compact", str(theirs.file), str(tmp_path / "ours-of-theirs.db"))
    for name in ("theirs-of-ours.db", "ours-of-theirs.db"):
        assert plain(json.loads(run("ovsdb-tool", "query", str(tmp_path / name), everything))) == asked[0]
    assert "locked" in subprocess.run(
        ["ovsdb-tool", "compact", str(ours.file)], capture_output=True, text=True, timeout=60
    ).stderr.replace("lock", "locked")


def test_backups_are_those_of_their_client(both: tuple[Peer, Peer], tmp_path: Path) -> None:
    """Each program saves both servers, and restores what the other has saved."""
    chance = random.Random(4)
    for _ in range(60):
        operations = [operation(chance) for _ in range(2)]
        for peer in both:
            peer.call("transact", "T", *operations)
    programs = {"theirs": "ovsdb-client", "ours": f"{sys.executable} -m vswitch ovsdb"}
    for peer in both:
        before = run("ovsdb-client", "dump", f"unix:{peer.place}", "T")
        for saver, other in (("theirs", "ours"), ("ours", "theirs")):
            copy = tmp_path / f"{saver}.backup"
            run("sh", "-ec", f"{programs[saver]} backup unix:{peer.place} T >{copy}")
            peer.call("transact", "T", {"op": "delete", "table": "R", "where": []})
            assert run("ovsdb-client", "dump", f"unix:{peer.place}", "T") != before
            run("sh", "-ec", f"{programs[other]} restore unix:{peer.place} T <{copy}")
            after = run("ovsdb-client", "dump", f"unix:{peer.place}", "T")
            if other == "ours":
                assert after == before
            else:  # which gives rows other UUIDs
                assert sorted(UUID.sub("", after).splitlines()) == sorted(UUID.sub("", before).splitlines())
                before = after


# ---- their programs on our server


def test_ovs_vsctl_configures_ours(ours: Peer) -> None:
    def vsctl(*words: str) -> str:
        return run("ovs-vsctl", f"--db=unix:{ours.place}", "--no-wait", "--timeout=20", *words)

    vsctl("init")
    vsctl("add-br", "br0", "--", "set", "bridge", "br0", "protocols=OpenFlow10,OpenFlow13", "other-config:a=b")
    vsctl("add-port", "br0", "p1", "tag=5", "--", "set", "interface", "p1", "type=internal", "options:x=y")
    vsctl(
        "--", "--id=@m", "create", "mirror", "name=m", "select_all=true", "--", "add", "bridge", "br0", "mirrors", "@m"
    )
    vsctl("set-controller", "br0", "tcp:127.0.0.1:6653", "ptcp:6654")
    assert vsctl("list-ports", "br0") == "p1\n"
    assert vsctl("get", "port", "p1", "tag") == "5\n"
    assert vsctl("get", "bridge", "br0", "other_config") == "{a=b}\n"
    assert vsctl("get-controller", "br0") == "ptcp:6654\ntcp:127.0.0.1:6653\n"
    assert "Port p1\n            tag: 5" in vsctl("show")
    vsctl("--if-exists", "del-port", "nobody", "--", "del-port", "p1")
    vsctl("del-br", "br0")
    assert vsctl("list", "interface") == vsctl("list", "mirror") == vsctl("list", "controller") == ""


def test_ovsdb_client_asks_ours(ours: Peer) -> None:
    place = f"unix:{ours.place}"
    run("ovs-vsctl", f"--db={place}", "--no-wait", "init", "--", "add-br", "br0", "--", "add-port", "br0", "p1")
    assert run("ovsdb-client", "list-dbs", place) == "Open_vSwitch\n_Server\n"
    assert run("ovsdb-client", "needs-conversion", place, str(THEIRS)) == "no\n"
    run("ovsdb-client", "wait", place, "Open_vSwitch", "connected")
    vswitch = [sys.executable, "-m", "vswitch", "ovsdb"]
    for form in ("table", "list", "csv", "json"):
        dumps = [run(*command, "-f", form, "dump", place, "Open_vSwitch") for command in (["ovsdb-client"], vswitch)]
        assert dumps[0] == dumps[1]
    run("ovsdb-client", "convert", place, str(THEIRS))
    backup = run("ovsdb-client", "backup", place, "Open_vSwitch")
    (ours.file.parent / "backup.db").write_text(backup)
    assert "p1" in run(*vswitch, "dump", str(ours.file.parent / "backup.db"), "Open_vSwitch", "Port", "name")


def test_ovs_vswitchd_lives_on_ours(ours: Peer, tmp_path: Path) -> None:
    """Their daemon follows our database and writes back what ovs-vsctl waits for."""
    environment = dict.fromkeys(("OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVS_SYSCONFDIR"), str(tmp_path))
    place = f"unix:{ours.place}"
    vsctl = ["ovs-vsctl", f"--db={place}", "--timeout=20"]
    run(*vsctl, "--no-wait", "init")
    command = ["ovs-vswitchd", place, "--disable-system", "--enable-dummy", "-vconsole:off"]
    daemon = subprocess.Popen(command, env=os.environ | environment)
    try:
        port = ["add-port", "br0", "p1", "--", "set", "interface", "p1", "type=dummy", "ofport_request=7"]
        run(*vsctl, "add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=dummy", "--", *port)
        assert run(*vsctl, "get", "interface", "p1", "ofport") == "7\n"
        assert run(*vsctl, "--if-exists", "get", "interface", "p1", "mac_in_use").startswith('"aa:55:')
        run(*vsctl, "wait-until", "interface", "p1", "statistics:rx_packets>=0")
        run(*vsctl, "del-br", "br0")
        assert run(*vsctl, "list-br") == ""
    finally:
        daemon.terminate()
        daemon.wait(PATIENCE_S)


IDL = """
import sys
import ovs.db.idl
import ovs.poller

place, schema, name, count = sys.argv[1:]
helper = ovs.db.idl.SchemaHelper(schema)
helper.register_all()
idl = ovs.db.idl.Idl(place, helper)
idl.set_lock("the_lock")

def wait(condition):
    while not condition():
        idl.run()
        if condition():
            break
        poller = ovs.poller.Poller()
        idl.wait(poller)
        poller.timer_wait(20000)
        poller.block()

wait(lambda: idl.has_lock and idl.tables["Open_vSwitch"].rows)
for number in range(int(count)):
    while True:
        txn = ovs.db.idl.Transaction(idl)
        root = next(iter(idl.tables["Open_vSwitch"].rows.values()))
        root.verify("next_cfg")
        root.next_cfg = root.next_cfg + 1
        bridge = txn.insert(idl.tables["Bridge"])
        bridge.name = f"{name}{number}"
        bridge.external_ids = {"of": name}
        root.addvalue("bridges", bridge)
        status = txn.commit_block()
        if status == txn.SUCCESS:
            break
        assert status == txn.TRY_AGAIN, (txn.status_to_string(status), txn.get_error())
wait(lambda: sum(row.name.startswith(name) for row in idl.tables["Bridge"].rows.values()) == int(count))
print(len(idl.tables["Bridge"].rows), flush=True)
idl.set_lock(None)
idl.run()
"""


def test_the_idl_of_pypi_works_on_ours_under_contention(ours: Peer) -> None:
    """Three clients that each do 20 transactions, for which they have the same lock in turn."""
    names, count = ("x", "y", "z"), 20
    ours.call("transact", "Open_vSwitch", insert("Open_vSwitch"))
    clients = [
        subprocess.Popen(
            [sys.executable, "-c", IDL, f"unix:{ours.place}", str(THEIRS), name, str(count)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in names
    ]
    try:
        for client in clients:
            out, err = client.communicate(timeout=60 * patience())
            assert client.returncode == 0, err
            assert int(out) >= count
    finally:
        for client in clients:
            client.kill()
            client.communicate()
    (reply,) = ours.call("transact", "Open_vSwitch", select("Open_vSwitch", columns=["next_cfg", "bridges"]))
    (row,) = reply["result"][0]["rows"]
    assert row["next_cfg"] == len(names) * count == len(row["bridges"][1])
