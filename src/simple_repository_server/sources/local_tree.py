"""Which distribution files lie below a directory, found again cheaply when asked again.

A folder is only listed again when its modification time changed, as that is what adding, removing
and renaming do. Everything here blocks and belongs into a worker thread.
"""

import os
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec

from simple_repository_server.distributions.filenames import parse_distribution
from simple_repository_server.errors import InvalidName
from simple_repository_server.names import FileName, ProjectName

#: A folder changed so shortly before it was listed may have changed again without showing it.
_RACY_NS = 2_000_000_000
# What is being written, and what describes another file.
_PASSED_OVER = (".part", ".partial", ".tmp", ".crdownload", ".metadata", ".asc", ".provenance")
#: Belongs to the file system and to root: nobody's packages are in it.
_SYSTEM_FOLDERS = frozenset({"lost+found"})


class Found(msgspec.Struct, frozen=True):
    """A distribution file: its name, and where it lies."""

    filename: FileName
    path: str


class Listing(msgspec.Struct, frozen=True):
    """All that lies below a directory at one moment."""

    files: Mapping[ProjectName, tuple[Found, ...]]
    #: Folders that could not be read, and files that are not served, with the reasons.
    unreadable: tuple[str, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()


class _Folder(msgspec.Struct):
    mtime_ns: int
    listed_at_ns: int
    found: list[tuple[ProjectName, Found]]
    subfolders: list[str]
    skipped: list[tuple[str, str]]


class LocalTree:
    """The tree below `root`; `look` says what lies there now."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folders: dict[str, _Folder] = {}
        self._listing = Listing({})

    def look(self) -> Listing:
        """What lies there now: the same object as before if nothing changed.

        Raises `OSError` when the directory itself cannot be read.
        """
        root = os.path.realpath(self._root, strict=True)
        before, self._folders = self._folders, {}
        changed, unreadable = False, []
        pending = [root]
        while pending:
            folder = pending.pop()
            known = before.get(folder)
            try:
                current = _look_into(folder, root, known)
            except FileNotFoundError:
                if folder == root:
                    raise
                changed = True
                continue
            except OSError:
                if folder == root:
                    raise
                unreadable.append(folder)
                continue
            changed = changed or current is not known
            self._folders[folder] = current
            pending.extend(current.subfolders)
        changed = changed or len(before) != len(self._folders)
        if changed or tuple(unreadable) != self._listing.unreadable:
            self._listing = self._combined(tuple(sorted(unreadable)))
        return self._listing

    def _combined(self, unreadable: tuple[str, ...]) -> Listing:
        files: dict[ProjectName, dict[str, Found]] = {}
        skipped: list[tuple[str, str]] = []
        for _, folder in sorted(self._folders.items()):
            skipped.extend(folder.skipped)
            for project, found in folder.found:
                first = files.setdefault(project, {}).setdefault(found.filename, found)
                if first is not found:
                    skipped.append((found.path, f"{first.path} has the same name"))
        return Listing(
            {name: tuple(sorted(named.values(), key=_by_name)) for name, named in files.items()},
            unreadable,
            tuple(skipped),
        )


def _by_name(found: Found) -> str:
    return found.filename


def _look_into(folder: str, root: str, known: _Folder | None) -> _Folder:
    mtime_ns = os.stat(folder).st_mtime_ns  # noqa: PTH116 - called for each folder, often
    if (
        known is not None
        and known.mtime_ns == mtime_ns
        and known.listed_at_ns - mtime_ns > _RACY_NS
    ):
        return known
    listed_at_ns = time.time_ns()
    current = _Folder(mtime_ns, listed_at_ns, [], [], [])
    parsed = {found.path: (project, found) for project, found in known.found} if known else {}
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.path in parsed and entry.is_file(follow_symlinks=False):
                current.found.append(parsed[entry.path])
            else:
                _sort_in(entry, root, current)
    if known is not None and _same(known, current):
        known.mtime_ns, known.listed_at_ns = mtime_ns, listed_at_ns
        return known
    return current


def _same(one: _Folder, other: _Folder) -> bool:
    return (one.found, one.subfolders, one.skipped) == (
        other.found,
        other.subfolders,
        other.skipped,
    )


#: Whoever puts such a file here expects to find it in the index.
_MEANT_TO_BE = (".whl", ".tar.gz", ".egg")


def _sort_in(entry: os.DirEntry[str], root: str, folder: _Folder) -> None:
    name = entry.name
    if name.startswith(".") or name.endswith(_PASSED_OVER):
        return
    if entry.is_dir(follow_symlinks=False):
        if not _is_text(name):
            folder.skipped.append((ascii(entry.path), "the name of the folder is not in UTF-8"))
        elif name not in _SYSTEM_FOLDERS:
            folder.subfolders.append(entry.path)
        return
    is_link = entry.is_symlink()
    if is_link and entry.is_dir():
        folder.skipped.append((entry.path, "a link to a folder is not followed"))
        return
    distribution = parse_distribution(name, folder=os.path.basename(os.path.dirname(entry.path)))  # noqa: PTH119, PTH120
    if distribution is None:
        if name.endswith(_MEANT_TO_BE):
            folder.skipped.append((entry.path, "its name does not tell a project and a version"))
        return
    try:
        filename = FileName(name)
    except InvalidName as error:
        folder.skipped.append((entry.path, str(error)))
        return
    if is_link and (reason := _leads_astray(entry.path, root)):
        folder.skipped.append((entry.path, reason))
        return
    folder.found.append((distribution.project, Found(filename, entry.path)))


def _is_text(name: str) -> bool:
    """Whether the name is text, and no bytes that could not be decoded."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


def _leads_astray(path: str, root: str) -> str:
    """What is wrong with the target of a symlink; "" if it lies below the root."""
    try:
        target = os.path.realpath(path, strict=True)
    except OSError:
        return "the symlink leads nowhere"
    inside = target.startswith(root.rstrip("/") + "/")
    return "" if inside else "the symlink leads out of the directory"
