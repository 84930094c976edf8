"""Files held in memory or open are the verified ones, for a bounded time and in bounded memory."""

import asyncio
import gc
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typing_extensions import override

from simple_repository_server.errors import SourceUnavailable
from simple_repository_server.resource import FileKey, PathResource
from simple_repository_server.web.open_files import OpenFile, OpenFiles, SmallFile

pytestmark = pytest.mark.anyio

SMALL, LARGE = b"s" * 100, b"L" * 5_000
#: What is small; and what each entry in memory counts beside its bytes.
LIMIT, BESIDE = 1_000, 1_500


class Clock:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


class Watched(PathResource):
    """A file of which it is counted how often it is opened."""

    opened = 0

    @override
    def open_checked(self) -> BinaryIO:
        self.opened += 1
        return super().open_checked()


def _resource(path: Path, *, sha256: str | None = None) -> Watched:
    stat = path.stat()
    return Watched(
        path,
        size=stat.st_size,
        mtime_ns=stat.st_mtime_ns,
        inode=stat.st_ino,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest() if sha256 is None else sha256,
    )


def _key(resource: PathResource) -> FileKey:
    assert resource.file_key is not None
    return resource.file_key


def _written(folder: Path, name: str, content: bytes) -> Watched:
    path = folder / name
    path.write_bytes(content)
    return _resource(path)


def _descriptors(*paths: Path) -> int:
    """How many descriptors of this process are those files, replaced and deleted ones too."""
    found = [os.path.realpath(entry) for entry in Path("/proc/self/fd").iterdir()]
    return sum(name.removesuffix(" (deleted)") in map(str, paths) for name in found)


async def _until_closed(path: Path, within_s: float = 3.0) -> None:
    """Wait until no descriptor is that file: loop and thread hold for a moment what they return."""
    async with asyncio.timeout(within_s):
        while _descriptors(path):  # noqa: ASYNC110 - nobody would tell
            await asyncio.sleep(0.001)


def _bytes(found: SmallFile | OpenFile | None) -> bytes | None:
    if isinstance(found, OpenFile):
        return os.pread(found.fd, found.key.size + 1, 0)
    return None if found is None else found.content


def _weight(size: int) -> int:
    """What a small file counts: its bytes, a copy of them behind the head of its answer."""
    return 2 * size + BESIDE


@pytest.fixture
def clock() -> Clock:
    """What `files` knows of time."""
    return Clock()


@pytest.fixture
def files(clock: Clock) -> OpenFiles:
    """Small files are those of up to 1000 bytes; there is memory for three of 100 bytes."""
    return OpenFiles(small_bytes=LIMIT, memory_bytes=3 * _weight(len(SMALL)), clock=clock)


# --- in memory -----------------------------------------------------------------------------------


async def test_a_small_file_is_read_once_and_not_held_open(
    tmp_path: Path, files: OpenFiles
) -> None:
    """Its bytes are in memory from the first time on, and no descriptor is left."""
    resource = _written(tmp_path, "a", SMALL)
    assert files.peek(_key(resource)) is None
    assert _bytes(await files.get(resource, _key(resource))) == SMALL
    assert _bytes(files.peek(_key(resource))) == SMALL
    assert _bytes(await files.get(resource, _key(resource))) == SMALL
    assert resource.opened == 1
    assert _descriptors(resource.path) == 0


async def test_a_small_file_without_its_digest_is_not_served(
    tmp_path: Path, files: OpenFiles
) -> None:
    """Bytes that are not those of the digest are refused each time, and never in memory."""
    (tmp_path / "a").write_bytes(SMALL)
    resource = _resource(tmp_path / "a", sha256="0" * 64)
    for _ in range(2):
        with pytest.raises(SourceUnavailable, match="digest"):
            await files.get(resource, _key(resource))
        assert files.peek(_key(resource)) is None
    assert _descriptors(resource.path) == 0


async def test_memory_is_bounded(tmp_path: Path, files: OpenFiles) -> None:
    """What was used least recently is evicted when there is no room for another file."""
    resources = [_written(tmp_path, f"{n}", SMALL) for n in range(4)]
    for resource in resources[:3]:
        await files.get(resource, _key(resource))
    assert _bytes(files.peek(_key(resources[0]))) == SMALL  # used: the next one is the oldest now
    await files.get(resources[3], _key(resources[3]))
    there = [files.peek(_key(resource)) is not None for resource in resources]
    assert there == [True, False, True, True]


