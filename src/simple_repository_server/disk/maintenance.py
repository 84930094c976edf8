"""Maintaining the cache by hand: disk usage, pruning and clearing.

All of this may be done while servers use the folder: for them, what is removed is a miss.
"""

import contextlib
import os
import shutil
from pathlib import Path

import msgspec

from simple_repository_server.disk.eviction import EvictionGoal, EvictionResult, evict, exclusive
from simple_repository_server.disk.folder import CacheFolder
from simple_repository_server.disk.layout import KINDS, PARTIAL, PROJECTS
from simple_repository_server.disk.ownership import NOT_OURS, check_tag, has_tag
from simple_repository_server.disk.partial import abandoned
from simple_repository_server.disk.usage import Amount, disk_usage, scan
from simple_repository_server.errors import os_reason

#: For how long another process may evict before it is taken to hang.
_WAIT_S = 120.0


class NotACache(Exception):
    """The folder is not a cache of ours: nothing in it is touched."""


class Usage(msgspec.Struct, kw_only=True):
    """What is in a cache. Times are in seconds since the epoch, None if it is empty."""

    kinds: dict[str, Amount]
    total: Amount
    #: Project records and partial files, which count against the budget, too.
    served: Amount
    partial: Amount
    oldest_use: float | None = None
    newest_use: float | None = None


class Cleared(Amount):
    """What was removed, and how many files could not be."""

    failed: int = 0


def check_is_cache(folder: Path) -> bool:
    """Whether there is anything in it. Raises `NotACache` for a folder that is not ours."""
    try:
        if not any(folder.iterdir()):
            return False
    except FileNotFoundError:
        return False
    except OSError as error:
        raise NotACache(f"{folder}: {os_reason(error)}. Check its permissions.") from error
    if not has_tag(folder):
        raise NotACache(f"{folder} {NOT_OURS}. Name the right folder with --cache-dir.")
    return True


def usage(disk: CacheFolder) -> Usage:
    """What is in the cache; approximate while servers write to it."""
    found = Usage(
        kinds={kind: Amount() for kind in KINDS},
        total=Amount(),
        served=Amount(),
        partial=Amount(),
    )
    for kind in KINDS:
        for file in scan(disk.folder / kind, now=disk.clock()):
            found.kinds[kind].add(file.bytes)
            found.total.add(file.bytes)
            used_at = file.used_at
            found.oldest_use = min(found.oldest_use or used_at, used_at)
            found.newest_use = max(found.newest_use or used_at, used_at)
    for name, amount in ((PROJECTS, found.served), (PARTIAL, found.partial)):
        for file in scan(disk.folder / name, now=disk.clock()):
            amount.add(file.bytes)
    return found


def clear(disk: CacheFolder) -> Cleared:
    """Remove all entries and garbage; how much that was.

    The folder, its tag, the folders directly below and the files being written stay: servers
    continue to use them. Raises `ForeignFolder` in a folder without our tag.
    """
    check_tag(disk.folder)
    cleared = Cleared()
    for name in (*KINDS, PROJECTS):
        top = disk.folder / name
        if top.is_symlink():
            top.unlink()
            continue
        for place, folders, files in os.walk(top, topdown=False):
            for file in files:
                _delete(Path(place, file), cleared)
            for folder in (Path(place, inner) for inner in folders):
                if folder.is_symlink():
                    _delete(folder, cleared)
                else:
                    with contextlib.suppress(OSError):  # a server has put something into it
                        folder.rmdir()
    for path, _ in abandoned(disk.folder / PARTIAL, disk.clock()):
        _delete(path, cleared)
    return cleared


def prune(
    disk: CacheFolder, *, max_bytes: int | None, unused_s: float | None, dry_run: bool = False
) -> EvictionResult:
    """Evict what was not used for `unused_s`, and the least recently used beyond `max_bytes`.

    Also removes garbage. With `dry_run` nothing is removed, and the result says what would be.
    Waits while another process evicts. Raises `BlockingIOError` if that takes minutes,
    `ForeignFolder` in a folder without our tag.
    """
    check_tag(disk.folder)
    goal = EvictionGoal(
        target=None if max_bytes is None else lambda _: max_bytes,
        unused_s=unused_s,
    )
    with contextlib.nullcontext() if dry_run else exclusive(disk.folder, wait_s=_WAIT_S):
        return evict(disk.folder, goal, now=disk.clock(), dry_run=dry_run)


def _delete(path: Path, cleared: Cleared) -> None:
    try:
        size = disk_usage(path.lstat().st_size)
        path.unlink()
    except FileNotFoundError:
        pass  # a server was faster
    except OSError:
        cleared.failed += 1
    else:
        cleared.add(size)


def free_bytes(folder: Path) -> int:
    """How many bytes are free on the disk of the nearest folder that exists."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
