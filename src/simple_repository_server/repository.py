"""The one interface: everything that has projects is a `Repository`.

Sources, combiners, filters and caches are all repositories, so configuration is nesting. The
conformance suite in `testing` checks in code what is promised here in words.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from typing_extensions import override

from simple_repository_server.errors import RepositoryError
from simple_repository_server.explaining import component_of, failure_explained, page_explained
from simple_repository_server.explanation import Explanation
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


class Repository(SharedLifespan, ABC):
    """Projects, their pages and their files.

    The list, the page and the resource follow one decision: a file on the page is served, a file
    that is not on the page is not (under any spelling), and announced metadata can be fetched.
    As long as nothing has changed, the same snapshot object is returned.

    The three coroutines are abstract; everything else has a default. A repository is an
    asynchronous context manager: what it needs (connections, watchers, other repositories) is
    opened and closed by `lifespan`, which a subclass may override. It may be part of several
    combinations: the first that enters it opens it, the last that leaves closes it.
    """

    @override
    def __init_subclass__(cls, **options: object) -> None:
        """Reset each inherited peek whose coroutine the subclass overrides.

        A subclass that overrides `get_project_page` alone has rules that the inherited
        `peek_project_page` does not know, so there the peek returns None.
        """
        super().__init_subclass__(**options)
        for get, peek in _PEEKS.items():
            # Not `issubclass`: here ABCMeta has not set up its caches for `cls` yet.
            if _provider(cls, get) not in _provider(cls, peek).__mro__:
                setattr(cls, peek, getattr(Repository, peek))

    @abstractmethod
    async def get_project_list(self, *, context: RequestContext = NO_CONTEXT) -> ProjectList:
        """The names of all projects.

        Raises `SourceUnavailable` if no source can answer.
        """

    @abstractmethod
    async def get_project_page(
        self, project: ProjectName, *, context: RequestContext = NO_CONTEXT
    ) -> ProjectPage:
        """The page of a project.

        Raises `ProjectNotFound` only if it is certain that the project does not exist, and
        `SourceUnavailable` whenever it is not: callers must not fall back to another source then.
        """

    @abstractmethod
    async def get_resource(
        self, project: ProjectName, filename: FileName, *, context: RequestContext = NO_CONTEXT
    ) -> Resource:
        """A file on the project's page, or its core metadata (`<file>.metadata`).

        Raises `ProjectNotFound` and `SourceUnavailable` as for the page, and `ResourceNotFound`
        if the project exists, but not this file.
        """

    def peek_project_list(self, *, context: RequestContext = NO_CONTEXT) -> ProjectList | None:
        """The very object that `get_project_list` would return now, if it need not wait.

        None if that is unknown without waiting: call the coroutine. Peeks start no work and
        change nothing but the order of least recent use where memory is limited. This holds for
        all three.
        """
        del context
        return None

    def peek_project_page(
        self, project: ProjectName, *, context: RequestContext = NO_CONTEXT
    ) -> ProjectPage | None:
        """The very object that `get_project_page` would return now, if it need not wait.

        Raises `ProjectNotFound` if the coroutine certainly would.
        """
        del project, context
        return None

    def peek_resource(
        self, project: ProjectName, filename: FileName, *, context: RequestContext = NO_CONTEXT
    ) -> Resource | None:
        """What `get_resource` would return now, or an equivalent resource, if it need not wait.

        Raises `ProjectNotFound` and `ResourceNotFound` if the coroutine certainly would.
        """
        del project, filename, context
        return None

    def source_states(self) -> tuple[SourceState, ...]:
        """The states of all sources below, in the order in which they are queried."""
        return ()

    def not_queried_for(self, project: ProjectName) -> str:
        """Why no request for the project is ever passed on here, in a phrase; "" if it may be."""
        del project
        return ""

    async def explain(
        self,
        project: ProjectName,
        version: str | None = None,
        *,
        context: RequestContext = NO_CONTEXT,
    ) -> Explanation:
        """Why the project, or one version of it, is shown as it is.

        It queries what a request for the page queries, and nothing else. A component that hides
        something or chooses whom to query overrides it. Raises no `RepositoryError`: what went
        wrong is part of the answer.
        """
        component = component_of(self)
        try:
            page = await self.get_project_page(project, context=context)
        except RepositoryError as error:
            return failure_explained(component, error)
        return page_explained(component, page, version, time.time())


#: Coroutine → the peek that mirrors it.
_PEEKS = {
    "get_project_list": "peek_project_list",
    "get_project_page": "peek_project_page",
    "get_resource": "peek_resource",
}


def _provider(cls: type, method: str) -> type:
    """The class from which `cls` has `method`."""
    return next(base for base in cls.__mro__ if method in vars(base))


class RepositoryGroup(Repository):
    """A repository made of others, which it opens, closes and reports the states of.

    Abstract: subclasses define the three coroutines.
    """

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
    """A repository around another one that delegates all three coroutines to it.

    Subclass it, override what changes, and consider each of the three methods: a rule for pages
    that does not hold for files is a hole. Peeks are not delegated, because they would bypass the
    rules of a subclass that overrides only coroutines.
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
