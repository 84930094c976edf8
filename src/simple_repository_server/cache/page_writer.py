"""Pages written behind: nobody waits for the disk, and the last write to a name wins."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from simple_repository_server.cache.background import Background
from simple_repository_server.disk.page_store import PageHead, PageStore


class PageWriter:
    """Writes to `store` in the background, in order for each name."""

    def __init__(self, store: PageStore, background: Background) -> None:
        self._store = store
        self._background = background
        #: The last write to each name, which the next one waits for.
        self._writing: dict[str, asyncio.Task[None]] = {}

    def save(self, name: str, head: PageHead, body: bytes) -> None:
        """Replace the entry."""
        self._put(name, self._save(name, head, body))

    def confirm(self, name: str, head: PageHead) -> None:
        """Give the stored page another head, if it is still the page that `head` describes."""
        self._put(name, self._confirm(name, head))

    def discard(self, name: str) -> None:
        """Delete the entry."""
        self._put(name, self._store.discard(name))

    async def settled(self, name: str) -> None:
        """Wait until the writes to this name have ended, also if the disk failed."""
        task = self._writing.get(name)
        if task is not None:
            await asyncio.wait([task])

    async def _save(self, name: str, head: PageHead, body: bytes) -> None:
        saved = False
        try:
            saved = await self._store.save(name, head, body)
        finally:
            if not saved:
                await self._store.discard(name)  # no entry rather than an outdated one

    async def _confirm(self, name: str, head: PageHead) -> None:
        found = await self._store.load(name)
        if found is None:
            return
        before, body = found
        if (before.validators, before.url, before.marker) != (
            head.validators,
            head.url,
            head.marker,
        ):
            # Another process has stored another page since: the head does not belong to it.
            await self._store.discard(name)
        else:
            await self._store.save(name, head, body)

    def _put(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        before = self._writing.get(name)

        async def in_turn() -> None:
            if before is not None:
                await asyncio.wait([before])
            await work

        task = self._writing[name] = self._background.start(in_turn())
        task.add_done_callback(lambda done: self._written(name, done))

    def _written(self, name: str, task: asyncio.Task[None]) -> None:
        if self._writing.get(name) is task:
            del self._writing[name]
