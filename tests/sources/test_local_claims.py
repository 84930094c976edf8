"""A local directory does not give its private names away, whatever became of their files."""

import asyncio
import os
import shutil
import subprocess
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from simple_repository_server import (
    LocalRepository,
    MemoryRepository,
    PrioritySelectedProjectsRepository,
    ProjectName,
)
from simple_repository_server.errors import ProjectNotFound, SourceUnavailable
from simple_repository_server.observe.events import Event, SourceFailed, SourceRecovered
from simple_repository_server.sources.local_entries import Found
from simple_repository_server.sources.local_facts import DigestStore, SeenRoot
from simple_repository_server.sources.local_root import judge
from simple_repository_server.sources.local_tree import Listing
from simple_repository_server.testing.distributions import build_wheel
from tests.local_tree import FOO, put, skipped, soon

pytestmark = pytest.mark.anyio

WHEEL = build_wheel("foo", "1.0")
STOLEN = build_wheel("foo", "99.0")
OTHER = build_wheel("other")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A directory with one project, which is not foo."""
    path = tmp_path / "packages"
    put(path, OTHER)
    return path


@asynccontextmanager
async def _before_a_public_index(
    folder: Path, **options: Any
) -> AsyncIterator[PrioritySelectedProjectsRepository]:
    """The directory first, an index with another foo second."""
    public = MemoryRepository()
    public.add(STOLEN.filename, STOLEN.content)
    local = LocalRepository(folder, **options)
    async with PrioritySelectedProjectsRepository([local, public]) as repository:
        yield repository


# --- names that are claimed ----------------------------------------------------------------------


def _folder_link_out(folder: Path) -> None:
    put(folder.parent / "outside", WHEEL)
    (folder / "foo").symlink_to(folder.parent / "outside")


def _unusable_files(folder: Path) -> None:
    put(folder, WHEEL, "foo/foo.whl")
    put(folder, WHEEL, "foo/README.md")
    put(folder, WHEEL, "foo/foo-1.0.exe")


def _file_link_out(folder: Path) -> None:
    (folder / "any" / WHEEL.filename).parent.mkdir()
    outside = put(folder.parent / "outside", WHEEL)
    (folder / "any" / WHEEL.filename).symlink_to(outside)


CLAIMS: dict[str, Callable[[Path], object]] = {
    "an empty folder": lambda folder: (folder / "foo").mkdir(),
    "a folder spelt otherwise": lambda folder: (folder / "FOO").mkdir(),
    "a folder of unusable files": _unusable_files,
    "a folder of another project's": lambda folder: put(folder / "foo", build_wheel("bar")),
    "a link to a folder outside": _folder_link_out,
    "a link to a folder that is away": lambda folder: (folder / "foo").symlink_to("/nowhere/foo"),
    "a link to a file outside": _file_link_out,
    "a link to nothing": lambda folder: (folder / WHEEL.filename).symlink_to("/nowhere/foo.whl"),
    "a wheel without tags": lambda folder: put(folder, WHEEL, "foo-1.0.whl"),
    "a wheel without a version": lambda folder: put(folder, WHEEL, "foo.whl"),
    "an sdist without a version": lambda folder: put(folder, WHEEL, "any/foo.tar.gz"),
    "a file being written": lambda folder: put(folder, WHEEL, f"{WHEEL.filename}.part"),
    "a name that is no text": lambda folder: put(folder, WHEEL, "foo-1.0\udcff.tar.gz"),
    "a pipe": lambda folder: os.mkfifo(folder / "foo-1.0.tar.gz"),
    "a name nobody can ask for": lambda folder: put(folder, WHEEL, "foo-1.0\n-py3-none-any.whl"),
}


@pytest.mark.parametrize("what", CLAIMS)
async def test_a_claimed_name_is_a_page_without_files(folder: Path, what: str) -> None:
    """Never somebody else's package, though there is nothing of it that can be served."""
    CLAIMS[what](folder)
    async with _before_a_public_index(folder) as repository:
        page = await repository.get_project_page(FOO)
        assert page.files == ()
        assert repository.peek_project_page(FOO) is page
        assert await repository.get_project_page(FOO) is page


async def test_what_only_claims_a_name_is_not_listed(folder: Path) -> None:
    """The list is of projects that have files."""
    (folder / "foo").mkdir()
    async with LocalRepository(folder) as repository:
        assert (await repository.get_project_list()).names == ("other",)


@pytest.mark.parametrize("name", [".git", "-", "a b", "lost+found", "deep/foo"])
async def test_other_folders_claim_nothing(folder: Path, name: str) -> None:
    """Only one directly below the root, whose name a project can have."""
    (folder / name).mkdir(parents=True)
    async with _before_a_public_index(folder) as repository:
        assert len((await repository.get_project_page(FOO)).files) == 1


async def test_a_claim_ends_with_what_made_it(folder: Path) -> None:
    """A folder that is removed, and not replaced, releases its name."""
    (folder / "foo").mkdir()
    async with LocalRepository(folder) as repository:
        assert (await repository.get_project_page(FOO)).files == ()
        (folder / "foo").rmdir()

        async def released() -> bool:
            try:
                await repository.get_project_page(FOO)
            except ProjectNotFound:
                return True
            return False

        await soon(released)


