"""What users may write, as the type checkers see it. Checked, never run."""

import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import assert_type

from fastapi import APIRouter, FastAPI
from typing_extensions import override

from simple_repository_server import (
    NO_CONTEXT,
    AllowListRepository,
    Body,
    ByteRange,
    BytesResource,
    CachePolicy,
    Credentials,
    DenyListRepository,
    DigestStore,
    Egress,
    Emit,
    Event,
    File,
    FileName,
    FilesMode,
    HttpRepository,
    Limits,
    LocalRepository,
    MemoryRepository,
    MergedRepository,
    MetadataInjectorRepository,
    PathResource,
    PrioritySelectedProjectsRepository,
    ProjectList,
    ProjectName,
    ProjectNotFound,
    ProjectPage,
    ProjectStatus,
    Repository,
    RepositoryContainer,
    RepositoryError,
    RequestContext,
    Resource,
    ResourceNotFound,
    SnapshotMemo,
    SourceState,
    SourceUnavailable,
    Status,
    build_router,
    create_app,
    egress_from,
    log_to,
    netrc_credentials,
    versions_of,
)
from simple_repository_server.testing import (
    Built,
    Known,
    Reply,
    Upstream,
    build_sdist,
    build_wheel,
    conformance,
    publish_json,
)


class Own(RepositoryContainer):
    """A component overrides what it changes, with the types of the interface."""

    @override
    async def get_project_page(
        self, project: ProjectName, *, context: RequestContext = NO_CONTEXT
    ) -> ProjectPage:
        assert_type(context.header("User-Agent"), str)
        assert_type(context.headers, Mapping[bytes, bytes])
        assert_type(context.state, Mapping[str, object])
        assert_type(context.revalidate, bool)
        return await self.source.get_project_page(project, context=context)


class Remembering(RepositoryContainer):
    """A component makes each page once, for lists and pages alike."""

    def __init__(self, source: Repository) -> None:
        super().__init__(source)
        self._pages = SnapshotMemo(cut)
        self._lists: SnapshotMemo[ProjectList] = SnapshotMemo(lambda found: found)

    @override
    async def get_project_list(self, *, context: RequestContext = NO_CONTEXT) -> ProjectList:
        return self._lists(await self.source.get_project_list(context=context))

    @override
    def peek_project_page(
        self, project: ProjectName, *, context: RequestContext = NO_CONTEXT
    ) -> ProjectPage | None:
        page = self.source.peek_project_page(project, context=context)
        return None if page is None else self._pages.peek(page)


def cut(page: ProjectPage) -> ProjectPage:
    """A page is made of the model."""
    if page.status is not None and page.status.status is Status.QUARANTINED:
        raise ProjectNotFound(page.name)
    files: tuple[File, ...] = tuple(file for file in page.files if file.is_wheel)
    if not files:
        raise ResourceNotFound(page.name, "any wheel")
    names = [file.filename for file in files]
    return ProjectPage(
        name=page.name,
        files=files,
        versions=versions_of(names, page.name),
        status=ProjectStatus(Status.ARCHIVED, "old"),
        freshness=page.freshness,
    )


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


class OwnSource(Repository):
    """A source implements the three coroutines, and reports its state."""

    @override
    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        async with super().lifespan():
            yield

    @override
    async def get_project_list(self, *, context: RequestContext = NO_CONTEXT) -> ProjectList:
        return ProjectList(names=(ProjectName("mine"),))

    @override
    async def get_project_page(
        self, project: ProjectName, *, context: RequestContext = NO_CONTEXT
    ) -> ProjectPage:
        return ProjectPage(name=project, files=())

    @override
    async def get_resource(
        self, project: ProjectName, filename: FileName, *, context: RequestContext = NO_CONTEXT
    ) -> Resource:
        if filename.endswith(".whl"):
            return PathResource(Path("a.whl"), size=1, mtime_ns=0)
        try:
            return BytesResource(b"", sha256="0" * 64)
        except RepositoryError as error:
            raise SourceUnavailable("mine", str(error), retry_after_s=5) from error

    @override
    def source_states(self) -> tuple[SourceState, ...]:
        return (SourceState(label="mine", kind="own", available=True),)


def listen(event: Event) -> None:
    """An event listener is a function."""
    print(event.text())


async def use() -> AsyncIterator[object]:
    """Components nest, and answer with the types of the model."""
    sources: list[Repository] = [
        LocalRepository("packages", emit=listen),
        Peeking(MemoryRepository()),
        LocalRepository(Path("packages"), digests=DigestStore(Path("digests.sqlite"))),
        HttpRepository(
            "https://index.example/simple/",
            forbidden_means_absent=True,
            limits=Limits(idle_s=5),
            policy=CachePolicy(offline=True),
            credentials=Credentials(("https", "index.example", 443), "user", "password"),
            emit=log_to(logging.getLogger("index")),
        ),
        HttpRepository(
            "https://other.example/simple/",
            credentials=netrc_credentials(Path("netrc"), "https://other.example/simple/"),
            egress=egress_from({}, proxy="http://proxy.example:3128", ca_file=Path("ca.pem")),
        ),
        HttpRepository("https://third.example/simple/", egress=Egress()),
        OwnSource(),
        Remembering(MemoryRepository()),
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
    emit: Emit = listen
    assert_type(create_app(some, emit=emit), FastAPI)


async def test() -> None:
    """Tests have an index to ask, distributions to publish, and the promises as checks."""
    built = [build_wheel("demo", "1.0"), build_sdist("demo", "1.0")]
    assert_type(built[0], Built)
    with Upstream() as upstream:
        publish_json(upstream, built)
        upstream.on("/simple/other/", Reply(status=500))
        async with HttpRepository(upstream.simple) as repository:
            for check in conformance.CHECKS:
                await check(repository, Known(project=ProjectName("demo")))
