"""The core metadata inside a distribution file, local or remote."""

import email
import os
import tarfile
import zlib
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import BinaryIO

from simple_repository_server.distributions.zip_member import MAX_MEMBER_BYTES, Reading, read_member
from simple_repository_server.errors import InvalidName, Malformed
from simple_repository_server.names import ProjectName
from simple_repository_server.resource import ByteRange

#: How far into an sdist its PKG-INFO is looked for.
_MAX_SDIST_BYTES = 100 * 1024 * 1024


def wheel_metadata(filename: str, size: int) -> Reading:
    """A reading (see `zip_member`) that returns the METADATA of a wheel, byte for byte.

    Raises `Malformed` when the file is no wheel, or another project's.
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
    """Run a reading on whatever `fetch` fetches ranges of. Raises what either of them raises."""
    try:
        wanted = next(reading)
        while True:
            wanted = reading.send(_exactly(await fetch(wanted), wanted))
    except StopIteration as done:
        return bytes(done.value)


def _exactly(content: bytes, wanted: ByteRange) -> bytes:
    if len(content) != wanted.length:
        raise Malformed("it is cut off")
    return content


def requires_python(metadata: bytes) -> str | None:
    """The Requires-Python of core metadata, or None."""
    head = metadata.replace(b"\r\n", b"\n").partition(b"\n\n")[0]
    value = email.message_from_bytes(head).get("Requires-Python")
    return str(value).strip() or None if value is not None else None


def read_local_metadata(path: Path) -> bytes | None:
    """The core metadata of a local wheel, sdist or egg; None for an sdist or egg without any.

    Raises `Malformed` for a wheel it cannot be read from, `OSError` as opening a file does.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if path.name.endswith(".whl"):
            return run_on_file(wheel_metadata(path.name, size), file)
        try:
            if path.name.endswith((".egg", ".zip")):
                return run_on_file(read_member(size, _choose_pkg_info), file)
            return _pkg_info_in_tar(file)
        except (Malformed, tarfile.TarError, EOFError, OSError, zlib.error, ValueError):
            return None


def _choose_pkg_info(names: Sequence[str]) -> str | None:
    found = [name for name in names if name.count("/") == 1 and name.endswith("/PKG-INFO")]
    return found[-1] if found else None


def _pkg_info_in_tar(file: BinaryIO) -> bytes | None:
    with tarfile.open(fileobj=file, mode="r|*") as archive:
        for member in archive:
            if member.offset > _MAX_SDIST_BYTES:
                return None
            if member.isfile() and _choose_pkg_info([member.name.removeprefix("./")]):
                content = archive.extractfile(member) if member.size <= MAX_MEMBER_BYTES else None
                return content.read() if content else None
    return None
