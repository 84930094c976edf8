"""Checks of a component around another one: what it passes on, and what it must not hide.

A check is a coroutine function of a `Wrap`, which makes the component around a given repository.
That has one project, `demo`, with a wheel and its metadata, which the component must not hide.
"""

from collections.abc import Awaitable, Callable

from typing_extensions import override

from simple_repository_server.errors import NotFound, SourceUnavailable
from simple_repository_server.model import (
    NO_CONTEXT,
    ProjectList,
    ProjectPage,
    RequestContext,
)
from simple_repository_server.names import FileName, ProjectName
from simple_repository_server.repository import Repository, RepositoryContainer
from simple_repository_server.resource import Resource
from simple_repository_server.sources.memory import MemoryRepository
from simple_repository_server.testing.distributions import build_wheel
from simple_repository_server.testing.lookups import Lookup, lookups_of_file

Wrap = Callable[[Repository], Repository]
WrapperCheck = Callable[[Wrap], Awaitable[None]]

_DEMO = ProjectName("demo")
_WHEEL = build_wheel("demo", "1.0")
_NAME = FileName(_WHEEL.filename)


class Recording(RepositoryContainer):
    """A repository around another one that records each lookup and its context."""

    def __init__(self, source: Repository) -> None:
        super().__init__(source)
        self.lookups: list[tuple[str, RequestContext]] = []

    @override
    async def get_project_list(self, *, context: RequestContext = NO_CONTEXT) -> ProjectList:
        self.lookups.append(("list", context))
        return await self.source.get_project_list(context=context)

    @override
    async def get_project_page(
        self, project: ProjectName, *, context: RequestContext = NO_CONTEXT
    ) -> ProjectPage:
        self.lookups.append(("page", context))
        return await self.source.get_project_page(project, context=context)

    @override
    async def get_resource(
        self, project: ProjectName, filename: FileName, *, context: RequestContext = NO_CONTEXT
    ) -> Resource:
        self.lookups.append(("resource", context))
        return await self.source.get_resource(project, filename, context=context)

    @override
    def peek_project_list(self, *, context: RequestContext = NO_CONTEXT) -> ProjectList | None:
        self.lookups.append(("peek list", context))
        return self.source.peek_project_list(context=context)

    @override
    def peek_project_page(
        self, project: ProjectName, *, context: RequestContext = NO_CONTEXT
    ) -> ProjectPage | None:
        self.lookups.append(("peek page", context))
        return self.source.peek_project_page(project, context=context)

    @override
    def peek_resource(
        self, project: ProjectName, filename: FileName, *, context: RequestContext = NO_CONTEXT
    ) -> Resource | None:
        self.lookups.append(("peek resource", context))
        return self.source.peek_resource(project, filename, context=context)


class Unavailable(RepositoryContainer):
    """A source whose pages and files cannot be had."""

    @override
    async def get_project_page(
        self, project: ProjectName, *, context: RequestContext = NO_CONTEXT
    ) -> ProjectPage:
        raise SourceUnavailable("the source", "it is down")

    @override
    async def get_resource(
        self, project: ProjectName, filename: FileName, *, context: RequestContext = NO_CONTEXT
    ) -> Resource:
        raise SourceUnavailable("the source", "it is down")


async def context_is_passed_on(wrap: Wrap) -> None:
    """By coroutine and by peek, the source gets the very context object of each lookup."""
    source = Recording(_source())
    async with wrap(source) as repository:
        for lookup in [Lookup(repository), *_lookups(repository)]:
            context = RequestContext(headers={b"x-user": b"jane"}, state={"lookup": str(lookup)})
            source.lookups.clear()
            given = Lookup(repository, lookup.project, lookup.filename, context)
            assert not isinstance(await given.get(), NotFound), f"{lookup} exists"
            given.peek()
            for kind, received in source.lookups:
                assert received is context, f"{lookup}: the {kind} gets the context of the request"
            assert source.lookups or lookup.filename, f"{lookup}: the source is queried"


async def outage_is_not_absence(wrap: Wrap) -> None:
    """While the source fails, page, file and metadata raise `SourceUnavailable`."""
    async with wrap(Unavailable(_source())) as repository:
        for lookup in _lookups(repository):
            try:
                answer = await lookup.get()
            except SourceUnavailable:
                pass
            else:
                raise AssertionError(f"{lookup}: SourceUnavailable is raised, not {answer!r}")
            peeked = lookup.peek()
            assert peeked is None, f"{lookup}: a peek knows nothing, not {peeked!r}"


async def source_states_are_reported(wrap: Wrap) -> None:
    """The states of the source are among those of the component."""
    source = MemoryRepository(label="the source that is wrapped")
    async with wrap(source) as repository:
        reported = repository.source_states()
        assert set(source.source_states()) <= set(reported), "its source's state is reported"


WRAPPER_CHECKS: tuple[WrapperCheck, ...] = (
    context_is_passed_on,
    outage_is_not_absence,
    source_states_are_reported,
)


def _source() -> MemoryRepository:
    source = MemoryRepository()
    source.add(_WHEEL.filename, _WHEEL.content, metadata=_WHEEL.metadata)
    return source


def _lookups(repository: Repository) -> list[Lookup]:
    return [Lookup(repository, _DEMO), *lookups_of_file(repository, _DEMO, _NAME)]
