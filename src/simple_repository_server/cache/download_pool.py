"""The transfers into a cache: at most one per file, all within one share of memory."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

import msgspec

from simple_repository_server.cache.downloads import (
    DEFAULT_LIMITS,
    DEFAULT_MEMORY,
    DiskTrouble,
    Download,
)
from simple_repository_server.cache.file_ref import FileRef
from simple_repository_server.cache.front import TransferMemory
from simple_repository_server.cache.pace import TransferLimits
from simple_repository_server.cache.single_flight import SingleFlight
from simple_repository_server.disk.allowance import OverBudget
from simple_repository_server.disk.blobs import BlobStore, FoundBlob
from simple_repository_server.disk.cached_projects import CachedProjects
from simple_repository_server.disk.folder import CacheFolder
from simple_repository_server.disk.partial import PartialFile
from simple_repository_server.errors import RepositoryError, os_reason
from simple_repository_server.observe.events import Emit, NotCached, ignore

#: How long closing waits for complete files to be stored.
_STORE_S = 5.0
#: How many files from memory are stored at once: syncing must not occupy all threads of the cache.
_STORED_AT_ONCE = 2
#: Of the memory for all transfers, the part for files that are in memory as a whole.
_WHOLE_PART = 2


class Stored(msgspec.Struct, frozen=True):
    """A file that has just become part of the cache."""

    ref: FileRef
    sha256: str
    blob: FoundBlob
    #: The origin's name for this version of the bytes.
    version: str | None
    #: Whether it is on record that the project has this file.
    recorded: bool


class DownloadPool:
    """The transfers into `disk`; `on_stored` is awaited for each file that became part of it."""

    def __init__(
        self,
        disk: CacheFolder,
        projects: CachedProjects,
        on_stored: Callable[[Stored], Awaitable[None]],
        *,
        memory: TransferMemory = DEFAULT_MEMORY,
        limits: TransferLimits = DEFAULT_LIMITS,
        emit: Emit = ignore,
    ) -> None:
        self._disk = disk
        self._projects = projects
        self._on_stored = on_stored
        self._memory = memory
        self.limits = limits
        self._emit = emit
        self._beginning: SingleFlight[tuple[str, str], Download | None] = SingleFlight()
        self._downloads: dict[tuple[str, str], Download] = {}
        self._tasks: dict[Download, asyncio.Task[None]] = {}
        self._storing = asyncio.Semaphore(_STORED_AT_ONCE)
        #: The files that are in memory as a whole, with their sizes, as long as they are read.
        self._whole: dict[Download, int] = {}
        self._whole_bytes = 0

    def running(self, ref: FileRef) -> Download | None:
        """The transfer of the file that is under way, if there is one that has not failed."""
        return self._running(ref.link_key)

    async def join(self, ref: FileRef) -> Download | None:
        """The transfer of the file, joined or begun; None if the cache takes no files now."""
        key = ref.link_key
        running = self._running(key)
        if running is not None or not self._disk.usable:
            return running
        size = ref.origin.size
        is_beginning = self._beginning.is_running(key)
        if size is not None and not is_beginning and self._fits_into_memory(size):
            return self._start(key, ref, None)
        return await self._beginning.run(key, partial(self._begin, key, ref))

    async def stop(self) -> None:
        """Stop all transfers; those that are complete get a moment to be stored."""
        await self._beginning.cancel_all()
        # A task that is cancelled before its first step does not even run its `finally`.
        await asyncio.sleep(0)
        downloads = list(self._tasks)
        for download, task in self._tasks.items():
            if not download.complete:
                task.cancel()
        if self._tasks:
            # Clients have what is complete: it must be there for them after a restart.
            await asyncio.wait(tuple(self._tasks.values()), timeout=_STORE_S)
        unfinished = tuple(self._tasks.values())
        for task in unfinished:
            task.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)
        for download in downloads:
            await download.closed()

    def _running(self, key: tuple[str, str]) -> Download | None:
        download = self._downloads.get(key)
        return download if download is not None and download.error is None else None

    def _fits_into_memory(self, size: int) -> bool:
        whole_bytes = self._memory.total_bytes // _WHOLE_PART
        return size <= self._memory.whole_file_bytes and self._whole_bytes + size <= whole_bytes

    def _share(self) -> int:
        """How much one transfer to a file may have in memory."""
        count = sum(download.file is not None for download in self._downloads.values())
        return (self._memory.total_bytes - self._whole_bytes) // max(1, count)

    async def _begin(self, key: tuple[str, str], ref: FileRef) -> Download | None:
        try:
            file = await self._disk.create(ref.origin.size)
        except OSError as error:
            self._report_not_stored(ref.filename, error)
            return None
        return self._start(key, ref, file)

    def _start(self, key: tuple[str, str], ref: FileRef, file: PartialFile | None) -> Download:
        download = Download(
            ref,
            file,
            in_thread=self._disk.run,
            memory=self._memory,
            memory_bytes=self._share,
            limits=self.limits,
            on_release=self._release,
            emit=self._emit,
        )
        if file is None:
            self._whole[download] = ref.origin.size or 0
            self._whole_bytes += self._whole[download]
        self._downloads[key] = download
        task = asyncio.create_task(self._run(key, ref, download))
        self._tasks[download] = task
        task.add_done_callback(lambda _: self._tasks.pop(download))
        return download

    async def _run(self, key: tuple[str, str], ref: FileRef, download: Download) -> None:
        """Fetch and store the file. What its origin raises is reported by its readers."""
        with download.held():
            try:
                digest = await download.run()
                blob, recorded = await self._store(ref, download, digest)
            except DiskTrouble as error:
                self._report_not_stored(ref.filename, error.reason)
            except OSError as error:
                self._report_not_stored(ref.filename, error)
            except RepositoryError:
                pass
            else:
                self._disk.record_write(blob.size)
                await self._on_stored(Stored(ref, digest, blob, download.version, recorded))
            finally:
                if self._downloads.get(key) is download:
                    del self._downloads[key]

    def _release(self, download: Download) -> None:
        """Stop counting a file in memory: its last reader has left."""
        self._whole_bytes -= self._whole.pop(download, 0)

    async def _store(self, ref: FileRef, download: Download, digest: str) -> tuple[FoundBlob, bool]:
        """Make the verified bytes a file of the cache. Raises `OSError`."""
        files, projects = self._disk.files, self._projects
        if download.file is not None:
            publish = partial(_publish, files, projects, download.file, ref.project, digest)
            return await self._disk.run(publish)
        async with self._storing:
            file = await self._disk.create(ref.origin.size)
            write = partial(_write, files, projects, file, download.content, ref.project, digest)
            return await self._disk.run(write)

    def _report_not_stored(self, filename: str, error: OSError) -> None:
        self._disk.record_failure(error)
        if isinstance(error, OverBudget):
            self._emit(NotCached(file=filename, reason=os_reason(error)))


def _write(
    files: BlobStore,
    projects: CachedProjects,
    file: PartialFile,
    content: list[bytes],
    project: str,
    digest: str,
) -> tuple[FoundBlob, bool]:
    try:
        file.append(content)
        return _publish(files, projects, file, project, digest)
    finally:
        file.close()


def _publish(
    files: BlobStore, projects: CachedProjects, file: PartialFile, project: str, digest: str
) -> tuple[FoundBlob, bool]:
    """The file in the cache, and whether its project is on record. Raises `OSError`."""
    blob = files.store(file, digest)
    try:
        projects.add(project, digest)
    except OSError:
        return blob, False  # the file is stored all the same; the next request records it
    return blob, True
