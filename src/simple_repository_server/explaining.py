"""What a component answers about a project, as an explanation: plain functions."""

from typing import Protocol

from simple_repository_server.distributions.filenames import parse_distribution, parse_version
from simple_repository_server.errors import HiddenByRule, NotFound, RepositoryError
from simple_repository_server.explanation import Answered, Explanation
from simple_repository_server.model import RULE, Freshness, ProjectPage, SourceState


def of_version(filename: str, version: str | None) -> bool:
    """Whether the file is of that version (PEP 440: `1.0` is `1.0.0`); of None, every file is."""
    if version is None:
        return True
    found = parse_distribution(filename)
    if found is None:
        return False
    wanted = parse_version(version)
    return found.version == version if wanted is None else parse_version(found.version) == wanted


class _HasSources(Protocol):
    def source_states(self) -> tuple[SourceState, ...]: ...


def component_of(component: _HasSources) -> str:
    """How explanations name a component: by the one source below it, or else by its class."""
    sources = [state for state in component.source_states() if state.kind != RULE]
    if len(sources) == 1:
        return f"{sources[0].kind} {sources[0].label}"
    return type(component).__name__


def page_explained(
    component: str, page: ProjectPage, version: str | None, now: float
) -> Explanation:
    """The explanation of a component that answers with the page at `now` (seconds since epoch)."""
    files = sum(of_version(file.filename, version) for file in page.files)
    return Explanation(
        component=component,
        answered=Answered.HAS,
        detail=status_text(page),
        files=files,
        freshness=freshness_text(page.freshness, now),
    )


def failure_explained(component: str, error: RepositoryError) -> Explanation:
    """The explanation of a component that answers with the error."""
    if isinstance(error, NotFound):
        return Explanation(component=component, answered=Answered.ABSENT)
    hidden = isinstance(error, HiddenByRule)
    return Explanation(
        component=component,
        answered=Answered.HIDDEN if hidden else Answered.FAILED,
        detail=str(error),
        concealed=isinstance(error, HiddenByRule) and error.concealed,
    )


def freshness_text(freshness: Freshness, now: float) -> str:
    """How fresh a page is, in words; "" for one that is current by construction."""
    info = freshness.at(now)
    if info.age is None:
        return ""
    left = info.max_age - info.age
    facts = [f"confirmed by its origin {info.age} s ago"]
    facts.append(f"fresh for {left} s" if left > 0 else f"stale for {-left} s")
    if info.warning:
        facts.append(info.warning.rstrip("."))
    cache = f" (cache: {freshness.verdict})" if freshness.verdict else ""
    return f"{', '.join(facts)}{cache}"


def status_text(page: ProjectPage) -> str:
    """The status of the project in words; "" for one without."""
    if page.status is None:
        return ""
    reason = f" ({page.status.reason})" if page.status.reason else ""
    return f"its status is {page.status.status}{reason}"
