"""Facts about local files (digests above all), stored across restarts in a small SQLite file.

It is a cache: without a file, or with a corrupt one, it works in memory and everything is computed
again after a restart. Several processes may share the file, several threads a store. One thing
cannot be computed again: that a directory which is empty now had files once.
"""

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from simple_repository_server.disk.database import (
    DatabaseFile,
    is_busy,
    is_corrupt,
    open_file,
    open_in_memory,
)
from simple_repository_server.names import batched, shown_path
from simple_repository_server.observe.events import Emit, InternalFailure, ignore

_SCHEMA_VERSION = 1
_SCHEMA = """
create table files (
    path text primary key,
    size integer not null,
    mtime_ns integer not null,
    inode integer not null,
    sha256 text not null,
    metadata_sha256 text,
    requires_python text,
    problem text
) without rowid, strict
"""
#: Apart from the version: it must outlive a new schema of the other table.
_ROOTS_SCHEMA = """
create table if not exists seen_roots
(path text primary key, device text not null, since_ns integer not null)
without rowid, strict
"""
#: About 250 bytes each.
_MAX_ROWS = 2_000_000
#: A file that another process locks is tried again after this long.
_RETRY_S = 10.0
#: Files looked up in one query, of whose parameters SQLite limits the number.
_QUERY_FILES = 500


class FileIdentity(msgspec.Struct, frozen=True, gc=False):
    """A version of a file: with another size, time or inode it is another one."""

    path: str
    size: int
    mtime_ns: int
    inode: int


def identity_of(path: str, state: os.stat_result) -> FileIdentity:
    """The identity of the file at the path, of which `state` is the result of `os.stat`."""
    return FileIdentity(shown_path(path), state.st_size, state.st_mtime_ns, state.st_ino)


