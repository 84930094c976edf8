"""A circuit breaker for one origin: a state machine without clock or network.

    closed ──failures──▶ open ──probe is due──▶ half-open: one probe, no other request
       ▲                  ▲                             │
       │                  └── interval doubled ─────────┤ probe failed
       └────────────────────────────────────────────────┘ probe was answered

A host that cannot be reached, or never answers, fails for every page. A page that answers 5xx, or
whose connection breaks off, may be the only one: several different addresses must fail like that.
An origin is suspect after the first that breaks off: it is probed, and requested as before. That
address counts as one failure, like each failed probe and each attempt without a connection.
"""

import msgspec

_SERVER_ERRORS = 500
#: Statuses of a server that cannot work now. 429 is none of them: that server works, and counts.
_BROKEN = frozenset((500, 502, 503, 504))
#: More doublings would only make larger numbers.
_MAX_DOUBLINGS = 30


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """The last failure: its address, the reason for people, and whether it was a timeout."""

    url: str
    reason: str
    timed_out: bool = False


class Breaker(msgspec.Struct, frozen=True, kw_only=True):
    """The state of one origin. Immutable: each event returns the next state.

    The circuit opens after `open_after` failures, and is probed at intervals from `first_s`,
    doubling, to `longest_s`. `now` is any monotonic clock; `chance` is from [0, 1).
    """

    open_after: int = 3
    first_s: float = 1.0
    longest_s: float = 30.0
    #: Attempts without an answer since the last success.
    consecutive_failures: int = 0
    #: Addresses that answered 5xx since the last success.
    broken: frozenset[str] = frozenset()
    #: Addresses whose connection broke off since the last success.
    broken_off: frozenset[str] = frozenset()
    #: Failed probes since the circuit opened.
    probes: int = 0
    #: When the next probe is due; None if none is.
    probe_at: float | None = None
    #: Probed although the circuit is closed.
    suspect: bool = False
    failure: Failure | None = None

    @property
    def is_open(self) -> bool:
        """Whether requests are refused; also while half-open, except for the probe."""
        return self.probe_at is not None and not self.suspect

    @property
    def is_silent(self) -> bool:
        """Whether requests are refused, or some had no answer since the last success."""
        return self.is_open or self.consecutive_failures > 0 or self.suspect

    def wait_s(self, now: float) -> float:
        """Seconds until the next probe: 0 if it is due, or there is none."""
        return 0.0 if self.probe_at is None else max(0.0, self.probe_at - now)

    def unanswered(self, failure: Failure, *, now: float, chance: float) -> "Breaker":
        """After an attempt without a connection, or without an answer in time."""
        if self.is_open:  # it began before the circuit opened
            return self
        failures = self.consecutive_failures + 1
        after = msgspec.structs.replace(self, consecutive_failures=failures, failure=failure)
        return _opened(after, now, chance) if _has_no_answers(after) else after

    def disconnected(self, failure: Failure, *, now: float, chance: float) -> "Breaker":
        """After an attempt whose connection broke off: however many, one failure per address."""
        if self.is_open:
            return self
        broken_off = self.broken_off | {_without_query(failure.url)}
        after = msgspec.structs.replace(self, broken_off=broken_off, failure=failure)
        if self.probe_at is None:
            after = msgspec.structs.replace(_probed_next(after, now, chance), suspect=True)
        return _opened_if_failing(after, now, chance)

    def answered(self, url: str, status: int, *, now: float, chance: float) -> "Breaker":
        """After an answer with that status: any below 500 is a success."""
        if status < _SERVER_ERRORS:
            return self._closed()
        if self.is_open or status not in _BROKEN:
            return self
        broken = self.broken | {_without_query(url)}
        failure = Failure(url=url, reason=f"it answers with status {status}")
        after = msgspec.structs.replace(self, broken=broken, failure=failure)
        return _opened_if_failing(after, now, chance)

    def on_probe_failed(self, failure: Failure, *, now: float, chance: float) -> "Breaker":
        """After a probe that failed for any reason: the next interval is up to twice as long.

        For a suspect origin it is one more attempt without an answer.
        """
        if self.probe_at is None:
            return self
        # The address probed in turn with the base is that of a client's request, not of a probe.
        url = self.failure.url if self.failure else failure.url
        failure = msgspec.structs.replace(failure, url=url)
        after = msgspec.structs.replace(
            self,
            probes=self.probes + 1,
            consecutive_failures=self.consecutive_failures + 1,
            failure=failure,
        )
        if self.suspect and not _has_no_answers(after):
            return _probed_next(after, now, chance)
        return _opened(after, now, chance)

    def probe_url(self, base: str) -> str:
        """The address to probe next: `base` and the address that failed last, in turn.

        Either may be broken for reasons of its own.
        """
        return self.failure.url if self.failure and self.probes % 2 else base

    def _closed(self) -> "Breaker":
        return Breaker(open_after=self.open_after, first_s=self.first_s, longest_s=self.longest_s)


def _without_query(url: str) -> str:
    """The address as a key: a signature in its query differs each time."""
    return url.partition("?")[0]


def _has_no_answers(breaker: Breaker) -> bool:
    return breaker.consecutive_failures + len(breaker.broken_off) >= breaker.open_after


def _opened_if_failing(breaker: Breaker, now: float, chance: float) -> Breaker:
    many_broken = len(breaker.broken | breaker.broken_off) >= breaker.open_after
    failing = many_broken or _has_no_answers(breaker)
    return _opened(breaker, now, chance) if failing else breaker


def _opened(breaker: Breaker, now: float, chance: float) -> Breaker:
    return msgspec.structs.replace(_probed_next(breaker, now, chance), suspect=False)


def _probed_next(breaker: Breaker, now: float, chance: float) -> Breaker:
    interval = min(breaker.longest_s, breaker.first_s * 2 ** min(breaker.probes, _MAX_DOUBLINGS))
    # Jitter between half of it and all of it: servers of one company do not probe at once.
    return msgspec.structs.replace(breaker, probe_at=now + interval * (1 + chance) / 2)
