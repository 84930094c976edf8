"""That an index refused us (401, 403), until it answers well again: nothing stale is served then.

It is noted on disk beside the pages, so other processes and the next one know. An outage after a
refusal must not bring back what a revoked token once showed.
"""

from collections.abc import Callable

from simple_repository_server.cache.page_writer import PageWriter
from simple_repository_server.cache.pages import PageHead, PageStore

#: The note's name among the pages: none that a project could have.
_NOTE = ".refused"


class Refusal:
    """Whether one index refused the last request of which we know."""

    def __init__(
        self, store: PageStore | None, writer: PageWriter | None, clock: Callable[[], float]
    ) -> None:
        #: Whether it is so, as far as this process knows, and why.
        self.holds = False
        self.reason = ""
        self._store = store
        self._writer = writer
        self._clock = clock
        self._answered_at = 0.0

    async def look(self) -> bool:
        """Whether it is so, also by what other processes were told."""
        if self._store is not None and not self.holds:
            note = await self._store.head(_NOTE)
            if note is not None and note.refused and note.validated_at > self._answered_at:
                self.holds, self.reason = True, note.reason
        return self.holds

    def refused(self, reason: str) -> None:
        """It refused a request."""
        if self._writer is not None and not self.holds:
            head = PageHead(validated_at=self._clock(), note="refused", reason=reason)
            self._writer.save(_NOTE, head, b"")
        self.holds, self.reason = True, reason

    def answered(self) -> None:
        """It showed us something."""
        self._answered_at = self._clock()
        if self.holds:
            self.holds = False
            if self._writer is not None:
                self._writer.discard(_NOTE)
