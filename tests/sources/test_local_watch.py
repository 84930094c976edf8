"""How a directory is watched: who waits for its file system, and for how long."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from simple_repository_server.errors import SourceTimeout
from simple_repository_server.observe.events import Event, SourceFailed, SourceRecovered
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
