"""Eviction: the least recently used entries go, those in use stay, and one process does it."""

import asyncio
import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from simple_repository_server.disk.allowance import OverBudget
from simple_repository_server.disk.folder import CacheFolder, FolderTimings
from simple_repository_server.disk.layout import LINKS, LOCK, METADATA, PAGES, PARTIAL
from simple_repository_server.disk.links import Link
from simple_repository_server.disk.metadata_store import MetadataEntry
from simple_repository_server.disk.ownership import claim
from simple_repository_server.disk.page_store import PageHead
from simple_repository_server.disk.partial import PartialFile
from simple_repository_server.disk.usage import ScanPace

DIGESTS = ["aa" + f"{number:062x}" for number in range(3)]


def _cache(folder: Path) -> None:
    """A cache with three files, used an hour ago, of which two fit."""
    disk = CacheFolder(folder)
    claim(folder)
    for number, digest in enumerate(DIGESTS):
        path = disk.files.path(digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(100_000))
        used_at = time.time() - 3600 + 60 * number
        os.utime(path, (used_at, used_at))


@pytest.fixture
def disk(tmp_path: Path) -> CacheFolder:
    """A cache with three files, used an hour ago, of which two fit."""
    _cache(tmp_path / "cache")
    return CacheFolder(tmp_path / "cache", max_bytes=250_000)


def _stored(disk: CacheFolder) -> list[str]:
    return sorted(disk.files.digests())


def test_the_least_recently_used_file_is_evicted(disk: CacheFolder) -> None:
    """A file that was found just now outlives one that was written later and not used since."""
    assert disk.files.find(DIGESTS[0], time.time()) is not None
    disk.evict()
    assert _stored(disk) == [DIGESTS[0], DIGESTS[2]]


def test_files_in_use_are_not_evicted(disk: CacheFolder) -> None:
    """Whatever the budget, what was found a moment ago may be on its way to a client."""
    for digest in DIGESTS:
        disk.files.find(digest, time.time())
    disk.max_bytes = 0
    result = disk.evict()
    assert (result.evicted.files, result.evicted.bytes, result.within_budget) == (0, 0, False)
    assert _stored(disk) == DIGESTS


@pytest.mark.anyio
async def test_files_are_evicted_once_they_are_not_in_use(tmp_path: Path) -> None:
    """While the cache is over its budget eviction is tried again, though nothing is written."""
    _cache(tmp_path / "cache")
    now = time.time()
    disk = CacheFolder(
        tmp_path / "cache",
        max_bytes=250_000,
        clock=lambda: now,
        timings=FolderTimings(first_eviction_s=0.05, next_eviction_s=0.05, eviction_pause_s=0.05),
    )
    for digest in DIGESTS:
        disk.files.find(digest, now)
    async with disk:
        await asyncio.sleep(0.3)
        assert _stored(disk) == DIGESTS, "they are in use"
        now += 60
        async with asyncio.timeout(10):
            while len(_stored(disk)) != 2:  # noqa: ASYNC110 - on disk, where nothing can be awaited
                await asyncio.sleep(0.01)


def test_only_one_process_evicts(disk: CacheFolder) -> None:
    """While another process holds the lock, nothing is removed."""
    with (disk.folder / LOCK).open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        result = disk.evict()
        assert (result.evicted.files, result.within_budget) == (0, False)
    assert _stored(disk) == DIGESTS
    result = disk.evict()
    assert (result.evicted.files, result.within_budget) == (1, True)


@pytest.mark.anyio
async def test_a_hung_process_does_not_lift_the_budget(disk: CacheFolder) -> None:
    """Where nothing can be evicted, because another process hangs meanwhile, writes are refused."""
    with (disk.folder / LOCK).open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        async with disk:
            with pytest.raises(OverBudget):
                await disk.create(50_000)
    assert _stored(disk) == DIGESTS


def test_nothing_is_evicted_offline(disk: CacheFolder) -> None:
    """Entries that could not be fetched again stay, whatever the budget; garbage is removed."""
    offline = CacheFolder(disk.folder, max_bytes=100_000, evicts=False)
    garbage = disk.folder / PARTIAL / "left.partial"
    garbage.parent.mkdir()
    garbage.write_bytes(b"half")
    os.utime(garbage, (1, 1))
    result = offline.evict()
    assert result.evicted.files == 0
    assert result.within_budget, "so that it is not tried again and again"
    assert _stored(disk) == DIGESTS
    assert not garbage.exists()


@pytest.mark.anyio
async def test_closing_abandons_a_long_scan(tmp_path: Path) -> None:
    """An eviction in a large cache stops when its server does, with nothing removed."""
    _cache(tmp_path / "cache")
    pace = ScanPace(batch=1, pause_s=0.5)
    disk = CacheFolder(tmp_path / "cache", max_bytes=0, pace=pace)
    async with disk:
        evicting = asyncio.create_task(disk.run(disk.evict))
        await asyncio.sleep(0.2)
    begun = time.monotonic()
    result = await evicting
    assert result.evicted.files == 0
    assert time.monotonic() - begun < 1
    assert _stored(disk) == DIGESTS


