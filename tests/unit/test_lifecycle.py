"""What is shared is opened once and closed once, even if something fails or is cancelled."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from typing_extensions import override

from simple_repository_server.lifecycle import SharedLifespan, running

pytestmark = pytest.mark.anyio


class _Resource(SharedLifespan):
    """Something that takes a while to open and to close, and records both."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.failures: list[Exception] = []
        self.may_open = asyncio.Event()
        self.may_close = asyncio.Event()
        self.may_open.set()
        self.may_close.set()

    @override
    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        self.log.append("opening")
        await self.may_open.wait()
        if self.failures:
            self.log.append("failed")
            raise self.failures.pop()
        self.log.append("open")
        try:
            yield
        finally:
            self.log.append("closing")
            await self.may_close.wait()
            self.log.append("closed")


ONCE = ["opening", "open", "closing", "closed"]


async def _use(resource: _Resource, event: asyncio.Event | None = None) -> None:
    async with resource:
        assert resource.log[-1] == "open"
        if event is not None:
            await event.wait()


async def _turns() -> None:
    """Let every task run until it waits."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_it_is_opened_once_for_all_that_enter_at_once() -> None:
    """All of them wait until it is open, and the last one to leave closes it."""
    resource = _Resource()
    resource.may_open.clear()
    leave = asyncio.Event()
    users = [asyncio.create_task(_use(resource, leave)) for _ in range(3)]
    await _turns()
    assert resource.log == ["opening"]
    resource.may_open.set()
    await _turns()
    leave.set()
    await asyncio.gather(*users)
    assert resource.log == ONCE


async def test_entering_while_it_closes_waits_and_opens_it_again() -> None:
    """Two lifespans never overlap."""
    resource = _Resource()
    resource.may_close.clear()
    first = asyncio.create_task(_use(resource))
    await _turns()
    second = asyncio.create_task(_use(resource))
    await _turns()
    assert resource.log == ["opening", "open", "closing"]
    resource.may_close.set()
    await asyncio.gather(first, second)
    assert resource.log == ONCE * 2


async def test_a_failure_to_open_is_raised_and_tried_again_once() -> None:
    """Who opened it gets the error; one that waited and one that retries at once open it once."""
    resource = _Resource()
    resource.failures = [ValueError("no disk")]
    resource.may_open.clear()
    leave = asyncio.Event()

    async def retry() -> None:
        with pytest.raises(ValueError, match="no disk"):
            await _use(resource)
        resource.may_open.clear()
        await _use(resource, leave)

    users = [asyncio.create_task(retry()), asyncio.create_task(_use(resource, leave))]
    await _turns()
    resource.may_open.set()
    await _turns()
    assert resource.log == ["opening", "failed", "opening"]
    resource.may_open.set()
    await _turns()
    leave.set()
    await asyncio.gather(*users)
    assert resource.log == ["opening", "failed", *ONCE]


async def test_a_cancelled_open_leaves_it_closed() -> None:
    """The next one to enter opens it anew."""
    resource = _Resource()
    resource.may_open.clear()
    cancelled = asyncio.create_task(_use(resource))
    await _turns()
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    resource.may_open.set()
    await _use(resource)
    assert resource.log == ["opening", *ONCE]


async def test_cancelling_one_of_two_users_leaves_it_open() -> None:
    """The other one still closes it."""
    resource = _Resource()
    leave = asyncio.Event()
    users = [asyncio.create_task(_use(resource, leave)) for _ in range(2)]
    await _turns()
    users[0].cancel()
    await _turns()
    assert resource.log == ["opening", "open"]
    leave.set()
    await asyncio.gather(*users, return_exceptions=True)
    assert resource.log == ONCE


async def test_a_cancelled_close_leaves_it_closed() -> None:
    """Closing may be cut short; then it can be opened again, and nobody waits for ever."""
    resource = _Resource()
    resource.may_close.clear()
    closing = asyncio.create_task(_use(resource))
    await _turns()
    waiting = asyncio.create_task(_use(resource))
    await _turns()
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    resource.may_close.set()
    await waiting
    assert resource.log == ["opening", "open", "closing", *ONCE]


async def test_leaving_more_often_than_entering_is_an_error() -> None:
    """It says which class was misused."""
    resource = _Resource()
    await _use(resource)
    with pytest.raises(RuntimeError, match="_Resource was exited more often than entered"):
        await resource.__aexit__(None, None, None)
    await _use(resource)
    assert resource.log == ONCE * 2


def test_it_may_be_entered_again_in_another_event_loop() -> None:
    """Also after a loop that ended while it was being opened."""
    resource = _Resource()

    async def abandon() -> None:
        resource.may_open = asyncio.Event()
        opening = asyncio.create_task(_use(resource))
        await _turns()
        assert not opening.done()
        resource.may_open = asyncio.Event()
        resource.may_open.set()

    asyncio.run(_use(resource))
    asyncio.run(abandon())
    asyncio.run(_use(resource))
    assert resource.log == [*ONCE, "opening", *ONCE]


async def test_background_work_that_fails_is_reported() -> None:
    """At once, by the event loop's handler, and not only when it would have been stopped."""
    reports: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(context))

    async def work() -> None:
        raise ValueError("out of luck")

    async with running(work()) as task:
        await asyncio.wait([task])
        await _turns()
        assert [str(report["exception"]) for report in reports] == ["out of luck"]
    assert len(reports) == 1


async def test_background_work_is_cancelled_and_waited_for() -> None:
    """Afterwards nothing of it is running, which is no failure."""
    ended = False

    async def work() -> None:
        nonlocal ended
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)
            ended = True

    async with running(work()):
        await _turns()
    assert ended
