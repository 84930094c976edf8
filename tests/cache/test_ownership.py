"""A folder without our tag is foreign: nothing in it is written, read as ours, or removed.

A cache gets its tag before anything else, at any time and by any process that creates it.
"""

import asyncio
import contextlib
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from simple_repository_server.cache.files import FileCache
from simple_repository_server.disk.folder import CacheFolder
from simple_repository_server.disk.layout import TAG
from simple_repository_server.disk.links import Link
from simple_repository_server.disk.maintenance import clear, prune
from simple_repository_server.disk.ownership import (
    TAG_TEXT,
    ForeignFolder,
    claim,
    has_tag,
    may_be_cache,
)
from simple_repository_server.disk.verify import Verification
from simple_repository_server.names import FileName, ProjectName
from simple_repository_server.observe.events import CacheFailed, Event
from simple_repository_server.sources.http import HttpRepository
from simple_repository_server.testing.distributions import build_wheel
from simple_repository_server.testing.published import publish_json
from simple_repository_server.testing.upstream import Reply, Upstream
from simple_repository_server.transforms.file_cache import FileCacheRepository

pytestmark = pytest.mark.anyio

FOO = ProjectName("foo")
WHEEL = build_wheel("foo", "1.0", files={"foo/data.bin": os.urandom(300_000)}, compressed=False)
NAME = FileName(WHEEL.filename)
PATH = f"/files/{WHEEL.sha256[:2]}/{WHEEL.filename}"
DIGEST = "ab" + "c" * 62


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """A folder of somebody else, with names as ours has them, all of it old."""
    folder = tmp_path / "theirs"
    for name in ("files/ab/" + "c" * 62, "links/ab/" + "c" * 62, "partial/x.partial", "served/foo"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"years of work")
        os.utime(path, (1, 1))
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder."""
    folder = tmp_path / "folder"
    folder.mkdir()
    return folder


def _tree(folder: Path) -> dict[str, tuple[float, int]]:
    return {str(p): (p.stat().st_mtime, p.stat().st_size) for p in folder.rglob("*")}


@pytest.mark.parametrize(
    "harm",
    [
        lambda disk: disk.evict(),
        clear,
        lambda disk: prune(disk, max_bytes=0, unused_s=0),
        lambda disk: list(Verification(disk).run()),
        lambda disk: disk.files.discard(DIGEST),
        lambda disk: disk.entries("links", Link).load("ab", "c" * 62),
        lambda disk: disk.entries("links", Link).discard("ab", "c" * 62),
        lambda disk: asyncio.run(disk.create(10)),
        lambda disk: asyncio.run(disk.write(disk.entries("links", Link).discard, "ab", "c" * 62)),
    ],
    ids=["evict", "clear", "prune", "verify", "file", "broken", "entry", "new", "write"],
)  # fmt: skip
def test_a_foreign_folder_is_never_changed(
    theirs: Path, harm: Callable[[CacheFolder], object]
) -> None:
    """Whatever is done to it as if it were a cache: no file is removed, written or created."""
    before = _tree(theirs)
    disk = CacheFolder(theirs, max_bytes=1)
    with contextlib.suppress(ForeignFolder):
        harm(disk)
    assert _tree(theirs) == before


async def test_a_foreign_folder_that_replaces_the_cache_is_left_unchanged(
    upstream: Upstream, tmp_path: Path, theirs: Path
) -> None:
    """A running server whose folder is replaced by another one serves on without a cache."""
    publish_json(upstream, [WHEEL], max_age=0)
    folder = tmp_path / "cache"
    events: list[Event] = []
    disk = CacheFolder(folder, max_bytes=1_000_000, emit=events.append)
    source = HttpRepository(upstream.simple, cache=disk)
    async with FileCacheRepository(source, FileCache(disk, emit=events.append)) as repository:
        await repository.get_project_page(FOO)
        async with asyncio.timeout(10):
            while not list(folder.glob("pages/*/foo")):  # noqa: ASYNC110  # it is written behind
                await asyncio.sleep(0.01)
        folder.rename(tmp_path / "moved")
        theirs.rename(folder)
        before = _tree(folder)
        async with (await repository.get_resource(FOO, NAME)).open() as body:
            assert b"".join([chunk async for chunk in body.chunks]) == WHEEL.content
        disk.evict()
        await asyncio.sleep(0.1)
    assert _tree(folder) == before
    assert [event.reason for event in events if isinstance(event, CacheFailed)] == [
        "it is not empty and is not a simple-repository-server cache"
    ]


async def test_a_transfer_that_ends_after_the_cache_was_deleted(
    upstream: Upstream, tmp_path: Path
) -> None:
    """It leaves no folder without a tag: the next transfer creates a whole cache."""
    publish_json(upstream, [WHEEL])
    upstream.on(PATH, Reply(body=WHEEL.content, piece_delay_s=0.1))
    folder = tmp_path / "cache"
    disk = CacheFolder(folder)
    async with FileCacheRepository(HttpRepository(upstream.simple), FileCache(disk)) as repository:
        async with (await repository.get_resource(FOO, NAME)).open() as body:
            chunks = aiter(body.chunks)
            got = await anext(chunks)
            shutil.rmtree(folder)
            async for chunk in chunks:
                got += chunk
        assert got == WHEEL.content
    assert not folder.exists() or has_tag(folder)


def _names(folder: Path) -> set[str]:
    try:
        return {path.name for path in folder.iterdir()}
    except FileNotFoundError:
        return set()


def test_a_cache_created_while_it_is_deleted_has_its_tag(tmp_path: Path) -> None:
    """Deleted again and again under several writers, it is always whole, or absent."""
    folder = tmp_path / "cache"
    stop = threading.Event()
    seen: list[set[str]] = []

    def write() -> None:
        disk = CacheFolder(folder)
        link = Link(sha256=DIGEST, size=1, version=None, confirmed_at=0.0)
        while not stop.is_set():
            with contextlib.suppress(OSError):
                claim(folder)
                disk.entries("links", Link).save(link, b"", "ab", "c" * 62)

    threads = [threading.Thread(target=write) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(150):
            with contextlib.suppress(OSError):
                folder.rename(tmp_path / "gone")
                shutil.rmtree(tmp_path / "gone", ignore_errors=True)
            names = _names(folder)
            if names and not has_tag(folder):
                seen.append(names)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not any(seen), "something was there before the tag"
    claim(folder)
    assert has_tag(folder)


@pytest.mark.parametrize("length", [0, 10, len(TAG_TEXT) - 1])
def test_a_truncated_tag_is_completed(folder: Path, length: int) -> None:
    """A process that was killed while it wrote the tag does not make the folder useless."""
    (folder / TAG).write_text(TAG_TEXT[:length])
    assert may_be_cache(folder)
    claim(folder)
    assert has_tag(folder)


@pytest.mark.parametrize("tag", ["other", "", TAG_TEXT + "more", "Signature: 8a477f59"])
def test_a_tag_of_another_program_is_not_ours(folder: Path, tag: str) -> None:
    """Nor is a truncated one beside other files."""
    (folder / TAG).write_text(tag)
    (folder / "files").mkdir()
    with pytest.raises(ForeignFolder):
        claim(folder)
    assert (folder / TAG).read_text() == tag


def _linked(disk: CacheFolder, theirs: Path) -> Iterator[Path]:
    for name in ("files", "links", "partial", "served"):
        path = disk.folder / name
        if path.exists():
            shutil.rmtree(path)
        path.symlink_to(theirs / name)
        yield path


async def test_symbolic_links_in_a_cache_are_not_followed(tmp_path: Path, theirs: Path) -> None:
    """Their targets are somebody else's: not written, evicted or cleared."""
    before = _tree(theirs)
    disk = CacheFolder(tmp_path / "cache", max_bytes=1)
    claim(disk.folder)
    list(_linked(disk, theirs))
    disk.evict()
    link = Link(sha256=DIGEST, size=1, version=None, confirmed_at=0.0)
    with pytest.raises(OSError, match="Not a directory"):
        disk.entries("links", Link).save(link, b"", "dd", "c" * 62)
    prune(disk, max_bytes=0, unused_s=0)
    clear(disk)
    list(Verification(disk).run())
    assert _tree(theirs) == before


