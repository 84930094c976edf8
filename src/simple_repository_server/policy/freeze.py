"""The freeze date: what was uploaded later is hidden."""

from datetime import UTC, date, datetime, time
from typing import Any

from typing_extensions import override

from simple_repository_server.policy.dated_rule import DatedRule
from simple_repository_server.policy.page_view import PageView
from simple_repository_server.policy.rule import Outcome
from simple_repository_server.policy.sentences import shown_time


class FreezeRule(DatedRule):
    """Shows only what was uploaded before `at`, so that the index is what it was then.

    A date is 00:00 UTC of that day, a time without a zone is in UTC. A file of exactly that time is
    hidden, as with `--uploaded-prior-to` of pip and `--exclude-newer` of uv.
    """

    def __init__(self, at: datetime | date, *, label: str = "", **common: Any) -> None:
        super().__init__(label=label or f"freeze = {at.isoformat()}", **common)
        moment = at if isinstance(at, datetime) else datetime.combine(at, time())
        self.at = moment if moment.tzinfo else moment.replace(tzinfo=UTC)

    @override
    def judge(self, view: PageView, now: float, facts: object) -> Outcome:
        dated = self.dated(view, facts)
        at, hidden = self.at.timestamp(), dated.hidden
        for position, moment, verb in dated.times:
            if moment >= at:
                hidden[position] = self.hidden(f"{verb} {shown_time(moment)}")
        return Outcome(hidden=hidden, undated=dated.undated)
