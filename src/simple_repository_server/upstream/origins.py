"""The origins of one index: a circuit breaker for each, and probes while a circuit is open.

A request to a dead upstream then costs one table lookup. A background task finds out when it is
back, so that no request of a client is spent on it.
"""

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable
from urllib.parse import urljoin

from simple_repository_server.errors import SourceInvalid, SourceTimeout, SourceUnavailable
from simple_repository_server.upstream.breaker import Breaker, Failure
from simple_repository_server.upstream.credentials import Origin
from simple_repository_server.wire.urls import origin_of

#: Pages can name any number of hosts: this many failing ones are remembered.
_MAX_ORIGINS = 100
_SERVER_ERRORS = 500

#: Called when a circuit opens or closes, with the label of the index or the address of another
#: origin, and the reason (None: it closed).
OnChange = Callable[[str, str | None], None]


class Origins:
    """The origins of the index at `base`, called `label` in errors, and their circuit breakers.

    Each begins as `pristine`. `probe(url, failed)` requests an address after so many failed probes
    and returns the status, or raises `SourceUnavailable`.
    """

    def __init__(
        self,
        base: str,
        *,
        label: str,
        pristine: Breaker,
        probe: Callable[[str, int], Awaitable[int]],
        on_change: OnChange,
    ) -> None:
        self._base = base
        self._own = origin_of(base)
        self._label = label
        self._pristine = pristine
        self._probe = probe
        self._on_change = on_change
        #: Of the origins with a failure since their last success; the latest at the end.
        self._breakers: dict[Origin, Breaker] = {}
        self._probes: dict[Origin, asyncio.Task[None]] = {}
        #: The same tasks and those being cancelled, until they have ended.
        self._tasks: set[asyncio.Task[None]] = set()
        self._running = False

    @property
    def open_circuits(self) -> str:
        """Which origin is unavailable, until when and why, for people; empty if none is."""
        is_open = [origin for origin, breaker in self._breakers.items() if breaker.is_open]
        if not is_open:
            return ""
        origin = self._own if self._own in is_open else is_open[-1]
        return self._describe(origin, self._breakers[origin])

    @property
    def is_silent(self) -> bool:
        """Whether the circuit of the index is open, or its last attempts had no answer."""
        return self._breakers.get(self._own, self._pristine).is_silent

    def check(self, url: str) -> None:
        """Return if the circuit of the address's origin is closed.

        Else raises `SourceUnavailable`, or `SourceTimeout` if its last failure was a timeout.
        """
        if not self._breakers:
            return
        origin = origin_of(url)
        breaker = self._breakers.get(origin)
        if breaker is None or not breaker.is_open:
            return
        timed_out = breaker.failure is not None and breaker.failure.timed_out
        kind = SourceTimeout if timed_out else SourceUnavailable
        wait = max(1, math.ceil(breaker.wait_s(time.monotonic())))
        raise kind(self._label, self._describe(origin, breaker), retry_after_s=wait)

    def failed(self, url: str, error: SourceUnavailable, *, connected: bool) -> None:
        """Record an attempt without a usable answer; `connected`: its connection broke off.

        An invalid answer says nothing about the origin.
        """
        if isinstance(error, SourceInvalid):
            return
        origin = origin_of(url)
        breaker = self._breakers.get(origin, self._pristine)
        happened = breaker.disconnected if connected else breaker.unanswered
        self._transition(origin, happened(_failure(url, error), **_circumstances()))

    def answered(self, url: str, status: int) -> None:
        """Record an answer with that status."""
        if not self._breakers and status < _SERVER_ERRORS:
            return
        origin = origin_of(url)
        breaker = self._breakers.get(origin, self._pristine)
        self._transition(origin, breaker.answered(url, status, **_circumstances()))

    def open(self) -> None:
        """Start recording."""
        self._running = True

    async def close(self) -> None:
        """Stop probing and forget everything; requests cut off by closing are not recorded."""
        self._running = False
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._probes.clear()
        self._breakers.clear()

    def _transition(self, origin: Origin, after: Breaker) -> None:
        before = self._breakers.get(origin, self._pristine)
        if before == after or not self._running:
            return
        self._breakers.pop(origin, None)
        if after != self._pristine:
            self._breakers[origin] = after
        if after.probe_at is not None and before.probe_at is None:
            task = asyncio.create_task(self._probe_until_answered(origin))
            self._probes[origin] = task
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif before.probe_at is not None and after.probe_at is None:
            self._stop_probing(origin)
        if after.is_open and not before.is_open:
            self._on_change(self._place(origin), after.failure.reason if after.failure else "")
        elif after.probe_at is None and (
            before.is_open or (before.suspect and origin == self._own)
        ):
            self._on_change(self._place(origin), None)
        if len(self._breakers) > _MAX_ORIGINS:
            oldest = next(iter(self._breakers))
            del self._breakers[oldest]
            self._stop_probing(oldest)

    def _stop_probing(self, origin: Origin) -> None:
        task = self._probes.pop(origin, None)
        if task is not None and task is not asyncio.current_task():
            task.cancel()

    async def _probe_until_answered(self, origin: Origin) -> None:
        while (breaker := self._breakers.get(origin)) is not None and breaker.probe_at is not None:
            if (wait_s := breaker.wait_s(time.monotonic())) > 0:
                await asyncio.sleep(wait_s)
                continue  # it may have opened since, which postpones the probe
            failing = breaker.failure.url if breaker.failure else self._base
            base = self._base if origin == self._own else urljoin(failing, "/")
            url = breaker.probe_url(base)
            try:
                status = await self._probe(url, breaker.probes)
            except SourceUnavailable as error:
                failure = _failure(url, error)
            else:
                self.answered(url, status)
                failure = Failure(url=url, reason=f"it answers with status {status}")
            known = self._breakers.get(origin, self._pristine)
            # No change if the probe succeeded: the circuit is closed by now.
            self._transition(origin, known.on_probe_failed(failure, **_circumstances()))

    def _place(self, origin: Origin) -> str:
        return self._label if origin == self._own else "{}://{}:{}".format(*origin)

    def _describe(self, origin: Origin, breaker: Breaker) -> str:
        """For clients, too: another origin may be inside a network, so it is not named."""
        who = "it" if origin == self._own else "a host it redirects to"
        wait = breaker.wait_s(time.monotonic())
        at = time.strftime("%H:%M:%S", time.gmtime(time.time() + wait))
        reason = breaker.failure.reason if breaker.failure else ""
        return f"{who} is unavailable; next attempt at {at} UTC: {reason}"


def _failure(url: str, error: SourceUnavailable) -> Failure:
    return Failure(url=url, reason=error.reason, timed_out=isinstance(error, SourceTimeout))


def _circumstances() -> dict[str, float]:
    return {"now": time.monotonic(), "chance": random.random()}  # noqa: S311 - jitter needs no secrecy
