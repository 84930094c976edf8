"""Work that holds the event loop up for long is done in a thread."""

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def in_thread_if(
    is_large: bool,
    work: Callable[P, T],
    *arguments: P.args,
    **options: P.kwargs,
) -> T:
    """What the work returns: done in a thread if it is large, else here, at once.

    A thread costs some 50 µs, so small work is better done on the event loop.
    """
    if is_large:
        return await asyncio.to_thread(work, *arguments, **options)
    return work(*arguments, **options)
