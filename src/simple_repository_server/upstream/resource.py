"""A file that another index has: opened by a request, whole or in part."""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import aiohttp
from typing_extensions import override

from simple_repository_server.errors import (
    ResourceNotFound,
    SourceInvalid,
    SourceUnavailable,
    TransferAborted,
)
from simple_repository_server.resource import Body, ByteRange, Resource, Transfer, verified
from simple_repository_server.upstream.client import UpstreamClient
from simple_repository_server.upstream.failures import refusal

_OK, _PARTIAL, _MISSING = 200, 206, (404, 410)
_FIRST_BYTE = {"Range": "bytes=0-0"}
# Longer numbers are no position in any file.
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", re.ASCII)


class RemoteResource(Resource):
    """A file at `url`, fetched with `client`. `shown_as` is what errors call it.

    With `direct`, clients may be sent to the address themselves. A whole body is only completed
    when it has the size and the digest its index gives (`hashes`: the first one counts).
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
    ) -> None:
        self._client = client
        self._url = url
        self._project = project
        self._filename = filename
        self.hashes = hashes or {}
        self.identity = f"{client.identity} {url}"
        self.size = size
        self.sha256 = self.hashes.get("sha256")
        self.location = url if direct else None
        self.validator = validator
        self.version = version

    @override
    @asynccontextmanager
    async def open(self, byte_range: ByteRange | None = None) -> AsyncIterator[Body]:
        headers = {}
        if byte_range is not None:
            headers["Range"] = f"bytes={byte_range.start}-{byte_range.stop - 1}"
        async with self._client.stream("GET", self._url, headers=headers) as response:
            self._check_status(response)
            if byte_range is None:
                yield self._whole(response)
            elif response.status == _PARTIAL:
                yield self._part(response, byte_range)
            else:
                yield self._cut(response, byte_range)

    @override
    @asynccontextmanager
    async def transfer(
        self, start: int = 0, *, version: str | None = None
    ) -> AsyncIterator[Transfer]:
        headers = {}
        if start:
            headers["Range"] = f"bytes={start}-"
            if version is not None:
                headers["If-Range"] = version
        async with self._client.stream("GET", self._url, headers=headers) as response:
            self._check_status(response)
            found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
            if response.status != _PARTIAL:
                begins, total = 0, response.content_length
                self._check_coding(response)
            elif start and found is not None and int(found[1]) == start:
                begins, total = start, None if found[3] == "*" else int(found[3])
            else:
                raise SourceInvalid(self._client.label, "it sent another part than was asked for")
            self._check_size(total)
            yield Transfer(
                chunks=self._client.chunks(response),
                start=begins,
                total=total,
                version=_version(response),
            )

    @override
    async def measured(self) -> Resource:
        if self.size is not None and (self.hashes or self.version is not None):
            return self
        try:
            async with self._client.stream("HEAD", self._url) as response:
                # Some say 0 to every HEAD, as they have no body for it.
                if response.status == _OK and response.content_length:
                    return self._with_size(response.content_length, response)
        except SourceUnavailable:
            pass  # some indexes fail at HEAD alone
        async with self._client.stream("GET", self._url, headers=_FIRST_BYTE) as response:
            self._check_status(response)
            if response.status == _OK:
                return self._with_size(response.content_length, response)
            found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
            total = int(found[3]) if found and found[3] != "*" else None
            return self._with_size(total, response)

    def _with_size(self, size: int | None, response: aiohttp.ClientResponse) -> Resource:
        return RemoteResource(
            self._client,
            self._url,
            project=self._project,
            filename=self._filename,
            size=size,
            hashes=self.hashes,
            direct=self.location is not None,
            validator=_validator(response),
            version=_version(response),
        )

    def _check_status(self, response: aiohttp.ClientResponse) -> None:
        if response.status in _MISSING:
            raise ResourceNotFound(self._project, self._filename)
        if response.status not in (_OK, _PARTIAL):
            raise refusal(self._client.label, response.status, response.headers)

    def _check_size(self, length: int | None) -> None:
        if self.size is not None and length is not None and length != self.size:
            reason = f"{self._filename} has {length} bytes there, its page says {self.size}"
            raise SourceInvalid(self._client.label, reason)

    def _check_coding(self, response: aiohttp.ClientResponse) -> None:
        """A body that was coded all the same is only of use where a digest tells what it is."""
        if not self.hashes and response.headers.get("Content-Encoding", "identity") != "identity":
            raise SourceInvalid(self._client.label, f"it sent {self._filename} coded, without need")

    def _whole(self, response: aiohttp.ClientResponse) -> Body:
        length = response.content_length
        if response.status != _OK:
            raise SourceInvalid(self._client.label, "it sent a part where all was asked for")
        self._check_size(length)
        self._check_coding(response)
        digest = next(iter(self.hashes.items()), None)
        size = self.size if self.size is not None else length
        chunks = verified(
            self._client.chunks(response), what=self._filename, size=size, digest=digest
        )
        return Body(chunks=chunks, length=size, total=size, etag=_validator(response))

    def _part(self, response: aiohttp.ClientResponse, wanted: ByteRange) -> Body:
        found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if found is None or int(found[1]) != wanted.start or int(found[2]) >= wanted.stop:
            raise SourceInvalid(self._client.label, "it sent another part than was asked for")
        total = None if found[3] == "*" else int(found[3])
        stop = int(found[2]) + 1
        if stop not in (wanted.stop, total):
            raise SourceInvalid(self._client.label, "it sent less than was asked for")
        length = stop - wanted.start
        chunks = verified(
            self._client.chunks(response), what=self._filename, size=length, digest=None
        )
        return Body(chunks=chunks, length=length, total=total, etag=_validator(response))

    def _cut(self, response: aiohttp.ClientResponse, wanted: ByteRange) -> Body:
        """A part of a whole body, from an index that does not do ranges."""
        body = self._whole(response)
        chunks = _cut(body.chunks, wanted, self._filename)
        stop = wanted.stop if body.total is None else min(wanted.stop, body.total)
        length = max(0, stop - wanted.start)
        return Body(chunks=chunks, length=length, total=body.total, etag=body.etag, cut=True)


def _validator(response: aiohttp.ClientResponse) -> str | None:
    etag = response.headers.get("ETag", "")
    return etag if re.fullmatch(r'"[\x21\x23-\x7e]*"', etag) else None


def _version(response: aiohttp.ClientResponse) -> str | None:
    """A validator for `If-Range`: a strong entity tag, or a date where there is none at all.

    Beside a weak tag the date may not be used: it is no stronger (RFC 9110 §13.1.5).
    """
    if "ETag" in response.headers:
        return _validator(response)
    return response.headers.get("Last-Modified")


async def _cut(chunks: AsyncIterator[bytes], wanted: ByteRange, what: str) -> AsyncIterator[bytes]:
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
