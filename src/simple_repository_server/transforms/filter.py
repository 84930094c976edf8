"""Filters by project, for the list, pages and files alike."""

import asyncio
from abc import abstractmethod
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from functools import partial

from typing_extensions import override

from simple_repository_server.cache.single_flight import SingleFlight
from simple_repository_server.cache.snapshots import SnapshotMemo
from simple_repository_server.errors import ProjectNotFound
from simple_repository_server.explanation import Answered, Explanation
from simple_repository_server.model import NO_CONTEXT, ProjectList, ProjectPage, RequestContext
from simple_repository_server.names import FileName, ProjectName
from simple_repository_server.repository import Repository, RepositoryContainer
from simple_repository_server.resource import Resource

#: Lists of more names than this are filtered in a thread.
_FILTER_HERE_NAMES = 5_000


class _FilteredRepository(RepositoryContainer):
    """The projects of another repository for which `_allows` is true."""

    def __init__(self, source: Repository) -> None:
        super().__init__(source)
        self._filtered = SnapshotMemo(self._filter)
        self._filtering: SingleFlight[ProjectList, ProjectList] = SingleFlight()

    @abstractmethod
    def _allows(self, project: ProjectName) -> bool:
        """Whether the project is visible."""

    def _filter(self, projects: ProjectList) -> ProjectList:
        return projects.only(self._allows)

    def _check(self, project: ProjectName) -> None:
        if not self._allows(project):
            raise ProjectNotFound(project)

    @override
    async def get_project_list(self, *, context: RequestContext = NO_CONTEXT) -> ProjectList:
        projects = await self.source.get_project_list(context=context)
        known = self._filtered.peek(projects)
        if known is not None:
            return known
        if len(projects.names) <= _FILTER_HERE_NAMES:
            return self._filtered(projects)
        work = partial(asyncio.to_thread, self._filtered, projects)
        return await self._filtering.run(projects, work)

    @override
    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        async with super().lifespan():
            yield
            await self._filtering.cancel_all()

    @override
    async def get_project_page(
        self, project: ProjectName, *, context: RequestContext = NO_CONTEXT
    ) -> ProjectPage:
        self._check(project)
        return await self.source.get_project_page(project, context=context)

    @override
    async def get_resource(
        self, project: ProjectName, filename: FileName, *, context: RequestContext = NO_CONTEXT
    ) -> Resource:
        self._check(project)
        return await self.source.get_resource(project, filename, context=context)

    @override
    async def explain(
        self,
        project: ProjectName,
        version: str | None = None,
        *,
        context: RequestContext = NO_CONTEXT,
    ) -> Explanation:
        if self._allows(project):
            return await self.source.explain(project, version, context=context)
        return Explanation(
            component=type(self).__name__,
            answered=Answered.ABSENT,
            detail="its list of names leaves the project out, so its source was not queried",
        )

    @override
    def peek_project_list(self, *, context: RequestContext = NO_CONTEXT) -> ProjectList | None:
        projects = self.source.peek_project_list(context=context)
        return None if projects is None else self._filtered.peek(projects)

    @override
    def peek_project_page(
        self, project: ProjectName, *, context: RequestContext = NO_CONTEXT
    ) -> ProjectPage | None:
        self._check(project)
        return self.source.peek_project_page(project, context=context)

    @override
    def peek_resource(
        self, project: ProjectName, filename: FileName, *, context: RequestContext = NO_CONTEXT
    ) -> Resource | None:
        self._check(project)
        return self.source.peek_resource(project, filename, context=context)


class AllowListRepository(_FilteredRepository):
    """Only the projects in `allowed`, in any spelling. Raises `InvalidName` for an invalid name."""

    def __init__(self, source: Repository, *, allowed: Iterable[str]) -> None:
        self._allowed = frozenset(map(ProjectName, allowed))
        super().__init__(source)

    @override
    def _allows(self, project: ProjectName) -> bool:
        return project in self._allowed


class DenyListRepository(_FilteredRepository):
    """All projects but those in `denied`, in any spelling. Raises `InvalidName` likewise."""

    def __init__(self, source: Repository, *, denied: Iterable[str]) -> None:
        self._denied = frozenset(map(ProjectName, denied))
        super().__init__(source)

    @override
    def _allows(self, project: ProjectName) -> bool:
        return project not in self._denied
