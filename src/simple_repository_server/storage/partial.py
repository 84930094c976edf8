"""A file that is still being written: invisible until it is complete, gone if it never is.

Its lock says that somebody is at work on it. The kernel gives that up with the process, however it
ends, so what a crash leaves behind can be told from what another process writes right now.
"""

import contextlib
import fcntl
import os
import secrets
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

_SUFFIX = ".partial"
#: The system takes no more parts in one call.
_MOST_AT_ONCE = 512
#: Young files are left alone: they may just not be locked yet.
_YOUNG_S = 60.0
#: How often it is tried to put a file into a folder that is there and then is not.
_ATTEMPTS = 100


class PartialFile:
    """A new file in `folder`, written from front to end, and readable at any place meanwhile.

    Not for several writing threads at once. Raises `OSError` as the disk does.
    """

    _descriptor = -1

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"{secrets.token_hex(16)}{_SUFFIX}"
        self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.close()
            raise

    def append(self, chunks: Sequence[bytes]) -> None:
        """Write the chunks at the end, all of them."""
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
                path.parent.mkdir(parents=True, exist_ok=True)
                self.path.replace(path)
                break
            except (FileNotFoundError, FileExistsError):
                # Somebody may be removing empty folders at this moment.
                if not attempt:
                    raise
        return os.fstat(self._descriptor)

    def close(self) -> None:
        """Close it; remove it if it was not kept."""
        if self._descriptor < 0:
            return
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)
        descriptor, self._descriptor = self._descriptor, -1
        os.close(descriptor)

    # One that was made in a thread for somebody who did not wait for it belongs to nobody.
    __del__ = close


def write_whole(path: Path, parts: Iterable[bytes], scratch: Path) -> int:
    """Write a small file at once: whoever reads it meanwhile finds the old one or the new one.

    Not for what could not be told from garbage after a power cut. Returns its size. Raises
    `OSError`.
    """
    file = PartialFile(scratch)
    try:
        file.append(list(parts))
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
    """What crashed processes left in `folder`, with its size."""
    with contextlib.suppress(FileNotFoundError):
        for entry in os.scandir(folder):
            with contextlib.suppress(OSError):
                stat = entry.stat()
                if abs(now - stat.st_mtime) >= _YOUNG_S and not _is_locked(entry.path):
                    yield Path(entry.path), stat.st_size


def _is_locked(path: str) -> bool:
    descriptor = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
