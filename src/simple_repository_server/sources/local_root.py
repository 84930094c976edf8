"""Whether an empty directory may be believed: a disk that is not mounted looks just like one.

A directory that had projects is not empty until somebody says so, also after a restart. The
decision is a pure function; what it needs to know of earlier is kept with the facts about files.
"""

import os
import time
from pathlib import Path

import msgspec

from simple_repository_server.sources.local_facts import DigestStore, SeenRoot
from simple_repository_server.sources.local_folder import EMPTY_MARKER
from simple_repository_server.sources.local_tree import Listing


class Verdict(msgspec.Struct, frozen=True):
    """Whether a directory can be served."""

    #: Why not; "" if it can.
    problem: str
    #: What to remember: that it had something; None: there never was anything, or that is over.
    seen: SeenRoot | None


def judge(listing: Listing, seen: SeenRoot | None, now_ns: int) -> Verdict:
    """Whether what lies in the directory can be all there is, given what was seen before.

    A marker counts if it is younger than that: one that was left lying on the mount point says
    nothing of a disk that was mounted later.
    """
    has_files = any(listing.files.values())
    is_on_another = seen is not None and seen.device != listing.device
    if has_files or (listing.files and not is_on_another):
        since_ns = now_ns if seen is None else seen.since_ns
        return Verdict("", SeenRoot(device=listing.device, since_ns=since_ns))
    if seen is None or listing.marked_empty_ns > seen.since_ns:
        return Verdict("", None)
    where = "is on another device now, without any package" if is_on_another else "is empty now"
    return Verdict(
        f"the directory had projects and {where}: is a disk not mounted? Put something into it, "
        f"or, if it is empty on purpose, touch a file called {EMPTY_MARKER} in it",
        seen,
    )


class RootGuard:
    """Judges what lies in one directory, and remembers that it had projects. Blocks."""

    def __init__(self, path: Path, store: DigestStore) -> None:
        self._path = os.path.abspath(path)  # noqa: PTH100 - as it was given, links and all
        self._store = store
        self._seen: SeenRoot | None = None
        self._saved: SeenRoot | None = None
        self._is_loaded = False

    def problem(self, listing: Listing) -> str:
        """Why the directory cannot be served as it is; "" if it can."""
        # Another process may have seen something here since this one asked, too.
        is_known = (self._is_loaded and self._seen is not None) or self._load()
        verdict = judge(listing, self._seen, time.time_ns())
        if not is_known and verdict.seen is None:
            return "the directory is empty, and whether it had projects cannot be looked up now"
        self._seen = verdict.seen
        is_new = self._is_loaded and self._saved != self._seen
        if is_new and self._store.put_root(self._path, self._seen):
            self._saved = self._seen
        return verdict.problem

    def _load(self) -> bool:
        """Take up what was remembered; False if that cannot be looked up now."""
        saved = self._store.get_root(self._path)
        if self._store.is_busy():
            return False
        self._is_loaded, self._saved = True, saved
        if self._seen is None:
            self._seen = self._saved
        return True
