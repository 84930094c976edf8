"""The files of a folder of OSV records, or the members of an archive of them: found and read.

Each has a stamp that another version of it does not have. A folder or archive as a whole has a
fingerprint, made of all its stamps or of the archive's own: if it is the same, nothing changed.
"""

import os
import stat
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import BinaryIO, Protocol, TypeVar
from zlib import crc32

import msgspec

from simple_repository_server.distributions.zip_member import (
    Entry,
    find_directory,
    iter_entries,
    read_entry,
)
from simple_repository_server.errors import Malformed, os_reason
from simple_repository_server.names import shown_path
from simple_repository_server.opening import open_regular, wait_for_tick
from simple_repository_server.resource import ByteRange

R = TypeVar("R")

#: The largest record that is read, unpacked.
MAX_RECORD_BYTES = 8_000_000
#: All members of an archive together, unpacked: more is an attack, or no archive of records.
MAX_ARCHIVE_BYTES = 8_000_000_000
#: Files, or members.
MAX_FILES = 2_000_000
_SUFFIX = ".json"
_MASK = 2**63 - 1
#: After how many files `pause` is called.
_STEP = 500
#: Read at once, with as few calls of the system as can be.
_SMALL_BYTES = 65_536
#: A file whose last change is older would have another time after one more.
_SETTLED_NS = 50_000_000
_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_LARGE = f"it is larger than {MAX_RECORD_BYTES // 1_000_000} MB"

Pause = Callable[[], None]


class FoundFile(msgspec.Struct, frozen=True, gc=False):
    """A file or member that may be a record."""

    #: Relative to the folder or archive, as text that can be encoded.
    path: str
    stamp: int
    #: The path as the system knows it, or the entry in the archive.
    place: str | Entry


class Records(Protocol):
    """Where the records are."""

    def files(self) -> Iterator[FoundFile]:
        """All that may be records. Raises `OSError`, and `Malformed` for a broken archive."""

    def read(self, file: FoundFile) -> tuple[bytes, int]:
        """The content of one, and the stamp it has.

        Raises `Malformed` if it is too large, broken or unreadable, `FileNotFoundError` if it has
        just been deleted.
        """

    def fingerprint(self) -> int | None:
        """Of the state that is read, if that is known before all files are found."""


def nothing() -> None:
    """No pause at all."""


def fingerprint(source: Path, pause: Pause = nothing) -> int:
    """Of the folder or archive as it is now. Raises `OSError` if it cannot be read.

    `pause` is called now and then, as a large folder takes a second.
    """
    if not source.is_dir():
        return _stamp(source.stat())
    return combined(file for file in FolderRecords(source, pause).files())


def combined(files: Iterator[FoundFile]) -> int:
    """The fingerprint of a folder with these files."""
    return sum(part(file.path, file.stamp) for file in files) & _MASK


def part(path: str, stamp: int) -> int:
    """What one file is in the fingerprint of its folder, which is the sum of all parts."""
    return hash((crc32(path.encode()), stamp)) & _MASK


class FolderRecords:
    """The `*.json` files in a folder and in those below it, hidden ones and their content aside."""

    def __init__(self, folder: Path, pause: Pause = nothing) -> None:
        self._folder = str(folder)
        self._pause = pause
        self._count = 0

    def fingerprint(self) -> int | None:
        """None: it results from the files."""
        return None

    def files(self) -> Iterator[FoundFile]:
        """All of them. Raises `OSError` if a folder cannot be read, or there are too many."""
        yield from self._below(self._folder, "", frozenset())

    def _below(self, folder: str, prefix: str, above: frozenset[object]) -> Iterator[FoundFile]:
        state = Path(folder).stat()
        here = (state.st_dev, state.st_ino)
        if here in above:  # a link that leads upwards
            return
        inner: list[str] = []
        with os.scandir(folder) as entries:
            for entry in entries:
                name = entry.name
                if name.startswith("."):
                    continue
                try:
                    if name.endswith(_SUFFIX) and entry.is_file():
                        path = shown_path(prefix + name)
                        yield FoundFile(path, _stamp(entry.stat()), entry.path)
                        self._counted()
                    elif entry.is_dir():
                        inner.append(name)
                except FileNotFoundError:  # deleted since
                    continue
        for name in inner:
            try:
                yield from self._below(f"{folder}/{name}", f"{prefix}{name}/", above | {here})
            except FileNotFoundError:
                continue

    def _counted(self) -> None:
        self._count += 1
        if self._count % _STEP == 0:
            self._pause()
        if self._count > MAX_FILES:
            raise OSError(0, f"it has more than {MAX_FILES} files", self._folder)

    def read(self, file: FoundFile) -> tuple[bytes, int]:
        """The content and the stamp of a file, as `Records.read`."""
        assert isinstance(file.place, str)
        try:
            content = _if_as_found(file.place, file.stamp)
            if content is not None:
                return content, file.stamp
            with open_regular(file.place) as opened:
                return _content(opened)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise Malformed(f"it cannot be read: {os_reason(error)}") from error


