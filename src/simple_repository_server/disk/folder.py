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
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from errno import ENOSPC
from functools import partial
from pathlib import Path
from typing import TypeVar

from typing_extensions import override

from simple_repository_server.disk import room
from simple_repository_server.disk.allowance import Allowance, OverBudget
from simple_repository_server.disk.blobs import BlobStore
from simple_repository_server.disk.entries import EntryStore
from simple_repository_server.disk.eviction import Eviction, EvictionResult
from simple_repository_server.disk.ownership import (
    DEFAULT_MAX_BYTES,
    NOT_OURS,
    PARTIAL,
    SERVED,
    check_tag,
    claim,
    close_to_others,
    may_be_cache,
)
from simple_repository_server.disk.partial import PartialFile
from simple_repository_server.errors import RepositoryError
from simple_repository_server.lifecycle import SharedLifespan, running
from simple_repository_server.observe.events import (
    CacheFailed,
    CachePruned,
    CacheRecovered,
    Emit,
    ignore,
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
#: How long a file may wait for room, before it is sent without being kept.
_ROOM_S = 2.0


class CacheFolder(SharedLifespan):
    """The cache in `folder`, kept below `max_bytes`; an asynchronous context manager.

    What is being written counts, too: it may be half of the budget. All together it is a third
    more at most, while what is in use cannot be evicted. What does not fit is not kept. Without
    `evicts` nothing is evicted, as what cannot be fetched again must not be.
    When the disk is full or cannot be written, the service goes on without: `usable` is False for
    a while, and `emit` is told once.
    """

    def __init__(
        self,
        folder: Path,
        *,
        max_bytes: int = DEFAULT_MAX_BYTES,
        evicts: bool = True,
        clock: Callable[[], float] = time.time,
        emit: Emit = ignore,
    ) -> None:
        self.folder = folder
        self.clock = clock
        self._emit = emit
        self._allowance = Allowance(folder, folder / PARTIAL, max_bytes)
        self._eviction = Eviction(folder, self._allowance, evicts=evicts, clock=self._now)
        self.files = BlobStore(folder / "files", folder / PARTIAL, self._allowance)
        self._executor: ThreadPoolExecutor | None = None
        self._failed = False
        self._retry_at = 0.0
        self._written = 0
        self._evicted = EvictionResult()
        self._making_room: asyncio.Task[EvictionResult] | None = None
        self._prune_now = asyncio.Event()

    @property
    def max_bytes(self) -> int:
        """The budget."""
        return self._allowance.max_bytes

    @max_bytes.setter
    def max_bytes(self, max_bytes: int) -> None:
        self._allowance.max_bytes = max_bytes

    def entries(self, kind: str, head: type[H]) -> EntryStore[H]:
        """The entries of one kind (`pages`, `metadata`, `links`), whose heads are of that type."""
        return EntryStore(self.folder / kind, self.folder / PARTIAL, head, self._allowance)

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

    async def create(self, size: int | None = None) -> PartialFile:
        """A new file, to become one of `files`; `size` is that of the complete file, if known.

        Waits a moment for room to be made. Raises `OverBudget` or another `OSError`.
        """
        if not self._eviction.has_measured:
            await self._wait_for_room(0)
        try:
            strict = partial(self.files.create, strict=True)
            return await self.run(self._prepared, strict, size or 0)
        except OverBudget as refused:
            if not refused.by_eviction:
                raise
        except OSError as error:
            if error.errno != ENOSPC:
                raise
        await self._wait_for_room(size or 0)
        return await self.run(self._prepared, self.files.create, size or 0)

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
        """Something could not be written: make room, and leave a disk that refused it alone."""
        if isinstance(error, OverBudget):
            if error.by_eviction:
                self._prune_now.set()
            return
        if isinstance(error, BlockingIOError):
            return  # another process has it, which says nothing of the disk
        self._prune_now.set()
        self._retry_at = time.monotonic() + _PAUSE_S
        if not self._failed:
            self._failed = True
            reason = error.strerror or str(error)
            self._emit(CacheFailed(folder=str(self.folder), reason=reason))

    @override
    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        self._eviction.ends = False
        if not await self.run(may_be_cache, self.folder):
            raise RepositoryError(f"{self.folder} {NOT_OURS}")
        self._prune_now = asyncio.Event()  # of this event loop, which may be another one now
        await self.write(lambda: 0)
        await self.run(self._close_to_others)
        try:
            async with running(self._keep_room()):
                yield
        finally:
            self._eviction.ends = True
            if self._making_room is not None:
                self._making_room.cancel()
                await asyncio.gather(self._making_room, return_exceptions=True)
                self._making_room = None
            self._tell_evicted()
            if self._executor is not None:
                self._executor.shutdown(wait=False)
                self._executor = None

    def _prepared(self, work: Callable[..., T], *arguments: object) -> T:
        """Do the work in a folder that is there, and ours: it may have been deleted."""
        claim(self.folder)
        try:
            return work(*arguments)
        except FileNotFoundError:
            if may_be_cache(self.folder) and self.folder.exists():
                raise
        claim(self.folder)  # deleted at this very moment
        return work(*arguments)

    def _close_to_others(self) -> None:
        with contextlib.suppress(OSError):
            check_tag(self.folder)
            close_to_others(self.folder)

    async def _keep_room(self) -> None:
        wait: float | None = _PRUNE_FIRST_S
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._prune_now.wait()
            self._prune_now.clear()
            self._written = 0
            made = await asyncio.shield(self._room_making(0))
            # What is in use stays, even if it is too much: it goes when it is not in use any more.
            wait = None if made.enough and not self._failed else _PRUNE_AGAIN_S
            await asyncio.sleep(_PRUNE_PAUSE_S)
            self._tell_evicted()

    def _tell_evicted(self) -> None:
        """One event for all that went meanwhile: a small cache evicts for each file."""
        evicted, self._evicted = self._evicted, EvictionResult()
        if evicted.files:
            folder = str(self.folder)
            self._emit(CachePruned(folder=folder, files=evicted.files, bytes=evicted.bytes))

    async def _wait_for_room(self, size: int) -> None:
        """Have room made for so many bytes, but do not wait for it any longer than worth it."""
        await asyncio.wait([self._room_making(size)], timeout=_ROOM_S)
        if self._evicted.files:
            self._prune_now.set()  # and tell of it

    def _room_making(self, size: int) -> asyncio.Task[EvictionResult]:
        """Room being made, once for all who want some."""
        task = self._making_room
        if task is None or task.done():
            task = self._making_room = asyncio.create_task(self._make_room(size))
        return task

    async def _make_room(self, size: int) -> EvictionResult:
        made = await self.run(self.prune, size)
        if made.files:
            evicted = self._evicted
            files, freed = evicted.files + made.files, evicted.bytes + made.bytes
            self._evicted = EvictionResult(files=files, bytes=freed)
        return made

    def _now(self) -> float:
        return self.clock()

    def prune(self, size: int = 0) -> EvictionResult:
        """As `Eviction.prune`."""
        return self._eviction.prune(size)
