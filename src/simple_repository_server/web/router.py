"""The routes of one index, for any FastAPI application: `build_router`."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from types import MappingProxyType
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends
from starlette.responses import Response
from starlette.routing import Route as StarletteRoute
from typing_extensions import override

from simple_repository_server.model import FilesMode
from simple_repository_server.observe.events import Emit, ignore
from simple_repository_server.repository import Repository
from simple_repository_server.web.endpoint import Endpoint, PathNames, answer
from simple_repository_server.web.exchange import (
    DEFAULT_SEND_TIMEOUT_S,
    Exchange,
    Receive,
    Scope,
    Send,
)
from simple_repository_server.web.render import DEFAULT_MEMORY_BYTES
from simple_repository_server.web.routes import (
    AnswerMemory,
    AnswerOptions,
    Route,
    has_files_beside,
    index_routes,
)
from simple_repository_server.web.served import prefix_of

RepositoryFactory = Callable[..., Repository | Awaitable[Repository]]
#: The endpoints reject all but GET and HEAD themselves, with a problem.
_ALL_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


class _AsgiEndpoint(msgspec.Struct, frozen=True):
    """An endpoint of one repository as a plain ASGI application."""

    endpoint: Endpoint
    repository: Repository
    send_timeout_s: float
    emit: Emit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = scope["path_params"]
        names = PathNames(found.get("project", ""), found.get("file", ""))
        exchange = Exchange(scope, receive, send, send_timeout_s=self.send_timeout_s)
        await answer(exchange, self.emit, self.endpoint, self.repository, names)


class _EndpointResponse(Response):
    """What a FastAPI route returns to have an endpoint answer in its place."""

    def __init__(self, app: _AsgiEndpoint) -> None:
        super().__init__()
        self._app = app

    @override
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self._app(scope, receive, send)


def build_router(
    repository: Repository | None = None,
    *,
    prefix: str = "/simple/",
    indexes: Mapping[str, Repository] = MappingProxyType({}),
    repository_factory: RepositoryFactory | None = None,
    files: FilesMode = FilesMode.REDIRECT,
    memory_bytes: int = DEFAULT_MEMORY_BYTES,
    send_timeout_s: float = DEFAULT_SEND_TIMEOUT_S,
    debug_headers: bool = False,
    emit: Emit = ignore,
) -> APIRouter:
    """The routes of an index, for `app.include_router`.

    `repository` is entered and left with the application. So are the further ones in `indexes`,
    each of which is beside it under its name: at `/NAME/simple/` for the prefix `/simple/`.
    `repository_factory` is a FastAPI dependency that chooses the repository of each request, for
    pages and files alike; it may take path parameters of the prefix, and should return the same
    object for the same index. Several routers may live in one application, each with a prefix and
    files of its own. With `debug_headers` answers have a `Cache-Status` header. Raises `ValueError`
    for a prefix that does not begin and end with a slash (and end with `/simple/`, if there are
    `indexes`), and for a name that no index can have.
    """
    options = AnswerOptions(files=files, memory_bytes=memory_bytes, debug_headers=debug_headers)
    if repository is None and repository_factory is None:
        raise ValueError("build_router needs a repository or a repository_factory.")
    memory = AnswerMemory(options, beside=has_files_beside(prefix))
    opened = [one for one in (repository, *indexes.values()) if one is not None]
    router = APIRouter(lifespan=_lifespan_of(opened), redirect_slashes=False)
    # Before the routes of the prefix, which may have parameters.
    for name, index in indexes.items():
        for route in index_routes(prefix_of(name, prefix), options, memory):
            app = _AsgiEndpoint(route.endpoint, index, send_timeout_s, emit)
            router.routes.append(StarletteRoute(route.template, app))
    for route in index_routes(prefix, options, memory):
        if repository_factory is not None:
            choose = _injected(route, repository_factory, send_timeout_s, emit)
            router.add_api_route(
                route.template, choose, methods=_ALL_METHODS, include_in_schema=False
            )
        elif repository is not None:
            app = _AsgiEndpoint(route.endpoint, repository, send_timeout_s, emit)
            router.routes.append(StarletteRoute(route.template, app))
    return router


def _lifespan_of(
    repositories: Sequence[Repository],
) -> Callable[[object], AbstractAsyncContextManager[None]] | None:
    if not repositories:
        return None

    @asynccontextmanager
    async def lifespan(_: object) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for repository in repositories:
                await stack.enter_async_context(repository)
            yield

    return lifespan


def _injected(
    route: Route, repository_factory: RepositoryFactory, send_timeout_s: float, emit: Emit
) -> Callable[..., Awaitable[Response]]:
    async def choose(
        repository: Annotated[Repository, Depends(repository_factory)],
    ) -> Response:
        return _EndpointResponse(_AsgiEndpoint(route.endpoint, repository, send_timeout_s, emit))

    return choose
