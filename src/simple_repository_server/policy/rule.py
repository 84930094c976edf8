"""What a rule is: a pure function from a page and a time to what it hides and changes."""

from abc import ABC
from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any

import msgspec
from typing_extensions import override

from simple_repository_server.lifecycle import SharedLifespan
from simple_repository_server.model import File, ProjectStatus, SourceState
from simple_repository_server.names import ProjectName
from simple_repository_server.policy.page_view import PageView

_NOTHING: Mapping[int, Any] = MappingProxyType({})


class Hidden(msgspec.Struct, frozen=True, kw_only=True):
    """Why a rule hides a project or a file, and until when."""

    #: The label of the rule.
    rule: str
    #: One sentence for users, which names the project or file, the rule's reason and the date.
    reason: str
    #: When the rule will show it, in UTC; None if that does not depend on the time.
    until: datetime | None = None
    #: Whether clients are answered as if it did not exist.
    conceal: bool = False


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What one rule decides about a page, by the positions of files in `PageView.files`."""

    hidden: Mapping[int, Hidden] = _NOTHING
    #: Files that are shown otherwise (yanked, say).
    replaced: Mapping[int, File] = _NOTHING
    #: The status that the project is shown with; None: as it was.
    status: ProjectStatus | None = None
    #: When the outcome will be another one (seconds since the epoch); None: not by itself.
    until: float | None = None
    #: When each hidden file that only the time hides will be shown, where `until` is the first of
    #: these moments. Then a file that another rule hides for longer does not limit the page.
    shown_at: Mapping[int, float] = _NOTHING
    #: How many files it had to decide about without knowing their upload time.
    undated: int = 0


SHOW_ALL = Outcome()


class Rule(SharedLifespan, ABC):
    """A rule about projects and files. A file is shown if no rule hides it.

    `label` names it in answers, logs and explanations (by default the name of its class). With
    `dry_run` it is reported what it would hide or change, and nothing is. With `conceal` clients
    are answered as if what it hides did not exist (404 instead of 403). A rule that knows more than
    the page and the time (a database, a folder of advisories) loads that in `facts`, and increases
    `revision` whenever it has changed. What one of its methods raises is a `RuleUnavailable`.
    """

    label: str = ""
    dry_run: bool = False
    conceal: bool = False
    #: Whether it changes what is shown, and is applied before the rules that are no overlays.
    overlay: bool = False
    #: Increased whenever the rule would decide otherwise about the same page at the same time.
    revision: int = 0
    #: Whether `revision` may ever increase: those of 10,000 rules that cannot need not be read.
    changes: bool = True

    #: Of a rule of one source: whether the projects it hides by name are not that source's at all,
    #: so that it is not queried for them, and the next source is.
    disowns_projects: bool = False

    @override
    def __init_subclass__(cls, **options: object) -> None:
        """Name a class of rules without a label by itself; equal rules remain two rules."""
        super().__init_subclass__(**options)
        cls.label = cls.label or cls.__name__
        if vars(cls).get("__hash__") is None:  # a dataclass would have none
            cls.__hash__ = object.__hash__  # type: ignore[method-assign]

    def hides_project(self, project: ProjectName) -> Hidden | None:
        """Why the whole project is hidden, decided by its name alone: no source is queried."""
        del project
        return None

    def applies_to(self, project: ProjectName) -> bool:
        """Whether the rule may have anything to say about the project; must be fast."""
        del project
        return True

    async def facts(self, view: PageView) -> object:
        """What `judge` needs besides page and time. Raises `RuleUnavailable`."""
        del view
        return None

    def judge(self, view: PageView, now: float, facts: object) -> Outcome:
        """What the rule decides about the page at `now` (seconds since the epoch). Pure."""
        del view, now, facts
        return SHOW_ALL

    def states(self) -> tuple[SourceState, ...]:
        """Whether the rule can be evaluated, for `/readyz`; empty if it always can."""
        return ()
