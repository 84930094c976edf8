"""When a directory is scanned: on request, at most twice a second; and whether it is available."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from pathlib import Path

from simple_repository_server.cache.single_flight import SingleFlight
from simple_repository_server.errors import SourceTimeout, SourceUnavailable, os_reason
from simple_repository_server.model import ProjectList, SourceState
from simple_repository_server.names import ProjectName
from simple_repository_server.observe.events import Emit, SourceFailed, SourceRecovered
from simple_repository_server.sources.local_entries import Found
from simple_repository_server.sources.local_facts import DigestStore
from simple_repository_server.sources.local_problems import Problems
from simple_repository_server.sources.local_root import RootGuard
from simple_repository_server.sources.local_tree import Listing, LocalTree

#: How old the scan behind an answer may be. Its age counts from its start, as it may have missed
#: what changed right after that: so a change is seen after this and the duration of one more scan.
_RESCAN_S = 0.5
#: From this age on, a request that is answered from the last scan starts the next one: with
#: steady traffic nobody waits for a scan.
_REFRESH_S = 0.3
#: How long a scan may take, as a file system on the network may never answer.
DEADLINE_S = 30.0
_CANNOT_READ = "it cannot be read, or its disk is not mounted; mend that or move it out"
_HANGS = "its file system does not answer"


class LocalDirectory:
    """The directory at `path`, scanned on request, and at most twice a second."""

    def __init__(
        self,
        path: Path,
        store: DigestStore,
        *,
        problems: Problems,
        clock: Callable[[], float] = time.time,
        emit: Emit,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        self.label = problems.label
        self._deadline_s = deadline_s
        self._problems = problems
        self._clock = clock
        self._emit = emit
        self._tree = LocalTree(path)
        self._guard = RootGuard(path, store)
        self._listing = Listing({})
        #: When the last scan began. One that takes longer than it may be old cannot show changes
        #: within a second; then it is when it ended, or each request would wait for another.
        self.scanned_at = float("-inf")
        self._problem: SourceUnavailable | None = None
        self._scans: SingleFlight[str, None] = SingleFlight()
        self._in_background: asyncio.Future[None] | None = None
        #: The projects that have files.
        self.projects = ProjectList(names=())

    def may_serve(self, project: ProjectName, found: tuple[Found, ...], scanned_at: float) -> bool:
        """Whether a page of these files, which a scan of that time found, may be served.

        Page and list are one decision: not if the last scan found other files, or failed. If that
        is getting old, the next one must have been started (`scan_later`): peeks start none.
        """
        age_s = self._clock() - scanned_at
        if not 0 <= age_s < _RESCAN_S or self._is_due():
            return False
        listing = self._listing
        latest = listing.files.get(project)
        agrees = latest is found or latest == found
        return agrees and self._problem is None and not listing.may_lack_files_of(project)

    def peek(self) -> Listing | None:
        """What the last scan found; None if that is too old, or cannot be served."""
        known = self._problem is None and self._is_recent()
        return self._listing if known else None

    def _is_recent(self) -> bool:
        return 0 <= self._clock() - self.scanned_at < _RESCAN_S

    async def scan(self) -> Listing:
        """What is there; the same object while nothing changed.

        Raises `SourceUnavailable`, and `SourceTimeout` if the file system does not answer.
        """
        if not self._is_recent():
            await self._wait_for_scan()
        else:
            self.scan_later()
        if self._problem is not None:
            raise SourceUnavailable(self.label, self._problem.reason)
        return self._listing

    async def _wait_for_scan(self) -> None:
        """Wait for a scan; after one that timed out nobody waits until it ends."""
        timed_out = self._problem is not None and self._problem.reason == _HANGS
        if not (timed_out and self._scans.is_running("")):
            try:
                async with asyncio.timeout(self._deadline_s):
                    return await self._scans.run("", self._scan_now)
            except TimeoutError:
                if not self._scans.is_running(""):  # it has just ended
                    return None
        self._failed(_HANGS)
        raise SourceTimeout(self.label, _HANGS)

    def state(self) -> SourceState:
        """The state found by the last scan."""
        detail = self._problem.reason if self._problem else unreadable(self._listing)
        available = False if self._problem else (True if self.scanned_at > 0 else None)
        return SourceState(label=self.label, kind="directory", available=available, detail=detail)

    def scan_later(self) -> None:
        """Start a scan in the background for later requests, if the last one is getting old."""
        if self._is_due():
            with contextlib.suppress(RuntimeError):  # no event loop, as in a script
                asyncio.get_running_loop()
                self._in_background = asyncio.ensure_future(self._scans.run("", self._scan_now))

    def _is_due(self) -> bool:
        """Whether the last scan is getting old, and no other one is in flight."""
        is_young = 0 <= self._clock() - self.scanned_at < _REFRESH_S
        is_starting = self._in_background is not None and not self._in_background.done()
        return not (is_young or is_starting or self._scans.is_running(""))

    async def close(self) -> None:
        """Abandon the scans in flight."""
        await self._scans.cancel_all()
        if self._in_background is not None:
            self._in_background.cancel()
            await asyncio.gather(self._in_background, return_exceptions=True)

    async def _scan_now(self) -> None:
        began_at = self._clock()
        try:
            listing, reason = await asyncio.to_thread(self._scan)
        except OSError as error:
            reason = f"the directory cannot be read ({os_reason(error)})"
            self._failed(reason)
        else:
            if reason:
                self._failed(reason)
            else:
                self._succeeded(listing)
        ended_at = self._clock()
        self.scanned_at = began_at if ended_at - began_at < _RESCAN_S else ended_at

    def _scan(self) -> tuple[Listing, str]:
        """What is there, and why it must not be served ("" if it may); blocks."""
        listing = self._tree.scan()
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
            self._report_skipped(listing)
            names, missing = listing.names, _missing(self.label, listing)
            if (names, missing) != (self.projects.names, self.projects.incomplete):
                self.projects = ProjectList(names=names, incomplete=missing)
            self._listing = listing

    def _report_skipped(self, listing: Listing) -> None:
        skipped = [*listing.skipped, *((folder, _CANNOT_READ) for folder in listing.unreadable)]
        before = {*self._listing.unreadable, *(path for path, _ in self._listing.skipped)}
        for path in before - {path for path, _ in skipped}:
            self._problems.resolved(path)
        for path, reason in skipped:
            self._problems.skipped(path, reason)


def _missing(label: str, listing: Listing) -> tuple[str, ...]:
    """What the list of projects states about its being incomplete."""
    reason = unreadable(listing)
    return (str(SourceUnavailable(label, reason)),) if reason else ()


def unreadable(listing: Listing) -> str:
    """Why the listing may be incomplete; "" if it is not."""
    if not listing.unreadable:
        return ""
    return f"the folder {listing.unreadable[0]} {_CANNOT_READ.removeprefix('it ')}"