def test_garbage_of_crashed_processes_is_removed(disk: CacheFolder) -> None:
    """An old partial file without a writer is removed; a locked or a young one is not."""
    scratch = disk.folder / PARTIAL
    being_written = PartialFile(scratch)
    being_written.append([b"half"])
    garbage, young = scratch / "left.partial", scratch / "young.partial"
    for path in (garbage, young):
        path.write_bytes(b"half")
    for path in (being_written.path, garbage):
        os.utime(path, (1, 1))
    disk.evict()
    assert sorted(scratch.iterdir()) == sorted([being_written.path, young])
    being_written.close()
    assert not being_written.path.exists()


def test_links_to_evicted_files_are_removed(disk: CacheFolder) -> None:
    """The background eviction leaves no link without its file; the others stay."""
    links = disk.entries(LINKS, Link)
    for number, digest in enumerate(DIGESTS):
        link = Link(sha256=digest, size=100_000, version=None, confirmed_at=0.0)
        links.save(link, b"", "bb", f"{number:062x}")
    assert disk.evict().evicted.files == 1
    found = [links.load_head("bb", f"{number:062x}") for number in range(3)]
    assert [link.sha256 for link in found if link is not None] == DIGESTS[1:]


# --- last use ------------------------------------------------------------------------------------


def _page(disk: CacheFolder, name: str) -> Path:
    disk.entries(PAGES, PageHead).save(PageHead(validated_at=0.0), b"page", "a" * 32, name)
    return disk.folder / PAGES / ("a" * 32) / name


def _metadata(disk: CacheFolder, name: str) -> Path:
    disk.entries(METADATA, MetadataEntry).save(MetadataEntry(), b"metadata", name, "b" * 40)
    return disk.folder / METADATA / name / ("b" * 40)


def _link(disk: CacheFolder, name: str) -> Path:
    link = Link(sha256=DIGESTS[0], size=1, version=None, confirmed_at=0.0)
    key = (name[:1] * 2, name[:1] * 62)
    disk.entries(LINKS, Link).save(link, b"", *key)
    return disk.folder.joinpath(LINKS, *key)


READS: dict[
    str, tuple[Callable[[CacheFolder, str], Path], Callable[[CacheFolder], object | None]]
] = {
    "page": (_page, lambda disk: disk.entries(PAGES, PageHead).load("a" * 32, "dd")),
    "head": (_page, lambda disk: disk.entries(PAGES, PageHead).load_head("a" * 32, "dd")),
    "metadata": (
        _metadata,
        lambda disk: disk.entries(METADATA, MetadataEntry).load("dd", "b" * 40),
    ),
    "link": (_link, lambda disk: disk.entries(LINKS, Link).load_head("dd", "d" * 62)),
}


@pytest.mark.parametrize("kind", READS)
def test_reading_an_entry_counts_as_use(tmp_path: Path, kind: str) -> None:
    """Of two old entries the one that was read stays, also where the kernel records no reads.

    The store opens entries with O_NOATIME, so this is how a `noatime` mount behaves.
    """
    write, read = READS[kind]
    disk = CacheFolder(tmp_path / "cache", max_bytes=6_000)
    claim(disk.folder)
    disk.files.path(DIGESTS[0]).parent.mkdir(parents=True)
    disk.files.path(DIGESTS[0]).touch()
    paths = {name: write(disk, name) for name in ("cc", "dd")}
    for name, age_s in (("cc", 3600.0), ("dd", 7200.0)):
        used_at = time.time() - age_s
        os.utime(paths[name], (used_at, used_at))
    assert read(disk) is not None
    disk.evict()
    assert [name for name, path in paths.items() if path.exists()] == ["dd"]


def test_last_use_is_written_once_a_minute(tmp_path: Path) -> None:
    """An entry that is read all the time costs one `utime` a minute; its content keeps its time."""
    now = time.time()
    disk = CacheFolder(tmp_path / "cache", clock=lambda: now)
    claim(disk.folder)
    path = _page(disk, "foo")
    os.utime(path, (1000.0, 1000.0))
    pages = disk.entries(PAGES, PageHead)
    times = []
    for elapsed in (0.0, 30.0, 31.0):
        now += elapsed
        assert pages.load("a" * 32, "foo") is not None
        times.append(round(path.stat().st_atime - now))
    assert times == [0, -30, 0]
    assert path.stat().st_mtime == 1000.0


def test_listing_entries_does_not_count_as_use(tmp_path: Path) -> None:
    """What is described for a list of all entries keeps its place in the LRU order."""
    disk = CacheFolder(tmp_path / "cache")
    claim(disk.folder)
    path = _page(disk, "foo")
    os.utime(path, (1000.0, 1000.0))
    assert disk.entries(PAGES, PageHead).describe("a" * 32, "foo") is not None
    assert path.stat().st_atime == 1000.0
