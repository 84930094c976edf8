"""What goes when the cache is too large: the one eviction, in the background and by `cache prune`.

Entries are evicted least recently used first. What an evicted file leaves dangling, and garbage of
crashed processes, goes with it.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from errno import EAGAIN
from pathlib import Path

import msgspec

from simple_repository_server.disk.blobs import BlobStore
from simple_repository_server.disk.cached_projects import CachedProjects
from simple_repository_server.disk.entries import BrokenEntry, EntryStore
from simple_repository_server.disk.layout import FILES, KINDS, LINKS, LOCK, PARTIAL, PROJECTS
from simple_repository_server.disk.links import Link
from simple_repository_server.disk.noatime import read_all
from simple_repository_server.disk.ownership import check_tag
from simple_repository_server.disk.partial import abandoned
from simple_repository_server.disk.usage import (
    DEFAULT_PACE,
    Amount,
    ScanPace,
    StoredFile,
    disk_usage,
    scan,
    slot_of,
    total_bytes,
    usage_by_age,
)

#: What was used within this time is never evicted: it may be on its way to a client.
IN_USE_S = 6.0
#: Once the budget is exceeded, nine tenths of it stay, so that this does not happen all the time.
_LOW_WATER = 0.9
#: How often the lock is tried while another process has it.
_LOCK_RETRY_S = 0.1
_LOCK_FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


class Cutoff(msgspec.Struct, frozen=True, kw_only=True):
    """Which entries have to go, by their last use."""

    #: All that were last used before this time, in seconds since the epoch;
    idle_since: float = 0.0
    #: all in slots (`usage.slot_of`) before this one;
    slot: int = 0
    #: and in that slot as many as are needed for this many bytes.
    surplus: int = 0


class EvictionGoal(msgspec.Struct, frozen=True, kw_only=True):
    """What may stay in the cache; by default everything but garbage."""

    #: How many bytes may stay, given how many there are.
    target: Callable[[int], int] | None = None
    #: Evict what was not used for so many seconds.
    unused_s: float | None = None
    #: How many bytes of project records may stay.
    record_bytes: int | None = None
    #: Search for dangling links and records even if no file was evicted.
    thorough: bool = True


class EvictionResult(msgspec.Struct, frozen=True, kw_only=True):
    """What an eviction removed (in a dry run: would remove), and what is left."""

    evicted: Amount = msgspec.field(default_factory=Amount)
    #: Abandoned partial files, and links and project records without their file.
    garbage: Amount = msgspec.field(default_factory=Amount)
    #: Entries of the kinds that are evicted.
    left: Amount = msgspec.field(default_factory=Amount)
    #: What is left, with the project records.
    bytes_left: int = 0
    #: Whether what is left is known to fit into the budget.
    within_budget: bool = False


def target_bytes(total: int, *, max_bytes: int, lacking: int = 0) -> int:
    """How many of `total` bytes may stay.

    Beyond `max_bytes` it is nine tenths of them. On a full disk, `lacking` bytes less than there
    are, unless that is more than half: then evicting would not help.
    """
    wanted = int(max_bytes * _LOW_WATER) if total > max_bytes else total
    return min(wanted, total - lacking) if lacking <= total // 2 else wanted


def cutoff(
    usage: Mapping[int, Amount],
    *,
    max_bytes: int | None = None,
    unused_s: float | None = None,
    now: float,
) -> Cutoff:
    """What has to go so that at most `max_bytes` stay, and nothing that was unused for `unused_s`.

    What was used within the last `IN_USE_S` stays in any case. `usage`: see `usage_by_age`.
    """
    idle_since = 0.0 if unused_s is None else now - max(unused_s, IN_USE_S)
    surplus = 0
    if max_bytes is not None:
        surplus = sum(amount.bytes for amount in usage.values()) - max_bytes
    if surplus <= 0:
        return Cutoff(idle_since=idle_since)
    in_use = slot_of(now - IN_USE_S)
    for slot in sorted(usage):
        if surplus <= 0 or slot >= in_use:
            return Cutoff(idle_since=idle_since, slot=slot)
        if usage[slot].bytes > surplus:
            return Cutoff(idle_since=idle_since, slot=slot, surplus=surplus)
        surplus -= usage[slot].bytes
    return Cutoff(idle_since=idle_since, slot=in_use)


def victims(files: Iterable[StoredFile], limit: Cutoff) -> Iterator[StoredFile]:
    """Those of the files that have to go."""
    surplus = limit.surplus
    for file in files:
        slot = slot_of(file.used_at)
        if file.used_at < limit.idle_since or slot < limit.slot:
            yield file
        elif slot == limit.slot and surplus > 0:
            surplus -= file.bytes
            yield file


def evict(
    folder: Path,
    goal: EvictionGoal,
    *,
    now: float,
    dry_run: bool = False,
    pace: ScanPace = DEFAULT_PACE,
) -> EvictionResult:
    """Bring the cache in `folder` to the goal, by removing the least recently used entries.

    Also removes garbage. Call it inside `exclusive`. Blocks, and takes long for a large cache.
    Raises `InterruptedError` once `pace.stopped`, with what was removed until then.
    """
    return _Eviction(folder, now=now, dry_run=dry_run, pace=pace).run(goal)


class _Eviction:
    """One eviction. In a dry run it only records which files would be removed."""

    def __init__(self, folder: Path, *, now: float, dry_run: bool, pace: ScanPace) -> None:
        self._folder = folder
        self._now = now
        self._dry_run = dry_run
        self._pace = pace
        self._gone: set[str] = set()
        self._evicted = Amount()
        self._garbage = Amount()
        self._blobs = BlobStore(folder / FILES, folder / PARTIAL)
        self._links = EntryStore(folder / LINKS, folder / PARTIAL, Link)
        self._records = CachedProjects(folder / PROJECTS)

    def run(self, goal: EvictionGoal) -> EvictionResult:
        for path, size in abandoned(self._folder / PARTIAL, self._now):
            self._remove(str(path), disk_usage(size), self._garbage)
        usage, records = usage_by_age(self._scan(*KINDS)), total_bytes(self._scan(PROJECTS))
        left = Amount()
        for amount in usage.values():
            left.files += amount.files
            left.bytes += amount.bytes
        target = None
        if goal.target is not None:
            target = max(0, goal.target(left.bytes + records) - records)
        limit = cutoff(usage, max_bytes=target, unused_s=goal.unused_s, now=self._now)
        if limit != Cutoff():
            for file in victims(self._scan(*KINDS), limit):
                self._remove(file.path, file.bytes, self._evicted, left)
        too_many_records = goal.record_bytes is not None and records > goal.record_bytes
        if goal.thorough or self._evicted.files or too_many_records:
            self._remove_dangling_links(left)
            self._remove_dangling_records()
        if too_many_records:
            limit = cutoff(
                usage_by_age(self._scan(PROJECTS)), max_bytes=goal.record_bytes, now=self._now
            )
            for file in victims(self._scan(PROJECTS), limit):
                self._remove(file.path, file.bytes, self._garbage)
        return EvictionResult(
            evicted=self._evicted,
            garbage=self._garbage,
            left=left,
            bytes_left=left.bytes + records,
        )

    def _scan(self, *names: str) -> Iterator[StoredFile]:
        return scan(*(self._folder / name for name in names), now=self._now, pace=self._pace)

    def _remove(self, path: str, size: int, amount: Amount, left: Amount | None = None) -> None:
        """Remove a file that takes `size` bytes, unless another process was faster."""
        with contextlib.suppress(OSError):
            if self._dry_run:
                self._gone.add(path)
            else:
                Path(path).unlink()
            amount.add(size)
            if left is not None:
                left.files -= 1
                left.bytes -= size

    def _remove_dangling_links(self, left: Amount) -> None:
        """Remove the links whose file was removed."""
        for link in self._scan(LINKS):
            with contextlib.suppress(OSError, BrokenEntry):
                head, _ = self._links.parse(read_all(Path(link.path)))
                if link.path not in self._gone and not self._is_cached(head.sha256):
                    self._remove(link.path, link.bytes, self._garbage, left)

    def _remove_dangling_records(self) -> None:
        """Remove from project records the digests whose file was removed, and empty records."""
        for record in self._scan(PROJECTS):
            project = Path(record.path).name
            with contextlib.suppress(OSError):
                if self._dry_run:
                    is_empty = not any(map(self._is_cached, self._records.digests_of(project)))
                else:  # a server may add another digest at the same time
                    is_empty = self._records.retain(project, self._is_cached) == "removed"
                if is_empty:
                    self._garbage.add(record.bytes)

    def _is_cached(self, sha256: str) -> bool:
        return str(self._blobs.path(sha256)) not in self._gone and self._blobs.exists(sha256)


@contextlib.contextmanager
def exclusive(folder: Path, *, wait_s: float = 0.0) -> Iterator[None]:
    """Be the only process that evicts from the folder; waits so long while another one does.

    The kernel releases the lock with the process. Raises `BlockingIOError` if the other process
    still has it then, `ForeignFolder` if the folder lacks our tag, or another `OSError`.
    """
    check_tag(folder)
    deadline = time.monotonic() + wait_s
    descriptor = os.open(folder / LOCK, _LOCK_FLAGS, 0o600)
    try:
        while not _try_lock(descriptor):
            if time.monotonic() >= deadline:
                reason = "another process is evicting entries, or hangs"
                raise BlockingIOError(EAGAIN, reason, str(folder))
            time.sleep(_LOCK_RETRY_S)
        yield
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
