"""What is known of a request reaches every component, whichever way it is asked."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, Request
from typing_extensions import override

from simple_repository_server import (
    AllowListRepository,
    CacheFolder,
    DenyListRepository,
    FileCache,
    FileCacheRepository,
    FileName,
    MemoryRepository,
    MergedRepository,
    MetadataInjectorRepository,
    PrioritySelectedProjectsRepository,
    ProjectList,
    ProjectName,
    ProjectPage,
    Repository,
    RepositoryContainer,
    RequestContext,
    Resource,
    build_router,
    create_app,
)
from simple_repository_server.model import NO_CONTEXT
from simple_repository_server.testing import build_wheel
from simple_repository_server.web.index import IndexApp
from tests.asgi import ask, running
from tests.web.lane import ask as ask_server
from tests.web.lane import get, on_socket

pytestmark = pytest.mark.anyio
WHEEL = build_wheel("demo")
DEMO, NAME = ProjectName("demo"), FileName(WHEEL.filename)
METADATA = FileName(f"{NAME}.metadata")
TARGETS = ["/simple/", "/simple/demo/", f"/resources/demo/{NAME}", f"/resources/demo/{METADATA}"]


class Recording(MemoryRepository):
    """Remembers what it was asked, and in which context."""

    def __init__(self) -> None:
        super().__init__()
        self.add(WHEEL.filename, WHEEL.content)
        self.asked: list[tuple[str, RequestContext]] = []

    @override
    async def get_project_list(self, *, context: RequestContext = NO_CONTEXT) -> ProjectList:
        self.asked.append(("list", context))
        return await super().get_project_list(context=context)

    @override
    async def get_project_page(
        self, project: ProjectName, *, context: RequestContext = NO_CONTEXT
    ) -> ProjectPage:
        self.asked.append(("page", context))
        return await super().get_project_page(project, context=context)

    @override
    async def get_resource(
        self, project: ProjectName, filename: FileName, *, context: RequestContext = NO_CONTEXT
    ) -> Resource:
        self.asked.append(("resource", context))
        return await super().get_resource(project, filename, context=context)

    @override
    def peek_project_list(self, *, context: RequestContext = NO_CONTEXT) -> ProjectList | None:
        self.asked.append(("peek list", context))
        return super().peek_project_list(context=context)

    @override
    def peek_project_page(
        self, project: ProjectName, *, context: RequestContext = NO_CONTEXT
    ) -> ProjectPage | None:
        self.asked.append(("peek page", context))
        return super().peek_project_page(project, context=context)

    @override
    def peek_resource(
        self, project: ProjectName, filename: FileName, *, context: RequestContext = NO_CONTEXT
    ) -> Resource | None:
        self.asked.append(("peek resource", context))
        return super().peek_resource(project, filename, context=context)


def _cached(source: Repository, folder: Path) -> Repository:
    return FileCacheRepository(source, FileCache(CacheFolder(folder / "cache")))


AROUND: dict[str, Callable[[Repository, Path], Repository]] = {
    "container": lambda source, _: RepositoryContainer(source),
    "allow": lambda source, _: AllowListRepository(source, allowed=[DEMO]),
    "deny": lambda source, _: DenyListRepository(source, denied=["other"]),
    "metadata": lambda source, _: MetadataInjectorRepository(source),
    "file cache": _cached,
    "priority": lambda source, _: PrioritySelectedProjectsRepository([MemoryRepository(), source]),
    "merged": lambda source, _: MergedRepository([source, MemoryRepository()]),
}


@pytest.mark.parametrize("around", AROUND)
async def test_every_component_hands_its_context_on(tmp_path: Path, around: str) -> None:
    """By coroutine and by peek, the source is asked in the very context the request came with."""
    source = Recording()
    context = RequestContext(headers={b"x-user": b"jane"})
    async with AROUND[around](source, tmp_path) as repository:
        await repository.get_project_list(context=context)
        await repository.get_project_page(DEMO, context=context)
        await repository.get_resource(DEMO, NAME, context=context)
        repository.peek_project_list(context=context)
        repository.peek_project_page(DEMO, context=context)
        repository.peek_resource(DEMO, NAME, context=context)
        if around == "metadata":
            await repository.get_resource(DEMO, METADATA, context=context)
            repository.peek_resource(DEMO, METADATA, context=context)
    assert {"list", "page", "resource"} <= {what for what, _ in source.asked}
    if around != "container":  # which must not go around the rules of what subclasses it
        assert {"peek list", "peek page"} <= {what for what, _ in source.asked}
    assert all(given is context for _, given in source.asked)


async def _ask_all(app: Any) -> None:
    for target in TARGETS:
        response = await ask(app, target, headers={"X-User": "jane"})
        assert response.status == 200, (target, response.text)


def _of(source: Recording) -> set[tuple[str, bool]]:
    return {(context.header("X-User"), context.revalidate) for _, context in source.asked}


@pytest.mark.parametrize("factory", [False, True])
async def test_pages_and_files_are_asked_for_with_the_request(factory: bool) -> None:
    """Whichever application serves it: pages, files and metadata come with the header fields."""
    source = Recording()
    repository = MetadataInjectorRepository(source)
    if factory:
        app = FastAPI()
        app.include_router(build_router(repository, repository_factory=lambda: repository))
    else:
        app = create_app(repository)
    async with running(app) as served:
        await _ask_all(served)
    assert _of(source) == {("jane", False)}
    assert {"list", "page", "resource"} <= {what for what, _ in source.asked}


async def test_what_middleware_notes_reaches_components() -> None:
    """`request.state` of Starlette is the context's state."""
    source = Recording()
    app = create_app(source)

    @app.middleware("http")
    async def who(request: Request, call_next: Any) -> Any:
        request.state.user = "jane"
        return await call_next(request)

    async with running(app) as served:
        assert (await ask(served, "/simple/demo/")).status == 200
    assert [context.state.get("user") for what, context in source.asked if what == "page"] == [
        "jane"
    ]


async def test_in_the_command_peeks_are_asked_with_the_same_request() -> None:
    """The fast lane and the ordinary way say the same of the request, also the next time."""
    source = Recording()
    async with (
        MetadataInjectorRepository(source) as repository,
        on_socket(IndexApp(repository)) as server,
    ):
        for user in ("jane", "joe", "jane"):
            for lines in ((), ("Cache-Control: no-cache",)):
                source.asked.clear()
                requests = [get(target, f"X-User: {user}", *lines) for target in TARGETS]
                answers = await ask_server(server.port, *requests)
                assert [answer.status for answer in answers] == [200] * len(TARGETS)
                assert _of(source) == {(user, bool(lines))}
        assert server.fast > 0
