"""Files and their metadata: redirected, from memory, from a descriptor, or streamed."""

import time
from collections.abc import AsyncIterator
from functools import lru_cache, partial

from simple_repository_server.errors import SourceUnavailable, TransferAborted
from simple_repository_server.model import FilesMode
from simple_repository_server.names import FileName, ProjectName, file_name, project_name
from simple_repository_server.repository import Repository
from simple_repository_server.resource import Body, ByteRange, Resource
from simple_repository_server.web.audit import hand_out
from simple_repository_server.web.cache_status import cache_status
from simple_repository_server.web.conditional import (
    Unsatisfiable,
    file_etag,
    matches,
    wanted_range,
)
from simple_repository_server.web.endpoint import PathNames
from simple_repository_server.web.exchange import Exchange, Request
from simple_repository_server.web.open_files import OpenFile, OpenFiles, SmallFile
from simple_repository_server.web.problems import Headers, Problem
from simple_repository_server.web.reply import FilePart, Head, Reply

#: How many heads of each kind are remembered.
_REMEMBERED = 512
#: The longest address in a remembered head: together at most a megabyte.
_MAX_LOCATION = 512
#: Shorter streams are received in full, verified, and sent in one write.
_SEND_WHOLE_BYTES = 128 * 1024
#: Unless they take longer: then the disconnection of a client has to be noticed.
_SEND_WHOLE_S = 1.0
_IMMUTABLE = (b"cache-control", b"public, max-age=365000000, immutable")
_REVALIDATE = (b"cache-control", b"max-age=0, must-revalidate")


