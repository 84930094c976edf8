"""How a directory is watched: who waits for its file system, and for how long."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from simple_repository_server import LocalRepository, ProjectName
from simple_repository_server.errors import ProjectNotFound, SourceTimeout
from simple_repository_server.observe.events import Event, SourceFailed, SourceRecovered, ignore
from simple_repository_server.sources.local_facts import DigestStore
from simple_repository_server.sources.local_problems import Problems
from simple_repository_server.sources.local_watch import LocalDirectory
from simple_repository_server.testing.distributions import build_wheel
from tests.local_tree import FOO, put, soon

pytestmark = pytest.mark.anyio


async def test_a_file_system_that_does_not_answer_is_not_waited_for(tmp_path: Path) -> None:
    """Who asks is told in time, who asks after that at once, and it is served when it answers."""
    put(tmp_path, build_wheel("foo"))
    events: list[Event] = []
    store = DigestStore()
    directory = LocalDirectory(
        tmp_path,
        store,
        problems=Problems("packages", events.append),
        emit=events.append,
        deadline_s=0.2,
    )
    answers = threading.Event()
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(1))
    hanging = loop.run_in_executor(None, answers.wait, 60)
    try:
        for _ in range(3):
            with pytest.raises(SourceTimeout, match="does not answer"):
                await directory.scan()
            assert directory.state().available is False
            assert directory.peek() is None
    finally:
        answers.set()
        await hanging

    async def seen() -> bool:
        return FOO in (await directory.scan()).files

    await soon(seen)
    assert [type(event) for event in events] == [SourceFailed, SourceRecovered]
    await directory.close()
    store.close()


@pytest.mark.parametrize(("duration_s", "is_recent"), [(0.4, False), (5.0, True)])
async def test_the_age_of_a_scan_counts_from_its_start(
    tmp_path: Path, duration_s: float, *, is_recent: bool
) -> None:
    """It may have missed what changed after that; one of seconds is used all the same."""
    now = 1e9
    store = DigestStore()
    problems = Problems("packages", ignore)
    directory = LocalDirectory(tmp_path, store, problems=problems, clock=lambda: now, emit=ignore)
    begins = threading.Event()
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(1))
    busy = loop.run_in_executor(None, begins.wait, 60)
    scan = asyncio.ensure_future(directory.scan())
    await asyncio.sleep(0)
    await asyncio.sleep(0)  # the scan waits for the thread now
    now += duration_s
    begins.set()
    await asyncio.gather(busy, scan)
    now += 0.2
    assert (directory.peek() is not None) is is_recent
    await directory.close()
    store.close()


async def test_page_and_list_change_together(tmp_path: Path) -> None:
    """Once a scan found a change the list shows, the page shows it too, however young it is."""
    put(tmp_path, build_wheel("foo"))
    gone = put(tmp_path, build_wheel("gone"))
    put(tmp_path, build_wheel("other"))
    now = 1e9
    async with LocalRepository(tmp_path, clock=lambda: now) as repository:
        names = [ProjectName(name) for name in ("foo", "gone", "other")]
        for name in names:
            page = await repository.get_project_page(name)
            assert repository.peek_project_page(name) is page
        unchanged = await repository.get_project_page(names[2])
        put(tmp_path, build_wheel("foo", "2.0"))
        put(tmp_path, build_wheel("new"))
        gone.unlink()
        now += 0.4
        await repository.get_project_page(names[0])  # it is young; the next scan begins

        async def listed() -> bool:
            return (await repository.get_project_list()).names == ("foo", "new", "other")

        await soon(listed)
        assert (await repository.get_project_page(FOO)).versions == ("1.0", "2.0")
        with pytest.raises(ProjectNotFound):
            repository.peek_project_page(names[1])
        assert repository.peek_project_page(names[2]) is unchanged


async def test_peeks_start_no_scan_and_lookups_start_the_next_one_in_time(tmp_path: Path) -> None:
    """While the last scan is getting old, peeks answer nothing, until a lookup has started one."""
    put(tmp_path, build_wheel("foo"))
    async with LocalRepository(tmp_path) as repository:
        page = await repository.get_project_page(FOO)
        tasks = asyncio.all_tasks()
        async with asyncio.timeout(5):
            while repository.peek_project_page(FOO) is not None:
                assert asyncio.all_tasks() == tasks
                await asyncio.sleep(0.01)
        assert asyncio.all_tasks() == tasks
        assert await repository.get_project_page(FOO) is page
        assert repository.peek_project_page(FOO) is page
