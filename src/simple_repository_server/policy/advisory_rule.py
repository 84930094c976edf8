"""Hiding versions that are known to be vulnerable or malicious."""

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager

from packaging.version import Version
from typing_extensions import override

from simple_repository_server.advisories.advisories import Advisories
from simple_repository_server.advisories.matching import Affecting, ProjectAdvisories
from simple_repository_server.distributions.filenames import version_of
from simple_repository_server.errors import RuleUnavailable
from simple_repository_server.model import SourceState
from simple_repository_server.policy.page_view import PageView
from simple_repository_server.policy.rule import SHOW_ALL, Hidden, Outcome
from simple_repository_server.policy.scope import Scope
from simple_repository_server.policy.scoped_rule import EVERYTHING, ScopedRule


class AdvisoryRule(ScopedRule):
    """Hides the files of versions that an advisory affects.

    With `malicious_only` only those of versions that are malicious (an id or alias of the database
    of malicious packages, `MAL-…`). Advisories whose id, or one of whose aliases, is in `ignore` do
    not count. Entering it enters the advisories. Raises `RuleUnavailable` while they cannot be
    consulted.
    """

    changes = True

    def __init__(
        self,
        advisories: Advisories,
        *,
        malicious_only: bool = False,
        ignore: Iterable[str] = (),
        label: str = "",
        reason: str = "",
        scope: Scope = EVERYTHING,
        dry_run: bool = False,
        conceal: bool = False,
    ) -> None:
        super().__init__(
            label=label or f"advisories = {'malicious' if malicious_only else 'all'}",
            reason=reason,
            scope=scope,
            dry_run=dry_run,
            conceal=conceal,
        )
        self._advisories = advisories
        self._malicious_only = malicious_only
        self._ignored = frozenset(ignore)

    # A plain attribute in the base class.
    @property
    @override
    def revision(self) -> int:  # type: ignore[override]
        """That of the advisories: nothing else of the rule changes."""
        return self._advisories.revision

    @override
    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        async with super().lifespan(), self._advisories:
            yield

    @override
    async def facts(self, view: PageView) -> ProjectAdvisories:
        problem = self._advisories.problem
        if problem:
            raise RuleUnavailable(self.label, problem)
        return await self._advisories.for_project(view.project)

    @override
    def judge(self, view: PageView, now: float, facts: object) -> Outcome:
        assert isinstance(facts, ProjectAdvisories)
        if not any(map(self._counts, facts.all)):
            return SHOW_ALL
        hidden: dict[int, Hidden] = {}
        for version, positions in self.versions_in_scope(view):
            for text, some in _by_text(view, version, positions):
                affecting = [one for one in facts.affecting(version, text) if self._counts(one)]
                if affecting:
                    hidden.update(dict.fromkeys(some, self.hidden(_fact(affecting, version))))
        return Outcome(hidden=hidden) if hidden else SHOW_ALL

    @override
    def states(self) -> tuple[SourceState, ...]:
        state = self._advisories.state()
        return (
            SourceState(
                label=self.label, kind="rule", available=state.available, detail=state.detail
            ),
        )

    def _counts(self, one: Affecting) -> bool:
        return (one.malicious or not self._malicious_only) and self._ignored.isdisjoint(one.names)


def _by_text(
    view: PageView, version: Version | None, positions: Sequence[int]
) -> Iterator[tuple[str | None, Sequence[int]]]:
    """The files of one version; if that is none, by how their names spell it."""
    if version is not None:
        yield None, positions
        return
    for position in positions:
        yield version_of(view.files[position].filename, view.project), (position,)


def _fact(affecting: Sequence[Affecting], version: Version | None) -> str:
    """As in `PYSEC-2026-12 (CVE-2026-4711), fixed in 2.6.2, and 2 more advisories`.

    Records that are aliases of each other are one advisory.
    """
    first = affecting[0]
    aliases = first.advisory.aliases
    # The identifier that most people know.
    alias = next((name for name in aliases if name.startswith("CVE-")), aliases[:1] and aliases[0])
    text = f"malicious, {first.advisory.id}" if first.malicious else first.advisory.id
    if alias:
        text += f" ({alias})"
    same = [one.fixed_after(version) for one in affecting if one.names == first.names]
    fixed = next(filter(None, same), None)
    if fixed is not None:
        text += f", fixed in {fixed}"
    more = len({one.names for one in affecting}) - 1
    if more:
        text += f", and {more} more {'advisory' if more == 1 else 'advisories'}"
    return text
