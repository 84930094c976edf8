"""The limits of a transfer, of which one deadline and one minimum rate hold for all attempts."""

import msgspec


class TransferLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How long a transfer into the cache may take, and which ranges do not wait for it."""

    #: From the first request to the last byte, and as long again for its readers; to this is added
    #: the time its bytes take at the slowest accepted rate.
    total_s: float = 3600.0
    slowest_bytes_per_s: int = 100_000
    #: In each window at least so many bytes have to arrive, however often it is resumed.
    window_s: float = 60.0
    least_bytes: int = 64 * 1024
    #: Before an interrupted transfer is resumed; doubled, with jitter, each time in a row.
    backoff_s: float = 0.2
    #: A range that begins so far ahead of the transfer under way is fetched by itself.
    ahead_bytes: int = 8 * 1024 * 1024
    #: A range smaller than this is fetched by itself if no transfer is under way.
    small_range_bytes: int = 8 * 1024 * 1024

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
