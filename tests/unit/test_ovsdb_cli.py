"""`vswitch ovsdb` on files, and on a server in a thread of the test."""

from __future__ import annotations

import asyncio
import io
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from vswitch.cli.main import main
from vswitch.daemon.ovsdb import DatabaseServer
from vswitch.ovsdb.records import frame
from vswitch.ovsdb.vswitch_schema import VSWITCH_SCHEMA

BRIDGE = (
    '["Open_vSwitch",{"op":"insert","table":"Bridge","uuid-name":"b","row":{"name":"br0","external_ids":["map",'
    '[["a b","1"]]]}},{"op":"insert","table":"Open_vSwitch","row":{"bridges":["named-uuid","b"]}}]'
)
QUERY = '["Open_vSwitch",{"op":"select","table":"Bridge","where":[],"columns":["name"]}]'


class Shell:
    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *words: object, status: int = 0) -> str:
        """What it prints; if it fails, on the standard error."""
        assert main(["ovsdb", *map(str, words)]) == status
        out, err = self._capsys.readouterr()
        return err if status else out


@pytest.fixture
def ovsdb(capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(capsys)


@pytest.fixture
def path(tmp_path: Path, ovsdb: Shell) -> Path:
    found = tmp_path / "conf.db"
    ovsdb("create", found)
    return found


@pytest.fixture
def served(path: Path) -> Iterator[str]:
    """The database of the file, with a server."""
    place = path.with_suffix(".sock")
    started, loop = threading.Event(), asyncio.new_event_loop()

    async def serve() -> None:
        server, ended = DatabaseServer(), asyncio.Event()
        server.open(path)
        server.start()
        await server.remotes.add(f"punix:{place}")
        end.append(ended)
        started.set()
        await ended.wait()
        await server.stop()

    end: list[asyncio.Event] = []
    thread = threading.Thread(target=loop.run_until_complete, args=[serve()])
    thread.start()
    assert started.wait(20)
    yield f"unix:{place}"
    loop.call_soon_threadsafe(end[0].set)
    thread.join(20)
    loop.close()


def test_a_file_is_made_changed_and_asked(path: Path, ovsdb: Shell) -> None:
    assert "exists" in ovsdb("create", path, status=1)
    assert [list(each) for each in json.loads(ovsdb("transact", path, BRIDGE))] == [["uuid"], ["uuid"]]
    assert json.loads(ovsdb("query", path, QUERY)) == [{"rows": [{"name": "br0"}]}]
    assert json.loads(ovsdb("query", path, BRIDGE))[0]["error"] == "not allowed"
    assert ovsdb("db-name", path) == "Open_vSwitch\n"
    assert ovsdb("db-version", path) == f"{VSWITCH_SCHEMA.version}\n" == ovsdb("schema-version")
    assert json.loads(ovsdb("get-schema", path))["name"] == "Open_vSwitch"
    assert "table Bridge: 1 rows" in ovsdb("show-log", path)


def test_tables_have_the_forms_of_ovsdb_client(path: Path, ovsdb: Shell) -> None:
    ovsdb("transact", path, BRIDGE)
    words = ("dump", path, "Open_vSwitch", "Bridge", "name", "external_ids", "fail_mode", "stp_enable")
    assert ovsdb(*words) == (
        "Bridge table\n"
        "external_ids fail_mode name stp_enable\n"
        "------------ --------- ---- ----------\n"
        '{"a b"="1"}  []        br0  false\n'
    )
    assert ovsdb("-f", "csv", *words) == (
        'Bridge table\nexternal_ids,fail_mode,name,stp_enable\n"{""a b""=""1""}",[],br0,false\n'
    )
    assert ovsdb("-f", "list", "--no-headings", *words).splitlines()[2] == "name                : br0"
    assert json.loads(ovsdb("-f", "json", *words))["data"] == [[["map", [["a b", "1"]]], ["set", []], "br0", False]]
    assert ovsdb("dump", path).count(" table\n") == len(VSWITCH_SCHEMA.tables)


def test_a_file_is_converted_and_compacted(path: Path, tmp_path: Path, ovsdb: Shell) -> None:
    ovsdb("transact", path, BRIDGE)
    schema = VSWITCH_SCHEMA.to_json() | {"version": "9.0.0"}
    other = tmp_path / "other.ovsschema"
    other.write_text(json.dumps(schema))
    assert ovsdb("needs-conversion", path) == "no\n"
    assert ovsdb("needs-conversion", path, other) == "yes\n"
    ovsdb("convert", path, other)
    assert ovsdb("db-version", path) == "9.0.0\n"
    ovsdb("compact", path)
    ovsdb("compact", path, tmp_path / "copy.db")
    for each in (path, tmp_path / "copy.db"):
        assert json.loads(ovsdb("query", each, QUERY)) == [{"rows": [{"name": "br0"}]}]
    assert "exists" in ovsdb("compact", path, tmp_path / "copy.db", status=1)


def test_a_server_is_asked(served: str, path: Path, tmp_path: Path, ovsdb: Shell) -> None:
    assert ovsdb("list-dbs", served) == "Open_vSwitch\n_Server\n"
    ovsdb("transact", served, BRIDGE)
    assert json.loads(ovsdb("query", served, QUERY)) == [{"rows": [{"name": "br0"}]}]
    assert len(json.loads(ovsdb("query", served, BRIDGE.replace("br0", "br1")))) == 2
    assert "br1" not in ovsdb("dump", served)
    assert "br0" in ovsdb("dump", served, "Open_vSwitch", "Bridge", "name")
    assert "no answer in time" in ovsdb("-t", "1", "monitor", served, "Bridge", "name", status=1)
    assert ovsdb("needs-conversion", served) == "no\n"
    other = tmp_path / "other.ovsschema"
    other.write_text(json.dumps(VSWITCH_SCHEMA.to_json() | {"version": "9.0.0"}))
    ovsdb("convert", served, other)
    assert ovsdb("get-schema-version", served) == "9.0.0\n"
    assert json.loads(ovsdb("get-schema", served))["version"] == "9.0.0"


WRONG = [
    (["dump", "{path}", "Other"], 1),
    (["dump", "{path}", "Open_vSwitch", "Nope"], 1),
    (["dump", "{path}", "Open_vSwitch", "Bridge", "nope"], 1),
    (["query", "{path}", "{"], 1),
    (["query", "{path}", "{}"], 1),
    (["dump", "/nowhere.db"], 1),
    (["list-dbs", "unix:/nowhere.sock"], 1),
    (["list-dbs", "ssl:127.0.0.1:1"], 1),
    (["needs-conversion", "{path}", "{path}"], 1),
]


@pytest.mark.parametrize(("words", "status"), WRONG, ids=str)
def test_what_cannot_be_done_is_said_in_a_sentence(path: Path, ovsdb: Shell, words: list[str], status: int) -> None:
    said = ovsdb(*(word.replace("{path}", str(path)) for word in words), status=status)
    assert said.startswith("vswitch: ")
    assert said.count("\n") == 1


def test_a_transaction_that_waits_in_a_file_is_refused(path: Path, ovsdb: Shell) -> None:
    wait = '["Open_vSwitch",{"op":"wait","table":"QoS","where":[],"until":"!=","rows":[],"columns":[]}]'
    assert "waits" in ovsdb("transact", path, wait, status=1)


def test_a_backup_is_restored_on_a_server(
    path: Path, served: str, ovsdb: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def restore(data: bytes, *words: str, status: int = 0) -> str:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
        return ovsdb("restore", served, *words, status=status)

    ovsdb("transact", served, BRIDGE)
    saved, before = ovsdb("backup", served).encode(), ovsdb("dump", served)
    assert "br0" in before
    copy = tmp_path / "copy.db"
    copy.write_bytes(saved)
    assert ovsdb("dump", copy) == before
    ovsdb("transact", served, '["Open_vSwitch",{"op":"delete","table":"Open_vSwitch","where":[]}]')
    ovsdb("transact", served, BRIDGE.replace("br0", "br1"))
    restore(saved)
    assert ovsdb("dump", served) == before
    assert "the backup is empty" in restore(b"", status=1)
    assert "ends behind its schema" in restore(saved[: saved.index(b"OVSDB JSON", 1)], status=1)
    for length in (10, 100, len(saved) - 1):
        assert "bytes are whole records" in restore(saved[:length], status=1)
    other = frame({**VSWITCH_SCHEMA.to_json(), "version": "8.0.0"}) + saved[saved.index(b"OVSDB JSON", 1) :]
    assert f"version 8.0.0 there, {VSWITCH_SCHEMA.version} here" in restore(other, status=1)
    assert ovsdb("dump", served) == before, "what cannot be restored changes nothing"
