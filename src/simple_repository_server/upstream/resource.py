"""A file of another index: opened by a request, whole or in part."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from typing_extensions import override

from simple_repository_server.errors import (
    ResourceNotFound,
    SourceInvalid,
    SourceUnavailable,
    TransferAborted,
)
from simple_repository_server.resource import Body, ByteRange, RawBody, Resource, verified
from simple_repository_server.upstream.answers import Incoming
from simple_repository_server.upstream.client import UpstreamClient
from simple_repository_server.upstream.failures import error_for_status
from simple_repository_server.upstream.headers import (
    content_range_in,
    strong_tag_in,
    version_in,
)
from simple_repository_server.upstream.transport import SHORT_BYTES

_OK = 200
_PARTIAL = 206
_MISSING = (404, 410)
_METADATA = ".metadata"


class RemoteResource(Resource):
    """A file at `url`, fetched with `client`.

    With `direct`, clients may be redirected to the address. The end of a whole body is only sent if
    it has the size and the digest its index announces (`hashes`: the first one is checked).
    `validator` is a strong entity tag for clients, `version` the validator for ranges.
    """

    def __init__(
        self,
        client: UpstreamClient,
        url: str,
        *,
        project: str,
        filename: str,
        size: int | None = None,
        hashes: Mapping[str, str] | None = None,
        direct: bool = False,
        validator: str | None = None,
        version: str | None = None,
        source: str = "",
    ) -> None:
        self._client = client
        self._url = url
        self._project = project
        self._filename = filename
        self.hashes = hashes or {}
        self.cache_key = f"{client.identity} {url}"
        self.size = size
        self.sha256 = self.hashes.get("sha256")
        self.location = url if direct else None
        self.validator = validator
        self.version = version
        self.source = source

    @override
    @asynccontextmanager
    async def open(self, byte_range: ByteRange | None = None) -> AsyncIterator[Body]:
        headers = {} if byte_range is None else _range(byte_range.start, byte_range.stop)
        if byte_range is not None and self.version is not None:
            headers["If-Range"] = self.version
        wanted_bytes = self.size if byte_range is None else byte_range.length
        async with self._stream("GET", headers, wanted_bytes) as response:
            self._check_status(response)
            self._check_version(response, self.version, whole=byte_range is None)
            if byte_range is None:
                yield self._whole(response, proven=bool(self.hashes))
            elif response.status == _PARTIAL:
                yield self._part(response, byte_range)
            else:
                yield self._range_of_whole(response, byte_range)

    @override
    @asynccontextmanager
    async def open_raw(
        self, start: int = 0, *, version: str | None = None
    ) -> AsyncIterator[RawBody]:
        headers = _range(start) if start else {}
        if start and version is not None:
            headers["If-Range"] = version
        async with self._stream("GET", headers, self.size) as response:
            self._check_status(response)
            found = content_range_in(response.headers)
            if response.status != _PARTIAL:
                begins, total = 0, response.length
            elif start and found is not None and found.start == start:
                begins, total = start, found.total
                self._check_version(response, version, whole=False)
            else:
                raise SourceInvalid(self._client.label, "it sent another part than requested")
            self._check_size(total)
            self._check_coding(response, proven=bool(self.hashes))
            yield RawBody(
                chunks=self._client.chunks(response),
                start=begins,
                total=total,
                version=version_in(response.headers),
            )

    @override
    async def with_size(self) -> Resource:
        if self.size is not None and (self.hashes or self.version is not None):
            return self
        try:
            async with self._stream("HEAD", {}, 0) as response:
                # Some answer every HEAD with length 0.
                if response.status == _OK and response.length:
                    return self._with_size(response.length, response)
        except SourceUnavailable:
            pass  # some indexes fail only for HEAD
        async with self._stream("GET", _range(0, 1), 1) as response:
            self._check_status(response)
            if response.status == _OK:
                return self._with_size(response.length, response)
            found = content_range_in(response.headers)
            return self._with_size(found.total if found else None, response)

    def _stream(
        self, method: str, headers: Mapping[str, str], expected: int | None
    ) -> AbstractAsyncContextManager[Incoming]:
        """The answer, with that many bytes expected (None: unknown)."""
        of_unknown_size = self._filename.endswith(_METADATA)
        short = of_unknown_size if expected is None else expected <= SHORT_BYTES
        return self._client.stream(method, self._url, headers=headers, short=short)

    def _with_size(self, size: int | None, response: Incoming) -> Resource:
        if _is_coded(response):
            size = None  # it may be the size in that coding
        self._check_size(size)
        return RemoteResource(
            self._client,
            self._url,
            project=self._project,
            filename=self._filename,
            size=size,
            hashes=self.hashes,
            direct=self.location is not None,
            validator=strong_tag_in(response.headers),
            version=version_in(response.headers),
            source=self.source,
        )

    def _check_status(self, response: Incoming) -> None:
        if response.status in _MISSING:
            raise ResourceNotFound(self._project, self._filename)
        if response.status not in (_OK, _PARTIAL):
            raise error_for_status(self._client.label, response.status, response.headers)

    def _check_size(self, length: int | None) -> None:
        if self.size is not None and length is not None and length != self.size:
            reason = f"{self._filename} has {length} bytes, its page says {self.size}"
            raise SourceInvalid(self._client.label, reason)

    def _has_size(self, length: int | None) -> bool:
        """Whether that is the announced size, the only proof there is for a part."""
        return self.size is not None and length == self.size

    def _check_version(self, response: Incoming, expected: str | None, *, whole: bool) -> None:
        """Reject another version than expected, unless a digest will be checked on the whole.

        Not every server honours `If-Range`. A 206 may omit the date (RFC 9110 §15.3.7), but not the
        tag: without it, only a digest shows which version it is.
        """
        if expected is None or (self.hashes and whole):
            return
        found = version_in(response.headers)
        if found is None and not whole and (self.hashes or not expected.startswith('"')):
            return
        if found != expected:
            reason = f"it has another version of {self._filename} now than before"
            raise SourceInvalid(self._client.label, reason)

    def _check_coding(self, response: Incoming, *, proven: bool) -> None:
        """Reject a body with a content coding, unless its digest or size will be checked.

        Some servers announce a coding for every `.gz` file they send unchanged.
        """
        if not proven and _is_coded(response):
            raise SourceInvalid(
                self._client.label, f"it sent {self._filename} with a content coding"
            )

    def _whole(self, response: Incoming, *, proven: bool) -> Body:
        length = response.length
        if response.status != _OK:
            raise SourceInvalid(
                self._client.label, "it sent a part of the file instead of all of it"
            )
        self._check_size(length)
        self._check_coding(response, proven=proven)
        digest = next(iter(self.hashes.items()), None)
        size = self.size if self.size is not None else length
        chunks = verified(
            self._client.chunks(response), what=self._filename, size=size, digest=digest
        )
        return Body(chunks=chunks, length=size, total=size, etag=strong_tag_in(response.headers))

    def _part(self, response: Incoming, wanted: ByteRange) -> Body:
        found = content_range_in(response.headers)
        if found is None or found.start != wanted.start or found.stop > wanted.stop:
            raise SourceInvalid(self._client.label, "it sent another part than requested")
        self._check_size(found.total)
        self._check_coding(response, proven=self._has_size(found.total))
        if found.stop not in (wanted.stop, found.total):
            raise SourceInvalid(self._client.label, "it sent less than requested")
        length = found.stop - wanted.start
        chunks = verified(
            self._client.chunks(response), what=self._filename, size=length, digest=None
        )
        etag = strong_tag_in(response.headers)
        return Body(chunks=chunks, length=length, total=found.total, etag=etag)

    def _range_of_whole(self, response: Incoming, wanted: ByteRange) -> Body:
        """A part of a whole body, from an index that ignores ranges."""
        body = self._whole(response, proven=self._has_size(response.length))
        chunks = _slice(body.chunks, wanted, self._filename)
        stop = wanted.stop if body.total is None else min(wanted.stop, body.total)
        length = max(0, stop - wanted.start)
        return Body(
            chunks=chunks, length=length, total=body.total, etag=body.etag, ranges_ignored=True
        )


def _is_coded(response: Incoming) -> bool:
    return response.headers.get("Content-Encoding", "identity").lower() != "identity"


def _range(start: int, stop: int | None = None) -> dict[str, str]:
    """The header that requests the bytes from `start` up to `stop`, or to the end."""
    return {"Range": f"bytes={start}-{'' if stop is None else stop - 1}"}


async def _slice(
    chunks: AsyncIterator[bytes], wanted: ByteRange, what: str
) -> AsyncIterator[bytes]:
    position = 0
    async for chunk in chunks:
        part = chunk[max(0, wanted.start - position) : max(0, wanted.stop - position)]
        position += len(chunk)
        if part:
            yield part
        if position >= wanted.stop:
            return
    if position < wanted.start:
        raise TransferAborted(f"{what} is shorter than it should be.")
