"""The core metadata inside a distribution file, local or remote."""

import asyncio
import bz2
import contextlib
import email
import gzip
import io
import lzma
import os
import re
import tarfile
import zlib
from collections.abc import Awaitable, Callable, Sequence
from email.message import Message
from pathlib import Path
from typing import IO, Any, BinaryIO

from packaging.version import InvalidVersion, Version
from typing_extensions import override

from simple_repository_server.distributions.filenames import parse_distribution
from simple_repository_server.distributions.zip_member import MAX_MEMBER_BYTES, Reading, read_member
from simple_repository_server.errors import InvalidName, Malformed
from simple_repository_server.names import ProjectName
from simple_repository_server.resource import ByteRange

#: PKG-INFO is searched for in so many bytes of an unpacked sdist.
_MAX_SDIST_BYTES = 100 * 1024 * 1024
#: Name and version are in the first bytes of the metadata.
_BEGINNING_BYTES = 16 * 1024
#: Headers of one line each, in ASCII: a `Name: value` and nothing that has to be interpreted.
_PLAIN_HEAD = re.compile(rb"(?:[!-9;-~]+:[ -~]*\n?)*")
_REQUIRES_PYTHON = re.compile(rb"^requires-python:(.*)$", re.IGNORECASE | re.MULTILINE)
_UNREADABLE = (
    Malformed, tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, OSError, ValueError
)  # fmt: skip
_COMPRESSIONS: dict[bytes, Callable[[BinaryIO], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ": lzma.open,
    b"]\0\0": lzma.open,
}


def wheel_metadata(filename: str, size: int) -> Reading:
    """A reading (see `zip_member`) that returns the METADATA of a wheel, byte for byte.

    Raises `Malformed` if the file is not a wheel of that project.
    """
    parts = filename.split("-")

    def choose(names: Sequence[str]) -> str | None:
        for name in reversed(names):
            folder, slash, member = name.partition(".dist-info/")
            if slash and member == "METADATA" and _same_project(folder.partition("-")[0], parts[0]):
                return name
        return None

    return read_member(size, choose)


def _same_project(one: str, other: str) -> bool:
    try:
        return ProjectName(one) == ProjectName(other)
    except InvalidName:
        return False


def run_on_file(reading: Reading, file: BinaryIO) -> bytes:
    """Run a reading on an open local file. Raises what the reading raises."""
    descriptor = file.fileno()
    try:
        wanted = next(reading)
        while True:
            wanted = reading.send(
                _exactly(os.pread(descriptor, wanted.length, wanted.start), wanted)
            )
    except StopIteration as done:
        return bytes(done.value)


async def run_on_ranges(reading: Reading, fetch: Callable[[ByteRange], Awaitable[bytes]]) -> bytes:
    """Run a reading on the ranges that `fetch` returns. Raises what either of them raises."""
    wanted = next(reading)
    while True:
        content = _exactly(await fetch(wanted), wanted)
        # In a thread, as the directory to parse may be megabytes long.
        step = await asyncio.to_thread(_advance, reading, content)
        if isinstance(step, bytes):
            return step
        wanted = step


def _advance(reading: Reading, content: bytes) -> ByteRange | bytes:
    try:
        return reading.send(content)
    except StopIteration as done:
        return bytes(done.value)


def _exactly(content: bytes, wanted: ByteRange) -> bytes:
    if len(content) != wanted.length:
        raise Malformed("it is cut off")
    return content


def requires_python(metadata: bytes) -> str | None:
    """The Requires-Python of core metadata, or None."""
    head = metadata.replace(b"\r\n", b"\n").partition(b"\n\n")[0]
    if _PLAIN_HEAD.fullmatch(head):  # `email` takes as long as all the rest of reading a wheel
        plain = _REQUIRES_PYTHON.search(head)
        return (plain[1].decode().strip() or None) if plain else None
    value = _header(metadata).get("Requires-Python")
    return str(value).strip() or None if value is not None else None


def describes(metadata: bytes, filename: str) -> bool:
    """Whether it is core metadata of the project and version in the name of a wheel.

    A version that is invalid (PEP 440), in the name or in the metadata, is not compared.
    """
    fields = _header(metadata[:_BEGINNING_BYTES])
    name, version = str(fields.get("Name", "")), fields.get("Version")
    if version is None or not _same_project(name.strip(), filename.partition("-")[0]):
        return False
    found = parse_distribution(filename)
    if found is None:
        return True
    try:
        return Version(str(version)) == Version(found.version.replace("_", "-"))
    except InvalidVersion:
        return True


def _header(metadata: bytes) -> Message:
    return email.message_from_bytes(metadata.replace(b"\r\n", b"\n").partition(b"\n\n")[0])


def read_local_metadata(path: Path) -> bytes | None:
    """The core metadata of the distribution at `path`; see `read_metadata`."""
    with path.open("rb") as file:
        return read_metadata(file, path.name)


def read_metadata(file: BinaryIO, filename: str) -> bytes | None:
    """The core metadata of a wheel, sdist or egg; None for an sdist or egg without any.

    Raises `Malformed` for a wheel it cannot be read from, `OSError` as reading a wheel does.
    """
    size = os.fstat(file.fileno()).st_size
    if filename.endswith(".whl"):
        return run_on_file(wheel_metadata(filename, size), file)
    try:
        if filename.endswith((".egg", ".zip")):
            return run_on_file(read_member(size, _choose_pkg_info), file)
        file.seek(0)
        return _pkg_info_in_tar(file)
    except _UNREADABLE:
        return None


def is_whole_archive(file: BinaryIO) -> bool:
    """Whether a zip archive is not truncated, judging by its directory, which comes last.

    Raises `OSError` as reading does.
    """
    directories: list[Sequence[str]] = []

    def choose(names: Sequence[str]) -> None:
        directories.append(names)

    with contextlib.suppress(Malformed):
        run_on_file(read_member(os.fstat(file.fileno()).st_size, choose), file)
    return bool(directories)


def _choose_pkg_info(names: Sequence[str]) -> str | None:
    found = [name for name in names if name.count("/") == 1 and name.endswith("/PKG-INFO")]
    return found[-1] if found else None


def _pkg_info_in_tar(file: BinaryIO) -> bytes | None:
    with tarfile.open(fileobj=_Bounded(_unpacked(file)), mode="r|") as archive:
        for member in archive:
            if member.isfile() and _choose_pkg_info([member.name.removeprefix("./")]):
                content = archive.extractfile(member) if member.size <= MAX_MEMBER_BYTES else None
                return content.read() if content else None
    return None


def _unpacked(file: BinaryIO) -> IO[bytes]:
    """The archive decompressed, by its first bytes and not by its name."""
    start = file.read(max(map(len, _COMPRESSIONS)))
    file.seek(0)
    for sign, open_ in _COMPRESSIONS.items():
        if start.startswith(sign):
            unpacked: IO[bytes] = open_(file)
            return unpacked
    return file


class _Bounded(io.RawIOBase):
    """The beginning of a stream: raises `Malformed` once too much of it is read.

    The headers of a tar archive, which are read into memory, can be as large as its members.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._left = _MAX_SDIST_BYTES

    @override
    def read(self, size: int = -1) -> bytes:
        content = self._stream.read(size)
        # Reads past the end count, too: a header may send `tarfile` that far past it.
        self._left -= len(content) or abs(size)
        if self._left < 0:
            raise Malformed("it has no PKG-INFO near its beginning")
        return content
