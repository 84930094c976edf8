"""Files of a source kept on disk, so that nothing is fetched twice."""

import time
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from weakref import WeakKeyDictionary

import msgspec
from typing_extensions import override

from simple_repository_server.cache.file_resources import DownloadingResource
from simple_repository_server.cache.files import FileCache
from simple_repository_server.errors import ResourceNotFound
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

#: How often it is looked what is there, for those who are offered nothing else.
_LOOK_S = 2.0


class _Offer(msgspec.Struct):
    """What was there, when that was looked for, and what is offered for it."""

    looked_at: float
    there: Hashable
    #: None: all of it.
    page: ProjectPage | None


class FileCacheRepository(RepositoryContainer):
    """Keeps the files of `source` that are read through here in `cache`.

    What is offered remains the source's decision: a file its page does not show is not served,
    though it may lie in the cache. With `cached_only` no more is offered than what can be served
    without asking for any file: the files in the cache, and in the list the projects that have
    some. The page of another project that `source` has is there, without files: so it is nobody
    else's.
    """

    def __init__(self, source: Repository, cache: FileCache, *, cached_only: bool = False) -> None:
        super().__init__(source)
        self._cache = cache
        self._cached_only = cached_only
        self._offers: WeakKeyDictionary[ProjectPage, _Offer] = WeakKeyDictionary()
        self._list = ProjectList(names=())

    @override
    async def get_project_list(self, *, context: RequestContext = NO_CONTEXT) -> ProjectList:
        found = await self.source.get_project_list(context=context)
        if not self._cached_only:
            return found
        served = await self._cache.cached_projects(found.names)
        names = tuple(name for name in found.names if name in served)
        if names != self._list.names:
            self._list = ProjectList(names=names)
        return self._list

    @override
    async def get_project_page(
        self, project: ProjectName, *, context: RequestContext = NO_CONTEXT
    ) -> ProjectPage:
        page = await self.source.get_project_page(project, context=context)
        return await self._offered(page) if self._cached_only else page

    @override
    async def get_resource(
        self, project: ProjectName, filename: FileName, *, context: RequestContext = NO_CONTEXT
    ) -> Resource:
        resource = await self.source.get_resource(project, filename, context=context)
        if not self._is_cached(resource, project, filename):
            return resource
        found = await self._cache.resource(resource, project, filename)
        return self._offered_file(found, project, filename)

    @override
    def peek_project_list(self, *, context: RequestContext = NO_CONTEXT) -> ProjectList | None:
        return None if self._cached_only else self.source.peek_project_list(context=context)

    @override
    def peek_project_page(
        self, project: ProjectName, *, context: RequestContext = NO_CONTEXT
    ) -> ProjectPage | None:
        page = self.source.peek_project_page(project, context=context)
        return page if page is None or not self._cached_only else self._peek_offered(page)

    @override
    def peek_resource(
        self, project: ProjectName, filename: FileName, *, context: RequestContext = NO_CONTEXT
    ) -> Resource | None:
        resource = self.source.peek_resource(project, filename, context=context)
        if resource is None or not self._is_cached(resource, project, filename):
            return resource
        found = self._cache.peek(resource, project, filename)
        return None if found is None else self._offered_file(found, project, filename)

    def _is_cached(self, resource: Resource, project: ProjectName, filename: FileName) -> bool:
        """Whether it comes through the cache. Raises `ResourceNotFound` for what cannot now."""
        if self._cached_only and filename.is_metadata and resource.cache_key is not None:
            raise _not_kept(project, filename)
        return resource.cache_key is not None and not filename.is_metadata

    def _offered_file(self, found: Resource, project: ProjectName, filename: FileName) -> Resource:
        if self._cached_only and isinstance(found, DownloadingResource):
            raise _not_kept(project, filename)
        return found

    @override
    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        async with self._cache, super().lifespan():
            yield

    def _peek_offered(self, page: ProjectPage) -> ProjectPage | None:
        """The same as it was looked for a moment ago, or None."""
        known = self._offers.get(page)
        if known is None or time.monotonic() - known.looked_at >= _LOOK_S:
            return None
        return known.page or page

    async def _offered(self, page: ProjectPage) -> ProjectPage:
        """The page with the files that are there; the same object while they are the same."""
        offered = self._peek_offered(page)
        if offered is not None:
            return offered
        known = self._offers.get(page)
        there = await self._there(page)
        if known is None or known.there != there:
            files = tuple(file for file in page.files if file.filename in there)
            all_of_it = len(files) == len(page.files)
            offered = None if all_of_it else msgspec.structs.replace(page, files=files)
            known = self._offers[page] = _Offer(0.0, there, offered)
        known.looked_at = time.monotonic()
        return known.page or page

    async def _there(self, page: ProjectPage) -> frozenset[str]:
        digests = (file.hashes["sha256"] for file in page.files if "sha256" in file.hashes)
        present = await self._cache.existing(digests)
        names = {file.filename for file in page.files if file.hashes.get("sha256") in present}
        for file in page.files:
            if "sha256" not in file.hashes and await self._is_kept(page.name, file):
                names.add(file.filename)
        return frozenset(names)

    async def _is_kept(self, project: ProjectName, file: File) -> bool:
        resource = await self.source.get_resource(project, file.filename)
        return resource.cache_key is None or await self._cache.lookup_origin(resource) is not None


def _not_kept(project: ProjectName, filename: FileName) -> ResourceNotFound:
    """Not "there is no such file": its page shows it, but it is not offered."""
    why = f"The file {filename!r} of {project!r} is not in the cache, and this server is offline."
    return ResourceNotFound(project, filename, why=why)
