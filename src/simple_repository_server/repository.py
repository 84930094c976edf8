"""The one interface: everything that has projects is a `Repository`.

Sources, combiners, filters and caches are all repositories, so configuration is nesting. The
conformance suite in `testing` says in code what is promised here in words.
"""

from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from typing_extensions import override

from simple_repository_server.model import (
    NO_CONTEXT,
    ProjectList,
    ProjectPage,
    RequestContext,
    SourceState,
)
from simple_repository_server.names import FileName, ProjectName
from simple_repository_server.resource import Resource


class Repository:
    """Something that has projects, their pages and their files.

    What the list, the page and the resource say is one decision: a file on the page is served, a
    file that is not on the page is not (under any spelling), and an announced `.metadata` answers.
    As long as nothing has changed, the same snapshot object is returned again.

    A repository is an asynchronous context manager; what it needs (connections, watchers) it
    opens and closes there. It may be entered more than once, as part of several combinations.
    """

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

    def source_states(self) -> tuple[SourceState, ...]:
        """How the sources below are doing, in the order in which they are asked."""
        return ()

    async def _open(self) -> None:
        """Open what is needed; called once, however often the repository is entered."""

    async def _close(self) -> None:
        """Close what `_open` opened; called once, when it is left for the last time."""

    _entered = 0

    async def __aenter__(self) -> Self:
        self._entered += 1
        if self._entered == 1:
            try:
                await self._open()
            except BaseException:
                self._entered = 0
                raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._entered -= 1
        if self._entered == 0:
            await self._close()


class RepositoryGroup(Repository):
    """A repository made of others, which it opens, closes and reports on."""

    def __init__(self, *sources: Repository) -> None:
        self.sources = sources
        self._stack = AsyncExitStack()

    @override
    def source_states(self) -> tuple[SourceState, ...]:
        return tuple(state for source in self.sources for state in source.source_states())

    @override
    async def _open(self) -> None:
        async with AsyncExitStack() as stack:
            for source in self.sources:
                await stack.enter_async_context(source)
            self._stack = stack.pop_all()

    @override
    async def _close(self) -> None:
        await self._stack.aclose()


class RepositoryContainer(RepositoryGroup):
    """A repository around another one, to which it passes everything on.

    Subclass it and override what changes; say for each of the three methods what you intend, as a
    rule that holds for pages but not for files is a hole.
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
