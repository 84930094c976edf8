"""What users may write, as the type checkers see it. Checked, never run."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import assert_type

from fastapi import APIRouter, FastAPI
from typing_extensions import override

from simple_repository_server import (
    AllowListRepository,
    DenyListRepository,
    FileName,
    FilesMode,
    HttpRepository,
    LocalRepository,
    MemoryRepository,
    MergedRepository,
    MetadataInjectorRepository,
    PrioritySelectedProjectsRepository,
    ProjectName,
    Repository,
    RepositoryContainer,
    build_router,
    create_app,
)
from simple_repository_server.model import ProjectList, ProjectPage, RequestContext
from simple_repository_server.observe.events import Event
from simple_repository_server.resource import Body, ByteRange, Resource


class Own(RepositoryContainer):
    """A component overrides what it changes, with the types of the interface."""

    @override
    async def get_project_page(
        self, project: ProjectName, *, context: RequestContext = RequestContext()
    ) -> ProjectPage:
        return await self.source.get_project_page(project, context=context)


class Peeking(RepositoryContainer):
    """A component may answer without waiting, too."""

    @override
    def peek_project_page(
        self, project: ProjectName, *, context: RequestContext = RequestContext()
    ) -> ProjectPage | None:
        return self.source.peek_project_page(project, context=context)


class OwnResource(Resource):
    """A resource opens itself."""

    @override
    def open(self, byte_range: ByteRange | None = None) -> AbstractAsyncContextManager[Body]:
        raise NotImplementedError


def listen(event: Event) -> None:
    """An event listener is a function."""
    print(event.text())


async def use() -> AsyncIterator[object]:
    """Components nest, and answer with the types of the model."""
    sources: list[Repository] = [
        LocalRepository("packages", emit=listen),
        Peeking(MemoryRepository()),
        LocalRepository(Path("packages")),
        HttpRepository("https://index.example/simple/", forbidden_means_absent=True),
        MemoryRepository(),
    ]
    both = PrioritySelectedProjectsRepository(sources)
    all_of_them = MergedRepository([both, DenyListRepository(both, denied=["a"])])
    some = MetadataInjectorRepository(AllowListRepository(Own(all_of_them), allowed={"b"}))
    async with some as opened:
        assert_type(opened, MetadataInjectorRepository)
        assert_type(await some.get_project_list(), ProjectList)
        page = await some.get_project_page(ProjectName("b"))
        assert_type(page, ProjectPage)
        resource = await some.get_resource(page.name, FileName("b-1.0.tar.gz"))
        assert_type(resource, Resource)
        assert_type(some.peek_project_list(), ProjectList | None)
        assert_type(some.peek_project_page(ProjectName("b")), ProjectPage | None)
        assert_type(some.peek_resource(page.name, FileName("b-1.0.tar.gz")), Resource | None)
        async with resource.open(ByteRange(0, 10)) as body:
            async for chunk in body.chunks:
                assert_type(chunk, bytes)
                yield chunk
    assert_type(create_app(some, files=FilesMode.STREAM, emit=listen), FastAPI)
    assert_type(build_router(some, prefix="/a/simple/"), APIRouter)
    assert_type(build_router(repository_factory=lambda: some), APIRouter)
