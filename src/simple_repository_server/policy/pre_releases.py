"""Pre-releases hidden."""

from typing import Any

from typing_extensions import override

from simple_repository_server.policy.page_view import PageView
from simple_repository_server.policy.rule import Hidden, Outcome
from simple_repository_server.policy.scoped_rule import ScopedRule


class PreReleaseRule(ScopedRule):
    """Hides alphas, betas, release candidates and development releases (PEP 440).

    Also in a project that has nothing else, where installers would fall back to them: a rule that
    showed them there would show more once another rule hides the last release. Exempt such projects
    in the scope. Files whose names have no valid version are hidden, too.
    """

    def __init__(self, *, label: str = "pre-releases = hide", **common: Any) -> None:
        super().__init__(label=label or "pre-releases = hide", **common)

    @override
    def judge(self, view: PageView, now: float, facts: object) -> Outcome:
        hidden: dict[int, Hidden] = {}
        for version, positions in self.versions_in_scope(view):
            if version is None:
                why = self.hidden("its version is unknown, so it may be a pre-release")
            elif version.is_prerelease:
                why = self.hidden(f"{version} is a pre-release")
            else:
                continue
            hidden.update(dict.fromkeys(positions, why))
        return Outcome(hidden=hidden)
