"""Whether a transfer gets on: one deadline and a least rate for all of its attempts together."""

import msgspec


class TransferLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How long a transfer into the cache may take."""

    #: From its first request to its last byte, and its readers as long again; in addition the time
    #: its bytes take at the slowest rate that is waited for.
    total_s: float = 3600.0
    slowest_bytes_per_s: int = 100_000
    #: In each such time so many bytes have to arrive, however often it is resumed.
    window_s: float = 60.0
    least_bytes: int = 64 * 1024

    def seconds_for(self, size: int | None) -> float:
        """How long a transfer of so many bytes may take."""
        return self.total_s + (size or 0) / self.slowest_bytes_per_s


class Pace:
    """How fast bytes arrive, from `now` on. By any clock that never goes back."""

    def __init__(self, limits: TransferLimits, now: float) -> None:
        self._limits = limits
        self._since = now
        self._before = 0

    def is_too_slow(self, received: int, now: float) -> bool:
        """Whether less than the least has come within the last window; `received` in all."""
        if now - self._since < self._limits.window_s:
            return False
        slow = received - self._before < self._limits.least_bytes
        self._since, self._before = now, received
        return slow
