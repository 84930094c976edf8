"""When an entry was last used: the access time of its file, set explicitly by `mark_used`.

The access times of the kernel are not good enough for LRU eviction: `noatime` mounts never update
them, `relatime` mounts once a day. Entries are opened without updating them (`noatime.py`).
"""

import contextlib
import os
from pathlib import Path

#: A time further in the future was set by a clock that has been set back since.
_MAX_AHEAD_S = 3600.0


def mark_used(file: Path | int, status: os.stat_result, *, now: float, precision_s: float) -> None:
    """Record that a file (a path, or a descriptor) with that status is used `now`.

    Writes at most once in `precision_s`. Does nothing where the access time cannot be set: the
    entries of a cache that is read-only or another user's are as good.
    """
    if abs(now - status.st_atime) > precision_s:
        times = int(now * 1e9), status.st_mtime_ns
        with contextlib.suppress(OSError):
            os.utime(file, ns=times, follow_symlinks=isinstance(file, int))


def used_at(status: os.stat_result, now: float) -> float:
    """When a file was last used or written, in seconds since the epoch; 0 if that is unknown."""
    times = (status.st_atime, status.st_mtime)
    return max((at for at in times if at < now + _MAX_AHEAD_S), default=0.0)
