"""Which projects were refreshed or forgotten by hand: how commands notify running servers.

A file with one project name a line, to which the commands append. Servers check once a second
whether it has grown, and read what is new. A large one is replaced by its second half.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from simple_repository_server.disk.partial import write_atomically
from simple_repository_server.errors import InvalidName
from simple_repository_server.names import ProjectName

_MAX_BYTES = 64 * 1024


class Changes:
    """The project names in the file at `path`. The methods block."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = self._identity()

    def append(self, name: str, scratch: Path) -> None:
        """Notify all servers of a project. `scratch`: for partial files. Raises `OSError`."""
        line = f"{name}\n".encode()
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
        with os.fdopen(os.open(self._path, flags, 0o600), "ab", buffering=0) as file:
            file.write(line)  # in one call: other processes append, too
            size = file.tell()
        if size > _MAX_BYTES:
            rest = self._path.read_bytes()[-_MAX_BYTES // 2 :]
            write_atomically(self._path, [rest.partition(b"\n")[2]], scratch)

    def new(self) -> frozenset[ProjectName]:
        """The names that were appended since the last call, and perhaps earlier ones."""
        before, self._read = self._read, self._identity()
        if self._read == before or not self._read[1]:
            return frozenset()
        inode, start = before
        try:
            with self._path.open("rb") as file:
                file.seek(start if inode == self._read[0] else 0)
                text = file.read(2 * _MAX_BYTES).decode("ascii", "replace")
        except OSError:
            return frozenset()
        return frozenset(_names(text))

    def _identity(self) -> tuple[int, int]:
        """The inode and the size of the file; zeros if there is none."""
        try:
            stat = self._path.stat()
        except OSError:
            return 0, 0
        return stat.st_ino, stat.st_size


def _names(text: str) -> Iterator[ProjectName]:
    for line in text.split("\n"):
        with contextlib.suppress(InvalidName):
            yield ProjectName(line)
