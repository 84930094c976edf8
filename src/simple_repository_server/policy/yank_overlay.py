"""Files yanked by the operator."""

from collections.abc import Iterable
from typing import Any

import msgspec
from typing_extensions import override

from simple_repository_server.model import File
from simple_repository_server.names import ProjectName
from simple_repository_server.policy.page_view import PageView
from simple_repository_server.policy.patterns import Patterns
from simple_repository_server.policy.rule import Outcome
from simple_repository_server.policy.scoped_rule import ScopedRule, as_patterns


class YankOverlay(ScopedRule):
    """Shows the files of matching versions as yanked (PEP 592), with the operator's reason.

    Installers then take them only for a requirement with `==`. A file that its source has yanked
    is unchanged. Raises `ValueError` for an invalid pattern.
    """

    overlay = True

    def __init__(
        self, patterns: Patterns | Iterable[str], *, label: str = "yank", **common: Any
    ) -> None:
        super().__init__(label=label or "yank", **common)
        self._patterns = as_patterns(patterns)

    @override
    def applies_to(self, project: ProjectName) -> bool:
        return super().applies_to(project) and self._patterns.matches_project(project)

    @override
    def judge(self, view: PageView, now: float, facts: object) -> Outcome:
        replaced: dict[int, File] = {}
        groups = self.versions_in_scope(view)
        matching = self._patterns.among(view.project, [version for version, _ in groups])
        for version, positions in groups:
            # Installers ignore files without a valid version.
            if version is not None and id(version) in matching:
                replaced.update(yanked_files(view, positions, self.reason))
        return Outcome(replaced=replaced)


def yanked_files(view: PageView, positions: Iterable[int], reason: str) -> dict[int, File]:
    """Those of the files that are not yanked yet, yanked for the reason ("": without one)."""
    files = ((at, view.files[at]) for at in positions)
    yanked = reason or True
    return {at: msgspec.structs.replace(one, yanked=yanked) for at, one in files if not one.yanked}
