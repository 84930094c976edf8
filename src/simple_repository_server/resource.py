"""What `get_resource` returns: the bytes of a file or of its metadata, not yet read.

A `Resource` has what is known before it is opened (size, digest). Optional abilities are
attributes that are None where missing: to be sent by path, to be fetched by the client itself.
The web layer checks for the ability and never for the class.
"""

import asyncio
import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO

import msgspec
from typing_extensions import override

from simple_repository_server.errors import SourceUnavailable, TransferAborted, os_reason
from simple_repository_server.opening import open_regular

#: How much of a local file is read at once.
CHUNK_BYTES = 256 * 1024
#: How much of the end of a file is held back until its size and digest are verified.
HELD_BACK_BYTES = 64 * 1024
OCTET_STREAM = "application/octet-stream"
#: Core metadata: RFC 822 headers in UTF-8.
METADATA_TYPE = "text/plain; charset=utf-8"


class ByteRange(msgspec.Struct, frozen=True):
    """The bytes from `start` up to but not including `stop`."""

    start: int
    stop: int

    @property
    def length(self) -> int:
        """The number of bytes."""
        return self.stop - self.start


class Body(msgspec.Struct, frozen=True, kw_only=True):
    """An opened body: its bytes as a stream, and what is known once it is open."""

    chunks: AsyncIterator[bytes]
    #: How many bytes `chunks` will yield; None if the origin does not state it.
    length: int | None
    #: The size of the complete resource, of which this may be a range; None if unknown.
    total: int | None = None
    #: The origin's strong validator with its quotes, for resources without a digest.
    etag: str | None = None
    #: Whether the origin ignored the requested range and sent the complete resource.
    ranges_ignored: bool = False


class RawBody(msgspec.Struct, frozen=True, kw_only=True):
    """An opened body as its origin sends it: neither size nor digest are verified."""

    chunks: AsyncIterator[bytes]
    #: The offset of the first byte of `chunks` in the complete resource.
    start: int = 0
    #: The size of the complete resource; None if the origin does not state it.
    total: int | None = None
    #: The origin's validator for these bytes, with which the transfer can be resumed.
    version: str | None = None


class FileKey(msgspec.Struct, frozen=True):
    """The identity of a local file: a replaced or changed file has another one."""

    path: str
    inode: int | None
    size: int
    mtime_ns: int


class Resource(ABC):
    """Bytes that can be opened, completely or in part.

    To serve another kind of storage, subclass it, set the attributes that are known, and
    implement `open`.
    """

    #: In bytes; None if unknown before it is opened (see `with_size`).
    size: int | None = None
    #: The sha256 digest of the bytes in lowercase hex; None if unknown.
    sha256: str | None = None
    media_type: str = OCTET_STREAM
    #: A strong validator with its quotes, for resources without a digest (RFC 9110 §8.8.3).
    validator: str | None = None
    #: The bytes, if they are in memory.
    content: bytes | None = None
    #: A local file with the complete bytes.
    path: Path | None = None
    #: The identity of that file: `open_checked` opens it and no other.
    file_key: FileKey | None = None
    #: Another resource with the same bytes, used if the file is missing or corrupt.
    fallback: "Resource | None" = None
    #: Whether the bytes of that name may change, so that clients must revalidate each time.
    may_change: bool = False
    #: An address from which clients can fetch the bytes themselves, without credentials.
    location: str | None = None
    #: The key under which a cache may store the bytes; None if they must not be stored.
    cache_key: str | None = None
    #: The origin's validator for these bytes: its ETag or Last-Modified.
    version: str | None = None
    #: What the cache decided about it: `hit` or `miss`; "" if no cache was used.
    verdict: str = ""
    #: The name of the source that provides it, without secrets; "" if unknown.
    source: str = ""
    #: The digests that the bytes must have, by algorithm (as `hashlib` names it). The first one
    #: is verified.
    hashes: Mapping[str, str] = MappingProxyType({})

    @abstractmethod
    def open(self, byte_range: ByteRange | None = None) -> AbstractAsyncContextManager[Body]:
        """The bytes as a stream, whose last part is held back until all of it is verified.

        Without `byte_range`, the complete bytes. Raises `ResourceNotFound` or `SourceUnavailable`
        on entering, and `TransferAborted` while reading, if the bytes break off or have another
        digest.
        """

    @asynccontextmanager
    async def open_raw(
        self, start: int = 0, *, version: str | None = None
    ) -> AsyncIterator[RawBody]:
        """The bytes unverified, from `start` on, to resume a transfer.

        `version` is the validator of the earlier transfer. An origin that has another version, or
        ignores ranges, sends everything: `RawBody.start` is where its bytes begin. Raises as
        `open`.
        """
        del start, version
        async with self.open() as body:
            yield RawBody(chunks=body.chunks, total=body.total or body.length, version=body.etag)

    def open_checked(self) -> BinaryIO:
        """The open file of `file_key`; only for resources with a `file_key`. Does blocking I/O.

        Raises `SourceUnavailable` if the file is missing or another one.
        """
        raise NotImplementedError

    async def with_size(self) -> "Resource":
        """The resource with its size, if that can be determined without reading the bytes.

        Raises as `open`.
        """
        return self

    @property
    def etag(self) -> str | None:
        """A strong entity tag with its quotes: the digest if known, else `validator`."""
        return f'"sha256:{self.sha256}"' if self.sha256 else self.validator


