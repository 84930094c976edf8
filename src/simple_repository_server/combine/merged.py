"""Several repositories whose files of a project are shown together."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial

import msgspec
from typing_extensions import override

from simple_repository_server.cache.memory import ENTRY_BYTES, MemoryCache
from simple_repository_server.cache.single_flight import SingleFlight
from simple_repository_server.combine.lists import DEFAULT_LIST_BYTES, DEFAULT_WAIT_S, UnionOfLists
from simple_repository_server.distributions.filenames import sorted_versions
from simple_repository_server.errors import ProjectNotFound, ResourceNotFound
from simple_repository_server.explanation import Explanation
from simple_repository_server.freshness import WeakestFreshness
from simple_repository_server.model import (
    NO_CONTEXT,
    File,
    ProjectList,
    ProjectPage,
    RequestContext,
)
from simple_repository_server.names import FileName, ProjectName
from simple_repository_server.observe.events import Emit, ignore
from simple_repository_server.repository import Repository, RepositoryGroup
from simple_repository_server.resource import Resource

#: Enough for the pages of some hundred projects with many files.
DEFAULT_MEMORY_BYTES = 64 * 1024 * 1024
#: Memory of a file's slot in the dictionary of owners.
_OWNER_BYTES = 100
#: Pages of more files than this are merged in a thread.
_MERGE_HERE_FILES = 2_000
#: The pages of one project, each with its source.
_Parts = tuple[tuple[Repository, ProjectPage], ...]


class _Merge(msgspec.Struct, frozen=True):
    #: The pages that were merged.
    parts: _Parts
    page: ProjectPage
    owners: Mapping[str, Repository]

    def owner(self, filename: FileName) -> Repository:
        """The source whose file, or whose file's metadata, that is.

        Raises `ResourceNotFound` if the merged page has no such file.
        """
        owner = self.owners.get(filename) or self.owners.get(filename.distribution)
        if owner is None:
            raise ResourceNotFound(self.page.name, filename)
        return owner

    @property
    def weight(self) -> int:
        """How many bytes of memory the merge and its parts hold, approximately."""
        pages = [self.page, *(page for _, page in self.parts)]
        owners = _OWNER_BYTES * len(self.owners)
        return ENTRY_BYTES + owners + sum(page.weight for page in pages)


class MergedRepository(RepositoryGroup):
    """The files of all sources on one page per project. It is open to dependency confusion.

    Anyone who can publish a project in one of the sources can add a higher version to it. Use it
    only for sources that you trust equally (a mirror and its builds for other platforms, say), and
    `PrioritySelectedProjectsRepository` otherwise. Of files with the same name, the first source's
    is used with all its attributes. If one source cannot answer for a project, its
    `SourceUnavailable` is raised, because a page without its files would be wrong. The list is the
    union; a source that takes longer than `list_wait_s` seconds is left out until it has answered.
    A list larger than `list_bytes` is not cached; merged pages are cached within `memory_bytes`,
    least recently used ones evicted first.
    """

    def __init__(
        self,
        sources: Sequence[Repository],
        *,
        list_bytes: int = DEFAULT_LIST_BYTES,
        list_wait_s: float = DEFAULT_WAIT_S,
        memory_bytes: int = DEFAULT_MEMORY_BYTES,
        emit: Emit = ignore,
    ) -> None:
        super().__init__(*sources)
        self._lists = UnionOfLists(
            self.sources, memory_bytes=list_bytes, wait_s=list_wait_s, emit=emit
        )
        self._merges: MemoryCache[ProjectName, _Merge] = MemoryCache(memory_bytes)
        self._merging: SingleFlight[_Parts, _Merge] = SingleFlight()

    @override
    async def get_project_list(self, *, context: RequestContext = NO_CONTEXT) -> ProjectList:
        return await self._lists.get(context)

    @override
    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        async with super().lifespan():
            yield
            await self._lists.close()
            await self._merging.cancel_all()

    @override
    async def get_project_page(
        self, project: ProjectName, *, context: RequestContext = NO_CONTEXT
    ) -> ProjectPage:
        parts = await self._parts(project, context)
        return parts[0][1] if len(parts) == 1 else (await self._merge(parts)).page

    @override
    async def get_resource(
        self, project: ProjectName, filename: FileName, *, context: RequestContext = NO_CONTEXT
    ) -> Resource:
        parts = await self._parts(project, context)
        owner = parts[0][0] if len(parts) == 1 else (await self._merge(parts)).owner(filename)
        return await owner.get_resource(project, filename, context=context)

    @override
    async def explain(
        self,
        project: ProjectName,
        version: str | None = None,
        *,
        context: RequestContext = NO_CONTEXT,
    ) -> Explanation:
        own = await super().explain(project, version, context=context)
        explain = (source.explain(project, version, context=context) for source in self.sources)
        parts = tuple(await asyncio.gather(*explain))
        return msgspec.structs.replace(own, component="sources that are merged", sources=parts)

    @override
    def peek_project_list(self, *, context: RequestContext = NO_CONTEXT) -> ProjectList | None:
        return self._lists.peek(context)

    @override
    def peek_project_page(
        self, project: ProjectName, *, context: RequestContext = NO_CONTEXT
    ) -> ProjectPage | None:
        parts = self._peek_parts(project, context)
        if parts is None or len(parts) == 1:
            return parts[0][1] if parts else None
        known = self._known(parts)
        return known.page if known else None

    @override
    def peek_resource(
        self, project: ProjectName, filename: FileName, *, context: RequestContext = NO_CONTEXT
    ) -> Resource | None:
        parts = self._peek_parts(project, context)
        if parts is None:
            return None
        if len(parts) == 1:
            return parts[0][0].peek_resource(project, filename, context=context)
        known = self._known(parts)
        if known is None:
            return None
        return known.owner(filename).peek_resource(project, filename, context=context)

    def _peek_parts(self, project: ProjectName, context: RequestContext) -> _Parts | None:
        """The pages of the project; None if one source must be awaited."""
        parts: list[tuple[Repository, ProjectPage]] = []
        for source in self.sources:
            try:
                page = source.peek_project_page(project, context=context)
            except ProjectNotFound:
                continue
            if page is None:
                return None
            parts.append((source, page))
        if not parts:
            raise ProjectNotFound(project)
        return tuple(parts)

    async def _parts(self, project: ProjectName, context: RequestContext) -> _Parts:
        answers = await asyncio.gather(
            *(source.get_project_page(project, context=context) for source in self.sources),
            return_exceptions=True,
        )
        parts: list[tuple[Repository, ProjectPage]] = []
        for source, answer in zip(self.sources, answers, strict=True):
            if isinstance(answer, ProjectPage):
                parts.append((source, answer))
            elif not isinstance(answer, ProjectNotFound):
                raise answer
        if not parts:
            raise ProjectNotFound(project)
        return tuple(parts)

    def _known(self, parts: _Parts) -> _Merge | None:
        """The cached merge of exactly these pages."""
        known = self._merges.get(parts[0][1].name)
        return known if known is not None and known.parts == parts else None

    async def _merge(self, parts: _Parts) -> _Merge:
        known = self._known(parts)
        if known is not None:
            return known
        if sum(len(page.files) for _, page in parts) > _MERGE_HERE_FILES:
            made = await self._merging.run(parts, partial(asyncio.to_thread, _merged, parts))
        else:
            made = _merged(parts)
        self._merges.put(made.page.name, made, made.weight)
        return made


def _merged(parts: _Parts) -> _Merge:
    files: dict[str, File] = {}
    owners: dict[str, Repository] = {}
    for source, page in parts:
        for file in page.files:
            if file.filename not in files:
                files[file.filename] = file
                owners[file.filename] = source
    pages = [page for _, page in parts]
    statuses = {page.status for page in pages}
    merged = ProjectPage(
        name=pages[0].name,
        files=tuple(files.values()),
        versions=sorted_versions(version for page in pages for version in page.versions),
        # Only if all agree: the page of a quarantined project has no files already.
        status=pages[0].status if len(statuses) == 1 else None,
        freshness=WeakestFreshness(page.freshness for page in pages),
    )
    merged.weight  # noqa: B018 - computed and cached here, where this may be a thread
    return _Merge(parts, merged, owners)
