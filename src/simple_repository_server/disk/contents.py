"""What may lie in the cache, and where: everything else there is damage."""

import hashlib
import re
import stat
from collections.abc import Callable, Iterator
from os import scandir, stat_result
from pathlib import Path

import msgspec

from simple_repository_server.disk.entries import BrokenEntry, EntryStore
from simple_repository_server.disk.folder import CacheFolder
from simple_repository_server.disk.links import Link
from simple_repository_server.disk.metadata_store import MetadataEntry
from simple_repository_server.disk.ownership import PARTIAL, SERVED
from simple_repository_server.disk.page_store import PageHead

_PROJECT = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_DIGEST = (re.compile("[0-9a-f]{2}"), re.compile("[0-9a-f]{62}"))
#: The names there are below each folder: of its folders, and of the files in those.
_NAMES: dict[str, tuple[re.Pattern[str], ...]] = {
    "pages": (re.compile("[0-9a-f]{32}"), re.compile(rf"\.[a-z-]+|{_PROJECT.pattern}")),
    "metadata": (_PROJECT, re.compile("[0-9a-f]{40}")),
    PARTIAL: (re.compile(".+", re.DOTALL),),
    "files": _DIGEST,
    "links": _DIGEST,
    SERVED: (_PROJECT,),
}
#: What notes something of files comes after them.
PLACES = tuple(_NAMES)
OF_NO_USE = "it leads to no file that is here"
_SHA256 = re.compile("[0-9a-f]{64}")


class Item(msgspec.Struct, frozen=True):
    """Something that lies there, at `path`; `strange` says why it cannot belong there."""

    place: str
    path: Path
    stat: stat_result
    strange: str = ""

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder, and no link to one."""
        return stat.S_ISDIR(self.stat.st_mode)


def items(folder: Path, place: str) -> Iterator[Item]:
    """All that is in one place of the cache, folders before what is in them.

    What is strange comes as one item, with all that is in it. What is gone by now is left out.
    """
    try:
        top = (folder / place).lstat()
    except OSError:
        return
    yield from _look(Item(place, folder / place, top), _NAMES[place])


def _look(item: Item, names: tuple[re.Pattern[str], ...]) -> Iterator[Item]:
    """The item, and if it is a folder all that is in it; `names`: of what has to be there."""
    item = msgspec.structs.replace(item, strange=_wrong_kind(item, is_file=not names))
    if not names or item.strange:
        yield item
        return
    try:
        # Not while the folder is being read: what is found is removed.
        with scandir(item.path) as entries:
            found = list(entries)
    except FileNotFoundError:
        return
    except OSError as error:
        if item.stat.st_mode & stat.S_IRWXU == stat.S_IRWXU:
            item = msgspec.structs.replace(item, strange=f"it cannot be listed ({_reason(error)})")
        yield item
        return
    yield item
    for entry in found:
        try:
            inner = Item(item.place, Path(entry.path), entry.stat(follow_symlinks=False))
        except OSError:
            continue
        if names[0].fullmatch(entry.name):
            yield from _look(inner, names[1:])
        else:
            yield msgspec.structs.replace(inner, strange="nothing of that name belongs here")


def _wrong_kind(item: Item, *, is_file: bool) -> str:
    mode = item.stat.st_mode
    if stat.S_ISLNK(mode):
        return "it is a symbolic link"
    if is_file and not stat.S_ISREG(mode):
        return f"it is {'a folder' if item.is_folder else 'something else'} in the place of a file"
    if not is_file and not item.is_folder:
        return "it is a file in the place of a folder"
    return ""


class Contents:
    """What the files of `disk` have to hold. Its methods return what is wrong, or nothing.

    `is_here` says whether the file of a digest is in the cache.
    """

    def __init__(self, disk: CacheFolder, is_here: Callable[[str], bool]) -> None:
        self._is_here = is_here
        self._links = disk.entries("links", Link)
        self._entries: dict[str, EntryStore[PageHead] | EntryStore[MetadataEntry]] = {
            "pages": disk.entries("pages", PageHead),
            "metadata": disk.entries("metadata", MetadataEntry),
        }

    def wrong(self, item: Item, chunks: Iterator[bytes]) -> str:
        """What is wrong with the content of an item."""
        if item.place == "files":
            return _wrong_file(item, chunks)
        if item.place == PARTIAL:
            return ""
        content = b"".join(chunks)
        if not content:
            return "it is empty"
        if item.place == SERVED:
            return self._wrong_notes(content)
        try:
            return self._wrong_entry(item.place, content)
        except BrokenEntry as error:
            return str(error)

    def _wrong_entry(self, place: str, content: bytes) -> str:
        if place != "links":
            self._entries[place].parse(content)
            return ""
        link, _ = self._links.parse(content)
        known = _SHA256.fullmatch(link.sha256) and self._is_here(link.sha256)
        return "" if known else OF_NO_USE

    def _wrong_notes(self, content: bytes) -> str:
        lines = content.decode("ascii", "replace").splitlines(keepends=True)
        if not all(line.endswith("\n") and _SHA256.fullmatch(line[:-1]) for line in lines):
            return "a line of it is no digest"
        return "" if any(self._is_here(line[:-1]) for line in lines) else OF_NO_USE


def digest_of(item: Item) -> str:
    """The digest that is the name of a file."""
    return item.path.parent.name + item.path.name


def _wrong_file(item: Item, chunks: Iterator[bytes]) -> str:
    sha256, size = hashlib.sha256(), 0
    for chunk in chunks:
        sha256.update(chunk)
        size += len(chunk)
    if sha256.hexdigest() == digest_of(item):
        return ""
    return "its content is not that of its digest" if size else "it is empty"


def _reason(error: OSError) -> str:
    return (error.strerror or "error").lower()
