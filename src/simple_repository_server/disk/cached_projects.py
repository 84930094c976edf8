"""Which projects have files in the cache: what an index can list offline."""

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from errno import EAGAIN
from pathlib import Path
from typing import Literal

from simple_repository_server.disk.last_use import mark_used
from simple_repository_server.disk.layout import PARTIAL, SHA256
from simple_repository_server.disk.noatime import open_noatime, read_all
from simple_repository_server.disk.ownership import create_private
from simple_repository_server.disk.partial import write_atomically

_FLAGS = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
#: How often a record that another process has locked is tried again,
_ATTEMPTS = 100
#: and how long apart.
_RETRY_S = 0.01
#: How exactly the last use of a record is recorded.
_PRECISION_S = 60.0


class CachedProjects:
    """One record for each project below `folder`: the sha256 of every file cached for it.

    A record does not prove that a file is still cached: look it up. The methods block.
    """

    def __init__(self, folder: Path, *, clock: Callable[[], float] = time.time) -> None:
        self.folder = folder
        self._clock = clock

    def add(self, project: str, sha256: str) -> int:
        """Record a file, once; how many bytes were written. Counts as use. Raises `OSError`."""
        if sha256 in self.digests_of(project):
            with contextlib.suppress(OSError), open_noatime(self.folder / project) as descriptor:
                status = os.fstat(descriptor)
                mark_used(descriptor, status, now=self._clock(), precision_s=_PRECISION_S)
            return 0
        create_private(self.folder, self.folder.parent)
        with self._locked(project, os.O_CREAT) as file:
            return os.write(file, f"{sha256}\n".encode())

    def digests_of(self, project: str) -> frozenset[str]:
        """The digests recorded for a project."""
        try:
            return frozenset(valid_lines(read_all(self.folder / project)))
        except OSError:
            return frozenset()

    def existing(self, wanted: Iterable[str]) -> Iterator[tuple[str, frozenset[str]]]:
        """Those of the projects that have a record, with their digests."""
        recorded = set(self.names())
        for project in wanted:
            if project in recorded:
                yield project, self.digests_of(project)

    def names(self) -> list[str]:
        """The projects that have a record; symbolic links are not followed."""
        if self.folder.is_symlink():
            return []
        with contextlib.suppress(OSError):
            return [path.name for path in self.folder.iterdir() if path.is_file()]
        return []

    def retain(
        self, project: str, wanted: Callable[[str], bool]
    ) -> Literal["removed", "corrected", ""]:
        """Drop the digests that are not wanted from a record; what was done to it.

        What another process adds at the same time is not lost. Raises `OSError`.
        """
        path = self.folder / project
        with self._locked(project):
            before = read_all(path)
            after = "".join(f"{line}\n" for line in valid_lines(before) if wanted(line)).encode()
            if not after:
                path.unlink()
                return "removed"
            if after != before:
                write_atomically(path, [after], self.folder.parent / PARTIAL)
                return "corrected"
        return ""

    @contextmanager
    def _locked(self, project: str, flags: int = 0) -> Iterator[int]:
        """The record's file, locked: no other process changes or replaces it."""
        path = self.folder / project
        for _ in range(_ATTEMPTS):
            descriptor = os.open(path, _FLAGS | flags, 0o600)
            try:
                if _lock(path, descriptor):
                    yield descriptor
                    return
            finally:
                os.close(descriptor)
            time.sleep(_RETRY_S)
        raise BlockingIOError(EAGAIN, os.strerror(EAGAIN), str(path))


def valid_lines(record: bytes) -> list[str]:
    """The lines of a record that are digests: a crash may leave a truncated one."""
    lines = record.decode("ascii", "replace").splitlines()
    return [line for line in lines if SHA256.fullmatch(line)]


def _lock(path: Path, descriptor: int) -> bool:
    """Whether the file is locked for us now, and is still the one at the path."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    except (BlockingIOError, FileNotFoundError):
        return False
