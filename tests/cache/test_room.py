"""Making room: the oldest goes, what is in use stays, and one process does it."""

import asyncio
import fcntl
import os
import time
from pathlib import Path

import pytest

from simple_repository_server.disk.allowance import OverBudget
from simple_repository_server.disk.folder import CacheFolder
from simple_repository_server.disk.ownership import claim
from simple_repository_server.disk.partial import PartialFile

NAMES = ["aa" + f"{number:062x}" for number in range(3)]


@pytest.fixture
def disk(tmp_path: Path) -> CacheFolder:
    """A cache with three files, used an hour ago, of which two fit."""
    disk = CacheFolder(tmp_path / "cache", max_bytes=250_000)
    claim(disk.folder)
    for number, name in enumerate(NAMES):
        path = disk.files.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(100_000))
        used_at = time.time() - 3600 + 60 * number
        os.utime(path, (used_at, used_at))
    return disk


def _there(disk: CacheFolder) -> list[str]:
    return sorted(disk.files.digests())


def test_what_was_used_is_not_the_oldest(disk: CacheFolder) -> None:
    """A file that was found just now outlives one that came later and was not."""
    assert disk.files.find(NAMES[0], time.time()) is not None
    disk.prune()
    assert _there(disk) == [NAMES[0], NAMES[2]]


def test_what_is_in_use_stays(disk: CacheFolder) -> None:
    """Whatever the budget, what was found a moment ago may be on its way to a client."""
    for name in NAMES:
        disk.files.find(name, time.time())
    disk.max_bytes = 0
    made = disk.prune()
    assert (made.files, made.bytes, made.enough) == (0, 0, False)
    assert _there(disk) == NAMES


@pytest.mark.anyio
async def test_what_was_in_use_goes_when_it_is_not(
    disk: CacheFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as it is too much room is made again and again, though nothing more is written."""
    monkeypatch.setattr("simple_repository_server.disk.folder._PRUNE_FIRST_S", 0.05)
    monkeypatch.setattr("simple_repository_server.disk.folder._PRUNE_AGAIN_S", 0.05)
    now = time.time()
    for name in NAMES:
        disk.files.find(name, now)
    disk.clock = lambda: now
    async with disk:
        await asyncio.sleep(0.2)
        assert _there(disk) == NAMES, "it is in use"
        now += 60
        for _ in range(50):
            await asyncio.sleep(0.1)
            if len(_there(disk)) < len(NAMES):
                break
        assert len(_there(disk)) == 2


def test_one_process_makes_room(disk: CacheFolder) -> None:
    """While another one is at it, nothing is removed."""
    with (disk.folder / "lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        made = disk.prune()
        assert (made.files, made.bytes, made.enough) == (0, 0, False)
    assert _there(disk) == NAMES
    made = disk.prune()
    assert (made.files, made.enough) == (1, True)


@pytest.mark.anyio
async def test_a_hung_process_does_not_lift_the_budget(disk: CacheFolder) -> None:
    """Where nothing can be evicted, as another process is at it for ever, no more is written."""
    with (disk.folder / "lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        async with disk:
            with pytest.raises(OverBudget):
                await disk.create(50_000)
    assert _there(disk) == NAMES


def test_what_cannot_be_fetched_again_stays(disk: CacheFolder) -> None:
    """Offline, nothing is evicted, whatever the budget; only what a crash left behind goes."""
    offline = CacheFolder(disk.folder, max_bytes=100_000, evicts=False)
    left = disk.folder / "partial" / "left.partial"
    left.parent.mkdir()
    left.write_bytes(b"half")
    os.utime(left, (1, 1))
    made = offline.prune()
    assert (made.files, made.enough) == (0, True), "and it is not tried again and again"
    assert _there(disk) == NAMES
    assert not left.exists()


@pytest.mark.anyio
async def test_the_end_does_not_wait_for_a_long_walk(
    disk: CacheFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread that makes room in a large cache stops with its server, with nothing removed."""
    monkeypatch.setattr("simple_repository_server.disk.room._AT_ONCE", 1)
    monkeypatch.setattr("simple_repository_server.disk.room._PAUSE_S", 0.5)
    disk.max_bytes = 0
    async with disk:
        making = asyncio.create_task(disk.run(disk.prune))
        await asyncio.sleep(0.2)
    begun = time.monotonic()
    made = await making
    assert made.files == 0
    assert time.monotonic() - begun < 1
    assert _there(disk) == NAMES


def test_what_a_crash_left_behind_goes(disk: CacheFolder) -> None:
    """An old file that nobody writes any more is removed; one in the works is not, nor a young."""
    scratch = disk.folder / "partial"
    working = PartialFile(scratch)
    working.append([b"half"])
    left, young = scratch / "left.partial", scratch / "young.partial"
    for path in (left, young):
        path.write_bytes(b"half")
    for path in (working.path, left):
        os.utime(path, (1, 1))
    disk.prune()
    assert sorted(scratch.iterdir()) == sorted([working.path, young])
    working.close()
    assert not working.path.exists()
