"""The context of a request reaches the components, whichever application serves it."""

from typing import Any

import pytest
from fastapi import FastAPI, Request

from simple_repository_server import (
    FileName,
    MemoryRepository,
    MetadataInjectorRepository,
    build_router,
    create_app,
)
from simple_repository_server.testing import build_wheel
from simple_repository_server.testing.conformance import Recording
from simple_repository_server.web.index import IndexApp
from tests.asgi import ask, running
from tests.web.lane import ask as ask_server
from tests.web.lane import get, on_socket

pytestmark = pytest.mark.anyio
WHEEL = build_wheel("demo")
NAME = FileName(WHEEL.filename)
TARGETS = [
    "/simple/",
    "/simple/demo/",
    f"/resources/demo/{NAME}",
    f"/resources/demo/{NAME.metadata}",
]


def _recording() -> Recording:
    source = MemoryRepository()
    source.add(WHEEL.filename, WHEEL.content)
    return Recording(source)


async def _ask_all(app: Any) -> None:
    for target in TARGETS:
        response = await ask(app, target, headers={"X-User": "jane"})
        assert response.status == 200, (target, response.text)


def _of(source: Recording) -> set[tuple[str, bool]]:
    return {(context.header("X-User"), context.revalidate) for _, context in source.lookups}


@pytest.mark.parametrize("factory", [False, True])
async def test_components_get_the_headers_of_the_request(factory: bool) -> None:
    """Pages, files and metadata are looked up with the header fields of the request."""
    source = _recording()
    repository = MetadataInjectorRepository(source)
    if factory:
        app = FastAPI()
        app.include_router(build_router(repository, repository_factory=lambda: repository))
    else:
        app = create_app(repository)
    async with running(app) as served:
        await _ask_all(served)
    assert _of(source) == {("jane", False)}
    assert {"list", "page", "resource"} <= {what for what, _ in source.lookups}


async def test_components_get_the_state_that_middleware_sets() -> None:
    """Starlette's `request.state` is the `state` of the context."""
    source = _recording()
    app = create_app(source)

    @app.middleware("http")
    async def who(request: Request, call_next: Any) -> Any:
        request.state.user = "jane"
        return await call_next(request)

    async with running(app) as served:
        assert (await ask(served, "/simple/demo/")).status == 200
    assert [context.state.get("user") for what, context in source.lookups if what == "page"] == [
        "jane"
    ]


async def test_fast_lane_passes_the_same_context_as_coroutines() -> None:
    """The fast lane and the ordinary way pass equal contexts, also for a repeated request."""
    source = _recording()
    async with (
        MetadataInjectorRepository(source) as repository,
        on_socket(IndexApp(repository)) as server,
    ):
        for user in ("jane", "joe", "jane"):
            for lines in ((), ("Cache-Control: no-cache",)):
                source.lookups.clear()
                requests = [get(target, f"X-User: {user}", *lines) for target in TARGETS]
                answers = await ask_server(server.port, *requests)
                assert [answer.status for answer in answers] == [200] * len(TARGETS)
                assert _of(source) == {(user, bool(lines))}
        assert server.fast > 0
