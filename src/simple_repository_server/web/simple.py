"""The list of projects and their pages: from request to bytes, the hot path first."""

import time
from collections.abc import Callable

from simple_repository_server.model import ProjectList
from simple_repository_server.names import ProjectName
from simple_repository_server.repository import Repository
from simple_repository_server.web.conditional import matches
from simple_repository_server.web.exchange import Exchange
from simple_repository_server.web.problems import Headers
from simple_repository_server.web.render import Renderer, Snapshot, choose_variant, lifetime

#: Of the headers of a 200 a 304 repeats those that tell about it (RFC 9110 §15.4.5).
_ABOUT_BODY = frozenset({b"content-type", b"content-length", b"content-encoding"})


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
        project = ProjectName(text)
        if project != text:
            await redirect(exchange, f"../{project}/")
            return
        page = await repository.get_project_page(project, context=exchange.context)
        await self._send(exchange, page)

    async def list_without_slash(self, exchange: Exchange, repository: Repository) -> None:
        """The list's address without the slash at its end."""
        del repository
        await redirect(exchange, f"{exchange.scope['path'].rpartition('/')[2]}/")

    async def without_slash(self, exchange: Exchange, repository: Repository, text: str) -> None:
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
        told = self._freshness(snapshot)
        sent = [*rendered.headers, *told] if told else rendered.must_ask
        if b"if-none-match" in headers and matches(
            exchange.header(b"if-none-match"), rendered.etag
        ):
            await exchange.reply(304, [pair for pair in sent if pair[0] not in _ABOUT_BODY])
        else:
            await exchange.reply(200, sent, rendered.body)

    def _freshness(self, snapshot: Snapshot) -> Headers:
        """The headers that say how fresh it is; none if clients must ask each time."""
        incomplete = snapshot.incomplete if isinstance(snapshot, ProjectList) else ()
        max_age, age, warning = snapshot.freshness.told(self._clock())
        if age is None and not incomplete:
            return []
        told = [lifetime(0 if incomplete else max_age)]
        if age is not None:
            told.append((b"age", str(age).encode()))
        if warning:
            told.append((b"warning", _warning(110, f"stale: {warning}")))
        told.extend((b"warning", _warning(199, f"incomplete: {text}")) for text in incomplete)
        return told


def _warning(code: int, text: str) -> bytes:
    quoted = text.encode("ascii", "replace").replace(b"\\", b"/").replace(b'"', b"'")
    return b'%d - "%b"' % (code, bytes(byte for byte in quoted if 0x20 <= byte < 0x7F))  # noqa: PLR2004


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
