"""The whole server as one plain ASGI application: the command serves it, FastAPI mounts it."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from functools import partial
from types import MappingProxyType

from simple_repository_server.model import FilesMode
from simple_repository_server.observe.audit_log import AuditLog
from simple_repository_server.observe.events import Emit, ignore
from simple_repository_server.repository import Repository
from simple_repository_server.web.endpoint import Endpoint, PathNames, answer
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
    AnswerMemory,
    AnswerOptions,
    RouteTable,
    index_routes,
)
from simple_repository_server.web.served import PastStates, Served
from simple_repository_server.web.site import Found, Site

#: The part of the memory for answers that is for remembered requests.
_FOR_REQUESTS = 32


class IndexApp:
    """The repository as an index at `/simple/`, with a page for people and health at the root.

    `indexes` are further ones by name, each at `/NAME/simple/`, and `snapshots` the past states of
    indexes by name ("" is the one at `/simple/`), at `/NAME/snapshot/DATE/simple/`. `files` says
    how clients get remote files, `memory_bytes` bounds the rendered pages and small files (up to
    `small_file_bytes` each) in memory, `send_timeout_s` says how long a client may take for a part
    of a body under a server that has no such deadline of its own, `emit` is given an event per
    request. `hosts` says which hosts requests may name; None: any. With `debug_headers` answers
    have a `Cache-Status` header. `audit` records who received which file, and what was hidden; it
    is opened and closed with the application. Raises `ValueError` for a name that no index can
    have.
    """

    def __init__(
        self,
        repository: Repository,
        *,
        indexes: Mapping[str, Repository] = MappingProxyType({}),
        snapshots: Mapping[str, PastStates] = MappingProxyType({}),
        files: FilesMode = FilesMode.REDIRECT,
        memory_bytes: int = DEFAULT_MEMORY_BYTES,
        small_file_bytes: int = DEFAULT_SMALL_FILE_BYTES,
        send_timeout_s: float = DEFAULT_SEND_TIMEOUT_S,
        hosts: HostRule | None = None,
        debug_headers: bool = False,
        audit: AuditLog | None = None,
        emit: Emit = ignore,
    ) -> None:
        self._send_timeout_s = send_timeout_s
        self.emit = emit
        self.audit = audit
        self.request_bytes = memory_bytes // _FOR_REQUESTS
        self._options = AnswerOptions(
            files=files,
            memory_bytes=memory_bytes - self.request_bytes,
            small_file_bytes=small_file_bytes,
            debug_headers=debug_headers,
        )
        self._memory = AnswerMemory(self._options)
        self._retiring: set[asyncio.Task[None]] = set()
        #: Between the start and the end of the server (ASGI lifespan).
        self._is_live = False
        self._changing = asyncio.Lock()
        self._opened = AsyncExitStack()
        served = Served(
            default=repository, indexes=indexes, snapshots=snapshots, files=files, hosts=hosts
        )
        self._site = self._site_of(served)

    @property
    def repository(self) -> Repository:
        """The index at `/simple/`; where there are others, with the states of all sources."""
        return self._site.all

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        exchange = Exchange(scope, receive, send, send_timeout_s=self._send_timeout_s)
        site = self._site
        found = site.find(exchange)
        exchange.index = found.index_name
        with site.answering():
            await answer(
                exchange, self.emit, found.endpoint, found.repository, found.names, audit=self.audit
            )

    def peek(self, request: Request) -> Reply | None:
        """The answer to a GET or HEAD request where it needs no waiting, else None.

        It is what the application would answer. Raises what that would send as a problem.
        """
        if request.again is not None:
            return request.again(request)
        found = self._site.find(request)
        request.index = found.index_name
        if found.is_past:
            return self._peek_past(found, request)
        request.again = partial(_peek, found.endpoint, found.repository, found.names)
        return found.endpoint.peek(request, found.repository, found.names)

    def _peek_past(self, found: Found, request: Request) -> Reply | None:
        """Remembered requests hold no past state: these are limited in number."""
        reply = found.endpoint.peek(request, found.repository, found.names)
        request.again = self._peek_past_again
        return reply

    def _peek_past_again(self, request: Request) -> Reply | None:
        found = self._site.find(request)
        reply = found.endpoint.peek(request, found.repository, found.names)
        request.again = self._peek_past_again
        return reply

    async def replace(self, served: Served, *, forget: Callable[[], None] | None = None) -> None:
        """Answer all requests from now on by `served`.

        In a running server it is opened first; what of it is open already is not opened again.
        Raises what keeps it from opening; then nothing has changed. `forget` is called at the
        moment of the change, between two requests, for whoever remembers requests. What is no
        longer used is closed when the last request that uses it was answered; each has deadlines.
        """
        site = self._site_of(served)
        async with self._changing:
            if not self._is_live:
                self._site = site
                return
            await site.open()
            before, self._site = self._site, site
        if forget is not None:
            forget()
        task = asyncio.create_task(_retire(before))
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    def answer_by(self, served: Served) -> None:
        """Answer by `served` once the server starts: for a process that has not started it yet."""
        self._site = self._site_of(served)

    def _site_of(self, served: Served) -> Site:
        options = AnswerOptions(
            files=served.files,
            memory_bytes=self._options.memory_bytes,
            small_file_bytes=self._options.small_file_bytes,
            debug_headers=self._options.debug_headers,
        )
        table = RouteTable(index_routes("/simple/", options, self._memory))
        return Site(served, table, audit=self.audit)

    async def _live(self, receive: Receive, send: Send) -> None:
        """Open and close the repositories with the server (ASGI lifespan)."""
        await receive()
        try:
            async with self._changing:
                await self._open()
                self._is_live = True
        except Exception as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            raise
        await send({"type": "lifespan.startup.complete"})
        try:
            await receive()
        finally:
            await self._close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _open(self) -> None:
        async with AsyncExitStack() as stack:
            if self.audit is not None:
                await stack.enter_async_context(self.audit)
            await self._site.open()
            self._opened = stack.pop_all()

    async def _close(self) -> None:
        async with self._changing:
            self._is_live = False
            retiring = tuple(self._retiring)
            for task in retiring:
                task.cancel()
            await asyncio.gather(*retiring, return_exceptions=True)
            async with self._opened:
                await self._site.close()


async def _retire(site: Site) -> None:
    """Close the site once it is not used any more."""
    try:
        await site.until_idle()
    finally:
        await site.close()


def _peek(
    endpoint: Endpoint, repository: Repository, names: PathNames, request: Request
) -> Reply | None:
    return endpoint.peek(request, repository, names)
