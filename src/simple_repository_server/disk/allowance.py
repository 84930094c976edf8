"""How much may still be written to the cache: every write reserves its bytes here first.

Three limits: the budget, of which files being written may take a half; everything in `partial/`,
whichever process writes it; and the free space of the disk, of which a part stays for others.
"""

import os
import sys
import threading
from errno import EDQUOT, ENOSPC
from pathlib import Path

import msgspec

from simple_repository_server.disk.usage import disk_usage
from simple_repository_server.observe.sizes import shown_size

#: The default budget: 10 GB.
DEFAULT_MAX_BYTES = 10 * 1000**3
#: A half of the budget may be in flight at once, which also limits the largest file.
_IN_FLIGHT_PART = 2
#: A third of the budget may be exceeded while entries in use cannot be evicted.
_OVER_PART = 3
#: A fiftieth of the disk stays free,
_FREE_PART = 50
#: but never more than 1 GB.
_MAX_FREE_BYTES = 1000**3


class OverBudget(OSError):
    """The budget does not permit the write. `by_eviction`: it would after an eviction."""

    def __init__(self, reason: str, *, by_eviction: bool = False) -> None:
        super().__init__(EDQUOT, reason)
        self.by_eviction = by_eviction


class BudgetUse(msgspec.Struct, frozen=True, kw_only=True):
    """How many bytes of the budget and of the disk are used."""

    #: Complete files.
    stored: int
    #: Files being written, by any process.
    in_flight: int
    #: What may still be written to the disk.
    free: int


def refusal(use: BudgetUse, more: int, *, max_bytes: int, strict: bool) -> OSError | None:
    """Why `more` bytes may not be written; None if they may. `strict`: never over the budget."""
    if use.in_flight + more > max_bytes // _IN_FLIGHT_PART:
        budget = f"half of the budget of {shown_size(max_bytes)}"
        if use.in_flight:
            return OverBudget(f"the files being written exceed {budget}")
        return OverBudget(f"it is larger than {budget}")
    over = 0 if strict else max_bytes // _OVER_PART
    if use.stored + use.in_flight + more > max_bytes + over:
        return OverBudget(f"the budget of {shown_size(max_bytes)} is used up", by_eviction=True)
    if more > use.free:
        return OSError(ENOSPC, os.strerror(ENOSPC))
    return None


class Allowance:
    """The bytes that may be written to the cache in `folder`, whose partial files are in `scratch`.

    What other processes have stored is known from the last scan (`set_stored`). The methods block
    for a moment, and are thread-safe.
    """

    def __init__(self, folder: Path, scratch: Path, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._folder = folder
        self._scratch = scratch
        # Re-entrant: a file that is garbage-collected gives back its bytes, perhaps in this thread.
        self._lock = threading.RLock()
        self._stored = 0
        self._reserved = 0
        self._on_disk = 0
        self._refused = 0

    @property
    def reserved(self) -> int:
        """How many bytes this process has reserved for files being written."""
        return self._reserved

    def in_flight(self) -> int:
        """The bytes of files being written by any process, and what we have reserved beyond."""
        with self._lock:
            others = max(0, partial_bytes(self._scratch) - self._on_disk)
            return self._reserved + others

    def lacking(self) -> int:
        """How many bytes must become free for what was refused since the last call."""
        with self._lock:
            refused, self._refused = self._refused, 0
        return max(0, refused - free_for_cache(self._folder)) if refused else 0

    def set_stored(self, size: int) -> None:
        """Set how many bytes are stored by all processes, as a scan found."""
        with self._lock:
            self._stored = size

    def reserve(self, size: int, *, strict: bool = False) -> "Reservation":
        """Reserve bytes for a file. Raises `OverBudget` or, if the disk is full, `OSError`."""
        reservation = Reservation(self)
        reservation.grow(size, strict=strict)
        return reservation

    def add(self, more: int, *, strict: bool) -> None:
        """Reserve more bytes. Raises as `reserve`."""
        with self._lock:
            others = max(0, partial_bytes(self._scratch) - self._on_disk)
            unwritten = max(0, self._reserved - self._on_disk)
            use = BudgetUse(
                stored=self._stored,
                in_flight=self._reserved + others,
                free=free_for_cache(self._folder) - unwritten,
            )
            refused = refusal(use, more, max_bytes=self.max_bytes, strict=strict)
            if refused is not None:
                if more > use.free:
                    self._refused = max(self._refused, more)
                raise refused
            self._reserved += more

    def written(self, count: int) -> None:
        """Record that so many of the reserved bytes have been written."""
        with self._lock:
            self._on_disk += count

    def give_back(self, reserved: int, written: int, *, stored: bool) -> None:
        """End a reservation; `stored`: the file was committed."""
        with self._lock:
            self._reserved -= reserved
            self._on_disk -= written
            self._stored += disk_usage(written) if stored else 0


class Reservation:
    """The bytes reserved for one file. It grows as the file does."""

    def __init__(self, allowance: Allowance) -> None:
        self._allowance = allowance
        self._reserved = 0
        self._written = 0
        self._ended = False

    def grow(self, size: int, *, strict: bool = False) -> None:
        """Reserve `size` bytes in all. Raises as `Allowance.reserve`."""
        more = size - self._reserved
        if more > 0:
            self._allowance.add(more, strict=strict)
            self._reserved = size

    def write(self, count: int) -> None:
        """Reserve what the next `count` bytes need. Raises as `Allowance.reserve`."""
        self.grow(self._written + count)
        self._written += count
        self._allowance.written(count)

    def end(self, *, stored: bool = False) -> None:
        """Give back the bytes; `stored`: the file was committed. Only the first call counts."""
        if not self._ended:
            self._ended = True
            self._allowance.give_back(self._reserved, self._written, stored=stored)


def free_for_cache(folder: Path) -> int:
    """How many bytes may still be written to the disk: what is free, less the part that stays."""
    disk = os.statvfs(folder)
    if not disk.f_blocks:  # unlimited, as some tmpfs and network file systems
        return sys.maxsize
    reserve = min(_MAX_FREE_BYTES, disk.f_blocks * disk.f_frsize // _FREE_PART)
    return max(0, disk.f_bavail * disk.f_frsize - reserve)


def partial_bytes(scratch: Path) -> int:
    """The bytes of all partial files: of all processes, and garbage of crashed ones."""
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
