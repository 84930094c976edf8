"""What a component must implement, and what it inherits."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from typing_extensions import override

from simple_repository_server import (
    NO_CONTEXT,
    Body,
    BytesResource,
    FileName,
    ProjectList,
    ProjectName,
    ProjectPage,
    Repository,
    RepositoryContainer,
    RequestContext,
    Resource,
)

pytestmark = pytest.mark.anyio
METHODS = ("get_project_list", "get_project_page", "get_resource")


class Complete(Repository):
    """The three coroutines and nothing else."""

    @override
    async def get_project_list(self, *, context: RequestContext = NO_CONTEXT) -> ProjectList:
        return ProjectList(names=(ProjectName("demo"),))

    @override
    async def get_project_page(
        self, project: ProjectName, *, context: RequestContext = NO_CONTEXT
    ) -> ProjectPage:
        return ProjectPage(name=project, files=())

    @override
    async def get_resource(
        self, project: ProjectName, filename: FileName, *, context: RequestContext = NO_CONTEXT
    ) -> Resource:
        return BytesResource(b"")


@pytest.mark.parametrize("missing", METHODS)
def test_an_incomplete_repository_cannot_be_instantiated(missing: str) -> None:
    """A component that lacks one of the three coroutines is refused with the method's name."""
    namespace = {name: vars(Complete)[name] for name in METHODS if name != missing}
    incomplete: Any = type("Incomplete", (Repository,), namespace)
    with pytest.raises(TypeError, match=rf"Incomplete.*{missing}"):
        incomplete()


def test_an_incomplete_resource_cannot_be_instantiated() -> None:
    """A resource that cannot be opened is refused with the method's name."""
    incomplete: Any = type("Incomplete", (Resource,), {})
    with pytest.raises(TypeError, match=r"Incomplete.*open"):
        incomplete()


async def test_three_coroutines_are_a_complete_repository() -> None:
    """Lifespan, peeks and source states have defaults."""
    async with Complete() as repository:
        page = await repository.get_project_page(ProjectName("demo"))
        assert repository.peek_project_list() is None
        assert repository.peek_project_page(page.name) is None
        assert repository.peek_resource(page.name, FileName("demo-1.0.tar.gz")) is None
        assert repository.source_states() == ()


async def test_a_container_is_concrete_and_opens_its_source() -> None:
    """A container without any override delegates, and its lifespan includes its source's."""
    events = []

    class Opened(Complete):
        @override
        @asynccontextmanager
        async def lifespan(self) -> AsyncIterator[None]:
            async with super().lifespan():
                events.append("open")
                yield
                events.append("close")

    async with RepositoryContainer(RepositoryContainer(Opened())) as repository:
        assert (await repository.get_project_list()).names == (ProjectName("demo"),)
        assert events == ["open"]
    assert events == ["open", "close"]


async def test_the_default_raw_body_is_the_verified_one() -> None:
    """A resource that only implements `open` can be transferred raw, from its beginning."""

    class Own(Resource):
        @override
        @asynccontextmanager
        async def open(self, byte_range: object = None) -> AsyncIterator[Body]:
            async with BytesResource(b"content").open() as body:
                yield body

    async with Own().open_raw(3) as body:
        assert (body.start, b"".join([chunk async for chunk in body.chunks])) == (0, b"content")
