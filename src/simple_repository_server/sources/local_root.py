"""Whether an empty directory may be believed: a disk that is not mounted looks just like one.

A directory that had projects is not empty until somebody says so, also after a restart. The
decision is a pure function; what it needs to know of earlier is kept with the facts about files.
"""

import os
from pathlib import Path

import msgspec

from simple_repository_server.sources.local_tree import EMPTY_MARKER, Listing
from simple_repository_server.storage.digests import DigestStore


class Verdict(msgspec.Struct, frozen=True):
    """Whether a directory can be served."""

    #: Why not; "" if it can.
    problem: str
    #: The device on which it had something last; None: there never was anything, or that is over.
    had_on: int | None


def judge(listing: Listing, had_on: int | None) -> Verdict:
    """Whether what lies in the directory can be all there is."""
    has_files = any(listing.files.values())
    is_on_another = had_on is not None and had_on != listing.device
    if has_files or (listing.files and not is_on_another):
        return Verdict("", listing.device)
    if had_on is None or listing.is_meant_empty:
        return Verdict("", None)
    where = "is on another device now, without any package" if is_on_another else "is empty now"
    return Verdict(
        f"the directory had projects and {where}: is a disk not mounted? Put something into it, "
        f"or, if it is empty on purpose, a file called {EMPTY_MARKER}",
        had_on,
    )


class RootGuard:
    """Judges what lies in one directory, and remembers that it had projects. Blocks."""

    def __init__(self, path: Path, store: DigestStore) -> None:
        self._path = os.path.abspath(path)  # noqa: PTH100 - as it was given, links and all
        self._store = store
        self._had_on: int | None = None
        self._saved: int | None = None
        self._is_loaded = False

    def problem(self, listing: Listing) -> str:
        """Why the directory cannot be served as it is; "" if it can."""
        # Another process may have seen something here since this one asked, too.
        is_known = (self._is_loaded and self._had_on is not None) or self._load()
        verdict = judge(listing, self._had_on)
        if not is_known and verdict.had_on is None and not listing.is_meant_empty:
            return "the directory is empty, and whether it had projects cannot be looked up now"
        self._had_on = verdict.had_on
        is_new = self._is_loaded and self._saved != self._had_on
        if is_new and self._store.put_root(self._path, self._had_on):
            self._saved = self._had_on
        return verdict.problem

    def _load(self) -> bool:
        """Take up what was remembered; False if that cannot be looked up now."""
        saved = self._store.get_root(self._path)
        if self._store.is_busy():
            return False
        self._is_loaded, self._saved = True, saved
        if self._had_on is None:
            self._had_on = self._saved
        return True
