"""Looking after the cache by hand: how much there is, making room, removing all of it.

All of this may be done while servers run on the folder: they take what is gone for not kept yet.
"""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec

from simple_repository_server.disk import room
from simple_repository_server.disk.cached_projects import CachedProjects
from simple_repository_server.disk.entries import BrokenEntry
from simple_repository_server.disk.eviction import alone
from simple_repository_server.disk.folder import CacheFolder
from simple_repository_server.disk.links import Link
from simple_repository_server.disk.noatime import content
from simple_repository_server.disk.ownership import (
    KINDS,
    NOT_OURS,
    PARTIAL,
    SERVED,
    check_tag,
    has_tag,
)
from simple_repository_server.disk.partial import abandoned

#: For how long another process may make room before it is taken to hang.
_WAIT_S = 120.0


class NotACache(Exception):
    """The folder is not a cache of ours: nothing in it is touched."""


class Amount(msgspec.Struct):
    """So many files, and the room they take."""

    files: int = 0
    bytes: int = 0

    def add(self, size: int) -> None:
        """One more file."""
        self.files += 1
        self.bytes += size


class Usage(msgspec.Struct, kw_only=True):
    """What is in a cache. Times are in seconds since the epoch, None if there is nothing."""

    kinds: dict[str, Amount]
    total: Amount
    #: Notes of projects with files here, and what is being written: they count for the budget, too.
    served: Amount
    partial: Amount
    oldest_use: float | None = None
    newest_use: float | None = None


class Cleared(Amount):
    """What was removed, and how many files could not be."""

    failed: int = 0


class Pruned(msgspec.Struct, kw_only=True):
    """What was removed (or would be), why, and what is left."""

    unused: Amount
    leftovers: Amount
    left: Amount


def check_is_cache(folder: Path) -> bool:
    """Whether there is anything in it. Raises `NotACache` for a folder that is not ours."""
    try:
        if not any(folder.iterdir()):
            return False
    except FileNotFoundError:
        return False
    except OSError as error:
        reason = (error.strerror or "error").lower()
        raise NotACache(f"{folder}: {reason}. Check its permissions.") from error
    if not has_tag(folder):
        raise NotACache(f"{folder} {NOT_OURS}. Name the right folder with --cache-dir.")
    return True


def usage(disk: CacheFolder) -> Usage:
    """What is there; as exact as may be while servers write to it."""
    found = Usage(
        kinds={kind: Amount() for kind in KINDS},
        total=Amount(),
        served=Amount(),
        partial=Amount(),
    )
    for kind in KINDS:
        for file in room.walk(disk.folder / kind, now=disk.clock()):
            found.kinds[kind].add(file.bytes)
            found.total.add(file.bytes)
            used_at = file.used_at
            found.oldest_use = min(found.oldest_use or used_at, used_at)
            found.newest_use = max(found.newest_use or used_at, used_at)
    for place, amount in ((SERVED, found.served), (PARTIAL, found.partial)):
        for file in room.walk(disk.folder / place, now=disk.clock()):
            amount.add(file.bytes)
    return found


def clear(disk: CacheFolder) -> Cleared:
    """Remove all that was put there, but for what is being written; how much that was.

    The folder, its tag and the folders right below stay: servers may go on with them. Raises
    `ForeignFolder` in a folder without our tag.
    """
    check_tag(disk.folder)
    cleared = Cleared()
    for kind in (*KINDS, SERVED):
        top = disk.folder / kind
        if top.is_symlink():
            top.unlink()
            continue
        for place, folders, files in os.walk(top, topdown=False):
            for name in files:
                _remove(Path(place, name), cleared)
            for name in folders:
                folder = Path(place, name)
                if folder.is_symlink():
                    _remove(folder, cleared)
                else:
                    _remove_if_empty(folder)
    for path, _ in abandoned(disk.folder / PARTIAL, disk.clock()):
        _remove(path, cleared)
    return cleared


def prune(
    disk: CacheFolder, *, max_bytes: int | None, unused_s: float | None, dry_run: bool = False
) -> Pruned:
    """Remove what is not needed any more; how much that was, and what is left.

    That is what nobody used for `unused_s`, then what was not used for longest, down to
    `max_bytes`, and what is of no use: abandoned partial files, and notes of files that are gone.
    With `dry_run`, only say how much. Waits for another process that makes room, and
    raises `BlockingIOError` if that takes minutes; `ForeignFolder` in a folder without our tag.
    """
    check_tag(disk.folder)
    with contextlib.nullcontext() if dry_run else alone(disk.folder, wait_s=_WAIT_S):
        result = Pruned(unused=Amount(), leftovers=Amount(), left=Amount())
        gone: set[str] = set()
        for file in _unused(disk, gone, max_bytes, unused_s):
            _take(Path(file.path), file.bytes, result.unused, gone, dry_run=dry_run)
        _take_notes(disk, gone, result.leftovers, dry_run=dry_run)
        for path, size in abandoned(disk.folder / PARTIAL, disk.clock()):
            _take(path, room.room_for(size), result.leftovers, gone, dry_run=dry_run)
        for file in _left(disk, gone):
            result.left.add(file.bytes)
        return result


def _unused(
    disk: CacheFolder, gone: set[str], max_bytes: int | None, unused_s: float | None
) -> Iterator[room.Kept]:
    now = disk.clock()
    if unused_s is not None:
        yield from room.long_unused(_left(disk, gone), unused_s=unused_s, now=now)
    if max_bytes is not None:
        used = room.used_by_time(_left(disk, gone))
        limit = room.too_old(used, max_bytes=max_bytes, now=now)
        yield from room.chosen(_left(disk, gone), limit)


def _left(disk: CacheFolder, gone: set[str]) -> Iterator[room.Kept]:
    folders = (disk.folder / kind for kind in KINDS)
    ours = (folder for folder in folders if not folder.is_symlink())
    kept = room.walk(*ours, now=disk.clock())
    return (file for file in kept if file.path not in gone)


def _take_notes(disk: CacheFolder, gone: set[str], amount: Amount, *, dry_run: bool) -> None:
    """What notes files of which none is here."""

    def is_here(digest: str) -> bool:
        path = disk.files.path(digest)
        return str(path) not in gone and path.exists()

    links = disk.entries("links", Link)
    for key in list(links.keys()):
        path = links.folder.joinpath(*key)
        with contextlib.suppress(OSError, BrokenEntry):
            if str(path) not in gone and not is_here(links.parse(content(path))[0].sha256):
                size = room.room_for(path.lstat().st_size)
                _take(path, size, amount, gone, dry_run=dry_run)
    notes = CachedProjects(disk.served)
    for project in notes.names():
        with contextlib.suppress(OSError):
            size = room.room_for((disk.served / project).lstat().st_size)
            if dry_run:
                removed = not any(map(is_here, notes.of(project)))
            else:  # a server may note another file at this very moment
                removed = notes.keep(project, is_here) == "removed"
            if removed:
                amount.add(size)


def _take(path: Path, size: int, amount: Amount, gone: set[str], *, dry_run: bool) -> None:
    with contextlib.suppress(OSError):
        if not dry_run:
            path.unlink()
        gone.add(str(path))
        amount.add(size)


def _remove(path: Path, cleared: Cleared) -> None:
    try:
        size = room.room_for(path.lstat().st_size)
    except OSError:
        return
    try:
        path.unlink()
        cleared.add(size)
    except FileNotFoundError:
        pass  # a server was faster
    except OSError:
        cleared.failed += 1


def _remove_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()


def free_bytes(folder: Path) -> int:
    """How much more the disk takes of the nearest folder that exists."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
