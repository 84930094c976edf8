"""The cooldown."""

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from packaging.version import Version

from simple_repository_server.errors import RuleUnavailable
from simple_repository_server.lifecycle import SharedLifespan
from simple_repository_server.names import ProjectName
from simple_repository_server.policy.age import MinimumAgeRule
from simple_repository_server.policy.first_seen import FirstSeen
from simple_repository_server.policy.scope import Scope
from simple_repository_server.policy.undated import Undated

from .views import DAY, NOW, NOW_TIME, file, outcome_of, sentence_of, shown_by, view_of

WEEK = 7 * DAY


class Fixes(SharedLifespan):
    """Knows by a table which versions fix an advisory, while it is entered, and once prepared."""

    def __init__(self, *fixes: tuple[str, str]) -> None:
        self.revision = 3
        self._fixes = {(ProjectName(name), Version(version)) for name, version in fixes}
        self._prepared: set[ProjectName] = set()

    async def prepare(self, project: ProjectName) -> None:
        """From now on the table is known."""
        assert self._entered
        self._prepared.add(project)

    def fixes(self, project: ProjectName, version: Version) -> bool:
        """Whether the table has it."""
        return project in self._prepared and (project, version) in self._fixes


@pytest.mark.parametrize(
    ("age", "is_shown"),
    [
        (timedelta(days=8), True),
        (timedelta(days=7), True),
        (timedelta(days=7) - timedelta(microseconds=1), False),
        (timedelta(days=6), False),
        (timedelta(0), False),
        (timedelta(days=-1), False),
    ],
)
async def test_file_is_shown_once_it_is_old_enough(age: timedelta, is_shown: bool) -> None:
    """At the very second at which it has the age it is shown, and not a moment before."""
    view = view_of(file("foo-1.0.tar.gz", NOW_TIME - age))
    outcome = await outcome_of(MinimumAgeRule(WEEK), view)
    assert bool(outcome.hidden) is not is_shown
    if not is_shown:
        assert outcome.until is not None
        assert outcome.until == pytest.approx(NOW + WEEK - age.total_seconds(), abs=1e-6)
        assert outcome.hidden[0].until == NOW_TIME - age + timedelta(days=7)
        # The outcome changes exactly then.
        assert await shown_by(MinimumAgeRule(WEEK), view, outcome.until) == ["foo-1.0.tar.gz"]
        assert await shown_by(MinimumAgeRule(WEEK), view, outcome.until - 0.001) == []
    else:
        assert outcome.until is None


async def test_outcome_lasts_until_the_next_file_comes_of_age() -> None:
    """The earliest of the times at which files come of age; files that are shown do not count."""
    days = [1, 6.999, 20, 3]
    files = [file(f"foo-{day}.tar.gz", NOW_TIME - timedelta(days=day)) for day in days]
    outcome = await outcome_of(MinimumAgeRule(WEEK), view_of(*files))
    assert sorted(outcome.hidden) == [0, 1, 3]
    assert outcome.until == pytest.approx(NOW + 0.001 * DAY)


async def test_no_file_is_young_at_age_zero() -> None:
    """An age of 0 hides only what is dated in the future."""
    view = view_of(
        file("foo-1.tar.gz", NOW_TIME), file("foo-2.tar.gz", NOW_TIME + timedelta(seconds=1))
    )
    assert await shown_by(MinimumAgeRule(0), view) == ["foo-1.tar.gz"]


@pytest.mark.parametrize(
    "uploaded",
    [
        datetime(2026, 11, 24, 8, 12, 30, tzinfo=UTC),
        datetime(2026, 11, 24, 10, 12, 30, tzinfo=timezone(timedelta(hours=2))),
        datetime(2026, 11, 24, 8, 12, 30),
    ],
)
async def test_time_zones(uploaded: datetime) -> None:
    """A time has the zone it states; one without a zone is in UTC."""
    view = view_of(file("foo-1.tar.gz", uploaded))
    assert await shown_by(MinimumAgeRule(WEEK), view) == ["foo-1.tar.gz"]
    assert await shown_by(MinimumAgeRule(WEEK), view, NOW - 1) == []


