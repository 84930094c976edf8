"""What operators say of projects and files: yanked, quarantined, archived, deprecated."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from simple_repository_server.errors import RuleUnavailable
from simple_repository_server.model import ProjectStatus, Status
from simple_repository_server.names import ProjectName
from simple_repository_server.observe.events import Event
from simple_repository_server.observe.rule_events import RuleFailed, RuleRecovered
from simple_repository_server.policy.quarantine import QuarantineOverlay
from simple_repository_server.policy.rule import Rule
from simple_repository_server.policy.scope import Scope
from simple_repository_server.policy.status_overlay import StatusOverlay
from simple_repository_server.policy.yank_file_overlay import YankFileOverlay
from simple_repository_server.policy.yank_overlay import YankOverlay
from tests.waiting import until

from .test_yank_list import RELEASES, VERSIONS, database
from .views import NOW, file, outcome_of, view_of

VIEW = view_of(
    file("foo-1.0.tar.gz", size=10),
    file("foo-1.0-py3-none-any.whl"),
    file("foo-2.0.tar.gz", yanked="by its authors"),
    file("foo-odd.tar.gz"),
)


async def yanked_by(rule: Rule) -> dict[int, bool | str]:
    """What the rule yanks, by position; a file is otherwise unchanged."""
    outcome = await outcome_of(rule, VIEW)
    assert not outcome.hidden
    assert outcome.status is None
    for at, one in outcome.replaced.items():
        before = VIEW.files[at]
        assert (one.filename, one.size, one.hashes) == (before.filename, before.size, before.hashes)
    return {at: one.yanked for at, one in outcome.replaced.items()}


@pytest.mark.parametrize(
    ("patterns", "reason", "yanked"),
    [
        (["foo<2"], "see the board", {0: "see the board", 1: "see the board"}),
        (["foo==1.0"], "", {0: True, 1: True}),
        (["f*"], "old", {0: "old", 1: "old"}),
        (["foo>=2"], "old", {}),
        (["bar"], "old", {}),
    ],
)
async def test_yank_overlay(
    patterns: list[str], reason: str, yanked: dict[int, bool | str]
) -> None:
    """Matching versions are yanked for the reason; what its source has yanked is unchanged."""
    assert await yanked_by(YankOverlay(patterns, reason=reason)) == yanked


def test_yank_overlay_is_about_its_projects() -> None:
    """It need not be asked about others."""
    rule = YankOverlay(["foo<2"])
    assert rule.applies_to(ProjectName("foo"))
    assert not rule.applies_to(ProjectName("bar"))


async def test_quarantine() -> None:
    """The project has the status with the reason, and none of its files is shown."""
    outcome = await outcome_of(QuarantineOverlay(["f*"], reason="malware"), VIEW)
    assert outcome.status == ProjectStatus(Status.QUARANTINED, "malware")
    assert sorted(outcome.hidden) == [0, 1, 2, 3]
    assert outcome.hidden[0].reason == (
        "hidden by the rule quarantine: the project is quarantined; malware"
    )
    other = await outcome_of(QuarantineOverlay(["bar"]), VIEW)
    assert (other.status, dict(other.hidden)) == (None, {})


@pytest.mark.parametrize("status", [Status.ARCHIVED, Status.DEPRECATED])
async def test_status(status: Status) -> None:
    """The project has the status, and all of its files."""
    outcome = await outcome_of(StatusOverlay(status, ["foo"], reason="use bar"), VIEW)
    assert outcome.status == ProjectStatus(status, "use bar")
    assert not outcome.hidden
    assert (await outcome_of(StatusOverlay(status, ["bar"]), VIEW)).status is None
    assert (await outcome_of(StatusOverlay(status), VIEW)).status == ProjectStatus(status)


async def test_no_status_replaces_quarantine() -> None:
    """A project that is quarantined by its source remains so."""
    view = view_of(status=ProjectStatus(Status.QUARANTINED, "malware"))
    assert (await outcome_of(StatusOverlay(Status.ARCHIVED), view)).status is None


@pytest.mark.parametrize("status", [Status.ACTIVE, Status.QUARANTINED])
def test_other_statuses_are_refused(status: Status) -> None:
    """Quarantine has a rule of its own, and active is no restriction."""
    with pytest.raises(ValueError, match="archived or deprecated"):
        StatusOverlay(status)


def test_status_is_that_of_a_whole_project() -> None:
    """A pattern with a version specifier is refused."""
    with pytest.raises(ValueError, match="whole projects"):
        StatusOverlay(Status.ARCHIVED, ["foo<2"])
    with pytest.raises(ValueError, match="whole projects"):
        QuarantineOverlay(["foo<2"])


def test_overlays_say_so() -> None:
    """They come before the rules that only hide."""
    assert all(
        rule.overlay
        for rule in (
            YankOverlay(["foo"]),
            YankFileOverlay("yanks.json"),
            QuarantineOverlay(["foo"]),
            StatusOverlay(Status.ARCHIVED),
        )
    )


# --- a file of yanks -----------------------------------------------------------------------------


async def test_json_file(tmp_path: Path) -> None:
    """Its globs yank files by their names; its reason comes before that of the rule."""
    path = tmp_path / "yanks.json"
    path.write_text('{"Foo": {"*.whl": "no wheels", "foo-2*": "late", "*-odd*": ""}}')
    assert await yanked_by(YankFileOverlay(path)) == {1: "no wheels", 3: True}
    assert await yanked_by(YankFileOverlay(path, reason="rule")) == {1: "no wheels", 3: "rule"}
    scope = Scope(except_=["foo==1.0"])
    assert await yanked_by(YankFileOverlay(path, scope=scope)) == {3: True}


async def test_sqlite_file(tmp_path: Path) -> None:
    """It yanks versions, and files by their names."""
    path = database(
        tmp_path / "yanks.sqlite",
        VERSIONS,
        RELEASES,
        "insert into yanked_versions values ('foo', '1', 'version')",
        "insert into yanked_releases values ('foo', 'foo-1.0.tar.gz', 'file')",
    )
    assert await yanked_by(YankFileOverlay(path)) == {0: "file", 1: "version"}


async def test_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    """The revision is another one then, and the file yanks what it says now."""
    path = database(tmp_path / "yanks.sqlite", VERSIONS, RELEASES)
    async with YankFileOverlay(path) as rule:
        assert not rule.applies_to(ProjectName("foo"))
        before = rule.revision
        database(path, "insert into yanked_versions values ('foo', '1', 'late')")
        await until(lambda: rule.revision != before)
        assert rule.applies_to(ProjectName("foo"))
        outcome = rule.judge(VIEW, NOW, await rule.facts(VIEW))
        assert sorted(outcome.replaced) == [0, 1]


async def test_database_with_a_journal_is_read_again_when_it_changes(tmp_path: Path) -> None:
    """Also if what changed is still in the journal beside it."""
    path = database(tmp_path / "yanks.sqlite", "pragma journal_mode = wal", VERSIONS, RELEASES)
    with closing(sqlite3.connect(path)) as writer:
        os.utime(path, ns=(10**18, 10**18))
        async with YankFileOverlay(path) as rule:
            before = path.stat().st_mtime_ns
            with writer:
                writer.execute("insert into yanked_versions values ('foo', '1', 'late')")
            await until(lambda: rule.applies_to(ProjectName("foo")))
            assert path.stat().st_mtime_ns == before


async def test_rewritten_file_with_the_same_content_changes_nothing(tmp_path: Path) -> None:
    """What was decided remains valid."""
    path = tmp_path / "yanks.json"
    path.write_text('{"foo": ["*", "a"]}')
    async with YankFileOverlay(path) as rule:
        before = rule.revision, await rule.facts(VIEW)
        os.utime(path, ns=(1, 1))
        path.with_name("new").write_text('{"foo": ["*", "b"]}')
        path.with_name("new").replace(path)
        await until(lambda: rule.revision != before[0])
        assert rule.revision == before[0] + 1
        assert await rule.facts(VIEW) != before[1]


@pytest.mark.parametrize("text", ['{"foo": ', '{"foo": 1}', "", "42"])
async def test_file_that_becomes_invalid(tmp_path: Path, text: str) -> None:
    """The rule cannot be evaluated, says why everywhere, and recovers with the file."""
    path = tmp_path / "yanks.json"
    path.write_text('{"foo": ["*.whl", "a"]}')
    events: list[Event] = []
    async with YankFileOverlay(path, label="yanks", emit=events.append) as rule:
        assert [state.available for state in rule.states()] == [True]
        path.write_text(text)
        await until(lambda: bool(events))
        assert isinstance(events[0], RuleFailed)
        assert "yanks.json" in events[0].text()
        with pytest.raises(RuleUnavailable, match="The rule yanks cannot be evaluated"):
            await rule.facts(VIEW)
        assert rule.applies_to(ProjectName("bar"))
        state = rule.states()[0]
        assert (state.available, "yanks.json" in state.detail) == (False, True)
        path.write_text('{"foo": ["*.whl", "b"]}')
        await until(lambda: len(events) > 1)
        assert events[1:] == [RuleRecovered(rule="yanks")]
        outcome = rule.judge(VIEW, NOW, await rule.facts(VIEW))
        assert outcome.replaced[1].yanked == "b"


async def test_missing_file(tmp_path: Path) -> None:
    """While the file is missing, from the start or later, the rule cannot be evaluated."""
    path = tmp_path / "yanks.json"
    events: list[Event] = []
    async with YankFileOverlay(path, emit=events.append) as rule:
        with pytest.raises(RuleUnavailable, match="no such file"):
            await rule.facts(VIEW)
        path.write_text("{}")
        await until(lambda: len(events) == 2)
        assert not rule.applies_to(ProjectName("foo"))
        path.unlink()
        await until(lambda: len(events) == 3)
        assert rule.applies_to(ProjectName("foo"))
        with pytest.raises(RuleUnavailable, match="no such file"):
            await rule.facts(VIEW)


async def test_half_written_file_is_read_once_more(tmp_path: Path) -> None:
    """An editor that has not finished yet does not stop the server."""
    path = tmp_path / "yanks.json"
    path.write_text("{}")
    events: list[Event] = []
    async with YankFileOverlay(path, emit=events.append) as rule:
        before = rule.revision
        path.write_text('{"foo": ')
        path.write_text('{"foo": ["*", "a"]}')
        await until(lambda: rule.revision != before)
        assert events == []
