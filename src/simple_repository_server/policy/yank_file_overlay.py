"""Files yanked by a file of the operator's."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from typing_extensions import override

from simple_repository_server.errors import RuleUnavailable
from simple_repository_server.model import File, SourceState
from simple_repository_server.names import ProjectName
from simple_repository_server.observe.events import Emit, ignore
from simple_repository_server.observe.rule_events import RuleFailed, RuleRecovered
from simple_repository_server.policy.page_view import PageView
from simple_repository_server.policy.rule import Outcome
from simple_repository_server.policy.scoped_rule import ScopedRule
from simple_repository_server.policy.watched_file import WatchedFile
from simple_repository_server.policy.yank_list import YankList, read_yank_file
from simple_repository_server.policy.yank_overlay import yanked_files


class YankFileOverlay(ScopedRule):
    """Shows the files as yanked (PEP 592) that a file names: JSON of globs, or SQLite.

    Both formats are those of `policy/yank_list.py`. A reason in the file comes before the one given
    here; a file that its source has yanked is unchanged. While the overlay is entered, a change of
    the file is seen within two seconds. While the file is missing or invalid, the rule cannot be
    evaluated: `facts` raises `RuleUnavailable`, and `emit` and `states` say why.
    """

    overlay = True
    changes = True

    def __init__(
        self, path: Path | str, *, emit: Emit = ignore, label: str = "", **common: Any
    ) -> None:
        self._file: WatchedFile[YankList] = WatchedFile(Path(path), read_yank_file, self._changed)
        super().__init__(label=label or f"yank-file = {self._file.path.name}", **common)
        self._emit = emit
        self._failed = False

    def _changed(self) -> None:
        self.revision += 1
        failed = bool(self._file.problem)
        if failed:
            self._emit(RuleFailed(rule=self.label, reason=self._file.problem))
        elif self._failed:
            self._emit(RuleRecovered(rule=self.label))
        self._failed = failed

    @override
    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        async with self._file:
            yield

    @override
    def applies_to(self, project: ProjectName) -> bool:
        content = self._file.content
        return content is None or (project in content and super().applies_to(project))

    @override
    async def facts(self, view: PageView) -> object:
        """What the file yanks. Raises `RuleUnavailable`."""
        if self._file.content is None and not self._file.problem:
            await self._file.refresh()
        if self._file.content is None:
            raise RuleUnavailable(self.label, self._file.problem)
        return self._file.content

    @override
    def judge(self, view: PageView, now: float, facts: Any) -> Outcome:
        yanks = facts.get(view.project)
        replaced: dict[int, File] = {}
        if yanks is None:
            return Outcome()
        for version, positions in self.versions_in_scope(view):
            of_version = yanks.reason_for_version(version)
            for at in positions:
                reason = yanks.reason_for_file(view.files[at].filename)
                reason = of_version if reason is None else reason
                if reason is not None:
                    replaced.update(yanked_files(view, (at,), reason or self.reason))
        return Outcome(replaced=replaced)

    @override
    def states(self) -> tuple[SourceState, ...]:
        available = None if not self.revision else not self._file.problem
        state = SourceState(
            label=self.label, kind="rule", available=available, detail=self._file.problem
        )
        return (state,)