async def test_file_larger_than_the_memory_is_sent_from_its_descriptor(tmp_path: Path) -> None:
    """However small it counts, a file that would not stay in memory is sent from its descriptor."""
    files = OpenFiles(small_bytes=10 * LIMIT, memory_bytes=_weight(LIMIT))
    fits, exceeds = _written(tmp_path, "a", bytes(LIMIT)), _written(tmp_path, "b", bytes(LIMIT + 1))
    assert isinstance(await files.get(fits, _key(fits)), SmallFile)
    assert _bytes(files.peek(_key(fits))) == bytes(LIMIT)
    assert isinstance(await files.get(exceeds, _key(exceeds)), OpenFile)
    assert isinstance(files.peek(_key(exceeds)), OpenFile)


@settings(max_examples=30, deadline=None)
@given(sizes=st.lists(st.integers(0, LIMIT + 1), max_size=12))
def test_memory_stays_within_its_budget(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int]
) -> None:
    """Whatever the sizes, all is served as it is, and what stays takes no more than it may."""
    folder, budget = tmp_path_factory.mktemp("sizes"), 3_000

    async def check() -> None:
        files = OpenFiles(small_bytes=LIMIT, memory_bytes=budget)
        resources = [_written(folder, f"{n}", bytes(size)) for n, size in enumerate(sizes)]
        for resource, size in zip(resources, sizes, strict=True):
            assert _bytes(await files.get(resource, _key(resource))) == bytes(size)
        there = [size for r, size in zip(resources, sizes, strict=True)
                 if isinstance(files.peek(_key(r)), SmallFile)]  # fmt: skip
        assert sum(map(_weight, there)) <= budget

    asyncio.run(check())


# --- held open -----------------------------------------------------------------------------------


async def test_a_large_file_is_opened_once(tmp_path: Path, files: OpenFiles) -> None:
    """One descriptor serves all who ask while it is held."""
    resource = _written(tmp_path, "a", LARGE)
    assert files.peek(_key(resource)) is None
    first = await files.get(resource, _key(resource))
    assert _bytes(first) == LARGE
    assert files.peek(_key(resource)) is first
    assert await files.get(resource, _key(resource)) is first
    assert (resource.opened, _descriptors(resource.path)) == (1, 1)


@pytest.mark.parametrize("content", [SMALL, LARGE])
async def test_concurrent_requests_open_a_file_once(
    tmp_path: Path, files: OpenFiles, content: bytes
) -> None:
    """A file that is requested many times at once is opened once for all."""
    resource = _written(tmp_path, "a", content)
    found = await asyncio.gather(*(files.get(resource, _key(resource)) for _ in range(20)))
    assert {id(one) for one in found} == {id(found[0])}
    assert _bytes(found[0]) == content
    assert resource.opened == 1


async def test_unused_file_is_closed_after_a_while(
    tmp_path: Path, files: OpenFiles, clock: Clock
) -> None:
    """Seconds after its last use, not its first, its descriptor is closed."""
    resource = _written(tmp_path, "a", LARGE)
    await files.get(resource, _key(resource))
    for _ in range(3):
        clock.now += 4
        assert files.peek(_key(resource)) is not None
    clock.now += 6
    files.evict()
    await _until_closed(resource.path)
    assert files.peek(_key(resource)) is None


async def test_file_that_is_no_longer_requested_is_closed_by_a_timer(tmp_path: Path) -> None:
    """A timer closes what is held, as nobody else would come to do it."""
    clock = Clock()
    files = OpenFiles(small_bytes=0, clock=clock)
    resource = _written(tmp_path, "a", LARGE)
    await files.get(resource, _key(resource))
    clock.now += 60
    await _until_closed(resource.path, within_s=20)


