"""The audit log: a file with a JSON object a line, on who received what and what was hidden.

A thread writes the records, so that no request waits for a disk. Lines are appended whole, so that
several processes may share the file.
"""

import asyncio
import contextlib
import errno
import fcntl
import json
import os
import stat
import threading
import time
import traceback
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import msgspec
from typing_extensions import override

from simple_repository_server.errors import RepositoryError, os_reason
from simple_repository_server.lifecycle import SharedLifespan
from simple_repository_server.model import SourceState
from simple_repository_server.names import shown_path
from simple_repository_server.observe.audit_events import AuditRecord, RecordsLost
from simple_repository_server.observe.events import Emit, InternalFailure, ignore
from simple_repository_server.observe.server_events import AuditFailed, AuditRecovered

#: Records that wait to be written, some hundred bytes each: beyond that, new ones are lost.
DEFAULT_MAX_WAITING = 20_000
#: How long records are collected before they are written together.
_FLUSH_S = 0.05
#: How long it waits after a failure.
_RETRY_S = 0.5
#: How many records one write has at most.
_BATCH = 200
#: How long closing waits for the last records.
_CLOSE_S = 2.0
_MODE = 0o640
#: `O_NONBLOCK` has no effect on files; a pipe without a reader would block.
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK


class AuditLog(SharedLifespan):
    """Appends records to the file at `path`; call it with each record.

    Entering it opens the file (mode 0640), and raises `RepositoryError` if that fails. At most
    `max_waiting` records wait to be written; while the file cannot be written they do. Those that
    come beyond that are lost: how many is written to the file as soon as that is possible
    (`RecordsLost`). `state` says so meanwhile, and `emit` is given `AuditFailed`.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        max_waiting: int = DEFAULT_MAX_WAITING,
        emit: Emit = ignore,
    ) -> None:
        self.path = Path(path)
        self._label = shown_path(str(path))
        self._emit = emit
        self._max_waiting = max_waiting
        self._waiting: deque[tuple[float, AuditRecord]] = deque()
        #: The oldest ones as lines, in the hands of the thread.
        self._batch: list[bytes] = []
        #: How many records were lost, as counted by those that call it, and by the thread.
        self._overflown = 0
        self._failed = 0
        #: How many of them the file says are lost; counted by the thread.
        self._reported = 0
        #: Why records cannot be written; "" while they can.
        self._problem = ""
        self._descriptor = -1
        self._reopens = False
        self._closes = False
        self._wake = threading.Event()
        self._clock = _Clock()

    def __call__(self, record: AuditRecord) -> None:
        """Have the record written within a moment. Blocks nothing and raises nothing."""
        if len(self._waiting) < self._max_waiting:
            self._waiting.append((time.time(), record))
        else:
            self._overflown += 1

    def reopen(self) -> None:
        """Write later records to the file that has the path now, after `logrotate` renamed it."""
        self._reopens = True
        self._wake.set()

    def state(self) -> SourceState:
        """Whether records are written, for `/readyz`."""
        lost = self._lost - self._reported
        facts = [self._problem] if self._problem else []
        facts += [f"{lost} records were lost"] if lost else []
        return SourceState(
            label=self._label, kind="audit log", available=not facts, detail="; ".join(facts)
        )

    @property
    def _lost(self) -> int:
        return self._overflown + self._failed

    @override
    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        try:
            self._descriptor = await asyncio.to_thread(_opened, self.path)
        except OSError as error:
            reason = os_reason(error)
            raise RepositoryError(f"The audit log {self._label} cannot be opened: {reason}.") from (
                error
            )
        self._closes = False
        thread = threading.Thread(target=self._run, name="audit", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._closes = True
            self._wake.set()
            await asyncio.to_thread(thread.join, _CLOSE_S)

    # --- the thread ------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._closes:
            self._wake.wait(_RETRY_S if self._problem else _FLUSH_S)
            self._wake.clear()
            self._work()
        self._work()
        lost = len(self._waiting) + len(self._batch) + self._lost - self._reported
        if lost:
            reason = f"{lost} records are lost, as the server stops"
            self._emit(AuditFailed(file=self._label, reason=reason))
            self._waiting.clear()
        os.close(self._descriptor)

    def _work(self) -> None:
        """Write all that waits; then switch to the new file after a rotation."""
        try:
            while self._batch or self._waiting:
                self._write_batch()
            self._report_lost()
            if self._reopens:
                fresh = _opened(self.path)
                os.close(self._descriptor)
                self._descriptor, self._reopens = fresh, False
        except OSError as error:
            if not self._problem:
                self._emit(AuditFailed(file=self._label, reason=os_reason(error)))
            self._problem = f"it cannot be written: {os_reason(error)}"
        except Exception:  # noqa: BLE001 - the thread must not end
            self._problem = "it cannot be written: see the log of the server"
            what = "the audit log cannot be written"
            self._emit(InternalFailure(what=what, detail=traceback.format_exc()))
        else:
            if self._problem:
                self._problem = ""
                self._emit(AuditRecovered(file=self._label))

    def _write_batch(self) -> None:
        """Write the oldest records; only then are they forgotten. Raises `OSError`."""
        while self._waiting and len(self._batch) < _BATCH:
            self._batch.append(self._line(*self._waiting.popleft()))
        del self._batch[: self._append(self._batch)]

    def _report_lost(self) -> None:
        lost = self._lost
        if lost > self._reported:
            count = lost - self._reported
            reason = self._problem or "more came at once than could be written"
            record = RecordsLost(count=count, reason=reason)
            if self._append([self._line(time.time(), record)]):
                self._reported = lost
                reason = f"{count} records were lost: {reason}"
                self._emit(AuditFailed(file=self._label, reason=reason))

    def _append(self, lines: list[bytes]) -> int:
        """Append the lines in one write; how many of them are done with. Raises `OSError`."""
        with _locked(self._descriptor):
            before = os.fstat(self._descriptor).st_size
            data = b"".join(lines)
            if os.write(self._descriptor, data) == len(data):
                return len(lines)
            # The disk is full: no half a line may stay, nor lines that would be written again.
            os.ftruncate(self._descriptor, before)
        if len(lines) == 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self._append(lines[: len(lines) // 2])

    def _line(self, at: float, record: AuditRecord) -> bytes:
        """The line of a record; b"" for one that cannot be encoded, which is lost."""
        try:
            encoded = msgspec.json.encode(record, enc_hook=str)  # for subclasses of `str`
        except UnicodeEncodeError:  # a name that is not valid UTF-8
            fields = json.dumps(msgspec.to_builtins(record, enc_hook=str), ensure_ascii=False)
            encoded = fields.encode("utf-8", "replace")
        except Exception:  # noqa: BLE001 - one bad record must not end the log
            self._failed += 1
            what = "a record of the audit log cannot be encoded"
            self._emit(InternalFailure(what=what, detail=traceback.format_exc()))
            return b""
        return b'{"time":"%b",%b\n' % (self._clock(at), encoded[1:])


class _Clock:
    """Times as text in UTC with milliseconds (RFC 3339)."""

    def __init__(self) -> None:
        self._second = -1
        self._text = b""

    def __call__(self, at: float) -> bytes:
        second = int(at)
        if second != self._second:
            self._second = second
            self._text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second)).encode()
        return b"%b.%03dZ" % (self._text, int((at - second) * 1000))


def _opened(path: Path) -> int:
    """The file, created if necessary, as a descriptor to append to. Raises `OSError`."""
    descriptor = os.open(path, _FLAGS, _MODE)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is not a regular file")
    return descriptor


@contextmanager
def _locked(descriptor: int) -> Iterator[None]:
    """Nobody else appends meanwhile; where the file system has no locks, lines are whole still."""
    with contextlib.suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)
