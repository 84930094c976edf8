"""Calls of rules, which anybody may have written: whatever fails becomes `RuleUnavailable`."""

import math
import traceback
from typing import Any

import msgspec

from simple_repository_server.errors import RuleUnavailable
from simple_repository_server.names import ProjectName
from simple_repository_server.observe.events import Emit
from simple_repository_server.observe.rule_events import RuleFailed, RuleRecovered
from simple_repository_server.policy.page_view import PageView
from simple_repository_server.policy.rule import SHOW_ALL, Hidden, Outcome, Rule

#: For how many projects it is remembered that a rule failed.
_REMEMBERED = 1000
_TEXT = 200


class RuleCrashed(RuleUnavailable):
    """A rule that raised something else, or decided what cannot be: it has a defect.

    Its reason, for clients, is the kind of the error; `details`, for the log, are text and place.
    """

    def __init__(self, rule: Rule, error: Exception) -> None:
        super().__init__(rule.label, f"it failed ({type(error).__name__})")
        frame = traceback.extract_tb(error.__traceback__)[-1:]
        place = "".join(f" ({one.filename}, line {one.lineno})" for one in frame)
        self.details = f"{type(error).__name__}: {str(error)[:_TEXT]}{place}"


def judged(rule: Rule, view: PageView, now: float, facts: object) -> Outcome:
    """What the rule decides. Raises `RuleUnavailable`, unless it is a dry run."""
    try:
        return _checked(rule.judge(view, now, facts), view)
    except Exception as error:
        if rule.dry_run:
            return SHOW_ALL
        raise _unavailable(rule, error) from error


async def facts_for(rule: Rule, view: PageView) -> object:
    """What the rule needs beside page and time. Raises `RuleUnavailable`."""
    try:
        return await rule.facts(view)
    except Exception as error:
        raise _unavailable(rule, error) from error


def applies(rule: Rule, project: ProjectName) -> bool:
    """Whether the rule may have something to say of the project. Raises `RuleUnavailable`."""
    try:
        return rule.applies_to(project)
    except Exception as error:
        raise _unavailable(rule, error) from error


def hides_name(rule: Rule, project: ProjectName) -> Hidden | None:
    """Why the rule hides the project by its name. Raises `RuleUnavailable`."""
    try:
        return rule.hides_project(project)
    except Exception as error:
        raise _unavailable(rule, error) from error


def _unavailable(rule: Rule, error: Exception) -> RuleUnavailable:
    return error if isinstance(error, RuleUnavailable) else RuleCrashed(rule, error)


def _checked(outcome: Any, view: PageView) -> Outcome:
    """The outcome. Raises TypeError or ValueError if it cannot be one of that page."""
    if not isinstance(outcome, Outcome):
        raise TypeError(f"judge returned {type(outcome).__name__} instead of an Outcome")
    for kind in set(map(type, outcome.hidden.values())):
        if not issubclass(kind, Hidden):
            raise TypeError(f"judge gave {kind.__name__} instead of Hidden")
    size = len(view.files)
    for positions in (outcome.hidden, outcome.replaced):
        if positions and not (min(positions) >= 0 and max(positions) < size):
            raise ValueError(f"judge decided about a file beside the {size} of the page")
    for position, file in outcome.replaced.items():
        if file.filename != view.files[position].filename:
            raise ValueError(f"judge replaced {view.files[position].filename} by another file")
    if outcome.until is None or math.isfinite(outcome.until):
        return outcome
    if outcome.until == math.inf:
        return msgspec.structs.replace(outcome, until=None)
    raise ValueError(f"judge decided until {outcome.until}")


class Crashes:
    """Which rules have crashed for which projects: each crash is an event once."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._crashed: dict[ProjectName, tuple[str, str]] = {}

    def report(self, project: ProjectName, error: RuleUnavailable | None) -> None:
        """That the rules failed for the project; None: that they did not."""
        before = self._crashed.pop(project, None)
        if isinstance(error, RuleCrashed):
            found = error.source, error.details
            if found != before and found not in self._crashed.values():
                self._emit(RuleFailed(rule=error.source, reason=error.details))
            if len(self._crashed) >= _REMEMBERED:
                self._crashed.clear()
            self._crashed[project] = found
        if before is not None and all(before[0] != rule for rule, _ in self._crashed.values()):
            self._emit(RuleRecovered(rule=before[0]))
