"""The file of a database: cut anywhere, locked, compacted while transactions go on, on a disk that fails."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.ovsdb import SCHEMA, counted, insert, run, select, uuid
from vswitch.base.errors import BusyError, ExistsError
from vswitch.ovsdb import log as log_module
from vswitch.ovsdb.database import Database
from vswitch.ovsdb.errors import LogError
from vswitch.ovsdb.log import Log, create, load, read, schema_of, write_file
from vswitch.ovsdb.records import frame, records
from vswitch.ovsdb.schema import DatabaseSchema

NOW_MS = 1_700_000_000_000


def contents(database: Database) -> Any:
    """All that is kept of its rows."""
    return {
        name: {uuid: [row[column.position] for column in table.schema.stored] for uuid, row in table.rows.items()}
        for name, table in database.tables.items()
    }


def open_log(path: Path, start: int = 1 << 20) -> Log:
    return Log(path, counted(start), lambda: NOW_MS)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "conf.db"
    create(found, DatabaseSchema.parse(SCHEMA))
    return found


def fill(log: Log) -> list[Any]:
    """Transactions of all kinds; what there was after each, as far as it is kept."""
    states = [contents(log.database)]
    many = ["set", ["a", "b", "c"]]
    where = [["name", "==", "é"]]
    for operations in (
        [insert("R", 1, name="é", i=5, ss=many, m=["map", [["k", "v"], ["a", "b"]]], eph="gone", r=0.5)],
        [{"op": "update", "table": "R", "where": where, "row": {"eph": "still", "ss": ["set", ["b", "d"]]}}],
        [{"op": "mutate", "table": "R", "where": where, "mutations": [["m", "delete", "k"], ["i", "+=", 1]]}],
        [insert("C", 2, name="c"), {"op": "update", "table": "R", "where": where, "row": {"kids": ["uuid", uuid(2)]}}],
        [{"op": "update", "table": "R", "where": where, "row": {"ss": ["set", [""]], "oi": 3}}],
        [{"op": "update", "table": "R", "where": where, "row": {"ss": ["set", ["", "x"]], "oi": ["set", []]}}],
        [
            {"op": "update", "table": "R", "where": where, "row": {"kids": ["set", []]}},
            {"op": "comment", "comment": "x"},
        ],
        [insert("L", 3), insert("L", 4, x=7)],
        [{"op": "delete", "table": "L", "where": [["x", "==", 7]]}],
    ):
        assert "error" not in str(run(log.database, *operations))
        states.append(contents(log.database))
    return states


def test_what_was_written_is_read(path: Path) -> None:
    with open_log(path) as log:
        states = fill(log)
        assert log.discarded == 0
    database, end = load(path, counted())
    assert contents(database) == states[-1]
    assert end == path.stat().st_size
    assert run(database, select("R", columns=["eph"])) == [{"rows": [{"eph": ""}]}]


def test_ephemeral_columns_are_not_written(path: Path) -> None:
    with open_log(path) as log:
        run(log.database, insert("R", 1, name="a"))
        size = log.size
        run(log.database, {"op": "update", "table": "R", "where": [], "row": {"eph": "x"}})
        assert log.size == size == path.stat().st_size


def test_a_file_cut_at_any_byte_holds_a_prefix_of_its_transactions(path: Path, tmp_path: Path) -> None:
    with open_log(path) as log:
        states = fill(log)
    data = path.read_bytes()
    ends = [end for _, end in read(path)]
    assert len(ends) == len(states)
    assert ends[-1] == len(data)
    for length in range(ends[0] - 100, len(data) + 1):
        assert [end for _, end in records(data[:length])] == [end for end in ends if end <= length]
    cut = tmp_path / "cut.db"
    for number, end in enumerate(ends):
        for length in {end, min(end + 1, len(data)), (end + [*ends, len(data)][number + 1]) // 2}:
            if number + 1 == len(ends) or length < ends[number + 1]:
                cut.write_bytes(data[:length])
                database, found = load(cut, counted())
                assert found == end
                assert contents(database) == states[number]
    for length in range(0, ends[0], 97):
        cut.write_bytes(data[:length])
        with pytest.raises(LogError):
            load(cut, counted())


def test_what_is_half_there_is_written_over(path: Path) -> None:
    with open_log(path) as log:
        states = fill(log)
    path.write_bytes(path.read_bytes()[:-10])
    with open_log(path, 1 << 24) as log:
        assert log.discarded > 0
        assert contents(log.database) == states[-2]
        run(log.database, {"op": "delete", "table": "L", "where": [["x", "==", 7]]})
    assert contents(load(path, counted())[0]) == states[-1]


@pytest.mark.parametrize("at", [0.3, 0.6, 0.99])
def test_a_record_with_another_checksum_ends_the_file(path: Path, at: float) -> None:
    with open_log(path) as log:
        fill(log)
    data = bytearray(path.read_bytes())
    first = next(iter(end for _, end in read(path)))
    data[first + int((len(data) - first) * at)] ^= 0x20
    path.write_bytes(data)
    with open_log(path) as log:
        assert 0 < log.discarded < len(data) - first


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no database"),
        (b"hello\n" * 20, "does not begin"),
        (b"x" * 200, "does not begin"),
        (b"OVSDB CLUSTER 3 " + b"0" * 40 + b"\n{}\n", "cluster"),
        (frame({"name": "x"}), "schema"),
        (frame(SCHEMA) + frame([]), "no object"),
        (frame(SCHEMA) + frame({"X": {}}), "table X"),
        (frame(SCHEMA) + frame({"L": {"x": {}}}), "no UUID"),
        (frame(SCHEMA) + frame({"L": {uuid(1): {"y": 1}}}), "column y"),
        (frame(SCHEMA) + frame({"L": {uuid(1): {"x": "1"}}}), "does not allow"),
        (frame(SCHEMA) + frame({"L": {uuid(1): 5}}), "no object"),
        (frame(SCHEMA) + frame({"L": {uuid(each): {} for each in (1, 2, 3)}}), "do not fit together"),
    ],
    ids=range(12),
)
def test_a_file_that_is_no_database_is_refused(tmp_path: Path, data: bytes, words: str) -> None:
    path = tmp_path / "x.db"
    path.write_bytes(data)
    with pytest.raises(LogError, match=words):
        Log(path, counted(), lambda: NOW_MS)
    assert path.read_bytes() == data


def test_a_database_is_not_made_over_another(path: Path) -> None:
    with pytest.raises(ExistsError):
        create(path, DatabaseSchema.parse(SCHEMA))
    assert schema_of(path) == DatabaseSchema.parse(SCHEMA)


def test_a_file_has_one_owner(path: Path) -> None:
    """Locks are of processes, so another one has to ask."""
    ask = f"""
