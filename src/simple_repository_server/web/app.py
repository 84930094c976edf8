"""The application: an index at `/simple/`, a page for people, health, and errors in one form."""

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from simple_repository_server.errors import RepositoryError
from simple_repository_server.observe.events import Emit, ignore
from simple_repository_server.repository import Repository
from simple_repository_server.version import __version__
from simple_repository_server.web.exchange import (
    AsgiApp,
    Exchange,
    Receive,
    Scope,
    Send,
    answer,
    not_found,
)
from simple_repository_server.web.files import FilesMode
from simple_repository_server.web.home import healthz, home, readyz
from simple_repository_server.web.problems import Problem, problem_of, render_problem
from simple_repository_server.web.render import DEFAULT_MEMORY_BYTES
from simple_repository_server.web.router import AsgiEndpoint, IndexRoutes, router_of


def create_app(
    repository: Repository,
    *,
    files: FilesMode = FilesMode.REDIRECT,
    memory_bytes: int = DEFAULT_MEMORY_BYTES,
    emit: Emit = ignore,
) -> FastAPI:
    """A FastAPI application that serves the repository, and opens and closes it.

    `files` says how clients get remote files, `memory_bytes` how much of rendered pages is kept,
    `emit` is given an event for each request. Any ASGI server runs it.
    """
    routes = IndexRoutes("/simple/", files=files, memory_bytes=memory_bytes, emit=emit)
    return _application(repository, routes)


def create_server_app(
    repository: Repository, *, files: FilesMode, memory_bytes: int, emit: Emit
) -> AsgiApp:
    """What the command serves: the same application, the hot routes at its front door."""
    routes = IndexRoutes("/simple/", files=files, memory_bytes=memory_bytes, emit=emit)
    return _FrontDoor(_application(repository, routes), routes, repository)


def _application(repository: Repository, routes: IndexRoutes) -> FastAPI:
    app = FastAPI(
        title="simple-repository-server",
        version=__version__,
        openapi_url=None,
        redirect_slashes=False,
    )
    app.include_router(router_of(routes, repository))
    for path, endpoint in (("/", home), ("/healthz", healthz), ("/readyz", readyz)):
        app.router.routes.append(Route(path, AsgiEndpoint(routes.emit, endpoint, repository)))
    app.router.default = AsgiEndpoint(routes.emit, not_found)
    app.add_exception_handler(HTTPException, _tell)
    app.add_exception_handler(RepositoryError, _tell)
    return app


async def _tell(request: Request, error: Exception) -> Response:
    """Errors raised outside our endpoints (by a dependency, say) in our form."""
    if isinstance(error, HTTPException):
        given = tuple((k.lower().encode(), v.encode()) for k, v in (error.headers or {}).items())
        problem = Problem(error.status_code, error.detail, given)
    else:
        problem = problem_of(error)
    headers, body = render_problem(problem, request.headers.get("accept", ""))
    response = Response(body, problem.status)
    response.raw_headers = headers
    return response


class _FrontDoor:
    """Pages and files go straight to their endpoints, everything else into the application.

    Routing through FastAPI costs as much as answering from memory. It is for the command alone:
    an application others add middleware to must not have a way past it.
    """

    def __init__(self, app: AsgiApp, routes: IndexRoutes, repository: Repository) -> None:
        self._app = app
        self._routes = routes
        self._repository = repository

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        routes, repository = self._routes, self._repository
        if scope["type"] == "http":
            match scope["path"].split("/"):
                case ["", "simple", project, ""] if project:
                    exchange = Exchange(scope, receive, send)
                    await answer(exchange, routes.emit, routes.project_page, repository, project)
                    return
                case ["", "resources", project, file] if project and file:
                    exchange = Exchange(scope, receive, send)
                    await answer(exchange, routes.emit, routes.file, repository, project, file)
                    return
        await self._app(scope, receive, send)
