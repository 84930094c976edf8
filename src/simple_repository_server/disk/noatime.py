"""Reading files without updating their access time, which says when an entry was last used."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EINVAL
from pathlib import Path

_CHUNK_BYTES = 1024 * 1024
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


@contextmanager
def open_noatime(path: Path) -> Iterator[int]:
    """A descriptor of the regular file at `path`.

    Raises `OSError`, also for a symbolic link, a folder, a pipe or a device.
    """
    try:
        descriptor = os.open(path, _FLAGS | os.O_NOATIME)
    except PermissionError:  # O_NOATIME is for the owner of the file only
        descriptor = os.open(path, _FLAGS)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(EINVAL, "not a regular file", str(path))
        yield descriptor
    finally:
        os.close(descriptor)


def iter_chunks(descriptor: int) -> Iterator[bytes]:
    """The content of the file, in chunks of up to 1 MiB. Raises `OSError`."""
    position = 0
    while chunk := os.pread(descriptor, _CHUNK_BYTES, position):
        position += len(chunk)
        yield chunk


def read_all(path: Path) -> bytes:
    """The content of the regular file at `path`. Raises `OSError`."""
    with open_noatime(path) as descriptor:
        return b"".join(iter_chunks(descriptor))
