"""Waiting for background work."""

import asyncio
from collections.abc import Callable

from simple_repository_server.repository import Repository


async def until_asked_again(repository: Repository, within_s: float = 5.0) -> None:
    """Wait until no source is backing off after a failure; may raise `TimeoutError`."""
    async with asyncio.timeout(within_s):
        while any(state.detail for state in repository.source_states()):  # noqa: ASYNC110 - sources have no event to wait for
            await asyncio.sleep(0.005)


async def until(condition: Callable[[], bool], within_s: float = 10.0) -> None:
    """Wait until the condition holds; may raise `TimeoutError`."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - what is awaited has no event
            await asyncio.sleep(0.005)
