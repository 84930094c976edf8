"""Distribution files in the cache on disk: found, or fetched once for all who want them."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from hashlib import sha256
from typing import Self

import msgspec
from typing_extensions import override

from simple_repository_server.cache.disk import DiskCache
from simple_repository_server.cache.downloads import DiskTrouble, Download
from simple_repository_server.cache.memory import MemoryCache
from simple_repository_server.cache.served import ServedNotes
from simple_repository_server.cache.single_flight import SingleFlight
from simple_repository_server.errors import RepositoryError, SourceUnavailable, TransferAborted
from simple_repository_server.observe.events import CacheDamaged, Emit, ignore
from simple_repository_server.resource import Body, ByteRange, PathResource, Resource
from simple_repository_server.storage.blobs import FoundBlob
from simple_repository_server.storage.partial import PartialFile

#: For how long a file that was found is taken to be still there.
_TRUST_S = 1.0
#: How often it is asked whether a file without a digest is still the same.
_CONFIRM_S = 60.0
#: A range that begins so far ahead of a transfer is fetched by itself, and so is any smaller one.
_AHEAD_BYTES, _SMALL_BYTES = 8 * 1024 * 1024, 8 * 1024 * 1024
_KNOWN_BYTES, _KNOWN_WEIGHT = 16 * 1024 * 1024, 400


class Link(msgspec.Struct, kw_only=True):
    """The content an address had, for files whose index gives no sha256."""

    sha256: str
    size: int
    #: What the origin said it was, and when it was last asked.
    version: str | None
    confirmed_at: float


class _Known(msgspec.Struct):
    blob: FoundBlob
    #: By the monotonic clock.
    looked_at: float


class FileCache:
    """The files of `disk`; an asynchronous context manager, which enters the disk, too."""

    def __init__(self, disk: DiskCache, *, emit: Emit = ignore) -> None:
        self._disk = disk
        self._emit = emit
        self._links = disk.entries("links", Link)
        self._known: MemoryCache[str, _Known] = MemoryCache(_KNOWN_BYTES)
        self._looking: SingleFlight[str, FoundBlob | None] = SingleFlight()
        self._notes = ServedNotes(disk.served)
        self._noted: MemoryCache[str, str] = MemoryCache(_KNOWN_BYTES // 4)
        self._downloads: dict[str, Download] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._entered = 0

    async def __aenter__(self) -> Self:
        await self._disk.__aenter__()
        self._entered += 1
        return self

    async def __aexit__(self, *_: object) -> None:
        self._entered -= 1
        if not self._entered:
            await self._stop()
        await self._disk.__aexit__()

    async def resource(self, origin: Resource, project: str, filename: str) -> Resource:
        """The file from the cache if it is there, else one whose reading brings it there."""
        fetched = FetchedResource(self, origin, project, filename)
        found = await self.kept(origin)
        if found is None:
            return fetched
        await self._note_served(project, found.sha256 or "")
        return found if origin.sha256 is None else _KeptResource(found, fetched)

    async def kept(self, origin: Resource) -> PathResource | None:
        """The file from the cache, if it is there."""
        digest = origin.sha256 or await self._linked(origin)
        return None if digest is None else await self.find(digest, origin.size)

    async def present(self, digests: Iterable[str]) -> frozenset[str]:
        """Those of the digests whose files are in the cache."""
        return await self._disk.run(self._present, list(digests))

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
            for project, digests in self._notes.projects(projects)
            if any(path(digest).exists() for digest in digests)
        )

    async def _note_served(self, project: str, digest: str) -> None:
        """Note it for `served`, once in the life of this process, or since it was fetched."""
        if self._noted.get(digest) == project:
            return
        if await self._disk.write(self._notes.add, project, digest):
            self._noted.put(digest, project, _KNOWN_WEIGHT)

    async def find(self, digest: str, size: int | None = None) -> PathResource | None:
        """The file of that sha256, checked since this process started, or None."""
        known = self._known.get(digest)
        if known is None or time.monotonic() - known.looked_at > _TRUST_S:
            blob = await self._looking.run(digest, partial(self._look, digest))
        else:
            blob = known.blob
        # With another size than its page says it is up to its origin, as it would be without us.
        if blob is None or size not in (None, blob.size):
            return None
        return PathResource(blob.path, size=blob.size, mtime_ns=blob.mtime_ns, sha256=digest)

    async def _look(self, digest: str) -> FoundBlob | None:
        files = self._disk.files
        blob = await self._disk.run(files.find, digest, self._disk.clock())
        known = self._known.get(digest)
        if blob is None:
            self._known.discard(digest)
            return None
        unknown = known is None or known.blob != blob
        if unknown and not await self._disk.run(files.is_intact, digest):
            self._emit(CacheDamaged(file=str(blob.path), reason="its content has changed"))
            await self._disk.run(files.discard, digest)
            self._known.discard(digest)
            return None
        self._remember(digest, blob)
        return blob

    def _remember(self, digest: str, blob: FoundBlob) -> None:
        self._known.put(digest, _Known(blob, time.monotonic()), _KNOWN_WEIGHT)

    def running(self, origin: Resource) -> Download | None:
        """The transfer of the file that is under way, if there is one."""
        return self._downloads.get(_key(origin))

    async def download(self, origin: Resource, project: str, filename: str) -> Download | None:
        """The transfer of the file, joined or begun; None if the cache takes no files now."""
        key = _key(origin)
        running = self._downloads.get(key)
        if running is not None or not self._disk.usable:
            return running
        try:
            file = await self._disk.create()
        except OSError as error:
            self._disk.failed(error)
            return None
        if key in self._downloads:  # begun by another client in the meantime
            file.close()
            return self._downloads[key]
        download = Download(origin, file, what=filename, in_thread=self._disk.run, emit=self._emit)
        self._downloads[key] = download
        task = asyncio.create_task(self._run(key, project, download, file))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return download

    async def _run(self, key: str, project: str, download: Download, file: PartialFile) -> None:
        """Fetch the file and keep it. Errors of its origin are told by those who read it."""
        with download.held():
            try:
                digest = await download.run()
                blob = await self._disk.run(self._disk.files.keep, file, digest)
            except DiskTrouble as error:
                self._disk.failed(error.reason)
            except OSError as error:
                self._disk.failed(error)
            except RepositoryError:
                pass
            else:
                self._disk.wrote(blob.size)
                self._remember(digest, blob)
                await self._link(download, digest)
                self._noted.discard(digest)
                await self._note_served(project, digest)
            finally:
                del self._downloads[key]

    async def _stop(self) -> None:
        # A task that is cancelled before its first step does not even tidy up.
        await asyncio.sleep(0)
        tasks, downloads = list(self._tasks), list(self._downloads.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
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
            measured = await origin.measured()
        except SourceUnavailable:
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


class FetchedResource(Resource):
    """A file that was not in the cache: reading it brings it there, for all who read it."""

    def __init__(self, cache: FileCache, origin: Resource, project: str, filename: str) -> None:
        self._cache = cache
        self._origin = origin
        self._project = project
        self._filename = filename
        self.size = origin.size
        self.sha256 = origin.sha256
        self.media_type = origin.media_type
        self.validator = origin.validator
        self.location = origin.location
        self.hashes = origin.hashes

    @override
    @asynccontextmanager
    async def open(self, byte_range: ByteRange | None = None) -> AsyncIterator[Body]:
        download = await self._download(byte_range)
        if download is not None:
            with download.held():
                if await download.has_begun() and self._is_of(download):
                    yield self._body(download, byte_range)
                    return
        async with self._origin.open(byte_range) as body:
            yield body

    def _is_of(self, download: Download) -> bool:
        """Whether that is what was said of the file: one without a digest may have changed."""
        version = self._origin.version
        return bool(self.hashes) or version is None or version == download.version

    def _body(self, download: Download, wanted: ByteRange | None) -> Body:
        start, stop = (wanted.start, wanted.stop) if wanted else (0, None)
        version = download.version
        return Body(
            chunks=self._chunks(download, start, stop),
            length=wanted.length if wanted else download.total,
            total=download.total,
            etag=version if version and version.startswith('"') else None,
        )

    @override
    async def measured(self) -> Resource:
        if self.size is not None:
            return self
        measured = await self._origin.measured()
        return FetchedResource(self._cache, measured, self._project, self._filename)

    async def _download(self, wanted: ByteRange | None) -> Download | None:
        begin = partial(self._cache.download, self._origin, self._project, self._filename)
        if wanted is None:
            return await begin()
        running = self._cache.running(self._origin)
        if running is None and wanted.length >= _SMALL_BYTES:
            running = await begin()
        if running is None or wanted.start > running.received + _AHEAD_BYTES:
            return None
        return running

    async def _chunks(
        self, download: Download, start: int, stop: int | None
    ) -> AsyncIterator[bytes]:
        position = start
        try:
            async for chunk in download.read(start, stop):
                position += len(chunk)
                yield chunk
        except DiskTrouble:
            async for chunk in _beyond(self._origin, position, stop, download.version):
                yield chunk


class _KeptResource(PathResource):
    """A file in the cache; if it is `found` there no more it is `fetched`, having the same digest.

    Another process may just have replaced it by its own copy.
    """

    def __init__(self, found: PathResource, fetched: FetchedResource) -> None:
        super().__init__(found.path, size=found.size, mtime_ns=found.mtime_ns, sha256=found.sha256)
        self._fetched = fetched

    @override
    @asynccontextmanager
    async def open(self, byte_range: ByteRange | None = None) -> AsyncIterator[Body]:
        async with AsyncExitStack() as stack:
            try:
                body = await stack.enter_async_context(super().open(byte_range))
            except SourceUnavailable:
                body = await stack.enter_async_context(self._fetched.open(byte_range))
            yield body


async def _beyond(
    origin: Resource, start: int, stop: int | None, version: str | None
) -> AsyncIterator[bytes]:
    """The bytes from `start` on out of a whole body, which is checked as such.

    What came before was of that `version`: without a digest it is not put together with another.
    """
    position = 0
    tag = version if version and version.startswith('"') else None
    async with origin.open() as body:
        if not origin.hashes and (body.etag != tag or (start and tag is None)):
            raise TransferAborted("The cache failed, and the file may have changed since.")
        async for chunk in body.chunks:
            end = None if stop is None else max(0, stop - position)
            part = chunk[max(0, start - position) : end]
            position += len(chunk)
            if part:
                yield part


def _key(origin: Resource) -> str:
    """What has to be the same to share a transfer: a digest alone is only what somebody claims."""
    return "".join(_link_name(origin))


def _link_name(origin: Resource) -> tuple[str, str]:
    """The name of the link: it changes with whatever the index says of the file."""
    said = f"{origin.identity} {sorted(origin.hashes.items())}"
    name = sha256(said.encode()).hexdigest()
    return name[:2], name[2:]
