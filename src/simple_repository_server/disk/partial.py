"""Files being written: invisible until an atomic rename, removed if they are never completed.

A partial file is locked by its writer. The kernel releases the lock when the process ends, however
it ends, so garbage left by a crash differs from what another process is writing.
"""

import contextlib
import fcntl
import os
import secrets
import shutil
import stat
from collections import deque
from collections.abc import Iterator, Sequence
from errno import EAGAIN
from itertools import islice
from pathlib import Path

from simple_repository_server.disk.allowance import Allowance, Reservation
from simple_repository_server.disk.ownership import create_private, has_tag

_SUFFIX = ".partial"
#: Buffers in one `writev`: below the limit of any system (IOV_MAX is 1024 on Linux).
_MAX_BUFFERS = 512
#: Younger files are no garbage: their writer may not have locked them yet.
_MIN_GARBAGE_AGE_S = 60.0
#: How often a step is tried again that fails because another process removes its folder.
_ATTEMPTS = 100


class PartialFile:
    """A new file in `folder`, appended to by one thread at a time, readable by others.

    The constructor and all methods block, and raise `OSError`.
    """

    _descriptor = -1
    _reservation: Reservation | None = None

    def __init__(self, folder: Path) -> None:
        self._top = folder.parent
        create_private(folder, self._top)
        for _ in range(_ATTEMPTS):
            self.path = folder / f"{secrets.token_hex(16)}{_SUFFIX}"
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            if self._lock():
                return
            self.close()
        raise BlockingIOError(EAGAIN, os.strerror(EAGAIN), str(folder))

    def _lock(self) -> bool:
        """Whether we got the lock first: where clocks differ, others may take it for garbage."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            self.close()
            raise
        return os.fstat(self._descriptor).st_nlink > 0

    def reserve(self, allowance: Allowance, size: int, *, strict: bool = False) -> None:
        """Count the file against `allowance`, at first with `size` bytes.

        If that is refused the file is closed. Raises `OverBudget` or another `OSError`.
        """
        try:
            self._reservation = allowance.reserve(size, strict=strict)
        except OSError:
            self.close()
            raise

    def expect(self, size: int) -> None:
        """Reserve `size` bytes in all. Raises as `reserve`; the file stays open then."""
        if self._reservation is not None:
            self._reservation.grow(size)

    def append(self, chunks: Sequence[bytes]) -> None:
        """Append all of the chunks."""
        if self._reservation is not None:
            self._reservation.write(sum(map(len, chunks)))
        rest = deque(memoryview(chunk) for chunk in chunks)
        while rest:
            count = os.writev(self._descriptor, list(islice(rest, _MAX_BUFFERS)))
            while rest and count >= len(rest[0]):
                count -= len(rest.popleft())
            if rest:
                rest[0] = rest[0][count:]

    def read(self, start: int, length: int) -> bytes:
        """Up to `length` of the bytes written so far, beginning at `start`."""
        return os.pread(self._descriptor, length, start)

    def commit(self, path: Path, *, durable: bool = True) -> os.stat_result:
        """Rename it to `path` atomically, replacing any other file; its status.

        If `durable` the content is synced before, so that a power cut cannot leave garbage there.
        """
        if durable:
            os.fdatasync(self._descriptor)
        for attempt in reversed(range(_ATTEMPTS)):
            try:
                create_private(path.parent, self._top)
                self.path.replace(path)
                break
            except IsADirectoryError:
                # Nothing of ours: in a cache it is removed as any corrupt entry is.
                if not attempt or not has_tag(self._top):
                    raise
                shutil.rmtree(path)
            except (FileNotFoundError, FileExistsError):
                # Another process may be removing empty folders, or the whole cache.
                if not attempt or not self.path.exists():
                    raise
        if self._reservation is not None:
            self._reservation.end(stored=True)
        return os.fstat(self._descriptor)

    def close(self) -> None:
        """Close the file; remove it unless it was committed."""
        if self._reservation is not None:
            self._reservation.end()
        if self._descriptor < 0:
            return
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)
        descriptor, self._descriptor = self._descriptor, -1
        os.close(descriptor)

    # A file created in a thread whose caller was cancelled has no other owner.
    __del__ = close


def write_atomically(
    path: Path, parts: Sequence[bytes], scratch: Path, allowance: Allowance | None = None
) -> int:
    """Write a small file by way of `scratch` and an atomic rename; its size.

    Not durable: only for content whose digest is checked when it is read. Raises `OverBudget` or
    another `OSError`.
    """
    file = PartialFile(scratch)
    try:
        if allowance is not None:
            file.reserve(allowance, sum(map(len, parts)))
        file.append(parts)
        return file.commit(path, durable=False).st_size
    finally:
        file.close()


def abandoned(folder: Path, now: float) -> Iterator[tuple[Path, int]]:
    """The files that crashed processes left in `folder`, and their sizes; links are not followed.

    Each is locked until the next one is taken, so that no writer takes it over.
    """
    if folder.is_symlink():
        return
    with contextlib.suppress(FileNotFoundError):
        for entry in os.scandir(folder):
            with contextlib.suppress(OSError):
                status = entry.stat(follow_symlinks=False)
                if abs(now - status.st_mtime) >= _MIN_GARBAGE_AGE_S and stat.S_ISREG(
                    status.st_mode
                ):
                    with _locked(entry.path):
                        yield Path(entry.path), status.st_size


@contextlib.contextmanager
def _locked(path: str) -> Iterator[None]:
    """Raises `BlockingIOError` while another process or thread has the file locked."""
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)
