"""The one interface: everything that has projects is a `Repository`.

Sources, combiners, filters and caches are all repositories, so configuration is nesting. The
conformance suite in `testing` says in code what is promised here in words.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from typing_extensions import override

from simple_repository_server.lifecycle import SharedLifespan
from simple_repository_server.model import (
    NO_CONTEXT,
    ProjectList,
    ProjectPage,
    RequestContext,
    SourceState,
)
from simple_repository_server.names import FileName, ProjectName
from simple_repository_server.resource import Resource


class Repository(SharedLifespan):
    """Something that has projects, their pages and their files.

    What the list, the page and the resource say is one decision: a file on the page is served, a
    file that is not on the page is not (under any spelling), and an announced `.metadata` answers.
    As long as nothing has changed, the same snapshot object is returned again.

    A repository is an asynchronous context manager; what it needs (connections, watchers) it
    opens and closes in `lifespan`. It may be entered more than once, as part of several
    combinations: it is opened once, and closed when the last of them leaves it.
    """

    @override
    def __init_subclass__(cls, **options: object) -> None:
        """Take back each peek that was written for another class's coroutine.

        A subclass that overrides `get_project_page` alone has rules the inherited
        `peek_project_page` does not know of: there it answers None again.
        """
        super().__init_subclass__(**options)
        for get, peek in _PEEKS.items():
            if not issubclass(_provider(cls, peek), _provider(cls, get)):
                setattr(cls, peek, getattr(Repository, peek))

    async def get_project_list(self, *, context: RequestContext = NO_CONTEXT) -> ProjectList:
        """The names of all projects.

        Raises `SourceUnavailable` when nothing can be said at all.
        """
        raise NotImplementedError

    async def get_project_page(
        self, project: ProjectName, *, context: RequestContext = NO_CONTEXT
    ) -> ProjectPage:
        """The page of a project.

        Raises `ProjectNotFound` only when it is certain that there is no such project, and
        `SourceUnavailable` whenever it is not: a caller may then not look elsewhere.
        """
        raise NotImplementedError

    async def get_resource(
        self, project: ProjectName, filename: FileName, *, context: RequestContext = NO_CONTEXT
    ) -> Resource:
        """A file of the project's page, or (`<file>.metadata`) its core metadata.

        Raises `ProjectNotFound` and `SourceUnavailable` as for the page, and `ResourceNotFound`
        when the project is here, but not this file.
        """
        raise NotImplementedError

    def peek_project_list(self, *, context: RequestContext = NO_CONTEXT) -> ProjectList | None:
        """The very list that `get_project_list` would return now, if nothing need be waited for.

        None: ask the coroutine, it alone can say. A peek changes nothing (but what counts as used
        last where memory is limited) and starts no work; each of the three keeps to this.
        """
        del context
        return None

    def peek_project_page(
        self, project: ProjectName, *, context: RequestContext = NO_CONTEXT
    ) -> ProjectPage | None:
        """The very page that `get_project_page` would return now, if nothing need be waited for.

        Raises `ProjectNotFound` where the coroutine certainly would now.
        """
        del project, context
        return None

    def peek_resource(
        self, project: ProjectName, filename: FileName, *, context: RequestContext = NO_CONTEXT
    ) -> Resource | None:
        """What `get_resource` would return now, or a resource that says just the same, or None.

        Raises `ProjectNotFound` and `ResourceNotFound` where the coroutine certainly would now.
        """
        del project, filename, context
        return None

    def source_states(self) -> tuple[SourceState, ...]:
        """How the sources below are doing, in the order in which they are asked."""
        return ()


#: Which peek mirrors which coroutine.
_PEEKS = {
    "get_project_list": "peek_project_list",
    "get_project_page": "peek_project_page",
    "get_resource": "peek_resource",
}


def _provider(cls: type, method: str) -> type:
    """The class whose `method` an instance of `cls` has."""
    return next(base for base in cls.__mro__ if method in vars(base))


class RepositoryGroup(Repository):
    """A repository made of others, which it opens, closes and reports on."""

    def __init__(self, *sources: Repository) -> None:
        self.sources = sources

    @override
    def source_states(self) -> tuple[SourceState, ...]:
        return tuple(state for source in self.sources for state in source.source_states())

    @override
    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for source in self.sources:
                await stack.enter_async_context(source)
            yield


class RepositoryContainer(RepositoryGroup):
    """A repository around another one, to which it passes everything on.

    Subclass it and override what changes; say for each of the three methods what you intend, as a
    rule that holds for pages but not for files is a hole. Peeks are not passed on: they would go
    around the rules of a subclass that overrides the coroutines.
    """

    def __init__(self, source: Repository) -> None:
        super().__init__(source)
        self.source = source

    @override
    async def get_project_list(self, *, context: RequestContext = NO_CONTEXT) -> ProjectList:
        return await self.source.get_project_list(context=context)

    @override
    async def get_project_page(
        self, project: ProjectName, *, context: RequestContext = NO_CONTEXT
    ) -> ProjectPage:
        return await self.source.get_project_page(project, context=context)

    @override
    async def get_resource(
        self, project: ProjectName, filename: FileName, *, context: RequestContext = NO_CONTEXT
    ) -> Resource:
        return await self.source.get_resource(project, filename, context=context)
