"""What is known of the files on disk, so that requests need neither the disk nor a thread.

A check in the background, about once a second, finds what was removed, replaced or added: it looks
at all files that were requested since the last one, and at all files in folders that changed. Only
while checks run is anything answered from memory. Opening a file notices a change, too.
"""

import asyncio
import os
import time
from collections.abc import Callable, Container, Iterable
from functools import partial
from pathlib import Path
from typing import NoReturn

import msgspec

from simple_repository_server.cache.background import internal_failure
from simple_repository_server.cache.memory import MemoryCache
from simple_repository_server.cache.single_flight import SingleFlight
from simple_repository_server.disk.blobs import BlobStore, FoundBlob
from simple_repository_server.disk.folder import CacheFolder
from simple_repository_server.observe.events import CacheDamaged, Emit
from simple_repository_server.resource import PathResource

_CHECK_S = 0.8
#: The checks end after so many without a request in between.
_IDLE_CHECKS = 75
#: How exact modification times of folders are: within it two changes may look like one.
_MTIME_S = 2.0
#: Of the memory, the part for files that are absent.
_ABSENT_PART = 12
_PRESENT_WEIGHT = 1500
_ABSENT_WEIGHT = 650


class Lookup(msgspec.Struct, frozen=True):
    """The result of a lookup: the file as it is on disk and as a resource; None if absent."""

    blob: FoundBlob | None
    found: PathResource | None


_ABSENT = Lookup(None, None)


class KnownFiles:
    """The files of `disk` by their sha256, from at most `memory_bytes` of memory."""

    def __init__(self, disk: CacheFolder, memory_bytes: int, *, emit: Emit) -> None:
        self._disk = disk
        self._emit = emit
        absent_bytes = memory_bytes // _ABSENT_PART
        self._present: MemoryCache[str, Lookup] = MemoryCache(memory_bytes - absent_bytes)
        #: Apart: requests for files that are not here must not evict what was verified.
        self._absent: MemoryCache[str, Lookup] = MemoryCache(absent_bytes)
        self._lookups: SingleFlight[str, PathResource | None] = SingleFlight()
        #: The digests of files that were answered from memory since the last check,
        self._used: set[str] = set()
        #: and whether anything was requested at all.
        self._is_requested = False
        self._folders: dict[str, int] | None = None
        self._is_checking = False

    def peek(self, digest: str) -> Lookup | None:
        """What is known of the file of that sha256; None if only the disk can answer."""
        self._is_requested = True
        if not self._is_checking:
            return None
        known = self._present.get(digest)
        if known is None:
            return self._absent.get(digest)
        self._used.add(digest)
        return known

    async def find(self, digest: str) -> PathResource | None:
        """The file of that sha256, verified since this process started, or None."""
        known = self.peek(digest)
        if known is not None:
            return known.found
        return await self._lookups.run(digest, partial(self._look_up, digest))

    def remember(self, digest: str, blob: FoundBlob) -> PathResource:
        """The file as a resource; its bytes are known to be those of the digest."""
        found = PathResource(
            blob.path, size=blob.size, mtime_ns=blob.mtime_ns, inode=blob.inode, sha256=digest
        )
        self._present.put(digest, Lookup(blob, found), _PRESENT_WEIGHT)
        self._absent.discard(digest)
        return found

    async def existing(self, digests: Iterable[str]) -> frozenset[str]:
        """Those of the digests whose files are on disk now."""
        path = self._disk.files.path
        found = await self._disk.run(
            lambda wanted: frozenset(digest for digest in wanted if path(digest).exists()),
            list(digests),
        )
        for digest in found:
            self._absent.discard(digest)
        return found

    async def close(self) -> None:
        """Stop the lookups under way."""
        await self._lookups.cancel_all()

    async def check_forever(self) -> NoReturn:
        """Check about once a second, as long as files are requested."""
        idle = 0
        try:
            while True:
                await asyncio.sleep(_CHECK_S)
                idle = 0 if self._is_requested else idle + 1
                if idle > _IDLE_CHECKS:
                    self._is_checking = False
                    continue
                try:
                    await self.check()
                except Exception as error:  # noqa: BLE001  # the next check may succeed
                    self._is_checking = False
                    self._emit(internal_failure("cannot check the files of the cache", error))
        finally:
            self._is_checking = False

    async def check(self) -> None:
        """Drop what is not true any more; files answered from memory count as used now."""
        used, self._used = self._used, set()
        self._is_requested = False
        before = self._present.snapshot()
        scan = partial(_scan, self._disk.files, before, used, self._disk.clock(), self._folders)
        blobs, changed, self._folders = await self._disk.run(scan)
        for digest, blob in blobs.items():
            if self._present.peek(digest) is before[digest] and before[digest].blob != blob:
                self._present.discard(digest)  # the next request looks it up again
        self._absent.discard_if(changed)
        self._is_checking = True

    async def _look_up(self, digest: str) -> PathResource | None:
        files, before = self._disk.files, self._present.peek(digest)
        verified = before.blob if before is not None else None
        look_up = partial(_verified, files, digest, self._disk.clock(), verified)
        blob, is_intact = await self._disk.run(look_up)
        known = self._present.get(digest)
        if known is not None and known is not before:
            return known.found  # a download has stored it since
        if blob is None:
            self._present.discard(digest)
            self._absent.put(digest, _ABSENT, _ABSENT_WEIGHT)
            return None
        if not is_intact:
            self._present.discard(digest)
            self._emit(CacheDamaged(file=str(blob.path), reason="its content has changed"))
            await self._disk.run(_discard, files, digest, blob)
            return None
        if before is not None and before.blob == blob:
            return before.found  # the same object: what was derived from it stays valid
        return self.remember(digest, blob)


