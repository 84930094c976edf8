"""Metadata files beside local distributions: used byte for byte, unless they cannot be right."""

import os
import tempfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from simple_repository_server import FileName, LocalRepository, MetadataInjectorRepository
from simple_repository_server.errors import ResourceNotFound
from simple_repository_server.observe.events import Event, MetadataDiffers, MetadataUnreadable
from simple_repository_server.testing.distributions import (
    build_sdist,
    build_wheel,
    core_metadata,
    zip_of,
)
from tests.local_tree import FOO, beside, content_of, file_of, put, skipped, soon

pytestmark = pytest.mark.anyio

WHEEL = build_wheel("foo", "1.0", requires_python=">=3.9")
SDIST = build_sdist("foo", "1.0")
#: The same as the wheel's own for installers, but not the same bytes.
SAME = WHEEL.metadata + b"A line more of description.\n"
OTHER = core_metadata("foo", "1.0", requires=["bar>=2"], requires_python=">=3.7")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty directory to serve."""
    path = tmp_path / "packages"
    path.mkdir()
    return path


async def test_a_metadata_file_is_served_byte_for_byte(folder: Path) -> None:
    """Beside a wheel or an sdist: it answers, its own digest is announced, nothing else changes."""
    events: list[Event] = []
    wheel, sdist = put(folder, WHEEL), put(folder / "foo", SDIST)
    beside(wheel, SAME), beside(sdist, OTHER)
    async with LocalRepository(folder, emit=events.append) as repository:
        page = await repository.get_project_page(FOO)
        assert {file.filename for file in page.files} == {WHEEL.filename, SDIST.filename}
        for path, metadata, python in ((wheel, SAME, ">=3.9"), (sdist, OTHER, ">=3.7")):
            file = page.find(path.name)
            assert file is not None
            assert file.core_metadata == {"sha256": sha256(metadata).hexdigest()}
            assert file.requires_python == python
            assert file.size == path.stat().st_size
            assert file.upload_time is not None
            assert abs(file.upload_time.timestamp() - path.stat().st_mtime) < 0.001
            assert await content_of(repository, f"{path.name}.metadata") == metadata
    assert skipped(events) == []
    assert not any(isinstance(event, MetadataDiffers) for event in events)


async def test_it_is_the_same_below_the_metadata_injector(folder: Path) -> None:
    """What the directory announces passes through, and so do the bytes."""
    beside(put(folder, WHEEL), SAME)
    async with MetadataInjectorRepository(LocalRepository(folder)) as repository:
        (file,) = (await repository.get_project_page(FOO)).files
        assert file.core_metadata == {"sha256": sha256(SAME).hexdigest()}
        name = FileName(f"{WHEEL.filename}.metadata")
        resource = await repository.get_resource(FOO, name)
        assert resource.content == SAME
        assert repository.peek_resource(FOO, name) is resource


async def test_it_is_seen_when_it_appears_changes_and_goes(folder: Path) -> None:
    """Within a second, each of the three: digest, Requires-Python and bytes."""
    path = put(folder, WHEEL)
    async with LocalRepository(folder) as repository:
        assert (await file_of(repository, path.name)).requires_python == ">=3.9"
        for metadata, python in ((SAME, ">=3.9"), (OTHER, ">=3.7"), (WHEEL.metadata, ">=3.9")):
            sidecar = beside(path, metadata)
            if metadata is WHEEL.metadata:
                sidecar.unlink()
            digest = {"sha256": sha256(metadata).hexdigest()}

            async def seen(digest: dict[str, str] = digest) -> bool:
                return (await file_of(repository, path.name)).core_metadata == digest

            await soon(seen)
            assert (await file_of(repository, path.name)).requires_python == python
            assert await content_of(repository, f"{path.name}.metadata") == metadata


async def test_a_wheel_that_cannot_be_read_has_the_metadata_beside_it(folder: Path) -> None:
    """Whatever is wrong with the wheel, its metadata file is what is said of it."""
    events: list[Event] = []
    path = folder / WHEEL.filename
    path.write_bytes(zip_of({"other-2.dist-info/METADATA": b"Name: other"}))
    beside(path, OTHER)
    async with LocalRepository(folder, emit=events.append) as repository:
        file = await file_of(repository, path.name)
        assert file.core_metadata == {"sha256": sha256(OTHER).hexdigest()}
        assert file.requires_python == ">=3.7"
        assert await content_of(repository, f"{path.name}.metadata") == OTHER
    assert not any(isinstance(event, MetadataUnreadable) for event in events)


def _symlink_out(sidecar: Path) -> None:
    outside = sidecar.parent.parent / "outside.metadata"
    outside.write_bytes(OTHER)
    sidecar.symlink_to(outside)


def _symlink_to_nothing(sidecar: Path) -> None:
    sidecar.symlink_to(sidecar.with_name("nothing"))


UNUSABLE: dict[str, tuple[Callable[[Path], object], str]] = {
    "out of the tree": (_symlink_out, "leads out of the directory"),
    "nowhere": (_symlink_to_nothing, "leads nowhere"),
    "a folder": (Path.mkdir, "no regular file"),
    "a pipe": (os.mkfifo, "no regular file"),
    "too large": (lambda path: path.write_bytes(OTHER + b" " * 20 * 1024 * 1024), "larger than"),
    "empty": (Path.touch, "names no project"),
    "noise": (lambda path: path.write_bytes(b"\xff\0" * 500), "names no project"),
    "no version": (lambda path: path.write_bytes(b"Name: foo\n"), "names no project"),
    "another project": (
        lambda path: path.write_bytes(core_metadata("bar", "1.0")),
        "another project",
    ),
    "another version": (
        lambda path: path.write_bytes(core_metadata("foo", "1.1")),
        "another version",
    ),
}


@pytest.mark.parametrize("what", UNUSABLE)
async def test_one_that_cannot_be_right_is_not_used(folder: Path, what: str) -> None:
    """The wheel's own metadata is served instead, and the log says so once."""
    make, reason = UNUSABLE[what]
    path = put(folder, WHEEL)
    make(folder / f"{path.name}.metadata")
    now, events = 1e9, list[Event]()
    async with LocalRepository(folder, emit=events.append, clock=lambda: now) as repository:
        for _ in range(3):
            now += 1
            file = await file_of(repository, path.name)
            assert file.core_metadata == {"sha256": WHEEL.metadata_sha256}
            assert file.requires_python == ">=3.9"
            assert await content_of(repository, f"{path.name}.metadata") == WHEEL.metadata
    ((name, said),) = skipped(events)
    assert name == f"{path.name}.metadata"
    assert reason in said


