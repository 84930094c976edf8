"""Which origins a client asks at present: a breaker for each, and a probe while it is open.

A dead upstream costs a look into a table then, and is found to be back by a task in the background:
no request of a client is ever spent on finding out.
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

#: Pages can name any number of hosts for their files: so many that fail are remembered.
_MOST_ORIGINS = 100

#: Told the label of the source or the address of another origin of it, and why that is not asked
#: any more, or None: it answers again.
OnChange = Callable[[str, str | None], None]


class Origins:
    """The origins of the index at `base`, called `label` in errors; of each, how it is doing.

    All begin as `pristine`. `probe` is the status of one request for an address, given how many
    were in vain; it raises `SourceUnavailable`. Whatever opens or closes is told to `on_change`.
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
        #: Those of which something is amiss, the latest at the end.
        self._breakers: dict[Origin, Breaker] = {}
        self._probes: dict[Origin, asyncio.Task[None]] = {}
        self._running = False

    @property
    def open_circuits(self) -> str:
        """Who is not asked at present, until when and why; empty if all are."""
        is_open = [origin for origin, breaker in self._breakers.items() if breaker.is_open]
        if not is_open:
            return ""
        origin = self._own if self._own in is_open else is_open[-1]
        return self._told(origin, self._breakers[origin])

    @property
    def is_silent(self) -> bool:
        """Whether the index itself is not asked at present, or gave no answer when it last was."""
        return self._breakers.get(self._own, self._pristine).is_silent

    def check(self, url: str) -> None:
        """Nothing, if the origin of the address is asked at present.

        Raises `SourceUnavailable` if not, as a `SourceTimeout` if it failed for want of time.
        """
        origin = origin_of(url)
        breaker = self._breakers.get(origin)
        if breaker is None or not breaker.is_open:
            return
        timed_out = breaker.failure is not None and breaker.failure.timed_out
        kind = SourceTimeout if timed_out else SourceUnavailable
        wait = max(1, math.ceil(breaker.wait_s(time.monotonic())))
        raise kind(self._label, self._told(origin, breaker), retry_after_s=wait)

    def failed(self, url: str, error: SourceUnavailable) -> None:
        """Note that a request was given no answer; an unusable one is no matter of the origin."""
        if isinstance(error, SourceInvalid):
            return
        breaker = self._breakers.get(origin_of(url), self._pristine)
        after = breaker.unanswered(_failure(url, error), **_circumstances())
        self._become(origin_of(url), after)

    def answered(self, url: str, status: int) -> None:
        """Note that a request was answered with that status."""
        breaker = self._breakers.get(origin_of(url), self._pristine)
        self._become(origin_of(url), breaker.answered(url, status, **_circumstances()))

    def open(self) -> None:
        """From now on, what happens counts."""
        self._running = True

    async def close(self) -> None:
        """Stop probing, and forget everything; what breaks off at the end counts no more."""
        self._running = False
        tasks = list(self._probes.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._probes.clear()
        self._breakers.clear()

    def _become(self, origin: Origin, after: Breaker) -> None:
        before = self._breakers.get(origin, self._pristine)
        if before == after or not self._running:
            return
        self._breakers.pop(origin, None)
        if after != self._pristine:
            self._breakers[origin] = after
        if after.is_open and not before.is_open:
            self._probes[origin] = asyncio.create_task(self._probe_until_answered(origin))
            self._on_change(self._place(origin), after.failure.reason if after.failure else "")
        elif before.is_open and not after.is_open:
            self._stop_probing(origin)
            self._on_change(self._place(origin), None)
        if len(self._breakers) > _MOST_ORIGINS:
            oldest = next(iter(self._breakers))
            del self._breakers[oldest]
            self._stop_probing(oldest)

    def _stop_probing(self, origin: Origin) -> None:
        task = self._probes.pop(origin, None)
        if task is not None and task is not asyncio.current_task():
            task.cancel()

    async def _probe_until_answered(self, origin: Origin) -> None:
        while (breaker := self._breakers.get(origin)) is not None and breaker.is_open:
            await asyncio.sleep(breaker.wait_s(time.monotonic()))
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
            # The same again, if it was answered well.
            self._become(origin, known.on_probe_failed(failure, **_circumstances()))

    def _place(self, origin: Origin) -> str:
        return self._label if origin == self._own else "{}://{}:{}".format(*origin)

    def _told(self, origin: Origin, breaker: Breaker) -> str:
        """For clients too: another origin may be one inside a network, so it is not named."""
        who = "it" if origin == self._own else "another host it sends us to"
        wait = breaker.wait_s(time.monotonic())
        until = time.strftime("%H:%M:%S", time.gmtime(time.time() + wait))
        why = breaker.failure.reason if breaker.failure else ""
        return f"{who} is not asked until {until} UTC: {why}"


def _failure(url: str, error: SourceUnavailable) -> Failure:
    return Failure(url=url, reason=error.reason, timed_out=isinstance(error, SourceTimeout))


def _circumstances() -> dict[str, float]:
    return {"now": time.monotonic(), "chance": random.random()}  # noqa: S311
