"""Reading the metadata out of a wheel, wherever that is, with as little traffic as possible."""

import asyncio
import os
import tempfile
from pathlib import Path
from typing import BinaryIO

from simple_repository_server.distributions.metadata import (
    run_on_file,
    run_on_ranges,
    wheel_metadata,
)
from simple_repository_server.errors import Malformed, SourceInvalid, SourceUnavailable
from simple_repository_server.resource import ByteRange, Resource

#: Of a wheel at an index that does no ranges this much is downloaded for its metadata.
DOWNLOAD_BYTES = 512 * 1024 * 1024
_DOWNLOADS_AT_ONCE = 2


class _NoRanges(Exception):
    """The origin sends the whole where a part is asked for."""


class MetadataReader:
    """Reads the METADATA of wheels: from the disk, by ranges, or by one bounded download."""

    def __init__(self, download_bytes: int) -> None:
        self._download_bytes = download_bytes
        self._downloads = asyncio.Semaphore(_DOWNLOADS_AT_ONCE)

    async def read(self, wheel: Resource, filename: str) -> bytes:
        """The METADATA of the wheel, byte for byte.

        Raises `Malformed` when it proves unreadable for good; `SourceUnavailable`,
        `ResourceNotFound` and `TransferAborted` as opening and reading the wheel do.
        """
        if wheel.path is not None:
            return await asyncio.to_thread(_read_at, wheel.path, filename)
        wheel = await wheel.measured()
        if wheel.size is not None:
            try:
                return await run_on_ranges(
                    wheel_metadata(filename, wheel.size), lambda wanted: _part(wheel, wanted)
                )
            except (_NoRanges, SourceInvalid):
                pass
        async with self._downloads:
            return await self._downloaded(wheel, filename)

    async def _downloaded(self, wheel: Resource, filename: str) -> bytes:
        with tempfile.TemporaryFile() as file:
            size = 0
            async with wheel.open() as body:
                async for chunk in body.chunks:
                    size += len(chunk)
                    if size > self._download_bytes:
                        raise Malformed(
                            "its index does no ranges, and it is larger than "
                            f"{self._download_bytes} bytes"
                        )
                    await asyncio.to_thread(file.write, chunk)
            return await asyncio.to_thread(_read_from, file, filename, size)


def _read_at(path: Path, filename: str) -> bytes:
    """The metadata of the wheel at `path`, which need not be called as it is."""
    try:
        with path.open("rb") as file:
            return run_on_file(wheel_metadata(filename, os.fstat(file.fileno()).st_size), file)
    except OSError as error:
        reason = f"{filename} cannot be read ({error.strerror})"
        raise SourceUnavailable("file system", reason) from error


def _read_from(file: BinaryIO, filename: str, size: int) -> bytes:
    file.flush()
    return run_on_file(wheel_metadata(filename, size), file)


async def _part(wheel: Resource, wanted: ByteRange) -> bytes:
    async with wheel.open(wanted) as body:
        if body.cut:
            raise _NoRanges
        return b"".join([chunk async for chunk in body.chunks])


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
