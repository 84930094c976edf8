"""The cooldown: files younger than a minimum age are hidden."""

import math
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any, Protocol

from packaging.version import Version
from typing_extensions import override

from simple_repository_server.names import ProjectName
from simple_repository_server.policy.dated_rule import DatedRule
from simple_repository_server.policy.page_view import PageView
from simple_repository_server.policy.rule import Hidden, Outcome
from simple_repository_server.policy.sentences import (
    shown_after,
    shown_duration,
    shown_time,
    utc,
)


class FastLane(AbstractAsyncContextManager[Any], Protocol):
    """What knows which versions fix a known advisory. The rule enters it."""

    @property
    def revision(self) -> int:
        """Increased whenever `fixes` may answer otherwise."""
        ...

    async def prepare(self, project: ProjectName) -> None:
        """Load what `fixes` needs to know about the project; raises nothing."""

    def fixes(self, project: ProjectName, version: Version) -> bool:
        """Whether the version fixes a known advisory; False while that is unknown. Quick."""
        ...


class MinimumAgeRule(DatedRule):
    """Hides each file until it is `min_age_s` seconds old; at that very second it is shown.

    A time in the future counts as it is. Versions that fix a known advisory are shown at once if
    there is a `fast_lane`, also without an upload time. Exemptions are in the scope. Raises
    `ValueError` for an age that is negative or no number.
    """

    def __init__(
        self,
        min_age_s: float,
        *,
        fast_lane: FastLane | None = None,
        label: str = "",
        **common: Any,
    ) -> None:
        if not (math.isfinite(min_age_s) and min_age_s >= 0):
            raise ValueError(f"a minimum age of {min_age_s} s is not possible")
        super().__init__(label=label or f"min-age = {shown_duration(min_age_s)}", **common)
        self.min_age_s = min_age_s
        self._fast_lane = fast_lane
        self.changes = fast_lane is not None

    # A plain attribute in the base class.
    @property
    @override
    def revision(self) -> int:  # type: ignore[override]
        """That of the fast lane: nothing else of the rule changes."""
        return 0 if self._fast_lane is None else self._fast_lane.revision

    @override
    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(super().lifespan())
            if self._fast_lane is not None:
                await stack.enter_async_context(self._fast_lane)
            yield

    @override
    async def facts(self, view: PageView) -> object:
        if self._fast_lane is not None:
            await self._fast_lane.prepare(view.project)
        return await super().facts(view)

    @override
    def judge(self, view: PageView, now: float, facts: object) -> Outcome:
        dated = self.dated(view, facts)
        young = [one for one in dated.times if now < one[1] + self.min_age_s]
        early = self._early(view, [*dated.hidden, *(at for at, _, _ in young)])
        hidden = {at: why for at, why in dated.hidden.items() if at not in early}
        shown_at = {at: time + self.min_age_s for at, time, _ in young if at not in early}
        for at, time, verb in young:
            if at not in early:
                hidden[at] = self._too_young(time, shown_at[at], verb)
        until = min(shown_at.values(), default=None)
        return Outcome(hidden=hidden, until=until, shown_at=shown_at, undated=dated.undated)

    def _early(self, view: PageView, candidates: list[int]) -> set[int]:
        """The positions of files whose versions fix an advisory."""
        if self._fast_lane is None or not candidates:
            return set()
        wanted = set(candidates)
        early: set[int] = set()
        for version, positions in view.by_version:
            concerned = wanted.intersection(positions)
            if version is not None and concerned and self._fast_lane.fixes(view.project, version):
                early |= concerned
        return early

    def _too_young(self, time: float, shown_at: float, verb: str) -> Hidden:
        until = utc(shown_at)
        then = f"shown from {shown_after(shown_at)}" if until else "not shown before the year 10000"
        return self.hidden(f"{verb} {shown_time(time)}, {then}", until)
