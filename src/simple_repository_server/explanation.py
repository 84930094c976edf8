"""Why a project looks as it does: a tree of answers, from the outermost component inwards."""

from datetime import datetime
from enum import StrEnum

import msgspec


class Answered(StrEnum):
    """What a component answered, or why it was not queried."""

    #: It has the project.
    HAS = "has it"
    #: It certainly does not have the project.
    ABSENT = "does not have it"
    #: It has the project, and a rule hides all of it.
    HIDDEN = "hidden"
    #: It could not answer, so no later source was queried.
    FAILED = "failed"
    #: It was not queried; `detail` says why.
    NOT_QUERIED = "not queried"


class HiddenFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file that a rule hides, or would hide."""

    filename: str
    version: str | None
    rule: str
    #: One sentence.
    reason: str
    #: When it will be shown, in UTC; None if that does not depend on the time.
    until: datetime | None = None
    #: The rule only reports it: the file is shown.
    dry_run: bool = False
    #: Clients are answered as if it did not exist; `/why` leaves it out.
    conceal: bool = False


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """What one component answers about a project, and what it was made of."""

    #: Its kind and label, as in `remote index https://…`.
    component: str
    answered: Answered
    #: One sentence on why; "" if there is nothing to add.
    detail: str = ""
    #: How many files it shows.
    files: int = 0
    hidden: tuple[HiddenFile, ...] = ()
    #: How fresh the page is and where it came from; "" if it is computed here.
    freshness: str = ""
    #: The components it queried, or would have, in their order.
    sources: "tuple[Explanation, ...]" = ()
    #: It is hidden, and clients are answered as if the project did not exist.
    concealed: bool = False
    #: Whether one of its rules conceals what it hides, of this project or another.
    conceals: bool = False
