"""Why a project looks as it does: a tree of answers, from the outermost component inwards."""

from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

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

    @property
    def is_shown(self) -> bool:
        """Whether clients are shown a file of it."""
        return self.answered is Answered.HAS and self.files > 0

    def summary(self, project: str, version: str | None) -> str:
        """The answer in one sentence, such as "numpy is shown with 4 files."."""
        what = f"{project} {version}" if version else project
        hides = sum(not file.dry_run for file in _all_hidden(self))
        hidden = f"rules hide {counted(hides, 'file')} of it" if hides else ""
        if self.is_shown:
            shown = f"{what} is shown with {counted(self.files, 'file')}"
            return f"{shown}; {hidden}." if hidden else f"{shown}."
        if self.answered is Answered.FAILED:
            return f"It is unknown whether {what} is there. {self.reason}"
        if self.answered is Answered.HIDDEN:
            reason = self.reason.removesuffix(".")
            return f"{what} is {reason if reason.startswith('hidden ') else f'hidden: {reason}'}."
        if hidden:
            return f"{what} is not shown: {hidden}."
        if self.answered is Answered.HAS:
            return f"{project} has no file{f' of version {version}' if version else ''}."
        return f"{what} is not in this index: no source that may have it has it."

    @property
    def reason(self) -> str:
        """The sentence of the innermost component that failed, or whose rule hides the project."""
        for source in self.sources:
            if source.answered is self.answered:
                return source.reason or self.detail
        return self.detail

    def groups(self) -> "tuple[HiddenGroup, ...]":
        """The files its own rules hide, those with the same reason together."""
        found: dict[tuple[str, str, datetime | None, bool], list[str]] = {}
        for file in self.hidden:
            key = file.rule, file.reason, file.until, file.dry_run
            found.setdefault(key, []).append(file.filename)
        return tuple(HiddenGroup(*key, tuple(names)) for key, names in found.items())


class HiddenGroup(NamedTuple):
    """Files that are hidden for the same reason."""

    rule: str
    reason: str
    until: datetime | None
    dry_run: bool
    filenames: tuple[str, ...]

    def heading(self) -> str:
        """How many files are hidden by what, why, and until when; in a sentence."""
        facts = []
        if self.rule not in self.reason:
            facts.append(f"hidden by {self.rule}")
        facts.append(self.reason.rstrip("."))
        if self.until is not None and f"{self.until:%Y-%m-%d}" not in self.reason:
            facts.append(f"shown from {self.until:%Y-%m-%d %H:%M:%S} UTC")
        shown = " (dry run: shown all the same)" if self.dry_run else ""
        return f"{counted(len(self.filenames), 'file')}{shown}: {'; '.join(facts)}"


def counted(number: int, noun: str) -> str:
    """`1 file` or `2 files`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _all_hidden(found: Explanation) -> Iterator[HiddenFile]:
    yield from found.hidden
    for source in found.sources:
        yield from _all_hidden(source)
