"""What rules hid of a project, as an explanation."""

from collections.abc import Mapping
from typing import Protocol

import msgspec

from simple_repository_server.distributions.filenames import parse_distribution
from simple_repository_server.errors import RepositoryError
from simple_repository_server.explaining import (
    component_of,
    failure_explained,
    of_version,
    status_text,
)
from simple_repository_server.explanation import Answered, Explanation, HiddenFile
from simple_repository_server.model import RULE, ProjectPage, RequestContext, SourceState
from simple_repository_server.names import ProjectName
from simple_repository_server.policy.rule import Hidden, Rule
from simple_repository_server.repository import Repository


class Found(Protocol):
    """What rules decide about a page."""

    @property
    def hidden(self) -> Mapping[str, Hidden]:
        """The files that are not shown, by name."""

    @property
    def reported(self) -> Mapping[str, Hidden]:
        """The files that dry-run rules would hide, by name."""


class Ruled(Protocol):
    """A repository that applies rules to another one."""

    rules: tuple[Rule, ...]
    source: Repository

    def hidden_project(self, project: ProjectName) -> Hidden | None:
        """Why the project is hidden by its name alone; None if it is not."""

    async def evaluation(self, page: ProjectPage) -> Found:
        """What the rules make of a page of the source. Raises `RuleUnavailable`."""

    async def get_project_page(
        self, project: ProjectName, *, context: RequestContext = ...
    ) -> ProjectPage:
        """The page as the rules show it."""

    def source_states(self) -> tuple[SourceState, ...]:
        """The states of the sources and rules."""


async def explain_rules(
    ruled: Ruled, project: ProjectName, version: str | None, context: RequestContext
) -> Explanation:
    """What the rules of `ruled` hide of the project, around what its source answers.

    A project that is hidden by its name is sent to no source that a request for it is not sent to.
    """
    component = _component(ruled)
    conceals = any(rule.conceal for rule in ruled.rules)
    named = ruled.hidden_project(project)
    try:
        if named is not None:
            await ruled.get_project_page(project, context=context)
        inner = await ruled.source.explain(project, version, context=context)
        if inner.answered is not Answered.HAS:
            return msgspec.structs.replace(
                inner, component=component, detail="", conceals=conceals, sources=(inner,)
            )
        page = await ruled.source.get_project_page(project, context=context)
        found = await ruled.evaluation(page)
        shown = await ruled.get_project_page(project, context=context)
    except RepositoryError as error:
        failed = failure_explained(component, error)
        reason = "" if named is None else named.reason
        return msgspec.structs.replace(failed, detail=failed.detail or reason, conceals=conceals)
    hides = found.hidden
    hidden = _files(hides, version, dry_run=False)
    shown_all_the_same = {name: why for name, why in found.reported.items() if name not in hides}
    reported = _files(shown_all_the_same, version, dry_run=True)
    return Explanation(
        component=component,
        answered=Answered.HAS,
        detail="" if shown.status == page.status else status_text(shown),
        files=sum(of_version(file.filename, version) for file in shown.files),
        hidden=(*hidden, *reported),
        conceals=conceals,
        sources=(inner,),
    )


def _component(ruled: Ruled) -> str:
    sources = [state for state in ruled.source_states() if state.kind != RULE]
    return f"rules of {component_of(ruled)}" if len(sources) == 1 else "rules of the index"


def _files(
    found: Mapping[str, Hidden], version: str | None, *, dry_run: bool
) -> tuple[HiddenFile, ...]:
    return tuple(
        HiddenFile(
            filename=str(name),
            version=None if (parsed := parse_distribution(name)) is None else parsed.version,
            rule=hidden.rule,
            reason=hidden.reason,
            until=hidden.until,
            dry_run=dry_run,
            conceal=hidden.conceal,
        )
        for name, hidden in found.items()
        if of_version(name, version)
    )
