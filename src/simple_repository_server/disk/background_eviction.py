"""Keeping the cache within its budget while servers run: one process evicts, all measure."""

import contextlib
from collections.abc import Callable
from pathlib import Path

import msgspec

from simple_repository_server.disk.allowance import Allowance
from simple_repository_server.disk.eviction import (
    EvictionGoal,
    EvictionResult,
    evict,
    exclusive,
    target_bytes,
)
from simple_repository_server.disk.layout import KINDS, PROJECTS
from simple_repository_server.disk.ownership import ForeignFolder
from simple_repository_server.disk.usage import ScanPace, scan, total_bytes

#: The part of the budget that project records may take.
_RECORDS_PART = 20


class BackgroundEviction:
    """Keeps the cache in `folder` within its `allowance`. Its methods block.

    Without `evicts` only garbage is removed, as offline, where nothing could be fetched again.
    Once `stopped`, a scan that is running is abandoned.
    """

    def __init__(
        self,
        folder: Path,
        allowance: Allowance,
        *,
        evicts: bool,
        clock: Callable[[], float],
        pace: ScanPace,
    ) -> None:
        self._folder = folder
        self._allowance = allowance
        self._evicts = evicts
        self._clock = clock
        #: Whether the cache was scanned since the start.
        self.has_measured = False
        self.stopped = False
        self._pace = msgspec.structs.replace(pace, stopped=lambda: self.stopped)

    def run(self, size: int = 0) -> EvictionResult:
        """Evict so that the budget also has space for a file of `size` bytes; the result.

        Takes long for a large cache. While another process evicts, only measures. Does nothing in
        a folder without our tag.
        """
        try:
            with exclusive(self._folder):
                return self._evict(size)
        except (ForeignFolder, InterruptedError):
            return EvictionResult()
        except OSError:  # another process evicts, or the folder is read-only
            pass
        with contextlib.suppress(OSError):
            return self._measure(size)
        return EvictionResult()

    def _evict(self, size: int) -> EvictionResult:
        goal = EvictionGoal(thorough=False)
        if self._evicts:
            goal = EvictionGoal(
                target=lambda total: target_bytes(
                    total, max_bytes=self._available(size), lacking=self._allowance.lacking()
                ),
                record_bytes=self._allowance.max_bytes // _RECORDS_PART,
                thorough=not self.has_measured,
            )
        result = evict(self._folder, goal, now=self._clock(), pace=self._pace)
        return self._with_verdict(result, size)

    def _measure(self, size: int) -> EvictionResult:
        folders = [self._folder / name for name in (*KINDS, PROJECTS)]
        total = total_bytes(scan(*folders, now=self._clock(), pace=self._pace))
        return self._with_verdict(EvictionResult(bytes_left=total), size)

    def _with_verdict(self, result: EvictionResult, size: int) -> EvictionResult:
        """The result with whether it suffices; offline nothing more can be done."""
        self._allowance.set_stored(result.bytes_left)
        self.has_measured = True
        fits = not self._evicts or result.bytes_left <= self._available(size)
        return msgspec.structs.replace(result, within_budget=fits)

    def _available(self, size: int) -> int:
        """The part of the budget that stored entries may take."""
        return max(0, self._allowance.max_bytes - self._allowance.in_flight() - size)
