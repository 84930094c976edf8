"""Wheels that cannot be read: what is said of them, and from which moment on they are shown."""

import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from simple_repository_server import (
    FileName,
    LocalRepository,
    MergedRepository,
    MetadataInjectorRepository,
    PrioritySelectedProjectsRepository,
    Repository,
)
from simple_repository_server.errors import ResourceNotFound
from simple_repository_server.observe.events import Event, MetadataUnreadable
from simple_repository_server.testing.distributions import build_wheel, zip_of
from tests.local_tree import FOO, beside, put, skipped, soon

pytestmark = pytest.mark.anyio

WHEEL = build_wheel("foo", "1.0", files={"data": os.urandom(50_000)})
CUT_OFF = WHEEL.content[:-100]
#: Whole, but nobody finds its metadata.
MISNAMED = zip_of({"bar-1.0.dist-info/METADATA": WHEEL.metadata})

WRAPPERS: dict[str, Any] = {
    "alone": lambda source: source,
    "metadata": MetadataInjectorRepository,
    "as the command": lambda source: MetadataInjectorRepository(
        PrioritySelectedProjectsRepository([source])
    ),
    "merged": lambda source: MetadataInjectorRepository(MergedRepository([source])),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the wheel will be."""
    (tmp_path / "packages").mkdir()
    return tmp_path / "packages" / WHEEL.filename


async def _has_no_metadata(repository: Repository) -> None:
    (file,) = (await repository.get_project_page(FOO)).files
    assert file.core_metadata is False
    name = FileName(f"{WHEEL.filename}.metadata")
    with pytest.raises(ResourceNotFound):
        await repository.get_resource(FOO, name)
    assert repository.peek_project_page(FOO) is not None
    with pytest.raises(ResourceNotFound):
        repository.peek_resource(FOO, name)
    (again,) = (await repository.get_project_page(FOO)).files
    assert again is file


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("content", [CUT_OFF, MISNAMED])
async def test_metadata_is_not_announced_on_the_first_page(
    path: Path, wrapper: str, content: bytes
) -> None:
    """What reading the wheel brought out is known to whoever sees its first page, and the log."""
    events: list[Event] = []
    path.write_bytes(content)
    os.utime(path, (1e9, 1e9))
    source = LocalRepository(path.parent, emit=events.append)
    async with WRAPPERS[wrapper](source) as repository:
        await _has_no_metadata(repository)
    told = [event for event in events if isinstance(event, MetadataUnreadable)]
    assert [event.file for event in told] == [WHEEL.filename]


async def test_a_whole_wheel_is_not_withheld(path: Path) -> None:
    """However young it is, one that is there to its end is not being written."""
    path.write_bytes(MISNAMED)
    async with LocalRepository(path.parent) as repository:
        await _has_no_metadata(repository)


async def test_a_young_wheel_that_is_cut_off_is_told_of_and_shown_once_whole(path: Path) -> None:
    """It is withheld, which the log says once; whole, it is shown within a second."""
    events: list[Event] = []
    async with LocalRepository(path.parent, emit=events.append) as repository:
        for length in (1, 1000, 30_000, len(CUT_OFF)):
            path.write_bytes(WHEEL.content[:length])
            time.sleep(0.6)  # noqa: ASYNC251 - until it is looked at again
            assert (await repository.get_project_page(FOO)).files == ()
        path.write_bytes(WHEEL.content)

        async def shown() -> Any:
            return (await repository.get_project_page(FOO)).files

        (file,) = await soon(shown)
        assert file.core_metadata == {"sha256": WHEEL.metadata_sha256}
    ((name, reason),) = skipped(events)
    assert name == WHEEL.filename
    assert "still being written" in reason
    assert not any(isinstance(event, MetadataUnreadable) for event in events)


async def test_a_wheel_that_stays_cut_off_is_shown_after_a_while(path: Path) -> None:
    """Nobody is writing it any more: it is listed for what it is, and the log says why."""
    events: list[Event] = []
    path.write_bytes(CUT_OFF)
    now = path.stat().st_mtime
    async with LocalRepository(path.parent, emit=events.append, clock=lambda: now) as repository:
        assert (await repository.get_project_page(FOO)).files == ()
        now += 9
        assert (await repository.get_project_page(FOO)).files == ()
        now += 2
        await _has_no_metadata(repository)
    kinds = [type(event).__name__ for event in events if "1.0" in getattr(event, "file", "")]
    assert kinds == ["FileSkipped", "MetadataUnreadable"]


async def test_a_time_in_the_future_does_not_withhold_for_ever(path: Path) -> None:
    """A wheel whose clock is wrong by an hour is not being written for an hour."""
    path.write_bytes(CUT_OFF)
    os.utime(path, (time.time() + 3600,) * 2)
    async with LocalRepository(path.parent) as repository:
        await _has_no_metadata(repository)


async def test_a_metadata_file_shortens_the_wait(path: Path) -> None:
    """It comes with a wheel that is done: what cannot be read then is no use waiting for."""
    path.write_bytes(CUT_OFF)
    beside(path, WHEEL.metadata)
    async with LocalRepository(path.parent) as repository:

        async def shown() -> Any:
            return (await repository.get_project_page(FOO)).files

        (file,) = await soon(shown)
        assert file.core_metadata == {"sha256": WHEEL.metadata_sha256}


async def test_a_file_that_changes_while_it_is_read_is_told_of(path: Path) -> None:
    """It is withheld as long, which the log says, and shown when it is left alone."""
    events: list[Event] = []
    done = threading.Event()

    def touch() -> None:
        while not done.wait(0.0005):
            os.utime(path)

    path.write_bytes(WHEEL.content + bytes(30_000_000))
    touching = threading.Thread(target=touch)
    touching.start()
    try:
        async with LocalRepository(path.parent, emit=events.append) as repository:
            assert (await repository.get_project_page(FOO)).files == ()
            assert any("still being written" in reason for _, reason in skipped(events))
            done.set()
            put(path.parent, WHEEL)

            async def shown() -> Any:
                return (await repository.get_project_page(FOO)).files

            await soon(shown)
    finally:
        done.set()
        touching.join()
