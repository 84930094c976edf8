"""Allowed projects and versions: all others are hidden."""

from collections.abc import Iterable
from typing import Any

from typing_extensions import override

from simple_repository_server.names import ProjectName
from simple_repository_server.policy.page_view import PageView
from simple_repository_server.policy.patterns import Patterns
from simple_repository_server.policy.rule import Hidden, Outcome
from simple_repository_server.policy.scoped_rule import ScopedRule, as_patterns


class AllowRule(ScopedRule):
    """Hides the projects and versions that match no pattern (`numpy`, `requests>=2.32`).

    A project that has patterns with specifiers only is shown without the files whose names have no
    valid version. Raises `ValueError` for an invalid pattern.
    """

    #: A source that has an allow list is responsible for the names on it, and for no others.
    disowns_projects = True

    def __init__(
        self, patterns: Patterns | Iterable[str], *, label: str = "allow", **common: Any
    ) -> None:
        super().__init__(label=label or "allow", **common)
        self._patterns = as_patterns(patterns)
        self._not_allowed = self.hidden("the project is not allowed")

    @override
    def applies_to(self, project: ProjectName) -> bool:
        return super().applies_to(project) and not self._patterns.whole(project)

    @override
    def hides_project(self, project: ProjectName) -> Hidden | None:
        allowed = self._patterns.matches_project(project)
        return (
            None if allowed or not self.scope.covers_whole_project(project) else self._not_allowed
        )

    @override
    def judge(self, view: PageView, now: float, facts: object) -> Outcome:
        project = view.project
        if self._patterns.whole(project):
            return Outcome()
        if not self._patterns.matches_project(project):
            return Outcome(hidden=dict.fromkeys(self.in_scope(view), self._not_allowed))
        hidden: dict[int, Hidden] = {}
        groups = self.versions_in_scope(view)
        allowed = self._patterns.among(project, [version for version, _ in groups])
        for version, positions in groups:
            if version is None:
                why = self.hidden("its version is unknown, and only some versions are allowed")
            elif id(version) not in allowed:
                why = self.hidden(f"version {version} is not allowed")
            else:
                continue
            hidden.update(dict.fromkeys(positions, why))
        return Outcome(hidden=hidden)
