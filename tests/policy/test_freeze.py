"""The freeze date."""

from datetime import UTC, date, datetime, timedelta, timezone

import pytest

from simple_repository_server.policy.first_seen import FirstSeen
from simple_repository_server.policy.freeze import FreezeRule
from simple_repository_server.policy.undated import Undated

from .views import NOW, file, outcome_of, sentence_of, shown_by, view_of

MIDNIGHT = datetime(2026, 8, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    "at",
    [
        date(2026, 8, 1),
        MIDNIGHT,
        datetime(2026, 8, 1),
        datetime(2026, 8, 1, 2, tzinfo=timezone(timedelta(hours=2))),
    ],
)
async def test_date_is_midnight_in_utc(at: date) -> None:
    """A date and each spelling of its midnight are one; a file of that very moment is hidden."""
    view = view_of(
        file("foo-1.tar.gz", MIDNIGHT - timedelta(microseconds=1)),
        file("foo-2.tar.gz", MIDNIGHT),
        file("foo-3.tar.gz", datetime(2026, 7, 31, 23, 59)),
        file("foo-4.tar.gz", datetime(2026, 7, 31, 23, tzinfo=timezone(timedelta(hours=-2)))),
    )
    assert await shown_by(FreezeRule(at), view) == ["foo-1.tar.gz", "foo-3.tar.gz"]


async def test_outcome_never_changes_by_itself() -> None:
    """What was uploaded later is hidden for ever; the sentence says when it was uploaded."""
    view = view_of(file("foo-1.tar.gz", MIDNIGHT + timedelta(days=1)))
    outcome = await outcome_of(FreezeRule(date(2026, 8, 1)), view)
    assert outcome.until is None
    assert outcome.hidden[0].until is None
    assert outcome.hidden[0].reason == (
        "hidden by the rule freeze = 2026-08-01: uploaded 2026-08-02 00:00 UTC"
    )


async def test_freeze_in_the_future() -> None:
    """It hides what its source dates later, and nothing else."""
    view = view_of(
        file("foo-1.tar.gz", datetime(2029, 1, 1, tzinfo=UTC)),
        file("foo-2.tar.gz", datetime(2031, 1, 1, tzinfo=UTC)),
    )
    assert await shown_by(FreezeRule(date(2030, 1, 1)), view) == ["foo-1.tar.gz"]


@pytest.mark.parametrize("at", [date.min, date.max])
async def test_first_and_last_date(at: date) -> None:
    """No date is out of range."""
    view = view_of(file("foo-1.tar.gz", datetime(2026, 1, 1, tzinfo=UTC)))
    assert bool(await shown_by(FreezeRule(at), view)) is (at is date.max)


@pytest.mark.parametrize(
    ("undated", "shown"), [(Undated.REFUSE, []), (Undated.ALLOW, ["foo-1.tar.gz"])]
)
async def test_files_without_time(undated: Undated, shown: list[str]) -> None:
    """They are hidden or shown as chosen, and counted."""
    rule = FreezeRule(MIDNIGHT, undated=undated)
    view = view_of("foo-1.tar.gz")
    assert await shown_by(rule, view) == shown
    assert (await outcome_of(rule, view)).undated == 1


async def test_files_first_seen_before_and_after() -> None:
    """With `first-seen` a file without a time is of the time at which this server saw it."""
    clock = MIDNIGHT.timestamp() - 1
    rule = FreezeRule(
        MIDNIGHT, undated=Undated.FIRST_SEEN, first_seen=FirstSeen(clock=lambda: clock)
    )
    async with rule:
        await rule.facts(view_of("foo-1.tar.gz"))
        clock = NOW
        view = view_of("foo-1.tar.gz", "foo-2.tar.gz")
        outcome = rule.judge(view, NOW, await rule.facts(view))
    assert sorted(outcome.hidden) == [1]
    assert "first seen here 2026-12-01 08:12 UTC" in outcome.hidden[1].reason


async def test_sentence_has_the_reason() -> None:
    """The operator's reason stands at the end."""
    view = view_of(file("foo-1.tar.gz", datetime(2026, 9, 1)))
    sentence = await sentence_of(FreezeRule(MIDNIGHT, reason="release branch 4"), view)
    assert sentence.endswith("uploaded 2026-09-01 00:00 UTC; release branch 4")
