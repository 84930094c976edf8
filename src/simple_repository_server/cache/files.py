"""Distribution files in the cache on disk: found, or fetched once for all who want them."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from functools import partial

import msgspec
from typing_extensions import override

from simple_repository_server.cache.downloads import DEFAULT_LIMITS, DiskTrouble, Download
from simple_repository_server.cache.file_resources import CachedResource, DownloadingResource
from simple_repository_server.cache.memory import MemoryCache
from simple_repository_server.cache.pace import TransferLimits
from simple_repository_server.cache.single_flight import SingleFlight
from simple_repository_server.disk.allowance import OverBudget
from simple_repository_server.disk.blobs import FoundBlob
from simple_repository_server.disk.folder import CacheFolder
from simple_repository_server.disk.layout import LINKS, link_key
from simple_repository_server.disk.links import Link
from simple_repository_server.disk.partial import PartialFile
from simple_repository_server.errors import RepositoryError, SourceUnavailable, os_reason
from simple_repository_server.lifecycle import SharedLifespan
from simple_repository_server.observe.events import CacheDamaged, Emit, NotCached, ignore
from simple_repository_server.resource import PathResource, Resource

#: For how long what was found on disk, a file or none, is taken to be still so.
_TRUST_S = 1.0
#: What all transfers together may have in memory.
_TRANSFERS_BYTES = 64 * 1024 * 1024
#: How long the end waits for files that are complete to be kept.
_KEEP_S = 5.0
#: How often it is asked whether a file without a digest is still the same.
_CONFIRM_S = 60.0
DEFAULT_LOOKUP_BYTES = 20 * 1024 * 1024
#: Of the memory for lookups, the parts for what is absent, and for which project a file is of.
_FOR_ABSENT, _FOR_NOTED = 16, 4
_KNOWN_WEIGHT, _ABSENT_WEIGHT = 1500, 650


class _Known(msgspec.Struct, frozen=True):
    """What was found of a digest, as it lies there and as a resource; None if nothing was."""

    blob: FoundBlob | None
    found: PathResource | None
    #: By the monotonic clock.
    looked_at: float


class FileCache(SharedLifespan):
    """The files of `disk`; an asynchronous context manager, which enters the disk, too.

    `memory_bytes` bounds what is remembered of what was found there, `limits` one transfer.
    """

    def __init__(
        self,
        disk: CacheFolder,
        *,
        memory_bytes: int = DEFAULT_LOOKUP_BYTES,
        limits: TransferLimits = DEFAULT_LIMITS,
        emit: Emit = ignore,
    ) -> None:
        self._disk = disk
        self._limits = limits
        self._emit = emit
        self._links = disk.entries(LINKS, Link)
        self._known: MemoryCache[str, _Known] = MemoryCache(
            memory_bytes - memory_bytes // _FOR_ABSENT - memory_bytes // _FOR_NOTED
        )
        #: Apart: whoever asks for all that is not here must not evict what was checked.
        self._absent: MemoryCache[str, _Known] = MemoryCache(memory_bytes // _FOR_ABSENT)
        self._looking: SingleFlight[str, PathResource | None] = SingleFlight()
        self._notes = disk.cached_projects
        self._noted: MemoryCache[str, str] = MemoryCache(memory_bytes // _FOR_NOTED)
        self._beginning: SingleFlight[str, Download | None] = SingleFlight()
        self._downloads: dict[str, Download] = {}
        self._tasks: dict[Download, asyncio.Task[None]] = {}

    @override
    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        async with self._disk:
            try:
                yield
            finally:
                await self._stop()

    async def resource(self, origin: Resource, project: str, filename: str) -> Resource:
        """The file from the cache if it is there, else one whose reading brings it there."""
        found = await self.kept(origin)
        if found is not None:
            await self._note_served(project, found.sha256 or "")
        return self._resource(found, origin, project, filename)

    def peek(self, origin: Resource, project: str, filename: str) -> Resource | None:
        """The same, or None if the disk has to be looked at or written first."""
        known = None if origin.sha256 is None else self._recent(origin.sha256)
        if origin.sha256 is None or known is None:
            return None
        found = _of_size(known.found, origin.size)
        if found is not None and self._noted.get(origin.sha256) != project:
            return None
        return self._resource(found, origin, project, filename)

    def _resource(
        self, found: PathResource | None, origin: Resource, project: str, filename: str
    ) -> Resource:
        fetched = DownloadingResource(self, origin, project, filename)
        return fetched if found is None else CachedResource(found, fetched)

    async def kept(self, origin: Resource) -> PathResource | None:
        """The file from the cache, if it is there. Raises `SourceUnavailable` if it is refused."""
        digest = origin.sha256 or await self._linked(origin)
        return None if digest is None else await self.find(digest, origin.size)

    async def present(self, digests: Iterable[str]) -> frozenset[str]:
        """Those of the digests whose files are in the cache."""
        present = await self._disk.run(self._present, list(digests))
        for digest in present:
            self._absent.discard(digest)
        return present

    async def served(self, projects: Iterable[str]) -> frozenset[str]:
        """Those of the projects of which a file that came through here is still in the cache."""
        return await self._disk.run(self._served, list(projects))

    def _present(self, digests: Iterable[str]) -> frozenset[str]:
        path = self._disk.files.path
        return frozenset(digest for digest in digests if path(digest).exists())

    def _served(self, projects: Iterable[str]) -> frozenset[str]:
        path = self._disk.files.path
        return frozenset(
            project
            for project, digests in self._notes.existing(projects)
            if any(path(digest).exists() for digest in digests)
        )

    async def _note_served(self, project: str, digest: str) -> None:
        """Note it for `served`, once in the life of this process, or since it was fetched."""
        if self._noted.get(digest) == project:
            return
        if await self._disk.write(self._notes.add, project, digest):
            self._noted.put(digest, project, _ABSENT_WEIGHT)

    async def find(self, digest: str, size: int | None = None) -> PathResource | None:
        """The file of that sha256, checked since this process started, or None."""
        known = self._recent(digest)
        if known is not None:
            return _of_size(known.found, size)
        return _of_size(await self._looking.run(digest, partial(self._look, digest)), size)

    def _recent(self, digest: str) -> _Known | None:
        """What was found just now, be it nothing; None if it has to be looked for."""
        known = self._known.get(digest) or self._absent.get(digest)
        if known is None or time.monotonic() - known.looked_at > _TRUST_S:
            return None
        return known

    async def _look(self, digest: str) -> PathResource | None:
        files = self._disk.files
        before = self._known.get(digest)
        blob = await self._disk.run(files.find, digest, self._disk.clock())
        known = self._known.get(digest)
        if blob is None:
            if known is not None and known is not before:
                return known.found  # a download of ours has just put it there
            self._known.discard(digest)
            self._absent.put(digest, _Known(None, None, time.monotonic()), _ABSENT_WEIGHT)
            return None
        unknown = known is None or known.blob != blob
        if unknown and not await self._disk.run(files.is_intact, digest):
            self._emit(CacheDamaged(file=str(blob.path), reason="its content has changed"))
            await self._disk.run(files.discard, digest)
            self._known.discard(digest)
            return None
        return self._remember(digest, blob)

    def _remember(self, digest: str, blob: FoundBlob) -> PathResource:
        found = PathResource(
            blob.path, size=blob.size, mtime_ns=blob.mtime_ns, inode=blob.inode, sha256=digest
        )
        self._known.put(digest, _Known(blob, found, time.monotonic()), _KNOWN_WEIGHT)
        self._absent.discard(digest)
        return found

    def running(self, origin: Resource) -> Download | None:
        """The transfer of the file that is under way, if there is one."""
        return self._downloads.get(_key(origin))

    async def download(self, origin: Resource, project: str, filename: str) -> Download | None:
        """The transfer of the file, joined or begun; None if the cache takes no files now."""
        key = _key(origin)
        running = self._downloads.get(key)
        if running is not None or not self._disk.usable:
            return running
        return await self._beginning.run(key, partial(self._begin, key, origin, project, filename))

    async def _begin(
        self, key: str, origin: Resource, project: str, filename: str
    ) -> Download | None:
        try:
            file = await self._disk.create(origin.size)
        except OSError as error:
            self._not_kept(filename, error)
            return None
        download = Download(
            origin,
            file,
            what=filename,
            in_thread=self._disk.run,
            memory_bytes=lambda: _TRANSFERS_BYTES // max(1, len(self._downloads)),
            limits=self._limits,
            emit=self._emit,
        )
        self._downloads[key] = download
        task = asyncio.create_task(self._run(key, project, download, file))
        self._tasks[download] = task
        task.add_done_callback(lambda _: self._tasks.pop(download))
        return download

    def _not_kept(self, filename: str, error: OSError) -> None:
        """The file is on its way without being kept."""
        self._disk.record_failure(error)
        if isinstance(error, OverBudget):
            self._emit(NotCached(file=filename, reason=os_reason(error)))

    async def _run(self, key: str, project: str, download: Download, file: PartialFile) -> None:
        """Fetch the file and keep it. Errors of its origin are told by those who read it."""
        with download.held():
            try:
                digest = await download.run()
                blob = await self._disk.run(self._disk.files.store, file, digest)
            except DiskTrouble as error:
                self._not_kept(download.what, error.reason)
            except OSError as error:
                self._not_kept(download.what, error)
            except RepositoryError:
                pass
            else:
                self._disk.record_write(blob.size)
                self._remember(digest, blob)
                await self._link(download, digest)
                self._noted.discard(digest)
                await self._note_served(project, digest)
            finally:
                del self._downloads[key]

    async def _stop(self) -> None:
        await self._beginning.cancel_all()
        # A task that is cancelled before its first step does not even tidy up.
        await asyncio.sleep(0)
        downloads = list(self._downloads.values())
        for download, task in self._tasks.items():
            if not download.complete:
                task.cancel()
        if self._tasks:
            # Clients have all of those that are complete: the next server is to have it, too.
            await asyncio.wait(tuple(self._tasks.values()), timeout=_KEEP_S)
        rest = tuple(self._tasks.values())
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)
        for download in downloads:
            await download.closed()
        await self._looking.cancel_all()

    async def _linked(self, origin: Resource) -> str | None:
        """The sha256 of what the address had when it was last asked, if it still has that."""
        name = _link_name(origin)
        link = await self._disk.run(self._links.load_head, *name)
        if link is None or (origin.size is not None and origin.size != link.size):
            return None
        now = self._disk.clock()
        if origin.hashes or 0 <= now - link.confirmed_at < _CONFIRM_S:
            return link.sha256
        try:
            measured = await origin.with_size()
        except SourceUnavailable as error:
            if error.refused:
                raise
            return link.sha256
        # Without a version there is nothing to tell two files of the same size apart.
        if link.version is None or (measured.size, measured.version) != (link.size, link.version):
            return None
        link.confirmed_at = now
        await self._disk.write(self._links.save, link, b"", *name)
        return link.sha256

    async def _link(self, download: Download, digest: str) -> None:
        origin = download.origin
        if origin.sha256 is None:
            link = Link(
                sha256=digest,
                size=download.received,
                version=download.version,
                confirmed_at=self._disk.clock(),
            )
            await self._disk.write(self._links.save, link, b"", *_link_name(origin))


def _of_size(found: PathResource | None, size: int | None) -> PathResource | None:
    """What was found, unless its page says another size: then it is up to its origin."""
    return found if found is not None and size in (None, found.size) else None


def _key(origin: Resource) -> str:
    """What has to be the same to share a transfer: a digest alone is only what somebody claims."""
    return "".join(_link_name(origin))


def _link_name(origin: Resource) -> tuple[str, str]:
    """The name of the link: it changes with whatever the index says of the file."""
    said = f"{origin.cache_key} {sorted(origin.hashes.items())}"
    return link_key(said)
