"""Which projects have files in the cache: what an index can list when it asks nobody."""

import contextlib
import fcntl
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from errno import EAGAIN
from pathlib import Path

from simple_repository_server.disk.noatime import content
from simple_repository_server.disk.ownership import PARTIAL, make_private
from simple_repository_server.disk.partial import write_whole

_DIGEST = re.compile("[0-9a-f]{64}")
_FLAGS = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
#: How often, and how long apart, it is tried to lock a file that another process has locked.
_ATTEMPTS, _PAUSE_S = 100, 0.01


class CachedProjects:
    """One small file per project below `folder`, with a line for each sha256 that came through.

    Its methods block. Nothing here says that a file is still in the cache: look for it there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(self, project: str, sha256: str) -> int:
        """Note it, unless it is noted already; how many bytes that took. Raises `OSError`."""
        if sha256 in self.of(project):
            return 0
        make_private(self._folder, self._folder.parent)
        with self._locked(project, os.O_CREAT) as file:
            return os.write(file, f"{sha256}\n".encode())

    def of(self, project: str) -> frozenset[str]:
        """The digests noted for a project."""
        try:
            return frozenset(sound_lines((self._folder / project).read_bytes()))
        except OSError:
            return frozenset()

    def projects(self, wanted: Iterable[str]) -> Iterator[tuple[str, frozenset[str]]]:
        """Those of the projects that have notes, with their digests."""
        noted = set(self.names())
        for project in wanted:
            if project in noted:
                yield project, self.of(project)

    def names(self) -> list[str]:
        """The projects that have notes; none by way of a link."""
        if self._folder.is_symlink():
            return []
        with contextlib.suppress(OSError):
            return [path.name for path in self._folder.iterdir() if path.is_file()]
        return []

    def keep(self, project: str, wanted: Callable[[str], bool]) -> str:
        """Keep only those of the digests that are wanted; whether it was `removed`, `corrected`.

        Raises `OSError`. What another process adds meanwhile is not lost.
        """
        path = self._folder / project
        with self._locked(project):
            before = content(path)
            kept = "".join(f"{line}\n" for line in sound_lines(before) if wanted(line)).encode()
            if not kept:
                path.unlink()
                return "removed"
            if kept != before:
                write_whole(path, [kept], self._folder.parent / PARTIAL)
                return "corrected"
        return ""

    @contextmanager
    def _locked(self, project: str, flags: int = 0) -> Iterator[int]:
        """The file of a project, which nobody else changes or replaces meanwhile."""
        path = self._folder / project
        for _ in range(_ATTEMPTS):
            descriptor = os.open(path, _FLAGS | flags, 0o600)
            try:
                if _lock(path, descriptor):
                    yield descriptor
                    return
            finally:
                os.close(descriptor)
            time.sleep(_PAUSE_S)
        raise BlockingIOError(EAGAIN, os.strerror(EAGAIN), str(path))


def sound_lines(note: bytes) -> list[str]:
    """The lines of a note that are digests."""
    lines = note.decode("ascii", "replace").splitlines()
    return [line for line in lines if _DIGEST.fullmatch(line)]


def _lock(path: Path, descriptor: int) -> bool:
    """Whether that is locked for us, and still what lies at the path."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    except (BlockingIOError, FileNotFoundError):
        return False
