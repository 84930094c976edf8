"""Distribution files in the cache on disk: looked up, or fetched once for all who request them."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import msgspec
from typing_extensions import override

from simple_repository_server.cache.download_pool import DownloadPool, Stored
from simple_repository_server.cache.downloads import DEFAULT_LIMITS, DEFAULT_MEMORY
from simple_repository_server.cache.file_ref import FileRef
from simple_repository_server.cache.file_resources import CachedResource, DownloadingResource
from simple_repository_server.cache.front import TransferMemory
from simple_repository_server.cache.known_files import KnownFiles
from simple_repository_server.cache.memory import MemoryCache
from simple_repository_server.cache.pace import TransferLimits
from simple_repository_server.disk.folder import CacheFolder
from simple_repository_server.disk.layout import LINKS
from simple_repository_server.disk.links import Link
from simple_repository_server.errors import SourceUnavailable
from simple_repository_server.lifecycle import SharedLifespan, running
from simple_repository_server.observe.events import Emit, ignore
from simple_repository_server.resource import PathResource, Resource

#: How long a file without a digest is used before its origin is requested to confirm it.
_CONFIRM_S = 60.0
DEFAULT_LOOKUP_BYTES = 20 * 1024 * 1024
#: Of the memory for lookups, the part for which project a file is recorded with.
_RECORDED_PART = 4
#: And the part for the resources of the files that were requested last.
_RESOURCES_PART = 8
#: Memory of such a resource, without that of its origin, which its source caches as well.
_RESOURCE_WEIGHT = 2500
_RECORDED_WEIGHT = 650


class _FileResource(msgspec.Struct, frozen=True):
    """A resource and what it was made of."""

    ref: FileRef
    found: PathResource | None
    resource: Resource


class FileCache(SharedLifespan):
    """The files of `disk`; an asynchronous context manager, which enters the disk, too.

    `memory_bytes` bounds what is remembered of lookups, `memory` what transfers hold in memory,
    and `limits` how long one may take.
    """

    def __init__(
        self,
        disk: CacheFolder,
        *,
        memory_bytes: int = DEFAULT_LOOKUP_BYTES,
        memory: TransferMemory = DEFAULT_MEMORY,
        limits: TransferLimits = DEFAULT_LIMITS,
        emit: Emit = ignore,
    ) -> None:
        self._disk = disk
        self._links = disk.entries(LINKS, Link)
        recorded_bytes = memory_bytes // _RECORDED_PART
        resources_bytes = memory_bytes // _RESOURCES_PART
        known_bytes = memory_bytes - recorded_bytes - resources_bytes
        self._known = KnownFiles(disk, known_bytes, emit=emit)
        #: By file name: answers are remembered by the resource they are made of.
        self._resources: MemoryCache[str, _FileResource] = MemoryCache(resources_bytes)
        self._projects = disk.cached_projects
        #: The project that each digest was recorded with.
        self._recorded: MemoryCache[str, str] = MemoryCache(recorded_bytes)
        #: The transfers into the cache that are under way.
        self.downloads = DownloadPool(
            disk, self._projects, self._on_stored, memory=memory, limits=limits, emit=emit
        )

    @override
    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        async with self._disk:
            await self._known.check()
            async with running(self._known.check_forever()):
                try:
                    yield
                finally:
                    await self.downloads.stop()
                    await self._known.close()

    async def resource(self, origin: Resource, project: str, filename: str) -> Resource:
        """The file from the cache if it is there, else one whose reading brings it there.

        Raises `SourceUnavailable` if its origin refuses it.
        """
        found = await self.lookup_origin(origin)
        if found is not None:
            await self._record(project, found.sha256 or "")
        return self._resource(found, origin, project, filename)

    def peek(self, origin: Resource, project: str, filename: str) -> Resource | None:
        """The same from memory; None if the disk has to be read or written first."""
        digest = origin.sha256
        known = None if digest is None else self._known.peek(digest)
        if digest is None or known is None:
            return None
        found = _of_size(known.found, origin.size)
        if found is not None and self._recorded.get(digest) != project:
            return None
        return self._resource(found, origin, project, filename)

    async def lookup(self, digest: str, size: int | None = None) -> PathResource | None:
        """The file of that sha256 and size, verified since this process started, or None."""
        return _of_size(await self._known.find(digest), size)

    async def lookup_origin(self, origin: Resource) -> PathResource | None:
        """The file of that origin, or None. Raises `SourceUnavailable` if the origin refuses it."""
        digest = origin.sha256 or await self._linked(origin)
        return None if digest is None else await self.lookup(digest, origin.size)

    async def existing(self, digests: Iterable[str]) -> frozenset[str]:
        """Those of the digests whose files are in the cache."""
        return await self._known.existing(digests)

    async def cached_projects(self, projects: Iterable[str]) -> frozenset[str]:
        """Those of the projects of which a file that was requested is still in the cache."""
        return await self._disk.run(self._with_files, list(projects))

    def _with_files(self, projects: Iterable[str]) -> frozenset[str]:
        path = self._disk.files.path
        return frozenset(
            project
            for project, digests in self._projects.existing(projects)
            if any(path(digest).exists() for digest in digests)
        )

    def _resource(
        self, found: PathResource | None, origin: Resource, project: str, filename: str
    ) -> Resource:
        """The resource; the same object while its origin and the lookup are."""
        known = self._resources.get(filename)
        if (
            known is not None
            and known.found is found
            and known.ref.origin is origin
            and known.ref.project == project
        ):
            return known.resource
        ref = FileRef(origin, project, filename)
        downloading = DownloadingResource(self.downloads, ref)
        resource = downloading if found is None else CachedResource(found, downloading)
        known = _FileResource(ref, found, resource)
        self._resources.put(filename, known, _RESOURCE_WEIGHT + len(origin.location or ""))
        return resource

    async def _record(self, project: str, digest: str) -> None:
        """Record the file for `cached_projects`, once in the life of this process."""
        if self._recorded.get(digest) == project:
            return
        if await self._disk.write(self._projects.add, project, digest):
            self._recorded.put(digest, project, _RECORDED_WEIGHT)

    async def _on_stored(self, stored: Stored) -> None:
        ref, digest = stored.ref, stored.sha256
        self._known.remember(digest, stored.blob)
        self._recorded.discard(digest)
        if stored.recorded:
            self._recorded.put(digest, ref.project, _RECORDED_WEIGHT)
        if ref.origin.sha256 is None:
            link = Link(
                sha256=digest,
                size=stored.blob.size,
                version=stored.version,
                confirmed_at=self._disk.clock(),
            )
            await self._disk.write(self._links.save, link, b"", *ref.link_key)

    async def _linked(self, origin: Resource) -> str | None:
        """The sha256 of what the address had when it was last requested, if that is unchanged."""
        key = FileRef(origin, "", "").link_key
        link = await self._disk.run(self._links.load_head, *key)
        if link is None or (origin.size is not None and origin.size != link.size):
            return None
        now = self._disk.clock()
        if origin.hashes or 0 <= now - link.confirmed_at < _CONFIRM_S:
            return link.sha256
        try:
            current = await origin.with_size()
        except SourceUnavailable as error:
            if error.refused:
                raise
            return link.sha256
        # Without a version, two files of the same size cannot be distinguished.
        if link.version is None or (current.size, current.version) != (link.size, link.version):
            return None
        link.confirmed_at = now
        await self._disk.write(self._links.save, link, b"", *key)
        return link.sha256


def _of_size(found: PathResource | None, size: int | None) -> PathResource | None:
    """The file, unless its page states another size: then its origin decides."""
    return found if found is not None and size in (None, found.size) else None
