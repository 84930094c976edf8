"""Making room in the cache, in one process at a time: what was not used for longest goes."""

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator, Mapping
from errno import EAGAIN
from pathlib import Path

import msgspec

from simple_repository_server.disk import room
from simple_repository_server.disk.allowance import Allowance
from simple_repository_server.disk.blobs import BlobStore
from simple_repository_server.disk.cached_projects import CachedProjects
from simple_repository_server.disk.ownership import (
    KINDS,
    LOCK,
    PARTIAL,
    SERVED,
    ForeignFolder,
    check_tag,
)
from simple_repository_server.disk.partial import remove_abandoned

#: How much of the budget notes of what was served may take before they are looked through.
_NOTES_PART = 20
#: How often it is tried to be alone.
_TRY_S = 0.1
_LOCK_FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


class EvictionResult(msgspec.Struct, frozen=True, kw_only=True):
    """What came of making room: how many files and bytes were removed."""

    files: int = 0
    bytes: int = 0
    #: Whether the rest is known to fit into the budget.
    enough: bool = False


class Eviction:
    """Keeps the cache in `folder` below its `allowance`. Its methods block.

    Without `evicts` nothing of use is removed. Once it `ends`, what is under way stops.
    """

    def __init__(
        self, folder: Path, allowance: Allowance, *, evicts: bool, clock: Callable[[], float]
    ) -> None:
        self._folder = folder
        self._files = BlobStore(folder / "files", folder / PARTIAL)
        self._allowance = allowance
        self._evicts = evicts
        self._clock = clock
        #: Whether it is known how much there is.
        self.has_measured = False
        self.ends = False

    def prune(self, size: int = 0) -> EvictionResult:
        """Remove what was not used for longest, down to the budget, and what crashes left behind.

        With `size`, so that a file of so many bytes has room, too. Blocks, and takes long for a
        large cache. While another process does it, only measures how much there is; in a folder
        without our tag, does nothing.
        """
        try:
            with alone(self._folder):
                return self._evict(size)
        except (ForeignFolder, InterruptedError):
            return EvictionResult()
        except OSError:  # another process does it, or the folder cannot be written
            pass
        with contextlib.suppress(OSError):
            return self._measure(size)
        return EvictionResult()

    def _evict(self, size: int) -> EvictionResult:
        now = self._clock()
        abandoned = remove_abandoned(self._folder / PARTIAL, now)
        if not self._evicts:
            self._measure(size)
            return EvictionResult(bytes=abandoned, enough=True)
        used, notes = self._used(), self._used_by_notes()
        total = sum(used.values()) + notes
        may_stay = self._may_stay(size)
        goal = room.goal(total, max_bytes=may_stay, lacking=self._allowance.lacking())
        limit = room.too_old(used, max_bytes=max(0, goal - notes), now=now)
        count, freed = room.remove(self._walk(*KINDS), limit)
        if count or not self.has_measured or notes > self._allowance.max_bytes // _NOTES_PART:
            self._prune_notes()
        self._measured(total - freed)
        return EvictionResult(
            files=count, bytes=freed + abandoned, enough=total - freed <= may_stay
        )

    def _measure(self, size: int) -> EvictionResult:
        """How much there is, and whether that is little enough."""
        total = sum(self._used().values()) + self._used_by_notes()
        self._measured(total)
        return EvictionResult(enough=total <= self._may_stay(size))

    def _measured(self, total: int) -> None:
        self._allowance.measured(total)
        self.has_measured = True

    def _may_stay(self, size: int) -> int:
        """How much may be kept beside what is being written, and a file of that size."""
        return max(0, self._allowance.max_bytes - self._allowance.in_flight() - size)

    def _used(self) -> Mapping[int, int]:
        return room.used_by_time(self._walk(*KINDS))

    def _used_by_notes(self) -> int:
        return sum(file.bytes for file in self._walk(SERVED))

    def _walk(self, *places: str) -> Iterator[room.Kept]:
        """What lies there. Raises `InterruptedError` at the end, which is not to wait for it."""
        folders = [self._folder / place for place in places]
        for file in room.walk(*folders, now=self._clock()):
            if self.ends:
                raise InterruptedError
            yield file

    def _prune_notes(self) -> None:
        """Forget what was noted of files that are not here any more, and what is too much."""
        notes = CachedProjects(self._folder / SERVED)
        for project in notes.names():
            with contextlib.suppress(OSError):
                notes.keep(project, lambda digest: self._files.path(digest).exists())
        used = room.used_by_time(self._walk(SERVED))
        most = self._allowance.max_bytes // _NOTES_PART
        room.remove(self._walk(SERVED), room.too_old(used, max_bytes=most, now=self._clock()))


@contextlib.contextmanager
def alone(folder: Path, *, wait_s: float = 0.0) -> Iterator[None]:
    """Be the only process that makes room there; waits so long while another one does.

    Raises `BlockingIOError` if it still does then, `ForeignFolder` in a folder without our tag.
    """
    check_tag(folder)
    until = time.monotonic() + wait_s
    descriptor = os.open(folder / LOCK, _LOCK_FLAGS, 0o600)
    try:
        while not _is_locked(descriptor):
            if time.monotonic() >= until:
                why = "another process is making room, or hangs while it does"
                raise BlockingIOError(EAGAIN, why, str(folder))
            time.sleep(_TRY_S)
        yield
    finally:
        os.close(descriptor)


def _is_locked(descriptor: int) -> bool:
    """Whether it is ours now."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
