"""How long a transfer may take: one deadline and a minimum rate for all of its attempts."""

import msgspec


class TransferLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How long a transfer into the cache may take."""

    #: From the first request to the last byte, and as long again for its readers; to this is added
    #: the time its bytes take at the slowest accepted rate.
    total_s: float = 3600.0
    slowest_bytes_per_s: int = 100_000
    #: In each window at least so many bytes have to arrive, however often it is resumed.
    window_s: float = 60.0
    least_bytes: int = 64 * 1024

    def seconds_for(self, size: int | None) -> float:
        """The deadline for a transfer of `size` bytes, in seconds."""
        return self.total_s + (size or 0) / self.slowest_bytes_per_s


class Pace:
    """The rate at which bytes arrive, from `now` on, by a monotonic clock."""

    def __init__(self, limits: TransferLimits, now: float) -> None:
        self._limits = limits
        self._since = now
        self._before = 0

    def is_too_slow(self, received: int, now: float) -> bool:
        """Whether less than the minimum arrived in the last window; `received` is the total."""
        if now - self._since < self._limits.window_s:
            return False
        slow = received - self._before < self._limits.least_bytes
        self._since, self._before = now, received
        return slow
