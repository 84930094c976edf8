"""Checking whether the records changed, and having them read: in a thread, for one process.

Of the processes that share a database one, which holds a lock, checks and reads; the others look
only at what it stored. If it ends, another one takes its place.
"""

import fcntl
import os
import sqlite3
import threading
import time
from pathlib import Path

import msgspec

from simple_repository_server.advisories.found import fingerprint
from simple_repository_server.advisories.reader import ReadingFailed, read_in_process
from simple_repository_server.advisories.reading import Report, cannot_read
from simple_repository_server.advisories.store import (
    NOTHING,
    AdvisoryStore,
    StoredState,
    write_state,
)
from simple_repository_server.disk.database import is_busy, is_corrupt
from simple_repository_server.errors import os_reason

#: How long a thread that walks through a large folder leaves the interpreter to others.
_BREATH_S = 0.001
#: The part of one processor that checking a large folder may take.
_PART = 0.01
#: After a reading that failed.
_RETRY_S = 30.0


class Checked(msgspec.Struct, kw_only=True):
    """What a check found."""

    state: StoredState
    #: What a reading did, if this process had one done.
    report: Report | None = None
    #: Why the stored records cannot be used or brought up to date, to stand after the path; "" if
    #: they can.
    trouble: str = ""
    #: The records can be used in spite of the trouble.
    usable: bool = True
    #: How long to wait before the next check, at least.
    pause_s: float = 0.0


class _Stopped(Exception):
    """The check is to end."""


class RecordWatch:
    """The records at `source` and the database at `database`, for one process; opens nothing yet.

    Every method blocks, `check` for as long as a reading takes.
    """

    def __init__(self, source: Path, database: Path) -> None:
        self._source = source
        self._path = database
        self._leader: int | None = None
        self.stop = threading.Event()
        #: Changes are being read.
        self.reads = False
        #: None before it was opened, and while it cannot be.
        self.store: AdvisoryStore | None = None

    def first(self) -> Checked:
        """What was stored before, at once; nothing is walked through or read."""
        try:
            self._source.stat()
        except OSError as error:
            return Checked(state=NOTHING, trouble=cannot_read(error), usable=False)
        try:
            state = self._opened().state()
            return Checked(state=state if is_read(state) else NOTHING)
        except (OSError, sqlite3.Error) as error:
            return self._unusable(error)

    def check(self) -> Checked:
        """Have what changed read, if this process is the one that does it."""
        try:
            store = self._opened()
            if not self._leads():
                return Checked(state=store.state())
            return self._check(store)
        except (OSError, sqlite3.Error) as error:
            return self._unusable(error)

    def close(self) -> None:
        """Close the database, and let another process take over."""
        if self.store is not None:
            self.store.close()
            self.store = None
        if self._leader is not None:
            os.close(self._leader)
            self._leader = None

    def _check(self, store: AdvisoryStore) -> Checked:
        state = store.state()
        began = time.thread_time()
        try:
            found = fingerprint(self._source, self._breathe)
        except _Stopped:
            return Checked(state=state)
        except OSError as error:
            return Checked(state=_failed(store, state, cannot_read(error)))
        pause_s = (time.thread_time() - began) / _PART
        if found == state.fingerprint:
            return Checked(state=state, pause_s=pause_s)
        self.reads = True
        try:
            report = read_in_process(self._source, self._path, self.stop)
        except ReadingFailed as error:
            trouble = f"is not up to date, as reading it failed: {error}"
            return Checked(state=state, trouble=trouble, usable=is_read(state), pause_s=_RETRY_S)
        finally:
            self.reads = False
        if report is not None and report.unreadable:
            return Checked(state=_failed(store, state, report.unreadable), pause_s=pause_s)
        return Checked(state=store.state(), report=report, pause_s=pause_s)

    def _breathe(self) -> None:
        if self.stop.wait(_BREATH_S):
            raise _Stopped

    def _opened(self) -> AdvisoryStore:
        if self.store is None:
            self.store = AdvisoryStore(self._path)
        return self.store

    def _leads(self) -> bool:
        """Whether this process is the one that checks and reads. Raises `OSError`."""
        if self._leader is None:
            path = self._path.with_name(f"{self._path.name}.reader")
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                return False
            except OSError:  # a file system without locks: each process reads, one after the other
                pass
            self._leader = descriptor
        return True

    def _unusable(self, error: OSError | sqlite3.Error) -> Checked:
        if is_corrupt(error) and self.store is not None:
            self.store.close()  # opening it replaces it
            self.store = None
        why = os_reason(error) if isinstance(error, OSError) else str(error)
        trouble = f"is not used, as its database {self._path} cannot be used ({why})"
        return Checked(state=NOTHING, trouble=trouble, usable=is_busy(error))


def is_read(state: StoredState) -> bool:
    """Whether a reading succeeded, whatever it found."""
    return state.fingerprint is not None


def _failed(store: AdvisoryStore, state: StoredState, problem: str) -> StoredState:
    """The state that other processes find, too: the records are gone, or cannot be read."""
    failed = msgspec.structs.replace(state, fingerprint=None, problem=problem)
    if failed != state:
        failed = msgspec.structs.replace(failed, revision=state.revision + 1)
        with store.connected() as connection, connection:
            write_state(connection, failed)
    return failed
