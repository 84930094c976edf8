"""The advisories of a server: current, shared by all rules, and looked up by project."""

import asyncio
import shutil
import sqlite3
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from packaging.version import Version
from typing_extensions import override

from simple_repository_server.advisories.matching import ProjectAdvisories
from simple_repository_server.advisories.reading import Report
from simple_repository_server.advisories.store import NOTHING, database_path
from simple_repository_server.advisories.watch import Checked, RecordWatch, is_read
from simple_repository_server.cache.background import internal_failure
from simple_repository_server.cache.memory import ENTRY_BYTES, MemoryCache
from simple_repository_server.errors import RuleUnavailable
from simple_repository_server.lifecycle import SharedLifespan, running
from simple_repository_server.model import SourceState
from simple_repository_server.names import ProjectName, shown_path
from simple_repository_server.observe.advisory_events import (
    AdvisoriesOutdated,
    AdvisoriesRead,
    AdvisoryRejected,
)
from simple_repository_server.observe.events import Emit, ignore
from simple_repository_server.observe.rule_events import RuleFailed, RuleRecovered

DEFAULT_CHECK_S = 2.0
DEFAULT_FIRST_READ_S = 5.0
DEFAULT_CHANGES_S = 0.5
DEFAULT_MEMORY_BYTES = 8_000_000
_READING = "is still being read"
_HANGS = "is not up to date, as its file system does not answer"
#: How long opening waits for what is stored.
_FIRST_S = 10.0
#: How long a check may take, reading included.
_DEADLINE_S = 1200.0
#: How soon to look again for the first reading of another process.
_FIRST_POLL_S = 0.1
#: After a check that failed.
_RETRY_S = 30.0
#: How long closing waits for a check.
_CLOSE_S = 5.0


