"""Opening a small SQLite file that several processes share: private, and replaced only if corrupt.

A database that is in use must not be deleted: its users would go on writing a deleted file, and its
journals would be taken for those of the new one. So every user holds a shared lock on a file beside
it, and replacing a corrupt one needs the exclusive lock.
"""

import contextlib
import fcntl
import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

_BUSY_S = 2.0
#: How long other processes may take to replace, or close, a corrupt file.
_REPLACED_S = 5.0
_POLL_S = 0.02
_CORRUPT = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_PRIVATE = 0o600

Prepare = Callable[[sqlite3.Connection], None]


def is_corrupt(error: Exception) -> bool:
    """Whether the error means that the file is corrupt, or no database at all."""
    return _code(error) in _CORRUPT


def is_busy(error: Exception) -> bool:
    """Whether the error is temporary: another process is using the file."""
    return isinstance(error, BlockingIOError) or _code(error) in _BUSY


def _code(error: Exception) -> int:
    # The extended codes have the plain one in their last byte.
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


class DatabaseFile:
    """An open database: `connection`, and the lock that marks it as in use."""

    def __init__(self, connection: sqlite3.Connection, lock: int | None = None) -> None:
        self.connection = connection
        self._lock = lock

    def close(self) -> None:
        """Close it and release the lock, so that others may replace it."""
        self.connection.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def open_in_memory(prepare: Prepare) -> DatabaseFile:
    """A database in memory, of this process alone."""
    return DatabaseFile(_connect(":memory:", prepare))


def open_file(path: Path, prepare: Prepare) -> DatabaseFile:
    """The database at `path`: created if missing, replaced if it is corrupt and not in use.

    `prepare` creates the tables. Raises `OSError` and `sqlite3.Error` if it cannot be used now.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
    lock = os.open(path.with_name(f"{path.name}.lock"), flags, _PRIVATE)
    try:
        return DatabaseFile(_open(path, prepare, lock), lock)
    except BaseException:
        os.close(lock)
        raise


def _open(path: Path, prepare: Prepare, lock: int) -> sqlite3.Connection:
    deadline = time.monotonic() + _REPLACED_S
    while True:
        if not _share(lock, deadline):
            return _connect_private(path, prepare)
        try:
            return _connect_private(path, prepare)
        except sqlite3.DatabaseError as error:
            if not is_corrupt(error) or time.monotonic() > deadline:
                raise
        if _replace(path, prepare, lock):
            continue
        time.sleep(_POLL_S)  # other processes have it open, or are replacing it


def _replace(path: Path, prepare: Prepare, lock: int) -> bool:
    """Delete the file if it is still corrupt; False if other processes have it open."""
    fcntl.flock(lock, fcntl.LOCK_UN)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    try:
        _connect_private(path, prepare).close()
    except sqlite3.DatabaseError as error:
        if is_corrupt(error):
            for suffix in ("-wal", "-shm", "-journal", ""):
                path.with_name(path.name + suffix).unlink(missing_ok=True)
    return True


def _share(lock: int, deadline: float) -> bool:
    """Take the shared lock; False where the file system has no locks, so that nothing is replaced.

    Raises `BlockingIOError` when others take too long to replace the file.
    """
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_POLL_S)
        except OSError:
            return False
        else:
            return True


def _connect_private(path: Path, prepare: Prepare) -> sqlite3.Connection:
    """Connect to the file, which only its owner may read: it has the names of private projects."""
    # Only a new file is opened here: closing another descriptor of it would drop SQLite's locks.
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _PRIVATE))
    for suffix in ("", "-wal", "-shm"):
        with contextlib.suppress(OSError):  # missing, or owned by another user
            path.with_name(path.name + suffix).chmod(_PRIVATE)
    return _connect(str(path), prepare)


def _connect(place: str, prepare: Prepare) -> sqlite3.Connection:
    connection = sqlite3.connect(place, timeout=_BUSY_S, check_same_thread=False)
    try:
        connection.execute("pragma journal_mode = wal")
        connection.execute("pragma synchronous = normal")
        with connection:
            prepare(connection)
    except BaseException:
        connection.close()
        raise
    return connection
