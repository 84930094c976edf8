"""Several repositories, each responsible for the projects whose names match its patterns."""

import asyncio
import fnmatch
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial

from typing_extensions import override

from simple_repository_server.cache.single_flight import SingleFlight
from simple_repository_server.cache.snapshots import SnapshotMemo
from simple_repository_server.combine.lists import DEFAULT_LIST_BYTES, DEFAULT_WAIT_S, UnionOfLists
from simple_repository_server.errors import ProjectNotFound
from simple_repository_server.explanation import Answered, Explanation
from simple_repository_server.model import NO_CONTEXT, ProjectList, ProjectPage, RequestContext
from simple_repository_server.names import FileName, ProjectName
from simple_repository_server.observe.events import Emit, ignore
from simple_repository_server.repository import Repository, RepositoryContainer, RepositoryGroup
from simple_repository_server.resource import Resource

#: Lists of more names than this are filtered in a thread.
_FILTER_HERE_NAMES = 5_000
_SEPARATORS = re.compile(r"[-_.]+")
_GLOB = re.compile(r"[a-z0-9*?\[\]!-]+")


class RoutedRepository(RepositoryGroup):
    """Each project comes from the repository of the first route whose pattern matches its name.

    `routes` are pairs of a pattern and a repository. A pattern is a glob of the normalised name
    (`corp-*`; `Corp_*` is the same). Names that no pattern matches come from `default`; without
    one they do not exist. No other repository is ever queried for a name, even if the one that is
    responsible does not have the project or cannot answer. Lists hold the same projects: a
    repository adds those of its names that are routed to it, and one that takes longer than
    `list_wait_s` seconds is left out until it has answered. A list larger than `list_bytes` is not
    cached.

    Raises `ValueError` if there is no repository at all, or for a pattern that cannot match a name.
    """

    def __init__(
        self,
        routes: Sequence[tuple[str, Repository]],
        *,
        default: Repository | None = None,
        list_bytes: int = DEFAULT_LIST_BYTES,
        list_wait_s: float = DEFAULT_WAIT_S,
        emit: Emit = ignore,
    ) -> None:
        self._routes = tuple((_pattern(glob), repository) for glob, repository in routes)
        self._default = default
        targets = [repository for _, repository in routes]
        targets += [] if default is None else [default]
        if not targets:
            raise ValueError("A RoutedRepository needs a route or a default.")
        super().__init__(*{id(one): one for one in targets}.values())
        self._shares = [_Share(source, self.responsible_for) for source in self.sources]
        self._lists = UnionOfLists(
            self._shares, memory_bytes=list_bytes, wait_s=list_wait_s, emit=emit
        )

    def responsible_for(self, project: ProjectName) -> Repository | None:
        """The repository of the project, whether it has it or not; None: there is none."""
        for pattern, repository in self._routes:
            if pattern.fullmatch(project):
                return repository
        return self._default

    def _route(self, project: ProjectName) -> Repository:
        repository = self.responsible_for(project)
        if repository is None:
            raise ProjectNotFound(project)
        return repository

    @override
    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        async with super().lifespan():
            yield
            await self._lists.close()
            for share in self._shares:
                await share.close()

    @override
    async def get_project_list(self, *, context: RequestContext = NO_CONTEXT) -> ProjectList:
        return await self._lists.get(context)

    @override
    async def get_project_page(
        self, project: ProjectName, *, context: RequestContext = NO_CONTEXT
    ) -> ProjectPage:
        return await self._route(project).get_project_page(project, context=context)

    @override
    async def get_resource(
        self, project: ProjectName, filename: FileName, *, context: RequestContext = NO_CONTEXT
    ) -> Resource:
        return await self._route(project).get_resource(project, filename, context=context)

    @override
    async def explain(
        self,
        project: ProjectName,
        version: str | None = None,
        *,
        context: RequestContext = NO_CONTEXT,
    ) -> Explanation:
        repository = self.responsible_for(project)
        if repository is not None:
            return await repository.explain(project, version, context=context)
        return Explanation(
            component=type(self).__name__,
            answered=Answered.ABSENT,
            detail="no route matches its name, so nothing was queried",
        )

    @override
    def peek_project_list(self, *, context: RequestContext = NO_CONTEXT) -> ProjectList | None:
        return self._lists.peek(context)

    @override
    def peek_project_page(
        self, project: ProjectName, *, context: RequestContext = NO_CONTEXT
    ) -> ProjectPage | None:
        return self._route(project).peek_project_page(project, context=context)

    @override
    def peek_resource(
        self, project: ProjectName, filename: FileName, *, context: RequestContext = NO_CONTEXT
    ) -> Resource | None:
        return self._route(project).peek_resource(project, filename, context=context)


def _pattern(glob: str) -> re.Pattern[str]:
    normal = _SEPARATORS.sub("-", glob).lower()
    if not _GLOB.fullmatch(normal):
        raise ValueError(f"The pattern {glob!r} matches no project name; write it as in 'corp-*'.")
    return re.compile(fnmatch.translate(normal))


class _Share(RepositoryContainer):
    """The list of a repository without the names that are routed to others."""

    def __init__(
        self, source: Repository, responsible: Callable[[ProjectName], Repository | None]
    ) -> None:
        super().__init__(source)
        self._responsible = responsible
        self._filtered = SnapshotMemo(self._filter)
        self._filtering: SingleFlight[ProjectList, ProjectList] = SingleFlight()

    def _filter(self, projects: ProjectList) -> ProjectList:
        return projects.only(lambda name: self._responsible(name) is self.source)

    async def close(self) -> None:
        """End the work in flight."""
        await self._filtering.cancel_all()

    @override
    async def get_project_list(self, *, context: RequestContext = NO_CONTEXT) -> ProjectList:
        projects = await self.source.get_project_list(context=context)
        if len(projects.names) <= _FILTER_HERE_NAMES or self._filtered.peek(projects) is not None:
            return self._filtered(projects)
        work = partial(asyncio.to_thread, self._filtered, projects)
        return await self._filtering.run(projects, work)

    @override
    def peek_project_list(self, *, context: RequestContext = NO_CONTEXT) -> ProjectList | None:
        projects = self.source.peek_project_list(context=context)
        return None if projects is None else self._filtered.peek(projects)
