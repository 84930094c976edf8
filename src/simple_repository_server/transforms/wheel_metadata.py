"""Reading the metadata out of a local or remote wheel, with as little traffic as possible.

`Reading.proven` states that the bytes it was read from have the digest of the wheel. Only such
bytes can be `Malformed` for good; any other failure is `Unproven`, and worth another attempt later.
"""

import asyncio
import hashlib
import os
import tempfile
from collections.abc import Callable
from typing import BinaryIO

import msgspec

from simple_repository_server.distributions.metadata import (
    describes,
    run_on_file,
    run_on_ranges,
    wheel_metadata,
)
from simple_repository_server.errors import (
    Malformed,
    SourceInvalid,
    SourceUnavailable,
    TransferAborted,
    os_reason,
)
from simple_repository_server.model import File
from simple_repository_server.resource import CHUNK_BYTES, ByteRange, Resource

#: The largest wheel that is downloaded for its metadata, if its index does not support ranges.
DOWNLOAD_BYTES = 512 * 1024 * 1024
_DOWNLOADS_AT_ONCE = 2
_ANOTHER_DIGEST = "the file at its index does not have the digest that its page states"

#: A name `hashlib` knows, and the lowercase hex.
Digest = tuple[str, str]


class Unproven(Exception):
    """The metadata cannot be read now, from bytes that may not be those of the wheel."""


class TooLarge(Exception):
    """Its index does not support ranges, and it is too large to be downloaded."""


class _NoRanges(Exception):
    """The origin answers a range request with the whole file."""


class Reading(msgspec.Struct, frozen=True):
    """Metadata, byte for byte, and what it was read from."""

    content: bytes
    #: The bytes it was read from have the digest of the wheel.
    proven: bool
    #: The version of a wheel without a digest; None if its origin states none.
    version: str | None = None


class MetadataReader:
    """Reads the METADATA of wheels: from the disk, by ranges, or by one bounded download."""

    def __init__(self, download_bytes: int) -> None:
        self._download_bytes = download_bytes
        self._downloads = asyncio.Semaphore(_DOWNLOADS_AT_ONCE)

    async def read(self, wheel: Resource, file: File) -> Reading:
        """The METADATA of the wheel that its page calls `file`.

        Raises `Malformed` when it proves unreadable for good, `Unproven` and `TooLarge` when it
        cannot be read now; `SourceUnavailable`, `ResourceNotFound` and `TransferAborted` as opening
        and reading the wheel do.
        """
        if wheel.file_key is not None:
            try:
                return await asyncio.to_thread(_read_local, wheel, file)
            except SourceUnavailable:
                if wheel.fallback is None:
                    raise
                wheel = wheel.fallback
        wheel = await wheel.with_size()
        if wheel.size is not None:
            try:
                return await _by_ranges(wheel, wheel.size, file)
            except (_NoRanges, SourceInvalid, Unproven) as error:
                self._check_worth(wheel.size, file, error)
        async with self._downloads:
            return await self._downloaded(wheel, file)

    def _check_worth(self, size: int, file: File, error: Exception) -> None:
        """Raise the error for a wheel that must not be downloaded as a whole."""
        if isinstance(error, Unproven) and not file.hashes:
            raise error
        if size > self._download_bytes:
            if isinstance(error, _NoRanges):
                raise TooLarge(self._too_large) from error
            # Its index may be replacing the wheel just now, which says nothing about its metadata.
            raise Unproven(str(error)) from error

    @property
    def _too_large(self) -> str:
        return (
            f"its index does not support ranges, and it is larger than {self._download_bytes} bytes"
        )

    async def _downloaded(self, wheel: Resource, file: File) -> Reading:
        digest = digest_of(file)
        hasher = hashlib.new(digest[0] if digest else "sha256", usedforsecurity=False)
        with tempfile.TemporaryFile() as whole:

            def write(chunk: bytes) -> None:
                hasher.update(chunk)
                whole.write(chunk)

            size = 0
            try:
                async with wheel.open() as body:
                    async for chunk in body.chunks:
                        size += len(chunk)
                        if size > self._download_bytes:
                            raise TooLarge(self._too_large)
                        await asyncio.to_thread(write, chunk)
            except TransferAborted as error:
                raise Unproven(str(error)) from error
            if digest is not None and hasher.hexdigest() != digest[1]:
                raise Unproven(_ANOTHER_DIGEST)
            return await asyncio.to_thread(
                _judged, file, lambda: _read_from(whole, file.filename, size), version_of(wheel)
            )


