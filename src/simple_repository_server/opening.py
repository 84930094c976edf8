"""Opening a local file without blocking, and never outside the tree it belongs to.

Any part of a path may have become a symlink by the time it is opened. So the file is opened first,
and then the kernel reports the path of the descriptor.
"""

import errno
import os
import stat
import time
from typing import BinaryIO

#: Without O_NONBLOCK a FIFO would block; without O_NOCTTY a terminal would become ours.
_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
#: The kernel's modification times have a resolution of up to 10 ms.
_TICK_NS = 20_000_000


class LeadsOut(OSError):
    """The path leads out of the tree it has to stay in."""

    def __init__(self, path: str) -> None:
        super().__init__(errno.EXDEV, "it leads out of the directory", path)


def open_regular(path: str, *, root: str | None = None) -> BinaryIO:
    """The regular file at `path`, unbuffered, as it is read and sent by its descriptor.

    It lies below `root` (a real path), if that is given. Raises `OSError` as opening does, also
    for what is no regular file, and `LeadsOut`.
    """
    descriptor = os.open(path, _FLAGS)
    try:
        _check(descriptor, path, root)
        return os.fdopen(descriptor, "rb", buffering=0)
    except BaseException:
        os.close(descriptor)
        raise


def stat_beneath(path: str, root: str) -> os.stat_result:
    """The status of the regular file at `path`, which lies below `root`; raises as `open_regular`.

    It is not opened for reading, so its permissions do not matter.
    """
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        return _check(descriptor, path, root)
    finally:
        os.close(descriptor)


def wait_for_tick(mtime_ns: int) -> None:
    """Wait until any further change of the file would give it another modification time than this.

    If it still has this time after it was read, its content is identified by it.
    """
    age_ns = time.time_ns() - mtime_ns
    if 0 <= age_ns < _TICK_NS:
        time.sleep((_TICK_NS - age_ns) / 1e9)


def _check(descriptor: int, path: str, root: str | None) -> os.stat_result:
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "it is no regular file", path)
    if root is not None and not _is_beneath(descriptor, found, path, root):
        raise LeadsOut(path)
    return found


def _is_beneath(descriptor: int, found: os.stat_result, path: str, root: str) -> bool:
    try:
        real = os.readlink(f"/proc/self/fd/{descriptor}")  # noqa: PTH115 - for each file
    except OSError:  # no /proc: by path, which leaves a moment in which it may be replaced
        real = os.path.realpath(path)
        if not os.path.samestat(found, os.lstat(real)):
            return False
    return real.startswith(root.rstrip("/") + "/")
