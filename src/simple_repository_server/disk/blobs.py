"""Files by the sha256 of their content: one name here is one sequence of bytes, for ever."""

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from stat import S_ISREG

import msgspec

from simple_repository_server.disk.allowance import Allowance
from simple_repository_server.disk.ownership import check_tag
from simple_repository_server.disk.partial import PartialFile

#: How exact the time of the last use is.
_TOUCH_S = 2.0


class FoundBlob(msgspec.Struct, frozen=True):
    """A file as it lies there; with another inode, size or time of change it is another file."""

    path: Path
    size: int
    mtime_ns: int
    inode: int


class BlobStore:
    """Files below `folder`, written by way of `scratch` beside it, if `allowance` lets them.

    Its methods block. The time of a file's last use is its access time, set by hand.
    """

    def __init__(self, folder: Path, scratch: Path, allowance: Allowance | None = None) -> None:
        self.folder = folder
        self._scratch = scratch
        self._allowance = allowance

    def path(self, sha256: str) -> Path:
        """Where the file of that digest lies, if it is here."""
        return self.folder / sha256[:2] / sha256[2:]

    def find(self, sha256: str, now: float) -> FoundBlob | None:
        """The file of that digest, which counts as used now, or None."""
        path = self.path(sha256)
        try:
            stat = path.lstat()
        except OSError:
            return None
        if not S_ISREG(stat.st_mode):
            return None
        if abs(now - stat.st_atime) > _TOUCH_S:
            # Of a cache that can be read only, or is another user's, the files are as good.
            with contextlib.suppress(OSError):
                os.utime(path, ns=(int(now * 1e9), stat.st_mtime_ns), follow_symlinks=False)
        return FoundBlob(path, stat.st_size, stat.st_mtime_ns, stat.st_ino)

    def create(self, size: int = 0, *, strict: bool = False) -> PartialFile:
        """A new file, to be kept once its digest is known; it will have at least `size` bytes.

        With `strict` only if that fits into the budget before anything else is evicted. Raises
        `OverBudget` or another `OSError`.
        """
        file = PartialFile(self._scratch)
        if self._allowance is not None:
            file.reserve(self._allowance, size, strict=strict)
        return file

    def keep(self, file: PartialFile, sha256: str) -> FoundBlob:
        """Make the complete file one of the store's. Raises `OSError`."""
        path = self.path(sha256)
        stat = file.keep(path)
        return FoundBlob(path, stat.st_size, stat.st_mtime_ns, stat.st_ino)

    def is_intact(self, sha256: str) -> bool:
        """Whether the content is still that of the digest. Reads all of it."""
        try:
            with self.path(sha256).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest() == sha256
        except OSError:
            return False

    def discard(self, sha256: str) -> None:
        """Remove the file, if it is here, and this is a cache of ours."""
        with contextlib.suppress(OSError):
            check_tag(self.folder.parent)
            self.path(sha256).unlink()

    def digests(self) -> Iterator[str]:
        """The digests by which files are here, in no order; other things there are passed over."""
        for folder in sorted(self.folder.glob("[0-9a-f][0-9a-f]")):
            for path in folder.iterdir():
                if len(path.name) == 62:  # noqa: PLR2004
                    yield folder.name + path.name
