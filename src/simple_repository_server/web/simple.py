"""The list of projects and their pages: from request to bytes, the hot path first."""

import asyncio
import time
from collections.abc import Callable

from simple_repository_server.model import ProjectList
from simple_repository_server.names import ProjectName, project_name
from simple_repository_server.repository import Repository
from simple_repository_server.web.compression import unfolded
from simple_repository_server.web.conditional import matches
from simple_repository_server.web.endpoint import Endpoint, immediate
from simple_repository_server.web.exchange import Exchange, Request
from simple_repository_server.web.render import (
    Rendered,
    Renderer,
    Snapshot,
    Variant,
    choose_variant,
)
from simple_repository_server.web.reply import Head, Reply
from simple_repository_server.wire.urls import segment


class SimpleEndpoints:
    """The pages of one index, rendered by `renderer`."""

    def __init__(self, renderer: Renderer, *, clock: Callable[[], float] = time.time) -> None:
        self._renderer = renderer
        self._clock = clock
        self.project_list = Endpoint(self._answer_list, self._peek_list)
        self.project_page = Endpoint(self._answer_page, self._peek_page)
        self.list_without_slash = immediate(_list_without_slash)
        self.page_without_slash = immediate(_page_without_slash)

    def _peek_page(self, request: Request, repository: Repository, text: str) -> Reply | None:
        project = project_name(text)
        if project != text:
            return redirection(request, f"../{project}/")
        # The next time the name need not be parsed again.
        request.route = self._peek_named, (repository, project)
        return self._peek_named(request, repository, project)

    def _peek_named(
        self, request: Request, repository: Repository, project: ProjectName
    ) -> Reply | None:
        page = repository.peek_project_page(project, context=request.context)
        return None if page is None else self._peek(request, page)

    def _peek_list(self, request: Request, repository: Repository) -> Reply | None:
        projects = repository.peek_project_list(context=request.context)
        return None if projects is None else self._peek(request, projects)

    def _peek(self, request: Request, snapshot: Snapshot) -> Reply | None:
        rendered = self._renderer.find(snapshot, _variant(request))
        if rendered is None:
            return None
        reply = self._reply(request, snapshot, rendered)
        return None if _is_unfolded(request, rendered, reply) else reply

    async def _answer_page(self, exchange: Exchange, repository: Repository, text: str) -> None:
        """The page of the project whose name is `text`, or the way to its proper address."""
        project = project_name(text)
        if project != text:
            await exchange.answer(redirection(exchange, f"../{project}/"))
            return
        page = await repository.get_project_page(project, context=exchange.context)
        await self._send(exchange, page)

    async def _answer_list(self, exchange: Exchange, repository: Repository) -> None:
        await self._send(exchange, await repository.get_project_list(context=exchange.context))

    async def _send(self, exchange: Exchange, snapshot: Snapshot) -> None:
        variant = _variant(exchange)
        rendered = self._renderer.find(snapshot, variant)
        if rendered is None:
            rendered = await self._renderer.render(snapshot, variant)
        reply = self._reply(exchange, snapshot, rendered)
        if _is_unfolded(exchange, rendered, reply):
            await _send_unfolded(exchange, reply)
        else:
            await exchange.answer(reply)

    def _reply(self, request: Request, snapshot: Snapshot, rendered: Rendered) -> Reply:
        """200 or 304, saying how fresh the snapshot is now."""
        freshness = snapshot.freshness.at(self._clock())
        if rendered.freshness != freshness:
            incomplete = snapshot.incomplete if isinstance(snapshot, ProjectList) else ()
            rendered.set_freshness(freshness, incomplete)
        known = request.headers.get(b"if-none-match")
        if known is not None and matches(known.decode("latin-1"), rendered.etag):
            return rendered.unchanged
        return rendered.complete


def _variant(request: Request) -> Variant:
    variant: Variant | None = request.variant
    if variant is None:
        accept = request.headers.get(b"accept", b"")
        coding = request.headers.get(b"accept-encoding", b"")
        variant = request.variant = choose_variant(accept, coding, request.query_string)
    return variant


def _is_unfolded(request: Request, rendered: Rendered, reply: Reply) -> bool:
    """Whether the body has to be unfolded on its way to the client."""
    return rendered.folded and reply is rendered.complete and not request.head


async def _send_unfolded(exchange: Exchange, reply: Reply) -> None:
    """A body that is nowhere as a whole: each part is made when the one before it was taken."""
    await exchange.start(reply.status, reply.headers)
    async with exchange.watching() as gone:
        for piece in unfolded(reply.body):
            await exchange.chunk(piece, more=True)
            await asyncio.sleep(0)
            if gone.done():
                return
        await exchange.chunk(b"", more=False)


def _list_without_slash(request: Request, _: Repository) -> Reply:
    """The list's address without the slash at its end."""
    # Of a prefix with path parameters it is the client's text, which could otherwise end the
    # header, or lead to another host (`https:`).
    return redirection(request, f"{segment(request.path.rpartition('/')[2])}/")


def _page_without_slash(request: Request, _: Repository, text: str) -> Reply:
    """A project's address without the slash at its end: the one way to the right one."""
    return redirection(request, f"{ProjectName(text)}/")


def redirection(request: Request, target: str) -> Reply:
    """One permanent redirect to a relative address, with the query kept."""
    query = request.query_string
    location = target.encode("latin-1") + (b"?" + query if query else b"")
    headers = [
        (b"location", location),
        (b"content-length", b"0"),
        (b"cache-control", b"max-age=3600"),
    ]
    return Reply(Head(301, headers))