async def test_a_folder_that_is_being_replaced_claims_its_name(folder: Path) -> None:
    """Moved away and another one moved in, again and again: the other index is never asked."""
    put(folder / "foo", WHEEL)
    done = threading.Event()

    def replace() -> None:
        while not done.wait(0.05):
            put(folder / ".new", WHEEL)
            (folder / "foo").rename(folder / ".old")
            done.wait(0.05)
            (folder / ".new").rename(folder / "foo")
            shutil.rmtree(folder / ".old")

    replacing = threading.Thread(target=replace)
    seen: set[str] = set()
    now = 1e9
    try:
        async with _before_a_public_index(folder, clock=lambda: now) as repository:
            await repository.get_project_list()
            replacing.start()
            for _ in range(150):
                now += 1  # each time it is looked at anew
                seen.update(
                    file.filename for file in (await repository.get_project_page(FOO)).files
                )
                await asyncio.sleep(0.01)
    finally:
        done.set()
        replacing.join()
    assert seen == {WHEEL.filename}


# --- a directory that is suddenly empty ----------------------------------------------------------

_ON_1, _ON_2 = (
    Listing({FOO: (Found(WHEEL.filename, "/p"),)}, device=device)  # type: ignore[arg-type]
    for device in (1, 2)
)
_CLAIMS_1, _CLAIMS_2 = Listing({FOO: ()}, device=1), Listing({FOO: ()}, device=2)
_EMPTY_1, _EMPTY_2 = Listing({}, device=1), Listing({}, device=2)
_LEFT_LYING, _MEANT_1 = (Listing({}, device=1, marked_empty_ns=ns) for ns in (10, 11))


@pytest.mark.parametrize(
    ("listing", "had_on", "is_fine", "remembered"),
    [
        (_EMPTY_1, None, True, None),
        (_MEANT_1, None, True, None),
        (_ON_1, None, True, 1),
        (_CLAIMS_1, None, True, 1),
        (_ON_1, 1, True, 1),
        (_ON_2, 1, True, 2),
        (_CLAIMS_1, 1, True, 1),
        (_CLAIMS_2, 1, False, 1),
        (_EMPTY_1, 1, False, 1),
        (_EMPTY_2, 1, False, 1),
        (_MEANT_1, 1, True, None),
        (_LEFT_LYING, 1, False, 1),
    ],
)
def test_the_decision(
    listing: Listing, had_on: int | None, is_fine: bool, remembered: int | None
) -> None:
    """What never had anything may be empty; what had may not, nor change its device for nothing."""
    before = None if had_on is None else SeenRoot(device=had_on, since_ns=10)
    verdict = judge(listing, before, 20)
    since_ns = 20 if before is None else 10
    kept = None if remembered is None else SeenRoot(device=remembered, since_ns=since_ns)
    assert (verdict.problem == "", verdict.seen) == (is_fine, kept)


async def _unavailable(repository: LocalRepository) -> bool:
    try:
        await repository.get_project_page(FOO)
    except SourceUnavailable:
        return True
    return False


def _emptied(folder: Path) -> None:
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


async def test_a_directory_that_never_had_anything_is_empty(tmp_path: Path) -> None:
    """Nothing is wrong with an empty directory, also after a restart, until it had something."""
    for _ in range(2):
        store = DigestStore(tmp_path / "digests.sqlite")
        (tmp_path / "empty").mkdir(exist_ok=True)
        async with _before_a_public_index(tmp_path / "empty", digests=store) as repository:
            assert len((await repository.get_project_page(FOO)).files) == 1
            assert repository.source_states()[0].available is True


async def test_a_directory_that_is_suddenly_empty_is_unavailable(
    folder: Path, tmp_path: Path
) -> None:
    """It fails closed, says once what to do, also after a restart, until it has something."""
    put(folder / "foo", WHEEL)
    events: list[Event] = []
    for run in range(2):
        store = DigestStore(tmp_path / "digests.sqlite")
        async with LocalRepository(folder, digests=store, emit=events.append) as repository:
            if run == 0:
                assert (await repository.get_project_page(FOO)).files
                _emptied(folder)
            await soon(lambda: _unavailable(repository))
            with pytest.raises(SourceUnavailable, match=r"touch a file called \.empty"):
                await repository.get_project_list()
            assert repository.peek_project_list() is None
            (state,) = repository.source_states()
            assert state.available is False
            assert "not mounted" in state.detail
            if run == 1:
                put(folder, OTHER)

                async def back() -> bool:
                    return (await repository.get_project_list()).names == ("other",)

                await soon(back)
    told = [type(event) for event in events if isinstance(event, SourceFailed | SourceRecovered)]
    assert told == [SourceFailed, SourceFailed, SourceRecovered]


