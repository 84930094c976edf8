"""Rules applied to a repository: what they hide is neither shown nor served."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from operator import attrgetter

import msgspec
from typing_extensions import override

from simple_repository_server.cache.single_flight import SingleFlight
from simple_repository_server.cache.snapshots import Derived, DerivedSnapshots
from simple_repository_server.errors import (
    HiddenByRule,
    ProjectNotFound,
    ResourceNotFound,
    RuleUnavailable,
)
from simple_repository_server.explanation import Explanation
from simple_repository_server.freshness import LimitedFreshness
from simple_repository_server.model import (
    NO_CONTEXT,
    ProjectList,
    ProjectPage,
    RequestContext,
    SourceState,
)
from simple_repository_server.names import FileName, ProjectName
from simple_repository_server.observe.events import Emit, ignore
from simple_repository_server.observe.rule_events import DryRunReported, FilesHidden
from simple_repository_server.policy.calls import Crashes, applies, facts_for
from simple_repository_server.policy.evaluation import Evaluation, evaluate
from simple_repository_server.policy.explain import explain_rules
from simple_repository_server.policy.hidden_names import HiddenNames
from simple_repository_server.policy.lists import VisibleNames
from simple_repository_server.policy.page_view import PageView
from simple_repository_server.policy.rule import Hidden, Rule
from simple_repository_server.repository import Repository, RepositoryContainer
from simple_repository_server.resource import Resource

#: Pages with more files are evaluated in a thread.
_MAX_FILES_HERE = 500
_revision = attrgetter("revision")


class _Evaluated(msgspec.Struct, frozen=True):
    """What is remembered of a page beside the page that is shown."""

    #: Of all rules.
    revision: int
    #: When the evaluation ends; None: not by itself.
    until: float | None
    evaluation: Evaluation


class RuleRepository(RepositoryContainer):
    """`source` as its rules show it; what a rule hides is neither listed nor served.

    The rules are evaluated once per page of the source, and again when a rule has changed or the
    time has come that it named. As long as that changes nothing, the same page is returned, and the
    very page of the source if the rules change nothing of it. Files and metadata are decided by the
    same evaluation: what is hidden raises `HiddenByRule`, what is not on the page
    `ResourceNotFound`.

    A project that is hidden by its name alone is not in the list, and raises `HiddenByRule`
    without a query of `source`. With `owns_names` the rules are those of one source among several:
    then a project that `source` does not have raises `ProjectNotFound` instead, so that the next
    source is queried, and so does every name that a rule with `disowns_projects` hides.

    A rule that cannot be evaluated raises `RuleUnavailable` for the pages it is about, unless it is
    a dry run. `clock` returns seconds since the epoch.
    """

    def __init__(
        self,
        source: Repository,
        rules: Sequence[Rule],
        *,
        owns_names: bool = False,
        clock: Callable[[], float] = time.time,
        emit: Emit = ignore,
    ) -> None:
        super().__init__(source)
        self.rules = tuple(rules)
        self._changeable = tuple(rule for rule in self.rules if rule.changes)
        self._owns_names = owns_names
        self._clock = clock
        self._emit = emit
        self._crashes = Crashes(emit)
        self._hidden_names = HiddenNames(self.rules)
        self._names_decide = bool(self._hidden_names.rules)
        self._shown_names = self._hidden_names.shown
        withholds = self._hidden_names.withholds if owns_names else None
        self._lists = VisibleNames(self._hidden_names.shows, withholds)
        self._pages: DerivedSnapshots[ProjectPage, _Evaluated] = DerivedSnapshots()
        self._evaluating: SingleFlight[tuple[int, int], tuple[ProjectPage, Evaluation]] = (
            SingleFlight()
        )

    @override
    async def get_project_list(self, *, context: RequestContext = NO_CONTEXT) -> ProjectList:
        projects = await self.source.get_project_list(context=context)
        return await self._lists.of(projects, self._revision())

    @override
    async def get_project_page(
        self, project: ProjectName, *, context: RequestContext = NO_CONTEXT
    ) -> ProjectPage:
        hidden = self._hidden_project(project, self._revision())
        page = await self.source.get_project_page(project, context=context)
        if hidden is not None:
            raise hidden
        return (await self._evaluated(page))[0]

    @override
    async def get_resource(
        self, project: ProjectName, filename: FileName, *, context: RequestContext = NO_CONTEXT
    ) -> Resource:
        hidden = self._hidden_project(project, self._revision())
        page = await self.source.get_project_page(project, context=context)
        if hidden is not None:
            raise hidden
        _, evaluation = await self._evaluated(page)
        is_listed = _check_file(page, evaluation, filename)
        # What is not on the page may be hidden by rules below, which say so.
        resource = await self.source.get_resource(project, filename, context=context)
        if not is_listed:
            raise ResourceNotFound(page.name, filename)
        return resource

    @override
    def peek_project_list(self, *, context: RequestContext = NO_CONTEXT) -> ProjectList | None:
        projects = self.source.peek_project_list(context=context)
        return None if projects is None else self._lists.peek(projects, self._revision())

    @override
    def peek_project_page(
        self, project: ProjectName, *, context: RequestContext = NO_CONTEXT
    ) -> ProjectPage | None:
        # The way of each warm page, so it is as short as it can be.
        revision = sum(map(_revision, self._changeable)) if self._changeable else 0
        is_shown = not self._names_decide or self._shown_names.get(project) == revision
        hidden = None if is_shown else self._hidden_project(project, revision)
        page = self.source.peek_project_page(project, context=context)
        if page is None:
            return None
        if hidden is not None:
            raise hidden
        known = self._peek_evaluated(page, revision)
        if known is None:
            return None
        return page if known.changed is None else known.changed

    @override
    def peek_resource(
        self, project: ProjectName, filename: FileName, *, context: RequestContext = NO_CONTEXT
    ) -> Resource | None:
        revision = sum(map(_revision, self._changeable)) if self._changeable else 0
        is_shown = not self._names_decide or self._shown_names.get(project) == revision
        hidden = None if is_shown else self._hidden_project(project, revision)
        page = self.source.peek_project_page(project, context=context)
        if page is None:
            return None
        if hidden is not None:
            raise hidden
        known = self._peek_evaluated(page, revision)
        if known is None:
            return None
        is_listed = _check_file(page, known.details.evaluation, filename)
        resource = self.source.peek_resource(project, filename, context=context)
        if resource is not None and not is_listed:
            raise ResourceNotFound(page.name, filename)
        return resource

    async def evaluation(self, page: ProjectPage) -> Evaluation:
        """What the rules make of a page of the source: what is hidden, why, and until when.

        Raises `RuleUnavailable`.
        """
        return (await self._evaluated(page))[1]

    def hidden_project(self, project: ProjectName) -> Hidden | None:
        """Why the project is hidden by its name alone; None if it is not."""
        verdict = self._hidden_names.verdict(project, self._revision())
        return None if verdict is None else verdict.hidden

    @override
    async def explain(
        self,
        project: ProjectName,
        version: str | None = None,
        *,
        context: RequestContext = NO_CONTEXT,
    ) -> Explanation:
        return await explain_rules(self, project, version, context)

    @override
    def source_states(self) -> tuple[SourceState, ...]:
        of_rules = [state for rule in self.rules for state in rule.states()]
        return (*super().source_states(), *of_rules)

    @override
    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            # Most of what may be 10,000 rules have nothing to open.
            for rule in self.rules:
                if type(rule).lifespan is not Rule.lifespan:
                    await stack.enter_async_context(rule)
            await stack.enter_async_context(super().lifespan())
            yield
            await self._lists.close()
            await self._evaluating.cancel_all()

    def _revision(self) -> int:
        return sum(map(_revision, self._changeable))

    def _hidden_project(self, project: ProjectName, revision: int) -> HiddenByRule | None:
        """The error for a project that its source owns, but rules hide by its name alone.

        Raises it at once where the source is not to be queried.
        """
        verdict = self._hidden_names.verdict(project, revision)
        if verdict is None:
            return None
        if self._owns_names and verdict.disowned:
            raise ProjectNotFound(project)
        error = _error(project, None, verdict.hidden)
        if self._owns_names:
            return error
        raise error

    def _peek_evaluated(
        self, page: ProjectPage, revision: int
    ) -> Derived[ProjectPage, _Evaluated] | None:
        """The page that is shown, if it was evaluated, and still is right."""
        known = self._pages.get(page)
        if known is None:
            return None
        details = known.details
        if details.revision != revision:
            return None
        if details.until is not None and self._clock() >= details.until:
            return None
        return known

    async def _evaluated(self, page: ProjectPage) -> tuple[ProjectPage, Evaluation]:
        """What is shown of the page, and its evaluation, for this moment."""
        revision = self._revision()
        known = self._peek_evaluated(page, revision)
        if known is not None:
            return known.of(page), known.details.evaluation
        work = partial(self._evaluate, page, revision)
        try:
            found = await self._evaluating.run((id(page), revision), work)
        except RuleUnavailable as error:
            self._crashes.report(page.name, error)
            raise
        self._crashes.report(page.name, None)
        return found

    async def _evaluate(self, page: ProjectPage, revision: int) -> tuple[ProjectPage, Evaluation]:
        view, now = PageView(page), self._clock()
        rules = [rule for rule in self.rules if applies(rule, page.name)]
        large = bool(rules) and len(page.files) > _MAX_FILES_HERE
        facts = await _facts(rules, view, in_thread=large)
        work = partial(evaluate, view, facts, now)
        shown, evaluation = await asyncio.to_thread(work) if large else work()
        earlier = self._pages.get(page)
        if earlier is not None:
            shown = _same_page(earlier.of(page), shown)
        before = None if earlier is None else earlier.details.evaluation
        self._pages.put(page, shown, _Evaluated(revision, evaluation.until, evaluation))
        self._report(page.name, evaluation, before)
        return shown, evaluation

    def _report(self, project: ProjectName, found: Evaluation, before: Evaluation | None) -> None:
        counts = found.counts, len(found.hidden), found.undated
        if found.hidden and (
            before is None or counts != (before.counts, len(before.hidden), before.undated)
        ):
            self._emit(
                FilesHidden(
                    project=project,
                    files=len(found.hidden),
                    rules=found.counts,
                    undated=found.undated,
                )
            )
        dry_run = found.dry_run_counts
        if dry_run and (before is None or dry_run != before.dry_run_counts):
            self._emit(DryRunReported(project=project, rules=dry_run))


async def _facts(rules: Sequence[Rule], view: PageView, *, in_thread: bool) -> dict[Rule, object]:
    """The rules that can be evaluated, each with what it needs besides page and time.

    Raises `RuleUnavailable` if one cannot that is no dry run. A large page is parsed `in_thread`.
    """
    facts: dict[Rule, object] = {}
    for rule in rules:
        if type(rule).facts is Rule.facts:
            facts[rule] = None
            continue
        if in_thread:
            await asyncio.to_thread(getattr, view, "versions")
        try:
            facts[rule] = await facts_for(rule, view)
        except RuleUnavailable:
            if not rule.dry_run:
                raise
    return facts


def _same_page(earlier: ProjectPage, page: ProjectPage) -> ProjectPage:
    """The page that was shown before, if it says the same; with the limit of the new one."""
    was, limited = earlier.freshness, page.freshness
    same = (
        earlier.files == page.files
        and earlier.versions == page.versions
        and earlier.status == page.status
        and type(was) is type(limited)
    )
    if not same:
        return page
    if isinstance(was, LimitedFreshness) and isinstance(limited, LimitedFreshness):
        was.until = limited.until
    return earlier


def _check_file(page: ProjectPage, evaluation: Evaluation, filename: FileName) -> bool:
    """Whether the file is on the page. Raises `HiddenByRule` if a rule hides it."""
    subject = filename
    if page.find(filename) is None:
        subject = filename.distribution
        if page.find(subject) is None:
            return False
    hidden = evaluation.hidden.get(subject)
    if hidden is not None:
        raise _error(page.name, filename, hidden)
    return True


def _error(project: ProjectName, filename: FileName | None, hidden: Hidden) -> HiddenByRule:
    return HiddenByRule(
        project, filename, rule=hidden.rule, reason=hidden.reason, concealed=hidden.conceal
    )
