"""Files and their metadata: redirected, from memory, from a descriptor, or streamed."""

from functools import lru_cache

from simple_repository_server.errors import SourceUnavailable
from simple_repository_server.model import FilesMode
from simple_repository_server.names import FileName, file_name, project_name
from simple_repository_server.repository import Repository
from simple_repository_server.resource import Body, ByteRange, Resource
from simple_repository_server.web.conditional import Unsatisfiable, matches, wanted_range
from simple_repository_server.web.endpoint import Endpoint
from simple_repository_server.web.exchange import Exchange, Request
from simple_repository_server.web.open_files import OpenFile, OpenFiles
from simple_repository_server.web.problems import Headers, Problem
from simple_repository_server.web.reply import FilePart, Head, Reply

#: How many heads are remembered of each kind, and how long an address in one may be: a megabyte.
_REMEMBERED, _MAX_LOCATION = 512, 512
_FOREVER = (b"cache-control", b"public, max-age=365000000, immutable")
_ASK_AGAIN = (b"cache-control", b"max-age=0, must-revalidate")


class FileEndpoint:
    """The files of one index."""

    def __init__(self, mode: FilesMode, open_files: OpenFiles) -> None:
        self._redirects = mode is FilesMode.REDIRECT
        self._open_files = open_files
        self.file = Endpoint(self._answer, self._peek)

    def _peek(
        self, request: Request, repository: Repository, project_text: str, file_text: str
    ) -> Reply | None:
        project, filename = project_name(project_text), file_name(file_text)
        resource = repository.peek_resource(project, filename, context=request.context)
        if resource is None:
            return None
        reply = self._without_body(request, resource)
        if reply is not None or _is_to_be_measured(request, resource):
            return reply
        wanted = _wanted(request, resource)
        if isinstance(wanted, Unsatisfiable):
            return None
        if request.head:
            return Reply(_head(resource, None, resource.size, resource.etag))
        content: bytes | OpenFile | None = resource.content
        if content is None and resource.file_key is not None:
            content = self._open_files.peek(resource.file_key)
        return None if content is None else _reply(resource, wanted, content)

    async def _answer(
        self, exchange: Exchange, repository: Repository, project_text: str, file_text: str
    ) -> None:
        """A file of a project's page, or the metadata of one."""
        project, filename = project_name(project_text), file_name(file_text)
        resource = await repository.get_resource(project, filename, context=exchange.context)
        reply = self._without_body(exchange, resource)
        if reply is None and _is_to_be_measured(exchange, resource):
            resource = await resource.with_size()
            reply = self._without_body(exchange, resource)
        if reply is not None:
            await exchange.answer(reply)
            return
        wanted = _wanted(exchange, resource)
        if isinstance(wanted, Unsatisfiable):
            await _refuse_range(exchange, resource, filename)
        elif exchange.head:
            await exchange.answer(Reply(_head(resource, None, resource.size, resource.etag)))
        else:
            await self._send(exchange, resource, wanted)

    def _without_body(self, request: Request, resource: Resource) -> Reply | None:
        """304 if the client has just these bytes, or the way to where it gets them itself."""
        etag = resource.etag
        known = request.header(b"if-none-match")
        if etag is not None and known and matches(known, etag):
            return Reply(_unchanged(etag, _caching(resource)))
        if self._redirects and resource.location is not None:
            if len(resource.location) > _MAX_LOCATION:
                return Reply(_redirection.__wrapped__(resource.location))
            return Reply(_redirection(resource.location))
        return None

    async def _send(self, exchange: Exchange, resource: Resource, wanted: ByteRange | None) -> None:
        content: bytes | OpenFile | None = resource.content
        key = resource.file_key
        if key is not None and (exchange.sends_files or self._open_files.is_small(key)):
            try:
                content = await self._open_files.get(resource, key)
            except SourceUnavailable:
                if resource.fallback is None:
                    raise
                resource = resource.fallback
        if content is not None:
            await exchange.answer(_reply(resource, wanted, content))
        else:
            async with resource.open(wanted) as body:
                await _stream(exchange, resource, wanted, body)


