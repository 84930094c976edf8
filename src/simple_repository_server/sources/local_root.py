"""Whether an empty directory is one, or the mount point of a disk that is not mounted.

A directory that had projects is unavailable when it is empty, also after a restart, until a marker
file confirms it. The decision is a pure function; what was seen earlier is in the digest store.
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

    #: Why it cannot; "" if it can.
    problem: str
    #: What to store: that it had files; None if it never had, or was confirmed to be empty.
    seen: SeenRoot | None


def judge(listing: Listing, seen: SeenRoot | None, now_ns: int) -> Verdict:
    """Whether the listing can be complete, given what was seen before.

    A marker counts if it is younger than that: an old one on the mount point does not confirm
    that a disk mounted later is empty.
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
    """Judges the listings of one directory, and stores that it had projects. Blocks."""

    def __init__(self, path: Path, store: DigestStore) -> None:
        self._path = os.path.abspath(path)  # noqa: PTH100 - `resolve` would follow links
        self._store = store
        self._seen: SeenRoot | None = None
        self._saved: SeenRoot | None = None
        self._is_loaded = False

    def problem(self, listing: Listing) -> str:
        """Why the directory cannot be served as it is; "" if it can."""
        # Another process may have stored that it saw files here since the last lookup.
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
        """Load what was stored; False if it cannot be looked up now."""
        saved = self._store.get_root(self._path)
        if self._store.is_busy():
            return False
        self._is_loaded, self._saved = True, saved
        if self._seen is None:
            self._seen = self._saved
        return True
