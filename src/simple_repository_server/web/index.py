"""The whole index as one plain ASGI application: what the command serves, and what FastAPI mounts.

Routing here is a look at the parts of the path. Frameworks cost as much for that alone as an
answer from memory costs in all, so pages and files do without one.
"""

from contextlib import AsyncExitStack

from simple_repository_server.model import FilesMode
from simple_repository_server.observe.events import Emit, ignore
from simple_repository_server.repository import Repository
from simple_repository_server.web.endpoint import Endpoint, immediate
from simple_repository_server.web.exchange import (
    DEFAULT_SEND_TIMEOUT_S,
    Exchange,
    Receive,
    Request,
    Scope,
    Send,
    answer,
    misdirected,
    not_found,
)
from simple_repository_server.web.files import FileEndpoint
from simple_repository_server.web.home import healthz, home, readyz
from simple_repository_server.web.hosts import HostRule
from simple_repository_server.web.open_files import DEFAULT_SMALL_FILE_BYTES, OpenFiles
from simple_repository_server.web.render import DEFAULT_MEMORY_BYTES, Renderer
from simple_repository_server.web.reply import Reply
from simple_repository_server.web.simple import SimpleEndpoints

Route = tuple[Endpoint, tuple[str, ...]]

_NOT_FOUND = Endpoint(not_found, lambda *_: None)
_MISDIRECTED = Endpoint(misdirected, lambda *_: None)
#: Of the memory for answers, the parts for small files and for requests that are remembered.
_FOR_FILES, _FOR_REQUESTS = 4, 32


class IndexEndpoints:
    """The endpoints of one index, whose pages lead to files at `files_base`, as seen from them.

    `memory_bytes` bounds the rendered pages and small files (those of up to `small_file_bytes`)
    in memory.
    """

    def __init__(
        self,
        files_base: str,
        *,
        files: FilesMode,
        memory_bytes: int,
        small_file_bytes: int = DEFAULT_SMALL_FILE_BYTES,
    ) -> None:
        for_files = memory_bytes // _FOR_FILES if small_file_bytes else 0
        simple = SimpleEndpoints(Renderer(files_base, memory_bytes=memory_bytes - for_files))
        open_files = OpenFiles(small_bytes=small_file_bytes, memory_bytes=for_files)
        self.project_list = simple.project_list
        self.list_without_slash = simple.list_without_slash
        self.project_page = simple.project_page
        self.page_without_slash = simple.page_without_slash
        self.file = FileEndpoint(files, open_files).file


class IndexApp:
    """The repository as an index at `/simple/`, with a page for people and health at the root.

    `files` says how clients get remote files, `memory_bytes` how much of rendered pages and of
    small files (up to `small_file_bytes`) is kept in memory, `send_timeout_s` how long a client may
    take for a part of a body where the server has no say, `emit` is given an event per request.
    `hosts` says which hosts requests may name; None: any.
    """

    def __init__(
        self,
        repository: Repository,
        *,
        files: FilesMode = FilesMode.REDIRECT,
        memory_bytes: int = DEFAULT_MEMORY_BYTES,
        small_file_bytes: int = DEFAULT_SMALL_FILE_BYTES,
        send_timeout_s: float = DEFAULT_SEND_TIMEOUT_S,
        hosts: HostRule | None = None,
        emit: Emit = ignore,
    ) -> None:
        self._repository = repository
        self._send_timeout_s = send_timeout_s
        self._hosts = hosts
        self.emit = emit
        self.request_bytes = memory_bytes // _FOR_REQUESTS
        self._index = IndexEndpoints(
            "../../resources/",
            files=files,
            memory_bytes=memory_bytes - self.request_bytes,
            small_file_bytes=small_file_bytes,
        )
        self._fixed: dict[str, Endpoint] = {
            "/": Endpoint(home, lambda *_: None),
            "/simple": self._index.list_without_slash,
            "/simple/": self._index.project_list,
            "/healthz": immediate(healthz),
            "/readyz": immediate(readyz),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        exchange = Exchange(scope, receive, send, send_timeout_s=self._send_timeout_s)
        endpoint, arguments = self._route(exchange)
        await answer(exchange, self.emit, endpoint.answer, self._repository, *arguments)

    def peek(self, request: Request) -> Reply | None:
        """The answer to a GET or HEAD request if it needs no waiting, else None.

        It is what the application would answer. Raises what that would tell as a problem.
        """
        if request.route is None:
            endpoint, arguments = self._route(request)
            request.route = endpoint.peek, (self._repository, *arguments)
        peek, given = request.route
        reply: Reply | None = peek(request, *given)
        return reply

    def _route(self, request: Request) -> Route:
        path = request.path
        # That we are alive is no secret, and those who ask it call us as they like.
        if (
            self._hosts is not None
            and path != "/healthz"
            and not self._hosts.allows(request.header(b"host"))
        ):
            return _MISDIRECTED, ()
        match path.split("/"):
            case ["", "simple", project, ""] if project:
                return self._index.project_page, (project,)
            case ["", "resources", project, file] if project and file:
                return self._index.file, (project, file)
            case ["", "simple", project] if project:
                return self._index.page_without_slash, (project,)
        return self._fixed.get(path, _NOT_FOUND), ()

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