class Facts(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What reading a whole file brings out."""

    sha256: str
    #: Of the core metadata of a wheel; None where it has none that can be read.
    metadata_sha256: str | None = None
    requires_python: str | None = None
    #: Why a wheel's metadata cannot be read; None if it can.
    problem: str | None = None


class SeenRoot(msgspec.Struct, frozen=True, kw_only=True):
    """That a directory had files: on which device it was last, and since when that is known."""

    device: int
    #: Nanoseconds since the epoch.
    since_ns: int


class DigestStore:
    """Facts about files by their identity. `path` None: they are lost when the process ends.

    Every method blocks: for up to some seconds while another process locks the file.
    """

    def __init__(self, path: Path | str | None = None, *, emit: Emit = ignore) -> None:
        self._path = None if path is None else Path(path)
        self._emit = emit
        self._lock = threading.Lock()
        self._database: DatabaseFile | None = None
        self._closed = False
        #: While the file is busy, a database in memory takes its place, until this time.
        self._retry_at: float | None = None

    def open(self) -> None:
        """Open the file, making a new one where it is corrupt or of another version."""
        with self._lock:
            self._closed = False
            if self._database is None:
                self._database = self._connect()

    def close(self) -> None:
        """Close the file; until it is opened again, lookups find nothing and nothing is stored."""
        with self._lock:
            self._closed = True
            self._disconnect()

    def is_busy(self) -> bool:
        """Whether the file cannot be used now: it is closed here, or locked by another process."""
        self._run(lambda db: db.execute("select 1 from seen_roots").fetchone())
        return self._closed or self._retry_at is not None

    def get(self, files: Iterable[FileIdentity]) -> dict[FileIdentity, Facts]:
        """The facts about those of the files that are known, looked up in as few queries as can be.

        Another version of a file at the same path is not known.
        """
        found: dict[FileIdentity, Facts] = {}
        for some in batched(files, _QUERY_FILES):
            by_path = {one.path: one for one in some}
            for row in self._run(partial(_select_files, list(by_path))) or ():
                identity = by_path[row[0]]
                if row[:4] == _key(identity):
                    found[identity] = Facts(
                        sha256=row[4],
                        metadata_sha256=row[5],
                        requires_python=row[6],
                        problem=row[7],
                    )
        return found

    def put(self, facts: Mapping[FileIdentity, Facts]) -> None:
        """Store the facts about the files, replacing those about earlier versions, all or none."""
        rows = [(*_key(one), *msgspec.structs.astuple(facts[one])) for one in facts]
        if rows:
            self._run(partial(_replace_files, rows))

    def get_root(self, path: str) -> SeenRoot | None:
        """What is known of the directory at the path; None: it never had files."""
        query = "select device, since_ns from seen_roots where path = ?"
        row = self._run(lambda db: db.execute(query, (shown_path(path),)).fetchone())
        return None if row is None else SeenRoot(device=int(row[0]), since_ns=row[1])

    def put_root(self, path: str, seen: SeenRoot | None) -> bool:
        """Store that the directory had files, or None: delete that. Whether it is on disk now."""
        name = shown_path(path)
        if seen is None:
            work = partial(_execute, "delete from seen_roots where path = ?", (name,))
        else:
            row = (name, str(seen.device), seen.since_ns)
            work = partial(_execute, "insert or replace into seen_roots values (?, ?, ?)", row)
        return self._run(work) is not None and self._retry_at is None

    def _run(self, work: Callable[[sqlite3.Connection], Any]) -> Any:
        with self._lock:
            if self._closed:
                return None
            if self._retry_at is not None and time.monotonic() >= self._retry_at:
                self._disconnect()
            if self._database is None:
                self._database = self._connect()
            try:
                with self._database.connection as connection:
                    return work(connection)
            except sqlite3.Error as error:
                self._disconnect()
                # Opening replaces a corrupt file.
                self._database = self._connect() if is_corrupt(error) else self._use_memory(error)
                return None

    def _connect(self) -> DatabaseFile:
        if self._path is None:
            return open_in_memory(_prepare)
        try:
            database = open_file(self._path, _prepare)
        except (OSError, sqlite3.Error) as error:
            return self._use_memory(error)
        self._retry_at = None
        return database

    def _use_memory(self, error: Exception) -> DatabaseFile:
        """A database in memory: until the file is no longer busy, or for ever."""
        if is_busy(error):
            if self._retry_at is None:
                what = f"digests are not stored while {self._path} is locked by another process"
                self._emit(InternalFailure(what=what))
            self._retry_at = time.monotonic() + _RETRY_S
        else:
            what = f"digests are lost at the next restart: {self._path} cannot be used ({error})"
            self._emit(InternalFailure(what=what))
            self._path = self._retry_at = None
        return open_in_memory(_prepare)

    def _disconnect(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None


def _key(identity: FileIdentity) -> tuple[str, int, int, int]:
    """The identity as a row begins: SQLite's integers have 64 bits and a sign."""
    return identity.path, identity.size, _signed(identity.mtime_ns), _signed(identity.inode)


def _select_files(paths: list[str], connection: sqlite3.Connection) -> list[tuple[Any, ...]]:
    marks = ",".join("?" * len(paths))
    return connection.execute(f"select * from files where path in ({marks})", paths).fetchall()  # noqa: S608 - only marks


def _replace_files(rows: list[tuple[object, ...]], connection: sqlite3.Connection) -> None:
    connection.executemany("insert or replace into files values (?, ?, ?, ?, ?, ?, ?, ?)", rows)


def _execute(query: str, row: tuple[object, ...], connection: sqlite3.Connection) -> sqlite3.Cursor:
    return connection.execute(query, row)


def _signed(number: int) -> int:
    return (number + 2**63) % 2**64 - 2**63


def _prepare(connection: sqlite3.Connection) -> None:
    """Create the tables; of processes that start together one does, the others wait."""
    connection.execute("begin immediate")
    (version,) = connection.execute("pragma user_version").fetchone()
    if version != _SCHEMA_VERSION:
        connection.execute("drop table if exists files")
        connection.execute(_SCHEMA)
        connection.execute(f"pragma user_version = {_SCHEMA_VERSION}")
    connection.execute(_ROOTS_SCHEMA)
    (rows,) = connection.execute("select count(*) from files").fetchone()
    if rows > _MAX_ROWS:
        connection.execute("delete from files")
