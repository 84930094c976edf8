"""When this server first saw a file: for files whose source states no upload time.

The time never comes from a source, which could state any. It belongs to a digest, so that other
bytes under the same name are another file.
"""

import asyncio
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from typing_extensions import override

from simple_repository_server.disk.database import (
    DatabaseFile,
    is_corrupt,
    open_file,
    open_in_memory,
)
from simple_repository_server.errors import os_reason
from simple_repository_server.lifecycle import SharedLifespan
from simple_repository_server.model import File
from simple_repository_server.names import batched
from simple_repository_server.observe.events import Emit, InternalFailure, ignore
from simple_repository_server.observe.rule_events import RuleFailed, RuleRecovered

#: The digests that every installer verifies: under another algorithm a source could announce the
#: digest of an old file for a new one, without any client noticing. Their lengths differ.
_VERIFIED = ("sha256", "sha384", "sha512")
#: Of all rules that need the times, in the log.
_NAME = "undated = first-seen"
_SCHEMA_VERSION = 1
_SCHEMA = "create table seen (digest blob primary key, at real not null) without rowid, strict"
#: Digests in one query, of whose parameters SQLite limits the number.
_QUERY_DIGESTS = 500
#: A request for the digests of one page.
_DEADLINE_S = 10.0


class FirstSeenError(Exception):
    """The times cannot be read or stored now; the text says why."""


def digest_of(file: File) -> bytes | None:
    """The digest by which the file is recognised: SHA-256, SHA-384 or SHA-512; None without one."""
    for algorithm in _VERIFIED:
        if algorithm in file.hashes:
            try:
                return bytes.fromhex(file.hashes[algorithm])
            except ValueError:
                return None
    return None


class FirstSeen(SharedLifespan):
    """A SQLite database of digests, each with the time it was first asked for.

    All processes that use the file get the same times: the first one to see a digest stores its
    time, and nothing changes or deletes it. With `path` None the times are lost at the end of the
    process. It opens when it is first used, and may be shared by any number of rules.

    Without the file its files count as new: rules that need it then hide them for longer, not for
    a shorter time. So a corrupt file is replaced, which is reported to `emit`.
    """

    def __init__(
        self,
        path: Path | str | None = None,
        *,
        clock: Callable[[], float] = time.time,
        emit: Emit = ignore,
    ) -> None:
        self.path = None if path is None else Path(path)
        self._clock = clock
        self._emit = emit
        self._lock = threading.Lock()
        self._database: DatabaseFile | None = None
        #: A part of the file is corrupt: it is replaced when it is opened again.
        self._suspect = False
        #: Why the last use failed; "" if it succeeded.
        self.problem = ""

    @override
    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await asyncio.to_thread(self.close)

    async def times(self, digests: Collection[bytes]) -> Mapping[bytes, float]:
        """When each digest was first seen, in seconds since the epoch; a new one is seen now.

        Raises `FirstSeenError`, within seconds.
        """
        if not digests:
            return {}
        try:
            async with asyncio.timeout(_DEADLINE_S):
                found = await asyncio.to_thread(self.lookup, digests)
        except (OSError, sqlite3.Error) as error:
            # TimeoutError is an OSError without a text.
            text = os_reason(error) if isinstance(error, OSError) and error.args else str(error)
            where = f" in {self.path}" if self.path else ""
            why = text or "it takes too long"
            self._report(f"first-seen times cannot be stored{where}: {why}")
            raise FirstSeenError(self.problem) from error
        self._report("")
        return found

    def _report(self, problem: str) -> None:
        if problem and problem != self.problem:
            self._emit(RuleFailed(rule=_NAME, reason=problem))
        elif self.problem and not problem:
            self._emit(RuleRecovered(rule=_NAME))
        self.problem = problem

    def lookup(self, digests: Collection[bytes]) -> dict[bytes, float]:
        """The same as `times`, blocking. Raises `OSError` and `sqlite3.Error`."""
        with self._lock:
            if self._database is None:
                self._database = self._connect()
            connection = self._database.connection
            try:
                found = _select(connection, digests)
                now = self._clock()
                new = [(digest, now) for digest in digests if digest not in found]
                if new:
                    # The insert takes the lock of the writer, so that what it does not insert is
                    # there for the query behind it.
                    with connection:
                        insert = "insert into seen values (?, ?) on conflict do nothing"
                        connection.executemany(insert, new)
                        found |= _select(connection, [digest for digest, _ in new])
            except sqlite3.Error as error:
                if is_corrupt(error):
                    self._suspect = True
                    self._close()
                raise
            return found

    def close(self) -> None:
        """Close the file. It is opened again when the times are used again. Blocks."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None

    def _connect(self) -> DatabaseFile:
        created = False

        def prepare(connection: sqlite3.Connection) -> None:
            nonlocal created
            created = _prepare(connection, read_all=self._suspect)

        if self.path is None:
            return open_in_memory(prepare)
        existed = self.path.exists() and self.path.stat().st_size > 0
        database = open_file(self.path, prepare)
        self._suspect = False
        if existed and created:
            what = f"{self.path} was corrupt and is replaced: files without upload time are new"
            self._emit(InternalFailure(what=what))
        return database


def _select(connection: sqlite3.Connection, digests: Collection[bytes]) -> dict[bytes, float]:
    found: dict[bytes, float] = {}
    for some in batched(digests, _QUERY_DIGESTS):
        marks = ",".join("?" * len(some))
        query = f"select digest, at from seen where digest in ({marks})"  # noqa: S608 - only marks
        found.update(connection.execute(query, some).fetchall())
    return found


def _prepare(connection: sqlite3.Connection, *, read_all: bool) -> bool:
    """Create the table if it is missing: whether it was. Raises if what is read is corrupt."""
    connection.execute("begin immediate")
    (version,) = connection.execute("pragma user_version").fetchone()
    if version == _SCHEMA_VERSION:
        rows = connection.execute("select * from seen").fetchone
        while rows() and read_all:
            pass
        return False
    if version:
        raise sqlite3.NotSupportedError(f"it is of version {version}, made by a later release")
    connection.execute(_SCHEMA)
    connection.execute(f"pragma user_version = {_SCHEMA_VERSION}")
    return True
