"""What was once found out about local files, kept across restarts in a small SQLite file.

It is a cache: without a file, or with a broken one, it works in memory and everything is found out
again after a restart. Several processes may share the file, several threads a store.
"""

import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

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
#: About 250 bytes each.
_MAX_ROWS = 2_000_000
_BUSY_S = 5.0
_IN_MEMORY = ":memory:"


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


class DigestStore:
    """Facts about files by their identity. `path` None: nothing outlives the process."""

    def __init__(self, path: Path | None = None, *, emit: Emit = ignore) -> None:
        self._path = path
        self._emit = emit
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._closed = False

    def open(self) -> None:
        """Open the file, making a new one where it is broken or of another version."""
        with self._lock:
            self._closed = False
            if self._connection is None:
                self._connection = self._connected()

    def close(self) -> None:
        """Close the file; threads that come late find and leave nothing."""
        with self._lock:
            self._closed = True
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def get(self, identity: FileIdentity) -> Facts | None:
        """The facts about just that file, or None."""
        query = "select * from files where path = ?"
        row = self._run(lambda db: db.execute(query, (identity.path,)).fetchone())
        if row is None or FileIdentity(*row[:4]) != identity:
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
        row = (*msgspec.structs.astuple(identity), *msgspec.structs.astuple(facts))
        marks = ",".join("?" * len(row))
        self._run(lambda db: db.execute(f"insert or replace into files values ({marks})", row))  # noqa: S608

    def _run(self, work: Callable[[sqlite3.Connection], Any]) -> Any:
        with self._lock:
            if self._closed:
                return None
            if self._connection is None:
                self._connection = self._connected()
            try:
                with self._connection as connection:
                    return work(connection)
            except sqlite3.Error as error:
                self._connection.close()
                self._give_up(error)
                self._connection = _connect(_IN_MEMORY)
                return None

    def _connected(self) -> sqlite3.Connection:
        if self._path is None:
            return _connect(_IN_MEMORY)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            try:
                return _connect(str(self._path))
            except sqlite3.DatabaseError:
                self._path.unlink(missing_ok=True)
                return _connect(str(self._path))
        except (OSError, sqlite3.Error) as error:
            self._give_up(error)
            return _connect(_IN_MEMORY)

    def _give_up(self, error: Exception) -> None:
        what = f"digests are not kept across restarts: {self._path} cannot be used ({error})"
        self._emit(InternalFailure(what=what))
        self._path = None


def _connect(place: str) -> sqlite3.Connection:
    connection = sqlite3.connect(place, timeout=_BUSY_S, check_same_thread=False)
    try:
        connection.execute("pragma journal_mode = wal")
        connection.execute("pragma synchronous = normal")
        with connection:
            (version,) = connection.execute("pragma user_version").fetchone()
            if version != _SCHEMA_VERSION:
                connection.execute("drop table if exists files")
                connection.execute(_SCHEMA)
                connection.execute(f"pragma user_version = {_SCHEMA_VERSION}")
            (rows,) = connection.execute("select count(*) from files").fetchone()
            if rows > _MAX_ROWS:
                connection.execute("delete from files")
    except BaseException:
        connection.close()
        raise
    return connection
