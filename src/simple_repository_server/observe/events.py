"""The events components emit: immutable records, and nothing that writes them.

Their names and fields are a public contract: `python -m docs.generate_events` writes the table in
docs/events.md from this module. The docstring of a class says what happened, a comment `#:` what a
field holds. No field holds a credential: sources are named by their label, requests by their path
without the query.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import ClassVar

import msgspec
from typing_extensions import override

from simple_repository_server.observe.sizes import shown_size


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """The base of all events."""

    level: ClassVar[str] = "info"

    def text(self) -> str:
        """One line for a person."""
        raise NotImplementedError


class RequestFinished(Event, frozen=True, kw_only=True, tag="request"):
    """A request was answered, or its transfer was cut: then `error` says why."""

    method: str
    path: str
    status: int
    #: of the body, as handed to the server
    bytes: int
    duration_ms: float
    #: the address of the client, as a trusted proxy forwards it
    client: str
    user_agent: str
    #: what the cache decided (see below); empty if none was used
    cache: str = ""
    error: str = ""

    @override
    def text(self) -> str:
        """`200 GET /simple/foo/ 1.2 kB in 0.8 ms, pip/26.3 at 10.0.0.7`.

        What the cache decided follows in brackets unless that is the usual: `fresh` or `hit`.
        """
        before, after = self.around_duration()
        return f"{before}{self.duration_ms:.1f}{after}"

    def around_duration(self) -> tuple[str, str]:
        """The text before the milliseconds, and behind them: the same for many requests."""
        size = shown_size(self.bytes)
        before = f"{self.status} {self.method or '-'} {self.path or '-'} {size} in "
        after = f" ms, {_agent(self.user_agent)} at {self.client}"
        if self.cache not in _USUAL:
            after += f" [{self.cache}]"
        return before, f"{after}: {self.error}" if self.error else after


_USUAL = frozenset({"", "fresh", "hit"})


@lru_cache(maxsize=256)
def _agent(user_agent: str) -> str:
    return user_agent.partition(" ")[0] or "unknown client"


class ProbeFinished(RequestFinished, frozen=True, kw_only=True, tag="request"):
    """A health check (`/healthz`, `/readyz`) was answered."""

    level: ClassVar[str] = "debug"


class SourceFailed(Event, frozen=True, kw_only=True, tag="source_failed"):
    """A source, or a host it redirects to, is unavailable; emitted once until it recovers."""

    level: ClassVar[str] = "warning"
    source: str
    reason: str

    @override
    def text(self) -> str:
        """The source and the reason."""
        return f"source {self.source} failed: {self.reason}"


class SourceRecovered(Event, frozen=True, kw_only=True, tag="source_recovered"):
    """A source that had failed is available again."""

    source: str

    @override
    def text(self) -> str:
        """The source."""
        return f"source {self.source} is available again"


class EntriesDropped(Event, frozen=True, kw_only=True, tag="entries_dropped"):
    """Unusable entries of a page were ignored; emitted once per version of the page."""

    level: ClassVar[str] = "warning"
    source: str
    project: str
    #: how many
    count: int
    #: one of them
    example: str

    @override
    def text(self) -> str:
        """How many entries were ignored, and one of them."""
        entries = "entry" if self.count == 1 else "entries"
        return (
            f"{self.project} at {self.source}: ignored {self.count} unusable {entries}, "
            f"e.g. {self.example}"
        )


class ListIncomplete(Event, frozen=True, kw_only=True, tag="list_incomplete"):
    """The list of projects is served without those of some sources.

    They failed, or their list is still being fetched; emitted again when one more is missing.
    """

    level: ClassVar[str] = "warning"
    #: one sentence for each of those sources
    missing: tuple[str, ...]

    @override
    def text(self) -> str:
        """Which sources are missing, and why."""
        return f"the list of projects is incomplete: {' '.join(self.missing)}"


class ListComplete(Event, frozen=True, kw_only=True, tag="list_complete"):
    """The list of projects is complete again."""

    @override
    def text(self) -> str:
        """The same for each."""
        return "the list of projects is complete again"


class FileSkipped(Event, frozen=True, kw_only=True, tag="file_skipped"):
    """A local file is not served (a `.metadata` file: not used); emitted once."""

    level: ClassVar[str] = "warning"
    source: str
    file: str
    reason: str

    @override
    def text(self) -> str:
        """The file and the reason."""
        return f"{self.file} in {self.source} is not served: {self.reason}"


class DigestProgress(Event, frozen=True, kw_only=True, tag="digest_progress"):
    """Digests of local files are being computed; the last one has `done_files == files`."""

    level: ClassVar[str] = "debug"
    source: str
    done_files: int
    files: int
    done_bytes: int
    bytes: int

    @override
    def text(self) -> str:
        """The files and bytes done, and all."""
        return (
            f"digests of {self.source}: {self.done_files} of {self.files} files, "
            f"{shown_size(self.done_bytes)} of {shown_size(self.bytes)}"
        )


class DigestsComputed(Event, frozen=True, kw_only=True, tag="digests_computed"):
    """The digests of many local files were computed; the next start uses the stored ones."""

    source: str
    files: int
    bytes: int
    duration_s: float

    @override
    def text(self) -> str:
        """How many files and bytes, and the time."""
        return (
            f"computed the digests of {self.files} files ({shown_size(self.bytes)}) "
            f"of {self.source} in {self.duration_s:.0f} s"
        )


class MetadataUnreadable(Event, frozen=True, kw_only=True, tag="metadata_unreadable"):
    """A wheel has no readable metadata: its page no longer announces any."""

    level: ClassVar[str] = "warning"
    project: str
    file: str
    reason: str

    @override
    def text(self) -> str:
        """The file and the reason."""
        return f"no metadata for {self.file}: {self.reason}"


class MetadataDiffers(Event, frozen=True, kw_only=True, tag="metadata_differs"):
    """A metadata file in a local directory is used although it differs from its wheel."""

    level: ClassVar[str] = "warning"
    source: str
    file: str
    #: the metadata fields that differ
    fields: str

    @override
    def text(self) -> str:
        """The file, and what may follow."""
        return (
            f"{self.file} in {self.source} differs from its wheel in {self.fields}: it is used, "
            "but installers may refuse the wheel"
        )


class CacheFailed(Event, frozen=True, kw_only=True, tag="cache_failed"):
    """The cache on disk cannot be written and is not used; emitted once until it recovers."""

    level: ClassVar[str] = "error"
    folder: str
    reason: str

    @override
    def text(self) -> str:
        """The folder, the reason and the consequence."""
        return f"the cache at {self.folder} cannot be written ({self.reason}): serving without it"


class CacheRecovered(Event, frozen=True, kw_only=True, tag="cache_recovered"):
    """The cache on disk can be written again."""

    folder: str

    @override
    def text(self) -> str:
        """The folder."""
        return f"the cache at {self.folder} can be written again"


class CachePruned(Event, frozen=True, kw_only=True, tag="cache_pruned"):
    """The cache exceeded its budget: the least recently used entries were evicted."""

    folder: str
    files: int
    bytes: int

    @override
    def text(self) -> str:
        """How many files and bytes, and the folder."""
        return (
            f"evicted {self.files} files ({shown_size(self.bytes)}) from the cache at {self.folder}"
        )


class NotCached(Event, frozen=True, kw_only=True, tag="not_cached"):
    """A file was sent without being cached, as it does not fit the budget."""

    file: str
    reason: str

    @override
    def text(self) -> str:
        """The file and why."""
        return f"{self.file} is not cached: {self.reason}"


class CacheDamaged(Event, frozen=True, kw_only=True, tag="cache_damaged"):
    """A file in the cache was corrupt: it was deleted, and is fetched again when requested."""

    level: ClassVar[str] = "warning"
    file: str
    reason: str

    @override
    def text(self) -> str:
        """The file and the defect."""
        return f"deleted the corrupt {self.file} from the cache: {self.reason}"


class TransferResumed(Event, frozen=True, kw_only=True, tag="transfer_resumed"):
    """A transfer into the cache was interrupted and is being resumed."""

    level: ClassVar[str] = "warning"
    file: str
    #: bytes received before
    at: int
    reason: str

    @override
    def text(self) -> str:
        """The file, how much had come, and the reason."""
        return f"resuming {self.file} after {shown_size(self.at)}: {self.reason}"


class InternalFailure(Event, frozen=True, kw_only=True, tag="internal_failure"):
    """A defect of this program: the operation failed, serving continues."""

    level: ClassVar[str] = "error"
    what: str
    #: a traceback; in text logs shown at level `debug` only
    detail: str = ""

    @override
    def text(self) -> str:
        """What failed."""
        return self.what


Emit = Callable[[Event], None]


def ignore(event: Event) -> None:
    """Discard the event: the default of every component."""
