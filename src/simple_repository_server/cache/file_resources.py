"""The two kinds of file a cache answers with: one it has, and one that reading brings into it."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Protocol

from typing_extensions import override

from simple_repository_server.cache.downloads import DiskTrouble, Download
from simple_repository_server.errors import SourceUnavailable, TransferAborted
from simple_repository_server.resource import Body, ByteRange, PathResource, Resource

#: A range that begins so far ahead of a transfer is fetched by itself, and so is any smaller one.
_AHEAD_BYTES, _SMALL_BYTES = 8 * 1024 * 1024, 8 * 1024 * 1024


class Downloads(Protocol):
    """The transfers into a cache."""

    def running(self, origin: Resource) -> Download | None:
        """The transfer of the file that is under way, if there is one."""

    async def download(self, origin: Resource, project: str, filename: str) -> Download | None:
        """The transfer of the file, joined or begun; None if the cache takes no files now."""


class DownloadingResource(Resource):
    """A file that was not in the cache: reading it brings it there, for all who read it."""

    verdict = "miss"

    def __init__(self, downloads: Downloads, origin: Resource, project: str, filename: str) -> None:
        self._downloads = downloads
        self._origin = origin
        self._project = project
        self._filename = filename
        self.size = origin.size
        self.sha256 = origin.sha256
        self.media_type = origin.media_type
        self.validator = origin.validator
        self.version = origin.version
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
    async def with_size(self) -> Resource:
        if self.size is not None:
            return self
        measured = await self._origin.with_size()
        return DownloadingResource(self._downloads, measured, self._project, self._filename)

    async def _download(self, wanted: ByteRange | None) -> Download | None:
        begin = partial(self._downloads.download, self._origin, self._project, self._filename)
        if wanted is None:
            return await begin()
        running = self._downloads.running(self._origin)
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


class WholeOnly(Resource):
    """A file without a digest that may be another one by now: never a part of it.

    A client that goes on with what it has would put two files together.
    """

    def __init__(self, fetched: DownloadingResource) -> None:
        self._fetched = fetched
        self.media_type = fetched.media_type
        self.validator = fetched.validator

    @override
    @asynccontextmanager
    async def open(self, byte_range: ByteRange | None = None) -> AsyncIterator[Body]:
        if byte_range is not None:
            raise SourceUnavailable("cache", "the file was just removed from it: ask again")
        async with self._fetched.open() as body:
            yield body


class CachedResource(PathResource):
    """A file in the cache; if it is `found` there no more it is `fetched`.

    It may be removed at any time, and another process may just have replaced it by its own copy.
    """

    fallback: Resource
    verdict = "hit"

    def __init__(self, found: PathResource, fetched: DownloadingResource) -> None:
        super().__init__(
            found.path,
            size=found.size,
            mtime_ns=found.mtime_ns,
            inode=found.inode,
            sha256=found.sha256,
        )
        self.fallback = fetched if fetched.sha256 else WholeOnly(fetched)

    @override
    @asynccontextmanager
    async def open(self, byte_range: ByteRange | None = None) -> AsyncIterator[Body]:
        async with AsyncExitStack() as stack:
            try:
                body = await stack.enter_async_context(super().open(byte_range))
            except SourceUnavailable:
                body = await stack.enter_async_context(self.fallback.open(byte_range))
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
