"""One folder of a local directory: listed again only if it is another one or was changed.

Adding, removing and renaming change the modification time of a folder; its files are not looked up.
Everything here blocks.
"""

import os
import stat
import time

import msgspec

from simple_repository_server.names import METADATA_SUFFIX, ProjectName, shown_path
from simple_repository_server.sources.local_entries import (
    Found,
    Skipped,
    is_folder_link,
    named_project,
    read_entry,
)

#: A folder changed so shortly before it was listed may have changed again without showing it.
_RACY_NS = 2_000_000_000
#: A file of this name confirms that a directory is empty on purpose.
EMPTY_MARKER = ".empty"
#: Belong to the file system and to the superuser: no packages are in them.
_SYSTEM_FOLDERS = frozenset({"lost+found"})


class Folder(msgspec.Struct):
    """What is in a folder, and which version of it that is."""

    device: int
    inode: int
    #: When it was changed last, and when it was listed.
    mtime_ns: int
    listed_at_ns: int
    found: list[tuple[ProjectName, Found]] = []
    subfolders: list[str] = []
    skipped: list[Skipped] = []
    #: Directly below the root: the names that its folders claim, by the name of the folder.
    claims: dict[str, ProjectName] = {}
    marker_ns: int = 0
    has_lost_link: bool = False

    def is_current(self, state: os.stat_result) -> bool:
        """Whether it need not be listed again."""
        return (
            self.mtime_ns == state.st_mtime_ns
            and self.inode == state.st_ino
            and self.device == state.st_dev
            and self.listed_at_ns - self.mtime_ns > _RACY_NS
            and not self.has_lost_link
        )

    def has_same_marker(self, folder: str) -> bool:
        """Whether `.empty` was not touched since; a new one changes the folder."""
        return not self.marker_ns or self.marker_ns == _marker_ns(folder)

    def has_same_content(self, other: "Folder") -> bool:
        """Whether a new listing of the folder brought out the same."""
        return (
            self.device,
            self.found,
            self.subfolders,
            self.skipped,
            self.claims,
            self.marker_ns,
        ) == (
            other.device,
            other.found,
            other.subfolders,
            other.skipped,
            other.claims,
            other.marker_ns,
        )


def scan_folder(folder: str, root: str, known: Folder | None) -> Folder:
    """What is in the folder now: the `known` object if that is the same. Raises `OSError`."""
    state = os.lstat(folder)
    if known is not None and known.is_current(state) and known.has_same_marker(folder):
        return known
    if stat.S_ISLNK(state.st_mode):
        raise FileNotFoundError(folder)  # it has just become one: its folder will be listed again
    current = Folder(state.st_dev, state.st_ino, state.st_mtime_ns, time.time_ns())
    with os.scandir(folder) as scanned:
        entries = list(scanned)
    _sort(entries, folder, root, known, current)
    if known is not None and known.has_same_content(current):
        known.inode, known.mtime_ns = current.inode, current.mtime_ns
        known.listed_at_ns = current.listed_at_ns
        return known
    return current


def _marker_ns(root: str) -> int:
    """When `.empty` was last touched; 0 if it does not exist."""
    try:
        return os.lstat(os.path.join(root, EMPTY_MARKER)).st_mtime_ns  # noqa: PTH118 - as all paths here
    except OSError:
        return 0


def _sort(
    entries: list[os.DirEntry[str]], folder: str, root: str, known: Folder | None, into: Folder
) -> None:
    """Sort the entries of a folder into what is known of it; those known before are not parsed."""
    parsed: dict[str, tuple[ProjectName, Found]] = {}
    if known is not None:
        parsed.update((pair[1].filename, pair) for pair in known.found)
    sidecars = {
        entry.name.removesuffix(METADATA_SUFFIX)
        for entry in entries
        if entry.name.endswith(METADATA_SUFFIX)
    }
    found = into.found
    others = []
    for entry in entries:
        before = parsed.get(entry.name)
        if (
            before is not None
            and before[1].has_sidecar == (entry.name in sidecars)
            and entry.is_file(follow_symlinks=False)
        ):
            found.append(before)
        else:
            others.append(entry)
    unchanged = len(found)
    for entry in sorted(others, key=_entry_name):
        _sort_entry(entry, root, folder, known, into, has_sidecar=entry.name in sidecars)
    if known is not None and unchanged == len(found) == len(known.found):
        into.found = known.found


def _entry_name(entry: os.DirEntry[str]) -> str:
    return entry.name


def _sort_entry(
    entry: os.DirEntry[str],
    root: str,
    folder: str,
    known: Folder | None,
    into: Folder,
    *,
    has_sidecar: bool,
) -> None:
    if folder == root and entry.name == EMPTY_MARKER:
        into.marker_ns = _marker_ns(folder)
    elif entry.name.startswith("."):
        return
    elif entry.is_dir(follow_symlinks=False) or (folder == root and is_folder_link(entry)):
        _sort_folder(entry, root, folder, known, into)
    else:
        read = read_entry(entry, root, has_sidecar=has_sidecar)
        if isinstance(read, Skipped):
            into.skipped.append(read)
            into.has_lost_link = into.has_lost_link or read.is_lost_link
        elif read is not None:
            into.found.append(read)


def _sort_folder(
    entry: os.DirEntry[str], root: str, folder: str, known: Folder | None, into: Folder
) -> None:
    if folder == root:
        claim = known.claims.get(entry.name) if known else None
        claim = claim or named_project(entry.name)
        if claim is not None:
            into.claims[entry.name] = claim
    if entry.is_symlink():
        into.skipped.append(Skipped(shown_path(entry.path), "a link to a folder is not followed"))
    elif shown_path(entry.name) != entry.name:
        reason = "the name of the folder is not in UTF-8"
        into.skipped.append(Skipped(shown_path(entry.path), reason))
    elif entry.name not in _SYSTEM_FOLDERS:
        into.subfolders.append(entry.path)
