"""Verdicts on the metadata of wheels, and what a page announces according to them.

A verdict on bytes whose digest was verified never expires. Any other expires, and one that there is
no metadata holds only for one version of the page.
"""

import time
from collections.abc import Callable
from itertools import count
from typing import Any
from weakref import ref

import msgspec

from simple_repository_server.cache.memory import Memory, MemoryCache, part_of
from simple_repository_server.errors import (
    RepositoryError,
    ResourceNotFound,
    SourceUnavailable,
)
from simple_repository_server.model import File, ProjectPage
from simple_repository_server.names import ProjectName

#: A verdict with its key, its digest, and what the page announces accordingly.
_VERDICT_BYTES = 1000
_PROJECT_BYTES = 800
#: Of the memory for verdicts, the part that those on one project may occupy.
_PROJECT_PART = 4
_revisions = count(1)


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """The result of the search for the metadata of a wheel."""

    #: The sha256 of the metadata; None: there is none, or it is unavailable.
    sha256: str | None = None
    #: Why there is none.
    reason: str = ""
    #: It is certain that there is none, even if only for now; otherwise that is unknown.
    absent: bool = False
    #: In seconds since the epoch; None: it holds for ever.
    until: float | None = None
    #: The page it is limited to: what is missing now may be back on the next one. None: any page.
    page: "ref[ProjectPage] | None" = None

    def holds(self, page: ProjectPage, now: float) -> bool:
        """Whether it has not expired, and applies to the page."""
        if self.page is not None and self.page() is not page:
            return False
        return self.until is None or now < self.until

    def refusal(self, page: ProjectPage, file: File, now: float) -> RepositoryError:
        """The error for a request for metadata that is absent or unavailable."""
        if self.absent:
            return ResourceNotFound(page.name, f"{file.filename}.metadata")
        wait = None if self.until is None else max(1, int(self.until - now))
        return SourceUnavailable(f"of {file.filename}", self.reason, retry_after_s=wait)

    def announces_same_as(self, other: "Verdict | None") -> bool:
        """Whether a page announces the same for both, until they expire."""
        return other is not None and (self.sha256, self.absent) == (other.sha256, other.absent)


class ProjectVerdicts:
    """The verdicts on the wheels of one project, by their keys."""

    __slots__ = ("by_key", "loaded", "revision")

    def __init__(self) -> None:
        self.by_key: dict[str, Verdict] = {}
        #: What is on disk was loaded.
        self.loaded = False
        #: Changes with every verdict; no two projects have the same.
        self.revision = 0

    @property
    def weight(self) -> int:
        """About how many bytes of memory they occupy."""
        return _PROJECT_BYTES + _VERDICT_BYTES * len(self.by_key)


class Verdicts:
    """The verdicts on the wheels of recently requested projects.

    They are in `memory_bytes`, or in the shared budget `memory`.
    """

    def __init__(
        self,
        memory_bytes: int,
        *,
        memory: MemoryCache[Any, Any] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._clock = clock
        self._projects: Memory[ProjectName, ProjectVerdicts] = part_of(memory, memory_bytes)
        self._most_bytes = memory_bytes // _PROJECT_PART
        #: The verdicts on a project, or None. Every warm page needs them, so it is no method.
        self.of = self._projects.get

    def find(self, page: ProjectPage, key: str) -> Verdict | None:
        """The verdict on a wheel of the page, unless it has expired."""
        known = self._projects.get(page.name)
        verdict = known.by_key.get(key) if known is not None else None
        return verdict if verdict is not None and verdict.holds(page, self._clock()) else None

    def forget(self, project: ProjectName) -> None:
        """Drop all verdicts on its wheels."""
        self._projects.discard(project)

    def add(self, project: ProjectName, key: str, verdict: Verdict) -> None:
        """Add a verdict; if there are too many on one project, its oldest are evicted."""
        known = self._projects.get(project) or ProjectVerdicts()
        before = known.by_key.pop(key, None)
        if not verdict.announces_same_as(before) or verdict.sha256 is None:
            known.revision = next(_revisions)
        known.by_key[key] = verdict
        while known.weight > self._most_bytes and len(known.by_key) > 1:
            del known.by_key[next(iter(known.by_key))]
        self._projects.put(project, known, known.weight)


def announced_files(
    page: ProjectPage, known: ProjectVerdicts | None, now: float
) -> tuple[tuple[File, ...], float | None]:
    """The files of a page as it announces their metadata, and when that expires (None: never)."""
    files: list[File] = []
    ends: list[float] = []
    for file in page.files:
        if not file.is_wheel or file.inspected:
            files.append(file)
            continue
        verdict = known.by_key.get(key_of(page.name, file)) if known is not None else None
        if verdict is not None and not verdict.holds(page, now):
            verdict = None
        files.append(_announced(file, verdict))
        if verdict is not None and verdict.until is not None and _is_announced(file, verdict):
            ends.append(verdict.until)
    return tuple(files), min(ends, default=None)


def _announced(file: File, verdict: Verdict | None) -> File:
    """The file as it is announced; the same object if that changes nothing."""
    announcement: object = file.core_metadata or True
    if verdict is not None and _is_announced(file, verdict):
        announcement = {"sha256": verdict.sha256} if verdict.sha256 is not None else False
    elif verdict is not None:
        announcement = True
    if announcement == file.core_metadata:
        return file
    return msgspec.structs.replace(file, core_metadata=announcement)


def _is_announced(file: File, verdict: Verdict) -> bool:
    """Whether the page announces it.

    The digest of metadata that expires within a minute is not: it may be replaced with its wheel.
    """
    return verdict.sha256 is None or bool(file.hashes) or verdict.until is None


def key_of(project: ProjectName, file: File) -> str:
    """The key of a wheel: its project, name and digest, or else its address and size.

    The digest alone is only a claim of an index: with it as the key, one project could replace
    another project's metadata. An announced digest of the metadata is part of the key, too.
    """
    wheel = next(iter(file.hashes.values()), None) or f"{file.url} {file.size}"
    announcement = file.core_metadata
    sibling = "" if isinstance(announcement, bool) else next(iter(announcement.values()), "")
    return f"{project} {file.filename} {wheel} {sibling}"
