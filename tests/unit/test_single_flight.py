"""One fetch for any number of waiting clients."""

import asyncio

import pytest

from simple_repository_server.cache.single_flight import SingleFlight
from simple_repository_server.errors import RepositoryError

pytestmark = pytest.mark.anyio


async def test_many_who_wait_share_one_piece_of_work() -> None:
    """A hundred callers at once cause one piece of work and get its result."""
    flight: SingleFlight[str, object] = SingleFlight()
    started = 0

    async def work() -> object:
        nonlocal started
        started += 1
        await asyncio.sleep(0.01)
        return object()

    results = await asyncio.gather(*(flight.run("key", work) for _ in range(100)))
    assert started == 1
    assert len(set(map(id, results))) == 1
    await flight.run("key", work)
    assert started == 2


async def test_one_who_leaves_does_not_stop_the_others() -> None:
    """A caller that is cancelled leaves the work to those who still wait."""
    flight: SingleFlight[str, str] = SingleFlight()

    async def work() -> str:
        await asyncio.sleep(0.02)
        return "done"

    leaving = asyncio.create_task(flight.run("key", work))
    staying = asyncio.create_task(flight.run("key", work))
    await asyncio.sleep(0)
    leaving.cancel()
    assert await staying == "done"
    with pytest.raises(asyncio.CancelledError):
        await leaving


async def test_failures_reach_everyone_and_are_not_kept() -> None:
    """All who wait get the error; the next one gets a new try."""
    flight: SingleFlight[str, str] = SingleFlight()

    async def fail() -> str:
        await asyncio.sleep(0)
        raise ValueError("broken")

    async def succeed() -> str:
        return "fine"

    results = await asyncio.gather(
        *(flight.run("key", fail) for _ in range(3)), return_exceptions=True
    )
    assert all(isinstance(result, ValueError) for result in results)
    assert await flight.run("key", succeed) == "fine"


async def test_closing_stops_what_runs() -> None:
    """What is under way at the end is stopped, and its waiters are told."""
    flight: SingleFlight[str, None] = SingleFlight()
    waiting = asyncio.create_task(flight.run("key", lambda: asyncio.sleep(60)))
    await asyncio.sleep(0)
    await flight.cancel_all()
    with pytest.raises(asyncio.CancelledError):
        await waiting


@pytest.mark.parametrize(
    ("error", "told"), [(ValueError("broken"), 1), (RepositoryError("told elsewhere"), 0)]
)
async def test_what_fails_when_all_have_left_is_told(error: Exception, told: int) -> None:
    """To the event loop's handler, and so to the log; an error raised on purpose is not."""
    flight: SingleFlight[str, str] = SingleFlight()
    failures: list[object] = []
    handle = failures.append
    asyncio.get_running_loop().set_exception_handler(
        lambda _, failure: handle(failure["exception"])
    )

    async def fail() -> str:
        await asyncio.sleep(0.02)
        raise error

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await flight.run("key", fail)
    await asyncio.sleep(0.05)
    with pytest.raises(type(error)):
        await flight.run("key", fail)
    assert failures == [error] * told
