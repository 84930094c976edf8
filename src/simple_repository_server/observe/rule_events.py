"""The events of rules, and of pages to which rules were applied."""

from collections.abc import Mapping
from typing import ClassVar

from typing_extensions import override

from simple_repository_server.observe.events import Event


class FilesHidden(Event, frozen=True, kw_only=True, tag="files_hidden"):
    """Rules hide files of a page; emitted when the page is first evaluated, and on changes."""

    level: ClassVar[str] = "debug"
    project: str
    #: how many files are hidden
    files: int
    #: how many files each rule hides, by its label
    rules: Mapping[str, int]
    #: for how many files a rule had to decide without an upload time
    undated: int = 0

    @override
    def text(self) -> str:
        """The project, and how many files each rule hides."""
        return f"rules hide {self.files} files of {self.project}: {_listed(self.rules)}"


class DryRunReported(Event, frozen=True, kw_only=True, tag="dry_run"):
    """Dry-run rules would hide or change files of a page; emitted as `files_hidden` is."""

    project: str
    #: how many files each rule would hide or change, by its label
    rules: Mapping[str, int]

    @override
    def text(self) -> str:
        """The project, and how many files each rule would hide or change."""
        return f"dry run: of {self.project} rules would hide or change {_listed(self.rules)}"


class RuleFailed(Event, frozen=True, kw_only=True, tag="rule_failed"):
    """A rule cannot be evaluated, so nothing that it might hide is served.

    Emitted once for each reason until it recovers.
    """

    level: ClassVar[str] = "error"
    rule: str
    reason: str

    @override
    def text(self) -> str:
        """The rule and the reason."""
        return f"the rule {self.rule} cannot be evaluated: {self.reason}"


class RuleRecovered(Event, frozen=True, kw_only=True, tag="rule_recovered"):
    """A rule that could not be evaluated can be evaluated again."""

    rule: str

    @override
    def text(self) -> str:
        """The rule."""
        return f"the rule {self.rule} can be evaluated again"


def _listed(rules: Mapping[str, int]) -> str:
    return ", ".join(f"{number} ({label})" for label, number in rules.items())
