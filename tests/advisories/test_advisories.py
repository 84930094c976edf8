"""The advisories of a server: read in the background, current, and refused when they are gone."""

import asyncio
import shutil
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from packaging.version import Version

from simple_repository_server.advisories.advisories import Advisories
from simple_repository_server.advisories.store import database_path
from simple_repository_server.errors import RuleUnavailable
from simple_repository_server.names import ProjectName
from simple_repository_server.observe.advisory_events import (
    AdvisoriesOutdated,
    AdvisoriesRead,
    AdvisoryRejected,
)
from simple_repository_server.observe.events import Event
from simple_repository_server.observe.rule_events import RuleFailed, RuleRecovered
from tests.advisories.osv import affected, record, write_folder, write_zip
from tests.waiting import until

FOO = ProjectName("foo")
CHECK_S = 0.05


def _about_foo(*versions: str, number: str = "PYSEC-1") -> dict[str, Any]:
    return record(number, affected("foo", versions=list(versions)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with one record."""
    write_folder(tmp_path / "osv", {"a.json": _about_foo("1")})
    return tmp_path / "osv"


@asynccontextmanager
async def _opened(path: Path, state: Path | None, **options: Any) -> AsyncIterator[Advisories]:
    async with Advisories(path, state=state, check_s=CHECK_S, **options) as advisories:
        await advisories.until_ready(30)
        yield advisories


async def _affects(advisories: Advisories, version: str) -> bool:
    return bool((await advisories.for_project(FOO)).affecting(Version(version)))


async def _until_affects(advisories: Advisories, version: str) -> None:
    async with asyncio.timeout(30):
        while not await _affects(advisories, version):  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("kind", ["folder", "archive"])
async def test_read_at_the_start(kind: str, folder: Path, tmp_path: Path) -> None:
    """They are refused while they are read for the first time, and then consulted."""
    path = folder
    if kind == "archive":
        path = tmp_path / "all.zip"
        write_zip(path, {"a.json": _about_foo("1")})
    events: list[Event] = []
    advisories = Advisories(path, state=tmp_path / "state", emit=events.append, first_read_s=0)
    async with advisories:
        assert not advisories.ready
        with pytest.raises(RuleUnavailable, match=f"{path} is still being read"):
            await advisories.for_project(FOO)
        assert not advisories.fixes(FOO, Version("1"))
        assert advisories.state().available is False
        await advisories.until_ready(30)
        assert await _affects(advisories, "1")
        assert not await _affects(advisories, "2")
        assert not (await advisories.for_project(ProjectName("other"))).all
        assert advisories.state().available is True
        assert advisories.state().detail == ""
    (read,) = events
    assert isinstance(read, AdvisoriesRead)
    assert (read.records, read.files, read.rejected) == (1, 1, 0)
    with pytest.raises(RuleUnavailable):
        await advisories.for_project(FOO)


async def test_entering_waits_for_the_first_reading(folder: Path, tmp_path: Path) -> None:
    """A small folder is in use as soon as they are entered; whoever shares it waits only for it."""
    options: dict[str, Any] = {"state": tmp_path / "state", "check_s": 3600, "first_read_s": 60}
    first, second = Advisories(folder, **options), Advisories(folder, **options)
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        entered = [group.create_task(_enter_and_leave(one)) for one in (first, second)]
    assert [one.result() for one in entered] == [True, True]


async def _enter_and_leave(advisories: Advisories) -> bool:
    async with advisories:
        return advisories.ready and await _affects(advisories, "1")


async def test_entering_does_not_wait_for_what_fails(tmp_path: Path) -> None:
    """If they cannot be read, entering ends at once, and they are refused."""
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "empty", tmp_path / "missing"):
        async with (
            asyncio.timeout(30),
            Advisories(path, state=tmp_path / "state", first_read_s=60) as advisories,
        ):
            assert advisories.problem
            assert "is still being read" not in advisories.problem


async def test_a_restart_reads_nothing(folder: Path, tmp_path: Path) -> None:
    """What is stored is in use at once after a restart, and no file is read again."""
    async with _opened(folder, tmp_path / "state"):
        pass
    events: list[Event] = []
    async with Advisories(folder, state=tmp_path / "state", emit=events.append) as again:
        assert again.ready
        assert await _affects(again, "1")
        await asyncio.sleep(0.2)
    assert events == []


async def test_changes_while_stopped(folder: Path, tmp_path: Path) -> None:
    """What changed while nothing ran is in use soon after the start."""
    async with _opened(folder, tmp_path / "state"):
        pass
    write_folder(folder, {"b.json": _about_foo("2", number="PYSEC-2")})
    async with _opened(folder, tmp_path / "state") as again:
        await _until_affects(again, "2")
        assert await _affects(again, "1")


async def test_changes_while_stopped_are_waited_for(folder: Path, tmp_path: Path) -> None:
    """What changed while nothing ran is in use from the start, if it is read quickly."""
    async with _opened(folder, tmp_path / "state"):
        pass
    write_folder(folder, {"a.json": _about_foo("2")})
    async with Advisories(folder, state=tmp_path / "state", changes_s=60) as again:
        assert await _affects(again, "2")


async def test_without_a_folder_for_state(folder: Path) -> None:
    """They work without one, and leave nothing behind."""
    async with _opened(folder, None) as advisories:
        assert advisories._watch is not None
        state = advisories._watch._path.parent
        assert await _affects(advisories, "1")
    assert not state.exists()
    async with _opened(folder, None) as advisories:
        assert await _affects(advisories, "1")


@pytest.mark.parametrize("kind", ["folder", "archive"])
async def test_changes_are_noticed(kind: str, folder: Path, tmp_path: Path) -> None:
    """A change is in use soon, and each increases the revision."""
    archive = tmp_path / "all.zip"
    write_zip(archive, {"a.json": _about_foo("1")})
    path = folder if kind == "folder" else archive

    def write(given: dict[str, Any]) -> None:
        if kind == "folder":
            write_folder(folder, {"a.json": given})
        else:
            write_zip(archive, {"a.json": given})

    async with _opened(path, tmp_path / "state") as advisories:
        revision = advisories.revision
        for version in ("2", "3"):
            write(_about_foo(version))
            await _until_affects(advisories, version)
            assert not await _affects(advisories, "1")
            assert advisories.revision > revision
            revision = advisories.revision
        write({**_about_foo("3"), "withdrawn": "2026-01-01T00:00:00Z", "modified": "2027"})
        await until(lambda: advisories.revision > revision, 30)
        assert not await _affects(advisories, "3")


def _move_away(folder: Path) -> None:
    folder.rename(folder.with_name("away"))


def _empty(folder: Path) -> None:
    (folder / "a.json").unlink()


def _other_ecosystem(folder: Path) -> None:
    foreign = record("GHSA-1", affected("foo", ecosystem="npm"))
    write_folder(folder, {"a.json": foreign})


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (_move_away, "osv cannot be read (.*no such file or directory)"),
        (_empty, "osv has no OSV records"),
        (_other_ecosystem, "osv has records about npm only, none about PyPI"),
    ],
)
async def test_without_records_nothing_is_judged(
    spoil: Callable[[Path], None], reason: str, folder: Path, tmp_path: Path
) -> None:
    """A folder that is gone, empty or about something else refuses, and is reported once."""
    events: list[Event] = []
    async with _opened(folder, tmp_path / "state", emit=events.append) as advisories:
        assert await _affects(advisories, "1")
        revision = advisories.revision
        spoil(folder)
        await until(lambda: not advisories.ready, 30)
        assert advisories.revision > revision
        pattern = reason.replace("(", r"\(").replace(")", r"\)")
        with pytest.raises(RuleUnavailable, match=pattern):
            await advisories.for_project(FOO)
        await advisories.prepare(FOO)
        assert not advisories.fixes(FOO, Version("1"))
        assert advisories.state().available is False
        await asyncio.sleep(4 * CHECK_S)
        if not folder.exists():
            folder.with_name("away").rename(folder)
        write_folder(folder, {"a.json": _about_foo("5")})
        await until(lambda: advisories.ready, 30)
        await _until_affects(advisories, "5")
    failures = [event for event in events if isinstance(event, RuleFailed | RuleRecovered)]
    assert [type(event) for event in failures] == [RuleFailed, RuleRecovered]


async def test_gone_at_the_start(folder: Path, tmp_path: Path) -> None:
    """A folder that is gone refuses from the very start, although its records are stored."""
    async with _opened(folder, tmp_path / "state"):
        pass
    _move_away(folder)
    async with Advisories(folder, state=tmp_path / "state") as advisories:
        with pytest.raises(RuleUnavailable, match="cannot be read"):
            await advisories.for_project(FOO)


async def test_a_broken_file_is_reported(folder: Path, tmp_path: Path) -> None:
    """The event names the file; what it said before counts, and the state says what is wrong."""
    events: list[Event] = []
    async with _opened(folder, tmp_path / "state", emit=events.append) as advisories:
        write_folder(folder, {"a.json": b"{", "b.json": _about_foo("2", number="PYSEC-2")})
        await _until_affects(advisories, "2")
        assert await _affects(advisories, "1")
        assert advisories.state().available is True
        assert "1 file that is no usable record about PyPI" in advisories.state().detail
    (rejected,) = [event for event in events if isinstance(event, AdvisoryRejected)]
    assert rejected.file == "a.json"
    assert "not JSON" in rejected.text()


async def test_reading_that_fails(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If no process can read the changes, the earlier records are in use; that is reported once."""
    events: list[Event] = []
    async with _opened(folder, tmp_path / "state", emit=events.append) as advisories:
        monkeypatch.setattr(sys, "executable", "/nowhere/python")
        write_folder(folder, {"a.json": _about_foo("2")})
        await until(lambda: bool(advisories.state().detail), 30)
        assert "is not up to date, as reading it failed" in advisories.state().detail
        assert await _affects(advisories, "1")
    assert len([event for event in events if isinstance(event, AdvisoriesOutdated)]) == 1


async def test_a_first_reading_that_fails(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without earlier records nothing is judged, and the reason is reported."""
    monkeypatch.setattr(sys, "executable", "/bin/false")
    events: list[Event] = []
    async with _opened(folder, tmp_path / "state", emit=events.append) as advisories:
        with pytest.raises(RuleUnavailable, match="its process ended with status 1"):
            await advisories.for_project(FOO)
    assert [type(event) for event in events] == [RuleFailed]


async def test_a_corrupt_database(folder: Path, tmp_path: Path) -> None:
    """A corrupt database is replaced, and everything is read again."""
    database = database_path(tmp_path / "state", folder)
    async with _opened(folder, tmp_path / "state"):
        pass
    database.write_bytes(b"no database" * 1000)
    async with _opened(folder, tmp_path / "state") as advisories:
        assert await _affects(advisories, "1")


async def test_state_that_cannot_be_written(folder: Path, tmp_path: Path) -> None:
    """Without a place for the database nothing is judged, and the reason names it."""
    (tmp_path / "state").write_text("a file")
    async with Advisories(folder, state=tmp_path / "state") as advisories:
        with pytest.raises(RuleUnavailable, match="its database .* cannot be used"):
            await advisories.for_project(FOO)


async def test_memory_is_bounded(folder: Path, tmp_path: Path) -> None:
    """Projects that were looked up are remembered within a budget."""
    async with _opened(folder, tmp_path / "state", memory_bytes=20_000) as advisories:
        first = await advisories.for_project(FOO)
        assert await advisories.for_project(FOO) is first
        for number in range(200):
            await advisories.for_project(ProjectName(f"project-{number}"))
        assert advisories._memory.bytes <= 20_000
        assert await advisories.for_project(FOO) is not first


async def test_fixes_without_preparation(folder: Path, tmp_path: Path) -> None:
    """What fixes an advisory is known with and without `prepare`."""
    given = record("PYSEC-1", affected("foo", ["introduced 0", "fixed 2.6.2"]))
    write_folder(folder, {"a.json": given})
    for prepared in (False, True):
        async with _opened(folder, tmp_path / "state") as advisories:
            if prepared:
                await advisories.prepare(FOO)
            assert advisories.fixes(FOO, Version("2.6.2"))
            assert not advisories.fixes(FOO, Version("2.6.3"))


async def test_closing_does_not_wait_for_reading(tmp_path: Path) -> None:
    """Closing kills the process that reads; the next one reads everything."""
    content = {f"{n}.json": _about_foo("1", number=f"X-{n}") for n in range(3000)}
    write_folder(tmp_path / "osv", content)
    async with asyncio.timeout(20):
        async with Advisories(tmp_path / "osv", state=tmp_path / "state"):
            await asyncio.sleep(0.1)
    children = Path("/proc/self/task").glob("*/children")
    started = [number for path in children for number in path.read_text().split()]
    commands = [Path(f"/proc/{number}/cmdline").read_text() for number in started]
    assert not [command for command in commands if str(tmp_path) in command]
    async with _opened(tmp_path / "osv", tmp_path / "state") as advisories:
        assert len((await advisories.for_project(FOO)).all) == len(content)


async def test_one_of_two_reads(folder: Path, tmp_path: Path) -> None:
    """Of two that share a database one reads, the other sees the result, and takes over later."""
    events: list[Event] = []
    options: dict[str, Any] = {"state": tmp_path / "state", "emit": events.append}
    options["check_s"] = CHECK_S
    first, second = Advisories(folder, **options), Advisories(folder, **options)
    async with second:
        async with first:
            await first.until_ready(30)
            await second.until_ready(30)
            write_folder(folder, {"a.json": _about_foo("2")})
            await _until_affects(first, "2")
            await _until_affects(second, "2")
            await until(lambda: first.revision == second.revision == 2, 30)
            await asyncio.sleep(4 * CHECK_S)
            assert len([event for event in events if isinstance(event, AdvisoriesRead)]) == 2
            assert first._watch is not None
            assert second._watch is not None
            leaders = [one._leader is not None for one in (first._watch, second._watch)]
            assert sorted(leaders) == [False, True]
            _move_away(folder)
            await until(lambda: not first.ready and not second.ready, 30)
            folder.with_name("away").rename(folder)
            await until(lambda: first.ready and second.ready, 30)
        for version in ("3", "4"):
            write_folder(folder, {"a.json": _about_foo(version)})
            await _until_affects(second, version)


_OTHER_PROCESS = """
import asyncio, sys
from pathlib import Path
from packaging.version import Version
from simple_repository_server.advisories.advisories import Advisories
from simple_repository_server.names import ProjectName

FOO = ProjectName("foo")

async def main():
    emitted = []
    source, state = map(Path, sys.argv[1:])
    advisories = Advisories(source, state=state, emit=emitted.append, check_s=0.05)
    async with advisories:
        await advisories.until_ready(30)
        for version in ("1", "2"):
            while not (await advisories.for_project(FOO)).affecting(Version(version)):
                await asyncio.sleep(0.01)
            print(version, flush=True)
            if version == "1":
                await asyncio.to_thread(sys.stdin.readline)
        while advisories.revision < 2:
            await asyncio.sleep(0.01)
        print(len(emitted), flush=True)
        while not (await advisories.for_project(FOO)).affecting(Version("3")):
            await asyncio.sleep(0.01)
        print("3", flush=True)
        await asyncio.to_thread(sys.stdin.readline)

asyncio.run(main())
"""


async def test_two_processes(folder: Path, tmp_path: Path) -> None:
    """Of two processes that start together one reads, and both see each change.

    If the one that reads is killed, the other takes its place.
    """
    arguments = ("-c", _OTHER_PROCESS, str(folder), str(tmp_path / "state"))
    pipe = asyncio.subprocess.PIPE
    processes = [
        await asyncio.create_subprocess_exec(sys.executable, *arguments, stdin=pipe, stdout=pipe)
        for _ in "12"
    ]
    try:
        async with asyncio.timeout(60):
            assert [await _line(one) for one in processes] == ["1", "1"]
            write_folder(folder, {"a.json": _about_foo("2")})
            for one in processes:
                assert one.stdin is not None
                one.stdin.write(b"\n")
                await one.stdin.drain()
            assert [await _line(one) for one in processes] == ["2", "2"]
            events = [await _line(one) for one in processes]
            assert sorted(events) == ["0", "2"]
            reader, other = processes if events[0] == "2" else reversed(processes)
            reader.kill()
            write_folder(folder, {"a.json": _about_foo("3")})
            assert await _line(other) == "3"
    finally:
        for one in processes:
            await one.communicate(b"\n")
    with sqlite3.connect(database_path(tmp_path / "state", folder)) as connection:
        assert connection.execute("pragma integrity_check").fetchone() == ("ok",)
    connection.close()
    shutil.rmtree(tmp_path / "state")


async def _line(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    return (await process.stdout.readline()).decode().strip()


async def test_more_advisories_than_the_memory_holds(folder: Path, tmp_path: Path) -> None:
    """What was prepared is not loaded again for each version, however large it is."""
    write_folder(folder, {"a.json": record("X-1", affected("foo", ["introduced 0", "fixed 2"]))})
    async with _opened(folder, tmp_path / "state", memory_bytes=0) as advisories:
        await advisories.prepare(FOO)
        assert advisories._watch is not None
        assert advisories._watch.store is not None
        advisories._watch.store.close()
        assert advisories.fixes(FOO, Version("2"))