def _verified(
    files: BlobStore, digest: str, now: float, verified: FoundBlob | None
) -> tuple[FoundBlob | None, bool]:
    """The file, and whether it has its digest; `verified` is known to have it. Blocks."""
    blob = files.find(digest, now)
    if blob is None or blob == verified:
        return blob, True
    is_intact = files.is_intact(digest)
    if not is_intact and files.stat(digest) != blob:
        return None, True  # it was evicted or replaced meanwhile, which is no damage
    return blob, is_intact


def _discard(files: BlobStore, digest: str, corrupt: FoundBlob) -> None:
    """Remove the corrupt file, unless a download has replaced it meanwhile. Blocks."""
    if files.stat(digest) == corrupt:
        files.discard(digest)


def _scan(
    files: BlobStore,
    known: Iterable[str],
    used: Container[str],
    now: float,
    folders_before: dict[str, int] | None,
) -> tuple[dict[str, FoundBlob | None], Callable[[str], bool], dict[str, int] | None]:
    """Of the known files those that may have changed, which digests may, and the folders' times.

    The files in `used` count as used now. Blocks.
    """
    folders = _folder_times(files.folder)
    changed = _changed(folders_before, folders, time.time())
    blobs = {digest: files.find(digest, now) for digest in known if digest in used}
    blobs |= {d: files.stat(d) for d in known if d not in used and changed(d)}
    return blobs, changed, folders


def _folder_times(folder: Path) -> dict[str, int] | None:
    """When each folder was last changed; None if that cannot be found out."""
    try:
        with os.scandir(folder) as entries:
            return {entry.name: entry.stat(follow_symlinks=False).st_mtime_ns for entry in entries}
    except FileNotFoundError:
        return {}
    except OSError:
        return None


def _changed(
    before: dict[str, int] | None, after: dict[str, int] | None, now: float
) -> Callable[[str], bool]:
    """Which digests may have another file now, by the change of their folders."""
    if before is None or after is None:
        return lambda _digest: True
    recent = {name for name, mtime_ns in after.items() if abs(now - mtime_ns / 1e9) < _MTIME_S}
    differing = {name for name in before | after if before.get(name) != after.get(name)}
    changed = recent | differing
    return lambda digest: digest[:2] in changed