class Advisories(SharedLifespan):
    """Known vulnerable and malicious versions, from OSV records in a folder or zip archive.

    The parsed records are stored in the folder `state`, which processes share; without one they are
    in a temporary folder, and read again at each start. While this is entered they are checked for
    changes every `check_s` seconds (a large folder less often, so that this takes at most one
    percent of a processor), and what changed is read by a process of its own. Until that is done,
    the earlier ones are in use. Entering waits for up to `changes_s` to see if there are changes,
    and for up to `first_read_s` until these are read; if there are no earlier advisories, no rule
    can be evaluated afterwards until that is done. The advisories of projects in use take up to
    `memory_bytes`.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        state: Path | str | None = None,
        emit: Emit = ignore,
        check_s: float = DEFAULT_CHECK_S,
        first_read_s: float = DEFAULT_FIRST_READ_S,
        changes_s: float = DEFAULT_CHANGES_S,
        memory_bytes: int = DEFAULT_MEMORY_BYTES,
    ) -> None:
        self._path = Path(path)
        self._folder = None if state is None else Path(state)
        self._emit = emit
        self._check_s = check_s
        self._first_read_s = first_read_s
        self._changes_s = changes_s
        self._shown = shown_path(str(path))
        self.label = f"advisories in {self._shown}"
        #: Increased whenever an answer may be another one, or there is none any more.
        self.revision = 0
        #: Why no rule can be evaluated by them now; "" if rules can.
        self.problem = f"{self._shown} {_READING}"
        self._warning = ""
        self._trouble = ""
        self._stored = NOTHING
        self._watch: RecordWatch | None = None
        self._work: asyncio.Future[Checked] | None = None
        self._changed = asyncio.Event()
        self._checked = asyncio.Event()
        self._memory: MemoryCache[ProjectName, ProjectAdvisories] = MemoryCache(memory_bytes)
        #: The last project that was loaded: it may be larger than the memory.
        self._last: tuple[ProjectName, ProjectAdvisories] | None = None

    @property
    def ready(self) -> bool:
        """Whether rules can be evaluated by them."""
        return not self.problem

    def state(self) -> SourceState:
        """Whether they can be used, and what is wrong with them."""
        detail = self.problem or self._warning
        return SourceState(label=self.label, kind="advisories", available=self.ready, detail=detail)

    @property
    def _is_reading(self) -> bool:
        return self.problem.endswith(_READING)

    async def until_ready(self, timeout_s: float) -> None:
        """Wait until they were read, or cannot be. Raises `TimeoutError`."""
        async with asyncio.timeout(timeout_s):
            while self._is_reading:
                await self._changed.wait()

    async def for_project(self, project: ProjectName) -> ProjectAdvisories:
        """The advisories about a project. Raises `RuleUnavailable`."""
        self._check_usable()
        known = self._known(project)
        if known is not None:
            return known
        revision = self.revision
        found = await asyncio.to_thread(self._load, project)
        if revision == self.revision:
            self._remember(project, found)
        return found

    async def prepare(self, project: ProjectName) -> None:
        """Load what `fixes` needs to know about the project; raises nothing."""
        try:
            await self.for_project(project)
        except RuleUnavailable:
            return

    def fixes(self, project: ProjectName, version: Version) -> bool:
        """Whether the version fixes an advisory and is not malicious; False if that is unknown.

        Reads the database, for less than a millisecond, unless `prepare` has done so just before.
        """
        if not self.ready:
            return False
        found = self._known(project)
        if found is None:
            try:
                found = self._load(project)
            except RuleUnavailable:
                return False
            self._remember(project, found)
        return found.fixes(version)

    @override
    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        folder = self._folder
        if folder is None:
            folder = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="advisories-"))
        self._changed, self._checked = asyncio.Event(), asyncio.Event()
        watch = self._watch = RecordWatch(self._path, database_path(folder, self._path))
        try:
            first = self._work = asyncio.ensure_future(asyncio.to_thread(watch.first))
            if (await asyncio.wait([first], timeout=_FIRST_S))[0]:
                self._apply(first.result())
            async with running(self._keep_current(watch)):
                with suppress(TimeoutError):
                    await self._until_checked(watch)
                yield
        finally:
            watch.stop.set()
            if self._work is not None:
                await asyncio.wait([self._work], timeout=_CLOSE_S)
            await asyncio.to_thread(watch.close)
            self._watch = self._work = None
            if self._folder is None:
                await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
                self._stored, self.problem = NOTHING, f"{self._shown} {_READING}"

    async def _until_checked(self, watch: RecordWatch) -> None:
        if self._is_reading:
            await self.until_ready(self._first_read_s)
        with suppress(TimeoutError):
            async with asyncio.timeout(self._changes_s):
                await self._checked.wait()
        if watch.reads:
            async with asyncio.timeout(self._first_read_s):
                await self._checked.wait()

    async def _keep_current(self, watch: RecordWatch) -> None:
        while True:
            # A thread cannot be cancelled: closing sets `stop`, and waits for it.
            work = self._work = asyncio.ensure_future(asyncio.to_thread(watch.check))
            while not (await asyncio.wait([work], timeout=_DEADLINE_S))[0]:
                self._apply(Checked(state=self._stored, trouble=_HANGS, usable=self.ready))
            try:
                checked = work.result()
            except Exception as error:  # noqa: BLE001 - the next check may succeed
                self._emit(internal_failure(f"checking the {self.label} failed", error))
                await asyncio.sleep(_RETRY_S)
            else:
                self._apply(checked)
                self._checked.set()
                pause_s = _FIRST_POLL_S if self._is_reading else self._check_s
                await asyncio.sleep(max(pause_s, checked.pause_s))

    def _apply(self, checked: Checked) -> None:
        before = (self._stored.revision, self.problem)
        if checked.trouble and not checked.usable:
            self.problem = f"{self._shown} {checked.trouble}"
        elif not checked.trouble or is_read(checked.state):
            self._stored = checked.state
            unread = "" if is_read(checked.state) else _READING
            problem = checked.state.problem or unread
            self.problem = f"{self._shown} {problem}" if problem else ""
        warning = checked.trouble or checked.state.warning
        self._warning = f"{self._shown} {warning}" if warning else ""
        self._report_reading(checked.report)
        self._report_change(before[1])
        if checked.trouble and self.ready and checked.trouble != self._trouble:
            self._emit(AdvisoriesOutdated(source=self.label, reason=checked.trouble))
        self._trouble = checked.trouble
        if before != (self._stored.revision, self.problem):
            self.revision += 1
            self._memory.discard_if(lambda _: True)
            self._last = None
            self._changed.set()
            self._changed = asyncio.Event()

    def _report_reading(self, report: Report | None) -> None:
        if report is not None and (report.read or report.removed or report.rejected):
            for file, reason in report.named:
                self._emit(AdvisoryRejected(source=self.label, file=file, reason=reason))
            self._emit(
                AdvisoriesRead(
                    source=self.label,
                    records=report.records,
                    files=report.read,
                    removed=report.removed,
                    rejected=report.rejected,
                    duration_s=report.duration_s,
                )
            )

    def _report_change(self, before: str) -> None:
        if self.problem == before or self._is_reading:
            return
        if self.problem:
            self._emit(RuleFailed(rule=self.label, reason=self.problem))
        elif not before.endswith(_READING):
            self._emit(RuleRecovered(rule=self.label))

    def _check_usable(self) -> None:
        if self._watch is None:
            raise RuleUnavailable(self.label, "it is not open")
        if self.problem:
            raise RuleUnavailable(self.label, self.problem)

    def _known(self, project: ProjectName) -> ProjectAdvisories | None:
        if self._last is not None and self._last[0] == project:
            return self._last[1]
        return self._memory.get(project)

    def _remember(self, project: ProjectName, found: ProjectAdvisories) -> None:
        self._last = project, found
        self._memory.put(project, found, found.weight + ENTRY_BYTES)

    def _load(self, project: ProjectName) -> ProjectAdvisories:
        """The advisories of a project; blocks."""
        store = None if self._watch is None else self._watch.store
        if store is None:
            raise RuleUnavailable(self.label, "its database is not open")
        try:
            advisories, _ = store.advisories(project)
        except sqlite3.Error as error:
            raise RuleUnavailable(self.label, f"its database cannot be read ({error})") from error
        return ProjectAdvisories(advisories)
