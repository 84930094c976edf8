"""Changing the cache entries of one project by hand: `cache refresh` and `cache forget`.

Both block, apply to all indexes and credentials, and reach running servers within seconds, also
for what these have in memory.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from simple_repository_server.disk.changes import Changes
from simple_repository_server.disk.entries import EntryStore
from simple_repository_server.disk.folder import CacheFolder
from simple_repository_server.disk.layout import CHANGES, METADATA, PAGES, PARTIAL
from simple_repository_server.disk.metadata_store import MetadataEntry
from simple_repository_server.disk.ownership import has_tag
from simple_repository_server.disk.page_store import PageHead
from simple_repository_server.names import ProjectName


def refresh(cache: CacheFolder | Path, project: ProjectName) -> int:
    """Expire the pages and negative entries of the project; how many there are.

    They are revalidated before they are served again; while an index is down they may be served
    stale as before. Raises `OSError`.
    """
    disk = _disk(cache)
    if not has_tag(disk.folder):
        return 0
    entries = disk.entries(PAGES, PageHead)
    count = 0
    for key in _pages(entries, project):
        found = entries.load(*key)
        if found is not None:
            head, body = found
            entries.save(msgspec.structs.replace(head, expired=True), body, *key)
            count += 1
    _notify(disk, project)
    return count


def forget(cache: CacheFolder | Path, project: ProjectName) -> int:
    """Remove pages, negative entries and metadata of the project; how many entries there were.

    Files stay: they are found by their digest once a page lists them again. Raises `OSError`.
    """
    disk = _disk(cache)
    if not has_tag(disk.folder):
        return 0
    pages, metadata = disk.entries(PAGES, PageHead), disk.entries(METADATA, MetadataEntry)
    paths = [pages.folder.joinpath(*key) for key in _pages(pages, project)]
    paths += [metadata.folder.joinpath(*key) for key in metadata.keys(project)]
    for path in paths:
        path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # absent, or not empty
        (metadata.folder / project).rmdir()
    _notify(disk, project)
    return len(paths)


def _disk(cache: CacheFolder | Path) -> CacheFolder:
    return CacheFolder(cache) if isinstance(cache, Path) else cache


def _pages(entries: EntryStore[PageHead], project: ProjectName) -> Iterator[tuple[str, str]]:
    if not entries.folder.is_dir():
        return
    for source in sorted(entries.folder.iterdir()):
        if (source / project).is_file() and not source.is_symlink():
            yield source.name, project


def _notify(disk: CacheFolder, project: ProjectName) -> None:
    Changes(disk.folder / CHANGES).append(project, disk.folder / PARTIAL)
