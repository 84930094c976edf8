"""The whole index as one plain ASGI application: the command serves it, FastAPI mounts it."""

from contextlib import AsyncExitStack
from functools import partial

from simple_repository_server.model import FilesMode
from simple_repository_server.observe.audit_log import AuditLog
from simple_repository_server.observe.events import Emit, ignore
from simple_repository_server.repository import Repository
from simple_repository_server.web.endpoint import (
    Endpoint,
    MisdirectedEndpoint,
    NotFoundEndpoint,
    PathNames,
    answer,
)
from simple_repository_server.web.exchange import (
    DEFAULT_SEND_TIMEOUT_S,
    Exchange,
    Receive,
    Request,
    Scope,
    Send,
)
from simple_repository_server.web.hosts import HostRule
from simple_repository_server.web.open_files import DEFAULT_SMALL_FILE_BYTES
from simple_repository_server.web.render import DEFAULT_MEMORY_BYTES
from simple_repository_server.web.reply import Reply
from simple_repository_server.web.routes import (
    AnswerOptions,
    RouteTable,
    index_routes,
    root_routes,
    why_routes,
)

_NOT_FOUND = NotFoundEndpoint(), PathNames()
_MISDIRECTED = MisdirectedEndpoint(), PathNames()
#: The part of the memory for answers that is for remembered requests.
_FOR_REQUESTS = 32


class IndexApp:
    """The repository as an index at `/simple/`, with a page for people and health at the root.

    `files` says how clients get remote files, `memory_bytes` bounds the rendered pages and small
    files (up to `small_file_bytes` each) in memory, `send_timeout_s` says how long a client may
    take for a part of a body under a server that has no such deadline of its own, `emit` is given
    an event per request. `hosts` says which hosts requests may name; None: any. With
    `debug_headers` answers have a `Cache-Status` header. `audit` records who received which file,
    and what was hidden; it is opened and closed with the application.
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
        debug_headers: bool = False,
        audit: AuditLog | None = None,
        emit: Emit = ignore,
    ) -> None:
        self.repository = repository
        self._send_timeout_s = send_timeout_s
        self._hosts = hosts
        self.emit = emit
        self.audit = audit
        self.request_bytes = memory_bytes // _FOR_REQUESTS
        options = AnswerOptions(
            files=files,
            memory_bytes=memory_bytes - self.request_bytes,
            small_file_bytes=small_file_bytes,
            debug_headers=debug_headers,
        )
        self._routes = RouteTable(
            [*root_routes(audit), *index_routes("/simple/", options), *why_routes("/simple/")]
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        exchange = Exchange(scope, receive, send, send_timeout_s=self._send_timeout_s)
        endpoint, names = self._find(exchange)
        await answer(exchange, self.emit, endpoint, self.repository, names, audit=self.audit)

    def peek(self, request: Request) -> Reply | None:
        """The answer to a GET or HEAD request where it needs no waiting, else None.

        It is what the application would answer. Raises what that would send as a problem.
        """
        if request.again is not None:
            return request.again(request)
        endpoint, names = self._find(request)
        request.again = partial(_peek, endpoint, self.repository, names)
        return endpoint.peek(request, self.repository, names)

    def _find(self, request: Request) -> tuple[Endpoint, PathNames]:
        path = request.path
        # That this process is alive is no secret, and load balancers name any host.
        if (
            self._hosts is not None
            and path != "/healthz"
            and not self._hosts.allows(request.header(b"host"))
        ):
            return _MISDIRECTED
        return self._routes.find(path) or _NOT_FOUND

    async def _live(self, receive: Receive, send: Send) -> None:
        """Open and close the repository with the server (ASGI lifespan)."""
        async with AsyncExitStack() as stack:
            await receive()
            try:
                if self.audit is not None:
                    await stack.enter_async_context(self.audit)
                await stack.enter_async_context(self.repository)
            except Exception as error:
                await send({"type": "lifespan.startup.failed", "message": str(error)})
                raise
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})


def _peek(
    endpoint: Endpoint, repository: Repository, names: PathNames, request: Request
) -> Reply | None:
    return endpoint.peek(request, repository, names)