async def test_what_one_server_saw_another_one_knows(tmp_path: Path) -> None:
    """One that looked neither before nor while there was something does not believe it is empty."""
    folder = tmp_path / "empty"
    folder.mkdir()
    stores = [DigestStore(tmp_path / "digests.sqlite") for _ in range(2)]
    async with (
        LocalRepository(folder, digests=stores[0]) as seeing,
        _before_a_public_index(folder, digests=stores[1]) as looking_away,
    ):
        assert len((await looking_away.get_project_page(FOO)).files) == 1
        put(folder / "foo", WHEEL)
        await soon(lambda: seeing.get_project_page(FOO))
        _emptied(folder)
        await asyncio.sleep(0.6)
        with pytest.raises(SourceUnavailable, match="not mounted"):
            await looking_away.get_project_page(FOO)


async def test_a_directory_that_is_empty_on_purpose_is_empty(folder: Path, tmp_path: Path) -> None:
    """A file `.empty` in it says so; it holds when that is gone again, and after a restart."""
    store = DigestStore(tmp_path / "digests.sqlite")
    async with LocalRepository(folder, digests=store) as repository:
        await repository.get_project_list()
        _emptied(folder)
        await soon(lambda: _unavailable(repository))
        (folder / ".empty").touch()

        async def empty() -> bool:
            return (await repository.get_project_list()).names == ()

        await soon(empty)
        with pytest.raises(ProjectNotFound):
            await repository.get_project_page(FOO)
    (folder / ".empty").unlink()
    again = DigestStore(tmp_path / "digests.sqlite")
    async with LocalRepository(folder, digests=again) as repository:
        assert (await repository.get_project_list()).names == ()


async def test_a_marker_is_no_standing_permission(tmp_path: Path) -> None:
    """A `.empty` that lay there before there were projects counts only when touched again."""
    folder = tmp_path / "packages"
    folder.mkdir()
    marker = folder / ".empty"
    async with LocalRepository(folder) as repository:
        marker.touch()
        os.utime(marker, (1_000_000_000, 1_000_000_000))
        put(folder / "foo", WHEEL)
        await soon(lambda: repository.get_project_page(FOO))
        shutil.rmtree(folder / "foo")
        await soon(lambda: _unavailable(repository))
        marker.touch()

        async def empty() -> bool:
            return (await repository.get_project_list()).names == ()

        await soon(empty)


async def test_another_disk_in_its_place_has_to_have_files(tmp_path: Path) -> None:
    """What is mounted where the projects were is not believed for an empty folder in it."""
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system to try it on")
    disk, mount = tmp_path / "disk", tmp_path / "mount"
    put(disk / "foo", WHEEL)
    mount.symlink_to(disk)
    other = Path(shutil.copytree(disk, memory / f"srs-{tmp_path.name}-{id(mount)}"))
    try:
        async with LocalRepository(mount) as repository:
            assert (await repository.get_project_page(FOO)).files
            (tmp_path / "next").symlink_to(other)
            (tmp_path / "next").replace(mount)
            await asyncio.sleep(0.6)
            assert (await repository.get_project_page(FOO)).files, "with files it is believed"
        (other / "foo" / WHEEL.filename).unlink()
        mount.unlink()
        mount.symlink_to(disk)
        async with LocalRepository(mount) as repository:
            assert (await repository.get_project_page(FOO)).files
            (tmp_path / "next").symlink_to(other)
            (tmp_path / "next").replace(mount)
            await soon(lambda: _unavailable(repository))
            assert "another device" in repository.source_states()[0].detail
    finally:
        shutil.rmtree(other)


async def test_a_state_is_found_out_though_nobody_installs(folder: Path) -> None:
    """Who only asks for the state, as a load balancer does, is told of an emptied directory."""
    async with LocalRepository(folder) as repository:
        await repository.get_project_list()
        _emptied(folder)

        async def told() -> bool:
            return repository.source_states()[0].available is False

        await soon(told)


async def test_a_skipped_name_that_claims_is_said(folder: Path) -> None:
    """Why a page is empty stands in the log."""
    events: list[Event] = []
    put(folder, WHEEL, "foo-1.0.whl")
    async with LocalRepository(folder, emit=events.append) as repository:
        assert (await repository.get_project_page(ProjectName("foo"))).files == ()
    assert [name for name, _ in skipped(events)] == ["foo-1.0.whl"]


def _succeeds(*command: str) -> bool:
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


async def test_a_disk_mounted_deeper_that_is_gone_releases_no_name(tmp_path: Path) -> None:
    """Below the root, too, a folder that was on another device and is empty now is not believed."""
    root, disk = tmp_path / "packages", tmp_path / "packages" / "team" / "disk"
    disk.mkdir(parents=True)
    put(root, OTHER)
    if not _succeeds("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)):
        pytest.skip("mounting a disk needs more rights")
    try:
        put(disk, WHEEL)
        async with _before_a_public_index(root) as repository:
            await repository.get_project_list()
            assert _succeeds("umount", "-l", str(disk))
            await asyncio.sleep(0.6)
            for _ in range(2):
                with pytest.raises(SourceUnavailable):
                    await repository.get_project_page(FOO)
                await asyncio.sleep(0.6)
            assert (await repository.get_project_page(ProjectName("other"))).files
            put(disk, WHEEL)
            await soon(lambda: repository.get_project_page(FOO))
    finally:
        _succeeds("umount", "-l", str(disk))
