"""A peek is inherited only together with the coroutine it mirrors."""

import pytest
from typing_extensions import override

from simple_repository_server import (
    DenyListRepository,
    FileName,
    LocalRepository,
    MemoryRepository,
    MetadataInjectorRepository,
    ProjectName,
    Repository,
    RepositoryContainer,
)
from simple_repository_server.errors import ProjectNotFound
from simple_repository_server.model import NO_CONTEXT, ProjectPage, RequestContext

FOO = ProjectName("foo")


class Hiding:
    """A rule to be mixed in: there is no page of any project."""

    async def get_project_page(
        self, project: ProjectName, *, context: RequestContext = NO_CONTEXT
    ) -> ProjectPage:
        raise ProjectNotFound(project)


class HidingDeny(DenyListRepository):
    @override
    async def get_project_page(
        self, project: ProjectName, *, context: RequestContext = NO_CONTEXT
    ) -> ProjectPage:
        raise ProjectNotFound(project)


class HidingLocal(LocalRepository):
    @override
    async def get_project_page(
        self, project: ProjectName, *, context: RequestContext = NO_CONTEXT
    ) -> ProjectPage:
        raise ProjectNotFound(project)


class HidingContainer(RepositoryContainer):
    @override
    async def get_project_page(
        self, project: ProjectName, *, context: RequestContext = NO_CONTEXT
    ) -> ProjectPage:
        raise ProjectNotFound(project)


class MixedIn(Hiding, MemoryRepository):
    """A class that is no repository overrides the coroutine of one."""


class BelowHiding(HidingDeny):
    """A subclass of one that lost its peek does not find it again."""


class BesideHiding(HidingContainer, MetadataInjectorRepository):
    """Nor does one that has another repository as a base."""


class PeekMixedIn:
    """A peek for who knows which coroutine."""

    def peek_project_page(
        self, project: ProjectName, *, context: RequestContext = NO_CONTEXT
    ) -> ProjectPage | None:
        raise AssertionError


class WithForeignPeek(PeekMixedIn, HidingDeny):
    """A peek that was written beside the coroutine, not for it."""


@pytest.mark.parametrize(
    "kind",
    [
        HidingDeny,
        HidingLocal,
        HidingContainer,
        MixedIn,
        BelowHiding,
        BesideHiding,
        WithForeignPeek,
        RepositoryContainer,
    ],
)
def test_a_coroutine_overridden_alone_takes_its_peek_back(kind: type[Repository]) -> None:
    """Where a class overrides a coroutine and not its peek, the peek says nothing again."""
    assert kind.peek_project_page is Repository.peek_project_page


@pytest.mark.parametrize("kind", [HidingDeny, HidingLocal, MixedIn, BelowHiding])
def test_the_other_peeks_stay(kind: type[Repository]) -> None:
    """The peeks of coroutines that are inherited as they are, are inherited, too."""
    assert kind.peek_project_list is not Repository.peek_project_list
    assert kind.peek_resource is not Repository.peek_resource


def test_a_peek_written_for_it_stays() -> None:
    """A class that overrides both, or the peek alone, has the peek it says, and so below it."""

    class Both(HidingDeny):
        @override
        async def get_project_page(
            self, project: ProjectName, *, context: RequestContext = NO_CONTEXT
        ) -> ProjectPage:
            return await self.source.get_project_page(project, context=context)

        @override
        def peek_project_page(
            self, project: ProjectName, *, context: RequestContext = NO_CONTEXT
        ) -> ProjectPage | None:
            return self.source.peek_project_page(project, context=context)

    class Below(Both):
        pass

    class PeekOnly(LocalRepository):
        @override
        def peek_project_page(
            self, project: ProjectName, *, context: RequestContext = NO_CONTEXT
        ) -> ProjectPage | None:
            return None

    assert Below.peek_project_page is Both.peek_project_page
    assert PeekOnly.peek_project_page is not Repository.peek_project_page
    memory = MemoryRepository()
    memory.add("foo-1.tar.gz", b"1")
    assert Below(memory, denied=[]).peek_project_page(FOO) is memory.peek_project_page(FOO)


def test_a_rule_that_knows_no_peeks_is_not_passed_by() -> None:
    """Ours around a component that overrides a coroutine alone do not look behind it."""
    memory = MemoryRepository()
    memory.add("foo-1-py3-none-any.whl", b"1", metadata=b"Metadata-Version: 2.1\n")
    hiding = MetadataInjectorRepository(HidingContainer(memory))
    assert memory.peek_project_page(FOO) is not None
    assert hiding.peek_project_page(FOO) is None
    for name in ("foo-1-py3-none-any.whl", "foo-1-py3-none-any.whl.metadata"):
        assert hiding.peek_resource(FOO, FileName(name)) is None
