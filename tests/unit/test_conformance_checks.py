"""The conformance checks fail for components that break a promise."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest
from typing_extensions import override

from simple_repository_server import (
    NO_CONTEXT,
    FileName,
    MemoryRepository,
    ProjectList,
    ProjectName,
    ProjectNotFound,
    ProjectPage,
    Repository,
    RepositoryContainer,
    RequestContext,
    Resource,
    SourceState,
    SourceUnavailable,
)
from simple_repository_server.testing import Known, build_wheel, conformance
from simple_repository_server.testing.conformance import Wrap

pytestmark = pytest.mark.anyio
KNOWN = Known(project=ProjectName("demo"))


def _source() -> MemoryRepository:
    built = build_wheel("demo", "1.0")
    source = MemoryRepository()
    source.add(built.filename, built.content, metadata=built.metadata)
    return source


class OpensOnce(RepositoryContainer):
    """Cannot be opened again."""

    used = False

    @override
    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        async with super().lifespan():
            assert not self.used, "it was opened before"
            self.used = True
            yield


class CopiesPages(RepositoryContainer):
    """Returns an equal page that is another object."""

    @override
    async def get_project_page(
        self, project: ProjectName, *, context: RequestContext = NO_CONTEXT
    ) -> ProjectPage:
        page = await super().get_project_page(project, context=context)
        return msgspec.structs.replace(page)


class IgnoresCase(RepositoryContainer):
    """Serves files under names that are not on the page."""

    @override
    async def get_resource(
        self, project: ProjectName, filename: FileName, *, context: RequestContext = NO_CONTEXT
    ) -> Resource:
        return await super().get_resource(project, FileName(filename.lower()), context=context)


class RenamesItself(RepositoryContainer):
    """Reports another state each time."""

    reports = 0

    @override
    def source_states(self) -> tuple[SourceState, ...]:
        self.reports += 1
        return (SourceState(label=f"report {self.reports}", kind="own", available=True),)


class DropsContext(RepositoryContainer):
    """Looks up pages without the context of the request."""

    @override
    async def get_project_page(
        self, project: ProjectName, *, context: RequestContext = NO_CONTEXT
    ) -> ProjectPage:
        return await self.source.get_project_page(project)


class TakesOutageForAbsence(RepositoryContainer):
    """Reports a project as absent if its source fails."""

    @override
    async def get_project_page(
        self, project: ProjectName, *, context: RequestContext = NO_CONTEXT
    ) -> ProjectPage:
        try:
            return await self.source.get_project_page(project, context=context)
        except SourceUnavailable as error:
            raise ProjectNotFound(project) from error


class ReportsNoStates(RepositoryContainer):
    """Hides the states of its source."""

    @override
    def source_states(self) -> tuple[SourceState, ...]:
        return ()


class PeeksAnotherList(RepositoryContainer):
    """Peeks a list that its coroutine does not return."""

    @override
    def peek_project_list(self, *, context: RequestContext = NO_CONTEXT) -> ProjectList | None:
        return ProjectList(names=())


@pytest.mark.parametrize(
    ("broken", "check"),
    [
        (OpensOnce, "closed_and_opened_again"),
        (CopiesPages, "unchanged_is_identical"),
        (IgnoresCase, "other_spellings_are_absent"),
        (RenamesItself, "states_are_stable"),
        (PeeksAnotherList, "peek_is_what_the_coroutine_returns"),
    ],
)
async def test_check_fails_for_a_broken_repository(
    broken: type[RepositoryContainer], check: str
) -> None:
    """Each defect is found by its check, and the component without it passes."""
    checks = {one.__name__: one for one in conformance.CHECKS}
    async with RepositoryContainer(_source()) as sound:
        await checks[check](sound, KNOWN)
    repository: Repository = broken(_source())
    await repository.__aenter__()
    with pytest.raises(AssertionError):
        await checks[check](repository, KNOWN)


@pytest.mark.parametrize(
    ("broken", "check"),
    [
        (DropsContext, "context_is_passed_on"),
        (TakesOutageForAbsence, "outage_is_not_absence"),
        (ReportsNoStates, "source_states_are_reported"),
    ],
)
async def test_check_fails_for_a_broken_wrapper(broken: Wrap, check: str) -> None:
    """Each defect of a wrapper is found by its check, and the wrapper without it passes."""
    checks = {one.__name__: one for one in conformance.WRAPPER_CHECKS}
    await checks[check](RepositoryContainer)
    with pytest.raises(AssertionError):
        await checks[check](broken)
