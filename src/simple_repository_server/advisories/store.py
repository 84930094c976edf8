"""The parsed records on disk, in a SQLite file that one process writes and many read.

A new state is written in one transaction: readers see the old one until it is complete.
"""

import hashlib
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from simple_repository_server.advisories.records import Advisory
from simple_repository_server.disk.database import DatabaseFile, open_file
from simple_repository_server.names import ProjectName

_SCHEMA_VERSION = 2
_SCHEMA = (
    "create table state (only integer primary key check (only = 1), data blob not null) strict",
    """create table files (
        path text primary key, id integer not null, stamp integer not null, problem text
    ) without rowid, strict""",
    """create table advisories (
        project text not null, file integer not null, data blob not null,
        primary key (project, file)
    ) without rowid, strict""",
    "create index advisories_of_file on advisories (file)",
)
#: How many new files are written at once.
_BATCH = 500
#: The memory that SQLite may take for writing.
_CACHE_KB = 24_000
_TABLES = ("state", "files", "advisories")
_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Advisory)


class StoredState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the last reading of the records found."""

    #: Increased by every reading that changed something.
    revision: int = 0
    #: Identifies the state of the folder or archive that was read; None: none was, so far.
    fingerprint: int | None = None
    #: Records about PyPI, withdrawn ones included.
    records: int = 0
    #: Files that were rejected; what they said before still counts.
    rejected: int = 0
    #: Why no rule may be judged by these records, to stand after the path; "" if it may.
    problem: str = ""
    #: What is wrong although they can be used; "" if nothing is.
    warning: str = ""


NOTHING = StoredState()


def database_path(state: Path, source: Path) -> Path:
    """Where in the folder `state` the records of `source` are stored."""
    digest = hashlib.sha256(str(source.absolute()).encode("utf-8", "surrogateescape"))
    return state / f"advisories-{digest.hexdigest()[:16]}.sqlite"


class AdvisoryStore:
    """The open database at `path`. Every method blocks, and raises `sqlite3.Error`.

    Opening creates or replaces the file as `open_file` does, and raises as it does.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._database: DatabaseFile | None = open_file(path, _prepare)

    def close(self) -> None:
        """Close it. It may be closed already."""
        with self._lock:
            if self._database is not None:
                self._database.close()
                self._database = None

    def state(self) -> StoredState:
        """What the last reading found."""
        with self.connected() as connection:
            return read_state(connection)

    def advisories(self, project: ProjectName) -> tuple[list[Advisory], int]:
        """What the records say about a project, and how many bytes that is."""
        query = "select data from advisories where project = ?"
        with self.connected() as connection:
            rows = connection.execute(query, (project,)).fetchall()
        return [_DECODER.decode(data) for (data,) in rows], sum(len(data) for (data,) in rows)

    def shrink(self) -> None:
        """Give back the space of the journal, which is as large as all that was just written."""
        with self.connected() as connection:
            connection.execute("pragma wal_checkpoint(truncate)").fetchall()

    @contextmanager
    def connected(self) -> Iterator[sqlite3.Connection]:
        """The connection, for one thread at a time. Raises `sqlite3.Error` if it is closed."""
        with self._lock:
            if self._database is None:
                raise sqlite3.ProgrammingError("the database is closed")
            yield self._database.connection


def read_state(connection: sqlite3.Connection) -> StoredState:
    """What the last reading found."""
    row = connection.execute("select data from state").fetchone()
    return NOTHING if row is None else msgspec.msgpack.decode(row[0], type=StoredState)


def write_state(connection: sqlite3.Connection, state: StoredState) -> None:
    """Store what a reading found."""
    data = _ENCODER.encode(state)
    connection.execute("insert or replace into state values (1, ?)", (data,))


def known_stamps(connection: sqlite3.Connection) -> dict[str, int]:
    """The stamps of all files that were read, by path."""
    return dict(connection.execute("select path, stamp from files"))


class Writer:
    """Writes what files say, in the transaction that is open; `flush` at its end.

    New files are written some hundred at a time. Raises `sqlite3.IntegrityError` for a second new
    file at one path.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        connection.execute(f"pragma cache_size = -{_CACHE_KB}")
        (last,) = connection.execute("select max(id) from files").fetchone()
        self._last = last or 0
        self._files: list[tuple[int, str, int, str | None]] = []
        self._advisories: list[tuple[str, int, bytes]] = []

    def put(
        self,
        path: str,
        stamp: int,
        advisories: Iterable[tuple[ProjectName, Advisory]],
        *,
        is_new: bool,
        problem: str | None = None,
    ) -> None:
        """Store what a file says, in place of what it said before."""
        if is_new:
            self._last += 1
            number = self._last
            self._files.append((number, path, stamp, problem))
        else:
            number = self._update(path, stamp, problem)
            self._connection.execute("delete from advisories where file = ?", (number,))
        for name, advisory in advisories:
            self._advisories.append((name, number, _ENCODER.encode(advisory)))
        if len(self._files) >= _BATCH:
            self.flush()

    def reject(self, path: str, stamp: int, problem: str, *, is_new: bool) -> None:
        """Store that a file is unusable. What it said before still counts."""
        if is_new:
            self.put(path, stamp, (), is_new=True, problem=problem)
        else:
            self._update(path, stamp, problem)

    def remove(self, paths: Iterable[str]) -> None:
        """Forget files that are gone, and what they said."""
        for path in paths:
            query = "delete from files where path = ? returning id"
            for row in self._connection.execute(query, (path,)).fetchall():
                self._connection.execute("delete from advisories where file = ?", row)

    def flush(self) -> None:
        """Write what was put."""
        insert = self._connection.executemany
        insert("insert into files (id, path, stamp, problem) values (?, ?, ?, ?)", self._files)
        insert("insert into advisories values (?, ?, ?)", self._advisories)
        self._files.clear()
        self._advisories.clear()

    def _update(self, path: str, stamp: int, problem: str | None) -> int:
        query = "update files set stamp = ?, problem = ? where path = ? returning id"
        (number,) = self._connection.execute(query, (stamp, problem, path)).fetchone()
        return int(number)


def count(connection: sqlite3.Connection) -> tuple[int, int]:
    """How many files say something about projects, and how many were rejected."""
    (records,) = connection.execute("select count(distinct file) from advisories").fetchone()
    query = "select count(*) from files where problem is not null"
    (rejected,) = connection.execute(query).fetchone()
    return records, rejected


def _prepare(connection: sqlite3.Connection) -> None:
    """Create the tables. While another process writes a new state nobody waits for it here."""
    if _version(connection) == _SCHEMA_VERSION:
        return
    connection.execute("begin immediate")
    if _version(connection) != _SCHEMA_VERSION:
        for table in _TABLES:
            connection.execute(f"drop table if exists {table}")
        for statement in _SCHEMA:
            connection.execute(statement)
        connection.execute(f"pragma user_version = {_SCHEMA_VERSION}")


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("pragma user_version").fetchone()[0])
