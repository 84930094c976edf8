"""Blobs: files by the sha256 of their content. A name stands for the same bytes for ever."""

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from stat import S_ISREG

import msgspec

from simple_repository_server.disk.allowance import Allowance
from simple_repository_server.disk.last_use import mark_used
from simple_repository_server.disk.layout import SHA256, digest_key, digest_of
from simple_repository_server.disk.ownership import check_tag
from simple_repository_server.disk.partial import PartialFile

#: How exactly the last use is recorded: below `eviction.IN_USE_S`, which protects files being sent.
_PRECISION_S = 2.0


class FoundBlob(msgspec.Struct, frozen=True):
    """A blob as it was found: with another inode, size or modification time it is another file."""

    path: Path
    size: int
    mtime_ns: int
    inode: int


class BlobStore:
    """The blobs below `folder`, written by way of `scratch` beside it, within `allowance`.

    `new_file` creates each file to be written. The methods block.
    """

    def __init__(
        self,
        folder: Path,
        scratch: Path,
        allowance: Allowance | None = None,
        *,
        new_file: Callable[[Path], PartialFile] = PartialFile,
    ) -> None:
        self.folder = folder
        self._scratch = scratch
        self._allowance = allowance
        self._new_file = new_file

    def path(self, sha256: str) -> Path:
        """Where the blob lies if it exists."""
        return self.folder.joinpath(*digest_key(sha256))

    def exists(self, sha256: str) -> bool:
        """Whether there is a file for the digest. Does not count as use."""
        return self.path(sha256).exists()

    def find(self, sha256: str, now: float) -> FoundBlob | None:
        """The blob, which counts as used `now`; None if there is none."""
        path = self.path(sha256)
        status = _regular(path)
        if status is None:
            return None
        mark_used(path, status, now=now, precision_s=_PRECISION_S)
        return _found(path, status)

    def stat(self, sha256: str) -> FoundBlob | None:
        """The blob; None if there is none. Does not count as use."""
        path = self.path(sha256)
        status = _regular(path)
        return None if status is None else _found(path, status)

    def create(self, size: int = 0, *, strict: bool = False) -> PartialFile:
        """A new partial file of at least `size` bytes, to be stored once its digest is known.

        `strict`: only if it fits into the budget without an eviction. Raises `OverBudget` or
        another `OSError`.
        """
        file = self._new_file(self._scratch)
        if self._allowance is not None:
            file.reserve(self._allowance, size, strict=strict)
        return file

    def store(self, file: PartialFile, sha256: str) -> FoundBlob:
        """Make the complete file the blob of that digest, durably. Raises `OSError`."""
        path = self.path(sha256)
        return _found(path, file.commit(path))

    def is_intact(self, sha256: str) -> bool:
        """Whether the content matches the digest. Reads all of it."""
        try:
            with self.path(sha256).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest() == sha256
        except OSError:
            return False

    def discard(self, sha256: str) -> None:
        """Remove the blob, if it exists and the folder is a cache of ours."""
        with contextlib.suppress(OSError):
            check_tag(self.folder.parent)
            self.path(sha256).unlink()

    def digests(self) -> Iterator[str]:
        """The digests of all blobs, in no order; anything else in the folder is ignored."""
        for path in self.folder.glob("[0-9a-f][0-9a-f]/*"):
            if SHA256.fullmatch(digest := digest_of(path)):
                yield digest


def _regular(path: Path) -> os.stat_result | None:
    """The status of the regular file at the path; None if there is none."""
    try:
        status = path.lstat()
    except OSError:
        return None
    return status if S_ISREG(status.st_mode) else None


def _found(path: Path, status: os.stat_result) -> FoundBlob:
    return FoundBlob(path, status.st_size, status.st_mtime_ns, status.st_ino)
