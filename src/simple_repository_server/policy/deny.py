"""Denied projects and versions."""

from collections.abc import Iterable
from typing import Any

from typing_extensions import override

from simple_repository_server.names import ProjectName
from simple_repository_server.policy.page_view import PageView
from simple_repository_server.policy.patterns import Patterns
from simple_repository_server.policy.rule import Hidden, Outcome
from simple_repository_server.policy.scoped_rule import ScopedRule, as_patterns


class DenyRule(ScopedRule):
    """Hides the projects and versions that match a pattern (`leftpad`, `requests<2.32`).

    A pattern with a specifier also hides the project's files whose names have no valid version.
    Raises `ValueError` for an invalid pattern.
    """

    def __init__(
        self, patterns: Patterns | Iterable[str], *, label: str = "deny", **common: Any
    ) -> None:
        super().__init__(label=label or "deny", **common)
        self._patterns = as_patterns(patterns)
        self._denied = self.hidden("the project is denied")

    @override
    def applies_to(self, project: ProjectName) -> bool:
        return super().applies_to(project) and self._patterns.matches_project(project)

    @override
    def hides_project(self, project: ProjectName) -> Hidden | None:
        whole = self.scope.covers_whole_project(project) and self._patterns.whole(project)
        return self._denied if whole else None

    @override
    def judge(self, view: PageView, now: float, facts: object) -> Outcome:
        project = view.project
        if not self._patterns.matches_project(project):
            return Outcome()
        if self._patterns.whole(project):
            return Outcome(hidden=dict.fromkeys(self.in_scope(view), self._denied))
        hidden: dict[int, Hidden] = {}
        groups = self.versions_in_scope(view)
        denied = self._patterns.among(project, [version for version, _ in groups])
        for version, positions in groups:
            if version is None:
                why = self.hidden("its version is unknown, and some versions are denied")
            elif id(version) in denied:
                why = self.hidden(f"version {version} is denied")
            else:
                continue
            hidden.update(dict.fromkeys(positions, why))
        return Outcome(hidden=hidden)