class FileEndpoint:
    """The files of one index, and their metadata.

    With `debug_headers` answers have a `Cache-Status` header.
    """

    def __init__(
        self, mode: FilesMode, open_files: OpenFiles, *, debug_headers: bool = False
    ) -> None:
        self._redirects = mode is FilesMode.REDIRECT
        self._open_files = open_files
        self._debug_headers = debug_headers

    def peek(self, request: Request, repository: Repository, names: PathNames) -> Reply | None:
        """The file if it is in memory or open, or the redirect to its origin."""
        project, filename = project_name(names.project), file_name(names.file)
        request.again = partial(self._peek, repository, project, filename)
        return self._peek(repository, project, filename, request)

    def _peek(
        self, repository: Repository, project: ProjectName, filename: FileName, request: Request
    ) -> Reply | None:
        resource = repository.peek_resource(project, filename, context=request.context)
        if resource is None:
            return None
        request.cache = resource.verdict
        hand_out(request, project, filename, resource)
        reply = self._without_body(request, resource)
        if reply is None and not _needs_size(request, resource):
            reply = self._peek_body(request, resource)
        return self._debugged(reply, resource) if self._debug_headers and reply else reply

    def _peek_body(self, request: Request, resource: Resource) -> Reply | None:
        wanted = _wanted(request, resource)
        if isinstance(wanted, Unsatisfiable):
            return None
        if request.head:
            return Reply(_head(resource, None, resource.size, file_etag(resource)))
        if resource.content is not None:
            return _reply(resource, wanted, resource.content)
        if resource.file_key is None:
            return None
        found = self._open_files.peek(resource.file_key)
        if wanted is None and isinstance(found, SmallFile):
            return _whole_small_file(resource, found)
        return None if found is None else _reply(resource, wanted, found)

    async def answer(self, exchange: Exchange, repository: Repository, names: PathNames) -> None:
        """Send the file, or the metadata of one."""
        project, filename = project_name(names.project), file_name(names.file)
        resource = await repository.get_resource(project, filename, context=exchange.context)
        exchange.cache = resource.verdict
        hand_out(exchange, project, filename, resource)
        reply = self._without_body(exchange, resource)
        if reply is None and _needs_size(exchange, resource):
            resource = await resource.with_size()
            reply = self._without_body(exchange, resource)
        if reply is not None:
            await self._answer_with(exchange, resource, reply)
            return
        wanted = _wanted(exchange, resource)
        if isinstance(wanted, Unsatisfiable):
            await _reject_range(exchange, resource, filename)
        elif exchange.head:
            head = _head(resource, None, resource.size, file_etag(resource))
            await self._answer_with(exchange, resource, Reply(head))
        else:
            await self._send(exchange, resource, wanted)

    def _without_body(self, request: Request, resource: Resource) -> Reply | None:
        """304 if the client has just these bytes, or the redirect to their origin."""
        if request.if_none_match:
            etag = file_etag(resource)
            if etag is not None and matches(request.if_none_match, etag):
                return _unchanged(etag, _lifetime(resource))
        if self._redirects and resource.location is not None:
            if len(resource.location) > _MAX_LOCATION:
                return _redirect.__wrapped__(resource.location)
            return _redirect(resource.location)
        return None

    async def _send(self, exchange: Exchange, resource: Resource, wanted: ByteRange | None) -> None:
        content: bytes | SmallFile | OpenFile | None = resource.content
        key = resource.file_key
        if key is not None and (exchange.sends_files or self._open_files.is_small(key)):
            try:
                content = await self._open_files.get(resource, key)
            except SourceUnavailable:
                if resource.fallback is None:
                    raise
                resource = resource.fallback
                exchange.cache = resource.verdict
        if content is not None:
            await self._answer_with(exchange, resource, _reply(resource, wanted, content))
        else:
            async with resource.open(wanted) as body:
                await self._stream(exchange, resource, wanted, body)

    async def _stream(
        self, exchange: Exchange, resource: Resource, wanted: ByteRange | None, body: Body
    ) -> None:
        etag = file_etag(resource) or body.etag
        head = _head(resource, wanted, body.length, etag, total=resource.size or body.total)
        head = self._debugged(Reply(head), resource).head if self._debug_headers else head
        chunks = aiter(body.chunks)
        # Before the status: an error until then still becomes a problem.
        chunk = await _beginning(chunks, body.length)
        await exchange.start(head.status, head.headers)
        if chunk is not None and len(chunk) == body.length:
            await exchange.send_chunk(chunk, more=False)
            return
        async with exchange.watch_disconnect() as disconnected:
            while chunk is not None and exchange.sent + len(chunk) != body.length:
                await exchange.send_chunk(chunk, more=True)
                if disconnected.done():
                    return
                chunk = await anext(chunks, None)
            await exchange.send_chunk(chunk or b"", more=False)

    async def _answer_with(self, exchange: Exchange, resource: Resource, reply: Reply) -> None:
        if self._debug_headers:
            reply = self._debugged(reply, resource)
        await exchange.answer(reply)

    def _debugged(self, reply: Reply, resource: Resource) -> Reply:
        """The same answer with what the cache did; itself if no cache was used."""
        status = cache_status(resource.verdict)
        if status is None:
            return reply
        return Reply(Head(reply.status, [*reply.headers, status]), reply.body, reply.part)


async def _beginning(chunks: AsyncIterator[bytes], length: int | None) -> bytes | None:
    """The first chunk, or all of a short body that arrives quickly; None if the body is empty.

    Raises `TransferAborted` if a short body turns out not to have its announced length.
    """
    first = await anext(chunks, None)
    if length is None or length > _SEND_WHOLE_BYTES:
        return first
    parts = [first or b""]
    received = len(parts[0])
    deadline = time.monotonic() + _SEND_WHOLE_S
    while received < length and time.monotonic() < deadline:
        chunk = await anext(chunks, None)
        if chunk is None:
            raise TransferAborted(f"A body of {length} bytes ended after {received}.")
        parts.append(chunk)
        received += len(chunk)
    if received > length or (received == length and await anext(chunks, None) is not None):
        raise TransferAborted(f"A body of {length} bytes went on after them.")
    return b"".join(parts)


