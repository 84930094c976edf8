"""Only wheels, or only sdists."""

from typing import Any

from typing_extensions import override

from simple_repository_server.policy.file_kinds import FileKind
from simple_repository_server.policy.page_view import PageView
from simple_repository_server.policy.rule import Outcome
from simple_repository_server.policy.scoped_rule import ScopedRule


class FileKindRule(ScopedRule):
    """Shows only files of one kind; formats of the past (`.exe`, `.rpm`) are of none."""

    def __init__(self, only: FileKind, *, label: str = "", **common: Any) -> None:
        super().__init__(label=label or f"only = {only}s", **common)
        self.only = only
        self._other = self.hidden(f"only {only}s are shown")

    @override
    def judge(self, view: PageView, now: float, facts: object) -> Outcome:
        kinds, other = view.kinds, self._other
        positions = self.in_scope(view)
        return Outcome(hidden={at: other for at in positions if kinds[at] is not self.only})
