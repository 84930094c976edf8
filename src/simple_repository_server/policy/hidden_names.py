"""Which projects rules hide by their names alone, remembered while no rule changes."""

from collections.abc import Sequence
from typing import TypeVar

import msgspec

from simple_repository_server.names import ProjectName
from simple_repository_server.policy.calls import hides_name
from simple_repository_server.policy.rule import Hidden, Rule

T = TypeVar("T")

#: How many names are remembered.
_REMEMBERED_NAMES = 4096


class Verdict(msgspec.Struct, frozen=True):
    """What the rules say of a name that they hide."""

    revision: int
    #: What the first rule that conceals or hides it says.
    hidden: Hidden
    #: Whether a rule that hides it says that the project is not the source's at all.
    disowned: bool


class HiddenNames:
    """What rules say of projects by their names alone; dry-run rules apart."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        # Most rules do not decide by names.
        overriding = [rule for rule in rules if type(rule).hides_project is not Rule.hides_project]
        #: Those that may hide a project by its name.
        self.rules = tuple(rule for rule in overriding if not rule.dry_run)
        #: Names that are not hidden, each with the revision of all rules for which that holds:
        #: every warm page looks it up here.
        self.shown: dict[ProjectName, int] = {}
        self._verdicts: dict[ProjectName, Verdict] = {}

    def verdict(self, project: ProjectName, revision: int) -> Verdict | None:
        """What the rules say of a project that they hide; None if it is not hidden.

        `revision` is that of all rules: remembered verdicts are for one.
        """
        if not self.rules or self.shown.get(project) == revision:
            return None
        known = self._verdicts.get(project)
        if known is None or known.revision != revision:
            known = self._decide(project, revision)
            if known is None:
                self._verdicts.pop(project, None)
                _remember(self.shown, project, revision)
            else:
                _remember(self._verdicts, project, known)
        return known

    def shows(self, project: ProjectName) -> bool:
        """Whether no rule hides the project."""
        return all(hides_name(rule, project) is None for rule in self.rules)

    def withholds(self, project: ProjectName) -> bool:
        """Whether rules hide the project, and none says that it is not the source's at all."""
        found = self._decide(project, 0)
        return found is not None and not found.disowned

    def _decide(self, project: ProjectName, revision: int) -> Verdict | None:
        found = [(rule, hides_name(rule, project)) for rule in self.rules]
        hiding = [(rule, hidden) for rule, hidden in found if hidden is not None]
        if not hiding:
            return None
        # What one rule conceals, no other one may give away.
        rule, hidden = next(((rule, why) for rule, why in hiding if rule.conceal), hiding[0])
        if rule.conceal:
            hidden = msgspec.structs.replace(hidden, conceal=True)
        disowned = any(rule.disowns_projects for rule, _ in hiding)
        return Verdict(revision, hidden, disowned)


def _remember(known: dict[ProjectName, T], project: ProjectName, value: T) -> None:
    if len(known) >= _REMEMBERED_NAMES:
        known.clear()
    known[project] = value