@pytest.mark.parametrize("uploaded", [datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59)])
@pytest.mark.parametrize("age_s", [0, WEEK, 1e12, 1e300])
async def test_odd_dates_and_ages(uploaded: datetime, age_s: float) -> None:
    """No date and no duration is too large: the sentence then says so."""
    view = view_of(file("foo-1.tar.gz", uploaded))
    outcome = await outcome_of(MinimumAgeRule(age_s), view)
    shown = uploaded.replace(tzinfo=UTC).timestamp() + age_s <= NOW
    assert bool(outcome.hidden) is not shown
    for hidden in outcome.hidden.values():
        assert len(hidden.reason) <= 200
        far = hidden.until is None
        assert far is ("not shown before the year 10000" in hidden.reason)


@pytest.mark.parametrize("age_s", [-1, float("nan"), float("inf")])
def test_impossible_ages(age_s: float) -> None:
    """They are refused at once."""
    with pytest.raises(ValueError, match="minimum age"):
        MinimumAgeRule(age_s)


async def test_sentence_names_rule_reason_and_dates() -> None:
    """What users read; seconds are rounded so that what is announced is true then."""
    view = view_of(file("foo-1.tar.gz", datetime(2026, 11, 24, 8, 12, 31, tzinfo=UTC)))
    assert await sentence_of(MinimumAgeRule(WEEK, reason="see the security board"), view) == (
        "hidden by the rule min-age = 7 days: uploaded 2026-11-24 08:12 UTC, "
        "shown from 2026-12-01 08:13 UTC; see the security board"
    )
    outcome = await outcome_of(MinimumAgeRule(WEEK, label="mine", conceal=True), view)
    assert outcome.hidden[0].rule == "mine"
    assert outcome.hidden[0].conceal
    assert outcome.hidden[0].reason.startswith("hidden by the rule mine: uploaded")


# --- files without an upload time ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("undated", "shown"), [(Undated.REFUSE, []), (Undated.ALLOW, ["foo-1.tar.gz", "foo-2.tar.gz"])]
)
async def test_files_without_time(undated: Undated, shown: list[str]) -> None:
    """They are hidden or shown as chosen, independently of the time, and counted."""
    view = view_of("foo-1.tar.gz", "foo-2.tar.gz")
    rule = MinimumAgeRule(WEEK, undated=undated)
    assert await shown_by(rule, view) == shown
    outcome = await outcome_of(rule, view)
    assert (outcome.until, outcome.undated) == (None, 2)
    for hidden in outcome.hidden.values():
        assert hidden.reason.endswith("its upload time is unknown")
        assert hidden.until is None


async def test_refusal_is_the_default_for_files_without_time() -> None:
    """A rule that was configured without a choice hides them."""
    assert await shown_by(MinimumAgeRule(0), view_of("foo-1.tar.gz")) == []


async def test_files_without_time_count_from_when_they_were_first_seen() -> None:
    """With `first-seen` they come of age like others, from the time this server saw them."""
    clock = NOW - 6 * DAY
    seen = FirstSeen(clock=lambda: clock)
    rule = MinimumAgeRule(WEEK, undated=Undated.FIRST_SEEN, first_seen=seen)
    view = view_of("foo-1.tar.gz", file("foo-2.tar.gz", NOW_TIME))
    async with rule:
        facts = await rule.facts(view)
        clock = NOW
        assert await rule.facts(view) == facts
        outcome = rule.judge(view, NOW, facts)
        assert sorted(outcome.hidden) == [0, 1]
        assert outcome.until == NOW + DAY
        assert outcome.undated == 1
        assert "first seen here 2026-11-25 08:12 UTC, shown from" in outcome.hidden[0].reason
        assert sorted(rule.judge(view, NOW + DAY, facts).hidden) == [1]