def _needs_size(request: Request, resource: Resource) -> bool:
    """Whether the answer depends on a size that is not known."""
    return resource.size is None and (request.head or b"range" in request.headers)


def _wanted(request: Request, resource: Resource) -> ByteRange | Unsatisfiable | None:
    """The requested part; None for the whole. Ranges are for GET alone (RFC 9110 §14.2)."""
    if b"range" not in request.headers or request.head or resource.size is None:
        return None
    return wanted_range(
        request.header(b"range"),
        request.header(b"if-range"),
        etag=file_etag(resource),
        size=resource.size,
    )


def _reply(
    resource: Resource, wanted: ByteRange | None, found: bytes | SmallFile | OpenFile
) -> Reply:
    """The whole, or the part, of what is in memory or open."""
    content = found.content if isinstance(found, SmallFile) else found
    size = len(content) if isinstance(content, bytes) else content.key.size
    head = _head(resource, wanted, size, file_etag(resource), total=size)
    if isinstance(content, bytes):
        return Reply(head, content[wanted.start : wanted.stop] if wanted else content)
    whole = wanted or ByteRange(0, size)
    return Reply(head, part=FilePart(content, whole.start, whole.length))


def _whole_small_file(resource: Resource, file: SmallFile) -> Reply:
    """The answer with a whole file; the same object each time, as long as its resource is."""
    if file.answered is not resource or file.answer is None:
        head = _head(resource, None, len(file.content), file_etag(resource))
        file.answered, file.answer = resource, Reply(head, file.content, lasting=True)
    return file.answer


async def _reject_range(exchange: Exchange, resource: Resource, filename: FileName) -> None:
    total = (b"content-range", b"bytes */%d" % (resource.size or 0))
    detail = f"{filename} has only {resource.size} bytes."
    await exchange.problem(Problem(416, detail, (total, *_validators(file_etag(resource)))))


def _lifetime(resource: Resource) -> tuple[bytes, bytes]:
    """For how long clients may cache it: for ever, or until they revalidate it."""
    return _REVALIDATE if resource.may_change else _IMMUTABLE


@lru_cache(maxsize=_REMEMBERED)
def _redirect(location: str) -> Reply:
    headers = [
        (b"location", location.encode()),
        (b"content-length", b"0"),
        (b"cache-control", b"no-store"),
    ]
    return Reply(Head(302, headers), lasting=True)


def _head(
    resource: Resource,
    wanted: ByteRange | None,
    length: int | None,
    etag: str | None,
    *,
    total: int | None = None,
) -> Head:
    """Status and headers; no header of an upstream is passed on as it is."""
    if wanted is None:
        return _whole(resource.media_type, etag, length, _lifetime(resource))
    whole_size = b"*" if total is None else b"%d" % total
    part = b"bytes %d-%d/%s" % (wanted.start, wanted.stop - 1, whole_size)
    head = _whole(resource.media_type, etag, wanted.length, _lifetime(resource))
    return Head(206, [*head.headers, (b"content-range", part)])


@lru_cache(maxsize=_REMEMBERED)
def _whole(
    media_type: str, etag: str | None, length: int | None, lifetime: tuple[bytes, bytes]
) -> Head:
    headers = [
        (b"content-type", media_type.encode()),
        (b"accept-ranges", b"bytes"),
        (b"x-content-type-options", b"nosniff"),
        lifetime,
        *_validators(etag),
    ]
    if length is not None:
        headers.append((b"content-length", b"%d" % length))
    return Head(200, headers)


@lru_cache(maxsize=_REMEMBERED)
def _unchanged(etag: str, lifetime: tuple[bytes, bytes]) -> Reply:
    return Reply(Head(304, [*_validators(etag), lifetime]), lasting=True)


def _validators(etag: str | None) -> Headers:
    return [(b"etag", etag.encode())] if etag else []
