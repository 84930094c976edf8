"""Scanning a cache folder and adding up what lies there. There is no index to keep up to date."""

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import msgspec

from simple_repository_server.disk.last_use import used_at

#: The smallest unit that file systems commonly allocate.
_BLOCK_BYTES = 4096
#: How exactly the last use is distinguished when entries are evicted.
SLOT_S = 10.0


class StoredFile(msgspec.Struct, frozen=True):
    """A file in the cache: where, how many bytes it takes on disk, and when it was last used."""

    path: str
    bytes: int
    #: In seconds since the epoch.
    used_at: float


class Amount(msgspec.Struct):
    """A number of files, and the bytes they take on disk."""

    files: int = 0
    bytes: int = 0

    def add(self, size: int) -> None:
        """Count one more file."""
        self.files += 1
        self.bytes += size


class ScanPace(msgspec.Struct, frozen=True):
    """A scan pauses after each batch of files: one of millions must not hold up the service."""

    batch: int = 500
    pause_s: float = 0.002
    #: Called for each file: whether to abandon the scan.
    stopped: Callable[[], bool] = lambda: False


DEFAULT_PACE = ScanPace()


def scan(*folders: Path, now: float, pace: ScanPace = DEFAULT_PACE) -> Iterator[StoredFile]:
    """All files below the folders, in no order; symbolic links are not followed.

    Folders and files that cannot be read are left out. Blocks, and is slow on purpose. Raises
    `InterruptedError` once `pace.stopped`.
    """
    waiting = [str(folder) for folder in folders if not folder.is_symlink()]
    seen = 0
    while waiting:
        for entry in _entries(waiting.pop()):
            if pace.stopped():
                raise InterruptedError
            with contextlib.suppress(OSError):
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                    continue
                status = entry.stat(follow_symlinks=False)
                yield StoredFile(entry.path, disk_usage(status.st_size), used_at(status, now))
            seen += 1
            if seen % pace.batch == 0:
                time.sleep(pace.pause_s)


def _entries(folder: str) -> Iterator[os.DirEntry[str]]:
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        yield from entries


def disk_usage(size: int) -> int:
    """About how many bytes a file of `size` bytes takes on disk."""
    return -(-size // _BLOCK_BYTES) * _BLOCK_BYTES


def slot_of(time_s: float) -> int:
    """The number of the slot of `SLOT_S` seconds in which a time lies."""
    return int(time_s // SLOT_S)


def usage_by_age(files: Iterable[StoredFile]) -> Mapping[int, Amount]:
    """How much was last used in which slot: enough to decide what has to be evicted.

    Its size depends on how long the cache has been in use, not on how many files it has.
    """
    usage: dict[int, Amount] = {}
    for file in files:
        usage.setdefault(slot_of(file.used_at), Amount()).add(file.bytes)
    return usage


def total_bytes(files: Iterable[StoredFile]) -> int:
    """How many bytes the files take on disk."""
    return sum(file.bytes for file in files)