@pytest.mark.parametrize("hashes", [{}, {"md5": "0" * 32}])
async def test_first_seen_needs_a_digest(hashes: dict[str, str]) -> None:
    """A file without one that installers verify cannot be recognised, so it is hidden."""
    rule = MinimumAgeRule(0, undated=Undated.FIRST_SEEN, first_seen=FirstSeen())
    view = view_of(file("foo-1.tar.gz", hashes=hashes))
    assert "digest" in await sentence_of(rule, view)


def test_first_seen_needs_a_database() -> None:
    """A rule without one is refused at once."""
    with pytest.raises(ValueError, match="first-seen"):
        MinimumAgeRule(WEEK, undated=Undated.FIRST_SEEN)


async def test_rule_without_its_database_cannot_be_evaluated(tmp_path: Path) -> None:
    """It says so, by its name, in the error and in its state; afterwards it recovers."""
    place = tmp_path / "seen.sqlite"
    place.mkdir()
    seen = FirstSeen(place, clock=lambda: NOW)
    rule = MinimumAgeRule(WEEK, undated=Undated.FIRST_SEEN, first_seen=seen, label="cooldown")
    view = view_of("foo-1.tar.gz")
    with pytest.raises(RuleUnavailable, match="The rule cooldown cannot be evaluated: first-seen"):
        await rule.facts(view)
    assert [(state.label, state.available) for state in rule.states()] == [("cooldown", False)]
    place.rmdir()
    assert await shown_by(rule, view) == []
    assert [state.available for state in rule.states()] == [True]


# --- exemptions ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("exempt", "shown"),
    [
        (["foo"], ["foo-1.0.tar.gz", "foo-2.0.tar.gz", "foo-3.0.tar.gz"]),
        (["f*"], ["foo-1.0.tar.gz", "foo-2.0.tar.gz", "foo-3.0.tar.gz"]),
        (["foo==2.0"], ["foo-2.0.tar.gz"]),
        (["foo>=2"], ["foo-2.0.tar.gz", "foo-3.0.tar.gz"]),
        (["bar"], []),
    ],
)
async def test_exemptions(exempt: list[str], shown: list[str]) -> None:
    """The scope exempts projects and versions, also those without an upload time."""
    rule = MinimumAgeRule(WEEK, scope=Scope(except_=exempt))
    view = view_of(
        file("foo-1.0.tar.gz", NOW_TIME), file("foo-2.0.tar.gz", NOW_TIME), "foo-3.0.tar.gz"
    )
    assert await shown_by(rule, view) == shown


async def test_fast_lane() -> None:
    """Versions that fix a known advisory come at once, in every file and without a time, too."""
    files = [
        file("foo-1.0.tar.gz", NOW_TIME),
        file("foo-1.1.tar.gz", NOW_TIME),
        file("foo-1.1.0-py3-none-any.whl", NOW_TIME),
        file("foo-1.1-py2-none-any.whl"),
        file("foo-x.y.tar.gz", NOW_TIME),
    ]
    lane = Fixes(("foo", "1.1"), ("bar", "1.0"))
    rule = MinimumAgeRule(WEEK, fast_lane=lane)
    outcome = await outcome_of(rule, view_of(*files))
    assert sorted(outcome.hidden) == [0, 4]
    assert outcome.until == NOW + WEEK
    assert await shown_by(MinimumAgeRule(WEEK, fast_lane=Fixes()), view_of(*files)) == []


async def test_fast_lane_changes_the_revision() -> None:
    """What was decided is decided again once the advisories have changed."""
    lane = Fixes()
    rule = MinimumAgeRule(WEEK, fast_lane=lane)
    assert rule.revision == 3
    lane.revision += 1
    assert rule.revision == 4
    assert MinimumAgeRule(WEEK).revision == 0


async def test_empty_page() -> None:
    """A page without files has no file to hide, and its outcome never changes."""
    outcome = await outcome_of(MinimumAgeRule(WEEK), view_of())
    assert (dict(outcome.hidden), outcome.until, outcome.undated) == ({}, None, 0)
