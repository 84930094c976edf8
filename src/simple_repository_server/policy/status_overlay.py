"""Project status given by the operator."""

from collections.abc import Iterable
from typing import Any

from typing_extensions import override

from simple_repository_server.model import ProjectStatus, Status
from simple_repository_server.names import ProjectName
from simple_repository_server.policy.page_view import PageView
from simple_repository_server.policy.patterns import Patterns
from simple_repository_server.policy.rule import Outcome
from simple_repository_server.policy.scoped_rule import ScopedRule, whole_projects


class StatusOverlay(ScopedRule):
    """Shows matching projects as `archived` or `deprecated`, with the operator's reason (PEP 792).

    Files are unchanged, and so is a project that is quarantined. Raises `ValueError` for another
    status (a project is quarantined by `QuarantineOverlay`), and for a pattern that is invalid or
    has a version specifier.
    """

    overlay = True

    def __init__(
        self,
        status: Status,
        patterns: Patterns | Iterable[str] = ("*",),
        *,
        label: str = "",
        **common: Any,
    ) -> None:
        if status not in {Status.ARCHIVED, Status.DEPRECATED}:
            raise ValueError(f"a status overlay is archived or deprecated, not {status}")
        super().__init__(label=label or f"status = {status}", **common)
        self._patterns = whole_projects(patterns, "a status")
        self._status = ProjectStatus(status, self.reason or None)

    @override
    def applies_to(self, project: ProjectName) -> bool:
        return super().applies_to(project) and self._patterns.whole(project)

    @override
    def judge(self, view: PageView, now: float, facts: object) -> Outcome:
        status = view.page.status
        quarantined = status is not None and status.status is Status.QUARANTINED
        if quarantined or not self.applies_to(view.project):
            return Outcome()
        return Outcome(status=self._status)
