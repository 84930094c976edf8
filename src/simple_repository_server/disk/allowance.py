"""How much a cache may still write: asked before every byte, by whoever writes.

Three bounds: the budget, of which what is being written may take half; what lies in `partial/`,
whoever writes it; and the disk, of which a part stays free for others.
"""

import os
import sys
import threading
from errno import EDQUOT, ENOSPC
from pathlib import Path

import msgspec

from simple_repository_server.disk import room
from simple_repository_server.observe.sizes import shown_size

#: What may be in flight at once, and so the largest file that is kept, is a half of the budget.
_IN_FLIGHT_PART = 2
#: How far over the budget it may get while what is in use cannot be evicted: a third.
_OVER_PART = 3
#: How much of the disk stays free: a fiftieth, and never more than that.
_FREE_PART, _FREE_MOST = 50, 1000**3


class OverBudget(OSError):
    """The budget does not allow for it: it is not kept. `by_eviction`: with room made, it may."""

    def __init__(self, reason: str, *, by_eviction: bool = False) -> None:
        super().__init__(EDQUOT, reason)
        self.by_eviction = by_eviction


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """How much a cache takes of its budget, and of its disk."""

    #: Complete, and being written by anybody.
    kept: int
    in_flight: int
    #: What the disk would take, but for what stays free.
    free: int


def refusal(usage: Usage, more: int, *, max_bytes: int, strict: bool) -> OSError | None:
    """Why `more` bytes may not be written; None if they may. `strict`: not a byte too much."""
    if usage.in_flight + more > max_bytes // _IN_FLIGHT_PART:
        what = "it is more than half of" if not usage.in_flight else "it is too much at once for"
        return OverBudget(f"{what} the budget of {shown_size(max_bytes)}")
    over = 0 if strict else max_bytes // _OVER_PART
    if usage.kept + usage.in_flight + more > max_bytes + over:
        return OverBudget(f"the budget of {shown_size(max_bytes)} is used up", by_eviction=True)
    if more > usage.free:
        return OSError(ENOSPC, os.strerror(ENOSPC))
    return None


class Allowance:
    """What may be written to the cache in `folder`, whose `partial` folder is `scratch`.

    What others write there as well is found out when it is `measured`, now and then. Its methods
    block for a moment, and may be called by several threads.
    """

    def __init__(self, folder: Path, scratch: Path, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._folder = folder
        self._scratch = scratch
        # A file that is forgotten gives back what it has whenever it is collected, be that here.
        self._lock = threading.RLock()
        self._kept = 0
        self._reserved = 0
        self._on_disk = 0
        self._refused = 0

    @property
    def reserved(self) -> int:
        """How much this process is going to have written."""
        return self._reserved

    def in_flight(self) -> int:
        """What is being written by anybody, or is going to be by us."""
        with self._lock:
            others = max(0, partial_bytes(self._scratch) - self._on_disk)
            return self._reserved + others

    def lacking(self) -> int:
        """How much more the disk has to take for what was refused since the last time."""
        with self._lock:
            refused, self._refused = self._refused, 0
        return max(0, refused - free_for_cache(self._folder)) if refused else 0

    def measured(self, size: int) -> None:
        """So much is there, whoever wrote it."""
        with self._lock:
            self._kept = size

    def reserve(self, size: int, *, strict: bool = False) -> "Reservation":
        """The right to write so many bytes. Raises `OverBudget` or, on a full disk, `OSError`."""
        reservation = Reservation(self)
        reservation.grow(size, strict=strict)
        return reservation

    def add(self, more: int, *, strict: bool) -> None:
        """Reserve more. Raises as `reserve`."""
        with self._lock:
            others = max(0, partial_bytes(self._scratch) - self._on_disk)
            unwritten = max(0, self._reserved - self._on_disk)
            usage = Usage(
                kept=self._kept,
                in_flight=self._reserved + others,
                free=free_for_cache(self._folder) - unwritten,
            )
            refused = refusal(usage, more, max_bytes=self.max_bytes, strict=strict)
            if refused is not None:
                if more > usage.free:
                    self._refused = max(self._refused, more)
                raise refused
            self._reserved += more

    def written(self, count: int) -> None:
        """So many of the reserved bytes are on the disk now."""
        with self._lock:
            self._on_disk += count

    def give_back(self, reserved: int, written: int, *, kept: bool) -> None:
        """A reservation has ended; with `kept`, what was written stays."""
        with self._lock:
            self._reserved -= reserved
            self._on_disk -= written
            self._kept += room.room_for(written) if kept else 0


class Reservation:
    """The right of one file to be written. What is not reserved yet is asked for as it grows."""

    def __init__(self, allowance: Allowance) -> None:
        self._allowance = allowance
        self._reserved = 0
        self._written = 0
        self._ended = False

    def grow(self, size: int, *, strict: bool = False) -> None:
        """The file will have `size` bytes in all. Raises as `Allowance.reserve`."""
        more = size - self._reserved
        if more > 0:
            self._allowance.add(more, strict=strict)
            self._reserved = size

    def write(self, count: int) -> None:
        """So many bytes are about to be written. Raises as `Allowance.reserve`."""
        self.grow(self._written + count)
        self._written += count
        self._allowance.written(count)

    def end(self, *, kept: bool = False) -> None:
        """The file is complete and `kept`, or given up. Only the first time counts."""
        if not self._ended:
            self._ended = True
            self._allowance.give_back(self._reserved, self._written, kept=kept)


def free_for_cache(folder: Path) -> int:
    """How much the disk may still take: what is free, but for a part that stays so."""
    disk = os.statvfs(folder)
    if not disk.f_blocks:  # one without a size, as some that are in memory or in a network
        return sys.maxsize
    reserve = min(_FREE_MOST, disk.f_blocks * disk.f_frsize // _FREE_PART)
    return max(0, disk.f_bavail * disk.f_frsize - reserve)


def partial_bytes(scratch: Path) -> int:
    """How much is being written right now, or was left by a crash, by all who share the folder."""
    total = 0
    try:
        with os.scandir(scratch) as entries:
            for entry in entries:
                try:
                    total += entry.stat(follow_symlinks=False).st_size
                except FileNotFoundError:
                    continue
    except FileNotFoundError:
        return 0
    return total