async def _by_ranges(wheel: Resource, size: int, file: File) -> Reading:
    """Raises `Malformed` and `Unproven` as `MetadataReader.read`, and `_NoRanges`."""
    parts = _Parts(wheel, size)
    content, fault = b"", ""
    try:
        content = await run_on_ranges(wheel_metadata(file.filename, size), parts.fetch)
    except Malformed as error:
        fault = str(error)
    digest = digest_of(file)
    if digest is not None and parts.whole is not None:
        if hashlib.new(digest[0], parts.whole, usedforsecurity=False).hexdigest() != digest[1]:
            raise Unproven(_ANOTHER_DIGEST)
        if fault:
            raise Malformed(fault)
        return Reading(content, proven=True)
    if fault or not describes(content, file.filename):
        raise Unproven(fault or "its metadata describes another distribution")
    return Reading(content, proven=False, version=version_of(wheel))


class _Parts:
    """Ranges of a wheel, which must all be of one version of `size` bytes."""

    def __init__(self, wheel: Resource, size: int) -> None:
        self._wheel = wheel
        self._size = size
        self._etag = wheel.validator
        #: All of it, if it is so small that one range has it.
        self.whole: bytes | None = None

    async def fetch(self, wanted: ByteRange) -> bytes:
        async with self._wheel.open(wanted) as body:
            if body.ranges_ignored:
                raise _NoRanges
            if body.total not in (None, self._size):
                raise Unproven(f"its index has {body.total} bytes of it, not {self._size}")
            if self._etag is not None and body.etag is not None and body.etag != self._etag:
                raise Unproven("it changed at its index while it was read")
            self._etag = self._etag or body.etag
            content = b"".join([chunk async for chunk in body.chunks])
        if wanted.length == self._size == len(content):
            self.whole = content
        return content


def _read_local(wheel: Resource, file: File) -> Reading:
    """From the very file of `wheel`. Raises `SourceUnavailable` if it was replaced."""
    try:
        with wheel.open_checked() as opened:
            size = os.fstat(opened.fileno()).st_size
            try:
                content = run_on_file(wheel_metadata(file.filename, size), opened)
            except Malformed as error:
                digest = digest_of(file)
                if digest is None:
                    raise Unproven(str(error)) from error
                if _digest_of_all(opened, digest[0]) != digest[1]:
                    reason = f"{file.filename} changed while it was read"
                    raise SourceUnavailable("file system", reason) from None
                raise
    except OSError as error:
        reason = f"{file.filename} cannot be read ({os_reason(error)})"
        raise SourceUnavailable("file system", reason) from error
    return Reading(content, proven=bool(file.hashes), version=version_of(wheel))


def _digest_of_all(file: BinaryIO, algorithm: str) -> str:
    hasher = hashlib.new(algorithm, usedforsecurity=False)
    file.seek(0)
    while chunk := file.read(CHUNK_BYTES):
        hasher.update(chunk)
    return hasher.hexdigest()


def _judged(file: File, read: Callable[[], bytes], version: str | None) -> Reading:
    """What `read` returns for a complete wheel, whose digest was verified if it has one."""
    proven = bool(file.hashes)
    try:
        content = read()
    except Malformed as error:
        if proven:
            raise
        raise Unproven(str(error)) from error
    if not proven and not describes(content, file.filename):
        raise Unproven("its metadata describes another distribution")
    return Reading(content, proven=proven, version=version)


def _read_from(file: BinaryIO, filename: str, size: int) -> bytes:
    file.flush()
    return run_on_file(wheel_metadata(filename, size), file)


def digest_of(file: File) -> Digest | None:
    """The digest that the index states for the file; None if it states none."""
    return next(iter(file.hashes.items()), None)


def version_of(wheel: Resource) -> str | None:
    """What distinguishes two versions of a wheel without a digest; None if nothing does."""
    if wheel.sha256 is not None:
        return wheel.sha256
    return None if wheel.version is None else f"{wheel.size} {wheel.version}"


async def read_whole(resource: Resource, max_bytes: int) -> bytes:
    """All of a small resource.

    Raises `TransferAborted` as its body does, and `Malformed` beyond `max_bytes`.
    """
    parts: list[bytes] = []
    size = 0
    async with resource.open() as body:
        async for chunk in body.chunks:
            parts.append(chunk)
            size += len(chunk)
            if size > max_bytes:
                raise Malformed(f"it is larger than {max_bytes} bytes")
    return b"".join(parts)
