"""Invalidate the projects that `cache refresh` or `cache forget` changed under a running server."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import NoReturn

from simple_repository_server.cache.background import internal_failure
from simple_repository_server.names import ProjectName
from simple_repository_server.observe.events import Emit

_INTERVAL_S = 1.0


async def watch(
    changed: Callable[[], Awaitable[Iterable[ProjectName]]],
    forget: Callable[[ProjectName], None],
    emit: Emit,
) -> NoReturn:
    """Once a second, call `forget` with each project that `changed` returns.

    An exception is reported to `emit`, and the watch continues.
    """
    while True:
        await asyncio.sleep(_INTERVAL_S)
        try:
            names = await changed()
        except Exception as error:  # noqa: BLE001 - without the watch, changes would be missed
            emit(internal_failure("cannot read which cache entries were changed by hand", error))
            continue
        for name in names:
            forget(name)
