"""What a valid cache holds: which files may lie where (`layout.py`), and their content."""

import hashlib
import stat
from collections.abc import Callable, Iterator
from os import scandir, stat_result
from pathlib import Path
from re import Pattern

import msgspec

from simple_repository_server.disk.entries import BrokenEntry, EntryStore
from simple_repository_server.disk.folder import CacheFolder
from simple_repository_server.disk.layout import (
    FILES,
    LINKS,
    METADATA,
    PAGES,
    PARTIAL,
    PROJECTS,
    SHA256,
    VALID_NAMES,
    digest_of,
)
from simple_repository_server.disk.links import Link
from simple_repository_server.disk.metadata_store import MetadataEntry
from simple_repository_server.disk.page_store import PageHead
from simple_repository_server.errors import os_reason

#: The defect of a link or a record without its file: eviction leaves some behind.
DANGLING = "it refers to no file in the cache"


class Item(msgspec.Struct, frozen=True):
    """A file or folder at `path`; `unexpected` says why it cannot belong there."""

    #: The folder directly below the cache folder.
    place: str
    path: Path
    stat: stat_result
    unexpected: str = ""

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder, and no link to one."""
        return stat.S_ISDIR(self.stat.st_mode)


def items(folder: Path, place: str) -> Iterator[Item]:
    """Everything in one place of the cache, folders before their content.

    An unexpected folder is one item, with all that is in it. What another process removes
    during the scan is left out.
    """
    try:
        top = (folder / place).lstat()
    except OSError:
        return
    yield from _walk(Item(place, folder / place, top), VALID_NAMES[place])


def _walk(item: Item, names: tuple[Pattern[str], ...]) -> Iterator[Item]:
    """The item and, if it is a folder, its content; `names`: of the levels below."""
    item = msgspec.structs.replace(item, unexpected=_unexpected_kind(item, is_file=not names))
    if not names or item.unexpected:
        yield item
        return
    try:
        # The whole list at once: the caller removes items while it iterates.
        with scandir(item.path) as entries:
            found = list(entries)
    except FileNotFoundError:
        return
    except OSError as error:
        if item.stat.st_mode & stat.S_IRWXU == stat.S_IRWXU:
            reason = f"it cannot be listed ({os_reason(error)})"
            item = msgspec.structs.replace(item, unexpected=reason)
        yield item
        return
    yield item
    for entry in found:
        try:
            inner = Item(item.place, Path(entry.path), entry.stat(follow_symlinks=False))
        except OSError:
            continue
        if names[0].fullmatch(entry.name):
            yield from _walk(inner, names[1:])
        else:
            yield msgspec.structs.replace(inner, unexpected="its name is not valid here")


def _unexpected_kind(item: Item, *, is_file: bool) -> str:
    mode = item.stat.st_mode
    if stat.S_ISLNK(mode):
        return "it is a symbolic link"
    if is_file and not stat.S_ISREG(mode):
        return f"it is {'a folder' if item.is_folder else 'a special file'} instead of a file"
    if not is_file and not item.is_folder:
        return "it is a file instead of a folder"
    return ""


class Contents:
    """Checks the content of the files of `disk`.

    `is_cached` says whether the cache has a valid file of a digest.
    """

    def __init__(self, disk: CacheFolder, is_cached: Callable[[str], bool]) -> None:
        self._is_cached = is_cached
        self._links = disk.entries(LINKS, Link)
        self._entries: dict[str, EntryStore[PageHead] | EntryStore[MetadataEntry]] = {
            PAGES: disk.entries(PAGES, PageHead),
            METADATA: disk.entries(METADATA, MetadataEntry),
        }

    def defect(self, item: Item, chunks: Iterator[bytes]) -> str:
        """Why the content of a file is not valid; empty if it is."""
        if item.place == FILES:
            return _blob_defect(item, chunks)
        if item.place == PARTIAL:
            return ""
        content = b"".join(chunks)
        if not content:
            return "it is empty"
        if item.place == PROJECTS:
            return self._record_defect(content)
        try:
            return self._entry_defect(item.place, content)
        except BrokenEntry as error:
            return str(error)

    def _entry_defect(self, place: str, content: bytes) -> str:
        if place != LINKS:
            self._entries[place].parse(content)
            return ""
        link, _ = self._links.parse(content)
        found = SHA256.fullmatch(link.sha256) and self._is_cached(link.sha256)
        return "" if found else DANGLING

    def _record_defect(self, content: bytes) -> str:
        lines = content.decode("ascii", "replace").splitlines(keepends=True)
        if not all(line.endswith("\n") and SHA256.fullmatch(line[:-1]) for line in lines):
            return "a line of it is not a digest"
        return "" if any(self._is_cached(line[:-1]) for line in lines) else DANGLING


def _blob_defect(item: Item, chunks: Iterator[bytes]) -> str:
    sha256, size = hashlib.sha256(), 0
    for chunk in chunks:
        sha256.update(chunk)
        size += len(chunk)
    if sha256.hexdigest() == digest_of(item.path):
        return ""
    return "its content does not match its digest" if size else "it is empty"
