"""The list of projects and their pages: from request to bytes, the hot path first."""

import asyncio
import time
from collections.abc import Callable

from simple_repository_server.model import ProjectList
from simple_repository_server.names import ProjectName, project_name
from simple_repository_server.repository import Repository
from simple_repository_server.web.conditional import matches
from simple_repository_server.web.exchange import Exchange
from simple_repository_server.web.folding import unfolded
from simple_repository_server.web.render import Rendered, Renderer, Snapshot, choose_variant
from simple_repository_server.wire.urls import segment


class SimpleEndpoints:
    """The pages of one index, rendered by `renderer`."""

    def __init__(self, renderer: Renderer, *, clock: Callable[[], float] = time.time) -> None:
        self._renderer = renderer
        self._clock = clock

    async def project_list(self, exchange: Exchange, repository: Repository) -> None:
        """The list of all projects."""
        await self._send(exchange, await repository.get_project_list(context=exchange.context))

    async def project_page(self, exchange: Exchange, repository: Repository, text: str) -> None:
        """The page of the project whose name is `text`, or the way to its proper address."""
        project = project_name(text)
        if project != text:
            await redirect(exchange, f"../{project}/")
            return
        page = await repository.get_project_page(project, context=exchange.context)
        await self._send(exchange, page)

    async def list_without_slash(self, exchange: Exchange, repository: Repository) -> None:
        """The list's address without the slash at its end."""
        del repository
        # Of a prefix with path parameters it is the client's text, which could otherwise end the
        # header, or lead to another host (`https:`).
        await redirect(exchange, f"{segment(exchange.scope['path'].rpartition('/')[2])}/")

    async def page_without_slash(
        self, exchange: Exchange, repository: Repository, text: str
    ) -> None:
        """A project's address without the slash at its end: the one way to the right one."""
        del repository
        await redirect(exchange, f"{ProjectName(text)}/")

    async def _send(self, exchange: Exchange, snapshot: Snapshot) -> None:
        headers, scope = exchange.headers, exchange.scope
        variant = choose_variant(
            headers.get(b"accept", b""), headers.get(b"accept-encoding", b""), scope["query_string"]
        )
        rendered = self._renderer.find(snapshot, variant)
        if rendered is None:
            rendered = await self._renderer.render(snapshot, variant)
        told = snapshot.freshness.told(self._clock())
        if rendered.told != told:
            rendered.tell(told, snapshot.incomplete if isinstance(snapshot, ProjectList) else ())
        if b"if-none-match" in headers and matches(
            exchange.header(b"if-none-match"), rendered.etag
        ):
            await exchange.reply(304, rendered.unchanged)
        elif rendered.folded and not exchange.head:
            await _send_unfolded(exchange, rendered)
        else:
            await exchange.reply(200, rendered.complete, rendered.body)


async def _send_unfolded(exchange: Exchange, rendered: Rendered) -> None:
    """A body that is nowhere as a whole: each part is made when the one before it was taken."""
    await exchange.start(200, rendered.complete)
    for piece in unfolded(rendered.body):
        await exchange.chunk(piece, more=True)
        await asyncio.sleep(0)
    await exchange.chunk(b"", more=False)


async def redirect(exchange: Exchange, target: str) -> None:
    """One permanent redirect to a relative address, with the query kept."""
    query = exchange.query
    location = f"{target}?{query}" if query else target
    await exchange.reply(
        301,
        [
            (b"location", location.encode("latin-1")),
            (b"content-length", b"0"),
            (b"cache-control", b"max-age=3600"),
        ],
    )
