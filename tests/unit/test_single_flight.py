"""Concurrent calls for one key are coalesced."""

import asyncio

import pytest

from simple_repository_server.cache.single_flight import SingleFlight
from simple_repository_server.errors import RepositoryError

pytestmark = pytest.mark.anyio


async def test_concurrent_callers_share_one_call() -> None:
    """A hundred callers at once cause one call and get its result."""
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


async def test_cancelled_caller_does_not_cancel_the_work() -> None:
    """The others still get its result."""
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


async def test_error_reaches_all_callers_and_is_not_cached() -> None:
    """The next caller causes another attempt."""
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


async def test_cancel_all_cancels_work_and_callers() -> None:
    """Nothing is in flight afterwards."""
    flight: SingleFlight[str, None] = SingleFlight()
    waiting = asyncio.create_task(flight.run("key", lambda: asyncio.sleep(60)))
    await asyncio.sleep(0)
    await flight.cancel_all()
    with pytest.raises(asyncio.CancelledError):
        await waiting


@pytest.mark.parametrize(
    ("error", "reported"), [(ValueError("broken"), 1), (RepositoryError("reported"), 0)]
)
async def test_error_after_all_callers_left_goes_to_the_event_loop(
    error: Exception, reported: int
) -> None:
    """Unless it is a `RepositoryError`, which was reported where it was raised."""
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
    assert failures == [error] * reported
