"""Several repositories whose files of a project are shown together."""

import asyncio
from collections.abc import Mapping, Sequence
from weakref import WeakKeyDictionary

import msgspec
from typing_extensions import override

from simple_repository_server.combine.lists import UnionOfLists
from simple_repository_server.distributions.filenames import sorted_versions
from simple_repository_server.errors import ProjectNotFound, ResourceNotFound
from simple_repository_server.model import (
    NO_CONTEXT,
    File,
    ProjectList,
    ProjectPage,
    RequestContext,
    WeakestFreshness,
)
from simple_repository_server.names import FileName, ProjectName
from simple_repository_server.repository import Repository, RepositoryGroup
from simple_repository_server.resource import Resource


class _Merge(msgspec.Struct, frozen=True):
    parts: tuple[tuple[Repository, ProjectPage], ...]
    page: ProjectPage
    owners: Mapping[str, Repository]


class MergedRepository(RepositoryGroup):
    """All files of all sources, page by page. This is open to dependency confusion.

    Whoever can publish a name in any of the sources can offer a higher version of it; use it only
    for sources you trust alike (a mirror and its builds for other platforms, say), and
    `PrioritySelectedProjectsRepository` otherwise. Of files with the same name that of the first
    source counts, with all that is said of it; nothing is mixed. If one source cannot answer,
    none does, as a page without its files would be another page.
    """

    def __init__(self, sources: Sequence[Repository]) -> None:
        super().__init__(*sources)
        self._lists = UnionOfLists(self.sources)
        self._merges: WeakKeyDictionary[ProjectPage, _Merge] = WeakKeyDictionary()

    @override
    async def get_project_list(self, *, context: RequestContext = NO_CONTEXT) -> ProjectList:
        return await self._lists.get(context)

    @override
    async def _close(self) -> None:
        await self._lists.close()
        await super()._close()

    @override
    async def get_project_page(
        self, project: ProjectName, *, context: RequestContext = NO_CONTEXT
    ) -> ProjectPage:
        parts = await self._parts(project, context)
        return parts[0][1] if len(parts) == 1 else self._merge(parts).page

    @override
    async def get_resource(
        self, project: ProjectName, filename: FileName, *, context: RequestContext = NO_CONTEXT
    ) -> Resource:
        parts = await self._parts(project, context)
        if len(parts) == 1:
            return await parts[0][0].get_resource(project, filename, context=context)
        owners = self._merge(parts).owners
        owner = owners.get(filename) or owners.get(filename.described)
        if owner is None:
            raise ResourceNotFound(project, filename)
        return await owner.get_resource(project, filename, context=context)

    async def _parts(
        self, project: ProjectName, context: RequestContext
    ) -> tuple[tuple[Repository, ProjectPage], ...]:
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

    def _merge(self, parts: tuple[tuple[Repository, ProjectPage], ...]) -> _Merge:
        known = self._merges.get(parts[0][1])
        rest = parts[1:]
        if known is None or [page for _, page in known.parts] != [page for _, page in rest]:
            page, owners = _merged(parts)
            # Without the first part: as a value it would keep its own key alive.
            known = self._merges[parts[0][1]] = _Merge(rest, page, owners)
        return known


def _merged(
    parts: tuple[tuple[Repository, ProjectPage], ...],
) -> tuple[ProjectPage, Mapping[str, Repository]]:
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
        # Only what all agree on: one source's quarantine already took its own files away.
        status=pages[0].status if len(statuses) == 1 else None,
        freshness=WeakestFreshness(page.freshness for page in pages),
    )
    return merged, owners
