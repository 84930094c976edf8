"""What the pages and the list of one index share: the disk, who asks, whether we were refused."""

import asyncio
import contextlib
import secrets
from collections.abc import Callable
from functools import partial
from typing import NoReturn

from simple_repository_server.cache.background import Background
from simple_repository_server.cache.changes import watch
from simple_repository_server.cache.disk import DiskCache
from simple_repository_server.cache.page_writer import PageWriter
from simple_repository_server.cache.pages import PageStore
from simple_repository_server.cache.secret_key import KEY_BYTES, fingerprint
from simple_repository_server.names import ProjectName
from simple_repository_server.observe.events import Emit
from simple_repository_server.sources.http_refusal import Refusal


class IndexCache:
    """The cache of the index at `address`, as it is shown to whoever has the `secret`.

    On `disk`, if there is one. `forget` is told of the projects whose entries on disk were changed
    by hand, while it is open.
    """

    def __init__(
        self,
        disk: DiskCache | None,
        address: str,
        *,
        secret: bytes,
        forget: Callable[[ProjectName], None],
        clock: Callable[[], float],
        emit: Emit,
    ) -> None:
        self.background = Background(emit)
        self.store = None if disk is None else PageStore(disk, address, secret=secret)
        self.writer = None if self.store is None else PageWriter(self.store, self.background)
        self.refusal = Refusal(self.store, self.writer, clock)
        #: Tells whoever has the secret from others; empty for everybody.
        self.who = ""
        self._secret = secret
        self._forget = forget
        self._emit = emit
        self._watching: asyncio.Task[NoReturn] | None = None

    async def open(self) -> None:
        """Make ready. Raises `RepositoryError` if the disk's folder is not ours."""
        if self.store is None:
            key = secrets.token_bytes(KEY_BYTES)
            self.who = fingerprint(key, self._secret) if self._secret else ""
            return
        async with contextlib.AsyncExitStack() as opened:
            await opened.enter_async_context(self.store)
            self.who = self.store.who
            await self.refusal.look()
            await self.store.changed()  # what was before is nothing new
            look = partial(self._changed, self.store)
            self._watching = asyncio.create_task(watch(look, self._forget, self._emit))
            opened.pop_all()

    async def close(self) -> None:
        """Write what is still to be written, within a bounded time."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        await self.background.close()
        if self.store is not None:
            await self.store.__aexit__()

    async def _changed(self, store: PageStore) -> frozenset[ProjectName]:
        """What was changed by hand; whether the index refused others is found out with it."""
        await self.refusal.look()
        return await store.changed()
