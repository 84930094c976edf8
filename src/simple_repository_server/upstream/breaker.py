"""Whether an origin is asked at all: a state machine that knows neither clock nor network.

    closed ──failures──▶ open ──its time has come──▶ half-open: one probe, nobody else
       ▲                  ▲                             │
       │                  └──── twice the interval ─────┤ it failed
       └────────────────────────────────────────────────┘ it was answered

Silence is told from trouble: a host that gives no answer at all fails for every page, while one
page with a status of 5xx says nothing of the others; it takes several different ones to do so.
"""

import msgspec

_SERVER_ERRORS = 500
#: Statuses of a server that cannot do its work now. 429 is none: it can, and counts requests.
_BROKEN = frozenset((500, 502, 503, 504))
#: More would only be larger numbers.
_DOUBLINGS = 30


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """What went wrong last: at which address, in what words, and whether for want of time."""

    url: str
    reason: str
    timed_out: bool = False


class Breaker(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one origin. It never changes: what happens makes another one of it.

    It opens after `open_after` failures in a row, and is probed at intervals from `first_s`,
    doubling, to `longest_s`. `now` is any clock that only goes forward; `chance` is from [0, 1).
    """

    open_after: int = 3
    first_s: float = 1.0
    longest_s: float = 30.0
    #: Requests without any answer since the last success, and addresses that answered 5xx.
    consecutive_failures: int = 0
    broken: frozenset[str] = frozenset()
    #: Probes without success since it opened.
    probes: int = 0
    #: When it is probed next; None: it is closed.
    probe_at: float | None = None
    failure: Failure | None = None

    @property
    def is_open(self) -> bool:
        """Whether requests are refused; also while it is half-open, but for the probe."""
        return self.probe_at is not None

    @property
    def is_silent(self) -> bool:
        """Whether requests are refused, or the last one was given no answer at all."""
        return self.is_open or self.consecutive_failures > 0

    def wait_s(self, now: float) -> float:
        """How long it is until the next probe: 0 if it is closed or half-open."""
        return 0.0 if self.probe_at is None else max(0.0, self.probe_at - now)

    def unanswered(self, failure: Failure, *, now: float, chance: float) -> "Breaker":
        """After a request that was given no answer at all."""
        if self.is_open:  # it began before that, and says nothing new
            return self
        after = msgspec.structs.replace(
            self, consecutive_failures=self.consecutive_failures + 1, failure=failure
        )
        return (
            _opened(after, now, chance) if after.consecutive_failures >= self.open_after else after
        )

    def answered(self, url: str, status: int, *, now: float, chance: float) -> "Breaker":
        """After an answer with that status: anything below 500 is a success."""
        if status < _SERVER_ERRORS:
            return self._closed()
        if self.is_open or status not in _BROKEN:
            return self
        # The query is no part of it: a signature in there is another one each time.
        broken = self.broken | {url.partition("?")[0]}
        failure = Failure(url=url, reason=f"it answers with status {status}")
        after = msgspec.structs.replace(self, broken=broken, failure=failure)
        return _opened(after, now, chance) if len(broken) >= self.open_after else after

    def on_probe_failed(self, failure: Failure, *, now: float, chance: float) -> "Breaker":
        """After a probe that failed, in whatever way: open for up to twice as long as before."""
        if not self.is_open:
            return self
        # What is asked for next time is what clients wanted, not the probe.
        url = self.failure.url if self.failure else failure.url
        failure = msgspec.structs.replace(failure, url=url)
        after = msgspec.structs.replace(self, probes=self.probes + 1, failure=failure)
        return _opened(after, now, chance)

    def probe_url(self, base: str) -> str:
        """What to ask for next: `base` and the address that failed last, in turns.

        Either may be broken for reasons of its own.
        """
        return self.failure.url if self.failure and self.probes % 2 else base

    def _closed(self) -> "Breaker":
        return Breaker(open_after=self.open_after, first_s=self.first_s, longest_s=self.longest_s)


def _opened(breaker: Breaker, now: float, chance: float) -> Breaker:
    interval = min(breaker.longest_s, breaker.first_s * 2 ** min(breaker.probes, _DOUBLINGS))
    # Between half of it and all of it, so that not all servers of a company come at once.
    return msgspec.structs.replace(breaker, probe_at=now + interval * (1 + chance) / 2)
