"""Pages for rules, and what rules decide about them."""

from datetime import UTC, datetime
from typing import Any

from simple_repository_server.model import File, ProjectPage, ProjectStatus
from simple_repository_server.names import FileName, ProjectName
from simple_repository_server.policy.page_view import PageView
from simple_repository_server.policy.rule import Outcome, Rule

#: Tuesday, 1 December 2026, 08:12:30 UTC.
NOW_TIME = datetime(2026, 12, 1, 8, 12, 30, tzinfo=UTC)
NOW = NOW_TIME.timestamp()
DAY = 86_400.0


def file(filename: str, uploaded: datetime | None = None, **fields: Any) -> File:
    """A file whose digest is made of its name."""
    fields.setdefault("hashes", {"sha256": filename.encode().hex()[-64:].zfill(64)})
    fields.setdefault("url", "https://files.invalid/" + filename)
    return File(filename=FileName(filename), upload_time=uploaded, **fields)


def view_of(
    *files: File | str, project: str = "foo", status: ProjectStatus | None = None
) -> PageView:
    """The view of a page with these files; texts are names of files without an upload time."""
    made = tuple(one if isinstance(one, File) else file(one) for one in files)
    return PageView(ProjectPage(name=ProjectName(project), files=made, status=status))


async def outcome_of(rule: Rule, view: PageView, now: float = NOW) -> Outcome:
    """What the rule decides, with what it needs for that."""
    async with rule:
        return rule.judge(view, now, await rule.facts(view))


async def shown_by(rule: Rule, view: PageView, now: float = NOW) -> list[str]:
    """The names of the files that the rule leaves."""
    hidden = (await outcome_of(rule, view, now)).hidden
    return [one.filename for at, one in enumerate(view.files) if at not in hidden]


async def sentence_of(rule: Rule, view: PageView, position: int = 0) -> str:
    """The sentence about the file at the position."""
    return (await outcome_of(rule, view)).hidden[position].reason
