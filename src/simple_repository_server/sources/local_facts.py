"""What was once found out about local files, kept across restarts in a small SQLite file.

It is a cache: without a file, or with a broken one, it works in memory and everything is found out
again after a restart. Several processes may share the file, several threads a store. One thing
cannot be found out again: that a directory which is empty now had something once.
"""

import sqlite3
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from simple_repository_server.names import shown_path
from simple_repository_server.observe.events import Emit, InternalFailure, ignore
from simple_repository_server.sources.local_database import (
    DatabaseFile,
    is_busy,
    is_corrupt,
    open_file,
    open_in_memory,
)

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
#: A file that another process keeps locked is tried again after so long.
_AGAIN_S = 10.0


class FileIdentity(msgspec.Struct, frozen=True):
    """A file as it lies there: with another size, time or inode it is another file."""

    path: str
    size: int
    mtime_ns: int
    inode: int


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What reading a whole file brings out."""

    sha256: str
    #: Of the core metadata of a wheel; None where it has none that can be read.
    metadata_sha256: str | None = None
    requires_python: str | None = None
    #: Why a wheel's metadata cannot be read.
    problem: str | None = None


class SeenRoot(msgspec.Struct, frozen=True, kw_only=True):
    """That a directory had something: on which device it was last, and since when that is known."""

    device: int
    #: Nanoseconds since the epoch.
    since_ns: int


class DigestStore:
    """Facts about files by their identity. `path` None: nothing outlives the process.

    Every method blocks as the disk does, for up to some seconds while others lock the file.
    """

    def __init__(self, path: Path | None = None, *, emit: Emit = ignore) -> None:
        self._path = path
        self._emit = emit
        self._lock = threading.Lock()
        self._database: DatabaseFile | None = None
        self._closed = False
        #: While the file is busy, a database in memory stands in for it, until this time.
        self._again_at: float | None = None

    def open(self) -> None:
        """Open the file, making a new one where it is corrupt or of another version."""
        with self._lock:
            self._closed = False
            if self._database is None:
                self._database = self._opened()

    def close(self) -> None:
        """Close the file; threads that come late find and leave nothing."""
        with self._lock:
            self._closed = True
            self._let_go()

    def is_busy(self) -> bool:
        """Whether the file cannot be asked now: it is closed here, or locked by others."""
        self._run(lambda db: db.execute("select 1 from seen_roots").fetchone())
        return self._closed or self._again_at is not None

    def get(self, identity: FileIdentity) -> Facts | None:
        """The facts about just that file, or None."""
        query = "select * from files where path = ?"
        row = self._run(lambda db: db.execute(query, (identity.path,)).fetchone())
        if row is None or row[:4] != _key(identity):
            return None
        sha256, metadata_sha256, requires_python, problem = row[4:]
        return Facts(
            sha256=sha256,
            metadata_sha256=metadata_sha256,
            requires_python=requires_python,
            problem=problem,
        )

    def put(self, identity: FileIdentity, facts: Facts) -> None:
        """Keep the facts about the file, in the place of those about an earlier one at its path."""
        row = (*_key(identity), *msgspec.structs.astuple(facts))
        marks = ",".join("?" * len(row))
        self._run(lambda db: db.execute(f"insert or replace into files values ({marks})", row))  # noqa: S608

    def get_root(self, path: str) -> SeenRoot | None:
        """What is known of the directory at the path; None: it never had anything."""
        query = "select device, since_ns from seen_roots where path = ?"
        row = self._run(lambda db: db.execute(query, (shown_path(path),)).fetchone())
        return None if row is None else SeenRoot(device=int(row[0]), since_ns=row[1])

    def put_root(self, path: str, seen: SeenRoot | None) -> bool:
        """Remember that the directory had something; None: forget it. Whether that is kept."""
        name = shown_path(path)
        if seen is None:
            work = partial(_execute, "delete from seen_roots where path = ?", (name,))
        else:
            row = (name, str(seen.device), seen.since_ns)
            work = partial(_execute, "insert or replace into seen_roots values (?, ?, ?)", row)
        done = self._run(work)
        return done is not None and self._again_at is None

    def _run(self, work: Callable[[sqlite3.Connection], Any]) -> Any:
        with self._lock:
            if self._closed:
                return None
            if self._again_at is not None and time.monotonic() >= self._again_at:
                self._let_go()
            if self._database is None:
                self._database = self._opened()
            try:
                with self._database.connection as connection:
                    return work(connection)
            except sqlite3.Error as error:
                self._let_go()
                # A corrupt one is replaced when it is opened.
                self._database = self._opened() if is_corrupt(error) else self._without(error)
                return None

    def _opened(self) -> DatabaseFile:
        if self._path is None:
            return open_in_memory(_prepare)
        try:
            database = open_file(self._path, _prepare)
        except (OSError, sqlite3.Error) as error:
            return self._without(error)
        self._again_at = None
        return database

    def _without(self, error: Exception) -> DatabaseFile:
        """A database in memory: until the file is no longer busy, or else for good."""
        if is_busy(error):
            if self._again_at is None:
                what = f"digests are not kept while {self._path} is locked by another process"
                self._emit(InternalFailure(what=what))
            self._again_at = time.monotonic() + _AGAIN_S
        else:
            what = f"digests are not kept across restarts: {self._path} cannot be used ({error})"
            self._emit(InternalFailure(what=what))
            self._path = self._again_at = None
        return open_in_memory(_prepare)

    def _let_go(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None


def _key(identity: FileIdentity) -> tuple[str, int, int, int]:
    """How the identity stands in the database, whose integers have 64 bits and a sign."""
    return identity.path, identity.size, _signed(identity.mtime_ns), _signed(identity.inode)


def _execute(query: str, row: tuple[object, ...], connection: sqlite3.Connection) -> sqlite3.Cursor:
    return connection.execute(query, row)


def _signed(number: int) -> int:
    return (number + 2**63) % 2**64 - 2**63


def _prepare(connection: sqlite3.Connection) -> None:
    """Make the tables, alone: of processes that start together one makes them for all."""
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
