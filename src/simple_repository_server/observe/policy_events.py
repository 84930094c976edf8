"""The events of rules."""

from typing import ClassVar

from typing_extensions import override

from simple_repository_server.observe.events import Event


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