@pytest.mark.usefixtures("_unprivileged")
async def test_one_that_cannot_be_opened_is_not_used() -> None:
    """Permissions are a reason as any other."""
    events: list[Event] = []
    with tempfile.TemporaryDirectory() as place:
        path = put(Path(place), WHEEL)
        beside(path, OTHER).chmod(0)
        async with LocalRepository(place, emit=events.append) as repository:
            file = await file_of(repository, path.name)
            assert file.core_metadata == {"sha256": WHEEL.metadata_sha256}
    ((_, reason),) = skipped(events)
    assert "permission denied" in reason


async def test_an_unusable_one_of_an_sdist_announces_nothing(folder: Path) -> None:
    """An sdist has no other metadata to serve."""
    path = put(folder, SDIST)
    beside(path, core_metadata("bar", "1.0"))
    async with LocalRepository(folder) as repository:
        file = await file_of(repository, path.name)
        assert file.core_metadata is False
        assert file.requires_python == ">=3.8"
        with pytest.raises(ResourceNotFound):
            await content_of(repository, f"{path.name}.metadata")


async def test_one_that_was_repaired_is_used(folder: Path) -> None:
    """What was wrong with it is over when it changes."""
    path = put(folder, WHEEL)
    sidecar = beside(path, b"")
    async with LocalRepository(folder) as repository:
        await repository.get_project_page(FOO)
        sidecar.write_bytes(SAME)

        async def used() -> bool:
            return await content_of(repository, sidecar.name) == SAME

        await soon(used)


@pytest.mark.parametrize(
    ("metadata", "fields"),
    [
        (OTHER, "Requires-Dist and Requires-Python"),
        (core_metadata("foo", "1.0", requires_python=">=3.9") + b"", ""),
        (core_metadata("Foo", "1.0.0", requires_python=">= 3.9"), ""),
        (SAME.replace(b"\nVersion", b"\nProvides-Extra: a\nVersion"), "Provides-Extra"),
    ],
)
async def test_one_that_differs_is_used_and_warned_about(
    folder: Path, metadata: bytes, fields: str
) -> None:
    """In what installers compare, however it is spelt; once, and not in what they do not."""
    path = put(folder, WHEEL)
    beside(path, metadata)
    now, events = 1e9, list[Event]()
    async with LocalRepository(folder, emit=events.append, clock=lambda: now) as repository:
        for _ in range(3):
            now += 1
            assert await content_of(repository, f"{path.name}.metadata") == metadata
    told = [event for event in events if isinstance(event, MetadataDiffers)]
    assert [event.fields for event in told] == ([fields] if fields else [])
    assert all(path.name in event.text() for event in told)
    assert skipped(events) == []


async def test_only_what_changed_is_read_again(folder: Path) -> None:
    """A warning about one file is not repeated when another file of the project changes."""
    events: list[Event] = []
    beside(put(folder, WHEEL), OTHER)
    async with LocalRepository(folder, emit=events.append) as repository:
        await repository.get_project_page(FOO)
        put(folder, build_wheel("foo", "2.0"))

        async def both() -> bool:
            return len((await repository.get_project_page(FOO)).files) == 2

        await soon(both)
    assert len([event for event in events if isinstance(event, MetadataDiffers)]) == 1
