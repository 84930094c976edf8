"""A local directory: what is listed, what is said of it, and how changes show."""

import asyncio
import os
import shutil
import tarfile
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from simple_repository_server import FileName, LocalRepository, ProjectName
from simple_repository_server.errors import ProjectNotFound, ResourceNotFound, SourceUnavailable
from simple_repository_server.model import ProjectPage
from simple_repository_server.observe.events import (
    DigestProgress,
    Event,
    FileSkipped,
    SourceFailed,
    SourceRecovered,
)
from simple_repository_server.sources.local_facts import DigestStore
from simple_repository_server.testing.distributions import (
    Built,
    build_sdist,
    build_wheel,
    core_metadata,
    zip_of,
)
from tests.local_tree import soon

pytestmark = pytest.mark.anyio

FOO = ProjectName("foo")
WHEEL = build_wheel("foo", "1.0", requires_python=">=3.9")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty directory to serve."""
    path = tmp_path / "packages"
    path.mkdir()
    return path


def _put(folder: Path, built: Built, name: str | None = None) -> Path:
    path = folder / (name or built.filename)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(built.content)
    return path


@asynccontextmanager
async def _served(folder: Path, **options: Any) -> AsyncIterator[LocalRepository]:
    async with LocalRepository(folder, **options) as repository:
        yield repository


async def _page(folder: Path, project: ProjectName = FOO, **options: Any) -> ProjectPage:
    async with _served(folder, **options) as repository:
        return await repository.get_project_page(project)


async def _soon(condition: Callable[[], Any]) -> Any:
    """The result of the condition once it is true; within a second, as is promised."""
    deadline = time.monotonic() + 1.5
    while time.monotonic() < deadline:
        try:
            if result := await condition():
                return result
        except (ProjectNotFound, SourceUnavailable):
            pass
        await asyncio.sleep(0.05)
    raise AssertionError("it was not seen within a second")


# --- what is said of a file ----------------------------------------------------------------------


async def test_a_wheel(folder: Path) -> None:
    """A wheel has digest, size, date in UTC, Requires-Python, and metadata with its digest."""
    path = _put(folder, WHEEL)
    os.utime(path, ns=(0, 1_705_510_392_779_164_999))
    (file,) = (await _page(folder)).files
    assert file.hashes == {"sha256": WHEEL.sha256}
    assert file.size == len(WHEEL.content)
    assert file.upload_time == datetime(2024, 1, 17, 16, 53, 12, 779164, tzinfo=UTC)
    assert file.requires_python == ">=3.9"
    assert file.core_metadata == {"sha256": WHEEL.metadata_sha256}


@pytest.mark.parametrize("suffix", [".tar.gz", ".zip", ".egg"])
async def test_other_distributions(folder: Path, suffix: str) -> None:
    """Sdists and eggs have Requires-Python, too, and announce no metadata."""
    metadata = core_metadata("foo", "1.0", requires_python=">=3.10")
    if suffix == ".tar.gz":
        built = build_sdist("foo", "1.0", requires_python=">=3.10")
    else:
        root = "EGG-INFO" if suffix == ".egg" else "foo-1.0"
        name = "foo-1.0-py3.11.egg" if suffix == ".egg" else "foo-1.0.zip"
        built = Built(name, zip_of({f"{root}/PKG-INFO": metadata}), metadata)
    _put(folder, built)
    (file,) = (await _page(folder)).files
    assert file.requires_python == ">=3.10"
    assert file.core_metadata is False
    assert file.hashes == {"sha256": built.sha256}


@pytest.mark.parametrize("name", ["foo-1.0.tar.gz", "foo-1.0.zip", "foo-1.0-py3.egg"])
async def test_an_sdist_that_is_none_is_listed_all_the_same(folder: Path, name: str) -> None:
    """What cannot be looked into has its digest, and nothing more is said of it."""
    (folder / name).write_bytes(b"not an archive")
    (file,) = (await _page(folder)).files
    assert file.requires_python is None
    assert file.size == 14


async def test_an_sdist_whose_header_points_far_beyond_its_end_is_listed(folder: Path) -> None:
    """Its metadata is not searched for there: that would occupy a thread for ever."""
    header = bytearray(tarfile.TarInfo("foo-1.0/setup.py").tobuf())
    header[124:136] = b"\x80" + b"\x7f" * 11  # a size of 2 to the 87
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    (folder / "foo-1.0.tar.gz").write_bytes(header)
    async with asyncio.timeout(30):
        (file,) = (await _page(folder)).files
    assert file.requires_python is None


async def test_a_broken_wheel_announces_no_metadata(folder: Path) -> None:
    """A wheel without readable metadata is listed without it, and its `.metadata` is not there."""
    path = folder / "foo-1.0-py3-none-any.whl"
    path.write_bytes(b"not a wheel")
    os.utime(path, (1, 1))
    async with _served(folder) as repository:
        (file,) = (await repository.get_project_page(FOO)).files
        assert file.core_metadata is False
        with pytest.raises(ResourceNotFound):
            await repository.get_resource(FOO, FileName(f"{path.name}.metadata"))


async def test_a_wheel_being_written_is_not_listed_yet(folder: Path) -> None:
    """A wheel that is not complete is held back, its project taken; complete, it is listed."""
    path = folder / WHEEL.filename
    path.write_bytes(WHEEL.content[:-30])
    async with _served(folder) as repository:
        assert (await repository.get_project_page(FOO)).files == ()
        path.write_bytes(WHEEL.content)

        async def listed() -> bool:
            return bool((await repository.get_project_page(FOO)).files)

        await _soon(listed)


# --- what is listed ------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["{}", "foo/{}", "Foo/{}", "a/deep/tree/{}", "other/{}"])
async def test_layouts(folder: Path, place: str) -> None:
    """Flat, by project, or any tree: the project comes from the file name."""
    _put(folder, WHEEL, place.format(WHEEL.filename))
    async with _served(folder) as repository:
        assert (await repository.get_project_list()).names == ("foo",)
        assert [f.filename for f in (await repository.get_project_page(FOO)).files] == [
            WHEEL.filename
        ]


async def test_strangers_are_not_listed(folder: Path) -> None:
    """Dotfiles, partial files, sidecars and other files are not packages."""
    _put(folder, WHEEL)
    for name in (
        ".foo-2.0-py3-none-any.whl", "foo-2.0-py3-none-any.whl.part", "foo-2.0.tar.gz.asc",
        "foo-2.0-py3-none-any.whl.metadata", "README.md", "index.html", "foo.whl", "notes.zip",
        ".hidden/foo-2.0.tar.gz", "foo-2.0.tar.gz.tmp",
    ):  # fmt: skip
        _put(folder, WHEEL, name)
    page = await _page(folder)
    assert [file.filename for file in page.files] == [WHEEL.filename]
    assert page.versions == ("1.0",)


async def test_a_symlink_out_of_the_tree_is_not_served(folder: Path, tmp_path: Path) -> None:
    """Neither a file nor a folder outside is listed or served; their names are taken."""
    outside = _put(tmp_path / "outside", build_wheel("secret"))
    (folder / "secret-1.0-py3-none-any.whl").symlink_to(outside)
    (folder / "linked").symlink_to(outside.parent)
    (folder / "dangling-1.0.tar.gz").symlink_to(folder / "nowhere")
    inside = _put(folder, WHEEL, f"pool/{WHEEL.filename}")
    (folder / "foo-1.0-1-py3-none-any.whl").symlink_to(inside)
    events: list[Event] = []
    async with _served(folder, emit=events.append) as repository:
        assert (await repository.get_project_list()).names == ("foo",)
        for taken in ("secret", "linked", "dangling"):
            assert (await repository.get_project_page(ProjectName(taken))).files == ()
        assert len((await repository.get_project_page(FOO)).files) == 2
    assert {Path(e.file).name for e in events if isinstance(e, FileSkipped)} == {
        "secret-1.0-py3-none-any.whl",
        "linked",
        "dangling-1.0.tar.gz",
    }


async def test_a_link_to_a_folder_is_told_of(folder: Path, tmp_path: Path) -> None:
    """A linked project folder is not followed, which its owner is told."""
    events: list[Event] = []
    outside = tmp_path / "outside"
    outside.mkdir()
    _put(outside, WHEEL)
    (folder / "foo").symlink_to(outside)
    (folder / "gone-1.0.tar.gz").symlink_to(folder / "nothing")
    async with _served(folder, emit=events.append) as repository:
        assert (await repository.get_project_list()).names == ()
    told = {Path(e.file).name: e.reason for e in events if isinstance(e, FileSkipped)}
    assert "is not followed" in told["foo"]
    assert "leads nowhere" in told["gone-1.0.tar.gz"]


async def test_a_link_to_the_tree_itself_may_be_switched(tmp_path: Path) -> None:
    """`current -> release-2`: switching the link switches what is served, within a second."""
    one, two = tmp_path / "release-1", tmp_path / "release-2"
    _put(one, WHEEL)
    _put(two, build_wheel("foo", "2.0"))
    current = tmp_path / "current"
    current.symlink_to(one)
    async with _served(current) as repository:
        assert (await repository.get_project_page(FOO)).versions == ("1.0",)
        (tmp_path / "next").symlink_to(two)
        (tmp_path / "next").replace(current)

        async def switched() -> bool:
            return (await repository.get_project_page(FOO)).versions == ("2.0",)

        await _soon(switched)


async def test_of_two_files_with_one_name_the_first_counts(folder: Path) -> None:
    """The same file name in two folders is listed once, and the other one is told of."""
    _put(folder, WHEEL, f"a/{WHEEL.filename}")
    _put(folder, build_wheel("foo", "1.0", requires=["x"]), f"b/{WHEEL.filename}")
    events: list[Event] = []
    (file,) = (await _page(folder, emit=events.append)).files
    assert file.hashes == {"sha256": WHEEL.sha256}
    assert [Path(e.file).parent.name for e in events if isinstance(e, FileSkipped)] == ["b"]


@pytest.mark.parametrize("name", ["..", ".", "../packages", "foo/../foo"])
async def test_names_do_not_lead_out_of_the_directory(folder: Path, name: str) -> None:
    """A text that is no name is no key to anything, even if a caller forces it in."""
    _put(folder, WHEEL)
    async with _served(folder) as repository:
        forced = str.__new__(ProjectName, name)
        with pytest.raises(ProjectNotFound):
            await repository.get_project_page(forced)


# --- changes -------------------------------------------------------------------------------------


async def test_changes_are_seen_within_a_second(folder: Path) -> None:
    """A file added, replaced in place, or removed shows within a second, page and list alike."""
    _put(folder, build_wheel("bar"))
    async with _served(folder) as repository:
        assert (await repository.get_project_list()).names == ("bar",)
        path = _put(folder, WHEEL)

        async def added() -> Any:
            return (await repository.get_project_page(FOO)).find(WHEEL.filename)

        assert (await _soon(added)).hashes == {"sha256": WHEEL.sha256}
        assert (await repository.get_project_list()).names == ("bar", "foo")
        other = build_wheel("foo", "1.0", requires=["x"])
        path.write_bytes(other.content)

        async def replaced() -> bool:
            file = (await repository.get_project_page(FOO)).files[0]
            return file.hashes == {"sha256": other.sha256}

        await _soon(replaced)
        path.unlink()

        async def removed() -> bool:
            return (await repository.get_project_list()).names == ("bar",)

        await _soon(removed)
        with pytest.raises(ProjectNotFound):
            await repository.get_project_page(FOO)


async def test_a_vanished_directory_is_told_of_once(folder: Path) -> None:
    """The log says when the directory went and when it came back, not with every request."""
    events: list[Event] = []
    _put(folder, WHEEL)
    now = 1e9
    async with _served(folder, clock=lambda: now, emit=events.append) as repository:
        await repository.get_project_list()
        away = folder.rename(folder.with_name("away"))
        for _ in range(2):
            now += 1
            with pytest.raises(SourceUnavailable):
                await repository.get_project_list()
        away.rename(folder)
        now += 1
        await repository.get_project_list()
    told = [event for event in events if isinstance(event, SourceFailed | SourceRecovered)]
    assert [type(event) for event in told] == [SourceFailed, SourceRecovered]


async def test_a_vanished_directory_fails_closed(folder: Path) -> None:
    """Without its directory the source is unavailable, not empty; with it, it is back."""
    _put(folder, WHEEL)
    async with _served(folder) as repository:
        await repository.get_project_page(FOO)
        away = folder.rename(folder.with_name("away"))

        async def unavailable() -> bool:
            try:
                await repository.get_project_page(FOO)
            except SourceUnavailable as error:
                return "no such file" in str(error)
            return False

        await _soon(unavailable)
        with pytest.raises(SourceUnavailable):
            await repository.get_project_list()
        assert repository.source_states()[0].available is False
        away.rename(folder)

        async def back() -> bool:
            return bool((await repository.get_project_page(FOO)).files)

        await _soon(back)


@pytest.mark.usefixtures("_unprivileged")
async def test_an_unreadable_folder_fails_closed() -> None:
    """What may lie in a folder that cannot be read is not said to be absent."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        _put(folder, WHEEL)
        closed = folder / "private"
        closed.mkdir(mode=0)
        async with _served(folder) as repository:
            assert (await repository.get_project_page(FOO)).files
            with pytest.raises(SourceUnavailable, match="private"):
                await repository.get_project_page(ProjectName("maybe-in-there"))
            assert "private" in repository.source_states()[0].detail
            listed = await repository.get_project_list()
            assert listed.names == (FOO,)
            assert "private" in listed.incomplete[0], "nor is the list said to be whole"
            assert repository.peek_project_list() is listed
        closed.chmod(0o755)


