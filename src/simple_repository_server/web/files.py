"""Files and their metadata: redirected, sent by path, or streamed; whole or in part."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import StrEnum

from simple_repository_server.errors import TransferAborted
from simple_repository_server.names import FileName, project_name
from simple_repository_server.repository import Repository
from simple_repository_server.resource import Body, ByteRange, Resource
from simple_repository_server.web.conditional import Unsatisfiable, matches, wanted_range
from simple_repository_server.web.exchange import Exchange
from simple_repository_server.web.problems import Headers, Problem

#: How long a client may take for a part of the body: what it holds meanwhile others wait for.
_TAKE_S = 60
_FOREVER = (b"cache-control", b"public, max-age=365000000, immutable")


class FilesMode(StrEnum):
    """What clients get for a remote file."""

    #: The way to its origin; where that needs credentials, the file.
    REDIRECT = "redirect"
    #: The file, through this server.
    STREAM = "stream"
    #: The same; what came through once is kept.
    CACHE = "cache"


class FileEndpoint:
    """The files of one index."""

    def __init__(self, mode: FilesMode = FilesMode.REDIRECT) -> None:
        self._redirects = mode is FilesMode.REDIRECT

    async def file(
        self, exchange: Exchange, repository: Repository, project_text: str, file_text: str
    ) -> None:
        """A file of a project's page, or the metadata of one."""
        project, filename = project_name(project_text), FileName(file_text)
        resource = await repository.get_resource(project, filename)
        if await _not_modified(exchange, resource):
            return
        if self._redirects and resource.location is not None:
            await _send_away(exchange, resource.location)
            return
        # Ranges are for GET alone (RFC 9110 §14.2).
        asks_for_part = b"range" in exchange.headers and not exchange.head
        if resource.size is None and (exchange.head or asks_for_part):
            resource = await resource.measured()
            if await _not_modified(exchange, resource):
                return
        wanted = None
        if asks_for_part and resource.size is not None:
            wanted = wanted_range(
                exchange.header(b"range"),
                exchange.header(b"if-range"),
                etag=resource.etag,
                size=resource.size,
            )
        if isinstance(wanted, Unsatisfiable):
            total = (b"content-range", b"bytes */%d" % (resource.size or 0))
            detail = f"{filename} has only {resource.size} bytes."
            await exchange.problem(Problem(416, detail, (total, *_validators(resource.etag))))
        else:
            await _send(exchange, resource, wanted)


async def _not_modified(exchange: Exchange, resource: Resource) -> bool:
    """Answer 304 if the client has just these bytes."""
    if resource.etag is None or b"if-none-match" not in exchange.headers:
        return False
    if not matches(exchange.header(b"if-none-match"), resource.etag):
        return False
    await exchange.reply(304, [*_validators(resource.etag), _FOREVER])
    return True


async def _send_away(exchange: Exchange, location: str) -> None:
    headers = [
        (b"location", location.encode()),
        (b"content-length", b"0"),
        (b"cache-control", b"no-store"),
    ]
    await exchange.reply(302, headers)


async def _send(exchange: Exchange, resource: Resource, wanted: ByteRange | None) -> None:
    if exchange.head:
        await exchange.reply(*_head(resource, wanted, resource.size, resource.etag))
    elif resource.path is not None and wanted is None and exchange.sends_paths:
        await exchange.start(*_head(resource, wanted, resource.size, resource.etag))
        await exchange.send_path(str(resource.path), resource.size or 0)
    else:
        async with resource.open(wanted) as body:
            await _stream(exchange, resource, wanted, body)


async def _stream(
    exchange: Exchange, resource: Resource, wanted: ByteRange | None, body: Body
) -> None:
    chunks = aiter(body.chunks)
    # The first chunk before the status: what fails until then is still answered properly.
    content: bytes | None = await anext(chunks, None)
    await exchange.start(*_head(resource, wanted, body.length, resource.etag or body.etag))
    async with _watching(exchange) as gone:
        while content is not None and exchange.sent + len(content) != body.length:
            await _hand_over(exchange, content, more=True)
            if gone.done():
                return
            content = await anext(chunks, None)
        await _hand_over(exchange, content or b"", more=False)


async def _hand_over(exchange: Exchange, content: bytes, *, more: bool) -> None:
    """Send a part of the body to a client that takes it in time."""
    try:
        async with asyncio.timeout(_TAKE_S):
            await exchange.chunk(content, more=more)
    except TimeoutError as error:
        raise TransferAborted(f"The client took nothing for {_TAKE_S} s.") from error


@asynccontextmanager
async def _watching(exchange: Exchange) -> AsyncIterator[asyncio.Task[None]]:
    """A task that is done when the client has gone; some servers do not say so when sending."""
    gone = asyncio.create_task(exchange.until_gone())
    try:
        yield gone
    finally:
        gone.cancel()


def _head(
    resource: Resource, wanted: ByteRange | None, length: int | None, etag: str | None
) -> tuple[int, Headers]:
    """Status and headers; nothing that an upstream sent is passed on as it came."""
    headers = [
        (b"content-type", resource.media_type.encode()),
        (b"accept-ranges", b"bytes"),
        (b"x-content-type-options", b"nosniff"),
        _FOREVER,
        *_validators(etag),
    ]
    if wanted is not None:
        last, total = wanted.stop - 1, resource.size or 0
        headers.append((b"content-range", b"bytes %d-%d/%d" % (wanted.start, last, total)))
        length = wanted.length
    if length is not None:
        headers.append((b"content-length", str(length).encode()))
    return 206 if wanted else 200, headers


def _validators(etag: str | None) -> Headers:
    return [(b"etag", etag.encode())] if etag else []
