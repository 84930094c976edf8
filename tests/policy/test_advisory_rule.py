"""The rule that hides versions with known advisories."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from simple_repository_server.advisories.advisories import Advisories
from simple_repository_server.errors import RuleUnavailable
from simple_repository_server.policy.advisory_rule import AdvisoryRule
from simple_repository_server.policy.age import MinimumAgeRule
from simple_repository_server.policy.rule import SHOW_ALL
from simple_repository_server.policy.scope import Scope
from tests.advisories.osv import affected, record, write_folder
from tests.policy.views import DAY, NOW_TIME, file, outcome_of, sentence_of, shown_by, view_of

RECORDS = {
    "PYSEC-2026-12.json": record(
        "PYSEC-2026-12",
        affected("foo", ["introduced 0", "fixed 2.6.2"]),
        aliases=["GHSA-aaaa", "CVE-2026-4711"],
    ),
    "GHSA-aaaa.json": record(
        "GHSA-aaaa",
        affected("foo", ["introduced 0", "last_affected 2.6.1"]),
        aliases=["CVE-2026-4711"],
    ),
    "other.json": record("PYSEC-2026-99", affected("foo", versions=["2.6.1"])),
    "MAL-2026-1.json": record("MAL-2026-1", affected("Foo", versions=["3.0"])),
    "old.json": record("PYSEC-2020-1", affected("old", ["introduced 0", "last_affected 1.0"])),
    "odd.json": record("PYSEC-2020-2", affected("odd", versions=["2004-odd"])),
}
VIEW = view_of("foo-2.6.1.tar.gz", "foo-2.6.1-py3-none-any.whl", "foo-2.6.2.tar.gz", "foo-3.0.zip")


@pytest.fixture
async def advisories(tmp_path: Path) -> AsyncIterator[Advisories]:
    """Advisories about three projects."""
    write_folder(tmp_path / "osv", RECORDS)
    async with Advisories(tmp_path / "osv", state=tmp_path / "state", check_s=0.05) as advisories:
        await advisories.until_ready(30)
        yield advisories


async def test_affected_versions_are_hidden(advisories: Advisories) -> None:
    """All files of affected versions are hidden, and no others."""
    assert await shown_by(AdvisoryRule(advisories), VIEW) == ["foo-2.6.2.tar.gz"]
    bar = view_of("bar-1.0.tar.gz", project="bar")
    assert await outcome_of(AdvisoryRule(advisories), bar) is SHOW_ALL


async def test_malicious_only(advisories: Advisories) -> None:
    """Only malicious versions are hidden."""
    rule = AdvisoryRule(advisories, malicious_only=True)
    assert set((await outcome_of(rule, VIEW)).hidden) == {3}
    old = view_of("old-1.0.tar.gz", project="old")
    assert await outcome_of(rule, old) is SHOW_ALL


@pytest.mark.parametrize("ignored", ["PYSEC-2026-12", "GHSA-aaaa", "CVE-2026-4711"])
async def test_ignored(advisories: Advisories, ignored: str) -> None:
    """An advisory is ignored by any of its names, with the other records about the same."""
    rule = AdvisoryRule(advisories, ignore=[ignored, "PYSEC-2026-99"])
    assert set((await outcome_of(rule, VIEW)).hidden) == {3}


async def test_the_scope(advisories: Advisories) -> None:
    """Only what is in scope is hidden."""
    rule = AdvisoryRule(advisories, scope=Scope(kinds=["wheel"]))
    assert set((await outcome_of(rule, VIEW)).hidden) == {1}


async def test_what_users_read(advisories: Advisories) -> None:
    """The sentence names the advisory, the name that people know, the remedy and the reason."""
    rule = AdvisoryRule(advisories, label="advisories", reason="ask the security board")
    assert await sentence_of(rule, VIEW) == (
        "hidden by the rule advisories: GHSA-aaaa (CVE-2026-4711), fixed in 2.6.2, "
        "and 1 more advisory; ask the security board"
    )
    assert await sentence_of(rule, VIEW, 3) == (
        "hidden by the rule advisories: malicious, MAL-2026-1; ask the security board"
    )
    old = view_of("old-1.0.tar.gz", project="old")
    assert await sentence_of(AdvisoryRule(advisories), old) == (
        "hidden by the rule advisories = all: PYSEC-2020-1"
    )
    hidden = (await outcome_of(AdvisoryRule(advisories, conceal=True), old)).hidden[0]
    assert hidden.conceal
    assert hidden.until is None


async def test_versions_that_are_none(advisories: Advisories) -> None:
    """A file whose version PEP 440 does not know is matched by how it is spelt."""
    view = view_of("odd-2004-odd.tar.gz", "odd-2005-odd.tar.gz", "odd.txt", project="odd")
    assert set((await outcome_of(AdvisoryRule(advisories), view)).hidden) == {0, 2}


async def test_unavailable(tmp_path: Path) -> None:
    """Without advisories the rule refuses, names itself and the folder, and states it."""
    rule = AdvisoryRule(Advisories(tmp_path / "gone"), label="advisories")
    async with rule:
        with pytest.raises(RuleUnavailable) as caught:
            await rule.facts(VIEW)
        assert str(caught.value).startswith(
            f"The rule advisories cannot be evaluated: {tmp_path / 'gone'} cannot be read ("
        )
        (state,) = rule.states()
        assert (state.label, state.kind, state.available) == ("advisories", "rule", False)
        assert "cannot be read" in state.detail


async def test_the_fast_lane(advisories: Advisories) -> None:
    """A new version that fixes a known advisory comes at once, others after their minimum age."""
    new = NOW_TIME - timedelta(hours=1)
    view = view_of(file("foo-2.6.2.tar.gz", new), file("foo-2.6.3.tar.gz", new))
    assert await shown_by(MinimumAgeRule(7 * DAY), view) == []
    rule = MinimumAgeRule(7 * DAY, fast_lane=advisories)
    assert await shown_by(rule, view) == ["foo-2.6.2.tar.gz"]
    assert rule.revision == advisories.revision


async def test_the_revision_is_that_of_the_advisories(advisories: Advisories) -> None:
    """A change of the advisories is a change of the rule."""
    rule = AdvisoryRule(advisories)
    advisories.revision += 1
    assert rule.revision == advisories.revision