def _is_to_be_measured(request: Request, resource: Resource) -> bool:
    """Whether the answer depends on a size that is not known."""
    return resource.size is None and (request.head or b"range" in request.headers)


def _wanted(request: Request, resource: Resource) -> ByteRange | Unsatisfiable | None:
    """The part that is asked for; None for the whole. Ranges are for GET alone (RFC 9110 §14.2)."""
    if b"range" not in request.headers or request.head or resource.size is None:
        return None
    return wanted_range(
        request.header(b"range"),
        request.header(b"if-range"),
        etag=resource.etag,
        size=resource.size,
    )


def _reply(resource: Resource, wanted: ByteRange | None, content: bytes | OpenFile) -> Reply:
    """The whole, or the part, of what is in memory or open."""
    size = len(content) if isinstance(content, bytes) else content.key.size
    head = _head(resource, wanted, size, resource.etag, total=size)
    if isinstance(content, bytes):
        return Reply(head, content[wanted.start : wanted.stop] if wanted else content)
    whole = wanted or ByteRange(0, size)
    return Reply(head, part=FilePart(content, whole.start, whole.length))


async def _refuse_range(exchange: Exchange, resource: Resource, filename: FileName) -> None:
    total = (b"content-range", b"bytes */%d" % (resource.size or 0))
    detail = f"{filename} has only {resource.size} bytes."
    await exchange.problem(Problem(416, detail, (total, *_validators(resource.etag))))


def _caching(resource: Resource) -> tuple[bytes, bytes]:
    """How long clients may keep it. An argument by position: heads are looked up by it."""
    return _ASK_AGAIN if resource.may_change else _FOREVER


@lru_cache(maxsize=_REMEMBERED)
def _redirection(location: str) -> Head:
    headers = [
        (b"location", location.encode()),
        (b"content-length", b"0"),
        (b"cache-control", b"no-store"),
    ]
    return Head(302, headers)


async def _stream(
    exchange: Exchange, resource: Resource, wanted: ByteRange | None, body: Body
) -> None:
    chunks = aiter(body.chunks)
    # The first chunk before the status: what fails until then is still answered properly.
    content: bytes | None = await anext(chunks, None)
    etag = resource.etag or body.etag
    head = _head(resource, wanted, body.length, etag, total=resource.size or body.total)
    await exchange.start(head.status, head.headers)
    async with exchange.watching() as gone:
        while content is not None and exchange.sent + len(content) != body.length:
            await exchange.chunk(content, more=True)
            if gone.done():
                return
            content = await anext(chunks, None)
        await exchange.chunk(content or b"", more=False)


def _head(
    resource: Resource,
    wanted: ByteRange | None,
    length: int | None,
    etag: str | None,
    *,
    total: int | None = None,
) -> Head:
    """Status and headers; nothing that an upstream sent is passed on as it came."""
    if wanted is None:
        return _whole(resource.media_type, etag, length, _caching(resource))
    whole_size = b"*" if total is None else b"%d" % total
    part = b"bytes %d-%d/%s" % (wanted.start, wanted.stop - 1, whole_size)
    head = _whole(resource.media_type, etag, wanted.length, _caching(resource))
    return Head(206, [*head.headers, (b"content-range", part)])


@lru_cache(maxsize=_REMEMBERED)
def _whole(
    media_type: str, etag: str | None, length: int | None, caching: tuple[bytes, bytes]
) -> Head:
    headers = [
        (b"content-type", media_type.encode()),
        (b"accept-ranges", b"bytes"),
        (b"x-content-type-options", b"nosniff"),
        caching,
        *_validators(etag),
    ]
    if length is not None:
        headers.append((b"content-length", b"%d" % length))
    return Head(200, headers)


@lru_cache(maxsize=_REMEMBERED)
def _unchanged(etag: str, caching: tuple[bytes, bytes]) -> Head:
    return Head(304, [*_validators(etag), caching])


def _validators(etag: str | None) -> Headers:
    return [(b"etag", etag.encode())] if etag else []