class BytesResource(Resource):
    """A resource whose bytes are in memory."""

    content: bytes

    def __init__(
        self,
        content: bytes,
        *,
        media_type: str = OCTET_STREAM,
        sha256: str | None = None,
        may_change: bool = False,
    ) -> None:
        self.content = content
        self.may_change = may_change
        self.size = len(content)
        self.media_type = media_type
        self.sha256 = sha256

    @override
    @asynccontextmanager
    async def open(self, byte_range: ByteRange | None = None) -> AsyncIterator[Body]:
        content = self.content
        if byte_range is not None:
            content = content[byte_range.start : byte_range.stop]

        async def chunks() -> AsyncIterator[bytes]:
            yield content

        yield Body(chunks=chunks(), length=len(content), total=self.size)


class PathResource(Resource):
    """A local file, which is only served while it is the one with the given identity.

    `size`, `mtime_ns` and `inode` (None: any) are its identity: a file that was replaced cannot be
    opened, so the bytes of two files are never mixed. With `root` (a real path) the file is only
    opened if it is below that, wherever symlinks on its path lead by now.
    """

    path: Path
    size: int

    def __init__(
        self,
        path: Path,
        *,
        size: int,
        mtime_ns: int,
        inode: int | None = None,
        sha256: str | None = None,
        root: str | None = None,
        source: str = "",
    ) -> None:
        self.path = path
        self.size = size
        self.mtime_ns = mtime_ns
        self.inode = inode
        self.sha256 = sha256
        self.root = root
        self.source = source
        self.file_key = FileKey(str(path), inode, size, mtime_ns)

    @override
    def open_checked(self) -> BinaryIO:
        try:
            file = open_regular(str(self.path), root=self.root)
        except OSError as error:
            reason = f"{self.path.name} cannot be read ({os_reason(error)})"
            raise SourceUnavailable("file system", reason) from error
        if not self._is(file):
            file.close()
            raise SourceUnavailable("file system", f"{self.path.name} was replaced or changed")
        return file

    def _is(self, file: BinaryIO) -> bool:
        """Whether the open file has the expected identity."""
        found = os.fstat(file.fileno())
        unchanged = (found.st_size, found.st_mtime_ns) == (self.size, self.mtime_ns)
        return unchanged and self.inode in (None, found.st_ino)

    @override
    @asynccontextmanager
    async def open(self, byte_range: ByteRange | None = None) -> AsyncIterator[Body]:
        wanted = byte_range or ByteRange(0, self.size)
        file = await asyncio.to_thread(self.open_checked)
        try:
            yield Body(chunks=self._chunks(file, wanted), length=wanted.length, total=self.size)
        finally:
            file.close()

    async def _chunks(self, file: BinaryIO, wanted: ByteRange) -> AsyncIterator[bytes]:
        """The bytes; the last chunk only if the file has not changed since it was opened."""
        position = wanted.start
        while position < wanted.stop:
            length = min(CHUNK_BYTES, wanted.stop - position)
            chunk = await asyncio.to_thread(os.pread, file.fileno(), length, position)
            if not chunk:
                raise TransferAborted(f"{self.path.name} became shorter while it was sent.")
            position += len(chunk)
            if position == wanted.stop and not self._is(file):
                raise TransferAborted(f"{self.path.name} was changed while it was sent.")
            yield chunk


async def verified(
    chunks: AsyncIterator[bytes], *, what: str, size: int | None, digest: tuple[str, str] | None
) -> AsyncIterator[bytes]:
    """The chunks, of which the last one is yielded only once size and digest are verified.

    Near either end, or if the size is unknown, chunks are yielded one step late: as long as
    nothing was sent, a defect can still be answered with an error status.

    `digest` is an algorithm that `hashlib` supports and the lowercase hex digest. `what` names
    the file in errors. Raises `TransferAborted`.
    """
    hasher = hashlib.new(digest[0], usedforsecurity=False) if digest else None
    received, held = 0, b""
    async for chunk in chunks:
        received += len(chunk)
        if size is not None and received > size:
            raise TransferAborted(f"{what} is longer than its {size} bytes.")
        if hasher is not None:
            hasher.update(chunk)
        if held:
            yield held
        held = chunk
        if size is not None and received >= HELD_BACK_BYTES <= size - received:
            yield held
            held = b""
    if size is not None and received != size:
        raise TransferAborted(f"{what} ended after {received} of {size} bytes.")
    if hasher is not None and digest is not None and hasher.hexdigest() != digest[1]:
        raise TransferAborted(f"{what} does not match the {digest[0]} digest of its index.")
    if held:
        yield held
