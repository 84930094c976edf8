"""What lies in a directory, as it was seen at most half a second ago, and whether to believe it."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from pathlib import Path

from simple_repository_server.cache.single_flight import SingleFlight
from simple_repository_server.errors import SourceTimeout, SourceUnavailable, os_reason
from simple_repository_server.model import ProjectList, SourceState
from simple_repository_server.observe.events import Emit, SourceFailed, SourceRecovered
from simple_repository_server.sources.local_facts import DigestStore
from simple_repository_server.sources.local_reports import Reports
from simple_repository_server.sources.local_root import RootGuard
from simple_repository_server.sources.local_tree import Listing, LocalTree

#: How old a look at the directory may be: changes are seen within a second.
_LOOK_AGAIN_S = 0.5
#: How long a look is waited for, as a file system on the network may never answer.
DEADLINE_S = 30.0
_CANNOT_READ = "it cannot be read, or its disk is not mounted; mend that or move it out"

_HANGS = "its file system does not answer"


class LocalDirectory:
    """The directory at `path`: looked at when somebody asks, and at most twice a second."""

    def __init__(
        self,
        path: Path,
        store: DigestStore,
        *,
        reports: Reports,
        clock: Callable[[], float] = time.time,
        emit: Emit,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        self.label = reports.label
        self._deadline_s = deadline_s
        self._reports = reports
        self._clock = clock
        self._emit = emit
        self._tree = LocalTree(path)
        self._guard = RootGuard(path, store)
        self._listing = Listing({})
        self._looked_at = float("-inf")
        self._problem: SourceUnavailable | None = None
        self._looking: SingleFlight[str, None] = SingleFlight()
        self._in_background: asyncio.Future[None] | None = None
        #: The projects that have files.
        self.projects = ProjectList(names=())

    def is_recent(self, looked_at: float) -> bool:
        """Whether what was seen then still counts."""
        return 0 <= self._clock() - looked_at < _LOOK_AGAIN_S

    def peek(self) -> Listing | None:
        """What lay there just now; None if it is to be looked at again, or cannot be served."""
        known = self._problem is None and self.is_recent(self._looked_at)
        return self._listing if known else None

    async def look(self) -> Listing:
        """What lies there; the same object while nothing changed.

        Raises `SourceUnavailable`, and `SourceTimeout` if the file system does not answer.
        """
        if not self.is_recent(self._looked_at):
            await self._wait_for_look()
        if self._problem is not None:
            raise SourceUnavailable(self.label, self._problem.reason)
        return self._listing

    async def _wait_for_look(self) -> None:
        """Wait in vain once only, however many ask."""
        gave_up = self._problem is not None and self._problem.reason == _HANGS
        if not (gave_up and self._looking.is_running("")):
            try:
                async with asyncio.timeout(self._deadline_s):
                    return await self._looking.run("", self._look_now)
            except TimeoutError:
                if not self._looking.is_running(""):  # it has just ended
                    return None
        self._failed(_HANGS)
        raise SourceTimeout(self.label, _HANGS)

    def state(self) -> SourceState:
        """How it was when it was last looked at."""
        detail = self._problem.reason if self._problem else unreadable(self._listing)
        available = False if self._problem else (True if self._looked_at > 0 else None)
        return SourceState(label=self.label, kind="directory", available=available, detail=detail)

    def look_later(self) -> None:
        """Have `state` be up to date soon, without waiting for it."""
        is_looking = self._in_background is not None and not self._in_background.done()
        if not (is_looking or self.is_recent(self._looked_at)):
            with contextlib.suppress(RuntimeError):  # no event loop, as in a script
                asyncio.get_running_loop()
                self._in_background = asyncio.ensure_future(self._looking.run("", self._look_now))

    async def close(self) -> None:
        """Stop looking."""
        await self._looking.cancel_all()
        if self._in_background is not None:
            self._in_background.cancel()
            await asyncio.gather(self._in_background, return_exceptions=True)

    async def _look_now(self) -> None:
        try:
            listing, reason = await asyncio.to_thread(self._seen)
        except OSError as error:
            reason = f"the directory cannot be read ({os_reason(error)})"
            self._failed(reason)
        else:
            if reason:
                self._failed(reason)
            else:
                self._succeeded(listing)
        self._looked_at = self._clock()

    def _seen(self) -> tuple[Listing, str]:
        """What lies there, and why that cannot be all there is, if so; blocks."""
        listing = self._tree.look()
        return listing, self._guard.problem(listing)

    def _failed(self, reason: str) -> None:
        if self._problem is None or self._problem.reason != reason:
            self._emit(SourceFailed(source=self.label, reason=reason))
        self._problem = SourceUnavailable(self.label, reason)

    def _succeeded(self, listing: Listing) -> None:
        if self._problem is not None:
            self._emit(SourceRecovered(source=self.label))
        self._problem = None
        if listing is not self._listing:
            self._tell_skipped(listing)
            names, missing = listing.names(), _missing(self.label, listing)
            if (names, missing) != (self.projects.names, self.projects.incomplete):
                self.projects = ProjectList(names=names, incomplete=missing)
            self._listing = listing

    def _tell_skipped(self, listing: Listing) -> None:
        skipped = [*listing.skipped, *((folder, _CANNOT_READ) for folder in listing.unreadable)]
        before = {*self._listing.unreadable, *(path for path, _ in self._listing.skipped)}
        for path in before - {path for path, _ in skipped}:
            self._reports.forget(path)
        for path, reason in skipped:
            self._reports.skipped(path, reason)


def _missing(label: str, listing: Listing) -> tuple[str, ...]:
    """What a list of projects has to say that cannot be complete."""
    reason = unreadable(listing)
    return (str(SourceUnavailable(label, reason)),) if reason else ()


def unreadable(listing: Listing) -> str:
    """What hinders from knowing all that lies there; "" if nothing does."""
    if not listing.unreadable:
        return ""
    return f"the folder {listing.unreadable[0]} {_CANNOT_READ.removeprefix('it ')}"
