"""The cache folder as a server uses it: opened and closed, worked on in threads, and its failures.

Any number of servers and processes may share one folder. What lies where: `layout.py`.
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
from typing import ParamSpec, TypeVar

import msgspec
from typing_extensions import override

from simple_repository_server.disk.allowance import DEFAULT_MAX_BYTES, Allowance, OverBudget
from simple_repository_server.disk.background_eviction import BackgroundEviction
from simple_repository_server.disk.blobs import BlobStore
from simple_repository_server.disk.cached_projects import CachedProjects
from simple_repository_server.disk.entries import EntryStore
from simple_repository_server.disk.eviction import EvictionResult
from simple_repository_server.disk.layout import FILES, PARTIAL, PROJECTS
from simple_repository_server.disk.ownership import (
    NOT_OURS,
    check_tag,
    claim,
    make_folders_private,
    may_be_cache,
)
from simple_repository_server.disk.partial import PartialFile
from simple_repository_server.disk.usage import DEFAULT_PACE, Amount, ScanPace, disk_usage
from simple_repository_server.errors import RepositoryError, os_reason
from simple_repository_server.lifecycle import SharedLifespan, running
from simple_repository_server.observe.events import (
    CacheFailed,
    CachePruned,
    CacheRecovered,
    Emit,
    ignore,
)

P = ParamSpec("P")
T = TypeVar("T")
H = TypeVar("H")

_THREADS = 8
#: The cache is scanned again once this part of the budget was written.
_SCAN_PART = 0.02


class FolderTimings(msgspec.Struct, frozen=True, kw_only=True):
    """How long a `CacheFolder` waits for what, in seconds."""

    #: Nothing is written for so long after the disk failed.
    failure_pause_s: float = 10.0
    #: From the start until the first eviction,
    first_eviction_s: float = 5.0
    #: and until the next one while the cache is over its budget, or the disk fails.
    next_eviction_s: float = 20.0
    #: Between any two evictions.
    eviction_pause_s: float = 1.0
    #: How long a new file waits for an eviction before it is streamed without being cached.
    space_wait_s: float = 2.0


DEFAULT_TIMINGS = FolderTimings()


class CacheFolder(SharedLifespan):
    """The cache in `folder`, of at most `max_bytes`; an asynchronous context manager.

    Files being written count, and may take a half of the budget. It may be exceeded by a third
    while entries in use cannot be evicted; what does not fit is not cached. Without `evicts` no
    entry is evicted, as offline, where it could not be fetched again. `new_file` creates each file
    to be written among `files`.
    When the disk is full or read-only the service continues without it: `usable` is False for a
    while, and `emit` gets one event.
    """

    def __init__(
        self,
        folder: Path | str,
        *,
        max_bytes: int = DEFAULT_MAX_BYTES,
        evicts: bool = True,
        clock: Callable[[], float] = time.time,
        timings: FolderTimings = DEFAULT_TIMINGS,
        pace: ScanPace = DEFAULT_PACE,
        new_file: Callable[[Path], PartialFile] = PartialFile,
        emit: Emit = ignore,
    ) -> None:
        self.folder = folder = Path(folder)
        self.clock = clock
        self._emit = emit
        self._timings = timings
        self._allowance = Allowance(folder, folder / PARTIAL, max_bytes)
        self._eviction = BackgroundEviction(
            folder, self._allowance, evicts=evicts, clock=self._now, pace=pace
        )
        self.files = BlobStore(folder / FILES, folder / PARTIAL, self._allowance, new_file=new_file)
        self.cached_projects = CachedProjects(folder / PROJECTS, clock=self._now)
        self._executor: ThreadPoolExecutor | None = None
        self._failed = False
        self._retry_at = 0.0
        #: Bytes written since the last scan.
        self._written = 0
        #: What was evicted since the last event.
        self._evicted = Amount()
        self._evicting: asyncio.Task[EvictionResult] | None = None
        self._evict_now = asyncio.Event()

    @property
    def max_bytes(self) -> int:
        """The budget."""
        return self._allowance.max_bytes

    @max_bytes.setter
    def max_bytes(self, max_bytes: int) -> None:
        self._allowance.max_bytes = max_bytes

    @property
    def usable(self) -> bool:
        """Whether writing is worth trying: the disk did not just fail."""
        return time.monotonic() >= self._retry_at

    def entries(self, kind: str, head: type[H]) -> EntryStore[H]:
        """The entries of a kind (`layout.PAGES`, `METADATA`, `LINKS`), with heads of that type."""
        scratch = self.folder / PARTIAL
        return EntryStore(self.folder / kind, scratch, head, self._allowance, clock=self._now)

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What the blocking work returns, done in a thread of the cache. Raises what it raises."""
        if self._executor is None:
            self._executor = ThreadPoolExecutor(_THREADS, thread_name_prefix="cache")
        call = partial(work, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._executor, call)

    async def write(self, work: Callable[P, int], *args: P.args, **kwargs: P.kwargs) -> bool:
        """Do work that writes, and returns how many bytes; False if the disk does not take them."""
        if not self.usable:
            return False
        try:
            self.record_write(await self.run(self._with_folder, partial(work, *args, **kwargs)))
        except OSError as error:
            self.record_failure(error)
            return False
        return True

    async def create(self, size: int | None = None) -> PartialFile:
        """A new file to store among `files`; `size` is that of the complete file, if known.

        Waits a moment for an eviction. Raises `OverBudget` or another `OSError`.
        """
        if not self._eviction.has_measured:
            await self._wait_for_space(0)
        strict = partial(self.files.create, size or 0, strict=True)
        try:
            return await self.run(self._with_folder, strict)
        except OverBudget as refused:
            if not refused.by_eviction:
                raise
        except OSError as error:
            if error.errno != ENOSPC:
                raise
        await self._wait_for_space(size or 0)
        return await self.run(self._with_folder, partial(self.files.create, size or 0))

    def record_write(self, size: int) -> None:
        """Record that a file of `size` bytes was written."""
        # What began before a failure says nothing of the disk after it.
        if self._failed and self.usable:
            self._failed = False
            self._emit(CacheRecovered(folder=str(self.folder)))
        self._written += disk_usage(size)
        if self._written > self.max_bytes * _SCAN_PART:
            self._evict_now.set()

    def record_failure(self, error: OSError) -> None:
        """Record that a write failed: evict, and do not use a disk that failed for a while."""
        if isinstance(error, OverBudget):
            if error.by_eviction:
                self._evict_now.set()
            return
        if isinstance(error, BlockingIOError):
            return  # another process has the file locked, which is no failure of the disk
        self._evict_now.set()
        self._retry_at = time.monotonic() + self._timings.failure_pause_s
        if not self._failed:
            self._failed = True
            self._emit(CacheFailed(folder=str(self.folder), reason=os_reason(error)))

    def evict(self, size: int = 0) -> EvictionResult:
        """As `BackgroundEviction.run`."""
        return self._eviction.run(size)

    @override
    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """Raises `RepositoryError` if the folder is not ours."""
        self._eviction.stopped = False
        self._evict_now = asyncio.Event()  # of this event loop
        try:
            if not await self.run(may_be_cache, self.folder):
                raise RepositoryError(f"{self.folder} {NOT_OURS}")
            await self.write(lambda: 0)  # creates the folder
            await self.run(self._make_private)
            async with running(self._evict_loop()):
                yield
        finally:
            self._eviction.stopped = True
            evicting, self._evicting = self._evicting, None
            executor, self._executor = self._executor, None
            if executor is not None:
                executor.shutdown(wait=False)
            if evicting is not None:
                evicting.cancel()
                await asyncio.wait([evicting])
            self._report_evicted()

    def _with_folder(self, work: Callable[[], T]) -> T:
        """Do the work in a folder that exists and is ours, also if it is being deleted."""
        claim(self.folder)
        try:
            return work()
        except FileNotFoundError:
            if may_be_cache(self.folder) and self.folder.exists():
                raise
        claim(self.folder)  # deleted at this very moment
        return work()

    def _make_private(self) -> None:
        with contextlib.suppress(OSError):
            check_tag(self.folder)
            make_folders_private(self.folder)

    async def _evict_loop(self) -> None:
        wait: float | None = self._timings.first_eviction_s
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._evict_now.wait()
            self._evict_now.clear()
            self._written = 0
            result = await asyncio.shield(self._start_eviction(0))
            # Entries in use stay even over the budget, and are evicted once they are not.
            fits = result.within_budget and not self._failed
            wait = None if fits else self._timings.next_eviction_s
            await asyncio.sleep(self._timings.eviction_pause_s)
            self._report_evicted()

    def _report_evicted(self) -> None:
        """Emit one event for all evicted since the last one: a small cache evicts for each file."""
        evicted, self._evicted = self._evicted, Amount()
        if evicted.files:
            folder = str(self.folder)
            self._emit(CachePruned(folder=folder, files=evicted.files, bytes=evicted.bytes))

    async def _wait_for_space(self, size: int) -> None:
        """Have entries evicted for so many bytes, and wait for it, but not for long."""
        await asyncio.wait([self._start_eviction(size)], timeout=self._timings.space_wait_s)
        if self._evicted.files:
            self._evict_now.set()  # so that it is reported

    def _start_eviction(self, size: int) -> asyncio.Task[EvictionResult]:
        """An eviction, or the one that is running: callers coalesce."""
        task = self._evicting
        if task is None or task.done():
            task = self._evicting = asyncio.create_task(self._evict(size))
        return task

    async def _evict(self, size: int) -> EvictionResult:
        result = await self.run(self.evict, size)
        self._evicted.files += result.evicted.files
        self._evicted.bytes += result.evicted.bytes
        return result

    def _now(self) -> float:
        return self.clock()