import sys
sys.path[:0] = {sys.path}
from pathlib import Path
from vswitch.ovsdb.log import Lock
Lock(Path({str(path)!r}))
"""
    with open_log(path):
        done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, timeout=60)
        assert "BusyError" in done.stderr
    assert subprocess.run([sys.executable, "-c", ask], timeout=60).returncode == 0


def test_compaction_keeps_what_there_is_and_what_comes_meanwhile(path: Path) -> None:
    with open_log(path) as log:
        fill(log)
        size = log.size
        compaction = log.compaction()
        with pytest.raises(BusyError):
            log.compaction()
        run(log.database, insert("L", 9, x=9))
        compaction.write()
        run(log.database, {"op": "update", "table": "L", "where": [["x", "==", 9]], "row": {"x": 10}})
        compaction.finish()
        assert log.size == path.stat().st_size < size
        run(log.database, {"op": "update", "table": "L", "where": [["x", "==", 10]], "row": {"x": 11}})
        state = contents(log.database)
    assert contents(load(path, counted())[0]) == state
    assert not path.with_name("conf.db.new").exists()
    assert path.stat().st_mode & 0o777 == 0o640


def test_compaction_that_is_given_up_changes_nothing(path: Path) -> None:
    with open_log(path) as log:
        fill(log)
        before = path.read_bytes()
        log.compaction().abandon()
        assert path.read_bytes() == before
        log.compact()
    assert not path.with_name("conf.db.new").exists()


def test_compaction_may_be_given_up_while_it_is_written(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_log(path) as log:
        fill(log)
        before = path.read_bytes()
        files = set(Path("/proc/self/fd").iterdir())
        late = log.compaction()
        late.abandon()
        late.write()  # in another thread that has not begun before
        late.finish()
        during = log.compaction()
        write = os.write

        def abandon_and_write(file: int, data: bytes) -> int:
            during.abandon()
            return write(file, data)

        with monkeypatch.context() as patched:
            patched.setattr(os, "write", abandon_and_write)
            during.write()
        during.finish()
        assert path.read_bytes() == before
        assert set(Path("/proc/self/fd").iterdir()) == files
        log.compact()
        assert path.read_bytes() != before
    assert not path.with_name("conf.db.new").exists()


def test_a_file_may_be_synced_while_another_takes_its_place(path: Path) -> None:
    with open_log(path) as log:
        fill(log)
        sync = log.sync_elsewhere()
        log.compact()
        sync()
        assert log.failures == 0
        assert len(run(log.database, insert("L", 9))) == 1


def test_compaction_follows_a_link(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.db"
    link.symlink_to(path)
    with open_log(link) as log:
        fill(log)
        log.compact()
    assert link.is_symlink()
    assert not path.is_symlink()


def test_a_large_file_is_worth_compaction(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_module, "GROWTH_BYTES", 1000)
    with open_log(path) as log:
        was_large = log.is_large
        for number in range(200):
            run(log.database, insert("R", name=f"{number}"), {"op": "delete", "table": "R", "where": []})
            run(log.database, insert("L", 1)) if not number else None
            run(log.database, {"op": "update", "table": "L", "where": [], "row": {"x": number}})
        is_large = log.is_large
        log.compact()
        assert (was_large, is_large, log.is_large) == (False, True, False)


class _Full:
    """A disk on which so many bytes have room."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
        self.room = room
        self._write = os.write
        monkeypatch.setattr(os, "write", self.write)

    def write(self, file: int, data: bytes) -> int:
        if not self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = self._write(file, bytes(data)[: self.room])
        self.room -= written
        return written


