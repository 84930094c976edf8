"""Have projects forgotten that were refreshed or forgotten by hand while the server runs."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import NoReturn

from simple_repository_server.cache.background import unforeseen
from simple_repository_server.names import ProjectName
from simple_repository_server.observe.events import Emit

_LOOK_S = 1.0


async def watch(
    look: Callable[[], Awaitable[Iterable[ProjectName]]],
    forget: Callable[[ProjectName], None],
    emit: Emit,
) -> NoReturn:
    """Have each project forgotten that `look` finds to be changed, within about a second."""
    while True:
        await asyncio.sleep(_LOOK_S)
        try:
            names = await look()
        except Exception as error:  # noqa: BLE001  # it goes on: nobody else would look
            emit(unforeseen("cannot tell what others changed in the cache", error))
            continue
        for name in names:
            forget(name)
