"""What `get_resource` answers with: the bytes of a file or of its metadata, not yet read.

A `Resource` says what is known beforehand (size, digest) and opens itself. What else it can do is
an attribute that is None where it cannot: be sent by its path, be fetched by the client itself.
The web layer asks for the ability and never for the class.
"""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO

import msgspec
from typing_extensions import override

from simple_repository_server.errors import SourceUnavailable, TransferAborted, os_reason
from simple_repository_server.opening import open_regular

CHUNK_BYTES = 256 * 1024
#: No client gets the last bytes of a file before it has proved right.
HELD_BACK_BYTES = 64 * 1024
OCTET_STREAM = "application/octet-stream"
#: Core metadata: RFC 822 headers in UTF-8.
METADATA_TYPE = "text/plain; charset=utf-8"


class ByteRange(msgspec.Struct, frozen=True):
    """The bytes from `start` up to, not including, `stop`."""

    start: int
    stop: int

    @property
    def length(self) -> int:
        """How many bytes that is."""
        return self.stop - self.start


class Body(msgspec.Struct, frozen=True, kw_only=True):
    """An opened body: its bytes as a stream, and what is known of them by now."""

    chunks: AsyncIterator[bytes]
    #: How many bytes `chunks` will bring; None if the origin does not say.
    length: int | None
    #: The size of the whole, of which this may be a range; None if unknown.
    total: int | None = None
    #: The origin's strong validator with its quotes, for resources without a digest.
    etag: str | None = None
    #: Whether the origin sends the whole for a part, so that asking for parts is no use.
    ranges_ignored: bool = False


class RawBody(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes on their way from their origin, of which nothing has been checked."""

    chunks: AsyncIterator[bytes]
    #: The place in the whole at which they begin.
    start: int = 0
    #: The size of the whole; None if the origin does not say.
    total: int | None = None
    #: What the origin calls this version of the bytes, to go on with it later.
    version: str | None = None


class FileKey(msgspec.Struct, frozen=True):
    """Which file on this machine: replaced or changed, it is another one."""

    path: str
    inode: int | None
    size: int
    mtime_ns: int


class Resource:
    """Bytes that can be opened, whole or in part.

    Subclass it for a new kind of storage: set what is known, implement `open`.
    """

    #: In bytes; None if only opening (or `with_size`) will tell.
    size: int | None = None
    #: The sha256 of the very bytes, lowercase hex.
    sha256: str | None = None
    media_type: str = OCTET_STREAM
    #: A strong validator with its quotes, for resources without a digest (RFC 9110 §8.8.3).
    validator: str | None = None
    #: The bytes, if they are in memory.
    content: bytes | None = None
    #: A file on this machine that holds the bytes, whole.
    path: Path | None = None
    #: Which file that is exactly: `open_checked` opens it and no other.
    file_key: FileKey | None = None
    #: Has the bytes, too, where the file proves to be gone or corrupt.
    fallback: "Resource | None" = None
    #: Under the same name there may be other bytes by and by: clients are to ask again each time.
    may_change: bool = False
    #: Where a client can fetch the bytes itself, without credentials.
    location: str | None = None
    #: What the bytes may be kept under; None if they are not worth keeping.
    cache_key: str | None = None
    #: What the origin calls this version of the bytes (its ETag or Last-Modified).
    version: str | None = None
    #: What the cache decided about it: `hit` or `miss`; "" if no cache was used.
    verdict: str = ""
    #: Digests the bytes must have, by the names `hashlib` knows; the first one counts.
    hashes: Mapping[str, str] = MappingProxyType({})

    def open(self, byte_range: ByteRange | None = None) -> AbstractAsyncContextManager[Body]:
        """The bytes as a stream, of which the last part only comes once all proved right.

        Raises on entering: `ResourceNotFound`, `SourceUnavailable`. While reading:
        `TransferAborted`, when the bytes break off or are not those of the digest.
        """
        raise NotImplementedError

    @asynccontextmanager
    async def open_raw(
        self, start: int = 0, *, version: str | None = None
    ) -> AsyncIterator[RawBody]:
        """The bytes from `start` on, or from an earlier place if the origin cannot do better.

        `version` is that of an earlier transfer: of another version all is sent. Raises as `open`.
        """
        del start, version
        async with self.open() as body:
            yield RawBody(chunks=body.chunks, total=body.total or body.length, version=body.etag)

    def open_checked(self) -> BinaryIO:
        """The file of `file_key`, opened; not for resources without one. Blocks as the disk does.

        Raises `SourceUnavailable` if it is not there, or not the one that was looked at.
        """
        raise NotImplementedError

    async def with_size(self) -> "Resource":
        """The same resource with its size known, if that can be found without its bytes."""
        return self


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
    """A file on this machine, which must still be the one that was looked at.

    `size`, `mtime_ns` and `inode` (None: not known) say which one that is: a file replaced in the
    meantime cannot be opened, so two files are never mixed. With `root` (a real path) it is only
    opened where it lies below that, whatever became of the symlinks on the way.
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
    ) -> None:
        self.path = path
        self.size = size
        self.mtime_ns = mtime_ns
        self.inode = inode
        self.sha256 = sha256
        self.root = root
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
            raise SourceUnavailable("file system", f"{self.path.name} was just replaced")
        return file

    def _is(self, file: BinaryIO) -> bool:
        """Whether that is the file that was looked at."""
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
        """The bytes, the last ones only if all of them are of the file that was looked at."""
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
    """The chunks, of which the last comes only when size and digest proved right.

    Near either end, or where the size is not known, they come one step behind: what proves wrong
    before any of it has left can still be answered with an error.

    `digest` is a name `hashlib` knows and the lowercase hex. Raises `TransferAborted`.
    """
    hasher = hashlib.new(digest[0], usedforsecurity=False) if digest else None
    received, held = 0, b""
    async for chunk in chunks:
        received += len(chunk)
        if size is not None and received > size:
            raise TransferAborted(f"{what} is longer than the {size} bytes it should have.")
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
        raise TransferAborted(f"{what} does not have the {digest[0]} digest its index gives.")
    if held:
        yield held
