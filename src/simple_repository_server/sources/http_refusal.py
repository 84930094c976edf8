"""Whether an index refused us (401, 403): until it answers again, nothing stale is served.

The last outcome is recorded on disk beside the pages, for other processes and the next one: an
outage after a refusal must not bring back what a revoked token once gave access to.
"""

from collections.abc import Callable

from simple_repository_server.cache.page_writer import PageWriter
from simple_repository_server.disk.page_store import PageHead, PageStore

#: The record's name among the pages: no project can have it.
_RECORD = ".refused"


class Refusal:
    """Whether one index refused the last request that any process sent it."""

    def __init__(
        self, store: PageStore | None, writer: PageWriter | None, clock: Callable[[], float]
    ) -> None:
        #: Whether it did, as far as this process knows, and why.
        self.holds = False
        self.reason = ""
        self._store = store
        self._writer = writer
        self._clock = clock
        #: The record as it was read or written last.
        self._known: PageHead | None = None

    async def reload(self) -> bool:
        """Whether it did, also by what other processes recorded on disk."""
        if self._store is None or self._writer is None:
            return self.holds
        known = self._known
        await self._writer.settled(_RECORD)
        found = await self._store.head(_RECORD)
        if self._known is known and found is not None and _replaces(found, known):
            self._known, self.holds, self.reason = found, found.refused, found.reason
        return self.holds

    def refused(self, reason: str) -> None:
        """Record that it refused a request."""
        self.holds, self.reason = True, reason
        self._record(PageHead(validated_at=self._clock(), marker="refused", reason=reason))

    def answered(self) -> None:
        """Record that it showed a document."""
        if self.holds:
            self.holds, self.reason = False, ""
            self._record(PageHead(validated_at=self._clock(), marker="answered"))

    def _record(self, head: PageHead) -> None:
        if self._writer is not None:
            self._known = head
            self._writer.save(_RECORD, head, b"")


def _replaces(found: PageHead, known: PageHead | None) -> bool:
    """Whether the record on disk is newer than the known one; in doubt, a refusal counts."""
    if known is None:
        return True
    return found != known and (found.refused or found.validated_at >= known.validated_at)
