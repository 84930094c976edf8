"""The whole index as one plain ASGI application: what the command serves, and what FastAPI mounts.

Routing here is a look at the parts of the path. Frameworks cost as much for that alone as an
answer from memory costs in all, so pages and files do without one.
"""

from contextlib import AsyncExitStack

from simple_repository_server.observe.events import Emit, ignore
from simple_repository_server.repository import Repository
from simple_repository_server.web.exchange import (
    Endpoint,
    Exchange,
    Receive,
    Scope,
    Send,
    answer,
    not_found,
)
from simple_repository_server.web.files import FileEndpoint, FilesMode
from simple_repository_server.web.home import healthz, home, readyz
from simple_repository_server.web.render import DEFAULT_MEMORY_BYTES, Renderer
from simple_repository_server.web.simple import SimpleEndpoints

Route = tuple[Endpoint, tuple[str, ...]]


class IndexEndpoints:
    """The endpoints of one index, whose pages lead to files at `files_base`, as seen from them."""

    def __init__(self, files_base: str, *, files: FilesMode, memory_bytes: int) -> None:
        simple = SimpleEndpoints(Renderer(files_base, memory_bytes=memory_bytes))
        self.project_list: Endpoint = simple.project_list
        self.list_without_slash: Endpoint = simple.list_without_slash
        self.project_page: Endpoint = simple.project_page
        self.page_without_slash: Endpoint = simple.page_without_slash
        self.file: Endpoint = FileEndpoint(files).file


class IndexApp:
    """The repository as an index at `/simple/`, with a page for people and health at the root.

    `files` says how clients get remote files, `memory_bytes` how much of rendered pages is kept,
    `emit` is given an event for each request.
    """

    def __init__(
        self,
        repository: Repository,
        *,
        files: FilesMode = FilesMode.REDIRECT,
        memory_bytes: int = DEFAULT_MEMORY_BYTES,
        emit: Emit = ignore,
    ) -> None:
        self._repository = repository
        self._emit = emit
        index = IndexEndpoints("../../resources/", files=files, memory_bytes=memory_bytes)
        self._index = index
        self._fixed: dict[str, Endpoint] = {
            "/": home,
            "/simple": index.list_without_slash,
            "/simple/": index.project_list,
            "/healthz": healthz,
            "/readyz": readyz,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        exchange = Exchange(scope, receive, send)
        endpoint, arguments = self._route(exchange.path)
        await answer(exchange, self._emit, endpoint, self._repository, *arguments)

    def _route(self, path: str) -> Route:
        match path.split("/"):
            case ["", "simple", project, ""] if project:
                return self._index.project_page, (project,)
            case ["", "resources", project, file] if project and file:
                return self._index.file, (project, file)
            case ["", "simple", project] if project:
                return self._index.page_without_slash, (project,)
        return self._fixed.get(path, not_found), ()

    async def _live(self, receive: Receive, send: Send) -> None:
        """Open and close the repository when the server says so (ASGI lifespan)."""
        async with AsyncExitStack() as stack:
            await receive()
            try:
                await stack.enter_async_context(self._repository)
            except Exception as error:
                await send({"type": "lifespan.startup.failed", "message": str(error)})
                raise
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})