@pytest.mark.usefixtures("_unprivileged")
@pytest.mark.parametrize("inner", ["foo", "pool/foo", "pool"])
async def test_a_project_is_unavailable_while_a_folder_of_its_files_is_unreadable(
    inner: str,
) -> None:
    """Its page would lack files that are there; other projects are served."""
    other = build_wheel("other")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        _put(folder, WHEEL)
        _put(folder, other)
        hidden = _put(folder / inner, build_wheel("foo", "2.0"))
        async with _served(folder) as repository:
            assert len((await repository.get_project_page(FOO)).files) == 2
            hidden.parent.chmod(0)

            async def unavailable() -> bool:
                try:
                    await repository.get_project_page(FOO)
                except SourceUnavailable as error:
                    return inner in str(error)
                return False

            await _soon(unavailable)
            with pytest.raises(SourceUnavailable):
                await repository.get_resource(FOO, FileName(hidden.name))
            assert (await repository.get_project_page(ProjectName("other"))).files
            hidden.parent.chmod(0o755)

            async def back() -> bool:
                return len((await repository.get_project_page(FOO)).files) == 2

            await _soon(back)


@pytest.mark.usefixtures("_unprivileged")
async def test_an_unreadable_folder_named_after_a_project_makes_it_unavailable() -> None:
    """After a restart only its name tells whose files are in it."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        _put(folder, WHEEL)
        (folder / "Foo").mkdir(mode=0)
        async with _served(folder) as repository:
            with pytest.raises(SourceUnavailable, match="Foo"):
                await repository.get_project_page(FOO)
            assert repository.peek_project_page(FOO) is None
        (folder / "Foo").chmod(0o755)


@pytest.mark.usefixtures("_unprivileged")
async def test_an_unreadable_file_is_told_of() -> None:
    """A file that cannot be read is left out and named; its project stays taken."""
    events: list[Event] = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        _put(folder, WHEEL).chmod(0)
        assert (await _page(folder, emit=events.append)).files == ()
    assert [Path(e.file).name for e in events if isinstance(e, FileSkipped)] == [WHEEL.filename]


async def test_digests_are_stored_across_restarts(folder: Path, tmp_path: Path) -> None:
    """After a restart only a file whose size, time or inode changed is read again."""
    sdist = build_sdist("foo")
    path = _put(folder, sdist)
    state = path.stat()

    async def digest() -> str:
        store = DigestStore(tmp_path / "digests.sqlite")
        return (await _page(folder, digests=store)).files[0].hashes["sha256"]

    assert await digest() == sdist.sha256
    with path.open("r+b") as file:
        file.write(b"?" * state.st_size)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert await digest() == sdist.sha256, "it was read again"
    os.utime(path)
    assert await digest() == sha256(path.read_bytes()).hexdigest()


async def test_all_digests_are_computed_in_the_background(folder: Path) -> None:
    """Progress is reported up to the last of the files, though nobody requests a page."""
    events: list[Event] = []
    for number in range(150):
        _put(folder, WHEEL, f"p{number}/p{number}-1.0-py3-none-any.whl")
    async with _served(folder, emit=events.append):

        async def done() -> bool:
            progress = [event for event in events if isinstance(event, DigestProgress)]
            return bool(progress) and progress[-1].done_files == progress[-1].files == 150

        await soon(done)
    progress = [event for event in events if isinstance(event, DigestProgress)]
    assert progress[-1].done_bytes == progress[-1].bytes == 150 * len(WHEEL.content)


async def test_a_page_does_not_wait_for_the_whole_directory(folder: Path) -> None:
    """Its files are read before those of the background that have not been begun."""
    files, size = 300, 64 * 1024 * 1024  # minutes of reading, none of disk: the files are sparse
    for number in range(files):
        with (folder / f"a{number}-1.0.tar.gz").open("wb") as file:
            file.truncate(size)
    _put(folder, WHEEL, "z/z-1.0-py3-none-any.whl")
    events: list[Event] = []
    async with _served(folder, emit=events.append) as repository:
        assert len((await repository.get_project_page(ProjectName("z"))).files) == 1
        progress = [event for event in events if isinstance(event, DigestProgress)]
        assert all(event.done_files < files // 2 for event in progress)


async def test_a_replaced_file_is_not_mixed(folder: Path) -> None:
    """A resource opened after its file was replaced refuses, instead of sending another file."""
    path = _put(folder, WHEEL)
    async with _served(folder) as repository:
        page = await repository.get_project_page(FOO)
        resource = await repository.get_resource(FOO, page.files[0].filename)
        path.write_bytes(WHEEL.content + b"more")
        with pytest.raises(SourceUnavailable, match="replaced"):
            async with resource.open():
                pass


async def test_a_tree_of_many_projects(folder: Path) -> None:
    """A directory with hundreds of projects lists them all and makes each page."""
    wheel = build_wheel("foo")
    for number in range(300):
        (folder / f"p{number}").mkdir()
        (folder / f"p{number}" / f"p{number}-1.0.tar.gz").write_bytes(wheel.content)
    async with _served(folder) as repository:
        names = (await repository.get_project_list()).names
        assert len(names) == 300
        pages = await asyncio.gather(*(repository.get_project_page(name) for name in names))
        assert all(len(page.files) == 1 for page in pages)
    shutil.rmtree(folder)


async def test_a_wheel_with_an_odd_name_is_told_of(folder: Path) -> None:
    """A file that is meant to be in the index, but cannot, is not passed over in silence."""
    events: list[Event] = []
    (folder / "acme-private.whl").write_bytes(WHEEL.content)
    _put(folder, WHEEL)
    async with LocalRepository(folder, emit=events.append) as repository:
        assert len((await repository.get_project_list()).names) == 1
    assert [Path(e.file).name for e in events if isinstance(e, FileSkipped)] == ["acme-private.whl"]