async def test_the_cache_folder_may_be_a_symbolic_link(upstream: Upstream, tmp_path: Path) -> None:
    """As operators create them to a larger disk."""
    publish_json(upstream, [WHEEL])
    (tmp_path / "large").mkdir()
    folder = tmp_path / "cache"
    folder.symlink_to(tmp_path / "large")
    disk = CacheFolder(folder)
    async with FileCacheRepository(HttpRepository(upstream.simple), FileCache(disk)) as repository:
        async with (await repository.get_resource(FOO, NAME)).open() as body:
            assert b"".join([chunk async for chunk in body.chunks]) == WHEEL.content
        async with asyncio.timeout(5):
            while not list((tmp_path / "large" / "files").rglob("?" * 62)):  # noqa: ASYNC110 - it is on a disk
                await asyncio.sleep(0.01)
    assert clear(disk).files > 0


def test_a_full_disk_leaves_no_incomplete_cache(folder: Path) -> None:
    """A tag that cannot be written leaves no folder behind, beside it or in its place."""
    command = ["mount", "-t", "tmpfs", "-o", "size=4k,nr_inodes=2", "tmpfs", str(folder)]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("mounting a disk needs more rights")
    try:
        with pytest.raises(OSError, match="No space left"):
            claim(folder / "cache")
        assert list(folder.iterdir()) == []
    finally:
        subprocess.run(["umount", "-l", folder], check=True)
