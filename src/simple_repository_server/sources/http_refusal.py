"""That an index refused us (401, 403), until it answers well again: nothing stale is served then.

What it did last is noted on disk beside the pages, so other processes and the next one know. An
outage after a refusal must not bring back what a revoked token once showed.
"""

from collections.abc import Callable

from simple_repository_server.cache.page_writer import PageWriter
from simple_repository_server.disk.page_store import PageHead, PageStore

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
        #: The note as it was read or written last.
        self._known: PageHead | None = None

    async def look(self) -> bool:
        """Whether it is so, also by what other processes were told."""
        if self._store is None or self._writer is None:
            return self.holds
        known = self._known
        await self._writer.settled(_NOTE)
        note = await self._store.head(_NOTE)
        if self._known is known and note is not None and _replaces(note, known):
            self._known, self.holds, self.reason = note, note.refused, note.reason
        return self.holds

    def refused(self, reason: str) -> None:
        """It refused a request."""
        self.holds, self.reason = True, reason
        self._note(PageHead(validated_at=self._clock(), marker="refused", reason=reason))

    def answered(self) -> None:
        """It showed us something."""
        if self.holds:
            self.holds, self.reason = False, ""
            self._note(PageHead(validated_at=self._clock(), marker="answered"))

    def _note(self, note: PageHead) -> None:
        if self._writer is not None:
            self._known = note
            self._writer.save(_NOTE, note, b"")


def _replaces(note: PageHead, known: PageHead | None) -> bool:
    """Whether the note on disk says more than the one we know: in doubt, that we are refused."""
    if known is None or note == known:
        return known is None
    return note.refused or note.validated_at >= known.validated_at
