"""Which distribution files lie below a directory: one `stat` for each folder that did not change.

A folder is listed again when it is another one or its modification time changed, as adding,
removing and renaming do. Everything here blocks and belongs into a worker thread.
"""

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from simple_repository_server.names import ProjectName, sorted_unique
from simple_repository_server.sources.local_entries import Found, named_project
from simple_repository_server.sources.local_folder import Folder, scan_folder

#: A project's folder that was just there is being replaced, as far as can be known so soon.
_REPLACING_NS = 1_000_000_000


class Listing(msgspec.Struct, frozen=True):
    """All that lies below a directory at one moment."""

    #: Also names that are only claimed: a folder or a file shows that the project is ours, but
    #: none of its files can be served.
    files: Mapping[ProjectName, tuple[Found, ...]]
    #: The projects that have files, sorted.
    names: Sequence[ProjectName] = ()
    #: Folders that could not be read.
    unreadable: tuple[str, ...] = ()
    #: The projects that have files in there, as far as is known.
    partial: frozenset[ProjectName] = frozenset()
    #: Files that are not served, with the reasons.
    skipped: tuple[tuple[str, str], ...] = ()
    #: The real path of the directory, and the device it is on.
    root: str = ""
    device: int = 0
    #: When `.empty` was last touched, which confirms that it is empty on purpose; 0: never.
    marked_empty_ns: int = 0

    def may_lack_files_of(self, project: ProjectName) -> bool:
        """Whether files of the project may be in a folder that could not be read.

        Of a project without any readable file nothing is known. One that has some is only doubted
        where a folder is known to hold others: a single unreadable folder must not make every
        project of the directory unavailable.
        """
        return bool(self.unreadable) and (project in self.partial or not self.files.get(project))


class LocalTree:
    """The tree below `root`, and what its last scan found."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folders: dict[str, Folder] = {}
        self._listing = Listing({})
        #: Names that a folder claimed until just now, and since when it does not.
        self._leaving: dict[ProjectName, int] = {}
        #: The projects known to have files in folders that cannot be read now, by folder.
        self._hidden: dict[str, frozenset[ProjectName]] = {}

    def scan(self) -> Listing:
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
                current = scan_folder(folder, root, known)
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
            if known is not None and folder != root and _lost_its_disk(known, current):
                # As if it could not be read, for as long as it is so.
                unreadable.append(folder)
                current.device = known.device
            changed = changed or current is not known
            self._folders[folder] = current
            pending.extend(current.subfolders)
        changed = changed or len(before) != len(self._folders)
        changed = self._update_leaving(before.get(root), self._folders[root]) or changed
        if changed or tuple(sorted(unreadable)) != self._listing.unreadable:
            self._hidden = {
                folder: self._hidden.get(folder) or _projects_below(folder, root, before)
                for folder in unreadable
            }
            self._listing = self._combined(root)
        return self._listing

    def _update_leaving(self, before: Folder | None, current: Folder) -> bool:
        """Whether other names are leaving now: those whose folder vanished a moment ago.

        A folder is often replaced by moving one away and another one in. A name that is absent for
        longer is released, by our clock or by that of the file system.
        """
        if before is current and not self._leaving:
            return False
        now = time.time_ns()
        leaving = dict(self._leaving)
        if before is not None and before is not current:
            for name in set(before.claims.values()) - set(current.claims.values()):
                leaving.setdefault(name, now)
        root_is_new = now - current.mtime_ns < _REPLACING_NS
        claimed = set(current.claims.values())
        leaving = {
            name: since
            for name, since in leaving.items()
            if name not in claimed and root_is_new and now - since < _REPLACING_NS
        }
        changed = leaving.keys() != self._leaving.keys()
        self._leaving = leaving
        return changed

    def _combined(self, root: str) -> Listing:
        files: dict[ProjectName, list[Found]] = {}
        skipped: list[tuple[str, str]] = []
        for _, folder in sorted(self._folders.items()):
            for project, found in folder.found:
                files.setdefault(project, []).append(found)
            for one in folder.skipped:
                if one.reason:
                    skipped.append((one.path, one.reason))
                if one.claim is not None:
                    files.setdefault(one.claim, [])
        current = self._folders[root]
        for name in (*current.claims.values(), *self._leaving):
            files.setdefault(name, [])
        return Listing(
            {name: _first_of_each_name(found, skipped) for name, found in files.items()},
            sorted_unique(name for name, found in files.items() if found),
            tuple(sorted(self._hidden)),
            frozenset().union(*self._hidden.values()),
            tuple(skipped),
            root=root,
            device=current.device,
            marked_empty_ns=current.marker_ns,
        )


def _first_of_each_name(found: list[Found], skipped: list[tuple[str, str]]) -> tuple[Found, ...]:
    """The files sorted by name; of several with the same name the first, the others are skipped."""
    found.sort(key=_by_name)  # stable: the first folder's comes first
    unique: list[Found] = []
    for one in found:
        if unique and unique[-1].filename == one.filename:
            skipped.append((one.path, f"{unique[-1].path} has the same name"))
        else:
            unique.append(one)
    return tuple(unique)


def _projects_below(folder: str, root: str, before: Mapping[str, Folder]) -> frozenset[ProjectName]:
    """The projects that had files in the folder when it was read, and those it is named after."""
    parts = folder.removeprefix(root).strip("/").split("/")
    named = (named_project(part) for part in parts)
    had = (
        project
        for path, known in before.items()
        if path == folder or path.startswith(f"{folder}/")
        for project, _ in known.found
    )
    return frozenset([*(name for name in named if name is not None), *had])


def _by_name(found: Found) -> str:
    return found.filename


def _lost_its_disk(known: Folder, current: Folder) -> bool:
    """Whether a folder that was on another device is empty now, as one that is not mounted."""
    is_empty = not (current.found or current.subfolders or current.skipped)
    return is_empty and known.device != current.device
