"""Files of a source cached on disk, so that none is fetched twice."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
from typing_extensions import override

from simple_repository_server.cache.file_resources import DownloadingResource
from simple_repository_server.cache.files import FileCache
from simple_repository_server.cache.snapshots import DerivedSnapshots
from simple_repository_server.errors import ResourceNotFound
from simple_repository_server.explanation import Answered, Explanation
from simple_repository_server.model import (
    NO_CONTEXT,
    File,
    ProjectList,
    ProjectPage,
    RequestContext,
)
from simple_repository_server.names import FileName, ProjectName
from simple_repository_server.repository import Repository, RepositoryContainer
from simple_repository_server.resource import Resource

#: How long the files found in the cache are listed on a page before it is checked again.
DEFAULT_RECHECK_S = 2.0


class _Basis(msgspec.Struct, frozen=True):
    """What a page of cached files depends on besides the page of the source."""

    #: The names of the files in the cache.
    cached: frozenset[str]
    #: By the monotonic clock.
    checked_at: float


class FileCacheRepository(RepositoryContainer):
    """Stores the files of `source` that are read through here in `cache`.

    The source decides what is available: a file that is not on its page is not served, even if it
    is in the cache. With `cached_only` (offline) the pages list only files that are in the cache,
    and the list only projects that have some. The page of any other project of `source` is empty
    instead of absent, so that no other source can claim the name. Which files are in the cache is
    checked again after `recheck_s` seconds.
    """

    def __init__(
        self,
        source: Repository,
        cache: FileCache,
        *,
        cached_only: bool = False,
        recheck_s: float = DEFAULT_RECHECK_S,
    ) -> None:
        super().__init__(source)
        self._cache = cache
        self._cached_only = cached_only
        self._recheck_s = recheck_s
        self._cached_pages: DerivedSnapshots[ProjectPage, _Basis] = DerivedSnapshots()
        self._list = ProjectList(names=())

    @override
    async def get_project_list(self, *, context: RequestContext = NO_CONTEXT) -> ProjectList:
        found = await self.source.get_project_list(context=context)
        if not self._cached_only:
            return found
        cached = await self._cache.cached_projects(found.names)
        names = tuple(name for name in found.names if name in cached)
        if names != self._list.names:
            self._list = ProjectList(names=names)
        return self._list

    @override
    async def get_project_page(
        self, project: ProjectName, *, context: RequestContext = NO_CONTEXT
    ) -> ProjectPage:
        page = await self.source.get_project_page(project, context=context)
        return await self._cached_page(page) if self._cached_only else page

    @override
    async def get_resource(
        self, project: ProjectName, filename: FileName, *, context: RequestContext = NO_CONTEXT
    ) -> Resource:
        resource = await self.source.get_resource(project, filename, context=context)
        if not self._uses_cache(resource, project, filename):
            return resource
        found = await self._cache.resource(resource, project, filename)
        return self._checked(found, project, filename)

    @override
    async def explain(
        self,
        project: ProjectName,
        version: str | None = None,
        *,
        context: RequestContext = NO_CONTEXT,
    ) -> Explanation:
        inner = await self.source.explain(project, version, context=context)
        if not self._cached_only or inner.answered is not Answered.HAS:
            return inner
        own = await super().explain(project, version, context=context)
        detail = "offline: only files that are in the cache are shown"
        return msgspec.structs.replace(
            own, component="cache of files", detail=own.detail or detail, sources=(inner,)
        )

    @override
    def peek_project_list(self, *, context: RequestContext = NO_CONTEXT) -> ProjectList | None:
        return None if self._cached_only else self.source.peek_project_list(context=context)

    @override
    def peek_project_page(
        self, project: ProjectName, *, context: RequestContext = NO_CONTEXT
    ) -> ProjectPage | None:
        page = self.source.peek_project_page(project, context=context)
        return page if page is None or not self._cached_only else self._peek_cached_page(page)

    @override
    def peek_resource(
        self, project: ProjectName, filename: FileName, *, context: RequestContext = NO_CONTEXT
    ) -> Resource | None:
        resource = self.source.peek_resource(project, filename, context=context)
        if resource is None or not self._uses_cache(resource, project, filename):
            return resource
        found = self._cache.peek(resource, project, filename)
        return None if found is None else self._checked(found, project, filename)

    def _uses_cache(self, resource: Resource, project: ProjectName, filename: FileName) -> bool:
        """Whether it comes through the cache. Raises `ResourceNotFound` for metadata offline."""
        if self._cached_only and filename.is_metadata and resource.cache_key is not None:
            raise _not_cached(project, filename)
        return resource.cache_key is not None and not filename.is_metadata

    def _checked(self, found: Resource, project: ProjectName, filename: FileName) -> Resource:
        if self._cached_only and isinstance(found, DownloadingResource):
            raise _not_cached(project, filename)
        return found

    @override
    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        async with self._cache, super().lifespan():
            yield

    def _peek_cached_page(self, page: ProjectPage) -> ProjectPage | None:
        """The page with the files in the cache, if that was checked a moment ago, or None."""
        known = self._cached_pages.get(page)
        if known is None or time.monotonic() - known.details.checked_at >= self._recheck_s:
            return None
        return known.of(page)

    async def _cached_page(self, page: ProjectPage) -> ProjectPage:
        """The page with the files in the cache; the same object while these are the same."""
        recent = self._peek_cached_page(page)
        if recent is not None:
            return recent
        cached = await self._cached_names(page)
        known = self._cached_pages.get(page)
        if known is not None and known.details.cached == cached:
            result = known.of(page)
        elif all(file.filename in cached for file in page.files):
            result = page
        else:
            files = tuple(file for file in page.files if file.filename in cached)
            result = msgspec.structs.replace(page, files=files)
        self._cached_pages.put(page, result, _Basis(cached, time.monotonic()))
        return result

    async def _cached_names(self, page: ProjectPage) -> frozenset[str]:
        digests = (file.hashes["sha256"] for file in page.files if "sha256" in file.hashes)
        existing = await self._cache.existing(digests)
        names = {file.filename for file in page.files if file.hashes.get("sha256") in existing}
        for file in page.files:
            if "sha256" not in file.hashes and await self._is_available(page.name, file):
                names.add(file.filename)
        return frozenset(names)

    async def _is_available(self, project: ProjectName, file: File) -> bool:
        resource = await self.source.get_resource(project, file.filename)
        if resource.cache_key is None:
            return True  # it is local
        return await self._cache.lookup_origin(resource) is not None


def _not_cached(project: ProjectName, filename: FileName) -> ResourceNotFound:
    """The error for a file that its source has, but which is not available offline."""
    why = f"The file {filename!r} of {project!r} is not in the cache, and this server is offline."
    return ResourceNotFound(project, filename, why=why)
