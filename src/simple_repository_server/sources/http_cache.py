"""What the pages and the list of one index share: the disk, who asks, whether we were refused."""

import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

from typing_extensions import override

from simple_repository_server.cache.background import Background
from simple_repository_server.cache.change_watch import watch
from simple_repository_server.cache.page_writer import PageWriter
from simple_repository_server.disk.folder import CacheFolder
from simple_repository_server.disk.page_store import PageStore
from simple_repository_server.disk.secret_key import KEY_BYTES, fingerprint
from simple_repository_server.lifecycle import SharedLifespan, running
from simple_repository_server.names import ProjectName
from simple_repository_server.observe.events import Emit
from simple_repository_server.sources.http_refusal import Refusal


class IndexCache(SharedLifespan):
    """The cache of the index at `address`, as it is shown to whoever has the `secret`.

    On `disk`, if there is one. `forget` is told of the projects whose entries on disk were changed
    by hand, while it is open.
    """

    def __init__(
        self,
        disk: CacheFolder | None,
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

    @override
    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """Raises `RepositoryError` if the folder is not ours. Writes what is still queued."""
        if self.store is None:
            key = secrets.token_bytes(KEY_BYTES)
            self.who = fingerprint(key, self._secret) if self._secret else ""
            yield
            await self.background.close()
            return
        async with self.store as store:
            self.who = store.who
            await self.refusal.look()
            await store.changed()  # what was before is nothing new
            look = partial(self._changed, store)
            async with running(watch(look, self._forget, self._emit)):
                yield
            await self.background.close()

    async def _changed(self, store: PageStore) -> frozenset[ProjectName]:
        """What was changed by hand; whether the index refused others is found out with it."""
        await self.refusal.look()
        return await store.changed()
