"""What most rules share: a label, the operator's reason, a scope, and the sentence for users."""

import re
from collections.abc import Iterable, Sequence
from datetime import datetime

from packaging.version import Version
from typing_extensions import override

from simple_repository_server.names import ProjectName
from simple_repository_server.policy.page_view import PageView
from simple_repository_server.policy.patterns import Patterns
from simple_repository_server.policy.rule import Hidden, Rule
from simple_repository_server.policy.scope import Scope
from simple_repository_server.policy.sentences import Sentences

EVERYTHING = Scope()
_SPECIFIER = re.compile("[<>=!~]")


class ScopedRule(Rule):
    """A rule about the files in a scope. Abstract: subclasses judge.

    `label` names it to users and in logs, `reason` is the operator's, added to each sentence.
    """

    changes = False

    def __init__(
        self,
        *,
        label: str,
        reason: str = "",
        scope: Scope = EVERYTHING,
        dry_run: bool = False,
        conceal: bool = False,
    ) -> None:
        self.label = label
        self.reason = reason
        self.scope = scope
        self.dry_run = dry_run
        self.conceal = conceal
        self._sentences = Sentences(label, reason)

    @override
    def applies_to(self, project: ProjectName) -> bool:
        return self.scope.covers_project(project)

    def in_scope(self, view: PageView) -> Sequence[int]:
        """The positions of the files that the rule is about."""
        return self.scope.positions(view)

    def versions_in_scope(self, view: PageView) -> Sequence[tuple[Version | None, Sequence[int]]]:
        """The same, by version; None: files whose names have no valid one."""
        positions = self.in_scope(view)
        if len(positions) == len(view.files):
            return view.by_version
        inside = frozenset(positions)
        groups = ((version, inside.intersection(of)) for version, of in view.by_version)
        return [(version, sorted(positions)) for version, positions in groups if positions]

    def hidden(self, fact: str, until: datetime | None = None) -> Hidden:
        """That the rule hides something, because of `fact`."""
        reason = self._sentences.about(fact)
        return Hidden(rule=self.label, reason=reason, until=until, conceal=self.conceal)


def as_patterns(patterns: Patterns | Iterable[str]) -> Patterns:
    """The patterns, parsed if they are texts. Raises `ValueError` for one that is invalid."""
    return patterns if isinstance(patterns, Patterns) else Patterns(patterns)


def whole_projects(patterns: Patterns | Iterable[str], what: str) -> Patterns:
    """The same, for what concerns whole projects. Raises `ValueError` for a version specifier."""
    parsed = as_patterns(patterns)
    if any(_SPECIFIER.search(text) for text in parsed.texts):
        raise ValueError(f"{what} concerns whole projects: no version specifier is possible")
    return parsed
