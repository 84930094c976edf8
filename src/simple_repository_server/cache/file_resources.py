"""The two resources of a file cache: a file that is in it, and one that reading brings into it."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from typing_extensions import override

from simple_repository_server.cache.download_pool import DownloadPool
from simple_repository_server.cache.downloads import DiskTrouble, Download
from simple_repository_server.cache.file_ref import FileRef
from simple_repository_server.errors import SourceUnavailable, TransferAborted
from simple_repository_server.resource import Body, ByteRange, PathResource, Resource


class DownloadingResource(Resource):
    """A file that is not in the cache: reading it brings it there, for all its readers."""

    verdict = "miss"

    def __init__(self, downloads: DownloadPool, ref: FileRef) -> None:
        origin = ref.origin
        self._downloads = downloads
        self._ref = ref
        self._origin = origin
        self.size = origin.size
        self.sha256 = origin.sha256
        self.media_type = origin.media_type
        self.validator = origin.validator
        self.version = origin.version
        self.location = origin.location
        self.hashes = origin.hashes
        self.source = origin.source

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

    @override
    async def with_size(self) -> Resource:
        if self.size is not None:
            return self
        ref = FileRef(await self._origin.with_size(), self._ref.project, self._ref.filename)
        return DownloadingResource(self._downloads, ref)

    async def _download(self, wanted: ByteRange | None) -> Download | None:
        """The transfer to read from; None: the origin itself is better for that range."""
        if wanted is None:
            return await self._downloads.join(self._ref)
        limits = self._downloads.limits
        running = self._downloads.running(self._ref)
        if running is None and wanted.length >= limits.small_range_bytes:
            running = await self._downloads.join(self._ref)
        if running is None or wanted.start > running.received + limits.ahead_bytes:
            return None
        return running

    def _is_of(self, download: Download) -> bool:
        """Whether the transfer is of this version: a file without a digest may have changed."""
        version = self._origin.version
        return bool(self.hashes) or version is None or version == download.version

    def _body(self, download: Download, wanted: ByteRange | None) -> Body:
        start, stop = (wanted.start, wanted.stop) if wanted else (0, None)
        return Body(
            chunks=self._chunks(download, start, stop),
            length=wanted.length if wanted else download.total,
            total=download.total,
            etag=_strong(download.version),
        )

    async def _chunks(
        self, download: Download, start: int, stop: int | None
    ) -> AsyncIterator[bytes]:
        position = start
        try:
            async for chunk in download.read(start, stop):
                position += len(chunk)
                yield chunk
        except DiskTrouble:
            async for chunk in _resume_from_origin(self._origin, position, stop, download.version):
                yield chunk


class WholeOnly(Resource):
    """A file without a digest that may have changed since: served as a whole, never in part.

    A client that resumes with a part would combine two files.
    """

    def __init__(self, downloading: DownloadingResource) -> None:
        self._downloading = downloading
        self.media_type = downloading.media_type
        self.validator = downloading.validator
        self.source = downloading.source

    @override
    @asynccontextmanager
    async def open(self, byte_range: ByteRange | None = None) -> AsyncIterator[Body]:
        if byte_range is not None:
            raise SourceUnavailable("cache", "the file was just removed from it: try again")
        async with self._downloading.open() as body:
            yield body


class CachedResource(PathResource):
    """A file in the cache, which may be evicted or replaced at any time: then it is fetched."""

    fallback: Resource
    verdict = "hit"

    def __init__(self, found: PathResource, downloading: DownloadingResource) -> None:
        super().__init__(
            found.path,
            size=found.size,
            mtime_ns=found.mtime_ns,
            inode=found.inode,
            sha256=found.sha256,
            source=downloading.source,
        )
        self.fallback = downloading if downloading.sha256 else WholeOnly(downloading)

    @override
    @asynccontextmanager
    async def open(self, byte_range: ByteRange | None = None) -> AsyncIterator[Body]:
        async with AsyncExitStack() as stack:
            try:
                body = await stack.enter_async_context(super().open(byte_range))
            except SourceUnavailable:
                body = await stack.enter_async_context(self.fallback.open(byte_range))
            yield body


async def _resume_from_origin(
    origin: Resource, start: int, stop: int | None, version: str | None
) -> AsyncIterator[bytes]:
    """The bytes from `start` on, out of a whole body, which is verified as such.

    What was read before is of that `version`: without a digest no other is appended to it.
    """
    position = 0
    etag = _strong(version)
    async with origin.open() as body:
        if not origin.hashes and (body.etag != etag or (start and etag is None)):
            raise TransferAborted("The cache failed, and the file may have changed since.")
        async for chunk in body.chunks:
            end = None if stop is None else max(0, stop - position)
            part = chunk[max(0, start - position) : end]
            position += len(chunk)
            if part:
                yield part


def _strong(version: str | None) -> str | None:
    """The version if it is a strong ETag."""
    return version if version and version.startswith('"') else None
