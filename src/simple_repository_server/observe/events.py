"""The events components emit: immutable records, and nothing that writes them down.

Their names and fields are a public contract, listed in docs/events.md. No field ever holds a
credential: sources are named by their label, requests by their path without the query.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import ClassVar

import msgspec
from typing_extensions import override

from simple_repository_server.observe.sizes import shown_size


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something happened that an operator may want to know."""

    level: ClassVar[str] = "info"

    def text(self) -> str:
        """One line for a person."""
        raise NotImplementedError


class RequestFinished(Event, frozen=True, kw_only=True, tag="request"):
    """A request was answered (or its transfer cut: then `error` says why)."""

    method: str
    path: str
    status: int
    #: Bytes of the body that were handed to the server.
    bytes: int
    duration_ms: float
    client: str
    user_agent: str
    #: What the cache decided (`fresh`, `stale-if-error`, `hit`, …); empty if none was used.
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
    """A request of a load balancer that asked how we are: as any other, but for its level."""

    level: ClassVar[str] = "debug"


class SourceFailed(Event, frozen=True, kw_only=True, tag="source_failed"):
    """A source could not be asked; told once, until it works again."""

    level: ClassVar[str] = "warning"
    source: str
    reason: str

    @override
    def text(self) -> str:
        """The source and what is wrong with it."""
        return f"source {self.source} failed: {self.reason}"


class SourceRecovered(Event, frozen=True, kw_only=True, tag="source_recovered"):
    """A source that had failed answers again."""

    source: str

    @override
    def text(self) -> str:
        """The source that is back."""
        return f"source {self.source} answers again"


class EntriesDropped(Event, frozen=True, kw_only=True, tag="entries_dropped"):
    """A page was read, but some of its entries were no use; told once per version of the page."""

    level: ClassVar[str] = "warning"
    source: str
    project: str
    count: int
    example: str

    @override
    def text(self) -> str:
        """How many were dropped, and one of them."""
        return f"{self.project} at {self.source}: left out {self.count} unusable, as {self.example}"


class ListIncomplete(Event, frozen=True, kw_only=True, tag="list_incomplete"):
    """The list is answered without the projects of some sources; told when one more is missing."""

    level: ClassVar[str] = "warning"
    #: One sentence for each of those sources.
    missing: tuple[str, ...]

    @override
    def text(self) -> str:
        """What is missing."""
        return f"the list of projects is incomplete: {' '.join(self.missing)}"


class ListComplete(Event, frozen=True, kw_only=True, tag="list_complete"):
    """The lists of all sources are there again."""

    @override
    def text(self) -> str:
        """Just that."""
        return "the list of projects is complete again"


class FileSkipped(Event, frozen=True, kw_only=True, tag="file_skipped"):
    """A file in a local directory is not served, though it looks as if it was meant to be."""

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
        """How far it is."""
        return (
            f"digests of {self.source}: {self.done_files} of {self.files} files, "
            f"{shown_size(self.done_bytes)} of {shown_size(self.bytes)}"
        )


class DigestsComputed(Event, frozen=True, kw_only=True, tag="digests_computed"):
    """The digests of many local files have been computed; the next start need not do it again."""

    source: str
    files: int
    bytes: int
    duration_s: float

    @override
    def text(self) -> str:
        """How much it was, and how long it took."""
        return (
            f"computed the digests of {self.files} files ({shown_size(self.bytes)}) "
            f"of {self.source} in {self.duration_s:.0f} s"
        )


class MetadataUnreadable(Event, frozen=True, kw_only=True, tag="metadata_unreadable"):
    """A wheel has no metadata that can be read: its page stops announcing it."""

    level: ClassVar[str] = "warning"
    project: str
    file: str
    reason: str

    @override
    def text(self) -> str:
        """The file and the reason."""
        return f"no metadata for {self.file}: {self.reason}"


class MetadataDiffers(Event, frozen=True, kw_only=True, tag="metadata_differs"):
    """A metadata file in a local directory is used, and says something else than its wheel."""

    level: ClassVar[str] = "warning"
    source: str
    file: str
    #: The fields that differ, in words.
    fields: str

    @override
    def text(self) -> str:
        """The file, and what may come of it."""
        return (
            f"{self.file} in {self.source} differs from its wheel in {self.fields}: it is used, "
            "but installers may refuse the wheel"
        )


class CacheFailed(Event, frozen=True, kw_only=True, tag="cache_failed"):
    """The cache on disk cannot be written; told once, until it can be again."""

    level: ClassVar[str] = "error"
    folder: str
    reason: str

    @override
    def text(self) -> str:
        """Where, why, and what that means."""
        return f"the cache at {self.folder} cannot be written ({self.reason}): serving without it"


class CacheRecovered(Event, frozen=True, kw_only=True, tag="cache_recovered"):
    """The cache on disk can be written again."""

    folder: str

    @override
    def text(self) -> str:
        """Where."""
        return f"the cache at {self.folder} can be written again"


class CachePruned(Event, frozen=True, kw_only=True, tag="cache_pruned"):
    """The cache had more than its budget; what was not used for longest was removed."""

    folder: str
    files: int
    bytes: int

    @override
    def text(self) -> str:
        """How much that was."""
        return (
            f"removed {self.files} files ({shown_size(self.bytes)}) from the cache at {self.folder}"
        )


class NotCached(Event, frozen=True, kw_only=True, tag="not_cached"):
    """A file was sent without being kept, as the budget does not allow for it."""

    file: str
    reason: str

    @override
    def text(self) -> str:
        """The file and why."""
        return f"{self.file} is not kept in the cache: {self.reason}"


class CacheDamaged(Event, frozen=True, kw_only=True, tag="cache_damaged"):
    """A file in the cache was not what it should be; it was removed, and will be fetched again."""

    level: ClassVar[str] = "warning"
    file: str
    reason: str

    @override
    def text(self) -> str:
        """The file and what was wrong."""
        return f"removed {self.file} from the cache: {self.reason}"


class TransferResumed(Event, frozen=True, kw_only=True, tag="transfer_resumed"):
    """A transfer from a source broke off and is being continued."""

    level: ClassVar[str] = "warning"
    file: str
    at: int
    reason: str

    @override
    def text(self) -> str:
        """The file, where it broke off, and why."""
        return f"{self.file} broke off after {shown_size(self.at)}, going on: {self.reason}"


class ConnectionLimitReached(Event, frozen=True, kw_only=True, tag="connection_limit_reached"):
    """There are as many connections as there may be, and none is idle: new ones are refused."""

    level: ClassVar[str] = "warning"
    limit: int

    @override
    def text(self) -> str:
        """How many there are, and what can be done."""
        return (
            f"all {self.limit} connections are in use, new ones are refused; "
            "see --max-connections and the limit of open files"
        )


class ConnectionCut(Event, frozen=True, kw_only=True, tag="connection_cut"):
    """A client did not take an answer that was complete on our side: the connection was cut."""

    client: str
    reason: str

    @override
    def text(self) -> str:
        """Whom, and why."""
        return f"cut off {self.client or 'a client'}: {self.reason}"


class InternalFailure(Event, frozen=True, kw_only=True, tag="internal_failure"):
    """Something of our own does not work as it should; the service goes on without it."""

    level: ClassVar[str] = "error"
    what: str
    #: Where in the code, for developers: a traceback. As text it is shown at level debug only.
    detail: str = ""

    @override
    def text(self) -> str:
        """What is wrong."""
        return self.what


Emit = Callable[[Event], None]


def ignore(event: Event) -> None:
    """The default of every component: nobody listens."""
