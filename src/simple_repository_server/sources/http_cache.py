"""What the pages and the list of one index share: disk, background work, and refusals."""

import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, NamedTuple

from typing_extensions import override

from simple_repository_server.cache.background import Background
from simple_repository_server.cache.change_watch import watch
from simple_repository_server.cache.memory import Memory, MemoryCache, part_of
from simple_repository_server.cache.page_writer import PageWriter
from simple_repository_server.disk.folder import CacheFolder
from simple_repository_server.disk.page_store import PageStore
from simple_repository_server.disk.secret_key import KEY_BYTES, fingerprint
from simple_repository_server.lifecycle import SharedLifespan, running
from simple_repository_server.names import ProjectName
from simple_repository_server.observe.events import Emit
from simple_repository_server.sources.http_refusal import Refusal

#: The part of the memory for the files that were requested last: one in so many bytes.
_RESOURCES_DIVISOR = 16
#: The part of the memory for lists.
_LISTS_DIVISOR = 4


class IndexCache(SharedLifespan):
    """The cache of the index at `address`, as it is shown to clients with the `secret`.

    On `disk`, if given. While it is open, `forget` is called with each project whose entries on
    disk were changed by hand.
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
        #: The fingerprint of the secret; empty if there is none.
        self.who = ""
        self._secret = secret
        self._forget = forget
        self._emit = emit

    @override
    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """Raises `RepositoryError` if the folder is not ours. Closing writes what is queued."""
        if self.store is None:
            key = secrets.token_bytes(KEY_BYTES)
            self.who = fingerprint(key, self._secret) if self._secret else ""
            yield
            await self.background.close()
            return
        async with self.store as store:
            self.who = store.who
            await self.refusal.reload()
            await store.changed()  # skip older changes
            changed = partial(self._changed, store)
            async with running(watch(changed, self._forget, self._emit)):
                yield
            await self.background.close()

    async def _changed(self, store: PageStore) -> frozenset[ProjectName]:
        """The projects changed by hand; refusals of other processes are checked with them."""
        await self.refusal.reload()
        return await store.changed()


class Budgets(NamedTuple):
    """The memory of one index."""

    resources: Memory[Any, Any]
    pages: Memory[Any, Any]
    lists: Memory[Any, Any]


def divided(
    memory_bytes: int, memory: MemoryCache[Any, Any] | None, lists: MemoryCache[Any, Any] | None
) -> Budgets:
    """The budgets of an index, which has parts of what is shared, or else of its own memory."""
    for_resources = memory_bytes // _RESOURCES_DIVISOR
    for_lists = 0 if lists is not None else memory_bytes // _LISTS_DIVISOR
    return Budgets(
        part_of(memory, for_resources),
        part_of(memory, memory_bytes - for_resources - for_lists),
        part_of(lists, for_lists),
    )
