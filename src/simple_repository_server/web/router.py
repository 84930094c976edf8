"""The routes of one index, for any FastAPI application: `build_router`."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from starlette.responses import Response
from starlette.routing import Route
from typing_extensions import override

from simple_repository_server.model import FilesMode
from simple_repository_server.observe.events import Emit, ignore
from simple_repository_server.repository import Repository
from simple_repository_server.web.endpoint import Endpoint
from simple_repository_server.web.exchange import (
    DEFAULT_SEND_TIMEOUT_S,
    Exchange,
    Receive,
    Scope,
    Send,
    answer,
)
from simple_repository_server.web.index import IndexEndpoints
from simple_repository_server.web.render import DEFAULT_MEMORY_BYTES

RepositoryFactory = Callable[..., Repository | Awaitable[Repository]]


class IndexRoutes:
    """The endpoints of one index below `prefix`, and the paths they belong to.

    Files lie beside the simple root (`/simple/` and `/resources/`); an index with another kind of
    prefix has them inside it, so that path parameters in the prefix hold for files too.
    """

    def __init__(
        self,
        prefix: str,
        *,
        files: FilesMode,
        memory_bytes: int,
        send_timeout_s: float,
        emit: Emit,
    ) -> None:
        if not prefix.startswith("/") or not prefix.endswith("/"):
            raise ValueError(f"The prefix {prefix!r} must begin and end with '/'.")
        beside = prefix.endswith("/simple/")
        self.emit = emit
        self.send_timeout_s = send_timeout_s
        self._prefix = prefix
        self._files_prefix = f"{prefix.removesuffix('simple/') if beside else prefix}resources/"
        self._index = IndexEndpoints(
            "../../resources/" if beside else "../resources/",
            files=files,
            memory_bytes=memory_bytes,
        )

    def table(self) -> list[tuple[str, Endpoint, tuple[str, ...]]]:
        """Path templates, their endpoints, and which path parameters these take."""
        index, prefix = self._index, self._prefix
        table: list[tuple[str, Endpoint, tuple[str, ...]]] = [
            (prefix, index.project_list, ()),
            (f"{prefix}{{project}}/", index.project_page, ("project",)),
            (f"{prefix}{{project}}", index.page_without_slash, ("project",)),
            (f"{self._files_prefix}{{project}}/{{file}}", index.file, ("project", "file")),
        ]
        if prefix != "/":
            table.append((prefix[:-1], index.list_without_slash, ()))
        return table


class _AsgiEndpoint:
    """An endpoint with what it needs, as a plain ASGI application.

    Of the path parameters those named in `parameters` are its last arguments.
    """

    def __init__(
        self,
        routes: IndexRoutes,
        endpoint: Endpoint,
        *arguments: object,
        parameters: Sequence[str] = (),
    ) -> None:
        self._routes = routes
        self._answer = endpoint.answer
        self._arguments = arguments
        self._parameters = parameters

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        values = (scope["path_params"][name] for name in self._parameters)
        exchange = Exchange(scope, receive, send, send_timeout_s=self._routes.send_timeout_s)
        await answer(exchange, self._routes.emit, self._answer, *self._arguments, *values)


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
    repository_factory: RepositoryFactory | None = None,
    files: FilesMode = FilesMode.REDIRECT,
    memory_bytes: int = DEFAULT_MEMORY_BYTES,
    send_timeout_s: float = DEFAULT_SEND_TIMEOUT_S,
    emit: Emit = ignore,
) -> APIRouter:
    """The routes of an index, for `app.include_router`.

    `repository` is entered and left with the application. `repository_factory` is a FastAPI
    dependency that chooses the repository of each request, for pages and files alike; it may take
    path parameters of the prefix, and should return the same object for the same index. Several
    routers may live in one application, each with a prefix and files of its own. Raises
    `ValueError` for a prefix that does not begin and end with a slash.
    """
    routes = IndexRoutes(
        prefix,
        files=files,
        memory_bytes=memory_bytes,
        send_timeout_s=send_timeout_s,
        emit=emit,
    )
    if repository_factory is not None:
        return _injected_router(routes, repository, repository_factory)
    if repository is None:
        raise ValueError("build_router needs a repository or a repository_factory.")
    return _plain_router(routes, repository)


def _plain_router(routes: IndexRoutes, repository: Repository) -> APIRouter:
    """The routes with one repository, as plain ASGI endpoints."""
    router = APIRouter(lifespan=_lifespan_of(repository), redirect_slashes=False)
    for path, endpoint, parameters in routes.table():
        app = _AsgiEndpoint(routes, endpoint, repository, parameters=parameters)
        router.routes.append(Route(path, app))
    return router


def _lifespan_of(repository: Repository) -> Callable[[object], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(_: object) -> AsyncIterator[None]:
        async with repository:
            yield

    return lifespan


def _injected_router(
    routes: IndexRoutes, repository: Repository | None, repository_factory: RepositoryFactory
) -> APIRouter:
    lifespan = _lifespan_of(repository) if repository else None
    router = APIRouter(lifespan=lifespan, redirect_slashes=False)
    for path, endpoint, parameters in routes.table():
        route = _injected(routes, endpoint, parameters, repository_factory)
        router.add_api_route(path, route, methods=_ALL_METHODS, include_in_schema=False)
    return router


def _injected(
    routes: IndexRoutes,
    endpoint: Endpoint,
    parameters: Sequence[str],
    repository_factory: RepositoryFactory,
) -> Callable[..., Awaitable[Response]]:
    async def route(
        repository: Annotated[Repository, Depends(repository_factory)],
    ) -> Response:
        return _EndpointResponse(_AsgiEndpoint(routes, endpoint, repository, parameters=parameters))

    return route


# Which methods are possible is for the endpoints to say.
_ALL_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
