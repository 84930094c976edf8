"""The cache on disk: one folder that any number of processes and servers may share.

    <folder>/files/      distribution files by their sha256
             pages/      upstream pages and lists as they came, by source and project
             metadata/   core metadata by project, file and digest
             links/      which content an address without a sha256 had
             served/     which projects have files here, for `--offline`
             partial/    what is being written

Everything in it appears complete or not at all (written aside, then renamed), says itself what it
must be (a digest), and can be removed at any time. There is no index to get out of step: what is
here is what lies here, and when it was last used is the access time of its file.
"""

import asyncio
import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import msgspec

from simple_repository_server.errors import RepositoryError
from simple_repository_server.observe.events import (
    CacheFailed,
    CachePruned,
    CacheRecovered,
    Emit,
    ignore,
)
from simple_repository_server.storage import room
from simple_repository_server.storage.blobs import BlobStore
from simple_repository_server.storage.entries import EntryStore
from simple_repository_server.storage.folder import (
    DEFAULT_MAX_BYTES,
    KINDS,
    LOCK,
    NOT_OURS,
    PARTIAL,
    SERVED,
    TAG,
    TAG_TEXT,
    may_be_cache,
)
from simple_repository_server.storage.partial import (
    PartialFile,
    remove_abandoned,
    write_whole,
)

T = TypeVar("T")
H = TypeVar("H")

_THREADS = 8
#: For how long nothing is written after the disk refused it.
_PAUSE_S = 10.0
#: When it is first looked whether there is too much, and how often as long as that is unsure;
#: else once a part of the budget was written.
_PRUNE_FIRST_S, _PRUNE_AGAIN_S, _PRUNE_PART = 5.0, 20.0, 0.02
_PRUNE_PAUSE_S = 1.0


class RoomMade(msgspec.Struct, frozen=True, kw_only=True):
    """What came of making room: how many files and bytes were removed."""

    files: int = 0
    bytes: int = 0
    #: Whether the rest is known to fit into the budget.
    enough: bool = False


class DiskCache:
    """The cache in `folder`, kept below `max_bytes`; an asynchronous context manager.

    When the disk is full or cannot be written, the service goes on without: `usable` is False for
    a while, and `emit` is told once.
    """

    def __init__(
        self,
        folder: Path,
        *,
        max_bytes: int = DEFAULT_MAX_BYTES,
        clock: Callable[[], float] = time.time,
        emit: Emit = ignore,
    ) -> None:
        self.folder = folder
        self.max_bytes = max_bytes
        self.clock = clock
        self._emit = emit
        self.files = BlobStore(folder / "files", folder / PARTIAL)
        self._executor: ThreadPoolExecutor | None = None
        self._entered = 0
        self._failed = False
        self._retry_at = 0.0
        self._written = 0
        self._pruning: asyncio.Task[None] | None = None
        self._prune_now = asyncio.Event()

    def entries(self, kind: str, head: type[H]) -> EntryStore[H]:
        """The entries of one kind (`pages`, `metadata`, `links`), whose heads are of that type."""
        return EntryStore(self.folder / kind, self.folder / PARTIAL, head)

    @property
    def served(self) -> Path:
        """Where it is noted which projects have files here."""
        return self.folder / SERVED

    @property
    def usable(self) -> bool:
        """Whether writing is worth trying."""
        return time.monotonic() >= self._retry_at

    async def run(self, work: Callable[..., T], *arguments: object) -> T:
        """What the blocking work returns, done in a thread for the cache. Raises what it raises."""
        if self._executor is None:
            self._executor = ThreadPoolExecutor(_THREADS, thread_name_prefix="cache")
        return await asyncio.get_running_loop().run_in_executor(self._executor, work, *arguments)

    async def write(self, work: Callable[..., int], *arguments: object) -> bool:
        """Do work that writes, and returns how much; False if the disk does not let it."""
        if not self.usable:
            return False
        try:
            self.wrote(await self.run(self._prepared, work, *arguments))
        except OSError as error:
            self.failed(error)
            return False
        return True

    async def create(self) -> PartialFile:
        """A new file, to become one of `files`. Raises `OSError`."""
        return await self.run(self._prepared, self.files.create)

    def wrote(self, size: int) -> None:
        """So many bytes came to lie here."""
        # What was under way when it failed says nothing of how it is now.
        if self._failed and self.usable:
            self._failed = False
            self._emit(CacheRecovered(folder=str(self.folder)))
        self._written += room.room_for(size)
        if self._written > self.max_bytes * _PRUNE_PART:
            self._prune_now.set()

    def failed(self, error: OSError) -> None:
        """The disk refused to take something: leave it alone for a while, and make room."""
        self._retry_at = time.monotonic() + _PAUSE_S
        self._prune_now.set()
        if not self._failed:
            self._failed = True
            reason = error.strerror or str(error)
            self._emit(CacheFailed(folder=str(self.folder), reason=reason))

    async def __aenter__(self) -> "DiskCache":
        self._entered += 1
        if self._entered == 1:
            if not await self.run(may_be_cache, self.folder):
                self._entered = 0
                raise RepositoryError(f"{self.folder} {NOT_OURS}")
            self._prune_now = asyncio.Event()  # of this event loop, which may be another one now
            await self.write(lambda: 0)
            self._pruning = asyncio.create_task(self._keep_room())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._entered -= 1
        if self._entered:
            return
        if self._pruning is not None:
            self._pruning.cancel()
            await asyncio.gather(self._pruning, return_exceptions=True)
        if self._executor is not None:
            self._executor.shutdown(wait=False)
            self._executor = None

    def _prepared(self, work: Callable[..., T], *arguments: object) -> T:
        """Do the work in a folder that is there, and as it should be: it may have been deleted."""
        if not (self.folder / TAG).exists():
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_whole(self.folder / TAG, [TAG_TEXT.encode()], self.folder / PARTIAL)
        return work(*arguments)

    async def _keep_room(self) -> None:
        wait: float | None = _PRUNE_FIRST_S
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._prune_now.wait()
            self._prune_now.clear()
            self._written = 0
            made = await self.run(self.prune)
            if made.files:
                event = CachePruned(folder=str(self.folder), files=made.files, bytes=made.bytes)
                self._emit(event)
            # What is in use stays, even if it is too much: it goes when it is not in use any more.
            wait = None if made.enough and not self._failed else _PRUNE_AGAIN_S
            await asyncio.sleep(_PRUNE_PAUSE_S)

    def prune(self) -> RoomMade:
        """Remove what was not used for longest, down to the budget, and what crashes left behind.

        Blocks, and takes long for a large cache. While another process does it, it does nothing.
        """
        now = self.clock()
        with contextlib.suppress(OSError), self.alone():
            abandoned = remove_abandoned(self.folder / PARTIAL, now)
            folders = [self.folder / kind for kind in KINDS]
            used = room.used_by_time(room.walk(*folders, now=now))
            limit = room.too_old(used, max_bytes=self.max_bytes, now=now)
            count, freed = room.remove(room.walk(*folders, now=now), limit)
            enough = sum(used.values()) - freed <= self.max_bytes
            return RoomMade(files=count, bytes=freed + abandoned, enough=enough)
        return RoomMade()

    @contextlib.contextmanager
    def alone(self, *, wait: bool = False) -> Iterator[None]:
        """Be the only process that makes room; `BlockingIOError` if one does, without `wait`."""
        descriptor = os.open(self.folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            yield
        finally:
            os.close(descriptor)