def test_a_full_disk_refuses_transactions_and_loses_none(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_log(path) as log:
        run(log.database, insert("L", 1, x=1))
        state, size = contents(log.database), log.size
        disk = _Full(monkeypatch, 30)
        for _ in range(3):
            assert run(log.database, insert("L", 2, x=2)) == [{"uuid": ("uuid", uuid(2))}, "I/O error"]
            assert contents(log.database) == state
            assert path.stat().st_size == size
        assert log.failures == 3
        disk.room = 10_000
        run(log.database, insert("L", 3, x=3))
        state = contents(log.database)
    assert contents(load(path, counted())[0]) == state


def test_after_a_sync_that_failed_nothing_is_written_until_compaction(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_file: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with open_log(path) as log:
        run(log.database, insert("L", 1, x=1))
        with monkeypatch.context() as broken:
            broken.setattr(os, "fdatasync", fail)
            with pytest.raises(OSError, match="error"):
                log.sync()
        assert run(log.database, insert("L", 2, x=2))[1:] == ["I/O error"]
        log.compact()
        assert len(run(log.database, insert("L", 2, x=2))) == 1
        log.sync()
        state = contents(log.database)
    assert contents(load(path, counted())[0]) == state


def test_a_file_is_replaced_whole(path: Path) -> None:
    with open_log(path) as log:
        fill(log)
        rows, state = log.database.snapshot(), contents(log.database)
    write_file(path, DatabaseSchema.parse(SCHEMA), rows, NOW_MS, "as it was")
    assert contents(load(path, counted())[0]) == state
    assert [json.dumps(record)[:60] for record, _ in read(path)][1].startswith(
        f'{{"_date": {NOW_MS}, "_comment": "as it'
    )
