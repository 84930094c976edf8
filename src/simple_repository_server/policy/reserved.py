"""Names that belong to another source: this one is never queried for them."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from typing_extensions import override

from simple_repository_server.errors import ProjectNotFound
from simple_repository_server.explaining import component_of
from simple_repository_server.explanation import Answered, Explanation
from simple_repository_server.model import NO_CONTEXT, ProjectList, ProjectPage, RequestContext
from simple_repository_server.names import FileName, ProjectName
from simple_repository_server.policy.lists import VisibleNames
from simple_repository_server.policy.patterns import Patterns
from simple_repository_server.repository import Repository, RepositoryContainer
from simple_repository_server.resource import Resource


class ReservedNamesRepository(RepositoryContainer):
    """`source` without the projects whose names match `patterns`, which belong to another source.

    Whatever happens, `source` is queried for none of their pages, files and metadata, and its list
    is shown without them, so that nobody but their owner can publish under these names. `owner`
    names that source to people. A pattern with a version specifier reserves the whole project.
    Raises ValueError for an invalid pattern.
    """

    def __init__(
        self, source: Repository, patterns: Patterns | Iterable[str], *, owner: str = ""
    ) -> None:
        super().__init__(source)
        self.patterns = patterns if isinstance(patterns, Patterns) else Patterns(patterns)
        self.owner = owner
        self._names = VisibleNames(lambda project: not self.patterns.matches_project(project))

    def _check(self, project: ProjectName) -> None:
        if self.patterns.matches_project(project):
            raise ProjectNotFound(project)

    @override
    async def get_project_list(self, *, context: RequestContext = NO_CONTEXT) -> ProjectList:
        return await self._names.of(await self.source.get_project_list(context=context))

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
    def peek_project_list(self, *, context: RequestContext = NO_CONTEXT) -> ProjectList | None:
        projects = self.source.peek_project_list(context=context)
        return None if projects is None else self._names.peek(projects)

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

    @override
    def not_queried_for(self, project: ProjectName) -> str:
        if not self.patterns.matches_project(project):
            return super().not_queried_for(project)
        return f"the name is reserved for {self.owner or 'another source'}"

    @override
    async def explain(
        self,
        project: ProjectName,
        version: str | None = None,
        *,
        context: RequestContext = NO_CONTEXT,
    ) -> Explanation:
        why = self.not_queried_for(project)
        if why:
            return Explanation(
                component=component_of(self.source), answered=Answered.NOT_QUERIED, detail=why
            )
        return await self.source.explain(project, version, context=context)

    @override
    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        async with super().lifespan():
            yield
            await self._names.close()
