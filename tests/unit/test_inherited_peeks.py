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
def test_overriding_a_coroutine_alone_resets_its_peek(kind: type[Repository]) -> None:
    """If a class overrides a coroutine but not its peek, the peek returns None."""
    assert kind.peek_project_page is Repository.peek_project_page


@pytest.mark.parametrize("kind", [HidingDeny, HidingLocal, MixedIn, BelowHiding])
def test_peeks_of_inherited_coroutines_are_inherited(kind: type[Repository]) -> None:
    """A coroutine that is not overridden is inherited with its peek."""
    assert kind.peek_project_list is not Repository.peek_project_list
    assert kind.peek_resource is not Repository.peek_resource


def test_peek_overridden_with_its_coroutine_is_inherited() -> None:
    """A class that overrides both, or only the peek, and its subclasses have that peek."""

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


def test_rule_without_peeks_is_not_bypassed() -> None:
    """Wrappers around a component that overrides only a coroutine do not bypass it."""
    memory = MemoryRepository()
    memory.add("foo-1-py3-none-any.whl", b"1", metadata=b"Metadata-Version: 2.1\n")
    hiding = MetadataInjectorRepository(HidingContainer(memory))
    assert memory.peek_project_page(FOO) is not None
    assert hiding.peek_project_page(FOO) is None
    for name in ("foo-1-py3-none-any.whl", "foo-1-py3-none-any.whl.metadata"):
        assert hiding.peek_resource(FOO, FileName(name)) is None
