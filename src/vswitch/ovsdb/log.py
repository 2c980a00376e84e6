"""The file of a database: what is committed is appended, and on the disk when `sync` returns.

The one module here that touches the outside. A file is locked by another beside it, `.NAME.~lock~`, as Open vSwitch's
programs do, so that they and we never write the same. It gets shorter by `Compaction`: a new file, which takes its
place by `rename` when all is in it, while transactions go on.

Invariant: at any moment the file begins with whole records, the last of which is the last transaction appended; behind
it is nothing, or a part of one whose writing was cut off. A record that could not be written is taken away again.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from vswitch.base.errors import BusyError, ExistsError
from vswitch.ovsdb.database import Change, Database
from vswitch.ovsdb.errors import LogError, OvsdbError
from vswitch.ovsdb.integrity import rebuild
from vswitch.ovsdb.records import change_record, frame, records, replay, snapshot_record
from vswitch.ovsdb.schema import DatabaseSchema, Row
from vswitch.ovsdb.types import Json

__all__ = ["Compaction", "Lock", "Log", "create", "load", "read", "schema_of", "write_file"]

GROWTH_BYTES = 10 << 20
"""What has been appended before compaction is worth it."""

GROWTH_FACTOR = 2
"""How often the size after the last compaction a file has to be, too."""


class Lock:
    """Of a database's file, until `close`. BusyError: another process has it."""

    def __init__(self, path: Path) -> None:
        real = path.resolve()
        self._file = os.open(real.with_name(f".{real.name}.~lock~"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as problem:
            os.close(self._file)
            raise BusyError(f"another process has locked the database {path}") from problem

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        os.close(self._file)


def _sync_folder(path: Path) -> None:
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def create(path: Path, schema: DatabaseSchema) -> None:
    """A file with an empty database. ExistsError: there is one."""
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
    except FileExistsError as problem:
        raise ExistsError(f"the file {path} exists") from problem
    try:
        _write(file, frame(schema.to_json()))
        os.fsync(file)
    finally:
        os.close(file)
    _sync_folder(path.resolve())


def _write(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def schema_of(path: Path) -> DatabaseSchema:
    """That of the file. LogError: it has none."""
    with path.open("rb") as file:
        data = file.readline(1 << 10)
        size = data.split()[2:3]
        data += file.read(int(size[0]) if size and size[0].isdigit() and len(size[0]) < 11 else 0)
    for record, _ in records(data):
        return _schema(record, path)
    raise LogError(f"{path} holds no database")


def _schema(record: Json, path: Path) -> DatabaseSchema:
    try:
        return DatabaseSchema.parse(record)
    except OvsdbError as error:
        raise LogError(f"the schema in {path} is not valid: {error}") from error


def read(path: Path) -> Iterable[tuple[Json, int]]:
    """The whole records of the file, the schema first, with where each ends."""
    try:
        yield from records(path.read_bytes())
    except LogError as error:
        raise LogError(f"{path}: {error}") from error


def load(path: Path, new_uuid: Callable[[], str]) -> tuple[Database, int]:
    """The database in the file, and where its last whole record ends. LogError: it cannot be read."""
    database: Database | None = None
    end = 0
    for record, end in read(path):
        if database is None:
            database = Database(_schema(record, path), new_uuid)
        else:
            try:
                replay(database, record)
            except LogError as error:
                raise LogError(f"{path}, the record that ends at byte {end}: {error}") from error
    if database is None:
        raise LogError(f"{path} holds no database")
    try:
        rebuild(database)
    except OvsdbError as error:
        raise LogError(f"{path}: the rows do not fit together: {error}") from error
    return database, end


def write_file(
    path: Path, schema: DatabaseSchema, rows: Mapping[str, Iterable[Row]], now_ms: int, comment: str
) -> None:
    """Replace the file by one with just these rows: all or nothing, also if the power goes."""
    file = _new_file(path)
    try:
        _write(file, frame(schema.to_json()) + frame(snapshot_record(schema, rows, now_ms, comment)))
        os.fsync(file)
    finally:
        os.close(file)
    _take_place(path)


def _temporary(path: Path) -> Path:
    return path.with_name(f"{path.name}.new")


def _new_file(path: Path) -> int:
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o640
    temporary = _temporary(path)
    temporary.unlink(missing_ok=True)  # of one that was killed
    return os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)


def _take_place(path: Path) -> None:
    _temporary(path).rename(path)
    _sync_folder(path)


class Log:
    """The file of one database, open and locked. `now_ms`: the time, in ms since 1970, for people who read the file.
    `discarded`: bytes behind the last whole record, when it was opened. `failures`: of writing and syncing."""

    def __init__(self, path: Path, new_uuid: Callable[[], str], now_ms: Callable[[], int]) -> None:
        self.path = path.resolve()
        self._now_ms = now_ms
        self._lock = Lock(self.path)
        try:
            self.database, self._end = load(self.path, new_uuid)
            self._file = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        except BaseException:
            self._lock.close()
            raise
        size = os.fstat(self._file).st_size
        self.discarded = size - self._end
        if self.discarded:
            os.ftruncate(self._file, self._end)
        os.lseek(self._file, self._end, os.SEEK_SET)
        self._compact_size = self._end
        self._compaction: Compaction | None = None
        self._broken = ""
        self._generation = 0
        self.failures = 0
        self.database.journal = self

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of it."""
        self.database.journal = None
        if self._compaction is not None:
            self._compaction.abandon()
        os.close(self._file)
        self._lock.close()

    @property
    def size(self) -> int:
        """Bytes."""
        return self._end

    def append(self, schema: DatabaseSchema, change: Change) -> None:
        """Write a transaction. OSError: it is not there, also not in part."""
        record = change_record(schema, change, self._now_ms())
        if record is None:
            return
        if self._broken:
            raise OSError(0, self._broken)
        data = frame(record)
        try:
            _write(self._file, data)
        except OSError:
            self.failures += 1
            try:
                os.ftruncate(self._file, self._end)
                os.lseek(self._file, self._end, os.SEEK_SET)
            except OSError as problem:
                self._broken = f"half a record cannot be taken away: {problem.strerror}"
            raise
        self._end += len(data)
        if self._compaction is not None:
            self._compaction.since.append(data)

    def sync(self) -> None:
        """What has been appended is on the disk then. OSError: it may not be; nothing more is written until the file is
        compacted, as the kernel may have forgotten what it could not write."""
        self.sync_elsewhere()()

    def sync_elsewhere(self) -> Callable[[], None]:
        """The same as a function that another thread may call, once, whatever happens to the file meanwhile."""
        file, generation = os.dup(self._file), self._generation

        def sync() -> None:
            try:
                os.fdatasync(file)
            except OSError as problem:
                self.failures += 1
                if generation == self._generation:  # another file has taken its place else, synced
                    self._broken = f"the disk has failed: {problem.strerror}"
                raise
            finally:
                os.close(file)

        return sync

    @property
    def is_large(self) -> bool:
        """Whether compaction is worth it."""
        return self._end - self._compact_size > GROWTH_BYTES and self._end > GROWTH_FACTOR * self._compact_size

    def compaction(self, comment: str = "compacted while in use") -> Compaction:
        """Begin one. BusyError: one is under way."""
        if self._compaction is not None:
            raise BusyError(f"{self.path} is being compacted already")
        self._compaction = Compaction(self, comment)
        return self._compaction

    def compact(self, comment: str = "compacted") -> None:
        """All of it at once."""
        compaction = self.compaction(comment)
        compaction.write()
        compaction.finish()

    def replace(self, database: Database) -> None:
        """Make this the database: one of another schema, converted. The file is written anew."""
        if self._compaction is not None:
            self._compaction.abandon()
        before, self.database = self.database, database
        try:
            self.compact("converted to another schema")
        except BaseException:
            self.database = before
            raise
        before.journal = None
        database.journal = self

    def _replaced(self, file: int, size: int) -> None:
        os.close(self._file)
        self._file, self._end, self._compact_size = file, size, size
        self._compaction, self._broken = None, ""
        self._generation += 1

    def _abandoned(self) -> None:
        self._compaction = None


class Compaction:
    """A new file with the rows of one moment. `write` may run in another thread, while transactions go on: what they
    append is kept in `since`, and follows in `finish`. It may be abandoned while it is written."""

    def __init__(self, log: Log, comment: str) -> None:
        self._log = log
        self._comment = comment
        self._schema = log.database.schema
        self._rows = log.database.snapshot()
        self._now_ms = log._now_ms()
        self._files = [_new_file(log.path)]
        """The new one, for who takes it from here: to close it, or to make it the log's."""
        self._size = 0
        self._is_begun = self._is_written = self._is_abandoned = False
        self.since: list[bytes] = []

    def write(self) -> None:
        """The rows. OSError: they could not be."""
        self._is_begun = True
        try:
            for record in (
                self._schema.to_json(),
                snapshot_record(self._schema, self._rows, self._now_ms, self._comment),
            ):
                if self._is_abandoned:
                    return
                data = frame(record)
                _write(self._files[0], data)
                self._size += len(data)
            os.fsync(self._files[0])
        finally:
            self._is_written = True
            if self._is_abandoned:
                self._close()

    def finish(self) -> None:
        """What came since; then the new file takes the place of the old one. Nothing, if it was abandoned."""
        if self._is_abandoned:
            return
        rest = b"".join(self.since)
        try:
            _write(self._files[0], rest)
            os.fsync(self._files[0])
            _take_place(self._log.path)
        except OSError:
            self.abandon()
            raise
        self._log._replaced(self._files.pop(), self._size + len(rest))

    def abandon(self) -> None:
        """The old file stays. Who is writing the new one finds out."""
        if self._is_abandoned or not self._files:
            return
        with contextlib.suppress(OSError):
            _temporary(self._log.path).unlink()
        self._log._abandoned()
        self._is_abandoned = True
        if self._is_written or not self._is_begun:
            self._close()

    def _close(self) -> None:
        with contextlib.suppress(IndexError):  # the other thread has
            os.close(self._files.pop())
