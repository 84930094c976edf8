"""Rules as short as they can be, for tests of what applies rules."""

import fnmatch
from datetime import UTC, datetime
from typing import Any

import msgspec
from typing_extensions import override

from simple_repository_server.errors import RuleUnavailable
from simple_repository_server.model import File, ProjectStatus, Status
from simple_repository_server.names import FileName, ProjectName
from simple_repository_server.policy.page_view import PageView
from simple_repository_server.policy.rule import Hidden, Outcome, Rule


class Labelled(Rule):
    """A rule with a label and options."""

    def __init__(self, label: str, **options: Any) -> None:
        self.label = label
        for name, value in options.items():
            setattr(self, name, value)

    def why(self, what: str, until: datetime | None = None) -> Hidden:
        """That it hides something."""
        return Hidden(rule=self.label, reason=f"{self.label} hides {what}", until=until)


class HideFiles(Labelled):
    """Hides the files whose names match a glob, which may be changed."""

    def __init__(self, label: str, glob: str, **options: Any) -> None:
        super().__init__(label, **options)
        self.glob = glob

    def change(self, glob: str) -> None:
        """Hide other files from now on."""
        self.glob = glob
        self.revision += 1

    @override
    def judge(self, view: PageView, now: float, facts: object) -> Outcome:
        found = [
            (position, self.why(file.filename))
            for position, file in enumerate(view.files)
            if fnmatch.fnmatchcase(file.filename, self.glob)
        ]
        return Outcome(hidden=dict(found))


class HideUntil(Labelled):
    """Hides files until an age in seconds after their upload."""

    def __init__(self, label: str, age_s: float, **options: Any) -> None:
        super().__init__(label, **options)
        self.age_s = age_s

    @override
    def judge(self, view: PageView, now: float, facts: object) -> Outcome:
        hidden: dict[int, Hidden] = {}
        first: float | None = None
        for position, file in enumerate(view.files):
            if file.upload_time is None:
                continue
            until = file.upload_time.timestamp() + self.age_s
            if now < until:
                hidden[position] = self.why(file.filename, datetime.fromtimestamp(until, UTC))
                first = until if first is None else min(first, until)
        return Outcome(hidden=hidden, until=first)


class HideProjects(Labelled):
    """Hides projects by a glob of their names."""

    def __init__(self, label: str, glob: str, **options: Any) -> None:
        super().__init__(label, **options)
        self.glob = glob

    @override
    def hides_project(self, project: ProjectName) -> Hidden | None:
        return self.why(project) if fnmatch.fnmatchcase(project, self.glob) else None


class Yank(Labelled):
    """Shows the files whose names match a glob as yanked."""

    overlay = True

    def __init__(self, label: str, glob: str, **options: Any) -> None:
        super().__init__(label, **options)
        self.glob = glob

    @override
    def judge(self, view: PageView, now: float, facts: object) -> Outcome:
        replaced: dict[int, File] = {
            position: msgspec.structs.replace(file, yanked=self.label)
            for position, file in enumerate(view.files)
            if fnmatch.fnmatchcase(file.filename, self.glob)
        }
        return Outcome(replaced=replaced)


class UnmarkedYank(Yank):
    """The same, but it does not say that it is an overlay."""

    overlay = False


class HideYanked(Labelled):
    """Hides yanked files."""

    @override
    def judge(self, view: PageView, now: float, facts: object) -> Outcome:
        return Outcome(
            hidden={
                position: self.why(file.filename)
                for position, file in enumerate(view.files)
                if file.yanked
            }
        )


class ShowStatus(Labelled):
    """Shows projects with a status."""

    overlay = True

    def __init__(self, label: str, status: Status, **options: Any) -> None:
        super().__init__(label, **options)
        self.status = status

    @override
    def judge(self, view: PageView, now: float, facts: object) -> Outcome:
        return Outcome(status=ProjectStatus(self.status, self.label))


class Gone(Labelled):
    """Cannot be evaluated while `broken`."""

    broken = True

    @override
    async def facts(self, view: PageView) -> object:
        if self.broken:
            raise RuleUnavailable(self.label, "its folder is gone")
        return None


def file(filename: str, **fields: Any) -> File:
    """A file of which only some fields matter."""
    return File(filename=FileName(filename), url=f"memory:{filename}", hashes={}, **fields)