async def test_a_file_that_is_being_sent_stays_open(
    tmp_path: Path, files: OpenFiles, clock: Clock
) -> None:
    """Whoever holds a file can send it, evicted or not; with the last of them it is closed."""
    resource = _written(tmp_path, "a", LARGE)
    held = await files.get(resource, _key(resource))
    clock.now += 60
    files.evict()
    assert files.peek(_key(resource)) is None
    resource.path.unlink()
    assert _bytes(held) == LARGE
    assert _descriptors(resource.path) == 1
    del held
    await _until_closed(resource.path)


async def test_few_files_are_held_at_once(tmp_path: Path, files: OpenFiles) -> None:
    """Of many the ones used last are held: descriptors are for connections."""
    resources = [_written(tmp_path, f"{n}", LARGE) for n in range(80)]
    for resource in resources:
        await files.get(resource, _key(resource))
        assert files.peek(_key(resources[0])) is not None
    assert _descriptors(*(resource.path for resource in resources)) == 64
    there = [n for n, r in enumerate(resources) if files.peek(_key(r)) is not None]
    assert there == [0, *range(17, 80)]


def test_files_left_behind_are_closed_without_a_warning(tmp_path: Path) -> None:
    """Whatever holds a file may be garbage in a cycle: its descriptor goes with it."""
    resource = _written(tmp_path, "a", LARGE)

    async def leave() -> None:
        files = OpenFiles(small_bytes=0)
        cycle: list[object] = [await files.get(resource, _key(resource)), files]
        cycle.append(cycle)

    asyncio.run(leave())
    gc.collect()
    assert _descriptors(resource.path) == 0


# --- changed -------------------------------------------------------------------------------------


def _replace(path: Path) -> None:
    aside = path.with_name("aside")
    aside.write_bytes(path.read_bytes()[::-1] + b"new")
    aside.rename(path)


def _truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2 + 1)


def _grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def _touch(path: Path) -> None:
    os.utime(path, (1, 1))


CHANGES = [_replace, _truncate, _grow, _touch]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("content", [SMALL, LARGE])
async def test_changed_file_is_served_with_its_new_bytes(
    tmp_path: Path, files: OpenFiles, content: bytes, change: Callable[[Path], None]
) -> None:
    """Once the change was noticed its new bytes are served, however long the old ones are held."""
    old = _written(tmp_path, "a", content)
    await files.get(old, _key(old))
    change(old.path)
    new = _resource(old.path)
    assert files.peek(_key(new)) is None
    assert _bytes(await files.get(new, _key(new))) == old.path.read_bytes()
    assert _bytes(files.peek(_key(new))) == old.path.read_bytes()
    assert _bytes(files.peek(_key(old))) in {None, content}


@pytest.mark.parametrize("change", [_truncate, _grow, _touch])
async def test_file_changed_in_place_is_closed(
    tmp_path: Path, files: OpenFiles, change: Callable[[Path], None]
) -> None:
    """What was held open is no more what was checked: it is closed, and not opened again."""
    resource = _written(tmp_path, "a", LARGE)
    await files.get(resource, _key(resource))
    change(resource.path)
    assert files.peek(_key(resource)) is None
    await _until_closed(resource.path)
    with pytest.raises(SourceUnavailable):
        await files.get(resource, _key(resource))


async def test_a_replaced_file_that_is_held_stays_what_it_was(
    tmp_path: Path, files: OpenFiles, clock: Clock
) -> None:
    """Another file in its place does not touch the one that is open; later it cannot be had."""
    resource = _written(tmp_path, "a", LARGE)
    await files.get(resource, _key(resource))
    _replace(resource.path)
    assert _bytes(files.peek(_key(resource))) == LARGE
    clock.now += 60
    with pytest.raises(SourceUnavailable):
        await files.get(resource, _key(resource))


@pytest.mark.parametrize("change", [*CHANGES, Path.unlink])
@pytest.mark.parametrize("content", [SMALL, LARGE])
async def test_a_file_that_changed_before_it_was_opened_is_not_served(
    tmp_path: Path, files: OpenFiles, content: bytes, change: Callable[[Path], None]
) -> None:
    """Neither the old bytes nor the new ones go out for what was looked at."""
    resource = _written(tmp_path, "a", content)
    change(resource.path)
    with pytest.raises(SourceUnavailable):
        await files.get(resource, _key(resource))
    assert _descriptors(resource.path) == 0
