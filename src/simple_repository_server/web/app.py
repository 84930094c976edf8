"""`create_app`: the index in a FastAPI application, for those who build on it."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import MappingProxyType

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from simple_repository_server.errors import RepositoryError
from simple_repository_server.model import FilesMode
from simple_repository_server.observe.events import Emit, ignore
from simple_repository_server.repository import Repository
from simple_repository_server.version import __version__
from simple_repository_server.web.exchange import DEFAULT_SEND_TIMEOUT_S
from simple_repository_server.web.index import IndexApp
from simple_repository_server.web.problems import Problem, problem_of, render_problem
from simple_repository_server.web.render import DEFAULT_MEMORY_BYTES
from simple_repository_server.web.served import PastStates


def create_app(
    repository: Repository,
    *,
    indexes: Mapping[str, Repository] = MappingProxyType({}),
    snapshots: Mapping[str, PastStates] = MappingProxyType({}),
    files: FilesMode = FilesMode.REDIRECT,
    memory_bytes: int = DEFAULT_MEMORY_BYTES,
    send_timeout_s: float = DEFAULT_SEND_TIMEOUT_S,
    debug_headers: bool = False,
    emit: Emit = ignore,
) -> FastAPI:
    """A FastAPI application that serves the repository, and opens and closes it.

    `indexes` are further repositories by name, each at `/NAME/simple/`, and `snapshots` the past
    states of indexes by name ("" is the one at `/simple/`), at `/NAME/snapshot/DATE/simple/` (a
    `Snapshots` each). `files` says how clients get remote files, `memory_bytes` bounds the rendered
    pages and small files in memory, `send_timeout_s` says how long a client may take for a part of
    a body before the transfer is ended, `emit` is given an event for each request. With
    `debug_headers` answers have a `Cache-Status` header. Any ASGI server runs it. Routes,
    middleware and dependencies may be added as to any application: the index answers what no route
    does. Raises `ValueError` for a name that no index can have.
    """
    index = IndexApp(
        repository,
        indexes=indexes,
        snapshots=snapshots,
        files=files,
        memory_bytes=memory_bytes,
        send_timeout_s=send_timeout_s,
        debug_headers=debug_headers,
        emit=emit,
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with index.repository:
            yield

    app = FastAPI(
        title="simple-repository-server",
        version=__version__,
        openapi_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    app.router.default = index
    app.add_exception_handler(HTTPException, _answer_error)
    app.add_exception_handler(RepositoryError, _answer_error)
    return app


async def _answer_error(request: Request, error: Exception) -> Response:
    """Errors raised outside our endpoints (by a dependency, say) in our form."""
    if isinstance(error, HTTPException):
        headers = tuple((k.lower().encode(), v.encode()) for k, v in (error.headers or {}).items())
        problem = Problem(error.status_code, error.detail, headers)
    else:
        problem = problem_of(error)
    raw_headers, body = render_problem(problem, request.headers.get("accept", ""))
    response = Response(body, problem.status)
    response.raw_headers = raw_headers
    return response