def _if_as_found(path: str, stamp: int) -> bytes | None:
    """The content of a small file, if that has the stamp and is not being written: most are so."""
    descriptor = os.open(path, _FLAGS)
    try:
        content = os.pread(descriptor, _SMALL_BYTES, 0)
        state = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    settled = time.time_ns() - state.st_mtime_ns > _SETTLED_NS
    complete = len(content) == state.st_size < _SMALL_BYTES
    return content if settled and complete and _stamp(state) == stamp else None


def _content(file: BinaryIO) -> tuple[bytes, int]:
    while True:
        state = os.fstat(file.fileno())
        if state.st_size > MAX_RECORD_BYTES:
            raise Malformed(_LARGE)
        wait_for_tick(state.st_mtime_ns)
        content = os.pread(file.fileno(), state.st_size + 1, 0)
        after = os.fstat(file.fileno())
        if _stamp(after) == _stamp(state) and len(content) == state.st_size:
            return content, _stamp(after)


def _stamp(state: os.stat_result) -> int:
    # A hash of numbers is the same in every process.
    return hash((state.st_size, state.st_mtime_ns, state.st_ino))


class ArchiveRecords:
    """The `*.json` members of a zip archive, which is open until `close`. Raises `OSError`."""

    def __init__(self, archive: Path) -> None:
        self._file = open_regular(str(archive))
        self._state = os.fstat(self._file.fileno())
        self._directory_start = 0
        self._unpacked = 0

    def close(self) -> None:
        """Close the archive."""
        self._file.close()

    def fingerprint(self) -> int | None:
        """That of the archive that was opened."""
        return _stamp(self._state)

    def files(self) -> Iterator[FoundFile]:
        """All of them. Raises `Malformed` if it is no zip archive, or absurd."""
        directory = self._run(find_directory(self._state.st_size))
        self._directory_start = directory.start
        content = os.pread(self._file.fileno(), directory.length, directory.start)
        for number, entry in enumerate(iter_entries(content)):
            if number > MAX_FILES:
                raise Malformed(f"it has more than {MAX_FILES} members")
            if entry.name.endswith(_SUFFIX):
                name = entry.name.encode("utf-8", "replace").decode()
                yield FoundFile(name, hash((entry.crc, entry.size)), entry)

    def read(self, file: FoundFile) -> tuple[bytes, int]:
        """The content and the stamp of a member, as `Records.read`."""
        assert isinstance(file.place, Entry)
        if max(file.place.size, file.place.compressed) > MAX_RECORD_BYTES:
            raise Malformed(_LARGE)
        self._unpacked += file.place.size
        if self._unpacked > MAX_ARCHIVE_BYTES:
            raise Malformed("the archive is too large when it is unpacked")
        return self._run(read_entry(file.place, self._directory_start)), file.stamp

    def _run(self, reading: Generator[ByteRange, bytes, R]) -> R:
        descriptor = self._file.fileno()
        try:
            wanted = next(reading)
            while True:
                content = os.pread(descriptor, wanted.length, wanted.start)
                if len(content) != wanted.length:
                    raise Malformed("it is cut off")
                wanted = reading.send(content)
        except StopIteration as done:
            result: R = done.value
            return result


def open_records(source: Path) -> FolderRecords | ArchiveRecords:
    """The records of a folder or a zip archive. Raises `OSError`."""
    if stat.S_ISDIR(source.stat().st_mode):
        return FolderRecords(source)
    return ArchiveRecords(source)
