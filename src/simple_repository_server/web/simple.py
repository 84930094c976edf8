"""The list of projects and their pages: from request to bytes, the hot path first."""

import asyncio
import time
from collections.abc import Callable
from functools import partial

from simple_repository_server.names import ProjectName, project_name
from simple_repository_server.repository import Repository
from simple_repository_server.web.compression import decompress_iter
from simple_repository_server.web.endpoint import PathNames
from simple_repository_server.web.exchange import Exchange, Request
from simple_repository_server.web.render import Renderer, Variant, choose_variant
from simple_repository_server.web.rendered import Snapshot
from simple_repository_server.web.reply import Head, Reply
from simple_repository_server.wire.urls import segment


class _SnapshotEndpoint:
    """Answers with a snapshot in the form and coding that the client prefers."""

    def __init__(self, renderer: Renderer, *, clock: Callable[[], float] = time.time) -> None:
        self._renderer = renderer
        self._clock = clock

    def _peek(self, request: Request, snapshot: Snapshot) -> Reply | None:
        """The snapshot's answer if it is rendered already."""
        rendered = self._renderer.find(snapshot, request.variant or _choose_variant(request))
        if rendered is None:
            return None
        request.cache = snapshot.freshness.verdict
        reply = rendered.reply(snapshot, self._clock(), request.if_none_match)
        if rendered.decompressed_on_send and _is_body_sent(request, reply):
            return None
        return reply

    async def _send(self, exchange: Exchange, snapshot: Snapshot) -> None:
        variant = _choose_variant(exchange)
        rendered = self._renderer.find(snapshot, variant)
        if rendered is None:
            rendered = await self._renderer.render(snapshot, variant)
        exchange.cache = snapshot.freshness.verdict
        reply = rendered.reply(snapshot, self._clock(), exchange.if_none_match)
        if rendered.decompressed_on_send and _is_body_sent(exchange, reply):
            await _send_decompressed(exchange, reply)
        else:
            await exchange.answer(reply)


class ProjectListEndpoint(_SnapshotEndpoint):
    """The list of projects."""

    async def answer(self, exchange: Exchange, repository: Repository, names: PathNames) -> None:
        """Send the list."""
        del names
        await self._send(exchange, await repository.get_project_list(context=exchange.context))

    def peek(self, request: Request, repository: Repository, names: PathNames) -> Reply | None:
        """The list if it is at hand."""
        del names
        projects = repository.peek_project_list(context=request.context)
        return None if projects is None else self._peek(request, projects)


class ProjectPageEndpoint(_SnapshotEndpoint):
    """The page of a project, or the redirect to its address with the normalised name."""

    async def answer(self, exchange: Exchange, repository: Repository, names: PathNames) -> None:
        """Send the page."""
        project = project_name(names.project)
        if project != names.project:
            await exchange.answer(redirection(exchange, f"../{project}/"))
            return
        page = await repository.get_project_page(project, context=exchange.context)
        await self._send(exchange, page)

    def peek(self, request: Request, repository: Repository, names: PathNames) -> Reply | None:
        """The page if it is at hand."""
        project = project_name(names.project)
        if project != names.project:
            return redirection(request, f"../{project}/")
        request.again = partial(self._peek_page, repository, project)
        return self._peek_page(repository, project, request)

    def _peek_page(
        self, repository: Repository, project: ProjectName, request: Request
    ) -> Reply | None:
        page = repository.peek_project_page(project, context=request.context)
        return None if page is None else self._peek(request, page)


def _choose_variant(request: Request) -> Variant:
    """The variant for the request, chosen once. Raises `NotAcceptable`."""
    variant = request.variant
    if variant is None:
        accept = request.headers.get(b"accept", b"")
        coding = request.headers.get(b"accept-encoding", b"")
        variant = request.variant = choose_variant(accept, coding, request.query_string)
    return variant


def _is_body_sent(request: Request, reply: Reply) -> bool:
    return bool(reply.body) and not request.head


async def _send_decompressed(exchange: Exchange, reply: Reply) -> None:
    """Send a body that is never held as a whole: a chunk is decompressed once the last was sent."""
    await exchange.start(reply.status, reply.headers)
    async with exchange.watch_disconnect() as disconnected:
        for chunk in decompress_iter(reply.body):
            await exchange.send_chunk(chunk, more=True)
            await asyncio.sleep(0)
            if disconnected.done():
                return
        await exchange.send_chunk(b"", more=False)


def list_without_slash(request: Request, repository: Repository, names: PathNames) -> Reply:
    """The redirect from the list's address without its trailing slash."""
    del repository, names
    # In a prefix with path parameters it is the client's text, which could otherwise end the
    # header, or lead to another host (`https:`).
    return redirection(request, f"{segment(request.path.rpartition('/')[2])}/")


def page_without_slash(request: Request, repository: Repository, names: PathNames) -> Reply:
    """The redirect from a page's address without its trailing slash, straight to the right one."""
    del repository
    return redirection(request, f"{ProjectName(names.project)}/")


def redirection(request: Request, target: str) -> Reply:
    """A permanent redirect to a relative address, with the query of the request."""
    query = request.query_string
    location = target.encode("latin-1") + (b"?" + query if query else b"")
    headers = [
        (b"location", location),
        (b"content-length", b"0"),
        (b"cache-control", b"max-age=3600"),
    ]
    return Reply(Head(301, headers))
