"""Writing pages to disk in the background: nobody waits, and what was said last is there last."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from simple_repository_server.cache.background import Background
from simple_repository_server.disk.page_store import PageHead, PageStore


class PageWriter:
    """Writes to `store`, one thing after the other for each name."""

    def __init__(self, store: PageStore, background: Background) -> None:
        self._store = store
        self._background = background
        #: The last one for each name, for the next to wait for.
        self._writing: dict[str, asyncio.Task[None]] = {}

    def save(self, name: str, head: PageHead, body: bytes) -> None:
        """Keep what was said, in the place of what was said before."""
        self._put(name, self._save(name, head, body))

    def confirm(self, name: str, head: PageHead) -> None:
        """Keep the page that is there, with another head."""
        self._put(name, self._confirm(name, head))

    def discard(self, name: str) -> None:
        """Keep nothing."""
        self._put(name, self._store.discard(name))

    async def settled(self, name: str) -> None:
        """Wait until what was said of the name is on disk, as far as the disk takes it."""
        task = self._writing.get(name)
        if task is not None:
            await asyncio.wait([task])

    async def _save(self, name: str, head: PageHead, body: bytes) -> None:
        saved = False
        try:
            saved = await self._store.save(name, head, body)
        finally:
            if not saved:
                await self._store.discard(name)  # rather nothing than what is no longer so

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
            # Another process has learned of something else in between: not what is valid now.
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
