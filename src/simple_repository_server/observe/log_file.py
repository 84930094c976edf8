"""Where log lines go: a descriptor, and the file behind it."""

import os
import select
import stat
from pathlib import Path
from typing import TextIO


class LogFile:
    """The descriptor of a stream. Writing raises nothing: an error could not be logged anyway.

    The descriptors in `also` are reopened with it if they are the same file (`> log 2>&1`).
    """

    def __init__(self, stream: TextIO, *, also: tuple[int, ...] = ()) -> None:
        self._descriptor = stream.fileno()
        self._path = _path_of(self._descriptor)
        self._followers = [n for n in also if self._path is not None and self._same(n)]

    def write(self, data: bytes) -> None:
        """Write all of it, however long that blocks."""
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
        except OSError:
            return

    def write_at_once(self, data: bytes) -> None:
        """Write it if that does not block (a pipe takes up to 4096 bytes), else drop it."""
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        if any(state & select.POLLOUT for _, state in poll.poll(0)):
            self.write(data)

    def reopen(self) -> None:
        """Open the file that has the name now, after `logrotate` renamed the old one.

        Does nothing for a pipe or terminal; if the file cannot be opened, the old one stays in use.
        """
        if self._path is None:
            return
        mode = stat.S_IMODE(os.fstat(self._descriptor).st_mode)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        try:
            fresh = os.open(self._path, flags, mode)
        except OSError:
            return
        for descriptor in (self._descriptor, *self._followers):
            os.dup2(fresh, descriptor, inheritable=True)
        os.close(fresh)

    def _same(self, other: int) -> bool:
        try:
            return os.path.samestat(os.fstat(self._descriptor), os.fstat(other))
        except OSError:
            return False


def _path_of(descriptor: int) -> Path | None:
    """The path of an open regular file; None for anything else, or if it cannot be found out."""
    try:
        state = os.fstat(descriptor)
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        named = stat.S_ISREG(state.st_mode) and os.path.samestat(state, path.stat())
    except OSError:
        return None
    return path if named else None
