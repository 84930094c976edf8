"""A file that is still being written: invisible until it is complete, gone if it never is.

Its lock says that somebody is at work on it. The kernel gives that up with the process, however it
ends, so what a crash leaves behind can be told from what another process writes right now.
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
from simple_repository_server.disk.ownership import has_tag, make_private

_SUFFIX = ".partial"
#: The system takes no more parts in one call.
_MOST_AT_ONCE = 512
#: Young files are left alone: they may just not be locked yet.
_YOUNG_S = 60.0
#: How often it is tried to make a file, or to put it into a folder, that others remove just then.
_ATTEMPTS = 100


class PartialFile:
    """A new file in `folder`, written from front to end, and readable at any place meanwhile.

    Not for several writing threads at once. Raises `OSError` as the disk does.
    """

    _descriptor = -1
    _reservation: Reservation | None = None

    def __init__(self, folder: Path) -> None:
        self._top = folder.parent
        make_private(folder, self._top)
        for _ in range(_ATTEMPTS):
            self.path = folder / f"{secrets.token_hex(16)}{_SUFFIX}"
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            if self._is_ours():
                return
            self.close()
        raise BlockingIOError(EAGAIN, os.strerror(EAGAIN), str(folder))

    def _is_ours(self) -> bool:
        """Whether it is locked and still there: where clocks differ, others may take it for old."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            self.close()
            raise
        return os.fstat(self._descriptor).st_nlink > 0

    def reserve(self, allowance: Allowance, size: int, *, strict: bool = False) -> None:
        """Write only what is allowed; it will be `size` bytes, or more.

        Raises `OverBudget` or another `OSError`, and is closed then.
        """
        try:
            self._reservation = allowance.reserve(size, strict=strict)
        except OSError:
            self.close()
            raise

    def expect(self, size: int) -> None:
        """It will be `size` bytes in all. Raises as `reserve`, and stays as it is then."""
        if self._reservation is not None:
            self._reservation.grow(size)

    def append(self, chunks: Sequence[bytes]) -> None:
        """Write the chunks at the end, all of them."""
        if self._reservation is not None:
            self._reservation.write(sum(map(len, chunks)))
        rest = deque(memoryview(chunk) for chunk in chunks)
        while rest:
            count = os.writev(self._descriptor, list(islice(rest, _MOST_AT_ONCE)))
            while rest and count >= len(rest[0]):
                count -= len(rest.popleft())
            if rest:
                rest[0] = rest[0][count:]

    def read(self, start: int, length: int) -> bytes:
        """Up to `length` of the bytes written so far, from `start`."""
        return os.pread(self._descriptor, length, start)

    def keep(self, path: Path, *, synced: bool = True) -> os.stat_result:
        """Make it the file at `path`, in the place of any other; `synced`: a power cut or not."""
        if synced:
            os.fdatasync(self._descriptor)
        for attempt in reversed(range(_ATTEMPTS)):
            try:
                make_private(path.parent, self._top)
                self.path.replace(path)
                break
            except IsADirectoryError:
                # Nothing of ours: in a cache it goes as anything damaged does.
                if not attempt or not has_tag(self._top):
                    raise
                shutil.rmtree(path)
            except (FileNotFoundError, FileExistsError):
                # Somebody may be removing empty folders at this moment, or all of the cache.
                if not attempt or not self.path.exists():
                    raise
        if self._reservation is not None:
            self._reservation.end(kept=True)
        return os.fstat(self._descriptor)

    def close(self) -> None:
        """Close it; remove it if it was not kept."""
        if self._reservation is not None:
            self._reservation.end()
        if self._descriptor < 0:
            return
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)
        descriptor, self._descriptor = self._descriptor, -1
        os.close(descriptor)

    # One that was made in a thread for somebody who did not wait for it belongs to nobody.
    __del__ = close


def write_whole(
    path: Path, parts: Sequence[bytes], scratch: Path, allowance: Allowance | None = None
) -> int:
    """Write a small file at once: whoever reads it meanwhile finds the old one or the new one.

    Not for what could not be told from garbage after a power cut. Returns its size. Raises
    `OSError`, also where the allowance does not let it.
    """
    file = PartialFile(scratch)
    try:
        if allowance is not None:
            file.reserve(allowance, sum(map(len, parts)))
        file.append(parts)
        return file.keep(path, synced=False).st_size
    finally:
        file.close()


def remove_abandoned(folder: Path, now: float) -> int:
    """Remove what crashed processes left in `folder`; how many bytes that was."""
    freed = 0
    for path, size in abandoned(folder, now):
        with contextlib.suppress(OSError):
            path.unlink()
            freed += size
    return freed


def abandoned(folder: Path, now: float) -> Iterator[tuple[Path, int]]:
    """What crashed processes left in `folder`, with its size; nothing by way of a link.

    Each is locked until the next is asked for: nobody takes it for their own meanwhile.
    """
    if folder.is_symlink():
        return
    with contextlib.suppress(FileNotFoundError):
        for entry in os.scandir(folder):
            with contextlib.suppress(OSError):
                status = entry.stat(follow_symlinks=False)
                if abs(now - status.st_mtime) >= _YOUNG_S and stat.S_ISREG(status.st_mode):
                    with _locked(entry.path):
                        yield Path(entry.path), status.st_size


@contextlib.contextmanager
def _locked(path: str) -> Iterator[None]:
    """Raises `BlockingIOError` if somebody else has it locked."""
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)
