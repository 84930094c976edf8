"""Nothing outside of the tree is read, at whatever moment a link is turned to it."""

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from simple_repository_server import FileName, LocalRepository, ProjectName
from simple_repository_server.errors import ProjectNotFound, ResourceNotFound, SourceUnavailable
from simple_repository_server.observe.events import Event
from simple_repository_server.opening import LeadsOut, open_regular, stat_beneath, wait_for_tick
from simple_repository_server.testing.distributions import build_wheel
from simple_repository_server.web.open_files import OpenFiles
from tests.local_tree import FOO, content_of, put, skipped, soon

pytestmark = pytest.mark.anyio

WHEEL = build_wheel("foo", "1.0")
NAME = FileName(WHEEL.filename)
SECRET = build_wheel("foo", "1.0", requires=["secret"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A directory in which a wheel is reached by links, all of them within it."""
    path = tmp_path / "packages"
    put(path, WHEEL, f"pool/{NAME}")
    (path / "hop").symlink_to(path / "pool" / NAME)
    (path / "foo").mkdir()
    (path / "foo" / NAME).symlink_to("../hop")
    (path / "pool" / NAME).rename(path / "pool" / "a")
    (path / "hop").unlink()
    (path / "hop").symlink_to(path / "pool" / "a")
    return path


def _turn(link: Path, target: Path) -> None:
    aside = link.with_name("aside")
    aside.symlink_to(target)
    aside.replace(link)


def _outside(folder: Path) -> Path:
    """The very file, by a hard link outside: nothing but its path tells that it is not ours."""
    outside = folder.parent / "outside"
    outside.mkdir()
    (outside / NAME).hardlink_to(folder / "pool" / "a")
    return outside / NAME


def _turn_the_link(folder: Path) -> None:
    _turn(folder / "foo" / NAME, _outside(folder))


def _turn_a_link_on_the_way(folder: Path) -> None:
    _turn(folder / "hop", _outside(folder))


def _move_the_folder_out(folder: Path) -> None:
    (folder / "foo" / NAME).unlink()
    (folder / "foo" / NAME).hardlink_to(folder / "pool" / "a")
    (folder / "foo").rename(folder.parent / "outside")
    (folder / "foo").symlink_to(folder.parent / "outside")


CHANGES = [_turn_the_link, _turn_a_link_on_the_way, _move_the_folder_out]


@pytest.mark.parametrize("change", CHANGES)
async def test_a_file_that_was_found_is_not_opened_outside(
    folder: Path, change: Callable[[Path], None]
) -> None:
    """Not though it is the same file: between the look and the opening, its way led out."""
    async with LocalRepository(folder) as repository:
        resource = await repository.get_resource(FOO, NAME)
        assert await content_of(repository, NAME) == WHEEL.content
        change(folder)
        with pytest.raises(SourceUnavailable, match="leads out"):
            resource.open_checked()
        with pytest.raises(SourceUnavailable, match="leads out"):
            async with resource.open():
                pass
        key = resource.file_key
        assert key is not None
        for small in (0, 1_000_000):
            with pytest.raises(SourceUnavailable, match="leads out"):
                await OpenFiles(small_bytes=small).get(resource, key)


@pytest.mark.parametrize("change", CHANGES)
async def test_a_file_whose_way_leads_out_is_gone(
    folder: Path, change: Callable[[Path], None]
) -> None:
    """From page and address, within a second; its name stays taken."""
    async with LocalRepository(folder) as repository:
        assert (await repository.get_project_page(FOO)).files
        change(folder)

        async def gone() -> bool:
            return not (await repository.get_project_page(FOO)).files

        await soon(gone)
        for name in (NAME, FileName(f"{NAME}.metadata")):
            with pytest.raises(ResourceNotFound):
                await repository.get_resource(FOO, name)


async def test_the_digest_of_what_is_outside_is_not_taken(folder: Path, tmp_path: Path) -> None:
    """A link that was turned before its target was read: nothing of that is on the page."""
    secret = put(tmp_path / "outside", SECRET)
    _turn(folder / "hop", secret)
    events: list[Event] = []
    async with LocalRepository(folder, emit=events.append) as repository:
        assert (await repository.get_project_page(FOO)).files == ()
    assert NAME in [name for name, _ in skipped(events)]


def test_opening_asks_where_the_descriptor_leads(folder: Path, tmp_path: Path) -> None:
    """Links within the tree are fine, whatever they are written like; ways out of it are not."""
    root = str(folder)
    with open_regular(str(folder / "foo" / NAME), root=root) as file:
        assert file.read() == WHEEL.content
    assert stat_beneath(str(folder / "hop"), root).st_size == len(WHEEL.content)
    put(tmp_path / "packages-2", SECRET)
    (folder / "up").symlink_to(tmp_path)
    for path in (f"up/packages-2/{SECRET.filename}", f"../packages-2/{SECRET.filename}"):
        with pytest.raises(LeadsOut):
            open_regular(f"{root}/{path}", root=root)
        with pytest.raises(LeadsOut):
            stat_beneath(f"{root}/{path}", root)
    with pytest.raises(OSError, match="no regular file"):
        open_regular(root)


def test_what_was_changed_just_now_is_read_a_tick_later(tmp_path: Path) -> None:
    """So that a further change shows in its modification time, and is not taken for this one."""
    path = tmp_path / "file"
    for _ in range(5):
        path.write_bytes(b"")
        written_ns = path.stat().st_mtime_ns
        wait_for_tick(written_ns)
        path.write_bytes(b"")
        assert path.stat().st_mtime_ns - written_ns >= 10_000_000


def _to_itself(link: Path) -> None:
    link.symlink_to(link.name)


def _to_a_name_too_long(link: Path) -> None:
    link.symlink_to("x" * 300)


def _to_below_a_file(link: Path) -> None:
    link.with_name("plain").touch()
    link.symlink_to("plain/below")


@pytest.mark.parametrize("name", ["bar", "bar-1.0-py3-none-any.whl", "bar.whl", "bar-1.0.whl"])
@pytest.mark.parametrize("place", [".", "sub/sub"])
@pytest.mark.parametrize("make", [_to_itself, _to_a_name_too_long, _to_below_a_file])
async def test_a_link_that_cannot_be_followed_costs_only_itself(
    folder: Path, place: str, name: str, make: Callable[[Path], None]
) -> None:
    """The directory is served, and names that are not in it are not there."""
    (folder / place).mkdir(parents=True, exist_ok=True)
    make(folder / place / name)
    async with LocalRepository(folder) as repository:
        assert (await repository.get_project_page(FOO)).files
        with pytest.raises(ProjectNotFound):
            await repository.get_project_page(ProjectName("unknown"))
        if place == "." or "." in name:
            assert (await repository.get_project_page(ProjectName("bar"))).files == ()


async def test_a_link_whose_target_appears_later_is_served(folder: Path) -> None:
    """Within a second, though nothing changes in the folder in which the link lies."""
    link = folder / "foo" / NAME
    (folder / "hop").unlink()
    before = time.time() - 60
    os.utime(link.parent, (before, before))
    async with LocalRepository(folder) as repository:
        assert (await repository.get_project_page(FOO)).files == ()
        (folder / "hop").symlink_to(folder / "pool" / "a")

        async def is_there() -> bool:
            return bool((await repository.get_project_page(FOO)).files)

        await soon(is_there)
        page = await repository.get_project_page(FOO)
        assert await content_of(repository, NAME) == WHEEL.content
        await asyncio.sleep(0.6)
        assert await repository.get_project_page(FOO) is page
