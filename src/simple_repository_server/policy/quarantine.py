"""Projects quarantined by the operator."""

from collections.abc import Iterable
from typing import Any

from typing_extensions import override

from simple_repository_server.model import ProjectStatus, Status
from simple_repository_server.names import ProjectName
from simple_repository_server.policy.page_view import PageView
from simple_repository_server.policy.patterns import Patterns
from simple_repository_server.policy.rule import Outcome
from simple_repository_server.policy.scoped_rule import ScopedRule, whole_projects


class QuarantineOverlay(ScopedRule):
    """Shows matching projects with the status `quarantined`, and none of their files (PEP 792).

    The operator's reason is that of the status. Unlike a denied project it stays in the list, and
    its page says what happened. Raises `ValueError` for a pattern that is invalid or has a version
    specifier: the status is that of a whole project.
    """

    overlay = True

    def __init__(
        self, patterns: Patterns | Iterable[str], *, label: str = "quarantine", **common: Any
    ) -> None:
        super().__init__(label=label or "quarantine", **common)
        self._patterns = whole_projects(patterns, "quarantine")
        self._status = ProjectStatus(Status.QUARANTINED, self.reason or None)
        self._quarantined = self.hidden("the project is quarantined")

    @override
    def applies_to(self, project: ProjectName) -> bool:
        return super().applies_to(project) and self._patterns.whole(project)

    @override
    def judge(self, view: PageView, now: float, facts: object) -> Outcome:
        if not self.applies_to(view.project):
            return Outcome()
        hidden = dict.fromkeys(range(len(view.files)), self._quarantined)
        return Outcome(hidden=hidden, status=self._status)
