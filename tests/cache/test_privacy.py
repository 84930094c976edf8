"""Project names are private: only its owner sees what lies in a cache."""

import asyncio
import os
import stat
from pathlib import Path

import pytest

from simple_repository_server.cache.files import FileCache
from simple_repository_server.disk.folder import CacheFolder
from simple_repository_server.disk.layout import FOLDERS
from simple_repository_server.disk.metadata_store import MetadataStore
from simple_repository_server.disk.ownership import claim
from simple_repository_server.names import FileName, ProjectName
from simple_repository_server.sources.http import HttpRepository
from simple_repository_server.testing.distributions import build_wheel
from simple_repository_server.testing.published import publish_json
from simple_repository_server.testing.upstream import Upstream
from simple_repository_server.transforms.file_cache import FileCacheRepository
from simple_repository_server.transforms.metadata import MetadataInjectorRepository

pytestmark = pytest.mark.anyio

FOO = ProjectName("foo")
WHEEL = build_wheel("foo", "1.0", files={"data": os.urandom(100_000)})


@pytest.fixture(autouse=True)
def _generous_umask() -> object:
    """Files would be readable by all, were it for the environment."""
    before = os.umask(0)
    yield
    os.umask(before)


def _open_to_others(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if stat.S_IMODE(path.lstat().st_mode) & 0o077]


@pytest.mark.parametrize("made_before", [True, False])
async def test_everything_written_is_private(
    upstream: Upstream, tmp_path: Path, made_before: bool
) -> None:
    """Of every kind, also in a folder that its operator has opened to all."""
    publish_json(upstream, [WHEEL], metadata=False)
    folder = tmp_path / "cache"
    if made_before:
        folder.mkdir(mode=0o755)
    disk = CacheFolder(folder)
    source = FileCacheRepository(HttpRepository(upstream.simple, cache=disk), FileCache(disk))
    async with MetadataInjectorRepository(source, store=MetadataStore(disk)) as repository:
        for name in (WHEEL.filename, f"{WHEEL.filename}.metadata"):
            async with (await repository.get_resource(FOO, FileName(name))).open() as body:
                assert [chunk async for chunk in body.chunks]
        async with asyncio.timeout(5):
            while not (folder / "served").exists():  # noqa: ASYNC110 - it is on a disk
                await asyncio.sleep(0.01)
    made = {path.name for path in folder.iterdir()}
    assert {"files", "pages", "metadata", "served", "partial"} <= made
    assert _open_to_others(folder) == []
    assert stat.S_IMODE(folder.stat().st_mode) == (0o755 if made_before else 0o700)


async def test_folders_of_earlier_versions_become_private(tmp_path: Path) -> None:
    """At the start of a server; the cache folder itself stays as its operator created it."""
    folder = tmp_path / "cache"
    claim(folder)
    folder.chmod(0o755)
    for name in FOLDERS:
        (folder / name).mkdir(mode=0o755)
    (folder / "pages" / "private").mkdir(mode=0o755)
    async with CacheFolder(folder):
        pass
    modes = {name: stat.S_IMODE((folder / name).stat().st_mode) for name in FOLDERS}
    assert modes == dict.fromkeys(FOLDERS, 0o700)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755


async def test_a_foreign_folder_keeps_its_permissions(tmp_path: Path) -> None:
    """Without our tag no permission is changed, either."""
    folder = tmp_path / "cache"
    folder.mkdir()
    (folder / "files").mkdir(mode=0o755)
    with pytest.raises(Exception, match="is not a simple-repository-server cache"):
        async with CacheFolder(folder):
            pass
    assert stat.S_IMODE((folder / "files").stat().st_mode) == 0o755
